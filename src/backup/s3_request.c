/*
 * s3_request.c - one signed request, and as many tries of it as may be.
 *
 * Invariants:
 *   1. Every request is signed by libcurl with the digest of its body (x-amz-content-sha256), so a
 *      body that changes on the way is refused by the server. What is signed is what is sent: path
 *      and query are ready encoded and sorted, because libcurl 7.88 does neither.
 *   2. A body from a file is hashed while it is sent, and its last block is only handed over when
 *      all of it is what was signed: a server never gets a whole wrong body.
 *   3. Redirects are not followed, certificates are always verified, only http and https are
 *      spoken, and a signal is never used for a time limit.
 *   4. Every try ends: connecting takes at most timeout_ms, and less than SLOW_BYTES a second for
 *      that time is silence. So does every call: at most `tries` of them, and it looks at the
 *      caller's flag at least once a second.
 *   5. The pause before a repetition doubles, up to PAUSE_MAX_MS, and half of it is random, so that
 *      many that failed at once do not come back at once.
 *
 * What it does not do: several requests at once.
 *
 * Tests: tests/unit/test_s3_signature.c, tests/contract/test_s3.c, tests/contract/test_s3_retry.c.
 */
#include "backup/s3_private.h"

#include <string.h>
#include <time.h>

#define SLOW_BYTES 1024L
#define PAUSE_MS 200
#define PAUSE_MAX_MS 20000
#define SLICE_MS 50 /* how long a pause may go on after it was cancelled */
#define REFUSAL_BYTES_MAX ((size_t)64 << 10)

/* One try. */
struct transfer {
	kp_s3 *s3;
	const kp_s3_request *request;
	kp_s3_answer *answer;
	struct curl_slist *headers;
	int64_t sent; /* of the body */
	kp_s3_hash hash;
	keep_status status; /* of our own side */
	keep_error error;
};

/* ---------------------------------------------------------------- waiting and progress */

keep_status kp_s3_check_cancelled(const kp_s3 *s3, keep_error *err)
{
	if (s3->cancelled && *s3->cancelled)
		return kp_fail(err, KEEP_BUSY, "the bucket %s: it was cancelled", s3->bucket);
	return KEEP_OK;
}

void kp_s3_tell_progress(const kp_s3 *s3, int64_t more)
{
	kp_s3_progress progress = s3->done;

	progress.bytes_done += more;
	if (s3->progress)
		s3->progress(s3->progress_ctx, &progress);
}

static void sleep_for(const kp_s3 *s3, int64_t ms)
{
	while (ms > 0 && !(s3->cancelled && *s3->cancelled)) {
		int64_t slice = ms < SLICE_MS ? ms : SLICE_MS;
		struct timespec span = {.tv_nsec = (long)slice * 1000000};

		(void)nanosleep(&span, NULL);
		ms -= slice;
	}
}

keep_status kp_s3_back_off(kp_s3 *s3, unsigned tried, int64_t asked_ms, keep_error *err)
{
	int64_t ms = PAUSE_MS;
	uint32_t random = 0;
	keep_status status;

	for (unsigned i = 1; i < tried && ms < PAUSE_MAX_MS; i++)
		ms *= 2;
	if (ms > PAUSE_MAX_MS)
		ms = PAUSE_MAX_MS;
	status = kp_random_bytes(&random, sizeof random, err);
	if (status != KEEP_OK)
		return status;
	ms = ms / 2 + (int64_t)(random % (uint32_t)(ms / 2 + 1));
	if (asked_ms > PAUSE_MAX_MS)
		asked_ms = PAUSE_MAX_MS;
	if (ms < asked_ms)
		ms = asked_ms;
	status = kp_s3_check_cancelled(s3, err);
	if (status != KEEP_OK)
		return status;
	if (s3->pause)
		s3->pause(s3->pause_ctx, ms);
	else
		sleep_for(s3, ms);
	return kp_s3_check_cancelled(s3, err);
}

/* ---------------------------------------------------------------- libcurl's callbacks */

static int look_at_progress(void *ctx, curl_off_t to_get, curl_off_t got, curl_off_t to_send,
			    curl_off_t sent)
{
	struct transfer *transfer = ctx;

	(void)to_get, (void)to_send;
	if (transfer->request->counts)
		kp_s3_tell_progress(transfer->s3,
				    transfer->request->take ? transfer->request->at + got : sent);
	if (transfer->status == KEEP_OK)
		transfer->status = kp_s3_check_cancelled(transfer->s3, &transfer->error);
	return transfer->status != KEEP_OK;
}

/* All of the body was read: is it what was signed? */
static keep_status check_sent(struct transfer *transfer)
{
	char sha256[KP_S3_SHA256_TEXT];
	keep_status status = kp_s3_hash_end(&transfer->hash, sha256, transfer->answer->sent_md5,
					    &transfer->error);

	if (status == KEEP_OK && strcmp(sha256, transfer->request->sha256) != 0)
		status = kp_fail(&transfer->error, KEEP_CORRUPT,
				 "the file is not what its checksum says");
	return status;
}

static size_t give_body(char *out, size_t size, size_t count, void *ctx)
{
	struct transfer *transfer = ctx;
	const kp_s3_request *request = transfer->request;
	int64_t left = request->size - transfer->sent;
	size_t wanted = size * count, got = 0;

	if (left < (int64_t)wanted)
		wanted = (size_t)left;
	if (wanted == 0)
		return 0;
	transfer->status = kp_file_read_at(request->fd, out, wanted, request->at + transfer->sent,
					   &got, &transfer->error);
	if (transfer->status == KEEP_OK && got < wanted)
		transfer->status = kp_fail(&transfer->error, KEEP_CORRUPT,
					   "the file is shorter than it must be");
	if (transfer->status == KEEP_OK)
		transfer->status =
			kp_s3_hash_add(&transfer->hash, (keep_bytes){out, got}, &transfer->error);
	transfer->sent += (int64_t)got;
	if (transfer->status == KEEP_OK && transfer->sent == request->size)
		transfer->status = check_sent(transfer);
	return transfer->status == KEEP_OK ? got : CURL_READFUNC_ABORT;
}

/* libcurl begins the body again: a connection that it used anew was gone. */
static int rewind_body(void *ctx, curl_off_t offset, int origin)
{
	struct transfer *transfer = ctx;

	if (offset != 0 || origin != SEEK_SET)
		return CURL_SEEKFUNC_FAIL;
	transfer->sent = 0;
	transfer->status = kp_s3_hash_begin(&transfer->hash, &transfer->error);
	return transfer->status == KEEP_OK ? CURL_SEEKFUNC_OK : CURL_SEEKFUNC_FAIL;
}

static size_t take_body(char *data, size_t size, size_t count, void *ctx)
{
	struct transfer *transfer = ctx;
	kp_s3_answer *answer = transfer->answer;
	keep_bytes bytes = {data, size * count};
	bool is_good = answer->status >= 200 && answer->status < 300;

	if (is_good && transfer->request->take) {
		transfer->status = transfer->request->take(transfer->request->take_ctx, answer,
							   bytes, &transfer->error);
	} else if (!is_good && answer->body.len + bytes.len > REFUSAL_BYTES_MAX) {
		return bytes.len; /* its beginning is enough */
	} else if (answer->body.len + bytes.len > KP_S3_ANSWER_BYTES_MAX) {
		transfer->status = kp_fail(&transfer->error, KEEP_UNAVAILABLE,
					   "the server's answer is too long");
	} else {
		transfer->status = kp_buffer_append(&answer->body, bytes, &transfer->error);
	}
	return transfer->status == KEEP_OK ? bytes.len : 0;
}

/* ---------------------------------------------------------------- one try */

static keep_status write_url(kp_s3 *s3, const kp_s3_request *request, keep_error *err)
{
	keep_buffer *url = &s3->url;
	keep_status status;

	url->len = 0;
	status = kp_buffer_append_format(url, err, "%s/%s", s3->base, s3->bucket);
	/* For tests of published examples, whose bucket is a part of the host's name. */
	if (status == KEEP_OK && !*s3->bucket)
		url->len--;
	if (status == KEEP_OK && request->key.data)
		status = kp_buffer_append_text(url, "/", err);
	if (status == KEEP_OK && request->key.data)
		status = kp_s3_append_encoded(url, request->key, true, err);
	if (status == KEEP_OK && *request->query)
		status = kp_buffer_append_format(url, err, "%s?%s", request->key.data ? "" : "/",
						 request->query);
	return status;
}

static keep_status add_header(struct transfer *transfer, const char *name, const char *value)
{
	char line[KP_S3_HEADER_SIZE + 4096];
	struct curl_slist *longer;

	if (snprintf(line, sizeof line, "%s%s", name, value) >= (int)sizeof line)
		return kp_fail(&transfer->error, KEEP_INVALID, "a header is too long");
	longer = curl_slist_append(transfer->headers, line);
	kp_wipe(line, sizeof line); /* one of them is the session's token */
	if (!longer)
		return kp_fail_memory(&transfer->error, "a header");
	transfer->headers = longer;
	return KEEP_OK;
}

static keep_status add_headers(struct transfer *transfer)
{
	const kp_s3 *s3 = transfer->s3;
	const kp_s3_request *request = transfer->request;
	const char *sha256 = request->sha256 ? request->sha256 : KP_S3_EMPTY_SHA256;
	keep_status status = add_header(transfer, "x-amz-content-sha256: ", sha256);

	if (status == KEEP_OK && s3->session_token)
		status = add_header(transfer, "x-amz-security-token: ", s3->session_token);
	if (status == KEEP_OK && s3->fixed_date)
		status = add_header(transfer, "X-Amz-Date: ", s3->fixed_date);
	for (size_t i = 0; i < KP_COUNT(request->headers) && request->headers[i]; i++)
		if (status == KEEP_OK)
			status = add_header(transfer, request->headers[i], "");
	return status;
}

static void release_headers(struct curl_slist *headers)
{
	for (struct curl_slist *each = headers; each; each = each->next)
		kp_wipe(each->data, strlen(each->data));
	curl_slist_free_all(headers);
}

/* What the method and the body need. */
static void set_method(struct transfer *transfer)
{
	const kp_s3_request *request = transfer->request;
	CURL *curl = transfer->s3->curl;

	if (strcmp(request->method, "HEAD") == 0) {
		curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
	} else if (strcmp(request->method, "PUT") == 0) {
		curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)request->size);
		curl_easy_setopt(curl, CURLOPT_READFUNCTION, give_body);
		curl_easy_setopt(curl, CURLOPT_READDATA, transfer);
		curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, rewind_body);
		curl_easy_setopt(curl, CURLOPT_SEEKDATA, transfer);
	} else if (strcmp(request->method, "POST") == 0) {
		curl_easy_setopt(curl, CURLOPT_POST, 1L);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS,
				 request->body.data ? request->body.data : "");
	}
}

static CURLcode set_texts(struct transfer *transfer)
{
	const kp_s3 *s3 = transfer->s3;
	const struct {
		CURLoption option;
		const char *text;
	} texts[] = {
		{CURLOPT_URL, s3->url.data},
		{CURLOPT_AWS_SIGV4, s3->provider},
		{CURLOPT_USERNAME, s3->access_key},
		{CURLOPT_PASSWORD, s3->secret_key},
		{CURLOPT_PROTOCOLS_STR, "http,https"},
		{CURLOPT_USERAGENT, "keep/" KEEP_VERSION},
		{CURLOPT_CAINFO, s3->ca_file},
		{CURLOPT_CUSTOMREQUEST,
		 strcmp(transfer->request->method, "DELETE") == 0 ? "DELETE" : NULL},
	};
	CURLcode code = CURLE_OK;

	for (size_t i = 0; i < KP_COUNT(texts) && code == CURLE_OK; i++)
		if (texts[i].text)
			code = curl_easy_setopt(s3->curl, texts[i].option, texts[i].text);
	return code;
}

static CURLcode set_options(struct transfer *transfer)
{
	const kp_s3 *s3 = transfer->s3;
	CURL *curl = s3->curl;

	curl_easy_reset(curl);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
	curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)s3->timeout_ms);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, SLOW_BYTES);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)((s3->timeout_ms + 999) / 1000));
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, transfer->headers);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, kp_s3_take_header);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, transfer->answer);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, look_at_progress);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, transfer);
	curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	set_method(transfer);
	return set_texts(transfer);
}

static keep_status perform(struct transfer *transfer, bool *again, keep_error *err)
{
	kp_s3 *s3 = transfer->s3;
	struct curl_slist *elsewhere = NULL;
	CURLcode code = set_options(transfer);

	if (code == CURLE_OK && s3->connect_to) {
		elsewhere = curl_slist_append(NULL, s3->connect_to);
		curl_easy_setopt(s3->curl, CURLOPT_CONNECT_TO, elsewhere);
	}
	if (code == CURLE_OK)
		code = kp_fault(KP_FAULT_CONNECT) ? CURLE_COULDNT_CONNECT
						  : curl_easy_perform(s3->curl);
	/* Nothing of this request may be reached by the next one. */
	curl_easy_reset(s3->curl);
	curl_slist_free_all(elsewhere);
	if (transfer->status != KEEP_OK) {
		if (err)
			*err = transfer->error;
		return transfer->status;
	}
	if (code != CURLE_OK)
		return kp_s3_judge_transfer(s3, code, again, err);
	return kp_s3_judge(s3, transfer->request, transfer->answer, again, err);
}

static void clear_answer(kp_s3_answer *answer)
{
	keep_buffer body = answer->body;

	body.len = 0;
	*answer = (kp_s3_answer){.size = -1, .range_at = -1, .body = body};
}

void kp_s3_answer_release(kp_s3_answer *answer)
{
	keep_buffer_release(&answer->body);
}

keep_status kp_s3_try(kp_s3 *s3, const kp_s3_request *request, kp_s3_answer *answer, bool *again,
		      keep_error *err)
{
	struct transfer transfer = {.s3 = s3, .request = request, .answer = answer};
	keep_status status = kp_s3_check_cancelled(s3, err);

	*again = false;
	clear_answer(answer);
	if (status != KEEP_OK)
		return status;
	status = write_url(s3, request, err);
	if (status == KEEP_OK && request->fd >= 0)
		status = kp_s3_hash_begin(&transfer.hash, err);
	if (status != KEEP_OK)
		goto out;
	status = add_headers(&transfer);
	if (status != KEEP_OK) {
		if (err)
			*err = transfer.error;
		goto out;
	}
	status = perform(&transfer, again, err);
out:
	release_headers(transfer.headers);
	kp_s3_hash_release(&transfer.hash);
	return status;
}

keep_status kp_s3_call(kp_s3 *s3, const kp_s3_request *request, kp_s3_answer *answer,
		       keep_error *err)
{
	for (unsigned tried = 1;; tried++) {
		bool again = false;
		keep_status status = kp_s3_try(s3, request, answer, &again, err);

		if (status == KEEP_OK || !again || tried >= s3->tries)
			return status;
		status = kp_s3_back_off(s3, tried, answer->retry_after_ms, err);
		if (status != KEEP_OK)
			return status;
	}
}

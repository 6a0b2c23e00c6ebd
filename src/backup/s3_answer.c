/*
 * s3_answer.c - what an answer of the server means to a caller.
 *
 * Invariants:
 *   1. Nothing of an answer is believed beyond its form: texts of headers are cut at their limit
 *      and have no control characters; a code is letters, digits and dots.
 *   2. The server's prose is in no message: it may quote what was signed, with the access key.
 *   3. The table below decides what each code means; what it does not know, HTTP's status decides.
 *
 * What it does not do: try again; it tells whether that may help.
 *
 * Tests: tests/contract/test_s3_retry.c, tests/unit/test_s3_answer.c.
 */
#include "backup/s3_private.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define RETRY_AFTER_MAX_S 3600

/* ---------------------------------------------------------------- headers */

static void copy_plain(char *out, size_t size, keep_bytes text)
{
	size_t len = 0;

	out[0] = '\0';
	if (text.len >= size)
		return;
	for (size_t i = 0; i < text.len; i++)
		if (text.data[i] >= ' ' && text.data[i] != 0x7f)
			out[len++] = text.data[i];
	out[len] = '\0';
}

static keep_bytes trim(keep_bytes text)
{
	while (text.len && strchr(" \t\r\n", text.data[text.len - 1]))
		text.len--;
	while (text.len && strchr(" \t", text.data[0]))
		text.data++, text.len--;
	return text;
}

static void take_etag(kp_s3_answer *answer, keep_bytes value)
{
	if (value.len >= 2 && value.data[0] == '"' && value.data[value.len - 1] == '"')
		value = (keep_bytes){value.data + 1, value.len - 2};
	copy_plain(answer->etag, sizeof answer->etag, value);
}

static void take_range(kp_s3_answer *answer, keep_bytes value)
{
	const char *dash = value.len ? memchr(value.data, '-', value.len) : NULL;

	if (value.len < 6 || strncasecmp(value.data, "bytes ", 6) != 0 || !dash)
		return;
	value = (keep_bytes){value.data + 6, (size_t)(dash - value.data) - 6};
	if (!kp_int_parse(value, &answer->range_at))
		answer->range_at = -1;
}

static void take_time(kp_s3_answer *answer, keep_bytes value)
{
	char text[64];
	time_t time;

	copy_plain(text, sizeof text, value);
	time = curl_getdate(text, NULL);
	if (time > 0)
		answer->modified_ms = (int64_t)time * 1000;
}

static void take_retry_after(kp_s3_answer *answer, keep_bytes value)
{
	int64_t seconds = 0;

	if (kp_int_parse(value, &seconds) && seconds > 0 && seconds <= RETRY_AFTER_MAX_S)
		answer->retry_after_ms = seconds * 1000;
}

static void take_named(kp_s3_answer *answer, keep_bytes name, keep_bytes value)
{
	static const char encryption[] = "x-amz-server-side-encryption";
	static const char *const names[] = {
		"etag",        "content-length", "content-range",       "last-modified",
		"retry-after", "location",       "x-amz-bucket-region", "x-amz-meta-sha256",
	};
	size_t found = 0;

	/* AES256 keeps the ETag an MD5, but nobody promises it. */
	if (name.len >= sizeof encryption - 1 &&
	    strncasecmp(name.data, encryption, sizeof encryption - 1) == 0)
		answer->is_encrypted = true;
	while (found < KP_COUNT(names) && (strlen(names[found]) != name.len ||
					   strncasecmp(names[found], name.data, name.len) != 0))
		found++;
	switch (found) {
	case 0: take_etag(answer, value); break;
	case 1:
		if (!kp_int_parse(value, &answer->size) || answer->size < 0)
			answer->size = -1;
		break;
	case 2: take_range(answer, value); break;
	case 3: take_time(answer, value); break;
	case 4: take_retry_after(answer, value); break;
	case 6: copy_plain(answer->region, sizeof answer->region, value); break;
	case 7:
		copy_plain(answer->sha256, sizeof answer->sha256, value);
		if (!kp_s3_is_sha256(answer->sha256))
			answer->sha256[0] = '\0';
		break;
	default: break;
	}
}

/* "HTTP/1.1 200 OK": what came before was provisional. */
static void begin_answer(kp_s3_answer *answer, keep_bytes line)
{
	const char *blank = memchr(line.data, ' ', line.len);
	int64_t status = 0;
	keep_buffer body = answer->body;
	char md5[sizeof answer->sent_md5];

	memcpy(md5, answer->sent_md5, sizeof md5);
	*answer = (kp_s3_answer){.size = -1, .range_at = -1, .body = body};
	memcpy(answer->sent_md5, md5, sizeof md5);
	answer->body.len = 0;
	if (blank && line.data + line.len - blank >= 4 &&
	    kp_int_parse((keep_bytes){blank + 1, 3}, &status))
		answer->status = (long)status;
}

size_t kp_s3_take_header(char *data, size_t size, size_t count, void *ctx)
{
	kp_s3_answer *answer = ctx;
	keep_bytes line = {data, size * count};
	const char *colon = line.len ? memchr(line.data, ':', line.len) : NULL;

	if (line.len > 5 && memcmp(line.data, "HTTP/", 5) == 0)
		begin_answer(answer, line);
	else if (colon)
		take_named(
			answer, (keep_bytes){line.data, (size_t)(colon - line.data)},
			trim((keep_bytes){colon + 1, line.len - (size_t)(colon - line.data) - 1}));
	return size * count;
}

/* ---------------------------------------------------------------- refusals */

/* What S3 itself calls a refusal, where HTTP's status alone would be misread. */
static const struct meaning {
	const char *code;
	keep_status status;
	bool again;
} meanings[] = {
	{"SlowDown", KEEP_UNAVAILABLE, true},
	{"Throttling", KEEP_UNAVAILABLE, true},
	{"ThrottlingException", KEEP_UNAVAILABLE, true},
	{"RequestLimitExceeded", KEEP_UNAVAILABLE, true},
	{"TooManyRequests", KEEP_UNAVAILABLE, true},
	{"RequestTimeout", KEEP_UNAVAILABLE, true},
	{"InternalError", KEEP_UNAVAILABLE, true},
	{"ServiceUnavailable", KEEP_UNAVAILABLE, true},
	{"OperationAborted", KEEP_CONFLICT, true},
	{"BadDigest", KEEP_CORRUPT, true},
	{"InvalidDigest", KEEP_CORRUPT, true},
	{"IncompleteBody", KEEP_UNAVAILABLE, true},
	{"XAmzContentSHA256Mismatch", KEEP_CORRUPT, true},
	{"ExpiredToken", KEEP_DENIED, false},
	{"InvalidToken", KEEP_DENIED, false},
	{"TokenRefreshRequired", KEEP_DENIED, false},
	{"EntityTooLarge", KEEP_FULL, false},
	{"QuotaExceeded", KEEP_FULL, false},
	{"XMinioAdminBucketQuotaExceeded", KEEP_FULL, false},
	{"XMinioStorageFull", KEEP_FULL, false},
	{"NotImplemented", KEEP_INVALID, false},
};

static struct meaning find_meaning(const kp_s3_answer *answer)
{
	long status = answer->status;

	for (size_t i = 0; i < KP_COUNT(meanings); i++)
		if (strcmp(meanings[i].code, answer->code) == 0)
			return meanings[i];
	if (status == 401 || status == 403)
		return (struct meaning){.status = KEEP_DENIED};
	if (status == 404)
		return (struct meaning){.status = KEEP_NOT_FOUND};
	if (status == 409 || status == 412)
		return (struct meaning){.status = KEEP_CONFLICT};
	if (status == 413 || status == 507)
		return (struct meaning){.status = KEEP_FULL};
	if (status == 501)
		return (struct meaning){.status = KEEP_INVALID};
	if (status == 408 || status == 429 || status >= 500)
		return (struct meaning){.status = KEEP_UNAVAILABLE, .again = true};
	return (struct meaning){.status = KEEP_INVALID};
}

/* The code, and the region where it is told; a refusal that is no XML has none. */
static void read_refusal(kp_s3_answer *answer)
{
	char region[KP_S3_CODE_SIZE];
	size_t len;

	if (kp_s3_xml_find(kp_buffer_bytes(&answer->body), "/Error/Code", answer->code,
			   sizeof answer->code, NULL) != KEEP_OK)
		answer->code[0] = '\0';
	len = strspn(answer->code,
		     "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.");
	if (answer->code[len])
		answer->code[0] = '\0';
	if (!answer->region[0] && kp_s3_xml_find(kp_buffer_bytes(&answer->body), "/Error/Region",
						 region, sizeof region, NULL) == KEEP_OK)
		copy_plain(answer->region, sizeof answer->region, keep_bytes_of(region));
}

/* The bucket is somewhere else: the caller must say so, because a signature names the region. */
static keep_status judge_place(const kp_s3 *s3, const kp_s3_answer *answer, keep_error *err)
{
	if (answer->region[0] && strcmp(answer->region, s3->region) != 0)
		return kp_fail(err, KEEP_INVALID,
			       "the bucket %s is in the region %s, and was looked for in %s",
			       s3->bucket, answer->region, s3->region);
	return kp_fail(err, KEEP_INVALID,
		       "the bucket %s: the server redirects (%ld %s), which is not followed",
		       s3->bucket, answer->status, answer->code);
}

keep_status kp_s3_judge(const kp_s3 *s3, const kp_s3_request *request, kp_s3_answer *answer,
			bool *again, keep_error *err)
{
	struct meaning meaning;

	if (answer->status >= 200 && answer->status < 300 && !answer->code[0])
		return KEEP_OK;
	if (!answer->code[0])
		read_refusal(answer);
	if ((answer->status >= 300 && answer->status < 400) ||
	    strcmp(answer->code, "AuthorizationHeaderMalformed") == 0)
		return judge_place(s3, answer, err);
	meaning = find_meaning(answer);
	*again = meaning.again;
	return kp_fail(err, meaning.status, "the bucket %s: %s of %.*s was refused: %ld %s",
		       s3->bucket, request->method, request->key.data ? 100 : 10,
		       request->key.data ? request->key.data : "the bucket", answer->status,
		       answer->code);
}

keep_status kp_s3_judge_transfer(const kp_s3 *s3, CURLcode code, bool *again, keep_error *err)
{
	switch (code) {
	case CURLE_OUT_OF_MEMORY: return kp_fail_memory(err, "a request");
	case CURLE_PEER_FAILED_VERIFICATION:
		return kp_fail(err, KEEP_DENIED,
			       "the bucket %s: the server's certificate cannot be verified",
			       s3->bucket);
	case CURLE_SSL_CACERT_BADFILE:
		return kp_fail(err, KEEP_INVALID, "the file of certificates to trust is not one");
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_URL_MALFORMAT:
		return kp_fail(err, KEEP_INVALID, "the bucket %s: its address is no URL",
			       s3->bucket);
	default:
		*again = true;
		return kp_fail(err, KEEP_UNAVAILABLE, "the bucket %s: %s", s3->bucket,
			       curl_easy_strerror(code));
	}
}

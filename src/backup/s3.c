/*
 * s3.c - a client of one bucket, and the single objects in it.
 *
 * libcurl is set up once in a process, with the first client, and never taken down: the program may
 * use it too, and nobody can know who is the last. libcurl built without thread-safe setting up
 * (before 7.84) would want that done by the program before its threads begin.
 *
 * Invariants:
 *   1. What a client was opened with is copied and checked; the secrets are in memory that is wiped
 *      when it is closed.
 *   2. An object that was stored is compared: with the MD5 that the server answers as ETag, or,
 *      where that is none (parts, encryption), by its size and the SHA-256 stored with it. What
 *      does not compare is tried again and never left under its key.
 *
 * What is mutable and global: whether libcurl was set up, under a mutex.
 *
 * What it does not do: buckets; they are made by who owns them.
 *
 * Tests: tests/contract/test_s3.c, tests/contract/test_s3_retry.c, tests/torture/test_s3_faults.c.
 */
#include "backup/s3_private.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define TIMEOUT_MS 30000
#define TIMEOUT_MS_MAX 3600000
#define TRIES 6
#define TRIES_MAX 20
#define SECRET_MAX 4096
#define PART_BYTES_MAX ((int64_t)5 << 30)

/* ---------------------------------------------------------------- opening */

static keep_status set_up_curl(keep_error *err)
{
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	static bool is_set_up;
	keep_status status = KEEP_OK;

	pthread_mutex_lock(&mutex);
	if (!is_set_up && curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		status = kp_fail_memory(err, "libcurl");
	else
		is_set_up = true;
	pthread_mutex_unlock(&mutex);
	return status;
}

/* Made of `letters` and such, within bounds. */
static keep_status check_word(const char *what, const char *word, size_t min, size_t max,
			      const char *others, keep_error *err)
{
	size_t len = word ? strlen(word) : 0;

	if (len < min || len > max)
		return kp_fail(err, KEEP_INVALID, "%s has %zu bytes, not %zu to %zu", what, len,
			       min, max);
	for (size_t i = 0; i < len; i++) {
		char byte = word[i];
		bool is_letter = (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
				 (byte >= '0' && byte <= '9');

		if (!is_letter && !strchr(others, byte))
			return kp_fail(err, KEEP_INVALID, "%s has a character that it cannot have",
				       what);
	}
	return KEEP_OK;
}

static keep_status check_options(const kp_s3_options *options, keep_error *err)
{
	static const char marks[] = "+/=-._~:@,!";
	keep_status status = check_word("the bucket", options->bucket, 3, 63, "-._", err);

	if (status == KEEP_OK && options->region)
		status = check_word("the region", options->region, 1, 48, "-", err);
	if (status == KEEP_OK)
		status = check_word("the access key", options->access_key, 1, 128, marks, err);
	if (status == KEEP_OK)
		status = check_word("the secret key", options->secret_key, 1, SECRET_MAX,
				    "+/=-._~:@,!#$%^&*()[]{}<>?;|'\"` \\", err);
	if (status == KEEP_OK && options->session_token)
		status = check_word("the session token", options->session_token, 1, SECRET_MAX,
				    marks, err);
	if (status == KEEP_OK && options->endpoint)
		status = kp_s3_check_endpoint(options->endpoint, err);
	if (status == KEEP_OK && options->timeout_ms != 0 &&
	    (options->timeout_ms < 1000 || options->timeout_ms > TIMEOUT_MS_MAX))
		status = kp_fail(err, KEEP_INVALID, "timeout_ms is not 1000 to %d", TIMEOUT_MS_MAX);
	if (status == KEEP_OK && options->tries > TRIES_MAX)
		status = kp_fail(err, KEEP_INVALID, "tries is more than %d", TRIES_MAX);
	if (status == KEEP_OK &&
	    (options->single_bytes_max < 0 || options->single_bytes_max > KP_S3_SINGLE_BYTES_MAX))
		status = kp_fail(err, KEEP_INVALID, "single_bytes_max is out of range");
	if (status == KEEP_OK && options->part_bytes != 0 &&
	    (options->part_bytes < KP_S3_PART_BYTES_MIN || options->part_bytes > PART_BYTES_MAX))
		status = kp_fail(err, KEEP_INVALID, "part_bytes is out of range");
	return status;
}

/* A copy of the three texts, one after the other; without the middle one there is none. */
static keep_status join_texts(kp_arena *arena, const char *before, const char *text,
			      const char *after, const char **out, keep_error *err)
{
	char line[KP_S3_KEY_MAX + 64];
	keep_bytes copy;
	keep_status status;

	if (!text)
		return KEEP_OK;
	if (snprintf(line, sizeof line, "%s%s%s", before, text, after) >= (int)sizeof line)
		return kp_fail(err, KEEP_INVALID, "an option of the bucket is too long");
	status = kp_arena_copy(arena, keep_bytes_of(line), &copy, err);
	*out = copy.data;
	return status;
}

/* "" or "a/b/": what stands before every key. */
static keep_status copy_prefix(kp_s3 *s3, const char *prefix, keep_error *err)
{
	keep_status status = KEEP_OK;
	keep_buffer checked = KEEP_BUFFER_INIT;
	size_t len = prefix ? strlen(prefix) : 0;
	keep_bytes copy;

	s3->prefix = "";
	if (len == 0)
		return KEEP_OK;
	if (prefix[0] == '/' || len > KP_S3_KEY_MAX / 2)
		return kp_fail(err, KEEP_INVALID, "the prefix begins with '/' or is over %d bytes",
			       KP_S3_KEY_MAX / 2);
	status = kp_s3_full_key(s3, prefix, &checked, err);
	if (status == KEEP_OK && prefix[len - 1] != '/')
		status = kp_buffer_append_text(&checked, "/", err);
	if (status == KEEP_OK)
		status = kp_arena_copy(&s3->texts, kp_buffer_bytes(&checked), &copy, err);
	if (status == KEEP_OK)
		s3->prefix = copy.data;
	keep_buffer_release(&checked);
	return status == KEEP_OK ? KEEP_OK : kp_prefix(err, status, "the prefix");
}

/* The address: AWS's own of the region when none is given; without a '/' at its end. */
static keep_status copy_base(kp_s3 *s3, const char *endpoint, keep_error *err)
{
	keep_bytes base, copy;
	keep_status status;

	if (!endpoint)
		return join_texts(&s3->texts, "https://s3.", s3->region, ".amazonaws.com",
				  &s3->base, err);
	base = keep_bytes_of(endpoint);
	if (base.len && base.data[base.len - 1] == '/')
		base.len--;
	status = kp_arena_copy(&s3->texts, base, &copy, err);
	s3->base = copy.data;
	return status;
}

static keep_status copy_secrets(kp_s3 *s3, const kp_s3_options *options, keep_error *err)
{
	const char *from[] = {options->access_key, options->secret_key, options->session_token};
	const char **to[] = {&s3->access_key, &s3->secret_key, &s3->session_token};
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < KP_COUNT(from) && status == KEEP_OK; i++) {
		keep_bytes copy;

		status = kp_arena_copy(&s3->secrets, keep_bytes_of(from[i]), &copy, err);
		*to[i] = copy.data;
	}
	return status;
}

static keep_status copy_options(kp_s3 *s3, const kp_s3_options *options, keep_error *err)
{
	const char *region = options->region ? options->region : "us-east-1";
	kp_arena *texts = &s3->texts;
	keep_status status = join_texts(texts, "", region, "", &s3->region, err);

	if (status == KEEP_OK)
		status = join_texts(texts, "aws:amz:", region, ":s3", &s3->provider, err);
	if (status == KEEP_OK)
		status = join_texts(texts, "", options->bucket, "", &s3->bucket, err);
	if (status == KEEP_OK)
		status = join_texts(texts, "", options->ca_file, "", &s3->ca_file, err);
	if (status == KEEP_OK)
		status = join_texts(texts, "::", options->connect_to, "", &s3->connect_to, err);
	if (status == KEEP_OK)
		status = copy_base(s3, options->endpoint, err);
	if (status == KEEP_OK)
		status = copy_prefix(s3, options->prefix, err);
	if (status == KEEP_OK)
		status = copy_secrets(s3, options, err);
	s3->timeout_ms = options->timeout_ms ? options->timeout_ms : TIMEOUT_MS;
	s3->tries = options->tries ? options->tries : TRIES;
	s3->part_bytes = options->part_bytes ? options->part_bytes : KP_S3_PART_BYTES;
	s3->single_bytes_max =
		options->single_bytes_max ? options->single_bytes_max : KP_S3_SINGLE_BYTES_MAX;
	s3->cancelled = options->cancelled;
	s3->progress = options->progress;
	s3->progress_ctx = options->progress_ctx;
	s3->pause = options->pause;
	s3->pause_ctx = options->pause_ctx;
	return status;
}

keep_status kp_s3_open(const kp_s3_options *options, kp_s3 **out, keep_error *err)
{
	kp_s3 *s3 = NULL;
	keep_status status;

	*out = NULL;
	status = check_options(options, err);
	if (status == KEEP_OK)
		status = set_up_curl(err);
	if (status != KEEP_OK)
		return status;
	s3 = kp_alloc_zero(sizeof *s3);
	if (!s3)
		return kp_fail_memory(err, "a client of a bucket");
	status = copy_options(s3, options, err);
	if (status == KEEP_OK) {
		s3->curl = curl_easy_init();
		if (!s3->curl)
			status = kp_fail_memory(err, "a client of a bucket");
	}
	if (status != KEEP_OK)
		kp_s3_close(&s3);
	*out = s3;
	return status;
}

void kp_s3_close(kp_s3 **s3)
{
	if (!*s3)
		return;
	curl_easy_cleanup((*s3)->curl);
	kp_arena_wipe(&(*s3)->secrets);
	kp_arena_release(&(*s3)->texts);
	keep_buffer_release(&(*s3)->url);
	kp_free(*s3);
	*s3 = NULL;
}

/* ---------------------------------------------------------------- asking and removing */

keep_status kp_s3_head_full(kp_s3 *s3, keep_bytes key, kp_s3_object *out, keep_error *err)
{
	kp_s3_request request = KP_S3_REQUEST("HEAD", key);
	kp_s3_answer answer = {.size = -1};
	keep_status status = kp_s3_call(s3, &request, &answer, err);

	*out = (kp_s3_object){.size = -1};
	if (status == KEEP_OK) {
		out->size = answer.size;
		out->modified_ms = answer.modified_ms;
		out->has_sha256 = answer.sha256[0] != '\0';
		memcpy(out->sha256, answer.sha256, sizeof out->sha256);
	}
	kp_s3_answer_release(&answer);
	return status;
}

keep_status kp_s3_head(kp_s3 *s3, const char *key, kp_s3_object *out, keep_error *err)
{
	keep_buffer full = KEEP_BUFFER_INIT;
	keep_status status = kp_s3_full_key(s3, key, &full, err);

	*out = (kp_s3_object){.size = -1};
	if (status == KEEP_OK)
		status = kp_s3_head_full(s3, kp_buffer_bytes(&full), out, err);
	keep_buffer_release(&full);
	return status;
}

keep_status kp_s3_delete_full(kp_s3 *s3, keep_bytes key, keep_error *err)
{
	kp_s3_request request = KP_S3_REQUEST("DELETE", key);
	kp_s3_answer answer = {.size = -1};
	keep_status status = kp_s3_call(s3, &request, &answer, err);

	if (status == KEEP_NOT_FOUND && strcmp(answer.code, "NoSuchKey") == 0)
		status = KEEP_OK;
	kp_s3_answer_release(&answer);
	return status;
}

keep_status kp_s3_delete(kp_s3 *s3, const char *key, keep_error *err)
{
	keep_buffer full = KEEP_BUFFER_INIT;
	keep_status status = kp_s3_full_key(s3, key, &full, err);

	if (status == KEEP_OK)
		status = kp_s3_delete_full(s3, kp_buffer_bytes(&full), err);
	keep_buffer_release(&full);
	return status;
}

keep_status kp_s3_check_stored(kp_s3 *s3, keep_bytes key, int64_t size, const char *sha256,
			       keep_error *err)
{
	kp_s3_object object;
	keep_status status = kp_s3_head_full(s3, key, &object, err);

	if (status != KEEP_OK)
		return status;
	if (object.size != size || strcmp(object.sha256, sha256) != 0)
		return kp_fail(err, KEEP_CORRUPT,
			       "the bucket %s: the server has not stored what was sent as %.*s",
			       s3->bucket, 100, key.data);
	return KEEP_OK;
}

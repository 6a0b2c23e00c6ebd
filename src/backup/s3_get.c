/*
 * s3_get.c - an object that comes down into a file.
 *
 * Invariants:
 *   1. The file is replaced by a rename, when all of the object has come, is what its checksum says
 *      and is synced. Until then it is "<name>.partial".
 *   2. A connection that breaks goes on where it was, when the object is still the same (If-Match
 *      with its ETag); otherwise, and when bytes were damaged, all begins again. Both count as
 *      tries, but one that brought bytes begins the count anew: a long file over a bad line ends.
 *   3. Nothing beyond the size that is expected is written.
 *
 * What it does not do: go on with a file of an earlier call; backups skip whole files instead.
 *
 * Tests: tests/contract/test_s3.c, tests/contract/test_s3_retry.c, tests/torture/test_s3_faults.c.
 */
#include "backup/s3_private.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define RESTARTS_MAX 3                     /* of a body that is whole and wrong */
#define PROGRESS_BYTES ((int64_t)64 << 10) /* what a try must bring to count as none */

struct download {
	kp_s3 *s3;
	int fd;
	int64_t at;       /* bytes that are written */
	int64_t expected; /* the size; -1: any */
	int64_t whole;    /* as the server tells; -1: not yet */
	char etag[KP_S3_ETAG_SIZE];
	char wanted[KP_S3_SHA256_TEXT]; /* "": not known yet */
	bool has_begun;                 /* this try's body */
	kp_s3_hash hash;
};

static keep_status begin_again(struct download *download, keep_error *err)
{
	keep_status status = kp_file_truncate(download->fd, 0, err);

	download->at = 0;
	download->whole = -1;
	download->etag[0] = '\0';
	return status == KEEP_OK ? kp_s3_hash_begin(&download->hash, err) : status;
}

/* The first bytes of an answer: do they go on where we are? */
static keep_status begin_body(struct download *download, const kp_s3_answer *answer,
			      keep_error *err)
{
	keep_status status = KEEP_OK;
	int64_t begin = answer->status == 206 ? answer->range_at : 0;

	download->has_begun = true;
	if (begin != 0 && begin != download->at)
		return kp_fail(err, KEEP_UNAVAILABLE,
			       "the bucket %s: the server sends another part than was asked for",
			       download->s3->bucket);
	if (begin == 0) {
		status = begin_again(download, err);
		download->whole = answer->size;
		memcpy(download->etag, answer->etag, sizeof download->etag);
	}
	if (!download->wanted[0])
		memcpy(download->wanted, answer->sha256, sizeof download->wanted);
	return status;
}

static keep_status take_bytes(void *ctx, const kp_s3_answer *answer, keep_bytes bytes,
			      keep_error *err)
{
	struct download *download = ctx;
	keep_status status = KEEP_OK;

	if (!download->has_begun)
		status = begin_body(download, answer, err);
	if (status == KEEP_OK && download->expected >= 0 &&
	    download->at + (int64_t)bytes.len > download->expected)
		status = kp_fail(err, KEEP_CORRUPT,
				 "the bucket %s: the object is longer than %lld bytes",
				 download->s3->bucket, (long long)download->expected);
	if (status == KEEP_OK)
		status = kp_file_write_at(download->fd, bytes, download->at, err);
	if (status == KEEP_OK)
		status = kp_s3_hash_add(&download->hash, bytes, err);
	if (status == KEEP_OK)
		download->at += (int64_t)bytes.len;
	return status;
}

/* One try: all, or what is missing. */
static keep_status fetch_rest(struct download *download, keep_bytes key, kp_s3_answer *answer,
			      bool *again, keep_error *err)
{
	char range[64], match[KP_S3_ETAG_SIZE + 16];
	kp_s3_request request = KP_S3_REQUEST("GET", key);
	keep_status status = KEEP_OK;

	*again = false;
	download->has_begun = false;
	if (download->at > 0 && (!download->etag[0] || download->at == download->whole))
		status = begin_again(download, err);
	if (status != KEEP_OK)
		return status;
	if (download->at > 0) {
		(void)snprintf(range, sizeof range, "Range: bytes=%lld-", (long long)download->at);
		(void)snprintf(match, sizeof match, "If-Match: \"%s\"", download->etag);
		request.headers[0] = range;
		request.headers[1] = match;
	}
	request.at = download->at;
	request.take = take_bytes;
	request.take_ctx = download;
	request.counts = true;
	status = kp_s3_try(download->s3, &request, answer, again, err);
	/* An empty object has no first bytes. */
	if (status == KEEP_OK && !download->has_begun)
		status = begin_body(download, answer, err);
	/* Another object lies there now, or the part is none: from the beginning, then. */
	if (download->at > 0 && (answer->status == 412 || answer->status == 416)) {
		download->etag[0] = '\0';
		*again = true;
	}
	return status;
}

/* All has come: is it right? */
static keep_status check_whole(struct download *download, keep_error *err)
{
	char sha256[KP_S3_SHA256_TEXT], md5[33];
	keep_status status = kp_s3_hash_end(&download->hash, sha256, md5, err);

	if (status != KEEP_OK)
		return status;
	if (download->expected >= 0 && download->at != download->expected)
		return kp_fail(err, KEEP_CORRUPT,
			       "the bucket %s: the object has %lld bytes instead of %lld",
			       download->s3->bucket, (long long)download->at,
			       (long long)download->expected);
	if (download->wanted[0] && strcmp(download->wanted, sha256) != 0)
		return kp_fail(err, KEEP_CORRUPT,
			       "the bucket %s: the object is not what its checksum says",
			       download->s3->bucket);
	return KEEP_OK;
}

static keep_status fetch_whole(struct download *download, keep_bytes key, keep_error *err)
{
	kp_s3_answer answer = {.size = -1};
	unsigned tried = 0, restarts = 0;
	keep_status status;

	for (;;) {
		int64_t before = download->at;
		bool again = false;

		status = fetch_rest(download, key, &answer, &again, err);
		if (status == KEEP_OK) {
			status = check_whole(download, err);
			if (status != KEEP_CORRUPT || ++restarts >= RESTARTS_MAX)
				break;
			download->etag[0] = '\0';
		} else if (!again) {
			break;
		}
		tried = download->at - before >= PROGRESS_BYTES ? 1 : tried + 1;
		if (tried >= download->s3->tries)
			break;
		status = kp_s3_back_off(download->s3, tried, answer.retry_after_ms, err);
		if (status != KEEP_OK)
			break;
	}
	kp_s3_answer_release(&answer);
	return status;
}

static keep_status fetch_file(struct download *download, keep_bytes key, int folder,
			      const char *name, keep_error *err)
{
	keep_buffer partial = KEEP_BUFFER_INIT;
	keep_status status = kp_buffer_append_format(&partial, err, "%s.partial", name);

	if (status != KEEP_OK)
		return status;
	status = kp_file_open(folder, partial.data, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600,
			      &download->fd, err);
	if (status == KEEP_OK)
		status = kp_s3_hash_begin(&download->hash, err);
	if (status == KEEP_OK)
		status = fetch_whole(download, key, err);
	if (status == KEEP_OK)
		status = kp_file_sync(download->fd, err);
	if (status == KEEP_OK)
		status = kp_file_rename(folder, partial.data, folder, name, err);
	if (status != KEEP_OK && download->fd >= 0)
		(void)!kp_file_unlink(folder, partial.data, 0, NULL);
	kp_file_close(&download->fd);
	kp_s3_hash_release(&download->hash);
	keep_buffer_release(&partial);
	return status;
}

keep_status kp_s3_get_file(kp_s3 *s3, const char *key, int folder, const char *name, int64_t size,
			   const char *sha256, keep_error *err)
{
	struct download download = {.s3 = s3, .fd = -1, .expected = size, .whole = -1};
	keep_buffer full = KEEP_BUFFER_INIT;
	keep_status status = kp_s3_full_key(s3, key, &full, err);

	if (status == KEEP_OK && sha256 && !kp_s3_is_sha256(sha256))
		status = kp_fail(err, KEEP_INVALID, "the checksum is no SHA-256 in lower-case hex");
	if (status == KEEP_OK) {
		if (sha256)
			memcpy(download.wanted, sha256, sizeof download.wanted);
		status = fetch_file(&download, kp_buffer_bytes(&full), folder, name, err);
	}
	if (status == KEEP_OK) {
		s3->done.bytes_done += download.at;
		kp_s3_tell_progress(s3, 0);
	}
	keep_buffer_release(&full);
	return status;
}

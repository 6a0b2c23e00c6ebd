/*
 * s3_put.c - files that go up, at once or in parts.
 *
 * Invariants:
 *   1. An object is replaced whole or not at all: a single PUT is atomic, and parts are no object
 *      before they are completed. What is not completed is aborted; what a killed process leaves is
 *      found by kp_s3_prune_uploads.
 *   2. Nothing is completed before all of the file was read and is what its checksum says.
 *   3. Completing is repeated like everything: when the answer was lost, the repetition is refused
 *      (NoSuchUpload), and what is stored under the key decides.
 *   4. The number of a part is its place, so parts may be sent again.
 *
 * What it does not do: several parts at once.
 *
 * Tests: tests/contract/test_s3.c, tests/contract/test_s3_retry.c, tests/torture/test_s3_faults.c.
 */
#include "backup/s3_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define PARTS_MAX 10000
#define MEBIBYTE ((int64_t)1 << 20)
#define META_SIZE 96

/* A server that answers the MD5 of what it got must have got what was sent. */
static keep_status compare_etag(const kp_s3 *s3, const kp_s3_request *request,
				const kp_s3_answer *answer, keep_error *err)
{
	bool is_md5 = strlen(answer->etag) == 32 &&
		      strspn(answer->etag, "0123456789abcdefABCDEF") == 32 && !answer->is_encrypted;

	if (!is_md5 || !answer->sent_md5[0])
		return KEEP_OK;
	for (size_t i = 0; i < 32; i++)
		if (kp_hex_digit(answer->etag[i]) != kp_hex_digit(answer->sent_md5[i]))
			return kp_fail(err, KEEP_CORRUPT,
				       "the bucket %s: the server has stored other bytes of %.*s",
				       s3->bucket, 100, request->key.data);
	return KEEP_OK;
}

/* PUT a body from a file until it is stored and its ETag, where it is an MD5, is right. */
static keep_status put_body(kp_s3 *s3, const kp_s3_request *request, kp_s3_answer *answer,
			    keep_error *err)
{
	for (unsigned tried = 1;; tried++) {
		bool again = false;
		keep_status status = kp_s3_try(s3, request, answer, &again, err);

		if (status == KEEP_OK) {
			status = compare_etag(s3, request, answer, err);
			again = status == KEEP_CORRUPT;
		}
		if (status == KEEP_OK || !again || tried >= s3->tries)
			return status;
		status = kp_s3_back_off(s3, tried, answer->retry_after_ms, err);
		if (status != KEEP_OK)
			return status;
	}
}

static keep_status put_whole(kp_s3 *s3, keep_bytes key, int fd, int64_t size, const char *sha256,
			     keep_error *err)
{
	char meta[META_SIZE];
	kp_s3_request request = KP_S3_REQUEST("PUT", key);
	kp_s3_answer answer = {.size = -1};
	keep_status status;

	(void)snprintf(meta, sizeof meta, "x-amz-meta-sha256: %s", sha256);
	request.sha256 = sha256;
	request.headers[0] = "Content-Type: application/octet-stream";
	request.headers[1] = meta;
	request.fd = fd;
	request.size = size;
	request.counts = true;
	if (size == 0 && strcmp(sha256, KP_S3_EMPTY_SHA256) != 0)
		return kp_fail(err, KEEP_CORRUPT, "the file is not what its checksum says");
	status = put_body(s3, &request, &answer, err);
	if (status == KEEP_OK && (strlen(answer.etag) != 32 || answer.is_encrypted))
		status = kp_s3_check_stored(s3, key, size, sha256, err);
	/* A wrong object must not stay. What was there before is gone with it. */
	if (status == KEEP_CORRUPT && answer.status >= 200 && answer.status < 300 &&
	    kp_s3_delete_full(s3, key, NULL) != KEEP_OK)
		kp_log(KEEP_LOG_WARNING, "the bucket %s: a damaged object could not be removed",
		       s3->bucket);
	kp_s3_answer_release(&answer);
	return status;
}

/* ---------------------------------------------------------------- parts */

struct upload {
	kp_s3 *s3;
	keep_bytes key;
	int fd;
	int64_t size, part_bytes;
	char id[KP_S3_UPLOAD_ID_MAX];
	keep_buffer id_encoded;
	keep_buffer parts; /* the XML that completes it */
	kp_s3_hash whole;
};

static keep_status begin_upload(struct upload *upload, const char *sha256, keep_error *err)
{
	char meta[META_SIZE];
	kp_s3_request request = KP_S3_REQUEST("POST", upload->key);
	kp_s3_answer answer = {.size = -1};
	keep_status status;

	(void)snprintf(meta, sizeof meta, "x-amz-meta-sha256: %s", sha256);
	request.query = "uploads=";
	request.headers[0] = "Content-Type: application/octet-stream";
	request.headers[1] = meta;
	status = kp_s3_call(upload->s3, &request, &answer, err);
	if (status == KEEP_OK)
		status = kp_s3_xml_find(kp_buffer_bytes(&answer.body),
					"/InitiateMultipartUploadResult/UploadId", upload->id,
					sizeof upload->id, err);
	if (status == KEEP_OK && !upload->id[0])
		status = kp_fail(err, KEEP_UNAVAILABLE,
				 "the bucket %s: the server began no upload in parts",
				 upload->s3->bucket);
	if (status == KEEP_OK)
		status = kp_s3_append_encoded(&upload->id_encoded, keep_bytes_of(upload->id), false,
					      err);
	kp_s3_answer_release(&answer);
	return status;
}

/* The ETag goes back as it came, so what XML needs is written for it. */
static keep_status note_part(struct upload *upload, int number, const char *etag, keep_error *err)
{
	keep_status status;

	if (!etag[0] || strpbrk(etag, "<>&"))
		return kp_fail(err, KEEP_UNAVAILABLE,
			       "the bucket %s: the server gave a part no ETag", upload->s3->bucket);
	status = kp_buffer_append_format(&upload->parts, err,
					 "<Part><PartNumber>%d</PartNumber>"
					 "<ETag>&quot;%s&quot;</ETag></Part>",
					 number, etag);
	return status;
}

static keep_status put_part(struct upload *upload, int number, int64_t at, int64_t size,
			    keep_error *err)
{
	char sha256[KP_S3_SHA256_TEXT];
	keep_buffer query = KEEP_BUFFER_INIT;
	kp_s3_request request = KP_S3_REQUEST("PUT", upload->key);
	kp_s3_answer answer = {.size = -1};
	keep_status status = kp_s3_hash_file(upload->fd, at, size, &upload->whole,
					     upload->s3->cancelled, sha256, err);

	if (status == KEEP_OK)
		status = kp_buffer_append_format(&query, err, "partNumber=%d&uploadId=%s", number,
						 upload->id_encoded.data);
	if (status == KEEP_OK) {
		request.query = query.data;
		request.sha256 = sha256;
		request.fd = upload->fd;
		request.at = at;
		request.size = size;
		request.counts = true;
		status = put_body(upload->s3, &request, &answer, err);
	}
	if (status == KEEP_OK)
		status = note_part(upload, number, answer.etag, err);
	kp_s3_answer_release(&answer);
	keep_buffer_release(&query);
	return status;
}

static keep_status put_all_parts(struct upload *upload, keep_error *err)
{
	kp_s3_progress before = upload->s3->done;
	keep_status status =
		kp_buffer_append_text(&upload->parts, "<CompleteMultipartUpload>", err);
	int number = 1;

	for (int64_t at = 0; at < upload->size && status == KEEP_OK; at += upload->part_bytes) {
		int64_t left = upload->size - at;
		int64_t size = left < upload->part_bytes ? left : upload->part_bytes;

		status = put_part(upload, number++, at, size, err);
		upload->s3->done.bytes_done += size;
	}
	upload->s3->done = before; /* the whole file is counted by who put it */
	if (status == KEEP_OK)
		status = kp_buffer_append_text(&upload->parts, "</CompleteMultipartUpload>", err);
	return status;
}

/* A 200 may hold a refusal: the server begins its answer before it knows. */
static keep_status judge_completed(struct upload *upload, const kp_s3_request *request,
				   kp_s3_answer *answer, bool *again, keep_error *err)
{
	keep_status status = kp_s3_xml_find(kp_buffer_bytes(&answer->body), "/Error/Code",
					    answer->code, sizeof answer->code, err);

	if (status == KEEP_OK && answer->code[0])
		status = kp_s3_judge(upload->s3, request, answer, again, err);
	if (status == KEEP_UNAVAILABLE)
		*again = true;
	return status;
}

static keep_status complete_upload(struct upload *upload, const char *sha256, keep_error *err)
{
	char hash[KP_S3_SHA256_TEXT];
	keep_buffer query = KEEP_BUFFER_INIT;
	kp_s3_request request = KP_S3_REQUEST("POST", upload->key);
	kp_s3_answer answer = {.size = -1};
	unsigned char digest[KP_SHA256_SIZE];
	keep_status status = kp_sha256(kp_buffer_bytes(&upload->parts), digest, err);
	bool again = true;

	if (status == KEEP_OK)
		status = kp_buffer_append_format(&query, err, "uploadId=%s",
						 upload->id_encoded.data);
	if (status != KEEP_OK)
		goto out;
	kp_hex_format((keep_bytes){(const char *)digest, sizeof digest}, hash);
	request.query = query.data;
	request.sha256 = hash;
	request.headers[0] = "Content-Type: application/xml";
	request.body = kp_buffer_bytes(&upload->parts);
	for (unsigned tried = 1; again; tried++) {
		status = kp_s3_try(upload->s3, &request, &answer, &again, err);
		if (status == KEEP_OK)
			status = judge_completed(upload, &request, &answer, &again, err);
		if (status == KEEP_OK || tried >= upload->s3->tries)
			break;
		if (again &&
		    kp_s3_back_off(upload->s3, tried, answer.retry_after_ms, err) != KEEP_OK) {
			status = KEEP_BUSY;
			break;
		}
	}
	/* OK, or gone because a try before did it: what is there decides. */
	if (status == KEEP_OK || status == KEEP_NOT_FOUND)
		status = kp_s3_check_stored(upload->s3, upload->key, upload->size, sha256, err);
out:
	kp_s3_answer_release(&answer);
	keep_buffer_release(&query);
	return status;
}

static void abort_upload(struct upload *upload)
{
	keep_buffer query = KEEP_BUFFER_INIT;
	kp_s3_request request = KP_S3_REQUEST("DELETE", upload->key);
	kp_s3_answer answer = {.size = -1};
	const _Atomic int *cancelled = upload->s3->cancelled;
	keep_status status =
		kp_buffer_append_format(&query, NULL, "uploadId=%s", upload->id_encoded.data);

	/* What was cancelled is tidied up all the same. */
	upload->s3->cancelled = NULL;
	request.query = query.data;
	if (status == KEEP_OK)
		status = kp_s3_call(upload->s3, &request, &answer, NULL);
	upload->s3->cancelled = cancelled;
	if (status != KEEP_OK && status != KEEP_NOT_FOUND)
		kp_log(KEEP_LOG_WARNING, "the bucket %s: an upload in parts could not be aborted",
		       upload->s3->bucket);
	kp_s3_answer_release(&answer);
	keep_buffer_release(&query);
}

keep_status kp_s3_put_parts(kp_s3 *s3, keep_bytes key, int fd, int64_t size, const char *sha256,
			    keep_error *err)
{
	struct upload upload = {.s3 = s3, .key = key, .fd = fd, .size = size};
	int64_t least = (size + PARTS_MAX - 1) / PARTS_MAX;
	char whole[KP_S3_SHA256_TEXT], md5[33];
	keep_status status;

	upload.part_bytes = (least + MEBIBYTE - 1) / MEBIBYTE * MEBIBYTE;
	if (upload.part_bytes < s3->part_bytes)
		upload.part_bytes = s3->part_bytes;
	status = kp_s3_hash_begin(&upload.whole, err);
	if (status == KEEP_OK)
		status = begin_upload(&upload, sha256, err);
	if (status == KEEP_OK)
		status = put_all_parts(&upload, err);
	if (status == KEEP_OK)
		status = kp_s3_hash_end(&upload.whole, whole, md5, err);
	if (status == KEEP_OK && strcmp(whole, sha256) != 0)
		status = kp_fail(err, KEEP_CORRUPT, "the file is not what its checksum says");
	if (status == KEEP_OK)
		status = complete_upload(&upload, sha256, err);
	if (status != KEEP_OK && upload.id_encoded.len)
		abort_upload(&upload);
	kp_s3_hash_release(&upload.whole);
	keep_buffer_release(&upload.parts);
	keep_buffer_release(&upload.id_encoded);
	return status;
}

/* ---------------------------------------------------------------- a file */

static keep_status check_file(int fd, int64_t size, const char *sha256, keep_error *err)
{
	struct stat about;

	if (!kp_s3_is_sha256(sha256))
		return kp_fail(err, KEEP_INVALID, "the checksum is no SHA-256 in lower-case hex");
	if (size < 0 || size > KP_S3_FILE_BYTES_MAX)
		return kp_fail(err, size < 0 ? KEEP_INVALID : KEEP_FULL,
			       "an object has 0 to %lld bytes", (long long)KP_S3_FILE_BYTES_MAX);
	if (fstat(fd, &about) != 0)
		return kp_fail_errno(err, errno, "the file cannot be looked at");
	if (!S_ISREG(about.st_mode))
		return kp_fail(err, KEEP_INVALID, "it is no regular file");
	if (about.st_size != size)
		return kp_fail(err, KEEP_CORRUPT, "the file has %lld bytes instead of %lld",
			       (long long)about.st_size, (long long)size);
	return KEEP_OK;
}

keep_status kp_s3_put_file(kp_s3 *s3, const char *key, int folder, const char *name, int64_t size,
			   const char *sha256, keep_error *err)
{
	keep_buffer full = KEEP_BUFFER_INIT;
	int fd = -1;
	keep_status status = kp_s3_full_key(s3, key, &full, err);

	if (status == KEEP_OK)
		status =
			kp_file_open(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, &fd, err);
	if (status == KEEP_OK) {
		status = check_file(fd, size, sha256, err);
		if (status == KEEP_OK && size > s3->single_bytes_max)
			status = kp_s3_put_parts(s3, kp_buffer_bytes(&full), fd, size, sha256, err);
		else if (status == KEEP_OK)
			status = put_whole(s3, kp_buffer_bytes(&full), fd, size, sha256, err);
		if (status != KEEP_OK)
			status = kp_prefix(err, status, "%.*s", 100, name);
	}
	if (status == KEEP_OK) {
		s3->done.bytes_done += size;
		kp_s3_tell_progress(s3, 0);
	}
	kp_file_close(&fd);
	keep_buffer_release(&full);
	return status;
}

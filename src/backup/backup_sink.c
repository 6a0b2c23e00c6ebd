/*
 * backup_sink.c - a file that is written once, from its beginning to its end, and hashed on the
 * way.
 *
 * A kernel copies four times as fast as a core computes SHA-256, so a large file is hashed by a
 * thread beside the one that reads and writes:
 *
 *     caller   fill 0, write 0   fill 1, write 1   (wait for 0) fill 0 …
 *     thread                     hash 0            hash 1 …
 *
 * Invariants:
 *   1. A block is filled only when its hash is taken: lens[i] is 0.
 *   2. What was written is on its way to the disk early, so that the sync at the end has little
 * left.
 *   3. Without a thread (small files, or none to be had) it does the same by itself.
 *
 * What it does not do: sync.
 *
 * Tests: tests/contract/test_backup_snapshot.c, tests/torture/test_backup_faults.c.
 */
#include "backup/backup_private.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>

enum { THREAD_FROM = 8 << 20, FLUSH_STEP = 8 << 20 };

static bool hash(kp_sink *sink, size_t which, size_t len)
{
	return EVP_DigestUpdate(sink->digest, sink->blocks[which], len) == 1;
}

static void *hash_blocks(void *ctx)
{
	kp_sink *sink = ctx;
	size_t which = 0;
	bool is_hashed;

	(void)pthread_mutex_lock(&sink->mutex);
	for (;;) {
		size_t len;

		while (sink->lens[which] == 0 && !sink->ends)
			(void)pthread_cond_wait(&sink->moved, &sink->mutex);
		len = sink->lens[which];
		if (len == 0)
			break;
		(void)pthread_mutex_unlock(&sink->mutex);
		is_hashed = hash(sink, which, len);
		(void)pthread_mutex_lock(&sink->mutex);
		sink->is_broken |= !is_hashed;
		sink->lens[which] = 0;
		which ^= 1;
		(void)pthread_cond_signal(&sink->moved);
	}
	(void)pthread_mutex_unlock(&sink->mutex);
	return NULL;
}

static void start_thread(kp_sink *sink)
{
	(void)pthread_mutex_init(&sink->mutex, NULL);
	(void)pthread_cond_init(&sink->moved, NULL);
	sink->is_threaded = pthread_create(&sink->thread, NULL, hash_blocks, sink) == 0;
	if (!sink->is_threaded) {
		(void)pthread_cond_destroy(&sink->moved);
		(void)pthread_mutex_destroy(&sink->mutex);
	}
}

static void end_thread(kp_sink *sink)
{
	if (!sink->is_threaded)
		return;
	(void)pthread_mutex_lock(&sink->mutex);
	sink->ends = true;
	(void)pthread_cond_signal(&sink->moved);
	(void)pthread_mutex_unlock(&sink->mutex);
	(void)pthread_join(sink->thread, NULL);
	(void)pthread_cond_destroy(&sink->moved);
	(void)pthread_mutex_destroy(&sink->mutex);
	sink->is_threaded = false;
}

keep_status kp_sink_open(kp_sink *sink, int folder, const char *name, int64_t size, keep_error *err)
{
	keep_status status;

	*sink = (kp_sink){.fd = -1};
	sink->digest = EVP_MD_CTX_new();
	sink->blocks[0] = kp_alloc(KP_COPY_BLOCK);
	if (size >= THREAD_FROM)
		sink->blocks[1] = kp_alloc(KP_COPY_BLOCK);
	if (!sink->digest || !sink->blocks[0] || (size >= THREAD_FROM && !sink->blocks[1]) ||
	    EVP_DigestInit_ex(sink->digest, EVP_sha256(), NULL) != 1) {
		kp_sink_close(sink);
		return kp_fail_memory(err, "a copy");
	}
	status = kp_file_open(folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600,
			      &sink->fd, err);
	if (status != KEEP_OK)
		kp_sink_close(sink);
	else if (size >= THREAD_FROM)
		start_thread(sink);
	return status;
}

char *kp_sink_block(kp_sink *sink)
{
	if (sink->is_threaded) {
		(void)pthread_mutex_lock(&sink->mutex);
		while (sink->lens[sink->fill] != 0)
			(void)pthread_cond_wait(&sink->moved, &sink->mutex);
		(void)pthread_mutex_unlock(&sink->mutex);
	}
	return sink->blocks[sink->fill];
}

keep_status kp_sink_put(kp_sink *sink, size_t len, keep_error *err)
{
	char *block = sink->blocks[sink->fill];
	keep_status status;

	if (len == 0)
		return KEEP_OK;
	if (sink->is_threaded) {
		(void)pthread_mutex_lock(&sink->mutex);
		sink->lens[sink->fill] = len;
		(void)pthread_cond_signal(&sink->moved);
		(void)pthread_mutex_unlock(&sink->mutex);
		sink->fill ^= 1;
	} else if (!hash(sink, sink->fill, len)) {
		return kp_fail_memory(err, "a SHA-256 digest");
	}
	status = kp_file_write_at(sink->fd, (keep_bytes){block, len}, sink->at, err);
	sink->at += (int64_t)len;
	if (status == KEEP_OK && sink->at - sink->flushed >= FLUSH_STEP) {
		(void)sync_file_range(sink->fd, sink->flushed, sink->at - sink->flushed,
				      SYNC_FILE_RANGE_WRITE);
		sink->flushed = sink->at;
	}
	return status;
}

keep_status kp_sink_finish(kp_sink *sink, char sha256[KP_HEX_SIZE], keep_error *err)
{
	unsigned char digest[KP_SHA256_SIZE];
	keep_status status = KEEP_OK;

	end_thread(sink);
	if (sink->is_broken || EVP_DigestFinal_ex(sink->digest, digest, NULL) != 1)
		status = kp_fail_memory(err, "a SHA-256 digest");
	else
		kp_hex_format((keep_bytes){(const char *)digest, sizeof digest}, sha256);
	if (status == KEEP_OK && sink->at > sink->flushed)
		(void)sync_file_range(sink->fd, sink->flushed, 0, SYNC_FILE_RANGE_WRITE);
	kp_sink_close(sink);
	return status;
}

void kp_sink_close(kp_sink *sink)
{
	end_thread(sink);
	EVP_MD_CTX_free(sink->digest);
	kp_free(sink->blocks[0]);
	kp_free(sink->blocks[1]);
	if (sink->digest)
		kp_file_close(&sink->fd);
	*sink = (kp_sink){.fd = -1};
}

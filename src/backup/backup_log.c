/*
 * backup_log.c - a write-ahead log, read by its format (sqlite.org/fileformat2.html, section 4).
 *
 * A database in WAL mode is its file with, over each page, the newest frame of the log for it. A
 * copy made so is as fast as one of a file: no page goes through a cache.
 *
 * Why that is the database of one moment although others write on: whoever copies has a read
 * transaction of SQLite's, as of the frame where the moment is. No checkpoint puts a later frame
 * into the file meanwhile; what an earlier one puts there lies under the log's own frames here. And
 * the log begins anew only when all its frames were in the file before that transaction began: then
 * its salts change before its first frame is overwritten, which kp_log_lay sees, and the file alone
 * is right.
 *
 * Invariants:
 *   1. Only frames with the log's salts count, and of one that is read alone (kp_log_read) only
 *      those whose checksums follow from the header's, up to the last that ends a transaction.
 *   2. What was laid is thrown away when the salts have changed by the time it was read.
 *   3. Nothing in a log leads to a read outside of it, or a page outside of the database.
 *
 * Tests: tests/contract/test_backup_snapshot.c, against what SQLite itself reads.
 */
#include "backup/backup_private.h"

#include <stdlib.h>
#include <string.h>

enum {
	HEADER_BYTES = 32,
	FRAME_BYTES = 24,
	SALTS_AT = 16,
	BATCH_BYTES = 1 << 20,
	PAGE_BYTES_MIN = 512,
	PAGE_BYTES_MAX = 65536
};
#define MAGIC 0x377f0682u
#define VERSION 3007000u

struct sums {
	uint32_t first, second;
	bool is_big;
};

static uint32_t word_at(const unsigned char *bytes, bool is_big)
{
	return is_big ? (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 |
				(uint32_t)bytes[2] << 8 | bytes[3]
		      : (uint32_t)bytes[3] << 24 | (uint32_t)bytes[2] << 16 |
				(uint32_t)bytes[1] << 8 | bytes[0];
}

static void add(struct sums *sums, const unsigned char *bytes, size_t len)
{
	for (size_t i = 0; i + 8 <= len; i += 8) {
		sums->first += word_at(bytes + i, sums->is_big) + sums->second;
		sums->second += word_at(bytes + i + 4, sums->is_big) + sums->first;
	}
}

static bool is_sum(const struct sums *sums, const unsigned char *at)
{
	return word_at(at, true) == sums->first && word_at(at + 4, true) == sums->second;
}

static int64_t frame_at(uint32_t frame, uint32_t page_bytes)
{
	return HEADER_BYTES + (int64_t)(frame - 1) * (FRAME_BYTES + (int64_t)page_bytes);
}

/* ---------------------------------------------------------------- the map */

/* By page, and of one page the newest first. */
static int compare_pages(const void *a, const void *b)
{
	const kp_log_page *x = a, *y = b;

	if (x->page != y->page)
		return x->page < y->page ? -1 : 1;
	return x->frame > y->frame ? -1 : x->frame < y->frame;
}

static void order(kp_log_map *map)
{
	size_t kept = 0;

	if (map->count > 0)
		qsort(map->pages, map->count, sizeof *map->pages, compare_pages);
	for (size_t i = 0; i < map->count; i++)
		if ((i == 0 || map->pages[i].page != map->pages[i - 1].page) &&
		    map->pages[i].page <= map->page_count)
			map->pages[kept++] = map->pages[i];
	map->count = kept;
}

static keep_status add_page(kp_log_map *map, size_t *capacity, kp_log_page page, keep_error *err)
{
	if (map->count == *capacity) {
		size_t wanted = *capacity ? 2 * *capacity : 1024;
		kp_log_page *pages = kp_realloc(map->pages, wanted * sizeof *pages);

		if (!pages)
			return kp_fail_memory(err, "the pages of a log");
		map->pages = pages;
		*capacity = wanted;
	}
	map->pages[map->count++] = page;
	return KEEP_OK;
}

void kp_log_release(kp_log_map *map)
{
	kp_free(map->pages);
	*map = (kp_log_map){.pages = NULL};
}

/* ---------------------------------------------------------------- reading */

struct reading {
	int fd;
	kp_log_map *map;
	struct sums sums;
	bool is_summed;
	uint32_t frame, frames_max;
	size_t capacity, committed; /* pages up to the last commit */
	unsigned char *batch;
};

/* False: the log ends before this frame. */
static bool take_frame(struct reading *reading, const unsigned char *frame, keep_status *status,
		       keep_error *err)
{
	kp_log_map *map = reading->map;
	uint32_t pages = word_at(frame + 4, true);

	if (memcmp(frame + 8, map->salts, sizeof map->salts) != 0 || word_at(frame, true) == 0)
		return false;
	if (reading->is_summed) {
		add(&reading->sums, frame, 8);
		add(&reading->sums, frame + FRAME_BYTES, map->page_bytes);
		if (!is_sum(&reading->sums, frame + 16))
			return false;
	}
	*status = add_page(map, &reading->capacity,
			   (kp_log_page){word_at(frame, true), ++reading->frame}, err);
	if (*status == KEEP_OK && pages > 0 && reading->is_summed) {
		map->page_count = pages;
		reading->committed = map->count;
	}
	return *status == KEEP_OK;
}

static keep_status take_frames(struct reading *reading, keep_error *err)
{
	size_t step = FRAME_BYTES + reading->map->page_bytes;
	size_t per_batch = BATCH_BYTES / step;
	bool goes_on = true;
	keep_status status = KEEP_OK;

	while (status == KEEP_OK && goes_on && reading->frame < reading->frames_max) {
		size_t got = 0;

		status = kp_file_read_at(reading->fd, reading->batch, per_batch * step,
					 frame_at(reading->frame + 1, reading->map->page_bytes),
					 &got, err);
		goes_on = status == KEEP_OK && got >= step;
		for (size_t i = 0;
		     goes_on && (i + 1) * step <= got && reading->frame < reading->frames_max; i++)
			goes_on = take_frame(reading, reading->batch + i * step, &status, err);
	}
	return status;
}

static bool is_page_size(uint32_t size)
{
	return size >= PAGE_BYTES_MIN && size <= PAGE_BYTES_MAX && (size & (size - 1)) == 0;
}

/* False: it is no log, or an empty one. */
static bool take_header(struct reading *reading, const unsigned char *header)
{
	reading->sums = (struct sums){.is_big = word_at(header, true) & 1};
	add(&reading->sums, header, 24);
	reading->map->page_bytes = word_at(header + 8, true);
	memcpy(reading->map->salts, header + SALTS_AT, sizeof reading->map->salts);
	return (word_at(header, true) & ~1u) == MAGIC && word_at(header + 4, true) == VERSION &&
	       is_page_size(reading->map->page_bytes) && is_sum(&reading->sums, header + 24);
}

static keep_status read_log(struct reading *reading, const unsigned char *salts, keep_error *err)
{
	unsigned char header[HEADER_BYTES];
	size_t got = 0;
	keep_status status = kp_file_read_at(reading->fd, header, sizeof header, 0, &got, err);

	if (status != KEEP_OK || got < sizeof header || !take_header(reading, header) ||
	    (salts && memcmp(salts, reading->map->salts, sizeof reading->map->salts) != 0))
		return status;
	reading->batch = kp_alloc(BATCH_BYTES);
	if (!reading->batch)
		return kp_fail_memory(err, "a log");
	status = take_frames(reading, err);
	kp_free(reading->batch);
	return status;
}

keep_status kp_log_read(int fd, kp_log_map *out, keep_error *err)
{
	struct reading reading = {
		.fd = fd, .map = out, .is_summed = true, .frames_max = UINT32_MAX};
	keep_status status;

	*out = (kp_log_map){.pages = NULL};
	status = read_log(&reading, NULL, err);
	out->count = reading.committed;
	order(out);
	if (status != KEEP_OK)
		kp_log_release(out);
	return status;
}

keep_status kp_log_read_known(int fd, const kp_sqlite_log *log, kp_log_map *out, keep_error *err)
{
	struct reading reading = {.fd = fd, .map = out, .frames_max = log->frames};
	keep_status status = KEEP_OK;

	*out = (kp_log_map){.pages = NULL};
	if (log->frames == 0)
		return KEEP_OK;
	status = read_log(&reading, log->salts, err);
	if (status == KEEP_OK && reading.frame < log->frames)
		out->count = 0; /* it began anew: the file has all */
	memcpy(out->salts, log->salts, sizeof out->salts);
	out->page_bytes = log->page_bytes;
	out->page_count = log->pages;
	order(out);
	if (status != KEEP_OK)
		kp_log_release(out);
	return status;
}

/* ---------------------------------------------------------------- laying */

static size_t find_first(const kp_log_map *map, uint32_t page)
{
	size_t low = 0, high = map->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (map->pages[middle].page < page)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

keep_status kp_log_lay(int fd, const kp_log_map *map, char *block, size_t len, int64_t at,
		       bool *is_over, keep_error *err)
{
	unsigned char salts[sizeof map->salts];
	uint32_t first = map->count ? (uint32_t)(at / map->page_bytes) + 1 : 0;
	size_t got = 0, laid = 0;
	keep_status status = KEEP_OK;

	*is_over = false;
	for (size_t i = map->count ? find_first(map, first) : 0;
	     status == KEEP_OK && i < map->count; i++) {
		size_t offset = (size_t)(map->pages[i].page - first) * map->page_bytes;

		if (offset >= len)
			break;
		status = kp_file_read_at(
			fd, block + offset, map->page_bytes,
			frame_at(map->pages[i].frame, map->page_bytes) + FRAME_BYTES, &got, err);
		*is_over = status == KEEP_OK && got < map->page_bytes; /* it was cut */
		if (*is_over)
			return KEEP_OK;
		if (map->is_sealed && status == KEEP_OK) /* in a log they have none */
			kp_seal_put(block + offset, map->page_bytes, map->pages[i].page);
		laid++;
	}
	if (status != KEEP_OK || laid == 0)
		return status;
	status = kp_file_read_at(fd, salts, sizeof salts, SALTS_AT, &got, err);
	*is_over = status == KEEP_OK &&
		   (got < sizeof salts || memcmp(salts, map->salts, sizeof salts) != 0);
	return status;
}

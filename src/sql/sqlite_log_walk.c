/*
 * sqlite_log_walk.c - the SQLite driver: verifying a write-ahead log frame by frame.
 *
 * The format is sqlite.org/fileformat2.html, section 4: a header with salts, and frames that each
 * carry these salts and the running checksum of everything before. A reader of the log takes what
 * is right up to the last commit and never says a word about the rest; so a bit that flips in frame
 * 7 of 500 costs whoever opens the database next everything from the transaction of frame 7 on, in
 * silence.
 *
 * The first frame that is not right ends the log, or is damage:
 *
 *     the index knows it as committed                             damage
 *     its salts are the log's, and a later frame begins where a
 *       commit ended, each right as far as what is stored before  damage: that commit was synced
 *     one bit less or more would make it right                    damage: nothing torn looks so
 *     a commit with the log's salts follows, and nothing else     told as it is: torn or damaged
 *     anything else                                               the end of the log
 *
 * What is left behind the end is no damage: frames of the log before (other salts), a transaction
 * that was rolled back after it had spilled, or what a kill cut short.
 *
 * Invariants:
 *   1. Nothing in a log leads to a read outside of it, or a bit outside of the caller's.
 *   2. A log whose salts are not the index's has begun anew: all of it is in the file, and it is of
 * no interest.
 *
 * What it does not do: wait for a log to stand still (sqlite_inspect.c looks again).
 *
 * Tests: tests/contract/test_page_seals.c.
 */
#include "sql/sqlite_inspect.h"
#include "sql/sqlite_driver.h"

#include <string.h>

enum {
	HEADER_BYTES = 32,
	FRAME_BYTES = 24,
	SALTS_AT = 16,
	SUMS_AT = 24,
	FRAME_SALTS_AT = 8,
	FRAME_SUMS_AT = 16,
	SALT_BYTES = 8,
	BATCH_BYTES = 1 << 20,
	MAP_BYTES = 32768,
	INDEX_BYTES = 48, /* of a copy of the index's header; two of them, then: */
	INDEX_FRAMES_AT = 16,
	INDEX_SALTS_AT = 32,
	INDEX_BACKFILLED_AT = 96,
	INDEX_TRIES = 1000
};
#define MAGIC 0x377f0682u
#define VERSION 3007000u

struct sums {
	uint32_t first, second;
};

struct walk {
	int fd;
	bool is_big; /* the checksums' order of bytes */
	unsigned char salts[SALT_BYTES];
	struct sums sums; /* up to the last frame that is right */
	uint32_t frame;   /* its number */
	unsigned char *batch;
	uint32_t batch_first, batch_count; /* the frames that are in it */
	size_t step;                       /* bytes of a frame */
	kp_log_walk *out;
};

static uint32_t word_at(const unsigned char *bytes, bool is_big)
{
	return is_big ? (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 |
				(uint32_t)bytes[2] << 8 | bytes[3]
		      : (uint32_t)bytes[3] << 24 | (uint32_t)bytes[2] << 16 |
				(uint32_t)bytes[1] << 8 | bytes[0];
}

static struct sums add(struct sums sums, const unsigned char *bytes, size_t len, bool is_big)
{
	for (size_t i = 0; i + 8 <= len; i += 8) {
		sums.first += word_at(bytes + i, is_big) + sums.second;
		sums.second += word_at(bytes + i + 4, is_big) + sums.first;
	}
	return sums;
}

static struct sums stored_sums(const unsigned char *at)
{
	return (struct sums){word_at(at, true), word_at(at + 4, true)};
}

static bool is_equal(struct sums a, struct sums b)
{
	return a.first == b.first && a.second == b.second;
}

/* ---------------------------------------------------------------- frames */

static struct sums frame_sums(const struct walk *walk, const unsigned char *frame,
			      struct sums before)
{
	struct sums sums = add(before, frame, 8, walk->is_big);

	return add(sums, frame + FRAME_BYTES, walk->step - FRAME_BYTES, walk->is_big);
}

static bool has_salts(const struct walk *walk, const unsigned char *frame)
{
	return memcmp(frame + FRAME_SALTS_AT, walk->salts, SALT_BYTES) == 0;
}

static bool is_commit(const unsigned char *frame)
{
	return word_at(frame + 4, true) != 0;
}

/* Frame `number`, from 1; NULL: the log ends before it is whole. */
static keep_status read_frame(struct walk *walk, uint32_t number, const unsigned char **frame,
			      keep_error *err)
{
	size_t got = 0;
	keep_status status = KEEP_OK;

	*frame = NULL;
	if (number < walk->batch_first || number >= walk->batch_first + walk->batch_count) {
		status = kp_file_read_at(
			walk->fd, walk->batch, BATCH_BYTES / walk->step * walk->step,
			HEADER_BYTES + (int64_t)(number - 1) * (int64_t)walk->step, &got, err);
		walk->batch_first = number;
		walk->batch_count = status == KEEP_OK ? (uint32_t)(got / walk->step) : 0;
	}
	if (walk->batch_count > 0)
		*frame = walk->batch + (number - walk->batch_first) * walk->step;
	return status;
}

/* ---------------------------------------------------------------- the end */

static unsigned count_bits(uint32_t word)
{
	return (unsigned)__builtin_popcount(word);
}

/* How what is added to both sums at some place arrives in those at the end: they are linear. */
struct spread {
	uint32_t a, b, c, d; /* first = a x + b y; second = c x + d y */
};

/* Would one other bit in the 8 bytes at `at` make up for `lack`? */
static bool is_bit_there(const struct walk *walk, const unsigned char *at, struct spread by,
			 struct sums lack)
{
	uint32_t words[] = {word_at(at, walk->is_big), word_at(at + 4, walk->is_big)};

	for (unsigned bit = 0; bit < 32; bit++) {
		uint32_t change = words[0] >> bit & 1 ? 0 - (1u << bit) : 1u << bit;

		/* the first word is added to both sums */
		if ((by.a + by.b) * change == lack.first && (by.c + by.d) * change == lack.second)
			return true;
		change = words[1] >> bit & 1 ? 0 - (1u << bit) : 1u << bit;
		if (by.b * change == lack.first && by.d * change == lack.second)
			return true;
	}
	return false;
}

static bool is_one_bit_off(const struct walk *walk, const unsigned char *frame)
{
	struct sums stored = stored_sums(frame + FRAME_SUMS_AT);
	struct sums sums = frame_sums(walk, frame, walk->sums);
	struct sums lack = {stored.first - sums.first, stored.second - sums.second};
	struct spread by = {1, 0, 0, 1};
	unsigned salt_bits = 0;

	for (size_t i = 0; i < SALT_BYTES; i += 4)
		salt_bits += count_bits(word_at(frame + FRAME_SALTS_AT + i, true) ^
					word_at(walk->salts + i, true));
	if (salt_bits > 0)
		return salt_bits == 1 && is_equal(sums, stored);
	if (count_bits(sums.first ^ stored.first) + count_bits(sums.second ^ stored.second) == 1)
		return true;
	for (size_t at = walk->step; at > FRAME_BYTES; at -= 8) {
		if (is_bit_there(walk, frame + at - 8, by, lack))
			return true;
		/* one pair earlier: first' = first + second, second' = second + first' */
		by = (struct spread){by.a + by.b, by.a + 2 * by.b, by.c + by.d, by.c + 2 * by.d};
	}
	return is_bit_there(walk, frame, by, lack);
}

/* What follows the first frame that is not right. */
static keep_status look_behind(struct walk *walk, bool *goes_on, uint32_t *commit, keep_error *err)
{
	struct sums before = {0, 0};
	bool is_first = true, is_after_commit = false;
	const unsigned char *frame = NULL;
	keep_status status;

	*goes_on = false;
	*commit = 0;
	for (uint32_t number = walk->frame + 1;; number++) {
		bool is_next;

		status = read_frame(walk, number, &frame, err);
		if (status != KEEP_OK || !frame)
			return status;
		is_next = has_salts(walk, frame) &&
			  (is_first || is_equal(frame_sums(walk, frame, before),
						stored_sums(frame + FRAME_SUMS_AT)));
		if (is_next && is_after_commit) {
			*goes_on = true;
			return KEEP_OK;
		}
		is_after_commit = is_next && is_commit(frame);
		if (is_after_commit)
			*commit = number;
		before = stored_sums(frame + FRAME_SUMS_AT);
		is_first = false;
	}
}

static keep_status judge_end(struct walk *walk, const kp_log_index *index, keep_error *err)
{
	kp_log_walk *out = walk->out;
	const unsigned char *frame = NULL;
	bool goes_on = false, has_frame_salts = false;
	uint32_t commit = 0;
	keep_status status = KEEP_OK;

	out->first = walk->frame + 1;
	if (index->is_known && index->frames > walk->frame) {
		out->trouble = KP_LOG_FRAME;
		out->last = index->frames;
		return KEEP_OK;
	}
	status = read_frame(walk, out->first, &frame, err);
	if (status != KEEP_OK || !frame)
		return status;
	has_frame_salts = has_salts(walk, frame);
	status = look_behind(walk, &goes_on, &commit, err);
	out->last = commit > 0 ? commit : out->first;
	if (status == KEEP_OK)
		status = read_frame(walk, out->first, &frame, err);
	if (status != KEEP_OK || !frame)
		return status;
	if ((goes_on && has_frame_salts) || is_one_bit_off(walk, frame))
		out->trouble = KP_LOG_FRAME;
	else if (commit > 0)
		out->trouble = KP_LOG_TAIL;
	return KEEP_OK;
}

/* ---------------------------------------------------------------- walking */

/* False: there is nothing to walk. */
static bool take_header(struct walk *walk, const unsigned char *header, const kp_log_index *index)
{
	kp_log_walk *out = walk->out;
	struct sums sums;

	walk->is_big = word_at(header, true) & 1;
	memcpy(walk->salts, header + SALTS_AT, SALT_BYTES);
	sums = add((struct sums){0, 0}, header, SUMS_AT, walk->is_big);
	walk->sums = sums;
	out->page_bytes = word_at(header + 8, true);
	if ((word_at(header, true) & ~1u) != MAGIC || word_at(header + 4, true) != VERSION ||
	    !kp_page_size_is_valid(out->page_bytes) ||
	    !is_equal(sums, stored_sums(header + SUMS_AT))) {
		out->trouble = KP_LOG_HEADER;
		out->page_bytes = 0;
		return false;
	}
	walk->step = FRAME_BYTES + (size_t)out->page_bytes;
	return !index->is_known || memcmp(walk->salts, index->salts, SALT_BYTES) == 0;
}

static keep_status walk_frames(struct walk *walk, const kp_log_index *index, keep_error *err)
{
	const unsigned char *frame = NULL;
	keep_status status;

	for (;;) {
		struct sums sums;

		status = read_frame(walk, walk->frame + 1, &frame, err);
		if (status != KEEP_OK)
			return status;
		if (!frame || !has_salts(walk, frame) || word_at(frame, true) == 0)
			break;
		sums = frame_sums(walk, frame, walk->sums);
		if (!is_equal(sums, stored_sums(frame + FRAME_SUMS_AT)))
			break;
		walk->sums = sums;
		walk->frame++;
		if (is_commit(frame)) {
			walk->out->frames = walk->frame;
			walk->out->pages = word_at(frame + 4, true);
		}
	}
	return judge_end(walk, index, err);
}

keep_status kp_log_walk_all(int fd, const kp_log_index *index, kp_log_walk *out, keep_error *err)
{
	struct walk walk = {.fd = fd, .out = out};
	unsigned char header[HEADER_BYTES];
	size_t got = 0;
	keep_status status = kp_file_read_at(fd, header, sizeof header, 0, &got, err);

	*out = (kp_log_walk){.page_bytes = 0};
	if (status != KEEP_OK || got < sizeof header || !take_header(&walk, header, index))
		return status;
	walk.batch = kp_alloc(BATCH_BYTES);
	if (!walk.batch)
		return kp_fail_memory(err, "a log");
	status = walk_frames(&walk, index, err);
	kp_free(walk.batch);
	return status;
}

keep_status kp_log_walk_mark(int fd, const kp_log_walk *walk, uint32_t from, unsigned char *bits,
			     uint32_t pages, keep_error *err)
{
	size_t step = FRAME_BYTES + (size_t)walk->page_bytes;
	keep_status status = KEEP_OK;

	for (uint32_t frame = from; frame <= walk->frames && status == KEEP_OK; frame++) {
		unsigned char number[4] = {0};
		size_t got = 0;
		uint32_t page;

		status = kp_file_read_at(fd, number, sizeof number,
					 HEADER_BYTES + (int64_t)(frame - 1) * (int64_t)step, &got,
					 err);
		page = word_at(number, true);
		if (status == KEEP_OK && got == sizeof number && page > 0 && page <= pages)
			kp_bit_set(bits, page);
	}
	return status;
}

/* ---------------------------------------------------------------- the index */

keep_status kp_log_index_read(kp_sql_conn *conn, kp_log_index *out, keep_error *err)
{
	kp_sqlite_raw raw = KP_SQLITE_RAW_INIT;
	unsigned char header[INDEX_BACKFILLED_AT + 4];
	volatile void *map = NULL;
	sqlite3_file *file;
	keep_status status = kp_sqlite_raw_borrow(conn, &raw, err);
	int rc = SQLITE_IOERR_SHMMAP;

	*out = (kp_log_index){.is_known = false};
	if (status != KEEP_OK)
		return status;
	file = raw.file;
	if (file->pMethods->iVersion >= 2)
		rc = file->pMethods->xShmMap(file, 0, MAP_BYTES, 0, &map);
	if (rc != SQLITE_OK)
		return kp_fail(err, kp_sqlite_status(rc, 0), "%s: the index of its log: %s",
			       kp_sqlite_of(conn)->path, sqlite3_errstr(rc));
	if (!map)
		return KEEP_OK;
	for (int tries = 0; tries < INDEX_TRIES; tries++) {
		for (size_t i = 0; i < sizeof header; i++)
			header[i] = ((volatile unsigned char *)map)[i];
		file->pMethods->xShmBarrier(file);
		if (memcmp(header, header + INDEX_BYTES, INDEX_BYTES) == 0)
			break;
		if (tries + 1 == INDEX_TRIES)
			return kp_fail(err, KEEP_BUSY,
				       "%s: the index of its log changes all the time",
				       kp_sqlite_of(conn)->path);
	}
	out->is_known = true;
	memcpy(&out->frames, header + INDEX_FRAMES_AT, sizeof out->frames);
	memcpy(&out->backfilled, header + INDEX_BACKFILLED_AT, sizeof out->backfilled);
	memcpy(out->salts, header + INDEX_SALTS_AT, sizeof out->salts);
	return KEEP_OK;
}

/*
 * sqlite_inspect.c - the SQLite driver: is a file what was written to it?
 *
 *     header and length ► the seal of every page ► every frame of the log ► integrity_check and
 *     foreign_key_check
 *
 * Others may use the file meanwhile. A page that is being written while it is read can look wrong,
 * so what looks wrong is read again, some times, with pauses; and the log is looked at again until
 * it stands still, at last while nobody writes (the write guard, where there is one). Damage stays.
 *
 * Invariants:
 *   1. Nothing is written: SQLite has the file for reading, its closing copies no log, and the
 * bytes are read through its own handle (closing one of ours would drop this process's locks).
 *   2. A page whose newest content is in the log, beyond what was copied into the file, is no loss:
 * a power cut in a checkpoint may leave it so, and the next checkpoint writes it. It is told as a
 *      note.
 *   3. A page without a seal is not damaged, and how many there are is told; a page that was never
 *      written is none of them.
 *   4. No finding tells what is stored.
 *
 * What it does not do: read rows by what they mean (src/home does), or mend (sqlite_reseal.c).
 *
 * Tests: tests/contract/test_page_seals.c.
 */
#include "sql/sqlite_inspect.h"
#include "sql/sqlite_driver.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum {
	HEADER_BYTES = 100,
	LOG_VERSION = 2,
	READ_VERSION_AT = 19,
	RESERVED_AT = 20,
	CHANGES_AT = 24,
	PAGES_AT = 28,
	VALID_FOR_AT = 92,
	BLOCK_BYTES = 1 << 20,
	PROBED_PAGES = 64,
	PASSES = 5,
	NAP_MS = 5,
	GUARD_MS = 5000,
	TEXT_SIZE = PATH_MAX + 512
};
#define LOCK_BYTE INT64_C(0x40000000) /* its page is never written */

struct inspection {
	char path[PATH_MAX];
	char log[PATH_MAX + 8];
	kp_sqlite_report *report;
	void *ctx;
	kp_sqlite_raw raw;
	kp_sql_conn *conn; /* NULL: SQLite cannot open it */
	kp_guard guard;
	bool has_guard;
	unsigned char *block;
	unsigned char header[HEADER_BYTES];
	uint32_t page_bytes; /* 0: its header is damaged */
	uint32_t pages;      /* that the file has whole */
	bool is_sealed;
	bool header_lies;              /* it has seals, and its header says that it has none */
	unsigned char *wrong, *in_log; /* a bit for each page */
	uint32_t wrong_count, unsealed_count, first_unsealed;
	int log_fd;
	kp_log_index index;
	kp_log_walk walk;
	bool is_cut_short; /* a killed writer's journal lies beside it */
	size_t told;
};

static uint32_t big_word(const unsigned char *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* ---------------------------------------------------------------- telling */

static keep_status tell(struct inspection *at, kp_sqlite_finding finding, keep_error *err,
			const char *format, ...) KEEP_PRINTF(4, 5);

static keep_status tell(struct inspection *at, kp_sqlite_finding finding, keep_error *err,
			const char *format, ...)
{
	char text[TEXT_SIZE];
	va_list args;

	va_start(args, format);
	kp_message_format(text, sizeof text, format, args);
	va_end(args);
	if (!finding.file)
		finding.file = at->path;
	finding.message = text;
	at->told++;
	return at->report(at->ctx, &finding, err);
}

static const kp_sqlite_finding damage = {.severity = KP_SQLITE_DAMAGE};

static void nap(void)
{
	struct timespec time = {.tv_nsec = NAP_MS * 1000000};

	(void)nanosleep(&time, NULL);
}

/* ---------------------------------------------------------------- the header */

/* Its own seal says whether a first page that denies to have one tells the truth. */
static bool first_page_lies(struct inspection *at)
{
	unsigned char *page = at->block;

	if (page[RESERVED_AT] == KP_SEAL_BYTES)
		return false;
	page[RESERVED_AT] = KP_SEAL_BYTES;
	if (kp_seal_look(page, at->page_bytes, 1) == KP_SEAL_RIGHT)
		return true;
	for (uint32_t page_no = 2; page_no <= at->pages && page_no <= PROBED_PAGES; page_no++) {
		if (kp_sqlite_raw_read(&at->raw, page, at->page_bytes,
				       (int64_t)(page_no - 1) * at->page_bytes, NULL) == KEEP_OK &&
		    kp_seal_look(page, at->page_bytes, page_no) == KP_SEAL_RIGHT)
			return true;
	}
	return false;
}

static keep_status read_header(struct inspection *at, keep_error *err)
{
	unsigned reserved = 0;
	int64_t size = 0;
	keep_status status = KEEP_OK;
	bool is_valid = false;

	for (int pass = 0; pass < PASSES && status == KEEP_OK && !is_valid; pass++) {
		if (pass > 0)
			nap();
		status = kp_sqlite_raw_size(&at->raw, &size, err);
		if (status == KEEP_OK)
			status =
				kp_sqlite_raw_read(&at->raw, at->header, sizeof at->header, 0, err);
		is_valid = status == KEEP_OK &&
			   kp_seal_header(at->header, &at->page_bytes, &reserved) &&
			   size >= at->page_bytes;
	}
	if (status != KEEP_OK)
		return status;
	if (!is_valid) {
		at->page_bytes = 0;
		return tell(at, (kp_sqlite_finding){.severity = KP_SQLITE_DAMAGE, .page = 1}, err,
			    size == 0 ? "%s: the file is empty, where a database was begun"
				      : "%s: page 1 does not begin as a SQLite database does",
			    at->path);
	}
	at->pages = size / at->page_bytes < UINT32_MAX ? (uint32_t)(size / at->page_bytes)
						       : UINT32_MAX - 1;
	at->is_sealed = reserved == KP_SEAL_BYTES;
	status = kp_sqlite_raw_read(&at->raw, at->block, at->page_bytes, 0, err);
	if (status == KEEP_OK && !at->is_sealed)
		at->is_sealed = at->header_lies = first_page_lies(at);
	return status;
}

/* ---------------------------------------------------------------- the pages */

static keep_status alloc_bits(struct inspection *at, keep_error *err)
{
	at->wrong = kp_alloc_zero((size_t)at->pages / 8 + 1);
	at->in_log = kp_alloc_zero((size_t)at->pages / 8 + 1);
	return at->wrong && at->in_log ? KEEP_OK : kp_fail_memory(err, "the pages of a database");
}

static keep_status scan_pages(struct inspection *at, keep_error *err)
{
	uint32_t per_block = BLOCK_BYTES / at->page_bytes;
	uint32_t lock_page = (uint32_t)(LOCK_BYTE / at->page_bytes) + 1;
	keep_status status = KEEP_OK;

	for (uint32_t first = 1; first <= at->pages && status == KEEP_OK; first += per_block) {
		uint32_t count =
			at->pages - first + 1 < per_block ? at->pages - first + 1 : per_block;

		status = kp_sqlite_raw_read(&at->raw, at->block, (size_t)count * at->page_bytes,
					    (int64_t)(first - 1) * at->page_bytes, err);
		for (uint32_t i = 0; i < count && status == KEEP_OK; i++) {
			uint32_t page = first + i;
			kp_seal_state state = kp_seal_look(at->block + (size_t)i * at->page_bytes,
							   at->page_bytes, page);

			if (state == KP_SEAL_NONE && page != lock_page && at->unsealed_count++ == 0)
				at->first_unsealed = page;
			if (state != KP_SEAL_WRONG || page == lock_page)
				continue;
			kp_bit_set(at->wrong, page);
			at->wrong_count++;
		}
	}
	return status;
}

/* Those that look right now were being written. */
static keep_status scan_wrong(struct inspection *at, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (uint32_t page = 1; page <= at->pages && status == KEEP_OK; page++) {
		if (!kp_bit_is_set(at->wrong, page))
			continue;
		status = kp_sqlite_raw_read(&at->raw, at->block, at->page_bytes,
					    (int64_t)(page - 1) * at->page_bytes, err);
		if (status != KEEP_OK ||
		    kp_seal_look(at->block, at->page_bytes, page) == KP_SEAL_WRONG)
			continue;
		kp_bit_clear(at->wrong, page);
		at->wrong_count--;
	}
	return status;
}

static keep_status check_seals(struct inspection *at, keep_error *err)
{
	keep_status status = scan_pages(at, err);

	for (int pass = 1; pass < PASSES && status == KEEP_OK && at->wrong_count > 0; pass++) {
		nap();
		status = scan_wrong(at, err);
	}
	return status;
}

/* ---------------------------------------------------------------- the log */

static keep_status open_log(struct inspection *at, keep_error *err)
{
	keep_status status;

	if (at->log_fd >= 0 || (at->page_bytes > 0 && at->header[READ_VERSION_AT] == 1))
		return KEEP_OK;
	status = kp_file_open(AT_FDCWD, at->log, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, &at->log_fd,
			      err);
	return status == KEEP_NOT_FOUND ? KEEP_OK : status;
}

static keep_status walk_once(struct inspection *at, keep_error *err)
{
	keep_status status = KEEP_OK;

	at->walk = (kp_log_walk){.page_bytes = 0};
	at->index = (kp_log_index){.is_known = false};
	kp_file_close(
		&at->log_fd); /* its last user may have removed it, and another made it anew */
	status = open_log(at, err);
	if (status != KEEP_OK || at->log_fd < 0)
		return status;
	if (at->conn && (at->conn->caps & KP_SQL_LOG))
		status = kp_log_index_read(at->conn, &at->index, err);
	return status == KEEP_OK ? kp_log_walk_all(at->log_fd, &at->index, &at->walk, err) : status;
}

/* Nobody who keeps to the guard writes from here on. */
static keep_status take_guard(struct inspection *at, keep_error *err)
{
	char name[PATH_MAX + 8];
	struct stat st;
	keep_status status;

	(void)snprintf(name, sizeof name, "%s-guard", at->path);
	if (at->has_guard || stat(name, &st) != 0)
		return KEEP_OK;
	status = kp_guard_open(&at->guard, at->path, err);
	if (status == KEEP_OK)
		status = kp_guard_acquire(&at->guard, GUARD_MS, err);
	at->has_guard = status == KEEP_OK;
	return status;
}

/* Pages up to which the database goes, and those of them that the file is not to be asked for. */
static keep_status mark_log(struct inspection *at, keep_error *err)
{
	uint32_t copied = at->index.is_known ? at->index.backfilled : 0;
	bool is_current = !at->index.is_known || at->walk.frames > 0;

	memset(at->in_log, 0, (size_t)at->pages / 8 + 1);
	if (at->log_fd < 0 || at->walk.page_bytes != at->page_bytes || !is_current)
		return KEEP_OK;
	return kp_log_walk_mark(at->log_fd, &at->walk, copied + 1, at->in_log, at->pages, err);
}

static uint32_t expected_pages(const struct inspection *at)
{
	const unsigned char *header = at->header;

	if (at->walk.frames > 0 && at->walk.page_bytes == at->page_bytes)
		return at->walk.pages;
	return memcmp(header + CHANGES_AT, header + VALID_FOR_AT, 4) == 0
		       ? big_word(header + PAGES_AT)
		       : 0;
}

/* The first page that neither the file nor the log has whole; 0: none. */
static keep_status find_missing(struct inspection *at, uint32_t *missing, keep_error *err)
{
	uint32_t expected = expected_pages(at);
	uint32_t copied = at->index.is_known ? at->index.backfilled : 0;
	unsigned char *bits = NULL;
	int64_t size = 0;
	uint32_t pages;
	keep_status status = kp_sqlite_raw_size(&at->raw, &size, err);

	*missing = 0;
	pages = (uint32_t)(size / at->page_bytes);
	if (status != KEEP_OK || pages >= expected || at->is_cut_short)
		return status;
	bits = kp_alloc_zero((size_t)expected / 8 + 1);
	if (!bits)
		return kp_fail_memory(err, "the pages of a database");
	if (at->log_fd >= 0 && at->walk.page_bytes == at->page_bytes)
		status = kp_log_walk_mark(at->log_fd, &at->walk, copied + 1, bits, expected, err);
	for (uint32_t page = pages + 1; status == KEEP_OK && page <= expected && *missing == 0;
	     page++)
		if (!kp_bit_is_set(bits, page) && (int64_t)(page - 1) * at->page_bytes != LOCK_BYTE)
			*missing = page;
	kp_free(bits);
	return status;
}

/* Until there is nothing to be told, or it has been so often enough. */
static keep_status check_log(struct inspection *at, uint32_t *missing, keep_error *err)
{
	keep_status status = KEEP_OK;

	*missing = 0;
	for (int pass = 0; pass < PASSES && status == KEEP_OK; pass++) {
		if (pass > 0)
			nap();
		if (pass > PASSES / 2)
			status = take_guard(at, err);
		if (status == KEEP_OK && pass > 0 && at->page_bytes > 0)
			status =
				kp_sqlite_raw_read(&at->raw, at->header, sizeof at->header, 0, err);
		if (status == KEEP_OK)
			status = walk_once(at, err);
		if (status == KEEP_OK && at->page_bytes > 0)
			status = find_missing(at, missing, err);
		if (at->walk.trouble == KP_LOG_WELL && *missing == 0)
			break;
	}
	if (status == KEEP_OK && at->wrong_count > 0)
		status = mark_log(at, err);
	return status;
}

/* ---------------------------------------------------------------- what was found */

static keep_status tell_wrong(struct inspection *at, keep_error *err)
{
	uint32_t told = 0;
	keep_status status = KEEP_OK;

	for (uint32_t page = 1; page <= at->pages && status == KEEP_OK; page++) {
		if (!kp_bit_is_set(at->wrong, page))
			continue;
		if (told++ == KP_SQLITE_FINDINGS_MAX)
			return tell(at, damage, err,
				    "%s: %" PRIu32 " more pages differ from their checksums",
				    at->path, at->wrong_count - KP_SQLITE_FINDINGS_MAX);
		if (kp_bit_is_set(at->in_log, page))
			status = tell(
				at, (kp_sqlite_finding){.severity = KP_SQLITE_NOTE, .page = page},
				err,
				"%s: page %" PRIu32
				" differs from its checksum, and the log holds what replaces it",
				at->path, page);
		else
			status = tell(at,
				      (kp_sqlite_finding){.severity = KP_SQLITE_DAMAGE,
							  .page = page,
							  .may_reseal = true},
				      err,
				      "%s: page %" PRIu32 " differs from its checksum: it was "
				      "damaged, or another program than Keep wrote it",
				      at->path, page);
	}
	return status;
}

static keep_status tell_pages(struct inspection *at, keep_error *err)
{
	keep_status status = KEEP_OK;

	if (at->header_lies)
		status = tell(at, (kp_sqlite_finding){.severity = KP_SQLITE_DAMAGE, .page = 1}, err,
			      "%s: page 1 is damaged: it denies the checksums that the pages have",
			      at->path);
	if (status == KEEP_OK && at->wrong_count > 0)
		status = tell_wrong(at, err);
	if (status == KEEP_OK && at->unsealed_count > 0)
		status = tell(
			at,
			(kp_sqlite_finding){.severity = KP_SQLITE_NOTE,
					    .page = at->first_unsealed,
					    .may_reseal = true},
			err,
			"%s: %" PRIu32 " pages, of which page %" PRIu32
			" is the first, have no checksum: another program than Keep wrote them",
			at->path, at->unsealed_count, at->first_unsealed);
	return status;
}

static keep_status tell_log(struct inspection *at, keep_error *err)
{
	kp_sqlite_finding finding = damage;
	const kp_log_walk *walk = &at->walk;

	finding.file = at->log;
	finding.frame = walk->first;
	switch (walk->trouble) {
	case KP_LOG_HEADER:
		finding.frame = 0;
		return tell(at, finding, err,
			    "%s: the log's header is damaged: nothing of the log would be read",
			    at->log);
	case KP_LOG_FRAME:
		return tell(at, finding, err,
			    "%s: frame %" PRIu32
			    " of the log differs from its checksum: what it and "
			    "the frames after it hold would not be read",
			    at->log, walk->first);
	case KP_LOG_TAIL:
		finding.severity = KP_SQLITE_NOTE;
		return tell(at, finding, err,
			    "%s: the log's last transaction, frames %" PRIu32 " to %" PRIu32
			    ", is not whole: a crash cut it short, or it was damaged",
			    at->log, walk->first, walk->last);
	default: return KEEP_OK;
	}
}

static keep_status look_at_bytes(struct inspection *at, keep_error *err)
{
	uint32_t missing = 0;
	keep_status status = read_header(at, err);

	if (status == KEEP_OK && at->page_bytes > 0)
		status = alloc_bits(at, err);
	if (status == KEEP_OK && at->page_bytes > 0 && at->is_sealed)
		status = check_seals(at, err);
	if (status == KEEP_OK)
		status = check_log(at, &missing, err);
	if (status == KEEP_OK)
		status = tell_pages(at, err);
	if (status == KEEP_OK && missing > 0)
		status =
			tell(at, (kp_sqlite_finding){.severity = KP_SQLITE_DAMAGE, .page = missing},
			     err, "%s: the file ends before page %" PRIu32 " of %" PRIu32, at->path,
			     missing, expected_pages(at));
	if (status == KEEP_OK)
		status = tell_log(at, err);
	if (at->has_guard)
		kp_guard_release(&at->guard);
	at->has_guard = false;
	return status;
}

/* ---------------------------------------------------------------- what SQLite says */

/* It also writes of pages that it had no memory for. */
static keep_status find_failure(struct inspection *at, keep_bytes line, keep_error *err)
{
	static const char mark[] = "error code=";
	const char *found = memmem(line.data, line.len, mark, sizeof mark - 1);
	const char *end = line.data + line.len;
	int64_t code = 0;
	keep_status status;

	if (!found)
		return KEEP_OK;
	found += sizeof mark - 1;
	if (!kp_int_parse((keep_bytes){found, (size_t)(end - found)}, &code))
		return KEEP_OK;
	status = kp_sqlite_status((int)code, 0);
	return status == KEEP_CORRUPT || status == KEEP_OK
		       ? KEEP_OK
		       : kp_fail(err, status, "%s: integrity_check could not go on: %s", at->path,
				 sqlite3_errstr((int)code));
}

/* A row's text may be several lines, the first of which names the schema. */
static keep_status tell_lines(struct inspection *at, keep_bytes said, int *told, keep_error *err)
{
	keep_status status = KEEP_OK;

	while (said.len > 0 && status == KEEP_OK) {
		const char *end = memchr(said.data, '\n', said.len);
		size_t len = end ? (size_t)(end - said.data) : said.len;
		keep_bytes line = {said.data, len};

		status = find_failure(at, line, err);
		if (status == KEEP_OK && len > 3 && memcmp(line.data, "***", 3) != 0 &&
		    (*told)++ < KP_SQLITE_FINDINGS_MAX)
			status = tell(at, damage, err, "%s: %" KP_PRI, at->path, KP_ARG(line));
		said.data += end ? len + 1 : len;
		said.len -= end ? len + 1 : len;
	}
	return status;
}

/* What SQLite cannot read is a finding; that it cannot work is a failure. */
static keep_status note_failure(struct inspection *at, keep_status status, const keep_error *why,
				keep_error *err)
{
	if (status == KEEP_OK)
		return KEEP_OK;
	if (status != KEEP_CORRUPT)
		return kp_fail(err, status, "%s", why->message);
	return tell(at, damage, err, "%s", why->message);
}

/* NULL for `told`: only whether there is anything. */
static keep_status run_integrity(struct inspection *at, bool *is_ok, int *told, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_error why = KEEP_ERROR_INIT;
	keep_status told_status = KEEP_OK, status;
	bool has_row = false;

	*is_ok = true;
	status = kp_sql_prepare(at->conn,
				told ? "PRAGMA integrity_check" : "PRAGMA integrity_check(1)",
				&stmt, &why);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, &why);
	while (status == KEEP_OK && has_row && told_status == KEEP_OK) {
		keep_bytes said = {.data = NULL};

		status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &said, &why);
		if (status == KEEP_OK && !kp_bytes_equal(said, KEEP_BYTES("ok"))) {
			*is_ok = false;
			if (told)
				told_status = tell_lines(at, said, told, err);
		}
		if (status == KEEP_OK && told_status == KEEP_OK)
			status = kp_sql_step(stmt, &has_row, &why);
	}
	kp_sql_finish(&stmt);
	*is_ok = *is_ok && status == KEEP_OK;
	if (told_status != KEEP_OK || (status == KEEP_CORRUPT && !told))
		return told_status;
	return note_failure(at, status, &why, err);
}

/* It takes a page that it could not read, or had no memory for, for a damaged one. So before it is
   believed, everything is read and some memory taken; and then it is asked again. */
static keep_status check_integrity(struct inspection *at, keep_error *err)
{
	bool is_ok = false;
	int told = 0;
	int64_t size = 0;
	void *memory = NULL;
	keep_status status = run_integrity(at, &is_ok, NULL, err);

	if (status != KEEP_OK || is_ok)
		return status;
	memory = sqlite3_malloc(BLOCK_BYTES);
	if (!memory)
		return kp_fail_memory(err, "a check");
	sqlite3_free(memory);
	status = kp_sqlite_raw_size(&at->raw, &size, err);
	for (int64_t from = 0; from < size && status == KEEP_OK; from += BLOCK_BYTES)
		status = kp_sqlite_raw_read(&at->raw, at->block, BLOCK_BYTES, from, err);
	return status == KEEP_OK ? run_integrity(at, &is_ok, &told, err) : status;
}

static keep_status tell_reference(struct inspection *at, kp_sql_stmt *stmt, keep_error *why,
				  keep_error *err, keep_status *told_status)
{
	keep_bytes table = {.data = NULL}, parent = {.data = NULL};
	kp_value row;
	keep_status status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &table, why);

	if (status == KEEP_OK)
		status = kp_sql_column(stmt, 1, KP_INT, &row, why);
	if (status == KEEP_OK)
		status = kp_sql_column_bytes(stmt, 2, KP_TEXT, &parent, why);
	if (status == KEEP_OK)
		*told_status = tell(at, damage, err,
				    "%s: row %" PRId64 " of %" KP_PRI " refers to a row of %" KP_PRI
				    " that is not there",
				    at->path, row.is_null ? 0 : row.integer, KP_ARG(table),
				    KP_ARG(parent));
	return status;
}

static keep_status check_references(struct inspection *at, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_error why = KEEP_ERROR_INIT;
	keep_status told_status = KEEP_OK, status;
	bool has_row = false;
	int told = 0;

	status = kp_sql_prepare(at->conn, "PRAGMA foreign_key_check", &stmt, &why);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, &why);
	while (status == KEEP_OK && has_row && told_status == KEEP_OK &&
	       told++ < KP_SQLITE_FINDINGS_MAX) {
		status = tell_reference(at, stmt, &why, err, &told_status);
		if (status == KEEP_OK && told_status == KEEP_OK)
			status = kp_sql_step(stmt, &has_row, &why);
	}
	kp_sql_finish(&stmt);
	return told_status == KEEP_OK ? note_failure(at, status, &why, err) : told_status;
}

/* ---------------------------------------------------------------- the whole */

/* A file that SQLite cannot open for what it is gets a finding; when nothing else told why. */
static keep_status open_both(struct inspection *at, const char *given, keep_error *why,
			     keep_error *err)
{
	kp_sql_options options = {
		.location = given, .read_only = true, .journal = KP_JOURNAL_AS_IS};
	struct stat st;
	keep_status status = kp_sqlite_path(given, at->path, err);

	if (status != KEEP_OK)
		return status;
	if (stat(at->path, &st) != 0)
		return errno == ENOENT || errno == ENOTDIR
			       ? kp_fail(err, KEEP_NOT_FOUND, "there is no file '%s'", given)
			       : kp_fail_errno(err, errno, "open '%s'", given);
	if (!S_ISREG(st.st_mode))
		return kp_fail(err, KEEP_INVALID, "'%s' is not a file", given);
	status = kp_sqlite_raw_open(given, &at->raw, err);
	if (status != KEEP_OK || st.st_size == 0)
		return status;
	status = kp_sql_open(&kp_sql_sqlite, &options, &at->conn, why);
	if (status == KEEP_OK) {
		struct kp_sqlite *conn = kp_sqlite_of(at->conn);

		(void)sqlite3_db_config(conn->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
		if (strlen(conn->path) < sizeof at->path) /* the guard's and the log's name */
			(void)snprintf(at->path, sizeof at->path, "%s", conn->path);
		return KEEP_OK;
	}
	at->is_cut_short = why->native == SQLITE_READONLY_ROLLBACK;
	return status == KEEP_CORRUPT || at->is_cut_short
		       ? KEEP_OK
		       : kp_fail(err, status, "%s", why->message);
}

static keep_status tell_unopened(struct inspection *at, const keep_error *why, keep_error *err)
{
	if (at->is_cut_short)
		return tell(at, (kp_sqlite_finding){.severity = KP_SQLITE_NOTE}, err,
			    "%s: what a killed writer began waits to be rolled back by whoever "
			    "opens it next, and SQLite was not asked about it",
			    at->path);
	return why->status != KEEP_OK && at->told == 0 ? tell(at, damage, err, "%s", why->message)
						       : KEEP_OK;
}

static keep_status inspect(const char *path, bool asks_sqlite, kp_sqlite_report *report, void *ctx,
			   keep_error *err)
{
	struct inspection *at = kp_alloc_zero(sizeof *at);
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = KEEP_OK;

	if (!at)
		return kp_fail_memory(err, "a check");
	at->report = report;
	at->ctx = ctx;
	at->log_fd = -1;
	at->guard = (kp_guard)KP_GUARD_INIT;
	at->block = kp_alloc(BLOCK_BYTES);
	status = at->block ? open_both(at, path, &why, err) : kp_fail_memory(err, "a check");
	if (status == KEEP_OK) {
		(void)snprintf(at->log, sizeof at->log, "%s-wal", at->path);
		status = look_at_bytes(at, err);
	}
	if (status == KEEP_OK && !at->conn)
		status = tell_unopened(at, &why, err);
	if (status == KEEP_OK && at->conn && asks_sqlite)
		status = check_integrity(at, err);
	if (status == KEEP_OK && at->conn && asks_sqlite)
		status = check_references(at, err);
	kp_sql_close(&at->conn);
	kp_sqlite_raw_close(&at->raw);
	kp_guard_close(&at->guard);
	kp_file_close(&at->log_fd);
	kp_free(at->wrong);
	kp_free(at->in_log);
	kp_free(at->block);
	kp_free(at);
	return status;
}

keep_status kp_sqlite_check_file(const char *path, kp_sqlite_report *report, void *ctx,
				 keep_error *err)
{
	return inspect(path, true, report, ctx, err);
}

keep_status kp_sqlite_check_pages(const char *path, kp_sqlite_report *report, void *ctx,
				  keep_error *err)
{
	return inspect(path, false, report, ctx, err);
}

keep_status kp_sqlite_is_sealed(const char *path, bool *is_sealed, keep_error *err)
{
	kp_sqlite_raw raw = KP_SQLITE_RAW_INIT;
	unsigned char header[HEADER_BYTES];
	char full[PATH_MAX];
	uint32_t page_bytes = 0;
	unsigned reserved = 0;
	struct stat st;
	keep_status status = kp_sqlite_path(path, full, err);

	*is_sealed = false;
	if (status == KEEP_OK && stat(full, &st) != 0 && errno == ENOENT)
		return kp_fail(err, KEEP_NOT_FOUND, "there is no file '%s'", path);
	if (status == KEEP_OK)
		status = kp_sqlite_raw_open(path, &raw, err);
	if (status == KEEP_OK)
		status = kp_sqlite_raw_read(&raw, header, sizeof header, 0, err);
	kp_sqlite_raw_close(&raw);
	if (status == KEEP_OK && !kp_seal_header(header, &page_bytes, &reserved))
		return kp_fail(err, KEEP_CORRUPT, "'%s' does not begin as a SQLite database does",
			       path);
	*is_sealed = status == KEEP_OK && reserved == KP_SEAL_BYTES;
	return status;
}

/*
 * transfer_home.c - keep_transfer: a whole home from a folder to a server, or back.
 *
 *     look       both sides; the target is empty, or has the beginning of this very transfer
 *     make       the note in the target, then its stores, without a row
 *     copy       gateway, mailbox, sessions, engines: each table copied, read back and compared
 *     end        the source was not written meanwhile; the note goes
 *
 * A transfer that was interrupted, at whatever moment, is the same call again.
 *
 * Invariants:
 *   1. A target that has something, and no note of this transfer, is not touched.
 *   2. The note goes last: a target without one is whole, or was never begun.
 *   3. A source folder that was written while it was read is no success, unless the caller said
 *      that each file may be of a moment of its own. A source server is read in one snapshot.
 *
 * What it does not do: know a table (transfer_stores.c, transfer_engine.c, transfer_sessions.c).
 *
 * Tests: tests/contract/test_transfer_home.c, tests/crash/test_transfer_crash.c,
 * tests/torture/test_transfer_faults.c.
 */
#include "home/home_private.h"

#include <stdio.h>
#include <string.h>

enum { TIMEOUT_MS = 5000, BATCH_ROWS_MAX = 1000000 };

/* ---------------------------------------------------------------- progress and result */

keep_status kp_home_transfer_tell(void *ctx, const kp_transfer_table *table, int64_t rows,
				  bool verifies, keep_error *err)
{
	kp_home_transfer *transfer = ctx;
	const keep_transfer_options *options = &transfer->options;
	keep_transfer_progress progress = {
		.store = transfer->store, .table = table->name, .rows = rows, .verifies = verifies};

	if (!verifies) {
		transfer->rows_all += rows - transfer->rows_told;
		transfer->rows_told = rows;
	}
	progress.rows_all = transfer->rows_all;
	if ((options->cancelled && *options->cancelled) ||
	    (options->progress && !options->progress(options->progress_ctx, &progress)))
		return kp_fail(err, KEEP_BUSY,
			       "the transfer was cancelled; the same call goes on with it");
	return KEEP_OK;
}

keep_status kp_home_transfer_note(kp_home_transfer *transfer, const char *store, const char *table,
				  const kp_transfer_sum *sum, keep_error *err)
{
	struct kp_transfer_line *line = NULL;

	for (size_t i = 0; i < transfer->line_count && !line; i++)
		if (strcmp(transfer->lines[i].store, store) == 0 &&
		    strcmp(transfer->lines[i].table, table) == 0)
			line = &transfer->lines[i];
	if (line)
		return kp_transfer_sum_add(&line->sum, sum, err);
	if (transfer->line_count == KP_TRANSFER_TABLES_MAX)
		return kp_fail(err, KEEP_FULL, "a transfer has at most %d tables",
			       KP_TRANSFER_TABLES_MAX);
	line = &transfer->lines[transfer->line_count++];
	*line = (struct kp_transfer_line){.table = table};
	(void)snprintf(line->store, sizeof line->store, "%s", store);
	/* The same whether one part follows or many. */
	return kp_transfer_sum_add(&line->sum, sum, err);
}

static keep_status give_result(const kp_home_transfer *transfer, keep_transfer_result *result,
			       keep_error *err)
{
	keep_transfer_table *tables =
		kp_arena_alloc(&result->memory, (transfer->line_count + 1) * sizeof *tables);
	keep_status status = tables ? KEEP_OK : kp_fail_memory(err, "a transfer's result");

	for (size_t i = 0; i < transfer->line_count && status == KEEP_OK; i++) {
		const struct kp_transfer_line *line = &transfer->lines[i];
		char hex[2 * KP_SHA256_SIZE + 1];

		kp_hex_format((keep_bytes){(const char *)line->sum.digest, KP_SHA256_SIZE}, hex);
		tables[i] = (keep_transfer_table){.rows = line->sum.rows};
		result->rows += line->sum.rows;
		status = kp_arena_copy(&result->memory, keep_bytes_of(line->store),
				       &tables[i].store, err);
		if (status == KEEP_OK)
			status = kp_arena_copy(&result->memory, keep_bytes_of(line->table),
					       &tables[i].table, err);
		if (status == KEEP_OK)
			status = kp_arena_copy(&result->memory, keep_bytes_of(hex),
					       &tables[i].sha256, err);
	}
	result->tables = tables;
	result->count = transfer->line_count;
	result->rows_before = transfer->rows_before;
	result->files_behind = transfer->files_behind;
	return status;
}

void keep_transfer_result_release(keep_transfer_result *result)
{
	if (!result)
		return;
	kp_arena_release(&result->memory);
	*result = (keep_transfer_result){.count = 0};
}

/* ---------------------------------------------------------------- looking */

static keep_status look_at_source(kp_home_transfer *transfer, keep_error *err)
{
	int64_t files = 0;
	keep_status status;

	if (transfer->from.is_server)
		return KEEP_OK;
	status = kp_home_fingerprint(&transfer->from, &transfer->fingerprint, err);
	if (status == KEEP_OK)
		status = kp_home_count_files(&transfer->from, &files, err);
	if (status == KEEP_OK && files && !transfer->options.without_files)
		return kp_fail(err, KEEP_CONFLICT,
			       "mailbox: %lld files of messages, which a server cannot keep; they "
			       "can be left behind",
			       (long long)files);
	transfer->files_behind = files;
	return status;
}

static keep_status look_again(kp_home_transfer *transfer, keep_error *err)
{
	uint64_t now = 0;
	keep_status status;

	if (transfer->from.is_server || transfer->options.in_use)
		return KEEP_OK;
	status = kp_home_fingerprint(&transfer->from, &now, err);
	if (status == KEEP_OK && now != transfer->fingerprint)
		status = kp_fail(err, KEEP_CONFLICT,
				 "%s: was written meanwhile; end what uses it, and transfer again",
				 transfer->from.home);
	return status;
}

/* Invariant 1. */
static keep_status look_at_target(kp_home_transfer *transfer, enum kp_transfer_stage *stage,
				  keep_error *err)
{
	keep_status status =
		kp_transfer_state_read(&transfer->to, transfer->from.identity, stage, err);

	if (status != KEEP_OK || *stage != KP_STAGE_NONE)
		return status;
	status = kp_home_stores_check_empty(&transfer->to, err);
	return status == KEEP_OK ? kp_home_engines_check_empty(&transfer->to, err) : status;
}

/* ---------------------------------------------------------------- the whole */

static keep_status begin(kp_home_transfer *transfer, keep_error *err)
{
	enum kp_transfer_stage stage = KP_STAGE_NONE;
	const unsigned char *identity = transfer->from.identity;
	keep_status status = look_at_target(transfer, &stage, err);

	if (status == KEEP_OK && stage == KP_STAGE_NONE)
		status = kp_transfer_state_write(&transfer->to, identity, KP_STAGE_MAKING, err);
	kp_moment("transfer.noted");
	if (status == KEEP_OK && stage != KP_STAGE_COPYING)
		status = kp_home_stores_make(transfer, err);
	if (status == KEEP_OK && stage != KP_STAGE_COPYING)
		status = kp_transfer_state_write(&transfer->to, identity, KP_STAGE_COPYING, err);
	kp_moment("transfer.copying");
	return status;
}

static keep_status run(kp_home_transfer *transfer, const char *from, const char *to,
		       keep_error *err)
{
	int64_t timeout_ms = transfer->options.timeout_ms;
	keep_status status = kp_home_side_open(&transfer->from, from, false, timeout_ms, err);

	if (status == KEEP_OK)
		status = look_at_source(transfer, err);
	if (status == KEEP_OK)
		status = kp_home_side_open(&transfer->to, to, true, timeout_ms, err);
	if (status == KEEP_OK)
		status = begin(transfer, err);
	if (status == KEEP_OK)
		status = kp_home_stores_copy(transfer, err);
	if (status == KEEP_OK)
		status = kp_home_sessions_copy(transfer, err);
	if (status == KEEP_OK)
		status = kp_home_engines_copy(transfer, err);
	if (status == KEEP_OK)
		status = look_again(transfer, err);
	kp_moment("transfer.compared");
	if (status == KEEP_OK)
		status = kp_transfer_state_remove(&transfer->to, err);
	return status;
}

static keep_status check(const char *from, const char *to, const keep_transfer_options *options,
			 const keep_transfer_result *result, keep_error *err)
{
	if (!from || !to || !result)
		return kp_fail(err, KEEP_MISUSE, "keep_transfer: an argument is NULL");
	if (options && options->size != sizeof *options)
		return kp_fail(err, KEEP_MISUSE, "keep_transfer: options.size is %zu",
			       options->size);
	if (!*from || !*to)
		return kp_fail(err, KEEP_INVALID, "transfer: a home is missing");
	if (kp_home_side_is_server(from) == kp_home_side_is_server(to))
		return kp_fail(err, KEEP_INVALID,
			       "transfer: one home is a folder and the other a postgres:// URL");
	if (options && (options->batch_rows < 0 || options->batch_rows > BATCH_ROWS_MAX ||
			options->timeout_ms < 0))
		return kp_fail(err, KEEP_INVALID,
			       "transfer: batch_rows is 0 to %d and timeout_ms not below 0",
			       BATCH_ROWS_MAX);
	return KEEP_OK;
}

keep_status keep_transfer(const char *from, const char *to, const keep_transfer_options *options,
			  keep_transfer_result *result, keep_error *err)
{
	kp_home_transfer transfer = {.from = {.fd = -1}, .to = {.fd = -1}, .store = ""};
	keep_status status = check(from, to, options, result, err);

	if (status != KEEP_OK)
		return status;
	*result = (keep_transfer_result){.count = 0};
	if (options)
		transfer.options = *options;
	if (!transfer.options.timeout_ms)
		transfer.options.timeout_ms = TIMEOUT_MS;
	transfer.watch = (kp_transfer_watch){.tell = kp_home_transfer_tell,
					     .ctx = &transfer,
					     .batch_rows = transfer.options.batch_rows};
	transfer.lines = kp_alloc_zero(KP_TRANSFER_TABLES_MAX * sizeof *transfer.lines);
	if (!transfer.lines)
		return kp_fail_memory(err, "a transfer");
	status = run(&transfer, from, to, err);
	if (status == KEEP_OK)
		status = give_result(&transfer, result, err);
	if (status != KEEP_OK)
		keep_transfer_result_release(result);
	kp_home_side_close(&transfer.to);
	kp_home_side_close(&transfer.from);
	kp_free(transfer.lines);
	return status;
}

/*
 * check_leases.c - work that somebody took and will not bring back: its lease is over, or its
 * process is proven dead, and it was not given back.
 *
 * A lease that has been over for less than GRACE_MS is none: whoever has it may be at its end, and
 * whoever gives leases back has its turn.
 *
 * Invariants:
 *   1. What a living process holds is never given back, nor what an unknown one holds whose lease
 * is not over (schedule/due.h: what proves that a process is gone).
 *   2. It is given back as its store does it, with a compare-and-set on its owner: who has taken it
 *      meanwhile keeps it.
 *
 * Tests: tests/contract/test_home_check_stores.c.
 */
#include "home/check_private.h"
#include "schedule/due.h"

#include <string.h>

enum { GRACE_MS = 2000, MENDED_AT_ONCE = 1000 };

/* One that is to be given back. */
struct orphan {
	keep_bytes key, owner;
};

struct orphans {
	kp_check_unit *unit;
	const kp_check_lease *lease;
	kp_arena arena;
	struct orphan *items; /* of MENDED_AT_ONCE */
	size_t count;
	int64_t found;
	bool counts; /* nothing is told */
};

/* NULL: it is none. */
static const char *judge(const kp_home_check *check, keep_bytes owner, const kp_value *until)
{
	int64_t over_ms = check->now_ms - GRACE_MS;
	const char *slash = owner.data ? memrchr(owner.data, '/', owner.len) : NULL;

	/* An agent's is a process, '+' when its leases outlive it, '/' and a number. */
	if (slash)
		owner.len = (size_t)(slash - owner.data);
	if (kp_owner_check(owner, INT64_MAX, 0) == KP_OWNER_GONE)
		return "whose process is gone";
	if (until->is_null)
		return "and no end of its lease";
	return until->integer < over_ms ? "whose lease is over" : NULL;
}

static keep_status remember(struct orphans *orphans, keep_bytes key, keep_bytes owner,
			    keep_error *err)
{
	struct orphan *orphan;
	keep_status status;

	if (!orphans->unit->check->options.repair || !orphans->items ||
	    orphans->count == MENDED_AT_ONCE)
		return KEEP_OK;
	orphan = &orphans->items[orphans->count];
	status = kp_arena_copy(&orphans->arena, key, &orphan->key, err);
	if (status == KEEP_OK)
		status = kp_arena_copy(&orphans->arena, owner, &orphan->owner, err);
	orphans->count += status == KEEP_OK;
	return status;
}

static keep_status take_lease(struct orphans *orphans, kp_sql_stmt *stmt, keep_error *err)
{
	kp_value key = {.is_null = true}, owner = key, until = key;
	kp_complaint found = {.severity = KEEP_SEVERITY_INCONSISTENCY,
			      .kind = KP_ORPHANED_LEASE,
			      .table = orphans->lease->table,
			      .can_repair = true};
	const char *why;
	keep_status status = kp_sql_column(stmt, 0, KP_TEXT, &key, err);

	if (status == KEEP_OK)
		status = kp_sql_column(stmt, 1, KP_TEXT, &owner, err);
	if (status == KEEP_OK)
		status = kp_sql_column(stmt, 2, KP_TIME, &until, err);
	if (status != KEEP_OK)
		return status;
	found.key = key.bytes;
	if (owner.is_null)
		owner.bytes = (keep_bytes){NULL, 0};
	why = judge(orphans->unit->check, owner.bytes, &until);
	if (!why)
		return KEEP_OK;
	orphans->found++;
	status = remember(orphans, key.bytes, owner.bytes, err);
	return status == KEEP_OK && !orphans->counts
		       ? kp_check_found(orphans->unit->check, &found, err,
					"%s is held by somebody %s, and was not given back",
					orphans->lease->what, why)
		       : status;
}

static keep_status find_orphans(struct orphans *orphans, keep_error *err)
{
	kp_sql_conn *conn = orphans->unit->conn;
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status =
		kp_sql_prepare(conn, kp_check_statement(conn, orphans->lease->find), &stmt, err);

	while (status == KEEP_OK && (status = kp_sql_step(stmt, &has_row, err)) == KEEP_OK &&
	       has_row)
		status = take_lease(orphans, stmt, err);
	kp_sql_finish(&stmt);
	return status;
}

/* ---------------------------------------------------------------- giving back */

static keep_status give_back(const struct orphans *orphans, const struct orphan *orphan,
			     kp_sql_conn *conn, keep_error *err)
{
	const kp_value values[] = {kp_text_value(orphan->key),
				   kp_time_value(orphans->unit->check->now_ms),
				   kp_text_value(orphan->owner)};
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < orphans->lease->mend_count && status == KEEP_OK; i++)
		status = kp_check_run(conn, orphans->lease->mend[i], values, KP_COUNT(values), err);
	return status;
}

static keep_status give_all_back(void *ctx, kp_sql_conn *conn, keep_error *err)
{
	const struct orphans *orphans = ctx;
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < orphans->count && status == KEEP_OK; i++)
		status = give_back(orphans, &orphans->items[i], conn, err);
	return status;
}

/* MENDED_AT_ONCE of them in a transaction, until none is left or none can be given back. */
static keep_status mend(struct orphans *orphans, size_t from, keep_error *err)
{
	int64_t before = INT64_MAX;
	keep_status status = KEEP_OK;

	orphans->counts = true;
	while (status == KEEP_OK && orphans->found && orphans->found < before) {
		before = orphans->found;
		status = kp_check_write(orphans->unit, give_all_back, orphans, err);
		kp_arena_release(&orphans->arena);
		orphans->count = 0;
		orphans->found = 0;
		if (status == KEEP_OK)
			status = find_orphans(orphans, err);
	}
	orphans->counts = false;
	if (status == KEEP_OK && !orphans->found)
		kp_check_mended(orphans->unit->check, KP_ORPHANED_LEASE, orphans->lease->table,
				from);
	return status;
}

static keep_status check_one(struct orphans *orphans, int64_t *found, keep_error *err)
{
	size_t from = orphans->unit->check->result->count;
	keep_status status = find_orphans(orphans, err);

	*found += orphans->found;
	if (status != KEEP_OK || !orphans->count || !orphans->lease->mend_count ||
	    orphans->unit->is_damaged)
		return status;
	status = mend(orphans, from, err);
	kp_check_next(orphans->unit->check);
	return status;
}

keep_status kp_check_leases(kp_check_unit *unit, const kp_check_lease *leases, size_t count,
			    int64_t *orphans, keep_error *err)
{
	struct orphans all = {.unit = unit,
			      .items = kp_alloc(MENDED_AT_ONCE * sizeof(struct orphan))};
	keep_status status = all.items ? KEEP_OK : kp_fail_memory(err, "what a dead process holds");

	*orphans = 0;
	kp_check_next(unit->check);
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		keep_error why = KEEP_ERROR_INIT;

		all.lease = &leases[i];
		all.count = 0;
		all.found = 0;
		status = check_one(&all, orphans, &why);
		kp_arena_release(&all.arena);
		if (status == KEEP_OK)
			continue;
		status = kp_check_failed(unit->check,
					 &(kp_complaint){.severity = KEEP_SEVERITY_DAMAGE,
							 .kind = "damaged_table",
							 .table = leases[i].table},
					 status, &why, err);
		if (status == KEEP_OK)
			status = kp_check_unit_renew(unit, err);
	}
	kp_free(all.items);
	return status;
}

keep_status kp_check_count_orphans(kp_check_unit *unit, const kp_check_lease *leases, size_t count,
				   int64_t *orphans, keep_error *err)
{
	struct orphans all = {.unit = unit, .counts = true};
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		all.lease = &leases[i];
		status = find_orphans(&all, err);
	}
	*orphans = all.found;
	return status;
}

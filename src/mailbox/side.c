/*
 * side.c - one side of a session on SQLite: its own file open for writing, the other's beside it.
 *
 *      the host       main = inbound.db     other = outbound.db, read-only
 *      the agent      main = outbound.db    other = inbound.db, read-only
 *
 * So every file has one writing side, no transaction spans both, and one statement still reads
 * across them. Table names are unique over the two files; where an untrusted file has a table of
 * our own file's name, ours is found first.
 *
 * Which journal: WAL where both sides run on one kernel, rollback journals where the folder crosses
 * a border that shared maps do not (design.md, section 5). The file of the side that opens is
 * turned into what it needs; the other side's is taken as it is.
 *
 * Invariants:
 *   1. `lease.conn` and its statements are used by the holder of `lock`.
 *   2. A connection that broke, or whose file was replaced, is closed; the next use opens another.
 *   3. A read transaction or a writing one: never a statement outside of both, so what one call
 *      reads is of one moment of each file.
 *   4. The other side's file costs at most statement_ms and value_max, whatever is in it.
 *
 * What it does not do: know what the tables mean.
 *
 * Tests: tests/contract/test_mailbox_sides.c, tests/contract/test_sqlite_beside.c.
 */
#include "mailbox/mailbox_private.h"

#include <limits.h>
#include <stdio.h>

#define CACHE_BYTES (INT64_C(2) << 20)
#define VALUE_MAX (INT64_C(4) << 20) /* bytes of one stored value: four contents */

static keep_status join(const char *folder, const char *name, char **out, keep_error *err)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
		return kp_fail(err, KEEP_INVALID, "the path '%.100s...' is too long", folder);
	return kp_text_copy(path, out, err);
}

keep_status kp_side_init(kp_side *side, enum kp_side_kind kind, const char *folder,
			 const char *guard, keep_error *err)
{
	bool is_host = kind == KP_SIDE_HOST;
	keep_status status;

	*side = (kp_side){.kind = kind, .lock = PTHREAD_MUTEX_INITIALIZER};
	side->lease.statements = &kp_mailbox_statements[KP_DIALECT_SQLITE];
	status = join(folder, is_host ? "inbound.db" : "outbound.db", &side->own, err);
	if (status == KEEP_OK)
		status = join(folder, is_host ? "outbound.db" : "inbound.db", &side->other, err);
	if (status == KEEP_OK && guard)
		status = kp_text_copy(guard, &side->guard, err);
	if (status == KEEP_OK) {
		side->lease.prepared =
			kp_alloc_zero(side->lease.statements->count * sizeof *side->lease.prepared);
		if (!side->lease.prepared)
			status = kp_fail_memory(err, "a session");
	}
	if (status != KEEP_OK)
		kp_side_release(side);
	return status;
}

void kp_side_release(kp_side *side)
{
	if (!side->lease.statements)
		return;
	kp_side_close(side);
	kp_free(side->lease.prepared);
	kp_free(side->own);
	kp_free(side->other);
	kp_free(side->guard);
	pthread_mutex_destroy(&side->lock);
	*side = (kp_side){.lease = {.conn = NULL}};
}

void kp_side_close(kp_side *side)
{
	for (size_t i = 0; side->lease.prepared && i < side->lease.statements->count; i++)
		kp_sql_finish(&side->lease.prepared[i]);
	kp_sql_close(&side->lease.conn);
}

keep_status kp_side_open(kp_side *side, keep_error *err)
{
	const kp_migrations *migrations =
		side->kind == KP_SIDE_HOST ? &kp_mailbox_inbound_migrations[KP_DIALECT_SQLITE]
					   : &kp_mailbox_outbound_migrations[KP_DIALECT_SQLITE];
	kp_sql_options options = {
		.location = side->own,
		.create = side->create,
		.relaxed = side->relaxed,
		.timeout_ms = side->timeout_ms,
		.cache_bytes = CACHE_BYTES,
		.journal = side->mount_safe ? KP_JOURNAL_ROLLBACK : KP_JOURNAL_WAL,
		.guard = side->guard,
		.beside = side->other,
		.value_max = VALUE_MAX,
		.statement_ms = side->timeout_ms,
	};
	keep_status status;

	if (side->lease.conn)
		return KEEP_OK;
	status = kp_sql_open(&kp_sql_sqlite, &options, &side->lease.conn, err);
	if (status == KEEP_OK)
		status = kp_migrate(side->lease.conn, migrations, err);
	if (status != KEEP_OK)
		kp_side_close(side);
	return status;
}

/* Invariant 2. An idle connection whose file went away is replaced, and that is no failure. */
static keep_status enter(kp_side *side, kp_sql_mode mode, keep_error *err)
{
	keep_status status;

	if (side->lease.conn &&
	    (side->lease.conn->broken || kp_sql_check(side->lease.conn, NULL) != KEEP_OK))
		kp_side_close(side);
	status = kp_side_open(side, err);
	if (status == KEEP_OK)
		status = kp_sql_begin(side->lease.conn, mode, err);
	return status;
}

static void leave(kp_side *side)
{
	if (side->lease.conn && side->lease.conn->broken)
		kp_side_close(side);
}

keep_status kp_side_change(kp_side *side, kp_sql_mode mode, kp_apply *apply, void *ctx,
			   keep_error *err)
{
	keep_status status;

	pthread_mutex_lock(&side->lock);
	status = enter(side, mode, err);
	if (status == KEEP_OK) {
		side->lease.unchanged = false;
		status = apply(ctx, &side->lease, err);
		if (status == KEEP_OK)
			status = kp_sql_commit(side->lease.conn, err);
		else
			kp_sql_rollback(side->lease.conn);
		if (kp_sql_falls_due(side->lease.conn))
			kp_sql_maintain(side->lease.conn);
	}
	leave(side);
	pthread_mutex_unlock(&side->lock);
	return status;
}

keep_status kp_side_read(kp_side *side, kp_query *query, void *ctx, keep_error *err)
{
	keep_status status;

	pthread_mutex_lock(&side->lock);
	status = enter(side, KP_SQL_READ, err);
	if (status == KEEP_OK) {
		status = query(ctx, &side->lease, err);
		kp_sql_rollback(side->lease.conn);
	}
	leave(side);
	pthread_mutex_unlock(&side->lock);
	return status;
}

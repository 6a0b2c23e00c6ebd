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
 * a border that shared maps do not (mount.c). The file of the side that opens is turned into what
 * it needs; the other side's is taken as it is. Without common memory a connection lives for one
 * use: closing is what makes the other kernel look again, and an open handle would hold up whoever
 * wants to change the journal. A source program on the other side is met with views (plain.c).
 *
 * outbound.db is made with a rollback journal, for a source agent turns to that when it opens,
 * which fails while a host has a log open; Keep's agent side turns it into WAL.
 *
 * Invariants:
 *   1. `lease.conn` and its statements are used by the holder of `lock`.
 *   2. A connection that broke, or whose file was replaced, is closed; the next use opens another.
 *   3. A read transaction or a writing one: never a statement outside of both, so what one call
 *      reads is of one moment of each file.
 *   4. The other side's file costs at most statement_ms and value_max, whatever is in it.
 *   5. What a killed writer of the other side left is rolled back by us, so that reading goes on.
 * On one kernel SQLite's locks say that the writer is gone; elsewhere a live one's journal would
 *      look the same, so it must have been in the way for RECOVER_AFTER_MS.
 *   6. A page that was read while it was written is read again: all of the call, on a new
 * connection, TORN_TRIES times.
 *   7. With rollback journals, who reads both files begins with inbound.db, on either side: a
 * commit waits for its file's readers, and keeps new ones waiting, so that readers which hold one
 * file and wait for the other could stand in a ring. Who writes waits for no reader before its
 *      commit, and has let go of the other file by then.
 *
 * What it does not do: know what the tables mean.
 *
 * Tests: tests/contract/test_mailbox_sides.c, tests/contract/test_sqlite_beside.c.
 */
#include "mailbox/mailbox_private.h"

#include <limits.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define CACHE_BYTES (INT64_C(2) << 20)
#define VALUE_MAX (INT64_C(4) << 20) /* bytes of one stored value: four contents */

enum { TORN_TRIES = 10, NAP_MS = 20, RECOVER_AFTER_MS = 1000, CONVERT_MS = 100 };

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
	if (status == KEEP_OK)
		status = join(folder, ".mount-safe", &side->marker, err);
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
	kp_free(side->marker);
	pthread_mutex_destroy(&side->lock);
	*side = (kp_side){.lease = {.conn = NULL}};
}

void kp_side_close(kp_side *side)
{
	for (size_t i = 0; side->lease.prepared && i < side->lease.statements->count; i++)
		kp_sql_finish(&side->lease.prepared[i]);
	kp_sql_close(&side->lease.conn);
}

/* A host turns its file into one without a log as soon as nobody has that open; until then it works
   with the log, which only readers of its own kernel can have open. */
static kp_sql_journal journal_of(const kp_side *side)
{
	if (!side->mount_safe)
		return KP_JOURNAL_WAL;
	return side->kind == KP_SIDE_HOST ? KP_JOURNAL_AS_IS : KP_JOURNAL_ROLLBACK;
}

static void drop_log(const kp_side *side)
{
	kp_sql_options options = {
		.location = side->own, .timeout_ms = CONVERT_MS, .journal = KP_JOURNAL_ROLLBACK};
	kp_sql_conn *conn = NULL;
	keep_error why = KEEP_ERROR_INIT;
	bool has_log = false;
	keep_status status = kp_sqlite_has_log(side->own, &has_log, &why);

	if (status == KEEP_OK && has_log)
		status = kp_sql_open(&kp_sql_sqlite, &options, &conn, &why);
	if (status != KEEP_OK && status != KEEP_BUSY)
		kp_log(KEEP_LOG_WARNING, "%s: it keeps its log", why.message);
	kp_sql_close(&conn);
}

keep_status kp_side_open(kp_side *side, keep_error *err)
{
	bool is_host = side->kind == KP_SIDE_HOST;
	kp_sql_options options = {
		.location = side->own,
		.create = side->create,
		.seal = is_host,
		.relaxed = side->relaxed,
		.timeout_ms = side->timeout_ms,
		.cache_bytes = CACHE_BYTES,
		.journal = journal_of(side),
		.guard = side->guard,
		.beside = side->other,
		.value_max = VALUE_MAX,
		.statement_ms = side->timeout_ms,
	};
	keep_status status;

	if (side->lease.conn)
		return KEEP_OK;
	if (is_host && side->mount_safe)
		drop_log(side);
	status = kp_sql_open(&kp_sql_sqlite, &options, &side->lease.conn, err);
	if (status == KEEP_OK)
		status =
			is_host ? kp_migrate(side->lease.conn,
					     &kp_mailbox_inbound_migrations[KP_DIALECT_SQLITE], err)
				: kp_plain_migrate(side->lease.conn, err);
	if (status == KEEP_OK)
		status = kp_plain_dress(side, err);
	if (status != KEEP_OK)
		kp_side_close(side);
	return status;
}

static void nap(void)
{
	struct timespec time = {.tv_nsec = NAP_MS * 1000000};

	(void)nanosleep(&time, NULL);
}

/* How often and how long one call has been in the way of the other side. */
struct meeting {
	int torn;
	int64_t begun_ns; /* of what waits for recovery; 0: nothing did */
	bool recovered;
};

/* After a failure: is it worth another try? */
static bool passes(const kp_side *side, struct meeting *meeting, keep_status status,
		   const keep_error *why)
{
	int64_t now_ns = kp_monotonic_ns();

	if (side->mount_safe && meeting->torn < TORN_TRIES && kp_sqlite_may_be_torn(status, why)) {
		meeting->torn++;
		nap();
		return true;
	}
	if (!kp_sqlite_awaits_recovery(status, why) || meeting->recovered)
		return false;
	if (!meeting->begun_ns)
		meeting->begun_ns = now_ns;
	if (side->mount_safe && now_ns - meeting->begun_ns < RECOVER_AFTER_MS * INT64_C(1000000)) {
		nap();
		return true;
	}
	meeting->recovered = true;
	return kp_sqlite_recover(side->other, NULL) == KEEP_OK;
}

keep_status kp_side_look_at_host(kp_side *side, keep_error *err)
{
	struct meeting meeting = {.torn = 0};
	keep_error why = KEEP_ERROR_INIT;
	bool was_safe = side->mount_safe;
	keep_status status;

	side->mount_safe = true; /* nobody knows yet; be patient */
	do
		status = kp_plain_host(side->other, &side->is_plain, &why);
	while (status != KEEP_OK && passes(side, &meeting, status, &why));
	side->mount_safe = was_safe || side->is_plain;
	if (status != KEEP_OK && err)
		*err = why;
	return status;
}

/* What the connection was opened for may have changed: the journals, or the other side's program.
 */
static void look_around(kp_side *side)
{
	bool is_plain = false;

	if (!side->mount_safe && access(side->marker, F_OK) == 0) {
		kp_side_close(side);
		side->mount_safe = true;
	}
	if (side->lease.conn && side->is_plain &&
	    (kp_plain_look(side->lease.conn, "other",
			   side->kind == KP_SIDE_HOST ? KP_SIDE_AGENT : KP_SIDE_HOST, &is_plain,
			   NULL) != KEEP_OK ||
	     !is_plain))
		kp_side_close(side);
}

/* Invariant 2. An idle connection whose file went away is replaced, and that is no failure. A
   writing transaction looks at the files as it begins. */
static keep_status enter(kp_side *side, kp_sql_mode mode, keep_error *err)
{
	bool was_open;
	keep_status status;

	if (side->lease.conn &&
	    (side->lease.conn->broken ||
	     (mode == KP_SQL_READ && kp_sql_check(side->lease.conn, NULL) != KEEP_OK)))
		kp_side_close(side);
	look_around(side);
	was_open = side->lease.conn != NULL;
	status = kp_side_open(side, err);
	if (status == KEEP_OK)
		status = kp_sql_begin(side->lease.conn, mode, err);
	if (status == KEEP_OK || !was_open || !side->lease.conn || !side->lease.conn->broken)
		return status;
	kp_side_close(side);
	status = kp_side_open(side, err);
	return status == KEEP_OK ? kp_sql_begin(side->lease.conn, mode, err) : status;
}

static void leave(kp_side *side)
{
	if (side->lease.conn && (side->lease.conn->broken || side->mount_safe))
		kp_side_close(side);
}

static keep_status change_once(kp_side *side, kp_sql_mode mode, kp_apply *apply, void *ctx,
			       keep_error *err)
{
	keep_status status = enter(side, mode, err);

	if (status == KEEP_OK) {
		side->lease.unchanged = false;
		status = apply(ctx, &side->lease, err);
		kp_moment("mailbox.side_applied");
		if (status == KEEP_OK)
			status = kp_sql_commit(side->lease.conn, err);
		else
			kp_sql_rollback(side->lease.conn);
		kp_sql_maintain(side->lease.conn); /* when it is due */
	}
	leave(side);
	return status;
}

/* Invariant 7. */
static keep_status lock_in_order(const kp_side *side, keep_error *err)
{
	const unsigned logs = KP_SQL_LOG | KP_SQL_OTHER_LOG;
	kp_sql_conn *conn = side->lease.conn;

	if ((conn->caps & logs) == logs)
		return KEEP_OK;
	return kp_sql_script(conn,
			     side->kind == KP_SIDE_HOST
				     ? "SELECT 1 FROM main.sqlite_schema LIMIT 1;"
				       "SELECT 1 FROM other.sqlite_schema LIMIT 1"
				     : "SELECT 1 FROM other.sqlite_schema LIMIT 1;"
				       "SELECT 1 FROM main.sqlite_schema LIMIT 1",
			     err);
}

static keep_status read_once(kp_side *side, kp_query *query, void *ctx, keep_error *err)
{
	keep_status status = enter(side, KP_SQL_READ, err);

	if (status == KEEP_OK) {
		status = lock_in_order(side, err);
		if (status == KEEP_OK)
			status = query(ctx, &side->lease, err);
		kp_sql_rollback(side->lease.conn);
	}
	leave(side);
	return status;
}

keep_status kp_side_change(kp_side *side, kp_sql_mode mode, kp_apply *apply, void *ctx,
			   keep_error *err)
{
	struct meeting meeting = {.torn = 0};
	keep_error why = KEEP_ERROR_INIT;
	keep_status status;

	pthread_mutex_lock(&side->lock);
	do
		status = change_once(side, mode, apply, ctx, &why);
	while (status != KEEP_OK && passes(side, &meeting, status, &why));
	pthread_mutex_unlock(&side->lock);
	if (status != KEEP_OK && err)
		*err = why;
	return status;
}

keep_status kp_side_read(kp_side *side, kp_query *query, void *ctx, keep_error *err)
{
	struct meeting meeting = {.torn = 0};
	keep_error why = KEEP_ERROR_INIT;
	keep_status status;

	pthread_mutex_lock(&side->lock);
	do
		status = read_once(side, query, ctx, &why);
	while (status != KEEP_OK && passes(side, &meeting, status, &why));
	pthread_mutex_unlock(&side->lock);
	if (status != KEEP_OK && err)
		*err = why;
	return status;
}

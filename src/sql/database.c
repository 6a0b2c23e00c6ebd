/*
 * database.c - what a process holds of one database: one writing connection, a few readers.
 *
 * Writes go through group commit (group_commit.c) to the one writing connection. Reads take a
 * connection from a small pool, newest first, so that one busy thread keeps one warm page cache.
 *
 * Invariants:
 *   1. The writing connection is used only by the leader of the group, or while opening.
 *   2. A reader's connection is used by the thread that holds its lease, by nobody else.
 *   3. A change that failed leaves nothing: it runs in a transaction that is rolled back, and when
 *      it shared one with others, each of those is run again alone.
 *   4. A change may have failed for what a neighbour before it wrote in the same transaction.
 *      Such a failure counts only when that transaction was stored: when it was not, the change is
 *      run again alone, and when nobody knows, its failure is UNCERTAIN, too.
 *   5. A broken connection is never handed out; it is opened anew first. A changed or deleted file
 *      is found by each write and, by a reader, within CHECK_NS.
 *
 * Not here: retrying. UNCERTAIN and UNAVAILABLE are the caller's to judge.
 *
 * Tests: tests/unit/test_database.c, and every store's contract suite.
 */
#include "sql/sql.h"

#include <pthread.h>
#include <string.h>

enum { READERS_DEFAULT = 4, READERS_MAX = 64 };
#define CHECK_NS (50 * INT64_C(1000000))
#define IDLE_CHECK_NS INT64_C(1000000000)

struct slot {
	kp_lease lease;
	int64_t checked_ns;
	struct slot *next; /* in the list of free ones */
};

struct kp_database {
	const kp_sql_driver *driver;
	kp_sql_options sql;
	/* Owned copies that `sql` points to. */
	char *location, *schema, *guard, *beside;
	uint64_t place[2];       /* of the first connection */
	const kp_statement_set *statements;
	kp_apply *begun;
	void *begun_ctx;
	struct slot writer;
	kp_group *group;
	kp_tender *tender;
	pthread_mutex_t lock; /* the readers' list */
	pthread_cond_t returned;
	struct slot *free; /* last returned first */
	size_t reader_count;
	struct slot *readers;
};

/* ---------------------------------------------------------------- connections */

static void close_slot(struct slot *slot)
{
	const kp_statement_set *statements = slot->lease.statements;

	for (size_t i = 0; slot->lease.prepared && i < statements->count; i++)
		kp_sql_finish(&slot->lease.prepared[i]);
	kp_sql_close(&slot->lease.conn);
}

static void release_slot(struct slot *slot)
{
	close_slot(slot);
	kp_free(slot->lease.prepared);
	slot->lease.prepared = NULL;
}

static keep_status init_slot(kp_database *database, struct slot *slot, keep_error *err)
{
	slot->lease.statements = database->statements;
	slot->lease.slot = slot;
	if (!database->statements)
		return KEEP_OK;
	slot->lease.prepared = kp_alloc_zero(database->statements->count * sizeof(kp_sql_stmt *));
	return slot->lease.prepared ? KEEP_OK : kp_fail_memory(err, "prepared statements");
}

static bool has_place(const kp_database *database)
{
	return database->place[0] != 0 || database->place[1] != 0;
}

/* A broken connection may hold locks until it is closed, so that happens at once, not at the next
   use. One to a file that is gone has none that matter to anybody; open_again says why it stays. */
static void drop_broken(kp_database *database, struct slot *slot)
{
	kp_sql_conn *conn = slot->lease.conn;

	if (conn && conn->broken && (!has_place(database) || kp_sql_check(conn, NULL) == KEEP_OK))
		close_slot(slot);
}

/*
 * Open what the database has open. That it is gone is no NOT_FOUND, which a store's caller would
 * take for a missing record; nor is what lies in its place now what was asked for. The old
 * connection goes last: while it holds a deleted file, no new file can get that one's inode.
 */
static keep_status open_again(kp_database *database, struct slot *slot, keep_error *err)
{
	kp_sql_options options = database->sql;
	kp_sql_conn *fresh = NULL;
	keep_status status;

	options.create = false;
	if (!has_place(database))
		close_slot(slot);
	status = kp_sql_open(database->driver, &options, &fresh, err);
	if (status == KEEP_NOT_FOUND) {
		status = KEEP_UNAVAILABLE;
		if (err)
			err->status = status;
	}
	if (status != KEEP_OK)
		return status;
	if (memcmp(fresh->place, database->place, sizeof database->place) != 0) {
		kp_sql_close(&fresh);
		return kp_fail(err, KEEP_UNAVAILABLE, "%s was replaced since it was opened",
			       database->location);
	}
	close_slot(slot);
	slot->lease.conn = fresh;
	return KEEP_OK;
}

/* Make sure that the slot has a connection that works as far as a look can tell. */
static keep_status revive(kp_database *database, struct slot *slot, int64_t check_after_ns,
			  keep_error *err)
{
	int64_t now = kp_monotonic_ns();
	keep_status status;

	if (slot->lease.conn && !slot->lease.conn->broken &&
	    now - slot->checked_ns < check_after_ns)
		return KEEP_OK;
	if (slot->lease.conn && !slot->lease.conn->broken) {
		status = kp_sql_check(slot->lease.conn, err);
		slot->checked_ns = now;
		if (status == KEEP_OK || !slot->lease.conn->broken)
			return status;
	}
	slot->checked_ns = now;
	return open_again(database, slot, err);
}

keep_status kp_lease_statement(kp_lease *lease, size_t index, kp_sql_stmt **stmt, keep_error *err)
{
	*stmt = lease->prepared[index];
	if (*stmt)
		return KEEP_OK;
	if (kp_sql_prepare(lease->conn, lease->statements->statements[index].sql,
			   &lease->prepared[index], err) != KEEP_OK)
		return kp_prefix(err, err ? err->status : KEEP_UNAVAILABLE, "statement %s.%s",
				 lease->statements->name,
				 lease->statements->statements[index].name);
	*stmt = lease->prepared[index];
	return KEEP_OK;
}

keep_status kp_lease_bind(kp_lease *lease, size_t index, const kp_value *values, size_t count,
			  kp_sql_stmt **stmt, keep_error *err)
{
	keep_status status = kp_lease_statement(lease, index, stmt, err);

	for (size_t i = 0; i < count && status == KEEP_OK; i++)
		status = kp_sql_bind(*stmt, (int)i + 1, &values[i], err);
	if (status != KEEP_OK)
		kp_sql_reset(*stmt);
	return status;
}

keep_status kp_lease_queue(kp_lease *lease, size_t index, const kp_value *values, size_t count,
			   keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_lease_bind(lease, index, values, count, &stmt, err);

	return status == KEEP_OK ? kp_sql_queue(stmt, err) : status;
}

keep_status kp_lease_run(kp_lease *lease, size_t index, const kp_value *values, size_t count,
			 int64_t *changes, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = true;
	keep_status status = kp_lease_bind(lease, index, values, count, &stmt, err);

	while (status == KEEP_OK && has_row)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && changes)
		*changes = kp_sql_changes(stmt);
	kp_sql_reset(stmt);
	return status;
}

/* ---------------------------------------------------------------- reading */

keep_status kp_database_read(kp_database *database, kp_lease **lease, keep_error *err)
{
	struct slot *slot;
	keep_status status;

	*lease = NULL;
	pthread_mutex_lock(&database->lock);
	while (!database->free)
		pthread_cond_wait(&database->returned, &database->lock);
	slot = database->free;
	database->free = slot->next;
	pthread_mutex_unlock(&database->lock);

	*lease = &slot->lease;
	status = revive(database, slot, CHECK_NS, err);
	if (status != KEEP_OK)
		kp_database_read_end(database, lease);
	return status;
}

void kp_database_read_end(kp_database *database, kp_lease **lease)
{
	struct slot *slot = (*lease)->slot;

	if (slot->lease.conn && slot->lease.conn->in_transaction)
		kp_sql_rollback(slot->lease.conn);
	drop_broken(database, slot);
	pthread_mutex_lock(&database->lock);
	slot->next = database->free;
	database->free = slot;
	pthread_cond_signal(&database->returned);
	pthread_mutex_unlock(&database->lock);
	*lease = NULL;
}

/* ---------------------------------------------------------------- writing */

static keep_status run_apply(kp_job *job, kp_lease *lease)
{
	lease->unchanged = false;
	job->err = (keep_error)KEEP_ERROR_INIT;
	job->status = job->apply(job->ctx, lease, &job->err);
	return job->status;
}

/* Begin a writing transaction; on failure there is none. */
static keep_status begin_write(kp_database *database, keep_error *err)
{
	kp_lease *lease = &database->writer.lease;
	keep_status status = kp_sql_begin(lease->conn, KP_SQL_WRITE, err);

	if (status != KEEP_OK || !database->begun)
		return status;
	status = database->begun(database->begun_ctx, lease, err);
	if (status != KEEP_OK)
		kp_sql_rollback(lease->conn);
	return status;
}

static void run_alone(kp_database *database, kp_job *job)
{
	kp_lease *lease = &database->writer.lease;

	job->err = (keep_error)KEEP_ERROR_INIT;
	job->status = begin_write(database, &job->err);
	if (job->status != KEEP_OK)
		return;
	if (run_apply(job, lease) == KEEP_OK)
		job->status = kp_sql_commit(lease->conn, &job->err);
	else
		kp_sql_rollback(lease->conn);
}

static void tell_all(kp_job *jobs, keep_status status, const keep_error *err)
{
	for (kp_job *job = jobs; job; job = job->next) {
		job->status = status;
		job->err = *err;
	}
}

/* Each job in a transaction of its own. When one finds no backend, those behind it are told the
   same and do not wait as long, one after the other. */
static void run_each(kp_database *database, kp_job *jobs)
{
	for (kp_job *job = jobs; job; job = job->next) {
		keep_error err = KEEP_ERROR_INIT;
		keep_status status = revive(database, &database->writer, IDLE_CHECK_NS, &err);

		if (status != KEEP_OK) {
			tell_all(job, status, &err);
			return;
		}
		run_alone(database, job);
	}
}

/* Invariant 4: from the first change on. */
static void tell_uncertain(kp_job *jobs, const keep_error *err)
{
	while (jobs && jobs->status != KEEP_OK)
		jobs = jobs->next;
	tell_all(jobs, KEEP_UNCERTAIN, err);
}

/* All jobs in one transaction. False: nothing was stored and each is to be tried alone. */
static bool run_together(kp_database *database, kp_job *jobs)
{
	kp_lease *lease = &database->writer.lease;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;

	status = revive(database, &database->writer, IDLE_CHECK_NS, &err);
	if (status == KEEP_OK)
		status = begin_write(database, &err);
	if (status != KEEP_OK) {
		tell_all(jobs, status, &err);
		return true;
	}
	for (kp_job *job = jobs; job; job = job->next) {
		if (run_apply(job, lease) == KEEP_OK || lease->unchanged)
			continue;
		kp_sql_rollback(lease->conn);
		return false;
	}
	status = kp_sql_commit(lease->conn, &err);
	if (status == KEEP_UNCERTAIN)
		tell_uncertain(jobs, &err);
	return status == KEEP_OK || status == KEEP_UNCERTAIN;
}

static void run_jobs(void *ctx, kp_job *jobs, size_t count)
{
	kp_database *database = ctx;

	if (count == 1 || !run_together(database, jobs))
		run_each(database, jobs);
	if (database->writer.lease.conn && !database->writer.lease.conn->broken)
		kp_tender_look(database->tender, database->writer.lease.conn);
	drop_broken(database, &database->writer);
}

keep_status kp_database_write(kp_database *database, kp_apply *apply, void *ctx, keep_error *err)
{
	if (database->sql.read_only)
		return kp_fail(err, KEEP_DENIED, "the database was opened for reading only");
	return kp_group_submit(database->group, apply, ctx, err);
}

/* ---------------------------------------------------------------- housekeeping by hand */

keep_status kp_database_tend(kp_database *database, keep_error *err)
{
	struct slot slot = {.lease = {.conn = NULL}};
	keep_status status;

	if (database->sql.read_only)
		return kp_fail(err, KEEP_DENIED, "the database was opened for reading only");
	status = open_again(database, &slot, err);
	if (status == KEEP_OK)
		kp_sql_tend(slot.lease.conn);
	close_slot(&slot);
	return status;
}

/* ---------------------------------------------------------------- open and close */

static keep_status init_readers(kp_database *database, int wanted, keep_error *err)
{
	size_t count = wanted > 0 && wanted <= READERS_MAX ? (size_t)wanted : READERS_DEFAULT;

	database->readers = kp_alloc_zero(count * sizeof *database->readers);
	if (!database->readers)
		return kp_fail_memory(err, "readers");
	for (size_t i = 0; i < count; i++) {
		struct slot *slot = &database->readers[i];
		keep_status status = init_slot(database, slot, err);

		if (status != KEEP_OK)
			return status;
		slot->next = database->free;
		database->free = slot;
		database->reader_count++;
	}
	return KEEP_OK;
}

static keep_status inspect_store(void *ctx, kp_sql_conn *conn, keep_error *err)
{
	return kp_migrate_look(conn, ctx, err);
}

/* Open the first connection, which creates and migrates; a read-only database keeps it as a reader.
   What is not ours is found before anything of it changes. */
static keep_status open_first(kp_database *database, const kp_migrations *migrations,
			      keep_error *err)
{
	struct slot *slot = database->sql.read_only ? database->free : &database->writer;
	kp_sql_options options = database->sql;
	keep_status status;

	options.inspect = migrations ? inspect_store : NULL;
	options.inspect_ctx = (void *)(uintptr_t)migrations;
	status = kp_sql_open(database->driver, &options, &slot->lease.conn, err);

	slot->checked_ns = kp_monotonic_ns();
	if (status == KEEP_OK)
		memcpy(database->place, slot->lease.conn->place, sizeof database->place);
	if (status == KEEP_OK && migrations)
		status = kp_migrate(slot->lease.conn, migrations, err);
	return status;
}

keep_status kp_database_open(const kp_sql_driver *driver, const kp_database_options *options,
			     kp_database **out, keep_error *err)
{
	kp_database *database = kp_alloc_zero(sizeof *database);
	keep_status status;

	*out = NULL;
	if (!database)
		return kp_fail_memory(err, "a database");
	*database = (kp_database){
		.driver = driver,
		.sql = options->sql,
		.statements = options->statements,
		.begun = options->begun,
		.begun_ctx = options->begun_ctx,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.returned = PTHREAD_COND_INITIALIZER,
	};
	status = kp_text_copy(options->sql.location, &database->location, err);
	if (status != KEEP_OK)
		goto out;
	status = kp_text_copy(options->sql.schema, &database->schema, err);
	if (status != KEEP_OK)
		goto out;
	status = kp_text_copy(options->sql.guard, &database->guard, err);
	if (status != KEEP_OK)
		goto out;
	status = kp_text_copy(options->sql.beside, &database->beside, err);
	if (status != KEEP_OK)
		goto out;
	database->sql.location = database->location;
	database->sql.schema = database->schema;
	database->sql.guard = database->guard;
	database->sql.beside = database->beside;
	status = init_slot(database, &database->writer, err);
	if (status != KEEP_OK)
		goto out;
	status = init_readers(database, options->readers_max, err);
	if (status != KEEP_OK)
		goto out;
	status = kp_group_open(run_jobs, database, !options->sql.relaxed, &database->group, err);
	if (status != KEEP_OK)
		goto out;
	status = kp_tender_open(driver, &database->sql, &database->tender, err);
	if (status != KEEP_OK)
		goto out;
	status = open_first(database, options->migrations, err);
out:
	if (status == KEEP_OK)
		*out = database;
	else
		kp_database_close(&database);
	return status;
}

void kp_database_close(kp_database **database)
{
	kp_database *closing = *database;

	*database = NULL;
	if (!closing)
		return;
	kp_tender_close(&closing->tender);
	for (size_t i = 0; i < closing->reader_count; i++)
		release_slot(&closing->readers[i]);
	release_slot(&closing->writer);
	kp_group_close(&closing->group);
	kp_free(closing->readers);
	kp_free(closing->location);
	kp_free(closing->schema);
	kp_free(closing->guard);
	kp_free(closing->beside);
	pthread_cond_destroy(&closing->returned);
	pthread_mutex_destroy(&closing->lock);
	kp_free(closing);
}

unsigned kp_database_caps(const kp_database *database)
{
	const kp_sql_conn *conn = database->writer.lease.conn;

	for (size_t i = 0; !conn && i < database->reader_count; i++)
		conn = database->readers[i].lease.conn;
	return conn ? conn->caps : 0;
}

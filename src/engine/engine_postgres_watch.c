/*
 * engine_postgres_watch.c - waiting for changes of a PostgreSQL namespace.
 *
 * A change notifies inside its transaction, so a notification means a commit and no commit goes
 * untold. A watch has a connection of its own that listens. When that connection breaks, or the
 * server has no LISTEN, the namespace's counter of changes tells that something happened, not
 * where: then the answer may be true although nothing below the path changed.
 *
 * Tests: tests/contract/engine_suite.c (watch cases).
 */
#include "engine/engine_postgres.h"
#include "engine_postgres_statements.h"

#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { BLIND_POLL_MS = 100 };

struct postgres_watch {
	kp_watch base;
	char *path;
	int64_t changes; /* the namespace's counter, as last seen by a poll */
	kp_sql_conn *conn;
	keep_buffer payload;
	int wake_fd;
};

static keep_status read_changes(struct postgres_watch *watch, int64_t *changes, keep_error *err)
{
	const struct postgres_store *store = (const struct postgres_store *)watch->base.store;
	const char *sql = kp_engine_postgres_statements.statements[KP_ENGINE_POSTGRES_CHANGES].sql;
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_sql_prepare(watch->conn, sql, &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_bind_text(stmt, 1, keep_bytes_of(store->name), err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column_int(stmt, 0, changes, err);
	kp_sql_finish(&stmt);
	return status;
}

/* Connect and listen first, then read the counter: what commits in between is told twice. */
static keep_status connect_watch(struct postgres_watch *watch, int64_t *changes, keep_error *err)
{
	const struct postgres_store *store = (const struct postgres_store *)watch->base.store;
	kp_sql_options options = {.location = store->conninfo,
				  .schema = store->schema,
				  .read_only = true,
				  .timeout_ms = store->timeout_ms};
	keep_status status;

	kp_sql_close(&watch->conn);
	status = kp_sql_open(&kp_sql_postgres, &options, &watch->conn, err);
	if (status == KEEP_OK && store->listen)
		status = kp_sql_listen(watch->conn, store->channel, err);
	if (status == KEEP_OK)
		status = read_changes(watch, changes, err);
	return status;
}

keep_status kp_engine_postgres_watch_open(kp_store *base, const kp_path *path, kp_watch **out,
					  keep_error *err)
{
	struct postgres_watch *watch = kp_alloc_zero(sizeof *watch);
	keep_status status;

	*out = NULL;
	if (!watch)
		return kp_fail_memory(err, "a watch");
	watch->base.store = base;
	watch->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	watch->path = kp_alloc(path->text.len + 1);
	if (!watch->path) {
		status = kp_fail_memory(err, "a watch");
		goto out;
	}
	if (watch->wake_fd < 0) {
		status = kp_fail(err, KEEP_FULL, "no descriptor left for a watch");
		goto out;
	}
	memcpy(watch->path, path->text.data, path->text.len);
	watch->path[path->text.len] = '\0';
	status = connect_watch(watch, &watch->changes, err);
out:
	if (status == KEEP_OK)
		*out = &watch->base;
	else
		kp_engine_postgres_watch_close(&watch->base);
	return status;
}

static bool is_wanted(const struct postgres_watch *watch, keep_bytes topic)
{
	return kp_path_concerns(topic, keep_bytes_of(watch->path));
}

static bool take_cancel(struct postgres_watch *watch)
{
	uint64_t count;

	return read(watch->wake_fd, &count, sizeof count) == (ssize_t)sizeof count;
}

/* Without LISTEN: sleep a little, then look at the counter. */
static keep_status look(struct postgres_watch *watch, int64_t nap_ms, bool *changed,
			keep_error *err)
{
	struct pollfd wake = {.fd = watch->wake_fd, .events = POLLIN};
	int64_t changes = watch->changes;
	keep_status status;

	poll(&wake, 1, (int)nap_ms);
	status = read_changes(watch, &changes, err);
	*changed = changes != watch->changes;
	watch->changes = changes;
	return status;
}

/* One sleep. A connection that broke is made anew, and the counter tells what was missed. */
static keep_status sleep_once(struct postgres_watch *watch, int64_t left_ms, bool *changed,
			      keep_error *err)
{
	const struct postgres_store *store = (const struct postgres_store *)watch->base.store;
	int64_t changes = watch->changes;
	bool notified = false;
	keep_status status;

	*changed = false;
	if (!watch->conn || watch->conn->broken) {
		status = connect_watch(watch, &changes, err);
		*changed = status == KEEP_OK;
		watch->changes = changes;
		return status;
	}
	if (!store->listen)
		return look(watch, left_ms < 0 || left_ms > BLIND_POLL_MS ? BLIND_POLL_MS : left_ms,
			    changed, err);
	status = kp_sql_wait(watch->conn, left_ms, watch->wake_fd, &notified, &watch->payload, err);
	*changed = notified && is_wanted(watch, kp_buffer_bytes(&watch->payload));
	return status;
}

keep_status kp_engine_postgres_watch_wait(kp_watch *base, int64_t timeout_ms, bool *changed,
					  keep_error *err)
{
	struct postgres_watch *watch = (struct postgres_watch *)base;
	int64_t until_ns = kp_monotonic_ns() + timeout_ms * 1000000;

	for (;;) {
		int64_t left_ms = (until_ns - kp_monotonic_ns() + 999999) / 1000000;
		keep_status status;

		left_ms = timeout_ms < 0 ? -1 : left_ms > 0 ? left_ms : 0;
		status = sleep_once(watch, left_ms, changed, err);
		if (status == KEEP_UNAVAILABLE && watch->conn && watch->conn->broken)
			status = sleep_once(watch, left_ms, changed, err);
		if (status != KEEP_OK || *changed || take_cancel(watch) || left_ms == 0)
			return status;
	}
}

void kp_engine_postgres_watch_cancel(kp_watch *base)
{
	uint64_t one = 1;
	ssize_t done = write(((struct postgres_watch *)base)->wake_fd, &one, sizeof one);

	(void)done; /* the counter is full: it is awake already */
}

void kp_engine_postgres_watch_close(kp_watch *base)
{
	struct postgres_watch *watch = (struct postgres_watch *)base;

	kp_sql_close(&watch->conn);
	keep_buffer_release(&watch->payload);
	if (watch->wake_fd >= 0)
		close(watch->wake_fd);
	kp_free(watch->path);
	kp_free(watch);
}

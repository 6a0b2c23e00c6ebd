/*
 * engine_sqlite_watch.c - waiting for changes of a SQLite store, and the names of its files.
 *
 * A change posts its paths to "<file>-notify" after its commit (sql/notify.c); a watch sleeps
 * there. A process that is killed between its commit and its post wakes nobody, and a program that
 * knows only SQLite never posts, so each POLL_MS a watch also compares `PRAGMA data_version` of a
 * connection of its own. That tells of any foreign commit, not of its paths, and so may answer
 * true when nothing below the path changed: late and too often beats never.
 *
 * Tests: tests/contract/engine_suite.c (watch cases), tests/unit/test_notify.c.
 */
#include "engine/engine_sqlite.h"
#include "engine_sqlite_statements.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	POLL_MS = 1000,
	BLIND_POLL_MS = 25, /* where no notification file could be made */
	TOLD_MAX = 64,      /* a larger batch is told as one change of the root */
	LINKS_MAX = 40,     /* the kernel's own limit */
};

struct sqlite_watch {
	kp_watch base;
	char *path;
	uint64_t position;
	int64_t version; /* of the data, as this connection last saw it */
	kp_sql_conn *conn;
	kp_sql_stmt *data_version;
	atomic_int cancelled; /* by any thread */
};

void kp_engine_sqlite_tell(struct sqlite_store *store, const kp_change *changes, size_t count)
{
	if (!store->notify)
		return;
	if (count > TOLD_MAX) {
		kp_notify_post(store->notify, KEEP_BYTES(""));
		return;
	}
	for (size_t i = 0; i < count; i++)
		kp_notify_post(store->notify, changes[i].path.text);
}

keep_status kp_engine_sqlite_name(struct sqlite_store *store, const char *file, keep_error *err)
{
	keep_error why;

	store->file = kp_alloc(strlen(file) + 1);
	if (!store->file)
		return kp_fail_memory(err, "a file name");
	memcpy(store->file, file, strlen(file) + 1);
	if (kp_notify_open(file, &store->notify, &why) != KEEP_OK)
		kp_log(KEEP_LOG_WARNING, "%s: watches wake up late: %s", file, why.message);
	return KEEP_OK;
}

/* ---------------------------------------------------------------- identity */

/* The real path of `file`'s folder, which must be there, and the name in it. */
static keep_status name_in_folder(const char *file, keep_buffer *out, keep_error *err)
{
	const char *slash = strrchr(file, '/');
	keep_buffer folder = KEEP_BUFFER_INIT;
	char real[PATH_MAX];
	keep_status status;

	if (slash)
		status = kp_buffer_append_format(&folder, err, "%.*s/", (int)(slash - file), file);
	else
		status = kp_buffer_append_text(&folder, ".", err);
	if (status == KEEP_OK && !realpath(folder.data, real))
		status = kp_fail_errno(err, errno, "%s", folder.data);
	if (status == KEEP_OK)
		status = kp_buffer_append_format(out, err, "sqlite:%s/%s", real,
						 slash ? slash + 1 : file);
	keep_buffer_release(&folder);
	return status;
}

/* Write into `at`, which has a name, the one that its links end at: that of a file which is not
   there yet, but will be when the first who opens it has made it. */
static keep_status follow_links(char at[PATH_MAX], keep_error *err)
{
	char target[PATH_MAX];

	for (int links = 0; links < LINKS_MAX; links++) {
		ssize_t len = readlink(at, target, sizeof target);
		char *slash = strrchr(at, '/');
		size_t kept = slash ? (size_t)(slash - at) + 1 : 0;

		if (len <= 0)
			return KEEP_OK;
		if (target[0] == '/')
			kept = 0;
		if (kept + (size_t)len >= PATH_MAX)
			return kp_fail_errno(err, ENAMETOOLONG, "%.100s", at);
		memcpy(at + kept, target, (size_t)len);
		at[kept + (size_t)len] = '\0';
	}
	return kp_fail_errno(err, ELOOP, "%.100s", at);
}

static keep_status name_missing_file(const char *file, keep_buffer *out, keep_error *err)
{
	char at[PATH_MAX];
	size_t len = strlen(file);
	keep_status status;

	if (len >= sizeof at)
		return name_in_folder(file, out, err);
	memcpy(at, file, len + 1);
	status = follow_links(at, err);
	return status == KEEP_OK ? name_in_folder(at, out, err) : status;
}

keep_status kp_engine_sqlite_identify(const char *url, char **identity, keep_error *err)
{
	const char *file = url + strlen("sqlite:");
	keep_buffer name = KEEP_BUFFER_INIT;
	char real[PATH_MAX];
	keep_status status;

	*identity = NULL;
	if (!*file)
		return kp_fail(err, KEEP_INVALID, "'%s': a file name is missing", url);
	if (realpath(file, real))
		status = kp_buffer_append_format(&name, err, "sqlite:%s", real);
	else
		status = name_missing_file(file, &name, err);
	if (status == KEEP_OK)
		*identity = name.data;
	else
		keep_buffer_release(&name);
	return status;
}

/* ---------------------------------------------------------------- the watch */

static keep_status read_version(struct sqlite_watch *watch, int64_t *version, keep_error *err)
{
	bool has_row;
	keep_status status = kp_sql_step(watch->data_version, &has_row, err);

	if (status == KEEP_OK)
		status = kp_sql_column_int(watch->data_version, 0, version, err);
	kp_sql_reset(watch->data_version);
	return status;
}

keep_status kp_engine_sqlite_watch_open(kp_store *base, const kp_path *path, kp_watch **out,
					keep_error *err)
{
	struct sqlite_store *store = (struct sqlite_store *)base;
	const char *sql = kp_engine_sqlite_statements.statements[KP_ENGINE_SQLITE_DATA_VERSION].sql;
	kp_sql_options options = {
		.location = store->file, .read_only = true, .timeout_ms = store->timeout_ms};
	struct sqlite_watch *watch = kp_alloc_zero(sizeof *watch);
	keep_status status = KEEP_NO_MEMORY;

	*out = NULL;
	if (!watch)
		return kp_fail_memory(err, "a watch");
	watch->base.store = base;
	watch->path = kp_alloc(path->text.len + 1);
	if (!watch->path) {
		status = kp_fail_memory(err, "a watch");
		goto out;
	}
	memcpy(watch->path, path->text.data, path->text.len);
	watch->path[path->text.len] = '\0';
	if (store->notify)
		watch->position = kp_notify_position(store->notify);
	status = kp_sql_open(&kp_sql_sqlite, &options, &watch->conn, err);
	if (status == KEEP_NOT_FOUND) /* the store is open: this is no missing document */
		status = kp_fail(err, KEEP_UNAVAILABLE, "the file '%s' is gone", store->file);
	if (status == KEEP_OK)
		status = kp_sql_prepare(watch->conn, sql, &watch->data_version, err);
	if (status == KEEP_OK)
		status = read_version(watch, &watch->version, err);
out:
	if (status == KEEP_OK)
		*out = &watch->base;
	else
		kp_engine_sqlite_watch_close(&watch->base);
	return status;
}

/* A change at the path, below it, or of something above that took it along. */
static bool wants(void *ctx, keep_bytes topic)
{
	const struct sqlite_watch *watch = ctx;
	return kp_path_concerns(topic, keep_bytes_of(watch->path));
}

/* Sleep until told, cancelled, or `nap_ms` are over. True: told. */
static bool nap(struct sqlite_watch *watch, kp_notify *notify, int64_t nap_ms)
{
	if (notify)
		return kp_notify_wait(notify, &watch->position, nap_ms, wants, watch,
				      &watch->cancelled);
	poll(NULL, 0, (int)nap_ms);
	return false;
}

keep_status kp_engine_sqlite_watch_wait(kp_watch *base, int64_t timeout_ms, bool *changed,
					keep_error *err)
{
	struct sqlite_watch *watch = (struct sqlite_watch *)base;
	kp_notify *notify = ((struct sqlite_store *)base->store)->notify;
	int64_t until_ns = kp_monotonic_ns() + timeout_ms * 1000000;
	int64_t longest_ms = notify ? POLL_MS : BLIND_POLL_MS;
	keep_status status = KEEP_OK;

	*changed = false;
	for (;;) {
		int64_t left_ms = (until_ns - kp_monotonic_ns() + 999999) / 1000000;
		int64_t nap_ms = timeout_ms < 0 || left_ms > longest_ms ? longest_ms : left_ms;
		int64_t before = watch->version;

		*changed = nap(watch, notify, nap_ms > 0 ? nap_ms : 0);
		if (atomic_load(&watch->cancelled) && !*changed)
			break;
		if (*changed || nap_ms == longest_ms || !notify)
			status = read_version(watch, &watch->version, err);
		*changed |= watch->version != before;
		if (status != KEEP_OK || *changed || (timeout_ms >= 0 && left_ms <= nap_ms))
			return status;
	}
	atomic_store(&watch->cancelled, 0);
	return KEEP_OK;
}

void kp_engine_sqlite_watch_cancel(kp_watch *base)
{
	struct sqlite_watch *watch = (struct sqlite_watch *)base;
	struct sqlite_store *store = (struct sqlite_store *)base->store;

	atomic_store(&watch->cancelled, 1);
	if (store->notify)
		kp_notify_wake(store->notify);
}

void kp_engine_sqlite_watch_close(kp_watch *base)
{
	struct sqlite_watch *watch = (struct sqlite_watch *)base;

	kp_sql_finish(&watch->data_version);
	kp_sql_close(&watch->conn);
	kp_free(watch->path);
	kp_free(watch);
}

/*
 * engine_postgres.c - the engine on PostgreSQL: one set of tables for all namespaces of a schema.
 *
 *     namespaces  name, changes
 *     documents   (owner, id), folder, score, tie, path, value    index (owner, folder, score, tie)
 *     folders     (owner, id), parent, documents, folders, path   index (owner, parent)
 *
 * Ids are SHA-256 of paths, computed here, so that get, list and count are one round trip without
 * a lookup, and a path of 4096 bytes needs no index entry larger than PostgreSQL can hold.
 *
 * A change is BEGIN, one UPDATE of the namespace's row, the statements, COMMIT: all queued, so one
 * round trip in pipeline mode. That row is the lock: the writers of one namespace follow each
 * other, wherever they run, and nothing else in this file can deadlock or lose an update. Writers
 * of one process share transactions (group commit), so the lock costs a namespace little.
 *
 * Invariants, which a change keeps inside its transaction:
 *   1. A folder row exists for every path that has a document or a folder directly below it, and
 *      for no other; its counters say how many of each.
 *   2. (folder, score, tie) is unique in a namespace, and its descending order is that of the list.
 *   3. namespaces.changes grows with every change that commits.
 *
 * What CockroachDB or YugabyteDB lack is not needed: LISTEN has a fallback (the changes counter).
 *
 * Tests: tests/contract (suite and differential runner), tests/torture, tests/crash.
 */
#include "engine/engine_postgres.h"
#include "engine/engine_sql.h"
#include "engine_postgres_migrations.h"
#include "engine_postgres_statements.h"

#include <stdio.h>
#include <string.h>

/* The root's parent is no folder. */
static const keep_bytes no_id = {0};

struct path_id {
	unsigned char bytes[KP_SHA256_SIZE];
};

static keep_bytes id_bytes(const struct path_id *id)
{
	return (keep_bytes){(const char *)id->bytes, sizeof id->bytes};
}

static keep_status make_id(keep_bytes path, struct path_id *id, keep_error *err)
{
	if (!path.data)
		path = KEEP_BYTES("");
	return kp_sha256(path, id->bytes, err);
}

/* Take statement `index` with the namespace bound, and the ids (absent: NULL) after it. */
static keep_status statement(const struct postgres_store *store, kp_lease *lease, size_t index,
			     int count, const keep_bytes *ids, kp_sql_stmt **stmt, keep_error *err)
{
	keep_status status = kp_lease_statement(lease, index, stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_bind_text(*stmt, 1, keep_bytes_of(store->name), err);
	for (int i = 0; status == KEEP_OK && i < count; i++)
		status = kp_sql_bind_blob(*stmt, i + 2, ids[i], err);
	return status;
}

/* Send statement `index` with the namespace and ids. */
static keep_status queue_with(const struct postgres_store *store, kp_lease *lease, size_t index,
			      int count, const keep_bytes *ids, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status = statement(store, lease, index, count, ids, &stmt, err);

	if (status == KEEP_OK)
		return kp_sql_queue(stmt, err);
	kp_sql_reset(stmt);
	return status;
}

/* ---------------------------------------------------------------- reading */

static keep_status read_value(const struct postgres_store *store, kp_lease *lease, keep_bytes path,
			      keep_buffer *value, bool *found, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	struct path_id id;
	keep_bytes bytes, key = id_bytes(&id);
	keep_status status = make_id(path, &id, err);

	*found = false;
	if (status == KEEP_OK)
		status = statement(store, lease, KP_ENGINE_POSTGRES_GET, 1, &key, &stmt, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, found, err);
	if (status == KEEP_OK && *found)
		status = kp_sql_column_bytes(stmt, 0, KP_BLOB, &bytes, err);
	if (status == KEEP_OK && *found)
		status = keep_buffer_set(value, bytes, err);
	kp_sql_reset(stmt);
	return status;
}

/*
 * Reads change nothing, so one that met a connection which died while it was idle is asked once
 * more on a new one. Such a death shows at once: a read that waited for a server which says nothing
 * had its time, and is not to wait as long again.
 */
#define READ_TRIES 2

struct read_args {
	keep_status (*read)(const struct postgres_store *store, kp_lease *lease, void *args,
			    keep_error *err);
	void *args;
};

static keep_status with_reader(const struct postgres_store *store, const struct read_args *read,
			       keep_error *err)
{
	int64_t begun_ns = kp_monotonic_ns();
	keep_status status = KEEP_OK;

	for (int i = 0; i < READ_TRIES; i++) {
		kp_lease *lease;
		bool is_dead;

		status = kp_database_read(store->database, &lease, err);
		if (status != KEEP_OK)
			return status;
		status = read->read(store, lease, read->args, err);
		is_dead = status == KEEP_UNAVAILABLE && lease->conn->broken;
		kp_database_read_end(store->database, &lease);
		if (!is_dead || kp_monotonic_ns() - begun_ns >= store->timeout_ms * 1000000)
			break;
	}
	return status;
}

struct get_args {
	keep_bytes path;
	keep_buffer *value;
	bool found;
};

static keep_status run_get(const struct postgres_store *store, kp_lease *lease, void *ctx,
			   keep_error *err)
{
	struct get_args *args = ctx;

	return read_value(store, lease, args->path, args->value, &args->found, err);
}

static keep_status postgres_get(kp_store *base, const kp_path *path, keep_buffer *value,
				keep_error *err)
{
	struct get_args args = {.path = path->text, .value = value};
	keep_status status = with_reader((struct postgres_store *)base,
					 &(struct read_args){run_get, &args}, err);

	if (status == KEEP_OK && !args.found)
		return kp_fail(err, KEEP_NOT_FOUND, "path '%" KP_PRI "': no document",
			       KP_ARG(path->text));
	return status;
}

struct list_args {
	const kp_path *path;
	int64_t offset, limit;
	keep_engine_sink *sink;
};

static keep_status run_list(const struct postgres_store *store, kp_lease *lease, void *ctx,
			    keep_error *err)
{
	const struct list_args *args = ctx;
	kp_sql_stmt *stmt = NULL;
	struct path_id id;
	keep_bytes key = id_bytes(&id);
	keep_status status = make_id(args->path->text, &id, err);

	args->sink->count = 0;
	if (status == KEEP_OK)
		status = statement(store, lease, KP_ENGINE_POSTGRES_LIST, 1, &key, &stmt, err);
	if (status == KEEP_OK)
		status = kp_sql_bind_int(stmt, 3, args->limit, err);
	if (status == KEEP_OK)
		status = kp_sql_bind_int(stmt, 4, args->offset, err);
	if (status == KEEP_OK)
		status = kp_engine_collect_rows(stmt, args->sink, err);
	kp_sql_reset(stmt);
	return status;
}

static keep_status postgres_list(kp_store *base, const kp_path *path, int64_t offset, int64_t limit,
				 keep_engine_sink *sink, keep_error *err)
{
	struct list_args args = {path, offset, limit, sink};

	return with_reader((struct postgres_store *)base, &(struct read_args){run_list, &args},
			   err);
}

struct count_args {
	const kp_path *path;
	int64_t count;
};

static keep_status run_count(const struct postgres_store *store, kp_lease *lease, void *ctx,
			     keep_error *err)
{
	struct count_args *args = ctx;
	kp_sql_stmt *stmt = NULL;
	struct path_id id;
	keep_bytes key = id_bytes(&id);
	bool found = false;
	keep_status status = make_id(args->path->text, &id, err);

	if (status == KEEP_OK)
		status = statement(store, lease, KP_ENGINE_POSTGRES_COUNT_CHILDREN, 1, &key, &stmt,
				   err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &found, err);
	if (status == KEEP_OK && found)
		status = kp_sql_column_int(stmt, 0, &args->count, err);
	kp_sql_reset(stmt);
	return status;
}

static keep_status postgres_count(kp_store *base, const kp_path *path, int64_t *count,
				  keep_error *err)
{
	struct count_args args = {.path = path};
	keep_status status = with_reader((struct postgres_store *)base,
					 &(struct read_args){run_count, &args}, err);

	*count = args.count;
	return status;
}

/* ---------------------------------------------------------------- scanning */

struct scan {
	const struct postgres_store *store;
	kp_lease *lease;
	kp_scan_callback *callback;
	void *ctx;
	keep_buffer path, value; /* of a document whose value comes by its own get */
	bool ended;
};

static keep_status give_large(struct scan *scan, keep_bytes path, keep_error *err)
{
	bool found;
	keep_status status = keep_buffer_set(&scan->path, path, err);

	if (status == KEEP_OK)
		status = read_value(scan->store, scan->lease, path, &scan->value, &found, err);
	if (status == KEEP_OK && found)
		scan->ended = !scan->callback(scan->ctx, kp_buffer_bytes(&scan->path),
					      kp_buffer_bytes(&scan->value));
	return status;
}

/* One FETCH; *rows tells how many there were. */
static keep_status scan_page(struct scan *scan, size_t *rows, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status =
		kp_lease_statement(scan->lease, KP_ENGINE_POSTGRES_FETCH_SCAN, &stmt, err);

	for (*rows = 0; status == KEEP_OK && !scan->ended; ++*rows) {
		keep_bytes path;
		kp_value value;
		bool has_row;

		status = kp_sql_step(stmt, &has_row, err);
		if (status != KEEP_OK || !has_row)
			break;
		status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &path, err);
		if (status == KEEP_OK)
			status = kp_sql_column(stmt, 1, KP_BLOB, &value, err);
		if (status == KEEP_OK && value.is_null)
			status = give_large(scan, path, err);
		else if (status == KEEP_OK)
			scan->ended = !scan->callback(scan->ctx, path, value.bytes);
	}
	kp_sql_reset(stmt);
	return status;
}

static keep_status open_cursor(struct scan *scan, const kp_path *path, keep_error *err)
{
	struct path_id id;
	keep_bytes key = id_bytes(&id);
	kp_sql_stmt *stmt = NULL;
	bool below = path->depth > 0;
	keep_status status = make_id(path->text, &id, err);

	if (status == KEEP_OK)
		status = statement(scan->store, scan->lease,
				   below ? KP_ENGINE_POSTGRES_OPEN_SCAN_BELOW
					 : KP_ENGINE_POSTGRES_OPEN_SCAN_ALL,
				   below ? 1 : 0, &key, &stmt, err);
	if (status == KEEP_OK)
		return kp_sql_run(stmt, err);
	kp_sql_reset(stmt);
	return status;
}

/* A cursor inside one reading transaction: every document once, a page at a time. */
static keep_status postgres_scan(kp_store *base, const kp_path *path, kp_scan_callback *callback,
				 void *ctx, keep_error *err)
{
	struct postgres_store *store = (struct postgres_store *)base;
	struct scan scan = {.store = store, .callback = callback, .ctx = ctx};
	keep_status status = kp_database_read(store->database, &scan.lease, err);
	size_t rows = 1;

	if (status != KEEP_OK)
		return status;
	status = kp_sql_begin(scan.lease->conn, KP_SQL_READ, err);
	if (status == KEEP_OK)
		status = open_cursor(&scan, path, err);
	while (status == KEEP_OK && rows > 0 && !scan.ended)
		status = scan_page(&scan, &rows, err);
	kp_sql_rollback(scan.lease->conn);
	kp_database_read_end(store->database, &scan.lease);
	keep_buffer_release(&scan.path);
	keep_buffer_release(&scan.value);
	return status;
}

/* ---------------------------------------------------------------- changing */

static keep_status ensure_folder(const struct postgres_store *store, kp_lease *lease,
				 const struct path_id *id, const struct path_id *parent,
				 keep_bytes path, keep_error *err)
{
	keep_bytes ids[] = {id_bytes(id), parent ? id_bytes(parent) : no_id};
	kp_sql_stmt *stmt = NULL;
	keep_status status =
		statement(store, lease, KP_ENGINE_POSTGRES_ENSURE_FOLDER, 2, ids, &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_bind_text(stmt, 4, path, err);
	if (status == KEEP_OK)
		return kp_sql_queue(stmt, err);
	kp_sql_reset(stmt);
	return status;
}

/* Queue the folders above `path`, from the root down; *folder is the last one's id. */
static keep_status ensure_folders(const struct postgres_store *store, kp_lease *lease,
				  keep_bytes path, struct path_id *folder, keep_error *err)
{
	keep_bytes parent = kp_path_of(path).parent;
	struct path_id above;
	keep_status status = make_id(KEEP_BYTES(""), folder, err);

	if (status == KEEP_OK)
		status = ensure_folder(store, lease, folder, NULL, KEEP_BYTES(""), err);
	for (size_t end = 0; status == KEEP_OK && end < parent.len; end++) {
		keep_bytes part;

		while (end < parent.len && parent.data[end] != '/')
			end++;
		part = (keep_bytes){parent.data, end};
		above = *folder;
		status = make_id(part, folder, err);
		if (status == KEEP_OK)
			status = ensure_folder(store, lease, folder, &above, part, err);
	}
	return status;
}

static keep_status set_document(const struct postgres_store *store, kp_lease *lease,
				const kp_change *change, keep_error *err)
{
	bool scored = change->kind == KEEP_ENGINE_SET_SCORED;
	int64_t score = scored ? change->score_ms : kp_engine_now_ms();
	struct path_id id, folder;
	keep_bytes ids[] = {id_bytes(&id), id_bytes(&folder)};
	kp_sql_stmt *stmt = NULL;
	keep_status status = ensure_folders(store, lease, change->path.text, &folder, err);

	if (status == KEEP_OK)
		status = make_id(change->path.text, &id, err);
	if (status == KEEP_OK)
		status = statement(store, lease,
				   scored ? KP_ENGINE_POSTGRES_PUT_SCORED_DOCUMENT
					  : KP_ENGINE_POSTGRES_PUT_DOCUMENT,
				   2, ids, &stmt, err);
	if (status == KEEP_OK)
		status = kp_sql_bind_text(stmt, 4, change->path.text, err);
	if (status == KEEP_OK)
		status = kp_sql_bind_blob(stmt, 5, change->value, err);
	if (status == KEEP_OK)
		status = kp_sql_bind_int(stmt, 6, score, err);
	if (status == KEEP_OK)
		return kp_sql_queue(stmt, err);
	kp_sql_reset(stmt);
	return status;
}

/* Drop the folders above `path` that have nothing left, from the nearest up. */
static keep_status prune_folders(const struct postgres_store *store, kp_lease *lease,
				 const kp_path *path, keep_error *err)
{
	kp_path at = kp_path_parent(path);
	keep_status status = KEEP_OK;
	bool last = false;

	while (status == KEEP_OK && !last) {
		kp_path above = kp_path_parent(&at);
		struct path_id id, parent;
		keep_bytes ids[] = {id_bytes(&id), id_bytes(&parent)};

		last = at.depth == 0;
		if (last)
			ids[1] = no_id;
		status = make_id(at.text, &id, err);
		if (status == KEEP_OK)
			status = make_id(above.text, &parent, err);
		if (status == KEEP_OK)
			status = queue_with(store, lease, KP_ENGINE_POSTGRES_PRUNE_FOLDER, 2, ids,
					    err);
		at = above;
	}
	return status;
}

static keep_status unset_subtree(const struct postgres_store *store, kp_lease *lease,
				 const kp_path *path, keep_error *err)
{
	struct path_id id, folder;
	keep_bytes ids[] = {id_bytes(&id), id_bytes(&folder)};
	keep_status status = make_id(path->text, &id, err);

	if (status == KEEP_OK)
		status = make_id(path->parent, &folder, err);
	if (status == KEEP_OK)
		status = queue_with(store, lease, KP_ENGINE_POSTGRES_DELETE_BELOW, 2, ids, err);
	if (status == KEEP_OK)
		status = queue_with(store, lease, KP_ENGINE_POSTGRES_DELETE_DOCUMENT, 2, ids, err);
	if (status == KEEP_OK)
		status = prune_folders(store, lease, path, err);
	return status;
}

static keep_status unset_everything(const struct postgres_store *store, kp_lease *lease,
				    keep_error *err)
{
	keep_status status =
		queue_with(store, lease, KP_ENGINE_POSTGRES_DELETE_ALL_DOCUMENTS, 0, NULL, err);

	if (status == KEEP_OK)
		status = queue_with(store, lease, KP_ENGINE_POSTGRES_DELETE_ALL_FOLDERS, 0, NULL,
				    err);
	return status;
}

static keep_status apply_one(const struct postgres_store *store, kp_lease *lease,
			     const kp_change *change, keep_error *err)
{
	keep_buffer stored = KEEP_BUFFER_INIT;
	keep_status status = KEEP_OK;
	bool found = false;

	switch (change->kind) {
	case KEEP_ENGINE_SET:
	case KEEP_ENGINE_SET_SCORED: return set_document(store, lease, change, err);
	case KEEP_ENGINE_UNSET:
		return change->path.depth == 0 ? unset_everything(store, lease, err)
					       : unset_subtree(store, lease, &change->path, err);
	case KEEP_ENGINE_COMPARE_AND_SET: break;
	}
	status = read_value(store, lease, change->path.text, &stored, &found, err);
	if (status == KEEP_OK)
		status = kp_engine_check_expected(change, found, kp_buffer_bytes(&stored), err);
	keep_buffer_release(&stored);
	if (status != KEEP_OK)
		return status;
	return change->value.data ? set_document(store, lease, change, err)
				  : unset_subtree(store, lease, &change->path, err);
}

static keep_status tell(const struct postgres_store *store, kp_lease *lease,
			const kp_change *change, keep_error *err)
{
	if (!store->listen)
		return KEEP_OK;
	return kp_sql_notify(lease->conn, store->channel, change->path.text, err);
}

struct apply_args {
	const struct postgres_store *store;
	const kp_change *changes;
	size_t count;
};

static keep_status apply_changes(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct apply_args *args = ctx;
	keep_status status =
		queue_with(args->store, lease, KP_ENGINE_POSTGRES_LOCK_NAMESPACE, 0, NULL, err);

	for (size_t i = 0; status == KEEP_OK && i < args->count; i++) {
		status = apply_one(args->store, lease, &args->changes[i], err);
		lease->unchanged = i == 0 && status == KEEP_CONFLICT;
		if (status == KEEP_OK)
			status = tell(args->store, lease, &args->changes[i], err);
	}
	return status;
}

static keep_status postgres_apply(kp_store *base, const kp_change *changes, size_t count,
				  keep_error *err)
{
	struct postgres_store *store = (struct postgres_store *)base;
	struct apply_args args = {store, changes, count};

	return kp_database_write(store->database, apply_changes, &args, err);
}

/* ---------------------------------------------------------------- open and close */

static keep_status add_namespace(void *ctx, kp_lease *lease, keep_error *err)
{
	return queue_with(ctx, lease, KP_ENGINE_POSTGRES_ADD_NAMESPACE, 0, NULL, err);
}

/* Ask the server what a commit is worth; "unknown" when it does not say. */
static keep_status ask_durability(struct postgres_store *store, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_bytes text = KEEP_BYTES("unknown");
	kp_lease *lease;
	bool found;
	keep_status status = kp_database_read(store->database, &lease, err);

	if (status != KEEP_OK)
		return status;
	if (kp_lease_statement(lease, KP_ENGINE_POSTGRES_DURABILITY, &stmt, NULL) != KEEP_OK ||
	    kp_sql_step(stmt, &found, NULL) != KEEP_OK || !found ||
	    kp_sql_column_bytes(stmt, 0, KP_TEXT, &text, NULL) != KEEP_OK)
		text = KEEP_BYTES("unknown");
	snprintf(store->durability, sizeof store->durability, "%.*s", (int)text.len, text.data);
	kp_sql_reset(stmt);
	kp_database_read_end(store->database, &lease);
	return KEEP_OK;
}

static keep_status name_channel(struct postgres_store *store, keep_error *err)
{
	unsigned char digest[KP_SHA256_SIZE];
	keep_buffer both = KEEP_BUFFER_INIT;
	keep_status status =
		kp_buffer_append_format(&both, err, "%s/%s", store->schema, store->name);
	char hex[33];

	if (status == KEEP_OK)
		status = kp_sha256(kp_buffer_bytes(&both), digest, err);
	keep_buffer_release(&both);
	if (status != KEEP_OK)
		return status;
	kp_hex_format((keep_bytes){(const char *)digest, 16}, hex);
	snprintf(store->channel, sizeof store->channel, "keep_engine_%s", hex);
	return KEEP_OK;
}

static void postgres_close(kp_store *base)
{
	struct postgres_store *store = (struct postgres_store *)base;
	kp_postgres_url parts = {store->conninfo, store->schema, store->name};

	kp_database_close(&store->database);
	kp_postgres_url_release(&parts);
	kp_free(store);
}

static keep_status open_database(struct postgres_store *store, const keep_engine_options *options,
				 keep_error *err)
{
	kp_migrations migrations = {.service = "engine",
				    .list = kp_engine_postgres_migrations,
				    .count = KP_ENGINE_POSTGRES_MIGRATION_COUNT};
	kp_database_options database = {
		.sql = {.location = store->conninfo,
			.schema = store->schema,
			.create = options->create,
			.read_only = options->read_only,
			.relaxed = options->relaxed,
			.timeout_ms = options->timeout_ms},
		.migrations = &migrations,
		.statements = &kp_engine_postgres_statements,
	};

	return kp_database_open(&kp_sql_postgres, &database, &store->database, err);
}

static keep_status postgres_open(const char *url, const keep_engine_options *options,
				 kp_store **out, keep_error *err)
{
	kp_postgres_url parts = {0};
	struct postgres_store *store;
	keep_status status;

	*out = NULL;
	store = kp_alloc_zero(sizeof *store);
	if (!store)
		return kp_fail_memory(err, "an engine");
	store->base.backend = &kp_engine_postgres;
	store->timeout_ms = options->timeout_ms;
	status = kp_postgres_url_read(url, "engine", &parts, err);
	store->conninfo = parts.conninfo;
	store->schema = parts.schema;
	store->name = parts.name;
	if (status == KEEP_OK)
		status = name_channel(store, err);
	if (status == KEEP_OK)
		status = open_database(store, options, err);
	if (status == KEEP_OK)
		status = ask_durability(store, err);
	if (status == KEEP_OK)
		store->listen = kp_database_caps(store->database) & KP_SQL_LISTEN;
	if (status == KEEP_OK && !options->read_only)
		status = kp_database_write(store->database, add_namespace, store, err);
	if (status == KEEP_OK)
		*out = &store->base;
	else
		postgres_close(&store->base);
	return status;
}

static const char *postgres_durability(const kp_store *base)
{
	return ((const struct postgres_store *)base)->durability;
}

const kp_backend kp_engine_postgres = {
	.name = "postgres",
	.identify = kp_engine_postgres_identify,
	.open = postgres_open,
	.close = postgres_close,
	.durability = postgres_durability,
	.can_extend = true,
	.get = postgres_get,
	.list = postgres_list,
	.count = postgres_count,
	.scan = postgres_scan,
	.apply = postgres_apply,
	.watch_open = kp_engine_postgres_watch_open,
	.watch_wait = kp_engine_postgres_watch_wait,
	.watch_cancel = kp_engine_postgres_watch_cancel,
	.watch_close = kp_engine_postgres_watch_close,
};

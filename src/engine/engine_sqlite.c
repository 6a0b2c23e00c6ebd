/*
 * engine_sqlite.c - the engine in one SQLite file.
 *
 *     documents  id, hash, folder, score, tie, path, value     index (hash), (folder, score, tie)
 *     folders    id, hash, parent, documents, folders, path    unique (hash, path), index (parent)
 *
 * A get is one step in a dense index of integers and one in the table; bench/ compares this layout
 * with seven others (docs/performance.md). A list reads `limit` entries of one index; a count
 * reads the folder's counter; an unset reaches its subtree through folders.parent and nothing else.
 *
 * Invariants, which a change keeps inside its transaction:
 *   1. A folder row exists for every path that has a document or a folder directly below it, and
 *      for no other; its counters say how many of each.
 *   2. (folder, score, tie) is unique, and its descending order is the order of the list.
 *   3. `hash` is SipHash of the path under the file's own random key: names from the network cannot
 *      be chosen to collide, and where two paths do, the path column decides.
 *
 * Threads and processes: kp_database gives one writer with group commit and a pool of readers; a
 * change is told to the watches of all processes through "<file>-notify" after its commit.
 *
 * Tests: tests/contract (suite and differential runner), tests/torture, tests/crash.
 */
#include "engine/engine_sql.h"
#include "engine/engine_sqlite.h"
#include "engine_sqlite_migrations.h"
#include "engine_sqlite_statements.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define MMAP_BYTES (INT64_C(16) << 30)
#define CACHE_BYTES (INT64_C(2) << 20)

/* ---------------------------------------------------------------- small steps */

/* Take statement `index` with the path and its hash bound as parameters 1 and 2. */
static keep_status path_statement(const struct sqlite_store *store, kp_lease *lease, size_t index,
				  keep_bytes path, kp_sql_stmt **stmt, keep_error *err)
{
	keep_status status = kp_lease_statement(lease, index, stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_bind_int(*stmt, 1, (int64_t)kp_siphash(store->key, path), err);
	if (status == KEEP_OK)
		status = kp_sql_bind_text(*stmt, 2, path, err);
	return status;
}

/* Run statement `index` with up to two integer parameters. */
static keep_status run_with(kp_lease *lease, size_t index, int count, const int64_t *params,
			    keep_error *err)
{
	kp_sql_stmt *stmt;
	keep_status status = kp_lease_statement(lease, index, &stmt, err);

	for (int i = 0; status == KEEP_OK && i < count; i++)
		status = kp_sql_bind_int(stmt, i + 1, params[i], err);
	if (status == KEEP_OK)
		return kp_sql_run(stmt, err);
	kp_sql_reset(stmt);
	return status;
}

/* Step once and read the first `count` columns as integers; a NULL is 0. */
static keep_status read_integers(kp_sql_stmt *stmt, int count, int64_t *out, bool *found,
				 keep_error *err)
{
	keep_status status = kp_sql_step(stmt, found, err);

	for (int i = 0; status == KEEP_OK && *found && i < count; i++) {
		kp_value value;

		status = kp_sql_column(stmt, i, KP_INT, &value, err);
		out[i] = status == KEEP_OK && !value.is_null ? value.integer : 0;
	}
	kp_sql_reset(stmt);
	return status;
}

/* ---------------------------------------------------------------- reading */

static keep_status read_value(const struct sqlite_store *store, kp_lease *lease, keep_bytes path,
			      keep_buffer *value, bool *found, keep_error *err)
{
	kp_sql_stmt *stmt;
	keep_bytes bytes;
	keep_status status = path_statement(store, lease, KP_ENGINE_SQLITE_GET, path, &stmt, err);

	*found = false;
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, found, err);
	if (status == KEEP_OK && *found)
		status = kp_sql_column_bytes(stmt, 0, KP_BLOB, &bytes, err);
	if (status == KEEP_OK && *found)
		status = keep_buffer_set(value, bytes, err);
	kp_sql_reset(stmt);
	return status;
}

static keep_status sqlite_get(kp_store *base, const kp_path *path, keep_buffer *value,
			      keep_error *err)
{
	struct sqlite_store *store = (struct sqlite_store *)base;
	kp_lease *lease;
	keep_status status = kp_database_read(store->database, &lease, err);
	bool found;

	if (status != KEEP_OK)
		return status;
	status = read_value(store, lease, path->text, value, &found, err);
	kp_database_read_end(store->database, &lease);
	if (status == KEEP_OK && !found)
		return kp_fail(err, KEEP_NOT_FOUND, "path '%" KP_PRI "': no document",
			       KP_ARG(path->text));
	return status;
}

static keep_status sqlite_list(kp_store *base, const kp_path *path, int64_t offset, int64_t limit,
			       keep_engine_sink *sink, keep_error *err)
{
	struct sqlite_store *store = (struct sqlite_store *)base;
	kp_sql_stmt *stmt = NULL;
	kp_lease *lease;
	keep_status status = kp_database_read(store->database, &lease, err);

	if (status != KEEP_OK)
		return status;
	status = path_statement(store, lease, KP_ENGINE_SQLITE_LIST, path->text, &stmt, err);
	if (status == KEEP_OK)
		status = kp_sql_bind_int(stmt, 3, limit, err);
	if (status == KEEP_OK)
		status = kp_sql_bind_int(stmt, 4, offset, err);
	if (status == KEEP_OK)
		status = kp_engine_collect_rows(stmt, sink, err);
	kp_sql_reset(stmt);
	kp_database_read_end(store->database, &lease);
	return status;
}

static keep_status sqlite_count(kp_store *base, const kp_path *path, int64_t *count,
				keep_error *err)
{
	struct sqlite_store *store = (struct sqlite_store *)base;
	kp_sql_stmt *stmt = NULL;
	kp_lease *lease;
	keep_status status = kp_database_read(store->database, &lease, err);
	bool found;

	*count = 0;
	if (status != KEEP_OK)
		return status;
	status = path_statement(store, lease, KP_ENGINE_SQLITE_COUNT_CHILDREN, path->text, &stmt,
				err);
	if (status == KEEP_OK)
		status = read_integers(stmt, 1, count, &found, err);
	kp_sql_reset(stmt);
	kp_database_read_end(store->database, &lease);
	return status;
}

/* One statement over one snapshot: every document once, whatever is written meanwhile. */
static keep_status sqlite_scan(kp_store *base, const kp_path *path, kp_scan_callback *callback,
			       void *ctx, keep_error *err)
{
	struct sqlite_store *store = (struct sqlite_store *)base;
	kp_sql_stmt *stmt = NULL;
	kp_lease *lease;
	bool has_row = true;
	keep_status status = kp_database_read(store->database, &lease, err);

	if (status != KEEP_OK)
		return status;
	if (path->depth == 0)
		status = kp_lease_statement(lease, KP_ENGINE_SQLITE_SCAN_ALL, &stmt, err);
	else
		status = path_statement(store, lease, KP_ENGINE_SQLITE_SCAN_BELOW, path->text,
					&stmt, err);
	while (status == KEEP_OK) {
		keep_bytes found, value;

		status = kp_sql_step(stmt, &has_row, err);
		if (status != KEEP_OK || !has_row)
			break;
		status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &found, err);
		if (status == KEEP_OK)
			status = kp_sql_column_bytes(stmt, 1, KP_BLOB, &value, err);
		if (status == KEEP_OK && !callback(ctx, found, value))
			break;
	}
	kp_sql_reset(stmt);
	kp_database_read_end(store->database, &lease);
	return status;
}

/* ---------------------------------------------------------------- folders */

struct folder {
	int64_t id, parent, documents, folders;
};

static keep_status find_folder(const struct sqlite_store *store, kp_lease *lease, keep_bytes path,
			       struct folder *folder, bool *found, keep_error *err)
{
	kp_sql_stmt *stmt;
	int64_t row[4] = {0};
	keep_status status =
		path_statement(store, lease, KP_ENGINE_SQLITE_FIND_FOLDER, path, &stmt, err);

	if (status == KEEP_OK)
		status = read_integers(stmt, 4, row, found, err);
	else
		kp_sql_reset(stmt);
	*folder = (struct folder){row[0], row[1], row[2], row[3]};
	return status;
}

static keep_status insert_folder(const struct sqlite_store *store, kp_lease *lease, keep_bytes path,
				 int64_t parent, int64_t *id, keep_error *err)
{
	kp_value parent_value = {.kind = KP_INT, .is_null = parent == 0, .integer = parent};
	kp_sql_stmt *stmt;
	bool found = false;
	keep_status status = kp_lease_statement(lease, KP_ENGINE_SQLITE_INSERT_FOLDER, &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_bind_int(stmt, 1, (int64_t)kp_siphash(store->key, path), err);
	if (status == KEEP_OK)
		status = kp_sql_bind(stmt, 2, &parent_value, err);
	if (status == KEEP_OK)
		status = kp_sql_bind_text(stmt, 3, path, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &found, err);
	if (status == KEEP_OK && found)
		status = kp_sql_column_int(stmt, 0, id, err);
	/* RETURNING gives its row before the statement ends: run it to its end. */
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &found, err);
	kp_sql_reset(stmt);
	return status;
}

/* The folder of `path`, made with all above it where they are missing. Top down: the loop first
   climbs to the nearest folder that is there, then comes back making one on each step. */
static keep_status ensure_folder(const struct sqlite_store *store, kp_lease *lease, keep_bytes path,
				 int64_t *id, keep_error *err)
{
	keep_bytes missing[KEEP_PATH_SEGMENTS_MAX + 1];
	size_t count = 0;
	struct folder folder = {0};
	bool found;
	keep_status status = find_folder(store, lease, path, &folder, &found, err);

	while (status == KEEP_OK && !found) {
		missing[count++] = path;
		if (path.len == 0)
			break;
		path = kp_path_of(path).parent;
		status = find_folder(store, lease, path, &folder, &found, err);
	}
	*id = folder.id;
	while (status == KEEP_OK && count > 0) {
		int64_t parent = *id;

		status = insert_folder(store, lease, missing[--count], parent, id, err);
		if (status == KEEP_OK && parent)
			status = run_with(lease, KP_ENGINE_SQLITE_COUNT_FOLDER, 2,
					  (int64_t[]){parent, 1}, err);
	}
	return status;
}

/* A folder lost a document or a folder: drop it, and what is above it, where nothing is left. */
static keep_status prune_folders(kp_lease *lease, int64_t id, keep_error *err)
{
	keep_status status = KEEP_OK;

	while (status == KEEP_OK && id) {
		kp_sql_stmt *stmt;
		int64_t row[4] = {0};
		bool found = false;

		status = kp_lease_statement(lease, KP_ENGINE_SQLITE_FIND_FOLDER_BY_ID, &stmt, err);
		if (status == KEEP_OK)
			status = kp_sql_bind_int(stmt, 1, id, err);
		if (status == KEEP_OK)
			status = read_integers(stmt, 4, row, &found, err);
		else
			kp_sql_reset(stmt);
		if (status != KEEP_OK || !found || row[2] || row[3])
			break;
		status = run_with(lease, KP_ENGINE_SQLITE_DELETE_FOLDER, 1, &id, err);
		id = row[1];
		if (status == KEEP_OK && id)
			status = run_with(lease, KP_ENGINE_SQLITE_COUNT_FOLDER, 2,
					  (int64_t[]){id, -1}, err);
	}
	return status;
}

/* ---------------------------------------------------------------- changing */

struct document {
	int64_t id, folder, score, tie;
};

static keep_status find_document(const struct sqlite_store *store, kp_lease *lease, keep_bytes path,
				 struct document *document, bool *found, keep_error *err)
{
	kp_sql_stmt *stmt;
	int64_t row[4] = {0};
	keep_status status =
		path_statement(store, lease, KP_ENGINE_SQLITE_FIND_DOCUMENT, path, &stmt, err);

	if (status == KEEP_OK)
		status = read_integers(stmt, 4, row, found, err);
	else
		kp_sql_reset(stmt);
	*document = (struct document){row[0], row[1], row[2], row[3]};
	return status;
}

/* The place that a change gives its document: see "the place in the order" in backend.h. */
static keep_status choose_place(kp_lease *lease, const kp_change *change, int64_t folder,
				int64_t *score, int64_t *tie, keep_error *err)
{
	bool scored = change->kind == KEEP_ENGINE_SET_SCORED;
	int64_t top[2] = {-1, -1};
	kp_sql_stmt *stmt;
	bool found = false;
	keep_status status = kp_lease_statement(
		lease, scored ? KP_ENGINE_SQLITE_TOP_OF_SCORE : KP_ENGINE_SQLITE_TOP, &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_bind_int(stmt, 1, folder, err);
	if (status == KEEP_OK && scored)
		status = kp_sql_bind_int(stmt, 2, change->score_ms, err);
	if (status != KEEP_OK) {
		kp_sql_reset(stmt);
		return status;
	}
	status = read_integers(stmt, scored ? 1 : 2, top, &found, err);
	if (scored) {
		*score = change->score_ms;
		*tie = found ? top[0] + 1 : 0;
		return status;
	}
	*score = kp_engine_now_ms();
	if (found && top[0] > *score)
		*score = top[0];
	*tie = found && top[0] == *score ? top[1] + 1 : 0;
	return status;
}

static keep_status insert_document(const struct sqlite_store *store, kp_lease *lease,
				   const kp_change *change, int64_t folder, int64_t score,
				   int64_t tie, keep_error *err)
{
	int64_t hash = (int64_t)kp_siphash(store->key, change->path.text);
	int64_t numbers[] = {hash, folder, score, tie};
	kp_sql_stmt *stmt;
	keep_status status =
		kp_lease_statement(lease, KP_ENGINE_SQLITE_INSERT_DOCUMENT, &stmt, err);

	for (int i = 0; status == KEEP_OK && i < 4; i++)
		status = kp_sql_bind_int(stmt, i + 1, numbers[i], err);
	if (status == KEEP_OK)
		status = kp_sql_bind_text(stmt, 5, change->path.text, err);
	if (status == KEEP_OK)
		status = kp_sql_bind_blob(stmt, 6, change->value, err);
	if (status == KEEP_OK)
		status = kp_sql_run(stmt, err);
	else
		kp_sql_reset(stmt);
	if (status == KEEP_OK)
		status = run_with(lease, KP_ENGINE_SQLITE_COUNT_DOCUMENT, 2, (int64_t[]){folder, 1},
				  err);
	return status;
}

static keep_status update_document(kp_lease *lease, const kp_change *change, int64_t id,
				   int64_t score, int64_t tie, keep_error *err)
{
	int64_t numbers[] = {id, score, tie};
	kp_sql_stmt *stmt;
	keep_status status =
		kp_lease_statement(lease, KP_ENGINE_SQLITE_UPDATE_DOCUMENT, &stmt, err);

	for (int i = 0; status == KEEP_OK && i < 3; i++)
		status = kp_sql_bind_int(stmt, i + 1, numbers[i], err);
	if (status == KEEP_OK)
		status = kp_sql_bind_blob(stmt, 4, change->value, err);
	if (status == KEEP_OK)
		return kp_sql_run(stmt, err);
	kp_sql_reset(stmt);
	return status;
}

static keep_status set_document(const struct sqlite_store *store, kp_lease *lease,
				const kp_change *change, keep_error *err)
{
	struct document document;
	int64_t score, tie;
	bool found;
	keep_status status = find_document(store, lease, change->path.text, &document, &found, err);

	if (status == KEEP_OK && !found)
		status = ensure_folder(store, lease, change->path.parent, &document.folder, err);
	if (status == KEEP_OK)
		status = choose_place(lease, change, document.folder, &score, &tie, err);
	if (status != KEEP_OK)
		return status;
	if (found)
		return update_document(lease, change, document.id, score, tie, err);
	return insert_document(store, lease, change, document.folder, score, tie, err);
}

static keep_status unset_everything(kp_lease *lease, keep_error *err)
{
	keep_status status = run_with(lease, KP_ENGINE_SQLITE_DELETE_ALL_DOCUMENTS, 0, NULL, err);

	if (status == KEEP_OK)
		status = run_with(lease, KP_ENGINE_SQLITE_DELETE_ALL_FOLDERS, 0, NULL, err);
	return status;
}

static keep_status unset_subtree(const struct sqlite_store *store, kp_lease *lease,
				 const kp_path *path, keep_error *err)
{
	struct document document = {0};
	struct folder folder = {0};
	bool has_document, has_folder = false;
	keep_status status = find_document(store, lease, path->text, &document, &has_document, err);

	if (status == KEEP_OK)
		status = find_folder(store, lease, path->text, &folder, &has_folder, err);
	if (status == KEEP_OK && has_folder)
		status = run_with(lease, KP_ENGINE_SQLITE_DELETE_DOCUMENTS_BELOW, 1, &folder.id,
				  err);
	if (status == KEEP_OK && has_folder)
		status = run_with(lease, KP_ENGINE_SQLITE_DELETE_FOLDERS_BELOW, 1, &folder.id, err);
	if (status == KEEP_OK && has_folder)
		status = run_with(lease, KP_ENGINE_SQLITE_COUNT_FOLDER, 2,
				  (int64_t[]){folder.parent, -1}, err);
	if (status == KEEP_OK && has_document)
		status = run_with(lease, KP_ENGINE_SQLITE_DELETE_DOCUMENT, 1, &document.id, err);
	if (status == KEEP_OK && has_document)
		status = run_with(lease, KP_ENGINE_SQLITE_COUNT_DOCUMENT, 2,
				  (int64_t[]){document.folder, -1}, err);
	if (status == KEEP_OK && (has_document || has_folder))
		status = prune_folders(lease, has_document ? document.folder : folder.parent, err);
	return status;
}

static keep_status apply_one(const struct sqlite_store *store, kp_lease *lease,
			     const kp_change *change, keep_error *err)
{
	keep_buffer stored = KEEP_BUFFER_INIT;
	keep_status status = KEEP_OK;
	bool found = false;

	switch (change->kind) {
	case KEEP_ENGINE_SET:
	case KEEP_ENGINE_SET_SCORED: return set_document(store, lease, change, err);
	case KEEP_ENGINE_UNSET:
		return change->path.depth == 0 ? unset_everything(lease, err)
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

struct apply_args {
	const struct sqlite_store *store;
	const kp_change *changes;
	size_t count;
};

static keep_status apply_changes(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct apply_args *args = ctx;

	for (size_t i = 0; i < args->count; i++) {
		keep_status status = apply_one(args->store, lease, &args->changes[i], err);

		if (status != KEEP_OK) {
			lease->unchanged = i == 0 && status == KEEP_CONFLICT;
			return status;
		}
	}
	return KEEP_OK;
}

static keep_status sqlite_apply(kp_store *base, const kp_change *changes, size_t count,
				keep_error *err)
{
	struct sqlite_store *store = (struct sqlite_store *)base;
	struct apply_args args = {store, changes, count};
	keep_status status = kp_database_write(store->database, apply_changes, &args, err);

	if (status == KEEP_OK || status == KEEP_UNCERTAIN)
		kp_engine_sqlite_tell(store, changes, count);
	return status;
}

/* ---------------------------------------------------------------- open and close */

/* The random key of the file's hashes: made once, read by everybody. */
static keep_status make_key(void *ctx, kp_lease *lease, keep_error *err)
{
	unsigned char fresh[16];
	kp_sql_stmt *stmt;
	keep_status status = kp_random_bytes(fresh, sizeof fresh, err);

	(void)ctx;
	if (status == KEEP_OK)
		status = kp_lease_statement(lease, KP_ENGINE_SQLITE_ADD_PROPERTY, &stmt, err);
	if (status != KEEP_OK)
		return status;
	status = kp_sql_bind_text(stmt, 1, KEEP_BYTES("hash_key"), err);
	if (status == KEEP_OK)
		status = kp_sql_bind_blob(stmt, 2, (keep_bytes){(const char *)fresh, sizeof fresh},
					  err);
	if (status == KEEP_OK)
		status = kp_sql_run(stmt, err);
	kp_sql_reset(stmt);
	return status;
}

static keep_status read_key(struct sqlite_store *store, bool *found, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	kp_lease *lease;
	keep_bytes key;
	keep_status status = kp_database_read(store->database, &lease, err);

	if (status != KEEP_OK)
		return status;
	status = kp_lease_statement(lease, KP_ENGINE_SQLITE_GET_PROPERTY, &stmt, err);
	if (status == KEEP_OK)
		status = kp_sql_bind_text(stmt, 1, KEEP_BYTES("hash_key"), err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, found, err);
	if (status == KEEP_OK && *found)
		status = kp_sql_column_bytes(stmt, 0, KP_BLOB, &key, err);
	if (status == KEEP_OK && *found) {
		if (key.len == sizeof store->key)
			memcpy(store->key, key.data, key.len);
		else
			status = kp_fail(err, KEEP_CORRUPT, "properties.hash_key has %zu bytes",
					 key.len);
	}
	kp_sql_reset(stmt);
	kp_database_read_end(store->database, &lease);
	return status;
}

static keep_status load_key(struct sqlite_store *store, bool read_only, keep_error *err)
{
	bool found = false;
	keep_status status = read_key(store, &found, err);

	if (status != KEEP_OK || found)
		return status;
	if (!read_only)
		status = kp_database_write(store->database, make_key, NULL, err);
	if (status == KEEP_OK)
		status = read_key(store, &found, err);
	if (status == KEEP_OK && !found)
		return kp_fail(err, KEEP_CORRUPT, "properties.hash_key is missing");
	return status;
}

static void sqlite_close(kp_store *base)
{
	struct sqlite_store *store = (struct sqlite_store *)base;

	kp_notify_close(&store->notify);
	kp_database_close(&store->database);
	kp_free(store->file);
	kp_free(store);
}

static keep_status sqlite_open(const char *url, const keep_engine_options *options, kp_store **out,
			       keep_error *err)
{
	const char *file = url + strlen("sqlite:");
	kp_migrations migrations = {.service = "engine",
				    .list = kp_engine_sqlite_migrations,
				    .count = KP_ENGINE_SQLITE_MIGRATION_COUNT};
	kp_database_options database = {
		.sql = {.location = file,
			.create = options->create,
			.seal = true,
			.read_only = options->read_only,
			.relaxed = options->relaxed,
			.timeout_ms = options->timeout_ms,
			.mmap_bytes = MMAP_BYTES,
			.cache_bytes = CACHE_BYTES},
		.migrations = &migrations,
		.statements = &kp_engine_sqlite_statements,
	};
	struct sqlite_store *store;
	keep_status status;

	*out = NULL;
	if (!*file)
		return kp_fail(err, KEEP_INVALID, "'%s': a file name is missing", url);
	store = kp_alloc_zero(sizeof *store);
	if (!store)
		return kp_fail_memory(err, "an engine");
	store->base.backend = &kp_engine_sqlite;
	store->relaxed = options->relaxed;
	store->timeout_ms = options->timeout_ms;
	status = kp_database_open(&kp_sql_sqlite, &database, &store->database, err);
	if (status == KEEP_OK)
		status = load_key(store, options->read_only, err);
	if (status == KEEP_OK)
		status = kp_engine_sqlite_name(store, file, err);
	if (status == KEEP_OK)
		*out = &store->base;
	else
		sqlite_close(&store->base);
	return status;
}

static const char *sqlite_durability(const kp_store *base)
{
	return ((const struct sqlite_store *)base)->relaxed ? "relaxed" : "synced";
}

const kp_backend kp_engine_sqlite = {
	.name = "sqlite",
	.identify = kp_engine_sqlite_identify,
	.open = sqlite_open,
	.close = sqlite_close,
	.durability = sqlite_durability,
	.can_extend = true,
	.get = sqlite_get,
	.list = sqlite_list,
	.count = sqlite_count,
	.scan = sqlite_scan,
	.apply = sqlite_apply,
	.watch_open = kp_engine_sqlite_watch_open,
	.watch_wait = kp_engine_sqlite_watch_wait,
	.watch_cancel = kp_engine_sqlite_watch_cancel,
	.watch_close = kp_engine_sqlite_watch_close,
};

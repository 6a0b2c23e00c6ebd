/*
 * transfer_engine.c - the engine's two layouts, as one kind of row each for folders and documents.
 *
 *     folders      path; how many documents and folders are in it
 *     documents    folder, score, tie; path, value       in the order of their lists
 *
 * Ids are the layout's own: rowids in order of arrival and SipHash under the file's key here,
 * SHA-256 of paths there (docs/decisions/0001). They are made anew. Documents of a folder are
 * written one after the other, in the order of its list, so that a list of the copy reads
 * neighbours.
 *
 * Invariants:
 *   1. A folder comes after the one above it: "a" is before "a/b" in the order of bytes.
 *   2. A document without its folder's row, or below another folder than its path says, is CORRUPT
 *      and stops the transfer: nothing is left out in silence.
 *   3. The target has the engines of the source, and no other.
 *
 * Tests: tests/contract/test_transfer_home.c.
 */
#include "engine/backend.h"
#include "home/home_private.h"

#include <stdio.h>
#include <string.h>

enum { ENGINE_NAME_MAX = 255, HASH_KEY_SIZE = 16 };

/* ---------------------------------------------------------------- the layout of a server */

static keep_bytes digest_in(const unsigned char *room)
{
	return (keep_bytes){(const char *)room, KP_SHA256_SIZE};
}

/* $2 id, $3 parent, $4 documents, $5 folders, $6 path */
static keep_status derive_server_folder(void *ctx, const kp_value *row, kp_value *values,
					size_t *count, unsigned char room[64], keep_error *err)
{
	keep_bytes path = row[0].bytes;
	keep_status status = kp_sha256(path, room, err);

	(void)ctx;
	values[0] = kp_blob_value(digest_in(room));
	values[1] = kp_null_value(KP_BLOB);
	if (status == KEEP_OK && path.len) {
		status = kp_sha256(kp_path_of(path).parent, room + KP_SHA256_SIZE, err);
		values[1] = kp_blob_value(digest_in(room + KP_SHA256_SIZE));
	}
	values[2] = row[1];
	values[3] = row[2];
	values[4] = row[0];
	*count = 5;
	return status;
}

static keep_status check_folder(const kp_value *row, keep_error *err)
{
	if (kp_bytes_equal(kp_path_of(row[3].bytes).parent, row[0].bytes))
		return KEEP_OK;
	return kp_fail(err, KEEP_CORRUPT, "the document '%" KP_PRI "' is in another folder",
		       KP_ARG(row[3].bytes));
}

/* $2 id, $3 folder, $4 score, $5 tie, $6 path, $7 value */
static keep_status derive_server_document(void *ctx, const kp_value *row, kp_value *values,
					  size_t *count, unsigned char room[64], keep_error *err)
{
	keep_status status = check_folder(row, err);

	(void)ctx;
	if (status == KEEP_OK)
		status = kp_sha256(row[3].bytes, room, err);
	if (status == KEEP_OK)
		status = kp_sha256(row[0].bytes, room + KP_SHA256_SIZE, err);
	values[0] = kp_blob_value(digest_in(room));
	values[1] = kp_blob_value(digest_in(room + KP_SHA256_SIZE));
	for (size_t i = 1; i < 5; i++)
		values[i + 1] = row[i];
	*count = 6;
	return status;
}

/* ---------------------------------------------------------------- the layout of a file */

static kp_value hash_of(const unsigned char *key, keep_bytes path)
{
	return kp_int_value((int64_t)kp_siphash(key, path));
}

/* $1 hash, $2 and $3 the parent's hash and path, $4 documents, $5 folders, $6 path */
static keep_status derive_file_folder(void *ctx, const kp_value *row, kp_value *values,
				      size_t *count, unsigned char room[64], keep_error *err)
{
	keep_bytes path = row[0].bytes;
	keep_bytes parent = kp_path_of(path).parent;

	(void)room, (void)err;
	values[0] = hash_of(ctx, path);
	values[1] = hash_of(ctx, parent);
	values[2] = path.len ? kp_text_value(parent) : kp_null_value(KP_TEXT);
	values[3] = row[1];
	values[4] = row[2];
	values[5] = row[0];
	*count = 6;
	return KEEP_OK;
}

/* $1 hash, $2 and $3 the folder's hash and path, $4 score, $5 tie, $6 path, $7 value */
static keep_status derive_file_document(void *ctx, const kp_value *row, kp_value *values,
					size_t *count, unsigned char room[64], keep_error *err)
{
	(void)room;
	values[0] = hash_of(ctx, row[3].bytes);
	values[1] = hash_of(ctx, row[0].bytes);
	values[2] = row[0];
	for (size_t i = 1; i < 5; i++)
		values[i + 2] = row[i];
	*count = 7;
	return check_folder(row, err);
}

/* ---------------------------------------------------------------- both, as rows */

#define COLUMN(name_, kind_, file_, server_)                                                       \
	{                                                                                          \
		.name = (name_), .kind = (kind_), .expression = {                                  \
			[KP_DIALECT_SQLITE] = (file_),                                             \
			[KP_DIALECT_POSTGRES] = (server_)                                          \
		}                                                                                  \
	}

static const kp_transfer_column folder_columns[] = {
	COLUMN("path", KP_TEXT, "f.path", "f.path"),
	COLUMN("documents", KP_INT, "f.documents", "f.documents"),
	COLUMN("folders", KP_INT, "f.folders", "f.folders"),
};

static const kp_transfer_special folder_table = {
	.columns = folder_columns,
	.column_count = KP_COUNT(folder_columns),
	.key_count = 1,
	.layouts =
		{
			[KP_DIALECT_SQLITE] =
				{
					.from = "folders AS f",
					.table = "folders AS f",
					.insert = "INSERT INTO folders (hash, parent, documents, "
						  "folders, path) "
						  "SELECT $1, (SELECT id FROM folders WHERE hash = "
						  "$2 AND path = $3), "
						  "$4, $5, $6",
					.derive = derive_file_folder,
				},
			[KP_DIALECT_POSTGRES] =
				{
					.from = "@folders AS f",
					.scope = "f.owner",
					.table = "@folders AS f",
					.insert = "INSERT INTO @folders (owner, id, parent, "
						  "documents, folders, path) "
						  "VALUES ($1, $2, $3, $4, $5, $6)",
					.derive = derive_server_folder,
				},
		},
};

static const kp_transfer_column document_columns[] = {
	COLUMN("folder", KP_TEXT, "f.path", "f.path"),
	COLUMN("score", KP_INT, "d.score", "d.score"),
	COLUMN("tie", KP_INT, "d.tie", "d.tie"),
	COLUMN("path", KP_TEXT, "d.path", "d.path"),
	COLUMN("value", KP_BLOB, "d.value", "d.value"),
};

static const kp_transfer_special document_table = {
	.columns = document_columns,
	.column_count = KP_COUNT(document_columns),
	.key_count = 3,
	.layouts =
		{
			[KP_DIALECT_SQLITE] =
				{
					/* The index gives each folder's documents in order: no
					   value is sorted. */
					.from = "(SELECT id, path FROM folders ORDER BY path LIMIT "
						"-1) AS f "
						"CROSS JOIN documents AS d "
						"INDEXED BY documents_by_folder_score_tie ON "
						"d.folder = f.id",
					.is_ordered = true,
					.table = "documents AS d",
					.insert = "INSERT INTO documents (hash, folder, score, "
						  "tie, path, value) "
						  "SELECT $1, (SELECT id FROM folders WHERE hash = "
						  "$2 AND path = $3), "
						  "$4, $5, $6, $7",
					.derive = derive_file_document,
				},
			[KP_DIALECT_POSTGRES] =
				{
					.from = "@folders AS f JOIN @documents AS d "
						"ON d.owner = f.owner AND d.folder = f.id",
					.scope = "d.owner",
					.table = "@documents AS d",
					.insert = "INSERT INTO @documents (owner, id, folder, "
						  "score, tie, path, value) "
						  "VALUES ($1, $2, $3, $4, $5, $6, $7)",
					.derive = derive_server_document,
				},
		},
};

static void fill_tables(kp_home_tables *tables)
{
	*tables = (kp_home_tables){.service = "engine", .count = 2};
	tables->list[0] = (kp_transfer_table){.name = "folders", .special = &folder_table};
	tables->list[1] = (kp_transfer_table){.name = "documents", .special = &document_table};
}

/* ---------------------------------------------------------------- one engine */

/* Invariant 2: the rows are read by way of their folders. */
static keep_status check_complete(const kp_transfer_end *from, keep_error *err)
{
	static const char *const orphans[KP_DIALECT_COUNT] = {
		[KP_DIALECT_SQLITE] = "SELECT count(*) FROM documents AS d WHERE NOT EXISTS "
				      "(SELECT 1 FROM folders AS f WHERE f.id = d.folder)",
		[KP_DIALECT_POSTGRES] =
			"SELECT count(*) FROM engine.documents AS d WHERE d.owner = $1 AND NOT "
			"EXISTS "
			"(SELECT 1 FROM engine.folders AS f WHERE f.owner = d.owner AND f.id = "
			"d.folder)",
	};
	int64_t count = 0;
	keep_status status = kp_home_ask(from->conn, orphans[from->conn->driver->dialect],
					 from->scope, &count, err);

	if (status != KEEP_OK || count == 0)
		return status;
	return kp_fail(err, KEEP_CORRUPT, "documents: %lld are in folders that are not there",
		       (long long)count);
}

static keep_status read_key(const kp_transfer_end *to, unsigned char key[HASH_KEY_SIZE],
			    keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_bytes value = {.data = NULL};
	bool has_row = false;
	keep_status status;

	if (to->schema)
		return KEEP_OK;
	status = kp_sql_prepare(to->conn, "SELECT value FROM properties WHERE name = 'hash_key'",
				&stmt, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column_bytes(stmt, 0, KP_BLOB, &value, err);
	if (status == KEEP_OK && value.len != HASH_KEY_SIZE)
		status = kp_fail(err, KEEP_CORRUPT, "properties.hash_key is not there");
	if (status == KEEP_OK)
		memcpy(key, value.data, HASH_KEY_SIZE);
	kp_sql_finish(&stmt);
	return status;
}

static keep_status make_engine(const kp_home_side *to, keep_bytes name, keep_error *err)
{
	keep_engine_options options = KEEP_ENGINE_OPTIONS_INIT;
	keep_buffer url = KEEP_BUFFER_INIT;
	keep_engine *engine = NULL;
	char rest[ENGINE_NAME_MAX + 8];
	keep_status status;

	(void)snprintf(rest, sizeof rest, "/%.*s.db", (int)name.len, name.data);
	status = kp_home_store_url(to, "engine", rest, &url, err);
	if (status == KEEP_OK && to->is_server)
		status = kp_buffer_append_text(&url, "&namespace=", err);
	for (size_t i = 0; to->is_server && i < name.len && status == KEEP_OK; i++)
		status = kp_buffer_append_format(&url, err, "%%%02x", (unsigned char)name.data[i]);
	options.create = true;
	if (status == KEEP_OK)
		status = keep_engine_open(url.data, &options, &engine, err);
	keep_engine_close(&engine);
	keep_buffer_release(&url);
	return status;
}

static keep_status open_engine(const kp_home_side *side, keep_bytes name, bool is_target,
			       kp_home_database *out, keep_error *err)
{
	char file[ENGINE_NAME_MAX + 16];

	(void)snprintf(file, sizeof file, "engine/%.*s.db", (int)name.len, name.data);
	return kp_home_database_open(side, file, NULL, "engine", is_target, out, err);
}

static keep_status copy_engine(kp_home_transfer *transfer, keep_bytes name, keep_error *err)
{
	char store[ENGINE_NAME_MAX + 16];
	unsigned char key[HASH_KEY_SIZE] = {0};
	kp_home_tables tables;
	kp_home_database from = {.conn = NULL}, to = {.conn = NULL};
	kp_transfer_end source, target;
	keep_status status = make_engine(&transfer->to, name, err);

	(void)snprintf(store, sizeof store, "engine %.*s", (int)name.len, name.data);
	transfer->store = store;
	fill_tables(&tables);
	if (status == KEEP_OK)
		status = open_engine(&transfer->from, name, false, &from, err);
	if (status == KEEP_OK)
		status = open_engine(&transfer->to, name, true, &to, err);
	source = (kp_transfer_end){.conn = from.conn, .schema = from.schema};
	target = (kp_transfer_end){.conn = to.conn, .schema = to.schema, .derive_ctx = key};
	if (from.schema)
		source.scope = name;
	if (to.schema)
		target.scope = name;
	if (status == KEEP_OK)
		status = check_complete(&source, err);
	if (status == KEEP_OK)
		status = read_key(&target, key, err);
	if (status == KEEP_OK)
		status = kp_home_unit(transfer, store, &tables, &source, &target, err);
	kp_home_database_close(&to);
	kp_home_database_close(&from);
	return status;
}

/* ---------------------------------------------------------------- all engines */

/* Names, in the order of bytes, in one buffer each after the other with a zero byte. */
struct names {
	keep_buffer text;
	size_t count;
};

static keep_status add_name(struct names *names, keep_bytes name, keep_error *err)
{
	keep_status status;

	if (name.len > ENGINE_NAME_MAX)
		return kp_fail(err, KEEP_INVALID, "engine: a name of %zu bytes, the limit is %d",
			       name.len, ENGINE_NAME_MAX);
	status = kp_buffer_append(&names->text, name, err);
	if (status == KEEP_OK)
		status = kp_buffer_append(&names->text, (keep_bytes){"", 1}, err);
	names->count += status == KEEP_OK;
	return status;
}

static keep_status add_file(void *ctx, const char *name, keep_error *err)
{
	size_t len = strlen(name);

	if (len <= 3 || strcmp(name + len - 3, ".db") != 0)
		return KEEP_OK;
	return add_name(ctx, (keep_bytes){name, len - 3}, err);
}

static keep_status list_namespaces(const kp_home_side *side, struct names *names, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has = false;
	keep_status status = kp_home_has(side, NULL, "engine", "namespaces", &has, err);

	if (status != KEEP_OK || !has)
		return status;
	status = kp_sql_prepare(side->conn,
				"SELECT name FROM engine.namespaces ORDER BY name COLLATE \"C\"",
				&stmt, err);
	while (status == KEEP_OK) {
		keep_bytes name;

		status = kp_sql_step(stmt, &has, err);
		if (status != KEEP_OK || !has)
			break;
		status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &name, err);
		if (status == KEEP_OK)
			status = add_name(names, name, err);
	}
	kp_sql_finish(&stmt);
	return status;
}

static keep_status list_engines(const kp_home_side *side, struct names *names, keep_error *err)
{
	char folder[PATH_MAX];

	if (side->is_server)
		return list_namespaces(side, names, err);
	if (snprintf(folder, sizeof folder, "%s/engine", side->folder) >= (int)sizeof folder)
		return kp_fail(err, KEEP_INVALID, "the path '%.100s...' is too long", side->folder);
	return kp_home_each_name(folder, add_file, names, err);
}

/* The least name beyond `after` ("" at first); NULL: there is none. */
static const char *next_name(const struct names *names, const char *after)
{
	const char *found = NULL, *at = names->text.data;

	for (size_t i = 0; i < names->count; i++, at += strlen(at) + 1)
		if (strcmp(at, after) > 0 && (!found || strcmp(at, found) < 0))
			found = at;
	return found;
}

/* Invariant 3: also after an interrupted transfer of an engine that the source has no more. */
static keep_status check_no_more(const kp_home_transfer *transfer, size_t engines, keep_error *err)
{
	struct names names = {.count = 0};
	int64_t there = 0, carried = 0;
	bool has = false;
	keep_status status = list_engines(&transfer->to, &names, err);

	if (transfer->to.is_server && status == KEEP_OK) { /* empty ones may be there */
		status = kp_home_has(&transfer->to, NULL, "engine", "folders", &has, err);
		if (status == KEEP_OK && has)
			status = kp_home_ask(transfer->to.conn,
					     "SELECT count(*) FROM engine.folders",
					     (keep_bytes){.data = NULL}, &there, err);
		for (size_t i = 0; i < transfer->line_count; i++)
			if (strncmp(transfer->lines[i].store, "engine ", 7) == 0 &&
			    strcmp(transfer->lines[i].table, "folders") == 0)
				carried += transfer->lines[i].sum.rows;
	} else {
		there = (int64_t)names.count;
		carried = (int64_t)engines;
	}
	keep_buffer_release(&names.text);
	if (status == KEEP_OK && there != carried)
		status = kp_fail(err, KEEP_CONFLICT,
				 "engine: the target has more than the source; remove the target "
				 "and begin anew");
	return status;
}

keep_status kp_home_engines_copy(kp_home_transfer *transfer, keep_error *err)
{
	struct names from = {.count = 0};
	keep_status status = list_engines(&transfer->from, &from, err);

	for (const char *name = next_name(&from, ""); status == KEEP_OK && name;
	     name = next_name(&from, name))
		status = copy_engine(transfer, keep_bytes_of(name), err);
	if (status == KEEP_OK)
		status = check_no_more(transfer, from.count, err);
	keep_buffer_release(&from.text);
	return status;
}

static keep_status has_documents(const kp_home_side *to, bool *has, keep_error *err)
{
	int64_t one = 0;
	keep_status status = kp_home_has(to, NULL, "engine", "namespaces", has, err);

	if (status == KEEP_OK && *has)
		status = kp_home_ask(to->conn, "SELECT 1 FROM engine.folders LIMIT 1",
				     (keep_bytes){.data = NULL}, &one, err);
	*has = one != 0;
	return status;
}

keep_status kp_home_engines_check_empty(const kp_home_side *to, keep_error *err)
{
	struct names names = {.count = 0};
	bool has = false;
	keep_status status = KEEP_OK;

	if (to->is_server) {
		status = has_documents(to, &has, err);
	} else {
		status = list_engines(to, &names, err);
		has = names.count > 0;
	}
	keep_buffer_release(&names.text);
	if (status == KEEP_OK && has)
		status = kp_fail(err, KEEP_CONFLICT, "engine: the target has documents");
	return status;
}

/*
 * check_engine.c - the engines of a home: folders and documents, and that each is found by its
 * path.
 *
 * A path is found by its hash: SipHash under the file's own key here, SHA-256 there
 * (docs/decisions/0001). A row with another one is there and is not found.
 *
 * Invariants:
 *   1. Each file below engine/ whose name ends with .db is one; a server's are the namespaces of
 * one schema, and are looked at together.
 *
 * Tests: tests/contract/test_home_check.c.
 */
#include "engine/engine_records.h"
#include "home/check_private.h"

#include <stdio.h>
#include <string.h>

enum { NAMES_MAX = 10000, HASH_KEY_SIZE = 16 };

static const kp_check_rule rules[] = {
	{.find = KP_CHECK_ENGINE_DOCUMENT_WITHOUT_FOLDER,
	 .table = "documents",
	 .kind = "broken_reference",
	 .sentence = "the document is in a folder that is not there, and is in no list",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .reads_all = true},
	{.find = KP_CHECK_ENGINE_FOLDER_WITHOUT_PARENT,
	 .table = "folders",
	 .kind = "broken_reference",
	 .sentence = "the folder is in one that is not there",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .reads_all = true},
	{.find = KP_CHECK_ENGINE_MISPLACED,
	 .table = "documents",
	 .kind = "broken_reference",
	 .sentence = "the document is in another folder than its path says",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .reads_all = true},
	{.find = KP_CHECK_ENGINE_DOCUMENT_COUNT,
	 .table = "folders",
	 .kind = "stale_counter",
	 .sentence = "the folder's count of documents is not their number",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .has_numbers = true,
	 .reads_all = true,
	 .mend = {KP_CHECK_ENGINE_RENEW_DOCUMENT_COUNT},
	 .mend_count = 1},
	{.find = KP_CHECK_ENGINE_FOLDER_COUNT,
	 .table = "folders",
	 .kind = "stale_counter",
	 .sentence = "the folder's count of folders is not their number",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .has_numbers = true,
	 .reads_all = true,
	 .mend = {KP_CHECK_ENGINE_RENEW_FOLDER_COUNT},
	 .mend_count = 1},
};

/* ---------------------------------------------------------------- is each found? */

struct hashing {
	kp_check_unit *unit;
	unsigned char key[HASH_KEY_SIZE];
};

static keep_status tell_unfound(const struct hashing *hashing, const char *table, keep_bytes path,
				keep_error *err)
{
	const kp_complaint found = {.severity = KEEP_SEVERITY_DAMAGE,
				    .kind = "unfound_path",
				    .table = table,
				    .key = path};

	return kp_check_found(hashing->unit->check, &found, err,
			      "the hash is not that of the path, which is not found by it");
}

static keep_status check_hash(const struct hashing *hashing, const char *table, keep_bytes path,
			      int64_t hash, keep_error *err)
{
	if ((int64_t)kp_siphash(hashing->key, path) == hash)
		return KEEP_OK;
	return tell_unfound(hashing, table, path, err);
}

static keep_status check_digest(const struct hashing *hashing, const char *table, keep_bytes path,
				keep_bytes id, keep_error *err)
{
	unsigned char digest[KP_SHA256_SIZE];
	keep_status status = kp_sha256(path, digest, err);

	if (status != KEEP_OK ||
	    kp_bytes_equal(id, (keep_bytes){(const char *)digest, sizeof digest}))
		return status;
	return tell_unfound(hashing, table, path, err);
}

static keep_status check_document(void *ctx, const void *object, keep_error *err)
{
	const kp_document *document = object;

	return check_hash(ctx, "documents", document->path, document->hash, err);
}

static keep_status check_folder(void *ctx, const void *object, keep_error *err)
{
	const kp_folder *folder = object;

	return check_hash(ctx, "folders", folder->path, folder->hash, err);
}

static keep_status check_server_document(void *ctx, const void *object, keep_error *err)
{
	const kp_namespaced_document *document = object;

	return check_digest(ctx, "documents", document->path, document->id, err);
}

static keep_status check_server_folder(void *ctx, const void *object, keep_error *err)
{
	const kp_namespaced_folder *folder = object;

	return check_digest(ctx, "folders", folder->path, folder->id, err);
}

/* The key of a file's hashes. *has_key: else nothing can be found in it. */
static keep_status read_key(struct hashing *hashing, bool *has_key, keep_error *err)
{
	kp_sql_conn *conn = hashing->unit->conn;
	kp_complaint found = {
		.severity = KEEP_SEVERITY_DAMAGE, .kind = "damaged_row", .table = "properties"};
	kp_sql_stmt *stmt = NULL;
	keep_bytes value = {NULL, 0};
	bool has_row = false;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = kp_check_prepare(conn, KP_CHECK_ENGINE_HASH_KEY, NULL, 0, &stmt, &why);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, &why);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column_bytes(stmt, 0, KP_BLOB, &value, &why);
	*has_key = status == KEEP_OK &&
		   (hashing->unit->check->is_server || value.len == HASH_KEY_SIZE);
	if (*has_key && value.len == HASH_KEY_SIZE)
		memcpy(hashing->key, value.data, HASH_KEY_SIZE);
	kp_sql_finish(&stmt);
	if (status != KEEP_OK)
		return kp_check_failed(hashing->unit->check, &found, status, &why, err);
	return *has_key ? KEEP_OK
			: kp_check_found(hashing->unit->check, &found, err,
					 "the key of the file's hashes is gone: no path is found");
}

static keep_status check_rows(kp_check_unit *unit, keep_error *err)
{
	struct hashing hashing = {.unit = unit};
	const kp_check_rows hooks[] = {
		{.record = &kp_document_record, .row = check_document, .ctx = &hashing},
		{.record = &kp_folder_record, .row = check_folder, .ctx = &hashing},
		{.record = &kp_namespaced_document_record,
		 .row = check_server_document,
		 .ctx = &hashing},
		{.record = &kp_namespaced_folder_record,
		 .row = check_server_folder,
		 .ctx = &hashing},
		{.record = NULL},
	};
	bool has_key = false;
	keep_status status = read_key(&hashing, &has_key, err);

	return status == KEEP_OK ? kp_check_tables(unit, kp_engine_records, KP_ENGINE_RECORD_COUNT,
						   has_key ? hooks : NULL, err)
				 : status;
}

/* ---------------------------------------------------------------- one of them */

static keep_status check_open(kp_check_unit *unit, keep_error *err)
{
	bool is_known = false;
	keep_status status = kp_check_version(unit, "engine", &is_known, err);

	if (status != KEEP_OK || !is_known)
		return status;
	status = kp_check_indexes(unit, err);
	if (status == KEEP_OK)
		status = check_rows(unit, err);
	return status == KEEP_OK ? kp_check_rules(unit, rules, KP_COUNT(rules), err) : status;
}

static keep_status check_engine(kp_home_check *check, const char *file, keep_error *err)
{
	kp_check_unit unit = {
		.check = check, .schema = "engine", .turn = KP_CHECK_ENGINE_TAKE_TURN + 1};
	bool there = false, is_open = false;
	keep_status status = kp_check_is_there(check, "engine", file, NULL, &there, err);

	if (status != KEEP_OK || !there)
		return status;
	status = kp_check_pages(check, &unit.is_damaged, err);
	if (status == KEEP_OK)
		status = kp_check_unit_open(&unit, &is_open, err);
	if (status == KEEP_OK && is_open)
		status = check_open(&unit, err);
	kp_check_unit_close(&unit);
	return status;
}

/* ---------------------------------------------------------------- all of them */

/* File names, each after the other with a zero byte. */
struct names {
	keep_buffer text;
	size_t count;
};

static bool has_name(const struct names *names, const char *name, size_t len)
{
	const char *at = names->text.data;

	for (size_t i = 0; i < names->count; i++, at += strlen(at) + 1)
		if (strlen(at) == len && memcmp(at, name, len) == 0)
			return true;
	return false;
}

/* A database, or what is left beside one. */
static keep_status add_name(void *ctx, const char *name, keep_error *err)
{
	struct names *names = ctx;
	const char *end = strstr(name, ".db");
	size_t len = end ? (size_t)(end - name) + 3 : 0;
	keep_status status;

	if (!end || end == name || (name[len] != '\0' && name[len] != '-') ||
	    names->count == NAMES_MAX || has_name(names, name, len))
		return KEEP_OK;
	status = kp_buffer_append(&names->text, (keep_bytes){name, len}, err);
	if (status == KEEP_OK)
		status = kp_buffer_append(&names->text, (keep_bytes){"", 1}, err);
	names->count += status == KEEP_OK;
	return status;
}

/* Those that a session of the home has opened, and are perhaps gone (store_list.h). */
static keep_status add_listed(struct names *names, keep_bytes list, keep_error *err)
{
	static const char folder[] = "engine/";
	keep_status status = KEEP_OK;

	while (list.len && status == KEEP_OK) {
		const char *end = memchr(list.data, '\n', list.len);
		size_t len = end ? (size_t)(end - list.data) : list.len;
		char name[300];

		if (len > sizeof folder - 1 && len < sizeof name &&
		    memcmp(list.data, folder, sizeof folder - 1) == 0 &&
		    !memchr(list.data + sizeof folder - 1, '/', len - (sizeof folder - 1))) {
			(void)snprintf(name, sizeof name, "%.*s", (int)(len - (sizeof folder - 1)),
				       list.data + sizeof folder - 1);
			status = add_name(names, name, err);
		}
		len += end != NULL;
		list = (keep_bytes){list.data + len, list.len - len};
	}
	return status;
}

static keep_status find_engines(const kp_home_check *check, struct names *names, keep_error *err)
{
	keep_buffer list = KEEP_BUFFER_INIT;
	char path[PATH_MAX];
	keep_status status = kp_check_path(check, "engine", path, err);

	if (status == KEEP_OK)
		status = kp_home_each_name(path, add_name, names, err);
	if (status == KEEP_OK)
		status = kp_home_noted_stores(check->fd, &list, err);
	if (status == KEEP_OK)
		status = add_listed(names, kp_buffer_bytes(&list), err);
	keep_buffer_release(&list);
	return status;
}

keep_status kp_check_engines(kp_home_check *check, keep_error *err)
{
	struct names names = {.count = 0};
	const char *at;
	keep_status status;

	if (check->is_server)
		return check_engine(check, "engine", err);
	status = find_engines(check, &names, err);
	at = names.text.data;
	for (size_t i = 0; i < names.count && status == KEEP_OK; i++, at += strlen(at) + 1) {
		char file[300];

		if (snprintf(file, sizeof file, "engine/%s", at) < (int)sizeof file)
			status = check_engine(check, file, err);
		kp_check_enter(check, "engine", "engine"); /* the name lives here */
		check->result->files--;
	}
	keep_buffer_release(&names.text);
	return status;
}

/*
 * user_migrations.c - changes of the tables that a user makes: files <version>_<description>.sql.
 *
 * The machinery is sql/migrate.c's, with a service of its own: a lock, checksums, nothing that
 * begins or ends a transaction. It is asked for one more file each time, so that each is one
 * transaction with its rows. A file of one dialect is called <version>_<description>.sqlite.sql or
 * .postgres.sql and comes before a plain one of the same name.
 *
 * Invariants:
 *   1. Files run in the order of their numbers, and a file that comes before an applied one is
 * refused: every store has had the same ones in the same order.
 *   2. A file that was applied and has changed, or is missing, is refused before anything runs.
 *   3. Keep's own tables, indexes and triggers are the same before and after, or the file is
 * refused.
 *   4. Before the first one of a call the store is copied, and the copy is verified.
 *
 * What it does not do: go back.
 *
 * Tests: tests/contract/test_assistant_migrations.c.
 */
#include "assistant/assistant_private.h"

#include "assistant_postgres_migrations.h"
#include "assistant_sqlite_migrations.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#define SERVICE "assistant_user"

enum { FILES_MAX = 10000, NAME_MAX_BYTES = 200, FILE_BYTES_MAX = 16 * 1024 * 1024 };

static const char *const suffixes[KP_DIALECT_COUNT] = {
	[KP_DIALECT_SQLITE] = ".sqlite.sql",
	[KP_DIALECT_POSTGRES] = ".postgres.sql",
};

/* One migration of the folder. */
struct file {
	const char *version; /* <version>_<description> */
	const char *number;  /* its digits without leading zeros, in `version` */
	size_t digits;
	const char *name; /* of the file; NULL: it is there for the other dialect alone */
	bool is_special;  /* for this dialect alone */
	const char *sql;
	char checksum[2 * KP_SHA256_SIZE + 1];
};

struct folder {
	kp_arena arena;
	struct file *files; /* in order */
	size_t count, capacity;
};

/* ---------------------------------------------------------------- the folder */

static bool ends_with(const char *name, const char *end)
{
	size_t len = strlen(name), end_len = strlen(end);

	return len > end_len && strcmp(name + len - end_len, end) == 0;
}

/* As numbers, whatever their leading zeros. */
static int compare_files(const void *a, const void *b)
{
	const struct file *left = a, *right = b;
	int order;

	if (left->digits != right->digits)
		return left->digits < right->digits ? -1 : 1;
	order = strncmp(left->number, right->number, left->digits);
	return order ? order : strcmp(left->version, right->version);
}

static keep_status check_version(const char *version, keep_error *err)
{
	size_t digits = strspn(version, "0123456789"), len = strlen(version);

	if (!digits || version[digits] != '_' || !version[digits + 1] || len > NAME_MAX_BYTES ||
	    kp_check_key("version", keep_bytes_of(version), NULL) != KEEP_OK)
		return kp_fail(err, KEEP_INVALID,
			       "%s.sql: a migration is called <version>_<description>.sql, the "
			       "version a number",
			       version);
	return KEEP_OK;
}

static struct file *find_file(const struct folder *folder, const char *version)
{
	for (size_t i = 0; i < folder->count; i++)
		if (strcmp(folder->files[i].version, version) == 0)
			return &folder->files[i];
	return NULL;
}

static keep_status add_version(struct folder *folder, const char *name, size_t len,
			       struct file **out, keep_error *err)
{
	struct file *file;
	keep_bytes version;
	keep_status status = kp_arena_copy(&folder->arena, (keep_bytes){name, len}, &version, err);

	if (status == KEEP_OK)
		status = check_version(version.data, err);
	if (status != KEEP_OK)
		return status;
	*out = find_file(folder, version.data);
	if (*out)
		return KEEP_OK;
	if (folder->count == folder->capacity) {
		size_t capacity = folder->capacity ? 2 * folder->capacity : 16;
		struct file *files = kp_realloc(folder->files, capacity * sizeof *files);

		if (!files)
			return kp_fail_memory(err, "migrations");
		folder->files = files;
		folder->capacity = capacity;
	}
	if (folder->count == FILES_MAX)
		return kp_fail(err, KEEP_FULL, "a folder of over %d migrations", FILES_MAX);
	file = &folder->files[folder->count++];
	*file = (struct file){.version = version.data, .number = version.data};
	while (*file->number == '0' && file->number[1] >= '0' && file->number[1] <= '9')
		file->number++;
	file->digits = strspn(file->number, "0123456789");
	*out = file;
	return KEEP_OK;
}

/* A file of the folder: a plain one, one of this dialect, or one of the other. */
static keep_status take_name(struct folder *folder, const char *name, kp_sql_dialect dialect,
			     keep_error *err)
{
	size_t len = strlen(name), cut = strlen(".sql");
	bool is_ours = true, is_special = false;
	struct file *file = NULL;
	keep_bytes copy;
	keep_status status;

	for (int i = 0; i < KP_DIALECT_COUNT; i++)
		if (ends_with(name, suffixes[i])) {
			is_special = true;
			is_ours = i == (int)dialect;
			cut = strlen(suffixes[i]);
		}
	status = add_version(folder, name, len - cut, &file, err);
	if (status != KEEP_OK || !is_ours || (file->name && file->is_special))
		return status;
	status = kp_arena_copy(&folder->arena, keep_bytes_of(name), &copy, err);
	file->name = copy.data;
	file->is_special = is_special;
	return status;
}

static keep_status read_names(struct folder *folder, const char *path, kp_sql_dialect dialect,
			      keep_error *err)
{
	DIR *dir = opendir(path);
	keep_status status = KEEP_OK;

	if (!dir)
		return kp_fail_errno(err, errno, "%s", path);
	while (status == KEEP_OK) {
		const struct dirent *entry;

		errno = 0;
		entry = readdir(dir);
		if (!entry && errno)
			status = kp_fail_errno(err, errno, "%s", path);
		if (!entry)
			break;
		if (entry->d_name[0] != '.' && ends_with(entry->d_name, ".sql"))
			status = take_name(folder, entry->d_name, dialect, err);
	}
	closedir(dir);
	return status;
}

static keep_status read_sql(struct folder *folder, struct file *file, int at, keep_error *err)
{
	unsigned char digest[KP_SHA256_SIZE];
	keep_buffer text = KEEP_BUFFER_INIT;
	keep_bytes copy = {NULL, 0};
	int fd = -1;
	keep_status status;

	if (!file->name)
		return kp_fail(err, KEEP_INVALID, "%s: there is no file of it for this database",
			       file->version);
	status = kp_file_open(at, file->name, O_RDONLY | O_NONBLOCK, 0, &fd, err);
	if (status == KEEP_OK)
		status = kp_file_read_all(fd, FILE_BYTES_MAX, &text, err);
	if (status == KEEP_OK && !kp_text_is_storable(kp_buffer_bytes(&text)))
		status = kp_fail(err, KEEP_INVALID, "it is not UTF-8 without a zero byte");
	if (status == KEEP_OK)
		status = kp_arena_copy(&folder->arena, kp_buffer_bytes(&text), &copy, err);
	if (status == KEEP_OK)
		status = kp_sha256(copy, digest, err);
	if (status == KEEP_OK)
		kp_hex_format((keep_bytes){(const char *)digest, sizeof digest}, file->checksum);
	file->sql = copy.data;
	kp_file_close(&fd);
	keep_buffer_release(&text);
	return status == KEEP_OK ? status : kp_prefix(err, status, "%s", file->name);
}

static bool is_own_version(kp_sql_dialect dialect, keep_bytes version)
{
	const kp_migrations own = kp_assistant_migrations(dialect);

	for (size_t i = 0; i < own.count; i++)
		if (kp_bytes_equal(version, keep_bytes_of(own.list[i].name)))
			return true;
	return false;
}

static keep_status check_order(const struct folder *folder, kp_sql_dialect dialect, keep_error *err)
{
	for (size_t i = 0; i < folder->count; i++) {
		const struct file *file = &folder->files[i], *before = file - 1;

		if (is_own_version(dialect, keep_bytes_of(file->version)))
			return kp_fail(err, KEEP_INVALID, "%s: that is one of Keep's own",
				       file->version);
		if (i && before->digits == file->digits &&
		    strncmp(before->number, file->number, file->digits) == 0)
			return kp_fail(err, KEEP_INVALID, "%s and %s have the same version",
				       before->version, file->version);
	}
	return KEEP_OK;
}

static void folder_release(struct folder *folder)
{
	kp_free(folder->files);
	kp_arena_release(&folder->arena);
	*folder = (struct folder){.files = NULL};
}

static keep_status folder_read(struct folder *folder, const char *path, kp_sql_dialect dialect,
			       keep_error *err)
{
	int at = -1;
	keep_status status = read_names(folder, path, dialect, err);

	if (folder->count)
		qsort(folder->files, folder->count, sizeof *folder->files, compare_files);
	if (status == KEEP_OK)
		status = check_order(folder, dialect, err);
	if (status == KEEP_OK)
		status = kp_file_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0, &at, err);
	for (size_t i = 0; i < folder->count && status == KEEP_OK; i++)
		status = read_sql(folder, &folder->files[i], at, err);
	kp_file_close(&at);
	return status;
}

/* ---------------------------------------------------------------- what was applied */

struct applied {
	keep_schema_migration *rows;
	size_t count;
};

static keep_status read_applied(keep_assistant *assistant, kp_arena *arena, struct applied *applied,
				keep_error *err)
{
	return kp_store_list(&assistant->store, KP_ASSISTANT_LIST_SCHEMA_MIGRATIONS, NULL, 0,
			     &kp_schema_migration_record, arena, &applied->rows, &applied->count,
			     err);
}

/* Invariants 1 and 2: what was applied is the beginning of what is there. */
static keep_status compare_applied(const struct folder *folder, const struct applied *applied,
				   kp_sql_dialect dialect, size_t *user_count, keep_error *err)
{
	size_t at = 0;

	for (size_t i = 0; i < applied->count; i++) {
		const keep_schema_migration *row = &applied->rows[i];
		const struct file *file;

		if (is_own_version(dialect, row->version))
			continue;
		file = find_file(folder, row->version.data);
		if (!file)
			return kp_fail(err, KEEP_CORRUPT,
				       "%" KP_PRI ": it was applied, and is not in the folder",
				       KP_ARG(row->version));
		if (strcmp(file->checksum, row->checksum.data) != 0)
			return kp_fail(err, KEEP_CORRUPT, "%s: it has changed since it was applied",
				       file->name);
		if (file != &folder->files[at])
			return kp_fail(err, KEEP_INVALID,
				       "%s: it would come before %s, which was applied",
				       folder->files[at].version, file->version);
		at++;
	}
	*user_count = at;
	return KEEP_OK;
}

/* ---------------------------------------------------------------- telling */

static keep_status put_state(kp_arena *arena, keep_migration_states *out, keep_bytes version,
			     const char *checksum, keep_error *err)
{
	keep_migration_state *state = &out->items[out->count];
	keep_status status = kp_arena_copy(arena, version, &state->version, err);

	if (status == KEEP_OK)
		status = kp_arena_copy(arena, keep_bytes_of(checksum), &state->checksum, err);
	out->count++;
	return status;
}

static keep_status tell(const struct folder *folder, const struct applied *applied,
			size_t user_count, kp_sql_dialect dialect, bool only_pending,
			kp_arena *arena, keep_migration_states *out, keep_error *err)
{
	size_t most = applied->count + folder->count + 1;
	keep_status status = KEEP_OK;

	out->items = kp_arena_alloc(arena, most * sizeof *out->items);
	if (!out->items)
		return kp_fail_memory(err, "migrations");
	memset(out->items, 0, most * sizeof *out->items);
	for (size_t i = 0; i < applied->count && !only_pending && status == KEEP_OK; i++) {
		keep_migration_state *state = &out->items[out->count];

		state->is_applied = true;
		state->applied_at = applied->rows[i].applied_at;
		state->duration_ms = applied->rows[i].duration_ms;
		state->is_ours = is_own_version(dialect, applied->rows[i].version);
		status = put_state(arena, out, applied->rows[i].version,
				   applied->rows[i].checksum.data, err);
	}
	for (size_t i = user_count; i < folder->count && status == KEEP_OK; i++)
		status = put_state(arena, out, keep_bytes_of(folder->files[i].version),
				   folder->files[i].checksum, err);
	return status;
}

keep_status keep_assistant_migrations(keep_assistant *assistant, const char *folder,
				      bool only_pending, keep_memory *memory,
				      keep_migration_states *out, keep_error *err)
{
	kp_sql_dialect dialect = assistant->store.driver->dialect;
	struct folder read = {.files = NULL};
	struct applied applied = {NULL, 0};
	keep_migration_states states = {NULL, 0};
	size_t user_count = 0;
	keep_status status = read_applied(assistant, &read.arena, &applied, err);

	if (status == KEEP_OK && folder)
		status = folder_read(&read, folder, dialect, err);
	if (status == KEEP_OK && folder)
		status = compare_applied(&read, &applied, dialect, &user_count, err);
	if (status == KEEP_OK)
		status = tell(&read, &applied, user_count, dialect, only_pending, memory, &states,
			      err);
	if (status == KEEP_OK)
		*out = states;
	folder_release(&read);
	return status;
}

/* ---------------------------------------------------------------- applying */

struct run {
	const keep_actor *actor;
	keep_buffer before, after; /* our schema as text */
	bool is_copied;            /* invariant 4 */
	bool has_run;              /* this file, by this call and not by another process */
};

static bool is_own_table(keep_bytes name)
{
	static const char *const words[] = {"message_words", "document_words", "message_terms",
					    "document_terms"};

	for (size_t i = 0; i < KP_ASSISTANT_RECORD_COUNT; i++)
		if (kp_bytes_equal(name, keep_bytes_of(kp_assistant_records[i]->table)))
			return true;
	for (size_t i = 0; i < KP_COUNT(words); i++)
		if (name.len >= strlen(words[i]) &&
		    memcmp(name.data, words[i], strlen(words[i])) == 0)
			return true;
	return false;
}

/* A lease on a connection that no database leases: statements are prepared on it and go again. */
struct own_lease {
	kp_lease lease;
	size_t count;
};

static keep_status own_lease_open(struct own_lease *own, kp_sql_conn *conn, keep_error *err)
{
	const kp_statement_set *set = &kp_assistant_statements[conn->driver->dialect];

	own->count = set->count;
	own->lease = (kp_lease){.conn = conn,
				.statements = set,
				.prepared = kp_alloc_zero(set->count * sizeof(kp_sql_stmt *))};
	return own->lease.prepared ? KEEP_OK : kp_fail_memory(err, "a migration");
}

static void own_lease_close(struct own_lease *own)
{
	for (size_t i = 0; own->lease.prepared && i < own->count; i++)
		kp_sql_finish(&own->lease.prepared[i]);
	kp_free(own->lease.prepared);
	own->lease.prepared = NULL;
}

/* Where writers take turns this is one of them: its entry gets the next number of the audit log. */
static keep_status take_turn(kp_sql_conn *conn, keep_error *err)
{
	struct own_lease own;
	keep_status status;

	if (conn->caps & KP_SQL_ONE_WRITER)
		return KEEP_OK;
	status = own_lease_open(&own, conn, err);
	if (status == KEEP_OK)
		status = kp_lease_run(&own.lease, KP_ASSISTANT_TAKE_TURN, NULL, 0, NULL, err);
	own_lease_close(&own);
	return status;
}

static keep_status copy_before(void *ctx, kp_sql_conn *conn, int from_version, keep_error *err)
{
	struct run *run = ctx;
	char label[64];
	keep_status status = take_turn(conn, err);

	if (status == KEEP_OK)
		status = kp_schema_text(conn, SERVICE, is_own_table, &run->before, err);
	if (status != KEEP_OK || run->is_copied)
		return status;
	(void)snprintf(label, sizeof label, "before-user-%d", from_version + 1);
	status = kp_sql_copy(conn, label, err);
	run->is_copied = status == KEEP_OK;
	return status;
}

/* In the transaction of the file. */
static keep_status note_migration(const struct run *run, kp_sql_conn *conn,
				  const kp_ran_migration *ran, keep_error *err)
{
	keep_buffer details = KEEP_BUFFER_INIT;
	kp_audit_note note = {
		.event_type = "schema_change", .action = "migrate", .actor = run->actor};
	struct own_lease own = {.count = 0};
	kp_json_writer writer;
	keep_status status;

	kp_json_begin(&writer, &details);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "version");
	kp_json_put_text(&writer, keep_bytes_of(ran->migration->name));
	kp_json_name(&writer, "checksum");
	kp_json_put_text(&writer, keep_bytes_of(ran->checksum));
	kp_json_close_object(&writer);
	status = kp_json_finish(&writer, err);
	note.details = kp_buffer_bytes(&details);
	if (status == KEEP_OK)
		status = own_lease_open(&own, conn, err);
	if (status == KEEP_OK)
		status = kp_assistant_note(&own.lease, &note, err);
	if (status == KEEP_OK)
		status = kp_sql_flush(conn, err);
	own_lease_close(&own);
	keep_buffer_release(&details);
	return status;
}

/* Invariant 3, and the row that the contract promises. */
static keep_status compare_after(void *ctx, kp_sql_conn *conn, const kp_ran_migration *ran,
				 keep_error *err)
{
	struct run *run = ctx;
	keep_schema_migration row = {
		.version = keep_bytes_of(ran->migration->name),
		.applied_at = kp_clock_ms(),
		.checksum = keep_bytes_of(ran->checksum),
		.duration_ms = ran->duration_ms,
	};
	keep_status status = kp_schema_text(conn, SERVICE, is_own_table, &run->after, err);

	run->has_run = true;
	if (status == KEEP_OK &&
	    !kp_bytes_equal(kp_buffer_bytes(&run->before), kp_buffer_bytes(&run->after)))
		status = kp_fail(err, KEEP_INVALID,
				 "it changes the assistant's own tables, which are not its to "
				 "change");
	if (status == KEEP_OK)
		status = kp_record_append(conn, &kp_schema_migration_record, &row, err);
	return status == KEEP_OK ? note_migration(run, conn, ran, err) : status;
}

/* The first `count` of the list. Another process may be ahead with the same ones, up to `all`. */
static keep_status migrate_up_to(kp_sql_conn *conn, kp_migrations *migrations, size_t count,
				 size_t all, keep_error *err)
{
	keep_status status;
	int version = 0;

	migrations->count = count;
	status = kp_migrate(conn, migrations, err);
	while (status == KEEP_TOO_NEW &&
	       kp_migrate_version(conn, SERVICE, &version, NULL) == KEEP_OK &&
	       (size_t)version > migrations->count && (size_t)version <= all) {
		migrations->count = (size_t)version;
		status = kp_migrate(conn, migrations, err);
	}
	return status;
}

static keep_status apply_files(keep_assistant *assistant, const struct folder *folder, size_t from,
			       const keep_actor *actor, int64_t *applied, keep_error *err)
{
	const kp_store *store = &assistant->store;
	const kp_sql_options options = {.location = store->location,
					.schema = store->schema,
					.timeout_ms = store->timeout_ms};
	struct run run = {.actor = actor};
	kp_migrations migrations = {
		.service = SERVICE, .backup = copy_before, .ran = compare_after, .hooks_ctx = &run};
	kp_migration *list = kp_alloc_zero((folder->count + 1) * sizeof *list);
	kp_sql_conn *conn = NULL;
	keep_status status = list ? KEEP_OK : kp_fail_memory(err, "migrations");

	for (size_t i = 0; i < folder->count && status == KEEP_OK; i++)
		list[i] =
			(kp_migration){(int)i + 1, folder->files[i].version, folder->files[i].sql};
	migrations.list = list;
	if (status == KEEP_OK)
		status = kp_sql_open(store->driver, &options, &conn, err);
	for (size_t i = from; i < folder->count && status == KEEP_OK; i++) {
		run.has_run = false;
		status = migrate_up_to(conn, &migrations, i + 1, folder->count, err);
		*applied += status == KEEP_OK && run.has_run;
	}
	kp_sql_close(&conn);
	kp_free(list);
	keep_buffer_release(&run.before);
	keep_buffer_release(&run.after);
	return status;
}

keep_status keep_assistant_migrate(keep_assistant *assistant, const char *folder,
				   const keep_actor *actor, int64_t *applied, keep_error *err)
{
	struct folder read = {.files = NULL};
	struct applied before = {NULL, 0};
	size_t user_count = 0;
	int64_t count = 0;
	keep_status status = kp_check_actor(actor, err);

	if (status == KEEP_OK && !folder)
		status = kp_fail(err, KEEP_MISUSE, "keep_assistant_migrate: folder is NULL");
	if (status == KEEP_OK && assistant->store.read_only)
		status = kp_fail(err, KEEP_DENIED, "the assistant was opened for reading only");
	if (status == KEEP_OK)
		status = read_applied(assistant, &read.arena, &before, err);
	if (status == KEEP_OK)
		status = folder_read(&read, folder, assistant->store.driver->dialect, err);
	if (status == KEEP_OK)
		status = compare_applied(&read, &before, assistant->store.driver->dialect,
					 &user_count, err);
	if (status == KEEP_OK)
		status = apply_files(assistant, &read, user_count, actor, &count, err);
	if (applied)
		*applied = count;
	folder_release(&read);
	return status;
}

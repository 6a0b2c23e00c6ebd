/*
 * migrate.c - brings a database to the newest version of its schema, whole or not at all.
 *
 *     look ──nothing pending──► done                       no lock, no write: what every open costs
 *      │ pending
 *      ▼
 *     begin ► make the table ► lock ► look again ► back up ► each migration with its row ► commit
 *               │ another made it first                       any failure: rollback, as before
 *               └──────────► begin again
 *
 * Invariants:
 *   1. Everything pending runs in one transaction. After any failure the database has the version
 *      it had, and not even an empty table `migrations` more.
 *   2. One process migrates at a time. With KP_SQL_ONE_WRITER the writing transaction is the lock.
 *      Elsewhere it is the row (service, 0), which is written first and removed before the commit:
 *      a second process waits at the unique key until the first is done, then looks again. That
 *      takes a primary key and row locks, which every server that speaks PostgreSQL's protocol
 *      has; advisory locks do nothing on CockroachDB, LOCK TABLE it does not know, and neither can
 *      lock before the table exists. Nobody ever sees the row.
 *   3. Two processes may both find no table. CREATE TABLE then fails in the second, when the first
 *      has committed; if the table is there after all, that failure was the race and it begins
 *      again.
 *   4. A migration neither begins nor ends a transaction: a scan of its statements' first words
 *      refuses that before anything runs, and a savepoint around each is the second line: released
 *      in another transaction than it was set in, it is not there. The scan knows comments, quotes,
 *      dollar quotes and trigger bodies.
 *   5. A name that another program's table has is CONFLICT, `migrations` itself included: nothing
 * of ours is made beside it, and nothing of it is changed.
 *   6. What was applied is known by the SHA-256 of its SQL, so that a changed migration is noticed
 *      before anything is built on it.
 *
 * It takes no backup itself and never goes back a version.
 * Tests: tests/contract/test_migrate.c, tests/torture/test_record_faults.c.
 */
#include "sql/migrate_sql.h"
#include "sql/sql_records.h"
#include "sql/sql_tables.h"

#include <ctype.h>
#include <string.h>

enum { TRIES_MAX = 3, WORD_MAX = 16, CHECKSUM_SIZE = 2 * KP_SHA256_SIZE + 1 };

static const kp_statement_set *const statement_sets[KP_DIALECT_COUNT] = {
	[KP_DIALECT_SQLITE] = &kp_migrate_sqlite_statements,
	[KP_DIALECT_POSTGRES] = &kp_migrate_postgres_statements,
};

/* ---------------------------------------------------------------- what a migration may say */

/* Words that begin or end a transaction when a statement starts with them. */
static const char *const transaction_words[] = {"BEGIN", "START",     "COMMIT",  "END",
						"ABORT", "SAVEPOINT", "RELEASE", "ROLLBACK"};

static bool is_word_byte(char byte)
{
	return isalnum((unsigned char)byte) || byte == '_' || (byte & 0x80);
}

/* The end of a text in quotes; `escapes` for PostgreSQL's E'…', where a backslash protects. */
static const char *skip_quoted(const char *at, bool escapes)
{
	char quote = *at++;

	while (*at && *at != quote)
		at += escapes && at[0] == '\\' && at[1] ? 2 : 1;
	return *at ? at + 1 : at; /* a doubled quote reads as two texts: the end is the same */
}

/* The end of $tag$ … $tag$, or the next byte when no such quote begins here. */
static const char *skip_dollars(const char *at)
{
	const char *tag_end = at + 1;
	size_t tag_len = 0;

	while (is_word_byte(*tag_end))
		tag_end++;
	if (*tag_end != '$' || isdigit((unsigned char)at[1]))
		return at + 1;
	tag_len = (size_t)(tag_end - at) + 1;
	for (const char *end = tag_end + 1; *end; end++) {
		if (strncmp(end, at, tag_len) == 0)
			return end + tag_len;
	}
	return at + strlen(at);
}

/* The end of the comment or quoted text that begins at `at`, or `at` itself. */
static const char *skip_quiet(const char *at)
{
	const char *end = NULL;

	switch (*at) {
	case '\'':
	case '"':
	case '`': return skip_quoted(at, false);
	case '$': return skip_dollars(at);
	case '-':
		if (at[1] != '-')
			return at;
		end = strchr(at, '\n');
		break;
	case '/':
		if (at[1] != '*')
			return at;
		end = strstr(at + 2, "*/");
		end = end ? end + 2 : NULL;
		break;
	default: return at;
	}
	return end ? end : at + strlen(at);
}

/* Copy the word at `at` in capitals (cut when long) and return its end. */
static const char *take_word(const char *at, char word[WORD_MAX])
{
	size_t len = 0;

	for (; is_word_byte(*at); at++) {
		if (len < WORD_MAX - 1)
			word[len++] = (char)toupper((unsigned char)*at);
	}
	word[len] = '\0';
	return at;
}

static bool is_transaction_word(const char *word)
{
	for (size_t i = 0; i < KP_COUNT(transaction_words); i++) {
		if (strcmp(word, transaction_words[i]) == 0)
			return true;
	}
	return false;
}

/* Invariant 4. True and the word when a statement of `sql` begins or ends a transaction. Inside
   CREATE … BEGIN …; END, the body of a trigger or function, END only ends the body. */
static bool has_transaction_word(const char *sql, char word[WORD_MAX])
{
	bool at_start = true; /* of a statement */
	bool creates = false;
	bool in_body = false;

	while (*sql) {
		const char *next = skip_quiet(sql);

		if (next != sql) {
			sql = next;
			continue;
		}
		if (!is_word_byte(*sql)) {
			at_start = at_start || *sql == ';';
			creates = creates && (*sql != ';' || in_body);
			sql++;
			continue;
		}
		sql = take_word(sql, word);
		if (*sql == '\'' && strcmp(word, "E") == 0)
			sql = skip_quoted(sql, true);
		if (at_start && in_body && strcmp(word, "END") == 0) {
			in_body = false;
			at_start = false;
		} else if (at_start) {
			if (is_transaction_word(word))
				return true;
			at_start = false;
			creates = in_body || strcmp(word, "CREATE") == 0;
		} else if (creates && !in_body && strcmp(word, "BEGIN") == 0) {
			in_body = true;
			at_start = true;
		}
	}
	return false;
}

static keep_status check_list(const kp_migrations *migrations, keep_error *err)
{
	char word[WORD_MAX] = "";

	for (size_t i = 0; i < migrations->count; i++) {
		const kp_migration *migration = &migrations->list[i];

		if (migration->version != (int)i + 1)
			return kp_fail(err, KEEP_INVALID,
				       "%s migration %s: version %d is expected here, not %d",
				       migrations->service, migration->name, (int)i + 1,
				       migration->version);
		if (has_transaction_word(migration->sql, word))
			return kp_fail(err, KEEP_INVALID,
				       "%s migration %s: %s has no place in a migration, which "
				       "runs inside a transaction",
				       migrations->service, migration->name, word);
	}
	return KEEP_OK;
}

static keep_status format_checksum(const kp_migration *migration, char text[CHECKSUM_SIZE],
				   keep_error *err)
{
	unsigned char digest[KP_SHA256_SIZE];
	keep_status status = kp_sha256(keep_bytes_of(migration->sql), digest, err);

	if (status == KEEP_OK)
		kp_hex_format((keep_bytes){(const char *)digest, sizeof digest}, text);
	return status;
}

/* ---------------------------------------------------------------- what a database has */

static keep_status prepare_statement(kp_sql_conn *conn, size_t index, kp_sql_stmt **stmt,
				     keep_error *err)
{
	const kp_statement_set *set = statement_sets[conn->driver->dialect];

	return kp_sql_prepare(conn, set->statements[index].sql, stmt, err);
}

static keep_status look_for_table(kp_sql_conn *conn, bool *has_table, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	int64_t count = 0;
	keep_status status = KEEP_OK;

	*has_table = false;
	status = prepare_statement(conn, KP_MIGRATE_HAS_TABLE, &stmt, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && has_row)
		status = kp_sql_column_int(stmt, 0, &count, err);
	if (status == KEEP_OK)
		*has_table = count > 0;
	kp_sql_finish(&stmt);
	return status;
}

/* One applied migration against the list. `above`: the version of the row before it, 0 at first. */
static keep_status check_applied(const kp_migrations *migrations,
				 const kp_applied_migration *applied, int64_t above,
				 keep_error *err)
{
	const kp_migration *migration = NULL;
	char checksum[CHECKSUM_SIZE] = "";
	keep_status status = KEEP_OK;

	if (applied->version > (int64_t)migrations->count)
		return kp_fail(err, KEEP_TOO_NEW,
			       "%s: the database has version %lld (%" KP_PRI
			       "), this program knows up to %zu",
			       migrations->service, (long long)applied->version,
			       KP_ARG(applied->name), migrations->count);
	if (above && applied->version != above - 1)
		return kp_fail(err, KEEP_CORRUPT,
			       "%s: the table migrations has version %lld but not %lld",
			       migrations->service, (long long)above, (long long)above - 1);
	migration = &migrations->list[applied->version - 1];
	status = format_checksum(migration, checksum, err);
	if (status == KEEP_OK && !kp_bytes_equal(applied->checksum, keep_bytes_of(checksum)))
		return kp_fail(err, KEEP_CORRUPT,
			       "%s migration %s: it was changed after it was applied",
			       migrations->service, migration->name);
	return status;
}

/* The version that the database has, and whether the list continues it. `migrations->list` may be
   NULL: then nothing is compared. */
static keep_status look_at_applied(kp_sql_conn *conn, const kp_migrations *migrations, int *version,
				   keep_error *err)
{
	kp_arena arena = {.head = NULL};
	kp_sql_stmt *stmt = NULL;
	int64_t highest = 0;
	int64_t above = 0;
	bool has_row = false;
	keep_status status = prepare_statement(conn, KP_MIGRATE_LIST_APPLIED, &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_bind_text(stmt, 1, keep_bytes_of(migrations->service), err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	while (status == KEEP_OK && has_row) {
		kp_applied_migration applied = {.version = 0};

		status = kp_record_read(stmt, 0, &kp_applied_migration_record, &applied, &arena,
					err);
		if (status == KEEP_OK && migrations->list)
			status = check_applied(migrations, &applied, above, err);
		if (status != KEEP_OK)
			break;
		if (!above)
			highest = applied.version;
		above = applied.version;
		status = kp_sql_step(stmt, &has_row, err);
	}
	if (status == KEEP_OK && above > 1 && migrations->list)
		status = kp_fail(err, KEEP_CORRUPT,
				 "%s: the table migrations has version %lld but not %lld",
				 migrations->service, (long long)above, (long long)above - 1);
	if (status == KEEP_OK)
		*version = (int)highest;
	kp_sql_finish(&stmt);
	kp_arena_release(&arena);
	return status;
}

/* Invariant 5: reading our own `migrations` is no mistake, so the table is another's. */
static keep_status look_at_table(kp_sql_conn *conn, const kp_migrations *migrations, int *version,
				 keep_error *err)
{
	keep_status status = look_at_applied(conn, migrations, version, err);

	if (status != KEEP_MISUSE)
		return status;
	if (err)
		err->status = KEEP_CONFLICT;
	return kp_prefix(err, KEEP_CONFLICT, "%s: the table migrations is another program's",
			 migrations->service);
}

static keep_status look(kp_sql_conn *conn, const kp_migrations *migrations, int *version,
			keep_error *err)
{
	bool has_table = false;
	keep_status status = look_for_table(conn, &has_table, err);

	*version = 0;
	if (status == KEEP_OK && has_table)
		status = look_at_table(conn, migrations, version, err);
	return status;
}

/* ---------------------------------------------------------------- migrating */

static keep_status run_migration(kp_sql_conn *conn, const kp_migration *migration, keep_error *err)
{
	keep_status status = kp_sql_script(conn, "SAVEPOINT keep_migration", err);

	if (status == KEEP_OK)
		status = kp_sql_script(conn, migration->sql, err);
	if (status != KEEP_OK)
		return status;
	status = kp_sql_script(conn, "RELEASE SAVEPOINT keep_migration", err);
	if (status == KEEP_MISUSE || status == KEEP_CONFLICT || status == KEEP_INVALID)
		status = kp_fail(err, KEEP_INVALID, "it began or ended a transaction");
	return status;
}

static keep_status apply_migration(kp_sql_conn *conn, const kp_migrations *migrations,
				   const kp_migration *migration, keep_error *err)
{
	char checksum[CHECKSUM_SIZE] = "";
	kp_applied_migration applied = {
		.service = keep_bytes_of(migrations->service),
		.version = migration->version,
		.name = keep_bytes_of(migration->name),
		.applied_at = kp_clock_ms(),
	};
	kp_ran_migration ran = {.migration = migration, .checksum = checksum};
	int64_t begun_ns = kp_monotonic_ns();
	bool existed = false;
	keep_status status = format_checksum(migration, checksum, err);

	applied.checksum = keep_bytes_of(checksum);
	if (status == KEEP_OK)
		status = run_migration(conn, migration, err);
	ran.duration_ms = (kp_monotonic_ns() - begun_ns) / 1000000;
	if (status == KEEP_OK && migrations->ran)
		status = migrations->ran(migrations->hooks_ctx, conn, &ran, err);
	if (status == KEEP_OK)
		status = kp_record_add(conn, &kp_applied_migration_record, &applied, &existed, err);
	if (status == KEEP_OK && existed)
		status = kp_fail(err, KEEP_CORRUPT, "it wrote its own row into migrations");
	if (status != KEEP_OK)
		return kp_prefix(err, status, "%s migration %s", migrations->service,
				 migration->name);
	return KEEP_OK;
}

static keep_status check_store(kp_sql_conn *conn, const kp_migrations *migrations, int version,
			       keep_error *err)
{
	if (!migrations->check)
		return KEEP_OK;
	return migrations->check(migrations->hooks_ctx, conn, version, err);
}

/* Before the first pending migration, where anybody's was applied before. */
static keep_status back_up(kp_sql_conn *conn, const kp_migrations *migrations, int version,
			   keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = KEEP_OK;

	if (!migrations->backup)
		return KEEP_OK;
	status = prepare_statement(conn, KP_MIGRATE_FIND_ANY, &stmt, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	kp_sql_finish(&stmt);
	if (status == KEEP_OK && has_row)
		status = migrations->backup(migrations->hooks_ctx, conn, version, err);
	return status;
}

static keep_status apply_pending(kp_sql_conn *conn, const kp_migrations *migrations,
				 keep_error *err)
{
	int version = 0;
	keep_status status = look_at_applied(conn, migrations, &version, err);

	if (status == KEEP_OK)
		status = check_store(conn, migrations, version, err);
	if (status == KEEP_OK && (size_t)version < migrations->count)
		status = back_up(conn, migrations, version, err);
	for (size_t i = (size_t)version; status == KEEP_OK && i < migrations->count; i++)
		status = apply_migration(conn, migrations, &migrations->list[i], err);
	return status;
}

/* Invariant 2: the row that a second process waits for. */
static kp_applied_migration make_lock(const kp_migrations *migrations)
{
	return (kp_applied_migration){
		.service = keep_bytes_of(migrations->service),
		.name = KEEP_BYTES("being migrated"),
		.checksum = KEEP_BYTES(""),
		.applied_at = kp_clock_ms(),
	};
}

/* One try, in one transaction. *raced: another process made the table meanwhile. */
static keep_status try_migrate(kp_sql_conn *conn, const kp_migrations *migrations, bool *raced,
			       keep_error *err)
{
	kp_applied_migration lock = make_lock(migrations);
	bool locks = !(conn->caps & KP_SQL_ONE_WRITER);
	bool has_table = false;
	keep_status status = kp_sql_begin(conn, KP_SQL_WRITE, err);

	*raced = false;
	if (status != KEEP_OK)
		return kp_prefix(err, status, "%s: before migrating", migrations->service);
	status = look_for_table(conn, &has_table, err);
	if (status != KEEP_OK)
		goto out;
	if (!has_table) {
		status = kp_sql_script(conn, kp_sql_table_files[conn->driver->dialect].bytes, err);
		*raced = status != KEEP_OK;
	}
	if (status == KEEP_OK && locks)
		status = kp_record_put(conn, &kp_applied_migration_record, &lock, err);
	if (status == KEEP_OK)
		status = apply_pending(conn, migrations, err);
	if (status == KEEP_OK && locks)
		status = kp_record_remove(conn, &kp_applied_migration_record, &lock, err);
	if (status != KEEP_OK)
		goto out;
	kp_moment("migrate.applied");
	status = kp_sql_commit(conn, err);
	if (status != KEEP_OK)
		status = kp_prefix(err, status, "%s: while migrating", migrations->service);
out:
	kp_sql_rollback(conn); /* after a commit there is nothing to roll back */
	return status;
}

static keep_status refuse_read_only(const kp_migrations *migrations, int version, keep_error *err)
{
	if (version == 0)
		return kp_fail(err, KEEP_NOT_FOUND, "%s: the database has no schema yet",
			       migrations->service);
	return kp_fail(err, KEEP_CONFLICT,
		       "%s: the database has version %d, this program needs %zu, and it was opened "
		       "for reading only",
		       migrations->service, version, migrations->count);
}

/* Try until it is done, or failed for another reason than a race for the table. */
static keep_status migrate(kp_sql_conn *conn, const kp_migrations *migrations, keep_error *err)
{
	keep_status status = KEEP_OK;
	bool raced = true;

	for (int tries = 0; raced && tries < TRIES_MAX; tries++) {
		bool has_table = false;

		status = try_migrate(conn, migrations, &raced, err);
		if (!raced || look_for_table(conn, &has_table, NULL) != KEEP_OK || !has_table)
			return status;
	}
	return status;
}

keep_status kp_migrate(kp_sql_conn *conn, const kp_migrations *migrations, keep_error *err)
{
	keep_error last = KEEP_ERROR_INIT; /* a lost race is no failure of the call */
	int version = 0;
	keep_status status = KEEP_OK;

	if (conn->in_transaction || !(conn->caps & KP_SQL_TRANSACTIONAL_DDL))
		return kp_fail(err, KEEP_MISUSE,
			       "%s: migrating needs a connection without a transaction, and "
			       "transactions that hold changes of the schema",
			       migrations->service);
	status = check_list(migrations, err);
	if (status == KEEP_OK)
		status = look(conn, migrations, &version, err);
	if (status != KEEP_OK || (size_t)version == migrations->count)
		return status;
	if (conn->read_only)
		return refuse_read_only(migrations, version, err);
	status = migrate(conn, migrations, &last);
	if (status != KEEP_OK && err)
		*err = last;
	return status;
}

keep_status kp_migrate_look(kp_sql_conn *conn, const kp_migrations *migrations, keep_error *err)
{
	int version = 0;
	keep_status status = check_list(migrations, err);

	if (status == KEEP_OK)
		status = kp_sql_begin(conn, KP_SQL_READ, err);
	if (status != KEEP_OK)
		return status;
	status = look(conn, migrations, &version, err);
	if (status == KEEP_OK)
		status = check_store(conn, migrations, version, err);
	kp_sql_rollback(conn);
	return status;
}

keep_status kp_migrate_version(kp_sql_conn *conn, const char *service, int *version,
			       keep_error *err)
{
	const kp_migrations only_the_service = {.service = service};

	return look(conn, &only_the_service, version, err);
}

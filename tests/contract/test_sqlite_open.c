/*
 * test_sqlite_open.c - opening, creating and keeping a SQLite file.
 *
 * What depends on permissions runs in a child process as another user, because tests may run as
 * root.
 */
#include "sql/sql.h"

#include "temp_folder.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { NOBODY = 65534 };

static keep_error err; /* of the last call that failed */

struct rig {
	temp_folder folder;
	char path[128];
	kp_sql_options options;
};

static int set_up(void **state)
{
	struct rig *rig = calloc(1, sizeof *rig);

	temp_folder_make(&rig->folder);
	assert_int_equal(chmod(rig->folder.path, 0755), 0);
	rig->options = (kp_sql_options){
		.location = temp_path(&rig->folder, "test.db", rig->path),
		.create = true,
	};
	*state = rig;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *rig = *state;

	(void)chmod(rig->folder.path, 0755);
	temp_folder_remove(&rig->folder);
	free(rig);
	assert_nothing_lives();
	return 0;
}

static kp_sql_conn *open_it(struct rig *rig)
{
	kp_sql_conn *conn = NULL;

	OK(kp_sql_open(&kp_sql_sqlite, &rig->options, &conn, &err));
	return conn;
}

/* The status of an attempt to open that must leave nothing open. */
static keep_status fail_to_open(struct rig *rig)
{
	kp_sql_conn *conn = NULL;
	keep_status status = kp_sql_open(&kp_sql_sqlite, &rig->options, &conn, &err);

	assert_null(conn);
	return status;
}

static bool is_there(struct rig *rig, const char *name)
{
	char path[128];

	return access(temp_path(&rig->folder, name, path), F_OK) == 0;
}

static void write_file(struct rig *rig, const char *bytes, size_t len)
{
	int fd = open(rig->path, O_WRONLY | O_CREAT | O_EXCL, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	close(fd);
}

static void make_database(struct rig *rig)
{
	kp_sql_conn *conn = open_it(rig);

	OK(kp_sql_script(conn, "CREATE TABLE t(n INTEGER) STRICT; INSERT INTO t VALUES (1)", &err));
	kp_sql_close(&conn);
}

static void query(kp_sql_conn *conn, const char *sql, kp_kind kind, kp_value *out, char text[64])
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;

	OK(kp_sql_prepare(conn, sql, &stmt, &err));
	OK(kp_sql_step(stmt, &has_row, &err));
	assert_true(has_row);
	OK(kp_sql_column(stmt, 0, kind, out, &err));
	if (kind == KP_TEXT)
		(void)snprintf(text, 64, "%" KP_PRI, KP_ARG(out->bytes));
	kp_sql_finish(&stmt);
}

static int64_t query_int(kp_sql_conn *conn, const char *sql)
{
	kp_value value;

	query(conn, sql, KP_INT, &value, NULL);
	return value.integer;
}

/* Run `work` in a child, as another user when this one is root; it returns a status. */
static keep_status as_nobody(keep_status (*work)(struct rig *rig), struct rig *rig)
{
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		if (geteuid() == 0 && (setegid(NOBODY) != 0 || seteuid(NOBODY) != 0))
			_exit(99);
		_exit((int)work(rig));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return (keep_status)WEXITSTATUS(status);
}

/* ---------------------------------------------------------------- which file */

static void a_missing_file_is_not_found_unless_its_creation_was_asked(void **state)
{
	struct rig *rig = *state;

	rig->options.create = false;
	assert_int_equal(fail_to_open(rig), KEEP_NOT_FOUND);
	CHECK(strstr(err.message, "test.db"), "%s", err.message);
	assert_false(is_there(rig, "test.db"));
	assert_false(is_there(rig, "test.db-guard"));
	rig->options.read_only = true;
	rig->options.create = true;
	assert_int_equal(fail_to_open(rig), KEEP_NOT_FOUND);
	assert_false(is_there(rig, "test.db"));
}

static void a_missing_folder_is_not_found_even_for_creation(void **state)
{
	struct rig *rig = *state;

	rig->options.location = temp_path(&rig->folder, "no/test.db", rig->path);
	assert_int_equal(fail_to_open(rig), KEEP_NOT_FOUND);
	CHECK(strstr(err.message, "no/test.db"), "%s", err.message);
}

static void an_empty_file_is_new_only_when_creation_was_asked(void **state)
{
	struct rig *rig = *state;
	kp_sql_conn *conn;

	write_file(rig, "", 0);
	rig->options.create = false;
	assert_int_equal(fail_to_open(rig), KEEP_NOT_FOUND);
	rig->options.create = true;
	conn = open_it(rig);
	kp_sql_close(&conn);
}

static void a_file_that_is_no_database_is_corrupt_and_left_alone(void **state)
{
	struct rig *rig = *state;
	char garbage[8192];
	struct stat st;

	memset(garbage, 'g', sizeof garbage);
	write_file(rig, garbage, sizeof garbage);
	assert_int_equal(fail_to_open(rig), KEEP_CORRUPT);
	CHECK(strstr(err.message, "test.db"), "%s", err.message);
	assert_int_equal(stat(rig->path, &st), 0);
	assert_int_equal(st.st_size, sizeof garbage);
}

static void a_folder_is_not_a_database(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(mkdir(rig->path, 0700), 0);
	assert_int_equal(fail_to_open(rig), KEEP_INVALID);
	rig->options.location = "";
	assert_int_equal(fail_to_open(rig), KEEP_INVALID);
}

static void names_that_mean_something_to_sqlite_are_names(void **state)
{
	static const char *const names[] = {":memory:", "file:x.db?mode=memory", "x?immutable=1"};
	struct rig *rig = *state;
	char here[512];

	assert_non_null(getcwd(here, sizeof here));
	assert_int_equal(chdir(rig->folder.path), 0);
	for (size_t i = 0; i < KP_COUNT(names); i++) {
		kp_sql_conn *conn;

		rig->options.location = names[i];
		conn = open_it(rig);
		kp_sql_close(&conn);
		assert_true(is_there(rig, names[i]));
	}
	assert_int_equal(chdir(here), 0);
}

static void a_new_file_is_its_owners_alone_whatever_the_umask(void **state)
{
	static const mode_t masks[] = {0, 0777};
	static const char *const names[] = {"test.db", "test.db-wal", "test.db-shm",
					    "test.db-guard"};
	struct rig *rig = *state;

	for (size_t i = 0; i < KP_COUNT(masks); i++) {
		mode_t before = umask(masks[i]);
		kp_sql_conn *conn = open_it(rig);

		(void)umask(before);
		OK(kp_sql_script(conn, "CREATE TABLE IF NOT EXISTS t(n)", &err));
		for (size_t j = 0; j < KP_COUNT(names); j++) {
			char path[128];
			struct stat st;

			assert_int_equal(stat(temp_path(&rig->folder, names[j], path), &st), 0);
			CHECK((st.st_mode & 0777) == 0600 || masks[i] != 0, "%s has mode %o",
			      names[j], st.st_mode & 0777);
			CHECK(j > 0 || (st.st_mode & 0777) == 0600, "%s has mode %o", names[j],
			      st.st_mode & 0777);
		}
		kp_sql_close(&conn);
		assert_int_equal(unlink(rig->path), 0);
	}
}

static keep_status try_to_open(struct rig *rig)
{
	return fail_to_open(rig);
}

static void a_file_without_permission_is_denied(void **state)
{
	struct rig *rig = *state;

	make_database(rig);
	assert_int_equal(chmod(rig->path, 0), 0);
	assert_int_equal(as_nobody(try_to_open, rig), KEEP_DENIED);
	assert_int_equal(chmod(rig->path, 0444), 0);
	assert_int_equal(as_nobody(try_to_open, rig), KEEP_DENIED);
}

static void a_folder_without_permission_denies_a_new_file(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(chmod(rig->folder.path, 0555), 0);
	assert_int_equal(as_nobody(try_to_open, rig), KEEP_DENIED);
}

static keep_status open_without_descriptors(struct rig *rig)
{
	struct rlimit limit = {.rlim_cur = 4, .rlim_max = 4};

	return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? fail_to_open(rig) : KEEP_OK;
}

static void no_descriptors_left_is_full(void **state)
{
	struct rig *rig = *state;

	make_database(rig);
	assert_int_equal(chmod(rig->path, 0666), 0);
	assert_int_equal(chmod(rig->folder.path, 0777), 0);
	assert_int_equal(as_nobody(open_without_descriptors, rig), KEEP_FULL);
}

/* ---------------------------------------------------------------- settings */

static void every_connection_has_the_settings(void **state)
{
	struct rig *rig = *state;
	char text[64];
	kp_value value;

	rig->options.timeout_ms = 1234;
	rig->options.cache_bytes = 8 << 20;
	rig->options.mmap_bytes = 16 << 20;
	rig->options.page_bytes = 8192;
	for (int i = 0; i < 3; i++) {
		kp_sql_conn *conn;

		rig->options.relaxed = i == 1;
		rig->options.read_only = i == 2;
		conn = open_it(rig);
		query(conn, "PRAGMA journal_mode", KP_TEXT, &value, text);
		assert_string_equal(text, "wal");
		assert_int_equal(query_int(conn, "PRAGMA busy_timeout"), 1234);
		assert_int_equal(query_int(conn, "PRAGMA synchronous"), i == 1 ? 1 : 2);
		assert_int_equal(query_int(conn, "PRAGMA foreign_keys"), 1);
		assert_int_equal(query_int(conn, "PRAGMA cache_size"), -8192);
		assert_int_equal(query_int(conn, "PRAGMA mmap_size"), 16 << 20);
		assert_int_equal(query_int(conn, "PRAGMA page_size"), 8192);
		assert_int_equal(query_int(conn, "PRAGMA wal_autocheckpoint"), 0);
		assert_int_equal(query_int(conn, "PRAGMA temp_store"), 2);
		assert_int_equal(query_int(conn, "PRAGMA trusted_schema"), 0);
		kp_sql_close(&conn);
	}
}

static void a_page_size_that_sqlite_does_not_take_is_named(void **state)
{
	struct rig *rig = *state;

	rig->options.page_bytes = 5000;
	assert_int_equal(fail_to_open(rig), KEEP_UNAVAILABLE);
	CHECK(strstr(err.message, "page_size"), "%s", err.message);
}

static void the_defensive_mode_protects_the_schema_tables(void **state)
{
	struct rig *rig = *state;
	kp_sql_conn *conn = open_it(rig);

	OK(kp_sql_script(conn, "CREATE TABLE t(n); PRAGMA writable_schema = ON", &err));
	assert_int_not_equal(kp_sql_script(conn, "DELETE FROM sqlite_schema", &err), KEEP_OK);
	kp_sql_close(&conn);
}

static void a_database_with_a_rollback_journal_is_converted_or_refused(void **state)
{
	struct rig *rig = *state;
	kp_sql_conn *conn;
	char text[64];
	kp_value value;

	make_database(rig);
	conn = open_it(rig);
	OK(kp_sql_script(conn, "PRAGMA journal_mode = delete", &err));
	kp_sql_close(&conn);

	rig->options.read_only = true;
	assert_int_equal(fail_to_open(rig), KEEP_UNAVAILABLE);
	CHECK(strstr(err.message, "journal_mode"), "%s", err.message);
	rig->options.read_only = false;
	conn = open_it(rig);
	query(conn, "PRAGMA journal_mode", KP_TEXT, &value, text);
	assert_string_equal(text, "wal");
	kp_sql_close(&conn);
}

static void many_processes_may_create_one_file_at_once(void **state)
{
	enum { PROCESSES = 8 };
	struct rig *rig = *state;
	pid_t pids[PROCESSES];

	for (int i = 0; i < PROCESSES; i++) {
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i] == 0) {
			kp_sql_conn *conn = NULL;
			keep_status status =
				kp_sql_open(&kp_sql_sqlite, &rig->options, &conn, NULL);

			if (status == KEEP_OK)
				status = kp_sql_script(conn, "CREATE TABLE IF NOT EXISTS t(n)",
						       NULL);
			kp_sql_close(&conn);
			_exit((int)status);
		}
	}
	for (int i = 0; i < PROCESSES; i++) {
		int status = 0;

		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
}

/* ---------------------------------------------------------------- reading only */

static void a_reader_makes_neither_database_nor_guard(void **state)
{
	struct rig *rig = *state;
	char path[128];
	kp_sql_conn *conn;

	make_database(rig);
	assert_int_equal(unlink(temp_path(&rig->folder, "test.db-guard", path)), 0);
	rig->options.read_only = true;
	conn = open_it(rig);
	assert_int_equal(query_int(conn, "SELECT n FROM t"), 1);
	assert_int_equal(kp_sql_begin(conn, KP_SQL_WRITE, &err), KEEP_DENIED);
	kp_sql_maintain(conn);
	kp_sql_close(&conn);
	assert_false(is_there(rig, "test.db-guard"));
}

static keep_status read_one(struct rig *rig)
{
	kp_sql_conn *conn = NULL;
	keep_status status = kp_sql_open(&kp_sql_sqlite, &rig->options, &conn, &err);

	if (status == KEEP_OK && query_int(conn, "SELECT n FROM t") != 1)
		status = KEEP_CORRUPT;
	kp_sql_close(&conn);
	if (status != KEEP_OK && !strstr(err.message, "-wal and -shm"))
		return KEEP_MISUSE; /* it did not say why */
	return status;
}

static void a_read_only_folder_is_read_while_somebody_has_it_open(void **state)
{
	static const char *const names[] = {"test.db", "test.db-wal", "test.db-shm"};
	struct rig *rig = *state;
	kp_sql_conn *conn;
	char path[128];

	make_database(rig);
	for (size_t i = 0; i < 1; i++)
		assert_int_equal(chmod(temp_path(&rig->folder, names[i], path), 0644), 0);
	assert_int_equal(chmod(rig->folder.path, 0555), 0);
	rig->options.read_only = true;
	assert_int_equal(as_nobody(read_one, rig), KEEP_DENIED);

	rig->options.read_only = false;
	if (geteuid() != 0)
		assert_int_equal(chmod(rig->folder.path, 0755), 0);
	conn = open_it(rig);
	OK(kp_sql_script(conn, "UPDATE t SET n = 1", &err));
	for (size_t i = 0; i < KP_COUNT(names); i++)
		assert_int_equal(chmod(temp_path(&rig->folder, names[i], path), 0644), 0);
	rig->options.read_only = true;
	assert_int_equal(as_nobody(read_one, rig), KEEP_OK);
	kp_sql_close(&conn);
}

/* ---------------------------------------------------------------- staying the same file */

static void a_deleted_file_is_noticed_before_a_write(void **state)
{
	struct rig *rig = *state;
	kp_sql_conn *conn = open_it(rig);

	OK(kp_sql_script(conn, "CREATE TABLE t(n)", &err));
	OK(kp_sql_check(conn, &err));
	assert_int_equal(unlink(rig->path), 0);
	assert_int_equal(kp_sql_begin(conn, KP_SQL_WRITE, &err), KEEP_UNAVAILABLE);
	assert_int_equal(kp_sql_script(conn, "INSERT INTO t VALUES (1)", &err), KEEP_UNAVAILABLE);
	assert_int_equal(kp_sql_check(conn, &err), KEEP_UNAVAILABLE);
	assert_true(conn->broken);
	kp_sql_close(&conn);
}

static void a_replaced_file_is_noticed_before_a_write(void **state)
{
	struct rig *rig = *state;
	kp_sql_conn *conn = open_it(rig);
	char path[128];

	assert_int_equal(rename(rig->path, temp_path(&rig->folder, "moved.db", path)), 0);
	write_file(rig, "", 0);
	assert_int_equal(kp_sql_begin(conn, KP_SQL_WRITE, &err), KEEP_UNAVAILABLE);
	CHECK(strstr(err.message, "test.db"), "%s", err.message);
	kp_sql_close(&conn);
}

static void a_deleted_guard_is_noticed_before_a_write(void **state)
{
	struct rig *rig = *state;
	kp_sql_conn *conn = open_it(rig);
	char path[128];

	assert_int_equal(unlink(temp_path(&rig->folder, "test.db-guard", path)), 0);
	assert_int_equal(kp_sql_begin(conn, KP_SQL_WRITE, &err), KEEP_UNAVAILABLE);
	kp_sql_close(&conn);
}

static void two_names_of_one_file_share_its_guard(void **state)
{
	struct rig *rig = *state;
	kp_sql_conn *first = open_it(rig), *second;
	char path[128];

	assert_int_equal(symlink("test.db", temp_path(&rig->folder, "other.db", path)), 0);
	rig->options.location = path;
	rig->options.timeout_ms = 10;
	second = open_it(rig);
	assert_false(is_there(rig, "other.db-guard"));
	OK(kp_sql_begin(first, KP_SQL_WRITE, &err));
	assert_int_equal(kp_sql_begin(second, KP_SQL_WRITE, &err), KEEP_BUSY);
	CHECK(strstr(err.message, "another writer"), "%s", err.message);
	kp_sql_close(&first);
	kp_sql_close(&second);
}

/* ---------------------------------------------------------------- the guard and the log */

static void a_change_outside_of_a_transaction_has_the_guard_until_it_ends(void **state)
{
	struct rig *rig = *state;
	kp_sql_conn *first, *second;
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;

	make_database(rig);
	rig->options.timeout_ms = 10;
	first = open_it(rig);
	second = open_it(rig);
	OK(kp_sql_prepare(first, "INSERT INTO t VALUES (2), (3) RETURNING n", &stmt, &err));
	OK(kp_sql_step(stmt, &has_row, &err));
	assert_true(has_row);
	assert_int_equal(kp_sql_begin(second, KP_SQL_WRITE, &err), KEEP_BUSY);
	kp_sql_reset(stmt);
	OK(kp_sql_begin(second, KP_SQL_WRITE, &err));
	assert_int_equal(kp_sql_run(stmt, &err), KEEP_BUSY);
	kp_sql_rollback(second);
	OK(kp_sql_run(stmt, &err));
	kp_sql_finish(&stmt);
	assert_int_equal(query_int(second, "SELECT count(*) FROM t"), 5);
	kp_sql_close(&first);
	kp_sql_close(&second);
}

static void a_script_that_leaves_its_transaction_open_is_rolled_back(void **state)
{
	struct rig *rig = *state;
	kp_sql_conn *conn;

	make_database(rig);
	conn = open_it(rig);
	assert_int_equal(kp_sql_script(conn, "BEGIN; DELETE FROM t", &err), KEEP_MISUSE);
	assert_int_equal(query_int(conn, "SELECT count(*) FROM t"), 1);
	OK(kp_sql_script(conn, "BEGIN; INSERT INTO t VALUES (2); COMMIT", &err));
	assert_int_equal(query_int(conn, "SELECT count(*) FROM t"), 2);
	kp_sql_close(&conn);
}

/* One commit of one frame, and what follows it. */
static void add_frame(kp_sql_conn *conn, kp_sql_stmt *stmt, int64_t value)
{

	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	OK(kp_sql_bind_int(stmt, 1, value, &err));
	OK(kp_sql_run(stmt, &err));
	OK(kp_sql_commit(conn, &err));
	kp_sql_maintain(conn);
}

static off_t size_of_log(struct rig *rig)
{
	char path[128];
	struct stat st;

	assert_int_equal(stat(temp_path(&rig->folder, "test.db-wal", path), &st), 0);
	return st.st_size;
}

static void count_warning(void *ctx, keep_log_level level, const char *message)
{
	if (level >= KEEP_LOG_WARNING && strstr(message, "holds on to a log"))
		++*(int *)ctx;
}

static void the_log_begins_anew_after_a_checkpoint(void **state)
{
	struct rig *rig = *state;
	kp_sql_conn *conn;
	kp_sql_stmt *stmt = NULL;

	make_database(rig);
	rig->options.relaxed = true;
	conn = open_it(rig);
	OK(kp_sql_prepare(conn, "UPDATE t SET n = ?1", &stmt, &err));
	for (int i = 2; i < 5000; i++)
		add_frame(conn, stmt, i);
	assert_true(size_of_log(rig) < 1100 * (4096 + 24));
	kp_sql_finish(&stmt);
	kp_sql_close(&conn);
}

static void a_reader_that_stays_in_the_log_delays_nobody_and_is_logged(void **state)
{
	struct rig *rig = *state;
	kp_sql_conn *conn, *reader;
	kp_sql_stmt *stmt = NULL;
	int warnings = 0;

	make_database(rig);
	rig->options.relaxed = true;
	conn = open_it(rig);
	reader = open_it(rig);
	OK(kp_sql_prepare(conn, "UPDATE t SET n = ?1", &stmt, &err));
	add_frame(conn, stmt, 2);
	OK(kp_sql_begin(reader, KP_SQL_READ, &err));
	assert_int_equal(query_int(reader, "SELECT n FROM t"), 2);
	keep_log_set(count_warning, &warnings);
	for (int i = 3; i < 16500; i++)
		add_frame(conn, stmt, i);
	assert_int_equal(warnings, 1);
	assert_int_equal(query_int(reader, "SELECT n FROM t"), 2);
	kp_sql_rollback(reader);
	for (int i = 0; i < 2000; i++)
		add_frame(conn, stmt, i);
	assert_true(size_of_log(rig) < 17600 * (4096 + 24));
	assert_int_equal(warnings, 1);
	keep_log_set(NULL, NULL);
	kp_sql_finish(&stmt);
	kp_sql_close(&conn);
	kp_sql_close(&reader);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_missing_file_is_not_found_unless_its_creation_was_asked),
		TEST(a_missing_folder_is_not_found_even_for_creation),
		TEST(an_empty_file_is_new_only_when_creation_was_asked),
		TEST(a_file_that_is_no_database_is_corrupt_and_left_alone),
		TEST(a_folder_is_not_a_database),
		TEST(names_that_mean_something_to_sqlite_are_names),
		TEST(a_new_file_is_its_owners_alone_whatever_the_umask),
		TEST(a_file_without_permission_is_denied),
		TEST(a_folder_without_permission_denies_a_new_file),
		TEST(no_descriptors_left_is_full),
		TEST(every_connection_has_the_settings),
		TEST(a_page_size_that_sqlite_does_not_take_is_named),
		TEST(the_defensive_mode_protects_the_schema_tables),
		TEST(a_database_with_a_rollback_journal_is_converted_or_refused),
		TEST(many_processes_may_create_one_file_at_once),
		TEST(a_reader_makes_neither_database_nor_guard),
		TEST(a_read_only_folder_is_read_while_somebody_has_it_open),
		TEST(a_deleted_file_is_noticed_before_a_write),
		TEST(a_replaced_file_is_noticed_before_a_write),
		TEST(a_deleted_guard_is_noticed_before_a_write),
		TEST(two_names_of_one_file_share_its_guard),
		TEST(a_change_outside_of_a_transaction_has_the_guard_until_it_ends),
		TEST(a_script_that_leaves_its_transaction_open_is_rolled_back),
		TEST(the_log_begins_anew_after_a_checkpoint),
		TEST(a_reader_that_stays_in_the_log_delays_nobody_and_is_logged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

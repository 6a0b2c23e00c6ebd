/*
 * test_backup_snapshot.c - a backup is of one moment, has what it should, and holds nobody up.
 *
 * The proof of one moment: a writer writes n = 1, 2, 3 … into all databases in turn, always in the
 * same order. At any moment the first few have n and the rest n - 1; a copy that shows anything
 * else is of two moments.
 */
#include "backup_home.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "sql/sql.h"

enum { LOGGED = 6, PLAIN = 4, SLEEPING = 60, THREADS = 2, PROCESSES = 2, WRITERS = 4 };

/* A writer ends by itself, so that none fills the disk when a test ends early. */
enum { ROUNDS_MAX = 50000 };

struct shared {
	_Atomic int stop;
	_Atomic int64_t longest_ns;
	_Atomic int64_t written;
	_Atomic int failed;
};

static struct shared *shared;

static void name_of(int i, int logged, char out[64])
{
	(void)snprintf(out, 64, i < logged ? "logged%d.db" : "mailbox/session%d/inbound.db", i);
}

static void make_home(const char *home, int logged, int plain, int sleeping)
{
	char name[64];

	make_file(home, "home.json", "{\"format\":1}\n");
	make_folder(home, "mailbox");
	for (int i = 0; i < logged + plain + sleeping; i++) {
		if (i >= logged) {
			(void)snprintf(name, sizeof name, "mailbox/session%d", i);
			make_folder(home, name);
		}
		name_of(i, logged, name);
		make_database(home, name, i < logged || i >= logged + plain, 50);
	}
}

/* ---------------------------------------------------------------- writers */

static void note_wait(int64_t begun)
{
	int64_t took = kp_monotonic_ns() - begun, longest = atomic_load(&shared->longest_ns);

	while (took > longest && !atomic_compare_exchange_weak(&shared->longest_ns, &longest, took))
		;
	atomic_fetch_add(&shared->written, 1);
}

struct writer {
	const char *home;
	int id; /* its row */
	int logged, count;
	bool is_keep; /* through the driver, with its guard, where there is a log; else by SQLite */
};

static bool write_one(const struct writer *writer, kp_sql_conn *conn, sqlite3 *db, int64_t n)
{
	char sql[100];
	int64_t begun = kp_monotonic_ns();
	bool done;

	(void)snprintf(sql, sizeof sql, "UPDATE t SET n = %lld WHERE id = %d", (long long)n,
		       writer->id);
	if (conn) {
		done = kp_sql_begin(conn, KP_SQL_WRITE, NULL) == KEEP_OK &&
		       kp_sql_script(conn, sql, NULL) == KEEP_OK &&
		       kp_sql_commit(conn, NULL) == KEEP_OK;
	} else {
		done = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK &&
		       sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK &&
		       sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK;
	}
	note_wait(begun);
	return done;
}

static void write_all(const struct writer *writer)
{
	kp_sql_conn *conns[512] = {NULL};
	sqlite3 *dbs[512] = {NULL};
	char name[64], path[512];

	for (int i = 0; i < writer->count; i++) {
		kp_sql_options options = {.location = path, .relaxed = true};

		name_of(i, writer->logged, name);
		FORMAT(path, "%s/%s", writer->home, name);
		if (writer->is_keep && i < writer->logged) {
			if (kp_sql_open(&kp_sql_sqlite, &options, &conns[i], NULL) != KEEP_OK)
				atomic_fetch_add(&shared->failed, 1);
		} else {
			dbs[i] = open_sql(writer->home, name);
			(void)sqlite3_exec(
				dbs[i], "PRAGMA synchronous = off; PRAGMA wal_autocheckpoint = 0",
				NULL, NULL, NULL);
		}
	}
	for (int64_t n = 1; !atomic_load(&shared->stop) && n < ROUNDS_MAX; n++)
		for (int i = 0; i < writer->count && !atomic_load(&shared->stop); i++)
			if (!write_one(writer, conns[i], dbs[i], n)) {
				atomic_fetch_add(&shared->failed, 1);
				return;
			}
	for (int i = 0; i < writer->count; i++) {
		kp_sql_close(&conns[i]);
		(void)sqlite3_close(dbs[i]);
	}
}

static void *write_in_thread(void *ctx)
{
	write_all(ctx);
	return NULL;
}

static pid_t write_in_process(const struct writer *writer)
{
	pid_t pid = fork();

	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		write_all(writer);
		_exit(0);
	}
	return pid;
}

/* ---------------------------------------------------------------- the proof */

/* False: `why` tells which database is of another moment. Nothing fails here: the writers have to
   be ended first. */
static bool is_one_moment(const char *home, const char *backup, int logged, int count, int writers,
			  char why[200])
{
	char folder[512], name[64], sql[64];

	backup_path(home, backup, "/data", folder);
	for (int writer = 1; writer <= writers; writer++) {
		int64_t first = -1, before = -1;

		(void)snprintf(sql, sizeof sql, "SELECT n FROM t WHERE id = %d", writer);
		for (int i = 0; i < count; i++) {
			int64_t n;

			name_of(i, logged, name);
			n = ask_file(folder, name, sql);
			if (i == 0)
				first = before = n;
			if (n != before && (n != before - 1 || before != first)) {
				(void)snprintf(
					why, 200,
					"%s has %lld of writer %d, after %lld and first %lld", name,
					(long long)n, writer, (long long)before, (long long)first);
				return false;
			}
			before = n;
		}
	}
	return true;
}

static void begin_shared(void)
{
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	CHECK(shared != MAP_FAILED, "no shared memory");
	memset(shared, 0, sizeof *shared);
}

static void end_shared(void)
{
	CHECK(atomic_load(&shared->failed) == 0, "%d writes failed", atomic_load(&shared->failed));
	(void)munmap(shared, sizeof *shared);
}

static void wait_for_writes(int64_t count)
{
	while (atomic_load(&shared->written) < count && atomic_load(&shared->failed) == 0)
		(void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

struct writers {
	struct writer each[WRITERS];
	pthread_t threads[WRITERS];
	pid_t pids[WRITERS];
	int count, processes; /* the first are processes: forked before there is a thread */
};

static void start_writers(struct writers *writers, const char *home, int logged, int plain)
{
	writers->processes = writers->count / 2;
	for (int i = 0; i < writers->count; i++)
		writers->each[i] = (struct writer){.home = home,
						   .id = i + 1,
						   .logged = logged,
						   .count = logged + plain,
						   .is_keep = true};
	for (int i = 0; i < writers->processes; i++)
		writers->pids[i] = write_in_process(&writers->each[i]);
	for (int i = writers->processes; i < writers->count; i++)
		(void)pthread_create(&writers->threads[i], NULL, write_in_thread,
				     &writers->each[i]);
}

static void end_writers(struct writers *writers)
{
	int status = 0;

	atomic_store(&shared->stop, 1);
	for (int i = writers->processes; i < writers->count; i++)
		(void)pthread_join(writers->threads[i], NULL);
	for (int i = 0; i < writers->processes; i++)
		if (waitpid(writers->pids[i], &status, 0) != writers->pids[i] || status != 0)
			atomic_fetch_add(&shared->failed, 1);
}

static void back_up_beside(const char *home, int logged, int plain, int count, int rounds,
			   kp_backup_result *result)
{
	struct writers writers = {.count = count};
	kp_backup_options options = {.may_raise_limit = true, .patience_ms = 60000};
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = KEEP_OK;
	bool is_one = true;
	char why[200] = "";
	int64_t held_us = 0;

	begin_shared();
	start_writers(&writers, home, logged, plain);
	for (int round = 0; round < rounds && status == KEEP_OK && is_one; round++) {
		wait_for_writes(atomic_load(&shared->written) + 2 * count * (logged + plain));
		status = kp_backup_make(home, &options, result, &err);
		held_us = result->held_us > held_us ? result->held_us : held_us;
		if (status == KEEP_OK)
			is_one = is_one_moment(home, result->name, logged, logged + plain, count,
					       why);
	}
	end_writers(&writers);
	OK(status);
	CHECK(is_one, "%s", why);
	print_message("%d databases, %d writers: %lld writes, longest %lld us; held %lld of them, "
		      "%lld tries, at most %lld us\n",
		      logged + plain, count, (long long)atomic_load(&shared->written),
		      (long long)atomic_load(&shared->longest_ns) / 1000,
		      (long long)result->held_count, (long long)result->try_count,
		      (long long)held_us);
	CHECK(held_us < 100000 * test_patience(), "writers were held for %lld us",
	      (long long)held_us);
	end_shared();
}

static void all_databases_are_of_one_moment_beside_threads_and_processes(void **state)
{
	temp_folder folder;
	kp_backup_result result;
	keep_error err = KEEP_ERROR_INIT;
	char path[512];

	(void)state;
	temp_folder_make(&folder);
	make_home(folder.path, LOGGED, PLAIN, SLEEPING);
	back_up_beside(folder.path, LOGGED, PLAIN, WRITERS, 5, &result);
	CHECK(result.database_count == LOGGED + PLAIN + SLEEPING, "%lld databases",
	      (long long)result.database_count);
	OK(kp_backup_verify(backup_path(folder.path, result.name, "", path), NULL, &err));
	temp_folder_remove(&folder);
}

static void hundreds_of_databases_that_are_written_at_once_are_of_one_moment(void **state)
{
	temp_folder folder;
	kp_backup_result result;
	struct rlimit limit, before;

	(void)state;
	temp_folder_make(&folder);
	(void)getrlimit(RLIMIT_NOFILE, &before);
	limit = before;
	limit.rlim_cur = limit.rlim_max > 8192 ? 8192 : limit.rlim_max; /* the writers' own */
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	make_home(folder.path, 200, 20, 0);
	back_up_beside(folder.path, 200, 20, 2, 2, &result);
	(void)setrlimit(RLIMIT_NOFILE, &before);
	temp_folder_remove(&folder);
}

/* ---------------------------------------------------------------- logs */

static int64_t sum_of(const char *home, const char *name)
{
	return ask_file(home, name,
			"SELECT count(*) * 1000003 + total(n) + total(length(text)) + "
			"ifnull(total(unicode(substr(text, id % 90 + 1, 1)) * (id % 7919)), 0) "
			"FROM t");
}

static void check_same(const char *home, const char *backup, const char *name)
{
	char folder[512];

	backup_path(home, backup, "/data", folder);
	CHECK(sum_of(folder, name) == sum_of(home, name), "%s is another", name);
	CHECK(ask_file(folder, name, "SELECT integrity_check = 'ok' FROM pragma_integrity_check") ==
		      1,
	      "%s is damaged", name);
}

/* What a killed process leaves: a log with commits, and one that was not finished. */
static void leave_log(const char *home, const char *name, const char *page_sql, const char *sql)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		sqlite3 *db = open_sql(home, name);

		run_sql(db, page_sql);
		run_sql(db, "PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = 10");
		run_sql(db, sql);
		run_sql(db, "BEGIN; UPDATE t SET text = 'never committed'; DELETE FROM t");
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0, "the other process failed");
}

static const char grow[] =
	"WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 3000)"
	"INSERT INTO t (n, text) SELECT i, hex(randomblob(100)) FROM c;";

static void a_log_that_a_killed_process_left_is_in_the_copy(void **state)
{
	static const char *const lives[] = {
		"UPDATE t SET n = n + 1",
		"DELETE FROM t WHERE id > 10; VACUUM",
		"UPDATE t SET n = 5; PRAGMA wal_checkpoint(passive); UPDATE t SET text = 'x' || n "
		"WHERE id % 3 = 0",
		"UPDATE t SET n = 5; PRAGMA wal_checkpoint(restart); UPDATE t SET n = 6 WHERE id = "
		"1",
		"UPDATE t SET n = 5; PRAGMA wal_checkpoint(truncate)",
	};
	static const char *const pages[] = {"512", "4096", "65536"};
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(lives) * KP_COUNT(pages); i++) {
		char sql[1024], page[64];
		temp_folder folder;
		kp_backup_result result;

		temp_folder_make(&folder);
		make_database(folder.path, "x.db", false, 0);
		(void)snprintf(page, sizeof page,
			       "PRAGMA page_size = %s; VACUUM; PRAGMA journal_mode = wal",
			       pages[i % KP_COUNT(pages)]);
		(void)snprintf(sql, sizeof sql, "%s %s", grow, lives[i / KP_COUNT(pages)]);
		leave_log(folder.path, "x.db", page, sql);
		OK(kp_backup_make(folder.path, NULL, &result, &err));
		check_same(folder.path, result.name, "x.db");
		temp_folder_remove(&folder);
	}
}

static void a_transaction_that_a_killed_process_left_in_a_journal_is_rolled_back(void **state)
{
	temp_folder folder;
	kp_backup_result result;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	temp_folder_make(&folder);
	make_database(folder.path, "x.db", false, 0);
	leave_log(folder.path, "x.db", "PRAGMA synchronous = full", grow);
	CHECK(path_exists(folder.path, "x.db-journal"), "nothing is left to be rolled back");
	OK(kp_backup_make(folder.path, NULL, &result, &err));
	check_same(folder.path, result.name, "x.db");
	CHECK(ask_file(folder.path, "x.db", "SELECT count(*) FROM t") == 3000, "rows are missing");
	temp_folder_remove(&folder);
}

/* ---------------------------------------------------------------- what is in it */

static void files_are_in_it_and_what_is_derived_or_secret_is_not(void **state)
{
	static const char *const left_out[] = {"vault.key", "*.vectors"};
	static const char *const key_ids[] = {"k1"};
	static const char *const in[] = {
		"home.json", "keep.conf",     "mailbox/inbox/1/cat.txt", "mailbox/inbox/1/a-wal",
		"x.db",      "mailbox/empty",
	};
	static const char *const out[] = {
		"vault.key", "assistant.vectors", "x.db-wal", "x.db-guard", "x.db-notify",
		".bell-1",   ".heartbeat",        "backups",  "link",
	};
	kp_backup_options options = {.left_out = left_out,
				     .left_out_count = 2,
				     .key_ids = key_ids,
				     .key_id_count = 1,
				     .label = "by-hand"};
	keep_error err = KEEP_ERROR_INIT;
	kp_backup_result result;
	temp_folder folder;
	char path[512], link[512];
	struct stat st;

	(void)state;
	temp_folder_make(&folder);
	make_folder(folder.path, "mailbox");
	make_folder(folder.path, "mailbox/empty");
	make_folder(folder.path, "mailbox/inbox");
	make_folder(folder.path, "mailbox/inbox/1");
	make_database(folder.path, "x.db", true, 10);
	for (size_t i = 0; i < KP_COUNT(in); i++)
		if (!path_exists(folder.path, in[i]))
			make_file(folder.path, in[i], "text\n");
	for (size_t i = 0; i < 7; i++)
		if (!path_exists(folder.path, out[i]))
			make_file(folder.path, out[i], "");
	FORMAT(link, "%s/link", folder.path);
	CHECK(symlink("/etc/passwd", link) == 0, "no link");
	OK(kp_backup_make(folder.path, &options, &result, &err));
	backup_path(folder.path, result.name, "/data", path);
	for (size_t i = 0; i < KP_COUNT(in); i++)
		CHECK(path_exists(path, in[i]), "%s is missing", in[i]);
	for (size_t i = 0; i < KP_COUNT(out); i++)
		CHECK(!path_exists(path, out[i]), "%s is there", out[i]);
	CHECK(result.file_count == 5 && result.database_count == 1 && result.left_count == 1,
	      "%lld files", (long long)result.file_count);
	FORMAT(link, "%s/home.json", path);
	CHECK(stat(link, &st) == 0 && (st.st_mode & 07777) == 0600, "mode %o", st.st_mode & 07777);
	CHECK(stat(backup_path(folder.path, result.name, "", path), &st) == 0 &&
		      (st.st_mode & 07777) == 0700,
	      "mode %o", st.st_mode & 07777);
	OK(kp_backup_verify(path, NULL, &err));
	temp_folder_remove(&folder);
}

static bool is_agents(void *ctx, const char *path)
{
	(void)ctx;
	return strstr(path, "agent") != NULL;
}

static void a_damaged_database_fails_it_unless_others_may_have_damaged_it(void **state)
{
	kp_backup_options options = {.may_be_damaged = is_agents};
	keep_error err = KEEP_ERROR_INIT;
	kp_backup_result result;
	kp_backup_entries entries;
	temp_folder folder;
	char path[512];

	(void)state;
	temp_folder_make(&folder);
	make_database(folder.path, "agent.db", false, 500);
	flip_bit(folder.path, "agent.db", 4096 * 3 + 3);
	CHECK(kp_backup_make(folder.path, NULL, &result, &err) == KEEP_CORRUPT, "it is not seen");
	CHECK(strstr(err.message, "agent.db"), "%s", err.message);
	OK(kp_backup_list(folder.path, &entries, &err));
	CHECK(entries.count == 0, "a backup that failed is there");
	kp_backup_entries_release(&entries);
	OK(kp_backup_make(folder.path, &options, &result, &err));
	CHECK(result.damaged_count == 1, "%lld", (long long)result.damaged_count);
	OK(kp_backup_verify(backup_path(folder.path, result.name, "", path), NULL, &err));
	temp_folder_remove(&folder);
}

/* ---------------------------------------------------------------- one at a time, and ending early
 */

struct nested {
	const char *home;
	keep_status status;
	_Atomic int cancelled;
};

static void make_another(void *ctx, int64_t done, int64_t all)
{
	struct nested *nested = ctx;

	(void)done, (void)all;
	nested->status = kp_backup_make(nested->home, NULL, NULL, NULL);
}

static void the_second_of_two_at_once_is_busy(void **state)
{
	temp_folder folder;
	struct nested nested = {.home = folder.path};
	kp_backup_options options = {.progress = make_another, .progress_ctx = &nested};
	kp_backup_result result;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	temp_folder_make(&folder);
	make_database(folder.path, "x.db", true, 10);
	OK(kp_backup_make(folder.path, &options, &result, &err));
	CHECK(nested.status == KEEP_BUSY, "%s", keep_status_name(nested.status));
	temp_folder_remove(&folder);
}

static void cancel(void *ctx, int64_t done, int64_t all)
{
	struct nested *nested = ctx;

	(void)done, (void)all;
	atomic_store(&nested->cancelled, 1);
}

static void one_that_is_cancelled_leaves_nothing(void **state)
{
	temp_folder folder;
	struct nested nested = {.home = folder.path};
	kp_backup_options options = {
		.progress = cancel, .progress_ctx = &nested, .cancelled = &nested.cancelled};
	kp_backup_result result;
	keep_error err = KEEP_ERROR_INIT;
	char path[512];

	(void)state;
	temp_folder_make(&folder);
	make_database(folder.path, "x.db", true, 10);
	CHECK(kp_backup_make(folder.path, &options, &result, &err) == KEEP_BUSY, "%s", err.message);
	(void)snprintf(path, sizeof path,
		       "rmdir %s/backups 2>/dev/null; rm %s/backups/.lock && rmdir %s/backups",
		       folder.path, folder.path, folder.path);
	CHECK(system(path) == 0, "something is left in backups/");
	temp_folder_remove(&folder);
}

static void what_a_killed_one_left_is_removed_by_the_next(void **state)
{
	temp_folder folder;
	kp_backup_result result;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	temp_folder_make(&folder);
	make_folder(folder.path, "backups");
	make_folder(folder.path, "backups/.partial-20200101T000000Z");
	make_folder(folder.path, "backups/.partial-20200101T000000Z/data");
	make_file(folder.path, "backups/.partial-20200101T000000Z/data/x", "x");
	make_file(folder.path, "home.json", "{}");
	OK(kp_backup_make(folder.path, NULL, &result, &err));
	CHECK(!path_exists(folder.path, "backups/.partial-20200101T000000Z"), "it is still there");
	temp_folder_remove(&folder);
}

/* A session that comes and goes while it is made: each backup has all of one, or nothing. */
static void *come_and_go(void *ctx)
{
	const char *home = ctx;

	while (!atomic_load(&shared->stop)) {
		char path[512];

		make_folder(home, "visitor");
		make_database(home, "visitor/inbound.db", true, 20);
		FORMAT(path, "%s/visitor/inbound.db", home);
		(void)unlink(path);
		FORMAT(path, "%s/visitor", home);
		while (rmdir(path) != 0 && errno == ENOTEMPTY) { /* a reader's -wal, for a moment */
			char rest[600];

			FORMAT(rest, "%s/inbound.db-wal", path);
			(void)unlink(rest);
			FORMAT(rest, "%s/inbound.db-shm", path);
			(void)unlink(rest);
			FORMAT(rest, "%s/inbound.db-guard", path);
			(void)unlink(rest);
		}
		atomic_fetch_add(&shared->written, 1);
	}
	return NULL;
}

static void sessions_may_come_and_go_meanwhile(void **state)
{
	temp_folder folder;
	pthread_t thread;
	kp_backup_result result;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = KEEP_OK;

	(void)state;
	temp_folder_make(&folder);
	make_home(folder.path, 1, 1, 1);
	begin_shared();
	(void)pthread_create(&thread, NULL, come_and_go, folder.path);
	for (int i = 0; i < 10 && status == KEEP_OK; i++) {
		char path[512];

		wait_for_writes(atomic_load(&shared->written) + 2);
		status = kp_backup_make(folder.path, NULL, &result, &err);
		if (status == KEEP_OK)
			status = kp_backup_verify(backup_path(folder.path, result.name, "", path),
						  NULL, &err);
	}
	atomic_store(&shared->stop, 1);
	(void)pthread_join(thread, NULL);
	OK(status);
	end_shared();
	temp_folder_remove(&folder);
}

static void nothing_lives(void **state)
{
	(void)state;
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_databases_are_of_one_moment_beside_threads_and_processes),
		cmocka_unit_test(hundreds_of_databases_that_are_written_at_once_are_of_one_moment),
		cmocka_unit_test(a_log_that_a_killed_process_left_is_in_the_copy),
		cmocka_unit_test(
			a_transaction_that_a_killed_process_left_in_a_journal_is_rolled_back),
		cmocka_unit_test(files_are_in_it_and_what_is_derived_or_secret_is_not),
		cmocka_unit_test(a_damaged_database_fails_it_unless_others_may_have_damaged_it),
		cmocka_unit_test(the_second_of_two_at_once_is_busy),
		cmocka_unit_test(one_that_is_cancelled_leaves_nothing),
		cmocka_unit_test(what_a_killed_one_left_is_removed_by_the_next),
		cmocka_unit_test(sessions_may_come_and_go_meanwhile),
		cmocka_unit_test(nothing_lives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

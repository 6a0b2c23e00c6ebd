/*
 * test_page_seals_beside.c - checking a database while others write and checkpoint it is no false
 * alarm, and a checkpoint that was killed leaves none behind.
 *
 * Writers keep the log short, so that checkpoints are under way most of the time. That seals are
 * missed or written beside their page would show here; tests/contract/test_page_seals.c holds what
 * is found.
 */
#include "page_findings.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { THREADS = 4, PROCESSES = 2, CHECKS = 60, KILLS = 25 };

struct shared {
	_Atomic int stop;
	_Atomic long written, failed;
};

static struct shared *shared;
static temp_folder folder;
static char path[128];

static int begin(void **state)
{
	kp_sql_conn *conn;

	(void)state;
	temp_folder_make(&folder);
	(void)temp_path(&folder, "a.db", path);
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	CHECK(shared != MAP_FAILED, "no memory");
	conn = open_sealed(path, false);
	write_sealed(conn, SEALED_TABLE);
	write_sealed(conn, SEALED_ROWS);
	kp_sql_close(&conn);
	return 0;
}

static int end(void **state)
{
	(void)state;
	(void)munmap(shared, sizeof *shared);
	temp_folder_remove(&folder);
	assert_nothing_lives();
	return 0;
}

/* One more change, and a checkpoint. */
static keep_status write_once(kp_sql_conn *conn, long turn, keep_error *err)
{
	static const char *const changes[] = {
		"UPDATE t SET n = n + 1 WHERE id % 7 = 1",
		"INSERT INTO t(n, text) SELECT 1, hex(randomblob(2500))",
		"DELETE FROM t WHERE id = (SELECT max(id) FROM t) AND id > 700",
		"UPDATE t SET text = hex(randomblob(150)) WHERE id % 50 = 3",
	};
	keep_status status = kp_sql_begin(conn, KP_SQL_WRITE, err);

	if (status == KEEP_OK)
		status = kp_sql_script(conn, changes[turn % 4], err);
	if (status == KEEP_OK)
		status = kp_sql_commit(conn, err);
	else
		kp_sql_rollback(conn);
	if (turn % 3 == 0)
		kp_sql_tend(conn);
	return status;
}

static keep_status open_writer(kp_sql_conn **conn, keep_error *err)
{
	kp_sql_options options = {
		.location = path, .relaxed = true, .timeout_ms = 60000, .mmap_bytes = 64 << 20};

	return kp_sql_open(&kp_sql_sqlite, &options, conn, err);
}

static void *keep_writing(void *ctx)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_conn *conn = NULL;
	keep_status status = open_writer(&conn, &err);

	(void)ctx;
	for (long turn = 0; status == KEEP_OK && !atomic_load(&shared->stop); turn++) {
		status = write_once(conn, turn, &err);
		atomic_fetch_add(&shared->written, 1);
	}
	if (status != KEEP_OK)
		atomic_fetch_add(&shared->failed, 1);
	kp_sql_close(&conn);
	return NULL;
}

static pid_t start_process(void)
{
	pid_t child = fork();

	CHECK(child >= 0, "fork");
	if (child == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)keep_writing(NULL);
		_exit(0);
	}
	return child;
}

static void wait_for_writes(long more)
{
	long wanted = atomic_load(&shared->written) + more;
	int64_t limit = kp_monotonic_ns() + INT64_C(60000000000) * test_patience();

	while (atomic_load(&shared->written) < wanted && atomic_load(&shared->failed) == 0) {
		struct timespec nap = {.tv_nsec = 200000};

		CHECK(kp_monotonic_ns() < limit, "nobody writes");
		(void)nanosleep(&nap, NULL);
	}
}

static void checks_beside_writers_find_nothing(void **state)
{
	static page_findings found;
	pid_t children[PROCESSES];
	pthread_t threads[THREADS];

	(void)state;
	for (int i = 0; i < PROCESSES; i++)
		children[i] = start_process();
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, keep_writing, NULL) == 0, "no thread");
	for (int i = 0; i < CHECKS; i++) {
		wait_for_writes(3);
		page_findings_of(path, i % 8 == 0, &found);
		CHECK(found.count == 0, "check %d: %s", i, found.items[0].message);
	}
	atomic_store(&shared->stop, 1);
	for (int i = 0; i < THREADS; i++)
		(void)pthread_join(threads[i], NULL);
	for (int i = 0; i < PROCESSES; i++)
		CHECK(waitpid(children[i], NULL, 0) == children[i], "wait");
	assert_int_equal(atomic_load(&shared->failed), 0);
	print_message("%d checks beside %ld writes\n", CHECKS, atomic_load(&shared->written));
	must_be_clean(path);
	assert_int_equal(count_seals(path, KP_SEAL_NONE), 0);
}

static void a_checkpoint_that_was_killed_leaves_no_false_alarm(void **state)
{
	static page_findings found;
	uint64_t seed = test_seed();

	(void)state;
	for (int i = 0; i < KILLS; i++) {
		pid_t child = start_process();
		struct timespec nap = {.tv_nsec = (long)(next_random(&seed) % 3000000)};

		wait_for_writes(2);
		(void)nanosleep(&nap, NULL); /* somewhere, which is the point */
		CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child, "kill");
		page_findings_of(path, i % 5 == 0, &found);
		CHECK(found.count == 0, "kill %d: %s", i, found.items[0].message);
		if (i % 4 == 0) { /* and what is done with it next is no damage either */
			kp_sql_conn *conn = open_sealed(path, false);

			kp_sql_close(&conn);
			assert_int_equal(count_seals(path, KP_SEAL_WRONG), 0);
		}
	}
	assert_int_equal(atomic_load(&shared->failed), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_checkpoint_that_was_killed_leaves_no_false_alarm,
						begin, end),
		cmocka_unit_test_setup_teardown(checks_beside_writers_find_nothing, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

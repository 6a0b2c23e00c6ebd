/*
 * test_page_seal_faults.c - the Nth failure while a database with seals is written, checkpointed,
 * checked and sealed anew, N = 1, 2, … until none fires.
 *
 * Whatever failed: afterwards no page has a wrong seal, and a check that failed told no damage that
 * is not there.
 */
#include "page_findings.h"
#include "sqlite_faults.h"
#include "torture.h"

struct round {
	temp_folder folder;
	char path[128];
	bool reports; /* a check found something */
};

/* In memory: a sync costs nothing there. */
static void make_folder(temp_folder *folder)
{
	(void)snprintf(folder->path, sizeof folder->path, "/dev/shm/keep-test-XXXXXX");
	CHECK(mkdtemp(folder->path), "no folder in /dev/shm");
}

static keep_status note_finding(void *ctx, const kp_sqlite_finding *finding, keep_error *err)
{
	struct round *round = ctx;

	(void)err;
	print_message("%s\n", finding->message);
	round->reports = true;
	return KEEP_OK;
}

static keep_status change(kp_sql_conn *conn, const char *sql, keep_error *err)
{
	keep_status status = kp_sql_begin(conn, KP_SQL_WRITE, err);

	if (status == KEEP_OK)
		status = kp_sql_script(conn, sql, err);
	if (status == KEEP_OK)
		return kp_sql_commit(conn, err);
	kp_sql_rollback(conn);
	return status;
}

static keep_status open_it(struct round *round, kp_sql_conn **conn, keep_error *err)
{
	kp_sql_options options = {.location = round->path, .create = true, .seal = true};

	return kp_sql_open(&kp_sql_sqlite, &options, conn, err);
}

/* No seal is wrong, and with no fault any more a check finds nothing. */
static void must_be_right(struct round *round)
{
	static page_findings found;

	if (access(round->path, F_OK) != 0 || size_of_file(round->path) == 0)
		return;
	assert_int_equal(count_seals(round->path, KP_SEAL_WRONG), 0);
	page_findings_of(round->path, true, &found);
	CHECK(found.damage == 0, "%s", found.items[0].message);
}

static keep_status write_and_checkpoint(void *ctx)
{
	struct round *round = ctx;
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_conn *conn = NULL;
	keep_status status;

	make_folder(&round->folder);
	(void)temp_path(&round->folder, "a.db", round->path);
	status = open_it(round, &conn, &err);
	if (status == KEEP_OK)
		status = change(conn, SEALED_TABLE, &err);
	if (status == KEEP_OK)
		status = change(conn, "INSERT INTO t(n, text) SELECT 1, hex(randomblob(9000))",
				&err);
	if (status == KEEP_OK)
		kp_sql_tend(conn);
	kp_sql_close(&conn);
	return status;
}

static long fired;

static keep_status write_round(void *ctx)
{
	keep_status status = write_and_checkpoint(ctx);
	struct round *round = ctx;

	fired = kp_fault_disarm(KP_FAULT_FILE) + kp_fault_disarm(KP_FAULT_ALLOC);
	must_be_right(round);
	temp_folder_remove(&round->folder);
	return status;
}

/* As torture, which cannot look after the faults have stopped. */
static void each_failure(enum kp_fault_kind kind, keep_status (*run)(void *ctx), unsigned expected)
{
	struct round round = {.reports = false};
	long rounds = 0;

	for (int persistent = 0; persistent <= 1; persistent++) {
		for (long nth = 1;; nth++) {
			keep_status status;

			kp_fault_arm(kind, nth, persistent);
			status = run(&round);
			assert_nothing_lives();
			CHECK((expected | MAY(KEEP_OK)) & MAY(status), "round %ld: %s", nth,
			      keep_status_name(status));
			if (fired == 0) {
				assert_int_equal(status, KEEP_OK);
				break;
			}
			rounds++;
		}
	}
	print_message("%ld rounds\n", rounds);
	assert_true(rounds > 20);
}

#define FAILURES                                                                                   \
	(MAY(KEEP_NO_MEMORY) | MAY(KEEP_UNAVAILABLE) | MAY(KEEP_FULL) | MAY(KEEP_UNCERTAIN) |      \
	 MAY(KEEP_CORRUPT) | MAY(KEEP_BUSY) | MAY(KEEP_NOT_FOUND) | MAY(KEEP_DENIED) |             \
	 MAY(KEEP_CONFLICT) | MAY(KEEP_INVALID) | MAY(KEEP_MISUSE))

static void a_failure_while_pages_are_written_leaves_no_wrong_seal(void **state)
{
	(void)state;
	each_failure(KP_FAULT_FILE, write_round, FAILURES);
	each_failure(KP_FAULT_ALLOC, write_round, FAILURES);
}

/* ---------------------------------------------------------------- checking and sealing */

static temp_folder kept;
static char kept_path[128];

static keep_status check_round(void *ctx)
{
	struct round *round = ctx;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;

	round->reports = false;
	status = kp_sqlite_check_file(kept_path, note_finding, round, &err);
	fired = kp_fault_disarm(KP_FAULT_FILE) + kp_fault_disarm(KP_FAULT_ALLOC);
	CHECK(!round->reports, "a failure was taken for damage");
	return status;
}

static keep_status reseal_round(void *ctx)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;

	(void)ctx;
	status = kp_sqlite_reseal(kept_path, &err);
	fired = kp_fault_disarm(KP_FAULT_FILE) + kp_fault_disarm(KP_FAULT_ALLOC);
	assert_int_equal(count_seals(kept_path, KP_SEAL_WRONG), 0);
	/* and what it did not come to is to be done again */
	run_stock(kept_path, "UPDATE t SET n = n + 1; PRAGMA wal_checkpoint(TRUNCATE)");
	OK(kp_sqlite_reseal(kept_path, &err));
	assert_int_equal(count_seals(kept_path, KP_SEAL_NONE), 0);
	return status;
}

static int keep_one(void **state)
{
	kp_sql_conn *conn;

	(void)state;
	make_folder(&kept);
	(void)temp_path(&kept, "a.db", kept_path);
	conn = open_sealed(kept_path, false);
	write_sealed(conn, SEALED_TABLE);
	write_sealed(conn, "INSERT INTO t(n, text) SELECT 0, hex(randomblob(20000))");
	kp_sql_close(&conn);
	return 0;
}

static int drop_one(void **state)
{
	(void)state;
	temp_folder_remove(&kept);
	assert_nothing_lives();
	return 0;
}

static void a_check_that_fails_tells_no_damage(void **state)
{
	(void)state;
	each_failure(KP_FAULT_ALLOC, check_round, FAILURES & ~MAY(KEEP_CORRUPT));
	each_failure(KP_FAULT_FILE, check_round, FAILURES & ~MAY(KEEP_CORRUPT));
}

static void sealing_that_fails_can_be_done_again(void **state)
{
	(void)state;
	each_failure(KP_FAULT_FILE, reseal_round, FAILURES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failure_while_pages_are_written_leaves_no_wrong_seal),
		cmocka_unit_test_setup_teardown(a_check_that_fails_tells_no_damage, keep_one,
						drop_one),
		cmocka_unit_test_setup_teardown(sealing_that_fails_can_be_done_again, keep_one,
						drop_one),
	};

	sqlite_faults_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}

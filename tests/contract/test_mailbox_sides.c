/*
 * test_mailbox_sides.c - one side of a session on SQLite: what stands between its use and the other
 * side's.
 *
 *     test_mailbox_sides sqlite
 */
#include "mailbox_fixture.h"
#include "shared_maps.h"

#include "mailbox/mailbox_private.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

static keep_error err = KEEP_ERROR_INIT;

static const char *path_of(const char *session, const char *name)
{
	static char path[800];

	snprintf(path, sizeof path, "%s/%s", mailbox_folder(session), name);
	return path;
}

/* One statement of a program that knows nothing of us. */
static int run_plain(const char *path, const char *sql)
{
	sqlite3 *db = NULL;
	int rc = sqlite3_open(path, &db);

	if (rc == SQLITE_OK)
		rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
	sqlite3_close(db);
	return rc;
}

static void open_side(kp_side *side, const char *session, bool mount_safe)
{
	OK(kp_side_init(side, KP_SIDE_AGENT, mailbox_folder(session), NULL, &err));
	side->mount_safe = mount_safe;
	side->timeout_ms = 5000;
}

/* ---------------------------------------------------------------- journals */

static void a_host_at_rest_does_not_keep_a_source_agent_from_its_journal(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	char session[KEEP_SEGMENT_MAX + 1];

	(void)state;
	mailbox_session(mailbox, NULL, session);
	(void)mailbox_post(mailbox, session, "{}");
	assert_int_equal(run_plain(path_of(session, "outbound.db"), "PRAGMA journal_mode = DELETE"),
			 SQLITE_OK);
	assert_int_equal(run_plain(path_of(session, "outbound.db"),
				   "INSERT OR REPLACE INTO processing_ack (message_id, status, "
				   "status_changed) VALUES ('m', 'completed', datetime('now'))"),
			 SQLITE_OK);
	(void)mailbox_post(mailbox, session, "{}");
	keep_mailbox_close(&mailbox);
	keep_zone_forget();
	assert_nothing_lives();
}

static keep_status count_rows(void *ctx, kp_lease *lease, keep_error *error)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status =
		kp_sql_prepare(lease->conn, "SELECT count(*) FROM messages_in", &stmt, error);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, error);
	if (status == KEEP_OK)
		status = kp_sql_column_int(stmt, 0, ctx, error);
	kp_sql_finish(&stmt);
	return status;
}

static void without_common_memory_a_connection_lives_for_one_use(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	char session[KEEP_SEGMENT_MAX + 1];
	int64_t rows = 0;
	kp_side side;

	(void)state;
	mailbox_session(mailbox, NULL, session);
	for (int safe = 0; safe <= 1; safe++) {
		open_side(&side, session, safe);
		OK(kp_side_read(&side, count_rows, &rows, &err));
		assert_int_equal(side.lease.conn == NULL, safe);
		kp_side_release(&side);
	}
	keep_mailbox_close(&mailbox);
	keep_zone_forget();
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- what was torn */

struct torn {
	int times; /* so often it is */
	int calls;
};

static keep_status read_torn(void *ctx, kp_lease *lease, keep_error *error)
{
	struct torn *torn = ctx;
	int64_t rows = 0;

	if (++torn->calls > torn->times)
		return count_rows(&rows, lease, error);
	if (kp_fail(error, KEEP_CORRUPT, "a page is malformed") == KEEP_CORRUPT)
		error->native = SQLITE_CORRUPT;
	return KEEP_CORRUPT;
}

static void a_torn_read_is_read_again_where_locks_do_not_reach(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	char session[KEEP_SEGMENT_MAX + 1];
	struct torn some = {.times = 3}, all = {.times = 1000};
	kp_side side;

	(void)state;
	mailbox_session(mailbox, NULL, session);
	open_side(&side, session, true);
	OK(kp_side_read(&side, read_torn, &some, &err));
	assert_int_equal(some.calls, 4);
	some.calls = 0;
	OK(kp_side_change(&side, KP_SQL_WRITE, read_torn, &some, &err));
	assert_int_equal(some.calls, 4);
	assert_int_equal(kp_side_read(&side, read_torn, &all, &err), KEEP_CORRUPT);
	assert_in_range(all.calls, 5, 20); /* it is damaged after all */
	CHECK(strstr(err.message, "malformed"), "%s", err.message);
	kp_side_release(&side);
	keep_mailbox_close(&mailbox);
	keep_zone_forget();
	assert_nothing_lives();
}

static void on_one_kernel_what_is_corrupt_is_told_at_once(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	char session[KEEP_SEGMENT_MAX + 1];
	struct torn torn = {.times = 3};
	kp_side side;

	(void)state;
	mailbox_session(mailbox, NULL, session);
	open_side(&side, session, false);
	assert_int_equal(kp_side_read(&side, read_torn, &torn, &err), KEEP_CORRUPT);
	assert_int_equal(torn.calls, 1);
	kp_side_release(&side);
	keep_mailbox_close(&mailbox);
	keep_zone_forget();
	assert_nothing_lives();
}

static void each_poll_without_common_memory_sees_what_was_written_since(void **state)
{
	keep_mailbox_options options = KEEP_MAILBOX_OPTIONS_INIT;
	keep_mailbox *mailbox = mailbox_fresh();
	char session[KEEP_SEGMENT_MAX + 1];
	kp_side side;

	(void)state;
	mailbox_session(mailbox, NULL, session);
	keep_mailbox_close(&mailbox);
	options.mount_safe = true;
	OK(mailbox_open_with(&options, &mailbox, &err));
	open_side(&side, session, true);
	for (int64_t i = 1; i <= 5; i++) {
		int64_t rows = 0;

		(void)mailbox_post(mailbox, session, "{}");
		shared_maps = 0;
		OK(kp_side_read(&side, count_rows, &rows, &err));
		assert_int_equal(rows, i);
		assert_int_equal(shared_maps, 0);
	}
	kp_side_release(&side);
	keep_mailbox_close(&mailbox);
	keep_zone_forget();
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_host_at_rest_does_not_keep_a_source_agent_from_its_journal),
		cmocka_unit_test(without_common_memory_a_connection_lives_for_one_use),
		cmocka_unit_test(a_torn_read_is_read_again_where_locks_do_not_reach),
		cmocka_unit_test(on_one_kernel_what_is_corrupt_is_told_at_once),
		cmocka_unit_test(each_poll_without_common_memory_sees_what_was_written_since),
	};
	int failed;

	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mailbox_end();
	return failed;
}

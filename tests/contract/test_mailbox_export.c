/*
 * test_mailbox_export.c - contracts/mailbox.md: a session is copied into a folder that an agent
 * opens.
 *
 *     test_mailbox_export sqlite|postgres
 */
#include "mailbox_fixture.h"

#include "keep/schedule.h"
#include "sql/sql.h"
#include "temp_folder.h"

#include <sys/stat.h>
#include <unistd.h>

static void assert_all_is_freed(void)
{
	keep_zone_forget();
	assert_nothing_lives();
}

/* The first column of the first row of a file, opened as any program would. */
static const char *ask_file(const char *folder, const char *name, const char *sql)
{
	static char text[200];
	char path[800];
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_options options = {.location = path, .read_only = true, .journal = KP_JOURNAL_AS_IS};
	kp_sql_conn *conn = NULL;
	kp_sql_stmt *stmt = NULL;
	kp_value value = {.is_null = true};
	bool has_row = false;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	OK(kp_sql_open(&kp_sql_sqlite, &options, &conn, &err));
	OK(kp_sql_prepare(conn, sql, &stmt, &err));
	OK(kp_sql_step(stmt, &has_row, &err));
	if (has_row)
		OK(kp_sql_column(stmt, 0, KP_TEXT, &value, &err));
	snprintf(text, sizeof text, "%.*s", value.is_null ? 0 : (int)value.bytes.len,
		 value.is_null ? "" : value.bytes.data);
	kp_sql_finish(&stmt);
	kp_sql_close(&conn);
	return text;
}

/* Two messages with a file where there are files, one of them answered. */
static void fill(keep_mailbox *mailbox, const char *session)
{
	keep_file file = {KEEP_BYTES("a.txt"), KEEP_BYTES("hello")};
	keep_post post = {.id = KEEP_BYTES("m1"),
			  .content = KEEP_BYTES("{\"text\":\"one\"}"),
			  .channel_type = KEEP_BYTES("telegram"),
			  .platform_id = KEEP_BYTES("42"),
			  .files = &file,
			  .file_count = mailbox_is_file()};
	keep_send reply = {.content = KEEP_BYTES("{\"text\":\"hi\"}")};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_agent *agent = mailbox_agent(mailbox, session);
	keep_post_result result;
	keep_claim_list claims;
	keep_claim_ref ref;
	keep_sent sent;

	OK(keep_mailbox_wake(mailbox, keep_bytes_of(session), KEEP_NOW, NULL, &err));
	OK(keep_mailbox_post(mailbox, keep_bytes_of(session), &post, &result, &err));
	OK(keep_agent_claim(agent, NULL, KEEP_NOW, &memory, &claims, &err));
	ref = (keep_claim_ref){claims.items[0].message.id, claims.items[0].attempt};
	OK(keep_agent_complete_with(agent, &ref, 1, &reply, 1, KEEP_NOW, &sent, &err));
	OK(keep_agent_state_set(agent, KEEP_BYTES("k"), KEEP_BYTES("v"), KEEP_NOW, &err));
	(void)mailbox_post(mailbox, session, "{\"text\":\"two\"}");
	keep_agent_close(&agent);
	keep_memory_release(&memory);
}

static void an_exported_session_opens_with_an_agent_and_with_the_sources_tables(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char session[KEEP_SEGMENT_MAX + 1], folder[600], path[700];
	temp_folder place;
	keep_claim_list claims;
	keep_session_value value;
	keep_agent *agent = NULL;
	struct stat st;

	(void)state;
	temp_folder_make(&place);
	snprintf(folder, sizeof folder, "%s/copy", place.path);
	mailbox_session(mailbox, NULL, session);
	fill(mailbox, session);
	OK(keep_mailbox_export_session(mailbox, keep_bytes_of(session), folder, &err));
	assert_int_equal(keep_mailbox_export_session(mailbox, keep_bytes_of(session), folder, &err),
			 KEEP_CONFLICT);
	assert_string_equal(ask_file(folder, "inbound.db",
				     "SELECT content FROM messages_in WHERE id = 'm1' AND seq = 2 "
				     "AND kind = 'chat' AND platform_id = '42' AND tries = 0"),
			    "{\"text\":\"one\"}");
	assert_string_equal(ask_file(folder, "inbound.db",
				     "SELECT platform_id FROM session_routing WHERE id = 1"),
			    "42");
	assert_string_equal(ask_file(folder, "outbound.db",
				     "SELECT in_reply_to || kind || seq FROM messages_out"),
			    "m1chat3");
	assert_string_equal(ask_file(folder, "outbound.db",
				     "SELECT status FROM processing_ack WHERE message_id = 'm1'"),
			    "completed");
	if (mailbox_is_file()) {
		snprintf(path, sizeof path, "%s/inbox/m1/a.txt", folder);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_size, 5);
	}
	OK(keep_agent_open(folder, NULL, &agent, &err));
	assert_bytes_equal(keep_agent_session_id(agent), keep_bytes_of(session));
	OK(keep_agent_claim(agent, NULL, KEEP_NOW, &memory, &claims, &err));
	assert_int_equal(claims.count, 1);
	assert_bytes_equal(claims.items[0].message.content, KEEP_BYTES("{\"text\":\"two\"}"));
	OK(keep_agent_state_get(agent, KEEP_BYTES("k"), &memory, &value, &err));
	assert_bytes_equal(value.value, KEEP_BYTES("v"));
	keep_agent_close(&agent);
	/* The session itself is as it was. */
	agent = mailbox_agent(mailbox, session);
	OK(keep_agent_claim(agent, NULL, KEEP_NOW, &memory, &claims, &err));
	assert_int_equal(claims.count, 1);
	keep_agent_close(&agent);
	keep_memory_release(&memory);
	keep_mailbox_close(&mailbox);
	temp_folder_remove(&place);
	assert_all_is_freed();
}

static void links_of_an_agent_lead_nowhere_in_the_copy(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	keep_error err = KEEP_ERROR_INIT;
	char session[KEEP_SEGMENT_MAX + 1], folder[600], path[900], from[700];
	temp_folder place;
	struct stat st;

	(void)state;
	temp_folder_make(&place);
	snprintf(folder, sizeof folder, "%s/copy", place.path);
	mailbox_session(mailbox, NULL, session);
	if (mailbox_is_file()) {
		fill(mailbox, session);
		snprintf(from, sizeof from, "%s", mailbox_folder(session));
		snprintf(path, sizeof path, "%s/outbox", from);
		assert_int_equal(symlink("/etc", path), 0);
		snprintf(path, sizeof path, "%s/inbox/m1/link", from);
		assert_int_equal(symlink("/etc/passwd", path), 0);
		snprintf(path, sizeof path, "%s/inbox/m1/pipe", from);
		assert_int_equal(mkfifo(path, 0600), 0);
		OK(keep_mailbox_export_session(mailbox, keep_bytes_of(session), folder, &err));
		snprintf(path, sizeof path, "%s/outbox", folder);
		assert_int_not_equal(lstat(path, &st), 0);
		snprintf(path, sizeof path, "%s/inbox/m1/link", folder);
		assert_int_not_equal(lstat(path, &st), 0);
		snprintf(path, sizeof path, "%s/inbox/m1/a.txt", folder);
		assert_int_equal(lstat(path, &st), 0);
	}
	keep_mailbox_close(&mailbox);
	temp_folder_remove(&place);
	assert_all_is_freed();
}

static void an_export_that_fails_leaves_nothing(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	keep_error err = KEEP_ERROR_INIT;
	char session[KEEP_SEGMENT_MAX + 1], folder[600];
	temp_folder place;

	(void)state;
	temp_folder_make(&place);
	mailbox_session(mailbox, NULL, session);
	snprintf(folder, sizeof folder, "%s/copy", place.path);
	assert_int_equal(keep_mailbox_export_session(mailbox, KEEP_BYTES("nobody"), folder, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(keep_mailbox_export_session(mailbox, KEEP_BYTES("../x"), folder, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_mailbox_export_session(mailbox, keep_bytes_of(session), "", &err),
			 KEEP_INVALID);
	snprintf(folder, sizeof folder, "%s/none/copy", place.path);
	assert_int_equal(keep_mailbox_export_session(mailbox, keep_bytes_of(session), folder, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(rmdir(place.path), 0); /* it is empty */
	keep_mailbox_close(&mailbox);
	assert_all_is_freed();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			an_exported_session_opens_with_an_agent_and_with_the_sources_tables),
		cmocka_unit_test(links_of_an_agent_lead_nowhere_in_the_copy),
		cmocka_unit_test(an_export_that_fails_leaves_nothing),
	};
	int failed;

	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mailbox_end();
	return failed;
}

/*
 * test_mailbox_agents.c - contracts/mailbox.md: a message to another agent is posted once, into the
 * session that it belongs to, with its files, or refused with a reason.
 *
 *     test_mailbox_agents sqlite|postgres
 */
#include "mailbox_steps.h"

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

static keep_mailbox *mailbox;
static char session[KEEP_SEGMENT_MAX + 1];

static void make_group(const char *id)
{
	char sql[300];

	snprintf(sql, sizeof sql,
		 "INSERT INTO agent_groups (id, name, folder, created_at) VALUES "
		 "('%s', '%s', '%s', '2026-01-01T00:00:00.000Z')",
		 id, id, id);
	(void)mailbox_sql(NULL, NULL, sql);
}

static int begin_test(void **state)
{
	(void)state;
	hold_clock("2026-04-11T08:00:00Z");
	mailbox = mailbox_fresh();
	mailbox_session(mailbox, NULL, session);
	make_group("bea");
	return 0;
}

static int end_test(void **state)
{
	(void)state;
	keep_mailbox_close(&mailbox);
	kp_clock_inject(NULL, NULL);
	keep_zone_forget(); /* a cache */
	assert_nothing_lives();
	return 0;
}

/* The reason of a refusal, "" for none. */
static const char *hand_as(const char *key, const char *from, const char *to, const char *id,
			   const char *content, const char *in_reply_to)
{
	static char reason[300];
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_session row;
	keep_bytes refused;
	keep_outbound_message message = {.id = keep_bytes_of(id),
					 .kind = KEEP_BYTES("chat"),
					 .channel_type = KEEP_BYTES("agent"),
					 .platform_id = keep_bytes_of(to),
					 .content = keep_bytes_of(content)};

	if (in_reply_to)
		message.in_reply_to = keep_bytes_of(in_reply_to);
	OK(keep_mailbox_get_session(mailbox, keep_bytes_of(from), &memory, &row, &err));
	OK(kp_agent_to_agent(mailbox, &row, &message, keep_bytes_of(key), mailbox_now, &memory,
			     &refused, &err));
	snprintf(reason, sizeof reason, "%.*s", (int)refused.len, refused.len ? refused.data : "");
	keep_memory_release(&memory);
	return reason;
}

static const char *hand(const char *from, const char *to, const char *id, const char *content,
			const char *in_reply_to)
{
	return hand_as(id, from, to, id, content, in_reply_to);
}

/* The one message of a session. */
static keep_inbound_message only_message(const char *of, keep_memory *memory)
{
	keep_inbound_message_list list;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_mailbox_messages(mailbox, keep_bytes_of(of), (keep_bytes){.data = NULL}, 0, 0,
				 memory, &list, &err));
	assert_int_equal(list.count, 1);
	return list.items[0];
}

/* The shared session of an agent, made if need be. */
static void shared_session(const char *group, char id[KEEP_SEGMENT_MAX + 1])
{
	keep_session_place place = {.agent_group_id = keep_bytes_of(group),
				    .session_mode = KEEP_BYTES("agent-shared")};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_session row;

	OK(keep_mailbox_resolve_session(mailbox, &place, mailbox_now, &memory, &row, NULL, &err));
	snprintf(id, KEEP_SEGMENT_MAX + 1, "%.*s", (int)row.id.len, row.id.data);
	keep_memory_release(&memory);
}

static void a_message_arrives_once_in_the_shared_session_which_is_made(void **state)
{
	char target[KEEP_SEGMENT_MAX + 1];
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_inbound_message message;

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_string_equal(hand(session, "bea", "out-1", "{\"text\":\"hi\"}", NULL), "");
	shared_session("bea", target);
	message = only_message(target, &memory);
	assert_bytes_equal(message.kind, KEEP_BYTES("chat"));
	assert_bytes_equal(message.content, KEEP_BYTES("{\"text\":\"hi\"}"));
	assert_bytes_equal(message.channel_type, KEEP_BYTES("agent"));
	assert_bytes_equal(message.platform_id, KEEP_BYTES(MAILBOX_AGENT));
	assert_bytes_equal(message.source_session_id, keep_bytes_of(session));
	assert_bytes_equal(message.source_out_id, KEEP_BYTES("out-1"));
	assert_null(message.thread_id.data);
	assert_int_equal(strncmp(message.id.data, "a2a-", 4), 0);
	assert_string_equal(hand(session, "bea", "out-2", "{\"text\":\"hi\"}", NULL), "");
	keep_memory_release(&memory);
}

static void an_answer_goes_to_the_session_that_asked(void **state)
{
	char target[KEEP_SEGMENT_MAX + 1], asked[KEEP_SEGMENT_MAX + 1], id[KEEP_SEGMENT_MAX + 1];
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_inbound_message message;

	(void)state;
	assert_string_equal(hand(session, "bea", "out-1", "{\"text\":\"?\"}", NULL), "");
	shared_session("bea", target);
	shared_session(MAILBOX_AGENT, asked); /* not the one that asked */
	message = only_message(target, &memory);
	snprintf(id, sizeof id, "%.*s", (int)message.id.len, message.id.data);
	assert_string_equal(hand(target, MAILBOX_AGENT, "back-1", "{\"text\":\"!\"}", id), "");
	message = only_message(session, &memory);
	assert_bytes_equal(message.content, KEEP_BYTES("{\"text\":\"!\"}"));
	assert_bytes_equal(message.platform_id, KEEP_BYTES("bea"));
	/* to somebody else than who asked: that one's shared session, not the asker's */
	make_group("cleo");
	assert_string_equal(hand(target, "cleo", "back-2", "{\"text\":\"!\"}", id), "");
	assert_int_equal(count_inbound(session, "messages_in"), 1);
	keep_memory_release(&memory);
}

static void a_made_up_in_reply_to_leads_to_the_shared_session(void **state)
{
	char target[KEEP_SEGMENT_MAX + 1];

	(void)state;
	assert_string_equal(hand(session, "bea", "out-1", "{\"text\":\"?\"}", "nothing"), "");
	shared_session("bea", target);
	assert_int_equal(count_inbound(session, "messages_in"), 0);
}

static void a_missing_agent_and_a_bad_name_are_refused(void **state)
{
	(void)state;
	assert_non_null(strstr(hand(session, "nobody", "o", "{}", NULL), "'nobody'"));
	assert_non_null(strstr(hand(session, "../bea", "o", "{}", NULL), "agent"));
	assert_non_null(strstr(hand(session, "bea", "../o", "{}", NULL), "message id"));
	assert_non_null(strstr(hand(session, "bea", "o", "{\"files\":5}", NULL), "files"));
	assert_non_null(strstr(hand(session, "bea", "o", "{\"files\":[\"../x\"]}", NULL), "file"));
	assert_non_null(strstr(hand(session, "bea", "o", "{\"files\":[7]}", NULL), "files"));
}

static void set_closed(const char *of)
{
	char sql[200];

	snprintf(sql, sizeof sql, "UPDATE session_host SET closed = %s WHERE session = '%s'",
		 mailbox_is_file() ? "1" : "true", of);
	if (mailbox_is_file()) {
		char path[700];
		keep_error err = KEEP_ERROR_INIT;
		kp_sql_conn *conn = NULL;
		kp_sql_options options = {.location = path, .journal = KP_JOURNAL_AS_IS};

		snprintf(path, sizeof path, "%.*s/bea/%s/inbound.db",
			 (int)(strstr(mailbox_folder("x"), "/" MAILBOX_AGENT "/x") -
			       mailbox_folder("x")),
			 mailbox_folder("x"), of);
		OK(kp_sql_open(&kp_sql_sqlite, &options, &conn, &err));
		OK(kp_sql_script(conn, sql, &err));
		kp_sql_close(&conn);
	} else {
		(void)mailbox_sql(of, "inbound.db", sql);
	}
	snprintf(sql, sizeof sql,
		 "UPDATE sessions SET status = 'closed', anchor = NULL WHERE id = '%s'", of);
	(void)mailbox_sql(NULL, NULL, sql);
}

static void a_repetition_goes_where_the_first_try_went_also_when_that_is_closed(void **state)
{
	char first[KEEP_SEGMENT_MAX + 1], second[KEEP_SEGMENT_MAX + 1];

	(void)state;
	assert_string_equal(hand(session, "bea", "out-1", "{}", NULL), "");
	shared_session("bea", first);
	set_closed(first);
	assert_string_equal(hand(session, "bea", "out-1", "{}", NULL), "");
	shared_session("bea", second);
	assert_string_not_equal(first, second);
	assert_string_equal(hand(session, "bea", "out-2", "{}", NULL), "");
	{
		keep_memory memory = KEEP_MEMORY_INIT;

		assert_bytes_equal(only_message(first, &memory).source_out_id, KEEP_BYTES("out-1"));
		assert_bytes_equal(only_message(second, &memory).source_out_id,
				   KEEP_BYTES("out-2"));
		keep_memory_release(&memory);
	}
}

static void an_answer_to_a_closed_session_is_refused(void **state)
{
	char target[KEEP_SEGMENT_MAX + 1], id[KEEP_SEGMENT_MAX + 1];
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_inbound_message message;

	(void)state;
	/* bea's shared session asks ada's, and is closed before ada answers */
	shared_session("bea", target);
	shared_session(MAILBOX_AGENT, session);
	assert_string_equal(hand(target, MAILBOX_AGENT, "out-1", "{}", NULL), "");
	message = only_message(session, &memory);
	snprintf(id, sizeof id, "%.*s", (int)message.id.len, message.id.data);
	set_closed(target);
	assert_non_null(strstr(hand(session, "bea", "back", "{}", id), "closed"));
	keep_memory_release(&memory);
}

static void sessions_with_other_names_get_ids_that_are_told_apart(void **state)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	char target[KEEP_SEGMENT_MAX + 1], long_id[129];
	keep_inbound_message message;

	(void)state;
	memset(long_id, 'x', 128);
	long_id[128] = '\0';
	assert_string_equal(hand(session, "bea", long_id, "{}", NULL), "");
	assert_string_equal(hand(session, "bea", long_id, "{}", NULL), "");
	shared_session("bea", target);
	message = only_message(target, &memory);
	assert_int_equal(message.id.len, 68);
	assert_bytes_equal(message.source_out_id, keep_bytes_of(long_id));
	keep_memory_release(&memory);
}

/* ---------------------------------------------------------------- recurrences */

static int64_t handled_by_collect(void)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_collection found;
	keep_error err = KEEP_ERROR_INIT;
	int64_t handled;

	OK(keep_mailbox_collect(mailbox, keep_bytes_of(session), 0, mailbox_now, &memory, &found,
				&err));
	assert_int_equal(found.refused, 0);
	handled = found.handled;
	keep_memory_release(&memory);
	return handled;
}

static int count_of(const char *target)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_inbound_message_list list;
	keep_error err = KEEP_ERROR_INIT;
	int count;

	OK(keep_mailbox_messages(mailbox, keep_bytes_of(target), (keep_bytes){.data = NULL}, 0, 0,
				 &memory, &list, &err));
	count = (int)list.count;
	for (int i = 0; i < count; i++) {
		assert_bytes_equal(list.items[i].content, KEEP_BYTES("{\"text\":\"report\"}"));
		assert_bytes_equal(list.items[i].source_out_id, KEEP_BYTES("daily"));
		OK(kp_check_segment("id", list.items[i].id, &err));
	}
	keep_memory_release(&memory);
	return count;
}

static void each_occurrence_of_a_recurrence_arrives_once(void **state)
{
	static const char *const days[] = {"2026-04-12T09:00:00Z", "2026-04-13T09:00:00Z"};
	char target[KEEP_SEGMENT_MAX + 1];
	keep_send send = {.id = KEEP_BYTES("daily"),
			  .content = KEEP_BYTES("{\"text\":\"report\"}"),
			  .to = KEEP_BYTES("bea"),
			  .recurrence = KEEP_BYTES("0 9 * * *")};
	keep_error err = KEEP_ERROR_INIT;
	keep_agent *agent;
	keep_sent sent;

	(void)state;
	(void)mailbox_sql(NULL, NULL,
			  "INSERT INTO agent_destinations (agent_group_id, name, type, "
			  "target_agent_group_id) VALUES ('" MAILBOX_AGENT
			  "', 'bea', 'agent', 'bea')");
	OK(keep_mailbox_wake(mailbox, keep_bytes_of(session), mailbox_now, NULL, &err));
	agent = mailbox_agent(mailbox, session);
	OK(keep_agent_send(agent, &send, mailbox_now, &sent, &err));
	keep_agent_close(&agent);
	hold_clock("2026-04-11T09:00:00Z");
	assert_int_equal(handled_by_collect(), 1);
	shared_session("bea", target);
	for (int i = 0; i < (int)KP_COUNT(days); i++) {
		assert_int_equal(count_of(target), i + 1);
		assert_int_equal(handled_by_collect(), 0);
		hold_clock(days[i]);
		assert_int_equal(handled_by_collect(), 1);
	}
	assert_int_equal(count_of(target), 3);
	/* handed over before a crash, and again: the same key is the same message */
	assert_string_equal(hand_as("daily@2026-04-13T09:00:00.000Z", session, "bea", "daily",
				    "{\"text\":\"report\"}", NULL),
			    "");
	assert_int_equal(count_of(target), 3);
}

/* ---------------------------------------------------------------- files */

static void put_outbox_file(const char *id, const char *name, const char *text, const char *link)
{
	char path[900];
	FILE *file;

	snprintf(path, sizeof path, "%s/outbox", mailbox_folder(session));
	(void)mkdir(path, 0755);
	snprintf(path, sizeof path, "%s/outbox/%s", mailbox_folder(session), id);
	(void)mkdir(path, 0755);
	snprintf(path, sizeof path, "%s/outbox/%s/%s", mailbox_folder(session), id, name);
	if (link) {
		assert_int_equal(symlink(link, path), 0);
		return;
	}
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void files_come_along_and_no_link_is_followed(void **state)
{
	static const char content[] = "{\"text\":\"see\",\"files\":[\"a b.txt\"]}";
	char target[KEEP_SEGMENT_MAX + 1], id[KEEP_SEGMENT_MAX + 1], folder[700];
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_buffer bytes = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_inbound_message message;

	(void)state;
	if (!mailbox_is_file()) {
		assert_non_null(strstr(hand(session, "bea", "out-1", content, NULL), "folders"));
		return;
	}
	put_outbox_file("out-1", "a b.txt", "hello", NULL);
	put_outbox_file("out-2", "evil", NULL, "/etc/passwd");
	assert_string_equal(hand(session, "bea", "out-1", content, NULL), "");
	assert_non_null(
		strstr(hand(session, "bea", "out-2", "{\"files\":[\"evil\"]}", NULL), "evil"));
	assert_non_null(*hand(session, "bea", "out-3", "{\"files\":[\"none\"]}", NULL) ? "x"
										       : NULL);
	shared_session("bea", target);
	message = only_message(target, &memory);
	snprintf(id, sizeof id, "%.*s", (int)message.id.len, message.id.data);
	assert_non_null(strstr(message.content.data, "\"attachments\":[{\"type\":\"file\","));
	assert_non_null(strstr(message.content.data, "/a b.txt\""));
	snprintf(folder, sizeof folder, "%.*s/bea/%s",
		 (int)(strstr(mailbox_folder("x"), "/" MAILBOX_AGENT "/x") - mailbox_folder("x")),
		 mailbox_folder("x"), target);
	OK(kp_file_of_message(folder, "inbox", keep_bytes_of(id), KEEP_BYTES("a b.txt"), &bytes,
			      &err));
	assert_bytes_equal(kp_buffer_bytes(&bytes), KEEP_BYTES("hello"));
	/* posted already: a file that is gone or changed since is no matter */
	put_outbox_file("out-1", "a b.txt", "changed", NULL);
	assert_string_equal(hand(session, "bea", "out-1", content, NULL), "");
	keep_buffer_release(&bytes);
	keep_memory_release(&memory);
}

/* ---------------------------------------------------------------- threads */

static void *hand_in_a_thread(void *arg)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_bytes refused = {.data = NULL};
	keep_session row;
	keep_outbound_message message = {.id = KEEP_BYTES("out-1"),
					 .kind = KEEP_BYTES("chat"),
					 .channel_type = KEEP_BYTES("agent"),
					 .platform_id = KEEP_BYTES("bea"),
					 .content = KEEP_BYTES("{}")};
	keep_status status =
		keep_mailbox_get_session(mailbox, keep_bytes_of(session), &memory, &row, &err);

	if (status == KEEP_OK)
		status = kp_agent_to_agent(mailbox, &row, &message, message.id, mailbox_now,
					   &memory, &refused, &err);
	*(bool *)arg = status == KEEP_OK && !refused.data;
	keep_memory_release(&memory);
	return NULL;
}

static void threads_that_hand_over_at_once_post_one_message(void **state)
{
	enum { THREADS = 8 };
	char target[KEEP_SEGMENT_MAX + 1];
	keep_memory memory = KEEP_MEMORY_INIT;
	pthread_t threads[THREADS];
	bool good[THREADS];

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hand_in_a_thread, &good[i]), 0);
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_true(good[i]);
	}
	shared_session("bea", target);
	(void)only_message(target, &memory);
	keep_memory_release(&memory);
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_test, end_test)
	const struct CMUnitTest tests[] = {
		TEST(a_message_arrives_once_in_the_shared_session_which_is_made),
		TEST(an_answer_goes_to_the_session_that_asked),
		TEST(a_made_up_in_reply_to_leads_to_the_shared_session),
		TEST(a_missing_agent_and_a_bad_name_are_refused),
		TEST(a_repetition_goes_where_the_first_try_went_also_when_that_is_closed),
		TEST(an_answer_to_a_closed_session_is_refused),
		TEST(sessions_with_other_names_get_ids_that_are_told_apart),
		TEST(each_occurrence_of_a_recurrence_arrives_once),
		TEST(files_come_along_and_no_link_is_followed),
		TEST(threads_that_hand_over_at_once_post_one_message),
	};
	int failed;

	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mailbox_end();
	return failed;
}

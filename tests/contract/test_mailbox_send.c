/*
 * test_mailbox_send.c - contracts/mailbox.md: what an agent says, changes and reacts to.
 *
 *     test_mailbox_send sqlite|postgres
 */
#include "mailbox_fixture.h"

#include <sys/stat.h>
#include <unistd.h>

static keep_error err = KEEP_ERROR_INIT;
static keep_memory memory = KEEP_MEMORY_INIT;
static keep_mailbox *mailbox;
static keep_agent *agent;
static char session[KEEP_SEGMENT_MAX + 1];

static void begin(void)
{
	mailbox = mailbox_fresh();
	mailbox_session(mailbox, NULL, session);
	agent = mailbox_agent(mailbox, session);
}

static void end(void)
{
	keep_agent_close(&agent);
	keep_mailbox_close(&mailbox);
	keep_memory_release(&memory);
	keep_zone_forget(); /* a cache */
	assert_nothing_lives();
}

static void set_route(const char *channel, const char *chat, const char *thread)
{
	const char *shared = mailbox_is_file() ? "" : "session_id, ";
	char sql[500], owner[KEEP_SEGMENT_MAX + 8] = "";

	if (!mailbox_is_file())
		snprintf(owner, sizeof owner, "'%s', ", session);
	snprintf(sql, sizeof sql,
		 "INSERT INTO session_routing (%sid, channel_type, platform_id, thread_id) VALUES "
		 "(%s1, '%s', '%s', '%s') ON CONFLICT (%sid) DO UPDATE SET channel_type = "
		 "excluded.channel_type, platform_id = excluded.platform_id, thread_id = "
		 "excluded.thread_id",
		 shared, owner, channel, chat, thread, shared);
	(void)mailbox_sql(session, "inbound.db", sql);
}

static void add_destination(const char *name, const char *channel, const char *where)
{
	char sql[400];
	bool is_agent = strcmp(channel, "agent") == 0;

	snprintf(sql, sizeof sql,
		 "INSERT INTO destinations (%sname, type, channel_type, platform_id, "
		 "agent_group_id) VALUES (%s%s%s'%s', '%s', %s%s%s, %s%s%s, %s%s%s)",
		 mailbox_is_file() ? "" : "session_id, ", mailbox_is_file() ? "" : "'",
		 mailbox_is_file() ? "" : session, mailbox_is_file() ? "" : "', ", name,
		 is_agent ? "agent" : "channel", is_agent ? "" : "'", is_agent ? "NULL" : channel,
		 is_agent ? "" : "'", is_agent ? "" : "'", is_agent ? "NULL" : where,
		 is_agent ? "" : "'", is_agent ? "'" : "", is_agent ? where : "NULL",
		 is_agent ? "'" : "");
	(void)mailbox_sql(session, "inbound.db", sql);
}

/* A message from a chat, claimed. */
static keep_claim_ref take(const char *chat, const char *thread)
{
	keep_post post = {.content = KEEP_BYTES("{}"),
			  .channel_type =
				  chat ? KEEP_BYTES("telegram") : (keep_bytes){.data = NULL},
			  .platform_id = keep_bytes_of(chat),
			  .thread_id = keep_bytes_of(thread)};
	keep_post_result result;
	keep_claim_list list;

	OK(keep_mailbox_post(mailbox, keep_bytes_of(session), &post, &result, &err));
	OK(keep_agent_claim(agent, NULL, KEEP_NOW, &memory, &list, &err));
	assert_int_equal(list.count, 1);
	return (keep_claim_ref){list.items[0].message.id, list.items[0].attempt};
}

static const char *outbound(int64_t seq)
{
	char sql[400];

	snprintf(
		sql, sizeof sql,
		"SELECT kind || ' ' || COALESCE(channel_type, '-') || ' ' || COALESCE(platform_id, "
		"'-') || ' ' || COALESCE(thread_id, '-') || ' ' || content FROM messages_out WHERE "
		"seq = %lld",
		(long long)seq);
	return mailbox_sql(session, "outbound.db", sql);
}

static const char *count_outbound(void)
{
	return mailbox_sql(session, "outbound.db", "SELECT count(*) || '' FROM messages_out");
}

static keep_send text_to(const char *to)
{
	return (keep_send){.content = KEEP_BYTES("{\"text\":\"hi\"}"), .to = keep_bytes_of(to)};
}

/* ---------------------------------------------------------------- where it goes */

static void a_send_goes_to_the_name_or_the_origin_or_the_route(void **state)
{
	keep_send send = text_to(NULL);
	keep_claim_ref chat, note;
	keep_sent sent;

	(void)state;
	begin();
	assert_int_equal(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err), KEEP_NOT_FOUND);
	set_route("slack", "C1", "t1");
	add_destination("mum", "signal", "+32");
	add_destination("bob", "agent", "bob-group");
	OK(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err));
	assert_int_equal(sent.seq, 1);
	assert_string_equal(outbound(1), "chat slack C1 t1 {\"text\":\"hi\"}");
	send = text_to("mum");
	OK(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err));
	assert_string_equal(outbound(3), "chat signal +32 - {\"text\":\"hi\"}");
	send = text_to("bob");
	OK(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err));
	assert_string_equal(outbound(5), "chat agent bob-group - {\"text\":\"hi\"}");
	chat = take("77", "x");
	send = text_to(NULL);
	send.in_reply_to = chat.id;
	OK(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err));
	assert_string_equal(outbound(sent.seq), "chat telegram 77 x {\"text\":\"hi\"}");
	send.to = KEEP_BYTES("mum"); /* a name is stronger than an origin */
	OK(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err));
	assert_string_equal(outbound(sent.seq), "chat signal +32 - {\"text\":\"hi\"}");
	note = take(NULL, NULL);
	send = text_to(NULL);
	send.in_reply_to = note.id; /* from nowhere */
	OK(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err));
	assert_string_equal(outbound(sent.seq), "chat slack C1 t1 {\"text\":\"hi\"}");
	end();
}

static void an_unknown_name_is_denied_and_lists_the_known_ones(void **state)
{
	keep_send send = text_to("dad");
	keep_sent sent;

	(void)state;
	begin();
	set_route("slack", "C1", "");
	assert_int_equal(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err), KEEP_DENIED);
	assert_non_null(strstr(err.message, "there is none"));
	add_destination("mum", "signal", "+32");
	add_destination("bob", "agent", "bob-group");
	assert_int_equal(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err), KEEP_DENIED);
	assert_non_null(strstr(err.message, "'dad'"));
	assert_non_null(strstr(err.message, "bob, mum"));
	for (int i = 0; i < 60; i++) {
		char name[16];

		snprintf(name, sizeof name, "chat-%d", i);
		add_destination(name, "signal", name);
	}
	assert_int_equal(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err), KEEP_DENIED);
	assert_non_null(strstr(err.message, "and others"));
	assert_string_equal(count_outbound(), "0");
	end();
}

static void an_action_for_the_host_needs_no_route(void **state)
{
	keep_send send = {.kind = KEEP_BYTES("system"),
			  .content = KEEP_BYTES("{\"action\":\"pause_task\"}")};
	keep_sent sent;

	(void)state;
	begin();
	OK(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err));
	assert_string_equal(outbound(1), "system - - - {\"action\":\"pause_task\"}");
	end();
}

/* ---------------------------------------------------------------- once */

static void the_same_id_is_a_duplicate_or_a_conflict(void **state)
{
	keep_send send = text_to(NULL);
	keep_sent sent, again;

	(void)state;
	begin();
	set_route("slack", "C1", "");
	add_destination("mum", "signal", "+32");
	send.id = KEEP_BYTES("mine-1");
	OK(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err));
	assert_false(sent.is_duplicate);
	assert_string_equal(sent.id, "mine-1");
	set_route("slack", "C2", ""); /* the route may have changed meanwhile */
	OK(keep_agent_send(agent, &send, KEEP_NOW, &again, &err));
	assert_true(again.is_duplicate);
	assert_int_equal(again.seq, sent.seq);
	assert_string_equal(again.id, "mine-1");
	send.content = KEEP_BYTES("{\"text\":\"other\"}");
	assert_int_equal(keep_agent_send(agent, &send, KEEP_NOW, &again, &err), KEEP_CONFLICT);
	send = text_to("mum");
	send.id = KEEP_BYTES("mine-1");
	assert_int_equal(keep_agent_send(agent, &send, KEEP_NOW, &again, &err), KEEP_CONFLICT);
	assert_string_equal(count_outbound(), "1");
	end();
}

static void replies_and_acknowledgement_are_one_commit_and_repeatable(void **state)
{
	keep_send replies[2] = {{.id = KEEP_BYTES("r1"), .content = KEEP_BYTES("{\"a\":1}")},
				{.id = KEEP_BYTES("r2"), .content = KEEP_BYTES("{\"a\":2}")}};
	keep_send nameless = {.content = KEEP_BYTES("{}")};
	keep_claim_ref claim;
	keep_sent sent[2];

	(void)state;
	begin();
	claim = take("42", NULL);
	replies[1].to = KEEP_BYTES("nobody");
	assert_int_equal(
		keep_agent_complete_with(agent, &claim, 1, replies, 2, KEEP_NOW, sent, &err),
		KEEP_DENIED);
	assert_string_equal(count_outbound(), "0");
	assert_string_equal(
		mailbox_sql(session, "outbound.db", "SELECT status FROM processing_ack"),
		"processing");
	replies[1].to = (keep_bytes){.data = NULL};
	OK(keep_agent_complete_with(agent, &claim, 1, replies, 2, KEEP_NOW, sent, &err));
	assert_int_equal(sent[0].seq, 3);
	assert_int_equal(sent[1].seq, 5);
	OK(keep_agent_complete_with(agent, &claim, 1, replies, 2, KEEP_NOW, sent, &err));
	assert_true(sent[0].is_duplicate && sent[1].is_duplicate);
	assert_int_equal(sent[1].seq, 5);
	OK(keep_agent_complete_with(agent, &claim, 1, NULL, 0, KEEP_NOW, NULL, &err));
	assert_int_equal(
		keep_agent_complete_with(agent, &claim, 1, &nameless, 1, KEEP_NOW, NULL, &err),
		KEEP_CONFLICT);
	assert_string_equal(count_outbound(), "2");
	end();
}

static void each_reply_of_a_batch_answers_where_its_own_message_came_from(void **state)
{
	keep_claim_ref claims[3];
	keep_send replies[3];
	keep_sent sent[3];

	(void)state;
	begin();
	claims[0] = take("42", "one");
	claims[1] = take("42", "two");
	claims[2] = take("43", NULL);
	for (int i = 0; i < 3; i++)
		replies[i] = (keep_send){.content = KEEP_BYTES("{}"), .in_reply_to = claims[i].id};
	replies[0].in_reply_to = (keep_bytes){.data = NULL}; /* the first */
	OK(keep_agent_complete_with(agent, claims, 3, replies, 3, KEEP_NOW, sent, &err));
	assert_string_equal(outbound(sent[0].seq), "chat telegram 42 one {}");
	assert_string_equal(outbound(sent[1].seq), "chat telegram 42 two {}");
	assert_string_equal(outbound(sent[2].seq), "chat telegram 43 - {}");
	end();
}

/* ---------------------------------------------------------------- bad input */

static void bad_sends_are_refused(void **state)
{
	static char huge[KEEP_MAILBOX_CONTENT_MAX + 8];
	const struct {
		keep_send send;
		keep_status status;
		const char *word;
	} cases[] = {
		{{.content = {.data = NULL}}, KEEP_INVALID, "content"},
		{{.content = KEEP_BYTES("{\"a\"")}, KEEP_INVALID, "content"},
		{{.content = {huge, sizeof huge - 1}}, KEEP_FULL, "content"},
		{{.content = KEEP_BYTES("{}"), .kind = KEEP_BYTES("task")}, KEEP_INVALID, "kind"},
		{{.content = KEEP_BYTES("{}"), .id = KEEP_BYTES("a/b")}, KEEP_INVALID, "id"},
		{{.content = KEEP_BYTES("{}"), .id = KEEP_BYTES("")}, KEEP_INVALID, "id"},
		{{.content = KEEP_BYTES("{}"), .id = KEEP_BYTES("..")}, KEEP_INVALID, "id"},
		{{.content = KEEP_BYTES("{}"), .to = KEEP_BYTES("")}, KEEP_INVALID, "to"},
		{{.content = KEEP_BYTES("{}"), .in_reply_to = KEEP_BYTES("")},
		 KEEP_INVALID,
		 "in_reply_to"},
		{{.content = KEEP_BYTES("{}"), .deliver_after = INT64_MAX},
		 KEEP_INVALID,
		 "deliver_after"},
		{{.content = KEEP_BYTES("{}"), .recurrence = KEEP_BYTES("every day")},
		 KEEP_INVALID,
		 "recurrence"},
	};

	(void)state;
	begin();
	set_route("slack", "C1", "");
	memset(huge, ' ', sizeof huge - 1);
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		keep_sent sent;

		CHECK(keep_agent_send(agent, &cases[i].send, KEEP_NOW, &sent, &err) ==
			      cases[i].status,
		      "case %zu", i);
		CHECK(strstr(err.message, cases[i].word), "%s", err.message);
	}
	assert_string_equal(count_outbound(), "0");
	end();
}

static void bad_batches_are_refused(void **state)
{
	static keep_send many[KEEP_CLAIM_MAX + 1];
	keep_claim_ref claim;

	(void)state;
	begin();
	claim = take("42", NULL);
	for (size_t i = 0; i < KP_COUNT(many); i++)
		many[i] = (keep_send){.content = KEEP_BYTES("{}")};
	assert_int_equal(keep_agent_complete_with(agent, &claim, 1, many, KP_COUNT(many), KEEP_NOW,
						  NULL, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_agent_complete_with(agent, &claim, 0, many, 1, KEEP_NOW, NULL, &err),
			 KEEP_INVALID);
	many[0].id = many[1].id = KEEP_BYTES("twin");
	assert_int_equal(keep_agent_complete_with(agent, &claim, 1, many, 2, KEEP_NOW, NULL, &err),
			 KEEP_INVALID);
	assert_string_equal(count_outbound(), "0");
	end();
}

static void times_and_recurrence_are_stored(void **state)
{
	keep_send send = text_to(NULL);

	(void)state;
	begin();
	set_route("slack", "C1", "");
	send.deliver_after = INT64_C(1900000000000);
	send.recurrence = KEEP_BYTES("0 9 * * *");
	OK(keep_agent_send(agent, &send, KEEP_NOW, NULL, &err));
	assert_string_equal(mailbox_sql(session, "outbound.db",
					"SELECT recurrence || ' ' || substr(CAST(deliver_after AS "
					"text), 1, 10) FROM messages_out"),
			    "0 9 * * * 2030-03-17");
	end();
}

/* ---------------------------------------------------------------- files */

static bool has_file(const char *message, const char *name)
{
	char path[1200];
	struct stat info;

	snprintf(path, sizeof path, "%s/outbox/%s%s%s", mailbox_folder(session), message,
		 *name ? "/" : "", name);
	return stat(path, &info) == 0;
}

static void files_are_there_before_the_row_and_named_in_it(void **state)
{
	keep_file files[] = {{KEEP_BYTES("a.txt"), KEEP_BYTES("one")},
			     {KEEP_BYTES("b c.txt"), KEEP_BYTES("two")}};
	keep_send send = {.id = KEEP_BYTES("with-files"),
			  .content = KEEP_BYTES("{\"text\":\"hi\",\"files\":[\"old\",\"a.txt\"]}"),
			  .files = files,
			  .file_count = 2};
	keep_sent sent;

	(void)state;
	begin();
	set_route("slack", "C1", "-");
	if (!mailbox_is_file()) {
		assert_int_equal(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err),
				 KEEP_INVALID);
		end();
		return;
	}
	OK(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err));
	assert_string_equal(outbound(1), "chat slack C1 - {\"text\":\"hi\",\"files\":[\"old\",\"a."
					 "txt\",\"b c.txt\"]}");
	assert_true(has_file("with-files", "a.txt") && has_file("with-files", "b c.txt"));
	OK(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err));
	assert_true(sent.is_duplicate);
	files[1].bytes = KEEP_BYTES("another");
	assert_int_equal(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err), KEEP_CONFLICT);
	files[1].name = KEEP_BYTES("../x");
	assert_int_equal(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err), KEEP_INVALID);
	files[1].name = KEEP_BYTES("a.txt");
	assert_int_equal(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err), KEEP_INVALID);
	send.file_count = 1;
	send.content = KEEP_BYTES("[]");
	assert_int_equal(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err), KEEP_INVALID);
	send.content = KEEP_BYTES("{\"files\":[1]}");
	assert_int_equal(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err), KEEP_INVALID);
	assert_string_equal(count_outbound(), "1");
	end();
}

static void a_refused_send_leaves_no_files(void **state)
{
	keep_file file = {KEEP_BYTES("a.txt"), KEEP_BYTES("one")};
	keep_send send = {.id = KEEP_BYTES("refused"),
			  .content = KEEP_BYTES("{}"),
			  .to = KEEP_BYTES("nobody"),
			  .files = &file,
			  .file_count = 1};
	keep_claim_ref claim = {KEEP_BYTES("none"), 1};
	keep_sent sent;

	(void)state;
	begin();
	if (mailbox_is_file()) {
		assert_int_equal(keep_agent_send(agent, &send, KEEP_NOW, &sent, &err), KEEP_DENIED);
		assert_false(has_file("refused", ""));
		set_route("slack", "C1", "");
		send.to = send.id = (keep_bytes){.data = NULL};
		assert_int_equal(
			keep_agent_complete_with(agent, &claim, 1, &send, 1, KEEP_NOW, &sent, &err),
			KEEP_CONFLICT);
		{
			char path[1200];

			snprintf(path, sizeof path, "%s/outbox", mailbox_folder(session));
			assert_true(access(path, F_OK) != 0 || rmdir(path) == 0);
		}
	}
	end();
}

/* ---------------------------------------------------------------- edits and reactions */

static void edits_and_reactions_go_where_their_message_lives(void **state)
{
	keep_send send = text_to("mum");
	keep_sent said, sent;

	(void)state;
	begin();
	add_destination("mum", "signal", "+32");
	(void)take("42", "t");
	OK(keep_agent_send(agent, &send, KEEP_NOW, &said, &err));
	OK(keep_agent_edit(agent, said.seq, KEEP_BYTES("say \"hi\""), KEEP_NOW, &sent, &err));
	assert_string_equal(outbound(sent.seq), "chat signal +32 - {\"operation\":\"edit\","
						"\"messageId\":3,\"text\":\"say \\\"hi\\\"\"}");
	OK(keep_agent_react(agent, 2, KEEP_BYTES("+1"), KEEP_NOW, &sent, &err));
	assert_string_equal(outbound(sent.seq), "chat telegram 42 t {\"operation\":\"reaction\","
						"\"messageId\":2,\"emoji\":\"+1\"}");
	assert_int_equal(keep_agent_edit(agent, 99, KEEP_BYTES("x"), KEEP_NOW, &sent, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(keep_agent_react(agent, 98, KEEP_BYTES("x"), KEEP_NOW, &sent, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(keep_agent_edit(agent, 0, KEEP_BYTES("x"), KEEP_NOW, &sent, &err),
			 KEEP_INVALID);
	assert_int_equal(
		keep_agent_edit(agent, 3, (keep_bytes){.data = NULL}, KEEP_NOW, &sent, &err),
		KEEP_INVALID);
	assert_int_equal(keep_agent_react(agent, 2, KEEP_BYTES(""), KEEP_NOW, &sent, &err),
			 KEEP_INVALID);
	OK(keep_agent_react(agent, 2, KEEP_BYTES("ok"), KEEP_NOW, NULL, &err));
	end();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_send_goes_to_the_name_or_the_origin_or_the_route),
		cmocka_unit_test(an_unknown_name_is_denied_and_lists_the_known_ones),
		cmocka_unit_test(an_action_for_the_host_needs_no_route),
		cmocka_unit_test(the_same_id_is_a_duplicate_or_a_conflict),
		cmocka_unit_test(replies_and_acknowledgement_are_one_commit_and_repeatable),
		cmocka_unit_test(each_reply_of_a_batch_answers_where_its_own_message_came_from),
		cmocka_unit_test(bad_sends_are_refused),
		cmocka_unit_test(bad_batches_are_refused),
		cmocka_unit_test(times_and_recurrence_are_stored),
		cmocka_unit_test(files_are_there_before_the_row_and_named_in_it),
		cmocka_unit_test(a_refused_send_leaves_no_files),
		cmocka_unit_test(edits_and_reactions_go_where_their_message_lives),
	};
	int failed;

	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mailbox_end();
	return failed;
}

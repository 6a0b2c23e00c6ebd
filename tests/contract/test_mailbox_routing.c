/*
 * test_mailbox_routing.c - contracts/mailbox.md: from a chat's message to the agents that take it.
 *
 *     test_mailbox_routing sqlite|postgres                the tests
 *     test_mailbox_routing <kind> route URL <number>      their other process: routes first
 * messages
 */
#include "mailbox_fixture.h"

#include "sql/sql.h"

#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define B(text) keep_bytes_of(text)
#define NOTHING ((keep_bytes){.data = NULL})

static keep_mailbox *mailbox;
static keep_memory memory;
static keep_error err;

static void begin(void)
{
	mailbox = mailbox_fresh();
	memory = (keep_memory)KEEP_MEMORY_INIT;
	err = (keep_error)KEEP_ERROR_INIT;
}

static void end(void)
{
	keep_memory_release(&memory);
	keep_mailbox_close(&mailbox);
	assert_nothing_lives();
}

#define FAILS(call, wanted, word)                                                                  \
	do {                                                                                       \
		keep_status found_ = (call);                                                       \
		CHECK(found_ == (wanted), "%s instead of %s: %s", keep_status_name(found_),        \
		      keep_status_name(wanted), err.message);                                      \
		CHECK(strstr(err.message, word), "'%s' is not in: %s", word, err.message);         \
	} while (0)

static void put_agent(const char *id)
{
	keep_agent_group group = {.id = B(id), .name = B(id), .folder = B(id)};

	OK(keep_mailbox_put_agent_group(mailbox, &group, NULL, &err));
}

/* An agent, the chat telegram 42 and the wiring of both, named after the agent. */
static void serve(const char *agent, int64_t priority, const char *mode, const char *rules,
		  const char *scope)
{
	keep_messaging_group chat = {
		.id = B("mg"), .channel_type = B("telegram"), .platform_id = B("42")};
	keep_messaging_group_agent wiring = {.id = B(agent),
					     .messaging_group_id = B("mg"),
					     .agent_group_id = B(agent),
					     .priority = priority,
					     .session_mode = B(mode),
					     .trigger_rules = B(rules),
					     .response_scope = B(scope)};

	put_agent(agent);
	OK(keep_mailbox_put_messaging_group(mailbox, &chat, NULL, &err));
	OK(keep_mailbox_wire(mailbox, &wiring, NULL, &err));
}

static keep_inbound_route message(const char *place, const char *thread, const char *id,
				  const char *content)
{
	return (keep_inbound_route){.channel_type = B("telegram"),
				    .platform_id = B(place),
				    .thread_id = B(thread),
				    .message_id = B(id),
				    .content = B(content)};
}

static keep_route_outcome route(const char *place, const char *thread, const char *id,
				const char *content)
{
	keep_inbound_route one = message(place, thread, id, content);
	keep_route_outcome outcome;

	OK(keep_mailbox_route(mailbox, &one, KEEP_NOW, &memory, &outcome, &err));
	return outcome;
}

static const char *count_of(const char *table)
{
	static char sql[200];

	snprintf(sql, sizeof sql, "SELECT CAST(count(*) AS text) FROM %s", table);
	return mailbox_sql(NULL, NULL, sql);
}

/* A text of the session's messages, first of those in order; behind the library's back. */
static const char *text_of(keep_bytes session, const char *what)
{
	static char text[200];
	char sql[500], path[700];
	kp_sql_options options = {.location = path, .journal = KP_JOURNAL_AS_IS};
	kp_sql_conn *conn = NULL;
	kp_sql_stmt *stmt = NULL;
	kp_value value = {.is_null = true};
	bool has_row = false;
	keep_bytes folder;

	snprintf(sql, sizeof sql, "SELECT CAST(%s AS text) FROM messages_in WHERE %s%.*s%s", what,
		 mailbox_is_file() ? "'" : "session_id = '", (int)session.len, session.data,
		 mailbox_is_file() ? "' <> ''" : "'");
	if (!mailbox_is_file())
		return mailbox_sql(NULL, NULL, sql);
	OK(keep_mailbox_session_place(mailbox, session, &memory, &folder, &err));
	snprintf(path, sizeof path, "%.*s/inbound.db", (int)folder.len, folder.data);
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

static int messages_of(keep_bytes session)
{
	return atoi(text_of(session, "count(*)"));
}

/* ---------------------------------------------------------------- nobody is wired */

static void what_nobody_is_wired_to_is_counted_with_the_latest(void **state)
{
	keep_inbound_route one = message("42", NULL, "1", "{\"text\":\"first\"}");
	keep_messaging_group chat;
	keep_route_outcome outcome;
	keep_unrouted_message_list list;
	int64_t forgotten = 0;

	(void)state;
	begin();
	one.chat_name = B("Family");
	OK(keep_mailbox_route(mailbox, &one, 1000, &memory, &outcome, &err));
	assert_true(outcome.is_unrouted);
	assert_int_equal(outcome.count, 0);
	assert_int_equal(outcome.taken, 0);
	OK(keep_mailbox_get_messaging_group(mailbox, outcome.messaging_group_id, &memory, &chat,
					    &err));
	assert_bytes_equal(chat.channel_type, B("telegram"));
	assert_bytes_equal(chat.platform_id, B("42"));
	assert_bytes_equal(chat.name, B("Family"));
	assert_false(chat.is_group);
	one = message("42", "t", "2", "{\"text\":\"second\"}");
	OK(keep_mailbox_route(mailbox, &one, 3000, &memory, &outcome, &err));
	assert_bytes_equal(outcome.messaging_group_id, chat.id);
	one = message("43", NULL, "3", "{\"text\":\"other\"}");
	OK(keep_mailbox_route(mailbox, &one, 2000, &memory, &outcome, &err));
	OK(keep_mailbox_list_unrouted(mailbox, 0, &memory, &list, &err));
	assert_int_equal(list.count, 2);
	assert_bytes_equal(list.items[0].platform_id, B("42"));
	assert_bytes_equal(list.items[0].content, B("{\"text\":\"second\"}"));
	assert_bytes_equal(list.items[0].thread_id, B("t"));
	assert_int_equal(list.items[0].count, 2);
	assert_int_equal(list.items[0].first_at, 1000);
	assert_int_equal(list.items[0].last_at, 3000);
	assert_bytes_equal(list.items[1].platform_id, B("43"));
	OK(keep_mailbox_list_unrouted(mailbox, 1, &memory, &list, &err));
	assert_int_equal(list.count, 1);
	OK(keep_mailbox_forget_unrouted(mailbox, 3000, &forgotten, &err));
	assert_int_equal(forgotten, 1);
	OK(keep_mailbox_list_unrouted(mailbox, 0, &memory, &list, &err));
	assert_int_equal(list.count, 1);
	assert_bytes_equal(list.items[0].platform_id, B("42"));
	OK(keep_mailbox_forget_unrouted(mailbox, 3001, NULL, &err));
	assert_string_equal(count_of("unrouted_messages"), "0");
	end();
}

static void what_the_platform_tells_of_a_chat_is_kept(void **state)
{
	keep_inbound_route one = message("42", NULL, "1", "{}");
	keep_messaging_group chat;
	keep_route_outcome outcome;

	(void)state;
	begin();
	serve("ada", 0, "shared", NULL, NULL);
	one.chat_name = B("Family");
	one.is_group = true;
	OK(keep_mailbox_route(mailbox, &one, KEEP_NOW, &memory, &outcome, &err));
	(void)route("42", NULL, "2", "{}"); /* tells neither */
	OK(keep_mailbox_get_messaging_group(mailbox, B("mg"), &memory, &chat, &err));
	assert_bytes_equal(chat.name, B("Family"));
	assert_true(chat.is_group);
	one.chat_name = B("Family 2");
	one.is_group = false;
	OK(keep_mailbox_route(mailbox, &one, KEEP_NOW, &memory, &outcome, &err));
	assert_int_equal(outcome.items[0].post.posted, KEEP_POSTED_DUPLICATE);
	OK(keep_mailbox_get_messaging_group(mailbox, B("mg"), &memory, &chat, &err));
	assert_bytes_equal(chat.name, B("Family 2"));
	assert_true(chat.is_group);
	end();
}

#define IN_CHAT .channel_type = B("t"), .platform_id = B("1")

static void a_message_that_is_none_changes_nothing(void **state)
{
	const keep_file outside = {B("../x"), B("")};
	const struct {
		const char *word;
		keep_inbound_route message;
	} cases[] = {
		{"channel_type", {.platform_id = B("1"), .content = B("{}")}},
		{"platform_id", {.channel_type = B("t"), .content = B("{}")}},
		{"content", {IN_CHAT}},
		{"content", {IN_CHAT, .content = B("hi")}},
		{"content", {IN_CHAT, .content = B("{}{}")}},
		{"kind", {IN_CHAT, .content = B("{}"), .kind = B("mail")}},
		{"message_id", {IN_CHAT, .content = B("{}"), .message_id = B("")}},
		{"thread_id", {IN_CHAT, .content = B("{}"), .thread_id = B("\xff")}},
		{"timestamp", {IN_CHAT, .content = B("{}"), .timestamp = INT64_MAX}},
		{"chat_name", {IN_CHAT, .content = B("{}"), .chat_name = B("\xff")}},
		{"", {IN_CHAT, .content = B("{}"), .files = &outside, .file_count = 1}},
	};
	keep_mailbox_options options = KEEP_MAILBOX_OPTIONS_INIT;
	keep_mailbox *reader = NULL;
	keep_inbound_route one;
	keep_route_outcome outcome;
	char *large = malloc(KEEP_MAILBOX_CONTENT_MAX + 2);

	(void)state;
	assert_non_null(large);
	begin();
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		FAILS(keep_mailbox_route(mailbox, &cases[i].message, KEEP_NOW, &memory, &outcome,
					 &err),
		      KEEP_INVALID, cases[i].word);
		assert_null(outcome.items);
	}
	memset(large, '1', KEEP_MAILBOX_CONTENT_MAX + 1);
	large[KEEP_MAILBOX_CONTENT_MAX + 1] = '\0';
	one = message("1", NULL, NULL, large);
	FAILS(keep_mailbox_route(mailbox, &one, KEEP_NOW, &memory, &outcome, &err), KEEP_FULL,
	      "content");
	free(large);
	options.read_only = true;
	OK(mailbox_open_with(&options, &reader, &err));
	one = message("1", NULL, NULL, "{}");
	FAILS(keep_mailbox_route(reader, &one, KEEP_NOW, &memory, &outcome, &err), KEEP_DENIED,
	      "read");
	keep_mailbox_close(&reader);
	assert_string_equal(count_of("messaging_groups"), "0");
	assert_string_equal(count_of("unrouted_messages"), "0");
	end();
}

/* ---------------------------------------------------------------- wired agents */

static void every_agent_that_takes_it_gets_it_in_order_and_once(void **state)
{
	keep_route_outcome outcome, again;

	(void)state;
	begin();
	serve("bob", 1, "shared", NULL, NULL);
	serve("ada", 1, "shared", NULL, NULL);
	serve("eve", 9, "shared", "{\"pattern\":\"^!\"}", NULL);
	serve("zoe", -1, "shared", NULL, NULL);
	outcome = route("42", "t1", "m-1", "{\"text\":\"hello\"}");
	assert_int_equal(outcome.count, 4);
	assert_int_equal(outcome.taken, 3);
	assert_false(outcome.is_unrouted);
	assert_bytes_equal(outcome.items[0].agent_group_id, B("eve"));
	assert_false(outcome.items[0].is_taken);
	assert_bytes_equal(outcome.items[0].reason, B("the pattern does not match"));
	assert_null(outcome.items[0].session.data);
	assert_bytes_equal(outcome.items[1].wiring_id, B("ada"));
	assert_bytes_equal(outcome.items[2].wiring_id, B("bob"));
	assert_bytes_equal(outcome.items[3].wiring_id, B("zoe"));
	for (size_t i = 1; i < 4; i++) {
		assert_true(outcome.items[i].is_taken);
		assert_true(outcome.items[i].is_new_session);
		assert_int_equal(outcome.items[i].post.posted, KEEP_POSTED_INSERTED);
		assert_int_equal(outcome.items[i].post.seq, 2);
		assert_true(outcome.items[i].reason.len > 0);
	}
	again = route("42", "t1", "m-1", "{\"text\":\"hello\"}");
	assert_int_equal(again.taken, 3);
	for (size_t i = 1; i < 4; i++) {
		assert_false(again.items[i].is_new_session);
		assert_int_equal(again.items[i].post.posted, KEEP_POSTED_DUPLICATE);
		assert_string_equal(again.items[i].post.id, outcome.items[i].post.id);
		assert_bytes_equal(again.items[i].session, outcome.items[i].session);
	}
	again = route("42", "t1", "m-1", "{\"text\":\"another\"}");
	assert_int_equal(again.items[1].post.posted, KEEP_POSTED_REUSED);
	assert_int_equal(messages_of(outcome.items[1].session), 2);
	assert_string_equal(
		text_of(outcome.items[1].session,
			"min(channel_type || ' ' || platform_id || ' ' || thread_id || ' ' || "
			"dedup_key || ' ' || kind || ' ' || CAST(content AS text))"),
		"telegram 42 t1 m-1 chat {\"text\":\"another\"}");
	assert_string_equal(count_of("unrouted_messages"), "0");
	end();
}

static void rules_and_scopes_decide_who_takes_a_message(void **state)
{
	static const struct {
		const char *rules, *scope, *content;
		bool taken;
	} cases[] = {
		{NULL, NULL, "{}", true},
		{"{}", "all", "[1]", true},
		{"{\"pattern\":\"^@ada\"}", NULL, "{\"text\":\"@ada hi\"}", true},
		{"{\"pattern\":\"^@ada\"}", NULL, "{\"text\":\"hi @ada\"}", false},
		{"{\"pattern\":\"^@ada\"}", NULL, "{\"isMention\":true}", false},
		{"{\"pattern\":\"^@ada\"}", NULL, "\"@ada\"", false},
		{"{\"pattern\":\"(?i)\\\\bhelp\\\\b\"}", NULL, "{\"text\":\"I need HELP!\"}", true},
		{"{\"pattern\":\"a\",\"requiresTrigger\":false}", NULL, "{\"text\":\"b\"}", true},
		{"{\"pattern\":\"a\",\"requiresTrigger\":true}", NULL, "{\"text\":\"b\"}", false},
		{"{\"pattern\":\"a\",\"requiresTrigger\":true}", NULL, "{\"text\":\"a\"}", true},
		{"{\"pattern\":\"a\",\"requiresTrigger\":true}", NULL, "{\"isMention\":true}",
		 true},
		{"{\"requiresTrigger\":true}", NULL, "{\"text\":\"a\"}", false},
		{"{\"requiresTrigger\":true}", NULL, "{\"isMention\":true}", true},
		{"{\"requiresTrigger\":false}", NULL, "{\"text\":\"a\"}", true},
		{"{\"mentionOnly\":true}", NULL, "{\"text\":\"a\"}", false},
		{"{\"mentionOnly\":true}", NULL, "{\"isMention\":false}", false},
		{"{\"mentionOnly\":true}", NULL, "{\"isMention\":\"true\"}", false},
		{"{\"mentionOnly\":true}", NULL, "{\"isMention\":true}", true},
		{"{\"mentionOnly\":true,\"pattern\":\"a\"}", NULL,
		 "{\"isMention\":true,\"text\":\"b\"}", false},
		{"{\"mentionOnly\":true,\"pattern\":\"a\"}", NULL,
		 "{\"isMention\":true,\"text\":\"a\"}", true},
		{"{\"mentionOnly\":false}", NULL, "{}", true},
		{"{\"excludeSenders\":[\"7\",\"8\"]}", NULL, "{\"senderId\":\"8\"}", false},
		{"{\"excludeSenders\":[\"7\",\"8\"]}", NULL, "{\"senderId\":8}", false},
		{"{\"excludeSenders\":[\"7\",\"8\"]}", NULL, "{\"senderId\":\"9\"}", true},
		{"{\"excludeSenders\":[\"7\"]}", NULL, "{}", true},
		{"{\"excludeSenders\":[\"7\"]}", NULL, "{\"author\":{\"userId\":\"7\"}}", false},
		{"{\"includeSenders\":[\"7\"]}", NULL, "{\"author\":{\"userId\":\"7\"}}", true},
		{"{\"includeSenders\":[\"7\"]}", NULL,
		 "{\"senderId\":\"6\",\"author\":{\"userId\":\"7\"}}", false},
		{"{\"includeSenders\":[\"7\"]}", NULL, "{\"senderId\":\"77\"}", false},
		{"{\"includeSenders\":[\"7\"]}", NULL, "{}", false},
		{"{\"includeSenders\":[]}", NULL, "{\"senderId\":\"7\"}", false},
		{"{\"includeSenders\":[\"7\"],\"excludeSenders\":[\"7\"]}", NULL,
		 "{\"senderId\":\"7\"}", false},
		{NULL, "triggered", "{\"text\":\"a\"}", false},
		{NULL, "triggered", "{\"isMention\":true}", true},
		{"{\"pattern\":\"a\"}", "triggered", "{\"text\":\"a\"}", true},
		{"{\"pattern\":\"a\",\"requiresTrigger\":false}", "triggered", "{\"text\":\"b\"}",
		 false},
		{NULL, "allowlisted", "{\"senderId\":\"7\"}", false},
		{"{\"includeSenders\":[\"7\"]}", "allowlisted", "{\"senderId\":\"7\"}", true},
		{"{\"includeSenders\":[\"7\"]}", "allowlisted", "{\"senderId\":\"8\"}", false},
	};

	(void)state;
	begin();
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		keep_route_outcome outcome;

		serve("ada", 0, "shared", cases[i].rules, cases[i].scope);
		outcome = route("42", NULL, NULL, cases[i].content);
		CHECK(outcome.items[0].is_taken == cases[i].taken, "%s %s %s: %.*s",
		      cases[i].rules ? cases[i].rules : "", cases[i].scope ? cases[i].scope : "",
		      cases[i].content, (int)outcome.items[0].reason.len,
		      outcome.items[0].reason.data);
		assert_int_equal(outcome.taken, cases[i].taken);
	}
	end();
}

static void changed_rules_hold_at_once_for_every_host(void **state)
{
	keep_mailbox *other;
	keep_inbound_route one = message("42", NULL, NULL, "{\"text\":\"a\"}");
	keep_route_outcome outcome;

	(void)state;
	begin();
	other = mailbox_again();
	serve("ada", 0, "shared", "{\"pattern\":\"a\"}", NULL);
	for (int i = 0; i < 6; i++) {
		bool takes = i % 2 == 0;

		serve("ada", 0, "shared", takes ? "{\"pattern\":\"a\"}" : "{\"pattern\":\"b\"}",
		      NULL);
		OK(keep_mailbox_route(other, &one, KEEP_NOW, &memory, &outcome, &err));
		assert_int_equal(outcome.taken, takes);
		assert_int_equal(route("42", NULL, NULL, "{\"text\":\"a\"}").taken, takes);
	}
	keep_mailbox_close(&other);
	end();
}

static void a_hostile_pattern_and_text_cost_one_wiring_a_bound(void **state)
{
	size_t len = 900000;
	char *content = malloc(len + 32);
	keep_inbound_route one;
	keep_route_outcome outcome;

	(void)state;
	assert_non_null(content);
	begin();
	memcpy(content, "{\"text\":\"", 9);
	memset(content + 9, 'a', len);
	memcpy(content + 9 + len, "\"}", 3);
	serve("ada", 2, "shared", "{\"pattern\":\"(a|aa){90,130}[b-c]$\"}", NULL);
	serve("bob", 1, "shared", "{\"pattern\":\"a$\"}", NULL);
	one = message("42", NULL, "1", content);
	OK(keep_mailbox_route(mailbox, &one, KEEP_NOW, &memory, &outcome, &err));
	assert_false(outcome.items[0].is_taken);
	assert_bytes_equal(outcome.items[0].reason,
			   B("the search for the pattern took too many steps"));
	assert_true(outcome.items[1].is_taken);
	free(content);
	end();
}

/* ---------------------------------------------------------------- which session */

static void shared_has_one_session_a_chat_and_per_thread_one_a_thread(void **state)
{
	keep_route_outcome first, other, none;

	(void)state;
	begin();
	serve("ada", 1, "shared", NULL, NULL);
	serve("bob", 0, "per-thread", NULL, NULL);
	first = route("42", "t1", "1", "{}");
	other = route("42", "t2", "2", "{}");
	none = route("42", NULL, "3", "{}");
	assert_bytes_equal(first.items[0].session, other.items[0].session);
	assert_bytes_equal(first.items[0].session, none.items[0].session);
	assert_false(kp_bytes_equal(first.items[1].session, other.items[1].session));
	assert_false(kp_bytes_equal(first.items[1].session, none.items[1].session));
	assert_false(kp_bytes_equal(first.items[0].session, none.items[1].session));
	assert_int_equal(messages_of(first.items[0].session), 3);
	assert_int_equal(messages_of(first.items[1].session), 1);
	assert_bytes_equal(route("42", "t1", "4", "{}").items[1].session, first.items[1].session);
	assert_string_equal(count_of("sessions"), "4");
	end();
}

static void agent_shared_has_one_session_over_all_chats(void **state)
{
	keep_messaging_group chat = {
		.id = B("mg-2"), .channel_type = B("telegram"), .platform_id = B("43")};
	keep_messaging_group_agent wiring = {.messaging_group_id = B("mg-2"),
					     .agent_group_id = B("ada"),
					     .session_mode = B("agent-shared")};
	keep_session_place alone = {.agent_group_id = B("ada")};
	keep_route_outcome first, other;
	keep_session session;

	(void)state;
	begin();
	serve("ada", 0, "agent-shared", NULL, NULL);
	OK(keep_mailbox_put_messaging_group(mailbox, &chat, NULL, &err));
	OK(keep_mailbox_wire(mailbox, &wiring, NULL, &err));
	first = route("42", "t1", "1", "{}");
	/* a newer session of the agent does not take the conversation away */
	OK(keep_mailbox_resolve_session(mailbox, &alone, KEEP_NOW, &memory, &session, NULL, &err));
	other = route("43", NULL, "1", "{}");
	assert_bytes_equal(other.items[0].session, first.items[0].session);
	assert_int_equal(other.items[0].post.posted, KEEP_POSTED_INSERTED);
	OK(keep_mailbox_get_session(mailbox, first.items[0].session, &memory, &session, &err));
	assert_null(session.messaging_group_id.data);
	OK(keep_mailbox_unwire(mailbox, B("ada"), &err));
	/* no chat is held by a session of all */
	OK(keep_mailbox_remove_messaging_group(mailbox, B("mg"), &err));
	end();
}

static void a_closed_session_has_a_successor(void **state)
{
	keep_route_outcome first, next;

	(void)state;
	begin();
	serve("ada", 0, "shared", NULL, NULL);
	first = route("42", NULL, "1", "{}");
	(void)mailbox_sql(NULL, NULL, "UPDATE sessions SET status = 'closed', anchor = NULL");
	next = route("42", NULL, "2", "{}");
	assert_true(next.items[0].is_new_session);
	assert_false(kp_bytes_equal(next.items[0].session, first.items[0].session));
	end();
}

/* ---------------------------------------------------------------- failures */

/* Its file is no database any more; on a server its row is gone. */
static void damage(const char *session)
{
	static const char garbage[5000] = "this is no database";
	char path[700], sql[300];
	FILE *file;

	if (!mailbox_is_file()) {
		snprintf(sql, sizeof sql, "DELETE FROM session_host WHERE session_id = '%s'",
			 session);
		(void)mailbox_sql(NULL, NULL, sql);
		return;
	}
	snprintf(path, sizeof path, "%s/inbound.db", mailbox_folder(session));
	file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(garbage, sizeof garbage, 1, file), 1);
	fclose(file);
}

static void one_agents_failure_does_not_keep_others_from_the_message(void **state)
{
	keep_inbound_route one = message("42", NULL, "2", "{\"text\":\"a\"}");
	keep_route_outcome outcome, first;
	char session[KEEP_SEGMENT_MAX + 1];

	(void)state;
	begin();
	serve("ada", 3, "shared", NULL, NULL);
	serve("bob", 2, "shared", NULL, NULL);
	serve("eve", 1, "shared", NULL, NULL);
	first = route("42", NULL, "1", "{}");
	(void)mailbox_sql(NULL, NULL,
			  "UPDATE messaging_group_agents SET trigger_rules = '{\"pattern\":\"(\"}' "
			  "WHERE id = 'bob'");
	FAILS(keep_mailbox_route(mailbox, &one, KEEP_NOW, &memory, &outcome, &err), KEEP_CORRUPT,
	      "'bob'");
	assert_null(outcome.items);
	assert_int_equal(messages_of(first.items[0].session), 2);
	assert_int_equal(messages_of(first.items[1].session), 1);
	assert_int_equal(messages_of(first.items[2].session), 2);
	(void)mailbox_sql(NULL, NULL, "UPDATE messaging_group_agents SET trigger_rules = NULL");
	/* repaired: the same message again reaches the one that missed it */
	outcome = route("42", NULL, "2", "{\"text\":\"a\"}");
	assert_int_equal(outcome.items[0].post.posted, KEEP_POSTED_DUPLICATE);
	assert_int_equal(outcome.items[1].post.posted, KEEP_POSTED_INSERTED);
	assert_int_equal(outcome.items[2].post.posted, KEEP_POSTED_DUPLICATE);
	/* a session that is damaged */
	keep_mailbox_close(&mailbox);
	snprintf(session, sizeof session, "%.*s", (int)first.items[0].session.len,
		 first.items[0].session.data);
	damage(session);
	mailbox = mailbox_again();
	one = message("42", NULL, "3", "{\"text\":\"b\"}");
	assert_int_not_equal(keep_mailbox_route(mailbox, &one, KEEP_NOW, &memory, &outcome, &err),
			     KEEP_OK);
	CHECK(strstr(err.message, "wiring 'ada'"), "%s", err.message);
	assert_int_equal(messages_of(first.items[1].session), 3);
	assert_int_equal(messages_of(first.items[2].session), 3);
	end();
}

static void every_agent_gets_the_files_of_a_message(void **state)
{
	const keep_file files[] = {{B("a.txt"), B("hello")}};
	keep_inbound_route one = message("42", NULL, "1", "{}");
	keep_route_outcome outcome;

	(void)state;
	begin();
	serve("ada", 1, "shared", NULL, NULL);
	serve("bob", 0, "shared", NULL, NULL);
	one.files = files;
	one.file_count = 1;
	if (!mailbox_is_file()) {
		FAILS(keep_mailbox_route(mailbox, &one, KEEP_NOW, &memory, &outcome, &err),
		      KEEP_INVALID, "files");
		end();
		return;
	}
	OK(keep_mailbox_route(mailbox, &one, KEEP_NOW, &memory, &outcome, &err));
	for (size_t i = 0; i < 2; i++) {
		char path[700];
		keep_bytes folder;
		struct stat st;

		OK(keep_mailbox_session_place(mailbox, outcome.items[i].session, &memory, &folder,
					      &err));
		snprintf(path, sizeof path, "%.*s/inbox/%s/a.txt", (int)folder.len, folder.data,
			 outcome.items[i].post.id);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_size, 5);
	}
	end();
}

/* ---------------------------------------------------------------- many at once */

enum { PROCESSES = 4, THREADS = 4, MESSAGES = 3 };

struct racer {
	keep_mailbox *mailbox;
	int number;
	keep_status status;
	keep_error err;
};

/* The first messages of the chat: one that all have, and some of its own. */
static void *race(void *ctx)
{
	struct racer *racer = ctx;
	keep_memory mine = KEEP_MEMORY_INIT;

	for (int i = 0; i < MESSAGES && racer->status == KEEP_OK; i++) {
		char id[32];
		keep_inbound_route one = message("new", i ? "t" : NULL, NULL, "{\"text\":\"a\"}");
		keep_route_outcome outcome;

		snprintf(id, sizeof id, "%s%d-%d", i ? "own-" : "all-", i ? racer->number : 0, i);
		one.message_id = B(id);
		racer->status = keep_mailbox_route(racer->mailbox, &one, KEEP_NOW, &mine, &outcome,
						   &racer->err);
	}
	keep_memory_release(&mine);
	return NULL;
}

static int race_in_threads(keep_mailbox *of, int first)
{
	struct racer racers[THREADS];
	pthread_t threads[THREADS];
	int failed = 0;

	for (int i = 0; i < THREADS; i++) {
		racers[i] = (struct racer){of, first + i, KEEP_OK, KEEP_ERROR_INIT};
		if (pthread_create(&threads[i], NULL, race, &racers[i]) != 0)
			abort();
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		failed += racers[i].status != KEEP_OK;
		if (racers[i].status != KEEP_OK)
			print_error("%s\n", racers[i].err.message);
	}
	return failed;
}

/* Another process: waits for the pipe, then routes. */
static int race_elsewhere(const char *url, int number)
{
	keep_mailbox_options options = KEEP_MAILBOX_OPTIONS_INIT;
	keep_mailbox *mine = NULL;
	int failed = 1;

	options.timeout_ms = 30000;
	if (keep_mailbox_open(url, &options, &mine, NULL) == KEEP_OK)
		failed = race_in_threads(mine, number);
	keep_mailbox_close(&mine);
	return failed;
}

static void wire_the_new_chat(const char *mode, const char *agent)
{
	keep_messaging_group chat;
	keep_messaging_group_agent wiring = {.agent_group_id = B(agent), .session_mode = B(mode)};

	OK(keep_mailbox_find_messaging_group(mailbox, B("telegram"), B("new"), &memory, &chat,
					     &err));
	wiring.messaging_group_id = chat.id;
	put_agent(agent);
	OK(keep_mailbox_wire(mailbox, &wiring, NULL, &err));
}

static void run_processes(void)
{
	const char *url = mailbox_url();
	pid_t children[PROCESSES];

	for (int i = 0; i < PROCESSES; i++) {
		char number[16];

		snprintf(number, sizeof number, "%d", i * THREADS);
		children[i] = fork();
		if (children[i] == 0) {
			execl(mailbox_program(), "test_mailbox_routing", mailbox_kind(), "route",
			      url, number, (char *)NULL);
			_exit(127);
		}
	}
	for (int i = 0; i < PROCESSES; i++) {
		int how;

		assert_int_equal(waitpid(children[i], &how, 0), children[i]);
		assert_int_equal(how, 0);
	}
}

static void first_messages_of_a_chat_make_one_chat_and_one_session_each(void **state)
{
	keep_unrouted_message_list unrouted;
	char sql[300];

	(void)state;
	begin();
	run_processes();
	assert_string_equal(count_of("messaging_groups"), "1");
	OK(keep_mailbox_list_unrouted(mailbox, 0, &memory, &unrouted, &err));
	assert_int_equal(unrouted.count, 1);
	assert_int_equal(unrouted.items[0].count, PROCESSES * THREADS * MESSAGES);
	wire_the_new_chat("shared", "ada");
	wire_the_new_chat("per-thread", "bob");
	wire_the_new_chat("agent-shared", "eve");
	run_processes();
	/* shared 1, agent-shared 1, per-thread one without a thread and one with */
	assert_string_equal(count_of("sessions"), "4");
	assert_string_equal(count_of("messaging_groups"), "1");
	for (int i = 0; i < 3; i++) {
		static const char *const agents[] = {"ada", "bob", "eve"};
		int total = 0, count;

		snprintf(sql, sizeof sql,
			 "SELECT CAST(count(*) AS text) FROM sessions WHERE agent_group_id = '%s'",
			 agents[i]);
		count = atoi(mailbox_sql(NULL, NULL, sql));
		assert_int_equal(count, i == 1 ? 2 : 1);
		for (int j = 0; j < count; j++) {
			char id[KEEP_SEGMENT_MAX + 1];

			snprintf(sql, sizeof sql,
				 "SELECT id FROM sessions WHERE agent_group_id = '%s' "
				 "ORDER BY id LIMIT 1 OFFSET %d",
				 agents[i], j);
			snprintf(id, sizeof id, "%s", mailbox_sql(NULL, NULL, sql));
			total += messages_of(B(id));
		}
		/* the one that all had, and everybody's own */
		assert_int_equal(total, 1 + PROCESSES * THREADS * (MESSAGES - 1));
	}
	end();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_nobody_is_wired_to_is_counted_with_the_latest),
		cmocka_unit_test(what_the_platform_tells_of_a_chat_is_kept),
		cmocka_unit_test(a_message_that_is_none_changes_nothing),
		cmocka_unit_test(every_agent_that_takes_it_gets_it_in_order_and_once),
		cmocka_unit_test(rules_and_scopes_decide_who_takes_a_message),
		cmocka_unit_test(changed_rules_hold_at_once_for_every_host),
		cmocka_unit_test(a_hostile_pattern_and_text_cost_one_wiring_a_bound),
		cmocka_unit_test(shared_has_one_session_a_chat_and_per_thread_one_a_thread),
		cmocka_unit_test(agent_shared_has_one_session_over_all_chats),
		cmocka_unit_test(a_closed_session_has_a_successor),
		cmocka_unit_test(one_agents_failure_does_not_keep_others_from_the_message),
		cmocka_unit_test(every_agent_gets_the_files_of_a_message),
		cmocka_unit_test(first_messages_of_a_chat_make_one_chat_and_one_session_each),
	};
	int failed;

	if (argc == 5 && strcmp(argv[2], "route") == 0)
		return race_elsewhere(argv[3], atoi(argv[4]));
	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mailbox_end();
	return failed;
}

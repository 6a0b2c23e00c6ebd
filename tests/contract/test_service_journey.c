/*
 * test_service_journey.c - messages go from the gateway to an agent and back, whoever is to answer,
 * and what became of each answer is told to the mailbox.
 *
 * The service under test runs in this process on a home of its own; the test looks at the stores
 * through handles of its own, as an adapter does.
 */
#include "service/journey.h"
#include "journey_fixture.h"

#include "keep/schedule.h"

static const char *backend;

static int set_up(void **state)
{
	journey_fixture *fixture = calloc(1, sizeof *fixture);

	CHECK(fixture, "memory");
	journey_begin(fixture, backend);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	journey_fixture *fixture = *state;

	journey_end(fixture);
	free(fixture);
	home_servers_drop();
	keep_zone_forget();
	assert_nothing_lives();
	return 0;
}

/* ---------------------------------------------------------------- what tests ask */

static keep_message claim_one(journey_fixture *fixture, const char *channel, keep_memory *memory)
{
	keep_message_list list = {.count = 0};
	keep_error err = KEEP_ERROR_INIT;
	bool due = false;

	EVENTUALLY(keep_gateway_wait_deliveries(fixture->gateway, keep_bytes_of(channel), 1000,
						&due, &err) == KEEP_OK &&
		   due);
	OK(keep_gateway_claim_deliveries(fixture->gateway, keep_bytes_of(channel), 1, 0, KEEP_NOW,
					 memory, &list, &err));
	assert_int_equal(list.count, 1);
	return list.items[0];
}

static void report(journey_fixture *fixture, const keep_message *message, keep_delivery delivery,
		   const char *error)
{
	keep_delivery_report what = {.jid = message->chat_jid,
				     .id = message->id,
				     .attempt = message->attempts,
				     .delivery = delivery,
				     .error = keep_bytes_of(error)};
	keep_error err = KEEP_ERROR_INIT;

	if (delivery == KEEP_DELIVERY_DELIVERED)
		what.platform_id = KEEP_BYTES("p-1");
	OK(keep_gateway_complete_delivery(fixture->gateway, &what, KEEP_NOW, &err));
}

static bool trace_has(journey_fixture *fixture, const char *chat, const char *id, const char *text)
{
	keep_buffer out = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	bool has;

	OK(kp_journey_trace(fixture->gateway, fixture->mailbox, keep_bytes_of(chat),
			    keep_bytes_of(id), &out, &err));
	has = strstr(out.data, text) != NULL;
	keep_buffer_release(&out);
	return has;
}

/* The status of the mailbox's one delivery, over all sessions. */
static bool delivery_is(journey_fixture *fixture, const char *status)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_session_list sessions = {.count = 0};
	keep_delivered_message_list list = {.count = 0};
	keep_error err = KEEP_ERROR_INIT;
	bool is = false;

	OK(keep_mailbox_list_sessions(fixture->mailbox, (keep_bytes){0}, (keep_bytes){0},
				      (keep_bytes){0}, 10, &memory, &sessions, &err));
	for (size_t i = 0; i < sessions.count; i++) {
		OK(keep_mailbox_deliveries(fixture->mailbox, sessions.items[i].id, (keep_bytes){0},
					   0, 10, &memory, &list, &err));
		is = is || (list.count == 1 &&
			    kp_bytes_equal(list.items[0].status, keep_bytes_of(status)));
	}
	keep_memory_release(&memory);
	return is;
}

/* ---------------------------------------------------------------- tests */

static void a_message_is_answered_delivered_and_traced(void **state)
{
	journey_fixture *fixture = *state;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message answer;

	fixture->options.agent = "sed 's/^/You said: /'";
	fixture->options.agent_text = true;
	journey_serve(fixture);
	journey_put(fixture, "telegram:42", "7", "hello");
	answer = claim_one(fixture, "telegram", &memory);
	assert_bytes_equal(answer.chat_jid, KEEP_BYTES("telegram:42"));
	assert_bytes_equal(answer.content, KEEP_BYTES("You said: hello"));
	assert_bytes_equal(answer.reply_to_id, KEEP_BYTES("7"));
	assert_bytes_equal(answer.group_folder, KEEP_BYTES("main"));
	assert_true(trace_has(fixture, "telegram:42", "7", "\"state\":\"answered\""));
	report(fixture, &answer, KEEP_DELIVERY_DELIVERED, NULL);
	EVENTUALLY(delivery_is(fixture, "delivered"));
	assert_true(trace_has(fixture, "telegram:42", "7", "\"state\":\"delivered\""));
	assert_true(trace_has(fixture, "telegram:42", "7", "p-1"));
	keep_memory_release(&memory);
}

static void a_refused_delivery_is_told_to_the_agent(void **state)
{
	journey_fixture *fixture = *state;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message answer;

	fixture->options.agent = "grep -q undeliverable || echo yes; cat >/dev/null";
	journey_serve(fixture);
	journey_put(fixture, "telegram:42", "7", "hello");
	answer = claim_one(fixture, "telegram", &memory);
	report(fixture, &answer, KEEP_DELIVERY_REFUSED, "the chat is blocked");
	EVENTUALLY(delivery_is(fixture, "failed"));
	assert_true(trace_has(fixture, "telegram:42", "7", "the chat is blocked"));
	keep_memory_release(&memory);
}

static void routes_name_the_folder(void **state)
{
	journey_fixture *fixture = *state;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_route route = {.jid = KEEP_BYTES("telegram:"),
			    .type = KEEP_BYTES("keyword"),
			    .match = KEEP_BYTES("train"),
			    .target = KEEP_BYTES("travel/europe")};
	keep_message answer;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_gateway_add_route(fixture->gateway, &route, NULL, &err));
	fixture->options.agent = "cat >/dev/null; echo \"$KEEP_SESSION\"";
	journey_serve(fixture);
	journey_put(fixture, "telegram:1", "1", "is the train late?");
	answer = claim_one(fixture, "telegram", &memory);
	assert_bytes_equal(answer.group_folder, KEEP_BYTES("travel/europe"));
	/* A chat that has rules is not answered beside them. */
	journey_put(fixture, "telegram:1", "2", "good morning");
	EVENTUALLY(trace_has(fixture, "telegram:1", "2", "\"state\":\"unrouted\""));
	assert_true(trace_has(fixture, "telegram:1", "2", "no route of its chat matches"));
	keep_memory_release(&memory);
}

static void a_wired_agent_of_its_own_answers_itself(void **state)
{
	journey_fixture *fixture = *state;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_agent_group group = {.id = KEEP_BYTES("own"),
				  .name = KEEP_BYTES("Own"),
				  .folder = KEEP_BYTES("own"),
				  .agent_provider = KEEP_BYTES("docker")};
	keep_messaging_group chat = {.id = KEEP_BYTES("c"),
				     .channel_type = KEEP_BYTES("slack"),
				     .platform_id = KEEP_BYTES("C1")};
	keep_messaging_group_agent wiring = {.messaging_group_id = KEEP_BYTES("c"),
					     .agent_group_id = KEEP_BYTES("own")};
	keep_claim_request request = {.max = 1};
	keep_session_list sessions = {.count = 0};
	keep_claim_list claims = {.count = 0};
	keep_send reply = {.content = KEEP_BYTES("{\"text\":\"by myself\"}")};
	keep_claim_ref claim;
	keep_agent *agent = NULL;
	keep_bytes place;
	keep_message answer;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_mailbox_put_agent_group(fixture->mailbox, &group, NULL, &err));
	OK(keep_mailbox_put_messaging_group(fixture->mailbox, &chat, NULL, &err));
	OK(keep_mailbox_wire(fixture->mailbox, &wiring, NULL, &err));
	fixture->options.agent = "echo not me";
	journey_serve(fixture);
	journey_put(fixture, "slack:C1", "1", "who are you?");
	EVENTUALLY(keep_mailbox_list_sessions(fixture->mailbox, (keep_bytes){0}, (keep_bytes){0},
					      (keep_bytes){0}, 10, &memory, &sessions,
					      &err) == KEEP_OK &&
		   sessions.count == 1);
	OK(keep_mailbox_session_place(fixture->mailbox, sessions.items[0].id, &memory, &place,
				      &err));
	OK(keep_agent_open(place.data, NULL, &agent, &err));
	EVENTUALLY(keep_agent_claim(agent, &request, KEEP_NOW, &memory, &claims, &err) == KEEP_OK &&
		   claims.count == 1);
	claim = (keep_claim_ref){claims.items[0].message.id, claims.items[0].attempt};
	OK(keep_agent_complete_with(agent, &claim, 1, &reply, 1, KEEP_NOW, NULL, &err));
	answer = claim_one(fixture, "slack", &memory);
	assert_bytes_equal(answer.content, KEEP_BYTES("by myself"));
	keep_agent_close(&agent);
	keep_memory_release(&memory);
}

static void without_anybody_a_message_is_noted_as_unrouted(void **state)
{
	journey_fixture *fixture = *state;

	journey_serve(fixture);
	journey_put(fixture, "mail:x", "1", "is anybody there?");
	EVENTUALLY(trace_has(fixture, "mail:x", "1", "\"state\":\"unrouted\""));
	assert_true(trace_has(fixture, "mail:x", "1", "no agent is wired"));
}

static void a_failing_agent_fails_with_its_reason(void **state)
{
	journey_fixture *fixture = *state;

	fixture->options.agent = "echo the model is away >&2; exit 3";
	journey_serve(fixture);
	journey_put(fixture, "telegram:42", "7", "hello");
	EVENTUALLY(trace_has(fixture, "telegram:42", "7", "the model is away"));
}

/* Deliver until nothing is left for `count` answers; each is to another message. */
static void deliver_all(journey_fixture *fixture, size_t count)
{
	while (count--) {
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_message answer = claim_one(fixture, "telegram", &memory);

		report(fixture, &answer, KEEP_DELIVERY_DELIVERED, NULL);
		keep_memory_release(&memory);
	}
}

static void what_came_while_nobody_served_is_answered_by_the_next_host(void **state)
{
	journey_fixture *fixture = *state;

	fixture->options.agent = "cat >/dev/null; echo done";
	for (int i = 0; i < 20; i++) {
		char id[16];

		(void)snprintf(id, sizeof id, "m%d", i);
		journey_put(fixture, "telegram:1", id, "again");
	}
	journey_serve(fixture);
	deliver_all(fixture, 1);
	journey_stop(fixture);
	journey_put(fixture, "telegram:1", "last", "again");
	journey_serve(fixture);
	deliver_all(fixture, 20);
	EVENTUALLY(trace_has(fixture, "telegram:1", "last", "\"state\":\"delivered\""));
	journey_stop(fixture);
	assert_int_equal(journey_count(fixture, "telegram:1"), 42);
}

/* What is over 200 bytes, which messages for people cut. */
static void long_names_are_told_apart_and_answered(void **state)
{
	journey_fixture *fixture = *state;
	char jid[KP_KEY_MAX + 1] = "telegram:", other[KP_KEY_MAX + 1];

	while (strlen(jid) + 4 < sizeof jid)
		(void)strcat(jid, "\xe2\x98\x83");
	(void)memcpy(other, jid, sizeof jid);
	other[strlen(other) - 1] = '\x82';
	fixture->options.agent = "cat >/dev/null; echo \"$KEEP_CHAT\"";
	journey_serve(fixture);
	journey_put(fixture, jid, "1", "hello");
	journey_put(fixture, other, "1", "hello");
	for (int i = 0; i < 2; i++) {
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_message answer = claim_one(fixture, "telegram", &memory);

		assert_bytes_equal(answer.content, answer.chat_jid);
		report(fixture, &answer, KEEP_DELIVERY_DELIVERED, NULL);
		keep_memory_release(&memory);
	}
	EVENTUALLY(trace_has(fixture, jid, "1", "\"state\":\"delivered\""));
	EVENTUALLY(trace_has(fixture, other, "1", "\"state\":\"delivered\""));
}

static void a_chat_that_is_called_as_an_agent_is_a_chat(void **state)
{
	journey_fixture *fixture = *state;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message answer;

	fixture->options.agent = "cat >/dev/null; echo yes";
	journey_serve(fixture);
	journey_put(fixture, "agent:main", "1", "hello");
	answer = claim_one(fixture, "agent", &memory);
	assert_bytes_equal(answer.chat_jid, KEEP_BYTES("agent:main"));
	assert_bytes_equal(answer.content, KEEP_BYTES("yes"));
	keep_memory_release(&memory);
}

/* Let the group answer slack's chat with the address, and others in the same session. */
static void wire(journey_fixture *fixture, const char *group, const char *chat)
{
	keep_agent_group agents = {.id = keep_bytes_of(group),
				   .name = keep_bytes_of(group),
				   .folder = keep_bytes_of(group)};
	keep_messaging_group place = {.id = keep_bytes_of(chat),
				      .channel_type = KEEP_BYTES("slack"),
				      .platform_id = keep_bytes_of(chat)};
	keep_messaging_group_agent wiring = {.messaging_group_id = keep_bytes_of(chat),
					     .agent_group_id = keep_bytes_of(group),
					     .session_mode = KEEP_BYTES("agent-shared")};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_mailbox_put_agent_group(fixture->mailbox, &agents, NULL, &err));
	OK(keep_mailbox_put_messaging_group(fixture->mailbox, &place, NULL, &err));
	OK(keep_mailbox_wire(fixture->mailbox, &wiring, NULL, &err));
}

/* Platforms number their messages by chat, so ids of several chats are the same. */
static void messages_of_one_id_are_traced_by_their_chat_and_by_each_agent(void **state)
{
	journey_fixture *fixture = *state;

	wire(fixture, "one", "A");
	wire(fixture, "one", "B");
	wire(fixture, "two", "A");
	fixture->options.agent = "grep -q fail && exit 3; echo \"$KEEP_FOLDER to $KEEP_CHAT\"";
	journey_serve(fixture);
	journey_put(fixture, "slack:A", "1", "hello");
	journey_put(fixture, "slack:B", "1", "please fail");
	for (int i = 0; i < 2; i++) {
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_message answer = claim_one(fixture, "slack", &memory);

		assert_bytes_equal(answer.chat_jid, KEEP_BYTES("slack:A"));
		assert_bytes_equal(answer.reply_to_id, KEEP_BYTES("1"));
		assert_false(trace_has(fixture, "slack:A", "1", "\"state\":\"delivered\""));
		report(fixture, &answer, KEEP_DELIVERY_DELIVERED, NULL);
		keep_memory_release(&memory);
	}
	EVENTUALLY(trace_has(fixture, "slack:A", "1", "\"state\":\"delivered\""));
	assert_false(trace_has(fixture, "slack:A", "1", "exit status 3"));
	EVENTUALLY(trace_has(fixture, "slack:B", "1",
			     "\"state\":\"waiting\",\"why\":\"exit status 3; it waits until"));
}

static void what_is_too_long_for_an_agent_holds_up_no_chat(void **state)
{
	journey_fixture *fixture = *state;
	char *text = malloc(KEEP_MAILBOX_CONTENT_MAX + 1);

	CHECK(text, "memory");
	memset(text, 'x', KEEP_MAILBOX_CONTENT_MAX);
	text[KEEP_MAILBOX_CONTENT_MAX] = '\0';
	wire(fixture, "one", "A");
	fixture->options.agent = "cat >/dev/null; echo yes";
	journey_serve(fixture);
	journey_put(fixture, "slack:A", "1", text);
	journey_put(fixture, "slack:A", "2", "short");
	EVENTUALLY(trace_has(fixture, "slack:A", "2", "\"state\":\"answered\""));
	assert_true(trace_has(fixture, "slack:A", "1", "it is over 1048576 bytes"));
	journey_stop(fixture);
	fixture->options.agent = NULL;
	journey_serve(fixture);
	journey_put(fixture, "mail:x", "1", text);
	EVENTUALLY(trace_has(fixture, "mail:x", "1", "\"state\":\"unrouted\""));
	free(text);
}

static void an_answer_that_the_mailbox_refuses_is_no_success(void **state)
{
	journey_fixture *fixture = *state;

	fixture->options.agent = "cat >/dev/null; echo '{\"text\":\"f\",\"files\":[\"../x\"]}'";
	journey_serve(fixture);
	journey_put(fixture, "telegram:42", "7", "hello");
	EVENTUALLY(
		trace_has(fixture, "telegram:42", "7", "\"state\":\"refused\",\"why\":\"files: "));
}

/* One is out, and what became of it is not known: the next one waits behind it. */
static void an_answer_that_waits_for_another_is_told_so(void **state)
{
	journey_fixture *fixture = *state;

	fixture->options.agent = "cat >/dev/null; echo yes";
	journey_serve(fixture);
	journey_put(fixture, "telegram:42", "1", "hello");
	EVENTUALLY(trace_has(fixture, "telegram:42", "1", "\"state\":\"answered\""));
	journey_put(fixture, "telegram:42", "2", "hello");
	EVENTUALLY(trace_has(fixture, "telegram:42", "2", "\"state\":\"answered\""));
	assert_true(trace_has(fixture, "telegram:42", "2", "until those before it are out"));
}

static void an_isolated_task_has_a_session_of_its_own(void **state)
{
	journey_fixture *fixture = *state;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_scheduled_task task = {.owner = KEEP_BYTES("main"),
				    .chat_jid = KEEP_BYTES("telegram:42"),
				    .prompt = KEEP_BYTES("look"),
				    .context_mode = KEEP_BYTES("isolated")};
	char task_id[37];
	keep_session_list sessions = {.count = 0};
	keep_message answer;
	keep_error err = KEEP_ERROR_INIT;

	fixture->options.agent = "cat >/dev/null; echo yes";
	journey_serve(fixture);
	journey_put(fixture, "telegram:42", "1", "hello");
	answer = claim_one(fixture, "telegram", &memory);
	report(fixture, &answer, KEEP_DELIVERY_DELIVERED, NULL);
	OK(keep_gateway_create_task(fixture->gateway, &task, NULL, task_id, &err));
	answer = claim_one(fixture, "telegram", &memory);
	assert_bytes_equal(answer.chat_jid, KEEP_BYTES("telegram:42"));
	assert_int_equal(answer.topic.len, 0);
	OK(keep_mailbox_list_sessions(fixture->mailbox, (keep_bytes){0}, (keep_bytes){0},
				      (keep_bytes){0}, 10, &memory, &sessions, &err));
	assert_int_equal(sessions.count, 2);
	keep_memory_release(&memory);
}

static int64_t seq_of(keep_bytes id, keep_bytes chat_jid)
{
	keep_error err = KEEP_ERROR_INIT;
	int64_t seq = -1;

	OK(kp_post_id_seq(id, chat_jid, &seq, &err));
	return seq;
}

/* An outcome whose attempt is not the mailbox's present one: the delivery was begun by somebody
   else just now. It is not settled before the mailbox knows an end. */
static void an_outcome_that_cannot_be_told_stays_in_the_feed(void **state)
{
	journey_fixture *fixture = *state;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message answer, stray = {.chat_jid = KEEP_BYTES("telegram:9"),
				      .id = KEEP_BYTES("stray"),
				      .content = KEEP_BYTES("x"),
				      .source = KEEP_BYTES("elsewhere")};
	keep_buffer back = KEEP_BUFFER_INIT;
	keep_message_list left = {.count = 0};
	keep_put_result result;
	keep_error err = KEEP_ERROR_INIT;
	keep_bytes to;

	fixture->options.agent = "cat >/dev/null; echo yes";
	journey_serve(fixture);
	journey_put(fixture, "telegram:1", "1", "hello");
	answer = claim_one(fixture, "telegram", &memory);
	/* The answer is `sending` with attempt 1 by now; this outcome speaks of attempt 2. */
	to = answer.return_to;
	OK(kp_buffer_append_format(&back, &err, "%.*s 2 %" KP_PRI,
				   (int)((const char *)memchr(to.data, ' ', to.len) - to.data),
				   to.data, KP_ARG(answer.id)));
	EVENTUALLY(delivery_is(fixture, "sending"));
	stray.return_to = kp_buffer_bytes(&back);
	OK(keep_gateway_put_outbound(fixture->gateway, &stray, &result, NULL, &err));
	stray = claim_one(fixture, "elsewhere", &memory);
	report(fixture, &stray, KEEP_DELIVERY_DELIVERED, NULL);
	/* Another outcome, later in the feed, is told meanwhile. */
	journey_put(fixture, "telegram:2", "1", "hello");
	answer = claim_one(fixture, "telegram", &memory);
	report(fixture, &answer, KEEP_DELIVERY_DELIVERED, NULL);
	EVENTUALLY(trace_has(fixture, "telegram:2", "1", "\"state\":\"delivered\""));
	OK(keep_gateway_outcomes(fixture->gateway, 10, &memory, &left, &err));
	assert_true(left.count >= 1);
	assert_bytes_equal(left.items[0].id, KEEP_BYTES("stray"));
	keep_buffer_release(&back);
	keep_memory_release(&memory);
}

static void names_lead_back_to_their_message(void **state)
{
	char id[KP_POST_ID_SIZE], other[KP_POST_ID_SIZE];
	keep_bytes channel, platform;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(kp_post_id(KEEP_BYTES("telegram:42"), 17, id, &err));
	OK(kp_post_id(KEEP_BYTES("telegram:43"), 17, other, &err));
	assert_string_not_equal(id, other);
	assert_int_equal(seq_of(keep_bytes_of(id), KEEP_BYTES("telegram:42")), 17);
	assert_int_equal(seq_of(keep_bytes_of(id), KEEP_BYTES("telegram:43")), 0);
	assert_int_equal(seq_of(KEEP_BYTES("m17"), KEEP_BYTES("telegram:42")), 0);
	assert_int_equal(seq_of(KEEP_BYTES(""), KEEP_BYTES("telegram:42")), 0);
	kp_jid_split(KEEP_BYTES("telegram:4:2"), KEEP_BYTES("x"), &channel, &platform);
	assert_bytes_equal(channel, KEEP_BYTES("telegram"));
	assert_bytes_equal(platform, KEEP_BYTES("4:2"));
	kp_jid_split(KEEP_BYTES("55@s.whatsapp.net"), KEEP_BYTES("whatsapp"), &channel, &platform);
	assert_bytes_equal(channel, KEEP_BYTES("whatsapp"));
	assert_bytes_equal(platform, KEEP_BYTES("55@s.whatsapp.net"));
}

int main(int argc, char **argv)
{
#define JOURNEY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		JOURNEY(a_message_is_answered_delivered_and_traced),
		JOURNEY(a_refused_delivery_is_told_to_the_agent),
		JOURNEY(routes_name_the_folder),
		JOURNEY(a_wired_agent_of_its_own_answers_itself),
		JOURNEY(without_anybody_a_message_is_noted_as_unrouted),
		JOURNEY(a_failing_agent_fails_with_its_reason),
		JOURNEY(an_outcome_that_cannot_be_told_stays_in_the_feed),
		JOURNEY(what_came_while_nobody_served_is_answered_by_the_next_host),
		JOURNEY(long_names_are_told_apart_and_answered),
		JOURNEY(a_chat_that_is_called_as_an_agent_is_a_chat),
		JOURNEY(messages_of_one_id_are_traced_by_their_chat_and_by_each_agent),
		JOURNEY(what_is_too_long_for_an_agent_holds_up_no_chat),
		JOURNEY(an_answer_that_the_mailbox_refuses_is_no_success),
		JOURNEY(an_answer_that_waits_for_another_is_told_so),
		JOURNEY(an_isolated_task_has_a_session_of_its_own),
		cmocka_unit_test(names_lead_back_to_their_message),
	};

	backend = argc > 1 ? argv[1] : "sqlite";
	return cmocka_run_group_tests(tests, NULL, NULL);
}

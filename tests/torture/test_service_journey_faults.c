/*
 * test_service_journey_faults.c - messages go through a service in which the Nth thing fails, and
 * each is answered exactly once.
 *
 * One service runs all the time. Each round arms a failure, once or from then on, puts a message
 * into a chat of its own, and waits until something failed or the answer is there; so what fails
 * is a router's, an agent's or a collector's, and what is repeated of earlier rounds fails, too.
 * At the end nothing fails any more, and then
 *
 *   1. every message that was accepted has one answer, which is the right one, to the right
 *      message, and no chat has a second one;
 *   2. every answer is delivered once, and the mailbox knows of it;
 *   3. after the stop no block is left.
 *
 * The program's argument is sqlite or postgres. KEEP_TORTURE=all: more rounds.
 */
#include "service/journey.h"
#include "service_rounds.h"
#include "sqlite_faults.h"

#include <sqlite3.h>

/* How long a message is waited for; how long all fails. None of them decides the outcome. */
enum { MESSAGES_MAX = 10000, ROUND_MS = 300, AWAY_MS = 50, PATIENCE_MS = 120000 };

static const char *backend;
static journey_fixture fixture;
static int rounds; /* each is a chat with one message */

static int64_t now_ms(void)
{
	return kp_monotonic_ns() / 1000000;
}

static const char *chat_of(int number)
{
	static char chat[32];

	(void)snprintf(chat, sizeof chat, "telegram:%d", number);
	return chat;
}

/* ---------------------------------------------------------------- an adapter */

/* The test's own calls fail, too; a put is repeated until it is acknowledged. */
static void put(int number, enum kp_fault_kind kind)
{
	keep_status status = KEEP_BUSY;
	int64_t until_ms = now_ms() + ROUND_MS;
	char text[32];

	(void)snprintf(text, sizeof text, "number %d", number);
	while (status != KEEP_OK) {
		keep_message message = {.chat_jid = keep_bytes_of(chat_of(number)),
					.id = KEEP_BYTES("m"),
					.sender = KEEP_BYTES("ada"),
					.content = keep_bytes_of(text)};
		keep_put_result result = {.put = KEEP_PUT_CONFLICT};
		keep_error err = KEEP_ERROR_INIT;

		if (now_ms() > until_ms) /* while all fails it never succeeds */
			(void)kp_fault_disarm(kind);
		status = keep_gateway_put_message(fixture.gateway, &message, NULL, &result, &err);
		CHECK(status == KEEP_OK || keep_status_can_retry(status) ||
			      status == KEEP_UNCERTAIN,
		      "put: %s: %s", keep_status_name(status), err.message);
		CHECK(status != KEEP_OK || result.put != KEEP_PUT_CONFLICT, "it is another one");
	}
}

static bool is_answered(int number)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list = {.count = 0};
	keep_error err = KEEP_ERROR_INIT;
	bool is = keep_gateway_history(fixture.gateway, keep_bytes_of(chat_of(number)), 0, 10,
				       &memory, &list, &err) == KEEP_OK &&
		  list.count == 2;

	keep_memory_release(&memory);
	return is;
}

static void play(enum kp_fault_kind kind, long nth, bool persistent)
{
	int64_t until_ms = now_ms() + (persistent ? AWAY_MS : ROUND_MS);
	int number = rounds++;

	CHECK(rounds < MESSAGES_MAX, "too many rounds");
	kp_fault_arm(kind, nth, persistent);
	put(number, kind);
	while (now_ms() < until_ms && !is_answered(number))
		(void)poll(NULL, 0, 5);
	(void)kp_fault_disarm(kind);
}

/* ---------------------------------------------------------------- in the end */

static size_t deliver(unsigned char *delivered)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list = {.count = 0};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_gateway_claim_deliveries(fixture.gateway, KEEP_BYTES("telegram"), 100, 0, KEEP_NOW,
					 &memory, &list, &err));
	for (size_t i = 0; i < list.count; i++) {
		const keep_message *answer = &list.items[i];
		keep_delivery_report what = {.jid = answer->chat_jid,
					     .id = answer->id,
					     .attempt = answer->attempts,
					     .delivery = KEEP_DELIVERY_DELIVERED,
					     .platform_id = KEEP_BYTES("p-1")};
		int64_t number = -1;
		char text[48];

		CHECK(kp_int_parse(
			      (keep_bytes){answer->chat_jid.data + 9, answer->chat_jid.len - 9},
			      &number) &&
			      number >= 0 && number < rounds,
		      "%" KP_PRI, KP_ARG(answer->chat_jid));
		(void)snprintf(text, sizeof text, "You said: number %lld", (long long)number);
		assert_bytes_equal(answer->content, keep_bytes_of(text));
		assert_bytes_equal(answer->reply_to_id, KEEP_BYTES("m"));
		CHECK(!delivered[number]++, "%" KP_PRI " is answered twice",
		      KP_ARG(answer->chat_jid));
		OK(keep_gateway_complete_delivery(fixture.gateway, &what, KEEP_NOW, &err));
	}
	keep_memory_release(&memory);
	return list.count;
}

static bool is_delivered(int number, bool tells)
{
	keep_buffer out = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	bool is;

	OK(kp_journey_trace(fixture.gateway, fixture.mailbox, keep_bytes_of(chat_of(number)),
			    KEEP_BYTES("m"), &out, &err));
	is = strstr(out.data, "\"state\":\"delivered\"") != NULL;
	if (tells && !is)
		print_error("%.*s\n", (int)out.len, out.data);
	keep_buffer_release(&out);
	return is;
}

static bool all_settled(void)
{
	bool more = false;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_gateway_wait_outcomes(fixture.gateway, 0, &more, &err));
	return !more;
}

static void each_is_answered_once(void)
{
	static unsigned char delivered[MESSAGES_MAX];
	int64_t until_ms = now_ms() + PATIENCE_MS * test_patience();
	size_t count = 0;

	while (count < (size_t)rounds && now_ms() < until_ms) {
		count += deliver(delivered);
		(void)poll(NULL, 0, 10);
	}
	for (int i = 0; i < rounds && count < (size_t)rounds; i++)
		if (!delivered[i])
			(void)is_delivered(i, true);
	CHECK(count == (size_t)rounds, "%zu of %d are answered", count, rounds);
	EVENTUALLY(all_settled());
	for (int i = 0; i < rounds; i++) {
		CHECK(is_delivered(i, true), "%s: not delivered", chat_of(i));
		CHECK(journey_count(&fixture, chat_of(i)) == 2, "%s: not one answer", chat_of(i));
	}
}

static void whatever_fails_each_message_is_answered_once(void **state)
{
	const enum kp_fault_kind kinds[] = {KP_FAULT_ALLOC, KP_FAULT_DRIVER, KP_FAULT_COMMIT,
					    strcmp(backend, "sqlite") == 0 ? KP_FAULT_FILE
									   : KP_FAULT_CONNECT};
	const long most[] = {2000, 400, 30, 200};

	(void)state;
	journey_begin(&fixture, backend);
	fixture.options.agent = "sed 's/^/You said: /'";
	fixture.options.agent_text = true;
	fixture.options.agents_max = 4;
	journey_serve(&fixture);
	for (size_t i = 0; i < KP_COUNT(kinds); i++)
		for (long nth = 1; nth < most[i]; nth = wants_all() ? nth + 1 + nth / 10 : nth * 2)
			for (int persistent = 0; persistent <= 1; persistent++)
				play(kinds[i], nth, persistent);
	print_message("%d rounds\n", rounds);
	each_is_answered_once();
	journey_end(&fixture);
	home_servers_drop();
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whatever_fails_each_message_is_answered_once),
	};

	backend = argc > 1 ? argv[1] : "sqlite";
	sqlite_faults_install();
	sqlite_faults_set_write_code(SQLITE_FULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

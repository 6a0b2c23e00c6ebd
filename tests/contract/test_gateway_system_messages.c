/*
 * test_gateway_system_messages.c - contracts/gateway.md, "System messages": their text, flush, and
 * claims that end with the turn.
 *
 *     test_gateway_system_messages sqlite|postgres
 */
#include "gateway_fixture.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

static keep_memory memory;
static const keep_bytes group = {"world/a", 7};

/* A message with these; NULL is absent. */
static keep_system_message make(const char *origin, const char *event, const char *body)
{
	return (keep_system_message){.group_id = group,
				     .origin = keep_bytes_of(origin),
				     .event = keep_bytes_of(event),
				     .body = keep_bytes_of(body)};
}

static int64_t enqueue(keep_gateway *gateway, const char *body)
{
	keep_system_message message = make("gateway", "note", body);
	keep_error err = KEEP_ERROR_INIT;
	keep_put put = KEEP_PUT_CONFLICT;
	int64_t id = 0;

	OK(keep_gateway_enqueue_system_message(gateway, &message, &put, &id, &err));
	assert_int_equal(put, KEEP_PUT_INSERTED);
	return id;
}

static keep_system_message_list flush(keep_gateway *gateway)
{
	keep_system_message_list list = {NULL, 0, {NULL, 0}};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_gateway_flush_system_messages(gateway, group, &memory, &list, &err));
	return list;
}

static keep_system_message_list claim(keep_gateway *gateway, const char *turn, int64_t lease_ms,
				      int64_t now_ms)
{
	keep_system_message_list list = {NULL, 0, {NULL, 0}};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_gateway_claim_system_messages(gateway, group, keep_bytes_of(turn), lease_ms, now_ms,
					      &memory, &list, &err));
	return list;
}

static keep_status complete(keep_gateway *gateway, const char *turn, int64_t *count)
{
	return keep_gateway_complete_system_messages(gateway, group, keep_bytes_of(turn), count,
						     NULL);
}

static void end(keep_gateway **gateway)
{
	keep_memory_release(&memory);
	keep_gateway_close(gateway);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- their text */

static void text_of(keep_gateway *gateway, const keep_system_message *message, const char *wanted)
{
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_gateway_enqueue_system_message(gateway, message, NULL, NULL, &err));
	assert_bytes_equal(flush(gateway).text, keep_bytes_of(wanted));
}

static void each_message_is_an_element_and_a_line(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_system_message_list list;
	keep_error err = KEEP_ERROR_INIT;
	keep_system_message message = make("gateway", "new_day", "It is Tuesday.");

	(void)state;
	OK(keep_gateway_enqueue_system_message(gateway, &message, NULL, NULL, &err));
	message = make("command", "new_session", NULL);
	OK(keep_gateway_enqueue_system_message(gateway, &message, NULL, NULL, &err));
	list = flush(gateway);
	assert_int_equal(list.count, 2);
	assert_bytes_equal(list.items[0].event, KEEP_BYTES("new_day"));
	assert_bytes_equal(list.items[1].body, KEEP_BYTES(""));
	assert_true(list.items[0].id < list.items[1].id);
	assert_bytes_equal(
		list.text,
		KEEP_BYTES("<system_message origin=\"gateway\" event=\"new_day\">It is Tuesday."
			   "</system_message>\n"
			   "<system_message origin=\"command\" event=\"new_session\">"
			   "</system_message>\n"));
	list = flush(gateway);
	assert_int_equal(list.count, 0);
	assert_bytes_equal(list.text, KEEP_BYTES(""));
	end(&gateway);
}

static void attributes_and_body_are_escaped(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_system_message message =
		make("a\"b<c>&d'", "tab\there\nand\rthere\x7f", "1 < 2 && \"q\"");

	(void)state;
	text_of(gateway, &message,
		"<system_message origin=\"a&quot;b&lt;c&gt;&amp;d'\" "
		"event=\"tab&#9;here&#10;and&#13;there&#127;\">1 &lt; 2 &amp;&amp; \"q\""
		"</system_message>\n");
	message = make("g", "e", "</system_message><system_message origin=\"root\">");
	text_of(gateway, &message,
		"<system_message origin=\"g\" event=\"e\">&lt;/system_message&gt;"
		"&lt;system_message origin=\"root\"&gt;</system_message>\n");
	end(&gateway);
}

static void a_body_declared_xml_that_parses_is_not_escaped(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_system_message message =
		make("g", "e", "<previous_session id=\"1\" msgs=\"2\"/> &amp;");

	(void)state;
	message.is_xml = true;
	text_of(gateway, &message,
		"<system_message origin=\"g\" event=\"e\"><previous_session id=\"1\" msgs=\"2\"/> "
		"&amp;</system_message>\n");
	message.is_xml = false;
	text_of(gateway, &message,
		"<system_message origin=\"g\" event=\"e\">&lt;previous_session id=\"1\" msgs=\"2\"/"
		"&gt; &amp;amp;</system_message>\n");
	end(&gateway);
}

static void more_attributes_follow_in_their_order(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_system_message message = make("g", "e", "b");

	(void)state;
	message.attributes = KEEP_BYTES("{\"zone\":\"a\\\"b\\n\", \"at\" : \"1\\u00e9\"}");
	text_of(gateway, &message,
		"<system_message origin=\"g\" event=\"e\" zone=\"a&quot;b&#10;\" at=\"1\xc3\xa9\">b"
		"</system_message>\n");
	message.attributes = KEEP_BYTES("{}");
	text_of(gateway, &message, "<system_message origin=\"g\" event=\"e\">b</system_message>\n");
	end(&gateway);
}

static void what_another_writer_stored_wrongly_is_still_well_formed(void **state)
{
	keep_gateway *gateway = gateway_fresh();

	(void)state;
	(void)enqueue(gateway, "b");
	(void)enqueue(gateway, "c");
	(void)gateway_sql("UPDATE system_messages SET is_xml = TRUE, body = '</system_message>', "
			  "attributes = '{\"origin\":\"x\",\"a b\":\"x\",\"n\":1,\"ok\":\"y\"}' "
			  "WHERE body = 'b'");
	(void)gateway_sql("UPDATE system_messages SET attributes = '[1]' WHERE body = 'c'");
	assert_bytes_equal(
		flush(gateway).text,
		KEEP_BYTES(
			"<system_message origin=\"gateway\" event=\"note\" ok=\"y\">"
			"&lt;/system_message&gt;</system_message>\n"
			"<system_message origin=\"gateway\" event=\"note\">c</system_message>\n"));
	end(&gateway);
}

/* ---------------------------------------------------------------- enqueue */

static void refused(keep_gateway *gateway, const keep_system_message *message, keep_status wanted,
		    const char *names)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_status status =
		keep_gateway_enqueue_system_message(gateway, message, NULL, NULL, &err);

	CHECK(status == wanted, "%s: %s", keep_status_name(status), err.message);
	CHECK(strstr(err.message, names), "'%s' does not name %s", err.message, names);
}

static void bad_messages_are_refused_and_named(void **state)
{
	static const char *const attributes[] = {"[]",
						 "1",
						 "{",
						 "{\"a\":1}",
						 "{\"a\":null}",
						 "{\"a b\":\"x\"}",
						 "{\"\":\"x\"}",
						 "{\"9\":\"x\"}",
						 "{\"origin\":\"x\"}",
						 "{\"event\":\"x\"}",
						 "{\"xmlns\":\"x\"}",
						 "{\"a:b\":\"x\"}",
						 "{\"a\":\"\\u0001\"}",
						 "{\"a\":\"\\u0000\"}",
						 "{\"a\":\"x\",\"a\":\"y\"}",
						 "{\"a\":{}}",
						 "{\"a\\u0000\":\"x\"}"};
	static const char *const bodies[] = {"<a>",
					     "&nbsp;",
					     "<!DOCTYPE a><a/>",
					     "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
					     "</system_message>",
					     "<?xml version=\"1.0\"?><a/>"};
	keep_gateway *gateway = gateway_fresh();
	keep_system_message message = make("g", "e", "b");
	char *large = malloc(KEEP_GATEWAY_CONTENT_MAX + 1);

	(void)state;
	memset(large, 'x', KEEP_GATEWAY_CONTENT_MAX + 1);
	for (size_t i = 0; i < KP_COUNT(attributes); i++) {
		message.attributes = keep_bytes_of(attributes[i]);
		refused(gateway, &message, KEEP_INVALID, "attributes");
	}
	message.attributes = (keep_bytes){0};
	message.is_xml = true;
	for (size_t i = 0; i < KP_COUNT(bodies); i++) {
		message.body = keep_bytes_of(bodies[i]);
		refused(gateway, &message, KEEP_INVALID, "body");
	}
	message.is_xml = false;
	message.body = KEEP_BYTES("a\x02z");
	refused(gateway, &message, KEEP_INVALID, "body");
	message.body = (keep_bytes){large, KEEP_GATEWAY_CONTENT_MAX + 1};
	refused(gateway, &message, KEEP_FULL, "body");
	message = make("", "e", "b");
	refused(gateway, &message, KEEP_INVALID, "origin");
	message = make("g\x01", "e", "b");
	refused(gateway, &message, KEEP_INVALID, "origin");
	message = make("g", NULL, "b");
	refused(gateway, &message, KEEP_INVALID, "event");
	message = make("g", "\xef\xbf\xbf", "b");
	refused(gateway, &message, KEEP_INVALID, "event");
	message.event = (keep_bytes){large, KEEP_GATEWAY_TEXT_MAX + 1};
	refused(gateway, &message, KEEP_INVALID, "event");
	message = make("g", "e", "b");
	message.dedup_key = KEEP_BYTES("");
	refused(gateway, &message, KEEP_INVALID, "dedup_key");
	message = make("g", "e", "b");
	message.group_id = KEEP_BYTES("../a");
	refused(gateway, &message, KEEP_INVALID, "group_id");
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM system_messages"), "0");
	free(large);
	end(&gateway);
}

static void under_a_dedup_key_one_waits(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_system_message message = make("g", "e", "b"), other;
	keep_error err = KEEP_ERROR_INIT;
	keep_put put = KEEP_PUT_CONFLICT;
	int64_t id = 0, first = 0;

	(void)state;
	message.dedup_key = KEEP_BYTES("day-1");
	OK(keep_gateway_enqueue_system_message(gateway, &message, &put, &first, &err));
	assert_int_equal(put, KEEP_PUT_INSERTED);
	OK(keep_gateway_enqueue_system_message(gateway, &message, &put, &id, &err));
	assert_int_equal(put, KEEP_PUT_DUPLICATE);
	assert_int_equal(id, first);
	for (int part = 0; part < 5; part++) {
		other = message;
		other.origin = part == 0 ? KEEP_BYTES("x") : other.origin;
		other.event = part == 1 ? KEEP_BYTES("x") : other.event;
		other.body = part == 2 ? KEEP_BYTES("x") : other.body;
		other.attributes = part == 3 ? KEEP_BYTES("{\"x\":\"y\"}") : other.attributes;
		other.is_xml = part == 4;
		put = KEEP_PUT_INSERTED;
		assert_int_equal(
			keep_gateway_enqueue_system_message(gateway, &other, &put, &id, &err),
			KEEP_CONFLICT);
		assert_int_equal(put, KEEP_PUT_CONFLICT);
		assert_int_equal(id, first);
	}
	/* Another folder has keys of its own, and a claimed one still counts. */
	other = message;
	other.group_id = KEEP_BYTES("world/b");
	OK(keep_gateway_enqueue_system_message(gateway, &other, &put, &id, &err));
	assert_int_equal(put, KEEP_PUT_INSERTED);
	assert_int_equal(claim(gateway, "t", 0, KEEP_NOW).count, 1);
	OK(keep_gateway_enqueue_system_message(gateway, &message, &put, &id, &err));
	assert_int_equal(put, KEEP_PUT_DUPLICATE);
	assert_int_equal(complete(gateway, "t", NULL), KEEP_OK);
	OK(keep_gateway_enqueue_system_message(gateway, &message, &put, &id, &err));
	assert_int_equal(put, KEEP_PUT_INSERTED);
	assert_int_equal(flush(gateway).count, 1);
	OK(keep_gateway_enqueue_system_message(gateway, &message, &put, &id, &err));
	assert_int_equal(put, KEEP_PUT_INSERTED);
	end(&gateway);
}

/* ---------------------------------------------------------------- flush and claim */

static void flush_takes_one_folder_and_leaves_what_a_live_turn_has(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_system_message other = make("g", "e", "b");
	keep_system_message_list list;
	keep_error err = KEEP_ERROR_INIT;
	int64_t count = 0;

	(void)state;
	other.group_id = KEEP_BYTES("world/b");
	OK(keep_gateway_enqueue_system_message(gateway, &other, NULL, NULL, &err));
	(void)enqueue(gateway, "1");
	assert_int_equal(claim(gateway, "t", 0, KEEP_NOW).count, 1);
	(void)enqueue(gateway, "2");
	(void)enqueue(gateway, "3");
	list = flush(gateway);
	assert_int_equal(list.count, 2);
	assert_bytes_equal(list.items[0].body, KEEP_BYTES("2"));
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM system_messages"), "2");
	assert_int_equal(complete(gateway, "t", &count), KEEP_OK);
	assert_int_equal(count, 1);
	assert_string_equal(gateway_sql("SELECT body FROM system_messages"), "b");
	assert_int_equal(
		keep_gateway_flush_system_messages(gateway, KEEP_BYTES("/"), &memory, &list, &err),
		KEEP_INVALID);
	end(&gateway);
}

static void a_claimed_message_is_gone_with_the_turn_or_waits_again(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_system_message_list list;
	keep_error err = KEEP_ERROR_INIT;
	int64_t count = 0;

	(void)state;
	(void)enqueue(gateway, "1");
	(void)enqueue(gateway, "2");
	list = claim(gateway, "t", 0, KEEP_NOW);
	assert_int_equal(list.count, 2);
	assert_bytes_equal(list.items[0].body, KEEP_BYTES("1"));
	assert_bytes_equal(list.items[0].turn_id, KEEP_BYTES("t"));
	assert_bytes_equal(list.items[0].lease_by, KEEP_BYTES("keep"));
	assert_true(list.items[0].has_lease_until);
	assert_int_equal(list.items[0].attempts, 1);
	assert_bytes_equal(
		list.text,
		KEEP_BYTES(
			"<system_message origin=\"gateway\" event=\"note\">1</system_message>\n"
			"<system_message origin=\"gateway\" event=\"note\">2</system_message>\n"));
	assert_int_equal(claim(gateway, "u", 0, KEEP_NOW).count, 0);
	OK(keep_gateway_release_system_messages(gateway, group, KEEP_BYTES("t"), &count, &err));
	assert_int_equal(count, 2);
	OK(keep_gateway_release_system_messages(gateway, group, KEEP_BYTES("t"), &count, &err));
	assert_int_equal(count, 0);
	list = claim(gateway, "u", 0, KEEP_NOW);
	assert_int_equal(list.count, 2);
	assert_int_equal(list.items[1].attempts, 2);
	/* The first one's complete is late: it released them itself, and has none. */
	assert_int_equal(complete(gateway, "t", &count), KEEP_OK);
	assert_int_equal(count, 0);
	assert_int_equal(complete(gateway, "u", &count), KEEP_OK);
	assert_int_equal(count, 2);
	assert_int_equal(complete(gateway, "u", &count), KEEP_OK); /* again */
	assert_int_equal(count, 0);
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM system_messages"), "0");
	end(&gateway);
}

static void a_turn_that_claims_again_has_all_of_its_own_and_the_new(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_system_message_list list;
	int64_t count = 0;

	(void)state;
	(void)enqueue(gateway, "1");
	(void)claim(gateway, "t", 1000, 5000000);
	(void)enqueue(gateway, "2");
	list = claim(gateway, "t", 1000, 5000500);
	assert_int_equal(list.count, 2);
	assert_bytes_equal(list.items[0].body, KEEP_BYTES("1"));
	assert_int_equal(list.items[0].attempts, 1);
	assert_int_equal(list.items[0].lease_until, 5001500);
	assert_int_equal(list.items[1].lease_until, 5001500);
	/* After its lease it is one attempt more. */
	list = claim(gateway, "t", 1000, 6000000);
	assert_int_equal(list.items[0].attempts, 2);
	assert_int_equal(complete(gateway, "t", &count), KEEP_OK);
	assert_int_equal(count, 2);
	end(&gateway);
}

static void a_lease_that_is_over_is_taken_by_the_next_claim(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_system_message_list list;
	keep_error err = KEEP_ERROR_INIT;
	int64_t count = 0;

	(void)state;
	(void)enqueue(gateway, "1");
	(void)enqueue(gateway, "2");
	assert_int_equal(claim(gateway, "t", 1000, 5000000).count, 2);
	assert_int_equal(claim(gateway, "u", 1000, 5000999).count, 0);
	list = claim(gateway, "u", 1000, 5001000);
	assert_int_equal(list.count, 2);
	assert_int_equal(list.items[0].attempts, 2);
	assert_bytes_equal(list.items[0].turn_id, KEEP_BYTES("u"));
	assert_int_equal(keep_gateway_complete_system_messages(gateway, group, KEEP_BYTES("t"),
							       &count, &err),
			 KEEP_CONFLICT);
	assert_non_null(strstr(err.message, "'t'"));
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM system_messages"), "2");
	assert_int_equal(complete(gateway, "u", &count), KEEP_OK);
	assert_int_equal(count, 2);
	/* Gone as they are, the late one is still told. */
	assert_int_equal(complete(gateway, "t", &count), KEEP_CONFLICT);
	OK(keep_gateway_release_system_messages(gateway, group, KEEP_BYTES("t"), &count, &err));
	assert_int_equal(complete(gateway, "t", &count), KEEP_OK);
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM lost_claims"), "0");
	end(&gateway);
}

static void a_lease_that_is_over_does_not_matter_while_nobody_else_came(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	int64_t count = 0;

	(void)state;
	(void)enqueue(gateway, "1");
	assert_int_equal(claim(gateway, "t", 1, 5000000).count, 1);
	assert_int_equal(complete(gateway, "t", &count), KEEP_OK);
	assert_int_equal(count, 1);
	end(&gateway);
}

static void a_flush_after_the_lease_takes_them_and_the_late_complete_is_refused(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	int64_t count = 0;

	(void)state;
	(void)enqueue(gateway, "1");
	assert_int_equal(claim(gateway, "t", 1, 5000000).count, 1);
	assert_int_equal(flush(gateway).count, 1);
	assert_int_equal(complete(gateway, "t", &count), KEEP_CONFLICT);
	/* With its next claim it begins anew. */
	(void)enqueue(gateway, "2");
	assert_int_equal(claim(gateway, "t", 0, KEEP_NOW).count, 1);
	assert_int_equal(complete(gateway, "t", &count), KEEP_OK);
	assert_int_equal(count, 1);
	end(&gateway);
}

static void lost_claims_are_forgotten_after_a_week(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	const int64_t week_ms = INT64_C(604800000);

	(void)state;
	(void)enqueue(gateway, "1");
	(void)claim(gateway, "t", 1, 5000000);
	(void)claim(gateway, "u", 1, 5000001);
	(void)claim(gateway, "v", 1, 5000002);
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM lost_claims"), "2");
	(void)claim(gateway, "w", 1, 5000003 + week_ms);
	assert_string_equal(gateway_sql("SELECT turn_id FROM lost_claims"), "v");
	end(&gateway);
}

static void bad_claims_are_refused(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_system_message_list list;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	assert_int_equal(keep_gateway_claim_system_messages(gateway, group, KEEP_BYTES(""), 0,
							    KEEP_NOW, &memory, &list, &err),
			 KEEP_INVALID);
	assert_non_null(strstr(err.message, "turn_id"));
	assert_int_equal(keep_gateway_claim_system_messages(gateway, group, KEEP_BYTES("t"), -1,
							    KEEP_NOW, &memory, &list, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_gateway_claim_system_messages(gateway, group, KEEP_BYTES("t"),
							    INT64_MAX, KEEP_NOW, &memory, &list,
							    &err),
			 KEEP_INVALID);
	assert_int_equal(keep_gateway_claim_system_messages(gateway, group, KEEP_BYTES("t"), 0,
							    INT64_MAX, &memory, &list, &err),
			 KEEP_INVALID);
	assert_int_equal(
		keep_gateway_complete_system_messages(gateway, group, (keep_bytes){0}, NULL, &err),
		KEEP_INVALID);
	assert_int_equal(keep_gateway_release_system_messages(gateway, KEEP_BYTES("a b"),
							      KEEP_BYTES("t"), NULL, &err),
			 KEEP_INVALID);
	end(&gateway);
}

/* ---------------------------------------------------------------- limits */

static void fill(int count)
{
	char sql[500];

	snprintf(
		sql, sizeof sql,
		gateway_is_file()
			? "INSERT INTO system_messages (group_id, origin, event, body, created_at) "
			  "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i "
			  "< %d) SELECT 'world/a', 'o', 'e', i, '2026-01-01T00:00:00.000Z' FROM n"
			: "INSERT INTO system_messages (group_id, origin, event, body, created_at) "
			  "SELECT 'world/a', 'o', 'e', i, now() FROM generate_series(1, %d) i",
		count);
	(void)gateway_sql(sql);
}

static void an_answer_has_a_thousand_messages_and_the_rest_waits(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_system_message_list list;
	int64_t count = 0;

	(void)state;
	fill(2500);
	list = claim(gateway, "t", 0, KEEP_NOW);
	assert_int_equal(list.count, 1000);
	assert_bytes_equal(list.items[999].body, KEEP_BYTES("1000"));
	assert_int_equal(claim(gateway, "t", 0, KEEP_NOW).count, 1000);
	list = flush(gateway);
	assert_int_equal(list.count, 1000);
	assert_bytes_equal(list.items[0].body, KEEP_BYTES("1001"));
	for (size_t i = 1; i < list.count; i++)
		assert_true(list.items[i - 1].id < list.items[i].id);
	assert_int_equal(complete(gateway, "t", &count), KEEP_OK);
	assert_int_equal(count, 1000);
	list = flush(gateway);
	assert_int_equal(list.count, 500);
	assert_bytes_equal(list.items[499].body, KEEP_BYTES("2500"));
	assert_int_equal(flush(gateway).count, 0);
	end(&gateway);
}

static void an_answer_of_large_bodies_is_cut_and_the_rest_waits(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_system_message message = make("g", "e", NULL);
	char *body = malloc(KEEP_GATEWAY_CONTENT_MAX);
	keep_error err = KEEP_ERROR_INIT;
	size_t first;

	(void)state;
	memset(body, 'x', KEEP_GATEWAY_CONTENT_MAX);
	message.body = (keep_bytes){body, KEEP_GATEWAY_CONTENT_MAX};
	for (int i = 0; i < 66; i++)
		OK(keep_gateway_enqueue_system_message(gateway, &message, NULL, NULL, &err));
	first = flush(gateway).count;
	assert_int_equal(first, 64);
	keep_memory_release(&memory);
	assert_int_equal(flush(gateway).count, 2);
	free(body);
	end(&gateway);
}

/* ---------------------------------------------------------------- many at once */

enum { WRITERS = 3, EACH = 60 };

struct race {
	keep_gateway *gateway;
	int number;
	atomic_bool *is_over;
	int64_t got;
	bool failed;
};

static void *write_many(void *ctx)
{
	struct race *race = ctx;

	for (int i = 0; i < EACH; i++) {
		keep_system_message message;
		char body[32];

		snprintf(body, sizeof body, "%d-%d", race->number, i);
		message = make("g", "e", body);
		if (keep_gateway_enqueue_system_message(race->gateway, &message, NULL, NULL,
							NULL) != KEEP_OK)
			race->failed = true;
	}
	return NULL;
}

static void *take_many(void *ctx)
{
	struct race *race = ctx;
	keep_memory own = KEEP_MEMORY_INIT;

	for (int round = 0;; round++) {
		bool was_over = *race->is_over;
		keep_system_message_list list = {NULL, 0, {NULL, 0}};
		char turn[32];
		int64_t count = 0;

		snprintf(turn, sizeof turn, "t%d-%d", race->number, round);
		if (race->number == 0) {
			if (keep_gateway_flush_system_messages(race->gateway, group, &own, &list,
							       NULL) != KEEP_OK)
				race->failed = true;
			count = (int64_t)list.count;
		} else if (keep_gateway_claim_system_messages(race->gateway, group,
							      keep_bytes_of(turn), 0, KEEP_NOW,
							      &own, &list, NULL) != KEEP_OK ||
			   keep_gateway_complete_system_messages(race->gateway, group,
								 keep_bytes_of(turn), &count,
								 NULL) != KEEP_OK ||
			   count != (int64_t)list.count) {
			race->failed = true;
		}
		race->got += count;
		keep_memory_release(&own);
		if (was_over && count == 0)
			return NULL;
	}
}

static void each_message_is_handed_out_once_to_many_takers(void **state)
{
	keep_gateway *gateways[2] = {gateway_fresh(), gateway_again("gated")};
	struct race writers[WRITERS], takers[3];
	pthread_t threads[WRITERS + 3];
	atomic_bool is_over = false;
	int64_t got = 0;

	(void)state;
	for (int i = 0; i < WRITERS; i++) {
		writers[i] = (struct race){gateways[i % 2], i, &is_over, 0, false};
		assert_int_equal(pthread_create(&threads[i], NULL, write_many, &writers[i]), 0);
	}
	for (int i = 0; i < 3; i++) {
		takers[i] = (struct race){gateways[i % 2], i, &is_over, 0, false};
		assert_int_equal(pthread_create(&threads[WRITERS + i], NULL, take_many, &takers[i]),
				 0);
	}
	for (int i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	is_over = true;
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[WRITERS + i], NULL);
		got += takers[i].got;
		assert_false(takers[i].failed);
	}
	assert_int_equal(got, WRITERS * EACH);
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM system_messages"), "0");
	keep_gateway_close(&gateways[0]);
	end(&gateways[1]);
}

/* ---------------------------------------------------------------- other processes */

/* A process that claims, says so and waits to be killed. */
static int be_a_claimant(const char *url, int fd)
{
	keep_gateway *gateway = NULL;
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_system_message_list list;

	options.service = "gated";
	if (keep_gateway_open(url, &options, &gateway, NULL) != KEEP_OK ||
	    keep_gateway_claim_system_messages(gateway, group, KEEP_BYTES("theirs"), 0, KEEP_NOW,
					       &memory, &list, NULL) != KEEP_OK)
		return 1;
	if (write(fd, &list.count, sizeof list.count) != (ssize_t)sizeof list.count)
		return 2;
	for (;;)
		pause();
}

static pid_t start_claimant(int *fd)
{
	const char *url = gateway_url(); /* names this process */
	int fds[2];
	char number[16];
	pid_t child;

	assert_int_equal(pipe(fds), 0);
	snprintf(number, sizeof number, "%d", fds[1]);
	child = fork();
	if (child == 0) {
		execl(gateway_program(), "claimant", gateway_kind(), "claimant", url, number,
		      (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	*fd = fds[0];
	return child;
}

static void what_a_living_process_has_stays_and_what_a_dead_one_had_comes_at_once(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_system_message_list list;
	size_t count = 0;
	int fd, how;
	pid_t child;

	(void)state;
	(void)enqueue(gateway, "1");
	(void)enqueue(gateway, "2");
	child = start_claimant(&fd);
	assert_int_equal(read(fd, &count, sizeof count), sizeof count);
	assert_int_equal(count, 2);
	assert_int_equal(claim(gateway, "ours", 0, KEEP_NOW).count, 0);
	assert_int_equal(flush(gateway).count, 0);
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, &how, 0), child);
	list = claim(gateway, "ours", 0, KEEP_NOW);
	assert_int_equal(list.count, 2);
	assert_int_equal(list.items[0].attempts, 2);
	assert_int_equal(complete(gateway, "theirs", NULL), KEEP_CONFLICT);
	assert_int_equal(complete(gateway, "ours", NULL), KEEP_OK);
	close(fd);
	end(&gateway);
}

static void a_read_only_gateway_hands_out_nothing(void **state)
{
	keep_gateway *gateway = gateway_fresh(), *reader = NULL;
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_system_message message = make("g", "e", "b");
	keep_system_message_list list;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	(void)enqueue(gateway, "1");
	options.read_only = true;
	OK(gateway_open_with(&options, &reader, &err));
	assert_int_equal(keep_gateway_flush_system_messages(reader, group, &memory, &list, &err),
			 KEEP_DENIED);
	assert_int_equal(keep_gateway_claim_system_messages(reader, group, KEEP_BYTES("t"), 0,
							    KEEP_NOW, &memory, &list, &err),
			 KEEP_DENIED);
	assert_int_equal(keep_gateway_enqueue_system_message(reader, &message, NULL, NULL, &err),
			 KEEP_DENIED);
	assert_int_equal(complete(reader, "t", NULL), KEEP_DENIED);
	keep_gateway_close(&reader);
	assert_int_equal(flush(gateway).count, 1);
	end(&gateway);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_message_is_an_element_and_a_line),
		cmocka_unit_test(attributes_and_body_are_escaped),
		cmocka_unit_test(a_body_declared_xml_that_parses_is_not_escaped),
		cmocka_unit_test(more_attributes_follow_in_their_order),
		cmocka_unit_test(what_another_writer_stored_wrongly_is_still_well_formed),
		cmocka_unit_test(bad_messages_are_refused_and_named),
		cmocka_unit_test(under_a_dedup_key_one_waits),
		cmocka_unit_test(flush_takes_one_folder_and_leaves_what_a_live_turn_has),
		cmocka_unit_test(a_claimed_message_is_gone_with_the_turn_or_waits_again),
		cmocka_unit_test(a_turn_that_claims_again_has_all_of_its_own_and_the_new),
		cmocka_unit_test(a_lease_that_is_over_is_taken_by_the_next_claim),
		cmocka_unit_test(a_lease_that_is_over_does_not_matter_while_nobody_else_came),
		cmocka_unit_test(
			a_flush_after_the_lease_takes_them_and_the_late_complete_is_refused),
		cmocka_unit_test(lost_claims_are_forgotten_after_a_week),
		cmocka_unit_test(bad_claims_are_refused),
		cmocka_unit_test(an_answer_has_a_thousand_messages_and_the_rest_waits),
		cmocka_unit_test(an_answer_of_large_bodies_is_cut_and_the_rest_waits),
		cmocka_unit_test(each_message_is_handed_out_once_to_many_takers),
		cmocka_unit_test(
			what_a_living_process_has_stays_and_what_a_dead_one_had_comes_at_once),
		cmocka_unit_test(a_read_only_gateway_hands_out_nothing),
	};
	int failed;

	if (argc > 4 && strcmp(argv[2], "claimant") == 0)
		return be_a_claimant(argv[3], atoi(argv[4]));
	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}

/*
 * test_assistant_messages.c - messages are numbered without a gap, there once, and read by page.
 *
 *     test_assistant_messages sqlite|postgres
 */
#include "assistant_rows.h"

#include <pthread.h>

#define T0 INT64_C(1790000000000)

static const keep_bytes none = {NULL, 0};
static keep_memory memory = KEEP_MEMORY_INIT;
static keep_error err = KEEP_ERROR_INIT;

static keep_conversation_message say(const char *conversation_id, const char *content)
{
	return (keep_conversation_message){.conversation_id = keep_bytes_of(conversation_id),
					   .role = KEEP_BYTES("user"),
					   .content = keep_bytes_of(content)};
}

static keep_conversation get(keep_assistant *assistant, const char *id)
{
	keep_conversation found;

	OK(keep_assistant_get_conversation(assistant, keep_bytes_of(id), &memory, &found, &err));
	return found;
}

static keep_message_page page_of(keep_assistant *assistant, const char *id, int64_t before,
				 size_t limit, bool with_internal)
{
	keep_message_page page;

	OK(keep_assistant_page(assistant, keep_bytes_of(id), before, limit, with_internal, &memory,
			       &page, &err));
	return page;
}

static void end(keep_assistant **assistant)
{
	keep_memory_release(&memory);
	keep_assistant_close(assistant);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- appending */

static void a_message_gets_the_next_number_and_renews_its_conversation(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_conversation_message message = say("c", "What's in \"it\"?"), stored;
	keep_append_result result;
	keep_conversation before, after;

	(void)state;
	(void)assistant_conversation(assistant, "c");
	(void)assistant_sql("UPDATE conversations SET updated_at = '2020-01-01T00:00:00.000Z', "
			    "last_accessed = '2020-01-01T00:00:00.000Z'");
	before = get(assistant, "c");
	message.message_id = KEEP_BYTES("m1");
	message.metadata = KEEP_BYTES("{\"source\":\"test\"}");
	message.timestamp = T0;
	message.is_summary = true;
	message.token_count = 7;
	OK(keep_assistant_append(assistant, &message, &result, &err));
	assert_int_equal(result.seq, 1);
	assert_false(result.is_duplicate);
	assert_string_equal(result.message_id, "");
	after = get(assistant, "c");
	assert_int_equal(after.last_seq, 1);
	assert_int_equal(after.message_count, 1);
	assert_int_equal(after.last_message_at, T0);
	assert_true(after.updated_at > before.updated_at);
	assert_int_equal(after.last_accessed, after.updated_at);
	OK(keep_assistant_get_message(assistant, KEEP_BYTES("m1"), &memory, &stored, &err));
	assert_int_equal(stored.id, result.id);
	assert_int_equal(stored.seq, 1);
	assert_int_equal(stored.token_count, 7);
	assert_int_equal(stored.timestamp, T0);
	assert_true(stored.is_summary);
	assert_false(stored.has_summarised_by);
	assert_bytes_equal(stored.content, message.content);
	assert_bytes_equal(stored.metadata, message.metadata);
	assert_int_equal(assistant_append(assistant, "c", "two"), 2);
	end(&assistant);
}

static void internal_messages_are_numbered_and_not_counted(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_conversation_message message = say("c", "a plan");
	keep_conversation found;

	(void)state;
	(void)assistant_conversation(assistant, "c");
	message.is_internal = true;
	OK(keep_assistant_append(assistant, &message, NULL, &err));
	found = get(assistant, "c");
	assert_int_equal(found.last_seq, 1);
	assert_int_equal(found.message_count, 0);
	assert_false(found.has_last_message_at);
	assert_int_equal(assistant_append(assistant, "c", "seen"), 2);
	OK(keep_assistant_append(assistant, &message, NULL, &err));
	found = get(assistant, "c");
	assert_int_equal(found.last_seq, 3);
	assert_int_equal(found.message_count, 1);
	assert_true(found.has_last_message_at);
	end(&assistant);
}

static void what_is_missing_is_filled_in(void **state)
{
	static const struct {
		const char *content;
		int64_t tokens;
	} estimates[] = {{"", 0}, {"x", 1}, {"four", 1}, {"fives", 2}, {"ääää", 2}};
	keep_assistant *assistant = assistant_fresh();

	(void)state;
	(void)assistant_conversation(assistant, "c");
	for (size_t i = 0; i < KP_COUNT(estimates); i++) {
		keep_conversation_message message = say("c", estimates[i].content), stored;
		keep_append_result result;
		int64_t begun = kp_clock_ms();

		OK(keep_assistant_append(assistant, &message, &result, &err));
		assert_int_equal(strlen(result.message_id), 36);
		OK(keep_assistant_get_message(assistant, keep_bytes_of(result.message_id), &memory,
					      &stored, &err));
		assert_int_equal(stored.token_count, estimates[i].tokens);
		assert_true(stored.timestamp >= begun && stored.timestamp <= kp_clock_ms());
		assert_null(stored.metadata.data);
	}
	end(&assistant);
}

static void the_same_message_again_changes_nothing(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_conversation_message message = say("c", "once");
	keep_append_result first, again;
	keep_conversation before, after;

	(void)state;
	(void)assistant_conversation(assistant, "c");
	(void)assistant_conversation(assistant, "d");
	message.message_id = KEEP_BYTES("m");
	OK(keep_assistant_append(assistant, &message, &first, &err));
	(void)assistant_append(assistant, "c", "between");
	(void)assistant_sql("UPDATE conversations SET updated_at = '2020-01-01T00:00:00.000Z', "
			    "last_accessed = '2020-01-01T00:00:00.000Z'");
	before = get(assistant, "c");
	OK(keep_assistant_append(assistant, &message, &again, &err));
	assert_true(again.is_duplicate);
	assert_int_equal(again.seq, first.seq);
	assert_int_equal(again.id, first.id);
	after = get(assistant, "c");
	assert_int_equal(after.updated_at, before.updated_at);
	assert_int_equal(after.last_accessed, before.last_accessed);
	assert_int_equal(after.last_seq, 2);
	message.content = KEEP_BYTES("other");
	assert_int_equal(keep_assistant_append(assistant, &message, &again, &err), KEEP_CONFLICT);
	message.content = KEEP_BYTES("once");
	message.role = KEEP_BYTES("tool");
	assert_int_equal(keep_assistant_append(assistant, &message, &again, &err), KEEP_CONFLICT);
	message.role = KEEP_BYTES("user");
	message.conversation_id = KEEP_BYTES("d");
	assert_int_equal(keep_assistant_append(assistant, &message, &again, &err), KEEP_CONFLICT);
	assert_null(strstr(err.message, "once"));
	assert_int_equal(assistant_count("messages"), 2);
	end(&assistant);
}

static void a_batch_is_numbered_in_its_order_across_conversations(void **state)
{
	enum { COUNT = 300 };
	static keep_conversation_message batch[COUNT];
	static keep_append_result results[COUNT];
	static char ids[COUNT][12];
	keep_assistant *assistant = assistant_fresh();

	(void)state;
	(void)assistant_conversation(assistant, "c0");
	(void)assistant_conversation(assistant, "c1");
	(void)assistant_conversation(assistant, "c2");
	for (int i = 0; i < COUNT; i++) {
		static const char *const names[] = {"c0", "c1", "c2"};

		snprintf(ids[i], sizeof ids[i], "m%d", i);
		batch[i] = say(names[i % 3], ids[i]);
		batch[i].message_id = i % 2 ? keep_bytes_of(ids[i]) : none;
		batch[i].is_internal = i % 3 == 1;
		batch[i].timestamp = T0 + i;
	}
	/* The last one is the second one again. */
	batch[COUNT - 1] = batch[1];
	OK(keep_assistant_append_many(assistant, batch, COUNT, results, &err));
	for (int i = 0; i < COUNT - 1; i++) {
		assert_false(results[i].is_duplicate);
		assert_int_equal(results[i].seq, i / 3 + 1);
		assert_int_equal(strlen(results[i].message_id), i % 2 ? 0 : 36);
	}
	assert_true(results[COUNT - 1].is_duplicate);
	assert_int_equal(results[COUNT - 1].id, results[1].id);
	assert_int_equal(get(assistant, "c0").message_count, 100);
	assert_int_equal(get(assistant, "c1").message_count, 0);
	assert_int_equal(get(assistant, "c1").last_seq, 100);
	assert_int_equal(get(assistant, "c2").last_seq, 99);
	assert_int_equal(get(assistant, "c2").last_message_at, T0 + COUNT - 4);
	OK(keep_assistant_append_many(assistant, batch + 1, 1, results, &err));
	assert_true(results[0].is_duplicate);
	OK(keep_assistant_append_many(assistant, NULL, 0, NULL, &err));
	end(&assistant);
}

static void a_batch_with_one_bad_message_adds_none(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_conversation_message batch[3] = {say("c", "1"), say("c", "2"), say("nobody", "3")};

	(void)state;
	(void)assistant_conversation(assistant, "c");
	assert_int_equal(keep_assistant_append_many(assistant, batch, 3, NULL, &err),
			 KEEP_NOT_FOUND);
	assert_non_null(strstr(err.message, "message 3 of 3"));
	batch[2] = say("c", "3");
	batch[2].role = KEEP_BYTES("robot");
	assert_int_equal(keep_assistant_append_many(assistant, batch, 3, NULL, &err), KEEP_INVALID);
	batch[2] = batch[1] = say("c", "2");
	batch[1].message_id = batch[2].message_id = KEEP_BYTES("m");
	batch[2].content = KEEP_BYTES("other");
	assert_int_equal(keep_assistant_append_many(assistant, batch, 3, NULL, &err),
			 KEEP_CONFLICT);
	assert_int_equal(assistant_count("messages"), 0);
	assert_int_equal(get(assistant, "c").last_seq, 0);
	assert_int_equal(assistant_append(assistant, "c", "first"), 1);
	end(&assistant);
}

static void *append_often(void *ctx)
{
	keep_error why = KEEP_ERROR_INIT;

	for (int i = 0; i < 50; i++) {
		keep_conversation_message message = say(i % 2 ? "c" : "d", "at once");

		message.is_internal = i % 5 == 0;
		/* Who fails beside the others fails alone. */
		if (i % 7 == 0) {
			message.conversation_id = KEEP_BYTES("nobody");
			if (keep_assistant_append(ctx, &message, NULL, &why) != KEEP_NOT_FOUND)
				return ctx;
		} else if (keep_assistant_append(ctx, &message, NULL, &why) != KEEP_OK) {
			return ctx;
		}
	}
	return NULL;
}

static void threads_that_append_at_once_leave_no_gap(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	pthread_t threads[8];

	(void)state;
	(void)assistant_conversation(assistant, "c");
	(void)assistant_conversation(assistant, "d");
	for (size_t i = 0; i < KP_COUNT(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, append_often, assistant), 0);
	for (size_t i = 0; i < KP_COUNT(threads); i++) {
		void *failed = NULL;

		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	assert_int_equal(assistant_count("conversations WHERE last_seq <> (SELECT count(*) FROM "
					 "messages m WHERE m.conversation_id = "
					 "conversations.conversation_id)"),
			 0);
	assert_int_equal(assistant_count("conversations WHERE message_count <> (SELECT count(*) "
					 "FROM messages m WHERE m.conversation_id = "
					 "conversations.conversation_id AND NOT is_internal)"),
			 0);
	assert_int_equal(assistant_count("conversations WHERE last_seq <> (SELECT max(seq) FROM "
					 "messages m WHERE m.conversation_id = "
					 "conversations.conversation_id)"),
			 0);
	assert_int_equal(assistant_count("messages"), 8 * (50 - 8));
	end(&assistant);
}

/* ---------------------------------------------------------------- pages */

/* Every third message is internal. */
static void fill(keep_assistant *assistant, const char *id, int count)
{
	static keep_conversation_message batch[KEEP_ASSISTANT_LIST_MAX];

	(void)assistant_conversation(assistant, id);
	for (int i = 0; i < count; i++) {
		batch[i] = say(id, "text");
		batch[i].is_internal = i % 3 == 2;
	}
	OK(keep_assistant_append_many(assistant, batch, (size_t)count, NULL, &err));
}

static void pages_go_back_from_the_newest_and_know_whether_there_is_more(void **state)
{
	keep_assistant *assistant = assistant_fresh();

	(void)state;
	for (int count = 1; count <= 13; count++) {
		char id[8];

		snprintf(id, sizeof id, "c%d", count);
		fill(assistant, id, count);
		for (size_t limit = 1; limit <= 5; limit++)
			for (int internal = 0; internal < 2; internal++) {
				int64_t expected = count, before = 0;
				keep_message_page page = {.has_more = true};

				while (page.has_more) {
					page = page_of(assistant, id, before, limit, internal);
					assert_true(page.count > 0);
					for (size_t i = 0; i < page.count; i++, expected--) {
						if (!internal && expected % 3 == 0)
							expected--;
						assert_int_equal(page.items[i].seq, expected);
						before = expected;
					}
					assert_true(!page.has_more || page.count == limit);
				}
				assert_int_equal(expected, 0);
			}
	}
	end(&assistant);
}

static void a_page_before_the_first_message_is_empty(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_message_page page;

	(void)state;
	fill(assistant, "c", 120);
	page = page_of(assistant, "c", 1, 0, true);
	assert_int_equal(page.count, 0);
	assert_false(page.has_more);
	page = page_of(assistant, "c", 0, 0, true);
	assert_int_equal(page.count, 50);
	assert_true(page.has_more);
	assert_int_equal(page.items[0].seq, 120);
	page = page_of(assistant, "c", INT64_MAX, KEEP_ASSISTANT_LIST_MAX, true);
	assert_int_equal(page.count, 120);
	assert_false(page.has_more);
	(void)assistant_conversation(assistant, "empty");
	page = page_of(assistant, "empty", 0, 0, true);
	assert_int_equal(page.count, 0);
	assert_int_equal(keep_assistant_page(assistant, KEEP_BYTES("nobody"), 0, 0, true, &memory,
					     &page, &err),
			 KEEP_NOT_FOUND);
	end(&assistant);
}

/* ---------------------------------------------------------------- bad input */

static void assert_refused(keep_assistant *assistant, const keep_conversation_message *message,
			   keep_status status, const char *what)
{
	assert_int_equal(keep_assistant_append(assistant, message, NULL, &err), status);
	CHECK(strstr(err.message, what), "%s does not name %s", err.message, what);
}

static void bad_input_names_what_is_wrong(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	const keep_conversation_message good = say("c", "text");
	keep_conversation_message message = good;
	char *much = malloc(KEEP_ASSISTANT_CONTENT_MAX + 1);
	keep_message_page page;

	(void)state;
	memset(much, 'x', KEEP_ASSISTANT_CONTENT_MAX + 1);
	(void)assistant_conversation(assistant, "c");
	message.conversation_id = none;
	assert_refused(assistant, &message, KEEP_INVALID, "conversation_id");
	message = good, message.message_id = KEEP_BYTES("");
	assert_refused(assistant, &message, KEEP_INVALID, "message_id");
	message = good, message.role = none;
	assert_refused(assistant, &message, KEEP_INVALID, "role");
	message = good, message.content = none;
	assert_refused(assistant, &message, KEEP_INVALID, "content");
	message = good, message.content = (keep_bytes){"a\0b", 3};
	assert_refused(assistant, &message, KEEP_INVALID, "content");
	message = good, message.content = KEEP_BYTES("\xc3");
	assert_refused(assistant, &message, KEEP_INVALID, "content");
	message = good, message.content = (keep_bytes){much, KEEP_ASSISTANT_CONTENT_MAX + 1};
	assert_refused(assistant, &message, KEEP_FULL, "content");
	message = good, message.token_count = -1;
	assert_refused(assistant, &message, KEEP_INVALID, "token_count");
	message = good, message.timestamp = INT64_MAX;
	assert_refused(assistant, &message, KEEP_INVALID, "timestamp");
	message = good, message.metadata = KEEP_BYTES("\"text\"");
	assert_refused(assistant, &message, KEEP_INVALID, "metadata");
	message = good, message.metadata = KEEP_BYTES("{");
	assert_refused(assistant, &message, KEEP_INVALID, "metadata");
	message = good, message.conversation_id = KEEP_BYTES("nobody");
	assert_refused(assistant, &message, KEEP_NOT_FOUND, "nobody");
	assert_int_equal(keep_assistant_append_many(assistant, &good, KEEP_ASSISTANT_LIST_MAX + 1,
						    NULL, &err),
			 KEEP_INVALID);
	assert_int_equal(
		keep_assistant_page(assistant, KEEP_BYTES("c"), -1, 0, true, &memory, &page, &err),
		KEEP_INVALID);
	assert_int_equal(keep_assistant_page(assistant, KEEP_BYTES("c"), 0,
					     KEEP_ASSISTANT_LIST_MAX + 1, true, &memory, &page,
					     &err),
			 KEEP_INVALID);
	assert_int_equal(
		keep_assistant_get_message(assistant, KEEP_BYTES("m"), &memory, &message, &err),
		KEEP_NOT_FOUND);
	assert_int_equal(assistant_count("messages"), 0);
	message = good, message.content = (keep_bytes){much, KEEP_ASSISTANT_CONTENT_MAX};
	OK(keep_assistant_append(assistant, &message, NULL, &err));
	page = page_of(assistant, "c", 0, 0, false);
	assert_int_equal(page.items[0].content.len, KEEP_ASSISTANT_CONTENT_MAX);
	free(much);
	end(&assistant);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_gets_the_next_number_and_renews_its_conversation),
		cmocka_unit_test(internal_messages_are_numbered_and_not_counted),
		cmocka_unit_test(what_is_missing_is_filled_in),
		cmocka_unit_test(the_same_message_again_changes_nothing),
		cmocka_unit_test(a_batch_is_numbered_in_its_order_across_conversations),
		cmocka_unit_test(a_batch_with_one_bad_message_adds_none),
		cmocka_unit_test(threads_that_append_at_once_leave_no_gap),
		cmocka_unit_test(pages_go_back_from_the_newest_and_know_whether_there_is_more),
		cmocka_unit_test(a_page_before_the_first_message_is_empty),
		cmocka_unit_test(bad_input_names_what_is_wrong),
	};
	int failed;

	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}

/*
 * test_assistant_talk_faults.c - conversations, messages, summaries and memory, with the Nth thing
 * in each operation failing: assistant_faults.h says what must hold. A new one gets a line in the
 * table.
 *
 *     test_assistant_talk_faults sqlite|postgres
 *
 * Readings stand there, too: what they answer with OK is right, whatever failed on the way.
 */
#include "assistant_faults.h"

#include "assistant_rows.h"

static const keep_bytes none = {NULL, 0};

/* Later each time. */
static int64_t next_time(void)
{
	static int64_t now_ms = INT64_C(1790000000000);

	return now_ms += 1000;
}

/* ---------------------------------------------------------------- conversations */

static void lose(keep_assistant *assistant, const char *id)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_status status =
		keep_assistant_delete_conversation(assistant, keep_bytes_of(id), NULL, &err);

	CHECK(status == KEEP_OK || status == KEEP_NOT_FOUND, "%s", err.message);
}

/* "talk": four messages, of which the first two have a summary; facts; a task. */
static void make_talk(keep_assistant *assistant, const char *id)
{
	static const char *const texts[] = {"one apple", "two pears", "three plums", "four apples"};
	const keep_agent_task task = {.conversation_id = KEEP_BYTES("talk"),
				      .agent_name = KEEP_BYTES("cook"),
				      .action = KEEP_BYTES("cook")};
	keep_error err = KEEP_ERROR_INIT;
	int64_t version = 0, fact = 0;
	bool is_duplicate = false, inserted = false;

	(void)id;
	lose(assistant, "talk");
	(void)assistant_conversation(assistant, "talk");
	for (size_t i = 0; i < KP_COUNT(texts); i++)
		(void)assistant_append(assistant, "talk", texts[i]);
	OK(keep_assistant_add_summary(assistant, KEEP_BYTES("talk"), 1, 2, KEEP_BYTES("fruit"), 0,
				      &version, &is_duplicate, &err));
	OK(keep_assistant_remember(assistant, KEEP_BYTES("talk"), KEEP_BYTES("facts"),
				   KEEP_BYTES("\"Ada eats fruit\""), KEEP_NOW, &fact, &is_duplicate,
				   &err));
	OK(keep_assistant_remember(assistant, KEEP_BYTES("talk"), KEEP_BYTES("working"),
				   KEEP_BYTES("{\"n\": 1}"), KEEP_NOW, &fact, &is_duplicate, &err));
	OK(keep_assistant_add_task(assistant, &task, KEEP_NOW, NULL, &inserted, &err));
}

static keep_status find_or_create(keep_assistant *assistant, const char *contact, int64_t idle_ms,
				  bool is_new, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_conversation found;
	bool created = !is_new;
	keep_status status = keep_assistant_find_or_create(
		assistant, KEEP_BYTES("webui"), keep_bytes_of(contact), idle_ms, next_time(),
		&memory, &found, &created, err);

	if (status == KEEP_OK)
		CHECK(created == is_new, "%s: created is %d", contact, created);
	keep_memory_release(&memory);
	return status;
}

static keep_status create_first(keep_assistant *assistant, const char *id, keep_error *err)
{
	return find_or_create(assistant, id, 0, true, err);
}

static void make_first(keep_assistant *assistant, const char *id)
{
	keep_error err = KEEP_ERROR_INIT;

	OK(find_or_create(assistant, id, 0, true, &err));
}

static keep_status find_present(keep_assistant *assistant, const char *id, keep_error *err)
{
	return find_or_create(assistant, id, 0, false, err);
}

static keep_status create_successor(keep_assistant *assistant, const char *id, keep_error *err)
{
	return find_or_create(assistant, id, 1, true, err);
}

static keep_status add_conversation(keep_assistant *assistant, const char *id, keep_error *err)
{
	const keep_conversation conversation = {.conversation_id = keep_bytes_of(id),
						.channel = KEEP_BYTES("slack"),
						.metadata = KEEP_BYTES("{\"a\": 1}")};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_conversation out;
	bool inserted = false;
	keep_status status = keep_assistant_add_conversation(assistant, &conversation, KEEP_NOW,
							     &memory, &out, &inserted, err);

	keep_memory_release(&memory);
	return status;
}

static keep_status update_metadata(keep_assistant *assistant, const char *id, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_conversation out;
	char changes[64];
	keep_status status;

	(void)snprintf(changes, sizeof changes, "{\"name\": \"%s\"}", id);
	status = keep_assistant_update_metadata(assistant, KEEP_BYTES("talk"),
						keep_bytes_of(changes), &memory, &out, err);
	keep_memory_release(&memory);
	return status;
}

static keep_status delete_talk(keep_assistant *assistant, const char *id, keep_error *err)
{
	(void)id;
	return keep_assistant_delete_conversation(assistant, KEEP_BYTES("talk"), NULL, err);
}

static keep_status list_conversations(keep_assistant *assistant, const char *id, keep_error *err)
{
	const keep_conversation_filter filter = {.channel = KEEP_BYTES("webui"),
						 .contact = KEEP_BYTES("ada")};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_conversation_views views = {.count = 0};
	keep_status status =
		keep_assistant_list_conversations(assistant, &filter, 10, &memory, &views, err);

	(void)id;
	if (status == KEEP_OK) {
		assert_int_equal(views.count, 1);
		assert_true(views.items[0].has_last && !views.has_more);
		assert_int_equal(views.items[0].conversation.message_count, 4);
		assert_bytes_equal(views.items[0].last.content, KEEP_BYTES("four apples"));
	}
	keep_memory_release(&memory);
	return status;
}

/* ---------------------------------------------------------------- messages */

static keep_conversation_message message_of(const char *message_id, const char *content)
{
	return (keep_conversation_message){.conversation_id = KEEP_BYTES("talk"),
					   .message_id =
						   message_id ? keep_bytes_of(message_id) : none,
					   .role = KEEP_BYTES("user"),
					   .content = keep_bytes_of(content)};
}

static keep_status append(keep_assistant *assistant, const char *id, keep_error *err)
{
	const keep_conversation_message message = message_of(NULL, id);
	keep_append_result result = {.seq = 0};
	keep_status status = keep_assistant_append(assistant, &message, &result, err);

	if (status == KEEP_OK)
		assert_int_equal(result.seq, 5);
	return status;
}

static void make_named(keep_assistant *assistant, const char *id)
{
	const keep_conversation_message message = message_of("named", "five");
	keep_append_result result;
	keep_error err = KEEP_ERROR_INIT;

	make_talk(assistant, id);
	OK(keep_assistant_append(assistant, &message, &result, &err));
}

static keep_status append_again(keep_assistant *assistant, const char *id, keep_error *err)
{
	const keep_conversation_message message = message_of("named", "five");
	keep_append_result result = {.seq = 0};
	keep_status status = keep_assistant_append(assistant, &message, &result, err);

	(void)id;
	if (status == KEEP_OK)
		assert_true(result.is_duplicate && result.seq == 5);
	return status;
}

static keep_status append_many(keep_assistant *assistant, const char *id, keep_error *err)
{
	const keep_conversation_message messages[] = {message_of(NULL, id), message_of(NULL, "six"),
						      message_of(NULL, "seven")};
	keep_append_result results[3] = {{.seq = 0}};
	keep_status status =
		keep_assistant_append_many(assistant, messages, KP_COUNT(messages), results, err);

	if (status == KEEP_OK)
		assert_true(results[0].seq == 5 && results[2].seq == 7);
	return status;
}

/* The last of them is refused: none is added. */
static keep_status append_some(keep_assistant *assistant, const char *id, keep_error *err)
{
	const keep_conversation_message messages[] = {message_of(NULL, id), message_of(NULL, "six"),
						      message_of("named", "something else")};
	keep_append_result results[3];
	keep_status status =
		keep_assistant_append_many(assistant, messages, KP_COUNT(messages), results, err);

	assert_int_not_equal(status, KEEP_OK);
	return status == KEEP_CONFLICT ? KEEP_OK : status;
}

static keep_status read_page(keep_assistant *assistant, const char *id, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_page page = {.count = 0};
	keep_status status =
		keep_assistant_page(assistant, KEEP_BYTES("talk"), 4, 2, true, &memory, &page, err);

	(void)id;
	if (status == KEEP_OK) {
		assert_int_equal(page.count, 2);
		assert_true(page.has_more && page.items[0].seq == 3);
		assert_true(page.items[1].has_summarised_by);
	}
	keep_memory_release(&memory);
	return status;
}

static keep_status search_messages(keep_assistant *assistant, const char *id, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_matches matches = {.count = 0};
	keep_status status =
		keep_assistant_search_messages(assistant, KEEP_BYTES("appl*"), KEEP_BYTES("talk"),
					       false, 10, &memory, &matches, err);

	(void)id;
	if (status == KEEP_OK)
		assert_int_equal(matches.count, 2);
	keep_memory_release(&memory);
	return status;
}

/* ---------------------------------------------------------------- context and memory */

static keep_status read_context(keep_assistant *assistant, const char *id, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_context context = {.count = 0};
	keep_status status =
		keep_assistant_context(assistant, KEEP_BYTES("talk"), 1000, &memory, &context, err);

	(void)id;
	if (status == KEEP_OK) {
		assert_true(context.has_summary && context.is_complete);
		assert_bytes_equal(context.summary_text, KEEP_BYTES("fruit"));
		assert_int_equal(context.count, 2);
		assert_bytes_equal(context.messages[0].content, KEEP_BYTES("three plums"));
		assert_bytes_equal(context.messages[1].content, KEEP_BYTES("four apples"));
	}
	keep_memory_release(&memory);
	return status;
}

static keep_status summarise(keep_assistant *assistant, int64_t to_seq, const char *text,
			     bool is_again, keep_error *err)
{
	int64_t version = 0;
	bool is_duplicate = !is_again;
	keep_status status =
		keep_assistant_add_summary(assistant, KEEP_BYTES("talk"), 1, to_seq,
					   keep_bytes_of(text), 0, &version, &is_duplicate, err);

	if (status == KEEP_OK)
		assert_int_equal(is_duplicate, is_again);
	return status;
}

static keep_status add_summary(keep_assistant *assistant, const char *id, keep_error *err)
{
	return summarise(assistant, 3, id, false, err);
}

static keep_status add_summary_again(keep_assistant *assistant, const char *id, keep_error *err)
{
	(void)id;
	return summarise(assistant, 2, "fruit", true, err);
}

static keep_status remember(keep_assistant *assistant, const char *type, const char *content,
			    bool is_again, keep_error *err)
{
	int64_t row = 0;
	bool is_duplicate = !is_again;
	keep_status status =
		keep_assistant_remember(assistant, KEEP_BYTES("talk"), keep_bytes_of(type),
					keep_bytes_of(content), KEEP_NOW, &row, &is_duplicate, err);

	if (status == KEEP_OK)
		assert_true(is_duplicate == is_again && row > 0);
	return status;
}

static keep_status remember_fact(keep_assistant *assistant, const char *id, keep_error *err)
{
	(void)id;
	return remember(assistant, "facts", "{\"fact\": \"Ada has a garden\"}", false, err);
}

static keep_status remember_again(keep_assistant *assistant, const char *id, keep_error *err)
{
	(void)id;
	return remember(assistant, "facts", "\"ADA eats  fruit.\"", true, err);
}

static keep_status remember_turn(keep_assistant *assistant, const char *id, keep_error *err)
{
	(void)id;
	return remember(assistant, "short_term", "{\"turn\": 1}", false, err);
}

static keep_status recall(keep_assistant *assistant, const char *id, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_remembered_list turns = {.count = 0}, rest = {.count = 0};
	keep_status status = keep_assistant_recall(
		assistant, KEEP_BYTES("talk"), KEEP_BYTES("short_term"), 0, &memory, &turns, err);

	(void)id;
	if (status == KEEP_OK)
		status = keep_assistant_recall(assistant, KEEP_BYTES("talk"), none, 0, &memory,
					       &rest, err);
	if (status == KEEP_OK)
		assert_true(turns.count == 4 && rest.count == 3);
	keep_memory_release(&memory);
	return status;
}

static keep_status forget(keep_assistant *assistant, const char *type, int64_t expected,
			  keep_error *err)
{
	int64_t count = 0;
	keep_status status = keep_assistant_forget(assistant, KEEP_BYTES("talk"), 0,
						   type ? keep_bytes_of(type) : none, &count, err);

	if (status == KEEP_OK)
		assert_int_equal(count, expected);
	return status;
}

static keep_status forget_summary(keep_assistant *assistant, const char *id, keep_error *err)
{
	(void)id;
	return forget(assistant, "long_term", 1, err);
}

static keep_status forget_all(keep_assistant *assistant, const char *id, keep_error *err)
{
	(void)id;
	return forget(assistant, NULL, 3, err);
}

int main(int argc, char **argv)
{
	static const assistant_operation list[] = {
		{"create_first", NULL, create_first, 0, false},
		{"find_present", make_first, find_present, 0, false},
		{"create_successor", make_first, create_successor, 0, false},
		{"add_conversation", NULL, add_conversation, 0, false},
		{"update_metadata", make_talk, update_metadata, 0, false},
		{"delete_conversation", make_talk, delete_talk, 1, false},
		{"list_conversations", make_talk, list_conversations, 0, true},
		{"append", make_talk, append, 0, false},
		{"append_again", make_named, append_again, 0, true},
		{"append_many", make_talk, append_many, 0, false},
		{"append_some", make_named, append_some, 0, true},
		{"page", make_talk, read_page, 0, true},
		{"search_messages", make_talk, search_messages, 0, true},
		{"context", make_talk, read_context, 0, true},
		{"add_summary", make_talk, add_summary, 0, false},
		{"add_summary_again", make_talk, add_summary_again, 0, true},
		{"remember_fact", make_talk, remember_fact, 0, false},
		{"remember_again", make_talk, remember_again, 0, true},
		{"remember_turn", make_talk, remember_turn, 0, false},
		{"recall", make_talk, recall, 0, true},
		{"forget_summary", make_talk, forget_summary, 0, false},
		{"forget_all", make_talk, forget_all, 0, false},
	};

	return assistant_faults_main(argc, argv, list, KP_COUNT(list));
}

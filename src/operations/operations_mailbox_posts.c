/*
 * operations_mailbox_posts.c - the mailbox's operations on messages to agents.
 *
 * The inputs of one message and of each element of post_many are one list, so they cannot differ.
 *
 * What it does not do: tasks by series (operations_mailbox_series.c).
 *
 * Tests: tests/cli/test_cli_mailbox.py.
 */
#include "operations/operations_mailbox.h"

#include <string.h>

static const char *const statuses[] = {"pending",   "completed", "failed",
				       "cancelled", "paused",    NULL};
static const char *const missed_words[] = {"run_once", "skip", "run_all", NULL};

/* The order of POST_INPUTS. */
enum {
	POST_CONTENT,
	POST_ID,
	POST_KIND,
	POST_TIMESTAMP,
	POST_DEDUP_KEY,
	POST_CHANNEL_TYPE,
	POST_PLATFORM_ID,
	POST_THREAD_ID,
	POST_PROCESS_AFTER,
	POST_RECURRENCE,
	POST_TIME_ZONE,
	POST_MISSED,
	POST_SERIES_ID,
	POST_FILES,
	POST_INPUT_COUNT
};

#define POST_INPUTS                                                                                \
	KP_NEEDED_LONG(2, "content", "What it says: JSON, at most 1 MiB."),                        \
		KP_OTHER(TEXT, "id",                                                               \
			 "Its id, by who repeats a hand-over; a new UUID when left out."),         \
		KP_OTHER_WORD("kind", kp_message_kinds,                                            \
			      "What the content is; chat when left "                               \
			      "out."),                                                             \
		KP_OTHER(TIME, "timestamp", "When it was sent; now when left out."),               \
		KP_OTHER(TEXT, "dedup_key", "The platform's id of it."),                           \
		KP_OTHER(TEXT, "channel_type", "The channel that it came from."),                  \
		KP_OTHER(TEXT, "platform_id", "The chat that it came from."),                      \
		KP_OTHER(TEXT, "thread_id", "The thread that it came from."),                      \
		KP_OTHER(TIME, "process_after", "Not due before; now when left out."),             \
		KP_OTHER(TEXT, "recurrence", "A cron expression; the kind is then task."),         \
		KP_OTHER(TEXT, "time_zone",                                                        \
			 "The IANA zone of the recurrence; UTC when left out."),                   \
		KP_OTHER_WORD("missed", missed_words,                                              \
			      "What becomes of occurrences that nobody was there for; "            \
			      "run_once when left out."),                                          \
		KP_OTHER(TEXT, "series_id", "Tasks: the series; the id when left out."), KP_FILES

static const kp_input post_inputs[] = {KP_SESSION, POST_INPUTS};
static const kp_input element_inputs[] = {POST_INPUTS};
_Static_assert(KP_COUNT(element_inputs) == POST_INPUT_COUNT, "the places are these inputs'");

static const kp_input post_many_inputs[] = {
	KP_SESSION,
	KP_NEEDED_ARRAY(2, "messages",
			"Objects with the inputs of post but session; at most 1000."),
};
static const kp_input list_inputs[] = {
	KP_SESSION,
	KP_OTHER_WORD("status", statuses, "Those of a status; any when left out."),
	KP_OTHER_NUMBER("after_seq", "0", "Only messages with a greater number."),
	KP_LIMIT("50"),
};

static const kp_member post_members[] = {
	{"outcome", KP_KIND_TEXT,
	 "inserted; duplicate: the same was there, nothing changed; reused: inserted, though "
	 "another message had that dedup key.",
	 NULL},
	{"seq", KP_KIND_INTEGER, "Its number in the session.", NULL},
	{"id", KP_KIND_TEXT, "Its id; of a duplicate the stored one's.", NULL},
};

static const kp_outcome post_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such session."},
	{KEEP_INVALID, false, "The content is no JSON, or the expression or the zone is none."},
	{KEEP_CONFLICT, false, "The session is closed, or another message has that id."},
};
static const kp_outcome list_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such session."},
};

/* ---------------------------------------------------------------- functions */

static keep_status read_post(const kp_argument *from, kp_arena *arena, keep_post *out,
			     keep_error *err)
{
	*out = (keep_post){
		.content = from[POST_CONTENT].bytes,
		.id = from[POST_ID].bytes,
		.kind = from[POST_KIND].bytes,
		.timestamp = from[POST_TIMESTAMP].integer,
		.dedup_key = from[POST_DEDUP_KEY].bytes,
		.channel_type = from[POST_CHANNEL_TYPE].bytes,
		.platform_id = from[POST_PLATFORM_ID].bytes,
		.thread_id = from[POST_THREAD_ID].bytes,
		.process_after = from[POST_PROCESS_AFTER].integer,
		.recurrence = from[POST_RECURRENCE].bytes,
		.time_zone = from[POST_TIME_ZONE].bytes,
		.missed = from[POST_MISSED].bytes,
		.series_id = from[POST_SERIES_ID].bytes,
	};
	return kp_mailbox_files(&from[POST_FILES], arena, &out->files, &out->file_count, err);
}

static keep_status run_post(kp_call *call, keep_error *err)
{
	keep_post_result result = {.seq = 0};
	keep_post post;
	keep_status status = read_post(call->arguments + 1, call->arena, &post, err);

	if (status == KEEP_OK)
		status = keep_mailbox_post(call->handle, kp_call_text(call, "session"), &post,
					   &result, err);
	if (status != KEEP_OK)
		return status;
	kp_json_open_object(kp_call_writer(call));
	kp_mailbox_put_posted(call, &result);
	kp_json_close_object(kp_call_writer(call));
	return KEEP_OK;
}

static keep_status read_element(const kp_json *element, kp_arena *arena, keep_post *out,
				keep_error *err)
{
	kp_argument arguments[POST_INPUT_COUNT];
	keep_status status;

	if (element->kind != KP_JSON_OBJECT)
		return kp_fail(err, KEEP_INVALID, "%s where an object belongs",
			       kp_json_kind_name(element->kind));
	status = kp_inputs_read(element_inputs, POST_INPUT_COUNT, element, false, arena, arguments,
				err);
	return status == KEEP_OK ? read_post(arguments, arena, out, err) : status;
}

static keep_status put_posted_rows(kp_call *call, const keep_post_result *results, size_t count,
				   keep_error *err)
{
	keep_status status = KEEP_OK;

	kp_call_open_rows(call);
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		kp_call_row_begin(call);
		kp_json_open_object(kp_call_writer(call));
		kp_mailbox_put_posted(call, &results[i]);
		kp_json_close_object(kp_call_writer(call));
		status = kp_call_row_end(call, err);
	}
	kp_call_close_rows(call);
	return status;
}

static keep_status run_post_many(kp_call *call, keep_error *err)
{
	const kp_json *array = kp_call_argument(call, "messages")->json;
	size_t count = array->list.count;
	keep_post *posts;
	keep_post_result *results;
	keep_status status = KEEP_OK;

	if (count > KEEP_MAILBOX_LIST_MAX)
		return kp_fail(err, KEEP_INVALID, "messages: %zu, the limit is %d", count,
			       KEEP_MAILBOX_LIST_MAX);
	posts = kp_arena_alloc(call->arena, (count + 1) * sizeof *posts);
	results = kp_arena_alloc(call->arena, (count + 1) * sizeof *results);
	if (!posts || !results)
		return kp_fail_memory(err, "messages");
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		status = read_element(&array->list.items[i], call->arena, &posts[i], err);
		if (status != KEEP_OK)
			status = kp_prefix(err, status, "messages[%zu]", i);
	}
	if (status == KEEP_OK)
		status = keep_mailbox_post_many(call->handle, kp_call_text(call, "session"), posts,
						count, results, err);
	return status == KEEP_OK ? put_posted_rows(call, results, count, err) : status;
}

static keep_status run_messages(kp_call *call, keep_error *err)
{
	keep_inbound_message_list list = {NULL, 0};
	keep_status status = keep_mailbox_messages(
		call->handle, kp_call_text(call, "session"), kp_call_text(call, "status"),
		kp_call_integer(call, "after_seq"), (size_t)kp_call_integer(call, "limit"),
		call->arena, &list, err);

	return kp_mailbox_give_all(call, status, &kp_inbound_message_record, list.items, list.count,
				   err);
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "post",
	 .sentence = "Store a message to a session's agent, and wake it.",
	 .more = "The same dedup_key from the same chat with the same kind and content is a "
		 "duplicate, with other content a new message.",
	 KP_INPUTS(post_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "What became of it.",
	 KP_MEMBERS(post_members),
	 KP_OUTCOMES(post_outcomes),
	 .changes = true,
	 .run = run_post},
	{.verb = "post_many",
	 .sentence = "Store several messages to a session's agent in one transaction.",
	 .more = "Any failure stores none.",
	 KP_INPUTS(post_many_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "What became of each, in their order.",
	 KP_MEMBERS(post_members),
	 KP_OUTCOMES(post_outcomes),
	 .changes = true,
	 .run = run_post_many},
	{.verb = "messages",
	 .sentence = "Give a session's messages to its agent, by number.",
	 KP_INPUTS(list_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The messages.",
	 .record = &kp_inbound_message_record,
	 KP_OUTCOMES(list_outcomes),
	 .shown = "seq id kind status tries content",
	 .run = run_messages},
};

const kp_operation_group kp_mailbox_post_group = {
	.title = "Messages to agents",
	.operations = operations,
	.count = KP_COUNT(operations),
};

/*
 * test_assistant_summaries.c - a summary, what it covers and context_version move together.
 *
 *     test_assistant_summaries sqlite|postgres
 *     test_assistant_summaries <url> summary        a process that adds one
 *
 * Overlapping summaries are forgotten in any order; a process is killed between the steps of
 * adding.
 */
#include "assistant_rows.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static const keep_bytes c = {"c", 1}, none = {NULL, 0};
static keep_memory memory = KEEP_MEMORY_INIT;
static keep_error err = KEEP_ERROR_INIT;

static void end(keep_assistant **assistant)
{
	keep_memory_release(&memory);
	keep_assistant_close(assistant);
	assert_nothing_lives();
}

static keep_assistant *store_of(int count)
{
	keep_assistant *assistant = assistant_fresh();

	(void)assistant_conversation(assistant, "c");
	for (int i = 0; i < count; i++)
		(void)assistant_append(assistant, "c", "text");
	return assistant;
}

static int64_t version_of(keep_assistant *assistant)
{
	keep_conversation found;

	OK(keep_assistant_get_conversation(assistant, c, &memory, &found, &err));
	return found.context_version;
}

/* The new summary's id. */
static int64_t summarise(keep_assistant *assistant, int64_t from, int64_t to, const char *text)
{
	keep_remembered_list list;
	bool is_duplicate = true;

	OK(keep_assistant_add_summary(assistant, c, from, to, keep_bytes_of(text), 0, NULL,
				      &is_duplicate, &err));
	assert_false(is_duplicate);
	OK(keep_assistant_recall(assistant, c, KEEP_BYTES("long_term"), 1, &memory, &list, &err));
	assert_int_equal(list.items[0].from_seq, from);
	assert_int_equal(list.items[0].to_seq, to);
	return list.items[0].id;
}

/* By which summary (0: none) the messages 1, 2 … are summarised. */
static void assert_summarised(keep_assistant *assistant, const int64_t *by, size_t count)
{
	keep_message_page page;

	OK(keep_assistant_page(assistant, c, 0, 0, true, &memory, &page, &err));
	assert_int_equal(page.count, count);
	for (size_t i = 0; i < count; i++) {
		const keep_conversation_message *message = &page.items[count - 1 - i];

		assert_int_equal(message->has_summarised_by ? message->summarised_by : 0, by[i]);
	}
}

static void a_summary_marks_what_it_covers_and_raises_the_version(void **state)
{
	keep_assistant *assistant = store_of(4);
	int64_t id, version = 0;
	bool is_duplicate = false;
	keep_context context;

	(void)state;
	assert_int_equal(version_of(assistant), 1);
	id = summarise(assistant, 1, 3, "they said \"hello\"");
	assert_int_equal(version_of(assistant), 2);
	assert_summarised(assistant, (int64_t[]){id, id, id, 0}, 4);
	OK(keep_assistant_context(assistant, c, 0, &memory, &context, &err));
	assert_bytes_equal(context.summary_text, KEEP_BYTES("they said \"hello\""));
	assert_bytes_equal(context.summary.memory_type, KEEP_BYTES("long_term"));
	assert_int_equal(context.summary.token_count, 5);
	assert_int_equal(context.count, 1);
	assert_non_null(strstr(context.summary.content.data, "\"message_count\":3"));
	/* The same again changes nothing; another text is refused. */
	OK(keep_assistant_add_summary(assistant, c, 1, 3, KEEP_BYTES("they said \"hello\""), 0,
				      &version, &is_duplicate, &err));
	assert_true(is_duplicate);
	assert_int_equal(version, 2);
	assert_int_equal(keep_assistant_add_summary(assistant, c, 1, 3, KEEP_BYTES("other"), 0,
						    &version, &is_duplicate, &err),
			 KEEP_CONFLICT);
	assert_int_equal(version_of(assistant), 2);
	assert_int_equal(assistant_count("messages"), 4);
	assert_int_equal(assistant_count("conversation_memory"), 1);
	end(&assistant);
}

static void overlapping_summaries_give_their_messages_back(void **state)
{
	keep_assistant *assistant = store_of(6);
	int64_t a = summarise(assistant, 1, 4, "a"), b = summarise(assistant, 3, 5, "b"),
		d = summarise(assistant, 2, 3, "d"), count = 0;
	keep_context context;

	(void)state;
	assert_summarised(assistant, (int64_t[]){a, d, d, b, b, 0}, 6);
	OK(keep_assistant_context(assistant, c, 0, &memory, &context, &err));
	assert_int_equal(context.summary.id, b);
	assert_int_equal(context.count, 1);
	OK(keep_assistant_forget(assistant, c, b, none, &count, &err));
	assert_int_equal(count, 1);
	assert_int_equal(version_of(assistant), 5);
	assert_summarised(assistant, (int64_t[]){a, d, d, a, 0, 0}, 6);
	OK(keep_assistant_context(assistant, c, 0, &memory, &context, &err));
	assert_int_equal(context.summary.id, a);
	assert_int_equal(context.count, 2);
	OK(keep_assistant_forget(assistant, c, b, none, &count, &err));
	assert_int_equal(count, 0);
	assert_int_equal(version_of(assistant), 5);
	OK(keep_assistant_forget(assistant, c, 0, KEEP_BYTES("long_term"), &count, &err));
	assert_int_equal(count, 2);
	assert_int_equal(version_of(assistant), 6);
	assert_summarised(assistant, (int64_t[]){0, 0, 0, 0, 0, 0}, 6);
	/* A forgotten range may be summarised anew. */
	(void)summarise(assistant, 1, 4, "other");
	OK(keep_assistant_forget(assistant, c, 0, none, &count, &err));
	assert_int_equal(count, 1);
	assert_summarised(assistant, (int64_t[]){0, 0, 0, 0, 0, 0}, 6);
	end(&assistant);
}

static void the_one_that_reaches_furthest_is_the_latest(void **state)
{
	keep_assistant *assistant = store_of(5);
	int64_t newest;
	keep_context context;

	(void)state;
	(void)summarise(assistant, 1, 5, "whole");
	newest = summarise(assistant, 4, 5, "end");
	(void)summarise(assistant, 1, 2, "beginning");
	OK(keep_assistant_context(assistant, c, 0, &memory, &context, &err));
	assert_int_equal(context.summary.id, newest);
	assert_int_equal(context.count, 0);
	assert_true(context.is_complete);
	end(&assistant);
}

static void bad_input_names_what_is_wrong(void **state)
{
	static const struct {
		int64_t from, to, tokens;
		const char *text, *what;
	} bad[] = {
		{0, 1, 0, "s", "from_seq"}, {-1, 1, 0, "s", "from_seq"}, {2, 1, 0, "s", "to_seq"},
		{1, 3, 0, "s", "to_seq"},   {1, 2, -1, "s", "token"},    {1, 2, 0, "", "text"},
		{1, 2, 0, "\xff", "text"},
	};
	keep_assistant *assistant = store_of(2);

	(void)state;
	for (size_t i = 0; i < KP_COUNT(bad); i++) {
		assert_int_equal(keep_assistant_add_summary(assistant, c, bad[i].from, bad[i].to,
							    keep_bytes_of(bad[i].text),
							    bad[i].tokens, NULL, NULL, &err),
				 KEEP_INVALID);
		assert_non_null(strstr(err.message, bad[i].what));
	}
	assert_int_equal(keep_assistant_add_summary(assistant, KEEP_BYTES("nobody"), 1, 1,
						    KEEP_BYTES("s"), 0, NULL, NULL, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(version_of(assistant), 1);
	end(&assistant);
}

/* ---------------------------------------------------------------- killed between */

static int add_one(const char *url)
{
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_assistant *assistant = NULL;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status;

	options.timeout_ms = 20000;
	options.without_keys = true;
	status = keep_assistant_open(url, &options, &assistant, &why);
	if (status == KEEP_OK)
		status = keep_assistant_add_summary(assistant, c, 1, 3, KEEP_BYTES("text"), 0, NULL,
						    NULL, &why);
	keep_assistant_close(&assistant);
	return status == KEEP_OK ? 0 : 3;
}

static void a_process_that_is_killed_between_leaves_neither(void **state)
{
	static const char *const moments[] = {"assistant.summary_added:1",
					      "assistant.range_summarised:1"};
	keep_assistant *assistant = store_of(4);
	char url[ASSISTANT_URL_MAX];

	(void)state;
	snprintf(url, sizeof url, "%s", assistant_url());
	for (size_t i = 0; i < KP_COUNT(moments); i++) {
		pid_t child = fork();
		int ended = 0;

		if (child == 0) {
			setenv("KEEP_KILL_AT", moments[i], 1);
			execl(assistant_program(), assistant_program(), url, "summary", NULL);
			_exit(9);
		}
		assert_int_equal(waitpid(child, &ended, 0), child);
		CHECK(WIFSIGNALED(ended) && WTERMSIG(ended) == SIGKILL, "it ended with %d", ended);
		assert_int_equal(version_of(assistant), 1);
		assert_int_equal(assistant_count("conversation_memory"), 0);
		assert_summarised(assistant, (int64_t[]){0, 0, 0, 0}, 4);
	}
	assert_int_equal(add_one(url), 0);
	assert_int_equal(version_of(assistant), 2);
	end(&assistant);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_summary_marks_what_it_covers_and_raises_the_version),
		cmocka_unit_test(overlapping_summaries_give_their_messages_back),
		cmocka_unit_test(the_one_that_reaches_furthest_is_the_latest),
		cmocka_unit_test(bad_input_names_what_is_wrong),
		cmocka_unit_test(a_process_that_is_killed_between_leaves_neither),
	};
	int failed;

	if (argc == 3)
		return add_one(argv[1]);
	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}

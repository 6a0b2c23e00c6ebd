/*
 * test_assistant_memory.c - what is remembered of a conversation, recalled and forgotten.
 *
 *     test_assistant_memory sqlite|postgres
 *     test_assistant_memory <url> <facts>      a process that remembers so many facts
 */
#include "assistant_rows.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FACTS = 30, WORKERS = 4 };

static const keep_bytes c = {"c", 1}, none = {NULL, 0};
static keep_memory memory = KEEP_MEMORY_INIT;
static keep_error err = KEEP_ERROR_INIT;

static void end(keep_assistant **assistant)
{
	keep_memory_release(&memory);
	keep_assistant_close(assistant);
	assert_nothing_lives();
}

/* Its id; *is_duplicate may be NULL. */
static int64_t remember(keep_assistant *assistant, const char *type, const char *content,
			bool *is_duplicate)
{
	int64_t id = 0;

	OK(keep_assistant_remember(assistant, c, keep_bytes_of(type), keep_bytes_of(content),
				   KEEP_NOW, &id, is_duplicate, &err));
	assert_true(id > 0);
	return id;
}

static keep_remembered_list recall(keep_assistant *assistant, const char *type, size_t limit)
{
	keep_remembered_list list;

	OK(keep_assistant_recall(assistant, c, keep_bytes_of(type), limit, &memory, &list, &err));
	return list;
}

static void what_is_remembered_comes_back_newest_first(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_remembered_list list;
	int64_t ids[4];

	(void)state;
	(void)assistant_conversation(assistant, "c");
	ids[0] = remember(assistant, "working", "[1,2,\"x\"]", NULL);
	ids[1] = remember(assistant, "long_term", "{\"note\":true}", NULL);
	ids[2] = remember(assistant, "working", "[1,2,\"x\"]", NULL);
	ids[3] = remember(assistant, "facts", "{\"fact\":\"likes tea\",\"sure\":1}", NULL);
	(void)remember(assistant, "short_term", "\"now\"", NULL);
	list = recall(assistant, "working", 0);
	assert_int_equal(list.count, 2);
	assert_int_equal(list.items[0].id, ids[2]);
	assert_int_equal(list.items[1].id, ids[0]);
	assert_bytes_equal(list.items[0].content, KEEP_BYTES("[1,2,\"x\"]"));
	list = recall(assistant, NULL, 0);
	assert_int_equal(list.count, 4);
	for (int i = 0; i < 4; i++)
		assert_int_equal(list.items[i].id, ids[3 - i]);
	assert_bytes_equal(list.items[0].content,
			   KEEP_BYTES("{\"fact\":\"likes tea\",\"sure\":1}"));
	list = recall(assistant, NULL, 3);
	assert_int_equal(list.count, 3);
	assert_int_equal(list.items[2].id, ids[1]);
	/* Only summaries have a range. */
	assert_false(list.items[2].has_to_seq);
	end(&assistant);
}

static void short_term_is_a_view_of_the_newest_messages(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_conversation_message internal = {.conversation_id = c,
					      .role = KEEP_BYTES("system"),
					      .content = KEEP_BYTES("hidden"),
					      .is_internal = true};
	keep_remembered_list list;

	(void)state;
	(void)assistant_conversation(assistant, "c");
	assert_int_equal(recall(assistant, "short_term", 0).count, 0);
	for (int i = 1; i <= 25; i++)
		(void)assistant_append(assistant, "c", i == 25 ? "the \"last\"\n" : "text");
	OK(keep_assistant_append(assistant, &internal, NULL, &err));
	list = recall(assistant, "short_term", 100);
	assert_int_equal(list.count, 20);
	assert_int_equal(list.items[0].id, 0);
	assert_bytes_equal(
		list.items[0].content,
		KEEP_BYTES("{\"role\":\"user\",\"content\":\"the \\\"last\\\"\\n\",\"seq\":25}"));
	assert_bytes_equal(list.items[19].content,
			   KEEP_BYTES("{\"role\":\"user\",\"content\":\"text\",\"seq\":6}"));
	assert_int_equal(recall(assistant, "short_term", 3).count, 3);
	assert_int_equal(recall(assistant, NULL, 0).count, 0);
	/* Stored rows take its place. */
	(void)remember(assistant, "short_term", "{\"a\":1}", NULL);
	list = recall(assistant, "short_term", 0);
	assert_int_equal(list.count, 1);
	assert_bytes_equal(list.items[0].content, KEEP_BYTES("{\"a\":1}"));
	end(&assistant);
}

static void a_fact_is_there_once_however_it_is_written(void **state)
{
	static const char *const same[] = {
		"\"Ada likes café au lait\"",
		"{\"fact\":\"ada  LIKES caf\\u00e9 au lait.\"}",
		"\"  ADA likes cafe\\u0301 au\\tlait!\"",
		"\"ada likes cafe au lait\"",
		"{\"fact\":\"Ada, likes: Café au-lait\",\"source\":\"x\"}",
	};
	static const char *const other[] = {"\"Ada likes tea\"", "\":-)\"", "\":-(\"",
					    "\"stra\\u00dfe\""};
	keep_assistant *assistant = assistant_fresh();
	int64_t first = 0;
	bool is_duplicate = true;

	(void)state;
	(void)assistant_conversation(assistant, "c");
	for (size_t i = 0; i < KP_COUNT(same); i++) {
		int64_t id = remember(assistant, "facts", same[i], &is_duplicate);

		assert_int_equal(is_duplicate, i > 0);
		first = i ? first : id;
		assert_int_equal(id, first);
	}
	for (size_t i = 0; i < KP_COUNT(other); i++) {
		(void)remember(assistant, "facts", other[i], &is_duplicate);
		assert_false(is_duplicate);
	}
	(void)remember(assistant, "facts", "\"STRASSE\"", &is_duplicate);
	assert_true(is_duplicate);
	/* Signs tell facts apart that have the same words. */
	(void)remember(assistant, "facts", "\"Ada writes C++\"", &is_duplicate);
	assert_false(is_duplicate);
	(void)remember(assistant, "facts", "\"Ada writes C#\"", &is_duplicate);
	assert_false(is_duplicate);
	(void)remember(assistant, "facts", "\"ada writes c#.\"", &is_duplicate);
	assert_true(is_duplicate);
	/* A text is kept as the first one wrote it, in one form. */
	assert_bytes_equal(recall(assistant, "facts", 10).items[6].content,
			   KEEP_BYTES("{\"fact\":\"Ada likes café au lait\"}"));
	assert_int_equal(assistant_count("conversation_memory"), 7);
	/* Other conversations and types have their own. */
	(void)assistant_conversation(assistant, "d");
	OK(keep_assistant_remember(assistant, KEEP_BYTES("d"), KEEP_BYTES("facts"),
				   keep_bytes_of(same[0]), KEEP_NOW, NULL, &is_duplicate, &err));
	assert_false(is_duplicate);
	end(&assistant);
}

/* ---------------------------------------------------------------- at once */

static void *remember_often(void *ctx)
{
	keep_error why = KEEP_ERROR_INIT;

	for (int i = 0; i < FACTS; i++) {
		char fact[40];

		snprintf(fact, sizeof fact, "\"Fact number %d\"", i);
		if (keep_assistant_remember(ctx, c, KEEP_BYTES("facts"), keep_bytes_of(fact),
					    KEEP_NOW, NULL, NULL, &why) != KEEP_OK)
			return ctx;
	}
	return NULL;
}

static int be_a_process(const char *url)
{
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_assistant *assistant = NULL;
	keep_error why = KEEP_ERROR_INIT;
	bool failed;

	options.timeout_ms = 30000;
	options.without_keys = true;
	if (keep_assistant_open(url, &options, &assistant, &why) != KEEP_OK)
		return 3;
	failed = remember_often(assistant) != NULL;
	keep_assistant_close(&assistant);
	return failed;
}

static void facts_that_are_remembered_at_once_are_there_once(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	pthread_t threads[WORKERS];
	pid_t children[WORKERS];
	char url[ASSISTANT_URL_MAX];

	(void)state;
	(void)assistant_conversation(assistant, "c");
	snprintf(url, sizeof url, "%s", assistant_url());
	for (int i = 0; i < WORKERS; i++) {
		children[i] = fork();
		if (children[i] == 0) {
			execl(assistant_program(), assistant_program(), url, "facts", NULL);
			_exit(9);
		}
	}
	for (int i = 0; i < WORKERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, remember_often, assistant), 0);
	for (int i = 0; i < WORKERS; i++) {
		void *failed = NULL;
		int ended = 1;

		pthread_join(threads[i], &failed);
		assert_null(failed);
		assert_int_equal(waitpid(children[i], &ended, 0), children[i]);
		assert_int_equal(ended, 0);
	}
	assert_int_equal(assistant_count("conversation_memory"), FACTS);
	end(&assistant);
}

/* ---------------------------------------------------------------- forgetting */

static void one_row_a_type_or_everything_is_forgotten(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	int64_t id, count = -1;

	(void)state;
	(void)assistant_conversation(assistant, "c");
	(void)assistant_conversation(assistant, "d");
	id = remember(assistant, "facts", "\"one\"", NULL);
	(void)remember(assistant, "facts", "\"two\"", NULL);
	(void)remember(assistant, "working", "1", NULL);
	(void)remember(assistant, "working", "2", NULL);
	(void)remember(assistant, "long_term", "3", NULL);
	/* Of another conversation, of another type: not there. */
	OK(keep_assistant_forget(assistant, KEEP_BYTES("d"), id, none, &count, &err));
	assert_int_equal(count, 0);
	OK(keep_assistant_forget(assistant, c, id, KEEP_BYTES("working"), &count, &err));
	assert_int_equal(count, 0);
	OK(keep_assistant_forget(assistant, c, id, KEEP_BYTES("facts"), &count, &err));
	assert_int_equal(count, 1);
	(void)remember(assistant, "facts", "\"one\"", NULL);
	OK(keep_assistant_forget(assistant, c, 0, KEEP_BYTES("working"), &count, &err));
	assert_int_equal(count, 2);
	assert_int_equal(assistant_count("conversation_memory"), 3);
	OK(keep_assistant_forget(assistant, c, 0, none, &count, &err));
	assert_int_equal(count, 3);
	/* Nothing of that was a summary. */
	assert_int_equal(assistant_count("conversations WHERE context_version = 1"), 2);
	end(&assistant);
}

static void bad_input_names_what_is_wrong(void **state)
{
	static const char *const facts[] = {"1",    "{}",     "{\"fact\":1}", "{\"fact\":\"\"}",
					    "\"\"", "[\"x\"]"};
	keep_assistant *assistant = assistant_fresh();
	keep_bytes type = KEEP_BYTES("facts"), nobody = KEEP_BYTES("nobody");
	keep_remembered_list list;

	(void)state;
	(void)assistant_conversation(assistant, "c");
#define REMEMBER(id_, type_, content_)                                                             \
	keep_assistant_remember(assistant, id_, type_, content_, KEEP_NOW, NULL, NULL, &err)
	for (size_t i = 0; i < KP_COUNT(facts); i++) {
		assert_int_equal(REMEMBER(c, type, keep_bytes_of(facts[i])), KEEP_INVALID);
		assert_non_null(strstr(err.message, "content"));
	}
	assert_int_equal(REMEMBER(c, KEEP_BYTES("dreams"), KEEP_BYTES("1")), KEEP_INVALID);
	assert_non_null(strstr(err.message, "memory_type"));
	assert_int_equal(REMEMBER(c, none, KEEP_BYTES("1")), KEEP_INVALID);
	assert_int_equal(REMEMBER(c, KEEP_BYTES("working"), KEEP_BYTES("{")), KEEP_INVALID);
	assert_int_equal(REMEMBER(c, KEEP_BYTES("working"), none), KEEP_INVALID);
	assert_int_equal(REMEMBER(nobody, KEEP_BYTES("working"), KEEP_BYTES("1")), KEEP_NOT_FOUND);
	assert_int_equal(keep_assistant_recall(assistant, nobody, none, 0, &memory, &list, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(
		keep_assistant_recall(assistant, c, KEEP_BYTES("x"), 0, &memory, &list, &err),
		KEEP_INVALID);
	assert_int_equal(keep_assistant_recall(assistant, c, none, KEEP_ASSISTANT_LIST_MAX + 1,
					       &memory, &list, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_assistant_forget(assistant, nobody, 0, none, NULL, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(keep_assistant_forget(assistant, c, 0, KEEP_BYTES("x"), NULL, &err),
			 KEEP_INVALID);
	assert_int_equal(assistant_count("conversation_memory"), 0);
	end(&assistant);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_remembered_comes_back_newest_first),
		cmocka_unit_test(short_term_is_a_view_of_the_newest_messages),
		cmocka_unit_test(a_fact_is_there_once_however_it_is_written),
		cmocka_unit_test(facts_that_are_remembered_at_once_are_there_once),
		cmocka_unit_test(one_row_a_type_or_everything_is_forgotten),
		cmocka_unit_test(bad_input_names_what_is_wrong),
	};
	int failed;

	if (argc == 3)
		return be_a_process(argv[1]);
	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}

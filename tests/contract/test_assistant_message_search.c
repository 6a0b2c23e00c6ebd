/*
 * test_assistant_message_search.c - messages are found by their words, as soon as they are
 * committed, whoever folds their words in and wherever that was killed.
 *
 *     test_assistant_message_search sqlite|postgres
 */
#include "assistant_rows.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* src/assistant/message_index.c; its header needs what the build makes of the statements. */
keep_status kp_message_index_fold(keep_assistant *assistant, keep_error *err);

#define FOUND_MAX 1000

struct found {
	size_t count;
	bool is_exact;
	int64_t ids[FOUND_MAX];
	char first[200], snippet[200];
};

static struct found search_in(keep_assistant *assistant, const char *query,
			      const char *conversation, bool with_internal, size_t limit)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_matches matches = {.count = 0};
	keep_error err = KEEP_ERROR_INIT;
	struct found found = {.count = 0};

	OK(keep_assistant_search_messages(assistant, keep_bytes_of(query),
					  keep_bytes_of(conversation), with_internal, limit,
					  &memory, &matches, &err));
	found.count = matches.count;
	found.is_exact = matches.is_exact;
	for (size_t i = 0; i < matches.count; i++)
		found.ids[i] = matches.items[i].message.id;
	if (matches.count) {
		(void)snprintf(found.first, sizeof found.first, "%" KP_PRI,
			       KP_ARG(matches.items[0].message.content));
		(void)snprintf(found.snippet, sizeof found.snippet, "%" KP_PRI,
			       KP_ARG(matches.items[0].snippet));
	}
	keep_memory_release(&memory);
	return found;
}

static struct found search(keep_assistant *assistant, const char *query)
{
	return search_in(assistant, query, NULL, false, 0);
}

static void fold(keep_assistant *assistant)
{
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_message_index_fold(assistant, &err));
}

static void append_internal(keep_assistant *assistant, const char *conversation,
			    const char *content)
{
	keep_conversation_message message = {.conversation_id = keep_bytes_of(conversation),
					     .role = KEEP_BYTES("system"),
					     .content = keep_bytes_of(content),
					     .is_internal = true};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_assistant_append(assistant, &message, NULL, &err));
}

static void remove_conversation(keep_assistant *assistant, const char *id)
{
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_assistant_delete_conversation(assistant, keep_bytes_of(id), NULL, &err));
}

/* How many rows the index holds; one that is in twice counts twice. */
static int64_t count_indexed(void)
{
	return assistant_count(assistant_is_file()
				       ? "message_terms WHERE term >= '=' AND term < '=g'"
				       : "message_words");
}

/* ---------------------------------------------------------------- words */

static void assert_words(keep_assistant *assistant)
{
	static const struct {
		const char *query;
		size_t count;
	} cases[] = {
		{"ueber", 0},
		{"über", 1},
		{"UBER", 1},
		{"cafe", 1},
		{"CAFÉ", 1},
		{"東京", 1},
		{"京都", 0},
		{"\"tea with milk\"", 1},
		{"\"milk with tea\"", 0},
		{"milk tea", 1},
		{"tea -milk", 1},
		{"te*", 2},
		{"tea OR über", 3},
		{"100%", 1},
		{"nothing", 0},
		{"strasse", 1},
		{"STRASSE", 1},
	};

	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		struct found found;

		found = search(assistant, cases[i].query);
		CHECK(found.count == cases[i].count, "%s: %zu instead of %zu", cases[i].query,
		      found.count, cases[i].count);
		assert_true(found.is_exact);
	}
}

static void accents_case_scripts_phrases_and_prefixes_are_found_folded_or_not(void **state)
{
	keep_assistant *assistant = assistant_fresh();

	(void)state;
	(void)assistant_conversation(assistant, "c");
	(void)assistant_append(assistant, "c", "Das ging ÜBER alles");
	(void)assistant_append(assistant, "c", "Le Café du coin, Straße 7");
	(void)assistant_append(assistant, "c", "東京に行きたい");
	(void)assistant_append(assistant, "c", "a cup of tea with milk");
	(void)assistant_append(assistant, "c", "TEA at 100% 👍🏽");
	assert_words(assistant);
	fold(assistant);
	assert_words(assistant);
	assert_string_equal(search(assistant, "\"tea with\"").snippet, "a cup of [tea with] milk");
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_query_without_a_word_is_invalid_and_says_so(void **state)
{
	static const char *const bad[] = {"", "%", "-milk", "\"\"", "()", "\xff"};
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_matches matches;
	keep_error err = KEEP_ERROR_INIT;
	keep_bytes none = {NULL, 0};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(bad); i++)
		CHECK(keep_assistant_search_messages(assistant, keep_bytes_of(bad[i]), none, false,
						     0, &memory, &matches, &err) == KEEP_INVALID,
		      "%s", bad[i]);
	assert_int_equal(keep_assistant_search_messages(assistant, KEEP_BYTES("a"), none, false,
							1001, &memory, &matches, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_assistant_search_messages(assistant, KEEP_BYTES("a"),
							KEEP_BYTES("nowhere"), false, 0, &memory,
							&matches, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(search(assistant, "anything").count, 0);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void better_matches_come_first_and_the_order_does_not_change_by_folding(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	struct found before, after;

	(void)state;
	(void)assistant_conversation(assistant, "c");
	for (int i = 0; i < 30; i++)
		(void)assistant_append(assistant, "c", "some words about many common things");
	(void)assistant_append(assistant, "c", "rare");
	(void)assistant_append(assistant, "c", "common rare common rare");
	(void)assistant_append(assistant, "c", "common");
	before = search_in(assistant, "common OR rare", NULL, false, 50);
	assert_int_equal(before.count, 33);
	assert_string_equal(before.first, "common rare common rare");
	fold(assistant);
	after = search_in(assistant, "common OR rare", NULL, false, 50);
	assert_int_equal(after.count, 33);
	assert_memory_equal(before.ids, after.ids, 33 * sizeof *before.ids);
	assert_int_equal(search_in(assistant, "common", NULL, false, 7).count, 7);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_conversation_and_internal_messages_are_kept_apart(void **state)
{
	keep_assistant *assistant = assistant_fresh();

	(void)state;
	(void)assistant_conversation(assistant, "one");
	(void)assistant_conversation(assistant, "two");
	for (int i = 0; i < 1200; i++)
		append_internal(assistant, "one", "apple of the system");
	(void)assistant_append(assistant, "two", "an apple");
	(void)assistant_append(assistant, "one", "two apple trees");
	for (int round = 0; round < 2; round++) {
		assert_int_equal(search(assistant, "apple").count, 2);
		assert_true(search(assistant, "apple").is_exact);
		assert_int_equal(search_in(assistant, "apple", "one", false, 0).count, 1);
		assert_int_equal(search_in(assistant, "apple", "two", true, 0).count, 1);
		assert_int_equal(search_in(assistant, "system", "one", true, 1000).count, 1000);
		assert_int_equal(search_in(assistant, "system", NULL, false, 0).count, 0);
		assert_int_equal(search_in(assistant, "appl*", "two", false, 0).count, 1);
		fold(assistant);
	}
	assert_false(search_in(assistant, "system", NULL, true, 10).is_exact);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- folding */

static int64_t get_position(void)
{
	const char *value = assistant_sql("SELECT value FROM derived_marks WHERE name = "
					  "'message_words'");
	const char *at = strchr(value, ' ');

	at = at ? strchr(at + 1, ' ') : NULL;
	return at ? strtoll(at, NULL, 10) : -1;
}

static void words_are_folded_in_behind_the_appends_by_themselves(void **state)
{
	keep_assistant *assistant = assistant_fresh();

	(void)state;
	(void)assistant_conversation(assistant, "c");
	for (int i = 0; i < 450; i++)
		(void)assistant_append(assistant, "c", "hello world");
	/* Full batches at once, the rest when it is quiet. */
	for (int i = 0; i < 3000 * test_patience() && get_position() < 450; i++)
		(void)usleep(5000);
	assert_int_equal(get_position(), 450);
	assert_int_equal(count_indexed(), 450);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void closing_folds_what_many_short_commands_left(void **state)
{
	keep_assistant *assistant = assistant_fresh();

	(void)state;
	(void)assistant_conversation(assistant, "c");
	keep_assistant_close(&assistant);
	for (int i = 0; i < 210; i++) {
		assistant = assistant_again(NULL);
		(void)assistant_append(assistant, "c", "one word");
		keep_assistant_close(&assistant);
	}
	CHECK(get_position() >= 200, "%lld", (long long)get_position());
	assistant = assistant_again(NULL);
	assert_int_equal(search_in(assistant, "word", NULL, false, 1000).count, 210);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void an_index_by_other_rules_is_made_anew(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	(void)assistant_conversation(assistant, "c");
	for (int i = 0; i < 300; i++)
		(void)assistant_append(assistant, "c", "old rules");
	fold(assistant);
	(void)assistant_sql("UPDATE derived_marks SET value = '0/0 other 300 300 0' WHERE name = "
			    "'message_words'");
	assert_int_equal(search_in(assistant, "rules", NULL, false, 1000).count, 300);
	fold(assistant);
	assert_int_equal(get_position(), 300);
	assert_int_equal(search_in(assistant, "rules", NULL, false, 1000).count, 300);
	OK(keep_assistant_rebuild_search(assistant, &err));
	assert_int_equal(get_position(), 300);
	assert_int_equal(search_in(assistant, "rules", NULL, false, 1000).count, 300);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_deleted_conversation_takes_its_words_along_and_its_ids_may_come_again(void **state)
{
	keep_assistant *assistant = assistant_fresh();

	(void)state;
	(void)assistant_conversation(assistant, "stays");
	(void)assistant_append(assistant, "stays", "kept words");
	for (int round = 0; round < 3; round++) {
		(void)assistant_conversation(assistant, "goes");
		for (int i = 0; i < 500; i++)
			(void)assistant_append(assistant, "goes", "secret words");
		if (round != 1)
			fold(assistant);
		assert_int_equal(search_in(assistant, "secret", NULL, false, 1000).count, 500);
		remove_conversation(assistant, "goes");
		assert_int_equal(search(assistant, "secret").count, 0);
		assert_int_equal(search(assistant, "words").count, (size_t)round + 1);
		/* On SQLite these have ids of those that went. */
		(void)assistant_append(assistant, "stays", "new words here");
		assert_int_equal(search(assistant, "new").count, (size_t)round + 1);
		fold(assistant);
		assert_int_equal(search(assistant, "new").count, (size_t)round + 1);
		assert_int_equal(search(assistant, "words").count, (size_t)round + 2);
		(void)assistant_append(assistant, "stays", "padding");
		remove_conversation(assistant, "stays");
		assert_int_equal(search(assistant, "words").count, 0);
		(void)assistant_conversation(assistant, "stays");
		for (int i = 0; i < round + 2; i++)
			(void)assistant_append(assistant, "stays", i ? "new words" : "kept words");
	}
	fold(assistant);
	assert_int_equal(count_indexed(), assistant_count("messages"));
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- at once */

struct appender {
	keep_assistant *assistant;
	char conversation[32];
};

static void *append_and_find(void *ctx)
{
	struct appender *appender = ctx;

	for (int i = 0; i < 150; i++) {
		char text[64];

		(void)snprintf(text, sizeof text, "%sword%d shared", appender->conversation, i);
		(void)assistant_append(appender->assistant, appender->conversation, text);
		(void)snprintf(text, sizeof text, "%sword%d", appender->conversation, i);
		CHECK(search(appender->assistant, text).count == 1, "%s", text);
	}
	return NULL;
}

static void threads_find_at_once_what_they_appended(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	struct appender appenders[4];
	pthread_t threads[4];

	(void)state;
	for (int i = 0; i < 4; i++) {
		appenders[i].assistant = assistant;
		(void)snprintf(appenders[i].conversation, sizeof appenders[i].conversation, "c%d",
			       i);
		(void)assistant_conversation(assistant, appenders[i].conversation);
	}
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, append_and_find, &appenders[i]),
				 0);
	for (int i = 0; i < 4; i++)
		(void)pthread_join(threads[i], NULL);
	assert_int_equal(search_in(assistant, "shared", NULL, false, 1000).count, 600);
	fold(assistant);
	assert_int_equal(count_indexed(), 600);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

/* This program again: appends, finds and folds until it is killed or has done `count`. */
static int be_worker(const char *url, const char *name, int count)
{
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_assistant *assistant = NULL;
	keep_error err = KEEP_ERROR_INIT;

	options.without_keys = true;
	options.timeout_ms = 20000;
	if (keep_assistant_open(url, &options, &assistant, &err) != KEEP_OK) {
		(void)fprintf(stderr, "%s\n", err.message);
		return 1;
	}
	(void)assistant_conversation(assistant, name);
	for (int i = 0; i < count; i++) {
		char text[64];

		(void)snprintf(text, sizeof text, "worker %s number%d", name, i);
		(void)assistant_append(assistant, name, text);
		if (i % 40 == 39)
			fold(assistant);
		if (i == 0 && write(STDOUT_FILENO, "x", 1) != 1)
			return 1;
	}
	keep_assistant_close(&assistant);
	return 0;
}

static pid_t start_worker(const char *url, const char *name, const char *count, int *out)
{
	int ends[2];
	pid_t child;

	assert_int_equal(pipe(ends), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		(void)dup2(ends[1], STDOUT_FILENO);
		(void)close(ends[0]);
		(void)close(ends[1]);
		(void)execl(assistant_program(), assistant_program(), "worker", url, name, count,
			    NULL);
		_exit(3);
	}
	(void)close(ends[1]);
	*out = ends[0];
	return child;
}

static void processes_that_fold_at_once_and_are_killed_lose_nothing_and_double_nothing(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	const char *url = assistant_url();
	int64_t words, messages;

	(void)state;
	for (int round = 0; round < 6; round++) {
		pid_t children[2];
		int ends[2], status = 0;
		char names[2][16], ready;

		for (int i = 0; i < 2; i++) {
			(void)snprintf(names[i], sizeof names[i], "w%dx%d", round, i);
			children[i] =
				start_worker(url, names[i], round < 5 ? "100000" : "300", &ends[i]);
		}
		for (int i = 0; i < 2; i++)
			assert_int_equal(read(ends[i], &ready, 1), 1);
		(void)usleep((useconds_t)(20000 + 30000 * round));
		for (int i = 0; i < 2; i++) {
			if (round < 5)
				(void)kill(children[i], SIGKILL);
			(void)waitpid(children[i], &status, 0);
			assert_true(round < 5 || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
			(void)close(ends[i]);
			CHECK(search_in(assistant, "worker", names[i], false, 1000).count > 0, "%s",
			      names[i]);
		}
	}
	fold(assistant);
	words = count_indexed();
	messages = assistant_count("messages");
	CHECK(words == messages, "%lld words of %lld messages", (long long)words,
	      (long long)messages);
	assert_int_equal(search_in(assistant, "number299", NULL, false, 0).count >= 2, true);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- against a model */

#define MODEL_MAX 600

static void random_operations_leave_what_a_scan_of_the_table_finds(void **state)
{
	static const char *const words[] = {"ant", "bee", "cat", "dog", "eel", "Ünter", "東京"};
	keep_assistant *assistant = assistant_fresh();
	uint64_t seed = test_seed();
	char texts[MODEL_MAX][64], conversations[MODEL_MAX];
	size_t count = 0;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	for (char c = 'a'; c < 'e'; c++)
		(void)assistant_conversation(assistant, (char[2]){c, 0});
	for (int step = 0; step < 700; step++) {
		char name[2] = {(char)('a' + next_random(&seed) % 4), 0};
		unsigned what = (unsigned)(next_random(&seed) % 50);

		if (what == 0) {
			size_t kept = 0;

			remove_conversation(assistant, name);
			(void)assistant_conversation(assistant, name);
			for (size_t i = 0; i < count; i++)
				if (conversations[i] != name[0]) {
					memmove(texts[kept], texts[i], sizeof texts[i]);
					conversations[kept++] = conversations[i];
				}
			count = kept;
		} else if (what < 3) {
			fold(assistant);
		} else if (count < MODEL_MAX) {
			(void)snprintf(texts[count], sizeof texts[count], "%s %s",
				       words[next_random(&seed) % KP_COUNT(words)],
				       words[next_random(&seed) % KP_COUNT(words)]);
			(void)assistant_append(assistant, name, texts[count]);
			conversations[count++] = name[0];
		}
		if (step % 10 == 0) {
			const char *word = words[next_random(&seed) % KP_COUNT(words)];
			size_t all = 0, own = 0;

			for (size_t i = 0; i < count; i++) {
				bool has = strstr(texts[i], word) != NULL;

				all += has;
				own += has && conversations[i] == name[0];
			}
			assert_int_equal(search_in(assistant, word, NULL, false, 1000).count, all);
			assert_int_equal(search_in(assistant, word, name, false, 1000).count, own);
		}
	}
	fold(assistant);
	assert_int_equal(count_indexed(), assistant_count("messages"));
	assert_int_equal(assistant_count("messages"), count);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_store_that_may_only_be_read_is_searched_without_folding(void **state)
{
	keep_assistant *assistant = assistant_fresh(), *reader = NULL;
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	(void)assistant_conversation(assistant, "c");
	for (int i = 0; i < 20; i++)
		(void)assistant_append(assistant, "c", "reading only");
	options.read_only = true;
	options.without_keys = true;
	OK(assistant_open_with(&options, &reader, &err));
	assert_int_equal(search_in(reader, "reading", NULL, false, 100).count, 20);
	assert_int_equal(keep_assistant_rebuild_search(reader, &err), KEEP_DENIED);
	keep_assistant_close(&reader);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accents_case_scripts_phrases_and_prefixes_are_found_folded_or_not),
		cmocka_unit_test(a_query_without_a_word_is_invalid_and_says_so),
		cmocka_unit_test(
			better_matches_come_first_and_the_order_does_not_change_by_folding),
		cmocka_unit_test(a_conversation_and_internal_messages_are_kept_apart),
		cmocka_unit_test(words_are_folded_in_behind_the_appends_by_themselves),
		cmocka_unit_test(closing_folds_what_many_short_commands_left),
		cmocka_unit_test(an_index_by_other_rules_is_made_anew),
		cmocka_unit_test(
			a_deleted_conversation_takes_its_words_along_and_its_ids_may_come_again),
		cmocka_unit_test(threads_find_at_once_what_they_appended),
		cmocka_unit_test(
			processes_that_fold_at_once_and_are_killed_lose_nothing_and_double_nothing),
		cmocka_unit_test(random_operations_leave_what_a_scan_of_the_table_finds),
		cmocka_unit_test(a_store_that_may_only_be_read_is_searched_without_folding),
	};
	int failed;

	if (argc == 5 && strcmp(argv[1], "worker") == 0)
		return be_worker(argv[2], argv[3], atoi(argv[4]));
	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}

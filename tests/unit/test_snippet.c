/*
 * test_snippet.c - a snippet is the best part of the original text, whole characters, marked, and
 * never longer than asked.
 */
#include "keep_test.h"
#include "search/search.h"

static const kp_snippet_options plain = {.tokens = 0};

static void expect(const char *query_text, const char *text, const kp_snippet_options *options,
		   const char *snippet)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer out = KEEP_BUFFER_INIT;
	kp_text_query query;

	OK(kp_text_query_parse(keep_bytes_of(query_text), &query, &err));
	OK(kp_text_snippet(&query, keep_bytes_of(text), options, &out, &err));
	assert_bytes_equal(kp_buffer_bytes(&out), keep_bytes_of(snippet));
	keep_buffer_release(&out);
	kp_text_query_release(&query);
}

static void matches_are_marked_in_the_original_text(void **state)
{
	(void)state;
	expect("cafe", "Das Café, zu.", &plain, "Das [Café], zu.");
	expect("\"two words\" x*", "(Two words) xyz!", &plain, "([Two words]) [xyz]!");
	expect("京都", "東京都です", &plain, "東[京都]です");
	expect("a -b", "a b", &plain, "[a] b");
	expect("\"a a\"", "a a a", &plain, "[a a a]");
	expect("e", "e\xcc\x81te e\xcc\x81", &plain, "e\xcc\x81te [e\xcc\x81]");
	expect("x", "nothing of it", &plain, "nothing of it");
	expect("x", "", &plain, "");
	expect("x", "...", &plain, "...");
	expect("b", "a\tb\n\nc\x7f", &plain, "a [b] c ");
}

static void the_marks_are_the_callers(void **state)
{
	kp_snippet_options options = {.tokens = 3, .open = "<b>", .close = "</b>", .ellipsis = "~"};

	(void)state;
	expect("d", "a b c d e f g", &options, "~c <b>d</b> e~");
	expect("a", "a b c d e f g", &options, "<b>a</b> b c~");
	expect("g", "a b c d e f g", &options, "~e f <b>g</b>");
}

static void the_window_with_most_different_terms_wins(void **state)
{
	kp_snippet_options options = {.tokens = 4};

	(void)state;
	expect("cat dog", "cat cat cat x x x x x dog x cat x x x", &options, "…[dog] x [cat] x…");
}

static void a_hit_behind_very_long_words_is_shown(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer text = KEEP_BUFFER_INIT, out = KEEP_BUFFER_INIT;
	kp_snippet_options options = {.bytes_max = 160};
	kp_text_query query;

	(void)state;
	for (int i = 0; i < 2000; i++)
		OK(kp_buffer_append_text(&text, i % 200 == 199 ? " " : "é", &err));
	OK(kp_buffer_append_text(&text, "needle", &err));
	OK(kp_text_query_parse(KEEP_BYTES("needle"), &query, &err));
	OK(kp_text_snippet(&query, kp_buffer_bytes(&text), &options, &out, &err));
	assert_bytes_equal(kp_buffer_bytes(&out), KEEP_BYTES("…[needle]"));
	kp_text_query_release(&query);
	keep_buffer_release(&text);
	keep_buffer_release(&out);
}

static void check_snippet(keep_bytes snippet, size_t bytes_max)
{
	int open = 0;

	CHECK(snippet.len <= bytes_max, "%zu bytes", snippet.len);
	CHECK(kp_utf8_is_valid(snippet, NULL), "cut in a character");
	for (size_t i = 0; i < snippet.len; i++) {
		open += (snippet.data[i] == '[') - (snippet.data[i] == ']');
		CHECK(open == 0 || open == 1, "marks in marks");
	}
	CHECK(open == 0, "a mark is left open");
}

static void any_text_gives_a_snippet_within_its_bounds(void **state)
{
	static const char *const parts[] = {
		"cat",      " ",  " ",  ".", "dog ",      "é",    "東",
		"👍🏽", "🇩🇪", "\n", "ﷺ", "e\xcc\x81", "a b ", "xxxxxxxxxxxxxxxxxxxxxx"};
	uint64_t seed = test_seed();
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer text = KEEP_BUFFER_INIT, out = KEEP_BUFFER_INIT;
	kp_text_query query;

	(void)state;
	OK(kp_text_query_parse(KEEP_BYTES("cat OR \"dog cat\" OR 東 OR 👍 OR \"a b\" OR e*"), &query,
			       &err));
	for (int round = 0; round < 5000; round++) {
		kp_snippet_options options = {.tokens = next_random(&seed) % 20,
					      .bytes_max = 160 + next_random(&seed) % 200};
		size_t count = next_random(&seed) % 200;

		text.len = 0;
		for (size_t i = 0; i < count; i++)
			OK(kp_buffer_append_text(&text, parts[next_random(&seed) % KP_COUNT(parts)],
						 &err));
		OK(kp_text_snippet(&query, kp_buffer_bytes(&text), &options, &out, &err));
		check_snippet(kp_buffer_bytes(&out), options.bytes_max);
		if (count && strstr(text.data, " cat ") && text.data[text.len] == '\0')
			CHECK(memchr(out.data, '[', out.len), "no hit is shown");
	}
	kp_text_query_release(&query);
	keep_buffer_release(&text);
	keep_buffer_release(&out);
}

static void options_out_of_bounds_are_refused(void **state)
{
	static const kp_snippet_options bad[] = {{.tokens = 257},
						 {.bytes_max = 159},
						 {.open = "12345678901234567"},
						 {.ellipsis = "\xff"}};
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer out = KEEP_BUFFER_INIT;
	kp_text_query query;

	(void)state;
	OK(kp_text_query_parse(KEEP_BYTES("a"), &query, &err));
	for (size_t i = 0; i < KP_COUNT(bad); i++)
		assert_int_equal(kp_text_snippet(&query, KEEP_BYTES("a"), &bad[i], &out, &err),
				 KEEP_INVALID);
	kp_text_query_release(&query);
	keep_buffer_release(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(matches_are_marked_in_the_original_text),
		cmocka_unit_test(the_marks_are_the_callers),
		cmocka_unit_test(the_window_with_most_different_terms_wins),
		cmocka_unit_test(a_hit_behind_very_long_words_is_shown),
		cmocka_unit_test(any_text_gives_a_snippet_within_its_bounds),
		cmocka_unit_test(options_out_of_bounds_are_refused),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	assert_nothing_lives();
	return failed;
}

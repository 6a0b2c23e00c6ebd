/*
 * test_text_query.c - a query means what people mean by it, and what it becomes is made of tokens
 * and of our own operators alone.
 */
#include "keep_test.h"
#include "search/text_private.h"

static void expect(const char *text, const char *fts5)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer out = KEEP_BUFFER_INIT;
	kp_text_query query;
	keep_status status = kp_text_query_parse(keep_bytes_of(text), &query, &err);

	CHECK(status == KEEP_OK, "%s: %s", text, err.message);
	OK(kp_text_query_fts5(&query, NULL, &out, &err));
	assert_bytes_equal(kp_buffer_bytes(&out), keep_bytes_of(fts5));
	keep_buffer_release(&out);
	kp_text_query_release(&query);
}

static void refuse(const char *text, const char *message)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_text_query query;

	assert_int_equal(kp_text_query_parse(keep_bytes_of(text), &query, &err), KEEP_INVALID);
	CHECK(strstr(err.message, message), "%s", err.message);
	assert_int_equal(query.term_count, 0);
}

static void words_phrases_prefixes_and_operators_are_understood(void **state)
{
	(void)state;
	expect("Hello", "\"hello\"");
	expect("two words", "((\"two\" AND \"words\"))");
	expect("\"two words\"", "\"two words\"");
	expect("“two words”", "\"two words\"");
	expect("hel*", "\"hel\"*");
	expect("\"two wor\"*", "\"two wor\"*");
	expect("a -b", "((\"a\") NOT (\"b\"))");
	expect("a NOT b -c", "((\"a\") NOT (\"b\" OR \"c\"))");
	expect("-a b", "((\"b\") NOT (\"a\"))");
	expect("a OR b", "((\"a\" OR \"b\"))");
	expect("a b OR c", "((((\"a\" AND \"b\")) OR \"c\"))");
	expect("(a OR b) c", "((((\"a\" OR \"b\")) AND \"c\"))");
	expect("a AND b", "((\"a\" AND \"b\"))");
	expect("a -(b c)", "((\"a\") NOT (((\"b\" AND \"c\"))))");
	expect("a -\"b c\"", "((\"a\") NOT (\"b c\"))");
	expect("not or and", "((\"not\" AND \"or\" AND \"and\"))");
}

static void what_reads_as_several_tokens_is_a_phrase(void **state)
{
	(void)state;
	expect("ann@example.org", "\"ann example org\"");
	expect("don't", "\"don t\"");
	expect("snake_case*", "\"snake case\"*");
	expect("3.14", "\"3 14\"");
	expect("東京", "\"東 京\"");
	expect("ÉCOLE", "\"ecole\"");
}

static void what_cannot_be_read_is_taken_for_what_remains(void **state)
{
	(void)state;
	expect("\"left open", "((\"left\" AND \"open\"))");
	expect("(a b", "((\"a\" AND \"b\"))");
	expect("a) b", "((\"a\" AND \"b\"))");
	expect("a OR", "\"a\"");
	expect("OR a", "\"a\"");
	expect("a - b", "((\"a\" AND \"b\"))");
	expect("a * b", "((\"a\" AND \"b\"))");
	expect("a NOT", "\"a\"");
	expect("OR", "\"or\"");
	expect("NOT", "\"not\"");
	expect("() a \"\"", "\"a\"");
	expect("a* *b a.*", "((\"a\"* AND \"b\" AND \"a\"))");
	expect("a OR -b", "((\"a\") NOT (\"b\"))");
	expect("a (-b -c)", "((\"a\") NOT (\"b\" OR \"c\"))");
	expect("a -(-b)", "((\"a\" AND \"b\"))");
	expect("content:a ^b {c} NEAR(d e, 2)",
	       "((\"content a\" AND \"b\" AND \"c\" AND \"near\" AND ((\"d\" AND \"e\" AND "
	       "\"2\"))))");
}

static void what_finds_nothing_or_everything_is_refused(void **state)
{
	char long_query[KP_QUERY_BYTES_MAX + 2];

	(void)state;
	refuse("", "no word");
	refuse(" \t ", "no word");
	refuse("*", "no word");
	refuse("\"...\" () - !", "no word");
	refuse("-a", "only excludes");
	refuse("NOT a -b", "only excludes");
	refuse("(-a) OR -b", "only excludes");
	refuse("\xff", "UTF-8");
	memset(long_query, 'a', sizeof long_query);
	long_query[sizeof long_query - 1] = '\0';
	refuse(long_query, "bytes");
	refuse("a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d e f g", "terms");
}

static void equal_terms_are_one(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_text_query query;

	(void)state;
	OK(kp_text_query_parse(KEEP_BYTES("cafe Café cafe* -\"a b\" -\"A B\""), &query, &err));
	assert_int_equal(query.term_count, 3);
	assert_true(query.terms[0].is_wanted);
	assert_false(query.terms[2].is_wanted);
	kp_text_query_release(&query);
}

static void a_tsquery_asks_for_the_words_of_a_phrase_in_texts_that_lost_positions(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer out = KEEP_BUFFER_INIT;
	kp_text_query query;

	(void)state;
	OK(kp_text_query_parse(KEEP_BYTES("\"a b\" c* -\"d e\""), &query, &err));
	OK(kp_text_query_tsquery(&query, NULL, &out, &err));
	assert_bytes_equal(
		kp_buffer_bytes(&out),
		KEEP_BYTES("(((('a' <-> 'b') | ('!' & 'a' & 'b')) & ('c':*)) & !(('d' <-> 'e')))"));
	keep_buffer_release(&out);
	kp_text_query_release(&query);
}

static void planned(const char *text, const kp_query_plan *plan, const char *fts5)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer out = KEEP_BUFFER_INIT;
	kp_text_query query;

	OK(kp_text_query_parse(keep_bytes_of(text), &query, &err));
	OK(kp_text_query_fts5(&query, plan, &out, &err));
	assert_bytes_equal(kp_buffer_bytes(&out), keep_bytes_of(fts5));
	keep_buffer_release(&out);
	kp_text_query_release(&query);
}

static void a_plan_leaves_terms_out_so_that_nothing_is_missed(void **state)
{
	kp_query_plan second = {.ways = {KP_TERM_EXACT, KP_TERM_ANY}};
	kp_query_plan words = {.ways = {KP_TERM_EXACT, KP_TERM_WORDS},
			       .words = {{NULL, 0}, {"bar baz", 7}}};

	(void)state;
	planned("a b*", &second, "((\"a\"))");
	planned("a OR b*", &second, "");
	planned("a -b*", &second, "((\"a\"))");
	planned("c a", &second, "((\"c\"))");
	planned("a -(a b)", &second, "((\"a\"))");
	planned("a -(a OR b)", &second, "((\"a\") NOT (((\"a\"))))");
	planned("a -(c -b)", &(kp_query_plan){.ways = {KP_TERM_EXACT, KP_TERM_EXACT, KP_TERM_ANY}},
		"((\"a\"))");
	planned("a", &(kp_query_plan){.ways = {KP_TERM_ANY}}, "");
	planned("x ba*", &words, "((\"x\" AND (\"bar\" OR \"baz\")))");
	planned("x \"foo ba\"*", &words, "((\"x\" AND (\"foo bar\" OR \"foo baz\")))");
}

static void a_tsvector_keeps_within_postgresqls_limits(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer out = KEEP_BUFFER_INIT, text = KEEP_BUFFER_INIT;

	(void)state;
	OK(kp_text_tsvector(KEEP_BYTES("B a"), KEEP_BYTES("a c"), &out, &err));
	assert_bytes_equal(kp_buffer_bytes(&out), KEEP_BYTES("'a':2,4 'b':1 'c':5"));
	OK(kp_text_tsvector((keep_bytes){NULL, 0}, KEEP_BYTES("..."), &out, &err));
	assert_int_equal(out.len, 0);
	for (int i = 0; i < 256; i++)
		OK(kp_buffer_append_text(&text, "a ", &err));
	OK(kp_text_tsvector((keep_bytes){NULL, 0}, (keep_bytes){text.data, 510}, &out, &err));
	assert_memory_equal(out.data + out.len - 8, ",254,255", 8);
	OK(kp_text_tsvector((keep_bytes){NULL, 0}, kp_buffer_bytes(&text), &out, &err));
	assert_memory_equal(out.data + out.len - 8, ",255 '!'", 8);
	keep_buffer_release(&text);
	keep_buffer_release(&out);
}

/* Nothing but quoted tokens, brackets and our operators. */
static void check_rendering(keep_bytes text)
{
	size_t at = 0;

	while (at < text.len) {
		const char *rest = text.data + at, *end;

		if (*rest == '"' || *rest == '\'') {
			end = memchr(rest + 1, *rest, text.len - at - 1);
			CHECK(end, "a quote is left open");
			for (const char *byte = rest + 1; byte < end; byte++)
				CHECK((unsigned char)*byte >= 0x80 || *byte == ' ' ||
					      (*byte >= '0' && *byte <= '9') ||
					      (*byte >= 'a' && *byte <= 'z') ||
					      (*byte == '!' && end == rest + 2),
				      "byte %02x", (unsigned char)*byte);
			at += (size_t)(end - rest) + 1;
		} else {
			CHECK(strchr("() ANDORT&|!<->:*", *rest), "%c", *rest);
			at++;
		}
	}
}

static void any_bytes_become_a_clean_query_or_none(void **state)
{
	static const char *const parts[] = {
		"\"", "(",   ")",     "-",        "*",        " ",    "OR",  "NOT",
		"a",  "b*",  "'",     "\\",       ":*",       "<->",  "&",   "|",
		"!",  "AND", "é",     "東京",     "“",        "NEAR", "{",   "^",
		"+",  ",",   "don't", "\xcc\x81", "👍🏽", "\n",   "a.b", "\xff"};
	uint64_t seed = test_seed();
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer out = KEEP_BUFFER_INIT;
	char text[256];
	int accepted = 0;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	for (int round = 0; round < 50000; round++) {
		kp_text_query query;
		size_t count = next_random(&seed) % 24;

		text[0] = '\0';
		for (size_t i = 0; i < count; i++)
			strcat(text, parts[next_random(&seed) % (round % 16 ? 31 : 32)]);
		if (kp_text_query_parse(keep_bytes_of(text), &query, &err) != KEEP_OK)
			continue;
		accepted++;
		OK(kp_text_query_fts5(&query, NULL, &out, &err));
		check_rendering(kp_buffer_bytes(&out));
		OK(kp_text_query_tsquery(&query, NULL, &out, &err));
		check_rendering(kp_buffer_bytes(&out));
		kp_text_query_release(&query);
	}
	assert_true(accepted > 20000);
	keep_buffer_release(&out);
}

static void deep_brackets_end(void **state)
{
	char text[KP_QUERY_BYTES_MAX + 1];

	(void)state;
	memset(text, '(', sizeof text);
	text[KP_QUERY_BYTES_MAX - 1] = 'a';
	text[KP_QUERY_BYTES_MAX] = '\0';
	expect(text, "\"a\"");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_phrases_prefixes_and_operators_are_understood),
		cmocka_unit_test(what_reads_as_several_tokens_is_a_phrase),
		cmocka_unit_test(what_cannot_be_read_is_taken_for_what_remains),
		cmocka_unit_test(what_finds_nothing_or_everything_is_refused),
		cmocka_unit_test(equal_terms_are_one),
		cmocka_unit_test(
			a_tsquery_asks_for_the_words_of_a_phrase_in_texts_that_lost_positions),
		cmocka_unit_test(a_plan_leaves_terms_out_so_that_nothing_is_missed),
		cmocka_unit_test(a_tsvector_keeps_within_postgresqls_limits),
		cmocka_unit_test(any_bytes_become_a_clean_query_or_none),
		cmocka_unit_test(deep_brackets_end),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	assert_nothing_lives();
	return failed;
}

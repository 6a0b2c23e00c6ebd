/*
 * test_route_pattern.c - patterns: what is read, what is refused, what matches, and how long it
 * takes.
 */
#include "keep_test.h"

#include "pattern/pattern.h"

#include <regex.h>

static kp_arena arena;

static keep_status compile(const char *text, kp_pattern **out, kp_pattern_needs *needs,
			   keep_error *err)
{
	return kp_pattern_compile(keep_bytes_of(text), &arena, out, needs, err);
}

static kp_found search_bytes(const char *pattern, keep_bytes text, int64_t *steps)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_pattern_room room = {NULL, 0};
	kp_pattern *compiled = NULL;
	kp_found found;

	CHECK(compile(pattern, &compiled, NULL, &err) == KEEP_OK, "%s: %s", pattern, err.message);
	OK(kp_pattern_room_init(&room, &err));
	found = kp_pattern_search(compiled, text, &room);
	if (steps)
		*steps = KP_PATTERN_STEPS - room.steps;
	kp_pattern_room_release(&room);
	return found;
}

static bool matches(const char *pattern, const char *text)
{
	kp_found found = search_bytes(pattern, keep_bytes_of(text), NULL);

	assert_int_not_equal(found, KP_FOUND_BOUND);
	return found == KP_FOUND;
}

static void a_pattern_matches_what_its_syntax_says(void **state)
{
	static const struct {
		const char *pattern, *yes[4], *no[4];
	} cases[] = {
		{"abc", {"abc", "xxabcxx"}, {"ab", "", "aBc"}},
		{"^abc$", {"abc"}, {"abcd", "xabc"}},
		{"a|bc|", {"a", "bc", "zzz"}, {NULL}},
		{"^(a|b)*c$", {"c", "ababc"}, {"abdc"}},
		{"^a+?b$", {"ab", "aaab"}, {"b"}},
		{"^a{2,3}$", {"aa", "aaa"}, {"a", "aaaa"}},
		{"^a{2}$", {"aa"}, {"a", "aaa"}},
		{"^a{2,}$", {"aa", "aaaaa"}, {"a"}},
		{"^a{0}b$", {"b"}, {"ab"}},
		{"^{$|x{a", {"{", "x{a"}, {"x"}},
		{"^.$", {"a", "ä", "\n", "\xf0\x9f\x98\x80"}, {"", "ab"}},
		{"^[a-cx]+$", {"abcx"}, {"abd"}},
		{"^[^a-c]$", {"d", "é"}, {"a", "dd"}},
		{"^[]a]$", {"]", "a"}, {"b"}},
		{"^[^]a]$", {"b"}, {"]"}},
		{"^[a\\-z]$", {"-", "z"}, {"b"}},
		{"^[a-]$", {"-", "a"}, {"b"}},
		{"^[[:alpha:]_]+$", {"ab_", "Ж"}, {"a1"}},
		{"^[[:upper:]][[:lower:]]$", {"Ab", "Äb"}, {"ab", "AB"}},
		{"^[[:digit:]]{4}-[[:digit:]]{2}$", {"2026-01"}, {"2026-1"}},
		{"^\\d\\D\\w\\W\\s\\S$", {"1aa- x", "9xä!\tb"}, {"aaa- x", "1aaä x"}},
		{"^[\\w.]+@[\\w.]+$", {"a.b@c.d"}, {"a b@c"}},
		{"\\bcat\\b", {"a cat!", "cat"}, {"concat", "cats", "cat_"}},
		{"\\Bcat", {"concat"}, {"cat"}},
		{"\\<über\\>", {"das über uns"}, {"überall", "drüber"}},
		{"\\Aab\\z", {"ab"}, {"ab\n"}},
		{"^\\x41\\x{1f600}\\t$", {"A\xf0\x9f\x98\x80\t"}, {"A"}},
		{"^\\.\\*\\\\$", {".*\\"}, {"a*\\"}},
		{"(?i)^straSSe ÄÖ$", {"STRASSE äö", "strasse Äö"}, {"straße äö"}},
		{"(?i)^[a-c]+[^x]$", {"AbCy"}, {"abcX", "abcx"}},
		{"(?i)^[Α-Ω]+$", {"αβγ"}, {"abg"}},
		{"^(?:ab)+$", {"abab"}, {"aba"}},
		{"^((a*)*)*$", {"", "aaa"}, {"b"}},
		{"()", {"", "x"}, {NULL}},
		{"^(a?){3}$", {"", "aaa"}, {"aaaa"}},
		{"]}", {"]}"}, {"]"}},
	};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		for (int j = 0; j < 4 && cases[i].yes[j]; j++)
			CHECK(matches(cases[i].pattern, cases[i].yes[j]), "%s and '%s'",
			      cases[i].pattern, cases[i].yes[j]);
		for (int j = 0; j < 4 && cases[i].no[j]; j++)
			CHECK(!matches(cases[i].pattern, cases[i].no[j]), "%s and '%s'",
			      cases[i].pattern, cases[i].no[j]);
	}
	kp_arena_release(&arena);
}

static void a_wrong_pattern_is_refused_with_its_position(void **state)
{
	static const struct {
		const char *pattern, *where;
	} cases[] = {
		{"(", "byte 0"},
		{"ab)", "byte 2"},
		{"a(b", "byte 1"},
		{"[a", "byte 0"},
		{"x[]", "byte 1"},
		{"*a", "byte 0"},
		{"a|+", "byte 2"},
		{"^*", "byte 1"},
		{"a**", "byte 2"},
		{"a{2}{3}", "byte 4"},
		{"a++", "byte 2"},
		{"a{3,2}", "byte 1"},
		{"a{1001}", "byte 5"},
		{"a{1", "byte 1"},
		{"a{,3}", "byte 1"},
		{"a\\", "byte 2"},
		{"(a)\\1", "byte 4"},
		{"(?=a)", "byte 0"},
		{"(?!a)", "byte 0"},
		{"(?<=a)b", "byte 0"},
		{"(?R)", "byte 0"},
		{"(*ACCEPT)", "byte 0"},
		{"\\C", "byte 1"},
		{"\\p{L}", "byte 1"},
		{"[z-a]", "byte 1"},
		{"[[:what:]]", "byte 1"},
		{"[[.a.]]", "byte 1"},
		{"\\x{110000}", "byte 2"},
		{"\\x4", "byte 2"},
		{"\\x{d800}", "byte 2"},
		{"(x{0,200}){0,200}", "byte 0"},
		{"a{600}b{600}", "byte 0"},
		{"((((a{9}){9}){9}){9}){9}", "byte "},
	};
	char deep[121] = {0};
	kp_pattern *pattern = NULL;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		keep_error err = KEEP_ERROR_INIT;

		CHECK(compile(cases[i].pattern, &pattern, NULL, &err) == KEEP_INVALID, "%s",
		      cases[i].pattern);
		CHECK(strncmp(err.message, "match: ", 7) == 0 &&
			      strstr(err.message, cases[i].where),
		      "%s: %s", cases[i].pattern, err.message);
	}
	memset(deep, '(', 60);
	memset(deep + 60, ')', 60);
	assert_int_equal(compile(deep, &pattern, NULL, NULL), KEEP_INVALID);
	kp_arena_release(&arena);
}

static void a_pattern_has_at_most_200_bytes(void **state)
{
	char text[203] = {0};
	kp_pattern *pattern = NULL;

	(void)state;
	memset(text, 'a', 200);
	assert_int_equal(compile(text, &pattern, NULL, NULL), KEEP_OK);
	text[200] = 'a';
	assert_int_equal(compile(text, &pattern, NULL, NULL), KEEP_INVALID);
	assert_int_equal(compile("", &pattern, NULL, NULL), KEEP_INVALID);
	kp_arena_release(&arena);
}

/* Random patterns of what both understand alike, on short texts. */
static void make_pattern(uint64_t *seed, char *out, int depth)
{
	int parts = 1 + (int)(next_random(seed) % 3);

	for (int i = 0; i < parts; i++) {
		switch (next_random(seed) % (depth ? 9 : 6)) {
		case 0: strcat(out, "."); break;
		case 1: strcat(out, next_random(seed) % 2 ? "[ab]" : "[^b]"); break;
		case 6:
		case 7:
			strcat(out, "(");
			make_pattern(seed, out, depth - 1);
			strcat(out, "|");
			make_pattern(seed, out, depth - 1);
			strcat(out, ")");
			break;
		case 8:
			strcat(out, "(");
			make_pattern(seed, out, depth - 1);
			strcat(out, ")");
			break;
		default: strcat(out, next_random(seed) % 2 ? "a" : "b"); break;
		}
		if (next_random(seed) % 3 == 0) {
			static const char *const repeats[] = {"*",   "+",     "?",
							      "{2}", "{1,3}", "{0,2}"};

			strcat(out, repeats[next_random(seed) % 6]);
		}
	}
}

static void random_patterns_match_what_the_c_library_matches(void **state)
{
	uint64_t seed = test_seed();
	int compared = 0;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	for (int round = 0; round < 3000; round++) {
		char pattern[2000] = "", text[12] = "";
		regex_t theirs;

		if (next_random(&seed) % 4 == 0)
			strcat(pattern, "^");
		make_pattern(&seed, pattern, 2);
		if (next_random(&seed) % 4 == 0)
			strcat(pattern, "$");
		if (strlen(pattern) > 60)
			continue;
		assert_int_equal(regcomp(&theirs, pattern, REG_EXTENDED | REG_NOSUB), 0);
		for (int i = 0; i < 8; i++) {
			size_t len = next_random(&seed) % 9;

			for (size_t j = 0; j < len; j++)
				text[j] = (char)('a' + next_random(&seed) % 3);
			text[len] = 0;
			CHECK(matches(pattern, text) == (regexec(&theirs, text, 0, NULL, 0) == 0),
			      "%s and '%s'", pattern, text);
			compared++;
		}
		regfree(&theirs);
	}
	assert_true(compared > 5000);
	kp_arena_release(&arena);
}

static void what_matches_contains_what_the_pattern_needs(void **state)
{
	static const struct {
		const char *pattern;
		size_t groups;
		const char *first;
	} cases[] = {
		{"hello.*x12", 2, "hello"}, {"^Order-[0-9]+$", 1, "order-"},
		{"(foo|bar)+", 1, "foo"},   {"a*", 0, NULL},
		{"(foo|)", 0, NULL},        {"[ab]+", 0, NULL},
		{"(ab){2,}", 1, "ab"},      {"(ab){0,2}", 0, NULL},
		{"a\\bb", 1, "ab"},         {"(?i)STRASSE", 1, "strasse"},
		{"((ab)c)", 2, "ab"},
	};
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		kp_pattern *pattern;
		kp_pattern_needs needs;

		OK(compile(cases[i].pattern, &pattern, &needs, &err));
		CHECK(needs.count == cases[i].groups, "%s: %zu groups", cases[i].pattern,
		      needs.count);
		if (needs.count)
			assert_bytes_equal(needs.groups[0].texts[0], keep_bytes_of(cases[i].first));
	}
	kp_arena_release(&arena);
}

/* The patterns that hold other machines for seconds, days, or for ever. */
static void hostile_patterns_end_within_their_steps(void **state)
{
	static const struct {
		const char *pattern;
		kp_found found;
	} cases[] = {
		{"(a+)+$", KP_FOUND},
		{"(a+)+b", KP_FOUND_NOT},
		{"(a|a)*b", KP_FOUND_NOT},
		{".*.*.*x", KP_FOUND_NOT},
		{"(a*)*(a*)*(a*)*(a*)*b", KP_FOUND_NOT},
		{"((((a*)*)*)*)*b", KP_FOUND_NOT},
		{"^(a?){100}a{100}$", KP_FOUND_NOT},
		{"(a?){300}b", KP_FOUND_BOUND},
		{"a.{500}b", KP_FOUND_BOUND},
		{"((a{0,6}){0,6}){0,6}b", KP_FOUND_BOUND},
		{"(.|a|\\w|[^b]){0,60}[xyz]", KP_FOUND_BOUND},
	};
	size_t len = (size_t)1 << 20;
	char *text = malloc(len);

	(void)state;
	memset(text, 'a', len);
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		int64_t steps, begun = kp_monotonic_ns(), took;
		kp_found found = search_bytes(cases[i].pattern, (keep_bytes){text, len}, &steps);

		took = (kp_monotonic_ns() - begun) / 1000000;
		print_message("%-28s on 1 MiB of a: %d, %lld steps, %lld ms\n", cases[i].pattern,
			      (int)found, (long long)steps, (long long)took);
		CHECK(found == cases[i].found, "%s: %d", cases[i].pattern, (int)found);
		assert_true(steps <= KP_PATTERN_STEPS);
		CHECK(took < 2000 * test_patience(), "%s: %lld ms", cases[i].pattern,
		      (long long)took);
	}
	free(text);
	kp_arena_release(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pattern_matches_what_its_syntax_says),
		cmocka_unit_test(a_wrong_pattern_is_refused_with_its_position),
		cmocka_unit_test(a_pattern_has_at_most_200_bytes),
		cmocka_unit_test(random_patterns_match_what_the_c_library_matches),
		cmocka_unit_test(what_matches_contains_what_the_pattern_needs),
		cmocka_unit_test(hostile_patterns_end_within_their_steps),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	return failed || kp_alloc_live() != 0;
}

/*
 * test_tokens.c - every text is the same tokens wherever it is looked for, and a token is what its
 * reader would look for.
 */
#include "keep_test.h"
#include "search/text_private.h"

static void expect(const char *text, const char *normalised)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer out = KEEP_BUFFER_INIT;

	OK(kp_text_normalise(keep_bytes_of(text), &out, &err));
	assert_bytes_equal(kp_buffer_bytes(&out), keep_bytes_of(normalised));
	keep_buffer_release(&out);
}

static void case_accents_width_and_form_make_no_difference(void **state)
{
	(void)state;
	expect("Hello, WORLD!", "hello world");
	expect("Straße STRASSE STRAẞE", "strasse strasse strasse");
	expect("café cafe\xcc\x81 CAFÉ mañana", "cafe cafe cafe manana");
	expect("Ελλάδα ΕΛΛΆΣ ς", "ελλαδα ελλασ σ");
	expect("йод Йод ёж ПРИВЕТ", "иод иод еж привет");
	expect("Łódź Ærø œuvre đ ıI", "lodz aero oeuvre d ii");
	expect("ﬁne ｆｕｌｌ x² Ⅳ", "fine full x2 iv");
	expect("שָׁלוֹם مُحَمَّد أحمد ـكتاب", "שלום محمد احمد كتاب");
	expect("Donau\xc2\xad"
	       "dampf",
	       "donaudampf");
}

static void punctuation_apostrophes_and_underscores_are_breaks(void **state)
{
	(void)state;
	expect("don't don’t donʼt", "don t don t don t");
	expect("l'école snake_case", "l ecole snake case");
	expect("Ann.Lee@example.org https://x.org/a-b?q=1",
	       "ann lee example org https x org a b q 1");
	expect("3.14 1,000 b2b C++ 50€", "3 14 1 000 b2b c 50");
	expect("zero\xe2\x80\x8bwidth no\xe2\x80\x8d"
	       "break",
	       "zero width nobreak");
	expect(" \t\r\n.,;:!?\"'()[]{}<>/\\|@#$%^&*-_=+~`", "");
	expect("", "");
}

static void scripts_without_blanks_are_tokens_of_one_character(void **state)
{
	(void)state;
	expect("東京都2024年iPhone手机", "東 京 都 2024 年 iphone 手 机");
	expect("カタカナ ｶﾀｶﾅ ひらがな", "カ タ カ ナ カ タ カ ナ ひ ら が な");
	expect("が か\xe3\x82\x99 ｶﾞ", "が が ガ");
	expect("한국어 \xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab", "한 국 어 한");
	expect("ไทย", "ไ ท ย");
}

static void marks_that_are_half_of_the_writing_stay(void **state)
{
	(void)state;
	expect("हिन्दी", "हिन्दी");
	/* Bengali o in one character and in two. */
	expect("\xe0\xa6\x95\xe0\xa7\x8b \xe0\xa6\x95\xe0\xa7\x87\xe0\xa6\xbe",
	       "\xe0\xa6\x95\xe0\xa7\x8b \xe0\xa6\x95\xe0\xa7\x8b");
}

static void emoji_are_tokens_without_their_colours_and_joiners(void **state)
{
	(void)state;
	expect("ok👍🏽👍", "ok 👍 👍");
	expect("👨\xe2\x80\x8d👩\xe2\x80\x8d👧", "👨 👩 👧");
	expect("🇩🇪🇫🇷🇮", "🇩🇪 🇫🇷 🇮");
	expect("❤\xef\xb8\x8f 1\xef\xb8\x8f\xe2\x83\xa3 ☎", "❤ 1 ☎");
	expect("a→b © €", "a b");
}

static void the_places_of_tokens_are_those_of_the_text(void **state)
{
	static const char text[] = "“Café” ﬁn 👍🏽 e\xcc\x81t, 東京";
	static const char *const parts[] = {"Café", "ﬁn", "👍🏽", "e\xcc\x81t", "東", "京"};
	keep_error err = KEEP_ERROR_INIT;
	kp_token_list list = {.items = NULL};

	(void)state;
	OK(kp_text_tokens(KEEP_BYTES(text), &list, &err));
	assert_int_equal(list.count, KP_COUNT(parts));
	for (size_t i = 0; i < list.count; i++)
		assert_bytes_equal(
			(keep_bytes){text + list.items[i].at, list.items[i].end - list.items[i].at},
			keep_bytes_of(parts[i]));
	kp_token_list_release(&list);
}

static void long_words_keep_their_beginning_and_stay_different(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_token_list list = {.items = NULL};
	char text[403];

	(void)state;
	memset(text, 'x', sizeof text);
	text[200] = ' ';
	text[401] = 'y'; /* the same length, another end */
	text[64] = ' ';
	OK(kp_text_tokens((keep_bytes){text, 402}, &list, &err));
	assert_int_equal(list.count, 3);
	assert_int_equal(list.items[0].len, 64);
	assert_int_equal(list.items[0].cut, 0);
	for (size_t i = 1; i < 3; i++) {
		assert_int_equal(list.items[i].len, 64);
		assert_int_equal(list.items[i].cut, 48);
		assert_memory_equal(kp_token_text(&list, i).data, text, 48);
	}
	assert_false(kp_bytes_equal(kp_token_text(&list, 1), kp_token_text(&list, 2)));
	/* Between two characters: ж has two bytes, 𝐀-like letters of other scripts three. */
	for (int i = 0; i < 133; i++)
		memcpy(text + 3 * i, "ठ", 3);
	text[0] = 'q';
	text[1] = 'q';
	text[2] = 'q';
	text[3] = 'q';
	memcpy(text + 4, "ठठठठठठठठठठठठठठठठठठठठठठठठठ", 75);
	OK(kp_text_tokens((keep_bytes){text, 79}, &list, &err));
	assert_int_equal(list.count, 1);
	assert_int_equal(list.items[0].cut, 46);
	assert_true(kp_utf8_is_valid(kp_token_text(&list, 0), NULL));
	kp_token_list_release(&list);
}

static void what_is_no_utf8_is_refused(void **state)
{
	static const char *const bad[] = {"a\xff", "\xc3", "\xed\xa0\x80", "\xc0\x80", "ok \xf5"};
	keep_error err = KEEP_ERROR_INIT;
	kp_token_list list = {.items = NULL};
	keep_buffer out = KEEP_BUFFER_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(bad); i++) {
		assert_int_equal(kp_text_tokens(keep_bytes_of(bad[i]), &list, &err), KEEP_INVALID);
		assert_int_equal(list.count, 0);
		assert_int_equal(kp_text_normalise(keep_bytes_of(bad[i]), &out, NULL),
				 KEEP_INVALID);
	}
	kp_token_list_release(&list);
	keep_buffer_release(&out);
}

static void a_text_over_the_limit_is_refused(void **state)
{
	kp_token_list list = {.items = NULL};

	(void)state;
	assert_int_equal(
		kp_text_tokens((keep_bytes){"", (size_t)KP_SEARCH_TEXT_MAX + 1}, &list, NULL),
		KEEP_FULL);
	kp_token_list_release(&list);
}

/* Any characters at all, more often those with rules of their own. */
static size_t random_text(uint64_t *seed, char *text, size_t size)
{
	static const int32_t starts[] = {0x20,   0x61,   0xc0,   0x300,  0x390,   0x410,   0x5d0,
					 0x640,  0x915,  0xe01,  0x1100, 0x1161,  0x11a8,  0x1f00,
					 0x2000, 0x2460, 0x2640, 0x3040, 0x3090,  0x3130,  0x3300,
					 0xac00, 0xfb00, 0xfdf0, 0xff60, 0x1f1e6, 0x1f3f0, 0x1f600};
	size_t len = 0, wanted = next_random(seed) % (size - 8);

	while (len < wanted) {
		uint64_t choice = next_random(seed);
		int32_t code = choice % 8 ? starts[choice / 8 % KP_COUNT(starts)] +
						    (int32_t)(choice / 512 % 40)
					  : (int32_t)(choice / 8 % 0x110000);

		if (code == 0 || (code >= 0xd800 && code < 0xe000))
			continue;
		len += kp_letter_encode(code, text + len);
	}
	return len;
}

static void check_list(const char *text, size_t len, const kp_token_list *list)
{
	size_t word = 0;

	for (size_t i = 0; i < list->count; i++) {
		const kp_token *token = &list->items[i];
		keep_bytes bytes = kp_token_text(list, i);

		CHECK(token->at < token->end && token->end <= len, "token %zu", i);
		CHECK(((unsigned char)text[token->at] & 0xc0) != 0x80, "token %zu", i);
		CHECK(token->end == len || ((unsigned char)text[token->end] & 0xc0) != 0x80,
		      "token %zu", i);
		CHECK(!i || token->at >= list->items[i - 1].end ||
			      token->at >= list->items[i - 1].at,
		      "token %zu", i);
		CHECK(token->word == word && bytes.len >= 1 && bytes.len <= KP_TOKEN_BYTES_MAX,
		      "token %zu", i);
		CHECK(kp_utf8_is_valid(bytes, NULL), "token %zu", i);
		for (size_t j = 0; j < bytes.len; j++) {
			char byte = bytes.data[j];

			CHECK((unsigned char)byte >= 0x80 || (byte >= '0' && byte <= '9') ||
				      (byte >= 'a' && byte <= 'z'),
			      "byte %02x in token %zu", (unsigned char)byte, i);
		}
		word += bytes.len + 1;
	}
	CHECK(list->text.len == (list->count ? word - 1 : 0), "%zu bytes", list->text.len);
}

static void any_text_gives_clean_tokens_that_give_themselves_again(void **state)
{
	uint64_t seed = test_seed();
	keep_error err = KEEP_ERROR_INIT;
	kp_token_list list = {.items = NULL};
	keep_buffer again = KEEP_BUFFER_INIT;
	char text[600];

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	for (int round = 0; round < 20000; round++) {
		size_t len = random_text(&seed, text, round % 10 ? 60 : sizeof text);

		OK(kp_text_tokens((keep_bytes){text, len}, &list, &err));
		check_list(text, len, &list);
		OK(kp_text_normalise(kp_buffer_bytes(&list.text), &again, &err));
		assert_bytes_equal(kp_buffer_bytes(&again), kp_buffer_bytes(&list.text));
	}
	kp_token_list_release(&list);
	keep_buffer_release(&again);
}

static void the_time_for_a_text_grows_as_its_length(void **state)
{
	static const char *const parts[] = {"a",
					    "a ",
					    "e\xcc\x81",
					    "\xe0\xa5\x8d\xe0\xa4\xbc",
					    "\xe1\x84\x92\xe1\x85\xa1",
					    "\xef\xb7\xba",
					    "🇩"};
	keep_error err = KEEP_ERROR_INIT;
	kp_token_list list = {.items = NULL};
	keep_buffer text = KEEP_BUFFER_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(parts); i++) {
		int64_t started;

		text.len = 0;
		OK(kp_buffer_append_text(&text, i == 3 ? "\xe0\xa4\x95" : "", &err));
		while (text.len < 1000000)
			OK(kp_buffer_append_text(&text, parts[i], &err));
		started = kp_monotonic_ns();
		OK(kp_text_tokens(kp_buffer_bytes(&text), &list, &err));
		CHECK(kp_monotonic_ns() - started < INT64_C(3000000000) * test_patience(),
		      "%s took too long", parts[i]);
		CHECK(list.text.len < 16000000, "%zu bytes of %zu", list.text.len, text.len);
	}
	kp_token_list_release(&list);
	keep_buffer_release(&text);
}

static void the_rules_have_a_name_with_unicodes_version(void **state)
{
	char rules[KP_TEXT_RULES_SIZE];

	(void)state;
	kp_text_rules(rules);
	assert_memory_equal(rules, KP_TEXT_RULES_VERSION "/", 2);
	assert_true(strchr(rules, '.') != NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(case_accents_width_and_form_make_no_difference),
		cmocka_unit_test(punctuation_apostrophes_and_underscores_are_breaks),
		cmocka_unit_test(scripts_without_blanks_are_tokens_of_one_character),
		cmocka_unit_test(marks_that_are_half_of_the_writing_stay),
		cmocka_unit_test(emoji_are_tokens_without_their_colours_and_joiners),
		cmocka_unit_test(the_places_of_tokens_are_those_of_the_text),
		cmocka_unit_test(long_words_keep_their_beginning_and_stay_different),
		cmocka_unit_test(what_is_no_utf8_is_refused),
		cmocka_unit_test(a_text_over_the_limit_is_refused),
		cmocka_unit_test(any_text_gives_clean_tokens_that_give_themselves_again),
		cmocka_unit_test(the_time_for_a_text_grows_as_its_length),
		cmocka_unit_test(the_rules_have_a_name_with_unicodes_version),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	assert_nothing_lives();
	return failed;
}

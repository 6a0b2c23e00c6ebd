/*
 * test_route_match.c - sets of routes against trying each by itself; letters, triggers, targets.
 */
#include "keep_test.h"

#include "gateway/route_match.h"

#include "keep/gateway.h"

/* ---------------------------------------------------------------- letters */

static void folding_covers_the_scripts_with_case(void **state)
{
	static const struct {
		const char *text, *folded;
	} cases[] = {
		{"ABC xyz", "abc xyz"},
		{"ÄÖÜ", "äöü"},
		{"ΑΒΓΣς", "αβγσσ"},
		{"ЖЯЁ", "жяё"},
		{"ŁĐ", "łđ"},
		{"K", "k"},
		{"ſ", "s"},
		{"ẞ", "ß"},
		{"Աա", "աա"},
		{"ⅣⓀ", "ⅳⓚ"},
		{"𐐀", "𐐨"},
		{"ı İ", "ı İ"},
		{"ß", "ß"},
		{"日本", "日本"},
	};
	kp_arena arena = {.head = NULL};
	keep_error err = KEEP_ERROR_INIT;
	keep_bytes folded;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		OK(kp_letters_fold(keep_bytes_of(cases[i].text), &arena, &folded, &err));
		assert_bytes_equal(folded, keep_bytes_of(cases[i].folded));
	}
	kp_arena_release(&arena);
}

static void every_fold_is_its_own_fold_and_grows_by_at_most_half(void **state)
{
	char from[4], to[4];

	(void)state;
	for (uint32_t letter = 1; letter < 0x110000; letter++) {
		uint32_t folded = kp_letter_fold(letter);
		size_t width;

		if (letter >= 0xd800 && letter < 0xe000)
			continue;
		assert_int_equal(kp_letter_fold(folded), folded);
		assert_true(kp_letter_write(folded, to) <=
			    kp_letter_write(letter, from) + kp_letter_write(letter, from) / 2);
		assert_int_equal(kp_letter_read(from, from + kp_letter_write(letter, from), &width),
				 letter);
		if (letter < 0x600 && kp_letter_capital(letter) != letter)
			assert_int_equal(kp_letter_fold(kp_letter_capital(letter)), letter);
	}
}

static void a_trigger_ends_at_the_boundary_of_a_word(void **state)
{
	static const struct {
		const char *content, *word;
		bool accepts;
	} cases[] = {
		{"@bot hi", "@bot", true},  {"  @BOT: hi", "@bot", true},
		{"@bot", "@bot", true},     {"@bots", "@bot", false},
		{"@bot_", "@bot", false},   {"@bot1", "@bot", false},
		{"@botä", "@bot", false},   {"@bot-x", "@bot", true},
		{"@bot—x", "@bot", true},   {"hi @bot", "@bot", false},
		{"", "@bot", false},        {"@bo", "@bot", false},
		{"ÄRGER!", "ärger", true},  {"@bot日本", "@bot", false},
		{"\n@bot\n", "@BOT", true},
	};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++)
		CHECK(kp_trigger_accepts(keep_bytes_of(cases[i].content),
					 keep_bytes_of(cases[i].word)) == cases[i].accepts,
		      "'%s' and '%s'", cases[i].content, cases[i].word);
}

/* ---------------------------------------------------------------- targets */

static void a_sender_becomes_a_folder(void **state)
{
	static const struct {
		const char *target, *jid, *sender, *folder; /* NULL: no target */
	} cases[] = {
		{"main", "telegram:1", "", "main"},
		{"main/{sender}", "telegram:1", "telegram:42", "main/tg-42"},
		{"main/{sender}", "telegram:1", "42", "main/tg-42"},
		{"{sender}", "x:1", "whatsapp:49", "wa-49"},
		{"{sender}", "x:1", "discord:9", "dc-9"},
		{"{sender}", "x:1", "web:ada", "web-ada"},
		{"{sender}", "x:1", "email:ada@example.org", "em-ada_example.org"},
		{"{sender}", "x:1", "signal:7", "si-7"},
		{"{sender}", "x:1", "q:7", "q-7"},
		{"{sender}/{sender}", "x:1", "web:a", "web-a/web-a"},
		{"{sender}", "telegram:1", "", NULL},
		{"{sender}", "telegram:1", "unknown", NULL},
		{"{sender}", "telegram:1", "telegram:unknown", NULL},
		{"{sender}", "telegram:1", "telegram:", NULL},
		{"{sender}", "nowhere", "ada", NULL},
	};
	kp_arena arena = {.head = NULL};
	keep_error err = KEEP_ERROR_INIT;
	keep_bytes out;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		OK(kp_target_expand(keep_bytes_of(cases[i].target), keep_bytes_of(cases[i].jid),
				    keep_bytes_of(cases[i].sender), &arena, &out, &err));
		assert_bytes_equal(out, keep_bytes_of(cases[i].folder));
	}
	kp_arena_release(&arena);
}

static void no_two_senders_share_a_folder_and_none_leaves_it(void **state)
{
	static const char *const senders[] = {
		"email:a+b@x.org", "email:a_b@x.org", "email:a-b@x.org", "email:a b@x.org",
		"email:a@b_x.org", "email:a/b@x.org", "email:../../etc", "email:..",
		"email:a@b@x.org", "email:ä@x.org",
	};
	kp_arena arena = {.head = NULL};
	keep_error err = KEEP_ERROR_INIT;
	keep_bytes out[KP_COUNT(senders)];

	(void)state;
	for (size_t i = 0; i < KP_COUNT(senders); i++) {
		OK(kp_target_expand(KEEP_BYTES("{sender}"), KEEP_BYTES("email:1"),
				    keep_bytes_of(senders[i]), &arena, &out[i], &err));
		assert_non_null(out[i].data);
		assert_null(memchr(out[i].data, '/', out[i].len));
		assert_memory_equal(out[i].data, "em-", 3);
		for (size_t j = 0; j < i; j++)
			CHECK(!kp_bytes_equal(out[i], out[j]), "%s and %s", senders[i], senders[j]);
	}
	kp_arena_release(&arena);
}

static void a_target_is_a_folder_around_its_place_holders(void **state)
{
	static const char *const good[] = {"a", "a/b", "{sender}", "a/u-{sender}/b", "a.b_c-D"};
	static const char *const bad[] = {"",    "/a",   "a/",     "a//b",    "../a",
					  "a b", "a/..", "{name}", "{sender", "{sender}/../x"};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(good); i++)
		assert_int_equal(kp_target_check(keep_bytes_of(good[i]), NULL), KEEP_OK);
	for (size_t i = 0; i < KP_COUNT(bad); i++)
		CHECK(kp_target_check(keep_bytes_of(bad[i]), NULL) == KEEP_INVALID, "%s", bad[i]);
}

/* ---------------------------------------------------------------- sets */

#define TYPES                                                                                      \
	{                                                                                          \
		"command", "prefix", "pattern", "keyword", "sender", "verb", "default"             \
	}

static const char *const type_names[] = TYPES;

/* What a type means, said once more as plainly as can be. */
static bool is_match(const keep_route *route, const keep_message *message)
{
	const char *match = route->match.data, *type = route->type.data;
	char content[200], trimmed[200];
	size_t from = 0, len;
	keep_error err = KEEP_ERROR_INIT;

	snprintf(content, sizeof content, "%s", message->content.data);
	while (content[from] && strchr(" \t\n\v\f\r", content[from]))
		from++;
	snprintf(trimmed, sizeof trimmed, "%s", content + from);
	for (len = strlen(trimmed); len && strchr(" \t\n\v\f\r", trimmed[len - 1]);)
		trimmed[--len] = 0;
	if (strcmp(type, "default") == 0)
		return true;
	if (strcmp(type, "command") == 0)
		return strncmp(trimmed, match, strlen(match)) == 0 &&
		       strchr(" \t\n\v\f\r", trimmed[strlen(match)]);
	if (strcmp(type, "prefix") == 0)
		return strncmp(trimmed, match, strlen(match)) == 0;
	if (strcmp(type, "keyword") == 0)
		return strcasestr(content, match) != NULL;
	if (strcmp(type, "verb") == 0)
		return strcasecmp(message->verb.data, match) == 0;
	{
		kp_arena arena = {.head = NULL};
		kp_pattern_room room = {NULL, 0};
		kp_pattern *pattern = NULL;
		kp_found found;

		OK(kp_pattern_compile(route->match, &arena, &pattern, NULL, &err));
		OK(kp_pattern_room_init(&room, &err));
		found = kp_pattern_search(pattern,
					  strcmp(type, "pattern") == 0 ? message->content
					  : message->sender_name.len   ? message->sender_name
								       : message->sender,
					  &room);
		kp_pattern_room_release(&room);
		kp_arena_release(&arena);
		return found == KP_FOUND;
	}
}

static void make_text(uint64_t *seed, char *out, int max)
{
	static const char letters[] = "aAbBc /  \n";
	int len = 1 + (int)(next_random(seed) % (uint64_t)max);

	for (int i = 0; i < len; i++)
		out[i] = letters[next_random(seed) % (sizeof letters - 1)];
	out[len] = 0;
}

static void make_match(uint64_t *seed, const char *type, char *out)
{
	static const char *const patterns[] = {"a+b",     "^a",    "(ab|ba)c", "[ab]{3}",
					       "(?i)abc", "b.*c$", "a|",       "(aa|b)(ca|ab)",
					       "\\bb\\b", "c{2,}", "^(a|b)*$", "/a.*b.*c"};

	if (strcmp(type, "pattern") == 0 || strcmp(type, "sender") == 0)
		snprintf(out, 20, "%s", patterns[next_random(seed) % KP_COUNT(patterns)]);
	else
		make_text(seed, out, 4);
}

enum { SET_ROUTES = 40 };

static void a_set_matches_what_each_route_matches_in_order(void **state)
{
	uint64_t seed = test_seed();
	static const char *const verbs[] = {"a", "B", "message", "c/"};
	long matched = 0;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	for (int round = 0; round < 400; round++) {
		keep_route routes[SET_ROUTES];
		char matches[SET_ROUTES][20];
		size_t count = next_random(&seed) % (SET_ROUTES + 1);
		kp_route_set *set = NULL;

		for (size_t i = 0; i < count; i++) {
			const char *type =
				type_names[next_random(&seed) % 60 == 0 ? 6
									: next_random(&seed) % 6];

			make_match(&seed, type, matches[i]);
			routes[i] = (keep_route){.id = (int64_t)i,
						 .jid = KEEP_BYTES("*"),
						 .type = keep_bytes_of(type),
						 .match = keep_bytes_of(matches[i]),
						 .target = KEEP_BYTES("a")};
		}
		OK(kp_route_set_make(routes, count, &set, &err));
		for (int i = 0; i < 12; i++) {
			char content[40], sender[20];
			kp_arena arena = {.head = NULL};
			kp_route_input input;
			kp_route_scan scan;
			size_t found;
			keep_message message;

			make_text(&seed, content, 30);
			make_text(&seed, sender, 10);
			message = (keep_message){
				.content = keep_bytes_of(content),
				.sender = keep_bytes_of(sender),
				.verb = keep_bytes_of(verbs[next_random(&seed) % 4])};
			OK(kp_route_input_init(&input, &message, &arena, &err));
			OK(kp_route_scan_begin(&scan, set, &input, &err));
			for (size_t j = 0; j < count; j++) {
				bool wanted = is_match(&routes[j], &message);

				CHECK((kp_route_set_try(set, j, &input) == KP_VERDICT_YES) ==
					      wanted,
				      "%s '%s' and '%s'", routes[j].type.data, matches[j], content);
				CHECK((kp_route_scan_look(&scan, j) == KP_VERDICT_YES) == wanted,
				      "%s '%s' and '%s'", routes[j].type.data, matches[j], content);
			}
			for (size_t j = 0; j < count; j++) {
				if (!is_match(&routes[j], &message))
					continue;
				CHECK(kp_route_scan_next(&scan, &found) && found == j,
				      "%zu instead of %zu: %s '%s' and '%s'", found, j,
				      routes[j].type.data, matches[j], content);
				matched++;
			}
			assert_false(kp_route_scan_next(&scan, &found));
			kp_route_scan_end(&scan);
			kp_route_input_release(&input);
			kp_arena_release(&arena);
		}
		kp_route_set_release(&set);
	}
	print_message("%ld matches\n", matched);
	assert_true(matched > 1000);
	assert_nothing_lives();
}

static void keywords_longer_than_a_needle_are_looked_at_whole(void **state)
{
	char match[201], content[301];
	keep_route route = {
		.type = KEEP_BYTES("keyword"), .target = KEEP_BYTES("a"), .jid = KEEP_BYTES("*")};
	keep_message message = {.verb = KEEP_BYTES("message")};
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	memset(match, 'x', 200);
	match[200] = 0;
	match[199] = 'Y';
	memset(content, 'X', 300);
	content[300] = 0;
	route.match = keep_bytes_of(match);
	message.content = keep_bytes_of(content);
	for (int i = 0; i < 2; i++) {
		kp_arena arena = {.head = NULL};
		kp_route_set *set;
		kp_route_input input;
		kp_route_scan scan;
		size_t found;

		OK(kp_route_set_make(&route, 1, &set, &err));
		OK(kp_route_input_init(&input, &message, &arena, &err));
		OK(kp_route_scan_begin(&scan, set, &input, &err));
		assert_int_equal(kp_route_scan_next(&scan, &found), i);
		kp_route_scan_end(&scan);
		kp_route_input_release(&input);
		kp_arena_release(&arena);
		kp_route_set_release(&set);
		content[299] = 'y';
	}
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(folding_covers_the_scripts_with_case),
		cmocka_unit_test(every_fold_is_its_own_fold_and_grows_by_at_most_half),
		cmocka_unit_test(a_trigger_ends_at_the_boundary_of_a_word),
		cmocka_unit_test(a_sender_becomes_a_folder),
		cmocka_unit_test(no_two_senders_share_a_folder_and_none_leaves_it),
		cmocka_unit_test(a_target_is_a_folder_around_its_place_holders),
		cmocka_unit_test(a_set_matches_what_each_route_matches_in_order),
		cmocka_unit_test(keywords_longer_than_a_needle_are_looked_at_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

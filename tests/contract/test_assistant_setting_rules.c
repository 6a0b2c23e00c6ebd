/*
 * test_assistant_setting_rules.c - definitions of settings: what they may be, and what they allow.
 *
 *     test_assistant_setting_rules sqlite|postgres
 */
#include "assistant_settings.h"

#include <math.h>

static void a_definition_that_cannot_be_met_is_refused(void **state)
{
	static const keep_setting bad[] = {
		{.key = {"", 0}},
		{.key = {"a\nb", 3}},
		{.key = {"k", 1}, .value_type = {"number", 6}},
		{.key = {"k", 1}, .value_type = {"string", 6}, .has_min_value = true},
		{.key = {"k", 1}, .value_type = {"bool", 4}, .has_max_value = true},
		{.key = {"k", 1},
		 .value_type = {"int", 3},
		 .has_min_value = true,
		 .min_value = 2,
		 .has_max_value = true,
		 .max_value = 1},
		{.key = {"k", 1},
		 .value_type = {"int", 3},
		 .has_min_value = true,
		 .min_value = NAN},
		{.key = {"k", 1},
		 .value_type = {"float", 5},
		 .has_max_value = true,
		 .max_value = INFINITY},
		{.key = {"k", 1}, .validation_regex = {"(", 1}},
		{.key = {"k", 1}, .validation_regex = {"a)|(b", 5}},
		{.key = {"k", 1}, .validation_regex = {"(?=x)", 5}},
		{.key = {"k", 1}, .options = {"[]", 2}},
		{.key = {"k", 1}, .options = {"{}", 2}},
		{.key = {"k", 1}, .options = {"[1]", 3}},
		{.key = {"k", 1}, .options = {"[", 1}},
		{.key = {"k", 1}, .value_type = {"int", 3}, .options = {"[1,\"2\"]", 7}},
		{.key = {"k", 1}, .value_type = {"int", 3}, .options = {"[1.5]", 5}},
		{.key = {"k", 1}, .value_type = {"int", 3}, .default_value = {"x", 1}},
		{.key = {"k", 1}, .value_type = {"int", 3}, .default_value = {"", 0}},
		{.key = {"k", 1}, .options = {"[\"a\"]", 5}, .default_value = {"b", 1}},
		{.key = {"k", 1}, .is_required = true, .default_value = {"", 0}},
		{.key = {"k", 1}, .is_sensitive = true, .default_value = {"***", 3}},
		{.key = {"k", 1}, .environment = {"A=B", 3}},
		{.key = {"k", 1}, .environment = {"1A", 2}},
		{.key = {"k", 1}, .environment = {"", 0}},
		{.key = {"k", 1}, .environment = {"ENCRYPTION_KEY", 14}},
		{.key = {"k", 1}, .environment = {"KEEP_ENCRYPTION_KEY", 19}},
	};
	keep_assistant *assistant = assistant_fresh();
	int64_t entries = assistant_count("audit_log");

	(void)state;
	for (size_t i = 0; i < KP_COUNT(bad); i++)
		CHECK(try_define(assistant, &bad[i]) == KEEP_INVALID, "number %zu", i);
	assert_int_equal(assistant_count("settings WHERE category <> 'retention'"), 0);
	assert_int_equal(assistant_count("audit_log"), entries);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_range_is_exact_where_a_double_is_not(void **state)
{
	static const struct {
		const char *type;
		double min, max;
		const char *value;
		bool is_good;
	} cases[] = {
		{"int", 0, 9007199254740992.0, "9007199254740992", true},
		{"int", 0, 9007199254740992.0, "9007199254740993", false},
		{"int", -1.5, 1.5, "-1", true},
		{"int", -1.5, 1.5, "-2", false},
		{"int", -1.5, 1.5, "2", false},
		{"int", 0.5, 1e300, "0", false},
		{"int", 0.5, 1e300, "9223372036854775807", true},
		{"int", -1e300, 0, "-9223372036854775808", true},
		{"int", 1e300, 1e301, "9223372036854775807", false},
		{"int", -9223372036854775808.0, 0, "-9223372036854775808", true},
		{"float", 0, 2, "2.0000000000000004", false},
		{"float", 0, 2, "2", true},
		{"float", 0, 2, "-0.0", true},
		{"float", 0, 2, "-1e-300", false},
	};
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		const keep_setting setting = {.key = KEEP_BYTES("n"),
					      .value_type = keep_bytes_of(cases[i].type),
					      .min_value = cases[i].min,
					      .has_min_value = true,
					      .max_value = cases[i].max,
					      .has_max_value = true};

		OK(keep_assistant_define_setting(assistant, &setting, NULL, &err));
		CHECK(set(assistant, "n", cases[i].value, &err) ==
			      (cases[i].is_good ? KEEP_OK : KEEP_INVALID),
		      "%s in %g to %g", cases[i].value, cases[i].min, cases[i].max);
		OK(keep_assistant_reset_setting(assistant, KEEP_BYTES("n"), NULL, &err));
	}
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void options_are_compared_as_values(void **state)
{
	static const struct {
		const char *type, *options, *value;
		bool is_good;
	} cases[] = {
		{"string", "[\"a\\u00e9\",\"b\"]", "a\xc3\xa9", true},
		{"string", "[\"a\",\"b\"]", "A", false},
		{"string", "[\"a\",\"b\"]", "\"a\"", false},
		{"int", "[1,2]", "2", true},
		{"int", "[1,2]", "3", false},
		{"float", "[1,0.5]", "1.0", true},
		{"float", "[1,0.5]", "5e-1", true},
		{"float", "[1,0.5]", "0.51", false},
		{"bool", "[true]", "true", true},
		{"bool", "[true]", "false", false},
		{"json", "[{\"a\":1,\"b\":[2]}]", "{\"b\":[2.0], \"a\":1}", true},
		{"json", "[{\"a\":1,\"b\":[2]}]", "{\"a\":1}", false},
		{"json", "[{\"a\":1,\"b\":[2]}]", "{\"a\":1,\"b\":[2,3]}", false},
		{"json", "[null]", "null", true},
	};
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		const keep_setting setting = {.key = KEEP_BYTES("o"),
					      .value_type = keep_bytes_of(cases[i].type),
					      .options = keep_bytes_of(cases[i].options)};

		OK(keep_assistant_define_setting(assistant, &setting, NULL, &err));
		CHECK(set(assistant, "o", cases[i].value, &err) ==
			      (cases[i].is_good ? KEEP_OK : KEEP_INVALID),
		      "%s in %s", cases[i].value, cases[i].options);
		OK(keep_assistant_reset_setting(assistant, KEEP_BYTES("o"), NULL, &err));
	}
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_regex_matches_the_whole_text(void **state)
{
	static const struct {
		const char *regex, *value;
		bool is_good;
	} cases[] = {
		{"[0-9]+", "123", true},   {"[0-9]+", "123x", false},
		{"[0-9]+", "x123", false}, {"[0-9]+", "1\n", false},
		{"a|bc", "bc", true},      {"a|bc", "ac", false},
		{"a|bc", "abc", false},    {"^a$", "a", true},
		{"(?i)ab|c", "AB", true},  {"(?i)ab|c", "ABC", false},
		{".", "\xc3\xa9", true},   {".", "ab", false},
		{"a*", "aaaa", true},      {"(a+)+b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", false},
	};
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;
	size_t len = KEEP_ASSISTANT_CONTENT_MAX;
	char *text = malloc(len);
	keep_setting setting = {.key = KEEP_BYTES("r")};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		setting.validation_regex = keep_bytes_of(cases[i].regex);
		OK(keep_assistant_define_setting(assistant, &setting, NULL, &err));
		CHECK(set(assistant, "r", cases[i].value, &err) ==
			      (cases[i].is_good ? KEEP_OK : KEEP_INVALID),
		      "%s and %s", cases[i].regex, cases[i].value);
		OK(keep_assistant_reset_setting(assistant, KEEP_BYTES("r"), NULL, &err));
	}
	/* What would take too long is refused, not waited for. */
	setting.validation_regex = KEEP_BYTES("(a?){400}b");
	OK(keep_assistant_define_setting(assistant, &setting, NULL, &err));
	memset(text, 'a', len);
	assert_int_equal(keep_assistant_set_setting(assistant, KEEP_BYTES("r"),
						    (keep_bytes){text, len}, NULL, &err),
			 KEEP_INVALID);
	free(text);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void the_same_definition_again_changes_nothing(void **state)
{
	keep_setting setting = {.key = KEEP_BYTES("k"),
				.description = KEEP_BYTES("d"),
				.category = KEEP_BYTES("c"),
				.options = KEEP_BYTES("[\"a\", \"b\"]"),
				.default_value = KEEP_BYTES("a")};
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (int i = 0; i < 3; i++)
		OK(keep_assistant_define_setting(assistant, &setting, NULL, &err));
	assert_int_equal(assistant_count("audit_log WHERE action = 'define'"), 1);
	setting.description = KEEP_BYTES("other");
	OK(keep_assistant_define_setting(assistant, &setting, NULL, &err));
	assert_int_equal(assistant_count("audit_log WHERE action = 'define'"), 2);
	assert_int_equal(assistant_count("settings WHERE key = 'k' AND description = 'other'"), 1);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_stored_value_stays_and_must_still_be_allowed(void **state)
{
	keep_setting setting = {.key = KEEP_BYTES("n"), .value_type = KEEP_BYTES("int")};
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(keep_assistant_define_setting(assistant, &setting, NULL, &err));
	OK(set(assistant, "n", "50", &err));
	setting.has_max_value = true;
	setting.max_value = 49;
	assert_int_equal(try_define(assistant, &setting), KEEP_CONFLICT);
	assert_int_equal(assistant_count("settings WHERE key = 'n' AND max_value IS NULL"), 1);
	assert_int_equal(assistant_count("audit_log WHERE action = 'define'"), 1);
	setting.max_value = 50;
	OK(keep_assistant_define_setting(assistant, &setting, NULL, &err));
	setting = (keep_setting){.key = KEEP_BYTES("n"), .value_type = KEEP_BYTES("bool")};
	assert_int_equal(try_define(assistant, &setting), KEEP_CONFLICT);
	setting.value_type = KEEP_BYTES("string");
	OK(keep_assistant_define_setting(assistant, &setting, NULL, &err));
	assert_string_equal(get(assistant, "n"), "stored:50");
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_stored_value_becomes_secret_with_its_setting_and_never_plain(void **state)
{
	keep_setting setting = {.key = KEEP_BYTES("s")};
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(keep_assistant_define_setting(assistant, &setting, NULL, &err));
	OK(set(assistant, "s", "***", &err));
	setting.is_sensitive = true;
	assert_int_equal(try_define(assistant, &setting), KEEP_CONFLICT);
	OK(set(assistant, "s", "open", &err));
	OK(keep_assistant_define_setting(assistant, &setting, NULL, &err));
	assert_int_equal(assistant_count("settings WHERE value = 'open'"), 0);
	assert_string_equal(get(assistant, "s"), "stored:open");
	setting.is_sensitive = false;
	assert_int_equal(try_define(assistant, &setting), KEEP_CONFLICT);
	assert_string_equal(get(assistant, "s"), "stored:open");
	OK(keep_assistant_reset_setting(assistant, KEEP_BYTES("s"), NULL, &err));
	OK(keep_assistant_define_setting(assistant, &setting, NULL, &err));
	assert_string_equal(get(assistant, "s"), "none:");
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_definition_that_cannot_be_met_is_refused),
		cmocka_unit_test(a_range_is_exact_where_a_double_is_not),
		cmocka_unit_test(options_are_compared_as_values),
		cmocka_unit_test(a_regex_matches_the_whole_text),
		cmocka_unit_test(the_same_definition_again_changes_nothing),
		cmocka_unit_test(a_stored_value_stays_and_must_still_be_allowed),
		cmocka_unit_test(a_stored_value_becomes_secret_with_its_setting_and_never_plain),
	};
	int failed;

	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}

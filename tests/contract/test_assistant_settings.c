/*
 * test_assistant_settings.c - values of settings: what set takes, what get answers, what is noted.
 *
 *     test_assistant_settings sqlite|postgres
 *     test_assistant_settings <url> set      a child
 *
 * What definitions may be is in test_assistant_setting_rules.c.
 */
#include "assistant_settings.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct {
	const char *type, *value;
	bool is_good;
} typed[] = {
	{"int", "0", true},
	{"int", "-7", true},
	{"int", "9223372036854775807", true},
	{"int", "-9223372036854775808", true},
	{"int", "9223372036854775808", false},
	{"int", "-9223372036854775809", false},
	{"int", "+5", false},
	{"int", " 5", false},
	{"int", "5 ", false},
	{"int", "5\n", false},
	{"int", "007", false},
	{"int", "-0", false},
	{"int", "5.0", false},
	{"int", "12.5", false},
	{"int", "1e3", false},
	{"int", "0x10", false},
	{"int", "-", false},
	{"int", "five", false},
	{"int", "True", false},
	{"float", "0.7", true},
	{"float", "-1e-3", true},
	{"float", "3", true},
	{"float", "NaN", false},
	{"float", "nan", false},
	{"float", "Infinity", false},
	{"float", "-inf", false},
	{"float", "1e999", false},
	{"float", ".5", false},
	{"float", "5.", false},
	{"float", "+1.0", false},
	{"float", "01.0", false},
	{"float", "1,5", false},
	{"float", "0x1p3", false},
	{"bool", "true", true},
	{"bool", "false", true},
	{"bool", "True", false},
	{"bool", "1", false},
	{"bool", "yes", false},
	{"bool", "on", false},
	{"json", "{\"a\":[1,null]}", true},
	{"json", "123", true},
	{"json", "\"\"", true},
	{"json", "{a:1}", false},
	{"json", "[1,]", false},
	{"json", "{} x", false},
	{"json", "{\"a\":1,\"a\":2}", false},
	{"string", "tab\tand\nline", true},
	{"string", "caf\xc3\xa9 \xf0\x9f\x98\x80", true},
	{"string", "***", true},
	{"string", "bell\a", false},
	{"string", "line\r\n", false},
	{"string", "delete\x7f", false},
	{"string", "\xff", false},
	{"string", "\xed\xa0\x80", false},
};

static void a_value_must_be_of_its_type(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(typed); i++) {
		keep_status status;
		char expected[100];

		define(assistant, typed[i].type, typed[i].type, false);
		OK(keep_assistant_reset_setting(assistant, keep_bytes_of(typed[i].type), NULL,
						&err));
		status = set(assistant, typed[i].type, typed[i].value, &err);
		CHECK(status == (typed[i].is_good ? KEEP_OK : KEEP_INVALID), "%s %s: %s",
		      typed[i].type, typed[i].value, keep_status_name(status));
		(void)snprintf(expected, sizeof expected, "%s:%s",
			       typed[i].is_good ? "stored" : "none",
			       typed[i].is_good ? typed[i].value : "");
		assert_string_equal(get(assistant, typed[i].type), expected);
		CHECK(typed[i].is_good || strstr(err.message, typed[i].type), "%s", err.message);
	}
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void numbers_and_bools_are_read_as_such(void **state)
{
	static const char *const values[] = {"-42", "0.5", "true"};
	static const char *const types[] = {"int", "float", "bool"};
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_setting_read read[3];

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		define(assistant, types[i], types[i], false);
		OK(set(assistant, types[i], values[i], &err));
		OK(keep_assistant_get_setting(assistant, keep_bytes_of(types[i]), NULL, &memory,
					      &read[i], &err));
		assert_bytes_equal(read[i].definition.value, keep_bytes_of(values[i]));
	}
	assert_int_equal(read[0].integer, -42);
	assert_true(read[0].real == -42.0);
	assert_true(read[1].real == 0.5);
	assert_true(read[2].boolean);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_value_beyond_a_mebibyte_is_full_and_one_of_that_size_is_not(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	size_t len = KEEP_ASSISTANT_CONTENT_MAX + 1;
	char *text = malloc(len);
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	memset(text, 'x', len);
	define(assistant, "long", "string", true);
	assert_int_equal(keep_assistant_set_setting(assistant, KEEP_BYTES("long"),
						    (keep_bytes){text, len}, NULL, &err),
			 KEEP_FULL);
	assert_int_equal(keep_assistant_set_setting(assistant, KEEP_BYTES("none"),
						    (keep_bytes){text, len}, NULL, &err),
			 KEEP_NOT_FOUND);
	OK(keep_assistant_set_setting(assistant, KEEP_BYTES("long"), (keep_bytes){text, len - 1},
				      NULL, &err));
	free(text);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void the_first_check_that_fails_is_the_one_that_is_told(void **state)
{
	static const struct {
		const char *value, *told;
	} cases[] = {{"1.5", "no int"},
		     {"200", "max_value"},
		     {"-1", "min_value"},
		     {"50", "options"},
		     {"11", "regex"}};
	keep_setting setting = {.key = KEEP_BYTES("n"),
				.value_type = KEEP_BYTES("int"),
				.is_required = true,
				.min_value = 0,
				.has_min_value = true,
				.max_value = 100,
				.has_max_value = true,
				.options = KEEP_BYTES("[7,11,200]"),
				.validation_regex = KEEP_BYTES("[0-9]")};
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	assert_int_equal(set(assistant, "n", "1.5", &err), KEEP_NOT_FOUND);
	OK(keep_assistant_define_setting(assistant, &setting, NULL, &err));
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		assert_int_equal(set(assistant, "n", cases[i].value, &err), KEEP_INVALID);
		CHECK(strstr(err.message, cases[i].told), "%s: %s", cases[i].value, err.message);
	}
	OK(set(assistant, "n", "7", &err));
	setting = (keep_setting){.key = KEEP_BYTES("s"), .is_required = true};
	OK(keep_assistant_define_setting(assistant, &setting, NULL, &err));
	assert_int_equal(set(assistant, "s", "", &err), KEEP_INVALID);
	assert_non_null(strstr(err.message, "required"));
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void an_empty_text_is_no_value_where_none_is_required(void **state)
{
	const keep_setting setting = {.key = KEEP_BYTES("phone"),
				      .validation_regex = KEEP_BYTES("[+][0-9]+"),
				      .default_value = KEEP_BYTES("+1")};
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(keep_assistant_define_setting(assistant, &setting, NULL, &err));
	OK(set(assistant, "phone", "+32", &err));
	assert_string_equal(get(assistant, "phone"), "stored:+32");
	OK(set(assistant, "phone", "", &err));
	assert_string_equal(get(assistant, "phone"), "default:+1");
	assert_int_equal(assistant_count("audit_log WHERE action = 'reset'"), 1);
	OK(set(assistant, "phone", "", &err));
	assert_int_equal(assistant_count("audit_log WHERE action = 'reset'"), 1);
	assert_int_equal(keep_assistant_set_setting(assistant, KEEP_BYTES("phone"),
						    (keep_bytes){NULL, 0}, NULL, &err),
			 KEEP_INVALID);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void validate_says_what_set_would_and_stores_nothing(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;
	int64_t entries;

	(void)state;
	define(assistant, "n", "int", false);
	define(assistant, "secret", "string", true);
	entries = assistant_count("audit_log");
	OK(keep_assistant_validate_setting(assistant, KEEP_BYTES("n"), KEEP_BYTES("5"), &err));
	OK(keep_assistant_validate_setting(assistant, KEEP_BYTES("n"), KEEP_BYTES(""), &err));
	OK(keep_assistant_validate_setting(assistant, KEEP_BYTES("secret"), KEEP_BYTES("x"), &err));
	assert_int_equal(
		keep_assistant_validate_setting(assistant, KEEP_BYTES("n"), KEEP_BYTES("x"), &err),
		KEEP_INVALID);
	assert_int_equal(keep_assistant_validate_setting(assistant, KEEP_BYTES("secret"),
							 KEEP_BYTES("***"), &err),
			 KEEP_INVALID);
	assert_int_equal(keep_assistant_validate_setting(assistant, KEEP_BYTES("none"),
							 KEEP_BYTES("x"), &err),
			 KEEP_NOT_FOUND);
	assert_string_equal(get(assistant, "n"), "none:");
	assert_int_equal(assistant_count("audit_log"), entries);
	assert_int_equal(assistant_count("settings WHERE value IS NOT NULL"), 0);
	assert_int_equal(assistant_count("assistant_values WHERE name LIKE 'key_check%'"), 0);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void many_are_set_all_or_none_and_the_refused_key_is_named(void **state)
{
	keep_setting_value values[] = {{KEEP_BYTES("a"), KEEP_BYTES("1")},
				       {KEEP_BYTES("b"), KEEP_BYTES("x")},
				       {KEEP_BYTES("s"), KEEP_BYTES("hidden")}};
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	define(assistant, "a", "int", false);
	define(assistant, "b", "int", false);
	define(assistant, "s", "string", true);
	assert_int_equal(keep_assistant_set_settings(assistant, values, 3, NULL, &err),
			 KEEP_INVALID);
	assert_non_null(strstr(err.message, "'b'"));
	assert_string_equal(get(assistant, "a"), "none:");
	assert_int_equal(assistant_count("audit_log WHERE action = 'set'"), 0);
	values[1].value = KEEP_BYTES("2");
	values[2].value = KEEP_BYTES("***");
	assert_int_equal(keep_assistant_set_settings(assistant, values, 3, NULL, &err),
			 KEEP_INVALID);
	assert_non_null(strstr(err.message, "'s'"));
	values[2].value = KEEP_BYTES("hidden");
	OK(keep_assistant_set_settings(assistant, values, 3, NULL, &err));
	assert_string_equal(get(assistant, "b"), "stored:2");
	assert_string_equal(get(assistant, "s"), "stored:hidden");
	assert_int_equal(assistant_count("audit_log WHERE action = 'set'"), 3);
	values[1].key = KEEP_BYTES("a");
	assert_int_equal(keep_assistant_set_settings(assistant, values, 3, NULL, &err),
			 KEEP_INVALID);
	assert_non_null(strstr(err.message, "'a'"));
	assert_int_equal(keep_assistant_set_settings(assistant, values, KEEP_ASSISTANT_LIST_MAX + 1,
						     NULL, &err),
			 KEEP_INVALID);
	OK(keep_assistant_set_settings(assistant, NULL, 0, NULL, &err));
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void the_stored_value_comes_before_the_environment_and_that_before_the_default(void **state)
{
	static const struct {
		const char *variable, *read;
	} turns[] = {{"1", "environment:true"},   {"Yes", "environment:true"},
		     {"ON", "environment:true"},  {"off", "environment:false"},
		     {"No", "environment:false"}, {"maybe", "default:false"},
		     {"", "default:false"}};
	keep_setting setting = {.key = KEEP_BYTES("port"),
				.value_type = KEEP_BYTES("int"),
				.max_value = 65535,
				.has_max_value = true,
				.default_value = KEEP_BYTES("80"),
				.environment = KEEP_BYTES("KEEP_TEST_PORT")};
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	(void)unsetenv("KEEP_TEST_PORT");
	OK(keep_assistant_define_setting(assistant, &setting, NULL, &err));
	assert_string_equal(get(assistant, "port"), "default:80");
	(void)setenv("KEEP_TEST_PORT", "8080", 1);
	assert_string_equal(get(assistant, "port"), "environment:8080");
	(void)setenv("KEEP_TEST_PORT", "99999", 1); /* not allowed: passed over */
	assert_string_equal(get(assistant, "port"), "default:80");
	(void)setenv("KEEP_TEST_PORT", "8080", 1);
	OK(set(assistant, "port", "443", &err));
	assert_string_equal(get(assistant, "port"), "stored:443");
	OK(keep_assistant_reset_setting(assistant, KEEP_BYTES("port"), NULL, &err));
	assert_string_equal(get(assistant, "port"), "environment:8080");
	setting = (keep_setting){.key = KEEP_BYTES("turn"),
				 .value_type = KEEP_BYTES("bool"),
				 .default_value = KEEP_BYTES("false"),
				 .environment = KEEP_BYTES("KEEP_TEST_PORT")};
	OK(keep_assistant_define_setting(assistant, &setting, NULL, &err));
	for (size_t i = 0; i < KP_COUNT(turns); i++) {
		(void)setenv("KEEP_TEST_PORT", turns[i].variable, 1);
		assert_string_equal(get(assistant, "turn"), turns[i].read);
	}
	(void)unsetenv("KEEP_TEST_PORT");
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_required_one_is_not_reset_to_nothing(void **state)
{
	keep_setting setting = {.key = KEEP_BYTES("url"),
				.is_required = true,
				.environment = KEEP_BYTES("KEEP_TEST_URL")};
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(keep_assistant_define_setting(assistant, &setting, NULL, &err));
	OK(set(assistant, "url", "x", &err));
	assert_int_equal(keep_assistant_reset_setting(assistant, KEEP_BYTES("url"), NULL, &err),
			 KEEP_CONFLICT);
	assert_string_equal(get(assistant, "url"), "stored:x");
	(void)setenv("KEEP_TEST_URL", "y", 1);
	OK(keep_assistant_reset_setting(assistant, KEEP_BYTES("url"), NULL, &err));
	assert_string_equal(get(assistant, "url"), "environment:y");
	(void)unsetenv("KEEP_TEST_URL");
	assert_int_equal(keep_assistant_reset_setting(assistant, KEEP_BYTES("none"), NULL, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(assistant_count("audit_log WHERE action = 'reset'"), 1);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_change_is_noted_with_old_and_new_cut_at_a_character(void **state)
{
	const keep_actor actor = {.user_id = KEEP_BYTES("ada"), .ip_address = KEEP_BYTES("::1")};
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;
	char text[400] = "";

	(void)state;
	define(assistant, "s", "string", false);
	OK(keep_assistant_set_setting(assistant, KEEP_BYTES("s"), KEEP_BYTES("one"), &actor, &err));
	assert_string_equal(newest_details(), "{\"key\":\"s\",\"old\":null,\"new\":\"one\"}");
	assert_int_equal(assistant_count("audit_log WHERE event_type = 'setting_change' AND "
					 "action = 'set' AND user_id = 'ada' AND "
					 "ip_address = '::1'"),
			 1);
	OK(set(assistant, "s", "two", &err));
	assert_string_equal(newest_details(), "{\"key\":\"s\",\"old\":\"one\",\"new\":\"two\"}");
	(void)strcat(text, "a");
	for (int i = 0; i < 120; i++)
		(void)strcat(text, "\xc3\xa9");
	OK(set(assistant, "s", text, &err));
	/* 199 bytes are 1 and 99 characters; the 200th would cut one. */
	assert_string_equal(
		assistant_sql("SELECT CAST(length(details) AS text) FROM (SELECT CAST(details AS "
			      "text) AS details FROM audit_log ORDER BY seq DESC LIMIT 1) AS d"),
		"133");
	OK(keep_assistant_undefine_setting(assistant, KEEP_BYTES("s"), &actor, &err));
	assert_int_equal(assistant_count("audit_log WHERE action = 'undefine'"), 1);
	assert_int_equal(keep_assistant_undefine_setting(assistant, KEEP_BYTES("s"), NULL, &err),
			 KEEP_NOT_FOUND);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_sensitive_value_is_encrypted_masked_and_noted_when_it_is_read(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_setting_read_list list = {NULL, 0};
	keep_setting_read read;
	int64_t entries;

	(void)state;
	define(assistant, "llm.api_key", "string", true);
	OK(set(assistant, "llm.api_key", "sk-hidden", &err));
	assert_string_equal(newest_details(),
			    "{\"key\":\"llm.api_key\",\"old\":null,\"new\":\"***\"}");
	assert_memory_equal(assistant_sql("SELECT value FROM settings WHERE key = 'llm.api_key'"),
			    "gAAAA", 5);
	assert_int_equal(assistant_count("settings WHERE key_id IS NOT NULL"), 1);
	assert_int_equal(set(assistant, "llm.api_key", "***", &err), KEEP_INVALID);
	entries = assistant_count("audit_log");
	OK(keep_assistant_list_settings(assistant, (keep_bytes){NULL, 0}, KEEP_BYTES("llm."),
					&memory, &list, &err));
	assert_int_equal(list.count, 1);
	assert_bytes_equal(list.items[0].text, KEEP_BYTES("***"));
	assert_bytes_equal(list.items[0].definition.value, KEEP_BYTES("***"));
	assert_int_equal(list.items[0].origin, KEEP_SETTING_STORED);
	assert_int_equal(assistant_count("audit_log"), entries);
	OK(keep_assistant_get_setting(assistant, KEEP_BYTES("llm.api_key"), NULL, &memory, &read,
				      &err));
	assert_bytes_equal(read.text, KEEP_BYTES("sk-hidden"));
	assert_bytes_equal(read.definition.value, KEEP_BYTES("***"));
	assert_int_equal(assistant_count("audit_log WHERE event_type = 'setting_access'"), 1);
	keep_assistant_wipe(&memory);
	assert_int_equal(assistant_count("audit_log WHERE CAST(details AS text) LIKE '%hidden%'"),
			 0);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_sensitive_default_is_encrypted_and_masked_too(void **state)
{
	keep_setting setting = {.key = KEEP_BYTES("s"),
				.is_sensitive = true,
				.default_value = KEEP_BYTES("changeme")};
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_setting_read_list list = {NULL, 0};

	(void)state;
	OK(keep_assistant_define_setting(assistant, &setting, NULL, &err));
	assert_int_equal(assistant_count("settings WHERE default_value = 'changeme'"), 0);
	assert_string_equal(get(assistant, "s"), "default:changeme");
	OK(keep_assistant_define_setting(assistant, &setting, NULL, &err));
	assert_int_equal(assistant_count("audit_log WHERE action = 'define'"), 1);
	OK(keep_assistant_list_settings(assistant, (keep_bytes){NULL, 0}, KEEP_BYTES("s"), &memory,
					&list, &err));
	assert_bytes_equal(list.items[0].definition.default_value, KEEP_BYTES("***"));
	assert_bytes_equal(list.items[0].text, KEEP_BYTES("***"));
	setting.default_value = KEEP_BYTES("***");
	assert_int_equal(try_define(assistant, &setting), KEEP_INVALID);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void what_no_given_key_reads_is_neither_answered_nor_overwritten(void **state)
{
	keep_assistant *assistant = assistant_fresh(), *other = NULL;
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	define(assistant, "s", "string", true);
	OK(set(assistant, "s", "hidden", &err));
	options.without_keys = true;
	OK(assistant_open_with(&options, &other, &err));
	assert_string_equal(get(other, "s"), "DENIED");
	assert_int_equal(assistant_count("audit_log WHERE event_type = 'setting_access' AND "
					 "NOT CAST(success AS boolean)"),
			 1);
	assert_int_equal(set(other, "s", "new", &err), KEEP_DENIED);
	assert_int_equal(
		keep_assistant_validate_setting(other, KEEP_BYTES("s"), KEEP_BYTES("new"), &err),
		KEEP_DENIED);
	keep_assistant_close(&other);
	assert_string_equal(get(assistant, "s"), "stored:hidden");
	options.without_keys = false;
	options.read_only = true;
	options.keys = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
	OK(assistant_open_with(&options, &other, &err));
	assert_string_equal(get(other, "s"), "DENIED"); /* it could not be noted */
	keep_assistant_close(&other);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

/* By damage, and by a token of another key that came with another program's row. */
static void a_sensitive_value_that_cannot_be_read_stays_until_it_is_reset(void **state)
{
	static const struct {
		const char *stored;
		keep_status status;
	} cases[] = {
		{"garbage", KEEP_CORRUPT},
		/* The example of the specification, and one letter of it is another one. */
		{"gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-"
		 "szkFVzXTuGb4hR8AKtwcaX1YdykRtfs"
		 "H-p1YsUD2A==",
		 KEEP_DENIED},
	};
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	define(assistant, "s", "string", true);
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		char sql[300];

		OK(set(assistant, "s", "hidden", &err));
		(void)snprintf(sql, sizeof sql, "UPDATE settings SET value = '%s' WHERE key = 's'",
			       cases[i].stored);
		assistant_sql(sql);
		assert_int_equal(set(assistant, "s", "new", &err), cases[i].status);
		assert_int_equal(keep_assistant_validate_setting(assistant, KEEP_BYTES("s"),
								 KEEP_BYTES("new"), &err),
				 cases[i].status);
		assert_string_equal(assistant_sql("SELECT value FROM settings WHERE key = 's'"),
				    cases[i].stored);
		OK(keep_assistant_reset_setting(assistant, KEEP_BYTES("s"), NULL, &err));
	}
	OK(set(assistant, "s", "new", &err));
	assert_string_equal(get(assistant, "s"), "stored:new");
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void what_another_program_stored_wrongly_is_corrupt_and_does_not_stop_a_list(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_setting_read_list list = {NULL, 0};

	(void)state;
	define(assistant, "n.a", "int", false);
	define(assistant, "n.b", "int", false);
	OK(set(assistant, "n.b", "5", &err));
	assistant_sql("UPDATE settings SET value = 'True' WHERE key = 'n.a'");
	assert_string_equal(get(assistant, "n.a"), "CORRUPT");
	OK(keep_assistant_list_settings(assistant, (keep_bytes){NULL, 0}, KEEP_BYTES("n."), &memory,
					&list, &err));
	assert_int_equal(list.count, 2);
	assert_bytes_equal(list.items[0].text, KEEP_BYTES("True"));
	assert_int_equal(list.items[1].integer, 5);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_prefix_is_a_prefix_and_no_pattern(void **state)
{
	static const char *const keys[] = {
		"google_ads.id", "googleXads.id", "google_ads", "google_ads\xf4\x8f\xbf\xbf",
		"GOOGLE_ADS.id", "google_adt",    "%",          "z"};
	static const struct {
		const char *prefix;
		size_t count;
	} cases[] = {{"google_ads.", 1}, {"google_ads", 3}, {"google_", 4}, {"%", 1},
		     {"_", 0},           {"google", 5},     {"", 8}};
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_setting_read_list list = {NULL, 0};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(keys); i++)
		define(assistant, keys[i], "string", false);
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		OK(keep_assistant_list_settings(assistant, KEEP_BYTES("application"),
						keep_bytes_of(cases[i].prefix), &memory, &list,
						&err));
		CHECK(list.count == cases[i].count, "'%s': %zu", cases[i].prefix, list.count);
	}
	OK(keep_assistant_list_settings(assistant, KEEP_BYTES("retention"), (keep_bytes){NULL, 0},
					&memory, &list, &err));
	assert_int_equal(list.count, 5);
	assert_bytes_equal(list.items[0].definition.key,
			   KEEP_BYTES("retention.agent_tasks_per_conversation"));
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- at once */

enum { THREADS = 4, ROUNDS = 20 };

static void *set_often(void *ctx)
{
	keep_assistant *assistant = ctx;
	keep_error err = KEEP_ERROR_INIT;

	for (int i = 0; i < ROUNDS; i++) {
		char value[20];

		(void)snprintf(value, sizeof value, "%d", i);
		if (set(assistant, "n", value, &err) != KEEP_OK)
			return ctx;
	}
	return NULL;
}

static int run_child(const char *url)
{
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_assistant *assistant = NULL;
	keep_error err = KEEP_ERROR_INIT;
	bool failed;

	options.timeout_ms = 20000;
	if (keep_assistant_open(url, &options, &assistant, &err) != KEEP_OK)
		return 3;
	failed = set_often(assistant) != NULL;
	keep_assistant_close(&assistant);
	return failed ? 4 : 0;
}

static void those_who_set_at_once_are_all_noted_one_after_the_other(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char url[ASSISTANT_URL_MAX];
	pthread_t threads[THREADS];
	pid_t child;
	int ended = -1;

	(void)state;
	define(assistant, "n", "int", false);
	(void)snprintf(url, sizeof url, "%s", assistant_url());
	child = fork();
	if (child == 0) {
		(void)execl(assistant_program(), assistant_program(), url, "set", (char *)NULL);
		_exit(9);
	}
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, set_often, assistant), 0);
	for (int i = 0; i < THREADS; i++) {
		void *failed = assistant;

		(void)pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	assert_int_equal(waitpid(child, &ended, 0), child);
	assert_int_equal(ended, 0);
	assert_int_equal(assistant_count("audit_log WHERE action = 'set'"), (THREADS + 1) * ROUNDS);
	/* Each entry's old value is the new one of the entry before. */
	assert_int_equal(
		assistant_count(assistant_is_file()
					? "audit_log AS a JOIN audit_log AS b ON b.seq = a.seq + 1 "
					  "WHERE a.action = 'set' AND b.action = 'set' AND "
					  "a.details ->> 'new' IS NOT b.details ->> 'old'"
					: "audit_log AS a JOIN audit_log AS b ON b.seq = a.seq + 1 "
					  "WHERE a.action = 'set' AND b.action = 'set' AND "
					  "a.details ->> 'new' IS DISTINCT FROM b.details ->> "
					  "'old'"),
		0);
	assert_int_equal(assistant_count("audit_log AS a JOIN audit_log AS b ON b.seq = a.seq + 1 "
					 "WHERE b.previous_hash <> a.hash"),
			 0);
	keep_memory_release(&memory);
	(void)err;
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_value_must_be_of_its_type),
		cmocka_unit_test(numbers_and_bools_are_read_as_such),
		cmocka_unit_test(a_value_beyond_a_mebibyte_is_full_and_one_of_that_size_is_not),
		cmocka_unit_test(the_first_check_that_fails_is_the_one_that_is_told),
		cmocka_unit_test(an_empty_text_is_no_value_where_none_is_required),
		cmocka_unit_test(validate_says_what_set_would_and_stores_nothing),
		cmocka_unit_test(many_are_set_all_or_none_and_the_refused_key_is_named),
		cmocka_unit_test(
			the_stored_value_comes_before_the_environment_and_that_before_the_default),
		cmocka_unit_test(a_required_one_is_not_reset_to_nothing),
		cmocka_unit_test(a_change_is_noted_with_old_and_new_cut_at_a_character),
		cmocka_unit_test(a_sensitive_value_is_encrypted_masked_and_noted_when_it_is_read),
		cmocka_unit_test(a_sensitive_default_is_encrypted_and_masked_too),
		cmocka_unit_test(what_no_given_key_reads_is_neither_answered_nor_overwritten),
		cmocka_unit_test(a_sensitive_value_that_cannot_be_read_stays_until_it_is_reset),
		cmocka_unit_test(
			what_another_program_stored_wrongly_is_corrupt_and_does_not_stop_a_list),
		cmocka_unit_test(a_prefix_is_a_prefix_and_no_pattern),
		cmocka_unit_test(those_who_set_at_once_are_all_noted_one_after_the_other),
	};
	int failed;

	if (argc == 3 && strcmp(argv[2], "set") == 0)
		return run_child(argv[1]);
	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}

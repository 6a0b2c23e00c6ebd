/*
 * test_assistant_prompts.c - prompts keep every value that they had.
 *
 *     test_assistant_prompts sqlite|postgres
 */
#include "assistant_fixture.h"

static int64_t set(keep_assistant *assistant, const char *key, const char *value)
{
	keep_error err = KEEP_ERROR_INIT;
	int64_t revision = 0;

	OK(keep_assistant_set_prompt(assistant, keep_bytes_of(key), keep_bytes_of(value),
				     (keep_bytes){NULL, 0}, 0, NULL, &revision, &err));
	return revision;
}

static void assert_value(keep_assistant *assistant, const char *key, const char *value,
			 int64_t revision)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_prompt prompt;

	OK(keep_assistant_get_prompt(assistant, keep_bytes_of(key), &memory, &prompt, &err));
	assert_int_equal(prompt.revision, revision);
	assert_true(prompt.value.len == strlen(value) &&
		    memcmp(prompt.value.data, value, prompt.value.len) == 0);
	keep_memory_release(&memory);
}

static void a_new_value_keeps_the_old_one_as_a_revision(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_prompt_revision_list list = {NULL, 0};

	(void)state;
	assert_int_equal(set(assistant, "greeting", "one"), 1);
	assert_int_equal(set(assistant, "greeting", "two"), 2);
	assert_int_equal(set(assistant, "greeting", "two"), 2);
	assert_int_equal(set(assistant, "greeting", ""), 3);
	assert_value(assistant, "greeting", "", 3);
	OK(keep_assistant_prompt_history(assistant, KEEP_BYTES("greeting"), 0, &memory, &list,
					 &err));
	assert_int_equal(list.count, 2);
	assert_int_equal(list.items[0].revision, 2);
	assert_memory_equal(list.items[0].value.data, "two", 3);
	assert_memory_equal(list.items[1].value.data, "one", 3);
	assert_int_equal(assistant_count("audit_log WHERE event_type = 'prompt_change'"), 3);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void reverting_is_a_new_revision_of_an_old_value(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;
	int64_t revision = 0;

	(void)state;
	set(assistant, "soul", "one");
	set(assistant, "soul", "two");
	OK(keep_assistant_revert_prompt(assistant, KEEP_BYTES("soul"), 2, NULL, &revision, &err));
	assert_int_equal(revision, 4);
	assert_value(assistant, "soul", "one", 4);
	assert_int_equal(keep_assistant_revert_prompt(assistant, KEEP_BYTES("soul"), 9, NULL,
						      &revision, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(keep_assistant_revert_prompt(assistant, KEEP_BYTES("none"), 1, NULL,
						      &revision, &err),
			 KEEP_NOT_FOUND);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void an_expected_revision_makes_it_a_compare_and_set(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;
	int64_t revision = 0;

	(void)state;
	set(assistant, "memory", "one");
	assert_int_equal(keep_assistant_set_prompt(assistant, KEEP_BYTES("memory"),
						   KEEP_BYTES("late"), (keep_bytes){NULL, 0}, 1,
						   NULL, &revision, &err),
			 KEEP_CONFLICT);
	assert_value(assistant, "memory", "one", 2);
	OK(keep_assistant_set_prompt(assistant, KEEP_BYTES("memory"), KEEP_BYTES("two"),
				     (keep_bytes){NULL, 0}, 2, NULL, &revision, &err));
	assert_int_equal(revision, 3);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void every_store_has_four_prompts_that_stay(void **state)
{
	static const char *const keys[] = {"memory", "soul", "system_prompt_custom",
					   "system_prompt_default"};
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_prompt_list list = {NULL, 0};

	(void)state;
	OK(keep_assistant_list_prompts(assistant, &memory, &list, &err));
	assert_int_equal(list.count, 4);
	for (size_t i = 0; i < list.count; i++) {
		assert_memory_equal(list.items[i].key.data, keys[i], list.items[i].key.len);
		assert_int_equal(
			keep_assistant_remove_prompt(assistant, list.items[i].key, NULL, &err),
			KEEP_CONFLICT);
	}
	set(assistant, "mine", "x");
	OK(keep_assistant_remove_prompt(assistant, KEEP_BYTES("mine"), NULL, &err));
	assert_int_equal(keep_assistant_remove_prompt(assistant, KEEP_BYTES("mine"), NULL, &err),
			 KEEP_NOT_FOUND);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void bad_input_names_what_is_wrong(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;
	keep_bytes none = {NULL, 0};
	int64_t revision = 0;

	(void)state;
	assert_int_equal(keep_assistant_set_prompt(assistant, KEEP_BYTES(""), KEEP_BYTES("x"), none,
						   0, NULL, &revision, &err),
			 KEEP_INVALID);
	assert_non_null(strstr(err.message, "key"));
	assert_int_equal(keep_assistant_set_prompt(assistant, KEEP_BYTES("k"), none, none, 0, NULL,
						   &revision, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_assistant_set_prompt(assistant, KEEP_BYTES("k"), KEEP_BYTES("\xff"),
						   none, 0, NULL, &revision, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_assistant_set_prompt(assistant, KEEP_BYTES("k"), KEEP_BYTES("x"),
						   none, -1, NULL, &revision, &err),
			 KEEP_INVALID);
	assert_int_equal(assistant_count("prompts"), 4);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_value_keeps_the_old_one_as_a_revision),
		cmocka_unit_test(reverting_is_a_new_revision_of_an_old_value),
		cmocka_unit_test(an_expected_revision_makes_it_a_compare_and_set),
		cmocka_unit_test(every_store_has_four_prompts_that_stay),
		cmocka_unit_test(bad_input_names_what_is_wrong),
	};
	int failed;

	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}

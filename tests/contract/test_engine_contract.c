/*
 * test_engine_contract.c - contracts/engine.md, sentence by sentence, on one kind of backend:
 *
 *     test_engine_contract memory|file|sqlite|postgres|redis|URL-with-{} [FILTER]
 *
 * FILTER runs only the tests whose names match, as cmocka_set_test_filter takes it.
 * Called as `test_engine_contract --set URL PATH VALUE` it is another process that changes a store.
 */
#include "engine_suite.h"

static int set_from_another_process(char **argv)
{
	keep_engine_options options = KEEP_ENGINE_OPTIONS_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_engine *engine = NULL;
	keep_status status = keep_engine_open(argv[2], &options, &engine, &err);

	if (status == KEEP_OK)
		status = keep_engine_set(engine, keep_bytes_of(argv[3]), keep_bytes_of(argv[4]),
					 &err);
	keep_engine_close(&engine);
	if (status != KEEP_OK)
		fprintf(stderr, "%s\n", err.message);
	return keep_status_exit(status);
}

/* Copy a group's tests, without those that the kind has no occasion for. */
static size_t take_group(const suite_group *group, struct CMUnitTest *out)
{
	size_t count = 0;

	for (size_t i = 0; i < group->count; i++) {
		const bool *occasion = group->tests[i].initial_state;

		if (!occasion || *occasion)
			out[count++] = group->tests[i];
	}
	return count;
}

int main(int argc, char **argv)
{
	const suite_group *groups[] = {&suite_documents, &suite_changes, &suite_opening,
				       &suite_threads};
	struct CMUnitTest tests[200];
	size_t count = 0;
	int failed;

	if (argc == 5 && strcmp(argv[1], "--set") == 0)
		return set_from_another_process(argv);
	if (argc != 2 && argc != 3) {
		fprintf(stderr, "usage: test_engine_contract KIND|URL [FILTER]\n");
		return 2;
	}
	suite_program = argv[0];
	engine_urls_begin(argv[1], &suite_kind);
	if (argc == 3)
		cmocka_set_test_filter(argv[2]);
	for (size_t i = 0; i < KP_COUNT(groups); i++) {
		CHECK(count + groups[i]->count <= KP_COUNT(tests), "the table is too short");
		count += take_group(groups[i], &tests[count]);
	}
	failed = _cmocka_run_group_tests(argv[1], tests, count, NULL, NULL);
	engine_urls_end();
	return failed;
}

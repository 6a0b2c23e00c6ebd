/*
 * test_engine_memory_faults.c - memory: and the front, with every allocation failing once.
 *
 * The life of engine_scenario.c, and what it does not do: batches that fail at each of their
 * changes, apply_each, joining, a backend of a user's own.
 */
#include "engine_scenario.h"

static void every_allocation_may_fail_once(void **state)
{
	engine_scenario scenario = {.is_fresh = false};
	long rounds;

	(void)state;
	engine_scenario_begin(&scenario, "memory", KP_FAULT_ALLOC, MAY(KEEP_NO_MEMORY));
	rounds = torture(KP_FAULT_ALLOC, MAY(KEEP_NO_MEMORY) | MAY(KEEP_OK), engine_scenario_run,
			 &scenario);
	CHECK(rounds > 100, "only %ld rounds", rounds);
	engine_scenario_end(&scenario);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- a batch of many nodes */

#define SEGMENTS 20

typedef struct batch_case {
	char paths[SEGMENTS][128];
	keep_engine_change changes[SEGMENTS];
} batch_case;

static void fill_batch(batch_case *self)
{
	for (size_t i = 0; i < SEGMENTS; i++) {
		snprintf(self->paths[i], sizeof self->paths[i], "b%zu//%zu/c/d%zu", i % 3, i % 5,
			 i);
		self->changes[i] = (keep_engine_change){.kind = i % 6 == 5 ? KEEP_ENGINE_UNSET
									   : KEEP_ENGINE_SET,
							.path = keep_bytes_of(self->paths[i]),
							.value = KEEP_BYTES("new")};
		/* Takes away what earlier changes of the batch have made, and what was there. */
		if (i % 6 == 5)
			self->changes[i].path = KEEP_BYTES("b1");
	}
}

static bool collect(void *ctx, keep_bytes path, keep_bytes value)
{
	keep_buffer *found = ctx;
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_buffer_append(found, path, &err));
	OK(kp_buffer_append_text(found, "=", &err));
	OK(kp_buffer_append(found, value, &err));
	OK(kp_buffer_append_text(found, "\n", &err));
	return true;
}

/* All there is, in the order of creation, which undoing must give back too. */
static void describe(keep_engine *engine, keep_buffer *found)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;

	found->len = 0;
	OK(keep_engine_scan(engine, KEEP_BYTES(""), collect, found, &err));
	OK(keep_engine_list_names(engine, KEEP_BYTES("b1"), 0, 100, &list, &err));
	for (size_t i = 0; i < list.count; i++)
		assert_true(collect(found, list.items[i].name, list.items[i].value));
	keep_engine_list_release(&list);
}

static keep_status run_batch(void *ctx)
{
	batch_case *self = ctx;
	keep_buffer before = KEEP_BUFFER_INIT, after = KEEP_BUFFER_INIT;
	keep_engine *engine = NULL;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = keep_engine_open("memory:", NULL, &engine, &err);

	for (size_t i = 0; status == KEEP_OK && i < 12; i++) {
		char path[24];

		snprintf(path, sizeof path, i % 2 ? "b1/%zu" : "b1/x/%zu", i);
		status = keep_engine_set(engine, keep_bytes_of(path), KEEP_BYTES("old"), &err);
	}
	if (status == KEEP_OK)
		status = keep_engine_batch(engine, self->changes, SEGMENTS, &err);
	if (status != KEEP_OK) {
		kp_fault_disarm(KP_FAULT_ALLOC);
		if (engine) {
			describe(engine, &after);
			CHECK(!after.data || !strstr(after.data, "new"), "%s", after.data);
			OK(keep_engine_batch(engine, self->changes, SEGMENTS, &err));
			describe(engine, &before);
			assert_non_null(strstr(before.data, "b0/0/c/d0=new"));
			assert_null(strstr(before.data, "b1/x/0=old"));
		}
	}
	keep_buffer_release(&before);
	keep_buffer_release(&after);
	keep_engine_close(&engine);
	return status;
}

static void a_batch_without_memory_changes_nothing(void **state)
{
	batch_case *self = calloc(1, sizeof *self);

	(void)state;
	assert_non_null(self);
	fill_batch(self);
	assert_true(torture(KP_FAULT_ALLOC, MAY(KEEP_NO_MEMORY) | MAY(KEEP_OK), run_batch, self) >
		    50);
	free(self);
}

/* ---------------------------------------------------------------- what undo gives back */

/* A refused batch of every kind of change leaves values, order and creation order as they were. */
static void a_refused_batch_is_undone_to_the_last_detail(void **state)
{
	keep_buffer before = KEEP_BUFFER_INIT, after = KEEP_BUFFER_INIT;
	uint64_t seed = test_seed();
	keep_engine *engine = NULL;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(keep_engine_open("memory:", NULL, &engine, &err));
	for (int round = 0; round < 3000; round++) {
		keep_engine_change changes[9];
		char paths[8][32];
		size_t count = 1 + next_random(&seed) % 8;

		for (size_t i = 0; i < count; i++) {
			uint64_t word = next_random(&seed);

			snprintf(paths[i], sizeof paths[i], word & 64 ? "b%d/%d/%d" : "b%d/%d",
				 (int)(word >> 8) & 1, (int)(word >> 16) & 3,
				 (int)(word >> 24) & 3);
			if ((word & 15) == 1)
				paths[i][2] = '\0';
			if ((word & 255) == 2)
				paths[i][0] = '\0';
			changes[i] = (keep_engine_change){
				.kind = word & 32 || !paths[i][0] ? KEEP_ENGINE_UNSET
					: word & 16               ? KEEP_ENGINE_SET_SCORED
								  : KEEP_ENGINE_SET,
				.path = keep_bytes_of(paths[i]),
				.value = KEEP_BYTES("v"),
				.score_ms = (int64_t)(word >> 32 & 7)};
		}
		changes[count] = (keep_engine_change){.kind = KEEP_ENGINE_COMPARE_AND_SET,
						      .path = KEEP_BYTES("no"),
						      .expected = KEEP_BYTES("such")};
		describe(engine, &before);
		assert_int_equal(keep_engine_batch(engine, changes, count + 1, &err),
				 KEEP_CONFLICT);
		describe(engine, &after);
		assert_bytes_equal(kp_buffer_bytes(&after), kp_buffer_bytes(&before));
		OK(keep_engine_batch(engine, changes, count, &err));
	}
	keep_engine_close(&engine);
	keep_buffer_release(&before);
	keep_buffer_release(&after);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- the rest of the front */

static keep_status run_each(void *ctx)
{
	keep_engine_change changes[3] = {
		{.kind = KEEP_ENGINE_SET, .path = KEEP_BYTES("e//1"), .value = KEEP_BYTES("1")},
		{.kind = KEEP_ENGINE_SET, .path = KEEP_BYTES("e/2"), .value = KEEP_BYTES("2")},
		{.kind = KEEP_ENGINE_SET, .path = KEEP_BYTES("e//3"), .value = KEEP_BYTES("3")},
	};
	keep_status statuses[3] = {KEEP_MISUSE, KEEP_MISUSE, KEEP_MISUSE}, status, first = KEEP_OK;
	keep_engine *engine = NULL;
	keep_error err = KEEP_ERROR_INIT;

	(void)ctx;
	status = keep_engine_open("memory:", NULL, &engine, &err);
	if (status != KEEP_OK)
		return status;
	OK(keep_engine_apply_each(engine, changes, 3, statuses, NULL, &err));
	kp_fault_disarm(KP_FAULT_ALLOC);
	for (size_t i = 0; i < 3; i++) {
		keep_buffer value = KEEP_BUFFER_INIT;

		status = keep_engine_get(engine, changes[i].path, &value, &err);
		CHECK(statuses[i] == (status == KEEP_OK ? KEEP_OK : KEEP_NO_MEMORY),
		      "changes[%zu] says %s and get %s", i, keep_status_name(statuses[i]),
		      keep_status_name(status));
		keep_buffer_release(&value);
		if (statuses[i] != KEEP_OK)
			first = statuses[i];
	}
	keep_engine_close(&engine);
	return first;
}

static void apply_each_without_memory_tells_the_truth_of_each(void **state)
{
	(void)state;
	assert_true(torture(KP_FAULT_ALLOC, MAY(KEEP_NO_MEMORY) | MAY(KEEP_OK), run_each, NULL) >
		    10);
}

static keep_status run_join(void *ctx)
{
	keep_buffer path = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = keep_path_join(&path, KEEP_BYTES("a"), &err);

	(void)ctx;
	if (status == KEEP_OK)
		status = keep_path_join(&path, (keep_bytes){ctx, 200}, &err);
	keep_buffer_release(&path);
	return status;
}

static void join_without_memory_fails_cleanly(void **state)
{
	char segment[200];

	(void)state;
	memset(segment, 's', sizeof segment);
	assert_int_equal(torture(KP_FAULT_ALLOC, MAY(KEEP_NO_MEMORY), run_join, segment), 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_allocation_may_fail_once),
		cmocka_unit_test(a_batch_without_memory_changes_nothing),
		cmocka_unit_test(a_refused_batch_is_undone_to_the_last_detail),
		cmocka_unit_test(apply_each_without_memory_tells_the_truth_of_each),
		cmocka_unit_test(join_without_memory_fails_cleanly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* engine_suite_changes.c - scores, batches, compare_and_set, apply_each, scan. */
#include "engine_suite.h"

#include <pthread.h>
#include <stdatomic.h>

#define FUTURE (KEEP_ENGINE_SCORE_MAX - 1000000)

static keep_engine_change set_change(const char *path, const char *value)
{
	return (keep_engine_change){.kind = KEEP_ENGINE_SET,
				    .path = keep_bytes_of(path),
				    .value = keep_bytes_of(value)};
}

static keep_engine_change scored_change(const char *path, const char *value, int64_t score)
{
	return (keep_engine_change){.kind = KEEP_ENGINE_SET_SCORED,
				    .path = keep_bytes_of(path),
				    .value = keep_bytes_of(value),
				    .score_ms = score};
}

static keep_engine_change unset_change(const char *path)
{
	return (keep_engine_change){.kind = KEEP_ENGINE_UNSET, .path = keep_bytes_of(path)};
}

static keep_engine_change cas_change(const char *path, const char *expected, const char *value)
{
	return (keep_engine_change){.kind = KEEP_ENGINE_COMPARE_AND_SET,
				    .path = keep_bytes_of(path),
				    .value = keep_bytes_of(value),
				    .expected = keep_bytes_of(expected)};
}

static keep_status try_cas(keep_engine *engine, const char *path, const char *expected,
			   const char *value)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = keep_engine_compare_and_set(
		engine, keep_bytes_of(path), keep_bytes_of(expected), keep_bytes_of(value), &err);

	assert_int_equal(status, err.status);
	return status;
}

/* ---------------------------------------------------------------- scores */

static void a_score_is_a_place_in_the_order(void **state)
{
	keep_engine *engine = engine_of(state);

	set_scored_text(engine, "s/c", "c", 3000);
	set_scored_text(engine, "s/a", "a", 1000);
	set_scored_text(engine, "s/d", "d", 4000);
	set_scored_text(engine, "s/b", "b", 2000);
	set_scored_text(engine, "s/0", "0", 0);
	want_children(engine, "s", "d c b a 0");
	set_text(engine, "s/new", "new");
	want_children(engine, "s", "new d c b a 0");
	set_scored_text(engine, "s/new", "new", 2500);
	want_children(engine, "s", "d c new b a 0");
	set_text(engine, "s/0", "0");
	want_children(engine, "s", "0 d c new b a");
	want_page(engine, "s", 2, 2, "c new");
	unset_path(engine, "s/c");
	want_children(engine, "s", "0 d new b a");
}

static void equal_scores_are_in_order_of_their_sets(void **state)
{
	keep_engine *engine = engine_of(state);

	set_scored_text(engine, "q/b", "b", 5000);
	set_scored_text(engine, "q/c", "c", 5000);
	set_scored_text(engine, "q/a", "a", 5000);
	want_children(engine, "q", "a c b");
	set_scored_text(engine, "q/b", "b", 5000);
	want_children(engine, "q", "b a c");
	set_scored_text(engine, "q/x", "x", 4999);
	set_scored_text(engine, "q/y", "y", 5001);
	set_scored_text(engine, "q/z", "z", 4999);
	want_children(engine, "q", "y b a c z x");
	if (suite_kind.persists) {
		reopen(*state);
		engine = engine_of(state);
		want_children(engine, "q", "y b a c z x");
		set_scored_text(engine, "q/c", "c", 5000);
		want_children(engine, "q", "y c b a z x");
	}
}

static void a_hundred_equal_scores_keep_their_order(void **state)
{
	keep_engine *engine = engine_of(state);
	char path[24], value[24], wanted[1000] = "";

	for (int i = 0; i < 100; i++) {
		snprintf(path, sizeof path, "h/%d", i * 37 % 100);
		snprintf(value, sizeof value, "%d", i * 37 % 100);
		set_scored_text(engine, path, value, 1700000000000);
	}
	for (int i = 99; i >= 0; i--) {
		snprintf(value, sizeof value, "%s%d", i < 99 ? " " : "", i * 37 % 100);
		strcat(wanted, value);
	}
	want_children(engine, "h", wanted);
}

static void a_plain_set_is_newest_even_after_a_score_of_the_future(void **state)
{
	keep_engine *engine = engine_of(state);

	set_text(engine, "f/a", "a");
	set_scored_text(engine, "f/b", "b", FUTURE);
	set_text(engine, "f/c", "c");
	want_children(engine, "f", "c b a");
	set_text(engine, "f/a", "a");
	set_text(engine, "f/d", "d");
	want_children(engine, "f", "d a c b");
	set_scored_text(engine, "f/e", "e", FUTURE + 5);
	want_children(engine, "f", "e d a c b");
	set_text(engine, "f/b", "b");
	want_children(engine, "f", "b e d a c");
	/* The newest, set again, keeps the score it pushed to: 2500 years of clock do not matter.
	 */
	set_scored_text(engine, "f/x", "x", FUTURE + 4);
	want_children(engine, "f", "b e x d a c");
	if (suite_kind.persists) {
		reopen(*state);
		engine = engine_of(state);
		set_text(engine, "f/y", "y");
		want_children(engine, "f", "y b e x d a c");
	}
}

static void the_largest_score_can_be_used_and_one_more_cannot(void **state)
{
	static const int64_t wrong[] = {-1, KEEP_ENGINE_SCORE_MAX + 1, INT64_MIN, INT64_MAX};
	keep_engine *engine = engine_of(state);
	keep_error err = KEEP_ERROR_INIT;

	set_scored_text(engine, "m/a", "a", KEEP_ENGINE_SCORE_MAX);
	set_scored_text(engine, "m/b", "b", KEEP_ENGINE_SCORE_MAX);
	set_text(engine, "m/c", "c");
	want_children(engine, "m", "c b a");
	for (size_t i = 0; i < KP_COUNT(wrong); i++)
		assert_int_equal(keep_engine_set_scored(engine, KEEP_BYTES("m/x"), KEEP_BYTES("x"),
							wrong[i], &err),
				 KEEP_INVALID);
	want_children(engine, "m", "c b a");
}

/* ---------------------------------------------------------------- batches */

static keep_status try_batch(keep_engine *engine, const keep_engine_change *changes, size_t count,
			     char message[320])
{
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = keep_engine_batch(engine, changes, count, &err);

	assert_int_equal(status, err.status);
	snprintf(message, sizeof err.message, "%s", err.message);
	return status;
}

static void a_batch_applies_its_changes_in_order(void **state)
{
	keep_engine_change changes[] = {
		set_change("b/gone", "gone"), set_change("b/a", "1"),
		set_change("b/c", "c"),       unset_change("b/gone"),
		set_change("/b//a/", "a"),    scored_change("b/old", "old", 10),
		set_change("b/a/x/y", "y"),   cas_change("b/new", NULL, "new"),
		cas_change("b/c", "c", NULL), set_change("b/z", "z"),
	};
	keep_engine *engine = engine_of(state);
	char message[320];

	assert_int_equal(try_batch(engine, changes, KP_COUNT(changes), message), KEEP_OK);
	want_children(engine, "b", "z new a old");
	want_text(engine, "b/a/x/y", "y");
	want_text(engine, "b/gone", NULL);
	assert_int_equal(try_batch(engine, changes, 0, message), KEEP_OK);
	assert_int_equal(try_batch(engine, NULL, 0, message), KEEP_OK);
}

static void a_change_of_a_batch_sees_those_before_it(void **state)
{
	keep_engine_change changes[] = {
		set_change("a", "1"),
		cas_change("a", "1", "2"),
		cas_change("a", "2", NULL),
		cas_change("a", NULL, "3"),
		set_change("t/x/y", "y"),
		unset_change("t"),
		cas_change("t/x/y", NULL, "new"),
		set_change("t/x", "x"),
	};
	keep_engine *engine = engine_of(state);
	char message[320];

	set_text(engine, "t", "old");
	set_text(engine, "t/b", "old");
	assert_int_equal(try_batch(engine, changes, KP_COUNT(changes), message), KEEP_OK);
	want_text(engine, "a", "3");
	want_text(engine, "t", NULL);
	want_text(engine, "t/b", NULL);
	want_text(engine, "t/x/y", "new");
	want_children(engine, "t", "x");
}

/* A state with everything that a failed batch could spoil. */
static void prepare_state(keep_engine *engine)
{
	set_text(engine, "k/a", "a");
	set_text(engine, "k/b", "b");
	set_text(engine, "k/c", "c");
	set_text(engine, "k/b/deep/er", "er");
	set_scored_text(engine, "k/s", "s", 1);
	set_text(engine, "only/way/to/it", "it");
}

static void want_prepared_state(keep_engine *engine)
{
	want_children(engine, "k", "c b a s");
	want_children(engine, "k/b/deep", "er");
	want_children(engine, "only/way/to", "it");
	want_children(engine, "", "");
	want_text(engine, "k/new", NULL);
	want_text(engine, "x/y/z", NULL);
	want_children(engine, "x/y", "");
}

static void a_batch_that_fails_in_its_middle_changes_nothing(void **state)
{
	keep_engine_change before[] = {
		set_change("k/a", "other"),
		set_change("k/new", "new"),
		unset_change("k/b"),
		set_change("x/y/z", "z"),
		unset_change("only"),
		set_change("k/b/deep/er", "other"),
		scored_change("k/c", "other", 0),
		set_change("k", "k"),
		cas_change("k/s", "s", NULL),
		unset_change("k/a"),
		unset_change("x"),
		unset_change(""),
		set_change("k/a", "after clear"),
	};
	keep_engine *engine = engine_of(state);
	keep_engine_change changes[KP_COUNT(before) + 2];
	char message[320];

	prepare_state(engine);
	for (size_t count = 0; count <= KP_COUNT(before); count++) {
		memcpy(changes, before, count * sizeof *changes);
		changes[count] = cas_change("k/c/none", "no such", "x");
		changes[count + 1] = set_change("k/after", "after");
		assert_int_equal(try_batch(engine, changes, count + 2, message), KEEP_CONFLICT);
		want_prepared_state(engine);
		want_text(engine, "k/after", NULL);
	}
}

static void a_batch_with_a_wrong_change_names_it_and_changes_nothing(void **state)
{
	keep_engine_change changes[] = {set_change("k/a", "other"), set_change("../x", "x")};
	keep_engine *engine = engine_of(state);
	char message[320];

	prepare_state(engine);
	assert_int_equal(try_batch(engine, changes, 2, message), KEEP_INVALID);
	assert_string_equal(message, "changes[1]: path: '..' is not a segment");
	changes[1] = set_change("", "x");
	assert_int_equal(try_batch(engine, changes, 2, message), KEEP_INVALID);
	changes[1] = scored_change("x", "x", -1);
	assert_int_equal(try_batch(engine, changes, 2, message), KEEP_INVALID);
	changes[1] = cas_change("/", NULL, NULL);
	assert_int_equal(try_batch(engine, changes, 2, message), KEEP_INVALID);
	changes[1] =
		(keep_engine_change){.kind = (keep_engine_change_kind)9, .path = KEEP_BYTES("x")};
	assert_int_equal(try_batch(engine, changes, 2, message), KEEP_MISUSE);
	changes[1] = (keep_engine_change){.kind = KEEP_ENGINE_SET, .path = KEEP_BYTES("x")};
	assert_int_equal(try_batch(engine, changes, 2, message), KEEP_MISUSE);
	want_prepared_state(engine);
}

static void a_batch_has_at_most_10000_changes(void **state)
{
	keep_engine *engine = engine_of(state);
	keep_engine_change *changes = calloc(KEEP_ENGINE_BATCH_MAX + 1, sizeof *changes);
	char(*paths)[24] = calloc(KEEP_ENGINE_BATCH_MAX + 1, sizeof *paths);
	char message[320];

	assert_non_null(changes);
	assert_non_null(paths);
	for (size_t i = 0; i <= KEEP_ENGINE_BATCH_MAX; i++) {
		snprintf(paths[i], sizeof paths[i], "big//%zu", i);
		changes[i] = set_change(paths[i], "x");
	}
	assert_int_equal(try_batch(engine, changes, KEEP_ENGINE_BATCH_MAX + 1, message), KEEP_FULL);
	want_count(engine, "big", 0);
	assert_int_equal(try_batch(engine, changes, KEEP_ENGINE_BATCH_MAX, message), KEEP_OK);
	want_count(engine, "big", KEEP_ENGINE_BATCH_MAX);
	unset_path(engine, "big");
	want_count(engine, "big", 0);
	free(paths);
	free(changes);
}

typedef struct pair_writer {
	keep_engine *engine;
	atomic_bool stop;
} pair_writer;

static void *write_pairs(void *ctx)
{
	static char complaint[] = "a batch failed";
	pair_writer *self = ctx;
	char value[24];

	for (int i = 1; !atomic_load(&self->stop); i++) {
		keep_engine_change changes[3];
		size_t count = 0;

		snprintf(value, sizeof value, "%d", i);
		if (i % 10 == 0)
			changes[count++] = unset_change("pair");
		changes[count++] = set_change("pair/a", value);
		changes[count++] = set_change("pair/b", value);
		if (keep_engine_batch(self->engine, changes, count, NULL) != KEEP_OK)
			return complaint;
	}
	return NULL;
}

static void a_reader_sees_a_batch_whole_or_not_at_all(void **state)
{
	suite_case *self = *state;
	pair_writer writer = {.engine = self->engine};
	keep_error err = KEEP_ERROR_INIT;
	pthread_t thread;
	void *complaint;

	set_text(self->engine, "pair/a", "0");
	set_text(self->engine, "pair/b", "0");
	assert_int_equal(pthread_create(&thread, NULL, write_pairs, &writer), 0);
	for (int i = 0; i < 300; i++) {
		keep_engine_list list = KEEP_ENGINE_LIST_INIT;

		OK(keep_engine_list_values(self->engine, KEEP_BYTES("pair"), 0, 10, &list, &err));
		assert_int_equal(list.count, 2);
		assert_bytes_equal(list.items[0].value, list.items[1].value);
		keep_engine_list_release(&list);
	}
	atomic_store(&writer.stop, true);
	pthread_join(thread, &complaint);
	assert_null(complaint);
}

/* ---------------------------------------------------------------- compare_and_set */

static void compare_and_set_stores_only_over_what_was_expected(void **state)
{
	keep_engine *engine = engine_of(state);

	assert_int_equal(try_cas(engine, "c/x", "", "1"), KEEP_CONFLICT);
	assert_int_equal(try_cas(engine, "c/x", "0", "1"), KEEP_CONFLICT);
	want_text(engine, "c/x", NULL);
	assert_int_equal(try_cas(engine, "c/x", NULL, "1"), KEEP_OK);
	assert_int_equal(try_cas(engine, "c/x", NULL, "2"), KEEP_CONFLICT);
	assert_int_equal(try_cas(engine, "c/x", "2", "2"), KEEP_CONFLICT);
	want_text(engine, "c/x", "1");
	assert_int_equal(try_cas(engine, "c/x", "1", ""), KEEP_OK);
	assert_int_equal(try_cas(engine, "c/x", NULL, "2"), KEEP_CONFLICT);
	want_text(engine, "c/x", "");
	assert_int_equal(try_cas(engine, "c/x", "", "3"), KEEP_OK);
	assert_int_equal(try_cas(engine, "c/x", "3", NULL), KEEP_OK);
	want_text(engine, "c/x", NULL);
	want_count(engine, "c", 0);
}

static void compare_and_set_moves_to_the_top_only_when_it_stores(void **state)
{
	keep_engine *engine = engine_of(state);

	set_text(engine, "c/a", "a");
	set_text(engine, "c/b", "b");
	set_text(engine, "c/c", "c");
	assert_int_equal(try_cas(engine, "c/a", "x", "y"), KEEP_CONFLICT);
	want_children(engine, "c", "c b a");
	assert_int_equal(try_cas(engine, "c/a", "a", "a"), KEEP_OK);
	want_children(engine, "c", "a c b");
}

static void compare_and_set_to_nothing_unsets_the_descendants_too(void **state)
{
	keep_engine *engine = engine_of(state);

	set_text(engine, "c/a", "a");
	set_text(engine, "c/a/b", "b");
	set_text(engine, "c/v/w", "w");
	assert_int_equal(try_cas(engine, "c/a", NULL, NULL), KEEP_CONFLICT);
	want_text(engine, "c/a/b", "b");
	assert_int_equal(try_cas(engine, "c/a", "a", NULL), KEEP_OK);
	want_text(engine, "c/a/b", NULL);
	assert_int_equal(try_cas(engine, "c/v", NULL, NULL), KEEP_OK);
	want_text(engine, "c/v/w", NULL);
	want_children(engine, "c", "");
}

static void compare_and_set_compares_bytes(void **state)
{
	keep_engine *engine = engine_of(state);
	keep_bytes path = KEEP_BYTES("c"), zero = {"a\0b", 3};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_engine_set(engine, path, zero, &err));
	assert_int_equal(
		keep_engine_compare_and_set(engine, path, (keep_bytes){"a\0c", 3}, zero, &err),
		KEEP_CONFLICT);
	assert_int_equal(
		keep_engine_compare_and_set(engine, path, (keep_bytes){"a", 1}, zero, &err),
		KEEP_CONFLICT);
	OK(keep_engine_compare_and_set(engine, path, zero, KEEP_BYTES("\xff\xfe"), &err));
	OK(keep_engine_compare_and_set(engine, path, KEEP_BYTES("\xff\xfe"), KEEP_BYTES("A"),
				       &err));
	assert_int_equal(try_cas(engine, "c", "a", "x"), KEEP_CONFLICT);
	assert_int_equal(try_cas(engine, "", NULL, "x"), KEEP_INVALID);
	assert_int_equal(try_cas(engine, "", NULL, NULL), KEEP_INVALID);
}

/* ---------------------------------------------------------------- apply_each */

static void apply_each_tells_what_became_of_each_change(void **state)
{
	keep_engine_change changes[] = {
		set_change("e/a", "a"),       set_change("../x", "x"),
		set_change("e/b", "b"),       cas_change("e/a", "wrong", "x"),
		cas_change("e/a", "a", "a"),  unset_change("e/none"),
		set_change("", "x"),          scored_change("e/old", "old", 5),
		scored_change("e/x", "", -5), cas_change("e/c", NULL, "c"),
		set_change("//e//d", "d"),    unset_change("e/b"),
		set_change("e/b", "b"),
	};
	static const keep_status wanted[] = {
		KEEP_OK, KEEP_INVALID, KEEP_OK, KEEP_CONFLICT, KEEP_OK, KEEP_OK, KEEP_INVALID,
		KEEP_OK, KEEP_INVALID, KEEP_OK, KEEP_OK,       KEEP_OK, KEEP_OK,
	};
	keep_engine *engine = engine_of(state);
	keep_error err = KEEP_ERROR_INIT, errors[KP_COUNT(changes)];
	keep_status statuses[KP_COUNT(changes)];

	memset(statuses, 0xff, sizeof statuses);
	memset(errors, 0xff, sizeof errors);
	OK(keep_engine_apply_each(engine, changes, KP_COUNT(changes), statuses, errors, &err));
	for (size_t i = 0; i < KP_COUNT(changes); i++) {
		CHECK(statuses[i] == wanted[i], "changes[%zu] is %s", i,
		      keep_status_name(statuses[i]));
		assert_int_equal(errors[i].status, statuses[i]);
		assert_int_equal(errors[i].message[0] != '\0', statuses[i] != KEEP_OK);
	}
	want_children(engine, "e", "b d c a old");
	OK(keep_engine_apply_each(engine, changes, 2, statuses, NULL, &err));
	OK(keep_engine_apply_each(engine, NULL, 0, NULL, NULL, &err));
}

static void apply_each_takes_many_changes_in_order(void **state)
{
	enum { COUNT = 1500 };
	keep_engine *engine = engine_of(state);
	keep_engine_change *changes = calloc(COUNT, sizeof *changes);
	keep_status *statuses = calloc(COUNT, sizeof *statuses);
	char(*paths)[32] = calloc(COUNT, sizeof *paths);
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	keep_error err = KEEP_ERROR_INIT;

	assert_true(changes && statuses && paths);
	for (size_t i = 0; i < COUNT; i++) {
		snprintf(paths[i], sizeof paths[i], "many%s%zu", i % 3 ? "/" : "//", i);
		changes[i] = set_change(paths[i], paths[i]);
	}
	OK(keep_engine_apply_each(engine, changes, COUNT, statuses, NULL, &err));
	OK(keep_engine_list_values(engine, KEEP_BYTES("many"), 0, COUNT, &list, &err));
	assert_int_equal(list.count, COUNT);
	for (size_t i = 0; i < COUNT; i++) {
		assert_int_equal(statuses[i], KEEP_OK);
		assert_bytes_equal(list.items[COUNT - 1 - i].value, keep_bytes_of(paths[i]));
	}
	keep_engine_list_release(&list);
	free(changes);
	free(statuses);
	free(paths);
}

/* ---------------------------------------------------------------- scan */

#define SCANNED 5000

typedef struct scan_check {
	keep_engine *engine; /* read from the callback when not NULL */
	unsigned char seen[SCANNED];
	size_t count, stop_after, strangers;
} scan_check;

/* Documents are "scan/<i % 71>/<i>" with the value "<i>". */
static bool check_scanned(void *ctx, keep_bytes path, keep_bytes value)
{
	scan_check *self = ctx;
	char wanted[64], number[24];
	int i;

	snprintf(number, sizeof number, "%.*s", (int)value.len, value.data);
	i = atoi(number);
	snprintf(wanted, sizeof wanted, "scan/%d/%d", i % 71, i);
	if (i < 0 || i >= SCANNED || !kp_bytes_equal(path, keep_bytes_of(wanted)))
		self->strangers++;
	else
		self->seen[i]++;
	if (self->engine && i % 100 == 0)
		want_bytes(self->engine, path, value);
	self->count++;
	return self->count != self->stop_after;
}

static void fill_for_scan(keep_engine *engine)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_engine_change changes[500];
	char paths[500][32], values[500][16];

	for (int start = 0; start < SCANNED; start += 500) {
		for (int i = 0; i < 500; i++) {
			snprintf(paths[i], sizeof paths[i], "scan/%d/%d", (start + i) % 71,
				 start + i);
			snprintf(values[i], sizeof values[i], "%d", start + i);
			changes[i] = set_change(paths[i], values[i]);
		}
		OK(keep_engine_batch(engine, changes, 500, &err));
	}
}

static void scan_sees_each_of_5000_documents_once(void **state)
{
	keep_engine *engine = engine_of(state);
	scan_check *check = calloc(1, sizeof *check);
	keep_error err = KEEP_ERROR_INIT;

	assert_non_null(check);
	fill_for_scan(engine);
	set_text(engine, "scan", "the base is not below itself");
	set_text(engine, "scan2/x", "a neighbour");
	set_text(engine, "sca", "a neighbour");
	check->engine = engine;
	OK(keep_engine_scan(engine, KEEP_BYTES("/scan/"), check_scanned, check, &err));
	assert_int_equal(check->count, SCANNED);
	assert_int_equal(check->strangers, 0);
	for (int i = 0; i < SCANNED; i++)
		assert_int_equal(check->seen[i], 1);
	memset(check, 0, sizeof *check);
	check->stop_after = 777;
	OK(keep_engine_scan(engine, KEEP_BYTES("scan"), check_scanned, check, &err));
	assert_int_equal(check->count, 777);
	memset(check, 0, sizeof *check);
	OK(keep_engine_scan(engine, KEEP_BYTES("scan/70"), check_scanned, check, &err));
	assert_int_equal(check->count, 70);
	assert_int_equal(check->strangers, 0);
	free(check);
}

static bool collect_path(void *ctx, keep_bytes path, keep_bytes value)
{
	char(*found)[12][64] = ctx;
	size_t i = 0;

	while (i < 11 && (*found)[i][0])
		i++;
	snprintf((*found)[i], sizeof(*found)[i], "%.*s=%.*s", (int)path.len, path.data,
		 (int)value.len, value.data);
	return true;
}

static int compare_texts(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void want_scanned(keep_engine *engine, const char *path, const char *wanted)
{
	char found[12][64] = {{0}}, all[900] = "";
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_engine_scan(engine, keep_bytes_of(path), collect_path, &found, &err));
	qsort(found, 12, sizeof found[0], compare_texts);
	for (size_t i = 0; i < 12; i++) {
		if (found[i][0]) {
			strcat(all, all[0] ? " " : "");
			strcat(all, found[i]);
		}
	}
	assert_string_equal(all, wanted);
}

static void scan_walks_the_subtree_of_its_path(void **state)
{
	keep_engine *engine = engine_of(state);

	want_scanned(engine, "", "");
	want_scanned(engine, "a", "");
	set_text(engine, "a", "1");
	set_text(engine, "a/b/c/d", "2");
	set_text(engine, "a/b", "3");
	set_text(engine, "a%", "4");
	set_text(engine, "a%/x", "5");
	set_text(engine, "a_/x", "");
	set_text(engine, "ab/*", "7");
	want_scanned(engine, "a", "a/b/c/d=2 a/b=3");
	want_scanned(engine, "a/b", "a/b/c/d=2");
	want_scanned(engine, "a/b/c/d", "");
	want_scanned(engine, "a%", "a%/x=5");
	want_scanned(engine, "a_", "a_/x=");
	want_scanned(engine, "", "a%/x=5 a%=4 a/b/c/d=2 a/b=3 a=1 a_/x= ab/*=7");
}

typedef struct disturber {
	keep_engine *engine;
	atomic_bool stop;
} disturber;

/* Changes documents that the scan does not promise anything about. */
static void *disturb(void *ctx)
{
	disturber *self = ctx;
	char path[64];

	for (int i = 0; !atomic_load(&self->stop); i++) {
		snprintf(path, sizeof path, "scan/%d/other%d", i % 71, i % 300);
		if (i % 5 == 0)
			(void)!keep_engine_unset(self->engine, keep_bytes_of(path), NULL);
		else
			(void)!keep_engine_set(self->engine, keep_bytes_of(path), KEEP_BYTES("-1"),
					       NULL);
		if (i % 50 == 0) {
			/* One that exists throughout moves in the order, and stays one. */
			snprintf(path, sizeof path, "scan/%d/%d", i % SCANNED % 71, i % SCANNED);
			(void)!keep_engine_set(self->engine, keep_bytes_of(path),
					       keep_bytes_of(strrchr(path, '/') + 1), NULL);
		}
	}
	return NULL;
}

static void scan_sees_what_exists_throughout_once_while_others_change(void **state)
{
	suite_case *self = *state;
	disturber other = {.engine = NULL};
	scan_check *check = calloc(1, sizeof *check);
	keep_error err = KEEP_ERROR_INIT;
	pthread_t thread;

	assert_non_null(check);
	keep_engine_close(&self->engine);
	self->engine =
		open_engine(self->url, (keep_engine_options){.create = true, .relaxed = true});
	other.engine = self->engine;
	fill_for_scan(self->engine);
	assert_int_equal(pthread_create(&thread, NULL, disturb, &other), 0);
	for (int round = 0; round < 3; round++) {
		memset(check, 0, sizeof *check);
		OK(keep_engine_scan(self->engine, KEEP_BYTES("scan"), check_scanned, check, &err));
		for (int i = 0; i < SCANNED; i++)
			CHECK(check->seen[i] == 1, "document %d was seen %d times", i,
			      check->seen[i]);
	}
	atomic_store(&other.stop, true);
	pthread_join(thread, NULL);
	free(check);
}

static const struct CMUnitTest tests[] = {
	SUITE_TEST(a_score_is_a_place_in_the_order),
	SUITE_TEST(equal_scores_are_in_order_of_their_sets),
	SUITE_TEST(a_hundred_equal_scores_keep_their_order),
	SUITE_TEST(a_plain_set_is_newest_even_after_a_score_of_the_future),
	SUITE_TEST(the_largest_score_can_be_used_and_one_more_cannot),
	SUITE_TEST(a_batch_applies_its_changes_in_order),
	SUITE_TEST(a_change_of_a_batch_sees_those_before_it),
	SUITE_TEST(a_batch_that_fails_in_its_middle_changes_nothing),
	SUITE_TEST(a_batch_with_a_wrong_change_names_it_and_changes_nothing),
	SUITE_TEST(a_batch_has_at_most_10000_changes),
	SUITE_TEST(a_reader_sees_a_batch_whole_or_not_at_all),
	SUITE_TEST(compare_and_set_stores_only_over_what_was_expected),
	SUITE_TEST(compare_and_set_moves_to_the_top_only_when_it_stores),
	SUITE_TEST(compare_and_set_to_nothing_unsets_the_descendants_too),
	SUITE_TEST(compare_and_set_compares_bytes),
	SUITE_TEST(apply_each_tells_what_became_of_each_change),
	SUITE_TEST(apply_each_takes_many_changes_in_order),
	SUITE_TEST(scan_sees_each_of_5000_documents_once),
	SUITE_TEST(scan_walks_the_subtree_of_its_path),
	SUITE_TEST(scan_sees_what_exists_throughout_once_while_others_change),
};

const suite_group suite_changes = {tests, KP_COUNT(tests)};

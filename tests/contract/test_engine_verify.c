/*
 * test_engine_verify.c - keep_engine_verify finds every mistake that reference/engine.md measured.
 *
 * Each case is a good backend with one thing wrong: the mistakes are those that real engines made.
 */
#include "keep/engine.h"
#include "keep_test.h"

enum mistake {
	NO_MISTAKE,
	GET_SAYS_EMPTY_FOR_MISSING,
	GET_SAYS_MISSING_FOR_EMPTY,
	GET_STOPS_AT_ZERO_BYTE,
	GET_NORMALISES_LINES,
	SET_KEEPS_ITS_PLACE,
	UNSET_LEAVES_DESCENDANTS,
	UNSET_NEEDS_A_VALUE,
	UNSET_MISSES_NOTHING,
	UNSET_TAKES_PREFIXES,
	UNSET_TAKES_A_PATTERN,
	PATHS_IGNORE_CASE,
	LIST_IS_OLDEST_FIRST,
	LIST_OF_NOTHING_FAILS,
	LIST_IGNORES_OFFSET,
	LIST_GIVES_TOO_MUCH,
	LIST_SORTS_A_BURST,
	COUNT_TAKES_DESCENDANTS,
	COUNT_IS_NEGATIVE,
	CLEAR_DOES_NOTHING,
	CLEAR_LEAVES_DEEP_ONES,
	LARGE_VALUES_ARE_CUT,
	LONG_PATHS_ARE_REFUSED,
	ANSWERS_NO_STATUS,
	MISTAKES
};

typedef struct crooked {
	keep_engine *engine;
	enum mistake mistake;
	char room[5000];
} crooked;

/* The path as the crooked backend sees it. */
static keep_bytes seen(crooked *self, keep_bytes path)
{
	if (self->mistake != PATHS_IGNORE_CASE)
		return path;
	for (size_t i = 0; i < path.len; i++)
		self->room[i] =
			(char)(path.data[i] >= 'A' && path.data[i] <= 'Z' ? path.data[i] + 'a' - 'A'
									  : path.data[i]);
	return (keep_bytes){self->room, path.len};
}

static keep_status crooked_get(void *ctx, keep_bytes path, keep_buffer *value, keep_error *err)
{
	crooked *self = ctx;
	keep_status status = keep_engine_get(self->engine, seen(self, path), value, err);

	if (self->mistake == GET_SAYS_EMPTY_FOR_MISSING && status == KEEP_NOT_FOUND)
		return keep_buffer_set(value, KEEP_BYTES(""), err);
	if (self->mistake == GET_SAYS_MISSING_FOR_EMPTY && status == KEEP_OK && value->len == 0)
		return kp_fail(err, KEEP_NOT_FOUND, "empty");
	if (self->mistake == GET_STOPS_AT_ZERO_BYTE && status == KEEP_OK)
		value->len = strlen(value->data);
	if (self->mistake == GET_NORMALISES_LINES && status == KEEP_OK && value->len > 1 &&
	    value->data[value->len - 2] == '\r')
		value->data[--value->len - 1] = '\n';
	return status;
}

static keep_status crooked_set(void *ctx, keep_bytes path, keep_bytes value, keep_error *err)
{
	crooked *self = ctx;

	if (self->mistake == LARGE_VALUES_ARE_CUT && value.len > 65536)
		value.len = 65536;
	if (self->mistake == LONG_PATHS_ARE_REFUSED && path.len > 1024)
		return kp_fail(err, KEEP_INVALID, "the name is too long");
	if (self->mistake == ANSWERS_NO_STATUS)
		return (keep_status)99;
	if (self->mistake == SET_KEEPS_ITS_PLACE && memchr(path.data, '/', path.len)) {
		keep_buffer old = KEEP_BUFFER_INIT;
		bool known = keep_engine_get(self->engine, path, &old, NULL) == KEEP_OK;

		keep_buffer_release(&old);
		if (known)
			return KEEP_OK;
	}
	/* Equal times, ties by name: a burst comes back sorted. */
	if (self->mistake == LIST_SORTS_A_BURST && path.len > 6 &&
	    memcmp(path.data, "burst/", 6) == 0)
		return keep_engine_set_scored(self->engine, path, value, 1000 - atoi(path.data + 6),
					      err);
	return keep_engine_set(self->engine, seen(self, path), value, err);
}

/* Unset, after which one child is there again. */
static keep_status unset_but_one(keep_engine *engine, keep_bytes path, keep_error *err)
{
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	keep_status status = keep_engine_list_names(engine, path, 0, 1, &list, err);
	char child[600];

	if (status == KEEP_OK)
		status = keep_engine_unset(engine, path, err);
	if (status == KEEP_OK && list.count) {
		snprintf(child, sizeof child, "%.*s/%.*s", (int)path.len, path.data,
			 (int)list.items[0].name.len, list.items[0].name.data);
		status = keep_engine_set(engine, keep_bytes_of(child), list.items[0].value, err);
	}
	keep_engine_list_release(&list);
	return status;
}

static keep_status crooked_unset(void *ctx, keep_bytes path, keep_error *err)
{
	crooked *self = ctx;
	keep_buffer old = KEEP_BUFFER_INIT;
	bool known = keep_engine_get(self->engine, path, &old, NULL) == KEEP_OK;
	char other[300];
	keep_status status;

	keep_buffer_release(&old);
	if (self->mistake == UNSET_LEAVES_DESCENDANTS)
		return unset_but_one(self->engine, path, err);
	if (self->mistake == UNSET_NEEDS_A_VALUE && !known)
		return KEEP_OK;
	if (self->mistake == UNSET_MISSES_NOTHING && !known)
		return kp_fail(err, KEEP_NOT_FOUND, "nothing to unset");
	status = keep_engine_unset(self->engine, seen(self, path), err);
	if (self->mistake == UNSET_TAKES_PREFIXES && status == KEEP_OK) {
		snprintf(other, sizeof other, "%.*s0", (int)path.len, path.data);
		status = keep_engine_unset(self->engine, keep_bytes_of(other), err);
	}
	if (self->mistake == UNSET_TAKES_A_PATTERN && status == KEEP_OK &&
	    memchr(path.data, '_', path.len)) {
		snprintf(other, sizeof other, "%.*s", (int)path.len, path.data);
		*strchr(other, '_') = 'b';
		status = keep_engine_unset(self->engine, keep_bytes_of(other), err);
	}
	return status;
}

static keep_status crooked_list(void *ctx, keep_bytes path, int64_t offset, int64_t limit,
				keep_engine_sink *sink, keep_error *err)
{
	crooked *self = ctx;
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	keep_status status;
	int64_t count = 0;

	if (self->mistake == LIST_IGNORES_OFFSET)
		offset = 0;
	if (self->mistake == LIST_GIVES_TOO_MUCH && limit < 50)
		limit++;
	status = keep_engine_list_values(self->engine, path, offset, limit, &list, err);
	if (status == KEEP_OK)
		status = keep_engine_count(self->engine, path, &count, err);
	if (self->mistake == LIST_OF_NOTHING_FAILS && status == KEEP_OK && count == 0)
		status = kp_fail(err, KEEP_NOT_FOUND, "no such folder");
	for (size_t i = 0; status == KEEP_OK && i < list.count; i++) {
		size_t at = self->mistake == LIST_IS_OLDEST_FIRST ? list.count - 1 - i : i;

		status = keep_engine_sink_add(sink, list.items[at].value, err);
	}
	keep_engine_list_release(&list);
	return status;
}

static bool count_one(void *ctx, keep_bytes path, keep_bytes value)
{
	(void)path, (void)value;
	++*(int64_t *)ctx;
	return true;
}

static keep_status crooked_count(void *ctx, keep_bytes path, int64_t *count, keep_error *err)
{
	crooked *self = ctx;

	if (self->mistake == COUNT_TAKES_DESCENDANTS)
		return keep_engine_scan(self->engine, path, count_one, count, err);
	if (self->mistake == COUNT_IS_NEGATIVE) {
		*count = -1;
		return KEEP_OK;
	}
	return keep_engine_count(self->engine, path, count, err);
}

static keep_status crooked_clear(void *ctx, keep_error *err)
{
	crooked *self = ctx;

	if (self->mistake == CLEAR_DOES_NOTHING)
		return KEEP_OK;
	if (self->mistake == CLEAR_LEAVES_DEEP_ONES) {
		keep_engine_list list = KEEP_ENGINE_LIST_INIT;
		keep_status status =
			keep_engine_list_names(self->engine, KEEP_BYTES(""), 0, 1000, &list, err);

		for (size_t i = 0; status == KEEP_OK && i < list.count; i++)
			status = keep_engine_unset(self->engine, list.items[i].name, err);
		keep_engine_list_release(&list);
		return status;
	}
	return keep_engine_clear(self->engine, err);
}

static const keep_engine_backend crooked_backend = {
	.size = sizeof(keep_engine_backend),
	.name = "crooked",
	.get = crooked_get,
	.set = crooked_set,
	.unset = crooked_unset,
	.list = crooked_list,
	.count = crooked_count,
	.clear = crooked_clear,
};

static keep_status verify(enum mistake mistake, keep_error *err)
{
	crooked backend = {.mistake = mistake};
	keep_status status;

	assert_int_equal(keep_engine_open("memory:", NULL, &backend.engine, err), KEEP_OK);
	status = keep_engine_verify(&crooked_backend, &backend, err);
	keep_engine_close(&backend.engine);
	return status;
}

static void a_good_backend_passes(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(verify(NO_MISTAKE, &err));
}

static void every_mistake_is_found_and_named(void **state)
{
	(void)state;
	for (int i = NO_MISTAKE + 1; i < MISTAKES; i++) {
		keep_error err = KEEP_ERROR_INIT;
		keep_status status = verify((enum mistake)i, &err);

		CHECK(status == KEEP_CONFLICT, "mistake %d gives %s", i, keep_status_name(status));
		assert_int_equal(err.status, KEEP_CONFLICT);
		CHECK(strchr(err.message, ':') && strchr(err.message, '('), "%s", err.message);
	}
}

static void the_message_names_the_case_the_call_and_what_came_back(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	assert_int_equal(verify(LIST_IS_OLDEST_FIRST, &err), KEEP_CONFLICT);
	assert_string_equal(err.message, "unset leaves paths that only begin alike: list('s') gave "
					 "'1 2 3 4 5 6 7'");
	assert_int_equal(verify(GET_SAYS_EMPTY_FOR_MISSING, &err), KEEP_CONFLICT);
	assert_string_equal(err.message, "a store that was cleared is empty: get('a') gave ''");
	assert_int_equal(verify(ANSWERS_NO_STATUS, &err), KEEP_CONFLICT);
	assert_string_equal(err.message,
			    "what was set comes back: set('a') answered MISUSE: the backend "
			    "crooked answered 99 to set, no status");
}

static void a_table_that_lacks_a_function_is_misuse(void **state)
{
	keep_engine_backend lacking = crooked_backend;
	keep_error err = KEEP_ERROR_INIT;
	keep_engine *engine = NULL;

	(void)state;
	lacking.count = NULL;
	assert_int_equal(keep_engine_verify(&lacking, NULL, &err), KEEP_MISUSE);
	lacking = crooked_backend;
	lacking.size = 8;
	assert_int_equal(keep_engine_open_backend(&lacking, NULL, NULL, &engine, &err),
			 KEEP_MISUSE);
	lacking = crooked_backend;
	lacking.name = NULL;
	assert_int_equal(keep_engine_open_backend(&lacking, NULL, NULL, &engine, &err),
			 KEEP_MISUSE);
	assert_int_equal(keep_engine_verify(NULL, NULL, &err), KEEP_MISUSE);
	assert_null(engine);
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_backend_passes),
		cmocka_unit_test(every_mistake_is_found_and_named),
		cmocka_unit_test(the_message_names_the_case_the_call_and_what_came_back),
		cmocka_unit_test(a_table_that_lacks_a_function_is_misuse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* engine_suite_opening.c - opening, options, several engines, watches, backends of a user's own. */
#include "engine_suite.h"

#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Long enough for a busy machine; no test waits that long when all is well. */
#define PATIENCE_MS (10000 * test_patience())

/* ---------------------------------------------------------------- opening */

static void a_second_engine_on_the_same_namespace_is_a_conflict(void **state)
{
	suite_case *self = *state;
	char message[320];
	keep_engine *second;

	assert_int_equal(try_open(self->url, (keep_engine_options){.create = true}, message),
			 KEEP_CONFLICT);
	assert_non_null(strstr(message, "is open in this process already"));
	set_text(self->engine, "a", "a");
	second = open_engine(self->url, (keep_engine_options){.shared = true});
	want_text(second, "a", "a");
	set_text(second, "b", "b");
	want_children(self->engine, "", "b a");
	keep_engine_close(&second);
	assert_int_equal(try_open(self->url, (keep_engine_options){.create = true}, message),
			 KEEP_CONFLICT);
	reopen(self);
}

static void two_spellings_of_one_folder_are_one_namespace(void **state)
{
	suite_case *self = *state;
	char url[ENGINE_URL_MAX];
	const char *slash = strrchr(self->url, '/');

	snprintf(url, sizeof url, "%.*s/.//%s", (int)(slash - self->url), self->url, slash + 1);
	assert_int_equal(try_open(url, (keep_engine_options){.create = true}, NULL), KEEP_CONFLICT);
	keep_engine_close(&self->engine);
	self->engine = open_engine(url, (keep_engine_options){.create = true});
	assert_int_equal(try_open(self->url, (keep_engine_options){.create = true}, NULL),
			 KEEP_CONFLICT);
}

static void what_does_not_exist_is_not_found_without_create(void **state)
{
	suite_case *self = *state;
	char url[ENGINE_URL_MAX];

	engine_missing_url(&self->kind, url);
	assert_int_equal(try_open(url, (keep_engine_options){.create = false}, NULL),
			 KEEP_NOT_FOUND);
	assert_int_equal(
		try_open(url, (keep_engine_options){.create = true, .read_only = true}, NULL),
		KEEP_NOT_FOUND);
	assert_int_equal(try_open(url, (keep_engine_options){.create = false}, NULL),
			 KEEP_NOT_FOUND);
}

static void a_read_only_engine_reads_and_denies_every_change(void **state)
{
	suite_case *self = *state;
	keep_engine_change change = {
		.kind = KEEP_ENGINE_SET, .path = KEEP_BYTES("b"), .value = KEEP_BYTES("b")};
	keep_status status = KEEP_OK;
	keep_error err = KEEP_ERROR_INIT;
	keep_bytes path = KEEP_BYTES("a"), value = KEEP_BYTES("x");
	keep_engine *engine;

	set_text(self->engine, "a", "a");
	set_text(self->engine, "a/b", "b");
	engine = open_engine(self->url, (keep_engine_options){.shared = true, .read_only = true});
	want_text(engine, "a", "a");
	want_children(engine, "", "a");
	want_children(engine, "a", "b");
	assert_int_equal(keep_engine_set(engine, path, value, &err), KEEP_DENIED);
	assert_int_equal(keep_engine_set_scored(engine, path, value, 1, &err), KEEP_DENIED);
	assert_int_equal(keep_engine_unset(engine, path, &err), KEEP_DENIED);
	assert_int_equal(keep_engine_unset(engine, KEEP_BYTES(""), &err), KEEP_DENIED);
	assert_int_equal(keep_engine_clear(engine, &err), KEEP_DENIED);
	assert_int_equal(keep_engine_batch(engine, &change, 1, &err), KEEP_DENIED);
	assert_int_equal(keep_engine_compare_and_set(engine, path, KEEP_BYTES("a"), value, &err),
			 KEEP_DENIED);
	OK(keep_engine_apply_each(engine, &change, 1, &status, NULL, &err));
	assert_int_equal(status, KEEP_DENIED);
	want_children(engine, "", "a");
	keep_engine_close(&engine);
	want_children(self->engine, "", "a");
	want_children(self->engine, "a", "b");
}

static void what_is_no_url_is_invalid_and_not_repeated(void **state)
{
	static const char *const urls[] = {"",
					   "memory",
					   "nothing:x",
					   "/tmp/x",
					   "MEMORY:",
					   " memory:",
					   "mysql://u:hunter2@h/x",
					   "hunter2"};
	char message[320];

	(void)state;
	for (size_t i = 0; i < KP_COUNT(urls); i++) {
		assert_int_equal(try_open(urls[i], (keep_engine_options){.create = true}, message),
				 KEEP_INVALID);
		assert_null(strstr(message, "hunter2"));
	}
}

static void options_that_are_none_are_refused(void **state)
{
	suite_case *self = *state;
	keep_engine_options options = KEEP_ENGINE_OPTIONS_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_engine *engine = NULL;

	options.size = 0;
	assert_int_equal(keep_engine_open(self->url, &options, &engine, &err), KEEP_MISUSE);
	options.size = sizeof options + 8;
	assert_int_equal(keep_engine_open(self->url, &options, &engine, &err), KEEP_MISUSE);
	assert_int_equal(try_open(self->url, (keep_engine_options){.timeout_ms = -1}, NULL),
			 KEEP_INVALID);
	assert_int_equal(
		try_open(self->url, (keep_engine_options){.value_bytes_max = UINT64_MAX}, NULL),
		KEEP_INVALID);
	/* An older program's struct ends before the later members. */
	keep_engine_close(&self->engine);
	options = (keep_engine_options){.size = offsetof(keep_engine_options, value_bytes_max),
					.create = true,
					.value_bytes_max = 1};
	OK(keep_engine_open(self->url, &options, &self->engine, &err));
	set_text(self->engine, "a", "more than one byte");
}

static void null_arguments_are_misuse(void **state)
{
	keep_engine *engine = engine_of(state);
	keep_bytes path = KEEP_BYTES("a"), absent = {NULL, 0};
	keep_buffer value = KEEP_BUFFER_INIT;
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	keep_status each = KEEP_OK;
	int64_t count;
	bool changed;

	assert_int_equal(keep_engine_open(NULL, NULL, &engine, NULL), KEEP_MISUSE);
	assert_int_equal(keep_engine_open("memory:", NULL, NULL, NULL), KEEP_MISUSE);
	assert_int_equal(keep_engine_get(NULL, path, &value, NULL), KEEP_MISUSE);
	assert_int_equal(keep_engine_get(engine, path, NULL, NULL), KEEP_MISUSE);
	assert_int_equal(keep_engine_set(NULL, path, path, NULL), KEEP_MISUSE);
	assert_int_equal(keep_engine_set(engine, path, absent, NULL), KEEP_MISUSE);
	assert_int_equal(keep_engine_unset(NULL, path, NULL), KEEP_MISUSE);
	assert_int_equal(keep_engine_list_values(engine, path, 0, 1, NULL, NULL), KEEP_MISUSE);
	assert_int_equal(keep_engine_list_values(NULL, path, 0, 1, &list, NULL), KEEP_MISUSE);
	assert_int_equal(keep_engine_list_names(engine, path, 0, 1, NULL, NULL), KEEP_MISUSE);
	assert_int_equal(keep_engine_count(engine, path, NULL, NULL), KEEP_MISUSE);
	assert_int_equal(keep_engine_count(NULL, path, &count, NULL), KEEP_MISUSE);
	assert_int_equal(keep_engine_clear(NULL, NULL), KEEP_MISUSE);
	assert_int_equal(keep_engine_set_scored(NULL, path, path, 1, NULL), KEEP_MISUSE);
	assert_int_equal(keep_engine_compare_and_set(NULL, path, path, path, NULL), KEEP_MISUSE);
	assert_int_equal(keep_engine_batch(engine, NULL, 1, NULL), KEEP_MISUSE);
	assert_int_equal(keep_engine_apply_each(engine, NULL, 1, &each, NULL, NULL), KEEP_MISUSE);
	assert_int_equal(keep_engine_scan(engine, path, NULL, NULL, NULL), KEEP_MISUSE);
	assert_int_equal(keep_engine_watch_open(engine, path, NULL, NULL), KEEP_MISUSE);
	assert_int_equal(keep_engine_watch_wait(NULL, 0, &changed, NULL), KEEP_MISUSE);
	keep_engine_watch_cancel(NULL);
	keep_engine_watch_close(NULL);
	keep_engine_close(NULL);
	keep_engine_list_release(NULL);
	keep_engine_list_release(&list);
}

static void an_engine_tells_what_it_is(void **state)
{
	suite_case *self = *state;
	keep_engine_info info;
	size_t len;

	keep_engine_describe(self->engine, &info);
	assert_true(info.can_extend);
	assert_true(info.durability && info.durability[0]);
	/* A kind that is a URL begins with the backend's name too, or with its other spelling. */
	len = strcspn(self->kind.name, ":+");
	assert_int_equal(strncmp(info.backend, self->kind.name,
				 len < strlen(info.backend) ? len : strlen(info.backend)),
			 0);
	if (self->kind.is_file) {
		assert_string_equal(info.durability, "synced");
		keep_engine_close(&self->engine);
		self->engine = open_engine(self->url, (keep_engine_options){.relaxed = true});
		keep_engine_describe(self->engine, &info);
		assert_string_equal(info.durability, "relaxed");
	}
}

static void several_engines_live_side_by_side(void **state)
{
	suite_case *self = *state;
	char urls[5][ENGINE_URL_MAX], value[8];
	keep_engine *engines[6];

	for (size_t i = 0; i < 5; i++) {
		engine_fresh_url(&self->kind, urls[i]);
		engines[i] = open_engine(urls[i], (keep_engine_options){.create = true});
	}
	engines[5] = open_engine("memory:", (keep_engine_options){.create = true});
	for (size_t i = 0; i < 6; i++) {
		snprintf(value, sizeof value, "%zu", i);
		set_text(engines[i], "same/path", value);
	}
	for (size_t i = 0; i < 6; i++) {
		snprintf(value, sizeof value, "%zu", i);
		want_page(engines[i], "same", 0, 10, value);
		want_count(engines[i], "same", 1);
		unset_path(engines[i], "");
		keep_engine_close(&engines[i]);
	}
}

/* ---------------------------------------------------------------- watches */

static keep_engine_watch *open_watch(keep_engine *engine, const char *path)
{
	keep_engine_watch *watch = NULL;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_engine_watch_open(engine, keep_bytes_of(path), &watch, &err));
	assert_non_null(watch);
	return watch;
}

static bool wait_watch(keep_engine_watch *watch, int64_t timeout_ms)
{
	keep_error err = KEEP_ERROR_INIT;
	bool changed = true;

	OK(keep_engine_watch_wait(watch, timeout_ms, &changed, &err));
	return changed;
}

/* Answers that are true without a change are allowed now and then, not for ever. */
static void want_calm(keep_engine_watch *watch)
{
	int spurious = 0;

	while (wait_watch(watch, 30)) {
		spurious++;
		CHECK(spurious < 10, "the watch never calms down");
	}
}

static void set_by_another_process(const suite_case *self, const char *path, const char *value)
{
	char *arguments[] = {strdup(suite_program), strdup("--set"), strdup(self->url),
			     strdup(path),          strdup(value),   NULL};
	int status = -1;
	pid_t child;

	assert_int_equal(posix_spawn(&child, suite_program, NULL, NULL, arguments, environ), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the other process failed: %x",
	      status);
	for (size_t i = 0; i < 5; i++)
		free(arguments[i]);
}

static void a_watch_answers_after_a_change_and_only_then(void **state)
{
	keep_engine *engine = engine_of(state);
	keep_engine_watch *watch = open_watch(engine, "w");

	want_calm(watch);
	set_text(engine, "w/x", "1");
	assert_true(wait_watch(watch, PATIENCE_MS));
	want_calm(watch);
	set_text(engine, "w/x/deep/er", "2");
	set_text(engine, "w/x/deep/er", "3");
	assert_true(wait_watch(watch, PATIENCE_MS));
	want_calm(watch);
	set_text(engine, "w", "itself");
	assert_true(wait_watch(watch, PATIENCE_MS));
	want_calm(watch);
	unset_path(engine, "w/x");
	assert_true(wait_watch(watch, PATIENCE_MS));
	want_calm(watch);
	unset_path(engine, "");
	assert_true(wait_watch(watch, PATIENCE_MS));
	want_calm(watch);
	keep_engine_watch_close(&watch);
	assert_null(watch);
}

static void a_change_between_open_and_the_first_wait_is_not_missed(void **state)
{
	keep_engine *engine = engine_of(state);
	keep_engine_watch *watch;

	for (int i = 0; i < 5; i++) {
		watch = open_watch(engine, "");
		set_text(engine, "w/x", "1");
		usleep(i * 3000);
		assert_true(wait_watch(watch, PATIENCE_MS));
		keep_engine_watch_close(&watch);
	}
}

static void a_change_elsewhere_is_not_this_watchs(void **state)
{
	keep_engine *engine = engine_of(state);
	keep_engine_watch *watch = open_watch(engine, "w/x");
	int answers = 0;

	want_calm(watch);
	for (int i = 0; i < 10; i++) {
		set_text(engine, "w/xx", "1");
		set_text(engine, "w", "1");
		set_text(engine, "other/w/x", "1");
		answers += wait_watch(watch, 20);
	}
	want_calm(watch);
	if (!suite_kind.persists)
		assert_int_equal(answers, 0);
	set_text(engine, "w/x", "1");
	assert_true(wait_watch(watch, PATIENCE_MS));
	keep_engine_watch_close(&watch);
}

static void several_watches_answer_each(void **state)
{
	keep_engine *engine = engine_of(state);
	static const char *const paths[] = {"", "w", "w/x", "w/x/y", "w/x"};
	keep_engine_watch *watches[KP_COUNT(paths)];

	for (size_t i = 0; i < KP_COUNT(paths); i++) {
		watches[i] = open_watch(engine, paths[i]);
		want_calm(watches[i]);
	}
	set_text(engine, "w/x/y", "1");
	for (size_t i = 0; i < KP_COUNT(paths); i++)
		assert_true(wait_watch(watches[i], PATIENCE_MS));
	keep_engine_watch_close(&watches[1]);
	unset_path(engine, "w");
	for (size_t i = 0; i < KP_COUNT(paths); i++) {
		if (watches[i])
			assert_true(wait_watch(watches[i], PATIENCE_MS));
		keep_engine_watch_close(&watches[i]);
	}
}

static void a_watch_sees_what_another_engine_changes(void **state)
{
	suite_case *self = *state;
	keep_engine *other = open_engine(self->url, (keep_engine_options){.shared = true});
	keep_engine_watch *watch = open_watch(self->engine, "w");

	want_calm(watch);
	set_text(other, "w/x", "1");
	assert_true(wait_watch(watch, PATIENCE_MS));
	want_text(self->engine, "w/x", "1");
	want_calm(watch);
	unset_path(other, "w/x");
	assert_true(wait_watch(watch, PATIENCE_MS));
	keep_engine_watch_close(&watch);
	keep_engine_close(&other);
}

static void a_watch_sees_what_another_process_changes(void **state)
{
	suite_case *self = *state;
	keep_engine_watch *watch;

	watch = open_watch(self->engine, "w");
	want_calm(watch);
	set_by_another_process(self, "w/x", "from afar");
	assert_true(wait_watch(watch, PATIENCE_MS));
	want_text(self->engine, "w/x", "from afar");
	want_children(self->engine, "", "");
	set_text(self->engine, "w/y", "y");
	want_page(self->engine, "w", 0, 5, "y from afar");
	keep_engine_watch_close(&watch);
}

static void a_timeout_of_zero_only_looks(void **state)
{
	keep_engine *engine = engine_of(state);
	keep_engine_watch *watch = open_watch(engine, "w");
	int64_t start = kp_monotonic_ns();

	for (int i = 0; i < 20; i++)
		(void)wait_watch(watch, 0);
	assert_true(kp_monotonic_ns() - start < INT64_C(2000000000));
	assert_false(wait_watch(watch, 0));
	set_text(engine, "w/x", "1");
	/* Through a server the news may take a moment; it does come to one who only looks. */
	for (int i = 0; !wait_watch(watch, 0); i++) {
		CHECK(i < 1000, "looking never finds the change");
		usleep(5000);
	}
	keep_engine_watch_close(&watch);
}

static void a_wait_lasts_as_long_as_asked(void **state)
{
	keep_engine_watch *watch = open_watch(engine_of(state), "w");
	int64_t start;

	want_calm(watch);
	start = kp_monotonic_ns();
	if (!wait_watch(watch, 200))
		assert_true(kp_monotonic_ns() - start >= INT64_C(190000000));
	assert_true(kp_monotonic_ns() - start < INT64_C(5000000000));
	keep_engine_watch_close(&watch);
}

typedef struct canceller {
	keep_engine_watch *watch;
	useconds_t delay;
} canceller;

static void *cancel_later(void *ctx)
{
	canceller *self = ctx;

	usleep(self->delay);
	keep_engine_watch_cancel(self->watch);
	return NULL;
}

static void cancel_ends_the_wait_under_way_or_the_next(void **state)
{
	keep_engine *engine = engine_of(state);
	canceller other = {.watch = open_watch(engine, "w"), .delay = 100000};
	int64_t start;
	pthread_t thread;

	want_calm(other.watch);
	start = kp_monotonic_ns();
	assert_int_equal(pthread_create(&thread, NULL, cancel_later, &other), 0);
	assert_false(wait_watch(other.watch, -1));
	pthread_join(thread, NULL);
	keep_engine_watch_cancel(other.watch);
	assert_false(wait_watch(other.watch, -1));
	assert_true(kp_monotonic_ns() - start < INT64_C(1000000) * PATIENCE_MS);
	set_text(engine, "w/x", "1");
	assert_true(wait_watch(other.watch, PATIENCE_MS));
	keep_engine_watch_close(&other.watch);
}

/* ---------------------------------------------------------------- a user's backend */

static keep_status user_get(void *ctx, keep_bytes path, keep_buffer *value, keep_error *err)
{
	return keep_engine_get(ctx, path, value, err);
}

static keep_status user_set(void *ctx, keep_bytes path, keep_bytes value, keep_error *err)
{
	return keep_engine_set(ctx, path, value, err);
}

static keep_status user_unset(void *ctx, keep_bytes path, keep_error *err)
{
	return keep_engine_unset(ctx, path, err);
}

static keep_status user_list(void *ctx, keep_bytes path, int64_t offset, int64_t limit,
			     keep_engine_sink *sink, keep_error *err)
{
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	keep_status status = keep_engine_list_values(ctx, path, offset, limit, &list, err);

	for (size_t i = 0; status == KEEP_OK && i < list.count; i++)
		status = keep_engine_sink_add(sink, list.items[i].value, err);
	keep_engine_list_release(&list);
	return status;
}

static keep_status user_count(void *ctx, keep_bytes path, int64_t *count, keep_error *err)
{
	return keep_engine_count(ctx, path, count, err);
}

static keep_status user_clear(void *ctx, keep_error *err)
{
	return keep_engine_clear(ctx, err);
}

static const keep_engine_backend user_backend = {
	.size = sizeof(keep_engine_backend),
	.name = "the suite's",
	.get = user_get,
	.set = user_set,
	.unset = user_unset,
	.list = user_list,
	.count = user_count,
	.clear = user_clear,
};

static void the_library_verifies_this_backend_itself(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	set_text(engine_of(state), "left", "over");
	OK(keep_engine_verify(&user_backend, engine_of(state), &err));
	want_children(engine_of(state), "", "");
}

static void six_functions_are_an_engine_that_cannot_extend(void **state)
{
	keep_engine_change change = {
		.kind = KEEP_ENGINE_SET, .path = KEEP_BYTES("b"), .value = KEEP_BYTES("b")};
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	keep_engine *engine = NULL;
	keep_engine_watch *watch = NULL;
	keep_status status = KEEP_MISUSE;
	keep_error err = KEEP_ERROR_INIT;
	keep_bytes path = KEEP_BYTES("a");
	keep_engine_info info;

	OK(keep_engine_open_backend(&user_backend, engine_of(state), NULL, &engine, &err));
	keep_engine_describe(engine, &info);
	assert_string_equal(info.backend, "the suite's");
	assert_false(info.can_extend);
	set_text(engine, "/a//x", "x");
	want_text(engine_of(state), "a/x", "x");
	want_page(engine, "a", 0, 10, "x");
	OK(keep_engine_apply_each(engine, &change, 1, &status, NULL, &err));
	assert_int_equal(status, KEEP_OK);
	change.kind = KEEP_ENGINE_COMPARE_AND_SET;
	OK(keep_engine_apply_each(engine, &change, 1, &status, NULL, &err));
	assert_int_equal(status, KEEP_MISUSE);
	assert_int_equal(keep_engine_set_scored(engine, path, path, 1, &err), KEEP_MISUSE);
	assert_string_equal(err.message,
			    "the backend the suite's has the six functions only and cannot do "
			    "set_scored");
	assert_int_equal(keep_engine_list_names(engine, path, 0, 1, &list, &err), KEEP_MISUSE);
	assert_int_equal(keep_engine_batch(engine, &change, 1, &err), KEEP_MISUSE);
	assert_int_equal(keep_engine_compare_and_set(engine, path, path, path, &err), KEEP_MISUSE);
	assert_int_equal(keep_engine_watch_open(engine, path, &watch, &err), KEEP_MISUSE);
	assert_int_equal(
		keep_engine_get(engine, KEEP_BYTES(".."), &(keep_buffer){.data = NULL}, &err),
		KEEP_INVALID);
	unset_path(engine, "");
	want_count(engine, "", 0);
	keep_engine_close(&engine);
}

static const struct CMUnitTest tests[] = {
	SUITE_TEST(a_second_engine_on_the_same_namespace_is_a_conflict),
	SUITE_TEST_WHERE(is_file, two_spellings_of_one_folder_are_one_namespace),
	SUITE_TEST_WHERE(is_created, what_does_not_exist_is_not_found_without_create),
	SUITE_TEST(a_read_only_engine_reads_and_denies_every_change),
	SUITE_TEST(what_is_no_url_is_invalid_and_not_repeated),
	SUITE_TEST(options_that_are_none_are_refused),
	SUITE_TEST(null_arguments_are_misuse),
	SUITE_TEST(an_engine_tells_what_it_is),
	SUITE_TEST(several_engines_live_side_by_side),
	SUITE_TEST(a_watch_answers_after_a_change_and_only_then),
	SUITE_TEST(a_change_between_open_and_the_first_wait_is_not_missed),
	SUITE_TEST(a_change_elsewhere_is_not_this_watchs),
	SUITE_TEST(several_watches_answer_each),
	SUITE_TEST(a_watch_sees_what_another_engine_changes),
	SUITE_TEST_WHERE(persists, a_watch_sees_what_another_process_changes),
	SUITE_TEST(a_timeout_of_zero_only_looks),
	SUITE_TEST(a_wait_lasts_as_long_as_asked),
	SUITE_TEST(cancel_ends_the_wait_under_way_or_the_next),
	SUITE_TEST(the_library_verifies_this_backend_itself),
	SUITE_TEST(six_functions_are_an_engine_that_cannot_extend),
};

const suite_group suite_opening = {tests, KP_COUNT(tests)};

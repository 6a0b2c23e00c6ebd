#ifndef KEEP_ENGINE_SUITE_H
#define KEEP_ENGINE_SUITE_H
/*
 * engine_suite.h - the engine's contract as tests that know nothing of the backend they run on.
 *
 *   engine_suite.c            opening a fresh store for each test, and how tests look at it
 *   engine_suite_documents.c  paths, values, order, list, count, unset, clear
 *   engine_suite_changes.c    scores, batches, compare_and_set, apply_each, scan
 *   engine_suite_opening.c    opening, options, several engines, watches, user's backends
 *   engine_suite_threads.c    many threads
 *
 * Each test gets its own namespace, opened with create, in `*state`.
 */
#include "engine_urls.h"
#include "keep_test.h"

typedef struct suite_case {
	engine_kind kind;
	char url[ENGINE_URL_MAX];
	keep_engine *engine;
	long live; /* blocks of the library before the test */
} suite_case;

typedef struct suite_group {
	const struct CMUnitTest *tests;
	size_t count;
} suite_group;

extern const suite_group suite_documents, suite_changes, suite_opening, suite_threads;

/* The kind under test, and this program's own name, for a test that starts itself again. */
extern engine_kind suite_kind;
extern const char *suite_program;

int suite_setup(void **state);
int suite_teardown(void **state);
#define SUITE_TEST(test) cmocka_unit_test_setup_teardown(test, suite_setup, suite_teardown)
/* A test that only kinds with this property have: persists, is_created or is_file. */
#define SUITE_TEST_WHERE(property, test)                                                           \
	cmocka_unit_test_prestate_setup_teardown(test, suite_setup, suite_teardown,                \
						 &suite_kind.property)

/* The running test's engine. */
keep_engine *engine_of(void **state);
/* Open with these options and `size` filled in. */
keep_engine *open_engine(const char *url, keep_engine_options options);
/* What opening fails with; KEEP_OK when it does not. `message` may be NULL. */
keep_status try_open(const char *url, keep_engine_options options, char message[320]);
void reopen(suite_case *self);

void set_text(keep_engine *engine, const char *path, const char *value);
void set_scored_text(keep_engine *engine, const char *path, const char *value, int64_t score);
void unset_path(keep_engine *engine, const char *path);
/* `value` NULL: there is no such document. */
void want_text(keep_engine *engine, const char *path, const char *value);
void want_bytes(keep_engine *engine, keep_bytes path, keep_bytes value);
void want_count(keep_engine *engine, const char *path, int64_t count);
/* The children of `path`, newest first, separated by blanks; each child's value is its name. */
void want_children(keep_engine *engine, const char *path, const char *children);
/* The values of one page, newest first, separated by blanks. */
void want_page(keep_engine *engine, const char *path, int64_t offset, int64_t limit,
	       const char *values);

#endif

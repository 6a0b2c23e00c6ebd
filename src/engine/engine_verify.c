/*
 * engine_verify.c - the contract as a program, for backends that somebody else writes.
 *
 * The cases are one table of steps, read from top to bottom like a test; a step with a title
 * begins a case, on a cleared store. What needs a loop stands below the table.
 *
 * Invariants:
 *   1. The first step that does not answer as the contract says ends the run with its case's
 *      title, the call and what came back.
 *   2. A failure that may pass by itself (BUSY, UNAVAILABLE, …) is returned as it is: it says
 *      nothing about the contract.
 *   3. The store is cleared before and after, also when a case fails.
 *
 * What it does not hold anyone to: durability and threads, which need a machine to crash.
 *
 * Tests: tests/contract/test_engine_verify.c, with one backend per mistake that must be found.
 */
#include "engine/backend.h"

#include <stdio.h>
#include <string.h>

enum verb { VERB_SET, VERB_GET, VERB_MISSING, VERB_UNSET, VERB_LIST, VERB_COUNT, VERB_CLEAR };

struct step {
	const char *title; /* not NULL: a new case begins */
	enum verb verb;
	const char *path;
	keep_bytes value; /* to set, or to be got; for a list, the values separated by blanks */
	int64_t offset, limit;
	int64_t count;
};

#define CASE(text)                                                                                 \
	{                                                                                          \
		.title = (text), .verb = VERB_CLEAR                                                \
	}
#define SET(at, bytes)                                                                             \
	{                                                                                          \
		.verb = VERB_SET, .path = (at), .value = {(bytes), sizeof(bytes) - 1 }             \
	}
#define GET(at, bytes)                                                                             \
	{                                                                                          \
		.verb = VERB_GET, .path = (at), .value = {(bytes), sizeof(bytes) - 1 }             \
	}
#define MISSING(at)                                                                                \
	{                                                                                          \
		.verb = VERB_MISSING, .path = (at)                                                 \
	}
#define UNSET(at)                                                                                  \
	{                                                                                          \
		.verb = VERB_UNSET, .path = (at)                                                   \
	}
#define LIST(at, from, most, values)                                                               \
	{                                                                                          \
		.verb = VERB_LIST, .path = (at), .offset = (from), .limit = (most), .value = {     \
			(values),                                                                  \
			sizeof(values) - 1                                                         \
		}                                                                                  \
	}
#define COUNT(at, number)                                                                          \
	{                                                                                          \
		.verb = VERB_COUNT, .path = (at), .count = (number)                                \
	}
#define CLEAR()                                                                                    \
	{                                                                                          \
		.verb = VERB_CLEAR                                                                 \
	}

/* A document and a child of it, each with its own value. */
#define HOSTILE(segment)                                                                           \
	SET("h/" segment, segment), SET("h/" segment "/" segment, "child of " segment)
#define HOSTILE_IS_THERE(segment)                                                                  \
	GET("h/" segment, segment), GET("h/" segment "/" segment, "child of " segment)

/* clang-format off */
static const struct step steps[] = {
	CASE("a store that was cleared is empty"),
	MISSING("a"), COUNT("", 0), LIST("", 0, 50, ""),

	CASE("what was set comes back"),
	MISSING("a"), SET("a", "1"), GET("a", "1"), SET("a", "two"), GET("a", "two"),
	SET("a/b/c", "3"), GET("a/b/c", "3"), MISSING("a/b"), GET("a", "two"),

	CASE("bytes come back exactly"),
	SET("a", "\0"), GET("a", "\0"), SET("a", "a\0b\r\n"), GET("a", "a\0b\r\n"),
	SET("a", "\xff\xfe\x80"), GET("a", "\xff\xfe\x80"), SET("a", "{\"a\": 1}"),
	GET("a", "{\"a\": 1}"), SET("a", "'\\x00"), GET("a", "'\\x00"),

	CASE("the empty value is a value"),
	SET("a", ""), GET("a", ""), COUNT("", 1), UNSET("a"), MISSING("a"), COUNT("", 0),

	CASE("unset is content when there was nothing"),
	UNSET("a"), UNSET("a/b"), SET("a", "1"), UNSET("a/b"), GET("a", "1"), UNSET("a"),
	UNSET("a"), MISSING("a"),

	CASE("unset removes every descendant"),
	SET("a", "a"), SET("a/b", "b"), SET("a/b/c", "c"), SET("a/d/e/f", "f"), SET("z", "z"),
	UNSET("a"), MISSING("a"), MISSING("a/b"), MISSING("a/b/c"), MISSING("a/d/e/f"),
	COUNT("a", 0), COUNT("a/b", 0), COUNT("a/d/e", 0), LIST("a/d/e", 0, 9, ""),
	LIST("", 0, 9, "z"), SET("a/b/c", "new"), MISSING("a/b"), LIST("a/b", 0, 9, "new"),

	CASE("unset removes what is below a path without value"),
	SET("a/b/c", "c"), SET("ab", "ab"), UNSET("a"), MISSING("a/b/c"), COUNT("a/b", 0),
	GET("ab", "ab"),

	CASE("unset leaves paths that only begin alike"),
	SET("s/a", "gone"), SET("s/a/x", "gone"), SET("s/ab", "1"), SET("s/a b", "2"),
	SET("s/a0", "3"), SET("s/a-", "4"), SET("s/a.", "5"), SET("s/A", "6"), SET("s/a%", "7"),
	SET("s/ab/x", "8"), UNSET("s/a"), GET("s/ab", "1"), GET("s/a b", "2"), GET("s/a0", "3"),
	GET("s/a-", "4"), GET("s/a.", "5"), GET("s/A", "6"), GET("s/a%", "7"), GET("s/ab/x", "8"),
	COUNT("s", 7), LIST("s", 0, 9, "7 6 5 4 3 2 1"),

	CASE("characters of pattern languages are ordinary"),
	SET("p/abc", "1"), SET("p/a_c", "2"), SET("p/a%", "3"), SET("p/a*", "4"),
	SET("p/a?c", "5"), SET("p/[ab]", "6"), SET("p/a", "7"), SET("p/b", "8"), SET("p/%", "9"),
	UNSET("p/a_c"), UNSET("p/a%"), UNSET("p/a*"), UNSET("p/a?c"), UNSET("p/[ab]"), UNSET("p/%"),
	LIST("p", 0, 9, "8 7 1"), GET("p/abc", "1"), GET("p/a", "7"), GET("p/b", "8"),

	CASE("letter case and normal form distinguish"),
	SET("a", "1"), SET("A", "2"), SET("\xc3\xa9", "3"), SET("e\xcc\x81", "4"), GET("a", "1"),
	GET("A", "2"), GET("\xc3\xa9", "3"), GET("e\xcc\x81", "4"), COUNT("", 4),

	CASE("hostile names are ordinary ones"),
	HOSTILE("index.json"), HOSTILE(".keep"), HOSTILE("..."), HOSTILE("\\"), HOSTILE("'"),
	HOSTILE("\""), HOSTILE("\n"), HOSTILE(" "), HOSTILE("%2F"), HOSTILE("a:b"),
	HOSTILE("120363@g.us::58414 x_1::0"), HOSTILE("\x01"), HOSTILE("\xf0\x9f\x98\x80"),
	HOSTILE_IS_THERE("index.json"), HOSTILE_IS_THERE(".keep"), HOSTILE_IS_THERE("..."),
	HOSTILE_IS_THERE("\\"), HOSTILE_IS_THERE("'"), HOSTILE_IS_THERE("\""),
	HOSTILE_IS_THERE("\n"), HOSTILE_IS_THERE(" "), HOSTILE_IS_THERE("%2F"),
	HOSTILE_IS_THERE("a:b"), HOSTILE_IS_THERE("120363@g.us::58414 x_1::0"),
	HOSTILE_IS_THERE("\x01"), HOSTILE_IS_THERE("\xf0\x9f\x98\x80"), COUNT("h", 13),

	CASE("list gives direct children that have a value, newest first"),
	SET("l", "l"), SET("l/b", "b"), SET("l/a", "a"), SET("l/c", "c"), SET("l/deep/er", "er"),
	SET("l2/x", "x"), LIST("l", 0, 9, "c a b"), COUNT("l", 3), SET("l/deep", "deep"),
	LIST("l", 0, 9, "deep c a b"), COUNT("l", 4), LIST("l/deep", 0, 9, "er"),
	LIST("", 0, 9, "l"), LIST("none", 0, 9, ""), COUNT("none", 0),

	CASE("a set makes its path the newest"),
	SET("o/a", "a"), SET("o/b", "b"), SET("o/c", "c"), SET("o/a", "a"),
	LIST("o", 0, 9, "a c b"), SET("o/b/child", "x"), LIST("o", 0, 9, "a c b"), UNSET("o/c"),
	LIST("o", 0, 9, "a b"), SET("o/c", "c"), LIST("o", 0, 9, "c a b"),

	CASE("offset and limit cut a page"),
	SET("p/a", "a"), SET("p/b", "b"), SET("p/c", "c"), SET("p/d", "d"),
	LIST("p", 0, 0, ""), LIST("p", 0, 1, "d"), LIST("p", 1, 2, "c b"), LIST("p", 3, 2, "a"),
	LIST("p", 4, 1, ""), LIST("p", INT64_MAX, 1, ""),
	LIST("p", 0, KEEP_ENGINE_LIST_MAX, "d c b a"), LIST("p", 2, KEEP_ENGINE_LIST_MAX, "b a"),

	CASE("clear drops everything"),
	SET("a", "a"), SET("b/c/d", "d"), CLEAR(), MISSING("a"), MISSING("b/c/d"), COUNT("", 0),
	COUNT("b/c", 0), LIST("", 0, 9, ""), SET("a", "again"), GET("a", "again"),
};
/* clang-format on */

/* ---------------------------------------------------------------- one step */

typedef struct verifier {
	keep_engine *engine;
	const char *title;
	keep_error *err;
} verifier;

/* The case failed, because `call` answered `found`. */
static keep_status fail_case(verifier *self, const char *call, const char *path, keep_bytes found)
{
	return kp_fail(self->err, KEEP_CONFLICT, "%s: %s('%.60s') gave '%.*s'", self->title, call,
		       path, (int)(found.len < 60 ? found.len : 60), found.data);
}

/* A call that must succeed did not. */
static keep_status fail_call(verifier *self, const char *call, const char *path, keep_status status,
			     const keep_error *error)
{
	return kp_fail(self->err, keep_status_can_retry(status) ? status : KEEP_CONFLICT,
		       "%s: %s('%.60s') answered %s: %s", self->title, call, path,
		       keep_status_name(status), error->message);
}

static keep_status run_get(verifier *self, const char *path, keep_bytes wanted)
{
	keep_buffer value = KEEP_BUFFER_INIT;
	keep_error error = KEEP_ERROR_INIT;
	keep_status status = keep_engine_get(self->engine, keep_bytes_of(path), &value, &error);

	if (status == KEEP_OK && !kp_bytes_equal(kp_buffer_bytes(&value), wanted))
		status = fail_case(self, "get", path, kp_buffer_bytes(&value));
	else if (status == KEEP_NOT_FOUND && !wanted.data)
		status = KEEP_OK;
	else if (status != KEEP_OK)
		status = fail_call(self, "get", path, status, &error);
	keep_buffer_release(&value);
	return status;
}

static keep_status run_list(verifier *self, const struct step *step)
{
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	keep_buffer found = KEEP_BUFFER_INIT;
	keep_error error = KEEP_ERROR_INIT;
	keep_status status = keep_engine_list_values(self->engine, keep_bytes_of(step->path),
						     step->offset, step->limit, &list, &error);

	for (size_t i = 0; status == KEEP_OK && i < list.count; i++) {
		if (i > 0)
			status = kp_buffer_append_text(&found, " ", &error);
		if (status == KEEP_OK)
			status = kp_buffer_append(&found, list.items[i].value, &error);
	}
	if (status != KEEP_OK)
		status = fail_call(self, "list", step->path, status, &error);
	else if (!kp_bytes_equal(kp_buffer_bytes(&found), step->value))
		status = fail_case(self, "list", step->path, kp_buffer_bytes(&found));
	keep_buffer_release(&found);
	keep_engine_list_release(&list);
	return status;
}

static keep_status run_count(verifier *self, const char *path, int64_t wanted)
{
	keep_error error = KEEP_ERROR_INIT;
	char text[24];
	int64_t found;
	keep_status status = keep_engine_count(self->engine, keep_bytes_of(path), &found, &error);

	if (status != KEEP_OK)
		return fail_call(self, "count", path, status, &error);
	snprintf(text, sizeof text, "%lld", (long long)found);
	return found == wanted ? KEEP_OK : fail_case(self, "count", path, keep_bytes_of(text));
}

static keep_status run_set(verifier *self, const char *path, keep_bytes value)
{
	keep_error error = KEEP_ERROR_INIT;
	keep_status status = keep_engine_set(self->engine, keep_bytes_of(path), value, &error);

	return status == KEEP_OK ? status : fail_call(self, "set", path, status, &error);
}

static keep_status run_unset(verifier *self, const char *path)
{
	keep_error error = KEEP_ERROR_INIT;
	keep_status status = keep_engine_unset(self->engine, keep_bytes_of(path), &error);

	return status == KEEP_OK ? status : fail_call(self, "unset", path, status, &error);
}

static keep_status run_clear(verifier *self)
{
	keep_error error = KEEP_ERROR_INIT;
	keep_status status = keep_engine_clear(self->engine, &error);

	return status == KEEP_OK ? status : fail_call(self, "clear", "", status, &error);
}

static keep_status run_step(verifier *self, const struct step *step)
{
	switch (step->verb) {
	case VERB_SET: return run_set(self, step->path, step->value);
	case VERB_GET: return run_get(self, step->path, step->value);
	case VERB_MISSING: return run_get(self, step->path, (keep_bytes){NULL, 0});
	case VERB_UNSET: return run_unset(self, step->path);
	case VERB_LIST: return run_list(self, step);
	case VERB_COUNT: return run_count(self, step->path, step->count);
	case VERB_CLEAR: return run_clear(self);
	}
	return kp_fail(self->err, KEEP_MISUSE, "a step without verb");
}

/* ---------------------------------------------------------------- what needs a loop */

#define BURST 200

/* More sets than any clock tells apart, under names in another order. */
static keep_status run_burst(verifier *self)
{
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	keep_error error = KEEP_ERROR_INIT;
	keep_status status;
	char path[24], value[24];

	self->title = "sets in one burst keep their order";
	status = run_clear(self);
	for (int i = 0; status == KEEP_OK && i < BURST; i++) {
		snprintf(path, sizeof path, "burst/%d", i * 83 % BURST);
		snprintf(value, sizeof value, "%d", i);
		status = run_set(self, path, keep_bytes_of(value));
	}
	if (status != KEEP_OK)
		return status;
	status =
		keep_engine_list_values(self->engine, KEEP_BYTES("burst"), 0, BURST, &list, &error);
	if (status != KEEP_OK)
		status = fail_call(self, "list", "burst", status, &error);
	else if (list.count != BURST)
		status = fail_case(self, "list", "burst", KEEP_BYTES("another number of values"));
	for (int i = 0; status == KEEP_OK && i < BURST; i++) {
		snprintf(value, sizeof value, "%d", BURST - 1 - i);
		if (!kp_bytes_equal(list.items[i].value, keep_bytes_of(value)))
			status = fail_case(self, "list", "burst", list.items[i].value);
	}
	keep_engine_list_release(&list);
	return status;
}

#define LARGE_BYTES ((size_t)1 << 20)

static keep_status run_large(verifier *self)
{
	char *bytes = kp_alloc(LARGE_BYTES);
	keep_status status;

	if (!bytes)
		return kp_fail_memory(self->err, "a large value");
	for (size_t i = 0; i < LARGE_BYTES; i++)
		bytes[i] = (char)(i * 2654435761u >> 13);
	self->title = "a large value comes back, and a small one after it";
	status = run_set(self, "large", (keep_bytes){bytes, LARGE_BYTES});
	if (status == KEEP_OK)
		status = run_get(self, "large", (keep_bytes){bytes, LARGE_BYTES});
	if (status == KEEP_OK)
		status = run_set(self, "large", KEEP_BYTES("small"));
	if (status == KEEP_OK)
		status = run_get(self, "large", KEEP_BYTES("small"));
	kp_free(bytes);
	return status;
}

static keep_status run_longest_paths(verifier *self)
{
	char path[KEEP_PATH_BYTES_MAX + 1];
	keep_status status = KEEP_OK;

	self->title = "the longest paths are held";
	for (size_t i = 0; i < sizeof path; i++)
		path[i] = i % 241 == 240 ? '/' : "%*_x"[i % 4];
	for (size_t len = KEEP_PATH_BYTES_MAX; status == KEEP_OK && len > 1205; len -= 1205) {
		path[len] = '\0';
		status = run_set(self, path, KEEP_BYTES("long"));
		if (status == KEEP_OK)
			status = run_get(self, path, KEEP_BYTES("long"));
	}
	memset(path, '%', KEEP_SEGMENT_BYTES_MAX);
	path[KEEP_SEGMENT_BYTES_MAX] = '\0';
	if (status == KEEP_OK)
		status = run_set(self, path, KEEP_BYTES("255"));
	return status == KEEP_OK ? run_get(self, path, KEEP_BYTES("255")) : status;
}

keep_status keep_engine_verify(const keep_engine_backend *backend, void *ctx, keep_error *err)
{
	verifier self = {.title = "before the first case", .err = err};
	keep_status status, cleared;

	status = keep_engine_open_backend(backend, ctx, NULL, &self.engine, err);
	if (status != KEEP_OK)
		return status;
	for (size_t i = 0; status == KEEP_OK && i < KP_COUNT(steps); i++) {
		if (steps[i].title)
			self.title = steps[i].title;
		status = run_step(&self, &steps[i]);
	}
	if (status == KEEP_OK)
		status = run_burst(&self);
	if (status == KEEP_OK)
		status = run_large(&self);
	if (status == KEEP_OK)
		status = run_longest_paths(&self);
	if (status == KEEP_OK)
		self.title = "after the last case";
	else
		self.err = NULL; /* the first failure is the one to tell */
	cleared = run_clear(&self);
	keep_engine_close(&self.engine);
	return status == KEEP_OK ? cleared : status;
}

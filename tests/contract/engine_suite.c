/* engine_suite.c - a fresh store for each test of the contract, and how tests look at it. */
#include "engine_suite.h"

engine_kind suite_kind;
const char *suite_program;

keep_status try_open(const char *url, keep_engine_options options, char message[320])
{
	keep_error err = KEEP_ERROR_INIT;
	keep_engine *engine = NULL;
	keep_status status;

	options.size = sizeof options;
	status = keep_engine_open(url, &options, &engine, &err);
	CHECK((status == KEEP_OK) == (engine != NULL), "an engine comes with OK and only with it");
	CHECK(status == err.status, "the error's status is %s, the call's %s",
	      keep_status_name(err.status), keep_status_name(status));
	keep_engine_close(&engine);
	assert_null(engine);
	if (message)
		snprintf(message, sizeof err.message, "%s", err.message);
	return status;
}

keep_engine *open_engine(const char *url, keep_engine_options options)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_engine *engine = NULL;

	options.size = sizeof options;
	OK(keep_engine_open(url, &options, &engine, &err));
	assert_non_null(engine);
	return engine;
}

int suite_setup(void **state)
{
	suite_case *self = calloc(1, sizeof *self);

	assert_non_null(self);
	self->live = kp_alloc_live();
	self->kind = suite_kind;
	engine_fresh_url(&self->kind, self->url);
	self->engine = open_engine(self->url, (keep_engine_options){.create = true});
	*state = self;
	return 0;
}

int suite_teardown(void **state)
{
	suite_case *self = *state;
	keep_error err = KEEP_ERROR_INIT;
	long left;

	if (self->engine)
		OK(keep_engine_clear(self->engine, &err));
	keep_engine_close(&self->engine);
	left = kp_alloc_live() - self->live;
	free(self);
	CHECK(left == 0, "the test left %ld blocks", left);
	return 0;
}

keep_engine *engine_of(void **state)
{
	return ((suite_case *)*state)->engine;
}

void reopen(suite_case *self)
{
	keep_engine_close(&self->engine);
	self->engine = open_engine(self->url, (keep_engine_options){.create = false});
}

void set_text(keep_engine *engine, const char *path, const char *value)
{
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_engine_set(engine, keep_bytes_of(path), keep_bytes_of(value), &err));
}

void set_scored_text(keep_engine *engine, const char *path, const char *value, int64_t score)
{
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_engine_set_scored(engine, keep_bytes_of(path), keep_bytes_of(value), score, &err));
}

void unset_path(keep_engine *engine, const char *path)
{
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_engine_unset(engine, keep_bytes_of(path), &err));
}

void want_bytes(keep_engine *engine, keep_bytes path, keep_bytes value)
{
	keep_buffer found = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = keep_engine_get(engine, path, &found, &err);

	if (value.data) {
		CHECK(status == KEEP_OK, "'%" KP_PRI "': %s %s", KP_ARG(path),
		      keep_status_name(status), err.message);
		CHECK(kp_bytes_equal(kp_buffer_bytes(&found), value),
		      "'%" KP_PRI "': %zu bytes '%" KP_PRI "' instead of %zu '%" KP_PRI "'",
		      KP_ARG(path), found.len, KP_ARG(kp_buffer_bytes(&found)), value.len,
		      KP_ARG(value));
	} else {
		CHECK(status == KEEP_NOT_FOUND, "'%" KP_PRI "': %s %s", KP_ARG(path),
		      keep_status_name(status), err.message);
		CHECK(found.len == 0, "a failed get leaves %zu bytes", found.len);
	}
	keep_buffer_release(&found);
}

void want_text(keep_engine *engine, const char *path, const char *value)
{
	want_bytes(engine, keep_bytes_of(path), keep_bytes_of(value));
}

void want_count(keep_engine *engine, const char *path, int64_t count)
{
	keep_error err = KEEP_ERROR_INIT;
	int64_t found = -1;

	OK(keep_engine_count(engine, keep_bytes_of(path), &found, &err));
	CHECK(found == count, "count('%s') is %lld instead of %lld", path, (long long)found,
	      (long long)count);
}

/* "b a" for a list of two. */
static void join_values(const keep_engine_list *list, bool names, char *out, size_t size)
{
	size_t len = 0;

	out[0] = '\0';
	for (size_t i = 0; i < list->count; i++) {
		keep_bytes text = names ? list->items[i].name : list->items[i].value;

		assert_non_null(text.data);
		CHECK(len + text.len + 2 < size, "the test's own text is too short");
		len += (size_t)snprintf(out + len, size - len, "%s%.*s", len ? " " : "",
					(int)text.len, text.data);
	}
}

void want_page(keep_engine *engine, const char *path, int64_t offset, int64_t limit,
	       const char *values)
{
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char found[1000];

	OK(keep_engine_list_values(engine, keep_bytes_of(path), offset, limit, &list, &err));
	join_values(&list, false, found, sizeof found);
	CHECK(strcmp(found, values) == 0, "list('%s', %lld, %lld) is \"%s\" instead of \"%s\"",
	      path, (long long)offset, (long long)limit, found, values);
	for (size_t i = 0; i < list.count; i++)
		assert_null(list.items[i].name.data);
	keep_engine_list_release(&list);
	assert_int_equal(list.count, 0);
}

void want_children(keep_engine *engine, const char *path, const char *children)
{
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char names[1000], values[1000];
	int64_t count = (int64_t)(children[0] != '\0');

	for (const char *at = children; *at; at++)
		count += *at == ' ';
	want_page(engine, path, 0, 1000, children);
	want_count(engine, path, count);
	OK(keep_engine_list_names(engine, keep_bytes_of(path), 0, 1000, &list, &err));
	join_values(&list, true, names, sizeof names);
	join_values(&list, false, values, sizeof values);
	CHECK(strcmp(names, children) == 0, "list_names('%s') is \"%s\" instead of \"%s\"", path,
	      names, children);
	CHECK(strcmp(names, values) == 0, "names \"%s\" beside values \"%s\"", names, values);
	keep_engine_list_release(&list);
}

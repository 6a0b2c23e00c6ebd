/*
 * engine_user.c - a backend of a user's own, made to look like one of Keep's.
 *
 * The six functions become one apply and three reads. What six functions cannot do (an atomic
 * batch, a score, a walk) is refused with MISUSE; nothing is imitated with weaker guarantees.
 *
 * Invariants:
 *   1. The user's function is called at most once per change.
 *   2. Its answers are checked: a status outside the list and a negative count are MISUSE, so that
 *      a bug over there does not become a wrong value here.
 *   3. A failure without a message gets one that names the backend and the function.
 *
 * What it does not do: serialise. Any thread may call, as keep/engine.h tells the user.
 *
 * Tests: tests/contract/test_engine_contract.c, through engine_verify.c.
 */
#include "engine/backend.h"

typedef struct user_store {
	kp_store store;
	kp_backend table; /* this file's functions under the user's name */
	keep_engine_backend user;
	void *ctx;
} user_store;

static user_store *user_of(kp_store *store)
{
	return (user_store *)store;
}

/* `error` is what the user's function was given; `err` the caller's, written on failure only. */
static keep_status check_answer(const user_store *self, const char *function, keep_status status,
				const keep_error *error, keep_error *err)
{
	if (status == KEEP_OK)
		return status;
	if (status < KEEP_OK || status > KEEP_MISUSE)
		return kp_fail(err, KEEP_MISUSE, "the backend %s answered %d to %s, no status",
			       self->user.name, (int)status, function);
	if (error->status != status || !error->message[0])
		return kp_fail(err, status, "the backend %s failed at %s: %s", self->user.name,
			       function, keep_status_text(status));
	if (err)
		*err = *error;
	return status;
}

static keep_status user_get(kp_store *store, const kp_path *path, keep_buffer *value,
			    keep_error *err)
{
	user_store *self = user_of(store);
	keep_error error = KEEP_ERROR_INIT;
	keep_status status;

	value->len = 0;
	status = self->user.get(self->ctx, path->text, value, &error);
	return check_answer(self, "get", status, &error, err);
}

static keep_status user_list(kp_store *store, const kp_path *path, int64_t offset, int64_t limit,
			     keep_engine_sink *sink, keep_error *err)
{
	user_store *self = user_of(store);
	keep_error error = KEEP_ERROR_INIT;
	keep_status status;

	status = self->user.list(self->ctx, path->text, offset, limit, sink, &error);
	status = check_answer(self, "list", status, &error, err);
	if (status == KEEP_OK && sink->count > (size_t)limit)
		return kp_fail(err, KEEP_MISUSE,
			       "the backend %s listed %zu values, asked for at most %lld",
			       self->user.name, sink->count, (long long)limit);
	return status;
}

static keep_status user_count(kp_store *store, const kp_path *path, int64_t *count, keep_error *err)
{
	user_store *self = user_of(store);
	keep_error error = KEEP_ERROR_INIT;
	keep_status status;

	status = self->user.count(self->ctx, path->text, count, &error);
	status = check_answer(self, "count", status, &error, err);
	if (status == KEEP_OK && *count < 0)
		return kp_fail(err, KEEP_MISUSE, "the backend %s counted %lld", self->user.name,
			       (long long)*count);
	return status;
}

static keep_status user_apply(kp_store *store, const kp_change *changes, size_t count,
			      keep_error *err)
{
	user_store *self = user_of(store);
	keep_bytes path = changes[0].path.text;
	keep_error error = KEEP_ERROR_INIT;
	const char *function;
	keep_status status;

	if (count == 1 && changes[0].kind == KEEP_ENGINE_SET) {
		function = "set";
		status = self->user.set(self->ctx, path, changes[0].value, &error);
	} else if (count == 1 && changes[0].kind == KEEP_ENGINE_UNSET && path.len == 0) {
		function = "clear";
		status = self->user.clear(self->ctx, &error);
	} else if (count == 1 && changes[0].kind == KEEP_ENGINE_UNSET) {
		function = "unset";
		status = self->user.unset(self->ctx, path, &error);
	} else {
		return kp_fail(err, KEEP_MISUSE, "the backend %s can only set, unset and clear",
			       self->user.name);
	}
	return check_answer(self, function, status, &error, err);
}

static keep_status fail_six_only(const kp_store *store, keep_error *err)
{
	return kp_fail(err, KEEP_MISUSE, "the backend %s has the six functions only",
		       store->backend->name);
}

static keep_status user_scan(kp_store *store, const kp_path *path, kp_scan_callback *callback,
			     void *ctx, keep_error *err)
{
	(void)path, (void)callback, (void)ctx;
	return fail_six_only(store, err);
}

static keep_status user_watch_open(kp_store *store, const kp_path *path, kp_watch **out,
				   keep_error *err)
{
	(void)path;
	*out = NULL;
	return fail_six_only(store, err);
}

static keep_status user_watch_wait(kp_watch *watch, int64_t timeout_ms, bool *changed,
				   keep_error *err)
{
	(void)timeout_ms, (void)changed;
	return fail_six_only(watch->store, err);
}

static void user_watch_end(kp_watch *watch)
{
	(void)watch;
}

static void user_close(kp_store *store)
{
	kp_free(store);
}

static const char *user_durability(const kp_store *store)
{
	(void)store;
	return "unknown";
}

static keep_status user_identify(const char *url, char **identity, keep_error *err)
{
	(void)url;
	*identity = NULL;
	return kp_fail(err, KEEP_MISUSE, "a backend of a user's own has no URL");
}

static keep_status user_open(const char *url, const keep_engine_options *options, kp_store **out,
			     keep_error *err)
{
	(void)url, (void)options;
	*out = NULL;
	return kp_fail(err, KEEP_MISUSE, "a backend of a user's own has no URL");
}

static const kp_backend user_table = {
	.identify = user_identify,
	.open = user_open,
	.close = user_close,
	.durability = user_durability,
	.can_extend = false,
	.get = user_get,
	.list = user_list,
	.count = user_count,
	.scan = user_scan,
	.apply = user_apply,
	.watch_open = user_watch_open,
	.watch_wait = user_watch_wait,
	.watch_cancel = user_watch_end,
	.watch_close = user_watch_end,
};

static keep_status check_table(const keep_engine_backend *backend, keep_error *err)
{
	if (backend->size != sizeof *backend)
		return kp_fail(err, KEEP_MISUSE, "backend: size is %zu, not sizeof %zu",
			       backend->size, sizeof *backend);
	if (!backend->name || !backend->name[0])
		return kp_fail(err, KEEP_MISUSE, "backend: it has no name");
	if (!backend->get || !backend->set || !backend->unset || !backend->list ||
	    !backend->count || !backend->clear)
		return kp_fail(err, KEEP_MISUSE, "the backend %s lacks one of the six functions",
			       backend->name);
	return KEEP_OK;
}

keep_status keep_engine_open_backend(const keep_engine_backend *backend, void *ctx,
				     const keep_engine_options *options, keep_engine **out,
				     keep_error *err)
{
	keep_engine_options filled;
	user_store *self = NULL;
	kp_store *store;
	keep_status status;

	if (!backend || !out)
		return kp_fail(err, KEEP_MISUSE,
			       "keep_engine_open_backend: an argument is NULL that must not be");
	*out = NULL;
	status = check_table(backend, err);
	if (status == KEEP_OK)
		status = kp_engine_fill_options(options, &filled, err);
	if (status != KEEP_OK)
		return status;
	self = kp_alloc(sizeof *self);
	if (!self)
		return kp_fail_memory(err, "an engine");
	*self = (user_store){.table = user_table, .user = *backend, .ctx = ctx};
	self->table.name = self->user.name;
	self->store.backend = &self->table;
	store = &self->store;
	return kp_engine_start(&store, &filled, NULL, out, err);
}

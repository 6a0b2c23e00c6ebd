/*
 * engine_redis.c - the engine on Redis.
 *
 * The keys are those of the source project, so that it reads what Keep writes:
 *
 *     <prefix>:doc:<path>     the value
 *     <prefix>:idx:<parent>   sorted set of the children's full paths; score = place in ms
 *     <prefix>:dir:<folder>   Keep's: names of the children that have something below them
 *     <prefix>:keep           Keep's: hash {format, adopted}; deleting it makes the next open adopt
 *     <prefix>:watch          a channel: the changed paths, separated by zero bytes
 *
 * A get is GET, a count ZCARD, a list SORT_RO where it can be, everything else one script (redis/):
 * Redis runs nothing beside a script, so a client killed at any moment leaves either all of a
 * change or nothing.
 *
 * Invariants:
 *   1. Nothing but adoption scans the keyspace, and no path is ever a pattern. Subtrees are walked
 *      through idx and dir, so an unset costs what it removes.
 *   2. A namespace without marker is empty, or was written by the source project; the first open
 *      that may write adopts it (engine_redis_open.c). Until then a scan is refused.
 *   3. Order is in the scores alone: the milliseconds are the caller's score or the clock, the
 *      fraction counts ties (redis/apply.lua).
 *   4. An answer is read whole before anything is reported; callbacks run while no connection is
 *      held.
 *
 * Not promised: that an OK survives a crash of the server. That is the server's configuration;
 * durability() says which, and a warning is logged when less than "always" was not asked for.
 *
 * Tests: tests/contract/test_engine_redis.c and the suites of all backends,
 * tests/torture/test_engine_redis_faults.c.
 */
#include "engine/engine_redis.h"

#include <string.h>

#define OFFSET_MAX (INT64_C(1) << 40)
#define NOTICE_BYTES_MAX 8192 /* of a change's paths; above, the root is said to have changed */

/* ---------------------------------------------------------------- calls */

static struct redis_store *store_of(kp_store *base)
{
	return (struct redis_store *)base;
}

void kp_redis_begin_script(struct redis_store *store, struct redis_request *request,
			   enum redis_script script)
{
	keep_bytes prefix = store->pool.url.prefix;

	kp_redis_begin(request, script);
	kp_redis_put_text(request, "1");
	kp_redis_put_key(request, prefix, ":keep", KEEP_BYTES(""));
	kp_redis_put(request, prefix);
}

void kp_redis_begin_command(struct redis_request *request, const char *name)
{
	kp_redis_begin(request, REDIS_COMMAND);
	kp_redis_put_text(request, name);
}

keep_status kp_redis_finish(struct redis_store *store, struct redis_request *request,
			    enum redis_intent intent, redisReply **reply, keep_error *err)
{
	keep_status status = kp_redis_call(&store->pool, request, intent, reply, err);

	kp_redis_request_release(request);
	return status;
}

bool kp_redis_is_text(const redisReply *reply)
{
	return reply->type == REDIS_REPLY_STRING;
}

keep_bytes kp_redis_bytes(const redisReply *reply)
{
	return (keep_bytes){reply->str, reply->len};
}

/* ---------------------------------------------------------------- reading */

static keep_status redis_get(kp_store *base, const kp_path *path, keep_buffer *value,
			     keep_error *err)
{
	struct redis_store *store = store_of(base);
	struct redis_request request;
	redisReply *reply = NULL;
	keep_status status;

	kp_redis_begin_command(&request, "GET");
	kp_redis_put_key(&request, store->pool.url.prefix, ":doc:", path->text);
	status = kp_redis_finish(store, &request, REDIS_READ, &reply, err);
	if (status != KEEP_OK)
		return kp_prefix(err, status, "path '%" KP_PRI "'", KP_ARG(path->text));
	if (reply->type == REDIS_REPLY_NIL)
		status = kp_fail(err, KEEP_NOT_FOUND, "path '%" KP_PRI "': there is no document",
				 KP_ARG(path->text));
	else if (!kp_redis_is_text(reply))
		status = kp_redis_odd("GET", err);
	else
		status = keep_buffer_set(value, kp_redis_bytes(reply), err);
	freeReplyObject(reply);
	return status;
}

static keep_status redis_count(kp_store *base, const kp_path *path, int64_t *count, keep_error *err)
{
	struct redis_store *store = store_of(base);
	struct redis_request request;
	redisReply *reply = NULL;
	keep_status status;

	kp_redis_begin_command(&request, "ZCARD");
	kp_redis_put_key(&request, store->pool.url.prefix, ":idx:", path->text);
	status = kp_redis_finish(store, &request, REDIS_READ, &reply, err);
	if (status != KEEP_OK)
		return status;
	if (reply->type == REDIS_REPLY_INTEGER)
		*count = reply->integer;
	else
		status = kp_redis_odd("ZCARD", err);
	freeReplyObject(reply);
	return status;
}

/* Rows of `width` texts: name and value, or the value alone. A name is what follows the first
   `skipped` bytes. */
static keep_status add_rows(const redisReply *reply, size_t width, size_t skipped,
			    keep_engine_sink *sink, keep_error *err)
{
	keep_status status = KEEP_OK;

	if (reply->type != REDIS_REPLY_ARRAY || reply->elements % width != 0)
		return kp_redis_odd("list", err);
	for (size_t i = 0; i < reply->elements && status == KEEP_OK; i += width) {
		const redisReply *name = reply->element[i];
		const redisReply *value = reply->element[i + width - 1];
		size_t cut = kp_redis_is_text(name) && name->len >= skipped ? skipped : 0;

		if (kp_redis_is_text(name) && kp_redis_is_text(value))
			status = kp_sink_add(sink, (keep_bytes){name->str + cut, name->len - cut},
					     kp_redis_bytes(value), err);
		else
			status = kp_redis_odd("list", err);
	}
	return status;
}

/* True when every row is a direct child with a value: SORT gives nil for a vanished document. */
static bool is_complete(const redisReply *reply, size_t width, const kp_path *path)
{
	size_t base = path->text.len + (path->depth > 0 ? 1 : 0);

	if (reply->type != REDIS_REPLY_ARRAY || reply->elements % width != 0)
		return false;
	for (size_t i = 0; i < reply->elements; i++) {
		const redisReply *text = reply->element[i];

		if (!kp_redis_is_text(text))
			return false;
		if (i % width + 1 < width &&
		    (text->len <= base || memcmp(text->str, path->text.data, path->text.len) != 0))
			return false;
	}
	return true;
}

/*
 * The common case of a list, by one command of Redis' own, four times as fast as a script:
 * SORT_RO with BY nosort takes a range of the index as it stands, and GET the documents. *done is
 * false when the script must do it: a document vanished, the server is older than 7.0 or a cluster
 * node, or the user may not read all keys, which SORT demands.
 */
static keep_status list_sorted(struct redis_store *store, const kp_path *path, int64_t offset,
			       int64_t limit, keep_engine_sink *sink, bool *done, keep_error *err)
{
	size_t width = sink->names_wanted ? 2 : 1;
	size_t base = path->text.len + (path->depth > 0 ? 1 : 0);
	struct redis_request request;
	redisReply *reply = NULL;
	keep_status status;

	*done = false;
	kp_redis_begin_command(&request, "SORT_RO");
	kp_redis_put_key(&request, store->pool.url.prefix, ":idx:", path->text);
	kp_redis_put_text(&request, "BY");
	kp_redis_put_text(&request, "nosort");
	kp_redis_put_text(&request, "LIMIT");
	kp_redis_put_integer(&request, offset);
	kp_redis_put_integer(&request, limit);
	if (sink->names_wanted) {
		kp_redis_put_text(&request, "GET");
		kp_redis_put_text(&request, "#");
	}
	kp_redis_put_text(&request, "GET");
	kp_redis_put_key(&request, store->pool.url.prefix, ":doc:", KEEP_BYTES("*"));
	kp_redis_put_text(&request, "DESC");
	status = kp_redis_finish(store, &request, REDIS_READ, &reply, err);
	if (status == KEEP_OK && is_complete(reply, width, path)) {
		*done = true;
		status = add_rows(reply, width, width == 2 ? base : 0, sink, err);
	}
	freeReplyObject(reply);
	return status;
}

static keep_status list_scripted(struct redis_store *store, const kp_path *path, int64_t offset,
				 int64_t limit, keep_engine_sink *sink, keep_error *err)
{
	struct redis_request request;
	redisReply *reply = NULL;
	keep_status status;

	kp_redis_begin_script(store, &request, REDIS_LIST);
	kp_redis_put(&request, path->text);
	kp_redis_put_integer(&request, offset);
	kp_redis_put_integer(&request, limit);
	kp_redis_put_text(&request, sink->names_wanted ? "n" : "");
	kp_redis_put_text(&request, store->read_only ? "" : "r");
	status = kp_redis_finish(store, &request, REDIS_READ, &reply, err);
	if (status != KEEP_OK)
		return status;
	status = add_rows(reply, sink->names_wanted ? 2 : 1, 0, sink, err);
	freeReplyObject(reply);
	return status;
}

static keep_status redis_list(kp_store *base, const kp_path *path, int64_t offset, int64_t limit,
			      keep_engine_sink *sink, keep_error *err)
{
	struct redis_store *store = store_of(base);
	bool done = false;
	keep_status status = KEEP_OK;

	/* Redis adds offset and limit without looking, and Lua counts in doubles. */
	if (offset > OFFSET_MAX)
		offset = OFFSET_MAX;
	if (store->can_sort)
		status = list_sorted(store, path, offset, limit, sink, &done, err);
	if (status != KEEP_OK || done)
		return status;
	return list_scripted(store, path, offset, limit, sink, err);
}

/* ---------------------------------------------------------------- scanning */

/* Hand one page to the callback. *go_on becomes false when that wants no more. */
static keep_status report_page(const redisReply *rows, kp_scan_callback *callback, void *ctx,
			       bool *go_on, keep_error *err)
{
	if (rows->type != REDIS_REPLY_ARRAY || rows->elements % 2 != 0)
		return kp_redis_odd("scan", err);
	for (size_t i = 0; i < rows->elements && *go_on; i += 2) {
		if (!kp_redis_is_text(rows->element[i]) || !kp_redis_is_text(rows->element[i + 1]))
			return kp_redis_odd("scan", err);
		*go_on = callback(ctx, kp_redis_bytes(rows->element[i]),
				  kp_redis_bytes(rows->element[i + 1]));
	}
	return KEEP_OK;
}

static bool is_page(const redisReply *reply)
{
	return reply->type == REDIS_REPLY_ARRAY && reply->elements == 4 &&
	       (kp_redis_is_text(reply->element[0]) ||
		reply->element[0]->type == REDIS_REPLY_NIL) &&
	       kp_redis_is_text(reply->element[1]) && kp_redis_is_text(reply->element[2]);
}

static keep_status read_page(struct redis_store *store, keep_bytes base, const redisReply *cursor,
			     redisReply **page, keep_error *err)
{
	struct redis_request request;
	keep_status status;

	kp_redis_begin_script(store, &request, REDIS_SCAN);
	kp_redis_put(&request, base);
	kp_redis_put(&request, cursor ? kp_redis_bytes(cursor->element[0]) : base);
	kp_redis_put(&request, cursor ? kp_redis_bytes(cursor->element[1]) : KEEP_BYTES(""));
	kp_redis_put(&request, cursor ? kp_redis_bytes(cursor->element[2]) : KEEP_BYTES(""));
	status = kp_redis_finish(store, &request, REDIS_READ, page, err);
	if (status == KEEP_OK && !is_page(*page)) {
		freeReplyObject(*page);
		*page = NULL;
		status = kp_redis_odd("scan", err);
	}
	return status;
}

static keep_status redis_scan(kp_store *base, const kp_path *path, kp_scan_callback *callback,
			      void *ctx, keep_error *err)
{
	struct redis_store *store = store_of(base);
	redisReply *page = NULL;
	bool go_on = true;
	keep_status status = kp_redis_check_adopted(store, err);

	while (status == KEEP_OK && go_on) {
		redisReply *next = NULL;

		status = read_page(store, path->text, page, &next, err);
		freeReplyObject(page);
		page = next;
		if (status != KEEP_OK)
			break;
		status = report_page(page->element[3], callback, ctx, &go_on, err);
		go_on = go_on && page->element[0]->type != REDIS_REPLY_NIL;
	}
	freeReplyObject(page);
	return status;
}

/* ---------------------------------------------------------------- changing */

/* The changed paths, separated by zero bytes; the root when they are many. */
static keep_status format_notice(const kp_change *changes, size_t count, keep_buffer *notice,
				 keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		if (notice->len + changes[i].path.text.len > NOTICE_BYTES_MAX)
			return keep_buffer_set(notice, KEEP_BYTES(""), err);
		if (i > 0)
			status = kp_buffer_append(notice, (keep_bytes){"\0", 1}, err);
		if (status == KEEP_OK)
			status = kp_buffer_append(notice, changes[i].path.text, err);
	}
	return status;
}

/* The forms that redis/apply.lua reads. */
static void put_change(struct redis_request *request, const kp_change *change)
{
	keep_bytes empty = KEEP_BYTES("");

	switch (change->kind) {
	case KEEP_ENGINE_SET:
		kp_redis_put_text(request, "s");
		kp_redis_put(request, change->path.text);
		kp_redis_put(request, change->value);
		break;
	case KEEP_ENGINE_SET_SCORED:
		kp_redis_put_text(request, "p");
		kp_redis_put(request, change->path.text);
		kp_redis_put(request, change->value);
		kp_redis_put_integer(request, change->score_ms);
		break;
	case KEEP_ENGINE_UNSET:
		kp_redis_put_text(request, "u");
		kp_redis_put(request, change->path.text);
		break;
	case KEEP_ENGINE_COMPARE_AND_SET:
		kp_redis_put_text(request, "c");
		kp_redis_put(request, change->path.text);
		kp_redis_put(request, change->expected.data ? change->expected : empty);
		kp_redis_put(request, change->value.data ? change->value : empty);
		kp_redis_put_text(request, change->expected.data ? change->value.data ? "ev" : "e-"
					   : change->value.data  ? "-v"
								 : "--");
		break;
	}
}

static keep_status read_outcome(const redisReply *reply, const kp_change *changes, size_t count,
				keep_error *err)
{
	const kp_change *change;

	if (reply->type == REDIS_REPLY_NIL)
		return KEEP_OK;
	if (reply->type != REDIS_REPLY_INTEGER || reply->integer < 1 ||
	    (size_t)reply->integer > count)
		return kp_redis_odd("a change", err);
	change = &changes[reply->integer - 1];
	return kp_fail(err, KEEP_CONFLICT, "path '%" KP_PRI "': %s", KP_ARG(change->path.text),
		       change->expected.data ? "there is no document, or one with another value"
					     : "there is a document already");
}

static keep_status redis_apply(kp_store *base, const kp_change *changes, size_t count,
			       keep_error *err)
{
	struct redis_store *store = store_of(base);
	struct redis_request request;
	keep_buffer notice = KEEP_BUFFER_INIT;
	redisReply *reply = NULL;
	keep_status status;

	if (store->read_only)
		return kp_fail(err, KEEP_DENIED, "redis: the engine was opened read only");
	status = format_notice(changes, count, &notice, err);
	if (status == KEEP_OK) {
		kp_redis_begin_script(store, &request, REDIS_APPLY);
		kp_redis_put_integer(&request, kp_engine_now_ms());
		kp_redis_put(&request, kp_buffer_bytes(&notice));
		for (size_t i = 0; i < count; i++)
			put_change(&request, &changes[i]);
		status = kp_redis_finish(store, &request, REDIS_CHANGE, &reply, err);
	}
	if (status == KEEP_OK)
		status = read_outcome(reply, changes, count, err);
	freeReplyObject(reply);
	keep_buffer_release(&notice);
	return status;
}

/* ---------------------------------------------------------------- the table */

static void redis_close(kp_store *base)
{
	struct redis_store *store = store_of(base);

	kp_redis_pool_release(&store->pool);
	kp_free(store);
}

static keep_status redis_open(const char *url, const keep_engine_options *options, kp_store **out,
			      keep_error *err)
{
	struct redis_store *store = NULL;
	struct redis_url parts;
	keep_status status = kp_redis_url_parse(url, &parts, err);

	*out = NULL;
	if (status != KEEP_OK)
		return status;
	store = kp_alloc_zero(sizeof *store);
	if (!store) {
		kp_redis_url_release(&parts);
		return kp_fail_memory(err, "an engine");
	}
	store->base.backend = &kp_engine_redis;
	store->read_only = options->read_only;
	status = kp_redis_pool_init(&store->pool, &parts, options->timeout_ms, err);
	if (status == KEEP_OK)
		status = kp_redis_open_namespace(store, options->relaxed, err);
	if (status == KEEP_OK)
		*out = &store->base;
	else
		redis_close(&store->base);
	return status;
}

static const char *redis_durability(const kp_store *base)
{
	return ((const struct redis_store *)base)->durability;
}

const kp_backend kp_engine_redis = {
	.name = "redis",
	.identify = kp_redis_identify,
	.open = redis_open,
	.close = redis_close,
	.durability = redis_durability,
	.can_extend = true,
	.get = redis_get,
	.list = redis_list,
	.count = redis_count,
	.scan = redis_scan,
	.apply = redis_apply,
	.watch_open = kp_redis_watch_open,
	.watch_wait = kp_redis_watch_wait,
	.watch_cancel = kp_redis_watch_cancel,
	.watch_close = kp_redis_watch_close,
};

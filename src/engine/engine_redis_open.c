/*
 * engine_redis_open.c - opening a namespace: its format, adopting what the source project wrote,
 * and what the server promises.
 *
 * That project writes doc and idx keys alone. Without the dir keys an unset would not find what
 * lies below folders without a value, so the first open that may write walks all keys once.
 *
 * Invariants:
 *   1. The marker is written after everything was adopted; adopting again does no harm. So an open
 *      that is killed, or two at once, leave a namespace that is adopted or will be.
 *   2. Keys are taken by comparing their bytes with the prefix; SCAN's pattern only saves traffic.
 *   3. What a user may not ask (CONFIG, INFO) is no failure: the answer is "unknown" then.
 *
 * Tests: tests/contract/test_engine_redis.c, tests/contract/test_engine_redis_server.c.
 */
#include "engine/engine_redis.h"

#include <string.h>

#define FORMAT 1
#define SCAN_COUNT "1000"

/* ---------------------------------------------------------------- adopting */

/* The prefix as a pattern of SCAN that matches little else; exact comparison follows. */
static keep_status format_pattern(keep_bytes prefix, keep_buffer *pattern, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < prefix.len && status == KEEP_OK; i++) {
		if (memchr("*?[]\\^-", prefix.data[i], 7))
			status = kp_buffer_append(pattern, KEEP_BYTES("\\"), err);
		if (status == KEEP_OK)
			status = kp_buffer_append(pattern, (keep_bytes){prefix.data + i, 1}, err);
	}
	return status == KEEP_OK ? kp_buffer_append(pattern, KEEP_BYTES(":*"), err) : status;
}

/* "doc" or "idx" and the path when the key is such a key of this very prefix. */
static const char *kind_of(keep_bytes prefix, keep_bytes key, keep_bytes *path)
{
	static const char *const kinds[] = {"doc", "idx"};

	if (key.len < prefix.len + 5 || memcmp(key.data, prefix.data, prefix.len) != 0 ||
	    key.data[prefix.len] != ':' || key.data[prefix.len + 4] != ':')
		return NULL;
	*path = (keep_bytes){key.data + prefix.len + 5, key.len - prefix.len - 5};
	for (size_t i = 0; i < KP_COUNT(kinds); i++)
		if (memcmp(key.data + prefix.len + 1, kinds[i], 3) == 0)
			return kinds[i];
	return NULL;
}

/* One step of SCAN: *reply holds the next cursor and the keys met. */
static keep_status scan_keys(struct redis_store *store, keep_bytes pattern, const char *cursor,
			     redisReply **reply, keep_error *err)
{
	struct redis_request request;
	keep_status status;

	kp_redis_begin_command(&request, "SCAN");
	kp_redis_put_text(&request, cursor);
	kp_redis_put_text(&request, "MATCH");
	kp_redis_put(&request, pattern);
	kp_redis_put_text(&request, "COUNT");
	kp_redis_put_text(&request, SCAN_COUNT);
	status = kp_redis_finish(store, &request, REDIS_READ, reply, err);
	if (status != KEEP_OK)
		return status;
	if ((*reply)->type == REDIS_REPLY_ARRAY && (*reply)->elements == 2 &&
	    kp_redis_is_text((*reply)->element[0]) && (*reply)->element[0]->len < 32 &&
	    (*reply)->element[1]->type == REDIS_REPLY_ARRAY)
		return KEEP_OK;
	freeReplyObject(*reply);
	*reply = NULL;
	return kp_redis_odd("SCAN", err);
}

/* Adopt the keys of one step. Repeating it does no harm. */
static keep_status adopt_keys(struct redis_store *store, const redisReply *keys, keep_error *err)
{
	struct redis_request request;
	redisReply *reply = NULL;
	size_t found = 0;
	keep_status status = KEEP_OK;

	kp_redis_begin_script(store, &request, REDIS_ADOPT);
	for (size_t i = 0; i < keys->elements; i++) {
		keep_bytes path;
		const char *kind =
			kind_of(store->pool.url.prefix, kp_redis_bytes(keys->element[i]), &path);

		if (!kind)
			continue;
		kp_redis_put_text(&request, kind);
		kp_redis_put(&request, path);
		found++;
	}
	if (found > 0)
		status = kp_redis_finish(store, &request, REDIS_READ, &reply, err);
	else
		kp_redis_request_release(&request);
	freeReplyObject(reply);
	return status;
}

static keep_status write_marker(struct redis_store *store, keep_error *err)
{
	struct redis_request request;
	redisReply *reply = NULL;
	keep_status status;

	kp_redis_begin_script(store, &request, REDIS_ADOPT);
	kp_redis_put_text(&request, "end");
	kp_redis_put_text(&request, "");
	status = kp_redis_finish(store, &request, REDIS_READ, &reply, err);
	freeReplyObject(reply);
	return status;
}

/* Look at all keys of the namespace once: adopt them, or (*found) only tell that there are any. */
static keep_status walk_keyspace(struct redis_store *store, bool *found, keep_error *err)
{
	keep_buffer pattern = KEEP_BUFFER_INIT;
	char cursor[32] = "0";
	keep_status status = format_pattern(store->pool.url.prefix, &pattern, err);

	while (status == KEEP_OK) {
		redisReply *reply = NULL;

		status = scan_keys(store, kp_buffer_bytes(&pattern), cursor, &reply, err);
		if (status != KEEP_OK)
			break;
		memcpy(cursor, reply->element[0]->str, reply->element[0]->len + 1);
		if (!found)
			status = adopt_keys(store, reply->element[1], err);
		for (size_t i = 0; found && i < reply->element[1]->elements && !*found; i++) {
			keep_bytes path;

			*found = kind_of(store->pool.url.prefix,
					 kp_redis_bytes(reply->element[1]->element[i]),
					 &path) != NULL;
		}
		freeReplyObject(reply);
		if (strcmp(cursor, "0") == 0 || (found && *found))
			break;
	}
	keep_buffer_release(&pattern);
	return status;
}

/* ---------------------------------------------------------------- opening */

/* Read the marker; *format is 0 when there is none. */
static keep_status read_format(struct redis_store *store, bool will_write, int64_t *format,
			       keep_error *err)
{
	struct redis_request request;
	redisReply *reply = NULL;
	keep_status status;

	*format = 0;
	kp_redis_begin_script(store, &request, REDIS_OPEN);
	kp_redis_put_text(&request, will_write ? "w" : "");
	status = kp_redis_finish(store, &request, REDIS_READ, &reply, err);
	if (status != KEEP_OK)
		return status;
	if (reply->type != REDIS_REPLY_NIL &&
	    (!kp_redis_is_text(reply) || !kp_int_parse(kp_redis_bytes(reply), format) ||
	     *format < 1))
		status = kp_fail(err, KEEP_CORRUPT, "redis: the key '%" KP_PRI ":keep' is damaged",
				 KP_ARG(store->pool.url.prefix));
	else if (*format > FORMAT)
		status = kp_fail(err, KEEP_TOO_NEW,
				 "redis: the prefix '%" KP_PRI "' has format %lld, this Keep "
				 "knows %d",
				 KP_ARG(store->pool.url.prefix), (long long)*format, FORMAT);
	freeReplyObject(reply);
	return status;
}

keep_status kp_redis_check_adopted(struct redis_store *store, keep_error *err)
{
	bool found = false;
	int64_t format;
	keep_status status;

	if (store->adopted)
		return KEEP_OK;
	status = read_format(store, false, &format, err);
	if (status != KEEP_OK || format > 0)
		return status;
	status = walk_keyspace(store, &found, err);
	if (status == KEEP_OK && found)
		status = kp_fail(err, KEEP_CONFLICT,
				 "redis: the prefix '%" KP_PRI "' was not written by Keep; open it "
				 "once without read_only",
				 KP_ARG(store->pool.url.prefix));
	return status;
}

/* Ask what a user may be forbidden to ask; *reply is NULL then. */
static keep_status ask(struct redis_store *store, const char *command, const char *subject,
		       const char *pattern, redisReply **reply, keep_error *err)
{
	struct redis_request request;
	keep_error local = KEEP_ERROR_INIT;
	keep_status status;

	kp_redis_begin_command(&request, command);
	kp_redis_put_text(&request, subject);
	if (pattern)
		kp_redis_put_text(&request, pattern);
	status = kp_redis_finish(store, &request, REDIS_READ, reply, &local);
	if (status == KEEP_NO_MEMORY) {
		if (err)
			*err = local;
		return status;
	}
	return KEEP_OK;
}

/* The value of `name` in a CONFIG GET's answer, or "". */
static const char *config_value(const redisReply *reply, const char *name)
{
	if (!reply || reply->type != REDIS_REPLY_ARRAY)
		return "";
	for (size_t i = 0; i + 1 < reply->elements; i += 2)
		if (kp_redis_is_text(reply->element[i]) &&
		    kp_redis_is_text(reply->element[i + 1]) &&
		    strcmp(reply->element[i]->str, name) == 0)
			return reply->element[i + 1]->str;
	return "";
}

static keep_status read_durability(struct redis_store *store, bool relaxed, keep_error *err)
{
	redisReply *reply = NULL;
	const char *appends;
	bool was_told;
	keep_status status = ask(store, "CONFIG", "GET", "append*", &reply, err);

	appends = config_value(reply, "appendonly");
	snprintf(store->durability, sizeof store->durability, "unknown");
	if (strcmp(appends, "no") == 0)
		snprintf(store->durability, sizeof store->durability, "not persistent");
	else if (strcmp(appends, "yes") == 0)
		snprintf(store->durability, sizeof store->durability, "appendfsync %.20s",
			 config_value(reply, "appendfsync"));
	was_told = appends[0] != '\0';
	freeReplyObject(reply);
	reply = NULL;
	if (status == KEEP_OK && !was_told) {
		status = ask(store, "INFO", "persistence", NULL, &reply, err);
		if (reply && kp_redis_is_text(reply) && strstr(reply->str, "aof_enabled:0"))
			snprintf(store->durability, sizeof store->durability, "not persistent");
		freeReplyObject(reply);
	}
	if (status == KEEP_OK && !relaxed && !store->read_only &&
	    strcmp(store->durability, "appendfsync always") != 0)
		kp_log(KEEP_LOG_WARNING,
		       "redis: the server's durability is \"%s\", so it may lose changes that it "
		       "acknowledged; set appendonly yes and appendfsync always, or open relaxed",
		       store->durability);
	return status;
}

static keep_status check_eviction(struct redis_store *store, keep_error *err)
{
	redisReply *reply = NULL;
	keep_status status = ask(store, "CONFIG", "GET", "maxmemory*", &reply, err);

	if (status == KEEP_OK &&
	    strncmp(config_value(reply, "maxmemory-policy"), "allkeys", 7) == 0 &&
	    strcmp(config_value(reply, "maxmemory"), "0") != 0)
		kp_log(KEEP_LOG_WARNING,
		       "redis: maxmemory-policy %s may drop documents and indexes at any time; "
		       "noeviction is the one for a store",
		       config_value(reply, "maxmemory-policy"));
	freeReplyObject(reply);
	return status;
}

/* May lists use SORT_RO? A '*' of the prefix would stand for the member, so that is no pattern. */
static keep_status check_sort(struct redis_store *store, keep_error *err)
{
	struct redis_request request;
	redisReply *reply = NULL;
	keep_error local = KEEP_ERROR_INIT;
	keep_status status;

	if (memchr(store->pool.url.prefix.data, '*', store->pool.url.prefix.len))
		return KEEP_OK;
	kp_redis_begin_command(&request, "SORT_RO");
	kp_redis_put_key(&request, store->pool.url.prefix, ":idx:", KEEP_BYTES("/"));
	kp_redis_put_text(&request, "GET");
	kp_redis_put_key(&request, store->pool.url.prefix, ":doc:", KEEP_BYTES("*"));
	status = kp_redis_finish(store, &request, REDIS_READ, &reply, &local);
	store->can_sort = status == KEEP_OK;
	freeReplyObject(reply);
	if (status == KEEP_NO_MEMORY && err)
		*err = local;
	return status == KEEP_NO_MEMORY ? status : KEEP_OK;
}

static keep_status check_cluster(struct redis_store *store, keep_error *err)
{
	redisReply *reply = NULL;
	keep_status status = ask(store, "INFO", "cluster", NULL, &reply, err);

	if (status == KEEP_OK && reply && kp_redis_is_text(reply) &&
	    strstr(reply->str, "cluster_enabled:1") &&
	    !kp_redis_prefix_has_tag(store->pool.url.prefix))
		status = kp_fail(err, KEEP_INVALID,
				 "redis URL: on a cluster the prefix must hold a {hash tag}, as in "
				 "'{%" KP_PRI "}'",
				 KP_ARG(store->pool.url.prefix));
	freeReplyObject(reply);
	return status;
}

keep_status kp_redis_open_namespace(struct redis_store *store, bool relaxed, keep_error *err)
{
	int64_t format = 0;
	keep_status status = kp_redis_pool_start(&store->pool, err);

	if (status == KEEP_OK)
		status = check_cluster(store, err);
	if (status == KEEP_OK)
		status = read_format(store, !store->read_only, &format, err);
	if (status == KEEP_OK && format == 0 && !store->read_only) {
		status = walk_keyspace(store, NULL, err);
		if (status == KEEP_OK)
			status = write_marker(store, err);
		format = FORMAT;
	}
	store->adopted = format != 0;
	if (status == KEEP_OK)
		status = read_durability(store, relaxed, err);
	if (status == KEEP_OK)
		status = check_sort(store, err);
	return status == KEEP_OK ? check_eviction(store, err) : status;
}

/*
 * engine_redis_pool.c - connections shared by threads, and calls that survive a broken one.
 *
 * The pool makes up to KP_REDIS_LINKS_MAX connections on demand; a thread that finds all in use
 * waits.
 *
 * Invariants:
 *   1. A change whose request did not leave whole did not happen, and is sent again on a fresh
 *      connection; one that left whole and got no answer is UNCERTAIN, and never sent again.
 *   2. An error reply means that nothing happened: the scripts check before they write.
 *   3. A connection is used by one thread at a time; a broken one never returns to the pool, and
 *      takes the idle ones with it, since what broke it (a restart) broke them too.
 *   4. open_count = idle ones + those in use + rights to make one.
 *
 * Tests: tests/contract/test_engine_redis.c, tests/torture/test_engine_redis_faults.c.
 */
#include "engine/engine_redis.h"
#include "engine_redis_files.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define REDIRECTIONS_MAX 5

/* ---------------------------------------------------------------- the pool */

static keep_status append_file(keep_buffer *script, const char *name, keep_error *err)
{
	for (size_t i = 0; i < KP_ENGINE_REDIS_FILE_COUNT; i++) {
		const kp_embedded_file *file = &kp_engine_redis_files[i];

		if (strcmp(file->name, name) == 0)
			return kp_buffer_append(script, (keep_bytes){file->bytes, file->size}, err);
	}
	return kp_fail(err, KEEP_MISUSE, "redis: the script %s was not built in", name);
}

static keep_status read_scripts(struct redis_pool *pool, keep_error *err)
{
	/* The files of redis/ that make up each script. */
	static const char *const parts[REDIS_SCRIPTS][3] = {
		[REDIS_OPEN] = {"tree", "open"},           [REDIS_ADOPT] = {"tree", "adopt"},
		[REDIS_APPLY] = {"fast", "tree", "apply"}, [REDIS_LIST] = {"tree", "list"},
		[REDIS_SCAN] = {"tree", "scan"},
	};
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < REDIS_SCRIPTS; i++)
		for (size_t k = 0; k < 3 && parts[i][k] && status == KEEP_OK; k++)
			status = append_file(&pool->scripts[i], parts[i][k], err);
	return status;
}

keep_status kp_redis_pool_init(struct redis_pool *pool, struct redis_url *url, int64_t timeout_ms,
			       keep_error *err)
{
	pthread_condattr_t attributes;

	*pool = (struct redis_pool){.url = *url, .timeout_ms = timeout_ms};
	*url = (struct redis_url){.text = NULL};
	pthread_mutex_init(&pool->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&pool->freed, &attributes);
	pthread_condattr_destroy(&attributes);
	return read_scripts(pool, err);
}

void kp_redis_pool_release(struct redis_pool *pool)
{
	for (size_t i = 0; i < pool->idle_count; i++)
		kp_redis_disconnect(&pool->idle[i]);
	for (int i = 0; i < REDIS_SCRIPTS; i++)
		keep_buffer_release(&pool->scripts[i]);
	kp_redis_url_release(&pool->url);
	pthread_cond_destroy(&pool->freed);
	pthread_mutex_destroy(&pool->lock);
}

/* True while the server has not closed it; a restart shows here before a change is sent. */
static bool is_alive(const struct redis_link *link)
{
	char byte;

	return recv(link->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
	       (errno == EAGAIN || errno == EWOULDBLOCK);
}

static void give_link(struct redis_pool *pool, struct redis_link **link)
{
	struct redis_link *closing[KP_REDIS_LINKS_MAX + 1];
	size_t count = 0;

	pthread_mutex_lock(&pool->lock);
	if (*link && !(*link)->broken) {
		pool->idle[pool->idle_count++] = *link;
	} else {
		closing[count++] = *link;
		while (pool->idle_count > 0)
			closing[count++] = pool->idle[--pool->idle_count];
		pool->open_count -= count;
	}
	pthread_cond_broadcast(&pool->freed);
	pthread_mutex_unlock(&pool->lock);
	while (count > 0)
		kp_redis_disconnect(&closing[--count]);
	*link = NULL;
}

/* Wait for an idle connection or the right to make one (*link is NULL then). */
static keep_status reserve_link(struct redis_pool *pool, struct redis_link **link, keep_error *err)
{
	int64_t until_ns = kp_monotonic_ns() + pool->timeout_ms * 1000000;
	struct timespec until = {.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000};
	int failed = 0;

	*link = NULL;
	pthread_mutex_lock(&pool->lock);
	while (pool->idle_count == 0 && pool->open_count == KP_REDIS_LINKS_MAX && !failed)
		failed = pthread_cond_timedwait(&pool->freed, &pool->lock, &until);
	if (pool->idle_count > 0) {
		*link = pool->idle[--pool->idle_count];
		failed = 0;
	} else if (pool->open_count < KP_REDIS_LINKS_MAX) {
		pool->open_count++;
		failed = 0;
	}
	pthread_mutex_unlock(&pool->lock);
	return failed ? kp_fail(err, KEEP_BUSY, "redis: all %d connections are in use",
				KP_REDIS_LINKS_MAX)
		      : KEEP_OK;
}

static keep_status take_link(struct redis_pool *pool, enum redis_intent intent,
			     struct redis_link **link, keep_error *err)
{
	keep_status status = reserve_link(pool, link, err);

	while (status == KEEP_OK && *link && intent == REDIS_CHANGE && !is_alive(*link)) {
		(*link)->broken = true;
		give_link(pool, link);
		status = reserve_link(pool, link, err);
	}
	if (status != KEEP_OK || *link)
		return status;
	status = kp_redis_connect(pool, link, err);
	if (status != KEEP_OK)
		give_link(pool, link); /* gives up the right to it */
	return status;
}

/* "MOVED 3999 127.0.0.1:6381": remember the node. An empty host means the one that answered. */
static bool follow(struct redis_pool *pool, const redisReply *reply)
{
	const char *address = strrchr(reply->str, ' ');
	const char *colon = address ? strrchr(address, ':') : NULL;
	int64_t port;
	size_t len;

	if (strncmp(reply->str, "MOVED ", 6) != 0 || !colon ||
	    !kp_int_parse(keep_bytes_of(colon + 1), &port) || port < 1 || port > 65535)
		return false;
	len = (size_t)(colon - address - 1);
	pthread_mutex_lock(&pool->lock);
	if (len > 0 && len < sizeof pool->node_host) {
		memcpy(pool->node_host, address + 1, len);
		pool->node_host[len] = '\0';
	} else if (!pool->node_host[0]) {
		snprintf(pool->node_host, sizeof pool->node_host, "%s",
			 pool->url.host.data ? pool->url.host.data : "127.0.0.1");
	}
	pool->node_port = port;
	pthread_mutex_unlock(&pool->lock);
	return true;
}

/* How one try of a call ended. */
struct attempt {
	bool sent;      /* the whole request left */
	bool broken;    /* the connection broke */
	bool timed_out; /* for lack of an answer in time */
	bool moved;     /* another node has the keys */
};

static keep_status try_call(struct redis_pool *pool, const struct redis_request *request,
			    enum redis_intent intent, struct attempt *attempt, redisReply **out,
			    keep_error *err)
{
	struct redis_link *link = NULL;
	keep_status status = take_link(pool, intent, &link, err);

	*attempt = (struct attempt){.sent = false};
	if (status != KEEP_OK)
		return status;
	status = kp_redis_exchange(pool, link, request, &attempt->sent, out, err);
	attempt->broken = status != KEEP_OK && link->broken;
	attempt->timed_out = link->timed_out;
	if (status == KEEP_OK && (*out)->type == REDIS_REPLY_ERROR) {
		attempt->moved = follow(pool, *out);
		link->broken = link->broken || attempt->moved;
		status = kp_redis_refusal(*out, err);
		freeReplyObject(*out);
		*out = NULL;
	}
	give_link(pool, &link);
	return status;
}

keep_status kp_redis_call(struct redis_pool *pool, const struct redis_request *request,
			  enum redis_intent intent, redisReply **out, keep_error *err)
{
	bool repeated = false;
	int moves = 0;

	*out = NULL;
	for (;;) {
		struct attempt attempt;
		keep_error local = KEEP_ERROR_INIT;
		keep_error *details = err ? err : &local;
		keep_status status = try_call(pool, request, intent, &attempt, out, details);

		if (status == KEEP_OK)
			return KEEP_OK;
		if (attempt.moved && moves++ < REDIRECTIONS_MAX)
			continue;
		if (attempt.broken && attempt.sent && intent == REDIS_CHANGE) {
			details->status = KEEP_UNCERTAIN;
			return kp_prefix(details, KEEP_UNCERTAIN,
					 "the change was sent and not answered");
		}
		if (!attempt.broken || attempt.timed_out || repeated)
			return status;
		repeated = true;
	}
}

keep_status kp_redis_pool_start(struct redis_pool *pool, keep_error *err)
{
	struct redis_link *link = NULL;
	keep_status status = take_link(pool, REDIS_READ, &link, err);

	if (status != KEEP_OK)
		return status;
	for (int i = 1; i < REDIS_SCRIPTS && status == KEEP_OK; i++) {
		struct redis_request request;
		redisReply *reply = NULL;

		kp_redis_begin(&request, REDIS_COMMAND);
		kp_redis_put_text(&request, "SCRIPT");
		kp_redis_put_text(&request, "LOAD");
		kp_redis_put(&request, kp_buffer_bytes(&pool->scripts[i]));
		status = kp_redis_command(pool, link, &request, &reply, err);
		if (status == KEEP_OK && (reply->type != REDIS_REPLY_STRING || reply->len != 40))
			status = kp_redis_odd("SCRIPT LOAD", err);
		if (status == KEEP_OK)
			memcpy(pool->digests[i], reply->str, 41);
		freeReplyObject(reply);
		kp_redis_request_release(&request);
	}
	give_link(pool, &link);
	return status;
}

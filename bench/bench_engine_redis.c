/*
 * bench_engine_redis.c - the Redis engine beside hiredis by hand.
 *
 *     bench_engine_redis          (KEEP_TEST_REDIS: the server's socket)
 *
 * By hand, a list is ZREVRANGE and then MGET, two round trips; a set is SET and then ZADD, two
 * commands that a killed client leaves half done. `unset` of a leaf is timed with 1,000 and with
 * 200,000 foreign keys on the server.
 */
#include "bench.h"
#include "core/core.h"
#include "keep/engine.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DOCUMENTS = 10000, PAGE = 50, VALUE_BYTES = 500, FOREIGN = 200000 };

struct bench {
	keep_engine *engine;
	redisContext *redis;
	char bytes[VALUE_BYTES];
	uint64_t seed;
};

static void must(keep_status status, const keep_error *err)
{
	if (status != KEEP_OK)
		bench_fail("%s: %s", keep_status_name(status), err->message);
}

static keep_bytes document_path(long i, char room[80])
{
	int len = snprintf(room, 80, "chat/ada/message/3EB0%06ld", i);

	return (keep_bytes){room, (size_t)len};
}

static double keep_get(void *ctx, long count)
{
	struct bench *bench = ctx;
	keep_buffer value = KEEP_BUFFER_INIT;
	double start = bench_now();
	keep_error err;
	char room[80];

	for (long i = 0; i < count; i++)
		must(keep_engine_get(
			     bench->engine,
			     document_path((long)(bench_random(&bench->seed) % DOCUMENTS), room),
			     &value, &err),
		     &err);
	keep_buffer_release(&value);
	return bench_now() - start;
}

static redisReply *ask(struct bench *bench, redisReply *reply)
{
	if (!reply || reply->type == REDIS_REPLY_ERROR)
		bench_fail("redis: %s", reply ? reply->str : bench->redis->errstr);
	return reply;
}

static double hand_get(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();
	char room[80];

	for (long i = 0; i < count; i++) {
		keep_bytes path =
			document_path((long)(bench_random(&bench->seed) % DOCUMENTS), room);

		freeReplyObject(ask(bench, redisCommand(bench->redis, "GET bench:doc:%b", path.data,
							path.len)));
	}
	return bench_now() - start;
}

static double keep_list(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();
	keep_error err;

	for (long i = 0; i < count; i++) {
		keep_engine_list list;

		must(keep_engine_list_values(bench->engine, KEEP_BYTES("chat/ada/message"), 0, PAGE,
					     &list, &err),
		     &err);
		keep_engine_list_release(&list);
	}
	return bench_now() - start;
}

static double hand_list(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();

	for (long i = 0; i < count; i++) {
		redisReply *names =
			ask(bench, redisCommand(bench->redis, "ZREVRANGE "
							      "bench:idx:chat/ada/message 0 49"));
		const char *args[PAGE + 1] = {"MGET"};
		size_t lens[PAGE + 1] = {4};
		char keys[PAGE][120];

		for (size_t k = 0; k < names->elements; k++) {
			int len = snprintf(keys[k], sizeof keys[k], "bench:doc:%s",
					   names->element[k]->str);

			args[k + 1] = keys[k];
			lens[k + 1] = (size_t)len;
		}
		freeReplyObject(ask(bench, redisCommandArgv(bench->redis, (int)names->elements + 1,
							    args, lens)));
		freeReplyObject(names);
	}
	return bench_now() - start;
}

static double keep_set(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();
	keep_error err;
	char room[80];

	for (long i = 0; i < count; i++)
		must(keep_engine_set(
			     bench->engine,
			     document_path((long)(bench_random(&bench->seed) % DOCUMENTS), room),
			     (keep_bytes){bench->bytes, VALUE_BYTES}, &err),
		     &err);
	return bench_now() - start;
}

static double hand_set(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();
	char room[80];

	for (long i = 0; i < count; i++) {
		keep_bytes path =
			document_path((long)(bench_random(&bench->seed) % DOCUMENTS), room);

		freeReplyObject(
			ask(bench, redisCommand(bench->redis, "SET bench:doc:%b %b", path.data,
						path.len, bench->bytes, (size_t)VALUE_BYTES)));
		freeReplyObject(ask(
			bench, redisCommand(bench->redis, "ZADD bench:idx:chat/ada/message %lld %b",
					    (long long)kp_clock_ms(), path.data, path.len)));
	}
	return bench_now() - start;
}

/* Many sets in one request. */
static double keep_batch(void *ctx, long count)
{
	enum { BATCH = 100 };
	struct bench *bench = ctx;
	static char rooms[BATCH][80];
	keep_engine_change changes[BATCH];
	double start = bench_now();
	keep_error err;

	for (long done = 0; done < count; done += BATCH) {
		for (int i = 0; i < BATCH; i++)
			changes[i] = (keep_engine_change){
				.kind = KEEP_ENGINE_SET,
				.path = document_path(
					(long)(bench_random(&bench->seed) % DOCUMENTS), rooms[i]),
				.value = {bench->bytes, VALUE_BYTES}};
		must(keep_engine_batch(bench->engine, changes, BATCH, &err), &err);
	}
	return bench_now() - start;
}

static double keep_unset(void *ctx, long count)
{
	struct bench *bench = ctx;
	double taken = 0;
	keep_error err;
	char room[80];

	for (long i = 0; i < count; i++) {
		keep_bytes path =
			document_path((long)(bench_random(&bench->seed) % DOCUMENTS), room);
		double start = bench_now();

		must(keep_engine_unset(bench->engine, path, &err), &err);
		taken += bench_now() - start;
		must(keep_engine_set(bench->engine, path, (keep_bytes){bench->bytes, VALUE_BYTES},
				     &err),
		     &err);
	}
	return taken;
}

static void add_foreign_keys(struct bench *bench)
{
	for (long i = 0; i < FOREIGN; i++)
		redisAppendCommand(bench->redis, "SET foreign:doc:%ld x", i);
	for (long i = 0; i < FOREIGN; i++) {
		void *reply;

		if (redisGetReply(bench->redis, &reply) != REDIS_OK)
			bench_fail("redis: %s", bench->redis->errstr);
		freeReplyObject(reply);
	}
}

int main(void)
{
	const char *socket = getenv("KEEP_TEST_REDIS");
	keep_engine_options options = KEEP_ENGINE_OPTIONS_INIT;
	struct bench bench = {.seed = 7};
	double few[5], many[5];
	char url[300], room[80], note[120];
	keep_error err;

	if (!socket)
		bench_fail("KEEP_TEST_REDIS is not set: run under tests/support/with_servers.sh");
	snprintf(url, sizeof url, "redis+unix://%s?prefix=bench", socket);
	options.create = true;
	must(keep_engine_open(url, &options, &bench.engine, &err), &err);
	bench.redis = redisConnectUnix(socket);
	memset(bench.bytes, 'k', sizeof bench.bytes);
	for (long i = 0; i < DOCUMENTS; i++)
		must(keep_engine_set(bench.engine, document_path(i, room),
				     (keep_bytes){bench.bytes, VALUE_BYTES}, &err),
		     &err);
	bench_title(
		"The Redis engine (A) beside hiredis by hand (B), server with appendfsync always");
	bench_run(&(struct bench_pair){"get", "-", "keep", "GET", keep_get, hand_get, &bench,
				       &bench, 10000, 9, 0});
	bench_run(&(struct bench_pair){"list(50)", "-", "keep", "ZREVRANGE, MGET", keep_list,
				       hand_list, &bench, &bench, 3000, 9, 0});
	bench_run(&(struct bench_pair){"set, overwrite", "server", "keep", "SET, ZADD", keep_set,
				       hand_set, &bench, &bench, 1000, 7, 0});
	bench_run(&(struct bench_pair){"set, in batches of 100", "server", "keep", "one by one",
				       keep_batch, keep_set, &bench, &bench, 2000, 7, 0});
	for (int i = 0; i < 5; i++)
		few[i] = 500 / keep_unset(&bench, 500);
	add_foreign_keys(&bench);
	for (int i = 0; i < 5; i++)
		many[i] = 500 / keep_unset(&bench, 500);
	snprintf(note, sizeof note, "%.0f unsets/s with %d foreign keys, ratio %.2f",
		 bench_median(many, 5), FOREIGN, bench_median(many, 5) / bench_median(few, 5));
	bench_tell("unset of a leaf", "server", bench_median(few, 5), note);
	redisFree(bench.redis);
	keep_engine_close(&bench.engine);
	return 0;
}

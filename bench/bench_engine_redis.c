/*
 * bench_engine_redis.c - the Redis engine beside hiredis by hand.
 *
 *     bench_engine_redis          (KEEP_TEST_REDIS: the server's socket)
 *
 * By hand, a list is ZREVRANGE and then MGET, two round trips; a set is SET and then ZADD, two
 * commands that a killed client leaves half done. `unset` of a leaf is timed with 1,000 and with
 * 200,000 foreign keys on the server.
 */
#include "bench_engine.h"
#include "core/core.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DOCUMENTS = 10000, FOREIGN = 200000 };

struct bench {
	struct bench_engine own; /* first */
	redisContext *redis;
};

static keep_bytes document_path(const struct bench_engine *bench, long i, char room[80])
{
	(void)bench;
	return (keep_bytes){room, (size_t)snprintf(room, 80, "chat/ada/message/3EB0%06ld", i)};
}

static keep_bytes the_folder(const struct bench_engine *bench, long i, char room[80])
{
	(void)bench, (void)i, (void)room;
	return KEEP_BYTES("chat/ada/message");
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
		keep_bytes path = bench_random_path(&bench->own, room);

		freeReplyObject(ask(bench, redisCommand(bench->redis, "GET bench:doc:%b", path.data,
							path.len)));
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
		const char *args[BENCH_PAGE + 1] = {"MGET"};
		size_t lens[BENCH_PAGE + 1] = {4};
		char keys[BENCH_PAGE][120];

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

static double hand_set(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();
	char room[80];

	for (long i = 0; i < count; i++) {
		keep_bytes path = bench_random_path(&bench->own, room);

		freeReplyObject(ask(bench, redisCommand(bench->redis, "SET bench:doc:%b %b",
							path.data, path.len, bench->own.bytes,
							(size_t)BENCH_VALUE_BYTES)));
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
				.path = bench_random_path(&bench->own, rooms[i]),
				.value = {bench->own.bytes, sizeof bench->own.bytes}};
		if (keep_engine_batch(bench->own.engine, changes, BATCH, &err) != KEEP_OK)
			bench_fail("%s", err.message);
	}
	return bench_now() - start;
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
	struct bench bench = {.own = {.documents = DOCUMENTS,
				      .folders = 1,
				      .path = document_path,
				      .folder = the_folder,
				      .seed = 7}};
	double few[5], many[5];
	char url[300], note[120];

	if (!socket)
		bench_fail("KEEP_TEST_REDIS is not set: run under tests/support/with_servers.sh");
	snprintf(url, sizeof url, "redis+unix://%s?prefix=bench", socket);
	bench_engine_open(&bench.own, url, false);
	bench.redis = redisConnectUnix(socket);
	bench_engine_load(&bench.own);
	bench_title(
		"The Redis engine (A) beside hiredis by hand (B), server with appendfsync always");
	bench_run(&(struct bench_pair){"get", "-", "keep", "GET", bench_get, hand_get, &bench,
				       &bench, 10000, 9, 0});
	bench_run(&(struct bench_pair){"list(50)", "-", "keep", "ZREVRANGE, MGET", bench_list,
				       hand_list, &bench, &bench, 3000, 9, 0});
	bench_run(&(struct bench_pair){"set, overwrite", "server", "keep", "SET, ZADD", bench_set,
				       hand_set, &bench, &bench, 1000, 7, 0});
	bench_run(&(struct bench_pair){"set, in batches of 100", "server", "batches", "one by one",
				       keep_batch, bench_set, &bench, &bench, 2000, 7, 0});
	for (int i = 0; i < 5; i++)
		few[i] = 500 / bench_unset(&bench, 500);
	add_foreign_keys(&bench);
	for (int i = 0; i < 5; i++)
		many[i] = 500 / bench_unset(&bench, 500);
	snprintf(note, sizeof note, "%.0f unsets/s with %d foreign keys, ratio %.2f",
		 bench_median(many, 5), FOREIGN, bench_median(many, 5) / bench_median(few, 5));
	bench_tell("unset of a leaf", "server", bench_median(few, 5), note);
	redisFree(bench.redis);
	bench_engine_close(&bench.own);
	return 0;
}

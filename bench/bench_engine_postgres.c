/*
 * bench_engine_postgres.c - the PostgreSQL engine: what sharing transactions and round trips gives.
 *
 *     bench_engine_postgres       (KEEP_TEST_POSTGRES: libpq's conninfo)
 *
 * The base is libpq by hand on the same table: a prepared SELECT for get; for set, one prepared
 * UPDATE of the value alone in its own transaction, which keeps no order and takes no lock, and so
 * is less than what the engine does.
 */
#include "bench.h"
#include "keep/engine.h"

#include <libpq-fe.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DOCUMENTS = 5000, VALUE_BYTES = 500, THREADS = 32 };

struct bench {
	keep_engine *engine;
	PGconn *pg;
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
	int len = snprintf(room, 80, "chat/%ld/message/3EB0%06ld", i % 50, i);

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

static void run_prepared(struct bench *bench, const char *name, int count,
			 const char *const *values, const int *lens, const int *formats)
{
	PGresult *result = PQexecPrepared(bench->pg, name, count, values, lens, formats, 1);
	ExecStatusType status = PQresultStatus(result);

	if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
		bench_fail("%s", PQerrorMessage(bench->pg));
	PQclear(result);
}

static double hand_get(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();
	char room[80];

	for (long i = 0; i < count; i++) {
		const char *values[] = {
			document_path((long)(bench_random(&bench->seed) % DOCUMENTS), room).data};

		run_prepared(bench, "get", 1, values, NULL, NULL);
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
		const char *values[] = {path.data, bench->bytes};
		int lens[] = {0, VALUE_BYTES}, formats[] = {0, 1};

		run_prepared(bench, "set", 2, values, lens, formats);
	}
	return bench_now() - start;
}

struct writer {
	struct bench *bench;
	uint64_t seed;
	long count;
};

static void *write_many(void *ctx)
{
	struct writer *writer = ctx;
	struct bench own = *writer->bench;

	own.seed = writer->seed;
	keep_set(&own, writer->count);
	return NULL;
}

static double keep_set_threads(void *ctx, long count)
{
	struct bench *bench = ctx;
	pthread_t threads[THREADS];
	struct writer writers[THREADS];
	double start = bench_now();

	for (int i = 0; i < THREADS; i++) {
		writers[i] = (struct writer){bench, bench_random(&bench->seed), count / THREADS};
		if (pthread_create(&threads[i], NULL, write_many, &writers[i]))
			bench_fail("no thread");
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	return bench_now() - start;
}

static void prepare(struct bench *bench, const char *name, const char *sql)
{
	PGresult *result = PQprepare(bench->pg, name, sql, 0, NULL);

	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		bench_fail("%s", PQerrorMessage(bench->pg));
	PQclear(result);
}

static void make_url(const char *conninfo, char url[400])
{
	const char *host = strstr(conninfo, "host=");

	snprintf(url, 400, "postgres:///postgres?host=%.*s&user=keep&schema=bench",
		 host ? (int)strcspn(host + 5, " ") : 0, host ? host + 5 : "");
}

int main(void)
{
	const char *conninfo = getenv("KEEP_TEST_POSTGRES");
	keep_engine_options options = KEEP_ENGINE_OPTIONS_INIT;
	struct bench bench = {.seed = 7};
	keep_engine_info info;
	char url[400], room[80];
	keep_error err;

	if (!conninfo)
		bench_fail(
			"KEEP_TEST_POSTGRES is not set: run under tests/support/with_servers.sh");
	make_url(conninfo, url);
	options.create = true;
	must(keep_engine_open(url, &options, &bench.engine, &err), &err);
	keep_engine_describe(bench.engine, &info);
	bench.pg = PQconnectdb(conninfo);
	memset(bench.bytes, 'k', sizeof bench.bytes);
	for (long i = 0; i < DOCUMENTS; i++)
		must(keep_engine_set(bench.engine, document_path(i, room),
				     (keep_bytes){bench.bytes, VALUE_BYTES}, &err),
		     &err);
	prepare(&bench, "get",
		"SELECT value FROM bench.documents WHERE owner = 'default' AND "
		"id = sha256(convert_to($1::text, 'UTF8'))");
	prepare(&bench, "set",
		"UPDATE bench.documents SET value = $2::bytea WHERE owner = 'default' AND "
		"id = sha256(convert_to($1::text, 'UTF8'))");
	bench_title("The PostgreSQL engine (A)");
	bench_run(&(struct bench_pair){"get", "-", "keep", "libpq", keep_get, hand_get, &bench,
				       &bench, 5000, 9, 0});
	bench_run(&(struct bench_pair){"set, overwrite, one thread", info.durability, "keep",
				       "libpq, value alone", keep_set, hand_set, &bench, &bench,
				       500, 7, 0});
	bench_run(&(struct bench_pair){"set, 32 threads / one thread", info.durability,
				       "32 threads", "one thread", keep_set_threads, keep_set,
				       &bench, &bench, 1600, 7, 0});
	PQfinish(bench.pg);
	keep_engine_close(&bench.engine);
	return 0;
}

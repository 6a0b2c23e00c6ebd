/*
 * bench_engine_postgres.c - the PostgreSQL engine: what sharing transactions and round trips gives.
 *
 *     bench_engine_postgres       (KEEP_TEST_POSTGRES: libpq's conninfo)
 *
 * The base is libpq by hand on the same table: a prepared SELECT for get; for set, one prepared
 * UPDATE of the value alone in its own transaction, which keeps no order and takes no lock, and so
 * is less than what the engine does.
 */
#include "bench_engine.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DOCUMENTS = 5000, CHATS = 50 };

struct bench {
	struct bench_engine own; /* first */
	PGconn *pg;
};

static keep_bytes document_path(const struct bench_engine *bench, long i, char room[80])
{
	(void)bench;
	return (keep_bytes){room,
			    (size_t)snprintf(room, 80, "chat/%ld/message/3EB0%06ld", i % CHATS, i)};
}

static keep_bytes chat_path(const struct bench_engine *bench, long i, char room[80])
{
	(void)bench;
	return (keep_bytes){room, (size_t)snprintf(room, 80, "chat/%ld/message", i)};
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
		const char *values[] = {bench_random_path(&bench->own, room).data};

		run_prepared(bench, "get", 1, values, NULL, NULL);
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
		const char *values[] = {path.data, bench->own.bytes};
		int lens[] = {0, BENCH_VALUE_BYTES}, formats[] = {0, 1};

		run_prepared(bench, "set", 2, values, lens, formats);
	}
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
	struct bench bench = {.own = {.documents = DOCUMENTS,
				      .folders = CHATS,
				      .path = document_path,
				      .folder = chat_path,
				      .seed = 7}};
	keep_engine_info info;
	char url[400];

	if (!conninfo)
		bench_fail(
			"KEEP_TEST_POSTGRES is not set: run under tests/support/with_servers.sh");
	make_url(conninfo, url);
	bench_engine_open(&bench.own, url, false);
	keep_engine_describe(bench.own.engine, &info);
	bench.pg = PQconnectdb(conninfo);
	bench_engine_load(&bench.own);
	prepare(&bench, "get",
		"SELECT value FROM bench.documents WHERE owner = 'default' AND "
		"id = sha256(convert_to($1::text, 'UTF8'))");
	prepare(&bench, "set",
		"UPDATE bench.documents SET value = $2::bytea WHERE owner = 'default' AND "
		"id = sha256(convert_to($1::text, 'UTF8'))");
	bench_title("The PostgreSQL engine (A)");
	bench_run(&(struct bench_pair){"get", "-", "keep", "libpq", bench_get, hand_get, &bench,
				       &bench, 5000, 9, 0});
	bench_run(&(struct bench_pair){"set, overwrite, one thread", info.durability, "keep",
				       "libpq, value alone", bench_set, hand_set, &bench, &bench,
				       500, 7, 0});
	bench_run(&(struct bench_pair){"set, 32 threads / one thread", info.durability,
				       "32 threads", "one thread", bench_set_threads, bench_set,
				       &bench, &bench, 1600, 7, 0});
	bench_tell("list(50)", "-", 2000 / bench_list(&bench, 2000), "");
	PQfinish(bench.pg);
	bench_engine_close(&bench.own);
	return 0;
}

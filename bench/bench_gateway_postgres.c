/*
 * bench_gateway_postgres.c - the gateway's store in PostgreSQL, against libpq by hand.
 *
 *     bench_gateway_postgres       (KEEP_TEST_POSTGRES: libpq's conninfo)
 *
 * Each side has a schema of its own, made by keep_gateway_open. By hand a message is an INSERT of
 * all columns and an UPSERT of its chat between BEGIN and COMMIT, prepared, in pipeline mode: one
 * round trip; no probe for a replay, no number to give out, no lock that orders writers.
 */
#include "bench.h"

#include "keep/gateway.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHATS = 200, BATCH = 100, COLUMNS = 28, CONTENT_BYTES = 200 };
#define T0 INT64_C(1790000000000)

struct bench {
	keep_gateway *gateway;
	PGconn *pg;
	long next_mine, next_raw;
	char content[CONTENT_BYTES + 1];
};

/* ---------------------------------------------------------------- by hand */

static void send_put(struct bench *bench, long i)
{
	char jid[32], id[32], seq[24], change[24];
	const char *values[COLUMNS] = {jid,
				       id,
				       "ada@example",
				       bench->content,
				       "2026-09-21T14:13:20.000Z",
				       "message",
				       "telegram",
				       "",
				       "f",
				       "Ada",
				       "",
				       NULL,
				       NULL,
				       NULL,
				       seq,
				       "2026-09-21T14:13:20.000Z",
				       "received",
				       NULL,
				       "0",
				       NULL,
				       NULL,
				       NULL,
				       "f",
				       NULL,
				       NULL,
				       "0",
				       NULL,
				       change};
	const char *chat[] = {jid, seq, "2026-09-21T14:13:20.000Z"};

	snprintf(jid, sizeof jid, "telegram:%ld", i % CHATS);
	snprintf(id, sizeof id, "3EB0%010ld", i);
	snprintf(seq, sizeof seq, "%ld", i / CHATS + 1);
	snprintf(change, sizeof change, "%ld", i + 1);
	if (!PQsendQueryPrepared(bench->pg, "insert", COLUMNS, values, NULL, NULL, 1) ||
	    !PQsendQueryPrepared(bench->pg, "upsert", 3, chat, NULL, NULL, 1))
		bench_fail("%s", PQerrorMessage(bench->pg));
}

static void send_prepared(struct bench *bench, const char *name)
{
	if (!PQsendQueryPrepared(bench->pg, name, 0, NULL, NULL, NULL, 1))
		bench_fail("%s", PQerrorMessage(bench->pg));
}

/* Everything up to the sync. */
static void take_results(struct bench *bench)
{
	for (;;) {
		PGresult *result = PQgetResult(bench->pg);
		ExecStatusType status = result ? PQresultStatus(result) : PGRES_COMMAND_OK;

		PQclear(result);
		if (status == PGRES_PIPELINE_SYNC)
			return;
		if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
			bench_fail("%s", PQerrorMessage(bench->pg));
	}
}

static double raw_put(struct bench *bench, long count, long a_transaction)
{
	double start = bench_now();

	for (long i = 0; i < count; i += a_transaction) {
		send_prepared(bench, "begin");
		for (long j = 0; j < a_transaction; j++)
			send_put(bench, bench->next_raw++);
		send_prepared(bench, "commit");
		if (!PQpipelineSync(bench->pg))
			bench_fail("%s", PQerrorMessage(bench->pg));
		take_results(bench);
	}
	return bench_now() - start;
}

static double raw_put_one(void *ctx, long count)
{
	return raw_put(ctx, count, 1);
}

static double raw_put_batches(void *ctx, long count)
{
	return raw_put(ctx, count, BATCH);
}

static void finish(struct bench *bench, PGresult *result)
{
	if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
		bench_fail("%s", PQerrorMessage(bench->pg));
	PQclear(result);
}

static void prepare(struct bench *bench, const char *name, const char *sql)
{
	finish(bench, PQprepare(bench->pg, name, sql, 0, NULL));
}

static void open_by_hand(struct bench *bench, const char *conninfo)
{
	bench->pg = PQconnectdb(conninfo);
	finish(bench, PQexec(bench->pg, "SET search_path = bench_hand"));
	prepare(bench, "begin", "BEGIN");
	prepare(bench, "commit", "COMMIT");
	prepare(bench, "insert",
		"INSERT INTO messages VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, "
		"$13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, "
		"$28)");
	prepare(bench, "upsert",
		"INSERT INTO chats (jid, last_seq, last_input_seq, last_message_at) "
		"VALUES ($1, $2, $2, $3) ON CONFLICT (jid) DO UPDATE SET last_seq = "
		"excluded.last_seq, last_input_seq = excluded.last_input_seq, "
		"last_message_at = excluded.last_message_at");
	if (!PQenterPipelineMode(bench->pg))
		bench_fail("no pipeline mode");
}

/* ---------------------------------------------------------------- through the library */

static keep_message make_message(const struct bench *bench, long i, char jid[32], char id[32])
{
	snprintf(jid, 32, "telegram:%ld", i % CHATS);
	snprintf(id, 32, "3EB0%010ld", i);
	return (keep_message){.chat_jid = keep_bytes_of(jid),
			      .id = keep_bytes_of(id),
			      .sender = KEEP_BYTES("ada@example"),
			      .sender_name = KEEP_BYTES("Ada"),
			      .content = keep_bytes_of(bench->content),
			      .timestamp = T0};
}

static void put(struct bench *bench, long i)
{
	char jid[32], id[32];
	keep_message message = make_message(bench, i, jid, id);
	keep_error err = KEEP_ERROR_INIT;

	if (keep_gateway_put_message(bench->gateway, &message, NULL, NULL, &err) != KEEP_OK)
		bench_fail("%s", err.message);
}

static double keep_put_one(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();

	for (long i = 0; i < count; i++)
		put(bench, bench->next_mine++);
	return bench_now() - start;
}

static double keep_put_batches(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();

	for (long i = 0; i < count; i += BATCH) {
		keep_message messages[BATCH];
		char jids[BATCH][32], ids[BATCH][32];
		keep_error err = KEEP_ERROR_INIT;

		for (int j = 0; j < BATCH; j++)
			messages[j] = make_message(bench, bench->next_mine++, jids[j], ids[j]);
		if (keep_gateway_put_messages(bench->gateway, messages, BATCH, NULL, &err) !=
		    KEEP_OK)
			bench_fail("%s", err.message);
	}
	return bench_now() - start;
}

static void make_url(const char *conninfo, const char *schema, char url[400])
{
	const char *host = strstr(conninfo, "host=");

	snprintf(url, 400, "postgres:///postgres?host=%.*s&user=keep&schema=%s",
		 host ? (int)strcspn(host + 5, " ") : 0, host ? host + 5 : "", schema);
}

static keep_gateway *open_schema(const char *conninfo, const char *schema)
{
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_gateway *gateway = NULL;
	keep_error err = KEEP_ERROR_INIT;
	char url[400];

	make_url(conninfo, schema, url);
	options.create = true;
	if (keep_gateway_open(url, &options, &gateway, &err) != KEEP_OK)
		bench_fail("%s", err.message);
	return gateway;
}

int main(void)
{
	const char *conninfo = getenv("KEEP_TEST_POSTGRES");
	struct bench bench = {0};
	keep_gateway *other = NULL;

	if (!conninfo)
		bench_fail(
			"KEEP_TEST_POSTGRES is not set: run under tests/support/with_servers.sh");
	memset(bench.content, 'x', CONTENT_BYTES);
	bench.gateway = open_schema(conninfo, "bench_keep");
	other = open_schema(conninfo, "bench_hand");
	keep_gateway_close(&other);
	open_by_hand(&bench, conninfo);
	keep_put_batches(&bench, 4000);
	raw_put_batches(&bench, 4000);
	bench_title("The gateway in PostgreSQL (A) beside libpq by hand (B)");
	bench_run(&(struct bench_pair){"put_messages of 100", "synced", "keep", "libpq, pipelined",
				       keep_put_batches, raw_put_batches, &bench, &bench, 5000, 9,
				       0.8});
	bench_run(&(struct bench_pair){"put_message", "synced", "keep", "libpq, pipelined",
				       keep_put_one, raw_put_one, &bench, &bench, 500, 9, 0});
	PQfinish(bench.pg);
	keep_gateway_close(&bench.gateway);
	return 0;
}

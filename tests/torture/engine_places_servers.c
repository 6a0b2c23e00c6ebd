/*
 * engine_places_servers.c - servers that go away: killed while idle, killed in a burst of sets,
 * stopped, refusing.
 *
 * Each test has a server of its own that syncs, so that a kill -9 may lose nothing it acknowledged.
 * The child uses the engine and asks its parent, which keeps the server, to kill and restart it.
 */
#include "bad_server.h"
#include "engine_places.h"

#include <hiredis/hiredis.h>
#include <libpq-fe.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

enum { TIMEOUT_MS = 500, SLACK_MS = 1000 };

#define AWAY (MAY(KEEP_UNAVAILABLE) | MAY(KEEP_BUSY))
#define AWAY_CHANGE (AWAY | MAY(KEEP_UNCERTAIN))

static char url[ENGINE_URL_MAX];

static bool is_postgres(void)
{
	return strcmp(places_kind.name, "postgres") == 0;
}

static void name_store(void)
{
	if (is_postgres())
		snprintf(url, sizeof url,
			 "postgres:///postgres?host=%s&user=keep&schema=places&namespace=n",
			 bad_server.folder);
	else
		snprintf(url, sizeof url, "redis+unix://%s?db=0&prefix=places",
			 bad_server.location);
}

static void with_server(void (*run)(void))
{
	with_bad_server(places_kind.name, name_store, run);
}

static keep_engine *open_with_timeout(void)
{
	keep_engine_options options = KEEP_ENGINE_OPTIONS_INIT;
	keep_engine *engine = NULL;
	keep_error err = KEEP_ERROR_INIT;

	options.create = true;
	options.timeout_ms = TIMEOUT_MS;
	WANT_OK(keep_engine_open(url, &options, &engine, &err));
	return engine;
}

/* ---------------------------------------------------------------- idle */

/* A connection that died is noticed by a call; each call may find another one. */
static void until_it_works(keep_engine *engine, documents *docs)
{
	int64_t until_ns = kp_monotonic_ns() + 5 * INT64_C(1000000000);
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer value = KEEP_BUFFER_INIT;
	char room[40];
	keep_status status;

	do {
		status = documents_set(engine, docs, 20, 100, &err);
		if (status == KEEP_OK)
			status = keep_engine_get(engine, document_path(20, room), &value, &err);
		WANT(status == KEEP_OK || AWAY_CHANGE & MAY(status), "%s: %s",
		     keep_status_name(status), err.message);
		WANT(kp_monotonic_ns() < until_ns, "still %s: %s", keep_status_name(status),
		     err.message);
	} while (status != KEEP_OK);
	keep_buffer_release(&value);
}

static void be_idle(void)
{
	keep_engine *engine = open_with_timeout();
	keep_engine_watch *watch = NULL;
	keep_error err = KEEP_ERROR_INIT;
	documents docs = {0};
	bool changed = false;

	for (unsigned i = 0; i < 8; i++)
		WANT_OK(documents_set(engine, &docs, i, 500, &err));
	WANT_OK(keep_engine_watch_open(engine, keep_bytes_of("room"), &watch, &err));
	for (int round = 0; round < 4; round++) {
		documents_expect(engine, &docs, 0, "before");
		ask(round == 3 ? SERVER_STOP : SERVER_KILL);
		if (round % 2 == 0) {
			unsigned failed = documents_expect(engine, &docs, AWAY, "without server");

			WANT(failed == docs.count + 3, "%u calls failed", failed);
			WANT(AWAY_CHANGE & MAY(documents_set(engine, &docs, 1, 40, &err)), "%s",
			     err.message);
			WANT(AWAY_CHANGE & MAY(documents_unset(engine, &docs, 2, &err)), "%s",
			     err.message);
			/* Nobody answered a COMMIT: that these are unchanged is checked below. */
		}
		ask(SERVER_RESTART);
		until_it_works(engine, &docs);
		documents_expect(engine, &docs, AWAY, "after the restart");
		documents_expect(engine, &docs, 0, "after the restart, again");
	}
	for (int tries = 0; !changed && tries < 50; tries++) {
		keep_status status;

		WANT_OK(documents_set(engine, &docs, 3, 60, &err));
		status = keep_engine_watch_wait(watch, 100, &changed, &err);
		WANT(status == KEEP_OK || AWAY & MAY(status), "watch: %s: %s",
		     keep_status_name(status), err.message);
	}
	WANT(changed, "the watch is blind after the restarts");
	keep_engine_watch_close(&watch);
	keep_engine_close(&engine);
}

void a_server_killed_while_idle_is_found_again(void **state)
{
	(void)state;
	with_server(be_idle);
}

/* ---------------------------------------------------------------- in a burst */

enum { THREADS = 8, TRIES_MAX = 30000, ROUNDS = 3, STATUSES = 32 };

struct worker {
	keep_engine *engine;
	unsigned number;
	_Atomic unsigned tries, acknowledged, failed; /* since the last reset */
	unsigned char status[TRIES_MAX];
};

static struct worker workers[THREADS];
static atomic_bool over;

static keep_bytes try_path(unsigned thread, unsigned i, char room[60])
{
	return (keep_bytes){room, (size_t)snprintf(room, 60, "burst/%u/%u", thread, i)};
}

static void *burst(void *ctx)
{
	struct worker *worker = ctx;

	while (!over && worker->tries < TRIES_MAX) {
		unsigned i = worker->tries;
		char room[60], value[60];
		keep_error err = KEEP_ERROR_INIT;
		keep_status status;

		snprintf(value, sizeof value, "%u-%u", worker->number, i);
		status = keep_engine_set(worker->engine, try_path(worker->number, i, room),
					 keep_bytes_of(value), &err);
		WANT(status == KEEP_OK || AWAY_CHANGE & MAY(status), "set: %s: %s",
		     keep_status_name(status), err.message);
		worker->status[i] = (unsigned char)status;
		worker->tries++;
		if (status == KEEP_OK) {
			worker->acknowledged++;
		} else {
			worker->failed++;
			poll(NULL, 0, 1); /* so that failures do not use up the tries */
		}
	}
	return NULL;
}

/* Until each thread has had `wanted` more calls that ended that way. */
static void wait_for_each(size_t counter, unsigned wanted)
{
	int64_t until_ns = kp_monotonic_ns() + 30 * INT64_C(1000000000);
	unsigned before[THREADS];

	for (int t = 0; t < THREADS; t++)
		before[t] = counter ? workers[t].failed : workers[t].acknowledged;
	for (int t = 0; t < THREADS;) {
		unsigned now = counter ? workers[t].failed : workers[t].acknowledged;

		if (now - before[t] >= wanted)
			t++;
		else
			poll(NULL, 0, 1);
		WANT(kp_monotonic_ns() < until_ns, "thread %d: no %s call for 30 s", t,
		     counter ? "failing" : "good");
	}
}

static void check_burst(keep_engine *engine, unsigned by_status[STATUSES])
{
	keep_buffer value = KEEP_BUFFER_INIT;

	for (unsigned t = 0; t < THREADS; t++) {
		for (unsigned i = 0; i < workers[t].tries; i++) {
			keep_status told = workers[t].status[i], status;
			keep_error err = KEEP_ERROR_INIT;
			char room[60], wanted[60];

			snprintf(wanted, sizeof wanted, "%u-%u", t, i);
			status = keep_engine_get(engine, try_path(t, i, room), &value, &err);
			WANT(status == KEEP_OK || status == KEEP_NOT_FOUND, "%s", err.message);
			WANT(told != KEEP_OK || status == KEEP_OK,
			     "%s was acknowledged and is gone", room);
			WANT(status != KEEP_OK || told == KEEP_OK || told == KEEP_UNCERTAIN,
			     "%s was %s and is there", room, keep_status_name(told));
			WANT(status != KEEP_OK ||
				     kp_bytes_equal(kp_buffer_bytes(&value), keep_bytes_of(wanted)),
			     "%s has another value", room);
			by_status[told]++;
		}
	}
	keep_buffer_release(&value);
}

static void be_busy(void)
{
	keep_engine *engine = open_with_timeout();
	unsigned by_status[STATUSES] = {0};
	pthread_t threads[THREADS];

	for (unsigned t = 0; t < THREADS; t++) {
		workers[t].engine = engine;
		workers[t].number = t;
		WANT(pthread_create(&threads[t], NULL, burst, &workers[t]) == 0, "thread");
	}
	for (int round = 0; round < ROUNDS; round++) {
		wait_for_each(0, 20);
		ask(SERVER_KILL);
		wait_for_each(1, 2);
		ask(SERVER_RESTART);
	}
	wait_for_each(0, 10);
	over = true;
	for (unsigned t = 0; t < THREADS; t++)
		pthread_join(threads[t], NULL);
	check_burst(engine, by_status);
	print_message("%d kills: %u OK, %u UNAVAILABLE, %u BUSY, %u UNCERTAIN\n", ROUNDS,
		      by_status[KEEP_OK], by_status[KEEP_UNAVAILABLE], by_status[KEEP_BUSY],
		      by_status[KEEP_UNCERTAIN]);
	keep_engine_close(&engine);
}

void a_killed_server_loses_nothing_acknowledged(void **state)
{
	(void)state;
	with_server(be_busy);
}

/* ---------------------------------------------------------------- stopped */

static int64_t begun_ns;

static void want_late(keep_status status, unsigned may, const keep_error *err, const char *call)
{
	int64_t took_ms = (kp_monotonic_ns() - begun_ns) / 1000000;

	WANT(may & MAY(status), "%s of a stopped server: %s: %s", call, keep_status_name(status),
	     status == KEEP_OK ? "" : err->message);
	WANT(took_ms <= TIMEOUT_MS + SLACK_MS * test_patience(), "%s took %lld ms", call,
	     (long long)took_ms);
	begun_ns = kp_monotonic_ns();
}

static void call_a_stopped_server(keep_engine *engine, documents *docs)
{
	keep_engine_options options = KEEP_ENGINE_OPTIONS_INIT;
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	keep_buffer value = KEEP_BUFFER_INIT;
	keep_engine_watch *watch = NULL;
	keep_engine *second = NULL;
	keep_error err = KEEP_ERROR_INIT;
	int64_t count;
	char room[40];

	options.shared = true;
	options.timeout_ms = TIMEOUT_MS;
	begun_ns = kp_monotonic_ns();
	for (int twice = 0; twice < 2; twice++) {
		want_late(keep_engine_get(engine, document_path(1, room), &value, &err), AWAY, &err,
			  "get");
		want_late(documents_set(engine, docs, 10, 30, &err), AWAY_CHANGE, &err, "set");
		want_late(keep_engine_list_values(engine, keep_bytes_of("room"), 0, 9, &list, &err),
			  AWAY, &err, "list");
		want_late(keep_engine_count(engine, keep_bytes_of("room"), &count, &err), AWAY,
			  &err, "count");
		want_late(documents_unset(engine, docs, 11, &err), AWAY_CHANGE, &err, "unset");
		want_late(documents_batch(engine, docs, 12, 2, 30, &err), AWAY_CHANGE, &err,
			  "batch");
		want_late(keep_engine_watch_open(engine, keep_bytes_of("room"), &watch, &err),
			  AWAY | MAY(KEEP_OK), &err, "watch_open");
		keep_engine_watch_close(&watch);
		begun_ns = kp_monotonic_ns();
		want_late(keep_engine_open(url, &options, &second, &err), AWAY, &err, "open");
	}
	keep_engine_list_release(&list);
	keep_buffer_release(&value);
}

static void be_stopped(void)
{
	keep_engine *engine = open_with_timeout();
	keep_error err = KEEP_ERROR_INIT;
	documents docs = {0}, all;

	for (unsigned i = 1; i < 8; i++)
		WANT_OK(documents_set(engine, &docs, i, 500, &err));
	documents_expect(engine, &docs, 0, "before");
	all = docs;
	ask(SERVER_PAUSE);
	call_a_stopped_server(engine, &all);
	ask(SERVER_RESUME);
	until_it_works(engine, &all);
	/* What was uncertain may be there, now or after a connection's last breath. */
	for (unsigned i = 10; i < 20; i++) {
		keep_status status;

		do
			status = documents_unset(engine, &docs, i, &err);
		while (AWAY_CHANGE & MAY(status));
		WANT_OK(status);
	}
	while (documents_unset(engine, &docs, 20, &err) != KEEP_OK)
		;
	documents_expect(engine, &docs, AWAY, "after it went on");
	documents_expect(engine, &docs, 0, "after it went on, again");
	keep_engine_close(&engine);
}

void a_stopped_server_does_not_hold_a_call_beyond_its_time_limit(void **state)
{
	(void)state;
	with_server(be_stopped);
}

/* ---------------------------------------------------------------- refusing */

#define RIGHT "right%2Fword"
#define WRONG "wr0ngS3cret"

static void run_sql(PGconn *conn, const char *sql)
{
	PGresult *result = PQexec(conn, sql);
	ExecStatusType status = PQresultStatus(result);

	WANT(status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK, "%s: %s", sql,
	     PQerrorMessage(conn));
	PQclear(result);
}

static void lock_postgres(void)
{
	PGconn *conn = PQconnectdb(bad_server.location);
	char path[128];
	FILE *rules;

	WANT(PQstatus(conn) == CONNECTION_OK, "%s", PQerrorMessage(conn));
	run_sql(conn, "CREATE ROLE locked LOGIN PASSWORD 'right/word'");
	run_sql(conn, "CREATE ROLE weak LOGIN");
	run_sql(conn, "GRANT CREATE ON DATABASE postgres TO locked");
	snprintf(path, sizeof path, "%s/data/pg_hba.conf", bad_server.folder);
	rules = fopen(path, "w");
	WANT(rules && fputs("local all locked scram-sha-256\nlocal all all trust\n", rules) > 0 &&
		     fclose(rules) == 0,
	     "%s", path);
	PQfinish(conn);
}

static void lock_redis(void)
{
	redisContext *redis = redisConnectUnix(bad_server.location);
	redisReply *reply;

	WANT(redis && !redis->err, "redis");
	reply = redisCommand(redis, "CONFIG SET requirepass %s", "right/word");
	WANT(reply && reply->type == REDIS_REPLY_STATUS, "CONFIG SET");
	freeReplyObject(reply);
	redisFree(redis);
}

static void want_open_status(const char *password, keep_status wanted)
{
	char text[ENGINE_URL_MAX];
	keep_engine *engine = NULL;
	keep_error err = KEEP_ERROR_INIT;

	if (is_postgres())
		snprintf(text, sizeof text,
			 "postgres://locked%s%s@/postgres?host=%s&schema=locked&namespace=n",
			 *password ? ":" : "", password, bad_server.folder);
	else
		snprintf(text, sizeof text, "redis+unix://%s%s%s%s?db=0&prefix=p",
			 *password ? ":" : "", password, *password ? "@" : "", bad_server.location);
	WANT_STATUS(try_open(text, true, false, &engine, &err), wanted);
	WANT(!strstr(err.message, WRONG) && !strstr(err.message, "right/word"),
	     "the password is in the message: %s", err.message);
	keep_engine_close(&engine);
}

static void be_refused(void)
{
	keep_engine *engine = NULL;
	keep_error err = KEEP_ERROR_INIT;

	if (is_postgres()) {
		lock_postgres();
		ask(SERVER_STOP); /* it reads its rules anew */
		ask(SERVER_RESTART);
	} else {
		lock_redis();
	}
	want_open_status("", KEEP_DENIED);
	want_open_status(WRONG, KEEP_DENIED);
	want_open_status(RIGHT, KEEP_OK);
	if (is_postgres()) {
		char text[ENGINE_URL_MAX];

		snprintf(text, sizeof text, "postgres://weak@/postgres?host=%s&schema=strong",
			 bad_server.folder);
		WANT_STATUS(try_open(text, true, false, &engine, &err), KEEP_DENIED);
		snprintf(text, sizeof text, "postgres://weak@/postgres?host=%s&schema=locked",
			 bad_server.folder);
		WANT_STATUS(try_open(text, false, false, &engine, &err), KEEP_DENIED);
	}
	ask(SERVER_STOP);
	want_open_status(RIGHT, KEEP_UNAVAILABLE);
	if (is_postgres())
		WANT_STATUS(try_open("postgres://keep:" WRONG "@127.0.0.1:1/postgres", true, false,
				     &engine, &err),
			    KEEP_UNAVAILABLE);
	else
		WANT_STATUS(
			try_open("redis://:" WRONG "@127.0.0.1:1/0", true, false, &engine, &err),
			KEEP_UNAVAILABLE);
	WANT(!strstr(err.message, WRONG), "the password is in the message: %s", err.message);
}

void a_server_that_refuses_is_denied_or_unavailable(void **state)
{
	(void)state;
	with_server(be_refused);
}

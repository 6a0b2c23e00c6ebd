/*
 * gateway_places_servers.c - PostgreSQL goes away: killed in a burst of puts and under waits,
 * stopped, without the schema, without rights, without free connections.
 *
 * Each test has a server of its own that syncs (bad_server.h). What was answered OK is there, once;
 * what failed is not; UNCERTAIN may be either, and is told only where a COMMIT was under way.
 */
#include "bad_server.h"
#include "gateway_places.h"

#include <libpq-fe.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

enum { TIMEOUT_MS = 500, SLACK_MS = 1000 };

#define AWAY (MAY(KEEP_UNAVAILABLE) | MAY(KEEP_BUSY))
#define AWAY_CHANGE (AWAY | MAY(KEEP_UNCERTAIN))
#define SECOND_NS INT64_C(1000000000)

static char url[GATEWAY_URL_MAX];

static void name_store(void)
{
	snprintf(url, sizeof url, "postgres:///postgres?host=%s&user=keep&schema=places",
		 bad_server.folder);
}

static void with_server(void (*run)(void))
{
	with_bad_server("postgres", name_store, run);
}

static keep_gateway *open_with_timeout(void)
{
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_gateway *gateway = NULL;
	keep_error err = KEEP_ERROR_INIT;

	options.create = true;
	options.timeout_ms = TIMEOUT_MS;
	WANT_OK(keep_gateway_open(url, &options, &gateway, &err));
	return gateway;
}

static PGconn *connect_as(const char *user)
{
	char info[200];
	PGconn *conn;

	snprintf(info, sizeof info, "host=%s user=%s dbname=postgres", bad_server.folder, user);
	conn = PQconnectdb(info);
	WANT(PQstatus(conn) == CONNECTION_OK, "%s", PQerrorMessage(conn));
	return conn;
}

static void run_sql(const char *sql)
{
	PGconn *conn = connect_as("keep");
	PGresult *result = PQexec(conn, sql);
	ExecStatusType status = PQresultStatus(result);

	WANT(status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK, "%s: %s", sql,
	     PQerrorMessage(conn));
	PQclear(result);
	PQfinish(conn);
}

/* Put until it is OK: a connection that died is noticed by a call. */
static void until_it_works(keep_gateway *gateway, ledger *book)
{
	int64_t until_ns = kp_monotonic_ns() + 5 * SECOND_NS * test_patience();
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;

	do {
		status = ledger_advance(gateway, book, 0, &err);
		WANT(status == KEEP_OK || AWAY_CHANGE & MAY(status), "%s: %s",
		     keep_status_name(status), err.message);
		WANT(kp_monotonic_ns() < until_ns, "still %s: %s", keep_status_name(status),
		     err.message);
	} while (status != KEEP_OK);
}

/* ---------------------------------------------------------------- in a burst */

enum { THREADS = 6, CHATS = 3, TRIES_MAX = 20000, ROUNDS = 3, STATUSES = 32 };

struct worker {
	keep_gateway *gateway;
	unsigned number;
	_Atomic unsigned tries, acknowledged, failed;
	unsigned char status[TRIES_MAX];
	int64_t seq[TRIES_MAX]; /* as answered */
};

static struct worker workers[THREADS];
static atomic_bool over;

static keep_message name_try(unsigned thread, unsigned i, char jid[40], char id[40])
{
	snprintf(jid, 40, "burst:%u", (thread + i) % CHATS);
	snprintf(id, 40, "%u-%u", thread, i);
	return (keep_message){.chat_jid = keep_bytes_of(jid),
			      .id = keep_bytes_of(id),
			      .content = keep_bytes_of(id)};
}

static void *burst(void *ctx)
{
	struct worker *worker = ctx;

	while (!over && worker->tries < TRIES_MAX) {
		unsigned i = worker->tries;
		char jid[40], id[40];
		keep_message message = name_try(worker->number, i, jid, id);
		keep_put_result result = {KEEP_PUT_CONFLICT, 0};
		keep_error err = KEEP_ERROR_INIT;
		keep_status status =
			keep_gateway_put_message(worker->gateway, &message, NULL, &result, &err);

		WANT(status == KEEP_OK || AWAY_CHANGE & MAY(status), "put: %s: %s",
		     keep_status_name(status), err.message);
		worker->status[i] = (unsigned char)status;
		worker->seq[i] = result.seq;
		worker->tries++;
		if (status == KEEP_OK) {
			WANT(result.put == KEEP_PUT_INSERTED, "%s is a %s", id,
			     keep_put_name(result.put));
			worker->acknowledged++;
		} else {
			worker->failed++;
			poll(NULL, 0, 1); /* so that failures do not use up the tries */
		}
	}
	return NULL;
}

/* Until each thread has had `wanted` more calls that ended that way. */
static void wait_for_each(bool failed, unsigned wanted)
{
	int64_t until_ns = kp_monotonic_ns() + 30 * SECOND_NS;
	unsigned before[THREADS];

	for (int t = 0; t < THREADS; t++)
		before[t] = failed ? workers[t].failed : workers[t].acknowledged;
	for (int t = 0; t < THREADS;) {
		unsigned now = failed ? workers[t].failed : workers[t].acknowledged;

		if (now - before[t] >= wanted)
			t++;
		else
			poll(NULL, 0, 1);
		WANT(kp_monotonic_ns() < until_ns, "thread %d: no %s call for 30 s", t,
		     failed ? "failing" : "good");
	}
}

/* A consumer beside the burst: it waits, reads, advances; each chat's numbers come without a gap,
   again only after an advance that was not told to be stored. */
struct reader {
	keep_gateway *gateway;
	int64_t done[CHATS];
	unsigned waits, failures, again;
};

static void take(struct reader *reader, const keep_message *message)
{
	unsigned chat = (unsigned)(message->chat_jid.data[message->chat_jid.len - 1] - '0');
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;

	WANT(message->seq <= reader->done[chat] + 1, "number %lld after %lld in chat %u",
	     (long long)message->seq, (long long)reader->done[chat], chat);
	reader->again += message->seq <= reader->done[chat];
	if (message->seq > reader->done[chat])
		reader->done[chat] = message->seq;
	if (message->seq % 8)
		return;
	status = keep_gateway_advance(reader->gateway, LEDGER_CONSUMER, message->chat_jid,
				      message->seq, NULL, &err);
	WANT(status == KEEP_OK || AWAY_CHANGE & MAY(status), "advance: %s: %s",
	     keep_status_name(status), err.message);
}

static void read_once(struct reader *reader, int64_t timeout_ms)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list = {NULL, 0};
	keep_error err = KEEP_ERROR_INIT;
	bool pending = false;
	keep_status status =
		keep_gateway_wait(reader->gateway, LEDGER_CONSUMER, timeout_ms, &pending, &err);

	reader->waits++;
	if (status == KEEP_OK && pending)
		status = keep_gateway_new_messages(reader->gateway, LEDGER_CONSUMER, NULL, 0, 300,
						   &memory, &list, &err);
	WANT(status == KEEP_OK || AWAY_CHANGE & MAY(status), "reading: %s: %s",
	     keep_status_name(status), err.message);
	if (status != KEEP_OK) {
		reader->failures++;
		poll(NULL, 0, 5);
	}
	for (size_t i = 0; status == KEEP_OK && i < list.count; i++)
		take(reader, &list.items[i]);
	for (size_t i = 0; status == KEEP_OK && i < list.count; i++)
		if (i + 1 == list.count ||
		    !kp_bytes_equal(list.items[i].chat_jid, list.items[i + 1].chat_jid)) {
			status = keep_gateway_advance(reader->gateway, LEDGER_CONSUMER,
						      list.items[i].chat_jid, list.items[i].seq,
						      NULL, &err);
			WANT(status == KEEP_OK || AWAY_CHANGE & MAY(status), "advance: %s: %s",
			     keep_status_name(status), err.message);
		}
	keep_memory_release(&memory);
}

static void *read_on(void *ctx)
{
	while (!over)
		read_once(ctx, 2000);
	return NULL;
}

static void check_burst(keep_gateway *gateway, unsigned by_status[STATUSES], unsigned there[CHATS])
{
	for (unsigned t = 0; t < THREADS; t++) {
		for (unsigned i = 0; i < workers[t].tries; i++) {
			keep_status told = workers[t].status[i], status;
			keep_memory memory = KEEP_MEMORY_INIT;
			keep_error err = KEEP_ERROR_INIT;
			char jid[40], id[40];
			keep_message wanted = name_try(t, i, jid, id), found;

			status = keep_gateway_get_message(gateway, wanted.chat_jid, wanted.id,
							  &memory, &found, &err);
			WANT(status == KEEP_OK || status == KEEP_NOT_FOUND, "%s", err.message);
			WANT(told != KEEP_OK || status == KEEP_OK,
			     "%s was acknowledged and is gone", id);
			WANT(status != KEEP_OK || told == KEEP_OK || told == KEEP_UNCERTAIN,
			     "%s was %s and is there", id, keep_status_name(told));
			WANT(told != KEEP_OK || found.seq == workers[t].seq[i],
			     "%s has number %lld, not %lld", id, (long long)found.seq,
			     (long long)workers[t].seq[i]);
			if (status == KEEP_OK)
				there[(t + i) % CHATS]++;
			by_status[told]++;
			keep_memory_release(&memory);
		}
	}
}

static void be_busy(void)
{
	keep_gateway *gateway = open_with_timeout();
	struct reader reader = {.gateway = open_with_timeout()};
	unsigned by_status[STATUSES] = {0}, there[CHATS] = {0};
	pthread_t threads[THREADS + 1];
	keep_error err = KEEP_ERROR_INIT;

	for (unsigned t = 0; t < THREADS; t++) {
		workers[t].gateway = gateway;
		workers[t].number = t;
		WANT(pthread_create(&threads[t], NULL, burst, &workers[t]) == 0, "thread");
	}
	WANT(pthread_create(&threads[THREADS], NULL, read_on, &reader) == 0, "thread");
	for (int round = 0; round < ROUNDS; round++) {
		wait_for_each(false, 20);
		ask(SERVER_KILL);
		wait_for_each(true, 2);
		ask(SERVER_RESTART);
	}
	wait_for_each(false, 10);
	over = true;
	for (unsigned t = 0; t <= THREADS; t++)
		pthread_join(threads[t], NULL);
	check_burst(gateway, by_status, there);
	for (unsigned i = 0; i < 1000; i++)
		read_once(&reader, 0);
	for (unsigned chat = 0; chat < CHATS; chat++) {
		char jid[40];
		keep_message named;
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_chat found;

		named = name_try(chat, 0, jid, (char[40]){0});
		WANT_OK(keep_gateway_get_chat(gateway, named.chat_jid, &memory, &found, &err));
		WANT(found.last_seq == there[chat], "chat %u: %lld numbers, %u messages", chat,
		     (long long)found.last_seq, there[chat]);
		WANT(reader.done[chat] == there[chat], "chat %u: %lld of %u were read", chat,
		     (long long)reader.done[chat], there[chat]);
		keep_memory_release(&memory);
	}
	print_message("%d kills: %u OK, %u UNAVAILABLE, %u BUSY, %u UNCERTAIN; %u waits, %u "
		      "failed, %u messages read again\n",
		      ROUNDS, by_status[KEEP_OK], by_status[KEEP_UNAVAILABLE], by_status[KEEP_BUSY],
		      by_status[KEEP_UNCERTAIN], reader.waits, reader.failures, reader.again);
	keep_gateway_close(&gateway);
	keep_gateway_close(&reader.gateway);
}

void a_server_killed_in_a_burst_of_puts_loses_nothing(void **state)
{
	(void)state;
	with_server(be_busy);
}

/* ---------------------------------------------------------------- waits */

struct sleeper {
	keep_gateway *gateway;
	_Atomic int64_t woken_ns; /* when it found something; 0: not yet */
	_Atomic unsigned failures;
};

/* As a daemon does: a wait that fails is begun again. */
static void *sleep_on(void *ctx)
{
	struct sleeper *sleeper = ctx;
	bool pending = false;

	while (!pending) {
		keep_error err = KEEP_ERROR_INIT;
		keep_status status =
			keep_gateway_wait(sleeper->gateway, LEDGER_CONSUMER, -1, &pending, &err);

		WANT(status == KEEP_OK || AWAY_CHANGE & MAY(status), "wait: %s: %s",
		     keep_status_name(status), err.message);
		if (status != KEEP_OK) {
			pending = false;
			sleeper->failures++;
			poll(NULL, 0, 10);
		}
	}
	sleeper->woken_ns = kp_monotonic_ns();
	return NULL;
}

static void be_waited_for(void)
{
	keep_gateway *gateway = open_with_timeout();
	static struct sleeper sleeper;
	static ledger book;
	keep_error err = KEEP_ERROR_INIT;

	WANT_OK(ledger_put_all(gateway, &book, 10, &err));
	for (unsigned i = 0; i < LEDGER_CHATS; i++)
		WANT_OK(ledger_advance(gateway, &book, i, &err));
	for (int round = 0; round < 3; round++) {
		pthread_t thread;
		int64_t put_ns;

		sleeper.gateway = open_with_timeout();
		sleeper.woken_ns = 0;
		WANT(pthread_create(&thread, NULL, sleep_on, &sleeper) == 0, "thread");
		ask(round == 2 ? SERVER_STOP : SERVER_KILL);
		ask(SERVER_RESTART);
		until_it_works(gateway, &book);
		WANT(sleeper.woken_ns == 0, "woken by nothing");
		ledger_expect(gateway, &book, AWAY, "after the restart");
		ledger_expect(gateway, &book, 0, "after the restart, again");
		/* It listens again within a second, and then hears at once. */
		put_ns = kp_monotonic_ns();
		WANT_OK(ledger_put(gateway, &book, 1, 20, &err));
		pthread_join(thread, NULL);
		WANT(sleeper.woken_ns - put_ns < 3 * SECOND_NS * test_patience(),
		     "woken after %lld ms", (long long)((sleeper.woken_ns - put_ns) / 1000000));
		WANT_OK(ledger_advance(gateway, &book, 1, &err));
		keep_gateway_close(&sleeper.gateway);
	}
	keep_gateway_close(&gateway);
}

void waits_come_back_after_a_restart(void **state)
{
	(void)state;
	with_server(be_waited_for);
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

static void call_a_stopped_server(keep_gateway *gateway, ledger *book)
{
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list;
	keep_task_run_list runs;
	keep_gateway *second = NULL;
	keep_error err = KEEP_ERROR_INIT;
	bool pending = false;
	char jid[40];

	options.timeout_ms = TIMEOUT_MS;
	begun_ns = kp_monotonic_ns();
	for (int twice = 0; twice < 2; twice++) {
		want_late(ledger_put(gateway, book, 1, 20, &err), AWAY_CHANGE, &err, "put");
		want_late(keep_gateway_messages_since(gateway, ledger_jid(1, jid), 0, 0, 0, &memory,
						      &list, &err),
			  AWAY, &err, "messages_since");
		want_late(keep_gateway_new_messages(gateway, LEDGER_CONSUMER, NULL, 0, 0, &memory,
						    &list, &err),
			  AWAY, &err, "new_messages");
		want_late(keep_gateway_advance(gateway, LEDGER_CONSUMER, ledger_jid(0, jid), 1,
					       NULL, &err),
			  AWAY_CHANGE, &err, "advance");
		want_late(keep_gateway_claim_deliveries(gateway, (keep_bytes){0}, 0, 0, KEEP_NOW,
							&memory, &list, &err),
			  AWAY_CHANGE, &err, "claim_deliveries");
		want_late(keep_gateway_fire_due_tasks(gateway, KEEP_NOW, 0, &memory, &runs, NULL,
						      &err),
			  AWAY_CHANGE, &err, "fire_due_tasks");
		want_late(keep_gateway_wait(gateway, LEDGER_CONSUMER, 100, &pending, &err), AWAY,
			  &err, "wait");
		want_late(keep_gateway_open(url, &options, &second, &err), AWAY, &err, "open");
	}
	keep_memory_release(&memory);
}

static void be_stopped(void)
{
	keep_gateway *gateway = open_with_timeout();
	keep_error err = KEEP_ERROR_INIT;
	static ledger book, tried;

	WANT_OK(ledger_put_all(gateway, &book, 500, &err));
	WANT_OK(ledger_advance(gateway, &book, 0, &err));
	ledger_expect(gateway, &book, 0, "before");
	tried = book;
	ask(SERVER_PAUSE);
	call_a_stopped_server(gateway, &tried);
	ask(SERVER_RESUME);
	until_it_works(gateway, &book);
	/* What was uncertain may be there now: the other chats tell. */
	WANT_OK(keep_gateway_wait(gateway, LEDGER_CONSUMER, 0, &(bool){false}, &err));
	for (int tries = 0; tries < 50; tries++)
		if (ledger_put(gateway, &book, 2, 40, &err) == KEEP_OK)
			break;
	WANT(book.count[2] == 2, "%s", err.message);
	keep_gateway_close(&gateway);
}

void a_stopped_server_holds_no_call_beyond_its_time_limit(void **state)
{
	(void)state;
	with_server(be_stopped);
}

/* ---------------------------------------------------------------- without the schema */

static void lose_the_schema(void)
{
	keep_gateway *gateway = open_with_timeout(), *other = NULL;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list;
	keep_error err = KEEP_ERROR_INIT;
	static ledger book, fresh;
	bool pending = false;
	char jid[40];

	WANT_OK(ledger_put_all(gateway, &book, 10, &err));
	WANT_OK(ledger_advance(gateway, &book, 0, &err));
	ledger_expect(gateway, &book, 0, "before");
	run_sql("SET client_min_messages = warning; DROP SCHEMA places CASCADE");
	for (int twice = 0; twice < 2; twice++) {
		WANT_STATUS(ledger_put(gateway, &book, 1, 10, &err), KEEP_UNAVAILABLE);
		WANT_STATUS(ledger_advance(gateway, &book, 1, &err), KEEP_UNAVAILABLE);
		WANT_STATUS(keep_gateway_messages_since(gateway, ledger_jid(0, jid), 0, 0, 0,
							&memory, &list, &err),
			    KEEP_UNAVAILABLE);
		WANT_STATUS(keep_gateway_wait(gateway, LEDGER_CONSUMER, -1, &pending, &err),
			    KEEP_UNAVAILABLE);
	}
	WANT_STATUS(try_gateway(url, false, false, &other, &err), KEEP_NOT_FOUND);
	other = open_gateway(url, true);
	WANT_OK(ledger_put_all(other, &fresh, 20, &err));
	WANT_OK(ledger_advance(other, &fresh, 0, &err));
	ledger_expect(other, &fresh, 0, "made again");
	until_it_works(gateway, &fresh);
	ledger_expect(gateway, &fresh, 0, "the one that was open");
	keep_memory_release(&memory);
	keep_gateway_close(&other);
	keep_gateway_close(&gateway);
}

void a_dropped_schema_is_told_and_can_be_made_again(void **state)
{
	(void)state;
	with_server(lose_the_schema);
}

/* ---------------------------------------------------------------- without rights */

static void lack_rights(void)
{
	keep_gateway *gateway = open_with_timeout(), *weak = NULL;
	keep_error err = KEEP_ERROR_INIT;
	static ledger book;
	char weak_url[GATEWAY_URL_MAX];

	WANT_OK(ledger_put_all(gateway, &book, 10, &err));
	WANT_OK(ledger_advance(gateway, &book, 0, &err));
	run_sql("CREATE ROLE weak LOGIN");
	snprintf(weak_url, sizeof weak_url, "postgres:///postgres?host=%s&user=weak&schema=places",
		 bad_server.folder);
	WANT_STATUS(try_gateway(weak_url, false, false, &weak, &err), KEEP_DENIED);
	WANT_STATUS(try_gateway(weak_url, true, false, &weak, &err), KEEP_DENIED);
	WANT_STATUS(try_gateway(weak_url, false, true, &weak, &err), KEEP_DENIED);
	run_sql("GRANT USAGE ON SCHEMA places TO weak;"
		"GRANT SELECT ON ALL TABLES IN SCHEMA places TO weak");
	WANT_OK(try_gateway(weak_url, false, true, &weak, &err));
	ledger_expect(weak, &book, 0, "as a role that may read");
	WANT_STATUS(ledger_put(weak, &book, 1, 10, &err), KEEP_DENIED);
	keep_gateway_close(&weak);
	if (try_gateway(weak_url, false, false, &weak, &err) == KEEP_OK) {
		ledger_expect(weak, &book, 0, "as a role that may read, for writing");
		WANT_STATUS(ledger_put(weak, &book, 1, 10, &err), KEEP_DENIED);
		WANT_STATUS(ledger_advance(weak, &book, 1, &err), KEEP_DENIED);
	} else {
		WANT_STATUS(err.status, KEEP_DENIED);
	}
	run_sql("REVOKE SELECT ON places.messages FROM weak");
	keep_gateway_close(&weak);
	ledger_expect(gateway, &book, 0, "after all that was denied");
	WANT_OK(ledger_put_all(gateway, &book, 10, &err));
	keep_gateway_close(&gateway);
}

void a_role_without_rights_is_DENIED(void **state)
{
	(void)state;
	with_server(lack_rights);
}

/* ---------------------------------------------------------------- without connections */

enum { CONNECTIONS_MAX = 500 }; /* more than the server has */

static void exhaust_connections(void)
{
	keep_gateway *gateway = open_with_timeout(), *second = NULL;
	static PGconn *others[CONNECTIONS_MAX];
	keep_error err = KEEP_ERROR_INIT;
	static ledger book;
	char info[200];
	size_t count = 0;
	bool pending = true;

	WANT_OK(ledger_put_all(gateway, &book, 10, &err));
	for (unsigned i = 0; i < LEDGER_CHATS; i++)
		WANT_OK(ledger_advance(gateway, &book, i, &err));
	ledger_expect(gateway, &book, 0, "before");
	snprintf(info, sizeof info, "host=%s user=keep dbname=postgres", bad_server.folder);
	while (count < CONNECTIONS_MAX) {
		others[count] = PQconnectdb(info);
		if (PQstatus(others[count++]) != CONNECTION_OK)
			break;
	}
	WANT(count < CONNECTIONS_MAX, "the server takes any number");
	WANT(AWAY & MAY(try_gateway(url, false, false, &second, &err)), "%s: %s",
	     keep_status_name(err.status), err.message);
	/* Those that are open go on, and a wait looks where it cannot listen. */
	WANT_OK(keep_gateway_wait(gateway, LEDGER_CONSUMER, 50, &pending, &err));
	WANT(!pending, "there is nothing");
	WANT_OK(ledger_put_all(gateway, &book, 10, &err));
	WANT_OK(keep_gateway_wait(gateway, LEDGER_CONSUMER, 5000, &pending, &err));
	WANT(pending, "a put was not seen");
	ledger_expect(gateway, &book, 0, "without free connections");
	while (count)
		PQfinish(others[--count]);
	for (int tries = 0; !second && tries < 200; tries++)
		if (try_gateway(url, false, false, &second, &err) != KEEP_OK)
			poll(NULL, 0, 10); /* the server's processes end by and by */
	WANT(second, "%s", err.message);
	WANT_OK(ledger_put_all(second, &book, 10, &err));
	ledger_expect(gateway, &book, 0, "with connections again");
	keep_gateway_close(&second);
	keep_gateway_close(&gateway);
}

void a_server_without_free_connections_is_told(void **state)
{
	(void)state;
	with_server(exhaust_connections);
}

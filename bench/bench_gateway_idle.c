/*
 * bench_gateway_idle.c - what a poll costs that finds nothing, and how fast a waiter is woken.
 *
 *     bench_gateway_idle FOLDER      KEEP_BENCH_MESSAGES: the large store's, 5,000,000 if not set
 *     KEEP_TEST_POSTGRES: libpq's conninfo, for the waiter on PostgreSQL
 *
 * Idle: the same poll on a store of 1,000 messages and on a large one, both read to the end. The
 * waiter is another process; the time is from before its neighbour's put to after its wait, on one
 * clock that both read.
 */
#include "bench.h"

#include "core/core.h"
#include "keep/gateway.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHATS = 200, BATCH = 1000, SMALL = 1000, WAKES = 500 };

static keep_error err;

static void must(keep_status status, const char *what)
{
	if (status != KEEP_OK)
		bench_fail("%s: %s", what, err.message);
}

static keep_gateway *open_store(const char *url, bool relaxed)
{
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_gateway *gateway = NULL;

	options.create = true;
	options.relaxed = relaxed;
	must(keep_gateway_open(url, &options, &gateway, &err), url);
	return gateway;
}

/* ---------------------------------------------------------------- idle polls */

static void put_batch(keep_gateway *gateway, long first, long count)
{
	static char content[300];
	char names[BATCH][2][32];
	keep_message messages[BATCH] = {0};
	keep_put_result results[BATCH];

	memset(content, 'x', sizeof content);
	for (long i = 0; i < count; i++) {
		snprintf(names[i][0], sizeof names[i][0], "telegram:%ld", (first + i) % CHATS);
		snprintf(names[i][1], sizeof names[i][1], "m%ld", first + i);
		messages[i].chat_jid = keep_bytes_of(names[i][0]);
		messages[i].id = keep_bytes_of(names[i][1]);
		messages[i].sender = KEEP_BYTES("ada");
		messages[i].content = (keep_bytes){content, sizeof content};
	}
	must(keep_gateway_put_messages(gateway, messages, (size_t)count, results, &err), "a put");
}

static void read_to_the_end(keep_gateway *gateway)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_pending_list list;

	must(keep_gateway_pending_chats(gateway, KEEP_BYTES("router"), 1000, &memory, &list, &err),
	     "pending chats");
	for (size_t i = 0; i < list.count; i++)
		must(keep_gateway_advance(gateway, KEEP_BYTES("router"), list.items[i].jid,
					  list.items[i].last_input_seq, NULL, &err),
		     "an advance");
	keep_memory_release(&memory);
}

static keep_gateway *fill_store(const char *folder, const char *name, long messages)
{
	char url[400];
	keep_gateway *gateway;

	snprintf(url, sizeof url, "sqlite:%s/%s", folder, name);
	gateway = open_store(url, true);
	for (long done = 0; done < messages; done += BATCH)
		put_batch(gateway, done, messages - done < BATCH ? messages - done : BATCH);
	read_to_the_end(gateway);
	return gateway;
}

static double poll_pending(void *ctx, long count)
{
	double start = bench_now();

	for (long i = 0; i < count; i++) {
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_pending_list list;

		must(keep_gateway_pending_chats(ctx, KEEP_BYTES("router"), 0, &memory, &list, &err),
		     "pending chats");
		if (list.count)
			bench_fail("something is pending");
		keep_memory_release(&memory);
	}
	return bench_now() - start;
}

static double poll_messages(void *ctx, long count)
{
	double start = bench_now();

	for (long i = 0; i < count; i++) {
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_message_list list;

		must(keep_gateway_new_messages(ctx, KEEP_BYTES("router"), NULL, 0, 0, &memory,
					       &list, &err),
		     "new messages");
		if (list.count)
			bench_fail("something is new");
		keep_memory_release(&memory);
	}
	return bench_now() - start;
}

static void compare_polls(const char *folder)
{
	const char *wanted = getenv("KEEP_BENCH_MESSAGES");
	long messages = wanted ? strtol(wanted, NULL, 10) : 5000000;
	keep_gateway *small = fill_store(folder, "small.db", SMALL);
	keep_gateway *large = fill_store(folder, "large.db", messages);
	char base[60], what[80];

	snprintf(base, sizeof base, "%d messages", SMALL);
	snprintf(what, sizeof what, "%ld messages", messages);
	struct bench_pair pair = {.what = "pending_chats, nothing new",
				  .durability = "-",
				  .name = what,
				  .base = base,
				  .side = poll_pending,
				  .base_side = poll_pending,
				  .ctx = large,
				  .base_ctx = small,
				  .count = 20000,
				  .turns = 9,
				  .promised = 0.67};

	bench_run(&pair);
	pair.what = "new_messages, nothing new";
	pair.side = pair.base_side = poll_messages;
	bench_run(&pair);
	keep_gateway_close(&small);
	keep_gateway_close(&large);
}

/* ---------------------------------------------------------------- wake-ups */

/* What the two processes share. */
struct shared {
	_Atomic long ready;  /* the waiter is about to wait for wake number so many */
	_Atomic long woken;  /* it was woken so often */
	int64_t woken_at_ns; /* the last time */
};

static void wait_for_wakes(const char *url, struct shared *shared)
{
	keep_gateway *gateway = open_store(url, true);

	for (long i = 1; i <= WAKES; i++) {
		bool pending = false;

		atomic_store(&shared->ready, i);
		must(keep_gateway_wait(gateway, KEEP_BYTES("waiter"), 10000, &pending, &err),
		     "a wait");
		if (!pending)
			bench_fail("a waiter was not woken");
		shared->woken_at_ns = kp_monotonic_ns();
		must(keep_gateway_advance(gateway, KEEP_BYTES("waiter"), KEEP_BYTES("web:a"), i,
					  NULL, &err),
		     "an advance");
		atomic_store(&shared->woken, i);
	}
	keep_gateway_close(&gateway);
	_exit(0);
}

/* A put of one message, and when the waiter in the other process had it. */
static double wake_once(keep_gateway *gateway, struct shared *shared, long number)
{
	char id[32];
	keep_message message = {.chat_jid = KEEP_BYTES("web:a"),
				.sender = KEEP_BYTES("ada"),
				.content = KEEP_BYTES("hello")};
	int64_t begun_ns;

	while (atomic_load(&shared->ready) != number)
		usleep(100);
	usleep(2000); /* it sleeps by now */
	snprintf(id, sizeof id, "%ld", number);
	message.id = keep_bytes_of(id);
	begun_ns = kp_monotonic_ns();
	must(keep_gateway_put_message(gateway, &message, NULL, NULL, &err), "a put");
	while (atomic_load(&shared->woken) != number)
		usleep(100);
	return (double)(shared->woken_at_ns - begun_ns) / 1e6;
}

static void measure_wakes(const char *url, const char *what, bool relaxed)
{
	struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	keep_gateway *gateway = open_store(url, relaxed);
	double times[WAKES], median;
	char line[160];
	pid_t waiter;

	keep_gateway_close(&gateway); /* a child inherits no open store */
	fflush(stdout);
	waiter = fork();
	if (waiter == 0)
		wait_for_wakes(url, shared);
	gateway = open_store(url, relaxed);
	for (long i = 1; i <= WAKES; i++)
		times[i - 1] = wake_once(gateway, shared, i);
	waitpid(waiter, NULL, 0);
	keep_gateway_close(&gateway);
	median = bench_median(times, WAKES);
	snprintf(line, sizeof line,
		 "median %.3f ms from put_message in one process to a consumer "
		 "in another; promised: under 1 ms",
		 median);
	bench_tell(what, relaxed ? "relaxed" : "synced", 1000 / median, line);
	munmap(shared, sizeof *shared);
}

static void format_server_url(char url[500])
{
	const char *server = getenv("KEEP_TEST_POSTGRES");
	char words[3][120];
	const char *const names[] = {"host=", "user=", "dbname="};

	for (size_t i = 0; i < 3; i++) {
		const char *at = strstr(server, names[i]);

		snprintf(words[i], sizeof words[i], "%.*s",
			 at ? (int)strcspn(at + strlen(names[i]), " ") : 0,
			 at ? at + strlen(names[i]) : "");
	}
	snprintf(url, 500, "postgres:///%s?host=%s&user=%s&schema=bench_gateway_idle_%ld", words[2],
		 words[0], words[1], (long)getpid());
}

int main(int argc, char **argv)
{
	char url[500];

	if (argc != 2)
		bench_fail("usage: bench_gateway_idle FOLDER");
	bench_title("gateway: polls that find nothing, and wake-ups");
	compare_polls(argv[1]);
	snprintf(url, sizeof url, "sqlite:%s/wake.db", argv[1]);
	measure_wakes(url, "wait, SQLite", true);
	snprintf(url, sizeof url, "sqlite:%s/wake_synced.db", argv[1]);
	measure_wakes(url, "wait, SQLite", false);
	if (getenv("KEEP_TEST_POSTGRES")) {
		format_server_url(url);
		measure_wakes(url, "wait, PostgreSQL", false);
	}
	return 0;
}

/*
 * test_gateway_deliveries_crash.c - adapters that deliver are killed at any moment.
 *
 *     test_gateway_deliveries_crash sqlite|postgres          KEEP_CRASH_ROUNDS: how many kills
 *     test_gateway_deliveries_crash <url> <file> <seed>      an adapter
 *
 * Adapters are processes: they claim, "send" by appending the idempotency key to one file, report,
 * and append again what was acknowledged. The parent puts outbound messages all the while and kills
 * one adapter after the other. At the end
 *
 *   1. each message whose put was acknowledged is delivered;
 *   2. a platform that honours the keys has shown each once: every key was sent, and after its
 *      report was acknowledged never again;
 *   3. among first sends each chat's are in the order of their numbers.
 *
 * Leases are far longer than the test: what a killed adapter held comes back because it is dead.
 */
#include "gateway_fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ADAPTERS = 3, CHATS = 5, ROUNDS_DEFAULT = 25, MESSAGES_MAX = 100000, LEASE_MS = 3600000 };

static const char *own_program;
static char url[GATEWAY_URL_MAX], file[300];

/* ---------------------------------------------------------------- an adapter */

static void note(int fd, char what, const keep_message *message)
{
	char line[80];
	int len = snprintf(line, sizeof line, "%c %.*s\n", what, (int)message->id.len,
			   message->id.data);

	if (write(fd, line, (size_t)len) != len)
		_exit(5);
}

static void deliver(keep_gateway *gateway, int fd, const keep_message *message, uint64_t *seed)
{
	bool fails = next_random(seed) % 8 == 0;
	keep_error err = KEEP_ERROR_INIT;
	keep_delivery_report report = {
		.jid = message->chat_jid,
		.id = message->id,
		.attempt = message->attempts,
		.delivery = fails ? KEEP_DELIVERY_RETRY : KEEP_DELIVERY_DELIVERED,
		.retry_at = fails ? 1 : 0, /* at once */
		.attempts_max = fails ? 1000000 : 0,
		.platform_id = fails ? (keep_bytes){0} : message->id,
	};

	note(fd, 's', message);
	if (keep_gateway_complete_delivery(gateway, &report, KEEP_NOW, &err) != KEEP_OK) {
		fprintf(stderr, "a report was refused: %s\n", err.message);
		_exit(4);
	}
	if (!fails)
		note(fd, 'd', message);
}

/* True when nothing was due. */
static bool claim_and_deliver(keep_gateway *gateway, int fd, uint64_t *seed)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list = {0};
	keep_error err = KEEP_ERROR_INIT;

	if (keep_gateway_claim_deliveries(gateway, (keep_bytes){0}, next_random(seed) % 7 + 1,
					  LEASE_MS, KEEP_NOW, &memory, &list, &err) != KEEP_OK) {
		fprintf(stderr, "a claim failed: %s\n", err.message);
		_exit(4);
	}
	for (size_t i = 0; i < list.count; i++)
		deliver(gateway, fd, &list.items[i], seed);
	keep_memory_release(&memory);
	return list.count == 0;
}

static keep_gateway *open_store(void)
{
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_gateway *gateway = NULL;
	keep_error err = KEEP_ERROR_INIT;

	options.service = "adapter";
	options.timeout_ms = 30000;
	if (keep_gateway_open(url, &options, &gateway, &err) != KEEP_OK) {
		fprintf(stderr, "open failed: %s\n", err.message);
		_exit(3);
	}
	return gateway;
}

static _Noreturn void be_an_adapter(uint64_t seed)
{
	int fd = open(file, O_WRONLY | O_APPEND | O_CLOEXEC);
	keep_gateway *gateway = open_store();

	for (;;)
		if (claim_and_deliver(gateway, fd, &seed) && getppid() == 1)
			_exit(6);
}

/* ---------------------------------------------------------------- the parent */

static pid_t start_adapter(uint64_t *seed)
{
	pid_t child = fork();
	char number[24];

	snprintf(number, sizeof number, "%llu", (unsigned long long)next_random(seed));
	if (child == 0) {
		execl(own_program, own_program, url, file, number, NULL);
		_exit(9);
	}
	return child;
}

static void kill_adapter(pid_t child)
{
	int exit_status;

	kill(child, SIGKILL);
	waitpid(child, &exit_status, 0);
	CHECK(WIFSIGNALED(exit_status), "an adapter ended by itself with %d",
	      WEXITSTATUS(exit_status));
}

/* Message number n goes to chat n % CHATS; its id is n. */
static void put_some(keep_gateway *gateway, int *next, int count)
{
	for (; count > 0 && *next < MESSAGES_MAX; count--, ++*next) {
		char jid[20], id[20];
		keep_message message = {.content = KEEP_BYTES("an answer")};
		keep_error err = KEEP_ERROR_INIT;

		snprintf(jid, sizeof jid, "web:%d", *next % CHATS);
		snprintf(id, sizeof id, "%d", *next);
		message.chat_jid = keep_bytes_of(jid);
		message.id = keep_bytes_of(id);
		OK(keep_gateway_put_outbound(gateway, &message, NULL, NULL, &err));
	}
}

/* Points 2 and 3. */
static void check_sends(int count)
{
	static bool sent[MESSAGES_MAX], done[MESSAGES_MAX];
	FILE *sends = fopen(file, "r");
	int last[CHATS], number, first = 0;
	char what;

	assert_non_null(sends);
	for (int c = 0; c < CHATS; c++)
		last[c] = -1;
	while (fscanf(sends, "%c %d\n", &what, &number) == 2) {
		assert_true(number >= 0 && number < count);
		if (what == 'd') {
			done[number] = true;
			continue;
		}
		CHECK(!done[number], "%d was sent after its report was acknowledged", number);
		if (sent[number])
			continue;
		sent[number] = true;
		first++;
		CHECK(last[number % CHATS] < number, "%d of chat %d was first sent after %d",
		      number, number % CHATS, last[number % CHATS]);
		last[number % CHATS] = number;
	}
	fclose(sends);
	assert_int_equal(first, count);
}

static void killed_adapters_lose_nothing_and_keep_the_order(void **state)
{
	const char *wanted = getenv("KEEP_CRASH_ROUNDS");
	long rounds = wanted ? atol(wanted) : ROUNDS_DEFAULT;
	uint64_t seed = test_seed() + (uint64_t)kp_monotonic_ns();
	keep_gateway *gateway = gateway_fresh();
	pid_t adapters[ADAPTERS];
	int count = 0, fd = -1;
	uint64_t own_seed = seed;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	snprintf(url, sizeof url, "%s", gateway_url()); /* it has this process's number */
	snprintf(file, sizeof file, "/tmp/keep-deliveries-XXXXXX");
	fd = mkstemp(file);
	assert_true(fd >= 0);
	for (int i = 0; i < ADAPTERS; i++)
		adapters[i] = start_adapter(&seed);
	for (long i = 0; i < rounds; i++) {
		int victim = (int)(next_random(&seed) % ADAPTERS);

		put_some(gateway, &count, (int)(next_random(&seed) % 40));
		/* An unknown moment: that is what is tested. */
		poll(NULL, 0, (int)(next_random(&seed) % 60));
		kill_adapter(adapters[victim]);
		adapters[victim] = start_adapter(&seed);
	}
	for (int i = 0; i < ADAPTERS; i++)
		kill_adapter(adapters[i]);
	close(fd);
	fd = open(file, O_WRONLY | O_APPEND | O_CLOEXEC);
	/* A server may still be at work for a killed client: its store's turn is taken first. */
	put_some(gateway, &count, 1);
	while (!claim_and_deliver(gateway, fd, &own_seed))
		;
	close(fd);
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM messages "
					"WHERE status <> 'delivered' OR platform_id <> id"),
			    "0");
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM delivery_queues"), "0");
	check_sends(count);
	print_message("%s: %ld kills, %d messages delivered\n", gateway_kind(), rounds, count);
	unlink(file);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_adapters_lose_nothing_and_keep_the_order),
	};
	int failed;

	if (argc == 4) {
		snprintf(url, sizeof url, "%s", argv[1]);
		snprintf(file, sizeof file, "%s", argv[2]);
		be_an_adapter(strtoull(argv[3], NULL, 10));
	}
	own_program = argv[0];
	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}

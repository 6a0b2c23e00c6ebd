/*
 * test_gateway_feeds_crash.c - who takes outcomes is killed at any moment.
 *
 *     test_gateway_feeds_crash sqlite|postgres         KEEP_CRASH_ROUNDS: how many kills
 *     test_gateway_feeds_crash <url> <file>            who takes outcomes
 *
 * The taker is a process: it reads outcomes, hands each over by appending it to one file, settles
 * it, and appends again that it was settled. The parent puts deliveries, delivers them, and kills
 * one taker after the other. At the end
 *
 *   1. each delivery's outcome was handed over;
 *   2. after its settlement was acknowledged never again;
 *   3. none is left.
 */
#include "gateway_fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS_DEFAULT = 20, MESSAGES_MAX = 100000, LONG_MS = 60000 };

static keep_error err = KEEP_ERROR_INIT;
static char url[GATEWAY_URL_MAX], file[300];

/* ---------------------------------------------------------------- the taker */

static void note(int fd, char what, const keep_message *message)
{
	char line[80];
	int len = snprintf(line, sizeof line, "%c %.*s\n", what, (int)message->return_to.len,
			   message->return_to.data);

	if (write(fd, line, (size_t)len) != len)
		_exit(5);
}

static void take_outcomes(keep_gateway *gateway, int fd)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list = {0};

	if (keep_gateway_outcomes(gateway, 5, &memory, &list, &err) != KEEP_OK)
		goto failed;
	for (size_t i = 0; i < list.count; i++) {
		const keep_message *message = &list.items[i];

		note(fd, 'h', message);
		if (keep_gateway_settle_outcome(gateway, message->chat_jid, message->id,
						message->attempts, &err) != KEEP_OK)
			goto failed;
		note(fd, 's', message);
	}
	keep_memory_release(&memory);
	return;
failed:
	fprintf(stderr, "outcomes: %s\n", err.message);
	_exit(4);
}

static keep_gateway *open_store(void)
{
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_gateway *gateway = NULL;

	options.timeout_ms = LONG_MS;
	if (keep_gateway_open(url, &options, &gateway, &err) != KEEP_OK) {
		fprintf(stderr, "open failed: %s\n", err.message);
		_exit(3);
	}
	return gateway;
}

static _Noreturn void be_the_taker(void)
{
	int fd = open(file, O_WRONLY | O_APPEND | O_CLOEXEC);
	keep_gateway *gateway = open_store();
	bool found = false;

	while (getppid() != 1 && keep_gateway_wait_outcomes(gateway, 1000, &found, &err) == KEEP_OK)
		take_outcomes(gateway, fd);
	_exit(6);
}

/* ---------------------------------------------------------------- the parent */

static pid_t start_taker(void)
{
	pid_t child = fork();

	if (child == 0) {
		execl(gateway_program(), "test_gateway_feeds_crash", url, file, (char *)NULL);
		_exit(9);
	}
	return child;
}

static void kill_taker(pid_t child)
{
	int exit_status;

	kill(child, SIGKILL);
	waitpid(child, &exit_status, 0);
	CHECK(WIFSIGNALED(exit_status), "the taker ended by itself with %d",
	      WEXITSTATUS(exit_status));
}

/* Its number is its id and whom it returns to. */
static void put_some(keep_gateway *gateway, int *next, int count)
{
	for (; count > 0 && *next < MESSAGES_MAX; count--, ++*next) {
		char id[20];
		keep_message message = {.chat_jid = KEEP_BYTES("web:1"),
					.content = KEEP_BYTES("an answer")};

		snprintf(id, sizeof id, "%d", *next);
		message.id = message.return_to = keep_bytes_of(id);
		OK(keep_gateway_put_outbound(gateway, &message, NULL, NULL, &err));
	}
}

static void deliver_all(keep_gateway *gateway)
{
	static const keep_delivery ends[] = {KEEP_DELIVERY_DELIVERED, KEEP_DELIVERY_FAILED,
					     KEEP_DELIVERY_REFUSED, KEEP_DELIVERY_UNCERTAIN};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list = {0};

	OK(keep_gateway_claim_deliveries(gateway, (keep_bytes){0}, 1000, 0, KEEP_NOW, &memory,
					 &list, &err));
	for (size_t i = 0; i < list.count; i++) {
		const keep_delivery_report report = {.jid = list.items[i].chat_jid,
						     .id = list.items[i].id,
						     .attempt = list.items[i].attempts,
						     .delivery = ends[list.items[i].seq % 4]};

		OK(keep_gateway_complete_delivery(gateway, &report, KEEP_NOW, &err));
	}
	keep_memory_release(&memory);
}

/* Points 1 and 2. */
static void check_takings(int count)
{
	static bool handed[MESSAGES_MAX], settled[MESSAGES_MAX];
	FILE *takings = fopen(file, "r");
	int number, all = 0;
	char what;

	assert_non_null(takings);
	while (fscanf(takings, "%c %d\n", &what, &number) == 2) {
		assert_true(number >= 0 && number < count);
		CHECK(!settled[number], "%d came after it was settled", number);
		all += !handed[number];
		handed[number] = true;
		settled[number] = what == 's';
	}
	fclose(takings);
	assert_int_equal(all, count);
}

static void killed_takers_miss_no_outcome_and_settled_ones_stay_settled(void **state)
{
	const char *wanted = getenv("KEEP_CRASH_ROUNDS");
	long rounds = wanted ? atol(wanted) : ROUNDS_DEFAULT;
	uint64_t seed = test_seed() + (uint64_t)kp_monotonic_ns();
	keep_gateway *gateway = gateway_fresh();
	int count = 0, fd = -1;
	bool found = true;
	pid_t taker;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	snprintf(url, sizeof url, "%s", gateway_url());
	snprintf(file, sizeof file, "/tmp/keep-outcomes-XXXXXX");
	fd = mkstemp(file);
	assert_true(fd >= 0);
	taker = start_taker();
	for (long i = 0; i < rounds; i++) {
		put_some(gateway, &count, 1 + (int)(next_random(&seed) % 20));
		deliver_all(gateway);
		/* An unknown moment: that is what is tested. */
		poll(NULL, 0, (int)(next_random(&seed) % 60));
		kill_taker(taker);
		taker = start_taker();
	}
	kill_taker(taker);
	close(fd);
	fd = open(file, O_WRONLY | O_APPEND | O_CLOEXEC);
	/* A server may still be at work for a killed client: its store's turn is taken first. */
	put_some(gateway, &count, 1);
	deliver_all(gateway);
	while (found) {
		take_outcomes(gateway, fd);
		OK(keep_gateway_wait_outcomes(gateway, 0, &found, &err));
	}
	close(fd);
	check_takings(count);
	print_message("%s: %ld kills, %d outcomes taken\n", gateway_kind(), rounds, count);
	unlink(file);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_takers_miss_no_outcome_and_settled_ones_stay_settled),
	};
	int failed;

	if (argc == 3) {
		snprintf(url, sizeof url, "%s", argv[1]);
		snprintf(file, sizeof file, "%s", argv[2]);
		be_the_taker();
	}
	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}

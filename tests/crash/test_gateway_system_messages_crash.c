/*
 * test_gateway_system_messages_crash.c - processes that claim system messages are killed at any
 * moment: none is lost, and none comes again after its complete was acknowledged.
 *
 *     test_gateway_system_messages_crash sqlite|postgres        KEEP_CRASH_ROUNDS: how many kills
 *
 * Each round a child enqueues, claims, and completes or releases without end, and says in a pipe
 * what it is about to do and what was acknowledged. The parent kills it, and counts for each
 * message: acknowledged enqueues that were not completed are there, completed ones are not, and
 * what was in flight is one of both, wholly. The next process must be given at once all that the
 * dead one held.
 */
#include "gateway_fixture.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS_DEFAULT = 20, NUMBERS_MAX = 200000 };

/* A claim is CLAIMED_ONE for each message, and then CLAIMED. */
enum what { ENQUEUE, ENQUEUED, CLAIMED_ONE, CLAIMED, COMPLETE, COMPLETED };

/* One line of the child; small enough that a pipe takes it whole. */
struct step {
	enum what what;
	int number; /* of a message */
};

enum state { UNKNOWN, MAYBE, WAITS, ENDING, GONE };

static char url[GATEWAY_URL_MAX];
static unsigned char states[NUMBERS_MAX];
static bool is_claimed[NUMBERS_MAX]; /* by the claim at hand */
static int next_number;
static const keep_bytes group = {"world/a", 7};

/* ---------------------------------------------------------------- the child */

static void say(int fd, enum what what, int number)
{
	struct step step = {what, number};

	if (write(fd, &step, sizeof step) != (ssize_t)sizeof step)
		_exit(3);
}

static void need(keep_status status, const keep_error *err)
{
	if (status == KEEP_OK)
		return;
	fprintf(stderr, "a change failed: %s\n", err->message);
	_exit(4);
}

static void enqueue_some(keep_gateway *gateway, int fd, int *number, int count)
{
	keep_error err = KEEP_ERROR_INIT;

	for (; count > 0; count--, (*number)++) {
		char body[16];
		keep_system_message message = {
			.group_id = group, .origin = KEEP_BYTES("o"), .event = KEEP_BYTES("e")};

		snprintf(body, sizeof body, "%d", *number);
		message.body = keep_bytes_of(body);
		say(fd, ENQUEUE, *number);
		need(keep_gateway_enqueue_system_message(gateway, &message, NULL, NULL, &err),
		     &err);
		say(fd, ENQUEUED, *number);
	}
}

static int number_of(const keep_system_message *message)
{
	return atoi(message->body.data);
}

/* Claim, and complete or release. */
static void run_turn(keep_gateway *gateway, int fd, int turn, bool succeeds)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_system_message_list list;
	keep_error err = KEEP_ERROR_INIT;
	char id[48];
	keep_bytes turn_id;
	int64_t count = 0;

	snprintf(id, sizeof id, "turn-%ld-%d", (long)getpid(), turn);
	turn_id = keep_bytes_of(id);
	need(keep_gateway_claim_system_messages(gateway, group, turn_id, 0, KEEP_NOW, &memory,
						&list, &err),
	     &err);
	for (size_t i = 0; i < list.count; i++)
		say(fd, CLAIMED_ONE, number_of(&list.items[i]));
	say(fd, CLAIMED, 0);
	if (succeeds) {
		say(fd, COMPLETE, 0);
		need(keep_gateway_complete_system_messages(gateway, group, turn_id, &count, &err),
		     &err);
		say(fd, COMPLETED, 0);
	} else {
		need(keep_gateway_release_system_messages(gateway, group, turn_id, &count, &err),
		     &err);
	}
	if (count != (int64_t)list.count)
		_exit(7);
	keep_memory_release(&memory);
}

static int be_the_child(const char *where, int fd, uint64_t seed, int number)
{
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_gateway *gateway = NULL;
	keep_error err = KEEP_ERROR_INIT;

	options.timeout_ms = 30000;
	options.service = "gated";
	if (keep_gateway_open(where, &options, &gateway, &err) != KEEP_OK) {
		fprintf(stderr, "open failed: %s\n", err.message);
		return 2;
	}
	for (int turn = 0;; turn++) {
		/* First of all what a dead process held must come. */
		run_turn(gateway, fd, turn, turn > 0 && next_random(&seed) % 3 != 0);
		enqueue_some(gateway, fd, &number, (int)(next_random(&seed) % 5));
	}
}

/* ---------------------------------------------------------------- the parent */

static int count_in(enum state state)
{
	int count = 0;

	for (int i = 0; i < next_number; i++)
		count += states[i] == state;
	return count;
}

/* Everything that must be handed out is in the claim, and nothing that must not. */
static void check_claim(void)
{
	for (int i = 0; i < next_number; i++) {
		CHECK(is_claimed[i] || states[i] != WAITS, "message %d was not handed out", i);
		CHECK(!is_claimed[i] || states[i] != GONE, "message %d comes again", i);
		/* The claim tells what became of what was in flight. */
		if (states[i] == MAYBE || states[i] == ENDING)
			states[i] = is_claimed[i] ? WAITS : GONE;
	}
}

static void set_claimed(enum state state)
{
	for (int i = 0; i < next_number; i++)
		if (is_claimed[i])
			states[i] = (unsigned char)state;
}

static void take_step(const struct step *step)
{
	CHECK(step->number >= 0 && step->number < NUMBERS_MAX, "too many messages");
	switch (step->what) {
	case ENQUEUE:
		memset(is_claimed, 0, sizeof is_claimed);
		next_number = step->number + 1;
		states[step->number] = MAYBE;
		break;
	case ENQUEUED: states[step->number] = WAITS; break;
	case CLAIMED_ONE: is_claimed[step->number] = true; break;
	case CLAIMED: check_claim(); break;
	case COMPLETE: set_claimed(ENDING); break;
	case COMPLETED:
		set_claimed(GONE);
		memset(is_claimed, 0, sizeof is_claimed);
		break;
	}
}

static pid_t start_child(uint64_t seed, int *fd)
{
	char words[3][24];
	int fds[2];
	pid_t child;

	assert_int_equal(pipe(fds), 0);
	snprintf(words[0], sizeof words[0], "%d", fds[1]);
	snprintf(words[1], sizeof words[1], "%llu", (unsigned long long)seed);
	snprintf(words[2], sizeof words[2], "%d", next_number);
	child = fork();
	if (child == 0) {
		close(fds[0]);
		execl("/proc/self/exe", "child", gateway_kind(), "child", url, words[0], words[1],
		      words[2], (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	*fd = fds[0];
	return child;
}

/* Read steps until the time is over, kill, read the rest. Returns the acknowledged ones. */
static long run_and_kill(uint64_t seed, int64_t life_ns)
{
	int64_t until_ns = 0;
	bool killed = false;
	long steps = 0;
	struct step step;
	int fd, how;
	pid_t child = start_child(seed, &fd);

	memset(is_claimed, 0, sizeof is_claimed);
	for (;;) {
		struct pollfd ready = {.fd = fd, .events = POLLIN};
		int64_t left_ns = until_ns ? until_ns - kp_monotonic_ns() : INT64_C(60000000000);

		if (!killed && left_ns <= 0) {
			kill(child, SIGKILL);
			killed = true;
		}
		(void)poll(&ready, 1, killed ? 60000 : (int)(left_ns / 1000000));
		if (!ready.revents)
			continue;
		if (read(fd, &step, sizeof step) != (ssize_t)sizeof step)
			break;
		/* The time to live counts from the first claim, which is not in question. */
		if (!until_ns && step.what == CLAIMED)
			until_ns = kp_monotonic_ns() + life_ns;
		take_step(&step);
		steps++;
	}
	close(fd);
	waitpid(child, &how, 0);
	CHECK(WIFSIGNALED(how), "the child ended by itself with %d", WEXITSTATUS(how));
	return steps;
}

/* What is left is what the last process would be given, and a flush takes all of it. */
static void check_the_rest(keep_gateway *gateway)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_system_message_list list;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_gateway_flush_system_messages(gateway, group, &memory, &list, &err));
	memset(is_claimed, 0, sizeof is_claimed);
	for (size_t i = 0; i < list.count; i++)
		is_claimed[number_of(&list.items[i])] = true;
	check_claim();
	assert_int_equal(count_in(WAITS), list.count);
	keep_memory_release(&memory);
}

static void killed_at_any_moment_no_message_is_lost_and_none_comes_twice(void **state)
{
	const char *wanted = getenv("KEEP_CRASH_ROUNDS");
	long rounds = wanted ? atol(wanted) : ROUNDS_DEFAULT, steps = 0;
	uint64_t seed = test_seed() + (uint64_t)kp_monotonic_ns();
	keep_gateway *gateway = gateway_fresh();

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	snprintf(url, sizeof url, "%s", gateway_url());
	for (long i = 0; i < rounds; i++) {
		/* Most lives are a few changes long. */
		int64_t life_us = (int64_t)(next_random(&seed) % (i % 4 == 0 ? 150000 : 20000));

		steps += run_and_kill(next_random(&seed), life_us * 1000);
	}
	check_the_rest(gateway);
	print_message("%ld kills, %ld steps, %d messages, %d completed\n", rounds, steps,
		      next_number, count_in(GONE));
	assert_true(next_number > rounds && count_in(GONE) > 0);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_at_any_moment_no_message_is_lost_and_none_comes_twice),
	};
	int failed;

	signal(SIGPIPE, SIG_IGN);
	if (argc > 6 && strcmp(argv[2], "child") == 0)
		return be_the_child(argv[3], atoi(argv[4]), strtoull(argv[5], NULL, 10),
				    atoi(argv[6]));
	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}

/*
 * test_engine_crash.c - a process is killed at any moment; what it was told is there.
 *
 *     test_engine_crash KIND [ROUNDS]        KEEP_CRASH_ROUNDS overrides
 *
 * Each round a child with several threads changes one store without end: sets of small and large
 * values, unsets of leaves and of whole chats, batches. Before each change a thread says in a pipe
 * what it is about to do, after it that it was acknowledged. The parent kills the child after a
 * random time, and then holds the store against a model: each thread owns a subtree, and that must
 * be, as a whole, the state before the one change that was in flight, or the state after it.
 * Values, list order, counts and single gets all have to agree.
 */
#include "engine_urls.h"
#include "keep_test.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4, CHATS = 3, MESSAGES = 6, BATCH = 4, ROUNDS_DEFAULT = 25 };

enum op { SET_MESSAGE, SET_CHAT, UNSET_MESSAGE, UNSET_CHAT, BATCH_SET, OPS };

/* One change, small enough that a pipe takes it whole. */
struct step {
	int thread;
	bool acknowledged;
	enum op op;
	int chat, message;
	uint32_t value; /* number of the first value that it sets */
};

/* What one thread's subtree holds: value numbers (0: nothing) and the order of the sets. */
struct subtree {
	uint32_t chat[CHATS], message[CHATS][MESSAGES];
	uint32_t chat_order[CHATS], order[CHATS][MESSAGES];
	uint32_t clock;
};

static char url[ENGINE_URL_MAX];
static struct subtree model[THREADS];

/* ---------------------------------------------------------------- values and paths */

/* Value number n: its number and then bytes that follow from it; one in 16 is large. */
static void make_value(uint32_t n, keep_buffer *out)
{
	size_t len = n % 16 == 0 ? 40000 + n * 7919u % 120000 : 8 + n * 31u % 600;

	if (kp_buffer_reserve(out, len, NULL) != KEEP_OK)
		abort();
	memcpy(out->data, &n, sizeof n);
	for (size_t i = sizeof n; i < len; i++)
		out->data[i] = (char)(n + i * 13);
	out->len = len;
}

static keep_bytes message_path(int thread, int chat, int message, char room[80])
{
	int len =
		snprintf(room, 80, "t%d/chat/%d@s.whatsapp.net/message/%d", thread, chat, message);

	return (keep_bytes){room, (size_t)len};
}

static keep_bytes chat_path(int thread, int chat, char room[80])
{
	int len = snprintf(room, 80, "t%d/chat/%d@s.whatsapp.net", thread, chat);

	return (keep_bytes){room, (size_t)len};
}

/* ---------------------------------------------------------------- the model */

static void apply_step(struct subtree *tree, const struct step *step)
{
	switch (step->op) {
	case SET_MESSAGE:
		tree->message[step->chat][step->message] = step->value;
		tree->order[step->chat][step->message] = ++tree->clock;
		break;
	case SET_CHAT:
		tree->chat[step->chat] = step->value;
		tree->chat_order[step->chat] = ++tree->clock;
		break;
	case UNSET_MESSAGE: tree->message[step->chat][step->message] = 0; break;
	case UNSET_CHAT:
		tree->chat[step->chat] = 0;
		memset(tree->message[step->chat], 0, sizeof tree->message[step->chat]);
		break;
	case BATCH_SET:
		tree->message[step->chat][0] = 0;
		for (int i = 1; i < BATCH; i++) {
			tree->message[step->chat][i] = step->value + (uint32_t)i;
			tree->order[step->chat][i] = ++tree->clock;
		}
		break;
	case OPS: break;
	}
}

/* ---------------------------------------------------------------- the child */

struct worker {
	keep_engine *engine;
	int thread, fd;
	uint64_t seed;
	uint32_t next_value;
};

static keep_status change(struct worker *worker, const struct step *step, keep_error *err)
{
	keep_buffer values[BATCH] = {0};
	keep_engine_change changes[BATCH];
	char rooms[BATCH][80];
	keep_status status = KEEP_MISUSE;

	make_value(step->value, &values[0]);
	switch (step->op) {
	case SET_MESSAGE:
		status = keep_engine_set(
			worker->engine,
			message_path(worker->thread, step->chat, step->message, rooms[0]),
			kp_buffer_bytes(&values[0]), err);
		break;
	case SET_CHAT:
		status = keep_engine_set(worker->engine,
					 chat_path(worker->thread, step->chat, rooms[0]),
					 kp_buffer_bytes(&values[0]), err);
		break;
	case UNSET_MESSAGE:
		status = keep_engine_unset(
			worker->engine,
			message_path(worker->thread, step->chat, step->message, rooms[0]), err);
		break;
	case UNSET_CHAT:
		status = keep_engine_unset(worker->engine,
					   chat_path(worker->thread, step->chat, rooms[0]), err);
		break;
	case BATCH_SET:
		for (int i = 0; i < BATCH; i++) {
			if (i > 0)
				make_value(step->value + (uint32_t)i, &values[i]);
			changes[i] = (keep_engine_change){
				.kind = i == 0 ? KEEP_ENGINE_UNSET : KEEP_ENGINE_SET,
				.path = message_path(worker->thread, step->chat, i, rooms[i]),
				.value = kp_buffer_bytes(&values[i])};
		}
		status = keep_engine_batch(worker->engine, changes, BATCH, err);
		break;
	case OPS: break;
	}
	for (int i = 0; i < BATCH; i++)
		keep_buffer_release(&values[i]);
	return status;
}

static void *work(void *ctx)
{
	struct worker *worker = ctx;

	for (;;) {
		uint64_t dice = next_random(&worker->seed);
		static const enum op ops[] = {SET_MESSAGE,   SET_MESSAGE, SET_MESSAGE, SET_CHAT,
					      UNSET_MESSAGE, UNSET_CHAT,  BATCH_SET,   BATCH_SET};
		struct step step = {.thread = worker->thread,
				    .op = ops[dice % 8],
				    .chat = (int)(dice / 8 % CHATS),
				    .message = (int)(dice / 64 % MESSAGES),
				    .value = worker->next_value};
		keep_error err = KEEP_ERROR_INIT;

		worker->next_value += BATCH;
		if (write(worker->fd, &step, sizeof step) != (ssize_t)sizeof step)
			_exit(3);
		if (change(worker, &step, &err) != KEEP_OK) {
			fprintf(stderr, "a change failed: %s\n", err.message);
			_exit(4);
		}
		step.acknowledged = true;
		if (write(worker->fd, &step, sizeof step) != (ssize_t)sizeof step)
			_exit(3);
	}
	return NULL;
}

static _Noreturn void be_the_child(int fd, uint64_t seed, const uint32_t *next_values)
{
	keep_engine_options options = KEEP_ENGINE_OPTIONS_INIT;
	struct worker workers[THREADS];
	pthread_t threads[THREADS];
	keep_engine *engine;
	keep_error err;

	options.create = true;
	options.timeout_ms = 30000;
	if (keep_engine_open(url, &options, &engine, &err) != KEEP_OK) {
		fprintf(stderr, "open failed: %s\n", err.message);
		_exit(2);
	}
	for (int i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){engine, i, fd, seed + (uint64_t)i * 1000003,
					     next_values[i]};
		if (pthread_create(&threads[i], NULL, work, &workers[i]))
			_exit(5);
	}
	pthread_join(threads[0], NULL);
	_exit(6);
}

/* ---------------------------------------------------------------- the parent */

struct round {
	bool in_flight[THREADS];
	struct step last[THREADS];
	long acknowledged;
	bool killed;
};

static void take_step(struct round *round, uint32_t *next_values, const struct step *step)
{
	int t = step->thread;

	next_values[t] = step->value + BATCH;
	round->in_flight[t] = !step->acknowledged;
	round->last[t] = *step;
	if (step->acknowledged) {
		apply_step(&model[t], step);
		round->acknowledged++;
	}
}

/* Read steps until the time is over, kill, read the rest. */
static void run_and_kill(struct round *round, uint64_t seed, uint32_t *next_values, int life_ms)
{
	int64_t until_ns = 0;
	int pipe_fds[2], exit_status;
	struct step step;
	pid_t child;

	assert_int_equal(pipe(pipe_fds), 0);
	child = fork();
	if (child == 0) {
		close(pipe_fds[0]);
		be_the_child(pipe_fds[1], seed, next_values);
	}
	close(pipe_fds[1]);
	for (;;) {
		struct pollfd ready = {.fd = pipe_fds[0], .events = POLLIN};
		int64_t left_ms = until_ns ? (until_ns - kp_monotonic_ns()) / 1000000 : 60000;

		if (!round->killed && until_ns && left_ms <= 0) {
			kill(child, SIGKILL);
			round->killed = true;
		}
		if (poll(&ready, 1,
			 round->killed ? 60000
			 : left_ms > 0 ? (int)left_ms
				       : 0) == 0 &&
		    !until_ns)
			CHECK(false, "the child does nothing");
		if (!ready.revents)
			continue;
		if (read(pipe_fds[0], &step, sizeof step) != (ssize_t)sizeof step)
			break;
		/* The time to live counts from the first change, not from the opening. */
		if (!until_ns)
			until_ns = kp_monotonic_ns() + life_ms * INT64_C(1000000) / 10;
		take_step(round, next_values, &step);
	}
	close(pipe_fds[0]);
	waitpid(child, &exit_status, 0);
	CHECK(WIFSIGNALED(exit_status), "the child ended by itself with %d",
	      WEXITSTATUS(exit_status));
}

static bool value_is(keep_bytes found, uint32_t n)
{
	keep_buffer wanted = KEEP_BUFFER_INIT;
	bool same;

	make_value(n, &wanted);
	same = kp_bytes_equal(found, kp_buffer_bytes(&wanted));
	keep_buffer_release(&wanted);
	return same;
}

/* The messages of one chat: list, count and gets against the model. */
static bool chat_matches(keep_engine *engine, int thread, int chat, const struct subtree *tree)
{
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	keep_buffer value = KEEP_BUFFER_INIT;
	char room[80];
	keep_bytes folder = chat_path(thread, chat, room);
	uint32_t above = UINT32_MAX;
	int64_t count = 0, wanted = 0;
	keep_error err;
	bool same;

	strcat(room, "/message");
	folder.len = strlen(room);
	OK(keep_engine_list_names(engine, folder, 0, 100, &list, &err));
	OK(keep_engine_count(engine, folder, &count, &err));
	for (int i = 0; i < MESSAGES; i++)
		wanted += tree->message[chat][i] != 0;
	same = count == wanted && list.count == (size_t)wanted;
	for (size_t i = 0; same && i < list.count; i++) {
		int message = list.items[i].name.data[0] - '0';
		uint32_t order = tree->order[chat][message];

		same = list.items[i].name.len == 1 && order < above &&
		       value_is(list.items[i].value, tree->message[chat][message]);
		above = order;
	}
	for (int i = 0; same && i < MESSAGES; i++) {
		keep_status status =
			keep_engine_get(engine, message_path(thread, chat, i, room), &value, &err);

		same = tree->message[chat][i]
			       ? status == KEEP_OK &&
					 value_is(kp_buffer_bytes(&value), tree->message[chat][i])
			       : status == KEEP_NOT_FOUND;
	}
	keep_engine_list_release(&list);
	keep_buffer_release(&value);
	return same;
}

static bool subtree_matches(keep_engine *engine, int thread, const struct subtree *tree)
{
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	char room[80];
	uint32_t above = UINT32_MAX;
	int64_t count = 0, wanted = 0;
	keep_error err;
	bool same;

	snprintf(room, sizeof room, "t%d/chat", thread);
	OK(keep_engine_list_names(engine, keep_bytes_of(room), 0, 100, &list, &err));
	OK(keep_engine_count(engine, keep_bytes_of(room), &count, &err));
	for (int i = 0; i < CHATS; i++)
		wanted += tree->chat[i] != 0;
	same = count == wanted && list.count == (size_t)wanted;
	for (size_t i = 0; same && i < list.count; i++) {
		int chat = list.items[i].name.data[0] - '0';

		same = tree->chat_order[chat] < above &&
		       value_is(list.items[i].value, tree->chat[chat]);
		above = tree->chat_order[chat];
	}
	for (int i = 0; same && i < CHATS; i++)
		same = chat_matches(engine, thread, i, tree);
	keep_engine_list_release(&list);
	return same;
}

/* Returns how many in-flight changes had happened after all. */
static long check_store(const struct round *round)
{
	keep_engine_options options = KEEP_ENGINE_OPTIONS_INIT;
	keep_engine *engine = NULL;
	keep_error err = KEEP_ERROR_INIT;
	long happened = 0;

	options.timeout_ms = 30000;
	OK(keep_engine_open(url, &options, &engine, &err));
	/* A server may still be at work for the killed client: a change waits until it is done. */
	OK(keep_engine_set(engine, KEEP_BYTES("settled"), KEEP_BYTES(""), &err));
	for (int t = 0; t < THREADS; t++) {
		struct subtree after = model[t];

		if (subtree_matches(engine, t, &model[t]))
			continue;
		CHECK(round->in_flight[t], "thread %d: the store differs and nothing was in flight",
		      t);
		apply_step(&after, &round->last[t]);
		CHECK(subtree_matches(engine, t, &after),
		      "thread %d: neither before nor after the change in flight (op %d, chat %d)",
		      t, (int)round->last[t].op, round->last[t].chat);
		model[t] = after;
		happened++;
	}
	keep_engine_close(&engine);
	return happened;
}

static engine_kind kind;
static long rounds = ROUNDS_DEFAULT;

static void killed_at_any_moment_every_acknowledged_change_is_there_whole(void **state)
{
	uint64_t seed = test_seed() + (uint64_t)kp_monotonic_ns();
	uint32_t next_values[THREADS] = {1, 1, 1, 1};
	long acknowledged = 0, happened = 0;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	engine_fresh_url(&kind, url);
	for (long i = 0; i < rounds; i++) {
		struct round round = {0};
		/* Tenths of a millisecond: most lives are a few changes long. */
		int life = (int)(next_random(&seed) % (i % 4 == 0 ? 1500 : 200));

		run_and_kill(&round, next_random(&seed), next_values, life);
		happened += check_store(&round);
		acknowledged += round.acknowledged;
	}
	print_message("%s: %ld kills, %ld acknowledged changes, all there; %ld in flight had "
		      "happened\n",
		      kind.name, rounds, acknowledged, happened);
	assert_true(acknowledged > rounds);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_at_any_moment_every_acknowledged_change_is_there_whole),
	};
	const char *wanted = getenv("KEEP_CRASH_ROUNDS");
	int failed;

	if (argc < 2)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	if (argc > 2)
		rounds = atol(argv[2]);
	if (wanted)
		rounds = atol(wanted);
	engine_urls_begin(argv[1], &kind);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	engine_urls_end();
	return failed;
}

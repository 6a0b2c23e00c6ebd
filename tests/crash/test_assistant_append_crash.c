/*
 * test_assistant_append_crash.c - processes that append are killed at any moment.
 *
 *     test_assistant_append_crash sqlite|postgres             KEEP_CRASH_ROUNDS: how many kills
 *     test_assistant_append_crash <url> <file> <seed> <name>  a writer
 *
 * Four processes append to shared conversations, one message or a batch at a time, and write down
 * in a file what they are about to append, and what was acknowledged. One after the other is killed
 * and started again. A new one first repeats what its predecessor began last. At the end
 *
 *   1. each acknowledged message is there, once, with its content;
 *   2. the numbers of a conversation are 1, 2, 3 … without a gap;
 *   3. last_seq and message_count are those of the messages;
 *   4. repeating an acknowledged message is a duplicate that changes nothing.
 */
#include "assistant_rows.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WRITERS = 4, CONVERSATIONS = 3, ROUNDS_DEFAULT = 25, BATCH_MAX = 5 };

static char url[ASSISTANT_URL_MAX], folder[200];

/* A message is known by its writer and number: what it says follows from that. */
static keep_conversation_message make_message(int writer, long number, char texts[3][40])
{
	snprintf(texts[0], 40, "c%ld", number % CONVERSATIONS);
	snprintf(texts[1], 40, "m-%d-%ld", writer, number);
	snprintf(texts[2], 40, "message %ld of writer %d", number, writer);
	return (keep_conversation_message){.conversation_id = keep_bytes_of(texts[0]),
					   .message_id = keep_bytes_of(texts[1]),
					   .role = KEEP_BYTES("user"),
					   .content = keep_bytes_of(texts[2]),
					   .is_internal = number % 4 == 0};
}

/* ---------------------------------------------------------------- a writer */

static keep_assistant *open_store(void)
{
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_assistant *assistant = NULL;
	keep_error err = KEEP_ERROR_INIT;

	options.without_keys = true;
	options.timeout_ms = 30000;
	if (keep_assistant_open(url, &options, &assistant, &err) != KEEP_OK) {
		fprintf(stderr, "open failed: %s\n", err.message);
		_exit(3);
	}
	return assistant;
}

static void append_some(keep_assistant *assistant, int fd, int writer, long first, size_t count)
{
	keep_conversation_message messages[BATCH_MAX];
	char texts[BATCH_MAX][3][40], line[40];
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;
	int len;

	for (size_t i = 0; i < count; i++)
		messages[i] = make_message(writer, first + (long)i, texts[i]);
	status = count == 1 ? keep_assistant_append(assistant, messages, NULL, &err)
			    : keep_assistant_append_many(assistant, messages, count, NULL, &err);
	if (status != KEEP_OK) {
		fprintf(stderr, "an append failed: %s\n", err.message);
		_exit(4);
	}
	len = snprintf(line, sizeof line, "%ld\n", first + (long)count);
	if (write(fd, line, (size_t)len) != len)
		_exit(5);
}

/* So many were acknowledged: the last whole line. A line is written in one call. */
static long read_acknowledged(const char *file)
{
	FILE *stream = fopen(file, "r");
	long number, last = 0;

	if (!stream)
		return 0;
	while (fscanf(stream, "%ld\n", &number) == 1)
		last = number;
	fclose(stream);
	return last;
}

static _Noreturn void be_a_writer(const char *file, uint64_t seed, int writer)
{
	int fd = open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	keep_assistant *assistant = open_store();
	long next = read_acknowledged(file);

	while (getppid() != 1) {
		size_t count = next_random(&seed) % BATCH_MAX + 1;

		append_some(assistant, fd, writer, next, count);
		next += (long)count;
	}
	_exit(6);
}

/* ---------------------------------------------------------------- the parent */

static void format_file(int writer, char out[256])
{
	snprintf(out, 256, "%s/writer-%d", folder, writer);
}

static pid_t start_writer(int writer, uint64_t *seed)
{
	char number[24], name[12], file[256];
	pid_t child;

	snprintf(number, sizeof number, "%llu", (unsigned long long)next_random(seed));
	snprintf(name, sizeof name, "%d", writer);
	format_file(writer, file);
	child = fork();
	if (child == 0) {
		execl(assistant_program(), assistant_program(), url, file, number, name, NULL);
		_exit(9);
	}
	return child;
}

static void kill_writer(pid_t child)
{
	int ended;

	kill(child, SIGKILL);
	waitpid(child, &ended, 0);
	CHECK(WIFSIGNALED(ended), "a writer ended by itself with %d", WEXITSTATUS(ended));
}

/* Every writer is to get somewhere, however slow the machine is. */
static void await_progress(int writer)
{
	char file[256];
	int tries = 3000 * test_patience();

	format_file(writer, file);
	while (read_acknowledged(file) == 0 && tries-- > 0)
		(void)poll(NULL, 0, 20);
	CHECK(tries > 0, "writer %d appended nothing", writer);
}

/* Points 1 and 4. */
static void check_writer(keep_assistant *assistant, int writer)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char file[256], texts[3][40], table[80];
	long count;

	format_file(writer, file);
	count = read_acknowledged(file);
	for (long i = 0; i < count; i++) {
		keep_conversation_message message = make_message(writer, i, texts), stored;
		keep_append_result result;

		OK(keep_assistant_get_message(assistant, message.message_id, &memory, &stored,
					      &err));
		assert_bytes_equal(stored.content, message.content);
		assert_bytes_equal(stored.conversation_id, message.conversation_id);
		OK(keep_assistant_append(assistant, &message, &result, &err));
		assert_true(result.is_duplicate);
		assert_int_equal(result.seq, stored.seq);
		keep_memory_release(&memory);
	}
	/* At most one batch more than was acknowledged. */
	snprintf(table, sizeof table, "messages WHERE message_id LIKE 'm-%d-%%'", writer);
	assert_in_range(assistant_count(table), count, count + BATCH_MAX);
	print_message("writer %d: %ld messages\n", writer, count);
}

#define OF_IT "FROM messages m WHERE m.conversation_id = conversations.conversation_id"

static void killed_writers_lose_nothing_and_leave_no_gap(void **state)
{
	const char *wanted = getenv("KEEP_CRASH_ROUNDS");
	long rounds = wanted ? atol(wanted) : ROUNDS_DEFAULT;
	uint64_t seed = test_seed() + (uint64_t)kp_monotonic_ns();
	keep_assistant *assistant = assistant_fresh();
	pid_t writers[WRITERS];

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	snprintf(url, sizeof url, "%s", assistant_url());
	snprintf(folder, sizeof folder, "%s", assistant_folder());
	for (int i = 0; i < CONVERSATIONS; i++) {
		char id[8];

		snprintf(id, sizeof id, "c%d", i);
		(void)assistant_conversation(assistant, id);
	}
	for (int i = 0; i < WRITERS; i++)
		writers[i] = start_writer(i, &seed);
	for (long i = 0; i < rounds; i++) {
		int victim = (int)(next_random(&seed) % WRITERS);

		/* Any moment is one; nothing is waited for. */
		(void)poll(NULL, 0, (int)(next_random(&seed) % 60));
		kill_writer(writers[victim]);
		writers[victim] = start_writer(victim, &seed);
	}
	for (int i = 0; i < WRITERS; i++) {
		await_progress(i);
		kill_writer(writers[i]);
	}
	assert_int_equal(
		assistant_count("conversations WHERE last_seq <> (SELECT count(*) " OF_IT ")"), 0);
	assert_int_equal(
		assistant_count("conversations WHERE last_seq <> (SELECT max(seq) " OF_IT ")"), 0);
	assert_int_equal(
		assistant_count("conversations WHERE message_count <> (SELECT count(*) " OF_IT
				" AND NOT m.is_internal)"),
		0);
	assert_int_equal(assistant_count("messages WHERE seq < 1"), 0);
	for (int i = 0; i < WRITERS; i++)
		check_writer(assistant, i);
	assert_true(assistant_count("messages") > 0);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_writers_lose_nothing_and_leave_no_gap),
	};
	int failed;

	if (argc == 5) {
		snprintf(url, sizeof url, "%s", argv[1]);
		be_a_writer(argv[2], strtoull(argv[3], NULL, 10), atoi(argv[4]));
	}
	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}

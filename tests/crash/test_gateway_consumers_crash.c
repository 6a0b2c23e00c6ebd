/*
 * test_gateway_consumers_crash.c - consumers are killed at any moment; each still gets every
 * message.
 *
 *     test_gateway_consumers_crash sqlite|postgres      KEEP_CRASH_ROUNDS: so many kills
 *     test_gateway_consumers_crash write URL NUMBER COUNT
 *     test_gateway_consumers_crash read URL NAME FILE MESSAGES
 *
 * Writers, processes of their own, put messages into many chats, with timestamps that are equal,
 * late, far ahead and going back; their transactions overlap. Consumers, processes too, wait, read,
 * note what they got in a file, advance, and note that the advance was answered. They are killed
 * again and again and started anew, until each has advanced over everything. Then each file is held
 * against the rule: in every chat the numbers come in order without a gap; one is read again only
 * while no advance over it was answered.
 */
#include "gateway_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	WRITERS = 8,
	READERS = 3,
	CHATS = 200,
	KILLS_DEFAULT = 40,
	MESSAGES_PER_KILL = 20, /* of all writers together */
	MESSAGES_MIN = 800
};

static const char *const reader_names[READERS] = {"router", "agent", "auditor"};

static keep_error err = KEEP_ERROR_INIT;

/* One line of a consumer's file. */
struct note {
	int32_t chat;
	int32_t is_advance; /* answered: up to seq */
	int64_t seq;
};

static _Noreturn void end_with(int status, const char *what)
{
	fprintf(stderr, "%s: %s\n", what, err.message);
	_exit(status);
}

static keep_gateway *open_store(const char *url)
{
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_gateway *gateway = NULL;

	options.timeout_ms = 30000;
	if (keep_gateway_open(url, &options, &gateway, &err) != KEEP_OK)
		end_with(2, "open");
	return gateway;
}

/* ---------------------------------------------------------------- a writer */

static int64_t choose_time(uint64_t dice, int i)
{
	switch (dice % 5) {
	case 0: return INT64_C(1700000000000);          /* equal */
	case 1: return INT64_C(1500000000000) + i;      /* late */
	case 2: return INT64_C(4102444800000) + i;      /* far ahead */
	case 3: return INT64_C(1700000000000) - i * 60; /* going back */
	default: return 0;
	}
}

static int be_a_writer(char **argv)
{
	keep_gateway *gateway = open_store(argv[2]);
	int number = atoi(argv[3]), count = atoi(argv[4]);
	uint64_t seed = (uint64_t)number * 7919 + 1;

	for (int i = 0; i < count; i++) {
		uint64_t dice = next_random(&seed);
		char jid[24], id[24];
		keep_message message = {.content = KEEP_BYTES("text"),
					.timestamp = choose_time(dice, i)};

		snprintf(jid, sizeof jid, "a:%d", (int)(dice / 8 % CHATS));
		snprintf(id, sizeof id, "%d-%d", number, i);
		message.chat_jid = keep_bytes_of(jid);
		message.id = keep_bytes_of(id);
		if (keep_gateway_put_message(gateway, &message, NULL, NULL, &err) != KEEP_OK)
			end_with(3, "put");
	}
	keep_gateway_close(&gateway);
	return 0;
}

/* ---------------------------------------------------------------- a consumer */

static void note(int fd, int chat, bool is_advance, int64_t seq)
{
	struct note line = {chat, is_advance, seq};

	if (write(fd, &line, sizeof line) != (ssize_t)sizeof line)
		_exit(4);
}

/* Where all cursors together stand: so many messages are done. */
static int64_t count_done(keep_gateway *gateway, keep_bytes consumer)
{
	int64_t done = 0;

	for (int i = 0; i < CHATS; i++) {
		char jid[24];
		int64_t seq = 0;

		snprintf(jid, sizeof jid, "a:%d", i);
		if (keep_gateway_get_cursor(gateway, consumer, keep_bytes_of(jid), &seq, &err) !=
		    KEEP_OK)
			end_with(5, "get_cursor");
		done += seq;
	}
	return done;
}

/* The last of each chat in the answer is what is advanced to. */
static void advance_over(keep_gateway *gateway, keep_bytes consumer, const keep_message_list *list,
			 int fd)
{
	for (size_t i = 0; i < list->count; i++) {
		const keep_message *message = &list->items[i];
		int64_t cursor = 0;

		if (i + 1 < list->count &&
		    kp_bytes_equal(list->items[i + 1].chat_jid, message->chat_jid))
			continue;
		if (keep_gateway_advance(gateway, consumer, message->chat_jid, message->seq,
					 &cursor, &err) != KEEP_OK)
			end_with(6, "advance");
		note(fd, atoi(message->chat_jid.data + 2), true, cursor);
	}
}

static int be_a_reader(char **argv)
{
	keep_gateway *gateway = open_store(argv[2]);
	keep_bytes consumer = keep_bytes_of(argv[3]);
	int fd = open(argv[4], O_WRONLY | O_APPEND | O_CLOEXEC);
	int64_t left = atoll(argv[5]) - count_done(gateway, consumer);

	while (left > 0) {
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_message_list list = {0};
		bool pending = false;

		if (keep_gateway_wait(gateway, consumer, 60000, &pending, &err) != KEEP_OK)
			end_with(7, "wait");
		if (!pending)
			end_with(8, "nothing came");
		if (keep_gateway_new_messages(gateway, consumer, NULL, 0, 17, &memory, &list,
					      &err) != KEEP_OK)
			end_with(9, "new_messages");
		for (size_t i = 0; i < list.count; i++)
			note(fd, atoi(list.items[i].chat_jid.data + 2), false, list.items[i].seq);
		advance_over(gateway, consumer, &list, fd);
		left -= (int64_t)list.count;
		keep_memory_release(&memory);
	}
	keep_gateway_close(&gateway);
	return 0;
}

/* ---------------------------------------------------------------- the parent */

static long kills = KILLS_DEFAULT;

static pid_t start(const char *role, const char *url, const char *a, const char *b, const char *c)
{
	pid_t child = fork();

	if (child == 0) {
		execl("/proc/self/exe", "test_gateway_consumers_crash", role, url, a, b, c,
		      (char *)NULL);
		_exit(10);
	}
	assert_true(child > 0);
	return child;
}

static int64_t last_seq_of(keep_gateway *gateway, int chat)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_chat found = {0};
	char jid[24];
	int64_t seq;
	keep_status status;

	snprintf(jid, sizeof jid, "a:%d", chat);
	status = keep_gateway_get_chat(gateway, keep_bytes_of(jid), &memory, &found, &err);
	assert_true(status == KEEP_OK || status == KEEP_NOT_FOUND);
	seq = status == KEEP_OK ? found.last_seq : 0;
	keep_memory_release(&memory);
	return seq;
}

/* The rule of this file's head. Returns how many messages were read twice. */
static long check_notes(keep_gateway *gateway, const char *file, const char *name)
{
	static int64_t read_to[CHATS], done_to[CHATS];
	FILE *notes = fopen(file, "rb");
	struct note line;
	long repeated = 0;

	memset(read_to, 0, sizeof read_to);
	memset(done_to, 0, sizeof done_to);
	assert_non_null(notes);
	while (fread(&line, sizeof line, 1, notes) == 1) {
		CHECK(line.chat >= 0 && line.chat < CHATS, "%s: chat %d", name, (int)line.chat);
		if (line.is_advance) {
			CHECK(line.seq <= read_to[line.chat], "%s: a cursor ran ahead", name);
			done_to[line.chat] = line.seq;
			continue;
		}
		CHECK(line.seq > done_to[line.chat], "%s: chat %d: %lld came again after %lld",
		      name, (int)line.chat, (long long)line.seq, (long long)done_to[line.chat]);
		CHECK(line.seq <= read_to[line.chat] + 1, "%s: chat %d: %lld after %lld", name,
		      (int)line.chat, (long long)line.seq, (long long)read_to[line.chat]);
		repeated += line.seq <= read_to[line.chat];
		if (line.seq > read_to[line.chat])
			read_to[line.chat] = line.seq;
	}
	(void)fclose(notes);
	for (int chat = 0; chat < CHATS; chat++)
		CHECK(read_to[chat] == last_seq_of(gateway, chat), "%s: chat %d ends at %lld", name,
		      chat, (long long)read_to[chat]);
	return repeated;
}

static void killed_at_any_moment_a_consumer_gets_every_message_in_order(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	char url[GATEWAY_URL_MAX], files[READERS][64], total_text[24], each_text[24];
	long wanted = kills * MESSAGES_PER_KILL, total, killed = 0, repeated = 0;
	uint64_t seed = test_seed() + (uint64_t)kp_monotonic_ns();
	pid_t writers[WRITERS], readers[READERS];
	int status;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	total = (wanted > MESSAGES_MIN ? wanted : MESSAGES_MIN) / WRITERS * WRITERS;
	snprintf(url, sizeof url, "%s", gateway_url());
	snprintf(total_text, sizeof total_text, "%ld", total);
	snprintf(each_text, sizeof each_text, "%ld", total / WRITERS);
	for (int i = 0; i < READERS; i++) {
		snprintf(files[i], sizeof files[i], "/tmp/keep-consumer-XXXXXX");
		status = mkstemp(files[i]);
		assert_true(status >= 0);
		close(status);
		readers[i] = start("read", url, reader_names[i], files[i], total_text);
	}
	for (int i = 0; i < WRITERS; i++) {
		char number[16];

		snprintf(number, sizeof number, "%d", i);
		writers[i] = start("write", url, number, each_text, NULL);
	}
	while (killed < kills) {
		int victim = (int)(next_random(&seed) % READERS);

		usleep((useconds_t)(next_random(&seed) % 60000));
		kill(readers[victim], SIGKILL);
		assert_int_equal(waitpid(readers[victim], &status, 0), readers[victim]);
		CHECK(WIFSIGNALED(status) || WEXITSTATUS(status) == 0, "%s ended with %d",
		      reader_names[victim], WEXITSTATUS(status));
		killed++;
		readers[victim] =
			start("read", url, reader_names[victim], files[victim], total_text);
	}
	for (int i = 0; i < WRITERS; i++) {
		waitpid(writers[i], &status, 0);
		assert_int_equal(status, 0);
	}
	for (int i = 0; i < READERS; i++) {
		waitpid(readers[i], &status, 0);
		assert_int_equal(status, 0);
		repeated += check_notes(gateway, files[i], reader_names[i]);
		(void)unlink(files[i]);
	}
	print_message("%s: %ld kills; %ld messages for each of %d consumers, none lost; %ld read "
		      "twice, none after its advance was answered\n",
		      gateway_kind(), killed, total, READERS, repeated);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_at_any_moment_a_consumer_gets_every_message_in_order),
	};
	const char *wanted = getenv("KEEP_CRASH_ROUNDS");
	int failed;

	if (argc == 5 && strcmp(argv[1], "write") == 0)
		return be_a_writer(argv);
	if (argc == 6 && strcmp(argv[1], "read") == 0)
		return be_a_reader(argv);
	if (wanted)
		kills = atol(wanted);
	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}

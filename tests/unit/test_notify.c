/*
 * test_notify.c - who waits is told, whoever else dies.
 *
 * The layout of the file is repeated here (notify.c, struct ring), so that a test can leave what a
 * killed poster leaves.
 */
#include "sql/sql.h"

#include "temp_folder.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { CELLS = 1024, HEAD_AT = 64, CELLS_AT = 128, CELL_SIZE = 64 };
enum { FILE_SIZE = CELLS_AT + CELLS * CELL_SIZE };
#define WRITING (UINT64_C(1) << 63)

struct rig {
	temp_folder folder;
	char path[128]; /* of the database */
	char file[160]; /* of the ring */
	kp_notify *notify;
};

static keep_error err;

static int set_up(void **state)
{
	struct rig *rig = calloc(1, sizeof *rig);

	temp_folder_make(&rig->folder);
	(void)temp_path(&rig->folder, "file", rig->path);
	(void)snprintf(rig->file, sizeof rig->file, "%s-notify", rig->path);
	OK(kp_notify_open(rig->path, &rig->notify, &err));
	*state = rig;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *rig = *state;

	kp_notify_close(&rig->notify);
	temp_folder_remove(&rig->folder);
	free(rig);
	assert_nothing_lives();
	return 0;
}

/* A topic as `wants` saw it, and whether it was the wanted one. */
struct catcher {
	keep_bytes wanted;
	char seen[5000];
	size_t len;
	int calls;
};

static bool catch_topic(void *ctx, keep_bytes topic)
{
	struct catcher *catcher = ctx;

	catcher->calls++;
	catcher->len = topic.len;
	memcpy(catcher->seen, topic.data, topic.len);
	return kp_bytes_equal(topic, catcher->wanted);
}

static bool refuse(void *ctx, keep_bytes topic)
{
	(void)ctx, (void)topic;
	return false;
}

static void a_topic_posted_after_the_position_is_seen_once(void **state)
{
	struct rig *rig = *state;
	struct catcher catcher = {.wanted = KEEP_BYTES("chat/1")};
	uint64_t position;

	kp_notify_post(rig->notify, KEEP_BYTES("chat/1"));
	position = kp_notify_position(rig->notify);
	assert_false(kp_notify_wait(rig->notify, &position, 0, catch_topic, &catcher, NULL));
	assert_int_equal(catcher.calls, 0);
	kp_notify_post(rig->notify, KEEP_BYTES("chat/2"));
	kp_notify_post(rig->notify, KEEP_BYTES("chat/1"));
	assert_true(kp_notify_wait(rig->notify, &position, -1, catch_topic, &catcher, NULL));
	assert_int_equal(catcher.calls, 2);
	assert_false(kp_notify_wait(rig->notify, &position, 0, catch_topic, &catcher, NULL));
	assert_int_equal(position, kp_notify_position(rig->notify));
}

static void topics_that_nobody_wants_do_not_end_a_wait(void **state)
{
	struct rig *rig = *state;
	uint64_t position = kp_notify_position(rig->notify);
	int64_t begun = kp_monotonic_ns();

	kp_notify_post(rig->notify, KEEP_BYTES("chat/2"));
	assert_false(kp_notify_wait(rig->notify, &position, 30, refuse, NULL, NULL));
	assert_true(kp_monotonic_ns() - begun >= 30 * INT64_C(1000000));
	kp_notify_post(rig->notify, KEEP_BYTES("chat/2"));
	assert_true(kp_notify_wait(rig->notify, &position, 0, NULL, NULL, NULL));
}

static void topics_of_every_length_arrive_whole(void **state)
{
	static const size_t lengths[] = {0, 1, 47, 48, 49, 104, 105, 1000, 4095, 4096};
	struct rig *rig = *state;
	char topic[4096];

	for (size_t i = 0; i < sizeof topic; i++)
		topic[i] = (char)(i * 7);
	for (int round = 0; round < 300; round++) {
		for (size_t i = 0; i < KP_COUNT(lengths); i++) {
			struct catcher catcher = {.wanted = {topic, lengths[i]}};
			uint64_t position = kp_notify_position(rig->notify);

			kp_notify_post(rig->notify, catcher.wanted);
			assert_true(kp_notify_wait(rig->notify, &position, 0, catch_topic, &catcher,
						   NULL));
			assert_int_equal(catcher.calls, 1);
			assert_int_equal(catcher.len, lengths[i]);
		}
	}
}

static void a_topic_that_is_too_long_wakes_everybody(void **state)
{
	static const char topic[5000] = "long";
	struct rig *rig = *state;
	uint64_t position = kp_notify_position(rig->notify);

	kp_notify_post(rig->notify, (keep_bytes){topic, sizeof topic});
	assert_true(kp_notify_wait(rig->notify, &position, 0, refuse, NULL, NULL));
	assert_false(kp_notify_wait(rig->notify, &position, 0, refuse, NULL, NULL));
}

static void a_reader_that_was_overrun_is_told_to_look(void **state)
{
	struct rig *rig = *state;
	uint64_t position = kp_notify_position(rig->notify);

	for (int i = 0; i < CELLS; i++)
		kp_notify_post(rig->notify, KEEP_BYTES("x"));
	assert_false(kp_notify_wait(rig->notify, &position, 0, refuse, NULL, NULL));
	for (int i = 0; i <= CELLS; i++)
		kp_notify_post(rig->notify, KEEP_BYTES("x"));
	assert_true(kp_notify_wait(rig->notify, &position, 0, refuse, NULL, NULL));
	assert_false(kp_notify_wait(rig->notify, &position, 0, refuse, NULL, NULL));
	position += 1000; /* from another ring: deleted and made anew */
	assert_true(kp_notify_wait(rig->notify, &position, 0, refuse, NULL, NULL));
}

/* ---------------------------------------------------------------- several processes */

static void a_waiter_in_another_process_is_woken(void **state)
{
	struct rig *rig = *state;
	int ready[2], status = 0;
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct catcher catcher = {.wanted = KEEP_BYTES("wake")};
		kp_notify *notify = NULL;
		uint64_t position;

		if (kp_notify_open(rig->path, &notify, NULL) != KEEP_OK)
			_exit(1);
		position = kp_notify_position(notify);
		if (write(ready[1], "x", 1) != 1)
			_exit(2);
		_exit(kp_notify_wait(notify, &position, -1, catch_topic, &catcher, NULL) ? 0 : 3);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	kp_notify_post(rig->notify, KEEP_BYTES("other"));
	kp_notify_post(rig->notify, KEEP_BYTES("wake"));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	(void)close(ready[0]);
	(void)close(ready[1]);
}

/* Every topic says its own length and is made of one letter. */
static size_t make_topic(char topic[5000], int number)
{
	size_t len = 8 + (size_t)(number * 37 % 600);

	(void)snprintf(topic, 9, "%08zu", len);
	memset(topic + 8, 'a' + number % 26, len - 8);
	return len;
}

static bool is_whole(keep_bytes topic)
{
	char text[9] = "";

	if (topic.len < 8)
		return false;
	memcpy(text, topic.data, 8);
	if (strtoul(text, NULL, 10) != topic.len)
		return false;
	for (size_t i = 9; i < topic.len; i++) {
		if (topic.data[i] != topic.data[8])
			return false;
	}
	return true;
}

static bool check_topic(void *ctx, keep_bytes topic)
{
	*(bool *)ctx = *(bool *)ctx && is_whole(topic);
	return false;
}

static void posters_of_several_processes_do_not_mix_their_topics(void **state)
{
	enum { PROCESSES = 4, POSTS = 20000 };
	struct rig *rig = *state;
	uint64_t position = kp_notify_position(rig->notify);
	bool whole = true;
	int running = PROCESSES;
	pid_t pids[PROCESSES];

	for (int i = 0; i < PROCESSES; i++) {
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i] == 0) {
			char topic[5000];

			for (int j = 0; j < POSTS; j++)
				kp_notify_post(rig->notify,
					       (keep_bytes){topic, make_topic(topic, j * 7 + i)});
			_exit(0);
		}
	}
	while (running > 0) {
		(void)kp_notify_wait(rig->notify, &position, 1, check_topic, &whole, NULL);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			running--;
	}
	assert_true(whole);
}

static void a_killed_poster_is_in_nobodys_way(void **state)
{
	enum { KILLS = 100 };
	struct rig *rig = *state;

	for (int i = 0; i < KILLS; i++) {
		struct catcher catcher = {.wanted = KEEP_BYTES("after")};
		uint64_t position = kp_notify_position(rig->notify);
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0) {
			char topic[5000];

			for (int j = 0;; j++)
				kp_notify_post(rig->notify,
					       (keep_bytes){topic, make_topic(topic, j)});
		}
		while (kp_notify_position(rig->notify) < position + 100 + (uint64_t)i)
			;
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		position = kp_notify_position(rig->notify);
		kp_notify_post(rig->notify, catcher.wanted);
		assert_true(
			kp_notify_wait(rig->notify, &position, -1, catch_topic, &catcher, NULL));
	}
}

static void put_word(struct rig *rig, off_t at, uint64_t value)
{
	int fd = open(rig->file, O_WRONLY);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, &value, sizeof value, at), sizeof value);
	(void)close(fd);
}

static void what_a_killed_poster_reserved_tells_readers_to_look(void **state)
{
	struct rig *rig = *state;
	uint64_t position = kp_notify_position(rig->notify), next;

	/* Killed after it reserved two cells and began to write the first. */
	put_word(rig, HEAD_AT, position + 2);
	put_word(rig, CELLS_AT + (off_t)(position % CELLS) * CELL_SIZE, (position + 1) | WRITING);
	next = position;
	assert_true(kp_notify_wait(rig->notify, &next, 0, refuse, NULL, NULL));
	assert_int_equal(next, position + 2);

	/* Its cell stays as it is; those around it work in every later round. */
	for (uint64_t i = position + 2; i < position + 3 * CELLS; i++) {
		bool answer;

		next = kp_notify_position(rig->notify);
		assert_int_equal(next, i);
		kp_notify_post(rig->notify, KEEP_BYTES("x"));
		answer = kp_notify_wait(rig->notify, &next, 0, refuse, NULL, NULL);
		assert_int_equal(answer, i % CELLS == position % CELLS);
	}
}

/* ---------------------------------------------------------------- cancelling */

struct sleeper {
	kp_notify *notify;
	_Atomic int cancelled;
	_Atomic bool started;
	bool answer;
};

static void *sleep_until_cancelled(void *ctx)
{
	struct sleeper *sleeper = ctx;
	uint64_t position = kp_notify_position(sleeper->notify);

	sleeper->started = true;
	sleeper->answer =
		kp_notify_wait(sleeper->notify, &position, -1, refuse, NULL, &sleeper->cancelled);
	return NULL;
}

static void a_cancelled_waiter_wakes(void **state)
{
	struct rig *rig = *state;

	for (int i = 0; i < 100; i++) {
		struct sleeper sleeper = {.notify = rig->notify, .answer = true};
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, sleep_until_cancelled, &sleeper), 0);
		while (!sleeper.started)
			;
		sleeper.cancelled = 1;
		kp_notify_wake(rig->notify);
		assert_int_equal(pthread_join(thread, NULL), 0);
		assert_false(sleeper.answer);
	}
}

/* ---------------------------------------------------------------- many threads */

static void *post_many(void *ctx)
{
	struct rig *rig = ctx;
	char topic[5000];

	for (int i = 0; i < 5000; i++)
		kp_notify_post(rig->notify, (keep_bytes){topic, make_topic(topic, i)});
	return NULL;
}

static void posters_and_waiters_in_threads_agree(void **state)
{
	enum { THREADS = 3 };
	struct rig *rig = *state;
	uint64_t position = kp_notify_position(rig->notify);
	bool whole = true;
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, post_many, rig), 0);
	for (int i = 0; i < 2000; i++)
		(void)kp_notify_wait(rig->notify, &position, 1, check_topic, &whole, NULL);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_true(whole);
}

/* ---------------------------------------------------------------- the file */

static void its_file_is_its_owners_alone_and_without_holes(void **state)
{
	struct rig *rig = *state;
	struct stat st;

	assert_int_equal(stat(rig->file, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(st.st_size, FILE_SIZE);
	assert_true(st.st_blocks * 512 >= FILE_SIZE);
}

static void a_file_of_another_layout_is_replaced_and_its_users_live_on(void **state)
{
	struct rig *rig = *state;
	struct catcher catcher = {.wanted = KEEP_BYTES("new")};
	kp_notify *first = NULL, *second = NULL;
	uint64_t position;

	put_word(rig, 0, 4711); /* another version's magic */
	OK(kp_notify_open(rig->path, &first, &err));
	kp_notify_post(rig->notify, KEEP_BYTES("old"));
	position = kp_notify_position(first);
	assert_int_equal(position, 0);
	OK(kp_notify_open(rig->path, &second, &err));
	kp_notify_post(second, KEEP_BYTES("new"));
	assert_true(kp_notify_wait(first, &position, -1, catch_topic, &catcher, NULL));
	kp_notify_close(&first);
	kp_notify_close(&second);

	assert_int_equal(truncate(rig->file, FILE_SIZE + 4096), 0); /* another size */
	OK(kp_notify_open(rig->path, &first, &err));
	assert_int_equal(kp_notify_position(first), 0);
	kp_notify_close(&first);
}

static void many_processes_that_open_it_at_once_share_it(void **state)
{
	enum { PROCESSES = 8 };
	struct rig *rig = *state;
	kp_notify *notify = NULL;

	assert_int_equal(unlink(rig->file), 0);
	for (int i = 0; i < PROCESSES; i++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0) {
			if (kp_notify_open(rig->path, &notify, NULL) != KEEP_OK)
				_exit(1);
			kp_notify_post(notify, KEEP_BYTES("here"));
			_exit(0);
		}
	}
	for (int i = 0; i < PROCESSES; i++) {
		int status = 0;

		assert_true(wait(&status) > 0);
		assert_int_equal(status, 0);
	}
	OK(kp_notify_open(rig->path, &notify, &err));
	assert_int_equal(kp_notify_position(notify), PROCESSES);
	kp_notify_close(&notify);
}

static void a_file_that_cannot_be_made_is_an_error(void **state)
{
	kp_notify *notify = NULL;
	char path[5000];

	(void)state;
	assert_int_equal(kp_notify_open("/no/such/folder/file", &notify, &err), KEEP_NOT_FOUND);
	assert_null(notify);
	memset(path, 'p', sizeof path - 1);
	path[sizeof path - 1] = '\0';
	assert_int_equal(kp_notify_open(path, &notify, &err), KEEP_INVALID);
	assert_null(notify);
	kp_notify_close(&notify);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_topic_posted_after_the_position_is_seen_once),
		TEST(topics_that_nobody_wants_do_not_end_a_wait),
		TEST(topics_of_every_length_arrive_whole),
		TEST(a_topic_that_is_too_long_wakes_everybody),
		TEST(a_reader_that_was_overrun_is_told_to_look),
		TEST(a_waiter_in_another_process_is_woken),
		TEST(posters_of_several_processes_do_not_mix_their_topics),
		TEST(a_killed_poster_is_in_nobodys_way),
		TEST(what_a_killed_poster_reserved_tells_readers_to_look),
		TEST(a_cancelled_waiter_wakes),
		TEST(posters_and_waiters_in_threads_agree),
		TEST(its_file_is_its_owners_alone_and_without_holes),
		TEST(a_file_of_another_layout_is_replaced_and_its_users_live_on),
		TEST(many_processes_that_open_it_at_once_share_it),
		TEST(a_file_that_cannot_be_made_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

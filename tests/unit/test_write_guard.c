/*
 * test_write_guard.c - one at a time, in turn, and nobody waits for the dead.
 */
#include "sql/sql.h"

#include "temp_folder.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct shared { /* between a test and its children */
	_Atomic int inside;
	_Atomic int overlaps;
	_Atomic long turns;
	_Atomic bool stop;
};

struct rig {
	temp_folder folder;
	char path[128];
	struct shared *shared;
};

static keep_error err;

static int set_up(void **state)
{
	struct rig *rig = calloc(1, sizeof *rig);

	temp_folder_make(&rig->folder);
	(void)temp_path(&rig->folder, "file", rig->path);
	rig->shared = mmap(NULL, sizeof *rig->shared, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(rig->shared != MAP_FAILED);
	*state = rig;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(munmap(rig->shared, sizeof *rig->shared), 0);
	temp_folder_remove(&rig->folder);
	free(rig);
	return 0;
}

static kp_guard open_guard(struct rig *rig)
{
	kp_guard guard;

	OK(kp_guard_open(&guard, rig->path, &err));
	return guard;
}

/* A child that takes the guard, says so, and stays until it is killed. */
static pid_t hold_in_a_child(struct rig *rig)
{
	int pipe_fds[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(pipe_fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		kp_guard guard;

		if (kp_guard_open(&guard, rig->path, NULL) != KEEP_OK ||
		    kp_guard_acquire(&guard, 10000, NULL) != KEEP_OK ||
		    write(pipe_fds[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	(void)close(pipe_fds[1]);
	assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
	(void)close(pipe_fds[0]);
	return pid;
}

static void end(pid_t pid, int signal)
{
	if (signal != 0)
		assert_int_equal(kill(pid, signal), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* Wait until `pid` is asleep, as /proc tells. */
static void wait_until_asleep(pid_t pid, char wanted)
{
	char path[64], line[256];

	(void)snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
	for (;;) {
		FILE *file = fopen(path, "r");
		const char *state;

		assert_non_null(file);
		assert_non_null(fgets(line, sizeof line, file));
		(void)fclose(file);
		state = strrchr(line, ')');
		if (state && state[2] == wanted)
			return;
	}
}

static void only_one_description_has_the_guard(void **state)
{
	struct rig *rig = *state;
	kp_guard first = open_guard(rig), second = open_guard(rig);

	OK(kp_guard_acquire(&first, 0, &err));
	assert_false(kp_guard_try(&second));
	assert_int_equal(kp_guard_acquire(&second, 0, &err), KEEP_BUSY);
	kp_guard_release(&first);
	assert_true(kp_guard_try(&second));
	assert_false(kp_guard_try(&first));
	kp_guard_release(&second);
	OK(kp_guard_acquire(&first, 0, &err));
	kp_guard_close(&first); /* closing releases */
	OK(kp_guard_acquire(&second, 0, &err));
	kp_guard_close(&second);
}

static void the_wait_ends_busy_at_its_time_and_not_before(void **state)
{
	struct rig *rig = *state;
	kp_guard first = open_guard(rig), second = open_guard(rig);
	int64_t begun = kp_monotonic_ns();

	OK(kp_guard_acquire(&first, 0, &err));
	assert_int_equal(kp_guard_acquire(&second, 55, &err), KEEP_BUSY);
	assert_true(kp_monotonic_ns() - begun >= 55 * INT64_C(1000000));
	kp_guard_close(&first);
	kp_guard_close(&second);
}

static void a_killed_owner_frees_it(void **state)
{
	struct rig *rig = *state;
	kp_guard guard = open_guard(rig);
	pid_t owner = hold_in_a_child(rig);

	assert_false(kp_guard_try(&guard));
	end(owner, SIGKILL);
	OK(kp_guard_acquire(&guard, 10000, &err));
	kp_guard_close(&guard);
}

static pid_t wait_in_a_child(struct rig *rig)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		kp_guard guard;
		keep_status status = kp_guard_open(&guard, rig->path, NULL);

		if (status == KEEP_OK)
			status = kp_guard_acquire(&guard, 20000, NULL);
		kp_guard_release(&guard);
		_exit((int)status);
	}
	return pid;
}

static void a_killed_waiter_is_in_nobodys_way(void **state)
{
	struct rig *rig = *state;
	kp_guard first = open_guard(rig), second = open_guard(rig);
	pid_t waiters[3];

	OK(kp_guard_acquire(&first, 0, &err));
	for (int i = 0; i < 3; i++) {
		waiters[i] = wait_in_a_child(rig);
		wait_until_asleep(waiters[i], 'S');
	}
	for (int i = 0; i < 3; i++)
		end(waiters[i], SIGKILL);
	kp_guard_release(&first);
	assert_true(kp_guard_try(&second));
	kp_guard_release(&second);
	OK(kp_guard_acquire(&first, 1000, &err));
	kp_guard_close(&first);
	kp_guard_close(&second);
}

static void a_stopped_owner_makes_busy_and_may_go_on_later(void **state)
{
	struct rig *rig = *state;
	kp_guard guard = open_guard(rig);
	pid_t owner = hold_in_a_child(rig);

	assert_int_equal(kill(owner, SIGSTOP), 0);
	assert_int_equal(kp_guard_acquire(&guard, 30, &err), KEEP_BUSY);
	assert_int_equal(kill(owner, SIGCONT), 0);
	assert_int_equal(kp_guard_acquire(&guard, 30, &err), KEEP_BUSY);
	end(owner, SIGKILL);
	OK(kp_guard_acquire(&guard, 10000, &err));
	kp_guard_close(&guard);
}

static void a_stopped_waiter_makes_busy_and_gets_its_turn_later(void **state)
{
	struct rig *rig = *state;
	kp_guard first = open_guard(rig), second = open_guard(rig);
	int status = 0;
	pid_t waiter;

	OK(kp_guard_acquire(&first, 0, &err));
	waiter = wait_in_a_child(rig);
	while (kp_guard_acquire(&second, 0, &err) == KEEP_BUSY) {
		/* Once the turnstile is taken, releasing the guard does not help anybody else. */
		wait_until_asleep(waiter, 'S');
		assert_int_equal(kill(waiter, SIGSTOP), 0);
		wait_until_asleep(waiter, 'T');
		kp_guard_release(&first);
		if (!kp_guard_try(&second))
			break;
		kp_guard_release(&second);
		assert_int_equal(kill(waiter, SIGCONT), 0);
		OK(kp_guard_acquire(&first, 10000, &err));
	}
	assert_int_equal(kp_guard_acquire(&second, 30, &err), KEEP_BUSY);
	assert_int_equal(kill(waiter, SIGCONT), 0);
	assert_int_equal(waitpid(waiter, &status, 0), waiter);
	assert_int_equal(status, KEEP_OK);
	OK(kp_guard_acquire(&second, 10000, &err));
	kp_guard_close(&first);
	kp_guard_close(&second);
}

/* Take turns in a child: each looks for another inside, and works a while. */
static pid_t take_turns_in_a_child(struct rig *rig, long turns, int64_t work_ns)
{
	struct shared *shared = rig->shared;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		kp_guard guard;

		if (kp_guard_open(&guard, rig->path, NULL) != KEEP_OK)
			_exit(1);
		for (long i = 0; (turns < 0 || i < turns) && !shared->stop; i++) {
			int64_t until;

			if (kp_guard_acquire(&guard, 20000, NULL) != KEEP_OK)
				_exit(2);
			if (atomic_fetch_add(&shared->inside, 1) != 0)
				atomic_fetch_add(&shared->overlaps, 1);
			until = kp_monotonic_ns() + work_ns;
			while (kp_monotonic_ns() < until)
				;
			atomic_fetch_add(&shared->turns, 1);
			atomic_fetch_sub(&shared->inside, 1);
			kp_guard_release(&guard);
		}
		kp_guard_close(&guard);
		_exit(0);
	}
	return pid;
}

static void four_processes_never_overlap_and_all_get_their_turns(void **state)
{
	enum { PROCESSES = 4, TURNS = 3000 };
	struct rig *rig = *state;
	pid_t pids[PROCESSES];

	for (int i = 0; i < PROCESSES; i++)
		pids[i] = take_turns_in_a_child(rig, TURNS, 1000);
	for (int i = 0; i < PROCESSES; i++) {
		int status = 0;

		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
	assert_int_equal(rig->shared->overlaps, 0);
	assert_int_equal(rig->shared->turns, PROCESSES * TURNS);
}

static void a_busy_process_does_not_overtake_one_that_waits(void **state)
{
	enum { WAITS = 200 };
	struct rig *rig = *state;
	kp_guard guard = open_guard(rig);
	pid_t busy = take_turns_in_a_child(rig, -1, 100000);
	long overtaken = 0;

	for (int i = 0; i < WAITS; i++) {
		long before = rig->shared->turns;

		OK(kp_guard_acquire(&guard, 20000, &err));
		overtaken += rig->shared->turns - before;
		kp_guard_release(&guard);
		while (rig->shared->turns == before)
			; /* the busy one is back */
	}
	rig->shared->stop = true;
	end(busy, 0);
	print_message("overtaken %.2f times a wait\n", (double)overtaken / WAITS);
	/* One turn is the one that it came into; the rest is what the scheduler does to us. */
	assert_true(overtaken < 20 * WAITS);
	kp_guard_close(&guard);
}

static void whatever_the_words_hold_it_works(void **state)
{
	struct rig *rig = *state;
	kp_guard first = open_guard(rig), second = open_guard(rig);
	unsigned char garbage[16];
	char path[160];
	int status = 0, fd;
	pid_t waiter;

	memset(garbage, 0xff, sizeof garbage);
	(void)snprintf(path, sizeof path, "%s-guard", rig->path);
	fd = open(path, O_WRONLY);
	assert_int_equal(pwrite(fd, garbage, sizeof garbage, 0), sizeof garbage);
	(void)close(fd);
	OK(kp_guard_acquire(&first, 0, &err));
	assert_int_equal(kp_guard_acquire(&second, 5, &err), KEEP_BUSY);
	waiter = wait_in_a_child(rig);
	wait_until_asleep(waiter, 'S');
	kp_guard_release(&first);
	assert_int_equal(waitpid(waiter, &status, 0), waiter);
	assert_int_equal(status, KEEP_OK);
	assert_true(kp_guard_try(&second));
	kp_guard_close(&first);
	kp_guard_close(&second);
}

static void a_deleted_file_makes_it_unavailable(void **state)
{
	struct rig *rig = *state;
	kp_guard guard = open_guard(rig);
	char path[160];

	(void)snprintf(path, sizeof path, "%s-guard", rig->path);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(kp_guard_acquire(&guard, 0, &err), KEEP_UNAVAILABLE);
	kp_guard_close(&guard);
}

static void its_file_is_its_owners_alone(void **state)
{
	struct rig *rig = *state;
	mode_t before = umask(0);
	kp_guard guard = open_guard(rig);
	char path[160];
	struct stat st;

	(void)umask(before);
	(void)snprintf(path, sizeof path, "%s-guard", rig->path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_true(fcntl(guard.fd, F_GETFD) & FD_CLOEXEC);
	kp_guard_close(&guard);
}

static void a_guard_that_is_not_open_is_refused(void **state)
{
	kp_guard guard = KP_GUARD_INIT;
	char path[5000];

	(void)state;
	assert_int_equal(kp_guard_acquire(&guard, 0, &err), KEEP_MISUSE);
	assert_false(kp_guard_try(&guard));
	kp_guard_release(&guard);
	kp_guard_close(&guard);
	assert_int_equal(kp_guard_open(&guard, "/no/such/folder/file", &err), KEEP_NOT_FOUND);
	assert_int_equal(guard.fd, -1);
	memset(path, 'p', sizeof path - 1);
	path[sizeof path - 1] = '\0';
	assert_int_equal(kp_guard_open(&guard, path, &err), KEEP_INVALID);
	kp_guard_close(&guard);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(only_one_description_has_the_guard),
		TEST(the_wait_ends_busy_at_its_time_and_not_before),
		TEST(a_killed_owner_frees_it),
		TEST(a_killed_waiter_is_in_nobodys_way),
		TEST(a_stopped_owner_makes_busy_and_may_go_on_later),
		TEST(a_stopped_waiter_makes_busy_and_gets_its_turn_later),
		TEST(four_processes_never_overlap_and_all_get_their_turns),
		TEST(a_busy_process_does_not_overtake_one_that_waits),
		TEST(whatever_the_words_hold_it_works),
		TEST(a_deleted_file_makes_it_unavailable),
		TEST(its_file_is_its_owners_alone),
		TEST(a_guard_that_is_not_open_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

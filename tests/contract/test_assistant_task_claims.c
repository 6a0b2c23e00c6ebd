/*
 * test_assistant_task_claims.c - threads and processes claim tasks: each task has one worker.
 *
 *     test_assistant_task_claims sqlite|postgres
 *     test_assistant_task_claims sqlite|postgres URL work|hold     a worker process of the tests
 */
#include "assistant_rows.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES = 4, THREADS = 4, TASKS = 400 };

static const keep_bytes none = {NULL, 0};
static const char *kind;

static void add(keep_assistant *assistant, const char *id, const char *agent)
{
	keep_agent_task task = {.task_id = keep_bytes_of(id),
				.agent_name = keep_bytes_of(agent),
				.action = KEEP_BYTES("dispatch")};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_assistant_add_task(assistant, &task, KEEP_NOW, NULL, NULL, &err));
}

/* ---------------------------------------------------------------- a worker process */

static keep_assistant *open_url(const char *url)
{
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_assistant *assistant = NULL;
	keep_error err = KEEP_ERROR_INIT;

	options.service = "worker";
	options.timeout_ms = 60000;
	options.without_keys = true;
	if (keep_assistant_open(url, &options, &assistant, &err) != KEEP_OK) {
		fprintf(stderr, "a worker does not open: %s\n", err.message);
		_exit(2);
	}
	return assistant;
}

static void must(keep_status status, const keep_error *err)
{
	if (status == KEEP_OK)
		return;
	fprintf(stderr, "a worker failed: %s: %s\n", keep_status_name(status), err->message);
	_exit(3);
}

/* Claim until nothing is left, and say in the result how often this thread had it. */
static void *work(void *ctx)
{
	keep_assistant *assistant = ctx;
	keep_error err = KEEP_ERROR_INIT;

	for (;;) {
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_agent_task_list list = {NULL, 0};

		must(keep_assistant_claim_tasks(assistant, none, 3, 0, KEEP_NOW, &memory, &list,
						&err),
		     &err);
		for (size_t i = 0; i < list.count; i++)
			must(keep_assistant_finish_task(assistant, list.items[i].task_id,
							list.items[i].attempt,
							KEEP_BYTES("completed"), KEEP_BYTES("true"),
							none, KEEP_NOW, &err),
			     &err);
		keep_memory_release(&memory);
		if (!list.count)
			return NULL;
	}
}

static int be_a_worker(const char *url)
{
	keep_assistant *assistant = open_url(url);
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, work, assistant) != 0)
			return 4;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	keep_assistant_close(&assistant);
	return 0;
}

/* Claim one task for an hour, say so, and never end. */
static int be_a_holder(const char *url)
{
	keep_assistant *assistant = open_url(url);
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_agent_task_list list = {NULL, 0};
	keep_error err = KEEP_ERROR_INIT;

	must(keep_assistant_claim_tasks(assistant, none, 1, INT64_C(3600000), KEEP_NOW, &memory,
					&list, &err),
	     &err);
	if (list.count != 1 || write(STDOUT_FILENO, "x", 1) != 1)
		return 5;
	for (;;)
		pause();
}

static pid_t start(const char *url, const char *what, int out)
{
	pid_t child = fork();

	assert_true(child >= 0);
	if (child)
		return child;
	if (out >= 0)
		dup2(out, STDOUT_FILENO);
	execl(assistant_program(), assistant_program(), kind, url, what, (char *)NULL);
	_exit(9);
}

/* ---------------------------------------------------------------- tests */

static void processes_and_threads_claim_each_task_once(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	pid_t children[PROCESSES];
	char id[16];

	(void)state;
	for (int i = 0; i < TASKS; i++) {
		snprintf(id, sizeof id, "t%d", i);
		add(assistant, id, i % 2 ? "a" : "b");
	}
	for (int i = 0; i < PROCESSES; i++)
		children[i] = start(assistant_url(), "work", -1);
	for (int i = 0; i < PROCESSES; i++) {
		int ended = 0;

		waitpid(children[i], &ended, 0);
		CHECK(WIFEXITED(ended) && WEXITSTATUS(ended) == 0, "a worker ended with %d", ended);
	}
	assert_int_equal(assistant_count("agent_tasks WHERE status = 'completed' AND attempt = 1"),
			 TASKS);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_process_that_is_killed_gives_its_task_back_at_once(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_agent_task_list list = {NULL, 0};
	keep_error err = KEEP_ERROR_INIT;
	keep_agent_task task;
	bool is_final = false;
	int fds[2], ended;
	char byte;
	pid_t child;

	(void)state;
	add(assistant, "t", "a");
	assert_int_equal(pipe(fds), 0);
	child = start(assistant_url(), "hold", fds[1]);
	close(fds[1]);
	assert_int_equal(read(fds[0], &byte, 1), 1);
	OK(keep_assistant_claim_tasks(assistant, none, 0, 0, KEEP_NOW, &memory, &list, &err));
	assert_int_equal(list.count, 0);
	kill(child, SIGKILL);
	waitpid(child, &ended, 0);
	OK(keep_assistant_claim_tasks(assistant, none, 0, 0, KEEP_NOW, &memory, &list, &err));
	assert_int_equal(list.count, 0);
	OK(keep_assistant_get_task(assistant, KEEP_BYTES("t"), &memory, &task, &err));
	assert_bytes_equal(task.status, KEEP_BYTES("interrupted"));
	assert_bytes_equal(task.error_message, KEEP_BYTES("the process that had it is gone"));
	OK(keep_assistant_retry_task(assistant, KEEP_BYTES("t"), KEEP_NOW, &err));
	OK(keep_assistant_claim_tasks(assistant, none, 0, 0, KEEP_NOW, &memory, &list, &err));
	assert_int_equal(list.count, 1);
	assert_int_equal(list.items[0].attempt, 2);
	OK(keep_assistant_cancel_task(assistant, KEEP_BYTES("t"), none, KEEP_NOW, &is_final, &err));
	assert_false(is_final);
	close(fds[0]);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_lasting_lease_outlives_the_process_that_took_it(void **state)
{
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_assistant *assistant = assistant_fresh(), *command = NULL;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_agent_task_list list = {NULL, 0};
	keep_error err = KEEP_ERROR_INIT;
	char sql[400];

	(void)state;
	add(assistant, "t", "a");
	options.lasting_leases = options.without_keys = true;
	OK(assistant_open_with(&options, &command, &err));
	OK(keep_assistant_claim_tasks(command, none, 0, 60000, KEEP_NOW, &memory, &list, &err));
	assert_int_equal(list.count, 1);
	/* As if another process of another time had taken it. */
	snprintf(sql, sizeof sql, "UPDATE agent_tasks SET lease_owner = '999999999.1.%s+'",
		 "4026531836.00000000-0000-0000-0000-000000000000");
	assistant_sql(sql);
	OK(keep_assistant_claim_tasks(assistant, none, 0, 0, KEEP_NOW, &memory, &list, &err));
	assert_int_equal(assistant_count("agent_tasks WHERE status = 'running'"), 1);
	keep_memory_release(&memory);
	keep_assistant_close(&command);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- waiting */

struct waiter {
	keep_assistant *assistant;
	keep_bytes agent;
	bool found;
	atomic_int begun;
};

static void *wait_for_task(void *ctx)
{
	struct waiter *waiter = ctx;
	keep_error err = KEEP_ERROR_INIT;

	atomic_store(&waiter->begun, 1);
	if (keep_assistant_wait_tasks(waiter->assistant, waiter->agent, -1, &waiter->found, &err) !=
	    KEEP_OK)
		waiter->found = false;
	return NULL;
}

static void whoever_waits_is_told_of_a_task(void **state)
{
	keep_assistant *assistant = assistant_fresh(), *other = assistant_again("other");
	struct waiter waiter = {.assistant = other, .agent = KEEP_BYTES("a")};
	keep_error err = KEEP_ERROR_INIT;
	bool found = true;
	pthread_t thread;

	(void)state;
	OK(keep_assistant_wait_tasks(assistant, none, 0, &found, &err));
	assert_false(found);
	assert_int_equal(pthread_create(&thread, NULL, wait_for_task, &waiter), 0);
	while (!atomic_load(&waiter.begun))
		sched_yield();
	add(assistant, "b", "b");
	add(assistant, "a", "a");
	pthread_join(thread, NULL);
	assert_true(waiter.found);
	OK(keep_assistant_wait_tasks(assistant, KEEP_BYTES("c"), 20, &found, &err));
	assert_false(found);
	OK(keep_assistant_wait_tasks(assistant, none, 0, &found, &err));
	assert_true(found);
	/* A cancel ends it with nothing. */
	waiter.agent = KEEP_BYTES("c");
	waiter.found = true;
	assert_int_equal(pthread_create(&thread, NULL, wait_for_task, &waiter), 0);
	keep_assistant_cancel(other);
	pthread_join(thread, NULL);
	assert_false(waiter.found);
	keep_assistant_close(&other);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(processes_and_threads_claim_each_task_once),
		cmocka_unit_test(a_process_that_is_killed_gives_its_task_back_at_once),
		cmocka_unit_test(a_lasting_lease_outlives_the_process_that_took_it),
		cmocka_unit_test(whoever_waits_is_told_of_a_task),
	};
	int failed;

	if (argc > 3)
		return strcmp(argv[3], "work") == 0 ? be_a_worker(argv[2]) : be_a_holder(argv[2]);
	assistant_begin(argc, argv);
	kind = assistant_kind();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}

/* bad_server.c - see bad_server.h. */
#include "bad_server.h"

#include <signal.h>
#include <sys/wait.h>

enum { CHILD_SECONDS = 60 };

struct server bad_server;

static int ask_fd, answer_fd; /* the child's */

void ask(enum server_request what)
{
	char byte = (char)what;

	WANT(write(ask_fd, &byte, 1) == 1 && read(answer_fd, &byte, 1) == 1,
	     "the parent does not answer");
}

static void serve(int from, int to)
{
	char byte;

	while (read(from, &byte, 1) == 1) {
		switch (byte) {
		case SERVER_KILL: server_kill(&bad_server); break;
		case SERVER_RESTART: server_restart(&bad_server); break;
		case SERVER_PAUSE: server_pause(&bad_server); break;
		case SERVER_RESUME: server_resume(&bad_server); break;
		default: server_stop(&bad_server); break;
		}
		assert_int_equal(write(to, &byte, 1), 1);
	}
}

static void be_the_child(int asks[2], int answers[2], void (*run)(void))
{
	long alive = kp_alloc_live(); /* what a test that failed has left */

	close(asks[0]);
	close(answers[1]);
	ask_fd = asks[1];
	answer_fd = answers[0];
	alarm((unsigned)(CHILD_SECONDS * test_patience()));
	run();
	WANT(kp_alloc_live() == alive, "%ld blocks are still alive", kp_alloc_live() - alive);
	fflush(stdout);
	_exit(0);
}

void with_bad_server(const char *kind, void (*ready)(void), void (*run)(void))
{
	int asks[2], answers[2], ended = 0;
	pid_t child;

	setenv("KEEP_TEST_FSYNC", "1", 1);
	if (strcmp(kind, "postgres") == 0)
		server_start_postgres(&bad_server);
	else
		server_start_redis(&bad_server);
	if (ready)
		ready();
	assert_int_equal(pipe(asks) | pipe(answers), 0);
	fflush(stdout);
	child = fork();
	if (child == 0)
		be_the_child(asks, answers, run);
	close(asks[1]);
	close(answers[0]);
	serve(asks[0], answers[1]);
	close(asks[0]);
	close(answers[1]);
	assert_int_equal(waitpid(child, &ended, 0), child);
	server_remove(&bad_server);
	CHECK(WIFEXITED(ended), "the child was ended by signal %d", WTERMSIG(ended));
	CHECK(WEXITSTATUS(ended) == 0, "the child failed; see above");
}

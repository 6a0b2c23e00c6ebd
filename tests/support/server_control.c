/*
 * server_control.c - runs server.sh for a test; see server_control.h.
 */
#include "server_control.h"

#include "keep_test.h"

#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

const char *server_environment(const char *name)
{
	const char *value = getenv(name);

	if (!value || *value == '\0')
		fail_msg("%s is not set: run this by tests/support/with_servers.sh", name);
	return value;
}

static void run_script(const struct server *server, const char *action)
{
	const char *script = server_environment("KEEP_TEST_SERVER");
	char *arguments[] = {strdup(script), strdup(action), strdup(server->kind),
			     strdup(server->folder), NULL};
	int status = -1;
	pid_t child;

	assert_int_equal(posix_spawn(&child, script, NULL, NULL, arguments, environ), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	for (char **argument = arguments; *argument; argument++)
		free(*argument);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "server.sh %s %s %s", action,
	      server->kind, server->folder);
}

static void start_new(struct server *server, const char *kind)
{
	char parent[48];

	/* Inside of with_servers.sh's folder, which it empties even when this test is killed. */
	*server = (struct server){.kind = kind};
	snprintf(parent, sizeof parent, "%s/XXXXXX", server_environment("KEEP_TEST_SERVERS"));
	assert_non_null(mkdtemp(parent));
	assert_int_equal(chmod(parent, 0711), 0); /* the server's own user passes through */
	snprintf(server->folder, sizeof server->folder, "%s/%s", parent, kind);
	run_script(server, "make");
	run_script(server, "start");
}

void server_start_postgres(struct server *server)
{
	start_new(server, "postgres");
	snprintf(server->location, sizeof server->location, "host=%s user=keep dbname=postgres",
		 server->folder);
}

void server_start_redis(struct server *server)
{
	start_new(server, "redis");
	snprintf(server->location, sizeof server->location, "%s/redis.sock", server->folder);
}

void server_kill(struct server *server)
{
	run_script(server, "kill");
}

void server_stop(struct server *server)
{
	run_script(server, "stop");
}

void server_restart(struct server *server)
{
	run_script(server, "start");
}

void server_pause(struct server *server)
{
	run_script(server, "pause");
}

void server_resume(struct server *server)
{
	run_script(server, "resume");
}

void server_remove(struct server *server)
{
	char parent[sizeof server->folder];

	run_script(server, "remove");
	snprintf(parent, sizeof parent, "%s", server->folder);
	*strrchr(parent, '/') = '\0';
	(void)rmdir(parent);
}

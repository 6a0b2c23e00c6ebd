/* source_process.c - see source_process.h. */
#include "source_process.h"

#include "keep_test.h"

#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 1 << 20 };

source_process source_start(const char *role, const char *folder)
{
	const char *python = getenv("KEEP_TEST_PYTHON");
	const char *script = getenv("KEEP_TEST_SOURCE_SIDE");
	int to[2], from[2];
	pid_t pid;

	CHECK(python && script, "KEEP_TEST_PYTHON and KEEP_TEST_SOURCE_SIDE are not set");
	assert_int_equal(pipe(to), 0);
	assert_int_equal(pipe(from), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)dup2(to[0], STDIN_FILENO);
		(void)dup2(from[1], STDOUT_FILENO);
		for (int i = 0; i < 2; i++) {
			(void)close(to[i]);
			(void)close(from[i]);
		}
		(void)execl(python, python, "-B", script, role, folder, (char *)NULL);
		_exit(126);
	}
	(void)close(to[0]);
	(void)close(from[1]);
	return (source_process){pid, to[1], from[0]};
}

/* The answer's line without its end and that of the object. */
static const char *exchange(source_process *process, const char *format, va_list arguments)
{
	static char line[LINE_MAX_BYTES];
	size_t len = (size_t)vsnprintf(line, sizeof line - 1, format, arguments);

	assert_true(len < sizeof line - 1);
	line[len++] = '\n';
	assert_int_equal(write(process->to, line, len), (ssize_t)len);
	for (len = 0; len == 0 || line[len - 1] != '\n';) {
		ssize_t got = read(process->from, line + len, sizeof line - 1 - len);

		CHECK(got > 0, "the source's side ended");
		len += (size_t)got;
	}
	line[len - 2] = '\0'; /* the object's end, too */
	return line;
}

const char *source_try(source_process *process, const char *format, ...)
{
	const char *line;
	va_list arguments;

	va_start(arguments, format);
	line = exchange(process, format, arguments);
	va_end(arguments);
	return strncmp(line, "{\"ok\": ", 7) == 0 ? line + 7 : NULL;
}

const char *source_ask(source_process *process, const char *format, ...)
{
	const char *line;
	va_list arguments;

	va_start(arguments, format);
	line = exchange(process, format, arguments);
	va_end(arguments);
	CHECK(strncmp(line, "{\"ok\": ", 7) == 0, "%s: %s", format, line);
	return line + 7;
}

static void end(source_process *process, int signal_number)
{
	int status = 0;

	(void)close(process->to);
	(void)close(process->from);
	if (signal_number)
		(void)kill(process->pid, signal_number);
	assert_int_equal(waitpid(process->pid, &status, 0), process->pid);
	if (!signal_number)
		assert_int_equal(status, 0);
}

void source_end(source_process *process)
{
	end(process, 0);
}

void source_kill(source_process *process)
{
	end(process, SIGKILL);
}

/*
 * cli_failures.c - what a command says when it cannot do what it was asked, and how it begins.
 *
 * Tests: tests/cli/.
 */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int cli_fail(const keep_error *err)
{
	fprintf(stderr, "keep: %s\n", err->message);
	return keep_status_exit(err->status);
}

int cli_wrong_use(const char *topic, const char *format, ...)
{
	char text[400];
	va_list args;

	va_start(args, format);
	kp_message_format(text, sizeof text, format, args);
	va_end(args);
	fprintf(stderr, "keep: %s; see: keep %s%s--help\n", text, topic, *topic ? " " : "");
	return CLI_WRONG_USE;
}

int cli_finish_output(int status)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_status failed;
	bool lost = ferror(stdout) != 0;

	lost = fflush(stdout) != 0 || lost;
	if (!lost || errno == EPIPE)
		return status;
	failed = kp_fail_errno(&err, errno ? errno : EIO, "standard output");
	(void)failed;
	return cli_fail(&err);
}

void cli_hold_descriptors(void)
{
	int fd = open("/dev/null", O_RDWR);

	while (fd >= 0 && fd <= STDERR_FILENO)
		fd = open("/dev/null", O_RDWR);
	if (fd > STDERR_FILENO)
		(void)close(fd);
}

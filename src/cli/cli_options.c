/*
 * cli_options.c - words of a command that is no store's: places and options, read by a table.
 *
 * `--name value` and `--name=value` are the same; what follows `--` is a place. A flag is true. An
 * option that is there twice is wrong use, as is a word that no place is left for.
 *
 * Tests: tests/cli/test_cli_backup.py, tests/cli/test_cli_care.py.
 */
#include "cli/cli.h"

#include <limits.h>
#include <string.h>

static const cli_option *find_option(const cli_option *options, const char *name, size_t len)
{
	for (const cli_option *at = options; at->name; at++)
		if (strlen(at->name) == len && strncmp(at->name, name, len) == 0)
			return at;
	return NULL;
}

static int take_number(const char *topic, const cli_option *option, const char *value)
{
	int64_t number = 0;

	if (!kp_int_parse(keep_bytes_of(value), &number) || number < 0 || number > INT_MAX)
		return cli_wrong_use(topic, "--%s: '%s': a number is needed", option->name, value);
	*option->number = (int)number;
	return CLI_DONE;
}

static int take_option(const char *topic, const cli_option *options, char **argv, int argc, int *at)
{
	const char *name = argv[*at] + 2, *value = strchr(name, '=');
	const cli_option *option =
		find_option(options, name, value ? (size_t)(value - name) : strlen(name));

	if (!option)
		return cli_wrong_use(topic, "%s: no such option", argv[*at]);
	if (option->flag) {
		if (value)
			return cli_wrong_use(topic, "--%s: takes no value", option->name);
		*option->flag = true;
		return CLI_DONE;
	}
	if (value)
		value++;
	else if (*at + 1 < argc)
		value = argv[++*at];
	else
		return cli_wrong_use(topic, "--%s: its value is missing", option->name);
	if (option->number)
		return take_number(topic, option, value);
	if (*option->text)
		return cli_wrong_use(topic, "--%s: is there twice", option->name);
	*option->text = value;
	return CLI_DONE;
}

int cli_options_read(const char *topic, const cli_option *options, const char **places,
		     size_t place_count, int argc, char **argv)
{
	size_t taken = 0;
	bool all_places = false;

	for (int i = 0; i < argc; i++) {
		int status = CLI_DONE;

		if (!all_places && strcmp(argv[i], "--") == 0)
			all_places = true;
		else if (!all_places && strncmp(argv[i], "--", 2) == 0)
			status = take_option(topic, options, argv, argc, &i);
		else if (!all_places && argv[i][0] == '-' && argv[i][1])
			status = cli_wrong_use(topic, "%s: no such option", argv[i]);
		else if (taken == place_count)
			status =
				cli_wrong_use(topic, "%s: '%s': one word too many", topic, argv[i]);
		else
			places[taken++] = argv[i];
		if (status != CLI_DONE)
			return status;
	}
	return CLI_DONE;
}

/* ---------------------------------------------------------------- progress */

enum { TELL_EVERY_MS = 100, LINE_WIDTH = 40 };

void cli_progress_show(void *ctx, int64_t done_bytes, int64_t all_bytes)
{
	cli_progress *progress = ctx;
	int64_t now_ms = kp_monotonic_ns() / 1000000;
	char line[LINE_WIDTH + 1];

	if (!progress->shows || now_ms - progress->told_ms < TELL_EVERY_MS)
		return;
	progress->told_ms = now_ms;
	(void)snprintf(line, sizeof line, "%lld of %lld MB", (long long)(done_bytes / 1000000),
		       (long long)(all_bytes / 1000000));
	(void)fprintf(stderr, "\r%-*s", LINE_WIDTH, line);
	(void)fflush(stderr);
}

void cli_progress_clear(const cli_progress *progress)
{
	if (progress->shows && progress->told_ms)
		(void)fprintf(stderr, "\r%*s\r", LINE_WIDTH, "");
}

void cli_progress_stop(void *ctx)
{
	cli_progress *progress = ctx;

	progress->cancelled = 1;
}

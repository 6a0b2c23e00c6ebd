/*
 * cli_transfer.c - `keep transfer FROM TO`: a home from a folder to a server, or back.
 *
 * On a terminal one line of standard error says how far it is; in a pipe nothing does. At the end a
 * table on standard output: each store's tables, their rows, their hash; with --json one object a
 * line. Ctrl-C ends it where it can be continued: the same command goes on.
 *
 * Tests: tests/cli/test_cli_transfer.py.
 */
#include "cli/cli.h"
#include "keep/home.h"

#include <string.h>
#include <unistd.h>

enum { TELL_EVERY_MS = 100, LINE_WIDTH = 78 };

struct transfer_command {
	const char *from, *to;
	bool is_json;
	keep_transfer_options options;
	volatile int cancelled;
	bool shows;      /* progress */
	int64_t told_ms; /* when it was last shown */
};

/* ---------------------------------------------------------------- progress */

static void clear_line(const struct transfer_command *command)
{
	if (command->shows && command->told_ms)
		(void)fprintf(stderr, "\r%*s\r", LINE_WIDTH, "");
}

static bool show(void *ctx, const keep_transfer_progress *progress)
{
	struct transfer_command *command = ctx;
	int64_t now_ms = kp_monotonic_ns() / 1000000;
	char line[LINE_WIDTH + 1];

	if (!command->shows || now_ms - command->told_ms < TELL_EVERY_MS)
		return true;
	command->told_ms = now_ms;
	(void)snprintf(line, sizeof line, "%lld rows; %s %s: %s%lld", (long long)progress->rows_all,
		       progress->store, progress->table, progress->verifies ? "comparing " : "",
		       (long long)progress->rows);
	(void)fprintf(stderr, "\r%-*s", LINE_WIDTH, line);
	(void)fflush(stderr);
	return true;
}

static void stop(void *ctx)
{
	struct transfer_command *command = ctx;

	command->cancelled = 1;
}

/* ---------------------------------------------------------------- the result */

static int print_json(const keep_transfer_result *result)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < result->count && status == KEEP_OK; i++) {
		const keep_transfer_table *table = &result->tables[i];
		keep_buffer line = KEEP_BUFFER_INIT;
		kp_json_writer writer;

		kp_json_begin(&writer, &line);
		kp_json_open_object(&writer);
		kp_json_name(&writer, "store");
		kp_json_put_text(&writer, table->store);
		kp_json_name(&writer, "table");
		kp_json_put_text(&writer, table->table);
		kp_json_name(&writer, "rows");
		kp_json_put_integer(&writer, table->rows);
		kp_json_name(&writer, "sha256");
		kp_json_put_text(&writer, table->sha256);
		kp_json_close_object(&writer);
		status = kp_json_finish(&writer, &err);
		if (status == KEEP_OK)
			printf("%s\n", line.data);
		keep_buffer_release(&line);
	}
	return status == KEEP_OK ? CLI_DONE : cli_fail(&err);
}

static int print_table(const keep_transfer_result *result)
{
	printf("%-24s %-24s %12s  %s\n", "STORE", "TABLE", "ROWS", "SHA-256");
	for (size_t i = 0; i < result->count; i++) {
		const keep_transfer_table *table = &result->tables[i];

		printf("%-24.*s %-24.*s %12lld  %.16s\n", (int)table->store.len, table->store.data,
		       (int)table->table.len, table->table.data, (long long)table->rows,
		       table->sha256.data);
	}
	printf("%lld rows, the same on both sides", (long long)result->rows);
	if (result->rows_before)
		printf("; %lld were there from before", (long long)result->rows_before);
	if (result->files_behind)
		printf("; %lld files were left behind", (long long)result->files_behind);
	printf("\n");
	return CLI_DONE;
}

/* ---------------------------------------------------------------- words */

static int read_words(struct transfer_command *command, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0)
			command->is_json = true;
		else if (strcmp(argv[i], "--without-files") == 0)
			command->options.without_files = true;
		else if (strcmp(argv[i], "--in-use") == 0)
			command->options.in_use = true;
		else if (argv[i][0] == '-')
			return cli_wrong_use("transfer", "%s: no such option", argv[i]);
		else if (!command->from)
			command->from = argv[i];
		else if (!command->to)
			command->to = argv[i];
		else
			return cli_wrong_use("transfer", "transfer: '%s': one word too many",
					     argv[i]);
	}
	if (!command->to)
		return cli_wrong_use("transfer", "transfer: %s: missing",
				     command->from ? "TO" : "FROM");
	return CLI_DONE;
}

int cli_transfer_main(int argc, char **argv)
{
	struct transfer_command command = {.options = KEEP_TRANSFER_OPTIONS_INIT,
					   .shows = isatty(STDERR_FILENO)};
	keep_transfer_result result = {.count = 0};
	keep_error err = KEEP_ERROR_INIT;
	cli_signals signals;
	int exit_status = read_words(&command, argc, argv);

	if (exit_status != CLI_DONE)
		return exit_status;
	command.options.progress = show;
	command.options.progress_ctx = &command;
	command.options.cancelled = &command.cancelled;
	if (cli_signals_begin(&signals, stop, &command, &err) != KEEP_OK)
		return cli_fail(&err);
	if (keep_transfer(command.from, command.to, &command.options, &result, &err) != KEEP_OK) {
		clear_line(&command);
		return cli_signals_end(&signals, cli_fail(&err));
	}
	clear_line(&command);
	exit_status = command.is_json ? print_json(&result) : print_table(&result);
	keep_transfer_result_release(&result);
	return cli_signals_end(&signals, cli_finish_output(exit_status));
}

/*
 * cli_check.c - `keep check`: is a home whole?
 *
 * What is found is told a line each, and at the end how many rows were read. With --json each is an
 * object on a line, and the last line the summary. On a terminal one line of standard error says
 * how far it is. Exit status: 0 when nothing is wrong (notes do not count, nor what was mended), 1
 * when something is, else the status' number.
 *
 * Tests: tests/cli/test_cli_check.py.
 */
#include "cli/cli.h"
#include "keep/home.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TELL_EVERY_MS = 100, LINE_WIDTH = 70 };

struct check_command {
	const char *home;
	bool is_json;
	keep_check_options options;
	cli_progress progress;
};

static void show_progress(void *ctx, const keep_check_progress *at)
{
	cli_progress *progress = ctx;
	int64_t now_ms = kp_monotonic_ns() / 1000000;
	char line[LINE_WIDTH + 1];

	if (!progress->shows || now_ms - progress->told_ms < TELL_EVERY_MS)
		return;
	progress->told_ms = now_ms;
	(void)snprintf(line, sizeof line, "%s: %.40s, %lld rows", at->store, at->what,
		       (long long)at->rows);
	(void)fprintf(stderr, "\r%-*s", LINE_WIDTH, line);
	(void)fflush(stderr);
}

static void clear_progress(const cli_progress *progress)
{
	if (progress->shows && progress->told_ms)
		(void)fprintf(stderr, "\r%*s\r", LINE_WIDTH, "");
}

/* ---------------------------------------------------------------- findings */

static void put_text(kp_json_writer *writer, const char *name, keep_bytes text)
{
	kp_json_name(writer, name);
	kp_json_put_text(writer, text);
}

static int print_json(kp_json_writer *writer, keep_buffer *line)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;

	kp_json_close_object(writer);
	status = kp_json_finish(writer, &err);
	if (status == KEEP_OK)
		printf("%s\n", line->data);
	keep_buffer_release(line);
	return status == KEEP_OK ? CLI_DONE : cli_fail(&err);
}

static int print_finding_json(const keep_finding *finding)
{
	keep_buffer line = KEEP_BUFFER_INIT;
	kp_json_writer writer;

	kp_json_begin(&writer, &line);
	kp_json_open_object(&writer);
	put_text(&writer, "severity", keep_bytes_of(keep_severity_name(finding->severity)));
	put_text(&writer, "kind", finding->kind);
	put_text(&writer, "store", finding->store);
	put_text(&writer, "file", finding->file);
	put_text(&writer, "table", finding->table);
	put_text(&writer, "key", finding->key);
	put_text(&writer, "sentence", finding->sentence);
	kp_json_name(&writer, "can_repair");
	kp_json_put_bool(&writer, finding->can_repair);
	kp_json_name(&writer, "is_repaired");
	kp_json_put_bool(&writer, finding->is_repaired);
	return print_json(&writer, &line);
}

/* A key may hold anything that prints: what a terminal would take for a command does not. */
static void print_finding(const keep_finding *finding)
{
	printf("%s: %.*s, %.*s", keep_severity_name(finding->severity), (int)finding->store.len,
	       finding->store.data, (int)finding->file.len, finding->file.data);
	if (finding->table.data)
		printf(", %.*s", (int)finding->table.len, finding->table.data);
	if (finding->key.data)
		printf(" '%.*s'", (int)finding->key.len, finding->key.data);
	printf(": %.*s%s (%.*s)\n", (int)finding->sentence.len, finding->sentence.data,
	       finding->is_repaired  ? "; it was mended"
	       : finding->can_repair ? "; --repair mends it"
				     : "",
	       (int)finding->kind.len, finding->kind.data);
}

/* ---------------------------------------------------------------- the end */

static int print_summary_json(const keep_check_result *result)
{
	const struct {
		const char *name;
		int64_t value;
	} numbers[] = {{"findings", (int64_t)result->count + result->unlisted},
		       {"unlisted", result->unlisted},
		       {"wrong", result->wrong},
		       {"repaired", result->repaired},
		       {"files", result->files},
		       {"tables", result->tables},
		       {"rows", result->rows}};
	keep_buffer line = KEEP_BUFFER_INIT;
	kp_json_writer writer;

	kp_json_begin(&writer, &line);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "is_whole");
	kp_json_put_bool(&writer, result->wrong == 0);
	for (size_t i = 0; i < KP_COUNT(numbers); i++) {
		kp_json_name(&writer, numbers[i].name);
		kp_json_put_integer(&writer, numbers[i].value);
	}
	return print_json(&writer, &line);
}

static void print_summary(const keep_check_result *result)
{
	if (result->unlisted)
		printf("%lld more are not listed.\n", (long long)result->unlisted);
	if (result->repaired)
		printf("%lld were mended.\n", (long long)result->repaired);
	if (result->wrong)
		printf("%lld things are wrong", (long long)result->wrong);
	else
		printf("All is well");
	printf(": %lld files, %lld tables and %lld rows were looked at.\n",
	       (long long)result->files, (long long)result->tables, (long long)result->rows);
}

static int print_result(const struct check_command *command, const keep_check_result *result)
{
	int exit_status = CLI_DONE;

	for (size_t i = 0; i < result->count && exit_status == CLI_DONE; i++) {
		if (command->is_json)
			exit_status = print_finding_json(&result->findings[i]);
		else
			print_finding(&result->findings[i]);
	}
	if (exit_status == CLI_DONE && command->is_json)
		exit_status = print_summary_json(result);
	else if (exit_status == CLI_DONE)
		print_summary(result);
	return exit_status == CLI_DONE && result->wrong ? CLI_NO : exit_status;
}

static int check(struct check_command *command)
{
	keep_check_result result = {.findings = NULL};
	keep_error err = KEEP_ERROR_INIT;
	cli_signals signals;
	int exit_status;

	command->progress.shows = isatty(STDERR_FILENO);
	command->options.progress = show_progress;
	command->options.progress_ctx = &command->progress;
	command->options.cancelled = &command->progress.cancelled;
	if (cli_signals_begin(&signals, cli_progress_stop, &command->progress, &err) != KEEP_OK)
		return cli_fail(&err);
	if (keep_home_check(command->home, &command->options, &result, &err) != KEEP_OK) {
		clear_progress(&command->progress);
		return cli_signals_end(&signals, cli_fail(&err));
	}
	clear_progress(&command->progress);
	exit_status = print_result(command, &result);
	keep_check_result_release(&result);
	return cli_signals_end(&signals, cli_finish_output(exit_status));
}

int cli_check_main(int argc, char **argv)
{
	struct check_command command = {.options = KEEP_CHECK_OPTIONS_INIT};
	const char *places[1] = {NULL};
	const cli_option options[] = {
		{.name = "repair", .flag = &command.options.repair},
		{.name = "reseal", .flag = &command.options.reseal},
		{.name = "quick", .flag = &command.options.quick},
		{.name = "json", .flag = &command.is_json},
		{.name = "key-file", .text = &command.options.key_file},
		{.name = NULL},
	};
	int exit_status = cli_options_read("check", options, places, 1, argc, argv);

	if (exit_status != CLI_DONE)
		return exit_status;
	command.home = places[0] ? places[0] : getenv("KEEP_HOME");
	if (!command.home || !*command.home)
		return cli_wrong_use("check", "check: HOME: missing, and KEEP_HOME is not set");
	return check(&command);
}

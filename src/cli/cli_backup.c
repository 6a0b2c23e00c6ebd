/*
 * cli_backup.c - `keep backup`: make one, list, verify, rotate.
 *
 * On a terminal one line of standard error says how far it is. The name of the backup is what is
 * printed, so that a script can go on with it; --json gives all that is known.
 *
 * Tests: tests/cli/test_cli_backup.py.
 */
#include "cli/cli.h"
#include "keep/backups.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct backup_command {
	const char *home, *name;
	bool is_json, lists, verifies, prunes, dry_run;
	keep_backup_options options;
	cli_progress progress;
};

/* ---------------------------------------------------------------- results */

static void put_number(kp_json_writer *writer, const char *name, int64_t value)
{
	kp_json_name(writer, name);
	kp_json_put_integer(writer, value);
}

static keep_status put_time(kp_json_writer *writer, const char *name, int64_t time_ms,
			    keep_error *err)
{
	char text[KEEP_TIME_TEXT_SIZE];
	keep_status status = KEEP_OK;

	kp_json_name(writer, name);
	if (time_ms)
		status = keep_time_format(time_ms, text, err);
	if (time_ms && status == KEEP_OK)
		kp_json_put_text(writer, keep_bytes_of(text));
	else
		kp_json_put_null(writer);
	return status;
}

static int print_line(kp_json_writer *writer, keep_buffer *line, keep_status status,
		      keep_error *err)
{
	if (status == KEEP_OK)
		status = kp_json_finish(writer, err);
	if (status == KEEP_OK)
		printf("%s\n", line->data);
	keep_buffer_release(line);
	return status == KEEP_OK ? CLI_DONE : cli_fail(err);
}

static int print_made(const struct backup_command *command, const keep_backup_result *result)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer line = KEEP_BUFFER_INIT;
	kp_json_writer writer;
	keep_status status;

	if (!command->is_json) {
		printf("%s\n", result->name);
		if (result->damaged_count)
			(void)fprintf(stderr,
				      "keep: %lld files that agents damaged were copied as they "
				      "are\n",
				      (long long)result->damaged_count);
		return CLI_DONE;
	}
	kp_json_begin(&writer, &line);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "name");
	kp_json_put_text(&writer, keep_bytes_of(result->name));
	status = put_time(&writer, "moment_at", result->moment_ms, &err);
	put_number(&writer, "files", result->file_count);
	put_number(&writer, "databases", result->database_count);
	put_number(&writer, "bytes", result->size_bytes);
	put_number(&writer, "damaged", result->damaged_count);
	put_number(&writer, "held_us", result->held_us);
	put_number(&writer, "removed", result->removed_count);
	kp_json_name(&writer, "is_uploaded");
	kp_json_put_bool(&writer, result->is_uploaded);
	kp_json_close_object(&writer);
	return print_line(&writer, &line, status, &err);
}

static int print_entry_json(const keep_backup_entry *entry)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer line = KEEP_BUFFER_INIT;
	kp_json_writer writer;
	keep_status status;

	kp_json_begin(&writer, &line);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "name");
	kp_json_put_text(&writer, entry->name);
	kp_json_name(&writer, "label");
	kp_json_put_text(&writer, entry->label);
	kp_json_name(&writer, "is_good");
	kp_json_put_bool(&writer, entry->is_good);
	kp_json_name(&writer, "why");
	kp_json_put_text(&writer, entry->why);
	status = put_time(&writer, "moment_at", entry->moment_ms, &err);
	put_number(&writer, "files", entry->file_count);
	put_number(&writer, "bytes", entry->size_bytes);
	kp_json_close_object(&writer);
	return print_line(&writer, &line, status, &err);
}

/* ---------------------------------------------------------------- what it does */

static int list(const struct backup_command *command)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_backup_list found = {NULL, 0};
	keep_error err = KEEP_ERROR_INIT;
	int exit_status = CLI_DONE;

	if (keep_backup_find(command->home, &memory, &found, &err) != KEEP_OK)
		exit_status = cli_fail(&err);
	for (size_t i = 0; i < found.count && exit_status == CLI_DONE; i++) {
		const keep_backup_entry *entry = &found.items[i];

		if (command->is_json)
			exit_status = print_entry_json(entry);
		else
			printf("%-20.*s %12lld bytes  %-16.*s %s%.*s\n", (int)entry->name.len,
			       entry->name.data, (long long)entry->size_bytes,
			       (int)entry->label.len, entry->label.data,
			       entry->is_good ? "good" : "not good: ", (int)entry->why.len,
			       entry->why.data);
	}
	keep_memory_release(&memory);
	return cli_finish_output(exit_status);
}

static int verify(const struct backup_command *command)
{
	keep_error err = KEEP_ERROR_INIT;

	if (keep_backup_verify(command->home, command->name, &err) != KEEP_OK)
		return cli_fail(&err);
	printf("The backup is whole.\n");
	return cli_finish_output(CLI_DONE);
}

static int prune(const struct backup_command *command)
{
	keep_error err = KEEP_ERROR_INIT;
	int64_t removed = 0;

	if (keep_backup_rotate(command->home, &command->options, command->dry_run, &removed,
			       &err) != KEEP_OK)
		return cli_fail(&err);
	printf("%lld\n", (long long)removed);
	return cli_finish_output(CLI_DONE);
}

static int make(struct backup_command *command)
{
	keep_backup_result result = {.name = ""};
	keep_error err = KEEP_ERROR_INIT;
	cli_signals signals;
	int exit_status;

	command->progress.shows = isatty(STDERR_FILENO);
	command->options.progress = cli_progress_show;
	command->options.progress_ctx = &command->progress;
	command->options.cancelled = &command->progress.cancelled;
	if (cli_signals_begin(&signals, cli_progress_stop, &command->progress, &err) != KEEP_OK)
		return cli_fail(&err);
	if (keep_backup_make(command->home, &command->options, &result, &err) != KEEP_OK) {
		cli_progress_clear(&command->progress);
		return cli_signals_end(&signals, cli_fail(&err));
	}
	cli_progress_clear(&command->progress);
	exit_status = print_made(command, &result);
	return cli_signals_end(&signals, cli_finish_output(exit_status));
}

int cli_backup_main(int argc, char **argv)
{
	struct backup_command command = {.options = KEEP_BACKUP_OPTIONS_INIT};
	const char *places[1] = {NULL};
	const cli_option options[] = {
		{.name = "label", .text = &command.options.label},
		{.name = "to", .text = &command.options.to},
		{.name = "s3", .text = &command.options.s3},
		{.name = "zone", .text = &command.options.zone},
		{.name = "name", .text = &command.name},
		{.name = "daily", .number = &command.options.daily},
		{.name = "weekly", .number = &command.options.weekly},
		{.name = "monthly", .number = &command.options.monthly},
		{.name = "rotate", .flag = &command.options.rotate},
		{.name = "json", .flag = &command.is_json},
		{.name = "list", .flag = &command.lists},
		{.name = "verify", .flag = &command.verifies},
		{.name = "prune", .flag = &command.prunes},
		{.name = "dry-run", .flag = &command.dry_run},
		{.name = NULL},
	};
	int exit_status = cli_options_read("backup", options, places, 1, argc, argv);

	if (exit_status != CLI_DONE)
		return exit_status;
	command.home = places[0] ? places[0] : getenv("KEEP_HOME");
	if (!command.home || !*command.home)
		return cli_wrong_use("backup", "backup: HOME: missing, and KEEP_HOME is not set");
	if (command.lists + command.verifies + command.prunes > 1)
		return cli_wrong_use("backup", "backup: only one of --list, --verify, --prune");
	if (command.lists)
		return list(&command);
	if (command.verifies)
		return verify(&command);
	return command.prunes ? prune(&command) : make(&command);
}

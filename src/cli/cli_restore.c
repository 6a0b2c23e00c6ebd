/*
 * cli_restore.c - `keep restore`: a home out of a backup.
 *
 * A home on a server is restored through a folder home in a temporary folder ($TMPDIR, or /tmp),
 * from which it is transferred; the folder goes again, with whatever is in it.
 *
 * Tests: tests/cli/test_cli_backup.py.
 */
#include "cli/cli.h"
#include "keep/backups.h"
#include "keep/home.h"

#include <errno.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct restore_command {
	const char *from, *target;
	bool is_json;
	keep_restore_options options;
	cli_progress progress;
};

static int print_result(const struct restore_command *command, const keep_restore_result *result)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer line = KEEP_BUFFER_INIT;
	kp_json_writer writer;

	if (!command->is_json) {
		printf("%s is the home of %s now.\n", command->target, result->name);
		if (result->set_aside[0])
			printf("The home before is at %s.\n", result->set_aside);
		if (!result->has_key && !kp_home_is_server(command->target))
			printf("It has no vault.key: put the file there, or give the key in "
			       "KEEP_ENCRYPTION_KEY.\n");
		return CLI_DONE;
	}
	kp_json_begin(&writer, &line);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "name");
	kp_json_put_text(&writer, keep_bytes_of(result->name));
	kp_json_name(&writer, "set_aside");
	kp_json_put_text(&writer, keep_bytes_of(result->set_aside));
	kp_json_name(&writer, "files");
	kp_json_put_integer(&writer, result->file_count);
	kp_json_name(&writer, "bytes");
	kp_json_put_integer(&writer, result->size_bytes);
	kp_json_name(&writer, "has_key");
	kp_json_put_bool(&writer, result->has_key);
	kp_json_close_object(&writer);
	if (kp_json_finish(&writer, &err) != KEEP_OK) {
		keep_buffer_release(&line);
		return cli_fail(&err);
	}
	printf("%s\n", line.data);
	keep_buffer_release(&line);
	return CLI_DONE;
}

static int remove_one(const char *path, const struct stat *about, int kind, struct FTW *at)
{
	(void)about;
	(void)kind;
	(void)at;
	return remove(path);
}

/* The backup is a home in `folder` first, then it is transferred. */
static keep_status restore_through(const struct restore_command *command, const char *folder,
				   keep_restore_result *result, keep_error *err)
{
	keep_transfer_options options = KEEP_TRANSFER_OPTIONS_INIT;
	keep_transfer_result moved = {.count = 0};
	keep_buffer home = KEEP_BUFFER_INIT;
	keep_status status = kp_buffer_append_format(&home, err, "%s/home", folder);

	options.cancelled = &command->progress.cancelled;
	if (status == KEEP_OK)
		status = keep_restore(command->from, home.data, &command->options, result, err);
	if (status == KEEP_OK)
		status = keep_transfer(home.data, command->target, &options, &moved, err);
	keep_transfer_result_release(&moved);
	keep_buffer_release(&home);
	return status;
}

static keep_status restore_server(const struct restore_command *command,
				  keep_restore_result *result, keep_error *err)
{
	const char *temporary = getenv("TMPDIR");
	keep_buffer folder = KEEP_BUFFER_INIT;
	keep_status status = kp_buffer_append_format(&folder, err, "%s/keep-restore-XXXXXX",
						     temporary && *temporary ? temporary : "/tmp");

	if (status == KEEP_OK && !mkdtemp(folder.data))
		status = kp_fail_errno(err, errno, "a folder beside %s", folder.data);
	else if (status == KEEP_OK) {
		status = restore_through(command, folder.data, result, err);
		if (nftw(folder.data, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0)
			(void)fprintf(stderr, "keep: %s was left behind\n", folder.data);
	}
	keep_buffer_release(&folder);
	return status;
}

int cli_restore_main(int argc, char **argv)
{
	struct restore_command command = {.options = KEEP_RESTORE_OPTIONS_INIT};
	const char *places[2] = {NULL, NULL};
	const cli_option options[] = {
		{.name = "name", .text = &command.options.name},
		{.name = "over", .flag = &command.options.over},
		{.name = "force", .flag = &command.options.force},
		{.name = "json", .flag = &command.is_json},
		{.name = NULL},
	};
	keep_restore_result result = {.name = ""};
	keep_error err = KEEP_ERROR_INIT;
	cli_signals signals;
	keep_status status;
	int exit_status = cli_options_read("restore", options, places, 2, argc, argv);

	if (exit_status != CLI_DONE)
		return exit_status;
	if (!places[1])
		return cli_wrong_use("restore", "restore: %s: missing",
				     places[0] ? "TARGET" : "FROM");
	command.from = places[0];
	command.target = places[1];
	command.progress.shows = isatty(STDERR_FILENO);
	command.options.progress = cli_progress_show;
	command.options.progress_ctx = &command.progress;
	command.options.cancelled = &command.progress.cancelled;
	if (cli_signals_begin(&signals, cli_progress_stop, &command.progress, &err) != KEEP_OK)
		return cli_fail(&err);
	status = kp_home_is_server(command.target) ? restore_server(&command, &result, &err)
						   : keep_restore(command.from, command.target,
								  &command.options, &result, &err);
	cli_progress_clear(&command.progress);
	exit_status = status == KEEP_OK ? print_result(&command, &result) : cli_fail(&err);
	return cli_signals_end(&signals, cli_finish_output(exit_status));
}

/*
 * cli_serve.c - `keep serve HOME`: the host of a home, in the foreground.
 *
 * It says on standard output where it listens, when it does, and on standard error what goes wrong;
 * it tells systemd, when that is there, that it is ready, alive, and ending.
 *
 * Invariants:
 *   1. SIGTERM and SIGINT end it after what is in flight; the second one ends it at once, which
 * loses nothing either.
 *   2. A host whose lease another one has taken over ends with a failure: two are not meant to
 * work.
 *
 * What it does not do: go into the background, write a log file.
 *
 * Tests: tests/cli/test_cli_serve.py.
 */
#include "cli/cli.h"
#include "keep/log.h"
#include "keep/service.h"
#include "service/systemd_notify.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

enum { BEAT_MS = 250, HOSTS_MAX = 16, SECONDS_MAX = 86400 };

typedef struct serve_command {
	keep_service_options options;
	const char *home, *host_list;
	char *hosts_text;
	const char *hosts[HOSTS_MAX];
	int agents, limit_s, grace_s;
	bool verbose;
	volatile int stopped;
} serve_command;

/* ---------------------------------------------------------------- what it says */

static void write_log(void *ctx, keep_log_level level, const char *message)
{
	const serve_command *command = ctx;

	if (level == KEEP_LOG_DEBUG && !command->verbose)
		return;
	fprintf(stderr, "keep: %s%s\n", level >= KEEP_LOG_ERROR ? "error: " : "", message);
}

static void tell_state(void *ctx, keep_service_state state, const char *text)
{
	(void)ctx;
	if (state == KEEP_SERVICE_WAITING)
		fprintf(stderr, "keep: waiting: %s is the host of this home\n", text);
	if (state == KEEP_SERVICE_READY) {
		printf("keep: listening on %s\n", text);
		(void)fflush(stdout);
	}
	kp_systemd_tell_state(state, text);
}

/* ---------------------------------------------------------------- words */

static int read_hosts(serve_command *command)
{
	size_t size;

	if (!command->host_list)
		return CLI_DONE;
	size = strlen(command->host_list) + 1;
	command->hosts_text = kp_alloc(size);
	if (!command->hosts_text)
		return cli_wrong_use("serve", "serve: out of memory");
	memcpy(command->hosts_text, command->host_list, size);
	for (char *at = command->hosts_text; at; command->options.host_count++) {
		char *comma = strchr(at, ',');

		if (command->options.host_count == HOSTS_MAX)
			return cli_wrong_use("serve", "serve: --hosts: at most %d", HOSTS_MAX);
		if (comma)
			*comma++ = '\0';
		if (!*at)
			return cli_wrong_use("serve", "serve: --hosts: an empty name");
		command->hosts[command->options.host_count] = at;
		at = comma;
	}
	command->options.hosts = command->hosts;
	return CLI_DONE;
}

static int check_numbers(serve_command *command)
{
	if (command->agents < 0 || command->agents > 1000)
		return cli_wrong_use("serve", "serve: --agents: not from 1 to 1000");
	if (command->limit_s < 0 || command->limit_s > SECONDS_MAX)
		return cli_wrong_use("serve", "serve: --agent-seconds: not from 1 to %d",
				     SECONDS_MAX);
	if (command->grace_s < 0 || command->grace_s > SECONDS_MAX)
		return cli_wrong_use("serve", "serve: --grace-seconds: not from 1 to %d",
				     SECONDS_MAX);
	command->options.agents_max = command->agents;
	command->options.agent_limit_ms = (int64_t)command->limit_s * 1000;
	return CLI_DONE;
}

static int read_words(serve_command *command, int argc, char **argv)
{
	const char *places[1] = {NULL};
	const cli_option options[] = {
		{.name = "listen", .text = &command->options.listen},
		{.name = "agent", .text = &command->options.agent},
		{.name = "agent-text", .flag = &command->options.agent_text},
		{.name = "agents", .number = &command->agents},
		{.name = "agent-seconds", .number = &command->limit_s},
		{.name = "tls-certificate", .text = &command->options.tls_certificate},
		{.name = "tls-key", .text = &command->options.tls_key},
		{.name = "behind-proxy", .flag = &command->options.behind_proxy},
		{.name = "hosts", .text = &command->host_list},
		{.name = "key-file", .text = &command->options.key_file},
		{.name = "backups", .text = &command->options.backups},
		{.name = "no-maintenance", .flag = &command->options.no_maintenance},
		{.name = "grace-seconds", .number = &command->grace_s},
		{.name = "verbose", .flag = &command->verbose},
		{.name = NULL},
	};
	int exit_status = cli_options_read("serve", options, places, 1, argc, argv);

	if (exit_status != CLI_DONE)
		return exit_status;
	command->home = places[0] ? places[0] : getenv("KEEP_HOME");
	if (!command->home || !*command->home)
		return cli_wrong_use("serve", "serve: HOME: missing, and KEEP_HOME is not set");
	exit_status = check_numbers(command);
	return exit_status == CLI_DONE ? read_hosts(command) : exit_status;
}

/* ---------------------------------------------------------------- running */

static void stop_command(void *ctx)
{
	serve_command *command = ctx;

	__atomic_store_n(&command->stopped, 1,
			 __ATOMIC_RELAXED); /* the wait for the lease reads it */
}

static bool is_stopped(const serve_command *command)
{
	return __atomic_load_n(&command->stopped, __ATOMIC_RELAXED) != 0;
}

/* Until a signal, or until another host has the lease. */
static keep_status watch(serve_command *command, keep_service *service, keep_error *err)
{
	keep_status status = KEEP_OK;

	while (!is_stopped(command) && status != KEEP_CONFLICT) {
		(void)poll(NULL, 0, BEAT_MS);
		status = keep_service_health(service, err);
	}
	return status == KEEP_CONFLICT ? status : KEEP_OK;
}

static int run(serve_command *command)
{
	keep_service *service = NULL;
	kp_watchdog *watchdog = NULL;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = keep_service_start(command->home, &command->options, &service, &err);
	bool was_cancelled = status == KEEP_BUSY && is_stopped(command);

	if (status == KEEP_OK)
		status = kp_watchdog_start(service, &watchdog, &err);
	if (status == KEEP_OK)
		status = watch(command, service, &err);
	kp_watchdog_stop(&watchdog);
	keep_service_stop(&service, (int64_t)command->grace_s * 1000);
	if (status == KEEP_OK || was_cancelled)
		return CLI_DONE;
	return cli_fail(&err);
}

int cli_serve_main(int argc, char **argv)
{
	serve_command command = {.options = KEEP_SERVICE_OPTIONS_INIT};
	keep_error err = KEEP_ERROR_INIT;
	cli_signals signals;
	int exit_status = read_words(&command, argc, argv);

	if (exit_status == CLI_DONE) {
		command.options.cancelled = &command.stopped;
		command.options.changed = tell_state;
		command.options.changed_ctx = &command;
		keep_log_set(write_log, &command);
		if (cli_signals_begin(&signals, stop_command, &command, &err) != KEEP_OK) {
			exit_status = cli_fail(&err);
		} else {
			exit_status = run(&command);
			(void)cli_signals_end(&signals, exit_status);
		}
		keep_log_set(NULL, NULL);
	}
	kp_free(command.hosts_text);
	return exit_status;
}

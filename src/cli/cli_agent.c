/*
 * cli_agent.c - `keep agent FOLDER … -- COMMAND…`: any program as a session's agent.
 *
 * As many workers as --max says, each a thread: it claims one message, runs the program with it
 * and reports (agent_turn.c). In between it waits for the next.
 *
 * Invariants:
 *   1. A program that cannot be started at all ends the command; the message is free again.
 *   2. The first SIGTERM or SIGINT lets programs that run come to their end and claims nothing
 *      more; the second kills them, gives the claims back and ends the command at once.
 *
 * What it does not do: keep anything in memory between messages.
 *
 * Tests: tests/cli/test_cli_agent.py.
 */
#include "cli/cli.h"
#include "keep/agent.h"
#include "service/agent_turn.h"

#include <poll.h>
#include <string.h>

enum { WORKERS_MAX = KEEP_CLAIM_MAX, KINDS_MAX = 8, BEAT_MS = 10000, PAUSE_MS = 500 };
#define LEASE_MS 60000
#define DURATION_MAX_MS INT64_C(86400000)

typedef struct agent_options {
	const char *place;
	char **command;
	int64_t workers, lease_ms, limit_ms;
	bool once, text, mount_safe;
	keep_bytes kinds[KINDS_MAX];
	size_t kind_count;
} agent_options;

struct agent_command;

typedef struct agent_worker {
	struct agent_command *command;
	pthread_t thread;
	kp_turn turn;
} agent_worker;

typedef struct agent_command {
	agent_options options;
	kp_turn_rules rules;
	keep_agent *agent;
	atomic_bool stopped;
	atomic_llong beat_ms;  /* of the last sign of life */
	pthread_mutex_t mutex; /* guards the failure */
	keep_error failure;    /* what ended the command */
	agent_worker workers[WORKERS_MAX];
	unsigned started;
} agent_command;

static int64_t clock_ms(void)
{
	return kp_monotonic_ns() / 1000000;
}

/* ---------------------------------------------------------------- ending */

static void stop_command(void *ctx)
{
	agent_command *self = ctx;

	atomic_store(&self->stopped, true);
	keep_agent_cancel(self->agent);
}

static void end_with(agent_command *self, const keep_error *failure)
{
	pthread_mutex_lock(&self->mutex);
	if (self->failure.status == KEEP_OK)
		self->failure = *failure;
	pthread_mutex_unlock(&self->mutex);
	stop_command(self);
}

/* The second signal. */
static void abandon_command(void *ctx)
{
	agent_command *self = ctx;

	for (unsigned i = 0; i < self->started; i++)
		kp_turn_abandon(&self->workers[i].turn);
}

static void tell_warning(const kp_turn *turn, const char *text)
{
	(void)turn;
	fprintf(stderr, "keep: %s\n", text);
}

/* ---------------------------------------------------------------- a message */

/* Claim one message and run it; *found is false when there is none. */
static keep_status work_once(agent_worker *worker, bool *found, keep_error *err)
{
	agent_command *self = worker->command;
	const keep_claim_request request = {
		.max = 1,
		.lease_ms = self->options.lease_ms,
		.kinds = self->options.kind_count ? self->options.kinds : NULL,
		.kind_count = self->options.kind_count,
	};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_claim_list list = {NULL, 0};
	kp_turn_end end;
	keep_status status;

	kp_turn_beat(&worker->turn);
	status = keep_agent_claim(self->agent, &request, KEEP_NOW, &memory, &list, err);
	*found = status == KEEP_OK && list.count > 0;
	if (*found)
		status = kp_turn_run(&worker->turn, &list.items[0], &memory, &end, err);
	keep_memory_release(&memory);
	return status;
}

static void *work(void *ctx)
{
	agent_worker *worker = ctx;
	agent_command *self = worker->command;

	while (!atomic_load(&self->stopped)) {
		keep_error err = KEEP_ERROR_INIT;
		bool found = false, ready = false;
		keep_status status = work_once(worker, &found, &err);

		if (status == KEEP_OK && !found && self->options.once)
			break;
		if (status == KEEP_OK && !found)
			status = keep_agent_wait(self->agent, BEAT_MS, &ready, &err);
		if (status == KEEP_OK)
			continue;
		if (!keep_status_can_retry(status)) {
			end_with(self, &err);
			break;
		}
		(void)cli_fail(&err);
		(void)poll(NULL, 0, PAUSE_MS);
	}
	return NULL;
}

/* ---------------------------------------------------------------- words */

/* "500ms", "30s", "5m", "2h"; a number alone is seconds. */
static bool read_duration(const char *word, int64_t *out)
{
	static const struct {
		const char *name;
		int64_t ms;
	} units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
	size_t digits = strspn(word, "0123456789");
	int64_t number = 0;

	if (!kp_int_parse((keep_bytes){word, digits}, &number) || number < 1)
		return false;
	for (size_t i = 0; i < KP_COUNT(units); i++) {
		if (strcmp(word + digits, units[i].name) != 0)
			continue;
		if (number > DURATION_MAX_MS / units[i].ms)
			return false;
		*out = number * units[i].ms;
		return true;
	}
	return false;
}

static int read_kinds(agent_options *options, const char *word)
{
	while (true) {
		size_t len = strcspn(word, ",");

		if (len == 0 || options->kind_count == KINDS_MAX)
			return cli_wrong_use("agent", "agent: --kinds: '%s' is no list of kinds",
					     word);
		options->kinds[options->kind_count++] = (keep_bytes){word, len};
		if (!word[len])
			return CLI_DONE;
		word += len + 1;
	}
}

static bool read_flag(agent_options *options, const char *word)
{
	bool *flag = strcmp(word, "--once") == 0         ? &options->once
		     : strcmp(word, "--text") == 0       ? &options->text
		     : strcmp(word, "--mount-safe") == 0 ? &options->mount_safe
							 : NULL;

	if (flag)
		*flag = true;
	return flag != NULL;
}

static int read_option(agent_options *options, const char *name, const char *value)
{
	bool is_right = true;

	if (strcmp(name, "--kinds") == 0)
		return read_kinds(options, value);
	if (strcmp(name, "--lease") == 0)
		is_right = read_duration(value, &options->lease_ms) && options->lease_ms >= 1000;
	else if (strcmp(name, "--time-limit") == 0)
		is_right = read_duration(value, &options->limit_ms);
	else if (strcmp(name, "--max") == 0)
		is_right = kp_int_parse(keep_bytes_of(value), &options->workers) &&
			   options->workers >= 1 && options->workers <= WORKERS_MAX;
	else
		return cli_wrong_use("agent", "agent: %s: no such option", name);
	return is_right
		       ? CLI_DONE
		       : cli_wrong_use("agent", "agent: %s: '%s' is out of range or no value of it",
				       name, value);
}

static int read_words(agent_options *options, int argc, char **argv)
{
	int i = 0, status = CLI_DONE;

	for (; i < argc && strcmp(argv[i], "--") != 0 && status == CLI_DONE; i++) {
		if (read_flag(options, argv[i]))
			continue;
		if (strncmp(argv[i], "--", 2) == 0 && i + 1 < argc) {
			status = read_option(options, argv[i], argv[i + 1]);
			i++;
		} else if (argv[i][0] == '-' || options->place) {
			status = cli_wrong_use("agent",
					       "agent: '%s': one word too many, or its "
					       "value is missing",
					       argv[i]);
		} else {
			options->place = argv[i];
		}
	}
	if (status != CLI_DONE)
		return status;
	if (!options->place)
		return cli_wrong_use("agent", "agent: FOLDER: missing");
	if (i + 1 >= argc)
		return cli_wrong_use("agent", "agent: -- COMMAND: missing");
	options->command = argv + i + 1;
	return CLI_DONE;
}

/* ---------------------------------------------------------------- running */

static keep_status start_workers(agent_command *self, keep_error *err)
{
	for (int64_t i = 0; i < self->options.workers; i++) {
		agent_worker *worker = &self->workers[i];
		int failed;

		worker->command = self;
		worker->turn.rules = &self->rules;
		worker->turn.agent = self->agent;
		worker->turn.beat_ms = &self->beat_ms;
		kp_turn_init(&worker->turn);
		failed = pthread_create(&worker->thread, NULL, work, worker);
		if (failed) {
			stop_command(self);
			return kp_fail_errno(err, failed, "a thread for a program");
		}
		self->started++;
	}
	return KEEP_OK;
}

static keep_status run_workers(agent_command *self, keep_error *err)
{
	keep_status status = start_workers(self, err);

	for (unsigned i = 0; i < self->started; i++)
		(void)pthread_join(self->workers[i].thread, NULL);
	if (status == KEEP_OK && self->failure.status != KEEP_OK) {
		*err = self->failure;
		status = err->status;
	}
	return status;
}

int cli_agent_main(int argc, char **argv)
{
	static agent_command self = {
		.options = {.workers = 1, .lease_ms = LEASE_MS},
		.mutex = PTHREAD_MUTEX_INITIALIZER,
		.failure = KEEP_ERROR_INIT,
	};
	keep_agent_options options = KEEP_AGENT_OPTIONS_INIT;
	cli_signals signals;
	keep_error err = KEEP_ERROR_INIT;
	int exit_status = read_words(&self.options, argc, argv);

	if (exit_status != CLI_DONE)
		return exit_status;
	atomic_store(&self.beat_ms, clock_ms() - BEAT_MS);
	options.mount_safe = self.options.mount_safe;
	self.rules = (kp_turn_rules){
		.command = self.options.command,
		.text = self.options.text,
		.lease_ms = self.options.lease_ms,
		.limit_ms = self.options.limit_ms,
		.warn = tell_warning,
	};
	if (keep_agent_open(self.options.place, &options, &self.agent, &err) != KEEP_OK)
		return cli_fail(&err);
	if (cli_signals_begin(&signals, stop_command, &self, &err) == KEEP_OK) {
		atomic_store(&signals.abandon, abandon_command);
		if (run_workers(&self, &err) != KEEP_OK)
			exit_status = cli_fail(&err);
		exit_status = cli_signals_end(&signals, exit_status);
	} else {
		exit_status = cli_fail(&err);
	}
	keep_agent_close(&self.agent);
	return exit_status;
}

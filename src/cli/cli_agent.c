/*
 * cli_agent.c - `keep agent FOLDER … -- COMMAND…`: any program as a session's agent.
 *
 * As many workers as --max says, each a thread: it claims one message, runs the program with it
 * (cli_child.c), and reports: replies and acknowledgement in one commit, or the failure, after
 * which the host retries. In between it waits for the next.
 *
 * Invariants:
 *   1. A message is reported about once, by the attempt of its claim; a claim that was lost
 * meanwhile ends the program and is not reported about.
 *   2. A program that cannot be started at all fails no message: the claim is given back and the
 *      command ends.
 *   3. The first SIGTERM or SIGINT lets programs that run come to their end and claims nothing
 * more; the second kills them, gives the claims back and ends the command at once.
 *   4. A reply's id is chosen before the first try to store it, so a try again stores it once.
 *
 * What it does not do: keep anything in memory between messages.
 *
 * Tests: tests/cli/test_cli_agent.py.
 */
#include "cli/cli.h"
#include "cli/cli_child.h"
#include "keep/agent.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	WORKERS_MAX = KEEP_CLAIM_MAX,
	KINDS_MAX = 8,
	BEAT_MS = 10000,
	PAUSE_MS = 500,
	TRIES_MAX = 20,
	VARIABLES = 4
};
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
	atomic_int group;              /* of its program, 0: none */
	pthread_mutex_t mutex;         /* guards the claim, for who gives it back */
	char id[KEEP_SEGMENT_MAX + 1]; /* of the message that it works on; empty: none */
	int64_t attempt;
	bool is_lost;         /* its claim is another's by now */
	int64_t extend_at_ms; /* when the lease is extended next, on the monotonic clock */
} agent_worker;

typedef struct agent_command {
	agent_options options;
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

static void give_back(agent_worker *worker)
{
	keep_claim_ref claim;
	keep_error err = KEEP_ERROR_INIT;

	pthread_mutex_lock(&worker->mutex);
	claim = (keep_claim_ref){keep_bytes_of(worker->id), worker->attempt};
	if (worker->id[0] &&
	    keep_agent_release(worker->command->agent, &claim, 1, KEEP_NOW, &err) != KEEP_OK)
		(void)cli_fail(&err);
	worker->id[0] = '\0';
	pthread_mutex_unlock(&worker->mutex);
}

/* The second signal. */
static void abandon_command(void *ctx)
{
	agent_command *self = ctx;

	for (unsigned i = 0; i < self->started; i++) {
		int group;

		give_back(&self->workers[i]); /* before its program's end can be a failure */
		group = atomic_load(&self->workers[i].group);
		if (group > 0)
			(void)kill(-group, SIGKILL);
	}
}

/* ---------------------------------------------------------------- while a program runs */

static void beat(agent_command *self)
{
	long long last = atomic_load(&self->beat_ms), now = clock_ms();
	keep_error err = KEEP_ERROR_INIT;

	if (now - last < BEAT_MS || !atomic_compare_exchange_strong(&self->beat_ms, &last, now))
		return;
	if (keep_agent_heartbeat(self->agent, KEEP_NOW, &err) != KEEP_OK)
		(void)cli_fail(&err);
}

/* False: the claim is lost. What can be tried again is, while the lease lasts. */
static bool tick(void *ctx)
{
	agent_worker *worker = ctx;
	agent_command *self = worker->command;
	keep_claim_ref claim = {keep_bytes_of(worker->id), worker->attempt};
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;

	beat(self);
	if (clock_ms() < worker->extend_at_ms)
		return true;
	status = keep_agent_extend(self->agent, &claim, 1, self->options.lease_ms, KEEP_NOW, &err);
	if (status == KEEP_OK)
		worker->extend_at_ms = clock_ms() + self->options.lease_ms / 3;
	else
		(void)cli_fail(&err);
	worker->is_lost = status == KEEP_CONFLICT;
	return !worker->is_lost;
}

/* ---------------------------------------------------------------- the program's input */

static keep_status put_variable(kp_arena *arena, const char *name, keep_bytes value, char **out,
				keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	keep_bytes copy = {NULL, 0};
	keep_status status =
		kp_buffer_append_format(&text, err, "%s=%" KP_PRI, name, KP_ARG(value));

	if (status == KEEP_OK)
		status = kp_arena_copy(arena, (keep_bytes){text.data, text.len + 1}, &copy, err);
	*out = (char *)(uintptr_t)copy.data;
	keep_buffer_release(&text);
	return status;
}

static bool is_ours(const char *variable)
{
	static const char *const names[VARIABLES] = {
		"KEEP_MESSAGE_ID=", "KEEP_MESSAGE_SEQ=", "KEEP_ATTEMPT=", "KEEP_SESSION="};

	for (unsigned i = 0; i < VARIABLES; i++)
		if (strncmp(variable, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

static keep_status make_environment(const agent_command *self, const keep_claimed *claimed,
				    kp_arena *arena, char ***out, keep_error *err)
{
	char seq[24], attempt[24];
	size_t count = 0, kept = 0;
	char **made;
	keep_status status;

	while (environ[count])
		count++;
	made = kp_arena_alloc(arena, (count + VARIABLES + 1) * sizeof *made);
	if (!made)
		return kp_fail_memory(err, "an environment");
	for (size_t i = 0; i < count; i++)
		if (!is_ours(environ[i]))
			made[kept++] = environ[i];
	(void)snprintf(seq, sizeof seq, "%lld", (long long)claimed->message.seq);
	(void)snprintf(attempt, sizeof attempt, "%lld", (long long)claimed->attempt);
	status = put_variable(arena, "KEEP_MESSAGE_ID", claimed->message.id, &made[kept++], err);
	if (status == KEEP_OK)
		status = put_variable(arena, "KEEP_MESSAGE_SEQ", keep_bytes_of(seq), &made[kept++],
				      err);
	if (status == KEEP_OK)
		status = put_variable(arena, "KEEP_ATTEMPT", keep_bytes_of(attempt), &made[kept++],
				      err);
	if (status == KEEP_OK)
		status = put_variable(arena, "KEEP_SESSION", keep_agent_session_id(self->agent),
				      &made[kept++], err);
	made[kept] = NULL;
	*out = made;
	return status;
}

/* The content, or with --text its text if it has one; a line. */
static keep_status make_input(const agent_command *self, keep_bytes content, kp_arena *arena,
			      keep_buffer *out, keep_error *err)
{
	const kp_json *json = NULL, *text = NULL;
	keep_bytes input = content;
	keep_status status = KEEP_OK;

	if (self->options.text && kp_json_parse(content, arena, &json, NULL) == KEEP_OK &&
	    json->kind == KP_JSON_OBJECT)
		text = kp_json_member(json, "text");
	if (text && text->kind == KP_JSON_TEXT)
		input = text->text;
	status = keep_buffer_set(out, input, err);
	if (status == KEEP_OK && (!input.len || input.data[input.len - 1] != '\n'))
		status = kp_buffer_append_text(out, "\n", err);
	return status;
}

/* ---------------------------------------------------------------- the program's output */

/* What it said as a reply's content: a JSON object as it is, else {"text": …}; nothing for nothing.
 */
static keep_status make_reply(keep_bytes output, kp_arena *arena, keep_buffer *content,
			      keep_error *err)
{
	const kp_json *json = NULL;
	kp_json_writer writer;
	size_t position = 0;

	while (output.len && strchr("\r\n", output.data[output.len - 1]))
		output.len--;
	if (output.len == 0)
		return KEEP_OK;
	if (!kp_utf8_is_valid(output, &position) || memchr(output.data, '\0', output.len))
		return kp_fail(err, KEEP_INVALID, "the output is no text");
	if (kp_json_parse(output, arena, &json, NULL) == KEEP_OK && json->kind == KP_JSON_OBJECT)
		return keep_buffer_set(content, json->raw, err);
	kp_json_begin(&writer, content);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "text");
	kp_json_put_text(&writer, output);
	kp_json_close_object(&writer);
	return kp_json_finish(&writer, err);
}

/* A line of a program's, as a text that may be stored. */
static void clean_line(char *line)
{
	size_t position = 0, len = strlen(line);

	for (size_t i = 0; i < len; i++)
		if ((unsigned char)line[i] < ' ')
			line[i] = ' ';
	while (!kp_utf8_is_valid((keep_bytes){line, len}, &position))
		line[position] = '?';
}

/* Why it failed; false: it did not. */
static bool tell_failure(const agent_command *self, cli_child_result *result, char *out,
			 size_t size)
{
	const char *before = result->last_line[0] ? ": " : "";

	clean_line(result->last_line);
	if (result->is_late)
		(void)snprintf(out, size, "ended after its time limit of %lld ms%s%s",
			       (long long)self->options.limit_ms, before, result->last_line);
	else if (result->is_too_long)
		(void)snprintf(out, size, "ended, its output is over %d bytes",
			       KEEP_MAILBOX_CONTENT_MAX);
	else if (WIFSIGNALED(result->wait_status))
		(void)snprintf(out, size, "ended by signal %d%s%s", WTERMSIG(result->wait_status),
			       before, result->last_line);
	else if (WEXITSTATUS(result->wait_status) != 0)
		(void)snprintf(out, size, "exit status %d%s%s", WEXITSTATUS(result->wait_status),
			       before, result->last_line);
	else
		return false;
	return true;
}

/* ---------------------------------------------------------------- reporting */

typedef struct report {
	const char *error;      /* NULL: it is completed */
	const keep_send *reply; /* or NULL */
} report;

static keep_status try_report(const agent_worker *worker, const report *what, keep_error *err)
{
	const keep_claim_ref claim = {keep_bytes_of(worker->id), worker->attempt};
	keep_agent *agent = worker->command->agent;

	if (what->error)
		return keep_agent_fail(agent, &claim, 1, keep_bytes_of(what->error), KEEP_NOW, err);
	return keep_agent_complete_with(agent, &claim, 1, what->reply, what->reply ? 1 : 0,
					KEEP_NOW, NULL, err);
}

/* Until it is stored, or cannot be. */
static keep_status store_report(agent_worker *worker, const report *what, keep_error *err)
{
	keep_status status = try_report(worker, what, err);

	for (unsigned i = 0; keep_status_can_retry(status) && i < TRIES_MAX; i++) {
		(void)poll(NULL, 0, PAUSE_MS);
		status = try_report(worker, what, err);
	}
	return status;
}

/* What the store does not take as a reply is a failure of the program. */
static void report_about(agent_worker *worker, const report *what)
{
	keep_error err = KEEP_ERROR_INIT, second = KEEP_ERROR_INIT;
	keep_status status = store_report(worker, what, &err);
	report failure = {.error = err.message};

	if (status != KEEP_OK)
		(void)cli_fail(&err);
	if (status == KEEP_OK || status == KEEP_CONFLICT || what->error)
		return;
	if (store_report(worker, &failure, &second) != KEEP_OK)
		(void)cli_fail(&second);
}

static keep_status report_result(agent_worker *worker, cli_child_result *result, kp_arena *arena,
				 keep_error *err)
{
	char error[CLI_LAST_LINE_SIZE + 128], id[KP_UUID_TEXT_SIZE];
	keep_buffer content = KEEP_BUFFER_INIT;
	keep_send reply = {.id = {NULL, 0}};
	report what = {.error = NULL};
	keep_status status = KEEP_OK;

	if (tell_failure(worker->command, result, error, sizeof error)) {
		what.error = error;
		fprintf(stderr, "keep: message %s: %s\n", worker->id, error);
	} else {
		status = kp_uuid_make(id, err);
		if (status == KEEP_OK)
			status = make_reply(kp_buffer_bytes(&result->output), arena, &content, err);
		reply.id = keep_bytes_of(id);
		reply.content = kp_buffer_bytes(&content);
		if (content.len)
			what.reply = &reply;
		if (status == KEEP_INVALID)
			what.error = err->message;
	}
	if (status == KEEP_OK || status == KEEP_INVALID) {
		report_about(worker, &what);
		status = KEEP_OK;
	}
	keep_buffer_release(&content);
	return status;
}

/* ---------------------------------------------------------------- a message */

static keep_status run_message(agent_worker *worker, const keep_claimed *claimed, kp_arena *arena,
			       keep_error *err)
{
	agent_command *self = worker->command;
	cli_child_result result = {.output = KEEP_BUFFER_INIT};
	keep_buffer input = KEEP_BUFFER_INIT;
	cli_child_request request = {
		.argv = self->options.command,
		.output_bytes_max = KEEP_MAILBOX_CONTENT_MAX,
		.limit_ms = self->options.limit_ms,
		.tick = tick,
		.ctx = worker,
		.group = &worker->group,
	};
	char **envp = NULL;
	keep_status status = make_environment(self, claimed, arena, &envp, err);

	request.envp = envp;
	if (status == KEEP_OK)
		status = make_input(self, claimed->message.content, arena, &input, err);
	request.input = kp_buffer_bytes(&input);
	if (status == KEEP_OK)
		status = cli_child_run(&request, &result, err);
	/* Either this reports, or the second signal has given the message back. */
	pthread_mutex_lock(&worker->mutex);
	if (status == KEEP_OK && !worker->is_lost && worker->id[0]) {
		status = report_result(worker, &result, arena, err);
		if (status == KEEP_OK)
			worker->id[0] = '\0';
	}
	pthread_mutex_unlock(&worker->mutex);
	cli_child_result_release(&result);
	keep_buffer_release(&input);
	return status;
}

static void take_claim(agent_worker *worker, const keep_claimed *claimed)
{
	keep_bytes id = claimed->message.id;

	pthread_mutex_lock(&worker->mutex);
	if (id.len < sizeof worker->id) {
		memcpy(worker->id, id.data, id.len);
		worker->id[id.len] = '\0';
	}
	worker->attempt = claimed->attempt;
	worker->is_lost = false;
	worker->extend_at_ms = clock_ms() + worker->command->options.lease_ms / 3;
	pthread_mutex_unlock(&worker->mutex);
}

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
	keep_status status;

	beat(self);
	status = keep_agent_claim(self->agent, &request, KEEP_NOW, &memory, &list, err);
	*found = status == KEEP_OK && list.count > 0;
	if (*found) {
		take_claim(worker, &list.items[0]);
		status = run_message(worker, &list.items[0], &memory, err);
		if (status != KEEP_OK)
			give_back(worker);
		pthread_mutex_lock(&worker->mutex);
		worker->id[0] = '\0';
		pthread_mutex_unlock(&worker->mutex);
	}
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
		pthread_mutex_init(&worker->mutex, NULL);
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

/*
 * agent_turn.c - a claimed message, answered by a program.
 *
 *     claimed ── runs ──> completed, with what it said as the reply
 *        │          └───> failed: its exit status, a signal, the time limit; the host tries again
 *        └── cannot be run ──> given back
 *
 * Invariants:
 *   1. A message is reported about once, by the attempt of its claim; a claim that was lost
 * meanwhile ends the program and is not reported about.
 *   2. A program that cannot be started fails no message: the claim is given back.
 *   3. A reply's id is chosen before the first try to store it, so a try again stores it once.
 *   4. What was abandoned is not reported about.
 *
 * What it does not do: claim; keep anything in memory between messages.
 *
 * Tests: tests/cli/test_cli_agent.py, tests/contract/test_service_agents.c.
 */
#include "service/agent_turn.h"

#include "service/agent_child.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BEAT_MS = 10000, PAUSE_MS = 500, TRIES_MAX = 20, NUMBER_SIZE = 24, OWN_VARIABLES = 4 };
enum { CANNOT_RUN = 126, NOT_THERE = 127 }; /* as a shell's exit status */

static int64_t clock_ms(void)
{
	return kp_monotonic_ns() / 1000000;
}

static void warn(const kp_turn *turn, const keep_error *err)
{
	turn->rules->warn(turn, err->message);
}

void kp_turn_init(kp_turn *turn)
{
	pthread_mutex_init(&turn->mutex, NULL);
}

void kp_turn_release(kp_turn *turn)
{
	pthread_mutex_destroy(&turn->mutex);
}

static void forget_claim(kp_turn *turn)
{
	pthread_mutex_lock(&turn->mutex);
	turn->id[0] = '\0';
	pthread_mutex_unlock(&turn->mutex);
}

static void give_back(kp_turn *turn)
{
	keep_claim_ref claim;
	keep_error err = KEEP_ERROR_INIT;

	pthread_mutex_lock(&turn->mutex);
	claim = (keep_claim_ref){keep_bytes_of(turn->id), turn->attempt};
	if (turn->id[0] && keep_agent_release(turn->agent, &claim, 1, KEEP_NOW, &err) != KEEP_OK)
		warn(turn, &err);
	turn->id[0] = '\0';
	pthread_mutex_unlock(&turn->mutex);
}

void kp_turn_abandon(kp_turn *turn)
{
	int group;

	give_back(turn); /* before its program's end can be a failure */
	group = atomic_load(&turn->group);
	if (group > 0)
		(void)kill(-group, SIGKILL);
}

/* ---------------------------------------------------------------- while a program runs */

void kp_turn_beat(kp_turn *turn)
{
	long long last = atomic_load(turn->beat_ms), now = clock_ms();
	keep_error err = KEEP_ERROR_INIT;

	if (now - last < BEAT_MS || !atomic_compare_exchange_strong(turn->beat_ms, &last, now))
		return;
	if (keep_agent_heartbeat(turn->agent, KEEP_NOW, &err) != KEEP_OK)
		warn(turn, &err);
}

/* False: the claim is lost. What can be tried again is, while the lease lasts. */
static bool tick(void *ctx)
{
	kp_turn *turn = ctx;
	keep_claim_ref claim = {keep_bytes_of(turn->id), turn->attempt};
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;

	kp_turn_beat(turn);
	if (clock_ms() < turn->extend_at_ms)
		return true;
	status = keep_agent_extend(turn->agent, &claim, 1, turn->rules->lease_ms, KEEP_NOW, &err);
	if (status == KEEP_OK)
		turn->extend_at_ms = clock_ms() + turn->rules->lease_ms / 3;
	else
		warn(turn, &err);
	turn->is_lost = status == KEEP_CONFLICT;
	return !turn->is_lost;
}

static void pass_line(void *ctx, const char *line)
{
	const kp_turn *turn = ctx;

	turn->rules->said(turn, line);
}

/* ---------------------------------------------------------------- the program's input */

static keep_status put_variable(kp_arena *arena, const kp_turn_variable *variable, char **out,
				keep_error *err)
{
	size_t name_len = strlen(variable->name), len = variable->value.len;

	*out = kp_arena_alloc(arena, name_len + len + 2);
	if (!*out)
		return kp_fail_memory(err, "an environment");
	memcpy(*out, variable->name, name_len);
	(*out)[name_len] = '=';
	memcpy(*out + name_len + 1, variable->value.data, len);
	(*out)[name_len + 1 + len] = '\0';
	return KEEP_OK;
}

static bool is_changed(const char *entry, const kp_turn_variable *variables, size_t count)
{
	size_t len = strcspn(entry, "=");

	for (size_t i = 0; i < count; i++)
		if (strlen(variables[i].name) == len && memcmp(variables[i].name, entry, len) == 0)
			return true;
	return false;
}

keep_status kp_environment_make(const kp_turn_variable *variables, size_t count, kp_arena *arena,
				char ***out, keep_error *err)
{
	size_t there = 0, kept = 0;
	char **made;
	keep_status status = KEEP_OK;

	while (environ[there])
		there++;
	made = kp_arena_alloc(arena, (there + count + 1) * sizeof *made);
	if (!made)
		return kp_fail_memory(err, "an environment");
	for (size_t i = 0; i < there; i++)
		if (!is_changed(environ[i], variables, count))
			made[kept++] = environ[i];
	for (size_t i = 0; i < count && status == KEEP_OK; i++)
		if (variables[i].value.data)
			status = put_variable(arena, &variables[i], &made[kept++], err);
	made[kept] = NULL;
	*out = made;
	return status;
}

static keep_status make_environment(const kp_turn *turn, const keep_claimed *claimed,
				    kp_arena *arena, char ***out, keep_error *err)
{
	char seq[NUMBER_SIZE], attempt[NUMBER_SIZE];
	kp_turn_variable variables[KP_TURN_VARIABLES_MAX] = {
		{"KEEP_MESSAGE_ID", claimed->message.id},
		{"KEEP_MESSAGE_SEQ", {NULL, 0}},
		{"KEEP_ATTEMPT", {NULL, 0}},
		{"KEEP_SESSION", keep_agent_session_id(turn->agent)},
	};
	size_t count = OWN_VARIABLES;

	(void)snprintf(seq, sizeof seq, "%lld", (long long)claimed->message.seq);
	(void)snprintf(attempt, sizeof attempt, "%lld", (long long)claimed->attempt);
	variables[1].value = keep_bytes_of(seq);
	variables[2].value = keep_bytes_of(attempt);
	for (size_t i = 0; i < turn->variable_count && count < KP_COUNT(variables); i++)
		variables[count++] = turn->variables[i];
	return kp_environment_make(variables, count, arena, out, err);
}

/* The content, or with `text` its text if it has one; a line. */
static keep_status make_input(const kp_turn *turn, keep_bytes content, kp_arena *arena,
			      keep_buffer *out, keep_error *err)
{
	const kp_json *json = NULL, *text = NULL;
	keep_bytes input = content;
	keep_status status =
		turn->rules->text ? kp_json_parse(content, arena, &json, err) : KEEP_OK;

	if (status == KEEP_NO_MEMORY) /* and not: it is no JSON */
		return status;
	if (status == KEEP_OK && json && json->kind == KP_JSON_OBJECT)
		text = kp_json_member(json, "text");
	if (text && text->kind == KP_JSON_TEXT)
		input = text->text;
	status = keep_buffer_set(out, input, err);
	if (status == KEEP_OK && (!input.len || input.data[input.len - 1] != '\n'))
		status = kp_buffer_append_text(out, "\n", err);
	return status;
}

/* ---------------------------------------------------------------- the program's output */

keep_status kp_output_content(keep_bytes output, kp_arena *arena, keep_buffer *content,
			      keep_error *err)
{
	const kp_json *json = NULL;
	kp_json_writer writer;
	size_t position = 0;
	keep_status status;

	while (output.len && strchr("\r\n", output.data[output.len - 1]))
		output.len--;
	if (output.len == 0)
		return KEEP_OK;
	if (!kp_utf8_is_valid(output, &position) || memchr(output.data, '\0', output.len))
		return kp_fail(err, KEEP_INVALID, "the output is no text");
	status = kp_json_parse(output, arena, &json, err);
	if (status == KEEP_NO_MEMORY) /* and not: it is no JSON */
		return status;
	if (status == KEEP_OK && json->kind == KP_JSON_OBJECT)
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

bool kp_failure_tell(struct kp_child_result *result, int64_t limit_ms, char *out, size_t size)
{
	const char *before = result->last_line[0] ? ": " : "";

	clean_line(result->last_line);
	if (result->is_late)
		(void)snprintf(out, size, "ended after its time limit of %lld ms%s%s",
			       (long long)limit_ms, before, result->last_line);
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

keep_status kp_shell_check(const struct kp_child_result *result, keep_error *err)
{
	int code = WIFEXITED(result->wait_status) ? WEXITSTATUS(result->wait_status) : 0;

	if (code != CANNOT_RUN && code != NOT_THERE)
		return KEEP_OK;
	return kp_fail(err, KEEP_UNAVAILABLE, "the command cannot be run: exit status %d%s%s", code,
		       result->last_line[0] ? ": " : "", result->last_line);
}

/* ---------------------------------------------------------------- reporting */

typedef struct report {
	const char *error;      /* NULL: it is completed */
	const keep_send *reply; /* or NULL */
} report;

static keep_status try_report(const kp_turn *turn, const report *what, keep_error *err)
{
	const keep_claim_ref claim = {keep_bytes_of(turn->id), turn->attempt};

	if (what->error)
		return keep_agent_fail(turn->agent, &claim, 1, keep_bytes_of(what->error), KEEP_NOW,
				       err);
	return keep_agent_complete_with(turn->agent, &claim, 1, what->reply, what->reply ? 1 : 0,
					KEEP_NOW, NULL, err);
}

/* Until it is stored, or cannot be. */
static keep_status store_report(const kp_turn *turn, const report *what, keep_error *err)
{
	keep_status status = try_report(turn, what, err);

	for (unsigned i = 0; keep_status_can_retry(status) && i < TRIES_MAX; i++) {
		(void)poll(NULL, 0, PAUSE_MS);
		status = try_report(turn, what, err);
	}
	return status;
}

/* What the store does not take as a reply is a failure of the program. */
static kp_turn_end report_about(const kp_turn *turn, const report *what)
{
	keep_error err = KEEP_ERROR_INIT, second = KEEP_ERROR_INIT;
	keep_status status = store_report(turn, what, &err);
	report failure = {.error = err.message};

	if (status == KEEP_OK)
		return what->error ? KP_TURN_FAILED : KP_TURN_COMPLETED;
	warn(turn, &err);
	if (status == KEEP_CONFLICT || what->error)
		return KP_TURN_NONE;
	if (store_report(turn, &failure, &second) == KEEP_OK)
		return KP_TURN_FAILED;
	warn(turn, &second);
	return KP_TURN_NONE;
}

static keep_status report_result(kp_turn *turn, kp_child_result *result, kp_arena *arena,
				 kp_turn_end *end, keep_error *err)
{
	char error[KP_LAST_LINE_SIZE + 128], id[KP_UUID_TEXT_SIZE];
	keep_buffer content = KEEP_BUFFER_INIT;
	keep_send reply = {.id = {NULL, 0}};
	report what = {.error = NULL};
	keep_status status = KEEP_OK;
	keep_error told = KEEP_ERROR_INIT;

	if (kp_failure_tell(result, turn->rules->limit_ms, error, sizeof error)) {
		what.error = error;
		(void)!kp_fail(&told, KEEP_INVALID, "message %s: %s", turn->id, error);
		warn(turn, &told);
	} else {
		status = kp_uuid_make(id, err);
		if (status == KEEP_OK)
			status = kp_output_content(kp_buffer_bytes(&result->output), arena,
						   &content, err);
		reply.id = keep_bytes_of(id);
		reply.content = kp_buffer_bytes(&content);
		if (content.len)
			what.reply = &reply;
		if (status == KEEP_INVALID)
			what.error = err->message;
	}
	if (status == KEEP_OK || status == KEEP_INVALID) {
		*end = report_about(turn, &what);
		status = KEEP_OK;
	}
	keep_buffer_release(&content);
	return status;
}

/* ---------------------------------------------------------------- a message */

static void take_claim(kp_turn *turn, const keep_claimed *claimed)
{
	keep_bytes id = claimed->message.id;

	pthread_mutex_lock(&turn->mutex);
	if (id.len < sizeof turn->id) {
		memcpy(turn->id, id.data, id.len);
		turn->id[id.len] = '\0';
	}
	turn->attempt = claimed->attempt;
	turn->is_lost = false;
	turn->extend_at_ms = clock_ms() + turn->rules->lease_ms / 3;
	pthread_mutex_unlock(&turn->mutex);
}

static keep_status run_program(kp_turn *turn, const keep_claimed *claimed, kp_arena *arena,
			       kp_child_result *result, keep_error *err)
{
	keep_buffer input = KEEP_BUFFER_INIT;
	kp_child_request request = {
		.argv = turn->rules->command,
		.output_bytes_max = KEEP_MAILBOX_CONTENT_MAX,
		.limit_ms = turn->rules->limit_ms,
		.tick = tick,
		.said = turn->rules->said ? pass_line : NULL,
		.ctx = turn,
		.group = &turn->group,
	};
	char **envp = NULL;
	keep_status status = make_environment(turn, claimed, arena, &envp, err);

	request.envp = envp;
	if (status == KEEP_OK)
		status = make_input(turn, claimed->message.content, arena, &input, err);
	request.input = kp_buffer_bytes(&input);
	if (status == KEEP_OK)
		status = kp_child_run(&request, result, err);
	if (status == KEEP_OK && turn->rules->is_shell)
		status = kp_shell_check(result, err);
	keep_buffer_release(&input);
	return status;
}

keep_status kp_turn_run(kp_turn *turn, const keep_claimed *claimed, kp_arena *arena,
			kp_turn_end *end, keep_error *err)
{
	kp_child_result result = {.output = KEEP_BUFFER_INIT};
	keep_status status;

	*end = KP_TURN_NONE;
	take_claim(turn, claimed);
	status = run_program(turn, claimed, arena, &result, err);
	/* Either this reports, or the claim was given back meanwhile. */
	pthread_mutex_lock(&turn->mutex);
	if (status == KEEP_OK && !turn->is_lost && turn->id[0]) {
		status = report_result(turn, &result, arena, end, err);
		if (status == KEEP_OK)
			turn->id[0] = '\0';
	}
	pthread_mutex_unlock(&turn->mutex);
	if (status != KEEP_OK)
		give_back(turn);
	forget_claim(turn);
	kp_child_result_release(&result);
	return status;
}

/*
 * cli_chat.c - `keep chat HOME|URL`: talk to an agent in the terminal, through the whole journey.
 *
 * A line is a message: it is stored in the gateway, routed, posted to a session, answered by its
 * agent, taken over and delivered; the delivery is what is printed. On a terminal there is a
 * prompt, and answers come when they come; in a pipe each line is a message too, and the command
 * ends when all of them were answered or have failed.
 *
 * Invariants:
 *   1. On a home it works with the stores themselves, so somebody has to be the host: a `keep
 * serve`, or with --agent the talk itself, for as long as it lasts. Without one it does not begin.
 *   2. Ctrl-C, SIGTERM and the end of a terminal's input end it; what was said is stored, and an
 *      answer that comes later is shown by the next talk.
 *
 * What it does not do: keep what is said (the stores do), edit lines (the terminal does).
 *
 * Tests: tests/cli/test_cli_chat.py.
 */
#include "cli/cli.h"
#include "cli/cli_talk.h"
#include "keep/gateway.h"
#include "keep/log.h"
#include "keep/service.h"
#include "service/host.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINES_MAX = 16, GRACE_MS = 2000, TOKEN_FILE_MAX = 64 * 1024 };
#define CHANNEL "terminal:"

typedef struct chat_command {
	const char *place, *chat, *agent, *token_file, *once;
	bool agent_text, is_terminal;
	keep_buffer own_chat, token;
	keep_session *session;
	keep_service *service;
	cli_stream *lines;
	cli_talk *_Atomic talk;
	atomic_bool stopped;
	volatile int cancelled; /* the same for keep_service_start */
} chat_command;

static void stop_chat(void *ctx)
{
	chat_command *command = ctx;
	cli_talk *talk = atomic_load(&command->talk);

	command->cancelled = 1;
	atomic_store(&command->stopped, true);
	cli_stream_stop(command->lines);
	if (talk)
		cli_talk_stop(talk);
}

/* The talk has stopped itself. */
static void end_chat(void *ctx)
{
	chat_command *command = ctx;

	atomic_store(&command->stopped, true);
	cli_stream_stop(command->lines);
}

static void write_log(void *ctx, keep_log_level level, const char *message)
{
	(void)ctx;
	if (level >= KEEP_LOG_WARNING)
		fprintf(stderr, "keep: %s\n", message);
}

/* ---------------------------------------------------------------- words */

/* terminal:<who is logged in> */
static keep_status find_chat(chat_command *command, keep_error *err)
{
	const char *user = getenv("USER");
	keep_status status;

	if (!user || !*user)
		user = getenv("LOGNAME");
	if (!user || !*user)
		user = "me";
	if (command->chat)
		return KEEP_OK;
	status = kp_buffer_append_format(&command->own_chat, err, CHANNEL "%s", user);
	command->chat = command->own_chat.data;
	return status;
}

static int check_words(chat_command *command)
{
	keep_error err = KEEP_ERROR_INIT;
	bool is_url;

	if (!command->place || !*command->place)
		return cli_wrong_use("chat", "chat: HOME or URL: missing, and KEEP_HOME is not "
					     "set");
	is_url = cli_remote_is_url(command->place);
	if (is_url && (command->agent || command->agent_text))
		return cli_wrong_use("chat", "--agent: the service elsewhere has its own");
	if (command->agent && !*command->agent)
		return cli_wrong_use("chat", "--agent: a command is needed");
	if (!is_url && command->token_file)
		return cli_wrong_use("chat", "--token-file: only for a URL");
	if (command->once && !*command->once)
		return cli_wrong_use("chat", "--once: a text is needed");
	if (find_chat(command, &err) != KEEP_OK)
		return cli_fail(&err);
	if (strncmp(command->chat, CHANNEL, strlen(CHANNEL)) != 0 ||
	    !command->chat[strlen(CHANNEL)])
		return cli_wrong_use("chat", "--chat: " CHANNEL "NAME is needed");
	if (kp_check_key("--chat", keep_bytes_of(command->chat), &err) != KEEP_OK)
		return cli_wrong_use("chat", "%s", err.message);
	return CLI_DONE;
}

static int read_words(chat_command *command, int argc, char **argv)
{
	const char *places[1] = {NULL};
	const cli_option options[] = {
		{.name = "chat", .text = &command->chat},
		{.name = "agent", .text = &command->agent},
		{.name = "agent-text", .flag = &command->agent_text},
		{.name = "token-file", .text = &command->token_file},
		{.name = "once", .text = &command->once},
		{.name = NULL},
	};
	int exit_status = cli_options_read("chat", options, places, 1, argc, argv);

	if (exit_status != CLI_DONE)
		return exit_status;
	command->place = places[0] ? places[0] : getenv("KEEP_HOME");
	command->is_terminal =
		!command->once && isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
	return check_words(command);
}

/* ---------------------------------------------------------------- the host */

/* KEEP_TOKEN, or the first line of the file. */
static keep_status find_token(chat_command *command, keep_error *err)
{
	const char *given = getenv("KEEP_TOKEN");
	char *end;
	int fd = -1;
	keep_status status;

	if (!command->token_file)
		return given ? keep_buffer_set(&command->token, keep_bytes_of(given), err)
			     : KEEP_OK;
	status = kp_file_open(AT_FDCWD, command->token_file, O_RDONLY, 0, &fd, err);
	if (status == KEEP_OK)
		status = kp_file_read_all(fd, TOKEN_FILE_MAX, &command->token, err);
	kp_file_close(&fd);
	end = command->token.len ? memchr(command->token.data, '\n', command->token.len) : NULL;
	if (end)
		command->token.len = (size_t)(end - command->token.data);
	return status == KEEP_OK ? KEEP_OK
				 : kp_prefix(err, status, "--token-file %s", command->token_file);
}

/* Is there a host already? Exactly one must be, or become. */
static keep_status check_host(const chat_command *command, keep_error *err)
{
	keep_buffer who = KEEP_BUFFER_INIT;
	bool held = false;
	keep_status status = kp_host_lease_holder(command->place, &held, &who, err);

	if (status == KEEP_OK && held && command->agent)
		status = kp_fail(err, KEEP_CONFLICT,
				 "--agent: %" KP_PRI " is the host of this home already, and has "
				 "its own",
				 KP_ARG(kp_buffer_bytes(&who)));
	if (status == KEEP_OK && !held && !command->agent)
		status = kp_fail(err, KEEP_UNAVAILABLE,
				 "no keep serve runs on %s, so nobody would answer: start one, or "
				 "give --agent COMMAND",
				 command->place);
	keep_buffer_release(&who);
	return status;
}

static keep_status start_service(chat_command *command, keep_error *err)
{
	keep_service_options options = KEEP_SERVICE_OPTIONS_INIT;

	options.listen = "127.0.0.1:0";
	options.agent = command->agent;
	options.agent_text = command->agent_text;
	options.no_maintenance = true;
	options.cancelled = &command->cancelled;
	return keep_service_start(command->place, &options, &command->service, err);
}

static keep_status open_home(chat_command *command, keep_error *err)
{
	keep_status status = keep_session_open(command->place, &command->session, err);

	if (status == KEEP_OK)
		status = check_host(command, err);
	if (status == KEEP_OK && command->agent)
		status = start_service(command, err);
	return status;
}

static keep_status open_talk(chat_command *command, keep_error *err)
{
	cli_talk_options options = {.chat = command->chat,
				    .has_prompt = command->is_terminal,
				    .ended = end_chat,
				    .ended_ctx = command};
	cli_talk *talk = NULL;
	keep_status status;

	if (cli_remote_is_url(command->place)) {
		(void)curl_global_init(CURL_GLOBAL_DEFAULT);
		status = find_token(command, err);
		options.url = command->place;
		options.token = kp_buffer_bytes(&command->token);
	} else {
		status = open_home(command, err);
		options.session = command->session;
	}
	if (status == KEEP_OK)
		status = cli_talk_open(&options, &talk, err);
	atomic_store(&command->talk, talk);
	if (talk && atomic_load(&command->stopped))
		cli_talk_stop(talk);
	return status;
}

/* ---------------------------------------------------------------- lines */

static bool is_blank(keep_bytes line)
{
	for (size_t i = 0; i < line.len; i++)
		if (line.data[i] != ' ' && line.data[i] != '\t')
			return false;
	return true;
}

static keep_status post_lines(chat_command *command, const keep_bytes *lines, size_t count,
			      size_t *too_long, keep_error *err)
{
	cli_talk *talk = atomic_load(&command->talk);
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < count && status == KEEP_OK && !atomic_load(&command->stopped); i++) {
		if (!lines[i].data) {
			fprintf(stderr, "keep: a line is over %d bytes\n",
				KEEP_GATEWAY_CONTENT_MAX);
			(*too_long)++;
		} else if (!is_blank(lines[i])) {
			status = cli_talk_post(talk, lines[i], err);
		}
		cli_talk_prompt(talk);
	}
	return status;
}

static keep_status talk_in_lines(chat_command *command, size_t *too_long, keep_error *err)
{
	keep_bytes lines[LINES_MAX];
	keep_status status = KEEP_OK;

	cli_talk_prompt(atomic_load(&command->talk));
	while (status == KEEP_OK && !atomic_load(&command->stopped)) {
		size_t count = cli_stream_take(command->lines, lines, LINES_MAX);

		if (count)
			status = post_lines(command, lines, count, too_long, err);
		else if (cli_stream_is_over(command->lines))
			break;
		else
			status = cli_stream_wait(command->lines, err);
	}
	return status;
}

static int talk(chat_command *command)
{
	size_t failed = 0;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;

	if (command->once)
		status = cli_talk_post(atomic_load(&command->talk), keep_bytes_of(command->once),
				       &err);
	else
		status = talk_in_lines(command, &failed, &err);
	if (status != KEEP_OK)
		return cli_fail(&err);
	cli_talk_settle(atomic_load(&command->talk));
	if (cli_talk_failure(atomic_load(&command->talk), &err) != KEEP_OK)
		return cli_fail(&err);
	failed += cli_talk_failed(atomic_load(&command->talk));
	return failed && !command->is_terminal ? CLI_NO : CLI_DONE;
}

/* ---------------------------------------------------------------- the command */

static int run(chat_command *command)
{
	cli_signals signals;
	keep_error err = KEEP_ERROR_INIT;
	int exit_status, caught;
	cli_talk *open;

	if (cli_signals_begin(&signals, stop_chat, command, &err) != KEEP_OK)
		return cli_fail(&err);
	if (open_talk(command, &err) == KEEP_OK)
		exit_status = talk(command);
	else
		exit_status = atomic_load(&command->stopped) ? CLI_DONE : cli_fail(&err);
	caught = cli_signals_end(&signals, exit_status); /* nobody stops it from here on */
	open = atomic_load(&command->talk);
	atomic_store(&command->talk, NULL);
	cli_talk_close(&open);
	keep_service_stop(&command->service, GRACE_MS);
	keep_session_close(&command->session);
	if (command->is_terminal && exit_status == CLI_DONE)
		printf("\n");
	/* On a terminal Ctrl-C is how one leaves. */
	return cli_finish_output(command->is_terminal ? exit_status : caught);
}

int cli_chat_main(int argc, char **argv)
{
	chat_command command = {.cancelled = 0};
	keep_error err = KEEP_ERROR_INIT;
	int exit_status = read_words(&command, argc, argv);

	if (exit_status == CLI_DONE &&
	    cli_stream_open(KEEP_GATEWAY_CONTENT_MAX, &command.lines, &err) != KEEP_OK)
		exit_status = cli_fail(&err);
	if (exit_status == CLI_DONE) {
		keep_log_set(write_log, &command);
		exit_status = run(&command);
		keep_log_set(NULL, NULL);
	}
	cli_stream_close(&command.lines);
	if (command.token.data)
		kp_wipe(command.token.data, command.token.capacity);
	keep_buffer_release(&command.token);
	keep_buffer_release(&command.own_chat);
	return exit_status;
}

/*
 * cli_trace.c - `keep trace HOME CHAT ID`: a message's way through all stores.
 *
 * Each step is a line: when, where, what, and what there is to say; the last two lines say how the
 * message stands and why. With --json it is the object that the service's own trace is.
 *
 * What it does not do: need a running service.
 *
 * Tests: tests/cli/test_cli_serve.py.
 */
#include "cli/cli.h"
#include "service/journey.h"

#include <stdlib.h>

static keep_bytes text_of(const kp_json *object, const char *name)
{
	const kp_json *member = kp_json_member(object, name);

	return member && member->kind == KP_JSON_TEXT ? member->text : KEEP_BYTES("");
}

static void print_member(const char *label, keep_bytes text)
{
	printf("%s%.*s\n", label, (int)text.len, text.data);
}

static keep_status print_lines(keep_bytes text, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	const kp_json *object = NULL, *steps;
	keep_status status = kp_json_parse(text, &arena, &object, err);

	steps = status == KEEP_OK ? kp_json_member(object, "steps") : NULL;
	for (size_t i = 0; steps && i < steps->list.count; i++) {
		const kp_json *step = &steps->list.items[i];
		keep_bytes at = text_of(step, "at"), where = text_of(step, "where");
		keep_bytes what = text_of(step, "what"), detail = text_of(step, "detail");

		printf("%-24.*s  %-7.*s  %-10.*s %.*s\n", (int)at.len, at.data, (int)where.len,
		       where.data, (int)what.len, what.data, (int)detail.len, detail.data);
	}
	if (status == KEEP_OK) {
		print_member("state: ", text_of(object, "state"));
		if (text_of(object, "why").len)
			print_member("why: ", text_of(object, "why"));
	}
	kp_arena_release(&arena);
	return status;
}

static keep_status trace(const char *home, const char *chat, const char *id, keep_buffer *out,
			 keep_error *err)
{
	keep_session *session = NULL;
	void *gateway = NULL, *mailbox = NULL;
	keep_status status = keep_session_open(home, &session, err);

	if (status == KEEP_OK)
		status = kp_session_handle(session, &kp_gateway_operations, &gateway, err);
	if (status == KEEP_OK)
		status = kp_session_handle(session, &kp_mailbox_operations, &mailbox, err);
	if (status == KEEP_OK)
		status = kp_journey_trace(gateway, mailbox, keep_bytes_of(chat), keep_bytes_of(id),
					  out, err);
	keep_session_close(&session);
	return status;
}

int cli_trace_main(int argc, char **argv)
{
	bool is_json = false;
	const char *places[3] = {NULL}, *home = getenv("KEEP_HOME");
	const cli_option options[] = {{.name = "json", .flag = &is_json}, {.name = NULL}};
	keep_buffer text = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	int exit_status = cli_options_read("trace", options, places, 3, argc, argv), first = 1;
	keep_status status;

	if (exit_status != CLI_DONE)
		return exit_status;
	if (!places[2]) /* HOME was left out */
		first = 0;
	else
		home = places[0];
	if (!home || !*home)
		return cli_wrong_use("trace", "trace: HOME: missing, and KEEP_HOME is not set");
	if (!places[first] || !places[first + 1])
		return cli_wrong_use("trace", "trace: CHAT and ID are needed");
	status = trace(home, places[first], places[first + 1], &text, &err);
	if (status == KEEP_OK && is_json)
		print_member("", kp_buffer_bytes(&text));
	else if (status == KEEP_OK)
		status = print_lines(kp_buffer_bytes(&text), &err);
	keep_buffer_release(&text);
	return status == KEEP_OK ? cli_finish_output(CLI_DONE) : cli_fail(&err);
}

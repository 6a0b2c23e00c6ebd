/*
 * cli_store.c - `keep <store> <verb> …`: runs the call, and prints its result for people.
 *
 * What is printed follows from the description of the result: bytes as they are, rows one a line
 * with members separated by a tab, a record as "name: value" lines, a number, a word for yes, and
 * nothing for nothing. With --json it is the result's JSON and a newline. The exit status is 1
 * for a no: an outcome that its description calls one, or false.
 *
 * Bytes travel as base64 between here and the call, so that any bytes can be printed; with --json
 * or with an encoding of the user's choice they stay as the call gives them.
 *
 * Tests: tests/cli/test_cli_engine.py.
 */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

typedef struct cli_printer {
	const cli_request *request;
	bool encoded; /* bytes come as base64, on our own account */
	char row_end; /* '\n' or '\0' */
	keep_buffer decoded;
	bool no; /* the result is "no" */
} cli_printer;

/* ---------------------------------------------------------------- printing */

static void put(keep_bytes bytes)
{
	if (bytes.len)
		(void)fwrite(bytes.data, 1, bytes.len, stdout);
}

static keep_status put_bytes(cli_printer *printer, keep_bytes text, keep_error *err)
{
	keep_status status;

	if (!printer->encoded) {
		put(text);
		return KEEP_OK;
	}
	status = kp_base64_decode(text, &printer->decoded, err);
	if (status == KEEP_OK)
		put(kp_buffer_bytes(&printer->decoded));
	return status;
}

static kp_kind kind_of(const kp_operation *operation, keep_bytes member)
{
	for (size_t i = 0; i < operation->member_count; i++)
		if (kp_bytes_equal(keep_bytes_of(operation->members[i].name), member))
			return operation->members[i].kind;
	return KP_KIND_TEXT;
}

static keep_status put_member(cli_printer *printer, const kp_json *member, kp_kind kind,
			      keep_error *err)
{
	if (member->kind == KP_JSON_TEXT && kind == KP_KIND_BYTES)
		return put_bytes(printer, member->text, err);
	put(member->kind == KP_JSON_TEXT ? member->text : member->raw);
	return KEEP_OK;
}

/* A row that is no object is a value of bytes. */
static keep_status put_row(cli_printer *printer, const kp_json *row, keep_error *err)
{
	keep_status status = KEEP_OK;

	if (row->kind != KP_JSON_OBJECT)
		status = put_member(printer, row, KP_KIND_BYTES, err);
	for (size_t i = 0; row->kind == KP_JSON_OBJECT && i < row->list.count; i++) {
		const kp_json *member = &row->list.items[i];

		if (i)
			putchar('\t');
		if (status == KEEP_OK)
			status =
				put_member(printer, member,
					   kind_of(printer->request->operation, member->name), err);
	}
	putchar(printer->row_end);
	return status;
}

static keep_status take_row(void *ctx, keep_bytes json, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	const kp_json *row = NULL;
	keep_status status = kp_json_parse(json, &arena, &row, err);

	if (status == KEEP_OK)
		status = put_row(ctx, row, err);
	kp_arena_release(&arena);
	/* Nobody reads any more: end the walk without a failure of its own. */
	return status == KEEP_OK && ferror(stdout)
		       ? kp_fail(err, KEEP_UNAVAILABLE, "standard output: cannot be written")
		       : status;
}

static void put_record(const kp_json *record)
{
	for (size_t i = 0; i < record->list.count; i++) {
		const kp_json *member = &record->list.items[i];

		put(member->name);
		put(KEEP_BYTES(": "));
		put(member->kind == KP_JSON_TEXT ? member->text : member->raw);
		putchar('\n');
	}
}

static keep_status put_result(cli_printer *printer, keep_bytes text, keep_error *err)
{
	const kp_operation *operation = printer->request->operation;
	kp_arena arena = {.head = NULL};
	const kp_json *result = NULL;
	keep_status status = KEEP_OK;

	if (operation->result == KP_RESULT_ROWS)
		return KEEP_OK; /* printed row by row */
	status = kp_json_parse(text, &arena, &result, err);
	if (status == KEEP_OK && operation->result == KP_RESULT_BYTES) {
		status = put_bytes(printer, result->text, err);
	} else if (status == KEEP_OK && operation->result == KP_RESULT_INTEGER) {
		printf("%lld\n", (long long)result->integer);
	} else if (status == KEEP_OK && operation->result == KP_RESULT_BOOLEAN) {
		printer->no = !result->boolean;
		if (result->boolean)
			printf("%s\n", operation->yes);
	} else if (status == KEEP_OK && operation->result == KP_RESULT_RECORD) {
		put_record(result);
	}
	kp_arena_release(&arena);
	return status;
}

static keep_status put_json(cli_printer *printer, keep_bytes text)
{
	const kp_operation *operation = printer->request->operation;

	put(text);
	putchar('\n');
	printer->no =
		operation->result == KP_RESULT_BOOLEAN && kp_bytes_equal(text, KEEP_BYTES("false"));
	return KEEP_OK;
}

/* ---------------------------------------------------------------- running */

static void announce(void *ctx)
{
	(void)ctx;
	puts("waiting");
	(void)fflush(stdout);
}

static void cancel_session(void *ctx)
{
	kp_session_cancel(ctx);
}

/* A waiting operation can be stopped with Ctrl-C, cleanly. */
static keep_status run_call(const cli_request *request, keep_session *session, const kp_json *with,
			    const kp_call_hooks *hooks, keep_buffer *result, int *stopped,
			    keep_error *err)
{
	cli_signals signals;
	keep_status status = KEEP_OK;

	if (!request->operation->waits)
		return kp_session_run(session, request->store, request->operation, with, hooks,
				      result, err);
	status = cli_signals_begin(&signals, cancel_session, session, err);
	if (status != KEEP_OK)
		return status;
	status = kp_session_run(session, request->store, request->operation, with, hooks, result,
				err);
	*stopped = cli_signals_end(&signals, 0);
	return status;
}

static keep_status run_and_print(cli_printer *printer, keep_session *session, const kp_json *with,
				 int *stopped, keep_error *err)
{
	const cli_request *request = printer->request;
	bool json = request->own[CLI_OPTION_JSON] != NULL;
	const kp_call_hooks hooks = {
		.ctx = printer,
		.started = request->own[CLI_OPTION_ANNOUNCE] ? announce : NULL,
		.row = json ? NULL : take_row,
	};
	keep_buffer result = KEEP_BUFFER_INIT;
	keep_status status = run_call(request, session, with, &hooks, &result, stopped, err);

	if (status == KEEP_OK && json)
		status = put_json(printer, kp_buffer_bytes(&result));
	else if (status == KEEP_OK)
		status = put_result(printer, kp_buffer_bytes(&result), err);
	keep_buffer_release(&result);
	return status;
}

static bool is_no(const kp_operation *operation, keep_status status)
{
	for (size_t i = 0; i < operation->outcome_count; i++)
		if (operation->outcomes[i].status == status && operation->outcomes[i].is_no)
			return true;
	return false;
}

static bool has_encoding(const kp_operation *operation)
{
	for (size_t i = 0; i < operation->input_count; i++)
		if (strcmp(operation->inputs[i].name, "encoding") == 0)
			return true;
	return false;
}

static bool chose_encoding(const cli_request *request)
{
	for (size_t i = 0; i < request->operation->input_count; i++)
		if (strcmp(request->operation->inputs[i].name, "encoding") == 0)
			return request->inputs[i] != NULL;
	return false;
}

static int run_request(const cli_request *request)
{
	cli_printer printer = {
		.request = request,
		.encoded = has_encoding(request->operation) && !request->own[CLI_OPTION_JSON] &&
			   !chose_encoding(request),
		.row_end = request->own[CLI_OPTION_NULL] ? '\0' : '\n',
	};
	keep_session *session = NULL;
	keep_buffer text = KEEP_BUFFER_INIT;
	kp_arena arena = {.head = NULL};
	const kp_json *with = NULL;
	int exit_status = CLI_DONE, stopped = 0;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = cli_inputs_format(request, printer.encoded, &text, &err);

	if (status == KEEP_OK)
		status = kp_json_parse(kp_buffer_bytes(&text), &arena, &with, &err);
	if (status == KEEP_OK)
		status = cli_session_open(request, &session, &err);
	if (status == KEEP_OK)
		status = run_and_print(&printer, session, with, &stopped, &err);
	keep_session_close(&session);
	kp_arena_release(&arena);
	keep_buffer_release(&text);
	keep_buffer_release(&printer.decoded);
	if (ferror(stdout))
		return cli_finish_output(CLI_DONE);
	if (status != KEEP_OK) {
		exit_status = cli_fail(&err);
		exit_status = is_no(request->operation, status) ? CLI_NO : exit_status;
	} else if (printer.no) {
		exit_status = stopped ? stopped : CLI_NO;
	}
	return cli_finish_output(exit_status);
}

int cli_store_main(const kp_operation_store *store, int argc, char **argv)
{
	const kp_operation *operation;
	cli_request request;
	int status;

	if (argc == 0)
		return cli_wrong_use(store->name, "%s: a verb is missing", store->name);
	if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0) {
		cli_help_store(store);
		return cli_finish_output(CLI_DONE);
	}
	operation = cli_find_operation(store, argv[0]);
	if (!operation)
		return cli_wrong_use(store->name, "%s %s: no such verb", store->name, argv[0]);
	status = cli_request_read(&request, store, operation, argc - 1, argv + 1);
	if (status != CLI_DONE)
		return status;
	if (request.own[CLI_OPTION_HELP]) {
		cli_help_operation(store, operation);
		return cli_finish_output(CLI_DONE);
	}
	return request.serves_lines ? cli_batch_main(&request) : run_request(&request);
}

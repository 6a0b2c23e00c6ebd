/*
 * cli_store.c - `keep <store> <verb> …`: runs the call, and prints its result for people.
 *
 * What is printed follows from the description of the result: bytes as they are, rows one a line
 * with members separated by a tab (all, or those that the description shows) or as JSON where the
 * description says so, a record as "name: value" lines of what is there, or its one member that is
 * shown, a number, a word for yes, and nothing for nothing. With --json it is the result's JSON and
 * a newline. The exit status is 1 for a no: an outcome that its description calls one, or false.
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
	bool no;    /* the result is "no" */
	bool empty; /* the result is no row */
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

static kp_input_kind kind_of(const kp_operation *operation, keep_bytes member)
{
	for (size_t i = 0; i < operation->member_count; i++)
		if (kp_bytes_equal(keep_bytes_of(operation->members[i].name), member))
			return operation->members[i].kind;
	return KP_KIND_TEXT;
}

static keep_status put_member(cli_printer *printer, const kp_json *member, kp_input_kind kind,
			      keep_error *err)
{
	if (member->kind == KP_JSON_TEXT && kind == KP_KIND_BYTES)
		return put_bytes(printer, member->text, err);
	if (member->kind != KP_JSON_NULL)
		put(member->kind == KP_JSON_TEXT ? member->text : member->raw);
	return KEEP_OK;
}

/* The member of that name, or with dots in the name that within a member; NULL: it has none. */
static const kp_json *find_member(const kp_json *row, keep_bytes name)
{
	const char *dot = memchr(name.data, '.', name.len);
	size_t len = dot ? (size_t)(dot - name.data) : name.len;

	for (size_t i = 0; i < row->list.count; i++) {
		const kp_json *member = &row->list.items[i];

		if (!kp_bytes_equal(member->name, (keep_bytes){name.data, len}))
			continue;
		if (!dot)
			return member;
		return member->kind == KP_JSON_OBJECT
			       ? find_member(member, (keep_bytes){dot + 1, name.len - len - 1})
			       : NULL;
	}
	return NULL;
}

/* The member that the next word of *shown names, or the next of the row; NULL: no more. */
static const kp_json *next_member(const kp_json *row, const char **shown, size_t *index)
{
	size_t len;

	if (!*shown)
		return *index < row->list.count ? &row->list.items[(*index)++] : NULL;
	for (*shown += strspn(*shown, " "); (len = strcspn(*shown, " ")) > 0;) {
		const kp_json *member = find_member(row, (keep_bytes){*shown, len});

		*shown += len;
		*shown += strspn(*shown, " ");
		if (member)
			return member;
	}
	return NULL;
}

/* A row that is no object is a value of bytes. */
static keep_status put_row(cli_printer *printer, const kp_json *row, keep_error *err)
{
	const kp_operation *operation = printer->request->operation;
	const char *shown = operation->shown;
	const kp_json *member;
	keep_status status = KEEP_OK;
	size_t index = 0;

	if (operation->prints_lines)
		put(row->raw);
	else if (row->kind != KP_JSON_OBJECT)
		status = put_member(printer, row, KP_KIND_BYTES, err);
	for (size_t i = 0; row->kind == KP_JSON_OBJECT && !operation->prints_lines; i++) {
		member = next_member(row, &shown, &index);
		if (!member)
			break;
		if (i)
			putchar('\t');
		if (status == KEEP_OK)
			status = put_member(printer, member, kind_of(operation, member->name), err);
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
	((cli_printer *)ctx)->empty = false;
	kp_arena_release(&arena);
	/* Nobody reads any more: end the walk without a failure of its own. */
	return status == KEEP_OK && ferror(stdout)
		       ? kp_fail(err, KEEP_UNAVAILABLE, "standard output: cannot be written")
		       : status;
}

/* A row within a record: its members, and those of what is in it, with tabs between them. */
static void put_inner_row(const kp_json *row)
{
	for (size_t i = 0; i < row->list.count; i++) {
		const kp_json *member = &row->list.items[i];

		if (i)
			putchar('\t');
		if (member->kind == KP_JSON_OBJECT)
			put_inner_row(member);
		else if (member->kind != KP_JSON_NULL)
			put(member->kind == KP_JSON_TEXT ? member->text : member->raw);
	}
}

static bool has_rows(const kp_json *member)
{
	return member->kind == KP_JSON_ARRAY && member->list.count &&
	       member->list.items[0].kind == KP_JSON_OBJECT;
}

/* "name: value" of what is there. A described object is told member by member, an array of them row
   by row; a column of JSON stays as it is. */
static void put_record(const kp_operation *operation, const char *prefix, const kp_json *record)
{
	for (size_t i = 0; i < record->list.count; i++) {
		const kp_json *member = &record->list.items[i];
		bool is_described = operation->member_count && !*prefix;

		if (member->kind == KP_JSON_NULL)
			continue;
		if (is_described && member->kind == KP_JSON_OBJECT) {
			char name[CLI_NAME_SIZE];

			(void)snprintf(name, sizeof name, "%" KP_PRI ".", KP_ARG(member->name));
			put_record(operation, name, member);
			continue;
		}
		printf("%s%" KP_PRI ":", prefix, KP_ARG(member->name));
		for (size_t k = 0; is_described && has_rows(member) && k < member->list.count;
		     k++) {
			printf("\n  ");
			put_inner_row(&member->list.items[k]);
		}
		if (!is_described || !has_rows(member)) {
			putchar(' ');
			put(member->kind == KP_JSON_TEXT ? member->text : member->raw);
		}
		putchar('\n');
	}
}

/* The one member that the description shows, as a text that ends with its line. */
static void put_shown(const kp_operation *operation, const kp_json *record)
{
	const kp_json *member = kp_json_member(record, operation->shown);

	if (!member || member->kind != KP_JSON_TEXT || !member->text.len)
		return;
	put(member->text);
	if (member->text.data[member->text.len - 1] != '\n')
		putchar('\n');
}

/* "The answer is no": a record whose verdict is false. */
static bool is_against(const kp_operation *operation, const kp_json *record)
{
	const kp_json *verdict =
		operation->verdict ? kp_json_member(record, operation->verdict) : NULL;

	return verdict && verdict->kind == KP_JSON_BOOL && !verdict->boolean;
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
		printer->no = is_against(operation, result);
		if (operation->shown)
			put_shown(operation, result);
		else
			put_record(operation, "", result);
	}
	kp_arena_release(&arena);
	return status;
}

static keep_status put_json(cli_printer *printer, keep_bytes text, keep_error *err)
{
	const kp_operation *operation = printer->request->operation;
	kp_arena arena = {.head = NULL};
	const kp_json *result = NULL;
	keep_status status = KEEP_OK;

	put(text);
	putchar('\n');
	if (operation->result == KP_RESULT_BOOLEAN)
		printer->no = kp_bytes_equal(text, KEEP_BYTES("false"));
	if (!operation->verdict)
		return KEEP_OK;
	status = kp_json_parse(text, &arena, &result, err);
	if (status == KEEP_OK)
		printer->no = is_against(operation, result);
	kp_arena_release(&arena);
	return status;
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

	if (!kp_operation_waits(request->operation, with))
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
	keep_status status;

	printer->empty = request->operation->result == KP_RESULT_ROWS;
	status = run_call(request, session, with, &hooks, &result, stopped, err);
	if (json && !kp_bytes_equal(kp_buffer_bytes(&result), KEEP_BYTES("[]")))
		printer->empty = false;
	if (status == KEEP_OK && json)
		status = put_json(printer, kp_buffer_bytes(&result), err);
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
	if (text.data)
		kp_wipe(text.data, text.capacity); /* a password may be in it */
	keep_buffer_release(&text);
	keep_buffer_release(&printer.decoded);
	if (ferror(stdout))
		return cli_finish_output(CLI_DONE);
	if (status != KEEP_OK) {
		exit_status = cli_fail(&err);
		exit_status = is_no(request->operation, status) ? CLI_NO : exit_status;
	} else if (printer.no) {
		exit_status = stopped ? stopped : CLI_NO;
	} else if (printer.empty && request->operation->waits_with) {
		exit_status = stopped; /* it was ended before there was something */
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

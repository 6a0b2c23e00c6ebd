/*
 * json_lines.c - the engine contract's JSON lines: one request per line, one answer per line.
 *
 *     {"id":1,"op":"set","path":"/chat/x","value":"…"}    {"id":1,"ok":true,"result":null}
 *
 * Other people's harnesses speak exactly this form, so it is narrower than engine.* by name: a
 * missing document is null rather than NOT_FOUND, and members that nobody knows are let by.
 * Beyond the contract: op may also be scan, batch, compare_and_set and describe, with the inputs
 * of those operations; `score_ms`, `encoding` and `names` are taken as there.
 *
 * Invariants:
 *   1. Every line is answered by exactly one line of valid JSON, in the order of the lines.
 *   2. The answers are those of running one line after the other. Neighbouring changes are handed
 *      to the engine together, so that they share transactions and syncs; a read waits for the
 *      changes before it.
 *   3. A line that is no JSON object is answered with the id null; an object is answered with its
 *      own id, byte for byte, whatever is wrong with the rest.
 *   4. Memory is bounded by the lines given, by one answer, and by ANSWERS_BYTES of earlier ones.
 *
 * What it does not do: read or write anything but memory; src/cli/cli_batch.c does.
 *
 * Tests: tests/cli/, fuzz/fuzz_operations.c.
 */
#include "operations/operations_engine.h"

#include <string.h>

enum {
	PENDING_MAX = 256,
	ANSWERS_BYTES = 1 << 20,
	LINE_BYTES_EXTRA = 1 << 20, /* a path, all escaped, an id, names and blanks */
};

struct kp_lines {
	void *state;     /* the engine's, of the session */
	keep_bytes name; /* of the engine; absent: the default; borrowed from name_text */
	keep_buffer name_text;
	keep_engine *engine; /* borrowed */
	keep_buffer out;     /* answers not yet handed over */
	keep_buffer result;
	kp_arena arena; /* what the pending changes point to */
	size_t pending;
	keep_bytes ids[PENDING_MAX];
	bool true_results[PENDING_MAX]; /* the answer is true rather than null */
	keep_engine_change changes[PENDING_MAX];
	keep_status statuses[PENDING_MAX];
	keep_error errors[PENDING_MAX];
};

size_t kp_lines_bytes_max(uint64_t value_bytes_max)
{
	uint64_t most = value_bytes_max * 6 + LINE_BYTES_EXTRA;

	return most < KP_BUFFER_BYTES_MAX / 2 ? (size_t)most : KP_BUFFER_BYTES_MAX / 2;
}

/* ---------------------------------------------------------------- answers */

static void open_answer(kp_json_writer *writer, keep_buffer *out, keep_bytes id, bool ok)
{
	kp_json_begin(writer, out);
	kp_json_open_object(writer);
	kp_json_name(writer, "id");
	kp_json_put_raw(writer, id);
	kp_json_name(writer, "ok");
	kp_json_put_bool(writer, ok);
}

static keep_status close_answer(kp_json_writer *writer, keep_error *err)
{
	keep_status status;

	kp_json_close_object(writer);
	status = kp_json_finish(writer, err);
	return status == KEEP_OK ? kp_buffer_append_text(writer->out, "\n", err) : status;
}

keep_status kp_lines_failure(keep_buffer *out, keep_bytes id, keep_status status,
			     const char *message, keep_error *err)
{
	kp_json_writer writer;

	open_answer(&writer, out, id, false);
	kp_json_name(&writer, "status");
	kp_json_put_text(&writer, keep_bytes_of(keep_status_name(status)));
	kp_json_name(&writer, "error");
	kp_json_put_text(&writer, keep_bytes_of(message));
	return close_answer(&writer, err);
}

keep_status kp_lines_answer(keep_buffer *out, keep_bytes id, keep_bytes result, keep_error *err)
{
	kp_json_writer writer;

	open_answer(&writer, out, id, true);
	kp_json_name(&writer, "result");
	kp_json_put_raw(&writer, result);
	return close_answer(&writer, err);
}

/* One answer, whole or not at all. A result that there is no room for becomes a failure. */
static keep_status answer(kp_lines *lines, keep_bytes id, keep_status status, keep_bytes result,
			  const keep_error *error, keep_error *err)
{
	size_t before = lines->out.len;
	keep_error full = KEEP_ERROR_INIT;

	if (status == KEEP_OK) {
		status = kp_lines_answer(&lines->out, id, result, &full);
		if (status == KEEP_OK)
			return KEEP_OK;
		error = &full;
		lines->out.len = before;
	}
	status = kp_lines_failure(&lines->out, id, status, error->message, err);
	if (status != KEEP_OK)
		lines->out.len = before;
	return status;
}

/* ---------------------------------------------------------------- changes */

static keep_status apply_pending(kp_lines *lines, keep_error *err)
{
	keep_status status = KEEP_OK, applied;
	keep_error error = KEEP_ERROR_INIT;

	if (lines->pending == 0)
		return KEEP_OK;
	applied = keep_engine_apply_each(lines->engine, lines->changes, lines->pending,
					 lines->statuses, lines->errors, &error);
	for (size_t i = 0; i < lines->pending && status == KEEP_OK; i++)
		status = answer(lines, lines->ids[i],
				applied == KEEP_OK ? lines->statuses[i] : applied,
				lines->true_results[i] ? KEEP_BYTES("true") : KEEP_BYTES("null"),
				applied == KEEP_OK ? &lines->errors[i] : &error, err);
	lines->pending = 0;
	return status;
}

static void add_pending(kp_lines *lines, keep_bytes id, const kp_operation *operation,
			const kp_argument *arguments)
{
	size_t at = lines->pending++;

	kp_engine_change_read(operation, arguments, &lines->changes[at]);
	lines->ids[at] = id;
	lines->true_results[at] = operation->result == KP_RESULT_TRUE;
}

/* ---------------------------------------------------------------- one line */

static keep_status find_operation(const kp_json *request, const kp_operation **out, keep_error *err)
{
	const kp_json *op = kp_json_member(request, "op");

	if (request->kind != KP_JSON_OBJECT)
		return kp_fail(err, KEEP_INVALID, "the line is %s, not a request",
			       kp_json_kind_name(request->kind));
	if (!op)
		return kp_fail(err, KEEP_INVALID, "op: missing");
	if (op->kind != KP_JSON_TEXT)
		return kp_fail(err, KEEP_INVALID, "op: %s where a text belongs",
			       kp_json_kind_name(op->kind));
	*out = kp_operation_find(&kp_engine_operations, op->text);
	if (!*out || (*out)->waits)
		return kp_fail(err, KEEP_INVALID, "op: '%" KP_PRI "' is no operation here",
			       KP_ARG(op->text));
	return KEEP_OK;
}

/* Run what is not a mere change; the result is in lines->result. */
static keep_status run_operation(kp_lines *lines, const kp_operation *operation,
				 kp_argument *arguments, keep_error *err)
{
	kp_json_writer writer;
	kp_call call = {
		.state = lines->state,
		.operation = operation,
		.arguments = arguments,
		.arena = &lines->arena,
		.result = &writer,
	};
	keep_status status, written;

	/* The engine was chosen when the lines were opened. */
	arguments[operation->input_count - 1] =
		(kp_argument){.given = lines->name.data != NULL, .bytes = lines->name};
	lines->result.len = 0;
	kp_json_begin(&writer, &lines->result);
	status = operation->run(&call, err);
	written = kp_json_finish(&writer, status == KEEP_OK ? err : NULL);
	keep_buffer_release(&call.scratch);
	if (status == KEEP_NOT_FOUND && operation == &kp_engine_table[KP_ENGINE_GET])
		return kp_buffer_append_text(&lines->result, "null", err);
	return status == KEEP_OK ? written : status;
}

static keep_status serve_line(kp_lines *lines, keep_bytes line, keep_error *err)
{
	kp_argument arguments[KP_INPUTS_MAX];
	const kp_operation *operation = NULL;
	const kp_json *request = NULL, *id;
	keep_error error = KEEP_ERROR_INIT;
	keep_bytes raw_id = {NULL, 0};
	keep_status status, written;

	if (line.data)
		status = kp_json_parse(line, &lines->arena, &request, &error);
	else
		status = kp_fail(&error, KEEP_FULL, "the line is over the limit and was skipped");
	if (status == KEEP_OK) {
		id = kp_json_member(request, "id");
		raw_id = id ? id->raw : raw_id;
		status = find_operation(request, &operation, &error);
	}
	if (status == KEEP_OK)
		status = kp_inputs_read(operation->inputs, operation->input_count - 1, request,
					true, &lines->arena, arguments, &error);
	if (status == KEEP_OK && kp_engine_is_change(operation)) {
		add_pending(lines, raw_id, operation, arguments);
		return lines->pending < PENDING_MAX ? KEEP_OK : apply_pending(lines, err);
	}
	written = apply_pending(lines, err);
	if (written == KEEP_OK && status == KEEP_OK)
		status = run_operation(lines, operation, arguments, &error);
	if (written == KEEP_OK)
		written =
			answer(lines, raw_id, status, kp_buffer_bytes(&lines->result), &error, err);
	return written;
}

/* ---------------------------------------------------------------- many lines */

static keep_status hand_over(kp_lines *lines, kp_lines_write *write, void *ctx, keep_error *err)
{
	keep_status status = KEEP_OK;

	if (lines->out.len)
		status = write(ctx, kp_buffer_bytes(&lines->out), err);
	lines->out.len = 0;
	return status;
}

keep_status kp_lines_serve(kp_lines *lines, const keep_bytes *requests, size_t count,
			   kp_lines_write *write, void *ctx, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		status = serve_line(lines, requests[i], err);
		if (status == KEEP_OK && i + 1 == count)
			status = apply_pending(lines, err);
		/* Pending changes point into the arena. */
		if (lines->pending == 0)
			kp_arena_release(&lines->arena);
		if (status == KEEP_OK && (lines->out.len > ANSWERS_BYTES || i + 1 == count))
			status = hand_over(lines, write, ctx, err);
	}
	if (status != KEEP_OK) {
		lines->pending = 0;
		lines->out.len = 0;
		kp_arena_release(&lines->arena);
	}
	return status;
}

/* ---------------------------------------------------------------- open and close */

keep_status kp_lines_open(keep_session *session, keep_bytes engine, kp_lines **out, keep_error *err)
{
	kp_lines *lines = kp_alloc_zero(sizeof *lines);
	keep_status status;

	*out = NULL;
	if (!lines)
		return kp_fail_memory(err, "JSON lines");
	status = kp_session_state(session, &kp_engine_operations, &lines->state, err);
	if (status == KEEP_OK && engine.data) {
		status = keep_buffer_set(&lines->name_text, engine, err);
		lines->name = kp_buffer_bytes(&lines->name_text);
	}
	if (status == KEEP_OK)
		status = kp_engine_state_find(lines->state, lines->name, true, &lines->engine, err);
	if (status != KEEP_OK)
		kp_lines_close(&lines);
	*out = lines;
	return status;
}

void kp_lines_close(kp_lines **lines)
{
	kp_lines *self = *lines;

	*lines = NULL;
	if (!self)
		return;
	keep_buffer_release(&self->name_text);
	keep_buffer_release(&self->out);
	keep_buffer_release(&self->result);
	kp_arena_release(&self->arena);
	kp_free(self);
}

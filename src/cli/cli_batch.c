/*
 * cli_batch.c - `keep engine batch URL`: the engine contract's JSON lines on standard input.
 *
 * The interpreter is src/operations/json_lines.c; here lines are handed to it in groups, as many
 * as are there, so that a client that sends much at once has its changes share transactions, and
 * one that sends a single line is answered at once.
 *
 * How it ends: at the end of input it exits with 0, also when requests failed, because each was
 * answered. When nobody reads the answers any more it stops, with 0. SIGINT and SIGTERM let it
 * answer what it has read and exit with 130 and 143. It exits otherwise when the store cannot be
 * opened, or standard input or output fails.
 *
 * Tests: tests/cli/test_cli_lines.py.
 */
#include "cli/cli.h"
#include "keep/engine.h"

enum { GROUP_MAX = 256 };

static keep_status put_answers(void *ctx, keep_bytes bytes, keep_error *err)
{
	keep_status status = cli_stream_put(ctx, bytes, err);

	return status == KEEP_OK ? cli_stream_settle(ctx, err) : status;
}

static keep_status serve(kp_lines *lines, cli_stream *stream, keep_error *err)
{
	keep_bytes group[GROUP_MAX];
	keep_status status = KEEP_OK;

	while (status == KEEP_OK && !cli_stream_is_gone(stream)) {
		size_t count = cli_stream_take(stream, group, GROUP_MAX);

		if (count) {
			status = kp_lines_serve(lines, group, count, put_answers, stream, err);
			if (status == KEEP_OK)
				status = cli_stream_flush(stream, err);
		} else if (cli_stream_is_over(stream)) {
			break;
		} else {
			status = cli_stream_wait(stream, err);
		}
	}
	return status == KEEP_OK ? cli_stream_finish(stream, err) : status;
}

static void stop_stream(void *ctx)
{
	cli_stream_stop(ctx);
}

static size_t line_bytes_max(const cli_request *request)
{
	size_t at = 0;
	int64_t value_bytes = 0;

	while (!kp_bytes_equal(keep_bytes_of(request->store->settings[at].name),
			       KEEP_BYTES("value_bytes_max")))
		at++;
	if (!request->settings[at] ||
	    !kp_int_parse(keep_bytes_of(request->settings[at]), &value_bytes) || value_bytes < 1)
		value_bytes = (int64_t)KEEP_ENGINE_VALUE_BYTES_MAX;
	return kp_lines_bytes_max((uint64_t)value_bytes);
}

static keep_bytes engine_name(const cli_request *request)
{
	size_t last = request->operation->input_count - 1;

	return keep_bytes_of(request->inputs[last]);
}

int cli_batch_main(const cli_request *request)
{
	keep_session *session = NULL;
	cli_stream *stream = NULL;
	kp_lines *lines = NULL;
	cli_signals signals;
	bool has_signals = false;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = cli_stream_open(line_bytes_max(request), &stream, &err);
	int exit_status;

	if (status == KEEP_OK) {
		status = cli_signals_begin(&signals, stop_stream, stream, &err);
		has_signals = status == KEEP_OK;
	}
	if (status == KEEP_OK)
		status = cli_session_open(request, &session, &err);
	if (status == KEEP_OK)
		status = kp_lines_open(session, engine_name(request), &lines, &err);
	if (status == KEEP_OK)
		status = serve(lines, stream, &err);
	kp_lines_close(&lines);
	keep_session_close(&session);
	exit_status = status == KEEP_OK ? CLI_DONE : cli_fail(&err);
	if (has_signals)
		exit_status = cli_signals_end(&signals, exit_status);
	cli_stream_close(&stream);
	return exit_status;
}

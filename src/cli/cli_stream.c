/*
 * cli_stream.c - lines from standard input, answers to standard output, never stuck between them.
 *
 * A client may write ten thousand requests before it reads the first answer. So input is read
 * whenever it is there and output is written whenever there is room, and what cannot be written
 * yet is kept, up to OUTPUT_BYTES_MAX; only then does reading wait.
 *
 * Invariants:
 *   1. A write never blocks: at most PIPE_BUF bytes go out at a time, after poll said that there
 *      is room (a pipe that has room has at least that much). Descriptors are never made
 *      non-blocking, because they are shared with whoever started us.
 *   2. Lines handed out stay valid until the next cli_stream_wait.
 *   3. A line over the limit is dropped while it arrives, and handed out as one absent line.
 *   4. What the input ends with without a newline is a line, too.
 *
 * The output side is used by any thread, under its mutex; the input side by one thread.
 *
 * Tests: tests/cli/test_cli_lines.py.
 */
#include "cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	READ_BYTES = 1 << 16,
	TAKE_BYTES = 4 << 20,        /* of lines handed out at once */
	OUTPUT_BYTES_MAX = 64 << 20, /* not yet written, before reading waits */
	INPUT_BYTES_KEPT = 8 << 20,  /* a larger input buffer is given back when it is empty */
};

struct cli_stream {
	size_t line_bytes_max;
	int wake; /* an eventfd */
	atomic_bool stopped;
	atomic_bool gone; /* the reader of standard output */
	/* input */
	keep_buffer input;
	size_t taken;    /* bytes handed out */
	size_t searched; /* no newline before this */
	bool skipping;   /* within a line that is too long */
	bool ended;
	/* output */
	pthread_mutex_t mutex;
	keep_buffer output;
	size_t written;
};

keep_status cli_stream_open(size_t line_bytes_max, cli_stream **out, keep_error *err)
{
	cli_stream *stream = kp_alloc_zero(sizeof *stream);

	*out = stream;
	if (!stream)
		return kp_fail_memory(err, "a stream");
	stream->line_bytes_max = line_bytes_max;
	pthread_mutex_init(&stream->mutex, NULL);
	atomic_init(&stream->stopped, false);
	atomic_init(&stream->gone, false);
	stream->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (stream->wake >= 0)
		return KEEP_OK;
	cli_stream_close(out);
	return kp_fail_errno(err, errno, "an eventfd");
}

void cli_stream_close(cli_stream **stream)
{
	cli_stream *self = *stream;

	*stream = NULL;
	if (!self)
		return;
	kp_file_close(&self->wake);
	pthread_mutex_destroy(&self->mutex);
	keep_buffer_release(&self->input);
	keep_buffer_release(&self->output);
	kp_free(self);
}

void cli_stream_wake(cli_stream *stream)
{
	uint64_t one = 1;
	ssize_t put = write(stream->wake, &one, sizeof one);

	(void)put; /* a full counter wakes as well */
}

void cli_stream_stop(cli_stream *stream)
{
	atomic_store(&stream->stopped, true);
	cli_stream_wake(stream);
}

bool cli_stream_is_over(const cli_stream *stream)
{
	return stream->ended || atomic_load(&stream->stopped) || atomic_load(&stream->gone);
}

bool cli_stream_is_gone(const cli_stream *stream)
{
	return atomic_load(&stream->gone);
}

/* ---------------------------------------------------------------- input */

/* Take one line; false: no whole one is there. */
static bool take_line(cli_stream *stream, keep_bytes *line)
{
	keep_buffer *input = &stream->input;
	char *newline = NULL;
	size_t end;

	if (stream->searched < input->len)
		newline =
			memchr(input->data + stream->searched, '\n', input->len - stream->searched);
	if (!newline && !(stream->ended && (stream->taken < input->len || stream->skipping))) {
		stream->searched = input->len;
		return false;
	}
	end = newline ? (size_t)(newline - input->data) : input->len;
	*line = (keep_bytes){input->data + stream->taken, end - stream->taken};
	if (stream->skipping || line->len > stream->line_bytes_max)
		*line = (keep_bytes){NULL, 0};
	else if (line->len && line->data[line->len - 1] == '\r')
		line->len--;
	stream->skipping = false;
	stream->taken = newline ? end + 1 : end;
	stream->searched = stream->taken;
	return true;
}

size_t cli_stream_take(cli_stream *stream, keep_bytes *lines, size_t max)
{
	size_t count = 0, bytes = 0;

	while (count < max && bytes < TAKE_BYTES && take_line(stream, &lines[count]))
		bytes += lines[count++].len;
	return count;
}

/* Throw away what was handed out, and the part of a line that is too long already. */
static void compact(cli_stream *stream)
{
	keep_buffer *input = &stream->input;
	size_t left = input->len - stream->taken;

	if (left > stream->line_bytes_max || stream->skipping) {
		stream->skipping = true;
		left = 0;
	}
	if (left == 0 && input->capacity > INPUT_BYTES_KEPT)
		keep_buffer_release(input);
	else if (left && stream->taken)
		memmove(input->data, input->data + stream->taken, left);
	input->len = left;
	stream->taken = 0;
	stream->searched = left;
}

static keep_status read_input(cli_stream *stream, keep_error *err)
{
	keep_buffer *input = &stream->input;
	size_t room;
	keep_status status;
	ssize_t got;

	compact(stream);
	room = input->len > READ_BYTES ? input->len : READ_BYTES;
	if (input->capacity > input->len + READ_BYTES)
		room = input->capacity - input->len - 1;
	status = kp_buffer_reserve(input, input->len + room, err);
	if (status != KEEP_OK)
		return status;
	got = read(STDIN_FILENO, input->data + input->len, room);
	if (got < 0 && errno != EINTR && errno != EAGAIN)
		return kp_fail_errno(err, errno, "standard input");
	if (got > 0)
		input->len += (size_t)got;
	stream->ended = got == 0;
	return KEEP_OK;
}

/* ---------------------------------------------------------------- output */

static size_t unwritten(cli_stream *stream)
{
	size_t left;

	pthread_mutex_lock(&stream->mutex);
	left = stream->output.len - stream->written;
	pthread_mutex_unlock(&stream->mutex);
	return left;
}

keep_status cli_stream_put(cli_stream *stream, keep_bytes bytes, keep_error *err)
{
	keep_status status;

	pthread_mutex_lock(&stream->mutex);
	if (stream->written > OUTPUT_BYTES_MAX / 2) {
		stream->output.len -= stream->written;
		memmove(stream->output.data, stream->output.data + stream->written,
			stream->output.len);
		stream->written = 0;
	}
	status = kp_buffer_append(&stream->output, bytes, err);
	pthread_mutex_unlock(&stream->mutex);
	return status;
}

/* One write of no more than a pipe takes at once. */
static keep_status write_some(cli_stream *stream, keep_error *err)
{
	keep_status status = KEEP_OK;
	size_t left;
	ssize_t put;

	pthread_mutex_lock(&stream->mutex);
	left = stream->output.len - stream->written;
	put = left ? write(STDOUT_FILENO, stream->output.data + stream->written,
			   left < PIPE_BUF ? left : PIPE_BUF)
		   : 0;
	if (put > 0)
		stream->written += (size_t)put;
	else if (put < 0 && errno == EPIPE)
		atomic_store(&stream->gone, true);
	else if (put < 0 && errno != EINTR && errno != EAGAIN)
		status = kp_fail_errno(err, errno, "standard output");
	if (stream->written == stream->output.len) {
		stream->output.len = 0;
		stream->written = 0;
		if (stream->output.capacity > INPUT_BYTES_KEPT)
			keep_buffer_release(&stream->output);
	}
	pthread_mutex_unlock(&stream->mutex);
	return status;
}

static void drain_wake(cli_stream *stream)
{
	uint64_t count;
	ssize_t got = read(stream->wake, &count, sizeof count);

	(void)got;
}

/* What a poll is to return for, beside room for output. */
enum { FOR_OUTPUT = 0, FOR_WAKE = 1, FOR_INPUT = 2 };

static keep_status poll_once(cli_stream *stream, unsigned reasons, int timeout_ms, bool *ready,
			     keep_error *err)
{
	bool output_left = unwritten(stream) > 0;
	struct pollfd about[3] = {
		{.fd = reasons & FOR_INPUT ? STDIN_FILENO : -1, .events = POLLIN},
		/* Without events, an error still tells that the reader is gone. */
		{.fd = STDOUT_FILENO, .events = output_left ? POLLOUT : 0},
		{.fd = reasons & FOR_WAKE ? stream->wake : -1, .events = POLLIN},
	};
	keep_status status = KEEP_OK;
	int count = poll(about, KP_COUNT(about), timeout_ms);

	*ready = count > 0;
	if (count < 0 && errno != EINTR)
		return kp_fail_errno(err, errno, "poll");
	if (count <= 0)
		return KEEP_OK;
	if (about[2].revents)
		drain_wake(stream);
	if (about[1].revents & POLLOUT)
		status = write_some(stream, err);
	else if (about[1].revents & (POLLERR | POLLHUP | POLLNVAL))
		atomic_store(&stream->gone, true);
	if (status == KEEP_OK && about[0].revents)
		status = read_input(stream, err);
	return status;
}

keep_status cli_stream_wait(cli_stream *stream, keep_error *err)
{
	bool wanted = !cli_stream_is_over(stream) && unwritten(stream) < OUTPUT_BYTES_MAX, ready;

	return poll_once(stream, wanted ? FOR_WAKE | FOR_INPUT : FOR_WAKE, -1, &ready, err);
}

keep_status cli_stream_flush(cli_stream *stream, keep_error *err)
{
	keep_status status = KEEP_OK;
	bool ready = true;

	while (status == KEEP_OK && ready && !cli_stream_is_gone(stream) && unwritten(stream))
		status = poll_once(stream, FOR_OUTPUT, 0, &ready, err);
	return status;
}

keep_status cli_stream_settle(cli_stream *stream, keep_error *err)
{
	keep_status status = KEEP_OK;
	bool ready;

	while (status == KEEP_OK && !cli_stream_is_gone(stream) &&
	       unwritten(stream) > OUTPUT_BYTES_MAX)
		status = poll_once(stream, FOR_OUTPUT, -1, &ready, err);
	return status;
}

keep_status cli_stream_finish(cli_stream *stream, keep_error *err)
{
	keep_status status = KEEP_OK;
	bool ready;

	while (status == KEEP_OK && !cli_stream_is_gone(stream) && unwritten(stream))
		status = poll_once(stream, FOR_OUTPUT, -1, &ready, err);
	return status;
}

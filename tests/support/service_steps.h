#ifndef KEEP_SERVICE_STEPS_H
#define KEEP_SERVICE_STEPS_H
/*
 * service_steps.h - steps of tests of the host's parts: calls by name, files that agents write, and
 * a clock that runs as ever and can be set.
 *
 *     steps_call(&fixture, "gateway.create_task", "{…}");   its JSON result, until the next call
 *     steps_set_clock(to_ms);                               for everybody in this process
 */
#include "journey_fixture.h"

#include <stdatomic.h>
#include <sys/stat.h>
#include <time.h>

static inline const char *steps_call(journey_fixture *fixture, const char *name, const char *with)
{
	static char text[1 << 16];
	keep_buffer result = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = keep_session_call(fixture->session, keep_bytes_of(name),
					       keep_bytes_of(with), &result, &err);

	CHECK(status == KEEP_OK, "%s %s: %s", name, with, err.message);
	(void)snprintf(text, sizeof text, "%.*s", (int)result.len, result.data);
	keep_buffer_release(&result);
	return text;
}

/* Whether a call's result has that text. */
static inline bool steps_has(journey_fixture *fixture, const char *name, const char *with,
			     const char *text)
{
	return strstr(steps_call(fixture, name, with), text) != NULL;
}

/* What a file in the fixture's folder holds, until the next call; "" when it is not there. */
static inline const char *steps_read(journey_fixture *fixture, const char *name)
{
	static char text[1 << 16];
	char path[512];
	FILE *file;
	size_t got = 0;

	(void)snprintf(path, sizeof path, "%s/%s", fixture->folder.path, name);
	file = fopen(path, "r");
	if (file) {
		got = fread(text, 1, sizeof text - 1, file);
		fclose(file);
	}
	text[got] = '\0';
	return text;
}

static inline void steps_write(journey_fixture *fixture, const char *name, const char *text)
{
	char path[512];
	FILE *file;

	(void)snprintf(path, sizeof path, "%s/%s", fixture->folder.path, name);
	file = fopen(path, "w");
	CHECK(file && fputs(text, file) >= 0 && fclose(file) == 0, "%s", path);
}

static inline int steps_lines(journey_fixture *fixture, const char *name)
{
	const char *text = steps_read(fixture, name);
	int count = 0;

	for (; *text; text++)
		count += *text == '\n';
	return count;
}

/* ---------------------------------------------------------------- the clock */

static atomic_llong steps_clock_offset;

static inline int64_t steps_real_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

static inline int64_t steps_tell_clock(void *ctx)
{
	(void)ctx;
	return steps_real_ms() + atomic_load(&steps_clock_offset);
}

/* Before the first service; steps_real_clock after the last. */
static inline void steps_set_clock(int64_t to_ms)
{
	atomic_store(&steps_clock_offset, to_ms - steps_real_ms());
}

static inline void steps_own_clock(int64_t to_ms)
{
	steps_set_clock(to_ms);
	kp_clock_inject(steps_tell_clock, NULL);
}

static inline void steps_real_clock(void)
{
	kp_clock_inject(NULL, NULL);
}

#endif

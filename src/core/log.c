/*
 * log.c - hand a message to the program's own callback; without one, do nothing.
 *
 * A message is formatted as an error's is (error.c): bounded, one printable line, no allocation.
 */
#include "core/core.h"

#include <stdio.h>

static struct {
	keep_log_callback *callback;
	void *ctx;
} sink; /* set once before the first other call: keep/log.h */

void keep_log_set(keep_log_callback *callback, void *ctx)
{
	sink.ctx = ctx;
	sink.callback = callback;
}

void kp_log(keep_log_level level, const char *format, ...)
{
	char message[512];
	va_list args;

	if (!sink.callback)
		return;
	va_start(args, format);
	kp_message_format(message, sizeof message, format, args);
	va_end(args);
	sink.callback(sink.ctx, level, message);
}

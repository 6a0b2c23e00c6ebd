/*
 * error.c - the only place that turns a status into words, and an errno into a status.
 *
 * keep_error is a fixed-size value, so that reporting NO_MEMORY needs no memory.
 *
 * Invariants:
 *   1. A message is one line of printable UTF-8, whatever bytes the arguments held: messages end
 *      in logs and terminals, and their arguments come from the network.
 *   2. The arguments may point into the error that is being filled.
 *   3. A message too long is cut between two characters, never inside one.
 *
 * Tests: tests/unit/test_error.c.
 */
#include "core/core.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#ifndef KEEP_VERSION
#define KEEP_VERSION "0.0.0" /* the build gives the true one */
#endif

static const struct {
	const char *name;
	const char *text;
	bool retry;
	int exit;
	int http;
} statuses[] = {
#define X(name, value, retry, exit, http, text) [value] = {#name, text, retry, exit, http},
	KEEP_STATUS_MAP(X)
#undef X
};

/* What a failed system call means to a caller. Whatever is not listed is UNAVAILABLE: the file
   system does not answer as it should, and nothing is known about the data. */
static const struct {
	int errnum;
	keep_status status;
} errnos[] = {
	{ENOENT, KEEP_NOT_FOUND},     {ENOMEM, KEEP_NO_MEMORY},
	{EACCES, KEEP_DENIED},        {EPERM, KEEP_DENIED},
	{EROFS, KEEP_DENIED},         {ELOOP, KEEP_DENIED}, /* a link where none may be */
	{ENOSPC, KEEP_FULL},          {EDQUOT, KEEP_FULL},
	{EFBIG, KEEP_FULL},           {EMFILE, KEEP_FULL},
	{ENFILE, KEEP_FULL},          {EMLINK, KEEP_FULL},
	{EEXIST, KEEP_CONFLICT},      {ENOTEMPTY, KEEP_CONFLICT},
	{ENOTDIR, KEEP_CONFLICT},     {EISDIR, KEEP_CONFLICT},
	{EAGAIN, KEEP_BUSY},          {EBUSY, KEEP_BUSY},
	{ETXTBSY, KEEP_BUSY},         {EDEADLK, KEEP_BUSY},
	{ENAMETOOLONG, KEEP_INVALID}, {EINVAL, KEEP_INVALID},
	{EILSEQ, KEEP_INVALID},       {EBADF, KEEP_MISUSE},
	{EFAULT, KEEP_MISUSE},
};

static bool is_known(keep_status status)
{
	return (size_t)status < KP_COUNT(statuses);
}

const char *keep_status_name(keep_status status)
{
	return is_known(status) ? statuses[status].name : "?";
}

const char *keep_status_text(keep_status status)
{
	return is_known(status) ? statuses[status].text : "an unknown status";
}

bool keep_status_can_retry(keep_status status)
{
	return is_known(status) && statuses[status].retry;
}

int keep_status_exit(keep_status status)
{
	return statuses[is_known(status) ? status : KEEP_MISUSE].exit;
}

int keep_status_http(keep_status status)
{
	return statuses[is_known(status) ? status : KEEP_MISUSE].http;
}

bool keep_status_parse(keep_bytes name, keep_status *out)
{
	for (size_t i = 0; i < KP_COUNT(statuses); i++) {
		if (kp_bytes_equal(name, keep_bytes_of(statuses[i].name))) {
			*out = (keep_status)i;
			return true;
		}
	}
	return false;
}

const char *keep_version(void)
{
	return KEEP_VERSION;
}

/* Characters that would end the line or turn the reading direction of what follows. */
static bool is_printable(const unsigned char *at, size_t len)
{
	if (len == 1)
		return at[0] >= 0x20 && at[0] != 0x7f;
	if (len == 2)
		return at[0] != 0xc2 || at[1] >= 0xa0; /* U+0080..9F are control characters */
	if (len == 3 && at[0] == 0xe2 && at[1] == 0x80)
		return at[2] < 0xa8 || at[2] > 0xae; /* U+2028 to U+202E */
	if (len == 3 && at[0] == 0xe2 && at[1] == 0x81)
		return at[2] < 0xa6 || at[2] > 0xa9; /* U+2066 to U+2069 */
	return true;
}

/* Rewrite in place; never longer than it was. `was_cut`: the end may be half a character. */
static void cleanse(char *text, bool was_cut)
{
	size_t len = strlen(text), from = 0, to = 0;

	while (from < len) {
		size_t width = kp_utf8_width((keep_bytes){text + from, len - from});

		if (width == 0 && was_cut && len - from < 4 && (unsigned char)text[from] >= 0xc2)
			break;
		if (width == 0 || !is_printable((const unsigned char *)text + from, width)) {
			text[to++] = '?';
		} else {
			memmove(text + to, text + from, width);
			to += width;
		}
		from += width ? width : 1;
	}
	text[to] = '\0';
}

/* "<format>" or "<format>: <tail>" into `text`. */
KEEP_PRINTF(4, 0)
static void compose(char *text, size_t size, const char *tail, const char *format, va_list args)
{
	int len = vsnprintf(text, size, format, args);
	size_t used;

	if (len < 0)
		snprintf(text, size, "(a message that could not be formatted)");
	used = strlen(text);
	if (tail)
		len = snprintf(text + used, size - used, ": %s", tail);
	cleanse(text, len >= 0 && (size_t)len >= (tail ? size - used : size));
}

void kp_message_format(char *text, size_t size, const char *format, va_list args)
{
	compose(text, size, NULL, format, args);
}

keep_status kp_fail(keep_error *err, keep_status status, const char *format, ...)
{
	keep_error made = {.status = status};
	va_list args;

	if (!err)
		return status;
	va_start(args, format);
	compose(made.message, sizeof made.message, NULL, format, args);
	va_end(args);
	*err = made;
	return status;
}

keep_status kp_fail_errno(keep_error *err, int errnum, const char *format, ...)
{
	keep_error made = {.status = KEEP_UNAVAILABLE, .native = errnum};
	const char *text = strerrordesc_np(errnum);
	va_list args;

	for (size_t i = 0; i < KP_COUNT(errnos); i++) {
		if (errnos[i].errnum == errnum)
			made.status = errnos[i].status;
	}
	if (!err)
		return made.status;
	va_start(args, format);
	compose(made.message, sizeof made.message, text ? text : "unknown error", format, args);
	va_end(args);
	*err = made;
	return made.status;
}

keep_status kp_fail_memory(keep_error *err, const char *what)
{
	return kp_fail(err, KEEP_NO_MEMORY, "no memory for %s", what);
}

keep_status kp_prefix(keep_error *err, keep_status status, const char *format, ...)
{
	char message[sizeof err->message];
	va_list args;

	if (!err)
		return status;
	va_start(args, format);
	compose(message, sizeof message, err->message, format, args);
	va_end(args);
	memcpy(err->message, message, sizeof message);
	return status;
}

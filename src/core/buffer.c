/*
 * buffer.c - counted bytes, and bytes that grow.
 *
 * Invariants:
 *   1. Once data is not NULL, data[len] is a zero byte and capacity + 1 bytes are ours.
 *   2. A call that fails leaves the contents as they were.
 *   3. Appending n times one byte costs O(n): capacity at least doubles.
 *   4. What is appended may lie inside the buffer itself.
 *
 * Tests: tests/unit/test_core_memory.c.
 */
#include "core/core.h"
#include "keep/engine.h"

#include <stdio.h>
#include <string.h>

#define CAPACITY_FIRST 63

bool kp_bytes_equal(keep_bytes a, keep_bytes b)
{
	if (!a.data || !b.data)
		return !a.data && !b.data;
	return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

int kp_bytes_compare(keep_bytes a, keep_bytes b)
{
	size_t shorter = a.len < b.len ? a.len : b.len;
	int order = shorter ? memcmp(a.data, b.data, shorter) : 0;

	return order ? order : (a.len > b.len) - (a.len < b.len);
}

keep_bytes keep_bytes_of(const char *text)
{
	return (keep_bytes){text, text ? strlen(text) : 0};
}

void keep_buffer_release(keep_buffer *buffer)
{
	kp_free(buffer->data);
	*buffer = (keep_buffer)KEEP_BUFFER_INIT;
}

keep_status kp_buffer_reserve(keep_buffer *buffer, size_t len, keep_error *err)
{
	size_t capacity = buffer->capacity * 2 + 1; /* never wraps: KP_BUFFER_BYTES_MAX */
	char *data;

	if (buffer->data && len <= buffer->capacity)
		return KEEP_OK;
	if (len > KP_BUFFER_BYTES_MAX)
		return kp_fail(err, KEEP_FULL, "a buffer of %zu bytes, the limit is %zu", len,
			       KP_BUFFER_BYTES_MAX);
	if (capacity < CAPACITY_FIRST)
		capacity = CAPACITY_FIRST;
	if (capacity > KP_BUFFER_BYTES_MAX)
		capacity = KP_BUFFER_BYTES_MAX;
	if (capacity < len)
		capacity = len;
	data = kp_realloc(buffer->data, capacity + 1);
	if (!data)
		return kp_fail(err, KEEP_NO_MEMORY, "no memory for a buffer of %zu bytes",
			       capacity);
	if (!buffer->data)
		data[0] = '\0';
	buffer->data = data;
	buffer->capacity = capacity;
	return KEEP_OK;
}

/* Room for `extra` bytes behind what is there. */
static keep_status reserve_more(keep_buffer *buffer, size_t extra, keep_error *err)
{
	if (extra > KP_BUFFER_BYTES_MAX - buffer->len)
		return kp_fail(err, KEEP_FULL, "a buffer of more than %zu bytes",
			       KP_BUFFER_BYTES_MAX);
	return kp_buffer_reserve(buffer, buffer->len + extra, err);
}

/* True when `bytes` are the buffer's own; *offset is where. */
static bool is_inside(const keep_buffer *buffer, keep_bytes bytes, size_t *offset)
{
	uintptr_t start = (uintptr_t)buffer->data, at = (uintptr_t)bytes.data;

	*offset = buffer->data && at >= start ? at - start : 0;
	return buffer->data && at >= start && *offset <= buffer->len;
}

keep_status kp_buffer_append(keep_buffer *buffer, keep_bytes bytes, keep_error *err)
{
	size_t offset;
	bool own = is_inside(buffer, bytes, &offset);
	keep_status status = reserve_more(buffer, bytes.len, err);

	if (status != KEEP_OK)
		return status;
	if (bytes.len)
		memmove(buffer->data + buffer->len, own ? buffer->data + offset : bytes.data,
			bytes.len);
	buffer->len += bytes.len;
	buffer->data[buffer->len] = '\0';
	return KEEP_OK;
}

keep_status kp_buffer_append_text(keep_buffer *buffer, const char *text, keep_error *err)
{
	return kp_buffer_append(buffer, keep_bytes_of(text), err);
}

keep_status kp_buffer_append_format(keep_buffer *buffer, keep_error *err, const char *format, ...)
{
	keep_status status;
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (len < 0)
		return kp_fail_memory(err, "a formatted text");
	status = reserve_more(buffer, (size_t)len, err);
	if (status != KEEP_OK)
		return status;
	va_start(args, format);
	len = vsnprintf(buffer->data + buffer->len, (size_t)len + 1, format, args);
	va_end(args);
	if (len < 0) {
		buffer->data[buffer->len] = '\0';
		return kp_fail_memory(err, "a formatted text");
	}
	buffer->len += (size_t)len;
	return KEEP_OK;
}

keep_bytes kp_buffer_bytes(const keep_buffer *buffer)
{
	return buffer->data ? (keep_bytes){buffer->data, buffer->len} : KEEP_BYTES("");
}

keep_status keep_buffer_set(keep_buffer *buffer, keep_bytes bytes, keep_error *err)
{
	size_t offset;
	bool own = is_inside(buffer, bytes, &offset);
	keep_status status = kp_buffer_reserve(buffer, bytes.len, err);

	if (status != KEEP_OK)
		return status;
	if (bytes.len)
		memmove(buffer->data, own ? buffer->data + offset : bytes.data, bytes.len);
	buffer->len = bytes.len;
	buffer->data[buffer->len] = '\0';
	return KEEP_OK;
}

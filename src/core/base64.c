/*
 * base64.c - bytes as printable text: base64 (RFC 4648 section 4, with padding) and hexadecimal.
 *
 * Decoding accepts exactly what encoding writes, so that two texts are equal when their bytes are:
 * no blanks, no missing padding, and no bits set in the part of the last digit that is unused.
 *
 * Tests: tests/unit/test_utf8.c.
 */
#include "core/core.h"

#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

keep_status kp_base64_encode(keep_bytes bytes, keep_buffer *out, keep_error *err)
{
	const unsigned char *from = (const unsigned char *)bytes.data;
	keep_status status =
		bytes.len > KP_BUFFER_BYTES_MAX / 4 * 3
			? kp_fail(err, KEEP_FULL, "%zu bytes are too many for base64", bytes.len)
			: kp_buffer_reserve(out, (bytes.len + 2) / 3 * 4, err);
	char *to;

	if (status != KEEP_OK)
		return status;
	to = out->data;
	for (size_t i = 0; i < bytes.len; i += 3) {
		size_t left = bytes.len - i;
		uint32_t group = (uint32_t)from[i] << 16;

		group |= left > 1 ? (uint32_t)from[i + 1] << 8 : 0;
		group |= left > 2 ? (uint32_t)from[i + 2] : 0;
		*to++ = digits[group >> 18];
		*to++ = digits[group >> 12 & 63];
		*to++ = left > 1 ? digits[group >> 6 & 63] : '=';
		*to++ = left > 2 ? digits[group & 63] : '=';
	}
	*to = '\0';
	out->len = (size_t)(to - out->data);
	return KEEP_OK;
}

/* The digit's value, or -1. */
static int digit_value(unsigned char digit)
{
	if (digit >= 'A' && digit <= 'Z')
		return digit - 'A';
	if (digit >= 'a' && digit <= 'z')
		return digit - 'a' + 26;
	if (digit >= '0' && digit <= '9')
		return digit - '0' + 52;
	return digit == '+' ? 62 : digit == '/' ? 63 : -1;
}

/* Four digits to `count` bytes, of which the last group of a text may have one or two. */
static bool decode_group(const char *from, size_t count, char *to)
{
	uint32_t group = 0;

	for (size_t i = 0; i < 4; i++) {
		int value = i <= count ? digit_value((unsigned char)from[i])
				       : (from[i] == '=' ? 0 : -1);

		if (value < 0)
			return false;
		group = group << 6 | (uint32_t)value;
	}
	for (size_t i = 0; i < count; i++)
		to[i] = (char)(group >> (16 - 8 * i) & 255);
	return (group & ((UINT32_C(1) << (8 * (3 - count))) - 1)) == 0;
}

keep_status kp_base64_decode(keep_bytes text, keep_buffer *out, keep_error *err)
{
	keep_status status = kp_buffer_reserve(out, text.len / 4 * 3, err);
	char *to;

	if (status != KEEP_OK)
		return status;
	out->len = 0;
	out->data[0] = '\0';
	if (text.len % 4)
		return kp_fail(err, KEEP_INVALID, "base64 of %zu bytes is not whole groups of four",
			       text.len);
	to = out->data;
	for (size_t i = 0; i < text.len; i += 4) {
		size_t count = 3;

		if (i + 4 == text.len && text.data[i + 3] == '=')
			count = text.data[i + 2] == '=' ? 1 : 2;
		if (!decode_group(text.data + i, count, to)) {
			out->data[0] = '\0';
			return kp_fail(err, KEEP_INVALID, "byte %zu: not a group of base64 digits",
				       i);
		}
		to += count;
	}
	*to = '\0';
	out->len = (size_t)(to - out->data);
	return KEEP_OK;
}

int kp_hex_digit(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if (digit >= 'a' && digit <= 'f')
		return digit - 'a' + 10;
	return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

void kp_hex_format(keep_bytes bytes, char *out)
{
	static const char hex[] = "0123456789abcdef";

	for (size_t i = 0; i < bytes.len; i++) {
		*out++ = hex[(unsigned char)bytes.data[i] >> 4];
		*out++ = hex[(unsigned char)bytes.data[i] & 15];
	}
	*out = '\0';
}

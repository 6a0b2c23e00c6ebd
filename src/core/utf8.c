/*
 * utf8.c - what is valid UTF-8 (RFC 3629, section 4: the table below is its ABNF).
 *
 * Tests: tests/unit/test_utf8.c, exhaustively over two bytes and over all code points.
 */
#include "core/core.h"

#include <string.h>

static bool is_tail(unsigned char byte)
{
	return (byte & 0xc0) == 0x80;
}

size_t kp_utf8_width(keep_bytes text)
{
	const unsigned char *at = (const unsigned char *)text.data;
	unsigned char low = 0x80, high = 0xbf; /* what the second byte may be */
	size_t width;

	if (text.len == 0)
		return 0;
	if (at[0] < 0x80)
		return 1;
	if (at[0] < 0xc2 || at[0] > 0xf4)
		return 0;
	width = at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
	if (text.len < width)
		return 0;
	switch (at[0]) {
	case 0xe0: low = 0xa0; break;  /* no overlong form */
	case 0xed: high = 0x9f; break; /* no surrogate */
	case 0xf0: low = 0x90; break;  /* no overlong form */
	case 0xf4: high = 0x8f; break; /* nothing above U+10FFFF */
	default: break;
	}
	if (at[1] < low || at[1] > high)
		return 0;
	for (size_t i = 2; i < width; i++) {
		if (!is_tail(at[i]))
			return 0;
	}
	return width;
}

/* The number of ASCII bytes at the start, looked at eight at a time. */
static size_t count_ascii(const char *at, size_t len)
{
	size_t count = 0;

	while (len - count >= 8) {
		uint64_t word;

		memcpy(&word, at + count, sizeof word);
		if (word & UINT64_C(0x8080808080808080))
			break;
		count += 8;
	}
	while (count < len && (unsigned char)at[count] < 0x80)
		count++;
	return count;
}

bool kp_utf8_is_valid(keep_bytes text, size_t *position)
{
	size_t at = 0;

	while (at < text.len) {
		size_t width;

		at += count_ascii(text.data + at, text.len - at);
		if (at == text.len)
			break;
		width = kp_utf8_width((keep_bytes){text.data + at, text.len - at});
		if (width == 0) {
			if (position)
				*position = at;
			return false;
		}
		at += width;
	}
	return true;
}

bool kp_text_is_storable(keep_bytes text)
{
	if (text.len && memchr(text.data, 0, text.len))
		return false;
	return kp_utf8_is_valid(text, NULL);
}

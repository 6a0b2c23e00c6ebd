/*
 * pattern_letters.c - letter case and word characters of Unicode, whatever the process's locale is.
 *
 * towlower and iswalpha follow the locale, which is the caller's and in a daemon mostly "C"; so the
 * tables are ours (tools/lettergen.py makes them from Unicode's).
 *
 * Invariants:
 *   1. Folding is simple folding: one character becomes one character, and its fold is its own
 *      fold. So "contains, letter case ignored" is "the fold contains the fold".
 *   2. No locale, no normalization: a letter with a combining mark is not the composed letter, and
 *      ß is not ss. The dotless and dotted i of Turkish fold to themselves.
 *
 * Tests: tests/unit/test_route_match.c.
 */
#include "pattern/pattern.h"

struct letter_range {
	uint32_t first, last;
};

struct fold_range {
	uint32_t first, last, step;
	int32_t distance; /* of the fold from the letter */
};

#include "pattern/pattern_letters_table.h"

uint32_t kp_letter_read(const char *at, const char *end, size_t *width)
{
	const unsigned char *bytes = (const unsigned char *)at;
	size_t left = (size_t)(end - at);

	*width = 1;
	if (bytes[0] < 0xc2 || left < 2)
		return bytes[0];
	if (bytes[0] < 0xe0 || left < 3) {
		*width = 2;
		return (bytes[0] & 0x1fu) << 6 | (bytes[1] & 0x3fu);
	}
	if (bytes[0] < 0xf0 || left < 4) {
		*width = 3;
		return (bytes[0] & 0x0fu) << 12 | (bytes[1] & 0x3fu) << 6 | (bytes[2] & 0x3fu);
	}
	*width = 4;
	return (bytes[0] & 0x07u) << 18 | (bytes[1] & 0x3fu) << 12 | (bytes[2] & 0x3fu) << 6 |
	       (bytes[3] & 0x3fu);
}

size_t kp_letter_write(uint32_t letter, char *out)
{
	if (letter < 0x80) {
		out[0] = (char)letter;
		return 1;
	}
	if (letter < 0x800) {
		out[0] = (char)(0xc0 | letter >> 6);
		out[1] = (char)(0x80 | (letter & 0x3f));
		return 2;
	}
	if (letter < 0x10000) {
		out[0] = (char)(0xe0 | letter >> 12);
		out[1] = (char)(0x80 | (letter >> 6 & 0x3f));
		out[2] = (char)(0x80 | (letter & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | letter >> 18);
	out[1] = (char)(0x80 | (letter >> 12 & 0x3f));
	out[2] = (char)(0x80 | (letter >> 6 & 0x3f));
	out[3] = (char)(0x80 | (letter & 0x3f));
	return 4;
}

uint32_t kp_letter_fold(uint32_t letter)
{
	size_t low = 0, high = KP_COUNT(folds);

	if (letter < 0x80)
		return letter >= 'A' && letter <= 'Z' ? letter + 32 : letter;
	while (low < high) {
		size_t middle = (low + high) / 2;
		const struct fold_range *range = &folds[middle];

		if (letter > range->last)
			low = middle + 1;
		else if (letter < range->first)
			high = middle;
		else
			return (letter - range->first) % range->step
				       ? letter
				       : (uint32_t)((int32_t)letter + range->distance);
	}
	return letter;
}

uint32_t kp_letter_capital(uint32_t letter)
{
	if (letter < 0x80)
		return letter >= 'a' && letter <= 'z' ? letter - 32 : letter;
	for (size_t i = 0; i < KP_COUNT(folds); i++) {
		uint32_t capital = (uint32_t)((int32_t)letter - folds[i].distance);

		if (capital >= folds[i].first && capital <= folds[i].last &&
		    (capital - folds[i].first) % folds[i].step == 0)
			return capital;
	}
	return letter;
}

bool kp_letter_is_word(uint32_t letter)
{
	size_t low = 0, high = KP_COUNT(words);

	if (letter < 0x80)
		return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
		       (letter >= '0' && letter <= '9') || letter == '_';
	while (low < high) {
		size_t middle = (low + high) / 2;

		if (letter > words[middle].last)
			low = middle + 1;
		else if (letter < words[middle].first)
			high = middle;
		else
			return true;
	}
	return false;
}

keep_status kp_letters_fold(keep_bytes text, kp_arena *arena, keep_bytes *out, keep_error *err)
{
	const char *at = text.data, *end = text.data + text.len;
	/* The longest growth of a fold is from two bytes to three. */
	char *folded = kp_arena_alloc(arena, text.len + text.len / 2 + 4);
	size_t len = 0;

	if (!folded)
		return kp_fail_memory(err, "a folded text");
	while (at < end) {
		size_t width;

		if (!((unsigned char)*at & 0x80)) {
			char byte = *at++;

			folded[len++] = byte >= 'A' && byte <= 'Z' ? (char)(byte + 32) : byte;
			continue;
		}
		len += kp_letter_write(kp_letter_fold(kp_letter_read(at, end, &width)),
				       folded + len);
		at += width;
	}
	folded[len] = 0;
	*out = (keep_bytes){folded, len};
	return KEEP_OK;
}

keep_bytes kp_blanks_trim(keep_bytes text)
{
	while (text.len && kp_byte_is_blank(text.data[0])) {
		text.data++;
		text.len--;
	}
	while (text.len && kp_byte_is_blank(text.data[text.len - 1]))
		text.len--;
	return text;
}

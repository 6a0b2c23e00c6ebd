/*
 * phc.c - argon2id's PHC strings: text to cost, salt and hash, and back.
 *
 *     $argon2id$v=19$m=65536,t=3,p=4$<salt>$<hash>        base64 without padding
 *
 * A stored string decides how much memory and time a login takes, so it is read here and not by
 * libargon2, which would believe it: its own reader takes 4 TiB, and any number of passes.
 *
 * Invariants:
 *   1. What kp_phc_parse accepts lies within the bounds of vault.h and vault_private.h, and is
 *      what libargon2 accepts: at least 8 KiB of memory for each lane.
 *   2. One value has one text: kp_phc_format of what was parsed gives the same bytes. So there are
 *      no leading zeros, no other order, no optional field (keyid, data), and no padding.
 *   3. Nothing is computed and nothing is allocated here while parsing.
 *   4. No message quotes the string.
 *
 * What it does not do: argon2i and argon2d, and version 16, whose strings have no v.
 *
 * Tests: tests/unit/test_password.c; fuzz/fuzz_phc.c holds invariants 1 and 2.
 */
#include "vault/vault_private.h"

#include <string.h>

#define TEXT_OF(number) TEXT_OF_VALUE(number)
#define TEXT_OF_VALUE(number) #number

static bool take_word(keep_bytes *rest, const char *word)
{
	size_t len = strlen(word);

	if (rest->len < len || memcmp(rest->data, word, len) != 0)
		return false;
	*rest = (keep_bytes){rest->data + len, rest->len - len};
	return true;
}

/* Decimal digits, as few as there can be, up to whatever follows. */
static bool take_number(keep_bytes *rest, uint32_t min, uint32_t max, uint32_t *out)
{
	uint64_t value = 0;
	size_t len = 0;

	while (len < rest->len && rest->data[len] >= '0' && rest->data[len] <= '9') {
		value = value * 10 + (uint64_t)(rest->data[len++] - '0');
		if (value > max || value == 0)
			return false;
	}
	*out = (uint32_t)value;
	*rest = (keep_bytes){rest->data + len, rest->len - len};
	return len > 0 && value >= min;
}

/* Base64 up to the next '$' or the end; `out` has room for `max` bytes and two more. */
static bool take_bytes(keep_bytes *rest, size_t min, size_t max, unsigned char *out, size_t *len)
{
	const char *end = rest->len ? memchr(rest->data, '$', rest->len) : NULL;
	keep_bytes text = {rest->data, end ? (size_t)(end - rest->data) : rest->len};

	if (text.len > KP_BARE_DIGITS(max) || !kp_bare_parse(KP_BARE_STANDARD, text, out, len))
		return false;
	*rest = (keep_bytes){rest->data + text.len, rest->len - text.len};
	return *len >= min;
}

/* NULL, or what is wrong with it. */
static const char *read_phc(keep_bytes rest, kp_phc *phc)
{
	if (!take_word(&rest, "$argon2id$"))
		return "it does not begin with $argon2id$";
	if (!take_word(&rest, "v=19$"))
		return "its version is not v=19";
	if (!take_word(&rest, "m=") ||
	    !take_number(&rest, 8, KP_PASSWORD_MEMORY_KIB_MAX, &phc->memory_kib))
		return "m is not 8 to " TEXT_OF(KP_PASSWORD_MEMORY_KIB_MAX);
	if (!take_word(&rest, ",t=") ||
	    !take_number(&rest, 1, KP_PASSWORD_PASSES_MAX, &phc->passes))
		return "t is not 1 to " TEXT_OF(KP_PASSWORD_PASSES_MAX);
	if (!take_word(&rest, ",p=") || !take_number(&rest, 1, KP_PASSWORD_LANES_MAX, &phc->lanes))
		return "p is not 1 to " TEXT_OF(KP_PASSWORD_LANES_MAX);
	if (phc->memory_kib < 8 * phc->lanes)
		return "m is less than 8 for each lane";
	if (!take_word(&rest, "$") || !take_bytes(&rest, KP_PHC_SALT_BYTES_MIN,
						  KP_PHC_SALT_BYTES_MAX, phc->salt, &phc->salt_len))
		return "its salt is not base64 of " TEXT_OF(KP_PHC_SALT_BYTES_MIN) " to " TEXT_OF(
			KP_PHC_SALT_BYTES_MAX) " bytes";
	if (!take_word(&rest, "$") || !take_bytes(&rest, KP_PHC_HASH_BYTES_MIN,
						  KP_PHC_HASH_BYTES_MAX, phc->hash, &phc->hash_len))
		return "its hash is not base64 of " TEXT_OF(KP_PHC_HASH_BYTES_MIN) " to " TEXT_OF(
			KP_PHC_HASH_BYTES_MAX) " bytes";
	return rest.len ? "something follows its hash" : NULL;
}

keep_status kp_phc_parse(keep_bytes text, kp_phc *phc, keep_error *err)
{
	const char *wrong;

	*phc = (kp_phc){.memory_kib = 0};
	wrong = read_phc(text, phc);
	if (!wrong)
		return KEEP_OK;
	kp_wipe(phc, sizeof *phc);
	return kp_fail(err, KEEP_INVALID, "a stored password hash is refused: %s", wrong);
}

keep_status kp_phc_format(const kp_phc *phc, keep_buffer *out, keep_error *err)
{
	const keep_bytes parts[] = {{(const char *)phc->salt, phc->salt_len},
				    {(const char *)phc->hash, phc->hash_len}};
	size_t digits = KP_BARE_DIGITS(phc->salt_len) + KP_BARE_DIGITS(phc->hash_len);
	keep_status status;
	char *to;

	kp_output_clear(out);
	status = kp_buffer_append_format(out, err, "$argon2id$v=19$m=%u,t=%u,p=%u",
					 (unsigned)phc->memory_kib, (unsigned)phc->passes,
					 (unsigned)phc->lanes);
	if (status == KEEP_OK)
		status = kp_buffer_reserve(out, out->len + digits + KP_COUNT(parts), err);
	if (status != KEEP_OK) {
		kp_output_clear(out);
		return status;
	}
	to = out->data + out->len;
	for (size_t i = 0; i < KP_COUNT(parts); i++) {
		*to++ = '$';
		to = kp_bare_format(KP_BARE_STANDARD, parts[i], to);
	}
	*to = '\0';
	out->len = (size_t)(to - out->data);
	return KEEP_OK;
}

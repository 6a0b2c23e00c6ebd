/*
 * jwt.c - signed claims: JSON Web Tokens (RFC 7519) with HS256 (RFC 7515, RFC 7518 section 3.2).
 *
 *     base64url({"alg":"HS256","typ":"JWT","kid":…}) . base64url(claims) . base64url(HMAC)
 *
 * There is one algorithm, and the key does not choose another: what a token's header says is only
 * ever compared with it. RFC 8725 is the list of what went wrong elsewhere.
 *
 * Invariants:
 *   1. Nothing of the claims is read before the signature was found right.
 *   2. The signature is compared as text, in constant time, with the one text that is right. So a
 *      token that verifies has no other spelling of its signature.
 *   3. alg is "HS256". "crit" is refused, since no extension is understood here (RFC 7515, 4.1.11),
 *      and where typ stands it is "JWT". jwk, jku, x5u and the like are never looked at.
 *   4. A time is an integer of seconds from 1970 to 9999. What is no such number is refused, not
 *      ignored; so is exp that is missing.
 *   5. DENIED is about the token alone. Lack of memory stays NO_MEMORY, a bad key INVALID.
 *   6. No message quotes the token or a key.
 *
 * What it does not do: iss, aud, sub (the caller's claims, for the caller to look at), encryption,
 * public keys, revocation.
 *
 * Tests: tests/unit/test_jwt.c, tests/torture/test_vault_faults.c; fuzz/fuzz_jwt.c.
 */
#include "vault/vault_private.h"

#include <string.h>

#define SIGNATURE_DIGITS KP_BARE_DIGITS((size_t)KP_SHA256_SIZE)

/* A token taken apart; slices of it. */
struct parts {
	keep_bytes header, claims, signature;
	keep_bytes message; /* what is signed: header, dot, claims */
};

/* `what` is wrong with the token. */
static keep_status deny(keep_error *err, const char *what)
{
	return kp_fail(err, KEEP_DENIED, "the token is refused: %s", what);
}

static keep_status check_key(keep_bytes key, keep_error *err)
{
	if (key.data && key.len >= KP_JWT_KEY_BYTES_MIN)
		return KEEP_OK;
	return kp_fail(err, KEEP_INVALID, "a key of signed claims has at least %d bytes",
		       KP_JWT_KEY_BYTES_MIN);
}

static bool is_text(const kp_json *value, const char *wanted)
{
	return value && value->kind == KP_JSON_TEXT &&
	       kp_bytes_equal(value->text, keep_bytes_of(wanted));
}

/* A time of RFC 7519 section 2 that we write and accept: an integer, in milliseconds then. */
static bool read_time(const kp_json *value, int64_t *time_ms)
{
	if (value->kind != KP_JSON_INTEGER || value->integer < 0 ||
	    value->integer > KEEP_TIME_MAX / 1000)
		return false;
	*time_ms = value->integer * 1000;
	return true;
}

/* ---------------------------------------------------------------- writing */

/* What kp_jwt_verify wants of claims is wanted here, so that no token is made that never verifies.
 */
static keep_status check_claims(keep_bytes claims, keep_bytes *raw, keep_error *err)
{
	static const char *const times[] = {"exp", "iat"};
	kp_arena arena = {.head = NULL};
	const kp_json *object = NULL;
	keep_status status = KEEP_OK;

	if (claims.len > KP_JWT_BYTES_MAX)
		return kp_fail(err, KEEP_INVALID, "claims of %zu bytes, a token has at most %d",
			       claims.len, KP_JWT_BYTES_MAX);
	status = kp_json_parse(claims, &arena, &object, err);
	if (status != KEEP_OK) {
		status = kp_prefix(err, status, "claims");
		goto out;
	}
	if (object->kind != KP_JSON_OBJECT) {
		status = kp_fail(err, KEEP_INVALID, "claims are an object, not %s",
				 kp_json_kind_name(object->kind));
		goto out;
	}
	for (size_t i = 0; i < KP_COUNT(times); i++) {
		const kp_json *value = kp_json_member(object, times[i]);
		int64_t time_ms;

		if (!value || !read_time(value, &time_ms)) {
			status = kp_fail(err, KEEP_INVALID,
					 "claims have no %s in whole seconds since 1970", times[i]);
			goto out;
		}
	}
	*raw = object->raw;
out:
	kp_arena_release(&arena);
	return status;
}

static keep_status write_header(keep_bytes key_id, keep_buffer *header, keep_error *err)
{
	kp_json_writer writer;

	if (key_id.len > KP_JWT_BYTES_MAX)
		return kp_fail(err, KEEP_INVALID, "a key's id of %zu bytes, a token has at most %d",
			       key_id.len, KP_JWT_BYTES_MAX);
	kp_json_begin(&writer, header);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "alg");
	kp_json_put_text(&writer, KEEP_BYTES("HS256"));
	kp_json_name(&writer, "typ");
	kp_json_put_text(&writer, KEEP_BYTES("JWT"));
	if (key_id.data) {
		kp_json_name(&writer, "kid");
		kp_json_put_text(&writer, key_id);
	}
	kp_json_close_object(&writer);
	return kp_json_finish(&writer, err);
}

static keep_status write_token(keep_bytes key, keep_bytes header, keep_bytes claims,
			       keep_buffer *out, keep_error *err)
{
	size_t len =
		KP_BARE_DIGITS(header.len) + 1 + KP_BARE_DIGITS(claims.len) + 1 + SIGNATURE_DIGITS;
	unsigned char mac[KP_SHA256_SIZE];
	keep_status status;
	char *to;

	if (len > KP_JWT_BYTES_MAX)
		return kp_fail(err, KEEP_INVALID, "a token of %zu bytes, the limit is %d", len,
			       KP_JWT_BYTES_MAX);
	status = kp_buffer_reserve(out, len, err);
	if (status != KEEP_OK)
		return status;
	to = kp_bare_format(KP_BARE_URL, header, out->data);
	*to++ = '.';
	to = kp_bare_format(KP_BARE_URL, claims, to);
	status = kp_hmac_sha256(key, (keep_bytes){out->data, (size_t)(to - out->data)}, mac, err);
	if (status != KEEP_OK) {
		kp_output_clear(out);
		return status;
	}
	*to++ = '.';
	to = kp_bare_format(KP_BARE_URL, (keep_bytes){(const char *)mac, sizeof mac}, to);
	*to = '\0';
	out->len = len;
	return KEEP_OK;
}

keep_status kp_jwt_sign(keep_bytes key, keep_bytes key_id, keep_bytes claims, keep_buffer *out,
			keep_error *err)
{
	keep_buffer header = KEEP_BUFFER_INIT;
	keep_bytes raw = {.data = NULL};
	keep_status status = check_key(key, err);

	kp_output_clear(out);
	if (status == KEEP_OK)
		status = check_claims(claims, &raw, err);
	if (status == KEEP_OK)
		status = write_header(key_id, &header, err);
	if (status == KEEP_OK)
		status = write_token(key, kp_buffer_bytes(&header), raw, out, err);
	keep_buffer_release(&header);
	return status;
}

/* ---------------------------------------------------------------- reading */

/* Three parts, none of them empty, the last one as long as an HMAC. */
static keep_status split_token(keep_bytes token, struct parts *parts, keep_error *err)
{
	const char *dots[2] = {NULL, NULL}, *end;
	size_t count = 0;

	if (!token.data || token.len > KP_JWT_BYTES_MAX)
		return deny(err, "it is missing or too long");
	end = token.data + token.len;
	for (const char *at = token.data; at < end; at++) {
		if (*at != '.')
			continue;
		if (count == KP_COUNT(dots))
			return deny(err, "it has more than three parts");
		dots[count++] = at;
	}
	if (count < KP_COUNT(dots))
		return deny(err, "it has fewer than three parts");
	parts->header = (keep_bytes){token.data, (size_t)(dots[0] - token.data)};
	parts->claims = (keep_bytes){dots[0] + 1, (size_t)(dots[1] - dots[0] - 1)};
	parts->signature = (keep_bytes){dots[1] + 1, (size_t)(end - dots[1] - 1)};
	parts->message = (keep_bytes){token.data, (size_t)(dots[1] - token.data)};
	if (parts->signature.len != SIGNATURE_DIGITS)
		return deny(err, "its signature is not as long as an HMAC");
	return KEEP_OK;
}

/* One part's object, in `arena`; `what` says that it is none. */
static keep_status read_object(keep_bytes part, const char *what, kp_arena *arena,
			       const kp_json **object, keep_error *err)
{
	unsigned char *bytes = kp_arena_alloc(arena, part.len / 4 * 3 + 2);
	const kp_json *value = NULL;
	keep_status status;
	size_t len;

	if (!bytes)
		return kp_fail_memory(err, "a token");
	if (!kp_bare_parse(KP_BARE_URL, part, bytes, &len))
		return deny(err, what);
	status = kp_json_parse((keep_bytes){(const char *)bytes, len}, arena, &value, err);
	if (status == KEEP_INVALID || (status == KEEP_OK && value->kind != KP_JSON_OBJECT))
		return deny(err, what);
	if (status == KEEP_OK)
		*object = value;
	return status;
}

/* The header of a token that this file could have signed. */
static keep_status read_header(keep_bytes token, struct parts *parts, kp_arena *arena,
			       const kp_json **header, keep_error *err)
{
	const kp_json *typ, *kid;
	keep_status status = split_token(token, parts, err);

	if (status == KEEP_OK)
		status = read_object(parts->header, "its header is no JSON object in base64url",
				     arena, header, err);
	if (status != KEEP_OK)
		return status;
	if (!is_text(kp_json_member(*header, "alg"), "HS256"))
		return deny(err, "its alg is not HS256");
	typ = kp_json_member(*header, "typ");
	if (typ && !is_text(typ, "JWT"))
		return deny(err, "its typ is not JWT");
	if (kp_json_member(*header, "crit"))
		return deny(err, "its crit asks for extensions");
	kid = kp_json_member(*header, "kid");
	if (kid && kid->kind != KP_JSON_TEXT)
		return deny(err, "its kid is no text");
	return KEEP_OK;
}

static keep_status check_signature(keep_bytes key, const struct parts *parts, keep_error *err)
{
	unsigned char mac[KP_SHA256_SIZE];
	char right[SIGNATURE_DIGITS];
	keep_status status = kp_hmac_sha256(key, parts->message, mac, err);

	if (status != KEEP_OK)
		return status;
	(void)kp_bare_format(KP_BARE_URL, (keep_bytes){(const char *)mac, sizeof mac}, right);
	if (!kp_secret_equal(parts->signature, (keep_bytes){right, sizeof right}))
		status = deny(err, "its signature is not right");
	/* Whoever has them has a valid token. */
	kp_wipe(mac, sizeof mac);
	kp_wipe(right, sizeof right);
	return status;
}

static keep_status check_times(const kp_json *claims, int64_t now_ms, keep_error *err)
{
	const kp_json *exp = kp_json_member(claims, "exp");
	const kp_json *iat = kp_json_member(claims, "iat"), *nbf = kp_json_member(claims, "nbf");
	int64_t time_ms;

	if (!exp)
		return deny(err, "it has no exp");
	if (!read_time(exp, &time_ms))
		return deny(err, "its exp is not in whole seconds since 1970");
	if (now_ms >= time_ms + KP_JWT_LEEWAY_MS)
		return deny(err, "it has expired");
	if (iat && !read_time(iat, &time_ms))
		return deny(err, "its iat is not in whole seconds since 1970");
	if (iat && now_ms < time_ms - KP_JWT_LEEWAY_MS)
		return deny(err, "its iat is in the future");
	if (nbf && !read_time(nbf, &time_ms))
		return deny(err, "its nbf is not in whole seconds since 1970");
	if (nbf && now_ms < time_ms - KP_JWT_LEEWAY_MS)
		return deny(err, "its nbf is in the future");
	return KEEP_OK;
}

keep_status kp_jwt_key_id(keep_bytes token, kp_arena *arena, keep_bytes *key_id, keep_error *err)
{
	const kp_json *header = NULL, *kid;
	struct parts parts;
	keep_status status = read_header(token, &parts, arena, &header, err);

	*key_id = (keep_bytes){.data = NULL};
	if (status != KEEP_OK)
		return status;
	kid = kp_json_member(header, "kid");
	if (kid)
		*key_id = kid->text;
	return KEEP_OK;
}

keep_status kp_jwt_verify(keep_bytes key, keep_bytes token, int64_t now_ms, kp_arena *arena,
			  const kp_json **claims, keep_error *err)
{
	const kp_json *header = NULL, *object = NULL;
	struct parts parts;
	keep_status status = check_key(key, err);

	*claims = NULL;
	if (status == KEEP_OK)
		status = read_header(token, &parts, arena, &header, err);
	if (status == KEEP_OK)
		status = check_signature(key, &parts, err);
	if (status == KEEP_OK)
		status = read_object(parts.claims, "its claims are no JSON object in base64url",
				     arena, &object, err);
	if (status == KEEP_OK)
		status = check_times(object, now_ms, err);
	if (status == KEEP_OK)
		*claims = object;
	return status;
}

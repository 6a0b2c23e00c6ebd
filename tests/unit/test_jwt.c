/*
 * test_jwt.c - signed claims: what RFC 7515 publishes, and everything that must not verify.
 *
 * Tokens that are wrong in one place are right in every other: the test signs them itself.
 */
#include "keep_test.h"
#include "vault/vault.h"

#define NOW_MS INT64_C(1700000000500)
#define KEY KEEP_BYTES("0123456789abcdef0123456789abcdef")
#define OTHER_KEY KEEP_BYTES("0123456789abcdef0123456789abcdeg")
#define HEADER "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"
#define CLAIMS "{\"sub\":\"ada\",\"exp\":1700000001,\"iat\":1700000000}"

/* RFC 7515, appendix A.1 */
#define RFC_KEY                                                                                    \
	"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
#define RFC_HEADER "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9"
#define RFC_CLAIMS                                                                                 \
	"eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0" \
	"cnVlfQ"
#define RFC_SIGNATURE "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
#define RFC_EXP_MS INT64_C(1300819380000)

/* ---------------------------------------------------------------- what the tests are made with */

/* "<header>.<claims>.<signature>", where header and claims are given as they stand in the token. */
static void sign_parts(keep_bytes key, const char *header, const char *claims, keep_buffer *out)
{
	unsigned char mac[KP_SHA256_SIZE];
	keep_buffer signature = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	out->len = 0;
	OK(kp_buffer_append_text(out, header, &err));
	OK(kp_buffer_append_text(out, ".", &err));
	OK(kp_buffer_append_text(out, claims, &err));
	OK(kp_hmac_sha256(key, kp_buffer_bytes(out), mac, &err));
	OK(kp_base64url_encode((keep_bytes){(const char *)mac, sizeof mac}, &signature, &err));
	OK(kp_buffer_append_text(out, ".", &err));
	OK(kp_buffer_append(out, kp_buffer_bytes(&signature), &err));
	keep_buffer_release(&signature);
}

/* The same of header and claims as JSON. */
static void sign_json(keep_bytes key, keep_bytes header, keep_bytes claims, keep_buffer *out)
{
	keep_buffer first = KEEP_BUFFER_INIT, second = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_base64url_encode(header, &first, &err));
	OK(kp_base64url_encode(claims, &second, &err));
	sign_parts(key, first.data, second.data, out);
	keep_buffer_release(&first);
	keep_buffer_release(&second);
}

static keep_status verify(keep_bytes key, keep_bytes token, int64_t now_ms, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	const kp_json *claims = NULL;
	keep_status status = kp_jwt_verify(key, token, now_ms, &arena, &claims, err);

	assert_int_equal(status == KEEP_OK, claims != NULL);
	kp_arena_release(&arena);
	return status;
}

static void want_denied(keep_bytes token, int64_t now_ms, const char *why)
{
	keep_error err = KEEP_ERROR_INIT;

	CHECK(verify(KEY, token, now_ms, &err) == KEEP_DENIED, "%" KP_PRI " (%s)", KP_ARG(token),
	      why);
	CHECK(strstr(err.message, why), "\"%s\" instead of \"%s\"", err.message, why);
}

static void want_key_id_denied(keep_bytes token)
{
	kp_arena arena = {.head = NULL};
	keep_error err = KEEP_ERROR_INIT;
	keep_bytes key_id = KEEP_BYTES("before");

	CHECK(kp_jwt_key_id(token, &arena, &key_id, &err) == KEEP_DENIED, "%" KP_PRI,
	      KP_ARG(token));
	assert_null(key_id.data);
	kp_arena_release(&arena);
}

/* ---------------------------------------------------------------- what verifies */

static void rfc_7515s_token_verifies_until_it_expires(void **state)
{
	keep_bytes token = KEEP_BYTES(RFC_HEADER "." RFC_CLAIMS "." RFC_SIGNATURE);
	keep_buffer key = KEEP_BUFFER_INIT, again = KEEP_BUFFER_INIT;
	kp_arena arena = {.head = NULL};
	const kp_json *claims = NULL;
	keep_error err = KEEP_ERROR_INIT;
	keep_bytes key_id;

	(void)state;
	OK(kp_base64url_decode(KEEP_BYTES(RFC_KEY), &key, &err));
	sign_parts(kp_buffer_bytes(&key), RFC_HEADER, RFC_CLAIMS, &again);
	assert_bytes_equal(kp_buffer_bytes(&again), token);
	OK(kp_jwt_verify(kp_buffer_bytes(&key), token, RFC_EXP_MS - 1, &arena, &claims, &err));
	assert_bytes_equal(kp_json_member(claims, "iss")->text, KEEP_BYTES("joe"));
	assert_true(kp_json_member(claims, "http://example.com/is_root")->boolean);
	OK(kp_jwt_key_id(token, &arena, &key_id, &err));
	assert_null(key_id.data);
	kp_arena_release(&arena);
	assert_int_equal(verify(kp_buffer_bytes(&key), token, RFC_EXP_MS, &err), KEEP_DENIED);
	assert_string_equal(err.message, "the token is refused: it has expired");
	assert_int_equal(verify(KEY, token, RFC_EXP_MS - 1, &err), KEEP_DENIED);
	keep_buffer_release(&key);
	keep_buffer_release(&again);
	assert_nothing_lives();
}

static void what_is_signed_verifies_and_names_its_key(void **state)
{
	static const char *const ids[] = {NULL, "", "2026-01", "a \"quoted\" \\ id",
					  "\xc3\xa9\x01"};
	keep_buffer token = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(ids); i++) {
		kp_arena arena = {.head = NULL};
		const kp_json *claims = NULL;
		keep_bytes key_id;

		OK(kp_jwt_sign(KEY, keep_bytes_of(ids[i]), KEEP_BYTES(" " CLAIMS "\n"), &token,
			       &err));
		OK(kp_jwt_key_id(kp_buffer_bytes(&token), &arena, &key_id, &err));
		assert_bytes_equal(key_id, keep_bytes_of(ids[i]));
		OK(kp_jwt_verify(KEY, kp_buffer_bytes(&token), NOW_MS, &arena, &claims, &err));
		assert_bytes_equal(claims->raw, KEEP_BYTES(CLAIMS));
		want_denied(kp_buffer_bytes(&token), NOW_MS + 500, "expired");
		want_denied(kp_buffer_bytes(&token), NOW_MS - 501, "iat is in the future");
		kp_arena_release(&arena);
	}
	OK(kp_jwt_sign(KEY, (keep_bytes){NULL, 0}, KEEP_BYTES(CLAIMS), &token, &err));
	assert_memory_equal(token.data, "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.", 37);
	keep_buffer_release(&token);
	assert_nothing_lives();
}

static void no_token_is_made_that_would_never_verify(void **state)
{
	static const char *const refused[] = {
		"",
		"{",
		"null",
		"[]",
		"\"{}\"",
		"{}",
		"{\"exp\":1700000001}",
		"{\"iat\":1700000000}",
		"{\"exp\":\"1700000001\",\"iat\":1700000000}",
		"{\"exp\":1700000001.5,\"iat\":1700000000}",
		"{\"exp\":1700000001,\"iat\":null}",
		"{\"exp\":1700000001000,\"iat\":1700000000}",
		"{\"exp\":-1,\"iat\":1700000000}",
		"{\"exp\":1700000001,\"iat\":1700000000,\"exp\":1800000000}",
		CLAIMS CLAIMS,
	};
	static char large[KP_JWT_BYTES_MAX + 2];
	const keep_bytes none = {.data = NULL};
	keep_buffer token = KEEP_BUFFER_INIT, claims = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	size_t fits = 0;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(refused); i++) {
		OK(kp_buffer_append_text(&token, "before", &err));
		CHECK(kp_jwt_sign(KEY, none, keep_bytes_of(refused[i]), &token, &err) ==
			      KEEP_INVALID,
		      "%s", refused[i]);
		assert_int_equal(token.len, 0);
	}
	assert_int_equal(
		kp_jwt_sign((keep_bytes){KEY.data, 31}, none, KEEP_BYTES(CLAIMS), &token, &err),
		KEEP_INVALID);
	assert_int_equal(kp_jwt_sign(none, none, KEEP_BYTES(CLAIMS), &token, &err), KEEP_INVALID);
	assert_int_equal(kp_jwt_sign(KEY, KEEP_BYTES("\xff"), KEEP_BYTES(CLAIMS), &token, &err),
			 KEEP_INVALID);
	assert_int_equal(
		kp_jwt_sign(KEY, (keep_bytes){"", SIZE_MAX}, KEEP_BYTES(CLAIMS), &token, &err),
		KEEP_INVALID);
	assert_int_equal(kp_jwt_sign(KEY, none, (keep_bytes){"", SIZE_MAX}, &token, &err),
			 KEEP_INVALID);
	/* Every length around the limit: what is made verifies, and what does not fit is refused.
	 */
	memset(large, 'x', sizeof large - 1);
	for (size_t len = 5900; len < 6200; len++) {
		claims.len = 0;
		OK(kp_buffer_append_format(&claims, &err,
					   "{\"exp\":1700000001,\"iat\":1700000000,\"x\":\"%.*s\"}",
					   (int)len, large));
		if (kp_jwt_sign(KEY, none, kp_buffer_bytes(&claims), &token, &err) == KEEP_OK) {
			assert_int_equal(fits, len - 5900);
			fits++;
			assert_true(token.len <= KP_JWT_BYTES_MAX);
			OK(verify(KEY, kp_buffer_bytes(&token), NOW_MS, &err));
		}
	}
	assert_in_range(fits, 1, 299);
	keep_buffer_release(&token);
	keep_buffer_release(&claims);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- headers */

static const char *const refused_headers[][2] = {
	/* none, in every spelling, and other algorithms, also such as take an HMAC's key */
	{"{\"alg\":\"none\"}", "alg is not"},
	{"{\"alg\":\"None\",\"typ\":\"JWT\"}", "alg is not"},
	{"{\"alg\":\"NONE\",\"typ\":\"JWT\"}", "alg is not"},
	{"{\"alg\":\"nOnE\",\"typ\":\"JWT\"}", "alg is not"},
	{"{\"alg\":\"\",\"typ\":\"JWT\"}", "alg is not"},
	{"{\"alg\":\"RS256\",\"typ\":\"JWT\"}", "alg is not"},
	{"{\"alg\":\"ES256\",\"typ\":\"JWT\"}", "alg is not"},
	{"{\"alg\":\"PS256\",\"typ\":\"JWT\"}", "alg is not"},
	{"{\"alg\":\"EdDSA\",\"typ\":\"JWT\"}", "alg is not"},
	{"{\"alg\":\"HS384\",\"typ\":\"JWT\"}", "alg is not"},
	{"{\"alg\":\"HS512\",\"typ\":\"JWT\"}", "alg is not"},
	{"{\"alg\":\"HS1\",\"typ\":\"JWT\"}", "alg is not"},
	{"{\"alg\":\"hs256\",\"typ\":\"JWT\"}", "alg is not"},
	{"{\"alg\":\"HS256 \",\"typ\":\"JWT\"}", "alg is not"},
	{"{\"alg\":\"HS256\\u0000\",\"typ\":\"JWT\"}", "alg is not"},
	{"{\"alg\":\"dir\",\"enc\":\"A256GCM\"}", "alg is not"},
	{"{\"typ\":\"JWT\"}", "alg is not"},
	{"{\"Alg\":\"HS256\",\"typ\":\"JWT\"}", "alg is not"},
	{"{\"alg\":null}", "alg is not"},
	{"{\"alg\":256}", "alg is not"},
	{"{\"alg\":true}", "alg is not"},
	{"{\"alg\":[\"HS256\"]}", "alg is not"},
	{"{\"alg\":{\"HS256\":1}}", "alg is not"},
	/* two of anything: which one would another reader take? */
	{"{\"alg\":\"none\",\"alg\":\"HS256\"}", "no JSON object"},
	{"{\"alg\":\"HS256\",\"alg\":\"HS256\"}", "no JSON object"},
	{"{\"alg\":\"HS256\",\"\\u0061lg\":\"none\"}", "no JSON object"},
	{"{\"alg\":\"HS256\",\"kid\":\"1\",\"kid\":\"2\"}", "no JSON object"},
	{"{\"alg\":\"HS256\",\"typ\":\"JWT\",\"typ\":\"JWT\"}", "no JSON object"},
	/* no object, or no JSON */
	{"\"HS256\"", "no JSON object"},
	{"[\"alg\",\"HS256\"]", "no JSON object"},
	{"null", "no JSON object"},
	{"HS256", "no JSON object"},
	{"{\"alg\":\"HS256\"", "no JSON object"},
	{"{\"alg\":\"HS256\"}}", "no JSON object"},
	{"{\"alg\":\"HS256\"}{}", "no JSON object"},
	{"{'alg':'HS256'}", "no JSON object"},
	{"{\"alg\":\"HS256\",}", "no JSON object"},
	{"{\"alg\":\"HS256\",\"kid\":\"\xff\"}", "no JSON object"},
	/* the rest of the header */
	{"{\"alg\":\"HS256\",\"typ\":\"at+jwt\"}", "typ is not"},
	{"{\"alg\":\"HS256\",\"typ\":\"JWE\"}", "typ is not"},
	{"{\"alg\":\"HS256\",\"typ\":null}", "typ is not"},
	{"{\"alg\":\"HS256\",\"crit\":[\"exp\"],\"exp\":1}", "crit asks"},
	{"{\"alg\":\"HS256\",\"crit\":[]}", "crit asks"},
	{"{\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":false}", "crit asks"},
	{"{\"alg\":\"HS256\",\"kid\":7}", "kid is no text"},
	{"{\"alg\":\"HS256\",\"kid\":null}", "kid is no text"},
};

static const char *const accepted_headers[] = {
	"{\"alg\":\"HS256\"}",
	" {\r\n\t\"typ\" : \"JWT\", \"alg\" : \"HS\\u0032\\u00356\" } ",
	/* a key in the header is nothing to us: ours decides */
	"{\"alg\":\"HS256\",\"jwk\":{\"kty\":\"oct\",\"k\":\"AAAA\"},\"jku\":\"http://x\"}",
};

static void only_hs256_is_believed(void **state)
{
	keep_buffer token = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(refused_headers); i++) {
		sign_json(KEY, keep_bytes_of(refused_headers[i][0]), KEEP_BYTES(CLAIMS), &token);
		want_denied(kp_buffer_bytes(&token), NOW_MS, refused_headers[i][1]);
		want_key_id_denied(kp_buffer_bytes(&token));
	}
	for (size_t i = 0; i < KP_COUNT(accepted_headers); i++) {
		sign_json(KEY, keep_bytes_of(accepted_headers[i]), KEEP_BYTES(CLAIMS), &token);
		OK(verify(KEY, kp_buffer_bytes(&token), NOW_MS, &err));
	}
	/* Without a signature, as "none" has it. */
	sign_json(KEY, KEEP_BYTES("{\"alg\":\"none\"}"), KEEP_BYTES(CLAIMS), &token);
	token.len -= 43;
	want_denied(kp_buffer_bytes(&token), NOW_MS, "not as long as an HMAC");
	keep_buffer_release(&token);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- claims */

#define EXP "\"exp\":1700000001"
#define NOT_WHOLE "not in whole seconds"

static void claims_hold_only_with_times_that_are_numbers(void **state)
{
	static const char *const claims[][2] = {
		{"{}", "no exp"},
		{"{\"Exp\":1700000001}", "no exp"},
		{"{\"nested\":{" EXP "}}", "no exp"},
		{"{\"exp\":\"1700000001\"}", NOT_WHOLE},
		{"{\"exp\":null}", NOT_WHOLE},
		{"{\"exp\":true}", NOT_WHOLE},
		{"{\"exp\":[1700000001]}", NOT_WHOLE},
		{"{\"exp\":1700000001.0}", NOT_WHOLE},
		{"{\"exp\":1700000000.75}", NOT_WHOLE},
		{"{\"exp\":17e8}", NOT_WHOLE},
		{"{\"exp\":1e400}", "no JSON object"},
		{"{\"exp\":-1}", NOT_WHOLE},
		{"{\"exp\":-0.0}", NOT_WHOLE},
		/* milliseconds by mistake, the year 10000, and what would wrap as milliseconds */
		{"{\"exp\":1700000001000}", NOT_WHOLE},
		{"{\"exp\":253402300800}", NOT_WHOLE},
		{"{\"exp\":9223372036854776}", NOT_WHOLE},
		{"{\"exp\":18446744073709552}", NOT_WHOLE},
		{"{\"exp\":9223372036854775807}", NOT_WHOLE},
		{"{\"exp\":9223372036854775808}", NOT_WHOLE},
		{"{\"exp\":18446744073709551617}", NOT_WHOLE},
		{"{\"exp\":-9223372036854775808}", NOT_WHOLE},
		{"{\"exp\":0}", "expired"},
		{"{\"exp\":1699999999}", "expired"},
		{"{\"exp\":1700000000}", "expired"},
		{"{" EXP ",\"iat\":1700000001}", "iat is in the future"},
		{"{" EXP ",\"iat\":\"1700000000\"}", NOT_WHOLE},
		{"{" EXP ",\"iat\":1700000000.0}", NOT_WHOLE},
		{"{" EXP ",\"iat\":null}", NOT_WHOLE},
		{"{" EXP ",\"nbf\":1700000001}", "nbf is in the future"},
		{"{" EXP ",\"nbf\":\"1700000000\"}", NOT_WHOLE},
		{"{" EXP ",\"nbf\":1e1}", NOT_WHOLE},
		{"{" EXP ",\"nbf\":-9223372036854775808}", NOT_WHOLE},
		{"{" EXP ",\"exp\":1800000000}", "no JSON object"},
		{"{\"exp\":0," EXP "}", "no JSON object"},
		{"[" EXP "]", "no JSON object"},
		{"1700000001", "no JSON object"},
		{"null", "no JSON object"},
		{"{" EXP "}x", "no JSON object"},
		{"{" EXP, "no JSON object"},
		{"{" EXP ",\"sub\":\"\xc3\"}", "no JSON object"},
		{"{" EXP ",\"sub\":\"\\ud800\"}", "no JSON object"},
	};
	static const char *const accepted[] = {
		"{" EXP "}",
		"{\"exp\":253402300799}",
		"{" EXP ",\"iat\":1700000000,\"nbf\":1700000000}",
		"{" EXP ",\"iat\":0,\"nbf\":0,\"aud\":[1,{}]}",
	};
	keep_buffer token = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(claims); i++) {
		sign_json(KEY, KEEP_BYTES(HEADER), keep_bytes_of(claims[i][0]), &token);
		want_denied(kp_buffer_bytes(&token), NOW_MS, claims[i][1]);
	}
	for (size_t i = 0; i < KP_COUNT(accepted); i++) {
		sign_json(KEY, KEEP_BYTES(HEADER), keep_bytes_of(accepted[i]), &token);
		OK(verify(KEY, kp_buffer_bytes(&token), NOW_MS, &err));
		/* Clocks that are far off refuse, and do not wrap. */
		want_denied(kp_buffer_bytes(&token), INT64_MAX, "expired");
	}
	sign_json(KEY, KEEP_BYTES(HEADER), KEEP_BYTES("{" EXP ",\"iat\":0}"), &token);
	want_denied(kp_buffer_bytes(&token), INT64_MIN, "iat is in the future");
	keep_buffer_release(&token);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- the token as text */

static void claims_are_not_read_before_the_signature_is_right(void **state)
{
	keep_buffer token = KEEP_BUFFER_INIT;

	(void)state;
	sign_json(OTHER_KEY, KEEP_BYTES(HEADER), KEEP_BYTES("{"), &token);
	want_denied(kp_buffer_bytes(&token), NOW_MS, "signature is not right");
	sign_json(OTHER_KEY, KEEP_BYTES(HEADER), KEEP_BYTES("{\"exp\":0}"), &token);
	want_denied(kp_buffer_bytes(&token), NOW_MS, "signature is not right");
	keep_buffer_release(&token);
	assert_nothing_lives();
}

static void every_flipped_bit_is_denied(void **state)
{
	keep_buffer token = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(kp_jwt_sign(KEY, KEEP_BYTES("1"), KEEP_BYTES(CLAIMS), &token, &err));
	for (size_t i = 0; i < 8 * token.len; i++) {
		token.data[i / 8] = (char)((unsigned char)token.data[i / 8] ^ 1u << i % 8);
		want_denied(kp_buffer_bytes(&token), NOW_MS, "");
		token.data[i / 8] = (char)((unsigned char)token.data[i / 8] ^ 1u << i % 8);
	}
	/* One byte less, at either end, and one more anywhere. */
	for (size_t i = 0; i < token.len; i++)
		want_denied((keep_bytes){token.data, i}, NOW_MS, "");
	want_denied((keep_bytes){token.data + 1, token.len - 1}, NOW_MS, "");
	for (size_t i = 0; i <= token.len; i++) {
		keep_buffer more = KEEP_BUFFER_INIT;

		OK(kp_buffer_append(&more, (keep_bytes){token.data, i}, &err));
		OK(kp_buffer_append_text(&more, i % 2 ? "A" : ".", &err));
		OK(kp_buffer_append(&more, (keep_bytes){token.data + i, token.len - i}, &err));
		want_denied(kp_buffer_bytes(&more), NOW_MS, "");
		keep_buffer_release(&more);
	}
	OK(verify(KEY, kp_buffer_bytes(&token), NOW_MS, &err));
	keep_buffer_release(&token);
	assert_nothing_lives();
}

static void another_key_denies_and_a_short_one_is_invalid(void **state)
{
	keep_buffer token = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(kp_jwt_sign(KEY, (keep_bytes){NULL, 0}, KEEP_BYTES(CLAIMS), &token, &err));
	assert_int_equal(verify(OTHER_KEY, kp_buffer_bytes(&token), NOW_MS, &err), KEEP_DENIED);
	assert_null(strstr(err.message, "ada"));
	/* A token signed with a key that anybody has. */
	for (size_t len = 0; len < KP_JWT_KEY_BYTES_MIN; len++) {
		keep_bytes key = {KEY.data, len};

		sign_json(key, KEEP_BYTES(HEADER), KEEP_BYTES(CLAIMS), &token);
		assert_int_equal(verify(key, kp_buffer_bytes(&token), NOW_MS, &err), KEEP_INVALID);
	}
	assert_int_equal(verify((keep_bytes){NULL, 64}, kp_buffer_bytes(&token), NOW_MS, &err),
			 KEEP_INVALID);
	keep_buffer_release(&token);
	assert_nothing_lives();
}

static void a_token_has_three_parts(void **state)
{
	static const char *const texts[] = {
		"",     ".",    "..",     "...",    "....",    "a", "a.b",
		"a.b.", ".b.c", "a..c",   "a.b.c",  "a.b.c.d", " ", "null",
		"{}",   "\n",   "a.b.c.", ".a.b.c", "Bearer ",
	};
	keep_buffer token = KEEP_BUFFER_INIT, changed = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	static char large[KP_JWT_BYTES_MAX + 1];

	(void)state;
	for (size_t i = 0; i < KP_COUNT(texts); i++) {
		want_denied(keep_bytes_of(texts[i]), NOW_MS, "");
		want_key_id_denied(keep_bytes_of(texts[i]));
	}
	want_denied((keep_bytes){NULL, 0}, NOW_MS, "missing");
	want_key_id_denied((keep_bytes){NULL, 0});
	memset(large, 'A', sizeof large);
	want_denied((keep_bytes){large, sizeof large}, NOW_MS, "too long");
	want_denied((keep_bytes){large, SIZE_MAX}, NOW_MS, "too long");
	OK(kp_jwt_sign(KEY, (keep_bytes){NULL, 0}, KEEP_BYTES(CLAIMS), &token, &err));
	for (size_t i = 0; i < 7; i++) {
		static const char *const around[][2] = {
			{"", "."}, {".", ""}, {"", "\n"},      {" ", ""},
			{"", " "}, {"", "="}, {"Bearer ", ""},
		};

		changed.len = 0;
		OK(kp_buffer_append_text(&changed, around[i][0], &err));
		OK(kp_buffer_append(&changed, kp_buffer_bytes(&token), &err));
		OK(kp_buffer_append_text(&changed, around[i][1], &err));
		want_denied(kp_buffer_bytes(&changed), NOW_MS, "");
	}
	want_denied((keep_bytes){token.data, token.len + 1}, NOW_MS, "");
	keep_buffer_release(&token);
	keep_buffer_release(&changed);
	assert_nothing_lives();
}

/* Signed rightly over text that our own encoder would not have written. */
static void other_spellings_of_base64_are_denied(void **state)
{
	static const char *const headers[] = {
		"eyJhbGciOiJIUzI1NiJ9=",    "eyJhbGciOiJIUzI1NiJ9====", "eyJhbGciOiJIUzI1NiJ9\n",
		"eyJhbGci OiJIUzI1NiJ9",    "eyJhbGciOiJIUzI1NiJ9A",    "",
		"eyJhbGciOiJIUzI1NiIgfR", /* bits that nobody reads */
		"eyJhbGciOiJIUzI1NiJ9Cg==",
	};
	static const char *const claims[] = {
		"eyJleHAiOjE3MDAwMDAwMDF9=",
		"eyJleHAiOjE3MDAwMDAwMDEgfR",
		"eyJleHAiOjE3MDAwMDAwMDF9IB",
		"eyJleHAiOjE3MDAwMDAwMDF9\r\n",
		"",
	};
	keep_buffer token = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	sign_parts(KEY, "eyJhbGciOiJIUzI1NiJ9", "eyJleHAiOjE3MDAwMDAwMDF9", &token);
	OK(verify(KEY, kp_buffer_bytes(&token), NOW_MS, &err));
	/* 256 bits are 43 digits, of which the last has two bits that nobody reads. */
	for (const char *digit =
		     "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=";
	     *digit; digit++) {
		char last = token.data[token.len - 1];

		if (*digit == last)
			continue;
		token.data[token.len - 1] = *digit;
		want_denied(kp_buffer_bytes(&token), NOW_MS, "signature is not right");
		token.data[token.len - 1] = last;
	}
	for (size_t i = 0; i < KP_COUNT(headers); i++) {
		sign_parts(KEY, headers[i], "eyJleHAiOjE3MDAwMDAwMDF9", &token);
		want_denied(kp_buffer_bytes(&token), NOW_MS, "header is no JSON object");
	}
	for (size_t i = 0; i < KP_COUNT(claims); i++) {
		sign_parts(KEY, "eyJhbGciOiJIUzI1NiJ9", claims[i], &token);
		want_denied(kp_buffer_bytes(&token), NOW_MS, "claims are no JSON object");
	}
	keep_buffer_release(&token);
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rfc_7515s_token_verifies_until_it_expires),
		cmocka_unit_test(what_is_signed_verifies_and_names_its_key),
		cmocka_unit_test(no_token_is_made_that_would_never_verify),
		cmocka_unit_test(only_hs256_is_believed),
		cmocka_unit_test(claims_hold_only_with_times_that_are_numbers),
		cmocka_unit_test(claims_are_not_read_before_the_signature_is_right),
		cmocka_unit_test(every_flipped_bit_is_denied),
		cmocka_unit_test(another_key_denies_and_a_short_one_is_invalid),
		cmocka_unit_test(a_token_has_three_parts),
		cmocka_unit_test(other_spellings_of_base64_are_denied),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

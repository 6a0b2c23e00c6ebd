/*
 * test_vault_faults.c - passwords, tokens and signed claims, when the Nth allocation fails, ours or
 * libcrypto's: nothing is left behind, outputs are empty, and nothing is believed for lack of
 * memory.
 */
#include "torture.h"
#include "vault/vault_private.h"

#define KEY KEEP_BYTES("0123456789abcdef0123456789abcdef")
#define CLAIMS KEEP_BYTES("{\"sub\":\"ada\",\"exp\":1700000001,\"iat\":1700000000}")
#define NOW_MS INT64_C(1700000000000)
#define PHC "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc"

/* ---------------------------------------------------------------- signed claims */

static keep_status read_token(keep_bytes token)
{
	kp_arena arena = {.head = NULL};
	const kp_json *claims = NULL;
	keep_bytes key_id;
	keep_status status = kp_jwt_key_id(token, &arena, &key_id, NULL);

	if (status == KEEP_OK) {
		assert_bytes_equal(key_id, KEEP_BYTES("2026-01"));
		status = kp_jwt_verify(KEY, token, NOW_MS, &arena, &claims, NULL);
	} else {
		assert_null(key_id.data);
	}
	assert_int_equal(status == KEEP_OK, claims != NULL);
	kp_arena_release(&arena);
	return status;
}

static keep_status run_claims(void *ctx)
{
	keep_buffer token = KEEP_BUFFER_INIT;
	keep_status status = kp_jwt_sign(KEY, KEEP_BYTES("2026-01"), CLAIMS, &token, NULL);

	(void)ctx;
	if (status == KEEP_OK)
		status = read_token(kp_buffer_bytes(&token));
	else
		assert_int_equal(token.len, 0);
	keep_buffer_release(&token);
	return status;
}

/* Lack of memory may hide that a token is wrong, and never that it is. */
static keep_status run_forged_claims(void *ctx)
{
	keep_status status;

	status = read_token(*(const keep_bytes *)ctx);
	assert_int_not_equal(status, KEEP_OK);
	return status == KEEP_DENIED ? KEEP_OK : status;
}

static void signed_claims_survive_every_failed_allocation(void **state)
{
	keep_buffer token = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_bytes forged;

	(void)state;
	CHECK(torture(KP_FAULT_ALLOC, MAY(KEEP_NO_MEMORY) | MAY(KEEP_OK), run_claims, NULL) > 10,
	      "nothing failed");
	OK(kp_jwt_sign(KEY, KEEP_BYTES("2026-01"), CLAIMS, &token, &err));
	token.data[token.len - 2] = (char)(token.data[token.len - 2] == 'A' ? 'B' : 'A');
	forged = kp_buffer_bytes(&token);
	CHECK(torture(KP_FAULT_ALLOC, MAY(KEEP_NO_MEMORY) | MAY(KEEP_OK), run_forged_claims,
		      &forged) > 5,
	      "nothing failed");
	keep_buffer_release(&token);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- tokens */

static keep_status run_token(void *ctx)
{
	char token[KP_TOKEN_TEXT_SIZE], hash[KP_TOKEN_HASH_TEXT_SIZE];
	unsigned char mac[KP_SHA256_SIZE];
	keep_buffer text = KEEP_BUFFER_INIT, bytes = KEEP_BUFFER_INIT;
	keep_status status = kp_token_make(token, NULL);

	(void)ctx;
	if (status == KEEP_OK)
		status = kp_token_hash(keep_bytes_of(token), hash, NULL);
	if (status == KEEP_OK)
		status = kp_base64url_encode(KEEP_BYTES("ada"), &text, NULL);
	if (status == KEEP_OK)
		status = kp_base64url_decode(kp_buffer_bytes(&text), &bytes, NULL);
	if (status == KEEP_OK)
		status = kp_hmac_sha256(KEY, kp_buffer_bytes(&bytes), mac, NULL);
	if (status == KEEP_OK)
		assert_string_equal(bytes.data, "ada");
	keep_buffer_release(&text);
	kp_secret_release(&bytes);
	return status;
}

static void tokens_survive_every_failed_allocation(void **state)
{
	(void)state;
	CHECK(torture(KP_FAULT_ALLOC, MAY(KEEP_NO_MEMORY) | MAY(KEEP_OK), run_token, NULL) >= 4,
	      "nothing failed");
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- passwords */

static keep_status run_password(void *ctx)
{
	keep_buffer phc = KEEP_BUFFER_INIT;
	bool matches = false, wrong = true;
	keep_status status =
		kp_password_verify(KEEP_BYTES("password"), KEEP_BYTES(PHC), &matches, NULL);

	(void)ctx;
	assert_int_equal(matches, status == KEEP_OK);
	if (status == KEEP_OK)
		status = kp_password_verify(KEEP_BYTES("wrong"), KEEP_BYTES(PHC), &wrong, NULL);
	assert_false(wrong && status == KEEP_OK);
	if (status == KEEP_OK)
		status = kp_password_verify_nobody(KEEP_BYTES("password"), NULL);
	if (status == KEEP_OK) {
		status = kp_password_hash(KEEP_BYTES("password"), &phc, NULL);
		assert_int_equal(phc.len > 0, status == KEEP_OK);
	}
	keep_buffer_release(&phc);
	return status;
}

static void passwords_survive_every_failed_allocation(void **state)
{
	(void)state;
	CHECK(torture(KP_FAULT_ALLOC, MAY(KEEP_NO_MEMORY), run_password, NULL) >= 10,
	      "nothing failed");
	assert_int_equal(kp_password_spent.unwiped, 0);
	assert_nothing_lives();
}

/* libcrypto sets itself up before anything fails: see src/core/digest.c. */
static int set_up(void **state)
{
	(void)state;
	return run_token(NULL) == KEEP_OK ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(signed_claims_survive_every_failed_allocation),
		cmocka_unit_test(tokens_survive_every_failed_allocation),
		cmocka_unit_test(passwords_survive_every_failed_allocation),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}

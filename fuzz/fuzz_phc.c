/*
 * What is no argon2id string is refused with a message that quotes nothing, and leaves nothing. An
 * accepted one is within the bounds, has no second spelling, and libargon2 would take it.
 */
#include "vault/vault_private.h"

#include <argon2.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void check_bounds(const kp_phc *phc)
{
	require(phc->memory_kib >= ARGON2_MIN_MEMORY && phc->memory_kib >= 8 * phc->lanes);
	require(phc->memory_kib <= KP_PASSWORD_MEMORY_KIB_MAX);
	require(phc->passes >= 1 && phc->passes <= KP_PASSWORD_PASSES_MAX);
	require(phc->lanes >= 1 && phc->lanes <= KP_PASSWORD_LANES_MAX);
	require(phc->salt_len >= ARGON2_MIN_SALT_LENGTH && phc->salt_len <= KP_PHC_SALT_BYTES_MAX);
	require(phc->hash_len >= 16 && phc->hash_len <= KP_PHC_HASH_BYTES_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	keep_bytes text = {(const char *)data, size};
	keep_buffer again = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	kp_phc phc, second;

	if (kp_phc_parse(text, &phc, &err) != KEEP_OK) {
		const kp_phc empty = {.salt_len = 0};
		bool matches = true;

		require(err.status == KEEP_INVALID && err.message[0] != '\0');
		require(memcmp(&phc, &empty, sizeof phc) == 0);
		require(!kp_password_is_current(text));
		require(kp_password_verify(KEEP_BYTES("p"), text, &matches, NULL) == KEEP_INVALID);
		require(!matches);
		return 0;
	}
	check_bounds(&phc);
	require(kp_phc_format(&phc, &again, &err) == KEEP_OK);
	require(kp_bytes_equal(kp_buffer_bytes(&again), text));
	require(kp_phc_parse(kp_buffer_bytes(&again), &second, &err) == KEEP_OK);
	require(memcmp(&phc, &second, sizeof phc) == 0);
	/* One so cheap that it can be computed. */
	if (phc.memory_kib <= 256 && phc.passes <= 2) {
		bool matches;

		require(kp_password_verify(KEEP_BYTES("p"), text, &matches, &err) == KEEP_OK);
		require(matches == (argon2id_verify(again.data, "p", 1) == ARGON2_OK));
	}
	keep_buffer_release(&again);
	require(kp_alloc_live() == 0);
	return 0;
}

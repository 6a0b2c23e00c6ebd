/*
 * test_fernet_faults.c - keyrings, Fernet tokens and key files, when the Nth allocation (ours or
 * libcrypto's) or the Nth file call fails: nothing is left behind, outputs are empty, no wrong key
 * is believed and no right one refused for lack of memory, and a key file is whole or not there.
 */
#include "temp_folder.h"
#include "torture.h"
#include "vault/vault_private.h"

#include <dirent.h>
#include <sys/stat.h>

#define KEY_A "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="
#define KEY_B "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define NOW_MS INT64_C(1700000000000)

/* ---------------------------------------------------------------- tokens */

static keep_status read_back(const kp_keyring *ring, keep_bytes token, keep_bytes text)
{
	keep_buffer plain = KEEP_BUFFER_INIT;
	size_t which = 99;
	keep_status status = kp_fernet_decrypt(ring, token, 0, NOW_MS, &plain, &which, NULL);

	assert_int_equal(which, status == KEEP_OK ? 0 : 99);
	if (status == KEEP_OK)
		assert_bytes_equal(kp_buffer_bytes(&plain), text);
	else
		assert_int_equal(plain.len, 0);
	kp_secret_release(&plain);
	return status;
}

static keep_status run_tokens(void *ctx)
{
	keep_buffer token = KEEP_BUFFER_INIT, check = KEEP_BUFFER_INIT;
	static char text[3000];
	kp_keyring *ring = NULL;
	size_t index = 99;
	keep_status status = kp_keyring_open(KEEP_BYTES(KEY_A " " KEY_B), &ring, NULL);

	(void)ctx;
	assert_int_equal(ring != NULL, status == KEEP_OK);
	/* Twice: what failed once is made at the next call, and the ring is as good as new. */
	for (size_t i = 0; i < 2 && status == KEEP_OK; i++) {
		keep_bytes plain = {text, i * sizeof text};

		status = kp_fernet_encrypt(ring, NOW_MS, plain, &token, NULL);
		assert_int_equal(token.len > 0, status == KEEP_OK);
		if (status == KEEP_OK)
			status = read_back(ring, kp_buffer_bytes(&token), plain);
	}
	if (status == KEEP_OK)
		status = kp_keyring_check(ring, 1, NOW_MS, &check, NULL);
	if (status == KEEP_OK)
		status = kp_keyring_verify(ring, kp_buffer_bytes(&check), &index, NULL);
	assert_int_equal(index, status == KEEP_OK ? 1 : 99);
	keep_buffer_release(&token);
	keep_buffer_release(&check);
	kp_keyring_close(&ring);
	return status;
}

static void tokens_survive_every_failed_allocation(void **state)
{
	(void)state;
	CHECK(torture(KP_FAULT_ALLOC, MAY(KEEP_NO_MEMORY) | MAY(KEEP_OK), run_tokens, NULL) > 20,
	      "nothing failed");
	assert_nothing_lives();
}

/* A lack of memory may hide that a token is of another key, and never that it is none of ours. */
static keep_status run_wrong_key(void *ctx)
{
	keep_buffer plain = KEEP_BUFFER_INIT;
	kp_keyring *ring = NULL;
	keep_status status = kp_keyring_open(KEEP_BYTES(KEY_B), &ring, NULL);

	if (status == KEEP_OK) {
		status = kp_fernet_decrypt(ring, *(const keep_bytes *)ctx, -1, 0, &plain, NULL,
					   NULL);
		assert_int_not_equal(status, KEEP_OK);
		assert_int_equal(plain.len, 0);
	}
	kp_secret_release(&plain);
	kp_keyring_close(&ring);
	return status == KEEP_DENIED ? KEEP_OK : status;
}

static void a_wrong_key_is_not_believed_for_lack_of_memory(void **state)
{
	keep_buffer token = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	kp_keyring *ring = NULL;
	keep_bytes bytes;

	(void)state;
	OK(kp_keyring_open(KEEP_BYTES(KEY_A), &ring, &err));
	OK(kp_fernet_encrypt(ring, NOW_MS, KEEP_BYTES("hello"), &token, &err));
	kp_keyring_close(&ring);
	bytes = kp_buffer_bytes(&token);
	CHECK(torture(KP_FAULT_ALLOC, MAY(KEEP_NO_MEMORY), run_wrong_key, &bytes) >= 6,
	      "nothing failed");
	keep_buffer_release(&token);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- key files */

/* How many files are in the folder. */
static size_t count_files(const temp_folder *folder)
{
	DIR *stream = opendir(folder->path);
	size_t count = 0;

	assert_non_null(stream);
	for (struct dirent *entry; (entry = readdir(stream)) != NULL;)
		count += entry->d_name[0] != '.';
	closedir(stream);
	return count;
}

/* Without faults: the keys of a file, which is whole; NULL when there is none. */
static kp_keyring *look_at(const char *path)
{
	keep_buffer keys = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	kp_keyring *ring = NULL;
	keep_status status = kp_key_file_read(path, &keys, &err);

	if (status != KEEP_NOT_FOUND) {
		OK(status);
		OK(kp_keyring_open(kp_buffer_bytes(&keys), &ring, &err));
	}
	kp_secret_release(&keys);
	return ring;
}

struct life {
	temp_folder folder;
	char path[128];
	enum kp_fault_kind kind;
	bool is_made; /* what the last round's kp_key_file_make said */
};

/* The file is made, read, and gets another key. Whatever failed, it is whole or not there. */
static keep_status run_file(void *ctx)
{
	struct life *life = ctx;
	keep_buffer keys = KEEP_BUFFER_INIT;
	const char *where = NULL;
	keep_status status;

	(void)unlink(life->path);
	status = kp_key_file_make(life->path, NULL);
	life->is_made = status == KEEP_OK;
	if (status == KEEP_OK)
		status = kp_keys_find(life->path, &keys, &where, NULL);
	assert_int_equal(where != NULL, status == KEEP_OK);
	assert_int_equal(keys.len > 0, status == KEEP_OK);
	if (status == KEEP_OK)
		status = kp_key_file_put(life->path, KEEP_BYTES(KEY_B), NULL);
	kp_secret_release(&keys);
	return status;
}

/* `torture` with a look at the folder after each round, when nothing fails any more. */
static long torture_file(struct life *life, unsigned expected)
{
	long rounds = 0;

	for (int persistent = 0; persistent <= 1; persistent++) {
		for (long nth = 1, fired = 1; fired > 0; nth++) {
			kp_keyring *ring;
			keep_status status;
			size_t count;

			kp_fault_arm(life->kind, nth, persistent);
			status = run_file(life);
			fired = kp_fault_disarm(life->kind);
			ring = look_at(life->path);
			count = ring ? kp_keyring_count(ring) : 0;
			kp_keyring_close(&ring);
			CHECK(count_files(&life->folder) == (count > 0), "round %ld left a file",
			      nth);
			CHECK(life->is_made == (count > 0), "round %ld is half done", nth);
			CHECK(status != KEEP_OK || count == 2, "round %ld is not right", nth);
			CHECK(fired == 0 ? status == KEEP_OK : (expected & MAY(status)) != 0,
			      "round %ld: %s", nth, keep_status_name(status));
			/* A key that was put as far as the rename is put again. */
			if (count == 2)
				assert_int_equal(
					kp_key_file_put(life->path, KEEP_BYTES(KEY_B), NULL),
					KEEP_OK);
			rounds += fired > 0;
			assert_nothing_lives();
		}
	}
	return rounds;
}

static void key_files_survive_every_failed_file_call(void **state)
{
	struct life life = {.kind = KP_FAULT_FILE};

	(void)state;
	temp_folder_make(&life.folder);
	temp_path(&life.folder, "key", life.path);
	CHECK(torture_file(&life, MAY(KEEP_UNAVAILABLE)) >= 24, "nothing failed");
	temp_folder_remove(&life.folder);
	assert_nothing_lives();
}

static void key_files_survive_every_failed_allocation(void **state)
{
	struct life life = {.kind = KP_FAULT_ALLOC};

	(void)state;
	temp_folder_make(&life.folder);
	temp_path(&life.folder, "key", life.path);
	CHECK(torture_file(&life, MAY(KEEP_NO_MEMORY)) >= 16, "nothing failed");
	temp_folder_remove(&life.folder);
	assert_nothing_lives();
}

/* libcrypto sets itself up before anything fails: see src/core/digest.c. */
static int set_up(void **state)
{
	(void)state;
	return run_tokens(NULL) == KEEP_OK ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tokens_survive_every_failed_allocation),
		cmocka_unit_test(a_wrong_key_is_not_believed_for_lack_of_memory),
		cmocka_unit_test(key_files_survive_every_failed_file_call),
		cmocka_unit_test(key_files_survive_every_failed_allocation),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}

/*
 * password.c - passwords: argon2id by libargon2, within bounds, a few at a time.
 *
 * Invariants:
 *   1. libargon2 sees only what kp_phc_parse has checked, or our own constants: nothing that is
 *      stored can make it take more than vault.h says.
 *   2. At most KP_PASSWORD_AT_ONCE hashes run at once, in the order in which they were asked for;
 *      so a crowd of logins takes four times one hash's memory and not a crowd's.
 *   3. A hash runs in the thread that asks for it. libargon2 of 2017 with threads of its own leaves
 *      its memory behind when one cannot be started, while the others still write to it. The lanes
 *      are a number in the computation; the result is the same.
 *   4. The working memory comes from kp_alloc and was wiped by libargon2 before it is freed.
 *      Computed and stored hashes are wiped, also after a failure.
 *   5. kp_password_verify_nobody is kp_password_verify with a constant: an unknown user costs what
 *      a known one costs, as long as stored hashes are current (kp_password_is_current).
 *   6. A password that kp_password_hash would refuse matches nothing, and costs nothing, whoever
 *      the user is.
 *
 * The line of those who wait is this file's only mutable state, under its mutex. A limit for the
 * process cannot lie in a caller's handle, since each opener has its own.
 *
 * What it does not do: count tries, slow down who guesses, or give up waiting.
 *
 * Tests: tests/unit/test_password.c, tests/torture/test_vault_faults.c.
 */
#include "vault/vault_private.h"

#include <argon2.h>
#include <pthread.h>

#define SALT_BYTES 16
#define HASH_BYTES 32

/* Of the cost of a new hash, which a test compares; no password is known to give it. */
#define NOBODY                                                                                     \
	"$argon2id$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA$"                                   \
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

/* ---------------------------------------------------------------- a few at a time */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t moved;
	uint64_t asked;    /* turns that were given out */
	uint64_t finished; /* hashes that have ended */
} line = {.lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};

/*
 * Turn n may begin once n - KP_PASSWORD_AT_ONCE + 1 hashes have ended, and all before it may have
 * begun by then. Who wakes late can find more than n ended, so nothing is subtracted here.
 */
static void wait_for_turn(void)
{
	uint64_t turn;

	pthread_mutex_lock(&line.lock);
	turn = line.asked++;
	while (turn >= line.finished + KP_PASSWORD_AT_ONCE)
		pthread_cond_wait(&line.moved, &line.lock);
	pthread_mutex_unlock(&line.lock);
}

static void end_turn(void)
{
	pthread_mutex_lock(&line.lock);
	line.finished++;
	pthread_cond_broadcast(&line.moved);
	pthread_mutex_unlock(&line.lock);
}

/* ---------------------------------------------------------------- what tests look at */

#ifdef KP_FAULTS
struct kp_password_spent kp_password_spent;

uint64_t kp_password_asked(void)
{
	uint64_t asked;

	pthread_mutex_lock(&line.lock);
	asked = line.asked;
	pthread_mutex_unlock(&line.lock);
	return asked;
}

static void note_hash(const argon2_context *context)
{
	pthread_mutex_lock(&line.lock);
	kp_password_spent.hashes++;
	kp_password_spent.memory_kib = context->m_cost;
	kp_password_spent.passes = context->t_cost;
	kp_password_spent.lanes = context->lanes;
	kp_password_spent.password_len = context->pwdlen;
	kp_password_spent.salt_len = context->saltlen;
	kp_password_spent.hash_len = context->outlen;
	pthread_mutex_unlock(&line.lock);
}

static void note_free(const uint8_t *memory, size_t size)
{
	size_t i = 0;

	while (i < size && memory[i] == 0)
		i++;
	pthread_mutex_lock(&line.lock);
	kp_password_spent.unwiped += i < size;
	pthread_mutex_unlock(&line.lock);
}
#else
static void note_hash(const argon2_context *context)
{
	(void)context;
}

static void note_free(const uint8_t *memory, size_t size)
{
	(void)memory;
	(void)size;
}
#endif

/* ---------------------------------------------------------------- argon2id */

static int take_memory(uint8_t **memory, size_t size)
{
	*memory = kp_alloc(size);
	return *memory ? ARGON2_OK : ARGON2_MEMORY_ALLOCATION_ERROR;
}

static void give_memory(uint8_t *memory, size_t size)
{
	note_free(memory, size);
	kp_free(memory);
}

/* The password's hash with phc's cost, salt and length. */
static keep_status compute_hash(keep_bytes password, const kp_phc *phc, unsigned char *hash,
				keep_error *err)
{
	argon2_context context = {
		.out = hash,
		.outlen = (uint32_t)phc->hash_len,
		/* Only read: the flags that would wipe them are not set. */
		.pwd = (uint8_t *)(uintptr_t)password.data,
		.pwdlen = (uint32_t)password.len,
		.salt = (uint8_t *)(uintptr_t)phc->salt,
		.saltlen = (uint32_t)phc->salt_len,
		.t_cost = phc->passes,
		.m_cost = phc->memory_kib,
		.lanes = phc->lanes,
		.threads = 1,
		.version = ARGON2_VERSION_13,
		.allocate_cbk = take_memory,
		.free_cbk = give_memory,
		.flags = ARGON2_DEFAULT_FLAGS,
	};
	int result;

	wait_for_turn();
	note_hash(&context);
	kp_moment("password.hashing");
	result = argon2id_ctx(&context);
	end_turn();
	if (result == ARGON2_MEMORY_ALLOCATION_ERROR)
		return kp_fail(err, KEEP_NO_MEMORY, "no memory for %u KiB of argon2id",
			       (unsigned)phc->memory_kib);
	if (result != ARGON2_OK)
		return kp_fail(err, KEEP_MISUSE, "argon2id: %s", argon2_error_message(result));
	return KEEP_OK;
}

/* ---------------------------------------------------------------- passwords */

static bool is_password(keep_bytes password)
{
	return password.data && password.len >= 1 && password.len <= KP_PASSWORD_BYTES_MAX;
}

keep_status kp_password_hash(keep_bytes password, keep_buffer *phc, keep_error *err)
{
	kp_phc made = {
		.memory_kib = KP_PASSWORD_MEMORY_KIB,
		.passes = KP_PASSWORD_PASSES,
		.lanes = KP_PASSWORD_LANES,
		.salt_len = SALT_BYTES,
		.hash_len = HASH_BYTES,
	};
	keep_status status;

	kp_output_clear(phc);
	if (!is_password(password))
		return kp_fail(err, KEEP_INVALID, "a password has 1 to %d bytes",
			       KP_PASSWORD_BYTES_MAX);
	status = kp_random_bytes(made.salt, SALT_BYTES, err);
	if (status == KEEP_OK)
		status = compute_hash(password, &made, made.hash, err);
	if (status == KEEP_OK)
		status = kp_phc_format(&made, phc, err);
	kp_wipe(&made, sizeof made);
	return status;
}

keep_status kp_password_verify(keep_bytes password, keep_bytes phc, bool *matches, keep_error *err)
{
	unsigned char hash[KP_PHC_HASH_BYTES_MAX] = {0};
	kp_phc stored;
	keep_status status = kp_phc_parse(phc, &stored, err);

	*matches = false;
	if (status == KEEP_OK && is_password(password)) {
		status = compute_hash(password, &stored, hash, err);
		if (status == KEEP_OK)
			*matches = kp_secret_equal(
				(keep_bytes){(const char *)hash, stored.hash_len},
				(keep_bytes){(const char *)stored.hash, stored.hash_len});
	}
	kp_wipe(hash, sizeof hash);
	kp_wipe(&stored, sizeof stored);
	return status;
}

bool kp_password_is_current(keep_bytes phc)
{
	kp_phc stored;
	bool is_current = kp_phc_parse(phc, &stored, NULL) == KEEP_OK &&
			  stored.memory_kib == KP_PASSWORD_MEMORY_KIB &&
			  stored.passes == KP_PASSWORD_PASSES && stored.lanes == KP_PASSWORD_LANES;

	kp_wipe(&stored, sizeof stored);
	return is_current;
}

keep_status kp_password_verify_nobody(keep_bytes password, keep_error *err)
{
	bool matches;

	return kp_password_verify(password, KEEP_BYTES(NOBODY), &matches, err);
}

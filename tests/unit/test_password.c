/*
 * test_password.c - argon2id: published hashes, libargon2 as the other side, every way a stored
 * string can be wrong, and what is spent on whom.
 *
 * Nothing here is timed. The library counts what it asked of libargon2 (vault_private.h), which
 * tells whether something was computed and at what cost.
 */
#include "vault/vault_private.h"
#include "vectors.h"

#include <argon2.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

/* A cheap string of the password "password": the first test proves it. */
#define CHEAP "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc"
#define SALT "$c29tZXNhbHQ"
#define HASH "$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc"
/* Digits of 15 and of 64 zero bytes. */
#define A20 "AAAAAAAAAAAAAAAAAAAA"
#define A86 A20 A20 A20 A20 "AAAAAA"

/* ---------------------------------------------------------------- published hashes */

/* From libargon2's own tests. */
static const struct {
	const char *password, *phc;
} published[] = {
	{"password",
	 "$argon2id$v=19$m=256,t=2,p=1" SALT "$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"},
	{"password", CHEAP},
	{"password",
	 "$argon2id$v=19$m=65536,t=2,p=1" SALT "$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"},
	{"password",
	 "$argon2id$v=19$m=65536,t=1,p=1" SALT "$9qWtwbpyPd3vm1rB1GThgPzZ3/ydHL92zKL+15XZypg"},
	{"differentpassword",
	 "$argon2id$v=19$m=65536,t=2,p=1" SALT "$C4TWUs9rDEvq7w3+J4umqA32aWKB1+DSiRuBfYxFj94"},
	{"password", "$argon2id$v=19$m=65536,t=2,p=1$ZGlmZnNhbHQ"
		     "$vfMrBczELrFdWP0ZsfhWsRPaHppYdP3MVEMIVlqoFBw"},
};

static bool matches(const char *password, const char *phc)
{
	keep_error err = KEEP_ERROR_INIT;
	bool found = false;

	OK(kp_password_verify(keep_bytes_of(password), keep_bytes_of(phc), &found, &err));
	return found;
}

static void published_hashes_verify(void **state)
{
	(void)state;
	for (size_t i = 0; i < KP_COUNT(published); i++) {
		CHECK(matches(published[i].password, published[i].phc), "%s", published[i].phc);
		if (i < 2)
			CHECK(!matches("passwore", published[i].phc), "%s", published[i].phc);
	}
	assert_nothing_lives();
}

static void every_vector_of_the_folder_verifies(void **state)
{
	keep_buffer hash = KEEP_BUFFER_INIT, again = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	test_vectors vectors;

	(void)state;
	if (!vectors_open(&vectors, "argon2/argon2id.json"))
		return;
	assert_true(vectors.root->list.count > 0);
	for (size_t i = 0; i < vectors.root->list.count; i++) {
		const kp_json *vector = &vectors.root->list.items[i];
		keep_bytes phc = vectors_text(vector, "phc");
		bool found = false;
		kp_phc parsed;

		OK(kp_phc_parse(phc, &parsed, &err));
		assert_int_equal(parsed.memory_kib, 1 << kp_json_member(vector, "m_log2")->integer);
		assert_int_equal(parsed.passes, kp_json_member(vector, "t")->integer);
		assert_int_equal(parsed.lanes, kp_json_member(vector, "p")->integer);
		assert_bytes_equal((keep_bytes){(const char *)parsed.salt, parsed.salt_len},
				   vectors_text(vector, "salt"));
		vectors_unhex(vectors_text(vector, "hash_hex"), &hash);
		assert_true(kp_bytes_equal((keep_bytes){(const char *)parsed.hash, parsed.hash_len},
					   kp_buffer_bytes(&hash)));
		OK(kp_phc_format(&parsed, &again, &err));
		assert_bytes_equal(kp_buffer_bytes(&again), phc);
		OK(kp_password_verify(vectors_text(vector, "password"), phc, &found, &err));
		CHECK(found, "%" KP_PRI, KP_ARG(phc));
	}
	vectors_close(&vectors);
	keep_buffer_release(&hash);
	keep_buffer_release(&again);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- libargon2 as the other side */

static void what_libargon2_writes_verifies(void **state)
{
	uint64_t seed = test_seed();

	(void)state;
	for (int round = 0; round < 200; round++) {
		uint32_t lanes = 1 + (uint32_t)(next_random(&seed) % KP_PASSWORD_LANES_MAX);
		uint32_t memory = 8 * lanes + (uint32_t)(next_random(&seed) % 300);
		uint32_t passes = 1 + (uint32_t)(next_random(&seed) % KP_PASSWORD_PASSES_MAX);
		size_t salt_len = 8 + next_random(&seed) % 57, hash_len = 16;
		char salt[64], password[64], phc[512];
		keep_error err = KEEP_ERROR_INIT;
		bool found = false;
		size_t len = 1 + next_random(&seed) % sizeof password;

		hash_len += next_random(&seed) % 49;
		for (size_t i = 0; i < sizeof salt; i++) {
			salt[i] = (char)next_random(&seed);
			password[i] = (char)next_random(&seed);
		}
		assert_int_equal(argon2id_hash_encoded(passes, memory, lanes, password, len, salt,
						       salt_len, hash_len, phc, sizeof phc),
				 ARGON2_OK);
		OK(kp_password_verify((keep_bytes){password, len}, keep_bytes_of(phc), &found,
				      &err));
		CHECK(found, "%s", phc);
		password[next_random(&seed) % len] ^= 1;
		OK(kp_password_verify((keep_bytes){password, len}, keep_bytes_of(phc), &found,
				      &err));
		CHECK(!found, "%s", phc);
	}
	assert_nothing_lives();
}

static void libargon2_verifies_what_is_written_here(void **state)
{
	keep_buffer first = KEEP_BUFFER_INIT, second = KEEP_BUFFER_INIT;
	keep_bytes password = KEEP_BYTES("pass\0word \xff");
	keep_error err = KEEP_ERROR_INIT;
	bool found = false;

	(void)state;
	OK(kp_password_hash(password, &first, &err));
	OK(kp_buffer_append_text(&second, "what was there", &err));
	OK(kp_password_hash(password, &second, &err));
	assert_memory_equal(first.data, "$argon2id$v=19$m=65536,t=3,p=4$", 31);
	assert_int_equal(first.len, 31 + 22 + 1 + 43);
	assert_int_equal(second.len, first.len);
	CHECK(memcmp(first.data + 31, second.data + 31, 22) != 0, "two salts are one");
	assert_int_equal(argon2id_verify(first.data, password.data, password.len), ARGON2_OK);
	OK(kp_password_verify(password, kp_buffer_bytes(&second), &found, &err));
	assert_true(found);
	assert_true(kp_password_is_current(kp_buffer_bytes(&first)));
	keep_buffer_release(&first);
	keep_buffer_release(&second);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- strings that are refused */

static const char *const refused[] = {
	"",
	"$",
	"password",
	/* a field is missing */
	"argon2id$v=19$m=256,t=2,p=2" SALT HASH,
	"$v=19$m=256,t=2,p=2" SALT HASH,
	"$argon2id$m=256,t=2,p=2" SALT HASH,
	"$argon2id$v=19$t=2,p=2" SALT HASH,
	"$argon2id$v=19$m=256,p=2" SALT HASH,
	"$argon2id$v=19$m=256,t=2" SALT HASH,
	"$argon2id$v=19" SALT HASH,
	"$argon2id$v=19$m=256,t=2,p=2",
	"$argon2id$v=19$m=256,t=2,p=2" SALT,
	"$argon2id$v=19$m=256,t=2,p=2" SALT "$",
	"$argon2id$v=19$m=256,t=2,p=2$" HASH,
	"$argon2id$v=19$m=256,t=2,p=2$",
	/* a field is empty */
	"$argon2id$v=$m=256,t=2,p=2" SALT HASH,
	"$argon2id$v=19$m=,t=2,p=2" SALT HASH,
	"$argon2id$v=19$m=256,t=,p=2" SALT HASH,
	"$argon2id$v=19$m=256,t=2,p=" SALT HASH,
	"$argon2id$v=19$$m=256,t=2,p=2" SALT HASH,
	"$argon2id$v=19$m=256,,t=2,p=2" SALT HASH,
	"$argon2id$v=19$m=256,t=2,p=2,$c29tZXNhbHQ" HASH,
	/* a field stands twice, or in another place */
	"$argon2id$argon2id$v=19$m=256,t=2,p=2" SALT HASH,
	"$argon2id$v=19$v=19$m=256,t=2,p=2" SALT HASH,
	"$argon2id$v=19$m=256,m=256,t=2,p=2" SALT HASH,
	"$argon2id$v=19$m=256,t=2,t=2,p=2" SALT HASH,
	"$argon2id$v=19$m=256,t=2,p=2,p=2" SALT HASH,
	"$argon2id$v=19$m=256,t=2,p=2" SALT SALT HASH,
	"$argon2id$v=19$m=256,t=2,p=2" SALT HASH HASH,
	"$argon2id$v=19$t=2,m=256,p=2" SALT HASH,
	"$argon2id$v=19$m=256,p=2,t=2" SALT HASH,
	"$argon2id$v=19$p=2,t=2,m=256" SALT HASH,
	"$argon2id$m=256,t=2,p=2$v=19" SALT HASH,
	"$v=19$argon2id$m=256,t=2,p=2" SALT HASH,
	/* optional fields */
	"$argon2id$v=19$m=256,t=2,p=2,keyid=AAAA" SALT HASH,
	"$argon2id$v=19$m=256,t=2,p=2,data=AAAA" SALT HASH,
	"$argon2id$v=19$keyid=AAAA,m=256,t=2,p=2" SALT HASH,
	/* another algorithm or version */
	"$argon2i$v=19$m=256,t=2,p=2" SALT HASH,
	"$argon2d$v=19$m=256,t=2,p=2" SALT HASH,
	"$argon2$v=19$m=256,t=2,p=2" SALT HASH,
	"$Argon2id$v=19$m=256,t=2,p=2" SALT HASH,
	"$argon2idx$v=19$m=256,t=2,p=2" SALT HASH,
	"$argon2id$v=16$m=256,t=2,p=2" SALT HASH,
	"$argon2id$v=18$m=256,t=2,p=2" SALT HASH,
	"$argon2id$v=20$m=256,t=2,p=2" SALT HASH,
	"$argon2id$v=190$m=256,t=2,p=2" SALT HASH,
	"$argon2id$v=019$m=256,t=2,p=2" SALT HASH,
	"$argon2id$v=0x13$m=256,t=2,p=2" SALT HASH,
	"$2b$12$abcdefghijklmnopqrstuuAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	"$scrypt$ln=15,r=8,p=1$c29tZXNhbHQ$bQk8UB",
	/* beyond the bounds */
	"$argon2id$v=19$m=0,t=2,p=2" SALT HASH,
	"$argon2id$v=19$m=7,t=2,p=1" SALT HASH,
	"$argon2id$v=19$m=15,t=2,p=2" SALT HASH,
	"$argon2id$v=19$m=127,t=1,p=16" SALT HASH,
	"$argon2id$v=19$m=1048577,t=2,p=2" SALT HASH,
	"$argon2id$v=19$m=256,t=0,p=2" SALT HASH,
	"$argon2id$v=19$m=256,t=11,p=2" SALT HASH,
	"$argon2id$v=19$m=256,t=2,p=0" SALT HASH,
	"$argon2id$v=19$m=256,t=2,p=17" SALT HASH,
	/* 2^32 and 2^64, and more, are not what is left of them */
	"$argon2id$v=19$m=4294967552,t=2,p=2" SALT HASH,
	"$argon2id$v=19$m=18446744073709551872,t=2,p=2" SALT HASH,
	"$argon2id$v=19$m=340282366920938463463374607431768211712,t=2,p=2" SALT HASH,
	"$argon2id$v=19$m=256,t=4294967298,p=2" SALT HASH,
	"$argon2id$v=19$m=256,t=18446744073709551618,p=2" SALT HASH,
	"$argon2id$v=19$m=256,t=2,p=4294967298" SALT HASH,
	"$argon2id$v=19$m=256,t=2,p=18446744073709551618" SALT HASH,
	/* numbers that nobody writes so */
	"$argon2id$v=19$m=0256,t=2,p=2" SALT HASH,
	"$argon2id$v=19$m=+256,t=2,p=2" SALT HASH,
	"$argon2id$v=19$m=-256,t=2,p=2" SALT HASH,
	"$argon2id$v=19$m= 256,t=2,p=2" SALT HASH,
	"$argon2id$v=19$m=256 ,t=2,p=2" SALT HASH,
	"$argon2id$v=19$m=0x100,t=2,p=2" SALT HASH,
	"$argon2id$v=19$m=256.0,t=2,p=2" SALT HASH,
	"$argon2id$v=19$m=2e2,t=2,p=2" SALT HASH,
	"$argon2id$v=19$m=256,t=02,p=2" SALT HASH,
	"$argon2id$v=19$m=256,t=2,p=02" SALT HASH,
	"$argon2id$v=19$M=256,t=2,p=2" SALT HASH,
	/* lengths: 7 and 65 bytes of salt, 15 and 65 of hash */
	"$argon2id$v=19$m=256,t=2,p=2$AAAAAAAAAA" HASH,
	"$argon2id$v=19$m=256,t=2,p=2$" A86 "A" HASH,
	"$argon2id$v=19$m=256,t=2,p=2$" A86 A86 A86 A86 HASH,
	"$argon2id$v=19$m=256,t=2,p=2" SALT "$" A20,
	"$argon2id$v=19$m=256,t=2,p=2" SALT "$" A86 "A",
	"$argon2id$v=19$m=256,t=2,p=2" SALT "$" A86 A86 A86 A86,
	/* base64 that is not as it is written: padding, alphabet, a digit alone, unused bits */
	"$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ=" HASH,
	"$argon2id$v=19$m=256,t=2,p=2" SALT HASH "=",
	"$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHR" HASH,
	"$argon2id$v=19$m=256,t=2,p=2$c29tZXNhb" HASH,
	"$argon2id$v=19$m=256,t=2,p=2$c29tZXNh-HQ" HASH,
	"$argon2id$v=19$m=256,t=2,p=2$c29tZXNh_HQ" HASH,
	"$argon2id$v=19$m=256,t=2,p=2$c29tZ XNhbHQ" HASH,
	"$argon2id$v=19$m=256,t=2,p=2" SALT "$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDd",
	/* something before or behind */
	" " CHEAP,
	CHEAP " ",
	CHEAP "\n",
	CHEAP "$",
	CHEAP "$AAAA",
	"$" CHEAP,
};

static void want_refused(keep_bytes phc)
{
	uint64_t hashes = kp_password_spent.hashes;
	keep_error err = KEEP_ERROR_INIT;
	bool found = true;

	CHECK(kp_password_verify(KEEP_BYTES("password"), phc, &found, &err) == KEEP_INVALID,
	      "%" KP_PRI, KP_ARG(phc));
	assert_false(found);
	assert_int_equal(err.status, KEEP_INVALID);
	CHECK(!strstr(err.message, "c29t") && !strstr(err.message, "bQk8"), "%s", err.message);
	CHECK(kp_password_spent.hashes == hashes, "something was computed");
	assert_false(kp_password_is_current(phc));
}

static void a_string_that_is_wrong_anywhere_is_refused_before_anything_is_computed(void **state)
{
	(void)state;
	for (size_t i = 0; i < KP_COUNT(refused); i++)
		want_refused(keep_bytes_of(refused[i]));
	want_refused((keep_bytes){.data = NULL});
	want_refused(KEEP_BYTES(CHEAP "\0"));
	want_refused(KEEP_BYTES("$argon2id\0$v=19$m=256,t=2,p=2" SALT HASH));
	for (size_t len = 0; len < strlen(CHEAP); len++) {
		kp_phc parsed;
		keep_status status = kp_phc_parse((keep_bytes){CHEAP, len}, &parsed, NULL);

		/* Only an end within the hash can leave a shorter one. */
		CHECK(status == KEEP_INVALID || len >= strlen(CHEAP) - strlen(HASH) + 23,
		      "the first %zu bytes", len);
	}
	assert_nothing_lives();
}

/* Whatever is accepted has no second spelling. */
static void one_value_has_one_text(void **state)
{
	keep_buffer again = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char text[] = CHEAP "\0";
	size_t accepted = 0;

	(void)state;
	for (size_t at = 0; at <= strlen(CHEAP); at++) {
		char before = text[at];

		for (int byte = 0; byte < 256; byte++) {
			keep_bytes changed = {text, strlen(CHEAP) + (at == strlen(CHEAP))};
			kp_phc parsed;

			text[at] = (char)byte;
			if (kp_phc_parse(changed, &parsed, &err) != KEEP_OK) {
				assert_memory_equal(&parsed, (&(kp_phc){.salt_len = 0}),
						    sizeof parsed);
				continue;
			}
			accepted++;
			OK(kp_phc_format(&parsed, &again, &err));
			assert_bytes_equal(kp_buffer_bytes(&again), changed);
		}
		text[at] = before;
	}
	CHECK(accepted > 50 * 63, "%zu were accepted", accepted);
	keep_buffer_release(&again);
	assert_nothing_lives();
}

static void bounds_are_accepted_at_their_edges(void **state)
{
	static const char *const edges[] = {
		"$argon2id$v=19$m=8,t=1,p=1$" A20 "$" A20 "AA",
		"$argon2id$v=19$m=128,t=10,p=16$AAAAAAAAAAA$" A86,
		"$argon2id$v=19$m=8,t=1,p=1$" A86 "$" A86,
	};
	keep_error err = KEEP_ERROR_INIT;
	kp_phc parsed;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(edges); i++) {
		uint64_t hashes = kp_password_spent.hashes;

		assert_false(matches("password", edges[i]));
		assert_int_equal(kp_password_spent.hashes, hashes + 1);
	}
	/* A gibibyte is read, and not computed here. */
	OK(kp_phc_parse(KEEP_BYTES("$argon2id$v=19$m=1048576,t=10,p=16" SALT HASH), &parsed, &err));
	assert_int_equal(parsed.memory_kib, KP_PASSWORD_MEMORY_KIB_MAX);
	assert_int_equal(parsed.passes, KP_PASSWORD_PASSES_MAX);
	assert_int_equal(parsed.lanes, KP_PASSWORD_LANES_MAX);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- what is spent on whom */

static void a_password_has_1_to_1024_bytes(void **state)
{
	static char password[KP_PASSWORD_BYTES_MAX + 1];
	const keep_bytes wrong[] = {
		{NULL, 0}, {"", 0}, {password, KP_PASSWORD_BYTES_MAX + 1}, {password, SIZE_MAX}};
	keep_buffer phc = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	uint64_t hashes;
	bool found = false;

	(void)state;
	memset(password, 'p', sizeof password);
	OK(kp_password_hash((keep_bytes){password, KP_PASSWORD_BYTES_MAX}, &phc, &err));
	OK(kp_password_verify((keep_bytes){password, KP_PASSWORD_BYTES_MAX}, kp_buffer_bytes(&phc),
			      &found, &err));
	assert_true(found);
	/* All of it counts. */
	password[KP_PASSWORD_BYTES_MAX - 1] = 'q';
	OK(kp_password_verify((keep_bytes){password, KP_PASSWORD_BYTES_MAX}, kp_buffer_bytes(&phc),
			      &found, &err));
	assert_false(found);
	OK(kp_password_verify(KEEP_BYTES("p"), KEEP_BYTES(CHEAP), &found, &err));
	assert_false(found);
	hashes = kp_password_spent.hashes;
	for (size_t i = 0; i < KP_COUNT(wrong); i++) {
		assert_int_equal(kp_password_hash(wrong[i], &phc, &err), KEEP_INVALID);
		assert_int_equal(phc.len, 0);
		found = true;
		OK(kp_password_verify(wrong[i], KEEP_BYTES(CHEAP), &found, &err));
		assert_false(found);
		OK(kp_password_verify_nobody(wrong[i], &err));
	}
	assert_int_equal(kp_password_spent.hashes, hashes);
	keep_buffer_release(&phc);
	assert_nothing_lives();
}

static void an_unknown_user_costs_what_a_wrong_password_costs(void **state)
{
	struct kp_password_spent before = kp_password_spent, known, unknown;
	keep_buffer phc = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	bool found = true;

	(void)state;
	OK(kp_password_hash(KEEP_BYTES("password"), &phc, &err));
	assert_int_equal(kp_password_spent.hashes, before.hashes + 1);
	OK(kp_password_verify(KEEP_BYTES("wrong"), kp_buffer_bytes(&phc), &found, &err));
	assert_false(found);
	known = kp_password_spent;
	assert_int_equal(known.hashes, before.hashes + 2);
	OK(kp_password_verify_nobody(KEEP_BYTES("wrong"), &err));
	unknown = kp_password_spent;
	assert_int_equal(unknown.hashes, before.hashes + 3);
	assert_int_equal(unknown.memory_kib, KP_PASSWORD_MEMORY_KIB);
	assert_int_equal(unknown.passes, KP_PASSWORD_PASSES);
	assert_int_equal(unknown.lanes, KP_PASSWORD_LANES);
	unknown.hashes = known.hashes;
	assert_memory_equal(&unknown, &known, sizeof known);
	keep_buffer_release(&phc);
	assert_nothing_lives();
}

static void what_costs_something_else_is_not_current(void **state)
{
	(void)state;
	assert_true(kp_password_is_current(KEEP_BYTES("$argon2id$v=19$m=65536,t=3,p=4" SALT HASH)));
	assert_false(
		kp_password_is_current(KEEP_BYTES("$argon2id$v=19$m=65535,t=3,p=4" SALT HASH)));
	assert_false(
		kp_password_is_current(KEEP_BYTES("$argon2id$v=19$m=131072,t=3,p=4" SALT HASH)));
	assert_false(
		kp_password_is_current(KEEP_BYTES("$argon2id$v=19$m=65536,t=4,p=4" SALT HASH)));
	assert_false(
		kp_password_is_current(KEEP_BYTES("$argon2id$v=19$m=65536,t=3,p=1" SALT HASH)));
	assert_false(kp_password_is_current(KEEP_BYTES("$argon2i$v=19$m=65536,t=3,p=4" SALT HASH)));
}

/* ---------------------------------------------------------------- a few at a time */

#define CROWD 12

static struct {
	atomic_int inside, most, wrong;
	uint64_t asked_before;
} crowd;

/* Whoever hashes stays until all have asked, so that without a limit all would be inside. */
static void stay(void *ctx, const char *name)
{
	int inside = atomic_fetch_add(&crowd.inside, 1) + 1, most = atomic_load(&crowd.most);

	(void)ctx;
	(void)name;
	while (inside > most && !atomic_compare_exchange_weak(&crowd.most, &most, inside))
		;
	while (kp_password_asked() - crowd.asked_before < CROWD ||
	       atomic_load(&crowd.most) < KP_PASSWORD_AT_ONCE)
		sched_yield();
	atomic_fetch_sub(&crowd.inside, 1);
}

static void *log_in(void *ctx)
{
	bool found = false;

	(void)ctx;
	if (kp_password_verify(KEEP_BYTES("password"), KEEP_BYTES(CHEAP), &found, NULL) !=
		    KEEP_OK ||
	    !found)
		atomic_fetch_add(&crowd.wrong, 1);
	return NULL;
}

static void four_are_hashed_at_once_and_no_more(void **state)
{
	pthread_t threads[CROWD];

	(void)state;
	crowd.asked_before = kp_password_asked();
	kp_moment_inject(stay, NULL);
	for (size_t i = 0; i < CROWD; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, log_in, NULL), 0);
	for (size_t i = 0; i < CROWD; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	kp_moment_inject(NULL, NULL);
	assert_int_equal(atomic_load(&crowd.most), KP_PASSWORD_AT_ONCE);
	assert_int_equal(atomic_load(&crowd.wrong), 0);
	assert_nothing_lives();
}

static void *log_in_often(void *ctx)
{
	static const char phc[] = "$argon2id$v=19$m=8,t=1,p=1$" A20 "$" A20 "AA";

	(void)ctx;
	for (int i = 0; i < 500; i++) {
		bool found = true;

		if (kp_password_verify(KEEP_BYTES("p"), keep_bytes_of(phc), &found, NULL) !=
			    KEEP_OK ||
		    found)
			atomic_fetch_add(&crowd.wrong, 1);
	}
	return NULL;
}

/* Some wake so late that others have overtaken them many times. */
static void nobody_waits_for_ever(void **state)
{
	uint64_t hashes = kp_password_spent.hashes;
	pthread_t threads[CROWD];

	(void)state;
	for (size_t i = 0; i < CROWD; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, log_in_often, NULL), 0);
	for (size_t i = 0; i < CROWD; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(atomic_load(&crowd.wrong), 0);
	assert_int_equal(kp_password_spent.hashes, hashes + CROWD * 500);
	assert_nothing_lives();
}

/* Runs last: what all the hashes above have left in memory. */
static void the_working_memory_was_wiped_each_time(void **state)
{
	(void)state;
	assert_true(kp_password_spent.hashes > 200);
	assert_int_equal(kp_password_spent.unwiped, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(published_hashes_verify),
		cmocka_unit_test(every_vector_of_the_folder_verifies),
		cmocka_unit_test(what_libargon2_writes_verifies),
		cmocka_unit_test(libargon2_verifies_what_is_written_here),
		cmocka_unit_test(
			a_string_that_is_wrong_anywhere_is_refused_before_anything_is_computed),
		cmocka_unit_test(one_value_has_one_text),
		cmocka_unit_test(bounds_are_accepted_at_their_edges),
		cmocka_unit_test(a_password_has_1_to_1024_bytes),
		cmocka_unit_test(an_unknown_user_costs_what_a_wrong_password_costs),
		cmocka_unit_test(what_costs_something_else_is_not_current),
		cmocka_unit_test(four_are_hashed_at_once_and_no_more),
		cmocka_unit_test(nobody_waits_for_ever),
		cmocka_unit_test(the_working_memory_was_wiped_each_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * bench_fernet.c - Fernet tokens of the vault beside libcrypto's one-shot calls.
 *
 *     bench_fernet [PAIRS]
 *
 * A pair is one text encrypted and decrypted again. The other side does what a straightforward
 * program does: RAND_bytes for the IV, contexts made anew for each message, HMAC(), EVP_EncodeBlock
 * and EVP_DecodeBlock with the two differing digits exchanged. Both sides' tokens are read by the
 * other once, before anything is measured.
 */
#include "bench.h"
#include "vault/vault.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="
#define TEXT_MAX 65536
#define TOKEN_MAX (TEXT_MAX * 2)
#define NOW_MS INT64_C(1700000000000)
#define THREADS 2

struct bench {
	kp_keyring *ring;
	unsigned char key[33];
	size_t len;
	unsigned char text[TEXT_MAX];
};

static void must(keep_status status, const keep_error *err)
{
	if (status != KEEP_OK)
		bench_fail("%s: %s", keep_status_name(status), err->message);
}

/* ---------------------------------------------------------------- one-shot calls */

static void exchange(unsigned char *text, size_t len, const char from[2], const char to[2])
{
	for (size_t i = 0; i < len; i++) {
		if (text[i] == from[0])
			text[i] = to[0];
		else if (text[i] == from[1])
			text[i] = to[1];
	}
}

static size_t encrypt_plainly(const struct bench *bench, unsigned char *token)
{
	static unsigned char bytes[TOKEN_MAX];
	EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
	unsigned mac_len = 0;
	int len = 0, last = 0, digits;

	bytes[0] = 0x80;
	for (int i = 0; i < 8; i++)
		bytes[1 + i] = (unsigned char)((uint64_t)(NOW_MS / 1000) >> (56 - 8 * i));
	if (RAND_bytes(bytes + 9, 16) != 1 || !cipher ||
	    !EVP_EncryptInit_ex(cipher, EVP_aes_128_cbc(), NULL, bench->key + 16, bytes + 9) ||
	    !EVP_EncryptUpdate(cipher, bytes + 25, &len, bench->text, (int)bench->len) ||
	    !EVP_EncryptFinal_ex(cipher, bytes + 25 + len, &last))
		bench_fail("libcrypto does not encrypt");
	EVP_CIPHER_CTX_free(cipher);
	len += 25 + last;
	if (!HMAC(EVP_sha256(), bench->key, 16, bytes, (size_t)len, bytes + len, &mac_len))
		bench_fail("libcrypto makes no HMAC");
	digits = EVP_EncodeBlock(token, bytes, len + 32);
	exchange(token, (size_t)digits, "+/", "-_");
	return (size_t)digits;
}

static size_t decrypt_plainly(const struct bench *bench, unsigned char *token, size_t digits,
			      unsigned char *text)
{
	static unsigned char bytes[TOKEN_MAX];
	EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
	unsigned char mac[32];
	unsigned mac_len = 0;
	int len, text_len = 0, last = 0;

	exchange(token, digits, "-_", "+/");
	len = EVP_DecodeBlock(bytes, token, (int)digits);
	len -= (token[digits - 1] == '=') + (token[digits - 2] == '=');
	if (!HMAC(EVP_sha256(), bench->key, 16, bytes, (size_t)len - 32, mac, &mac_len) ||
	    CRYPTO_memcmp(mac, bytes + len - 32, 32) != 0)
		bench_fail("the HMAC differs");
	if (!cipher ||
	    !EVP_DecryptInit_ex(cipher, EVP_aes_128_cbc(), NULL, bench->key + 16, bytes + 9) ||
	    !EVP_DecryptUpdate(cipher, text, &text_len, bytes + 25, len - 57) ||
	    !EVP_DecryptFinal_ex(cipher, text + text_len, &last))
		bench_fail("libcrypto does not decrypt");
	EVP_CIPHER_CTX_free(cipher);
	return (size_t)(text_len + last);
}

static double run_plainly(void *ctx, long count)
{
	static unsigned char token[TOKEN_MAX], text[TEXT_MAX + 32];
	const struct bench *bench = ctx;
	double began = bench_now();

	for (long i = 0; i < count; i++) {
		size_t digits = encrypt_plainly(bench, token);

		if (decrypt_plainly(bench, token, digits, text) != bench->len)
			bench_fail("the text's length differs");
	}
	return bench_now() - began;
}

/* ---------------------------------------------------------------- the vault */

static double run_vault(void *ctx, long count)
{
	keep_buffer token = KEEP_BUFFER_INIT, plain = KEEP_BUFFER_INIT;
	const struct bench *bench = ctx;
	keep_error err = KEEP_ERROR_INIT;
	double began = bench_now(), took;

	for (long i = 0; i < count; i++) {
		must(kp_fernet_encrypt(bench->ring, NOW_MS,
				       (keep_bytes){(const char *)bench->text, bench->len}, &token,
				       &err),
		     &err);
		must(kp_fernet_decrypt(bench->ring, kp_buffer_bytes(&token), -1, 0, &plain, NULL,
				       &err),
		     &err);
		if (plain.len != bench->len)
			bench_fail("the text's length differs");
	}
	took = bench_now() - began;
	keep_buffer_release(&token);
	kp_secret_release(&plain);
	return took;
}

struct worker {
	pthread_t thread;
	struct bench *bench;
	long count;
};

static void *work(void *ctx)
{
	struct worker *worker = ctx;

	(void)run_vault(worker->bench, worker->count);
	return NULL;
}

/* The same pairs, shared out. */
static double run_threads(void *ctx, long count)
{
	struct worker workers[THREADS];
	double began = bench_now();

	for (size_t i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){.bench = ctx, .count = count / THREADS};
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
			bench_fail("no thread");
	}
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	return bench_now() - began;
}

/* ---------------------------------------------------------------- in turns */

static void exchange_tokens(struct bench *bench)
{
	static unsigned char token[TOKEN_MAX], text[TEXT_MAX + 32];
	keep_buffer ours = KEEP_BUFFER_INIT, plain = KEEP_BUFFER_INIT;
	keep_bytes wanted = {(const char *)bench->text, bench->len};
	keep_error err = KEEP_ERROR_INIT;
	size_t len = encrypt_plainly(bench, token);

	must(kp_fernet_decrypt(bench->ring, (keep_bytes){(const char *)token, len}, -1, 0, &plain,
			       NULL, &err),
	     &err);
	if (!kp_bytes_equal(kp_buffer_bytes(&plain), wanted))
		bench_fail("the vault reads something else");
	must(kp_fernet_encrypt(bench->ring, NOW_MS, wanted, &ours, &err), &err);
	len = decrypt_plainly(bench, (unsigned char *)ours.data, ours.len, text);
	if (len != bench->len || memcmp(text, bench->text, len) != 0)
		bench_fail("libcrypto reads something else");
	keep_buffer_release(&ours);
	kp_secret_release(&plain);
}

int main(int argc, char **argv)
{
	static const struct {
		size_t len;
		const char *what;
		double promised;
		long share; /* of the pairs of 1 KiB */
	} sizes[] = {
		{100, "Fernet, encrypt and decrypt 100 bytes", 0, 1},
		{1024, "Fernet, encrypt and decrypt 1 KiB", 3, 1},
		{65536, "Fernet, encrypt and decrypt 64 KiB", 0, 40},
	};
	long pairs = argc > 1 ? atol(argv[1]) : 100000;
	static struct bench bench;
	keep_buffer key = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	uint64_t seed = 1;

	/* 43 digits without the padding, which is what the vault's own decoder reads. */
	must(kp_base64url_decode((keep_bytes){KEY, sizeof KEY - 2}, &key, &err), &err);
	memcpy(bench.key, key.data, 32);
	kp_secret_release(&key);
	for (size_t i = 0; i < sizeof bench.text; i++)
		bench.text[i] = (unsigned char)bench_random(&seed);
	must(kp_keyring_open(KEEP_BYTES(KEY), &bench.ring, &err), &err);
	bench_title("Fernet, the vault beside libcrypto's one-shot calls");
	for (size_t i = 0; i < KP_COUNT(sizes); i++) {
		struct bench_pair pair = {
			.what = sizes[i].what,
			.durability = "-",
			.name = "vault",
			.base = "one-shot",
			.side = run_vault,
			.base_side = run_plainly,
			.ctx = &bench,
			.base_ctx = &bench,
			.count = pairs / sizes[i].share,
			.turns = 7,
			.promised = sizes[i].promised,
		};

		bench.len = sizes[i].len;
		exchange_tokens(&bench);
		(void)bench_run(&pair);
	}
	bench.len = 1024;
	(void)bench_run(&(struct bench_pair){
		.what = "Fernet, 1 KiB, one ring in two threads",
		.durability = "-",
		.name = "2 threads",
		.base = "1 thread",
		.side = run_threads,
		.base_side = run_vault,
		.ctx = &bench,
		.base_ctx = &bench,
		.count = pairs,
		.turns = 7,
	});
	kp_keyring_close(&bench.ring);
	return 0;
}

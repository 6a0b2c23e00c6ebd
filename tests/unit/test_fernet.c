/*
 * test_fernet.c - Fernet tokens, and what they are made of, against published vectors; what is not
 * a token, not of this key or not of this time; several keys; threads.
 */
#include "vault/vault_private.h"
#include "vectors.h"

#include <pthread.h>

/* The key and the token of the specification's vectors. */
#define KEY KEEP_BYTES("cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=")
#define TOKEN                                                                                      \
	KEEP_BYTES("gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_"                     \
		   "5CV9dOPmrhuVUPgJobwOz7Jc"                                                      \
		   "bmrR64jVmpU4IwqDA==")
#define MADE_MS INT64_C(499162800000)
#define OTHER_KEY KEEP_BYTES("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
#define NOW_MS INT64_C(1700000000000)

static kp_keyring *open_ring(keep_bytes keys)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_keyring *ring = NULL;

	OK(kp_keyring_open(keys, &ring, &err));
	return ring;
}

/* Decrypting without an age says `wanted`, with a message that has `part` in it and an empty text.
 */
static void want_refused(const kp_keyring *ring, keep_bytes token, int64_t ttl_ms, int64_t now_ms,
			 keep_status wanted, const char *part)
{
	keep_buffer plain = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;

	OK(kp_buffer_append_text(&plain, "what was there before", &err));
	status = kp_fernet_decrypt(ring, token, ttl_ms, now_ms, &plain, NULL, &err);
	CHECK(status == wanted, "%s instead of %s for \"%" KP_PRI "\"", keep_status_name(status),
	      keep_status_name(wanted), KP_ARG(token));
	CHECK(strstr(err.message, part), "\"%s\" has no \"%s\"", err.message, part);
	assert_int_equal(plain.len, 0);
	for (size_t i = 0; i <= plain.capacity; i++)
		CHECK(plain.data[i] == 0, "byte %zu of the buffer is left", i);
	keep_buffer_release(&plain);
}

static void want_text(const kp_keyring *ring, keep_bytes token, int64_t ttl_ms, int64_t now_ms,
		      keep_bytes text)
{
	keep_buffer plain = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_fernet_decrypt(ring, token, ttl_ms, now_ms, &plain, NULL, &err));
	assert_true(kp_bytes_equal(kp_buffer_bytes(&plain), text));
	kp_secret_release(&plain);
}

/* ---------------------------------------------------------------- published vectors */

static void the_specifications_token_is_made_and_read(void **state)
{
	static const unsigned char iv[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	keep_buffer token = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	kp_keyring *ring = open_ring(KEY);
	int64_t made_ms = 0;

	(void)state;
	OK(kp_fernet_encrypt_with(ring, MADE_MS, iv, KEEP_BYTES("hello"), &token, &err));
	assert_bytes_equal(kp_buffer_bytes(&token), TOKEN);
	OK(kp_fernet_encrypt_with(ring, MADE_MS + 999, iv, KEEP_BYTES("hello"), &token, &err));
	assert_bytes_equal(kp_buffer_bytes(&token), TOKEN);
	want_text(ring, TOKEN, 60000, MADE_MS + 1000, KEEP_BYTES("hello"));
	assert_true(kp_fernet_time(TOKEN, &made_ms));
	assert_int_equal(made_ms, MADE_MS);
	keep_buffer_release(&token);
	kp_keyring_close(&ring);
	assert_nothing_lives();
}

/* invalid.json of the specification. */
static void the_specifications_wrong_tokens_are_refused(void **state)
{
	static const struct {
		const char *token;
		keep_status status;
		const char *part;
	} wrong[] = {
		{"gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1Y"
		 "dykQUFBQUFBQUFBQQ==",
		 KEEP_DENIED, "another key"},
		{"gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPA==", KEEP_CORRUPT,
		 "too short"},
		{"%%%%%%%%%%%%%AECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1Y"
		 "dykRtfsH-p1YsUD2Q==",
		 KEEP_CORRUPT, "base64url"},
		{"gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPOm73QeoCk9uGib28Xe5vz6oxq5nm"
		 "xbx_v7mrfyudzUm",
		 KEEP_CORRUPT, "too short"},
		{"gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0ODz4LEpdELGQAad7aNEHbf-JkLPIpuiYRLQ3RtXatOYREu2FWk"
		 "e6CnJNYIbkuKNqOhw==",
		 KEEP_CORRUPT, "padding"},
		{"gAAAAAAdwJ6xBQECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-"
		 "fWPAkLhFLHpGtDBRLRTZeUfWgHSv49TF2"
		 "AUEZ1TIvcZjK1zQ==",
		 KEEP_CORRUPT, "padding"},
		{"gAAAAAAdwStRAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAnja1xKYyhd-Y6mSkTOyTGJmw2Xc"
		 "2a6kBd-iX9b_qXQcw==",
		 KEEP_DENIED, "future"},
		{"gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1Y"
		 "dykRtfsH-p1YsUD2Q==",
		 KEEP_DENIED, "expired"},
	};
	kp_keyring *ring = open_ring(KEY);

	(void)state;
	for (size_t i = 0; i < KP_COUNT(wrong); i++) {
		int64_t late_ms = i + 1 == KP_COUNT(wrong) ? 90000 : 0;

		want_refused(ring, keep_bytes_of(wrong[i].token), 60000, MADE_MS + 1000 + late_ms,
			     wrong[i].status, wrong[i].part);
	}
	kp_keyring_close(&ring);
	assert_nothing_lives();
}

static int64_t vectors_time(const kp_json *vector)
{
	keep_error err = KEEP_ERROR_INIT;
	int64_t now_ms = 0;

	OK(keep_time_parse(vectors_text(vector, "now"), &now_ms, &err));
	return now_ms;
}

static void check_generated(const kp_json *vector)
{
	kp_keyring *ring = open_ring(vectors_text(vector, "secret"));
	const kp_json *iv = kp_json_member(vector, "iv");
	unsigned char bytes[KP_FERNET_IV_BYTES];
	keep_buffer token = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	assert_true(iv && iv->kind == KP_JSON_ARRAY && iv->list.count == sizeof bytes);
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (unsigned char)iv->list.items[i].integer;
	OK(kp_fernet_encrypt_with(ring, vectors_time(vector), bytes, vectors_text(vector, "src"),
				  &token, &err));
	assert_bytes_equal(kp_buffer_bytes(&token), vectors_text(vector, "token"));
	keep_buffer_release(&token);
	kp_keyring_close(&ring);
}

static void check_read(const kp_json *vector, bool is_valid)
{
	kp_keyring *ring = open_ring(vectors_text(vector, "secret"));
	int64_t ttl_ms = kp_json_member(vector, "ttl_sec")->integer * 1000;
	int64_t now_ms = vectors_time(vector);
	keep_buffer plain = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = kp_fernet_decrypt(ring, vectors_text(vector, "token"), ttl_ms, now_ms,
					       &plain, NULL, &err);

	if (is_valid) {
		OK(status);
		assert_bytes_equal(kp_buffer_bytes(&plain), vectors_text(vector, "src"));
	} else {
		CHECK(status == KEEP_DENIED || status == KEEP_CORRUPT, "%s: %s",
		      vectors_text(vector, "desc").data, keep_status_name(status));
		assert_int_equal(plain.len, 0);
	}
	kp_secret_release(&plain);
	kp_keyring_close(&ring);
}

static void every_vector_of_the_specification_holds(void **state)
{
	static const char *const names[] = {"fernet/generate.json", "fernet/verify.json",
					    "fernet/invalid.json"};
	test_vectors vectors;

	(void)state;
	for (size_t file = 0; file < KP_COUNT(names); file++) {
		if (!vectors_open(&vectors, names[file]))
			continue;
		assert_true(vectors.root->list.count > 0);
		for (size_t i = 0; i < vectors.root->list.count; i++) {
			if (file == 0)
				check_generated(&vectors.root->list.items[i]);
			else
				check_read(&vectors.root->list.items[i], file == 1);
		}
		vectors_close(&vectors);
	}
	assert_nothing_lives();
}

static void check_cipher_vector(const kp_json *vector, keep_buffer bytes[4], size_t *checked)
{
	static const char *const names[] = {"key", "iv", "msg", "ct"};
	bool is_valid = kp_bytes_equal(vectors_text(vector, "result"), KEEP_BYTES("valid"));
	kp_cipher *cipher = NULL;
	unsigned char out[512];
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;
	size_t len;

	for (size_t i = 0; i < 4; i++)
		vectors_unhex(vectors_text(vector, names[i]), &bytes[i]);
	if (bytes[0].len != KP_AES_BYTES)
		return;
	assert_true(bytes[3].len <= sizeof out);
	(*checked)++;
	if (is_valid) {
		OK(kp_cipher_open((unsigned char *)bytes[0].data, true, &cipher, &err));
		/* Twice: nothing of a message stays for the next one. */
		for (int turn = 0; turn < 2; turn++) {
			OK(kp_cipher_encrypt(cipher, (unsigned char *)bytes[1].data,
					     kp_buffer_bytes(&bytes[2]), out, &err));
			assert_int_equal(KP_AES_SEALED(bytes[2].len), bytes[3].len);
			assert_memory_equal(out, bytes[3].data, bytes[3].len);
		}
		kp_cipher_close(&cipher);
	}
	OK(kp_cipher_open((unsigned char *)bytes[0].data, false, &cipher, &err));
	status = kp_cipher_decrypt(cipher, (unsigned char *)bytes[1].data,
				   kp_buffer_bytes(&bytes[3]), out, &len, &err);
	CHECK(status == (is_valid ? KEEP_OK : KEEP_CORRUPT), "vector %lld: %s",
	      (long long)kp_json_member(vector, "tcId")->integer, keep_status_name(status));
	assert_int_equal(len, is_valid ? bytes[2].len : 0);
	assert_memory_equal(out, bytes[2].data, len);
	kp_cipher_close(&cipher);
}

static void wycheproofs_vectors_of_aes_hold(void **state)
{
	keep_buffer bytes[4] = {KEEP_BUFFER_INIT};
	const kp_json *groups;
	test_vectors vectors;
	size_t checked = 0;

	(void)state;
	if (!vectors_open(&vectors, "wycheproof/aes_cbc_pkcs5_test.json"))
		return;
	groups = kp_json_member(vectors.root, "testGroups");
	for (size_t i = 0; i < groups->list.count; i++) {
		const kp_json *tests = kp_json_member(&groups->list.items[i], "tests");

		for (size_t k = 0; k < tests->list.count; k++)
			check_cipher_vector(&tests->list.items[k], bytes, &checked);
	}
	CHECK(checked > 50, "%zu vectors of AES-128", checked);
	for (size_t i = 0; i < 4; i++)
		keep_buffer_release(&bytes[i]);
	vectors_close(&vectors);
	assert_nothing_lives();
}

static void check_mac_vector(const kp_json *vector, keep_buffer bytes[3])
{
	static const char *const names[] = {"key", "msg", "tag"};
	bool is_valid = kp_bytes_equal(vectors_text(vector, "result"), KEEP_BYTES("valid"));
	unsigned char mac[KP_SHA256_SIZE];
	kp_hmac_key hmac;

	for (size_t i = 0; i < 3; i++)
		vectors_unhex(vectors_text(vector, names[i]), &bytes[i]);
	kp_hmac_prepare(&hmac, kp_buffer_bytes(&bytes[0]));
	/* Twice: a prepared key stays as it is. */
	for (int turn = 0; turn < 2; turn++) {
		kp_hmac_make(&hmac, kp_buffer_bytes(&bytes[1]), mac);
		assert_int_equal(memcmp(mac, bytes[2].data, bytes[2].len) == 0, is_valid);
	}
}

static void wycheproofs_vectors_of_hmac_hold(void **state)
{
	keep_buffer bytes[3] = {KEEP_BUFFER_INIT};
	const kp_json *groups;
	test_vectors vectors;
	size_t checked = 0;

	(void)state;
	if (!vectors_open(&vectors, "wycheproof/hmac_sha256_test.json"))
		return;
	groups = kp_json_member(vectors.root, "testGroups");
	for (size_t i = 0; i < groups->list.count; i++) {
		const kp_json *tests = kp_json_member(&groups->list.items[i], "tests");

		for (size_t k = 0; k < tests->list.count; k++, checked++)
			check_mac_vector(&tests->list.items[k], bytes);
	}
	CHECK(checked > 100, "%zu vectors of HMAC-SHA-256", checked);
	for (size_t i = 0; i < 3; i++)
		keep_buffer_release(&bytes[i]);
	vectors_close(&vectors);
	assert_nothing_lives();
}

/* The one other computation of an HMAC here, for keys and messages of all lengths around a block.
 */
static void a_prepared_key_makes_the_hmac_of_the_key(void **state)
{
	char key[140], message[140];
	uint64_t seed = test_seed();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof key; i++) {
		key[i] = (char)next_random(&seed);
		message[i] = (char)next_random(&seed);
	}
	for (size_t len = 0; len <= sizeof key; len++) {
		keep_bytes text = {message, sizeof key - len}, secret = {key, len};
		unsigned char mac[KP_SHA256_SIZE], other[KP_SHA256_SIZE];
		kp_hmac_key hmac;

		kp_hmac_prepare(&hmac, secret);
		kp_hmac_make(&hmac, text, mac);
		OK(kp_hmac_sha256(secret, text, other, &err));
		assert_memory_equal(mac, other, sizeof mac);
	}
}

/* ---------------------------------------------------------------- base64url with padding */

/* Bytes of every length up to many steps of a way, beside the encoder that has no padding. The
   buffers are as large as they must be, so that a sanitizer sees what is read or written past them.
 */
static void every_way_writes_and_reads_the_same(void **state)
{
	keep_buffer wanted = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	uint64_t seed = test_seed();
	const kp_padded_way *way;

	(void)state;
	for (size_t index = 0; (way = kp_padded_way_at(index)) != NULL; index++) {
		if (!way->is_here()) {
			print_message("this processor has no %s\n", way->name);
			continue;
		}
		for (size_t len = 0; len < 300; len++) {
			size_t digits = KP_PADDED_DIGITS(len), found;
			unsigned char *bytes = malloc(len + !len), *again = malloc(len + !len);
			char *text = malloc(digits + !digits);

			for (size_t i = 0; i < len; i++)
				bytes[i] = (unsigned char)next_random(&seed);
			OK(kp_base64url_encode((keep_bytes){(char *)bytes, len}, &wanted, &err));
			OK(kp_buffer_append(&wanted, (keep_bytes){"==", digits - wanted.len},
					    &err));
			assert_ptr_equal(
				kp_padded_format(way, (keep_bytes){(char *)bytes, len}, text),
				text + digits);
			assert_memory_equal(text, wanted.data, digits);
			assert_true(
				kp_padded_parse(way, (keep_bytes){text, digits}, again, &found));
			assert_int_equal(found, len);
			assert_memory_equal(again, bytes, len);
			free(bytes), free(again), free(text);
		}
	}
	keep_buffer_release(&wanted);
	assert_nothing_lives();
}

/* Each of 256 bytes at each place of a text, by each way: 64 of them are digits, all others are
   refused. */
static void every_way_refuses_every_other_character_everywhere(void **state)
{
	char text[4 * 30];
	unsigned char out[3 * 30];
	const kp_padded_way *way;
	size_t len;

	(void)state;
	memset(text, 'A', sizeof text);
	for (size_t index = 0; (way = kp_padded_way_at(index)) != NULL; index++) {
		if (!way->is_here())
			continue;
		for (size_t place = 0; place + 2 < sizeof text; place++) {
			int accepted = 0;

			for (int byte = 0; byte < 256; byte++) {
				text[place] = (char)byte;
				accepted += kp_padded_parse(way, (keep_bytes){text, sizeof text},
							    out, &len);
			}
			text[place] = 'A';
			assert_int_equal(accepted, 64);
		}
	}
}

static void what_padding_never_looks_like_is_refused(void **state)
{
	static const char *const refused[] = {
		"Z",        "Zg",       "Zm8",      "Zm9vYg",   "Zg=",      "=Zg=",    "Zg==Zg==",
		"Zm8=Zm8=", "====",     "Z===",     "A===",     "Zh==",     "Zm9=",    "Zm9vYh==",
		"Zm9vYmF=", "Zm9v====", "Zm9v\n",   "Zm9v\nZm", "+_+_",     "-/-/",    "Zm=v",
		"Zg=A",     "Z=g=",     "Zm9v Zg=", " Zg=",     "Zm9v=m9v", "Zm9\xff",
	};
	static const char *const accepted[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "-_-_"};
	const kp_padded_way *way;
	unsigned char out[16];
	size_t len;

	(void)state;
	for (size_t index = 0; (way = kp_padded_way_at(index)) != NULL; index++) {
		if (!way->is_here())
			continue;
		for (size_t i = 0; i < KP_COUNT(refused); i++)
			CHECK(!kp_padded_parse(way, keep_bytes_of(refused[i]), out, &len) &&
				      len == 0,
			      "\"%s\"", refused[i]);
		for (size_t i = 0; i < KP_COUNT(accepted); i++)
			CHECK(kp_padded_parse(way, keep_bytes_of(accepted[i]), out, &len), "\"%s\"",
			      accepted[i]);
	}
}

/* ---------------------------------------------------------------- texts */

static void texts_of_every_length_come_back(void **state)
{
	keep_buffer token = KEEP_BUFFER_INIT, plain = KEEP_BUFFER_INIT;
	kp_keyring *ring = open_ring(KEY);
	keep_error err = KEEP_ERROR_INIT;
	uint64_t seed = test_seed();
	static char text[70000];

	(void)state;
	for (size_t i = 0; i < sizeof text; i++)
		text[i] = (char)next_random(&seed);
	for (size_t len = 0; len <= sizeof text; len += len < 200 ? 1 : 9973) {
		OK(kp_fernet_encrypt(ring, NOW_MS, (keep_bytes){text, len}, &token, &err));
		assert_int_equal(token.len, KP_FERNET_DIGITS(len));
		assert_int_equal(token.data[token.len], 0);
		OK(kp_fernet_decrypt(ring, kp_buffer_bytes(&token), 0, NOW_MS, &plain, NULL, &err));
		assert_true(kp_bytes_equal(kp_buffer_bytes(&plain), (keep_bytes){text, len}));
		assert_int_equal(plain.data[len], 0);
	}
	/* A shorter text leaves nothing of the longer one before it. */
	OK(kp_fernet_encrypt(ring, NOW_MS, KEEP_BYTES(""), &token, &err));
	OK(kp_fernet_decrypt(ring, kp_buffer_bytes(&token), -1, 0, &plain, NULL, &err));
	for (size_t i = 16; i <= plain.capacity; i++)
		CHECK(plain.data[i] == 0, "byte %zu is left", i);
	assert_int_equal(kp_fernet_encrypt(ring, NOW_MS,
					   (keep_bytes){text, KP_FERNET_PLAIN_MAX + 1}, &token,
					   &err),
			 KEEP_FULL);
	assert_int_equal(token.len, 0);
	kp_secret_release(&plain);
	keep_buffer_release(&token);
	kp_keyring_close(&ring);
	assert_nothing_lives();
}

static void no_two_tokens_of_a_text_are_the_same(void **state)
{
	enum { COUNT = 1000 };
	static char ivs[COUNT][24];
	keep_buffer token = KEEP_BUFFER_INIT;
	kp_keyring *ring = open_ring(KEY);
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < COUNT; i++) {
		OK(kp_fernet_encrypt(ring, NOW_MS, KEEP_BYTES("hello"), &token, &err));
		/* Digits 12 to 33 are of the IV alone. */
		memcpy(ivs[i], token.data + 12, 21);
		for (size_t k = 0; k < i; k++)
			CHECK(strcmp(ivs[i], ivs[k]) != 0, "tokens %zu and %zu", k, i);
	}
	keep_buffer_release(&token);
	kp_keyring_close(&ring);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- what is refused */

static void every_flipped_bit_is_refused(void **state)
{
	kp_keyring *ring = open_ring(KEY);
	unsigned char bytes[128], changed[128];
	char text[200];
	size_t len;

	(void)state;
	assert_true(kp_padded_parse(kp_padded_best(), TOKEN, bytes, &len));
	for (size_t bit = 0; bit < 8 * len; bit++) {
		char *end;

		memcpy(changed, bytes, len);
		changed[bit / 8] ^= (unsigned char)(1 << bit % 8);
		end = kp_padded_format(kp_padded_best(), (keep_bytes){(char *)changed, len}, text);
		want_refused(ring, (keep_bytes){text, (size_t)(end - text)}, -1, 0,
			     bit < 8 ? KEEP_CORRUPT : KEEP_DENIED,
			     bit < 8 ? "version" : "another key");
	}
	/* And of the text: another digit, or none. */
	for (size_t bit = 0; bit < 8 * TOKEN.len; bit++) {
		keep_buffer plain = KEEP_BUFFER_INIT;
		keep_error err = KEEP_ERROR_INIT;
		keep_status status;

		memcpy(text, TOKEN.data, TOKEN.len);
		text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
		status = kp_fernet_decrypt(ring, (keep_bytes){text, TOKEN.len}, -1, 0, &plain, NULL,
					   &err);
		CHECK(status == KEEP_DENIED || status == KEEP_CORRUPT, "bit %zu: %s", bit,
		      keep_status_name(status));
		keep_buffer_release(&plain);
	}
	kp_keyring_close(&ring);
	assert_nothing_lives();
}

static void every_truncation_and_every_addition_is_refused(void **state)
{
	kp_keyring *ring = open_ring(KEY);
	keep_buffer token = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	int64_t made_ms;
	char text[200];

	(void)state;
	/* Three blocks, so that a shorter one could be a token. */
	OK(kp_fernet_encrypt(ring, NOW_MS, (keep_bytes){TOKEN.data, 40}, &token, &err));
	for (size_t len = 0; len < token.len; len++) {
		keep_bytes cut = {token.data, len};

		want_refused(ring, cut, -1, 0, KEEP_CORRUPT,
			     len < 100 ? "too short"
			     : len % 4 ? "base64url"
				       : "whole blocks");
		assert_int_equal(kp_fernet_time(cut, &made_ms), len >= 100 && len % 4 == 0);
	}
	keep_buffer_release(&token);
	want_refused(ring, (keep_bytes){.data = NULL}, -1, 0, KEEP_CORRUPT, "too short");
	for (int byte = 0; byte < 256; byte++) {
		memcpy(text, TOKEN.data, TOKEN.len);
		text[TOKEN.len] = (char)byte;
		want_refused(ring, (keep_bytes){text, TOKEN.len + 1}, -1, 0, KEEP_CORRUPT,
			     "base64url");
		memmove(text + 1, text, TOKEN.len);
		text[0] = (char)byte;
		want_refused(ring, (keep_bytes){text, TOKEN.len + 1}, -1, 0, KEEP_CORRUPT,
			     "base64url");
	}
	/* Another spelling of the same bytes: bits in the last digit that count for nothing. */
	memcpy(text, TOKEN.data, TOKEN.len);
	assert_int_equal(text[TOKEN.len - 3], 'A');
	text[TOKEN.len - 3] = 'B';
	want_refused(ring, (keep_bytes){text, TOKEN.len}, -1, 0, KEEP_CORRUPT, "base64url");
	/* A token of hundreds of megabytes is not begun with. */
	want_refused(ring, (keep_bytes){text, KP_FERNET_DIGITS(KP_FERNET_PLAIN_MAX) + 1}, -1, 0,
		     KEEP_FULL, "limit");
	kp_keyring_close(&ring);
	assert_nothing_lives();
}

static void a_token_of_another_key_is_denied_and_quotes_nothing(void **state)
{
	kp_keyring *ring = open_ring(OTHER_KEY);
	keep_buffer plain = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	want_refused(ring, TOKEN, -1, 0, KEEP_DENIED, "none of 1 key fits");
	/* Its age is not asked for before the key is found right. */
	want_refused(ring, TOKEN, 0, NOW_MS, KEEP_DENIED, "none of 1 key fits");
	assert_int_equal(kp_fernet_decrypt(ring, TOKEN, -1, 0, &plain, NULL, &err), KEEP_DENIED);
	assert_null(strstr(err.message, "gAAAA"));
	assert_null(strstr(err.message, "AAAAAA"));
	kp_keyring_close(&ring);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- times */

static void a_token_lives_as_long_as_it_is_asked_to(void **state)
{
	kp_keyring *ring = open_ring(KEY);

	(void)state;
	/* Both edges of a life of a minute, to the second, as others count it. */
	want_text(ring, TOKEN, 60000, MADE_MS, KEEP_BYTES("hello"));
	want_text(ring, TOKEN, 60000, MADE_MS + 60999, KEEP_BYTES("hello"));
	want_refused(ring, TOKEN, 60000, MADE_MS + 61000, KEEP_DENIED, "expired");
	/* No life at all: the second it was made in. */
	want_text(ring, TOKEN, 0, MADE_MS + 999, KEEP_BYTES("hello"));
	want_refused(ring, TOKEN, 0, MADE_MS + 1000, KEEP_DENIED, "expired");
	/* Lives that are no whole seconds. */
	want_refused(ring, TOKEN, 1999, MADE_MS + 2000, KEEP_DENIED, "expired");
	want_text(ring, TOKEN, 1999, MADE_MS + 1999, KEEP_BYTES("hello"));
	/* Clocks that differ. */
	want_text(ring, TOKEN, 60000, MADE_MS - 60000, KEEP_BYTES("hello"));
	want_refused(ring, TOKEN, 60000, MADE_MS - 60001, KEEP_DENIED, "future");
	want_refused(ring, TOKEN, INT64_MAX, MADE_MS - 61000, KEEP_DENIED, "future");
	want_refused(ring, TOKEN, INT64_MAX, KEEP_TIME_MIN, KEEP_DENIED, "future");
	want_text(ring, TOKEN, INT64_MAX, KEEP_TIME_MAX, KEEP_BYTES("hello"));
	want_refused(ring, TOKEN, 0, INT64_MAX, KEEP_INVALID, "the time of now");
	/* Who does not ask gets it. */
	want_text(ring, TOKEN, -1, 0, KEEP_BYTES("hello"));
	want_text(ring, TOKEN, INT64_MIN, INT64_MAX, KEEP_BYTES("hello"));
	kp_keyring_close(&ring);
	assert_nothing_lives();
}

static void a_token_is_made_between_1970_and_9999(void **state)
{
	static const int64_t refused[] = {-1, -1000, INT64_MIN, KEEP_TIME_MAX + 1, INT64_MAX};
	keep_buffer token = KEEP_BUFFER_INIT;
	kp_keyring *ring = open_ring(KEY);
	keep_error err = KEEP_ERROR_INIT;
	int64_t made_ms;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(refused); i++)
		assert_int_equal(
			kp_fernet_encrypt(ring, refused[i], KEEP_BYTES("hello"), &token, &err),
			KEEP_INVALID);
	OK(kp_fernet_encrypt(ring, 0, KEEP_BYTES("hello"), &token, &err));
	assert_true(kp_fernet_time(kp_buffer_bytes(&token), &made_ms));
	assert_int_equal(made_ms, 0);
	OK(kp_fernet_encrypt(ring, KEEP_TIME_MAX, KEEP_BYTES("hello"), &token, &err));
	assert_true(kp_fernet_time(kp_buffer_bytes(&token), &made_ms));
	assert_int_equal(made_ms, KEEP_TIME_MAX / 1000 * 1000);
	want_text(ring, kp_buffer_bytes(&token), 0, KEEP_TIME_MAX, KEEP_BYTES("hello"));
	keep_buffer_release(&token);
	kp_keyring_close(&ring);
	assert_nothing_lives();
}

/* A time of which 64 bits are set, under a right HMAC: another implementation may write it. */
static void a_time_beyond_all_calendars_is_in_the_future(void **state)
{
	kp_keyring *ring = open_ring(KEY);
	unsigned char bytes[128];
	char text[200], *end;
	int64_t made_ms;
	size_t len;

	(void)state;
	assert_true(kp_padded_parse(kp_padded_best(), TOKEN, bytes, &len));
	for (int top = 0x7f; top <= 0xff; top += 0x80) {
		memset(bytes + 1, 0xff, 8);
		bytes[1] = (unsigned char)top;
		kp_hmac_make(&ring->keys[0].hmac, (keep_bytes){(char *)bytes, len - 32},
			     bytes + len - 32);
		end = kp_padded_format(kp_padded_best(), (keep_bytes){(char *)bytes, len}, text);
		want_refused(ring, (keep_bytes){text, (size_t)(end - text)}, 60000, NOW_MS,
			     KEEP_DENIED, "future");
		want_text(ring, (keep_bytes){text, (size_t)(end - text)}, -1, 0,
			  KEEP_BYTES("hello"));
		assert_false(kp_fernet_time((keep_bytes){text, (size_t)(end - text)}, &made_ms));
	}
	kp_keyring_close(&ring);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- several keys, several threads */

static void every_key_decrypts_and_the_newest_encrypts(void **state)
{
	char keys[5 * KP_KEY_TEXT_SIZE];
	keep_buffer token = KEEP_BUFFER_INIT, plain = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	kp_keyring *all, *one;
	size_t which = 99;

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		OK(kp_key_make(keys + i * KP_KEY_TEXT_SIZE, &err));
		keys[(i + 1) * KP_KEY_TEXT_SIZE - 1] = '\n';
	}
	all = open_ring((keep_bytes){keys, sizeof keys});
	for (size_t i = 0; i < 5; i++) {
		one = open_ring((keep_bytes){keys + i * KP_KEY_TEXT_SIZE, KP_KEY_TEXT_SIZE});
		OK(kp_fernet_encrypt(one, NOW_MS, KEEP_BYTES("hello"), &token, &err));
		OK(kp_fernet_decrypt(all, kp_buffer_bytes(&token), -1, 0, &plain, &which, &err));
		assert_bytes_equal(kp_buffer_bytes(&plain), KEEP_BYTES("hello"));
		assert_int_equal(which, i);
		OK(kp_fernet_encrypt(all, NOW_MS, KEEP_BYTES("hello"), &token, &err));
		if (i == 0)
			want_text(one, kp_buffer_bytes(&token), -1, 0, KEEP_BYTES("hello"));
		else
			want_refused(one, kp_buffer_bytes(&token), -1, 0, KEEP_DENIED, "another");
		kp_keyring_close(&one);
	}
	want_refused(all, TOKEN, -1, 0, KEEP_DENIED, "none of 5 keys fits");
	kp_keyring_close(&all);
	kp_secret_release(&plain);
	keep_buffer_release(&token);
	assert_nothing_lives();
}

struct worker {
	pthread_t thread;
	const kp_keyring *ring;
	unsigned number;
	bool is_right;
};

static void *work(void *ctx)
{
	keep_buffer token = KEEP_BUFFER_INIT, plain = KEEP_BUFFER_INIT;
	struct worker *worker = ctx;
	char text[400];

	memset(text, (int)worker->number, sizeof text);
	worker->is_right = true;
	for (size_t i = 0; i < 400 && worker->is_right; i++) {
		worker->is_right = kp_fernet_encrypt(worker->ring, NOW_MS, (keep_bytes){text, i},
						     &token, NULL) == KEEP_OK &&
				   kp_fernet_decrypt(worker->ring, kp_buffer_bytes(&token), 0,
						     NOW_MS, &plain, NULL, NULL) == KEEP_OK &&
				   kp_bytes_equal(kp_buffer_bytes(&plain), (keep_bytes){text, i});
	}
	keep_buffer_release(&token);
	kp_secret_release(&plain);
	return NULL;
}

/* More threads than a ring has places for desks. */
static void one_ring_serves_many_threads(void **state)
{
	struct worker workers[24];
	kp_keyring *ring = open_ring(KEY);

	(void)state;
	for (unsigned i = 0; i < KP_COUNT(workers); i++) {
		workers[i] = (struct worker){.ring = ring, .number = i};
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (size_t i = 0; i < KP_COUNT(workers); i++) {
		pthread_join(workers[i].thread, NULL);
		CHECK(workers[i].is_right, "thread %zu", i);
	}
	kp_keyring_close(&ring);
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_specifications_token_is_made_and_read),
		cmocka_unit_test(the_specifications_wrong_tokens_are_refused),
		cmocka_unit_test(every_vector_of_the_specification_holds),
		cmocka_unit_test(wycheproofs_vectors_of_aes_hold),
		cmocka_unit_test(wycheproofs_vectors_of_hmac_hold),
		cmocka_unit_test(a_prepared_key_makes_the_hmac_of_the_key),
		cmocka_unit_test(every_way_writes_and_reads_the_same),
		cmocka_unit_test(every_way_refuses_every_other_character_everywhere),
		cmocka_unit_test(what_padding_never_looks_like_is_refused),
		cmocka_unit_test(texts_of_every_length_come_back),
		cmocka_unit_test(no_two_tokens_of_a_text_are_the_same),
		cmocka_unit_test(every_flipped_bit_is_refused),
		cmocka_unit_test(every_truncation_and_every_addition_is_refused),
		cmocka_unit_test(a_token_of_another_key_is_denied_and_quotes_nothing),
		cmocka_unit_test(a_token_lives_as_long_as_it_is_asked_to),
		cmocka_unit_test(a_token_is_made_between_1970_and_9999),
		cmocka_unit_test(a_time_beyond_all_calendars_is_in_the_future),
		cmocka_unit_test(every_key_decrypts_and_the_newest_encrypts),
		cmocka_unit_test(one_ring_serves_many_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

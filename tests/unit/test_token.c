/*
 * test_token.c - tokens, base64url and HMAC-SHA-256 against published vectors.
 */
#include "vault/vault.h"
#include "vectors.h"

#define TEXT(literal)                                                                              \
	{                                                                                          \
		(literal), sizeof(literal) - 1                                                     \
	}

/* ---------------------------------------------------------------- base64url */

static void rfc_4648s_vectors_hold_without_padding(void **state)
{
	static const keep_bytes vectors[][2] = {
		{TEXT(""), TEXT("")},
		{TEXT("f"), TEXT("Zg")},
		{TEXT("fo"), TEXT("Zm8")},
		{TEXT("foo"), TEXT("Zm9v")},
		{TEXT("foob"), TEXT("Zm9vYg")},
		{TEXT("fooba"), TEXT("Zm9vYmE")},
		{TEXT("foobar"), TEXT("Zm9vYmFy")},
		{TEXT("\xfb\xff\xbf"), TEXT("-_-_")},
		{TEXT("\x14\xfb\x9c\x03\xd9\x7e"), TEXT("FPucA9l-")},
		{TEXT("\0\0"), TEXT("AAA")},
		/* RFC 7515, appendix C */
		{TEXT("\x03\xec\xff\xe0\xc1"), TEXT("A-z_4ME")},
	};
	keep_buffer out = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(vectors); i++) {
		OK(kp_base64url_encode(vectors[i][0], &out, &err));
		assert_bytes_equal(kp_buffer_bytes(&out), vectors[i][1]);
		OK(kp_base64url_decode(vectors[i][1], &out, &err));
		assert_bytes_equal(kp_buffer_bytes(&out), vectors[i][0]);
	}
	keep_buffer_release(&out);
	assert_nothing_lives();
}

static void what_encoding_never_writes_is_refused(void **state)
{
	static const keep_bytes refused[] = {
		TEXT("Z"),      TEXT("A"),       TEXT("Zm9vA"),     TEXT("Zm9vY"),  TEXT("Zg=="),
		TEXT("Zm8="),   TEXT("="),       TEXT("Zm9v===="),  TEXT("Zh"),     TEXT("Zm9"),
		TEXT("Zm9vYh"), TEXT("Zm9vYmF"), TEXT("+_+_"),      TEXT("-/-/"),   TEXT("Zm 9"),
		TEXT(" Zm8"),   TEXT("Zm8 "),    TEXT("Zm8\n"),     TEXT("Zm9v\n"), TEXT("Zm8\0"),
		TEXT("Z.m8"),   TEXT("Zm9\xff"), TEXT("Zm9v,Zm9v"),
	};
	keep_buffer out = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(refused); i++) {
		OK(kp_buffer_append_text(&out, "before", &err));
		CHECK(kp_base64url_decode(refused[i], &out, &err) == KEEP_INVALID,
		      "\"%" KP_PRI "\"", KP_ARG(refused[i]));
		assert_bytes_equal(kp_buffer_bytes(&out), KEEP_BYTES(""));
	}
	keep_buffer_release(&out);
	assert_nothing_lives();
}

/* All texts of two digits: 256 of 65536 pairs are a byte, and each has one text. */
static void equal_bytes_have_equal_texts(void **state)
{
	keep_buffer bytes = KEEP_BUFFER_INIT, again = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	uint64_t seed = test_seed();
	size_t accepted = 0;
	char random[100];

	(void)state;
	for (unsigned pair = 0; pair < 65536; pair++) {
		char text[2] = {(char)(pair >> 8), (char)pair};

		if (kp_base64url_decode((keep_bytes){text, 2}, &bytes, &err) != KEEP_OK)
			continue;
		accepted++;
		OK(kp_base64url_encode(kp_buffer_bytes(&bytes), &again, &err));
		assert_bytes_equal(kp_buffer_bytes(&again), (keep_bytes){text, 2});
	}
	assert_int_equal(accepted, 256);
	for (size_t len = 0; len <= sizeof random; len++) {
		for (size_t i = 0; i < len; i++)
			random[i] = (char)next_random(&seed);
		OK(kp_base64url_encode((keep_bytes){random, len}, &again, &err));
		assert_int_equal(again.len, (len * 4 + 2) / 3);
		OK(kp_base64url_decode(kp_buffer_bytes(&again), &bytes, &err));
		assert_true(kp_bytes_equal(kp_buffer_bytes(&bytes), (keep_bytes){random, len}));
	}
	assert_int_equal(kp_base64url_encode((keep_bytes){"", SIZE_MAX}, &again, &err), KEEP_FULL);
	assert_int_equal(kp_base64url_decode((keep_bytes){"", SIZE_MAX}, &again, &err), KEEP_FULL);
	keep_buffer_release(&bytes);
	keep_buffer_release(&again);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- HMAC-SHA-256 */

static void want_hmac(keep_bytes key, keep_bytes message, keep_bytes wanted, bool same)
{
	unsigned char mac[KP_SHA256_SIZE];
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_hmac_sha256(key, message, mac, &err));
	assert_true(wanted.len <= sizeof mac);
	assert_int_equal(kp_secret_equal((keep_bytes){(const char *)mac, wanted.len}, wanted),
			 same);
}

static void rfc_4231s_vectors_hold(void **state)
{
	static char aa[131], data50[50], key25[25], key20[20];
	const struct {
		keep_bytes key, message;
		const char *mac;
	} vectors[] = {
		{{key20, 20},
		 KEEP_BYTES("Hi There"),
		 "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
		{KEEP_BYTES("Jefe"), KEEP_BYTES("what do ya want for nothing?"),
		 "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
		{{aa, 20},
		 {data50, 50},
		 "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
		{{key25, 25},
		 {data50, 0},
		 "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
		{{aa, 131},
		 KEEP_BYTES("Test Using Larger Than Block-Size Key - Hash Key First"),
		 "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
		{{aa, 131},
		 KEEP_BYTES("This is a test using a larger than block-size key and a larger than "
			    "block-size data. The key needs to be hashed before being used by the "
			    "HMAC algorithm."),
		 "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
	};
	static char data_cd[50];
	keep_buffer mac = KEEP_BUFFER_INIT;

	(void)state;
	memset(aa, 0xaa, sizeof aa);
	memset(data50, 0xdd, sizeof data50);
	memset(data_cd, 0xcd, sizeof data_cd);
	memset(key20, 0x0b, sizeof key20);
	for (size_t i = 0; i < sizeof key25; i++)
		key25[i] = (char)(i + 1);
	for (size_t i = 0; i < KP_COUNT(vectors); i++) {
		keep_bytes message = i == 3 ? (keep_bytes){data_cd, 50} : vectors[i].message;

		vectors_unhex(keep_bytes_of(vectors[i].mac), &mac);
		want_hmac(vectors[i].key, message, kp_buffer_bytes(&mac), true);
		mac.data[31] ^= 1;
		want_hmac(vectors[i].key, message, kp_buffer_bytes(&mac), false);
	}
	/* Nothing, keyed with nothing, is a message too. */
	vectors_unhex(
		KEEP_BYTES("b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad"),
		&mac);
	want_hmac((keep_bytes){NULL, 0}, (keep_bytes){NULL, 0}, kp_buffer_bytes(&mac), true);
	want_hmac(KEEP_BYTES(""), KEEP_BYTES(""), kp_buffer_bytes(&mac), true);
	keep_buffer_release(&mac);
	assert_nothing_lives();
}

static void wycheproofs_vectors_hold(void **state)
{
	keep_buffer key = KEEP_BUFFER_INIT, message = KEEP_BUFFER_INIT, tag = KEEP_BUFFER_INIT;
	test_vectors vectors;
	const kp_json *groups;
	int64_t count = 0;

	(void)state;
	if (!vectors_open(&vectors, "wycheproof/hmac_sha256_test.json"))
		return;
	groups = kp_json_member(vectors.root, "testGroups");
	assert_non_null(groups);
	for (size_t i = 0; i < groups->list.count; i++) {
		const kp_json *tests = kp_json_member(&groups->list.items[i], "tests");

		assert_non_null(tests);
		for (size_t j = 0; j < tests->list.count; j++, count++) {
			const kp_json *test = &tests->list.items[j];
			keep_bytes result = vectors_text(test, "result");

			vectors_unhex(vectors_text(test, "key"), &key);
			vectors_unhex(vectors_text(test, "msg"), &message);
			vectors_unhex(vectors_text(test, "tag"), &tag);
			want_hmac(kp_buffer_bytes(&key), kp_buffer_bytes(&message),
				  kp_buffer_bytes(&tag),
				  kp_bytes_equal(result, KEEP_BYTES("valid")));
		}
	}
	assert_int_equal(count, kp_json_member(vectors.root, "numberOfTests")->integer);
	vectors_close(&vectors);
	keep_buffer_release(&key);
	keep_buffer_release(&message);
	keep_buffer_release(&tag);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- tokens and secrets */

static void count_up(void *ctx, void *out, size_t size)
{
	unsigned char *at = out;

	(void)ctx;
	for (size_t i = 0; i < size; i++)
		at[i] = (unsigned char)(i + 0xf0);
}

static void a_token_is_32_random_bytes_as_text(void **state)
{
	char first[KP_TOKEN_TEXT_SIZE], second[KP_TOKEN_TEXT_SIZE];
	keep_buffer bytes = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(kp_token_make(first, &err));
	OK(kp_token_make(second, &err));
	assert_int_equal(strlen(first), KP_TOKEN_TEXT_SIZE - 1);
	assert_string_not_equal(first, second);
	OK(kp_base64url_decode(keep_bytes_of(first), &bytes, &err));
	assert_int_equal(bytes.len, KP_TOKEN_BYTES);
	kp_random_inject(count_up, NULL);
	OK(kp_token_make(first, &err));
	kp_random_inject(NULL, NULL);
	assert_string_equal(first, "8PHy8_T19vf4-fr7_P3-_wABAgMEBQYHCAkKCwwNDg8");
	keep_buffer_release(&bytes);
	assert_nothing_lives();
}

static void a_tokens_hash_is_the_sha256_of_its_text(void **state)
{
	static char longest[257];
	char hash[KP_TOKEN_HASH_TEXT_SIZE] = "before";
	const keep_bytes wrong[] = {{NULL, 0}, {"", 0}, {longest, 257}};
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(kp_token_hash(KEEP_BYTES("abc"), hash, &err));
	assert_string_equal(hash,
			    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	memset(longest, 't', sizeof longest);
	OK(kp_token_hash((keep_bytes){longest, 256}, hash, &err));
	for (size_t i = 0; i < KP_COUNT(wrong); i++) {
		assert_int_equal(kp_token_hash(wrong[i], hash, &err), KEEP_INVALID);
		assert_string_equal(hash, "");
		assert_null(strstr(err.message, "ttt"));
	}
}

static void secrets_are_equal_when_all_their_bytes_are(void **state)
{
	char text[] = "a secret \0 with a zero byte";
	keep_bytes secret = {text, sizeof text};
	char other[sizeof text];

	(void)state;
	memcpy(other, text, sizeof text);
	assert_true(kp_secret_equal(secret, (keep_bytes){other, sizeof other}));
	for (size_t i = 0; i < 8 * sizeof other; i++) {
		other[i / 8] ^= (char)(1 << i % 8);
		assert_false(kp_secret_equal(secret, (keep_bytes){other, sizeof other}));
		other[i / 8] ^= (char)(1 << i % 8);
	}
	assert_false(kp_secret_equal(secret, (keep_bytes){other, sizeof other - 1}));
	assert_true(kp_secret_equal(KEEP_BYTES(""), KEEP_BYTES("")));
	assert_false(kp_secret_equal((keep_bytes){NULL, 0}, KEEP_BYTES("")));
	assert_false(kp_secret_equal(KEEP_BYTES(""), (keep_bytes){NULL, 0}));
	assert_false(kp_secret_equal((keep_bytes){NULL, 0}, (keep_bytes){NULL, 0}));
}

static void a_released_secret_is_empty(void **state)
{
	keep_buffer secret = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	kp_secret_release(&secret);
	OK(kp_buffer_append_text(&secret, "secret", &err));
	kp_secret_release(&secret);
	assert_null(secret.data);
	assert_int_equal(secret.len, 0);
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rfc_4648s_vectors_hold_without_padding),
		cmocka_unit_test(what_encoding_never_writes_is_refused),
		cmocka_unit_test(equal_bytes_have_equal_texts),
		cmocka_unit_test(rfc_4231s_vectors_hold),
		cmocka_unit_test(wycheproofs_vectors_hold),
		cmocka_unit_test(a_token_is_32_random_bytes_as_text),
		cmocka_unit_test(a_tokens_hash_is_the_sha256_of_its_text),
		cmocka_unit_test(secrets_are_equal_when_all_their_bytes_are),
		cmocka_unit_test(a_released_secret_is_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#ifndef KP_VAULT_PRIVATE_H
#define KP_VAULT_PRIVATE_H
/*
 * vault_private.h - what the files of vault share: base64 without and with padding, PHC strings
 * taken apart, and what encryption is made of. Tests and fuzz targets look in here too; other
 * modules use vault.h alone.
 */
#include "vault/vault.h"

#include <openssl/sha.h>

/* ---------------------------------------------------------------- base64 without padding (token.c)
 */

typedef enum kp_bare_alphabet {
	KP_BARE_STANDARD, /* RFC 4648 section 4: '+' and '/', as in PHC strings */
	KP_BARE_URL       /* section 5: '-' and '_', as in tokens */
} kp_bare_alphabet;

/* The digits of so many bytes. */
#define KP_BARE_DIGITS(bytes) (((bytes)*4 + 2) / 3)

/* KP_BARE_DIGITS(bytes.len) digits, no zero byte; the end of what was written. */
char *kp_bare_format(kp_bare_alphabet alphabet, keep_bytes bytes, char *out);
/* Exactly what formatting writes; `out` has room for text.len / 4 * 3 + 2 bytes. On false, `out` is
   undefined and *len 0. */
bool kp_bare_parse(kp_bare_alphabet alphabet, keep_bytes text, unsigned char *out, size_t *len);

/* An output is empty unless its call succeeds. */
static inline void kp_output_clear(keep_buffer *out)
{
	out->len = 0;
	if (out->data)
		out->data[0] = '\0';
}

/* ---------------------------------------------------------------- PHC strings (phc.c) */

#define KP_PHC_SALT_BYTES_MIN 8
#define KP_PHC_SALT_BYTES_MAX 64
#define KP_PHC_HASH_BYTES_MIN 16
#define KP_PHC_HASH_BYTES_MAX 64

/* "$argon2id$v=19$m=<memory_kib>,t=<passes>,p=<lanes>$<salt>$<hash>" */
typedef struct kp_phc {
	uint32_t memory_kib, passes, lanes;
	size_t salt_len, hash_len;
	unsigned char salt[KP_PHC_SALT_BYTES_MAX + 2]; /* + 2: kp_bare_parse's room */
	unsigned char hash[KP_PHC_HASH_BYTES_MAX + 2];
} kp_phc;

/* INVALID: not of this form, or not within the bounds of vault.h; *phc is all zeros then. */
keep_status kp_phc_parse(keep_bytes text, kp_phc *phc, keep_error *err) KEEP_MUST_CHECK;
/* The one text that kp_phc_parse reads as *phc, replacing *out. */
keep_status kp_phc_format(const kp_phc *phc, keep_buffer *out, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- base64url with padding
 * (padded.c)
 */

/* The characters of so many bytes. */
#define KP_PADDED_DIGITS(bytes) (((bytes) + 2) / 3 * 4)

/* A way to do whole groups of three bytes and four digits; all ways do the same. Each does as many
   groups as it likes, from the first on, and returns how many. */
typedef struct kp_padded_way {
	const char *name;
	bool (*is_here)(void); /* can this processor do it? */
	size_t (*format)(const unsigned char *bytes, size_t groups, char *out);
	/* Stops before a group that has anything but digits in it. */
	size_t (*parse)(const char *digits, size_t groups, unsigned char *out);
} kp_padded_way;

/* Way `index`, the plainest first, which every processor can; NULL: there are no more. */
const kp_padded_way *kp_padded_way_at(size_t index);
/* The best of those that are here. */
const kp_padded_way *kp_padded_best(void);

/* KP_PADDED_DIGITS(bytes.len) characters, no zero byte; the end of what was written. */
char *kp_padded_format(const kp_padded_way *way, keep_bytes bytes, char *out);
/* Exactly what formatting writes; `out` has room for text.len / 4 * 3 bytes. On false, `out` is
   undefined and *len 0. */
bool kp_padded_parse(const kp_padded_way *way, keep_bytes text, unsigned char *out, size_t *len);

/* ---------------------------------------------------------------- HMAC and AES (cipher.c) */

/* HMAC-SHA-256 with the blocks of the key done already; a secret. */
typedef struct kp_hmac_key {
	SHA256_CTX inner, outer;
} kp_hmac_key;

void kp_hmac_prepare(kp_hmac_key *hmac, keep_bytes key);
void kp_hmac_make(const kp_hmac_key *hmac, keep_bytes message, unsigned char out[KP_SHA256_SIZE]);

#define KP_AES_BYTES 16 /* of a key, a block, an IV */
/* The bytes that so many become with PKCS #7. */
#define KP_AES_SEALED(plain_len) ((plain_len) / KP_AES_BYTES * KP_AES_BYTES + KP_AES_BYTES)

/* AES-128-CBC in one direction with one key, for one message after the other. */
typedef struct evp_cipher_ctx_st kp_cipher;

keep_status kp_cipher_open(const unsigned char key[KP_AES_BYTES], bool encrypts, kp_cipher **out,
			   keep_error *err) KEEP_MUST_CHECK;
void kp_cipher_close(kp_cipher **cipher);
/* KP_AES_SEALED(plain.len) bytes to `out`. */
keep_status kp_cipher_encrypt(kp_cipher *cipher, const unsigned char iv[KP_AES_BYTES],
			      keep_bytes plain, unsigned char *out,
			      keep_error *err) KEEP_MUST_CHECK;
/* sealed.len bytes to `out`, of which *len are the text. CORRUPT: no whole blocks, or no padding at
   their end. After a failure `out` may hold some of the text: wipe it. */
keep_status kp_cipher_decrypt(kp_cipher *cipher, const unsigned char iv[KP_AES_BYTES],
			      keep_bytes sealed, unsigned char *out, size_t *len,
			      keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- keys (keyring.c) */

/* The halves of a key. */
#define KP_KEY_SIGNING(key) ((key)->bytes)
#define KP_KEY_SEALING(key) ((key)->bytes + KP_AES_BYTES)

typedef struct kp_key {
	unsigned char bytes[KP_KEY_BYTES]; /* 16 for the HMAC, 16 for AES */
	kp_hmac_key hmac;
	char id[KP_KEY_ID_SIZE];
} kp_key;

struct kp_keyring {
	struct kp_desks *desks; /* of those who work with it: desk.c */
	size_t count;
	kp_key keys[]; /* the newest first */
};

/* ---------------------------------------------------------------- desks (desk.c) */

/* What one encryption or decryption at a time works with, and is dear to make. */
typedef struct kp_desk {
	keep_buffer scratch;     /* a token before or after base64; holds no secret */
	struct kp_iv_page *page; /* IVs drawn beforehand; NULL: each is drawn by itself */
	kp_cipher *ciphers[];    /* two for each key; NULL until used */
} kp_desk;

keep_status kp_desks_open(struct kp_desks **out, keep_error *err) KEEP_MUST_CHECK;
void kp_desks_close(struct kp_desks **desks, size_t key_count);
/* A desk of nobody else's, until it is given back. */
keep_status kp_desk_take(const kp_keyring *ring, kp_desk **out, keep_error *err) KEEP_MUST_CHECK;
void kp_desk_give(const kp_keyring *ring, kp_desk **desk);
/* The cipher of key `index`; the desk's. */
keep_status kp_desk_cipher(const kp_keyring *ring, kp_desk *desk, size_t index, bool encrypts,
			   kp_cipher **out, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_desk_iv(kp_desk *desk, unsigned char iv[KP_AES_BYTES],
		       keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- tokens of a key (fernet.c) */

/* kp_fernet_encrypt with key `index` and, when it is not NULL, the IV. */
keep_status kp_fernet_seal(const kp_keyring *ring, size_t index, int64_t now_ms,
			   const unsigned char *iv, keep_bytes plain, keep_buffer *token,
			   keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- for tests (password.c) */

#ifdef KP_FAULTS
/* What hashing has spent in this process; read it while nobody hashes. */
extern struct kp_password_spent {
	uint64_t hashes;                         /* so often argon2id was called */
	uint32_t memory_kib, passes, lanes;      /* the last call's cost */
	size_t password_len, salt_len, hash_len; /* and its sizes */
	uint64_t unwiped; /* working memories that were freed with anything in them */
} kp_password_spent;
/* How many threads have asked for their turn to hash, ever. */
uint64_t kp_password_asked(void);
#endif

#endif

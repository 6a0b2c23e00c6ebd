#ifndef KP_VAULT_PRIVATE_H
#define KP_VAULT_PRIVATE_H
/*
 * vault_private.h - what the files of vault share: base64 without padding, and PHC strings taken
 * apart. Tests and fuzz targets look in here too; other modules use vault.h alone.
 */
#include "vault/vault.h"

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

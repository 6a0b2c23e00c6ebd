#ifndef KP_SERVICE_ACCOUNTS_H
#define KP_SERVICE_ACCOUNTS_H
/*
 * accounts.h - what http_accounts.c is made of, and what access.c asks of it.
 *
 *   http_accounts.c    who asks, signing in and out
 *   account_rights.c   what an account may now, remembered for a second
 *   password_tries.c   how often a password may be tried
 *
 * Threads: any.
 */
#include "service/http.h"

#define KP_RIGHTS_MS 1000 /* so long what was read of an account is believed */

typedef struct kp_rights kp_rights;
typedef struct kp_tries kp_tries;

struct kp_accounts {
	kp_rights *rights;
	kp_tries *tries;
};

/* ---------------------------------------------------------------- account_rights.c */

keep_status kp_rights_open(kp_rights **out, keep_error *err) KEEP_MUST_CHECK;
void kp_rights_close(kp_rights **rights);
/* What is remembered is believed no more, and for a second nothing is: an account is being changed.
 */
void kp_rights_forget(kp_rights *rights);
/* What a token issued now would grant the account; *good false: there is none, or it is disabled.
 */
keep_status kp_rights_read(keep_service *service, keep_bytes sub, keep_memory *memory,
			   keep_access *out, bool *good, keep_error *err) KEEP_MUST_CHECK;
/* What both grant, in `memory`; the rest is the token's. */
keep_status kp_rights_meet(const keep_access *token, const keep_access *now, keep_memory *memory,
			   keep_access *out, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- password_tries.c */

#define KP_TRY_PARTS 2

/* One try under way: which counters it is counted by. */
typedef struct kp_try {
	struct kp_try_counter *counters[KP_TRY_PARTS];
	uint64_t pair;
} kp_try;

typedef enum kp_try_outcome {
	KP_TRY_RIGHT,
	KP_TRY_WRONG,
	KP_TRY_VOID /* the password was not looked at */
} kp_try_outcome;

keep_status kp_tries_open(kp_tries **out, keep_error *err) KEEP_MUST_CHECK;
void kp_tries_close(kp_tries **tries);
/* May this password be tried now? If so kp_tries_end follows. Else *wait_ms says when to ask again.
 */
bool kp_tries_begin(kp_tries *tries, keep_bytes username, const char *address, int64_t now_ms,
		    kp_try *out, int64_t *wait_ms);
void kp_tries_end(kp_tries *tries, const kp_try *try, kp_try_outcome outcome, int64_t now_ms);

#endif

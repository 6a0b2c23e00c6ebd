/*
 * password_tries.c - how often a password may be tried.
 *
 * Two counters judge a try: its address's and its account's name's (whether there is such an
 * account or not, so that nothing is told). After so many wrong ones the next may come after 1 s,
 * 2, 4 ... 60 s; after 15 minutes without a wrong one a counter is forgotten.
 *
 *                  wrong ones free   at once while free
 *     address            20                 16
 *     account             5                  8
 *     known pair          5                  8
 *
 * Nobody locks an account out for good. A try that is refused is not counted, so the wait never
 * grows beyond 60 s by asking on. And an address from which the account once signed in has a
 * counter of its own with that account (a known pair), which nobody else's wrong tries move: who
 * attacks from elsewhere slows down sign-ins from places that are new, for as long as it goes on,
 * and nothing else. Refresh tokens ask for no password.
 *
 * Invariants:
 *   1. The tables have a fixed size and are keyed by a secret hash. A full set gives up what is
 * idle, then what has the fewest wrong tries, then the oldest; what is under way stays. Pairs are
 * known by right passwords alone, so wrong ones push none out.
 *   2. What is under way counts: many at once get no more tries than one after the other, but for
 * the few that are free.
 *   3. No more than AT_ONCE passwords are under way, so that waiting for them never holds all
 * threads.
 *
 * What it does not do: remember over a restart, which costs an attacker's patience and no account.
 *
 * Tests: tests/unit/test_password_tries.c, tests/http/test_http_accounts.py.
 */
#include "service/accounts.h"

#include <arpa/inet.h>
#include <string.h>

enum {
	SETS = 1024,
	WAYS = 8,
	KNOWN_SETS = 256,
	AT_ONCE = 16,
	DELAY_MS = 1000,
	DELAY_MAX_MS = 60000,
	FORGET_MS = 15 * 60 * 1000
};

/* Of an address, an account, or a known pair. */
struct kp_try_counter {
	uint64_t id; /* 0: empty */
	int wrong, under_way;
	int64_t open_ms; /* not to be tried before */
	int64_t last_ms; /* when it was last made or went wrong */
};

struct known {
	uint64_t id;
	int64_t last_ms;
};

struct limit {
	int free, at_once;
};

static const struct limit of_address = {20, 16}, of_account = {5, 8};

struct kp_tries {
	pthread_mutex_t mutex; /* guards what follows */
	unsigned char key[16];
	int under_way;
	struct kp_try_counter counters[SETS][WAYS];
	struct known known[KNOWN_SETS][WAYS];
};

keep_status kp_tries_open(kp_tries **out, keep_error *err)
{
	kp_tries *tries = kp_alloc_zero(sizeof *tries);
	keep_status status;

	*out = NULL;
	if (!tries)
		return kp_fail_memory(err, "counters of password tries");
	status = kp_random_bytes(tries->key, sizeof tries->key, err);
	if (status != KEEP_OK) {
		kp_free(tries);
		return status;
	}
	pthread_mutex_init(&tries->mutex, NULL);
	*out = tries;
	return KEEP_OK;
}

void kp_tries_close(kp_tries **tries)
{
	if (!*tries)
		return;
	pthread_mutex_destroy(&(*tries)->mutex);
	kp_free(*tries);
	*tries = NULL;
}

/* ---------------------------------------------------------------- names */

/* An address as one counts: of IPv6 the network of a customer, and no second form of IPv4. */
static size_t reduce_address(const char *address, unsigned char out[16])
{
	static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
	size_t len = strlen(address);

	if (inet_pton(AF_INET, address, out) == 1)
		return 4;
	if (inet_pton(AF_INET6, address, out) == 1) {
		if (memcmp(out, mapped, sizeof mapped) != 0)
			return 8;
		memmove(out, out + 12, 4);
		return 4;
	}
	memcpy(out, address, len < 16 ? len : 16);
	return len < 16 ? len : 16;
}

static uint64_t make_id(const kp_tries *tries, char kind, keep_bytes place, keep_bytes name)
{
	char text[2 + 16 + KP_KEY_MAX] = {kind, (char)place.len};

	if (place.len)
		memcpy(text + 2, place.data, place.len);
	if (name.len)
		memcpy(text + 2 + place.len, name.data, name.len);
	return kp_siphash(tries->key, (keep_bytes){text, 2 + place.len + name.len}) | 1;
}

/* ---------------------------------------------------------------- tables, with the mutex */

static bool is_idle(const struct kp_try_counter *counter, int64_t now_ms)
{
	return !counter->under_way && now_ms - counter->last_ms >= FORGET_MS;
}

/* Invariant 1. NULL: everything is under way. */
static struct kp_try_counter *get_counter(kp_tries *tries, uint64_t id, int64_t now_ms)
{
	struct kp_try_counter *set = tries->counters[id / 2 % SETS], *best = NULL;

	for (size_t i = 0; i < WAYS; i++) {
		struct kp_try_counter *one = &set[i];

		if (one->id == id) {
			if (is_idle(one, now_ms))
				*one = (struct kp_try_counter){.id = id, .last_ms = now_ms};
			return one;
		}
		if (one->id && is_idle(one, now_ms))
			*one = (struct kp_try_counter){.id = 0};
		if (one->under_way)
			continue;
		if (!best || one->wrong < best->wrong ||
		    (one->wrong == best->wrong && one->last_ms < best->last_ms))
			best = one;
	}
	if (best)
		*best = (struct kp_try_counter){.id = id, .last_ms = now_ms};
	return best;
}

static struct known *find_known(kp_tries *tries, uint64_t id)
{
	struct known *set = tries->known[id / 2 % KNOWN_SETS];

	for (size_t i = 0; i < WAYS; i++)
		if (set[i].id == id)
			return &set[i];
	return NULL;
}

static void put_known(kp_tries *tries, uint64_t id, int64_t now_ms)
{
	struct known *set = tries->known[id / 2 % KNOWN_SETS], *oldest = find_known(tries, id);

	for (size_t i = 0; i < WAYS && (!oldest || oldest->id != id); i++)
		if (!oldest || !set[i].id || (oldest->id && set[i].last_ms < oldest->last_ms))
			oldest = &set[i];
	*oldest = (struct known){id, now_ms};
}

/* ---------------------------------------------------------------- a try */

static int64_t wait_of(const struct kp_try_counter *counter, struct limit limit, int64_t now_ms)
{
	if (!counter)
		return DELAY_MS;
	if (counter->wrong < limit.free)
		return counter->under_way < limit.at_once ? 0 : DELAY_MS;
	if (counter->open_ms > now_ms)
		return counter->open_ms - now_ms;
	return counter->under_way ? DELAY_MS : 0;
}

bool kp_tries_begin(kp_tries *tries, keep_bytes username, const char *address, int64_t now_ms,
		    kp_try *out, int64_t *wait_ms)
{
	unsigned char reduced[16];
	keep_bytes place = {(const char *)reduced, reduce_address(address, reduced)};
	keep_bytes name = {username.data, username.len < KP_KEY_MAX ? username.len : KP_KEY_MAX};
	uint64_t pair = make_id(tries, 'p', place, name);
	int64_t wait;

	pthread_mutex_lock(&tries->mutex);
	*out = (kp_try){.pair = pair};
	if (find_known(tries, pair)) {
		out->counters[0] = get_counter(tries, pair, now_ms);
		*wait_ms = wait_of(out->counters[0], of_account, now_ms);
	} else {
		out->counters[0] =
			get_counter(tries, make_id(tries, 'a', place, (keep_bytes){0}), now_ms);
		*wait_ms = wait_of(out->counters[0], of_address, now_ms);
		if (out->counters[0])
			out->counters[0]
				->under_way++; /* so that the other does not take its place */
		out->counters[1] =
			get_counter(tries, make_id(tries, 'n', (keep_bytes){0}, name), now_ms);
		if (out->counters[0])
			out->counters[0]->under_way--;
		wait = wait_of(out->counters[1], of_account, now_ms);
		*wait_ms = wait > *wait_ms ? wait : *wait_ms;
	}
	if (!*wait_ms && tries->under_way >= AT_ONCE)
		*wait_ms = DELAY_MS;
	for (size_t i = 0; i < KP_TRY_PARTS && !*wait_ms; i++)
		if (out->counters[i])
			out->counters[i]->under_way++;
	tries->under_way += !*wait_ms;
	pthread_mutex_unlock(&tries->mutex);
	return !*wait_ms;
}

static void count_wrong(struct kp_try_counter *counter, struct limit limit, int64_t now_ms)
{
	int64_t delay = DELAY_MS;

	counter->wrong += counter->wrong < 1000000;
	counter->last_ms = now_ms;
	for (int i = limit.free; i < counter->wrong && delay < DELAY_MAX_MS; i++)
		delay *= 2;
	if (counter->wrong >= limit.free)
		counter->open_ms = now_ms + (delay < DELAY_MAX_MS ? delay : DELAY_MAX_MS);
}

void kp_tries_end(kp_tries *tries, const kp_try *try, kp_try_outcome outcome, int64_t now_ms)
{
	bool is_pair = !try->counters[1];

	pthread_mutex_lock(&tries->mutex);
	tries->under_way--;
	for (size_t i = 0; i < KP_TRY_PARTS; i++) {
		struct kp_try_counter *counter = try->counters[i];

		if (!counter)
			continue;
		counter->under_way--;
		if (outcome == KP_TRY_WRONG)
			count_wrong(counter, i == 0 && !is_pair ? of_address : of_account, now_ms);
		else if (outcome == KP_TRY_RIGHT && is_pair)
			counter->wrong = 0;
	}
	if (outcome == KP_TRY_RIGHT)
		put_known(tries, try->pair, now_ms);
	pthread_mutex_unlock(&tries->mutex);
}

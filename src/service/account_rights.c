/*
 * account_rights.c - what an account may now, whatever its token says.
 *
 * An access token is good for an hour and reads no account. Here it is held against what a token
 * that is issued now would say, which is asked of the gateway at most once a second for each
 * account: so a disabled account, and rights that were taken away, end within a second, and at once
 * when the change came through this service.
 *
 * Invariants:
 *   1. What is remembered was read at most KP_RIGHTS_MS ago, counted from before it was read.
 *   2. A request has what both the token and the account grant, so neither a token gains by a
 * change of its account, nor an account by an old token.
 *   3. The table has a fixed size; who meets another's place in it costs a read and nothing else.
 *
 * Tests: tests/contract/test_service_accounts.c.
 */
#include "service/accounts.h"

#include <string.h>

enum { PLACES = 256 };

struct place {
	int64_t read_ms; /* monotonic; 0: empty */
	bool good;
	keep_access access;
	keep_memory memory;
};

struct kp_rights {
	pthread_mutex_t mutex; /* guards what follows */
	unsigned char key[16];
	int64_t believe_from_ms;  /* nothing that was read before */
	int64_t remember_from_ms; /* nothing is remembered before */
	bool exist;
	int64_t exist_ms;
	struct place places[PLACES];
};

static int64_t monotonic_ms(void)
{
	return kp_monotonic_ns() / 1000000;
}

keep_status kp_rights_open(kp_rights **out, keep_error *err)
{
	kp_rights *rights = kp_alloc_zero(sizeof *rights);
	keep_status status;

	*out = NULL;
	if (!rights)
		return kp_fail_memory(err, "accounts");
	status = kp_random_bytes(rights->key, sizeof rights->key, err);
	if (status != KEEP_OK) {
		kp_free(rights);
		return status;
	}
	pthread_mutex_init(&rights->mutex, NULL);
	*out = rights;
	return KEEP_OK;
}

void kp_rights_close(kp_rights **rights)
{
	if (!*rights)
		return;
	for (size_t i = 0; i < PLACES; i++)
		keep_memory_release(&(*rights)->places[i].memory);
	pthread_mutex_destroy(&(*rights)->mutex);
	kp_free(*rights);
	*rights = NULL;
}

void kp_rights_forget(kp_rights *rights)
{
	pthread_mutex_lock(&rights->mutex);
	rights->believe_from_ms = monotonic_ms() + 1;
	rights->remember_from_ms = rights->believe_from_ms + KP_RIGHTS_MS;
	pthread_mutex_unlock(&rights->mutex);
}

/* With the mutex. */
static bool is_fresh(const kp_rights *rights, int64_t read_ms)
{
	int64_t now = monotonic_ms();

	return read_ms && now - read_ms < KP_RIGHTS_MS && read_ms >= rights->believe_from_ms &&
	       now >= rights->remember_from_ms;
}

/* ---------------------------------------------------------------- one account */

static keep_status copy_access(const keep_access *from, keep_memory *memory, keep_access *out,
			       keep_error *err)
{
	keep_access copy = *from;
	keep_status status = kp_arena_copy(memory, from->sub, &copy.sub, err);

	if (status == KEEP_OK)
		status = kp_arena_copy(memory, from->name, &copy.name, err);
	copy.folders = kp_arena_alloc(memory, (from->folder_count + 1) * sizeof *copy.folders);
	if (status == KEEP_OK && !copy.folders)
		status = kp_fail_memory(err, "an account's folders");
	for (size_t i = 0; i < from->folder_count && status == KEEP_OK; i++)
		status = kp_arena_copy(memory, from->folders[i], &copy.folders[i], err);
	if (status == KEEP_OK)
		*out = copy;
	return status;
}

static struct place *find_place(kp_rights *rights, keep_bytes sub)
{
	return &rights->places[kp_siphash(rights->key, sub) % PLACES];
}

static keep_status recall(kp_rights *rights, keep_bytes sub, keep_memory *memory, keep_access *out,
			  bool *good, bool *found, keep_error *err)
{
	struct place *place;
	keep_status status = KEEP_OK;

	pthread_mutex_lock(&rights->mutex);
	place = find_place(rights, sub);
	*found = is_fresh(rights, place->read_ms) && kp_bytes_equal(place->access.sub, sub);
	if (*found) {
		*good = place->good;
		if (place->good)
			status = copy_access(&place->access, memory, out, err);
	}
	pthread_mutex_unlock(&rights->mutex);
	return status;
}

/* When memory is short, nothing is remembered. */
static void remember(kp_rights *rights, keep_bytes sub, const keep_access *access, bool good,
		     int64_t read_ms)
{
	const keep_access nobody = {.sub = sub, .name = KEEP_BYTES("")};
	struct place fresh = {.read_ms = read_ms, .good = good};
	keep_memory old = KEEP_MEMORY_INIT;

	if (copy_access(good ? access : &nobody, &fresh.memory, &fresh.access, NULL) != KEEP_OK) {
		keep_memory_release(&fresh.memory);
		return;
	}
	pthread_mutex_lock(&rights->mutex);
	old = find_place(rights, sub)->memory;
	*find_place(rights, sub) = fresh;
	pthread_mutex_unlock(&rights->mutex);
	keep_memory_release(&old);
}

/* The gateway tells an account's folders in tokens alone: one is issued, read and thrown away. */
static keep_status ask(keep_service *service, keep_bytes sub, keep_memory *memory, keep_access *out,
		       bool *good, keep_error *err)
{
	keep_buffer token = KEEP_BUFFER_INIT;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status =
		keep_gateway_issue_access_token(service->gateway, sub, KEEP_NOW, &token, &why);

	if (status == KEEP_OK)
		status = keep_gateway_verify_access_token(service->gateway, kp_buffer_bytes(&token),
							  KEEP_NOW, memory, out, &why);
	if (token.data)
		kp_wipe(token.data, token.capacity);
	keep_buffer_release(&token);
	*good = status == KEEP_OK;
	if (status == KEEP_OK || status == KEEP_NOT_FOUND || status == KEEP_DENIED)
		return KEEP_OK;
	if (err)
		*err = why;
	return status;
}

keep_status kp_rights_read(keep_service *service, keep_bytes sub, keep_memory *memory,
			   keep_access *out, bool *good, keep_error *err)
{
	kp_rights *rights = service->accounts ? service->accounts->rights : NULL;
	int64_t now = monotonic_ms();
	bool found = false;
	keep_status status = KEEP_OK;

	*good = false;
	if (rights)
		status = recall(rights, sub, memory, out, good, &found, err);
	if (status != KEEP_OK || found)
		return status;
	status = ask(service, sub, memory, out, good, err);
	if (status == KEEP_OK && rights)
		remember(rights, sub, out, *good, now);
	return status;
}

/* Invariant 2. */
keep_status kp_rights_meet(const keep_access *token, const keep_access *now, keep_memory *memory,
			   keep_access *out, keep_error *err)
{
	keep_access both = *token;
	size_t room = token->folder_count + now->folder_count;

	both.is_operator = token->is_operator && now->is_operator;
	both.folder_count = 0;
	both.folders = kp_arena_alloc(memory, (room + 1) * sizeof *both.folders);
	if (!both.folders)
		return kp_fail_memory(err, "an account's folders");
	for (size_t i = 0; i < token->folder_count; i++)
		if (keep_access_covers(now, token->folders[i]))
			both.folders[both.folder_count++] = token->folders[i];
	for (size_t i = 0; i < now->folder_count; i++)
		if (keep_access_covers(token, now->folders[i]))
			both.folders[both.folder_count++] = now->folders[i];
	*out = both;
	return KEEP_OK;
}

/* ---------------------------------------------------------------- any account */

static keep_status ask_exist(keep_service *service, bool *exist, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_auth_user_list users = {.count = 0};
	keep_status status =
		keep_gateway_list_users(service->gateway, (keep_bytes){0}, 1, &memory, &users, err);

	*exist = status != KEEP_OK || users.count;
	keep_memory_release(&memory);
	return status;
}

keep_status kp_accounts_exist(keep_service *service, bool *exist, keep_error *err)
{
	kp_rights *rights = service->accounts ? service->accounts->rights : NULL;
	int64_t now = monotonic_ms();
	bool found = false;
	keep_status status;

	*exist = true;
	if (rights) {
		pthread_mutex_lock(&rights->mutex);
		found = is_fresh(rights, rights->exist_ms);
		if (found)
			*exist = rights->exist;
		pthread_mutex_unlock(&rights->mutex);
	}
	if (found)
		return KEEP_OK;
	status = ask_exist(service, exist, err);
	if (status == KEEP_OK && rights) {
		pthread_mutex_lock(&rights->mutex);
		rights->exist = *exist;
		rights->exist_ms = now;
		pthread_mutex_unlock(&rights->mutex);
	}
	return status;
}

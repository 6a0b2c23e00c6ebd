/*
 * sessions_open.c - SQLite: the sessions whose files this process has open.
 *
 * A session costs about nine descriptors, so no more are open than the process's limit allows; the
 * one that was used longest ago is closed first. A session that is held stays.
 *
 * Invariants:
 *   1. The list is held by `lock`; a session's side has its own lock, which is taken without it.
 *   2. A session is in the list once, so that this process opens its files once: closing a second
 *      descriptor of a SQLite file would drop the first one's locks.
 *   3. Opening files and asking the registry happen without `lock`.
 *
 * What it does not do: decide what a session is; session_make.c makes them.
 *
 * Tests: tests/contract/test_mailbox_sessions.c, tests/contract/test_mailbox_many.c.
 */
#include "mailbox/mailbox_private.h"

#include <limits.h>
#include <stdio.h>
#include <sys/resource.h>

enum {
	BUCKETS = 1024,
	DESCRIPTORS = 9, /* two files with log and index, the guard, two bells */
	SPARE = 128,     /* for everything else in the process */
	LEAST = 8,
	MOST = 4096
};

struct kp_open_sessions {
	pthread_mutex_t lock;
	kp_open_session *buckets[BUCKETS];
	unsigned char key[16];
	size_t count, max;
	uint64_t uses;
};

static size_t bucket_of(const struct kp_open_sessions *open, keep_bytes session)
{
	return kp_siphash(open->key, session) % BUCKETS;
}

keep_status kp_open_sessions_init(keep_mailbox *mailbox, keep_error *err)
{
	struct kp_open_sessions *open = kp_alloc_zero(sizeof *open);
	struct rlimit limit = {.rlim_cur = 1024};
	keep_status status;

	if (!open)
		return kp_fail_memory(err, "sessions");
	status = kp_random_bytes(open->key, sizeof open->key, err);
	if (status != KEEP_OK) {
		kp_free(open);
		return status;
	}
	(void)getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur > (rlim_t)MOST * DESCRIPTORS + SPARE)
		limit.rlim_cur = (rlim_t)MOST * DESCRIPTORS + SPARE;
	open->max = limit.rlim_cur > SPARE ? (limit.rlim_cur - SPARE) / DESCRIPTORS : 0;
	if (mailbox->sessions_max && mailbox->sessions_max < open->max)
		open->max = mailbox->sessions_max;
	if (open->max < LEAST)
		open->max = LEAST;
	pthread_mutex_init(&open->lock, NULL);
	mailbox->open_sessions = open;
	return KEEP_OK;
}

static void close_session(kp_open_session *session)
{
	kp_side_release(&session->side);
	kp_bell_close(&session->in);
	kp_bell_close(&session->out);
	kp_free(session->folder);
	kp_free(session);
}

void kp_open_sessions_release(keep_mailbox *mailbox)
{
	struct kp_open_sessions *open = mailbox->open_sessions;

	if (!open)
		return;
	mailbox->open_sessions = NULL;
	for (size_t i = 0; i < BUCKETS; i++) {
		while (open->buckets[i]) {
			kp_open_session *closing = open->buckets[i];

			open->buckets[i] = closing->next;
			close_session(closing);
		}
	}
	pthread_mutex_destroy(&open->lock);
	kp_free(open);
}

/* ---------------------------------------------------------------- the list; `lock` is held */

static kp_open_session *find(struct kp_open_sessions *open, keep_bytes session)
{
	kp_open_session *at = open->buckets[bucket_of(open, session)];

	while (at && !kp_bytes_equal(keep_bytes_of(at->id), session))
		at = at->next;
	return at;
}

static void take_out(struct kp_open_sessions *open, const kp_open_session *session)
{
	kp_open_session **at = &open->buckets[bucket_of(open, keep_bytes_of(session->id))];

	while (*at != session)
		at = &(*at)->next;
	*at = session->next;
	open->count--;
}

/* The one that nobody holds and that was used longest ago, out of the list; NULL: all are held. */
static kp_open_session *take_oldest(struct kp_open_sessions *open)
{
	kp_open_session *oldest = NULL;

	for (size_t i = 0; i < BUCKETS; i++)
		for (kp_open_session *at = open->buckets[i]; at; at = at->next)
			if (!at->users && (!oldest || at->used < oldest->used))
				oldest = at;
	if (oldest)
		take_out(open, oldest);
	return oldest;
}

static kp_open_session *hold(struct kp_open_sessions *open, kp_open_session *session)
{
	if (session) {
		session->users++;
		session->used = ++open->uses;
	}
	return session;
}

/* ---------------------------------------------------------------- holding one */

/* The agent's bell. Without one it wakes up late. */
static void hang_bell(kp_open_session *session)
{
	char path[PATH_MAX];
	keep_error why;

	if (session->side.mount_safe ||
	    snprintf(path, sizeof path, "%s/.bell-in", session->folder) >= (int)sizeof path)
		return;
	if (kp_bell_open(&session->in, path, true, &why) != KEEP_OK)
		kp_log(KEEP_LOG_WARNING, "%s: the agent wakes up late", why.message);
}

static keep_status describe(keep_mailbox *mailbox, keep_bytes session, kp_open_session **out,
			    keep_error *err)
{
	kp_arena arena = {.head = NULL};
	kp_open_session *made = NULL;
	keep_session row;
	char *folder = NULL;
	keep_status status = keep_mailbox_get_session(mailbox, session, &arena, &row, err);

	if (status == KEEP_OK && kp_session_is_removed(mailbox, session))
		status = kp_fail(err, KEEP_NOT_FOUND, "session: '%" KP_PRI "' is being removed",
				 KP_ARG(session));
	if (status == KEEP_OK) /* the registry is ours; still, these become a path */
		status = kp_check_segment("agent_group_id", row.agent_group_id, err);
	if (status == KEEP_OK)
		status = kp_session_folder(mailbox, row.agent_group_id, session, &arena, &folder,
					   err);

	if (status != KEEP_OK)
		goto out;
	made = kp_alloc_zero(sizeof *made);
	if (!made) {
		status = kp_fail_memory(err, "a session");
		goto out;
	}
	made->in = made->out = (kp_bell)KP_BELL_INIT;
	made->is_closed = kp_bytes_equal(row.status, KEEP_BYTES(KEEP_SESSION_STATUS_CLOSED));
	memcpy(made->id, session.data, session.len);
	status = kp_text_copy(folder, &made->folder, err);
	if (status == KEEP_OK)
		status = kp_side_init(&made->side, KP_SIDE_HOST, folder, folder, err);
	if (status == KEEP_OK) {
		made->side.timeout_ms = mailbox->timeout_ms;
		made->side.relaxed = mailbox->relaxed;
		status = kp_mount_meet_agents(mailbox, &made->side, folder, err);
	}
	if (status == KEEP_OK) {
		hang_bell(made);
		*out = made;
	} else {
		close_session(made);
	}
out:
	kp_arena_release(&arena);
	return status;
}

keep_status kp_session_hold(keep_mailbox *mailbox, keep_bytes session, kp_open_session **out,
			    keep_error *err)
{
	struct kp_open_sessions *open = mailbox->open_sessions;
	kp_open_session *made = NULL, *surplus = NULL;
	keep_status status;

	pthread_mutex_lock(&open->lock);
	*out = hold(open, find(open, session));
	pthread_mutex_unlock(&open->lock);
	if (*out)
		return KEEP_OK;
	status = describe(mailbox, session, &made, err);
	if (status != KEEP_OK)
		return status;
	pthread_mutex_lock(&open->lock);
	*out = hold(open, find(open, session));
	if (!*out) {
		size_t bucket = bucket_of(open, session);

		if (open->count >= open->max)
			surplus = take_oldest(open);
		made->next = open->buckets[bucket];
		open->buckets[bucket] = made;
		open->count++;
		*out = hold(open, made);
		made = NULL;
	}
	pthread_mutex_unlock(&open->lock);
	if (made) /* another thread was faster */
		close_session(made);
	if (surplus)
		close_session(surplus);
	return KEEP_OK;
}

void kp_session_let_go(keep_mailbox *mailbox, kp_open_session **session)
{
	struct kp_open_sessions *open = mailbox->open_sessions;
	kp_open_session *closing = NULL;

	if (!*session)
		return;
	pthread_mutex_lock(&open->lock);
	(*session)->users--;
	if ((*session)->is_discarded && !(*session)->users)
		closing = *session;
	pthread_mutex_unlock(&open->lock);
	if (closing)
		close_session(closing);
	*session = NULL;
}

void kp_session_discard(keep_mailbox *mailbox, keep_bytes session)
{
	struct kp_open_sessions *open = mailbox->open_sessions;
	kp_open_session *found, *closing = NULL;

	if (!open)
		return;
	pthread_mutex_lock(&open->lock);
	found = find(open, session);
	if (found) {
		take_out(open, found);
		found->is_discarded = true;
		if (!found->users)
			closing = found;
	}
	pthread_mutex_unlock(&open->lock);
	if (closing)
		close_session(closing);
}

void kp_session_rest(keep_mailbox *mailbox, keep_bytes session)
{
	struct kp_open_sessions *open = mailbox->open_sessions;
	kp_open_session *found;

	if (!open)
		return;
	pthread_mutex_lock(&open->lock);
	found = hold(open, find(open, session));
	pthread_mutex_unlock(&open->lock);
	if (!found)
		return;
	pthread_mutex_lock(&found->side.lock);
	kp_side_close(&found->side);
	pthread_mutex_unlock(&found->side.lock);
	kp_session_let_go(mailbox, &found);
}

keep_status kp_session_forget(keep_mailbox *mailbox, keep_bytes session, keep_error *err)
{
	struct kp_open_sessions *open = mailbox->open_sessions;
	kp_open_session *found;
	bool is_held;

	if (!open)
		return KEEP_OK;
	pthread_mutex_lock(&open->lock);
	found = find(open, session);
	is_held = found && found->users;
	if (found && !is_held)
		take_out(open, found);
	pthread_mutex_unlock(&open->lock);
	if (is_held)
		return kp_fail(err, KEEP_BUSY, "session %" KP_PRI ": a call is under way",
			       KP_ARG(session));
	if (found)
		close_session(found);
	return KEEP_OK;
}

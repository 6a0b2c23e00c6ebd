/*
 * mailbox_wait.c - hosts that sleep until agents did something.
 *
 *     SQLite       a bell in each session's folder, heard through one inotify descriptor
 *                  (wait_bells.c)
 *     PostgreSQL   LISTEN on a connection of its own; each commit of an agent's side sends
 *                  "out:<session>"
 *
 * Of the threads that wait one at a time leads: it sleeps where the news come in, and tells the
 * others. Which sessions have news is one list for all of them: a thread that wakes up takes what
 * is there, so each piece of news goes to one thread.
 *
 * No news is lost for good. An agent's process that is killed between its commit and its ring
 * leaves a changed file; the leader looks once a second at the files of the sessions where somebody
 * is at work or should be. Where a file changed, the session's database says whether there is news.
 *
 * Invariants:
 *   1. `is_led` says who may use `conn` and the times of looks; all else here is held by `lock`.
 *   2. No database is read and no answer is made while `lock` is held.
 *   3. The first look of all, and one after the server's connection was made anew, name every
 *      session where somebody is at work or should be.
 *   4. cancel_fd becomes readable with the first cancel, and stays so.
 *   5. News that could not be answered stay.
 *
 * Tests: tests/contract/test_mailbox_wait.c, tests/contract/test_mailbox_many.c.
 */
#include "mailbox/wait_bells.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	LOOK_MS = 1000,   /* at who is at work */
	POLL_MS = 250,    /* at those who never ring */
	POLL_BATCH = 256, /* so many of them in one go */
	PAGE = 500,       /* sessions read from the registry in one go */
	DRAIN_MAX = 1000  /* notifications taken in one go */
};
#define LONGEST_MS (INT64_C(1) << 40) /* a longer time is no time limit */

struct kp_mailbox_waits {
	pthread_mutex_t lock;
	pthread_cond_t heard; /* on the monotonic clock */
	kp_bells *bells;
	int cancel_fd;
	bool is_led;
	atomic_bool is_begun; /* somebody has waited: bells are watched */
	/* The leader's: */
	kp_sql_conn *conn; /* listens; NULL: none */
	keep_buffer payload;
	int64_t last_rowid;
	int64_t look_ns, poll_ns; /* when to look next */
	bool has_looked;
};

/* A session that the leader looks at. */
struct candidate {
	char id[KP_SEGMENT_SIZE];
	struct candidate *next;
};

keep_status kp_mailbox_waits_open(keep_mailbox *mailbox, keep_error *err)
{
	struct kp_mailbox_waits *waits = kp_alloc_zero(sizeof *waits);
	pthread_condattr_t attributes;
	keep_status status;

	if (!waits)
		return kp_fail_memory(err, "a mailbox");
	status = kp_bells_open(&waits->bells, err);
	if (status != KEEP_OK) {
		kp_free(waits);
		return status;
	}
	waits->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (waits->cancel_fd < 0) {
		status = kp_fail_errno(err, errno, "a descriptor for waits");
		kp_bells_close(&waits->bells);
		kp_free(waits);
		return status;
	}
	pthread_mutex_init(&waits->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&waits->heard, &attributes);
	pthread_condattr_destroy(&attributes);
	mailbox->waits = waits;
	return KEEP_OK;
}

void kp_mailbox_waits_close(keep_mailbox *mailbox)
{
	struct kp_mailbox_waits *waits = mailbox->waits;

	if (!waits)
		return;
	mailbox->waits = NULL;
	kp_sql_close(&waits->conn);
	keep_buffer_release(&waits->payload);
	kp_bells_close(&waits->bells);
	close(waits->cancel_fd);
	pthread_cond_destroy(&waits->heard);
	pthread_mutex_destroy(&waits->lock);
	kp_free(waits);
}

void keep_mailbox_cancel_waits(keep_mailbox *mailbox)
{
	struct kp_mailbox_waits *waits = mailbox->waits;
	uint64_t one = 1;
	ssize_t done;

	atomic_store(&mailbox->cancelled, 1);
	done = write(waits->cancel_fd, &one, sizeof one);
	(void)done; /* the counter is full: it is readable */
	pthread_mutex_lock(&waits->lock);
	pthread_cond_broadcast(&waits->heard);
	pthread_mutex_unlock(&waits->lock);
}

void kp_mailbox_waits_watch(keep_mailbox *mailbox, const char *session, const char *folder)
{
	struct kp_mailbox_waits *waits = mailbox->waits;

	if (!waits || !waits->is_begun || mailbox->mount_safe)
		return;
	pthread_mutex_lock(&waits->lock);
	(void)kp_bells_add(waits->bells, keep_bytes_of(session), folder, mailbox->agent_uid,
			   mailbox->agent_gid);
	pthread_mutex_unlock(&waits->lock);
}

/* Milliseconds until then, rounded up; at least 0. */
static int64_t ms_until(int64_t end_ns)
{
	int64_t left_ns = end_ns - kp_monotonic_ns();

	return left_ns <= 0 ? 0 : (left_ns + 999999) / 1000000;
}

static int64_t earlier(int64_t a_ms, int64_t b_ms)
{
	return a_ms < b_ms ? a_ms : b_ms;
}

/* ---------------------------------------------------------------- the registry's sessions */

struct listing {
	size_t statement;
	int64_t after;
	kp_arena *arena;
	struct listed {
		keep_bytes id, agent_group_id;
		struct listed *next;
	} * first;
	size_t count;
	int64_t last;
};

static keep_status read_session(struct listing *listing, kp_sql_stmt *stmt, struct listed *row,
				keep_error *err)
{
	keep_bytes text;
	keep_status status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &text, err);

	if (status == KEEP_OK)
		status = kp_arena_copy(listing->arena, text, &row->id, err);
	if (status == KEEP_OK)
		status = kp_sql_column_bytes(stmt, 1, KP_TEXT, &text, err);
	if (status == KEEP_OK)
		status = kp_arena_copy(listing->arena, text, &row->agent_group_id, err);
	if (status == KEEP_OK && listing->statement == KP_MAILBOX_SESSIONS_AFTER)
		status = kp_sql_column_int(stmt, 2, &listing->last, err);
	return status;
}

static keep_status query_sessions(void *ctx, kp_lease *lease, keep_error *err)
{
	struct listing *listing = ctx;
	struct listed **last = &listing->first;
	kp_value values[] = {kp_int_value(listing->after), kp_int_value(PAGE)};
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status =
		kp_lease_bind(lease, listing->statement, values,
			      listing->statement == KP_MAILBOX_SESSIONS_AFTER ? 2 : 0, &stmt, err);

	listing->first = NULL;
	listing->count = 0;
	listing->last = listing->after;
	while (status == KEEP_OK) {
		struct listed *row;

		status = kp_sql_step(stmt, &has_row, err);
		if (status != KEEP_OK || !has_row)
			break;
		row = kp_arena_alloc(listing->arena, sizeof *row);
		if (!row) {
			status = kp_fail_memory(err, "a session");
			break;
		}
		row->next = NULL;
		status = read_session(listing, stmt, row, err);
		*last = row;
		last = &row->next;
		listing->count++;
	}
	kp_sql_reset(stmt);
	return status;
}

/* With the lock. NULL: no memory, or no such name can be. */
static kp_watched *get_to_know(keep_mailbox *mailbox, const struct listed *row, kp_arena *arena)
{
	kp_bells *bells = mailbox->waits->bells;
	char *folder = NULL;

	if (!mailbox->schema && kp_session_folder(mailbox, row->agent_group_id, row->id, arena,
						  &folder, NULL) != KEEP_OK)
		return NULL;
	return kp_bells_add(bells, row->id, folder, mailbox->agent_uid, mailbox->agent_gid);
}

/* SQLite: watch the bells of sessions that were made since the last look, here or elsewhere. */
static keep_status meet_new_sessions(keep_mailbox *mailbox, keep_error *err)
{
	struct kp_mailbox_waits *waits = mailbox->waits;
	keep_status status = KEEP_OK;
	bool is_full = !mailbox->schema;

	while (is_full && status == KEEP_OK) {
		kp_arena arena = {.head = NULL};
		struct listing listing = {.statement = KP_MAILBOX_SESSIONS_AFTER,
					  .after = waits->last_rowid,
					  .arena = &arena};

		status = kp_registry_read(mailbox, query_sessions, &listing, err);
		pthread_mutex_lock(&waits->lock);
		for (const struct listed *row = listing.first; row && status == KEEP_OK;
		     row = row->next)
			if (!get_to_know(mailbox, row, &arena))
				status = kp_fail_memory(err, "a session");
		pthread_mutex_unlock(&waits->lock);
		is_full = listing.count == PAGE;
		if (status == KEEP_OK)
			waits->last_rowid = listing.last;
		kp_arena_release(&arena);
	}
	return status;
}

/* ---------------------------------------------------------------- who has news */

static keep_status add_candidate(struct candidate **list, const char *id, kp_arena *arena,
				 keep_error *err)
{
	struct candidate *made = kp_arena_alloc(arena, sizeof *made);

	if (!made)
		return kp_fail_memory(err, "a session");
	memcpy(made->id, id, sizeof made->id);
	made->next = *list;
	*list = made;
	return KEEP_OK;
}

/* Without the lock. Who cannot be asked counts as having news: collecting says what is wrong. */
static keep_status ask_candidates(keep_mailbox *mailbox, struct candidate *list, keep_error *err)
{
	kp_bells *bells = mailbox->waits->bells;

	for (; list; list = list->next) {
		keep_error why = KEEP_ERROR_INIT;
		bool has_news = false;
		keep_status status =
			kp_session_has_news(mailbox, keep_bytes_of(list->id), &has_news, &why);
		kp_watched *watched;

		if (status == KEEP_NO_MEMORY)
			return kp_fail(err, status, "%s", why.message);
		pthread_mutex_lock(&mailbox->waits->lock);
		watched = kp_bells_find(bells, keep_bytes_of(list->id));
		if (watched && status == KEEP_NOT_FOUND)
			kp_bells_drop(bells, watched);
		else if (watched && (has_news || status != KEEP_OK))
			kp_bells_tell(bells, watched);
		pthread_mutex_unlock(&mailbox->waits->lock);
	}
	return KEEP_OK;
}

/* With the lock. Is it worth a question? On a server only a question tells. */
static bool is_changed(keep_mailbox *mailbox, kp_watched *watched)
{
	return mailbox->schema || kp_bells_look(watched);
}

/* Those where somebody is at work. `names`: all of them have news (invariant 3). */
static keep_status look_at_work(keep_mailbox *mailbox, bool names, keep_error *err)
{
	struct kp_mailbox_waits *waits = mailbox->waits;
	kp_arena arena = {.head = NULL};
	struct listing listing = {.statement = KP_MAILBOX_SESSIONS_AWAKE, .arena = &arena};
	struct candidate *list = NULL;
	keep_status status = kp_registry_read(mailbox, query_sessions, &listing, err);

	pthread_mutex_lock(&waits->lock);
	for (const struct listed *row = listing.first; row && status == KEEP_OK; row = row->next) {
		kp_watched *watched = get_to_know(mailbox, row, &arena);

		if (!watched) {
			status = kp_fail_memory(err, "a session");
		} else if (names) {
			(void)kp_bells_look(watched);
			kp_bells_tell(waits->bells, watched);
		} else if (is_changed(mailbox, watched)) {
			status = add_candidate(&list, watched->id, &arena, err);
		}
	}
	pthread_mutex_unlock(&waits->lock);
	if (status == KEEP_OK)
		status = ask_candidates(mailbox, list, err);
	kp_arena_release(&arena);
	return status;
}

/* Some of those who never ring, going round; or all there are, when the kernel lost news. */
static keep_status look_at_files(keep_mailbox *mailbox, bool all, keep_error *err)
{
	struct kp_mailbox_waits *waits = mailbox->waits;
	kp_arena arena = {.head = NULL};
	struct candidate *list = NULL;
	kp_watched *first = NULL;
	keep_status status = KEEP_OK;

	pthread_mutex_lock(&waits->lock);
	for (size_t i = 0; (all || i < POLL_BATCH) && status == KEEP_OK; i++) {
		kp_watched *watched = kp_bells_next(waits->bells, all);

		if (!watched || watched == first)
			break;
		if (!first)
			first = watched;
		if (kp_bells_look(watched))
			status = add_candidate(&list, watched->id, &arena, err);
	}
	pthread_mutex_unlock(&waits->lock);
	if (status == KEEP_OK)
		status = ask_candidates(mailbox, list, err);
	kp_arena_release(&arena);
	return status;
}

/* ---------------------------------------------------------------- leading on SQLite */

/* The looks whose time has come. */
static keep_status look(keep_mailbox *mailbox, keep_error *err)
{
	struct kp_mailbox_waits *waits = mailbox->waits;
	int64_t now_ns = kp_monotonic_ns();
	keep_status status = KEEP_OK;

	if (now_ns >= waits->poll_ns && waits->has_looked) {
		waits->poll_ns = now_ns + INT64_C(1000000) * POLL_MS;
		status = look_at_files(mailbox, false, err);
	}
	if (status == KEEP_OK && now_ns >= waits->look_ns) {
		status = meet_new_sessions(mailbox, err);
		if (status == KEEP_OK)
			status = look_at_work(mailbox, !waits->has_looked, err);
		if (status == KEEP_OK) {
			waits->has_looked = true;
			waits->look_ns = now_ns + INT64_C(1000000) * LOOK_MS;
		}
	}
	return status;
}

static keep_status lead_bells(keep_mailbox *mailbox, int64_t nap_ms, keep_error *err)
{
	struct kp_mailbox_waits *waits = mailbox->waits;
	struct pollfd wake[] = {{.fd = waits->cancel_fd, .events = POLLIN},
				{.fd = kp_bells_fd(waits->bells), .events = POLLIN}};
	keep_status status = look(mailbox, err);
	bool is_lost, has_news;
	size_t polled;

	pthread_mutex_lock(&waits->lock);
	has_news = kp_bells_have_news(waits->bells);
	polled = kp_bells_polled(waits->bells);
	pthread_mutex_unlock(&waits->lock);
	if (status != KEEP_OK)
		return status;
	nap_ms = earlier(nap_ms, ms_until(waits->look_ns));
	if (polled)
		nap_ms = earlier(nap_ms, ms_until(waits->poll_ns));
	(void)poll(wake, 2, has_news ? 0 : (int)nap_ms);
	pthread_mutex_lock(&waits->lock);
	is_lost = kp_bells_hear(waits->bells);
	pthread_mutex_unlock(&waits->lock);
	return is_lost ? look_at_files(mailbox, true, err) : KEEP_OK;
}

/* ---------------------------------------------------------------- leading on a server */

static void begin_listening(keep_mailbox *mailbox)
{
	kp_sql_options options = {.location = mailbox->location,
				  .schema = mailbox->schema,
				  .read_only = true,
				  .timeout_ms = mailbox->timeout_ms};
	kp_sql_conn *conn = NULL;
	keep_error why = KEEP_ERROR_INIT;

	if (kp_sql_open(mailbox->driver, &options, &conn, &why) == KEEP_OK &&
	    kp_sql_listen(conn, mailbox->channel, &why) == KEEP_OK) {
		mailbox->waits->conn = conn;
		return;
	}
	kp_log(KEEP_LOG_WARNING, "schema %s: waits wake up late: %s", mailbox->schema, why.message);
	kp_sql_close(&conn);
}

/* "out:<session>" */
static keep_status hear_payload(keep_mailbox *mailbox, keep_bytes payload, keep_error *err)
{
	struct kp_mailbox_waits *waits = mailbox->waits;
	struct listed row = {.id = {payload.data + 4, payload.len - 4}};
	kp_watched *watched;

	if (payload.len <= 4 || memcmp(payload.data, "out:", 4) != 0 ||
	    kp_check_session(row.id, NULL) != KEEP_OK)
		return KEEP_OK;
	pthread_mutex_lock(&waits->lock);
	watched = get_to_know(mailbox, &row, NULL);
	if (watched)
		kp_bells_tell(waits->bells, watched);
	pthread_mutex_unlock(&waits->lock);
	return watched ? KEEP_OK : kp_fail_memory(err, "a session");
}

static keep_status hear_server(keep_mailbox *mailbox, int64_t nap_ms, keep_error *err)
{
	struct kp_mailbox_waits *waits = mailbox->waits;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = KEEP_OK;
	bool notified = true;

	for (int i = 0; i < DRAIN_MAX && notified && status == KEEP_OK; i++) {
		if (kp_sql_wait(waits->conn, i ? 0 : nap_ms, waits->cancel_fd, &notified,
				&waits->payload, &why) != KEEP_OK) {
			kp_log(KEEP_LOG_WARNING, "schema %s: waits wake up late: %s",
			       mailbox->schema, why.message);
			kp_sql_close(&waits->conn);
			return KEEP_OK;
		}
		if (notified)
			status = hear_payload(mailbox, kp_buffer_bytes(&waits->payload), err);
	}
	if (status != KEEP_OK) /* what it was about is looked for */
		kp_sql_close(&waits->conn);
	return status;
}

/* Invariant 3. Where nobody tells, the sessions at work are asked once a second. */
static keep_status lead_listening(keep_mailbox *mailbox, int64_t nap_ms, keep_error *err)
{
	struct kp_mailbox_waits *waits = mailbox->waits;
	bool may_look = kp_monotonic_ns() >= waits->look_ns, is_new = false, has_news;
	keep_status status = KEEP_OK;

	if (!waits->conn && mailbox->listens && may_look) {
		begin_listening(mailbox);
		is_new = waits->conn != NULL;
	}
	if (is_new || !waits->has_looked || (!waits->conn && may_look)) {
		status = look_at_work(mailbox, is_new || !waits->has_looked, err);
		waits->look_ns = kp_monotonic_ns() + INT64_C(1000000) * LOOK_MS;
		if (status != KEEP_OK) {
			kp_sql_close(&waits->conn);
			return status;
		}
		waits->has_looked = true;
	}
	pthread_mutex_lock(&waits->lock);
	has_news = kp_bells_have_news(waits->bells);
	pthread_mutex_unlock(&waits->lock);
	if (waits->conn)
		return hear_server(mailbox, has_news ? 0 : nap_ms, err);
	if (!has_news) {
		struct pollfd wake = {.fd = waits->cancel_fd, .events = POLLIN};

		(void)poll(&wake, 1, (int)earlier(nap_ms, ms_until(waits->look_ns)));
	}
	return KEEP_OK;
}

/* ---------------------------------------------------------------- waiting */

/* With the lock: sleep while another one leads. */
static void follow(struct kp_mailbox_waits *waits, int64_t end_ns)
{
	struct timespec end = {.tv_sec = (time_t)(end_ns / 1000000000),
			       .tv_nsec = (long)(end_ns % 1000000000)};

	pthread_cond_timedwait(&waits->heard, &waits->lock, &end);
}

/* With the lock, which it gives up meanwhile. */
static keep_status lead(keep_mailbox *mailbox, int64_t nap_ms, keep_error *err)
{
	struct kp_mailbox_waits *waits = mailbox->waits;
	keep_status status;

	waits->is_led = true;
	if (!waits->is_begun && !mailbox->schema && !mailbox->mount_safe && !mailbox->read_only)
		kp_bells_start(waits->bells);
	waits->is_begun = true;
	pthread_mutex_unlock(&waits->lock);
	status = mailbox->schema ? lead_listening(mailbox, nap_ms, err)
				 : lead_bells(mailbox, nap_ms, err);
	pthread_mutex_lock(&waits->lock);
	waits->is_led = false;
	pthread_cond_broadcast(&waits->heard);
	return status;
}

/* With the lock: what there is, into `items`, which has room. */
static keep_status take_news(keep_mailbox *mailbox, keep_memory *memory, keep_session_names *out,
			     keep_error *err)
{
	kp_bells *bells = mailbox->waits->bells;
	keep_status status = KEEP_OK;

	while (out->count < KEEP_MAILBOX_LIST_MAX && status == KEEP_OK) {
		kp_watched *watched = kp_bells_take(bells);

		if (!watched)
			break;
		status = kp_arena_copy(memory, keep_bytes_of(watched->id), &out->items[out->count],
				       err);
		if (status != KEEP_OK)
			kp_bells_tell(bells, watched);
		else if (!watched->folder)
			kp_bells_drop(bells, watched);
		out->count += status == KEEP_OK;
	}
	/* Invariant 5: those that were taken are named again. */
	for (size_t i = 0; status != KEEP_OK && i < out->count; i++) {
		kp_watched *watched = kp_bells_find(bells, out->items[i]);

		if (!watched && mailbox->schema)
			watched = kp_bells_add(bells, out->items[i], NULL, 0, 0);
		if (watched)
			kp_bells_tell(bells, watched);
		else
			mailbox->waits->has_looked = false;
	}
	return status;
}

keep_status keep_mailbox_wait(keep_mailbox *mailbox, int64_t timeout_ms, keep_memory *memory,
			      keep_session_names *out, keep_error *err)
{
	struct kp_mailbox_waits *waits = mailbox->waits;
	bool is_endless = timeout_ms < 0 || timeout_ms > LONGEST_MS, has_led = false;
	int64_t end_ns = kp_monotonic_ns() + (is_endless ? 0 : timeout_ms) * 1000000;
	keep_session_names names = {.count = 0};
	keep_status status = KEEP_OK;

	*out = (keep_session_names){.items = NULL};
	names.items = kp_arena_alloc(memory, KEEP_MAILBOX_LIST_MAX * sizeof *names.items);
	if (!names.items)
		return kp_fail_memory(err, "sessions");
	pthread_mutex_lock(&waits->lock);
	while (status == KEEP_OK && !names.count && !atomic_load(&mailbox->cancelled)) {
		int64_t left_ms = is_endless ? LOOK_MS : ms_until(end_ns);

		if (kp_bells_have_news(waits->bells)) {
			status = take_news(mailbox, memory, &names, err);
		} else if (!left_ms && (has_led || waits->is_led)) {
			break;
		} else if (waits->is_led) {
			follow(waits, kp_monotonic_ns() + earlier(left_ms, LOOK_MS) * 1000000);
		} else {
			status = lead(mailbox, earlier(left_ms, LOOK_MS), err);
			has_led = true;
		}
	}
	pthread_mutex_unlock(&waits->lock);
	if (status == KEEP_OK)
		*out = names;
	return status;
}

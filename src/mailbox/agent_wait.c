/*
 * agent_wait.c - sleeping until the host has something for the agent.
 *
 * A wait looks, sleeps until the bell rings or LOOK_MS are over, and looks again. Only a look
 * answers: a ring too many costs a probe of an index, a ring that never came (the host was killed
 * between its commit and its ring) costs LOOK_MS. What falls due by the clock, or a lease that runs
 * out, ends the sleep at its time.
 *
 * Who tells: in a folder the bell `in`; on a server its notifications, as part of the commit. Where
 * there is neither, waits look every BLIND_MS.
 *
 * On a server one connection listens for all threads of an agent that wait. It is used by one of
 * them at a time, who leads, counts what it hears for this session, and wakes the others. Who
 * leaves lets another one lead.
 *
 * Invariants:
 *   1. The position in the news is taken before the look, and listening begins before that. So
 *      what is committed after the look ends the sleep.
 *   2. `is_led` says who may use `conn`; all else here is held by `lock`.
 *   3. When a connection begins or ends to listen, that counts as news.
 *   4. cancel_fd becomes readable with the first cancel, and stays so; a cancel rings the bell, so
 *      that a thread between its look and its sleep does not sleep.
 *
 * What goes wrong with the listening alone is logged and slows waits down; whether the store can be
 * read is the look's business.
 *
 * Tests: tests/contract/test_mailbox_agent.c, tests/contract/test_mailbox_ask.c.
 */
#include "mailbox/mailbox_private.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	LOOK_MS = 1000, /* a look without news */
	BLIND_MS = 25,  /* a look where nobody tells */
};
#define RETRY_NS INT64_C(1000000000)  /* after a server that did not let us listen */
#define LONGEST_MS (INT64_C(1) << 40) /* a longer time is no time limit */

struct kp_agent_waits {
	pthread_mutex_t lock;
	pthread_cond_t heard; /* on the monotonic clock */
	int cancel_fd;
	kp_sql_conn *conn; /* listens; NULL: none */
	bool is_led;       /* a thread uses conn, or makes it */
	int64_t retry_ns;  /* do not try to listen before */
	uint64_t news;     /* so often news were heard */
	keep_buffer payload;
};

keep_status kp_agent_waits_open(keep_agent *agent, keep_error *err)
{
	struct kp_agent_waits *waits = kp_alloc_zero(sizeof *waits);
	pthread_condattr_t attributes;

	if (!waits)
		return kp_fail_memory(err, "an agent");
	waits->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (waits->cancel_fd < 0) {
		kp_free(waits);
		return kp_fail_errno(err, errno, "a descriptor for waits");
	}
	pthread_mutex_init(&waits->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&waits->heard, &attributes);
	pthread_condattr_destroy(&attributes);
	agent->waits = waits;
	return KEEP_OK;
}

void kp_agent_waits_close(keep_agent *agent)
{
	struct kp_agent_waits *waits = agent->waits;

	if (!waits)
		return;
	agent->waits = NULL;
	kp_sql_close(&waits->conn);
	keep_buffer_release(&waits->payload);
	close(waits->cancel_fd);
	pthread_cond_destroy(&waits->heard);
	pthread_mutex_destroy(&waits->lock);
	kp_free(waits);
}

/* Invariant 4. */
void keep_agent_cancel(keep_agent *agent)
{
	struct kp_agent_waits *waits = agent->waits;
	uint64_t one = 1;
	ssize_t done;

	atomic_store(&agent->cancelled, 1);
	done = write(waits->cancel_fd, &one, sizeof one);
	(void)done; /* the counter is full: it is readable */
	pthread_mutex_lock(&waits->lock);
	pthread_cond_broadcast(&waits->heard);
	pthread_mutex_unlock(&waits->lock);
	kp_bell_ring(&agent->in);
}

static bool is_cancelled(const keep_agent *agent)
{
	return atomic_load(&agent->cancelled) != 0;
}

/* Milliseconds until then, rounded up; at least 0. */
static int64_t ms_until(int64_t end_ns)
{
	int64_t left_ns = end_ns - kp_monotonic_ns();

	return left_ns <= 0 ? 0 : (left_ns + 999999) / 1000000;
}

/* ---------------------------------------------------------------- listening to a server */

static void log_deafness(const keep_agent *agent, const keep_error *why)
{
	kp_log(KEEP_LOG_WARNING, "session %s: waits wake up late: %s", agent->session,
	       why->message);
}

static kp_sql_conn *begin_listening(const keep_agent *agent)
{
	kp_sql_options options = {.location = agent->location,
				  .schema = agent->schema,
				  .read_only = true,
				  .timeout_ms = agent->timeout_ms};
	kp_sql_conn *conn = NULL;
	keep_error why = KEEP_ERROR_INIT;

	if (kp_sql_open(agent->driver, &options, &conn, &why) == KEEP_OK &&
	    kp_sql_listen(conn, agent->channel, &why) == KEEP_OK)
		return conn;
	log_deafness(agent, &why);
	kp_sql_close(&conn);
	return NULL;
}

/* With the lock, which it gives up meanwhile: make the connection, as the leader. */
static void listen_first(keep_agent *agent)
{
	struct kp_agent_waits *waits = agent->waits;
	kp_sql_conn *conn;

	waits->is_led = true;
	pthread_mutex_unlock(&waits->lock);
	conn = begin_listening(agent);
	pthread_mutex_lock(&waits->lock);
	waits->is_led = false;
	waits->conn = conn;
	waits->retry_ns = kp_monotonic_ns() + RETRY_NS;
	waits->news++;
	pthread_cond_broadcast(&waits->heard);
}

static bool is_for_us(const keep_agent *agent, keep_bytes payload)
{
	return payload.len > 3 && memcmp(payload.data, "in:", 3) == 0 &&
	       kp_bytes_equal((keep_bytes){payload.data + 3, payload.len - 3}, kp_agent_id(agent));
}

/* With the lock, which it gives up meanwhile: hear one remark, as the leader. */
static void lead(keep_agent *agent, int64_t nap_ms)
{
	struct kp_agent_waits *waits = agent->waits;
	keep_error why = KEEP_ERROR_INIT;
	bool notified = false;
	keep_status status;

	waits->is_led = true;
	pthread_mutex_unlock(&waits->lock);
	status = kp_sql_wait(waits->conn, nap_ms, waits->cancel_fd, &notified, &waits->payload,
			     &why);
	if (status != KEEP_OK) {
		log_deafness(agent, &why);
		kp_sql_close(&waits->conn);
	}
	pthread_mutex_lock(&waits->lock);
	waits->is_led = false;
	if (status != KEEP_OK || (notified && is_for_us(agent, kp_buffer_bytes(&waits->payload))))
		waits->news++;
	pthread_cond_broadcast(&waits->heard);
}

/* With the lock: sleep while another one leads. */
static void follow(struct kp_agent_waits *waits, int64_t end_ns)
{
	struct timespec end = {.tv_sec = (time_t)(end_ns / 1000000000),
			       .tv_nsec = (long)(end_ns % 1000000000)};

	pthread_cond_timedwait(&waits->heard, &waits->lock, &end);
}

/* Sleep where nobody tells. */
static void nap_blindly(const keep_agent *agent, int64_t nap_ms)
{
	struct pollfd wake = {.fd = agent->waits->cancel_fd, .events = POLLIN};

	(void)poll(&wake, 1, nap_ms < BLIND_MS ? (int)nap_ms : BLIND_MS);
}

static void nap_listening(keep_agent *agent, uint64_t seen, int64_t nap_ms)
{
	struct kp_agent_waits *waits = agent->waits;
	int64_t end_ns = kp_monotonic_ns() + nap_ms * 1000000;
	bool is_deaf = false;

	pthread_mutex_lock(&waits->lock);
	while (!is_deaf && waits->news == seen && !is_cancelled(agent) && ms_until(end_ns) > 0) {
		if (waits->is_led)
			follow(waits, end_ns);
		else if (waits->conn)
			lead(agent, ms_until(end_ns));
		else
			is_deaf = true;
	}
	pthread_mutex_unlock(&waits->lock);
	if (is_deaf)
		nap_blindly(agent, ms_until(end_ns));
}

/* ---------------------------------------------------------------- sleeping */

/* Invariant 1. */
static uint64_t take_position(keep_agent *agent)
{
	struct kp_agent_waits *waits = agent->waits;
	uint64_t seen;

	if (!agent->listens)
		return kp_bell_value(&agent->in);
	pthread_mutex_lock(&waits->lock);
	if (!waits->conn && !waits->is_led && kp_monotonic_ns() >= waits->retry_ns)
		listen_first(agent);
	seen = waits->news;
	pthread_mutex_unlock(&waits->lock);
	return seen;
}

/* Until news, a cancel, or nap_ms are over; or for no reason. */
static void nap(keep_agent *agent, uint64_t seen, int64_t nap_ms)
{
	if (agent->listens)
		nap_listening(agent, seen, nap_ms);
	else if (agent->in.fd >= 0)
		kp_bell_wait(&agent->in, (uint32_t)seen, nap_ms);
	else
		nap_blindly(agent, nap_ms);
}

/* What changes by the clock may do so before LOOK_MS are over. */
static int64_t choose_nap(int64_t left_ms, int64_t due_ms)
{
	int64_t nap_ms = left_ms < LOOK_MS ? left_ms : LOOK_MS;
	int64_t due_in_ms = due_ms ? due_ms - kp_clock_ms() : LOOK_MS;

	if (due_in_ms < 1)
		due_in_ms = 1;
	return due_in_ms < nap_ms ? due_in_ms : nap_ms;
}

keep_status kp_agent_sleep(keep_agent *agent, int64_t timeout_ms, kp_agent_look *look, void *ctx,
			   bool *found, keep_error *err)
{
	bool is_endless = timeout_ms < 0 || timeout_ms > LONGEST_MS;
	int64_t end_ns = kp_monotonic_ns() + (is_endless ? 0 : timeout_ms) * 1000000;

	*found = false;
	for (;;) {
		int64_t due_ms = 0, left_ms;
		uint64_t seen = 0;
		keep_status status;

		if (is_cancelled(agent))
			return KEEP_OK;
		if (timeout_ms != 0)
			seen = take_position(agent);
		status = look(ctx, agent, found, &due_ms, err);
		if (status != KEEP_OK || *found)
			return status;
		left_ms = is_endless ? LOOK_MS : ms_until(end_ns);
		if (left_ms == 0)
			return KEEP_OK;
		if (!is_cancelled(agent))
			nap(agent, seen, choose_nap(left_ms, due_ms));
	}
}

keep_status keep_agent_wait(keep_agent *agent, int64_t timeout_ms, bool *ready, keep_error *err)
{
	return kp_agent_sleep(agent, timeout_ms, kp_agent_look_for_claimable, NULL, ready, err);
}

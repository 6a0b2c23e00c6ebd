/*
 * waits.c - sleeping until there is something, whoever tells of it.
 *
 * A wait looks, sleeps until it is told of news or LOOK_MS are over, and looks again. Only a look
 * answers: to be told too often costs a look, and to be told never (a program was killed between
 * its commit and its telling) costs LOOK_MS. What falls due by the clock ends the sleep at its
 * time.
 *
 * One connection listens to a server for all threads that wait. It is used by one of them at a
 * time, who leads; it counts what it hears, by topic, and wakes the others. Who leaves lets another
 * one lead. It stays open between waits; what it was told meanwhile is read by the next one. A
 * server keeps some 100 million such remarks for who never reads them.
 *
 * Invariants:
 *   1. The position in the news is taken before the look, and listening begins before that. So
 *      what is committed after the look ends the sleep.
 *   2. `is_led` says who may use `conn` and `payload`; all else here is held by `lock`.
 *   3. When a connection begins or ends to listen, every topic counts as news.
 *   4. cancel_fd becomes readable with the first cancel, and stays so.
 *
 * What goes wrong with the listening alone is logged and slows waits down; whether the store can be
 * read is the look's business.
 *
 * Tests: tests/contract/test_gateway_wait.c, tests/contract/test_mailbox_agent.c,
 * tests/contract/test_mailbox_ask.c, tests/torture/test_gateway_consumers_faults.c.
 */
#include "sql/sql.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum {
	LOOK_MS = 1000, /* a look without news */
	BLIND_MS = 25,  /* a look where nobody tells */
};
#define RETRY_NS INT64_C(1000000000)  /* after a server that did not let us listen */
#define LONGEST_MS (INT64_C(1) << 40) /* a longer time is no time limit */

struct kp_waits {
	kp_waits_options options;
	pthread_mutex_t lock;
	pthread_cond_t heard; /* on the monotonic clock */
	int cancel_fd;
	kp_sql_conn *conn;                  /* listens; NULL: none */
	bool is_led;                        /* a thread uses conn, or makes it */
	int64_t retry_ns;                   /* do not try to listen before */
	uint64_t news[KP_WAITS_TOPICS_MAX]; /* so often news were heard */
	keep_buffer payload;                /* the leader's */
};

keep_status kp_waits_open(const kp_waits_options *options, kp_waits **out, keep_error *err)
{
	kp_waits *waits = kp_alloc_zero(sizeof *waits);
	pthread_condattr_t attributes;

	*out = NULL;
	if (!waits)
		return kp_fail_memory(err, "waits");
	waits->options = *options;
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
	*out = waits;
	return KEEP_OK;
}

void kp_waits_close(kp_waits **waits)
{
	kp_waits *closing = *waits;

	*waits = NULL;
	if (!closing)
		return;
	kp_sql_close(&closing->conn);
	keep_buffer_release(&closing->payload);
	close(closing->cancel_fd);
	pthread_cond_destroy(&closing->heard);
	pthread_mutex_destroy(&closing->lock);
	kp_free(closing);
}

void kp_waits_cancel(kp_waits *waits)
{
	uint64_t one = 1;
	ssize_t done = write(waits->cancel_fd, &one, sizeof one);

	(void)done; /* the counter is full: it is readable */
	pthread_mutex_lock(&waits->lock);
	pthread_cond_broadcast(&waits->heard);
	pthread_mutex_unlock(&waits->lock);
}

static bool is_cancelled(const kp_waits *waits)
{
	return atomic_load(waits->options.cancelled) != 0;
}

/* Milliseconds until then, rounded up; at least 0. */
static int64_t ms_until(int64_t end_ns)
{
	int64_t left_ns = end_ns - kp_monotonic_ns();

	return left_ns <= 0 ? 0 : (left_ns + 999999) / 1000000;
}

/* ---------------------------------------------------------------- listening to a server */

/* With the lock. */
static void count_news(kp_waits *waits, unsigned topics)
{
	for (unsigned topic = 0; topic < KP_WAITS_TOPICS_MAX; topic++)
		if (topics & (1U << topic))
			waits->news[topic]++;
	pthread_cond_broadcast(&waits->heard);
}

static void log_deafness(const kp_waits *waits, const keep_error *why)
{
	kp_log(KEEP_LOG_WARNING, "%s: waits wake up late: %s", waits->options.who, why->message);
}

static kp_sql_conn *begin_listening(const kp_waits *waits)
{
	kp_sql_options options = {.location = waits->options.location,
				  .schema = waits->options.schema,
				  .read_only = true,
				  .timeout_ms = waits->options.timeout_ms};
	kp_sql_conn *conn = NULL;
	keep_error why = KEEP_ERROR_INIT;

	if (kp_sql_open(waits->options.driver, &options, &conn, &why) == KEEP_OK &&
	    kp_sql_listen(conn, waits->options.channel, &why) == KEEP_OK)
		return conn;
	log_deafness(waits, &why);
	kp_sql_close(&conn);
	return NULL;
}

/* With the lock, which it gives up meanwhile: make the connection, as the leader. */
static void listen_first(kp_waits *waits)
{
	kp_sql_conn *conn;

	waits->is_led = true;
	pthread_mutex_unlock(&waits->lock);
	conn = begin_listening(waits);
	pthread_mutex_lock(&waits->lock);
	waits->is_led = false;
	waits->conn = conn;
	waits->retry_ns = kp_monotonic_ns() + RETRY_NS;
	count_news(waits, ~0U);
}

/* With the lock, which it gives up meanwhile: hear one remark, as the leader. */
static void lead(kp_waits *waits, int64_t nap_ms)
{
	keep_error why = KEEP_ERROR_INIT;
	unsigned topics = 0;
	bool notified = false;
	keep_status status;

	waits->is_led = true;
	pthread_mutex_unlock(&waits->lock);
	status = kp_sql_wait(waits->conn, nap_ms, waits->cancel_fd, &notified, &waits->payload,
			     &why);
	if (status != KEEP_OK) {
		log_deafness(waits, &why);
		kp_sql_close(&waits->conn);
		topics = ~0U;
	} else if (notified) {
		topics = waits->options.hear(waits->options.ctx, kp_buffer_bytes(&waits->payload));
	}
	pthread_mutex_lock(&waits->lock);
	waits->is_led = false;
	count_news(waits, topics);
}

/* With the lock: sleep while another one leads. */
static void follow(kp_waits *waits, int64_t end_ns)
{
	struct timespec end = {.tv_sec = (time_t)(end_ns / 1000000000),
			       .tv_nsec = (long)(end_ns % 1000000000)};

	pthread_cond_timedwait(&waits->heard, &waits->lock, &end);
}

/* Sleep where nobody tells. */
static void nap_blindly(const kp_waits *waits, int64_t nap_ms)
{
	struct pollfd wake = {.fd = waits->cancel_fd, .events = POLLIN};

	(void)poll(&wake, 1, nap_ms < BLIND_MS ? (int)nap_ms : BLIND_MS);
}

static void nap_listening(kp_waits *waits, unsigned topic, uint64_t seen, int64_t nap_ms)
{
	int64_t end_ns = kp_monotonic_ns() + nap_ms * 1000000;
	bool is_deaf = false;

	pthread_mutex_lock(&waits->lock);
	while (!is_deaf && waits->news[topic] == seen && !is_cancelled(waits) &&
	       ms_until(end_ns) > 0) {
		if (waits->is_led)
			follow(waits, end_ns);
		else if (waits->conn)
			lead(waits, ms_until(end_ns));
		else
			is_deaf = true;
	}
	pthread_mutex_unlock(&waits->lock);
	if (is_deaf)
		nap_blindly(waits, ms_until(end_ns));
}

/* ---------------------------------------------------------------- sleeping */

/* Invariant 1. */
static uint64_t take_position(kp_waits *waits, unsigned topic)
{
	uint64_t seen = 0;

	if (!waits->options.driver)
		return waits->options.position ? waits->options.position(waits->options.ctx) : 0;
	pthread_mutex_lock(&waits->lock);
	if (!waits->conn && !waits->is_led && kp_monotonic_ns() >= waits->retry_ns)
		listen_first(waits);
	seen = waits->news[topic];
	pthread_mutex_unlock(&waits->lock);
	return seen;
}

/* Until news of the topic, a cancel, or nap_ms are over; or for no reason. */
static void nap(kp_waits *waits, unsigned topic, uint64_t *seen, int64_t nap_ms)
{
	if (waits->options.driver)
		nap_listening(waits, topic, *seen, nap_ms);
	else if (waits->options.nap)
		waits->options.nap(waits->options.ctx, topic, seen, nap_ms);
	else
		nap_blindly(waits, nap_ms);
}

/* What is due by the clock may be due before LOOK_MS are over. */
static int64_t choose_nap(int64_t left_ms, int64_t due_ms)
{
	int64_t nap_ms = left_ms < LOOK_MS ? left_ms : LOOK_MS;
	int64_t due_in_ms = due_ms ? due_ms - kp_clock_ms() : LOOK_MS;

	if (due_in_ms < 1)
		due_in_ms = 1;
	return due_in_ms < nap_ms ? due_in_ms : nap_ms;
}

keep_status kp_waits_sleep(kp_waits *waits, unsigned topic, int64_t timeout_ms, kp_wait_look *look,
			   void *look_ctx, bool *found, keep_error *err)
{
	bool is_endless = timeout_ms < 0 || timeout_ms > LONGEST_MS;
	int64_t end_ns = kp_monotonic_ns() + (is_endless ? 0 : timeout_ms) * 1000000;

	*found = false;
	for (;;) {
		int64_t due_ms = 0, left_ms;
		uint64_t seen = 0;
		bool is_there = false;
		keep_status status;

		if (is_cancelled(waits))
			return KEEP_OK;
		if (timeout_ms != 0)
			seen = take_position(waits, topic);
		status = look(look_ctx, &is_there, &due_ms, err);
		if (status != KEEP_OK || is_there) {
			*found = status == KEEP_OK && is_there;
			return status;
		}
		left_ms = is_endless ? LOOK_MS : ms_until(end_ns);
		if (left_ms == 0)
			return KEEP_OK;
		if (!is_cancelled(waits))
			nap(waits, topic, &seen, choose_nap(left_ms, due_ms));
	}
}

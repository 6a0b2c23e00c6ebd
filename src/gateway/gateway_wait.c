/*
 * gateway_wait.c - sleeping until a consumer has something to read, or a delivery is due.
 *
 * A wait looks, sleeps until it is told of news or LOOK_MS are over, and looks again. Only a look
 * answers: to be told too often costs a probe of an index, and to be told never costs LOOK_MS,
 * which is what happens when a program was killed between its commit and its post.
 *
 * Who tells: with a file beside the database (sql/notify.c) every change posts there; with LISTEN
 * the server does, as part of the commit. Where there is neither, waits look every BLIND_MS.
 *
 * One connection listens for all threads of a gateway that wait. It is used by one of them at a
 * time, who leads; it counts what it hears, by topic, and wakes the others. Who leaves lets another
 * one lead. It stays open between waits; what it was told meanwhile is read by the next one. A
 * server keeps some 100 million such remarks for who never reads them.
 *
 * Invariants:
 *   1. The position in the news is taken before the look, and listening begins before that. So
 *      what is committed after the look ends the sleep.
 *   2. `is_led` says who may use `conn`; all else here is held by `lock`.
 *   3. When a connection begins or ends to listen, every topic counts as news.
 *   4. cancel_fd becomes readable with the first cancel, and stays so.
 *
 * What goes wrong with the listening alone is logged and slows waits down; whether the store can be
 * read is the look's business.
 *
 * Tests: tests/contract/test_gateway_wait.c, tests/torture/test_gateway_consumers_faults.c.
 */
#include "gateway/gateway_private.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	LOOK_MS = 1000, /* a look without news */
	BLIND_MS = 25,  /* a look where nobody tells */
};
#define RETRY_NS INT64_C(1000000000)  /* after a server that did not let us listen */
#define LONGEST_MS (INT64_C(1) << 40) /* a longer time is no time limit */

enum topic { TOPIC_INPUT, TOPIC_DELIVERY, TOPIC_COUNT };

static const char *const topic_names[TOPIC_COUNT] = {"input", "delivery"};

struct kp_gateway_waits {
	pthread_mutex_t lock;
	pthread_cond_t heard; /* on the monotonic clock */
	int cancel_fd;
	kp_sql_conn *conn;          /* listens; NULL: none */
	bool is_led;                /* a thread uses conn, or makes it */
	int64_t retry_ns;           /* do not try to listen before */
	uint64_t news[TOPIC_COUNT]; /* so often news were heard */
	keep_buffer payload;        /* the leader's */
};

keep_status kp_gateway_waits_open(keep_gateway *gateway, keep_error *err)
{
	struct kp_gateway_waits *waits = kp_alloc_zero(sizeof *waits);
	pthread_condattr_t attributes;

	if (!waits)
		return kp_fail_memory(err, "a gateway");
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
	gateway->waits = waits;
	return KEEP_OK;
}

void kp_gateway_waits_close(keep_gateway *gateway)
{
	struct kp_gateway_waits *waits = gateway->waits;

	if (!waits)
		return;
	gateway->waits = NULL;
	kp_sql_close(&waits->conn);
	keep_buffer_release(&waits->payload);
	close(waits->cancel_fd);
	pthread_cond_destroy(&waits->heard);
	pthread_mutex_destroy(&waits->lock);
	kp_free(waits);
}

void keep_gateway_cancel(keep_gateway *gateway)
{
	struct kp_gateway_waits *waits = gateway->waits;
	uint64_t one = 1;
	ssize_t done;

	atomic_store(&gateway->cancelled, 1);
	done = write(waits->cancel_fd, &one, sizeof one);
	(void)done; /* the counter is full: it is readable */
	pthread_mutex_lock(&waits->lock);
	pthread_cond_broadcast(&waits->heard);
	pthread_mutex_unlock(&waits->lock);
	if (gateway->notify)
		kp_notify_wake(gateway->notify);
}

/* ---------------------------------------------------------------- one wait */

/* What a wait looks at: whether it is there, and when it will be by itself (0: not known). */
typedef keep_status look_now(void *ctx, keep_gateway *gateway, bool *found, int64_t *due_ms,
			     keep_error *err);

struct wait {
	keep_gateway *gateway;
	enum topic topic;
	uint64_t seen; /* position in the news */
};

static bool is_cancelled(const keep_gateway *gateway)
{
	return atomic_load(&gateway->cancelled) != 0;
}

/* Milliseconds until then, rounded up; at least 0. */
static int64_t ms_until(int64_t end_ns)
{
	int64_t left_ns = end_ns - kp_monotonic_ns();

	return left_ns <= 0 ? 0 : (left_ns + 999999) / 1000000;
}

/* ---------------------------------------------------------------- listening to a server */

/* With the lock. Everybody looks. */
static void tell_everything(struct kp_gateway_waits *waits)
{
	for (int topic = 0; topic < TOPIC_COUNT; topic++)
		waits->news[topic]++;
	pthread_cond_broadcast(&waits->heard);
}

static void log_deafness(const keep_gateway *gateway, const keep_error *why)
{
	kp_log(KEEP_LOG_WARNING, "schema %s: waits wake up late: %s", gateway->schema,
	       why->message);
}

static kp_sql_conn *begin_listening(const keep_gateway *gateway)
{
	kp_sql_options options = {.location = gateway->location,
				  .schema = gateway->schema,
				  .read_only = true,
				  .timeout_ms = gateway->timeout_ms};
	kp_sql_conn *conn = NULL;
	keep_error why = KEEP_ERROR_INIT;

	if (kp_sql_open(gateway->driver, &options, &conn, &why) == KEEP_OK &&
	    kp_sql_listen(conn, gateway->channel, &why) == KEEP_OK)
		return conn;
	log_deafness(gateway, &why);
	kp_sql_close(&conn);
	return NULL;
}

/* With the lock, which it gives up meanwhile: make the connection, as the leader. */
static void listen_first(keep_gateway *gateway)
{
	struct kp_gateway_waits *waits = gateway->waits;
	kp_sql_conn *conn;

	waits->is_led = true;
	pthread_mutex_unlock(&waits->lock);
	conn = begin_listening(gateway);
	pthread_mutex_lock(&waits->lock);
	waits->is_led = false;
	waits->conn = conn;
	waits->retry_ns = kp_monotonic_ns() + RETRY_NS;
	tell_everything(waits);
}

/* With the lock, which it gives up meanwhile: hear one remark, as the leader. */
static void lead(keep_gateway *gateway, int64_t nap_ms)
{
	struct kp_gateway_waits *waits = gateway->waits;
	keep_error why = KEEP_ERROR_INIT;
	bool notified = false;
	keep_status status;

	waits->is_led = true;
	pthread_mutex_unlock(&waits->lock);
	status = kp_sql_wait(waits->conn, nap_ms, waits->cancel_fd, &notified, &waits->payload,
			     &why);
	if (status != KEEP_OK) {
		log_deafness(gateway, &why);
		kp_sql_close(&waits->conn);
	}
	pthread_mutex_lock(&waits->lock);
	waits->is_led = false;
	for (int topic = 0; topic < TOPIC_COUNT && notified; topic++)
		if (kp_bytes_equal(kp_buffer_bytes(&waits->payload),
				   keep_bytes_of(topic_names[topic])))
			waits->news[topic]++;
	if (status != KEEP_OK)
		tell_everything(waits);
	pthread_cond_broadcast(&waits->heard);
}

/* With the lock: sleep while another one leads. */
static void follow(struct kp_gateway_waits *waits, int64_t end_ns)
{
	struct timespec end = {.tv_sec = (time_t)(end_ns / 1000000000),
			       .tv_nsec = (long)(end_ns % 1000000000)};

	pthread_cond_timedwait(&waits->heard, &waits->lock, &end);
}

/* Sleep where nobody tells. */
static void nap_blindly(const keep_gateway *gateway, int64_t nap_ms)
{
	struct pollfd wake = {.fd = gateway->waits->cancel_fd, .events = POLLIN};

	(void)poll(&wake, 1, nap_ms < BLIND_MS ? (int)nap_ms : BLIND_MS);
}

static void nap_listening(struct wait *wait, int64_t nap_ms)
{
	struct kp_gateway_waits *waits = wait->gateway->waits;
	int64_t end_ns = kp_monotonic_ns() + nap_ms * 1000000;
	bool is_deaf = false;

	pthread_mutex_lock(&waits->lock);
	while (!is_deaf && waits->news[wait->topic] == wait->seen && !is_cancelled(wait->gateway) &&
	       ms_until(end_ns) > 0) {
		if (waits->is_led)
			follow(waits, end_ns);
		else if (waits->conn)
			lead(wait->gateway, ms_until(end_ns));
		else
			is_deaf = true;
	}
	pthread_mutex_unlock(&waits->lock);
	if (is_deaf)
		nap_blindly(wait->gateway, ms_until(end_ns));
}

/* ---------------------------------------------------------------- sleeping */

static bool is_topic(void *ctx, keep_bytes topic)
{
	const struct wait *wait = ctx;

	return kp_bytes_equal(topic, keep_bytes_of(topic_names[wait->topic]));
}

/* Invariant 1. */
static void take_position(struct wait *wait)
{
	struct kp_gateway_waits *waits = wait->gateway->waits;

	if (wait->gateway->notify)
		wait->seen = kp_notify_position(wait->gateway->notify);
	if (!wait->gateway->listens)
		return;
	pthread_mutex_lock(&waits->lock);
	if (!waits->conn && !waits->is_led && kp_monotonic_ns() >= waits->retry_ns)
		listen_first(wait->gateway);
	wait->seen = waits->news[wait->topic];
	pthread_mutex_unlock(&waits->lock);
}

/* Until news of the topic, a cancel, or nap_ms are over; or for no reason. */
static void nap(struct wait *wait, int64_t nap_ms)
{
	keep_gateway *gateway = wait->gateway;

	if (gateway->notify)
		(void)kp_notify_wait(gateway->notify, &wait->seen, nap_ms, is_topic, wait,
				     &gateway->cancelled);
	else if (gateway->listens)
		nap_listening(wait, nap_ms);
	else
		nap_blindly(gateway, nap_ms);
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

static keep_status sleep_until(struct wait *wait, look_now *look, void *ctx, int64_t timeout_ms,
			       bool *found, keep_error *err)
{
	keep_gateway *gateway = wait->gateway;
	bool is_endless = timeout_ms < 0 || timeout_ms > LONGEST_MS;
	int64_t end_ns = kp_monotonic_ns() + (is_endless ? 0 : timeout_ms) * 1000000;

	*found = false;
	for (;;) {
		int64_t due_ms = 0, left_ms;
		bool is_there = false;
		keep_status status;

		if (is_cancelled(gateway))
			return KEEP_OK;
		if (timeout_ms != 0)
			take_position(wait);
		status = look(ctx, gateway, &is_there, &due_ms, err);
		if (status != KEEP_OK || is_there) {
			*found = is_there;
			return status;
		}
		left_ms = is_endless ? LOOK_MS : ms_until(end_ns);
		if (left_ms == 0)
			return KEEP_OK;
		nap(wait, choose_nap(left_ms, due_ms));
	}
}

/* ---------------------------------------------------------------- what is waited for */

/* One statement with one row of one column; no row: *has_row is false. */
struct answer {
	size_t statement;
	kp_value value;
	size_t value_count;
	kp_kind kind;
	bool has_row;
	int64_t number;
};

static keep_status query_answer(void *ctx, kp_lease *lease, keep_error *err)
{
	struct answer *answer = ctx;
	kp_sql_stmt *stmt = NULL;
	kp_value column = {.is_null = true};
	keep_status status = kp_lease_bind(lease, answer->statement, &answer->value,
					   answer->value_count, &stmt, err);

	answer->has_row = false;
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &answer->has_row, err);
	if (status == KEEP_OK && answer->has_row)
		status = kp_sql_column(stmt, 0, answer->kind, &column, err);
	answer->number = column.is_null ? 0 : column.integer;
	kp_sql_reset(stmt);
	return status;
}

static keep_status look_for_input(void *ctx, keep_gateway *gateway, bool *found, int64_t *due_ms,
				  keep_error *err)
{
	const keep_bytes *consumer = ctx;
	struct answer pending = {.statement = KP_GATEWAY_HAS_PENDING,
				 .value = kp_text_value(*consumer),
				 .value_count = 1,
				 .kind = KP_BOOL};
	struct answer input = {.statement = KP_GATEWAY_HAS_INPUT, .kind = KP_BOOL};
	keep_status status = kp_gateway_read(gateway, query_answer, &pending, err);

	(void)due_ms;
	*found = status == KEEP_OK && pending.number;
	if (status != KEEP_OK || pending.has_row)
		return status;
	if (!gateway->read_only)
		status = kp_consumer_make(gateway, *consumer, kp_clock_ms(), err);
	if (status == KEEP_OK)
		status = kp_gateway_read(gateway, query_answer, &input, err);
	*found = status == KEEP_OK && input.number;
	return status;
}

keep_status keep_gateway_wait(keep_gateway *gateway, keep_bytes consumer, int64_t timeout_ms,
			      bool *pending, keep_error *err)
{
	struct wait wait = {gateway, TOPIC_INPUT, 0};
	keep_status status = kp_check_key("consumer", consumer, err);

	if (status != KEEP_OK)
		return status;
	return sleep_until(&wait, look_for_input, &consumer, timeout_ms, pending, err);
}

static keep_status look_for_deliveries(void *ctx, keep_gateway *gateway, bool *found,
				       int64_t *due_ms, keep_error *err)
{
	const keep_bytes *channel = ctx;
	bool is_any = !channel->data;
	struct answer due = {.statement = is_any ? KP_GATEWAY_DELIVERIES_DUE_ANYWHERE
						 : KP_GATEWAY_DELIVERIES_DUE,
			     .value = kp_text_value(*channel),
			     .value_count = is_any ? 0 : 1,
			     .kind = KP_TIME};
	keep_status status = kp_gateway_read(gateway, query_answer, &due, err);

	*found = status == KEEP_OK && due.has_row && due.number <= kp_clock_ms();
	*due_ms = due.has_row ? due.number : 0;
	return status;
}

keep_status keep_gateway_wait_deliveries(keep_gateway *gateway, keep_bytes channel,
					 int64_t timeout_ms, bool *due, keep_error *err)
{
	struct wait wait = {gateway, TOPIC_DELIVERY, 0};
	keep_status status =
		kp_check_text("channel", channel, KEEP_GATEWAY_TEXT_MAX, KP_MAY_BE_ABSENT, err);

	if (status != KEEP_OK)
		return status;
	return sleep_until(&wait, look_for_deliveries, &channel, timeout_ms, due, err);
}

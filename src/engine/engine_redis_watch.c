/*
 * engine_redis_watch.c - waiting for changes: a connection of its own, subscribed to the channel
 * <prefix>:watch, to which every change publishes its paths.
 *
 *     subscribed --(connection breaks)--> lost --(subscribed again)--> subscribed, changed
 *
 * Invariants:
 *   1. A watch is subscribed when watch_open returns; what is published from then on waits in the
 *      socket. Redis closes the connection of a watch that falls far behind.
 *   2. Whenever messages may have been missed (the connection was lost), the answer is "changed".
 *   3. A cancel is one wake-up: of the wait under way, or of the next one.
 *
 * Connecting again keeps the connection's own time limit, so a wait that meets a server which does
 * not answer may last that much longer than asked.
 *
 * A change above the path counts as well: an unset there takes along what is below.
 *
 * Tests: tests/contract/test_engine_redis.c and the suites of all backends.
 */
#include "engine/engine_redis.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RETRY_MS_MIN 50
#define RETRY_MS_MAX 1000

struct redis_watch {
	kp_watch base;
	struct redis_link *link; /* NULL while lost */
	int cancel;              /* eventfd */
	size_t len;
	char path[KEEP_PATH_BYTES_MAX];
};

static struct redis_store *store_of(const struct redis_watch *watch)
{
	return (struct redis_store *)watch->base.store;
}

static keep_status subscribe(struct redis_watch *watch, keep_error *err)
{
	struct redis_pool *pool = &store_of(watch)->pool;
	struct redis_request request;
	redisReply *reply = NULL;
	keep_status status = kp_redis_connect(pool, &watch->link, err);

	if (status != KEEP_OK)
		return status;
	kp_redis_begin(&request, REDIS_COMMAND);
	kp_redis_put_text(&request, "SUBSCRIBE");
	kp_redis_put_key(&request, pool->url.prefix, ":watch", KEEP_BYTES(""));
	status = kp_redis_command(pool, watch->link, &request, &reply, err);
	kp_redis_request_release(&request);
	freeReplyObject(reply);
	if (status != KEEP_OK)
		kp_redis_disconnect(&watch->link);
	return status;
}

keep_status kp_redis_watch_open(kp_store *base, const kp_path *path, kp_watch **out,
				keep_error *err)
{
	struct redis_watch *watch = kp_alloc_zero(sizeof *watch);
	keep_status status;

	*out = NULL;
	if (!watch)
		return kp_fail_memory(err, "a watch");
	watch->base.store = base;
	watch->len = path->text.len;
	memcpy(watch->path, path->text.data, path->text.len);
	watch->cancel = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	status = watch->cancel < 0 ? kp_fail_errno(err, errno, "a watch") : subscribe(watch, err);
	if (status == KEEP_OK)
		*out = &watch->base;
	else
		kp_redis_watch_close(&watch->base);
	return status;
}

/* Does a published list of paths concern this watch? */
static bool concerns(const struct redis_watch *watch, keep_bytes notice)
{
	keep_bytes path = {watch->path, watch->len};
	const char *at = notice.data, *end = notice.data + notice.len;

	if (kp_bytes_equal(notice, KEEP_BYTES(KP_REDIS_NOTICE_IGNORED)))
		return false;
	for (;;) {
		const char *zero = memchr(at, '\0', (size_t)(end - at));
		keep_bytes changed = {at, (size_t)((zero ? zero : end) - at)};

		if (kp_path_concerns(changed, path))
			return true;
		if (!zero)
			return false;
		at = zero + 1;
	}
}

/* Read all messages that are there. A lost connection is no failure here. */
static keep_status drain(struct redis_watch *watch, bool *changed, keep_error *err)
{
	struct redis_pool *pool = &store_of(watch)->pool;
	bool more = true;

	while (more && watch->link) {
		redisReply *reply = NULL;
		keep_status status = kp_redis_read(pool, watch->link, false, &reply, err);

		if (reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 3 &&
		    reply->element[0]->str && strcmp(reply->element[0]->str, "message") == 0 &&
		    reply->element[2]->str &&
		    concerns(watch, (keep_bytes){reply->element[2]->str, reply->element[2]->len}))
			*changed = true;
		if (watch->link->broken)
			kp_redis_disconnect(&watch->link);
		more = reply != NULL;
		freeReplyObject(reply);
		if (status == KEEP_NO_MEMORY)
			return status;
	}
	return KEEP_OK;
}

static int ms_left(int64_t until_ns)
{
	int64_t left = until_ns < 0 ? INT32_MAX : (until_ns - kp_monotonic_ns() + 999999) / 1000000;

	if (left < 0)
		return 0;
	return left > INT32_MAX ? INT32_MAX : (int)left;
}

/* Wait for a message or a cancel. *cancelled consumes the cancel. */
static void sleep_on(const struct redis_watch *watch, int timeout_ms, bool *cancelled)
{
	struct pollfd fds[2] = {{.fd = watch->cancel, .events = POLLIN},
				{.fd = watch->link ? watch->link->fd : -1, .events = POLLIN}};
	uint64_t word;

	if (poll(fds, 2, timeout_ms) > 0 && fds[0].revents)
		*cancelled = read(watch->cancel, &word, sizeof word) > 0;
}

keep_status kp_redis_watch_wait(kp_watch *base, int64_t timeout_ms, bool *changed, keep_error *err)
{
	struct redis_watch *watch = (struct redis_watch *)base;
	int64_t until = timeout_ms < 0 ? -1 : kp_monotonic_ns() + timeout_ms * 1000000;
	int pause_ms = RETRY_MS_MIN;
	keep_status status = KEEP_OK;

	*changed = false;
	for (;;) {
		bool cancelled = false;
		int left = ms_left(until);

		sleep_on(watch, 0, &cancelled); /* a cancel comes before any news */
		if (cancelled)
			return KEEP_OK;

		if (!watch->link) {
			status = subscribe(watch, err);
			*changed = status == KEEP_OK;
		} else {
			status = drain(watch, changed, err);
			if (status == KEEP_OK && !watch->link && !*changed)
				continue; /* lost: subscribe again at once */
		}
		if (*changed ||
		    (status != KEEP_OK && status != KEEP_UNAVAILABLE && status != KEEP_BUSY))
			return status;
		if (!watch->link && left > pause_ms)
			left = pause_ms;
		pause_ms = pause_ms * 2 < RETRY_MS_MAX ? pause_ms * 2 : RETRY_MS_MAX;
		if (left == 0)
			return status;
		sleep_on(watch, left, &cancelled);
		if (cancelled)
			return KEEP_OK;
	}
}

void kp_redis_watch_cancel(kp_watch *base)
{
	struct redis_watch *watch = (struct redis_watch *)base;
	uint64_t one = 1;
	ssize_t written = write(watch->cancel, &one, sizeof one);

	(void)written; /* it can only be full, which is a cancel already */
}

void kp_redis_watch_close(kp_watch *base)
{
	struct redis_watch *watch = (struct redis_watch *)base;

	kp_redis_disconnect(&watch->link);
	if (watch->cancel >= 0)
		close(watch->cancel);
	kp_free(watch);
}

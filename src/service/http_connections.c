/*
 * http_connections.c - which connections are open, and until when each may stay as it is.
 *
 * libmicrohttpd closes a connection on which nothing happens. A client that sends one byte now and
 * then would hold its connection for ever: so there is a deadline for what it is doing, and a
 * thread that looks once a second whom it has passed. That one is cut with shutdown();
 * libmicrohttpd then sees the end and closes it.
 *
 * Invariants:
 *   1. A descriptor is touched only while its link is in the list: libmicrohttpd takes the link out
 *      before it closes the descriptor.
 *   2. Setting a deadline takes no lock.
 *
 * What it does not do: count connections of one address; libmicrohttpd does.
 *
 * Tests: tests/http/test_http_bounds.py.
 */
#include "service/http_exchange.h"

#include <errno.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

enum { LOOK_MS = 500, STACK_SIZE = 256 * 1024 };

struct kp_links {
	keep_service *service;
	pthread_t thread;
	pthread_mutex_t mutex; /* guards what follows, and the links' prev and next */
	pthread_cond_t woken;
	kp_link first; /* of a ring */
	bool is_stopping;
};

/* The client has ended its side and everything it sent was read. */
static bool is_hopeless(const kp_link *link)
{
	int unread = 0;

	return atomic_load(&link->is_reading) && kp_link_is_gone(link) &&
	       ioctl(link->fd, FIONREAD, &unread) == 0 && unread == 0;
}

/* With the mutex. */
static void cut_late(kp_links *links)
{
	int64_t now_ms = kp_now_ms();

	for (kp_link *link = links->first.next; link != &links->first; link = link->next) {
		int64_t deadline_ms = atomic_load(&link->deadline_ms);

		if ((deadline_ms && now_ms >= deadline_ms) || is_hopeless(link)) {
			kp_log(KEEP_LOG_DEBUG, "http: a connection was cut");
			(void)shutdown(link->fd, SHUT_RDWR);
			atomic_store(&link->is_reading, false);
			atomic_store(&link->deadline_ms, 0);
		}
	}
}

static void *watch(void *ctx)
{
	kp_links *links = ctx;

	pthread_mutex_lock(&links->mutex);
	while (!links->is_stopping) {
		int64_t until_ns = kp_monotonic_ns() + LOOK_MS * INT64_C(1000000);
		struct timespec until = {until_ns / 1000000000, until_ns % 1000000000};

		(void)pthread_cond_timedwait(&links->woken, &links->mutex, &until);
		cut_late(links);
	}
	pthread_mutex_unlock(&links->mutex);
	return NULL;
}

keep_status kp_links_start(keep_service *service, kp_links **out, keep_error *err)
{
	kp_links *links = kp_alloc_zero(sizeof *links);
	pthread_condattr_t clock;
	pthread_attr_t attributes;
	int failed;

	*out = NULL;
	if (!links)
		return kp_fail_memory(err, "connections");
	links->service = service;
	links->first.prev = links->first.next = &links->first;
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_mutex_init(&links->mutex, NULL);
	pthread_cond_init(&links->woken, &clock);
	pthread_condattr_destroy(&clock);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	failed = pthread_create(&links->thread, &attributes, watch, links);
	pthread_attr_destroy(&attributes);
	if (failed) {
		pthread_mutex_destroy(&links->mutex);
		pthread_cond_destroy(&links->woken);
		kp_free(links);
		return kp_fail_errno(err, failed, "a thread for connections");
	}
	*out = links;
	return KEEP_OK;
}

void kp_links_stop(kp_links **links)
{
	kp_links *self = *links;

	if (!self)
		return;
	*links = NULL;
	pthread_mutex_lock(&self->mutex);
	self->is_stopping = true;
	pthread_cond_signal(&self->woken);
	pthread_mutex_unlock(&self->mutex);
	pthread_join(self->thread, NULL);
	pthread_cond_destroy(&self->woken);
	pthread_mutex_destroy(&self->mutex);
	kp_free(self);
}

static void open_link(kp_links *links, struct MHD_Connection *connection, void **socket_context)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	kp_link *link = info ? kp_alloc_zero(sizeof *link) : NULL;

	*socket_context = link;
	if (!link)
		return;
	link->fd = info->connect_fd;
	kp_link_until(link, kp_now_ms() + KP_HTTP_HEAD_MS);
	pthread_mutex_lock(&links->mutex);
	link->next = &links->first;
	link->prev = links->first.prev;
	link->prev->next = link->next->prev = link;
	pthread_mutex_unlock(&links->mutex);
	kp_gauge_add(links->service, KP_GAUGE_CONNECTIONS, 1);
}

static void close_link(kp_links *links, void **socket_context)
{
	kp_link *link = *socket_context;

	if (!link)
		return;
	*socket_context = NULL;
	pthread_mutex_lock(&links->mutex);
	link->prev->next = link->next;
	link->next->prev = link->prev;
	pthread_mutex_unlock(&links->mutex);
	kp_gauge_add(links->service, KP_GAUGE_CONNECTIONS, -1);
	kp_free(link);
}

void kp_links_notify(void *links, struct MHD_Connection *connection, void **socket_context,
		     enum MHD_ConnectionNotificationCode code)
{
	if (code == MHD_CONNECTION_NOTIFY_STARTED)
		open_link(links, connection, socket_context);
	else
		close_link(links, socket_context);
}

kp_link *kp_link_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

void kp_link_until(kp_link *link, int64_t deadline_ms)
{
	atomic_store(&link->deadline_ms, deadline_ms);
}

bool kp_link_is_gone(const kp_link *link)
{
	struct pollfd about = {.fd = link->fd, .events = POLLRDHUP};

	return poll(&about, 1, 0) > 0 && about.revents != 0;
}

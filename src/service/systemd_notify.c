/*
 * systemd_notify.c - tells the service manager how we are.
 *
 * The protocol of sd_notify(3): datagrams of NAME=VALUE lines to the socket that NOTIFY_SOCKET
 * names, a path or, with an @ in front, a name of the abstract kind. So small a protocol needs no
 * library.
 *
 * Invariants:
 *   1. Nothing waits for the manager: a datagram that cannot be sent at once is a failure, and the
 *      next one is another try.
 *   2. A sign of life is sent only while the service is well, so a service that hangs is started
 * anew.
 *
 * What it does not do: take sockets over, hand descriptors to the manager.
 *
 * Tests: tests/unit/test_systemd_notify.c.
 */
#include "service/systemd_notify.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { TEXT_SIZE = 512 };

struct kp_watchdog {
	keep_service *service;
	int64_t period_ms;
	kp_loop loop;
};

/* ---------------------------------------------------------------- telling */

static keep_status read_address(const char *name, struct sockaddr_un *address, socklen_t *size,
				keep_error *err)
{
	size_t len = strlen(name);

	memset(address, 0, sizeof *address);
	address->sun_family = AF_UNIX;
	if ((*name != '/' && *name != '@') || len < 2 || len >= sizeof address->sun_path)
		return kp_fail(err, KEEP_INVALID, "NOTIFY_SOCKET: it names no socket");
	memcpy(address->sun_path, name, len);
	if (*name == '@')
		address->sun_path[0] = '\0';
	/* A path ends with its zero byte, an abstract name with its length. */
	*size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (*name == '/'));
	return KEEP_OK;
}

keep_status kp_systemd_tell(const char *state, keep_error *err)
{
	const char *name = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address;
	socklen_t size = 0;
	ssize_t sent;
	int fd;
	keep_status status;

	if (!name || !*name)
		return KEEP_OK;
	status = read_address(name, &address, &size, err);
	if (status != KEEP_OK)
		return status;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return kp_fail_errno(err, errno, "NOTIFY_SOCKET");
	do
		sent = sendto(fd, state, strlen(state), MSG_NOSIGNAL,
			      (const struct sockaddr *)&address, size);
	while (sent < 0 && errno == EINTR);
	if (sent < 0)
		status = kp_fail_errno(err, errno, "NOTIFY_SOCKET");
	kp_file_close(&fd);
	return status;
}

void kp_systemd_tell_state(keep_service_state state, const char *text)
{
	static const struct {
		const char *before, *what;
	} told[] = {
		[KEEP_SERVICE_WAITING] = {"", "waiting: the home is served by "},
		[KEEP_SERVICE_STARTING] = {"", "starting"},
		[KEEP_SERVICE_READY] = {"READY=1\n", "serving at "},
		[KEEP_SERVICE_STOPPING] = {"STOPPING=1\n", "finishing what is in flight"},
	};
	char line[TEXT_SIZE];
	keep_error err = KEEP_ERROR_INIT;
	size_t len;

	(void)snprintf(line, sizeof line, "%sSTATUS=%s%s", told[state].before, told[state].what,
		       text ? text : "");
	len = strlen(told[state].before);
	for (char *at = line + len; *at; at++)
		if ((unsigned char)*at < ' ')
			*at = ' ';
	if (kp_systemd_tell(line, &err) != KEEP_OK)
		kp_log(KEEP_LOG_WARNING, "%s", err.message);
}

/* ---------------------------------------------------------------- the watchdog */

static keep_status turn(void *ctx, int64_t *pause_ms, keep_error *err)
{
	kp_watchdog *watchdog = ctx;
	keep_status status = keep_service_health(watchdog->service, err);

	*pause_ms = watchdog->period_ms;
	return status == KEEP_OK ? kp_systemd_tell("WATCHDOG=1", err) : status;
}

/* Half of what the manager waits; 0: it does not watch us. */
static int64_t read_period(void)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	int64_t value = 0, process = 0;

	if (!usec || !kp_int_parse(keep_bytes_of(usec), &value) || value <= 0)
		return 0;
	if (pid && (!kp_int_parse(keep_bytes_of(pid), &process) || process != getpid()))
		return 0;
	return value / 2000 > 0 ? value / 2000 : 1;
}

keep_status kp_watchdog_start(keep_service *service, kp_watchdog **out, keep_error *err)
{
	int64_t period_ms = read_period();
	kp_watchdog *watchdog;
	keep_status status;

	*out = NULL;
	if (!period_ms)
		return KEEP_OK;
	watchdog = kp_alloc_zero(sizeof *watchdog);
	if (!watchdog)
		return kp_fail_memory(err, "the watchdog");
	watchdog->service = service;
	watchdog->period_ms = period_ms;
	watchdog->loop =
		(kp_loop){.service = service, .name = "watchdog", .turn = turn, .ctx = watchdog};
	status = kp_loop_start(&watchdog->loop, err);
	if (status != KEEP_OK)
		kp_free(watchdog);
	else
		*out = watchdog;
	return status;
}

void kp_watchdog_stop(kp_watchdog **watchdog)
{
	if (*watchdog)
		kp_loop_stop(&(*watchdog)->loop);
	kp_free(*watchdog);
	*watchdog = NULL;
}

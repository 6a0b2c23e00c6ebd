/*
 * test_systemd_notify.c - what the service manager is told, by a socket of the test's own: states,
 * both kinds of names, and signs of life only while the service is well.
 */
#include "keep_test.h"
#include "service/systemd_notify.h"
#include "temp_folder.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static temp_folder folder;
static char name[sizeof((struct sockaddr_un *)0)->sun_path];

/* A manager's socket; NOTIFY_SOCKET names it. */
static int listen_at(bool is_abstract)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t size;
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	(void)snprintf(name, sizeof name, "%s%.80s/notify", is_abstract ? "@" : "", folder.path);
	memcpy(address.sun_path, name, strlen(name));
	size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name) + !is_abstract);
	if (is_abstract)
		address.sun_path[0] = '\0';
	CHECK(fd >= 0 && bind(fd, (const struct sockaddr *)&address, size) == 0, "%s", name);
	setenv("NOTIFY_SOCKET", name, 1);
	return fd;
}

static void stop_listening(int fd)
{
	close(fd);
	if (*name == '/')
		unlink(name);
	unsetenv("NOTIFY_SOCKET");
}

static const char *hear(int fd)
{
	static char text[1024];
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	ssize_t got;

	CHECK(poll(&ready, 1, 30000 * test_patience()) == 1, "nothing was told");
	got = recv(fd, text, sizeof text - 1, 0);
	CHECK(got >= 0, "a datagram");
	text[got] = '\0';
	return text;
}

static bool is_silent(int fd, int timeout_ms)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};

	return poll(&ready, 1, timeout_ms) == 0;
}

static void states_are_told_to_both_kinds_of_sockets(void **state)
{
	(void)state;
	for (int is_abstract = 0; is_abstract < 2; is_abstract++) {
		int fd = listen_at(is_abstract);

		kp_systemd_tell_state(KEEP_SERVICE_WAITING, "process 7\non host");
		assert_string_equal(hear(fd),
				    "STATUS=waiting: the home is served by process 7 on host");
		kp_systemd_tell_state(KEEP_SERVICE_READY, "http://127.0.0.1:7400");
		assert_string_equal(hear(fd), "READY=1\nSTATUS=serving at http://127.0.0.1:7400");
		kp_systemd_tell_state(KEEP_SERVICE_STOPPING, NULL);
		assert_string_equal(hear(fd), "STOPPING=1\nSTATUS=finishing what is in flight");
		stop_listening(fd);
	}
	assert_nothing_lives();
}

static void without_a_manager_nothing_is_told_and_a_wrong_name_is_refused(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	unsetenv("NOTIFY_SOCKET");
	OK(kp_systemd_tell("READY=1", &err));
	setenv("NOTIFY_SOCKET", "no/path", 1);
	assert_int_equal(kp_systemd_tell("READY=1", &err), KEEP_INVALID);
	setenv("NOTIFY_SOCKET", "/nobody/listens/there", 1);
	assert_int_equal(kp_systemd_tell("READY=1", &err), KEEP_NOT_FOUND);
	unsetenv("NOTIFY_SOCKET");
}

static void signs_of_life_end_when_the_service_is_not_well(void **state)
{
	static keep_service
		service; /* without a lease: only the flag is looked at, then it is down */
	kp_watchdog *watchdog = NULL;
	keep_error err = KEEP_ERROR_INIT;
	int fd = listen_at(false);

	(void)state;
	atomic_store(&service.stopping, true);
	setenv("WATCHDOG_USEC", "20000", 1);
	OK(kp_watchdog_start(&service, &watchdog, &err));
	assert_non_null(watchdog);
	assert_true(is_silent(fd, 200));
	kp_watchdog_stop(&watchdog);
	stop_listening(fd);
	unsetenv("WATCHDOG_USEC");
	assert_nothing_lives();
}

static void another_process_watched_is_none_of_ours(void **state)
{
	static keep_service service;
	kp_watchdog *watchdog = NULL;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	unsetenv("WATCHDOG_USEC");
	OK(kp_watchdog_start(&service, &watchdog, &err));
	assert_null(watchdog);
	setenv("WATCHDOG_USEC", "1000000", 1);
	setenv("WATCHDOG_PID", "1", 1);
	OK(kp_watchdog_start(&service, &watchdog, &err));
	assert_null(watchdog);
	setenv("WATCHDOG_USEC", "soon", 1);
	unsetenv("WATCHDOG_PID");
	OK(kp_watchdog_start(&service, &watchdog, &err));
	assert_null(watchdog);
	unsetenv("WATCHDOG_USEC");
	kp_watchdog_stop(&watchdog);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(states_are_told_to_both_kinds_of_sockets),
		cmocka_unit_test(without_a_manager_nothing_is_told_and_a_wrong_name_is_refused),
		cmocka_unit_test(signs_of_life_end_when_the_service_is_not_well),
		cmocka_unit_test(another_process_watched_is_none_of_ours),
	};
	int failed;

	temp_folder_make(&folder);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	temp_folder_remove(&folder);
	return failed;
}

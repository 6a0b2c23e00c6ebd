/*
 * host_lease.c - one host per home.
 *
 * In a folder the lease is a lock on HOME/serve.lock that the kernel takes away with its holder. On
 * a server it is an advisory lock of a connection of its own: the server takes it away when that
 * connection ends, and a loop looks every second whether it still lives.
 *
 * Invariants:
 *   1. The lease is not what keeps data whole: every step of the host is idempotent by a key and
 * fenced by an attempt. Two hosts for a moment (a server that lost sight of one) do work twice, no
 * more.
 *   2. Who waits takes over within WAIT_MS of the holder's end.
 *   3. A lost connection is replaced. Is the lease another's by then, the check says so for good.
 *   4. A lock file that was removed or replaced is no lease: the check looks each time.
 *
 * What it does not do: end the service; whoever checks does.
 *
 * Tests: tests/contract/test_service_lease.c.
 */
#include "home/home_private.h"
#include "service/host.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WAIT_MS = 50, BEAT_MS = 1000, HOLDER_MAX = 256, TIMEOUT_MS = 5000 };
#define LOCK_FILE "serve.lock"
#define LOCK_KEY "hashtextextended('keep serve', 0)"

struct kp_host_lease {
	keep_service *service;
	int fd;            /* of the lock file; -1: on a server */
	kp_sql_conn *conn; /* whose lock it is; the loop's, once that runs */
	char *conninfo;
	kp_loop beat;
	pthread_mutex_t mutex; /* guards what follows */
	keep_error lost;       /* OK: it is ours */
};

/* ---------------------------------------------------------------- a folder */

static keep_status open_lock_file(const char *folder, int flags, int *fd, keep_error *err)
{
	int home = -1;
	keep_status status = kp_file_open(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY, 0, &home, err);

	if (status == KEEP_OK)
		status = kp_file_open(home, LOCK_FILE, flags | O_NOFOLLOW, 0600, fd, err);
	kp_file_close(&home);
	return status;
}

static bool try_lock_file(int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (kp_fault(KP_FAULT_FILE)) {
		errno = EIO;
		return false;
	}
	return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

static keep_status take_file(kp_host_lease *lease, bool *taken, keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	char host[64] = "";
	keep_status status;

	*taken = try_lock_file(lease->fd);
	if (!*taken && errno != EAGAIN && errno != EACCES && errno != EINTR)
		return kp_fail_errno(err, errno, "%s/" LOCK_FILE, lease->service->folder);
	if (!*taken)
		return KEEP_OK;
	(void)gethostname(host, sizeof host - 1);
	status = kp_buffer_append_format(&text, err, "process %lld on %s\n", (long long)getpid(),
					 host);
	if (status == KEEP_OK)
		status = kp_file_truncate(lease->fd, 0, err);
	if (status == KEEP_OK)
		status = kp_file_write_at(lease->fd, kp_buffer_bytes(&text), 0, err);
	*taken = status == KEEP_OK; /* whoever tries again locks what is his */
	keep_buffer_release(&text);
	return status;
}

static keep_status read_holder(int fd, keep_buffer *who, keep_error *err)
{
	char text[HOLDER_MAX];
	size_t got = 0, position = 0;
	keep_status status = kp_file_read_at(fd, text, sizeof text, 0, &got, err);

	while (got && text[got - 1] == '\n')
		got--;
	if (status == KEEP_OK && (!got || !kp_utf8_is_valid((keep_bytes){text, got}, &position)))
		return keep_buffer_set(who, KEEP_BYTES("another process"), err);
	return status == KEEP_OK ? keep_buffer_set(who, (keep_bytes){text, got}, err) : status;
}

static keep_status holder_of_folder(const char *home, bool *held, keep_buffer *who, keep_error *err)
{
	int fd = -1;
	keep_status status = open_lock_file(home, O_RDWR, &fd, err);
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (status == KEEP_NOT_FOUND) {
		*held = false;
		return KEEP_OK;
	}
	if (status == KEEP_OK && fcntl(fd, F_OFD_GETLK, &lock) != 0)
		status = kp_fail_errno(err, errno, "%s/" LOCK_FILE, home);
	*held = status == KEEP_OK && lock.l_type != F_UNLCK;
	if (*held)
		status = read_holder(fd, who, err);
	kp_file_close(&fd);
	return status;
}

/* ---------------------------------------------------------------- a server */

static keep_status connect_to(const char *home, char **conninfo, kp_sql_conn **conn,
			      keep_error *err)
{
	kp_postgres_url parts = {.conninfo = NULL};
	kp_sql_options options = {.timeout_ms = TIMEOUT_MS};
	keep_status status = KEEP_OK;

	if (!*conninfo) {
		status = kp_postgres_url_read(home, "keep", &parts, err);
		if (status == KEEP_OK) {
			*conninfo = parts.conninfo;
			parts.conninfo = NULL;
		}
		kp_postgres_url_release(&parts);
	}
	options.location = *conninfo;
	return status == KEEP_OK ? kp_sql_open(&kp_sql_postgres, &options, conn, err) : status;
}

static keep_status try_lock_server(kp_sql_conn *conn, bool *taken, keep_error *err)
{
	int64_t ours = 0;
	keep_status status =
		kp_home_ask(conn, "SELECT pg_try_advisory_lock(" LOCK_KEY ")::int::bigint",
			    (keep_bytes){NULL, 0}, &ours, err);

	*taken = ours != 0;
	return status;
}

static keep_status server_holder(kp_sql_conn *conn, bool *held, keep_buffer *who, keep_error *err)
{
	int64_t pid = 0;
	keep_status status = kp_home_ask(
		conn,
		"SELECT pid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted "
		"AND database = (SELECT oid FROM pg_database WHERE datname = "
		"current_database()) AND ((classid::bigint << 32) | objid::bigint) = " LOCK_KEY
		" LIMIT 1",
		(keep_bytes){NULL, 0}, &pid, err);

	*held = pid != 0;
	if (status == KEEP_OK && *held)
		status = kp_buffer_append_format(
			who, err, "the host behind the server's process %lld", (long long)pid);
	return status;
}

static keep_status take_server(kp_host_lease *lease, bool *taken, keep_error *err)
{
	keep_status status = KEEP_OK;

	if (!lease->conn)
		status = connect_to(lease->service->home, &lease->conninfo, &lease->conn, err);
	if (status == KEEP_OK)
		status = try_lock_server(lease->conn, taken, err);
	if (status != KEEP_OK)
		kp_sql_close(&lease->conn);
	return status;
}

static void set_lost(kp_host_lease *lease, keep_status status, const char *why)
{
	pthread_mutex_lock(&lease->mutex);
	if (status == KEEP_OK)
		lease->lost = (keep_error)KEEP_ERROR_INIT;
	else
		(void)!kp_fail(&lease->lost, status, "the host's lease: %s", why);
	pthread_mutex_unlock(&lease->mutex);
}

/* Is the connection, and with it the lock, still there? */
static keep_status beat(void *ctx, int64_t *pause_ms, keep_error *err)
{
	kp_host_lease *lease = ctx;
	int64_t one = 0;
	bool taken = false;
	keep_status status = KEEP_OK;

	*pause_ms = BEAT_MS;
	if (lease->conn && kp_home_ask(lease->conn, "SELECT 1::bigint", (keep_bytes){NULL, 0}, &one,
				       err) == KEEP_OK)
		return KEEP_OK;
	if (lease->conn)
		set_lost(lease, KEEP_UNAVAILABLE, "the connection that holds it is lost");
	kp_sql_close(&lease->conn);
	status = take_server(lease, &taken, err);
	if (status == KEEP_OK && !taken) {
		kp_sql_close(&lease->conn);
		set_lost(lease, KEEP_CONFLICT, "another host took it over");
	} else if (status == KEEP_OK) {
		set_lost(lease, KEEP_OK, NULL);
	}
	return status;
}

/* ---------------------------------------------------------------- either */

static keep_status try_take(kp_host_lease *lease, bool *taken, keep_error *err)
{
	*taken = false;
	return lease->service->folder ? take_file(lease, taken, err)
				      : take_server(lease, taken, err);
}

/* Tell once who is waited for. */
static void tell_waiting(kp_host_lease *lease)
{
	const keep_service_options *options = &lease->service->options;
	keep_buffer who = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;
	bool held = true;

	if (!options->changed)
		return;
	status = lease->service->folder ? read_holder(lease->fd, &who, &err)
					: server_holder(lease->conn, &held, &who, &err);
	options->changed(options->changed_ctx, KEEP_SERVICE_WAITING,
			 status == KEEP_OK && who.data ? who.data : "another process");
	keep_buffer_release(&who);
}

static keep_status wait_for_it(kp_host_lease *lease, keep_error *err)
{
	const volatile int *cancelled = lease->service->options.cancelled;
	bool taken = false, told = false;
	keep_status status = try_take(lease, &taken, err);

	while (status == KEEP_OK && !taken) {
		if (cancelled && __atomic_load_n(cancelled, __ATOMIC_RELAXED))
			return kp_fail(err, KEEP_BUSY,
				       "the host's lease: the wait for it was cancelled");
		if (!told)
			tell_waiting(lease);
		told = true;
		(void)poll(NULL, 0, WAIT_MS);
		status = try_take(lease, &taken, err);
		if (keep_status_can_retry(status)) /* a server that restarts */
			status = KEEP_OK;
	}
	return status;
}

keep_status kp_host_lease_take(keep_service *service, kp_host_lease **out, keep_error *err)
{
	kp_host_lease *lease = kp_alloc_zero(sizeof *lease);
	keep_status status = KEEP_OK;

	*out = NULL;
	if (!lease)
		return kp_fail_memory(err, "the host's lease");
	lease->service = service;
	lease->fd = -1;
	lease->lost = (keep_error)KEEP_ERROR_INIT;
	pthread_mutex_init(&lease->mutex, NULL);
	if (service->folder)
		status = open_lock_file(service->folder, O_RDWR | O_CREAT, &lease->fd, err);
	if (status == KEEP_OK)
		status = wait_for_it(lease, err);
	lease->beat.service = service;
	lease->beat.name = "host's lease";
	lease->beat.turn = beat;
	lease->beat.ctx = lease;
	if (status == KEEP_OK && !service->folder)
		status = kp_loop_start(&lease->beat, err);
	if (status != KEEP_OK)
		kp_host_lease_release(&lease);
	*out = lease;
	return status;
}

/* Whether the file that we locked is still the one of the home: whoever removes it, or puts another
   home in its place, lets another host in. */
static keep_status check_file(const kp_host_lease *lease, keep_error *err)
{
	struct stat ours, there;
	int fd = -1, failed = 0;
	keep_status status = open_lock_file(lease->service->folder, O_RDONLY, &fd, err);

	if (status == KEEP_OK && (fstat(fd, &there) != 0 || fstat(lease->fd, &ours) != 0))
		failed = errno;
	kp_file_close(&fd);
	if (status == KEEP_NOT_FOUND)
		return kp_fail(err, KEEP_UNAVAILABLE,
			       "the host's lease: %s/" LOCK_FILE " was removed",
			       lease->service->folder);
	if (status != KEEP_OK)
		return status;
	if (failed)
		return kp_fail_errno(err, failed, "%s/" LOCK_FILE, lease->service->folder);
	if (ours.st_dev == there.st_dev && ours.st_ino == there.st_ino)
		return KEEP_OK;
	return kp_fail(err, KEEP_CONFLICT,
		       "the host's lease: %s/" LOCK_FILE " was replaced: another host may have it",
		       lease->service->folder);
}

keep_status kp_host_lease_check(kp_host_lease *lease, keep_error *err)
{
	keep_status status;

	if (lease->service->folder)
		return check_file(lease, err);
	pthread_mutex_lock(&lease->mutex);
	status = lease->lost.status;
	if (status != KEEP_OK && err)
		*err = lease->lost;
	pthread_mutex_unlock(&lease->mutex);
	return status;
}

void kp_host_lease_release(kp_host_lease **lease)
{
	kp_host_lease *self = *lease;

	*lease = NULL;
	if (!self)
		return;
	kp_loop_stop(&self->beat);
	kp_sql_close(&self->conn);
	kp_file_close(&self->fd);
	pthread_mutex_destroy(&self->mutex);
	kp_free(self->conninfo);
	kp_free(self);
}

keep_status kp_host_lease_holder(const char *home, bool *held, keep_buffer *who, keep_error *err)
{
	kp_sql_conn *conn = NULL;
	char *conninfo = NULL;
	keep_status status;

	*held = false;
	who->len = 0;
	if (!kp_home_is_server(home))
		return holder_of_folder(home, held, who, err);
	status = connect_to(home, &conninfo, &conn, err);
	if (status == KEEP_OK)
		status = server_holder(conn, held, who, err);
	kp_sql_close(&conn);
	kp_free(conninfo);
	return status;
}

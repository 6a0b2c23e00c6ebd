/*
 * bell.c - waking the other side of a session through a file in its folder.
 *
 * The file is a number of four bytes. Who rings writes another one with pwrite and wakes the
 * sleepers of the futex that the file's first page is; who waits reads it with pread and sleeps
 * while it stays. Neither side loads from or stores into the mapping, it only names the futex: the
 * other side, which is not trusted, may cut the file short or overwrite it, and what comes of that
 * is EFAULT from the futex or a wake for nothing, never SIGBUS.
 *
 * A bell carries no news by itself. Who is woken looks at the database; who was not woken (the
 * other side was killed between its commit and its ring) looks by itself now and then.
 *
 * Invariants:
 *   1. The value is read before the look at the database, so that a ring in between ends the sleep.
 *   2. Every failure here slows a wait down and is nothing else.
 *
 * What it does not do: work across a virtual machine's border. There the file may change without
 * the futex being woken, and waits poll.
 *
 * Tests: tests/contract/test_mailbox_bell.c.
 */
#include "mailbox/mailbox_private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAGE_BYTES 4096

keep_status kp_bell_open(kp_bell *bell, const char *path, bool create, keep_error *err)
{
	int flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | (create ? O_CREAT : 0);
	keep_status status = kp_file_open(AT_FDCWD, path, flags, 0600, &bell->fd, err);

	if (status != KEEP_OK)
		return status;
	bell->at = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, bell->fd, 0);
	if (bell->at == MAP_FAILED) {
		status = kp_fail_errno(err, errno, "map '%s'", path);
		bell->at = NULL;
		kp_bell_close(bell);
		return status;
	}
	/* A futex needs a page behind it. */
	if (kp_bell_value(bell) == 0)
		kp_bell_ring(bell);
	return KEEP_OK;
}

void kp_bell_close(kp_bell *bell)
{
	if (bell->at)
		(void)munmap(bell->at, PAGE_BYTES);
	bell->at = NULL;
	kp_file_close(&bell->fd);
}

uint32_t kp_bell_value(const kp_bell *bell)
{
	uint32_t value = 0;

	if (bell->fd < 0 || pread(bell->fd, &value, sizeof value, 0) != (ssize_t)sizeof value)
		return 0;
	return value;
}

void kp_bell_wake(kp_bell *bell)
{
	if (bell->at)
		(void)syscall(SYS_futex, bell->at, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void kp_bell_ring(kp_bell *bell)
{
	uint32_t value = (uint32_t)(kp_monotonic_ns() >> 6) | 1; /* never 0: that is no page yet */
	ssize_t written;

	if (bell->fd < 0)
		return;
	if (value == kp_bell_value(bell))
		value += 2;
	written = pwrite(bell->fd, &value, sizeof value, 0);
	(void)written; /* invariant 2 */
	kp_bell_wake(bell);
}

void kp_bell_wait(kp_bell *bell, uint32_t seen, int64_t timeout_ms)
{
	struct timespec limit = {
		.tv_sec = (time_t)(timeout_ms / 1000),
		.tv_nsec = (long)(timeout_ms % 1000) * 1000000,
	};
	struct timespec nap = {.tv_nsec = 5000000};

	if (timeout_ms <= 0)
		return;
	if (bell->at && (syscall(SYS_futex, bell->at, FUTEX_WAIT, seen, &limit, NULL, 0) == 0 ||
			 errno == ETIMEDOUT || errno == EAGAIN || errno == EINTR))
		return;
	/* No bell, or one that was cut short: who waits polls. */
	if (limit.tv_sec > 0 || limit.tv_nsec > nap.tv_nsec)
		limit = nap;
	(void)nanosleep(&limit, NULL);
}

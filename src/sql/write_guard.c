/*
 * write_guard.c - one writer or checkpointer of a SQLite file at a time, in turn.
 *
 * SQLite before 3.51.3 loses commits when a checkpoint of one connection runs beside a write of
 * another (tests/support/wal_race_vfs.c shows how). Keep therefore holds this lock around every
 * writing transaction and every checkpoint. It also replaces SQLite's busy handler, whose sleeps
 * let a busy process overtake a waiting one for seconds.
 *
 *   byte 0 of "<file>-guard"   the guard: whoever holds it may write or checkpoint
 *   byte 1                     the turnstile: whoever holds it is the next to get the guard
 *   the mapped words           where waiters sleep
 *
 * Invariants:
 *   1. The truth is in the two open-file-description locks. The kernel drops them when their
 *      description is closed, so the death of a process at any moment frees them.
 *   2. The words are hints only. Any value in them is right: a wrong one costs a wake that nobody
 *      needed, or NAP_MS until a sleeper looks again by itself. So nothing repairs them after a
 *      kill, and a damaged file needs no recovery.
 *   3. Nobody takes the guard past a taken turnstile: whoever comes queues there, and its futex
 *      queue is first come, first served. The releaser of a guard that comes back at once finds
 *      the turnstile taken by the one it woke, and queues behind it.
 *   4. Every wait ends at its time limit, also when the owner of either lock is stopped
 *      (SIGSTOP) rather than dead: it is a futex wait, never F_OFD_SETLKW, which has none.
 *   5. The file is never deleted: a lock on a deleted file excludes nobody who opens its
 *      successor. When somebody else deletes it, acquire answers UNAVAILABLE.
 *
 * One kp_guard is one open file description: two of them exclude each other within a process as
 * between processes, but two threads on one would both believe they have it. After fork() the child
 * shares its parent's description and must not use it.
 *
 * Held by tests/unit/test_write_guard.c, tests/torture/test_wal_race.c.
 */
#include "sql/sql.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* How long a sleeper trusts that it will be woken: bounds the wait for one who died. */
#define NAP_MS 10

enum { GUARD, TURNSTILE, LOCKS };

struct kp_guard_words {
	_Atomic uint32_t released[LOCKS]; /* counts releases; a futex */
	_Atomic uint32_t waiting;         /* callers that may sleep; too high after a kill */
	uint32_t reserved;
};

_Static_assert(sizeof(struct kp_guard_words) == 16, "processes share this layout");

static bool set_lock(int fd, int which, short type)
{
	struct flock lock = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = which,
		.l_len = 1,
	};

	return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

static bool is_locked(int fd, int which)
{
	struct flock lock = {
		.l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = which,
		.l_len = 1,
	};

	return fcntl(fd, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

static void futex_wait(_Atomic uint32_t *word, uint32_t seen, int64_t ns)
{
	struct timespec limit = {
		.tv_sec = (time_t)(ns / 1000000000),
		.tv_nsec = (long)(ns % 1000000000),
	};

	(void)syscall(SYS_futex, word, FUTEX_WAIT, seen, &limit, NULL, 0);
}

static void unlock(kp_guard *guard, int which)
{
	struct kp_guard_words *words = guard->words;

	(void)set_lock(guard->fd, which, F_UNLCK);
	atomic_fetch_add(&words->released[which], 1);
	if (atomic_load(&words->waiting) > 0)
		(void)syscall(SYS_futex, &words->released[which], FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* False when the time is over. The count is read before the attempt, so that a release between
   the two is not slept through. */
static bool wait_for(kp_guard *guard, int which, int64_t deadline_ns)
{
	for (;;) {
		uint32_t seen = atomic_load(&guard->words->released[which]);
		int64_t left;

		if (set_lock(guard->fd, which, F_WRLCK))
			return true;
		left = deadline_ns - kp_monotonic_ns();
		if (left <= 0)
			return false;
		if (left > NAP_MS * INT64_C(1000000))
			left = NAP_MS * INT64_C(1000000);
		futex_wait(&guard->words->released[which], seen, left);
	}
}

static bool queue_up(kp_guard *guard, int64_t timeout_ms)
{
	int64_t limit_ms = timeout_ms < INT_MAX ? timeout_ms : INT_MAX;
	int64_t deadline = kp_monotonic_ns() + limit_ms * 1000000;
	bool held = false;

	atomic_fetch_add(&guard->words->waiting, 1);
	if (wait_for(guard, TURNSTILE, deadline)) {
		held = wait_for(guard, GUARD, deadline);
		unlock(guard, TURNSTILE);
	}
	atomic_fetch_sub(&guard->words->waiting, 1);
	return held;
}

bool kp_guard_try(kp_guard *guard)
{
	return guard->fd >= 0 && !is_locked(guard->fd, TURNSTILE) &&
	       set_lock(guard->fd, GUARD, F_WRLCK);
}

keep_status kp_guard_acquire(kp_guard *guard, int64_t timeout_ms, keep_error *err)
{
	struct stat st;

	if (guard->fd < 0)
		return kp_fail(err, KEEP_MISUSE, "this write guard is not open");
	if (!kp_guard_try(guard) && !queue_up(guard, timeout_ms))
		return kp_fail(err, KEEP_BUSY, "another writer kept the database for %lld ms",
			       (long long)timeout_ms);
	if (fstat(guard->fd, &st) == 0 && st.st_nlink > 0)
		return KEEP_OK;
	kp_guard_release(guard);
	return kp_fail(err, KEEP_UNAVAILABLE, "the write guard's file was deleted");
}

void kp_guard_release(kp_guard *guard)
{
	if (guard->fd >= 0)
		unlock(guard, GUARD);
}

/* The blocks are allocated, not left as a hole: a store into a mapped hole of a full disk is
   SIGBUS. Nothing is overwritten, so that two may do this at once. */
static keep_status map_words(kp_guard *guard, const char *path, keep_error *err)
{
	const off_t size = sizeof *guard->words;
	int rc;
	void *words;

	do
		rc = kp_fault(KP_FAULT_FILE) ? EIO : posix_fallocate(guard->fd, 0, size);
	while (rc == EINTR);
	if (rc != 0)
		return kp_fail_errno(err, rc, "%s", path);
	words = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, guard->fd, 0);
	if (words == MAP_FAILED)
		return kp_fail_errno(err, errno, "%s", path);
	guard->words = words;
	return KEEP_OK;
}

keep_status kp_guard_open(kp_guard *guard, const char *file, keep_error *err)
{
	char path[PATH_MAX];
	keep_status status = KEEP_OK;

	*guard = (kp_guard)KP_GUARD_INIT;
	if (snprintf(path, sizeof path, "%s-guard", file) >= (int)sizeof path)
		return kp_fail(err, KEEP_INVALID, "the path '%.100s...' is too long", file);
	status = kp_file_open(AT_FDCWD, path, O_RDWR | O_CREAT, 0600, &guard->fd, err);
	if (status != KEEP_OK)
		return status;
	status = map_words(guard, path, err);
	if (status != KEEP_OK)
		kp_guard_close(guard);
	return status;
}

void kp_guard_close(kp_guard *guard)
{
	if (guard->words)
		(void)munmap(guard->words, sizeof *guard->words);
	kp_file_close(&guard->fd);
	*guard = (kp_guard)KP_GUARD_INIT;
}

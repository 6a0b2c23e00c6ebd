/*
 * notify.c - tell the other processes of this machine that something changed, and what.
 *
 * The file "<file>-notify" is mapped by all of them. It holds a ring of cells; a topic takes as
 * many as it needs. `head` counts cells for ever; cell number n lies at n modulo CELLS.
 *
 *     poster   reserve: head += n     write the cells     generation += 1     wake if anyone waits
 *     waiter   look at the cells from its position to head; none wanted: sleep on generation
 *
 * Invariants:
 *   1. No locks. A poster may be killed or stopped between any two instructions and hinders nobody.
 *   2. A cell's stamp says what it holds: number + 1 when it is complete, the same with WRITING
 *      while it is written. A poster takes a cell by changing an older complete stamp to its own
 *      WRITING one; when it finds somebody else's WRITING one (of a poster that was stopped for a
 *      whole round, or killed), it leaves the cell alone, because two writers could mix.
 *   3. A reader believes a cell only if its stamp is the expected one before and after it copied
 *      the cell. In every other case (not yet written, left alone, overrun) it answers true,
 *      because to look once too often is always right.
 *   4. The change was committed before its post began. So whoever answers true after it saw a
 *      reservation finds the change, written cell or not.
 *   5. The generation is read before the cells are looked at, and changes after they are written:
 *      a post is seen by the look or it ends the sleep.
 *   6. A file of another layout is replaced, never changed: those who mapped it keep their old one
 *      (and poll). A file is valid from the moment its magic is written, which is last.
 *
 * What a kill leaves behind is harmless: a cell with WRITING costs one needless look a round;
 * `waiting` too high costs posters a futex call. Whoever may write the file can wake its users or,
 * by truncating it, kill them with SIGBUS, exactly as with SQLite's own -shm file; so it has mode
 * 0600 and lives beside the database.
 *
 * Held by tests/unit/test_notify.c.
 */
#include "sql/sql.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MAGIC UINT64_C(0x31594649544f4e4b) /* "KNOTIFY1", read as a number */
#define CELLS 1024                         /* of 64 bytes: 64 KiB */
#define CELL_WORDS 7
#define WRITING (UINT64_C(1) << 63)
#define TOPIC_MAX 4096
#define EVERYBODY UINT32_MAX /* the length of a topic that is too long to tell */

/* How often opening looks again when another process makes or replaces the file meanwhile. */
#define OPEN_ATTEMPTS 1000

struct cell {
	_Atomic uint64_t stamp;
	/* The first cell's first word is the topic's length; then its bytes. */
	_Atomic uint64_t words[CELL_WORDS];
};

struct ring {
	uint64_t magic;
	uint64_t reserved[7];
	_Atomic uint64_t head;       /* cells reserved so far */
	_Atomic uint32_t generation; /* the futex */
	_Atomic uint32_t waiting;    /* sleepers; too high after a kill */
	uint64_t unused[6];
	struct cell cells[CELLS];
};

_Static_assert(sizeof(struct cell) == 64, "processes share this layout");
_Static_assert(sizeof(struct ring) == 128 + 64 * CELLS, "processes share this layout");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2, "needed across processes");

struct kp_notify {
	struct ring *ring;
};

/* ---------------------------------------------------------------- posting */

static size_t cells_for(size_t len)
{
	return (8 + len + CELL_WORDS * 8 - 1) / (CELL_WORDS * 8);
}

/* Invariant 2. */
static bool take_cell(struct cell *cell, uint64_t number)
{
	uint64_t stamp = atomic_load_explicit(&cell->stamp, memory_order_relaxed);

	do {
		if (stamp & WRITING || stamp >= number + 1)
			return false;
	} while (
		!atomic_compare_exchange_weak_explicit(&cell->stamp, &stamp, (number + 1) | WRITING,
						       memory_order_acq_rel, memory_order_relaxed));
	return true;
}

static void write_cell(struct cell *cell, uint64_t number, const uint64_t words[CELL_WORDS])
{
	if (!take_cell(cell, number))
		return;
	/* A reader that sees one of these words sees the WRITING stamp, too, when it looks again.
	 */
	atomic_thread_fence(memory_order_release);
	for (size_t i = 0; i < CELL_WORDS; i++)
		atomic_store_explicit(&cell->words[i], words[i], memory_order_relaxed);
	atomic_store_explicit(&cell->stamp, number + 1, memory_order_release);
}

void kp_notify_wake(kp_notify *notify)
{
	struct ring *ring = notify->ring;

	atomic_fetch_add(&ring->generation, 1);
	if (atomic_load(&ring->waiting) > 0)
		(void)syscall(SYS_futex, &ring->generation, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void kp_notify_post(kp_notify *notify, keep_bytes topic)
{
	struct ring *ring = notify->ring;
	bool fits = topic.len <= TOPIC_MAX;
	uint64_t length = fits ? topic.len : EVERYBODY;
	size_t left = fits ? topic.len : 0, count = cells_for(left), from = 0;
	uint64_t number = atomic_fetch_add(&ring->head, count);

	for (size_t i = 0; i < count; i++, number++) {
		uint64_t words[CELL_WORDS] = {0};
		size_t skip = i == 0 ? 1 : 0;
		size_t part = (CELL_WORDS - skip) * 8;

		if (part > left)
			part = left;
		if (i == 0)
			words[0] = length;
		if (part > 0)
			memcpy(words + skip, topic.data + from, part);
		from += part;
		left -= part;
		write_cell(&ring->cells[number % CELLS], number, words);
	}
	kp_notify_wake(notify);
}

/* ---------------------------------------------------------------- waiting */

/* Copy one cell; false when it does not hold cell `number`, complete. Invariant 3. */
static bool read_cell(struct cell *cell, uint64_t number, uint64_t words[CELL_WORDS])
{
	if (atomic_load_explicit(&cell->stamp, memory_order_acquire) != number + 1)
		return false;
	for (size_t i = 0; i < CELL_WORDS; i++)
		words[i] = atomic_load_explicit(&cell->words[i], memory_order_relaxed);
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&cell->stamp, memory_order_relaxed) == number + 1;
}

/* The topic at *number, which moves past it; false when the cells cannot be believed. */
static bool read_topic(struct ring *ring, uint64_t *number, char topic[TOPIC_MAX], size_t *len,
		       bool *everybody)
{
	uint64_t words[CELL_WORDS];
	size_t got = 0, skip = 1, left;

	if (!read_cell(&ring->cells[*number % CELLS], *number, words))
		return false;
	*everybody = words[0] == EVERYBODY;
	if (!*everybody && words[0] > TOPIC_MAX)
		return false;
	left = *everybody ? 0 : (size_t)words[0];
	*len = left;
	for (;;) {
		size_t part = (CELL_WORDS - skip) * 8;

		if (part > left)
			part = left;
		memcpy(topic + got, words + skip, part);
		got += part;
		left -= part;
		++*number;
		if (left == 0)
			return true;
		skip = 0;
		if (!read_cell(&ring->cells[*number % CELLS], *number, words))
			return false;
	}
}

/* Whether anything from *position on is wanted; *position becomes the end of the ring, because who
   is told to look will find everything that was posted until now. */
static bool look(struct ring *ring, uint64_t *position, bool (*wants)(void *ctx, keep_bytes topic),
		 void *ctx)
{
	uint64_t head = atomic_load(&ring->head), at = *position;
	char topic[TOPIC_MAX];
	size_t len = 0;
	bool everybody = false;

	*position = head;
	if (at == head)
		return false;
	if (!wants || at > head || head - at > CELLS)
		return true;
	while (at < head) {
		if (!read_topic(ring, &at, topic, &len, &everybody) || everybody ||
		    wants(ctx, (keep_bytes){topic, len}))
			return true;
	}
	return false;
}

static bool is_cancelled(const _Atomic int *cancelled)
{
	return cancelled && atomic_load(cancelled) != 0;
}

/* False when the time is over. */
static bool sleep_on(struct ring *ring, uint32_t seen, int64_t timeout_ms, int64_t deadline_ns)
{
	struct timespec limit = {0};

	if (timeout_ms >= 0) {
		int64_t left = deadline_ns - kp_monotonic_ns();

		if (left <= 0)
			return false;
		limit.tv_sec = (time_t)(left / 1000000000);
		limit.tv_nsec = (long)(left % 1000000000);
	}
	(void)syscall(SYS_futex, &ring->generation, FUTEX_WAIT, seen,
		      timeout_ms < 0 ? NULL : &limit, NULL, 0);
	return true;
}

bool kp_notify_wait(kp_notify *notify, uint64_t *position, int64_t timeout_ms,
		    bool (*wants)(void *ctx, keep_bytes topic), void *ctx,
		    const _Atomic int *cancelled)
{
	struct ring *ring = notify->ring;
	int64_t limit_ms = timeout_ms < INT_MAX ? timeout_ms : INT_MAX;
	int64_t deadline = kp_monotonic_ns() + limit_ms * 1000000;
	bool found;

	if (timeout_ms == 0 || is_cancelled(cancelled))
		return look(ring, position, wants, ctx);
	atomic_fetch_add(&ring->waiting, 1);
	for (;;) {
		uint32_t seen = atomic_load(&ring->generation);

		found = look(ring, position, wants, ctx);
		if (found || is_cancelled(cancelled) || !sleep_on(ring, seen, timeout_ms, deadline))
			break;
	}
	atomic_fetch_sub(&ring->waiting, 1);
	return found;
}

uint64_t kp_notify_position(kp_notify *notify)
{
	return atomic_load(&notify->ring->head);
}

/* ---------------------------------------------------------------- open and close */

static bool is_same_file(int fd, const char *path)
{
	struct stat mine, there;

	return fstat(fd, &mine) == 0 && stat(path, &there) == 0 && mine.st_dev == there.st_dev &&
	       mine.st_ino == there.st_ino;
}

/* Fill a new, empty file. Its blocks are allocated, because a store into a hole of a full disk is
   SIGBUS; the magic comes last (invariant 6). */
static keep_status fill(int fd, const char *path, keep_error *err)
{
	const uint64_t magic = MAGIC;
	int rc;

	do
		rc = kp_fault(KP_FAULT_FILE) ? EIO : posix_fallocate(fd, 0, sizeof(struct ring));
	while (rc == EINTR);
	if (rc != 0)
		return kp_fail_errno(err, rc, "%s", path);
	return kp_file_write_at(fd, (keep_bytes){(const char *)&magic, sizeof magic}, 0, err);
}

/* With the lock on it: is this the file, and is it valid? Otherwise *again, to open anew. */
static keep_status settle(int fd, const char *path, bool *again, keep_error *err)
{
	uint64_t magic = 0;
	size_t got = 0;
	struct stat st;
	keep_status status;

	*again = !is_same_file(fd, path);
	if (*again)
		return KEEP_OK;
	if (fstat(fd, &st) != 0)
		return kp_fail_errno(err, errno, "%s", path);
	if (st.st_size == 0)
		return fill(fd, path, err);
	status = kp_file_read_at(fd, &magic, sizeof magic, 0, &got, err);
	if (status != KEEP_OK || (st.st_size == (off_t)sizeof(struct ring) && magic == MAGIC))
		return status;
	*again = true;
	return kp_file_unlink(AT_FDCWD, path, 0, err);
}

/* One attempt to have a valid file open. The lock goes with the descriptor. */
static keep_status open_once(const char *path, int *fd, bool *again, keep_error *err)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	keep_status status = kp_file_open(AT_FDCWD, path, O_RDWR | O_CREAT, 0600, fd, err);

	*again = false;
	if (status != KEEP_OK)
		return status;
	if (fcntl(*fd, F_OFD_SETLK, &lock) == 0) {
		status = settle(*fd, path, again, err);
		lock.l_type = F_UNLCK;
		(void)fcntl(*fd, F_OFD_SETLK, &lock);
	} else {
		*again = true;
		(void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	if (status != KEEP_OK || *again)
		kp_file_close(fd);
	return status;
}

static keep_status open_file(const char *path, int *fd, keep_error *err)
{
	bool again = true;
	keep_status status = KEEP_OK;

	for (int i = 0; i < OPEN_ATTEMPTS && again && status == KEEP_OK; i++)
		status = open_once(path, fd, &again, err);
	if (status == KEEP_OK && again)
		return kp_fail(err, KEEP_BUSY, "'%s' is kept locked by another process", path);
	return status;
}

keep_status kp_notify_open(const char *file, kp_notify **out, keep_error *err)
{
	char path[PATH_MAX];
	kp_notify *notify = NULL;
	void *ring = MAP_FAILED;
	int fd = -1;
	keep_status status = KEEP_OK;

	*out = NULL;
	if (snprintf(path, sizeof path, "%s-notify", file) >= (int)sizeof path)
		return kp_fail(err, KEEP_INVALID, "the path '%.100s...' is too long", file);
	notify = kp_alloc(sizeof *notify);
	if (!notify)
		return kp_fail_memory(err, "a notification ring");
	status = open_file(path, &fd, err);
	if (status != KEEP_OK)
		goto out;
	ring = mmap(NULL, sizeof(struct ring), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (ring == MAP_FAILED) {
		status = kp_fail_errno(err, errno, "%s", path);
		goto out;
	}
	notify->ring = ring;
	*out = notify;
	notify = NULL;
out:
	kp_file_close(&fd);
	kp_free(notify);
	return status;
}

void kp_notify_close(kp_notify **notify)
{
	if (*notify)
		(void)munmap((*notify)->ring, sizeof *(*notify)->ring);
	kp_free(*notify);
	*notify = NULL;
}

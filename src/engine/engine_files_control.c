/*
 * engine_files_control.c - what the processes of one store share: a lock, three counters, a ring.
 *
 * .keep/control is mapped by every opener. Writers exclude each other with open-file-description
 * locks on bytes of it, which the kernel releases when a process dies. Readers take no lock and
 * make no system call here: `gen` is odd while something is being applied (a few microseconds,
 * never a sync), and `epoch` counts the changes of which a reader could see a part. The ring
 * carries the last changes, so that each process keeps its orders up to date from it instead of
 * looking at every file again.
 *
 *   byte 0         the turnstile: held while waiting for byte 1, so that a busy process that comes
 *                  back at once queues behind the one that sleeps
 *   byte 1         the writers' lock
 *   byte 1000 + n  slot n: held as long as its opener lives; its number is in the names it makes
 *
 *                        IDLE --one rename--> APPLYING --> IDLE
 *                        IDLE --a batch-----> JOURNAL  --> IDLE
 *
 * Invariants:
 *   1. Who holds the lock and finds another state than IDLE holds it after a killed process, and
 *      recovers (engine_files_journal.c) before anything else.
 *   2. A change is in the ring before gen is even again. So a reader that saw gen even, read the
 *      ring to its head and then the files, knows every change of its orders.
 *   3. A record is copied out before `reserved` is looked at again: one that was being overwritten
 *      meanwhile is never believed. No length in the mapping is trusted.
 *   4. The file is fully allocated when it is made, so that a full disk is FULL at opening and not
 * a signal later.
 *   5. A file that is not ours, of the wrong size or damaged is made anew under the lock; `session`
 *      then tells the others to forget their orders. That loses nothing.
 *
 * What it is not: coherent between machines. A store on a network file system has one machine.
 *
 * Tests: tests/unit/test_engine_files.c, tests/crash/test_engine_files_moments.c.
 */
#include "engine/engine_files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MAGIC "keepctl"
#define VERSION 1
#define CONTROL_BYTES ((size_t)KP_FILES_RING_AT + KP_FILES_RING_BYTES)

#define BYTE_TURNSTILE 0
#define BYTE_WRITER 1
#define BYTE_SLOTS 1000
#define SLOTS 1024

#define SPINS 200
#define PAUSE_NS_FIRST 20000
#define PAUSE_NS_MAX 1000000

/* ---------------------------------------------------------------- byte locks */

static int lock_byte(int fd, short type, off_t byte)
{
	struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	if (kp_fault(KP_FAULT_FILE) && type != F_UNLCK)
		return EIO;
	return fcntl(fd, F_OFD_SETLK, &lock) == 0 ? 0 : errno;
}

/* True when another opener holds a lock on any of these bytes. */
static bool is_held_by_other(int fd, off_t byte, off_t count)
{
	struct flock lock = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = count};

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* Sleep a little longer each time. */
static void pause_briefly(long *ns)
{
	struct timespec time = {.tv_nsec = *ns};

	nanosleep(&time, NULL);
	*ns = *ns * 2 > PAUSE_NS_MAX ? PAUSE_NS_MAX : *ns * 2;
}

static keep_status wait_for_byte(kp_files *files, off_t byte, int64_t deadline_ns, keep_error *err)
{
	long ns = PAUSE_NS_FIRST;

	for (;;) {
		int failed = lock_byte(files->control_fd, F_WRLCK, byte);

		if (!failed)
			return KEEP_OK;
		if (failed != EAGAIN && failed != EACCES && failed != EINTR)
			return kp_fail_errno(err, failed, "cannot lock %s", files->base_path);
		if (kp_monotonic_ns() >= deadline_ns)
			return kp_fail(err, KEEP_BUSY, "%s is locked by another process",
				       files->base_path);
		pause_briefly(&ns);
	}
}

/* ---------------------------------------------------------------- the writers' lock */

static void let_threads(kp_files *files)
{
	pthread_mutex_lock(&files->writer_mutex);
	files->writer_is_here = false;
	pthread_cond_signal(&files->writer_left);
	pthread_mutex_unlock(&files->writer_mutex);
}

/* Among the threads of this opener, which share its locks on bytes. False: not in time. */
static bool hold_threads(kp_files *files, int64_t deadline_ns)
{
	struct timespec until = {.tv_sec = (time_t)(deadline_ns / 1000000000),
				 .tv_nsec = (long)(deadline_ns % 1000000000)};
	bool is_mine;
	int failed = 0;

	pthread_mutex_lock(&files->writer_mutex);
	while (files->writer_is_here && failed == 0 && deadline_ns > 0)
		failed = pthread_cond_timedwait(&files->writer_left, &files->writer_mutex, &until);
	is_mine = !files->writer_is_here;
	if (is_mine)
		files->writer_is_here = true;
	pthread_mutex_unlock(&files->writer_mutex);
	return is_mine;
}

static void release_lock(kp_files *files)
{
	(void)lock_byte(files->control_fd, F_UNLCK, BYTE_WRITER);
	let_threads(files);
}

/* Both locks; nothing is recovered. */
static keep_status take_lock(kp_files *files, keep_error *err)
{
	int64_t deadline_ns = kp_monotonic_ns() + files->timeout_ms * KP_FILES_NS_PER_MS;
	keep_status status;

	if (!hold_threads(files, deadline_ns))
		return kp_fail(err, KEEP_BUSY, "%s is locked by another thread", files->base_path);
	status = wait_for_byte(files, BYTE_TURNSTILE, deadline_ns, err);
	if (status == KEEP_OK) {
		status = wait_for_byte(files, BYTE_WRITER, deadline_ns, err);
		(void)lock_byte(files->control_fd, F_UNLCK, BYTE_TURNSTILE);
	}
	if (status != KEEP_OK)
		let_threads(files);
	return status;
}

/* The same without any waiting. */
static bool try_lock(kp_files *files)
{
	if (!hold_threads(files, 0))
		return false;
	if (lock_byte(files->control_fd, F_WRLCK, BYTE_WRITER) == 0)
		return true;
	let_threads(files);
	return false;
}

/* A killed writer's remains, by the holder of the lock. */
static keep_status recover(kp_files *files, keep_error *err)
{
	kp_files_control *control = kp_files_control_of(files);
	kp_files_record reset = {.size = sizeof reset, .kind = KP_FILES_RESET, .folder_mtime = -1};
	keep_status status;

	if (atomic_load(&control->state) == KP_FILES_IDLE && atomic_load(&control->gen) % 2 == 0)
		return KEEP_OK;
	/* Readers must not see the rest of it half done either. */
	if (atomic_load(&control->gen) % 2 == 0)
		atomic_fetch_add(&control->gen, 1);
	atomic_store(&control->state, KP_FILES_JOURNAL);
	atomic_fetch_add(&control->epoch, 1);
	status = kp_files_recover(files, err);
	if (status != KEEP_OK)
		return status;
	kp_files_publish(files, (keep_bytes){(const char *)&reset, sizeof reset});
	atomic_fetch_add(&control->gen, 1);
	atomic_store(&control->state, KP_FILES_IDLE);
	return KEEP_OK;
}

keep_status kp_files_lock(kp_files *files, keep_error *err)
{
	keep_status status = take_lock(files, err);

	if (status != KEEP_OK)
		return status;
	status = recover(files, err);
	if (status != KEEP_OK)
		release_lock(files);
	return status;
}

void kp_files_unlock(kp_files *files)
{
	release_lock(files);
}

/* ---------------------------------------------------------------- changes */

void kp_files_change_begin(kp_files *files, enum kp_files_state state, bool many)
{
	kp_files_control *control = kp_files_control_of(files);

	atomic_store(&control->state, state);
	if (many)
		atomic_fetch_add(&control->epoch, 1);
	atomic_fetch_add(&control->gen, 1);
}

static void ring_bell(kp_files_control *control)
{
	atomic_fetch_add(&control->bell, 1);
	if (atomic_load(&control->sleepers) != 0)
		syscall(SYS_futex, &control->bell, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void kp_files_change_end(kp_files *files)
{
	kp_files_control *control = kp_files_control_of(files);

	atomic_fetch_add(&control->gen, 1);
	/* A batch is over only when its journal is gone. */
	if (atomic_load(&control->state) == KP_FILES_APPLYING)
		atomic_store(&control->state, KP_FILES_IDLE);
	ring_bell(control);
}

void kp_files_set_state(kp_files *files, enum kp_files_state state)
{
	atomic_store(&kp_files_control_of(files)->state, state);
}

/* ---------------------------------------------------------------- the ring */

static char *ring_of(kp_files_control *control)
{
	return (char *)control + KP_FILES_RING_AT;
}

/* Copy `len` bytes, a multiple of 8, at a position, around the end. The other side may be doing the
   opposite at the same time (invariant 3), so the words are atomic: released after `reserved` was
   stored, acquired before it is loaded again. */
static void ring_write(kp_files_control *control, uint64_t at, const char *from, size_t len)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t word;
		_Atomic uint64_t *slot =
			(_Atomic uint64_t *)(void *)(ring_of(control) +
						     (at + i) % KP_FILES_RING_BYTES);

		memcpy(&word, from + i, sizeof word);
		atomic_store_explicit(slot, word, memory_order_release);
	}
}

static void ring_read(kp_files_control *control, uint64_t at, char *to, size_t len)
{
	for (size_t i = 0; i < len; i += 8) {
		_Atomic uint64_t *slot =
			(_Atomic uint64_t *)(void *)(ring_of(control) +
						     (at + i) % KP_FILES_RING_BYTES);
		uint64_t word = atomic_load_explicit(slot, memory_order_acquire);

		memcpy(to + i, &word, sizeof word);
	}
}

void kp_files_publish(kp_files *files, keep_bytes records)
{
	kp_files_control *control = kp_files_control_of(files);
	kp_files_record reset = {.size = sizeof reset, .kind = KP_FILES_RESET, .folder_mtime = -1};
	uint64_t head = atomic_load(&control->head);

	if (records.len > KP_FILES_RING_BYTES / 2)
		records = (keep_bytes){(const char *)&reset, sizeof reset};
	atomic_store(&control->reserved, head + records.len);
	ring_write(control, head, records.data, records.len);
	atomic_store(&control->head, head + records.len);
	ring_bell(control);
}

bool kp_files_ring_next(kp_files *files, uint64_t *position, uint64_t *session,
			kp_files_record *record, bool *lost)
{
	kp_files_control *control = kp_files_control_of(files);
	uint64_t now = atomic_load(&control->session), head = atomic_load(&control->head);
	bool is_whole = now == *session && head - *position <= KP_FILES_RING_BYTES;

	*lost = false;
	if (is_whole && head == *position)
		return false;
	if (is_whole) {
		ring_read(control, *position, (char *)record, sizeof *record);
		is_whole = record->size >= sizeof *record && record->size <= KP_FILES_RECORD_MAX &&
			   record->size % 8 == 0 && record->size <= head - *position &&
			   record->path_len <= record->size - sizeof *record;
	}
	if (is_whole) {
		ring_read(control, *position + sizeof *record, record->path,
			  record->size - sizeof *record);
		is_whole = atomic_load(&control->reserved) - *position <= KP_FILES_RING_BYTES &&
			   atomic_load(&control->session) == now;
	}
	if (is_whole) {
		*position += record->size;
		return true;
	}
	*lost = true;
	*position = head;
	*session = now;
	return true;
}

/* ---------------------------------------------------------------- readers */

bool kp_files_is_unchanged(kp_files *files, uint64_t epoch)
{
	kp_files_control *control = kp_files_control_of(files);

	return !control || atomic_load(&control->epoch) == epoch;
}

/* Somebody has been applying for long: is it somebody dead? Then finish for him. */
static keep_status help_dead_writer(kp_files *files, keep_error *err)
{
	kp_files_control *control = kp_files_control_of(files);
	keep_status status;

	if (files->read_only) {
		if (is_held_by_other(files->control_fd, BYTE_WRITER, 1) ||
		    atomic_load(&control->gen) % 2 == 0)
			return KEEP_OK;
		return kp_fail(err, KEEP_UNAVAILABLE,
			       "%s: a killed process left a change half done; open it for writing",
			       files->base_path);
	}
	if (!try_lock(files))
		return KEEP_OK;
	status = recover(files, err);
	release_lock(files);
	return status;
}

keep_status kp_files_wait_quiet(kp_files *files, bool only_many, uint64_t *epoch, keep_error *err)
{
	kp_files_control *control = kp_files_control_of(files);
	int64_t deadline_ns = 0;
	long ns = PAUSE_NS_FIRST;
	keep_status status = KEEP_OK;

	*epoch = 0;
	if (!control)
		return KEEP_OK;
	for (unsigned tries = 0; status == KEEP_OK; tries++) {
		*epoch = atomic_load(&control->epoch);
		if (atomic_load(&control->gen) % 2 == 0 ||
		    (only_many && atomic_load(&control->state) == KP_FILES_APPLYING))
			return KEEP_OK;
		if (tries < SPINS) {
			sched_yield();
			continue;
		}
		if (deadline_ns == 0)
			deadline_ns = kp_monotonic_ns() + files->timeout_ms * KP_FILES_NS_PER_MS;
		status = help_dead_writer(files, err);
		if (status == KEEP_OK && kp_monotonic_ns() >= deadline_ns)
			status = kp_fail(err, KEEP_BUSY, "%s: a change takes too long",
					 files->base_path);
		pause_briefly(&ns);
	}
	return status;
}

/* ---------------------------------------------------------------- opening */

keep_status kp_files_locks_init(kp_files *files, keep_error *err)
{
	pthread_condattr_t monotonic;

	if (pthread_condattr_init(&monotonic) != 0)
		return kp_fail_memory(err, "an engine");
	(void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&files->writer_left, &monotonic);
	(void)pthread_condattr_destroy(&monotonic);
	(void)pthread_mutex_init(&files->writer_mutex, NULL);
	(void)pthread_mutex_init(&files->cache_mutex, NULL);
	return KEEP_OK;
}

void kp_files_locks_release(kp_files *files)
{
	pthread_cond_destroy(&files->writer_left);
	pthread_mutex_destroy(&files->writer_mutex);
	pthread_mutex_destroy(&files->cache_mutex);
}

bool kp_files_slot_is_alive(const kp_files *files, int64_t slot)
{
	return slot >= 0 && slot < SLOTS &&
	       is_held_by_other(files->control_fd, BYTE_SLOTS + (off_t)slot, 1);
}

bool kp_files_is_alone(const kp_files *files)
{
	return !is_held_by_other(files->control_fd, BYTE_SLOTS, SLOTS);
}

static keep_status take_slot(kp_files *files, keep_error *err)
{
	for (unsigned slot = 0; slot < SLOTS; slot++) {
		int failed = lock_byte(files->control_fd, F_WRLCK, BYTE_SLOTS + (off_t)slot);

		if (!failed) {
			files->slot = slot;
			return KEEP_OK;
		}
		if (failed != EAGAIN && failed != EACCES)
			return kp_fail_errno(err, failed, "cannot lock %s", files->base_path);
	}
	return kp_fail(err, KEEP_FULL, "%s: %d processes have it open", files->base_path, SLOTS);
}

static bool is_ours(const kp_files_control *control)
{
	return memcmp(control->magic, MAGIC, sizeof MAGIC) == 0 && control->version == VERSION &&
	       control->size == CONTROL_BYTES;
}

/* Allocate every block; a file system that cannot is given zeros to write. */
static keep_status allocate(kp_files *files, keep_error *err)
{
	static const char zeros[4096];
	keep_status status = KEEP_OK;
	int failed = kp_fault(KP_FAULT_FILE) ? EIO
					     : posix_fallocate(files->control_fd, 0, CONTROL_BYTES);

	if (failed == EOPNOTSUPP || failed == EINVAL) {
		for (size_t at = 0; status == KEEP_OK && at < CONTROL_BYTES; at += sizeof zeros)
			status = kp_file_write_at(files->control_fd,
						  (keep_bytes){zeros, sizeof zeros}, (int64_t)at,
						  err);
		return status;
	}
	return failed ? kp_fail_errno(err, failed, "cannot allocate %s/.keep/control",
				      files->base_path)
		      : KEEP_OK;
}

static keep_status map_control(kp_files *files, keep_error *err)
{
	int protection = files->read_only ? PROT_READ : PROT_READ | PROT_WRITE;
	bool fault = kp_fault(KP_FAULT_FILE);
	void *at = fault ? MAP_FAILED
			 : mmap(NULL, CONTROL_BYTES, protection, MAP_SHARED, files->control_fd, 0);

	if (at == MAP_FAILED)
		return kp_fail_errno(err, fault ? EIO : errno, "cannot map %s/.keep/control",
				     files->base_path);
	atomic_store_explicit(&files->control, at, memory_order_release);
	return KEEP_OK;
}

static void read_boot(char out[sizeof((kp_files_control *)NULL)->boot])
{
	size_t size = sizeof((kp_files_control *)NULL)->boot, got = 0;
	int fd = -1;

	memset(out, 0, size);
	if (kp_file_open(AT_FDCWD, "/proc/sys/kernel/random/boot_id", O_RDONLY, 0, &fd, NULL) ==
	    KEEP_OK)
		(void)!kp_file_read_at(fd, out, size - 1, 0, &got, NULL);
	kp_file_close(&fd);
}

static bool is_this_boot(const kp_files_control *control)
{
	char boot[sizeof control->boot];

	read_boot(boot);
	return memcmp(boot, control->boot, sizeof boot) == 0;
}

bool kp_files_check_is_due(kp_files *files)
{
	const kp_files_control *control = kp_files_control_of(files);

	return control->boot[0] == '\0' && atomic_load(&control->relaxed) != 0;
}

void kp_files_check_done(kp_files *files)
{
	kp_files_control *control = kp_files_control_of(files);

	if (control->boot[0] == '\0') {
		atomic_store(&control->relaxed, 0);
		read_boot(control->boot);
	}
	if (files->relaxed)
		atomic_store(&control->relaxed, 1);
}

/* Check what is mapped, and make it anew when it is not what it should be. Under the lock. */
static keep_status check_control(kp_files *files, keep_error *err)
{
	kp_files_control *control = kp_files_control_of(files);
	uint32_t relaxed = control->version == VERSION ? atomic_load(&control->relaxed) : 1;
	uint64_t session;
	keep_status status;

	if (memcmp(control->magic, MAGIC, sizeof MAGIC) == 0 && control->version > VERSION)
		return kp_fail(err, KEEP_TOO_NEW, "%s was opened by a newer Keep",
			       files->base_path);
	if (is_ours(control) && (is_this_boot(control) || !kp_files_is_alone(files)))
		return KEEP_OK;
	status = kp_random_bytes(&session, sizeof session, err);
	if (status != KEEP_OK)
		return status;
	memset(control, 0, CONTROL_BYTES);
	control->version = VERSION;
	control->size = CONTROL_BYTES;
	atomic_store(&control->session, session | 1);
	atomic_store(&control->relaxed, relaxed);
	memcpy(control->magic, MAGIC, sizeof MAGIC);
	return KEEP_OK;
}

static keep_status open_read_only(kp_files *files, keep_error *err)
{
	struct stat about;
	int fd, failed;

	failed = kp_files_open_at(files, files->base, ".keep/control", O_RDONLY | O_NONBLOCK, &fd);
	if (failed == ENOENT || failed == ENOTDIR)
		return KEEP_OK;
	if (failed)
		return kp_fail_errno(err, failed, "cannot open %s/.keep/control", files->base_path);
	files->control_fd = fd;
	if (fstat(fd, &about) == 0 && S_ISREG(about.st_mode) &&
	    about.st_size >= (off_t)CONTROL_BYTES && map_control(files, err) == KEEP_OK &&
	    is_ours(kp_files_control_of(files)))
		return KEEP_OK;
	/* Not usable, not ours to repair: read without it. */
	kp_files_control_close(files);
	return KEEP_OK;
}

keep_status kp_files_control_open(kp_files *files, keep_error *err)
{
	struct stat about;
	keep_status status;

	if (files->read_only)
		return open_read_only(files, err);
	status = kp_file_open(files->keep, "control", O_RDWR | O_CREAT | O_NOFOLLOW, 0600,
			      &files->control_fd, err);
	if (status == KEEP_OK)
		status = take_lock(files, err);
	if (status != KEEP_OK)
		return status;
	if (fstat(files->control_fd, &about) != 0 || about.st_size != (off_t)CONTROL_BYTES)
		status = allocate(files, err);
	if (status == KEEP_OK && about.st_size > (off_t)CONTROL_BYTES)
		status = kp_file_truncate(files->control_fd, (int64_t)CONTROL_BYTES, err);
	if (status == KEEP_OK)
		status = map_control(files, err);
	if (status == KEEP_OK)
		status = check_control(files, err);
	if (status == KEEP_OK)
		status = take_slot(files, err);
	release_lock(files);
	return status;
}

void kp_files_control_close(kp_files *files)
{
	kp_files_control *control = kp_files_control_of(files);

	if (control)
		munmap(control, CONTROL_BYTES);
	atomic_store(&files->control, NULL);
	kp_file_close(&files->control_fd);
}

/*
 * vector_file.c - the file of a set of vectors: two headers, then segments that only grow.
 *
 * A commit writes its vectors behind what the last one counted, then a header that counts them, in
 * the place of the header before the last. Nothing that a valid header counts is changed by later
 * commits (a group's free lanes are filled, and its other bytes written again as they are), so who
 * reads has a whole state without a lock, and after SIGKILL the last header stands.
 *
 * A power cut may keep a header and lose what it counts. Only a header that says so was written
 * after a sync; any other is trusted while the kernel that wrote it runs (its boot id), because
 * then the pages are those that were written. Otherwise the set is read and checked once when it is
 * opened (kp_vectors_open).
 *
 * Invariants:
 *   1. Bytes are written by pwrite, never through a mapping: a full disk is a status and no signal.
 *   2. No mapping reaches beyond the size that the file had; Keep never makes one shorter.
 *   3. One writer at a time, by an open-file-description lock on byte 0; a rebuild holds byte 1 of
 *      its draft until it is published, so a dead process's draft is known and taken away.
 *   4. A published file replaces another by rename; who has the other mapped keeps it.
 *
 * What it does not do: survive that another program cuts a mapped file short.
 *
 * Tests: tests/unit/test_vectors.c, tests/unit/test_vectors_file.c,
 * tests/torture/test_vectors_faults.c.
 */
#include "search/vector_private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOCK_WAIT_NS (INT64_C(5) * 1000 * 1000 * 1000)
#define LOCK_SLEEP_NS 200000
#define HEADER_TRIES 16
#define DRAFT_TRIES 16

static const unsigned char header_key[16] = "Keep vector head";

_Static_assert(sizeof(struct kp_vector_header) == 192, "a header has no hidden bytes");
_Static_assert(sizeof(struct kp_vector_detail) == 32, "a detail has no hidden bytes");

const char *kp_vector_file_name(const struct kp_vector_file *file)
{
	return file->path ? file->path : "the vectors in memory";
}

/* Which run of the kernel this is; zero when it does not say. */
static void read_boot(unsigned char boot[16])
{
	char text[36];
	size_t got = 0;
	int fd = -1;

	memset(boot, 0, 16);
	if (kp_file_open(AT_FDCWD, "/proc/sys/kernel/random/boot_id", O_RDONLY, 0, &fd, NULL) ==
		    KEEP_OK &&
	    kp_file_read_at(fd, text, sizeof text, 0, &got, NULL) == KEEP_OK && got == sizeof text)
		for (size_t i = 0, digit = 0; i < sizeof text && digit < 32; i++)
			if (kp_hex_digit(text[i]) >= 0) {
				boot[digit / 2] = (unsigned char)(boot[digit / 2] << 4 |
								  kp_hex_digit(text[i]));
				digit++;
			}
	kp_file_close(&fd);
}

static keep_status look_at(const struct kp_vector_file *file, struct stat *about, keep_error *err)
{
	if (kp_fault(KP_FAULT_FILE))
		return kp_fail_errno(err, EIO, "cannot look at %s", kp_vector_file_name(file));
	if (fstat(file->fd, about) != 0)
		return kp_fail_errno(err, errno, "cannot look at %s", kp_vector_file_name(file));
	return KEEP_OK;
}

static keep_status map_bytes(const struct kp_vector_file *file, int64_t at, size_t size, void **out,
			     keep_error *err)
{
	*out = kp_fault(KP_FAULT_FILE) ? MAP_FAILED
				       : mmap(NULL, size, PROT_READ, MAP_SHARED, file->fd, at);
	if (*out != MAP_FAILED)
		return KEEP_OK;
	*out = NULL;
	return kp_fail(err, KEEP_NO_MEMORY, "cannot map %s", kp_vector_file_name(file));
}

static keep_status map_headers(struct kp_vector_file *file, keep_error *err)
{
	void *mapped = NULL;
	keep_status status = map_bytes(file, 0, KP_VECTOR_HEADER_BYTES, &mapped, err);

	file->headers = mapped;
	return status;
}

/* ---------------------------------------------------------------- locks */

static bool try_lock(int fd, int64_t byte)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

static void unlock(int fd, int64_t byte)
{
	struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	(void)fcntl(fd, F_OFD_SETLK, &lock);
}

keep_status kp_vector_file_lock(struct kp_vector_file *file, keep_error *err)
{
	const struct timespec pause = {.tv_nsec = LOCK_SLEEP_NS};
	int64_t end = kp_monotonic_ns() + file->lock_wait_ns;

	if (kp_fault(KP_FAULT_FILE))
		return kp_fail_errno(err, EIO, "cannot lock %s", kp_vector_file_name(file));
	while (!try_lock(file->fd, 0)) {
		if (errno != EAGAIN && errno != EACCES && errno != EINTR)
			return kp_fail_errno(err, errno, "cannot lock %s",
					     kp_vector_file_name(file));
		if (kp_monotonic_ns() >= end)
			return kp_fail(err, KEEP_BUSY, "another process is writing to %s",
				       kp_vector_file_name(file));
		(void)nanosleep(&pause, NULL);
	}
	return KEEP_OK;
}

void kp_vector_file_unlock(struct kp_vector_file *file)
{
	unlock(file->fd, 0);
}

/* ---------------------------------------------------------------- opening */

/* To read and write, or else to read. */
static keep_status open_path(struct kp_vector_file *file, const char *path, keep_error *err)
{
	keep_status status = kp_file_open(AT_FDCWD, path, O_RDWR | O_NONBLOCK, 0, &file->fd, err);

	file->is_writable = status == KEEP_OK;
	if (status == KEEP_DENIED)
		status = kp_file_open(AT_FDCWD, path, O_RDONLY | O_NONBLOCK, 0, &file->fd, err);
	return status;
}

keep_status kp_vector_file_open(struct kp_vector_file *file, const char *path, keep_error *err)
{
	struct stat about;
	keep_status status = kp_text_copy(path, &file->path, err);

	if (status == KEEP_OK)
		status = open_path(file, path, err);
	if (status == KEEP_OK)
		status = look_at(file, &about, err);
	if (status == KEEP_OK &&
	    (!S_ISREG(about.st_mode) || about.st_size < KP_VECTOR_HEADER_BYTES))
		status = kp_fail(err, KEEP_CORRUPT, "%s is no file of vectors", path);
	if (status == KEEP_OK)
		status = map_headers(file, err);
	read_boot(file->boot);
	file->lock_wait_ns = LOCK_WAIT_NS;
	return status;
}

/* Does `name` still name what `fd` has open? */
static bool is_same_file(int fd, const char *name)
{
	struct stat ours, theirs;

	return fstat(fd, &ours) == 0 && stat(name, &theirs) == 0 && ours.st_dev == theirs.st_dev &&
	       ours.st_ino == theirs.st_ino;
}

/* A draft is its maker's while byte 1 of it is locked; one that is not is of a dead process. */
static keep_status make_draft(struct kp_vector_file *file, keep_error *err)
{
	const int create = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW;
	const char *name = file->draft;

	for (int i = 0; i < DRAFT_TRIES; i++) {
		keep_error ignored;
		keep_status status =
			kp_file_open(AT_FDCWD, name, create, 0600, &file->fd, &ignored);

		if (status == KEEP_OK && try_lock(file->fd, 1) && is_same_file(file->fd, name))
			return KEEP_OK;
		if (status != KEEP_OK && status != KEEP_CONFLICT) {
			if (err)
				*err = ignored;
			return status;
		}
		kp_file_close(&file->fd);
		status = kp_file_open(AT_FDCWD, name, O_RDWR | O_NOFOLLOW, 0, &file->fd, err);
		if (status == KEEP_OK && !try_lock(file->fd, 1))
			status = kp_fail(err, KEEP_BUSY, "another process is rebuilding %s",
					 file->path);
		if (status == KEEP_OK && is_same_file(file->fd, name))
			status = kp_file_unlink(AT_FDCWD, name, 0, err);
		kp_file_close(&file->fd);
		if (status != KEEP_OK && status != KEEP_NOT_FOUND)
			return status;
	}
	return kp_fail(err, KEEP_BUSY, "other processes are rebuilding %s", file->path);
}

static keep_status make_in_memory(struct kp_vector_file *file, keep_error *err)
{
	if (kp_fault(KP_FAULT_FILE))
		return kp_fail(err, KEEP_NO_MEMORY, "no memory for vectors");
	file->fd = memfd_create("keep-vectors", MFD_CLOEXEC);
	if (file->fd < 0)
		return kp_fail_errno(err, errno, "cannot make memory for vectors");
	return KEEP_OK;
}

keep_status kp_vector_file_make(struct kp_vector_file *file, const char *path, keep_error *err)
{
	keep_buffer draft = KEEP_BUFFER_INIT;
	keep_status status = KEEP_OK;

	if (path) {
		status = kp_text_copy(path, &file->path, err);
		if (status == KEEP_OK)
			status = kp_buffer_append_format(&draft, err, "%s.draft", path);
		if (status == KEEP_OK)
			status = kp_text_copy(draft.data, &file->draft, err);
		keep_buffer_release(&draft);
		if (status == KEEP_OK)
			status = make_draft(file, err);
	} else {
		status = make_in_memory(file, err);
	}
	file->is_writable = true;
	if (status == KEEP_OK)
		status = kp_file_truncate(file->fd, KP_VECTOR_HEADER_BYTES, err);
	if (status == KEEP_OK)
		status = map_headers(file, err);
	read_boot(file->boot);
	file->lock_wait_ns = LOCK_WAIT_NS;
	return status;
}

void kp_vector_file_close(struct kp_vector_file *file, size_t segment_bytes)
{
	for (size_t i = 0; i < file->segment_count; i++)
		(void)munmap(file->segments[i], segment_bytes);
	if (file->headers)
		(void)munmap((void *)(uintptr_t)file->headers, KP_VECTOR_HEADER_BYTES);
	if (file->draft && file->fd >= 0 && unlink(file->draft) != 0)
		kp_log(KEEP_LOG_WARNING, "cannot remove %s", file->draft);
	kp_file_close(&file->fd);
	kp_free(file->segments);
	kp_free(file->path);
	kp_free(file->draft);
	*file = (struct kp_vector_file){.fd = -1};
}

keep_status kp_vector_file_is_there(const struct kp_vector_file *file, bool *is_there,
				    keep_error *err)
{
	struct stat ours, theirs;
	keep_status status;

	*is_there = true;
	if (!file->path || file->draft)
		return KEEP_OK;
	status = look_at(file, &ours, err);
	if (status != KEEP_OK)
		return status;
	if (stat(file->path, &theirs) != 0) {
		*is_there = false;
		return errno == ENOENT ? KEEP_OK
				       : kp_fail_errno(err, errno, "cannot look at %s", file->path);
	}
	*is_there = ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
	return KEEP_OK;
}

keep_status kp_vector_file_publish(struct kp_vector_file *file, keep_error *err)
{
	keep_status status;

	if (!file->draft)
		return KEEP_OK;
	kp_moment("vector_file.before_rename");
	status = kp_file_rename(AT_FDCWD, file->draft, AT_FDCWD, file->path, err);
	if (status != KEEP_OK)
		return status;
	kp_free(file->draft);
	file->draft = NULL;
	unlock(file->fd, 1);
	return KEEP_OK;
}

/* ---------------------------------------------------------------- headers */

static uint64_t check_of(const struct kp_vector_header *header)
{
	return kp_siphash(header_key, (keep_bytes){(const char *)header,
						   offsetof(struct kp_vector_header, check)});
}

bool kp_vector_file_header(const struct kp_vector_file *file, struct kp_vector_header *out)
{
	bool found = false;

	/* A header that is being written fails its check; the other one stands, unless two commits
	   came meanwhile. */
	for (int i = 0; i < HEADER_TRIES && !found; i++)
		for (size_t which = 0; which < 2; which++) {
			struct kp_vector_header header;

			memcpy(&header, file->headers + which * (KP_VECTOR_HEADER_BYTES / 2),
			       sizeof header);
			if (header.commit == 0 || check_of(&header) != header.check)
				continue;
			if (!found || header.commit > out->commit)
				*out = header;
			found = true;
		}
	return found;
}

uint64_t kp_vector_file_peek(const struct kp_vector_file *file)
{
	uint64_t newest = 0;

	for (size_t which = 0; which < 2; which++) {
		const void *at = file->headers + which * (KP_VECTOR_HEADER_BYTES / 2);
		const struct kp_vector_header *header = at;
		uint64_t commit = __atomic_load_n(&header->commit, __ATOMIC_ACQUIRE);

		newest = commit > newest ? commit : newest;
	}
	return newest;
}

keep_status kp_vector_file_put_header(struct kp_vector_file *file, struct kp_vector_header *header,
				      keep_error *err)
{
	int64_t at;

	header->commit++;
	memcpy(header->boot, file->boot, sizeof header->boot);
	header->check = check_of(header);
	at = header->commit % 2 ? 0 : KP_VECTOR_HEADER_BYTES / 2;
	return kp_file_write_at(file->fd, (keep_bytes){(const char *)header, sizeof *header}, at,
				err);
}

/* ---------------------------------------------------------------- segments */

static uint64_t segments_of(uint64_t slots)
{
	return (slots + KP_VECTOR_SEGMENT - 1) / KP_VECTOR_SEGMENT;
}

static int64_t size_of(const struct kp_vector_layout *layout, uint64_t slots)
{
	return (int64_t)(KP_VECTOR_HEADER_BYTES + segments_of(slots) * layout->segment_bytes);
}

keep_status kp_vector_file_extend(struct kp_vector_file *file,
				  const struct kp_vector_layout *layout, uint64_t slots,
				  keep_error *err)
{
	struct stat about;
	keep_status status = look_at(file, &about, err);

	if (status == KEEP_OK && about.st_size < size_of(layout, slots))
		status = kp_file_truncate(file->fd, size_of(layout, slots), err);
	return status;
}

/* Room for the pointers of `count` segments. */
static keep_status reserve_segments(struct kp_vector_file *file, size_t count, keep_error *err)
{
	size_t room = file->segment_room ? file->segment_room : 8;
	uint8_t **segments;

	if (count <= file->segment_room)
		return KEEP_OK;
	while (room < count)
		room *= 2;
	segments = kp_realloc(file->segments, room * sizeof *segments);
	if (!segments)
		return kp_fail_memory(err, "vectors");
	file->segments = segments;
	file->segment_room = room;
	return KEEP_OK;
}

keep_status kp_vector_file_map(struct kp_vector_file *file, const struct kp_vector_layout *layout,
			       uint64_t slots, keep_error *err)
{
	size_t count = segments_of(slots);
	struct stat about;
	keep_status status;

	if (count <= file->segment_count)
		return KEEP_OK;
	status = look_at(file, &about, err);
	if (status == KEEP_OK && about.st_size < size_of(layout, slots))
		status = kp_fail(err, KEEP_CORRUPT, "%s is shorter than its header says",
				 kp_vector_file_name(file));
	if (status == KEEP_OK)
		status = reserve_segments(file, count, err);
	while (status == KEEP_OK && file->segment_count < count) {
		void *mapped = NULL;
		int64_t at = size_of(layout, file->segment_count * KP_VECTOR_SEGMENT);

		status = map_bytes(file, at, layout->segment_bytes, &mapped, err);
		if (status == KEEP_OK)
			file->segments[file->segment_count++] = mapped;
	}
	return status;
}

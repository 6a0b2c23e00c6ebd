/*
 * file.c - every system call on files that Keep itself makes.
 *
 * Invariants:
 *   1. Each call consults KP_FAULT_FILE once; an injected failure of a write has written half of
 *      the bytes, as a full disk would.
 *   2. Interrupted calls are repeated, short reads and writes are completed.
 *   3. Every descriptor is close-on-exec.
 *   4. A message names the file: by name where the caller gave one, otherwise by what the kernel
 *      says the descriptor is.
 *
 * What it does not do: decide when to sync. A write is durable after kp_file_sync of the file, a
 * name after kp_file_sync of its folder.
 *
 * Tests: tests/unit/test_file.c.
 */
#include "core/core.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BLOCK ((size_t)64 << 10)

/* "cannot <verb> <the descriptor's path>: <errno's text>" */
static keep_status fail_descriptor(keep_error *err, int errnum, const char *verb, int fd)
{
	char link[48], path[224];
	ssize_t len;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof path - 1);
	if (len < 0)
		len = snprintf(path, sizeof path, "descriptor %d", fd);
	path[len] = '\0';
	return kp_fail_errno(err, errnum, "cannot %s %s", verb, path);
}

/* A signal came before the call had done anything: make it again. */
static bool is_interrupted(long result)
{
	return result < 0 && errno == EINTR;
}

keep_status kp_file_open(int folder, const char *name, int flags, unsigned mode, int *fd,
			 keep_error *err)
{
	int got;

	*fd = -1;
	if (kp_fault(KP_FAULT_FILE))
		return kp_fail_errno(err, EIO, "cannot open %s", name);
	do
		got = openat(folder, name, flags | O_CLOEXEC, (mode_t)mode);
	while (is_interrupted(got));
	if (got < 0)
		return kp_fail_errno(err, errno, "cannot open %s", name);
	*fd = got;
	return KEEP_OK;
}

void kp_file_close(int *fd)
{
	/* Not repeated when interrupted: on Linux the descriptor is gone all the same. */
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

keep_status kp_file_read_at(int fd, void *out, size_t size, int64_t at, size_t *got,
			    keep_error *err)
{
	char *to = out;
	size_t done = 0;

	*got = 0;
	if (kp_fault(KP_FAULT_FILE))
		return fail_descriptor(err, EIO, "read", fd);
	while (done < size) {
		ssize_t count = pread(fd, to + done, size - done, (off_t)(at + (int64_t)done));

		if (is_interrupted(count))
			continue;
		if (count < 0)
			return fail_descriptor(err, errno, "read", fd);
		if (count == 0)
			break;
		done += (size_t)count;
	}
	*got = done;
	return KEEP_OK;
}

/* The size when it is a regular file, so that one reservation and one read are enough. */
static size_t guess_size(int fd, size_t limit)
{
	struct stat about;

	if (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode) || about.st_size < 0)
		return 0;
	return (uint64_t)about.st_size < limit ? (size_t)about.st_size : limit;
}

keep_status kp_file_read_all(int fd, size_t limit, keep_buffer *out, keep_error *err)
{
	keep_status status;
	size_t room;

	if (limit > KP_BUFFER_BYTES_MAX - 1)
		limit = KP_BUFFER_BYTES_MAX - 1;
	room = guess_size(fd, limit) + 1; /* one more, to see the end */
	out->len = 0;
	if (kp_fault(KP_FAULT_FILE))
		return fail_descriptor(err, EIO, "read", fd);
	for (;;) {
		ssize_t count;

		status = kp_buffer_reserve(out, out->len + room, err);
		if (status != KEEP_OK)
			break;
		room = out->capacity - out->len;
		count = read(fd, out->data + out->len, room);
		if (is_interrupted(count))
			continue;
		if (count < 0)
			status = fail_descriptor(err, errno, "read", fd);
		if (count <= 0)
			break;
		out->len += (size_t)count;
		if (out->len > limit) {
			status =
				kp_fail(err, KEEP_FULL, "the file is longer than %zu bytes", limit);
			break;
		}
		room = out->len < out->capacity ? out->capacity - out->len : READ_BLOCK;
	}
	if (status != KEEP_OK)
		out->len = 0;
	if (out->data)
		out->data[out->len] = '\0';
	return status;
}

/* Write all bytes; at < 0 means where the descriptor stands. */
static keep_status write_all(int fd, keep_bytes bytes, int64_t at, keep_error *err)
{
	bool fault = kp_fault(KP_FAULT_FILE);
	size_t done = 0, size = fault ? bytes.len / 2 : bytes.len;

	while (done < size) {
		ssize_t count = at < 0 ? write(fd, bytes.data + done, size - done)
				       : pwrite(fd, bytes.data + done, size - done,
						(off_t)(at + (int64_t)done));

		if (is_interrupted(count))
			continue;
		if (count < 0)
			return fail_descriptor(err, errno, "write", fd);
		done += (size_t)count;
	}
	return fault ? fail_descriptor(err, EIO, "write", fd) : KEEP_OK;
}

keep_status kp_file_write_at(int fd, keep_bytes bytes, int64_t at, keep_error *err)
{
	if (at < 0)
		return kp_fail(err, KEEP_MISUSE, "a write at the negative position %lld",
			       (long long)at);
	return write_all(fd, bytes, at, err);
}

keep_status kp_file_append(int fd, keep_bytes bytes, keep_error *err)
{
	return write_all(fd, bytes, -1, err);
}

keep_status kp_file_truncate(int fd, int64_t size, keep_error *err)
{
	int result;

	if (kp_fault(KP_FAULT_FILE))
		return fail_descriptor(err, EIO, "truncate", fd);
	do
		result = ftruncate(fd, (off_t)size);
	while (is_interrupted(result));
	return result == 0 ? KEEP_OK : fail_descriptor(err, errno, "truncate", fd);
}

keep_status kp_file_sync(int fd, keep_error *err)
{
	int result;

	if (kp_fault(KP_FAULT_FILE))
		return fail_descriptor(err, EIO, "sync", fd);
	do
		result = fdatasync(fd);
	while (is_interrupted(result));
	return result == 0 ? KEEP_OK : fail_descriptor(err, errno, "sync", fd);
}

keep_status kp_file_rename(int from_folder, const char *from, int to_folder, const char *to,
			   keep_error *err)
{
	if (kp_fault(KP_FAULT_FILE))
		return kp_fail_errno(err, EIO, "cannot rename %s to %s", from, to);
	if (renameat(from_folder, from, to_folder, to) != 0)
		return kp_fail_errno(err, errno, "cannot rename %s to %s", from, to);
	return KEEP_OK;
}

keep_status kp_file_unlink(int folder, const char *name, int flags, keep_error *err)
{
	if (kp_fault(KP_FAULT_FILE))
		return kp_fail_errno(err, EIO, "cannot remove %s", name);
	if (unlinkat(folder, name, flags) != 0)
		return kp_fail_errno(err, errno, "cannot remove %s", name);
	return KEEP_OK;
}

keep_status kp_folder_make(int folder, const char *name, unsigned mode, keep_error *err)
{
	if (kp_fault(KP_FAULT_FILE))
		return kp_fail_errno(err, EIO, "cannot make the folder %s", name);
	if (mkdirat(folder, name, (mode_t)mode) != 0)
		return kp_fail_errno(err, errno, "cannot make the folder %s", name);
	return KEEP_OK;
}

/*
 * engine_files_tree.c - names, paths, and every system call of file: that core has no door for.
 *
 * A segment is its folder's name, except for what a file system or this layout cannot hold under
 * its own name: `index.json` (the value's file), names that begin with ".keep" (ours), and names
 * longer than the file system allows. Those become ".keep-" and the SHA-256 of the segment in hex,
 * and the folder holds the segment itself in a file `.keep-name`.
 *
 * Invariants:
 *   1. No call leaves the base and none follows a symbolic link: every path is resolved from a
 *      descriptor with openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS), or, on a kernel without it,
 *      folder by folder with O_NOFOLLOW.
 *   2. Only ENOENT and ENOTDIR mean "not there". Every other errno is a failure and is told.
 *   3. A path is cut into pieces that one call can take, so that the limits are the contract's and
 *      not PATH_MAX.
 *   4. Each call consults KP_FAULT_FILE once.
 *   5. An escape is believed only when its `.keep-name` hashes to the folder's name.
 *
 * Tests: tests/unit/test_engine_files.c, tests/contract.
 */
#include "engine/engine_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ESCAPE ".keep-"
#define ESCAPE_LEN (sizeof ESCAPE - 1)
#define ESCAPED_LEN (ESCAPE_LEN + 2 * KP_SHA256_SIZE)
#define PIECE_MAX 4000 /* bytes of a path that one call is given; PATH_MAX is 4096 */

/* ---------------------------------------------------------------- names */

bool kp_files_is_escaped(const kp_files *files, keep_bytes segment)
{
	size_t reserved = sizeof KP_FILES_RESERVED - 1;

	return segment.len > files->name_max ||
	       (segment.len >= reserved &&
		memcmp(segment.data, KP_FILES_RESERVED, reserved) == 0) ||
	       kp_bytes_equal(segment, KEEP_BYTES(KP_FILES_DOCUMENT));
}

static keep_status escape(keep_bytes segment, char *out, keep_error *err)
{
	unsigned char digest[KP_SHA256_SIZE];
	keep_status status = kp_sha256(segment, digest, err);

	if (status != KEEP_OK)
		return status;
	memcpy(out, ESCAPE, ESCAPE_LEN);
	kp_hex_format((keep_bytes){(const char *)digest, sizeof digest}, out + ESCAPE_LEN);
	return KEEP_OK;
}

keep_status kp_files_name(const kp_files *files, keep_bytes segment, char *out, keep_error *err)
{
	if (kp_files_is_escaped(files, segment))
		return escape(segment, out, err);
	memcpy(out, segment.data, segment.len);
	out[segment.len] = '\0';
	return KEEP_OK;
}

keep_status kp_files_document_name(const kp_files *files, keep_bytes segment, char *out,
				   keep_error *err)
{
	keep_status status = kp_files_name(files, segment, out, err);

	if (status == KEEP_OK)
		memcpy(out + strlen(out), "/" KP_FILES_DOCUMENT, sizeof "/" KP_FILES_DOCUMENT);
	return status;
}

keep_status kp_files_disk_path(const kp_files *files, keep_bytes path, char *out, keep_error *err)
{
	const char *at = path.data, *end = path.data + path.len;
	keep_status status = KEEP_OK;

	*out = '\0';
	while (status == KEEP_OK && at < end) {
		const char *slash = memchr(at, '/', (size_t)(end - at));
		keep_bytes segment = {at, (size_t)((slash ? slash : end) - at)};

		status = kp_files_name(files, segment, out, err);
		out += status == KEEP_OK ? strlen(out) : 0;
		at += segment.len + 1;
		if (slash)
			*out++ = '/';
		*out = '\0';
	}
	return status;
}

/* ---------------------------------------------------------------- calls */

static int open_segment(int folder, const char *name, size_t len, int flags, int *fd)
{
	char segment[KP_FILES_NAME_MAX];

	if (len >= sizeof segment)
		return ENAMETOOLONG;
	memcpy(segment, name, len);
	segment[len] = '\0';
	do
		*fd = openat(folder, segment, flags | O_NOFOLLOW | O_CLOEXEC);
	while (*fd < 0 && errno == EINTR);
	return *fd < 0 ? errno : 0;
}

/* One piece of a path, on a kernel without openat2: folder by folder. */
static int open_walking(int folder, const char *path, size_t len, int flags, int *fd)
{
	int at = -1, failed = 0;

	for (;;) {
		const char *slash = memchr(path, '/', len);
		size_t name = slash ? (size_t)(slash - path) : len;
		int next = -1;

		failed = open_segment(at < 0 ? folder : at, path, name,
				      slash ? O_PATH | O_DIRECTORY : flags, &next);
		if (at >= 0)
			close(at);
		at = next;
		if (failed || !slash)
			break;
		path += name + 1;
		len -= name + 1;
	}
	*fd = at;
	return failed;
}

static int open_piece(const kp_files *files, int folder, const char *path, size_t len, int flags,
		      int *fd)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC | O_NOFOLLOW),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};
	char piece[PIECE_MAX + 1];
	long got;

	if (!files->has_openat2)
		return open_walking(folder, path, len, flags, fd);
	memcpy(piece, path, len);
	piece[len] = '\0';
	do
		got = syscall(SYS_openat2, folder, piece, &how, sizeof how);
	while (got < 0 && (errno == EINTR || errno == EAGAIN));
	*fd = (int)got;
	return got < 0 ? errno : 0;
}

int kp_files_open_at(const kp_files *files, int folder, const char *path, int flags, int *fd)
{
	size_t len = strlen(path);
	int at = -1, failed = 0;

	*fd = -1;
	if (kp_fault(KP_FAULT_FILE))
		return EIO;
	if (len == 0) {
		path = ".";
		len = 1;
	}
	while (!failed && len > PIECE_MAX) {
		size_t cut = PIECE_MAX;
		int next = -1;

		while (path[cut] != '/')
			cut--;
		failed = open_piece(files, at < 0 ? folder : at, path, cut, O_PATH | O_DIRECTORY,
				    &next);
		kp_file_close(&at);
		at = next;
		path += cut + 1;
		len -= cut + 1;
	}
	if (!failed)
		failed = open_piece(files, at < 0 ? folder : at, path, len, flags, fd);
	kp_file_close(&at);
	return failed;
}

int kp_files_stat_fd(int fd, struct stat *about)
{
	if (kp_fault(KP_FAULT_FILE))
		return EIO;
	return fstat(fd, about) == 0 ? 0 : errno;
}

int kp_files_stat_at(int folder, const char *name, struct stat *about)
{
	if (kp_fault(KP_FAULT_FILE))
		return EIO;
	return fstatat(folder, name, about, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : errno;
}

int kp_files_set_mtime(int folder, const char *name, int64_t mtime)
{
	struct timespec times[2] = {
		{.tv_nsec = UTIME_OMIT},
		{.tv_sec = (time_t)(mtime / 1000000000), .tv_nsec = (long)(mtime % 1000000000)},
	};

	if (kp_fault(KP_FAULT_FILE))
		return EIO;
	return utimensat(folder, name, times, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : errno;
}

int kp_files_sync_all(int fd)
{
	if (kp_fault(KP_FAULT_FILE))
		return EIO;
	return syncfs(fd) == 0 ? 0 : errno;
}

int64_t kp_files_mtime(const struct stat *about)
{
	int64_t seconds = about->st_mtim.tv_sec;

	/* A time outside 64 bits of nanoseconds can only come from elsewhere: the first or last. */
	if (seconds < 0)
		return 0;
	if (seconds > INT64_MAX / 1000000000 - 1)
		return INT64_MAX - 1;
	return seconds * 1000000000 + about->st_mtim.tv_nsec;
}

/* ---------------------------------------------------------------- the base */

int kp_files_look_at_base(const kp_files *files)
{
	struct stat named;

	if (kp_fault(KP_FAULT_FILE))
		return EIO;
	if (stat(files->base_path, &named) != 0)
		return errno == ENOTDIR ? ENOENT : errno;
	return named.st_ino == files->base_ino && named.st_dev == files->base_dev ? 0 : ENOENT;
}

keep_status kp_files_fail_gone(const kp_files *files, keep_error *err)
{
	return kp_fail(err, KEEP_UNAVAILABLE, "%s was deleted or replaced while open",
		       files->base_path);
}

keep_status kp_files_check_base(kp_files *files, bool now, keep_error *err)
{
	int64_t now_ns = kp_monotonic_ns();
	int64_t looked_ns = atomic_load_explicit(&files->looked_ns, memory_order_relaxed);

	if (!now && now_ns - looked_ns < KP_FILES_LOOK_NS)
		return KEEP_OK;
	if (kp_files_look_at_base(files) == ENOENT)
		return kp_files_fail_gone(files, err);
	atomic_store_explicit(&files->looked_ns, now_ns, memory_order_relaxed);
	return KEEP_OK;
}

/* ---------------------------------------------------------------- reading a folder */

int kp_files_dir_open(const kp_files *files, int folder, kp_files_dir *dir)
{
	int fd, failed = kp_files_open_at(files, folder, "", O_RDONLY | O_DIRECTORY, &fd);

	dir->dir = NULL;
	if (failed)
		return failed;
	dir->dir = fdopendir(fd);
	if (dir->dir)
		return 0;
	failed = errno;
	kp_file_close(&fd);
	return failed;
}

int kp_files_dir_next(kp_files_dir *dir, kp_files_dirent *entry)
{
	struct dirent *got;
	struct stat about;

	*entry = (kp_files_dirent){.name = NULL};
	if (kp_fault(KP_FAULT_FILE))
		return EIO;
	do {
		errno = 0;
		got = readdir(dir->dir);
	} while (got && (strcmp(got->d_name, ".") == 0 || strcmp(got->d_name, "..") == 0));
	if (!got)
		return errno;
	entry->name = got->d_name;
	entry->is_folder = got->d_type == DT_DIR;
	if (got->d_type == DT_UNKNOWN)
		entry->is_folder =
			fstatat(dirfd(dir->dir), got->d_name, &about, AT_SYMLINK_NOFOLLOW) == 0 &&
			S_ISDIR(about.st_mode);
	return 0;
}

int kp_files_dir_fd(const kp_files_dir *dir)
{
	return dirfd(dir->dir);
}

void kp_files_dir_close(kp_files_dir *dir)
{
	if (dir->dir)
		closedir(dir->dir);
	dir->dir = NULL;
}

/* ---------------------------------------------------------------- segments read back */

/* The segment behind an escape. */
static keep_status unescape(const kp_files *files, int folder, const char *name, char *out,
			    keep_error *err)
{
	char path[KP_FILES_NAME_MAX], expected[ESCAPED_LEN + 1];
	keep_status status = KEEP_OK;
	size_t len = 0;
	int fd, failed;

	snprintf(path, sizeof path, "%s/" KP_FILES_NAME_FILE, name);
	failed = kp_files_open_at(files, folder, path, O_RDONLY | O_NONBLOCK, &fd);
	if (failed == ENOENT) /* its maker was killed before it came to a value */
		return kp_fail(err, KEEP_NOT_FOUND, "%s has no name", name);
	if (failed)
		return kp_fail_errno(err, failed, "cannot open %s", path);
	status = kp_file_read_at(fd, out, KEEP_SEGMENT_BYTES_MAX + 1, 0, &len, err);
	kp_file_close(&fd);
	if (status == KEEP_OK)
		status = escape((keep_bytes){out, len}, expected, err);
	if (status == KEEP_OK && (len > KEEP_SEGMENT_BYTES_MAX || strcmp(name, expected) != 0))
		status = kp_fail(err, KEEP_CORRUPT, "%s is not the name of its folder", path);
	if (status == KEEP_OK)
		out[len] = '\0';
	return status;
}

keep_status kp_files_segment(const kp_files *files, int folder, const char *name, char *out,
			     keep_error *err)
{
	keep_bytes segment = keep_bytes_of(name);

	if (segment.len == ESCAPED_LEN && memcmp(name, ESCAPE, ESCAPE_LEN) == 0)
		return unescape(files, folder, name, out, err);
	if (kp_files_is_escaped(files, segment) || segment.len > KEEP_SEGMENT_BYTES_MAX ||
	    !kp_utf8_is_valid(segment, NULL))
		return kp_fail(err, KEEP_NOT_FOUND, "%s is not a document's folder", name);
	memcpy(out, name, segment.len + 1);
	return KEEP_OK;
}

/* ---------------------------------------------------------------- folders and documents */

static bool is_absence(int failed)
{
	return failed == ENOENT || failed == ENOTDIR;
}

static keep_status fail_path(keep_error *err, int failed, keep_bytes path)
{
	if (is_absence(failed))
		return kp_fail(err, KEEP_NOT_FOUND, "there is no '%" KP_PRI "'", KP_ARG(path));
	return kp_fail_errno(err, failed, "cannot open '%" KP_PRI "'", KP_ARG(path));
}

keep_status kp_files_folder_open(const kp_files *files, keep_bytes path, int flags, int *fd,
				 keep_error *err)
{
	char disk[KP_FILES_PATH_MAX];
	keep_status status = kp_files_disk_path(files, path, disk, err);
	int failed;

	*fd = -1;
	if (status != KEEP_OK)
		return status;
	failed = kp_files_open_at(files, files->base, disk, flags | O_DIRECTORY, fd);
	return failed ? fail_path(err, failed, path) : KEEP_OK;
}

static keep_status read_value(const kp_files *files, int fd, const char *name, keep_buffer *value,
			      int64_t *mtime, keep_error *err)
{
	struct stat about;
	keep_status status;
	size_t size, got;
	int failed = kp_files_stat_fd(fd, &about);

	if (failed)
		return kp_fail_errno(err, failed, "cannot look at %s", name);
	if (!S_ISREG(about.st_mode))
		return kp_fail(err, KEEP_NOT_FOUND, "%s is not a file", name);
	if ((uint64_t)about.st_size > files->value_bytes_max)
		return kp_fail(err, KEEP_FULL, "%s has %lld bytes, more than a value may have",
			       name, (long long)about.st_size);
	size = (size_t)about.st_size;
	*mtime = kp_files_mtime(&about);
	status = kp_buffer_reserve(value, size, err);
	if (status == KEEP_OK)
		status = kp_file_read_at(fd, value->data, size, 0, &got, err);
	if (status == KEEP_OK) {
		value->len = got;
		value->data[got] = '\0';
	}
	return status;
}

keep_status kp_files_document_read(const kp_files *files, int folder, const char *name,
				   keep_buffer *value, int64_t *mtime, keep_error *err)
{
	keep_status status;
	int fd, failed = kp_files_open_at(files, folder, name, O_RDONLY | O_NONBLOCK, &fd);

	value->len = 0;
	if (failed)
		return fail_path(err, failed, keep_bytes_of(name));
	status = read_value(files, fd, name, value, mtime, err);
	kp_file_close(&fd);
	return status;
}

keep_status kp_files_document_get(const kp_files *files, keep_bytes path, keep_buffer *value,
				  keep_error *err)
{
	char disk[KP_FILES_PATH_MAX];
	keep_status status = kp_files_disk_path(files, path, disk, err);
	int64_t mtime;

	if (status != KEEP_OK)
		return status;
	memcpy(disk + strlen(disk), "/" KP_FILES_DOCUMENT, sizeof "/" KP_FILES_DOCUMENT);
	status = kp_files_document_read(files, files->base, disk, value, &mtime, err);
	if (status == KEEP_NOT_FOUND)
		return kp_fail(err, status, "path '%" KP_PRI "': there is no document",
			       KP_ARG(path));
	return status;
}

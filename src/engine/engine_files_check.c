/*
 * engine_files_check.c - after a crash of the machine, which relaxed values arrived whole?
 *
 * A relaxed store waits for no disk. When the machine crashes, a file system may have kept a name
 * and not all of the bytes behind it: an empty or a cut file, which would be a wrong value. So each
 * relaxed value carries a mark, an extended attribute with its length and hash, written before the
 * file gets its name. The control file knows in which boot it was made and whether anybody opened
 * the store relaxed; the first one to open it for writing in another boot compares every mark with
 * its file, and removes the documents that are not what their marks say. They are among "the last
 * seconds" that relaxed may lose; the wrong value is nobody's.
 *
 * Invariants:
 *   1. The check is over, or due again: the boot is written into the control after it.
 *   2. A document without a mark is left alone: it was synced, or another program's. So is
 *      one that another program wrote into after us.
 *   3. Only values are removed, never what is below them.
 *
 * A file system without extended attributes has its data sent on its way before the rename instead;
 * that is enough where data is ordered before names.
 *
 * Tests: tests/unit/test_engine_files.c.
 */
#include "engine/engine_files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#define MARK "user.keep"

typedef struct mark {
	uint64_t len;
	uint64_t hash;
} mark;

static mark mark_of(keep_bytes value)
{
	static const unsigned char key[16] = "keep file: mark";

	return (mark){.len = value.len, .hash = kp_siphash(key, value)};
}

void kp_files_mark(int fd, keep_bytes value)
{
	mark made = mark_of(value);

	if (kp_fault(KP_FAULT_FILE) || fsetxattr(fd, MARK, &made, sizeof made, 0) != 0)
		(void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

typedef struct checker {
	kp_files *files;
	keep_buffer wrong; /* paths, each followed by a zero byte */
	keep_status status;
	keep_error *err;
} checker;

/* A mark that says something else than the file. */
static bool is_wrong(kp_files *files, const char *disk, keep_bytes value)
{
	mark found, expected = mark_of(value);
	struct stat about;
	ssize_t len = -1;
	int fd;

	if (kp_files_open_at(files, files->base, disk, O_RDONLY | O_NONBLOCK, &fd) != 0)
		return false;
	/* A program that wrote into the file left both times equal; we set one of them to a place.
	 */
	if (fstat(fd, &about) == 0 && (about.st_mtim.tv_sec != about.st_ctim.tv_sec ||
				       about.st_mtim.tv_nsec != about.st_ctim.tv_nsec))
		len = fgetxattr(fd, MARK, &found, sizeof found);
	kp_file_close(&fd);
	return len == (ssize_t)sizeof found && memcmp(&found, &expected, sizeof found) != 0;
}

static bool check_document(void *ctx, keep_bytes path, keep_bytes value)
{
	checker *work = ctx;
	char disk[KP_FILES_PATH_MAX];

	work->status = kp_files_disk_path(work->files, path, disk, work->err);
	if (work->status != KEEP_OK)
		return false;
	memcpy(disk + strlen(disk), "/" KP_FILES_DOCUMENT, sizeof "/" KP_FILES_DOCUMENT);
	if (is_wrong(work->files, disk, value))
		work->status = kp_buffer_append(&work->wrong, (keep_bytes){disk, strlen(disk) + 1},
						work->err);
	return work->status == KEEP_OK;
}

static keep_status remove_wrong(checker *work)
{
	keep_status status = KEEP_OK;

	for (size_t at = 0; status == KEEP_OK && at < work->wrong.len;) {
		const char *disk = work->wrong.data + at, *name;
		int fd = -1;

		status = kp_files_holder_open(work->files, disk, &fd, &name, work->err);
		if (status == KEEP_OK)
			status = kp_file_unlink(fd, name, 0, work->err);
		kp_file_close(&fd);
		kp_log(KEEP_LOG_WARNING,
		       "%s: %s was not whole after a crash of the machine; removed",
		       work->files->base_path, disk);
		at += strlen(disk) + 1;
	}
	return status;
}

keep_status kp_files_check_marks(kp_files *files, keep_error *err)
{
	kp_path root = kp_path_of((keep_bytes){"", 0});
	checker work = {.files = files, .err = err};
	size_t value_bytes_max = files->value_bytes_max;
	keep_status status;

	files->value_bytes_max = KP_BUFFER_BYTES_MAX - 1; /* whatever another opener allowed */
	status = kp_files_scan(&files->store, &root, check_document, &work, err);
	files->value_bytes_max = value_bytes_max;
	if (status == KEEP_OK)
		status = work.status;
	if (status == KEEP_OK)
		status = remove_wrong(&work);
	keep_buffer_release(&work.wrong);
	return status;
}

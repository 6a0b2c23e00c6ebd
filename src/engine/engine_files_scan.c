/*
 * engine_files_scan.c - every document below a path, in bounded memory.
 *
 * Depth first, one open folder per level (64 at most), one entry in hand. The kernel's cursor in an
 * open folder gives every entry that is there throughout exactly once, whatever else comes and
 * goes.
 *
 * Invariants:
 *   1. No lock is held while the callback runs.
 *   2. A document that vanished between its folder's reading and its own is left out; any other
 *      failure ends the scan and is told.
 *   3. Nothing deeper than a path can be is entered.
 *
 * Tests: tests/contract, tests/unit/test_engine_files.c.
 */
#include "engine/engine_files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

typedef struct level {
	kp_files_dir dir;
	size_t path_len; /* of the folder's path */
} level;

typedef struct scanner {
	kp_files *files;
	kp_scan_callback *callback;
	void *ctx;
	level levels[KEEP_PATH_SEGMENTS_MAX + 1];
	unsigned depth; /* levels in use */
	char path[KEEP_PATH_BYTES_MAX + KEEP_SEGMENT_BYTES_MAX + 2];
	keep_buffer value;
	bool has_seen; /* a document */
	bool is_ended;
} scanner;

static keep_status push(scanner *scan, int folder, size_t path_len, keep_error *err)
{
	level *at = &scan->levels[scan->depth];
	int failed = kp_files_dir_open(scan->files, folder, &at->dir);

	if (failed == ENOENT)
		return KEEP_OK;
	if (failed)
		return kp_fail_errno(err, failed, "cannot read the folder of '%.*s'", (int)path_len,
				     scan->path);
	at->path_len = path_len;
	scan->depth++;
	return KEEP_OK;
}

/* Show a child's document, if it has one, and go into it. */
static keep_status visit(scanner *scan, const char *name, keep_error *err)
{
	const level *at = &scan->levels[scan->depth - 1];
	char document[KP_FILES_NAME_MAX + sizeof "/" KP_FILES_DOCUMENT];
	char segment[KEEP_SEGMENT_BYTES_MAX + 2];
	size_t len = at->path_len, name_len = strlen(name);
	int holder = kp_files_dir_fd(&at->dir), fd = -1, failed;
	int64_t mtime;
	keep_status status = KEEP_NOT_FOUND;

	if (name_len < KP_FILES_NAME_MAX)
		status = kp_files_segment(scan->files, holder, name, segment, err);
	if (status != KEEP_OK)
		return status == KEEP_NOT_FOUND ? KEEP_OK : status;
	if (len + 1 + strlen(segment) > KEEP_PATH_BYTES_MAX || scan->depth > KEEP_PATH_SEGMENTS_MAX)
		return KEEP_OK;
	if (len > 0)
		scan->path[len++] = '/';
	memcpy(scan->path + len, segment, strlen(segment));
	len += strlen(segment);
	memcpy(document, name, name_len);
	memcpy(document + name_len, "/" KP_FILES_DOCUMENT, sizeof "/" KP_FILES_DOCUMENT);
	status = kp_files_document_read(scan->files, holder, document, &scan->value, &mtime, err);
	if (status == KEEP_OK) {
		scan->has_seen = true;
		scan->is_ended = !scan->callback(scan->ctx, (keep_bytes){scan->path, len},
						 kp_buffer_bytes(&scan->value));
	}
	if (scan->is_ended || (status != KEEP_OK && status != KEEP_NOT_FOUND))
		return status;
	failed = kp_files_open_at(scan->files, holder, name, O_RDONLY | O_DIRECTORY, &fd);
	if (failed)
		return failed == ENOENT || failed == ENOTDIR
			       ? KEEP_OK
			       : kp_fail_errno(err, failed, "cannot open '%.*s'", (int)len,
					       scan->path);
	status = push(scan, fd, len, err);
	kp_file_close(&fd);
	return status;
}

keep_status kp_files_scan(kp_store *store, const kp_path *path, kp_scan_callback *callback,
			  void *ctx, keep_error *err)
{
	kp_files *files = (kp_files *)store;
	scanner *scan = kp_alloc_zero(sizeof *scan);
	keep_error made = KEEP_ERROR_INIT;
	keep_status status;
	int fd = -1;

	if (!scan)
		return kp_fail_memory(err, "a scan");
	*scan = (scanner){.files = files, .callback = callback, .ctx = ctx};
	if (path->text.len > 0)
		memcpy(scan->path, path->text.data, path->text.len);
	status = kp_files_check_base(files, false, &made);
	if (status == KEEP_OK)
		status = kp_files_folder_open(files, path->text, O_RDONLY, &fd, &made);
	if (status == KEEP_OK)
		status = push(scan, fd, path->text.len, &made);
	kp_file_close(&fd);
	while (status == KEEP_OK && scan->depth > 0 && !scan->is_ended) {
		level *at = &scan->levels[scan->depth - 1];
		kp_files_dirent entry;
		int failed = kp_files_dir_next(&at->dir, &entry);

		if (failed) {
			status = kp_fail_errno(&made, failed, "cannot read a folder of %s",
					       files->base_path);
		} else if (!entry.name) {
			kp_files_dir_close(&at->dir);
			scan->depth--;
		} else if (entry.is_folder) {
			status = visit(scan, entry.name, &made);
		}
	}
	while (scan->depth > 0)
		kp_files_dir_close(&scan->levels[--scan->depth].dir);
	if (status == KEEP_NOT_FOUND)
		status = KEEP_OK;
	if (status == KEEP_OK && !scan->has_seen)
		status = kp_files_check_base(files, true, &made);
	keep_buffer_release(&scan->value);
	kp_free(scan);
	return kp_files_report(status, &made, err);
}

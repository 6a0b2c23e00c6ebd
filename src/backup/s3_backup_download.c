/*
 * s3_backup_download.c - a backup that comes down into a folder.
 *
 * Invariants:
 *   1. The folder has its name only when all of its files have come, were verified against the
 *      manifest and are synced: it grows as "<into>.partial" and is renamed.
 *   2. The manifest comes first: without one there is no backup, and nothing is made but its
 * folder.
 *   3. An interrupted download is gone on with when it is of the same manifest: a file that is
 * there is read, and fetched again unless it is right. One of another manifest is CONFLICT.
 *   4. Nothing outside of the folder is touched, whatever a manifest says (s3_manifest.c, 1).
 *
 * What it does not do: look into databases; kp_backup_verify and kp_backup_restore do.
 *
 * Tests: tests/contract/test_s3_backup.c, tests/torture/test_s3_faults.c.
 */
#include "backup/backup.h"
#include "backup/s3_private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Make the folders that lead to a file; they may be there. */
static keep_status make_folders(int folder, char *path, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (char *slash = strchr(path, '/'); slash && status == KEEP_OK;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		status = kp_folder_make(folder, path, 0700, err);
		if (status == KEEP_CONFLICT)
			status = KEEP_OK;
		*slash = '/';
	}
	return status;
}

/* Is the file there already, and right? What cannot be read is fetched again. */
static keep_status is_right(kp_s3 *s3, int folder, const char *path, const kp_s3_file *file,
			    bool *right, keep_error *err)
{
	char sha256[KP_S3_SHA256_TEXT];
	struct stat about;
	int fd = -1;
	keep_status status;

	*right = false;
	if (kp_file_open(folder, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, &fd, NULL) != KEEP_OK)
		return KEEP_OK;
	if (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode) || about.st_size != file->size) {
		kp_file_close(&fd);
		return KEEP_OK;
	}
	status = kp_s3_hash_file(fd, 0, file->size, NULL, s3->cancelled, sha256, err);
	*right = status == KEEP_OK && strcmp(sha256, file->sha256) == 0;
	kp_file_close(&fd);
	return status == KEEP_CORRUPT ? KEEP_OK : status;
}

/* The folders of the home, so that empty ones are there too. */
static keep_status make_all_folders(int folder, const kp_s3_manifest *manifest, keep_error *err)
{
	keep_buffer path = KEEP_BUFFER_INIT;
	keep_status status = keep_buffer_set(&path, KEEP_BYTES(KP_BACKUP_DATA "/"), err);

	if (status == KEEP_OK)
		status = make_folders(folder, path.data, err);
	for (size_t i = 0; i < manifest->folder_count && status == KEEP_OK; i++) {
		status = keep_buffer_set(&path, manifest->folders[i], err);
		if (status == KEEP_OK)
			status = kp_buffer_append_text(&path, "/", err);
		if (status == KEEP_OK)
			status = make_folders(folder, path.data, err);
	}
	keep_buffer_release(&path);
	return status;
}

static keep_status get_one(kp_s3 *s3, int folder, const char *name, const kp_s3_file *file,
			   keep_error *err)
{
	keep_buffer key = KEEP_BUFFER_INIT, path = KEEP_BUFFER_INIT;
	bool right = false;
	keep_status status = keep_buffer_set(&path, file->path, err);

	if (status == KEEP_OK)
		status = kp_buffer_append_format(&key, err, "%s/%s", name, file->path.data);
	if (status == KEEP_OK)
		status = make_folders(folder, path.data, err);
	if (status == KEEP_OK)
		status = is_right(s3, folder, path.data, file, &right, err);
	if (status == KEEP_OK && right)
		s3->done.bytes_done += file->size;
	else if (status == KEEP_OK)
		status = kp_s3_get_file(s3, key.data, folder, path.data, file->size, file->sha256,
					err);
	if (status == KEEP_OK) {
		s3->done.files_done++;
		kp_s3_tell_progress(s3, 0);
	}
	keep_buffer_release(&key);
	keep_buffer_release(&path);
	return status;
}

/* Sync each folder that holds a file, and those between. Files are sorted by path. */
static keep_status sync_folders(int folder, const kp_s3_manifest *manifest, keep_error *err)
{
	keep_buffer path = KEEP_BUFFER_INIT, last = KEEP_BUFFER_INIT;
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < manifest->count && status == KEEP_OK; i++) {
		status = keep_buffer_set(&path, manifest->files[i].path, err);
		while (status == KEEP_OK && path.len) {
			char *slash = memrchr(path.data, '/', path.len);
			int fd = -1;

			path.len = slash ? (size_t)(slash - path.data) : 0;
			path.data[path.len] = '\0';
			/* The last one, and all above it, were synced for the file before. */
			if (!path.len ||
			    (last.len >= path.len && memcmp(last.data, path.data, path.len) == 0 &&
			     (last.len == path.len || last.data[path.len] == '/')))
				break;
			status = kp_file_open(folder, path.data,
					      O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, &fd, err);
			if (status == KEEP_OK)
				status = kp_file_sync(fd, err);
			kp_file_close(&fd);
		}
		if (status == KEEP_OK) {
			keep_bytes full = manifest->files[i].path;
			const char *slash = memrchr(full.data, '/', full.len);

			full.len = slash ? (size_t)(slash - full.data) : 0;
			status = keep_buffer_set(&last, full, err);
		}
	}
	keep_buffer_release(&path);
	keep_buffer_release(&last);
	return status == KEEP_OK ? kp_file_sync(folder, err) : status;
}

/* The manifest: the one that is there when it is still the bucket's. */
static keep_status get_manifest(kp_s3 *s3, int folder, const char *name, kp_s3_manifest *manifest,
				keep_error *err)
{
	keep_buffer key = KEEP_BUFFER_INIT;
	kp_s3_object object = {.size = -1};
	keep_status status = kp_buffer_append_format(&key, err, "%s/" KP_BACKUP_MANIFEST, name);

	if (status == KEEP_OK)
		status = kp_s3_head(s3, key.data, &object, err);
	if (status == KEEP_NOT_FOUND)
		status = kp_fail(err, KEEP_NOT_FOUND, "the bucket %s: has no backup named %s",
				 s3->bucket, name);
	if (status == KEEP_OK && object.size > (int64_t)KP_S3_MANIFEST_BYTES_MAX)
		status = kp_fail(err, KEEP_FULL, "the manifest of %s is too long", name);
	if (status == KEEP_OK && kp_s3_manifest_read(folder, manifest, NULL) == KEEP_OK) {
		if (!object.has_sha256 || strcmp(object.sha256, manifest->sha256) != 0)
			status = kp_fail(err, KEEP_CONFLICT,
					 "the folder holds a part of another backup");
		goto out;
	}
	if (status == KEEP_OK)
		status = kp_s3_get_file(s3, key.data, folder, KP_BACKUP_MANIFEST, object.size,
					object.has_sha256 ? object.sha256 : NULL, err);
	if (status == KEEP_OK)
		status = kp_s3_manifest_read(folder, manifest, err);
out:
	keep_buffer_release(&key);
	return status;
}

static keep_status get_files(kp_s3 *s3, const char *name, const char *partial, keep_error *err)
{
	kp_s3_manifest manifest = {.files = NULL};
	int folder = -1;
	keep_status status = kp_file_open(AT_FDCWD, partial, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0,
					  &folder, err);

	if (status == KEEP_OK)
		status = get_manifest(s3, folder, name, &manifest, err);
	if (status == KEEP_OK)
		s3->done = (kp_s3_progress){
			.files = (int64_t)manifest.count + 1,
			.files_done = 1,
			.bytes = manifest.bytes + manifest.size,
			.bytes_done = manifest.size,
		};
	if (status == KEEP_OK)
		status = make_all_folders(folder, &manifest, err);
	for (size_t i = 0; i < manifest.count && status == KEEP_OK; i++)
		status = get_one(s3, folder, name, &manifest.files[i], err);
	if (status == KEEP_OK)
		status = sync_folders(folder, &manifest, err);
	kp_s3_manifest_release(&manifest);
	kp_file_close(&folder);
	return status;
}

/* The rename, and the sync of the folder that holds both names. */
static keep_status give_name(const char *partial, const char *into, keep_error *err)
{
	keep_buffer parent = KEEP_BUFFER_INIT;
	const char *slash = strrchr(into, '/');
	keep_bytes path = slash ? (keep_bytes){into, (size_t)(slash - into) + 1} : KEEP_BYTES(".");
	int fd = -1;
	keep_status status = keep_buffer_set(&parent, path, err);

	if (status == KEEP_OK)
		status = kp_file_open(AT_FDCWD, parent.data, O_RDONLY | O_DIRECTORY, 0, &fd, err);
	if (status == KEEP_OK)
		status = kp_file_rename(AT_FDCWD, partial, AT_FDCWD, into, err);
	if (status == KEEP_OK)
		status = kp_file_sync(fd, err);
	kp_file_close(&fd);
	keep_buffer_release(&parent);
	return status;
}

keep_status kp_s3_backup_download(kp_s3 *s3, const char *name, const char *into, keep_error *err)
{
	keep_buffer partial = KEEP_BUFFER_INIT;
	struct stat about;
	bool is_mine = false;
	size_t len = strlen(into);
	keep_status status = kp_s3_check_backup_name(name, err);

	if (status == KEEP_OK && (len == 0 || into[len - 1] == '/'))
		status = kp_fail(err, KEEP_INVALID, "the folder to make is named without a name");
	if (status == KEEP_OK && lstat(into, &about) == 0)
		status = kp_fail(err, KEEP_CONFLICT, "%s is there already", into);
	if (status == KEEP_OK)
		status = kp_buffer_append_format(&partial, err, "%s.partial", into);
	if (status == KEEP_OK) {
		status = kp_folder_make(AT_FDCWD, partial.data, 0700, err);
		is_mine = status == KEEP_OK;
		if (status == KEEP_CONFLICT)
			status = KEEP_OK;
	}
	if (status == KEEP_OK)
		status = get_files(s3, name, partial.data, err);
	if (status == KEEP_OK)
		status = give_name(partial.data, into, err);
	/* An empty one is nothing to go on with. */
	else if (is_mine)
		(void)!kp_file_unlink(AT_FDCWD, partial.data, AT_REMOVEDIR, NULL);
	s3->done = (kp_s3_progress){.files = 0};
	keep_buffer_release(&partial);
	return status;
}

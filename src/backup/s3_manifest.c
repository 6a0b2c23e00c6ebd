/*
 * s3_manifest.c - the manifest of a backup, as far as moving its files needs it: their paths, sizes
 * and digests.
 *
 * Invariants:
 *   1. A path of a manifest cannot leave the backup's folder, whoever wrote it: no empty segment,
 * no
 *      "." or "..", no control character, nothing absolute, and its key fits into KP_S3_KEY_MAX.
 *   2. No two files have one path, and none ends as a file that is being fetched does.
 *
 * What it does not do: verify a backup. kp_backup_verify does, of what was fetched.
 *
 * Tests: tests/contract/test_s3_backup.c.
 */
#include "backup/backup.h"
#include "backup/s3_private.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES_MAX 900 /* leaves room for a backup's name */

static const char data_folder[] = KP_BACKUP_DATA "/";

keep_status kp_s3_check_backup_name(const char *name, keep_error *err)
{
	keep_status status = kp_check_folder("a backup's name", keep_bytes_of(name), err);

	if (status == KEEP_OK && (strchr(name, '/') || name[0] == '.' || strlen(name) > 100))
		status = kp_fail(
			err, KEEP_INVALID,
			"a backup's name has a '/', begins with a dot or is over 100 bytes");
	return status;
}

static bool is_safe_path(keep_bytes path)
{
	static const char partial[] = ".partial";
	size_t begin = 0, end = sizeof partial - 1;

	if (!path.len || path.len > PATH_BYTES_MAX || !kp_text_is_storable(path))
		return false;
	for (size_t at = 0; at <= path.len; at++) {
		size_t len = at - begin;

		if (at < path.len && ((unsigned char)path.data[at] < ' ' || path.data[at] == 0x7f))
			return false;
		if (at < path.len && path.data[at] != '/')
			continue;
		if (len == 0 || len > 255 || (len == 1 && path.data[begin] == '.') ||
		    (len == 2 && memcmp(path.data + begin, "..", 2) == 0))
			return false;
		begin = at + 1;
	}
	return path.len < end || memcmp(path.data + path.len - end, partial, end) != 0;
}

/* "data/<path>" */
static keep_status copy_path(kp_s3_manifest *out, keep_bytes from, keep_bytes *path,
			     keep_error *err)
{
	char *text = kp_arena_alloc(&out->memory, sizeof data_folder + from.len);

	if (!text)
		return kp_fail_memory(err, "a manifest");
	memcpy(text, data_folder, sizeof data_folder);
	memcpy(text + sizeof data_folder - 1, from.data, from.len);
	*path = (keep_bytes){text, sizeof data_folder - 1 + from.len};
	text[path->len] = '\0';
	return KEEP_OK;
}

/* One member of "files". */
static keep_status read_file(const kp_json *json, kp_s3_manifest *out, kp_s3_file *file,
			     keep_error *err)
{
	const kp_json *path = kp_json_member(json, "path");
	const kp_json *size = kp_json_member(json, "size");
	const kp_json *sha256 = kp_json_member(json, "sha256");

	if (!path || path->kind != KP_JSON_TEXT || !is_safe_path(path->text))
		return kp_fail(err, KEEP_CORRUPT, "the manifest has a file without a safe path");
	if (!size || size->kind != KP_JSON_INTEGER || size->integer < 0 ||
	    size->integer > KP_S3_FILE_BYTES_MAX || !sha256 || sha256->kind != KP_JSON_TEXT ||
	    sha256->text.len != KP_S3_SHA256_TEXT - 1)
		return kp_fail(err, KEEP_CORRUPT,
			       "the manifest has no size or no sha256 of %" KP_PRI,
			       KP_ARG(path->text));
	file->size = size->integer;
	memcpy(file->sha256, sha256->text.data, KP_S3_SHA256_TEXT - 1);
	if (!kp_s3_is_sha256(file->sha256))
		return kp_fail(err, KEEP_CORRUPT, "the manifest has no right sha256 of %" KP_PRI,
			       KP_ARG(path->text));
	return copy_path(out, path->text, &file->path, err);
}

/* "folders" may be missing: a home without empty ones needs none. */
static keep_status read_folders(const kp_json *folders, kp_s3_manifest *out, keep_error *err)
{
	size_t count = folders && folders->kind == KP_JSON_ARRAY ? folders->list.count : 0;
	keep_status status = KEEP_OK;

	if (count > KP_BACKUP_FILES_MAX)
		return kp_fail(err, KEEP_CORRUPT, "the manifest has too many folders");
	out->folders = kp_arena_alloc(&out->memory, (count + 1) * sizeof *out->folders);
	if (!out->folders)
		return kp_fail_memory(err, "a manifest");
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		const kp_json *path = kp_json_member(&folders->list.items[i], "path");

		if (!path || path->kind != KP_JSON_TEXT || !is_safe_path(path->text))
			return kp_fail(err, KEEP_CORRUPT,
				       "the manifest has a folder without a safe path");
		status = copy_path(out, path->text, &out->folders[i], err);
		out->folder_count += status == KEEP_OK;
	}
	return status;
}

static int compare_files(const void *a, const void *b)
{
	return kp_bytes_compare(((const kp_s3_file *)a)->path, ((const kp_s3_file *)b)->path);
}

static keep_status read_files(keep_bytes text, kp_s3_manifest *out, keep_error *err)
{
	kp_arena memory = {.head = NULL};
	const kp_json *json = NULL, *files;
	keep_status status = kp_json_parse(text, &memory, &json, err);

	if (status != KEEP_OK) {
		status = status == KEEP_INVALID
				 ? kp_fail(err, KEEP_CORRUPT, "the manifest is no JSON")
				 : status;
		goto out;
	}
	files = kp_json_member(json, "files");
	if (!files || files->kind != KP_JSON_ARRAY || files->list.count > KP_BACKUP_FILES_MAX) {
		status = kp_fail(err, KEEP_CORRUPT, "the manifest has no list of files");
		goto out;
	}
	out->files = kp_arena_alloc(&out->memory, (files->list.count + 1) * sizeof *out->files);
	if (!out->files) {
		status = kp_fail_memory(err, "a manifest");
		goto out;
	}
	memset(out->files, 0, (files->list.count + 1) * sizeof *out->files);
	for (size_t i = 0; i < files->list.count && status == KEEP_OK; i++) {
		status = read_file(&files->list.items[i], out, &out->files[i], err);
		out->bytes += out->files[i].size;
	}
	out->count = status == KEEP_OK ? files->list.count : 0;
	if (status == KEEP_OK)
		status = read_folders(kp_json_member(json, "folders"), out, err);
	qsort(out->files, out->count, sizeof *out->files, compare_files);
	for (size_t i = 1; i < out->count && status == KEEP_OK; i++)
		if (kp_bytes_equal(out->files[i - 1].path, out->files[i].path))
			status = kp_fail(err, KEEP_CORRUPT, "the manifest has %" KP_PRI " twice",
					 KP_ARG(out->files[i].path));
out:
	kp_arena_release(&memory);
	return status;
}

keep_status kp_s3_manifest_read(int folder, kp_s3_manifest *out, keep_error *err)
{
	unsigned char digest[KP_SHA256_SIZE];
	keep_buffer text = KEEP_BUFFER_INIT;
	int fd = -1;
	keep_status status;

	*out = (kp_s3_manifest){.files = NULL};
	status = kp_file_open(folder, KP_BACKUP_MANIFEST, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0,
			      &fd, err);
	if (status == KEEP_OK)
		status = kp_file_read_all(fd, KP_S3_MANIFEST_BYTES_MAX, &text, err);
	if (status == KEEP_OK)
		status = kp_sha256(kp_buffer_bytes(&text), digest, err);
	if (status == KEEP_OK) {
		kp_hex_format((keep_bytes){(const char *)digest, sizeof digest}, out->sha256);
		out->size = (int64_t)text.len;
		status = read_files(kp_buffer_bytes(&text), out, err);
	}
	if (status != KEEP_OK)
		kp_s3_manifest_release(out);
	kp_file_close(&fd);
	keep_buffer_release(&text);
	return status;
}

void kp_s3_manifest_release(kp_s3_manifest *manifest)
{
	kp_arena_release(&manifest->memory);
	*manifest = (kp_s3_manifest){.files = NULL};
}

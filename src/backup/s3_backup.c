/*
 * s3_backup.c - whole backups in a bucket: up, listed, away. Down is s3_backup_download.c.
 *
 * Invariants:
 *   1. "<name>/manifest.json" is there only when every file that it names is: it is put last, after
 *      all were stored, and removed first, before any goes.
 *   2. An upload is ended by repeating it. What lies there with the size and the SHA-256 of the
 *      manifest is not sent again, and only then; the listing alone is no proof.
 *   3. A backup never replaces another: a manifest that differs is CONFLICT before anything is
 * sent.
 *
 * What it does not do: decide which backups to keep, and look into databases.
 *
 * Tests: tests/contract/test_s3_backup.c, tests/torture/test_s3_faults.c.
 */
#include "backup/backup.h"
#include "backup/s3_private.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define REMOVE_ROUNDS_MAX 10

/* "<name>/<path>" */
static keep_status join_key(keep_buffer *key, const char *name, const char *path, keep_error *err)
{
	key->len = 0;
	return kp_buffer_append_format(key, err, "%s/%s", name, path);
}

/* ---------------------------------------------------------------- up */

struct present {
	kp_s3_manifest *manifest;
	bool *is_there; /* by the listing, with the right size */
	size_t skip;    /* bytes of "<name>/" */
};

static int compare_path(const void *key, const void *file)
{
	return kp_bytes_compare(*(const keep_bytes *)key, ((const kp_s3_file *)file)->path);
}

static keep_status note_present(void *ctx, const kp_s3_entry *entry, keep_error *err)
{
	struct present *present = ctx;
	keep_bytes path = {entry->key.data + present->skip, entry->key.len - present->skip};
	const kp_s3_file *found;

	(void)err;
	if (present->manifest->count == 0)
		return KEEP_OK;
	found = bsearch(&path, present->manifest->files, present->manifest->count, sizeof *found,
			compare_path);
	if (found && found->size == entry->size)
		present->is_there[found - present->manifest->files] = true;
	return KEEP_OK;
}

/* Is it there with the same checksum? */
static keep_status look_for(kp_s3 *s3, const char *key, int64_t size, const char *sha256,
			    bool *is_there, keep_error *err)
{
	kp_s3_object object;
	keep_status status = kp_s3_head(s3, key, &object, err);

	*is_there = status == KEEP_OK && object.size == size && strcmp(object.sha256, sha256) == 0;
	return status;
}

static keep_status put_files(kp_s3 *s3, int folder, const char *name, struct present *present,
			     keep_error *err)
{
	kp_s3_manifest *manifest = present->manifest;
	keep_buffer key = KEEP_BUFFER_INIT;
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < manifest->count && status == KEEP_OK; i++) {
		const kp_s3_file *file = &manifest->files[i];
		bool is_there = false;

		status = join_key(&key, name, file->path.data, err);
		if (status == KEEP_OK && present->is_there[i]) {
			status = look_for(s3, key.data, file->size, file->sha256, &is_there, err);
			if (status == KEEP_NOT_FOUND)
				status = KEEP_OK;
		}
		if (status == KEEP_OK && is_there)
			s3->done.bytes_done += file->size;
		else if (status == KEEP_OK)
			status = kp_s3_put_file(s3, key.data, folder, file->path.data, file->size,
						file->sha256, err);
		s3->done.files_done++;
		kp_s3_tell_progress(s3, 0);
	}
	keep_buffer_release(&key);
	return status;
}

/* The files, then the manifest. */
static keep_status put_backup(kp_s3 *s3, int folder, const char *name, kp_s3_manifest *manifest,
			      keep_error *err)
{
	struct present present = {.manifest = manifest, .skip = strlen(name) + 1};
	keep_buffer key = KEEP_BUFFER_INIT;
	keep_status status = kp_buffer_append_format(&key, err, "%s/", name);

	if (status != KEEP_OK)
		return status;
	present.is_there = kp_arena_alloc(&manifest->memory, manifest->count + 1);
	if (!present.is_there) {
		status = kp_fail_memory(err, "a list of files");
		goto out;
	}
	memset(present.is_there, 0, manifest->count + 1);
	status = kp_s3_list(s3, key.data, KP_S3_ALL_BELOW, note_present, &present, err);
	if (status == KEEP_OK)
		status = put_files(s3, folder, name, &present, err);
	if (status == KEEP_OK)
		status = join_key(&key, name, KP_BACKUP_MANIFEST, err);
	if (status == KEEP_OK)
		status = kp_s3_put_file(s3, key.data, folder, KP_BACKUP_MANIFEST, manifest->size,
					manifest->sha256, err);
out:
	keep_buffer_release(&key);
	return status;
}

keep_status kp_s3_backup_upload(kp_s3 *s3, const char *folder, const char *name, keep_error *err)
{
	kp_s3_manifest manifest = {.files = NULL};
	keep_buffer key = KEEP_BUFFER_INIT;
	bool is_same = false;
	int fd = -1;
	keep_status status = kp_s3_check_backup_name(name, err);

	if (status == KEEP_OK)
		status = kp_file_open(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY, 0, &fd, err);
	if (status == KEEP_OK)
		status = kp_s3_manifest_read(fd, &manifest, err);
	if (status == KEEP_OK)
		status = join_key(&key, name, KP_BACKUP_MANIFEST, err);
	if (status != KEEP_OK)
		goto out;
	s3->done = (kp_s3_progress){
		.files = (int64_t)manifest.count + 1,
		.bytes = manifest.bytes + manifest.size,
	};
	status = look_for(s3, key.data, manifest.size, manifest.sha256, &is_same, err);
	if (status == KEEP_OK && !is_same)
		status = kp_fail(err, KEEP_CONFLICT, "the bucket %s: has another backup named %s",
				 s3->bucket, name);
	else if (status == KEEP_NOT_FOUND)
		status = KEEP_OK;
	/* The same manifest is a proof that all was there; whether it still is, is asked again. */
	if (status == KEEP_OK)
		status = put_backup(s3, fd, name, &manifest, err);
	if (status == KEEP_OK) {
		s3->done.files_done++;
		kp_s3_tell_progress(s3, 0);
	}
out:
	s3->done = (kp_s3_progress){.files = 0};
	kp_file_close(&fd);
	kp_s3_manifest_release(&manifest);
	keep_buffer_release(&key);
	return status;
}

/* ---------------------------------------------------------------- listed */

struct names {
	struct name {
		struct name *next;
		keep_bytes text;
	} * first, **last;
	size_t count;
	kp_arena *memory;
};

/* A folder whose name a backup may have. */
static keep_status note_name(void *ctx, const kp_s3_entry *entry, keep_error *err)
{
	struct names *names = ctx;
	struct name *name;
	keep_bytes text = {entry->key.data, entry->key.len ? entry->key.len - 1 : 0};
	keep_status status;

	if (!entry->is_folder || !text.len)
		return KEEP_OK;
	name = kp_arena_alloc(names->memory, sizeof *name);
	if (!name)
		return kp_fail_memory(err, "a list of backups");
	*name = (struct name){.next = NULL};
	status = kp_arena_copy(names->memory, text, &name->text, err);
	if (status != KEEP_OK || kp_s3_check_backup_name(name->text.data, NULL) != KEEP_OK)
		return status;
	*names->last = name;
	names->last = &name->next;
	names->count++;
	return KEEP_OK;
}

static keep_status look_at_backup(kp_s3 *s3, keep_bytes name, kp_s3_backup *out, keep_error *err)
{
	keep_buffer key = KEEP_BUFFER_INIT;
	kp_s3_object object = {.size = -1};
	keep_status status = join_key(&key, name.data, KP_BACKUP_MANIFEST, err);

	if (status == KEEP_OK)
		status = kp_s3_head(s3, key.data, &object, err);
	*out = (kp_s3_backup){.name = name};
	if (status == KEEP_OK) {
		out->is_complete = true;
		out->uploaded_ms = object.modified_ms;
	}
	keep_buffer_release(&key);
	return status == KEEP_NOT_FOUND ? KEEP_OK : status;
}

static int compare_backups(const void *a, const void *b)
{
	return kp_bytes_compare(((const kp_s3_backup *)a)->name, ((const kp_s3_backup *)b)->name);
}

keep_status kp_s3_backup_list(kp_s3 *s3, kp_s3_backups *out, keep_error *err)
{
	struct names names = {.last = &names.first, .memory = &out->memory};
	keep_status status;

	*out = (kp_s3_backups){.items = NULL};
	status = kp_s3_list(s3, "", KP_S3_THIS_FOLDER, note_name, &names, err);
	if (status == KEEP_OK) {
		out->items = kp_arena_alloc(&out->memory, (names.count + 1) * sizeof *out->items);
		if (!out->items)
			status = kp_fail_memory(err, "a list of backups");
	}
	for (struct name *name = names.first; name && status == KEEP_OK; name = name->next) {
		status = look_at_backup(s3, name->text, &out->items[out->count], err);
		out->count++;
	}
	if (status != KEEP_OK)
		kp_s3_backups_release(out);
	else
		qsort(out->items, out->count, sizeof *out->items, compare_backups);
	return status;
}

void kp_s3_backups_release(kp_s3_backups *backups)
{
	kp_arena_release(&backups->memory);
	*backups = (kp_s3_backups){.items = NULL};
}

/* ---------------------------------------------------------------- away */

struct removal {
	kp_s3 *s3;
	size_t count;
};

static keep_status remove_entry(void *ctx, const kp_s3_entry *entry, keep_error *err)
{
	struct removal *removal = ctx;
	/* The whole key: the entry's begins after the client's prefix. */
	size_t prefix = strlen(removal->s3->prefix);
	keep_bytes key = {entry->key.data - prefix, entry->key.len + prefix};

	removal->count++;
	return kp_s3_delete_full(removal->s3, key, err);
}

keep_status kp_s3_backup_remove(kp_s3 *s3, const char *name, keep_error *err)
{
	struct removal removal = {.s3 = s3};
	keep_buffer key = KEEP_BUFFER_INIT;
	kp_s3_object object;
	size_t uploads = 0, all = 0;
	keep_status status = kp_s3_check_backup_name(name, err);

	if (status == KEEP_OK)
		status = join_key(&key, name, KP_BACKUP_MANIFEST, err);
	if (status == KEEP_OK) {
		status = kp_s3_head(s3, key.data, &object, err);
		all = status == KEEP_OK;
		if (status == KEEP_OK)
			status = kp_s3_delete(s3, key.data, err);
		else if (status == KEEP_NOT_FOUND)
			status = KEEP_OK;
	}
	if (status == KEEP_OK)
		status = join_key(&key, name, "", err);
	if (status == KEEP_OK) {
		status = kp_s3_prune_uploads(s3, key.data, KEEP_TIME_MAX, &uploads, err);
		/* A server that cannot list them (501): what was named by keys still goes. */
		if (status == KEEP_INVALID)
			status = KEEP_OK;
	}
	/* Until a listing is empty: some servers lose the place when what is listed goes. */
	for (int round = 0; round < REMOVE_ROUNDS_MAX && status == KEEP_OK; round++) {
		removal.count = 0;
		status = kp_s3_list(s3, key.data, KP_S3_ALL_BELOW, remove_entry, &removal, err);
		all += removal.count;
		if (removal.count == 0)
			break;
	}
	if (status == KEEP_OK && removal.count != 0)
		status = kp_fail(err, KEEP_UNAVAILABLE, "the bucket %s: %s is not gone yet",
				 s3->bucket, name);
	if (status == KEEP_OK && all + uploads == 0)
		status = kp_fail(err, KEEP_NOT_FOUND, "the bucket %s: has no backup named %s",
				 s3->bucket, name);
	keep_buffer_release(&key);
	return status;
}

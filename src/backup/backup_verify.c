/*
 * backup_verify.c - is a backup what was written?
 *
 * Invariants:
 *   1. Every byte of every file is read and compared by its SHA-256, and the manifest by its own:
 *      one flipped bit anywhere is found, and its file is named.
 *   2. A file too many is a fault like one that is missing: who restores would get neither. Folders
 *      are not compared: they have no content, and an object store has none.
 *   3. A database is opened, and its tables have the rows of the manifest.
 *   4. All files are looked at, whatever was found before; the first fault is the answer.
 *
 * Tests: tests/contract/test_backup_verify.c.
 */
#include "backup/backup_private.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

struct check {
	const kp_backup_verify_options *options;
	const char *backup;
	kp_manifest manifest;
	kp_tree tree;
	int data_fd;
	int64_t done_bytes;
	keep_error first; /* status OK: no fault yet */
};

static keep_status hash_rest(int fd, EVP_MD_CTX *digest, char *block, int64_t *size,
			     keep_error *err)
{
	size_t got = KP_COPY_BLOCK;
	keep_status status = KEEP_OK;

	while (status == KEEP_OK && got == KP_COPY_BLOCK) {
		status = kp_file_read_at(fd, block, KP_COPY_BLOCK, *size, &got, err);
		*size += (int64_t)got;
		if (status == KEEP_OK && EVP_DigestUpdate(digest, block, got) != 1)
			status = kp_fail_memory(err, "a SHA-256 digest");
	}
	return status;
}

keep_status kp_file_hash(int fd, char sha256[KP_HEX_SIZE], int64_t *size, keep_error *err)
{
	EVP_MD_CTX *digest = EVP_MD_CTX_new();
	char *block = kp_alloc(KP_COPY_BLOCK);
	unsigned char bytes[KP_SHA256_SIZE];
	keep_status status = KEEP_OK;

	*size = 0;
	if (!digest || !block || EVP_DigestInit_ex(digest, EVP_sha256(), NULL) != 1)
		status = kp_fail_memory(err, "a SHA-256 digest");
	if (status == KEEP_OK)
		status = hash_rest(fd, digest, block, size, err);
	if (status == KEEP_OK && EVP_DigestFinal_ex(digest, bytes, NULL) != 1)
		status = kp_fail_memory(err, "a SHA-256 digest");
	if (status == KEEP_OK)
		kp_hex_format((keep_bytes){(const char *)bytes, sizeof bytes}, sha256);
	EVP_MD_CTX_free(digest);
	kp_free(block);
	return status;
}

/* Note a fault. Only what is no fault of the backup ends the whole. */
static keep_status note(struct check *check, const char *path, keep_status status,
			const keep_error *why, keep_error *err)
{
	if (status == KEEP_OK)
		return KEEP_OK;
	if (status == KEEP_NO_MEMORY ||
	    (status != KEEP_CORRUPT && status != KEEP_NOT_FOUND && status != KEEP_UNAVAILABLE))
		return kp_fail(err, status, "%s: %s", path, why->message);
	if (check->first.status == KEEP_OK)
		check->first.status =
			kp_fail(&check->first, KEEP_CORRUPT, "%s: %s", path, why->message);
	if (check->options->damaged)
		check->options->damaged(check->options->damaged_ctx, path, why->message);
	return KEEP_OK;
}

static keep_status check_bytes(struct check *check, const kp_manifest_file *file, keep_error *err)
{
	char sha256[KP_HEX_SIZE] = "";
	int64_t size = 0;
	int fd = -1;
	keep_status status = kp_file_open_below(check->data_fd, file->path, &fd, err);

	if (status == KEEP_NOT_FOUND)
		status = kp_fail(err, KEEP_CORRUPT, "it is missing");
	else if (status == KEEP_OK)
		status = kp_file_hash(fd, sha256, &size, err);
	kp_file_close(&fd);
	if (status == KEEP_OK && size != file->size)
		status = kp_fail(err, KEEP_CORRUPT, "it has %lld bytes instead of %lld",
				 (long long)size, (long long)file->size);
	if (status == KEEP_OK && strcmp(sha256, file->sha256) != 0)
		status = kp_fail(err, KEEP_CORRUPT, "its SHA-256 is not that of the manifest");
	return status;
}

static keep_status check_database(struct check *check, const kp_manifest_file *file,
				  keep_error *err)
{
	char path[PATH_MAX];
	char *tables = NULL;
	keep_status status;

	if (snprintf(path, sizeof path, "%s/" KP_BACKUP_DATA "/%s", check->backup, file->path) >=
	    (int)sizeof path)
		return kp_fail(err, KEEP_INVALID, "its path is too long");
	status = kp_database_count(path, &tables, err);
	if (status == KEEP_OK && strcmp(tables, file->tables) != 0)
		status = kp_fail(err, KEEP_CORRUPT, "its tables have not the rows of the manifest");
	kp_free(tables);
	return status;
}

static keep_status check_files(struct check *check, keep_error *err)
{
	const kp_backup_verify_options *options = check->options;
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < check->manifest.count && status == KEEP_OK; i++) {
		const kp_manifest_file *file = &check->manifest.files[i];
		keep_error why = KEEP_ERROR_INIT;
		keep_status found = check_bytes(check, file, &why);

		if (found == KEEP_OK && file->kind == KP_ITEM_DATABASE)
			found = check_database(check, file, &why);
		status = note(check, file->path, found, &why, err);
		check->done_bytes += file->size;
		if (options->progress)
			options->progress(options->progress_ctx, check->done_bytes,
					  check->manifest.size_bytes);
		if (status == KEEP_OK && kp_is_cancelled(options->cancelled))
			status = kp_fail_cancelled(err);
	}
	return status;
}

/* Both lists are sorted. */
static keep_status check_strangers(struct check *check, keep_error *err)
{
	keep_status status = KEEP_OK;
	size_t at = 0;

	for (size_t i = 0; i < check->tree.count && status == KEEP_OK; i++) {
		const kp_tree_entry *entry = &check->tree.entries[i];
		keep_error why = KEEP_ERROR_INIT;

		if (S_ISDIR(entry->mode))
			continue;
		while (at < check->manifest.count &&
		       strcmp(check->manifest.files[at].path, entry->path) < 0)
			at++;
		if (at < check->manifest.count &&
		    strcmp(check->manifest.files[at].path, entry->path) == 0)
			continue;
		status = note(check, entry->path,
			      kp_fail(&why, KEEP_CORRUPT, "the manifest does not have it"), &why,
			      err);
	}
	if (status == KEEP_OK && check->tree.strange_count > 0) {
		keep_error why = KEEP_ERROR_INIT;

		status = note(check, KP_BACKUP_DATA,
			      kp_fail(&why, KEEP_CORRUPT, "it has links or other things in it"),
			      &why, err);
	}
	return status;
}

keep_status kp_backup_verify(const char *backup, const kp_backup_verify_options *options,
			     keep_error *err)
{
	static const kp_backup_verify_options none = {.damaged = NULL};
	struct check check = {
		.options = options ? options : &none,
		.backup = backup,
		.data_fd = -1,
		.first = KEEP_ERROR_INIT,
	};
	keep_error why = KEEP_ERROR_INIT;
	int folder = -1;
	keep_status status = kp_folder_open(AT_FDCWD, backup, &folder, err);

	if (status != KEEP_OK)
		return status;
	status = kp_manifest_read(folder, &check.manifest, &why);
	if (status == KEEP_CORRUPT && check.options->damaged)
		check.options->damaged(check.options->damaged_ctx, KP_BACKUP_MANIFEST, why.message);
	if (status != KEEP_OK)
		status = kp_fail(err, status, "%s", why.message);
	if (status == KEEP_OK)
		status = kp_folder_open(folder, KP_BACKUP_DATA, &check.data_fd, err);
	if (status == KEEP_OK)
		status = kp_tree_read(check.data_fd, NULL, NULL, &check.tree, err);
	if (status == KEEP_OK)
		status = check_files(&check, err);
	if (status == KEEP_OK)
		status = check_strangers(&check, err);
	kp_tree_release(&check.tree);
	kp_manifest_release(&check.manifest);
	kp_file_close(&check.data_fd);
	kp_file_close(&folder);
	if (status == KEEP_OK && check.first.status != KEEP_OK)
		return kp_fail(err, check.first.status, "%s", check.first.message);
	return status;
}

/*
 * key_file.c - where encryption keys come from: the environment, or a file that its owner alone may
 * touch.
 *
 *     # remarks, and empty lines
 *     <the newest key>
 *     <the key before it>
 *
 * Invariants:
 *   1. Under its name there is never half a key file: it is written and synced under another name
 *      in the same folder, then linked (which refuses a name that is taken) or renamed, and the
 *      folder is synced.
 *   2. A file is judged by its descriptor, not by its name: regular, no link, nothing allowed to
 *      group and others. A name that leads to a pipe or a device never blocks.
 *   3. A new key is put in front under a lock on the file that is replaced, and who got the lock of
 *      a file that has been replaced meanwhile is BUSY: no key is lost between two who change it.
 *   4. What is there and refused is a failure. It is never passed by for another source of keys.
 *   5. Copies of keys are wiped; no message quotes one.
 *
 * What it does not do: remove old keys from a file (what they encrypted may still be somewhere: its
 * owner's decision), or keep a copy of it. A key file belongs into no backup beside what it
 * encrypts.
 *
 * Tests: tests/unit/test_keyring.c, tests/torture/test_fernet_faults.c.
 */
#include "vault/vault_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_BYTES_MAX 255 /* of a file in a folder */
#define SUFFIX_BYTES 8

/* A key file's folder, open, and its names in there. */
struct place {
	int folder;
	const char *path, *name;        /* the caller's */
	char other[NAME_BYTES_MAX + 1]; /* the name while it is written */
};

/* ---------------------------------------------------------------- places */

static keep_status open_place(const char *path, struct place *place, keep_error *err)
{
	const char *slash = path ? strrchr(path, '/') : NULL;
	unsigned char suffix[SUFFIX_BYTES];
	char hex[2 * SUFFIX_BYTES + 1];
	keep_buffer parent = KEEP_BUFFER_INIT;
	keep_status status;

	*place = (struct place){.folder = -1, .path = path, .name = slash ? slash + 1 : path};
	if (!path || place->name[0] == '\0' || strlen(place->name) + sizeof hex > NAME_BYTES_MAX)
		return kp_fail(err, KEEP_INVALID, "a key file needs a name, of at most %zu bytes",
			       NAME_BYTES_MAX - sizeof hex);
	status = kp_random_bytes(suffix, sizeof suffix, err);
	if (status != KEEP_OK)
		return status;
	kp_hex_format((keep_bytes){(const char *)suffix, sizeof suffix}, hex);
	(void)snprintf(place->other, sizeof place->other, "%s.%s", place->name, hex);
	if (slash)
		status = kp_buffer_append(&parent, (keep_bytes){path, (size_t)(slash - path) + 1},
					  err);
	else
		status = kp_buffer_append_text(&parent, ".", err);
	if (status == KEEP_OK)
		status = kp_file_open(AT_FDCWD, parent.data, O_RDONLY | O_DIRECTORY, 0,
				      &place->folder, err);
	keep_buffer_release(&parent);
	return status;
}

/* Write the other name's file; when it fails there is none. */
static keep_status write_other(const struct place *place, keep_bytes text, const struct stat *like,
			       keep_error *err)
{
	int fd = -1;
	keep_status status = kp_file_open(place->folder, place->other,
					  O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, &fd, err);

	if (status != KEEP_OK)
		return status;
	status = kp_file_append(fd, text, err);
	if (status == KEEP_OK && like && fchown(fd, like->st_uid, like->st_gid) != 0 &&
	    like->st_uid != geteuid())
		status = kp_fail_errno(err, errno, "cannot give %s to its owner", place->path);
	if (status == KEEP_OK)
		status = kp_file_sync(fd, err);
	kp_file_close(&fd);
	if (status != KEEP_OK)
		(void)unlinkat(place->folder, place->other, 0);
	return status;
}

/* Give the file its name, if that is free; the other one goes in any case. */
static keep_status link_other(const struct place *place, keep_error *err)
{
	int errnum = kp_fault(KP_FAULT_FILE) ? EIO : 0;

	if (errnum == 0 && linkat(place->folder, place->other, place->folder, place->name, 0) != 0)
		errnum = errno;
	if (unlinkat(place->folder, place->other, 0) != 0)
		kp_log(KEEP_LOG_WARNING, "%s cannot be removed from the folder of %s: remove it",
		       place->other, place->path);
	return errnum ? kp_fail_errno(err, errnum, "cannot make the key file %s", place->path)
		      : KEEP_OK;
}

keep_status kp_key_file_make(const char *path, keep_error *err)
{
	char text[KP_KEY_TEXT_SIZE + 1] = "";
	struct place place = {.folder = -1};
	keep_status status = open_place(path, &place, err);

	if (status == KEEP_OK)
		status = kp_key_make(text, err);
	if (status != KEEP_OK)
		goto out;
	text[KP_KEY_TEXT_SIZE - 1] = '\n';
	status = write_other(&place, (keep_bytes){text, KP_KEY_TEXT_SIZE}, NULL, err);
	if (status == KEEP_OK)
		status = link_other(&place, err);
	if (status != KEEP_OK)
		goto out;
	status = kp_file_sync(place.folder, err);
	if (status != KEEP_OK)
		(void)unlinkat(place.folder, place.name, 0);
out:
	kp_file_close(&place.folder);
	kp_wipe(text, sizeof text);
	return status;
}

/* ---------------------------------------------------------------- reading */

/* A key file's descriptor, once it is found to be one. */
static keep_status open_key_file(int folder, const char *name, const char *path, int *fd,
				 struct stat *about, keep_error *err)
{
	keep_status status = kp_file_open(
		folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0, fd, err);

	if (status != KEEP_OK)
		return kp_prefix(err, status, "the key file %s", path);
	if (fstat(*fd, about) != 0)
		status = kp_fail_errno(err, errno, "cannot look at the key file %s", path);
	else if (!S_ISREG(about->st_mode))
		status = kp_fail(err, KEEP_DENIED, "the key file %s is no regular file", path);
	else if (about->st_mode & 077)
		status = kp_fail(err, KEEP_DENIED,
				 "the key file %s has mode %04o, and its owner alone may be "
				 "allowed anything: 0600",
				 path, (unsigned)about->st_mode & 07777U);
	if (status != KEEP_OK)
		kp_file_close(fd);
	return status;
}

/* The lines of a file without their remarks. `keys` has room for all of the text. */
static void take_keys(keep_bytes text, keep_buffer *keys)
{
	bool is_remark = false;

	keys->len = 0;
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] == '\n')
			is_remark = false;
		else if (text.data[i] == '#')
			is_remark = true;
		if (!is_remark)
			keys->data[keys->len++] = text.data[i];
	}
	keys->data[keys->len] = '\0';
}

/* The file's text and its keys. */
static keep_status read_keys(int fd, const char *path, keep_buffer *text, keep_buffer *keys,
			     keep_error *err)
{
	keep_status status = kp_buffer_reserve(text, KP_KEY_FILE_BYTES_MAX + 1, err);

	/* Room for all there may be, so that no copy of a key is left behind by growing. */
	if (status == KEEP_OK)
		status = kp_file_read_all(fd, KP_KEY_FILE_BYTES_MAX, text, err);
	if (status == KEEP_OK)
		status = kp_buffer_reserve(keys, text->len, err);
	if (status != KEEP_OK)
		return kp_prefix(err, status, "the key file %s", path);
	take_keys(kp_buffer_bytes(text), keys);
	return KEEP_OK;
}

keep_status kp_key_file_read(const char *path, keep_buffer *keys, keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	struct stat about;
	keep_status status;
	int fd = -1;

	kp_secret_release(keys);
	if (!path || path[0] == '\0')
		return kp_fail(err, KEEP_INVALID, "a key file needs a name");
	status = open_key_file(AT_FDCWD, path, path, &fd, &about, err);
	if (status == KEEP_OK)
		status = read_keys(fd, path, &text, keys, err);
	kp_file_close(&fd);
	kp_secret_release(&text);
	if (status != KEEP_OK)
		kp_secret_release(keys);
	return status;
}

/* ---------------------------------------------------------------- a new key in front */

/* The file under its name is the one that was opened, and nobody else is changing it. */
static keep_status lock_key_file(int fd, const char *path, struct stat *about, keep_error *err)
{
	if (kp_fault(KP_FAULT_FILE))
		return kp_fail_errno(err, EIO, "cannot lock the key file %s", path);
	if (flock(fd, LOCK_EX | LOCK_NB) != 0)
		return kp_fail_errno(err, errno, "cannot lock the key file %s", path);
	if (fstat(fd, about) != 0)
		return kp_fail_errno(err, errno, "cannot look at the key file %s", path);
	if (about->st_nlink == 0)
		return kp_fail(err, KEEP_BUSY, "the key file %s was replaced at this moment", path);
	return KEEP_OK;
}

/* Is `key` one key, and may it go in front of `keys`? *is_there: it is in front already. */
static keep_status judge_new_key(keep_bytes key, keep_bytes keys, const char *path, bool *is_there,
				 keep_error *err)
{
	kp_keyring *added = NULL, *old = NULL;
	size_t index = 0;
	keep_status status = kp_keyring_open(key, &added, err);

	*is_there = false;
	if (status == KEEP_OK && kp_keyring_count(added) != 1)
		status = kp_fail(err, KEEP_INVALID, "one new key is wanted, and not several");
	if (status != KEEP_OK) {
		status = kp_prefix(err, status, "a new key");
		goto out;
	}
	status = kp_keyring_open(keys, &old, err);
	if (status != KEEP_OK) {
		status = kp_prefix(err, status, "the key file %s", path);
		goto out;
	}
	*is_there = kp_keyring_find(old, keep_bytes_of(added->keys[0].id), &index);
	if (*is_there && index > 0)
		status =
			kp_fail(err, KEEP_CONFLICT,
				"the new key is in the key file %s already, as an older one", path);
	else if (!*is_there && kp_keyring_count(old) == KP_KEYRING_KEYS_MAX)
		status = kp_fail(err, KEEP_FULL, "the key file %s has %d keys, which is the limit",
				 path, KP_KEYRING_KEYS_MAX);
out:
	kp_keyring_close(&added);
	kp_keyring_close(&old);
	return status;
}

/* Write the file anew and let it take the old one's place. */
static keep_status replace_file(const struct place *place, keep_bytes key, keep_bytes text,
				const struct stat *about, keep_error *err)
{
	keep_buffer whole = KEEP_BUFFER_INIT;
	keep_status status = kp_buffer_reserve(&whole, key.len + 1 + text.len, err);

	if (status == KEEP_OK)
		status = kp_buffer_append(&whole, key, err);
	if (status == KEEP_OK)
		status = kp_buffer_append_text(&whole, "\n", err);
	if (status == KEEP_OK)
		status = kp_buffer_append(&whole, text, err);
	if (status == KEEP_OK && whole.len > KP_KEY_FILE_BYTES_MAX)
		status = kp_fail(err, KEEP_FULL, "the key file %s would have %zu bytes, limit %d",
				 place->path, whole.len, KP_KEY_FILE_BYTES_MAX);
	if (status == KEEP_OK)
		status = write_other(place, kp_buffer_bytes(&whole), about, err);
	if (status == KEEP_OK) {
		status = kp_file_rename(place->folder, place->other, place->folder, place->name,
					err);
		if (status != KEEP_OK)
			(void)unlinkat(place->folder, place->other, 0);
	}
	kp_secret_release(&whole);
	return status;
}

keep_status kp_key_file_put(const char *path, keep_bytes key, keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT, keys = KEEP_BUFFER_INIT;
	struct place place = {.folder = -1};
	struct stat about;
	bool is_there = false;
	int fd = -1;
	keep_status status = open_place(path, &place, err);

	if (status == KEEP_OK)
		status = open_key_file(place.folder, place.name, path, &fd, &about, err);
	if (status == KEEP_OK)
		status = lock_key_file(fd, path, &about, err);
	if (status == KEEP_OK)
		status = read_keys(fd, path, &text, &keys, err);
	if (status == KEEP_OK)
		status = judge_new_key(key, kp_buffer_bytes(&keys), path, &is_there, err);
	if (status == KEEP_OK && !is_there)
		status = replace_file(&place, key, kp_buffer_bytes(&text), &about, err);
	/* Also when it was there: an earlier call may have come as far as the rename. */
	if (status == KEEP_OK)
		status = kp_file_sync(place.folder, err);
	kp_file_close(&fd);
	kp_file_close(&place.folder);
	kp_secret_release(&text);
	kp_secret_release(&keys);
	return status;
}

/* ---------------------------------------------------------------- finding */

keep_status kp_keys_find(const char *path, keep_buffer *keys, const char **where, keep_error *err)
{
	static const char *const variables[] = {"KEEP_ENCRYPTION_KEY", "ENCRYPTION_KEY"};
	keep_status status;

	kp_secret_release(keys);
	if (where)
		*where = NULL;
	for (size_t i = 0; i < KP_COUNT(variables); i++) {
		const char *text = getenv(variables[i]);

		if (!text || text[0] == '\0')
			continue;
		if (where)
			*where = variables[i];
		return kp_buffer_append_text(keys, text, err);
	}
	if (!path)
		return kp_fail(err, KEEP_NOT_FOUND,
			       "there is no encryption key: neither %s nor %s is set", variables[0],
			       variables[1]);
	status = kp_key_file_read(path, keys, err);
	if (status == KEEP_NOT_FOUND)
		return kp_fail(err, KEEP_NOT_FOUND,
			       "there is no encryption key: neither %s nor %s is set, and there "
			       "is no file %s",
			       variables[0], variables[1], path);
	if (status == KEEP_OK && where)
		*where = path;
	return status;
}

/*
 * check_files.c - the files of a home: home.json, the key file, and whether a store's file that is
 * not there should be.
 *
 * A store's file is made when the store is first used, so its absence alone says nothing. It is
 * missing when something says that it was there: stores.txt, to which every store that a session of
 * the home opens is added; what SQLite and Keep leave beside a database (its log, its guard); what
 * the store makes besides (a session's folder, a file of vectors); or the newest backup.
 *
 * Invariants:
 *   1. No database file is opened here: closing it would drop the locks that SQLite has on it.
 *   2. No link is followed.
 *
 * Tests: tests/contract/test_home_check.c.
 */
#include "home/check_private.h"
#include "keep/operations.h"
#include "vault/vault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { HOME_FILE_MAX = 4096, HOME_FORMAT = 1 };
#define MISSING_FILE "missing_file"
#define HOME_FILE "home.json"
#define KEY_FILE "vault.key"

keep_status kp_check_exists(const kp_home_check *check, const char *name, bool *exists,
			    keep_error *err)
{
	struct stat st;

	if (kp_fault(KP_FAULT_FILE))
		return kp_fail_errno(err, EIO, "look at '%s'", name);
	*exists = fstatat(check->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
	return *exists || errno == ENOENT || errno == ENOTDIR
		       ? KEEP_OK
		       : kp_fail_errno(err, errno, "look at '%s'", name);
}

static keep_status read_file(const kp_home_check *check, const char *name, size_t max,
			     keep_buffer *out, keep_error *err)
{
	int fd = -1;
	keep_status status =
		kp_file_open(check->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, &fd, err);

	if (status == KEEP_OK)
		status = kp_file_read_all(fd, max, out, err);
	kp_file_close(&fd);
	return status;
}

/* ---------------------------------------------------------------- is a store missing? */

/* Is `file` a line of `text`? */
static bool has_line(keep_bytes text, const char *file)
{
	size_t len = strlen(file);

	while (text.len) {
		const char *end = memchr(text.data, '\n', text.len);
		size_t line = end ? (size_t)(end - text.data) : text.len;

		if (line == len && memcmp(text.data, file, len) == 0)
			return true;
		line += line < text.len;
		text = (keep_bytes){text.data + line, text.len - line};
	}
	return false;
}

static keep_status is_listed(const kp_home_check *check, const char *file, bool *was,
			     keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	keep_status status = kp_home_noted_stores(check->fd, &text, err);

	*was = status == KEEP_OK && has_line(kp_buffer_bytes(&text), file);
	keep_buffer_release(&text);
	return status;
}

static keep_status has_remains(const kp_home_check *check, const char *file, bool *was,
			       keep_error *err)
{
	static const char *const ends[] = {"-guard", "-wal", "-journal", "-notify"};
	keep_status status = KEEP_OK;
	char name[PATH_MAX];

	for (size_t i = 0; i < KP_COUNT(ends) && status == KEEP_OK && !*was; i++)
		if (snprintf(name, sizeof name, "%s%s", file, ends[i]) < (int)sizeof name)
			status = kp_check_exists(check, name, was, err);
	return status;
}

/* The newest backup that is good. */
static keep_status is_in_backup(const kp_home_check *check, const char *file, bool *was,
				keep_error *err)
{
	kp_backup_entries entries = {.items = NULL};
	char name[PATH_MAX];
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = kp_backup_list(check->folder, &entries, &why);

	for (size_t i = entries.count; status == KEEP_OK && i-- > 0;) {
		if (!entries.items[i].is_good)
			continue;
		if (snprintf(name, sizeof name, KP_BACKUP_FOLDER "/%s/" KP_BACKUP_DATA "/%s",
			     entries.items[i].name, file) < (int)sizeof name)
			status = kp_check_exists(check, name, was, &why);
		break;
	}
	kp_backup_entries_release(&entries);
	/* What is wrong with backups is told where they are looked at. */
	return status == KEEP_NO_MEMORY ? kp_fail(err, status, "%s", why.message) : KEEP_OK;
}

keep_status kp_check_is_there(kp_home_check *check, const char *store, const char *file,
			      const char *const *traces, bool *there, keep_error *err)
{
	kp_complaint found = {.severity = KEEP_SEVERITY_DAMAGE, .kind = MISSING_FILE};
	bool was = false;
	keep_status status;

	kp_check_enter(check, store, check->is_server ? store : file);
	*there = check->is_server;
	if (check->is_server)
		return KEEP_OK;
	status = kp_check_exists(check, file, there, err);
	if (status != KEEP_OK || *there)
		return status;
	check->result->files--;
	status = has_remains(check, file, &was, err);
	for (; status == KEEP_OK && !was && traces && *traces; traces++)
		status = kp_check_exists(check, *traces, &was, err);
	if (status == KEEP_OK && !was)
		status = is_listed(check, file, &was, err);
	if (status == KEEP_OK && !was)
		status = is_in_backup(check, file, &was, err);
	/* Perhaps it was made just now. */
	if (status == KEEP_OK && was)
		status = kp_check_exists(check, file, there, err);
	if (status != KEEP_OK || !was || *there)
		return status;
	return kp_check_found(check, &found, err, "%s is missing, and was there", file);
}

/* ---------------------------------------------------------------- the home's own */

static keep_status judge_home_file(kp_home_check *check, keep_bytes text, keep_error *err)
{
	kp_complaint found = {.severity = KEEP_SEVERITY_DAMAGE, .kind = "damaged_file"};
	kp_arena arena = {.head = NULL};
	const kp_json *json = NULL, *format, *created;
	keep_error why = KEEP_ERROR_INIT;
	int64_t made_ms;
	keep_status status = kp_json_parse(text, &arena, &json, &why);

	format = status == KEEP_OK ? kp_json_member(json, "format") : NULL;
	created = status == KEEP_OK ? kp_json_member(json, "created") : NULL;
	if (status == KEEP_NO_MEMORY)
		status = kp_fail(err, status, "%s", why.message);
	else if (status != KEEP_OK)
		status = kp_check_found(check, &found, err, "it is not JSON: %s", why.message);
	else if (!format || format->kind != KP_JSON_INTEGER || format->integer < 1)
		status = kp_check_found(check, &found, err, "it has no format number");
	else if (format->integer > HOME_FORMAT)
		status = kp_fail(err, KEEP_TOO_NEW, "%s: a home of format %lld, this Keep knows %d",
				 check->home, (long long)format->integer, HOME_FORMAT);
	else if (!created || created->kind != KP_JSON_TEXT ||
		 keep_time_parse(created->text, &made_ms, NULL) != KEEP_OK)
		status = kp_check_found(check, &found, err, "it does not say when it was made");
	kp_arena_release(&arena);
	return status;
}

static keep_status check_home_file(kp_home_check *check, keep_error *err)
{
	kp_complaint found = {.severity = KEEP_SEVERITY_DAMAGE, .kind = MISSING_FILE};
	keep_buffer text = KEEP_BUFFER_INIT;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status;

	kp_check_enter(check, "home", HOME_FILE);
	status = read_file(check, HOME_FILE, HOME_FILE_MAX, &text, &why);
	if (status == KEEP_OK)
		status = judge_home_file(check, kp_buffer_bytes(&text), err);
	else if (status == KEEP_NOT_FOUND)
		status = kp_check_found(check, &found, err,
					HOME_FILE
					" is missing: no command knows the folder as a home");
	else {
		found.kind = "damaged_file";
		status = kp_check_failed(check, &found, status, &why, err);
	}
	keep_buffer_release(&text);
	return status;
}

/* Whether it decrypts what is encrypted is the assistant's. */
static keep_status check_key_file(kp_home_check *check, keep_error *err)
{
	kp_complaint found = {.severity = KEEP_SEVERITY_DAMAGE, .kind = "unusable_key"};
	keep_buffer keys = KEEP_BUFFER_INIT;
	kp_keyring *ring = NULL;
	char path[PATH_MAX];
	keep_error why = KEEP_ERROR_INIT;
	keep_status status;

	kp_check_enter(check, "home", KEY_FILE);
	status = kp_check_path(check, KEY_FILE, path, err);
	if (status != KEEP_OK)
		return status;
	status = kp_key_file_read(path, &keys, &why);
	if (status == KEEP_OK)
		status = kp_keyring_open(kp_buffer_bytes(&keys), &ring, &why);
	kp_keyring_close(&ring);
	kp_secret_release(&keys);
	if (status == KEEP_NOT_FOUND) {
		check->result->files--;
		return KEEP_OK;
	}
	return kp_check_failed(check, &found, status, &why, err);
}

keep_status kp_check_home_files(kp_home_check *check, keep_error *err)
{
	kp_complaint found = {.severity = KEEP_SEVERITY_NOTE, .kind = "open_folder"};
	struct stat st;
	keep_status status = KEEP_OK;

	if (check->is_server)
		return KEEP_OK;
	status = check_home_file(check, err);
	if (status == KEEP_OK && fstat(check->fd, &st) == 0 && st.st_mode & 077)
		status =
			kp_check_found(check, &found, err,
				       "the home's folder may be entered by others than its owner");
	return status == KEEP_OK ? check_key_file(check, err) : status;
}

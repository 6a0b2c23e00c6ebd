/*
 * home.c - a home: the folder that all stores of one installation share.
 *
 * A folder is a home when it has a home.json that this version understands:
 *
 *     {"format":1,"created":"2026-04-11T17:18:21.000Z","keep":"0.1.0"}
 *
 * The file is written to a temporary name, synced and renamed, and the folder is synced, so a
 * crash leaves a home or an empty folder (with a leftover that the next init ignores), never a
 * half-made one. Two processes that init one folder at once both succeed.
 *
 * Invariants:
 *   1. A folder that holds anything else is never turned into a home (CONFLICT).
 *   2. A home is 0700: its files hold conversations and credentials.
 *   3. A home has a key file, vault.key (0600), made before home.json and never again.
 *   4. A home of a newer format is refused before anything in it is opened (TOO_NEW).
 *
 * A database server needs no file: its stores live in schemas of their own.
 *
 * Tests: tests/unit/test_operations.c, tests/cli/.
 */
#include "home/store_list.h"
#include "operations/operations_table.h"
#include "vault/vault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOME_FILE "home.json"
enum { HOME_FORMAT = 1, HOME_FILE_BYTES_MAX = 4096 };

bool kp_home_is_server(const char *home)
{
	static const char *const schemes[] = {"postgres://", "postgresql://"};

	for (size_t i = 0; i < KP_COUNT(schemes); i++)
		if (strncmp(home, schemes[i], strlen(schemes[i])) == 0)
			return true;
	return false;
}

bool kp_url_has_parameter(const char *url, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = strchr(url, '?'); at; at = strchr(at, '&'))
		if (strncmp(++at, name, len) == 0 && at[len] == '=')
			return true;
	return false;
}

/* ---------------------------------------------------------------- reading */

static keep_status judge_format(const char *home, keep_bytes text, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	const kp_json *json = NULL, *format;
	keep_status status = kp_json_parse(text, &arena, &json, err);

	if (status == KEEP_NO_MEMORY) {
		kp_arena_release(&arena);
		return status;
	}
	format = status == KEEP_OK ? kp_json_member(json, "format") : NULL;
	if (!format || format->kind != KP_JSON_INTEGER || format->integer < 1)
		status = kp_fail(err, KEEP_CORRUPT, "%s/" HOME_FILE ": has no format number", home);
	else if (format->integer > HOME_FORMAT)
		status = kp_fail(err, KEEP_TOO_NEW, "%s: a home of format %lld, this Keep knows %d",
				 home, (long long)format->integer, HOME_FORMAT);
	kp_arena_release(&arena);
	return status;
}

/* NOT_FOUND: the folder has no home.json. */
static keep_status check_folder(int folder, const char *home, keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	int file = -1;
	keep_status status =
		kp_file_open(folder, HOME_FILE, O_RDONLY | O_NONBLOCK | O_NOFOLLOW, 0, &file, err);

	if (status == KEEP_OK)
		status = kp_file_read_all(file, HOME_FILE_BYTES_MAX, &text, err);
	if (status == KEEP_OK)
		status = judge_format(home, kp_buffer_bytes(&text), err);
	kp_file_close(&file);
	keep_buffer_release(&text);
	return status;
}

keep_status kp_home_check(const char *home, char **real, keep_error *err)
{
	char resolved[PATH_MAX];
	int folder = -1;
	keep_status status;

	*real = NULL;
	status = kp_file_open(AT_FDCWD, home, O_RDONLY | O_DIRECTORY, 0, &folder, err);
	if (status == KEEP_OK)
		status = check_folder(folder, home, err);
	kp_file_close(&folder);
	if (status == KEEP_NOT_FOUND)
		return kp_fail(err, KEEP_NOT_FOUND, "%s: no home there; make one with: keep init",
			       home);
	if (status != KEEP_OK)
		return status;
	if (!realpath(home, resolved))
		return kp_fail_errno(err, errno, "%s", home);
	*real = kp_alloc(strlen(resolved) + 1);
	if (!*real)
		return kp_fail_memory(err, "a session");
	memcpy(*real, resolved, strlen(resolved) + 1);
	return KEEP_OK;
}

keep_status kp_home_file_url(const char *home, const char *folder, const char *file, bool create,
			     keep_buffer *url, keep_error *err)
{
	keep_buffer path = KEEP_BUFFER_INIT;
	keep_status status = kp_buffer_append_format(&path, err, "%s/%s", home, folder);
	struct stat about;

	if (status == KEEP_OK && create) {
		status = kp_folder_make(AT_FDCWD, path.data, 0700, err);
		if (status == KEEP_CONFLICT)
			status = KEEP_OK;
	}
	if (status == KEEP_OK)
		status = kp_buffer_append_format(&path, err, "/%s", file);
	if (status == KEEP_OK && !create && stat(path.data, &about) != 0 && errno == ENOENT)
		status = kp_fail(err, KEEP_NOT_FOUND, "%s: no such store yet", path.data);
	if (status == KEEP_OK)
		status = kp_buffer_append_format(url, err, "sqlite:%s", path.data);
	/* It is there, or is made now: from here on `keep check` misses it when it is gone. */
	if (status == KEEP_OK)
		kp_home_note_store(home, path.data + strlen(home) + 1);
	keep_buffer_release(&path);
	return status;
}

/* ---------------------------------------------------------------- making */

static bool is_ours(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
	       strncmp(name, HOME_FILE, strlen(HOME_FILE)) == 0 ||
	       strncmp(name, KP_HOME_KEY_FILE, strlen(KP_HOME_KEY_FILE)) == 0;
}

/* CONFLICT: the folder has something that init did not put there. */
static keep_status check_empty(const char *home, keep_error *err)
{
	keep_status status = KEEP_OK;
	DIR *dir = opendir(home);

	if (!dir)
		return kp_fail_errno(err, errno, "%s", home);
	for (;;) {
		const struct dirent *entry;

		errno = 0;
		entry = readdir(dir);
		if (!entry && errno)
			status = kp_fail_errno(err, errno, "%s", home);
		if (!entry)
			break;
		if (!is_ours(entry->d_name)) {
			status = kp_fail(err, KEEP_CONFLICT,
					 "%s: not a home, and not empty (it has '%s')", home,
					 entry->d_name);
			break;
		}
	}
	closedir(dir);
	return status;
}

static keep_status format_home_file(keep_buffer *text, keep_error *err)
{
	char now[KEEP_TIME_TEXT_SIZE];
	keep_status status = keep_time_format(kp_clock_ms(), now, err);
	kp_json_writer writer;

	if (status != KEEP_OK)
		return status;
	kp_json_begin(&writer, text);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "format");
	kp_json_put_integer(&writer, HOME_FORMAT);
	kp_json_name(&writer, "created");
	kp_json_put_text(&writer, keep_bytes_of(now));
	kp_json_name(&writer, "keep");
	kp_json_put_text(&writer, keep_bytes_of(keep_version()));
	kp_json_close_object(&writer);
	status = kp_json_finish(&writer, err);
	return status == KEEP_OK ? kp_buffer_append_text(text, "\n", err) : status;
}

static keep_status write_home_file(int folder, keep_error *err)
{
	char temporary[sizeof HOME_FILE + KP_UUID_TEXT_SIZE] = HOME_FILE ".";
	keep_buffer text = KEEP_BUFFER_INIT;
	int file = -1;
	keep_status status = kp_uuid_make(temporary + strlen(temporary), err);

	if (status == KEEP_OK)
		status = format_home_file(&text, err);
	if (status == KEEP_OK)
		status = kp_file_open(folder, temporary, O_WRONLY | O_CREAT | O_EXCL, 0600, &file,
				      err);
	if (status != KEEP_OK)
		goto out;
	status = kp_file_append(file, kp_buffer_bytes(&text), err);
	if (status == KEEP_OK)
		status = kp_file_sync(file, err);
	if (status == KEEP_OK)
		status = kp_file_rename(folder, temporary, folder, HOME_FILE, err);
	/* The first failure is the one to tell; a leftover is ignored by every init. */
	if (status != KEEP_OK && kp_file_unlink(folder, temporary, 0, NULL) != KEEP_OK)
		kp_log(KEEP_LOG_WARNING, "%s was left behind", temporary);
out:
	kp_file_close(&file);
	keep_buffer_release(&text);
	return status;
}

/* Sync the folder that holds `home`, so that the new name survives a crash. */
static keep_status sync_parent(int folder, keep_error *err)
{
	int parent = -1;
	keep_status status = kp_file_open(folder, "..", O_RDONLY | O_DIRECTORY, 0, &parent, err);

	if (status == KEEP_OK)
		status = kp_file_sync(parent, err);
	kp_file_close(&parent);
	/* A parent that may be searched but not read cannot be synced by this user. */
	return status == KEEP_DENIED ? KEEP_OK : status;
}

/* Before the home is one, so that there is none without its key. */
static keep_status make_key(const char *home, keep_error *err)
{
	keep_buffer path = KEEP_BUFFER_INIT;
	keep_status status = kp_buffer_append_format(&path, err, "%s/" KP_HOME_KEY_FILE, home);

	if (status == KEEP_OK)
		status = kp_key_file_make(path.data, err);
	keep_buffer_release(&path);
	/* Another init of this folder, now or before a crash. */
	return status == KEEP_CONFLICT ? KEEP_OK : status;
}

static keep_status init_folder(const char *home, keep_error *err)
{
	int folder = -1;
	keep_status status = kp_folder_make(AT_FDCWD, home, 0700, err);

	if (status == KEEP_OK || status == KEEP_CONFLICT)
		status = kp_file_open(AT_FDCWD, home, O_RDONLY | O_DIRECTORY, 0, &folder, err);
	if (status == KEEP_OK)
		status = check_folder(folder, home, err);
	if (status != KEEP_NOT_FOUND || folder < 0)
		goto out;
	status = check_empty(home, err);
	if (status == KEEP_OK && fchmod(folder, 0700) != 0)
		status = kp_fail_errno(err, errno, "%s", home);
	if (status == KEEP_OK)
		status = make_key(home, err);
	if (status == KEEP_OK)
		status = write_home_file(folder, err);
	if (status == KEEP_OK)
		status = kp_file_sync(folder, err);
	if (status == KEEP_OK)
		status = sync_parent(folder, err);
out:
	kp_file_close(&folder);
	return status;
}

static keep_status init_server(const char *home, keep_error *err)
{
	keep_session *session = NULL;
	keep_status status = keep_session_open(home, &session, err);

	for (size_t i = 0; status == KEEP_OK && i < kp_store_count(); i++) {
		void *state;

		status = kp_session_state(session, kp_store_at(i), &state, err);
		if (status == KEEP_OK)
			status = kp_store_at(i)->make(state, err);
	}
	keep_session_close(&session);
	return status;
}

keep_status keep_home_init(const char *home, keep_error *err)
{
	if (!home)
		return kp_fail(err, KEEP_MISUSE, "keep_home_init: home is NULL");
	if (!*home)
		return kp_fail(err, KEEP_INVALID, "home: a folder's name is missing");
	if (kp_store_of_place(home))
		return kp_fail(err, KEEP_INVALID,
			       "home: this URL is one store's own; a home is a folder or a "
			       "postgres:// URL without schema and "
			       "namespace");
	return kp_home_is_server(home) ? init_server(home, err) : init_folder(home, err);
}

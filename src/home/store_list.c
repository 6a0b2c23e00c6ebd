/*
 * store_list.c - stores.txt of a home: a line for each store's file that was ever opened there.
 *
 * Invariants:
 *   1. A line is appended by one write and synced, after the file that it names was made. Two
 *      processes may both append it; a line that is there twice says the same.
 *   2. The list only says what was there. Nothing is opened because of it.
 *
 * What it does not do: know sessions' folders, which the mailbox's registry lists.
 *
 * Tests: tests/contract/test_home_check.c.
 */
#include "home/store_list.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum { LIST_MAX = 1 << 20, LINE_MAX_BYTES = 512 };

static bool is_noted(keep_bytes list, keep_bytes line)
{
	for (size_t at = 0; at + line.len <= list.len; at++)
		if ((!at || list.data[at - 1] == '\n') &&
		    memcmp(list.data + at, line.data, line.len) == 0)
			return true;
	return false;
}

static keep_status note(int folder, const char *file, keep_error *err)
{
	char text[LINE_MAX_BYTES + 2];
	keep_buffer list = KEEP_BUFFER_INIT;
	keep_bytes line = {text, strlen(file) + 1};
	int fd = -1;
	keep_status status = KEEP_OK;

	if (line.len > LINE_MAX_BYTES)
		return kp_fail(err, KEEP_FULL, "a store's name is too long");
	(void)snprintf(text, sizeof text, "%s\n", file);
	status = kp_file_open(folder, KP_HOME_STORES_FILE, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW,
			      0600, &fd, err);
	if (status == KEEP_OK)
		status = kp_file_read_all(fd, LIST_MAX, &list, err);
	if (status == KEEP_OK && !is_noted(kp_buffer_bytes(&list), line)) {
		status = kp_file_append(fd, line, err);
		if (status == KEEP_OK)
			status = kp_file_sync(fd, err);
		if (status == KEEP_OK)
			status = kp_file_sync(folder, err);
	}
	kp_file_close(&fd);
	keep_buffer_release(&list);
	return status;
}

void kp_home_note_store(const char *home, const char *file)
{
	keep_error err = KEEP_ERROR_INIT;
	int folder = -1;
	keep_status status = kp_file_open(AT_FDCWD, home, O_RDONLY | O_DIRECTORY, 0, &folder, &err);

	if (status == KEEP_OK)
		status = note(folder, file, &err);
	kp_file_close(&folder);
	if (status != KEEP_OK)
		kp_log(KEEP_LOG_DEBUG, "%s/" KP_HOME_STORES_FILE ": %s", home, err.message);
}

keep_status kp_home_noted_stores(int folder, keep_buffer *out, keep_error *err)
{
	int fd = -1;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = kp_file_open(folder, KP_HOME_STORES_FILE,
					  O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, &fd, &why);

	if (status == KEEP_OK)
		status = kp_file_read_all(fd, LIST_MAX, out, &why);
	kp_file_close(&fd);
	/* What cannot be read says nothing. */
	return status == KEEP_NO_MEMORY ? kp_fail(err, status, "%s", why.message) : KEEP_OK;
}

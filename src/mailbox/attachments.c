/*
 * attachments.c - the files of messages: inbox/<id>/<name> and outbox/<id>/<name>.
 *
 * Names come from platforms and from agents, and the folder is writable for both sides. So every
 * way to a file is walked a step at a time, relative to the descriptor of the folder before it, and
 * no step follows a link.
 *
 * Invariants:
 *   1. A name is one segment (kp_check_file_name), an id too.
 *   2. A file is made exclusively, written, synced, and its folder synced, before anybody is told
 *      of it. One that is there with the same bytes is a repetition; with others it is CONFLICT.
 *   3. Only plain files are read, at most KEEP_MAILBOX_FILE_MAX bytes; what they are is asked
 *      before they are opened, for opening a pipe or a device may wait or do something.
 *   4. A removal follows no link either (folder_tree.c).
 *
 * Tests: tests/contract/test_mailbox_attachments.c.
 */
#include "mailbox/mailbox_private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

keep_status kp_files_check(const keep_file *files, size_t count, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		status = kp_check_file_name("file", files[i].name, err);
		if (status == KEEP_OK && files[i].bytes.len > KEEP_MAILBOX_FILE_MAX)
			status = kp_fail(err, KEEP_FULL, "file: %zu bytes, the limit is %d",
					 files[i].bytes.len, KEEP_MAILBOX_FILE_MAX);
	}
	return status;
}

/* ---------------------------------------------------------------- the way to a folder */

static keep_status open_folder(int folder, const char *name, int *out, keep_error *err)
{
	keep_status status =
		kp_file_open(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, out, err);

	struct stat st;

	if (status != KEEP_OK && fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    !S_ISDIR(st.st_mode))
		return kp_fail(err, KEEP_DENIED, "'%s' is a link or no folder", name);
	return status;
}

/* <folder>/<box>/<id>; made when `makes`. */
static keep_status open_box(const char *folder, const char *box, keep_bytes id, bool makes,
			    int *out, keep_error *err)
{
	char name[KP_SEGMENT_SIZE];
	keep_error why = KEEP_ERROR_INIT;
	int session = -1, parent = -1;
	keep_status status = kp_check_segment("message id", id, err);

	*out = -1;
	if (status != KEEP_OK)
		return status;
	memcpy(name, id.data, id.len);
	name[id.len] = '\0';
	/* The folder's own way is the caller's, links included. */
	status = kp_file_open(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY, 0, &session, err);
	if (status == KEEP_OK && makes && kp_folder_make(session, box, 0755, &why) != KEEP_OK &&
	    why.status != KEEP_CONFLICT)
		status = kp_fail(err, why.status, "%s", why.message);
	if (status == KEEP_OK)
		status = open_folder(session, box, &parent, err);
	if (status == KEEP_OK && makes && kp_folder_make(parent, name, 0755, &why) != KEEP_OK &&
	    why.status != KEEP_CONFLICT)
		status = kp_fail(err, why.status, "%s", why.message);
	if (status == KEEP_OK)
		status = open_folder(parent, name, out, err);
	if (status == KEEP_OK && makes)
		status = kp_file_sync(parent, err);
	kp_file_close(&parent);
	kp_file_close(&session);
	return status;
}

/* ---------------------------------------------------------------- storing */

static keep_status compare_file(int folder, const char *name, keep_bytes bytes, keep_error *err)
{
	keep_buffer stored = KEEP_BUFFER_INIT;
	int fd = -1;
	keep_status status =
		kp_file_open(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, &fd, err);

	if (status == KEEP_OK)
		status = kp_file_read_all(fd, bytes.len + 1, &stored, err);
	if (status == KEEP_FULL ||
	    (status == KEEP_OK && !kp_bytes_equal(kp_buffer_bytes(&stored), bytes)))
		status = kp_fail(err, KEEP_CONFLICT, "file: another '%s' is there", name);
	kp_file_close(&fd);
	keep_buffer_release(&stored);
	return status;
}

/* Written under a name of its own and linked into place, so that a name never has half a file. */
static keep_status store_file(int folder, const keep_file *file, int64_t uid, int64_t gid,
			      keep_error *err)
{
	char name[256], making[KP_UUID_TEXT_SIZE + 1] = ".";
	int fd = -1;
	keep_status status = kp_uuid_make(making + 1, err);

	memcpy(name, file->name.data, file->name.len);
	name[file->name.len] = '\0';
	if (status == KEEP_OK)
		status = kp_file_open(folder, making, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
				      0644, &fd, err);
	if (status != KEEP_OK)
		return status;
	status = kp_file_append(fd, file->bytes, err);
	if (status == KEEP_OK && (uid || gid) && fchown(fd, (uid_t)uid, (gid_t)gid) != 0)
		status = kp_fail_errno(err, errno, "give '%s' to its agent", name);
	if (status == KEEP_OK)
		status = kp_file_sync(fd, err);
	kp_file_close(&fd);
	if (status == KEEP_OK && linkat(folder, making, folder, name, 0) != 0)
		status = errno == EEXIST ? compare_file(folder, name, file->bytes, err)
					 : kp_fail_errno(err, errno, "make '%s'", name);
	(void)unlinkat(folder, making, 0);
	return status;
}

keep_status kp_files_store(const char *folder, const char *box, keep_bytes id,
			   const keep_file *files, size_t count, int64_t uid, int64_t gid,
			   keep_error *err)
{
	int at = -1;
	keep_status status = KEEP_OK;

	if (!count)
		return KEEP_OK;
	status = open_box(folder, box, id, true, &at, err);
	for (size_t i = 0; i < count && status == KEEP_OK; i++)
		status = store_file(at, &files[i], uid, gid, err);
	if (status == KEEP_OK)
		status = kp_file_sync(at, err);
	kp_file_close(&at);
	return status;
}

/* ---------------------------------------------------------------- reading */

/* A plain file of at most KEEP_MAILBOX_FILE_MAX bytes? */
static keep_status judge_file(const struct stat *st, const char *name, keep_error *err)
{
	if (!S_ISREG(st->st_mode))
		return kp_fail(err, KEEP_DENIED, "file '%s': is a link or no plain file", name);
	if (st->st_size > KEEP_MAILBOX_FILE_MAX)
		return kp_fail(err, KEEP_FULL, "file '%s': %lld bytes, the limit is %d", name,
			       (long long)st->st_size, KEEP_MAILBOX_FILE_MAX);
	return KEEP_OK;
}

static keep_status find_file(int folder, const char *name, keep_error *err)
{
	struct stat st;

	if (kp_fault(KP_FAULT_FILE))
		return kp_fail_errno(err, EIO, "look at '%s'", name);
	if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return kp_fail_errno(err, errno, "file '%s'", name);
	return judge_file(&st, name, err);
}

/* It may have been replaced since it was looked at. */
static keep_status read_file(int folder, const char *name, keep_buffer *out, keep_error *err)
{
	struct stat st;
	int fd = -1;
	keep_status status = kp_file_open(
		folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0, &fd, err);

	if (status == KEEP_OK && fstat(fd, &st) != 0)
		status = kp_fail_errno(err, errno, "file '%s'", name);
	if (status == KEEP_OK)
		status = judge_file(&st, name, err);
	if (status == KEEP_OK)
		status = kp_file_read_all(fd, KEEP_MAILBOX_FILE_MAX, out, err);
	kp_file_close(&fd);
	return status;
}

/* `out` NULL: only look. */
static keep_status reach_file(const char *folder, const char *box, keep_bytes id, keep_bytes name,
			      keep_buffer *out, keep_error *err)
{
	char text[256];
	int at = -1;
	keep_status status = kp_check_file_name("file", name, err);

	if (status != KEEP_OK)
		return status;
	memcpy(text, name.data, name.len);
	text[name.len] = '\0';
	status = open_box(folder, box, id, false, &at, err);
	if (status == KEEP_OK)
		status = find_file(at, text, err);
	if (status == KEEP_OK && out)
		status = read_file(at, text, out, err);
	kp_file_close(&at);
	return status;
}

keep_status kp_file_of_message(const char *folder, const char *box, keep_bytes id, keep_bytes name,
			       keep_buffer *out, keep_error *err)
{
	return reach_file(folder, box, id, name, out, err);
}

keep_status kp_file_check(const char *folder, const char *box, keep_bytes id, keep_bytes name,
			  keep_error *err)
{
	return reach_file(folder, box, id, name, NULL, err);
}

keep_status keep_mailbox_outbox_file(keep_mailbox *mailbox, keep_bytes session,
				     keep_bytes message_out_id, keep_bytes name, keep_buffer *out,
				     keep_error *err)
{
	kp_arena arena = {.head = NULL};
	char *folder = NULL;
	keep_status status = kp_check_session(session, err);

	out->len = 0;
	if (status == KEEP_OK)
		status = kp_check_segment("message_out_id", message_out_id, err);
	if (status == KEEP_OK)
		status = kp_check_file_name("name", name, err);
	if (status == KEEP_OK)
		status = kp_session_folder_of(mailbox, session, &arena, &folder, err);
	if (status == KEEP_OK && mailbox->schema)
		status = kp_fail(err, KEEP_NOT_FOUND, "file: a mailbox on a server has no folders");
	if (status == KEEP_OK)
		status = kp_file_of_message(folder, "outbox", message_out_id, name, out, err);
	kp_arena_release(&arena);
	return status;
}

/* ---------------------------------------------------------------- removing */

keep_status kp_files_remove(const char *folder, const char *box, keep_bytes id, keep_error *err)
{
	char name[KP_SEGMENT_SIZE];
	keep_error why = KEEP_ERROR_INIT;
	int session = -1, parent = -1;
	keep_status status = kp_check_segment("message id", id, &why);

	if (status == KEEP_OK) {
		memcpy(name, id.data, id.len);
		name[id.len] = '\0';
		status = kp_file_open(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY, 0, &session, &why);
	}
	if (status == KEEP_OK)
		status = open_folder(session, box, &parent, &why);
	if (status == KEEP_OK)
		status = kp_tree_remove(parent, name, &why);
	kp_file_close(&parent);
	kp_file_close(&session);
	if (status == KEEP_NOT_FOUND) /* there is nothing */
		return KEEP_OK;
	return status == KEEP_OK ? status : kp_fail(err, status, "%s", why.message);
}

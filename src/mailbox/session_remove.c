/*
 * session_remove.c - a closed session goes away: row, questions, both sides, attachments.
 *
 * With files, in one writing transaction of the registry, which hosts and sessions in the making
 * wait for: the folder is renamed to "<mailbox>/removed/<session>", and the row is deleted. After
 * the commit what is in "removed" is removed. A crash leaves one of
 *
 *     the folder in "removed", and the row     finished by the next opening or removal
 *     the folder in "removed", and no row      the same
 *
 * On a server rows go in batches, the row of the registry with the last of them.
 *
 * Invariants:
 *   1. A session is removed only when it is closed and nothing of it is on its way to a channel.
 *   2. A session whose folder is in "removed" is not made anew (session_rebuild.c).
 *   3. Nothing outside of the folder is removed (folder_tree.c).
 *
 * Tests: tests/contract/test_mailbox_life.c.
 */
#include "mailbox/mailbox_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { REMOVE_BATCH = 5000 };

/* ---------------------------------------------------------------- what stands in the way */

struct removing {
	keep_mailbox *mailbox;
	keep_bytes session;
	const char *folder, *removed; /* NULL on a server */
	bool has_more;
};

static keep_status check_row(kp_lease *lease, keep_bytes session, bool *is_there, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_session row;
	keep_status status =
		kp_lease_get(lease, KP_MAILBOX_GET_SESSION, KP_VALUES(kp_text_value(session)),
			     &kp_session_record, &arena, &row, is_there, err);

	if (status == KEEP_OK && *is_there &&
	    !kp_bytes_equal(row.status, KEEP_BYTES(KEEP_SESSION_STATUS_CLOSED)))
		status = kp_fail(err, KEEP_CONFLICT, "session: '%" KP_PRI "' is not closed",
				 KP_ARG(session));
	kp_arena_release(&arena);
	return status;
}

static keep_status query_closed(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct removing *removing = ctx;
	bool is_there = false;
	keep_status status = check_row(lease, removing->session, &is_there, err);

	if (status == KEEP_OK && !is_there)
		status = kp_fail(err, KEEP_NOT_FOUND, "session: there is no '%" KP_PRI "'",
				 KP_ARG(removing->session));
	return status;
}

static keep_status query_under_way(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct removing *removing = ctx;
	kp_sql_stmt *stmt = NULL;
	kp_value first;
	bool found = false;
	keep_status status = kp_lease_bind(lease, KP_MAILBOX_FIRST_UNDER_WAY,
					   KP_VALUES(kp_text_value(removing->session)), &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &found, err);
	if (status == KEEP_OK && found)
		status = kp_sql_column(stmt, 0, KP_TEXT, &first, err);
	if (status == KEEP_OK && found)
		status = kp_fail(err, KEEP_CONFLICT,
				 "session: '%" KP_PRI "' has deliveries under way, the first is "
				 "message '%" KP_PRI "'",
				 KP_ARG(removing->session), KP_ARG(first.bytes));
	kp_sql_reset(stmt);
	return status;
}

/* Files that cannot be read any more do not keep a session from being removed. */
static keep_status check_deliveries(keep_mailbox *mailbox, struct removing *removing,
				    keep_error *err)
{
	keep_error why = KEEP_ERROR_INIT;
	keep_status status =
		kp_session_read(mailbox, removing->session, query_under_way, removing, &why);

	if (status == KEEP_CORRUPT || status == KEEP_NOT_FOUND || status == KEEP_TOO_NEW ||
	    status == KEEP_INVALID) {
		kp_log(KEEP_LOG_WARNING, "a session is removed unread: %s", why.message);
		return KEEP_OK;
	}
	if (status != KEEP_OK && err)
		*err = why;
	return status;
}

/* ---------------------------------------------------------------- rows */

static keep_status remove_rows(kp_lease *lease, keep_bytes session, bool *has_more, keep_error *err)
{
	static const size_t many[] = {KP_MAILBOX_REMOVE_MESSAGES_IN, KP_MAILBOX_REMOVE_MESSAGES_OUT,
				      KP_MAILBOX_REMOVE_ACKS, KP_MAILBOX_REMOVE_DELIVERIES,
				      KP_MAILBOX_REMOVE_STEPS};
	static const size_t few[] = {
		KP_MAILBOX_REMOVE_OUTGOING,        KP_MAILBOX_REMOVE_SESSION_ROUTE,
		KP_MAILBOX_REMOVE_SESSION_HOST,    KP_MAILBOX_REMOVE_SESSION_VALUES,
		KP_MAILBOX_REMOVE_ASKED_QUESTIONS, KP_MAILBOX_REMOVE_SESSION_AGENT,
		KP_MAILBOX_CLEAR_DESTINATIONS};
	kp_value id = kp_text_value(session);
	keep_status status = KEEP_OK;

	*has_more = false;
	for (size_t i = 0; i < KP_COUNT(many) && status == KEEP_OK; i++) {
		int64_t changes = 0;

		status = kp_lease_run(lease, many[i], KP_VALUES(id, kp_int_value(REMOVE_BATCH)),
				      &changes, err);
		*has_more = *has_more || changes == REMOVE_BATCH;
	}
	for (size_t i = 0; i < KP_COUNT(few) && status == KEEP_OK && !*has_more; i++)
		status = kp_lease_queue(lease, few[i], &id, 1, err);
	return status;
}

/* ---------------------------------------------------------------- the one transaction */

/* To "removed"; what is not there is there already, or was taken away by somebody. */
static keep_status move_away(const struct removing *removing, keep_error *err)
{
	char guard[PATH_MAX + 16];
	keep_error why = KEEP_ERROR_INIT;
	struct stat st;
	keep_status status;

	if (lstat(removing->folder, &st) != 0)
		return KEEP_OK;
	if (lstat(removing->removed, &st) == 0) /* one that was made by hand: as good as removed */
		kp_tree_drop(removing->removed);
	status = kp_file_rename(AT_FDCWD, removing->folder, AT_FDCWD, removing->removed, &why);
	if (status != KEEP_OK && err)
		*err = why;
	kp_moment("mailbox.remove_renamed");
	if (status == KEEP_OK) { /* the write guard beside it */
		snprintf(guard, sizeof guard, "%s-guard", removing->folder);
		(void)unlink(guard);
	}
	return status;
}

static keep_status apply_remove(void *ctx, kp_lease *lease, keep_error *err)
{
	struct removing *removing = ctx;
	kp_value session = kp_text_value(removing->session);
	bool is_there = false;
	keep_status status = check_row(lease, removing->session, &is_there, err);

	removing->has_more = false;
	if (status != KEEP_OK)
		return status;
	if (removing->folder)
		status = move_away(removing, err);
	else
		status = remove_rows(lease, removing->session, &removing->has_more, err);
	if (status == KEEP_OK && !removing->has_more)
		status = kp_lease_run(lease, KP_MAILBOX_REMOVE_SESSION, &session, 1, NULL, err);
	return status;
}

/* ---------------------------------------------------------------- finishing */

static keep_status removed_folder(const keep_mailbox *mailbox, char path[PATH_MAX], keep_error *err)
{
	if (snprintf(path, PATH_MAX, "%s/removed", mailbox->location) + KEEP_SEGMENT_MAX + 2 >=
	    PATH_MAX)
		return kp_fail(err, KEEP_INVALID, "the path '%.100s...' is too long",
			       mailbox->location);
	return KEEP_OK;
}

bool kp_session_is_removed(const keep_mailbox *mailbox, keep_bytes session)
{
	char path[PATH_MAX];
	struct stat st;
	size_t len;

	if (mailbox->schema || removed_folder(mailbox, path, NULL) != KEEP_OK)
		return false;
	len = strlen(path);
	snprintf(path + len, sizeof path - len, "/%.*s", (int)session.len, session.data);
	return lstat(path, &st) == 0;
}

static keep_status finish_one(keep_mailbox *mailbox, int removed, const char *name, keep_error *err)
{
	struct removing removing = {.mailbox = mailbox, .session = keep_bytes_of(name)};
	char folder[PATH_MAX];
	keep_status status = KEEP_OK;

	if (kp_check_segment("session", removing.session, NULL) == KEEP_OK) {
		/* The folder is here already: only the row is left. */
		snprintf(folder, sizeof folder, "%s/.none", mailbox->location);
		removing.folder = removing.removed = folder;
		status = kp_registry_change(mailbox, apply_remove, &removing, err);
	}
	kp_moment("mailbox.remove_row");
	if (status == KEEP_OK)
		status = kp_tree_remove(removed, name, err);
	kp_moment("mailbox.remove_tree");
	return status;
}

keep_status kp_session_finish_removals(keep_mailbox *mailbox, keep_error *err)
{
	char path[PATH_MAX];
	keep_error why = KEEP_ERROR_INIT;
	int removed = -1;
	DIR *names = NULL;
	const struct dirent *entry;
	keep_status status = KEEP_OK;

	if (mailbox->schema || mailbox->read_only)
		return KEEP_OK;
	status = removed_folder(mailbox, path, err);
	if (status == KEEP_OK && kp_file_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW,
					      0, &removed, &why) != KEEP_OK) {
		if (why.status != KEEP_NOT_FOUND && err)
			*err = why;
		return why.status == KEEP_NOT_FOUND ? KEEP_OK : why.status;
	}
	if (status == KEEP_OK) {
		names = opendir(path);
		if (!names)
			status = kp_fail_errno(err, errno, "read '%s'", path);
	}
	while (status == KEEP_OK && (entry = readdir(names))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (finish_one(mailbox, removed, entry->d_name, &why) != KEEP_OK)
			kp_log(KEEP_LOG_WARNING, "a removed session is left: %s", why.message);
	}
	if (names)
		(void)closedir(names);
	kp_file_close(&removed);
	return status;
}

static keep_status make_removed(const char *path, keep_error *err)
{
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = kp_folder_make(AT_FDCWD, path, 0700, &why);

	if (status == KEEP_CONFLICT)
		return KEEP_OK;
	if (status != KEEP_OK && err)
		*err = why;
	return status;
}

static keep_status remove_files(keep_mailbox *mailbox, struct removing *removing, kp_arena *arena,
				keep_error *err)
{
	char removed[PATH_MAX], *folder = NULL;
	size_t len;
	keep_status status = kp_session_folder_of(mailbox, removing->session, arena, &folder, err);

	if (status == KEEP_OK)
		status = removed_folder(mailbox, removed, err);
	if (status == KEEP_OK)
		status = make_removed(removed, err);
	if (status != KEEP_OK)
		return status;
	len = strlen(removed);
	snprintf(removed + len, sizeof removed - len, "/%.*s", (int)removing->session.len,
		 removing->session.data);
	removing->folder = folder;
	removing->removed = removed;
	status = kp_session_forget(mailbox, removing->session, err);
	if (status == KEEP_OK)
		status = kp_registry_change(mailbox, apply_remove, removing, err);
	kp_moment("mailbox.remove_committed");
	if (status == KEEP_OK) {
		/* A call that came in between opened files that are gone. */
		kp_session_discard(mailbox, removing->session);
		kp_tree_drop(removed);
	}
	return status;
}

keep_status keep_mailbox_remove_session(keep_mailbox *mailbox, keep_bytes session, keep_error *err)
{
	struct removing removing = {.mailbox = mailbox, .session = session, .has_more = true};
	kp_arena arena = {.head = NULL};
	keep_status status = kp_check_session(session, err);

	if (status == KEEP_OK && mailbox->read_only)
		status = kp_fail(err, KEEP_DENIED, "the mailbox was opened for reading only");
	if (status == KEEP_OK)
		status = kp_registry_read(mailbox, query_closed, &removing, err);
	if (status == KEEP_OK && !kp_session_is_removed(mailbox, session))
		status = check_deliveries(mailbox, &removing, err);
	if (status == KEEP_OK && !mailbox->schema)
		status = remove_files(mailbox, &removing, &arena, err);
	else
		while (status == KEEP_OK && removing.has_more) {
			status = kp_registry_change(mailbox, apply_remove, &removing, err);
			kp_moment("mailbox.remove_step");
		}
	kp_arena_release(&arena);
	return status;
}

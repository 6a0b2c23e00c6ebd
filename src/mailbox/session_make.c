/*
 * session_make.c - the two sides of a new session.
 *
 * On SQLite: a folder with inbound.db and outbound.db. They are made in "<mailbox>/making", as
 * copies of templates (session_template.c), synced, and renamed into place, so that the folder is
 * there whole or not at all. The registry's row is committed after that; a link in "making" says
 * so long where the folder is, so that a crash in between leaves nothing that nobody knows. On
 * PostgreSQL: one row of session_host and of session_agent.
 *
 * Invariants:
 *   1. A session that the registry knows has both sides, unless somebody took them away.
 *   2. What is there is never overwritten.
 *
 * What it does not do: choose ids, write the registry's row (registry_sessions.c), or replace what
 * was lost (session_rebuild.c).
 *
 * Tests: tests/contract/test_mailbox_sessions.c.
 */
#include "mailbox/mailbox_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---------------------------------------------------------------- files */

/* A folder that is there is fine. */
static keep_status make_folder(const char *path, keep_error *err)
{
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = kp_folder_make(AT_FDCWD, path, 0755, &why);

	if (status == KEEP_CONFLICT)
		return KEEP_OK;
	if (status != KEEP_OK && err)
		*err = why;
	return status;
}

static keep_status sync_folder(const char *path, keep_error *err)
{
	int fd = -1;
	keep_status status = kp_file_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0, &fd, err);

	if (status == KEEP_OK)
		status = kp_file_sync(fd, err);
	kp_file_close(&fd);
	return status;
}

static keep_status make_files(keep_mailbox *mailbox, const keep_session *session,
			      const char *making, keep_error *err)
{
	char outbound_id[KP_UUID_TEXT_SIZE];
	int folder = -1;
	keep_status status = kp_uuid_make(outbound_id, err);

	if (status == KEEP_OK)
		status = kp_folder_make(AT_FDCWD, making, 0755, err);
	if (status == KEEP_OK)
		status = kp_file_open(AT_FDCWD, making, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0,
				      &folder, err);
	if (status == KEEP_OK)
		status = kp_session_file_make(mailbox, KP_SIDE_HOST, session, outbound_id, folder,
					      "inbound.db", err);
	if (status == KEEP_OK)
		status = kp_session_file_make(mailbox, KP_SIDE_AGENT, session, outbound_id, folder,
					      "outbound.db", err);
	if (status == KEEP_OK)
		status = kp_give_to_agent(mailbox, folder, making, err);
	if (status == KEEP_OK && !mailbox->relaxed)
		status = kp_file_sync(folder, err);
	kp_file_close(&folder);
	kp_moment("mailbox.make_files");
	return status;
}

static void format_name(const keep_session *session, const char *suffix,
			char name[KP_SEGMENT_SIZE + 1])
{
	snprintf(name, KP_SEGMENT_SIZE + 1, "%.*s%s", (int)session->id.len, session->id.data,
		 suffix);
}

/* The link that says where the folder goes. */
static keep_status note_place(const keep_mailbox *mailbox, const keep_session *session,
			      keep_error *err)
{
	char name[KP_SEGMENT_SIZE + 1], path[PATH_MAX], place[2 * KP_SEGMENT_SIZE + 1];
	keep_status status;

	format_name(session, "+", name);
	snprintf(place, sizeof place, "%.*s/%.*s", (int)session->agent_group_id.len,
		 session->agent_group_id.data, (int)session->id.len, session->id.data);
	status = kp_making_path(mailbox, name, path, err);
	if (status == KEEP_OK && symlink(place, path) != 0 && errno != EEXIST)
		status = kp_fail_errno(err, errno, "make '%s'", path);
	return status;
}

void kp_session_made(const keep_mailbox *mailbox, const keep_session *session)
{
	char name[KP_SEGMENT_SIZE + 1], path[PATH_MAX];

	if (mailbox->schema)
		return;
	kp_moment("mailbox.make_committed");
	format_name(session, "+", name);
	if (kp_making_path(mailbox, name, path, NULL) == KEEP_OK)
		(void)unlink(path); /* else the next opening does */
}

keep_status kp_session_folder_make(keep_mailbox *mailbox, const keep_session *session,
				   const char *folder, keep_error *err)
{
	char group[PATH_MAX], making[PATH_MAX], name[KP_SEGMENT_SIZE + 1];
	struct stat st;
	keep_status status;

	if (lstat(folder, &st) == 0) /* an earlier run of the same transaction made it */
		return KEEP_OK;
	snprintf(group, sizeof group, "%s/sessions/%.*s", mailbox->location,
		 (int)session->agent_group_id.len, session->agent_group_id.data);
	format_name(session, "", name);
	status = kp_making_path(mailbox, "", making, err);
	if (status == KEEP_OK)
		status = make_folder(making, err);
	if (status == KEEP_OK)
		status = kp_making_path(mailbox, name, making, err);
	if (status == KEEP_OK)
		status = kp_tree_remove(AT_FDCWD, making, err);
	if (status == KEEP_OK)
		status = make_folder(group, err);
	if (status == KEEP_OK)
		status = make_files(mailbox, session, making, err);
	if (status == KEEP_OK)
		status = note_place(mailbox, session, err);
	if (status == KEEP_OK)
		status = kp_file_rename(AT_FDCWD, making, AT_FDCWD, folder, err);
	if (status == KEEP_OK && !mailbox->relaxed)
		status = sync_folder(group, err);
	kp_moment("mailbox.make_renamed");
	return status;
}

/* ---------------------------------------------------------------- rows */

static keep_status make_rows(kp_lease *lease, const keep_session *session, keep_error *err)
{
	char outbound_id[KP_UUID_TEXT_SIZE];
	kp_value id = kp_text_value(session->id);
	keep_status status = kp_uuid_make(outbound_id, err);

	if (status == KEEP_OK)
		status = kp_lease_run(lease, KP_MAILBOX_ADD_SESSION_HOST,
				      KP_VALUES(id, kp_text_value(session->agent_group_id)), NULL,
				      err);
	if (status == KEEP_OK)
		status = kp_lease_run(lease, KP_MAILBOX_ADD_SESSION_AGENT,
				      KP_VALUES(id, kp_text_value(keep_bytes_of(outbound_id))),
				      NULL, err);
	return status;
}

keep_status kp_session_make_sides(keep_mailbox *mailbox, kp_lease *lease,
				  const keep_session *session, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	char *folder = NULL;
	keep_status status = KEEP_OK;

	if (mailbox->schema)
		return make_rows(lease, session, err);
	status = kp_session_folder(mailbox, session->agent_group_id, session->id, &arena, &folder,
				   err);
	if (status == KEEP_OK)
		status = kp_session_folder_make(mailbox, session, folder, err);
	kp_arena_release(&arena);
	return status;
}

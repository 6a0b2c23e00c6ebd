/*
 * session_make.c - the two sides of a new session.
 *
 * On SQLite: a folder with inbound.db and outbound.db. They are made in a folder beside it, synced,
 * and renamed into place, so that the folder is there whole or not at all. The registry's row is
 * stored after that: a crash in between leaves a folder that nobody knows, and the next attempt
 * for the same session takes it over. On PostgreSQL: one row of session_host and of session_agent.
 *
 * Invariants:
 *   1. A session that the registry knows has both sides, unless somebody took them away.
 *   2. What is there is never overwritten.
 *
 * What it does not do: choose ids, write the registry's row (registry_sessions.c).
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

/* A connection to a file that is made now, with statements of its own. */
struct maker {
	kp_lease lease;
	const keep_session *session;
	char outbound_id[KP_UUID_TEXT_SIZE];
};

static keep_status fill_inbound(struct maker *maker, keep_error *err)
{
	const keep_session *session = maker->session;
	kp_value id = kp_text_value(session->id);

	return kp_lease_run(&maker->lease, KP_MAILBOX_ADD_SESSION_HOST,
			    KP_VALUES(id, kp_text_value(session->agent_group_id)), NULL, err);
}

static keep_status fill_outbound(struct maker *maker, keep_error *err)
{
	return kp_lease_run(&maker->lease, KP_MAILBOX_ADD_SESSION_AGENT,
			    KP_VALUES(kp_text_value(maker->session->id),
				      kp_text_value(keep_bytes_of(maker->outbound_id))),
			    NULL, err);
}

static keep_status make_file(keep_mailbox *mailbox, struct maker *maker, const char *folder,
			     enum kp_side_kind kind, keep_error *err)
{
	bool is_inbound = kind == KP_SIDE_HOST;
	char path[PATH_MAX];
	kp_sql_options options = {
		.location = path,
		.create = true,
		.relaxed = mailbox->relaxed,
		.timeout_ms = mailbox->timeout_ms,
		.journal = mailbox->mount_safe ? KP_JOURNAL_ROLLBACK : KP_JOURNAL_WAL,
	};
	keep_status status;

	snprintf(path, sizeof path, "%s/%s", folder, is_inbound ? "inbound.db" : "outbound.db");
	status = kp_sql_open(&kp_sql_sqlite, &options, &maker->lease.conn, err);
	if (status == KEEP_OK)
		status = kp_migrate(maker->lease.conn,
				    is_inbound ? &kp_mailbox_inbound_migrations[KP_DIALECT_SQLITE]
					       : &kp_mailbox_outbound_migrations[KP_DIALECT_SQLITE],
				    err);
	if (status == KEEP_OK)
		status = kp_sql_begin(maker->lease.conn, KP_SQL_WRITE, err);
	if (status == KEEP_OK)
		status = is_inbound ? fill_inbound(maker, err) : fill_outbound(maker, err);
	if (status == KEEP_OK)
		status = kp_sql_commit(maker->lease.conn, err);
	for (size_t i = 0; i < maker->lease.statements->count; i++)
		kp_sql_finish(&maker->lease.prepared[i]);
	kp_sql_close(&maker->lease.conn);
	if (status == KEEP_OK) { /* the guard that making it needed; the folder is new */
		snprintf(path + strlen(path), sizeof path - strlen(path), "-guard");
		(void)unlink(path);
	}
	return status;
}

static keep_status make_files(keep_mailbox *mailbox, const keep_session *session,
			      const char *folder, keep_error *err)
{
	struct maker maker = {.session = session,
			      .lease = {.statements = &kp_mailbox_statements[KP_DIALECT_SQLITE]}};
	keep_status status;

	maker.lease.prepared =
		kp_alloc_zero(maker.lease.statements->count * sizeof *maker.lease.prepared);
	if (!maker.lease.prepared)
		return kp_fail_memory(err, "a session");
	status = kp_uuid_make(maker.outbound_id, err);
	if (status == KEEP_OK)
		status = make_file(mailbox, &maker, folder, KP_SIDE_HOST, err);
	if (status == KEEP_OK)
		status = make_file(mailbox, &maker, folder, KP_SIDE_AGENT, err);
	kp_free(maker.lease.prepared);
	return status;
}

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

/* Made beside its place and renamed into it. What a crash left beside it is made anew by the
   driver: a file that is there and migrated stays, one that is not is completed. */
static keep_status make_in_place(keep_mailbox *mailbox, const keep_session *session,
				 const char *folder, keep_error *err)
{
	char group[PATH_MAX], making[PATH_MAX];
	struct stat st;
	keep_status status;

	if (stat(folder, &st) == 0)
		return make_files(mailbox, session, folder, err);
	snprintf(group, sizeof group, "%s/sessions/%.*s", mailbox->location,
		 (int)session->agent_group_id.len, session->agent_group_id.data);
	if (snprintf(making, sizeof making, "%s/.%.*s", group, (int)session->id.len,
		     session->id.data) >= (int)sizeof making)
		return kp_fail(err, KEEP_INVALID, "the path '%.100s...' is too long", group);
	status = make_folder(group, err);
	if (status == KEEP_OK)
		status = make_folder(making, err);
	if (status == KEEP_OK)
		status = make_files(mailbox, session, making, err);
	if (status == KEEP_OK)
		status = sync_folder(making, err);
	if (status == KEEP_OK)
		status = kp_file_rename(AT_FDCWD, making, AT_FDCWD, folder, err);
	if (status == KEEP_OK)
		status = sync_folder(group, err);
	return status;
}

/* ---------------------------------------------------------------- rows */

static keep_status make_rows(kp_lease *lease, const keep_session *session, keep_error *err)
{
	struct maker maker = {.session = session, .lease = *lease};
	keep_status status = kp_uuid_make(maker.outbound_id, err);

	if (status == KEEP_OK)
		status = fill_inbound(&maker, err);
	return status == KEEP_OK ? fill_outbound(&maker, err) : status;
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
		status = make_in_place(mailbox, session, folder, err);
	kp_arena_release(&arena);
	return status;
}

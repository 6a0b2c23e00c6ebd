/*
 * session_rebuild.c - a session whose files were taken away goes on with new ones.
 *
 * The registry says that the session is there, and a file of it is not, or is empty: what was in it
 * is lost. Whoever uses the session next makes the file anew, inside a writing transaction of the
 * registry, so that only one does it and no removal comes in between.
 *
 *   inbound.db    the cursors stand at the end of what outbound.db holds: nothing of it is
 * delivered or counted again. Incarnation and whether it is closed are the registry's. outbound.db
 * another id, at which the host's cursors begin anew. What was not acknowledged can be claimed
 * again, what was not taken over is lost. both          a new session with the old one's name.
 *
 * Each time inbound.db gets a finished `system` message that says so. Its number is above all that
 * is known of, and both sides number on from the greatest: no number is given twice. A step
 * `rebuilt` and a warning in the log say it, too.
 *
 * Invariants:
 *   1. A new file is complete before it gets its name; a crash before that leaves it in "making".
 *   2. A lost file's log, map and journal are removed before a new one gets its name: SQLite would
 *      take them for the new one's.
 *   3. Of a lost outbound.db the message in inbound.db comes first, then the file.
 *   4. A session that is being removed is not made again.
 *
 * What it does not do: mend damaged files. They are CORRUPT, and stay as they are.
 *
 * Tests: tests/contract/test_mailbox_life.c.
 */
#include "mailbox/mailbox_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

/* Above this a number is an agent's joke, and continuing it would leave no room. */
#define NUMBER_MAX (INT64_C(1) << 53)

static bool is_lost(const char *folder, const char *name)
{
	char path[PATH_MAX + 16];
	struct stat st;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	if (lstat(path, &st) != 0)
		return errno == ENOENT || errno == ENOTDIR;
	return S_ISREG(st.st_mode) && st.st_size == 0;
}

bool kp_session_has_lost(const char *folder)
{
	return is_lost(folder, "inbound.db") || is_lost(folder, "outbound.db");
}

/* ---------------------------------------------------------------- a connection for it */

struct rebuilding {
	keep_mailbox *mailbox;
	keep_bytes session;
	int64_t now_ms;
	kp_arena arena;
	keep_session row;
	char *folder;
	bool lost_in, lost_out, made_folder;
};

/* What is done to an inbound.db while it is rebuilt. */
struct noting {
	const struct rebuilding *of;
	kp_lease lease;
	const char *lost;    /* for the message */
	bool reads_outbound; /* the cursors move to its end */
};

static keep_status add_note(struct noting *noting, int64_t above, keep_error *err)
{
	const struct rebuilding *of = noting->of;
	kp_value session = kp_text_value(of->session);
	char id[KP_UUID_TEXT_SIZE + 8] = "rebuilt-", content[80];
	keep_status status = kp_uuid_make(id + 8, err);

	snprintf(content, sizeof content, "{\"type\":\"session_rebuilt\",\"lost\":\"%s\"}",
		 noting->lost);
	if (above > NUMBER_MAX) {
		kp_log(KEEP_LOG_WARNING, "session %" KP_PRI ": the number %lld is not continued",
		       KP_ARG(of->session), (long long)above);
		above = 0;
	}
	if (status == KEEP_OK)
		status = kp_lease_run(&noting->lease, KP_MAILBOX_ADD_REBUILT_MESSAGE,
				      KP_VALUES(session, kp_text_value(keep_bytes_of(id)),
						kp_time_value(of->now_ms), kp_int_value(above),
						kp_text_value(keep_bytes_of(content))),
				      NULL, err);
	if (status == KEEP_OK)
		status = kp_step_add(&noting->lease, of->session, keep_bytes_of(id), "rebuilt",
				     keep_bytes_of(noting->lost), of->now_ms, err);
	return status;
}

/* Of an agent that knows only the source's tables some of it is not there: then nothing. */
static keep_status read_outbound(struct noting *noting, int64_t *last, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	kp_value session = kp_text_value(noting->of->session);
	keep_session_agent agent = {.outbound_id = KEEP_BYTES("")};
	int64_t change = 0, count = 0;
	bool found = false;
	keep_status status = kp_lease_int(&noting->lease, KP_MAILBOX_LAST_NUMBER_OUT, &session, 1,
					  last, &found, err);

	if (status == KEEP_OK &&
	    (kp_lease_get(&noting->lease, KP_MAILBOX_GET_SESSION_AGENT, &session, 1,
			  &kp_session_agent_record, &arena, &agent, &found, NULL) != KEEP_OK ||
	     !found || agent.outbound_id.len >= KP_SEGMENT_SIZE))
		agent.outbound_id = KEEP_BYTES("");
	if (status == KEEP_OK && kp_lease_int(&noting->lease, KP_MAILBOX_LAST_ACK_CHANGE, &session,
					      1, &change, &found, NULL) != KEEP_OK)
		change = 0;
	if (status == KEEP_OK)
		status = kp_lease_run(&noting->lease, KP_MAILBOX_SET_CURSORS,
				      KP_VALUES(session, kp_int_value(*last), kp_int_value(change),
						kp_text_value(agent.outbound_id)),
				      NULL, err);
	/* Each acknowledgement was of a message with a number of its own. */
	if (status == KEEP_OK &&
	    kp_lease_int(&noting->lease, KP_MAILBOX_COUNT_ACKS, &session, 1, &count, &found,
			 NULL) == KEEP_OK &&
	    *last < 2 * count)
		*last = 2 * count;
	kp_arena_release(&arena);
	return status;
}

static keep_status note_in(struct noting *noting, keep_error *err)
{
	kp_value session = kp_text_value(noting->of->session);
	int64_t last = 0;
	bool found = false;
	keep_status status = kp_sql_begin(noting->lease.conn, KP_SQL_WRITE, err);

	if (status != KEEP_OK)
		return status;
	if (noting->reads_outbound)
		status = read_outbound(noting, &last, err);
	else
		status = kp_lease_int(&noting->lease, KP_MAILBOX_LAST_NUMBER_KNOWN, &session, 1,
				      &last, &found, err);
	if (status == KEEP_OK)
		status = add_note(noting, last, err);
	if (status == KEEP_OK)
		return kp_sql_commit(noting->lease.conn, err);
	kp_sql_rollback(noting->lease.conn);
	return status;
}

/* `beside`: outbound.db, or NULL; `guard`: as kp_sql_options. */
static keep_status note(const struct rebuilding *of, const char *path, const char *guard,
			const char *beside, const char *lost, keep_error *err)
{
	struct noting noting = {.of = of, .lost = lost, .reads_outbound = beside};
	kp_sql_options options = {
		.location = path,
		.timeout_ms = of->mailbox->timeout_ms,
		.relaxed = of->mailbox->relaxed,
		.journal = KP_JOURNAL_AS_IS,
		.guard = guard,
		.beside = beside,
		.statement_ms = of->mailbox->timeout_ms,
		.value_max = INT64_C(4) << 20,
	};
	keep_status status;

	noting.lease.statements = &kp_mailbox_statements[KP_DIALECT_SQLITE];
	noting.lease.prepared =
		kp_alloc_zero(noting.lease.statements->count * sizeof *noting.lease.prepared);
	if (!noting.lease.prepared)
		return kp_fail_memory(err, "a session");
	status = kp_sql_open(&kp_sql_sqlite, &options, &noting.lease.conn, err);
	if (status == KEEP_OK)
		status = kp_migrate(noting.lease.conn,
				    &kp_mailbox_inbound_migrations[KP_DIALECT_SQLITE], err);
	if (status == KEEP_OK)
		status = note_in(&noting, err);
	for (size_t i = 0; i < noting.lease.statements->count; i++)
		kp_sql_finish(&noting.lease.prepared[i]);
	kp_sql_close(&noting.lease.conn);
	kp_free(noting.lease.prepared);
	return status;
}

/* ---------------------------------------------------------------- the files */

static keep_status unlink_beside(const char *path, const char *suffix, keep_error *err)
{
	char name[PATH_MAX + 32];
	keep_error why = KEEP_ERROR_INIT;

	snprintf(name, sizeof name, "%s%s", path, suffix);
	if (kp_file_unlink(AT_FDCWD, name, 0, &why) == KEEP_OK || why.status == KEEP_NOT_FOUND)
		return KEEP_OK;
	if (err)
		*err = why;
	return why.status;
}

/* Invariants 1 and 2. */
static keep_status put_in_place(const char *made, const char *folder, const char *name,
				keep_error *err)
{
	static const char *const suffixes[] = {"-wal", "-shm", "-journal"};
	char path[PATH_MAX + 16];
	int fd = -1;
	keep_status status = KEEP_OK;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	for (size_t i = 0; i < KP_COUNT(suffixes) && status == KEEP_OK; i++)
		status = unlink_beside(path, suffixes[i], err);
	if (status == KEEP_OK)
		status = kp_file_rename(AT_FDCWD, made, AT_FDCWD, path, err);
	if (status == KEEP_OK)
		status = kp_file_open(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY, 0, &fd, err);
	if (status == KEEP_OK)
		status = kp_file_sync(fd, err);
	kp_file_close(&fd);
	kp_moment("mailbox.rebuild_placed");
	return status;
}

static keep_status make_file(struct rebuilding *of, enum kp_side_kind kind, char made[PATH_MAX],
			     keep_error *err)
{
	char name[KP_SEGMENT_SIZE + 16], outbound_id[KP_UUID_TEXT_SIZE];
	int making = -1;
	keep_status status = kp_making_path(of->mailbox, "", made, err);

	if (status == KEEP_OK) /* that it is there is fine; a failure shows when it is opened */
		(void)mkdir(made, 0700);
	if (status == KEEP_OK)
		status = kp_file_open(AT_FDCWD, made, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0,
				      &making, err);
	snprintf(name, sizeof name, "%.*s.%s", (int)of->session.len, of->session.data,
		 kind == KP_SIDE_HOST ? "inbound" : "outbound");
	if (status == KEEP_OK)
		status = kp_tree_remove(making, name, err);
	if (status == KEEP_OK)
		status = kp_uuid_make(outbound_id, err);
	if (status == KEEP_OK)
		status = kp_session_file_make(of->mailbox, kind, &of->row, outbound_id, making,
					      name, err);
	kp_file_close(&making);
	return status == KEEP_OK ? kp_making_path(of->mailbox, name, made, err) : status;
}

static keep_status rebuild_outbound(struct rebuilding *of, keep_error *err)
{
	char made[PATH_MAX], inbound[PATH_MAX + 16];
	keep_status status = KEEP_OK;

	snprintf(inbound, sizeof inbound, "%s/inbound.db", of->folder);
	if (!of->lost_in) /* invariant 3 */
		status = note(of, inbound, of->folder, NULL, "outbound", err);
	kp_moment("mailbox.rebuild_noted");
	if (status == KEEP_OK)
		status = make_file(of, KP_SIDE_AGENT, made, err);
	if (status == KEEP_OK)
		status = put_in_place(made, of->folder, "outbound.db", err);
	return status;
}

static keep_status rebuild_inbound(struct rebuilding *of, keep_error *err)
{
	char made[PATH_MAX], outbound[PATH_MAX + 16];
	keep_status status = make_file(of, KP_SIDE_HOST, made, err);

	snprintf(outbound, sizeof outbound, "%s/outbound.db", of->folder);
	if (status == KEEP_OK)
		status = note(of, made, made, outbound, of->lost_out ? "both" : "inbound", err);
	if (status == KEEP_BUSY && kp_sqlite_recover(outbound, NULL) == KEEP_OK)
		status = note(of, made, made, outbound, of->lost_out ? "both" : "inbound", err);
	if (status == KEEP_OK)
		status = unlink_beside(made, "-guard", err);
	if (status == KEEP_OK)
		status = put_in_place(made, of->folder, "inbound.db", err);
	return status;
}

static keep_status rebuild_folder(struct rebuilding *of, keep_error *err)
{
	char inbound[PATH_MAX + 16];
	keep_status status = kp_session_folder_make(of->mailbox, &of->row, of->folder, err);

	of->made_folder = status == KEEP_OK;
	snprintf(inbound, sizeof inbound, "%s/inbound.db", of->folder);
	return status == KEEP_OK ? note(of, inbound, of->folder, NULL, "both", err) : status;
}

/* ---------------------------------------------------------------- all of it */

static keep_status apply_rebuild(void *ctx, kp_lease *lease, keep_error *err)
{
	struct rebuilding *of = ctx;
	struct stat st;
	bool found = false;
	keep_status status =
		kp_lease_get(lease, KP_MAILBOX_GET_SESSION, KP_VALUES(kp_text_value(of->session)),
			     &kp_session_record, &of->arena, &of->row, &found, err);

	if (status == KEEP_OK && (!found || kp_session_is_removed(of->mailbox, of->session)))
		status = kp_fail(err, KEEP_NOT_FOUND, "session: there is no '%" KP_PRI "'",
				 KP_ARG(of->session));
	if (status == KEEP_OK)
		status = kp_check_segment("agent_group_id", of->row.agent_group_id, err);
	if (status == KEEP_OK)
		status = kp_session_folder(of->mailbox, of->row.agent_group_id, of->session,
					   &of->arena, &of->folder, err);
	if (status != KEEP_OK)
		return status;
	if (lstat(of->folder, &st) != 0 && errno == ENOENT) {
		of->lost_in = of->lost_out = true;
		return rebuild_folder(of, err);
	}
	of->lost_in = is_lost(of->folder, "inbound.db");
	of->lost_out = is_lost(of->folder, "outbound.db");
	if (of->lost_out)
		status = rebuild_outbound(of, err);
	if (status == KEEP_OK && of->lost_in)
		status = rebuild_inbound(of, err);
	return status;
}

keep_status kp_session_rebuild(keep_mailbox *mailbox, keep_bytes session, keep_error *err)
{
	struct rebuilding of = {.mailbox = mailbox, .session = session, .now_ms = kp_clock_ms()};
	keep_status status = kp_registry_change(mailbox, apply_rebuild, &of, err);

	if (of.made_folder)
		kp_session_made(mailbox, &of.row);
	if (status == KEEP_OK && (of.lost_in || of.lost_out))
		kp_log(KEEP_LOG_WARNING,
		       "session %" KP_PRI ": %s was lost and made anew; what was in it is gone",
		       KP_ARG(session),
		       of.lost_in && of.lost_out ? "everything"
		       : of.lost_in              ? "inbound.db"
						 : "outbound.db");
	/* Its bells and files are the old ones. */
	kp_session_discard(mailbox, session);
	kp_arena_release(&of.arena);
	return status;
}

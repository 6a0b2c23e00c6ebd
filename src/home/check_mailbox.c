/*
 * check_mailbox.c - the mailbox: its registry, and every session that it lists.
 *
 * Of a folder each session is two files (check_session.c). Of a server the sessions' tables are in
 * the registry's schema and are looked at as a whole.
 *
 * Invariants:
 *   1. Sessions go in the order of their ids, some hundred at a time: one that is made or removed
 *      meanwhile is no finding.
 *   2. A folder of a session that the registry does not know is told, and never removed: it may be
 *      what is left of a lost registry, or somebody put it there.
 *
 * Tests: tests/contract/test_home_check_stores.c.
 */
#include "home/check_private.h"
#include "keep/mailbox_registry.h"
#include "mailbox/mailbox_private.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { SESSIONS_AT_ONCE = 200, LOOKS = 3, PAUSE_NS = 50000000 };
_Static_assert(sizeof((kp_check_place *)0)->id >= KP_SEGMENT_SIZE, "an id fits");

static const kp_check_rule rules[] = {
	{.find = KP_CHECK_MAILBOX_CLOSED_WITH_ANCHOR,
	 .table = "sessions",
	 .kind = "stale_counter",
	 .sentence = "the session is closed, and messages are still led to it",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .mend = {KP_CHECK_MAILBOX_CLEAR_ANCHORS},
	 .mend_count = 1},
};

struct sessions {
	kp_check_place items[SESSIONS_AT_ONCE];
	size_t count;
	char after[KP_SEGMENT_SIZE];
};

static keep_status take_session(kp_check_unit *unit, struct sessions *sessions, kp_sql_stmt *stmt,
				keep_error *err)
{
	kp_check_place *session = &sessions->items[sessions->count];
	kp_value due = {.is_null = true};
	kp_complaint found = {
		.severity = KEEP_SEVERITY_DAMAGE, .kind = "damaged_row", .table = "sessions"};
	keep_bytes id, group;
	keep_status status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &id, err);

	if (status == KEEP_OK)
		status = kp_sql_column_bytes(stmt, 1, KP_TEXT, &group, err);
	if (status == KEEP_OK)
		status = kp_sql_column(stmt, 2, KP_BOOL, &due, err);
	if (status != KEEP_OK)
		return status;
	found.key = id;
	(void)snprintf(sessions->after, sizeof sessions->after, "%.*s", (int)id.len, id.data);
	if (kp_check_segment("id", id, NULL) != KEEP_OK ||
	    kp_check_segment("agent_group_id", group, NULL) != KEEP_OK)
		return kp_check_found(unit->check, &found, err,
				      "the session's id or its agent group's cannot name a folder");
	(void)snprintf(session->id, sizeof session->id, "%.*s", (int)id.len, id.data);
	(void)snprintf(session->agent_group, sizeof session->agent_group, "%.*s", (int)group.len,
		       group.data);
	session->is_due = !due.is_null && due.integer;
	sessions->count++;
	return KEEP_OK;
}

static keep_status next_sessions(kp_check_unit *unit, struct sessions *sessions, bool *more,
				 keep_error *err)
{
	const kp_value after = kp_text_value(keep_bytes_of(sessions->after));
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	size_t rows = 0;
	keep_status status = kp_check_prepare(unit->conn, KP_CHECK_MAILBOX_SESSIONS_BEHIND, &after,
					      1, &stmt, err);

	sessions->count = 0;
	while (status == KEEP_OK && (status = kp_sql_step(stmt, &has_row, err)) == KEEP_OK &&
	       has_row) {
		rows++;
		status = take_session(unit, sessions, stmt, err);
	}
	kp_sql_finish(&stmt);
	*more = rows == SESSIONS_AT_ONCE;
	return status;
}

static keep_status check_sessions(kp_check_unit *unit, keep_error *err)
{
	kp_home_check *check = unit->check;
	struct sessions *sessions = kp_alloc_zero(sizeof *sessions);
	keep_error why = KEEP_ERROR_INIT;
	bool more = true;
	keep_status status = KEEP_OK;

	if (!sessions)
		return kp_fail_memory(err, "sessions");
	while (status == KEEP_OK && more) {
		kp_check_enter(check, "mailbox", "mailbox/registry.db");
		check->result->files--;
		status = kp_check_unit_renew(unit, &why);
		if (status == KEEP_OK)
			status = next_sessions(unit, sessions, &more, &why);
		if (status != KEEP_OK) {
			status = kp_check_failed(check,
						 &(kp_complaint){.severity = KEEP_SEVERITY_DAMAGE,
								 .kind = "damaged_table",
								 .table = "sessions"},
						 status, &why, err);
			break;
		}
		for (size_t i = 0; i < sessions->count && status == KEEP_OK; i++)
			status = kp_check_session_files(check, &sessions->items[i], unit, err);
	}
	kp_free(sessions);
	return status;
}

/* ---------------------------------------------------------------- folders of nobody */

struct strangers {
	kp_check_unit *registry;
	char group[NAME_MAX + 1];
};

static keep_status is_registered(struct strangers *strangers, const char *name, bool *is,
				 keep_error *err)
{
	kp_check_unit *registry = strangers->registry;
	int64_t count = 0;
	keep_status status =
		kp_home_ask(registry->conn,
			    kp_check_statement(registry->conn, KP_CHECK_MAILBOX_SESSION_IS_THERE),
			    keep_bytes_of(name), &count, err);

	*is = count > 0;
	return status;
}

/* Beside a session's folder is its guard, a file. */
static bool is_folder(const kp_home_check *check, const char *below)
{
	struct stat st;

	return fstatat(check->fd, below, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

/* While one is made its folder is there before its row (session_template.c), and while one is
   removed the folder goes first: so only what stays is a finding. */
static keep_status is_strange(struct strangers *strangers, const char *name, bool *is,
			      keep_error *err)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};
	char path[PATH_MAX];
	bool is_known = false, is_there = true, is_made = false;
	keep_status status = KEEP_OK;

	*is = true;
	if (kp_check_segment("id", keep_bytes_of(name), NULL) != KEEP_OK)
		return KEEP_OK;
	for (int i = 0; i < LOOKS && *is && status == KEEP_OK; i++) {
		if (i) {
			(void)nanosleep(&pause, NULL);
			status = kp_check_unit_renew(strangers->registry, err);
		}
		if (status == KEEP_OK)
			status = is_registered(strangers, name, &is_known, err);
		(void)snprintf(path, sizeof path, "mailbox/sessions/%s/%s", strangers->group, name);
		if (status == KEEP_OK && !is_known)
			status = kp_check_exists(strangers->registry->check, path, &is_there, err);
		(void)snprintf(path, sizeof path, "mailbox/making/%s+", name);
		if (status == KEEP_OK && !is_known)
			status = kp_check_exists(strangers->registry->check, path, &is_made, err);
		*is = !is_known && is_there && !is_made;
	}
	return status;
}

static keep_status look_at_folder(void *ctx, const char *name, keep_error *err)
{
	struct strangers *strangers = ctx;
	kp_complaint found = {.severity = KEEP_SEVERITY_NOTE, .kind = "unknown_folder"};
	char file[PATH_MAX];
	bool is = false;
	keep_status status;

	(void)snprintf(file, sizeof file, "mailbox/sessions/%s/%s", strangers->group, name);
	if (!is_folder(strangers->registry->check, file))
		return KEEP_OK;
	status = is_strange(strangers, name, &is, err);
	if (status == KEEP_OK)
		status = kp_check_tell(strangers->registry->check, "sessions", 0, err);
	if (status != KEEP_OK || !is)
		return status;
	found.file = file;
	return kp_check_found(strangers->registry->check, &found, err,
			      "the registry knows no such session: nobody uses what is in there");
}

static keep_status look_at_group(void *ctx, const char *name, keep_error *err)
{
	struct strangers *strangers = ctx;
	kp_home_check *check = strangers->registry->check;
	char path[PATH_MAX];
	keep_error why = KEEP_ERROR_INIT;
	keep_status status;

	(void)snprintf(path, sizeof path, "mailbox/sessions/%s", name);
	if (!is_folder(check, path))
		return KEEP_OK;
	(void)snprintf(strangers->group, sizeof strangers->group, "%s", name);
	if (snprintf(path, sizeof path, "%s/mailbox/sessions/%s", check->folder, name) >=
	    (int)sizeof path)
		return kp_fail(err, KEEP_INVALID, "the path of a folder of sessions is too long");
	status = kp_home_each_name(path, look_at_folder, strangers, &why);
	return kp_check_failed(check,
			       &(kp_complaint){.severity = KEEP_SEVERITY_DAMAGE,
					       .kind = "damaged_file",
					       .file = path + strlen(check->folder) + 1},
			       status, &why, err);
}

/* Invariant 2. */
static keep_status check_strangers(kp_check_unit *unit, keep_error *err)
{
	struct strangers strangers = {.registry = unit};
	char path[PATH_MAX];
	keep_status status = kp_check_path(unit->check, "mailbox/sessions", path, err);

	kp_check_enter(unit->check, "mailbox", "mailbox/sessions");
	unit->check->result->files--;
	if (status == KEEP_OK)
		status = kp_check_unit_renew(unit, err);
	return status == KEEP_OK ? kp_home_each_name(path, look_at_group, &strangers, err) : status;
}

/* ---------------------------------------------------------------- all of it */

static keep_status check_of_folder(kp_check_unit *unit, keep_error *err)
{
	keep_status status = check_sessions(unit, err);

	/* What a damaged registry says of folders is worth nothing. */
	return status == KEEP_OK && !unit->is_damaged ? check_strangers(unit, err) : status;
}

static keep_status check_open(kp_check_unit *unit, keep_error *err)
{
	bool is_known = false;
	keep_status status = kp_check_version(unit, "mailbox", &is_known, err);

	if (status != KEEP_OK || !is_known)
		return status;
	status = kp_check_indexes(unit, err);
	if (status == KEEP_OK)
		status = kp_check_tables(unit, kp_mailbox_records, KP_MAILBOX_RECORD_COUNT, NULL,
					 err);
	if (status == KEEP_OK)
		status = kp_check_rules(unit, rules, KP_COUNT(rules), err);
	if (status != KEEP_OK)
		return status;
	return unit->check->is_server ? kp_check_sessions_of_server(unit, err)
				      : check_of_folder(unit, err);
}

keep_status kp_check_mailbox(kp_home_check *check, keep_error *err)
{
	static const char *const traces[] = {"mailbox/sessions", NULL};
	kp_check_unit unit = {
		.check = check, .schema = "mailbox", .turn = KP_CHECK_MAILBOX_TAKE_TURN + 1};
	bool there = false, is_open = false;
	keep_status status =
		kp_check_is_there(check, "mailbox", "mailbox/registry.db", traces, &there, err);

	if (status != KEEP_OK || !there)
		return status;
	status = kp_check_pages(check, &unit.is_damaged, err);
	if (status == KEEP_OK)
		status = kp_check_unit_open(&unit, &is_open, err);
	if (status == KEEP_OK && is_open)
		status = check_open(&unit, err);
	kp_check_unit_close(&unit);
	return status;
}

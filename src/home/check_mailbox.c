/*
 * check_mailbox.c - the mailbox: its registry, and every session that it lists.
 *
 * Of a folder each session is two files (check_session.c). Of a server the sessions' tables are in
 * the registry's schema and are looked at as a whole.
 *
 * Invariants:
 *   1. Sessions go in the order of their ids, some hundred at a time: one that is made or removed
 *      meanwhile is no finding.
 *
 * Tests: tests/contract/test_home_check_stores.c.
 */
#include "home/check_private.h"
#include "keep/mailbox_registry.h"
#include "mailbox/mailbox_private.h"

#include <stdio.h>
#include <string.h>

enum { SESSIONS_AT_ONCE = 200 };
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
				      : check_sessions(unit, err);
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

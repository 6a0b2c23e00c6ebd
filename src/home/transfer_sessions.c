/*
 * transfer_sessions.c - the mailbox's sessions: two files each here, rows under their id there.
 *
 *     a folder   mailbox/sessions/<agent group>/<session>/inbound.db and outbound.db
 *     a server   the tables of both in the schema mailbox, with session_id in front
 *
 * The registry's rows were copied before, so the target knows its sessions already. A session's
 * folder is made as the mailbox makes every one: whole, under another name, and renamed.
 *
 * Invariants:
 *   1. Sessions go in the order of their ids, some hundred ids at a time.
 *   2. The one row with which a new side begins is not taken for the source's: it is emptied before
 *      it is copied, each time.
 *   3. An agent's side that another program made (only the source's tables) is CONFLICT, and a
 *      session without its files CORRUPT, each with the session's name.
 *
 * What it does not do: carry files of messages, for which a server has no place.
 *
 * Tests: tests/contract/test_transfer_home.c.
 */
#include "home/home_private.h"
#include "mailbox/mailbox_private.h"

#include <stdio.h>

enum { SESSIONS_AT_ONCE = 200 };

/* Rows lie in the order of their numbers. */
static const kp_home_order session_orders[] = {
	{.record = &kp_inbound_message_record, .columns = {"seq"}},
	{.record = &kp_outbound_message_record, .columns = {"seq"}},
	{.record = NULL},
};

/* One session of the registry. */
struct place {
	char id[KP_SEGMENT_SIZE], agent_group[KP_SEGMENT_SIZE];
};

struct sessions {
	kp_home_transfer *transfer;
	keep_mailbox *mailbox; /* the target's, when that is a folder */
	kp_home_tables inbound, outbound;
	struct place places[SESSIONS_AT_ONCE];
	size_t count;
};

/* ---------------------------------------------------------------- which there are */

static keep_status take_place(struct sessions *sessions, kp_sql_stmt *stmt, keep_error *err)
{
	struct place *place = &sessions->places[sessions->count];
	keep_bytes id, group;
	keep_status status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &id, err);

	if (status == KEEP_OK)
		status = kp_sql_column_bytes(stmt, 1, KP_TEXT, &group, err);
	if (status == KEEP_OK)
		status = kp_check_segment("sessions.id", id, err);
	if (status == KEEP_OK)
		status = kp_check_segment("sessions.agent_group_id", group, err);
	if (status != KEEP_OK)
		return status == KEEP_INVALID && err ? (err->status = KEEP_CORRUPT) : status;
	(void)snprintf(place->id, sizeof place->id, "%.*s", (int)id.len, id.data);
	(void)snprintf(place->agent_group, sizeof place->agent_group, "%.*s", (int)group.len,
		       group.data);
	sessions->count++;
	return KEEP_OK;
}

/* The next ones behind `after`. */
static keep_status list_places(struct sessions *sessions, const char *after, keep_error *err)
{
	static const char *const texts[KP_DIALECT_COUNT] = {
		[KP_DIALECT_SQLITE] = "SELECT id, agent_group_id FROM sessions WHERE id > $1 "
				      "ORDER BY id LIMIT 200",
		[KP_DIALECT_POSTGRES] = "SELECT id, agent_group_id FROM mailbox.sessions WHERE id "
					"COLLATE \"C\" > $1 "
					"ORDER BY id COLLATE \"C\" LIMIT 200",
	};
	_Static_assert(SESSIONS_AT_ONCE == 200, "the texts say so");
	kp_home_database registry = {.conn = NULL};
	kp_sql_stmt *stmt = NULL;
	bool has_row = true;
	keep_status status = kp_home_database_open(&sessions->transfer->from, "mailbox/registry.db",
						   NULL, "mailbox", false, &registry, err);

	sessions->count = 0;
	if (status == KEEP_OK)
		status = kp_sql_prepare(registry.conn, texts[registry.conn->driver->dialect], &stmt,
					err);
	if (status == KEEP_OK)
		status = kp_sql_bind_text(stmt, 1, keep_bytes_of(after), err);
	while (status == KEEP_OK) {
		status = kp_sql_step(stmt, &has_row, err);
		if (status != KEEP_OK || !has_row)
			break;
		status = take_place(sessions, stmt, err);
	}
	kp_sql_finish(&stmt);
	kp_home_database_close(&registry);
	return status;
}

/* ---------------------------------------------------------------- one side of one session */

static keep_status open_side(const kp_home_side *of, const struct place *place, const char *name,
			     bool is_target, kp_home_database *out, keep_error *err)
{
	char folder[PATH_MAX], file[2 * KP_SEGMENT_SIZE + 64];

	(void)snprintf(file, sizeof file, "mailbox/sessions/%s/%s/%s", place->agent_group,
		       place->id, name);
	if (!of->is_server &&
	    snprintf(folder, sizeof folder, "%s/mailbox/sessions/%s/%s", of->folder,
		     place->agent_group, place->id) >= (int)sizeof folder)
		return kp_fail(err, KEEP_INVALID, "the path '%.100s...' is too long", of->folder);
	return kp_home_database_open(of, file, folder, "mailbox", is_target, out, err);
}

static kp_transfer_end end_of(const kp_home_database *database, const struct place *place)
{
	kp_transfer_end end = {.conn = database->conn, .schema = database->schema};

	if (database->schema)
		end.scope = keep_bytes_of(place->id);
	return end;
}

static keep_status check_ours(const kp_home_database *from, enum kp_side_kind side, keep_error *err)
{
	bool is_plain = false;
	keep_status status = KEEP_OK;

	if (!from->is_own)
		return KEEP_OK;
	status = kp_plain_look(from->conn, "main", side, &is_plain, err);
	if (status == KEEP_OK && is_plain)
		status = kp_fail(err, KEEP_CONFLICT,
				 "it is another program's, which Keep's agent has never opened");
	return status;
}

static keep_status copy_side(struct sessions *sessions, const struct place *place,
			     enum kp_side_kind side, keep_error *err)
{
	const kp_home_tables *tables =
		side == KP_SIDE_HOST ? &sessions->inbound : &sessions->outbound;
	const char *name = side == KP_SIDE_HOST ? "inbound.db" : "outbound.db";
	kp_home_transfer *transfer = sessions->transfer;
	kp_home_database from = {.conn = NULL}, to = {.conn = NULL};
	kp_transfer_end source, target;
	keep_status status = open_side(&transfer->from, place, name, false, &from, err);

	if (status == KEEP_NOT_FOUND)
		status = kp_fail(err, KEEP_CORRUPT, "%s is missing", name);
	if (status == KEEP_OK)
		status = check_ours(&from, side, err);
	if (status == KEEP_OK)
		status = open_side(&transfer->to, place, name, true, &to, err);
	source = end_of(&from, place);
	target = end_of(&to, place);
	if (status == KEEP_OK)
		status = kp_home_unit(transfer, "mailbox", tables, &source, &target, err);
	kp_home_database_close(&to);
	kp_home_database_close(&from);
	return status == KEEP_OK ? status
				 : kp_prefix(err, status, "session '%s', %s", place->id, name);
}

static keep_status make_folder(struct sessions *sessions, const struct place *place,
			       keep_error *err)
{
	keep_session session = {
		.id = keep_bytes_of(place->id),
		.agent_group_id = keep_bytes_of(place->agent_group),
		.status = KEEP_BYTES("active"), /* the row that is copied says better */
	};
	kp_arena arena = {.head = NULL};
	char *folder = NULL;
	keep_status status;

	if (!sessions->mailbox)
		return KEEP_OK;
	status = kp_session_folder(sessions->mailbox, session.agent_group_id, session.id, &arena,
				   &folder, err);
	if (status == KEEP_OK)
		status = kp_session_folder_make(sessions->mailbox, &session, folder, err);
	if (status == KEEP_OK)
		kp_session_made(sessions->mailbox, &session);
	kp_arena_release(&arena);
	return status == KEEP_OK ? status : kp_prefix(err, status, "session '%s'", place->id);
}

/* ---------------------------------------------------------------- all of them */

static keep_status open_target(struct sessions *sessions, keep_error *err)
{
	keep_mailbox_options options = KEEP_MAILBOX_OPTIONS_INIT;
	keep_buffer url = KEEP_BUFFER_INIT;
	keep_status status;

	if (sessions->transfer->to.is_server)
		return KEEP_OK;
	status = kp_home_store_url(&sessions->transfer->to, "mailbox", "", &url, err);
	if (status == KEEP_OK)
		status = keep_mailbox_open(url.data, &options, &sessions->mailbox, err);
	keep_buffer_release(&url);
	return status;
}

static keep_status copy_places(struct sessions *sessions, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < sessions->count && status == KEEP_OK; i++) {
		status = make_folder(sessions, &sessions->places[i], err);
		if (status == KEEP_OK)
			status = copy_side(sessions, &sessions->places[i], KP_SIDE_HOST, err);
		if (status == KEEP_OK)
			status = copy_side(sessions, &sessions->places[i], KP_SIDE_AGENT, err);
		if (status == KEEP_OK)
			kp_moment("transfer.session");
	}
	return status;
}

keep_status kp_home_sessions_copy(kp_home_transfer *transfer, keep_error *err)
{
	struct sessions *sessions = NULL;
	char after[KP_SEGMENT_SIZE] = "";
	bool has = false;
	keep_status status = kp_home_has(&transfer->from, "mailbox/registry.db", "mailbox",
					 "messages_in", &has, err);

	if (status != KEEP_OK || !has)
		return status;
	sessions = kp_alloc_zero(sizeof *sessions);
	if (!sessions)
		return kp_fail_memory(err, "a transfer");
	transfer->store = "mailbox";
	sessions->transfer = transfer;
	kp_home_tables_fill(&sessions->inbound, "mailbox_inbound", kp_mailbox_inbound_records,
			    KP_MAILBOX_INBOUND_RECORD_COUNT, session_orders, NULL, "session_id");
	kp_home_tables_fill(&sessions->outbound, "mailbox_outbound", kp_mailbox_outbound_records,
			    KP_MAILBOX_OUTBOUND_RECORD_COUNT, session_orders, NULL, "session_id");
	sessions->inbound.seeded_count = sessions->outbound.seeded_count = 1;
	status = open_target(sessions, err);
	do {
		if (status == KEEP_OK)
			status = list_places(sessions, after, err);
		if (status == KEEP_OK)
			status = copy_places(sessions, err);
		if (status == KEEP_OK && sessions->count)
			memcpy(after, sessions->places[sessions->count - 1].id, sizeof after);
	} while (status == KEEP_OK && sessions->count == SESSIONS_AT_ONCE);
	keep_mailbox_close(&sessions->mailbox);
	kp_free(sessions);
	return status;
}

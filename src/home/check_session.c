/*
 * check_session.c - one session of the mailbox: its two files, their rows, the files of its
 * messages, and what it holds.
 *
 * The agent's side may be another program's, which knows only the source's tables: of such a file
 * the pages and the structure are looked at, and nothing else.
 *
 * Invariants:
 *   1. A session that is removed meanwhile is no finding: what seems to be missing is looked for
 *      again, after the registry was asked again.
 *   2. The two files are of two moments. What one says of the other is a finding only when it is
 *      there in several looks (check_rules.c).
 *   3. A file of a message is missing only when the message stays.
 *   4. What a session holds is given back by the mailbox itself (kp_session_sweep).
 *
 * Tests: tests/contract/test_home_check_stores.c.
 */
#include "home/check_private.h"
#include "keep/mailbox_registry.h"
#include "mailbox/mailbox_private.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { PAUSE_NS = 50000000, LOOKS = 3 };
#define MISSING_FILE "missing_file"

static const kp_check_lease leases[] = {
	{.find = KP_CHECK_SESSION_CLAIMS, .table = "processing_ack", .what = "the message"},
	{.find = KP_CHECK_SESSION_DELIVERIES, .table = "delivered", .what = "the delivery"},
};

static const kp_check_rule rules[] = {
	{.find = KP_CHECK_SESSION_BAD_IN,
	 .table = "messages_in",
	 .kind = "bad_number",
	 .sentence = "a message to the agent has no even number",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .has_numbers = true,
	 .reads_all = true},
	{.find = KP_CHECK_SESSION_BAD_OUT,
	 .table = "messages_out",
	 .kind = "bad_number",
	 .sentence = "a message of the agent has no odd number",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .has_numbers = true,
	 .reads_all = true},
	{.find = KP_CHECK_SESSION_OUTGOING_WITHOUT_MESSAGE,
	 .table = "outgoing",
	 .kind = "broken_reference",
	 .sentence = "a message that is to be delivered is not there any more",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .may_pass = true},
	{.find = KP_CHECK_SESSION_WITHOUT_HOST,
	 .table = "session_host",
	 .kind = "damaged_row",
	 .sentence = "the session has lost the row in which the host remembers how far it is",
	 .severity = KEEP_SEVERITY_DAMAGE,
	 .may_pass = true},
};

/* Of a server alone: a folder's is compared by itself. */
static const kp_check_rule server_rules[] = {
	{.find = KP_CHECK_SESSION_ASLEEP,
	 .table = "sessions",
	 .kind = "stale_counter",
	 .sentence = "the session is marked as due, and the registry has no time for it",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .mend = {KP_CHECK_SESSION_WAKE_ALL},
	 .mend_count = 1},
};

/* One session that is looked at. */
struct looking {
	kp_home_check *check;
	const kp_check_place *session;
	kp_check_unit *registry;
	char folder[PATH_MAX], below[PATH_MAX];     /* the session's, whole and below the home */
	char inbound[PATH_MAX], outbound[PATH_MAX]; /* below the home */
	char beside[PATH_MAX];                      /* outbound.db, whole */
	bool lacks_files;                           /* one was found missing: it is no prune */
};

/* ---------------------------------------------------------------- is it there? */

/* Invariant 1. */
static keep_status is_registered(struct looking *looking, bool *is, keep_error *err)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};
	int64_t count = 0;
	keep_status status;

	(void)nanosleep(&pause, NULL);
	status = kp_check_unit_renew(looking->registry, err);
	if (status == KEEP_OK)
		status = kp_home_ask(looking->registry->conn,
				     kp_check_statement(looking->registry->conn,
							KP_CHECK_MAILBOX_SESSION_IS_THERE),
				     keep_bytes_of(looking->session->id), &count, err);
	*is = count > 0;
	return status;
}

static keep_status check_file_is_there(struct looking *looking, const char *name, bool *there,
				       keep_error *err)
{
	kp_complaint found = {.severity = KEEP_SEVERITY_DAMAGE, .kind = MISSING_FILE};
	bool is = false;
	keep_status status = kp_check_exists(looking->check, name, there, err);

	if (status != KEEP_OK || *there)
		return status;
	status = is_registered(looking, &is, err);
	if (status == KEEP_OK && is)
		status = kp_check_exists(looking->check, name, there, err);
	if (status != KEEP_OK || !is || *there)
		return status;
	return kp_check_found(
		looking->check, &found, err,
		"the session's %s is missing; what was in it is lost, and its next use "
		"makes a new one",
		strrchr(name, '/') + 1);
}

/* ---------------------------------------------------------------- files of messages */

/* Files go before the rows of their messages (session_prune.c): whose row goes, too, lacks nothing.
   A connection of its own: the rows are being read. */
static keep_status stays(struct looking *looking, bool is_inbound, keep_bytes id, bool *is,
			 keep_error *err)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};
	kp_check_unit unit = {.check = looking->check, .guard = looking->folder};
	int64_t count = 1;
	bool is_open = false;
	keep_status status = kp_check_unit_open(&unit, &is_open, err);

	for (int i = 0; i < LOOKS && is_open && count && status == KEEP_OK; i++) {
		if (i && !looking->lacks_files) {
			(void)nanosleep(&pause, NULL);
			status = kp_check_unit_renew(&unit, err);
		}
		if (status == KEEP_OK)
			status = kp_home_ask(
				unit.conn,
				kp_check_statement(unit.conn,
						   is_inbound ? KP_CHECK_SESSION_HAS_INBOUND
							      : KP_CHECK_SESSION_HAS_OUTBOUND),
				id, &count, err);
	}
	kp_check_unit_close(&unit);
	*is = count > 0;
	looking->lacks_files = looking->lacks_files || *is;
	return status;
}

static keep_status check_attachment(struct looking *looking, bool is_inbound, keep_bytes id,
				    keep_bytes name, keep_error *err)
{
	const char *table = is_inbound ? "messages_in" : "messages_out";
	const char *box = is_inbound ? "inbox" : "outbox";
	kp_complaint found = {
		.severity = KEEP_SEVERITY_DAMAGE, .kind = MISSING_FILE, .table = table, .key = id};
	char path[PATH_MAX];
	bool exists = true, is_missing = false;
	keep_status status;

	if (kp_check_file_name("file", name, NULL) != KEEP_OK ||
	    kp_check_segment("id", id, NULL) != KEEP_OK ||
	    snprintf(path, sizeof path, "%s/%s/%.*s/%.*s", looking->below, box, (int)id.len,
		     id.data, (int)name.len, name.data) >= (int)sizeof path)
		return KEEP_OK;
	status = kp_check_exists(looking->check, path, &exists, err);
	if (status == KEEP_OK && !exists)
		status = stays(looking, is_inbound, id, &is_missing, err);
	if (status != KEEP_OK || !is_missing)
		return status;
	found.file = path;
	return kp_check_found(looking->check, &found, err, "a file of a message is missing");
}

/* content.files: in the outbox, as long as the message is there. */
static keep_status check_sent(void *ctx, const void *object, keep_error *err)
{
	const keep_outbound_message *message = object;
	kp_arena arena = {.head = NULL};
	const kp_json *content = NULL, *files = NULL;
	keep_status status = kp_json_parse(message->content, &arena, &content, NULL);

	if (status == KEEP_OK)
		files = kp_json_member(content, "files");
	status = status == KEEP_NO_MEMORY ? kp_fail_memory(err, "a content") : KEEP_OK;
	for (size_t i = 0; files && files->kind == KP_JSON_ARRAY && i < files->list.count; i++)
		if (files->list.items[i].kind == KP_JSON_TEXT && status == KEEP_OK)
			status = check_attachment(ctx, false, message->id,
						  files->list.items[i].text, err);
	kp_arena_release(&arena);
	return status;
}

/* attachments[].localPath: "inbox/<id>/<name>". */
static keep_status check_received(void *ctx, const void *object, keep_error *err)
{
	const keep_inbound_message *message = object;
	kp_arena arena = {.head = NULL};
	const kp_json *content = NULL, *list = NULL;
	keep_status status = kp_json_parse(message->content, &arena, &content, NULL);

	if (status == KEEP_OK)
		list = kp_json_member(content, "attachments");
	status = status == KEEP_NO_MEMORY ? kp_fail_memory(err, "a content") : KEEP_OK;
	for (size_t i = 0; list && list->kind == KP_JSON_ARRAY && i < list->list.count; i++) {
		const kp_json *item = &list->list.items[i];
		const kp_json *path = kp_json_member(item, "localPath");
		const kp_json *name = kp_json_member(item, "name");

		if (status == KEEP_OK && path && path->kind == KP_JSON_TEXT && name &&
		    name->kind == KP_JSON_TEXT && path->text.len > 6 &&
		    memcmp(path->text.data, "inbox/", 6) == 0)
			status = check_attachment(ctx, true, message->id, name->text, err);
	}
	kp_arena_release(&arena);
	return status;
}

/* ---------------------------------------------------------------- leases */

static keep_status sweep(kp_home_check *check, keep_bytes id, keep_error *err)
{
	keep_mailbox_options options = KEEP_MAILBOX_OPTIONS_INIT;
	keep_buffer url = KEEP_BUFFER_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_mailbox *mailbox = NULL;
	keep_session row;
	kp_swept swept;
	keep_status status =
		check->is_server
			? kp_buffer_append_format(&url, err, "%s%sschema=mailbox", check->home,
						  strchr(check->home, '?') ? "&" : "?")
			: kp_buffer_append_format(&url, err, "sqlite:%s/mailbox", check->folder);

	options.timeout_ms = check->options.timeout_ms;
	if (status == KEEP_OK)
		status = keep_mailbox_open(url.data, &options, &mailbox, err);
	if (status == KEEP_OK)
		status = keep_mailbox_get_session(mailbox, id, &memory, &row, err);
	if (status == KEEP_OK)
		status = kp_session_sweep(mailbox, &row, check->now_ms, &swept, err);
	keep_mailbox_close(&mailbox);
	keep_memory_release(&memory);
	keep_buffer_release(&url);
	return status == KEEP_NOT_FOUND ? KEEP_OK : status; /* it was removed */
}

static keep_status note_mended(kp_check_unit *unit, size_t from, keep_error *err)
{
	int64_t still = 0;
	keep_status status = kp_check_unit_renew(unit, err);

	if (status == KEEP_OK)
		status = kp_check_count_orphans(unit, leases, KP_COUNT(leases), &still, err);
	if (status == KEEP_OK && !still)
		kp_check_mended(unit->check, KP_ORPHANED_LEASE, NULL, from);
	return status;
}

static keep_status check_held(struct looking *looking, kp_check_unit *unit, keep_error *err)
{
	kp_home_check *check = looking->check;
	size_t from = check->result->count;
	int64_t orphans = 0;
	keep_status status = kp_check_leases(unit, leases, KP_COUNT(leases), &orphans, err);

	if (status != KEEP_OK || !orphans || !check->options.repair || unit->is_damaged)
		return status;
	kp_sql_rollback(unit->conn);
	status = sweep(check, keep_bytes_of(looking->session->id), err);
	return status == KEEP_OK ? note_mended(unit, from, err) : status;
}

/* ---------------------------------------------------------------- asleep though it is due */

struct waking {
	int64_t now_ms;
	const char *id;
};

static keep_status apply_wake(void *ctx, kp_sql_conn *conn, keep_error *err)
{
	const struct waking *waking = ctx;
	const kp_value values[] = {kp_time_value(waking->now_ms),
				   kp_text_value(keep_bytes_of(waking->id))};

	return kp_check_run(conn, KP_CHECK_MAILBOX_WAKE_SESSION, values, 2, err);
}

static keep_status is_asleep(struct looking *looking, kp_check_unit *unit, bool *is,
			     keep_error *err)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};
	int64_t marked = 1, due = 0;
	keep_status status = KEEP_OK;

	/* The file first, then the registry, whose time is set before a mark is. */
	for (int i = 0; i < 3 && marked && !due && status == KEEP_OK; i++) {
		if (i)
			(void)nanosleep(&pause, NULL);
		status = kp_check_unit_renew(unit, err);
		if (status == KEEP_OK)
			status = kp_check_ask(unit->conn, KP_CHECK_SESSION_IS_MARKED, &marked, err);
		if (status == KEEP_OK && marked)
			status = kp_check_unit_renew(looking->registry, err);
		if (status == KEEP_OK && marked)
			status = kp_home_ask(looking->registry->conn,
					     kp_check_statement(looking->registry->conn,
								KP_CHECK_MAILBOX_SESSION_IS_DUE),
					     keep_bytes_of(looking->session->id), &due, err);
	}
	*is = marked && !due;
	return status;
}

static keep_status check_marks(struct looking *looking, kp_check_unit *unit, keep_error *err)
{
	kp_home_check *check = looking->check;
	struct waking waking = {check->now_ms, looking->session->id};
	kp_complaint found = {.severity = KEEP_SEVERITY_INCONSISTENCY,
			      .kind = "stale_counter",
			      .file = "mailbox/registry.db",
			      .table = "sessions",
			      .key = keep_bytes_of(looking->session->id),
			      .can_repair = true};
	size_t from = check->result->count;
	const char *file = check->file;
	bool is = false, there = false;
	keep_status status = KEEP_OK;

	if (!looking->session->is_due)
		status = is_asleep(looking, unit, &is, err);
	if (status == KEEP_OK && is)
		status = is_registered(looking, &there, err);
	if (status != KEEP_OK || !is || !there)
		return status;
	kp_check_next(check);
	status =
		kp_check_found(check, &found, err,
			       "the session is marked as due, and the registry has no time for it");
	if (status != KEEP_OK || !check->options.repair || looking->registry->is_damaged)
		return status;
	check->file = "mailbox/registry.db";
	status = kp_check_write(looking->registry, apply_wake, &waking, err);
	check->file = file;
	if (status == KEEP_OK)
		kp_check_mended(check, "stale_counter", "sessions", from);
	return status;
}

/* ---------------------------------------------------------------- the two files */

static keep_status look_at_tables(struct looking *looking, kp_check_unit *unit,
				  enum kp_side_kind kind, keep_error *err)
{
	const kp_check_rows of_host[] = {
		{.record = &kp_inbound_message_record, .row = check_received, .ctx = looking},
		{.record = NULL},
	};
	const kp_check_rows of_agent[] = {
		{.record = &kp_outbound_message_record, .row = check_sent, .ctx = looking},
		{.record = NULL},
	};
	bool is_host = kind == KP_SIDE_HOST;

	return kp_check_tables(unit,
			       is_host ? kp_mailbox_inbound_records : kp_mailbox_outbound_records,
			       is_host ? (size_t)KP_MAILBOX_INBOUND_RECORD_COUNT
				       : (size_t)KP_MAILBOX_OUTBOUND_RECORD_COUNT,
			       is_host ? of_host : of_agent, err);
}

/* One file by itself; *is_ours: it has Keep's tables. */
static keep_status check_side(struct looking *looking, enum kp_side_kind kind, bool *is_ours,
			      bool *is_damaged, keep_error *err)
{
	kp_home_check *check = looking->check;
	const char *file = kind == KP_SIDE_HOST ? looking->inbound : looking->outbound;
	kp_check_unit unit = {.check = check, .guard = looking->folder};
	bool there = false, is_open = false, is_plain = false;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status;

	*is_ours = false;
	kp_check_enter(check, "mailbox", file);
	status = check_file_is_there(looking, file, &there, err);
	if (status != KEEP_OK || !there)
		return status;
	status = kp_check_pages(check, &unit.is_damaged, err);
	if (status == KEEP_OK)
		status = kp_check_unit_open(&unit, &is_open, err);
	if (status == KEEP_OK && is_open)
		status = kp_check_indexes(&unit, err);
	if (status == KEEP_OK && is_open) {
		status = kp_plain_look(unit.conn, "main", kind, &is_plain, &why);
		*is_ours = status == KEEP_OK && !is_plain;
		status = kp_check_failed(
			check,
			&(kp_complaint){.severity = KEEP_SEVERITY_DAMAGE, .kind = "damaged_file"},
			status, &why, err);
	}
	if (status == KEEP_OK && *is_ours)
		status = look_at_tables(looking, &unit, kind, err);
	*is_damaged = unit.is_damaged;
	kp_check_unit_close(&unit);
	return status;
}

/* What they say of each other. */
static keep_status check_both(struct looking *looking, bool is_damaged, keep_error *err)
{
	kp_home_check *check = looking->check;
	kp_check_unit unit = {.check = check,
			      .guard = looking->folder,
			      .beside = looking->beside,
			      .is_damaged = is_damaged};
	bool is_open = false;
	keep_status status;

	check->file = looking->inbound;
	status = kp_check_unit_open(&unit, &is_open, err);
	if (status == KEEP_OK && is_open)
		status = check_held(looking, &unit, err);
	if (status == KEEP_OK && is_open)
		status = kp_check_rules(&unit, rules, KP_COUNT(rules), err);
	if (status == KEEP_OK && is_open && !is_damaged)
		status = check_marks(looking, &unit, err);
	kp_check_unit_close(&unit);
	return status;
}

static keep_status set_paths(struct looking *looking, keep_error *err)
{
	const kp_check_place *session = looking->session;

	if (snprintf(looking->below, sizeof looking->below, "mailbox/sessions/%s/%s",
		     session->agent_group, session->id) >= (int)sizeof looking->below ||
	    snprintf(looking->inbound, sizeof looking->inbound, "mailbox/sessions/%s/%s/inbound.db",
		     session->agent_group, session->id) >= (int)sizeof looking->inbound ||
	    snprintf(looking->outbound, sizeof looking->outbound,
		     "mailbox/sessions/%s/%s/outbound.db", session->agent_group,
		     session->id) >= (int)sizeof looking->outbound)
		return kp_fail(err, KEEP_INVALID, "a session's path is too long");
	if (snprintf(looking->folder, sizeof looking->folder, "%s/mailbox/sessions/%s/%s",
		     looking->check->folder, session->agent_group,
		     session->id) >= (int)sizeof looking->folder)
		return kp_fail(err, KEEP_INVALID, "a session's path is too long");
	return kp_check_path(looking->check, looking->outbound, looking->beside, err);
}

keep_status kp_check_session_files(kp_home_check *check, const kp_check_place *session,
				   kp_check_unit *registry, keep_error *err)
{
	struct looking *looking = kp_alloc_zero(sizeof *looking);
	bool host_is_ours = false, agent_is_ours = false, bad_host = false, bad_agent = false;
	keep_status status;

	if (!looking)
		return kp_fail_memory(err, "a session");
	looking->check = check;
	looking->session = session;
	looking->registry = registry;
	status = set_paths(looking, err);
	if (status == KEEP_OK)
		status = check_side(looking, KP_SIDE_HOST, &host_is_ours, &bad_host, err);
	if (status == KEEP_OK)
		status = check_side(looking, KP_SIDE_AGENT, &agent_is_ours, &bad_agent, err);
	if (status == KEEP_OK && host_is_ours && agent_is_ours)
		status = check_both(looking, bad_host || bad_agent, err);
	check->file = "mailbox/registry.db"; /* what was entered lives here */
	kp_free(looking);
	return status;
}

/* ---------------------------------------------------------------- of a server */

static keep_status sweep_holders(kp_check_unit *unit, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	kp_sql_stmt *stmt = NULL;
	keep_bytes *ids = NULL;
	size_t count = 0;
	bool has_row = false;
	keep_status status =
		kp_check_prepare(unit->conn, KP_CHECK_SESSION_HOLDING, NULL, 0, &stmt, err);

	while (status == KEEP_OK && (status = kp_sql_step(stmt, &has_row, err)) == KEEP_OK &&
	       has_row) {
		keep_bytes id, *grown = kp_realloc(ids, (count + 1) * sizeof *ids);

		if (!grown) {
			status = kp_fail_memory(err, "sessions");
			break;
		}
		ids = grown;
		status = kp_sql_column_bytes(stmt, 0, KP_TEXT, &id, err);
		if (status == KEEP_OK)
			status = kp_arena_copy(&arena, id, &ids[count++], err);
	}
	kp_sql_finish(&stmt);
	kp_sql_rollback(unit->conn);
	for (size_t i = 0; i < count && status == KEEP_OK; i++)
		status = sweep(unit->check, ids[i], err);
	kp_free(ids);
	kp_arena_release(&arena);
	return status;
}

keep_status kp_check_sessions_of_server(kp_check_unit *unit, keep_error *err)
{
	size_t from = unit->check->result->count;
	int64_t orphans = 0;
	keep_status status = kp_check_tables(unit, kp_mailbox_inbound_records,
					     KP_MAILBOX_INBOUND_RECORD_COUNT, NULL, err);

	if (status == KEEP_OK)
		status = kp_check_tables(unit, kp_mailbox_outbound_records,
					 KP_MAILBOX_OUTBOUND_RECORD_COUNT, NULL, err);
	if (status == KEEP_OK)
		status = kp_check_leases(unit, leases, KP_COUNT(leases), &orphans, err);
	if (status == KEEP_OK && orphans && unit->check->options.repair) {
		status = sweep_holders(unit, err);
		if (status == KEEP_OK)
			status = note_mended(unit, from, err);
	}
	if (status == KEEP_OK)
		status = kp_check_rules(unit, rules, KP_COUNT(rules), err);
	return status == KEEP_OK ? kp_check_rules(unit, server_rules, KP_COUNT(server_rules), err)
				 : status;
}

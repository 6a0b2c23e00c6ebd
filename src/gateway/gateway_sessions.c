/*
 * gateway_sessions.c - which session of an agent goes on where, the log of its runs, and what a
 * router remembers.
 *
 * Invariants:
 *   1. A folder's topic has one session: setting it is one upsert.
 *   2. A run ends once: its end is a compare-and-set on "has not ended". The same end again changes
 *      nothing and is OK, another one is a CONFLICT.
 *   3. The log's order is that of its numbers, which the database gives out in the order of the
 *      writers' transactions.
 *
 * What it does not do: start or stop an agent; know whether a session still exists there.
 *
 * Tests: tests/contract/test_gateway_sessions.c, tests/torture/test_gateway_groups_faults.c.
 */
#include "gateway/gateway_private.h"

#include <string.h>

/* ---------------------------------------------------------------- sessions */

static keep_status check_place(keep_bytes folder, keep_bytes topic, keep_error *err)
{
	keep_status status = kp_check_folder("group_folder", folder, err);

	if (status == KEEP_OK)
		status =
			kp_check_text("topic", topic, KEEP_GATEWAY_TEXT_MAX, KP_MAY_BE_ABSENT, err);
	return status;
}

keep_status keep_gateway_get_session(keep_gateway *gateway, keep_bytes folder, keep_bytes topic,
				     keep_memory *memory, keep_agent_session *out, keep_error *err)
{
	keep_status status = check_place(folder, topic, err);
	keep_agent_session session;
	bool found = false;

	topic = kp_text_or(topic, "");
	if (status == KEEP_OK)
		status = kp_gateway_get(gateway, KP_GATEWAY_GET_SESSION,
					KP_VALUES(kp_text_value(folder), kp_text_value(topic)),
					&kp_agent_session_record, memory, &session, &found, err);
	if (status == KEEP_OK && !found)
		return kp_fail(err, KEEP_NOT_FOUND,
			       "folder '%" KP_PRI "' has no session of topic '%" KP_PRI "'",
			       KP_ARG(folder), KP_ARG(topic));
	if (status == KEEP_OK)
		*out = session;
	return status;
}

struct set_session {
	keep_bytes folder, topic, session_id;
	int64_t now_ms;
};

static keep_status apply_set_session(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct set_session *set = ctx;

	return kp_lease_queue(lease, KP_GATEWAY_SET_SESSION,
			      KP_VALUES(kp_text_value(set->folder), kp_text_value(set->topic),
					kp_text_value(set->session_id), kp_time_value(set->now_ms)),
			      err);
}

keep_status keep_gateway_set_session(keep_gateway *gateway, keep_bytes folder, keep_bytes topic,
				     keep_bytes session_id, keep_error *err)
{
	struct set_session set = {folder, kp_text_or(topic, ""), session_id, kp_clock_ms()};
	keep_status status = check_place(folder, topic, err);

	if (status == KEEP_OK)
		status = kp_check_key("session_id", session_id, err);
	if (status != KEEP_OK)
		return status;
	return kp_gateway_change(gateway, apply_set_session, &set, KP_NEWS_NONE, err);
}

struct delete_session {
	keep_bytes folder, topic;
	bool removed;
};

static keep_status apply_delete_session(void *ctx, kp_lease *lease, keep_error *err)
{
	struct delete_session *gone = ctx;
	int64_t changes = 0;
	keep_status status = kp_lease_run(
		lease, KP_GATEWAY_DELETE_SESSION,
		KP_VALUES(kp_text_value(gone->folder), kp_text_value(gone->topic)), &changes, err);

	gone->removed = changes > 0;
	return status;
}

keep_status keep_gateway_delete_session(keep_gateway *gateway, keep_bytes folder, keep_bytes topic,
					bool *removed, keep_error *err)
{
	struct delete_session gone = {folder, kp_text_or(topic, ""), false};
	keep_status status = check_place(folder, topic, err);

	if (status == KEEP_OK)
		status = kp_gateway_change(gateway, apply_delete_session, &gone, KP_NEWS_NONE, err);
	if (status == KEEP_OK && removed)
		*removed = gone.removed;
	return status;
}

keep_status keep_gateway_list_sessions(keep_gateway *gateway, keep_bytes folder,
				       keep_bytes after_topic, size_t limit, keep_memory *memory,
				       keep_agent_session_list *out, keep_error *err)
{
	keep_status status = check_place(folder, after_topic, err);
	int64_t rows = 0;

	if (status == KEEP_OK)
		status = kp_check_limit(limit, 100, KEEP_GATEWAY_LIST_MAX, &rows, err);
	if (status != KEEP_OK)
		return status;
	if (!after_topic.data)
		return kp_gateway_list(gateway, KP_GATEWAY_LIST_SESSIONS_FROM_FIRST,
				       KP_VALUES(kp_text_value(folder), kp_int_value(rows)),
				       &kp_agent_session_record, memory, &out->items, &out->count,
				       err);
	return kp_gateway_list(
		gateway, KP_GATEWAY_LIST_SESSIONS,
		KP_VALUES(kp_text_value(folder), kp_text_value(after_topic), kp_int_value(rows)),
		&kp_agent_session_record, memory, &out->items, &out->count, err);
}

/* ---------------------------------------------------------------- the log */

struct start_run {
	keep_bytes folder, topic, session_id;
	int64_t started_at, id;
};

static keep_status apply_start_run(void *ctx, kp_lease *lease, keep_error *err)
{
	struct start_run *run = ctx;
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_lease_bind(
		lease, KP_GATEWAY_START_RUN,
		KP_VALUES(kp_text_value(run->folder), kp_text_value(run->topic),
			  kp_text_value(run->session_id), kp_time_value(run->started_at)),
		&stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK)
		status = kp_sql_column_int(stmt, 0, &run->id, err);
	while (status == KEEP_OK && has_row)
		status = kp_sql_step(stmt, &has_row, err);
	kp_sql_reset(stmt);
	return status;
}

keep_status keep_gateway_session_started(keep_gateway *gateway, keep_bytes folder, keep_bytes topic,
					 keep_bytes session_id, int64_t started_at, int64_t *id,
					 keep_error *err)
{
	struct start_run run = {folder, kp_text_or(topic, ""), kp_text_or(session_id, ""),
				started_at ? started_at : kp_clock_ms(), 0};
	keep_status status = check_place(folder, topic, err);

	if (status == KEEP_OK)
		status = kp_check_text("session_id", session_id, KEEP_GATEWAY_TEXT_MAX,
				       KP_MAY_BE_ABSENT, err);
	if (status == KEEP_OK)
		status = kp_check_time("started_at", run.started_at, err);
	if (status == KEEP_OK)
		status = kp_gateway_change(gateway, apply_start_run, &run, KP_NEWS_NONE, err);
	if (status == KEEP_OK && id)
		*id = run.id;
	return status;
}

struct end_run {
	int64_t id, ended_at;
	bool has_time; /* it was given: then it is part of "the same" */
	keep_bytes result, error;
	int64_t message_count;
};

static bool is_same_end(const keep_agent_run *stored, const struct end_run *end)
{
	return kp_bytes_equal(stored->result, end->result) &&
	       kp_bytes_equal(stored->error, end->error) &&
	       stored->message_count == end->message_count &&
	       (!end->has_time || stored->ended_at == end->ended_at);
}

/* Why the compare-and-set found nothing. */
static keep_status judge_end(kp_lease *lease, const struct end_run *end, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_agent_run stored;
	kp_sql_stmt *stmt = NULL;
	bool found = false;
	keep_status status = kp_lease_bind(lease, KP_GATEWAY_GET_RUN,
					   KP_VALUES(kp_int_value(end->id)), &stmt, err);

	if (status == KEEP_OK)
		status = kp_record_read_one(stmt, &kp_agent_run_record, &stored, &arena, &found,
					    err);
	if (status == KEEP_OK) {
		lease->unchanged = true;
		if (!found)
			status = kp_fail(err, KEEP_NOT_FOUND, "session_log: there is no run %lld",
					 (long long)end->id);
		else if (!is_same_end(&stored, end))
			status = kp_fail(err, KEEP_CONFLICT,
					 "session_log: conflict: run %lld ended otherwise before",
					 (long long)end->id);
	}
	kp_arena_release(&arena);
	return status;
}

static keep_status apply_end_run(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct end_run *end = ctx;
	int64_t changes = 0;
	keep_status status =
		kp_lease_run(lease, KP_GATEWAY_END_RUN,
			     KP_VALUES(kp_int_value(end->id), kp_time_value(end->ended_at),
				       kp_text_value(end->result), kp_text_value(end->error),
				       kp_int_value(end->message_count)),
			     &changes, err);

	if (status == KEEP_OK && changes == 0)
		return judge_end(lease, end, err);
	return status;
}

keep_status keep_gateway_session_ended(keep_gateway *gateway, int64_t id, int64_t ended_at,
				       keep_bytes result, keep_bytes error, int64_t message_count,
				       keep_error *err)
{
	struct end_run end = {
		id,           ended_at ? ended_at : kp_clock_ms(), ended_at != 0, result, error,
		message_count};
	keep_status status = kp_check_time("ended_at", end.ended_at, err);

	if (status == KEEP_OK)
		status = kp_check_content("result", result, err);
	if (status == KEEP_OK)
		status = kp_check_content("error", error, err);
	if (status == KEEP_OK && message_count < 0)
		status = kp_fail(err, KEEP_INVALID, "message_count: is below 0");
	if (status != KEEP_OK)
		return status;
	return kp_gateway_change(gateway, apply_end_run, &end, KP_NEWS_NONE, err);
}

keep_status keep_gateway_recent_sessions(keep_gateway *gateway, keep_bytes folder,
					 int64_t before_id, size_t limit, keep_memory *memory,
					 keep_agent_run_list *out, keep_error *err)
{
	keep_status status = kp_check_folder("group_folder", folder, err);
	int64_t rows = 0;

	if (status == KEEP_OK)
		status = kp_check_limit(limit, 20, KEEP_GATEWAY_LIST_MAX, &rows, err);
	if (status != KEEP_OK)
		return status;
	return kp_gateway_list(gateway, KP_GATEWAY_RECENT_RUNS,
			       KP_VALUES(kp_text_value(folder),
					 kp_int_value(before_id > 0 ? before_id : INT64_MAX),
					 kp_int_value(rows)),
			       &kp_agent_run_record, memory, &out->items, &out->count, err);
}

/* ---------------------------------------------------------------- a router's state */

keep_status keep_gateway_get_state(keep_gateway *gateway, keep_bytes key, keep_buffer *value,
				   keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_router_state state;
	bool found = false;
	keep_status status = kp_check_key("key", key, err);

	if (status == KEEP_OK)
		status =
			kp_gateway_get(gateway, KP_GATEWAY_GET_STATE, KP_VALUES(kp_text_value(key)),
				       &kp_router_state_record, &arena, &state, &found, err);
	if (status == KEEP_OK && !found)
		status = kp_fail(err, KEEP_NOT_FOUND, "state '%" KP_PRI "' was never set",
				 KP_ARG(key));
	if (status == KEEP_OK)
		status = keep_buffer_set(value, state.value, err);
	kp_arena_release(&arena);
	return status;
}

static keep_status apply_set_state(void *ctx, kp_lease *lease, keep_error *err)
{
	const keep_router_state *state = ctx;

	return kp_lease_queue(lease, KP_GATEWAY_SET_STATE,
			      KP_VALUES(kp_text_value(state->key), kp_text_value(state->value)),
			      err);
}

keep_status keep_gateway_set_state(keep_gateway *gateway, keep_bytes key, keep_bytes value,
				   keep_error *err)
{
	keep_router_state state = {key, value};
	keep_status status = kp_check_key("key", key, err);

	if (status == KEEP_OK && !value.data)
		status = kp_fail(err, KEEP_INVALID, "value: is missing");
	if (status == KEEP_OK)
		status = kp_check_content("value", value, err);
	if (status != KEEP_OK)
		return status;
	return kp_gateway_change(gateway, apply_set_state, &state, KP_NEWS_NONE, err);
}

/*
 * agent_state.c - what an agent remembers, where it may send, its files, and that it lives.
 *
 * Invariants:
 *   1. At most KEEP_MAILBOX_LIST_MAX values, so that the list is always whole; the statement that
 *      adds one counts.
 *   2. A heartbeat is the time of the file .heartbeat where there is a folder, which costs no
 *      transaction; on a server it is session_agent.heartbeat_at.
 *
 * Tests: tests/contract/test_mailbox_agent.c.
 */
#include "mailbox/mailbox_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

/* ---------------------------------------------------------------- reading */

struct reading {
	size_t statement;
	kp_value values[2];
	size_t value_count;
	const kp_record *record;
	kp_arena *arena;
	void *rows; /* of one: the object */
	size_t count;
	bool found;
};

static keep_status query_row(void *ctx, kp_lease *lease, keep_error *err)
{
	struct reading *reading = ctx;

	return kp_lease_get(lease, reading->statement, reading->values, reading->value_count,
			    reading->record, reading->arena, reading->rows, &reading->found, err);
}

static keep_status query_rows(void *ctx, kp_lease *lease, keep_error *err)
{
	struct reading *reading = ctx;

	return kp_lease_list(lease, reading->statement, reading->values, reading->value_count,
			     reading->record, reading->arena, &reading->rows, &reading->count, err);
}

keep_status keep_agent_state_get(keep_agent *agent, keep_bytes key, keep_memory *memory,
				 keep_session_value *out, keep_error *err)
{
	struct reading reading = {.statement = KP_MAILBOX_GET_STATE,
				  .values = {kp_text_value(kp_agent_id(agent)), kp_text_value(key)},
				  .value_count = 2,
				  .record = &kp_session_value_record,
				  .arena = memory,
				  .rows = out};
	keep_status status = kp_check_key("key", key, err);

	*out = (keep_session_value){.updated_at = 0};
	if (status == KEEP_OK)
		status = kp_agent_read(agent, query_row, &reading, err);
	if (status == KEEP_OK && !reading.found)
		status =
			kp_fail(err, KEEP_NOT_FOUND, "key: there is no '%" KP_PRI "'", KP_ARG(key));
	return status;
}

keep_status keep_agent_state_list(keep_agent *agent, keep_memory *memory,
				  keep_session_value_list *out, keep_error *err)
{
	struct reading reading = {.statement = KP_MAILBOX_LIST_STATE,
				  .values = {kp_text_value(kp_agent_id(agent))},
				  .value_count = 1,
				  .record = &kp_session_value_record,
				  .arena = memory};
	keep_status status = kp_agent_read(agent, query_rows, &reading, err);

	*out = (keep_session_value_list){.items = NULL};
	if (status == KEEP_OK) {
		out->items = reading.rows;
		out->count = reading.count;
	}
	return status;
}

keep_status keep_agent_destinations(keep_agent *agent, keep_memory *memory,
				    keep_session_destination_list *out, keep_error *err)
{
	struct reading reading = {.statement = KP_MAILBOX_LIST_SESSION_DESTINATIONS,
				  .values = {kp_text_value(kp_agent_id(agent))},
				  .value_count = 1,
				  .record = &kp_session_destination_record,
				  .arena = memory};
	keep_status status = kp_agent_read(agent, query_rows, &reading, err);

	*out = (keep_session_destination_list){.items = NULL};
	if (status == KEEP_OK) {
		out->items = reading.rows;
		out->count = reading.count;
	}
	return status;
}

/* ---------------------------------------------------------------- changing */

struct changing {
	keep_agent *agent;
	keep_bytes key, value;
	int64_t now_ms;
};

/* Invariant 1. */
static keep_status apply_set(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct changing *changing = ctx;
	const kp_value values[] = {kp_text_value(kp_agent_id(changing->agent)),
				   kp_text_value(changing->key), kp_text_value(changing->value),
				   kp_time_value(changing->now_ms)};
	int64_t changes = 0;
	keep_status status = kp_lease_run(lease, KP_MAILBOX_CHANGE_STATE, values, KP_COUNT(values),
					  &changes, err);

	if (status == KEEP_OK && !changes)
		status = kp_lease_run(lease, KP_MAILBOX_ADD_STATE, values, KP_COUNT(values),
				      &changes, err);
	if (status == KEEP_OK && !changes)
		status = kp_fail(err, KEEP_FULL, "key: the agent remembers %d values already",
				 KEEP_MAILBOX_LIST_MAX);
	return status;
}

keep_status keep_agent_state_set(keep_agent *agent, keep_bytes key, keep_bytes value,
				 int64_t now_ms, keep_error *err)
{
	struct changing changing = {agent, key, value, kp_now(now_ms)};
	keep_status status = kp_check_key("key", key, err);

	if (status == KEEP_OK)
		status = kp_check_content("value", value, err);
	if (status == KEEP_OK && !value.data)
		status = kp_fail(err, KEEP_INVALID, "value: is missing");
	if (status == KEEP_OK)
		status = kp_check_time("now_ms", changing.now_ms, err);
	if (status == KEEP_OK)
		status = kp_agent_write(agent, KP_SQL_WRITE, false, apply_set, &changing, err);
	return status;
}

static keep_status apply_clear(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct changing *changing = ctx;
	const kp_value values[] = {kp_text_value(kp_agent_id(changing->agent)),
				   kp_text_value(changing->key)};
	bool is_one = changing->key.data;

	return kp_lease_queue(lease, is_one ? KP_MAILBOX_CLEAR_STATE : KP_MAILBOX_CLEAR_ALL_STATE,
			      values, is_one ? 2 : 1, err);
}

keep_status keep_agent_state_clear(keep_agent *agent, keep_bytes key, keep_error *err)
{
	struct changing changing = {.agent = agent, .key = key};
	keep_status status = key.data ? kp_check_key("key", key, err) : KEEP_OK;

	if (status == KEEP_OK)
		status = kp_agent_write(agent, KP_SQL_WRITE, false, apply_clear, &changing, err);
	return status;
}

/* ---------------------------------------------------------------- files */

keep_status keep_agent_inbox_file(keep_agent *agent, keep_bytes message_id, keep_bytes name,
				  keep_buffer *out, keep_error *err)
{
	keep_status status = kp_check_file_name("name", name, err);

	if (status == KEEP_OK)
		status = kp_check_segment("message_id", message_id, err);
	if (status == KEEP_OK && !agent->folder)
		status = kp_fail(err, KEEP_NOT_FOUND, "a mailbox on a server has no folders");
	if (status == KEEP_OK)
		status = kp_file_of_message(agent->folder, "inbox", message_id, name, out, err);
	return status;
}

/* ---------------------------------------------------------------- a sign of life */

static keep_status apply_heartbeat(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct changing *changing = ctx;

	return kp_lease_queue(lease, KP_MAILBOX_SET_HEARTBEAT,
			      KP_VALUES(kp_text_value(kp_agent_id(changing->agent)),
					kp_time_value(changing->now_ms)),
			      err);
}

/* Invariant 2. */
static keep_status touch(const char *folder, int64_t now_ms, keep_error *err)
{
	int64_t seconds = now_ms / 1000 - (now_ms % 1000 < 0);
	struct timespec times[2] = {
		{.tv_nsec = UTIME_OMIT},
		{.tv_sec = (time_t)seconds, .tv_nsec = (long)(now_ms - seconds * 1000) * 1000000}};
	char path[PATH_MAX];
	int fd = -1;
	keep_status status;

	if (snprintf(path, sizeof path, "%s/.heartbeat", folder) >= (int)sizeof path)
		return kp_fail(err, KEEP_INVALID, "the path '%.100s...' is too long", folder);
	if (utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW) == 0)
		return KEEP_OK;
	if (errno != ENOENT)
		return kp_fail_errno(err, errno, "touch '%s'", path);
	status = kp_file_open(AT_FDCWD, path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0644,
			      &fd, err);
	if (status == KEEP_OK && futimens(fd, times) != 0)
		status = kp_fail_errno(err, errno, "touch '%s'", path);
	kp_file_close(&fd);
	return status;
}

keep_status keep_agent_heartbeat(keep_agent *agent, int64_t now_ms, keep_error *err)
{
	struct changing changing = {.agent = agent, .now_ms = kp_now(now_ms)};
	keep_status status = kp_check_time("now_ms", changing.now_ms, err);

	if (status != KEEP_OK)
		return status;
	if (agent->folder)
		return touch(agent->folder, changing.now_ms, err);
	return kp_agent_write(agent, KP_SQL_WRITE_SOON, false, apply_heartbeat, &changing, err);
}

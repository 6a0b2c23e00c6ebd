/*
 * post.c - messages to an agent: posting them, and reading what was posted.
 *
 * A message's identity is Keep's id. The platform's id is a dedup key: platforms deliver again what
 * they have delivered, and platforms also use an id again for something else (a bot that was made
 * anew counts from 1). So the same key with the same content, from the same chat, is the same
 * message; the same key with another content is another one.
 *
 * Invariants:
 *   1. A post's number is given out by the statement that stores it, or follows in the same
 *      transaction on one that was.
 *   2. Files are stored and synced before the row that names them appears; without the row they are
 *      garbage that the next try overwrites with the same bytes.
 *   3. A post that answered OK was rung for. Due later, it has a mark in the registry.
 *
 * What it does not do: choose a session (route.c).
 *
 * Tests: tests/contract/test_mailbox_trip.c.
 */
#include "mailbox/mailbox_private.h"

/* How long after its post a message may wait before sweep looks whether somebody takes it. */
#define LOOK_AFTER_MS 60000

const char *keep_posted_name(keep_posted posted)
{
	static const char *const names[] = {"inserted", "duplicate", "reused"};

	return (size_t)posted < KP_COUNT(names) ? names[posted] : "?";
}

/* ---------------------------------------------------------------- the rows */

/* Number and existence from the one row of a statement that may insert. */
static keep_status add_row(kp_lease *lease, size_t statement, const keep_inbound_message *message,
			   bool *added, int64_t *seq, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	keep_status status = kp_lease_statement(lease, statement, &stmt, err);

	if (status == KEEP_OK)
		status = kp_record_bind(stmt, 1, &kp_inbound_message_record, message, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, added, err);
	if (status == KEEP_OK && *added)
		status = kp_sql_column_int(stmt, 0, seq, err);
	kp_sql_reset(stmt);
	return status;
}

/* message->seq is the number behind one that this transaction has given out. */
static keep_status add_next(kp_lease *lease, const keep_inbound_message *message, bool *existed,
			    int64_t *seq, keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	keep_status status = kp_lease_statement(lease, KP_MAILBOX_ADD_INBOUND_NEXT, &stmt, err);

	if (status == KEEP_OK)
		status = kp_record_bind(stmt, 1, &kp_inbound_message_record, message, err);
	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &has_row, err);
	*existed = status == KEEP_OK && kp_sql_changes(stmt) == 0;
	*seq = message->seq;
	kp_sql_reset(stmt);
	return status;
}

keep_status kp_inbound_add(kp_lease *lease, const keep_inbound_message *message, int64_t *seq,
			   keep_error *err)
{
	bool added = false;

	return add_row(lease, KP_MAILBOX_ADD_INBOUND, message, &added, seq, err);
}

keep_status kp_inbound_add_once(kp_lease *lease, const keep_inbound_message *message, bool *existed,
				int64_t *seq, keep_error *err)
{
	bool added = false;
	keep_status status = add_row(lease, KP_MAILBOX_ADD_INBOUND_ONCE, message, &added, seq, err);

	*existed = !added;
	return status;
}

keep_inbound_message kp_inbound_notice(keep_bytes session, keep_bytes id, keep_bytes content,
				       int64_t now_ms)
{
	return (keep_inbound_message){
		.session_id = session,
		.id = id,
		.kind = KEEP_BYTES(KEEP_INBOUND_MESSAGE_KIND_SYSTEM),
		.timestamp = now_ms,
		.status = KEEP_BYTES(KEEP_INBOUND_MESSAGE_STATUS_PENDING),
		.content = content,
		.stored_at = now_ms,
		.has_stored_at = true,
	};
}

keep_status kp_step_add(kp_lease *lease, keep_bytes session, keep_bytes message_id,
			const char *step, keep_bytes detail, int64_t now_ms, keep_error *err)
{
	return kp_lease_queue(lease, KP_MAILBOX_ADD_STEP,
			      KP_VALUES(kp_text_value(session), kp_text_value(message_id),
					kp_time_value(now_ms), kp_text_value(keep_bytes_of(step)),
					kp_text_value(kp_text_or(detail, ""))),
			      err);
}

/* ---------------------------------------------------------------- checks */

static bool is_task(const keep_post *post)
{
	return post->kind.data ? kp_bytes_equal(post->kind, KEEP_BYTES("task"))
			       : post->recurrence.len > 0;
}

/* What is for tasks alone: a series, its expression, zone and policy. */
static keep_status check_series(const keep_post *post, keep_error *err)
{
	keep_schedule *schedule = NULL;
	kp_missed missed;
	keep_status status = kp_check_text("recurrence", post->recurrence, KEEP_SCHEDULE_BYTES_MAX,
					   KP_MAY_BE_ABSENT, err);

	if (status == KEEP_OK)
		status = kp_check_text("time_zone", post->time_zone, KEEP_ZONE_NAME_BYTES_MAX,
				       KP_MAY_BE_ABSENT, err);
	if (status == KEEP_OK && post->series_id.data)
		status = kp_check_key("series_id", post->series_id, err);
	if (status == KEEP_OK && post->missed.data && !kp_missed_parse(post->missed, &missed))
		status = kp_fail(err, KEEP_INVALID, "missed: '%" KP_PRI "' is none",
				 KP_ARG(post->missed));
	if (status == KEEP_OK && !is_task(post) && (post->recurrence.len || post->series_id.data))
		status = kp_fail(err, KEEP_INVALID, "%s: is for messages of kind task",
				 post->recurrence.len ? "recurrence" : "series_id");
	if (status == KEEP_OK && (post->recurrence.len || post->time_zone.len))
		status = kp_series_schedule(post->recurrence, post->time_zone, &schedule, err);
	keep_schedule_close(&schedule);
	return status;
}

static keep_status check_post(const keep_post *post, keep_error *err)
{
	static const char *const kinds[] = {"chat", "chat-sdk", "task", "webhook", "system"};
	bool is_known = !post->kind.data;
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < KP_COUNT(kinds); i++)
		is_known |= kp_bytes_equal(post->kind, keep_bytes_of(kinds[i]));
	if (!is_known)
		return kp_fail(err, KEEP_INVALID, "kind: '%" KP_PRI "' is none",
			       KP_ARG(post->kind));
	if (post->id.data)
		status = kp_check_segment("id", post->id, err);
	if (status == KEEP_OK && !post->content.data)
		status = kp_fail(err, KEEP_INVALID, "content: is missing");
	if (status == KEEP_OK)
		status = kp_check_json("content", post->content, KP_JSON_NULL, err);
	if (status == KEEP_OK && post->dedup_key.data)
		status = kp_check_key("dedup_key", post->dedup_key, err);
	if (status == KEEP_OK && post->channel_type.data)
		status = kp_check_key("channel_type", post->channel_type, err);
	if (status == KEEP_OK && post->platform_id.data)
		status = kp_check_key("platform_id", post->platform_id, err);
	if (status == KEEP_OK && post->thread_id.data)
		status = kp_check_key("thread_id", post->thread_id, err);
	if (status == KEEP_OK && post->timestamp)
		status = kp_check_time("timestamp", post->timestamp, err);
	if (status == KEEP_OK && post->process_after)
		status = kp_check_time("process_after", post->process_after, err);
	if (status == KEEP_OK)
		status = check_series(post, err);
	return status == KEEP_OK ? kp_files_check(post->files, post->file_count, err) : status;
}

/* ---------------------------------------------------------------- posting */

struct posting {
	keep_bytes session;
	keep_inbound_message *messages;
	keep_post_result *results;
	size_t count;
};

static bool is_same(const keep_inbound_message *stored, const keep_inbound_message *given)
{
	return kp_bytes_equal(stored->kind, given->kind) &&
	       kp_bytes_equal(stored->content, given->content) &&
	       kp_bytes_equal(stored->channel_type, given->channel_type) &&
	       kp_bytes_equal(stored->platform_id, given->platform_id) &&
	       kp_bytes_equal(stored->thread_id, given->thread_id);
}

static void tell_stored(const keep_inbound_message *stored, keep_post_result *result)
{
	result->posted = KEEP_POSTED_DUPLICATE;
	result->seq = stored->seq;
	memcpy(result->id, stored->id.data,
	       stored->id.len < KEEP_SEGMENT_MAX ? stored->id.len : KEEP_SEGMENT_MAX);
	result->id[stored->id.len < KEEP_SEGMENT_MAX ? stored->id.len : KEEP_SEGMENT_MAX] = '\0';
}

/* Is a message with that dedup key there, the same or another one? */
static keep_status look_for_replay(kp_lease *lease, const keep_inbound_message *message,
				   kp_arena *arena, keep_post_result *result, keep_error *err)
{
	keep_inbound_message *found = NULL;
	size_t count = 0;
	keep_status status;

	if (!message->dedup_key.data)
		return KEEP_OK;
	status = kp_lease_list(
		lease, KP_MAILBOX_INBOUND_BY_DEDUP_KEY,
		KP_VALUES(kp_text_value(message->session_id), kp_text_value(message->dedup_key)),
		&kp_inbound_message_record, arena, &found, &count, err);
	for (size_t i = 0; status == KEEP_OK && i < count; i++) {
		bool is_of_chat = kp_bytes_equal(found[i].channel_type, message->channel_type) &&
				  kp_bytes_equal(found[i].platform_id, message->platform_id);

		if (is_of_chat)
			result->posted = KEEP_POSTED_REUSED;
		if (is_same(&found[i], message)) {
			tell_stored(&found[i], result);
			break;
		}
	}
	return status;
}

/* Our own id is there: a repetition of a hand-over, or somebody else's message. */
static keep_status look_at_namesake(kp_lease *lease, const keep_inbound_message *message,
				    kp_arena *arena, keep_post_result *result, keep_error *err)
{
	keep_inbound_message stored;
	bool found = false;
	keep_status status = kp_lease_get(
		lease, KP_MAILBOX_GET_INBOUND,
		KP_VALUES(kp_text_value(message->session_id), kp_text_value(message->id)),
		&kp_inbound_message_record, arena, &stored, &found, err);

	if (status != KEEP_OK)
		return status;
	if (!found || !is_same(&stored, message))
		return kp_fail(err, KEEP_CONFLICT,
			       "id: '%" KP_PRI "' is another message of session %" KP_PRI,
			       KP_ARG(message->id), KP_ARG(message->session_id));
	tell_stored(&stored, result);
	return KEEP_OK;
}

static keep_status apply_one(kp_lease *lease, const keep_inbound_message *message, kp_arena *arena,
			     keep_post_result *result, keep_error *err)
{
	keep_inbound_message live;
	bool existed = false, has_live = false;
	keep_status status;

	result->posted = KEEP_POSTED_INSERTED;
	memcpy(result->id, message->id.data, message->id.len);
	result->id[message->id.len] = '\0';
	status = look_for_replay(lease, message, arena, result, err);
	if (status != KEEP_OK || result->posted == KEEP_POSTED_DUPLICATE)
		return status;
	if (message->series_id.data)
		status = kp_series_live(lease, message->session_id, message->series_id, arena,
					&live, &has_live, err);
	if (status == KEEP_OK && message->seq)
		status = add_next(lease, message, &existed, &result->seq, err);
	else if (status == KEEP_OK)
		status = kp_inbound_add_once(lease, message, &existed, &result->seq, err);
	if (status == KEEP_OK && existed)
		status = look_at_namesake(lease, message, arena, result, err);
	else if (status == KEEP_OK && has_live)
		status = kp_fail(err, KEEP_CONFLICT,
				 "series_id: an occurrence of '%" KP_PRI "' is pending or paused",
				 KP_ARG(message->series_id));
	return status;
}

static keep_status apply_posting(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct posting *posting = ctx;
	kp_arena arena = {.head = NULL};
	keep_session_host host;
	int64_t last_seq = 0; /* that was given out here */
	keep_status status = kp_session_host_get(lease, posting->session, &arena, &host, err);

	if (status == KEEP_OK && host.closed)
		status = kp_fail(err, KEEP_CONFLICT, "session: '%" KP_PRI "' is closed",
				 KP_ARG(posting->session));
	for (size_t i = 0; i < posting->count && status == KEEP_OK; i++) {
		keep_post_result *result = &posting->results[i];

		posting->messages[i].seq = last_seq ? last_seq + 2 : 0;
		status = apply_one(lease, &posting->messages[i], &arena, result, err);
		if (status == KEEP_OK && result->posted != KEEP_POSTED_DUPLICATE)
			last_seq = result->seq;
	}
	kp_arena_release(&arena);
	return status;
}

/* `after_ms`: when it is due; 0: now. */
static keep_inbound_message complete(keep_bytes session, const keep_post *post, keep_bytes id,
				     int64_t after_ms, int64_t now_ms)
{
	bool of_series = is_task(post);

	return (keep_inbound_message){
		.session_id = session,
		.id = id,
		.kind = kp_text_or(post->kind, of_series ? "task" : "chat"),
		.timestamp = post->timestamp ? post->timestamp : now_ms,
		.status = KEEP_BYTES(KEEP_INBOUND_MESSAGE_STATUS_PENDING),
		.process_after = after_ms,
		.has_process_after = after_ms > now_ms,
		.recurrence = post->recurrence.len ? post->recurrence : (keep_bytes){.data = NULL},
		.platform_id = post->platform_id,
		.channel_type = post->channel_type,
		.thread_id = post->thread_id,
		.content = post->content,
		.dedup_key = post->dedup_key,
		.series_id = post->series_id.data ? post->series_id
			     : of_series          ? id
						  : (keep_bytes){.data = NULL},
		.source_session_id = post->source_session_id,
		.source_out_id = post->source_out_id,
		.scheduled_at = after_ms,
		.has_scheduled_at = of_series && after_ms,
		.time_zone = post->time_zone.len ? post->time_zone : (keep_bytes){.data = NULL},
		.missed = post->missed,
		.stored_at = now_ms,
		.has_stored_at = true,
	};
}

static keep_status prepare(keep_mailbox *mailbox, keep_bytes session, const keep_post *posts,
			   size_t count, kp_arena *arena, keep_inbound_message *messages,
			   int64_t now_ms, int64_t *due_ms, keep_error *err)
{
	keep_status status = KEEP_OK;

	(void)mailbox;
	*due_ms = now_ms + LOOK_AFTER_MS;
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		char *id = kp_arena_alloc(arena, KP_UUID_TEXT_SIZE);
		keep_bytes given = posts[i].id;
		int64_t after_ms = posts[i].process_after;

		if (!id)
			return kp_fail_memory(err, "an id");
		status = check_post(&posts[i], err);
		if (status == KEEP_OK && !given.data) {
			status = kp_uuid_make(id, err);
			given = (keep_bytes){id, KP_UUID_TEXT_SIZE - 1};
		}
		if (status == KEEP_OK && posts[i].recurrence.len && !after_ms)
			status = kp_series_first(posts[i].recurrence, posts[i].time_zone, now_ms,
						 &after_ms, err);
		if (status == KEEP_OK)
			messages[i] = complete(session, &posts[i], given, after_ms, now_ms);
		if (after_ms > now_ms && after_ms < *due_ms)
			*due_ms = after_ms;
	}
	return status;
}

static keep_status store_files(keep_mailbox *mailbox, keep_bytes session, const keep_post *posts,
			       const keep_inbound_message *messages, size_t count, kp_arena *arena,
			       keep_error *err)
{
	char *folder = NULL;
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		if (!posts[i].file_count)
			continue;
		if (mailbox->schema)
			return kp_fail(err, KEEP_INVALID,
				       "files: a mailbox on a server has no folders");
		if (!folder)
			status = kp_session_folder_of(mailbox, session, arena, &folder, err);
		if (status == KEEP_OK)
			status = kp_files_store(folder, "inbox", messages[i].id, posts[i].files,
						posts[i].file_count, mailbox->agent_uid,
						mailbox->agent_gid, err);
	}
	return status;
}

keep_status keep_mailbox_post_many(keep_mailbox *mailbox, keep_bytes session,
				   const keep_post *posts, size_t count, keep_post_result *results,
				   keep_error *err)
{
	kp_arena arena = {.head = NULL};
	struct posting posting = {.session = session, .results = results, .count = count};
	kp_session_change change = {
		.session = session, .mode = KP_SQL_WRITE, .news = KP_NEWS_AGENT};
	int64_t now_ms = kp_clock_ms();
	keep_status status = kp_check_session(session, err);

	if (status == KEEP_OK && (!count || count > KEEP_MAILBOX_LIST_MAX))
		status = kp_fail(err, KEEP_INVALID, "posts: 1 to %d are needed",
				 KEEP_MAILBOX_LIST_MAX);
	if (status != KEEP_OK)
		return status;
	posting.messages = kp_arena_alloc(&arena, count * sizeof *posting.messages);
	if (!posting.messages)
		return kp_fail_memory(err, "posts");
	status = prepare(mailbox, session, posts, count, &arena, posting.messages, now_ms,
			 &change.due_ms, err);
	if (status == KEEP_OK)
		status = store_files(mailbox, session, posts, posting.messages, count, &arena, err);
	if (status == KEEP_OK)
		status = kp_session_write(mailbox, &change, apply_posting, &posting, err);
	kp_arena_release(&arena);
	return status;
}

keep_status keep_mailbox_post(keep_mailbox *mailbox, keep_bytes session, const keep_post *post,
			      keep_post_result *result, keep_error *err)
{
	return keep_mailbox_post_many(mailbox, session, post, 1, result, err);
}

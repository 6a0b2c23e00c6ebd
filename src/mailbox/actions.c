/*
 * actions.c - what an agent asks the host to do about its tasks: `system` rows of its outbound
 * side.
 *
 *     schedule_task  taskId, prompt, script, processAfter, recurrence, timezone, missed
 *     update_task    taskId and what of these changes; null or "" takes a recurrence away
 *     cancel_task, pause_task, resume_task    taskId
 *
 * taskId is the task's series. The task's content is {"prompt":…,"script":…}, as in the source.
 *
 * Invariants:
 *   1. Repeated after a crash an action changes nothing: a task is one message with the id taskId
 *      that names the row which asked for it, and a change leaves a step at that row in its own
 *      commit (series_change.c).
 *   2. Nothing in the row is trusted. What is wrong with it is a refusal with a reason that names
 *      the member, never a failure: a failure would be tried again for ever.
 *
 * What it does not do: other actions; the caller of collect carries them out.
 *
 * Tests: tests/contract/test_mailbox_actions.c, tests/crash/test_mailbox_steps_crash.c.
 */
#include "mailbox/mailbox_private.h"

struct acting {
	keep_mailbox *mailbox;
	const keep_session *session;
	const keep_outbound_message *message;
	const kp_json *asked;
	keep_bytes task_id;
	int64_t now_ms;
	kp_arena *arena;
};

/* ---------------------------------------------------------------- members */

/* Absent and null: no data. */
static keep_status read_text(const struct acting *acting, const char *name, keep_bytes *out,
			     keep_error *err)
{
	const kp_json *member = kp_json_member(acting->asked, name);

	*out = (keep_bytes){.data = NULL};
	if (!member || member->kind == KP_JSON_NULL)
		return KEEP_OK;
	if (member->kind != KP_JSON_TEXT)
		return kp_fail(err, KEEP_INVALID, "%s: is %s, not a text", name,
			       kp_json_kind_name(member->kind));
	*out = member->text;
	return kp_check_text(name, *out, KEEP_MAILBOX_CONTENT_MAX, KP_MAY_BE_ABSENT, err);
}

/* RFC 3339 or YYYY-MM-DD HH:MM:SS; 0: none. */
static keep_status read_time(const struct acting *acting, int64_t *out, keep_error *err)
{
	keep_bytes text;
	keep_status status = read_text(acting, "processAfter", &text, err);

	*out = 0;
	if (status == KEEP_OK && text.len) {
		status = keep_time_parse(text, out, err);
		if (status != KEEP_OK)
			return kp_prefix(err, status, "processAfter");
	}
	return status;
}

static keep_status read_zone(const struct acting *acting, keep_bytes *out, keep_error *err)
{
	static const char *const names[] = {"timezone", "timeZone", "time_zone"};
	keep_status status = KEEP_OK;

	*out = (keep_bytes){.data = NULL};
	for (size_t i = 0; i < KP_COUNT(names) && status == KEEP_OK && !out->data; i++)
		status = read_text(acting, names[i], out, err);
	return status;
}

/* A text or null, as it is; absent: no data. */
static keep_status read_raw(const struct acting *acting, const char *name, keep_bytes *out,
			    keep_error *err)
{
	const kp_json *member = kp_json_member(acting->asked, name);
	keep_bytes text;
	keep_status status = read_text(acting, name, &text, err);

	*out = member ? member->raw : (keep_bytes){.data = NULL};
	return status;
}

/* ---------------------------------------------------------------- schedule_task */

static keep_status write_content(const struct acting *acting, keep_bytes *out, keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	keep_bytes prompt, script;
	kp_json_writer writer;
	keep_status status = read_text(acting, "prompt", &prompt, err);

	if (status == KEEP_OK && !prompt.len)
		return kp_fail(err, KEEP_INVALID, "prompt: is missing or empty");
	if (status == KEEP_OK)
		status = read_text(acting, "script", &script, err);
	if (status != KEEP_OK)
		return status;
	kp_json_begin(&writer, &text);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "prompt");
	kp_json_put_text(&writer, prompt);
	kp_json_name(&writer, "script");
	kp_json_put_text(&writer, script);
	kp_json_close_object(&writer);
	status = kp_json_finish(&writer, err);
	if (status == KEEP_OK && kp_buffer_bytes(&text).len > KEEP_MAILBOX_CONTENT_MAX)
		status = kp_fail(err, KEEP_INVALID, "prompt and script: the limit is %d bytes",
				 KEEP_MAILBOX_CONTENT_MAX);
	if (status == KEEP_OK)
		status = kp_arena_copy(acting->arena, kp_buffer_bytes(&text), out, err);
	keep_buffer_release(&text);
	return status;
}

/* Where its replies go: as the row says, or nowhere in particular. */
static keep_status read_address(const struct acting *acting, keep_post *post, keep_error *err)
{
	const keep_outbound_message *message = acting->message;
	keep_status status = read_text(acting, "channelType", &post->channel_type, err);

	if (status == KEEP_OK)
		status = read_text(acting, "platformId", &post->platform_id, err);
	if (status == KEEP_OK)
		status = read_text(acting, "threadId", &post->thread_id, err);
	if (status == KEEP_OK && !post->channel_type.len && !post->platform_id.len) {
		post->channel_type = message->channel_type;
		post->platform_id = message->platform_id;
		post->thread_id = message->thread_id;
	}
	if (!post->channel_type.len || !post->platform_id.len)
		post->channel_type = post->platform_id = post->thread_id =
			(keep_bytes){.data = NULL};
	if (!post->thread_id.len)
		post->thread_id = (keep_bytes){.data = NULL};
	return status;
}

struct looking {
	const struct acting *acting;
	keep_inbound_message task;
	bool found;
};

static keep_status query_task(void *ctx, kp_lease *lease, keep_error *err)
{
	struct looking *looking = ctx;
	const struct acting *acting = looking->acting;

	return kp_lease_get(
		lease, KP_MAILBOX_GET_INBOUND,
		KP_VALUES(kp_text_value(acting->session->id), kp_text_value(acting->task_id)),
		&kp_inbound_message_record, acting->arena, &looking->task, &looking->found, err);
}

/* The id is taken: by this very row, whatever became of the task since, or by another. `why` is
   what posting said. */
static keep_status look_at_task(const struct acting *acting, const keep_error *why, keep_error *err)
{
	struct looking looking = {.acting = acting};
	keep_status status =
		kp_session_read(acting->mailbox, acting->session->id, query_task, &looking, err);

	if (status != KEEP_OK)
		return status;
	if (looking.found && kp_bytes_equal(looking.task.source_out_id, acting->message->id))
		return KEEP_OK;
	if (looking.found)
		return kp_fail(err, KEEP_CONFLICT, "taskId: there is a task '%" KP_PRI "' already",
			       KP_ARG(acting->task_id));
	return kp_fail(err, why->status, "%s", why->message);
}

static keep_status schedule_task(const struct acting *acting, keep_error *err)
{
	keep_post post = {.id = acting->task_id,
			  .kind = KEEP_BYTES("task"),
			  .source_out_id = acting->message->id};
	keep_error why = KEEP_ERROR_INIT;
	keep_post_result result;
	keep_status status = kp_check_segment("taskId", acting->task_id, err);

	if (status == KEEP_OK)
		status = write_content(acting, &post.content, err);
	if (status == KEEP_OK)
		status = read_time(acting, &post.process_after, err);
	if (status == KEEP_OK)
		status = read_text(acting, "recurrence", &post.recurrence, err);
	if (status == KEEP_OK)
		status = read_zone(acting, &post.time_zone, err);
	if (status == KEEP_OK)
		status = read_text(acting, "missed", &post.missed, err);
	if (status == KEEP_OK)
		status = read_address(acting, &post, err);
	if (status != KEEP_OK)
		return status;
	if (!post.missed.len)
		post.missed = (keep_bytes){.data = NULL};
	status = keep_mailbox_post(acting->mailbox, acting->session->id, &post, &result, &why);
	if (status == KEEP_CONFLICT)
		return look_at_task(acting, &why, err);
	return status == KEEP_OK ? status : kp_fail(err, status, "%s", why.message);
}

/* ---------------------------------------------------------------- changes of a task */

static keep_status change_task(const struct acting *acting, kp_series_call *call, keep_error *err)
{
	call->session = acting->session->id;
	call->series_id = acting->task_id;
	call->action_id = acting->message->id;
	call->now_ms = acting->now_ms;
	return kp_series_run(acting->mailbox, call, err);
}

static keep_status cancel_task(const struct acting *acting, keep_error *err)
{
	return change_task(acting, &(kp_series_call){.verb = KP_SERIES_CANCEL}, err);
}

static keep_status pause_task(const struct acting *acting, keep_error *err)
{
	return change_task(acting, &(kp_series_call){.verb = KP_SERIES_PAUSE}, err);
}

static keep_status resume_task(const struct acting *acting, keep_error *err)
{
	return change_task(acting, &(kp_series_call){.verb = KP_SERIES_RESUME}, err);
}

static keep_status update_task(const struct acting *acting, keep_error *err)
{
	kp_series_call call = {.verb = KP_SERIES_UPDATE};
	const kp_json *prompt = kp_json_member(acting->asked, "prompt");
	keep_status status = read_raw(acting, "prompt", &call.prompt, err);

	if (status == KEEP_OK && prompt && (prompt->kind == KP_JSON_NULL || !prompt->text.len))
		status = kp_fail(err, KEEP_INVALID, "prompt: is missing or empty");
	if (status == KEEP_OK)
		status = read_raw(acting, "script", &call.script, err);
	if (status == KEEP_OK)
		status = read_time(acting, &call.change.process_after, err);
	if (status == KEEP_OK)
		status = read_text(acting, "recurrence", &call.change.recurrence, err);
	/* null takes it away; absent leaves it */
	if (status == KEEP_OK && kp_json_member(acting->asked, "recurrence") &&
	    !call.change.recurrence.data)
		call.change.recurrence = KEEP_BYTES("");
	if (status == KEEP_OK)
		status = read_zone(acting, &call.change.time_zone, err);
	return status == KEEP_OK ? change_task(acting, &call, err) : status;
}

/* ---------------------------------------------------------------- one action */

typedef keep_status action(const struct acting *acting, keep_error *err);

static action *find_action(const kp_json *asked)
{
	static const struct {
		const char *name;
		action *run;
	} actions[] = {
		{"schedule_task", schedule_task}, {"cancel_task", cancel_task},
		{"pause_task", pause_task},       {"resume_task", resume_task},
		{"update_task", update_task},
	};
	const kp_json *name = kp_json_member(asked, "action");

	for (size_t i = 0; name && name->kind == KP_JSON_TEXT && i < KP_COUNT(actions); i++)
		if (kp_bytes_equal(name->text, keep_bytes_of(actions[i].name)))
			return actions[i].run;
	return NULL;
}

/* An absent taskId is the row's own id, as the source has it, for a new task alone. */
static keep_status read_task_id(struct acting *acting, bool is_new, keep_error *err)
{
	keep_status status = read_text(acting, "taskId", &acting->task_id, err);

	if (status == KEEP_OK && !acting->task_id.data && is_new)
		acting->task_id = acting->message->id;
	return status == KEEP_OK ? kp_check_key("taskId", acting->task_id, err) : status;
}

keep_status kp_action_run(keep_mailbox *mailbox, const keep_session *session,
			  const keep_outbound_message *message, int64_t now_ms, kp_arena *arena,
			  bool *handled, keep_bytes *refused, keep_error *err)
{
	struct acting acting = {.mailbox = mailbox,
				.session = session,
				.message = message,
				.now_ms = now_ms,
				.arena = arena};
	keep_error why = KEEP_ERROR_INIT;
	action *run;
	keep_status status = kp_json_parse(message->content, arena, &acting.asked, &why);

	*handled = false;
	*refused = (keep_bytes){.data = NULL};
	run = status == KEEP_OK ? find_action(acting.asked) : NULL;
	if (status == KEEP_OK && !run)
		return KEEP_OK;
	*handled = true;
	if (status == KEEP_OK)
		status = read_task_id(&acting, run == schedule_task, &why);
	if (status == KEEP_OK)
		status = run(&acting, &why);
	kp_moment("mailbox.action_run");
	if (status == KEEP_INVALID || status == KEEP_CONFLICT || status == KEEP_NOT_FOUND)
		return kp_arena_copy(arena, keep_bytes_of(why.message), refused, err);
	return status == KEEP_OK ? KEEP_OK : kp_fail(err, status, "%s", why.message);
}

/*
 * prompts.c - prompts, with every value that they had.
 *
 * A prompt's revision grows by one with each new value. The value that is replaced becomes a row of
 * prompt_revisions under its own number, in the same transaction, so nothing that was ever said to
 * an agent is lost by an overwrite.
 *
 * Invariants:
 *   1. The same value again changes nothing: no revision, no entry of the audit log.
 *   2. Reverting is setting: it adds a revision and removes none.
 *
 * Tests: tests/contract/test_assistant_prompts.c.
 */
#include "assistant/assistant_private.h"

static const char *const lasting[] = {"system_prompt_default", "system_prompt_custom", "memory",
				      "soul"};

/* ---------------------------------------------------------------- reading */

keep_status keep_assistant_get_prompt(keep_assistant *assistant, keep_bytes key,
				      keep_memory *memory, keep_prompt *out, keep_error *err)
{
	keep_prompt prompt = {.id = 0};
	bool found = false;
	keep_status status = kp_check_key("key", key, err);

	if (status == KEEP_OK)
		status = kp_store_get(&assistant->store, KP_ASSISTANT_GET_PROMPT,
				      KP_VALUES(kp_text_value(key)), &kp_prompt_record, memory,
				      &prompt, &found, err);
	if (status == KEEP_OK && !found)
		status = kp_fail(err, KEEP_NOT_FOUND, "prompt '%" KP_PRI "': there is none",
				 KP_ARG(key));
	if (status == KEEP_OK)
		*out = prompt;
	return status;
}

keep_status keep_assistant_list_prompts(keep_assistant *assistant, keep_memory *memory,
					keep_prompt_list *out, keep_error *err)
{
	return kp_store_list(&assistant->store, KP_ASSISTANT_LIST_PROMPTS, NULL, 0,
			     &kp_prompt_record, memory, &out->items, &out->count, err);
}

struct history {
	keep_bytes key;
	int64_t limit;
	keep_memory *memory;
	keep_prompt_revision_list list;
};

static keep_status query_history(void *ctx, kp_lease *lease, keep_error *err)
{
	struct history *history = ctx;
	bool found = false;
	keep_status status =
		kp_lease_get(lease, KP_ASSISTANT_GET_PROMPT, KP_VALUES(kp_text_value(history->key)),
			     NULL, NULL, NULL, &found, err);

	if (status == KEEP_OK && !found)
		status = kp_fail(err, KEEP_NOT_FOUND, "prompt '%" KP_PRI "': there is none",
				 KP_ARG(history->key));
	if (status == KEEP_OK)
		status = kp_lease_list(
			lease, KP_ASSISTANT_PROMPT_HISTORY,
			KP_VALUES(kp_text_value(history->key), kp_int_value(history->limit)),
			&kp_prompt_revision_record, history->memory, &history->list.items,
			&history->list.count, err);
	return status;
}

keep_status keep_assistant_prompt_history(keep_assistant *assistant, keep_bytes key, size_t limit,
					  keep_memory *memory, keep_prompt_revision_list *out,
					  keep_error *err)
{
	struct history history = {.key = key, .memory = memory};
	keep_status status = kp_check_key("key", key, err);

	if (status == KEEP_OK)
		status = kp_check_limit(limit, 50, KEEP_ASSISTANT_LIST_MAX, &history.limit, err);
	if (status == KEEP_OK)
		status = kp_store_read_whole(&assistant->store, query_history, &history, err);
	if (status == KEEP_OK)
		*out = history.list;
	return status;
}

/* ---------------------------------------------------------------- changing */

struct prompt_change {
	keep_bytes key, value, description;
	int64_t expected;  /* 0: any */
	int64_t revert_to; /* 0: `value` is given */
	bool is_removal;
	const keep_actor *actor;
	int64_t revision; /* out */
};

/* {"revision":…,"bytes":…} with what it came from: no text, which may be long and private. */
static keep_status note_change(kp_lease *lease, const struct prompt_change *change,
			       const char *action, size_t bytes, keep_error *err)
{
	kp_audit_note note = {
		.event_type = "prompt_change", .action = action, .actor = change->actor};
	keep_buffer details = KEEP_BUFFER_INIT;
	kp_json_writer writer;
	keep_status status;

	kp_json_begin(&writer, &details);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "key");
	kp_json_put_text(&writer, change->key);
	kp_json_name(&writer, "revision");
	kp_json_put_integer(&writer, change->revision);
	if (change->revert_to) {
		kp_json_name(&writer, "reverted_to");
		kp_json_put_integer(&writer, change->revert_to);
	}
	kp_json_name(&writer, "bytes");
	kp_json_put_integer(&writer, (int64_t)bytes);
	kp_json_close_object(&writer);
	status = kp_json_finish(&writer, err);
	note.details = kp_buffer_bytes(&details);
	if (status == KEEP_OK)
		status = kp_assistant_note(lease, &note, err);
	keep_buffer_release(&details);
	return status;
}

static keep_status add_prompt(kp_lease *lease, struct prompt_change *change, int64_t now_ms,
			      keep_error *err)
{
	keep_status status =
		kp_lease_run(lease, KP_ASSISTANT_ADD_PROMPT,
			     KP_VALUES(kp_text_value(change->key), kp_text_value(change->value),
				       kp_text_value(change->description), kp_time_value(now_ms)),
			     NULL, err);

	change->revision = 1;
	return status == KEEP_OK ? note_change(lease, change, "set", change->value.len, err)
				 : status;
}

static keep_status replace_value(kp_lease *lease, struct prompt_change *change,
				 const keep_prompt *old, keep_bytes value, int64_t now_ms,
				 keep_error *err)
{
	bool is_same = kp_bytes_equal(old->value, value);
	keep_bytes description = change->description.data ? change->description : old->description;
	keep_status status = KEEP_OK;

	change->revision = old->revision;
	/* Invariant 1. */
	if (is_same && kp_bytes_equal(description, old->description))
		return KEEP_OK;
	if (!is_same) {
		change->revision++;
		status = kp_lease_queue(
			lease, KP_ASSISTANT_ADD_PROMPT_REVISION,
			KP_VALUES(kp_text_value(change->key), kp_int_value(old->revision),
				  kp_text_value(old->value), kp_time_value(old->updated_at),
				  kp_time_value(now_ms)),
			err);
	}
	if (status == KEEP_OK)
		status = kp_lease_run(lease, KP_ASSISTANT_SET_PROMPT,
				      KP_VALUES(kp_text_value(change->key), kp_text_value(value),
						kp_text_value(description), kp_time_value(now_ms),
						kp_int_value(change->revision)),
				      NULL, err);
	return status == KEEP_OK ? note_change(lease, change, change->revert_to ? "revert" : "set",
					       value.len, err)
				 : status;
}

/* The value that a prompt is to have again. */
static keep_status find_revision(kp_lease *lease, const struct prompt_change *change,
				 const keep_prompt *old, kp_arena *arena, keep_bytes *value,
				 keep_error *err)
{
	keep_prompt_revision revision = {.id = 0};
	bool found = false;
	keep_status status;

	*value = old->value;
	if (change->revert_to == old->revision)
		return KEEP_OK;
	status =
		kp_lease_get(lease, KP_ASSISTANT_GET_PROMPT_REVISION,
			     KP_VALUES(kp_text_value(change->key), kp_int_value(change->revert_to)),
			     &kp_prompt_revision_record, arena, &revision, &found, err);
	if (status == KEEP_OK && !found)
		status = kp_fail(err, KEEP_NOT_FOUND,
				 "prompt '%" KP_PRI "': it has no revision %lld",
				 KP_ARG(change->key), (long long)change->revert_to);
	*value = revision.value;
	return status;
}

static keep_status apply_change(void *ctx, kp_lease *lease, keep_error *err)
{
	struct prompt_change *change = ctx;
	int64_t now_ms = kp_clock_ms();
	kp_arena arena = {.head = NULL};
	keep_prompt old = {.id = 0};
	keep_bytes value = change->value;
	bool found = false;
	keep_status status =
		kp_lease_get(lease, KP_ASSISTANT_GET_PROMPT, KP_VALUES(kp_text_value(change->key)),
			     &kp_prompt_record, &arena, &old, &found, err);

	if (status == KEEP_OK && !found && (change->revert_to || change->is_removal))
		status = kp_fail(err, KEEP_NOT_FOUND, "prompt '%" KP_PRI "': there is none",
				 KP_ARG(change->key));
	else if (status == KEEP_OK && change->expected && change->expected != old.revision)
		status = kp_fail(err, KEEP_CONFLICT,
				 "prompt '%" KP_PRI "': it is at revision %lld, not %lld",
				 KP_ARG(change->key), (long long)old.revision,
				 (long long)change->expected);
	else if (status == KEEP_OK && change->revert_to)
		status = find_revision(lease, change, &old, &arena, &value, err);
	change->revision = old.revision;
	if (status == KEEP_OK && change->is_removal) {
		status = kp_lease_run(lease, KP_ASSISTANT_REMOVE_PROMPT,
				      KP_VALUES(kp_text_value(change->key)), NULL, err);
		if (status == KEEP_OK)
			status = note_change(lease, change, "remove", old.value.len, err);
	} else if (status == KEEP_OK && found) {
		status = replace_value(lease, change, &old, value, now_ms, err);
	} else if (status == KEEP_OK) {
		status = add_prompt(lease, change, now_ms, err);
	}
	kp_arena_release(&arena);
	return status;
}

keep_status keep_assistant_set_prompt(keep_assistant *assistant, keep_bytes key, keep_bytes value,
				      keep_bytes description, int64_t expected_revision,
				      const keep_actor *actor, int64_t *revision, keep_error *err)
{
	struct prompt_change change = {.key = key,
				       .value = value,
				       .description = description,
				       .expected = expected_revision,
				       .actor = actor};
	keep_status status = kp_check_key("key", key, err);

	if (status == KEEP_OK && !value.data)
		status = kp_fail(err, KEEP_INVALID, "value: is missing");
	if (status == KEEP_OK)
		status = kp_check_content("value", value, err);
	if (status == KEEP_OK)
		status = kp_check_text("description", description, KP_KEY_MAX, KP_MAY_BE_ABSENT,
				       err);
	if (status == KEEP_OK && expected_revision < 0)
		status = kp_fail(err, KEEP_INVALID, "expected_revision: is below 0");
	if (status == KEEP_OK)
		status = kp_check_actor(actor, err);
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_change, &change, KP_NEWS_NONE,
					 err);
	if (status == KEEP_OK && revision)
		*revision = change.revision;
	return status;
}

keep_status keep_assistant_revert_prompt(keep_assistant *assistant, keep_bytes key,
					 int64_t revision, const keep_actor *actor,
					 int64_t *now_revision, keep_error *err)
{
	struct prompt_change change = {.key = key, .revert_to = revision, .actor = actor};
	keep_status status = kp_check_key("key", key, err);

	if (status == KEEP_OK && revision < 1)
		status = kp_fail(err, KEEP_INVALID, "revision: is below 1");
	if (status == KEEP_OK)
		status = kp_check_actor(actor, err);
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_change, &change, KP_NEWS_NONE,
					 err);
	if (status == KEEP_OK && now_revision)
		*now_revision = change.revision;
	return status;
}

keep_status keep_assistant_remove_prompt(keep_assistant *assistant, keep_bytes key,
					 const keep_actor *actor, keep_error *err)
{
	struct prompt_change change = {.key = key, .is_removal = true, .actor = actor};
	keep_status status = kp_check_key("key", key, err);

	for (size_t i = 0; i < KP_COUNT(lasting) && status == KEEP_OK; i++)
		if (kp_bytes_equal(key, keep_bytes_of(lasting[i])))
			status = kp_fail(err, KEEP_CONFLICT,
					 "prompt '%" KP_PRI "': every store has it", KP_ARG(key));
	if (status == KEEP_OK)
		status = kp_check_actor(actor, err);
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_change, &change, KP_NEWS_NONE,
					 err);
	return status;
}

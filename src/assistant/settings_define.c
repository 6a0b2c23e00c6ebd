/*
 * settings_define.c - what settings there are, and what each may be.
 *
 * A program defines its settings whenever it starts. So the same definition again changes nothing
 * and leaves no entry of the audit log.
 *
 * Invariants:
 *   1. A stored value stays, and is allowed by the definition: one that would not allow it is a
 *      CONFLICT, and nothing changes.
 *   2. A stored value, and a default, of a sensitive setting are encrypted. A setting that becomes
 *      sensitive has its value encrypted in the same transaction; one that has a value, or a
 *      default that is not given anew, does not become plain: what was secret stays so until it is
 *      reset.
 *   3. What cannot be decrypted is not taken for "not there": a definition that would have to read
 *      it fails as the decryption does.
 *
 * What it does not do: forget what was plain before: entries of the audit log from before a setting
 * became sensitive stay as they are, for the log is never changed.
 *
 * Tests: tests/contract/test_assistant_settings.c, tests/torture/test_assistant_secrets_faults.c.
 */
#include "assistant/assistant_private.h"

struct definition {
	keep_assistant *assistant;
	const keep_setting *wanted; /* its default in plain text */
	const keep_actor *actor;
};

static bool is_same_bound(bool has_a, double a, bool has_b, double b)
{
	return has_a == has_b && (!has_a || a == b);
}

/* What decides whether a value is allowed. */
static bool is_same_rule(const keep_setting *a, const keep_setting *b)
{
	return kp_bytes_equal(a->value_type, b->value_type) && a->is_required == b->is_required &&
	       a->is_sensitive == b->is_sensitive &&
	       kp_bytes_equal(a->validation_regex, b->validation_regex) &&
	       is_same_bound(a->has_min_value, a->min_value, b->has_min_value, b->min_value) &&
	       is_same_bound(a->has_max_value, a->max_value, b->has_max_value, b->max_value) &&
	       kp_bytes_equal(a->options, b->options);
}

static bool is_same_definition(const keep_setting *a, const keep_setting *b)
{
	return is_same_rule(a, b) && kp_bytes_equal(a->description, b->description) &&
	       kp_bytes_equal(a->category, b->category) && a->display_order == b->display_order &&
	       kp_bytes_equal(a->default_value, b->default_value) &&
	       kp_bytes_equal(a->environment, b->environment);
}

/* ---------------------------------------------------------------- writing it */

static keep_status note_definition(kp_lease *lease, const struct definition *mine, keep_error *err)
{
	kp_audit_note note = {
		.event_type = "setting_change", .action = "define", .actor = mine->actor};
	keep_buffer details = KEEP_BUFFER_INIT;
	kp_json_writer writer;
	keep_status status;

	kp_json_begin(&writer, &details);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "key");
	kp_json_put_text(&writer, mine->wanted->key);
	kp_json_name(&writer, "value_type");
	kp_json_put_text(&writer, mine->wanted->value_type);
	kp_json_name(&writer, "is_required");
	kp_json_put_bool(&writer, mine->wanted->is_required);
	kp_json_name(&writer, "is_sensitive");
	kp_json_put_bool(&writer, mine->wanted->is_sensitive);
	kp_json_close_object(&writer);
	status = kp_json_finish(&writer, err);
	note.details = kp_buffer_bytes(&details);
	if (status == KEEP_OK)
		status = kp_assistant_note(lease, &note, err);
	keep_buffer_release(&details);
	return status;
}

static kp_value bound_value(bool has, double value)
{
	return has ? (kp_value){.kind = KP_REAL, .real = value} : kp_null_value(KP_REAL);
}

static keep_status write_definition(const struct definition *mine, kp_lease *lease, bool is_new,
				    keep_error *err)
{
	const keep_setting *wanted = mine->wanted;
	keep_buffer token = KEEP_BUFFER_INIT;
	char key_id[KP_KEY_ID_SIZE];
	bool is_secret = wanted->is_sensitive && wanted->default_value.data;
	keep_status status = KEEP_OK;

	if (is_secret)
		status = kp_assistant_encrypt(mine->assistant, lease, wanted->default_value, &token,
					      key_id, err);
	if (status == KEEP_OK)
		status = kp_lease_run(
			lease, is_new ? KP_ASSISTANT_ADD_SETTING : KP_ASSISTANT_CHANGE_SETTING,
			KP_VALUES(kp_text_value(wanted->key), kp_text_value(wanted->value_type),
				  kp_text_value(wanted->description),
				  kp_text_value(wanted->category),
				  kp_bool_value(wanted->is_required),
				  kp_bool_value(wanted->is_sensitive),
				  kp_text_value(wanted->validation_regex),
				  bound_value(wanted->has_min_value, wanted->min_value),
				  bound_value(wanted->has_max_value, wanted->max_value),
				  kp_json_value(wanted->options),
				  kp_int_value(wanted->display_order), kp_time_value(kp_clock_ms()),
				  kp_text_value(is_secret ? kp_buffer_bytes(&token)
							  : wanted->default_value),
				  kp_text_value(wanted->environment),
				  kp_text_value(keep_bytes_of(is_secret ? key_id : NULL))),
			NULL, err);
	if (status == KEEP_OK)
		status = note_definition(lease, mine, err);
	keep_buffer_release(&token);
	return status;
}

/* ---------------------------------------------------------------- a stored value */

/* Invariant 1. */
static keep_status check_stored(const struct definition *mine, keep_bytes plain, keep_error *err)
{
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = kp_setting_check(mine->wanted, plain, NULL, &why);

	if (status == KEEP_INVALID || status == KEEP_FULL)
		return kp_fail(err, KEEP_CONFLICT, "the stored value would not be allowed: %s",
			       why.message);
	return status == KEEP_OK ? status : kp_fail(err, status, "%s", why.message);
}

/* Invariant 2. */
static keep_status hide_stored(const struct definition *mine, kp_lease *lease, keep_bytes plain,
			       keep_error *err)
{
	keep_buffer token = KEEP_BUFFER_INIT;
	char key_id[KP_KEY_ID_SIZE];
	keep_status status =
		kp_assistant_encrypt(mine->assistant, lease, plain, &token, key_id, err);

	if (status == KEEP_OK)
		status = kp_lease_run(lease, KP_ASSISTANT_STORE_SETTING,
				      KP_VALUES(kp_text_value(mine->wanted->key),
						kp_text_value(kp_buffer_bytes(&token)),
						kp_text_value(keep_bytes_of(key_id)),
						kp_time_value(kp_clock_ms())),
				      NULL, err);
	keep_buffer_release(&token);
	return status;
}

static keep_status keep_stored(const struct definition *mine, kp_lease *lease,
			       const keep_setting *old, keep_error *err)
{
	const keep_setting *wanted = mine->wanted;
	keep_buffer room = KEEP_BUFFER_INIT;
	keep_bytes plain = {NULL, 0};
	keep_status status;

	if (!old->value.data || is_same_rule(old, wanted))
		return KEEP_OK;
	if (old->is_sensitive && !wanted->is_sensitive)
		return kp_fail(err, KEEP_CONFLICT,
			       "setting '%" KP_PRI
			       "': it has a sensitive value: reset it before it "
			       "becomes plain",
			       KP_ARG(wanted->key));
	status = kp_setting_reveal(mine->assistant, old, old->value, &room, &plain, err);
	if (status == KEEP_OK)
		status = check_stored(mine, plain, err);
	if (status == KEEP_OK && !old->is_sensitive && wanted->is_sensitive)
		status = hide_stored(mine, lease, plain, err);
	kp_secret_release(&room);
	return status;
}

/* ---------------------------------------------------------------- define */

static keep_status redefine(const struct definition *mine, kp_lease *lease, keep_setting *old,
			    keep_error *err)
{
	keep_buffer room = KEEP_BUFFER_INIT;
	bool is_same = false;
	keep_setting plain_old = *old;
	keep_status status = kp_setting_reveal(mine->assistant, old, old->default_value, &room,
					       &plain_old.default_value, err);

	if (status == KEEP_OK)
		is_same = is_same_definition(&plain_old, mine->wanted);
	kp_secret_release(&room);
	if (status != KEEP_OK || is_same)
		return status;
	status = keep_stored(mine, lease, old, err);
	return status == KEEP_OK ? write_definition(mine, lease, false, err) : status;
}

static keep_status apply_define(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct definition *mine = ctx;
	kp_arena arena = {.head = NULL};
	keep_setting old = {.id = 0};
	bool found = false;
	keep_status status = kp_lease_get(lease, KP_ASSISTANT_GET_SETTING,
					  KP_VALUES(kp_text_value(mine->wanted->key)),
					  &kp_setting_record, &arena, &old, &found, err);

	if (status == KEEP_OK && found)
		status = redefine(mine, lease, &old, err);
	else if (status == KEEP_OK)
		status = write_definition(mine, lease, true, err);
	kp_arena_release(&arena);
	return status;
}

keep_status keep_assistant_define_setting(keep_assistant *assistant, const keep_setting *definition,
					  const keep_actor *actor, keep_error *err)
{
	keep_setting wanted;
	struct definition mine = {.assistant = assistant, .wanted = &wanted, .actor = actor};
	keep_status status;

	if (!definition)
		return kp_fail(err, KEEP_MISUSE, "keep_assistant_define_setting: no definition");
	wanted = *definition;
	wanted.value_type = kp_text_or(wanted.value_type, KEEP_SETTING_VALUE_TYPE_STRING);
	wanted.category = kp_text_or(wanted.category, "application");
	status = kp_setting_check_definition(&wanted, err);
	if (status == KEEP_OK)
		status = kp_check_actor(actor, err);
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_define, &mine, KP_NEWS_NONE, err);
	return status;
}

/* ---------------------------------------------------------------- undefine */

static keep_status apply_undefine(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct definition *mine = ctx;
	kp_arena arena = {.head = NULL};
	keep_setting old = {.id = 0};
	kp_setting_news news = {.action = "undefine", .setting = &old, .actor = mine->actor};
	keep_status status = kp_setting_find(lease, mine->wanted->key, &arena, &old, err);

	news.old_value = old.value;
	if (status == KEEP_OK)
		status = kp_lease_run(lease, KP_ASSISTANT_REMOVE_SETTING,
				      KP_VALUES(kp_text_value(old.key)), NULL, err);
	if (status == KEEP_OK)
		status = kp_setting_note(lease, &news, err);
	kp_arena_release(&arena);
	return status;
}

keep_status keep_assistant_undefine_setting(keep_assistant *assistant, keep_bytes key,
					    const keep_actor *actor, keep_error *err)
{
	const keep_setting wanted = {.key = key};
	struct definition mine = {.assistant = assistant, .wanted = &wanted, .actor = actor};
	keep_status status = kp_check_key("key", key, err);

	if (status == KEEP_OK)
		status = kp_check_actor(actor, err);
	if (status == KEEP_OK)
		status = kp_store_change(&assistant->store, apply_undefine, &mine, KP_NEWS_NONE,
					 err);
	return status;
}

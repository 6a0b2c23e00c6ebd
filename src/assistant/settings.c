/*
 * settings.c - the values of settings: set, reset and read.
 *
 * What a setting is when it is read: the stored value, else the variable of the environment that
 * its definition names, else the default. A variable's text that the definition does not allow is
 * passed over with a warning, and so is an empty one.
 *
 * Invariants:
 *   1. A value is checked, stored and audited in one transaction, by the definition as it is in
 *      that transaction; of several values all are, or none is.
 *   2. validate makes the same checks and writes nothing, no entry of the audit log either.
 *   3. A sensitive value is stored encrypted. It is shown as the mask in lists, in definitions and
 *      in the audit log; only keep_assistant_get_setting answers it, after the entry of that access
 *      is stored. So a store that was opened for reading only does not answer it: DENIED.
 *   4. A sensitive value that cannot be read is not overwritten: DENIED (no given key reads it) or
 *      CORRUPT (it is no token) until it was reset.
 *   5. What is stored and is not of its type, which only another program can have written, is
 *      CORRUPT when it is asked for, and does not keep a list from being answered. A number that
 *      retention goes by (kp_setting_integer) must be allowed as well.
 *
 * What it does not do: decide what a value may be (setting_value.c), or define (settings_define.c).
 *
 * Tests: tests/contract/test_assistant_settings.c, tests/torture/test_assistant_secrets_faults.c.
 */
#include "assistant/assistant_private.h"

#include <stdio.h>
#include <stdlib.h>

enum { NOTE_BYTES_MAX = 200, WHAT_SIZE = 256 };

const char *keep_setting_origin_name(keep_setting_origin origin)
{
	static const char *const names[] = {[KEEP_SETTING_NONE] = "none",
					    [KEEP_SETTING_STORED] = "stored",
					    [KEEP_SETTING_ENVIRONMENT] = "environment",
					    [KEEP_SETTING_DEFAULT] = "default"};

	return (size_t)origin < KP_COUNT(names) ? names[origin] : "?";
}

keep_status kp_setting_find(kp_lease *lease, keep_bytes key, kp_arena *arena, keep_setting *out,
			    keep_error *err)
{
	bool found = false;
	keep_status status =
		kp_lease_get(lease, KP_ASSISTANT_GET_SETTING, KP_VALUES(kp_text_value(key)),
			     &kp_setting_record, arena, out, &found, err);

	if (status == KEEP_OK && !found)
		status = kp_fail(err, KEEP_NOT_FOUND, "setting '%" KP_PRI "': there is none",
				 KP_ARG(key));
	return status;
}

keep_status kp_setting_reveal(const keep_assistant *assistant, const keep_setting *setting,
			      keep_bytes stored, keep_buffer *room, keep_bytes *plain,
			      keep_error *err)
{
	char what[WHAT_SIZE];
	keep_status status;

	*plain = stored;
	if (!setting->is_sensitive || !stored.data)
		return KEEP_OK;
	snprintf(what, sizeof what, "setting '%" KP_PRI "'", KP_ARG(setting->key));
	status = kp_assistant_decrypt(assistant, what, stored, room, err);
	*plain = kp_buffer_bytes(room);
	return status;
}

/* ---------------------------------------------------------------- the audit log */

/* A value as the audit log has it: cut between two characters, masked, or null. */
static void put_noted(kp_json_writer *writer, const char *name, const keep_setting *setting,
		      keep_bytes value)
{
	char text[NOTE_BYTES_MAX + sizeof "…"];
	size_t len = 0, width;

	kp_json_name(writer, name);
	if (value.data && setting->is_sensitive) {
		kp_json_put_text(writer, KEEP_BYTES(KEEP_SETTING_MASK));
		return;
	}
	if (value.len <= NOTE_BYTES_MAX) {
		kp_json_put_text(writer, value);
		return;
	}
	for (; (width = kp_utf8_width((keep_bytes){value.data + len, value.len - len})) > 0 &&
	       len + width <= NOTE_BYTES_MAX;)
		len += width;
	snprintf(text, sizeof text, "%.*s…", (int)len, value.data);
	kp_json_put_text(writer, keep_bytes_of(text));
}

keep_status kp_setting_note(kp_lease *lease, const kp_setting_news *news, keep_error *err)
{
	kp_audit_note note = {
		.event_type = "setting_change", .action = news->action, .actor = news->actor};
	keep_buffer details = KEEP_BUFFER_INIT;
	kp_json_writer writer;
	keep_status status;

	kp_json_begin(&writer, &details);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "key");
	kp_json_put_text(&writer, news->setting->key);
	put_noted(&writer, "old", news->setting, news->old_value);
	put_noted(&writer, "new", news->setting, news->new_value);
	kp_json_close_object(&writer);
	status = kp_json_finish(&writer, err);
	note.details = kp_buffer_bytes(&details);
	if (status == KEEP_OK)
		status = kp_assistant_note(lease, &note, err);
	keep_buffer_release(&details);
	return status;
}

/* ---------------------------------------------------------------- what a value is now */

struct reading {
	keep_setting_origin origin;
	keep_bytes text;
	kp_setting_number number;
};

/* The variable's text, when there is one that the setting allows. */
static keep_status read_environment(const keep_setting *setting, struct reading *reading,
				    keep_error *err)
{
	const char *variable = setting->environment.data ? getenv(setting->environment.data) : NULL;
	keep_bytes text = keep_bytes_of(variable);
	keep_error why = KEEP_ERROR_INIT;
	kp_setting_number number;
	keep_status status;

	if (!text.len)
		return KEEP_OK;
	text = kp_setting_from_environment(setting, text);
	status = kp_setting_check(setting, text, &number, &why);
	if (status == KEEP_OK)
		*reading = (struct reading){KEEP_SETTING_ENVIRONMENT, text, number};
	else if (status == KEEP_NO_MEMORY)
		return kp_fail_memory(err, "a setting's variable");
	else
		kp_log(KEEP_LOG_WARNING, "the variable %" KP_PRI " is passed over: %s",
		       KP_ARG(setting->environment), why.message);
	return KEEP_OK;
}

static keep_status refuse_stored(const keep_setting *setting, keep_status status,
				 const keep_error *why, keep_error *err)
{
	if (status == KEEP_INVALID || status == KEEP_FULL)
		return kp_fail(err, KEEP_CORRUPT, "what is stored is not allowed: %s",
			       why->message);
	return kp_fail(err, status, "setting '%" KP_PRI "': %s", KP_ARG(setting->key),
		       why->message);
}

/* Of the stored value and the default in plain text, absent where there is none. */
static keep_status read_value(const keep_setting *setting, keep_bytes stored, keep_bytes fallback,
			      struct reading *reading, keep_error *err)
{
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = KEEP_OK;

	*reading = (struct reading){.origin = KEEP_SETTING_NONE};
	if (!stored.data)
		status = read_environment(setting, reading, err);
	if (status != KEEP_OK || reading->origin != KEEP_SETTING_NONE ||
	    (!stored.data && !fallback.data))
		return status;
	reading->origin = stored.data ? KEEP_SETTING_STORED : KEEP_SETTING_DEFAULT;
	reading->text = stored.data ? stored : fallback;
	status = kp_setting_parse(setting, reading->text, &reading->number, &why);
	return status == KEEP_OK ? KEEP_OK : refuse_stored(setting, status, &why, err);
}

static void mask(keep_bytes *text)
{
	if (text->data)
		*text = KEEP_BYTES(KEEP_SETTING_MASK);
}

static void tell(const keep_setting *setting, const struct reading *reading, keep_setting_read *out)
{
	*out = (keep_setting_read){
		.definition = *setting,
		.origin = reading->origin,
		.text = reading->text,
		.integer = reading->number.integer,
		.real = reading->number.real,
		.boolean = reading->number.boolean,
	};
	if (setting->is_sensitive) {
		mask(&out->definition.value);
		mask(&out->definition.default_value);
	}
}

/* ---------------------------------------------------------------- get */

struct access {
	keep_assistant *assistant;
	keep_bytes key;
	const keep_actor *actor;
	/* out */
	keep_memory *memory;
	keep_setting setting;
	keep_buffer stored, fallback; /* in plain text */
	struct reading reading;
	keep_status status; /* of an access that failed, and was noted */
	keep_error why;
};

static keep_status query_setting(void *ctx, kp_lease *lease, keep_error *err)
{
	struct access *access = ctx;

	return kp_setting_find(lease, access->key, access->memory, &access->setting, err);
}

static keep_status note_access(kp_lease *lease, const struct access *access, keep_error *err)
{
	kp_audit_note note = {.event_type = "setting_access",
			      .action = "get",
			      .actor = access->actor,
			      .failed = access->status != KEEP_OK};
	keep_buffer details = KEEP_BUFFER_INIT;
	kp_json_writer writer;
	keep_status status;

	if (note.failed)
		note.error_message = keep_bytes_of(access->why.message);
	kp_json_begin(&writer, &details);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "key");
	kp_json_put_text(&writer, access->key);
	kp_json_close_object(&writer);
	status = kp_json_finish(&writer, err);
	note.details = kp_buffer_bytes(&details);
	if (status == KEEP_OK)
		status = kp_assistant_note(lease, &note, err);
	keep_buffer_release(&details);
	return status;
}

static keep_status reveal(struct access *access, keep_error *err)
{
	const keep_setting *setting = &access->setting;
	keep_bytes stored = {NULL, 0}, fallback = {NULL, 0};
	keep_status status = kp_setting_reveal(access->assistant, setting, setting->value,
					       &access->stored, &stored, err);

	/* A default is not read where it is not needed. */
	if (status == KEEP_OK && !stored.data)
		status = kp_setting_reveal(access->assistant, setting, setting->default_value,
					   &access->fallback, &fallback, err);
	return status == KEEP_OK ? read_value(setting, stored, fallback, &access->reading, err)
				 : status;
}

/* Invariant 3; a failure is noted, too, so it is none of the transaction. */
static keep_status apply_access(void *ctx, kp_lease *lease, keep_error *err)
{
	struct access *access = ctx;
	keep_status status = query_setting(access, lease, err);

	if (status != KEEP_OK)
		return status;
	access->status = reveal(access, &access->why);
	if (access->status == KEEP_NO_MEMORY)
		return kp_fail_memory(err, "a setting");
	return note_access(lease, access, err);
}

keep_status keep_assistant_get_setting(keep_assistant *assistant, keep_bytes key,
				       const keep_actor *actor, keep_memory *memory,
				       keep_setting_read *out, keep_error *err)
{
	struct access access = {
		.assistant = assistant, .key = key, .actor = actor, .memory = memory};
	keep_bytes text = {NULL, 0};
	keep_status status = kp_check_key("key", key, err);

	if (status == KEEP_OK)
		status = kp_check_actor(actor, err);
	if (status == KEEP_OK)
		status = kp_store_read(&assistant->store, query_setting, &access, err);
	if (status == KEEP_OK && access.setting.is_sensitive) {
		status = kp_store_change(&assistant->store, apply_access, &access, KP_NEWS_NONE,
					 err);
		if (status == KEEP_OK && access.status != KEEP_OK) {
			status = access.status;
			if (err)
				*err = access.why;
		}
	} else if (status == KEEP_OK) {
		status = reveal(&access, err);
	}
	/* Not left in wiped buffers, nor in the environment. */
	if (status == KEEP_OK)
		status = kp_arena_copy(memory, access.reading.text, &text, err);
	if (status == KEEP_OK) {
		access.reading.text = text;
		tell(&access.setting, &access.reading, out);
	}
	kp_secret_release(&access.stored);
	kp_secret_release(&access.fallback);
	return status;
}

keep_status kp_setting_integer(kp_lease *lease, const char *key, int64_t fallback, int64_t *out,
			       keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_setting setting = {.id = 0};
	struct reading reading = {.origin = KEEP_SETTING_NONE};
	keep_error why = KEEP_ERROR_INIT;
	bool found = false;
	keep_status status = kp_lease_get(lease, KP_ASSISTANT_GET_SETTING,
					  KP_VALUES(kp_text_value(keep_bytes_of(key))),
					  &kp_setting_record, &arena, &setting, &found, err);

	*out = fallback;
	found = found && !setting.is_sensitive &&
		kp_setting_is_type(&setting, KEEP_SETTING_VALUE_TYPE_INT);
	if (status == KEEP_OK && found)
		status = read_value(&setting, setting.value, setting.default_value, &reading, err);
	/* Invariant 5. */
	if (status == KEEP_OK && reading.origin != KEEP_SETTING_NONE) {
		status = kp_setting_check(&setting, reading.text, &reading.number, &why);
		if (status == KEEP_OK)
			*out = reading.number.integer;
		else
			status = refuse_stored(&setting, status, &why, err);
	}
	kp_arena_release(&arena);
	return status;
}

/* ---------------------------------------------------------------- list */

/* The first text behind all that begin with `prefix`, in the order of bytes; absent: there is
   none. */
static keep_status find_end(keep_bytes prefix, kp_arena *arena, keep_bytes *end, keep_error *err)
{
	keep_bytes copy = {NULL, 0};
	keep_status status = kp_arena_copy(arena, prefix, &copy, err);
	size_t len = copy.len, width = 0;
	uint32_t letter;
	char *text = NULL;

	*end = (keep_bytes){NULL, 0};
	if (status != KEEP_OK || !len)
		return status;
	/* A letter may become longer by one. */
	text = kp_arena_alloc(arena, len + 2);
	if (!text)
		return kp_fail_memory(err, "a prefix");
	memcpy(text, copy.data, len);
	while (len > 0) {
		size_t at = len - 1;

		while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80)
			at--;
		letter = kp_letter_read(text + at, text + len, &width);
		len = at;
		if (letter == 0x10ffff)
			continue;
		letter = letter == 0xd7ff ? 0xe000 : letter + 1;
		len += kp_letter_write(letter, text + at);
		*end = (keep_bytes){text, len};
		break;
	}
	return KEEP_OK;
}

/* As lists show it: a sensitive one as it is hidden, a damaged one as it is stored. */
static keep_status show(const keep_setting *setting, keep_memory *memory, keep_setting_read *out,
			keep_error *err)
{
	struct reading reading = {.origin = KEEP_SETTING_NONE};
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = KEEP_OK;

	if (!setting->is_sensitive) {
		status =
			read_value(setting, setting->value, setting->default_value, &reading, &why);
	} else if (setting->value.data) {
		reading.origin = KEEP_SETTING_STORED;
	} else {
		status = read_environment(setting, &reading, &why);
		if (reading.origin == KEEP_SETTING_NONE && setting->default_value.data)
			reading.origin = KEEP_SETTING_DEFAULT;
	}
	if (status == KEEP_CORRUPT)
		kp_log(KEEP_LOG_WARNING, "%s", why.message);
	else if (status != KEEP_OK)
		return kp_fail(err, status, "%s", why.message);
	if (setting->is_sensitive) {
		reading.number = (kp_setting_number){.integer = 0};
		reading.text = (keep_bytes){NULL, 0};
		if (reading.origin != KEEP_SETTING_NONE)
			reading.text = KEEP_BYTES(KEEP_SETTING_MASK);
	} else if (reading.origin == KEEP_SETTING_ENVIRONMENT) {
		status = kp_arena_copy(memory, reading.text, &reading.text, err);
		if (status != KEEP_OK)
			return status;
	}
	tell(setting, &reading, out);
	return KEEP_OK;
}

keep_status keep_assistant_list_settings(keep_assistant *assistant, keep_bytes category,
					 keep_bytes prefix, keep_memory *memory,
					 keep_setting_read_list *out, keep_error *err)
{
	keep_setting *rows = NULL;
	keep_setting_read *items = NULL;
	keep_bytes end = {NULL, 0};
	size_t count = 0;
	keep_status status = kp_check_text("category", category, KP_KEY_MAX, KP_MAY_BE_ABSENT, err);

	if (status == KEEP_OK)
		status = kp_check_text("prefix", prefix, KP_KEY_MAX, KP_MAY_BE_ABSENT, err);
	if (status == KEEP_OK)
		status = find_end(prefix, memory, &end, err);
	if (status == KEEP_OK)
		status = kp_store_list(&assistant->store, KP_ASSISTANT_LIST_SETTINGS,
				       KP_VALUES(kp_text_value(category), kp_text_value(prefix),
						 kp_text_value(end)),
				       &kp_setting_record, memory, &rows, &count, err);
	if (status != KEEP_OK)
		return status;
	items = kp_arena_alloc(memory, (count + 1) * sizeof *items);
	if (!items)
		return kp_fail_memory(err, "a list of settings");
	for (size_t i = 0; i < count && status == KEEP_OK; i++)
		status = show(&rows[i], memory, &items[i], err);
	if (status == KEEP_OK)
		*out = (keep_setting_read_list){items, count};
	return status;
}

/* ---------------------------------------------------------------- set and reset */

struct change {
	keep_assistant *assistant;
	const keep_setting_value *values;
	size_t count;
	bool only_checked; /* Invariant 2 */
	const keep_actor *actor;
};

static keep_status store_value(kp_lease *lease, keep_bytes key, keep_bytes value,
			       const char *key_id, keep_error *err)
{
	return kp_lease_run(lease, KP_ASSISTANT_STORE_SETTING,
			    KP_VALUES(kp_text_value(key), kp_text_value(value),
				      kp_text_value(keep_bytes_of(key_id)),
				      kp_time_value(kp_clock_ms())),
			    NULL, err);
}

/* Nothing when there is no value. */
static keep_status clear_value(kp_lease *lease, const keep_setting *setting,
			       const keep_actor *actor, keep_error *err)
{
	kp_setting_news news = {
		.action = "reset", .setting = setting, .old_value = setting->value, .actor = actor};
	keep_status status;

	if (!setting->value.data)
		return KEEP_OK;
	status = store_value(lease, setting->key, (keep_bytes){NULL, 0}, NULL, err);
	return status == KEEP_OK ? kp_setting_note(lease, &news, err) : status;
}

/* Invariant 4. */
static keep_status check_replaced(const struct change *change, const keep_setting *setting,
				  keep_error *err)
{
	keep_buffer room = KEEP_BUFFER_INIT;
	keep_bytes old = {NULL, 0};
	keep_status status =
		kp_setting_reveal(change->assistant, setting, setting->value, &room, &old, err);

	kp_secret_release(&room);
	if (status == KEEP_DENIED && change->assistant->keys)
		return kp_fail(err, status,
			       "setting '%" KP_PRI "': no given key reads what is stored: reset it "
			       "first",
			       KP_ARG(setting->key));
	if (status == KEEP_CORRUPT)
		return kp_fail(err, status,
			       "setting '%" KP_PRI "': what is stored is damaged: reset it first",
			       KP_ARG(setting->key));
	return status;
}

static keep_status set_value(const struct change *change, kp_lease *lease,
			     const keep_setting *setting, keep_bytes value, keep_error *err)
{
	kp_setting_news news = {.action = "set",
				.setting = setting,
				.old_value = setting->value,
				.new_value = value,
				.actor = change->actor};
	keep_buffer token = KEEP_BUFFER_INIT;
	char key_id[KP_KEY_ID_SIZE];
	keep_status status = KEEP_OK;

	if (setting->is_sensitive)
		status = check_replaced(change, setting, err);
	if (status == KEEP_OK && setting->is_sensitive)
		status = kp_assistant_encrypt(change->assistant, lease, value, &token, key_id, err);
	if (status == KEEP_OK)
		status = store_value(lease, setting->key,
				     setting->is_sensitive ? kp_buffer_bytes(&token) : value,
				     setting->is_sensitive ? key_id : NULL, err);
	if (status == KEEP_OK)
		status = kp_setting_note(lease, &news, err);
	keep_buffer_release(&token);
	return status;
}

/* One value: known, then all that setting_value.c checks, then stored. */
static keep_status change_one(const struct change *change, kp_lease *lease,
			      const keep_setting_value *given, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_setting setting = {.id = 0};
	bool is_nothing = given->value.data && !given->value.len;
	keep_status status = kp_setting_find(lease, given->key, &arena, &setting, err);

	is_nothing = is_nothing && !setting.is_required;
	if (status == KEEP_OK && !is_nothing)
		status = kp_setting_check(&setting, given->value, NULL, err);
	if (status == KEEP_OK && !is_nothing && change->only_checked && setting.is_sensitive) {
		status = check_replaced(change, &setting, err);
		if (status == KEEP_OK)
			status = kp_assistant_may_encrypt(change->assistant, lease, err);
	} else if (status == KEEP_OK && is_nothing && !change->only_checked)
		status = clear_value(lease, &setting, change->actor, err);
	else if (status == KEEP_OK && !change->only_checked)
		status = set_value(change, lease, &setting, given->value, err);
	kp_arena_release(&arena);
	return status;
}

static keep_status apply_values(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct change *change = ctx;
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < change->count && status == KEEP_OK; i++)
		status = change_one(change, lease, &change->values[i], err);
	return status;
}

keep_status keep_assistant_set_setting(keep_assistant *assistant, keep_bytes key, keep_bytes value,
				       const keep_actor *actor, keep_error *err)
{
	const keep_setting_value given = {key, value};

	return keep_assistant_set_settings(assistant, &given, 1, actor, err);
}

keep_status keep_assistant_validate_setting(keep_assistant *assistant, keep_bytes key,
					    keep_bytes value, keep_error *err)
{
	const keep_setting_value given = {key, value};
	struct change change = {
		.assistant = assistant, .values = &given, .count = 1, .only_checked = true};
	keep_status status = kp_check_key("key", key, err);

	return status == KEEP_OK
		       ? kp_store_read_whole(&assistant->store, apply_values, &change, err)
		       : status;
}

keep_status keep_assistant_set_settings(keep_assistant *assistant, const keep_setting_value *values,
					size_t count, const keep_actor *actor, keep_error *err)
{
	struct change change = {
		.assistant = assistant, .values = values, .count = count, .actor = actor};
	keep_status status = kp_check_actor(actor, err);

	if (status == KEEP_OK && count > KEEP_ASSISTANT_LIST_MAX)
		status = kp_fail(err, KEEP_INVALID, "settings: %zu are given, the limit is %d",
				 count, KEEP_ASSISTANT_LIST_MAX);
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		status = kp_check_key("key", values[i].key, err);
		for (size_t j = 0; j < i && status == KEEP_OK; j++)
			if (kp_bytes_equal(values[i].key, values[j].key))
				status = kp_fail(err, KEEP_INVALID,
						 "setting '%" KP_PRI "': it is given twice",
						 KP_ARG(values[i].key));
	}
	if (status == KEEP_OK && count)
		status = kp_store_change(&assistant->store, apply_values, &change, KP_NEWS_NONE,
					 err);
	return status;
}

static keep_status apply_reset(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct change *change = ctx;
	kp_arena arena = {.head = NULL};
	keep_setting setting = {.id = 0};
	struct reading reading = {.origin = KEEP_SETTING_NONE};
	keep_status status = kp_setting_find(lease, change->values[0].key, &arena, &setting, err);

	if (status == KEEP_OK && setting.is_required && !setting.default_value.data) {
		status = read_environment(&setting, &reading, err);
		if (status == KEEP_OK && reading.origin == KEEP_SETTING_NONE)
			status = kp_fail(err, KEEP_CONFLICT,
					 "setting '%" KP_PRI "': it is required, and has neither a "
					 "default nor a variable that is set",
					 KP_ARG(setting.key));
	}
	if (status == KEEP_OK)
		status = clear_value(lease, &setting, change->actor, err);
	kp_arena_release(&arena);
	return status;
}

keep_status keep_assistant_reset_setting(keep_assistant *assistant, keep_bytes key,
					 const keep_actor *actor, keep_error *err)
{
	const keep_setting_value given = {.key = key};
	struct change change = {
		.assistant = assistant, .values = &given, .count = 1, .actor = actor};
	keep_status status = kp_check_key("key", key, err);

	if (status == KEEP_OK)
		status = kp_check_actor(actor, err);
	if (status == KEEP_OK)
		status =
			kp_store_change(&assistant->store, apply_reset, &change, KP_NEWS_NONE, err);
	return status;
}

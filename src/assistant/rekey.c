/*
 * rekey.c - everything that is encrypted becomes encrypted under the newest key.
 *
 * Credentials, then sensitive settings, in the order of their ids, a batch of rows a transaction.
 * Each token is decrypted, also those that say that they are under the newest key: that is how what
 * cannot be read is found before the older keys are thrown away. When a pass is over and another
 * process, which has only older keys, put something under them meanwhile, there is another pass.
 *
 * Invariants:
 *   1. A row has its old token or its new one, and the key's id with it, whenever it is looked at.
 *   2. Nothing is lost by an end at any moment: what is renewed is found as current the next time.
 *   3. What no given key reads stays as it is, and is counted.
 *   4. A key's check value goes in the transaction that finds nothing under it any more. From then
 *      on a process that has only that key is DENIED what it would encrypt (keys.c).
 *   5. Each batch that renewed something is in the audit log, and so is the end.
 *
 * What it does not do: change key files; who runs it does that before (the new key in front).
 *
 * Tests: tests/contract/test_assistant_rekey.c, tests/crash/test_assistant_rekey_crash.c.
 */
#include "assistant/assistant_private.h"

#include <stdio.h>

enum { BATCH = 16, PASSES_MAX = 16 };

struct batch {
	keep_assistant *assistant;
	const keep_actor *actor;
	bool is_settings;
	int64_t after_id;
	/* out */
	int64_t last_id;
	size_t rows;
	int64_t unread_elsewhere; /* of `remaining`, those that count_under_other_keys counts */
	keep_rekey_result result;
};

struct ending {
	keep_assistant *assistant;
	const keep_actor *actor;
	const keep_rekey_result *result;
	int64_t unread_elsewhere; /* in the last pass */
	bool is_over;             /* out: nothing came under other keys meanwhile */
};

/* A column of a row: its token, and the key's id beside it. */
struct cell {
	keep_bytes token, key_id;
	keep_buffer renewed;
};

/* {"renewed":…,…,"key_id":…} */
static keep_status note_rekey(const keep_assistant *assistant, kp_lease *lease, const char *action,
			      const keep_actor *actor, const keep_rekey_result *result,
			      keep_error *err)
{
	kp_audit_note note = {.event_type = "key_change",
			      .action = action,
			      .actor = actor,
			      .failed = result->remaining > 0};
	char key_id[KP_KEY_ID_SIZE];
	keep_buffer details = KEEP_BUFFER_INIT;
	kp_json_writer writer;
	keep_status status;

	kp_keyring_id(assistant->keys, 0, key_id);
	kp_json_begin(&writer, &details);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "key_id");
	kp_json_put_text(&writer, keep_bytes_of(key_id));
	kp_json_name(&writer, "renewed");
	kp_json_put_integer(&writer, result->renewed);
	kp_json_name(&writer, "current");
	kp_json_put_integer(&writer, result->current);
	kp_json_name(&writer, "remaining");
	kp_json_put_integer(&writer, result->remaining);
	kp_json_close_object(&writer);
	status = kp_json_finish(&writer, err);
	note.details = kp_buffer_bytes(&details);
	if (status == KEEP_OK)
		status = kp_assistant_note(lease, &note, err);
	keep_buffer_release(&details);
	return status;
}

/* ---------------------------------------------------------------- a batch */

/* *changed: the row is to be written, with the token and the id of the newest key. */
static keep_status renew(struct batch *batch, kp_lease *lease, struct cell *cell, char *newest,
			 bool *changed, keep_error *err)
{
	keep_buffer plain = KEEP_BUFFER_INIT;
	size_t index = 0;
	keep_status status;

	if (!cell->token.data)
		return KEEP_OK;
	status = kp_fernet_decrypt(batch->assistant->keys, cell->token, -1, 0, &plain, &index, err);
	if (status == KEEP_OK && index > 0) {
		status = kp_assistant_encrypt(batch->assistant, lease, kp_buffer_bytes(&plain),
					      &cell->renewed, newest, err);
		cell->token = kp_buffer_bytes(&cell->renewed);
		batch->result.renewed++;
		*changed = true;
	} else if (status == KEEP_OK) {
		batch->result.current++;
		*changed |= !kp_bytes_equal(cell->key_id, keep_bytes_of(newest));
	} else if (status == KEEP_DENIED || status == KEEP_CORRUPT || status == KEEP_FULL) {
		batch->result.remaining++;
		if (!kp_bytes_equal(cell->key_id, keep_bytes_of(newest)))
			batch->unread_elsewhere += cell->key_id.data || !batch->is_settings;
		kp_secret_release(&plain);
		return KEEP_OK;
	}
	cell->key_id = keep_bytes_of(newest);
	kp_secret_release(&plain);
	return status;
}

static keep_status renew_credential(struct batch *batch, kp_lease *lease,
				    const keep_service_credential *row, keep_error *err)
{
	struct cell cell = {.token = row->credential_data, .key_id = row->key_id};
	char newest[KP_KEY_ID_SIZE];
	bool changed = false;
	keep_status status;

	kp_keyring_id(batch->assistant->keys, 0, newest);
	status = renew(batch, lease, &cell, newest, &changed, err);
	if (status == KEEP_OK && changed)
		status = kp_lease_run(lease, KP_ASSISTANT_RENEW_CREDENTIAL,
				      KP_VALUES(kp_int_value(row->id), kp_text_value(cell.token),
						kp_text_value(cell.key_id)),
				      NULL, err);
	keep_buffer_release(&cell.renewed);
	return status;
}

static keep_status renew_setting(struct batch *batch, kp_lease *lease, const keep_setting *row,
				 keep_error *err)
{
	struct cell value = {.token = row->value, .key_id = row->key_id};
	struct cell fallback = {.token = row->default_value, .key_id = row->default_key_id};
	char newest[KP_KEY_ID_SIZE];
	bool changed = false;
	keep_status status;

	kp_keyring_id(batch->assistant->keys, 0, newest);
	status = renew(batch, lease, &value, newest, &changed, err);
	if (status == KEEP_OK)
		status = renew(batch, lease, &fallback, newest, &changed, err);
	if (status == KEEP_OK && changed)
		status = kp_lease_run(lease, KP_ASSISTANT_RENEW_SETTING,
				      KP_VALUES(kp_int_value(row->id), kp_text_value(value.token),
						kp_text_value(value.key_id),
						kp_text_value(fallback.token),
						kp_text_value(fallback.key_id)),
				      NULL, err);
	keep_buffer_release(&value.renewed);
	keep_buffer_release(&fallback.renewed);
	return status;
}

static keep_status renew_credentials(struct batch *batch, kp_lease *lease, kp_arena *arena,
				     keep_error *err)
{
	keep_service_credential *rows = NULL;
	keep_status status =
		kp_lease_list(lease, KP_ASSISTANT_CREDENTIALS_BEHIND,
			      KP_VALUES(kp_int_value(batch->after_id), kp_int_value(BATCH)),
			      &kp_service_credential_record, arena, &rows, &batch->rows, err);

	for (size_t i = 0; status == KEEP_OK && i < batch->rows; i++) {
		status = renew_credential(batch, lease, &rows[i], err);
		batch->last_id = rows[i].id;
	}
	return status;
}

static keep_status renew_settings(struct batch *batch, kp_lease *lease, kp_arena *arena,
				  keep_error *err)
{
	keep_setting *rows = NULL;
	keep_status status =
		kp_lease_list(lease, KP_ASSISTANT_SECRET_SETTINGS_BEHIND,
			      KP_VALUES(kp_int_value(batch->after_id), kp_int_value(BATCH)),
			      &kp_setting_record, arena, &rows, &batch->rows, err);

	for (size_t i = 0; status == KEEP_OK && i < batch->rows; i++) {
		status = renew_setting(batch, lease, &rows[i], err);
		batch->last_id = rows[i].id;
	}
	return status;
}

static keep_status apply_batch(void *ctx, kp_lease *lease, keep_error *err)
{
	struct batch *batch = ctx;
	kp_arena arena = {.head = NULL};
	keep_status status;

	batch->last_id = batch->after_id;
	batch->rows = 0;
	batch->unread_elsewhere = 0;
	batch->result = (keep_rekey_result){.renewed = 0};
	status = batch->is_settings ? renew_settings(batch, lease, &arena, err)
				    : renew_credentials(batch, lease, &arena, err);
	if (status == KEEP_OK && batch->result.renewed)
		status = note_rekey(batch->assistant, lease, "renew", batch->actor, &batch->result,
				    err);
	kp_arena_release(&arena);
	return status;
}

/* All rows of one kind, batch after batch. */
static keep_status renew_all(struct batch *batch, keep_rekey_result *sum, int64_t *unread,
			     keep_error *err)
{
	keep_status status;

	batch->after_id = INT64_MIN;
	do {
		status = kp_store_change(&batch->assistant->store, apply_batch, batch, KP_NEWS_NONE,
					 err);
		if (status != KEEP_OK)
			return status;
		batch->after_id = batch->last_id;
		sum->renewed += batch->result.renewed;
		sum->current += batch->result.current;
		sum->remaining += batch->result.remaining;
		*unread += batch->unread_elsewhere;
		kp_moment("rekey.batch");
	} while (batch->rows == BATCH);
	return KEEP_OK;
}

/* ---------------------------------------------------------------- the end */

/* Invariant 4: all but the newest key's. */
static keep_status drop_unused_checks(const keep_assistant *assistant, kp_lease *lease,
				      keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_assistant_value *checks = NULL;
	char newest[KP_KEY_ID_SIZE];
	size_t count = 0;
	keep_status status =
		kp_lease_list(lease, KP_ASSISTANT_LIST_KEY_CHECKS, NULL, 0,
			      &kp_assistant_value_record, &arena, &checks, &count, err);

	kp_keyring_id(assistant->keys, 0, newest);
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		keep_bytes id = {checks[i].name.data + sizeof KP_KEY_CHECK_PREFIX - 1,
				 checks[i].name.len - (sizeof KP_KEY_CHECK_PREFIX - 1)};
		int64_t is_used = 0;

		if (kp_bytes_equal(id, keep_bytes_of(newest)))
			continue;
		status = kp_lease_int(lease, KP_ASSISTANT_IS_KEY_IN_USE,
				      KP_VALUES(kp_text_value(id)), &is_used, NULL, err);
		if (status == KEEP_OK && !is_used)
			status = kp_lease_run(lease, KP_ASSISTANT_REMOVE_KEY_CHECK,
					      KP_VALUES(kp_text_value(checks[i].name)), NULL, err);
	}
	kp_arena_release(&arena);
	return status;
}

static keep_status apply_end(void *ctx, kp_lease *lease, keep_error *err)
{
	struct ending *ending = ctx;
	char newest[KP_KEY_ID_SIZE];
	int64_t others = 0, has_secrets = 0;
	keep_status status;

	kp_keyring_id(ending->assistant->keys, 0, newest);
	status = kp_lease_int(lease, KP_ASSISTANT_COUNT_UNDER_OTHER_KEYS,
			      KP_VALUES(kp_text_value(keep_bytes_of(newest))), &others, NULL, err);
	ending->is_over = others <= ending->unread_elsewhere;
	if (status != KEEP_OK || !ending->is_over)
		return status;
	status = kp_lease_int(lease, KP_ASSISTANT_HAS_SECRETS, NULL, 0, &has_secrets, NULL, err);
	if (status == KEEP_OK && has_secrets)
		status = kp_assistant_take_key(ending->assistant, lease, err);
	if (status == KEEP_OK)
		status = drop_unused_checks(ending->assistant, lease, err);
	return status == KEEP_OK ? note_rekey(ending->assistant, lease, "rekey", ending->actor,
					      ending->result, err)
				 : status;
}

static keep_status check_keys(void *ctx, kp_lease *lease, keep_error *err)
{
	return kp_assistant_may_encrypt(ctx, lease, err);
}

keep_status keep_assistant_rekey(keep_assistant *assistant, const keep_actor *actor,
				 keep_rekey_result *result, keep_error *err)
{
	keep_rekey_result sum = {.renewed = 0};
	struct batch batch = {.assistant = assistant, .actor = actor};
	struct ending ending = {.assistant = assistant, .actor = actor, .result = &sum};
	keep_status status = kp_check_actor(actor, err);

	*result = sum;
	if (status == KEEP_OK)
		status = kp_store_read_whole(&assistant->store, check_keys, assistant, err);
	for (int pass = 0; pass < PASSES_MAX && status == KEEP_OK && !ending.is_over; pass++) {
		/* What an earlier pass renewed is current in this one. */
		sum.current = -sum.renewed;
		sum.remaining = ending.unread_elsewhere = 0;
		batch.is_settings = false;
		status = renew_all(&batch, &sum, &ending.unread_elsewhere, err);
		batch.is_settings = true;
		if (status == KEEP_OK)
			status = renew_all(&batch, &sum, &ending.unread_elsewhere, err);
		if (sum.current < 0) /* some of it was removed meanwhile */
			sum.current = 0;
		if (status == KEEP_OK)
			status = kp_store_change(&assistant->store, apply_end, &ending,
						 KP_NEWS_NONE, err);
	}
	if (status != KEEP_OK)
		return status;
	*result = sum;
	if (!ending.is_over)
		return kp_fail(err, KEEP_BUSY, "others go on to encrypt with older keys");
	if (sum.remaining)
		return kp_fail(err, KEEP_DENIED,
			       "no given key reads %lld of what is encrypted; the rest is under "
			       "the newest key",
			       (long long)sum.remaining);
	return KEEP_OK;
}

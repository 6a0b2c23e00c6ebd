/*
 * operations_assistant.c - the assistant's store that a session has open, and its description.
 *
 * A home has one: a folder as HOME/assistant/assistant.db, a server as the schema assistant. A
 * session opened on a store's own URL has that one.
 *
 * Invariants:
 *   1. The store is opened by the first call that needs it and stays open as long as the session.
 *   2. A change makes a store that is missing. A read does not: in a home, a missing store is an
 * empty one; behind a URL of its own it is NOT_FOUND. A wait in a home makes it.
 *   3. A store that is opened after the session was cancelled is cancelled at once.
 *   4. What a session of one call claims stays claimed for the lease's time; what a lasting session
 *      claims is given back when its process ends.
 *   5. A home's key file is made with the home, and never again: a store whose key was lost is
 * refused, not given another.
 *
 * What it does not do: describe operations; each group has its own file.
 *
 * Tests: tests/cli/test_cli_assistant.py.
 */
#include "operations/operations_assistant.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_SIZE = 1026 };

typedef struct assistant_state {
	const kp_place *place;
	keep_assistant_options options;
	char service[66];
	char user_id[TEXT_SIZE], ip_address[TEXT_SIZE], key_file[TEXT_SIZE];
	keep_actor actor;
	pthread_mutex_t mutex;     /* guards what follows */
	keep_assistant *assistant; /* NULL: not yet */
	bool cancelled;
} assistant_state;

/* Places in the settings. */
enum {
	SETTING_SERVICE,
	SETTING_DURABILITY,
	SETTING_TIMEOUT_MS,
	SETTING_READ_ONLY,
	SETTING_USER_ID,
	SETTING_IP_ADDRESS,
	SETTING_KEY_FILE,
	SETTINGS
};

/* ---------------------------------------------------------------- the state */

/* One byte more than is allowed is kept, so that a text that is too long stays so. */
static keep_bytes keep_text(char *copy, size_t size, keep_bytes text)
{
	if (!text.data || !text.len)
		return (keep_bytes){NULL, 0};
	(void)snprintf(copy, size, "%.*s", (int)text.len, text.data);
	return keep_bytes_of(copy);
}

static keep_status open_state(const kp_place *place, const kp_argument *settings, void **state,
			      keep_error *err)
{
	assistant_state *self = kp_alloc_zero(sizeof *self);

	*state = self;
	if (!self)
		return kp_fail_memory(err, "a session");
	self->place = place;
	(void)keep_text(self->service, sizeof self->service, settings[SETTING_SERVICE].bytes);
	self->actor.user_id = keep_text(self->user_id, TEXT_SIZE, settings[SETTING_USER_ID].bytes);
	self->actor.ip_address =
		keep_text(self->ip_address, TEXT_SIZE, settings[SETTING_IP_ADDRESS].bytes);
	self->options = (keep_assistant_options)KEEP_ASSISTANT_OPTIONS_INIT;
	self->options.service = self->service;
	self->options.relaxed =
		kp_bytes_equal(settings[SETTING_DURABILITY].bytes, KEEP_BYTES("relaxed"));
	self->options.timeout_ms = settings[SETTING_TIMEOUT_MS].integer;
	self->options.read_only = settings[SETTING_READ_ONLY].boolean;
	if (keep_text(self->key_file, TEXT_SIZE, settings[SETTING_KEY_FILE].bytes).data)
		self->options.key_file = self->key_file;
	pthread_mutex_init(&self->mutex, NULL);
	return KEEP_OK;
}

static void close_state(void **state)
{
	assistant_state *self = *state;

	*state = NULL;
	if (!self)
		return;
	keep_assistant_close(&self->assistant);
	pthread_mutex_destroy(&self->mutex);
	kp_free(self);
}

static void cancel_state(void *state)
{
	assistant_state *self = state;

	pthread_mutex_lock(&self->mutex);
	self->cancelled = true;
	if (self->assistant)
		keep_assistant_cancel(self->assistant);
	pthread_mutex_unlock(&self->mutex);
}

static keep_status find_url(const kp_place *place, bool create, keep_buffer *url, keep_error *err)
{
	switch (place->kind) {
	case KP_PLACE_FOLDER:
		return kp_home_file_url(place->text, "assistant", "assistant.db", create, url, err);
	case KP_PLACE_SERVER:
		return kp_buffer_append_format(url, err, "%s%sschema=assistant", place->text,
					       strchr(place->text, '?') ? "&" : "?");
	case KP_PLACE_STORE: break;
	}
	return kp_buffer_append_text(url, place->text, err);
}

static keep_status open_assistant(assistant_state *self, bool create, bool leases, keep_error *err)
{
	keep_assistant_options options = self->options;
	keep_buffer url = KEEP_BUFFER_INIT, key_file = KEEP_BUFFER_INIT;
	keep_status status;

	options.create = create && !options.read_only;
	options.lasting_leases = leases && self->place->leases_last;
	status = find_url(self->place, options.create, &url, err);
	if (status == KEEP_OK && !options.key_file && self->place->kind == KP_PLACE_FOLDER) {
		status = kp_buffer_append_format(&key_file, err, "%s/" KP_HOME_KEY_FILE,
						 self->place->text);
		options.key_file = key_file.data;
	}
	if (status == KEEP_OK)
		status = keep_assistant_open(url.data, &options, &self->assistant, err);
	if (status == KEEP_OK && self->cancelled)
		keep_assistant_cancel(self->assistant);
	keep_buffer_release(&key_file);
	keep_buffer_release(&url);
	return status;
}

/* NULL: a home's store that is not there, when `create` is not asked or not allowed. */
static keep_status find_assistant(assistant_state *self, bool create, bool leases,
				  keep_assistant **out, keep_error *err)
{
	keep_status status = KEEP_OK;

	pthread_mutex_lock(&self->mutex);
	if (!self->assistant)
		status = open_assistant(self, create, leases, err);
	*out = self->assistant;
	pthread_mutex_unlock(&self->mutex);
	if (status == KEEP_NOT_FOUND && self->place->kind != KP_PLACE_STORE)
		status = KEEP_OK;
	return status;
}

static keep_status make_state(void *state, keep_error *err)
{
	keep_assistant *assistant = NULL;

	return find_assistant(state, true, false, &assistant, err);
}

static keep_status find_handle(void *state, void **handle, keep_error *err)
{
	keep_assistant *assistant = NULL;
	keep_status status = find_assistant(state, true, true, &assistant, err);

	*handle = assistant;
	return status;
}

static keep_status enter_state(kp_call *call, bool *answered, keep_error *err)
{
	assistant_state *self = call->state;
	bool create = call->operation->changes ||
		      (call->operation->waits && self->place->kind != KP_PLACE_STORE);
	keep_assistant *assistant = NULL;
	keep_status status = find_assistant(self, create, call->operation->leases, &assistant, err);

	call->handle = assistant;
	if (status != KEEP_OK || assistant)
		return status;
	*answered = true;
	return kp_call_answer_empty(call, "assistant", err);
}

/* ---------------------------------------------------------------- what calls share */

const keep_actor *kp_assistant_actor(const kp_call *call)
{
	const assistant_state *self = call->state;

	return call->hooks && call->hooks->actor ? call->hooks->actor : &self->actor;
}

keep_status kp_assistant_put_member(kp_call *call, const char *name, const kp_record *record,
				    const void *object, keep_error *err)
{
	kp_json_name(kp_call_writer(call), name);
	if (object)
		return kp_record_json(record, object, kp_call_writer(call), err);
	kp_json_put_null(kp_call_writer(call));
	return KEEP_OK;
}

void kp_assistant_put_real(kp_call *call, const char *name, double value)
{
	kp_json_name(kp_call_writer(call), name);
	kp_json_put_real(kp_call_writer(call), value);
}

static bool read_number(const kp_json *item, float *out)
{
	if (item->kind == KP_JSON_INTEGER)
		*out = (float)item->integer;
	else if (item->kind == KP_JSON_REAL)
		*out = (float)item->real;
	else
		return false;
	return true;
}

keep_status kp_assistant_vector(const kp_call *call, const kp_json *json, const char *name,
				keep_bytes *vector, keep_error *err)
{
	char *bytes;

	*vector = (keep_bytes){NULL, 0};
	if (!json || json->kind == KP_JSON_NULL)
		return KEEP_OK;
	if (json->kind != KP_JSON_ARRAY || json->list.count > KEEP_VECTOR_DIMENSIONS_MAX)
		return kp_fail(err, KEEP_INVALID, "%s: an array of at most %d numbers is needed",
			       name, KEEP_VECTOR_DIMENSIONS_MAX);
	bytes = kp_arena_alloc(call->arena, json->list.count * sizeof(float) + 1);
	if (!bytes)
		return kp_fail_memory(err, "a vector");
	for (size_t i = 0; i < json->list.count; i++) {
		uint32_t bits;
		float value;

		if (!read_number(&json->list.items[i], &value))
			return kp_fail(err, KEEP_INVALID, "%s: element %zu is no number", name, i);
		memcpy(&bits, &value, sizeof bits);
		for (size_t k = 0; k < sizeof bits; k++)
			bytes[i * sizeof bits + k] = (char)(bits >> (8 * k));
	}
	*vector = (keep_bytes){bytes, json->list.count * sizeof(float)};
	return KEEP_OK;
}

/* ---------------------------------------------------------------- the store */

static const char *const durabilities[] = {"synced", "relaxed", NULL};

static const kp_input settings[SETTINGS] = {
	[SETTING_SERVICE] = {.name = "service",
			     .kind = KP_KIND_TEXT,
			     .fallback = "keep",
			     .sentence = "Who opens the store, 1 to 64 of a-z 0-9 _ -; lease "
					 "columns name it."},
	[SETTING_DURABILITY] = {.name = "durability",
				.kind = KP_KIND_TEXT,
				.fallback = "synced",
				.words = durabilities,
				.sentence = "\"synced\", or \"relaxed\": answer before the disk "
					    "has it."},
	[SETTING_TIMEOUT_MS] = {.name = "timeout_ms",
				.kind = KP_KIND_INTEGER,
				.fallback = "5000",
				.min = 1,
				.max = 3600000,
				.sentence = "How long to wait for a lock or a server."},
	[SETTING_READ_ONLY] = {.name = "read_only",
			       .kind = KP_KIND_BOOLEAN,
			       .fallback = "false",
			       .sentence = "Refuse every change; wait for no writer and hold none "
					   "up."},
	[SETTING_USER_ID] = {.name = "user_id",
			     .kind = KP_KIND_TEXT,
			     .nullable = true,
			     .sentence = "Who asks, for the audit log."},
	[SETTING_IP_ADDRESS] = {.name = "ip_address",
				.kind = KP_KIND_TEXT,
				.nullable = true,
				.sentence = "From where, for the audit log."},
	[SETTING_KEY_FILE] = {.name = "key_file",
			      .kind = KP_KIND_TEXT,
			      .nullable = true,
			      .sentence = "Encryption keys, one a line, newest first; vault.key of "
					  "a home when left out. KEEP_ENCRYPTION_KEY and "
					  "ENCRYPTION_KEY of the environment come before it."},
};

static const kp_outcome outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such thing, or no store behind this URL."},
	{KEEP_INVALID, false, "An input is unknown, missing, of the wrong type or out of range."},
	{KEEP_CONFLICT, false,
	 "The stored state does not allow it, or the database behind this "
	 "URL is another program's."},
	{KEEP_DENIED, false,
	 "No permission, a change to a store opened read-only, or an "
	 "encryption key that is not the store's."},
	{KEEP_BUSY, false, "Another process holds a lock for longer than the time limit."},
	{KEEP_FULL, false, "No space, or a content, prompt or JSON of over 1 MiB."},
	{KEEP_UNAVAILABLE, false, "The server or the disk does not answer."},
	{KEEP_UNCERTAIN, false, "The server went away during a commit; read again."},
	{KEEP_CORRUPT, false, "Stored data is damaged."},
	{KEEP_TOO_NEW, false, "A newer Keep wrote this store; nothing was touched."},
	{KEEP_NO_MEMORY, false, "Out of memory; nothing changed."},
};

static const kp_operation_group *const groups[] = {
	&kp_assistant_conversation_group, &kp_assistant_memory_group,  &kp_assistant_agent_group,
	&kp_assistant_task_group,         &kp_assistant_job_group,     &kp_assistant_run_group,
	&kp_assistant_credential_group,   &kp_assistant_setting_group, &kp_assistant_prompt_group,
	&kp_assistant_audit_group,        &kp_assistant_search_group,  &kp_assistant_care_group,
};

static const kp_record_set record_sets[] = {
	{kp_assistant_records, kp_assistant_record_texts, KP_ASSISTANT_RECORD_COUNT},
};

/* A postgres:// URL is a home, unless it names a schema; with a namespace it is an engine's. */
static bool is_assistant_url(const char *url)
{
	if (strncmp(url, "sqlite:", strlen("sqlite:")) == 0)
		return true;
	return kp_home_is_server(url) && kp_url_has_parameter(url, "schema") &&
	       !kp_url_has_parameter(url, "namespace");
}

const kp_operation_store kp_assistant_operations = {
	.name = "assistant",
	.sentence = "An assistant's conversations, work, secrets, memory and search.",
	.more = "A home keeps it as HOME/assistant/assistant.db, a server as the schema "
		"`assistant`; or it is a store of its\nown, `sqlite:FILE` or "
		"`postgres://…?schema=S`.\n\nA change makes a store that is missing, a read never "
		"does. What an operator would want to know about later\nis in the audit log, with "
		"--user-id and --ip-address.\n\nCredentials and sensitive settings are encrypted "
		"with the keys of KEEP_ENCRYPTION_KEY, ENCRYPTION_KEY, or the\nhome's file "
		"vault.key. Secrets are best given as `-`, on standard input, whose last line end "
		"is not part of them.\n\nTimes are taken as milliseconds since 1970 or RFC 3339 "
		"texts, and given as RFC 3339. JSON is taken and given\nas it is. An input that is "
		"not required may be null, which is to leave it out.",
	.groups = groups,
	.group_count = KP_COUNT(groups),
	.record_sets = record_sets,
	.record_set_count = KP_COUNT(record_sets),
	.settings = settings,
	.setting_count = SETTINGS,
	KP_OUTCOMES(outcomes),
	.is_place = is_assistant_url,
	.open = open_state,
	.make = make_state,
	.handle = find_handle,
	.cancel = cancel_state,
	.close = close_state,
	.enter = enter_state,
};

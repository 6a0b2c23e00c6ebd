/*
 * operations_gateway.c - the gateway that a session has open, and the store's description.
 *
 * A home has one gateway: a folder as HOME/gateway/messages.db, a server as the schema gateway. A
 * session opened on a gateway's own URL has that one.
 *
 * Invariants:
 *   1. The gateway is opened by the first call that needs it and stays open as long as the session.
 *   2. A change makes a gateway that is missing. A read does not: in a home, a missing gateway is
 * an empty one (lists are empty, questions are answered no, the rest is NOT_FOUND); behind a URL of
 *      its own it is NOT_FOUND. A wait in a home makes it, because there must be something to wait
 *      at.
 *   3. A gateway that is opened after the session was cancelled is cancelled at once.
 *   4. What a session of one call claims stays claimed for the lease's time; what a lasting session
 *      claims is given back when its process ends.
 *
 * What it does not do: describe operations; each group has its own file.
 *
 * Tests: tests/unit/test_operations.c, tests/cli/test_cli_gateway.py.
 */
#include "operations/operations_gateway.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { SERVICE_SIZE = 65 };

typedef struct gateway_state {
	const kp_place *place;
	keep_gateway_options options;
	char service[SERVICE_SIZE + 1]; /* one more, so that a name that is too long stays so */
	pthread_mutex_t mutex;          /* guards what follows */
	keep_gateway *gateway;          /* NULL: not yet */
	bool cancelled;
} gateway_state;

/* Places in the settings. */
enum { SETTING_SERVICE, SETTING_DURABILITY, SETTING_TIMEOUT_MS, SETTING_READ_ONLY, SETTINGS };

/* ---------------------------------------------------------------- the state */

keep_status kp_gateway_state_open(const kp_place *place, const kp_argument *settings, void **state,
				  keep_error *err)
{
	gateway_state *self = kp_alloc_zero(sizeof *self);
	keep_bytes service = settings[SETTING_SERVICE].bytes;

	*state = self;
	if (!self)
		return kp_fail_memory(err, "a session");
	self->place = place;
	(void)snprintf(self->service, sizeof self->service, "%.*s", (int)service.len, service.data);
	self->options = (keep_gateway_options)KEEP_GATEWAY_OPTIONS_INIT;
	self->options.service = self->service;
	self->options.relaxed =
		kp_bytes_equal(settings[SETTING_DURABILITY].bytes, KEEP_BYTES("relaxed"));
	self->options.timeout_ms = settings[SETTING_TIMEOUT_MS].integer;
	self->options.read_only = settings[SETTING_READ_ONLY].boolean;
	pthread_mutex_init(&self->mutex, NULL);
	return KEEP_OK;
}

void kp_gateway_state_close(void **state)
{
	gateway_state *self = *state;

	*state = NULL;
	if (!self)
		return;
	keep_gateway_close(&self->gateway);
	pthread_mutex_destroy(&self->mutex);
	kp_free(self);
}

void kp_gateway_state_cancel(void *state)
{
	gateway_state *self = state;

	pthread_mutex_lock(&self->mutex);
	self->cancelled = true;
	if (self->gateway)
		keep_gateway_cancel(self->gateway);
	pthread_mutex_unlock(&self->mutex);
}

static keep_status find_url(const kp_place *place, bool create, keep_buffer *url, keep_error *err)
{
	switch (place->kind) {
	case KP_PLACE_FOLDER:
		return kp_home_file_url(place->text, "gateway", "messages.db", create, url, err);
	case KP_PLACE_SERVER:
		return kp_buffer_append_format(url, err, "%s%sschema=gateway", place->text,
					       strchr(place->text, '?') ? "&" : "?");
	case KP_PLACE_STORE: break;
	}
	return kp_buffer_append_text(url, place->text, err);
}

static keep_status open_gateway(gateway_state *self, bool create, bool leases, keep_error *err)
{
	keep_gateway_options options = self->options;
	keep_buffer url = KEEP_BUFFER_INIT;
	keep_status status;

	options.create = create && !options.read_only;
	options.lasting_leases = leases && self->place->leases_last;
	status = find_url(self->place, options.create, &url, err);
	if (status == KEEP_OK)
		status = keep_gateway_open(url.data, &options, &self->gateway, err);
	if (status == KEEP_OK && self->cancelled)
		keep_gateway_cancel(self->gateway);
	keep_buffer_release(&url);
	return status;
}

/* NULL: a home's gateway that is not there, when `create` is not asked or not allowed. */
static keep_status find_gateway(gateway_state *self, bool create, bool leases, keep_gateway **out,
				keep_error *err)
{
	keep_status status = KEEP_OK;

	pthread_mutex_lock(&self->mutex);
	if (!self->gateway)
		status = open_gateway(self, create, leases, err);
	*out = self->gateway;
	pthread_mutex_unlock(&self->mutex);
	if (status == KEEP_NOT_FOUND && self->place->kind != KP_PLACE_STORE)
		status = KEEP_OK;
	return status;
}

keep_status kp_gateway_state_make(void *state, keep_error *err)
{
	keep_gateway *gateway = NULL;

	return find_gateway(state, true, false, &gateway, err);
}

keep_status kp_gateway_state_handle(void *state, void **handle, keep_error *err)
{
	keep_gateway *gateway = NULL;
	keep_status status = find_gateway(state, true, true, &gateway, err);

	*handle = gateway;
	return status;
}

keep_status kp_gateway_state_enter(kp_call *call, bool *answered, keep_error *err)
{
	gateway_state *self = call->state;
	bool create = call->operation->changes ||
		      (call->operation->waits && self->place->kind != KP_PLACE_STORE);
	keep_gateway *gateway = NULL;
	keep_status status = find_gateway(self, create, call->operation->leases, &gateway, err);

	call->handle = gateway;
	if (status != KEEP_OK || gateway)
		return status;
	*answered = true;
	return kp_call_answer_empty(call, "gateway", err);
}

/* ---------------------------------------------------------------- what calls share */

void kp_gateway_put_outcome(kp_call *call, keep_put put, const char *number_name, int64_t number,
			    const char *id)
{
	kp_json_writer *writer = kp_call_writer(call);

	kp_json_open_object(writer);
	kp_call_put_text(call, "outcome", keep_bytes_of(keep_put_name(put)));
	if (number_name) {
		kp_json_name(writer, number_name);
		kp_json_put_integer(writer, number);
	}
	if (id)
		kp_call_put_text(call, "id", keep_bytes_of(id));
	kp_json_close_object(writer);
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
};

static const kp_outcome outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such thing, or no store behind this URL."},
	{KEEP_INVALID, false, "An input is unknown, missing, of the wrong type or out of range."},
	{KEEP_CONFLICT, false, "The database behind this URL is another program's."},
	{KEEP_DENIED, false, "No permission, or a change to a store opened read-only."},
	{KEEP_BUSY, false, "Another process holds a lock for longer than the time limit."},
	{KEEP_FULL, false, "No space, or a content, prompt, body or JSON of over 1 MiB."},
	{KEEP_UNAVAILABLE, false, "The server or the disk does not answer."},
	{KEEP_UNCERTAIN, false, "The server went away during a commit; read again."},
	{KEEP_CORRUPT, false, "Stored data is damaged."},
	{KEEP_TOO_NEW, false, "A newer Keep wrote this store; nothing was touched."},
	{KEEP_NO_MEMORY, false, "Out of memory; nothing changed."},
};

static const kp_operation_group *const groups[] = {
	&kp_gateway_message_group,      &kp_gateway_consumer_group, &kp_gateway_delivery_group,
	&kp_gateway_feed_group,         &kp_gateway_chat_group,     &kp_gateway_route_group,
	&kp_gateway_registration_group, &kp_gateway_session_group,  &kp_gateway_system_group,
	&kp_gateway_task_group,         &kp_gateway_account_group,  &kp_gateway_sign_in_group,
	&kp_gateway_onboarding_group,
};

static const kp_record_set record_sets[] = {
	{kp_gateway_records, kp_gateway_record_texts, KP_GATEWAY_RECORD_COUNT},
};

/* A postgres:// URL is a home, unless it names a schema; with a namespace it is an engine's. */
static bool is_gateway_url(const char *url)
{
	if (strncmp(url, "sqlite:", strlen("sqlite:")) == 0)
		return true;
	return kp_home_is_server(url) && kp_url_has_parameter(url, "schema") &&
	       !kp_url_has_parameter(url, "namespace");
}

const kp_operation_store kp_gateway_operations = {
	.name = "gateway",
	.sentence = "A gateway's messages in and out, and who is to answer them.",
	.more = "A home keeps it as HOME/gateway/messages.db, a server as the schema `gateway`; or "
		"it "
		"is a store of its\nown, `sqlite:FILE` or `postgres://…?schema=S`. A URL that "
		"other "
		"stores accept too is the one's whose verb\nis called; in `keep call` that of the "
		"first call.\n\nA change makes a store that is missing, a read never does: in a "
		"home, "
		"a gateway that is not there yet has\nempty lists, answers questions with no and "
		"everything else with NOT_FOUND; behind a URL of its own it is\nNOT_FOUND. Waiting "
		"in "
		"a home makes it.\n\nTimes are taken as milliseconds since 1970 or RFC 3339 texts, "
		"and "
		"given as RFC 3339. JSON is taken and given\nas it is. An input that is not "
		"required "
		"may be null, which is to leave it out. Secrets (passwords, tokens) are\nbest "
		"given as "
		"`-`, on standard input, whose last line end is not part of them; stored ones are "
		"shown as `***`.",
	.groups = groups,
	.group_count = KP_COUNT(groups),
	.record_sets = record_sets,
	.record_set_count = KP_COUNT(record_sets),
	.settings = settings,
	.setting_count = SETTINGS,
	KP_OUTCOMES(outcomes),
	.is_place = is_gateway_url,
	.open = kp_gateway_state_open,
	.make = kp_gateway_state_make,
	.handle = kp_gateway_state_handle,
	.cancel = kp_gateway_state_cancel,
	.close = kp_gateway_state_close,
	.enter = kp_gateway_state_enter,
};

/*
 * operations_mailbox.c - the mailbox and the agents that a session has open, and the store's
 * description.
 *
 *     place                                   host's operations    agent's operations
 *     a home's folder                         HOME/mailbox         of the session that `session`
 * names a home on a server                      the schema mailbox   the same sqlite:FOLDER,
 * postgres://…?schema=S    that mailbox         the same a session's folder, …&session=ID refused
 * of that session
 *
 * A session's folder is told by its inbound.db, a mailbox's by its registry.db. So an agent inside
 * of a container needs its folder alone, and a service that has the whole mailbox can be an agent's
 * way in, too.
 *
 * Invariants:
 *   1. A mailbox and an agent are opened by the first call that needs them and stay open as long as
 *      the session: a claim belongs to the agent that was opened.
 *   2. A change of the host's makes a mailbox that is missing, a read does not (as the gateway,
 *      operations_gateway.c). Nothing but a host makes a session.
 *   3. What is opened after the session was cancelled is cancelled at once.
 *   4. What a session of one call claims stays claimed for the lease's time; what a lasting session
 *      claims is given back when its process ends.
 *
 * What it does not do: describe operations; each group has its own file.
 *
 * Tests: tests/unit/test_operations.c, tests/cli/test_cli_mailbox.py.
 */
#include "operations/operations_mailbox.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { AGENTS_MAX = 1000 };

typedef struct open_agent {
	char session[KEEP_SEGMENT_MAX + 1]; /* as the calls name it; empty: the place's own */
	keep_agent *agent;
	struct open_agent *next;
} open_agent;

typedef struct mailbox_state {
	const kp_place *place;
	keep_mailbox_options options;
	bool is_own;           /* the place is one session's */
	pthread_mutex_t mutex; /* guards what follows */
	keep_mailbox *mailbox; /* NULL: not yet */
	open_agent *agents;
	size_t agent_count;
	bool cancelled;
} mailbox_state;

/* Places in the settings. */
enum {
	SETTING_DURABILITY,
	SETTING_TIMEOUT_MS,
	SETTING_READ_ONLY,
	SETTING_MOUNT_SAFE,
	SETTING_AGENT_UID,
	SETTING_AGENT_GID,
	SETTING_SESSIONS_MAX,
	SETTINGS
};

#define FILE_SCHEME "sqlite:"

/* ---------------------------------------------------------------- places */

static const char *folder_of(const char *place)
{
	size_t len = strlen(FILE_SCHEME);

	return strncmp(place, FILE_SCHEME, len) == 0 ? place + len : place;
}

static bool has_file(const char *folder, const char *name)
{
	keep_buffer path = KEEP_BUFFER_INIT;
	struct stat about;
	bool found = kp_buffer_append_format(&path, NULL, "%s/%s", folder, name) == KEEP_OK &&
		     stat(path.data, &about) == 0;

	keep_buffer_release(&path);
	return found;
}

static bool is_own_place(const kp_place *place)
{
	if (place->kind != KP_PLACE_STORE)
		return false;
	if (kp_home_is_server(place->text))
		return kp_url_has_parameter(place->text, "session");
	return folder_of(place->text) == place->text ||
	       (has_file(folder_of(place->text), "inbound.db") &&
		!has_file(folder_of(place->text), "registry.db"));
}

/* A postgres:// URL is a home, unless it names a schema; with a namespace it is an engine's. */
static bool is_mailbox_place(const char *url)
{
	if (strncmp(url, FILE_SCHEME, strlen(FILE_SCHEME)) == 0)
		return true;
	if (kp_home_is_server(url))
		return kp_url_has_parameter(url, "schema") &&
		       !kp_url_has_parameter(url, "namespace");
	return has_file(url, "inbound.db");
}

static keep_status find_url(const kp_place *place, bool create, keep_buffer *url, keep_error *err)
{
	keep_status status;

	switch (place->kind) {
	case KP_PLACE_FOLDER:
		status = kp_home_file_url(place->text, "mailbox", "registry.db", create, url, err);
		url->len = 0;
		return status == KEEP_OK ? kp_buffer_append_format(
						   url, err, FILE_SCHEME "%s/mailbox", place->text)
					 : status;
	case KP_PLACE_SERVER:
		return kp_buffer_append_format(url, err, "%s%sschema=mailbox", place->text,
					       strchr(place->text, '?') ? "&" : "?");
	case KP_PLACE_STORE: break;
	}
	return kp_buffer_append_text(url, place->text, err);
}

/* ---------------------------------------------------------------- the state */

static keep_status open_state(const kp_place *place, const kp_argument *settings, void **state,
			      keep_error *err)
{
	mailbox_state *self = kp_alloc_zero(sizeof *self);

	*state = self;
	if (!self)
		return kp_fail_memory(err, "a session");
	self->place = place;
	self->is_own = is_own_place(place);
	self->options = (keep_mailbox_options)KEEP_MAILBOX_OPTIONS_INIT;
	self->options.relaxed =
		kp_bytes_equal(settings[SETTING_DURABILITY].bytes, KEEP_BYTES("relaxed"));
	self->options.timeout_ms = settings[SETTING_TIMEOUT_MS].integer;
	self->options.read_only = settings[SETTING_READ_ONLY].boolean;
	self->options.mount_safe = settings[SETTING_MOUNT_SAFE].boolean;
	self->options.agent_uid = settings[SETTING_AGENT_UID].integer;
	self->options.agent_gid = settings[SETTING_AGENT_GID].integer;
	self->options.sessions_max = (size_t)settings[SETTING_SESSIONS_MAX].integer;
	pthread_mutex_init(&self->mutex, NULL);
	return KEEP_OK;
}

static void close_state(void **state)
{
	mailbox_state *self = *state;
	open_agent *next;

	*state = NULL;
	if (!self)
		return;
	for (open_agent *at = self->agents; at; at = next) {
		next = at->next;
		keep_agent_close(&at->agent);
		kp_free(at);
	}
	keep_mailbox_close(&self->mailbox);
	pthread_mutex_destroy(&self->mutex);
	kp_free(self);
}

static void cancel_state(void *state)
{
	mailbox_state *self = state;

	pthread_mutex_lock(&self->mutex);
	self->cancelled = true;
	if (self->mailbox)
		keep_mailbox_cancel_waits(self->mailbox);
	for (open_agent *at = self->agents; at; at = at->next)
		keep_agent_cancel(at->agent);
	pthread_mutex_unlock(&self->mutex);
}

/* ---------------------------------------------------------------- the mailbox */

static keep_status open_mailbox(mailbox_state *self, bool create, bool leases, keep_error *err)
{
	keep_mailbox_options options = self->options;
	keep_buffer url = KEEP_BUFFER_INIT;
	keep_status status;

	options.create = create && !options.read_only;
	options.lasting_leases = leases && self->place->leases_last;
	status = find_url(self->place, options.create, &url, err);
	if (status == KEEP_OK)
		status = keep_mailbox_open(url.data, &options, &self->mailbox, err);
	if (status == KEEP_OK && self->cancelled)
		keep_mailbox_cancel_waits(self->mailbox);
	keep_buffer_release(&url);
	return status;
}

/* Holding the mutex. NULL: a home's mailbox that is not there, when `create` is not asked. */
static keep_status find_mailbox(mailbox_state *self, bool create, bool leases, keep_mailbox **out,
				keep_error *err)
{
	keep_status status = KEEP_OK;

	if (!self->mailbox)
		status = open_mailbox(self, create, leases, err);
	*out = self->mailbox;
	if (status == KEEP_NOT_FOUND && self->place->kind != KP_PLACE_STORE)
		status = KEEP_OK;
	return status;
}

static keep_status make_state(void *state, keep_error *err)
{
	mailbox_state *self = state;
	keep_mailbox *mailbox = NULL;
	keep_status status;

	pthread_mutex_lock(&self->mutex);
	status = find_mailbox(self, true, false, &mailbox, err);
	pthread_mutex_unlock(&self->mutex);
	return status;
}

static keep_status find_handle(void *state, void **handle, keep_error *err)
{
	mailbox_state *self = state;
	keep_mailbox *mailbox = NULL;
	keep_status status;

	pthread_mutex_lock(&self->mutex);
	status = find_mailbox(self, true, true, &mailbox, err);
	pthread_mutex_unlock(&self->mutex);
	*handle = mailbox;
	return status;
}

static keep_status enter_host(kp_call *call, bool *answered, keep_error *err)
{
	mailbox_state *self = call->state;
	bool create = call->operation->changes ||
		      (call->operation->waits && self->place->kind != KP_PLACE_STORE);
	keep_mailbox *mailbox = NULL;
	keep_status status;

	if (self->is_own)
		return kp_fail(err, KEEP_INVALID,
			       "mailbox: this place is one session's; %s is the host's, and needs "
			       "the mailbox",
			       call->operation->verb);
	pthread_mutex_lock(&self->mutex);
	status = find_mailbox(self, create, call->operation->leases, &mailbox, err);
	pthread_mutex_unlock(&self->mutex);
	call->handle = mailbox;
	if (status != KEEP_OK || mailbox)
		return status;
	*answered = true;
	return kp_call_answer_empty(call, "mailbox", err);
}

/* ---------------------------------------------------------------- agents */

/* What keep_agent_open takes for a session of this mailbox. */
static keep_status find_agent_place(mailbox_state *self, keep_bytes session, keep_buffer *out,
				    keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_mailbox *mailbox = NULL;
	keep_bytes place = {NULL, 0};
	keep_status status;

	if (self->is_own)
		return kp_buffer_append_text(out, self->place->text, err);
	status = find_mailbox(self, false, false, &mailbox, err);
	if (status == KEEP_OK && !mailbox)
		status = kp_fail(err, KEEP_NOT_FOUND, "mailbox: nothing was stored in it yet");
	if (status == KEEP_OK)
		status = keep_mailbox_session_place(mailbox, session, &memory, &place, err);
	if (status == KEEP_OK)
		status = keep_buffer_set(out, place, err);
	keep_memory_release(&memory);
	return status;
}

static keep_status open_one(mailbox_state *self, keep_bytes session, bool leases, open_agent *out,
			    keep_error *err)
{
	keep_agent_options options = KEEP_AGENT_OPTIONS_INIT;
	keep_buffer place = KEEP_BUFFER_INIT;
	keep_status status = find_agent_place(self, session, &place, err);

	options.mount_safe = self->options.mount_safe;
	options.relaxed = self->options.relaxed;
	options.timeout_ms = self->options.timeout_ms;
	options.lasting_leases = leases && self->place->leases_last;
	if (status == KEEP_OK)
		status = keep_agent_open(place.data, &options, &out->agent, err);
	if (status == KEEP_OK && self->cancelled)
		keep_agent_cancel(out->agent);
	keep_buffer_release(&place);
	return status;
}

static open_agent *known_agent(mailbox_state *self, keep_bytes session)
{
	open_agent *at = self->agents;

	while (at && !kp_bytes_equal(keep_bytes_of(at->session), session))
		at = at->next;
	return at;
}

/* Holding the mutex. */
static keep_status find_agent(mailbox_state *self, keep_bytes session, bool leases,
			      keep_agent **out, keep_error *err)
{
	open_agent *found = known_agent(self, session);
	keep_status status;

	if (!found && self->agent_count == AGENTS_MAX)
		return kp_fail(err, KEEP_FULL, "session: %d agents are open already", AGENTS_MAX);
	if (!found) {
		found = kp_alloc_zero(sizeof *found);
		if (!found)
			return kp_fail_memory(err, "an agent");
		status = open_one(self, session, leases, found, err);
		if (status != KEEP_OK) {
			kp_free(found);
			return status;
		}
		if (session.len)
			memcpy(found->session, session.data, session.len);
		found->next = self->agents;
		self->agents = found;
		self->agent_count++;
	}
	*out = found->agent;
	return KEEP_OK;
}

/* Which agent a call is about, by name; its place's own has none. */
static keep_status check_own(const keep_agent *agent, keep_bytes session, keep_error *err)
{
	keep_bytes own = keep_agent_session_id(agent);

	if (!session.data || kp_bytes_equal(own, session))
		return KEEP_OK;
	return kp_fail(err, KEEP_INVALID,
		       "session: this place is that of '%" KP_PRI "' and not of '%" KP_PRI "'",
		       KP_ARG(own), KP_ARG(session));
}

static keep_status enter_agent(kp_call *call, keep_error *err)
{
	mailbox_state *self = call->state;
	keep_bytes session = kp_call_text(call, "session");
	keep_agent *agent = NULL;
	keep_status status;

	if (!self->is_own && !session.len)
		return kp_fail(err, KEEP_INVALID,
			       "session: missing; this place is a whole mailbox and not one "
			       "session's folder");
	if (session.len > KEEP_SEGMENT_MAX)
		return kp_fail(err, KEEP_INVALID, "session: over %d bytes", KEEP_SEGMENT_MAX);
	if (self->options.read_only && call->operation->changes)
		return kp_fail(err, KEEP_DENIED, "the mailbox was opened for reading only");
	pthread_mutex_lock(&self->mutex);
	status = find_agent(self, self->is_own ? (keep_bytes){"", 0} : session,
			    call->operation->leases, &agent, err);
	pthread_mutex_unlock(&self->mutex);
	call->handle = agent;
	return status == KEEP_OK && self->is_own ? check_own(agent, session, err) : status;
}

static keep_status enter_state(kp_call *call, bool *answered, keep_error *err)
{
	return call->operation->part == KP_PART_AGENT ? enter_agent(call, err)
						      : enter_host(call, answered, err);
}

/* ---------------------------------------------------------------- what the files share */

const char *const kp_message_kinds[] = {"chat", "chat-sdk", "task", "webhook", "system", NULL};
const char *const kp_file_encodings[] = {"text", "base64", NULL};
const char *const kp_container_states[] = {"running", "idle", "stopped", NULL};

static const kp_input file_inputs[] = {
	KP_NEEDED_TEXT(0, "name", "The file's name, one path segment."),
	KP_NEEDED_TEXT(0, "bytes", "What is in it, as base64."),
};

static keep_status read_file(const kp_json *element, kp_arena *arena, keep_file *out,
			     keep_error *err)
{
	kp_argument arguments[KP_COUNT(file_inputs)];
	keep_buffer bytes = KEEP_BUFFER_INIT;
	keep_status status;

	if (element->kind != KP_JSON_OBJECT)
		return kp_fail(err, KEEP_INVALID, "%s where an object belongs",
			       kp_json_kind_name(element->kind));
	status = kp_inputs_read(file_inputs, KP_COUNT(file_inputs), element, false, arena,
				arguments, err);
	if (status != KEEP_OK)
		return status;
	out->name = arguments[0].bytes;
	status = kp_base64_decode(arguments[1].bytes, &bytes, err);
	if (status == KEEP_OK)
		status = kp_arena_copy(arena, kp_buffer_bytes(&bytes), &out->bytes, err);
	else
		status = kp_prefix(err, status, "bytes");
	keep_buffer_release(&bytes);
	return status;
}

keep_status kp_mailbox_files(const kp_argument *argument, kp_arena *arena, const keep_file **files,
			     size_t *count, keep_error *err)
{
	const kp_json *array = argument->json;
	keep_status status = KEEP_OK;
	keep_file *read;

	*files = NULL;
	*count = array ? array->list.count : 0;
	if (*count == 0)
		return KEEP_OK;
	read = kp_arena_alloc(arena, *count * sizeof *read);
	if (!read)
		return kp_fail_memory(err, "files");
	for (size_t i = 0; i < *count && status == KEEP_OK; i++) {
		status = read_file(&array->list.items[i], arena, &read[i], err);
		if (status != KEEP_OK)
			status = kp_prefix(err, status, "files[%zu]", i);
	}
	*files = read;
	return status;
}

void kp_mailbox_put_word(kp_call *call, const char *name, keep_bytes text)
{
	kp_json_open_object(kp_call_writer(call));
	kp_call_put_text(call, name, text);
	kp_json_close_object(kp_call_writer(call));
}

void kp_mailbox_put_posted(kp_call *call, const keep_post_result *result)
{
	kp_call_put_text(call, "outcome", keep_bytes_of(keep_posted_name(result->posted)));
	kp_call_put_number(call, "seq", result->seq);
	kp_call_put_text(call, "id", keep_bytes_of(result->id));
}

void kp_mailbox_put_texts(kp_call *call, const char *name, const keep_bytes *texts, size_t count)
{
	kp_json_writer *writer = kp_call_writer(call);

	kp_json_name(writer, name);
	kp_json_open_array(writer);
	for (size_t i = 0; i < count; i++)
		kp_json_put_text(writer, texts[i]);
	kp_json_close_array(writer);
}

keep_status kp_mailbox_give(kp_call *call, keep_status status, const kp_record *record,
			    const void *object, keep_error *err)
{
	return status == KEEP_OK ? kp_call_put_record(call, record, object, err) : status;
}

keep_status kp_mailbox_give_all(kp_call *call, keep_status status, const kp_record *record,
				const void *items, size_t count, keep_error *err)
{
	return status == KEEP_OK ? kp_call_put_records(call, record, items, count, err) : status;
}

/* ---------------------------------------------------------------- the store */

static const char *const durabilities[] = {"synced", "relaxed", NULL};

static const kp_input settings[SETTINGS] = {
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
	[SETTING_MOUNT_SAFE] = {.name = "mount_safe",
				.kind = KP_KIND_BOOLEAN,
				.fallback = "false",
				.sentence = "Sessions' files cross a virtual machine or a network: "
					    "rollback journals, no shared maps. Else found out."},
	[SETTING_AGENT_UID] = {.name = "agent_uid",
			       .kind = KP_KIND_INTEGER,
			       .fallback = "0",
			       .max = UINT32_MAX - 1,
			       .sentence = "Who owns new sessions' folders; 0: who makes them."},
	[SETTING_AGENT_GID] = {.name = "agent_gid",
			       .kind = KP_KIND_INTEGER,
			       .fallback = "0",
			       .max = UINT32_MAX - 1,
			       .sentence = "Their group; 0: that of who makes them."},
	[SETTING_SESSIONS_MAX] = {.name = "sessions_max",
				  .kind = KP_KIND_INTEGER,
				  .fallback = "0",
				  .max = 1000000,
				  .sentence = "Sessions kept open at once; 0: what the limit of "
					      "descriptors allows."},
};

static const kp_outcome outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such thing, no such session, or no store here."},
	{KEEP_INVALID, false, "An input is unknown, missing, of the wrong type or out of range."},
	{KEEP_CONFLICT, false, "The state of things does not allow it; nothing changed."},
	{KEEP_DENIED, false, "No permission, or a change to a store opened read-only."},
	{KEEP_BUSY, false, "Another process holds a lock for longer than the time limit."},
	{KEEP_FULL, false, "No space, a content of over 1 MiB, or a file of over 64 MiB."},
	{KEEP_UNAVAILABLE, false, "The server or the disk does not answer."},
	{KEEP_UNCERTAIN, false, "The server went away during a commit; read again."},
	{KEEP_CORRUPT, false, "Stored data is damaged; of a session, that session alone."},
	{KEEP_TOO_NEW, false, "A newer Keep wrote this store; nothing was touched."},
	{KEEP_NO_MEMORY, false, "Out of memory; nothing changed."},
};

static const kp_operation_group *const groups[] = {
	&kp_mailbox_group_group,   &kp_mailbox_wiring_group,   &kp_mailbox_route_group,
	&kp_mailbox_session_group, &kp_mailbox_post_group,     &kp_mailbox_series_group,
	&kp_mailbox_collect_group, &kp_mailbox_delivery_group, &kp_mailbox_life_group,
	&kp_agent_claim_group,     &kp_agent_send_group,       &kp_agent_memory_group,
};

static const kp_record_set record_sets[] = {
	{kp_mailbox_records, kp_mailbox_record_texts, KP_MAILBOX_RECORD_COUNT},
	{kp_mailbox_inbound_records, kp_mailbox_inbound_record_texts,
	 KP_MAILBOX_INBOUND_RECORD_COUNT},
	{kp_mailbox_outbound_records, kp_mailbox_outbound_record_texts,
	 KP_MAILBOX_OUTBOUND_RECORD_COUNT},
};

static const char *const places[] = {
	[KP_PART_HOST] = "A folder made by keep init, a postgres:// URL, or sqlite:FOLDER or "
			 "postgres://…?schema=S of one mailbox alone. Left out, KEEP_HOME stands "
			 "in.",
	[KP_PART_AGENT] = "A session's folder (or postgres://…?schema=S&session=ID); or a home or "
			  "a mailbox, with --session. Left out, KEEP_HOME stands in.",
};

const kp_operation_store kp_mailbox_operations = {
	.name = "mailbox",
	.sentence = "Which agents serve which chats, and each session's messages in and out.",
	.more = "Two sides call it. The *host's* operations work on a mailbox: a home's "
		"(HOME/mailbox, on a server the\nschema `mailbox`), or one of its own, "
		"`sqlite:FOLDER` or `postgres://…?schema=S`. The *agent's* operations\nwork on one "
		"session: HOME is its folder alone (the one with inbound.db), or "
		"`postgres://…?schema=S&session=ID`,\nas `mailbox.session_place` tells it; or a "
		"home or a mailbox with the input `session`. Where both sides have a\nverb, the "
		"agent's begins with `agent_`.\n\nA change of the host's makes a mailbox that is "
		"missing, a read never does: in a home, a mailbox that is not\nthere yet has empty "
		"lists, and everything else is NOT_FOUND; behind a URL of its own it is NOT_FOUND. "
		"Only the\nhost makes sessions.\n\nContents are JSON as a text, as they are "
		"stored. Times are taken as milliseconds since 1970 or RFC 3339 texts,\nand given "
		"as "
		"RFC 3339. An input that is not required may be null, which is to leave it "
		"out.\n\nWhat a command that ends claims (a message, a delivery) stays claimed for "
		"its lease: the attempt's number,\nwhich the claim told, is what reports about it "
		"are known by. What a `keep call` claims is given back when it\nends.",
	.groups = groups,
	.group_count = KP_COUNT(groups),
	.record_sets = record_sets,
	.record_set_count = KP_COUNT(record_sets),
	.settings = settings,
	.setting_count = SETTINGS,
	KP_OUTCOMES(outcomes),
	.places = places,
	.is_place = is_mailbox_place,
	.open = open_state,
	.make = make_state,
	.handle = find_handle,
	.cancel = cancel_state,
	.close = close_state,
	.enter = enter_state,
};

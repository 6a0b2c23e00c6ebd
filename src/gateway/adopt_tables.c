/*
 * adopt_tables.c - the tables of an adopted file but messages, tasks and what hangs on them.
 *
 * One function a table: each asks for the columns by name, stores what it has, and keeps the rest
 * with the row's key. adopt.c tells what becomes of what.
 *
 * Invariants:
 *   1. A key that is missing is CORRUPT; everything else that is missing has its default.
 *   2. Nothing secret gets into a message: a token that two groups have is kept with the second
 *      one's rest and given to the first alone.
 *
 * Tests: tests/contract/test_gateway_adopt.c, tests/torture/test_gateway_adopt_faults.c.
 */
#include "gateway/adopt.h"
#include "gateway/xml_text.h"

#include <string.h>

/* '' for what is absent. */
static keep_bytes text_or(kp_adopt_row *row, const char *name, const char *fallback)
{
	keep_bytes text = kp_adopt_optional(row, name);

	return text.data ? text : keep_bytes_of(fallback);
}

static int64_t int_or(kp_adopt_row *row, const char *name, int64_t fallback)
{
	int64_t number;

	return kp_adopt_int(row, name, &number) ? number : fallback;
}

/* The id of a table that the database numbers. */
static int64_t needed_id(kp_adopt_row *row)
{
	int64_t id = 0;

	if (!kp_adopt_int(row, "id", &id) && row->status == KEEP_OK)
		id = row->rowid;
	return id;
}

keep_status kp_adopt_state(kp_adopt_row *row)
{
	static const char *const keys[] = {"key", NULL};
	keep_router_state state = {.key = kp_adopt_needed(row, "key"),
				   .value = kp_text_or(kp_adopt_text(row, "value"), "")};

	row->adopt->counts->state++;
	(void)kp_adopt_store(row, KP_GATEWAY_ADOPT_STATE, &kp_router_state_record, &state, NULL);
	return kp_adopt_keep_rest(row, keys);
}

keep_status kp_adopt_route(kp_adopt_row *row)
{
	static const char *const keys[] = {"id", NULL};
	keep_route route = {.id = needed_id(row),
			    .jid = kp_adopt_optional(row, "jid"),
			    .seq = int_or(row, "seq", 0),
			    .type = text_or(row, "type", KEEP_ROUTE_TYPE_DEFAULT),
			    .match = text_or(row, "match", ""),
			    .target = kp_adopt_optional(row, "target")};

	if (row->status != KEEP_OK)
		return row->status;
	/* Later sources have routes without a jid, by another grammar: they would match wrongly. */
	if (!route.jid.data || !route.target.data ||
	    !kp_adopt_is_allowed(&kp_route_record, "type", route.type))
		return kp_adopt_keep_whole(row);
	row->adopt->counts->routes++;
	(void)kp_adopt_store(row, KP_GATEWAY_ADOPT_ROUTE, &kp_route_record, &route, NULL);
	return kp_adopt_keep_rest(row, keys);
}

/* ---------------------------------------------------------------- groups */

/* The token is found by its digest. */
static keep_bytes hash_token(kp_adopt_row *row, keep_bytes token, char hex[2 * KP_SHA256_SIZE + 1])
{
	unsigned char digest[KP_SHA256_SIZE];

	if (!token.data || row->status != KEEP_OK)
		return (keep_bytes){.data = NULL};
	row->status = kp_sha256(token, digest, row->adopt->err);
	if (row->status != KEEP_OK)
		return (keep_bytes){.data = NULL};
	kp_hex_format((keep_bytes){(const char *)digest, sizeof digest}, hex);
	return keep_bytes_of(hex);
}

keep_status kp_adopt_group(kp_adopt_row *row)
{
	static const char *const keys[] = {"jid", NULL};
	char hex[2 * KP_SHA256_SIZE + 1];
	bool stored = false;
	keep_registered_group group = {
		.jid = kp_adopt_needed(row, "jid"),
		.folder = kp_text_or(kp_adopt_text(row, "folder"), ""),
		.trigger_word = text_or(row, "trigger_word", ""),
		.requires_trigger = kp_adopt_is(row, "requires_trigger"),
		.container_config = kp_adopt_json(row, "container_config", KP_JSON_OBJECT),
		.parent = text_or(row, "parent", ""),
		.slink_token = kp_adopt_optional(row, "slink_token"),
		.name = text_or(row, "name", ""),
		.state = text_or(row, "state", KEEP_REGISTERED_GROUP_STATE_ACTIVE),
		.added_at = kp_adopt_time_or(row, "added_at", row->adopt->now_ms),
	};

	group.updated_at = kp_adopt_time_or(row, "updated_at", group.added_at);
	group.slink_hash = hash_token(row, group.slink_token, hex);
	/* One that needs a trigger and has none would take nothing. */
	if (group.requires_trigger && !group.trigger_word.len) {
		group.requires_trigger = false;
		kp_adopt_place(row, "requires_trigger", false);
	}
	if (row->status == KEEP_OK &&
	    !kp_adopt_is_allowed(&kp_registered_group_record, "state", group.state))
		return kp_adopt_keep_whole(row);
	row->adopt->counts->groups++;
	(void)kp_adopt_store(row, KP_GATEWAY_ADOPT_GROUP, &kp_registered_group_record, &group,
			     &stored);
	if (row->status == KEEP_OK && !stored && group.slink_token.data) {
		group.slink_token = group.slink_hash = (keep_bytes){.data = NULL};
		kp_adopt_place(row, "slink_token", false);
		(void)kp_adopt_store(row, KP_GATEWAY_ADOPT_GROUP, &kp_registered_group_record,
				     &group, NULL);
	} else if (row->status == KEEP_OK && !stored) {
		row->status =
			kp_fail(row->adopt->err, KEEP_CONFLICT, "the gateway has one with its key");
	}
	return kp_adopt_keep_rest(row, keys);
}

/* ---------------------------------------------------------------- sessions */

keep_status kp_adopt_session(kp_adopt_row *row)
{
	static const char *const keys[] = {"group_folder", "topic", NULL};
	keep_agent_session session = {
		.group_folder = kp_adopt_needed(row, "group_folder"),
		.topic = text_or(row, "topic", ""),
		.session_id = kp_adopt_needed(row, "session_id"),
		.updated_at = kp_adopt_time_or(row, "updated_at", row->adopt->now_ms),
	};

	row->adopt->counts->sessions++;
	(void)kp_adopt_store(row, KP_GATEWAY_ADOPT_SESSION, &kp_agent_session_record, &session,
			     NULL);
	return kp_adopt_keep_rest(row, keys);
}

keep_status kp_adopt_run(kp_adopt_row *row)
{
	static const char *const keys[] = {"id", NULL};
	keep_agent_run run = {
		.id = needed_id(row),
		.group_folder = kp_text_or(kp_adopt_text(row, "group_folder"), ""),
		.session_id = kp_text_or(kp_adopt_text(row, "session_id"), ""),
		.started_at = kp_adopt_time_or(row, "started_at", 0),
		.result = kp_adopt_optional(row, "result"),
		.error = kp_adopt_optional(row, "error"),
		.topic = text_or(row, "topic", ""),
		.message_count = int_or(row, "message_count", 0),
	};

	run.has_ended_at = kp_adopt_time(row, "ended_at", &run.ended_at, NULL);
	row->adopt->counts->session_log++;
	(void)kp_adopt_store(row, KP_GATEWAY_ADOPT_RUN, &kp_agent_run_record, &run, NULL);
	return kp_adopt_keep_rest(row, keys);
}

/* An object of texts, which is what attributes are. */
static keep_bytes read_attributes(kp_adopt_row *row, const char *name)
{
	keep_bytes text = kp_adopt_json(row, name, KP_JSON_OBJECT);
	const kp_json *json = NULL;

	if (!text.data || row->status != KEEP_OK)
		return (keep_bytes){.data = NULL};
	row->status = kp_json_parse(text, &row->adopt->row, &json, row->adopt->err);
	for (size_t i = 0; row->status == KEEP_OK && i < json->list.count; i++) {
		if (json->list.items[i].kind == KP_JSON_TEXT &&
		    kp_xml_is_name(json->list.items[i].name))
			continue;
		kp_adopt_place(row, name, false);
		return (keep_bytes){.data = NULL};
	}
	return text;
}

keep_status kp_adopt_system_message(kp_adopt_row *row)
{
	static const char *const keys[] = {"id", NULL};
	keep_system_message message = {
		.id = needed_id(row),
		.group_id = kp_adopt_optional(row, "group_id"),
		.origin = kp_text_or(kp_adopt_text(row, "origin"), ""),
		.event = kp_text_or(kp_adopt_text(row, "event"), ""),
		.body = text_or(row, "body", ""),
		.attributes = read_attributes(row, "attrs"),
		.created_at = kp_adopt_time_or(row, "created_at", row->adopt->now_ms),
	};

	if (row->status == KEEP_OK && !message.group_id.data)
		return kp_adopt_keep_whole(row); /* a later source's, by other names */
	/* The source never escaped a body: elements in it are meant as elements. */
	if (row->status == KEEP_OK && memchr(message.body.data, '<', message.body.len)) {
		keep_status status = kp_xml_check_fragment("body", message.body, NULL);

		message.is_xml = status == KEEP_OK;
		if (status == KEEP_NO_MEMORY)
			row->status = kp_fail_memory(row->adopt->err, "a body");
	}
	row->adopt->counts->system_messages++;
	(void)kp_adopt_store(row, KP_GATEWAY_ADOPT_SYSTEM_MESSAGE, &kp_system_message_record,
			     &message, NULL);
	return kp_adopt_keep_rest(row, keys);
}

/* ---------------------------------------------------------------- accounts */

keep_status kp_adopt_user(kp_adopt_row *row)
{
	static const char *const keys[] = {"sub", NULL};
	keep_auth_user user = {
		.sub = kp_adopt_optional(row, "sub"),
		.username = kp_adopt_optional(row, "username"),
		.hash = text_or(row, "hash", ""),
		.name = text_or(row, "name", ""),
		.created_at = kp_adopt_time_or(row, "created_at", row->adopt->now_ms),
		.disabled = kp_adopt_is(row, "disabled"),
	};

	if (row->status == KEEP_OK && !user.sub.data)
		return kp_adopt_keep_whole(row);
	if (!user.username.data)
		user.username = user.sub;
	row->adopt->counts->users++;
	(void)kp_adopt_store(row, KP_GATEWAY_ADOPT_USER, &kp_auth_user_record, &user, NULL);
	return kp_adopt_keep_rest(row, keys);
}

/* The source had no families: each token begins one of its own. */
keep_status kp_adopt_auth_session(kp_adopt_row *row)
{
	static const char *const keys[] = {"token_hash", NULL};
	char family[KP_UUID_TEXT_SIZE];
	keep_auth_session session = {
		.token_hash = kp_adopt_needed(row, "token_hash"),
		.user_sub = kp_text_or(kp_adopt_text(row, "user_sub"), ""),
		.family_id = kp_adopt_optional(row, "family_id"),
		.created_at = kp_adopt_time_or(row, "created_at", row->adopt->now_ms),
	};

	if (!kp_adopt_time(row, "expires_at", &session.expires_at, NULL))
		kp_adopt_refuse(row, "expires_at", "is missing or empty");
	session.has_used_at = kp_adopt_time(row, "used_at", &session.used_at, NULL);
	session.has_revoked_at = kp_adopt_time(row, "revoked_at", &session.revoked_at, NULL);
	if (row->status == KEEP_OK && !session.family_id.data) {
		row->status = kp_uuid_make(family, row->adopt->err);
		session.family_id = keep_bytes_of(family);
	}
	row->adopt->counts->auth_sessions++;
	(void)kp_adopt_store(row, KP_GATEWAY_ADOPT_AUTH_SESSION, &kp_auth_session_record, &session,
			     NULL);
	return kp_adopt_keep_rest(row, keys);
}

keep_status kp_adopt_user_group(kp_adopt_row *row)
{
	static const char *const keys[] = {"user_sub", "folder", NULL};
	keep_user_group group = {.user_sub = kp_adopt_needed(row, "user_sub"),
				 .folder = kp_text_or(kp_adopt_text(row, "folder"), "")};

	row->adopt->counts->user_groups++;
	(void)kp_adopt_store(row, KP_GATEWAY_ADOPT_USER_GROUP, &kp_user_group_record, &group, NULL);
	return kp_adopt_keep_rest(row, keys);
}

/* ---------------------------------------------------------------- mail, onboarding */

keep_status kp_adopt_thread(kp_adopt_row *row)
{
	static const char *const keys[] = {"thread_id", NULL};
	keep_email_thread thread = {
		.thread_id = kp_adopt_needed(row, "thread_id"),
		.chat_jid = kp_text_or(kp_adopt_text(row, "chat_jid"), ""),
		.subject = text_or(row, "subject", ""),
		.root_message_id = text_or(row, "root_msg_id", ""),
		.from_address = text_or(row, "from_address", ""),
	};

	row->adopt->counts->email_threads++;
	(void)kp_adopt_store(row, KP_GATEWAY_ADOPT_THREAD, &kp_email_thread_record, &thread, NULL);
	return kp_adopt_keep_rest(row, keys);
}

keep_status kp_adopt_onboarding(kp_adopt_row *row)
{
	static const char *const keys[] = {"jid", NULL};
	keep_onboarding request = {
		.jid = kp_adopt_needed(row, "jid"),
		.status = kp_text_or(kp_adopt_text(row, "status"), ""),
		.world_name = kp_adopt_optional(row, "world_name"),
		.sender = text_or(row, "sender", ""),
		.channel = text_or(row, "channel", ""),
		.created_at = kp_adopt_time_or(row, "created", row->adopt->now_ms),
	};

	request.has_prompted_at = kp_adopt_time(row, "prompted_at", &request.prompted_at, NULL);
	if (row->status == KEEP_OK &&
	    !kp_adopt_is_allowed(&kp_onboarding_record, "status", request.status))
		return kp_adopt_keep_whole(row);
	row->adopt->counts->onboarding++;
	(void)kp_adopt_store(row, KP_GATEWAY_ADOPT_ONBOARDING, &kp_onboarding_record, &request,
			     NULL);
	return kp_adopt_keep_rest(row, keys);
}

/*
 * access_judge.c - whose folder a thing is, and whether an account's folders cover it.
 *
 *     a folder            itself
 *     a chat              its registered group's folder. Without a group: every folder that its
 *                         messages can go to, which are the targets of the routes for it, for its
 *                         platform and for everybody, and the folders of the agents it is wired to;
 * all of them must be covered. When there is none, the folder that the message at hand names, else
 * the default agent's, if the host runs one a task              its owner; what makes it run also
 * by its chat an agent group      its folder; a session: its agent group's a messaging group   the
 * chat <channel_type>:<platform_id> an address          the same, or for the channel "agent" an
 * agent group a question          its session
 *
 * Invariants:
 *   1. What is not there, is no valid name or is of another kind than it should be is not covered:
 * an answer never tells which of them it was.
 *   2. Names are compared as the stores compare them, byte by byte; nothing is trimmed or folded.
 *   3. A failure of a store is a failure, and never "may".
 *   4. A jid without a colon is nobody's: which chat of the mailbox it is depends on the message.
 *   5. The mailbox writes the gateway's folder "ops/night" as "ops..night" (journey_place.c), which
 * is a folder of the gateway as well. An agent group's name says which of both it is, and nothing
 * else: a name that is not written as the folder is for people.
 *
 * Tests: tests/contract/test_service_access.c.
 */
#include "service/access.h"
#include "service/journey.h"

#include <string.h>

enum { WIRINGS_MAX = 1000, QUESTIONS_MAX = 1000 };
#define CHANNEL_AGENT "agent"

struct judge {
	keep_service *service;
	const keep_access *access;
	keep_memory *memory;
};

/* Invariant 1: OK for what the store says is not there, or no name. */
static keep_status settle(keep_status status, bool *found)
{
	*found = status == KEEP_OK;
	return status == KEEP_NOT_FOUND || status == KEEP_INVALID ? KEEP_OK : status;
}

/* ---------------------------------------------------------------- the mailbox's things */

/* Invariant 5. */
static bool is_written_so(keep_bytes folder, keep_bytes segment)
{
	size_t at = 0;

	for (size_t i = 0; i < folder.len; i++) {
		bool is_slash = folder.data[i] == '/';
		size_t width = is_slash ? 2 : 1;

		if (segment.len - at < width)
			return false;
		if (memcmp(segment.data + at, is_slash ? ".." : folder.data + i, width) != 0)
			return false;
		at += width;
	}
	return at == segment.len;
}

static keep_status judge_agent(const struct judge *judge, keep_bytes id, bool *may, keep_error *err)
{
	keep_agent_group group = {0};
	bool found = false;
	keep_status status = settle(keep_mailbox_get_agent_group(judge->service->mailbox, id,
								 judge->memory, &group, err),
				    &found);

	*may = found && keep_access_covers(judge->access, is_written_so(group.name, group.folder)
								  ? group.name
								  : group.folder);
	return status;
}

static keep_status judge_session(const struct judge *judge, keep_bytes id, bool *may,
				 keep_error *err)
{
	keep_session session = {0};
	bool found = false;
	keep_status status = settle(
		keep_mailbox_get_session(judge->service->mailbox, id, judge->memory, &session, err),
		&found);

	*may = false;
	return found ? judge_agent(judge, session.agent_group_id, may, err) : status;
}

/* ---------------------------------------------------------------- chats */

/* All folders that were seen are covered, and how many there were. */
struct claims {
	size_t count;
	bool covered;
};

static keep_status claim_by_routes(const struct judge *judge, keep_bytes jid, struct claims *claims,
				   keep_error *err)
{
	keep_route_list routes = {.count = 0};
	keep_status status =
		keep_gateway_get_routes(judge->service->gateway, jid, judge->memory, &routes, err);

	for (size_t i = 0; i < routes.count && status == KEEP_OK; i++) {
		claims->count++;
		claims->covered &= keep_access_covers(judge->access, routes.items[i].target);
	}
	return status;
}

static keep_status claim_by_wirings(const struct judge *judge, keep_bytes channel_type,
				    keep_bytes platform_id, struct claims *claims, keep_error *err)
{
	keep_mailbox *mailbox = judge->service->mailbox;
	keep_messaging_group group = {0};
	keep_messaging_group_agent_list wirings = {.count = 0};
	bool found = false;
	keep_status status =
		settle(keep_mailbox_find_messaging_group(mailbox, channel_type, platform_id,
							 judge->memory, &group, err),
		       &found);

	if (!found)
		return status;
	status = keep_mailbox_list_wirings(mailbox, group.id, (keep_bytes){0}, WIRINGS_MAX,
					   judge->memory, &wirings, err);
	for (size_t i = 0; i < wirings.count && status == KEEP_OK; i++) {
		bool may = false;

		status = judge_agent(judge, wirings.items[i].agent_group_id, &may, err);
		claims->count++;
		claims->covered &= may;
	}
	return status;
}

/* A chat without a group. */
static keep_status judge_unregistered(const struct judge *judge, keep_bytes jid,
				      keep_bytes otherwise, bool *may, keep_error *err)
{
	const char *colon = memchr(jid.data, ':', jid.len);
	size_t left = colon ? (size_t)(colon - jid.data) : 0;
	struct claims claims = {.covered = true};
	keep_status status;

	*may = false;
	if (!left || left + 1 == jid.len) /* invariant 4, and a platform is no chat */
		return KEEP_OK;
	status = claim_by_routes(judge, jid, &claims, err);
	if (status == KEEP_OK)
		status = claim_by_routes(judge, (keep_bytes){jid.data, left + 1}, &claims, err);
	if (status == KEEP_OK)
		status = claim_by_routes(judge, KEEP_BYTES("*"), &claims, err);
	if (status == KEEP_OK)
		status =
			claim_by_wirings(judge, (keep_bytes){jid.data, left},
					 (keep_bytes){colon + 1, jid.len - left - 1}, &claims, err);
	if (status != KEEP_OK)
		return status;
	if (claims.count)
		*may = claims.covered;
	else if (otherwise.len)
		*may = keep_access_covers(judge->access, otherwise);
	else if (judge->service->options.agent)
		*may = keep_access_covers(judge->access, KEEP_BYTES(KP_DEFAULT_FOLDER));
	return KEEP_OK;
}

static keep_status judge_chat(const struct judge *judge, keep_bytes jid, keep_bytes otherwise,
			      bool *may, keep_error *err)
{
	keep_registered_group group = {0};
	bool found = false;
	keep_status status;

	*may = false;
	if (kp_check_key("jid", jid, NULL) != KEEP_OK || !memchr(jid.data, ':', jid.len))
		return KEEP_OK;
	status = settle(
		keep_gateway_get_group(judge->service->gateway, jid, judge->memory, &group, err),
		&found);
	if (status != KEEP_OK)
		return status;
	if (!found)
		return judge_unregistered(judge, jid, otherwise, may, err);
	*may = keep_access_covers(judge->access, group.folder);
	return KEEP_OK;
}

keep_status kp_access_judge_chat(keep_service *service, const keep_access *access, keep_bytes jid,
				 keep_bytes otherwise, bool *may, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	const struct judge judge = {service, access, &memory};
	keep_status status = judge_chat(&judge, jid, otherwise, may, err);

	keep_memory_release(&memory);
	return status;
}

/* ---------------------------------------------------------------- addresses */

static keep_status judge_address(const struct judge *judge, keep_bytes channel_type,
				 keep_bytes platform_id, bool *may, keep_error *err)
{
	keep_buffer jid = KEEP_BUFFER_INIT;
	keep_status status;

	*may = false;
	if (!channel_type.len || !platform_id.len ||
	    memchr(channel_type.data, ':', channel_type.len))
		return KEEP_OK;
	if (kp_bytes_equal(channel_type, KEEP_BYTES(CHANNEL_AGENT)))
		return judge_agent(judge, platform_id, may, err);
	status = kp_buffer_append(&jid, channel_type, err);
	if (status == KEEP_OK)
		status = kp_buffer_append_text(&jid, ":", err);
	if (status == KEEP_OK)
		status = kp_buffer_append(&jid, platform_id, err);
	if (status == KEEP_OK)
		status = judge_chat(judge, kp_buffer_bytes(&jid), (keep_bytes){0}, may, err);
	keep_buffer_release(&jid);
	return status;
}

static keep_status judge_place(const struct judge *judge, keep_bytes id, bool *may, keep_error *err)
{
	keep_messaging_group group = {0};
	bool found = false;
	keep_status status = settle(keep_mailbox_get_messaging_group(judge->service->mailbox, id,
								     judge->memory, &group, err),
				    &found);

	*may = false;
	return found ? judge_address(judge, group.channel_type, group.platform_id, may, err)
		     : status;
}

/* A member that is a text; absent for null and for none. */
static bool get_text(const kp_json *object, const char *name, keep_bytes *text)
{
	const kp_json *value = kp_json_member(object, name);

	*text = (keep_bytes){0};
	if (!value || value->kind == KP_JSON_NULL)
		return true;
	if (value->kind != KP_JSON_TEXT)
		return false;
	*text = value->text;
	return true;
}

/* channel_type and platform_id of an object: both or none. */
static keep_status judge_address_of(const struct judge *judge, const kp_json *object, bool optional,
				    bool *may, keep_error *err)
{
	keep_bytes channel_type, platform_id;

	*may = false;
	if (!get_text(object, "channel_type", &channel_type) ||
	    !get_text(object, "platform_id", &platform_id))
		return KEEP_OK;
	if (!channel_type.data && !platform_id.data) {
		*may = optional;
		return KEEP_OK;
	}
	return judge_address(judge, channel_type, platform_id, may, err);
}

/* ---------------------------------------------------------------- arrays */

static keep_status judge_elements(const struct judge *judge, kp_judged_kind kind,
				  const kp_json *array, bool *may, keep_error *err)
{
	keep_bytes last = {0};
	keep_status status = KEEP_OK;

	*may = array->kind == KP_JSON_ARRAY;
	for (size_t i = 0; *may && status == KEEP_OK && i < array->list.count; i++) {
		const kp_json *item = &array->list.items[i];
		keep_bytes jid;

		if (item->kind != KP_JSON_OBJECT) {
			*may = false;
		} else if (kind == KP_JUDGE_POSTS) {
			status = judge_address_of(judge, item, true, may, err);
		} else if (!get_text(item, "chat_jid", &jid) || !jid.data) {
			*may = false;
		} else if (!kp_bytes_equal(jid, last)) {
			status = judge_chat(judge, jid, (keep_bytes){0}, may, err);
			last = jid;
		}
	}
	return status;
}

/* ---------------------------------------------------------------- tasks, questions */

static keep_status judge_task(const struct judge *judge, kp_judged_kind kind, keep_bytes id,
			      bool *may, keep_error *err)
{
	keep_scheduled_task task = {0};
	bool found = false;
	keep_status status = settle(
		keep_gateway_get_task(judge->service->gateway, id, judge->memory, &task, err),
		&found);

	*may = found ? keep_access_covers(judge->access, task.owner)
		     : status == KEEP_OK && kind == KP_JUDGE_NEW_TASK;
	if (*may && kind == KP_JUDGE_TASK_RUN)
		status = judge_chat(judge, task.chat_jid, (keep_bytes){0}, may, err);
	return status;
}

static keep_status judge_question(const struct judge *judge, keep_bytes id, bool *may,
				  keep_error *err)
{
	keep_pending_question_list questions = {.count = 0};
	keep_status status = keep_mailbox_questions(judge->service->mailbox, (keep_bytes){0},
						    QUESTIONS_MAX, judge->memory, &questions, err);

	*may = false;
	for (size_t i = 0; i < questions.count && status == KEEP_OK; i++)
		if (kp_bytes_equal(questions.items[i].question_id, id))
			return judge_session(judge, questions.items[i].session_id, may, err);
	return status;
}

/* ---------------------------------------------------------------- an input, or a row's member */

static keep_status judge_text(const struct judge *judge, kp_judged_kind kind, keep_bytes text,
			      bool *may, keep_error *err)
{
	switch (kind) {
	case KP_JUDGE_FOLDER: *may = keep_access_covers(judge->access, text); return KEEP_OK;
	case KP_JUDGE_SUB: *may = kp_bytes_equal(judge->access->sub, text); return KEEP_OK;
	case KP_JUDGE_CHAT: return judge_chat(judge, text, (keep_bytes){0}, may, err);
	case KP_JUDGE_TASK:
	case KP_JUDGE_TASK_RUN:
	case KP_JUDGE_NEW_TASK: return judge_task(judge, kind, text, may, err);
	case KP_JUDGE_AGENT: return judge_agent(judge, text, may, err);
	case KP_JUDGE_PLACE: return judge_place(judge, text, may, err);
	case KP_JUDGE_SESSION: return judge_session(judge, text, may, err);
	case KP_JUDGE_QUESTION: return judge_question(judge, text, may, err);
	case KP_JUDGE_NOTHING:
	case KP_JUDGE_MESSAGES:
	case KP_JUDGE_ADDRESS:
	case KP_JUDGE_POSTS: break;
	}
	*may = false;
	return KEEP_OK;
}

keep_status kp_access_judge(keep_service *service, const keep_access *access,
			    const kp_judged *judged, const kp_json *object, bool *may,
			    keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	const struct judge judge = {service, access, &memory};
	const kp_json *value = kp_json_member(object, judged->name);
	bool absent = !value || value->kind == KP_JSON_NULL ||
		      (judged->kind == KP_JUDGE_FOLDER && judged->may_be_absent &&
		       value->kind == KP_JSON_TEXT && !value->text.len);
	keep_status status = KEEP_OK;

	*may = absent && judged->may_be_absent;
	if (judged->kind == KP_JUDGE_ADDRESS)
		status = judge_address_of(&judge, object, judged->may_be_absent, may, err);
	else if (!absent && (judged->kind == KP_JUDGE_MESSAGES || judged->kind == KP_JUDGE_POSTS))
		status = judge_elements(&judge, judged->kind, value, may, err);
	else if (!absent && value->kind == KP_JSON_TEXT)
		status = judge_text(&judge, judged->kind, value->text, may, err);
	if (status != KEEP_OK)
		*may = false;
	keep_memory_release(&memory);
	return status;
}

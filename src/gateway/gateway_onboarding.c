/*
 * gateway_onboarding.c - a chat that asks for a world of its own, until somebody decides.
 *
 * Invariants:
 *   1. Every step is a compare-and-set on the status, so two who decide at once decide once, and
 *      nothing is acted on that was not so any more.
 *   2. A name belongs to one: it is looked up among groups and open requests in the transaction
 *      that takes it, and once more in the one that approves.
 *   3. An approval is one transaction: status, group, routes, welcome. The welcome is input, for an
 *      agent never sees what is from itself.
 *
 * What it does not do: ask. mark_prompted notes that somebody did.
 *
 * Tests: tests/contract/test_gateway_onboarding.c.
 */
#include "gateway/gateway_private.h"

#include <string.h>

enum { NAME_BYTES_MAX = 63 };

#define WELCOME "Welcome. This is the first message of your new world."

/* One request for a step. */
struct step {
	keep_bytes jid, name, text, by;
	int64_t at_ms;
	bool existed;
};

/* ---------------------------------------------------------------- asking */

static keep_status apply_start(void *ctx, kp_lease *lease, keep_error *err)
{
	struct step *step = ctx;
	int64_t changes = 0;
	keep_status status =
		kp_lease_run(lease, KP_GATEWAY_INSERT_ONBOARDING,
			     KP_VALUES(kp_text_value(step->jid), kp_text_value(step->name),
				       kp_text_value(step->text), kp_time_value(step->at_ms)),
			     &changes, err);

	step->existed = changes == 0;
	return status;
}

keep_status keep_gateway_start_onboarding(keep_gateway *gateway, keep_bytes jid, keep_bytes sender,
					  keep_bytes channel, keep_put *put, keep_error *err)
{
	struct step step = {.jid = jid,
			    .name = kp_text_or(sender, ""),
			    .text = kp_text_or(channel, ""),
			    .at_ms = kp_clock_ms()};
	keep_status status = kp_check_key("jid", jid, err);

	if (status == KEEP_OK)
		status = kp_check_text("sender", sender, KEEP_GATEWAY_TEXT_MAX, KP_MAY_BE_ABSENT,
				       err);
	if (status == KEEP_OK)
		status = kp_check_text("channel", channel, KEEP_GATEWAY_TEXT_MAX, KP_MAY_BE_ABSENT,
				       err);
	if (status == KEEP_OK)
		status = kp_gateway_change(gateway, apply_start, &step, KP_NEWS_NONE, err);
	if (status == KEEP_OK && put)
		*put = step.existed ? KEEP_PUT_DUPLICATE : KEEP_PUT_INSERTED;
	return status;
}

/* Why a compare-and-set on `jid` changed nothing. */
static keep_status tell_state(kp_lease *lease, keep_bytes jid, const char *wanted, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_onboarding found;
	kp_sql_stmt *stmt = NULL;
	bool exists = false;
	keep_status status = kp_lease_bind(lease, KP_GATEWAY_GET_ONBOARDING,
					   KP_VALUES(kp_text_value(jid)), &stmt, err);

	if (status == KEEP_OK)
		status = kp_record_read_one(stmt, &kp_onboarding_record, &found, &arena, &exists,
					    err);
	if (status == KEEP_OK && !exists)
		status = kp_fail(err, KEEP_NOT_FOUND, "onboarding of '%" KP_PRI "': none was begun",
				 KP_ARG(jid));
	else if (status == KEEP_OK)
		status = kp_fail(err, KEEP_CONFLICT,
				 "onboarding of '%" KP_PRI "': is %" KP_PRI ", not %s", KP_ARG(jid),
				 KP_ARG(found.status), wanted);
	kp_arena_release(&arena);
	return status;
}

static keep_status apply_prompted(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct step *step = ctx;
	int64_t changes = 0;
	keep_status status = kp_lease_run(
		lease, KP_GATEWAY_SET_PROMPTED,
		KP_VALUES(kp_text_value(step->jid), kp_time_value(step->at_ms)), &changes, err);

	return status == KEEP_OK && !changes ? tell_state(lease, step->jid, "awaiting_name", err)
					     : status;
}

keep_status keep_gateway_mark_prompted(keep_gateway *gateway, keep_bytes jid, int64_t prompted_at,
				       keep_error *err)
{
	struct step step = {.jid = jid, .at_ms = prompted_at ? prompted_at : kp_clock_ms()};
	keep_status status = kp_check_key("jid", jid, err);

	if (status == KEEP_OK)
		status = kp_check_time("prompted_at", step.at_ms, err);
	if (status != KEEP_OK)
		return status;
	return kp_gateway_change(gateway, apply_prompted, &step, KP_NEWS_NONE, err);
}

/* ---------------------------------------------------------------- the name */

static keep_status check_name(keep_bytes name, keep_error *err)
{
	bool right = name.data && name.len && name.len <= NAME_BYTES_MAX;

	for (size_t i = 0; right && i < name.len; i++)
		right = (name.data[i] >= 'a' && name.data[i] <= 'z') ||
			(name.data[i] >= '0' && name.data[i] <= '9') || name.data[i] == '-';
	return right ? KEEP_OK
		     : kp_fail(err, KEEP_INVALID, "name: 1 to %d of a-z 0-9 - are needed",
			       NAME_BYTES_MAX);
}

/* Invariant 2. */
static keep_status check_name_free(kp_lease *lease, keep_bytes jid, keep_bytes name,
				   keep_error *err)
{
	kp_sql_stmt *stmt = NULL;
	bool taken = false;
	keep_status status =
		kp_lease_bind(lease, KP_GATEWAY_FIND_WORLD_NAME,
			      KP_VALUES(kp_text_value(jid), kp_text_value(name)), &stmt, err);

	if (status == KEEP_OK)
		status = kp_sql_step(stmt, &taken, err);
	kp_sql_reset(stmt);
	if (status == KEEP_OK && taken)
		return kp_fail(err, KEEP_CONFLICT, "name '%" KP_PRI "': is taken", KP_ARG(name));
	return status;
}

static keep_status apply_name(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct step *step = ctx;
	int64_t changes = 0;
	keep_status status = check_name_free(lease, step->jid, step->name, err);

	if (status == KEEP_OK)
		status =
			kp_lease_run(lease, KP_GATEWAY_SUBMIT_WORLD_NAME,
				     KP_VALUES(kp_text_value(step->jid), kp_text_value(step->name)),
				     &changes, err);
	return status == KEEP_OK && !changes ? tell_state(lease, step->jid, "awaiting_name", err)
					     : status;
}

keep_status keep_gateway_submit_name(keep_gateway *gateway, keep_bytes jid, keep_bytes name,
				     keep_error *err)
{
	struct step step = {.jid = jid, .name = name};
	keep_status status = kp_check_key("jid", jid, err);

	if (status == KEEP_OK)
		status = check_name(name, err);
	if (status != KEEP_OK)
		return status;
	return kp_gateway_change(gateway, apply_name, &step, KP_NEWS_NONE, err);
}

/* ---------------------------------------------------------------- deciding */

/* From one of two states; the same one twice when only one is meant. */
static keep_status decide(kp_lease *lease, const struct step *step, const char *verdict,
			  const char *from, const char *or_from, keep_error *err)
{
	int64_t changes = 0;
	keep_status status = kp_lease_run(
		lease, KP_GATEWAY_DECIDE_ONBOARDING,
		KP_VALUES(kp_text_value(step->jid), kp_text_value(keep_bytes_of(verdict)),
			  kp_time_value(step->at_ms), kp_text_value(step->by),
			  kp_text_value(keep_bytes_of(from)),
			  kp_text_value(keep_bytes_of(or_from))),
		&changes, err);

	return status == KEEP_OK && !changes ? tell_state(lease, step->jid, from, err) : status;
}

static keep_status add_group(kp_lease *lease, const struct step *step, keep_bytes name,
			     keep_error *err)
{
	const keep_registered_group group = {
		.jid = step->jid,
		.folder = name,
		.trigger_word = KEEP_BYTES(""),
		.parent = KEEP_BYTES(""),
		.name = name,
		.state = KEEP_BYTES(KEEP_REGISTERED_GROUP_STATE_ACTIVE),
		.added_at = step->at_ms,
		.updated_at = step->at_ms,
	};
	kp_sql_stmt *stmt = NULL;
	bool has_row = true;
	keep_status status =
		kp_lease_statement(lease, KP_GATEWAY_INSERT_ONBOARDED_GROUP, &stmt, err);

	if (status == KEEP_OK)
		status = kp_record_bind(stmt, 1, &kp_registered_group_record, &group, err);
	while (status == KEEP_OK && has_row)
		status = kp_sql_step(stmt, &has_row, err);
	if (status == KEEP_OK && kp_sql_changes(stmt) == 0)
		status = kp_fail(err, KEEP_CONFLICT,
				 "onboarding of '%" KP_PRI "': the chat is registered already",
				 KP_ARG(step->jid));
	kp_sql_reset(stmt);
	return status;
}

static keep_status add_routes(kp_lease *lease, keep_bytes jid, keep_bytes name, keep_error *err)
{
	static const struct {
		int64_t seq;
		const char *type, *match;
	} routes[] = {{-2, KEEP_ROUTE_TYPE_PREFIX, "@"},
		      {-1, KEEP_ROUTE_TYPE_PREFIX, "#"},
		      {0, KEEP_ROUTE_TYPE_DEFAULT, ""}};
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < KP_COUNT(routes) && status == KEEP_OK; i++)
		status = kp_lease_queue(lease, KP_GATEWAY_INSERT_ONBOARDED_ROUTE,
					KP_VALUES(kp_text_value(jid), kp_int_value(routes[i].seq),
						  kp_text_value(keep_bytes_of(routes[i].type)),
						  kp_text_value(keep_bytes_of(routes[i].match)),
						  kp_text_value(name)),
					err);
	return status == KEEP_OK ? kp_routes_changed(lease, jid, err) : status;
}

static keep_status add_welcome(kp_lease *lease, const struct step *step, keep_error *err)
{
	keep_message welcome =
		kp_message_inbound(step->jid, KEEP_BYTES("onboarding-welcome"),
				   KEEP_BYTES("onboarding"), step->text, step->at_ms);
	keep_put_result result;

	return kp_message_put(lease, &welcome, NULL, true, &result, err);
}

/* The name that was asked for; check_name held when it was submitted. */
static keep_status find_name(kp_lease *lease, keep_bytes jid, kp_arena *arena, keep_bytes *name,
			     keep_error *err)
{
	keep_onboarding found = {0};
	kp_sql_stmt *stmt = NULL;
	bool exists = false;
	keep_status status = kp_lease_bind(lease, KP_GATEWAY_GET_ONBOARDING,
					   KP_VALUES(kp_text_value(jid)), &stmt, err);

	if (status == KEEP_OK)
		status = kp_record_read_one(stmt, &kp_onboarding_record, &found, arena, &exists,
					    err);
	*name = found.world_name;
	if (status == KEEP_OK && exists && check_name(*name, NULL) != KEEP_OK)
		return kp_fail(err, KEEP_CORRUPT, "onboarding of '%" KP_PRI "': has no usable name",
			       KP_ARG(jid));
	return status;
}

static keep_status apply_approval(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct step *step = ctx;
	kp_arena arena = {.head = NULL};
	keep_bytes name = {0};
	keep_status status =
		decide(lease, step, KEEP_ONBOARDING_STATUS_APPROVED, KEEP_ONBOARDING_STATUS_PENDING,
		       KEEP_ONBOARDING_STATUS_PENDING, err);

	if (status == KEEP_OK)
		status = find_name(lease, step->jid, &arena, &name, err);
	if (status == KEEP_OK)
		status = check_name_free(lease, step->jid, name, err);
	if (status == KEEP_OK)
		status = add_group(lease, step, name, err);
	if (status == KEEP_OK)
		status = add_routes(lease, step->jid, name, err);
	if (status == KEEP_OK)
		status = add_welcome(lease, step, err);
	kp_arena_release(&arena);
	return status;
}

static keep_status check_decision(keep_bytes jid, keep_bytes by, keep_error *err)
{
	keep_status status = kp_check_key("jid", jid, err);

	return status == KEEP_OK ? kp_check_key("decided_by", by, err) : status;
}

keep_status keep_gateway_approve_onboarding(keep_gateway *gateway, keep_bytes jid,
					    keep_bytes decided_by, keep_bytes welcome,
					    keep_error *err)
{
	struct step step = {.jid = jid,
			    .by = decided_by,
			    .text = kp_text_or(welcome, WELCOME),
			    .at_ms = kp_clock_ms()};
	keep_status status = check_decision(jid, decided_by, err);

	if (status == KEEP_OK)
		status = kp_check_content("welcome", step.text, err);
	if (status != KEEP_OK)
		return status;
	return kp_gateway_change(gateway, apply_approval, &step, KP_NEWS_INPUT, err);
}

static keep_status apply_rejection(void *ctx, kp_lease *lease, keep_error *err)
{
	return decide(lease, ctx, KEEP_ONBOARDING_STATUS_REJECTED, KEEP_ONBOARDING_STATUS_PENDING,
		      KEEP_ONBOARDING_STATUS_AWAITING_NAME, err);
}

keep_status keep_gateway_reject_onboarding(keep_gateway *gateway, keep_bytes jid,
					   keep_bytes decided_by, keep_error *err)
{
	struct step step = {.jid = jid, .by = decided_by, .at_ms = kp_clock_ms()};
	keep_status status = check_decision(jid, decided_by, err);

	if (status != KEEP_OK)
		return status;
	return kp_gateway_change(gateway, apply_rejection, &step, KP_NEWS_NONE, err);
}

/* ---------------------------------------------------------------- reading */

keep_status keep_gateway_get_onboarding(keep_gateway *gateway, keep_bytes jid, keep_memory *memory,
					keep_onboarding *out, keep_error *err)
{
	bool found = false;
	keep_status status = kp_check_key("jid", jid, err);

	if (status == KEEP_OK)
		status = kp_gateway_get(gateway, KP_GATEWAY_GET_ONBOARDING,
					KP_VALUES(kp_text_value(jid)), &kp_onboarding_record,
					memory, out, &found, err);
	if (status == KEEP_OK && !found)
		return kp_fail(err, KEEP_NOT_FOUND, "onboarding of '%" KP_PRI "': none was begun",
			       KP_ARG(jid));
	return status;
}

static keep_status check_status(keep_bytes status, keep_error *err)
{
	static const char *const known[] = {
		KEEP_ONBOARDING_STATUS_AWAITING_NAME, KEEP_ONBOARDING_STATUS_PENDING,
		KEEP_ONBOARDING_STATUS_APPROVED, KEEP_ONBOARDING_STATUS_REJECTED};

	for (size_t i = 0; i < KP_COUNT(known); i++)
		if (kp_bytes_equal(status, keep_bytes_of(known[i])))
			return KEEP_OK;
	return status.data ? kp_fail(err, KEEP_INVALID,
				     "status: awaiting_name, pending, approved or rejected")
			   : KEEP_OK;
}

keep_status keep_gateway_list_onboarding(keep_gateway *gateway, keep_bytes status_wanted,
					 size_t limit, keep_memory *memory,
					 keep_onboarding_list *out, keep_error *err)
{
	int64_t rows = 0;
	keep_status status = check_status(status_wanted, err);

	if (status == KEEP_OK)
		status = kp_check_limit(limit, 100, KEEP_GATEWAY_LIST_MAX, &rows, err);
	if (status != KEEP_OK)
		return status;
	const kp_value values[] = {kp_int_value(rows), kp_text_value(status_wanted)};

	return kp_gateway_list(gateway,
			       status_wanted.data ? KP_GATEWAY_LIST_ONBOARDING_OF_STATUS
						  : KP_GATEWAY_LIST_ONBOARDING,
			       values, status_wanted.data ? 2 : 1, &kp_onboarding_record, memory,
			       &out->items, &out->count, err);
}

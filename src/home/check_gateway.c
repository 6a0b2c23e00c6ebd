/*
 * check_gateway.c - the gateway's store: its rows, what they say of each other, its leases.
 *
 * Invariants:
 *   1. A chat's numbers and its queue, and what waits beyond a cursor, are derived from the
 * messages and are made anew from them. A cursor that is ahead of its chat goes back to its end, so
 * that what comes next is not passed by.
 *   2. A delivery that a dead process was sending is pending again, with its key and its attempts.
 *
 * Tests: tests/contract/test_home_check.c, tests/contract/test_home_check_stores.c.
 */
#include "gateway/gateway_records.h"
#include "home/check_private.h"
#include "vault/vault.h"

#include <string.h>

#define STALE "stale_counter"
#define QUEUE "stale_queue"
#define CURSOR_KIND "stale_cursor"

static const kp_check_rule rules[] = {
	{.find = KP_CHECK_GATEWAY_MESSAGES_WITHOUT_CHAT,
	 .table = "messages",
	 .kind = "broken_reference",
	 .sentence = "the chat has messages and no row of its own",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .reads_all = true},
	{.find = KP_CHECK_GATEWAY_BAD_SEQ,
	 .table = "messages",
	 .kind = "bad_number",
	 .sentence = "a message's number in its chat is below 1",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .has_numbers = true,
	 .reads_all = true},
	{.find = KP_CHECK_GATEWAY_DOUBLE_SEQ,
	 .table = "messages",
	 .kind = "bad_number",
	 .sentence = "two messages of the chat have one number",
	 .severity = KEEP_SEVERITY_DAMAGE,
	 .has_numbers = true,
	 .reads_all = true},
	{.find = KP_CHECK_GATEWAY_LAST_SEQ,
	 .table = "chats",
	 .kind = STALE,
	 .sentence = "last_seq is not the number of the chat's newest message",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .has_numbers = true,
	 .mend = {KP_CHECK_GATEWAY_RENEW_LAST_SEQ},
	 .mend_count = 1},
	{.find = KP_CHECK_GATEWAY_LAST_INPUT_SEQ,
	 .table = "chats",
	 .kind = STALE,
	 .sentence = "last_input_seq is not the number of the chat's newest input",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .has_numbers = true,
	 .reads_all = true,
	 .mend = {KP_CHECK_GATEWAY_RENEW_LAST_INPUT_SEQ},
	 .mend_count = 1},
	{.find = KP_CHECK_GATEWAY_LAST_TIME,
	 .table = "chats",
	 .kind = STALE,
	 .sentence = "last_message_at is not the newest time of the chat's messages",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .reads_all = true,
	 .mend = {KP_CHECK_GATEWAY_RENEW_LAST_TIME},
	 .mend_count = 1},
	{.find = KP_CHECK_GATEWAY_QUEUE_MISSING,
	 .table = "delivery_queues",
	 .kind = QUEUE,
	 .sentence = "the chat has deliveries and no queue: they would not be claimed",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .mend = {KP_CHECK_GATEWAY_TIME_DELIVERIES, KP_CHECK_GATEWAY_ADD_QUEUES},
	 .mend_count = 2},
	{.find = KP_CHECK_GATEWAY_QUEUE_WITHOUT_DELIVERY,
	 .table = "delivery_queues",
	 .kind = QUEUE,
	 .sentence = "the chat has a queue and no delivery",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .mend = {KP_CHECK_GATEWAY_REMOVE_QUEUES},
	 .mend_count = 1},
	{.find = KP_CHECK_GATEWAY_QUEUE_DIFFERS,
	 .table = "delivery_queues",
	 .kind = QUEUE,
	 .sentence = "the chat's queue does not say what its first delivery does",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .mend = {KP_CHECK_GATEWAY_TIME_DELIVERIES, KP_CHECK_GATEWAY_RENEW_QUEUES},
	 .mend_count = 2},
	{.find = KP_CHECK_GATEWAY_CURSOR_AHEAD,
	 .table = "cursors",
	 .kind = CURSOR_KIND,
	 .sentence = "the cursor is ahead of its chat, whose next messages would be passed by",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .has_numbers = true,
	 .mend = {KP_CHECK_GATEWAY_PUT_CURSORS_BACK},
	 .mend_count = 1},
	{.find = KP_CHECK_GATEWAY_CURSOR_WITHOUT_CONSUMER,
	 .table = "cursors",
	 .kind = CURSOR_KIND,
	 .sentence = "the cursor is of a consumer that is not there",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .mend = {KP_CHECK_GATEWAY_ADD_CONSUMERS},
	 .mend_count = 1},
	{.find = KP_CHECK_GATEWAY_CURSOR_MISSING,
	 .table = "cursors",
	 .kind = CURSOR_KIND,
	 .sentence = "the consumer has no cursor for the chat, and would never read it",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .mend = {KP_CHECK_GATEWAY_ADD_CURSORS},
	 .mend_count = 1},
	{.find = KP_CHECK_GATEWAY_CURSOR_PENDING,
	 .table = "cursors",
	 .kind = CURSOR_KIND,
	 .sentence = "the cursor does not say rightly whether input waits beyond it",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .mend = {KP_CHECK_GATEWAY_RENEW_PENDING},
	 .mend_count = 1},
	{.find = KP_CHECK_GATEWAY_ROUTE_UNVERSIONED,
	 .table = "route_versions",
	 .kind = STALE,
	 .sentence = "the chat has routes and no count of their changes",
	 .severity = KEEP_SEVERITY_INCONSISTENCY,
	 .mend = {KP_CHECK_GATEWAY_VERSION_ROUTES},
	 .mend_count = 1},
	{.find = KP_CHECK_GATEWAY_FOLDER_OF_NOBODY,
	 .table = "user_groups",
	 .kind = "broken_reference",
	 .sentence = "a folder is given to an account that is not there",
	 .severity = KEEP_SEVERITY_NOTE},
	{.find = KP_CHECK_GATEWAY_SESSION_OF_NOBODY,
	 .table = "auth_sessions",
	 .kind = "broken_reference",
	 .sentence = "somebody is signed in with an account that is not there",
	 .severity = KEEP_SEVERITY_INCONSISTENCY},
};

static const kp_check_lease leases[] = {
	{.find = KP_CHECK_GATEWAY_SENDING,
	 .table = "messages",
	 .what = "the delivery",
	 .mend = {KP_CHECK_GATEWAY_GIVE_DELIVERY_BACK, KP_CHECK_GATEWAY_RENEW_QUEUE_OF},
	 .mend_count = 2},
	{.find = KP_CHECK_GATEWAY_FIRING,
	 .table = "scheduled_tasks",
	 .what = "the task",
	 .mend = {KP_CHECK_GATEWAY_GIVE_TASK_BACK},
	 .mend_count = 1},
	{.find = KP_CHECK_GATEWAY_TOLD,
	 .table = "system_messages",
	 .what = "the system message",
	 .mend = {KP_CHECK_GATEWAY_LOSE_CLAIM, KP_CHECK_GATEWAY_GIVE_REMARK_BACK},
	 .mend_count = 2},
};

/* A group is found by the hash of its token. */
static keep_status check_group(void *ctx, const void *object, keep_error *err)
{
	kp_check_unit *unit = ctx;
	const keep_registered_group *group = object;
	char hash[KP_TOKEN_HASH_TEXT_SIZE] = "";
	kp_complaint found = {.severity = KEEP_SEVERITY_INCONSISTENCY,
			      .kind = STALE,
			      .table = "registered_groups",
			      .key = group->jid};
	keep_status status = KEEP_OK;

	if (group->slink_token.data && group->slink_token.len)
		status = kp_token_hash(group->slink_token, hash, NULL);
	if (status == KEEP_NO_MEMORY)
		return kp_fail_memory(err, "a hash");
	if (!*hash || kp_bytes_equal(group->slink_hash, keep_bytes_of(hash)))
		return KEEP_OK;
	return kp_check_found(
		unit->check, &found, err,
		"slink_hash is not the hash of the group's token, which finds nothing");
}

static keep_status check_open(kp_check_unit *unit, keep_error *err)
{
	const kp_check_rows hooks[] = {
		{.record = &kp_registered_group_record, .row = check_group, .ctx = unit},
		{.record = NULL},
	};
	int64_t orphans = 0;
	bool is_known = false;
	keep_status status = kp_check_version(unit, "gateway", &is_known, err);

	if (status != KEEP_OK || !is_known)
		return status;
	status = kp_check_indexes(unit, err);
	if (status == KEEP_OK)
		status = kp_check_tables(unit, kp_gateway_records, KP_GATEWAY_RECORD_COUNT, hooks,
					 err);
	if (status == KEEP_OK)
		status = kp_check_leases(unit, leases, KP_COUNT(leases), &orphans, err);
	return status == KEEP_OK ? kp_check_rules(unit, rules, KP_COUNT(rules), err) : status;
}

keep_status kp_check_gateway(kp_home_check *check, keep_error *err)
{
	kp_check_unit unit = {
		.check = check, .schema = "gateway", .turn = KP_CHECK_GATEWAY_TAKE_TURN + 1};
	bool there = false, is_open = false;
	keep_status status =
		kp_check_is_there(check, "gateway", "gateway/messages.db", NULL, &there, err);

	if (status != KEEP_OK || !there)
		return status;
	status = kp_check_pages(check, &unit.is_damaged, err);
	if (status == KEEP_OK)
		status = kp_check_unit_open(&unit, &is_open, err);
	if (status == KEEP_OK && is_open)
		status = check_open(&unit, err);
	kp_check_unit_close(&unit);
	return status;
}

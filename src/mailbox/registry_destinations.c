/*
 * registry_destinations.c - where an agent may send, and how it calls that.
 *
 * A row is the permission and the name in one. Names are a-z 0-9 -, 1 to KEEP_SEGMENT_MAX of them
 * and neither first nor last -. A name that is not given is made: of the display name, or of the
 * address ("telegram-42", another agent's id); capitals become small, every run of other letters
 * one -, nothing at all "unnamed"; and "-2", "-3" … when the name leads elsewhere already.
 *
 * Invariants:
 *   1. A name of an agent leads to one place. Giving a name that is there changes what it means;
 *      making one never does.
 *   2. Where a destination without a name is allowed again, it keeps the name it has.
 *   3. A channel's destination has channel_type and platform_id, an agent's target_agent_group_id,
 *      and neither has the other's.
 *
 * What it does not do: tell the sessions (wake and refresh copy them), ask for permission to send
 * (collect does).
 *
 * Tests: tests/contract/test_mailbox_destinations.c.
 */
#include "mailbox/registry_private.h"

#include <stdio.h>

enum {
	USUAL_LIMIT = 50,
	NUMBERS_MAX = 100000,
	BASE_MAX = KEEP_SEGMENT_MAX - 8 /* leaves room for a number */
};

static bool is_agent(const keep_agent_destination *destination)
{
	return kp_bytes_equal(destination->type, KEEP_BYTES(KEEP_AGENT_DESTINATION_TYPE_AGENT));
}

/* ---------------------------------------------------------------- names */

static bool is_name_letter(char letter)
{
	return (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9');
}

static keep_status check_name(keep_bytes name, keep_error *err)
{
	keep_status status = kp_check_text("name", name, KEEP_SEGMENT_MAX, KP_NOT_EMPTY, err);

	for (size_t i = 0; status == KEEP_OK && i < name.len; i++) {
		bool is_edge = i == 0 || i + 1 == name.len;

		if (!is_name_letter(name.data[i]) && (is_edge || name.data[i] != '-'))
			status = kp_fail(err, KEEP_INVALID,
					 "name: '%" KP_PRI "' is none: a-z 0-9 -, and neither "
					 "first nor last -",
					 KP_ARG(name));
	}
	return status;
}

/* Add `text` to a name of `len` bytes; its new length. */
static size_t add_words(char name[BASE_MAX + 1], size_t len, keep_bytes text)
{
	for (size_t i = 0; i < text.len && len < BASE_MAX; i++) {
		char letter = text.data[i];

		if (letter >= 'A' && letter <= 'Z')
			letter = (char)(letter - 'A' + 'a');
		if (is_name_letter(letter))
			name[len++] = letter;
		else if (len && name[len - 1] != '-')
			name[len++] = '-';
	}
	return len;
}

static void make_base(const keep_agent_destination *destination, char name[BASE_MAX + 1])
{
	keep_bytes channel = destination->channel_type, place = destination->platform_id;
	size_t len = add_words(name, 0, kp_text_or(destination->display_name, ""));
	bool has_prefix;

	while (len && name[len - 1] == '-')
		len--;
	if (!destination->display_name.len && is_agent(destination)) {
		len = add_words(name, 0, destination->target_agent_group_id);
	} else if (!destination->display_name.len) {
		/* many platforms' ids begin with the channel already */
		has_prefix = place.len > channel.len &&
			     memcmp(place.data, channel.data, channel.len) == 0 &&
			     place.data[channel.len] == ':';
		if (!has_prefix) {
			len = add_words(name, 0, channel);
			len = add_words(name, len, KEEP_BYTES("-"));
		}
		len = add_words(name, len, place);
	}
	while (len && name[len - 1] == '-')
		len--;
	name[len] = '\0';
	if (!len)
		memcpy(name, "unnamed", sizeof "unnamed");
}

/* ---------------------------------------------------------------- allowing */

static keep_status find_by_name(kp_lease *lease, keep_bytes agent, keep_bytes name, kp_arena *arena,
				keep_agent_destination *out, bool *found, keep_error *err)
{
	return kp_lease_get(lease, KP_MAILBOX_GET_AGENT_DESTINATION,
			    KP_VALUES(kp_text_value(agent), kp_text_value(name)),
			    &kp_agent_destination_record, arena, out, found, err);
}

static keep_status find_by_place(kp_lease *lease, const keep_agent_destination *given,
				 kp_arena *arena, keep_agent_destination *out, bool *found,
				 keep_error *err)
{
	if (is_agent(given))
		return kp_lease_get(lease, KP_MAILBOX_AGENT_DESTINATION_TO_AGENT,
				    KP_VALUES(kp_text_value(given->agent_group_id),
					      kp_text_value(given->target_agent_group_id)),
				    &kp_agent_destination_record, arena, out, found, err);
	return kp_lease_get(lease, KP_MAILBOX_AGENT_DESTINATION_TO_CHAT,
			    KP_VALUES(kp_text_value(given->agent_group_id),
				      kp_text_value(given->channel_type),
				      kp_text_value(given->platform_id)),
			    &kp_agent_destination_record, arena, out, found, err);
}

static keep_status make_name(kp_lease *lease, const keep_agent_destination *given, kp_arena *arena,
			     keep_bytes *name, keep_error *err)
{
	char base[BASE_MAX + 1], text[KEEP_SEGMENT_MAX + 1];
	keep_agent_destination taken;
	keep_status status = KEEP_OK;
	bool found = true;

	make_base(given, base);
	for (int number = 1; number < NUMBERS_MAX && status == KEEP_OK && found; number++) {
		if (number == 1)
			snprintf(text, sizeof text, "%s", base);
		else
			snprintf(text, sizeof text, "%s-%d", base, number);
		status = find_by_name(lease, given->agent_group_id, keep_bytes_of(text), arena,
				      &taken, &found, err);
	}
	if (status == KEEP_OK && found)
		return kp_fail(err, KEEP_FULL, "name: '%s' is taken with %d numbers", base,
			       NUMBERS_MAX);
	return status == KEEP_OK ? kp_arena_copy(arena, keep_bytes_of(text), name, err) : status;
}

keep_status kp_destination_allow(kp_lease *lease, const keep_agent_destination *given,
				 kp_arena *arena, keep_bytes *name, keep_error *err)
{
	keep_agent_destination destination = *given, stored;
	kp_sql_stmt *stmt = NULL;
	bool found = false;
	keep_status status = KEEP_OK;

	if (!given->name.data)
		status = find_by_place(lease, given, arena, &stored, &found, err);
	if (status == KEEP_OK && found) {
		destination.name = stored.name;
		if (!given->display_name.data)
			destination.display_name = stored.display_name;
	} else if (status == KEEP_OK && !given->name.data) {
		status = make_name(lease, given, arena, &destination.name, err);
	}
	if (status == KEEP_OK)
		status = kp_lease_statement(lease, KP_MAILBOX_PUT_AGENT_DESTINATION, &stmt, err);
	if (status == KEEP_OK)
		status = kp_record_bind(stmt, 1, &kp_agent_destination_record, &destination, err);
	if (status == KEEP_OK)
		status = kp_sql_run(stmt, err);
	else
		kp_sql_reset(stmt);
	*name = destination.name;
	return status;
}

/* Invariant 3. */
static keep_status check_place(const keep_agent_destination *given, keep_error *err)
{
	bool has_address = given->channel_type.data || given->platform_id.data;
	keep_status status;

	if (is_agent(given)) {
		if (has_address)
			return kp_fail(err, KEEP_INVALID, "%s: is not for another agent",
				       given->channel_type.data ? "channel_type" : "platform_id");
		return kp_check_segment("target_agent_group_id", given->target_agent_group_id, err);
	}
	if (!kp_bytes_equal(given->type, KEEP_BYTES(KEEP_AGENT_DESTINATION_TYPE_CHANNEL)))
		return kp_fail(err, KEEP_INVALID, "type: one of channel, agent is needed");
	if (given->target_agent_group_id.data)
		return kp_fail(err, KEEP_INVALID, "target_agent_group_id: is not for a channel");
	status = kp_check_key("channel_type", given->channel_type, err);
	return status == KEEP_OK ? kp_check_key("platform_id", given->platform_id, err) : status;
}

static keep_status check_destination(const keep_agent_destination *given, keep_error *err)
{
	keep_status status = kp_check_segment("agent_group_id", given->agent_group_id, err);

	if (status == KEEP_OK && given->name.data)
		status = check_name(given->name, err);
	if (status == KEEP_OK)
		status = kp_check_text("display_name", given->display_name, KEEP_MAILBOX_TEXT_MAX,
				       KP_MAY_BE_ABSENT, err);
	return status == KEEP_OK ? check_place(given, err) : status;
}

struct allow {
	const keep_agent_destination *given;
	char name[KEEP_SEGMENT_MAX + 1];
};

static keep_status apply_allow(void *ctx, kp_lease *lease, keep_error *err)
{
	struct allow *allow = ctx;
	kp_arena arena = {.head = NULL};
	keep_agent_group agent;
	keep_bytes name;
	keep_status status =
		kp_agent_group_need(lease, allow->given->agent_group_id, &arena, &agent, err);

	if (status == KEEP_OK && is_agent(allow->given))
		status = kp_agent_group_need(lease, allow->given->target_agent_group_id, &arena,
					     &agent, err);
	if (status != KEEP_OK)
		status = kp_refuse(lease, status);
	else
		status = kp_destination_allow(lease, allow->given, &arena, &name, err);
	if (status == KEEP_OK)
		kp_id_tell(name, allow->name);
	kp_arena_release(&arena);
	return status;
}

keep_status keep_mailbox_allow(keep_mailbox *mailbox, const keep_agent_destination *destination,
			       char name_out[KEEP_SEGMENT_MAX + 1], keep_error *err)
{
	struct allow allow = {.given = destination};
	keep_status status = check_destination(destination, err);

	if (status == KEEP_OK)
		status = kp_registry_change(mailbox, apply_allow, &allow, err);
	if (status == KEEP_OK)
		kp_id_tell(keep_bytes_of(allow.name), name_out);
	return status;
}

/* ---------------------------------------------------------------- the rest */

struct disallow {
	keep_bytes agent_group_id, name;
};

static keep_status apply_disallow(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct disallow *disallow = ctx;
	int64_t changes = 0;
	keep_status status = kp_lease_run(
		lease, KP_MAILBOX_REMOVE_AGENT_DESTINATION,
		KP_VALUES(kp_text_value(disallow->agent_group_id), kp_text_value(disallow->name)),
		&changes, err);

	if (status == KEEP_OK && !changes)
		status = kp_refuse(lease, kp_fail(err, KEEP_NOT_FOUND,
						  "destination: agent group '%.*s' has no '%.*s'",
						  (int)disallow->agent_group_id.len,
						  disallow->agent_group_id.data,
						  (int)disallow->name.len, disallow->name.data));
	return status;
}

keep_status keep_mailbox_disallow(keep_mailbox *mailbox, keep_bytes agent_group_id, keep_bytes name,
				  keep_error *err)
{
	struct disallow disallow = {agent_group_id, name};
	keep_status status = kp_check_segment("agent_group_id", agent_group_id, err);

	if (status == KEEP_OK)
		status = kp_check_registry_id("name", name, err);
	if (status == KEEP_OK)
		status = kp_registry_change(mailbox, apply_disallow, &disallow, err);
	return status;
}

keep_status keep_mailbox_list_destinations(keep_mailbox *mailbox, keep_bytes agent_group_id,
					   size_t limit, keep_memory *memory,
					   keep_agent_destination_list *out, keep_error *err)
{
	int64_t rows = 0;
	keep_status status = kp_check_limit(limit, USUAL_LIMIT, KEEP_MAILBOX_LIST_MAX, &rows, err);

	*out = (keep_agent_destination_list){.items = NULL};
	if (status == KEEP_OK)
		status = kp_check_segment("agent_group_id", agent_group_id, err);
	if (status != KEEP_OK)
		return status;
	return kp_registry_list(mailbox, KP_MAILBOX_LIST_AGENT_DESTINATIONS,
				KP_VALUES(kp_text_value(agent_group_id), kp_int_value(rows)),
				&kp_agent_destination_record, memory, &out->items, &out->count,
				err);
}

/*
 * route_target.c - where a route leads: a folder, or one for each sender.
 *
 * {sender} becomes the sender's file-safe id: the platform in two letters, a dash, and the id of
 * which every byte that a folder may not have is an underscore. "telegram:42" is tg-42. Two ids
 * must not become one, or who picks an id well writes into another's folder: so when more than the
 * @ of an address was replaced, eight hexadecimal digits of the id's SHA-256 follow.
 *
 * Invariants:
 *   1. What is expanded is a folder (kp_check_folder), or there is no target: no sender can name a
 *      place outside of the folders, nor the same one by two spellings of a path.
 *   2. A sender without an id, or called unknown, has no target.
 *
 * Tests: tests/unit/test_route_match.c, tests/contract/test_gateway_routes.c.
 */
#include "gateway/gateway_private.h"
#include "gateway/route_match.h"

#include <string.h>

static const keep_bytes place_holder = {"{sender}", 8};

static const struct {
	const char *platform, *letters;
} platforms[] = {
	{"telegram", "tg"}, {"whatsapp", "wa"}, {"discord", "dc"}, {"email", "em"}, {"web", "web"},
};

static const char *find_place_holder(keep_bytes text)
{
	return memmem(text.data, text.len, place_holder.data, place_holder.len);
}

static keep_bytes before_colon(keep_bytes text, keep_bytes *after)
{
	const char *colon = text.len ? memchr(text.data, ':', text.len) : NULL;

	if (!colon)
		return (keep_bytes){0};
	*after = (keep_bytes){colon + 1, (size_t)(text.data + text.len - colon - 1)};
	return (keep_bytes){text.data, (size_t)(colon - text.data)};
}

/* Replace what a folder may not have; true: the id can still be told from every other one. */
static bool make_safe(keep_bytes id, char *text)
{
	const char *sign = memchr(id.data, '@', id.len);
	bool is_plain = true;

	for (size_t i = 0; i < id.len; i++) {
		bool is_sign = sign == text + i;

		if (sign && text + i > sign && text[i] == '_')
			is_plain = false;
		if (text[i] == '.' ||
		    kp_check_folder("sender", (keep_bytes){text + i, 1}, NULL) == KEEP_OK)
			continue;
		text[i] = '_';
		is_plain = is_plain && is_sign;
	}
	return is_plain;
}

static keep_status add_digest(keep_bytes id, keep_bytes text, kp_arena *arena, keep_bytes *out,
			      keep_error *err)
{
	unsigned char digest[KP_SHA256_SIZE];
	char hex[9], *longer = kp_arena_alloc(arena, text.len + sizeof hex + 1);
	keep_status status;

	if (!longer)
		return kp_fail_memory(err, "a target");
	status = kp_sha256(id, digest, err);
	if (status != KEEP_OK)
		return status;
	kp_hex_format((keep_bytes){(const char *)digest, 4}, hex);
	memcpy(longer, text.data, text.len);
	longer[text.len] = '-';
	memcpy(longer + text.len + 1, hex, sizeof hex);
	*out = (keep_bytes){longer, text.len + sizeof hex};
	return KEEP_OK;
}

/* The sender's id as bytes of a folder's segment; false: there is none. */
static keep_status format_sender(keep_bytes jid, keep_bytes sender, kp_arena *arena,
				 keep_bytes *out, keep_error *err)
{
	keep_bytes id = sender, rest, platform = before_colon(sender, &id), letters;
	char *text;
	size_t len;

	if (!platform.data)
		platform = before_colon(jid, &rest);
	*out = (keep_bytes){0};
	if (!id.len || kp_bytes_equal(id, KEEP_BYTES("unknown")))
		return KEEP_OK;
	letters = (keep_bytes){platform.data, platform.len < 2 ? platform.len : 2};
	for (size_t i = 0; i < KP_COUNT(platforms); i++)
		if (kp_bytes_equal(platform, keep_bytes_of(platforms[i].platform)))
			letters = keep_bytes_of(platforms[i].letters);
	if (!letters.len)
		return KEEP_OK;
	len = letters.len + 1 + id.len;
	text = kp_arena_alloc(arena, len + 1);
	if (!text)
		return kp_fail_memory(err, "a target");
	memcpy(text, letters.data, letters.len);
	text[letters.len] = '-';
	memcpy(text + letters.len + 1, id.data, id.len);
	text[len] = 0;
	if (make_safe((keep_bytes){text, len}, text)) {
		*out = (keep_bytes){text, len};
		return KEEP_OK;
	}
	return add_digest(id, (keep_bytes){text, len}, arena, out, err);
}

/* `target` with every {sender} replaced by `id`. */
static keep_status replace(keep_bytes target, keep_bytes id, kp_arena *arena, keep_bytes *out,
			   keep_error *err)
{
	size_t room = target.len + target.len / place_holder.len * id.len + 1, len = 0;
	char *text = kp_arena_alloc(arena, room);

	if (!text)
		return kp_fail_memory(err, "a target");
	while (target.len) {
		const char *at = find_place_holder(target);
		size_t plain = at ? (size_t)(at - target.data) : target.len;

		memcpy(text + len, target.data, plain);
		len += plain;
		target.data += plain;
		target.len -= plain;
		if (!at)
			continue;
		memcpy(text + len, id.data, id.len);
		len += id.len;
		target.data += place_holder.len;
		target.len -= place_holder.len;
	}
	text[len] = 0;
	*out = (keep_bytes){text, len};
	return KEEP_OK;
}

keep_status kp_target_check(keep_bytes target, keep_error *err)
{
	kp_arena arena = {.head = NULL};
	keep_bytes sample = target;
	keep_status status =
		kp_check_text("target", target, KEEP_GATEWAY_TEXT_MAX, KP_NOT_EMPTY, err);

	if (status == KEEP_OK && find_place_holder(target))
		status = replace(target, KEEP_BYTES("tg-1"), &arena, &sample, err);
	if (status == KEEP_OK)
		status = kp_check_folder("target", sample, err);
	kp_arena_release(&arena);
	return status;
}

keep_status kp_target_expand(keep_bytes target, keep_bytes jid, keep_bytes sender, kp_arena *arena,
			     keep_bytes *out, keep_error *err)
{
	keep_bytes id = {0}, expanded;
	keep_status status;

	*out = (keep_bytes){0};
	if (!find_place_holder(target)) {
		if (kp_check_folder("target", target, NULL) == KEEP_OK)
			*out = target;
		return KEEP_OK;
	}
	status = format_sender(jid, sender, arena, &id, err);
	if (status != KEEP_OK || !id.len)
		return status;
	status = replace(target, id, arena, &expanded, err);
	if (status == KEEP_OK && kp_check_folder("target", expanded, NULL) == KEEP_OK)
		*out = expanded;
	return status;
}

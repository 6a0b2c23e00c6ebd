/*
 * fuzz_route.c - any route and any message: a type, a match, a content.
 *
 * A pattern either compiles or is refused with its position; a search ends within its steps; and
 * the compiled set, with that route among others, gives the answer that trying it by itself gives.
 *
 * Input: the type's number in one byte, the match up to the first line feed, then the content.
 */
#include "gateway/route_match.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void check_set(const keep_route *routes, size_t count, const keep_message *message)
{
	kp_arena arena = {.head = NULL};
	kp_route_set *set = NULL;
	kp_route_input input;
	kp_route_scan scan;
	size_t found, at = 0;

	require(kp_route_set_make(routes, count, &set, NULL) == KEEP_OK);
	require(kp_route_input_init(&input, message, &arena, NULL) == KEEP_OK);
	require(kp_route_scan_begin(&scan, set, &input, NULL) == KEEP_OK);
	while (kp_route_scan_next(&scan, &found)) {
		for (; at < found; at++)
			require(kp_route_set_try(set, at, &input) != KP_VERDICT_YES);
		require(kp_route_set_try(set, at++, &input) == KP_VERDICT_YES);
	}
	for (; at < count; at++)
		require(kp_route_set_try(set, at, &input) != KP_VERDICT_YES);
	require(input.room.steps >= 0);
	kp_route_scan_end(&scan);
	kp_route_input_release(&input);
	kp_arena_release(&arena);
	kp_route_set_release(&set);
}

static void check_pattern(keep_bytes match)
{
	kp_arena arena = {.head = NULL};
	keep_error err = KEEP_ERROR_INIT;
	kp_pattern *pattern = NULL;

	if (kp_pattern_compile(match, &arena, &pattern, NULL, &err) == KEEP_OK)
		require(pattern->step_count <= KP_PATTERN_STATES_MAX + 1);
	else
		require(err.status == KEEP_INVALID && strncmp(err.message, "match: ", 7) == 0);
	kp_arena_release(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const types[] = {"command", "prefix", "pattern", "keyword",
					    "sender",  "verb",   "default"};
	const char *text = (const char *)data + 1, *line;
	keep_bytes match, content;
	keep_route routes[3];
	keep_message message = {.chat_jid = KEEP_BYTES("*")};

	if (size < 2 || size > 4000)
		return 0;
	line = memchr(text, '\n', size - 1);
	match = (keep_bytes){text, line ? (size_t)(line - text) : size - 1};
	content = line ? (keep_bytes){line + 1, size - 2 - match.len} : KEEP_BYTES("");
	if (!kp_text_is_storable(match) || !kp_text_is_storable(content))
		return 0;
	check_pattern(match);
	for (size_t i = 0; i < 3; i++)
		routes[i] = (keep_route){.jid = KEEP_BYTES("*"),
					 .type = keep_bytes_of(types[(data[0] + i) % 7]),
					 .match = i == 1 ? KEEP_BYTES("a+b") : match,
					 .target = KEEP_BYTES("a")};
	message.content = message.sender = message.verb = content;
	check_set(routes, 3, &message);
	return 0;
}

#ifndef KP_ROUTE_MATCH_H
#define KP_ROUTE_MATCH_H
/*
 * route_match.h - which routes a message matches; no database.
 *
 *   sets       route_match.c: all routes of one jid, compiled; immutable, for any thread
 *   targets    route_target.c: {sender}
 */
#include "core/core.h"
#include "keep/gateway_records.h"
#include "pattern/pattern.h"

/* ---------------------------------------------------------------- sets (route_match.c) */

typedef enum kp_route_type {
	KP_ROUTE_COMMAND,
	KP_ROUTE_PREFIX,
	KP_ROUTE_PATTERN,
	KP_ROUTE_KEYWORD,
	KP_ROUTE_SENDER,
	KP_ROUTE_VERB,
	KP_ROUTE_DEFAULT,
	KP_ROUTE_TYPES
} kp_route_type;
bool kp_route_type_parse(keep_bytes name, kp_route_type *out);

/* A message as routes look at it. The texts are borrowed from the caller and `arena`. */
typedef struct kp_route_input {
	keep_bytes content, trimmed, folded; /* whole, without blanks around it, folded */
	keep_bytes who, who_folded;          /* the sender's name, else the sender */
	keep_bytes verb;                     /* folded */
	kp_pattern_room room;
} kp_route_input;
keep_status kp_route_input_init(kp_route_input *input, const keep_message *message, kp_arena *arena,
				keep_error *err) KEEP_MUST_CHECK;
void kp_route_input_release(kp_route_input *input);

typedef struct kp_route_set kp_route_set;

/* Compile routes that are in the order of evaluation; copies them. A stored pattern that does not
   compile never matches. */
keep_status kp_route_set_make(const keep_route *routes, size_t count, kp_route_set **out,
			      keep_error *err) KEEP_MUST_CHECK;
kp_route_set *kp_route_set_share(kp_route_set *set); /* one more owner */
void kp_route_set_release(kp_route_set **set);       /* accepts NULL and a pointer to NULL */
size_t kp_route_set_bytes(const kp_route_set *set);
size_t kp_route_set_count(const kp_route_set *set);
const keep_route *kp_route_set_at(const kp_route_set *set, size_t index);

/* What became of one route and one message. */
typedef enum kp_route_verdict {
	KP_VERDICT_NO,
	KP_VERDICT_YES,
	KP_VERDICT_BOUND, /* the pattern's time was over */
	KP_VERDICT_BROKEN /* the stored route cannot be read */
} kp_route_verdict;
/* Try one route by itself: what the scan's answer is by definition. */
kp_route_verdict kp_route_set_try(const kp_route_set *set, size_t index, kp_route_input *input);

/* All routes at once: the indexes that match, in order. */
typedef struct kp_route_scan {
	const kp_route_set *set;
	kp_route_input *input;
	uint64_t *bits; /* candidates; the other arrays follow it in one block */
	uint8_t *seen, *got;
	size_t at;
} kp_route_scan;
keep_status kp_route_scan_begin(kp_route_scan *scan, const kp_route_set *set, kp_route_input *input,
				keep_error *err) KEEP_MUST_CHECK;
bool kp_route_scan_next(kp_route_scan *scan, size_t *index);
/* What became of one route; before kp_route_scan_next was called, in the order of indexes. */
kp_route_verdict kp_route_scan_look(kp_route_scan *scan, size_t index);
void kp_route_scan_end(kp_route_scan *scan);

/* Does `content` begin with `word` (letter case ignored) and end there at a word's boundary? */
bool kp_trigger_accepts(keep_bytes content, keep_bytes word);

/* ---------------------------------------------------------------- targets (route_target.c) */

/* INVALID: no folder, or no template that a sender could make a folder of. */
keep_status kp_target_check(keep_bytes target, keep_error *err) KEEP_MUST_CHECK;
/* The folder of a target; *out is absent when it has none for this sender. */
keep_status kp_target_expand(keep_bytes target, keep_bytes jid, keep_bytes sender, kp_arena *arena,
			     keep_bytes *out, keep_error *err) KEEP_MUST_CHECK;

#endif

#ifndef KP_PATTERN_PRIVATE_H
#define KP_PATTERN_PRIVATE_H
/* pattern_private.h - a pattern as it is read: pattern_compile.c makes it, pattern_needs.c looks.
 */
#include "pattern/pattern.h"

/* A byte of a pattern makes at most three nodes, one set and one range. */
enum {
	NODES_MAX = 3 * KP_PATTERN_BYTES_MAX + 8,
	SETS_MAX = KP_PATTERN_BYTES_MAX + 4,
	RANGES_MAX = KP_PATTERN_BYTES_MAX + 4,
	ENDLESS = -1
};

enum kp_node_kind {
	NODE_LETTER,
	NODE_ANY,
	NODE_SET,
	NODE_CHECK,
	NODE_CHAIN,
	NODE_CHOICE,
	NODE_REPEAT
};

struct kp_pattern_node {
	enum kp_node_kind kind;
	uint32_t value;        /* letter, set, check */
	int child, last, next; /* -1: none */
	int min, max;          /* of a repeat; ENDLESS */
	int64_t states;        /* that it expands to */
};

struct kp_pattern_reader {
	const char *start, *at, *end;
	struct kp_pattern_node nodes[NODES_MAX];
	int node_count;
	kp_letter_set sets[SETS_MAX];
	uint32_t ranges[2 * RANGES_MAX];
	uint32_t set_count, range_count;
	bool ignores_case;
	keep_error *err;
	keep_status status;
};

/* What every text that matches the node contains; see kp_pattern_needs. */
keep_status kp_pattern_find_needs(const struct kp_pattern_reader *reader, int index,
				  kp_arena *arena, kp_pattern_needs *needs,
				  keep_error *err) KEEP_MUST_CHECK;

#endif

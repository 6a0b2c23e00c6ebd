#ifndef KP_ROUTE_MATCH_H
#define KP_ROUTE_MATCH_H
/*
 * route_match.h - which routes a message matches; no database.
 *
 *   letters    route_letters.c: case and word characters of Unicode
 *   patterns   route_pattern.c: compile;  route_pattern_run.c: search, in bounded time
 *   needles    route_needles.c: many texts sought in one pass
 *   sets       route_match.c: all routes of one jid, compiled; immutable, for any thread
 *   targets    route_target.c: {sender}
 */
#include "core/core.h"
#include "keep/gateway_records.h"

/* ---------------------------------------------------------------- letters (route_letters.c) */

/* The character that valid UTF-8 has at `at` (before `end`); *width: its bytes. */
uint32_t kp_letter_read(const char *at, const char *end, size_t *width);
/* Write 1 to 4 bytes; how many. */
size_t kp_letter_write(uint32_t letter, char *out);
/* Simple case folding (Unicode's CaseFolding, statuses C and S). */
uint32_t kp_letter_fold(uint32_t letter);
/* A capital of `letter`: a character that folds to it; itself when there is none. */
uint32_t kp_letter_capital(uint32_t letter);
/* A letter, mark, digit or underscore. */
bool kp_letter_is_word(uint32_t letter);
/* Blank, tab, line feed, vertical tab, form feed, carriage return. */
static inline bool kp_byte_is_blank(char byte)
{
	return byte == ' ' || (byte >= '\t' && byte <= '\r');
}
/* `text` folded, in `arena`. */
keep_status kp_letters_fold(keep_bytes text, kp_arena *arena, keep_bytes *out,
			    keep_error *err) KEEP_MUST_CHECK;
keep_bytes kp_blanks_trim(keep_bytes text);

/* ---------------------------------------------------------------- patterns (route_pattern.c) */

#define KP_PATTERN_STATES_MAX 1000 /* of an expanded pattern */

enum kp_step_kind {
	KP_STEP_LETTER, /* `value` */
	KP_STEP_ANY,
	KP_STEP_SET,   /* number `value` */
	KP_STEP_CHECK, /* enum kp_check `value`: takes no letter */
	KP_STEP_SPLIT, /* the next one, and `value` */
	KP_STEP_JUMP,  /* to `value` */
	KP_STEP_MATCH
};
enum kp_check { KP_AT_START, KP_AT_END, KP_AT_EDGE, KP_AT_NO_EDGE, KP_AT_WORD, KP_AFTER_WORD };

typedef struct kp_pattern_step {
	uint32_t kind, value;
} kp_pattern_step;

/* Letters beyond ASCII that a set holds besides its ranges. */
enum { KP_SET_WORD = 1, KP_SET_NO_WORD = 2, KP_SET_CAPITAL = 4, KP_SET_SMALL = 8 };
typedef struct kp_letter_set {
	uint32_t ascii[4];
	const uint32_t *ranges; /* pairs: first and last */
	uint32_t range_count, kinds;
	bool negated;
} kp_letter_set;

typedef struct kp_pattern {
	kp_pattern_step *steps;
	kp_letter_set *sets;
	uint32_t step_count, set_count;
	bool ignores_case; /* letters are folded */
	bool anchored;     /* can match at the start alone */
} kp_pattern;

/*
 * What a text must contain to match, folded: of each group one text or another. No group: nothing
 * is known.
 */
enum { KP_NEED_GROUPS_MAX = 4, KP_NEED_TEXTS_MAX = 8 };
typedef struct kp_pattern_needs {
	struct {
		keep_bytes texts[KP_NEED_TEXTS_MAX];
		size_t count;
	} groups[KP_NEED_GROUPS_MAX];
	size_t count;
} kp_pattern_needs;
/* INVALID: "match: …, at byte <n>". Lives in `arena`; `needs` may be NULL. */
keep_status kp_pattern_compile(keep_bytes text, kp_arena *arena, kp_pattern **out,
			       kp_pattern_needs *needs, keep_error *err) KEEP_MUST_CHECK;

typedef enum kp_found { KP_FOUND_NOT, KP_FOUND, KP_FOUND_BOUND } kp_found;

/* Scratch of one thread's searches; {NULL} is empty. `steps` is what is left of the budget. */
typedef struct kp_pattern_room {
	uint32_t *words;
	int64_t steps;
} kp_pattern_room;
#define KP_PATTERN_STEPS INT64_C(33554432) /* of all searches of one message */
keep_status kp_pattern_room_init(kp_pattern_room *room, keep_error *err) KEEP_MUST_CHECK;
void kp_pattern_room_release(kp_pattern_room *room);
/* Does it match anywhere in `text` (valid UTF-8)? KP_FOUND_BOUND: the steps ran out. */
kp_found kp_pattern_search(const kp_pattern *pattern, keep_bytes text, kp_pattern_room *room);

/* ---------------------------------------------------------------- needles (route_needles.c)
 *
 * An Aho-Corasick automaton. Equal needles share one number.
 */
typedef struct kp_needles kp_needles;

#define KP_NEEDLE_BYTES_MAX 64 /* of a text that is sought; longer ones are cut */

typedef struct kp_needle {
	keep_bytes text;
	uint32_t number; /* written by kp_needles_make */
} kp_needle;

/* NULL needles: *out is NULL. Lives in `arena`; *count: of different needles. */
keep_status kp_needles_make(kp_needle *needles, size_t count, kp_arena *arena, kp_needles **out,
			    size_t *different, keep_error *err) KEEP_MUST_CHECK;
/* Tell each needle's number that `text` contains, once. `seen` has `different` zero bytes. */
void kp_needles_scan(const kp_needles *needles, keep_bytes text, uint8_t *seen,
		     void (*tell)(void *ctx, uint32_t number), void *ctx);

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

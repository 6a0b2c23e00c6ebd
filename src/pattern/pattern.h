#ifndef KP_PATTERN_H
#define KP_PATTERN_H
/*
 * pattern.h - does a text match a pattern, or contain one of many texts? In bounded time.
 *
 *   letters    pattern_letters.c: case and word characters of Unicode
 *   patterns   pattern_compile.c: compile;  pattern_run.c: search
 *   needs      pattern_needs.c: what a text must contain for a pattern to match
 *   needles    pattern_needles.c: many texts sought in one pass
 *
 * Nothing here is shared or changes after it was made: any thread may use it, each with a room of
 * its own.
 */
#include "core/core.h"

/* ---------------------------------------------------------------- letters (pattern_letters.c) */

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

/* ---------------------------------------------------------------- patterns (pattern_compile.c) */

#define KP_PATTERN_BYTES_MAX 200
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
#define KP_PATTERN_STEPS INT64_C(33554432) /* of all searches in one room */
keep_status kp_pattern_room_init(kp_pattern_room *room, keep_error *err) KEEP_MUST_CHECK;
void kp_pattern_room_release(kp_pattern_room *room);
/* Does it match anywhere in `text` (valid UTF-8)? KP_FOUND_BOUND: the steps ran out. */
kp_found kp_pattern_search(const kp_pattern *pattern, keep_bytes text, kp_pattern_room *room);

/* ---------------------------------------------------------------- needles (pattern_needles.c)
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

#endif

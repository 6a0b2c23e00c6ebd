#ifndef KP_OPERATIONS_INPUTS_H
#define KP_OPERATIONS_INPUTS_H
/*
 * operations_inputs.h - how the stores' files spell inputs.
 *
 * An input has the name of the parameter or the column that it becomes; one that is not required
 * may be null, which is the same as leaving it out.
 */
#include "operations/operations_table.h"

#define KP_NEEDED_TEXT(place_, name_, sentence_)                                                   \
	{                                                                                          \
		.name = (name_), .kind = KP_KIND_TEXT, .place = (place_), .required = true,        \
		.sentence = (sentence_),                                                           \
	}
#define KP_NEEDED_LONG(place_, name_, sentence_)                                                   \
	{                                                                                          \
		.name = (name_), .kind = KP_KIND_TEXT, .place = (place_), .required = true,        \
		.is_long = true, .sentence = (sentence_),                                          \
	}
#define KP_NEEDED_SECRET(place_, name_, sentence_)                                                 \
	{                                                                                          \
		.name = (name_), .kind = KP_KIND_TEXT, .place = (place_), .required = true,        \
		.is_secret = true, .sentence = (sentence_),                                        \
	}
#define KP_NEEDED_NUMBER(place_, name_, sentence_)                                                 \
	{                                                                                          \
		.name = (name_), .kind = KP_KIND_INTEGER, .place = (place_), .required = true,     \
		.max = INT64_MAX, .sentence = (sentence_),                                         \
	}
#define KP_NEEDED_WORD(place_, name_, words_, sentence_)                                           \
	{                                                                                          \
		.name = (name_), .kind = KP_KIND_TEXT, .place = (place_), .required = true,        \
		.words = (words_), .sentence = (sentence_),                                        \
	}
#define KP_NEEDED_ARRAY(place_, name_, sentence_)                                                  \
	{                                                                                          \
		.name = (name_), .kind = KP_KIND_ARRAY, .place = (place_), .required = true,       \
		.sentence = (sentence_),                                                           \
	}
#define KP_OTHER(kind_, name_, sentence_)                                                          \
	{                                                                                          \
		.name = (name_), .kind = KP_KIND_##kind_, .nullable = true,                        \
		.sentence = (sentence_),                                                           \
	}
#define KP_OTHER_LONG(name_, sentence_)                                                            \
	{                                                                                          \
		.name = (name_), .kind = KP_KIND_TEXT, .nullable = true, .is_long = true,          \
		.sentence = (sentence_),                                                           \
	}
#define KP_OTHER_SECRET(name_, sentence_)                                                          \
	{                                                                                          \
		.name = (name_), .kind = KP_KIND_TEXT, .nullable = true, .is_secret = true,        \
		.sentence = (sentence_),                                                           \
	}
/* One that the operation's other inputs leave a place on the command line for. */
#define KP_OTHER_AT(place_, name_, sentence_)                                                      \
	{                                                                                          \
		.name = (name_), .kind = KP_KIND_TEXT, .place = (place_), .nullable = true,        \
		.sentence = (sentence_),                                                           \
	}
#define KP_OTHER_NUMBER(name_, fallback_, sentence_)                                               \
	{                                                                                          \
		.name = (name_), .kind = KP_KIND_INTEGER, .nullable = true,                        \
		.fallback = (fallback_), .max = INT64_MAX, .sentence = (sentence_),                \
	}
#define KP_OTHER_WORD(name_, words_, sentence_)                                                    \
	{                                                                                          \
		.name = (name_), .kind = KP_KIND_TEXT, .nullable = true, .words = (words_),        \
		.sentence = (sentence_),                                                           \
	}
#define KP_FLAG(name_, sentence_)                                                                  \
	{                                                                                          \
		.name = (name_), .kind = KP_KIND_BOOLEAN, .nullable = true, .fallback = "false",   \
		.sentence = (sentence_),                                                           \
	}
/* At most `most_` rows. */
#define KP_LIMIT_OF(fallback_, most_)                                                              \
	{                                                                                          \
		.name = "limit", .kind = KP_KIND_INTEGER, .nullable = true,                        \
		.fallback = (fallback_), .min = 1, .max = (most_),                                 \
		.sentence = "How many to answer at most.",                                         \
	}
#define KP_NOW                                                                                     \
	{                                                                                          \
		.name = "now_ms", .kind = KP_KIND_TIME, .nullable = true,                          \
		.sentence = "The time of the caller's clock, when it is another one than ours.",   \
	}

#endif

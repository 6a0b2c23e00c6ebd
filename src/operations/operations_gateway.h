#ifndef KP_OPERATIONS_GATEWAY_H
#define KP_OPERATIONS_GATEWAY_H
/*
 * operations_gateway.h - what the files of the gateway's operations share.
 *
 * Each file operations_gateway_<topic>.c is one group: its descriptions and its functions. A
 * function finds the open gateway in call->handle (operations_gateway.c puts it there) and takes
 * memory for answers from the call's arena.
 *
 * An input has the name of the parameter or the column that it becomes; one that is not required
 * may be null, which is the same as leaving it out.
 */
#include "gateway/gateway_records.h"
#include "keep/gateway.h"
#include "operations/operations_table.h"

extern const kp_operation_group kp_gateway_message_group;
extern const kp_operation_group kp_gateway_consumer_group;
extern const kp_operation_group kp_gateway_delivery_group;
extern const kp_operation_group kp_gateway_chat_group;
extern const kp_operation_group kp_gateway_route_group;
extern const kp_operation_group kp_gateway_registration_group;
extern const kp_operation_group kp_gateway_session_group;
extern const kp_operation_group kp_gateway_system_group;
extern const kp_operation_group kp_gateway_task_group;
extern const kp_operation_group kp_gateway_account_group;
extern const kp_operation_group kp_gateway_sign_in_group;
extern const kp_operation_group kp_gateway_onboarding_group;

/* ---------------------------------------------------------------- inputs */

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
#define KP_LIMIT(fallback_)                                                                        \
	{                                                                                          \
		.name = "limit", .kind = KP_KIND_INTEGER, .nullable = true,                        \
		.fallback = (fallback_), .min = 1, .max = KEEP_GATEWAY_LIST_MAX,                   \
		.sentence = "How many to answer at most.",                                         \
	}
#define KP_NOW                                                                                     \
	{                                                                                          \
		.name = "now_ms", .kind = KP_KIND_TIME, .nullable = true,                          \
		.sentence = "The time of the caller's clock, when it is another one than ours.",   \
	}

/* ---------------------------------------------------------------- calls */

/* KEEP_NOW, or what the call says. */
int64_t kp_gateway_call_now(const kp_call *call);
/* {"outcome": …} and, when they are there, the members `number` and `id`. Ends with CONFLICT for
   what the store did not take. */
void kp_gateway_put_outcome(kp_call *call, keep_put put, const char *number_name, int64_t number,
			    const char *id);
/* null, a number, a boolean. */
keep_status kp_gateway_put_null(kp_call *call, keep_status status);
keep_status kp_gateway_put_integer(kp_call *call, keep_status status, int64_t value);
keep_status kp_gateway_put_bool(kp_call *call, keep_status status, bool value);
/* One member of an object that is being written. */
void kp_gateway_put_text(kp_call *call, const char *name, keep_bytes text);
keep_status kp_gateway_put_time(kp_call *call, const char *name, bool is_there, int64_t time_ms,
				keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- the store's members */

keep_status kp_gateway_state_open(const kp_place *place, const kp_argument *settings, void **state,
				  keep_error *err) KEEP_MUST_CHECK;
keep_status kp_gateway_state_make(void *state, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_gateway_state_enter(kp_call *call, bool *answered, keep_error *err) KEEP_MUST_CHECK;
void kp_gateway_state_cancel(void *state);
void kp_gateway_state_close(void **state);

#endif

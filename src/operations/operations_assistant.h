#ifndef KP_OPERATIONS_ASSISTANT_H
#define KP_OPERATIONS_ASSISTANT_H
/*
 * operations_assistant.h - what the files of the assistant's operations share.
 *
 * Each file operations_assistant_<topic>.c is one group: its descriptions and its functions. A
 * function finds the open store in call->handle (operations_assistant.c puts it there) and takes
 * memory for answers from the call's arena.
 *
 * Inputs are spelled with operations_inputs.h.
 */
#include "assistant/assistant_records.h"
#include "keep/assistant.h"
#include "keep/assistant_admin.h"
#include "keep/assistant_care.h"
#include "keep/assistant_search.h"
#include "keep/assistant_work.h"
#include "operations/operations_inputs.h"

extern const kp_operation_group kp_assistant_conversation_group;
extern const kp_operation_group kp_assistant_memory_group;
extern const kp_operation_group kp_assistant_agent_group;
extern const kp_operation_group kp_assistant_task_group;
extern const kp_operation_group kp_assistant_job_group;
extern const kp_operation_group kp_assistant_run_group;
extern const kp_operation_group kp_assistant_credential_group;
extern const kp_operation_group kp_assistant_setting_group;
extern const kp_operation_group kp_assistant_prompt_group;
extern const kp_operation_group kp_assistant_audit_group;
extern const kp_operation_group kp_assistant_search_group;
extern const kp_operation_group kp_assistant_care_group;

#define KP_LIMIT(fallback_) KP_LIMIT_OF(fallback_, KEEP_ASSISTANT_LIST_MAX)
#define KP_CONVERSATION_INPUT KP_NEEDED_TEXT(1, "conversation_id", "The conversation.")
#define KP_LEASE_INPUT(fallback_)                                                                  \
	KP_OTHER_NUMBER("lease_ms", fallback_, "For how long it is the caller's.")
#define KP_SCHEDULED_INPUT(place_)                                                                 \
	{                                                                                          \
		.name = "scheduled_for", .kind = KP_KIND_TIME, .place = (place_),                  \
		.required = true, .sentence = "The time that the run was due."                     \
	}

/* Who asks, as the session's settings say. */
const keep_actor *kp_assistant_actor(const kp_call *call);

/* A whole result, when `status` is OK: one record, or all rows of a list. */
static inline keep_status kp_assistant_give(kp_call *call, keep_status status,
					    const kp_record *record, const void *object,
					    keep_error *err)
{
	return status == KEEP_OK ? kp_call_put_record(call, record, object, err) : status;
}
static inline keep_status kp_assistant_give_all(kp_call *call, keep_status status,
						const kp_record *record, const void *items,
						size_t count, keep_error *err)
{
	return status == KEEP_OK ? kp_call_put_records(call, record, items, count, err) : status;
}

/* A member that is a record, or null. */
keep_status kp_assistant_put_member(kp_call *call, const char *name, const kp_record *record,
				    const void *object, keep_error *err) KEEP_MUST_CHECK;
/* A member that is a number with a fraction. */
void kp_assistant_put_real(kp_call *call, const char *name, double value);

/* An ARRAY of numbers as float32, little-endian, in the call's arena; absent when not given. */
keep_status kp_assistant_vector(const kp_call *call, const kp_json *json, const char *name,
				keep_bytes *vector, keep_error *err) KEEP_MUST_CHECK;

#endif

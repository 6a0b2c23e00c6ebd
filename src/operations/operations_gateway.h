#ifndef KP_OPERATIONS_GATEWAY_H
#define KP_OPERATIONS_GATEWAY_H
/*
 * operations_gateway.h - what the files of the gateway's operations share.
 *
 * Each file operations_gateway_<topic>.c is one group: its descriptions and its functions. A
 * function finds the open gateway in call->handle (operations_gateway.c puts it there) and takes
 * memory for answers from the call's arena.
 *
 * Inputs are spelled with operations_inputs.h.
 */
#include "gateway/gateway_records.h"
#include "keep/gateway.h"
#include "operations/operations_inputs.h"

extern const kp_operation_group kp_gateway_message_group;
extern const kp_operation_group kp_gateway_consumer_group;
extern const kp_operation_group kp_gateway_delivery_group;
extern const kp_operation_group kp_gateway_feed_group;
extern const kp_operation_group kp_gateway_chat_group;
extern const kp_operation_group kp_gateway_route_group;
extern const kp_operation_group kp_gateway_registration_group;
extern const kp_operation_group kp_gateway_session_group;
extern const kp_operation_group kp_gateway_system_group;
extern const kp_operation_group kp_gateway_task_group;
extern const kp_operation_group kp_gateway_account_group;
extern const kp_operation_group kp_gateway_sign_in_group;
extern const kp_operation_group kp_gateway_onboarding_group;

#define KP_LIMIT(fallback_) KP_LIMIT_OF(fallback_, KEEP_GATEWAY_LIST_MAX)

/* ---------------------------------------------------------------- calls */

/* {"outcome": …} and, when they are there, the members `number` and `id`. Ends with CONFLICT for
   what the store did not take. */
void kp_gateway_put_outcome(kp_call *call, keep_put put, const char *number_name, int64_t number,
			    const char *id);

/* ---------------------------------------------------------------- the store's members */

keep_status kp_gateway_state_open(const kp_place *place, const kp_argument *settings, void **state,
				  keep_error *err) KEEP_MUST_CHECK;
keep_status kp_gateway_state_make(void *state, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_gateway_state_handle(void *state, void **handle, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_gateway_state_enter(kp_call *call, bool *answered, keep_error *err) KEEP_MUST_CHECK;
void kp_gateway_state_cancel(void *state);
void kp_gateway_state_close(void **state);

#endif

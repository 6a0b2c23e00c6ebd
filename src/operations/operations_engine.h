#ifndef KP_OPERATIONS_ENGINE_H
#define KP_OPERATIONS_ENGINE_H
/*
 * operations_engine.h - what the engine's descriptions (operations_engine_table.c) and its
 * functions (operations_engine.c) know of each other.
 */
#include "keep/engine.h"
#include "operations/operations_table.h"

/* Places in kp_engine_table. */
enum {
	KP_ENGINE_GET,
	KP_ENGINE_SET,
	KP_ENGINE_UNSET,
	KP_ENGINE_LIST,
	KP_ENGINE_COUNT,
	KP_ENGINE_CLEAR,
	KP_ENGINE_SCAN,
	KP_ENGINE_COMPARE,
	KP_ENGINE_BATCH,
	KP_ENGINE_WATCH,
	KP_ENGINE_DESCRIBE,
	KP_ENGINE_OPERATIONS
};
extern const kp_operation kp_engine_table[KP_ENGINE_OPERATIONS];

/* Places in the settings. */
enum {
	KP_SETTING_DURABILITY,
	KP_SETTING_TIMEOUT_MS,
	KP_SETTING_SHARED,
	KP_SETTING_READ_ONLY,
	KP_SETTING_VALUE_BYTES_MAX,
	KP_SETTINGS
};

keep_status kp_engine_run_get(kp_call *call, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_engine_run_list(kp_call *call, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_engine_run_count(kp_call *call, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_engine_run_scan(kp_call *call, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_engine_run_describe(kp_call *call, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_engine_run_change(kp_call *call, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_engine_run_batch(kp_call *call, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_engine_run_watch(kp_call *call, keep_error *err) KEEP_MUST_CHECK;

/* The members of kp_operation_store. */
keep_status kp_engine_state_open(const kp_place *place, const kp_argument *settings, void **state,
				 keep_error *err) KEEP_MUST_CHECK;
keep_status kp_engine_state_make(void *state, keep_error *err) KEEP_MUST_CHECK;
void kp_engine_state_cancel(void *state);
void kp_engine_state_close(void **state);

/* ------------------------------------------------------------------ for json_lines.c */

/* The engine of that name (absent: default, or the only one). NULL: a home without it, when
   `create` is not asked or the session is read-only. */
keep_status kp_engine_state_find(void *state, keep_bytes name, bool create, keep_engine **out,
				 keep_error *err) KEEP_MUST_CHECK;
/* True for an operation that is one change and nothing else. */
bool kp_engine_is_change(const kp_operation *operation);
/* The change that such an operation's arguments ask for. */
void kp_engine_change_read(const kp_operation *operation, const kp_argument *arguments,
			   keep_engine_change *change);

#endif

/*
 * test_assistant_audit_faults.c - every operation that is audited, with the Nth thing in it
 * failing: assistant_faults.h says what must hold. A new one gets a line in the table.
 *
 *     test_assistant_audit_faults sqlite|postgres
 */
#include "assistant_faults.h"

#include "assistant/assistant_private.h"

#define T0 INT64_C(1790000000000)

static const keep_bytes none = {NULL, 0};
static const keep_actor actor = {.user_id = {"ada", 3}};

static void must(keep_status status, const keep_error *err)
{
	CHECK(status == KEEP_OK, "%s: %s", keep_status_name(status), err->message);
}

/* ---------------------------------------------------------------- prompts */

static keep_status set_prompt(keep_assistant *assistant, const char *id, keep_error *err)
{
	return keep_assistant_set_prompt(assistant, KEEP_BYTES("p"), keep_bytes_of(id), none, 0,
					 &actor, NULL, err);
}

static void make_prompt(keep_assistant *assistant, const char *id)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = keep_assistant_remove_prompt(assistant, KEEP_BYTES("p"), NULL, &err);

	assert_true(status == KEEP_OK || status == KEEP_NOT_FOUND);
	must(keep_assistant_set_prompt(assistant, KEEP_BYTES("p"), KEEP_BYTES("one"), none, 0, NULL,
				       NULL, &err),
	     &err);
	must(set_prompt(assistant, id, &err), &err);
}

static keep_status revert_prompt(keep_assistant *assistant, const char *id, keep_error *err)
{
	(void)id;
	return keep_assistant_revert_prompt(assistant, KEEP_BYTES("p"), 1, &actor, NULL, err);
}

static keep_status remove_prompt(keep_assistant *assistant, const char *id, keep_error *err)
{
	(void)id;
	return keep_assistant_remove_prompt(assistant, KEEP_BYTES("p"), &actor, err);
}

/* ---------------------------------------------------------------- agents */

static keep_status put_agent(keep_assistant *assistant, const char *id, keep_error *err)
{
	const keep_agent_definition agent = {.name = KEEP_BYTES("cook"),
					     .goal = keep_bytes_of(id),
					     .intent_keywords = KEEP_BYTES("[\"cook\"]"),
					     .priority = 4,
					     .enabled = true};

	return keep_assistant_put_agent(assistant, &agent, &actor, err);
}

static void make_agent(keep_assistant *assistant, const char *id)
{
	keep_error err = KEEP_ERROR_INIT;

	must(put_agent(assistant, id, &err), &err);
}

static keep_status disable_agent(keep_assistant *assistant, const char *id, keep_error *err)
{
	(void)id;
	return keep_assistant_enable_agent(assistant, KEEP_BYTES("cook"), false, &actor, err);
}

static keep_status remove_agent(keep_assistant *assistant, const char *id, keep_error *err)
{
	(void)id;
	return keep_assistant_remove_agent(assistant, KEEP_BYTES("cook"), &actor, err);
}

static void lose_default_agent(keep_assistant *assistant, const char *id)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_status status =
		keep_assistant_remove_agent(assistant, KEEP_BYTES("writer"), NULL, &err);

	(void)id;
	assert_true(status == KEEP_OK || status == KEEP_NOT_FOUND);
}

static keep_status reset_agent(keep_assistant *assistant, const char *id, keep_error *err)
{
	(void)id;
	return keep_assistant_reset_agent(assistant, KEEP_BYTES("writer"), &actor, err);
}

/* ---------------------------------------------------------------- settings */

static keep_status define_setting(keep_assistant *assistant, const char *id, keep_error *err)
{
	const keep_setting setting = {.key = KEEP_BYTES("s"), .description = keep_bytes_of(id)};

	return keep_assistant_define_setting(assistant, &setting, &actor, err);
}

static void make_settings(keep_assistant *assistant, const char *id)
{
	const keep_setting secret = {.key = KEEP_BYTES("t"), .is_sensitive = true};
	keep_error err = KEEP_ERROR_INIT;

	must(define_setting(assistant, id, &err), &err);
	must(keep_assistant_define_setting(assistant, &secret, NULL, &err), &err);
	must(keep_assistant_set_setting(assistant, KEEP_BYTES("s"), KEEP_BYTES("was"), NULL, &err),
	     &err);
	must(keep_assistant_set_setting(assistant, KEEP_BYTES("t"), KEEP_BYTES("was"), NULL, &err),
	     &err);
}

static keep_status set_setting(keep_assistant *assistant, const char *id, keep_error *err)
{
	return keep_assistant_set_setting(assistant, KEEP_BYTES("s"), keep_bytes_of(id), &actor,
					  err);
}

static keep_status set_both(keep_assistant *assistant, const char *id, keep_error *err)
{
	const keep_setting_value values[] = {{KEEP_BYTES("s"), keep_bytes_of(id)},
					     {KEEP_BYTES("t"), keep_bytes_of(id)}};

	return keep_assistant_set_settings(assistant, values, 2, &actor, err);
}

static keep_status read_setting(keep_assistant *assistant, const char *id, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_setting_read read;
	keep_status status =
		keep_assistant_get_setting(assistant, KEEP_BYTES("t"), &actor, &memory, &read, err);

	(void)id;
	keep_assistant_wipe(&memory);
	return status;
}

static keep_status reset_setting(keep_assistant *assistant, const char *id, keep_error *err)
{
	(void)id;
	return keep_assistant_reset_setting(assistant, KEEP_BYTES("s"), &actor, err);
}

static keep_status undefine_setting(keep_assistant *assistant, const char *id, keep_error *err)
{
	(void)id;
	return keep_assistant_undefine_setting(assistant, KEEP_BYTES("s"), &actor, err);
}

/* ---------------------------------------------------------------- credentials, connections */

static keep_status put_credential(keep_assistant *assistant, const char *id, keep_error *err)
{
	return keep_assistant_put_credential(assistant, KEEP_BYTES("mail"), KEEP_BYTES("api_key"),
					     keep_bytes_of(id), 0, &actor, err);
}

static void make_credential(keep_assistant *assistant, const char *id)
{
	keep_error err = KEEP_ERROR_INIT;

	must(put_credential(assistant, id, &err), &err);
}

static keep_status read_credential(keep_assistant *assistant, const char *id, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_credential credential;
	keep_status status = keep_assistant_get_credential(assistant, KEEP_BYTES("mail"), &actor,
							   KEEP_NOW, &memory, &credential, err);

	(void)id;
	keep_assistant_wipe(&memory);
	return status;
}

static keep_status remove_credential(keep_assistant *assistant, const char *id, keep_error *err)
{
	(void)id;
	return keep_assistant_remove_credential(assistant, KEEP_BYTES("mail"), &actor, err);
}

static keep_status report_connection(keep_assistant *assistant, const char *id, keep_error *err)
{
	return keep_assistant_report_connection(assistant, KEEP_BYTES("mail"), KEEP_BYTES("error"),
						keep_bytes_of(id), none, KEEP_NOW, &actor, err);
}

static void make_connection(keep_assistant *assistant, const char *id)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)id;
	must(keep_assistant_report_connection(assistant, KEEP_BYTES("mail"),
					      KEEP_BYTES("connected"), none, none, KEEP_NOW, NULL,
					      &err),
	     &err);
}

static keep_status remove_connection(keep_assistant *assistant, const char *id, keep_error *err)
{
	(void)id;
	return keep_assistant_remove_connection(assistant, KEEP_BYTES("mail"), &actor, err);
}

/* ---------------------------------------------------------------- conversations */

static void make_conversation(keep_assistant *assistant, const char *id)
{
	const keep_conversation conversation = {.conversation_id = keep_bytes_of(id),
						.channel = KEEP_BYTES("webui")};
	const keep_conversation_message message = {.conversation_id = keep_bytes_of(id),
						   .role = KEEP_BYTES("user"),
						   .content = KEEP_BYTES("hello")};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_append_result result;
	keep_conversation out;

	must(keep_assistant_add_conversation(assistant, &conversation, KEEP_NOW, &memory, &out,
					     NULL, &err),
	     &err);
	must(keep_assistant_append(assistant, &message, &result, &err), &err);
	keep_memory_release(&memory);
}

static keep_status delete_conversation(keep_assistant *assistant, const char *id, keep_error *err)
{
	return keep_assistant_delete_conversation(assistant, keep_bytes_of(id), &actor, err);
}

/* ---------------------------------------------------------------- jobs */

static keep_status put_job(keep_assistant *assistant, const char *id, keep_error *err)
{
	const keep_cron_job job = {.job_id = keep_bytes_of(id),
				   .name = KEEP_BYTES("water"),
				   .cron_expression = KEEP_BYTES("0 9 * * *"),
				   .job_type = KEEP_BYTES("prompt"),
				   .prompt = KEEP_BYTES("water the plants"),
				   .enabled = true};

	return keep_assistant_put_cron_job(assistant, &job, T0, &actor, NULL, err);
}

static void make_job(keep_assistant *assistant, const char *id)
{
	keep_error err = KEEP_ERROR_INIT;

	must(put_job(assistant, id, &err), &err);
}

static keep_status disable_job(keep_assistant *assistant, const char *id, keep_error *err)
{
	return keep_assistant_enable_cron_job(assistant, keep_bytes_of(id), false, T0, &actor, err);
}

static keep_status run_job_now(keep_assistant *assistant, const char *id, keep_error *err)
{
	return keep_assistant_run_now(assistant, keep_bytes_of(id), T0, &actor, NULL, err);
}

static keep_status remove_job(keep_assistant *assistant, const char *id, keep_error *err)
{
	return keep_assistant_remove_cron_job(assistant, keep_bytes_of(id), &actor, err);
}

static keep_status add_future_task(keep_assistant *assistant, const char *id, keep_error *err)
{
	const keep_future_task task = {.task_id = keep_bytes_of(id),
				       .name = KEEP_BYTES("call"),
				       .scheduled_time = T0 + 1000,
				       .job_type = KEEP_BYTES("prompt"),
				       .prompt = KEEP_BYTES("call Ada")};

	return keep_assistant_add_future_task(assistant, &task, T0, &actor, NULL, NULL, err);
}

static void make_future_task(keep_assistant *assistant, const char *id)
{
	keep_error err = KEEP_ERROR_INIT;

	must(add_future_task(assistant, id, &err), &err);
}

static keep_status cancel_future_task(keep_assistant *assistant, const char *id, keep_error *err)
{
	int64_t count = 0;

	return keep_assistant_cancel_job(assistant, keep_bytes_of(id), T0, &actor, &count, err);
}

/* ---------------------------------------------------------------- retention of the log */

static keep_status apply_seal(void *ctx, kp_lease *lease, keep_error *err)
{
	int64_t removed = 0;

	(void)ctx;
	return kp_audit_seal(lease, KEEP_TIME_MAX, 3, kp_clock_ms(), &removed, err);
}

static keep_status seal_log(keep_assistant *assistant, const char *id, keep_error *err)
{
	(void)id;
	return kp_store_change(&assistant->store, apply_seal, NULL, KP_NEWS_NONE, err);
}

int main(int argc, char **argv)
{
	static const assistant_operation list[] = {
		{"set_prompt", NULL, set_prompt, 1, false},
		{"revert_prompt", make_prompt, revert_prompt, 1, false},
		{"remove_prompt", make_prompt, remove_prompt, 1, false},
		{"put_agent", NULL, put_agent, 1, false},
		{"disable_agent", make_agent, disable_agent, 1, false},
		{"remove_agent", make_agent, remove_agent, 1, false},
		{"reset_agent", lose_default_agent, reset_agent, 1, false},
		{"define_setting", NULL, define_setting, 1, false},
		{"set_setting", make_settings, set_setting, 1, false},
		{"set_settings", make_settings, set_both, 2, false},
		{"get_setting", make_settings, read_setting, 1, true},
		{"reset_setting", make_settings, reset_setting, 1, false},
		{"undefine_setting", make_settings, undefine_setting, 1, false},
		{"put_credential", NULL, put_credential, 1, false},
		{"get_credential", make_credential, read_credential, 1, true},
		{"remove_credential", make_credential, remove_credential, 1, false},
		{"report_connection", make_connection, report_connection, 1, false},
		{"remove_connection", make_connection, remove_connection, 1, false},
		{"delete_conversation", make_conversation, delete_conversation, 1, false},
		{"put_cron_job", NULL, put_job, 1, false},
		{"enable_cron_job", make_job, disable_job, 1, false},
		{"run_now", make_job, run_job_now, 1, false},
		{"remove_cron_job", make_job, remove_job, 1, false},
		{"add_future_task", NULL, add_future_task, 1, false},
		{"cancel_job", make_future_task, cancel_future_task, 1, false},
		{"seal", NULL, seal_log, 1, false},
	};

	return assistant_faults_main(argc, argv, list, KP_COUNT(list));
}

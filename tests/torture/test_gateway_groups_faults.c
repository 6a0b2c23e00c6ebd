/*
 * test_gateway_groups_faults.c - registered groups, sessions and their log, router state and mail
 * threads, with the Nth thing in them failing: gateway_faults.h says what must hold.
 */
#include "gateway_faults.h"

static keep_status put_group(keep_gateway *gateway, const char *token, const char *name,
			     keep_error *err)
{
	keep_registered_group group = {.jid = KEEP_BYTES("web:a"),
				       .folder = KEEP_BYTES("a"),
				       .container_config = KEEP_BYTES("{\"timeout\": 5}"),
				       .slink_token = keep_bytes_of(token),
				       .name = keep_bytes_of(name)};

	return keep_gateway_put_group(gateway, &group, err);
}

static keep_status register_group(keep_gateway *gateway, keep_error *err)
{
	return put_group(gateway, "token", "Ada", err);
}

static keep_status renew_group(keep_gateway *gateway, keep_error *err)
{
	return put_group(gateway, NULL, "Ada L.", err);
}

static keep_status close_group(keep_gateway *gateway, keep_error *err)
{
	return keep_gateway_set_group_state(gateway, KEEP_BYTES("web:a"), KEEP_BYTES("closed"),
					    err);
}

static keep_status open_group(keep_gateway *gateway, keep_error *err)
{
	return keep_gateway_set_group_state(gateway, KEEP_BYTES("web:a"), KEEP_BYTES("active"),
					    err);
}

static keep_status read_groups(keep_gateway *gateway, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_registered_group group;
	keep_registered_group_list list;
	keep_status status =
		keep_gateway_get_group(gateway, KEEP_BYTES("web:a"), &memory, &group, err);

	if (status == KEEP_OK)
		status = keep_gateway_group_by_slink_token(gateway, KEEP_BYTES("token"), &memory,
							   &group, err);
	if (status == KEEP_OK)
		status = keep_gateway_groups_by_folder(gateway, KEEP_BYTES("a"), &memory, &list,
						       err);
	if (status == KEEP_OK)
		status = keep_gateway_get_registered_groups(gateway, (keep_bytes){0}, &memory,
							    &list, err);
	if (status == KEEP_OK)
		assert_int_equal(list.count, 1);
	keep_memory_release(&memory);
	return status;
}

static keep_status set_session(keep_gateway *gateway, keep_error *err)
{
	return keep_gateway_set_session(gateway, KEEP_BYTES("a"), KEEP_BYTES("t"), KEEP_BYTES("s"),
					err);
}

static keep_status delete_session(keep_gateway *gateway, keep_error *err)
{
	return keep_gateway_delete_session(gateway, KEEP_BYTES("a"), KEEP_BYTES("t"), NULL, err);
}

static keep_status start_run(keep_gateway *gateway, keep_error *err)
{
	return keep_gateway_session_started(gateway, KEEP_BYTES("a"), (keep_bytes){0},
					    KEEP_BYTES("s"), 0, NULL, err);
}

/* The newest run's, as the numbers differ from round to round. */
static keep_status end_run(keep_gateway *gateway, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_agent_run_list list = {NULL, 0};
	keep_status status =
		keep_gateway_recent_sessions(gateway, KEEP_BYTES("a"), 0, 1, &memory, &list, err);

	if (status == KEEP_OK)
		status = keep_gateway_session_ended(gateway, list.items[0].id, 0, KEEP_BYTES("ok"),
						    (keep_bytes){0}, 2, err);
	keep_memory_release(&memory);
	return status;
}

static keep_status read_sessions(keep_gateway *gateway, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_agent_session session;
	keep_agent_session_list list;
	keep_status status = keep_gateway_get_session(gateway, KEEP_BYTES("a"), KEEP_BYTES("t"),
						      &memory, &session, err);

	if (status == KEEP_OK)
		status = keep_gateway_list_sessions(gateway, KEEP_BYTES("a"), (keep_bytes){0}, 0,
						    &memory, &list, err);
	if (status == KEEP_OK)
		assert_int_equal(list.count, 1);
	keep_memory_release(&memory);
	return status;
}

static keep_status set_state(keep_gateway *gateway, keep_error *err)
{
	return keep_gateway_set_state(gateway, KEEP_BYTES("k"), KEEP_BYTES("v"), err);
}

static keep_status get_state(keep_gateway *gateway, keep_error *err)
{
	keep_buffer value = KEEP_BUFFER_INIT;
	keep_status status = keep_gateway_get_state(gateway, KEEP_BYTES("k"), &value, err);

	if (status == KEEP_OK)
		assert_bytes_equal(kp_buffer_bytes(&value), KEEP_BYTES("v"));
	keep_buffer_release(&value);
	return status;
}

static keep_status bring_mail(keep_gateway *gateway, const char *id, const char *answered,
			      keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_bytes others[2] = {keep_bytes_of(answered), KEEP_BYTES("<first@x>")};
	keep_mail mail = {.message_id = keep_bytes_of(id),
			  .in_reply_to = others,
			  .in_reply_to_count = 1,
			  .references = others,
			  .reference_count = 2,
			  .subject = KEEP_BYTES("Subject"),
			  .from = KEEP_BYTES("ada@x")};
	keep_email_thread thread;
	keep_status status = keep_gateway_thread_for(gateway, &mail, &memory, &thread, NULL, err);

	keep_memory_release(&memory);
	return status;
}

static keep_status bring_answer(keep_gateway *gateway, keep_error *err)
{
	return bring_mail(gateway, "<answer@x>", "<question@x>", err);
}

static keep_status bring_question(keep_gateway *gateway, keep_error *err)
{
	return bring_mail(gateway, "question@x", "other@x", err);
}

/* It is named after its first mail: the digits are of the SHA-256 of "answer@x". */
static keep_status read_thread(keep_gateway *gateway, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_email_thread thread;
	keep_status status =
		keep_gateway_get_thread(gateway, KEEP_BYTES("bccfdcb4755b"), &memory, &thread, err);

	if (status == KEEP_OK)
		assert_bytes_equal(thread.root_message_id, KEEP_BYTES("answer@x"));
	keep_memory_release(&memory);
	return status;
}

static keep_status remove_group(keep_gateway *gateway, keep_error *err)
{
	return keep_gateway_remove_group(gateway, KEEP_BYTES("web:a"), err);
}

int main(int argc, char **argv)
{
	static const gateway_step steps[] = {
		{"register_group", register_group, 0, false},
		{"renew_group", renew_group, 0, false},
		{"close_group", close_group, MAY(KEEP_CONFLICT), false},
		{"open_group", open_group, MAY(KEEP_CONFLICT), false},
		{"read_groups", read_groups, 0, false},
		{"set_session", set_session, 0, false},
		{"start_run", start_run, 0, true},
		{"end_run", end_run, 0, false},
		{"read_sessions", read_sessions, 0, false},
		{"delete_session", delete_session, 0, false},
		{"set_state", set_state, 0, false},
		{"get_state", get_state, 0, false},
		{"bring_answer", bring_answer, 0, false},
		{"bring_question", bring_question, 0, false},
		{"read_thread", read_thread, 0, false},
		{"remove_group", remove_group, MAY(KEEP_NOT_FOUND), false},
	};

	return gateway_faults_main(argc, argv, steps, KP_COUNT(steps));
}

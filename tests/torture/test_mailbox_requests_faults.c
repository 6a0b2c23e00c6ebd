/*
 * test_mailbox_requests_faults.c - what an agent asks for, tasks that come again, and deliveries
 * that go wrong, while something fails (mailbox_faults.h).
 *
 *     test_mailbox_requests_faults sqlite|postgres
 */
#include "mailbox_faults.h"

#include "mailbox_rows.h"

#define B(text) keep_bytes_of(text)

static const keep_bytes options[] = {{"yes", 3}, {"no", 2}};

/* ---------------------------------------------------------------- what the agent asks for */

static keep_status ask(mailbox_world *world, keep_error *err)
{
	keep_sent sent;

	return keep_agent_ask(world->agent, B("Shall we?"), options, KP_COUNT(options), B("home"),
			      KEEP_NOW, &sent, err);
}

/* Also when the call's answer was lost. */
static void learn_question(mailbox_world *world)
{
	snprintf(world->question, sizeof world->question, "%s",
		 mailbox_sql(world->session, "outbound.db",
			     "SELECT question_id FROM asked_questions"));
}

static keep_status send_one(mailbox_world *world, const char *id, const char *kind, const char *to,
			    const char *content, keep_error *err)
{
	keep_send send = {.id = B(id), .kind = B(kind), .to = B(to), .content = B(content)};
	keep_sent sent;

	return keep_agent_send(world->agent, &send, KEEP_NOW, &sent, err);
}

static keep_status send_action(mailbox_world *world, keep_error *err)
{
	return send_one(world, "act", "system", NULL,
			"{\"action\":\"schedule_task\",\"taskId\":\"asked\",\"prompt\":\"look\","
			"\"recurrence\":\"0 9 * * *\",\"timezone\":\"Europe/Brussels\"}",
			err);
}

static keep_status send_to_agent(mailbox_world *world, keep_error *err)
{
	return send_one(world, "to-bea", "chat", "bea", "{\"text\":\"hi bea\"}", err);
}

/* Everything is taken over, so that nothing is left but what is to be delivered. */
static keep_status collect(mailbox_world *world, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_collection collection;
	keep_status status = keep_mailbox_collect(world->mailbox, B(world->session), 0, KEEP_NOW,
						  &memory, &collection, err);

	CHECK(status == KEEP_OK || (!collection.items && !collection.count),
	      "a failure has an answer");
	keep_memory_release(&memory);
	return status;
}

static keep_status list_questions(mailbox_world *world, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_pending_question_list list;
	keep_status status =
		keep_mailbox_questions(world->mailbox, B(world->session), 0, &memory, &list, err);

	CHECK(status != KEEP_OK || list.count == 1, "%zu questions", list.count);
	keep_memory_release(&memory);
	return status;
}

static keep_status answer(mailbox_world *world, keep_error *err)
{
	keep_answer chosen = {
		.question_id = B(world->question), .option = B("yes"), .user_id = B("u1")};

	return keep_mailbox_answer(world->mailbox, &chosen, KEEP_NOW, err);
}

static keep_status await_answer(mailbox_world *world, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_question_answer told;
	bool answered = false;
	keep_status status = keep_agent_await_answer(world->agent, B(world->question), 0, &memory,
						     &told, &answered, err);

	CHECK(status != KEEP_OK || answered, "nobody has answered");
	if (status == KEEP_OK)
		assert_bytes_equal(told.option, B("yes"));
	keep_memory_release(&memory);
	return status;
}

static keep_status remember(mailbox_world *world, keep_error *err)
{
	return keep_agent_state_set(world->agent, B("mood"), B("good"), KEEP_NOW, err);
}

static keep_status recall(mailbox_world *world, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_session_value value;
	keep_session_destination_list destinations;
	keep_status status = keep_agent_state_get(world->agent, B("mood"), &memory, &value, err);

	if (status == KEEP_OK)
		status = keep_agent_destinations(world->agent, &memory, &destinations, err);
	CHECK(status != KEEP_OK || destinations.count == 2, "%zu", destinations.count);
	if (status == KEEP_OK)
		status = keep_agent_heartbeat(world->agent, KEEP_NOW, err);
	keep_memory_release(&memory);
	return status;
}

/* ---------------------------------------------------------------- tasks that come again */

static keep_status post_task(mailbox_world *world, keep_error *err)
{
	keep_post post = {.id = B("daily"),
			  .kind = B("task"),
			  .content = B("{\"prompt\":\"water the plants\"}"),
			  .process_after = MAILBOX_NOW - 1000,
			  .recurrence = B("0 7 * * *"),
			  .time_zone = B("Europe/Brussels")};
	keep_post_result result;

	return keep_mailbox_post(world->mailbox, B(world->session), &post, &result, err);
}

static keep_status claim_task(mailbox_world *world, keep_error *err)
{
	static const keep_bytes kinds[] = {{"task", 4}};
	keep_claim_request request = {.kinds = kinds, .kind_count = 1};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_claim_list list;
	keep_status status =
		keep_agent_claim(world->agent, &request, KEEP_NOW, &memory, &list, err);

	CHECK(status != KEEP_OK || list.count == 1, "%zu claims", list.count);
	keep_memory_release(&memory);
	return status;
}

static keep_status complete_task(mailbox_world *world, keep_error *err)
{
	keep_claim_ref ref = {B("daily"), 0};

	return keep_agent_complete(world->agent, &ref, 1, KEEP_NOW, err);
}

static keep_status pause_series(mailbox_world *world, keep_error *err)
{
	return keep_mailbox_pause(world->mailbox, B(world->session), B("daily"), err);
}

static keep_status resume_series(mailbox_world *world, keep_error *err)
{
	return keep_mailbox_resume(world->mailbox, B(world->session), B("daily"), KEEP_NOW, err);
}

static keep_status update_series(mailbox_world *world, keep_error *err)
{
	keep_series_change change = {.recurrence = B("30 6 * * 1-5")};

	return keep_mailbox_update(world->mailbox, B(world->session), B("asked"), &change, KEEP_NOW,
				   err);
}

static keep_status cancel_series(mailbox_world *world, keep_error *err)
{
	return keep_mailbox_cancel(world->mailbox, B(world->session), B("asked"), err);
}

/* ---------------------------------------------------------------- deliveries that go wrong */

static keep_status send_four(mailbox_world *world, keep_error *err)
{
	static const char *const ids[] = {"d1", "d2", "d3", "d4"};
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < KP_COUNT(ids) && status == KEEP_OK; i++)
		status = send_one(world, ids[i], NULL, "home", "{\"text\":\"x\"}", err);
	return status;
}

static keep_status begin(mailbox_world *world, const char *key, keep_error *err)
{
	int64_t attempt = 0;

	return keep_mailbox_begin_delivery(world->mailbox, B(world->session), B(key), 1000,
					   KEEP_NOW, &attempt, err);
}

static keep_status report(mailbox_world *world, const char *key, keep_outcome outcome,
			  keep_error *err)
{
	keep_outcome_report outcome_report = {.session = B(world->session),
					      .key = B(key),
					      .attempt = 1,
					      .outcome = outcome,
					      .error = B("the channel is down")};

	return keep_mailbox_complete_delivery(world->mailbox, &outcome_report, KEEP_NOW, err);
}

static keep_status refuse(mailbox_world *world, keep_error *err)
{
	return keep_mailbox_refuse_delivery(world->mailbox, B(world->session), B("d1"),
					    B("no adapter"), KEEP_NOW, err);
}

static keep_status begin_second(mailbox_world *world, keep_error *err)
{
	return begin(world, "d2", err);
}

static keep_status give_up_second(mailbox_world *world, keep_error *err)
{
	return report(world, "d2", KEEP_OUTCOME_PERMANENT, err);
}

static keep_status begin_third(mailbox_world *world, keep_error *err)
{
	return begin(world, "d3", err);
}

static keep_status fail_third(mailbox_world *world, keep_error *err)
{
	return report(world, "d3", KEEP_OUTCOME_FAILED, err);
}

static keep_status retry_second(mailbox_world *world, keep_error *err)
{
	return keep_mailbox_retry_delivery(world->mailbox, B(world->session), B("d2"), KEEP_NOW,
					   err);
}

/* d2 goes first to its address; its delivery has a lease that is over by the sweep. */
static keep_status begin_again(mailbox_world *world, keep_error *err)
{
	return begin(world, "d2", err);
}

static keep_status sweep(mailbox_world *world, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_sweep swept;
	keep_status status =
		keep_mailbox_sweep(world->mailbox, 0, MAILBOX_NOW + 120000, &memory, &swept, err);

	keep_memory_release(&memory);
	return status;
}

/* ---------------------------------------------------------------- the end of it */

static keep_status prune(mailbox_world *world, keep_error *err)
{
	keep_prune_result result;

	return keep_mailbox_prune_session(world->mailbox, B(world->session), MAILBOX_NOW + 60000, 0,
					  &result, err);
}

static keep_status close_session(mailbox_world *world, keep_error *err)
{
	return keep_mailbox_close_session(world->mailbox, B(world->session), KEEP_NOW, err);
}

static const mailbox_step steps[] = {
	{.name = "open", .run = mailbox_step_open},
	{.name = "resolve_session", .run = mailbox_step_resolve},
	{.name = "wake", .run = mailbox_step_wake, .is_in_parts = true},
	{.name = "agent_open", .run = mailbox_step_agent, .is_in_parts = true},
	{.name = "ask", .run = ask, .is_once = true, .learn = learn_question},
	{.name = "send_action", .run = send_action},
	{.name = "send_to_agent", .run = send_to_agent},
	{.name = "collect", .run = collect, .is_in_parts = true, .mend = mailbox_mend_outgoing},
	{.name = "list_questions", .run = list_questions},
	{.name = "answer", .run = answer, .is_in_parts = true},
	{.name = "await_answer", .run = await_answer, .is_in_parts = true},
	{.name = "collect_answered",
	 .run = collect,
	 .is_in_parts = true,
	 .mend = mailbox_mend_outgoing},
	{.name = "remember", .run = remember},
	{.name = "recall", .run = recall, .is_in_parts = true},
	{.name = "post_task", .run = post_task},
	{.name = "claim_task", .run = claim_task, .is_once = true},
	{.name = "complete_task", .run = complete_task},
	{.name = "collect_task",
	 .run = collect,
	 .is_in_parts = true,
	 .mend = mailbox_mend_outgoing},
	{.name = "pause_series", .run = pause_series, .is_once = true},
	{.name = "resume_series", .run = resume_series, .is_once = true},
	{.name = "update_series", .run = update_series, .is_once = true},
	{.name = "cancel_series", .run = cancel_series, .is_once = true},
	{.name = "send_four", .run = send_four, .is_in_parts = true},
	{.name = "collect_four",
	 .run = collect,
	 .is_in_parts = true,
	 .mend = mailbox_mend_outgoing},
	{.name = "refuse", .run = refuse},
	{.name = "begin_second", .run = begin_second, .is_once = true},
	{.name = "give_up_second", .run = give_up_second},
	{.name = "begin_third", .run = begin_third, .is_once = true},
	{.name = "fail_third", .run = fail_third},
	{.name = "retry_second", .run = retry_second, .is_once = true},
	{.name = "begin_again", .run = begin_again, .is_once = true},
	{.name = "sweep", .run = sweep, .is_in_parts = true, .mend = mailbox_mend_sessions},
	{.name = "prune", .run = prune, .is_in_parts = true},
	{.name = "close_session", .run = close_session, .is_in_parts = true},
};

int main(int argc, char **argv)
{
	return mailbox_faults_main(argc, argv, steps, KP_COUNT(steps));
}

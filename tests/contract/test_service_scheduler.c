/*
 * test_service_scheduler.c - tasks and jobs come due while a service runs: they are fired and run,
 * reported, cancelled, tried again by the next host; and a clock that is set stops nothing.
 */
#include "service/host.h"
#include "service_steps.h"

#include "keep/schedule.h"

#include <unistd.h>

#define HOUR INT64_C(3600000)
#define DAY INT64_C(86400000)

static const char *backend;
static char command[2048];

static int set_up(void **state)
{
	journey_fixture *fixture = calloc(1, sizeof *fixture);

	CHECK(fixture, "memory");
	steps_own_clock(steps_real_ms());
	journey_begin(fixture, backend);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	journey_fixture *fixture = *state;

	journey_end(fixture);
	free(fixture);
	home_servers_drop();
	steps_real_clock();
	keep_zone_forget();
	assert_nothing_lives();
	return 0;
}

static void serve_with(journey_fixture *fixture, const char *before, const char *after)
{
	(void)snprintf(command, sizeof command, "%s%s%s", before, fixture->folder.path, after);
	fixture->options.agent = command;
	journey_serve(fixture);
}

static void make_task(journey_fixture *fixture, const char *id, int64_t at_ms)
{
	char with[512];

	(void)snprintf(with, sizeof with,
		       "{\"id\":\"%s\",\"owner\":\"main\",\"chat_jid\":\"telegram:1\",\"prompt\":"
		       "\"do %s\","
		       "\"next_run\":%lld}",
		       id, id, (long long)at_ms);
	(void)steps_call(fixture, "gateway.create_task", with);
}

static bool task_is(journey_fixture *fixture, const char *id, const char *status)
{
	char with[128], text[64];

	(void)snprintf(with, sizeof with, "{\"id\":\"%s\"}", id);
	(void)snprintf(text, sizeof text, "\"status\":\"%s\"", status);
	return steps_has(fixture, "gateway.get_task", with, text);
}

static void make_job(journey_fixture *fixture, const char *more)
{
	char with[512];

	(void)snprintf(
		with, sizeof with,
		"{\"job_id\":\"plants\",\"name\":\"plants\",\"cron_expression\":\"0 0 1 1 *\","
		"\"job_type\":\"prompt\",\"prompt\":\"Water the plants.\"%s}",
		more);
	(void)steps_call(fixture, "assistant.put_cron_job", with);
	(void)steps_call(fixture, "assistant.run_now", "{\"job_id\":\"plants\"}");
}

static bool job_was(journey_fixture *fixture, const char *text)
{
	return steps_has(fixture, "assistant.history", "{\"job_id\":\"plants\"}", text);
}

/* ---------------------------------------------------------------- tests */

static void a_task_that_is_due_is_answered_like_a_message(void **state)
{
	journey_fixture *fixture = *state;

	fixture->options.agent = "cat >/dev/null; echo it is done";
	journey_serve(fixture);
	make_task(fixture, "t1", kp_clock_ms());
	EVENTUALLY(task_is(fixture, "t1", "completed"));
	EVENTUALLY(steps_has(fixture, "gateway.history", "{\"jid\":\"telegram:1\"}", "it is done"));
}

static void a_clock_that_is_set_forth_and_back_stops_nothing(void **state)
{
	journey_fixture *fixture = *state;
	int64_t now_ms = kp_clock_ms();

	journey_serve(fixture);
	make_task(fixture, "tomorrow", now_ms + DAY);
	make_task(fixture, "now", now_ms);
	EVENTUALLY(task_is(fixture, "now", "completed"));
	assert_true(task_is(fixture, "tomorrow", "active"));
	steps_set_clock(now_ms + 2 * DAY);
	EVENTUALLY(task_is(fixture, "tomorrow", "completed"));
	steps_set_clock(now_ms - 30 * DAY);
	make_task(fixture, "past", kp_clock_ms());
	EVENTUALLY(task_is(fixture, "past", "completed"));
}

static void a_job_is_run_with_its_json_and_its_result_is_kept(void **state)
{
	journey_fixture *fixture = *state;
	const char *input;

	serve_with(fixture, "cat >", "/input; echo \"watered, $KEEP_JOB_ID, $KEEP_ATTEMPT\"");
	make_job(fixture, "");
	EVENTUALLY(job_was(fixture, "\"success\""));
	assert_true(job_was(fixture, "watered, plants, 1"));
	input = steps_read(fixture, "input");
	CHECK(strstr(input, "\"kind\":\"job\"") && strstr(input, "\"job_id\":\"plants\"") &&
		      strstr(input, "\"text\":\"Water the plants.\"") &&
		      strstr(input, "\"attempt\":1"),
	      "%s", input);
}

static void a_job_that_fails_says_why(void **state)
{
	journey_fixture *fixture = *state;

	fixture->options.agent = "echo no water >&2; exit 3";
	journey_serve(fixture);
	make_job(fixture, ",\"max_attempts\":1");
	EVENTUALLY(job_was(fixture, "exit status 3: no water"));
	EVENTUALLY(steps_has(fixture, "assistant.list_dead_letters", "{}", "plants"));
}

static void a_job_that_runs_can_be_cancelled(void **state)
{
	journey_fixture *fixture = *state;

	serve_with(fixture, "echo >", "/began; exec sleep 300");
	make_job(fixture, "");
	EVENTUALLY(steps_lines(fixture, "began") == 1);
	(void)steps_call(fixture, "assistant.cancel_job", "{\"job_id\":\"plants\"}");
	EVENTUALLY(job_was(fixture, "\"cancelled\""));
}

static void a_job_over_its_time_is_ended(void **state)
{
	journey_fixture *fixture = *state;

	fixture->options.agent = "exec sleep 300";
	journey_serve(fixture);
	make_job(fixture, ",\"max_attempts\":1,\"timeout_ms\":1000");
	EVENTUALLY(steps_has(fixture, "assistant.list_dead_letters", "{}", "plants"));
	EVENTUALLY(atomic_load(&fixture->service->metrics.gauges[KP_GAUGE_AGENTS]) == 0);
}

static void a_job_that_an_ending_host_left_is_tried_again_by_the_next(void **state)
{
	journey_fixture *fixture = *state;

	serve_with(fixture, "echo >", "/began; trap '' TERM; while :; do sleep 0.05; done");
	make_job(fixture, ",\"max_attempts\":9");
	EVENTUALLY(steps_lines(fixture, "began") == 1);
	keep_service_stop(&fixture->service, 100);
	fixture->options.agent = "echo second time";
	journey_serve(fixture);
	/* This process lives on, so its leases end with their time: by the clock, which is ours. */
	EVENTUALLY((steps_set_clock(kp_clock_ms() + HOUR), (void)poll(NULL, 0, 100),
		    job_was(fixture, "second time")));
	assert_true(job_was(fixture, "\"attempt\":2"));
}

static void without_a_command_jobs_are_left_to_others(void **state)
{
	journey_fixture *fixture = *state;

	journey_serve(fixture);
	make_job(fixture, "");
	make_task(fixture, "t1", kp_clock_ms());
	EVENTUALLY(task_is(fixture, "t1", "completed"));
	assert_false(job_was(fixture, "success"));
	assert_false(job_was(fixture, "running"));
}

static void a_message_that_failed_is_tried_again_when_its_time_comes(void **state)
{
	journey_fixture *fixture = *state;

	serve_with(fixture, "cd ",
		   "; cat >/dev/null; echo x >>tries; [ $(wc -l <tries) = 3 ] && "
		   "echo third time lucky");
	journey_put(fixture, "telegram:1", "a", "hello");
	for (int tries = 1; tries < 3; tries++) {
		EVENTUALLY(steps_lines(fixture, "tries") == tries);
		EVENTUALLY(steps_has(fixture, "gateway.errored_chats", "{}", "telegram:1"));
		/* Until the host has taken the failure over, a step of the clock does nothing. */
		EVENTUALLY((steps_set_clock(kp_clock_ms() + 60000), (void)poll(NULL, 0, 300),
			    steps_lines(fixture, "tries") > tries));
	}
	EVENTUALLY(steps_has(fixture, "gateway.history", "{\"jid\":\"telegram:1\"}",
			     "third time lucky"));
}

int main(int argc, char **argv)
{
#define SERVICE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		SERVICE(a_task_that_is_due_is_answered_like_a_message),
		SERVICE(a_clock_that_is_set_forth_and_back_stops_nothing),
		SERVICE(a_job_is_run_with_its_json_and_its_result_is_kept),
		SERVICE(a_job_that_fails_says_why),
		SERVICE(a_job_that_runs_can_be_cancelled),
		SERVICE(a_job_over_its_time_is_ended),
		SERVICE(a_job_that_an_ending_host_left_is_tried_again_by_the_next),
		SERVICE(without_a_command_jobs_are_left_to_others),
		SERVICE(a_message_that_failed_is_tried_again_when_its_time_comes),
	};

	backend = argc > 1 ? argv[1] : "sqlite";
	return cmocka_run_group_tests(tests, NULL, NULL);
}

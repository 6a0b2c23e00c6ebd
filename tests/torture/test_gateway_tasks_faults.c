/*
 * test_gateway_tasks_faults.c - scheduled tasks, their runs and their log, with the Nth thing in
 * them failing: gateway_faults.h says what must hold.
 *
 * The zones are read beforehand. A zone's file that cannot be read is no failure of a tick but of a
 * task, which is tried again; test_schedule_faults.c fails those files.
 */
#include "gateway_faults.h"

#define T0 INT64_C(1700000000000) /* 2023-11-14T22:13:20Z */
#define DAY INT64_C(86400000)

static keep_status create(keep_gateway *gateway, const char *id, const char *cron, keep_error *err)
{
	keep_scheduled_task task = {.id = keep_bytes_of(id),
				    .owner = KEEP_BYTES("world"),
				    .chat_jid = KEEP_BYTES("web:1"),
				    .prompt = KEEP_BYTES("water the plants"),
				    .timezone = KEEP_BYTES("Europe/Brussels"),
				    .missed_policy = KEEP_BYTES("run_all"),
				    .run_all_max = 3};

	if (cron)
		task.cron = keep_bytes_of(cron);
	return keep_gateway_create_task(gateway, &task, NULL, NULL, err);
}

static keep_status create_series(keep_gateway *gateway, keep_error *err)
{
	return create(gateway, "series", "0 9 * * *", err);
}

static keep_status create_single(keep_gateway *gateway, keep_error *err)
{
	return create(gateway, "single", NULL, err);
}

static keep_status create_interval(keep_gateway *gateway, keep_error *err)
{
	return create(gateway, "interval", "3600000", err);
}

static keep_status put_in_the_way(keep_gateway *gateway, keep_error *err)
{
	keep_message message = {.chat_jid = KEEP_BYTES("web:1"),
				.id = KEEP_BYTES("sched-single-1700000000000"),
				.content = KEEP_BYTES("in the way")};

	return keep_gateway_put_message(gateway, &message, NULL, NULL, err);
}

static keep_status fire(keep_gateway *gateway, int64_t now_ms, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_task_run_list list;
	int64_t next;
	keep_status status =
		keep_gateway_fire_due_tasks(gateway, now_ms, 0, &memory, &list, &next, err);

	keep_memory_release(&memory);
	return status;
}

static keep_status fire_now(keep_gateway *gateway, keep_error *err)
{
	return fire(gateway, T0, err);
}

static keep_status fire_missed(keep_gateway *gateway, keep_error *err)
{
	return fire(gateway, T0 + 6 * DAY, err);
}

static keep_status fire_idle(keep_gateway *gateway, keep_error *err)
{
	return fire(gateway, T0, err);
}

static keep_status run_now(keep_gateway *gateway, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_task_run run;
	keep_status status =
		keep_gateway_run_task_now(gateway, KEEP_BYTES("series"), T0, &memory, &run, err);

	if (status == KEEP_OK)
		assert_int_equal(run.scheduled_for, T0);
	keep_memory_release(&memory);
	return status;
}

static keep_status report(keep_gateway *gateway, keep_error *err)
{
	return keep_gateway_report_task_run(gateway, KEEP_BYTES("series"), T0, 5, KEEP_BYTES("wet"),
					    KEEP_BYTES("no water"), err);
}

static keep_status pause_series(keep_gateway *gateway, keep_error *err)
{
	return keep_gateway_pause_task(gateway, KEEP_BYTES("series"), err);
}

static keep_status resume_series(keep_gateway *gateway, keep_error *err)
{
	return keep_gateway_resume_task(gateway, KEEP_BYTES("series"), T0 + DAY, err);
}

static keep_status cancel_series(keep_gateway *gateway, keep_error *err)
{
	return keep_gateway_cancel_task(gateway, KEEP_BYTES("series"), err);
}

static keep_status read_all(keep_gateway *gateway, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_scheduled_task task;
	keep_scheduled_task_list tasks;
	keep_task_run_list runs;
	keep_bytes none = {0};
	keep_status status =
		keep_gateway_get_task(gateway, KEEP_BYTES("series"), &memory, &task, err);

	if (status == KEEP_OK)
		status = keep_gateway_list_tasks(gateway, none, none, 0, &memory, &tasks, err);
	if (status == KEEP_OK)
		status = keep_gateway_task_runs(gateway, KEEP_BYTES("series"), 0, 0, &memory, &runs,
						err);
	if (status == KEEP_OK)
		assert_true(tasks.count == 3 && runs.count > 0);
	keep_memory_release(&memory);
	return status;
}

int main(int argc, char **argv)
{
	static const gateway_step steps[] = {
		{"create_series", create_series, 0, false},
		{"create_single", create_single, 0, false},
		{"create_interval", create_interval, 0, false},
		{"put_in_the_way", put_in_the_way, 0, false},
		{"fire_now", fire_now, 0, false},
		{"run_now", run_now, 0, true}, /* again it would be another run */
		{"report", report, 0, false},
		{"fire_missed", fire_missed, 0, false},
		{"fire_idle", fire_idle, 0, false},
		{"pause_series", pause_series, MAY(KEEP_CONFLICT), false},
		{"resume_series", resume_series, MAY(KEEP_CONFLICT), false},
		{"read_all", read_all, 0, false},
		{"cancel_series", cancel_series, MAY(KEEP_CONFLICT), false},
	};
	keep_zone *zone = NULL;
	int failed;

	if (keep_zone_open("Europe/Brussels", &zone, NULL) != KEEP_OK)
		return 1;
	failed = gateway_faults_main(argc, argv, steps, KP_COUNT(steps));
	keep_zone_close(&zone);
	keep_zone_forget();
	return failed;
}

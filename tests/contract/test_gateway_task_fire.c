/*
 * test_gateway_task_fire.c - contracts/gateway.md, "Tasks": what is due becomes messages, once.
 *
 *     test_gateway_task_fire sqlite|postgres
 *
 * Missed runs, failures and retries, what other programs leave behind. Runs beside the schedule,
 * the log, several processes and plans are test_gateway_task_runs.c.
 */
#include "gateway_fixture.h"

#include "schedule/due.h"

#include <sys/wait.h>
#include <unistd.h>

#define MINUTE 60000
#define HOUR INT64_C(3600000)
#define DAY (24 * HOUR)

static const keep_bytes jid = {"telegram:42", 11};
static int64_t clock_now;

static int64_t read_clock(void *ctx)
{
	(void)ctx;
	return clock_now;
}

static int64_t ms(const char *text)
{
	keep_error err = KEEP_ERROR_INIT;
	int64_t time_ms = 0;

	OK(keep_time_parse(keep_bytes_of(text), &time_ms, &err));
	return time_ms;
}

/* A task made at clock_now. */
static keep_scheduled_task make(keep_gateway *gateway, const char *id, const char *cron,
				const char *missed)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_scheduled_task task = {.id = keep_bytes_of(id),
				    .owner = KEEP_BYTES("world/ada"),
				    .chat_jid = jid,
				    .prompt = KEEP_BYTES("water the plants"),
				    .run_all_max = 5};

	if (cron)
		task.cron = keep_bytes_of(cron);
	if (missed)
		task.missed_policy = keep_bytes_of(missed);
	OK(keep_gateway_create_task(gateway, &task, NULL, NULL, &err));
	return task;
}

static keep_task_run_list fire(keep_gateway *gateway, int64_t now_ms, keep_memory *memory)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_task_run_list list;

	OK(keep_gateway_fire_due_tasks(gateway, now_ms, 0, memory, &list, NULL, &err));
	return list;
}

static keep_scheduled_task get(keep_gateway *gateway, const char *id, keep_memory *memory)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_scheduled_task task;

	OK(keep_gateway_get_task(gateway, keep_bytes_of(id), memory, &task, &err));
	return task;
}

static keep_message_list messages(keep_gateway *gateway, keep_memory *memory)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_message_list list;

	OK(keep_gateway_messages_since(gateway, jid, 0, 0, 1000, memory, &list, &err));
	return list;
}

static bool has(keep_bytes text, const char *part)
{
	return text.data && memmem(text.data, text.len, part, strlen(part)) != NULL;
}

static void check_run(const keep_task_run *run, int64_t scheduled_ms, const char *status)
{
	CHECK(run->scheduled_for == scheduled_ms, "%lld instead of %lld",
	      (long long)run->scheduled_for, (long long)scheduled_ms);
	assert_bytes_equal(run->status, keep_bytes_of(status));
	assert_true((run->message_id.data != NULL) == (strcmp(status, "success") == 0));
}

/* ---------------------------------------------------------------- what firing does */

static void a_due_task_becomes_a_message_a_line_and_its_next_time(void **state)
{
	keep_gateway *gateway = gateway_fresh(), *timed = NULL;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_scheduled_task task;
	keep_task_run_list fired;
	keep_message_list list;
	keep_error err = KEEP_ERROR_INIT;
	int64_t due = ms("2026-04-12T09:00:00Z"), next;
	char id[64], owner[KP_OWNER_TEXT_SIZE];

	(void)state;
	make(gateway, "plants", "0 9 * * *", NULL);
	timed = gateway_again("timed");
	OK(keep_gateway_fire_due_tasks(timed, due - 1, 0, &memory, &fired, &next, &err));
	assert_int_equal(fired.count, 0);
	assert_int_equal(next, due);
	OK(keep_gateway_fire_due_tasks(timed, due + 700, 0, &memory, &fired, &next, &err));
	assert_int_equal(next, due + DAY);
	assert_int_equal(fired.count, 1);
	check_run(&fired.items[0], due, "success");
	assert_bytes_equal(fired.items[0].task_id, KEEP_BYTES("plants"));
	assert_int_equal(fired.items[0].run_at, due + 700);
	assert_true(fired.items[0].id > 0 && !fired.items[0].error.data);
	list = messages(gateway, &memory);
	assert_int_equal(list.count, 1);
	snprintf(id, sizeof id, "sched-plants-%lld", (long long)due);
	assert_bytes_equal(list.items[0].id, keep_bytes_of(id));
	assert_bytes_equal(list.items[0].id, fired.items[0].message_id);
	assert_bytes_equal(list.items[0].sender, KEEP_BYTES("scheduler"));
	assert_bytes_equal(list.items[0].source, KEEP_BYTES("scheduler"));
	assert_bytes_equal(list.items[0].content, KEEP_BYTES("water the plants"));
	assert_bytes_equal(list.items[0].verb, KEEP_BYTES("message"));
	assert_int_equal(list.items[0].timestamp, due + 700);
	assert_false(list.items[0].is_from_me || list.items[0].is_future);
	task = get(gateway, "plants", &memory);
	assert_int_equal(task.next_run, due + DAY);
	assert_true(task.has_last_run && task.last_run == due + 700);
	assert_bytes_equal(task.status, KEEP_BYTES("active"));
	assert_bytes_equal(task.lease_by, KEEP_BYTES("timed"));
	OK(kp_owner_make(owner, &err));
	assert_bytes_equal(task.lease_owner, keep_bytes_of(owner));
	assert_true(task.has_lease_until && task.lease_until == due + 700);
	keep_memory_release(&memory);
	keep_gateway_close(&timed);
	keep_gateway_close(&gateway);
	keep_zone_forget();
	assert_nothing_lives();
}

static void an_isolated_task_says_so_in_its_sender(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_scheduled_task task = {.id = KEEP_BYTES("world-mem-0"),
				    .owner = KEEP_BYTES("world"),
				    .chat_jid = jid,
				    .prompt = KEEP_BYTES("compact"),
				    .context_mode = KEEP_BYTES("isolated")};

	(void)state;
	OK(keep_gateway_create_task(gateway, &task, NULL, NULL, &err));
	assert_int_equal(fire(gateway, clock_now, &memory).count, 1);
	assert_bytes_equal(messages(gateway, &memory).items[0].sender,
			   KEEP_BYTES("scheduler-isolated:world-mem-0"));
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void a_tick_that_is_repeated_fires_nothing_whatever_the_clock_does(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	int64_t due = ms("2026-04-12T09:00:00Z");

	(void)state;
	make(gateway, "plants", "0 9 * * *", NULL);
	assert_int_equal(fire(gateway, due, &memory).count, 1);
	assert_int_equal(fire(gateway, due, &memory).count, 0);
	assert_int_equal(fire(gateway, due - 5 * DAY, &memory).count, 0);
	assert_int_equal(fire(gateway, due + DAY - 1, &memory).count, 0);
	assert_int_equal(fire(gateway, due, &memory).count, 0);
	assert_int_equal(messages(gateway, &memory).count, 1);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void a_run_that_was_made_is_never_made_again_even_when_next_run_goes_back(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	int64_t due = ms("2026-04-12T09:00:00Z");

	(void)state;
	make(gateway, "plants", "0 9 * * *", NULL);
	assert_int_equal(fire(gateway, due, &memory).count, 1);
	assert_int_equal(fire(gateway, due + DAY, &memory).count, 1);
	/* The clock was wrong and is set back; resume computes from there. */
	OK(keep_gateway_pause_task(gateway, KEEP_BYTES("plants"), &err));
	OK(keep_gateway_resume_task(gateway, KEEP_BYTES("plants"), due - 1, &err));
	assert_int_equal(get(gateway, "plants", &memory).next_run, due);
	assert_int_equal(fire(gateway, due + 1, &memory).count, 0);
	assert_int_equal(get(gateway, "plants", &memory).next_run, due + DAY);
	/* Nor when its message is gone meanwhile. */
	gateway_sql("DELETE FROM messages");
	assert_int_equal(fire(gateway, due + DAY, &memory).count, 0);
	assert_int_equal(messages(gateway, &memory).count, 0);
	assert_int_equal(fire(gateway, due + 2 * DAY, &memory).count, 1);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void one_time_only_is_completed_and_an_interval_does_not_drift(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_task_run_list fired;

	(void)state;
	make(gateway, "once", NULL, NULL);
	make(gateway, "each", "300000", NULL);
	fired = fire(gateway, clock_now + 7, &memory);
	assert_int_equal(fired.count, 1);
	check_run(&fired.items[0], clock_now, "success");
	assert_bytes_equal(get(gateway, "once", &memory).status, KEEP_BYTES("completed"));
	assert_false(get(gateway, "once", &memory).has_next_run);
	for (int i = 1; i <= 5; i++) {
		fired = fire(gateway, clock_now + i * 300000 + 17000 * i, &memory);
		assert_int_equal(fired.count, 1);
		check_run(&fired.items[0], clock_now + i * 300000, "success");
	}
	assert_int_equal(get(gateway, "each", &memory).next_run, clock_now + 6 * 300000);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void a_fixed_time_that_the_clocks_skip_or_repeat_fires_once(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_scheduled_task task = {.id = KEEP_BYTES("night"),
				    .owner = KEEP_BYTES("world"),
				    .chat_jid = jid,
				    .prompt = KEEP_BYTES("backup"),
				    .cron = KEEP_BYTES("30 2 * * *"),
				    .timezone = KEEP_BYTES("Europe/Brussels")};
	int64_t before = clock_now;
	size_t count = 0;

	(void)state;
	clock_now = ms("2026-10-24T12:00:00Z");
	OK(keep_gateway_create_task(gateway, &task, NULL, NULL, &err));
	for (int64_t now = clock_now; now < clock_now + DAY; now += 15 * MINUTE)
		count += fire(gateway, now, &memory).count;
	assert_int_equal(count, 1);
	assert_int_equal(get(gateway, "night", &memory).last_run, ms("2026-10-25T00:30:00Z"));
	clock_now = before;
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void a_tick_takes_at_most_its_limit_and_says_when_to_come_again(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_task_run_list fired;
	keep_error err = KEEP_ERROR_INIT;
	int64_t next;

	(void)state;
	for (int i = 0; i < 40; i++) {
		char id[8];

		snprintf(id, sizeof id, "t%02d", i);
		make(gateway, id, NULL, NULL);
		clock_now++;
	}
	OK(keep_gateway_fire_due_tasks(gateway, clock_now, 25, &memory, &fired, &next, &err));
	assert_int_equal(fired.count, 25);
	assert_bytes_equal(fired.items[0].task_id, KEEP_BYTES("t00"));
	assert_bytes_equal(fired.items[24].task_id, KEEP_BYTES("t24"));
	assert_true(next <= clock_now && next > 0);
	OK(keep_gateway_fire_due_tasks(gateway, clock_now, 25, &memory, &fired, &next, &err));
	assert_int_equal(fired.count, 15);
	assert_int_equal(next, 0);
	assert_int_equal(messages(gateway, &memory).count, 40);
	assert_int_equal(
		keep_gateway_fire_due_tasks(gateway, 0, 1001, &memory, &fired, &next, &err),
		KEEP_INVALID);
	assert_int_equal(
		keep_gateway_fire_due_tasks(gateway, INT64_MAX, 0, &memory, &fired, &next, &err),
		KEEP_INVALID);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

/* ---------------------------------------------------------------- missed runs */

static void missed_runs_become_one_none_or_all_and_the_rest_is_in_the_log(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_task_run_list fired;
	int64_t due = ms("2026-04-12T09:00:00Z"), now = due + 9 * DAY + HOUR;

	(void)state;
	make(gateway, "one", "0 9 * * *", NULL);
	fired = fire(gateway, now, &memory);
	assert_int_equal(fired.count, 2);
	check_run(&fired.items[0], due + 8 * DAY, "skipped");
	assert_true(has(fired.items[0].error, "9 runs were missed") &&
		    has(fired.items[0].error, "2026-04-12T09:00:00.000Z to 2026-04-20T09:00") &&
		    has(fired.items[0].error, "run_once"));
	check_run(&fired.items[1], due + 9 * DAY, "success");
	assert_int_equal(get(gateway, "one", &memory).next_run, due + 10 * DAY);
	make(gateway, "none", "0 9 * * *", "skip");
	fired = fire(gateway, now, &memory);
	assert_int_equal(fired.count, 1);
	check_run(&fired.items[0], due + 9 * DAY, "skipped");
	assert_true(has(fired.items[0].error, "10 runs were missed"));
	assert_false(get(gateway, "none", &memory).has_last_run);
	make(gateway, "all", "0 9 * * *", "run_all");
	fired = fire(gateway, now, &memory);
	assert_int_equal(fired.count, 6);
	check_run(&fired.items[0], due + 4 * DAY, "skipped");
	for (int i = 1; i <= 5; i++)
		check_run(&fired.items[i], due + (4 + i) * DAY, "success");
	assert_int_equal(messages(gateway, &memory).count, 6);
	/* What is on time runs under `skip`, too. */
	fired = fire(gateway, due + 10 * DAY + 30000, &memory);
	assert_int_equal(fired.count, 3);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void a_run_older_than_the_grace_is_skipped(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_task_run_list fired;
	keep_scheduled_task task = {.id = KEEP_BYTES("t"),
				    .owner = KEEP_BYTES("world"),
				    .chat_jid = jid,
				    .prompt = KEEP_BYTES("report"),
				    .cron = KEEP_BYTES("0 * * * *"),
				    .missed_policy = KEEP_BYTES("run_all"),
				    .run_all_max = 64,
				    .grace_ms = 3 * HOUR};
	int64_t due = ms("2026-04-11T13:00:00Z");

	(void)state;
	OK(keep_gateway_create_task(gateway, &task, NULL, NULL, &err));
	fired = fire(gateway, due + 9 * HOUR + 2 * MINUTE, &memory);
	assert_int_equal(fired.count, 4);
	check_run(&fired.items[0], due + 6 * HOUR, "skipped");
	check_run(&fired.items[3], due + 9 * HOUR, "success");
	task.id = KEEP_BYTES("late");
	task.cron = (keep_bytes){0};
	OK(keep_gateway_create_task(gateway, &task, NULL, NULL, &err));
	fired = fire(gateway, clock_now + 4 * HOUR, &memory);
	assert_int_equal(fired.count, 1);
	check_run(&fired.items[0], clock_now, "skipped");
	assert_true(has(fired.items[0].error, "1 run was missed"));
	assert_bytes_equal(get(gateway, "late", &memory).status, KEEP_BYTES("completed"));
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void a_long_absence_is_counted_and_costs_little(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_task_run_list fired;

	(void)state;
	make(gateway, "each", "1000", NULL);
	fired = fire(gateway, clock_now + 365 * DAY, &memory);
	assert_int_equal(fired.count, 2);
	assert_true(has(fired.items[0].error, "10000 runs or more were missed"));
	assert_int_equal(messages(gateway, &memory).count, 1);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

/* ---------------------------------------------------------------- failures */

/* Fire until nothing is due within an hour of the last attempt; how many attempts there were. */
static int exhaust(keep_gateway *gateway, const char *id, int64_t *now, keep_memory *memory)
{
	static const int64_t delays[] = {1 * MINUTE, 2 * MINUTE, 4 * MINUTE, 8 * MINUTE};
	keep_scheduled_task task;
	int attempts = 0;

	for (; attempts < 20; attempts++) {
		fire(gateway, *now, memory);
		task = get(gateway, id, memory);
		if (!task.has_retry_of)
			break;
		assert_true(attempts < 4);
		assert_int_equal(task.attempts, attempts + 1);
		assert_non_null(task.last_error.data);
		CHECK(task.next_run - *now <= delays[attempts] &&
			      task.next_run - *now >= delays[attempts] * 9 / 10,
		      "attempt %d: again after %lld ms", attempts + 1,
		      (long long)(task.next_run - *now));
		/* Not before. */
		assert_int_equal(fire(gateway, task.next_run - 1, memory).count, 0);
		*now = task.next_run;
	}
	return attempts + 1;
}

static keep_task_run newest_run(keep_gateway *gateway, const char *id, keep_memory *memory)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_task_run_list list;

	OK(keep_gateway_task_runs(gateway, keep_bytes_of(id), 0, 1, memory, &list, &err));
	assert_int_equal(list.count, 1);
	return list.items[0];
}

static int count_lines(keep_bytes text)
{
	int lines = text.len > 0;

	for (size_t i = 0; i < text.len; i++)
		lines += text.data[i] == '\n';
	return lines;
}

static void a_cron_that_cannot_be_read_fails_with_its_reason_and_harms_no_other(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_scheduled_task_list list;
	keep_task_run run;
	int64_t due = ms("2026-04-12T09:00:00Z"), now = due;

	(void)state;
	make(gateway, "a", "0 9 * * *", NULL);
	make(gateway, "broken", "0 9 * * *", NULL);
	make(gateway, "z", "0 9 * * *", NULL);
	gateway_sql("UPDATE scheduled_tasks SET cron = 'at nine' WHERE id = 'broken'");
	assert_int_equal(exhaust(gateway, "broken", &now, &memory), 5);
	assert_int_equal(messages(gateway, &memory).count, 2);
	OK(keep_gateway_list_tasks(gateway, (keep_bytes){0}, KEEP_BYTES("failed"), 0, &memory,
				   &list, &err));
	assert_int_equal(list.count, 1);
	assert_bytes_equal(list.items[0].id, KEEP_BYTES("broken"));
	assert_int_equal(list.items[0].attempts, 5);
	assert_true(has(list.items[0].last_error, "cron"));
	assert_false(list.items[0].has_next_run);
	run = newest_run(gateway, "broken", &memory);
	check_run(&run, due, "error");
	assert_int_equal(count_lines(run.error), 5);
	assert_int_equal(run.run_at, due);
	/* Mended and resumed, it goes on. */
	gateway_sql("UPDATE scheduled_tasks SET cron = '0 9 * * *' WHERE id = 'broken'");
	OK(keep_gateway_resume_task(gateway, KEEP_BYTES("broken"), now, &err));
	assert_int_equal(fire(gateway, due + DAY, &memory).count, 3);
	assert_null(get(gateway, "broken", &memory).last_error.data);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void a_zone_that_is_gone_is_tried_again_and_then_the_run_is_made(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_scheduled_task task;
	keep_task_run run;
	int64_t due = ms("2026-04-12T09:00:00Z");

	(void)state;
	make(gateway, "plants", "0 9 * * *", "skip");
	gateway_sql("UPDATE scheduled_tasks SET timezone = 'Europe/Gone'");
	assert_int_equal(fire(gateway, due + 20000, &memory).count, 1);
	task = get(gateway, "plants", &memory);
	assert_true(task.has_retry_of && task.retry_of == due && has(task.last_error, "timezone"));
	gateway_sql("UPDATE scheduled_tasks SET timezone = 'UTC'");
	/* The retry is not a missed run, though the policy is to skip those. */
	assert_int_equal(fire(gateway, due + 10 * MINUTE, &memory).count, 1);
	run = newest_run(gateway, "plants", &memory);
	check_run(&run, due, "success");
	assert_int_equal(count_lines(run.error), 1);
	assert_int_equal(run.run_at, due + 10 * MINUTE);
	task = get(gateway, "plants", &memory);
	assert_true(!task.has_retry_of && !task.attempts && !task.last_error.data);
	assert_int_equal(task.next_run, due + DAY);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void put_in_the_way(keep_gateway *gateway, const char *task, int64_t scheduled_ms)
{
	char id[64];

	snprintf(id, sizeof id, "sched-%s-%lld", task, (long long)scheduled_ms);
	gateway_put(gateway, "telegram:42", id, "in the way");
}

static void a_message_in_the_way_costs_a_series_one_run_and_is_overwritten_never(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_task_run run;
	int64_t due = ms("2026-04-12T09:00:00Z"), now = due;

	(void)state;
	make(gateway, "plants", "0 9 * * *", NULL);
	put_in_the_way(gateway, "plants", due);
	assert_int_equal(exhaust(gateway, "plants", &now, &memory), 5);
	assert_bytes_equal(get(gateway, "plants", &memory).status, KEEP_BYTES("active"));
	assert_int_equal(get(gateway, "plants", &memory).next_run, due + DAY);
	assert_int_equal(get(gateway, "plants", &memory).attempts, 0);
	run = newest_run(gateway, "plants", &memory);
	check_run(&run, due, "error");
	assert_int_equal(count_lines(run.error), 5);
	assert_bytes_equal(messages(gateway, &memory).items[0].content, KEEP_BYTES("in the way"));
	assert_int_equal(fire(gateway, due + DAY, &memory).count, 1);
	assert_int_equal(messages(gateway, &memory).count, 2);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void run_all_keeps_the_order_when_one_of_them_fails(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_task_run_list fired;
	keep_error err = KEEP_ERROR_INIT;
	int64_t due = ms("2026-04-12T09:00:00Z"), now = due + 4 * DAY;

	(void)state;
	make(gateway, "plants", "0 9 * * *", "run_all");
	put_in_the_way(gateway, "plants", due + 2 * DAY);
	fired = fire(gateway, now, &memory);
	assert_int_equal(fired.count, 3);
	check_run(&fired.items[1], due + DAY, "success");
	check_run(&fired.items[2], due + 2 * DAY, "error");
	assert_int_equal(exhaust(gateway, "plants", &now, &memory), 5 - 1 + 1);
	/* Given up; those that came after it are still due. */
	assert_int_equal(get(gateway, "plants", &memory).next_run, due + 3 * DAY);
	fired = fire(gateway, now, &memory);
	assert_int_equal(fired.count, 2);
	check_run(&fired.items[0], due + 3 * DAY, "success");
	check_run(&fired.items[1], due + 4 * DAY, "success");
	OK(keep_gateway_task_runs(gateway, KEEP_BYTES("plants"), 0, 0, &memory, &fired, &err));
	assert_int_equal(fired.count, 5);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void one_time_only_fails_is_listed_and_is_retried_or_cleared_by_hand(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_task_run_list fired;
	int64_t now = clock_now;

	(void)state;
	make(gateway, "once", NULL, NULL);
	put_in_the_way(gateway, "once", clock_now);
	assert_int_equal(exhaust(gateway, "once", &now, &memory), 5);
	fire(gateway, now + HOUR, &memory);
	assert_bytes_equal(get(gateway, "once", &memory).status, KEEP_BYTES("failed"));
	assert_true(has(get(gateway, "once", &memory).last_error, "says something else"));
	OK(keep_gateway_resume_task(gateway, KEEP_BYTES("once"), now + DAY, &err));
	fired = fire(gateway, now + DAY, &memory);
	check_run(&fired.items[0], now + DAY, "success");
	assert_bytes_equal(get(gateway, "once", &memory).status, KEEP_BYTES("completed"));
	make(gateway, "other", NULL, NULL);
	put_in_the_way(gateway, "other", clock_now);
	while (!kp_bytes_equal(get(gateway, "other", &memory).status, KEEP_BYTES("failed")))
		fire(gateway, now += HOUR, &memory);
	OK(keep_gateway_cancel_task(gateway, KEEP_BYTES("other"), &err));
	assert_bytes_equal(get(gateway, "other", &memory).status, KEEP_BYTES("cancelled"));
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void pausing_ends_the_retries_and_resuming_begins_at_the_next_time(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	int64_t due = ms("2026-04-12T09:00:00Z");

	(void)state;
	make(gateway, "plants", "0 9 * * *", NULL);
	put_in_the_way(gateway, "plants", due);
	fire(gateway, due, &memory);
	OK(keep_gateway_pause_task(gateway, KEEP_BYTES("plants"), &err));
	assert_false(get(gateway, "plants", &memory).has_retry_of);
	assert_int_equal(get(gateway, "plants", &memory).next_run, due);
	assert_int_equal(fire(gateway, due + HOUR, &memory).count, 0);
	OK(keep_gateway_resume_task(gateway, KEEP_BYTES("plants"), due + HOUR, &err));
	assert_int_equal(get(gateway, "plants", &memory).attempts, 0);
	assert_int_equal(fire(gateway, due + DAY, &memory).count, 1);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

/* ---------------------------------------------------------------- what others left behind */

static void a_row_that_cannot_be_read_is_given_up_and_harms_no_other(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_task_run_list fired;
	int64_t next;

	(void)state;
	for (int i = 0; i < 6; i++)
		make(gateway, (const char *[]){"a", "b", "c", "d", "e", "f"}[i], NULL, NULL);
	/* Times that neither is one of the years 1 to 9999. */
	gateway_sql(gateway_is_file()
			    ? "UPDATE scheduled_tasks SET last_run = 'yesterday' WHERE id = 'b'"
			    : "UPDATE scheduled_tasks SET last_run = 'infinity' WHERE id = 'b'");
	gateway_sql(gateway_is_file()
			    ? "UPDATE scheduled_tasks SET next_run = '2026' WHERE id = 'd'"
			    : "UPDATE scheduled_tasks SET next_run = '-infinity' WHERE id = 'd'");
	gateway_sql(gateway_is_file()
			    ? "UPDATE scheduled_tasks SET next_run = 'tomorrow' WHERE id = 'f'"
			    : "UPDATE scheduled_tasks SET next_run = 'infinity' WHERE id = 'f'");
	OK(keep_gateway_fire_due_tasks(gateway, clock_now, 0, &memory, &fired, &next, &err));
	assert_int_equal(next, 0);
	assert_int_equal(messages(gateway, &memory).count, 3);
	for (int i = 1; i < 6; i += 2) {
		const char *id = (const char *[]){"a", "b", "c", "d", "e", "f"}[i];
		keep_task_run run = newest_run(gateway, id, &memory);

		check_run(&run, clock_now, "error");
		assert_bytes_equal(get(gateway, id, &memory).status, KEEP_BYTES("failed"));
		assert_non_null(get(gateway, id, &memory).last_error.data);
	}
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void a_task_without_a_time_gets_one_or_fails_with_that_reason(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	int64_t now = clock_now;

	(void)state;
	make(gateway, "series", "0 9 * * *", NULL);
	make(gateway, "once", NULL, NULL);
	gateway_sql("UPDATE scheduled_tasks SET next_run = NULL");
	fire(gateway, now, &memory);
	assert_int_equal(get(gateway, "series", &memory).next_run, ms("2026-04-12T09:00:00Z"));
	assert_bytes_equal(get(gateway, "once", &memory).status, KEEP_BYTES("failed"));
	assert_true(has(get(gateway, "once", &memory).last_error, "next_run"));
	assert_int_equal(messages(gateway, &memory).count, 0);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

/* The owner text of a process that has ended. */
static void make_dead_owner(char owner[KP_OWNER_TEXT_SIZE])
{
	int fds[2];
	pid_t child;

	assert_int_equal(pipe(fds), 0);
	child = fork();
	if (child == 0) {
		char text[KP_OWNER_TEXT_SIZE];

		_exit(kp_owner_make(text, NULL) != KEEP_OK ||
		      write(fds[1], text, sizeof text) != (ssize_t)sizeof text);
	}
	assert_int_equal(read(fds[0], owner, KP_OWNER_TEXT_SIZE), KP_OWNER_TEXT_SIZE);
	waitpid(child, NULL, 0);
	close(fds[0]);
	close(fds[1]);
}

static void a_firing_task_is_taken_over_when_nobody_holds_it(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_task_run_list fired;
	keep_error err = KEEP_ERROR_INIT;
	char living[KP_OWNER_TEXT_SIZE], dead[KP_OWNER_TEXT_SIZE], sql[400];
	int64_t next;

	(void)state;
	make(gateway, "adopted", NULL, NULL);
	make(gateway, "expired", NULL, NULL);
	make(gateway, "living", NULL, NULL);
	make(gateway, "dead", NULL, NULL);
	OK(kp_owner_make(living, &err));
	make_dead_owner(dead);
	gateway_sql("UPDATE scheduled_tasks SET status = 'firing'");
	snprintf(sql, sizeof sql,
		 "UPDATE scheduled_tasks SET lease_by = 'timed', lease_owner = '%s', "
		 "lease_until = '2026-04-11T12:05:00.000Z' WHERE id IN ('expired', 'living')",
		 living);
	gateway_sql(sql);
	gateway_sql("UPDATE scheduled_tasks SET lease_until = '2026-04-11T11:59:00.000Z' "
		    "WHERE id = 'expired'");
	snprintf(sql, sizeof sql,
		 "UPDATE scheduled_tasks SET lease_by = 'timed', lease_owner = '%s', "
		 "lease_until = '2026-04-11T13:00:00.000Z' WHERE id = 'dead'",
		 dead);
	gateway_sql(sql);
	OK(keep_gateway_fire_due_tasks(gateway, clock_now, 0, &memory, &fired, &next, &err));
	assert_int_equal(fired.count, 3);
	assert_bytes_equal(get(gateway, "living", &memory).status, KEEP_BYTES("firing"));
	assert_bytes_equal(get(gateway, "dead", &memory).status, KEEP_BYTES("completed"));
	assert_int_equal(next, ms("2026-04-11T12:05:00Z"));
	OK(keep_gateway_fire_due_tasks(gateway, next, 0, &memory, &fired, &next, &err));
	assert_int_equal(fired.count, 1);
	assert_bytes_equal(fired.items[0].task_id, KEEP_BYTES("living"));
	assert_int_equal(next, 0);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	keep_zone_forget();
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_due_task_becomes_a_message_a_line_and_its_next_time),
		cmocka_unit_test(an_isolated_task_says_so_in_its_sender),
		cmocka_unit_test(a_tick_that_is_repeated_fires_nothing_whatever_the_clock_does),
		cmocka_unit_test(
			a_run_that_was_made_is_never_made_again_even_when_next_run_goes_back),
		cmocka_unit_test(one_time_only_is_completed_and_an_interval_does_not_drift),
		cmocka_unit_test(a_fixed_time_that_the_clocks_skip_or_repeat_fires_once),
		cmocka_unit_test(a_tick_takes_at_most_its_limit_and_says_when_to_come_again),
		cmocka_unit_test(missed_runs_become_one_none_or_all_and_the_rest_is_in_the_log),
		cmocka_unit_test(a_run_older_than_the_grace_is_skipped),
		cmocka_unit_test(a_long_absence_is_counted_and_costs_little),
		cmocka_unit_test(
			a_cron_that_cannot_be_read_fails_with_its_reason_and_harms_no_other),
		cmocka_unit_test(a_zone_that_is_gone_is_tried_again_and_then_the_run_is_made),
		cmocka_unit_test(
			a_message_in_the_way_costs_a_series_one_run_and_is_overwritten_never),
		cmocka_unit_test(run_all_keeps_the_order_when_one_of_them_fails),
		cmocka_unit_test(one_time_only_fails_is_listed_and_is_retried_or_cleared_by_hand),
		cmocka_unit_test(pausing_ends_the_retries_and_resuming_begins_at_the_next_time),
		cmocka_unit_test(a_row_that_cannot_be_read_is_given_up_and_harms_no_other),
		cmocka_unit_test(a_task_without_a_time_gets_one_or_fails_with_that_reason),
		cmocka_unit_test(a_firing_task_is_taken_over_when_nobody_holds_it),
	};
	int failed;

	clock_now = ms("2026-04-11T12:00:00Z");
	kp_clock_inject(read_clock, NULL);
	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}

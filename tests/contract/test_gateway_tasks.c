/*
 * test_gateway_tasks.c - contracts/gateway.md, "Tasks": making them, reading them, and their
 * states.
 *
 *     test_gateway_tasks sqlite|postgres
 *
 * How they fire is test_gateway_task_fire.c.
 */
#include "gateway_fixture.h"

#define TASK_ID_MAX 992

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

static keep_scheduled_task daily(const char *id)
{
	return (keep_scheduled_task){.id = keep_bytes_of(id),
				     .owner = KEEP_BYTES("world/ada"),
				     .chat_jid = KEEP_BYTES("telegram:42"),
				     .prompt = KEEP_BYTES("water the plants"),
				     .cron = KEEP_BYTES("0 9 * * *")};
}

static keep_put create(keep_gateway *gateway, const keep_scheduled_task *task)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_put put;

	OK(keep_gateway_create_task(gateway, task, &put, NULL, &err));
	return put;
}

static keep_scheduled_task get(keep_gateway *gateway, const char *id, keep_memory *memory)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_scheduled_task task;

	OK(keep_gateway_get_task(gateway, keep_bytes_of(id), memory, &task, &err));
	return task;
}

/* ---------------------------------------------------------------- create */

static void a_task_is_stored_with_its_defaults_and_its_next_time(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_scheduled_task task = daily("plants"), stored;

	(void)state;
	clock_now = ms("2026-04-11T12:00:00Z");
	assert_int_equal(create(gateway, &task), KEEP_PUT_INSERTED);
	stored = get(gateway, "plants", &memory);
	assert_bytes_equal(stored.owner, task.owner);
	assert_bytes_equal(stored.chat_jid, task.chat_jid);
	assert_bytes_equal(stored.prompt, task.prompt);
	assert_bytes_equal(stored.cron, task.cron);
	assert_bytes_equal(stored.status, KEEP_BYTES("active"));
	assert_bytes_equal(stored.timezone, KEEP_BYTES("UTC"));
	assert_bytes_equal(stored.dialect, KEEP_BYTES("debian"));
	assert_bytes_equal(stored.context_mode, KEEP_BYTES("group"));
	assert_bytes_equal(stored.missed_policy, KEEP_BYTES("run_once"));
	assert_int_equal(stored.run_all_max, 10);
	assert_int_equal(stored.created_at, clock_now);
	assert_true(stored.has_next_run && !stored.has_last_run && !stored.has_retry_of);
	assert_int_equal(stored.next_run, ms("2026-04-12T09:00:00Z"));
	assert_null(stored.last_error.data);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	keep_zone_forget();
	assert_nothing_lives();
}

static void the_zone_and_the_dialect_decide_the_next_time(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_scheduled_task task = daily("brussels");

	(void)state;
	clock_now = ms("2026-04-11T12:00:00Z"); /* a Saturday */
	task.timezone = KEEP_BYTES("Europe/Brussels");
	create(gateway, &task);
	assert_int_equal(get(gateway, "brussels", &memory).next_run, ms("2026-04-12T07:00:00Z"));
	task = daily("monday");
	task.cron = KEEP_BYTES("0 9 * * 0");
	task.dialect = KEEP_BYTES("apscheduler");
	create(gateway, &task);
	assert_int_equal(get(gateway, "monday", &memory).next_run, ms("2026-04-13T09:00:00Z"));
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void one_time_only_is_due_when_it_says_or_now(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_scheduled_task task = daily("now");

	(void)state;
	clock_now = ms("2026-04-11T12:00:00.123Z");
	task.cron = (keep_bytes){0};
	create(gateway, &task);
	assert_int_equal(get(gateway, "now", &memory).next_run, clock_now);
	assert_null(get(gateway, "now", &memory).cron.data);
	task.id = KEEP_BYTES("later");
	task.cron = KEEP_BYTES("");
	task.next_run = clock_now + 5000;
	task.has_next_run = true;
	create(gateway, &task);
	assert_int_equal(get(gateway, "later", &memory).next_run, clock_now + 5000);
	assert_null(get(gateway, "later", &memory).cron.data);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void a_number_is_an_interval_from_its_anchor(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_scheduled_task task = daily("from-now");

	(void)state;
	clock_now = ms("2026-04-11T12:00:00.500Z");
	task.cron = KEEP_BYTES("1000");
	create(gateway, &task);
	assert_int_equal(get(gateway, "from-now", &memory).next_run, clock_now + 1000);
	task.id = KEEP_BYTES("anchored");
	task.cron = KEEP_BYTES("60000");
	task.anchor_at = ms("2026-01-01T00:00:15Z");
	create(gateway, &task);
	assert_int_equal(get(gateway, "anchored", &memory).next_run, ms("2026-04-11T12:00:15Z"));
	task.id = KEEP_BYTES("begins");
	task.anchor_at = 0;
	task.next_run = ms("2026-05-01T00:00:00Z");
	task.has_next_run = true;
	create(gateway, &task);
	assert_int_equal(get(gateway, "begins", &memory).next_run, task.next_run);
	assert_int_equal(get(gateway, "begins", &memory).anchor_at, task.next_run);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static char long_text[1100];

static void check_refused(keep_gateway *gateway, const keep_scheduled_task *task, const char *named,
			  keep_status expected)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = keep_gateway_create_task(gateway, task, NULL, NULL, &err);

	CHECK(status == expected, "%s: %s %s", named, keep_status_name(status), err.message);
	CHECK(strncmp(err.message, named, strlen(named)) == 0, "%s", err.message);
}

static void what_cannot_be_fired_is_refused_and_named(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_scheduled_task task = daily("x");
	static char prompt[KEEP_GATEWAY_CONTENT_MAX + 1];
	struct {
		keep_bytes *field;
		keep_bytes value;
		const char *named;
		keep_status status;
	} texts[] = {
		{&task.owner, {0}, "owner", KEEP_INVALID},
		{&task.owner, KEEP_BYTES("../etc"), "owner", KEEP_INVALID},
		{&task.owner, KEEP_BYTES("a//b"), "owner", KEEP_INVALID},
		{&task.chat_jid, {0}, "chat_jid", KEEP_INVALID},
		{&task.chat_jid, KEEP_BYTES("a\nb"), "chat_jid", KEEP_INVALID},
		{&task.prompt, {0}, "prompt", KEEP_INVALID},
		{&task.prompt, KEEP_BYTES(""), "prompt", KEEP_INVALID},
		{&task.prompt, KEEP_BYTES("\xff"), "prompt", KEEP_INVALID},
		{&task.prompt, {prompt, sizeof prompt}, "prompt", KEEP_FULL},
		{&task.id, KEEP_BYTES(""), "id", KEEP_INVALID},
		{&task.id, {long_text, TASK_ID_MAX + 1}, "id", KEEP_INVALID},
		{&task.cron, KEEP_BYTES("every day"), "cron", KEEP_INVALID},
		{&task.cron, KEEP_BYTES("0 9 * *"), "cron", KEEP_INVALID},
		{&task.cron, KEEP_BYTES("0 9 30 2 *"), "cron", KEEP_INVALID},
		{&task.cron, KEEP_BYTES("0 9 * * * *"), "cron", KEEP_INVALID},
		{&task.cron, KEEP_BYTES("999"), "cron", KEEP_INVALID},
		{&task.cron, KEEP_BYTES("0"), "cron", KEEP_INVALID},
		{&task.cron, KEEP_BYTES("-60000"), "cron", KEEP_INVALID},
		{&task.cron, KEEP_BYTES("9223372036854775807"), "cron", KEEP_INVALID},
		{&task.cron, KEEP_BYTES("99999999999999999999"), "cron", KEEP_INVALID},
		{&task.timezone, KEEP_BYTES(""), "timezone", KEEP_INVALID},
		{&task.timezone, KEEP_BYTES("Europe/Nowhere"), "timezone", KEEP_INVALID},
		{&task.timezone, KEEP_BYTES("../UTC"), "timezone", KEEP_INVALID},
		{&task.timezone, {long_text, 1000}, "timezone", KEEP_INVALID},
		{&task.dialect, KEEP_BYTES("quartz"), "dialect", KEEP_INVALID},
		{&task.context_mode, KEEP_BYTES("alone"), "context_mode", KEEP_INVALID},
		{&task.missed_policy, KEEP_BYTES("later"), "missed_policy", KEEP_INVALID},
	};
	struct {
		int64_t *field;
		int64_t value;
		const char *named;
	} numbers[] = {
		{&task.grace_ms, -1, "grace_ms"},          {&task.grace_ms, INT64_MAX, "grace_ms"},
		{&task.run_all_max, -1, "run_all_max"},    {&task.run_all_max, 65, "run_all_max"},
		{&task.anchor_at, INT64_MAX, "anchor_at"}, {&task.next_run, INT64_MAX, "next_run"},
	};

	(void)state;
	memset(long_text, 'x', sizeof long_text);
	memset(prompt, 'x', sizeof prompt);
	for (size_t i = 0; i < KP_COUNT(texts); i++) {
		task = daily("x");
		*texts[i].field = texts[i].value;
		check_refused(gateway, &task, texts[i].named, texts[i].status);
	}
	for (size_t i = 0; i < KP_COUNT(numbers); i++) {
		task = daily("x");
		task.has_next_run = true;
		task.next_run = clock_now;
		*numbers[i].field = numbers[i].value;
		check_refused(gateway, &task, numbers[i].named, KEEP_INVALID);
	}
	assert_string_equal(gateway_sql("SELECT count(*) || '' FROM scheduled_tasks"), "0");
	task = daily("x");
	task.prompt = (keep_bytes){prompt, KEEP_GATEWAY_CONTENT_MAX};
	task.id = (keep_bytes){long_text, TASK_ID_MAX};
	assert_int_equal(create(gateway, &task), KEEP_PUT_INSERTED);
	keep_gateway_close(&gateway);
}

static void a_create_that_is_repeated_is_a_duplicate_and_another_one_a_conflict(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_scheduled_task task = daily("plants"), other, before, after;
	keep_error err = KEEP_ERROR_INIT;
	keep_put put;

	(void)state;
	clock_now = ms("2026-04-11T12:00:00Z");
	create(gateway, &task);
	before = get(gateway, "plants", &memory);
	clock_now += 86400000 * (int64_t)3;
	assert_int_equal(create(gateway, &task), KEEP_PUT_DUPLICATE);
	for (int i = 0; i < 10; i++) {
		other = task;
		if (i == 0)
			other.owner = KEEP_BYTES("world");
		if (i == 1)
			other.chat_jid = KEEP_BYTES("telegram:43");
		if (i == 2)
			other.prompt = KEEP_BYTES("water the plant");
		if (i == 3)
			other.cron = KEEP_BYTES("1 9 * * *");
		if (i == 4)
			other.timezone = KEEP_BYTES("Europe/Brussels");
		if (i == 5)
			other.context_mode = KEEP_BYTES("isolated");
		if (i == 6)
			other.missed_policy = KEEP_BYTES("skip");
		if (i == 7)
			other.dialect = KEEP_BYTES("robfig");
		if (i == 8)
			other.grace_ms = 1;
		if (i == 9)
			other.run_all_max = 11;
		assert_int_equal(keep_gateway_create_task(gateway, &other, &put, NULL, &err),
				 KEEP_CONFLICT);
		assert_int_equal(put, KEEP_PUT_CONFLICT);
	}
	after = get(gateway, "plants", &memory);
	assert_int_equal(after.next_run, before.next_run);
	assert_bytes_equal(after.prompt, before.prompt);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void one_time_only_is_the_same_by_its_time_after_it_has_fired(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_scheduled_task task = daily("once");
	keep_task_run_list fired;
	keep_error err = KEEP_ERROR_INIT;
	keep_put put;

	(void)state;
	clock_now = ms("2026-04-11T12:00:00Z");
	task.cron = (keep_bytes){0};
	task.next_run = clock_now + 1000;
	task.has_next_run = true;
	create(gateway, &task);
	OK(keep_gateway_fire_due_tasks(gateway, clock_now + 1000, 0, &memory, &fired, NULL, &err));
	assert_int_equal(fired.count, 1);
	assert_int_equal(create(gateway, &task), KEEP_PUT_DUPLICATE);
	task.next_run++;
	assert_int_equal(keep_gateway_create_task(gateway, &task, &put, NULL, &err), KEEP_CONFLICT);
	task.has_next_run = false;
	assert_int_equal(create(gateway, &task), KEEP_PUT_DUPLICATE);
	assert_bytes_equal(get(gateway, "once", &memory).status, KEEP_BYTES("completed"));
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void a_task_without_an_id_gets_one_and_tells_it(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_scheduled_task task = daily("x");
	keep_error err = KEEP_ERROR_INIT;
	char first[37] = "", second[37] = "";

	(void)state;
	task.id = (keep_bytes){0};
	OK(keep_gateway_create_task(gateway, &task, NULL, first, &err));
	OK(keep_gateway_create_task(gateway, &task, NULL, second, &err));
	OK(keep_gateway_create_task(gateway, &task, NULL, NULL, &err));
	assert_int_equal(strlen(first), 36);
	assert_string_not_equal(first, second);
	assert_bytes_equal(get(gateway, second, &memory).owner, task.owner);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

/* ---------------------------------------------------------------- read */

static void tasks_are_listed_by_owner_and_status_newest_first(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_scheduled_task_list list;
	keep_error err = KEEP_ERROR_INIT;
	keep_bytes none = {0};

	(void)state;
	for (int i = 0; i < 6; i++) {
		char id[8];
		keep_scheduled_task task;

		snprintf(id, sizeof id, "t%d", i);
		task = daily(id);
		task.owner = i % 2 ? KEEP_BYTES("odd") : KEEP_BYTES("even");
		clock_now += i < 4; /* the last two are of one millisecond */
		create(gateway, &task);
	}
	OK(keep_gateway_pause_task(gateway, KEEP_BYTES("t3"), &err));
	OK(keep_gateway_list_tasks(gateway, none, none, 0, &memory, &list, &err));
	assert_int_equal(list.count, 6);
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(list.items[i].id.data[1], '5' - (int)i);
	OK(keep_gateway_list_tasks(gateway, KEEP_BYTES("odd"), none, 2, &memory, &list, &err));
	assert_int_equal(list.count, 2);
	assert_bytes_equal(list.items[0].id, KEEP_BYTES("t5"));
	assert_bytes_equal(list.items[1].id, KEEP_BYTES("t3"));
	OK(keep_gateway_list_tasks(gateway, none, KEEP_BYTES("paused"), 0, &memory, &list, &err));
	assert_int_equal(list.count, 1);
	assert_bytes_equal(list.items[0].id, KEEP_BYTES("t3"));
	OK(keep_gateway_list_tasks(gateway, KEEP_BYTES("odd"), KEEP_BYTES("active"), 0, &memory,
				   &list, &err));
	assert_int_equal(list.count, 2);
	OK(keep_gateway_list_tasks(gateway, KEEP_BYTES("nobody"), none, 0, &memory, &list, &err));
	assert_int_equal(list.count, 0);
	assert_int_equal(
		keep_gateway_list_tasks(gateway, none, KEEP_BYTES("dead"), 0, &memory, &list, &err),
		KEEP_INVALID);
	assert_int_equal(keep_gateway_list_tasks(gateway, none, none, 1001, &memory, &list, &err),
			 KEEP_INVALID);
	assert_int_equal(
		keep_gateway_list_tasks(gateway, KEEP_BYTES("/"), none, 0, &memory, &list, &err),
		KEEP_INVALID);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void a_task_that_is_not_there_is_not_found(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_scheduled_task task;
	keep_error err = KEEP_ERROR_INIT;
	keep_bytes id = KEEP_BYTES("nobody");

	(void)state;
	assert_int_equal(keep_gateway_get_task(gateway, id, &memory, &task, &err), KEEP_NOT_FOUND);
	assert_non_null(strstr(err.message, "nobody"));
	assert_int_equal(keep_gateway_pause_task(gateway, id, &err), KEEP_NOT_FOUND);
	assert_int_equal(keep_gateway_resume_task(gateway, id, KEEP_NOW, &err), KEEP_NOT_FOUND);
	assert_int_equal(keep_gateway_cancel_task(gateway, id, &err), KEEP_NOT_FOUND);
	assert_int_equal(keep_gateway_run_task_now(gateway, id, KEEP_NOW, &memory, NULL, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(keep_gateway_cancel_task(gateway, KEEP_BYTES(""), &err), KEEP_INVALID);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

/* ---------------------------------------------------------------- states */

static const char *const states[] = {"active",    "paused",    "firing",
				     "completed", "cancelled", "failed"};

/* The drawing of keep/gateway.h: where each step leads from each state; NULL: CONFLICT. */
static const char *const drawing[3][6] = {
	{"paused", NULL, "paused", NULL, NULL, NULL},
	{NULL, "active", NULL, NULL, NULL, "active"},
	{"cancelled", "cancelled", "cancelled", NULL, NULL, "cancelled"},
};

static keep_status take_step(keep_gateway *gateway, int step, keep_bytes id, keep_error *err)
{
	if (step == 0)
		return keep_gateway_pause_task(gateway, id, err);
	if (step == 1)
		return keep_gateway_resume_task(gateway, id, clock_now, err);
	return keep_gateway_cancel_task(gateway, id, err);
}

/* Everything of a task's row that a step could change. */
static void read_row(const char *id, char out[200])
{
	char sql[300];

	snprintf(sql, sizeof sql,
		 "SELECT status || ' ' || coalesce(CAST(next_run AS text), '-') || attempts || "
		 "coalesce(last_error, '-') || coalesce(CAST(retry_of AS text), '-') "
		 "FROM scheduled_tasks WHERE id = '%s'",
		 id);
	snprintf(out, 200, "%s", gateway_sql(sql));
}

static void each_step_leads_where_the_drawing_says_and_nothing_else_changes(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;

	(void)state;
	clock_now = ms("2026-04-11T12:00:00Z");
	for (int step = 0; step < 3; step++) {
		for (int from = 0; from < 6; from++) {
			char id[16], sql[200], before[200], after[200];
			keep_scheduled_task task;
			keep_error err = KEEP_ERROR_INIT;
			keep_status status;

			snprintf(id, sizeof id, "t%d%d", step, from);
			task = daily(id);
			create(gateway, &task);
			snprintf(sql, sizeof sql,
				 "UPDATE scheduled_tasks SET status = '%s', attempts = 3, "
				 "last_error = 'why' WHERE id = '%s'",
				 states[from], id);
			gateway_sql(sql);
			read_row(id, before);
			status = take_step(gateway, step, keep_bytes_of(id), &err);
			read_row(id, after);
			if (drawing[step][from]) {
				CHECK(status == KEEP_OK, "%d %s: %s", step, states[from],
				      err.message);
				CHECK(strncmp(after, drawing[step][from],
					      strlen(drawing[step][from])) == 0,
				      "%d %s: %s", step, states[from], after);
			} else {
				CHECK(status == KEEP_CONFLICT, "%d %s: %s", step, states[from],
				      keep_status_name(status));
				assert_string_equal(before, after);
				assert_non_null(strstr(err.message, id));
			}
		}
	}
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void resume_computes_the_next_time_from_now(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_scheduled_task task = daily("plants");
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	clock_now = ms("2026-04-11T12:00:00Z");
	create(gateway, &task);
	OK(keep_gateway_pause_task(gateway, KEEP_BYTES("plants"), &err));
	assert_int_equal(get(gateway, "plants", &memory).next_run, ms("2026-04-12T09:00:00Z"));
	OK(keep_gateway_resume_task(gateway, KEEP_BYTES("plants"), ms("2026-06-01T10:00:00Z"),
				    &err));
	assert_int_equal(get(gateway, "plants", &memory).next_run, ms("2026-06-02T09:00:00Z"));
	assert_bytes_equal(get(gateway, "plants", &memory).status, KEEP_BYTES("active"));
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void resume_keeps_a_single_time_that_is_ahead_and_fires_one_that_is_past(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_scheduled_task task = daily("once");
	keep_error err = KEEP_ERROR_INIT;
	int64_t at;

	(void)state;
	clock_now = ms("2026-04-11T12:00:00Z");
	at = clock_now + 60000;
	task.cron = (keep_bytes){0};
	task.next_run = at;
	task.has_next_run = true;
	create(gateway, &task);
	OK(keep_gateway_pause_task(gateway, task.id, &err));
	OK(keep_gateway_resume_task(gateway, task.id, at - 1, &err));
	assert_int_equal(get(gateway, "once", &memory).next_run, at);
	OK(keep_gateway_pause_task(gateway, task.id, &err));
	OK(keep_gateway_resume_task(gateway, task.id, at + 500, &err));
	assert_int_equal(get(gateway, "once", &memory).next_run, at + 500);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void a_task_that_cannot_be_read_is_not_resumed(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_scheduled_task task = daily("plants");
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	create(gateway, &task);
	gateway_sql("UPDATE scheduled_tasks SET status = 'failed', next_run = NULL, cron = 'soon'");
	assert_int_equal(keep_gateway_resume_task(gateway, task.id, KEEP_NOW, &err), KEEP_INVALID);
	assert_int_equal(strncmp(err.message, "cron", 4), 0);
	assert_bytes_equal(get(gateway, "plants", &memory).status, KEEP_BYTES("failed"));
	gateway_sql("UPDATE scheduled_tasks SET cron = '0 9 * * *', attempts = 5");
	OK(keep_gateway_resume_task(gateway, task.id, KEEP_NOW, &err));
	assert_int_equal(get(gateway, "plants", &memory).attempts, 0);
	assert_true(get(gateway, "plants", &memory).next_run > clock_now);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void a_cancelled_task_keeps_its_row_and_its_log_and_is_never_due(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_scheduled_task task = daily("plants");
	keep_task_run_list runs;
	keep_error err = KEEP_ERROR_INIT;
	int64_t next = -1;

	(void)state;
	clock_now = ms("2026-04-11T12:00:00Z");
	create(gateway, &task);
	OK(keep_gateway_run_task_now(gateway, task.id, clock_now, &memory, NULL, &err));
	OK(keep_gateway_cancel_task(gateway, task.id, &err));
	assert_false(get(gateway, "plants", &memory).has_next_run);
	OK(keep_gateway_task_runs(gateway, task.id, 0, 0, &memory, &runs, &err));
	assert_int_equal(runs.count, 1);
	OK(keep_gateway_fire_due_tasks(gateway, clock_now + 86400000 * (int64_t)30, 0, &memory,
				       &runs, &next, &err));
	assert_int_equal(runs.count, 0);
	assert_int_equal(next, 0);
	assert_int_equal(
		keep_gateway_run_task_now(gateway, task.id, clock_now, &memory, NULL, &err),
		KEEP_CONFLICT);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

static void a_reader_reads_and_changes_nothing(void **state)
{
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_gateway *gateway = gateway_fresh(), *reader = NULL;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_scheduled_task task = daily("plants");
	keep_scheduled_task_list list;
	keep_task_run_list runs;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	create(gateway, &task);
	options.read_only = true;
	OK(gateway_open_with(&options, &reader, &err));
	OK(keep_gateway_list_tasks(reader, task.owner, (keep_bytes){0}, 0, &memory, &list, &err));
	assert_int_equal(list.count, 1);
	assert_int_equal(keep_gateway_create_task(reader, &task, NULL, NULL, &err), KEEP_DENIED);
	assert_int_equal(keep_gateway_pause_task(reader, task.id, &err), KEEP_DENIED);
	assert_int_equal(keep_gateway_cancel_task(reader, task.id, &err), KEEP_DENIED);
	assert_int_equal(keep_gateway_run_task_now(reader, task.id, KEEP_NOW, &memory, NULL, &err),
			 KEEP_DENIED);
	assert_int_equal(
		keep_gateway_fire_due_tasks(reader, KEEP_NOW, 0, &memory, &runs, NULL, &err),
		KEEP_DENIED);
	keep_memory_release(&memory);
	keep_gateway_close(&reader);
	keep_gateway_close(&gateway);
	keep_zone_forget();
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_task_is_stored_with_its_defaults_and_its_next_time),
		cmocka_unit_test(the_zone_and_the_dialect_decide_the_next_time),
		cmocka_unit_test(one_time_only_is_due_when_it_says_or_now),
		cmocka_unit_test(a_number_is_an_interval_from_its_anchor),
		cmocka_unit_test(what_cannot_be_fired_is_refused_and_named),
		cmocka_unit_test(
			a_create_that_is_repeated_is_a_duplicate_and_another_one_a_conflict),
		cmocka_unit_test(one_time_only_is_the_same_by_its_time_after_it_has_fired),
		cmocka_unit_test(a_task_without_an_id_gets_one_and_tells_it),
		cmocka_unit_test(tasks_are_listed_by_owner_and_status_newest_first),
		cmocka_unit_test(a_task_that_is_not_there_is_not_found),
		cmocka_unit_test(each_step_leads_where_the_drawing_says_and_nothing_else_changes),
		cmocka_unit_test(resume_computes_the_next_time_from_now),
		cmocka_unit_test(
			resume_keeps_a_single_time_that_is_ahead_and_fires_one_that_is_past),
		cmocka_unit_test(a_task_that_cannot_be_read_is_not_resumed),
		cmocka_unit_test(a_cancelled_task_keeps_its_row_and_its_log_and_is_never_due),
		cmocka_unit_test(a_reader_reads_and_changes_nothing),
	};
	int failed;

	clock_now = ms("2026-04-11T12:00:00Z");
	kp_clock_inject(read_clock, NULL);
	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}

/*
 * test_mailbox_series.c - contracts/mailbox.md: exactly one live occurrence per series; the next is
 * made and the old marked in one commit; cancel, pause, resume and update by series.
 *
 *     test_mailbox_series sqlite|postgres
 */
#include "mailbox_steps.h"

#include <pthread.h>

static keep_mailbox *mailbox;
static char session[KEEP_SEGMENT_MAX + 1];

static int begin_test(void **state)
{
	(void)state;
	hold_clock("2026-04-11T08:00:00Z");
	mailbox = mailbox_fresh();
	mailbox_session(mailbox, NULL, session);
	return 0;
}

static int end_test(void **state)
{
	(void)state;
	keep_mailbox_close(&mailbox);
	kp_clock_inject(NULL, NULL);
	keep_zone_forget();
	assert_nothing_lives();
	return 0;
}

static keep_status post_task(const char *id, const char *cron, const char *zone, const char *missed,
			     const char *when, keep_error *err)
{
	keep_post_result result;
	keep_post post = {.id = keep_bytes_of(id),
			  .kind = KEEP_BYTES("task"),
			  .content = KEEP_BYTES("{\"prompt\":\"p\",\"script\":null}"),
			  .process_after = when ? at(when) : 0};

	if (cron)
		post.recurrence = keep_bytes_of(cron);
	if (zone)
		post.time_zone = keep_bytes_of(zone);
	if (missed)
		post.missed = keep_bytes_of(missed);
	return keep_mailbox_post(mailbox, keep_bytes_of(session), &post, &result, err);
}

static void put_task(const char *id, const char *cron, const char *zone, const char *missed,
		     const char *when)
{
	keep_error err = KEEP_ERROR_INIT;

	OK(post_task(id, cron, zone, missed, when, &err));
}

/* The live occurrence: "<id> <status> <scheduled_at>", "" when there is none, "2" for two. */
static const char *live(const char *series)
{
	static char text[300];
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_inbound_message_list list;
	keep_error err = KEEP_ERROR_INIT;
	char time[KEEP_TIME_TEXT_SIZE] = "-";
	size_t found = 0;

	text[0] = '\0';
	OK(keep_mailbox_list_series(mailbox, keep_bytes_of(session), 0, &memory, &list, &err));
	for (size_t i = 0; i < list.count; i++) {
		keep_inbound_message *row = &list.items[i];

		if (!kp_bytes_equal(row->series_id, keep_bytes_of(series)))
			continue;
		found++;
		if (row->has_scheduled_at)
			OK(keep_time_format(row->scheduled_at, time, &err));
		time[16] = '\0';
		snprintf(text, sizeof text, "%.*s %.*s %s", (int)row->id.len, row->id.data,
			 (int)row->status.len, row->status.data, time);
	}
	keep_memory_release(&memory);
	assert_true(found <= 1);
	return text;
}

static void a_recurrence_without_a_time_is_due_at_its_next_one(void **state)
{
	(void)state;
	put_task("daily", "0 9 * * *", "Europe/Brussels", NULL, NULL);
	assert_string_equal(live("daily"), "daily pending 2026-04-12T07:00");
	assert_int_equal(count_inbound(session, "messages_in WHERE process_after IS NOT NULL"), 1);
}

static void a_recurrence_alone_makes_a_task_of_a_message(void **state)
{
	keep_post_result result;
	keep_error err = KEEP_ERROR_INIT;
	keep_post post = {.id = KEEP_BYTES("r"),
			  .content = KEEP_BYTES("{}"),
			  .recurrence = KEEP_BYTES("@daily")};

	(void)state;
	OK(keep_mailbox_post(mailbox, keep_bytes_of(session), &post, &result, &err));
	assert_string_equal(ask_inbound(session, "kind", "messages_in WHERE id = 'r'"), "task");
}

static void the_next_occurrence_is_counted_from_the_time_of_the_old_one(void **state)
{
	(void)state;
	put_task("d", "0 9 * * *", NULL, NULL, NULL);
	(void)mailbox_sql(session, "inbound.db", /* as a retry does */
			  "UPDATE messages_in SET tries = 3, process_after = "
			  "'2026-04-11T09:12:00.000Z' WHERE id = 'd'");
	assert_true(end_message(mailbox, session, "d", "completed", "2026-04-11T09:30:00Z"));
	assert_string_equal(live("d"), "d.20260412T090000Z pending 2026-04-12T09:00");
	assert_string_equal(ask_inbound(session, "tries", "messages_in WHERE status = 'pending'"),
			    "0");
	assert_true(end_message(mailbox, session, "d.20260412T090000Z", "completed",
				"2026-04-12T09:00:30Z"));
	assert_string_equal(live("d"), "d.20260413T090000Z pending 2026-04-13T09:00");
}

static void what_is_over_has_no_recurrence_that_another_program_would_go_on_with(void **state)
{
	(void)state;
	put_task("a", "0 9 * * *", NULL, NULL, NULL);
	put_task("b", "0 9 * * *", NULL, NULL, NULL);
	put_task("c", "0 9 * * *", NULL, NULL, NULL);
	assert_true(end_message(mailbox, session, "a", "completed", "2026-04-11T09:00:00Z"));
	assert_true(end_message(mailbox, session, "b", "failed", "2026-04-11T09:00:00Z"));
	assert_true(end_message(mailbox, session, "c", "cancelled", "2026-04-11T09:00:00Z"));
	assert_int_equal(count_inbound(session, "messages_in WHERE recurrence IS NOT NULL AND "
						"status NOT IN ('pending', 'paused')"),
			 0);
	assert_int_equal(count_inbound(session, "messages_in WHERE recurrence IS NOT NULL"), 2);
}

static void a_failed_run_does_not_end_a_series_and_a_cancelled_one_does(void **state)
{
	(void)state;
	put_task("f", "0 9 * * *", NULL, NULL, NULL);
	put_task("c", "0 9 * * *", NULL, NULL, NULL);
	assert_true(end_message(mailbox, session, "f", "failed", "2026-04-11T09:30:00Z"));
	assert_string_equal(live("f"), "f.20260412T090000Z pending 2026-04-12T09:00");
	assert_string_equal(ask_inbound(session, "last_error", "messages_in WHERE id = 'f'"),
			    "why");
	assert_true(end_message(mailbox, session, "c", "cancelled", "2026-04-11T09:30:00Z"));
	assert_string_equal(live("c"), "");
	assert_int_equal(count_inbound(session, "message_steps WHERE step = 'cancelled'"), 1);
	assert_int_equal(count_inbound(session, "message_steps WHERE step = 'failed'"), 1);
}

static void ending_twice_makes_one_next_occurrence(void **state)
{
	(void)state;
	put_task("t", "0 9 * * *", NULL, NULL, NULL);
	assert_true(end_message(mailbox, session, "t", "completed", "2026-04-11T09:30:00Z"));
	assert_false(end_message(mailbox, session, "t", "completed", "2026-04-14T09:30:00Z"));
	assert_false(end_message(mailbox, session, "t", "failed", "2026-04-14T09:30:00Z"));
	assert_string_equal(live("t"), "t.20260412T090000Z pending 2026-04-12T09:00");
	assert_int_equal(count_inbound(session, "messages_in"), 2);
}

static void a_late_completion_of_a_failed_one_is_kept_and_forks_nothing(void **state)
{
	(void)state;
	put_task("t", "0 9 * * *", NULL, NULL, NULL);
	assert_true(end_message(mailbox, session, "t", "failed", "2026-04-11T09:30:00Z"));
	assert_true(end_message(mailbox, session, "t", "completed", "2026-04-11T09:40:00Z"));
	assert_string_equal(ask_inbound(session, "status", "messages_in WHERE id = 't'"),
			    "completed");
	assert_int_equal(count_inbound(session, "message_steps WHERE step = 'completed'"), 1);
	assert_int_equal(count_inbound(session, "messages_in"), 2);
	assert_true(end_message(mailbox, session, "t.20260412T090000Z", "cancelled",
				"2026-04-11T10:00:00Z"));
	assert_false(end_message(mailbox, session, "t.20260412T090000Z", "completed",
				 "2026-04-11T10:00:00Z"));
}

static void missed_times_are_made_up_as_the_policy_says(void **state)
{
	(void)state;
	put_task("once", "0 9 * * *", NULL, NULL, NULL);
	put_task("skip", "0 9 * * *", NULL, "skip", NULL);
	put_task("all", "0 9 * * *", NULL, "run_all", NULL);
	for (const char *const *id = (const char *const[]){"once", "skip", "all", NULL}; *id; id++)
		assert_true(
			end_message(mailbox, session, *id, "completed", "2026-04-15T12:00:00Z"));
	assert_string_equal(live("once"), "once.20260415T090000Z pending 2026-04-15T09:00");
	assert_string_equal(live("skip"), "skip.20260416T090000Z pending 2026-04-16T09:00");
	assert_string_equal(live("all"), "all.20260412T090000Z pending 2026-04-12T09:00");
	assert_int_equal(count_inbound(session, "message_steps WHERE step = 'skipped'"), 2);
	/* run_all goes on, one after the other; run_once has caught up */
	assert_true(end_message(mailbox, session, "all.20260412T090000Z", "completed",
				"2026-04-15T12:00:01Z"));
	assert_string_equal(live("all"), "all.20260413T090000Z pending 2026-04-13T09:00");
	assert_true(end_message(mailbox, session, "once.20260415T090000Z", "completed",
				"2026-04-15T12:00:01Z"));
	assert_string_equal(live("once"), "once.20260416T090000Z pending 2026-04-16T09:00");
}

static void the_zone_of_a_series_decides_its_times_over_a_change_of_clocks(void **state)
{
	(void)state;
	hold_clock("2026-03-27T12:00:00Z");
	put_task("z", "30 2 * * *", "Europe/Brussels", NULL, NULL);
	assert_string_equal(live("z"), "z pending 2026-03-28T01:30");
	assert_true(end_message(mailbox, session, "z", "completed", "2026-03-28T01:31:00Z"));
	/* 02:30 does not exist on the 29th: once, after the gap */
	assert_string_equal(live("z"), "z.20260329T010000Z pending 2026-03-29T01:00");
	assert_true(end_message(mailbox, session, "z.20260329T010000Z", "completed",
				"2026-03-29T01:01:00Z"));
	assert_string_equal(live("z"), "z.20260330T003000Z pending 2026-03-30T00:30");
}

static void a_time_that_the_series_had_before_gets_another_id(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_series_change change = {.process_after = at("2026-04-11T09:00:00Z")};

	(void)state;
	put_task("t", "0 9 * * *", NULL, NULL, NULL);
	assert_true(end_message(mailbox, session, "t", "completed", "2026-04-11T09:30:00Z"));
	assert_true(end_message(mailbox, session, "t.20260412T090000Z", "completed",
				"2026-04-12T09:30:00Z"));
	OK(keep_mailbox_update(mailbox, keep_bytes_of(session), KEEP_BYTES("t"), &change,
			       at("2026-04-11T08:00:00Z"), &err));
	assert_true(end_message(mailbox, session, "t.20260413T090000Z", "completed",
				"2026-04-11T09:30:00Z"));
	assert_string_equal(live("t"), "t.20260412T090000Z.6 pending 2026-04-12T09:00");
}

static void a_series_whose_zone_is_gone_is_paused_with_the_reason_and_can_be_mended(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_series_change change = {.time_zone = KEEP_BYTES("UTC")};

	(void)state;
	put_task("t", "0 9 * * *", NULL, NULL, NULL);
	(void)mailbox_sql(session, "inbound.db", "UPDATE messages_in SET time_zone = 'No/Where'");
	assert_true(end_message(mailbox, session, "t", "completed", "2026-04-11T09:30:00Z"));
	assert_non_null(strstr(live("t"), " paused "));
	assert_non_null(strstr(ask_inbound(session, "last_error",
					   "messages_in WHERE status = "
					   "'paused'"),
			       "time_zone"));
	assert_int_equal(keep_mailbox_resume(mailbox, keep_bytes_of(session), KEEP_BYTES("t"),
					     at("2026-04-11T10:00:00Z"), &err),
			 KEEP_INVALID);
	OK(keep_mailbox_update(mailbox, keep_bytes_of(session), KEEP_BYTES("t"), &change,
			       at("2026-04-11T10:00:00Z"), &err));
	OK(keep_mailbox_resume(mailbox, keep_bytes_of(session), KEEP_BYTES("t"),
			       at("2026-04-11T10:00:00Z"), &err));
	assert_non_null(strstr(live("t"), " pending 2026-04-12T09:00"));
}

static void a_series_whose_times_are_over_ends_and_its_trace_says_so(void **state)
{
	(void)state;
	put_task("t", "0 0 1 1 *", NULL, NULL, "9999-06-01T00:00:00Z");
	assert_true(end_message(mailbox, session, "t", "completed", "9999-06-01T00:00:01Z"));
	assert_string_equal(live("t"), "");
	assert_int_equal(count_inbound(session, "message_steps WHERE step = 'series_over'"), 1);
}

static void a_row_of_the_sources_recurs_by_its_own_id(void **state)
{
	char sql[400];

	(void)state;
	snprintf(sql, sizeof sql,
		 "INSERT INTO messages_in (%sid, seq, kind, timestamp, status, process_after, "
		 "recurrence, content) VALUES (%s%s%s'task-1-abc', 40, 'task', "
		 "'2026-04-11T07:00:00.000Z', 'pending', '2026-04-11T09:00:00.000Z', '0 9 * * *', "
		 "'{\"prompt\":\"p\"}')",
		 mailbox_is_file() ? "" : "session_id, ", mailbox_is_file() ? "" : "'",
		 mailbox_is_file() ? "" : session, mailbox_is_file() ? "" : "', ");
	(void)mailbox_sql(session, "inbound.db", sql);
	assert_true(
		end_message(mailbox, session, "task-1-abc", "completed", "2026-04-11T09:00:10Z"));
	assert_string_equal(live("task-1-abc"),
			    "task-1-abc.20260412T090000Z pending 2026-04-12T09:00");
}

static void names_that_are_too_long_for_an_id_are_told_apart(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_post_result result;
	char name[2][300];

	(void)state;
	for (int i = 0; i < 2; i++) {
		keep_post post = {.kind = KEEP_BYTES("task"),
				  .content = KEEP_BYTES("{}"),
				  .recurrence = KEEP_BYTES("0 9 * * *")};

		memset(name[i], 'x', 299);
		name[i][298] = (char)('a' + i);
		name[i][299] = '\0';
		name[i][3] = '/';
		post.series_id = keep_bytes_of(name[i]);
		OK(keep_mailbox_post(mailbox, keep_bytes_of(session), &post, &result, &err));
		assert_true(end_message(mailbox, session, result.id, "completed",
					"2026-04-11T09:00:10Z"));
	}
	assert_non_null(strstr(live(name[0]), " pending 2026-04-12T09:00"));
	assert_non_null(strstr(live(name[1]), " pending 2026-04-12T09:00"));
}

/* ---------------------------------------------------------------- posting */

static void a_series_has_one_live_occurrence_and_a_repeated_post_is_a_duplicate(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_post_result result;
	keep_post post = {.kind = KEEP_BYTES("task"),
			  .content = KEEP_BYTES("{}"),
			  .series_id = KEEP_BYTES("t"),
			  .recurrence = KEEP_BYTES("@daily")};

	(void)state;
	put_task("t", "0 9 * * *", NULL, NULL, NULL);
	OK(post_task("t", "0 9 * * *", NULL, NULL, NULL, &err));
	assert_int_equal(keep_mailbox_post(mailbox, keep_bytes_of(session), &post, &result, &err),
			 KEEP_CONFLICT);
	assert_non_null(strstr(err.message, "series_id"));
	assert_int_equal(count_inbound(session, "messages_in"), 1);
	OK(keep_mailbox_cancel(mailbox, keep_bytes_of(session), KEEP_BYTES("t"), &err));
	OK(keep_mailbox_post(mailbox, keep_bytes_of(session), &post, &result, &err));
}

static void bad_recurrences_are_refused_and_the_message_names_what_is_wrong(void **state)
{
	static const struct {
		keep_post post;
		const char *word;
	} bad[] = {
		{{.recurrence = {"61 * * * *", 10}}, "recurrence"},
		{{.recurrence = {"0 9 30 2 *", 10}}, "recurrence"},
		{{.recurrence = {"nonsense", 8}}, "recurrence"},
		{{.recurrence = {"0 9 * * *\0", 10}}, "recurrence"},
		{{.recurrence = {"0 9 * * *", 9}, .time_zone = {"No/Where", 8}}, "time_zone"},
		{{.recurrence = {"0 9 * * *", 9}, .time_zone = {"../etc/passwd", 13}}, "time_zone"},
		{{.recurrence = {"0 9 * * *", 9}, .missed = {"maybe", 5}}, "missed"},
		{{.recurrence = {"0 9 * * *", 9}, .kind = {"chat", 4}}, "recurrence"},
		{{.series_id = {"s", 1}, .kind = {"chat", 4}}, "series_id"},
		{{.series_id = {"s\n", 2}, .kind = {"task", 4}}, "series_id"},
		{{.process_after = INT64_MAX, .kind = {"task", 4}}, "process_after"},
	};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(bad); i++) {
		keep_error err = KEEP_ERROR_INIT;
		keep_post_result result;
		keep_post post = bad[i].post;

		post.content = KEEP_BYTES("{}");
		CHECK(keep_mailbox_post(mailbox, keep_bytes_of(session), &post, &result, &err) ==
			      KEEP_INVALID,
		      "number %zu", i);
		CHECK(strstr(err.message, bad[i].word), "number %zu: %s", i, err.message);
	}
	assert_int_equal(count_inbound(session, "messages_in"), 0);
}

/* ---------------------------------------------------------------- calls */

static void pause_resume_and_cancel_change_the_live_occurrence(void **state)
{
	keep_bytes id = keep_bytes_of(session), series = KEEP_BYTES("t");
	int64_t now_ms = at("2026-04-11T08:30:00Z");
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	put_task("t", "0 9 * * *", NULL, NULL, NULL);
	assert_int_equal(keep_mailbox_resume(mailbox, id, series, now_ms, &err), KEEP_CONFLICT);
	OK(keep_mailbox_pause(mailbox, id, series, &err));
	assert_string_equal(live("t"), "t paused 2026-04-11T09:00");
	assert_int_equal(keep_mailbox_pause(mailbox, id, series, &err), KEEP_CONFLICT);
	OK(keep_mailbox_resume(mailbox, id, series, now_ms, &err));
	assert_string_equal(live("t"), "t pending 2026-04-11T09:00");
	OK(keep_mailbox_pause(mailbox, id, series, &err));
	OK(keep_mailbox_cancel(mailbox, id, series, &err));
	assert_string_equal(live("t"), "");
	assert_string_equal(ask_inbound(session, "status", "messages_in WHERE id = 't'"),
			    "cancelled");
	assert_int_equal(count_inbound(session, "message_steps WHERE step = 'paused'"), 2);
	assert_int_equal(count_inbound(session, "message_steps WHERE step = 'resumed'"), 1);
}

static void resuming_counts_what_was_missed_as_the_policy_says(void **state)
{
	keep_bytes id = keep_bytes_of(session);
	int64_t now_ms = at("2026-04-15T12:00:00Z");
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	put_task("once", "0 9 * * *", NULL, NULL, NULL);
	put_task("skip", "0 9 * * *", NULL, "skip", NULL);
	put_task("all", "0 9 * * *", NULL, "run_all", NULL);
	put_task("single", NULL, NULL, NULL, "2026-04-11T09:00:00Z");
	for (const char *const *name = (const char *const[]){"once", "skip", "all", "single", NULL};
	     *name; name++) {
		OK(keep_mailbox_pause(mailbox, id, keep_bytes_of(*name), &err));
		OK(keep_mailbox_resume(mailbox, id, keep_bytes_of(*name), now_ms, &err));
	}
	assert_string_equal(live("once"), "once pending 2026-04-15T09:00");
	assert_string_equal(live("skip"), "skip pending 2026-04-16T09:00");
	assert_string_equal(live("all"), "all pending 2026-04-11T09:00");
	assert_string_equal(live("single"), "single pending 2026-04-11T09:00");
}

static void what_ends_while_it_is_paused_has_a_paused_next_one(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	put_task("t", "0 9 * * *", NULL, NULL, NULL);
	OK(keep_mailbox_pause(mailbox, keep_bytes_of(session), KEEP_BYTES("t"), &err));
	assert_true(end_message(mailbox, session, "t", "completed", "2026-04-11T09:00:10Z"));
	assert_string_equal(live("t"), "t.20260412T090000Z paused 2026-04-12T09:00");
}

static void an_update_changes_the_content_and_recomputes_the_next_time(void **state)
{
	keep_bytes id = keep_bytes_of(session), series = KEEP_BYTES("t");
	int64_t now_ms = at("2026-04-11T08:30:00Z");
	keep_error err = KEEP_ERROR_INIT;
	keep_series_change change = {.content = KEEP_BYTES("{\"prompt\":\"q\"}")};

	(void)state;
	put_task("t", "0 9 * * *", NULL, NULL, NULL);
	OK(keep_mailbox_update(mailbox, id, series, &change, now_ms, &err));
	assert_string_equal(live("t"), "t pending 2026-04-11T09:00");
	assert_string_equal(ask_inbound(session, "content", "messages_in WHERE id = 't'"),
			    "{\"prompt\":\"q\"}");
	change = (keep_series_change){.recurrence = KEEP_BYTES("0 12 * * *")};
	OK(keep_mailbox_update(mailbox, id, series, &change, now_ms, &err));
	assert_string_equal(live("t"), "t pending 2026-04-11T12:00");
	change = (keep_series_change){.time_zone = KEEP_BYTES("America/New_York")};
	OK(keep_mailbox_update(mailbox, id, series, &change, now_ms, &err));
	assert_string_equal(live("t"), "t pending 2026-04-11T16:00");
	change = (keep_series_change){.process_after = at("2026-04-11T10:00:00Z")};
	OK(keep_mailbox_update(mailbox, id, series, &change, now_ms, &err));
	assert_string_equal(live("t"), "t pending 2026-04-11T10:00");
	change = (keep_series_change){.recurrence = KEEP_BYTES("")};
	OK(keep_mailbox_update(mailbox, id, series, &change, now_ms, &err));
	assert_string_equal(live("t"), "t pending 2026-04-11T10:00");
	assert_true(end_message(mailbox, session, "t", "completed", "2026-04-11T10:00:10Z"));
	assert_string_equal(live("t"), "");
}

static void bad_updates_change_nothing(void **state)
{
	keep_bytes id = keep_bytes_of(session), series = KEEP_BYTES("t");
	keep_series_change bad[] = {
		{.content = KEEP_BYTES("{")},
		{.recurrence = KEEP_BYTES("0 9 30 2 *")},
		{.time_zone = KEEP_BYTES("No/Where")},
		{.process_after = INT64_MAX},
	};
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	put_task("t", "0 9 * * *", NULL, NULL, NULL);
	for (size_t i = 0; i < KP_COUNT(bad); i++)
		assert_int_equal(
			keep_mailbox_update(mailbox, id, series, &bad[i], mailbox_now, &err),
			KEEP_INVALID);
	assert_string_equal(live("t"), "t pending 2026-04-11T09:00");
	assert_int_equal(count_inbound(session, "message_steps"), 0);
}

static void calls_about_what_is_not_there_are_not_found(void **state)
{
	keep_bytes id = keep_bytes_of(session), none = KEEP_BYTES("none");
	keep_series_change change = {.content = KEEP_BYTES("{}")};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_inbound_message_list list;

	(void)state;
	put_task("t", "0 9 * * *", NULL, NULL, NULL);
	(void)mailbox_post(mailbox, session, "{\"text\":\"no task\"}");
	assert_int_equal(keep_mailbox_cancel(mailbox, id, none, &err), KEEP_NOT_FOUND);
	assert_int_equal(keep_mailbox_pause(mailbox, id, none, &err), KEEP_NOT_FOUND);
	assert_int_equal(keep_mailbox_resume(mailbox, id, none, mailbox_now, &err), KEEP_NOT_FOUND);
	assert_int_equal(keep_mailbox_update(mailbox, id, none, &change, mailbox_now, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(keep_mailbox_cancel(mailbox, none, KEEP_BYTES("t"), &err), KEEP_NOT_FOUND);
	assert_int_equal(keep_mailbox_list_series(mailbox, none, 0, &memory, &list, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(keep_mailbox_cancel(mailbox, id, KEEP_BYTES(""), &err), KEEP_INVALID);
	assert_int_equal(keep_mailbox_list_series(mailbox, id, 5000, &memory, &list, &err),
			 KEEP_INVALID);
	OK(keep_mailbox_cancel(mailbox, id, KEEP_BYTES("t"), &err));
	assert_int_equal(keep_mailbox_cancel(mailbox, id, KEEP_BYTES("t"), &err), KEEP_NOT_FOUND);
	keep_memory_release(&memory);
}

static void an_occurrence_is_also_known_by_its_own_id(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	put_task("t", "0 9 * * *", NULL, NULL, NULL);
	assert_true(end_message(mailbox, session, "t", "completed", "2026-04-11T09:00:10Z"));
	OK(keep_mailbox_cancel(mailbox, keep_bytes_of(session), KEEP_BYTES("t.20260412T090000Z"),
			       &err));
	assert_string_equal(live("t"), "");
}

static void series_are_listed_by_next_time_without_their_history(void **state)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_inbound_message_list list;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	put_task("late", "0 23 * * *", NULL, NULL, NULL);
	put_task("soon", "0 9 * * *", NULL, NULL, NULL);
	put_task("single", NULL, NULL, NULL, "2026-04-11T11:00:00Z");
	assert_true(end_message(mailbox, session, "soon", "completed", "2026-04-11T09:00:10Z"));
	OK(keep_mailbox_list_series(mailbox, keep_bytes_of(session), 2, &memory, &list, &err));
	assert_int_equal(list.count, 2);
	assert_bytes_equal(list.items[0].series_id, KEEP_BYTES("single"));
	assert_bytes_equal(list.items[1].series_id, KEEP_BYTES("late"));
	OK(keep_mailbox_list_series(mailbox, keep_bytes_of(session), 0, &memory, &list, &err));
	assert_int_equal(list.count, 3);
	keep_memory_release(&memory);
}

static void a_read_only_mailbox_changes_no_series(void **state)
{
	keep_mailbox_options options = KEEP_MAILBOX_OPTIONS_INIT;
	keep_mailbox *reader = NULL;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	put_task("t", "0 9 * * *", NULL, NULL, NULL);
	options.read_only = true;
	OK(mailbox_open_with(&options, &reader, &err));
	assert_int_equal(keep_mailbox_cancel(reader, keep_bytes_of(session), KEEP_BYTES("t"), &err),
			 KEEP_DENIED);
	keep_mailbox_close(&reader);
}

/* ---------------------------------------------------------------- claims */

/* Claim the due task of the session; the claim's reference. */
static keep_claim_ref claim_task(keep_agent *agent, keep_memory *memory, const char *when)
{
	keep_claim_list claims;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_agent_claim(agent, NULL, at(when), memory, &claims, &err));
	assert_int_equal(claims.count, 1);
	return (keep_claim_ref){claims.items[0].message.id, claims.items[0].attempt};
}

static void cancelling_a_claimed_occurrence_refuses_the_agents_completion(void **state)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_claim_ref ref;
	keep_agent *agent;

	(void)state;
	put_task("t", "0 9 * * *", NULL, NULL, NULL);
	agent = mailbox_agent(mailbox, session);
	ref = claim_task(agent, &memory, "2026-04-11T09:00:00Z");
	OK(keep_mailbox_cancel(mailbox, keep_bytes_of(session), KEEP_BYTES("t"), &err));
	assert_int_equal(keep_agent_complete(agent, &ref, 1, at("2026-04-11T09:00:01Z"), &err),
			 KEEP_CONFLICT);
	assert_string_equal(live("t"), "");
	keep_agent_close(&agent);
	keep_memory_release(&memory);
}

static void a_claimed_occurrence_is_paused_without_breaking_the_claim(void **state)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_claim_ref ref;
	keep_agent *agent;

	(void)state;
	put_task("t", "0 9 * * *", NULL, NULL, NULL);
	agent = mailbox_agent(mailbox, session);
	ref = claim_task(agent, &memory, "2026-04-11T09:00:00Z");
	OK(keep_mailbox_pause(mailbox, keep_bytes_of(session), KEEP_BYTES("t"), &err));
	OK(keep_agent_complete(agent, &ref, 1, at("2026-04-11T09:00:01Z"), &err));
	assert_true(end_message(mailbox, session, "t", "completed", "2026-04-11T09:00:10Z"));
	assert_string_equal(live("t"), "t.20260412T090000Z paused 2026-04-12T09:00");
	keep_agent_close(&agent);
	keep_memory_release(&memory);
}

static void updating_a_claimed_occurrence_is_a_conflict_until_its_lease_is_over(void **state)
{
	keep_series_change change = {.content = KEEP_BYTES("{\"prompt\":\"new\"}")};
	keep_bytes id = keep_bytes_of(session), series = KEEP_BYTES("t");
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_claim_ref ref;
	keep_agent *agent;

	(void)state;
	put_task("t", "0 9 * * *", NULL, NULL, NULL);
	agent = mailbox_agent(mailbox, session);
	ref = claim_task(agent, &memory, "2026-04-11T09:00:00Z");
	assert_int_equal(
		keep_mailbox_update(mailbox, id, series, &change, at("2026-04-11T09:00:30Z"), &err),
		KEEP_CONFLICT);
	OK(keep_mailbox_update(mailbox, id, series, &change, at("2026-04-11T09:02:00Z"), &err));
	/* who has the old content cannot complete it, and it is free at once with the new one */
	assert_int_equal(keep_agent_complete(agent, &ref, 1, at("2026-04-11T09:02:01Z"), &err),
			 KEEP_CONFLICT);
	ref = claim_task(agent, &memory, "2026-04-11T09:02:02Z");
	OK(keep_agent_complete(agent, &ref, 1, at("2026-04-11T09:02:03Z"), &err));
	/* completed and not collected yet: the run is over, and it was the new content's */
	assert_int_equal(
		keep_mailbox_update(mailbox, id, series, &change, at("2026-04-11T09:05:00Z"), &err),
		KEEP_CONFLICT);
	keep_agent_close(&agent);
	keep_memory_release(&memory);
}

/* ---------------------------------------------------------------- threads */

static void *end_in_a_thread(void *arg)
{
	keep_error err = KEEP_ERROR_INIT;
	bool changed = false;
	int *ended = arg;

	if (try_to_end(mailbox, session, "t", "completed", at("2026-04-11T09:00:10Z"), &changed,
		       &err) != KEEP_OK)
		*ended = -1;
	else
		*ended = changed;
	return NULL;
}

static void threads_that_end_one_occurrence_make_one_next(void **state)
{
	enum { THREADS = 8 };
	pthread_t threads[THREADS];
	int ended[THREADS], sum = 0;

	(void)state;
	put_task("t", "0 9 * * *", NULL, NULL, NULL);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, end_in_a_thread, &ended[i]), 0);
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_true(ended[i] >= 0);
		sum += ended[i];
	}
	assert_int_equal(sum, 1);
	assert_string_equal(live("t"), "t.20260412T090000Z pending 2026-04-12T09:00");
	assert_int_equal(count_inbound(session, "messages_in"), 2);
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_test, end_test)
	const struct CMUnitTest tests[] = {
		TEST(a_recurrence_without_a_time_is_due_at_its_next_one),
		TEST(a_recurrence_alone_makes_a_task_of_a_message),
		TEST(the_next_occurrence_is_counted_from_the_time_of_the_old_one),
		TEST(what_is_over_has_no_recurrence_that_another_program_would_go_on_with),
		TEST(a_failed_run_does_not_end_a_series_and_a_cancelled_one_does),
		TEST(ending_twice_makes_one_next_occurrence),
		TEST(a_late_completion_of_a_failed_one_is_kept_and_forks_nothing),
		TEST(missed_times_are_made_up_as_the_policy_says),
		TEST(the_zone_of_a_series_decides_its_times_over_a_change_of_clocks),
		TEST(a_time_that_the_series_had_before_gets_another_id),
		TEST(a_series_whose_zone_is_gone_is_paused_with_the_reason_and_can_be_mended),
		TEST(a_series_whose_times_are_over_ends_and_its_trace_says_so),
		TEST(a_row_of_the_sources_recurs_by_its_own_id),
		TEST(names_that_are_too_long_for_an_id_are_told_apart),
		TEST(a_series_has_one_live_occurrence_and_a_repeated_post_is_a_duplicate),
		TEST(bad_recurrences_are_refused_and_the_message_names_what_is_wrong),
		TEST(pause_resume_and_cancel_change_the_live_occurrence),
		TEST(resuming_counts_what_was_missed_as_the_policy_says),
		TEST(what_ends_while_it_is_paused_has_a_paused_next_one),
		TEST(an_update_changes_the_content_and_recomputes_the_next_time),
		TEST(bad_updates_change_nothing),
		TEST(calls_about_what_is_not_there_are_not_found),
		TEST(an_occurrence_is_also_known_by_its_own_id),
		TEST(series_are_listed_by_next_time_without_their_history),
		TEST(a_read_only_mailbox_changes_no_series),
		TEST(cancelling_a_claimed_occurrence_refuses_the_agents_completion),
		TEST(a_claimed_occurrence_is_paused_without_breaking_the_claim),
		TEST(updating_a_claimed_occurrence_is_a_conflict_until_its_lease_is_over),
		TEST(threads_that_end_one_occurrence_make_one_next),
	};
	int failed;

	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mailbox_end();
	return failed;
}

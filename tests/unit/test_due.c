/*
 * test_due.c - what a tick does about a schedule, when a failure is tried again, who is dead.
 */
#include "keep_test.h"

#include "schedule/due.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOUR_MS INT64_C(3600000)

static int64_t ms(const char *text)
{
	keep_error err = KEEP_ERROR_INIT;
	int64_t time_ms = 0;

	OK(keep_time_parse(keep_bytes_of(text), &time_ms, &err));
	return time_ms;
}

static keep_schedule *hourly(void)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_schedule *schedule = NULL;

	OK(keep_schedule_parse(KEEP_BYTES("0 * * * *"), NULL, &schedule, &err));
	return schedule;
}

static kp_due_plan plan(const kp_due_rules *rules, const char *next_run, const char *now,
			unsigned running, unsigned queued)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_due_plan out;

	OK(kp_due_plan_make(rules, ms(next_run), ms(now), running, queued, &out, &err));
	return out;
}

/* ---------------------------------------------------------------- missed runs */

static const struct {
	kp_missed missed;
	unsigned run_all_max;
	int grace_hours;
	const char *now, *runs; /* hours of 2026-01-01, next_run being 03:00 */
	size_t skipped;
	int next;
} missed[] = {
	{KP_MISSED_RUN_ONCE, 0, 0, "02:59:59.999Z", "", 0, 3},
	{KP_MISSED_RUN_ONCE, 0, 0, "03:00:00Z", "3", 0, 4},
	{KP_MISSED_RUN_ONCE, 0, 0, "03:00:59Z", "3", 0, 4},
	{KP_MISSED_RUN_ONCE, 0, 0, "03:30:00Z", "3!", 0, 4},
	{KP_MISSED_RUN_ONCE, 0, 0, "07:30:00Z", "7!", 4, 8},
	{KP_MISSED_RUN_ONCE, 0, 0, "08:00:00Z", "8", 5, 9},
	{KP_MISSED_RUN_ONCE, 0, 1, "07:30:00Z", "7!", 4, 8},
	{KP_MISSED_SKIP, 0, 0, "03:00:30Z", "3", 0, 4},
	{KP_MISSED_SKIP, 0, 0, "03:30:00Z", "", 1, 4},
	{KP_MISSED_SKIP, 0, 0, "07:30:00Z", "", 5, 8},
	{KP_MISSED_SKIP, 0, 0, "08:00:30Z", "8", 5, 9},
	{KP_MISSED_RUN_ALL, 10, 0, "07:30:00Z", "3! 4! 5! 6! 7!", 0, 8},
	{KP_MISSED_RUN_ALL, 3, 0, "07:30:00Z", "5! 6! 7!", 2, 8},
	{KP_MISSED_RUN_ALL, 3, 0, "08:00:00Z", "6! 7! 8", 3, 9},
	{KP_MISSED_RUN_ALL, 10, 2, "07:30:00Z", "6! 7!", 3, 8},
	{KP_MISSED_RUN_ALL, 1, 0, "03:00:00Z", "3", 0, 4},
};

static void missed_runs_follow_their_policy(void **state)
{
	keep_schedule *schedule = hourly();
	int64_t midnight = ms("2026-01-01T00:00:00Z");

	(void)state;
	for (size_t i = 0; i < KP_COUNT(missed); i++) {
		kp_due_rules rules = {
			.schedule = schedule,
			.missed = missed[i].missed,
			.run_all_max = missed[i].run_all_max,
			.grace_ms = missed[i].grace_hours * HOUR_MS,
			.overlap = KP_OVERLAP_ALLOW,
		};
		char now[40], runs[100] = "";
		kp_due_plan found;

		snprintf(now, sizeof now, "2026-01-01T%s", missed[i].now);
		found = plan(&rules, "2026-01-01T03:00:00Z", now, 0, 0);
		for (size_t r = 0; r < found.count; r++)
			snprintf(runs + strlen(runs), sizeof runs - strlen(runs), "%s%d%s",
				 r > 0 ? " " : "",
				 (int)((found.runs[r].scheduled_ms - midnight) / HOUR_MS),
				 found.runs[r].is_missed ? "!" : "");
		CHECK(strcmp(runs, missed[i].runs) == 0, "row %zu: \"%s\"", i, runs);
		CHECK(found.skipped.count == missed[i].skipped && found.skipped.is_exact,
		      "row %zu: %zu skipped", i, found.skipped.count);
		CHECK(found.has_next && found.next_run_ms == midnight + missed[i].next * HOUR_MS,
		      "row %zu", i);
	}
	keep_schedule_close(&schedule);
}

static void every_due_time_is_a_run_or_within_the_skipped(void **state)
{
	uint64_t seed = test_seed();
	keep_error err = KEEP_ERROR_INIT;
	keep_schedule *schedule = NULL;

	(void)state;
	OK(keep_schedule_parse(KEEP_BYTES("*/7 * * * *"), NULL, &schedule, &err));
	for (int round = 0; round < 2000; round++) {
		kp_due_rules rules = {
			.schedule = schedule,
			.missed = (kp_missed)(next_random(&seed) % 3),
			.run_all_max = 1 + (unsigned)(next_random(&seed) % KP_DUE_RUNS_MAX),
			.grace_ms = (int64_t)(next_random(&seed) % 3) * HOUR_MS,
			.overlap = (kp_overlap)(next_random(&seed) % 3),
		};
		int64_t next = 1700000000000 + (int64_t)(next_random(&seed) % 1000000) * 1000;
		int64_t now = next + (int64_t)(next_random(&seed) % (12 * 3600000)), due = next;
		size_t count = 1;
		kp_due_plan found, again;

		OK(kp_due_plan_make(&rules, next, now, round % 2, 0, &found, &err));
		OK(kp_due_plan_make(&rules, next, now, round % 2, 0, &again, &err));
		assert_memory_equal(&found, &again, sizeof found);
		for (; keep_schedule_next(schedule, due, &due, &err) == KEEP_OK && due <= now;)
			count++;
		assert_int_equal(found.count + found.skipped.count, count);
		assert_true(found.next_run_ms == due && due > now);
		for (size_t r = 1; r < found.count; r++)
			assert_true(found.runs[r].scheduled_ms > found.runs[r - 1].scheduled_ms);
		if (found.count > 0 && found.skipped.count > 0)
			assert_true(found.skipped.last_ms < found.runs[0].scheduled_ms);
		if (found.skipped.count > 0)
			assert_int_equal(found.skipped.first_ms, next);
	}
	keep_schedule_close(&schedule);
}

static void ten_years_of_seconds_are_planned_at_once(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_schedule *schedule = NULL;
	kp_due_rules rules = {.missed = KP_MISSED_RUN_ALL, .run_all_max = 5};
	kp_due_plan found;

	(void)state;
	OK(keep_schedule_interval(1000, ms("2016-01-01T00:00:00Z"), &schedule, &err));
	rules.schedule = schedule;
	found = plan(&rules, "2016-01-01T00:00:00Z", "2026-01-01T00:00:00.5Z", 0, 0);
	assert_int_equal(found.count, 5);
	assert_int_equal(found.runs[4].scheduled_ms, ms("2026-01-01T00:00:00Z"));
	assert_int_equal(found.skipped.count, KP_DUE_COUNT_MAX);
	assert_false(found.skipped.is_exact);
	assert_int_equal(found.skipped.last_ms, ms("2025-12-31T23:59:55Z"));
	assert_int_equal(found.next_run_ms, ms("2026-01-01T00:00:01Z"));
	keep_schedule_close(&schedule);
}

static void a_run_that_was_moved_counts_although_the_expression_lacks_it(void **state)
{
	keep_schedule *schedule = hourly();
	kp_due_rules rules = {.schedule = schedule};
	kp_due_plan found = plan(&rules, "2026-01-01T03:20:00Z", "2026-01-01T03:20:05Z", 0, 0);

	(void)state;
	assert_int_equal(found.count, 1);
	assert_int_equal(found.runs[0].scheduled_ms, ms("2026-01-01T03:20:00Z"));
	assert_int_equal(found.next_run_ms, ms("2026-01-01T04:00:00Z"));
	keep_schedule_close(&schedule);
}

static void one_time_work_runs_once_and_has_no_next(void **state)
{
	kp_due_rules rules = {.missed = KP_MISSED_RUN_ONCE};
	kp_due_plan found = plan(&rules, "2026-01-01T03:00:00Z", "2026-01-05T00:00:00Z", 0, 0);

	(void)state;
	assert_int_equal(found.count, 1);
	assert_true(found.runs[0].is_missed && !found.has_next);
	found = plan(&rules, "2026-01-06T03:00:00Z", "2026-01-05T00:00:00Z", 0, 0);
	assert_true(found.count == 0 && found.has_next);
	rules.missed = KP_MISSED_SKIP;
	found = plan(&rules, "2026-01-01T03:00:00Z", "2026-01-05T00:00:00Z", 0, 0);
	assert_true(found.count == 0 && found.skipped.count == 1 && !found.has_next);
	rules.missed = KP_MISSED_RUN_ALL;
	assert_int_equal(kp_due_plan_make(&rules, 0, 0, 0, 0, &found, NULL), KEEP_INVALID);
	rules = (kp_due_rules){.grace_ms = -1};
	assert_int_equal(kp_due_plan_make(&rules, 0, 0, 0, 0, &found, NULL), KEEP_INVALID);
	rules = (kp_due_rules){.grace_ms = 1};
	assert_int_equal(kp_due_plan_make(&rules, INT64_MAX, 0, 0, 0, &found, NULL), KEEP_INVALID);
}

/* ---------------------------------------------------------------- overlap */

static const struct {
	kp_overlap overlap;
	unsigned running, queued, queued_max;
	kp_due_verdict verdicts[3]; /* of three runs made up at once */
} overlaps[] = {
	{KP_OVERLAP_SKIP, 0, 0, 0, {KP_DUE_START, KP_DUE_QUEUE, KP_DUE_QUEUE}},
	{KP_OVERLAP_SKIP, 1, 0, 0, {KP_DUE_SKIP_OVERLAP, KP_DUE_SKIP_OVERLAP, KP_DUE_SKIP_OVERLAP}},
	{KP_OVERLAP_SKIP, 0, 1, 0, {KP_DUE_SKIP_OVERLAP, KP_DUE_SKIP_OVERLAP, KP_DUE_SKIP_OVERLAP}},
	{KP_OVERLAP_QUEUE, 0, 0, 0, {KP_DUE_START, KP_DUE_QUEUE, KP_DUE_QUEUE}},
	{KP_OVERLAP_QUEUE, 1, 0, 0, {KP_DUE_QUEUE, KP_DUE_QUEUE, KP_DUE_QUEUE}},
	{KP_OVERLAP_QUEUE, 1, 1, 3, {KP_DUE_QUEUE, KP_DUE_QUEUE, KP_DUE_SKIP_FULL}},
	{KP_OVERLAP_QUEUE, 1, 3, 3, {KP_DUE_SKIP_FULL, KP_DUE_SKIP_FULL, KP_DUE_SKIP_FULL}},
	{KP_OVERLAP_ALLOW, 5, 0, 0, {KP_DUE_START, KP_DUE_START, KP_DUE_START}},
};

static void overlapping_runs_follow_their_policy(void **state)
{
	keep_schedule *schedule = hourly();

	(void)state;
	for (size_t i = 0; i < KP_COUNT(overlaps); i++) {
		kp_due_rules rules = {
			.schedule = schedule,
			.missed = KP_MISSED_RUN_ALL,
			.run_all_max = 3,
			.overlap = overlaps[i].overlap,
			.queued_max = overlaps[i].queued_max,
		};
		kp_due_plan found = plan(&rules, "2026-01-01T03:00:00Z", "2026-01-01T05:10:00Z",
					 overlaps[i].running, overlaps[i].queued);

		assert_int_equal(found.count, 3);
		for (size_t r = 0; r < 3; r++)
			CHECK(found.runs[r].verdict == overlaps[i].verdicts[r], "row %zu: %s", i,
			      kp_due_verdict_name(found.runs[r].verdict));
	}
	keep_schedule_close(&schedule);
}

static void policies_have_names(void **state)
{
	kp_missed missed_found;
	kp_overlap overlap_found;

	(void)state;
	for (int value = 0; value < 3; value++) {
		assert_true(kp_missed_parse(keep_bytes_of(kp_missed_name((kp_missed)value)),
					    &missed_found));
		assert_int_equal(missed_found, value);
		assert_true(kp_overlap_parse(keep_bytes_of(kp_overlap_name((kp_overlap)value)),
					     &overlap_found));
		assert_int_equal(overlap_found, value);
	}
	assert_false(kp_missed_parse(KEEP_BYTES("never"), &missed_found));
	assert_false(kp_overlap_parse(KEEP_BYTES(""), &overlap_found));
	assert_string_equal(kp_missed_name((kp_missed)7), "?");
	assert_string_equal(kp_due_verdict_name((kp_due_verdict)7), "?");
}

/* ---------------------------------------------------------------- trying again */

static void delays_grow_to_their_limit_and_end_in_a_dead_letter(void **state)
{
	static const int64_t table[] = {5000, 15000, 45000, 120000, 300000};
	kp_backoff grown = {.first_ms = 1000, .factor = 2, .max_ms = 60000, .attempts_max = 10};
	kp_backoff listed = {.delays_ms = table, .delays = KP_COUNT(table), .attempts_max = 8};
	int64_t retry_ms, expected = 1000;

	(void)state;
	for (unsigned attempt = 1; attempt < 10; attempt++) {
		assert_true(kp_backoff_next(&grown, attempt, 7, 99, &retry_ms));
		assert_int_equal(retry_ms, 7 + expected);
		expected = expected * 2 < 60000 ? expected * 2 : 60000;
	}
	assert_false(kp_backoff_next(&grown, 10, 7, 99, &retry_ms));
	assert_false(kp_backoff_next(&grown, 0, 7, 99, &retry_ms));
	for (unsigned attempt = 1; attempt < 8; attempt++) {
		assert_true(kp_backoff_next(&listed, attempt, 0, 0, &retry_ms));
		assert_int_equal(retry_ms, table[attempt < 5 ? attempt - 1 : 4]);
	}
	assert_false(kp_backoff_next(&listed, 8, 0, 0, &retry_ms));
}

static void jitter_only_shortens_and_nothing_overflows(void **state)
{
	kp_backoff backoff = {.first_ms = 1000,
			      .factor = 3,
			      .max_ms = INT64_MAX / 2,
			      .attempts_max = 5000,
			      .jitter_percent = 50};
	int64_t retry_ms, min = INT64_MAX, max = 0;
	uint64_t seed = test_seed();

	(void)state;
	for (int round = 0; round < 10000; round++) {
		assert_true(kp_backoff_next(&backoff, 1, 0, next_random(&seed), &retry_ms));
		min = retry_ms < min ? retry_ms : min;
		max = retry_ms > max ? retry_ms : max;
	}
	assert_true(min >= 500 && min < 520 && max <= 1000 && max > 980);
	for (unsigned attempt = 1; attempt < 4000; attempt += 7) {
		assert_true(kp_backoff_next(&backoff, attempt, 1700000000000, next_random(&seed),
					    &retry_ms));
		assert_true(retry_ms > 1700000000000 && retry_ms <= KEEP_TIME_MAX);
	}
	backoff = (kp_backoff){.attempts_max = 2, .jitter_percent = 100};
	assert_true(kp_backoff_next(&backoff, 1, 5, 3, &retry_ms));
	assert_int_equal(retry_ms, 6);
}

/* ---------------------------------------------------------------- owners */

/* A child that writes its own name and sleeps. */
static pid_t start_owner(char text[KP_OWNER_TEXT_SIZE])
{
	int ends[2];
	pid_t child;

	assert_int_equal(pipe(ends), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		char own[KP_OWNER_TEXT_SIZE];

		if (kp_owner_make(own, NULL) == KEEP_OK &&
		    write(ends[1], own, sizeof own) == sizeof own)
			pause();
		_exit(1);
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], text, KP_OWNER_TEXT_SIZE), KP_OWNER_TEXT_SIZE);
	close(ends[0]);
	return child;
}

static kp_owner_state check(const char *owner)
{
	return kp_owner_check(keep_bytes_of(owner), 2000, 1000);
}

static void an_owner_is_gone_when_its_process_is(void **state)
{
	char text[KP_OWNER_TEXT_SIZE];
	pid_t child = start_owner(text);
	siginfo_t about;

	(void)state;
	assert_int_equal(check(text), KP_OWNER_MAY_LIVE);
	assert_int_equal(kp_owner_check(keep_bytes_of(text), 1000, 1000), KP_OWNER_EXPIRED);
	kill(child, SIGKILL);
	/* Dead, but not yet collected: a zombie. */
	assert_int_equal(waitid(P_PID, (id_t)child, &about, WEXITED | WNOWAIT), 0);
	assert_int_equal(check(text), KP_OWNER_GONE);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_int_equal(check(text), KP_OWNER_GONE);
	assert_int_equal(kp_owner_check(keep_bytes_of(text), 1000, 1000), KP_OWNER_EXPIRED);
}

static void a_process_number_used_again_is_not_the_owner(void **state)
{
	char text[KP_OWNER_TEXT_SIZE], other[2 * KP_OWNER_TEXT_SIZE];
	long long pid, start, namespace;
	char boot_id[40];
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(kp_owner_make(text, &err));
	assert_int_equal(check(text), KP_OWNER_MAY_LIVE);
	assert_int_equal(sscanf(text, "%lld.%lld.%lld.%39s", &pid, &start, &namespace, boot_id), 4);
	assert_int_equal(pid, getpid());
	snprintf(other, sizeof other, "%lld.%lld.%lld.%s", pid, start - 1, namespace, boot_id);
	assert_int_equal(check(other), KP_OWNER_GONE);
	snprintf(other, sizeof other, "%lld.%lld.%lld.%s", pid, start - 1, namespace + 1, boot_id);
	assert_int_equal(check(other), KP_OWNER_MAY_LIVE);
	boot_id[0] = boot_id[0] == 'a' ? 'b' : 'a';
	snprintf(other, sizeof other, "%lld.%lld.%lld.%s", pid, start - 1, namespace, boot_id);
	assert_int_equal(check(other), KP_OWNER_MAY_LIVE);
}

static void a_text_of_another_form_proves_nothing(void **state)
{
	static const char *const texts[] = {
		"",
		"x",
		"1",
		"1.2.3",
		"1.2.3.",
		"1.2.3.4",
		"-1.2.3.00000000-0000-0000-0000-000000000000",
		"0.2.3.00000000-0000-0000-0000-000000000000",
		"gated",
		"99999999999999999999.2.3.00000000-0000-0000-0000-000000000000",
	};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(texts); i++) {
		CHECK(check(texts[i]) == KP_OWNER_MAY_LIVE, "%s", texts[i]);
		CHECK(kp_owner_check(keep_bytes_of(texts[i]), 0, 1) == KP_OWNER_EXPIRED, "%s",
		      texts[i]);
	}
	assert_int_equal(kp_owner_check((keep_bytes){NULL, 0}, 2, 1), KP_OWNER_MAY_LIVE);
}

static int end_without_a_trace(void **state)
{
	(void)state;
	keep_zone_forget();
	assert_nothing_lives();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(missed_runs_follow_their_policy),
		cmocka_unit_test(every_due_time_is_a_run_or_within_the_skipped),
		cmocka_unit_test(ten_years_of_seconds_are_planned_at_once),
		cmocka_unit_test(a_run_that_was_moved_counts_although_the_expression_lacks_it),
		cmocka_unit_test(one_time_work_runs_once_and_has_no_next),
		cmocka_unit_test(overlapping_runs_follow_their_policy),
		cmocka_unit_test(policies_have_names),
		cmocka_unit_test(delays_grow_to_their_limit_and_end_in_a_dead_letter),
		cmocka_unit_test(jitter_only_shortens_and_nothing_overflows),
		cmocka_unit_test(an_owner_is_gone_when_its_process_is),
		cmocka_unit_test(a_process_number_used_again_is_not_the_owner),
		cmocka_unit_test(a_text_of_another_form_proves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, end_without_a_trace);
}

/*
 * test_schedule_faults.c - zones and schedules with the Nth allocation or file call failing.
 *
 * One life of the module: a zone is opened and read from its file, expressions are parsed in it,
 * asked for times, said in words. After each failure nothing lives, the cache holds no half-read
 * zone, and the same life without a failure gives the same answers.
 */
#include "torture.h"

#include "schedule/due.h"
#include "schedule/schedule_private.h"

#define NOW INT64_C(1700000000000)

static const struct {
	keep_dialect dialect;
	const char *zone, *text;
} expressions[] = {
	{KEEP_DIALECT_DEBIAN, "Europe/Brussels", "0,30 9-17/2 * jan-dec mon-fri"},
	{KEEP_DIALECT_DEBIAN, "Australia/Lord_Howe", "15 2 LW,15W * *"},
	{KEEP_DIALECT_DEBIAN, "UTC", "0 0 * * 1#2,5L"},
	{KEEP_DIALECT_ROBFIG, "America/Sao_Paulo", "@daily"},
	{KEEP_DIALECT_CRON_PARSER, "Europe/Brussels", "0 9 L * *"},
	{KEEP_DIALECT_APSCHEDULER, "Europe/Brussels", "0 9 last * sun"},
};

/* The answers of a clean life, to which all others are compared. */
static int64_t known[KP_COUNT(expressions)];

static keep_status ask(size_t i, const keep_schedule *schedule, keep_error *err)
{
	keep_buffer words = KEEP_BUFFER_INIT;
	int64_t time_ms = 0, back_ms = 0;
	keep_status status = keep_schedule_next(schedule, NOW, &time_ms, err);

	if (status == KEEP_OK)
		status = keep_schedule_previous(schedule, time_ms + 1, &back_ms, err);
	if (status == KEEP_OK) {
		assert_true(known[i] == 0 || time_ms == known[i]);
		assert_int_equal(back_ms, time_ms);
		known[i] = time_ms;
		status = keep_schedule_describe(schedule, &words, err);
	}
	if (status == KEEP_OK)
		assert_true(words.len > 0);
	keep_buffer_release(&words);
	return status;
}

static keep_status live_once(void *ctx)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_schedule *schedule = NULL;
	keep_status status = KEEP_OK;

	(void)ctx;
	for (size_t i = 0; i < KP_COUNT(expressions) && status == KEEP_OK; i++) {
		keep_schedule_options options = KEEP_SCHEDULE_OPTIONS_INIT;
		keep_zone *zone = NULL;

		options.dialect = expressions[i].dialect;
		options.zone = expressions[i].zone;
		status = keep_zone_open(options.zone, &zone, &err);
		if (status == KEEP_OK)
			status = keep_schedule_parse(keep_bytes_of(expressions[i].text), &options,
						     &schedule, &err);
		assert_true((status == KEEP_OK) == (schedule != NULL));
		if (status == KEEP_OK)
			status = ask(i, schedule, &err);
		keep_schedule_close(&schedule);
		keep_zone_close(&zone);
	}
	if (status == KEEP_OK)
		status = keep_schedule_interval(60000, NOW, &schedule, &err);
	keep_schedule_close(&schedule);
	keep_zone_forget();
	if (status != KEEP_OK)
		assert_true(err.message[0] != '\0' && err.status == status);
	return status;
}

static void a_failing_allocation_leaves_nothing(void **state)
{
	(void)state;
	print_message("%ld rounds\n",
		      torture(KP_FAULT_ALLOC, MAY(KEEP_NO_MEMORY), live_once, NULL));
	assert_nothing_lives();
}

static void a_failing_file_call_leaves_nothing_and_no_half_read_zone(void **state)
{
	(void)state;
	print_message("%ld rounds\n",
		      torture(KP_FAULT_FILE,
			      MAY(KEEP_UNAVAILABLE) | MAY(KEEP_FULL) | MAY(KEEP_DENIED) |
				      MAY(KEEP_INVALID) | MAY(KEEP_CORRUPT),
			      live_once, NULL));
	assert_nothing_lives();
}

static void an_owner_that_cannot_be_read_is_never_found_gone(void **state)
{
	char self[KP_OWNER_TEXT_SIZE];
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(kp_owner_make(self, &err));
	for (long nth = 1;; nth++) {
		long fired;
		kp_owner_state found;

		kp_fault_arm(KP_FAULT_FILE, nth, true);
		found = kp_owner_check(keep_bytes_of(self), NOW + 1, NOW);
		fired = kp_fault_disarm(KP_FAULT_FILE);
		assert_int_equal(found, KP_OWNER_MAY_LIVE);
		if (!fired)
			break;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failing_allocation_leaves_nothing),
		cmocka_unit_test(a_failing_file_call_leaves_nothing_and_no_half_read_zone),
		cmocka_unit_test(an_owner_that_cannot_be_read_is_never_found_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

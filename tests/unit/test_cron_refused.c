/*
 * test_cron_refused.c - expressions and options that are refused, with the field and the byte.
 *
 * The messages are compared whole: they are what a person who wrote the expression gets to see.
 */
#include "keep_test.h"

#include "keep/schedule.h"

#define DEBIAN KEEP_DIALECT_DEBIAN
#define ROBFIG KEEP_DIALECT_ROBFIG
#define CRON_PARSER KEEP_DIALECT_CRON_PARSER
#define APSCHEDULER KEEP_DIALECT_APSCHEDULER

static const struct {
	keep_dialect dialect;
	const char *expression, *message;
} refused[] = {
	{DEBIAN, "*", "hour: byte 1: the field is missing; there are to be 5"},
	{DEBIAN, "* * * *", "day of week: byte 7: the field is missing; there are to be 5"},
	{DEBIAN, "* * * * * *",
	 "day of week: byte 10: expected the end after it; there are to be 5 fields"},
	{DEBIAN, "* * * * * /bin/true",
	 "day of week: byte 10: expected the end after it; there are to be 5 fields"},
	{DEBIAN, "60 * * * *", "minute: byte 0: 60 is not in 0 to 59"},
	{DEBIAN, "-1 * * * *", "minute: byte 0: expected a number or '*'"},
	{DEBIAN, "+1 * * * *", "minute: byte 0: expected a number or '*'"},
	{DEBIAN, "* 24 * * *", "hour: byte 2: 24 is not in 0 to 23"},
	{DEBIAN, "* * 0 * *", "day of month: byte 4: 0 is not in 1 to 31"},
	{DEBIAN, "* * 32 * *", "day of month: byte 4: 32 is not in 1 to 31"},
	{DEBIAN, "* * * 0 *", "month: byte 6: 0 is not in 1 to 12"},
	{DEBIAN, "* * * 13 *", "month: byte 6: 13 is not in 1 to 12"},
	{DEBIAN, "* * * * 8", "day of week: byte 8: 8 is not in 0 to 7"},
	{DEBIAN, "*/0 * * * *", "minute: byte 2: a step of 0"},
	{DEBIAN, "1-5/0 * * * *", "minute: byte 4: a step of 0"},
	{DEBIAN, "5/0 * * * *", "minute: byte 2: a step of 0"},
	{DEBIAN, "* */0 * * *", "hour: byte 4: a step of 0"},
	{DEBIAN, "30-10 * * * *", "minute: byte 0: a range that runs backwards"},
	{DEBIAN, "* 22-6 * * *", "hour: byte 2: a range that runs backwards"},
	{DEBIAN, "* * * nov-feb *", "month: byte 6: a range that runs backwards"},
	{DEBIAN, "* * * * fri-mon", "day of week: byte 8: a range that runs backwards"},
	{DEBIAN, "* * * * fri-sun",
	 "day of week: byte 8: a range that runs backwards (as the end of a range Sunday is 7)"},
	{DEBIAN, "* * * * 5-0",
	 "day of week: byte 8: a range that runs backwards (as the end of a range Sunday is 7)"},
	{DEBIAN, "1,,2 * * * *", "minute: byte 2: a value is missing"},
	{DEBIAN, ",1 * * * *", "minute: byte 0: a value is missing"},
	{DEBIAN, "1, * * * *", "minute: byte 2: a value is missing"},
	{DEBIAN, ", * * * *", "minute: byte 0: a value is missing"},
	{DEBIAN, "1- * * * *", "minute: byte 2: a value is missing"},
	{DEBIAN, "1-2-3 * * * *", "minute: byte 3: expected ',' or the end of the field"},
	{DEBIAN, "1/2/3 * * * *", "minute: byte 3: expected ',' or the end of the field"},
	{DEBIAN, "*/ * * * *", "minute: byte 2: a value is missing"},
	{DEBIAN, "/5 * * * *", "minute: byte 0: expected a number or '*'"},
	{DEBIAN, "** * * * *", "minute: byte 1: expected ',' or the end of the field"},
	{DEBIAN, "*5 * * * *", "minute: byte 1: expected ',' or the end of the field"},
	{DEBIAN, "5* * * * *", "minute: byte 1: expected ',' or the end of the field"},
	{DEBIAN, "*-5 * * * *", "minute: byte 1: expected ',' or the end of the field"},
	{DEBIAN, "1.5 * * * *", "minute: byte 1: expected ',' or the end of the field"},
	{DEBIAN, "0x5 * * * *", "minute: byte 1: expected ',' or the end of the field"},
	{DEBIAN, "five * * * *", "minute: byte 0: expected a number or '*'"},
	{DEBIAN, "* * * january *", "month: byte 9: expected ',' or the end of the field"},
	{DEBIAN, "* * * foo *", "month: byte 6: expected a number, a name of three letters or '*'"},
	{DEBIAN, "* * * * monday", "day of week: byte 11: expected ',' or the end of the field"},
	{DEBIAN, "* * * * mo",
	 "day of week: byte 8: expected a number, a name of three letters or '*'"},
	{DEBIAN, "jan * * * *", "minute: byte 0: expected a number or '*'"},
	{DEBIAN, "* * mon * *", "day of month: byte 4: expected a number or '*'"},
	{DEBIAN, "* * * mon *", "month: byte 6: expected a number, a name of three letters or '*'"},
	{DEBIAN, "* * * * jan",
	 "day of week: byte 8: expected a number, a name of three letters or '*'"},
	{DEBIAN, "* * ? * *", "day of month: byte 4: expected a number or '*'"},
	{DEBIAN, "* * * * ?",
	 "day of week: byte 8: expected a number, a name of three letters or '*'"},
	{DEBIAN, "* * LL * *", "day of month: byte 5: expected ',' or the end of the field"},
	{DEBIAN, "* * L-2 * *", "day of month: byte 5: expected ',' or the end of the field"},
	{DEBIAN, "* * L/2 * *", "day of month: byte 5: expected ',' or the end of the field"},
	{DEBIAN, "* * l * *", "day of month: byte 4: expected a number or '*'"},
	{DEBIAN, "* * WL * *", "day of month: byte 4: expected a number or '*'"},
	{DEBIAN, "* * W * *", "day of month: byte 4: expected a number or '*'"},
	{DEBIAN, "* * 15w * *", "day of month: byte 6: expected ',' or the end of the field"},
	{DEBIAN, "* * 15WW * *", "day of month: byte 7: expected ',' or the end of the field"},
	{DEBIAN, "* * 0W * *", "day of month: byte 4: 0 is not in 1 to 31"},
	{DEBIAN, "* * 32W * *", "day of month: byte 4: 32 is not in 1 to 31"},
	{DEBIAN, "* * 1-5W * *", "day of month: byte 7: expected ',' or the end of the field"},
	{DEBIAN, "* * 1W-5 * *", "day of month: byte 6: expected ',' or the end of the field"},
	{DEBIAN, "* * last * *", "day of month: byte 4: expected a number or '*'"},
	{DEBIAN, "* * * * L",
	 "day of week: byte 8: expected a number, a name of three letters or '*'"},
	{DEBIAN, "* * * * 1#0", "day of week: byte 10: 0 is not in 1 to 5"},
	{DEBIAN, "* * * * 1#6", "day of week: byte 10: 6 is not in 1 to 5"},
	{DEBIAN, "* * * * 1#", "day of week: byte 10: a value is missing"},
	{DEBIAN, "* * * * #1",
	 "day of week: byte 8: expected a number, a name of three letters or '*'"},
	{DEBIAN, "* * * * 1#1#1", "day of week: byte 11: expected ',' or the end of the field"},
	{DEBIAN, "* * * * 1-5#1", "day of week: byte 11: expected ',' or the end of the field"},
	{DEBIAN, "* * * * 1#1-3", "day of week: byte 11: expected ',' or the end of the field"},
	{DEBIAN, "* * * * 8L", "day of week: byte 8: 8 is not in 0 to 7"},
	{DEBIAN, "* * * * 1L2", "day of week: byte 10: expected ',' or the end of the field"},
	{DEBIAN, "* * * * *#1", "day of week: byte 9: expected ',' or the end of the field"},
	{DEBIAN, "1L * * * *", "minute: byte 1: expected ',' or the end of the field"},
	{DEBIAN, "* * 1#1 * *", "day of month: byte 5: expected ',' or the end of the field"},
	{DEBIAN, "H * * * *", "minute: byte 0: expected a number or '*'"},
	{DEBIAN, "@reboot", "minute: byte 0: not a name of a schedule in the dialect debian"},
	{DEBIAN, "@Daily", "minute: byte 0: not a name of a schedule in the dialect debian"},
	{DEBIAN, "@every 5m", "minute: byte 0: not a name of a schedule in the dialect debian"},
	{DEBIAN, "@", "minute: byte 0: not a name of a schedule in the dialect debian"},
	{DEBIAN, "@daily x", "minute: byte 0: not a name of a schedule in the dialect debian"},
	{DEBIAN, "99999999999999999999 * * * *", "minute: byte 0: a number over 1000000"},
	{DEBIAN, "*/99999999999999999999 * * * *", "minute: byte 2: a number over 1000000"},
	{DEBIAN, "0 9 30 2 *",
	 "day of month: byte 4: no date can ever meet it: the expression never fires"},
	{DEBIAN, "0 9 31 2,4,6,9,11 *",
	 "day of month: byte 4: no date can ever meet it: the expression never fires"},
	{DEBIAN, "0 0 31W 2 *",
	 "day of month: byte 4: no date can ever meet it: the expression never fires"},
	{DEBIAN, "0 0 *,31 2,30 *", "month: byte 11: 30 is not in 1 to 12"},
	{DEBIAN, "0 9 30 feb */2",
	 "day of month: byte 4: no date can ever meet it: the expression never fires"},
	{ROBFIG, "* * * * 7", "day of week: byte 8: 7 is not in 0 to 6"},
	{ROBFIG, "* * * * 5-7", "day of week: byte 10: 7 is not in 0 to 6"},
	{ROBFIG, "* * L * *", "day of month: byte 4: expected a number or '*'"},
	{ROBFIG, "* * 15W * *", "day of month: byte 6: expected ',' or the end of the field"},
	{ROBFIG, "* * * * 1#1", "day of week: byte 9: expected ',' or the end of the field"},
	{ROBFIG, "* * * * 1L", "day of week: byte 9: expected ',' or the end of the field"},
	{ROBFIG, "@every 1h", "minute: byte 0: not a name of a schedule in the dialect robfig"},
	{ROBFIG, "TZ=UTC * * * * *",
	 "day of week: byte 15: expected the end after it; there are to be 5 fields"},
	{ROBFIG, "0 9 30 2 *",
	 "day of month: byte 4: no date can ever meet it: the expression never fires"},
	{CRON_PARSER, "* * LW * *", "day of month: byte 5: expected ',' or the end of the field"},
	{CRON_PARSER, "* * 15W * *", "day of month: byte 6: expected ',' or the end of the field"},
	{CRON_PARSER, "* * * * 1#2,3", "day of week: byte 11: '#' in a list"},
	{CRON_PARSER, "* * * * 3,1#2", "day of week: byte 10: '#' in a list"},
	{CRON_PARSER, "* * * * 1#6", "day of week: byte 10: 6 is not in 1 to 5"},
	{CRON_PARSER, "* * * * fri-sun",
	 "day of week: byte 8: a range that runs backwards (as the end of a range Sunday is 7)"},
	{CRON_PARSER, "@midnight",
	 "minute: byte 0: not a name of a schedule in the dialect cron-parser"},
	{CRON_PARSER, "@DAILY",
	 "minute: byte 0: not a name of a schedule in the dialect cron-parser"},
	{CRON_PARSER, "H * * * *", "minute: byte 0: expected a number or '*'"},
	{CRON_PARSER, "0 9 30 2 *",
	 "day of month: byte 4: no date can ever meet it: the expression never fires"},
	{CRON_PARSER, "0 9 1 * 5#9", "day of week: byte 10: 9 is not in 1 to 5"},
	{APSCHEDULER, "* * * * 7", "day of week: byte 8: 7 is not in 0 to 6"},
	{APSCHEDULER, "* * * * sun-mon", "day of week: byte 8: a range that runs backwards"},
	{APSCHEDULER, "* * * * MON#1",
	 "day of week: byte 11: expected ',' or the end of the field"},
	{APSCHEDULER, "* * * * mon/2", "day of week: byte 11: a step after a name"},
	{APSCHEDULER, "* * * * mon-fri/2", "day of week: byte 15: a step after a name"},
	{APSCHEDULER, "* * * * mon-4", "day of week: byte 12: a range of a name and a number"},
	{APSCHEDULER, "*/60 * * * *", "minute: byte 2: a step of 60 in a range of 59"},
	{APSCHEDULER, "* */24 * * *", "hour: byte 4: a step of 24 in a range of 23"},
	{APSCHEDULER, "* * */31 * *", "day of month: byte 6: a step of 31 in a range of 30"},
	{APSCHEDULER, "50/15 * * * *", "minute: byte 3: a step of 15 in a range of 9"},
	{APSCHEDULER, "10-20/15 * * * *", "minute: byte 6: a step of 15 in a range of 10"},
	{APSCHEDULER, "@daily",
	 "minute: byte 0: not a name of a schedule in the dialect apscheduler"},
	{APSCHEDULER, "* * ? * *", "day of month: byte 4: expected a number or '*'"},
	{APSCHEDULER, "* * L * *", "day of month: byte 4: expected a number or '*'"},
	{APSCHEDULER, "* * * * 1L", "day of week: byte 9: expected ',' or the end of the field"},
	{APSCHEDULER, "0 9 31 2 *",
	 "day of month: byte 4: no date can ever meet it: the expression never fires"},
	{APSCHEDULER, "* * LW * *", "day of month: byte 4: expected a number or '*'"},
	{APSCHEDULER, "* * 15W * *", "day of month: byte 6: expected ',' or the end of the field"},
	{ROBFIG, "* * LW * *", "day of month: byte 4: expected a number or '*'"},
	{DEBIAN, "@weekdays", "minute: byte 0: not a name of a schedule in the dialect debian"},
	{ROBFIG, "@weekdays", "minute: byte 0: not a name of a schedule in the dialect robfig"},
	{APSCHEDULER, "@weekdays",
	 "minute: byte 0: not a name of a schedule in the dialect apscheduler"},
	{APSCHEDULER, "@midnight",
	 "minute: byte 0: not a name of a schedule in the dialect apscheduler"},
	{APSCHEDULER, "* * * * 1#2", "day of week: byte 9: expected ',' or the end of the field"},
};

static void everything_else_is_refused_with_its_field_and_position(void **state)
{
	(void)state;
	for (size_t i = 0; i < KP_COUNT(refused); i++) {
		keep_schedule_options options = KEEP_SCHEDULE_OPTIONS_INIT;
		keep_error err = KEEP_ERROR_INIT;
		keep_schedule *schedule = NULL;

		options.dialect = refused[i].dialect;
		CHECK(keep_schedule_parse(keep_bytes_of(refused[i].expression), &options, &schedule,
					  &err) == KEEP_INVALID,
		      "\"%s\"", refused[i].expression);
		assert_null(schedule);
		assert_string_equal(err.message, refused[i].message);
		assert_int_equal(keep_schedule_parse(keep_bytes_of(refused[i].expression), &options,
						     &schedule, NULL),
				 KEEP_INVALID);
	}
	assert_nothing_lives();
}

static void wrong_options_and_sizes_are_refused(void **state)
{
	keep_schedule_options options = KEEP_SCHEDULE_OPTIONS_INIT;
	static char long_text[KEEP_SCHEDULE_BYTES_MAX + 2];
	keep_schedule *schedule = NULL;
	keep_error err = KEEP_ERROR_INIT;
	keep_bytes any = KEEP_BYTES("* * * * *");

	(void)state;
	options.zone = "Europe/Nowhere";
	assert_int_equal(keep_schedule_parse(any, &options, &schedule, NULL), KEEP_INVALID);
	options.zone = NULL;
	options.dialect = (keep_dialect)4;
	assert_int_equal(keep_schedule_parse(any, &options, &schedule, NULL), KEEP_INVALID);
	options.size = 1;
	assert_int_equal(keep_schedule_parse(any, &options, &schedule, NULL), KEEP_MISUSE);
	options.size = sizeof options.size;
	OK(keep_schedule_parse(any, &options, &schedule, &err));
	keep_schedule_close(&schedule);
	memset(long_text, ' ', sizeof long_text - 1);
	memcpy(long_text, any.data, any.len);
	assert_int_equal(keep_schedule_parse(keep_bytes_of(long_text), NULL, &schedule, NULL),
			 KEEP_INVALID);
	assert_int_equal(keep_schedule_parse((keep_bytes){NULL, 0}, NULL, &schedule, NULL),
			 KEEP_INVALID);
	assert_int_equal(keep_schedule_parse((keep_bytes){"* * * *\0*", 9}, NULL, &schedule, NULL),
			 KEEP_INVALID);
	assert_int_equal(
		keep_schedule_parse((keep_bytes){"* * * * *\n", 10}, NULL, &schedule, NULL),
		KEEP_INVALID);
	keep_schedule_close(&schedule);
	keep_schedule_close(NULL);
	keep_zone_forget();
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_else_is_refused_with_its_field_and_position),
		cmocka_unit_test(wrong_options_and_sizes_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

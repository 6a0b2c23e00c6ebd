/*
 * test_cron.c - cron expressions and intervals: tables of what is accepted and when it fires.
 *
 * `test_cron --oracle` compares with lines "expression TAB start TAB times" on its input, which
 * cron_oracle.py makes with another implementation.
 *
 * docs/schedule.md tells the dialects' differences, which the table `elsewhere` holds here. What is
 * refused is in test_cron_refused.c; test_cron_search.c compares random expressions with a walk
 * through all minutes.
 */
#include "keep_test.h"

#include "schedule/schedule_private.h"

#define DEBIAN KEEP_DIALECT_DEBIAN
#define ROBFIG KEEP_DIALECT_ROBFIG
#define CRON_PARSER KEEP_DIALECT_CRON_PARSER
#define APSCHEDULER KEEP_DIALECT_APSCHEDULER

/* Debian's dialect in UTC: the first three times after 2026-01-01, and the words. */
static const struct {
	const char *expression, *times, *words;
} plain[] = {
	{"* * * * *", "2026-01-01T00:01 2026-01-01T00:02 2026-01-01T00:03", "every minute"},
	{"*/5 * * * *", "2026-01-01T00:05 2026-01-01T00:10 2026-01-01T00:15", "every 5 minutes"},
	{"0 * * * *", "2026-01-01T01:00 2026-01-01T02:00 2026-01-01T03:00",
	 "at minute 0 of every hour"},
	{"5/15 * * * *", "2026-01-01T00:05 2026-01-01T00:20 2026-01-01T00:35",
	 "at minutes 5, 20, 35 and 50 of every hour"},
	{"7-59/13 * * * *", "2026-01-01T00:07 2026-01-01T00:20 2026-01-01T00:33",
	 "at minutes 7, 20, 33, 46 and 59 of every hour"},
	{"0-30/10 8-17 * * mon-fri", "2026-01-01T08:00 2026-01-01T08:10 2026-01-01T08:20",
	 "at minutes 0, 10, 20 and 30 of hours 8 to 17 on Monday to Friday"},
	{"0 9 * * *", "2026-01-01T09:00 2026-01-02T09:00 2026-01-03T09:00", "at 09:00"},
	{"30 9,17 * * *", "2026-01-01T09:30 2026-01-01T17:30 2026-01-02T09:30",
	 "at 09:30 and 17:30"},
	{"0 0 1 * *", "2026-02-01T00:00 2026-03-01T00:00 2026-04-01T00:00",
	 "at 00:00 on day 1 of the month"},
	{"0 0 1,15 * *", "2026-01-15T00:00 2026-02-01T00:00 2026-02-15T00:00",
	 "at 00:00 on days 1 and 15 of the month"},
	{"0 0 1 1 *", "2027-01-01T00:00 2028-01-01T00:00 2029-01-01T00:00",
	 "at 00:00 on day 1 of the month in January"},
	{"59 23 31 12 *", "2026-12-31T23:59 2027-12-31T23:59 2028-12-31T23:59",
	 "at 23:59 on day 31 of the month in December"},
	{"0 12 * jan-mar *", "2026-01-01T12:00 2026-01-02T12:00 2026-01-03T12:00",
	 "at 12:00 in January to March"},
	{"0 12 * Jan,MAR,dEc *", "2026-01-01T12:00 2026-01-02T12:00 2026-01-03T12:00",
	 "at 12:00 in January, March and December"},
	{"0 12 * 1-12/4 *", "2026-01-01T12:00 2026-01-02T12:00 2026-01-03T12:00",
	 "at 12:00 in January, May and September"},
	{"0 12 * */5 *", "2026-01-01T12:00 2026-01-02T12:00 2026-01-03T12:00",
	 "at 12:00 in January, June and November"},
	{"0 9 * * 0", "2026-01-04T09:00 2026-01-11T09:00 2026-01-18T09:00", "at 09:00 on Sunday"},
	{"0 9 * * 7", "2026-01-04T09:00 2026-01-11T09:00 2026-01-18T09:00", "at 09:00 on Sunday"},
	{"0 9 * * sun", "2026-01-04T09:00 2026-01-11T09:00 2026-01-18T09:00", "at 09:00 on Sunday"},
	{"0 9 * * SUN,sat", "2026-01-03T09:00 2026-01-04T09:00 2026-01-10T09:00",
	 "at 09:00 on Saturday and Sunday"},
	{"0 9 * * 5-7", "2026-01-02T09:00 2026-01-03T09:00 2026-01-04T09:00",
	 "at 09:00 on Friday to Sunday"},
	{"0 9 * * 0-7", "2026-01-01T09:00 2026-01-02T09:00 2026-01-03T09:00", "at 09:00"},
	{"0 9 * * 1-5", "2026-01-01T09:00 2026-01-02T09:00 2026-01-05T09:00",
	 "at 09:00 on Monday to Friday"},
	{"0 9 * * fri-7", "2026-01-02T09:00 2026-01-03T09:00 2026-01-04T09:00",
	 "at 09:00 on Friday to Sunday"},
	{"0 9 * * 6/1", "2026-01-03T09:00 2026-01-10T09:00 2026-01-17T09:00",
	 "at 09:00 on Saturday"},
	{"0 9 * * 1/2", "2026-01-02T09:00 2026-01-05T09:00 2026-01-07T09:00",
	 "at 09:00 on Monday, Wednesday and Friday"},
	{"0 9 * * 7/2", "2026-01-04T09:00 2026-01-11T09:00 2026-01-18T09:00", "at 09:00 on Sunday"},
	{"0 9 * * */2", "2026-01-01T09:00 2026-01-03T09:00 2026-01-04T09:00",
	 "at 09:00 on Tuesday, Thursday, Saturday and Sunday"},
	{"0 9 1 * 1", "2026-01-01T09:00 2026-01-05T09:00 2026-01-12T09:00",
	 "at 09:00 on day 1 of the month or on Monday"},
	{"0 9 1-7 * 1", "2026-01-01T09:00 2026-01-02T09:00 2026-01-03T09:00",
	 "at 09:00 on days 1 to 7 of the month or on Monday"},
	{"0 9 */10 * 0", "2026-01-11T09:00 2026-02-01T09:00 2026-03-01T09:00",
	 "at 09:00 on days 1, 11, 21 and 31 of the month if that is Sunday"},
	{"0 9 * * 1,3,5", "2026-01-02T09:00 2026-01-05T09:00 2026-01-07T09:00",
	 "at 09:00 on Monday, Wednesday and Friday"},
	{"0 9 1 * *", "2026-01-01T09:00 2026-02-01T09:00 2026-03-01T09:00",
	 "at 09:00 on day 1 of the month"},
	{"0 9 13 * fri", "2026-01-02T09:00 2026-01-09T09:00 2026-01-13T09:00",
	 "at 09:00 on day 13 of the month or on Friday"},
	{"0 9 */1 * 1", "2026-01-05T09:00 2026-01-12T09:00 2026-01-19T09:00", "at 09:00 on Monday"},
	{"0 9 1-31 * 1", "2026-01-01T09:00 2026-01-02T09:00 2026-01-03T09:00", "at 09:00"},
	{"0 9 29 2 *", "2028-02-29T09:00 2032-02-29T09:00 2036-02-29T09:00",
	 "at 09:00 on day 29 of the month in February"},
	{"0 9 29 2 1", "2026-02-02T09:00 2026-02-09T09:00 2026-02-16T09:00",
	 "at 09:00 on day 29 of the month or on Monday in February"},
	{"0 9 31 * *", "2026-01-31T09:00 2026-03-31T09:00 2026-05-31T09:00",
	 "at 09:00 on day 31 of the month"},
	{"0 9 30 */2 *", "2026-01-30T09:00 2026-03-30T09:00 2026-05-30T09:00",
	 "at 09:00 on day 30 of the month in January, March, May, July, September and November"},
	{"0 9 31 2 1", "2026-02-02T09:00 2026-02-09T09:00 2026-02-16T09:00",
	 "at 09:00 on day 31 of the month or on Monday in February"},
	{"0 0 L * *", "2026-01-31T00:00 2026-02-28T00:00 2026-03-31T00:00",
	 "at 00:00 on the last day of the month"},
	{"0 0 LW * *", "2026-01-30T00:00 2026-02-27T00:00 2026-03-31T00:00",
	 "at 00:00 on the last working day of the month"},
	{"0 0 15W * *", "2026-01-15T00:00 2026-02-16T00:00 2026-03-16T00:00",
	 "at 00:00 on the working day nearest to day 15 of the month"},
	{"0 0 1W * *", "2026-02-02T00:00 2026-03-02T00:00 2026-04-01T00:00",
	 "at 00:00 on the working day nearest to day 1 of the month"},
	{"0 0 31W * *", "2026-01-30T00:00 2026-03-31T00:00 2026-05-29T00:00",
	 "at 00:00 on the working day nearest to day 31 of the month"},
	{"0 0 30W 2,3 *", "2026-03-30T00:00 2027-03-30T00:00 2028-03-30T00:00",
	 "at 00:00 on the working day nearest to day 30 of the month in February and March"},
	{"0 0 1,L * *", "2026-01-31T00:00 2026-02-01T00:00 2026-02-28T00:00",
	 "at 00:00 on day 1 and the last day of the month"},
	{"0 0 1W,15W * *", "2026-01-15T00:00 2026-02-02T00:00 2026-02-16T00:00",
	 "at 00:00 on the working day nearest to day 1 and the working day nearest to day 15 of "
	 "the month"},
	{"0 0 * * 1#1", "2026-01-05T00:00 2026-02-02T00:00 2026-03-02T00:00",
	 "at 00:00 on the first Monday of the month"},
	{"0 0 * * mon#2", "2026-01-12T00:00 2026-02-09T00:00 2026-03-09T00:00",
	 "at 00:00 on the second Monday of the month"},
	{"0 0 * * 0#5", "2026-03-29T00:00 2026-05-31T00:00 2026-08-30T00:00",
	 "at 00:00 on the fifth Sunday of the month"},
	{"0 0 * * 7#1", "2026-01-04T00:00 2026-02-01T00:00 2026-03-01T00:00",
	 "at 00:00 on the first Sunday of the month"},
	{"0 0 * * 5L", "2026-01-30T00:00 2026-02-27T00:00 2026-03-27T00:00",
	 "at 00:00 on the last Friday of the month"},
	{"0 0 * * friL", "2026-01-30T00:00 2026-02-27T00:00 2026-03-27T00:00",
	 "at 00:00 on the last Friday of the month"},
	{"0 0 * * 1#1,1#3", "2026-01-05T00:00 2026-01-19T00:00 2026-02-02T00:00",
	 "at 00:00 on the first Monday and the third Monday of the month"},
	{"0 0 * * 1,5L", "2026-01-05T00:00 2026-01-12T00:00 2026-01-19T00:00",
	 "at 00:00 on Monday and the last Friday of the month"},
	{"0 0 L 2 *", "2026-02-28T00:00 2027-02-28T00:00 2028-02-29T00:00",
	 "at 00:00 on the last day of the month in February"},
	{"0 0 L * 5L", "2026-01-30T00:00 2026-01-31T00:00 2026-02-27T00:00",
	 "at 00:00 on the last day of the month or on the last Friday of the month"},
	{"0 0 29W 2 *", "2028-02-29T00:00 2032-02-27T00:00 2036-02-29T00:00",
	 "at 00:00 on the working day nearest to day 29 of the month in February"},
	{"0 0 * 2 1#5", "2044-02-29T00:00 2072-02-29T00:00 2112-02-29T00:00",
	 "at 00:00 on the fifth Monday of the month in February"},
	{"00 09 01 01 *", "2026-01-01T09:00 2027-01-01T09:00 2028-01-01T09:00",
	 "at 09:00 on day 1 of the month in January"},
	{"\t0\t9 \t* * *\t", "2026-01-01T09:00 2026-01-02T09:00 2026-01-03T09:00", "at 09:00"},
	{"  15 14 1 * *  ", "2026-01-01T14:15 2026-02-01T14:15 2026-03-01T14:15",
	 "at 14:15 on day 1 of the month"},
	{"0 22 * * 1-5", "2026-01-01T22:00 2026-01-02T22:00 2026-01-05T22:00",
	 "at 22:00 on Monday to Friday"},
	{"23 0-20/2 * * *", "2026-01-01T00:23 2026-01-01T02:23 2026-01-01T04:23",
	 "at minute 23 of hours 0, 2, 4, 6, 8, 10, 12, 14, 16, 18 and 20"},
	{"5 4 * * sun", "2026-01-04T04:05 2026-01-11T04:05 2026-01-18T04:05", "at 04:05 on Sunday"},
	{"0 0,12 1 */2 *", "2026-01-01T12:00 2026-03-01T00:00 2026-03-01T12:00",
	 "at 00:00 and 12:00 on day 1 of the month in January, March, May, July, September and "
	 "November"},
	{"0 4 8-14 * *", "2026-01-08T04:00 2026-01-09T04:00 2026-01-10T04:00",
	 "at 04:00 on days 8 to 14 of the month"},
	{"0 0 1,15 * 3", "2026-01-07T00:00 2026-01-14T00:00 2026-01-15T00:00",
	 "at 00:00 on days 1 and 15 of the month or on Wednesday"},
	{"*/90 * * * *", "2026-01-01T01:00 2026-01-01T02:00 2026-01-01T03:00",
	 "at minute 0 of every hour"},
	{"*/59 * * * *", "2026-01-01T00:59 2026-01-01T01:00 2026-01-01T01:59",
	 "at minutes 0 and 59 of every hour"},
	{"0-0 0-0 * * *", "2026-01-02T00:00 2026-01-03T00:00 2026-01-04T00:00", "at 00:00"},
	{"59-59/7 * * * *", "2026-01-01T00:59 2026-01-01T01:59 2026-01-01T02:59",
	 "at minute 59 of every hour"},
	{"0 23-23 * * *", "2026-01-01T23:00 2026-01-02T23:00 2026-01-03T23:00", "at 23:00"},
	{"1,2,3,4,5,10 * * * *", "2026-01-01T00:01 2026-01-01T00:02 2026-01-01T00:03",
	 "at minutes 1 to 5 and 10 of every hour"},
	{"0 */6 * * *", "2026-01-01T06:00 2026-01-01T12:00 2026-01-01T18:00",
	 "at 00:00, 06:00, 12:00 and 18:00"},
	{"0 1-23/6 * * *", "2026-01-01T01:00 2026-01-01T07:00 2026-01-01T13:00",
	 "at 01:00, 07:00, 13:00 and 19:00"},
	{"15,45 */3 * * *", "2026-01-01T00:15 2026-01-01T00:45 2026-01-01T03:15",
	 "at minutes 15 and 45 of every 3 hours"},
	{"0 0 * * *", "2026-01-02T00:00 2026-01-03T00:00 2026-01-04T00:00", "at 00:00"},
	{"@yearly", "2027-01-01T00:00 2028-01-01T00:00 2029-01-01T00:00",
	 "at 00:00 on day 1 of the month in January"},
	{"@annually", "2027-01-01T00:00 2028-01-01T00:00 2029-01-01T00:00",
	 "at 00:00 on day 1 of the month in January"},
	{"@monthly", "2026-02-01T00:00 2026-03-01T00:00 2026-04-01T00:00",
	 "at 00:00 on day 1 of the month"},
	{"@weekly", "2026-01-04T00:00 2026-01-11T00:00 2026-01-18T00:00", "at 00:00 on Sunday"},
	{"@daily", "2026-01-02T00:00 2026-01-03T00:00 2026-01-04T00:00", "at 00:00"},
	{"@midnight", "2026-01-02T00:00 2026-01-03T00:00 2026-01-04T00:00", "at 00:00"},
	{"@hourly", "2026-01-01T01:00 2026-01-01T02:00 2026-01-01T03:00",
	 "at minute 0 of every hour"},
	{"0,15,30,45 9 * * *", "2026-01-01T09:00 2026-01-01T09:15 2026-01-01T09:30",
	 "at 09:00, 09:15, 09:30 and 09:45"},
	{"*/20 9-10 * * *", "2026-01-01T09:00 2026-01-01T09:20 2026-01-01T09:40",
	 "at 09:00, 09:20, 09:40, 10:00, 10:20 and 10:40"},
	{"* 9 * * *", "2026-01-01T09:00 2026-01-01T09:01 2026-01-01T09:02",
	 "every minute of hour 9"},
	{"* 9-17 1 * *", "2026-01-01T09:00 2026-01-01T09:01 2026-01-01T09:02",
	 "every minute of hours 9 to 17 on day 1 of the month"},
	{"*,5 * * * *", "2026-01-01T00:01 2026-01-01T00:02 2026-01-01T00:03", "every minute"},
	{"5,* * * * *", "2026-01-01T00:01 2026-01-01T00:02 2026-01-01T00:03", "every minute"},
	{"0 9 * * *,1", "2026-01-01T09:00 2026-01-02T09:00 2026-01-03T09:00", "at 09:00"},
	{"0 9 1,*/9 * 2", "2026-01-01T09:00 2026-01-06T09:00 2026-01-10T09:00",
	 "at 09:00 on days 1, 10, 19 and 28 of the month or on Tuesday"},
};

/* Zones, dialects and seconds: the first three times after `from`. */
static const struct {
	keep_dialect dialect;
	bool seconds;
	const char *zone, *from, *expression, *times;
} elsewhere[] = {
	{DEBIAN, false, "Europe/Brussels", "2026-03-28T12:00:00Z", "30 2 * * *",
	 "2026-03-29T01:00 2026-03-30T00:30 2026-03-31T00:30"},
	{DEBIAN, false, "Europe/Brussels", "2026-03-28T12:00:00Z", "0,30 2 * * *",
	 "2026-03-29T01:00 2026-03-30T00:00 2026-03-30T00:30"},
	{DEBIAN, false, "Europe/Brussels", "2026-03-28T12:00:00Z", "0 2,3 * * *",
	 "2026-03-29T01:00 2026-03-30T00:00 2026-03-30T01:00"},
	{DEBIAN, false, "Europe/Brussels", "2026-03-29T00:00:00Z", "*/30 * * * *",
	 "2026-03-29T00:30 2026-03-29T01:00 2026-03-29T01:30"},
	{DEBIAN, false, "Europe/Brussels", "2026-03-28T12:00:00Z", "*/30 2 * * *",
	 "2026-03-30T00:00 2026-03-30T00:30 2026-03-31T00:00"},
	{DEBIAN, false, "Europe/Brussels", "2026-03-28T12:00:00Z", "30 */2 * * *",
	 "2026-03-28T13:30 2026-03-28T15:30 2026-03-28T17:30"},
	{DEBIAN, false, "Europe/Brussels", "2026-10-24T12:00:00Z", "30 2 * * *",
	 "2026-10-25T00:30 2026-10-26T01:30 2026-10-27T01:30"},
	{DEBIAN, false, "Europe/Brussels", "2026-10-24T22:00:00Z", "0,30 1-3 * * *",
	 "2026-10-24T23:00 2026-10-24T23:30 2026-10-25T00:00"},
	{DEBIAN, false, "Europe/Brussels", "2026-10-25T00:00:00Z", "*/30 * * * *",
	 "2026-10-25T00:30 2026-10-25T01:00 2026-10-25T01:30"},
	{DEBIAN, false, "Europe/Brussels", "2026-10-24T12:00:00Z", "30 2/24 * * *",
	 "2026-10-25T00:30 2026-10-26T01:30 2026-10-27T01:30"},
	{DEBIAN, false, "Europe/Brussels", "2026-10-24T12:00:00Z", "*/30 2 * * *",
	 "2026-10-25T00:00 2026-10-25T00:30 2026-10-25T01:00"},
	{DEBIAN, false, "Australia/Lord_Howe", "2026-10-03T00:00:00Z", "15 2 * * *",
	 "2026-10-03T15:30 2026-10-04T15:15 2026-10-05T15:15"},
	{DEBIAN, false, "Australia/Lord_Howe", "2026-10-03T15:00:00Z", "*/15 * * * *",
	 "2026-10-03T15:15 2026-10-03T15:30 2026-10-03T15:45"},
	{DEBIAN, false, "Australia/Lord_Howe", "2026-04-04T00:00:00Z", "45 1 * * *",
	 "2026-04-04T14:45 2026-04-05T15:15 2026-04-06T15:15"},
	{DEBIAN, false, "Australia/Lord_Howe", "2026-04-04T14:20:00Z", "*/15 * * * *",
	 "2026-04-04T14:30 2026-04-04T14:45 2026-04-04T15:00"},
	{DEBIAN, false, "America/Sao_Paulo", "2018-11-03T12:00:00Z", "0 0 * * *",
	 "2018-11-04T03:00 2018-11-05T02:00 2018-11-06T02:00"},
	{DEBIAN, false, "America/Sao_Paulo", "2018-11-03T12:00:00Z", "@daily",
	 "2018-11-04T03:00 2018-11-05T02:00 2018-11-06T02:00"},
	{DEBIAN, false, "America/Sao_Paulo", "2018-10-01T12:00:00Z", "0 0 4 11 *",
	 "2018-11-04T03:00 2019-11-04T03:00 2020-11-04T03:00"},
	{DEBIAN, false, "America/Sao_Paulo", "2018-11-03T12:00:00Z", "0 * * * 0",
	 "2018-11-04T03:00 2018-11-04T04:00 2018-11-04T05:00"},
	{DEBIAN, false, "America/Sao_Paulo", "2018-02-17T12:00:00Z", "30 23 * * *",
	 "2018-02-18T01:30 2018-02-19T02:30 2018-02-20T02:30"},
	{DEBIAN, false, "Asia/Beirut", "2026-03-28T12:00:00Z", "@daily",
	 "2026-03-28T22:00 2026-03-29T21:00 2026-03-30T21:00"},
	{DEBIAN, false, "America/Havana", "2026-03-07T12:00:00Z", "0 0 * * *",
	 "2026-03-08T05:00 2026-03-09T04:00 2026-03-10T04:00"},
	{DEBIAN, false, "Pacific/Apia", "2011-12-29T12:00:00Z", "0 9 * * *",
	 "2011-12-29T19:00 2011-12-30T10:00 2011-12-30T19:00"},
	{DEBIAN, false, "Pacific/Apia", "2011-12-01T12:00:00Z", "0 9 30 12 *",
	 "2011-12-30T10:00 2012-12-29T19:00 2013-12-29T19:00"},
	{DEBIAN, false, "Pacific/Apia", "2011-12-29T12:00:00Z", "0 */12 * * *",
	 "2011-12-29T22:00 2011-12-30T10:00 2011-12-30T22:00"},
	{DEBIAN, false, "Africa/Casablanca", "2026-02-14T12:00:00Z", "30 2 * * *",
	 "2026-02-15T01:30 2026-02-16T02:30 2026-02-17T02:30"},
	{DEBIAN, false, "Africa/Casablanca", "2026-03-21T12:00:00Z", "30 2 * * *",
	 "2026-03-22T02:00 2026-03-23T01:30 2026-03-24T01:30"},
	{DEBIAN, false, "Antarctica/Troll", "2026-03-28T12:00:00Z", "30 2 * * *",
	 "2026-03-29T01:00 2026-03-30T00:30 2026-03-31T00:30"},
	{DEBIAN, false, "Antarctica/Troll", "2026-10-24T12:00:00Z", "30 1 * * *",
	 "2026-10-24T23:30 2026-10-26T01:30 2026-10-27T01:30"},
	{DEBIAN, false, "America/Nuuk", "2023-03-25T12:00:00Z", "30 22 * * *",
	 "2023-03-26T01:00 2023-03-27T00:30 2023-03-28T00:30"},
	{DEBIAN, false, "America/Nuuk", "2026-10-24T12:00:00Z", "30 23 * * *",
	 "2026-10-25T00:30 2026-10-26T01:30 2026-10-27T01:30"},
	{DEBIAN, false, "Europe/Dublin", "2026-03-28T12:00:00Z", "30 1 * * *",
	 "2026-03-29T01:00 2026-03-30T00:30 2026-03-31T00:30"},
	{DEBIAN, false, "Europe/Brussels", "2500-03-27T12:00:00Z", "30 2 * * *",
	 "2500-03-28T01:00 2500-03-29T00:30 2500-03-30T00:30"},
	{DEBIAN, false, "Asia/Kathmandu", "2026-01-01T00:00:00Z", "0 6 * * *",
	 "2026-01-01T00:15 2026-01-02T00:15 2026-01-03T00:15"},
	{ROBFIG, false, "Europe/Brussels", "2026-03-28T12:00:00Z", "30 2 * * *",
	 "2026-03-30T00:30 2026-03-31T00:30 2026-04-01T00:30"},
	{ROBFIG, false, "Europe/Brussels", "2026-10-24T12:00:00Z", "30 2 * * *",
	 "2026-10-25T00:30 2026-10-25T01:30 2026-10-26T01:30"},
	{ROBFIG, false, "America/New_York", "2012-11-04T03:00:00Z", "30 1 * * *",
	 "2012-11-04T05:30 2012-11-04T06:30 2012-11-05T06:30"},
	{ROBFIG, false, "America/Sao_Paulo", "2018-11-03T12:00:00Z", "0 0 * * *",
	 "2018-11-05T02:00 2018-11-06T02:00 2018-11-07T02:00"},
	{CRON_PARSER, false, "Europe/Brussels", "2026-03-28T12:00:00Z", "30 2 * * *",
	 "2026-03-29T01:30 2026-03-30T00:30 2026-03-31T00:30"},
	{CRON_PARSER, false, "Europe/Brussels", "2026-03-28T12:00:00Z", "0,30 2 * * *",
	 "2026-03-29T01:00 2026-03-29T01:30 2026-03-30T00:00"},
	{CRON_PARSER, false, "Europe/Brussels", "2026-03-29T00:45:00Z", "0,30 2,3 * * *",
	 "2026-03-29T01:00 2026-03-29T01:30 2026-03-30T00:00"},
	{CRON_PARSER, false, "Europe/Brussels", "2026-10-24T12:00:00Z", "30 2 * * *",
	 "2026-10-25T00:30 2026-10-26T01:30 2026-10-27T01:30"},
	{CRON_PARSER, false, "Europe/Brussels", "2026-10-24T22:00:00Z", "30 */2 * * *",
	 "2026-10-24T22:30 2026-10-25T00:30 2026-10-25T03:30"},
	{CRON_PARSER, false, "Europe/Brussels", "2026-10-25T00:00:00Z", "*/30 * * * *",
	 "2026-10-25T00:30 2026-10-25T01:00 2026-10-25T01:30"},
	{CRON_PARSER, false, "America/Sao_Paulo", "2018-11-03T20:00:00Z", "*/20 0 * * *",
	 "2018-11-04T03:00 2018-11-04T03:20 2018-11-04T03:40"},
	{CRON_PARSER, false, "America/Sao_Paulo", "2018-10-01T20:00:00Z", "0 0 4 11 *",
	 "2018-11-04T03:00 2019-11-04T03:00 2020-11-04T03:00"},
	{APSCHEDULER, false, "Europe/Brussels", "2026-03-28T12:00:00Z", "30 2 * * *",
	 "2026-03-29T01:30 2026-03-30T00:30 2026-03-31T00:30"},
	{APSCHEDULER, false, "Europe/Brussels", "2026-03-28T12:00:00Z", "0,30 2 * * *",
	 "2026-03-29T01:00 2026-03-30T00:00 2026-03-30T00:30"},
	{APSCHEDULER, false, "Europe/Brussels", "2026-10-24T12:00:00Z", "30 2 * * *",
	 "2026-10-25T00:30 2026-10-25T01:30 2026-10-26T01:30"},
	{APSCHEDULER, false, "Europe/Brussels", "2026-03-29T00:00:00Z", "*/30 * * * *",
	 "2026-03-29T00:30 2026-03-29T01:00 2026-03-29T01:30"},
	{ROBFIG, false, "UTC", "2026-01-01T00:00:00Z", "0 9 ? * 1",
	 "2026-01-05T09:00 2026-01-12T09:00 2026-01-19T09:00"},
	{ROBFIG, false, "UTC", "2026-01-01T00:00:00Z", "0 9 */10 * 0",
	 "2026-01-01T09:00 2026-01-04T09:00 2026-01-11T09:00"},
	{DEBIAN, false, "UTC", "2026-01-01T00:00:00Z", "0 9 */10 * 0",
	 "2026-01-11T09:00 2026-02-01T09:00 2026-03-01T09:00"},
	{CRON_PARSER, false, "UTC", "2026-01-01T00:00:00Z", "0 9 */10 * 0",
	 "2026-01-01T09:00 2026-01-04T09:00 2026-01-11T09:00"},
	{APSCHEDULER, false, "UTC", "2026-01-01T00:00:00Z", "0 9 */10 * 6",
	 "2026-01-11T09:00 2026-02-01T09:00 2026-03-01T09:00"},
	{ROBFIG, false, "UTC", "2026-01-01T00:00:00Z", "0 9 2,* * 1",
	 "2026-01-05T09:00 2026-01-12T09:00 2026-01-19T09:00"},
	{DEBIAN, false, "UTC", "2026-01-01T00:00:00Z", "0 9 2,* * 1",
	 "2026-01-01T09:00 2026-01-02T09:00 2026-01-03T09:00"},
	{CRON_PARSER, false, "UTC", "2026-01-01T00:00:00Z", "0 9 1 * */1",
	 "2026-01-01T09:00 2026-01-02T09:00 2026-01-03T09:00"},
	{ROBFIG, false, "UTC", "2026-01-01T00:00:00Z", "0 9 1 * */1",
	 "2026-01-01T09:00 2026-02-01T09:00 2026-03-01T09:00"},
	{APSCHEDULER, false, "UTC", "2026-01-01T00:00:00Z", "0 9 * * 0",
	 "2026-01-05T09:00 2026-01-12T09:00 2026-01-19T09:00"},
	{APSCHEDULER, false, "UTC", "2026-01-01T00:00:00Z", "0 9 * * sun",
	 "2026-01-04T09:00 2026-01-11T09:00 2026-01-18T09:00"},
	{APSCHEDULER, false, "UTC", "2026-01-01T00:00:00Z", "0 9 * * mon-sun",
	 "2026-01-01T09:00 2026-01-02T09:00 2026-01-03T09:00"},
	{APSCHEDULER, false, "UTC", "2026-01-01T00:00:00Z", "0 9 1 * MON",
	 "2026-06-01T09:00 2027-02-01T09:00 2027-03-01T09:00"},
	{APSCHEDULER, false, "UTC", "2026-01-01T00:00:00Z", "0 9 last * *",
	 "2026-01-31T09:00 2026-02-28T09:00 2026-03-31T09:00"},
	{APSCHEDULER, false, "UTC", "2026-01-01T00:00:00Z", "0 9 1,LAST * *",
	 "2026-01-01T09:00 2026-01-31T09:00 2026-02-01T09:00"},
	{APSCHEDULER, false, "UTC", "2026-01-01T00:00:00Z", "5/15 * * * *",
	 "2026-01-01T00:05 2026-01-01T00:20 2026-01-01T00:35"},
	{ROBFIG, false, "UTC", "2026-01-01T00:00:00Z", "0 9 * * sun",
	 "2026-01-04T09:00 2026-01-11T09:00 2026-01-18T09:00"},
	{ROBFIG, false, "UTC", "2026-01-01T00:00:00Z", "0 9 * * 1/2",
	 "2026-01-02T09:00 2026-01-05T09:00 2026-01-07T09:00"},
	{CRON_PARSER, false, "UTC", "2026-01-01T00:00:00Z", "0 9 * * 1/2",
	 "2026-01-02T09:00 2026-01-04T09:00 2026-01-05T09:00"},
	{CRON_PARSER, false, "UTC", "2026-01-01T00:00:00Z", "0 9 * * 1/3",
	 "2026-01-01T09:00 2026-01-04T09:00 2026-01-05T09:00"},
	{CRON_PARSER, false, "UTC", "2026-01-01T00:00:00Z", "0 9 * * 7",
	 "2026-01-04T09:00 2026-01-11T09:00 2026-01-18T09:00"},
	{CRON_PARSER, false, "UTC", "2026-01-01T00:00:00Z", "0 9 ?/2 * *",
	 "2026-01-01T09:00 2026-01-03T09:00 2026-01-05T09:00"},
	{CRON_PARSER, false, "UTC", "2026-01-01T00:00:00Z", "0 9 13 * 5#2",
	 "2026-01-09T09:00 2026-01-13T09:00 2026-02-13T09:00"},
	{DEBIAN, false, "UTC", "2026-01-01T00:00:00Z", "0 9 13 * 5#2",
	 "2026-01-09T09:00 2026-01-13T09:00 2026-02-13T09:00"},
	{CRON_PARSER, false, "UTC", "2026-01-01T00:00:00Z", "0 9 * * 5L,1",
	 "2026-01-05T09:00 2026-01-12T09:00 2026-01-19T09:00"},
	{CRON_PARSER, false, "UTC", "2026-01-01T00:00:00Z", "0 9 L,15 * *",
	 "2026-01-15T09:00 2026-01-31T09:00 2026-02-15T09:00"},
	{CRON_PARSER, false, "UTC", "2026-01-01T00:00:00Z", "@weekdays",
	 "2026-01-02T00:00 2026-01-05T00:00 2026-01-06T00:00"},
	{CRON_PARSER, false, "UTC", "2026-01-01T00:00:00Z", "@weekends",
	 "2026-01-03T00:00 2026-01-04T00:00 2026-01-10T00:00"},
	{CRON_PARSER, false, "UTC", "2026-01-01T00:00:00Z", "@minutely",
	 "2026-01-01T00:01 2026-01-01T00:02 2026-01-01T00:03"},
	{ROBFIG, false, "UTC", "2026-01-01T00:00:00Z", "@midnight",
	 "2026-01-02T00:00 2026-01-03T00:00 2026-01-04T00:00"},
	{DEBIAN, true, "UTC", "2026-01-01T00:00:00Z", "*/30 * * * * *",
	 "2026-01-01T00:00:30 2026-01-01T00:01 2026-01-01T00:01:30"},
	{DEBIAN, true, "UTC", "2026-01-01T00:00:00Z", "15 30 9 * * *",
	 "2026-01-01T09:30:15 2026-01-02T09:30:15 2026-01-03T09:30:15"},
	{DEBIAN, true, "UTC", "2026-01-01T00:00:00Z", "0,30 */5 9 1 * mon",
	 "2026-01-01T09:00 2026-01-01T09:00:30 2026-01-01T09:05"},
	{ROBFIG, true, "UTC", "2026-01-01T00:00:00Z", "30 0 9 ? * ?",
	 "2026-01-01T09:00:30 2026-01-02T09:00:30 2026-01-03T09:00:30"},
	{DEBIAN, true, "UTC", "2026-01-01T00:00:00Z", "@daily",
	 "2026-01-02T00:00 2026-01-03T00:00 2026-01-04T00:00"},
	{DEBIAN, true, "Europe/Brussels", "2026-03-28T12:00:00Z", "5 30 2 * * *",
	 "2026-03-29T01:00 2026-03-30T00:30:05 2026-03-31T00:30:05"},
	{APSCHEDULER, false, "UTC", "2026-01-01T00:00:00Z", "0 9 * * 1/2",
	 "2026-01-01T09:00 2026-01-03T09:00 2026-01-06T09:00"},
	{ROBFIG, false, "Europe/Brussels", "2026-10-24T22:00:00Z", "30 */2 * * *",
	 "2026-10-24T22:30 2026-10-25T00:30 2026-10-25T01:30"},
	{DEBIAN, false, "Europe/Brussels", "2026-10-24T22:00:00Z", "30 */2 * * *",
	 "2026-10-24T22:30 2026-10-25T00:30 2026-10-25T01:30"},
	{APSCHEDULER, false, "Europe/Brussels", "2026-10-24T22:00:00Z", "30 */2 * * *",
	 "2026-10-24T22:30 2026-10-25T00:30 2026-10-25T01:30"},
	{ROBFIG, false, "Europe/Brussels", "2026-03-28T12:00:00Z", "0,30 2 * * *",
	 "2026-03-30T00:00 2026-03-30T00:30 2026-03-31T00:00"},
	{ROBFIG, false, "Europe/Brussels", "2026-03-29T00:00:00Z", "*/30 * * * *",
	 "2026-03-29T00:30 2026-03-29T01:00 2026-03-29T01:30"},
	{CRON_PARSER, false, "Europe/Brussels", "2026-03-29T00:00:00Z", "*/30 * * * *",
	 "2026-03-29T00:30 2026-03-29T01:00 2026-03-29T01:30"},
	{DEBIAN, false, "UTC", "2026-01-01T00:00:00Z", "0 9 13 * 5",
	 "2026-01-02T09:00 2026-01-09T09:00 2026-01-13T09:00"},
	{ROBFIG, false, "UTC", "2026-01-01T00:00:00Z", "0 9 13 * 5",
	 "2026-01-02T09:00 2026-01-09T09:00 2026-01-13T09:00"},
	{CRON_PARSER, false, "UTC", "2026-01-01T00:00:00Z", "0 9 13 * 5",
	 "2026-01-02T09:00 2026-01-09T09:00 2026-01-13T09:00"},
	{APSCHEDULER, false, "UTC", "2026-01-01T00:00:00Z", "0 9 13 * 5",
	 "2026-06-13T09:00 2027-02-13T09:00 2027-03-13T09:00"},
	{ROBFIG, false, "UTC", "2026-01-01T00:00:00Z", "0 9 * * 0",
	 "2026-01-04T09:00 2026-01-11T09:00 2026-01-18T09:00"},
	{CRON_PARSER, false, "UTC", "2026-01-01T00:00:00Z", "0 9 * * 0",
	 "2026-01-04T09:00 2026-01-11T09:00 2026-01-18T09:00"},
	{ROBFIG, false, "UTC", "2026-01-01T00:00:00Z", "*/60 * * * *",
	 "2026-01-01T01:00 2026-01-01T02:00 2026-01-01T03:00"},
	{CRON_PARSER, false, "UTC", "2026-01-01T00:00:00Z", "*/60 * * * *",
	 "2026-01-01T01:00 2026-01-01T02:00 2026-01-01T03:00"},
	{ROBFIG, false, "UTC", "2026-01-01T00:00:00Z", "0 9 * * mon-fri/2",
	 "2026-01-02T09:00 2026-01-05T09:00 2026-01-07T09:00"},
	{CRON_PARSER, false, "UTC", "2026-01-01T00:00:00Z", "0 9 * * mon-fri/2",
	 "2026-01-02T09:00 2026-01-05T09:00 2026-01-07T09:00"},
	{DEBIAN, false, "UTC", "2026-01-01T00:00:00Z", "0 9 * * mon-fri/2",
	 "2026-01-02T09:00 2026-01-05T09:00 2026-01-07T09:00"},
	{DEBIAN, false, "UTC", "2026-01-01T00:00:00Z", "0 9 * * mon-4",
	 "2026-01-01T09:00 2026-01-05T09:00 2026-01-06T09:00"},
	{CRON_PARSER, false, "UTC", "2026-01-01T00:00:00Z", "@daily",
	 "2026-01-02T00:00 2026-01-03T00:00 2026-01-04T00:00"},
	{ROBFIG, false, "UTC", "2026-01-01T00:00:00Z", "@daily",
	 "2026-01-02T00:00 2026-01-03T00:00 2026-01-04T00:00"},
	{CRON_PARSER, false, "Australia/Lord_Howe", "2026-10-03T00:00:00Z", "15 2 * * *",
	 "2026-10-04T15:15 2026-10-05T15:15 2026-10-06T15:15"},
};

static int64_t ms(const char *text)
{
	keep_error err = KEEP_ERROR_INIT;
	int64_t time_ms = 0;

	OK(keep_time_parse(keep_bytes_of(text), &time_ms, &err));
	return time_ms;
}

static keep_schedule *parse(keep_dialect dialect, bool seconds, const char *zone,
			    const char *expression)
{
	keep_schedule_options options = KEEP_SCHEDULE_OPTIONS_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_schedule *schedule = NULL;

	options.dialect = dialect;
	options.seconds = seconds;
	options.zone = zone;
	CHECK(keep_schedule_parse(keep_bytes_of(expression), &options, &schedule, &err) == KEEP_OK,
	      "\"%s\": %s", expression, err.message);
	return schedule;
}

/* The times as the tables have them, forwards and backwards and by matches. */
static void check_times(const keep_schedule *schedule, const char *from, const char *times,
			const char *expression)
{
	int64_t found[3] = {0}, at;
	char text[3 * KEEP_TIME_TEXT_SIZE] = "", one[KEEP_TIME_TEXT_SIZE];
	keep_error err = KEEP_ERROR_INIT;
	size_t count;

	OK(keep_schedule_preview(schedule, ms(from), 3, found, &count, &err));
	CHECK(count == 3, "\"%s\"", expression);
	for (size_t i = 0; i < count; i++) {
		OK(keep_time_format(found[i], one, &err));
		one[found[i] % 60000 ? 19 : 16] = '\0';
		strcat(strcat(text, i > 0 ? " " : ""), one);
		CHECK(keep_schedule_matches(schedule, found[i]), "\"%s\"", expression);
	}
	CHECK(strcmp(text, times) == 0, "\"%s\": %s instead of %s", expression, text, times);
	for (size_t i = count; i-- > 1;) {
		OK(keep_schedule_previous(schedule, found[i], &at, &err));
		CHECK(at == found[i - 1], "\"%s\": previous", expression);
		OK(keep_schedule_previous(schedule, found[i] + 1, &at, &err));
		CHECK(at == found[i], "\"%s\": previous", expression);
		OK(keep_schedule_next(schedule, found[i] - 1, &at, &err));
		CHECK(at == found[i], "\"%s\": next", expression);
	}
}

static void debians_expressions_fire_and_are_said_in_words(void **state)
{
	keep_buffer words = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(plain); i++) {
		keep_schedule *schedule = parse(DEBIAN, false, NULL, plain[i].expression);

		check_times(schedule, "2026-01-01T00:00:00Z", plain[i].times, plain[i].expression);
		OK(keep_schedule_describe(schedule, &words, &err));
		words.len -= strlen(", in UTC");
		assert_bytes_equal(kp_buffer_bytes(&words), keep_bytes_of(plain[i].words));
		keep_schedule_close(&schedule);
		assert_null(schedule);
	}
	keep_buffer_release(&words);
	keep_zone_forget();
	assert_nothing_lives();
}

static void each_dialect_and_zone_fires_when_its_program_does(void **state)
{
	(void)state;
	for (size_t i = 0; i < KP_COUNT(elsewhere); i++) {
		keep_schedule *schedule = parse(elsewhere[i].dialect, elsewhere[i].seconds,
						elsewhere[i].zone, elsewhere[i].expression);

		check_times(schedule, elsewhere[i].from, elsewhere[i].times,
			    elsewhere[i].expression);
		keep_schedule_close(&schedule);
	}
	keep_zone_forget();
	assert_nothing_lives();
}

static void dialects_have_names(void **state)
{
	(void)state;
	for (int value = 0; value < 4; value++) {
		keep_dialect found = DEBIAN;

		assert_true(keep_dialect_parse(
			keep_bytes_of(keep_dialect_name((keep_dialect)value)), &found));
		assert_int_equal(found, value);
	}
	assert_string_equal(keep_dialect_name((keep_dialect)9), "?");
	assert_false(keep_dialect_parse(KEEP_BYTES("vixie"), &(keep_dialect){DEBIAN}));
}

static void an_interval_is_anchored_and_does_not_drift(void **state)
{
	keep_schedule *schedule = NULL;
	keep_buffer words = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	int64_t anchor = ms("2026-01-01T00:00:00.250Z"), at;

	(void)state;
	OK(keep_schedule_interval(90000, anchor, &schedule, &err));
	OK(keep_schedule_next(schedule, KEEP_TIME_MIN, &at, &err));
	assert_int_equal(at, anchor);
	OK(keep_schedule_next(schedule, anchor, &at, &err));
	assert_int_equal(at, anchor + 90000);
	OK(keep_schedule_next(schedule, anchor + 12345678, &at, &err));
	assert_int_equal(at, anchor + 138 * 90000);
	OK(keep_schedule_previous(schedule, at, &at, &err));
	assert_int_equal(at, anchor + 137 * 90000);
	assert_int_equal(keep_schedule_previous(schedule, anchor, &at, NULL), KEEP_NOT_FOUND);
	assert_int_equal(keep_schedule_next(schedule, KEEP_TIME_MAX, &at, NULL), KEEP_NOT_FOUND);
	assert_true(keep_schedule_matches(schedule, anchor + 90000));
	assert_false(keep_schedule_matches(schedule, anchor + 90001));
	assert_false(keep_schedule_matches(schedule, anchor - 90000));
	OK(keep_schedule_describe(schedule, &words, &err));
	assert_string_equal(words.data,
			    "every 1 minute 30 seconds from 2026-01-01T00:00:00.250Z on");
	keep_schedule_close(&schedule);
	OK(keep_schedule_interval(86400000, anchor, &schedule, &err));
	OK(keep_schedule_describe(schedule, &words, &err));
	assert_string_equal(words.data, "every day from 2026-01-01T00:00:00.250Z on");
	keep_schedule_close(&schedule);
	assert_int_equal(keep_schedule_interval(0, anchor, &schedule, NULL), KEEP_INVALID);
	assert_int_equal(keep_schedule_interval(-5, anchor, &schedule, NULL), KEEP_INVALID);
	assert_int_equal(keep_schedule_interval(INT64_MAX, anchor, &schedule, NULL), KEEP_INVALID);
	assert_int_equal(keep_schedule_interval(1, INT64_MAX, &schedule, NULL), KEEP_INVALID);
	keep_buffer_release(&words);
	assert_nothing_lives();
}

static void the_search_ends_where_the_years_end(void **state)
{
	keep_schedule *schedule = parse(DEBIAN, false, "Europe/Brussels", "0 0 29 2 *");
	keep_error err = KEEP_ERROR_INIT;
	int64_t at, times[3];
	size_t count;

	(void)state;
	assert_int_equal(keep_schedule_next(schedule, KEEP_TIME_MAX, &at, NULL), KEEP_NOT_FOUND);
	assert_int_equal(keep_schedule_previous(schedule, KEEP_TIME_MIN, &at, NULL),
			 KEEP_NOT_FOUND);
	assert_int_equal(keep_schedule_next(schedule, KEEP_TIME_MAX + 1, &at, NULL), KEEP_INVALID);
	assert_int_equal(keep_schedule_previous(schedule, INT64_MIN, &at, NULL), KEEP_INVALID);
	OK(keep_schedule_next(schedule, KEEP_TIME_MIN, &at, &err));
	OK(keep_schedule_previous(schedule, KEEP_TIME_MAX, &at, &err));
	assert_int_equal(at, ms("9996-02-28T23:00:00Z"));
	OK(keep_schedule_preview(schedule, ms("9990-01-01T00:00:00Z"), 3, times, &count, &err));
	assert_int_equal(count, 2);
	assert_int_equal(keep_schedule_preview(schedule, 0, KEEP_SCHEDULE_PREVIEW_MAX + 1, times,
					       &count, NULL),
			 KEEP_INVALID);
	keep_schedule_close(&schedule);
	/* A date that exists at an hour that never does there, since summer begins at it. */
	schedule = parse(ROBFIG, false, "Europe/Brussels", "30 2 29 2 *");
	OK(keep_schedule_next(schedule, 0, &at, &err));
	keep_schedule_close(&schedule);
	schedule = parse(DEBIAN, false, "Europe/Brussels", "*/60 */2 * 3 0L");
	OK(keep_schedule_next(schedule, ms("2026-03-29T00:30:00Z"), &at, &err));
	assert_int_equal(at, ms("2026-03-29T02:00:00Z"));
	keep_schedule_close(&schedule);
	keep_zone_forget();
	assert_nothing_lives();
}

static void what_never_comes_is_not_found_within_milliseconds(void **state)
{
	keep_schedule *schedule;
	keep_schedule_options options = KEEP_SCHEDULE_OPTIONS_INIT;
	keep_error err = KEEP_ERROR_INIT;
	int64_t at, begin;

	(void)state;
	/* The last Sunday of March has no 02:30 in Brussels, and this one follows the clocks. */
	options.zone = "Europe/Brussels";
	schedule = NULL;
	OK(keep_schedule_parse(KEEP_BYTES("*/60 2 * 3 0L"), &options, &schedule, &err));
	begin = kp_monotonic_ns();
	assert_int_equal(keep_schedule_next(schedule, ms("2026-01-01T00:00:00Z"), &at, &err),
			 KEEP_NOT_FOUND);
	CHECK(kp_monotonic_ns() - begin < 500000000, "%lld ns",
	      (long long)(kp_monotonic_ns() - begin));
	OK(keep_schedule_previous(schedule, ms("2026-01-01T00:00:00Z"), &at, &err));
	assert_true(at < ms("1981-01-01T00:00:00Z"));
	keep_schedule_close(&schedule);
	keep_zone_forget();
}

static void the_next_time_is_found_in_microseconds(void **state)
{
	static const char *const texts[] = {"*/5 * * * *", "30 2 * * *", "0 9 * * mon-fri",
					    "0 0 1 * *", "0 0 1 1 *"};
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(texts); i++) {
		keep_schedule *schedule = parse(DEBIAN, false, "Europe/Brussels", texts[i]);
		int64_t year_2026 = ms("2026-01-01T00:00:00Z");
		int64_t year_2036 = ms("2036-01-01T00:00:00Z");
		int64_t at = year_2026, begin = kp_monotonic_ns();

		for (int round = 0; round < 5000; round++)
			OK(keep_schedule_next(schedule, at < year_2036 ? at : year_2026, &at,
					      &err));
		begin = (kp_monotonic_ns() - begin) / 5000;
		print_message("%-16s %lld ns\n", texts[i], (long long)begin);
		/* A loaded machine and a sanitizer are slow; a walk by minutes would be slower. */
		CHECK(begin < 100000, "%s: %lld ns", texts[i], (long long)begin);
		keep_schedule_close(&schedule);
	}
	keep_zone_forget();
}

/* ---------------------------------------------------------------- the oracle */

enum { ORACLE_AFTER = 5 }; /* of a line's times; those that follow lie before the start */

/* "expression TAB start TAB times", in seconds; prints what differs. */
static bool agrees_with_oracle(char *line)
{
	char *start_text = strchr(line, '\t'), *at, *end;
	int64_t start, after, before;
	bool agrees = true;
	keep_schedule *schedule;

	*start_text++ = '\0';
	start = strtoll(start_text, &at, 10);
	after = start * 1000;
	before = after;
	schedule = parse(DEBIAN, false, NULL, line);
	for (int i = 0; agrees; i++, at = end) {
		int64_t expected = strtoll(at, &end, 10), found = 0;

		if (end == at)
			break;
		if (i < ORACLE_AFTER)
			agrees = keep_schedule_next(schedule, after, &after, NULL) == KEEP_OK;
		else
			agrees = keep_schedule_previous(schedule, before, &before, NULL) == KEEP_OK;
		found = i < ORACLE_AFTER ? after : before;
		agrees &= found == expected * 1000;
		if (!agrees)
			printf("\"%s\" from %lld, time %d: %lld instead of %lld\n", line,
			       (long long)start, i + 1, (long long)found / 1000,
			       (long long)expected);
	}
	keep_schedule_close(&schedule);
	return agrees;
}

static int compare_with_oracle(void)
{
	char line[1000];
	long lines = 0, wrong = 0;

	while (fgets(line, sizeof line, stdin)) {
		lines++;
		wrong += !agrees_with_oracle(line);
	}
	keep_zone_forget();
	printf("%ld expressions, %ld wrong\n", lines, wrong);
	return lines < 1000 || wrong > 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(debians_expressions_fire_and_are_said_in_words),
		cmocka_unit_test(each_dialect_and_zone_fires_when_its_program_does),
		cmocka_unit_test(dialects_have_names),
		cmocka_unit_test(an_interval_is_anchored_and_does_not_drift),
		cmocka_unit_test(the_search_ends_where_the_years_end),
		cmocka_unit_test(what_never_comes_is_not_found_within_milliseconds),
		cmocka_unit_test(the_next_time_is_found_in_microseconds),
	};

	if (argc > 1 && strcmp(argv[1], "--oracle") == 0)
		return compare_with_oracle();
	return cmocka_run_group_tests(tests, NULL, NULL);
}

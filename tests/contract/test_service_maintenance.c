/*
 * test_service_maintenance.c - a home's regular care happens when its clock says so: once, made up
 * for when nobody served, in the home's zone, and again after a failure.
 */
#include "service/host.h"
#include "service_steps.h"

#include "keep/schedule.h"

#include "keep/backups.h"

#include <unistd.h>

#define MINUTE INT64_C(60000)
#define HOUR INT64_C(3600000)
#define DAY INT64_C(86400000)
#define NOON INT64_C(1775908800000) /* 2026-04-11T12:00:00Z, a Saturday */

static const char *backend;
static char backups[512];

static bool is_server(void)
{
	return strcmp(backend, "postgres") == 0;
}

static int set_up(void **state)
{
	journey_fixture *fixture = calloc(1, sizeof *fixture);

	CHECK(fixture, "memory");
	steps_own_clock(NOON);
	journey_begin(fixture, backend);
	fixture->options.no_maintenance = false;
	(void)snprintf(backups, sizeof backups, "%s/copies", fixture->folder.path);
	if (is_server()) {
		assert_int_equal(mkdir(backups, 0700), 0);
		fixture->options.backups = backups;
	} else {
		(void)snprintf(backups, sizeof backups, "%s", fixture->home);
	}
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

static size_t count_backups(void)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_backup_list list = {.count = 0};
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = keep_backup_find(backups, &memory, &list, &err);
	size_t count = list.count;

	CHECK(status == KEEP_OK || status == KEEP_NOT_FOUND, "%s", err.message);
	for (size_t i = 0; i < list.count; i++)
		CHECK(list.items[i].is_good, "%" KP_PRI, KP_ARG(list.items[i].why));
	keep_memory_release(&memory);
	return count;
}

/* When a care was done last, as the home remembers it; "" before it is. */
static const char *last_of(journey_fixture *fixture, const char *name)
{
	static char text[64];
	char key[64];
	keep_buffer value = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;

	(void)snprintf(key, sizeof key, "keep.maintenance.%s", name);
	status = keep_gateway_get_state(fixture->gateway, keep_bytes_of(key), &value, &err);
	CHECK(status == KEEP_OK || status == KEEP_NOT_FOUND, "%s", err.message);
	(void)snprintf(text, sizeof text, "%s", status == KEEP_OK ? value.data : "");
	keep_buffer_release(&value);
	return text;
}

static bool was_done(journey_fixture *fixture, const char *name, const char *day)
{
	return strncmp(last_of(fixture, name), day, strlen(day)) == 0;
}

static int64_t counted(journey_fixture *fixture, kp_counter which)
{
	return atomic_load(&fixture->service->metrics.counters[which]);
}

/* ---------------------------------------------------------------- tests */

static void a_backup_is_made_each_night_and_once(void **state)
{
	journey_fixture *fixture = *state;

	journey_serve(fixture);
	EVENTUALLY(was_done(fixture, "backup", "2026-04-11T12"));
	assert_int_equal(count_backups(), 0);
	steps_set_clock(NOON + 15 * HOUR + MINUTE); /* 03:01 */
	EVENTUALLY(was_done(fixture, "backup", "2026-04-12T03:01"));
	assert_int_equal(count_backups(), 1);
	journey_stop(fixture);
	steps_set_clock(NOON + 20 * HOUR);
	journey_serve(fixture); /* it knows that this night's was made: it is retention's turn */
	EVENTUALLY(was_done(fixture, "retention", "2026-04-12"));
	assert_int_equal(counted(fixture, KP_COUNT_BACKUPS), 0);
	steps_set_clock(NOON + DAY + 16 * HOUR);
	EVENTUALLY(was_done(fixture, "backup", "2026-04-13"));
	assert_int_equal(count_backups(), 2);
}

static void what_was_missed_is_made_up_for_once(void **state)
{
	journey_fixture *fixture = *state;

	journey_serve(fixture);
	EVENTUALLY(was_done(fixture, "optimize", "2026-04-11"));
	journey_stop(fixture);
	steps_set_clock(NOON + 10 * DAY);
	journey_serve(fixture);
	EVENTUALLY(was_done(fixture, "backup", "2026-04-21"));
	EVENTUALLY(was_done(fixture, "retention", "2026-04-21"));
	EVENTUALLY(was_done(fixture, "optimize", "2026-04-21"));
	assert_int_equal(count_backups(), 1);
}

static void the_homes_zone_says_when_it_is_night(void **state)
{
	journey_fixture *fixture = *state;

	(void)steps_call(fixture, "assistant.define_setting",
			 "{\"key\":\"user.timezone\",\"value_type\":\"string\"}");
	(void)steps_call(fixture, "assistant.set_setting",
			 "{\"key\":\"user.timezone\",\"value\":\"Asia/Tokyo\"}");
	journey_serve(fixture);
	EVENTUALLY(was_done(fixture, "backup", "2026-04-11T12"));
	steps_set_clock(NOON + 6 * HOUR + MINUTE); /* 18:01 UTC is 03:01 in Tokyo */
	EVENTUALLY(was_done(fixture, "backup", "2026-04-11T18:01"));
	assert_int_equal(count_backups(), 1);
}

static void a_failure_is_counted_and_tried_again_after_an_hour(void **state)
{
	journey_fixture *fixture = *state;
	char path[600];

	(void)snprintf(path, sizeof path, "%.500s/backups", backups);
	journey_serve(fixture);
	EVENTUALLY(was_done(fixture, "backup", "2026-04-11T12"));
	fclose(fopen(path, "w")); /* no folder can be made there */
	steps_set_clock(NOON + 16 * HOUR);
	EVENTUALLY(counted(fixture, KP_COUNT_FAILED_BACKUPS) == 1);
	EVENTUALLY(was_done(fixture, "retention", "2026-04-12")); /* others go on */
	assert_int_equal(unlink(path), 0);
	assert_true(was_done(fixture, "backup", "2026-04-11"));
	steps_set_clock(NOON + 18 * HOUR);
	EVENTUALLY(was_done(fixture, "backup", "2026-04-12"));
	assert_int_equal(counted(fixture, KP_COUNT_FAILED_BACKUPS), 1);
	assert_int_equal(count_backups(), 1);
}

static void a_clock_that_was_ahead_does_not_end_the_care(void **state)
{
	journey_fixture *fixture = *state;

	steps_set_clock(NOON + 4000 * DAY);
	journey_serve(fixture);
	EVENTUALLY(was_done(fixture, "optimize", "2037"));
	steps_set_clock(NOON);
	EVENTUALLY(was_done(fixture, "backup", "2026-04-11"));
	steps_set_clock(NOON + DAY);
	EVENTUALLY(was_done(fixture, "backup", "2026-04-12"));
	assert_int_equal(count_backups(), 1);
}

static void retention_removes_what_is_over_its_limit(void **state)
{
	journey_fixture *fixture = *state;
	const char *all =
		"{\"conversation_id\":\"c\",\"memory_type\":\"short_term\",\"limit\":100}";
	int count = 0;

	(void)steps_call(fixture, "assistant.add_conversation",
			 "{\"conversation_id\":\"c\",\"channel\":\"cli\"}");
	for (int i = 0; i < 30; i++)
		(void)steps_call(fixture, "assistant.remember",
				 "{\"conversation_id\":\"c\",\"memory_type\":\"short_term\","
				 "\"content\":{\"note\":\"remember me\"}}");
	journey_serve(fixture);
	EVENTUALLY(was_done(fixture, "retention", "2026-04-11"));
	steps_set_clock(NOON + 16 * HOUR);
	EVENTUALLY(was_done(fixture, "retention", "2026-04-12"));
	for (const char *at = steps_call(fixture, "assistant.recall", all);
	     (at = strstr(at, "remember me")); at++)
		count++;
	assert_int_equal(count, 20);
}

static void a_home_on_a_server_without_a_folder_has_no_backups_and_is_cared_for(void **state)
{
	journey_fixture *fixture = *state;

	fixture->options.backups = NULL;
	journey_serve(fixture);
	EVENTUALLY(was_done(fixture, "retention", "2026-04-11"));
	steps_set_clock(NOON + 16 * HOUR);
	EVENTUALLY(was_done(fixture, "retention", "2026-04-12"));
	assert_string_equal(last_of(fixture, "backup"), "");
	assert_int_equal(counted(fixture, KP_COUNT_FAILED_BACKUPS), 0);
}

int main(int argc, char **argv)
{
#define SERVICE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		SERVICE(a_backup_is_made_each_night_and_once),
		SERVICE(what_was_missed_is_made_up_for_once),
		SERVICE(the_homes_zone_says_when_it_is_night),
		SERVICE(a_failure_is_counted_and_tried_again_after_an_hour),
		SERVICE(a_clock_that_was_ahead_does_not_end_the_care),
		SERVICE(retention_removes_what_is_over_its_limit),
	};
	const struct CMUnitTest server_tests[] = {
		SERVICE(a_home_on_a_server_without_a_folder_has_no_backups_and_is_cared_for),
	};
	int failed;

	backend = argc > 1 ? argv[1] : "sqlite";
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	return failed + (is_server() ? cmocka_run_group_tests(server_tests, NULL, NULL) : 0);
}

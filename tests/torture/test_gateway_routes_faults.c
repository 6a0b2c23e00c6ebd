/*
 * test_gateway_routes_faults.c - routes are changed and asked for while the Nth allocation, driver
 * call, file call, commit or connection fails: gateway_faults.h's kinds, with an end of its own.
 *
 *     test_gateway_routes_faults sqlite|postgres      KEEP_TORTURE=all: every N
 *
 * A round sets the routes of a chat (generation after generation), adds one, resolves with and
 * without an explanation, and removes it. Whatever a call says: what a later resolve finds is what
 * was answered OK, or after UNCERTAIN the one or the other; and no block stays alive. Ids are the
 * database's and not the same in each round, so contents are not compared, answers are.
 */
#include "gateway_fixture.h"
#include "sqlite_faults.h"
#include "torture.h"

#include <sqlite3.h>

enum { EVERY_MAX = 40 };

static int generation; /* that is stored */

static keep_bytes format_target(char room[16], int number)
{
	return (keep_bytes){room, (size_t)snprintf(room, 16, "g%d", number)};
}

static keep_status set_generation(keep_gateway *gateway, int number, keep_error *err)
{
	char room[16];
	keep_bytes target = format_target(room, number);
	keep_route routes[] = {
		{.type = KEEP_BYTES("command"), .match = KEEP_BYTES("/x"), .target = target},
		{.type = KEEP_BYTES("pattern"),
		 .match = KEEP_BYTES("^no(pe|t)[0-9]+$"),
		 .target = target},
		{.type = KEEP_BYTES("sender"), .match = KEEP_BYTES("[x-z]+"), .target = target},
		{.type = KEEP_BYTES("keyword"), .match = KEEP_BYTES("HELLO"), .target = target},
	};

	return keep_gateway_set_routes(gateway, KEEP_BYTES("web:1"), routes, KP_COUNT(routes), err);
}

/* The generation that a message meets. */
static keep_status ask(keep_gateway *gateway, bool explain, int *found, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_resolution resolution = {.matched = false};
	keep_message message = {.chat_jid = KEEP_BYTES("web:1"),
				.content = KEEP_BYTES("so hello there"),
				.sender = KEEP_BYTES("web:a+b")};
	keep_status status =
		keep_gateway_resolve(gateway, &message, explain, &memory, &resolution, err);

	if (status == KEEP_OK) {
		assert_true(resolution.matched);
		assert_int_equal(sscanf(resolution.target.data, "g%d", found), 1);
		assert_int_equal(resolution.step_count, explain ? 4 : 0);
	}
	keep_memory_release(&memory);
	return status;
}

static keep_status add_and_remove(keep_gateway *gateway, keep_error *err)
{
	keep_route route = {.jid = KEEP_BYTES("web:1"), .seq = 9, .target = KEEP_BYTES("{sender}")};
	int64_t id = 0;
	keep_status status = keep_gateway_add_route(gateway, &route, &id, err);

	return status == KEEP_OK ? keep_gateway_remove_route(gateway, id, err) : status;
}

static keep_status run_calls(keep_gateway *gateway, int *uncertain, keep_error *err)
{
	int found = 0;
	keep_status status = set_generation(gateway, generation + 1, err);

	if (status == KEEP_OK)
		generation++;
	else if (status == KEEP_UNCERTAIN)
		*uncertain = generation + 1;
	for (int explain = 0; explain <= 1 && status == KEEP_OK; explain++) {
		status = ask(gateway, explain, &found, err);
		if (status == KEEP_OK)
			assert_int_equal(found, generation);
	}
	return status == KEEP_OK ? add_and_remove(gateway, err) : status;
}

/* False when nothing fired. */
static bool run_round(enum kp_fault_kind kind, long nth, bool persistent, unsigned expected)
{
	keep_gateway *gateway = gateway_again(NULL);
	keep_error err = KEEP_ERROR_INIT;
	int uncertain = -1, found = 0;
	long fired;
	keep_status status;

	OK(ask(gateway, false, &found, &err));
	kp_fault_arm(kind, nth, persistent);
	status = run_calls(gateway, &uncertain, &err);
	fired = kp_fault_disarm(kind);
	CHECK(status == KEEP_OK || (fired && (expected & MAY(status))), "failure %ld: %s: %s", nth,
	      keep_status_name(status), err.message);
	OK(ask(gateway, true, &found, &err));
	CHECK(found == generation || found == uncertain, "failure %ld: %d instead of %d", nth,
	      found, generation);
	generation = found;
	keep_gateway_close(&gateway);
	assert_nothing_lives();
	return fired > 0;
}

static bool wants_all(void)
{
	const char *wanted = getenv("KEEP_TORTURE");

	return wanted && strcmp(wanted, "all") == 0;
}

static void fail_each(enum kp_fault_kind kind, unsigned expected)
{
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;
	long rounds = 0;

	generation = 1;
	OK(set_generation(gateway, generation, &err));
	keep_gateway_close(&gateway);
	for (int persistent = 0; persistent <= 1; persistent++)
		for (long nth = 1; run_round(kind, nth, persistent, expected);
		     nth = wants_all() || nth < EVERY_MAX ? nth + 1 : nth + nth / 8)
			rounds++;
	print_message("%ld rounds\n", rounds);
	assert_true(rounds > 0);
}

static void a_failing_allocation_is_a_status(void **state)
{
	unsigned expected = MAY(KEEP_NO_MEMORY) | MAY(KEEP_UNCERTAIN);

	(void)state;
	/* libpq reports its own lack of memory as a lost connection. */
	fail_each(KP_FAULT_ALLOC, gateway_is_file() ? expected : expected | MAY(KEEP_UNAVAILABLE));
}

static void a_failing_driver_call_is_a_status(void **state)
{
	(void)state;
	fail_each(KP_FAULT_DRIVER, MAY(KEEP_UNAVAILABLE));
}

static void a_lost_answer_to_a_commit_is_uncertain(void **state)
{
	(void)state;
	fail_each(KP_FAULT_COMMIT, MAY(KEEP_UNCERTAIN));
}

static void a_failing_file_call_or_connection_is_a_status(void **state)
{
	unsigned expected = MAY(KEEP_UNAVAILABLE) | MAY(KEEP_UNCERTAIN);

	(void)state;
	sqlite_faults_set_write_code(SQLITE_FULL);
	fail_each(gateway_is_file() ? KP_FAULT_FILE : KP_FAULT_CONNECT,
		  gateway_is_file() ? expected | MAY(KEEP_FULL) | MAY(KEEP_BUSY) : expected);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failing_allocation_is_a_status),
		cmocka_unit_test(a_failing_driver_call_is_a_status),
		cmocka_unit_test(a_lost_answer_to_a_commit_is_uncertain),
		cmocka_unit_test(a_failing_file_call_or_connection_is_a_status),
	};
	int failed;

	sqlite_faults_install();
	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}

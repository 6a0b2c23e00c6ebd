/*
 * test_service_faults.c - the host starts and stops while the Nth thing in it fails.
 *
 * Each round starts a service on a home and stops it, with one allocation, file call, driver call,
 * commit or connection failing, once or from then on, in whatever thread of the service it comes.
 * What must hold:
 *
 *   1. it starts, or says a status that fits and a sentence;
 *   2. after the stop no block, no thread and no descriptor is left (the lock of the lease and the
 *      listening socket are descriptors);
 *   3. nobody holds the lease, and the next start works.
 *
 * Asking who holds the lease, for numbers and for a trace is tried in the same way.
 *
 * The program's argument is sqlite or postgres. KEEP_TORTURE=all: many N, else a sample
 * (service_rounds.h).
 */
#include "keep/schedule.h"
#include "service/journey.h"
#include "service_rounds.h"
#include "sqlite_faults.h"

#include <sqlite3.h>

static const char *backend;
static temp_folder folder;
static char home[HOME_URL_MAX];

static bool is_file(void)
{
	return strcmp(backend, "sqlite") == 0;
}

/* ---------------------------------------------------------------- starting and stopping */

static keep_status start(keep_service **service, keep_error *err)
{
	keep_service_options options = KEEP_SERVICE_OPTIONS_INIT;

	options.listen = "127.0.0.1:0";
	options.agent = "cat";
	options.agents_max = 2;
	return keep_service_start(home, &options, service, err);
}

/* Without a fault. Also warms up what libraries keep for ever. */
static void start_and_stop(void)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_service *service = NULL;

	OK(start(&service, &err));
	OK(keep_service_health(service, &err));
	keep_service_stop(&service, 20000);
	keep_zone_forget();
}

static void nobody_holds_it(void)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer who = KEEP_BUFFER_INIT;
	bool held = true;

	/* A server hears of a closed connection a moment later. */
	EVENTUALLY(kp_host_lease_holder(home, &held, &who, &err) == KEEP_OK && !held);
	keep_buffer_release(&who);
}

static keep_status serve_once(enum kp_fault_kind kind, long nth, bool persistent, long *fired)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_service *service = NULL;
	keep_status status;

	nobody_holds_it(); /* who waits for it waits out any failure of the server */
	kp_fault_arm(kind, nth, persistent);
	status = start(&service, &err);
	if (status == KEEP_OK)
		CHECK(strncmp(keep_service_url(service), "http://127.0.0.1:", 17) == 0, "no URL");
	else
		CHECK(!service && err.status == status && *err.message, "failure %ld says nothing",
		      nth);
	keep_service_stop(&service, 20000);
	*fired = kp_fault_disarm(kind);
	return status;
}

/* What is failing is fired in other threads, too, and these go on; so OK is always right. */
static void fail_each(enum kp_fault_kind kind, unsigned expected)
{
	long rounds = 0, failed = 0;

	for (int persistent = 0; persistent <= 1; persistent++) {
		for (long nth = 1, fired = 1; fired; nth = next_round(nth)) {
			rounds_before before = rounds_look();
			keep_status status = serve_once(kind, nth, persistent, &fired);

			keep_zone_forget();
			rounds_compare(&before, nth);
			CHECK(status == KEEP_OK || (fired && expected & MAY(status)),
			      "failure %ld: %s", nth, keep_status_name(status));
			rounds++;
			failed += status != KEEP_OK;
			if (status != KEEP_OK && failed % 8 == 0)
				start_and_stop();
		}
		nobody_holds_it();
		start_and_stop();
	}
	print_message("%ld rounds, %ld of them failed\n", rounds, failed);
	assert_true(failed > 0);
}

/* libpq reports its own lack of memory as a lost connection, libmicrohttpd just does not start. */
static const unsigned no_memory =
	MAY(KEEP_NO_MEMORY) | MAY(KEEP_UNAVAILABLE) | MAY(KEEP_BUSY) | MAY(KEEP_UNCERTAIN);
static const unsigned no_file =
	MAY(KEEP_UNAVAILABLE) | MAY(KEEP_FULL) | MAY(KEEP_BUSY) | MAY(KEEP_UNCERTAIN);

static void without_memory_a_start_says_so_and_leaves_nothing(void **state)
{
	(void)state;
	fail_each(KP_FAULT_ALLOC, no_memory);
}

static void a_failing_driver_call_stops_a_start_and_leaves_nothing(void **state)
{
	(void)state;
	fail_each(KP_FAULT_DRIVER, MAY(KEEP_UNAVAILABLE));
}

static void a_failing_file_or_connection_stops_a_start_and_leaves_nothing(void **state)
{
	(void)state;
	sqlite_faults_set_write_code(SQLITE_FULL);
	fail_each(is_file() ? KP_FAULT_FILE : KP_FAULT_CONNECT, no_file);
}

/* ---------------------------------------------------------------- a home's first start */

static void make_another_home(void)
{
	static int number;
	keep_error err = KEEP_ERROR_INIT;

	if (is_file())
		(void)snprintf(home, sizeof home, "%s/first-%d", folder.path, number++);
	else
		home_server(home);
	OK(keep_home_init(home, &err));
}

static void a_first_start_that_fails_is_made_good_by_the_next_one(void **state)
{
	const enum kp_fault_kind kinds[] = {KP_FAULT_ALLOC, KP_FAULT_DRIVER, KP_FAULT_COMMIT,
					    KP_FAULT_FILE};
	/* To make a database takes a while. */
	const size_t count = is_file() ? KP_COUNT(kinds) : 2;
	const int step = is_file() ? 2 : 30;
	char usual[HOME_URL_MAX];

	(void)state;
	memcpy(usual, home, sizeof usual);
	for (size_t i = 0; i < count; i++) {
		for (long nth = 1, fired = 1; fired;
		     nth = wants_all() ? next_round(nth) : nth * step + 1) {
			rounds_before before = rounds_look();

			make_another_home();
			(void)serve_once(kinds[i], nth, false, &fired);
			keep_zone_forget();
			start_and_stop();
			rounds_compare(&before, nth);
		}
	}
	memcpy(home, usual, sizeof home);
}

/* ---------------------------------------------------------------- questions */

static keep_status ask_holder(void *ctx)
{
	keep_buffer who = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	bool held = false;
	keep_status status = kp_host_lease_holder(home, &held, &who, &err);

	(void)ctx;
	/* On a server the holder loses it, too, while its connection fails. */
	CHECK(status != KEEP_OK || (held && who.len) || !is_file(), "nobody is said to hold it");
	CHECK(!held || status != KEEP_OK || who.len, "somebody without a name");
	CHECK(status == KEEP_OK || (err.status == status && *err.message), "no sentence");
	keep_buffer_release(&who);
	return status;
}

static keep_stats_result reference;

static bool is_of_the_rows(const keep_stat *stat)
{
	return !kp_bytes_equal(stat->name, KEEP_BYTES("size_bytes")) && !stat->is_time;
}

static keep_status ask_stats(void *ctx)
{
	keep_stats_result result = {.count = 0};
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = keep_home_stats(home, NULL, &result, &err);

	(void)ctx;
	CHECK(status == KEEP_OK || (err.status == status && *err.message), "no sentence");
	CHECK(status != KEEP_OK || result.count == reference.count, "%zu numbers, not %zu",
	      result.count, reference.count);
	for (size_t i = 0; status == KEEP_OK && i < result.count; i++) {
		assert_bytes_equal(result.items[i].name, reference.items[i].name);
		if (is_of_the_rows(&result.items[i]))
			assert_int_equal(result.items[i].value, reference.items[i].value);
	}
	keep_stats_result_release(&result);
	return status;
}

typedef struct asked {
	journey_fixture fixture;
	keep_buffer trace; /* as it is told without a fault */
} asked;

static keep_status ask_trace(void *ctx)
{
	asked *self = ctx;
	keep_buffer out = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status =
		kp_journey_trace(self->fixture.gateway, self->fixture.mailbox,
				 KEEP_BYTES("telegram:42"), KEEP_BYTES("7"), &out, &err);

	CHECK(status == KEEP_OK || (err.status == status && *err.message), "no sentence");
	if (status == KEEP_OK)
		assert_bytes_equal(kp_buffer_bytes(&out), kp_buffer_bytes(&self->trace));
	keep_buffer_release(&out);
	return status;
}

/* `is_whole`: it keeps nothing open from one call to the next. */
static void ask_with_failures(keep_status (*ask)(void *ctx), void *ctx, bool is_whole)
{
	const enum kp_fault_kind kinds[] = {KP_FAULT_ALLOC, KP_FAULT_DRIVER, KP_FAULT_FILE,
					    KP_FAULT_CONNECT};
	long failed = 0;

	for (size_t i = 0; i < KP_COUNT(kinds) * 2; i++) {
		for (long nth = 1, fired = 1; fired; nth = next_round(nth)) {
			long live = kp_alloc_live();
			keep_status status;

			kp_fault_arm(kinds[i / 2], nth, i % 2);
			status = ask(ctx);
			fired = kp_fault_disarm(kinds[i / 2]);
			CHECK(status == KEEP_OK || (fired && (no_memory | no_file) & MAY(status)),
			      "failure %ld: %s", nth, keep_status_name(status));
			CHECK(!is_whole || kp_alloc_live() == live, "failure %ld left %ld blocks",
			      nth, kp_alloc_live() - live);
			failed += status != KEEP_OK;
		}
	}
	assert_true(failed > 3);
}

/* The lease of a folder, without the rest of a host, whose threads would fail, too. On a server its
   own loop asks for it once in a second. */
static void who_holds_the_lease_is_never_answered_wrongly(void **state)
{
	static keep_service holder;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	holder.home = home;
	holder.folder = is_file() ? home : NULL;
	OK(kp_host_lease_take(&holder, &holder.lease, &err));
	ask_with_failures(ask_holder, NULL, is_file());
	kp_host_lease_release(&holder.lease);
	nobody_holds_it();
}

static void the_numbers_of_a_home_are_right_or_are_not_told(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(keep_home_stats(home, NULL, &reference, &err));
	ask_with_failures(ask_stats, NULL, true);
	keep_stats_result_release(&reference);
}

static void a_trace_is_right_or_is_not_told(void **state)
{
	asked self = {.trace = KEEP_BUFFER_INIT};
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	journey_begin(&self.fixture, backend);
	self.fixture.options.agent = "cat >/dev/null; echo yes";
	journey_serve(&self.fixture);
	journey_put(&self.fixture, "telegram:42", "7", "hello");
	EVENTUALLY(journey_count(&self.fixture, "telegram:42") == 2);
	journey_stop(&self.fixture);
	OK(kp_journey_trace(self.fixture.gateway, self.fixture.mailbox, KEEP_BYTES("telegram:42"),
			    KEEP_BYTES("7"), &self.trace, &err));
	ask_with_failures(ask_trace, &self, false);
	keep_buffer_release(&self.trace);
	journey_end(&self.fixture);
	keep_zone_forget();
}

/* ---------------------------------------------------------------- all */

static int begin(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	(void)snprintf(folder.path, sizeof folder.path, "%.40s/keep-test-XXXXXX",
		       getenv("KEEP_TEST_FOLDER") ? getenv("KEEP_TEST_FOLDER") : "/tmp");
	CHECK(mkdtemp(folder.path), "no folder");
	if (is_file())
		(void)snprintf(home, sizeof home, "%s/home", folder.path);
	else
		home_server(home);
	OK(keep_home_init(home, &err));
	start_and_stop();
	return 0;
}

static int end(void **state)
{
	(void)state;
	home_servers_drop();
	temp_folder_remove(&folder);
	assert_nothing_lives();
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_memory_a_start_says_so_and_leaves_nothing),
		cmocka_unit_test(a_failing_driver_call_stops_a_start_and_leaves_nothing),
		cmocka_unit_test(a_failing_file_or_connection_stops_a_start_and_leaves_nothing),
		cmocka_unit_test(a_first_start_that_fails_is_made_good_by_the_next_one),
		cmocka_unit_test(who_holds_the_lease_is_never_answered_wrongly),
		cmocka_unit_test(the_numbers_of_a_home_are_right_or_are_not_told),
		cmocka_unit_test(a_trace_is_right_or_is_not_told),
	};

	backend = argc > 1 ? argv[1] : "sqlite";
	sqlite_faults_install();
	return cmocka_run_group_tests(tests, begin, end);
}

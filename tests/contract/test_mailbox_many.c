/*
 * test_mailbox_many.c - contracts/mailbox.md: thousands of sessions cost what changed in them.
 *
 *     test_mailbox_many sqlite|postgres
 *
 * How many: KEEP_TEST_SESSIONS, else 5,000; descriptors are limited to 1,024.
 */
#include "mailbox_fixture.h"

#include "keep/schedule.h"

#include <dirent.h>
#include <sys/resource.h>

enum { DESCRIPTORS = 1024, BUSY = 300, IDS = KEEP_SEGMENT_MAX + 1 };

static int64_t the_time = INT64_C(1800000000000);
static keep_mailbox *mailbox;
static keep_memory memory;
static char (*ids)[IDS];
static int count = 5000;

static int64_t tell_time(void *ctx)
{
	(void)ctx;
	return the_time;
}

static int count_descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	int found = 0;

	assert_non_null(folder);
	while (readdir(folder))
		found++;
	closedir(folder);
	return found;
}

static keep_sweep sweep(void)
{
	keep_sweep swept;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_mailbox_sweep(mailbox, 0, KEEP_NOW, &memory, &swept, &err));
	return swept;
}

static int make_sessions(void **state)
{
	keep_mailbox_options options = KEEP_MAILBOX_OPTIONS_INIT;
	struct rlimit limit = {DESCRIPTORS, DESCRIPTORS};
	keep_error err = KEEP_ERROR_INIT;
	const char *wanted = getenv("KEEP_TEST_SESSIONS");

	(void)state;
	if (wanted)
		count = atoi(wanted);
	assert_true(count > BUSY);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	mailbox = mailbox_fresh();
	keep_mailbox_close(&mailbox);
	options.relaxed = true;
	OK(mailbox_open_with(&options, &mailbox, &err));
	ids = calloc((size_t)count, sizeof *ids);
	assert_non_null(ids);
	mailbox_session(mailbox, NULL, ids[0]);
	for (int i = 1; i < count; i++) {
		char thread[16];
		keep_session_place place = {.agent_group_id = KEEP_BYTES(MAILBOX_AGENT),
					    .messaging_group_id = KEEP_BYTES(MAILBOX_CHAT),
					    .session_mode = KEEP_BYTES("per-thread")};
		keep_memory here = KEEP_MEMORY_INIT;
		keep_session session;

		snprintf(thread, sizeof thread, "t%d", i);
		place.thread_id = keep_bytes_of(thread);
		OK(keep_mailbox_resolve_session(mailbox, &place, KEEP_NOW, &here, &session, NULL,
						&err));
		snprintf(ids[i], IDS, "%.*s", (int)session.id.len, session.id.data);
		keep_memory_release(&here);
	}
	return 0;
}

static int release_sessions(void **state)
{
	(void)state;
	free(ids);
	keep_memory_release(&memory);
	keep_mailbox_close(&mailbox);
	keep_zone_forget(); /* a cache */
	assert_nothing_lives();
	return 0;
}

static void a_sweep_over_sleeping_sessions_looks_at_none(void **state)
{
	keep_sweep swept = sweep();

	(void)state;
	assert_int_equal(swept.looked_at, 0);
	assert_int_equal(swept.next_ms, 0);
}

static void a_sweep_looks_at_those_whose_time_has_come_alone(void **state)
{
	keep_sweep swept;

	(void)state;
	for (int i = 0; i < 3; i++)
		(void)mailbox_post(mailbox, ids[i * 100], "{}");
	the_time += 60000;
	swept = sweep();
	assert_int_equal(swept.looked_at, 3);
	assert_int_equal(swept.count, 3);
	the_time += 1000;
	assert_int_equal(sweep().looked_at, 0);
}

/* Post to it, answer as its agent, and close that. */
static void have_it_answer(const char *id)
{
	keep_memory here = KEEP_MEMORY_INIT;
	keep_send reply = {.content = KEEP_BYTES("{\"text\":\"hi\"}")};
	keep_claim_request request = {.max = 100};
	keep_claim_ref refs[100];
	keep_claim_list claims;
	keep_error err = KEEP_ERROR_INIT;
	keep_agent *agent;

	(void)mailbox_post(mailbox, id, "{}");
	agent = mailbox_agent(mailbox, id);
	OK(keep_agent_claim(agent, &request, KEEP_NOW, &here, &claims, &err));
	assert_true(claims.count >= 1);
	for (size_t i = 0; i < claims.count; i++)
		refs[i] = (keep_claim_ref){claims.items[i].message.id, claims.items[i].attempt};
	OK(keep_agent_complete_with(agent, refs, claims.count, &reply, 1, KEEP_NOW, NULL, &err));
	keep_agent_close(&agent);
	keep_memory_release(&here);
}

static void collect_and_deliver(keep_bytes id)
{
	keep_memory here = KEEP_MEMORY_INIT;
	keep_collection collection;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_mailbox_collect(mailbox, id, 0, KEEP_NOW, &here, &collection, &err));
	for (size_t i = 0; i < collection.count; i++) {
		keep_outcome_report report = {.session = id,
					      .key = collection.items[i].key,
					      .outcome = KEEP_OUTCOME_DELIVERED};

		OK(keep_mailbox_begin_delivery(mailbox, id, report.key, 0, KEEP_NOW,
					       &report.attempt, &err));
		OK(keep_mailbox_complete_delivery(mailbox, &report, KEEP_NOW, &err));
	}
	keep_memory_release(&here);
}

static void hundreds_of_active_sessions_are_served_in_turn(void **state)
{
	keep_session_names names;
	keep_error err = KEEP_ERROR_INIT;
	int served = 0, most = 0;

	(void)state;
	OK(keep_mailbox_wait(mailbox, 0, &memory, &names, &err));
	for (int i = 0; i < BUSY; i++) {
		have_it_answer(ids[i]);
		if (count_descriptors() > most)
			most = count_descriptors();
	}
	while (served < BUSY) {
		OK(keep_mailbox_wait(mailbox, 20000 * test_patience(), &memory, &names, &err));
		assert_true(names.count > 0);
		for (size_t i = 0; i < names.count; i++)
			collect_and_deliver(names.items[i]);
		served += (int)names.count;
		if (count_descriptors() > most)
			most = count_descriptors();
	}
	CHECK(most < DESCRIPTORS - 64, "%d descriptors", most);
	/* All of it is done: one more look at each, and they sleep. */
	the_time += 120000;
	(void)sweep();
	the_time += 120000;
	assert_int_equal(sweep().looked_at, 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_sweep_over_sleeping_sessions_looks_at_none),
		cmocka_unit_test(a_sweep_looks_at_those_whose_time_has_come_alone),
		cmocka_unit_test(hundreds_of_active_sessions_are_served_in_turn),
	};
	int failed;

	mailbox_begin(argc, argv);
	kp_clock_inject(tell_time, NULL);
	failed = cmocka_run_group_tests(tests, make_sessions, release_sessions);
	mailbox_end();
	return failed;
}

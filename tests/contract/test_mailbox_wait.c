/*
 * test_mailbox_wait.c - contracts/mailbox.md: hosts sleep until agents did something.
 *
 *     test_mailbox_wait sqlite|postgres
 *     test_mailbox_wait sqlite|postgres answer PLACE       claims a message and answers it
 */
#include "mailbox_fixture.h"

#include "keep/schedule.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LONG_MS = 20000 }; /* nothing here takes so long */

static keep_mailbox *mailbox;
static keep_agent *agent;
static char session[KEEP_SEGMENT_MAX + 1];
static keep_memory memory;
static keep_session_names names;

static int begin(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	memory = (keep_memory)KEEP_MEMORY_INIT;
	mailbox = mailbox_fresh();
	mailbox_session(mailbox, NULL, session);
	OK(keep_mailbox_wake(mailbox, keep_bytes_of(session), KEEP_NOW, NULL, &err));
	agent = mailbox_agent(mailbox, session);
	return 0;
}

static int end(void **state)
{
	(void)state;
	keep_agent_close(&agent);
	keep_memory_release(&memory);
	keep_mailbox_close(&mailbox);
	keep_zone_forget(); /* a cache */
	assert_nothing_lives();
	return 0;
}

static void wait_for(int64_t timeout_ms)
{
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_mailbox_wait(mailbox, timeout_ms, &memory, &names, &err));
}

static void wait_for_session(const char *id)
{
	wait_for(LONG_MS * test_patience());
	assert_int_equal(names.count, 1);
	assert_bytes_equal(names.items[0], keep_bytes_of(id));
}

static void collect(keep_mailbox *host, const char *id)
{
	keep_collection collection;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_mailbox_collect(host, keep_bytes_of(id), 0, KEEP_NOW, &memory, &collection, &err));
}

/* Claim one message of `who` and answer it. */
static void answer(keep_agent *who)
{
	keep_memory here = KEEP_MEMORY_INIT;
	keep_claim_list claims;
	keep_claim_ref ref;
	keep_send reply = {.content = KEEP_BYTES("{\"text\":\"hi\"}")};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_agent_claim(who, NULL, KEEP_NOW, &here, &claims, &err));
	assert_int_equal(claims.count, 1);
	ref = (keep_claim_ref){claims.items[0].message.id, claims.items[0].attempt};
	OK(keep_agent_complete_with(who, &ref, 1, &reply, 1, KEEP_NOW, NULL, &err));
	keep_memory_release(&here);
}

static pid_t start_other(const char *what, const char *place, const char *id)
{
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		execl(mailbox_program(), mailbox_program(), mailbox_kind(), what, place, id,
		      (char *)NULL);
		_exit(127);
	}
	return child;
}

static void end_other(pid_t child)
{
	int status = 0;

	assert_int_equal(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %d", status);
}

static void place_of(const char *id, char text[MAILBOX_URL_MAX + 200])
{
	keep_bytes place;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_mailbox_session_place(mailbox, keep_bytes_of(id), &memory, &place, &err));
	snprintf(text, MAILBOX_URL_MAX + 200, "%.*s", (int)place.len, place.data);
}

/* ---------------------------------------------------------------- news */

static void nothing_is_news_in_a_quiet_mailbox(void **state)
{
	(void)state;
	wait_for(0);
	assert_int_equal(names.count, 0);
	wait_for(1);
	assert_int_equal(names.count, 0);
}

static void the_first_wait_names_what_was_there_before(void **state)
{
	char other[KEEP_SEGMENT_MAX + 1];

	(void)state;
	mailbox_session(mailbox, "asleep", other);
	(void)mailbox_post(mailbox, session, "{}");
	answer(agent);
	wait_for(0);
	assert_int_equal(names.count, 1);
	assert_bytes_equal(names.items[0], keep_bytes_of(session));
	wait_for(0);
	assert_int_equal(names.count, 0);
}

static void an_answer_ends_the_wait(void **state)
{
	(void)state;
	wait_for(0);
	for (int i = 0; i < 5; i++) {
		(void)mailbox_post(mailbox, session, "{}");
		answer(agent);
		wait_for_session(session);
		collect(mailbox, session);
	}
}

static void an_answer_of_another_process_ends_the_wait(void **state)
{
	char place[MAILBOX_URL_MAX + 200];
	pid_t child;

	(void)state;
	wait_for(0);
	(void)mailbox_post(mailbox, session, "{}");
	place_of(session, place);
	child = start_other("answer", place, "");
	wait_for_session(session);
	end_other(child);
}

static void a_session_made_after_the_first_wait_is_heard(void **state)
{
	char other[KEEP_SEGMENT_MAX + 1];
	keep_agent *its;

	(void)state;
	wait_for(0);
	mailbox_session(mailbox, "later", other);
	its = mailbox_agent(mailbox, other);
	(void)mailbox_post(mailbox, other, "{}");
	answer(its);
	wait_for_session(other);
	keep_agent_close(&its);
}

static void a_session_made_by_another_host_is_heard(void **state)
{
	char other[KEEP_SEGMENT_MAX + 1];
	keep_mailbox *host = mailbox_again();
	keep_agent *its;
	keep_error err = KEEP_ERROR_INIT;
	keep_send word = {.content = KEEP_BYTES("{\"text\":\"on my own\"}")};

	(void)state;
	wait_for(0);
	mailbox_session(host, "elsewhere", other);
	(void)mailbox_post(host, other, "{}");
	OK(keep_mailbox_wake(host, keep_bytes_of(other), KEEP_NOW, NULL, &err));
	its = mailbox_agent(host, other);
	answer(its);
	wait_for_session(other);
	collect(mailbox, other);
	OK(keep_agent_send(its, &word, KEEP_NOW, NULL, &err));
	wait_for_session(other);
	keep_agent_close(&its);
	keep_mailbox_close(&host);
}

static void many_sessions_are_named(void **state)
{
	enum { COUNT = 60 };
	char ids[COUNT][KEEP_SEGMENT_MAX + 1], thread[16];
	bool named[COUNT] = {false};
	int left = COUNT;

	(void)state;
	wait_for(0);
	for (int i = 0; i < COUNT; i++) {
		keep_agent *its;

		snprintf(thread, sizeof thread, "t%d", i);
		mailbox_session(mailbox, thread, ids[i]);
		(void)mailbox_post(mailbox, ids[i], "{}");
		its = mailbox_agent(mailbox, ids[i]);
		answer(its);
		keep_agent_close(&its);
	}
	while (left > 0) {
		wait_for(LONG_MS * test_patience());
		assert_true(names.count > 0);
		for (size_t n = 0; n < names.count; n++) {
			for (int i = 0; i < COUNT; i++) {
				if (!kp_bytes_equal(names.items[n], keep_bytes_of(ids[i])))
					continue;
				left -= !named[i];
				named[i] = true;
				collect(mailbox, ids[i]);
			}
		}
	}
	wait_for(0);
	assert_int_equal(names.count, 0);
}

/* ---------------------------------------------------------------- cancelling, threads */

static void *wait_in_thread(void *ctx)
{
	keep_memory here = KEEP_MEMORY_INIT;
	keep_session_names found;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_mailbox_wait(mailbox, -1, &here, &found, &err));
	atomic_store((atomic_size_t *)ctx, found.count);
	keep_memory_release(&here);
	return NULL;
}

static void each_piece_of_news_goes_to_one_thread_and_a_cancel_ends_the_others(void **state)
{
	pthread_t threads[4];
	atomic_size_t counts[4] = {9, 9, 9, 9};
	size_t named = 0;

	(void)state;
	wait_for(0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, wait_in_thread, &counts[i]), 0);
	(void)mailbox_post(mailbox, session, "{}");
	answer(agent);
	/* Who got it collects before the others are sent away. */
	for (int i = 0; i < 4 * LONG_MS && !named; i++) {
		struct timespec nap = {.tv_nsec = 1000000};

		(void)nanosleep(&nap, NULL);
		for (int k = 0; k < 4; k++)
			named += atomic_load(&counts[k]) == 1;
	}
	keep_mailbox_cancel_waits(mailbox);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(counts[0] + counts[1] + counts[2] + counts[3], 1);
	wait_for(-1);
	assert_int_equal(names.count, 0);
}

/* ---------------------------------------------------------------- files */

static void write_bell(const char *how)
{
	char path[700];

	snprintf(path, sizeof path, "%s/.bell-out", mailbox_folder(session));
	if (strcmp(how, "missing") == 0)
		assert_int_equal(unlink(path), 0);
	if (strcmp(how, "link") == 0) {
		assert_int_equal(unlink(path), 0);
		assert_int_equal(symlink("/dev/null", path), 0);
	}
}

/* A program that knows the source's files alone: it writes outbound.db and rings nothing. */
static void say_silently(int number)
{
	char sql[300];

	snprintf(sql, sizeof sql,
		 "INSERT INTO messages_out (id, seq, timestamp, kind, platform_id, channel_type, "
		 "content) VALUES ('silent-%d', %d, '2026-01-01 00:00:00', 'chat', '42', "
		 "'telegram', '{}')",
		 number, number);
	(void)mailbox_sql(session, "outbound.db", sql);
}

static void an_agent_that_never_rings_is_heard(void **state)
{
	(void)state;
	keep_agent_close(&agent);
	write_bell("missing");
	wait_for(0);
	for (int i = 0; i < 3; i++) {
		say_silently(101 + 2 * i);
		wait_for_session(session);
		collect(mailbox, session);
	}
}

static void a_link_in_the_place_of_a_bell_is_not_followed(void **state)
{
	struct stat st;
	char path[700];

	(void)state;
	keep_agent_close(&agent);
	write_bell("link");
	wait_for(0);
	say_silently(101);
	wait_for_session(session);
	snprintf(path, sizeof path, "%s/.bell-out", mailbox_folder(session));
	assert_int_equal(lstat(path, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
}

static void an_agent_killed_before_its_ring_is_heard(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(keep_mailbox_set_container(mailbox, keep_bytes_of(session), KEEP_BYTES("running"),
				      &err));
	wait_for(0);
	assert_int_equal(names.count, 1); /* somebody is at work there */
	collect(mailbox, session);
	say_silently(101); /* the bell was rung before, so it is no silent agent */
	wait_for_session(session);
}

static void a_mailbox_for_unsafe_mounts_is_heard(void **state)
{
	keep_mailbox_options options = KEEP_MAILBOX_OPTIONS_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	keep_agent_close(&agent);
	keep_mailbox_close(&mailbox);
	options.mount_safe = true;
	OK(mailbox_open_with(&options, &mailbox, &err));
	wait_for(0);
	(void)mailbox_post(mailbox, session, "{}");
	say_silently(101);
	wait_for_session(session);
}

static void a_session_that_is_gone_is_no_news(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	wait_for(0);
	OK(keep_mailbox_close_session(mailbox, keep_bytes_of(session), KEEP_NOW, &err));
	keep_agent_close(&agent);
	OK(keep_mailbox_remove_session(mailbox, keep_bytes_of(session), &err));
	wait_for(1500);
	assert_int_equal(names.count, 0);
}

/* ---------------------------------------------------------------- other processes */

static int be_another(char **argv)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_agent *its = NULL;

	if (strcmp(argv[2], "answer") != 0 || keep_agent_open(argv[3], NULL, &its, &err) != KEEP_OK)
		return 2;
	answer(its);
	keep_agent_close(&its);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(nothing_is_news_in_a_quiet_mailbox),
		TEST(the_first_wait_names_what_was_there_before),
		TEST(an_answer_ends_the_wait),
		TEST(an_answer_of_another_process_ends_the_wait),
		TEST(a_session_made_after_the_first_wait_is_heard),
		TEST(a_session_made_by_another_host_is_heard),
		TEST(many_sessions_are_named),
		TEST(each_piece_of_news_goes_to_one_thread_and_a_cancel_ends_the_others),
	};
	const struct CMUnitTest of_files[] = {
		TEST(an_agent_that_never_rings_is_heard),
		TEST(a_link_in_the_place_of_a_bell_is_not_followed),
		TEST(an_agent_killed_before_its_ring_is_heard),
		TEST(a_mailbox_for_unsafe_mounts_is_heard),
		TEST(a_session_that_is_gone_is_no_news),
	};
	int failed;

	if (argc > 3)
		return be_another(argv);
	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	if (mailbox_is_file())
		failed += cmocka_run_group_tests(of_files, NULL, NULL);
	mailbox_end();
	return failed;
}

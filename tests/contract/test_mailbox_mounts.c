/*
 * test_mailbox_mounts.c - contracts/mailbox.md, "Files and mounts": which journal a session has is
 * found out, and the whole trip goes both ways.
 *
 *     test_mailbox_mounts sqlite
 *
 * The other side is this program, started again as "sqlite agent FOLDER COUNT" or "sqlite host URL
 * SESSION COUNT". A border is made by taking shared maps away from one of them
 * (support/shared_maps.h), or by another kernel's boot id in `.host`.
 */
#include "mailbox_fixture.h"
#include "shared_maps.h"

#include "mailbox/mailbox_private.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { AGENT_LEASE_MS = 700, POLL_NS = 5000000 };

static keep_error err = KEEP_ERROR_INIT;

/* ---------------------------------------------------------------- what lies in the folder */

static const char *path_of(const char *session, const char *name)
{
	static char path[800];

	snprintf(path, sizeof path, "%s/%s", mailbox_folder(session), name);
	return path;
}

static bool is_there(const char *session, const char *name)
{
	return access(path_of(session, name), F_OK) == 0;
}

static bool has_log(const char *session, const char *file)
{
	bool answer = false;

	OK(kp_sqlite_has_log(path_of(session, file), &answer, &err));
	return answer;
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static int64_t count(const char *session, const char *file, const char *query)
{
	char sql[300];

	snprintf(sql, sizeof sql, "SELECT CAST((%s) AS TEXT)", query);
	return strtoll(mailbox_sql(session, file, sql), NULL, 10);
}

static void pause_shortly(void)
{
	struct timespec nap = {.tv_nsec = POLL_NS};

	(void)nanosleep(&nap, NULL);
}

/* ---------------------------------------------------------------- the other process */

static bool is_enough(const char *folder)
{
	char path[800];

	snprintf(path, sizeof path, "%s/enough", folder);
	return access(path, F_OK) == 0;
}

static keep_status answer_some(keep_agent *agent, keep_memory *memory, size_t *claimed)
{
	keep_claim_request request = {.max = 3, .lease_ms = AGENT_LEASE_MS};
	keep_claim_list claims;
	keep_status status = keep_agent_claim(agent, &request, KEEP_NOW, memory, &claims, &err);

	*claimed = status == KEEP_OK ? claims.count : 0;
	for (size_t i = 0; i < *claimed && status == KEEP_OK; i++) {
		keep_claim_ref ref = {claims.items[i].message.id, claims.items[i].attempt};
		keep_send reply = {.content = KEEP_BYTES("{\"text\":\"done\"}")};
		keep_sent sent;

		status = keep_agent_complete_with(agent, &ref, 1, &reply, 1, KEEP_NOW, &sent, &err);
		if (status == KEEP_CONFLICT) /* the lease moved on */
			status = KEEP_OK;
	}
	return status;
}

/* Answers until the file "enough" is in the folder. */
static int be_agent(const char *folder)
{
	keep_agent_options options = KEEP_AGENT_OPTIONS_INIT;
	keep_agent *agent = NULL;
	int64_t until_ns = kp_monotonic_ns() + test_patience() * INT64_C(60000000000);
	keep_status status;

	options.timeout_ms = 20000;
	status = keep_agent_open(folder, &options, &agent, &err);
	while (status == KEEP_OK && !is_enough(folder) && kp_monotonic_ns() < until_ns) {
		keep_memory memory = KEEP_MEMORY_INIT;
		size_t claimed = 0;

		status = answer_some(agent, &memory, &claimed);
		keep_memory_release(&memory);
		if (!claimed)
			pause_shortly();
	}
	if (status != KEEP_OK)
		fprintf(stderr, "agent: %s\n", err.message);
	keep_agent_close(&agent);
	return status == KEEP_OK ? 0 : 1;
}

/* Posts `wanted` messages. */
static int be_host(const char *url, const char *session, int wanted)
{
	keep_mailbox_options options = KEEP_MAILBOX_OPTIONS_INIT;
	keep_mailbox *mailbox = NULL;
	keep_status status;

	options.timeout_ms = 20000;
	status = keep_mailbox_open(url, &options, &mailbox, &err);
	for (int i = 0; i < wanted && status == KEEP_OK; i++) {
		keep_post post = {.content = KEEP_BYTES("{\"text\":\"do\"}"),
				  .channel_type = KEEP_BYTES("telegram"),
				  .platform_id = KEEP_BYTES("42")};
		keep_post_result result;

		status = keep_mailbox_post(mailbox, keep_bytes_of(session), &post, &result, &err);
	}
	if (status != KEEP_OK)
		fprintf(stderr, "host: %s\n", err.message);
	keep_mailbox_close(&mailbox);
	return status == KEEP_OK ? 0 : 1;
}

static pid_t start(bool maps, const char *role, const char *a, const char *b, const char *c)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid)
		return pid;
	if (maps)
		(void)unsetenv("KEEP_TEST_NO_MAPS");
	else
		(void)setenv("KEEP_TEST_NO_MAPS", "1", 1);
	(void)execl(mailbox_program(), mailbox_program(), "sqlite", role, a, b, c, (char *)NULL);
	_exit(126);
}

static pid_t start_agent(bool maps, const char *session)
{
	return start(maps, "agent", mailbox_folder(session), NULL, NULL);
}

static void await_end(pid_t pid)
{
	int status = 0;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* The host looks at the session over and over, as one that collects does, until so many messages
   are completed. */
static void await_completed(keep_mailbox *mailbox, const char *session, int64_t wanted)
{
	int64_t until_ns = kp_monotonic_ns() + test_patience() * INT64_C(60000000000);
	int64_t found = 0;

	while (found < wanted) {
		keep_post_result result;
		/* a duplicate: it uses the session and changes nothing */
		keep_post post = {.id = KEEP_BYTES("again"),
				  .content = KEEP_BYTES("{}"),
				  .channel_type = KEEP_BYTES("telegram"),
				  .platform_id = KEEP_BYTES("42")};

		OK(keep_mailbox_post(mailbox, keep_bytes_of(session), &post, &result, &err));
		found = count(session, "outbound.db",
			      "SELECT count(*) FROM processing_ack WHERE status = 'completed'");
		CHECK(kp_monotonic_ns() < until_ns, "%lld of %lld", (long long)found,
		      (long long)wanted);
		pause_shortly();
	}
}

static void finish(const char *session)
{
	write_file(path_of(session, "enough"), "");
}

/* Each message has one reply. */
static void check_replies(const char *session, int64_t wanted)
{
	assert_int_equal(count(session, "inbound.db", "SELECT count(*) FROM messages_in"), wanted);
	assert_int_equal(count(session, "outbound.db", "SELECT count(*) FROM messages_out"),
			 wanted);
	assert_int_equal(count(session, "outbound.db",
			       "SELECT count(DISTINCT in_reply_to) FROM messages_out"),
			 wanted);
	assert_string_equal(mailbox_sql(session, "inbound.db", "PRAGMA integrity_check"), "ok");
	assert_string_equal(mailbox_sql(session, "outbound.db", "PRAGMA integrity_check"), "ok");
}

/* ---------------------------------------------------------------- what is found out */

static void file_systems_that_several_kernels_write_are_known(void **state)
{
	static const uint32_t crossing[] = {0x6969,     0x517b,     0xff534d42,
					    0x01021997, 0x65735546, 0x786f4256};
	static const uint32_t local[] = {0xef53, 0x58465342, 0x9123683e, 0x01021994, 0x794c7630};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(crossing); i++)
		assert_true(kp_mount_type_crosses(crossing[i]));
	for (size_t i = 0; i < KP_COUNT(local); i++)
		assert_false(kp_mount_type_crosses(local[i]));
}

static void a_folder_is_probed_and_nothing_is_left_in_it(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	char session[KEEP_SEGMENT_MAX + 1];
	bool shares = false;

	(void)state;
	mailbox_session(mailbox, NULL, session);
	OK(kp_mount_look(mailbox_folder(session), &shares, &err));
	assert_true(shares);
	no_shared_maps = true;
	OK(kp_mount_look(mailbox_folder(session), &shares, &err));
	no_shared_maps = false;
	assert_false(shares);
	assert_int_equal(kp_mount_look(path_of(session, "nowhere"), &shares, &err), KEEP_NOT_FOUND);
	{
		char command[900];

		snprintf(command, sizeof command, "! ls -A %s | grep -q probe",
			 mailbox_folder(session));
		assert_int_equal(system(command), 0);
	}
	keep_mailbox_close(&mailbox);
	keep_zone_forget();
	assert_nothing_lives();
}

static void on_one_kernel_both_files_have_a_log(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	char session[KEEP_SEGMENT_MAX + 1];
	keep_agent *agent;

	(void)state;
	mailbox_session(mailbox, NULL, session);
	(void)mailbox_post(mailbox, session, "{}");
	assert_true(has_log(session, "inbound.db"));
	assert_false(has_log(session, "outbound.db")); /* a source agent could not open it */
	assert_true(is_there(session, ".host"));
	agent = mailbox_agent(mailbox, session);
	assert_true(has_log(session, "outbound.db")); /* though the host has it open */
	assert_false(is_there(session, ".mount-safe"));
	(void)mailbox_post(mailbox, session, "{}");
	keep_agent_close(&agent);
	keep_mailbox_close(&mailbox);
	keep_zone_forget();
	assert_nothing_lives();
}

static void an_agent_without_maps_gets_rollback_journals_by_itself(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	char session[KEEP_SEGMENT_MAX + 1];
	pid_t pid;

	(void)state;
	mailbox_session(mailbox, NULL, session);
	for (int i = 0; i < 5; i++)
		(void)mailbox_post(mailbox, session, "{\"text\":\"do\"}");
	pid = start_agent(false, session);
	await_completed(mailbox, session, 6);
	(void)mailbox_post(mailbox, session, "{\"text\":\"more\"}");
	await_completed(mailbox, session, 7);
	finish(session);
	await_end(pid);
	assert_true(is_there(session, ".mount-safe"));
	assert_false(has_log(session, "inbound.db") || has_log(session, "outbound.db"));
	check_replies(session, 7);
	keep_mailbox_close(&mailbox);
	keep_zone_forget();
	assert_nothing_lives();
}

static void a_host_without_maps_has_no_log_anywhere(void **state)
{
	keep_mailbox *mailbox;
	char session[KEEP_SEGMENT_MAX + 1], registry[700];
	bool registry_has_log = true;
	pid_t pid;

	(void)state;
	no_shared_maps = true;
	mailbox = mailbox_fresh();
	mailbox_session(mailbox, NULL, session);
	(void)mailbox_post(mailbox, session, "{}");
	snprintf(registry, sizeof registry, "%s/registry.db", mailbox_url() + strlen("sqlite:"));
	OK(kp_sqlite_has_log(registry, &registry_has_log, &err));
	assert_false(registry_has_log);
	assert_true(is_there(session, ".mount-safe"));
	pid = start_agent(true, session); /* whom the host told */
	await_completed(mailbox, session, 2);
	finish(session);
	await_end(pid);
	assert_false(has_log(session, "inbound.db") || has_log(session, "outbound.db"));
	check_replies(session, 2);
	keep_mailbox_close(&mailbox);
	no_shared_maps = false;
	keep_zone_forget();
	assert_nothing_lives();
}

static void another_kernels_boot_id_is_a_border(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	keep_agent_options options = KEEP_AGENT_OPTIONS_INIT;
	char session[KEEP_SEGMENT_MAX + 1];
	keep_agent *agent = NULL;

	(void)state;
	mailbox_session(mailbox, NULL, session);
	(void)mailbox_post(mailbox, session, "{}");
	write_file(path_of(session, ".host"), "00000000-1111-2222-3333-444444444444\n");
	options.timeout_ms = 50; /* and the host is idle */
	assert_int_equal(keep_agent_open(mailbox_folder(session), &options, &agent, &err),
			 KEEP_UNAVAILABLE);
	CHECK(strstr(err.message, "the host did not do without"), "%s", err.message);
	assert_true(is_there(session, ".mount-safe"));
	(void)mailbox_post(mailbox, session, "{}"); /* it looks, and does */
	assert_false(has_log(session, "inbound.db"));
	OK(keep_agent_open(mailbox_folder(session), &options, &agent, &err));
	assert_false(has_log(session, "outbound.db"));
	keep_agent_close(&agent);
	keep_mailbox_close(&mailbox);
	mailbox = mailbox_again(); /* it stays */
	(void)mailbox_post(mailbox, session, "{}");
	assert_false(has_log(session, "inbound.db"));
	keep_mailbox_close(&mailbox);
	keep_zone_forget();
	assert_nothing_lives();
}

static void a_stale_boot_id_of_ours_is_renewed(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	char session[KEEP_SEGMENT_MAX + 1];
	keep_agent *agent;

	(void)state;
	mailbox_session(mailbox, NULL, session);
	write_file(path_of(session, ".host"), "of the time before a reboot");
	(void)mailbox_post(mailbox, session, "{}");
	agent = mailbox_agent(mailbox, session);
	assert_false(is_there(session, ".mount-safe"));
	keep_agent_close(&agent);
	keep_mailbox_close(&mailbox);
	keep_zone_forget();
	assert_nothing_lives();
}

static void either_side_can_be_told(void **state)
{
	keep_mailbox_options host = KEEP_MAILBOX_OPTIONS_INIT;
	keep_agent_options options = KEEP_AGENT_OPTIONS_INIT;
	char session[KEEP_SEGMENT_MAX + 1];
	keep_mailbox *mailbox = mailbox_fresh();
	keep_agent *agent = NULL;

	(void)state;
	mailbox_session(mailbox, NULL, session);
	keep_mailbox_close(&mailbox);
	host.mount_safe = true;
	OK(mailbox_open_with(&host, &mailbox, &err));
	(void)mailbox_post(mailbox, session, "{}");
	assert_true(is_there(session, ".mount-safe"));
	assert_false(has_log(session, "inbound.db"));
	agent = mailbox_agent(mailbox, session);
	assert_false(has_log(session, "outbound.db"));
	keep_agent_close(&agent);
	mailbox_session(mailbox, "another", session);
	keep_mailbox_close(&mailbox);
	mailbox = mailbox_again();
	options.mount_safe = true;
	options.timeout_ms = 50;
	OK(keep_agent_open(mailbox_folder(session), &options, &agent, &err)); /* no log as yet */
	(void)mailbox_post(mailbox, session, "{}");
	assert_false(has_log(session, "inbound.db") || has_log(session, "outbound.db"));
	keep_agent_close(&agent);
	keep_mailbox_close(&mailbox);
	keep_zone_forget();
	assert_nothing_lives();
}

static void who_has_the_log_open_follows_at_the_next_use(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	char session[KEEP_SEGMENT_MAX + 1];
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_claim_list claims;
	keep_agent *agent;

	(void)state;
	mailbox_session(mailbox, NULL, session);
	(void)mailbox_post(mailbox, session, "{}");
	agent = mailbox_agent(mailbox, session);
	OK(keep_agent_claim(agent, NULL, KEEP_NOW, &memory, &claims, &err));
	write_file(path_of(session, ".mount-safe"), "");
	(void)mailbox_post(mailbox, session, "{}"); /* the agent's handle is in the way: it works */
	OK(keep_agent_claim(agent, NULL, KEEP_NOW, &memory, &claims, &err));
	assert_int_equal(claims.count, 1);
	(void)mailbox_post(mailbox, session, "{}");
	assert_false(has_log(session, "inbound.db"));
	OK(keep_agent_claim(agent, NULL, KEEP_NOW, &memory, &claims, &err));
	assert_int_equal(claims.count, 1);
	assert_false(has_log(session, "outbound.db"));
	keep_agent_close(&agent);
	keep_memory_release(&memory);
	keep_mailbox_close(&mailbox);
	keep_zone_forget();
	assert_nothing_lives();
}

static void what_an_agent_plants_under_our_names_is_not_followed(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	char session[KEEP_SEGMENT_MAX + 1], victim[700];
	struct stat st;

	(void)state;
	mailbox_session(mailbox, NULL, session);
	snprintf(victim, sizeof victim, "%s-victim", mailbox_url() + strlen("sqlite:"));
	write_file(victim, "precious");
	(void)unlink(path_of(session, ".host"));
	assert_int_equal(symlink(victim, path_of(session, ".host")), 0);
	(void)mailbox_post(mailbox, session, "{}");
	assert_int_equal(stat(victim, &st), 0);
	assert_int_equal(st.st_size, 8);
	keep_mailbox_close(&mailbox);
	(void)unlink(path_of(session, ".host"));
	assert_int_equal(mkfifo(path_of(session, ".host"), 0600), 0);
	mailbox = mailbox_again();
	(void)mailbox_post(mailbox, session, "{}"); /* nor waited on */
	assert_int_equal(lstat(path_of(session, ".host"), &st), 0);
	assert_true(S_ISREG(st.st_mode));
	keep_mailbox_close(&mailbox);
	keep_zone_forget();
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- killed, and many */

/* A child that changes `file` in a transaction, lets pages out of the cache, and is killed. */
static void kill_a_writer(const char *path, const char *update)
{
	int ready[2], status = 0;
	char byte = 0;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		sqlite3 *db = NULL;

		if (sqlite3_open(path, &db) == SQLITE_OK &&
		    sqlite3_exec(db,
				 "PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN;"
				 "CREATE TABLE heap(v);"
				 "WITH RECURSIVE c(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM c"
				 " LIMIT 500) INSERT INTO heap SELECT zeroblob(2000) FROM c",
				 NULL, NULL, NULL) == SQLITE_OK &&
		    sqlite3_exec(db, update, NULL, NULL, NULL) == SQLITE_OK)
			(void)!write(ready[1], "r", 1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

static void a_killed_writers_journal_does_not_stop_the_other_side(void **state)
{
	for (int safe = 0; safe <= 1; safe++) {
		keep_mailbox *mailbox = mailbox_fresh();
		keep_memory memory = KEEP_MEMORY_INIT;
		char session[KEEP_SEGMENT_MAX + 1];
		keep_claim_list claims;
		keep_agent *agent;

		(void)state;
		mailbox_session(mailbox, NULL, session);
		if (safe)
			write_file(path_of(session, ".mount-safe"), "");
		(void)mailbox_post(mailbox, session, "{}");
		agent = mailbox_agent(mailbox, session);
		kill_a_writer(path_of(session, "inbound.db"),
			      "UPDATE messages_in SET kind = 'task'");
		assert_int_equal(is_there(session, "inbound.db-journal"), safe);
		OK(keep_agent_claim(agent, NULL, KEEP_NOW, &memory, &claims, &err));
		assert_int_equal(claims.count, 1);
		assert_bytes_equal(claims.items[0].message.kind, KEEP_BYTES("chat"));
		kill_a_writer(path_of(session, "outbound.db"), "DELETE FROM processing_ack");
		(void)mailbox_post(mailbox, session, "{}");
		assert_int_equal(
			count(session, "outbound.db", "SELECT count(*) FROM processing_ack"), 1);
		keep_agent_close(&agent);
		keep_memory_release(&memory);
		keep_mailbox_close(&mailbox);
	}
	keep_zone_forget();
	assert_nothing_lives();
}

/* Nothing of theirs is lost or doubled, whenever they are killed. */
static void agents_without_maps_may_be_killed_at_any_time(void **state)
{
	enum { MESSAGES = 24, KILLS = 12 };
	keep_mailbox *mailbox = mailbox_fresh();
	char session[KEEP_SEGMENT_MAX + 1];
	uint64_t seed = test_seed();
	pid_t pid;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	mailbox_session(mailbox, NULL, session);
	(void)mailbox_post(mailbox, session, "{}");
	for (int i = 0; i < KILLS; i++) {
		struct timespec some = {.tv_nsec = (long)(next_random(&seed) % 60000000)};
		int status;

		pid = start_agent(false, session);
		(void)mailbox_post(mailbox, session, "{}");
		(void)mailbox_post(mailbox, session, "{}");
		(void)nanosleep(&some, NULL);
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
	}
	pid = start_agent(false, session);
	await_completed(mailbox, session, MESSAGES + 2);
	finish(session);
	await_end(pid);
	check_replies(session, MESSAGES + 2);
	keep_mailbox_close(&mailbox);
	keep_zone_forget();
	assert_nothing_lives();
}

static void four_processes_a_side_lose_nothing_without_maps(void **state)
{
	enum { SIDE = 4, MESSAGES = 8 };
	keep_mailbox *mailbox;
	char session[KEEP_SEGMENT_MAX + 1], number[12];
	pid_t hosts[SIDE], agents[SIDE];

	(void)state;
	no_shared_maps = true;
	mailbox = mailbox_fresh();
	mailbox_session(mailbox, NULL, session);
	snprintf(number, sizeof number, "%d", MESSAGES);
	for (int i = 0; i < SIDE; i++) {
		hosts[i] = start(false, "host", mailbox_url(), session, number);
		agents[i] = start_agent(false, session);
	}
	for (int i = 0; i < SIDE; i++)
		await_end(hosts[i]);
	await_completed(mailbox, session, SIDE * MESSAGES + 1);
	finish(session);
	for (int i = 0; i < SIDE; i++)
		await_end(agents[i]);
	check_replies(session, SIDE * MESSAGES + 1);
	assert_int_equal(
		count(session, "inbound.db", "SELECT count(*) FROM messages_in WHERE seq % 2 = 0"),
		SIDE * MESSAGES + 1);
	assert_int_equal(count(session, "outbound.db",
			       "SELECT count(*) FROM messages_out WHERE seq % 2 = 1"),
			 SIDE * MESSAGES + 1);
	assert_false(has_log(session, "inbound.db") || has_log(session, "outbound.db"));
	keep_mailbox_close(&mailbox);
	no_shared_maps = false;
	keep_zone_forget();
	assert_nothing_lives();
}

static int give_maps_back(void **state)
{
	(void)state;
	no_shared_maps = false;
	return 0;
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_teardown(name, give_maps_back)
	const struct CMUnitTest tests[] = {
		TEST(file_systems_that_several_kernels_write_are_known),
		TEST(a_folder_is_probed_and_nothing_is_left_in_it),
		TEST(on_one_kernel_both_files_have_a_log),
		TEST(an_agent_without_maps_gets_rollback_journals_by_itself),
		TEST(a_host_without_maps_has_no_log_anywhere),
		TEST(another_kernels_boot_id_is_a_border),
		TEST(a_stale_boot_id_of_ours_is_renewed),
		TEST(either_side_can_be_told),
		TEST(who_has_the_log_open_follows_at_the_next_use),
		TEST(what_an_agent_plants_under_our_names_is_not_followed),
		TEST(a_killed_writers_journal_does_not_stop_the_other_side),
		TEST(agents_without_maps_may_be_killed_at_any_time),
		TEST(four_processes_a_side_lose_nothing_without_maps),
	};
	int failed;

	if (argc == 4 && strcmp(argv[2], "agent") == 0)
		return be_agent(argv[3]);
	if (argc == 6 && strcmp(argv[2], "host") == 0)
		return be_host(argv[3], argv[4], (int)strtol(argv[5], NULL, 10));
	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mailbox_end();
	return failed;
}

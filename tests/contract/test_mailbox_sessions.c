/*
 * test_mailbox_sessions.c - contracts/mailbox.md: which session a message belongs to, and making
 * it.
 *
 *     test_mailbox_sessions sqlite|postgres
 *     test_mailbox_sessions resolve URL MODE      a process that resolves, and says the id
 *
 * The rest of a session's life is test_mailbox_life.c.
 */
#include "mailbox_fixture.h"

#include "keep/schedule.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void assert_all_is_freed(void)
{
	keep_zone_forget();
	assert_nothing_lives();
}

enum { THREADS = 16, PROCESSES = 4 };

static const char *const modes[] = {"shared", "per-thread", "agent-shared"};

static keep_session_place place_of(const char *mode)
{
	return (keep_session_place){.agent_group_id = KEEP_BYTES(MAILBOX_AGENT),
				    .messaging_group_id = KEEP_BYTES(MAILBOX_CHAT),
				    .thread_id = strcmp(mode, "per-thread") == 0
							 ? KEEP_BYTES("t1")
							 : (keep_bytes){.data = NULL},
				    .session_mode = keep_bytes_of(mode)};
}

static keep_status resolve(keep_mailbox *mailbox, const keep_session_place *place,
			   char id[KEEP_SEGMENT_MAX + 1], bool *made, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_session session;
	keep_status status = keep_mailbox_resolve_session(mailbox, place, KEEP_NOW, &memory,
							  &session, made, err);

	if (status == KEEP_OK)
		snprintf(id, KEEP_SEGMENT_MAX + 1, "%.*s", (int)session.id.len, session.id.data);
	keep_memory_release(&memory);
	return status;
}

/* The agent group and the chat of the fixture, without the session that it makes. */
static void make_parents(void)
{
	(void)mailbox_sql(NULL, NULL,
			  "INSERT INTO agent_groups (id, name, folder, created_at) VALUES "
			  "('" MAILBOX_AGENT "', 'Ada', 'ada', '2026-01-01T00:00:00.000Z') "
			  "ON CONFLICT DO NOTHING");
	(void)mailbox_sql(
		NULL, NULL,
		"INSERT INTO messaging_groups (id, channel_type, platform_id, created_at) "
		"VALUES ('" MAILBOX_CHAT "', 'telegram', '42', "
		"'2026-01-01T00:00:00.000Z') ON CONFLICT DO NOTHING");
}

/* How many entries a folder has; -1: it is not there. */
static int count_entries(const char *path)
{
	DIR *names = opendir(path);
	int count = -2;

	if (!names)
		return -1;
	while (readdir(names))
		count++;
	(void)closedir(names);
	return count;
}

static const char *in_mailbox(const char *name)
{
	static char path[700];

	snprintf(path, sizeof path, "%s/%s", mailbox_url() + strlen("sqlite:"), name);
	return path;
}

static int count_sessions(void)
{
	return atoi(mailbox_sql(NULL, NULL, "SELECT CAST(count(*) AS text) FROM sessions"));
}

/* ---------------------------------------------------------------- races */

struct racer {
	pthread_t thread;
	keep_mailbox *mailbox;
	const char *mode;
	atomic_int *waiting;
	char id[KEEP_SEGMENT_MAX + 1];
	bool made;
	keep_status status;
	keep_error err;
};

static void *race(void *ctx)
{
	struct racer *racer = ctx;
	keep_session_place place = place_of(racer->mode);

	atomic_fetch_sub(racer->waiting, 1);
	while (atomic_load(racer->waiting) > 0)
		;
	racer->status = resolve(racer->mailbox, &place, racer->id, &racer->made, &racer->err);
	return NULL;
}

static void threads_that_resolve_one_place_get_one_session(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();

	(void)state;
	make_parents();
	for (size_t m = 0; m < KP_COUNT(modes); m++) {
		struct racer racers[THREADS];
		atomic_int waiting = THREADS;
		int made = 0;

		for (size_t i = 0; i < THREADS; i++) {
			racers[i] = (struct racer){
				.mailbox = mailbox, .mode = modes[m], .waiting = &waiting};
			assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]),
					 0);
		}
		for (size_t i = 0; i < THREADS; i++) {
			assert_int_equal(pthread_join(racers[i].thread, NULL), 0);
			CHECK(racers[i].status == KEEP_OK, "%s", racers[i].err.message);
			assert_string_equal(racers[i].id, racers[0].id);
			made += racers[i].made;
		}
		assert_int_equal(made, 1);
		assert_int_equal(count_sessions(), (int)m + 1);
		if (mailbox_is_file())
			assert_int_equal(count_entries(in_mailbox("sessions/" MAILBOX_AGENT)),
					 (int)m + 1);
	}
	keep_mailbox_close(&mailbox);
	assert_all_is_freed();
}

/* Start this program again; its output is a pipe's end. */
static pid_t start(const char *mode, const char *kill_at, int *out)
{
	char url[MAILBOX_URL_MAX]; /* it has this process's number in it */
	int ends[2];
	pid_t child;

	snprintf(url, sizeof url, "%s", mailbox_url());
	assert_int_equal(pipe(ends), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		(void)dup2(ends[1], STDOUT_FILENO);
		(void)close(ends[0]);
		if (kill_at)
			(void)setenv("KEEP_KILL_AT", kill_at, 1);
		(void)execl(mailbox_program(), mailbox_program(), "resolve", url, mode,
			    (char *)NULL);
		_exit(127);
	}
	(void)close(ends[1]);
	*out = ends[0];
	return child;
}

static int finish(pid_t child, int out, char id[KEEP_SEGMENT_MAX + 1])
{
	ssize_t got;
	size_t len = 0;
	int status = 0;

	while ((got = read(out, id + len, KEEP_SEGMENT_MAX - len)) > 0)
		len += (size_t)got;
	id[len] = '\0';
	(void)close(out);
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static int run_child(const char *url, const char *mode)
{
	keep_mailbox *mailbox = NULL;
	keep_session_place place = place_of(mode);
	char id[KEEP_SEGMENT_MAX + 1];
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = keep_mailbox_open(url, NULL, &mailbox, &err);

	if (status == KEEP_OK)
		status = resolve(mailbox, &place, id, NULL, &err);
	if (status == KEEP_OK)
		printf("%s", id);
	else
		fprintf(stderr, "%s\n", err.message);
	(void)fflush(stdout);
	keep_mailbox_close(&mailbox);
	return status == KEEP_OK ? 0 : 1;
}

static void processes_that_resolve_one_place_get_one_session(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();

	(void)state;
	make_parents();
	for (size_t m = 0; m < KP_COUNT(modes); m++) {
		char ids[PROCESSES][KEEP_SEGMENT_MAX + 1];
		pid_t children[PROCESSES];
		int outs[PROCESSES];

		for (size_t i = 0; i < PROCESSES; i++)
			children[i] = start(modes[m], NULL, &outs[i]);
		for (size_t i = 0; i < PROCESSES; i++) {
			assert_int_equal(finish(children[i], outs[i], ids[i]), 0);
			assert_string_equal(ids[i], ids[0]);
		}
		assert_int_equal(count_sessions(), (int)m + 1);
	}
	keep_mailbox_close(&mailbox);
	assert_all_is_freed();
}

/* ---------------------------------------------------------------- modes */

static void each_mode_leads_to_a_session_of_its_own(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	keep_error err = KEEP_ERROR_INIT;
	char ids[6][KEEP_SEGMENT_MAX + 1];
	keep_session_place place;
	bool made;

	(void)state;
	make_parents();
	for (size_t i = 0; i < KP_COUNT(modes); i++) {
		place = place_of(modes[i]);
		OK(resolve(mailbox, &place, ids[i], &made, &err));
		assert_true(made);
	}
	place.session_mode = KEEP_BYTES("per-thread"); /* another thread */
	place.thread_id = KEEP_BYTES("t2");
	OK(resolve(mailbox, &place, ids[3], &made, &err));
	assert_true(made);
	for (size_t i = 4; i < 6; i++) { /* nothing leads to such a one */
		place.session_mode = (keep_bytes){.data = NULL};
		OK(resolve(mailbox, &place, ids[i], &made, &err));
		assert_true(made);
	}
	for (size_t i = 0; i < 6; i++)
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(ids[i], ids[k]);
	keep_mailbox_close(&mailbox);
	assert_all_is_freed();
}

static void two_agents_of_one_chat_have_a_session_each(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	keep_error err = KEEP_ERROR_INIT;
	char one[KEEP_SEGMENT_MAX + 1], other[KEEP_SEGMENT_MAX + 1];
	keep_session_place place = place_of("shared");

	(void)state;
	make_parents();
	(void)mailbox_sql(NULL, NULL,
			  "INSERT INTO agent_groups (id, name, folder, created_at) VALUES "
			  "('bob', 'Bob', 'bob', '2026-01-01T00:00:00.000Z')");
	OK(resolve(mailbox, &place, one, NULL, &err));
	place.agent_group_id = KEEP_BYTES("bob");
	OK(resolve(mailbox, &place, other, NULL, &err));
	assert_string_not_equal(one, other);
	keep_mailbox_close(&mailbox);
	assert_all_is_freed();
}

static void making_another_session_never_moves_an_agent_shared_conversation(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	keep_error err = KEEP_ERROR_INIT;
	char anchored[KEEP_SEGMENT_MAX + 1], id[KEEP_SEGMENT_MAX + 1];
	keep_session_place shared = place_of("agent-shared");
	bool made;

	(void)state;
	make_parents();
	OK(resolve(mailbox, &shared, anchored, NULL, &err));
	for (int i = 0; i < 3; i++) {
		keep_session_place other = place_of(i == 0 ? "shared" : "per-thread");

		if (i == 2)
			other.session_mode = (keep_bytes){.data = NULL};
		OK(resolve(mailbox, &other, id, &made, &err));
		assert_true(made);
		OK(resolve(mailbox, &shared, id, &made, &err));
		assert_false(made);
		assert_string_equal(id, anchored);
	}
	shared.messaging_group_id = (keep_bytes){.data = NULL}; /* from anywhere */
	OK(resolve(mailbox, &shared, id, &made, &err));
	assert_string_equal(id, anchored);
	keep_mailbox_close(&mailbox);
	assert_all_is_freed();
}

static void a_place_that_is_none_is_refused_and_leaves_nothing(void **state)
{
	static const keep_session_place bad[] = {
		{.agent_group_id = {"", 0}},
		{.agent_group_id = {"../x", 4}},
		{.agent_group_id = {"-x", 2}},
		{.agent_group_id = {"ada", 3}, .session_mode = {"own", 3}},
		{.agent_group_id = {"ada", 3}, .session_mode = {"shared", 6}},
		{.agent_group_id = {"ada", 3}, .session_mode = {"per-thread", 10}},
	};
	keep_mailbox *mailbox = mailbox_fresh();
	keep_error err = KEEP_ERROR_INIT;
	char id[KEEP_SEGMENT_MAX + 1];
	keep_session_place nobody = {.agent_group_id = KEEP_BYTES("nobody")};

	(void)state;
	make_parents();
	for (size_t i = 0; i < KP_COUNT(bad); i++)
		assert_int_equal(resolve(mailbox, &bad[i], id, NULL, &err), KEEP_INVALID);
	assert_int_not_equal(resolve(mailbox, &nobody, id, NULL, &err), KEEP_OK);
	assert_int_equal(count_sessions(), 0);
	if (mailbox_is_file())
		assert_int_equal(count_entries(in_mailbox("sessions")), 0);
	keep_mailbox_close(&mailbox);
	assert_all_is_freed();
}

/* ---------------------------------------------------------------- lists */

static void sessions_are_listed_by_id_agent_and_status(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_session_place place = {.agent_group_id = KEEP_BYTES(MAILBOX_AGENT)};
	keep_bytes none = {.data = NULL}, ada = KEEP_BYTES(MAILBOX_AGENT);
	char id[KEEP_SEGMENT_MAX + 1] = "";
	keep_session_list list;

	(void)state;
	make_parents();
	for (int i = 0; i < 5; i++)
		OK(resolve(mailbox, &place, id, NULL, &err));
	OK(keep_mailbox_close_session(mailbox, keep_bytes_of(id), KEEP_NOW, &err));
	OK(keep_mailbox_list_sessions(mailbox, none, none, none, 0, &memory, &list, &err));
	assert_int_equal(list.count, 5);
	for (size_t i = 1; i < list.count; i++)
		assert_true(memcmp(list.items[i - 1].id.data, list.items[i].id.data, 36) < 0);
	OK(keep_mailbox_list_sessions(mailbox, ada, KEEP_BYTES("active"), none, 0, &memory, &list,
				      &err));
	assert_int_equal(list.count, 4);
	OK(keep_mailbox_list_sessions(mailbox, ada, none, list.items[1].id, 2, &memory, &list,
				      &err));
	assert_int_equal(list.count, 2);
	OK(keep_mailbox_list_sessions(mailbox, KEEP_BYTES("bob"), none, none, 0, &memory, &list,
				      &err));
	assert_int_equal(list.count, 0);
	OK(keep_mailbox_list_sessions(mailbox, none, KEEP_BYTES("closed"), none, 0, &memory, &list,
				      &err));
	assert_int_equal(list.count, 1);
	assert_bytes_equal(list.items[0].id, keep_bytes_of(id));
	assert_int_equal(keep_mailbox_list_sessions(mailbox, none, KEEP_BYTES("open"), none, 0,
						    &memory, &list, &err),
			 KEEP_INVALID);
	assert_int_equal(
		keep_mailbox_list_sessions(mailbox, none, none, none, 1001, &memory, &list, &err),
		KEEP_INVALID);
	keep_memory_release(&memory);
	keep_mailbox_close(&mailbox);
	assert_all_is_freed();
}

/* ---------------------------------------------------------------- files */

static void a_new_session_belongs_to_the_agents_user(void **state)
{
	keep_mailbox_options options = KEEP_MAILBOX_OPTIONS_INIT;
	keep_mailbox *mailbox = mailbox_fresh();
	keep_error err = KEEP_ERROR_INIT;
	char id[KEEP_SEGMENT_MAX + 1], path[800];
	static const char *const names[] = {"", "/inbound.db", "/outbound.db"};
	struct stat st;

	(void)state;
	keep_mailbox_close(&mailbox);
	options.agent_uid = geteuid() == 0 ? 4242 : geteuid();
	options.agent_gid = geteuid() == 0 ? 4343 : getegid();
	OK(mailbox_open_with(&options, &mailbox, &err));
	mailbox_session(mailbox, NULL, id);
	for (size_t i = 0; i < KP_COUNT(names) && mailbox_is_file(); i++) {
		snprintf(path, sizeof path, "%s%s", mailbox_folder(id), names[i]);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_uid, options.agent_uid);
		assert_int_equal(st.st_gid, options.agent_gid);
	}
	assert_int_equal(mailbox_post(mailbox, id, "{}"), 2);
	keep_mailbox_close(&mailbox);
	assert_all_is_freed();
}

static void closing_the_mailbox_leaves_nothing_of_the_making(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	char id[KEEP_SEGMENT_MAX + 1];

	(void)state;
	mailbox_session(mailbox, NULL, id);
	mailbox_session(mailbox, "t1", id);
	if (mailbox_is_file()) {
		assert_int_equal(count_entries(in_mailbox("making")), 1); /* the template */
		assert_int_equal(count_entries(mailbox_folder(id)), 2);
	}
	keep_mailbox_close(&mailbox);
	if (mailbox_is_file())
		assert_int_equal(count_entries(in_mailbox("making")), 0);
	assert_all_is_freed();
}

static void a_kill_while_a_session_is_made_leaves_none_or_a_whole_one(void **state)
{
	static const char *const moments[] = {"mailbox.make_files:1", "mailbox.make_renamed:1",
					      "mailbox.make_committed:1"};

	(void)state;
	if (!mailbox_is_file())
		return; /* there it is one transaction */
	for (size_t i = 0; i < KP_COUNT(moments); i++) {
		keep_mailbox *mailbox = mailbox_fresh();
		char id[KEEP_SEGMENT_MAX + 1];
		int out = -1, status;
		pid_t child;

		make_parents();
		keep_mailbox_close(&mailbox);
		child = start("shared", moments[i], &out);
		status = finish(child, out, id);
		CHECK(WIFSIGNALED(status), "%s was never met", moments[i]);
		mailbox = mailbox_again();
		assert_int_equal(count_entries(in_mailbox("making")), 0);
		assert_int_equal(count_sessions(), i == 2);
		assert_true(count_entries(in_mailbox("sessions/" MAILBOX_AGENT)) ==
			    count_sessions());
		mailbox_session(mailbox, NULL, id);
		assert_int_equal(count_sessions(), 1);
		assert_int_equal(mailbox_post(mailbox, id, "{}"), 2);
		keep_mailbox_close(&mailbox);
		assert_all_is_freed();
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_that_resolve_one_place_get_one_session),
		cmocka_unit_test(processes_that_resolve_one_place_get_one_session),
		cmocka_unit_test(each_mode_leads_to_a_session_of_its_own),
		cmocka_unit_test(two_agents_of_one_chat_have_a_session_each),
		cmocka_unit_test(making_another_session_never_moves_an_agent_shared_conversation),
		cmocka_unit_test(a_place_that_is_none_is_refused_and_leaves_nothing),
		cmocka_unit_test(sessions_are_listed_by_id_agent_and_status),
		cmocka_unit_test(a_new_session_belongs_to_the_agents_user),
		cmocka_unit_test(closing_the_mailbox_leaves_nothing_of_the_making),
		cmocka_unit_test(a_kill_while_a_session_is_made_leaves_none_or_a_whole_one),
	};
	int failed;

	if (argc == 4 && strcmp(argv[1], "resolve") == 0)
		return run_child(argv[2], argv[3]);
	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mailbox_end();
	return failed;
}

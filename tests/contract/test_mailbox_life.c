/*
 * test_mailbox_life.c - contracts/mailbox.md: the life of a session: waking, refreshing, closing,
 * removing, files that were lost, and what a new agent finds of the one before.
 *
 *     test_mailbox_life sqlite|postgres
 *     test_mailbox_life close|remove|wake|claim URL SESSION      a process that may be killed
 */
#include "mailbox_fixture.h"

#include "keep/schedule.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static void assert_all_is_freed(void)
{
	keep_zone_forget();
	assert_nothing_lives();
}

/* One text of a side of the session; "@" in the SQL stands for which session it is. */
static const char *ask(const char *session, const char *file, const char *sql)
{
	char text[500], which[KEEP_SEGMENT_MAX + 30] = "";
	const char *at = strchr(sql, '@');

	if (!mailbox_is_file())
		snprintf(which, sizeof which, "session_id = '%s' AND", session);
	snprintf(text, sizeof text, "%.*s%s%s", (int)(at - sql), sql, which, at + 1);
	return mailbox_sql(session, file, text);
}

static const char *ask_in(const char *session, const char *sql)
{
	return ask(session, "inbound.db", sql);
}

static const char *ask_out(const char *session, const char *sql)
{
	return ask(session, "outbound.db", sql);
}

static void allow(const char *name, const char *platform_id)
{
	char sql[300];

	snprintf(sql, sizeof sql,
		 "INSERT INTO agent_destinations (agent_group_id, name, type, channel_type, "
		 "platform_id) VALUES ('" MAILBOX_AGENT "', '%s', 'channel', 'slack', '%s')",
		 name, platform_id);
	(void)mailbox_sql(NULL, NULL, sql);
}

static bool is_there(const char *session, const char *name)
{
	char path[800];
	struct stat st;

	snprintf(path, sizeof path, "%s%s%s", mailbox_folder(session), *name ? "/" : "", name);
	return lstat(path, &st) == 0;
}

static keep_status get(keep_mailbox *mailbox, const char *id, keep_memory *memory,
		       keep_session *out)
{
	return keep_mailbox_get_session(mailbox, keep_bytes_of(id), memory, out, NULL);
}

static size_t claim(keep_agent *agent, size_t max, keep_memory *memory, keep_claim_list *claims)
{
	keep_claim_request request = {.max = max, .lease_ms = 600000};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_agent_claim(agent, &request, KEEP_NOW, memory, claims, &err));
	return claims->count;
}

/* ---------------------------------------------------------------- wake and refresh */

static void waking_counts_and_rewrites_destinations_and_route(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char session[KEEP_SEGMENT_MAX + 1];
	keep_session_destination_list list;
	keep_session row;
	keep_agent *agent;
	int64_t incarnation = 0;

	(void)state;
	mailbox_session(mailbox, "t7", session);
	allow("team", "C1");
	for (int i = 1; i <= 3; i++) {
		OK(keep_mailbox_wake(mailbox, keep_bytes_of(session), 5000 + i, &incarnation,
				     &err));
		assert_int_equal(incarnation, i);
	}
	OK(get(mailbox, session, &memory, &row));
	assert_int_equal(row.incarnation, 3);
	assert_int_equal(row.heartbeat_at, 5003);
	assert_string_equal(ask_in(session, "SELECT CAST(incarnation AS text) FROM session_host "
					    "WHERE @ id = 1"),
			    "3");
	assert_string_equal(ask_in(session, "SELECT channel_type || platform_id || thread_id FROM "
					    "session_routing WHERE @ id = 1"),
			    "telegram42t7");
	agent = mailbox_agent(mailbox, session);
	OK(keep_agent_destinations(agent, &memory, &list, &err));
	assert_int_equal(list.count, 1);
	assert_bytes_equal(list.items[0].name, KEEP_BYTES("team"));
	assert_bytes_equal(list.items[0].platform_id, KEEP_BYTES("C1"));
	/* A changed permission holds for a running agent. */
	(void)mailbox_sql(NULL, NULL, "DELETE FROM agent_destinations");
	allow("boss", "C2");
	allow("zoe", "C3");
	OK(keep_mailbox_refresh(mailbox, keep_bytes_of(session), &err));
	OK(keep_agent_destinations(agent, &memory, &list, &err));
	assert_int_equal(list.count, 2);
	assert_bytes_equal(list.items[0].name, KEEP_BYTES("boss"));
	OK(get(mailbox, session, &memory, &row));
	assert_int_equal(row.incarnation, 3);
	keep_agent_close(&agent);
	keep_memory_release(&memory);
	keep_mailbox_close(&mailbox);
	assert_all_is_freed();
}

static void an_agent_shared_session_without_a_chat_routes_to_nowhere(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char unused[KEEP_SEGMENT_MAX + 1], id[KEEP_SEGMENT_MAX + 1];
	keep_session_place place = {.agent_group_id = KEEP_BYTES(MAILBOX_AGENT),
				    .session_mode = KEEP_BYTES("agent-shared")};
	keep_session session;

	(void)state;
	mailbox_session(mailbox, NULL, unused);
	OK(keep_mailbox_resolve_session(mailbox, &place, KEEP_NOW, &memory, &session, NULL, &err));
	snprintf(id, sizeof id, "%.*s", (int)session.id.len, session.id.data);
	OK(keep_mailbox_wake(mailbox, session.id, KEEP_NOW, NULL, &err));
	assert_string_equal(ask_in(id, "SELECT COALESCE(channel_type, 'nowhere') || "
				       "COALESCE(platform_id, '') FROM session_routing "
				       "WHERE @ id = 1"),
			    "nowhere");
	keep_memory_release(&memory);
	keep_mailbox_close(&mailbox);
	assert_all_is_freed();
}

static void a_session_that_is_none_or_closed_is_not_woken(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	keep_error err = KEEP_ERROR_INIT;
	char session[KEEP_SEGMENT_MAX + 1];
	keep_bytes id, nobody = KEEP_BYTES("nobody"), bad = KEEP_BYTES("../x");

	(void)state;
	mailbox_session(mailbox, NULL, session);
	id = keep_bytes_of(session);
	assert_int_equal(keep_mailbox_wake(mailbox, nobody, KEEP_NOW, NULL, &err), KEEP_NOT_FOUND);
	assert_int_equal(keep_mailbox_refresh(mailbox, nobody, &err), KEEP_NOT_FOUND);
	assert_int_equal(keep_mailbox_close_session(mailbox, nobody, KEEP_NOW, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(keep_mailbox_remove_session(mailbox, nobody, &err), KEEP_NOT_FOUND);
	assert_int_equal(keep_mailbox_set_container(mailbox, nobody, KEEP_BYTES("idle"), &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(keep_mailbox_wake(mailbox, bad, KEEP_NOW, NULL, &err), KEEP_INVALID);
	assert_int_equal(keep_mailbox_remove_session(mailbox, bad, &err), KEEP_INVALID);
	assert_int_equal(keep_mailbox_set_container(mailbox, id, KEEP_BYTES("gone"), &err),
			 KEEP_INVALID);
	OK(keep_mailbox_close_session(mailbox, id, KEEP_NOW, &err));
	assert_int_equal(keep_mailbox_wake(mailbox, id, KEEP_NOW, NULL, &err), KEEP_CONFLICT);
	assert_int_equal(keep_mailbox_refresh(mailbox, id, &err), KEEP_CONFLICT);
	keep_mailbox_close(&mailbox);
	assert_all_is_freed();
}

static void the_containers_status_comes_with_the_agents_last_sign_of_life(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char session[KEEP_SEGMENT_MAX + 1], path[800];
	struct timeval times[2] = {{.tv_sec = 1700000000}, {.tv_sec = 1700000000}};
	keep_session row;
	int fd;

	(void)state;
	mailbox_session(mailbox, NULL, session);
	OK(keep_mailbox_set_container(mailbox, keep_bytes_of(session), KEEP_BYTES("running"),
				      &err));
	OK(get(mailbox, session, &memory, &row));
	assert_bytes_equal(row.container_status, KEEP_BYTES("running"));
	assert_false(row.has_heartbeat_at);
	if (mailbox_is_file()) {
		snprintf(path, sizeof path, "%s/.heartbeat", mailbox_folder(session));
		fd = open(path, O_CREAT | O_WRONLY, 0600);
		assert_true(fd >= 0);
		(void)close(fd);
		assert_int_equal(utimes(path, times), 0);
	} else {
		(void)ask_out(session, "UPDATE session_agent SET heartbeat_at = "
				       "'2023-11-14T22:13:20.000Z' WHERE @ id = 1");
	}
	OK(keep_mailbox_set_container(mailbox, keep_bytes_of(session), KEEP_BYTES("idle"), &err));
	OK(get(mailbox, session, &memory, &row));
	assert_int_equal(row.heartbeat_at, INT64_C(1700000000000));
	keep_memory_release(&memory);
	keep_mailbox_close(&mailbox);
	assert_all_is_freed();
}

/* ---------------------------------------------------------------- close */

static void a_closed_session_takes_nothing_and_its_chat_gets_another(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char session[KEEP_SEGMENT_MAX + 1], next[KEEP_SEGMENT_MAX + 1];
	keep_post post = {.content = KEEP_BYTES("{}")};
	keep_post_result result;
	keep_inbound_message_list list;
	keep_claim_list claims;
	keep_session row;
	keep_agent *agent;

	(void)state;
	mailbox_session(mailbox, NULL, session);
	for (int i = 0; i < 3; i++)
		(void)mailbox_post(mailbox, session, "{}");
	agent = mailbox_agent(mailbox, session);
	assert_int_equal(claim(agent, 1, &memory, &claims), 1);
	for (int again = 0; again < 2; again++)
		OK(keep_mailbox_close_session(mailbox, keep_bytes_of(session), 7000, &err));
	OK(get(mailbox, session, &memory, &row));
	assert_bytes_equal(row.status, KEEP_BYTES("closed"));
	assert_null(row.anchor.data);
	OK(keep_mailbox_messages(mailbox, keep_bytes_of(session), KEEP_BYTES("cancelled"), 0, 0,
				 &memory, &list, &err));
	assert_int_equal(list.count, 3);
	assert_string_equal(ask_in(session, "SELECT CAST(count(*) AS text) FROM message_steps "
					    "WHERE @ step = 'cancelled'"),
			    "3");
	{
		keep_claim_ref ref = {claims.items[0].message.id, claims.items[0].attempt};
		keep_claim_list more;

		assert_int_equal(keep_agent_complete(agent, &ref, 1, KEEP_NOW, &err),
				 KEEP_CONFLICT);
		assert_int_equal(claim(agent, 5, &memory, &more), 0);
	}
	assert_int_equal(keep_mailbox_post(mailbox, keep_bytes_of(session), &post, &result, &err),
			 KEEP_CONFLICT);
	mailbox_session(mailbox, NULL, next);
	assert_string_not_equal(next, session);
	keep_agent_close(&agent);
	keep_memory_release(&memory);
	keep_mailbox_close(&mailbox);
	assert_all_is_freed();
}

/* ---------------------------------------------------------------- remove */

static void only_a_closed_session_without_deliveries_is_removed(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char session[KEEP_SEGMENT_MAX + 1];
	keep_session row;
	keep_bytes id;

	(void)state;
	mailbox_session(mailbox, NULL, session);
	id = keep_bytes_of(session);
	(void)mailbox_post(mailbox, session, "{}");
	assert_int_equal(keep_mailbox_remove_session(mailbox, id, &err), KEEP_CONFLICT);
	OK(keep_mailbox_close_session(mailbox, id, KEEP_NOW, &err));
	if (mailbox_is_file())
		(void)mailbox_sql(session, "inbound.db",
				  "INSERT INTO outgoing (message_out_id, seq, due_at) VALUES "
				  "('out-1', 1, '2026-01-01T00:00:00.000Z')");
	else
		(void)ask_in(session, "INSERT INTO outgoing (session_id, message_out_id, seq, "
				      "due_at) SELECT session_id, 'out-1', 1, "
				      "'2026-01-01T00:00:00.000Z' FROM session_host "
				      "WHERE @ id = 1");
	assert_int_equal(keep_mailbox_remove_session(mailbox, id, &err), KEEP_CONFLICT);
	CHECK(strstr(err.message, "out-1"), "%s", err.message);
	(void)ask_in(session, "DELETE FROM outgoing WHERE @ seq = 1");
	OK(keep_mailbox_remove_session(mailbox, id, &err));
	assert_int_equal(get(mailbox, session, &memory, &row), KEEP_NOT_FOUND);
	assert_int_equal(keep_mailbox_remove_session(mailbox, id, &err), KEEP_NOT_FOUND);
	assert_int_equal(keep_mailbox_wake(mailbox, id, KEEP_NOW, NULL, &err), KEEP_NOT_FOUND);
	if (mailbox_is_file())
		assert_false(is_there(session, ""));
	else
		assert_string_equal(
			mailbox_sql(NULL, NULL, "SELECT CAST(count(*) AS text) FROM messages_in"),
			"0");
	keep_memory_release(&memory);
	keep_mailbox_close(&mailbox);
	assert_all_is_freed();
}

static void removing_follows_no_link(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	keep_error err = KEEP_ERROR_INIT;
	char session[KEEP_SEGMENT_MAX + 1], other[KEEP_SEGMENT_MAX + 1];
	char target[800], path[800];

	(void)state;
	mailbox_session(mailbox, NULL, session);
	mailbox_session(mailbox, "t1", other);
	if (mailbox_is_file()) {
		snprintf(target, sizeof target, "%s", mailbox_folder(other));
		snprintf(path, sizeof path, "%s/outbox", mailbox_folder(session));
		assert_int_equal(symlink(target, path), 0);
		for (int depth = 0; depth < 12; depth++) { /* deeper than is walked */
			size_t len = 0;

			snprintf(path, sizeof path, "%s/deep", mailbox_folder(session));
			for (int i = 0; i < depth; i++) {
				len = strlen(path);
				snprintf(path + len, sizeof path - len, "/deep");
			}
			assert_int_equal(mkdir(path, 0700), 0);
		}
	}
	OK(keep_mailbox_close_session(mailbox, keep_bytes_of(session), KEEP_NOW, &err));
	OK(keep_mailbox_remove_session(mailbox, keep_bytes_of(session), &err));
	if (mailbox_is_file()) {
		assert_false(is_there(session, ""));
		assert_true(is_there(other, "inbound.db"));
	}
	assert_int_equal(mailbox_post(mailbox, other, "{}"), 2);
	keep_mailbox_close(&mailbox);
	assert_all_is_freed();
}

/* ---------------------------------------------------------------- kills */

static pid_t start(const char *what, const char *session, const char *kill_at)
{
	char url[MAILBOX_URL_MAX]; /* it has this process's number in it */
	pid_t child;

	snprintf(url, sizeof url, "%s", mailbox_url());
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		if (kill_at)
			(void)setenv("KEEP_KILL_AT", kill_at, 1);
		(void)execl(mailbox_program(), mailbox_program(), what, url, session, (char *)NULL);
		_exit(127);
	}
	return child;
}

static int wait_for(pid_t child)
{
	int status = 0;

	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

/* "claim": claims one message for ten minutes and ends without a word, like a killed agent. */
static int claim_and_die(const char *place)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_claim_request request = {.max = 1, .lease_ms = 600000};
	keep_claim_list claims = {.count = 0};
	keep_agent *agent = NULL;

	if (keep_agent_open(place, NULL, &agent, NULL) != KEEP_OK ||
	    keep_agent_claim(agent, &request, KEEP_NOW, &memory, &claims, NULL) != KEEP_OK)
		return 1;
	_exit(claims.count == 1 ? 0 : 1);
}

static int run_child(const char *what, const char *url, const char *session)
{
	keep_mailbox *mailbox = NULL;
	keep_error err = KEEP_ERROR_INIT;
	keep_bytes id = keep_bytes_of(session);
	keep_status status;

	if (strcmp(what, "claim") == 0)
		return claim_and_die(session);
	status = keep_mailbox_open(url, NULL, &mailbox, &err);
	if (status == KEEP_OK && strcmp(what, "close") == 0)
		status = keep_mailbox_close_session(mailbox, id, KEEP_NOW, &err);
	else if (status == KEEP_OK && strcmp(what, "remove") == 0)
		status = keep_mailbox_remove_session(mailbox, id, &err);
	else if (status == KEEP_OK)
		status = keep_mailbox_wake(mailbox, id, KEEP_NOW, NULL, &err);
	if (status != KEEP_OK)
		fprintf(stderr, "%s\n", err.message);
	keep_mailbox_close(&mailbox);
	return status == KEEP_OK ? 0 : 1;
}

static void a_kill_at_any_step_of_removing_is_finished_later(void **state)
{
	static const char *const file_moments[] = {"mailbox.remove_renamed:1",
						   "mailbox.remove_committed:1", NULL};
	static const char *const server_moments[] = {"mailbox.remove_step:1", NULL};
	const char *const *moments = mailbox_is_file() ? file_moments : server_moments;

	(void)state;
	for (; *moments; moments++) {
		keep_mailbox *mailbox = mailbox_fresh();
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_error err = KEEP_ERROR_INIT;
		char session[KEEP_SEGMENT_MAX + 1], removed[800];
		struct stat st;
		keep_session row;

		mailbox_session(mailbox, NULL, session);
		(void)mailbox_post(mailbox, session, "{}");
		OK(keep_mailbox_close_session(mailbox, keep_bytes_of(session), KEEP_NOW, &err));
		CHECK(WIFSIGNALED(wait_for(start("remove", session, *moments))), "%s was never met",
		      *moments);
		/* Who had it open does not make it anew. */
		assert_int_equal(keep_mailbox_prune_session(mailbox, keep_bytes_of(session), 1, 0,
							    &(keep_prune_result){0}, &err),
				 KEEP_NOT_FOUND);
		keep_mailbox_close(&mailbox);
		mailbox = mailbox_again();
		assert_int_equal(get(mailbox, session, &memory, &row), KEEP_NOT_FOUND);
		snprintf(removed, sizeof removed, "%s/removed/%s", mailbox_url() + 7, session);
		assert_true(stat(removed, &st) != 0);
		if (mailbox_is_file())
			assert_false(is_there(session, ""));
		keep_memory_release(&memory);
		keep_mailbox_close(&mailbox);
		assert_all_is_freed();
	}
}

static void a_kill_while_closing_or_waking_is_made_good(void **state)
{
	static const char *const moments[][2] = {{"close", "mailbox.close_row:1"},
						 {"close", "mailbox.close_step:1"},
						 {"wake", "mailbox.woken:1"},
						 {"wake", "mailbox.projected:1"}};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(moments); i++) {
		keep_mailbox *mailbox = mailbox_fresh();
		keep_error err = KEEP_ERROR_INIT;
		char session[KEEP_SEGMENT_MAX + 1];
		keep_post post = {.content = KEEP_BYTES("{}")};
		keep_post_result result;
		int64_t incarnation = 0;

		mailbox_session(mailbox, NULL, session);
		keep_mailbox_close(&mailbox);
		CHECK(WIFSIGNALED(wait_for(start(moments[i][0], session, moments[i][1]))),
		      "%s was never met", moments[i][1]);
		mailbox = mailbox_again();
		if (i < 2) {
			assert_int_equal(keep_mailbox_post(mailbox, keep_bytes_of(session), &post,
							   &result, &err),
					 KEEP_CONFLICT);
			OK(keep_mailbox_close_session(mailbox, keep_bytes_of(session), KEEP_NOW,
						      &err));
		} else {
			OK(keep_mailbox_wake(mailbox, keep_bytes_of(session), KEEP_NOW,
					     &incarnation, &err));
			assert_int_equal(incarnation, 2);
		}
		keep_mailbox_close(&mailbox);
		assert_all_is_freed();
	}
}

/* ---------------------------------------------------------------- claims of the dead */

static void a_dead_processs_claim_is_free_at_once(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char session[KEEP_SEGMENT_MAX + 1], place[MAILBOX_URL_MAX + 200];
	keep_claim_list claims;
	keep_agent *agent, *second;
	keep_bytes text;

	(void)state;
	mailbox_session(mailbox, NULL, session);
	(void)mailbox_post(mailbox, session, "{}");
	OK(keep_mailbox_session_place(mailbox, keep_bytes_of(session), &memory, &text, &err));
	snprintf(place, sizeof place, "%.*s", (int)text.len, text.data);
	assert_int_equal(wait_for(start("claim", place, NULL)), 0);
	agent = mailbox_agent(mailbox, session);
	assert_int_equal(claim(agent, 1, &memory, &claims), 1);
	assert_int_equal(claims.items[0].attempt, 2);
	/* A second process of a live agent takes nothing from the first. */
	second = mailbox_agent(mailbox, session);
	{
		keep_claim_list more;
		keep_claim_ref ref = {claims.items[0].message.id, 2};

		assert_int_equal(claim(second, 1, &memory, &more), 0);
		OK(keep_agent_complete(agent, &ref, 1, KEEP_NOW, &err));
	}
	keep_agent_close(&second);
	keep_agent_close(&agent);
	keep_memory_release(&memory);
	keep_mailbox_close(&mailbox);
	assert_all_is_freed();
}

static void a_new_incarnation_voids_the_claims_of_the_one_before(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char session[KEEP_SEGMENT_MAX + 1];
	keep_claim_list claims, more;
	keep_agent *before, *after;
	keep_claim_ref ref;

	(void)state;
	mailbox_session(mailbox, NULL, session);
	(void)mailbox_post(mailbox, session, "{}");
	OK(keep_mailbox_wake(mailbox, keep_bytes_of(session), KEEP_NOW, NULL, &err));
	before = mailbox_agent(mailbox, session);
	assert_int_equal(claim(before, 1, &memory, &claims), 1);
	ref = (keep_claim_ref){claims.items[0].message.id, claims.items[0].attempt};
	OK(keep_mailbox_wake(mailbox, keep_bytes_of(session), KEEP_NOW, NULL, &err));
	after = mailbox_agent(mailbox, session);
	assert_int_equal(keep_agent_complete(before, &ref, 1, KEEP_NOW, &err), KEEP_CONFLICT);
	assert_int_equal(claim(after, 1, &memory, &more), 1);
	assert_int_equal(more.items[0].attempt, 2);
	assert_string_equal(ask_out(session, "SELECT CAST(expired AS text) FROM processing_ack "
					     "WHERE @ attempt = 2"),
			    "1");
	keep_agent_close(&before);
	keep_agent_close(&after);
	keep_memory_release(&memory);
	keep_mailbox_close(&mailbox);
	assert_all_is_freed();
}

/* ---------------------------------------------------------------- lost files */

/* One message there and one back; the number of the reply. */
static int64_t talk(keep_mailbox *mailbox, const char *session)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_send reply = {.content = KEEP_BYTES("{\"text\":\"hi\"}")};
	keep_agent *agent;
	keep_claim_list claims;
	keep_claim_ref ref;
	keep_sent sent;

	(void)mailbox_post(mailbox, session, "{}");
	agent = mailbox_agent(mailbox, session);
	assert_int_equal(claim(agent, 1, &memory, &claims), 1);
	ref = (keep_claim_ref){claims.items[0].message.id, claims.items[0].attempt};
	OK(keep_agent_complete_with(agent, &ref, 1, &reply, 1, KEEP_NOW, &sent, &err));
	keep_agent_close(&agent);
	keep_memory_release(&memory);
	return sent.seq;
}

static void lose(const char *session, const char *name, bool empties)
{
	static const char *const suffixes[] = {"", "-wal", "-shm"};
	char path[800];

	for (size_t i = 0; i < KP_COUNT(suffixes); i++) {
		snprintf(path, sizeof path, "%s/%s%s", mailbox_folder(session), name, suffixes[i]);
		(void)unlink(path);
	}
	snprintf(path, sizeof path, "%s/%s", mailbox_folder(session), name);
	if (empties)
		(void)close(open(path, O_CREAT | O_WRONLY, 0600));
}

static void a_lost_inbound_side_is_made_anew_and_delivers_nothing_twice(void **state)
{
	(void)state;
	for (int round = 0; round < 4 && mailbox_is_file(); round++) {
		keep_mailbox *mailbox = mailbox_fresh();
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_error err = KEEP_ERROR_INIT;
		char session[KEEP_SEGMENT_MAX + 1];
		keep_collection collection;
		int64_t last = 0;

		mailbox_session(mailbox, NULL, session);
		OK(keep_mailbox_wake(mailbox, keep_bytes_of(session), KEEP_NOW, NULL, &err));
		for (int i = 0; i < 3; i++)
			last = talk(mailbox, session);
		if (round >= 2) { /* nobody has it open */
			keep_mailbox_close(&mailbox);
			mailbox = mailbox_again();
		}
		lose(session, "inbound.db", round % 2);
		CHECK(mailbox_post(mailbox, session, "{}") > last, "numbers go on");
		assert_string_equal(ask_in(session, "SELECT CAST(incarnation AS text) FROM "
						    "session_host WHERE @ id = 1"),
				    "1");
		assert_string_equal(ask_in(session, "SELECT CAST(count(*) AS text) FROM "
						    "message_steps WHERE @ step = 'rebuilt'"),
				    "1");
		OK(keep_mailbox_collect(mailbox, keep_bytes_of(session), 0, KEEP_NOW, &memory,
					&collection, &err));
		assert_int_equal(collection.count, 0);
		keep_memory_release(&memory);
		keep_mailbox_close(&mailbox);
		assert_all_is_freed();
	}
}

static void a_lost_outbound_side_is_made_anew_and_numbers_go_on(void **state)
{
	(void)state;
	for (int round = 0; round < 4 && mailbox_is_file(); round++) {
		keep_mailbox *mailbox = mailbox_fresh();
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_error err = KEEP_ERROR_INIT;
		char session[KEEP_SEGMENT_MAX + 1];
		keep_collection collection;
		int64_t last = 0;

		mailbox_session(mailbox, NULL, session);
		for (int i = 0; i < 3; i++)
			last = talk(mailbox, session);
		OK(keep_mailbox_collect(mailbox, keep_bytes_of(session), 0, KEEP_NOW, &memory,
					&collection, &err));
		assert_int_equal(collection.count, 3);
		if (round >= 2) {
			keep_mailbox_close(&mailbox);
			mailbox = mailbox_again();
		}
		lose(session, "outbound.db", round % 2);
		CHECK(talk(mailbox, session) > last, "numbers go on");
		OK(keep_mailbox_collect(mailbox, keep_bytes_of(session), 0, KEEP_NOW, &memory,
					&collection, &err));
		keep_memory_release(&memory);
		keep_mailbox_close(&mailbox);
		assert_all_is_freed();
	}
}

static void a_lost_folder_is_made_anew(void **state)
{
	(void)state;
	for (int round = 0; round < 2 && mailbox_is_file(); round++) {
		keep_mailbox *mailbox = mailbox_fresh();
		char session[KEEP_SEGMENT_MAX + 1], away[900];

		mailbox_session(mailbox, NULL, session);
		(void)talk(mailbox, session);
		if (round) {
			keep_mailbox_close(&mailbox);
			mailbox = mailbox_again();
		}
		snprintf(away, sizeof away, "%s.away", mailbox_folder(session));
		assert_int_equal(rename(mailbox_folder(session), away), 0);
		(void)talk(mailbox, session);
		assert_true(is_there(session, "inbound.db"));
		assert_true(is_there(session, "outbound.db"));
		keep_mailbox_close(&mailbox);
		assert_all_is_freed();
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(waking_counts_and_rewrites_destinations_and_route),
		cmocka_unit_test(an_agent_shared_session_without_a_chat_routes_to_nowhere),
		cmocka_unit_test(a_session_that_is_none_or_closed_is_not_woken),
		cmocka_unit_test(the_containers_status_comes_with_the_agents_last_sign_of_life),
		cmocka_unit_test(a_closed_session_takes_nothing_and_its_chat_gets_another),
		cmocka_unit_test(only_a_closed_session_without_deliveries_is_removed),
		cmocka_unit_test(removing_follows_no_link),
		cmocka_unit_test(a_kill_at_any_step_of_removing_is_finished_later),
		cmocka_unit_test(a_kill_while_closing_or_waking_is_made_good),
		cmocka_unit_test(a_dead_processs_claim_is_free_at_once),
		cmocka_unit_test(a_new_incarnation_voids_the_claims_of_the_one_before),
		cmocka_unit_test(a_lost_inbound_side_is_made_anew_and_delivers_nothing_twice),
		cmocka_unit_test(a_lost_outbound_side_is_made_anew_and_numbers_go_on),
		cmocka_unit_test(a_lost_folder_is_made_anew),
	};
	int failed;

	if (argc == 4)
		return run_child(argv[1], argv[2], argv[3]);
	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mailbox_end();
	return failed;
}

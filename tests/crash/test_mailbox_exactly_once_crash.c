/*
 * test_mailbox_exactly_once_crash.c - a host and agents are killed at any moment, both sides.
 *
 *     test_mailbox_exactly_once_crash sqlite|postgres              KEEP_CRASH_ROUNDS: how many
 * kills test_mailbox_exactly_once_crash <url> host <folder> <start> <seed>
 *     test_mailbox_exactly_once_crash <place> agent <folder> <start> <seed>
 *
 * The host posts numbered messages into three sessions, collects, "sends" by appending a delivery's
 * key to a file, reports, and sweeps; agents claim, answer each message once in the commit that
 * completes it, and fail every seventh message whatever its attempt. The parent kills one of them
 * after the other. All clocks run SPEED times as fast as the real one, so that back-offs of minutes
 * pass within the test. At the end everything is let run out, and then
 *
 *   1. each posted message is completed, with exactly one answer, or failed with its reason, with
 *      none; the failing ones failed and no other;
 *   2. each answer is delivered, and its key was sent once: a delivery that was cut off between
 *      sending and report is resolved by looking for its key at the channel;
 *   3. nothing is claimed, outgoing or being sent any more.
 */
#include "mailbox_fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	SESSIONS = 3,
	AGENTS = 2, /* processes a session */
	CHILDREN = 1 + SESSIONS * AGENTS,
	ROUNDS_DEFAULT = 25,
	SPEED = 300,
	FAILING = 7,
	LEASE_MS = 120000
};

static char folder[200], sessions[SESSIONS][KEEP_SEGMENT_MAX + 1];
static int64_t clock_start_ns;

#define EPOCH INT64_C(1790000000000)

static int64_t fast_clock(void *ctx)
{
	(void)ctx;
	return EPOCH + (kp_monotonic_ns() - clock_start_ns) / 1000000 * SPEED;
}

static void must(keep_status status, const keep_error *err, const char *what)
{
	if (status == KEEP_OK)
		return;
	fprintf(stderr, "%s: %s: %s\n", what, keep_status_name(status), err->message);
	_exit(4);
}

/* Somebody else was faster, which is right; everything else is not. */
static bool was_ours(keep_status status, const keep_error *err, const char *what)
{
	if (status == KEEP_CONFLICT)
		return false;
	must(status, err, what);
	return true;
}

/* ---------------------------------------------------------------- the host */

static long posted_count(void)
{
	char path[300];
	long count = 0;
	FILE *file;

	snprintf(path, sizeof path, "%s/posted", folder);
	file = fopen(path, "r");
	if (file) {
		char line[64];

		while (fgets(line, sizeof line, file))
			count++;
		fclose(file);
	}
	return count;
}

static void append(const char *name, const char *line)
{
	char path[300];
	int fd;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, line, strlen(line)) != (ssize_t)strlen(line))
		_exit(5);
	close(fd);
}

static bool was_sent(keep_bytes key)
{
	char path[300], line[200];
	bool found = false;
	FILE *file;

	snprintf(path, sizeof path, "%s/sent", folder);
	file = fopen(path, "r");
	while (file && !found && fgets(line, sizeof line, file))
		found = strlen(line) == key.len + 1 && memcmp(line, key.data, key.len) == 0;
	if (file)
		fclose(file);
	return found;
}

/* Message n goes to session n % SESSIONS; its id is m<n>. Its line is written after the post: one
   that was posted without is posted again, as a duplicate. */
static void post_next(keep_mailbox *mailbox, long n)
{
	char id[32], content[64], line[40];
	keep_post post = {.channel_type = KEEP_BYTES("telegram"), .platform_id = KEEP_BYTES("42")};
	keep_post_result result;
	keep_error err = KEEP_ERROR_INIT;

	snprintf(id, sizeof id, "m%ld", n);
	snprintf(content, sizeof content, "{\"n\":%ld}", n);
	post.id = keep_bytes_of(id);
	post.content = keep_bytes_of(content);
	must(keep_mailbox_post(mailbox, keep_bytes_of(sessions[n % SESSIONS]), &post, &result,
			       &err),
	     &err, "a post");
	snprintf(line, sizeof line, "%s\n", id);
	append("posted", line);
}

static void send_one(keep_mailbox *mailbox, keep_bytes session, keep_bytes key)
{
	keep_outcome_report report = {
		.session = session, .key = key, .outcome = KEEP_OUTCOME_DELIVERED};
	keep_error err = KEEP_ERROR_INIT;
	char line[200];

	if (!was_ours(keep_mailbox_begin_delivery(mailbox, session, key, LEASE_MS, KEEP_NOW,
						  &report.attempt, &err),
		      &err, "a delivery"))
		return;
	snprintf(line, sizeof line, "%.*s\n", (int)key.len, key.data);
	append("sent", line);
	must(keep_mailbox_complete_delivery(mailbox, &report, KEEP_NOW, &err), &err, "a report");
}

static void resolve_uncertain(keep_mailbox *mailbox, keep_bytes session)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_delivered_message_list list;
	keep_error err = KEEP_ERROR_INIT;

	must(keep_mailbox_deliveries(mailbox, session, KEEP_BYTES("uncertain"), 0, 0, &memory,
				     &list, &err),
	     &err, "uncertain ones");
	for (size_t i = 0; i < list.count; i++) {
		keep_outcome_report report = {.session = session,
					      .key = list.items[i].message_out_id,
					      .outcome = KEEP_OUTCOME_DELIVERED};

		if (was_sent(report.key))
			must(keep_mailbox_complete_delivery(mailbox, &report, KEEP_NOW, &err), &err,
			     "a resolution");
		else
			must(keep_mailbox_retry_delivery(mailbox, session, report.key, KEEP_NOW,
							 &err),
			     &err, "a retry");
	}
	keep_memory_release(&memory);
}

static void collect_and_send(keep_mailbox *mailbox, keep_bytes session)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_collection found;
	keep_error err = KEEP_ERROR_INIT;

	must(keep_mailbox_collect(mailbox, session, 10, KEEP_NOW, &memory, &found, &err), &err,
	     "a collect");
	for (size_t i = 0; i < found.count; i++)
		send_one(mailbox, session, found.items[i].key);
	keep_memory_release(&memory);
}

static void sweep(keep_mailbox *mailbox)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_sweep found;
	keep_error err = KEEP_ERROR_INIT;

	must(keep_mailbox_sweep(mailbox, 0, KEEP_NOW, &memory, &found, &err), &err, "a sweep");
	for (size_t i = 0; i < found.count; i++)
		if (found.items[i].status != KEEP_OK) {
			fprintf(stderr, "a sweep: %.*s\n", (int)found.items[i].error.len,
				found.items[i].error.data);
			_exit(4);
		}
	keep_memory_release(&memory);
}

static bool exists(const char *name)
{
	char path[300];

	snprintf(path, sizeof path, "%s/%s", folder, name);
	return access(path, F_OK) == 0;
}

static _Noreturn void be_the_host(const char *url, uint64_t seed)
{
	keep_mailbox_options options = KEEP_MAILBOX_OPTIONS_INIT;
	keep_mailbox *mailbox = NULL;
	keep_error err = KEEP_ERROR_INIT;
	long next = posted_count();

	options.timeout_ms = 30000;
	must(keep_mailbox_open(url, &options, &mailbox, &err), &err, "open");
	for (;;) {
		if (!exists("stop"))
			for (int i = 0; i < 3; i++)
				post_next(mailbox, next++);
		for (int i = 0; i < SESSIONS; i++) {
			collect_and_send(mailbox, keep_bytes_of(sessions[i]));
			resolve_uncertain(mailbox, keep_bytes_of(sessions[i]));
		}
		if (next_random(&seed) % 4 == 0)
			sweep(mailbox);
		if (getppid() == 1)
			_exit(6);
		(void)poll(NULL, 0, 1);
	}
}

/* ---------------------------------------------------------------- an agent */

static void work_on(keep_agent *agent, const keep_claimed *claimed)
{
	keep_claim_ref ref = {claimed->message.id, claimed->attempt};
	keep_error err = KEEP_ERROR_INIT;
	long n = 0;
	char content[64];
	keep_send reply = {.content = KEEP_BYTES("{}")};

	snprintf(content, sizeof content, "%.*s", (int)claimed->message.content.len,
		 claimed->message.content.data);
	if (sscanf(content, "{\"n\":%ld}", &n) != 1) { /* a remark of the host's */
		(void)was_ours(keep_agent_complete(agent, &ref, 1, KEEP_NOW, &err), &err,
			       "a remark");
		return;
	}
	if (n % FAILING == 0) {
		(void)was_ours(keep_agent_fail(agent, &ref, 1, KEEP_BYTES("it is the seventh"),
					       KEEP_NOW, &err),
			       &err, "a failure");
		return;
	}
	reply.content = keep_bytes_of(content);
	(void)was_ours(keep_agent_complete_with(agent, &ref, 1, &reply, 1, KEEP_NOW, NULL, &err),
		       &err, "an answer");
}

static _Noreturn void be_an_agent(const char *place, uint64_t seed)
{
	keep_agent_options options = KEEP_AGENT_OPTIONS_INIT;
	keep_claim_request request = {.lease_ms = LEASE_MS};
	keep_agent *agent = NULL;
	keep_error err = KEEP_ERROR_INIT;

	options.timeout_ms = 30000;
	must(keep_agent_open(place, &options, &agent, &err), &err, "open");
	for (;;) {
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_claim_list claims;
		bool ready;

		request.max = next_random(&seed) % 4 + 1;
		must(keep_agent_claim(agent, &request, KEEP_NOW, &memory, &claims, &err), &err,
		     "a claim");
		for (size_t i = 0; i < claims.count; i++)
			work_on(agent, &claims.items[i]);
		keep_memory_release(&memory);
		if (!claims.count)
			must(keep_agent_wait(agent, 20, &ready, &err), &err, "a wait");
		if (getppid() == 1)
			_exit(6);
	}
}

/* ---------------------------------------------------------------- the parent */

static char places[SESSIONS][MAILBOX_URL_MAX + 200];

static pid_t start_child(int which, uint64_t *seed)
{
	char number[24], start[24], url[MAILBOX_URL_MAX];
	pid_t child;

	snprintf(url, sizeof url, "%s", mailbox_url()); /* a child would name another schema */
	snprintf(number, sizeof number, "%llu", (unsigned long long)next_random(seed));
	snprintf(start, sizeof start, "%lld", (long long)clock_start_ns);
	child = fork();
	if (child == 0) {
		const char *place = which ? places[(which - 1) % SESSIONS] : url;

		execl(mailbox_program(), mailbox_program(), place, which ? "agent" : "host", folder,
		      start, number, NULL);
		_exit(9);
	}
	return child;
}

static void kill_child(pid_t child)
{
	int exit_status;

	kill(child, SIGKILL);
	waitpid(child, &exit_status, 0);
	CHECK(WIFSIGNALED(exit_status), "a child ended by itself with %d",
	      WEXITSTATUS(exit_status));
}

static void make_sessions(keep_mailbox *mailbox)
{
	char path[300];
	FILE *file;

	snprintf(path, sizeof path, "%s/sessions", folder);
	file = fopen(path, "w");
	assert_non_null(file);
	for (int i = 0; i < SESSIONS; i++) {
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_error err = KEEP_ERROR_INIT;
		char thread[16];
		keep_bytes place;

		snprintf(thread, sizeof thread, "t%d", i);
		mailbox_session(mailbox, thread, sessions[i]);
		OK(keep_mailbox_wake(mailbox, keep_bytes_of(sessions[i]), KEEP_NOW, NULL, &err));
		OK(keep_mailbox_session_place(mailbox, keep_bytes_of(sessions[i]), &memory, &place,
					      &err));
		snprintf(places[i], sizeof places[i], "%.*s", (int)place.len, place.data);
		keep_memory_release(&memory);
		fprintf(file, "%s\n", sessions[i]);
	}
	fclose(file);
}

static void read_sessions(void)
{
	char path[300];
	FILE *file;

	snprintf(path, sizeof path, "%s/sessions", folder);
	file = fopen(path, "r");
	for (int i = 0; i < SESSIONS; i++) {
		if (!file || !fgets(sessions[i], sizeof sessions[i], file))
			_exit(7);
		sessions[i][strcspn(sessions[i], "\n")] = '\0';
	}
	fclose(file);
}

/* How many rows of a session a condition meets. */
static long count_rows(int session, const char *file, const char *table, const char *condition)
{
	char sql[500];

	snprintf(sql, sizeof sql, "SELECT CAST(count(*) AS text) FROM %s WHERE %s%s%s%s", table,
		 mailbox_is_file() ? "" : "session_id = '",
		 mailbox_is_file() ? "" : sessions[session], mailbox_is_file() ? "" : "' AND ",
		 condition);
	return strtol(mailbox_sql(sessions[session], file, sql), NULL, 10);
}

static long open_work(void)
{
	long open = 0;

	for (int i = 0; i < SESSIONS; i++) {
		open += count_rows(i, "inbound.db", "messages_in", "status = 'pending'");
		open += count_rows(i, "inbound.db", "outgoing", "seq > 0");
		open += count_rows(i, "inbound.db", "delivered",
				   "status IN ('sending', 'uncertain')");
		open += count_rows(i, "outbound.db", "messages_out", "seq > 0") -
			count_rows(i, "inbound.db", "delivered", "status = 'delivered'");
	}
	return open;
}

static long count_lines(const char *name, bool unique)
{
	char command[400], out[32] = "";
	FILE *pipe;

	snprintf(command, sizeof command, "cat '%s/%s' | sort %s | wc -l", folder, name,
		 unique ? "-u" : "");
	pipe = popen(command, "r");
	assert_non_null(pipe);
	if (!fgets(out, sizeof out, pipe))
		out[0] = '\0';
	pclose(pipe);
	return strtol(out, NULL, 10);
}

/* Claims of messages that have not ended. The host cannot write the row of one whose agent was
   killed: it gives the message up, and the row is void. */
static long open_claims(int session)
{
	long open = 0;

	for (int i = 0;; i++) {
		char sql[400], id[64];

		snprintf(sql, sizeof sql,
			 "SELECT message_id FROM processing_ack WHERE status = 'processing'%s%s%s "
			 "ORDER BY message_id LIMIT 1 OFFSET %d",
			 mailbox_is_file() ? "" : " AND session_id = '",
			 mailbox_is_file() ? "" : sessions[session], mailbox_is_file() ? "" : "'",
			 i);
		snprintf(id, sizeof id, "%s", mailbox_sql(sessions[session], "outbound.db", sql));
		if (!id[0])
			return open;
		snprintf(sql, sizeof sql, "status = 'failed' AND id = '%s'", id);
		open += count_rows(session, "inbound.db", "messages_in", sql) == 0;
	}
}

static void check_end(void)
{
	long posted = count_lines("posted", true), in = 0, completed = 0, failed = 0, out = 0;
	long answered = 0, delivered = 0, wrong = 0, reasons = 0, claims = 0;

	for (int i = 0; i < SESSIONS; i++) {
		in += count_rows(i, "inbound.db", "messages_in", "kind = 'chat'");
		completed += count_rows(i, "inbound.db", "messages_in",
					"kind = 'chat' AND status = 'completed'");
		failed += count_rows(i, "inbound.db", "messages_in",
				     "kind = 'chat' AND status = 'failed'");
		wrong += count_rows(i, "inbound.db", "messages_in",
				    "kind = 'chat' AND (status = 'failed') <> "
				    "(CAST(substr(id, 2) AS integer) % 7 = 0)");
		reasons += count_rows(i, "inbound.db", "messages_in",
				      "status = 'failed' AND last_error <> ''");
		out += count_rows(i, "outbound.db", "messages_out", "seq > 0");
		answered +=
			strtol(mailbox_sql(sessions[i], "outbound.db",
					   "SELECT CAST(count(DISTINCT in_reply_to) AS text) FROM "
					   "messages_out"),
			       NULL, 10);
		claims += open_claims(i);
		delivered += count_rows(i, "inbound.db", "delivered", "status = 'delivered'");
	}
	if (!mailbox_is_file())
		answered /= SESSIONS; /* one table for all of them */
	print_message("%ld posted, %ld completed, %ld failed, %ld answers, %ld sent\n", posted,
		      completed, failed, out, count_lines("sent", false));
	assert_true(posted > 0);
	assert_true(in >= posted && in <= posted + 1); /* one without its line */
	assert_int_equal(completed + failed, in);
	assert_int_equal(wrong, 0);
	assert_int_equal(reasons, failed);
	assert_int_equal(out, completed);
	assert_int_equal(answered, completed);
	assert_int_equal(delivered, completed);
	assert_int_equal(claims, 0);
	assert_int_equal(count_lines("sent", true), completed);
	assert_int_equal(count_lines("sent", false), completed);
}

static void every_message_ends_once_and_every_answer_is_sent_once(void **state)
{
	const char *wanted = getenv("KEEP_CRASH_ROUNDS");
	long rounds = wanted ? strtol(wanted, NULL, 10) : ROUNDS_DEFAULT;
	uint64_t seed = 42;
	pid_t children[CHILDREN];
	int64_t deadline;
	keep_mailbox *mailbox = mailbox_fresh();

	(void)state;
	clock_start_ns = kp_monotonic_ns();
	snprintf(folder, sizeof folder, "/tmp/keep-once-XXXXXX");
	assert_non_null(mkdtemp(folder));
	make_sessions(mailbox);
	keep_mailbox_close(&mailbox);
	for (int i = 0; i < CHILDREN; i++)
		children[i] = start_child(i, &seed);
	for (long round = 0; round < rounds; round++) {
		int which = (int)(next_random(&seed) % (CHILDREN + 3));

		which = which >= CHILDREN ? 0 : which; /* the host more often */
		(void)poll(NULL, 0, (int)(next_random(&seed) % 160));
		kill_child(children[which]);
		children[which] = start_child(which, &seed);
	}
	append("stop", "");
	deadline = kp_monotonic_ns() + INT64_C(120000000000) * test_patience();
	while (open_work() > 0 && kp_monotonic_ns() < deadline)
		(void)poll(NULL, 0, 100);
	for (int i = 0; i < CHILDREN; i++)
		kill_child(children[i]);
	check_end();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_message_ends_once_and_every_answer_is_sent_once),
	};
	int failed;

	if (argc == 6) {
		snprintf(folder, sizeof folder, "%s", argv[3]);
		clock_start_ns = strtoll(argv[4], NULL, 10);
		kp_clock_inject(fast_clock, NULL);
		read_sessions();
		if (strcmp(argv[2], "host") == 0)
			be_the_host(argv[1], strtoull(argv[5], NULL, 10));
		be_an_agent(argv[1], strtoull(argv[5], NULL, 10));
	}
	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mailbox_end();
	return failed;
}

/*
 * bench_mailbox_sessions.c - thousands of sessions: an idle sweep, and serving hundreds at once.
 *
 *     bench_mailbox_sessions FOLDER      KEEP_BENCH_SESSIONS: 5,000 if not set
 *
 * The host posts to ACTIVE sessions in turn; one agent each waits for them, in a process of its own
 * with a thread a session. The time is from before a post to after its claim, on one clock that
 * both read: the post's content carries it.
 */
#include "bench.h"

#include "core/core.h"
#include "keep/agent.h"
#include "keep/mailbox_registry.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ACTIVE = 300, POSTS = 3000, SWEEPS = 200 };

static keep_error err;

static void must(keep_status status, const char *what)
{
	if (status != KEEP_OK)
		bench_fail("%s: %s", what, err.message);
}

static char folders[ACTIVE][600];
static char ids[ACTIVE][KEEP_SEGMENT_MAX + 1];

struct shared {
	atomic_int ready, claimed;
	double times[POSTS];
};

static keep_mailbox *make_store(const char *folder, long sessions)
{
	keep_mailbox_options options = KEEP_MAILBOX_OPTIONS_INIT;
	keep_agent_group group = {
		.id = KEEP_BYTES("ada"), .name = KEEP_BYTES("Ada"), .folder = KEEP_BYTES("ada")};
	keep_messaging_group chat = {.id = KEEP_BYTES("mg-42"),
				     .channel_type = KEEP_BYTES("telegram"),
				     .platform_id = KEEP_BYTES("42")};
	keep_mailbox *mailbox = NULL;
	char url[500], thread[32];

	snprintf(url, sizeof url, "sqlite:%s/many", folder);
	options.create = true;
	options.relaxed = true; /* for the making alone */
	must(keep_mailbox_open(url, &options, &mailbox, &err), url);
	must(keep_mailbox_put_agent_group(mailbox, &group, NULL, &err), "an agent group");
	must(keep_mailbox_put_messaging_group(mailbox, &chat, NULL, &err), "a chat");
	for (long i = 0; i < sessions; i++) {
		keep_session_place place = {.agent_group_id = KEEP_BYTES("ada"),
					    .messaging_group_id = KEEP_BYTES("mg-42"),
					    .session_mode = KEEP_BYTES("per-thread")};
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_session session;
		keep_bytes place_text;

		snprintf(thread, sizeof thread, "t%ld", i);
		place.thread_id = keep_bytes_of(thread);
		must(keep_mailbox_resolve_session(mailbox, &place, KEEP_NOW, &memory, &session,
						  NULL, &err),
		     "a session");
		if (i < ACTIVE) {
			must(keep_mailbox_session_place(mailbox, session.id, &memory, &place_text,
							&err),
			     "a place");
			snprintf(folders[i], sizeof folders[i], "%.*s", (int)place_text.len,
				 place_text.data);
			snprintf(ids[i], sizeof ids[i], "%.*s", (int)session.id.len,
				 session.id.data);
		}
		keep_memory_release(&memory);
	}
	keep_mailbox_close(&mailbox);
	options.relaxed = false;
	must(keep_mailbox_open(url, &options, &mailbox, &err), url);
	return mailbox;
}

static size_t sweep(keep_mailbox *mailbox)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_sweep found;
	size_t looked_at;

	must(keep_mailbox_sweep(mailbox, 0, KEEP_NOW, &memory, &found, &err), "a sweep");
	looked_at = (size_t)found.looked_at;
	keep_memory_release(&memory);
	return looked_at;
}

static void time_sweeps(keep_mailbox *mailbox, long sessions)
{
	static double times[SWEEPS];
	char what[80], note[120];

	while (sweep(mailbox))
		;
	for (int i = 0; i < SWEEPS; i++) {
		double start = bench_now();

		if (sweep(mailbox))
			bench_fail("something was due");
		times[i] = bench_now() - start;
	}
	snprintf(what, sizeof what, "sweep of %ld sessions, nothing due", sessions);
	snprintf(note, sizeof note, "median %.3f ms", bench_median(times, SWEEPS) * 1e3);
	bench_tell(what, "synced", 1 / bench_median(times, SWEEPS), note);
}

/* ---------------------------------------------------------------- many agents */

struct serving {
	struct shared *shared;
	const char *folder;
};

static void *serve(void *ctx)
{
	const struct serving *serving = ctx;
	keep_error why = KEEP_ERROR_INIT;
	keep_agent *agent = NULL;

	if (keep_agent_open(serving->folder, NULL, &agent, &why) != KEEP_OK)
		bench_fail("an agent: %s", why.message);
	atomic_fetch_add(&serving->shared->ready, 1);
	for (;;) {
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_claim_list claims;
		bool ready;

		if (keep_agent_wait(agent, -1, &ready, &why) != KEEP_OK ||
		    keep_agent_claim(agent, NULL, KEEP_NOW, &memory, &claims, &why) != KEEP_OK)
			bench_fail("a claim: %s", why.message);
		for (size_t i = 0; i < claims.count; i++) {
			keep_claim_ref ref = {claims.items[i].message.id, claims.items[i].attempt};
			double posted = 0;
			int at = atomic_fetch_add(&serving->shared->claimed, 1);
			char text[64];

			snprintf(text, sizeof text, "%.*s",
				 (int)claims.items[i].message.content.len,
				 claims.items[i].message.content.data);
			if (sscanf(text, "{\"at\":%lf}", &posted) == 1 && at < POSTS)
				serving->shared->times[at] = bench_now() - posted;
			if (keep_agent_complete(agent, &ref, 1, KEEP_NOW, &why) != KEEP_OK)
				bench_fail("a completion: %s", why.message);
		}
		keep_memory_release(&memory);
	}
	return NULL;
}

static pid_t start_agents(struct shared *shared)
{
	static struct serving serving[ACTIVE];
	pid_t child = fork();

	if (child < 0)
		bench_fail("fork");
	if (child > 0)
		return child;
	for (int i = 0; i < ACTIVE; i++) {
		pthread_t thread;

		serving[i] = (struct serving){shared, folders[i]};
		if (pthread_create(&thread, NULL, serve, &serving[i]) != 0)
			bench_fail("a thread");
	}
	for (;;)
		pause();
}

static void time_posts(keep_mailbox *mailbox)
{
	struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t agents;
	char note[160];

	if (shared == MAP_FAILED)
		bench_fail("mmap");
	agents = start_agents(shared);
	while (atomic_load(&shared->ready) < ACTIVE)
		usleep(1000);
	for (int i = 0; i < POSTS; i++) {
		char content[64];
		keep_post post = {0};
		keep_post_result result;

		snprintf(content, sizeof content, "{\"at\":%.9f}", bench_now());
		post.content = keep_bytes_of(content);
		must(keep_mailbox_post(mailbox, keep_bytes_of(ids[i % ACTIVE]), &post, &result,
				       &err),
		     "a post");
	}
	while (atomic_load(&shared->claimed) < POSTS)
		usleep(1000);
	/* the first posts open files: they are among the rest */
	snprintf(note, sizeof note, "median %.3f ms", bench_median(shared->times, POSTS) * 1e3);
	bench_tell("from post to claim, 300 sessions in turn", "synced",
		   1 / bench_median(shared->times, POSTS), note);
	(void)kill(agents, SIGKILL);
	(void)waitpid(agents, NULL, 0);
}

int main(int argc, char **argv)
{
	const char *wanted = getenv("KEEP_BENCH_SESSIONS");
	long sessions = wanted ? strtol(wanted, NULL, 10) : 5000;
	struct rlimit limit;
	keep_mailbox *mailbox;

	if (argc != 2 || sessions < ACTIVE)
		bench_fail("wrong use: bench_mailbox_sessions FOLDER, at least %d sessions",
			   ACTIVE);
	/* files of 300 sessions in each of two processes */
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
	bench_title("mailbox, many sessions");
	mailbox = make_store(argv[1], sessions);
	time_sweeps(mailbox, sessions);
	time_posts(mailbox);
	keep_mailbox_close(&mailbox);
	return 0;
}

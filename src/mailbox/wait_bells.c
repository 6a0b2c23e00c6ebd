/*
 * wait_bells.c - SQLite: hearing the bells of many sessions.
 *
 * One inotify descriptor has a watch on each session's .bell-out, which its agent writes to after
 * each commit that the host shall know of. The host makes the file, so that there is something to
 * watch. Some agents never ring: those that know only the source's files, and those behind a border
 * that notification does not cross. A bell that nobody has rung yet is empty: its session is polled
 * by the size and time of outbound.db and its log, until it rings.
 *
 * Invariants:
 *   1. A session is here once. Its watch, if it has one, is in by_wd.
 *   2. No watch, for whatever reason (max_user_watches, no descriptor, a link in its place): it is
 *      polled.
 *   3. A file that changed within the last moment counts as changed at the next look again: its
 * time is not fine enough to tell two changes apart.
 *
 * What it does not do: read a database. Whether a changed file has news is mailbox_wait.c's.
 *
 * Tests: tests/contract/test_mailbox_wait.c.
 */
#include "mailbox/wait_bells.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUCKETS = 4096, READS_MAX = 64, FRESH_MS = 50 };

struct kp_bells {
	int fd;
	bool is_full;          /* the user has no more watches; told once */
	unsigned char key[16]; /* of the hash */
	kp_watched *by_id[BUCKETS], *by_wd[BUCKETS];
	kp_watched *at; /* of the ring; NULL: empty */
	kp_watched *rung, **last_rung;
	size_t polled;
};

keep_status kp_bells_open(kp_bells **out, keep_error *err)
{
	kp_bells *bells = kp_alloc_zero(sizeof *bells);
	keep_status status;

	*out = NULL;
	if (!bells)
		return kp_fail_memory(err, "a mailbox");
	status = kp_random_bytes(bells->key, sizeof bells->key, err);
	if (status != KEEP_OK) {
		kp_free(bells);
		return status;
	}
	bells->fd = -1;
	bells->last_rung = &bells->rung;
	*out = bells;
	return KEEP_OK;
}

void kp_bells_close(kp_bells **bells)
{
	kp_bells *closing = *bells;

	if (!closing)
		return;
	*bells = NULL;
	while (closing->at)
		kp_bells_drop(closing, closing->at);
	kp_file_close(&closing->fd);
	kp_free(closing);
}

void kp_bells_start(kp_bells *bells)
{
	if (bells->fd < 0)
		bells->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (bells->fd < 0)
		kp_log(KEEP_LOG_WARNING, "waits wake up late: inotify: errno %d", errno);
}

int kp_bells_fd(const kp_bells *bells)
{
	return bells->fd;
}

/* ---------------------------------------------------------------- the table */

static kp_watched **id_bucket(kp_bells *bells, keep_bytes session)
{
	return &bells->by_id[kp_siphash(bells->key, session) % BUCKETS];
}

static kp_watched **wd_bucket(kp_bells *bells, int wd)
{
	return &bells->by_wd[(unsigned)wd % BUCKETS];
}

kp_watched *kp_bells_find(kp_bells *bells, keep_bytes session)
{
	kp_watched *at = *id_bucket(bells, session);

	while (at && !kp_bytes_equal(keep_bytes_of(at->id), session))
		at = at->next_by_id;
	return at;
}

static kp_watched *find_wd(kp_bells *bells, int wd)
{
	kp_watched *at = *wd_bucket(bells, wd);

	while (at && at->wd != wd)
		at = at->next_by_wd;
	return at;
}

static void set_polled(kp_bells *bells, kp_watched *watched, bool is_polled)
{
	if (is_polled && !watched->is_polled)
		bells->polled++;
	if (!is_polled && watched->is_polled)
		bells->polled--;
	watched->is_polled = is_polled;
}

static void forget_watch(kp_bells *bells, kp_watched *watched)
{
	kp_watched **at = wd_bucket(bells, watched->wd);

	if (watched->wd < 0)
		return;
	while (*at != watched)
		at = &(*at)->next_by_wd;
	*at = watched->next_by_wd;
	watched->wd = -1;
}

static void join_ring(kp_bells *bells, kp_watched *watched)
{
	watched->before = watched->behind = watched;
	if (bells->at) {
		watched->behind = bells->at;
		watched->before = bells->at->before;
		watched->before->behind = watched;
		bells->at->before = watched;
	} else {
		bells->at = watched;
	}
}

static void leave_ring(kp_bells *bells, kp_watched *watched)
{
	watched->before->behind = watched->behind;
	watched->behind->before = watched->before;
	if (bells->at == watched)
		bells->at = watched->behind == watched ? NULL : watched->behind;
}

static void take_from_rung(kp_bells *bells, kp_watched *watched)
{
	kp_watched **at = &bells->rung;

	while (*at != watched)
		at = &(*at)->next_rung;
	*at = watched->next_rung;
	if (!*at)
		bells->last_rung = at;
	watched->is_rung = false;
}

void kp_bells_drop(kp_bells *bells, kp_watched *watched)
{
	kp_watched **at = id_bucket(bells, keep_bytes_of(watched->id));

	while (*at != watched)
		at = &(*at)->next_by_id;
	*at = watched->next_by_id;
	if (watched->wd >= 0 && bells->fd >= 0)
		(void)inotify_rm_watch(bells->fd, watched->wd);
	forget_watch(bells, watched);
	if (watched->is_rung)
		take_from_rung(bells, watched);
	set_polled(bells, watched, false);
	leave_ring(bells, watched);
	kp_free(watched->folder);
	kp_free(watched);
}

size_t kp_bells_polled(const kp_bells *bells)
{
	return bells->polled;
}

/* ---------------------------------------------------------------- watches */

/* Make it if it is missing, for the agent to write to. True: somebody has rung it before. */
static bool make_bell(const char *path, int64_t uid, int64_t gid)
{
	struct stat st = {.st_size = 0};
	int fd = -1;
	bool is_rung;

	if (kp_file_open(AT_FDCWD, path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, &fd, NULL) ==
		    KEEP_OK &&
	    (uid || gid) && fchown(fd, (uid_t)uid, (gid_t)gid) != 0)
		kp_log(KEEP_LOG_WARNING, "'%s': errno %d", path, errno);
	kp_file_close(&fd);
	is_rung = lstat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0;
	return is_rung;
}

static void watch(kp_bells *bells, kp_watched *watched, int64_t uid, int64_t gid)
{
	char path[PATH_MAX];
	bool is_rung;
	int wd;

	if (!watched->folder || watched->wd >= 0 || bells->fd < 0 ||
	    snprintf(path, sizeof path, "%s/.bell-out", watched->folder) >= (int)sizeof path)
		return;
	is_rung = make_bell(path, uid, gid);
	wd = inotify_add_watch(bells->fd, path,
			       IN_MODIFY | IN_DELETE_SELF | IN_MOVE_SELF | IN_DONT_FOLLOW);
	if (wd < 0 && errno == ENOSPC && !bells->is_full) {
		bells->is_full = true;
		kp_log(KEEP_LOG_WARNING,
		       "no more inotify watches for this user (fs.inotify.max_user_watches): "
		       "further sessions are polled");
	}
	/* Two names of one file have one watch: whose it was first keeps it. */
	if (wd < 0 || find_wd(bells, wd))
		return;
	watched->wd = wd;
	watched->next_by_wd = *wd_bucket(bells, wd);
	*wd_bucket(bells, wd) = watched;
	set_polled(bells, watched, !is_rung);
}

kp_watched *kp_bells_add(kp_bells *bells, keep_bytes session, const char *folder, int64_t uid,
			 int64_t gid)
{
	kp_watched *watched = kp_bells_find(bells, session);

	if (watched) {
		watch(bells, watched, uid, gid);
		return watched;
	}
	watched = session.len < sizeof watched->id ? kp_alloc_zero(sizeof *watched) : NULL;
	if (!watched)
		return NULL;
	if (folder && kp_text_copy(folder, &watched->folder, NULL) != KEEP_OK) {
		kp_free(watched);
		return NULL;
	}
	memcpy(watched->id, session.data, session.len);
	watched->wd = -1;
	watched->next_by_id = *id_bucket(bells, session);
	*id_bucket(bells, session) = watched;
	join_ring(bells, watched);
	set_polled(bells, watched, folder != NULL);
	watch(bells, watched, uid, gid);
	return watched;
}

/* ---------------------------------------------------------------- news */

void kp_bells_tell(kp_bells *bells, kp_watched *watched)
{
	if (watched->is_rung)
		return;
	watched->is_rung = true;
	watched->next_rung = NULL;
	*bells->last_rung = watched;
	bells->last_rung = &watched->next_rung;
}

bool kp_bells_have_news(const kp_bells *bells)
{
	return bells->rung != NULL;
}

kp_watched *kp_bells_take(kp_bells *bells)
{
	kp_watched *first = bells->rung;

	if (first)
		take_from_rung(bells, first);
	return first;
}

static bool hear_one(kp_bells *bells, const struct inotify_event *event)
{
	kp_watched *watched;

	if (event->mask & IN_Q_OVERFLOW)
		return true;
	watched = find_wd(bells, event->wd);
	if (!watched)
		return false;
	if (event->mask & IN_MODIFY) {
		set_polled(bells, watched, false);
		kp_bells_tell(bells, watched);
	}
	/* The file is gone or somewhere else: polled, until the next look makes another one. */
	if (event->mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF)) {
		if (!(event->mask & IN_IGNORED))
			(void)inotify_rm_watch(bells->fd, event->wd);
		forget_watch(bells, watched);
		set_polled(bells, watched, true);
	}
	return false;
}

bool kp_bells_hear(kp_bells *bells)
{
	_Alignas(struct inotify_event) char buffer[4096];
	bool is_lost = false;

	for (int i = 0; i < READS_MAX && bells->fd >= 0; i++) {
		ssize_t got = read(bells->fd, buffer, sizeof buffer);
		const char *at = buffer;

		if (got <= 0)
			break;
		while (at < buffer + got) {
			const struct inotify_event *event =
				(const struct inotify_event *)(const void *)at;

			is_lost |= hear_one(bells, event);
			at += sizeof *event + event->len;
		}
	}
	return is_lost;
}

/* ---------------------------------------------------------------- polling */

/* Size and time, in ns; invariant 3: a fresh time becomes one that no file has. */
static void take_print(const char *folder, const char *name, int64_t print[2])
{
	char path[PATH_MAX];
	struct stat st;
	int64_t age_ms;

	print[0] = print[1] = 0;
	if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path ||
	    lstat(path, &st) != 0)
		return;
	age_ms = kp_clock_ms() - (int64_t)st.st_mtim.tv_sec * 1000 - st.st_mtim.tv_nsec / 1000000;
	print[0] = (int64_t)st.st_size;
	print[1] = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
	if (age_ms < FRESH_MS)
		print[1] = -print[1] - 1;
}

bool kp_bells_look(kp_watched *watched)
{
	int64_t print[4];
	bool is_other;

	if (!watched->folder)
		return false;
	take_print(watched->folder, "outbound.db", print);
	take_print(watched->folder, "outbound.db-wal", print + 2);
	is_other = memcmp(print, watched->print, sizeof print) != 0;
	memcpy(watched->print, print, sizeof print);
	return is_other;
}

kp_watched *kp_bells_next(kp_bells *bells, bool all)
{
	kp_watched *begun = bells->at;

	if (!begun)
		return NULL;
	do {
		kp_watched *at = bells->at;

		bells->at = at->behind;
		if (all || at->is_polled)
			return at;
	} while (bells->at != begun);
	return NULL;
}

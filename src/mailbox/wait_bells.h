#ifndef KP_WAIT_BELLS_H
#define KP_WAIT_BELLS_H
/*
 * wait_bells.h - the sessions that a host's waits know, and which of them have news.
 *
 * On SQLite each has a watch on its agent's bell, or is polled; on a server only those are here
 * that have news. See wait_bells.c.
 *
 * Threads: all of it is held by the lock of who owns it, but for kp_bells_fd.
 */
#include "mailbox/mailbox_private.h"

typedef struct kp_watched {
	char id[KP_SEGMENT_SIZE];
	char *folder; /* NULL: on a server */
	int wd;       /* the watch; -1: none */
	bool is_polled, is_rung;
	int64_t print[4]; /* what the agent's file looked like; see kp_bells_look */
	struct kp_watched *next_by_id, *next_by_wd, *next_rung;
	struct kp_watched *before, *behind; /* all of them, a ring */
} kp_watched;

typedef struct kp_bells kp_bells;

keep_status kp_bells_open(kp_bells **out, keep_error *err) KEEP_MUST_CHECK;
void kp_bells_close(kp_bells **bells);
/* Begin to watch, with a descriptor; without one all are polled. */
void kp_bells_start(kp_bells *bells);
int kp_bells_fd(const kp_bells *bells); /* -1: none */

kp_watched *kp_bells_find(kp_bells *bells, keep_bytes session);
/* Make the bell and watch it. `folder` NULL: on a server. What is there stays, and gets the watch
   that it lacks. NULL: no memory. */
kp_watched *kp_bells_add(kp_bells *bells, keep_bytes session, const char *folder, int64_t uid,
			 int64_t gid);
void kp_bells_drop(kp_bells *bells, kp_watched *watched);
size_t kp_bells_polled(const kp_bells *bells);

/* The session has news. */
void kp_bells_tell(kp_bells *bells, kp_watched *watched);
bool kp_bells_have_news(const kp_bells *bells);
/* The next one with news, which has none then; NULL: none has. */
kp_watched *kp_bells_take(kp_bells *bells);

/* Read what the kernel tells; true: it lost something, look at all of them. */
bool kp_bells_hear(kp_bells *bells);
/* Did the agent's file change since the last look? */
bool kp_bells_look(kp_watched *watched);
/* The next one of those that are polled (`all`: of all), going round; NULL: there is none. */
kp_watched *kp_bells_next(kp_bells *bells, bool all);

#endif

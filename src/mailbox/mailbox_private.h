#ifndef KP_MAILBOX_PRIVATE_H
#define KP_MAILBOX_PRIVATE_H
/*
 * mailbox_private.h - what the files of src/mailbox share.
 *
 * The registry, the inbound and the outbound tables have one set of named statements (the *.sql
 * files beside this one, one a topic, written once for both dialects): a connection prepares those
 * that it uses. On SQLite the registry is a database of its own, and a session is two files, each
 * of which one side opens for writing with the other side's beside it (side.c). On PostgreSQL all
 * is one schema, and every table of a session has session_id in front. So each statement about a
 * session has $1 = the session, and names it where PostgreSQL needs it: `@{session_id = $1 AND}`.
 *
 * Threads: as the public headers; what is mutable in a struct has its own lock.
 */
#include "keep/agent.h"
#include "keep/mailbox.h"
#include "keep/mailbox_registry.h"
#include "schedule/due.h"
#include "sql/store.h"

#include "mailbox/mailbox_inbound_records.h"
#include "mailbox/mailbox_outbound_records.h"
#include "mailbox/mailbox_records.h"
#include "mailbox_statements.h" /* KP_MAILBOX_<NAME>, made from the *.sql files */

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

_Static_assert(KEEP_MAILBOX_TEXT_MAX == KP_KEY_MAX, "the checks of core hold it");
_Static_assert(KEEP_MAILBOX_CONTENT_MAX == KP_CONTENT_MAX, "the checks of core hold it");

#define KP_SEGMENT_SIZE (KEEP_SEGMENT_MAX + 1)
#define KP_CHANNEL_SIZE 56 /* of NOTIFY */

/* -------------------------------- doors that two sides share (doors.c in spirit: mailbox.c) */

static inline int64_t kp_now(int64_t now_ms)
{
	return now_ms == KEEP_NOW ? kp_clock_ms() : now_ms;
}

/* 1 to KEEP_SEGMENT_MAX of A-Z a-z 0-9 . _ -, not beginning with . or -: what may become a folder.
 */
keep_status kp_check_segment(const char *what, keep_bytes text, keep_error *err) KEEP_MUST_CHECK;
/* A file's name: one segment of any text but a separator, "." and "..", without control characters.
 */
keep_status kp_check_file_name(const char *what, keep_bytes name, keep_error *err) KEEP_MUST_CHECK;

/* A query or a change runs on a lease of a connection; it may run twice, so it depends on the
   database and its inputs alone and writes its outputs anew. */
typedef kp_apply kp_query;

/* -------------------------------- one side of a session on SQLite (side.c) */

enum kp_side_kind { KP_SIDE_HOST, KP_SIDE_AGENT };

typedef struct kp_side {
	enum kp_side_kind kind;
	char *own, *other, *guard; /* paths */
	char *marker;              /* the path of .mount-safe */
	bool mount_safe;           /* rollback journals, no maps, a connection for each use */
	bool is_plain;             /* the other side knows only the source's tables (plain.c) */
	bool relaxed, create;
	int64_t timeout_ms;
	pthread_mutex_t lock; /* all below */
	kp_lease lease;       /* conn NULL: not open */
} kp_side;

/* `folder` holds inbound.db and outbound.db; `guard` (host) is outside of it. Opens nothing yet. */
keep_status kp_side_init(kp_side *side, enum kp_side_kind kind, const char *folder,
			 const char *guard, keep_error *err) KEEP_MUST_CHECK;
void kp_side_release(kp_side *side);
/* Open if it is not; the first connection migrates the side's own file. */
keep_status kp_side_open(kp_side *side, keep_error *err) KEEP_MUST_CHECK;
void kp_side_close(kp_side *side);
/* Both take the lock, open when needed, and run `apply` in one transaction. */
keep_status kp_side_change(kp_side *side, kp_sql_mode mode, kp_apply *apply, void *ctx,
			   keep_error *err) KEEP_MUST_CHECK;
keep_status kp_side_read(kp_side *side, kp_query *query, void *ctx,
			 keep_error *err) KEEP_MUST_CHECK;

/* The agent's: does the host know only the source's tables? Then is_plain, and mount_safe. */
keep_status kp_side_look_at_host(kp_side *side, keep_error *err) KEEP_MUST_CHECK;

/* -------------------------------- common memory or none (mount.c) */

/* Do maps of one file in `folder` agree with each other and with calls? */
keep_status kp_mount_look(const char *folder, bool *shares_maps, keep_error *err) KEEP_MUST_CHECK;
/* Is that, of statfs, a file system that several kernels may write? */
bool kp_mount_type_crosses(uint32_t type);
/* The host's, when it first gets hold of a session: leaves its boot id there, sets mount_safe. */
keep_status kp_mount_meet_agents(keep_mailbox *mailbox, kp_side *side, const char *folder,
				 keep_error *err) KEEP_MUST_CHECK;
/* The agent's, before it opens: sets mount_safe (which the caller may have set) and is_plain. */
keep_status kp_mount_meet_host(kp_side *side, const char *folder, keep_error *err) KEEP_MUST_CHECK;

/* -------------------------------- the source's tables (plain.c) */

/* Has `schema` of a connection, the file of `whose` side, only the source's columns or tables? */
keep_status kp_plain_look(kp_sql_conn *conn, const char *schema, enum kp_side_kind whose,
			  bool *is_plain, keep_error *err) KEEP_MUST_CHECK;
/* The same of an inbound.db, not in WAL mode, that is opened for it. */
keep_status kp_plain_host(const char *inbound, bool *is_plain, keep_error *err) KEEP_MUST_CHECK;
/* On a new connection: sets is_plain, and lays our tables' names over the other side's file. */
keep_status kp_plain_dress(kp_side *side, keep_error *err) KEEP_MUST_CHECK;
/* kp_migrate of an outbound.db, which may be the source's: then its rows stay. */
keep_status kp_plain_migrate(kp_sql_conn *conn, keep_error *err) KEEP_MUST_CHECK;
/* Against a source host: end as failed what was claimed six times and never finished. */
keep_status kp_plain_give_up(keep_agent *agent, keep_error *err) KEEP_MUST_CHECK;

/* The migrations of the three sets of tables, by dialect: "mailbox" (the registry),
   "mailbox_inbound", "mailbox_outbound". */
extern const kp_migrations kp_mailbox_migrations[KP_DIALECT_COUNT];
extern const kp_migrations kp_mailbox_inbound_migrations[KP_DIALECT_COUNT];
extern const kp_migrations kp_mailbox_outbound_migrations[KP_DIALECT_COUNT];

/* -------------------------------- bells (bell.c)
 *
 * A file of one number in the session's folder. Ringing writes another number and wakes who sleeps
 * on it; nobody stores into or loads from the mapping, so a file that an agent cut short costs a
 * poll and not a SIGBUS. The agent's bell is also seen by the host's inotify.
 */
typedef struct kp_bell {
	int fd;   /* -1: none, waits poll */
	void *at; /* the mapping: a futex's address, never touched by us */
} kp_bell;

#define KP_BELL_INIT                                                                               \
	{                                                                                          \
		.fd = -1                                                                           \
	}

keep_status kp_bell_open(kp_bell *bell, const char *path, bool create,
			 keep_error *err) KEEP_MUST_CHECK;
void kp_bell_close(kp_bell *bell);
void kp_bell_ring(kp_bell *bell);
uint32_t kp_bell_value(const kp_bell *bell);
/* Until the value is another one than `seen`, or timeout_ms are over. */
void kp_bell_wait(kp_bell *bell, uint32_t seen, int64_t timeout_ms);
/* Wake this process's sleepers without ringing. */
void kp_bell_wake(kp_bell *bell);

/* -------------------------------- the host (mailbox.c, sessions_open.c) */

/* All hosts and agents of one schema listen to one channel. */
keep_status kp_mailbox_channel(const char *schema, char channel[KP_CHANNEL_SIZE],
			       keep_error *err) KEEP_MUST_CHECK;

struct keep_mailbox {
	const kp_sql_driver *driver;
	kp_database *database; /* SQLite: the registry; PostgreSQL: all */
	char *location;        /* SQLite: the folder; PostgreSQL: the conninfo */
	char *url;             /* as it was given */
	char *schema;          /* PostgreSQL; else NULL */
	char owner[KP_OWNER_TEXT_SIZE];
	bool read_only, relaxed, create;
	bool mount_safe;
	int64_t timeout_ms, agent_uid, agent_gid;
	size_t sessions_max;
	bool listens;                  /* LISTEN works */
	char channel[KP_CHANNEL_SIZE]; /* of NOTIFY; payload "in:<session>" or "out:<session>" */
	atomic_int cancelled;
	struct kp_open_sessions *open_sessions;       /* SQLite: sessions_open.c */
	struct kp_session_template *session_template; /* SQLite: session_template.c */
	struct kp_trigger_cache *trigger_cache;       /* trigger_rules.c */
	struct kp_mailbox_waits *waits;               /* mailbox_wait.c */
};

/* Hand on a failure, but one of tables that are gone is UNAVAILABLE: every statement was fine when
   it was prepared, so somebody dropped the schema under us. */
keep_status kp_mailbox_tell_failure(keep_status status, const keep_error *why, keep_error *err);

/* The registry. On PostgreSQL hosts take turns (host_turns), so nothing of theirs deadlocks. */
keep_status kp_registry_read(keep_mailbox *mailbox, kp_query *query, void *ctx,
			     keep_error *err) KEEP_MUST_CHECK;
keep_status kp_registry_change(keep_mailbox *mailbox, kp_apply *apply, void *ctx,
			       keep_error *err) KEEP_MUST_CHECK;
/* Run one reading statement of the registry: all its rows into an array (`items`: the address of
   the list's pointer), or its one row. */
keep_status kp_registry_list(keep_mailbox *mailbox, size_t statement, const kp_value *values,
			     size_t value_count, const kp_record *record, kp_arena *arena,
			     void *items, size_t *count, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_registry_get(keep_mailbox *mailbox, size_t statement, const kp_value *values,
			    size_t value_count, const kp_record *record, kp_arena *arena,
			    void *object, bool *found, keep_error *err) KEEP_MUST_CHECK;

/* -------------------------------- a session, from the host's side (session_access.c) */

enum kp_session_news {
	KP_NEWS_NONE = 0,
	KP_NEWS_AGENT = 1 /* something for the agent: its bell rings after the commit */
};

/* What a change of a session is told and tells. */
typedef struct kp_session_change {
	keep_bytes session;
	kp_sql_mode mode; /* KP_SQL_WRITE, or KP_SQL_WRITE_SOON for what can be taken over again */
	unsigned news;
	/* The registry's due_at of the session is set before the change is stored, at the latest to
	   this time, so that sweep finds the session whatever happens; 0: no need. */
	int64_t due_ms;
} kp_session_change;

/*
 * Run `apply` in a writing transaction of the session's inbound side: on SQLite its file, with the
 * outbound side's beside it for reading; on PostgreSQL the schema. NOT_FOUND: no such session.
 */
keep_status kp_session_write(keep_mailbox *mailbox, const kp_session_change *change,
			     kp_apply *apply, void *ctx, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_session_read(keep_mailbox *mailbox, keep_bytes session, kp_query *query, void *ctx,
			    keep_error *err) KEEP_MUST_CHECK;
/* The session's one row of session_host. NOT_FOUND. `arena` holds its texts. */
keep_status kp_session_host_get(kp_lease *lease, keep_bytes session, kp_arena *arena,
				keep_session_host *out, keep_error *err) KEEP_MUST_CHECK;
/* INVALID: no id; else as it is. */
keep_status kp_check_session(keep_bytes session, keep_error *err) KEEP_MUST_CHECK;

/* SQLite: the folder "<mailbox>/sessions/<agent group>/<session>"; a text in `arena`. */
keep_status kp_session_folder(keep_mailbox *mailbox, keep_bytes agent_group, keep_bytes session,
			      kp_arena *arena, char **out, keep_error *err) KEEP_MUST_CHECK;
/* The folder of a session that is there, found through the registry. */
keep_status kp_session_folder_of(keep_mailbox *mailbox, keep_bytes session, kp_arena *arena,
				 char **out, keep_error *err) KEEP_MUST_CHECK;

/* -------------------------------- making sessions (session_make.c) */

/* Inside a writing transaction of the registry that stores the session's row, or of one that is
   there: both sides, as files, or as rows of the same transaction. What is there stays. */
keep_status kp_session_make_sides(keep_mailbox *mailbox, kp_lease *lease,
				  const keep_session *session, keep_error *err) KEEP_MUST_CHECK;

/* SQLite: the folder alone; and after the commit, or when there was none. */
keep_status kp_session_folder_make(keep_mailbox *mailbox, const keep_session *session,
				   const char *folder, keep_error *err) KEEP_MUST_CHECK;
void kp_session_made(const keep_mailbox *mailbox, const keep_session *session);

/* -------------------------------- new files (session_template.c) */

/* "<mailbox>/making/<name>", where things are until they are complete; "" for the folder itself. */
keep_status kp_making_path(const keep_mailbox *mailbox, const char *name, char path[],
			   keep_error *err) KEEP_MUST_CHECK;
/* Inside a writing transaction of the registry: make inbound.db (KP_SIDE_HOST) or outbound.db of a
   session as <folder>/<name>, synced. CONFLICT: it is there. */
keep_status kp_session_file_make(keep_mailbox *mailbox, enum kp_side_kind kind,
				 const keep_session *session, const char *outbound_id, int folder,
				 const char *name, keep_error *err) KEEP_MUST_CHECK;
/* The owner of what is new; `name` for the message. */
keep_status kp_give_to_agent(const keep_mailbox *mailbox, int fd, const char *name,
			     keep_error *err) KEEP_MUST_CHECK;
/* When the mailbox is opened: what a crash left in "making". */
keep_status kp_making_clean(keep_mailbox *mailbox, keep_error *err) KEEP_MUST_CHECK;
void kp_session_template_close(keep_mailbox *mailbox); /* accepts that there is none */

/* -------------------------------- SQLite: sessions that this process has open (sessions_open.c) */

typedef struct kp_open_session {
	char id[KP_SEGMENT_SIZE];
	char *folder;
	kp_side side;
	kp_bell in, out; /* we ring in; the agent rings out */
	atomic_bool
		marked; /* the registry's due_at was set through us, and session_host.marked is */
	_Atomic int64_t due_ms; /* to that time */
	bool is_closed;         /* the registry said so when it was found */
	bool is_discarded;      /* not in the list any more: the last user closes it */
	int users;
	uint64_t used; /* when, for what is closed first */
	struct kp_open_session *next;
} kp_open_session;

keep_status kp_open_sessions_init(keep_mailbox *mailbox, keep_error *err) KEEP_MUST_CHECK;
void kp_open_sessions_release(keep_mailbox *mailbox); /* also when there are none */
/* Get hold of a session; its side may not be open yet. */
keep_status kp_session_hold(keep_mailbox *mailbox, keep_bytes session, kp_open_session **out,
			    keep_error *err) KEEP_MUST_CHECK;
void kp_session_let_go(keep_mailbox *mailbox, kp_open_session **session);
/* Close its files until the next use: a source agent that starts now can change the journal of its
   own, which a Keep agent before it may have left in WAL mode. */
void kp_session_rest(keep_mailbox *mailbox, keep_bytes session);
/* Close it now and forget it, as far as nobody else holds it: before its folder goes away. BUSY. */
keep_status kp_session_forget(keep_mailbox *mailbox, keep_bytes session,
			      keep_error *err) KEEP_MUST_CHECK;

/* Take it out of the list: who holds it goes on with it, and the last one closes it. For files that
   were replaced. */
void kp_session_discard(keep_mailbox *mailbox, keep_bytes session);

/* -------------------------------- the life of sessions */

/* When the session's agent said last that it lives, at most now_ms; 0: never (session_life.c). */
keep_status kp_session_heartbeat(keep_mailbox *mailbox, keep_bytes session, int64_t now_ms,
				 int64_t *at_ms, keep_error *err) KEEP_MUST_CHECK;
/* SQLite: is a file of the session missing, or empty? Then make it anew (session_rebuild.c). */
bool kp_session_has_lost(const char *folder);
keep_status kp_session_rebuild(keep_mailbox *mailbox, keep_bytes session,
			       keep_error *err) KEEP_MUST_CHECK;
/* SQLite: its folder was moved away to be removed; and finish what a crash left of removals, when
   the mailbox is opened (session_remove.c). */
bool kp_session_is_removed(const keep_mailbox *mailbox, keep_bytes session);
keep_status kp_session_finish_removals(keep_mailbox *mailbox, keep_error *err) KEEP_MUST_CHECK;

/* -------------------------------- the agent's part of it */

/* When it is opened: claims of earlier incarnations, and of processes that are gone, are over
   (agent_recover.c). */
keep_status kp_agent_recover(keep_agent *agent, keep_error *err) KEEP_MUST_CHECK;
/* Remove what the host has finished before session_host.prune_before, a few thousand rows at most
   (agent_prune.c); and the same, in small pieces, now and then after claims. Both never fail. */
void kp_agent_prune_some(keep_agent *agent);
void kp_agent_claimed(keep_agent *agent);

/* -------------------------------- folders (folder_tree.c) */

/* Remove a file or a folder with all that is in it, following no link. What is not there is OK. */
keep_status kp_tree_remove(int parent, const char *name, keep_error *err) KEEP_MUST_CHECK;
/* The same of a path; what cannot be removed is logged. */
void kp_tree_drop(const char *path);
/* Copy the folder <from>/<name> to <to>/<name>, which is not there; no links. Without a folder
   nothing happens. */
keep_status kp_tree_copy(const char *from, const char *to, const char *name,
			 keep_error *err) KEEP_MUST_CHECK;

/* -------------------------------- posting (post.c) */

/* Inside a writing transaction of the session: store one message, complete but for its number. The
   one way in for messages: posts, answers, notices, tasks, other agents'. */
keep_status kp_inbound_add(kp_lease *lease, const keep_inbound_message *message, int64_t *seq,
			   keep_error *err) KEEP_MUST_CHECK;
/* The same for what has an id that follows from what it is about: nothing happens when it is there,
   and *existed says so. */
keep_status kp_inbound_add_once(kp_lease *lease, const keep_inbound_message *message, bool *existed,
				int64_t *seq, keep_error *err) KEEP_MUST_CHECK;
/* A `system` message of the host's own, pending. */
keep_inbound_message kp_inbound_notice(keep_bytes session, keep_bytes id, keep_bytes content,
				       int64_t now_ms);
/* Inside a writing transaction: one more line of a message's trace. */
keep_status kp_step_add(kp_lease *lease, keep_bytes session, keep_bytes message_id,
			const char *step, keep_bytes detail, int64_t now_ms,
			keep_error *err) KEEP_MUST_CHECK;

/* -------------------------------- how a message ends (series.c) */

/*
 * Inside a writing transaction of the session: the one way in which a message to an agent ends.
 * `status`: completed, failed, cancelled. From pending or paused (a completed acknowledgement also
 * from failed: it came late, and the trace says so). A recurrence gets its next occurrence in the
 * same transaction, unless it was cancelled. *changed is false when it had ended already.
 */
keep_status kp_inbound_finish(kp_lease *lease, const keep_inbound_message *message,
			      const char *status, keep_bytes error, int64_t now_ms, bool *changed,
			      keep_error *err) KEEP_MUST_CHECK;
/*
 * A claim's attempt failed or ran out: tries + 1, void_attempt = attempt, due again after
 * 5 * 2^tries s; the sixth failure in all ends the message as failed with that reason. Nothing
 * happens for an attempt that is void already. *gave_up and *changed may be NULL.
 */
keep_status kp_inbound_retry(kp_lease *lease, const keep_inbound_message *message, int64_t attempt,
			     keep_bytes reason, int64_t now_ms, bool *changed, bool *gave_up,
			     keep_error *err) KEEP_MUST_CHECK;

/* -------------------------------- series of tasks (series.c, series_change.c) */

/* A time of a series. */
typedef struct kp_series_time {
	int64_t at_ms;
	size_t skipped; /* times before it that get no run, counted to KP_DUE_COUNT_MAX */
	bool is_over;   /* there is none any more */
} kp_series_time;

/* Read an expression in its zone (empty or absent: UTC); *out is NULL for an empty one. INVALID
   names time_zone or recurrence. */
keep_status kp_series_schedule(keep_bytes recurrence, keep_bytes time_zone, keep_schedule **out,
			       keep_error *err) KEEP_MUST_CHECK;
/* The first time of an expression after `after_ms`. INVALID: as above, or there is none. */
keep_status kp_series_first(keep_bytes recurrence, keep_bytes time_zone, int64_t after_ms,
			    int64_t *first_ms, keep_error *err) KEEP_MUST_CHECK;
/* What `missed` makes at `now_ms` of a series whose next time was `from_ms`. */
keep_status kp_series_due(const keep_inbound_message *message, int64_t from_ms, int64_t now_ms,
			  kp_series_time *out, keep_error *err) KEEP_MUST_CHECK;
/* Its pending or paused occurrence. */
keep_status kp_series_live(kp_lease *lease, keep_bytes session, keep_bytes series_id,
			   kp_arena *arena, keep_inbound_message *out, bool *found,
			   keep_error *err) KEEP_MUST_CHECK;

typedef enum kp_series_verb {
	KP_SERIES_CANCEL,
	KP_SERIES_PAUSE,
	KP_SERIES_RESUME,
	KP_SERIES_UPDATE
} kp_series_verb;

/* A call about a series, of the host or of the agent. */
typedef struct kp_series_call {
	kp_series_verb verb;
	keep_bytes session, series_id;
	keep_series_change change; /* update */
	keep_bytes prompt, script; /* update by the agent: members of the content, as JSON */
	/* The agent's row that asks for it: carried out once, and what it updates may be claimed:
	   the agent changes its own next occurrences. Absent: the host asks. */
	keep_bytes action_id;
	int64_t now_ms;
} kp_series_call;

keep_status kp_series_run(keep_mailbox *mailbox, const kp_series_call *call,
			  keep_error *err) KEEP_MUST_CHECK;

/* -------------------------------- how a delivery ends (delivery.c) */

typedef struct kp_settlement {
	keep_bytes session, key;
	int64_t seq;        /* of the messages_out row */
	const char *status; /* delivered, failed, refused */
	keep_bytes platform_message_id, error;
	int64_t attempts, now_ms;
	bool tells_agent; /* failed, refused: a `system` message says so */
} kp_settlement;
/* Inside a writing transaction of the session: write `delivered`, take it out of `outgoing`, make
   the next occurrence of an outbound recurrence, and tell the agent: one commit. */
keep_status kp_delivery_settle(kp_lease *lease, const kp_settlement *settlement,
			       keep_error *err) KEEP_MUST_CHECK;

/* outgoing.address of a message. */
keep_status kp_outgoing_address(const keep_outbound_message *message, kp_arena *arena,
				keep_bytes *out, keep_error *err) KEEP_MUST_CHECK;

/* -------------------------------- looking after sessions (sweep_session.c) */

/* What time alone changed in one session, and what is to be done about it. */
typedef struct kp_swept {
	bool has_input, has_output, is_stale;
	int64_t expired_leases, retried, failed, uncertain;
} kp_swept;
/* `row`: as the registry had it when the session was found due. The registry's due_at moves to the
   session's next time, or goes. */
keep_status kp_session_sweep(keep_mailbox *mailbox, const keep_session *row, int64_t now_ms,
			     kp_swept *out, keep_error *err) KEEP_MUST_CHECK;
/* Did the agent's side do something that collect has not taken over? */
keep_status kp_session_has_news(keep_mailbox *mailbox, keep_bytes session, bool *out,
				keep_error *err) KEEP_MUST_CHECK;

/* -------------------------------- waiting for agents (mailbox_wait.c, wait_bells.c) */

keep_status kp_mailbox_waits_open(keep_mailbox *mailbox, keep_error *err) KEEP_MUST_CHECK;
void kp_mailbox_waits_close(keep_mailbox *mailbox);
/* SQLite: we are about to ring for a session: the answer's bell is watched from before that, if
   anybody waits. Never fails: what is not watched is found by a slow look. */
void kp_mailbox_waits_watch(keep_mailbox *mailbox, const char *session, const char *folder);

/* -------------------------------- what collect hands on */

/* A card with a question is about to be answered by collect: its row of pending_questions, once
   (questions.c). Does nothing for other messages. */
keep_status kp_question_open(keep_mailbox *mailbox, const keep_session *session,
			     const keep_outbound_message *message, int64_t now_ms,
			     keep_error *err) KEEP_MUST_CHECK;
/* Questions past their time: the agent is told, the row goes; at most `limit` (questions.c). */
keep_status kp_questions_expire(keep_mailbox *mailbox, int64_t now_ms, size_t limit,
				int64_t *expired, keep_error *err) KEEP_MUST_CHECK;
/* A `system` row: schedule_task, cancel_task, pause_task, resume_task, update_task are carried out
   here, and *handled says so; a bad one is `refused`, with the reason (actions.c). */
keep_status kp_action_run(keep_mailbox *mailbox, const keep_session *session,
			  const keep_outbound_message *message, int64_t now_ms, kp_arena *arena,
			  bool *handled, keep_bytes *refused, keep_error *err) KEEP_MUST_CHECK;
/* A message to another agent, whose permission was checked: posted once for its delivery's key into
   the session that it belongs to (agent_to_agent.c). `refused`: why it cannot be. */
keep_status kp_agent_to_agent(keep_mailbox *mailbox, const keep_session *session,
			      const keep_outbound_message *message, keep_bytes key, int64_t now_ms,
			      kp_arena *arena, keep_bytes *refused,
			      keep_error *err) KEEP_MUST_CHECK;

/* -------------------------------- files of messages (attachments.c) */

/* Write the files of a message to <folder>/<box>/<id>/, each exclusively and synced, before its
   row. Files that are there with the same bytes are fine (a repetition). `box`: "inbox", "outbox".
 */
keep_status kp_files_store(const char *folder, const char *box, keep_bytes id,
			   const keep_file *files, size_t count, int64_t uid, int64_t gid,
			   keep_error *err) KEEP_MUST_CHECK;
keep_status kp_files_check(const keep_file *files, size_t count, keep_error *err) KEEP_MUST_CHECK;
/* Read one of them; nothing of the way to it may be a link. */
keep_status kp_file_of_message(const char *folder, const char *box, keep_bytes id, keep_bytes name,
			       keep_buffer *out, keep_error *err) KEEP_MUST_CHECK;
/* Is it there, plain and not too long? Statuses as keep_mailbox_outbox_file. */
keep_status kp_file_check(const char *folder, const char *box, keep_bytes id, keep_bytes name,
			  keep_error *err) KEEP_MUST_CHECK;
/* Remove <folder>/<box>/<id> and what is in it, following no link. */
keep_status kp_files_remove(const char *folder, const char *box, keep_bytes id,
			    keep_error *err) KEEP_MUST_CHECK;

/* -------------------------------- the agent (agent.c) */

struct keep_agent {
	const kp_sql_driver *driver;
	char *folder;          /* SQLite */
	kp_side side;          /* SQLite */
	kp_database *database; /* PostgreSQL */
	char *schema, *location;
	char session[KP_SEGMENT_SIZE];
	/* This process, '+' when its leases last, '/' and the number of this agent in it. */
	char owner[KP_OWNER_TEXT_SIZE + 24];
	int64_t incarnation; /* as the host said when we opened */
	bool is_plain;       /* the host knows only the source's tables */
	int64_t timeout_ms;
	kp_bell in, out; /* we sleep on in and ring out */
	bool listens;
	char channel[KP_CHANNEL_SIZE];
	atomic_int cancelled;
	kp_waits *waits;       /* agent_wait.c */
	atomic_uint claims;    /* so many claims found something (agent_prune.c) */
	atomic_bool has_found; /* a wait has, and no claim since (agent_claim.c) */
};

/* $1 of every statement. */
static inline keep_bytes kp_agent_id(const keep_agent *agent)
{
	return keep_bytes_of(agent->session);
}
/* A writing transaction of the outbound side, with the inbound side for reading; `rings`: the host
   is told after it. Agents of one session take turns. */
keep_status kp_agent_write(keep_agent *agent, kp_sql_mode mode, bool rings, kp_apply *apply,
			   void *ctx, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_agent_read(keep_agent *agent, kp_query *query, void *ctx,
			  keep_error *err) KEEP_MUST_CHECK;

/* Inside a writing transaction of the agent: acknowledge claims that must be ours (agent_claim.c).
   A claim whose owner is '' was given back: it is nobody's, and neither side counts it as failed.
   What was acknowledged so by its claimer before is OK, changes nothing, and sets *repeated. */
keep_status kp_agent_acknowledge(keep_agent *agent, kp_lease *lease, const keep_claim_ref *claims,
				 size_t count, const char *status, keep_bytes error, int64_t now_ms,
				 bool *repeated, keep_error *err) KEEP_MUST_CHECK;
/* 1 to KEEP_MAILBOX_LIST_MAX claims, none of them twice. */
keep_status kp_agent_claims_check(const keep_claim_ref *claims, size_t count, int64_t now_ms,
				  keep_error *err) KEEP_MUST_CHECK;

/* Where a message lives (agent_send.c). */
typedef struct kp_address {
	keep_bytes channel_type, platform_id, thread_id;
	keep_bytes message_id;
} kp_address;
/* By one of the statements …_address…; `which`: their $2. */
keep_status kp_agent_address_of(keep_agent *agent, kp_lease *lease, size_t statement,
				const kp_value *which, kp_arena *arena, kp_address *out,
				bool *found, keep_error *err) KEEP_MUST_CHECK;
/* The session's route becomes the message's address; NOT_FOUND, but for kind system. */
keep_status kp_agent_route(keep_agent *agent, kp_lease *lease, kp_arena *arena,
			   keep_outbound_message *message, keep_error *err) KEEP_MUST_CHECK;
/* Checks of a send without the database, and its row inside a writing transaction (agent_send.c).
   `reply_to`: what replies answer that do not say; absent: nothing. The send's own id absent: `id`
   is new. */
keep_status kp_agent_send_check(const keep_send *send, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_agent_send_add(keep_agent *agent, kp_lease *lease, const keep_send *send,
			      keep_bytes id, keep_bytes reply_to, int64_t now_ms, keep_sent *sent,
			      keep_error *err) KEEP_MUST_CHECK;
/* One complete row, but for its number. CONFLICT: the id is there. */
keep_status kp_agent_outbound_add(kp_lease *lease, const keep_outbound_message *message,
				  keep_sent *sent, keep_error *err) KEEP_MUST_CHECK;

/* What a wait looks at: whether it is there, and when it may be by itself (0: not known). */
typedef keep_status kp_agent_look(void *ctx, keep_agent *agent, bool *found, int64_t *due_ms,
				  keep_error *err);
/* Until a look finds something, timeout_ms are over, or a cancel (agent_wait.c). */
keep_status kp_agent_sleep(keep_agent *agent, int64_t timeout_ms, kp_agent_look *look, void *ctx,
			   bool *found, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_agent_waits_open(keep_agent *agent, keep_error *err) KEEP_MUST_CHECK;
kp_agent_look kp_agent_look_for_claimable; /* agent_claim.c; no ctx */

#endif

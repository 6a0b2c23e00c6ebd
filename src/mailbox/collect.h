#ifndef KP_COLLECT_H
#define KP_COLLECT_H
/*
 * collect.h - what the files of collecting share: collect.c calls the others in this order.
 *
 *   collect_acks.c        what became of messages to the agent
 *   collect_outgoing.c    new rows of messages_out, each judged alone, into `outgoing`
 *   collect_due.c         what is due of `outgoing`, read again
 *   collect_permission.c  whether it may go where it wants to
 */
#include "mailbox/mailbox_private.h"

/* So far a message's number may be above the one before it, and above all of messages_in: one that
   jumps farther is refused where it stands, and the host goes on below it. */
#define KP_OUT_REACH (INT64_C(1) << 40)

/* One call of keep_mailbox_collect. */
typedef struct kp_collecting {
	keep_mailbox *mailbox;
	const keep_session *session; /* the registry's row */
	int64_t now_ms;
	size_t limit;
	int64_t deadline_ns; /* what reads the agent's side stops then, with what it has */
	kp_arena *memory;    /* the caller's */
	keep_collection *out;
} kp_collecting;

/* How far the host is with one outbound side, and which one that is. */
typedef struct kp_cursors {
	keep_bytes stored_id;              /* session_host.outbound_id */
	keep_bytes outbound_id;            /* the file's own; empty: it says none */
	int64_t stored_change, ack_change; /* as stored, and where to go on */
	int64_t stored_seq, out_seq;
	bool is_plain; /* it has the source's tables alone */
	bool has_prune_before;
	int64_t prune_before;
} kp_cursors;

/* Inside of a reading or writing transaction; texts in `arena`. */
keep_status kp_cursors_read(kp_lease *lease, keep_bytes session, kp_arena *arena, kp_cursors *out,
			    keep_error *err) KEEP_MUST_CHECK;
/* Inside of a writing transaction: move on, unless somebody else has (*moved is false then). */
keep_status kp_cursors_move(kp_lease *lease, keep_bytes session, const kp_cursors *from,
			    int64_t ack_change, int64_t out_seq, bool *moved,
			    keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- what is new
 *
 * Both kinds are read in one transaction and taken over in one: make, then for each round read,
 * apply when there is news, and tell. A read begins anew; what it found lives until the next one.
 */
typedef struct kp_news {
	bool is_news;   /* something to take over, or a cursor to move */
	bool has_more;  /* and there is more behind it */
	int64_t last;   /* where the cursor goes */
	int64_t due_ms; /* when sweep has to look after it; 0: no need */
} kp_news;

typedef struct kp_new_acks kp_new_acks;
keep_status kp_new_acks_make(const kp_collecting *collecting, kp_new_acks **out,
			     keep_error *err) KEEP_MUST_CHECK;
keep_status kp_new_acks_read(kp_new_acks *acks, kp_lease *lease, const kp_cursors *cursors,
			     kp_news *news, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_new_acks_apply(kp_new_acks *acks, kp_lease *lease, keep_error *err) KEEP_MUST_CHECK;
void kp_new_acks_tell(const kp_new_acks *acks); /* into the collection, after the commit */
void kp_new_acks_free(kp_new_acks **acks);

typedef struct kp_new_rows kp_new_rows;
keep_status kp_new_rows_make(const kp_collecting *collecting, kp_new_rows **out,
			     keep_error *err) KEEP_MUST_CHECK;
keep_status kp_new_rows_read(kp_new_rows *rows, kp_lease *lease, const kp_cursors *cursors,
			     kp_news *news, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_new_rows_apply(kp_new_rows *rows, kp_lease *lease, keep_error *err) KEEP_MUST_CHECK;
void kp_new_rows_tell(kp_new_rows *rows);
void kp_new_rows_free(kp_new_rows **rows);

/*
 * Read the row with that number and judge it: *refused (a sentence in `arena`) when it is not what
 * a message must be, else absent. A failure is one of the whole side.
 */
keep_status kp_outbound_judge(kp_lease *lease, keep_bytes session, int64_t seq, kp_arena *arena,
			      keep_outbound_message *out, keep_bytes *refused,
			      keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- what is due */

typedef struct kp_due {
	keep_outgoing_message outgoing;
	keep_outbound_message message;
	keep_bytes refused; /* why it cannot be delivered; absent: it can */
	bool waits;         /* for another message to be delivered */
	bool is_system, is_to_agent;
	keep_bytes operation, target;
	keep_bytes *files;
	size_t file_count;
} kp_due;

typedef struct kp_due_page {
	kp_due *items;
	size_t count;
	bool has_retries;    /* more of those that were begun before, for another call */
	bool has_more;       /* of the fresh ones */
	int64_t due_at, seq; /* of the last one that was looked at */
	size_t bytes;        /* of contents, in all pages */
} kp_due_page;

/* The fresh ones behind page->due_at and seq; on the first page, before them those that were begun
   before. Also out->next_ms, as kp_collect_next. Texts in collecting->memory. */
keep_status kp_collect_due(const kp_collecting *collecting, bool is_first, size_t max,
			   kp_due_page *page, keep_error *err) KEEP_MUST_CHECK;
/* When the next one falls due: out->next_ms. */
keep_status kp_collect_next(const kp_collecting *collecting, keep_error *err) KEEP_MUST_CHECK;
/* Refuse those that have no permission in the registry as it is now. */
keep_status kp_collect_permissions(const kp_collecting *collecting, kp_due *items, size_t count,
				   keep_error *err) KEEP_MUST_CHECK;

#endif

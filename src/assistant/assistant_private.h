#ifndef KP_ASSISTANT_PRIVATE_H
#define KP_ASSISTANT_PRIVATE_H
/*
 * assistant_private.h - what the files of src/assistant share.
 *
 * A public function checks its inputs, then hands one function to kp_store_read or kp_store_change
 * (sql/store.h). Those run it on a connection whose named statements (the *.sql files beside this
 * one, one a topic, written once for both dialects) are prepared.
 *
 * Threads: as keep/assistant.h; what is mutable in struct keep_assistant has its own lock.
 */
#include "audit/audit.h"
#include "keep/assistant.h"
#include "keep/assistant_admin.h"
#include "keep/assistant_care.h"
#include "keep/assistant_search.h"
#include "keep/assistant_work.h"
#include "pattern/pattern.h"
#include "schedule/due.h"
#include "search/search.h"
#include "search/vector_set.h"
#include "sql/store.h"
#include "vault/vault.h"

#include "assistant/assistant_records.h"
#include "assistant_statements.h" /* KP_ASSISTANT_<NAME>, made from the *.sql files */

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define KP_SERVICE_SIZE 65

_Static_assert(KEEP_ASSISTANT_TEXT_MAX == KP_KEY_MAX, "the checks of core hold it");
_Static_assert(KEEP_ASSISTANT_CONTENT_MAX == KP_CONTENT_MAX, "the checks of core hold it");

/* What changes are news of: bits for kp_store_change, numbers for kp_store_wait. */
enum kp_assistant_topic { KP_TOPIC_DUE, KP_TOPIC_TASK };
enum kp_assistant_news { KP_NEWS_NONE = 0, KP_NEWS_DUE = 1, KP_NEWS_TASK = 2 };

struct keep_assistant {
	kp_store store;
	char service[KP_SERVICE_SIZE];
	char owner[KP_OWNER_TEXT_SIZE]; /* this process, in lease columns */
	bool relaxed;
	kp_keyring *keys;                       /* NULL: there is none (keys.c) */
	struct kp_message_index *message_index; /* message_index.c: folding messages' words */
	struct kp_vector_sets *vectors;         /* vector_sets.c: vectors by model */
};

/* The wall clock, or the caller's. */
static inline int64_t kp_assistant_now(int64_t now_ms)
{
	return now_ms == KEEP_NOW || now_ms == 0 ? kp_clock_ms() : now_ms;
}

/* -------------------------------- the schema (assistant_schema.c) */

/* The store's own migrations with their hooks; lives in statics but for the struct itself. */
kp_migrations kp_assistant_migrations(kp_sql_dialect dialect);

/* -------------------------------- what the store keeps about itself (assistant.c) */

/* A row of assistant_values; absent when there is none. On a lease, inside of a transaction or not.
 */
keep_status kp_assistant_get_value(kp_lease *lease, const char *name, kp_arena *arena,
				   keep_bytes *value, keep_error *err) KEEP_MUST_CHECK;
/* Inside a writing transaction: add or replace it. */
keep_status kp_assistant_put_value(kp_lease *lease, const char *name, keep_bytes value,
				   keep_error *err) KEEP_MUST_CHECK;
/* The same of what is derived: a transfer to another backend leaves it behind, and it is made anew.
 */
keep_status kp_derived_get_mark(kp_lease *lease, const char *name, kp_arena *arena,
				keep_bytes *value, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_derived_put_mark(kp_lease *lease, const char *name, keep_bytes value,
				keep_error *err) KEEP_MUST_CHECK;

/* -------------------------------- the audit log (audit_log.c) */

/* What a change says of itself. Texts may be absent. */
typedef struct kp_audit_note {
	const char *event_type; /* "setting_change" */
	const char *action;     /* "set" */
	keep_bytes service_name;
	const keep_actor *actor; /* or NULL */
	keep_bytes details;      /* a JSON object without secrets, already written; or absent */
	bool failed;             /* it did not go well: error_message says why */
	keep_bytes error_message;
} kp_audit_note;

/* Inside the writing transaction of what it records: add an entry to the chain. */
keep_status kp_assistant_note(kp_lease *lease, const kp_audit_note *note,
			      keep_error *err) KEEP_MUST_CHECK;
/* The same for a whole entry: seq, hashes, and a timestamp of 0 are filled in. */
keep_status kp_audit_append(kp_lease *lease, keep_audit_entry *entry,
			    keep_error *err) KEEP_MUST_CHECK;
/*
 * Inside a writing transaction, for retention: remove the oldest entries, at most `limit`, that are
 * older than `before_ms`, and seal them with an anchor and an entry that says so. *removed.
 */
keep_status kp_audit_seal(kp_lease *lease, int64_t before_ms, size_t limit, int64_t now_ms,
			  int64_t *removed, keep_error *err) KEEP_MUST_CHECK;
/* A time after which an entry is dated ahead: that says nothing of its age. */
int64_t kp_audit_ahead(int64_t now_ms);
/*
 * For walks over the whole log in bounded memory: the rows of a statement of the log, oldest first,
 * with the number of rows that are wanted as its last parameter. They end after KP_AUDIT_BATCH rows
 * or about a MiB, or before a row that cannot be read.
 */
enum { KP_AUDIT_BATCH = 512 };
typedef struct kp_audit_batch {
	keep_audit_entry *items;
	size_t count;
	bool is_last; /* nothing is behind it */
	bool is_broken;
	int64_t broken_seq;
	keep_error why;
} kp_audit_batch;
keep_status kp_audit_read(kp_lease *lease, size_t statement, const kp_value *values,
			  size_t value_count, kp_arena *arena, kp_audit_batch *batch,
			  keep_error *err) KEEP_MUST_CHECK;
/* The details of an audit_sealed entry: what its anchor says. */
keep_status kp_audit_anchor_json(const keep_audit_anchor *anchor, keep_buffer *out,
				 keep_error *err) KEEP_MUST_CHECK;
#define KP_AUDIT_SEALED "audit_sealed"
/* Check an actor's texts. */
keep_status kp_check_actor(const keep_actor *actor, keep_error *err) KEEP_MUST_CHECK;

/* -------------------------------- keys (keys.c) */

/* At open: find the keys, and compare them with the store's check values. DENIED: they are others.
 */
keep_status kp_assistant_keys_open(keep_assistant *assistant, const keep_assistant_options *options,
				   keep_error *err) KEEP_MUST_CHECK;
/* Encrypt under the newest key, and remember its check value with the change: inside a writing
   transaction. DENIED: no key. */
keep_status kp_assistant_encrypt(keep_assistant *assistant, kp_lease *lease, keep_bytes plain,
				 keep_buffer *token, char key_id[KP_KEY_ID_SIZE],
				 keep_error *err) KEEP_MUST_CHECK;
/* What kp_assistant_encrypt does before it encrypts: the newest key belongs to the store from this
   transaction on, or DENIED. */
keep_status kp_assistant_take_key(const keep_assistant *assistant, kp_lease *lease,
				  keep_error *err) KEEP_MUST_CHECK;
/* Would kp_assistant_encrypt be DENIED? Changes nothing. */
keep_status kp_assistant_may_encrypt(const keep_assistant *assistant, kp_lease *lease,
				     keep_error *err) KEEP_MUST_CHECK;
/* The check value of a key is the row of assistant_values named this and the key's id. */
#define KP_KEY_CHECK_PREFIX "key_check:"
/* DENIED: no key, or none that fits; CORRUPT: no token. Never NOT_FOUND. kp_secret_release *plain.
   `what` names the thing in the message. */
keep_status kp_assistant_decrypt(const keep_assistant *assistant, const char *what,
				 keep_bytes token, keep_buffer *plain,
				 keep_error *err) KEEP_MUST_CHECK;

/* -------------------------------- settings (setting_value.c, settings.c) */

/* What a setting's text is as a number, by its type: integer (int), real (float, int), boolean. */
typedef struct kp_setting_number {
	int64_t integer;
	double real;
	bool boolean;
} kp_setting_number;

bool kp_setting_is_type(const keep_setting *setting, const char *type);
/* The type alone. INVALID, FULL; messages name the setting and quote no value. */
keep_status kp_setting_parse(const keep_setting *setting, keep_bytes text, kp_setting_number *out,
			     keep_error *err) KEEP_MUST_CHECK;
/* Everything, in the order of the contract; *number may be NULL. */
keep_status kp_setting_check(const keep_setting *setting, keep_bytes text,
			     kp_setting_number *number, keep_error *err) KEEP_MUST_CHECK;
/* A definition with its default in plain text; value_type and category are there. */
keep_status kp_setting_check_definition(const keep_setting *setting,
					keep_error *err) KEEP_MUST_CHECK;
/* What a variable's text says as a value: 1, yes and on are true for a bool. */
keep_bytes kp_setting_from_environment(const keep_setting *setting, keep_bytes text);

/* The row of a setting; NOT_FOUND, naming it. */
keep_status kp_setting_find(kp_lease *lease, keep_bytes key, kp_arena *arena, keep_setting *out,
			    keep_error *err) KEEP_MUST_CHECK;
/* A stored text or default in plain: decrypted into `room` (kp_secret_release) when the setting is
   sensitive, else as it is; absent stays absent. */
keep_status kp_setting_reveal(const keep_assistant *assistant, const keep_setting *setting,
			      keep_bytes stored, keep_buffer *room, keep_bytes *plain,
			      keep_error *err) KEEP_MUST_CHECK;
/* The audit entry of a change; absent values are null, and sensitive ones the mask. */
typedef struct kp_setting_news {
	const char *action;
	const keep_setting *setting;
	keep_bytes old_value, new_value;
	const keep_actor *actor;
} kp_setting_news;
keep_status kp_setting_note(kp_lease *lease, const kp_setting_news *news,
			    keep_error *err) KEEP_MUST_CHECK;

/* An int setting's value as it is read (stored, environment, default), on a lease; `fallback` when
   it is not defined or has no value. */
keep_status kp_setting_integer(kp_lease *lease, const char *key, int64_t fallback, int64_t *out,
			       keep_error *err) KEEP_MUST_CHECK;

/* -------------------------------- agents (agents.c, agent_select.c) */

#define KP_KEYWORD_WORDS_MAX 8 /* words of one intent keyword */

/* -------------------------------- what a new store holds (defaults.c) */

/* Inside the migration that makes the tables: agents, prompts, retention's settings. */
keep_status kp_assistant_seed(kp_sql_conn *conn, keep_error *err) KEEP_MUST_CHECK;
size_t kp_default_agent_count(void);
/* The definition of a default agent, without its times; texts are literals. */
const keep_agent_definition *kp_default_agent(size_t index);

/* -------------------------------- conversations (conversations.c) */

/* On a lease: NOT_FOUND, naming it, when there is no such conversation. */
keep_status kp_conversation_find(kp_lease *lease, keep_bytes conversation_id, kp_arena *arena,
				 keep_conversation *out, keep_error *err) KEEP_MUST_CHECK;
/* An estimate of the tokens of a text: bytes / 4 rounded up, at least 1 for a text that is not
 * empty. */
int64_t kp_token_estimate(keep_bytes text);

/* -------------------------------- words of messages and documents (text_index.c)
 *
 * Two indexes of the same shape: rows have an id that grows, a scope (the conversation, the source)
 * and texts. An index holds the rows up to its mark's position; who asks reads the others, too.
 */

typedef struct kp_text_index {
	const char *mark;  /* its name in assistant_values */
	bool counts_words; /* its mark knows how many words its rows have */
	bool has_hidden;   /* some of its rows are found only when asked for */
	/* Statements. */
	size_t put, remove, clear, find, count, next_word, between, behind, newest;
} kp_text_index;

extern const kp_text_index kp_message_text, kp_document_text;

typedef struct kp_text_row {
	int64_t id;
	keep_bytes scope;
	bool is_hidden;
	keep_bytes title, content;
} kp_text_row;

#define KP_TEXT_ALL INT64_MAX /* a position: every row is in, and each change sees to its own */

typedef struct kp_text_mark {
	bool is_ours;     /* made by the present rules on this backend; else all below is 0 */
	int64_t position; /* the rows up to this id are in */
	int64_t rows;     /* how many those are */
	int64_t words;    /* and how many words they have */
} kp_text_mark;

keep_status kp_text_mark_get(kp_lease *lease, const kp_text_index *index, kp_text_mark *mark,
			     keep_error *err) KEEP_MUST_CHECK;
/* The rest is for writing transactions. */
keep_status kp_text_mark_put(kp_lease *lease, const kp_text_index *index, const kp_text_mark *mark,
			     keep_error *err) KEEP_MUST_CHECK;
/* Add or take out the words of a row, which is not there, or is there as it is given. `words` (may
   be NULL) is how many there are. */
keep_status kp_text_index_put(kp_lease *lease, const kp_text_index *index, const kp_text_row *row,
			      int64_t *words, keep_error *err) KEEP_MUST_CHECK;
/* The two texts that a row is in the index by, in the spelling of the lease's dialect. */
keep_status kp_text_index_render(const kp_lease *lease, const kp_text_row *row, keep_buffer *first,
				 keep_buffer *second, keep_error *err) KEEP_MUST_CHECK;
keep_status kp_text_index_remove(kp_lease *lease, const kp_text_index *index,
				 const kp_text_row *row, keep_error *err) KEEP_MUST_CHECK;
/* Nothing is in any more; *mark and the stored mark say so. */
keep_status kp_text_index_reset(kp_lease *lease, const kp_text_index *index, kp_text_mark *mark,
				keep_error *err) KEEP_MUST_CHECK;
/* Add the rows behind the mark, at most one batch; an index by other rules is reset first. *more:
   there may be others. */
#define KP_TEXT_BATCH 200
keep_status kp_text_index_fold(kp_lease *lease, const kp_text_index *index, bool *more,
			       keep_error *err) KEEP_MUST_CHECK;
/* The columns of statements that read rows; borrowed until the next step. */
keep_status kp_text_row_read(kp_sql_stmt *stmt, kp_text_row *row, keep_error *err) KEEP_MUST_CHECK;

/* What says in an index that a row is of this scope: no word of a text is like it. */
#define KP_SCOPE_WORD_SIZE 18
void kp_scope_word(keep_bytes scope, char word[KP_SCOPE_WORD_SIZE]);
#define KP_HIDDEN_WORD "=i"

/* -------------------------------- asking an index (text_search.c) */

typedef struct kp_text_ask {
	const kp_text_index *index;
	const kp_text_query *query;
	keep_bytes scope; /* absent: any */
	bool with_hidden;
	size_t limit;        /* 1 to KP_RANK_LIMIT_MAX */
	double title_weight; /* 0: 1 */
	/* out */
	kp_ranked *items; /* best first */
	size_t count;
	bool is_exact;  /* all that match were ranked */
	bool is_behind; /* so many rows wait to be folded in that somebody should */
} kp_text_ask;

/* Inside of a reading transaction. */
keep_status kp_text_search(kp_lease *lease, kp_text_ask *ask, kp_arena *arena,
			   keep_error *err) KEEP_MUST_CHECK;

/* -------------------------------- the words of messages (message_index.c) */

keep_status kp_message_index_open(keep_assistant *assistant, keep_error *err) KEEP_MUST_CHECK;
void kp_message_index_close(keep_assistant *assistant); /* also when it was not opened */
/* After a commit that added `count` messages: a cheap look whether words are to be folded in. */
void kp_message_index_appended(keep_assistant *assistant, size_t count);
/* Words of whatever kind wait: fold them in soon. */
void kp_message_index_wake(keep_assistant *assistant);
/* Inside a writing transaction, before the messages of a conversation are deleted. */
keep_status kp_message_index_forget(kp_lease *lease, keep_bytes conversation_id,
				    keep_error *err) KEEP_MUST_CHECK;
/* Fold in everything now, in batches, of messages and documents; for optimize and rebuild. */
keep_status kp_message_index_fold(keep_assistant *assistant, keep_error *err) KEEP_MUST_CHECK;

/* -------------------------------- vectors (vector_changes.c, vector_sets.c) */

/* INVALID: no whole number of finite floats, all zeros, none, or over KEEP_VECTOR_DIMENSIONS_MAX.
 *count: how many. */
keep_status kp_check_vector(const char *what, keep_bytes vector, size_t *count,
			    keep_error *err) KEEP_MUST_CHECK;
/* The floats of checked or stored bytes. */
void kp_vector_decode(keep_bytes vector, float *out);

/* Inside a writing transaction: a document's vector comes, or replaces one of the same model
   (`replaces`); *change is for its row. CONFLICT: the model has another dimension. */
keep_status kp_vector_added(kp_lease *lease, keep_bytes model, int64_t dimensions, bool replaces,
			    int64_t *change, keep_error *err) KEEP_MUST_CHECK;
/* A document's vector goes. */
keep_status kp_vector_removed(kp_lease *lease, keep_bytes model, int64_t document_id,
			      keep_error *err) KEEP_MUST_CHECK;
/* Count all stored vectors anew, under new generations. */
keep_status kp_vectors_recount(kp_lease *lease, keep_error *err) KEEP_MUST_CHECK;

keep_status kp_vector_sets_open(keep_assistant *assistant, keep_error *err) KEEP_MUST_CHECK;
void kp_vector_sets_close(keep_assistant *assistant); /* also when it was not opened */

typedef struct kp_vector_ask {
	keep_bytes model;
	const float *query;
	size_t dimensions;
	size_t nearest;
	const int64_t *ids; /* only these documents, in rising order; NULL: all */
	size_t id_count;
	struct kp_vectors_match *matches; /* out: room for `nearest` */
	size_t count;                     /* out */
} kp_vector_ask;

/* Sees every vector that was committed before. CONFLICT: the model has another dimension, or none
   is of that model while there are others. */
keep_status kp_vector_sets_search(keep_assistant *assistant, kp_vector_ask *ask,
				  keep_error *err) KEEP_MUST_CHECK;

#endif

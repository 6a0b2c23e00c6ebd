#ifndef KP_SEARCH_H
#define KP_SEARCH_H
/*
 * search.h - full text that means the same on every backend; no database.
 *
 *   words      tokens.c, token_rules.c: a text as tokens; what an FTS5 table and a tsvector hold
 *   queries    query.c: what people type; query_render.c: as FTS5 and PostgreSQL read it
 *   ranking    rank.c, match.c: does it match, BM25, the best of many candidates
 *   snippets   snippet.c: the best part of a text, with its matches marked
 *   fusion     fuse.c: one list of several ranked ones
 *
 * Vectors are vector_set.h's. How a store lays out an index for this is in README.md.
 *
 * Threads: every value is used by one thread at a time; a parsed query may be read by many.
 */
#include "core/core.h"

/* ---------------------------------------------------------------- words (tokens.c) */

#define KP_SEARCH_TEXT_MAX (4 * 1024 * 1024) /* bytes of one text; else FULL */
#define KP_TOKEN_BYTES_MAX 64                /* longer words: 48 bytes and a hash of the rest */

/* What the tokens of a text depend on, such as "1/15.0.0": our rules and the version of Unicode.
   An index that was made under others is made anew. */
#define KP_TEXT_RULES_SIZE 32
void kp_text_rules(char out[KP_TEXT_RULES_SIZE]);

typedef struct kp_token {
	uint32_t at, end; /* bytes of the original text, between characters */
	uint32_t word;    /* where it begins in kp_token_list.text */
	uint16_t len;     /* its bytes there */
	uint16_t cut;     /* how many of them are not the hash of a longer word; 0: all */
} kp_token;

/* A zeroed list is empty and valid; it may be used again and again, and keeps its room. */
typedef struct kp_token_list {
	kp_token *items; /* in the order of the text */
	size_t count, capacity;
	keep_buffer text; /* the normalised text: all tokens, with one blank between two */
} kp_token_list;

/* Replace *list by the tokens of `text`; absent is empty. INVALID: no UTF-8. FULL: too long. */
keep_status kp_text_tokens(keep_bytes text, kp_token_list *list, keep_error *err) KEEP_MUST_CHECK;
void kp_token_list_release(kp_token_list *list);
static inline keep_bytes kp_token_text(const kp_token_list *list, size_t index)
{
	return (keep_bytes){list->text.data + list->items[index].word, list->items[index].len};
}

/* Replace *out by the normalised text: for an FTS5 table with tokenize = 'ascii'. Empty: no word.
   The same text gives the same bytes, so that it can be deleted from a contentless table. */
keep_status kp_text_normalise(keep_bytes text, keep_buffer *out, keep_error *err) KEEP_MUST_CHECK;
/*
 * tsvector.c. Replace *out by the text form of a tsvector, for `$1::tsvector`; each of the two may
 * be absent, and no phrase reaches from the title into the content. PostgreSQL holds 255 positions
 * of a word up to 16,383, and less than 1 MiB in all. A text beyond that gets one more word, "!",
 * which queries ask for beside each phrase, so that nothing is missed; kp_text_matches then
 * decides. Only different words beyond 1,000,000 bytes of them are left out.
 */
keep_status kp_text_tsvector(keep_bytes title, keep_bytes content, keep_buffer *out,
			     keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- queries (query.c)
 *
 *   two words          both               "two words"      one after the other
 *   word*              begins with it     -word  NOT word  without it
 *   a OR b             one of them, weaker than what stands side by side: a b OR c is (a b) OR c
 *   (a OR b) c         parentheses        AND              may be written, says nothing
 *
 * OR, AND and NOT are words of the language in capitals only. What reads as several tokens without
 * a blank (e-mail, 3.14, 東京) is a phrase. Anything that cannot be read as meant (a bracket or a
 * quote that is left open, OR at an end, a lone minus) is taken for what remains of it.
 */
#define KP_QUERY_BYTES_MAX 1024
#define KP_QUERY_TERMS_MAX 32
#define KP_QUERY_TOKENS_MAX 512
#define KP_QUERY_DEPTH_MAX 16 /* brackets inside brackets; deeper ones are blanks */

typedef enum kp_query_kind { KP_QUERY_TERM, KP_QUERY_AND, KP_QUERY_OR } kp_query_kind;

typedef struct kp_query_node {
	kp_query_kind kind;
	bool is_excluded; /* a child of an AND, behind at least one that is not */
	int8_t term;      /* an index into terms; -1 */
	int8_t child;     /* the first one of two or more; -1 */
	int8_t next;      /* the next child of the same parent; -1 */
} kp_query_node;

/* One word or phrase. Equal ones of a query are one term. */
typedef struct kp_query_term {
	uint16_t first, count; /* of tokens.items; at least one */
	bool is_prefix;        /* the last token is the beginning of a word */
	bool is_wanted;        /* it stands somewhere that is not excluded: it counts in a score */
} kp_query_term;

typedef struct kp_text_query {
	kp_token_list tokens;
	kp_query_term terms[KP_QUERY_TERMS_MAX];
	size_t term_count;
	kp_query_node nodes[2 * KP_QUERY_TERMS_MAX];
	int8_t node_count;
	int8_t root;
} kp_text_query;

/* INVALID: no word in it, only exclusions, no UTF-8, or more than the limits above. The query is
   for kp_text_query_release, and {0} after a failure. */
keep_status kp_text_query_parse(keep_bytes text, kp_text_query *query,
				keep_error *err) KEEP_MUST_CHECK;
void kp_text_query_release(kp_text_query *query);

/* How a backend looks for each term, where it can be too dear to be asked for it as it is. */
typedef enum kp_term_way {
	KP_TERM_EXACT,
	KP_TERM_WORDS, /* a prefix: as one of the words of `words` */
	KP_TERM_ANY    /* it is not asked for: kp_text_matches or the ranker decides */
} kp_term_way;

typedef struct kp_query_plan {
	kp_term_way ways[KP_QUERY_TERMS_MAX];
	/* All indexed words that begin as the term's last token does, with one blank between two.
	 */
	keep_bytes words[KP_QUERY_TERMS_MAX];
} kp_query_plan;

/* Replace *out by what stands right of MATCH, to be bound as a parameter; it matches in one column
   or in several ones together: a phrase is within one column. `plan` may be NULL: all exact. Empty:
   with this plan every text may match. */
keep_status kp_text_query_fts5(const kp_text_query *query, const kp_query_plan *plan,
			       keep_buffer *out, keep_error *err) KEEP_MUST_CHECK;
/* The same for `$1::tsquery`. It finds all that match, and of texts beyond PostgreSQL's limits
   sometimes more: ask kp_text_matches or the ranker. */
keep_status kp_text_query_tsquery(const kp_text_query *query, const kp_query_plan *plan,
				  keep_buffer *out, keep_error *err) KEEP_MUST_CHECK;
/* One term of it alone, for counting its rows. */
keep_status kp_text_term_fts5(const kp_text_query *query, size_t term, keep_buffer *out,
			      keep_error *err) KEEP_MUST_CHECK;
keep_status kp_text_term_tsquery(const kp_text_query *query, size_t term, keep_buffer *out,
				 keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- ranking (match.c, rank.c) */

#define KP_RANK_LIMIT_MAX 1000

/* A text with a title; each may be absent. */
typedef struct kp_text_candidate {
	int64_t id; /* larger is newer */
	keep_bytes title, content;
} kp_text_candidate;

/* What FTS5's and PostgreSQL's answers are held against. INVALID: a text is no UTF-8. */
keep_status kp_text_matches(const kp_text_query *query, const kp_text_candidate *candidate,
			    bool *matches, keep_error *err) KEEP_MUST_CHECK;

/* The corpus, exact or estimated: only the order of the answers depends on it. */
typedef struct kp_text_statistics {
	double documents;                        /* how many there are; 0: 1 */
	double tokens_mean;                      /* of one, title and content together; 0: 64 */
	double documents_of[KP_QUERY_TERMS_MAX]; /* how many of them each term is in; 0: 1 */
	double title_weight;                     /* a hit in a title counts as so many; 0: 1 */
} kp_text_statistics;

typedef struct kp_ranked {
	int64_t id;
	double score; /* larger is better; never below 0 */
} kp_ranked;

typedef struct kp_text_ranker kp_text_ranker;

/* The best `limit` (1 to KP_RANK_LIMIT_MAX) of the candidates that will be offered. The query is
   borrowed until close. */
keep_status kp_text_ranker_open(const kp_text_query *query, const kp_text_statistics *statistics,
				size_t limit, kp_text_ranker **out,
				keep_error *err) KEEP_MUST_CHECK;
void kp_text_ranker_close(kp_text_ranker **ranker); /* accepts NULL and a pointer to NULL */
/* Each id at most once. `matches` may be NULL. INVALID: a text is no UTF-8. After a failure the
   candidate is not in, and the ranker goes on. */
keep_status kp_text_ranker_offer(kp_text_ranker *ranker, const kp_text_candidate *candidate,
				 bool *matches, keep_error *err) KEEP_MUST_CHECK;
/* How many of the offered ones matched. */
uint64_t kp_text_ranker_matched(const kp_text_ranker *ranker);
/* The best first, equal ones newer first; at most `limit`. Borrowed until the next call. */
void kp_text_ranker_list(kp_text_ranker *ranker, const kp_ranked **out, size_t *count);

/* ---------------------------------------------------------------- snippets (snippet.c) */

typedef struct kp_snippet_options {
	size_t tokens;    /* of a window; 0: 32; at most 256 */
	size_t bytes_max; /* of the answer, with its marks; 0: 512; at least 160 */
	const char *open, *close, *ellipsis; /* NULL: "[", "]", "…"; at most 16 bytes each */
} kp_snippet_options;

/* Replace *out by the part of `text` with most of the query's different terms, each match marked;
   its beginning when nothing matches. Cut between characters; line ends and other control
   characters become blanks. */
keep_status kp_text_snippet(const kp_text_query *query, keep_bytes text,
			    const kp_snippet_options *options, keep_buffer *out,
			    keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- fusion (fuse.c) */

#define KP_FUSE_K 60
#define KP_FUSE_LISTS_MAX 16
#define KP_FUSE_IDS_MAX 100000 /* of all lists together */

/* Ids in the order of their rank. One that occurs twice counts where it is first. */
typedef struct kp_ranked_ids {
	const int64_t *ids;
	size_t count;
	double weight; /* 0: 1 */
} kp_ranked_ids;

/* Reciprocal rank fusion (Cormack, Clarke, Buettcher 2009): the sum of weight / (60 + rank), ranks
   from 1. The best first, equal ones larger id first. `out` has room for `limit`. */
keep_status kp_rank_fuse(const kp_ranked_ids *lists, size_t list_count, size_t limit,
			 kp_ranked *out, size_t *count, keep_error *err) KEEP_MUST_CHECK;

#endif

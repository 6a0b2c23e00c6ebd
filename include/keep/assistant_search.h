#ifndef KEEP_ASSISTANT_SEARCH_H
#define KEEP_ASSISTANT_SEARCH_H
/*
 * keep/assistant_search.h - documents that can be found: by their words, by their vectors, by both.
 *
 * What it is not: a model. Vectors come from the caller, with the name of the model that made them.
 * Messages are found by keep_assistant_search_messages. The rules of keep/assistant.h hold.
 *
 * Threads: as keep/assistant.h.
 */
#include "keep/assistant.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KEEP_VECTOR_DIMENSIONS_MAX 8192
#define KEEP_SEARCH_LIMIT_MAX 1000

/* What is to be found. */
typedef struct keep_document {
	keep_bytes source, source_id; /* its key */
	keep_bytes title, content;    /* may be absent */
	keep_bytes metadata;          /* a JSON object, or absent */
	/* float32, little-endian, `model` names what made it; absent: no vector (a stored one of an
	   unchanged text stays). */
	keep_bytes embedding;
	keep_bytes model;
	/* A content that is shorter than the stored one, and reads as a part of it (case, blanks
	   and punctuation aside, the last word perhaps cut), replaces it: else it is taken for a
	   snippet, and the stored one stays. */
	bool may_shorten;
} keep_document;

typedef enum keep_indexed {
	KEEP_INDEXED_ADDED,
	KEEP_INDEXED_CHANGED,
	KEEP_INDEXED_UNCHANGED, /* the same content_hash: nothing was done */
	KEEP_INDEXED_SHORTER    /* a snippet of what is stored: nothing was done */
} keep_indexed;
/* "added", "changed", "unchanged", "shorter" */
KEEP_API const char *keep_indexed_name(keep_indexed indexed);

/*
 * Index a document: it is found as soon as this answers OK. A vector that comes for an unchanged
 * text and is another one, or of another model, is stored (CHANGED). INVALID: neither title nor
 * content; an embedding that is no whole number of finite floats, of zero length, or of 0 or over
 * KEEP_VECTOR_DIMENSIONS_MAX numbers, or without a model. CONFLICT: the model has vectors of
 * another dimension.
 */
KEEP_API keep_status keep_assistant_index(keep_assistant *assistant, const keep_document *document,
					  int64_t now_ms, keep_indexed *indexed,
					  keep_error *err) KEEP_MUST_CHECK;
/* `count` of them (at most KEEP_ASSISTANT_LIST_MAX) in one transaction; any failure indexes none.
 */
KEEP_API keep_status keep_assistant_index_many(keep_assistant *assistant,
					       const keep_document *documents, size_t count,
					       int64_t now_ms, keep_indexed *indexed,
					       keep_error *err) KEEP_MUST_CHECK;
KEEP_API keep_status keep_assistant_get_document(keep_assistant *assistant, keep_bytes source,
						 keep_bytes source_id, keep_memory *memory,
						 keep_search_document *out,
						 keep_error *err) KEEP_MUST_CHECK;
/* NOT_FOUND: it is not there. */
KEEP_API keep_status keep_assistant_remove_document(keep_assistant *assistant, keep_bytes source,
						    keep_bytes source_id,
						    keep_error *err) KEEP_MUST_CHECK;
/* Remove every document of a source whose id is not among `ids`. *count: how many. No ids at all
   removes the whole source. */
KEEP_API keep_status keep_assistant_remove_missing(keep_assistant *assistant, keep_bytes source,
						   const keep_bytes *ids, size_t id_count,
						   int64_t *count, keep_error *err) KEEP_MUST_CHECK;

typedef struct keep_search_query {
	keep_bytes text;       /* docs/search.md; absent: none */
	keep_bytes vector;     /* float32, little-endian; absent: none */
	keep_bytes model;      /* of the vector; needed with one */
	keep_bytes source;     /* only of that source; absent: any */
	size_t limit;          /* 0: 10; at most KEEP_SEARCH_LIMIT_MAX */
	double min_similarity; /* of vectors, -1 to 1; 0 and below -1: any */
} keep_search_query;

typedef struct keep_search_match {
	keep_search_document document; /* without its embedding */
	keep_bytes snippet;            /* matches of the text between [ and ] */
	double score;                  /* BM25, cosine, or the sum of 1 / (60 + rank) */
	int64_t text_rank;             /* from 1; 0: the text did not find it */
	int64_t vector_rank;           /* the same for the vector */
	double similarity;             /* its cosine, when vector_rank is not 0 */
} keep_search_match;

typedef struct keep_search_matches {
	keep_search_match *items;
	size_t count;
	bool is_exact; /* false: the words match so many that only the newest were ranked */
} keep_search_matches;

/*
 * Find documents: by text (BM25), by vector (exactly, cosine over all vectors of that model), or by
 * both, fused by reciprocal rank (k = 60). INVALID: neither; a text without a word; a zero,
 * infinite or NaN vector. CONFLICT: the model's vectors have another dimension, or none is of that
 * model while there are others.
 */
KEEP_API keep_status keep_assistant_find(keep_assistant *assistant, const keep_search_query *query,
					 keep_memory *memory, keep_search_matches *out,
					 keep_error *err) KEEP_MUST_CHECK;

/* Make what is derived anew: words and vectors, of messages and documents. Damaged or missing
   derived files are made anew by themselves when they are met. */
KEEP_API keep_status keep_assistant_rebuild_search(keep_assistant *assistant,
						   keep_error *err) KEEP_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif

#ifndef KP_VECTOR_SET_H
#define KP_VECTOR_SET_H
/*
 * vector_set.h - exact nearest neighbours by cosine over float32 vectors of one model and
 * dimension.
 *
 * A set is derived data: the owner's table holds the truth, a set holds it in a form that is fast
 * to scan, in a file that several processes map or in anonymous memory. What is wrong with a file
 * is told when it is opened, and the owner then rebuilds it from its table:
 *
 *     kp_vectors_open      OK: bring it up to date from kp_vectors_change on
 *                          NOT_FOUND, CORRUPT: kp_vectors_rebuild, add everything, publish
 *     kp_vectors_rebuild   DENIED (a read-only home): again with path NULL, for anonymous memory
 *
 * The similarity is dot / sqrt(|query|^2 * |vector|^2), each sum in double over the float32 values
 * in their order, clamped to -1 .. 1; the answer is the same as computing it for every vector.
 *
 * What it is not: an approximate index, or a table. It syncs nothing unless asked.
 *
 * Threads: all functions may be called from any thread on one set, but close. The staged changes
 * are the set's, so threads that stage together commit together.
 */
#include "core/core.h"

#define KP_VECTORS_DIMENSION_MAX 8192
#define KP_VECTORS_NEAREST_MAX 1000
#define KP_VECTORS_STAGED_BYTES_MAX ((size_t)64 << 20) /* not yet committed; then FULL */

typedef struct kp_vectors kp_vectors;

struct kp_vectors_options {
	const char *path;   /* of the file; NULL: anonymous memory */
	size_t dimension;   /* 1 to KP_VECTORS_DIMENSION_MAX */
	keep_bytes model;   /* name of what made the vectors; only compared */
	int64_t generation; /* of the owner's table: a file of another one is NOT_FOUND */
};

struct kp_vectors_match {
	int64_t id;
	double similarity;
};

/* Shall this id be in the answer? Asked in the searching thread, at most once for each id of a
   search and only where its similarity could reach the answer; must not use the set. */
typedef bool kp_vectors_filter(void *ctx, int64_t id);

/*
 * Open the file at options->path, which stays as it is if this fails; its size does not matter.
 * With path NULL: an empty set. A file that may not be written can be searched; commit is DENIED.
 * NOT_FOUND: there is none, or it is of another format, dimension, model or generation.
 * CORRUPT: it is damaged or cut short. After a power cut, unless kp_vectors_sync came first, all of
 * it is read and checked here.
 */
keep_status kp_vectors_open(const struct kp_vectors_options *options, kp_vectors **out,
			    keep_error *err) KEEP_MUST_CHECK;
/* An empty set beside options->path that nobody else sees; publish puts it there, close without
   publish removes it. With path NULL the same as open. */
keep_status kp_vectors_rebuild(const struct kp_vectors_options *options, kp_vectors **out,
			       keep_error *err) KEEP_MUST_CHECK;
/* Commit what is staged and put the file in the place of the old one, whose users keep theirs. */
keep_status kp_vectors_publish(kp_vectors *set, int64_t change, keep_error *err) KEEP_MUST_CHECK;
void kp_vectors_close(kp_vectors **set); /* accepts NULL; drops what is staged */

/* Stage a vector of the set's dimension, in the place of an earlier one of that id. INVALID: a
   value is NaN or infinite, or all are zero. FULL: KP_VECTORS_STAGED_BYTES_MAX; commit first. */
keep_status kp_vectors_add(kp_vectors *set, int64_t id, const float *values,
			   keep_error *err) KEEP_MUST_CHECK;
/* Stage the removal of an id; one that is not there is no failure. */
keep_status kp_vectors_remove(kp_vectors *set, int64_t id, keep_error *err) KEEP_MUST_CHECK;
void kp_vectors_rollback(kp_vectors *set); /* forget what is staged */
/*
 * Make all that is staged visible at once, to every thread and process that has the file open.
 * `change` is the owner's number of the last change that is now in, and never goes back. On
 * failure nothing is visible and everything is still staged.
 * CONFLICT: the file already holds a later change (of another process): rollback, and read on
 * from kp_vectors_change. NOT_FOUND: another file was published in its place: open that one.
 * BUSY: another process has held the file for seconds. DENIED: the file may not be written.
 */
keep_status kp_vectors_commit(kp_vectors *set, int64_t change, keep_error *err) KEEP_MUST_CHECK;

/*
 * The `nearest` (1 to KP_VECTORS_NEAREST_MAX) vectors that `wants` (NULL: all) wants, most similar
 * first, equal ones by smaller id, into out[0 .. *count - 1]. Sees the last commit, also another
 * process's. INVALID: the query is zero, NaN or infinite.
 */
keep_status kp_vectors_search(kp_vectors *set, const float *query, size_t nearest,
			      kp_vectors_filter *wants, void *ctx, struct kp_vectors_match *out,
			      size_t *count, keep_error *err) KEEP_MUST_CHECK;

struct kp_vectors_state {
	size_t dimension;
	uint64_t count;   /* vectors that a search looks at */
	uint64_t dead;    /* replaced and removed ones, which only a rebuild lets go of */
	int64_t change;   /* of the last commit; 0 before the first */
	bool is_replaced; /* another file was published in its place: open that one */
};

/* As of the last commit. A rebuild pays once `dead` exceeds `count`. */
keep_status kp_vectors_look(kp_vectors *set, struct kp_vectors_state *state,
			    keep_error *err) KEEP_MUST_CHECK;
/* Read everything and compare it with its checksums. CORRUPT: rebuild. */
keep_status kp_vectors_verify(kp_vectors *set, keep_error *err) KEEP_MUST_CHECK;
/* Make the last commit survive a power cut, so that the next open need not read it all. */
keep_status kp_vectors_sync(kp_vectors *set, keep_error *err) KEEP_MUST_CHECK;

#endif

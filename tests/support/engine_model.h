#ifndef KEEP_ENGINE_MODEL_H
#define KEEP_ENGINE_MODEL_H
/*
 * engine_model.h - the engine's contract in its shortest form: an array of documents that every
 * call searches from end to end. Slow, and too simple to be wrong in an interesting way.
 *
 * Paths are normal here; the caller has dealt with those that are none.
 */
#include "keep/engine.h"

typedef struct model_document {
	char *path;
	char *value; /* the differential test's values are texts */
	int64_t score;
	uint64_t tie;
} model_document;

typedef struct model {
	model_document *documents;
	size_t count, capacity;
	uint64_t last_tie;
} model;

void model_release(model *self);
/* A copy to go back to when a batch fails. */
void model_copy(model *to, const model *from);

const char *model_get(const model *self, const char *path); /* NULL: no document */
void model_set(model *self, const char *path, const char *value);
void model_set_scored(model *self, const char *path, const char *value, int64_t score);
void model_unset(model *self, const char *path);
/* False: it is not what was expected. NULL as in compare_and_set. */
bool model_compare_and_set(model *self, const char *path, const char *expected, const char *value);

/* The children of `path` that have a value, newest first; the array is the caller's to free. */
size_t model_children(const model *self, const char *path, const model_document ***out);
/* The last segment. */
const char *model_name(const char *path);
bool model_is_below(const char *base, const char *path);

#endif

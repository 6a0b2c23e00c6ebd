#ifndef KP_ENGINE_MEMORY_H
#define KP_ENGINE_MEMORY_H
/*
 * engine_memory.h - the tree behind memory:, between engine_memory_tree.c, which knows nodes and
 * no locks, and engine_memory.c, which knows locks, changes and watches.
 *
 * Functions that can run out of memory say so with NULL or false; all others cannot fail.
 */
#include "engine/backend.h"

#define KP_MEMORY_LEVELS 16

struct kp_memory_node;
struct kp_memory_folder;

/* One step of the order's skip list; span counts the documents it passes, the reached included. */
typedef struct kp_memory_link {
	struct kp_memory_node *next;
	size_t span;
} kp_memory_link;

typedef struct kp_memory_node {
	struct kp_memory_node *parent; /* NULL for the root */
	struct kp_memory_node *next_in_bucket;
	struct kp_memory_node *older, *younger; /* siblings by id */
	struct kp_memory_folder *folder;        /* its children; NULL until it had one */
	uint64_t id;                            /* strictly increasing in order of creation */
	uint64_t hash;                          /* of the name */
	char *value;                            /* NULL: no document, only a way to others */
	size_t value_len;
	int64_t score;
	uint64_t tie;
	const char *name;
	size_t name_len;
	unsigned level;         /* how many links */
	kp_memory_link links[]; /* to the next older in the order; the name follows them */
} kp_memory_node;

typedef struct kp_memory_folder {
	kp_memory_node *oldest, *youngest; /* all children, by id */
	kp_memory_node **buckets;          /* all children, by name */
	size_t bucket_mask;
	kp_memory_node *only_bucket; /* what buckets points to at first */
	size_t nodes;                /* children */
	size_t documents;            /* children with a value: those in the order */
	kp_memory_link newest[KP_MEMORY_LEVELS];
} kp_memory_folder;

typedef struct kp_memory_tree {
	kp_memory_node *root;
	uint64_t last_id, last_tie;
	unsigned char hash_key[16];
} kp_memory_tree;

keep_status kp_memory_tree_open(kp_memory_tree *tree, keep_error *err) KEEP_MUST_CHECK;
void kp_memory_tree_release(kp_memory_tree *tree);

/* The node at a path, with a value or not; or NULL. */
kp_memory_node *kp_memory_find(const kp_memory_tree *tree, keep_bytes path);
/* The node at a path, made where it was missing. *made is the topmost new one, or NULL. NULL: out
   of memory, and nothing has changed. */
kp_memory_node *kp_memory_find_or_make(kp_memory_tree *tree, keep_bytes path,
				       kp_memory_node **made);

/* Take a node with all below it out of its parent's folder, and put it back; in between nothing
   but the exact reverse of what was done since may happen to that folder. */
void kp_memory_detach(kp_memory_node *node);
void kp_memory_attach(kp_memory_node *node);
/* Free a detached node and all below it. */
void kp_memory_free_subtree(kp_memory_node *node);
/* Free what was the root's folder. */
void kp_memory_free_folder(kp_memory_folder *folder);

/* Into and out of the order of its siblings; `node` has a value, a score and a tie. */
void kp_memory_order_add(kp_memory_node *node);
void kp_memory_order_remove(kp_memory_node *node);
/* The document at a place of the order, 0 being the newest; or NULL. */
kp_memory_node *kp_memory_order_at(const kp_memory_folder *folder, size_t offset);

/* The full path of a node, in `arena`. */
keep_status kp_memory_path_of(const kp_memory_node *node, const kp_memory_node *root,
			      kp_arena *arena, keep_bytes *path, keep_error *err) KEEP_MUST_CHECK;

/* Where a walk over a subtree stands: how the last node seen is found again after any change. */
typedef struct kp_memory_cursor {
	kp_memory_node *last; /* NULL when the tree may have changed since */
	unsigned depth;       /* of the last node below the base; 0 before the first */
	uint64_t id_last;     /* nodes made later are not visited: a walk ends */
	uint64_t ids[KEEP_PATH_SEGMENTS_MAX + 1]; /* on the way from the base to it */
	size_t path_len;
	char path[KEEP_PATH_BYTES_MAX + 1]; /* the same way by names */
} kp_memory_cursor;

void kp_memory_walk_begin(kp_memory_cursor *cursor, uint64_t id_last);
/* The next document below `base`, NULL at the end. */
kp_memory_node *kp_memory_walk(const kp_memory_tree *tree, kp_memory_node *base,
			       kp_memory_cursor *cursor);
/* Before the tree may change. */
void kp_memory_walk_pause(const kp_memory_node *base, kp_memory_cursor *cursor);

#endif

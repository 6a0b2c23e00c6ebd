/*
 * engine_memory_tree.c - the tree of memory:.
 *
 * A node is a segment of a path. Its children are in three structures at once: a hash table by
 * name, a list in order of creation, and, those with a value, a skip list in the order of the
 * contract. The skip list counts what its links pass over, so the 50 documents from any place of
 * the order cost the same, and the number of documents is known.
 *
 * Invariants:
 *   1. A node without value and without children does not stay in the tree (the root apart).
 *   2. Ids and ties are never used twice; the list of children is in order of their ids.
 *   3. Detaching and attaching never allocate and never fail: that is what makes undo possible.
 *      A table that could not grow stays small and works.
 *   4. Names are hashed with a key of the store's own, so that hostile names cannot collide; the
 *      same hash gives the skip list its levels.
 *
 * What it does not do: lock.
 *
 * Tests: tests/contract/test_engine_contract.c, tests/torture/test_engine_memory_faults.c.
 */
#include "engine/engine_memory.h"

#include <string.h>

/* ---------------------------------------------------------------- the order of siblings */

static bool is_newer(const kp_memory_node *a, const kp_memory_node *b)
{
	return a->score != b->score ? a->score > b->score : a->tie > b->tie;
}

/* The links that leave `at`; NULL is the place before the newest. */
static kp_memory_link *links_of(kp_memory_folder *folder, kp_memory_node *at)
{
	return at ? at->links : folder->newest;
}

void kp_memory_order_add(kp_memory_node *node)
{
	kp_memory_folder *folder = node->parent->folder;
	kp_memory_node *at[KP_MEMORY_LEVELS], *here = NULL;
	size_t passed[KP_MEMORY_LEVELS], count = 0;

	for (unsigned i = KP_MEMORY_LEVELS; i-- > 0;) {
		kp_memory_link *link = &links_of(folder, here)[i];

		while (link->next && is_newer(link->next, node)) {
			count += link->span;
			here = link->next;
			link = &here->links[i];
		}
		at[i] = here;
		passed[i] = count;
	}
	for (unsigned i = 0; i < KP_MEMORY_LEVELS; i++) {
		kp_memory_link *link = &links_of(folder, at[i])[i];

		if (i >= node->level) {
			link->span++;
			continue;
		}
		node->links[i].next = link->next;
		node->links[i].span = link->span - (count - passed[i]);
		link->next = node;
		link->span = count - passed[i] + 1;
	}
	folder->documents++;
}

void kp_memory_order_remove(kp_memory_node *node)
{
	kp_memory_folder *folder = node->parent->folder;
	kp_memory_node *here = NULL;

	for (unsigned i = KP_MEMORY_LEVELS; i-- > 0;) {
		kp_memory_link *link = &links_of(folder, here)[i];

		while (link->next && is_newer(link->next, node)) {
			here = link->next;
			link = &here->links[i];
		}
		if (link->next == node) {
			link->next = node->links[i].next;
			link->span += node->links[i].span - 1;
		} else {
			link->span--;
		}
	}
	folder->documents--;
}

kp_memory_node *kp_memory_order_at(const kp_memory_folder *folder, size_t offset)
{
	const kp_memory_link *links = folder->newest;
	kp_memory_node *here = NULL;
	size_t passed = 0;

	if (offset >= folder->documents)
		return NULL;
	for (unsigned i = KP_MEMORY_LEVELS; i-- > 0;) {
		while (links[i].next && passed + links[i].span <= offset + 1) {
			passed += links[i].span;
			here = links[i].next;
			links = here->links;
		}
	}
	return here;
}

/* ---------------------------------------------------------------- children by name */

static kp_memory_node **bucket_of(const kp_memory_folder *folder, uint64_t hash)
{
	return &folder->buckets[hash & folder->bucket_mask];
}

static kp_memory_node *find_child(const kp_memory_node *parent, keep_bytes name, uint64_t hash)
{
	kp_memory_node *child = parent->folder ? *bucket_of(parent->folder, hash) : NULL;

	while (child && (child->hash != hash || child->name_len != name.len ||
			 memcmp(child->name, name.data, name.len) != 0))
		child = child->next_in_bucket;
	return child;
}

static void grow_buckets(kp_memory_folder *folder)
{
	size_t count = (folder->bucket_mask + 1) * 2;
	kp_memory_node **buckets = kp_alloc_zero(count * sizeof *buckets);

	if (!buckets)
		return;
	if (folder->buckets != &folder->only_bucket)
		kp_free(folder->buckets);
	folder->buckets = buckets;
	folder->bucket_mask = count - 1;
	for (kp_memory_node *child = folder->oldest; child; child = child->younger) {
		kp_memory_node **bucket = bucket_of(folder, child->hash);

		child->next_in_bucket = *bucket;
		*bucket = child;
	}
}

void kp_memory_detach(kp_memory_node *node)
{
	kp_memory_folder *folder = node->parent->folder;
	kp_memory_node **link = bucket_of(folder, node->hash);

	while (*link != node)
		link = &(*link)->next_in_bucket;
	*link = node->next_in_bucket;
	*(node->older ? &node->older->younger : &folder->oldest) = node->younger;
	*(node->younger ? &node->younger->older : &folder->youngest) = node->older;
	folder->nodes--;
	if (node->value)
		kp_memory_order_remove(node);
}

void kp_memory_attach(kp_memory_node *node)
{
	kp_memory_folder *folder = node->parent->folder;
	kp_memory_node **bucket;

	*(node->older ? &node->older->younger : &folder->oldest) = node;
	*(node->younger ? &node->younger->older : &folder->youngest) = node;
	bucket = bucket_of(folder, node->hash);
	node->next_in_bucket = *bucket;
	*bucket = node;
	folder->nodes++;
	if (node->value)
		kp_memory_order_add(node);
	if (folder->nodes > 2 * (folder->bucket_mask + 1))
		grow_buckets(folder);
}

/* ---------------------------------------------------------------- nodes */

static void free_node(kp_memory_node *node)
{
	if (node->folder && node->folder->buckets != &node->folder->only_bucket)
		kp_free(node->folder->buckets);
	kp_free(node->folder);
	kp_free(node->value);
	kp_free(node);
}

void kp_memory_free_subtree(kp_memory_node *top)
{
	kp_memory_node *node = top;

	while (node) {
		kp_memory_folder *folder = node->folder;
		kp_memory_node *done = node;

		if (folder && folder->oldest) {
			node = folder->oldest;
			folder->oldest = node->younger;
			continue;
		}
		node = node == top ? NULL : node->parent;
		free_node(done);
	}
}

void kp_memory_free_folder(kp_memory_folder *folder)
{
	while (folder && folder->oldest) {
		kp_memory_node *child = folder->oldest;

		folder->oldest = child->younger;
		kp_memory_free_subtree(child);
	}
	if (folder && folder->buckets != &folder->only_bucket)
		kp_free(folder->buckets);
	kp_free(folder);
}

static bool make_folder(kp_memory_node *node)
{
	kp_memory_folder *folder;

	if (node->folder)
		return true;
	folder = kp_alloc_zero(sizeof *folder);
	if (!folder)
		return false;
	folder->buckets = &folder->only_bucket;
	node->folder = folder;
	return true;
}

/* A node that nobody knows yet, the youngest of `parent`'s. */
static kp_memory_node *make_child(kp_memory_tree *tree, kp_memory_node *parent, keep_bytes name,
				  uint64_t hash)
{
	unsigned level = 1 + (unsigned)__builtin_ctzll(hash >> 32 | UINT64_C(1) << 30) / 2;
	size_t links = level * sizeof(kp_memory_link);
	kp_memory_node *node;
	char *copy;

	if (!make_folder(parent))
		return NULL;
	node = kp_alloc_zero(sizeof *node + links + name.len);
	if (!node)
		return NULL;
	copy = (char *)node + sizeof *node + links;
	memcpy(copy, name.data, name.len);
	node->parent = parent;
	node->older = parent->folder->youngest;
	node->id = ++tree->last_id;
	node->hash = hash;
	node->name = copy;
	node->name_len = name.len;
	node->level = level;
	return node;
}

/* ---------------------------------------------------------------- paths */

/* Cut the first segment off `rest`. */
static keep_bytes next_segment(keep_bytes *rest)
{
	const char *slash = memchr(rest->data, '/', rest->len);
	keep_bytes segment = {rest->data, slash ? (size_t)(slash - rest->data) : rest->len};
	size_t used = segment.len + (slash ? 1 : 0);

	*rest = (keep_bytes){rest->data + used, rest->len - used};
	return segment;
}

kp_memory_node *kp_memory_find(const kp_memory_tree *tree, keep_bytes path)
{
	kp_memory_node *node = tree->root;

	while (node && path.len) {
		keep_bytes name = next_segment(&path);

		node = find_child(node, name, kp_siphash(tree->hash_key, name));
	}
	return node;
}

kp_memory_node *kp_memory_find_or_make(kp_memory_tree *tree, keep_bytes path, kp_memory_node **made)
{
	kp_memory_node *node = tree->root, *top = NULL;

	*made = NULL;
	while (path.len) {
		keep_bytes name = next_segment(&path);
		uint64_t hash = kp_siphash(tree->hash_key, name);
		kp_memory_node *child = top ? NULL : find_child(node, name, hash);

		if (!child) {
			child = make_child(tree, node, name, hash);
			if (!child) {
				kp_memory_free_subtree(top);
				return NULL;
			}
			if (top)
				kp_memory_attach(child);
			else
				top = child;
		}
		node = child;
	}
	/* The topmost new node comes last, with all that hangs from it: until here nothing shows.
	 */
	if (top)
		kp_memory_attach(top);
	*made = top;
	return node;
}

/* The bytes of the path from `base` down to `node`. */
static size_t way_len(const kp_memory_node *node, const kp_memory_node *base)
{
	size_t len = 0;

	for (; node != base; node = node->parent)
		len += node->name_len + 1;
	return len ? len - 1 : 0;
}

/* Write it so that it ends at `end`. */
static void write_way(const kp_memory_node *node, const kp_memory_node *base, char *end)
{
	for (; node != base; node = node->parent) {
		end -= node->name_len;
		memcpy(end, node->name, node->name_len);
		if (node->parent != base)
			*--end = '/';
	}
}

keep_status kp_memory_path_of(const kp_memory_node *node, const kp_memory_node *root,
			      kp_arena *arena, keep_bytes *path, keep_error *err)
{
	size_t len = way_len(node, root);
	char *text = kp_arena_alloc(arena, len + 1);

	if (!text)
		return kp_fail_memory(err, "a path");
	write_way(node, root, text + len);
	text[len] = '\0';
	*path = (keep_bytes){text, len};
	return KEEP_OK;
}

/* ---------------------------------------------------------------- walking a subtree */

static kp_memory_node *oldest_child(const kp_memory_node *node)
{
	return node->folder ? node->folder->oldest : NULL;
}

/* Go down again to where the walk stands. *next is NULL there; where the way has been cut off, it
   is the first sibling younger than what is missing. */
static kp_memory_node *find_again(const kp_memory_tree *tree, kp_memory_node *base,
				  const kp_memory_cursor *cursor, unsigned *depth,
				  kp_memory_node **next)
{
	keep_bytes rest = {cursor->path, cursor->path_len};
	kp_memory_node *node = base;

	*next = NULL;
	for (*depth = 0; *depth < cursor->depth; ++*depth) {
		keep_bytes name = next_segment(&rest);
		kp_memory_node *child = find_child(node, name, kp_siphash(tree->hash_key, name));

		if (!child || child->id != cursor->ids[*depth])
			break;
		node = child;
	}
	if (*depth < cursor->depth) {
		*next = oldest_child(node);
		while (*next && (*next)->id <= cursor->ids[*depth])
			*next = (*next)->younger;
	}
	return node;
}

/* Parents before their children, siblings by id. */
static kp_memory_node *next_node(const kp_memory_tree *tree, kp_memory_node *base,
				 kp_memory_cursor *cursor)
{
	unsigned depth = cursor->depth;
	kp_memory_node *node = cursor->last, *next = NULL;

	if (!node)
		node = find_again(tree, base, cursor, &depth, &next);
	if (depth == cursor->depth)
		next = oldest_child(node);
	while ((!next || next->id > cursor->id_last) && depth > 0) {
		next = node->younger;
		node = node->parent;
		depth--;
	}
	if (!next || next->id > cursor->id_last)
		return NULL;
	cursor->ids[depth] = next->id;
	cursor->depth = depth + 1;
	cursor->last = next;
	return next;
}

void kp_memory_walk_begin(kp_memory_cursor *cursor, uint64_t id_last)
{
	cursor->last = NULL;
	cursor->depth = 0;
	cursor->id_last = id_last;
	cursor->path_len = 0;
}

kp_memory_node *kp_memory_walk(const kp_memory_tree *tree, kp_memory_node *base,
			       kp_memory_cursor *cursor)
{
	kp_memory_node *node = next_node(tree, base, cursor);

	while (node && !node->value)
		node = next_node(tree, base, cursor);
	return node;
}

void kp_memory_walk_pause(const kp_memory_node *base, kp_memory_cursor *cursor)
{
	if (!cursor->last)
		return;
	cursor->path_len = way_len(cursor->last, base);
	write_way(cursor->last, base, cursor->path + cursor->path_len);
	cursor->last = NULL;
}

/* ---------------------------------------------------------------- the whole */

keep_status kp_memory_tree_open(kp_memory_tree *tree, keep_error *err)
{
	keep_status status;

	*tree = (kp_memory_tree){.root = NULL};
	status = kp_random_bytes(tree->hash_key, sizeof tree->hash_key, err);
	if (status != KEEP_OK)
		return status;
	tree->root = kp_alloc_zero(sizeof *tree->root);
	return tree->root ? KEEP_OK : kp_fail_memory(err, "a store");
}

void kp_memory_tree_release(kp_memory_tree *tree)
{
	kp_memory_free_subtree(tree->root);
	tree->root = NULL;
}

/*
 * engine_memory.c - memory: the backend without a disk, for tests, and the plainest reading of the
 * contract that the others are compared with.
 *
 * `memory:` is a store of its own for every open. `memory:NAME` is one store for all engines of
 * this process that open it (the second must ask `shared`) and ends with the last of them.
 *
 * Invariants:
 *   1. A change allocates everything it needs before it touches the tree; what it did is written
 *      down so that it can be taken back without allocating. So a list of changes is whole or not
 *      at all, also when memory runs out in its middle.
 *   2. What was removed is freed after the lock was given back.
 *   3. A scan's callback runs without the lock, on copies of at most SCAN_DOCUMENTS documents or
 *      SCAN_BYTES (and one value).
 *   4. A watch hears of a change after it can be read. Lock order: tree, then watches.
 *
 * Tests: tests/contract/test_engine_contract.c, tests/torture/test_engine_memory_faults.c.
 */
#include "engine/engine_memory.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SCAN_DOCUMENTS 64
#define SCAN_BYTES ((size_t)1 << 20)
#define URL_START "memory:"

typedef struct memory_watch {
	kp_watch watch;
	struct memory_watch *next; /* of the store's */
	pthread_cond_t wake;
	bool changed, cancelled; /* guarded by the store's watch_mutex */
	size_t path_len;
	char path[];
} memory_watch;

typedef struct memory_store {
	kp_store store;
	struct memory_store *next; /* of the named ones */
	unsigned users;            /* guarded by named.mutex */
	char *name;                /* "" for a store of one engine */
	pthread_rwlock_t lock;     /* guards tree */
	kp_memory_tree tree;
	pthread_mutex_t watch_mutex;
	memory_watch *watches;
} memory_store;

static struct {
	pthread_mutex_t mutex;
	memory_store *first;
} named = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static memory_store *memory_of(kp_store *store)
{
	return (memory_store *)store;
}

/* ---------------------------------------------------------------- open and close */

static keep_status memory_identify(const char *url, char **identity, keep_error *err)
{
	static atomic_uint_fast64_t last;
	const char *name = url + strlen(URL_START);
	size_t size = strlen(name) + 40;

	*identity = kp_alloc(size);
	if (!*identity)
		return kp_fail_memory(err, "an identity");
	/* No name can look like the second form, which has no colon. */
	if (name[0])
		snprintf(*identity, size, URL_START "%s", name);
	else
		snprintf(*identity, size, "memory %llu",
			 (unsigned long long)atomic_fetch_add(&last, 1));
	return KEEP_OK;
}

static void free_store(memory_store *self)
{
	kp_memory_tree_release(&self->tree);
	pthread_rwlock_destroy(&self->lock);
	pthread_mutex_destroy(&self->watch_mutex);
	kp_free(self->name);
	kp_free(self);
}

/* Readers that never pause must not keep a writer out for ever. */
static bool init_lock(pthread_rwlock_t *lock)
{
	pthread_rwlockattr_t attributes;
	bool done;

	if (pthread_rwlockattr_init(&attributes) != 0)
		return false;
	pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	done = pthread_rwlock_init(lock, &attributes) == 0;
	pthread_rwlockattr_destroy(&attributes);
	return done;
}

static keep_status make_store(const char *name, memory_store **out, keep_error *err)
{
	memory_store *self = kp_alloc_zero(sizeof *self);
	keep_status status;

	if (!self)
		return kp_fail_memory(err, "a store");
	self->store.backend = &kp_engine_memory;
	self->users = 1;
	pthread_mutex_init(&self->watch_mutex, NULL);
	if (!init_lock(&self->lock)) {
		kp_free(self);
		return kp_fail_memory(err, "a lock");
	}
	self->name = kp_alloc(strlen(name) + 1);
	if (self->name) {
		memcpy(self->name, name, strlen(name) + 1);
		status = kp_memory_tree_open(&self->tree, err);
	} else {
		status = kp_fail_memory(err, "a store");
	}
	if (status != KEEP_OK)
		free_store(self);
	else
		*out = self;
	return status;
}

static keep_status memory_open(const char *url, const keep_engine_options *options, kp_store **out,
			       keep_error *err)
{
	const char *name = url + strlen(URL_START);
	memory_store *self = NULL;
	keep_status status = KEEP_OK;

	(void)options;
	*out = NULL;
	pthread_mutex_lock(&named.mutex);
	if (name[0])
		self = named.first;
	while (self && strcmp(self->name, name) != 0)
		self = self->next;
	if (self) {
		self->users++;
	} else {
		status = make_store(name, &self, err);
		if (status == KEEP_OK && name[0]) {
			self->next = named.first;
			named.first = self;
		}
	}
	pthread_mutex_unlock(&named.mutex);
	if (status == KEEP_OK)
		*out = &self->store;
	return status;
}

static void memory_close(kp_store *store)
{
	memory_store *self = memory_of(store), **link = &named.first;
	bool last;

	pthread_mutex_lock(&named.mutex);
	last = --self->users == 0;
	if (last && self->name[0]) {
		while (*link != self)
			link = &(*link)->next;
		*link = self->next;
	}
	pthread_mutex_unlock(&named.mutex);
	if (last)
		free_store(self);
}

static const char *memory_durability(const kp_store *store)
{
	(void)store;
	return "process";
}

/* ---------------------------------------------------------------- reading */

static keep_status memory_get(kp_store *store, const kp_path *path, keep_buffer *value,
			      keep_error *err)
{
	memory_store *self = memory_of(store);
	const kp_memory_node *node;
	keep_status status;

	pthread_rwlock_rdlock(&self->lock);
	node = kp_memory_find(&self->tree, path->text);
	if (node && node->value)
		status = keep_buffer_set(value, (keep_bytes){node->value, node->value_len}, err);
	else
		status = kp_fail(err, KEEP_NOT_FOUND, "%" KP_PRI ": no such document",
				 KP_ARG(path->text));
	pthread_rwlock_unlock(&self->lock);
	return status;
}

static keep_status memory_list(kp_store *store, const kp_path *path, int64_t offset, int64_t limit,
			       keep_engine_sink *sink, keep_error *err)
{
	memory_store *self = memory_of(store);
	const kp_memory_node *node, *child = NULL;
	keep_status status = KEEP_OK;

	pthread_rwlock_rdlock(&self->lock);
	node = kp_memory_find(&self->tree, path->text);
	if (node && node->folder && (uint64_t)offset < node->folder->documents)
		child = kp_memory_order_at(node->folder, (size_t)offset);
	while (child && limit-- > 0 && status == KEEP_OK) {
		status = kp_sink_add(sink, (keep_bytes){child->name, child->name_len},
				     (keep_bytes){child->value, child->value_len}, err);
		child = child->links[0].next;
	}
	pthread_rwlock_unlock(&self->lock);
	return status;
}

static keep_status memory_count(kp_store *store, const kp_path *path, int64_t *count,
				keep_error *err)
{
	memory_store *self = memory_of(store);
	const kp_memory_node *node;

	(void)err;
	pthread_rwlock_rdlock(&self->lock);
	node = kp_memory_find(&self->tree, path->text);
	*count = node && node->folder ? (int64_t)node->folder->documents : 0;
	pthread_rwlock_unlock(&self->lock);
	return KEEP_OK;
}

/* Some documents copied under the lock, for callbacks without it. */
typedef struct scan_portion {
	kp_arena arena;
	size_t count, bytes;
	bool is_last;
	keep_bytes paths[SCAN_DOCUMENTS];
	keep_bytes values[SCAN_DOCUMENTS];
} scan_portion;

static keep_status copy_portion(memory_store *self, const kp_path *path, kp_memory_cursor *cursor,
				scan_portion *portion, keep_error *err)
{
	kp_memory_node *base, *node = NULL;
	keep_status status = KEEP_OK;

	portion->count = 0;
	portion->bytes = 0;
	pthread_rwlock_rdlock(&self->lock);
	if (cursor->id_last == 0)
		cursor->id_last = self->tree.last_id;
	base = kp_memory_find(&self->tree, path->text);
	while (base && status == KEEP_OK && portion->count < SCAN_DOCUMENTS &&
	       portion->bytes < SCAN_BYTES) {
		size_t i = portion->count;

		node = kp_memory_walk(&self->tree, base, cursor);
		if (!node)
			break;
		status = kp_memory_path_of(node, self->tree.root, &portion->arena,
					   &portion->paths[i], err);
		if (status == KEEP_OK)
			status = kp_arena_copy(&portion->arena,
					       (keep_bytes){node->value, node->value_len},
					       &portion->values[i], err);
		portion->bytes += node->value_len;
		portion->count++;
	}
	portion->is_last = !node;
	if (base)
		kp_memory_walk_pause(base, cursor);
	pthread_rwlock_unlock(&self->lock);
	return status;
}

static keep_status memory_scan(kp_store *store, const kp_path *path, kp_scan_callback *callback,
			       void *ctx, keep_error *err)
{
	keep_status status = KEEP_OK;
	kp_memory_cursor *cursor = kp_alloc(sizeof *cursor);
	scan_portion portion;
	bool more = true;

	if (!cursor)
		return kp_fail_memory(err, "a scan");
	kp_memory_walk_begin(cursor, 0);
	while (more && status == KEEP_OK) {
		portion.arena = (kp_arena){.head = NULL};
		status = copy_portion(memory_of(store), path, cursor, &portion, err);
		more = status == KEEP_OK && !portion.is_last;
		for (size_t i = 0; status == KEEP_OK && i < portion.count; i++) {
			if (!callback(ctx, portion.paths[i], portion.values[i])) {
				more = false;
				break;
			}
		}
		kp_arena_release(&portion.arena);
	}
	kp_free(cursor);
	return status;
}

/* ---------------------------------------------------------------- changing */

/* What one change did, so that it can be taken back, and what is to be freed once it stands. */
typedef struct done_change {
	kp_memory_node *node; /* set: the document; NULL when nothing was set */
	kp_memory_node *made; /* set: the topmost node that was missing, or NULL */
	char *old_value;      /* set: NULL when there was none */
	size_t old_len;
	int64_t old_score;
	uint64_t old_tie;
	kp_memory_node *removed;          /* unset: a detached subtree, or NULL */
	kp_memory_folder *removed_folder; /* clear: all that the root had, or NULL */
} done_change;

static int64_t newest_score(const kp_memory_folder *folder)
{
	const kp_memory_node *newest = folder->newest[0].next;
	int64_t now = kp_engine_now_ms();

	return newest && newest->score > now ? newest->score : now;
}

static keep_status set_value(memory_store *self, const kp_change *change, done_change *done,
			     keep_error *err)
{
	kp_memory_node *node;
	char *value = kp_alloc(change->value.len);
	int64_t score;

	node = value ? kp_memory_find_or_make(&self->tree, change->path.text, &done->made) : NULL;
	if (!node) {
		kp_free(value);
		return kp_fail_memory(err, "a document");
	}
	memcpy(value, change->value.data, change->value.len);
	score = change->kind == KEEP_ENGINE_SET_SCORED ? change->score_ms
						       : newest_score(node->parent->folder);
	if (node->value)
		kp_memory_order_remove(node);
	done->node = node;
	done->old_value = node->value;
	done->old_len = node->value_len;
	done->old_score = node->score;
	done->old_tie = node->tie;
	node->value = value;
	node->value_len = change->value.len;
	node->score = score;
	node->tie = ++self->tree.last_tie;
	kp_memory_order_add(node);
	return KEEP_OK;
}

static void unset_path(memory_store *self, const kp_change *change, done_change *done)
{
	kp_memory_node *node = kp_memory_find(&self->tree, change->path.text), *up;

	if (!node)
		return;
	if (!node->parent) {
		done->removed_folder = node->folder;
		node->folder = NULL;
		return;
	}
	/* With it go the ancestors that were only the way to it. */
	for (up = node->parent; up->parent && !up->value && up->folder->nodes == 1; up = up->parent)
		node = up;
	kp_memory_detach(node);
	done->removed = node;
}

static keep_status check_expected(memory_store *self, const kp_change *change, keep_error *err)
{
	const kp_memory_node *node = kp_memory_find(&self->tree, change->path.text);
	bool found = node && node->value;
	keep_bytes stored = {NULL, 0};

	if (found)
		stored = (keep_bytes){node->value, node->value_len};
	return kp_engine_check_expected(change, found, stored, err);
}

static keep_status do_change(memory_store *self, const kp_change *change, done_change *done,
			     keep_error *err)
{
	keep_status status = KEEP_OK;

	*done = (done_change){.node = NULL};
	if (change->kind == KEEP_ENGINE_COMPARE_AND_SET)
		status = check_expected(self, change, err);
	if (status != KEEP_OK)
		return status;
	if (change->kind != KEEP_ENGINE_UNSET && change->value.data)
		return set_value(self, change, done, err);
	unset_path(self, change, done);
	return KEEP_OK;
}

/* Only ever the newest change that still stands. */
static void undo_change(memory_store *self, done_change *done)
{
	kp_memory_node *node = done->node;

	if (done->removed)
		kp_memory_attach(done->removed);
	if (done->removed_folder) {
		kp_memory_free_folder(self->tree.root->folder);
		self->tree.root->folder = done->removed_folder;
	}
	if (!node)
		return;
	kp_memory_order_remove(node);
	kp_free(node->value);
	node->value = done->old_value;
	node->value_len = done->old_len;
	node->score = done->old_score;
	node->tie = done->old_tie;
	if (node->value)
		kp_memory_order_add(node);
	if (done->made) {
		kp_memory_detach(done->made);
		kp_memory_free_subtree(done->made);
	}
}

static void free_done(done_change *done)
{
	kp_free(done->old_value);
	if (done->removed)
		kp_memory_free_subtree(done->removed);
	kp_memory_free_folder(done->removed_folder);
}

/* Tell every watch that one of the changes may concern. */
static void tell_watches(memory_store *self, const kp_change *changes, size_t count)
{
	pthread_mutex_lock(&self->watch_mutex);
	for (memory_watch *watch = self->watches; watch; watch = watch->next) {
		keep_bytes base = {watch->path, watch->path_len};
		bool concerned = false;

		for (size_t i = 0; i < count && !concerned; i++) {
			keep_bytes path = changes[i].path.text;

			/* What removes may remove the watched path's ancestor. */
			concerned = kp_path_is_within(base, path) ||
				    (!changes[i].value.data && kp_path_is_within(path, base));
		}
		if (concerned) {
			watch->changed = true;
			pthread_cond_signal(&watch->wake);
		}
	}
	pthread_mutex_unlock(&self->watch_mutex);
}

static keep_status memory_apply(kp_store *store, const kp_change *changes, size_t count,
				keep_error *err)
{
	memory_store *self = memory_of(store);
	done_change one, *done = &one;
	keep_status status = KEEP_OK;
	size_t i;

	if (count > 1)
		done = kp_alloc(count * sizeof *done);
	if (!done)
		return kp_fail_memory(err, "a batch");
	pthread_rwlock_wrlock(&self->lock);
	for (i = 0; i < count && status == KEEP_OK; i++)
		status = do_change(self, &changes[i], &done[i], err);
	if (status != KEEP_OK) {
		for (i--; i-- > 0;)
			undo_change(self, &done[i]);
	}
	pthread_rwlock_unlock(&self->lock);
	if (status == KEEP_OK) {
		tell_watches(self, changes, count);
		for (i = 0; i < count; i++)
			free_done(&done[i]);
	}
	if (done != &one)
		kp_free(done);
	return status;
}

/* ---------------------------------------------------------------- watches */

static memory_watch *watch_of(kp_watch *watch)
{
	return (memory_watch *)watch;
}

static keep_status memory_watch_open(kp_store *store, const kp_path *path, kp_watch **out,
				     keep_error *err)
{
	memory_store *self = memory_of(store);
	memory_watch *watch = kp_alloc_zero(sizeof *watch + path->text.len + 1);
	pthread_condattr_t attributes;

	*out = NULL;
	if (!watch)
		return kp_fail_memory(err, "a watch");
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&watch->wake, &attributes);
	pthread_condattr_destroy(&attributes);
	watch->watch.store = store;
	watch->path_len = path->text.len;
	memcpy(watch->path, path->text.data, path->text.len);
	pthread_mutex_lock(&self->watch_mutex);
	watch->next = self->watches;
	self->watches = watch;
	pthread_mutex_unlock(&self->watch_mutex);
	*out = &watch->watch;
	return KEEP_OK;
}

/* On the monotonic clock. */
static struct timespec deadline_after(int64_t timeout_ms)
{
	int64_t now_ns = kp_monotonic_ns();

	/* A century is for ever, and cannot overflow. */
	if (timeout_ms > INT64_C(3200000000000))
		timeout_ms = INT64_C(3200000000000);
	now_ns += timeout_ms % 1000 * 1000000;
	return (struct timespec){
		.tv_sec = (time_t)(timeout_ms / 1000 + now_ns / 1000000000),
		.tv_nsec = (long)(now_ns % 1000000000),
	};
}

static keep_status memory_watch_wait(kp_watch *watch, int64_t timeout_ms, bool *changed,
				     keep_error *err)
{
	memory_watch *self = watch_of(watch);
	pthread_mutex_t *mutex = &memory_of(watch->store)->watch_mutex;
	struct timespec deadline = deadline_after(timeout_ms < 0 ? 0 : timeout_ms);
	int result = 0;

	(void)err;
	pthread_mutex_lock(mutex);
	while (!self->changed && !self->cancelled && timeout_ms != 0 && result != ETIMEDOUT) {
		if (timeout_ms < 0)
			result = pthread_cond_wait(&self->wake, mutex);
		else
			result = pthread_cond_timedwait(&self->wake, mutex, &deadline);
	}
	/* A cancelled wait leaves the change for the next one. */
	*changed = self->changed && !self->cancelled;
	if (!self->cancelled)
		self->changed = false;
	self->cancelled = false;
	pthread_mutex_unlock(mutex);
	return KEEP_OK;
}

static void memory_watch_cancel(kp_watch *watch)
{
	memory_watch *self = watch_of(watch);
	pthread_mutex_t *mutex = &memory_of(watch->store)->watch_mutex;

	pthread_mutex_lock(mutex);
	self->cancelled = true;
	pthread_cond_signal(&self->wake);
	pthread_mutex_unlock(mutex);
}

static void memory_watch_close(kp_watch *watch)
{
	memory_watch *self = watch_of(watch), **link;
	memory_store *store = memory_of(watch->store);

	pthread_mutex_lock(&store->watch_mutex);
	for (link = &store->watches; *link != self; link = &(*link)->next)
		continue;
	*link = self->next;
	pthread_mutex_unlock(&store->watch_mutex);
	pthread_cond_destroy(&self->wake);
	kp_free(self);
}

const kp_backend kp_engine_memory = {
	.name = "memory",
	.identify = memory_identify,
	.open = memory_open,
	.close = memory_close,
	.durability = memory_durability,
	.can_extend = true,
	.get = memory_get,
	.list = memory_list,
	.count = memory_count,
	.scan = memory_scan,
	.apply = memory_apply,
	.watch_open = memory_watch_open,
	.watch_wait = memory_watch_wait,
	.watch_cancel = memory_watch_cancel,
	.watch_close = memory_watch_close,
};

/*
 * engine_files_order.c - one folder's order in memory: which children have a value, newest first.
 *
 * A two-level array: blocks of up to BLOCK_ENTRIES pointers, sorted by (mtime, name descending), so
 * that putting, removing and finding the nth newest cost a binary search and one short memmove,
 * also for a history that arrives oldest first. Beside it a hash table by name.
 *
 * Invariants:
 *   1. Every entry is in exactly one block and one bucket; count is their number.
 *   2. No block is empty. Blocks are in order, and so are the entries of each.
 *   3. kp_files_order_put that fails leaves the order as it was.
 *
 * Equal mtimes come from other programs only (a clock of 4 ms); names then make the order definite:
 * listed newest first they ascend, as the source project lists them.
 *
 * Tests: tests/unit/test_engine_files_order.c.
 */
#include "engine/engine_files.h"

#include <string.h>

#define BLOCK_ENTRIES 256
#define BUCKETS_FIRST 16

typedef struct kp_files_block {
	size_t count;
	kp_files_entry *entries[BLOCK_ENTRIES];
} kp_files_block;

/* ---------------------------------------------------------------- places */

static keep_bytes name_of(const kp_files_entry *entry)
{
	return (keep_bytes){entry->name, entry->name_len};
}

/* Below 0 when `entry` comes before the key. An absent name comes before all of its mtime. */
static int compare(const kp_files_entry *entry, int64_t mtime, keep_bytes name)
{
	if (entry->mtime != mtime)
		return entry->mtime < mtime ? -1 : 1;
	return name.data ? -kp_bytes_compare(name_of(entry), name) : 1;
}

/* The first entry that is not before the key: its block and index; block_count when there is none.
 */
static void locate(const kp_files_order *order, int64_t mtime, keep_bytes name, size_t *block,
		   size_t *index)
{
	size_t low = 0, high = order->block_count;
	const kp_files_block *at;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		at = order->blocks[middle];
		if (compare(at->entries[at->count - 1], mtime, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*block = low;
	*index = 0;
	if (low == order->block_count)
		return;
	at = order->blocks[low];
	for (high = at->count, low = 0; low < high;) {
		size_t middle = low + (high - low) / 2;

		if (compare(at->entries[middle], mtime, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*index = low;
}

/* An empty block in the list at `place`; the caller fills it. */
static keep_status add_block(kp_files_order *order, size_t place, keep_error *err)
{
	kp_files_block *block;

	if (order->block_count == order->block_capacity) {
		size_t capacity = order->block_capacity ? 2 * order->block_capacity : 4;
		kp_files_block **grown = kp_realloc(order->blocks, capacity * sizeof *grown);

		if (!grown)
			return kp_fail_memory(err, "a folder's order");
		order->blocks = grown;
		order->block_capacity = capacity;
	}
	block = kp_alloc(sizeof *block);
	if (!block)
		return kp_fail_memory(err, "a folder's order");
	block->count = 0;
	memmove(order->blocks + place + 1, order->blocks + place,
		(order->block_count - place) * sizeof(kp_files_block *));
	order->blocks[place] = block;
	order->block_count++;
	order->bytes += sizeof *block;
	return KEEP_OK;
}

/* Move the upper half of a full block into a new one behind it. */
static keep_status split_block(kp_files_order *order, size_t place, keep_error *err)
{
	keep_status status = add_block(order, place + 1, err);
	kp_files_block *low = order->blocks[place], *high;
	size_t half = BLOCK_ENTRIES / 2;

	if (status != KEEP_OK)
		return status;
	high = order->blocks[place + 1];
	memcpy(high->entries, low->entries + half, (low->count - half) * sizeof *low->entries);
	high->count = low->count - half;
	low->count = half;
	return KEEP_OK;
}

static keep_status insert_sorted(kp_files_order *order, kp_files_entry *entry, keep_error *err)
{
	keep_status status = KEEP_OK;
	kp_files_block *at;
	size_t block, index;

	locate(order, entry->mtime, name_of(entry), &block, &index);
	if (block == order->block_count && block > 0 &&
	    order->blocks[block - 1]->count < BLOCK_ENTRIES)
		index = order->blocks[--block]->count; /* the newest of all: behind the last */
	else if (block == order->block_count)
		status = add_block(order, block, err);
	else if (order->blocks[block]->count == BLOCK_ENTRIES) {
		status = split_block(order, block, err);
		if (status == KEEP_OK && index > order->blocks[block]->count)
			index -= order->blocks[block++]->count;
	}
	if (status != KEEP_OK)
		return status;
	at = order->blocks[block];
	memmove(at->entries + index + 1, at->entries + index,
		(at->count - index) * sizeof *at->entries);
	at->entries[index] = entry;
	at->count++;
	return KEEP_OK;
}

static void remove_sorted(kp_files_order *order, const kp_files_entry *entry)
{
	kp_files_block *at;
	size_t block, index;

	locate(order, entry->mtime, name_of(entry), &block, &index);
	at = order->blocks[block];
	at->count--;
	memmove(at->entries + index, at->entries + index + 1,
		(at->count - index) * sizeof *at->entries);
	if (at->count > 0)
		return;
	order->block_count--;
	memmove(order->blocks + block, order->blocks + block + 1,
		(order->block_count - block) * sizeof(kp_files_block *));
	order->bytes -= sizeof *at;
	kp_free(at);
}

/* ---------------------------------------------------------------- names */

static size_t bucket_of(const kp_files_order *order, keep_bytes name)
{
	return (size_t)kp_siphash(order->hash_key, name) & (order->bucket_count - 1);
}

/* The link that points to the entry of that name, or NULL. */
static kp_files_entry **find_link(const kp_files_order *order, keep_bytes name)
{
	kp_files_entry **link;

	if (order->bucket_count == 0)
		return NULL;
	link = &order->buckets[bucket_of(order, name)];
	while (*link && !kp_bytes_equal(name_of(*link), name))
		link = &(*link)->next;
	return *link ? link : NULL;
}

static keep_status grow_buckets(kp_files_order *order, keep_error *err)
{
	size_t old_count = order->bucket_count;
	size_t count = old_count ? 2 * old_count : BUCKETS_FIRST;
	kp_files_entry **old = order->buckets;
	kp_files_entry **buckets;

	if (order->count < old_count)
		return KEEP_OK;
	buckets = kp_alloc_zero(count * sizeof *buckets);
	if (!buckets)
		return kp_fail_memory(err, "a folder's order");
	order->buckets = buckets;
	order->bucket_count = count;
	order->bytes += (count - old_count) * sizeof *buckets;
	for (size_t i = 0; i < old_count; i++) {
		while (old[i]) {
			kp_files_entry *entry = old[i];
			size_t bucket = bucket_of(order, name_of(entry));

			old[i] = entry->next;
			entry->next = buckets[bucket];
			buckets[bucket] = entry;
		}
	}
	kp_free(old);
	return KEEP_OK;
}

/* ---------------------------------------------------------------- the interface */

keep_status kp_files_order_put(kp_files_order *order, keep_bytes name, int64_t mtime,
			       keep_error *err)
{
	kp_files_entry *made;
	kp_files_entry **link;
	keep_status status;
	size_t bucket;

	link = find_link(order, name);
	if (link && (*link)->mtime == mtime)
		return KEEP_OK;
	status = grow_buckets(order, err);
	if (status != KEEP_OK)
		return status;
	made = kp_alloc(sizeof *made + name.len + 1);
	if (!made)
		return kp_fail_memory(err, "a folder's order");
	made->mtime = mtime;
	made->name_len = (uint16_t)name.len;
	memcpy(made->name, name.data, name.len);
	made->name[name.len] = '\0';
	status = insert_sorted(order, made, err);
	if (status != KEEP_OK) {
		kp_free(made);
		return status;
	}
	kp_files_order_remove(order, name_of(made));
	bucket = bucket_of(order, name_of(made));
	made->next = order->buckets[bucket];
	order->buckets[bucket] = made;
	order->count++;
	order->bytes += sizeof *made + name.len + 16;
	return KEEP_OK;
}

void kp_files_order_remove(kp_files_order *order, keep_bytes name)
{
	kp_files_entry **link = find_link(order, name);
	kp_files_entry *entry;

	if (!link)
		return;
	entry = *link;
	*link = entry->next;
	remove_sorted(order, entry);
	order->count--;
	order->bytes -= sizeof *entry + entry->name_len + 16;
	kp_free(entry);
}

const kp_files_entry *kp_files_order_at(const kp_files_order *order, size_t offset)
{
	for (size_t i = order->block_count; i-- > 0;) {
		const kp_files_block *block = order->blocks[i];

		if (offset < block->count)
			return block->entries[block->count - 1 - offset];
		offset -= block->count;
	}
	return NULL;
}

const kp_files_entry *kp_files_order_below(const kp_files_order *order, int64_t bound, size_t *rank)
{
	size_t block, index, newer = 0;

	locate(order, bound, (keep_bytes){NULL, 0}, &block, &index);
	for (size_t i = block; i < order->block_count; i++)
		newer += order->blocks[i]->count;
	if (rank)
		*rank = newer - index;
	if (index > 0)
		return order->blocks[block]->entries[index - 1];
	if (block == 0)
		return NULL;
	return order->blocks[block - 1]->entries[order->blocks[block - 1]->count - 1];
}

keep_status kp_files_order_copy(const kp_files_order *from, kp_files_order *to, keep_error *err)
{
	keep_status status = KEEP_OK;

	*to = (kp_files_order){.count = 0};
	memcpy(to->hash_key, from->hash_key, sizeof to->hash_key);
	for (size_t i = 0; status == KEEP_OK && i < from->block_count; i++) {
		const kp_files_block *block = from->blocks[i];

		for (size_t j = 0; status == KEEP_OK && j < block->count; j++)
			status = kp_files_order_put(to, name_of(block->entries[j]),
						    block->entries[j]->mtime, err);
	}
	if (status != KEEP_OK)
		kp_files_order_release(to);
	return status;
}

void kp_files_order_release(kp_files_order *order)
{
	for (size_t i = 0; i < order->block_count; i++) {
		for (size_t j = 0; j < order->blocks[i]->count; j++)
			kp_free(order->blocks[i]->entries[j]);
		kp_free(order->blocks[i]);
	}
	kp_free(order->blocks);
	kp_free(order->buckets);
	*order = (kp_files_order){.count = 0};
}

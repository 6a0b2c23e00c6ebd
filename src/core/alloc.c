/*
 * alloc.c - the library's only callers of malloc, realloc and free, and the arena above them.
 *
 * Invariants:
 *   1. live counts blocks that somebody must still free; it is exact, also under threads.
 *   2. One allocation consults the fault point once: here, unless the test program's own malloc
 *      does it already (tests/support/interpose.c).
 *   3. Arena chunks double from CHUNK_FIRST to CHUNK_MAX, and each holds at least two requests, so
 *      small results cost one malloc and large ones one for every 64 KiB. A request too large for
 *      that gets a chunk of its own *behind* the head, so the rest of the head is not lost.
 *   4. Nothing is ever handed out twice, and a zero size still gives a valid address.
 *
 * Tests: tests/unit/test_core_memory.c.
 */
#include "core/core.h"

#include <openssl/crypto.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_FIRST ((size_t)1 << 10) /* bytes, with the header */
#define CHUNK_MAX ((size_t)1 << 16)

struct keep_chunk {
	struct keep_chunk *next;
	size_t size; /* of the whole chunk; the next one doubles it */
	_Alignas(max_align_t) char bytes[];
};

static atomic_long live;

#ifdef KP_FAULTS
static bool refused(void)
{
	return !kp_fault_malloc_interposed && kp_fault(KP_FAULT_ALLOC);
}
#else
static bool refused(void)
{
	return false;
}
#endif

void *kp_alloc(size_t size)
{
	void *ptr = refused() ? NULL : malloc(size ? size : 1);

	if (ptr)
		atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
	return ptr;
}

void *kp_alloc_zero(size_t size)
{
	void *ptr = refused() ? NULL : calloc(1, size ? size : 1);

	if (ptr)
		atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
	return ptr;
}

void *kp_realloc(void *ptr, size_t size)
{
	if (!ptr)
		return kp_alloc(size);
	return refused() ? NULL : realloc(ptr, size ? size : 1);
}

void kp_free(void *ptr)
{
	if (ptr)
		atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
	free(ptr);
}

void kp_wipe(void *ptr, size_t size)
{
	if (ptr && size)
		OPENSSL_cleanse(ptr, size);
}

long kp_alloc_live(void)
{
	return atomic_load_explicit(&live, memory_order_relaxed);
}

/* A chunk with room for `size` bytes that nobody has linked yet. */
static struct keep_chunk *make_chunk(size_t whole)
{
	struct keep_chunk *chunk = kp_alloc(whole);

	if (chunk)
		*chunk = (struct keep_chunk){.size = whole};
	return chunk;
}

/* `size` bytes of a chunk of their own, behind the head. */
static char *take_alone(kp_arena *arena, size_t size)
{
	struct keep_chunk *chunk = make_chunk(sizeof *chunk + size);

	if (!chunk)
		return NULL;
	if (arena->head) {
		chunk->next = arena->head->next;
		arena->head->next = chunk;
	} else {
		/* A head of no room at all: the next request starts the first true chunk. */
		chunk->size = 0;
		arena->head = chunk;
	}
	return chunk->bytes;
}

static bool add_head(kp_arena *arena, size_t whole)
{
	struct keep_chunk *chunk = make_chunk(whole);

	if (!chunk)
		return false;
	chunk->next = arena->head;
	arena->head = chunk;
	arena->at = chunk->bytes;
	arena->end = (char *)chunk + whole;
	return true;
}

/* The size of the next chunk, in which `size` is at most half; 0 when no chunk is so large. */
static size_t choose_chunk_size(const kp_arena *arena, size_t size)
{
	size_t whole = arena->head ? arena->head->size * 2 : 0;

	if (size > (CHUNK_MAX - sizeof(struct keep_chunk)) / 2)
		return 0;
	if (whole < CHUNK_FIRST)
		whole = CHUNK_FIRST;
	while (whole < CHUNK_MAX && size > (whole - sizeof(struct keep_chunk)) / 2)
		whole *= 2;
	return whole < CHUNK_MAX ? whole : CHUNK_MAX;
}

/* `alignment` is a power of two. */
static char *take(kp_arena *arena, size_t size, size_t alignment)
{
	size_t skip = (size_t)(-(uintptr_t)arena->at & (alignment - 1));
	size_t whole;
	char *found;

	if (size == 0)
		size = 1;
	if (size > SIZE_MAX - sizeof(struct keep_chunk))
		return NULL;
	if (!arena->at || skip > (size_t)(arena->end - arena->at) ||
	    size > (size_t)(arena->end - arena->at) - skip) {
		whole = choose_chunk_size(arena, size);
		if (whole == 0)
			return take_alone(arena, size);
		if (!add_head(arena, whole))
			return NULL;
		skip = 0;
	}
	found = arena->at + skip;
	arena->at = found + size;
	return found;
}

void *kp_arena_alloc(kp_arena *arena, size_t size)
{
	return take(arena, size, _Alignof(max_align_t));
}

keep_status kp_arena_copy(kp_arena *arena, keep_bytes from, keep_bytes *out, keep_error *err)
{
	char *bytes;

	*out = (keep_bytes){.data = NULL};
	if (!from.data)
		return KEEP_OK;
	bytes = from.len < SIZE_MAX ? take(arena, from.len + 1, 1) : NULL;
	if (!bytes)
		return kp_fail_memory(err, "a copy of a text");
	memcpy(bytes, from.data, from.len);
	bytes[from.len] = '\0';
	*out = (keep_bytes){bytes, from.len};
	return KEEP_OK;
}

void kp_arena_release(kp_arena *arena)
{
	while (arena->head) {
		struct keep_chunk *next = arena->head->next;

		kp_free(arena->head);
		arena->head = next;
	}
	*arena = (kp_arena){.head = NULL};
}

keep_status kp_text_copy(const char *text, char **out, keep_error *err)
{
	size_t size = text ? strlen(text) + 1 : 0;

	*out = NULL;
	if (!text)
		return KEEP_OK;
	*out = kp_alloc(size);
	if (!*out)
		return kp_fail_memory(err, "a text");
	memcpy(*out, text, size);
	return KEEP_OK;
}

void kp_arena_wipe(kp_arena *arena)
{
	for (struct keep_chunk *chunk = arena->head; chunk; chunk = chunk->next)
		kp_wipe(chunk->bytes, chunk->size - sizeof *chunk);
	kp_arena_release(arena);
}

void keep_memory_release(keep_memory *memory)
{
	kp_arena_release(memory);
}

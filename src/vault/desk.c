/*
 * desk.c - what one encryption at a time works with: ciphers of libcrypto, scratch memory, IVs.
 *
 * Making that anew costs more than a small token does, so a keyring has places for desks. Who
 * works takes one from its place and puts it back; a place is one atomic pointer, so there is no
 * lock to wait for or to be held over a fork. A thread begins to look at a place of its own, and so
 * mostly finds the desk that its processor knows.
 *
 * Invariants:
 *   1. A desk is in one place or taken by one thread, never both: it leaves its place by an
 *      exchange with NULL and comes back by a compare-and-set from NULL.
 *   2. At most PLACES desks are idle. Who finds none makes one; who finds no place frees it.
 *   3. IVs drawn beforehand are in a page that the kernel empties in a child (MADV_WIPEONFORK),
 * count included, so that no two processes use the same ones. Where there is no such page, each IV
 *      is drawn when it is wanted.
 *   4. Scratch holds encrypted bytes only. A large one is not kept.
 *
 * What it does not do: give a forked child the desks that other threads had taken; they are lost to
 * it, a few hundred bytes each. Nor watch for a machine that is copied while it runs.
 *
 * Tests: tests/unit/test_keyring.c (threads, a fork), tests/torture/test_fernet_faults.c.
 */
#include "vault/vault_private.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#define PLACES 16 /* a power of two */
#define SCRATCH_KEPT ((size_t)64 << 10)
#define IVS_OF_PAGE 255

struct kp_iv_page {
	size_t left; /* of `ivs`, the last ones; 0 in a child that was just forked */
	unsigned char ivs[IVS_OF_PAGE][KP_AES_BYTES];
};

struct kp_desks {
	struct {
		_Atomic(kp_desk *) desk;
		char apart[64 - sizeof(_Atomic(kp_desk *))]; /* from the next place's cache line */
	} places[PLACES];
};

/* ---------------------------------------------------------------- IVs */

static struct kp_iv_page *map_page(void)
{
	struct kp_iv_page *page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return NULL;
	if (madvise(page, sizeof *page, MADV_WIPEONFORK) != 0) {
		munmap(page, sizeof *page);
		return NULL;
	}
	return page;
}

keep_status kp_desk_iv(kp_desk *desk, unsigned char iv[KP_AES_BYTES], keep_error *err)
{
	struct kp_iv_page *page = desk->page;
	keep_status status;

	if (!page)
		return kp_random_bytes(iv, KP_AES_BYTES, err);
	if (page->left == 0) {
		status = kp_random_bytes(page->ivs, sizeof page->ivs, err);
		if (status != KEEP_OK)
			return status;
		page->left = IVS_OF_PAGE;
	}
	page->left--;
	memcpy(iv, page->ivs[IVS_OF_PAGE - 1 - page->left], KP_AES_BYTES);
	return KEEP_OK;
}

/* ---------------------------------------------------------------- desks */

static void free_desk(kp_desk *desk, size_t key_count)
{
	if (!desk)
		return;
	for (size_t i = 0; i < 2 * key_count; i++)
		kp_cipher_close(&desk->ciphers[i]);
	if (desk->page)
		munmap(desk->page, sizeof *desk->page);
	keep_buffer_release(&desk->scratch);
	kp_free(desk);
}

keep_status kp_desks_open(struct kp_desks **out, keep_error *err)
{
	*out = kp_alloc(sizeof **out);
	if (!*out)
		return kp_fail_memory(err, "a keyring");
	for (size_t i = 0; i < PLACES; i++)
		atomic_init(&(*out)->places[i].desk, NULL);
	return KEEP_OK;
}

void kp_desks_close(struct kp_desks **desks, size_t key_count)
{
	if (!*desks)
		return;
	for (size_t i = 0; i < PLACES; i++)
		free_desk(atomic_load(&(*desks)->places[i].desk), key_count);
	kp_free(*desks);
	*desks = NULL;
}

/* Where this thread begins to look. */
static size_t own_place(void)
{
	uint64_t thread = (uint64_t)(uintptr_t)pthread_self();

	return (size_t)(thread * UINT64_C(0x9e3779b97f4a7c15) >> 32) % PLACES;
}

keep_status kp_desk_take(const kp_keyring *ring, kp_desk **out, keep_error *err)
{
	size_t own = own_place();

	for (size_t i = 0; i < PLACES; i++) {
		_Atomic(kp_desk *) *place = &ring->desks->places[(own + i) % PLACES].desk;

		/* A look first: an exchange would take the line from those who work there. */
		if (!atomic_load_explicit(place, memory_order_relaxed))
			continue;
		*out = atomic_exchange_explicit(place, NULL, memory_order_acquire);
		if (*out)
			return KEEP_OK;
	}
	*out = kp_alloc_zero(sizeof **out + 2 * ring->count * sizeof(kp_cipher *));
	if (!*out)
		return kp_fail_memory(err, "an encryption");
	(*out)->page = map_page();
	return KEEP_OK;
}

void kp_desk_give(const kp_keyring *ring, kp_desk **desk)
{
	size_t own = own_place();

	if (!*desk)
		return;
	if ((*desk)->scratch.capacity > SCRATCH_KEPT)
		keep_buffer_release(&(*desk)->scratch);
	for (size_t i = 0; i < PLACES; i++) {
		kp_desk *nobody = NULL;

		if (atomic_compare_exchange_strong_explicit(
			    &ring->desks->places[(own + i) % PLACES].desk, &nobody, *desk,
			    memory_order_release, memory_order_relaxed)) {
			*desk = NULL;
			return;
		}
	}
	free_desk(*desk, ring->count);
	*desk = NULL;
}

keep_status kp_desk_cipher(const kp_keyring *ring, kp_desk *desk, size_t index, bool encrypts,
			   kp_cipher **out, keep_error *err)
{
	kp_cipher **cipher = &desk->ciphers[2 * index + encrypts];
	keep_status status = KEEP_OK;

	if (!*cipher)
		status = kp_cipher_open(KP_KEY_SEALING(&ring->keys[index]), encrypts, cipher, err);
	*out = *cipher;
	return status;
}

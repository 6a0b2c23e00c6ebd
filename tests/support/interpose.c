/*
 * interpose.c - lets every allocation of the process fail, whichever library asks for it.
 *
 * libpq and hiredis have no allocator hook. A program's own malloc wins over libc's for all the
 * shared libraries it loads, so this file reaches them too. It must be visible (the build hides
 * symbols) and cannot be used with a sanitizer, which owns malloc itself.
 */
#include "core/core.h"

#include <errno.h>

#pragma GCC visibility push(default)
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *ptr, size_t size);
void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *ptr, size_t size);
#pragma GCC visibility pop

__attribute__((constructor)) static void announce(void)
{
	kp_fault_malloc_interposed = true;
}

static void *out_of_memory(void)
{
	errno = ENOMEM;
	return NULL;
}

void *malloc(size_t size)
{
	return kp_fault(KP_FAULT_ALLOC) ? out_of_memory() : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	return kp_fault(KP_FAULT_ALLOC) ? out_of_memory() : __libc_calloc(count, size);
}

void *realloc(void *ptr, size_t size)
{
	return kp_fault(KP_FAULT_ALLOC) ? out_of_memory() : __libc_realloc(ptr, size);
}

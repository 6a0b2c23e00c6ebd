/* shared_maps.c - see shared_maps.h. The function must be visible, so that libraries find it. */
#include "shared_maps.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

bool no_shared_maps;
int shared_maps;

#pragma GCC visibility push(default)
void *mmap(void *address, size_t len, int protection, int flags, int fd, off_t offset);
#pragma GCC visibility pop

__attribute__((constructor)) static void look_at_environment(void)
{
	no_shared_maps = getenv("KEEP_TEST_NO_MAPS") != NULL;
}

void *mmap(void *address, size_t len, int protection, int flags, int fd, off_t offset)
{
	if ((flags & MAP_TYPE) == MAP_SHARED && fd >= 0) {
		shared_maps++;
		if (no_shared_maps) {
			errno = ENODEV;
			return MAP_FAILED;
		}
	}
	/* NOLINTNEXTLINE: the kernel answers with an address */
	return (void *)syscall(SYS_mmap, address, len, protection, flags, fd, offset);
}

/*
 * rough_world.c - preloaded into a program: a disk that is full and a clock that is wrong, when a
 * small shared file says so.
 *
 *     LD_PRELOAD=…/librough_world.so KEEP_ROUGH_WORLD=FILE program
 *
 * FILE has 16 bytes: an int64 that is not 0 while the disk is full, and an int64 of milliseconds by
 * which the wall clock is ahead. Whoever maps it changes the world of all programs at once. A full
 * disk refuses what makes a file larger or writes into it; what was written before stays. Without
 * FILE nothing is changed.
 *
 * Used by tests/crash/journey_chaos.py. It links nothing of Keep.
 */
#undef _FILE_OFFSET_BITS /* else pwrite is pwrite64 already */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

typedef struct world {
	volatile int64_t is_full;
	volatile int64_t ahead_ms;
} world;

static const world usual;

static const world *look(void)
{
	static const world *volatile known;
	const world *found = known;
	const char *name;
	void *map = MAP_FAILED;
	int fd;

	if (found)
		return found;
	name = getenv("KEEP_ROUGH_WORLD");
	fd = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
	if (fd >= 0) {
		map = mmap(NULL, sizeof(world), PROT_READ, MAP_SHARED, fd, 0);
		close(fd);
	}
	known = map == MAP_FAILED ? &usual : map;
	return known;
}

static int refuses(int fd)
{
	struct stat st;

	if (!look()->is_full || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return 0;
	errno = ENOSPC;
	return 1;
}

/* The next definition of a function, which is the C library's. */
#define NEXT(type, name) ((type)(uintptr_t)dlsym(RTLD_NEXT, name))

typedef ssize_t write_function(int fd, const void *bytes, size_t size);
typedef ssize_t pwrite_function(int fd, const void *bytes, size_t size, off_t at);
typedef int size_function(int fd, off_t size);
typedef int allocate_function(int fd, off_t at, off_t size);
typedef int clock_function(clockid_t clock, struct timespec *out);
typedef int day_function(struct timeval *out, void *zone);

ssize_t write(int fd, const void *bytes, size_t size)
{
	static write_function *next;

	if (!next)
		next = NEXT(write_function *, "write");
	return refuses(fd) ? -1 : next(fd, bytes, size);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at)
{
	static pwrite_function *next;

	if (!next)
		next = NEXT(pwrite_function *, "pwrite");
	return refuses(fd) ? -1 : next(fd, bytes, size, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off_t at)
{
	return pwrite(fd, bytes, size, at);
}

int ftruncate(int fd, off_t size)
{
	static size_function *next;
	struct stat st;

	if (!next)
		next = NEXT(size_function *, "ftruncate");
	if (fstat(fd, &st) == 0 && size > st.st_size && refuses(fd))
		return -1;
	return next(fd, size);
}

int ftruncate64(int fd, off_t size)
{
	return ftruncate(fd, size);
}

int posix_fallocate(int fd, off_t at, off_t size)
{
	static allocate_function *next;

	if (!next)
		next = NEXT(allocate_function *, "posix_fallocate");
	return refuses(fd) ? ENOSPC : next(fd, at, size);
}

int posix_fallocate64(int fd, off_t at, off_t size)
{
	return posix_fallocate(fd, at, size);
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
	static clock_function *next;
	int64_t ahead_ms = look()->ahead_ms;
	int failed;

	if (!next)
		next = NEXT(clock_function *, "clock_gettime");
	failed = next(clock, out);
	if (failed || !ahead_ms || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE))
		return failed;
	out->tv_sec += ahead_ms / 1000;
	return 0;
}

int gettimeofday(struct timeval *out, void *zone)
{
	static day_function *next;

	if (!next)
		next = NEXT(day_function *, "gettimeofday");
	if (next(out, zone) != 0)
		return -1;
	out->tv_sec += look()->ahead_ms / 1000;
	return 0;
}

time_t time(time_t *out)
{
	struct timespec now;
	time_t seconds = clock_gettime(CLOCK_REALTIME, &now) == 0 ? now.tv_sec : (time_t)-1;

	if (out)
		*out = seconds;
	return seconds;
}

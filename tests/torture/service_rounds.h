#ifndef SERVICE_ROUNDS_H
#define SERVICE_ROUNDS_H
/*
 * service_rounds.h - what a round with a failing service may not leave behind: blocks, threads,
 * descriptors; and which rounds there are.
 *
 *     rounds_before before = rounds_look();
 *     …                                     start, fail, stop
 *     rounds_compare(&before, nth);
 *
 * KEEP_TORTURE=all: the first fifty, and then each a fiftieth further: what fails after thousands
 * of others is not the same in two rounds, for the threads of a service take turns as they like.
 * Else the first five, and then each twice as far.
 */
#include "journey_fixture.h"
#include "torture.h"

#include <dirent.h>

typedef struct rounds_before {
	long blocks;
	int threads, descriptors;
} rounds_before;

static inline bool wants_all(void)
{
	const char *wanted = getenv("KEEP_TORTURE");

	return wanted && strcmp(wanted, "all") == 0;
}

static inline long next_round(long nth)
{
	if (nth < (wants_all() ? 50 : 5))
		return nth + 1;
	return wants_all() ? nth + 1 + nth / 50 : nth * 2 - 1;
}

static inline int rounds_entries(const char *path)
{
	DIR *entries = opendir(path);
	int count = 0;

	CHECK(entries, "%s", path);
	while (readdir(entries))
		count++;
	closedir(entries);
	return count;
}

static inline rounds_before rounds_look(void)
{
	return (rounds_before){.blocks = kp_alloc_live(),
			       .threads = rounds_entries("/proc/self/task"),
			       .descriptors = rounds_entries("/proc/self/fd")};
}

static inline void rounds_compare(const rounds_before *before, long nth)
{
	/* A joined thread is seen in /proc for a moment more. */
	EVENTUALLY(rounds_entries("/proc/self/task") <= before->threads);
	CHECK(rounds_entries("/proc/self/fd") == before->descriptors,
	      "failure %ld left %d descriptors", nth,
	      rounds_entries("/proc/self/fd") - before->descriptors);
	CHECK(kp_alloc_live() == before->blocks, "failure %ld left %ld blocks", nth,
	      kp_alloc_live() - before->blocks);
}

#endif

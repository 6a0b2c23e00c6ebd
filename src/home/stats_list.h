#ifndef KP_STATS_LIST_H
#define KP_STATS_LIST_H
/*
 * stats_list.h - the list of a home's numbers while it is made (stats_list.c).
 */
#include "home/home_private.h"

typedef struct kp_stats {
	kp_home_side side;
	const char *store;
	keep_stats_result list;
	size_t room;
	int64_t sessions_max;
	size_t sessions_first; /* where the sums of all sessions begin in the list */
} kp_stats;

/* The texts are copied. */
keep_status kp_stats_add(kp_stats *stats, keep_bytes name, keep_bytes part, int64_t value,
			 bool is_time, keep_error *err) KEEP_MUST_CHECK;
/* Those from `first` on are of one of several: `part` becomes their part, or stands before it. */
keep_status kp_stats_name_parts(kp_stats *stats, size_t first, keep_bytes part,
				keep_error *err) KEEP_MUST_CHECK;
/* Those from `from` on are added to those between `first` and it, or stay when they are new:
   numbers as a sum, times as the earliest. */
void kp_stats_merge(kp_stats *stats, size_t first, size_t from);

#endif

#ifndef KEEP_WAL_RACE_VFS_H
#define KEEP_WAL_RACE_VFS_H
/*
 * wal_race_vfs.h - run a callback inside SQLite's checkpoint, where the WAL-reset race is.
 */
#include <stdbool.h>

/* Make it the default VFS. */
void wal_race_install(void);
/* The next checkpoint whose connection has not yet seen the newest commit calls `callback` once,
   between its read of the wal-index header and its copy loop. */
void wal_race_arm(void (*callback)(void *ctx), void *ctx);
/* Whether the callback ran since it was armed. Disarms. */
bool wal_race_fired(void);

#endif

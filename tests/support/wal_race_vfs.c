/*
 * wal_race_vfs.c - the WAL-reset race of SQLite before 3.51.3, on demand.
 *
 * What goes wrong (wal.c, walCheckpoint and walRestartLog):
 *
 *   1. The log has M frames and all are copied: nBackfill = mxFrame = M.
 *   2. A checkpointer C takes the checkpoint lock and reads the header into its own memory:
 *      mxFrame = M. It takes no lock that keeps writers out.
 *   3. A writer W finds the log copied and unread, and begins it anew: mxFrame = nBackfill = 0, new
 *      salt. It commits K < M frames.
 *   4. C goes on. It compares the shared nBackfill (0) with its own mxFrame (M), believes that
 * there is work, copies frames 1..K (which are W's, and right) and stores nBackfill = M.
 *   5. W commits frames K+1..M and beyond. No checkpoint will ever copy K+1..M, because nBackfill
 *      says that they are copied; and when mxFrame is exactly M, readers go past the log to the
 *      database file already. Those commits are lost when the log begins anew. The pages in
 *      the database file are merely old, so integrity_check finds nothing.
 *
 * Between 2 and 4 SQLite makes one call that a VFS sees: when the header has changed since C last
 * read it, xUnfetch drops C's mapping of the database file. There the callback runs.
 */
#include "wal_race_vfs.h"

#include "keep_test.h"
#include "shim_vfs.h"

#include <stdatomic.h>

enum { CHECKPOINT_LOCK = 1 }; /* WAL_CKPT_LOCK in wal.c */

static struct {
	void (*callback)(void *ctx);
	void *ctx;
	atomic_bool in_checkpoint; /* of the one connection that checkpoints while it is armed */
	bool fired;
} race;

static int watch(enum shim_operation operation, int detail)
{
	void (*callback)(void *ctx) = race.callback;

	if (operation == SHIM_SHM_LOCK && detail == CHECKPOINT_LOCK)
		race.in_checkpoint = true;
	if (operation == SHIM_SHM_UNLOCK && detail == CHECKPOINT_LOCK)
		race.in_checkpoint = false;
	if (operation == SHIM_UNFETCH_ALL && race.in_checkpoint && callback) {
		race.callback = NULL; /* what it does may checkpoint, too */
		race.fired = true;
		callback(race.ctx);
	}
	return SQLITE_OK;
}

void wal_race_install(void)
{
	shim_vfs_install(watch);
}

void wal_race_arm(void (*callback)(void *ctx), void *ctx)
{
	race.callback = callback;
	race.ctx = ctx;
	race.in_checkpoint = false;
	race.fired = false;
}

bool wal_race_fired(void)
{
	race.callback = NULL;
	return race.fired;
}

#ifndef KEEP_SHIM_VFS_H
#define KEEP_SHIM_VFS_H
/*
 * shim_vfs.h - a SQLite VFS that asks the test before each file operation.
 *
 * It passes everything through to the system's VFS, the shared memory of WAL included.
 */
#include <sqlite3.h>

enum shim_operation {
	SHIM_OPEN,
	SHIM_DELETE,
	SHIM_ACCESS,
	SHIM_READ,
	SHIM_WRITE,
	SHIM_TRUNCATE,
	SHIM_SYNC,
	SHIM_SIZE,
	SHIM_SHM_MAP,
	SHIM_SHM_LOCK,   /* detail: the lock's number */
	SHIM_SHM_UNLOCK, /* detail: the lock's number */
	SHIM_UNFETCH_ALL /* SQLite drops its mapping of the database file */
};

/* Make it the default VFS. `before` returns SQLITE_OK to go on, or the code to fail with. */
void shim_vfs_install(int (*before)(enum shim_operation operation, int detail));

#endif

/*
 * shim_vfs.c - the pass-through under sqlite_faults.c and wal_race_vfs.c.
 *
 * The shim's file is a method table and a pointer; SQLite's own file lies behind it in the same
 * block.
 */
#include "shim_vfs.h"

#include "keep_test.h"

struct file {
	sqlite3_file base;
	sqlite3_file *inner;
};

static sqlite3_vfs *system_vfs;
static sqlite3_vfs shim;
static int (*ask)(enum shim_operation operation, int detail);

static sqlite3_file *inner(sqlite3_file *file)
{
	return ((struct file *)(void *)file)->inner;
}

static int f_close(sqlite3_file *f)
{
	return inner(f)->pMethods->xClose(inner(f));
}

static int f_read(sqlite3_file *f, void *out, int size, sqlite3_int64 at)
{
	int rc = ask(SHIM_READ, 0);

	return rc != SQLITE_OK ? rc : inner(f)->pMethods->xRead(inner(f), out, size, at);
}

static int f_write(sqlite3_file *f, const void *bytes, int size, sqlite3_int64 at)
{
	int rc = ask(SHIM_WRITE, 0);

	return rc != SQLITE_OK ? rc : inner(f)->pMethods->xWrite(inner(f), bytes, size, at);
}

static int f_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	int rc = ask(SHIM_TRUNCATE, 0);

	return rc != SQLITE_OK ? rc : inner(f)->pMethods->xTruncate(inner(f), size);
}

static int f_sync(sqlite3_file *f, int flags)
{
	int rc = ask(SHIM_SYNC, 0);

	return rc != SQLITE_OK ? rc : inner(f)->pMethods->xSync(inner(f), flags);
}

static int f_size(sqlite3_file *f, sqlite3_int64 *size)
{
	int rc = ask(SHIM_SIZE, 0);

	return rc != SQLITE_OK ? rc : inner(f)->pMethods->xFileSize(inner(f), size);
}

static int f_lock(sqlite3_file *f, int level)
{
	return inner(f)->pMethods->xLock(inner(f), level);
}

static int f_unlock(sqlite3_file *f, int level)
{
	return inner(f)->pMethods->xUnlock(inner(f), level);
}

static int f_check_reserved(sqlite3_file *f, int *out)
{
	return inner(f)->pMethods->xCheckReservedLock(inner(f), out);
}

static int f_control(sqlite3_file *f, int operation, void *arg)
{
	return inner(f)->pMethods->xFileControl(inner(f), operation, arg);
}

static int f_sector_size(sqlite3_file *f)
{
	return inner(f)->pMethods->xSectorSize(inner(f));
}

static int f_device(sqlite3_file *f)
{
	return inner(f)->pMethods->xDeviceCharacteristics(inner(f));
}

static int f_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **out)
{
	int rc = ask(SHIM_SHM_MAP, page);

	*out = NULL;
	return rc != SQLITE_OK ? rc
			       : inner(f)->pMethods->xShmMap(inner(f), page, size, extend, out);
}

static int f_shm_lock(sqlite3_file *f, int offset, int count, int flags)
{
	int rc = ask(flags & SQLITE_SHM_UNLOCK ? SHIM_SHM_UNLOCK : SHIM_SHM_LOCK, offset);

	return rc != SQLITE_OK ? rc : inner(f)->pMethods->xShmLock(inner(f), offset, count, flags);
}

static void f_shm_barrier(sqlite3_file *f)
{
	inner(f)->pMethods->xShmBarrier(inner(f));
}

static int f_shm_unmap(sqlite3_file *f, int remove_it)
{
	return inner(f)->pMethods->xShmUnmap(inner(f), remove_it);
}

static int f_fetch(sqlite3_file *f, sqlite3_int64 at, int size, void **out)
{
	return inner(f)->pMethods->xFetch(inner(f), at, size, out);
}

static int f_unfetch(sqlite3_file *f, sqlite3_int64 at, void *page)
{
	int rc = page ? SQLITE_OK : ask(SHIM_UNFETCH_ALL, 0);

	return rc != SQLITE_OK ? rc : inner(f)->pMethods->xUnfetch(inner(f), at, page);
}

static const sqlite3_io_methods methods = {
	.iVersion = 3,
	.xClose = f_close,
	.xRead = f_read,
	.xWrite = f_write,
	.xTruncate = f_truncate,
	.xSync = f_sync,
	.xFileSize = f_size,
	.xLock = f_lock,
	.xUnlock = f_unlock,
	.xCheckReservedLock = f_check_reserved,
	.xFileControl = f_control,
	.xSectorSize = f_sector_size,
	.xDeviceCharacteristics = f_device,
	.xShmMap = f_shm_map,
	.xShmLock = f_shm_lock,
	.xShmBarrier = f_shm_barrier,
	.xShmUnmap = f_shm_unmap,
	.xFetch = f_fetch,
	.xUnfetch = f_unfetch,
};

static int v_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *f, int flags, int *out)
{
	struct file *file = (struct file *)(void *)f;
	int rc = ask(SHIM_OPEN, 0);

	(void)vfs;
	file->base.pMethods = NULL;
	if (rc != SQLITE_OK)
		return rc;
	file->inner = (sqlite3_file *)(void *)(file + 1);
	rc = system_vfs->xOpen(system_vfs, name, file->inner, flags, out);
	if (file->inner->pMethods)
		file->base.pMethods = &methods;
	return rc;
}

static int v_delete(sqlite3_vfs *vfs, const char *name, int sync_folder)
{
	int rc = ask(SHIM_DELETE, 0);

	(void)vfs;
	return rc != SQLITE_OK ? rc : system_vfs->xDelete(system_vfs, name, sync_folder);
}

static int v_access(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
	int rc = ask(SHIM_ACCESS, 0);

	(void)vfs;
	*out = 0;
	return rc != SQLITE_OK ? rc : system_vfs->xAccess(system_vfs, name, flags, out);
}

void shim_vfs_install(int (*before)(enum shim_operation operation, int detail))
{
	ask = before;
	if (system_vfs)
		return;
	CHECK(sqlite3_initialize() == SQLITE_OK, "initialize");
	system_vfs = sqlite3_vfs_find(NULL);
	shim = *system_vfs; /* what is not replaced does not look at its VFS argument */
	shim.zName = "keep-shim";
	shim.szOsFile = (int)sizeof(struct file) + system_vfs->szOsFile;
	shim.xOpen = v_open;
	shim.xDelete = v_delete;
	shim.xAccess = v_access;
	CHECK(sqlite3_vfs_register(&shim, 1) == SQLITE_OK, "register");
}

/*
 * sqlite_seal.c - the SQLite driver: every page that goes into a database file gets its checksum.
 *
 * SQLite has no page checksums. So its driver works through a file system of its own, one layer
 * over the default one, which does two things with database files that have 8 reserved bytes in
 * each page (byte 20 of their header), and passes everything else through:
 *
 *     xWrite of a page   writes a copy of it that ends with its seal (page_seal.c)
 *     xRead of a page    gives the reserved bytes as zeros
 *
 * In WAL mode the database file is written by checkpoints alone: so a commit costs nothing more.
 * Reads verify nothing and mapped pages are passed on as they are; sqlite_inspect.c looks at seals.
 *
 * Why reading gives zeros: a page that is to be changed is read with xRead, never mapped, and is
 * then written to the log or the journal whole. So what this process puts there has no seal, rather
 * than the seal of what the page was before; and when another program checkpoints it into the file,
 * or rolls it back, the page has none, which is honest, instead of a wrong one, which would be
 * taken for damage.
 *
 * Invariants:
 *   1. SQLite's own buffers are never changed but for those bytes of a page it has just read.
 *   2. A seal that is written belongs to exactly the bytes that are written with it, in one write.
 *   3. Whether a file has seals is what its first page says, read or written last. A checkpoint
 * looks again, for another process may have rewritten the file since.
 *   4. Below is whatever was the default file system when the file was opened; this one never is
 * the default. It is registered once and stays, as connections refer to it (so the one static).
 *
 * What it does not do: seal the log, which has SQLite's own checksums, or a journal.
 *
 * Tests: tests/contract/test_page_seals.c, tests/torture/test_page_seal_faults.c.
 */
#include "sql/sqlite_driver.h"
#include "sql/sqlite_files.h"

#include <string.h>

static const char vfs_name[] = "keep-seal";

enum { HEADER_BYTES = 100 };

struct seal_file {
	sqlite3_file base;
	sqlite3_file *inner; /* owned */
	char *copy;          /* a page being written; owned, made when first needed */
	uint32_t copy_bytes;
	bool is_main;        /* a database file */
	bool is_known;       /* its header was seen */
	bool is_sealed;      /* as it says */
	bool looks_again;    /* before the next write: invariant 3 */
	uint32_t page_bytes; /* 0, with is_sealed: any */
};

static struct seal_file *seal_of(sqlite3_file *file)
{
	return (struct seal_file *)(void *)file;
}

static sqlite3_file *inner(sqlite3_file *file)
{
	return seal_of(file)->inner;
}

/* ---------------------------------------------------------------- what the header says */

static void learn(struct seal_file *file, const unsigned char *header)
{
	uint32_t page_bytes;
	unsigned reserved;

	if (!kp_seal_header(header, &page_bytes, &reserved))
		return;
	file->is_known = true;
	file->looks_again = false;
	file->is_sealed = reserved == KP_SEAL_BYTES;
	file->page_bytes = page_bytes;
}

static void learn_from_file(struct seal_file *file)
{
	unsigned char header[HEADER_BYTES];

	file->looks_again = false;
	if (file->inner->pMethods->xRead(file->inner, header, sizeof header, 0) == SQLITE_OK)
		learn(file, header);
}

static bool is_page(const struct seal_file *file, int size, sqlite3_int64 at)
{
	if (!file->is_sealed || size < 512 || at % size != 0)
		return false;
	return file->page_bytes == 0 ? kp_page_size_is_valid((uint32_t)size)
				     : (uint32_t)size == file->page_bytes;
}

/* ---------------------------------------------------------------- the two methods that do more */

static int f_read(sqlite3_file *f, void *out, int size, sqlite3_int64 at)
{
	struct seal_file *file = seal_of(f);
	int rc = file->inner->pMethods->xRead(file->inner, out, size, at);

	if (!file->is_main || rc != SQLITE_OK)
		return rc;
	if (at == 0 && size >= HEADER_BYTES)
		learn(file, out);
	if (is_page(file, size, at))
		memset((char *)out + size - KP_SEAL_BYTES, 0, KP_SEAL_BYTES);
	return rc;
}

static int f_write(sqlite3_file *f, const void *bytes, int size, sqlite3_int64 at)
{
	struct seal_file *file = seal_of(f);
	const void *from = bytes;

	if (file->is_main && at == 0 && size >= HEADER_BYTES)
		learn(file, bytes);
	else if (file->is_main && (!file->is_known || file->looks_again))
		learn_from_file(file);
	if (file->is_main && is_page(file, size, at)) {
		if (file->copy_bytes < (uint32_t)size) {
			kp_free(file->copy);
			file->copy_bytes = 0;
			file->copy = kp_alloc((size_t)size);
			if (!file->copy)
				return SQLITE_IOERR_NOMEM;
			file->copy_bytes = (uint32_t)size;
		}
		memcpy(file->copy, bytes, (size_t)size);
		kp_seal_put(file->copy, (size_t)size, (uint32_t)(at / size) + 1);
		from = file->copy;
	}
	return file->inner->pMethods->xWrite(file->inner, from, size, at);
}

/* ---------------------------------------------------------------- what is passed through */

static int f_close(sqlite3_file *f)
{
	struct seal_file *file = seal_of(f);
	int rc = file->inner->pMethods->xClose(file->inner);

	kp_free(file->inner);
	kp_free(file->copy);
	file->inner = NULL;
	file->copy = NULL;
	return rc;
}

static int f_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	return inner(f)->pMethods->xTruncate(inner(f), size);
}

static int f_sync(sqlite3_file *f, int flags)
{
	return inner(f)->pMethods->xSync(inner(f), flags);
}

static int f_size(sqlite3_file *f, sqlite3_int64 *size)
{
	return inner(f)->pMethods->xFileSize(inner(f), size);
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
	if (operation == SQLITE_FCNTL_CKPT_START)
		seal_of(f)->looks_again = true;
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
	return inner(f)->pMethods->xShmMap(inner(f), page, size, extend, out);
}

static int f_shm_lock(sqlite3_file *f, int offset, int count, int flags)
{
	return inner(f)->pMethods->xShmLock(inner(f), offset, count, flags);
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
	return inner(f)->pMethods->xUnfetch(inner(f), at, page);
}

#define METHODS(version)                                                                           \
	{                                                                                          \
		.iVersion = (version), .xClose = f_close, .xRead = f_read, .xWrite = f_write,      \
		.xTruncate = f_truncate, .xSync = f_sync, .xFileSize = f_size, .xLock = f_lock,    \
		.xUnlock = f_unlock, .xCheckReservedLock = f_check_reserved,                       \
		.xFileControl = f_control, .xSectorSize = f_sector_size,                           \
		.xDeviceCharacteristics = f_device, .xShmMap = f_shm_map, .xShmLock = f_shm_lock,  \
		.xShmBarrier = f_shm_barrier, .xShmUnmap = f_shm_unmap, .xFetch = f_fetch,         \
		.xUnfetch = f_unfetch                                                              \
	}

/* By the version that the file below has: SQLite asks no more of ours. */
static const sqlite3_io_methods methods[] = {METHODS(1), METHODS(2), METHODS(3)};

/* ---------------------------------------------------------------- the file system */

static sqlite3_vfs *below(void)
{
	return sqlite3_vfs_find(NULL);
}

static int v_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *f, int flags, int *out)
{
	struct seal_file *file = seal_of(f);
	sqlite3_vfs *real = below();
	size_t version;
	int rc;

	(void)vfs;
	*file = (struct seal_file){.is_main = flags & SQLITE_OPEN_MAIN_DB};
	file->inner = kp_alloc_zero((size_t)real->szOsFile);
	if (!file->inner)
		return SQLITE_NOMEM;
	rc = real->xOpen(real, name, file->inner, flags, out);
	if (rc == SQLITE_OK && file->inner->pMethods) {
		version = (size_t)file->inner->pMethods->iVersion;
		file->base.pMethods = &methods[version < 3 ? version - 1 : 2];
		return SQLITE_OK;
	}
	if (file->inner->pMethods)
		(void)file->inner->pMethods->xClose(file->inner);
	kp_free(file->inner);
	file->inner = NULL;
	return rc == SQLITE_OK ? SQLITE_CANTOPEN : rc;
}

static int v_delete(sqlite3_vfs *vfs, const char *name, int sync_folder)
{
	sqlite3_vfs *real = below();

	(void)vfs;
	return real->xDelete(real, name, sync_folder);
}

static int v_access(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
	sqlite3_vfs *real = below();

	(void)vfs;
	return real->xAccess(real, name, flags, out);
}

static int v_full_path(sqlite3_vfs *vfs, const char *name, int size, char *out)
{
	sqlite3_vfs *real = below();

	(void)vfs;
	return real->xFullPathname(real, name, size, out);
}

/* What is copied from the default one does not look at its first argument, or finds in it what it
   would find in its own. */
sqlite3_vfs *kp_seal_vfs(void)
{
	static sqlite3_vfs seal;
	sqlite3_mutex *mutex;
	sqlite3_vfs *found = sqlite3_vfs_find(vfs_name); /* which initialises SQLite */

	if (found || !below())
		return found;
	mutex = sqlite3_mutex_alloc(SQLITE_MUTEX_STATIC_VFS1);
	sqlite3_mutex_enter(mutex);
	found = sqlite3_vfs_find(vfs_name);
	if (!found) {
		seal = *below();
		seal.pNext = NULL;
		seal.zName = vfs_name;
		seal.szOsFile = (int)sizeof(struct seal_file);
		seal.xOpen = v_open;
		seal.xDelete = v_delete;
		seal.xAccess = v_access;
		seal.xFullPathname = v_full_path;
		if (sqlite3_vfs_register(&seal, 0) == SQLITE_OK)
			found = &seal;
	}
	sqlite3_mutex_leave(mutex);
	return found;
}

int kp_seal_open(const char *path, sqlite3 **out, int flags)
{
	*out = NULL;
	return kp_seal_vfs() ? sqlite3_open_v2(path, out, flags, vfs_name) : SQLITE_NOMEM;
}

/* ---------------------------------------------------------------- asked by the driver */

static struct seal_file *find_file(sqlite3 *db, const char *schema)
{
	sqlite3_file *file = NULL;

	if (sqlite3_file_control(db, schema, SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK ||
	    !file || !file->pMethods || file->pMethods->xRead != f_read)
		return NULL;
	return seal_of(file);
}

bool kp_seal_is_on(sqlite3 *db, const char *schema)
{
	struct seal_file *file = find_file(db, schema);

	if (file && !file->is_known)
		learn_from_file(file);
	return file && file->is_sealed;
}

void kp_seal_expect(sqlite3 *db)
{
	struct seal_file *file = find_file(db, "main");

	if (!file || file->is_known)
		return;
	file->is_known = file->is_sealed = true;
}

sqlite3_file *kp_seal_below(sqlite3_file *file)
{
	return file->pMethods && file->pMethods->xRead == f_read ? inner(file) : file;
}

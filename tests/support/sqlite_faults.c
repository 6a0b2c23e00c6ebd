/*
 * sqlite_faults.c - an allocator hook and a VFS shim.
 *
 * Where interpose.c is linked it makes malloc itself fail; the hook is then quiet, so that one
 * allocation counts once.
 */
#include "sqlite_faults.h"

#include "keep_test.h"
#include "shim_vfs.h"

#include <errno.h>

static sqlite3_mem_methods system_memory;
static int write_code = SQLITE_FULL;

static bool out_of_memory(void)
{
	return !kp_fault_malloc_interposed && kp_fault(KP_FAULT_ALLOC);
}

static void *fault_malloc(int size)
{
	return out_of_memory() ? NULL : system_memory.xMalloc(size);
}

static void *fault_realloc(void *block, int size)
{
	return out_of_memory() ? NULL : system_memory.xRealloc(block, size);
}

static int fault_file(enum shim_operation operation, int detail)
{
	const int codes[] = {
		[SHIM_OPEN] = SQLITE_CANTOPEN,
		[SHIM_DELETE] = SQLITE_IOERR_DELETE,
		[SHIM_ACCESS] = SQLITE_IOERR_ACCESS,
		[SHIM_READ] = SQLITE_IOERR_READ,
		[SHIM_WRITE] = write_code,
		[SHIM_TRUNCATE] = SQLITE_IOERR_TRUNCATE,
		[SHIM_SYNC] = SQLITE_IOERR_FSYNC,
		[SHIM_SIZE] = SQLITE_IOERR_FSTAT,
		[SHIM_SHM_MAP] = SQLITE_IOERR_SHMMAP,
		[SHIM_SHM_LOCK] = SQLITE_OK, /* "busy" is an answer, not a failure */
		[SHIM_SHM_UNLOCK] = SQLITE_OK,
		[SHIM_UNFETCH_ALL] = SQLITE_OK,
	};

	(void)detail;
	if (codes[operation] == SQLITE_OK || !kp_fault(KP_FAULT_FILE))
		return SQLITE_OK;
	errno = EIO; /* which the driver reads, too */
	return codes[operation];
}

void sqlite_faults_set_write_code(int code)
{
	write_code = code;
}

void sqlite_faults_install(void)
{
	sqlite3_mem_methods memory;

	/* Lookaside memory would hide allocations from the hook. */
	CHECK(sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) == SQLITE_OK, "lookaside");
	CHECK(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &system_memory) == SQLITE_OK, "getmalloc");
	memory = system_memory;
	memory.xMalloc = fault_malloc;
	memory.xRealloc = fault_realloc;
	CHECK(sqlite3_config(SQLITE_CONFIG_MALLOC, &memory) == SQLITE_OK, "malloc");
	shim_vfs_install(fault_file);
}

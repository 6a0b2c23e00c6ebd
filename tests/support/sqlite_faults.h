#ifndef KEEP_SQLITE_FAULTS_H
#define KEEP_SQLITE_FAULTS_H
/*
 * sqlite_faults.h - shims under SQLite that make its own error paths run.
 *
 * Faults at the doors of sql never reach the code behind a real failure of SQLite. These make
 * SQLite's allocations (KP_FAULT_ALLOC) and its file calls (KP_FAULT_FILE) fail, in one count with
 * the library's own.
 */

/* Before the first other use of SQLite in the process. */
void sqlite_faults_install(void);
/* What a failed write returns: SQLITE_FULL (the default) or SQLITE_IOERR_WRITE. */
void sqlite_faults_set_write_code(int code);

#endif

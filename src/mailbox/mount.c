/*
 * mount.c - which journal a session's files use: whether its two sides have common memory.
 *
 *     one kernel        both files in WAL mode, handles that stay open, bells
 *     a border between  rollback journals, no shared maps; a handle lives for one use
 *
 * The border is a virtual machine's or a network file system's. Either side may find it, from where
 * it stands: the type of the file system; a file mapped twice, written through one map and read
 * through the other and by a call; another kernel's boot id in what the host left in `.host`. What
 * was found is said by the file `.mount-safe` in the session's folder, which both sides look for
 * whenever they use the session. It stays: who knows better removes it while nobody has the session
 * open.
 *
 *     agent                                     host
 *     finds a border
 *     makes .mount-safe, rings ───────────────> at the next use: closes what is open,
 *     waits until inbound.db has no log <────── inbound.db gets a rollback journal
 *     outbound.db gets a rollback journal       opens for each use, and closes
 *
 * A host that knows only the source's tables works that way by itself, and reads no file of ours
 * but one with a rollback journal; its agent's side does too.
 *
 * Invariants:
 *   1. What cannot be made safe is refused: an agent that finds a border and a log behind it
 * answers UNAVAILABLE, and never reads that log.
 *   2. A lack of space or memory is told as what it is and is no border.
 *   3. Whatever lies under our names in the folder, which the other side can write, is never
 *      followed nor waited on.
 *
 * What it does not do: find a border that hides all of that; keep_mailbox_options.mount_safe is for
 * it.
 *
 * Tests: tests/contract/test_mailbox_mounts.c.
 */
#include "mailbox/mailbox_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

enum { PROBE_BYTES = 4096, ID_BYTES_MAX = 64, NAP_MS = 10 };

/* File systems whose files several kernels may write, as statfs names them. */
static const uint32_t crossing[] = {
	0x6969,     /* nfs */
	0x517b,     /* smb */
	0xfe534d42, /* smb2 */
	0xff534d42, /* cifs */
	0x01021997, /* 9p */
	0x65735546, /* fuse, virtiofs */
	0x786f4256, /* vboxsf */
	0xbacbacbc, /* vmhgfs */
	0x7c7c6673, /* prl_fs */
	0x5346414f, /* afs */
	0x73757245, /* coda */
	0x00c36400, /* ceph */
	0x01161970, /* gfs2 */
	0x7461636f, /* ocfs2 */
	0x0bd00bd0, /* lustre */
	0x47504653, /* gpfs */
};

bool kp_mount_type_crosses(uint32_t type)
{
	for (size_t i = 0; i < KP_COUNT(crossing); i++)
		if (crossing[i] == type)
			return true;
	return false;
}

/* ---------------------------------------------------------------- shared maps */

/* Is what is written in any of three ways read in the other two? */
static bool agrees(int fd, volatile char *one, volatile char *two)
{
	char byte = 0;

	one[0] = 'a';
	if (two[0] != 'a' || pread(fd, &byte, 1, 0) != 1 || byte != 'a')
		return false;
	byte = 'b';
	if (pwrite(fd, &byte, 1, 1) != 1 || one[1] != 'b' || two[1] != 'b')
		return false;
	two[2] = 'c';
	return one[2] == 'c' && pread(fd, &byte, 1, 2) == 1 && byte == 'c';
}

static bool is_shortage(int errnum)
{
	return errnum == ENOMEM || errnum == ENOSPC || errnum == EDQUOT || errnum == EMFILE ||
	       errnum == ENFILE || errnum == EAGAIN;
}

static keep_status probe_maps(int fd, bool *works, keep_error *err)
{
	void *one = MAP_FAILED, *two = MAP_FAILED;
	keep_status status = kp_file_write_at(fd, KEEP_BYTES("keep"), PROBE_BYTES - 4, err);

	*works = false;
	if (status != KEEP_OK)
		return status;
	one = mmap(NULL, PROBE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (one != MAP_FAILED)
		two = mmap(NULL, PROBE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (one != MAP_FAILED && two != MAP_FAILED)
		*works = agrees(fd, one, two);
	else if (is_shortage(errno))
		status = kp_fail_errno(err, errno, "map a file");
	if (one != MAP_FAILED)
		(void)munmap(one, PROBE_BYTES);
	if (two != MAP_FAILED)
		(void)munmap(two, PROBE_BYTES);
	return status;
}

keep_status kp_mount_look(const char *folder, bool *shares_maps, keep_error *err)
{
	static atomic_uint number;
	char path[PATH_MAX];
	struct statfs fs;
	int fd = -1;
	keep_status status;

	*shares_maps = false;
	if (statfs(folder, &fs) != 0)
		return kp_fail_errno(err, errno, "look at '%s'", folder);
	if (kp_mount_type_crosses((uint32_t)fs.f_type))
		return KEEP_OK;
	if (snprintf(path, sizeof path, "%s/.probe-%ld-%u", folder, (long)getpid(),
		     atomic_fetch_add(&number, 1)) >= (int)sizeof path)
		return kp_fail(err, KEEP_INVALID, "the path '%.100s...' is too long", folder);
	(void)unlink(path); /* a killed process's, whose number is ours now */
	status = kp_file_open(AT_FDCWD, path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, &fd,
			      err);
	if (status != KEEP_OK)
		return status;
	(void)unlink(path);
	status = probe_maps(fd, shares_maps, err);
	kp_file_close(&fd);
	return status;
}

/* ---------------------------------------------------------------- small files in the folder */

/* Up to ID_BYTES_MAX bytes of a plain file; "" when there is none. Invariant 3. */
static void read_small(const char *path, char out[ID_BYTES_MAX + 1])
{
	struct stat st;
	ssize_t len = 0;
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		len = pread(fd, out, ID_BYTES_MAX, 0);
	else if (fd >= 0 && strncmp(path, "/proc/", 6) == 0)
		len = read(fd, out, ID_BYTES_MAX);
	if (fd >= 0)
		(void)close(fd);
	out[len > 0 ? len : 0] = '\0';
	out[strcspn(out, "\n")] = '\0';
}

/* Anew, so that nothing that lies there is written to. */
static keep_status write_small(const char *path, keep_bytes text, keep_error *err)
{
	int fd = -1;
	keep_status status;

	(void)unlink(path);
	status = kp_file_open(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644, &fd,
			      err);
	if (status == KEEP_OK && text.len) {
		status = kp_file_write_at(fd, text, 0, err);
		if (status != KEEP_OK)
			(void)unlink(path); /* half of an id is another kernel's */
	}
	kp_file_close(&fd);
	return status;
}

static keep_status join(const char *folder, const char *name, char path[PATH_MAX], keep_error *err)
{
	if (snprintf(path, PATH_MAX, "%s/%s", folder, name) >= PATH_MAX)
		return kp_fail(err, KEEP_INVALID, "the path '%.100s...' is too long", folder);
	return KEEP_OK;
}

static void read_boot_id(char out[ID_BYTES_MAX + 1])
{
	read_small("/proc/sys/kernel/random/boot_id", out);
}

static keep_status make_marker(const char *path, keep_error *err)
{
	struct stat st;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status;

	if (lstat(path, &st) == 0)
		return KEEP_OK;
	status = write_small(path, KEEP_BYTES(""), &why);
	if (status != KEEP_OK && lstat(path, &st) == 0)
		return KEEP_OK; /* somebody was faster */
	if (status != KEEP_OK && err)
		*err = why;
	return status;
}

/* ---------------------------------------------------------------- the host */

static keep_status note_host(const char *folder, keep_error *err)
{
	char path[PATH_MAX], own[ID_BYTES_MAX + 1], noted[ID_BYTES_MAX + 1];
	keep_status status = join(folder, ".host", path, err);

	if (status != KEEP_OK)
		return status;
	read_boot_id(own);
	read_small(path, noted);
	return strcmp(own, noted) == 0 ? KEEP_OK : write_small(path, keep_bytes_of(own), err);
}

keep_status kp_mount_meet_agents(keep_mailbox *mailbox, kp_side *side, const char *folder,
				 keep_error *err)
{
	struct stat st, home;
	bool shares_maps = true;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status = KEEP_OK;

	side->mount_safe = mailbox->mount_safe;
	if (mailbox->read_only || stat(folder, &st) != 0)
		return KEEP_OK;
	/* Most sessions are where the registry is, which was looked at. */
	if (!side->mount_safe && stat(mailbox->location, &home) == 0 && home.st_dev != st.st_dev)
		status = kp_mount_look(folder, &shares_maps, err);
	side->mount_safe = side->mount_safe || !shares_maps;
	if (status == KEEP_OK && note_host(folder, &why) != KEEP_OK)
		kp_log(KEEP_LOG_WARNING, "%s: an agent may take this kernel for another one",
		       why.message);
	if (status == KEEP_OK && side->mount_safe)
		status = make_marker(side->marker, err);
	return status;
}

/* ---------------------------------------------------------------- the agent */

static bool is_other_kernel(const char *folder)
{
	char path[PATH_MAX], own[ID_BYTES_MAX + 1], noted[ID_BYTES_MAX + 1];

	if (join(folder, ".host", path, NULL) != KEEP_OK)
		return false;
	read_boot_id(own);
	read_small(path, noted);
	return noted[0] && strcmp(own, noted) != 0;
}

/* Shall this side do without shared maps, whatever the host does now? */
static keep_status find_border(const kp_side *side, const char *folder, bool *crosses,
			       keep_error *err)
{
	bool shares_maps = true;
	keep_status status = KEEP_OK;

	*crosses = side->mount_safe || access(side->marker, F_OK) == 0 || is_other_kernel(folder);
	if (!*crosses)
		status = kp_mount_look(folder, &shares_maps, err);
	*crosses = *crosses || !shares_maps;
	return status;
}

static void ring_host(const char *folder)
{
	kp_bell bell = KP_BELL_INIT;
	char path[PATH_MAX];
	struct stat st;
	int fd;

	if (join(folder, ".bell-out", path, NULL) != KEEP_OK || lstat(path, &st) != 0)
		return;
	fd = open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return;
	bell.fd = fd; /* not mapped: a host's inotify hears it all the same */
	kp_bell_ring(&bell);
	kp_bell_close(&bell);
}

/* Invariant 1. */
static keep_status await_host(const kp_side *side, const char *folder, keep_error *err)
{
	int64_t begun_ns = kp_monotonic_ns();
	struct timespec nap = {.tv_nsec = NAP_MS * 1000000};
	bool has_log = true;
	keep_status status = KEEP_OK;

	ring_host(folder);
	while (status == KEEP_OK && has_log) {
		status = kp_sqlite_has_log(side->other, &has_log, err);
		if (status != KEEP_OK || !has_log)
			break;
		if (kp_monotonic_ns() - begun_ns > side->timeout_ms * 1000000)
			return kp_fail(err, KEEP_UNAVAILABLE,
				       "'%s' needs shared memory, which is not to be had here, and "
				       "the host did not do without within %lld ms",
				       side->other, (long long)side->timeout_ms);
		(void)nanosleep(&nap, NULL);
	}
	return status;
}

keep_status kp_mount_meet_host(kp_side *side, const char *folder, keep_error *err)
{
	bool has_log = false, crosses = false;
	keep_status status = kp_sqlite_has_log(side->other, &has_log, err);

	if (status == KEEP_OK && !has_log)
		status = kp_side_look_at_host(side, err);
	if (status != KEEP_OK || side->is_plain)
		return status;
	status = find_border(side, folder, &crosses, err);
	if (status != KEEP_OK || !crosses)
		return status;
	side->mount_safe = true;
	status = make_marker(side->marker, err);
	kp_moment("mailbox.mount_asked");
	return status == KEEP_OK && has_log ? await_host(side, folder, err) : status;
}

/*
 * owner.c - who holds a lease, and whether that process is proven dead.
 *
 * A process number is used again, so it takes the process's start time to name one process, and the
 * machine's boot id to name the boot they belong to. A container shares the boot id with its host
 * but counts its processes from 1, so the namespace of the number is part of the name as well.
 *
 * Invariants:
 *   1. A living owner is never found GONE. What cannot be read proves nothing: another boot id (it
 *      may be another machine), another namespace, a /proc that hides other users' processes.
 *   2. GONE needs one of: the kernel says there is no such process, the process of that number
 *      started at another time, or it is a zombie without threads (dead, and not yet collected).
 *
 * Tests: tests/unit/test_due.c, with processes that it starts and kills.
 */
#include "schedule/due.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BOOT_ID_BYTES 36

/* The four parts of the text. */
struct owner {
	int64_t pid;
	int64_t start;     /* clock ticks after boot, field 22 of /proc/<pid>/stat */
	int64_t namespace; /* inode of /proc/self/ns/pid */
	keep_bytes boot_id;
};

struct process {
	int64_t start;
	char state;
	int64_t threads;
};

static keep_status read_text(const char *path, char *text, size_t size, keep_error *err)
{
	size_t got = 0;
	int fd = -1;
	keep_status status = kp_file_open(AT_FDCWD, path, O_RDONLY, 0, &fd, err);

	text[0] = '\0';
	if (status == KEEP_OK)
		status = kp_file_read_at(fd, text, size - 1, 0, &got, err);
	text[got] = '\0';
	kp_file_close(&fd);
	return status;
}

/* The n-th number (from 0) of a text whose numbers are between single blanks. */
static bool find_number(const char *text, int n, int64_t *out)
{
	for (; n > 0 && text; n--) {
		text = strchr(text, ' ');
		text = text ? text + 1 : NULL;
	}
	return text && kp_int_parse((keep_bytes){text, strcspn(text, " \n")}, out);
}

/* proc(5): "pid (name) state ppid …"; the name may hold anything, also ')'. */
static bool parse_stat(const char *text, struct process *out)
{
	const char *rest = strrchr(text, ')');

	if (!rest || rest[1] != ' ' || rest[2] == '\0')
		return false;
	out->state = rest[2];
	return find_number(rest + 2, 17, &out->threads) && find_number(rest + 2, 19, &out->start);
}

static keep_status read_process(int64_t pid, struct process *out, keep_error *err)
{
	char path[64], text[1024];
	keep_status status;

	snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
	status = read_text(path, text, sizeof text, err);
	if (status == KEEP_OK && !parse_stat(text, out))
		status = kp_fail(err, KEEP_UNAVAILABLE, "%s has an unknown form", path);
	return status;
}

static keep_status read_machine(char boot_id[BOOT_ID_BYTES + 2], int64_t *namespace,
				keep_error *err)
{
	struct stat about;
	keep_status status =
		read_text("/proc/sys/kernel/random/boot_id", boot_id, BOOT_ID_BYTES + 2, err);

	*namespace = 0;
	if (status != KEEP_OK)
		return status;
	boot_id[BOOT_ID_BYTES] = '\0';
	if (stat("/proc/self/ns/pid", &about) != 0)
		return kp_fail_errno(err, errno, "/proc/self/ns/pid");
	*namespace = (int64_t)about.st_ino;
	return KEEP_OK;
}

keep_status kp_owner_make(char text[KP_OWNER_TEXT_SIZE], keep_error *err)
{
	char boot_id[BOOT_ID_BYTES + 2];
	struct process process;
	int64_t namespace;
	keep_status status = read_machine(boot_id, &namespace, err);

	text[0] = '\0';
	if (status == KEEP_OK)
		status = read_process(getpid(), &process, err);
	if (status == KEEP_OK)
		snprintf(text, KP_OWNER_TEXT_SIZE, "%lld.%lld.%lld.%s", (long long)getpid(),
			 (long long)process.start, (long long)namespace, boot_id);
	return status;
}

static bool parse_owner(keep_bytes text, struct owner *out)
{
	int64_t *const parts[] = {&out->pid, &out->start, &out->namespace};

	if (!text.data)
		return false;
	for (size_t i = 0; i < KP_COUNT(parts); i++) {
		const char *dot = memchr(text.data, '.', text.len);
		size_t len = dot ? (size_t)(dot - text.data) : 0;

		if (!dot || !kp_int_parse((keep_bytes){text.data, len}, parts[i]) || *parts[i] < 0)
			return false;
		text = (keep_bytes){dot + 1, text.len - len - 1};
	}
	out->boot_id = text;
	return text.len == BOOT_ID_BYTES && out->pid >= 1 && out->pid <= INT32_MAX;
}

static bool is_gone(const struct owner *owner)
{
	char boot_id[BOOT_ID_BYTES + 2];
	struct process process;
	int64_t namespace;

	if (read_machine(boot_id, &namespace, NULL) != KEEP_OK || namespace != owner->namespace ||
	    !kp_bytes_equal(owner->boot_id, keep_bytes_of(boot_id)))
		return false;
	/* Signal 0 asks the kernel itself, which no mount option of /proc hides. */
	if (kill((pid_t)owner->pid, 0) != 0 && errno == ESRCH)
		return true;
	if (read_process(owner->pid, &process, NULL) != KEEP_OK)
		return false;
	return process.start != owner->start || (process.state == 'Z' && process.threads <= 1) ||
	       process.state == 'X';
}

kp_owner_state kp_owner_check(keep_bytes owner, int64_t lease_until_ms, int64_t now_ms)
{
	struct owner parsed;

	if (lease_until_ms <= now_ms)
		return KP_OWNER_EXPIRED;
	return parse_owner(owner, &parsed) && is_gone(&parsed) ? KP_OWNER_GONE : KP_OWNER_MAY_LIVE;
}

/* bad_places.c - see bad_places.h. */
#include "bad_places.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { CHILD_SECONDS = 150, NOBODY = 65534 };

void in_child(void (*run)(void *ctx), void *ctx)
{
	long alive = kp_alloc_live(); /* what a test that failed has left */
	int ended = 0;
	pid_t child;

	fflush(stdout);
	fflush(stderr);
	child = fork();
	if (child == 0) {
		alarm(CHILD_SECONDS);
		run(ctx);
		WANT(kp_alloc_live() == alive, "%ld blocks are still alive",
		     kp_alloc_live() - alive);
		fflush(stdout);
		_exit(0);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &ended, 0), child);
	CHECK(WIFEXITED(ended), "the child was ended by signal %d", WTERMSIG(ended));
	CHECK(WEXITSTATUS(ended) == 0, "the child failed; see above");
}

void bad_place_remove(const temp_folder *folder)
{
	(void)umount2(folder->path, MNT_DETACH); /* a disk that a child mounted in a chroot */
	temp_folder_remove(folder);
}

/* ---------------------------------------------------------------- a small disk */

static void write_line(const char *path, const char *line)
{
	FILE *file = fopen(path, "w");

	WANT(file, "%s: %s", path, strerror(errno));
	fputs(line, file);
	WANT(fclose(file) == 0, "%s: %s", path, strerror(errno));
}

/* Mount an empty tmpfs over `folder`, for this process alone. */
void mount_disk(const char *folder, int kib)
{
	unsigned user = geteuid(), group = getegid();
	char options[40], line[40];

	WANT(unshare(CLONE_NEWNS | (user ? CLONE_NEWUSER : 0)) == 0,
	     "this kernel gives no mount namespace (%s), and so no small disk: run as root, or "
	     "allow user namespaces",
	     strerror(errno));
	if (user) {
		write_line("/proc/self/setgroups", "deny");
		snprintf(line, sizeof line, "0 %u 1", user);
		write_line("/proc/self/uid_map", line);
		snprintf(line, sizeof line, "0 %u 1", group);
		write_line("/proc/self/gid_map", line);
	}
	/* EINVAL: "/" is no mount, as in a chroot; bad_place_remove then takes the disk away. */
	WANT(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 || errno == EINVAL, "%s",
	     strerror(errno));
	snprintf(options, sizeof options, "size=%dk", kib);
	WANT(mount("keep", folder, "tmpfs", 0, options) == 0, "%s", strerror(errno));
}

/* A file that takes `kib` of the disk, or all that is left (below 0). */
void put_ballast(const temp_folder *folder, int kib)
{
	static const char zeros[1024];
	char path[128];
	int fd = open(temp_path(folder, "ballast", path), O_WRONLY | O_CREAT | O_APPEND, 0600);

	WANT(fd >= 0, "%s: %s", path, strerror(errno));
	for (int i = 0; kib < 0 || i < kib; i++)
		if (write(fd, zeros, sizeof zeros) <= 0)
			break;
	close(fd);
}

void drop_ballast(const temp_folder *folder)
{
	char path[128];

	WANT(unlink(temp_path(folder, "ballast", path)) == 0, "%s", strerror(errno));
}

void cut_ballast(const temp_folder *folder, int kib)
{
	char path[128];
	struct stat st;

	WANT(stat(temp_path(folder, "ballast", path), &st) == 0, "%s", strerror(errno));
	WANT(truncate(path, st.st_size - kib * 1024) == 0, "%s", strerror(errno));
}

/* ---------------------------------------------------------------- descriptors and rights */

void limit_descriptors(int more)
{
	struct rlimit limit;
	int lowest = more < 0 ? 0 : dup(2);

	WANT(lowest == 0 || (lowest > 0 && close(lowest) == 0), "dup: %s", strerror(errno));
	WANT(getrlimit(RLIMIT_NOFILE, &limit) == 0, "getrlimit");
	limit.rlim_cur = more < 0 ? limit.rlim_max : (rlim_t)(lowest + more);
	WANT(setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit");
}

static int readable_mode; /* of files; folders add the right to enter */

static int make_readable(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)where, (void)type;
	return chmod(path, (mode_t)readable_mode | (S_ISDIR(st->st_mode) ? 0111 : 0));
}

void set_modes(const char *path, int mode)
{
	readable_mode = mode;
	WANT(nftw(path, make_readable, 16, FTW_PHYS) == 0, "chmod of %s: %s", path,
	     strerror(errno));
}

/* Root may write anything, so be somebody else. */
void drop_root(void)
{
	if (geteuid() == 0)
		WANT(setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
			     setresuid(NOBODY, NOBODY, NOBODY) == 0,
		     "cannot become nobody: %s", strerror(errno));
}

/* ---------------------------------------------------------------- bytes of files */

void read_file(const char *path, keep_buffer *out)
{
	FILE *file = fopen(path, "rb");
	struct stat st;

	WANT(file && fstat(fileno(file), &st) == 0, "%s: %s", path, strerror(errno));
	if (kp_buffer_reserve(out, (size_t)st.st_size, NULL) != KEEP_OK)
		abort();
	out->len = fread(out->data, 1, (size_t)st.st_size, file);
	WANT(out->len == (size_t)st.st_size, "%s: short read", path);
	(void)fclose(file);
}

void write_file(const char *path, keep_bytes bytes)
{
	FILE *file = fopen(path, "wb");

	WANT(file && fwrite(bytes.data, 1, bytes.len, file) == bytes.len && fclose(file) == 0,
	     "%s: %s", path, strerror(errno));
}

void write_random(const char *path, size_t size, uint64_t seed)
{
	keep_buffer bytes = KEEP_BUFFER_INIT;

	if (kp_buffer_reserve(&bytes, size, NULL) != KEEP_OK)
		abort();
	for (size_t i = 0; i < size; i++)
		bytes.data[i] = (char)next_random(&seed);
	bytes.len = size;
	write_file(path, kp_buffer_bytes(&bytes));
	keep_buffer_release(&bytes);
}

void want_file(const char *path, const keep_buffer *wanted, const char *when)
{
	keep_buffer found = KEEP_BUFFER_INIT;

	read_file(path, &found);
	WANT(kp_bytes_equal(kp_buffer_bytes(&found), kp_buffer_bytes(wanted)), "%s: %s was changed",
	     when, path);
	keep_buffer_release(&found);
}

void remove_sidecars(const char *file)
{
	static const char *const names[] = {"-wal", "-shm", "-guard", "-notify", "-journal"};

	for (size_t i = 0; i < KP_COUNT(names); i++) {
		char path[200];

		snprintf(path, sizeof path, "%s%s", file, names[i]);
		(void)unlink(path);
	}
}

void harm_file(const char *path, enum harm how, uint64_t seed)
{
	keep_buffer bytes = KEEP_BUFFER_INIT;
	struct stat st;

	if (stat(path, &st) != 0 || !S_ISREG(st.st_mode))
		return;
	read_file(path, &bytes);
	switch (how) {
	case HARM_RANDOM: write_random(path, bytes.len ? bytes.len : 5000, seed); break;
	case HARM_EMPTY: write_file(path, KEEP_BYTES("")); break;
	case HARM_CUT:
		write_file(path, (keep_bytes){bytes.data ? bytes.data : "", bytes.len / 2});
		break;
	case HARM_LONGER: write_random(path, bytes.len + 3001, seed); break;
	case HARM_FLIPPED:
		if (bytes.len > 0)
			bytes.data[next_random(&seed) % bytes.len] ^= 0x10;
		write_file(path, kp_buffer_bytes(&bytes));
		break;
	case HARM_GONE: WANT(unlink(path) == 0, "unlink"); break;
	case HARMS: break;
	}
	keep_buffer_release(&bytes);
}

/*
 * bench_engine_files.c - the files engine beside what a program without an index has to do.
 *
 *     bench_engine_files FOLDER
 *
 * The other side lists the folder, stats every child's index.json, sorts by time and reads the
 * newest fifty: the way of the project whose layout this is.
 */
#include "bench_engine.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHILDREN = 10000 };

struct bench {
	struct bench_engine own; /* first */
	char folder[256];
};

struct child {
	char name[64];
	struct timespec time;
};

static keep_bytes child_path(const struct bench_engine *bench, long i, char room[80])
{
	(void)bench;
	return (keep_bytes){room, (size_t)snprintf(room, 80, "chat/ada/message/3EB0%06ld", i)};
}

static keep_bytes the_folder(const struct bench_engine *bench, long i, char room[80])
{
	(void)bench, (void)i, (void)room;
	return KEEP_BYTES("chat/ada/message");
}

static int newest_first(const void *a, const void *b)
{
	const struct child *x = a, *y = b;

	if (x->time.tv_sec != y->time.tv_sec)
		return x->time.tv_sec < y->time.tv_sec ? 1 : -1;
	return x->time.tv_nsec < y->time.tv_nsec ? 1 : x->time.tv_nsec > y->time.tv_nsec ? -1 : 0;
}

static void read_child(const char *folder, const char *name)
{
	char path[600], bytes[BENCH_VALUE_BYTES];
	int fd;

	snprintf(path, sizeof path, "%.300s/%.255s/index.json", folder, name);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, bytes, sizeof bytes) != BENCH_VALUE_BYTES)
		bench_fail("%s: cannot read", path);
	close(fd);
}

static void list_by_hand(const char *folder)
{
	static struct child children[CHILDREN + 16];
	size_t count = 0;
	DIR *dir = opendir(folder);
	struct dirent *entry;

	while ((entry = readdir(dir))) {
		char path[600];
		struct stat st;

		snprintf(path, sizeof path, "%.300s/%.255s/index.json", folder, entry->d_name);
		if (entry->d_name[0] == '.' || stat(path, &st))
			continue;
		snprintf(children[count].name, sizeof children[count].name, "%.60s", entry->d_name);
		children[count++].time = st.st_mtim;
	}
	closedir(dir);
	qsort(children, count, sizeof *children, newest_first);
	for (size_t i = 0; i < BENCH_PAGE; i++)
		read_child(folder, children[i].name);
}

static double hand_list(void *ctx, long count)
{
	struct bench *bench = ctx;
	char folder[300];
	double start = bench_now();

	snprintf(folder, sizeof folder, "%s/chat/ada/message", bench->folder);
	/* A turn is `count` lists of the other side; this one is slow enough to be timed by few. */
	for (long i = 0; i < 3; i++)
		list_by_hand(folder);
	return (bench_now() - start) * (double)count / 3;
}

/* What a careful program does by hand for one value: temporary name, sync, rename, sync. */
static double hand_set(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();

	for (long i = 0; i < count; i++) {
		char room[80], folder[400], from[450], to[450];
		keep_bytes path = bench_random_path(&bench->own, room);
		int fd, folder_fd;

		snprintf(folder, sizeof folder, "%s/%.*s", bench->folder, (int)path.len, path.data);
		snprintf(from, sizeof from, "%s/tmp", folder);
		snprintf(to, sizeof to, "%s/index.json", folder);
		fd = open(from, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		if (fd < 0 || write(fd, bench->own.bytes, BENCH_VALUE_BYTES) != BENCH_VALUE_BYTES ||
		    fdatasync(fd) || close(fd) || rename(from, to))
			bench_fail("%s: cannot write", to);
		folder_fd = open(folder, O_RDONLY | O_DIRECTORY);
		if (folder_fd < 0 || fsync(folder_fd))
			bench_fail("%s: cannot sync", folder);
		close(folder_fd);
	}
	return bench_now() - start;
}

int main(int argc, char **argv)
{
	struct bench bench = {.own = {.documents = CHILDREN,
				      .folders = 1,
				      .path = child_path,
				      .folder = the_folder,
				      .seed = 7}};
	char url[300];

	if (argc < 2)
		bench_fail("usage: bench_engine_files FOLDER");
	snprintf(bench.folder, sizeof bench.folder, "%s/files", argv[1]);
	snprintf(url, sizeof url, "file:%s", bench.folder);
	bench_engine_open(&bench.own, url, true);
	bench_engine_load(&bench.own);
	bench_title("The files engine (A) with 10,000 children in one folder");
	bench_run(&(struct bench_pair){"list(50)", "-", "keep", "readdir, stat, sort, read",
				       bench_list, hand_list, &bench, &bench, 1000, 9, 20});
	bench_run(&(struct bench_pair){"count", "-", "keep", "readdir, stat, sort, read",
				       bench_count, hand_list, &bench, &bench, 1000, 5, 20});
	bench_tell("get", "-", 20000 / bench_get(&bench, 20000), "");
	bench_tell("set, overwrite", "relaxed", 5000 / bench_set(&bench, 5000), "");
	bench_engine_open(&bench.own, url, false);
	bench_run(&(struct bench_pair){"set, overwrite", "synced", "keep",
				       "write, sync, rename, sync", bench_set, hand_set, &bench,
				       &bench, 200, 7, 0});
	bench_engine_close(&bench.own);
	return 0;
}

/*
 * bench_engine_files.c - the files engine beside what a program without an index has to do.
 *
 *     bench_engine_files FOLDER
 *
 * The other side lists the folder, stats every child's index.json, sorts by time and reads the
 * newest fifty: the way of the project whose layout this is.
 */
#include "bench.h"
#include "keep/engine.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHILDREN = 10000, PAGE = 50, VALUE_BYTES = 500 };

struct bench {
	char folder[256], url[300];
	keep_engine *engine;
	char bytes[VALUE_BYTES];
	uint64_t seed;
};

struct child {
	char name[64];
	struct timespec time;
};

static void must(keep_status status, const keep_error *err)
{
	if (status != KEEP_OK)
		bench_fail("%s: %s", keep_status_name(status), err->message);
}

static keep_bytes child_path(long i, char room[80])
{
	int len = snprintf(room, 80, "chat/ada/message/3EB0%06ld", i);

	return (keep_bytes){room, (size_t)len};
}

static void open_engine(struct bench *bench, bool relaxed)
{
	keep_engine_options options = KEEP_ENGINE_OPTIONS_INIT;
	keep_error err;

	keep_engine_close(&bench->engine);
	options.create = true;
	options.relaxed = relaxed;
	must(keep_engine_open(bench->url, &options, &bench->engine, &err), &err);
}

static double keep_list(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();
	keep_error err;

	for (long i = 0; i < count; i++) {
		keep_engine_list list;

		must(keep_engine_list_values(bench->engine, KEEP_BYTES("chat/ada/message"), 0, PAGE,
					     &list, &err),
		     &err);
		if (list.count != PAGE)
			bench_fail("a list of %zu", list.count);
		keep_engine_list_release(&list);
	}
	return bench_now() - start;
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
	char path[600], bytes[VALUE_BYTES];
	int fd;

	snprintf(path, sizeof path, "%.300s/%.255s/index.json", folder, name);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, bytes, sizeof bytes) != VALUE_BYTES)
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
	for (size_t i = 0; i < PAGE; i++)
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

static double keep_count(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();
	keep_error err;
	int64_t found;

	for (long i = 0; i < count; i++)
		must(keep_engine_count(bench->engine, KEEP_BYTES("chat/ada/message"), &found, &err),
		     &err);
	return bench_now() - start;
}

static double keep_set(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();
	keep_error err;
	char room[80];

	for (long i = 0; i < count; i++)
		must(keep_engine_set(
			     bench->engine,
			     child_path((long)(bench_random(&bench->seed) % CHILDREN), room),
			     (keep_bytes){bench->bytes, VALUE_BYTES}, &err),
		     &err);
	return bench_now() - start;
}

static double keep_get(void *ctx, long count)
{
	struct bench *bench = ctx;
	keep_buffer value = KEEP_BUFFER_INIT;
	double start = bench_now();
	keep_error err;
	char room[80];

	for (long i = 0; i < count; i++)
		must(keep_engine_get(
			     bench->engine,
			     child_path((long)(bench_random(&bench->seed) % CHILDREN), room),
			     &value, &err),
		     &err);
	keep_buffer_release(&value);
	return bench_now() - start;
}

/* What a careful program does by hand for one value: temporary name, sync, rename, sync. */
static double hand_set(void *ctx, long count)
{
	struct bench *bench = ctx;
	double start = bench_now();

	for (long i = 0; i < count; i++) {
		char room[80], folder[400], from[450], to[450];
		keep_bytes path = child_path((long)(bench_random(&bench->seed) % CHILDREN), room);
		int fd, folder_fd;

		snprintf(folder, sizeof folder, "%s/%.*s", bench->folder, (int)path.len, path.data);
		snprintf(from, sizeof from, "%s/tmp", folder);
		snprintf(to, sizeof to, "%s/index.json", folder);
		fd = open(from, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		if (fd < 0 || write(fd, bench->bytes, VALUE_BYTES) != VALUE_BYTES ||
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
	struct bench bench = {.seed = 7};
	keep_error err;
	char room[80];

	if (argc < 2)
		bench_fail("usage: bench_engine_files FOLDER");
	snprintf(bench.folder, sizeof bench.folder, "%s/files", argv[1]);
	snprintf(bench.url, sizeof bench.url, "file:%s", bench.folder);
	memset(bench.bytes, 'k', sizeof bench.bytes);
	open_engine(&bench, true);
	for (long i = 0; i < CHILDREN; i++)
		must(keep_engine_set(bench.engine, child_path(i, room),
				     (keep_bytes){bench.bytes, VALUE_BYTES}, &err),
		     &err);
	bench_title("The files engine (A) with 10,000 children in one folder");
	bench_run(&(struct bench_pair){"list(50)", "-", "keep", "readdir, stat, sort, read",
				       keep_list, hand_list, &bench, &bench, 1000, 9, 20});
	bench_run(&(struct bench_pair){"count", "-", "keep", "readdir, stat, sort, read",
				       keep_count, hand_list, &bench, &bench, 1000, 5, 20});
	bench_tell("get", "-", 20000 / keep_get(&bench, 20000), "");
	bench_tell("set, overwrite", "relaxed", 5000 / keep_set(&bench, 5000), "");
	open_engine(&bench, false);
	bench_run(&(struct bench_pair){"set, overwrite", "synced", "keep",
				       "write, sync, rename, sync", keep_set, hand_set, &bench,
				       &bench, 200, 7, 0});
	keep_engine_close(&bench.engine);
	return 0;
}

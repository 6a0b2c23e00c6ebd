#ifndef KEEP_ENGINE_FILES_FIXTURE_H
#define KEEP_ENGINE_FILES_FIXTURE_H
/*
 * engine_files_fixture.h - a file: store in a folder of its own, looked at by hand and by the
 * engine.
 */
#include "engine/engine_files.h"
#include "temp_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEXT_MAX = 600 };

typedef struct fixture {
	temp_folder folder; /* the base is the folder "s" in it */
	char base[128];
	char url[160];
	keep_engine *engine;
	keep_error err;
} fixture;

static inline keep_status open_engine(fixture *at, bool read_only, bool shared)
{
	keep_engine_options options = KEEP_ENGINE_OPTIONS_INIT;

	options.create = !read_only;
	options.read_only = read_only;
	options.shared = shared;
	options.relaxed = true;
	options.timeout_ms = 2000;
	return keep_engine_open(at->url, &options, &at->engine, &at->err);
}

static inline void reopen(fixture *at)
{
	keep_engine_close(&at->engine);
	CHECK(open_engine(at, false, false) == KEEP_OK, "%s", at->err.message);
}

static inline int set_up(void **state)
{
	fixture *at = calloc(1, sizeof *at);

	temp_folder_make(&at->folder);
	snprintf(at->base, sizeof at->base, "%s/s", at->folder.path);
	snprintf(at->url, sizeof at->url, "file:%s", at->base);
	reopen(at);
	*state = at;
	return 0;
}

static inline int tear_down(void **state)
{
	fixture *at = *state;

	keep_engine_close(&at->engine);
	temp_folder_remove(&at->folder);
	free(at);
	assert_nothing_lives();
	return 0;
}

/* ---------------------------------------------------------------- by hand */

static inline const char *path_in(const fixture *at, const char *name)
{
	static char path[2 * TEXT_MAX];

	snprintf(path, sizeof path, "%s/%s", at->base, name);
	return path;
}

static inline void write_file(const fixture *at, const char *name, const void *bytes, size_t len)
{
	int fd = open(path_in(at, name), O_WRONLY | O_CREAT | O_TRUNC, 0644);

	CHECK(fd >= 0 && write(fd, bytes, len) == (ssize_t)len, "%s", strerror(errno));
	close(fd);
}

/* As the source project stores: make the folders, truncate the file, write. */
static inline void write_as_source(const fixture *at, const char *path, const char *value, long ms)
{
	char name[TEXT_MAX];
	struct timespec times[2] = {{.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}};

	times[1] = times[0];
	for (size_t i = 1; i <= strlen(path); i++) {
		snprintf(name, sizeof name, "%.*s", (int)i, path);
		if (path[i] == '/' || path[i] == '\0')
			(void)mkdir(path_in(at, name), 0755);
	}
	snprintf(name, sizeof name, "%s/index.json", path);
	write_file(at, name, value, strlen(value));
	if (ms)
		CHECK(utimensat(AT_FDCWD, path_in(at, name), times, 0) == 0, "utimensat");
}

static inline void read_by_hand(const fixture *at, const char *name, char out[TEXT_MAX])
{
	int fd = open(path_in(at, name), O_RDONLY);
	ssize_t len = fd < 0 ? -1 : read(fd, out, TEXT_MAX - 1);

	CHECK(len >= 0, "%s: %s", name, strerror(errno));
	out[len] = '\0';
	close(fd);
}

static inline bool exists(const fixture *at, const char *name)
{
	struct stat about;

	return lstat(path_in(at, name), &about) == 0;
}

/* The names in a folder, but "." and "..". */
static inline size_t entries_in(const fixture *at, const char *name)
{
	char command[3 * TEXT_MAX];
	size_t count = 0;
	FILE *pipe;

	snprintf(command, sizeof command, "ls -A %s", path_in(at, name));
	pipe = popen(command, "r");
	for (int c = getc(pipe); c != EOF; c = getc(pipe))
		count += c == '\n';
	pclose(pipe);
	return count;
}

/* ---------------------------------------------------------------- by the engine */

static inline void put(fixture *at, const char *path, const char *value)
{
	CHECK(keep_engine_set(at->engine, keep_bytes_of(path), keep_bytes_of(value), &at->err) ==
		      KEEP_OK,
	      "%s: %s", path, at->err.message);
}

static inline void want(fixture *at, const char *path, const char *value)
{
	keep_buffer found = KEEP_BUFFER_INIT;
	keep_status status = keep_engine_get(at->engine, keep_bytes_of(path), &found, &at->err);

	if (!value) {
		CHECK(status == KEEP_NOT_FOUND, "%s is there", path);
	} else {
		CHECK(status == KEEP_OK, "%s: %s", path, at->err.message);
		assert_bytes_equal(kp_buffer_bytes(&found), keep_bytes_of(value));
	}
	keep_buffer_release(&found);
}

/* The values of the children, newest first, with blanks between, and their count. */
static inline void want_children(fixture *at, const char *path, const char *expected)
{
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	char found[TEXT_MAX] = "";
	int64_t count;

	CHECK(keep_engine_list_values(at->engine, keep_bytes_of(path), 0, 100, &list, &at->err) ==
		      KEEP_OK,
	      "%s: %s", path, at->err.message);
	for (size_t i = 0; i < list.count; i++) {
		size_t used = strlen(found);

		snprintf(found + used, sizeof found - used, "%s%.*s", i ? " " : "",
			 (int)list.items[i].value.len, list.items[i].value.data);
	}
	assert_string_equal(found, expected);
	CHECK(keep_engine_count(at->engine, keep_bytes_of(path), &count, &at->err) == KEEP_OK, "%s",
	      at->err.message);
	assert_int_equal(count, list.count);
	keep_engine_list_release(&list);
}

#endif

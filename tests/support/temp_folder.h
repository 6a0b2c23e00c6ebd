#ifndef KEEP_TEMP_FOLDER_H
#define KEEP_TEMP_FOLDER_H
/*
 * temp_folder.h - a folder for one test, removed with everything in it.
 */
#include "keep_test.h"

#include <ftw.h>
#include <unistd.h>

typedef struct temp_folder {
	char path[64];
} temp_folder;

static inline void temp_folder_make(temp_folder *folder)
{
	(void)snprintf(folder->path, sizeof folder->path, "/tmp/keep-test-XXXXXX");
	CHECK(mkdtemp(folder->path), "no folder in /tmp");
}

static inline int temp_folder_remove_one(const char *path, const struct stat *st, int type,
					 struct FTW *where)
{
	(void)st, (void)type, (void)where;
	return remove(path);
}

static inline void temp_folder_remove(const temp_folder *folder)
{
	CHECK(nftw(folder->path, temp_folder_remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0,
	      "%s cannot be removed", folder->path);
}

/* "<folder>/<name>" in the caller's 128 bytes. */
static inline const char *temp_path(const temp_folder *folder, const char *name, char out[128])
{
	(void)snprintf(out, 128, "%s/%s", folder->path, name);
	return out;
}

#endif

/*
 * replay.c - a main for a fuzz target without a fuzzer: feed it every file of the given folders.
 *
 * Old findings stay in fuzz/corpus/<target>/ and stay fixed, whatever the compiler is. Each input
 * is copied to a block of its exact size, so that a sanitizer sees one byte read too far. A folder
 * with nothing in it is a failure: the test would prove nothing.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path, size_t size)
{
	uint8_t *data = malloc(size ? size : 1);
	FILE *file = fopen(path, "rb");
	int result = -1;

	if (data && file && fread(data, 1, size, file) == size) {
		LLVMFuzzerTestOneInput(data, size);
		result = 0;
	}
	if (result != 0)
		fprintf(stderr, "cannot read %s\n", path);
	if (file)
		fclose(file);
	free(data);
	return result;
}

/* The number of files replayed, or -1. */
static int replay_folder(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	int count = 0;

	if (!dir) {
		perror(folder);
		return -1;
	}
	while (count >= 0 && (entry = readdir(dir))) {
		char path[4096];
		struct stat about;

		snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
		if (stat(path, &about) != 0 || !S_ISREG(about.st_mode))
			continue;
		count = replay_file(path, (size_t)about.st_size) == 0 ? count + 1 : -1;
	}
	closedir(dir);
	return count;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		int count = replay_folder(argv[i]);

		if (count <= 0) {
			fprintf(stderr, "%s: nothing was replayed\n", argv[i]);
			return 1;
		}
		printf("%s: %d inputs\n", argv[i], count);
	}
	return argc > 1 ? 0 : 2;
}

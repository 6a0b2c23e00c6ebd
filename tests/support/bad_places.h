#ifndef KEEP_BAD_PLACES_H
#define KEEP_BAD_PLACES_H
/*
 * bad_places.h - full disks, no descriptors, rights taken away, and bytes of files: what the tests
 * of every store in bad places need.
 *
 * Each such test runs in a child process: it changes limits, users and mounts, and a SIGBUS or a
 * hang is then a failed test and not the end of the program. In a child a failed WANT says what it
 * was and ends the process; cmocka's own checks are the parent's.
 *
 * All but in_child and bad_place_remove is for a child.
 */
#include "keep_test.h"
#include "temp_folder.h"

#include <unistd.h>

#define WANT(condition, ...)                                                                       \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s - ", __FILE__, __LINE__, #condition);           \
			fprintf(stderr, "" __VA_ARGS__);                                           \
			fputc('\n', stderr);                                                       \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

#define WANT_STATUS(call, wanted)                                                                  \
	do {                                                                                       \
		keep_status status_of_call = (call);                                               \
		WANT(status_of_call == (wanted), "%s and not %s: %s",                              \
		     keep_status_name(status_of_call), keep_status_name(wanted),                   \
		     status_of_call == KEEP_OK ? "" : err.message);                                \
		WANT(status_of_call == KEEP_OK || err.status == status_of_call,                    \
		     "the error says %s", keep_status_name(err.status));                           \
	} while (0)

#define WANT_OK(call) WANT_STATUS(call, KEEP_OK)

#define MAY(status) (1u << (status))

/* Run `run` in a child process; what it returns from is a success, and then nothing lives. */
void in_child(void (*run)(void *ctx), void *ctx);
/* A folder of a test, with the disk that its child may have left in it. */
void bad_place_remove(const temp_folder *folder);

/* ---------------------------------------------------------------- a small disk
 *
 * A tmpfs in a mount namespace of the child's own. A machine that refuses that fails the test: it
 * did not ask its question.
 */
void mount_disk(const char *folder, int kib);
/* A file that takes `kib` of the disk, or all that is left (below 0); again, and it grows. */
void put_ballast(const temp_folder *folder, int kib);
void cut_ballast(const temp_folder *folder, int kib);
void drop_ballast(const temp_folder *folder);

/* ---------------------------------------------------------------- descriptors and rights */

/* So many descriptors can still be opened; below 0: as many as the system gives. */
void limit_descriptors(int more);
/* The modes of everything at and below `path`; folders add the right to enter. */
void set_modes(const char *path, int mode);
/* Root may write anything, so be somebody else. */
void drop_root(void);

/* ---------------------------------------------------------------- bytes of files */

void read_file(const char *path, keep_buffer *out);
void write_file(const char *path, keep_bytes bytes);
void write_random(const char *path, size_t size, uint64_t seed);
/* It has these bytes still. */
void want_file(const char *path, const keep_buffer *wanted, const char *when);
/* What lies beside a SQLite file. */
void remove_sidecars(const char *file);

enum harm { HARM_RANDOM, HARM_EMPTY, HARM_CUT, HARM_LONGER, HARM_FLIPPED, HARM_GONE, HARMS };
/* Of a file that is there. */
void harm_file(const char *path, enum harm how, uint64_t seed);

#endif

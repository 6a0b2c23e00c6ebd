#ifndef KEEP_S3_FIXTURE_H
#define KEEP_S3_FIXTURE_H
/*
 * s3_fixture.h - a client of the test's server (tests/support/s3_server.py, or a real one), files
 * to move, and what the stand-in is to do wrong.
 */
#include "backup/s3.h"
#include "keep_test.h"
#include "temp_folder.h"

typedef struct s3_fixture {
	temp_folder folder;
	int fd; /* of the folder */
	kp_s3 *s3;
	kp_s3_options options; /* what it was opened with */
	int64_t pauses, paused_ms;
	_Atomic int cancelled;
	int cancel_after; /* so many pauses; 0: never */
} s3_fixture;

/* A client whose pauses take no time. Under every key stands a prefix of this fixture's own. */
void s3_fixture_open(s3_fixture *fixture);
void s3_fixture_close(s3_fixture *fixture);
/* Open the client anew with fixture->options. */
void s3_fixture_reopen(s3_fixture *fixture);

/* Is the server the stand-in, which does wrong when it is asked to? */
bool s3_is_stand_in(void);
/* Is `what` in KEEP_TEST_S3_LACKS, which tests/s3/run_s3rver.sh sets? Then it says so. */
bool s3_lacks(const char *what);
/* Rules in JSON, see s3_server.py; "[]" ends them. */
void s3_faults(const char *rules);
void s3_age_uploads(int seconds);
void s3_forget_all(void);
/* A number of GET /-/state: "uploads", or a method. */
int64_t s3_count(const char *name);
int64_t s3_object_count(void);

/* A file of so many bytes (a pattern of `seed`; sparse when 0) and its digest. */
void s3_make_file(const s3_fixture *fixture, const char *name, int64_t size, unsigned seed,
		  char sha256[KP_S3_SHA256_TEXT]);
void s3_digest_file(const s3_fixture *fixture, const char *name, char sha256[KP_S3_SHA256_TEXT]);
bool s3_has_file(const s3_fixture *fixture, const char *name);

#endif

/*
 * test_s3_faults.c - a short life of an S3 client in which every allocation of ours (expat's too),
 * every file call and every connection fails once, and then for good: nothing leaks, nothing half
 * stays behind, and a life that says OK has done all of it. libcurl's own allocations are left
 * alone: version 7.88 does not live through all of them (docs/decisions/0006-libcurl.md).
 */
#include "s3_fixture.h"
#include "torture.h"

#include <fcntl.h>
#include <sys/stat.h>

#define SIZE 5000

struct life {
	s3_fixture at;
	char sha256[KP_S3_SHA256_TEXT];
	char folder[160];
};

static keep_status ignore_entry(void *ctx, const kp_s3_entry *entry, keep_error *err)
{
	(void)err;
	*(size_t *)ctx += kp_bytes_equal(entry->key, KEEP_BYTES("k"));
	return KEEP_OK;
}

/* Opened, put, listed, fetched, deleted, closed. */
static keep_status live_with_objects(void *ctx)
{
	struct life *life = ctx;
	kp_s3 *s3 = NULL;
	size_t seen = 0;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = kp_s3_open(&life->at.options, &s3, &err);

	if (status == KEEP_OK)
		status = kp_s3_put_file(s3, "k", life->at.fd, "source", SIZE, life->sha256, &err);
	if (status == KEEP_OK)
		status = kp_s3_list(s3, "", KP_S3_ALL_BELOW, ignore_entry, &seen, &err);
	if (status == KEEP_OK)
		status = kp_s3_get_file(s3, "k", life->at.fd, "back", SIZE, life->sha256, &err);
	if (status == KEEP_OK)
		status = kp_s3_delete(s3, "k", &err);
	kp_s3_close(&s3);
	CHECK(faccessat(life->at.fd, "back.partial", F_OK, 0) != 0 || status != KEEP_OK,
	      "a half file");
	if (status == KEEP_OK) {
		struct stat about;

		CHECK(seen >= 1 && fstatat(life->at.fd, "back", &about, 0) == 0 &&
			      about.st_size == SIZE,
		      "OK, but not done");
	}
	(void)unlinkat(life->at.fd, "back", 0);
	return status;
}

/* A backup up, listed and down. */
static keep_status live_with_backups(void *ctx)
{
	struct life *life = ctx;
	char into[200], partial[220];
	kp_s3 *s3 = NULL;
	kp_s3_backups backups = {.items = NULL};
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = kp_s3_open(&life->at.options, &s3, &err);
	struct stat about;

	(void)snprintf(into, sizeof into, "%s/into", life->at.folder.path);
	(void)snprintf(partial, sizeof partial, "%s.partial", into);
	if (status == KEEP_OK)
		status = kp_s3_backup_upload(s3, life->folder, "b", &err);
	if (status == KEEP_OK)
		status = kp_s3_backup_list(s3, &backups, &err);
	kp_s3_backups_release(&backups);
	if (status == KEEP_OK)
		status = kp_s3_backup_download(s3, "b", into, &err);
	kp_s3_close(&s3);
	if (stat(into, &about) == 0) {
		char path[260];

		(void)snprintf(path, sizeof path, "%s/data/file", into);
		CHECK(stat(path, &about) == 0 && about.st_size == SIZE, "a half backup");
		(void)nftw(into, temp_folder_remove_one, 16, FTW_DEPTH | FTW_PHYS);
	} else {
		CHECK(status != KEEP_OK, "OK, but not there");
	}
	(void)nftw(partial, temp_folder_remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return status;
}

static void prepare(struct life *life)
{
	char text[256], sha256[KP_S3_SHA256_TEXT];
	int fd;

	s3_fixture_open(&life->at);
	life->at.options.tries = 2;
	s3_make_file(&life->at, "source", SIZE, 1, life->sha256);
	CHECK(mkdirat(life->at.fd, "b", 0700) == 0 && mkdirat(life->at.fd, "b/data", 0700) == 0,
	      "no folder");
	s3_make_file(&life->at, "b/data/file", SIZE, 1, sha256);
	(void)snprintf(text, sizeof text,
		       "{\"files\":[{\"path\":\"file\",\"size\":%d,\"sha256\":\"%s\"}]}", SIZE,
		       sha256);
	fd = openat(life->at.fd, "b/manifest.json", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), "no manifest");
	close(fd);
	(void)snprintf(life->folder, sizeof life->folder, "%s/b", life->at.folder.path);
	/* What libraries set up at their first use. */
	CHECK(live_with_objects(life) == KEEP_OK && live_with_backups(life) == KEEP_OK,
	      "the life itself fails");
}

static void torture_both(enum kp_fault_kind kind, unsigned expected, long least)
{
	struct life life;
	long rounds;

	prepare(&life);
	rounds = torture(kind, expected, live_with_objects, &life);
	rounds += torture(kind, expected, live_with_backups, &life);
	CHECK(rounds >= least, "%ld rounds", rounds);
	print_message("%ld rounds\n", rounds);
	s3_fixture_close(&life.at);
}

static void every_allocation_may_fail(void **state)
{
	(void)state;
	torture_both(KP_FAULT_ALLOC, MAY(KEEP_OK) | MAY(KEEP_NO_MEMORY) | MAY(KEEP_UNAVAILABLE),
		     20);
}

static void every_file_call_may_fail(void **state)
{
	(void)state;
	torture_both(KP_FAULT_FILE, MAY(KEEP_OK) | MAY(KEEP_UNAVAILABLE), 10);
}

static void every_connection_may_break(void **state)
{
	(void)state;
	torture_both(KP_FAULT_CONNECT, MAY(KEEP_OK) | MAY(KEEP_UNAVAILABLE), 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_connection_may_break),
		cmocka_unit_test(every_file_call_may_fail),
		cmocka_unit_test(every_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

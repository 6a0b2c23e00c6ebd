/*
 * test_s3_backup.c - whole backups in a bucket: an interrupted one is never taken for a good one,
 * and is ended by repeating it; a download is verified and has its name only when it is whole.
 */
#include "s3_fixture.h"

#include "backup/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

struct content {
	const char *path;
	int64_t size;
};

static const struct content contents[] = {
	{"assistant/assistant.db", 40000},
	{"gateway/messages.db", 300000},
	{"home.json", 0},
	{"mailbox/sessions/g 1/s+1/inbox/Zürich.txt", 17},
	{"mailbox/sessions/g 1/s+1/inbound.db", 4096},
};

static void make_folder(const s3_fixture *at, const char *path)
{
	CHECK(mkdirat(at->fd, path, 0700) == 0 || errno == EEXIST, "%s", path);
}

static void make_file(const s3_fixture *at, const char *path, int64_t size, unsigned seed,
		      char sha256[KP_S3_SHA256_TEXT])
{
	char folder[256];

	(void)snprintf(folder, sizeof folder, "%s", path);
	for (char *slash = strchr(folder, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		make_folder(at, folder);
		*slash = '/';
	}
	s3_make_file(at, path, size, seed, sha256);
}

static void write_text(const s3_fixture *at, const char *path, const char *text)
{
	int fd = openat(at->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), "%s", path);
	close(fd);
}

/* <folder>/<name>/ with the contents above and a manifest of them; its path. */
static const char *make_backup(const s3_fixture *at, const char *name, unsigned seed)
{
	static char whole[160];
	char text[4096] = "{\"format\":1,\"folders\":[{\"path\":\"empty/one\"}],\"files\":[",
	     path[256], sha256[KP_S3_SHA256_TEXT];

	for (size_t i = 0; i < KP_COUNT(contents); i++) {
		size_t len = strlen(text);

		(void)snprintf(path, sizeof path, "%s/data/%s", name, contents[i].path);
		make_file(at, path, contents[i].size, seed + (unsigned)i, sha256);
		(void)snprintf(text + len, sizeof text - len,
			       "%s{\"path\":\"%s\",\"size\":%lld,\"sha256\":\"%s\"}", i ? "," : "",
			       contents[i].path, (long long)contents[i].size, sha256);
	}
	(void)snprintf(text + strlen(text), sizeof text - strlen(text), "]}");
	(void)snprintf(path, sizeof path, "%s/manifest.json", name);
	write_text(at, path, text);
	(void)snprintf(whole, sizeof whole, "%s/%s", at->folder.path, name);
	return whole;
}

static void assert_same_files(const s3_fixture *at, const char *a, const char *b)
{
	char path[256], of_a[KP_S3_SHA256_TEXT], of_b[KP_S3_SHA256_TEXT];
	struct stat about;

	for (size_t i = 0; i <= KP_COUNT(contents); i++) {
		const char *rest = i ? contents[i - 1].path : "manifest.json";
		const char *folder = i ? "data/" : "";

		(void)snprintf(path, sizeof path, "%s/%s%s", a, folder, rest);
		s3_digest_file(at, path, of_a);
		(void)snprintf(path, sizeof path, "%s/%s%s", b, folder, rest);
		s3_digest_file(at, path, of_b);
		assert_string_equal(of_a, of_b);
		CHECK(fstatat(at->fd, path, &about, 0) == 0 && (about.st_mode & 0777) == 0600, "%s",
		      path);
	}
	(void)snprintf(path, sizeof path, "%s/data/empty/one", b);
	assert_true(s3_has_file(at, path));
	CHECK(fstatat(at->fd, b, &about, 0) == 0 && (about.st_mode & 0777) == 0700, "%s", b);
}

static const char *into_path(const s3_fixture *at, const char *name)
{
	static char path[160];

	(void)snprintf(path, sizeof path, "%s/%s", at->folder.path, name);
	return path;
}

/* How many backups are listed, and is the first complete? */
static size_t count_backups(s3_fixture *at, bool *is_complete)
{
	kp_s3_backups backups;
	keep_error err = KEEP_ERROR_INIT;
	size_t count;

	OK(kp_s3_backup_list(at->s3, &backups, &err));
	count = backups.count;
	*is_complete = count && backups.items[0].is_complete;
	if (*is_complete)
		assert_true(backups.items[0].uploaded_ms > 0);
	kp_s3_backups_release(&backups);
	return count;
}

static void a_backup_goes_up_and_comes_back(void **state)
{
	s3_fixture at;
	keep_error err = KEEP_ERROR_INIT;
	bool is_complete;

	(void)state;
	s3_fixture_open(&at);
	assert_int_equal(count_backups(&at, &is_complete), 0);
	OK(kp_s3_backup_upload(at.s3, make_backup(&at, "one", 1), "20260411T171821Z", &err));
	assert_int_equal(count_backups(&at, &is_complete), 1);
	assert_true(is_complete);
	OK(kp_s3_backup_download(at.s3, "20260411T171821Z", into_path(&at, "back"), &err));
	assert_same_files(&at, "one", "back");
	assert_false(s3_has_file(&at, "back.partial"));
	assert_int_equal(
		kp_s3_backup_download(at.s3, "20260411T171821Z", into_path(&at, "back"), &err),
		KEEP_CONFLICT);
	OK(kp_s3_backup_remove(at.s3, "20260411T171821Z", &err));
	assert_int_equal(count_backups(&at, &is_complete), 0);
	assert_int_equal(kp_s3_backup_remove(at.s3, "20260411T171821Z", &err), KEEP_NOT_FOUND);
	assert_int_equal(
		kp_s3_backup_download(at.s3, "20260411T171821Z", into_path(&at, "no"), &err),
		KEEP_NOT_FOUND);
	assert_false(s3_has_file(&at, "no.partial"));
	s3_fixture_close(&at);
}

static void another_backup_of_the_same_name_is_a_conflict(void **state)
{
	s3_fixture at;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	s3_fixture_open(&at);
	OK(kp_s3_backup_upload(at.s3, make_backup(&at, "one", 1), "b", &err));
	assert_int_equal(kp_s3_backup_upload(at.s3, make_backup(&at, "two", 50), "b", &err),
			 KEEP_CONFLICT);
	OK(kp_s3_backup_download(at.s3, "b", into_path(&at, "back"), &err));
	assert_same_files(&at, "one", "back");
	s3_fixture_close(&at);
}

static void a_backup_that_is_not_its_manifest_is_not_uploaded(void **state)
{
	s3_fixture at;
	keep_error err = KEEP_ERROR_INIT;
	const char *path;
	char sha256[KP_S3_SHA256_TEXT];
	bool is_complete;

	(void)state;
	s3_fixture_open(&at);
	path = make_backup(&at, "one", 1);
	make_file(&at, "one/data/gateway/messages.db", 300000, 99, sha256);
	assert_int_equal(kp_s3_backup_upload(at.s3, path, "b", &err), KEEP_CORRUPT);
	CHECK(strstr(err.message, "gateway/messages.db"), "%s", err.message);
	(void)count_backups(&at, &is_complete);
	assert_false(is_complete);
	CHECK(unlinkat(at.fd, "one/data/gateway/messages.db", 0) == 0, "no file");
	assert_int_equal(kp_s3_backup_upload(at.s3, path, "b", &err), KEEP_NOT_FOUND);
	(void)count_backups(&at, &is_complete);
	assert_false(is_complete);
	OK(kp_s3_backup_remove(at.s3, "b", &err));
	s3_fixture_close(&at);
}

static void a_manifest_that_leaves_its_folder_is_refused(void **state)
{
	static const char *const paths[] = {
		"../x", "/etc/x",   "a/../../x", "a//x", "./x",       "a/.",          "",
		"a/",   "x\\u0000", "x\\n",      "..",   "x.partial", "data/\\u007f",
	};
	s3_fixture at;

	(void)state;
	s3_fixture_open(&at);
	make_folder(&at, "bad");
	for (size_t i = 0; i < KP_COUNT(paths); i++) {
		char text[512], sha256[KP_S3_SHA256_TEXT];
		keep_error err = KEEP_ERROR_INIT;
		kp_s3_object object;

		(void)snprintf(text, sizeof text,
			       "{\"files\":[{\"path\":\"%s\",\"size\":1,\"sha256\":\"%064d\"}]}",
			       paths[i], 0);
		write_text(&at, "bad/manifest.json", text);
		CHECK(kp_s3_backup_upload(at.s3, into_path(&at, "bad"), "bad", &err) ==
			      KEEP_CORRUPT,
		      "\"%s\": %s", paths[i], err.message);
		/* Somebody else's hand put it there. */
		s3_digest_file(&at, "bad/manifest.json", sha256);
		OK(kp_s3_put_file(at.s3, "bad/manifest.json", at.fd, "bad/manifest.json",
				  (int64_t)strlen(text), sha256, &err));
		CHECK(kp_s3_backup_download(at.s3, "bad", into_path(&at, "back"), &err) ==
			      KEEP_CORRUPT,
		      "\"%s\": %s", paths[i], err.message);
		assert_false(s3_has_file(&at, "back"));
		OK(kp_s3_head(at.s3, "bad/manifest.json", &object, &err));
		OK(kp_s3_delete(at.s3, "bad/manifest.json", &err));
	}
	s3_fixture_close(&at);
}

static void names_that_are_no_folders_are_refused(void **state)
{
	static const char *const names[] = {"", ".", "..", "a/b", ".hidden", "a b", "ü", "a\n"};
	s3_fixture at;
	const char *path;

	(void)state;
	s3_fixture_open(&at);
	path = make_backup(&at, "one", 1);
	for (size_t i = 0; i < KP_COUNT(names); i++) {
		keep_error err = KEEP_ERROR_INIT;

		assert_int_equal(kp_s3_backup_upload(at.s3, path, names[i], &err), KEEP_INVALID);
		assert_int_equal(kp_s3_backup_remove(at.s3, names[i], &err), KEEP_INVALID);
		assert_int_equal(
			kp_s3_backup_download(at.s3, names[i], into_path(&at, "back"), &err),
			KEEP_INVALID);
	}
	s3_fixture_close(&at);
}

/* ---------------------------------------------------------------- interrupted: the stand-in alone
 */

static void an_interrupted_upload_is_no_backup_and_is_ended_by_repeating_it(void **state)
{
	s3_fixture at;
	keep_error err = KEEP_ERROR_INIT;
	const char *path;
	bool is_complete;
	int64_t before;

	(void)state;
	s3_fixture_open(&at);
	path = make_backup(&at, "one", 1);
	s3_faults("[{\"kind\":\"403\",\"times\":1,\"method\":\"PUT\",\"contains\":\"inbound\"}]");
	assert_int_equal(kp_s3_backup_upload(at.s3, path, "b", &err), KEEP_DENIED);
	assert_int_equal(count_backups(&at, &is_complete), 1);
	assert_false(is_complete);
	assert_int_equal(kp_s3_backup_download(at.s3, "b", into_path(&at, "back"), &err),
			 KEEP_NOT_FOUND);
	before = s3_count("PUT");
	OK(kp_s3_backup_upload(at.s3, path, "b", &err));
	assert_int_equal(s3_count("PUT") - before, 3); /* two files and the manifest */
	assert_int_equal(count_backups(&at, &is_complete), 1);
	assert_true(is_complete);
	before = s3_count("PUT");
	OK(kp_s3_backup_upload(at.s3, path, "b", &err));
	assert_int_equal(s3_count("PUT") - before, 1); /* the manifest says it once more */
	OK(kp_s3_backup_download(at.s3, "b", into_path(&at, "back"), &err));
	assert_same_files(&at, "one", "back");
	s3_fixture_close(&at);
}

static void a_file_of_the_same_size_and_other_bytes_is_sent_again(void **state)
{
	s3_fixture at;
	char sha256[KP_S3_SHA256_TEXT];
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	s3_fixture_open(&at);
	s3_make_file(&at, "other", 300000, 77, sha256);
	OK(kp_s3_put_file(at.s3, "b/data/gateway/messages.db", at.fd, "other", 300000, sha256,
			  &err));
	OK(kp_s3_backup_upload(at.s3, make_backup(&at, "one", 1), "b", &err));
	OK(kp_s3_backup_download(at.s3, "b", into_path(&at, "back"), &err));
	assert_same_files(&at, "one", "back");
	s3_fixture_close(&at);
}

static void an_interrupted_download_is_gone_on_with(void **state)
{
	s3_fixture at;
	keep_error err = KEEP_ERROR_INIT;
	char sha256[KP_S3_SHA256_TEXT];
	int64_t before;

	(void)state;
	s3_fixture_open(&at);
	OK(kp_s3_backup_upload(at.s3, make_backup(&at, "one", 1), "b", &err));
	s3_faults("[{\"kind\":\"403\",\"times\":1,\"method\":\"GET\",\"contains\":\"inbound\"}]");
	assert_int_equal(kp_s3_backup_download(at.s3, "b", into_path(&at, "back"), &err),
			 KEEP_DENIED);
	assert_false(s3_has_file(&at, "back"));
	assert_true(s3_has_file(&at, "back.partial/data/gateway/messages.db"));
	/* A file that was damaged meanwhile is fetched again, one that is right is not. */
	make_file(&at, "back.partial/data/gateway/messages.db", 300000, 5, sha256);
	before = s3_count("GET");
	OK(kp_s3_backup_download(at.s3, "b", into_path(&at, "back"), &err));
	assert_int_equal(s3_count("GET") - before, 3);
	assert_same_files(&at, "one", "back");
	s3_fixture_close(&at);
}

static void a_removal_begins_with_the_manifest(void **state)
{
	s3_fixture at;
	keep_error err = KEEP_ERROR_INIT;
	bool is_complete;

	(void)state;
	s3_fixture_open(&at);
	OK(kp_s3_backup_upload(at.s3, make_backup(&at, "one", 1), "b", &err));
	s3_faults("[{\"kind\":\"403\",\"times\":9,\"method\":\"DELETE\",\"contains\":\"data/\"}]");
	assert_int_equal(kp_s3_backup_remove(at.s3, "b", &err), KEEP_DENIED);
	assert_int_equal(count_backups(&at, &is_complete), 1);
	assert_false(is_complete);
	s3_faults("[]");
	OK(kp_s3_backup_remove(at.s3, "b", &err));
	assert_int_equal(s3_object_count(), 0);
	s3_fixture_close(&at);
}

int main(void)
{
	const struct CMUnitTest anywhere[] = {
		cmocka_unit_test(a_backup_goes_up_and_comes_back),
		cmocka_unit_test(another_backup_of_the_same_name_is_a_conflict),
		cmocka_unit_test(a_backup_that_is_not_its_manifest_is_not_uploaded),
		cmocka_unit_test(a_manifest_that_leaves_its_folder_is_refused),
		cmocka_unit_test(names_that_are_no_folders_are_refused),
		cmocka_unit_test(a_file_of_the_same_size_and_other_bytes_is_sent_again),
	};
	const struct CMUnitTest interrupted[] = {
		cmocka_unit_test(an_interrupted_upload_is_no_backup_and_is_ended_by_repeating_it),
		cmocka_unit_test(an_interrupted_download_is_gone_on_with),
		cmocka_unit_test(a_removal_begins_with_the_manifest),
	};
	int failed = cmocka_run_group_tests(anywhere, NULL, NULL);

	/* A real server does not fail when it is asked to. */
	if (s3_is_stand_in())
		failed += cmocka_run_group_tests(interrupted, NULL, NULL);
	return failed;
}

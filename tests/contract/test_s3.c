/*
 * test_s3.c - objects of a bucket, against any server: the stand-in of tests/support/s3_server.py,
 * and by tests/s3/run_s3rver.sh one that other people wrote. Every test here must hold on both.
 */
#include "s3_fixture.h"

#include <sys/stat.h>

#define MIB ((int64_t)1 << 20)

static const char *put_and_get(s3_fixture *at, const char *key, int64_t size, unsigned seed)
{
	static char sha256[KP_S3_SHA256_TEXT];
	char back[KP_S3_SHA256_TEXT];
	keep_error err = KEEP_ERROR_INIT;
	kp_s3_object object;

	s3_make_file(at, "source", size, seed, sha256);
	OK(kp_s3_put_file(at->s3, key, at->fd, "source", size, sha256, &err));
	OK(kp_s3_head(at->s3, key, &object, &err));
	assert_int_equal(object.size, size);
	assert_true(object.has_sha256);
	assert_string_equal(object.sha256, sha256);
	assert_true(object.modified_ms > 0);
	OK(kp_s3_get_file(at->s3, key, at->fd, "back", size, sha256, &err));
	s3_digest_file(at, "back", back);
	assert_string_equal(back, sha256);
	assert_false(s3_has_file(at, "back.partial"));
	return sha256;
}

static void a_file_comes_back_as_it_was(void **state)
{
	static const int64_t sizes[] = {0, 1, 16383, 16384, 65537, 3 * 1024 * 1024 + 7};
	s3_fixture at;

	(void)state;
	s3_fixture_open(&at);
	for (size_t i = 0; i < KP_COUNT(sizes); i++)
		(void)put_and_get(&at, "a file", sizes[i], 7 + (unsigned)i);
	s3_fixture_close(&at);
}

static void a_large_file_goes_up_in_parts_and_comes_back(void **state)
{
	s3_fixture at;

	(void)state;
	s3_fixture_open(&at);
	at.options.single_bytes_max = 5 * MIB;
	at.options.part_bytes = 5 * MIB;
	s3_fixture_reopen(&at);
	(void)put_and_get(&at, "large", 12 * MIB + 13, 3);
	(void)put_and_get(&at, "large", 10 * MIB, 4); /* the last part is a whole one */
	if (s3_is_stand_in()) {
		assert_int_equal(s3_count("uploads"), 0);
		assert_int_equal(s3_object_count(), 1);
	}
	s3_fixture_close(&at);
}

static void a_file_without_a_known_checksum_is_held_against_the_stored_one(void **state)
{
	s3_fixture at;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	s3_fixture_open(&at);
	(void)put_and_get(&at, "k", 1000, 1);
	OK(kp_s3_get_file(at.s3, "k", at.fd, "back", -1, NULL, &err));
	s3_fixture_close(&at);
}

static const char *const keys[] = {
	"plain",
	"with blank",
	"with+plus",
	"with%percent",
	"with%20escape",
	"a/b/c.db",
	"Zürich/\xe2\x82\xac/\xf0\x9f\x98\x80",
	"quote'\"<>&",
	"~tilde-_.",
	"eq=uals&and?query#hash",
	"semi;colon:at@comma,dollar$star*paren()bang!",
};

static keep_status count_key(void *ctx, const kp_s3_entry *entry, keep_error *err)
{
	unsigned *found = ctx;

	(void)err;
	for (size_t i = 0; i < KP_COUNT(keys); i++)
		if (kp_bytes_equal(entry->key, keep_bytes_of(keys[i])))
			*found |= 1u << i;
	assert_false(entry->is_folder);
	return KEEP_OK;
}

static void every_key_is_encoded_rightly(void **state)
{
	s3_fixture at;
	char sha256[KP_S3_SHA256_TEXT];
	keep_error err = KEEP_ERROR_INIT;
	unsigned found = 0;

	(void)state;
	s3_fixture_open(&at);
	for (size_t i = 0; i < KP_COUNT(keys); i++) {
		s3_make_file(&at, "source", 100, (unsigned)i + 1, sha256);
		OK(kp_s3_put_file(at.s3, keys[i], at.fd, "source", 100, sha256, &err));
	}
	OK(kp_s3_list(at.s3, "", KP_S3_ALL_BELOW, count_key, &found, &err));
	assert_int_equal(found, (1u << KP_COUNT(keys)) - 1);
	for (size_t i = 0; i < KP_COUNT(keys); i++) {
		s3_make_file(&at, "source", 100, (unsigned)i + 1, sha256);
		OK(kp_s3_get_file(at.s3, keys[i], at.fd, "back", 100, sha256, &err));
		OK(kp_s3_delete(at.s3, keys[i], &err));
	}
	s3_fixture_close(&at);
}

static void a_missing_key_is_not_found(void **state)
{
	s3_fixture at;
	keep_error err = KEEP_ERROR_INIT;
	kp_s3_object object;

	(void)state;
	s3_fixture_open(&at);
	assert_int_equal(kp_s3_head(at.s3, "nothing", &object, &err), KEEP_NOT_FOUND);
	assert_int_equal(kp_s3_get_file(at.s3, "nothing", at.fd, "back", -1, NULL, &err),
			 KEEP_NOT_FOUND);
	assert_non_null(strstr(err.message, "NoSuchKey"));
	assert_false(s3_has_file(&at, "back"));
	assert_false(s3_has_file(&at, "back.partial"));
	OK(kp_s3_delete(at.s3, "nothing", &err));
	assert_int_equal(at.pauses, 0); /* nothing of that is tried again */
	s3_fixture_close(&at);
}

static void a_missing_bucket_is_not_found(void **state)
{
	s3_fixture at;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	s3_fixture_open(&at);
	at.options.bucket = "no-such-bucket-here";
	s3_fixture_reopen(&at);
	assert_int_equal(kp_s3_get_file(at.s3, "k", at.fd, "back", -1, NULL, &err), KEEP_NOT_FOUND);
	assert_non_null(strstr(err.message, "NoSuchBucket"));
	s3_fixture_close(&at);
}

static void a_wrong_secret_or_key_is_denied_and_told(void **state)
{
	static const struct {
		const char *access, *secret, *code;
	} wrongs[] = {
		{NULL, "another-secret-key-with-40-letters-in-it", "SignatureDoesNotMatch"},
		{"AKIDSOMEBODYELSE", NULL, "InvalidAccessKeyId"},
	};
	s3_fixture at;
	char sha256[KP_S3_SHA256_TEXT];

	(void)state;
	s3_fixture_open(&at);
	s3_make_file(&at, "source", 100, 1, sha256);
	for (size_t i = 0; i < KP_COUNT(wrongs); i++) {
		kp_s3_options right = at.options;
		keep_error err = KEEP_ERROR_INIT;

		if (wrongs[i].secret && s3_lacks("signatures"))
			continue;
		if (wrongs[i].access)
			at.options.access_key = wrongs[i].access;
		if (wrongs[i].secret)
			at.options.secret_key = wrongs[i].secret;
		s3_fixture_reopen(&at);
		assert_int_equal(kp_s3_put_file(at.s3, "k", at.fd, "source", 100, sha256, &err),
				 KEEP_DENIED);
		CHECK(strstr(err.message, wrongs[i].code), "%s", err.message);
		CHECK(!strstr(err.message, at.options.secret_key), "%s", err.message);
		CHECK(!strstr(err.message, at.options.access_key), "%s", err.message);
		assert_int_equal(at.pauses, 0);
		at.options = right;
	}
	s3_fixture_close(&at);
}

struct seen {
	char text[512];
	unsigned count;
};

static keep_status note_entry(void *ctx, const kp_s3_entry *entry, keep_error *err)
{
	struct seen *seen = ctx;

	(void)err;
	seen->count++;
	(void)snprintf(seen->text + strlen(seen->text), sizeof seen->text - strlen(seen->text),
		       "%.*s;", (int)entry->key.len, entry->key.data);
	return KEEP_OK;
}

static void a_listing_shows_folders_or_all(void **state)
{
	static const char *const names[] = {"a/1", "a/2", "b/c/3", "top"};
	s3_fixture at;
	char sha256[KP_S3_SHA256_TEXT];
	keep_error err = KEEP_ERROR_INIT;
	struct seen folders = {.count = 0}, all = {.count = 0}, some = {.count = 0};

	(void)state;
	s3_fixture_open(&at);
	s3_make_file(&at, "source", 10, 1, sha256);
	for (size_t i = 0; i < KP_COUNT(names); i++)
		OK(kp_s3_put_file(at.s3, names[i], at.fd, "source", 10, sha256, &err));
	OK(kp_s3_list(at.s3, "", KP_S3_THIS_FOLDER, note_entry, &folders, &err));
	assert_non_null(strstr(folders.text, "a/;"));
	if (!s3_lacks("folders of folders")) {
		assert_int_equal(folders.count, 3);
		assert_non_null(strstr(folders.text, "b/;"));
	}
	assert_non_null(strstr(folders.text, "top;"));
	OK(kp_s3_list(at.s3, NULL, KP_S3_ALL_BELOW, note_entry, &all, &err));
	assert_string_equal(all.text, "a/1;a/2;b/c/3;top;");
	OK(kp_s3_list(at.s3, "a/", KP_S3_ALL_BELOW, note_entry, &some, &err));
	assert_string_equal(some.text, "a/1;a/2;");
	s3_fixture_close(&at);
}

static void a_file_that_is_not_its_checksum_is_not_stored(void **state)
{
	static const char wrong[] =
		"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
	s3_fixture at;
	char sha256[KP_S3_SHA256_TEXT];
	keep_error err = KEEP_ERROR_INIT;
	kp_s3_object object;

	(void)state;
	s3_fixture_open(&at);
	at.options.single_bytes_max = 5 * MIB;
	at.options.part_bytes = 5 * MIB;
	s3_fixture_reopen(&at);
	s3_make_file(&at, "small", 1000, 1, sha256);
	s3_make_file(&at, "empty", 0, 1, sha256);
	s3_make_file(&at, "large", 6 * MIB, 1, sha256);
	assert_int_equal(kp_s3_put_file(at.s3, "k", at.fd, "small", 1000, wrong, &err),
			 KEEP_CORRUPT);
	assert_int_equal(kp_s3_put_file(at.s3, "k", at.fd, "small", 999, sha256, &err),
			 KEEP_CORRUPT);
	assert_int_equal(kp_s3_put_file(at.s3, "k", at.fd, "empty", 0, wrong, &err), KEEP_CORRUPT);
	assert_int_equal(kp_s3_put_file(at.s3, "k", at.fd, "large", 6 * MIB, wrong, &err),
			 KEEP_CORRUPT);
	assert_int_equal(kp_s3_put_file(at.s3, "k", at.fd, "small", 1000, "ABC", &err),
			 KEEP_INVALID);
	assert_int_equal(kp_s3_put_file(at.s3, "k", at.fd, "missing", 1, sha256, &err),
			 KEEP_NOT_FOUND);
	if (!s3_lacks("whole bodies alone"))
		assert_int_equal(kp_s3_head(at.s3, "k", &object, &err), KEEP_NOT_FOUND);
	if (s3_is_stand_in())
		assert_int_equal(s3_count("uploads"), 0);
	s3_fixture_close(&at);
}

static void an_object_that_is_not_what_is_wanted_is_corrupt(void **state)
{
	static const char wrong[] =
		"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
	s3_fixture at;
	char sha256[KP_S3_SHA256_TEXT];
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	s3_fixture_open(&at);
	s3_make_file(&at, "source", 100000, 5, sha256);
	OK(kp_s3_put_file(at.s3, "k", at.fd, "source", 100000, sha256, &err));
	assert_int_equal(kp_s3_get_file(at.s3, "k", at.fd, "back", 100000, wrong, &err),
			 KEEP_CORRUPT);
	assert_int_equal(kp_s3_get_file(at.s3, "k", at.fd, "back", 99999, sha256, &err),
			 KEEP_CORRUPT);
	assert_int_equal(kp_s3_get_file(at.s3, "k", at.fd, "back", 100001, sha256, &err),
			 KEEP_CORRUPT);
	assert_false(s3_has_file(&at, "back"));
	assert_false(s3_has_file(&at, "back.partial"));
	s3_fixture_close(&at);
}

/* A number of KiB of /proc/self/status. */
static long read_peak_kib(void)
{
	FILE *file = fopen("/proc/self/status", "r");
	char line[256];
	long peak = -1;

	CHECK(file, "no /proc");
	while (fgets(line, sizeof line, file))
		if (sscanf(line, "VmHWM: %ld", &peak) == 1)
			break;
	fclose(file);
	CHECK(peak > 0, "no VmHWM");
	return peak;
}

static void memory_does_not_grow_with_the_file(void **state)
{
	s3_fixture at;
	long before;

	(void)state;
	s3_fixture_open(&at);
	(void)put_and_get(&at, "small", 100000, 1);
	before = read_peak_kib();
	(void)put_and_get(&at, "large", 200 * MIB, 0);
	CHECK(read_peak_kib() - before < 16 * 1024, "%ld KiB more for 200 MiB",
	      read_peak_kib() - before);
	s3_fixture_close(&at);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_comes_back_as_it_was),
		cmocka_unit_test(a_large_file_goes_up_in_parts_and_comes_back),
		cmocka_unit_test(a_file_without_a_known_checksum_is_held_against_the_stored_one),
		cmocka_unit_test(every_key_is_encoded_rightly),
		cmocka_unit_test(a_missing_key_is_not_found),
		cmocka_unit_test(a_missing_bucket_is_not_found),
		cmocka_unit_test(a_wrong_secret_or_key_is_denied_and_told),
		cmocka_unit_test(a_listing_shows_folders_or_all),
		cmocka_unit_test(a_file_that_is_not_its_checksum_is_not_stored),
		cmocka_unit_test(an_object_that_is_not_what_is_wanted_is_corrupt),
		cmocka_unit_test(memory_does_not_grow_with_the_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

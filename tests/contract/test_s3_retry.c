/*
 * test_s3_retry.c - what fails on the way to a bucket, against the stand-in of
 * tests/support/s3_server.py: what is tried again and ends well, what is not, and that nothing half
 * stays.
 */
#include "s3_fixture.h"

#include <sys/stat.h>

#define MIB ((int64_t)1 << 20)
#define SIZE 300000

static keep_status put(s3_fixture *at, keep_error *err)
{
	char sha256[KP_S3_SHA256_TEXT];

	s3_make_file(at, "source", SIZE, 1, sha256);
	return kp_s3_put_file(at->s3, "k", at->fd, "source", SIZE, sha256, err);
}

static keep_status get(s3_fixture *at, keep_error *err)
{
	return kp_s3_get_file(at->s3, "k", at->fd, "back", SIZE, NULL, err);
}

static keep_status ignore_entry(void *ctx, const kp_s3_entry *entry, keep_error *err)
{
	(void)ctx, (void)entry, (void)err;
	return KEEP_OK;
}

/* ---------------------------------------------------------------- what is tried again */

static void a_server_that_fails_for_a_while_is_tried_again(void **state)
{
	static const char *const kinds[] = {"500", "502",      "503", "504",  "429",
					    "408", "slowdown", "cut", "lost", "retry_after"};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(kinds); i++) {
		s3_fixture at;
		keep_error err = KEEP_ERROR_INIT;
		char rules[256];

		s3_fixture_open(&at);
		(void)snprintf(rules, sizeof rules,
			       "[{\"kind\":\"%s\",\"times\":2,\"method\":\"PUT\"},"
			       "{\"kind\":\"%s\",\"times\":2,\"method\":\"GET\"},"
			       "{\"kind\":\"%s\",\"times\":2,\"method\":\"HEAD\"},"
			       "{\"kind\":\"%s\",\"times\":2,\"method\":\"DELETE\"}]",
			       kinds[i], kinds[i], kinds[i], kinds[i]);
		s3_faults(rules);
		OK(put(&at, &err));
		/* A connection that is gone at its second use is tried anew by libcurl itself. */
		assert_in_range(at.pauses, 1, 2);
		OK(get(&at, &err));
		OK(kp_s3_delete(at.s3, "k", &err));
		assert_true(at.pauses >= 3);
		if (strcmp(kinds[i], "retry_after") == 0)
			assert_true(at.paused_ms >= at.pauses * 7000);
		assert_int_equal(s3_object_count(), 0);
		s3_fixture_close(&at);
	}
}

static void a_server_that_goes_on_failing_is_unavailable_in_the_end(void **state)
{
	s3_fixture at;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	s3_fixture_open(&at);
	s3_faults("[{\"kind\":\"503\",\"times\":1000}]");
	assert_int_equal(put(&at, &err), KEEP_UNAVAILABLE);
	assert_int_equal(s3_count("PUT"), 6);
	assert_int_equal(at.pauses, 5);
	/* Each pause is at least half of twice the one before: 100, 200, 400, 800, 1600 ms. */
	assert_in_range(at.paused_ms, 3100, 6200);
	assert_int_equal(s3_object_count(), 0);
	s3_fixture_close(&at);
}

static void a_server_that_is_not_there_is_unavailable(void **state)
{
	s3_fixture at;
	keep_error err = KEEP_ERROR_INIT;
	kp_s3_object object;

	(void)state;
	s3_fixture_open(&at);
	at.options.endpoint = "http://127.0.0.1:9";
	s3_fixture_reopen(&at);
	assert_int_equal(kp_s3_head(at.s3, "k", &object, &err), KEEP_UNAVAILABLE);
	assert_int_equal(at.pauses, 5);
	s3_fixture_close(&at);
}

static void a_silent_server_is_given_up_after_the_time_limit(void **state)
{
	s3_fixture at;
	keep_error err = KEEP_ERROR_INIT;
	kp_s3_object object;
	int64_t begin;

	(void)state;
	s3_fixture_open(&at);
	at.options.timeout_ms = 1000;
	at.options.tries = 1;
	s3_fixture_reopen(&at);
	s3_faults("[{\"kind\":\"silent\",\"times\":9,\"after\":60}]");
	begin = kp_monotonic_ns();
	assert_int_equal(kp_s3_head(at.s3, "k", &object, &err), KEEP_UNAVAILABLE);
	assert_true(kp_monotonic_ns() - begin < (int64_t)20000000000 * test_patience());
	s3_fixture_close(&at);
}

/* ---------------------------------------------------------------- what is not */

static void what_will_never_work_is_not_tried_again(void **state)
{
	static const struct {
		const char *rule;
		keep_status status;
		const char *told;
	} cases[] = {
		{"\"kind\":\"403\",\"code\":\"AccessDenied\"", KEEP_DENIED, "403 AccessDenied"},
		{"\"kind\":\"401\",\"code\":\"Unauthorized\"", KEEP_DENIED, "401 Unauthorized"},
		{"\"kind\":\"400\",\"code\":\"ExpiredToken\"", KEEP_DENIED, "ExpiredToken"},
		{"\"kind\":\"400\",\"code\":\"InvalidRequest\"", KEEP_INVALID, "InvalidRequest"},
		{"\"kind\":\"400\",\"code\":\"EntityTooLarge\"", KEEP_FULL, "EntityTooLarge"},
		{"\"kind\":\"507\",\"code\":\"XMinioStorageFull\"", KEEP_FULL, "XMinioStorageFull"},
		{"\"kind\":\"501\",\"code\":\"NotImplemented\"", KEEP_INVALID, "NotImplemented"},
		{"\"kind\":\"301\",\"code\":\"PermanentRedirect\"", KEEP_INVALID, "eu-central-1"},
		{"\"kind\":\"307\",\"code\":\"TemporaryRedirect\"", KEEP_INVALID, "eu-central-1"},
		{"\"kind\":\"region\"", KEEP_INVALID, "eu-west-3"},
	};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		s3_fixture at;
		keep_error err = KEEP_ERROR_INIT;
		char rules[256];

		s3_fixture_open(&at);
		(void)snprintf(rules, sizeof rules, "[{%s,\"times\":99}]", cases[i].rule);
		s3_faults(rules);
		CHECK(put(&at, &err) == cases[i].status, "%s", err.message);
		CHECK(strstr(err.message, cases[i].told), "%s", err.message);
		CHECK(!strstr(err.message, "AKID"), "%s", err.message);
		assert_int_equal(at.pauses, 0);
		assert_int_equal(s3_object_count(), 0);
		s3_fixture_close(&at);
	}
}

static void an_answer_that_is_no_listing_is_refused(void **state)
{
	static const char *const kinds[] = {"not_xml", "entities", "endless"};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(kinds); i++) {
		s3_fixture at;
		keep_error err = KEEP_ERROR_INIT;
		char rules[128];

		s3_fixture_open(&at);
		(void)snprintf(rules, sizeof rules, "[{\"kind\":\"%s\",\"times\":99}]", kinds[i]);
		s3_faults(rules);
		assert_int_equal(kp_s3_list(at.s3, "", KP_S3_ALL_BELOW, ignore_entry, NULL, &err),
				 KEEP_UNAVAILABLE);
		s3_fixture_close(&at);
	}
}

static void a_certificate_that_nobody_vouches_for_is_denied(void **state)
{
	s3_fixture at;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	s3_fixture_open(&at);
	at.options.endpoint = getenv("KEEP_TEST_S3_TLS");
	s3_fixture_reopen(&at);
	assert_int_equal(put(&at, &err), KEEP_DENIED);
	assert_non_null(strstr(err.message, "certificate"));
	assert_int_equal(at.pauses, 0);
	at.options.ca_file = getenv("KEEP_TEST_S3_CA");
	s3_fixture_reopen(&at);
	OK(put(&at, &err));
	OK(get(&at, &err));
	s3_fixture_close(&at);
}

/* ---------------------------------------------------------------- bodies */

static void a_download_that_breaks_goes_on_where_it_was(void **state)
{
	s3_fixture at;
	char sha256[KP_S3_SHA256_TEXT], back[KP_S3_SHA256_TEXT];
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	s3_fixture_open(&at);
	OK(put(&at, &err));
	s3_faults("[{\"kind\":\"cut_body\",\"times\":3,\"after\":70000}]");
	OK(get(&at, &err));
	s3_digest_file(&at, "source", sha256);
	s3_digest_file(&at, "back", back);
	assert_string_equal(back, sha256);
	assert_int_equal(s3_count("GET"), 4); /* 3 * 70000 bytes, then the rest */
	/* A server that does not know Range, or lost the object's place, sends all again. */
	s3_faults("[{\"kind\":\"cut_body\",\"times\":1,\"after\":70000},"
		  "{\"kind\":\"no_range\",\"times\":1}]");
	OK(get(&at, &err));
	s3_digest_file(&at, "back", back);
	assert_string_equal(back, sha256);
	s3_fixture_close(&at);
}

static void a_download_that_never_gets_on_ends(void **state)
{
	s3_fixture at;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	s3_fixture_open(&at);
	OK(put(&at, &err));
	s3_faults("[{\"kind\":\"cut_body\",\"times\":1000,\"after\":10}]");
	assert_int_equal(get(&at, &err), KEEP_UNAVAILABLE);
	assert_int_equal(s3_count("GET"), 6);
	assert_false(s3_has_file(&at, "back"));
	assert_false(s3_has_file(&at, "back.partial"));
	s3_fixture_close(&at);
}

static void a_damaged_download_is_fetched_again_and_then_refused(void **state)
{
	s3_fixture at;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	s3_fixture_open(&at);
	OK(put(&at, &err));
	s3_faults("[{\"kind\":\"damaged\",\"times\":1}]");
	OK(get(&at, &err));
	s3_faults("[{\"kind\":\"damaged\",\"times\":1000}]");
	assert_int_equal(kp_s3_get_file(at.s3, "k", at.fd, "other", SIZE, NULL, &err),
			 KEEP_CORRUPT);
	assert_false(s3_has_file(&at, "other"));
	assert_false(s3_has_file(&at, "other.partial"));
	s3_fixture_close(&at);
}

static void what_the_server_stored_wrongly_does_not_stay(void **state)
{
	static const char *const kinds[] = {"wrong_etag", "wrong_object"};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(kinds); i++) {
		s3_fixture at;
		keep_error err = KEEP_ERROR_INIT;
		char rules[128];

		s3_fixture_open(&at);
		(void)snprintf(rules, sizeof rules,
			       "[{\"kind\":\"%s\",\"times\":2,\"method\":\"PUT\"}]", kinds[i]);
		s3_faults(rules);
		OK(put(&at, &err));
		OK(get(&at, &err));
		(void)snprintf(rules, sizeof rules,
			       "[{\"kind\":\"%s\",\"times\":99,\"method\":\"PUT\"}]", kinds[i]);
		s3_faults(rules);
		assert_int_equal(put(&at, &err), KEEP_CORRUPT);
		assert_int_equal(s3_object_count(), 0);
		s3_fixture_close(&at);
	}
}

static void an_encrypting_server_is_asked_what_it_stored(void **state)
{
	s3_fixture at;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	s3_fixture_open(&at);
	s3_faults("[{\"kind\":\"encrypted\",\"times\":1,\"method\":\"PUT\"}]");
	OK(put(&at, &err));
	assert_int_equal(s3_count("HEAD"), 1);
	s3_fixture_close(&at);
}

/* ---------------------------------------------------------------- parts */

static keep_status put_parts(s3_fixture *at, keep_error *err)
{
	char sha256[KP_S3_SHA256_TEXT];

	at->options.single_bytes_max = 5 * MIB;
	at->options.part_bytes = 5 * MIB;
	s3_fixture_reopen(at);
	s3_make_file(at, "large", 11 * MIB, 2, sha256);
	return kp_s3_put_file(at->s3, "large", at->fd, "large", 11 * MIB, sha256, err);
}

static void an_upload_in_parts_survives_what_may_be_tried_again(void **state)
{
	static const char *const rules[] = {
		"[{\"kind\":\"500\",\"times\":2,\"contains\":\"uploads=\"}]",
		"[{\"kind\":\"cut\",\"times\":2,\"contains\":\"partNumber=2\"}]",
		"[{\"kind\":\"lost\",\"times\":1,\"contains\":\"partNumber=3\"}]",
		"[{\"kind\":\"wrong_etag\",\"times\":1,\"contains\":\"partNumber=1\"}]",
		"[{\"kind\":\"error_in_200\",\"times\":2,\"contains\":\"uploadId\",\"method\":"
		"\"POST\"}]",
		"[{\"kind\":\"503\",\"times\":2,\"contains\":\"uploadId\",\"method\":\"POST\"}]",
		/* It was completed, and the answer was lost: the repetition finds no such upload.
		 */
		"[{\"kind\":\"lost\",\"times\":1,\"contains\":\"uploadId\",\"method\":\"POST\"}]",
	};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(rules); i++) {
		s3_fixture at;
		keep_error err = KEEP_ERROR_INIT;

		s3_fixture_open(&at);
		s3_faults(rules[i]);
		OK(put_parts(&at, &err));
		assert_int_equal(s3_count("uploads"), 0);
		assert_int_equal(s3_object_count(), 1);
		OK(kp_s3_get_file(at.s3, "large", at.fd, "back", 11 * MIB, NULL, &err));
		s3_fixture_close(&at);
	}
}

static void a_broken_upload_in_parts_leaves_nothing(void **state)
{
	static const struct {
		const char *rules;
		keep_status status;
	} cases[] = {
		{"[{\"kind\":\"500\",\"times\":99,\"contains\":\"partNumber=2\"}]",
		 KEEP_UNAVAILABLE},
		{"[{\"kind\":\"403\",\"times\":99,\"contains\":\"partNumber=3\"}]", KEEP_DENIED},
		{"[{\"kind\":\"wrong_etag\",\"times\":99,\"contains\":\"partNumber=1\"}]",
		 KEEP_CORRUPT},
		{"[{\"kind\":\"503\",\"times\":99,\"contains\":\"uploadId\",\"method\":\"POST\"}]",
		 KEEP_UNAVAILABLE},
		{"[{\"kind\":\"error_in_200\",\"times\":99,\"contains\":\"uploadId\",\"method\":"
		 "\"POST\"}]",
		 KEEP_UNAVAILABLE},
		{"[{\"kind\":\"403\",\"times\":99,\"contains\":\"uploads=\"}]", KEEP_DENIED},
	};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		s3_fixture at;
		keep_error err = KEEP_ERROR_INIT;

		s3_fixture_open(&at);
		s3_faults(cases[i].rules);
		CHECK(put_parts(&at, &err) == cases[i].status, "%zu: %s", i, err.message);
		assert_int_equal(s3_count("uploads"), 0);
		assert_int_equal(s3_object_count(), 0);
		s3_fixture_close(&at);
	}
}

static void uploads_that_never_ended_are_pruned_by_their_age(void **state)
{
	s3_fixture at;
	keep_error err = KEEP_ERROR_INIT;
	size_t count = 0;

	(void)state;
	s3_fixture_open(&at);
	/* What a killed process leaves: parts that nobody can abort, here because that is refused.
	 */
	for (int i = 0; i < 5; i++) {
		s3_faults("[{\"kind\":\"403\",\"times\":1,\"contains\":\"partNumber=2\"},"
			  "{\"kind\":\"403\",\"times\":1,\"method\":\"DELETE\"}]");
		assert_int_equal(put_parts(&at, &err), KEEP_DENIED);
	}
	assert_int_equal(s3_count("uploads"), 5);
	OK(kp_s3_prune_uploads(at.s3, "", kp_clock_ms() - 3600000, &count, &err));
	assert_int_equal(count, 0);
	assert_int_equal(s3_count("uploads"), 5);
	s3_age_uploads(7200);
	OK(kp_s3_prune_uploads(at.s3, "elsewhere/", kp_clock_ms() - 3600000, &count, &err));
	assert_int_equal(count, 0);
	OK(kp_s3_prune_uploads(at.s3, "", kp_clock_ms() - 3600000, &count, &err));
	assert_int_equal(count, 5);
	assert_int_equal(s3_count("uploads"), 0);
	s3_fixture_close(&at);
}

/* ---------------------------------------------------------------- the caller's flag */

static void a_cancelled_call_ends_and_leaves_nothing(void **state)
{
	s3_fixture at;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	s3_fixture_open(&at);
	at.cancelled = 1;
	assert_int_equal(put(&at, &err), KEEP_BUSY);
	assert_int_equal(s3_count("PUT"), 0);
	at.cancelled = 0;
	at.cancel_after = 2;
	s3_faults("[{\"kind\":\"503\",\"times\":99,\"contains\":\"partNumber=2\"}]");
	assert_int_equal(put_parts(&at, &err), KEEP_BUSY);
	assert_int_equal(s3_count("uploads"), 0);
	assert_int_equal(s3_object_count(), 0);
	s3_fixture_close(&at);
}

struct told {
	int64_t last, most;
	int count;
};

static void note_progress(void *ctx, const kp_s3_progress *progress)
{
	struct told *told = ctx;

	told->count++;
	told->last = progress->bytes_done;
	if (progress->bytes_done > told->most)
		told->most = progress->bytes_done;
}

static void progress_is_told_up_to_the_whole(void **state)
{
	s3_fixture at;
	struct told told = {.count = 0};
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	s3_fixture_open(&at);
	at.options.progress = note_progress;
	at.options.progress_ctx = &told;
	OK(put_parts(&at, &err));
	assert_true(told.count > 3);
	assert_int_equal(told.last, 11 * MIB);
	assert_int_equal(told.most, 11 * MIB);
	s3_fixture_close(&at);
}

static void a_listing_of_many_pages_is_whole(void **state)
{
	s3_fixture at;
	char sha256[KP_S3_SHA256_TEXT], key[32];
	keep_error err = KEEP_ERROR_INIT;
	kp_s3_backups backups;

	(void)state;
	s3_fixture_open(&at);
	s3_make_file(&at, "source", 1, 1, sha256);
	for (int i = 0; i < 25; i++) {
		(void)snprintf(key, sizeof key, "name-%02d/manifest.json", i);
		OK(kp_s3_put_file(at.s3, key, at.fd, "source", 1, sha256, &err));
	}
	s3_faults("[{\"kind\":\"\",\"times\":99,\"contains\":\"list-type\",\"after\":4}]");
	OK(kp_s3_backup_list(at.s3, &backups, &err));
	assert_int_equal(backups.count, 25);
	assert_string_equal(backups.items[24].name.data, "name-24");
	kp_s3_backups_release(&backups);
	assert_int_equal(s3_count("GET"), 7);
	s3_fixture_close(&at);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_server_that_fails_for_a_while_is_tried_again),
		cmocka_unit_test(a_server_that_goes_on_failing_is_unavailable_in_the_end),
		cmocka_unit_test(a_server_that_is_not_there_is_unavailable),
		cmocka_unit_test(a_silent_server_is_given_up_after_the_time_limit),
		cmocka_unit_test(what_will_never_work_is_not_tried_again),
		cmocka_unit_test(an_answer_that_is_no_listing_is_refused),
		cmocka_unit_test(a_certificate_that_nobody_vouches_for_is_denied),
		cmocka_unit_test(a_download_that_breaks_goes_on_where_it_was),
		cmocka_unit_test(a_download_that_never_gets_on_ends),
		cmocka_unit_test(a_damaged_download_is_fetched_again_and_then_refused),
		cmocka_unit_test(what_the_server_stored_wrongly_does_not_stay),
		cmocka_unit_test(an_encrypting_server_is_asked_what_it_stored),
		cmocka_unit_test(an_upload_in_parts_survives_what_may_be_tried_again),
		cmocka_unit_test(a_broken_upload_in_parts_leaves_nothing),
		cmocka_unit_test(uploads_that_never_ended_are_pruned_by_their_age),
		cmocka_unit_test(a_cancelled_call_ends_and_leaves_nothing),
		cmocka_unit_test(progress_is_told_up_to_the_whole),
		cmocka_unit_test(a_listing_of_many_pages_is_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

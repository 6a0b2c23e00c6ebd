/*
 * test_assistant_audit_chain.c - whatever is done to the audit log behind the store's back is
 * found, and what retention removes is sealed.
 *
 *     test_assistant_audit_chain sqlite|postgres
 */
#include "assistant_fixture.h"

#include "assistant/assistant_private.h"

#include <pthread.h>

#define T0 INT64_C(1790000000000)
#define DAY INT64_C(86400000)

enum { ENTRIES = 20 };

/* `count` entries, one an hour from T0 on. */
static void add(keep_assistant *assistant, int count)
{
	keep_error err = KEEP_ERROR_INIT;

	for (int i = 0; i < count; i++) {
		keep_audit_entry entry = {.event_type = KEEP_BYTES("x"),
					  .user_id = KEEP_BYTES("ada"),
					  .timestamp = T0 + i * (DAY / 24)};

		OK(keep_assistant_audit(assistant, &entry, NULL, &err));
	}
}

static keep_audit_report verify(keep_assistant *assistant, keep_memory *memory)
{
	keep_audit_report report = {.checked = -1};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_assistant_verify_audit(assistant, memory, &report, &err));
	return report;
}

static void assert_broken(keep_assistant *assistant, int64_t seq, const char *what)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_audit_report report = verify(assistant, &memory);

	CHECK(!report.is_intact, "%s was not found", what);
	CHECK(report.broken_seq == seq, "%s: %lld instead of %lld: %" KP_PRI, what,
	      (long long)report.broken_seq, (long long)seq, KP_ARG(report.reason));
	assert_true(report.reason.len > 10);
	keep_memory_release(&memory);
}

static void assert_intact(keep_assistant *assistant, int64_t checked, int64_t anchors)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_audit_report report = verify(assistant, &memory);

	CHECK(report.is_intact, "%" KP_PRI, KP_ARG(report.reason));
	assert_int_equal(report.checked, checked);
	assert_int_equal(report.anchors, anchors);
	keep_memory_release(&memory);
}

struct removal {
	int64_t before_ms, now_ms, removed;
	size_t limit;
};

static keep_status apply_removal(void *ctx, kp_lease *lease, keep_error *err)
{
	struct removal *removal = ctx;

	return kp_audit_seal(lease, removal->before_ms, removal->limit, removal->now_ms,
			     &removal->removed, err);
}

static int64_t seal(keep_assistant *assistant, int64_t before_ms, size_t limit)
{
	struct removal removal = {.before_ms = before_ms, .now_ms = T0 + 30 * DAY, .limit = limit};
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_store_change(&assistant->store, apply_removal, &removal, KP_NEWS_NONE, &err));
	return removal.removed;
}

/* ---------------------------------------------------------------- tampering */

static void every_change_behind_its_back_is_found_where_it_is(void **state)
{
	static const struct {
		const char *what, *sql, *more;
		int64_t seq;
	} cases[] = {
		{"an altered text", "UPDATE audit_log SET user_id = 'eve' WHERE seq = 5", NULL, 5},
		{"a text that went", "UPDATE audit_log SET user_id = NULL WHERE seq = 5", NULL, 5},
		{"a text that came", "UPDATE audit_log SET agent_name = '' WHERE seq = 7", NULL, 7},
		{"an altered time",
		 "UPDATE audit_log SET \"timestamp\" = (SELECT max(\"timestamp\") FROM audit_log) "
		 "WHERE seq = 1",
		 NULL, 1},
		{"an altered success", "UPDATE audit_log SET success = TRUE WHERE seq = 20", NULL,
		 20},
		{"an altered hash", "UPDATE audit_log SET hash = previous_hash WHERE seq = 5", NULL,
		 5},
		{"an altered previous_hash",
		 "UPDATE audit_log SET previous_hash = hash WHERE seq = 5", NULL, 5},
		{"a removed entry", "DELETE FROM audit_log WHERE seq = 5", NULL, 6},
		{"a removed beginning", "DELETE FROM audit_log WHERE seq < 5", NULL, 5},
		{"a cut tail", "DELETE FROM audit_log WHERE seq > 15", NULL, 16},
		{"an emptied log", "DELETE FROM audit_log", NULL, 1},
		{"reordered entries", "UPDATE audit_log SET seq = -seq WHERE seq IN (5, 6)",
		 "UPDATE audit_log SET seq = CASE seq WHEN -5 THEN 6 ELSE 5 END WHERE seq < 0", 5},
		{"an inserted entry at the end",
		 "INSERT INTO audit_log (event_type, seq, previous_hash, hash) SELECT 'x', 21, "
		 "hash, "
		 "hash FROM audit_log WHERE seq = 20",
		 NULL, 21},
		{"an inserted entry before the beginning",
		 "INSERT INTO audit_log (event_type, seq, previous_hash, hash) SELECT 'x', 0, "
		 "hash, "
		 "hash FROM audit_log WHERE seq = 20",
		 NULL, 0},
		{"a head with another hash",
		 "UPDATE audit_heads SET hash = (SELECT hash FROM audit_log WHERE seq = 3)", NULL,
		 20},
		{"a head that was moved back",
		 "UPDATE audit_heads SET seq = 10, hash = (SELECT hash FROM audit_log WHERE seq = "
		 "10)",
		 NULL, 11},
		{"a head that was moved on", "UPDATE audit_heads SET seq = 25", NULL, 21},
		{"a head that is gone", "DELETE FROM audit_heads", NULL, 21},
		{"an anchor of nothing",
		 "INSERT INTO audit_anchors (first_seq, last_seq, last_hash, removed_at, "
		 "removed_hash, entry_seq) SELECT 1, 4, hash, \"timestamp\", hash, 20 FROM "
		 "audit_log "
		 "WHERE seq = 4",
		 "DELETE FROM audit_log WHERE seq <= 4", 5},
	};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		keep_assistant *assistant = assistant_fresh();

		add(assistant, ENTRIES);
		assert_intact(assistant, ENTRIES, 0);
		assistant_sql(cases[i].sql);
		if (cases[i].more)
			assistant_sql(cases[i].more);
		assert_broken(assistant, cases[i].seq, cases[i].what);
		keep_assistant_close(&assistant);
	}
	assert_nothing_lives();
}

static void an_empty_log_is_intact(void **state)
{
	keep_assistant *assistant = assistant_fresh();

	(void)state;
	assert_intact(assistant, 0, 0);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- sealing */

static void what_is_old_goes_in_batches_and_the_rest_verifies(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	int64_t old = T0 + 10 * (DAY / 24);

	(void)state;
	add(assistant, ENTRIES);
	assert_int_equal(seal(assistant, T0, 100), 0);
	assert_int_equal(assistant_count("audit_anchors"), 0);
	assert_int_equal(seal(assistant, old, 4), 4);
	assert_intact(assistant, 17, 1);
	assert_int_equal(seal(assistant, old, 4), 4);
	assert_int_equal(seal(assistant, old, 4), 2);
	assert_int_equal(seal(assistant, old, 4), 0);
	assert_int_equal(assistant_count("audit_log WHERE event_type = 'audit_sealed'"), 3);
	assert_int_equal(assistant_count("audit_anchors WHERE first_seq = 1 AND last_seq = 10 AND "
					 "entry_seq = 23"),
			 1);
	assert_intact(assistant, 13, 1);
	add(assistant, 3);
	assert_intact(assistant, 16, 1);
	/* Everything, with the entries that tell of it. */
	assert_int_equal(seal(assistant, T0 + 31 * DAY, 1000), 16);
	assert_intact(assistant, 1, 1);
	add(assistant, 1);
	assert_intact(assistant, 2, 1);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void many_entries_are_sealed_at_once(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_audit_entry entries[1000];
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(entries); i++)
		entries[i] = (keep_audit_entry){.event_type = KEEP_BYTES("x"), .timestamp = T0};
	for (int i = 0; i < 3; i++)
		OK(keep_assistant_audit_many(assistant, entries, KP_COUNT(entries), &err));
	assert_int_equal(seal(assistant, T0 + 1, 2500), 2500);
	assert_int_equal(assistant_count("audit_log WHERE seq <= 2500"), 0);
	assert_int_equal(seal(assistant, T0 + 1, 2500), 500);
	assert_int_equal(assistant_count("audit_log WHERE event_type = 'x'"), 0);
	assert_int_equal(assistant_count("audit_anchors"), 1);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void the_first_younger_entry_ends_what_goes(void **state)
{
	static const int64_t times[] = {T0, T0 + 900 * DAY, T0 + 1, T0 + 20 * DAY, T0 + 2};
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(times); i++) {
		keep_audit_entry entry = {.event_type = KEEP_BYTES("x"), .timestamp = times[i]};

		OK(keep_assistant_audit(assistant, &entry, NULL, &err));
	}
	/* The second is dated after the removal (day 30), between two that are old. */
	assert_int_equal(seal(assistant, T0 + DAY, 100), 3);
	assert_int_equal(assistant_count("audit_log WHERE seq IN (4, 5)"), 2);
	assert_intact(assistant, 3, 1);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

/* Dated by a clock that was wrong: more of them than a batch has, at the end of a batch, at the end
   of what is old. */
static void entries_that_are_dated_ahead_do_not_hold_up_what_is_older(void **state)
{
	static const int64_t times[] = {T0,     T0 + 900 * DAY, T0 + 901 * DAY, T0 + 902 * DAY,
					T0 + 1, T0 + 903 * DAY, T0 + 20 * DAY,  T0 + 2};
	keep_assistant *assistant = assistant_fresh();
	keep_retention_options options = KEEP_RETENTION_OPTIONS_INIT;
	keep_retention_report dry, report;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(times); i++) {
		keep_audit_entry entry = {.event_type = KEEP_BYTES("x"), .timestamp = times[i]};

		OK(keep_assistant_audit(assistant, &entry, NULL, &err));
	}
	options.now_ms = T0 + 31 * DAY;
	options.batch = 2;
	options.dry_run = true;
	OK(keep_assistant_retain(assistant, &options, NULL, &dry, &err));
	assert_int_equal(dry.audit_entries, 5);
	options.dry_run = false;
	OK(keep_assistant_retain(assistant, &options, NULL, &report, &err));
	assert_int_equal(report.audit_entries, 5);
	assert_int_equal(assistant_count("audit_log WHERE seq IN (6, 7, 8)"), 3);
	options.now_ms = KEEP_TIME_MAX; /* nothing is behind its next day */
	OK(keep_assistant_retain(assistant, &options, NULL, &report, &err));
	assert_int_equal(assistant_count("audit_log WHERE event_type = 'x'"), 0);
	assert_intact(assistant, assistant_count("audit_log"), 1);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void an_anchor_that_was_removed_or_forged_is_found(void **state)
{
	static const struct {
		const char *what, *sql, *more;
		int64_t seq;
	} cases[] = {
		{"a removed anchor", "DELETE FROM audit_anchors", NULL, 11},
		{"an anchor with another hash", "UPDATE audit_anchors SET last_hash = removed_hash",
		 NULL, 11},
		{"an anchor with another hash of what went",
		 "UPDATE audit_anchors SET removed_hash = last_hash", NULL, 11},
		{"an anchor with another time",
		 "UPDATE audit_anchors SET removed_at = (SELECT \"timestamp\" FROM audit_log WHERE "
		 "seq = 12)",
		 NULL, 11},
		{"an anchor that names another entry", "UPDATE audit_anchors SET entry_seq = 12",
		 NULL, 11},
		{"an anchor that names none", "UPDATE audit_anchors SET entry_seq = 99", NULL, 11},
		{"an anchor that begins later", "UPDATE audit_anchors SET first_seq = 2", NULL, 11},
		{"an anchor that was moved on to hide two entries",
		 "UPDATE audit_anchors SET last_seq = 12, last_hash = (SELECT hash FROM audit_log "
		 "WHERE seq = 12)",
		 "DELETE FROM audit_log WHERE seq <= 12", 13},
		{"a second anchor",
		 "INSERT INTO audit_anchors SELECT 3, last_seq, last_hash, removed_at, "
		 "removed_hash, "
		 "entry_seq FROM audit_anchors",
		 NULL, 11},
		{"an entry that is back",
		 "INSERT INTO audit_log (event_type, seq, previous_hash, hash) SELECT 'x', 4, "
		 "hash, "
		 "hash FROM audit_log WHERE seq = 12",
		 NULL, 4},
	};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		keep_assistant *assistant = assistant_fresh();

		add(assistant, ENTRIES);
		assert_int_equal(seal(assistant, T0 + 10 * (DAY / 24), 100), 10);
		assert_intact(assistant, 11, 1);
		assistant_sql(cases[i].sql);
		if (cases[i].more)
			assistant_sql(cases[i].more);
		assert_broken(assistant, cases[i].seq, cases[i].what);
		keep_assistant_close(&assistant);
	}
	assert_nothing_lives();
}

static void retention_removes_no_evidence(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	struct removal removal = {.before_ms = T0 + DAY, .now_ms = T0 + 2 * DAY, .limit = 100};
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	add(assistant, ENTRIES);
	assistant_sql("UPDATE audit_log SET user_id = 'eve' WHERE seq = 5");
	assert_int_equal(
		kp_store_change(&assistant->store, apply_removal, &removal, KP_NEWS_NONE, &err),
		KEEP_CORRUPT);
	assert_non_null(strstr(err.message, "entry 5"));
	assert_int_equal(assistant_count("audit_log"), ENTRIES);
	assert_broken(assistant, 5, "the altered entry");
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- at once */

static void *seal_and_add(void *ctx)
{
	keep_assistant *assistant = ctx;
	keep_audit_entry entries[50];
	keep_error err = KEEP_ERROR_INIT;

	for (size_t i = 0; i < KP_COUNT(entries); i++)
		entries[i] = (keep_audit_entry){.event_type = KEEP_BYTES("x"), .timestamp = T0};
	for (int i = 0; i < 60; i++) {
		struct removal removal = {
			.before_ms = T0 + 1, .now_ms = T0 + 30 * DAY, .limit = 40};

		if (keep_assistant_audit_many(assistant, entries, KP_COUNT(entries), &err) !=
			    KEEP_OK ||
		    kp_store_change(&assistant->store, apply_removal, &removal, KP_NEWS_NONE,
				    &err) != KEEP_OK)
			return assistant;
	}
	return NULL;
}

static void a_log_that_is_added_to_and_sealed_meanwhile_is_intact(void **state)
{
	keep_assistant *assistant = assistant_fresh(), *other = assistant_again("other");
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_audit_report report;
	pthread_t thread;
	void *failed;

	(void)state;
	add(assistant, ENTRIES);
	assert_int_equal(pthread_create(&thread, NULL, seal_and_add, other), 0);
	for (int i = 0; i < 40; i++) {
		keep_status status = keep_assistant_verify_audit(assistant, &memory, &report, &err);

		CHECK(status == KEEP_OK || status == KEEP_BUSY, "%s", err.message);
		CHECK(status == KEEP_BUSY || report.is_intact, "%" KP_PRI, KP_ARG(report.reason));
	}
	pthread_join(thread, &failed);
	assert_null(failed);
	OK(keep_assistant_verify_audit(assistant, &memory, &report, &err));
	assert_true(report.is_intact);
	keep_memory_release(&memory);
	keep_assistant_close(&other);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_change_behind_its_back_is_found_where_it_is),
		cmocka_unit_test(an_empty_log_is_intact),
		cmocka_unit_test(what_is_old_goes_in_batches_and_the_rest_verifies),
		cmocka_unit_test(many_entries_are_sealed_at_once),
		cmocka_unit_test(the_first_younger_entry_ends_what_goes),
		cmocka_unit_test(entries_that_are_dated_ahead_do_not_hold_up_what_is_older),
		cmocka_unit_test(an_anchor_that_was_removed_or_forged_is_found),
		cmocka_unit_test(retention_removes_no_evidence),
		cmocka_unit_test(a_log_that_is_added_to_and_sealed_meanwhile_is_intact),
	};
	int failed;

	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}

/*
 * test_assistant_audit.c - entries are added, redacted, asked for by any filters, and exported.
 *
 *     test_assistant_audit sqlite|postgres
 */
#include "assistant_rows.h"

#include <pthread.h>

#define T0 INT64_C(1790000000000)

static const keep_bytes none = {NULL, 0};

static int64_t add(keep_assistant *assistant, const keep_audit_entry *entry)
{
	keep_error err = KEEP_ERROR_INIT;
	int64_t seq = 0;

	OK(keep_assistant_audit(assistant, entry, &seq, &err));
	return seq;
}

static void assert_intact(keep_assistant *assistant, int64_t entries)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_audit_report report;

	OK(keep_assistant_verify_audit(assistant, &memory, &report, &err));
	CHECK(report.is_intact, "%" KP_PRI, KP_ARG(report.reason));
	assert_int_equal(report.checked, entries);
	assert_int_equal(report.broken_seq, 0);
	assert_int_equal(report.reason.len, 0);
	keep_memory_release(&memory);
}

/* ---------------------------------------------------------------- adding */

static void an_entry_is_stored_with_all_that_is_said_but_secrets(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_audit_list list;
	const keep_audit_entry entry = {
		.id = 77,
		.seq = 99,
		.hash = KEEP_BYTES("mine"),
		.timestamp = T0,
		.event_type = KEEP_BYTES("tool_execution"),
		.service_name = KEEP_BYTES("gmail"),
		.agent_name = KEEP_BYTES("communication"),
		.action = KEEP_BYTES("send"),
		.conversation_id = KEEP_BYTES("not here"),
		.details = KEEP_BYTES(
			"{ \"to\": \"bob\", \"access_token\": \"ya29.secret\", \"n\": 1.0}"),
		.success = false,
		.has_success = true,
		.error_message = KEEP_BYTES("refused"),
		.user_id = KEEP_BYTES("ada"),
		.ip_address = KEEP_BYTES("::1"),
	};
	const keep_audit_entry *found;

	(void)state;
	assert_int_equal(add(assistant, &entry), 1);
	OK(keep_assistant_query_audit(assistant, NULL, 0, &memory, &list, &err));
	assert_int_equal(list.count, 1);
	found = &list.items[0];
	assert_int_equal(found->seq, 1);
	assert_int_equal(found->timestamp, T0);
	assert_bytes_equal(found->details,
			   KEEP_BYTES("{ \"to\": \"bob\", \"access_token\": \"***\", \"n\": 1.0}"));
	assert_bytes_equal(found->service_name, entry.service_name);
	assert_bytes_equal(found->conversation_id, entry.conversation_id);
	assert_bytes_equal(found->ip_address, entry.ip_address);
	assert_true(found->has_success && !found->success);
	assert_int_equal(found->hash.len, 64);
	assert_int_equal(assistant_count("audit_log WHERE CAST(details AS text) LIKE '%ya29%'"), 0);
	assert_intact(assistant, 1);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void what_is_absent_stays_absent_and_the_time_is_now(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_audit_list list;
	const keep_audit_entry entry = {.event_type = KEEP_BYTES("x")};
	int64_t before = kp_clock_ms();

	(void)state;
	add(assistant, &entry);
	OK(keep_assistant_query_audit(assistant, NULL, 0, &memory, &list, &err));
	assert_true(list.items[0].timestamp >= before && list.items[0].timestamp <= kp_clock_ms());
	assert_null(list.items[0].details.data);
	assert_null(list.items[0].user_id.data);
	assert_false(list.items[0].has_success);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void bad_entries_name_what_is_wrong_and_add_nothing(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_actor actor = {.user_id = {NULL, 0}};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_audit_filter filter = KEEP_AUDIT_FILTER_INIT;
	keep_audit_list list;
	keep_audit_entry entries[3] = {{.event_type = KEEP_BYTES("a")},
				       {.event_type = KEEP_BYTES("b")},
				       {.event_type = KEEP_BYTES("c")}};

	(void)state;
	entries[2].details = KEEP_BYTES("[1]");
	assert_int_equal(keep_assistant_audit_many(assistant, entries, 3, &err), KEEP_INVALID);
	assert_non_null(strstr(err.message, "details"));
	entries[2].details = KEEP_BYTES("{");
	assert_int_equal(keep_assistant_audit(assistant, &entries[2], NULL, &err), KEEP_INVALID);
	entries[2].details = none;
	entries[2].event_type = none;
	assert_int_equal(keep_assistant_audit(assistant, &entries[2], NULL, &err), KEEP_INVALID);
	assert_non_null(strstr(err.message, "event_type"));
	entries[2].event_type = KEEP_BYTES("c");
	entries[2].user_id = KEEP_BYTES("\xff");
	assert_int_equal(keep_assistant_audit(assistant, &entries[2], NULL, &err), KEEP_INVALID);
	assert_non_null(strstr(err.message, "user_id"));
	entries[2].user_id = KEEP_BYTES("ada\ngrace");
	assert_int_equal(keep_assistant_audit(assistant, &entries[2], NULL, &err), KEEP_INVALID);
	assert_non_null(strstr(err.message, "user_id"));
	actor.user_id = entries[2].user_id;
	assert_int_equal(
		keep_assistant_remove_agent(assistant, KEEP_BYTES("browser"), &actor, &err),
		KEEP_INVALID);
	assert_non_null(strstr(err.message, "user_id"));
	assert_int_equal(keep_assistant_audit_many(assistant, entries, 1001, &err), KEEP_INVALID);
	assert_int_equal(assistant_count("audit_log"), 0);
	OK(keep_assistant_audit_many(assistant, entries, 0, &err));
	OK(keep_assistant_audit_many(assistant, entries, 2, &err));
	filter.success = 2;
	assert_int_equal(keep_assistant_query_audit(assistant, &filter, 0, &memory, &list, &err),
			 KEEP_INVALID);
	filter.success = -1;
	assert_int_equal(keep_assistant_query_audit(assistant, &filter, 1001, &memory, &list, &err),
			 KEEP_INVALID);
	assert_intact(assistant, 2);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void *add_some(void *ctx)
{
	keep_assistant *assistant = ctx;
	keep_audit_entry entries[7];
	keep_error err = KEEP_ERROR_INIT;

	for (size_t i = 0; i < KP_COUNT(entries); i++)
		entries[i] = (keep_audit_entry){.event_type = KEEP_BYTES("x")};
	for (int i = 0; i < 20; i++)
		if (keep_assistant_audit_many(assistant, entries, KP_COUNT(entries), &err) !=
			    KEEP_OK ||
		    keep_assistant_audit(assistant, entries, NULL, &err) != KEEP_OK)
			return assistant;
	return NULL;
}

static void writers_at_once_make_one_chain(void **state)
{
	enum { THREADS = 6 };
	keep_assistant *assistant = assistant_fresh(), *other = assistant_again("other");
	pthread_t threads[THREADS];
	void *failed;

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, add_some, i % 2 ? assistant : other), 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	assert_intact(assistant, THREADS * 20 * 8);
	keep_assistant_close(&other);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- asking */

enum { ENTRIES = 240 };

static keep_bytes pick(unsigned number, const char *a, const char *b)
{
	return number == 0 ? none : keep_bytes_of(number == 1 ? a : b);
}

static keep_audit_entry make(unsigned i)
{
	return (keep_audit_entry){
		.event_type = i % 2 ? KEEP_BYTES("odd") : KEEP_BYTES("even"),
		.service_name = pick(i % 3, "s1", "s2"),
		.agent_name = pick(i / 3 % 3, "a1", "a2"),
		.conversation_id = pick(i / 9 % 3, "c1", "c2"),
		.has_success = i % 5 > 0,
		.success = i % 5 > 2,
		/* The clock goes back now and then. */
		.timestamp = T0 + (int64_t)(i * 7919 % 100) * 1000,
	};
}

static bool is_text(keep_bytes wanted, keep_bytes found)
{
	return !wanted.data || kp_bytes_equal(wanted, found);
}

static bool passes(const keep_audit_filter *filter, const keep_audit_entry *entry, int64_t seq)
{
	return is_text(filter->event_type, entry->event_type) &&
	       is_text(filter->service_name, entry->service_name) &&
	       is_text(filter->agent_name, entry->agent_name) &&
	       is_text(filter->conversation_id, entry->conversation_id) &&
	       (filter->success < 0 ||
		(entry->has_success && entry->success == (filter->success > 0))) &&
	       (!filter->from_ms || entry->timestamp >= filter->from_ms) &&
	       (!filter->until_ms || entry->timestamp < filter->until_ms) &&
	       (!filter->before_seq || seq < filter->before_seq);
}

/* What the filter passes, counted by hand, and what the store answers. */
static void compare(keep_assistant *assistant, const keep_audit_filter *filter, size_t limit)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_audit_list list;
	size_t at = 0;
	bool has_more = false;

	OK(keep_assistant_query_audit(assistant, filter, limit, &memory, &list, &err));
	for (unsigned i = ENTRIES; i-- > 0;) {
		keep_audit_entry entry = make(i);

		if (!passes(filter, &entry, i + 1))
			continue;
		if (at == limit) {
			has_more = true;
			break;
		}
		CHECK(at < list.count && list.items[at].seq == (int64_t)i + 1,
		      "entry %u is not the one at %zu of %zu", i + 1, at, list.count);
		at++;
	}
	assert_int_equal(at, list.count);
	assert_int_equal(list.has_more, has_more);
	keep_memory_release(&memory);
}

struct lines {
	int64_t count, last_seq;
	int64_t stop_at;
};

static keep_status take_line(void *ctx, keep_bytes line, keep_error *err)
{
	struct lines *lines = ctx;
	kp_arena arena = {.head = NULL};
	const kp_json *json = NULL;

	assert_int_equal(kp_json_parse(line, &arena, &json, err), KEEP_OK);
	assert_null(memchr(line.data, '\n', line.len));
	assert_true(kp_json_member(json, "seq")->integer > lines->last_seq);
	lines->last_seq = kp_json_member(json, "seq")->integer;
	assert_non_null(kp_json_member(json, "hash"));
	assert_non_null(kp_json_member(json, "details"));
	kp_arena_release(&arena);
	if (++lines->count == lines->stop_at)
		return kp_fail(err, KEEP_FULL, "enough lines");
	return KEEP_OK;
}

static int64_t export_lines(keep_assistant *assistant, const keep_audit_filter *filter)
{
	struct lines lines = {.count = 0};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_assistant_export_audit(assistant, filter, take_line, &lines, &err));
	return lines.count;
}

static void every_combination_of_filters_answers_what_passes_it(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_audit_entry entries[ENTRIES];
	keep_error err = KEEP_ERROR_INIT;
	uint64_t seed = test_seed();

	(void)state;
	for (unsigned i = 0; i < ENTRIES; i++)
		entries[i] = make(i);
	OK(keep_assistant_audit_many(assistant, entries, ENTRIES, &err));
	for (unsigned mask = 0; mask < 256; mask++) {
		keep_audit_filter filter = {
			.event_type = mask & 1 ? KEEP_BYTES("odd") : none,
			.service_name = mask & 2 ? KEEP_BYTES("s1") : none,
			.agent_name = mask & 4 ? KEEP_BYTES("a2") : none,
			.conversation_id = mask & 8 ? KEEP_BYTES("c1") : none,
			.success = mask & 16 ? (int)(mask / 32 & 1) : -1,
			.from_ms = mask & 32 ? T0 + (int64_t)(next_random(&seed) % 50) * 1000 : 0,
			.until_ms =
				mask & 64 ? T0 + (int64_t)(50 + next_random(&seed) % 60) * 1000 : 0,
			.before_seq = mask & 128 ? (int64_t)(next_random(&seed) % ENTRIES) + 1 : 0,
		};
		int64_t count = 0;

		compare(assistant, &filter, 1 + next_random(&seed) % 12);
		compare(assistant, &filter, 1000);
		filter.before_seq = 0;
		for (unsigned i = 0; i < ENTRIES; i++)
			count += passes(&filter, &entries[i], i + 1);
		assert_int_equal(export_lines(assistant, &filter), count);
	}
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void the_answer_does_not_depend_on_which_filter_finds_it(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_audit_filter filter = KEEP_AUDIT_FILTER_INIT;
	keep_audit_entry entries[1000];
	keep_audit_list list;

	(void)state;
	/* More than are counted before one is chosen, of all but one agent's. */
	for (size_t i = 0; i < KP_COUNT(entries); i++)
		entries[i] = (keep_audit_entry){.event_type = KEEP_BYTES("x"),
						.service_name = KEEP_BYTES("s"),
						.agent_name = i == 500 ? KEEP_BYTES("rare")
								       : KEEP_BYTES("often"),
						.timestamp = T0};
	for (int i = 0; i < 6; i++)
		OK(keep_assistant_audit_many(assistant, entries, KP_COUNT(entries), &err));
	filter.event_type = KEEP_BYTES("x");
	filter.service_name = KEEP_BYTES("s");
	filter.from_ms = T0;
	filter.until_ms = T0 + 1;
	OK(keep_assistant_query_audit(assistant, &filter, 1000, &memory, &list, &err));
	assert_true(list.count == 1000 && list.has_more);
	assert_int_equal(list.items[0].seq, 6000);
	filter.agent_name = KEEP_BYTES("rare");
	OK(keep_assistant_query_audit(assistant, &filter, 6, &memory, &list, &err));
	assert_true(list.count == 6 && !list.has_more);
	assert_int_equal(list.items[5].seq, 501);
	filter.agent_name = none;
	filter.from_ms = T0 + 1;
	OK(keep_assistant_query_audit(assistant, &filter, 6, &memory, &list, &err));
	assert_true(list.count == 0 && !list.has_more);
	assert_int_equal(export_lines(assistant, NULL), 6000);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_sink_that_fails_ends_the_export_with_its_failure(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	struct lines lines = {.stop_at = 3};
	keep_error err = KEEP_ERROR_INIT;
	const keep_audit_entry entry = {.event_type = KEEP_BYTES("x")};

	(void)state;
	for (int i = 0; i < 5; i++)
		add(assistant, &entry);
	assert_int_equal(keep_assistant_export_audit(assistant, NULL, take_line, &lines, &err),
			 KEEP_FULL);
	assert_string_equal(err.message, "enough lines");
	assert_int_equal(lines.count, 3);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static keep_status add_and_take(void *ctx, keep_bytes line, keep_error *err)
{
	const keep_audit_entry entry = {.event_type = KEEP_BYTES("while it goes on")};

	(void)line;
	(void)err;
	add(ctx, &entry);
	return KEEP_OK;
}

static void an_export_ends_though_its_reader_adds_entries(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;
	const keep_audit_entry entry = {.event_type = KEEP_BYTES("x")};

	(void)state;
	for (int i = 0; i < 5; i++)
		add(assistant, &entry);
	OK(keep_assistant_export_audit(assistant, NULL, add_and_take, assistant, &err));
	assert_int_equal(assistant_count("audit_log"), 10);
	assert_intact(assistant, 10);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_entry_is_stored_with_all_that_is_said_but_secrets),
		cmocka_unit_test(what_is_absent_stays_absent_and_the_time_is_now),
		cmocka_unit_test(bad_entries_name_what_is_wrong_and_add_nothing),
		cmocka_unit_test(writers_at_once_make_one_chain),
		cmocka_unit_test(every_combination_of_filters_answers_what_passes_it),
		cmocka_unit_test(the_answer_does_not_depend_on_which_filter_finds_it),
		cmocka_unit_test(a_sink_that_fails_ends_the_export_with_its_failure),
		cmocka_unit_test(an_export_ends_though_its_reader_adds_entries),
	};
	int failed;

	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}

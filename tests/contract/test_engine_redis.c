/*
 * test_engine_redis.c - the Redis backend seen from Redis: which keys there are, what a change
 * costs, what the source project's stores become, and what happens to documents that vanish.
 *
 * What all backends have in common is test_engine_contract.c's; servers that die, refuse or are
 * full are test_engine_redis_server.c's.
 */
#include "engine/engine_redis.h"
#include "redis_fixture.h"

#include <sys/wait.h>

#define SET(path_, value_)                                                                         \
	{                                                                                          \
		.kind = KEEP_ENGINE_SET, .path = KEEP_BYTES(path_), .value = KEEP_BYTES(value_)    \
	}

static int64_t held_clock(void *ctx)
{
	return *(int64_t *)ctx;
}

static double score_of(const char *prefix, const char *folder, const char *path)
{
	const redisReply *reply = raw("ZSCORE %s:idx:%s %s", prefix, folder, path);

	return reply->str ? strtod(reply->str, NULL) : -1;
}

/* ---------------------------------------------------------------- keys and places */

static void the_keys_of_a_store_are_exactly_the_documented_ones(void **state)
{
	keep_engine *engine = open_prefix("kx");
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(keep_engine_clear(engine, &err));
	want_keys("kx:*", "");
	set_text(engine, "chat/1/message/a", "va");
	set_text(engine, "top", "vt");
	want_keys("kx:*", "kx:dir: kx:dir:chat kx:dir:chat/1 kx:doc:chat/1/message/a kx:doc:top "
			  "kx:idx: kx:idx:chat/1/message kx:keep");
	assert_string_equal(raw("GET kx:doc:chat/1/message/a")->str, "va");
	assert_string_equal(raw("ZRANGE kx:idx:chat/1/message 0 -1")->element[0]->str,
			    "chat/1/message/a");
	assert_string_equal(raw("ZRANGE kx:dir:chat 0 -1")->element[0]->str, "1");
	assert_string_equal(raw("HGET kx:keep format")->str, "1");
	unset_path(engine, "chat/1/message/a");
	want_keys("kx:*", "kx:doc:top kx:idx: kx:keep");
	unset_path(engine, "");
	want_keys("kx:*", "");
	keep_engine_close(&engine);
}

static void places_are_strictly_increasing_milliseconds(void **state)
{
	const char *prefix = fresh_prefix();
	keep_engine *engine = open_prefix(prefix);
	int64_t now = INT64_C(1790000000123);
	double last = 0;

	(void)state;
	kp_clock_inject(held_clock, &now);
	for (int i = 0; i < 3000; i++) {
		char path[32];
		double score;

		snprintf(path, sizeof path, "f/%d", i % 1500);
		set_text(engine, path, "");
		score = score_of(prefix, "f", path);
		CHECK(score > last && (int64_t)score == now, "%.17g after %.17g", score, last);
		last = score;
	}
	now -= 5000; /* the clock goes back, the order does not */
	set_text(engine, "f/late", "");
	assert_true(score_of(prefix, "f", "f/late") > last);
	now += 60000;
	set_text(engine, "f/later", "");
	assert_true(score_of(prefix, "f", "f/later") == (double)now);
	kp_clock_inject(NULL, NULL);
	unset_path(engine, "");
	keep_engine_close(&engine);
}

static void a_millisecond_that_is_used_up_does_not_stop_plain_sets(void **state)
{
	const char *prefix = fresh_prefix();
	keep_engine *engine = open_prefix(prefix);
	keep_engine_change changes[1000];
	char paths[1000][16];
	int64_t now = INT64_C(1790000000123);
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	kp_clock_inject(held_clock, &now);
	for (int round = 0; round < 6; round++) {
		for (int i = 0; i < 1000; i++) {
			snprintf(paths[i], sizeof paths[i], "f/%d", round * 1000 + i);
			changes[i] = (keep_engine_change){.kind = KEEP_ENGINE_SET,
							  .path = keep_bytes_of(paths[i]),
							  .value = KEEP_BYTES("")};
		}
		OK(keep_engine_batch(engine, changes, 1000, &err));
	}
	kp_clock_inject(NULL, NULL);
	for (int i = 1; i < 6000; i++) {
		char path[16], before[16];

		snprintf(path, sizeof path, "f/%d", i);
		snprintf(before, sizeof before, "f/%d", i - 1);
		CHECK(score_of(prefix, "f", path) > score_of(prefix, "f", before), "%d", i);
	}
	unset_path(engine, "");
	keep_engine_close(&engine);
}

static void more_equal_scores_than_a_double_orders_are_full(void **state)
{
	const char *prefix = fresh_prefix();
	keep_engine *engine = open_prefix(prefix);
	const int64_t score = INT64_C(1790000000000);
	keep_error err = KEEP_ERROR_INIT;
	keep_engine_change two[] = {SET("f/other", "x"), SET("f/one too many", "x")};

	(void)state;
	for (int i = 0; i < 4096; i++) {
		char path[16];

		snprintf(path, sizeof path, "f/%d", i);
		OK(keep_engine_set_scored(engine, keep_bytes_of(path), KEEP_BYTES("x"), score,
					  &err));
	}
	two[1].kind = KEEP_ENGINE_SET_SCORED;
	two[1].score_ms = score;
	assert_int_equal(keep_engine_batch(engine, two, 2, &err), KEEP_FULL);
	assert_non_null(strstr(err.message, "more equal scores than Redis can order: 4096"));
	assert_int_equal(count_of(engine, "f"), 4096);
	assert_false(has(engine, "f/other"));
	/* One that is among them has room, and so has another when one of them has gone. */
	OK(keep_engine_set_scored(engine, KEEP_BYTES("f/17"), KEEP_BYTES("x"), score, &err));
	unset_path(engine, "f/5");
	OK(keep_engine_set_scored(engine, KEEP_BYTES("f/new"), KEEP_BYTES("x"), score, &err));
	assert_true(score_of(prefix, "f", "f/new") > score_of(prefix, "f", "f/17"));
	assert_true(score_of(prefix, "f", "f/17") > score_of(prefix, "f", "f/4095"));
	assert_true(score_of(prefix, "f", "f/4095") > score_of(prefix, "f", "f/4"));
	assert_string_equal(tree_faults(prefix), "");
	unset_path(engine, "");
	keep_engine_close(&engine);
}

static void two_documents_can_change_places_at_one_score_for_ever(void **state)
{
	static const int64_t scores[] = {0, 1, INT64_C(1790000000000), KEEP_ENGINE_SCORE_MAX};
	keep_engine *engine = open_prefix(fresh_prefix());
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t k = 0; k < KP_COUNT(scores); k++) {
		for (int i = 0; i < 5000; i++)
			OK(keep_engine_set_scored(engine,
						  i % 2 ? KEEP_BYTES("f/b") : KEEP_BYTES("f/a"),
						  KEEP_BYTES("x"), scores[k], &err));
		want_names(engine, "f", "b a");
	}
	set_text(engine, "f/c", "");
	want_names(engine, "f", "c b a");
	unset_path(engine, "");
	keep_engine_close(&engine);
}

/* ---------------------------------------------------------------- the source's stores */

static void a_store_of_the_source_project_is_adopted(void **state)
{
	const char *prefix = fresh_prefix();
	keep_engine *engine;

	(void)state;
	for (int i = 0; i < 3; i++) {
		raw("SET %s:doc:chat/1/message/%d v%d", prefix, i, i);
		raw("ZADD %s:idx:chat/1/message %d chat/1/message/%d", prefix, 1000 + i, i);
		raw("SET %s:doc:chat/1/message/%d/content c%d", prefix, i, i);
		raw("ZADD %s:idx:chat/1/message/%d 5 chat/1/message/%d/content", prefix, i, i);
	}
	raw("SET %s:doc:chat/1/message/lost v", prefix); /* killed before its ZADD */
	raw("SET %s:doc: root", prefix);                 /* the root was its own child */
	raw("ZADD %s:idx: 7 %s", prefix, "");
	engine = open_prefix(prefix);
	assert_string_equal(raw("HGET %s:keep adopted", prefix)->str, "1");
	want_names(engine, "chat/1/message", "2 1 0 lost");
	assert_int_equal(count_of(engine, ""), 0);
	unset_path(engine, "chat"); /* has no value, and nor has chat/1 */
	assert_false(has(engine, "chat/1/message/1"));
	assert_false(has(engine, "chat/1/message/1/content"));
	assert_false(has(engine, "chat/1/message/lost"));
	unset_path(engine, "");
	assert_int_equal(raw("EXISTS %s:doc: %s:idx: %s:idx:chat/1/message", prefix, prefix, prefix)
				 ->integer,
			 0);
	keep_engine_close(&engine);
}

static bool count_document(void *ctx, keep_bytes path, keep_bytes value)
{
	(void)path, (void)value;
	++*(int *)ctx;
	return true;
}

static void a_read_only_engine_adopts_and_repairs_nothing(void **state)
{
	const char *prefix = fresh_prefix();
	keep_engine *engine = open_with(prefix, (keep_engine_options){.read_only = true});
	keep_error err = KEEP_ERROR_INIT;
	int seen = 0;

	(void)state;
	OK(keep_engine_scan(engine, KEEP_BYTES(""), count_document, &seen, &err));
	assert_int_equal(seen, 0);
	raw("SET %s:doc:a/b v", prefix);
	raw("ZADD %s:idx:a 5 a/b", prefix);
	raw("ZADD %s:idx:a 6 a/vanished", prefix);
	want_names(engine, "a", "b");
	assert_int_equal(count_of(engine, "a"), 2);
	assert_int_equal(keep_engine_scan(engine, KEEP_BYTES(""), count_document, &seen, &err),
			 KEEP_CONFLICT);
	assert_int_equal(keep_engine_set(engine, KEEP_BYTES("a/c"), KEEP_BYTES(""), &err),
			 KEEP_DENIED);
	keep_engine_close(&engine);
	raw("DEL %s:doc:a/b %s:idx:a", prefix, prefix);
}

static void vanished_documents_are_passed_over_and_repaired(void **state)
{
	const char *prefix = fresh_prefix();
	keep_engine *engine = open_prefix(prefix);

	(void)state;
	for (int i = 0; i < 10; i++) {
		char path[16];

		snprintf(path, sizeof path, "f/%d", i);
		set_text(engine, path, path);
	}
	raw("DEL %s:doc:f/9 %s:doc:f/8 %s:doc:f/3", prefix, prefix, prefix);
	assert_int_equal(count_of(engine, "f"), 10);
	want_names(engine, "f", "7 6 5 4 2 1 0");
	assert_int_equal(count_of(engine, "f"), 7);
	assert_string_equal(tree_faults(prefix), "");
	raw("EVAL %s 0 %s", "for i = 0, 9 do redis.call('DEL', ARGV[1] .. ':doc:f/' .. i) end",
	    prefix);
	want_names(engine, "f", "");
	assert_string_equal(tree_faults(prefix), "");
	assert_int_equal(raw("EXISTS %s:idx:f %s:dir:", prefix, prefix)->integer, 0);
	unset_path(engine, "");
	keep_engine_close(&engine);
}

/* ---------------------------------------------------------------- neighbours and patterns */

static void glob_characters_of_a_path_are_ordinary(void **state)
{
	static const char *const hostile[] = {"d/*", "d/?", "d/[ab]", "d/\\*", "d/[^x]", "*"};
	keep_engine *engine = open_prefix(fresh_prefix());

	(void)state;
	set_text(engine, "d/a/1", "");
	set_text(engine, "d/b/1", "");
	set_text(engine, "d/x/y/1", "");
	for (size_t i = 0; i < KP_COUNT(hostile); i++) {
		char below[32];

		snprintf(below, sizeof below, "%s/1", hostile[i]);
		set_text(engine, below, "");
		unset_path(engine, hostile[i]);
		assert_false(has(engine, below));
		assert_true(has(engine, "d/a/1") && has(engine, "d/b/1") && has(engine, "d/x/y/1"));
	}
	unset_path(engine, "");
	keep_engine_close(&engine);
}

static void neighbours_by_prefix_never_meet(void **state)
{
	static const char *const prefixes[] = {"wa",   "wa:58", "wa:*", "wa:[15]8",
					       "wa:?", "*",     "wa\\", "w{a}"};
	keep_engine *engines[KP_COUNT(prefixes)];

	(void)state;
	/* As the source leaves them, so that opening adopts, too. */
	for (size_t i = 0; i < KP_COUNT(prefixes); i++) {
		raw("SET %s:doc:a/b/c %d", prefixes[i], (int)i);
		raw("ZADD %s:idx:a/b 1 a/b/c", prefixes[i]);
	}
	for (size_t i = 0; i < KP_COUNT(prefixes); i++)
		engines[i] = open_prefix(prefixes[i]);
	for (size_t i = 0; i < KP_COUNT(prefixes); i++) {
		for (size_t k = 0; k < KP_COUNT(prefixes); k++)
			assert_int_equal(has(engines[k], "a/b/c"), k >= i);
		want_names(engines[i], "a/b", "c");
		unset_path(engines[i], i % 2 ? "a" : "");
	}
	for (size_t i = 0; i < KP_COUNT(prefixes); i++) {
		assert_int_equal(raw("EXISTS %s:dir: %s:dir:a %s:idx:a/b", prefixes[i], prefixes[i],
				     prefixes[i])
					 ->integer,
				 0);
		unset_path(engines[i], "");
		keep_engine_close(&engines[i]);
	}
}

/* ---------------------------------------------------------------- URLs */

static keep_status identity_of(const char *url, char out[URL_MAX], char message[320])
{
	keep_error err = KEEP_ERROR_INIT;
	char *identity = NULL;
	keep_status status = kp_engine_redis.identify(url, &identity, &err);

	snprintf(out, URL_MAX, "%s", identity ? identity : "");
	snprintf(message, 320, "%s", err.message);
	kp_free(identity);
	return status;
}

static void two_urls_of_one_namespace_are_equal(void **state)
{
	static const char *const pairs[][2] = {
		{"redis://Host", "redis://u:p@hOST:6379/0?prefix=keep"},
		{"redis://h/3?prefix=a%62", "redis://:secret@h:6379/3?prefix=ab"},
		{"redis://[::1]:7/1", "redis://[::1]:7/1?prefix=keep"},
		{"redis+unix:///no/such?db=2&prefix=x", "redis+unix:///no/%73uch?prefix=x&db=2"},
	};
	static const char *const others[] = {"redis://h?prefix=a",        "redis://h/1?prefix=a",
					     "redis://h:1?prefix=a",      "redis://i?prefix=a",
					     "redis://h?prefix=a%3fdb=1", "redis://h?prefix=A"};
	char first[URL_MAX], second[URL_MAX], message[320];

	(void)state;
	for (size_t i = 0; i < KP_COUNT(pairs); i++) {
		assert_int_equal(identity_of(pairs[i][0], first, message), KEEP_OK);
		assert_int_equal(identity_of(pairs[i][1], second, message), KEEP_OK);
		assert_string_equal(first, second);
		assert_null(strstr(second, "secret"));
	}
	for (size_t i = 0; i < KP_COUNT(others); i++)
		for (size_t k = 0; k < i; k++) {
			assert_int_equal(identity_of(others[i], first, message), KEEP_OK);
			assert_int_equal(identity_of(others[k], second, message), KEEP_OK);
			assert_string_not_equal(first, second);
		}
	assert_nothing_lives();
}

static void what_is_no_url_is_invalid_and_no_message_shows_a_password(void **state)
{
	static const char *const bad[][2] = {
		{"redis://", "host"},
		{"redis://h:0", "port"},
		{"redis://h:65536", "port"},
		{"redis://h:x", "port"},
		{"redis://h/x", "database"},
		{"redis://h/-1", "database"},
		{"redis://h?prefix=", "prefix is empty"},
		{"redis://h?prefix=a&prefix=b", "'prefix'"},
		{"redis://h?db=1", "'db'"},
		{"redis://h?colour=1", "'colour'"},
		{"redis://h?", "''"},
		{"redis://h?prefix=%zz", "%"},
		{"redis://h?prefix=%00", "%"},
		{"redis://h?prefix=a:doc", ":doc"},
		{"redis://h?prefix=a:idx:b", ":idx"},
		{"redis://h?prefix=:dir", ":dir"},
		{"redis://[::1", "]"},
		{"redis://sesame@h", "USER:PASSWORD"},
		{"redis://:ses/ame@h", ""},
		{"redis://:ses?ame@h", ""},
		{"redis://u:1?sesame@h", "parameter"},
		{"redis://u:1?s&esame@h", "parameter"},
		{"redis://u:sesame%z@h", "password"},
		{"redis://u:sesame@h?x=1", "'x'"},
		{"redis+unix://", "socket"},
		{"redis+unix://relative", "socket"},
		{"redis+unix:///s?db=x", "db"},
		{"redis:h", "begins with"},
	};
	char identity[URL_MAX], message[320], url[URL_MAX];

	(void)state;
	for (size_t i = 0; i < KP_COUNT(bad); i++) {
		keep_status status = identity_of(bad[i][0], identity, message);

		CHECK(status == KEEP_INVALID, "%s: %s", bad[i][0], keep_status_name(status));
		CHECK(strstr(message, bad[i][1]), "%s: %s", bad[i][0], message);
		CHECK(!strstr(message, "sesame") && !strstr(message, "esame"), "%s", message);
	}
	snprintf(url, sizeof url, "redis+unix:///%0120d", 0);
	assert_int_equal(identity_of(url, identity, message), KEEP_INVALID);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- foreign keys in our names */

static void a_key_of_another_type_is_corrupt_and_nothing_is_half_done(void **state)
{
	static const char *const keys[] = {"idx:f", "dir:", "dir:a", "keep", "idx:a"};
	keep_engine_change changes[] = {SET("first", "1"), SET("f/x", "1"), SET("a/b/c", "1")};
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer value = KEEP_BUFFER_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(keys); i++) {
		const char *prefix = fresh_prefix();
		keep_engine *engine = open_prefix(prefix);
		keep_status status;

		raw("DEL %s:%s", prefix, keys[i]);
		raw("LPUSH %s:%s garbage", prefix, keys[i]);
		status = keep_engine_batch(engine, changes, KP_COUNT(changes), &err);
		CHECK(status == KEEP_CORRUPT, "%s: %s", keys[i], keep_status_name(status));
		assert_false(has(engine, "first"));
		raw("DEL %s:%s", prefix, keys[i]);
		/* An unset takes away what stands at the names of the subtree. */
		OK(keep_engine_batch(engine, changes, KP_COUNT(changes), &err));
		raw("DEL %s:idx:f", prefix);
		raw("LPUSH %s:idx:f garbage", prefix);
		unset_path(engine, "f");
		unset_path(engine, "");
		assert_int_equal(raw("EXISTS %s:%s %s:idx:f", prefix, keys[i], prefix)->integer, 0);
		raw("LPUSH %s:doc:g garbage", prefix);
		assert_int_equal(keep_engine_get(engine, KEEP_BYTES("g"), &value, &err),
				 KEEP_CORRUPT);
		raw("DEL %s:doc:g", prefix);
		keep_engine_close(&engine);
	}
	keep_buffer_release(&value);
}

static void a_newer_format_is_too_new(void **state)
{
	const char *prefix = fresh_prefix();
	keep_engine *engine = NULL;
	keep_error err = KEEP_ERROR_INIT;
	char url[URL_MAX];

	(void)state;
	prefix_url(url, prefix);
	raw("HSET %s:keep format 2", prefix);
	assert_int_equal(try_url(url, (keep_engine_options){.create = true}, &engine, &err),
			 KEEP_TOO_NEW);
	raw("HSET %s:keep format one", prefix);
	assert_int_equal(try_url(url, (keep_engine_options){.create = true}, &engine, &err),
			 KEEP_CORRUPT);
	raw("DEL %s:keep", prefix);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- trees */

static void any_sequence_of_changes_leaves_an_exact_tree(void **state)
{
	const char *prefix = fresh_prefix();
	keep_engine *engine = open_prefix(prefix);
	uint64_t seed = test_seed();

	(void)state;
	for (int i = 0; i < 3000; i++) {
		char path[64] = "";
		uint64_t depth = 1 + next_random(&seed) % 4;

		for (uint64_t k = 0; k < depth; k++)
			snprintf(path + strlen(path), sizeof path - strlen(path), "%s%c",
				 k ? "/" : "", (char)('a' + next_random(&seed) % 3));
		if (next_random(&seed) % 2)
			set_text(engine, path, path);
		else
			unset_path(engine, path);
		if (i % 50 == 0)
			CHECK(!*tree_faults(prefix), "seed %llu, change %d: %s",
			      (unsigned long long)test_seed(), i, tree_faults(prefix));
	}
	unset_path(engine, "a");
	unset_path(engine, "b");
	unset_path(engine, "c");
	assert_int_equal(
		raw("EVAL %s 0 %s", "return #redis.call('KEYS', ARGV[1] .. ':*')", prefix)->integer,
		1); /* the marker */
	unset_path(engine, "");
	keep_engine_close(&engine);
}

struct busy_scan {
	keep_engine *other;
	int seen[600];
	int calls;
};

static bool see(void *ctx, keep_bytes path, keep_bytes value)
{
	struct busy_scan *scan = ctx;
	char other[32];
	int64_t number;

	(void)path;
	if (kp_int_parse(value, &number))
		scan->seen[number]++;
	snprintf(other, sizeof other, "s/%d/new", scan->calls++ % 7);
	set_text(scan->other, other, "new"); /* another engine: the scan's own must not change */
	return true;
}

static void a_scan_sees_each_document_once_while_others_change(void **state)
{
	const char *prefix = fresh_prefix();
	keep_engine *engine = open_prefix(prefix);
	struct busy_scan scan = {.other = open_prefix(prefix)};
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (int i = 0; i < 600; i++) {
		char path[32], value[16];

		snprintf(path, sizeof path, i % 3 ? "s/%d/%d" : "s/%d/d/%d", i % 5, i);
		snprintf(value, sizeof value, "%d", i);
		set_text(engine, path, value);
	}
	/* One place for all, as the source leaves them. */
	raw("EVAL %s 0 %s",
	    "for _, k in ipairs(redis.call('KEYS', ARGV[1] .. ':idx:s/1*')) do\n"
	    "for _, m in ipairs(redis.call('ZRANGE', k, 0, -1)) do\n"
	    "redis.call('ZADD', k, 77, m) end end",
	    prefix);
	OK(keep_engine_scan(engine, KEEP_BYTES("s"), see, &scan, &err));
	for (int i = 0; i < 600; i++)
		CHECK(scan.seen[i] == 1, "document %d: %d times", i, scan.seen[i]);
	unset_path(engine, "");
	keep_engine_close(&scan.other);
	keep_engine_close(&engine);
}

static void scripts_that_the_server_forgot_are_sent_again(void **state)
{
	keep_engine *engine = open_prefix(fresh_prefix());

	(void)state;
	set_text(engine, "a/b", "1");
	raw("SCRIPT FLUSH");
	set_text(engine, "a/c", "1");
	want_names(engine, "a", "c b");
	raw("SCRIPT FLUSH");
	unset_path(engine, "");
	keep_engine_close(&engine);
}

static void a_value_of_64_mib_goes_both_ways(void **state)
{
	keep_engine *engine = open_prefix(fresh_prefix());
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer value = KEEP_BUFFER_INIT, back = KEEP_BUFFER_INIT;
	uint64_t seed = 1;

	(void)state;
	OK(kp_buffer_reserve(&value, KEEP_ENGINE_VALUE_BYTES_MAX, &err));
	for (size_t i = 0; i < KEEP_ENGINE_VALUE_BYTES_MAX; i += 8) {
		uint64_t word = next_random(&seed);

		memcpy(value.data + i, &word, 8);
	}
	value.len = KEEP_ENGINE_VALUE_BYTES_MAX;
	OK(keep_engine_set(engine, KEEP_BYTES("big"), kp_buffer_bytes(&value), &err));
	OK(keep_engine_get(engine, KEEP_BYTES("big"), &back, &err));
	assert_true(kp_bytes_equal(kp_buffer_bytes(&value), kp_buffer_bytes(&back)));
	OK(keep_engine_compare_and_set(engine, KEEP_BYTES("big"), kp_buffer_bytes(&value),
				       KEEP_BYTES("small"), &err));
	unset_path(engine, "");
	keep_buffer_release(&value);
	keep_buffer_release(&back);
	keep_engine_close(&engine);
}

static void a_batch_of_10000_changes_is_one_request(void **state)
{
	static keep_engine_change changes[KEEP_ENGINE_BATCH_MAX];
	static char paths[KEEP_ENGINE_BATCH_MAX][24], large[20000];
	keep_engine *engine = open_prefix(fresh_prefix());
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer value = KEEP_BUFFER_INIT;

	(void)state;
	memset(large, 'x', sizeof large);
	for (int i = 0; i < KEEP_ENGINE_BATCH_MAX; i++) {
		keep_bytes some = {large, i % 50 ? (size_t)(i % 300) : sizeof large - (size_t)i};

		snprintf(paths[i], sizeof paths[i], "b/%d/%d", i % 100, i);
		changes[i] = (keep_engine_change){
			.kind = KEEP_ENGINE_SET, .path = keep_bytes_of(paths[i]), .value = some};
	}
	OK(keep_engine_batch(engine, changes, KEEP_ENGINE_BATCH_MAX, &err));
	for (int i = 0; i < KEEP_ENGINE_BATCH_MAX; i += 7) {
		OK(keep_engine_get(engine, changes[i].path, &value, &err));
		assert_bytes_equal(kp_buffer_bytes(&value), changes[i].value);
	}
	assert_int_equal(count_of(engine, "b/99"), 100);
	unset_path(engine, "");
	keep_buffer_release(&value);
	keep_engine_close(&engine);
}

/* ---------------------------------------------------------------- killed clients */

static void change_for_ever(const char *prefix, uint64_t seed)
{
	keep_engine *engine = open_prefix(prefix);

	for (;;) {
		char path[64];
		uint64_t which = next_random(&seed);

		snprintf(path, sizeof path, "c/%d/m/%d", (int)(which % 3), (int)(which >> 8) % 20);
		if (which >> 40 & 1)
			set_text(engine, path, "0123456789");
		else if (which >> 41 & 3)
			unset_path(engine, path);
		else
			unset_path(engine, (which >> 50 & 1) ? "c/1" : "c/2/m");
	}
}

static void a_client_killed_at_any_moment_leaves_nothing_half_done(void **state)
{
	const char *prefix = fresh_prefix();
	uint64_t seed = test_seed();
	keep_engine *engine;

	(void)state;
	for (int round = 0; round < 200; round++) {
		pid_t child = fork();

		assert_true(child >= 0);
		if (child == 0)
			change_for_ever(prefix, next_random(&seed) + (uint64_t)round);
		usleep((useconds_t)(1500 + next_random(&seed) % 6000));
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, NULL, 0), child);
		CHECK(!*tree_faults(prefix), "round %d: %s", round, tree_faults(prefix));
	}
	engine = open_prefix(prefix);
	unset_path(engine, "");
	keep_engine_close(&engine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_keys_of_a_store_are_exactly_the_documented_ones),
		cmocka_unit_test(places_are_strictly_increasing_milliseconds),
		cmocka_unit_test(a_millisecond_that_is_used_up_does_not_stop_plain_sets),
		cmocka_unit_test(more_equal_scores_than_a_double_orders_are_full),
		cmocka_unit_test(two_documents_can_change_places_at_one_score_for_ever),
		cmocka_unit_test(a_store_of_the_source_project_is_adopted),
		cmocka_unit_test(a_read_only_engine_adopts_and_repairs_nothing),
		cmocka_unit_test(vanished_documents_are_passed_over_and_repaired),
		cmocka_unit_test(glob_characters_of_a_path_are_ordinary),
		cmocka_unit_test(neighbours_by_prefix_never_meet),
		cmocka_unit_test(two_urls_of_one_namespace_are_equal),
		cmocka_unit_test(what_is_no_url_is_invalid_and_no_message_shows_a_password),
		cmocka_unit_test(a_key_of_another_type_is_corrupt_and_nothing_is_half_done),
		cmocka_unit_test(a_newer_format_is_too_new),
		cmocka_unit_test(any_sequence_of_changes_leaves_an_exact_tree),
		cmocka_unit_test(a_scan_sees_each_document_once_while_others_change),
		cmocka_unit_test(scripts_that_the_server_forgot_are_sent_again),
		cmocka_unit_test(a_value_of_64_mib_goes_both_ways),
		cmocka_unit_test(a_batch_of_10000_changes_is_one_request),
		cmocka_unit_test(a_client_killed_at_any_moment_leaves_nothing_half_done),
	};

	return cmocka_run_group_tests(tests, use_shared_server, leave_server);
}

/*
 * test_engine_redis_faults.c - one life of an engine on Redis, with each thing in it failing once
 * or from then on: allocations (ours and hiredis'), connections, refused commands, lost answers.
 *
 * After each round the raw keys are compared with what was reported: OK happened, UNCERTAIN
 * happened whole or not at all, everything else did not happen; and the tree is exact.
 */
#include "../contract/redis_fixture.h"
#include "torture.h"

#define PREFIX "torture"

enum { DOCUMENTS = 3 }; /* beside the adopted one */

/* What each document may hold, by what was reported: "" for nothing. */
struct life {
	char now[DOCUMENTS][8];
	char then[DOCUMENTS][8]; /* what an uncertain change would have made of it */
	bool seen;               /* a list or scan disagreed */
};

static const char *const paths[DOCUMENTS] = {"a/b/one", "a/b/two", "c"};

static void report(struct life *life, keep_status status)
{
	if (status == KEEP_OK)
		memcpy(life->now, life->then, sizeof life->now);
	else if (status != KEEP_UNCERTAIN)
		memcpy(life->then, life->now, sizeof life->now);
}

static keep_status set_one(keep_engine *engine, struct life *life, int which, const char *value)
{
	keep_status status;

	snprintf(life->then[which], sizeof life->then[which], "%s", value);
	status = keep_engine_set(engine, keep_bytes_of(paths[which]), keep_bytes_of(value), NULL);
	report(life, status);
	return status;
}

static keep_status set_all(keep_engine *engine, struct life *life, const char *value)
{
	keep_engine_change changes[DOCUMENTS];
	keep_status status;

	for (int i = 0; i < DOCUMENTS; i++) {
		changes[i] = (keep_engine_change){.kind = KEEP_ENGINE_SET_SCORED,
						  .path = keep_bytes_of(paths[i]),
						  .value = keep_bytes_of(value),
						  .score_ms = 7};
		snprintf(life->then[i], sizeof life->then[i], "%s", value);
	}
	status = keep_engine_batch(engine, changes, DOCUMENTS, NULL);
	report(life, status);
	return status;
}

static keep_status unset_tree(keep_engine *engine, struct life *life)
{
	keep_status status;

	life->then[0][0] = life->then[1][0] = '\0';
	status = keep_engine_unset(engine, KEEP_BYTES("a"), NULL);
	report(life, status);
	return status;
}

static bool count_document(void *ctx, keep_bytes path, keep_bytes value)
{
	(void)path, (void)value;
	++*(int *)ctx;
	return true;
}

static keep_status read_all(keep_engine *engine, struct life *life)
{
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	keep_buffer value = KEEP_BUFFER_INIT;
	int seen = 0;
	int64_t count = 0;
	keep_status status = keep_engine_list_names(engine, KEEP_BYTES("a/b"), 0, 9, &list, NULL);

	life->seen = life->seen || (status == KEEP_OK && list.count != 2);
	keep_engine_list_release(&list);
	if (status == KEEP_OK) {
		status = keep_engine_scan(engine, KEEP_BYTES(""), count_document, &seen, NULL);
		life->seen = life->seen || (status == KEEP_OK && seen != DOCUMENTS + 1);
	}
	if (status == KEEP_OK) {
		status = keep_engine_count(engine, KEEP_BYTES("a/b"), &count, NULL);
		life->seen = life->seen || (status == KEEP_OK && count != 2);
	}
	if (status == KEEP_OK)
		status = keep_engine_get(engine, KEEP_BYTES("c"), &value, NULL);
	keep_buffer_release(&value);
	return status;
}

static keep_status watch_one(keep_engine *engine, struct life *life)
{
	keep_engine_watch *watch = NULL;
	bool changed = false;
	keep_status status = keep_engine_watch_open(engine, KEEP_BYTES("c"), &watch, NULL);

	if (status == KEEP_OK)
		status = set_one(engine, life, 2, "w");
	if (status == KEEP_OK)
		status = keep_engine_watch_wait(watch, 2000, &changed, NULL);
	life->seen = life->seen || (status == KEEP_OK && !changed);
	keep_engine_watch_close(&watch);
	return status;
}

static keep_status live(struct life *life)
{
	keep_engine_options options = KEEP_ENGINE_OPTIONS_INIT;
	keep_engine *engine = NULL;
	char url[URL_MAX];
	keep_status status;

	prefix_url(url, PREFIX);
	options.relaxed = true;
	options.timeout_ms = 2000;
	status = keep_engine_open(url, &options, &engine, NULL);
	if (status == KEEP_OK)
		status = set_one(engine, life, 0, "1");
	if (status == KEEP_OK)
		status = set_one(engine, life, 0, "2");
	if (status == KEEP_OK)
		status = set_all(engine, life, "3");
	if (status == KEEP_OK)
		status = read_all(engine, life);
	if (status == KEEP_OK)
		status = watch_one(engine, life);
	if (status == KEEP_OK)
		status = unset_tree(engine, life);
	keep_engine_close(&engine);
	return status;
}

static enum kp_fault_kind armed;

/* A store as the source project leaves it, for the next life to adopt: its index is of no help. */
static void lay_out(void)
{
	raw("EVAL %s 0",
	    "for _, k in ipairs(redis.call('KEYS', '" PREFIX ":*')) do redis.call('DEL', k) end");
	raw("SET " PREFIX ":doc:old/x/y 1");
}

/* Clean before, armed while it lives, compared with the server's keys after. */
static keep_status one_life(void *ctx)
{
	struct life life = {.seen = false};
	keep_status status = live(&life);

	(void)ctx;
	kp_fault_disarm(armed); /* what follows must not fail; the number that fired stays */
	assert_false(life.seen);
	for (int i = 0; i < DOCUMENTS; i++) {
		const char *found = raw("GET " PREFIX ":doc:%s", paths[i])->str;

		found = found ? found : "";
		CHECK(strcmp(found, life.now[i]) == 0 || strcmp(found, life.then[i]) == 0,
		      "%s: '%s' after %s, reported '%s' or '%s'", paths[i], found,
		      keep_status_name(status), life.now[i], life.then[i]);
	}
	/* Adopted whole, or not yet. */
	if (raw("EXISTS " PREFIX ":keep")->integer)
		assert_string_equal(tree_faults(PREFIX), "");
	lay_out();
	return status;
}

static void loop(enum kp_fault_kind kind, unsigned expected)
{
	armed = kind;
	lay_out();
	print_message("%ld rounds failed\n", torture(kind, expected, one_life, NULL));
}

static void every_allocation_may_fail(void **state)
{
	(void)state;
	/* UNCERTAIN: no memory for the answer to a change. OK: an answer nobody needed, a retry. */
	loop(KP_FAULT_ALLOC, MAY(KEEP_NO_MEMORY) | MAY(KEEP_UNCERTAIN) | MAY(KEEP_OK));
}

static void every_connection_may_break(void **state)
{
	(void)state;
	loop(KP_FAULT_CONNECT, MAY(KEEP_UNAVAILABLE) | MAY(KEEP_UNCERTAIN) | MAY(KEEP_OK));
}

static void every_command_may_be_refused(void **state)
{
	(void)state;
	/* OK: a question about the server's configuration was refused. */
	loop(KP_FAULT_DRIVER, MAY(KEEP_UNAVAILABLE) | MAY(KEEP_OK));
}

static void every_answer_may_be_lost(void **state)
{
	(void)state;
	loop(KP_FAULT_COMMIT, MAY(KEEP_UNAVAILABLE) | MAY(KEEP_UNCERTAIN) | MAY(KEEP_OK));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_allocation_may_fail),
		cmocka_unit_test(every_connection_may_break),
		cmocka_unit_test(every_command_may_be_refused),
		cmocka_unit_test(every_answer_may_be_lost),
	};

	return cmocka_run_group_tests(tests, use_shared_server, leave_server);
}

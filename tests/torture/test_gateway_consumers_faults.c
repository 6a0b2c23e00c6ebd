/*
 * test_gateway_consumers_faults.c - a life of consumers, waits and chats, with the Nth thing in it
 * failing, N = 1, 2, … until none fires.
 *
 *     test_gateway_consumers_faults sqlite|postgres      KEEP_TORTURE=all: every N
 *
 * The life opens the store, makes a consumer, waits, reads, moves a cursor, renews and marks a
 * chat, and removes the consumer. It stops at the first failure. Afterwards what was answered OK is
 * there, what failed is not, and what was uncertain is one of both; every consumer has its cursor
 * in every chat or is not there at all, and nothing leaked.
 */
#include "gateway_fixture.h"
#include "sqlite_faults.h"
#include "torture.h"

#include <sqlite3.h>

enum { EVERY_MAX = 12, LAST_SEQ = 1000000 };

static bool is_sqlite;
static keep_error err = KEEP_ERROR_INIT;

/* What one life was answered; a field is what the store must hold. */
struct life {
	int64_t number;
	int64_t cursor, cursor_before;
	int64_t name, name_before;
	bool is_errored, was_errored;
	keep_status status;
	enum { AT_OPEN, AT_READING, AT_ADVANCE, AT_PUT, AT_MARK, AT_REMOVE, AT_END } stopped;
};

static const keep_bytes steady = {"steady", 6};

/* ---------------------------------------------------------------- a life */

static keep_status read_everything(keep_gateway *gateway, keep_bytes consumer, keep_memory *memory)
{
	const keep_bytes jid = KEEP_BYTES("b:1");
	keep_pending_list chats = {0};
	keep_message_list messages = {0};
	keep_chat_list list = {0};
	bool pending = false, due = true;
	int64_t seq = -1;
	keep_status status = keep_gateway_get_cursor(gateway, consumer, jid, &seq, &err);

	if (status == KEEP_OK)
		status = keep_gateway_wait(gateway, consumer, 1, &pending, &err);
	if (status == KEEP_OK)
		status = keep_gateway_wait_deliveries(gateway, (keep_bytes){0}, 1, &due, &err);
	if (status == KEEP_OK)
		status = keep_gateway_pending_chats(gateway, consumer, 0, memory, &chats, &err);
	if (status == KEEP_OK)
		status = keep_gateway_new_messages(gateway, consumer, &jid, 1, 0, memory, &messages,
						   &err);
	if (status == KEEP_OK)
		status = keep_gateway_list_chats(gateway, (keep_bytes){0}, 0, memory, &list, &err);
	if (status == KEEP_OK)
		CHECK(seq == 0 && pending && !due && chats.count == 2 && messages.count == 3 &&
			      list.count == 2,
		      "an answer is wrong");
	return status;
}

static keep_status change_everything(keep_gateway *gateway, struct life *life, keep_bytes consumer)
{
	const keep_bytes jid = KEEP_BYTES("a:1");
	char name[24];
	keep_chat chat = {.jid = jid};
	int64_t cursor = 0;
	keep_status status;

	life->stopped = AT_ADVANCE;
	life->cursor = life->cursor_before + 1;
	status = keep_gateway_advance(gateway, steady, jid, life->cursor, &cursor, &err);
	if (status != KEEP_OK)
		return status;
	CHECK(cursor == life->cursor, "a cursor is at %lld", (long long)cursor);
	life->stopped = AT_PUT;
	life->name = life->number;
	snprintf(name, sizeof name, "%lld", (long long)life->number);
	chat.name = keep_bytes_of(name);
	status = keep_gateway_put_chat(gateway, &chat, &err);
	if (status != KEEP_OK)
		return status;
	life->stopped = AT_MARK;
	life->is_errored = !life->was_errored;
	status = life->is_errored ? keep_gateway_mark_errored(gateway, jid, &err)
				  : keep_gateway_clear_errored(gateway, jid, &err);
	if (status != KEEP_OK)
		return status;
	life->stopped = AT_REMOVE;
	return keep_gateway_remove_consumer(gateway, consumer, &err);
}

static void live(struct life *life)
{
	keep_gateway_options options = KEEP_GATEWAY_OPTIONS_INIT;
	keep_gateway *gateway = NULL;
	keep_memory memory = KEEP_MEMORY_INIT;
	char name[24];

	snprintf(name, sizeof name, "c%lld", (long long)life->number);
	options.timeout_ms = 2000;
	life->stopped = AT_OPEN;
	life->status = gateway_open_with(&options, &gateway, &err);
	if (life->status == KEEP_OK) {
		life->stopped = AT_READING;
		life->status = read_everything(gateway, keep_bytes_of(name), &memory);
	}
	if (life->status == KEEP_OK)
		life->status = change_everything(gateway, life, keep_bytes_of(name));
	if (life->status == KEEP_OK)
		life->stopped = AT_END;
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
}

/* ---------------------------------------------------------------- what must hold afterwards */

/* The change at `step` was answered: it stands; it failed: it does not. */
static void check_one(const struct life *life, int step, int64_t found, int64_t before,
		      int64_t after)
{
	bool may_before = (int)life->stopped <= step, may_after = (int)life->stopped > step;

	if ((int)life->stopped == step && life->status == KEEP_UNCERTAIN)
		may_after = true;
	CHECK((may_before && found == before) || (may_after && found == after),
	      "step %d: %lld is stored; before %lld, after %lld; the life ended at %d with %s",
	      step, (long long)found, (long long)before, (long long)after, (int)life->stopped,
	      keep_status_name(life->status));
}

/* The store as it is becomes the next life's beginning. */
static void check_store(keep_gateway *gateway, struct life *life)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_chat chat = {0};
	int64_t cursor = 0, name;

	/* A server may be at work for a lost connection: a change waits until it is done. */
	OK(keep_gateway_put_chat(gateway, &(keep_chat){.jid = KEEP_BYTES("b:1")}, &err));
	OK(keep_gateway_get_cursor(gateway, steady, KEEP_BYTES("a:1"), &cursor, &err));
	OK(keep_gateway_get_chat(gateway, KEEP_BYTES("a:1"), &memory, &chat, &err));
	name = atoll(chat.name.data);
	check_one(life, AT_ADVANCE, cursor, life->cursor_before, life->cursor);
	check_one(life, AT_PUT, name, life->name_before, life->name);
	check_one(life, AT_MARK, chat.errored, life->was_errored, life->is_errored);
	assert_string_equal(
		gateway_sql("SELECT ((SELECT count(*) FROM consumers) * (SELECT count(*) FROM "
			    "chats) - (SELECT count(*) FROM cursors)) || ' ' || (SELECT count(*) "
			    "FROM cursors JOIN chats ON jid = chat_jid WHERE (pending_since IS NOT "
			    "NULL) <> (last_input_seq > seq))"),
		"0 0");
	life->cursor_before = cursor;
	life->name_before = name;
	life->was_errored = chat.errored;
	keep_memory_release(&memory);
}

static long next_nth(long nth)
{
	const char *wanted = getenv("KEEP_TORTURE");

	if (wanted && strcmp(wanted, "all") == 0)
		return nth + 1;
	return nth < EVERY_MAX ? nth + 1 : nth + nth / 6;
}

static void fail_each(enum kp_fault_kind kind, unsigned expected)
{
	keep_gateway *gateway = gateway_fresh();
	struct life life = {.number = 0};
	int64_t seq;
	long rounds = 0, fired = 1;

	gateway_put(gateway, "a:1", "1", "text");
	for (int i = 0; i < 3; i++)
		gateway_put(gateway, "b:1", &"1\0002\0003"[2 * i], "text");
	OK(keep_gateway_get_cursor(gateway, steady, KEEP_BYTES("a:1"), &seq, &err));
	gateway_sql("UPDATE chats SET last_seq = 1000000, last_input_seq = 1000000 WHERE jid = "
		    "'a:1'");
	for (int persistent = 0; persistent < 2; persistent++, fired = 1)
		for (long nth = 1; fired; nth = next_nth(nth)) {
			long living = kp_alloc_live();

			life.number++;
			kp_fault_arm(kind, nth, persistent);
			live(&life);
			fired = kp_fault_disarm(kind);
			CHECK(kp_alloc_live() == living, "failure %ld leaked %ld blocks", nth,
			      kp_alloc_live() - living);
			CHECK(life.status == KEEP_OK || (fired && expected & MAY(life.status)),
			      "failure %ld at %d: %s: %s", nth, (int)life.stopped,
			      keep_status_name(life.status), err.message);
			check_store(gateway, &life);
			rounds++;
		}
	print_message("%ld rounds\n", rounds);
	assert_true(rounds > 4);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

static void a_failing_allocation_changes_nothing(void **state)
{
	unsigned expected = MAY(KEEP_NO_MEMORY) | MAY(KEEP_UNCERTAIN);

	(void)state;
	/* libpq reports its own lack of memory as a lost connection. */
	fail_each(KP_FAULT_ALLOC, is_sqlite ? expected : expected | MAY(KEEP_UNAVAILABLE));
}

static void a_failing_driver_call_changes_nothing(void **state)
{
	(void)state;
	fail_each(KP_FAULT_DRIVER, MAY(KEEP_UNAVAILABLE) | MAY(KEEP_UNCERTAIN));
}

static void a_lost_answer_to_a_commit_is_uncertain(void **state)
{
	(void)state;
	fail_each(KP_FAULT_COMMIT, MAY(KEEP_UNCERTAIN));
}

static void a_failing_file_call_changes_nothing(void **state)
{
	(void)state;
	sqlite_faults_set_write_code(SQLITE_FULL);
	fail_each(KP_FAULT_FILE,
		  MAY(KEEP_UNAVAILABLE) | MAY(KEEP_FULL) | MAY(KEEP_BUSY) | MAY(KEEP_UNCERTAIN));
}

static void a_breaking_connection_changes_nothing(void **state)
{
	(void)state;
	fail_each(KP_FAULT_CONNECT, MAY(KEEP_UNAVAILABLE) | MAY(KEEP_UNCERTAIN));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest both[] = {
		cmocka_unit_test(a_failing_allocation_changes_nothing),
		cmocka_unit_test(a_failing_driver_call_changes_nothing),
		cmocka_unit_test(a_lost_answer_to_a_commit_is_uncertain),
	};
	const struct CMUnitTest sqlite[] = {
		cmocka_unit_test(a_failing_file_call_changes_nothing),
	};
	const struct CMUnitTest postgres[] = {
		cmocka_unit_test(a_breaking_connection_changes_nothing),
	};
	int failed;

	is_sqlite = argc == 2 && strcmp(argv[1], "sqlite") == 0;
	sqlite_faults_install();
	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(both, NULL, NULL);
	failed += is_sqlite ? cmocka_run_group_tests(sqlite, NULL, NULL)
			    : cmocka_run_group_tests(postgres, NULL, NULL);
	gateway_end();
	return failed;
}

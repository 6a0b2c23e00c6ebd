/*
 * test_mailbox_message_list.c - contracts/mailbox.md: a session's messages, a page after the other.
 *
 *     test_mailbox_message_list sqlite|postgres
 */
#include "mailbox_fixture.h"

enum { MESSAGES = 60 };

static keep_error err;

static keep_inbound_message_list list(keep_mailbox *mailbox, const char *session,
				      const char *status, int64_t after, size_t limit,
				      keep_memory *memory)
{
	keep_inbound_message_list out = {NULL, 0};

	OK(keep_mailbox_messages(mailbox, keep_bytes_of(session),
				 status ? keep_bytes_of(status) : (keep_bytes){NULL, 0}, after,
				 limit, memory, &out, &err));
	return out;
}

static void messages_come_by_number_and_pages_meet(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	char session[KEEP_SEGMENT_MAX + 1], other[KEEP_SEGMENT_MAX + 1];
	keep_inbound_message_list page;

	(void)state;
	mailbox_session(mailbox, NULL, session);
	mailbox_session(mailbox, "thread", other);
	assert_int_equal(list(mailbox, session, NULL, 0, 0, &memory).count, 0);
	for (int64_t i = 1; i <= MESSAGES; i++)
		assert_int_equal(mailbox_post(mailbox, session, "{\"text\":\"hello\"}"), 2 * i);
	mailbox_post(mailbox, other, "{\"text\":\"elsewhere\"}");
	page = list(mailbox, session, NULL, 0, 0, &memory);
	assert_int_equal(page.count, 50);
	for (size_t i = 0; i < page.count; i++)
		assert_int_equal(page.items[i].seq, 2 * (i + 1));
	assert_bytes_equal(page.items[0].session_id, keep_bytes_of(session));
	assert_bytes_equal(page.items[0].content, KEEP_BYTES("{\"text\":\"hello\"}"));
	page = list(mailbox, session, NULL, page.items[49].seq, 7, &memory);
	assert_int_equal(page.count, 7);
	assert_int_equal(page.items[0].seq, 102);
	page = list(mailbox, session, NULL, 114, KEEP_MAILBOX_LIST_MAX, &memory);
	assert_int_equal(page.count, 3);
	assert_int_equal(list(mailbox, session, NULL, 120, 1, &memory).count, 0);
	assert_int_equal(list(mailbox, other, NULL, 0, 0, &memory).count, 1);
	keep_memory_release(&memory);
	keep_mailbox_close(&mailbox);
	assert_nothing_lives();
}

static void a_status_chooses_and_wrong_inputs_are_refused(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	char session[KEEP_SEGMENT_MAX + 1];
	keep_inbound_message_list page;

	(void)state;
	mailbox_session(mailbox, NULL, session);
	for (int i = 0; i < 3; i++)
		mailbox_post(mailbox, session, "{\"text\":\"hello\"}");
	mailbox_sql(session, "inbound.db",
		    "UPDATE messages_in SET status = 'failed' WHERE seq = 4");
	page = list(mailbox, session, "failed", 0, 0, &memory);
	assert_int_equal(page.count, 1);
	assert_int_equal(page.items[0].seq, 4);
	page = list(mailbox, session, "pending", 2, 0, &memory);
	assert_int_equal(page.count, 1);
	assert_int_equal(page.items[0].seq, 6);
	assert_int_equal(list(mailbox, session, "paused", 0, 0, &memory).count, 0);
	assert_int_equal(keep_mailbox_messages(mailbox, keep_bytes_of(session), KEEP_BYTES("done"),
					       0, 0, &memory, &page, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_mailbox_messages(mailbox, keep_bytes_of(session),
					       (keep_bytes){NULL, 0}, 0, KEEP_MAILBOX_LIST_MAX + 1,
					       &memory, &page, &err),
			 KEEP_INVALID);
	assert_int_equal(keep_mailbox_messages(mailbox, KEEP_BYTES("nobody"), (keep_bytes){NULL, 0},
					       0, 0, &memory, &page, &err),
			 KEEP_NOT_FOUND);
	assert_null(page.items);
	assert_int_equal(keep_mailbox_messages(mailbox, KEEP_BYTES("../x"), (keep_bytes){NULL, 0},
					       0, 0, &memory, &page, &err),
			 KEEP_INVALID);
	keep_memory_release(&memory);
	keep_mailbox_close(&mailbox);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_come_by_number_and_pages_meet),
		cmocka_unit_test(a_status_chooses_and_wrong_inputs_are_refused),
	};
	int failed;

	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mailbox_end();
	return failed;
}

/*
 * test_mailbox_trip.c - contracts/mailbox.md: one message to an agent and its reply back.
 *
 *     test_mailbox_trip sqlite|postgres
 */
#include "mailbox_fixture.h"

static void a_message_goes_to_the_agent_and_its_reply_comes_back(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char session[KEEP_SEGMENT_MAX + 1];
	keep_claim_list claims;
	keep_sent sent;
	keep_agent *agent;

	(void)state;
	mailbox_session(mailbox, NULL, session);
	assert_int_equal(mailbox_post(mailbox, session, "{\"text\":\"hello\"}"), 2);
	assert_int_equal(mailbox_post(mailbox, session, "{\"text\":\"again\"}"), 4);
	agent = mailbox_agent(mailbox, session);
	OK(keep_agent_claim(agent, NULL, KEEP_NOW, &memory, &claims, &err));
	assert_int_equal(claims.count, 1);
	assert_int_equal(claims.items[0].message.seq, 2);
	assert_int_equal(claims.items[0].attempt, 1);
	{
		keep_claim_ref ref = {claims.items[0].message.id, claims.items[0].attempt};
		keep_send reply = {.content = KEEP_BYTES("{\"text\":\"hi\"}")};

		OK(keep_agent_complete_with(agent, &ref, 1, &reply, 1, KEEP_NOW, &sent, &err));
		assert_int_equal(sent.seq, 5);
		assert_int_equal(
			keep_agent_complete_with(agent, &ref, 1, &reply, 1, KEEP_NOW, &sent, &err),
			KEEP_CONFLICT);
	}
	keep_agent_close(&agent);
	keep_memory_release(&memory);
	keep_mailbox_close(&mailbox);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_goes_to_the_agent_and_its_reply_comes_back),
	};
	int failed;

	mailbox_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mailbox_end();
	return failed;
}

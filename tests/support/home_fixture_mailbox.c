/*
 * home_fixture_mailbox.c - the mailbox of home_fixture.h: filling it, and using it afterwards.
 */
#include "home_fixture.h"

#include "keep/agent.h"
#include "keep/mailbox.h"
#include "keep/mailbox_registry.h"

static void post(keep_mailbox *mailbox, const char *session, const char *content)
{
	keep_post post = {.content = keep_bytes_of(content),
			  .channel_type = KEEP_BYTES("telegram"),
			  .platform_id = KEEP_BYTES("42")};
	keep_post_result result;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_mailbox_post(mailbox, keep_bytes_of(session), &post, &result, &err));
}

/* One message is answered, two wait. */
static void converse(keep_mailbox *mailbox, const char *session)
{
	keep_agent_options options = KEEP_AGENT_OPTIONS_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_agent *agent = NULL;
	keep_claim_list claims;
	keep_bytes place;
	char text[HOME_URL_MAX];

	post(mailbox, session, "{\"text\":\"first\"}");
	OK(keep_mailbox_session_place(mailbox, keep_bytes_of(session), &memory, &place, &err));
	snprintf(text, sizeof text, "%.*s", (int)place.len, place.data);
	OK(keep_agent_open(text, &options, &agent, &err));
	OK(keep_agent_claim(agent, NULL, KEEP_NOW, &memory, &claims, &err));
	assert_int_equal(claims.count, 1);
	{
		keep_claim_ref ref = {claims.items[0].message.id, claims.items[0].attempt};
		keep_send reply = {.content = KEEP_BYTES("{\"text\":\"hi\"}")};
		keep_sent sent;

		OK(keep_agent_complete_with(agent, &ref, 1, &reply, 1, KEEP_NOW, &sent, &err));
	}
	keep_agent_close(&agent);
	keep_memory_release(&memory);
	post(mailbox, session, "{\"text\":\"second\"}");
	post(mailbox, session, "{ \"text\" : \"third\" }");
}

void home_fill_mailbox(const char *home, home_filled *filled)
{
	keep_mailbox_options options = KEEP_MAILBOX_OPTIONS_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_mailbox *mailbox = NULL;
	keep_agent_group group = {
		.id = KEEP_BYTES("ada"), .name = KEEP_BYTES("Ada"), .folder = KEEP_BYTES("ada")};
	keep_messaging_group chat = {.id = KEEP_BYTES("mg-42"),
				     .channel_type = KEEP_BYTES("telegram"),
				     .platform_id = KEEP_BYTES("42")};
	char url[HOME_URL_MAX];

	options.create = true;
	OK(keep_mailbox_open(home_store(home, "mailbox", url), &options, &mailbox, &err));
	OK(keep_mailbox_put_agent_group(mailbox, &group, NULL, &err));
	OK(keep_mailbox_put_messaging_group(mailbox, &chat, NULL, &err));
	for (int i = 0; i < 5; i++) {
		char thread[4] = {'t', 'h', (char)('0' + i), 0};
		keep_session_place place = {.agent_group_id = group.id,
					    .messaging_group_id = chat.id,
					    .thread_id = {thread, 3},
					    .session_mode = KEEP_BYTES("per-thread")};
		keep_session session;

		OK(keep_mailbox_resolve_session(mailbox, &place, KEEP_NOW, &memory, &session, NULL,
						&err));
		snprintf(filled->session, sizeof filled->session, "%.*s", (int)session.id.len,
			 session.id.data);
		if (i)
			converse(mailbox, filled->session);
	}
	keep_memory_release(&memory);
	keep_mailbox_close(&mailbox);
}

void home_use_mailbox(const char *home, const home_filled *filled)
{
	keep_mailbox_options options = KEEP_MAILBOX_OPTIONS_INIT;
	keep_agent_options agent_options = KEEP_AGENT_OPTIONS_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_mailbox *mailbox = NULL;
	keep_agent *agent = NULL;
	keep_post post = {.content = KEEP_BYTES("{\"text\":\"fourth\"}"),
			  .channel_type = KEEP_BYTES("telegram"),
			  .platform_id = KEEP_BYTES("42")};
	keep_post_result posted;
	keep_claim_list claims;
	keep_bytes place;
	char url[HOME_URL_MAX], text[HOME_URL_MAX];

	OK(keep_mailbox_open(home_store(home, "mailbox", url), &options, &mailbox, &err));
	OK(keep_mailbox_post(mailbox, keep_bytes_of(filled->session), &post, &posted, &err));
	OK(keep_mailbox_session_place(mailbox, keep_bytes_of(filled->session), &memory, &place,
				      &err));
	snprintf(text, sizeof text, "%.*s", (int)place.len, place.data);
	OK(keep_agent_open(text, &agent_options, &agent, &err));
	OK(keep_agent_claim(agent, NULL, KEEP_NOW, &memory, &claims, &err));
	assert_int_equal(claims.count, 1);
	assert_bytes_equal(claims.items[0].message.content, KEEP_BYTES("{\"text\":\"second\"}"));
	assert_true(posted.seq > claims.items[0].message.seq);
	keep_agent_close(&agent);
	keep_memory_release(&memory);
	keep_mailbox_close(&mailbox);
}

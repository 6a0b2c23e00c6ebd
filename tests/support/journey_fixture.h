#ifndef KEEP_JOURNEY_FIXTURE_H
#define KEEP_JOURNEY_FIXTURE_H
/*
 * journey_fixture.h - a home with a service on it, for tests of the journey; on SQLite or
 * PostgreSQL.
 *
 *     journey_fixture fixture;
 *     journey_begin(&fixture, "sqlite");          a home, its stores open for the test
 *     fixture.options.agent = "cat";
 *     journey_serve(&fixture);
 *     …
 *     journey_end(&fixture);
 */
#include "home_fixture.h"
#include "temp_folder.h"

#include "keep/gateway.h"
#include "keep/mailbox.h"
#include "keep/mailbox_registry.h"
#include "keep/service.h"
#include "operations/operations_table.h"

#include <poll.h>

typedef struct journey_fixture {
	temp_folder folder;
	char home[HOME_URL_MAX];
	keep_session *session; /* the test's own look at the stores */
	keep_gateway *gateway;
	keep_mailbox *mailbox;
	keep_service_options options;
	keep_service *service;
} journey_fixture;

static inline void journey_begin(journey_fixture *fixture, const char *kind)
{
	keep_error err = KEEP_ERROR_INIT;
	void *gateway = NULL, *mailbox = NULL;

	memset(fixture, 0, sizeof *fixture);
	temp_folder_make(&fixture->folder);
	if (strcmp(kind, "postgres") == 0)
		home_server(fixture->home);
	else
		(void)snprintf(fixture->home, sizeof fixture->home, "%s/home",
			       fixture->folder.path);
	OK(keep_home_init(fixture->home, &err));
	OK(keep_session_open(fixture->home, &fixture->session, &err));
	OK(kp_session_handle(fixture->session, &kp_gateway_operations, &gateway, &err));
	OK(kp_session_handle(fixture->session, &kp_mailbox_operations, &mailbox, &err));
	fixture->gateway = gateway;
	fixture->mailbox = mailbox;
	fixture->options = (keep_service_options)KEEP_SERVICE_OPTIONS_INIT;
	fixture->options.listen = "127.0.0.1:0";
	fixture->options.no_maintenance = true;
}

static inline void journey_serve(journey_fixture *fixture)
{
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_service_start(fixture->home, &fixture->options, &fixture->service, &err));
}

static inline void journey_stop(journey_fixture *fixture)
{
	keep_service_stop(&fixture->service, 30000);
}

static inline void journey_end(journey_fixture *fixture)
{
	journey_stop(fixture);
	keep_session_close(&fixture->session);
	temp_folder_remove(&fixture->folder);
}

/* Try again until it is so; a minute is more than anybody needs. */
#define EVENTUALLY(condition)                                                                      \
	do {                                                                                       \
		int64_t until_ns = kp_monotonic_ns() + 60000000000 * test_patience();              \
		while (!(condition)) {                                                             \
			CHECK(kp_monotonic_ns() < until_ns, "not in time: %s", #condition);        \
			(void)poll(NULL, 0, 5);                                                    \
		}                                                                                  \
	} while (0)

static inline void journey_put(journey_fixture *fixture, const char *chat, const char *id,
			       const char *text)
{
	keep_message message = {.chat_jid = keep_bytes_of(chat),
				.id = keep_bytes_of(id),
				.sender = KEEP_BYTES("ada"),
				.content = keep_bytes_of(text)};
	keep_put_result result;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_gateway_put_message(fixture->gateway, &message, NULL, &result, &err));
}

/* How many messages a chat has by now, in and out. */
static inline size_t journey_count(journey_fixture *fixture, const char *chat)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list = {.count = 0};
	keep_error err = KEEP_ERROR_INIT;
	size_t count;

	OK(keep_gateway_history(fixture->gateway, keep_bytes_of(chat), 0, 1000, &memory, &list,
				&err));
	count = list.count;
	keep_memory_release(&memory);
	return count;
}

#endif

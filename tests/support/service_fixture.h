#ifndef KEEP_SERVICE_FIXTURE_H
#define KEEP_SERVICE_FIXTURE_H
/*
 * service_fixture.h - a struct keep_service with a session and its stores, and no thread: what the
 * parts that judge a request need, and nothing else of the host.
 *
 *     static keep_service service;
 *     service_open(&service, "sqlite");     or "postgres"
 *     service_call(&service, "gateway.put_group", "{\"jid\":…}");
 *     service_close(&service);
 */
#include "home_fixture.h"
#include "keep/schedule.h"
#include "service/accounts.h"
#include "temp_folder.h"

static temp_folder service_folder;

static inline void service_open(keep_service *service, const char *kind)
{
	static char home[HOME_URL_MAX];
	keep_error err = KEEP_ERROR_INIT;
	void *gateway = NULL, *mailbox = NULL;

	temp_folder_make(&service_folder);
	if (strcmp(kind, "postgres") == 0)
		home_server(home);
	else
		(void)snprintf(home, sizeof home, "%s/home", service_folder.path);
	memset(service, 0, sizeof *service);
	service->home = home;
	OK(keep_home_init(home, &err));
	OK(keep_session_open(home, &service->session, &err));
	OK(kp_session_handle(service->session, &kp_gateway_operations, &gateway, &err));
	OK(kp_session_handle(service->session, &kp_mailbox_operations, &mailbox, &err));
	service->gateway = gateway;
	service->mailbox = mailbox;
	OK(kp_accounts_open(&service->accounts, &err));
}

static inline void service_close(keep_service *service)
{
	kp_accounts_close(&service->accounts);
	keep_session_close(&service->session);
	keep_zone_forget();
	home_servers_drop();
	temp_folder_remove(&service_folder);
}

/* A call as an operator's that must succeed; its result, until the next one. */
static inline const char *service_call(keep_service *service, const char *name, const char *with)
{
	static char text[1 << 16];
	keep_buffer result = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = keep_session_call(service->session, keep_bytes_of(name),
					       keep_bytes_of(with), &result, &err);

	CHECK(status == KEEP_OK, "%s %s: %s", name, with, err.message);
	(void)snprintf(text, sizeof text, "%.*s", (int)result.len, result.data);
	keep_buffer_release(&result);
	return text;
}

#endif

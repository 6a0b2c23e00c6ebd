/*
 * service.c - the host of a home: its parts, started in their order and stopped in the reverse one.
 *
 * Order of start: what may be refused without touching anything (options), the home, the host's
 * lease, the stores, the address, then the parts that work. HTTP comes last but one and is stopped
 * first, so that nothing new is accepted while the rest ends what is in flight.
 *
 * Invariants:
 *   1. A refused start has changed nothing: no store is made before the lease is held.
 *   2. The stores' handles are the session's, so calls over HTTP and the host's own work share one
 *      writer and its group commits.
 *   3. What adapters and agents claim over HTTP stays theirs when this process ends.
 *
 * What it does not do: signals, printing.
 *
 * Tests: tests/contract/test_service_lease.c, tests/cli/test_cli_serve.py.
 */
#include "service/http.h"
#include "service/host.h"

#include <string.h>

enum { GRACE_MS = 10000 };

static int64_t monotonic_ms(void)
{
	return kp_monotonic_ns() / 1000000;
}

static void tell(keep_service *service, keep_service_state state, const char *text)
{
	if (service->options.changed)
		service->options.changed(service->options.changed_ctx, state, text);
}

/* ---------------------------------------------------------------- options */

static keep_status copy_text(const char **text, keep_error *err)
{
	char *copy;

	if (!*text)
		return KEEP_OK;
	copy = kp_alloc(strlen(*text) + 1);
	if (!copy) {
		*text = NULL;
		return kp_fail_memory(err, "the service's options");
	}
	memcpy(copy, *text, strlen(*text) + 1);
	*text = copy;
	return KEEP_OK;
}

static keep_status copy_hosts(keep_service_options *options, keep_error *err)
{
	const char **copy;
	keep_status status = KEEP_OK;
	const char *const *given = options->hosts;
	size_t count = options->host_count;

	options->hosts = NULL;
	options->host_count = 0;
	if (!count)
		return KEEP_OK;
	copy = kp_alloc_zero(count * sizeof *copy);
	if (!copy)
		return kp_fail_memory(err, "the service's options");
	options->hosts = copy;
	for (size_t i = 0; i < count && status == KEEP_OK; i++) {
		copy[i] = given[i];
		status = copy_text(&copy[i], err);
		options->host_count = i + 1;
	}
	return status;
}

/* Every text becomes our own, or NULL after a failure. */
static keep_status copy_options(keep_service *service, const keep_service_options *given,
				keep_error *err)
{
	keep_service_options *options = &service->options;
	const char **texts[] = {&options->listen,  &options->agent,    &options->tls_certificate,
				&options->tls_key, &options->key_file, &options->backups};
	keep_status status = KEEP_OK;

	*options = (keep_service_options)KEEP_SERVICE_OPTIONS_INIT;
	if (given && given->size != sizeof *given)
		return kp_fail(err, KEEP_MISUSE, "keep_service_options: a size of another version");
	if (given)
		*options = *given;
	if (!options->listen)
		options->listen = KEEP_SERVICE_LISTEN;
	if (options->agents_max <= 0)
		options->agents_max = 4;
	if (options->agent_limit_ms <= 0)
		options->agent_limit_ms = 600000;
	for (size_t i = 0; i < KP_COUNT(texts); i++) {
		keep_status copied = copy_text(texts[i], err);

		if (status == KEEP_OK)
			status = copied;
	}
	if (status != KEEP_OK) {
		options->hosts = NULL;
		options->host_count = 0;
		return status;
	}
	return copy_hosts(options, err);
}

static void release_options(keep_service_options *options)
{
	for (size_t i = 0; i < options->host_count; i++)
		kp_free((void *)(uintptr_t)options->hosts[i]);
	kp_free((void *)(uintptr_t)options->hosts);
	kp_free((void *)(uintptr_t)options->listen);
	kp_free((void *)(uintptr_t)options->agent);
	kp_free((void *)(uintptr_t)options->tls_certificate);
	kp_free((void *)(uintptr_t)options->tls_key);
	kp_free((void *)(uintptr_t)options->key_file);
	kp_free((void *)(uintptr_t)options->backups);
}

/* ---------------------------------------------------------------- stores */

static keep_status find_home(keep_service *service, const char *home, keep_error *err)
{
	const char *text = home;
	keep_status status = copy_text(&text, err);

	service->home = (char *)(uintptr_t)text;
	if (status == KEEP_OK && !kp_home_is_server(home))
		status = kp_home_check(home, &service->folder, err);
	return status;
}

/* The assistant's keys are the service's to name. */
keep_status kp_service_set_up_assistant(const keep_service *service, keep_session *session,
					keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	kp_arena arena = {.head = NULL};
	const kp_json *settings = NULL;
	kp_json_writer writer;
	keep_status status;

	if (!service->options.key_file)
		return KEEP_OK;
	kp_json_begin(&writer, &text);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "key_file");
	kp_json_put_text(&writer, keep_bytes_of(service->options.key_file));
	kp_json_close_object(&writer);
	status = kp_json_finish(&writer, err);
	if (status == KEEP_OK)
		status = kp_json_parse(kp_buffer_bytes(&text), &arena, &settings, err);
	if (status == KEEP_OK)
		status = kp_session_set_up(session, &kp_assistant_operations, settings, err);
	kp_arena_release(&arena);
	keep_buffer_release(&text);
	return status;
}

static keep_status open_stores(keep_service *service, keep_error *err)
{
	void *gateway = NULL, *mailbox = NULL, *assistant = NULL;
	keep_status status = keep_session_open(service->home, &service->session, err);

	if (status != KEEP_OK)
		return status;
	kp_session_let_leases_last(service->session);
	status = kp_service_set_up_assistant(service, service->session, err);
	if (status == KEEP_OK)
		status = kp_session_handle(service->session, &kp_gateway_operations, &gateway, err);
	if (status == KEEP_OK)
		status = kp_session_handle(service->session, &kp_mailbox_operations, &mailbox, err);
	if (status == KEEP_OK)
		status = kp_session_handle(service->session, &kp_assistant_operations, &assistant,
					   err);
	service->gateway = gateway;
	service->mailbox = mailbox;
	service->assistant = assistant;
	return status;
}

/* ---------------------------------------------------------------- parts */

static keep_status start_parts(keep_service *service, keep_error *err)
{
	keep_status status = KEEP_OK;

	if (service->options.agent)
		status = kp_agents_start(service, &service->agents, err);
	if (status == KEEP_OK)
		status = kp_collector_start(service, &service->collector, err);
	if (status == KEEP_OK)
		status = kp_scheduler_start(service, &service->scheduler, err);
	if (status == KEEP_OK)
		status = kp_router_start(service, &service->router, err);
	if (status == KEEP_OK && !service->options.no_maintenance)
		status = kp_maintenance_start(service, &service->maintenance, err);
	if (status == KEEP_OK)
		status = kp_accounts_open(&service->accounts, err);
	if (status == KEEP_OK)
		status = kp_http_start(service, &service->http, err);
	return status;
}

static keep_status start(keep_service *service, const char *home, keep_error *err)
{
	keep_status status = find_home(service, home, err);

	if (status == KEEP_OK)
		status = kp_host_lease_take(service, &service->lease, err);
	if (status != KEEP_OK)
		return status;
	tell(service, KEEP_SERVICE_STARTING, "");
	status = open_stores(service, err);
	if (status == KEEP_OK)
		status = kp_http_check_options(service, err);
	if (status == KEEP_OK)
		status = start_parts(service, err);
	if (status == KEEP_OK) {
		service->url = kp_http_url(service->http);
		status = copy_text(&service->url, err);
	}
	if (status == KEEP_OK)
		atomic_store(&service->is_ready, true);
	if (status == KEEP_OK)
		tell(service, KEEP_SERVICE_READY, kp_http_url(service->http));
	return status;
}

keep_status keep_service_start(const char *home, const keep_service_options *options,
			       keep_service **out, keep_error *err)
{
	keep_service *service;
	keep_status status;

	if (!home || !out)
		return kp_fail(err, KEEP_MISUSE, "keep_service_start: an argument is NULL");
	*out = NULL;
	service = kp_alloc_zero(sizeof *service);
	if (!service)
		return kp_fail_memory(err, "a service");
	service->started_ms = kp_clock_ms();
	status = copy_options(service, options, err);
	if (status == KEEP_OK)
		status = start(service, home, err);
	if (status != KEEP_OK)
		keep_service_stop(&service, 1);
	*out = service;
	return status;
}

const char *keep_service_url(const keep_service *service)
{
	return kp_http_url(service->http);
}

keep_status keep_service_health(keep_service *service, keep_error *err)
{
	if (atomic_load(&service->stopping))
		return kp_fail(err, KEEP_UNAVAILABLE, "the service is stopping");
	return kp_host_lease_check(service->lease, err);
}

void keep_service_stop(keep_service **service, int64_t grace_ms)
{
	keep_service *self = service ? *service : NULL;
	int64_t until_ms = monotonic_ms() + (grace_ms > 0 ? grace_ms : GRACE_MS);

	if (!self)
		return;
	*service = NULL;
	atomic_store(&self->stopping, true);
	tell(self, KEEP_SERVICE_STOPPING, "");
	kp_http_stop(&self->http, until_ms);
	kp_accounts_close(&self->accounts);
	kp_maintenance_stop(&self->maintenance);
	kp_router_stop(&self->router);
	kp_scheduler_stop(&self->scheduler);
	kp_agents_stop(&self->agents, until_ms);
	kp_collector_stop(&self->collector);
	keep_session_close(&self->session);
	kp_host_lease_release(&self->lease);
	release_options(&self->options);
	kp_free((void *)(uintptr_t)self->url);
	kp_free(self->folder);
	kp_free(self->home);
	kp_free(self);
}

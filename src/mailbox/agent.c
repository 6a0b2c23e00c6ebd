/*
 * agent.c - the agent's side of one session: opening it, changing it.
 *
 *     a folder           outbound.db is ours, inbound.db is read beside it (side.c)
 *     a server's URL     ?schema=…&session=ID: the session's rows in the mailbox's schema
 *
 * Several processes of one agent have it open at once; on SQLite the file's writers take turns, on
 * PostgreSQL they take the session's row of session_agent.
 *
 * Invariants:
 *   1. The agent writes outbound tables alone.
 *   2. An owner in processing_ack is one keep_agent: the process, and its number in it. So two of
 *      them in one process do not take each other's claims for their own.
 *
 * Tests: tests/contract/test_mailbox_agent.c and its neighbours.
 */
#include "mailbox/mailbox_private.h"

#include <limits.h>
#include <stdio.h>

enum { DEFAULT_TIMEOUT_MS = 5000 };

/* ---------------------------------------------------------------- reading and changing */

/* A change on a server, and the news of it in the same commit. */
struct telling {
	keep_agent *agent;
	kp_apply *apply;
	void *ctx;
	char payload[KP_SEGMENT_SIZE + 4];
};

static keep_status apply_and_tell(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct telling *telling = ctx;
	keep_status status = telling->apply(telling->ctx, lease, err);

	if (status == KEEP_OK)
		status = kp_sql_notify(lease->conn, telling->agent->channel,
				       keep_bytes_of(telling->payload), err);
	return status;
}

static keep_status write_and_tell(keep_agent *agent, kp_apply *apply, void *ctx, keep_error *err)
{
	struct telling telling = {.agent = agent, .apply = apply, .ctx = ctx};

	snprintf(telling.payload, sizeof telling.payload, "out:%s", agent->session);
	return kp_database_write(agent->database, apply_and_tell, &telling, err);
}

keep_status kp_agent_write(keep_agent *agent, kp_sql_mode mode, bool rings, kp_apply *apply,
			   void *ctx, keep_error *err)
{
	keep_error why = KEEP_ERROR_INIT;
	keep_status status;

	if (agent->database && rings && agent->listens)
		status = write_and_tell(agent, apply, ctx, &why);
	else if (agent->database)
		status = kp_database_write(agent->database, apply, ctx, &why);
	else
		status = kp_side_change(&agent->side, mode, apply, ctx, &why);
	if (status == KEEP_OK)
		kp_moment("mailbox.agent_committed");
	if (rings && (status == KEEP_OK || status == KEEP_UNCERTAIN))
		kp_bell_ring(&agent->out);
	return kp_mailbox_tell_failure(status, &why, err);
}

keep_status kp_agent_read(keep_agent *agent, kp_query *query, void *ctx, keep_error *err)
{
	kp_lease *lease = NULL;
	keep_error why = KEEP_ERROR_INIT;
	keep_status status;

	if (!agent->database)
		return kp_side_read(&agent->side, query, ctx, err);
	status = kp_database_read(agent->database, &lease, &why);
	if (status == KEEP_OK)
		status = query(ctx, lease, &why);
	if (lease)
		kp_database_read_end(agent->database, &lease);
	return kp_mailbox_tell_failure(status, &why, err);
}

/* ---------------------------------------------------------------- open and close */

static keep_status take_turn(void *ctx, kp_lease *lease, keep_error *err)
{
	const keep_agent *agent = ctx;

	return kp_lease_queue(lease, KP_MAILBOX_TAKE_AGENT_TURN,
			      KP_VALUES(kp_text_value(kp_agent_id(agent))), err);
}

/* Takes "session=…" out of the URL's parameters. */
static keep_status split_url(keep_agent *agent, const char *place, char *url, size_t size,
			     keep_error *err)
{
	const char *at = strstr(place, "session=");
	size_t len = at ? strcspn(at + 8, "&") : 0;
	keep_status status;

	if (!at || at == place || (at[-1] != '?' && at[-1] != '&'))
		return kp_fail(err, KEEP_INVALID, "place: &session=<id> is missing in the URL");
	status = kp_check_segment("session", (keep_bytes){at + 8, len}, err);
	if (status != KEEP_OK)
		return status;
	memcpy(agent->session, at + 8, len);
	if (snprintf(url, size, "%.*s%s", (int)(at - place), place,
		     at[8 + len] == '&' ? at + 9 + len : "") >= (int)size)
		return kp_fail(err, KEEP_INVALID, "place: the URL is too long");
	len = strlen(url);
	if (len && (url[len - 1] == '&' || url[len - 1] == '?'))
		url[len - 1] = '\0';
	return KEEP_OK;
}

static keep_status open_server(keep_agent *agent, const char *place,
			       const keep_agent_options *given, keep_error *err)
{
	char url[2048];
	kp_postgres_url parts = {0};
	kp_database_options options = {
		.sql = {.relaxed = given->relaxed, .timeout_ms = agent->timeout_ms},
		.statements = &kp_mailbox_statements[KP_DIALECT_POSTGRES],
		.begun = take_turn,
		.begun_ctx = agent,
	};
	keep_status status = split_url(agent, place, url, sizeof url, err);

	agent->driver = &kp_sql_postgres;
	if (status == KEEP_OK)
		status = kp_postgres_url_read(url, "mailbox", &parts, err);
	agent->location = parts.conninfo;
	agent->schema = parts.schema;
	parts.conninfo = parts.schema = NULL;
	kp_postgres_url_release(&parts);
	options.sql.location = agent->location;
	options.sql.schema = agent->schema;
	if (status == KEEP_OK)
		status = kp_database_open(agent->driver, &options, &agent->database, err);
	if (status == KEEP_OK)
		status = kp_mailbox_channel(agent->schema, agent->channel, err);
	if (status == KEEP_OK)
		agent->listens = kp_database_caps(agent->database) & KP_SQL_LISTEN;
	return status;
}

static void hang_bells(keep_agent *agent)
{
	char path[PATH_MAX];
	keep_error why;

	snprintf(path, sizeof path, "%s/.bell-in", agent->folder);
	if (kp_bell_open(&agent->in, path, true, &why) == KEEP_OK) {
		snprintf(path, sizeof path, "%s/.bell-out", agent->folder);
		if (kp_bell_open(&agent->out, path, true, &why) == KEEP_OK)
			return;
	}
	kp_log(KEEP_LOG_WARNING, "%s: waits wake up late", why.message);
}

static keep_status open_folder(keep_agent *agent, const char *folder,
			       const keep_agent_options *given, keep_error *err)
{
	keep_status status = KEEP_OK;

	agent->driver = &kp_sql_sqlite;
	if (!*folder || strlen(folder) + 32 >= PATH_MAX)
		return kp_fail(err, KEEP_INVALID, "place: a folder's name is missing or too long");
	status = kp_text_copy(folder, &agent->folder, err);
	if (status == KEEP_OK)
		status = kp_side_init(&agent->side, KP_SIDE_AGENT, folder, NULL, err);
	if (status != KEEP_OK)
		return status;
	agent->side.mount_safe = given->mount_safe;
	agent->side.relaxed = given->relaxed;
	agent->side.timeout_ms = agent->timeout_ms;
	status = kp_mount_meet_host(&agent->side, folder, err);
	agent->is_plain = agent->side.is_plain;
	if (status == KEEP_OK && !agent->side.mount_safe)
		hang_bells(agent);
	return status;
}

/* What the host says of the session. */
struct greeting {
	keep_agent *agent;
};

static keep_status read_greeting(void *ctx, kp_lease *lease, keep_error *err)
{
	keep_agent *agent = ((struct greeting *)ctx)->agent;
	kp_arena arena = {.head = NULL};
	keep_session_host host;
	keep_status status = kp_session_host_get(lease, kp_agent_id(agent), &arena, &host, err);

	if (status == KEEP_OK) {
		agent->incarnation = host.incarnation;
		if (!agent->database && host.session.len <= KEEP_SEGMENT_MAX) {
			memcpy(agent->session, host.session.data, host.session.len);
			agent->session[host.session.len] = '\0';
		}
	}
	kp_arena_release(&arena);
	return status;
}

keep_status keep_agent_open(const char *place, const keep_agent_options *options, keep_agent **out,
			    keep_error *err)
{
	static atomic_uint number;
	keep_agent_options given = KEEP_AGENT_OPTIONS_INIT;
	keep_agent *agent = NULL;
	struct greeting greeting;
	keep_status status;

	if (!place || !out)
		return kp_fail(err, KEEP_MISUSE, "keep_agent_open: an argument is NULL");
	*out = NULL;
	if (options && (options->size < sizeof given.size || options->size > sizeof given))
		return kp_fail(err, KEEP_MISUSE, "keep_agent_open: options.size is wrong");
	if (options)
		memcpy(&given, options, options->size);
	agent = kp_alloc_zero(sizeof *agent);
	if (!agent)
		return kp_fail_memory(err, "an agent");
	agent->in = agent->out = (kp_bell)KP_BELL_INIT;
	agent->timeout_ms = given.timeout_ms > 0 ? given.timeout_ms : DEFAULT_TIMEOUT_MS;
	status = kp_agent_waits_open(agent, err);
	if (status == KEEP_OK)
		status = kp_owner_make(agent->owner, err);
	snprintf(agent->owner + strlen(agent->owner), 24, "%s/%u", given.lasting_leases ? "+" : "",
		 atomic_fetch_add(&number, 1));
	if (status == KEEP_OK &&
	    (strncmp(place, "postgres://", 11) == 0 || strncmp(place, "postgresql://", 13) == 0))
		status = open_server(agent, place, &given, err);
	else if (status == KEEP_OK)
		status = open_folder(agent, strncmp(place, "sqlite:", 7) == 0 ? place + 7 : place,
				     &given, err);
	greeting.agent = agent;
	if (status == KEEP_OK)
		status = kp_agent_read(agent, read_greeting, &greeting, err);
	if (status == KEEP_OK)
		status = kp_agent_recover(agent, err);
	if (status == KEEP_OK && agent->is_plain)
		status = kp_plain_give_up(agent, err);
	if (status == KEEP_OK)
		kp_agent_prune_some(agent);
	if (status == KEEP_OK)
		*out = agent;
	else
		keep_agent_close(&agent);
	return status;
}

void keep_agent_close(keep_agent **agent)
{
	keep_agent *closing = agent ? *agent : NULL;

	if (!closing)
		return;
	*agent = NULL;
	kp_waits_close(&closing->waits);
	kp_side_release(&closing->side);
	kp_database_close(&closing->database);
	kp_bell_close(&closing->in);
	kp_bell_close(&closing->out);
	kp_free(closing->folder);
	kp_free(closing->location);
	kp_free(closing->schema);
	kp_free(closing);
}

keep_bytes keep_agent_session_id(const keep_agent *agent)
{
	return kp_agent_id(agent);
}

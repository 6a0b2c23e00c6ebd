/*
 * postgres_connect.c - the PostgreSQL driver: open and close, and the look at a silent server.
 *
 * An open connection is one whose session is known: the database is UTF-8, the schema is there,
 * and every setting below was set and read back.
 *
 * Invariants:
 *   1. No message contains the connection string, nor libpq's complaints about one, which quote
 *      it: there may be a password in it. Host and database name are named.
 *   2. The library prints nothing: notices, the server's greetings included, go to kp_log. That is
 *      why connecting is PQconnectStart and our own loop; it also keeps to timeout_ms exactly, and
 *      has the server's SQLSTATE in the message, which libpq does not offer otherwise. Only when
 *      a list of hosts has one that hangs, PQreset tries again and passes over it.
 *   3. With `unnamed_statements` a pooler may give each transaction another session, so nothing is
 *      set for the session: the settings are one statement that every transaction begins with,
 *      and LISTEN, which needs a session, is not offered.
 *
 * Not here: pools and reconnecting (database.c).
 *
 * Tests: tests/contract/test_postgres_driver.c, tests/torture/test_postgres_faults.c.
 */
#include "sql/postgres_private.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

/* ---------------------------------------------------------------- connecting */

static void log_notice(void *ctx, const char *message)
{
	const kp_pg_conn *conn = ctx;

	kp_log(KEEP_LOG_DEBUG, "PostgreSQL %s: %.*s", conn->where, (int)strcspn(message, "\n"),
	       message);
}

/* Is it a connection string? libpq would say what is wrong with it, quoting a password perhaps. */
static keep_status check_location(const char *location, bool *is_list, keep_error *err)
{
	char *complaint = NULL;
	PQconninfoOption *options = PQconninfoParse(location, &complaint);
	keep_status status = KEEP_OK;

	*is_list = false;
	for (PQconninfoOption *at = options; at && at->keyword; at++) {
		if (at->val && strncmp(at->keyword, "host", 4) == 0 && strchr(at->val, ','))
			*is_list = true;
	}
	if (!options && (!complaint || strstr(complaint, "out of memory")))
		status = kp_fail_memory(err, "a connection string");
	else if (!options)
		status = kp_fail(err, KEEP_INVALID,
				 "the location is no connection string of PostgreSQL");
	PQfreemem(complaint);
	PQconninfoFree(options);
	return status;
}

static PGconn *start_connecting(const kp_sql_options *options)
{
	int64_t seconds = options->timeout_ms / 1000 + (options->timeout_ms % 1000 > 0);
	char timeout[24];
	/* What stands before dbname, which expands to the caller's string, is only a default. */
	const char *const names[] = {"connect_timeout",           "keepalives_idle",
				     "keepalives_interval",       "keepalives_count",
				     "fallback_application_name", "dbname",
				     "client_encoding",           NULL};
	const char *const values[] = {timeout,           "30",   "10", "3", "keep",
				      options->location, "UTF8", NULL};

	(void)snprintf(timeout, sizeof timeout, "%lld", (long long)(seconds < 1 ? 1 : seconds));
	return PQconnectStartParams(names, values, 1);
}

enum waited { WAITED_ENOUGH, WAITED_TOO_LONG, WAITED_FOR_OTHER };

/* Until connected or refused (ENOUGH), or out of time, or `other_fd` (-1: none) has input. */
static enum waited await_connection(PGconn *pg, int64_t timeout_ms, int other_fd)
{
	PostgresPollingStatusType state = PGRES_POLLING_WRITING;
	int64_t end_ns = kp_monotonic_ns() + timeout_ms * 1000000;

	while (state == PGRES_POLLING_WRITING || state == PGRES_POLLING_READING) {
		struct pollfd at[] = {
			{.fd = PQsocket(pg),
			 .events = state == PGRES_POLLING_READING ? POLLIN : POLLOUT},
			{.fd = other_fd, .events = POLLIN},
		};
		int64_t left_ms = (end_ns - kp_monotonic_ns() + 999999) / 1000000;
		int ready;

		if (left_ms <= 0)
			return WAITED_TOO_LONG;
		ready = poll(at, KP_COUNT(at), (int)left_ms);
		if (ready < 0 && errno != EINTR)
			break;
		if (ready > 0 && at[1].revents)
			return WAITED_FOR_OTHER;
		if (ready > 0)
			state = PQconnectPoll(pg);
	}
	return WAITED_ENOUGH;
}

/* The SQLSTATE in "…FATAL:  3D000: database …", as verbose messages have it; "" for none. */
static void find_sqlstate(const char *message, char sqlstate[6])
{
	static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

	sqlstate[0] = '\0';
	while ((message = strstr(message, ":  ")) != NULL) {
		message += 3;
		if (strspn(message, digits) == 5 && message[5] == ':') {
			memcpy(sqlstate, message, 5);
			sqlstate[5] = '\0';
		}
	}
}

static keep_status fail_connect(kp_pg_conn *conn, bool in_time, keep_error *err)
{
	const char *message = PQerrorMessage(conn->pg);
	char sqlstate[6];
	keep_status status;

	find_sqlstate(message, sqlstate);
	status = kp_pg_status(sqlstate[0] ? sqlstate : NULL);
	if (PQconnectionNeedsPassword(conn->pg)) /* libpq's own refusal, without a SQLSTATE */
		status = KEEP_DENIED;
	status = kp_fail(err, status, "PostgreSQL %s: %.*s", conn->where,
			 (int)strcspn(message, "\n"), in_time ? message : "no answer in time");
	memcpy(err->sqlstate, sqlstate, sizeof err->sqlstate);
	return status;
}

static keep_status connect_to(kp_pg_conn *conn, const kp_sql_options *options, keep_error *err)
{
	bool is_list, in_time = true;
	keep_status status = check_location(options->location, &is_list, err);

	if (status != KEEP_OK)
		return status;
	conn->pg = start_connecting(options);
	if (!conn->pg)
		return kp_fail_memory(err, "a connection");
	(void)PQsetNoticeProcessor(conn->pg, log_notice, conn);
	(void)PQsetErrorVerbosity(conn->pg, PQERRORS_VERBOSE);
	if (PQstatus(conn->pg) != CONNECTION_BAD)
		in_time = await_connection(conn->pg, conn->timeout_ms, -1) != WAITED_TOO_LONG;
	if (!in_time && is_list)
		PQreset(conn->pg);
	(void)snprintf(conn->where, sizeof conn->where, "%s/%s",
		       PQhost(conn->pg) ? PQhost(conn->pg) : "",
		       PQdb(conn->pg) ? PQdb(conn->pg) : "");
	if (PQstatus(conn->pg) != CONNECTION_OK)
		return fail_connect(conn, in_time || is_list, err);
	(void)PQsetErrorVerbosity(conn->pg, PQERRORS_DEFAULT);
	if (PQsetnonblocking(conn->pg, 1) != 0)
		return kp_pg_fail(conn, NULL, err);
	return KEEP_OK;
}

/* ---------------------------------------------------------------- a look at a silent server */

enum { LOOK_MS_MAX = 1000, LOOK_OPTIONS_MAX = 64 };

/* What this connection was made with, but to its one server, whatever that is good for. */
static PGconn *start_look(kp_pg_conn *conn, const PQconninfoOption *options)
{
	static const char *const others[] = {"host", "hostaddr", "port", "target_session_attrs"};
	const char *names[LOOK_OPTIONS_MAX + KP_COUNT(others)] = {
		"host", "port", PQhostaddr(conn->pg)[0] ? "hostaddr" : NULL};
	const char *values[LOOK_OPTIONS_MAX + KP_COUNT(others)] = {
		PQhost(conn->pg), PQport(conn->pg), PQhostaddr(conn->pg)};
	size_t count = names[2] ? 3 : 2;

	for (; options->keyword && count < LOOK_OPTIONS_MAX; options++) {
		bool wanted = options->val != NULL;

		for (size_t i = 0; i < KP_COUNT(others); i++)
			wanted = wanted && strcmp(options->keyword, others[i]) != 0;
		if (!wanted)
			continue;
		names[count] = options->keyword;
		values[count++] = options->val;
	}
	return PQconnectStartParams(names, values, 0);
}

bool kp_pg_server_answers(kp_pg_conn *conn)
{
	int64_t limit_ms = conn->timeout_ms < LOOK_MS_MAX ? conn->timeout_ms : LOOK_MS_MAX;
	PQconninfoOption *options = PQconninfo(conn->pg);
	PGconn *look = options ? start_look(conn, options) : NULL;
	enum waited waited = WAITED_ENOUGH;
	char sqlstate[6];
	bool answers;

	(void)PQsetNoticeProcessor(look, log_notice, conn);
	(void)PQsetErrorVerbosity(look, PQERRORS_VERBOSE);
	if (PQstatus(look) != CONNECTION_BAD)
		waited = await_connection(look, limit_ms, PQsocket(conn->pg));
	find_sqlstate(PQerrorMessage(look), sqlstate);
	answers = waited == WAITED_FOR_OTHER || PQstatus(look) == CONNECTION_OK ||
		  PQconnectionNeedsPassword(look) || sqlstate[0];
	kp_log(KEEP_LOG_INFO, "PostgreSQL %s: silent for %lld ms, %s", conn->where,
	       (long long)conn->timeout_ms, answers ? "and there" : "and to others, too");
	PQfinish(look);
	PQconninfoFree(options);
	return answers;
}

/* ---------------------------------------------------------------- the schema */

static keep_status run(kp_pg_conn *conn, const char *sql, PGresult **out, keep_error *err)
{
	PGresult *result = kp_pg_exec(conn, sql, NULL);
	ExecStatusType got = PQresultStatus(result);

	*out = NULL;
	if (got == PGRES_TUPLES_OK || got == PGRES_COMMAND_OK) {
		*out = result;
		return KEEP_OK;
	}
	keep_status status = kp_pg_fail(conn, result, err);

	PQclear(result);
	return status;
}

static keep_status has_schema(kp_pg_conn *conn, const char *schema, bool *has, keep_error *err)
{
	PGresult *result = kp_pg_exec(conn, "SELECT FROM pg_namespace WHERE nspname = $1", schema);
	keep_status status = KEEP_OK;

	*has = PQntuples(result) > 0;
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		status = kp_pg_fail(conn, result, err);
	PQclear(result);
	return status;
}

/* Looks first: who may use a schema need not be allowed to create one. */
static keep_status enter_schema(kp_pg_conn *conn, const kp_sql_options *options, char *quoted,
				keep_error *err)
{
	keep_buffer sql = KEEP_BUFFER_INIT;
	keep_error failure = KEEP_ERROR_INIT;
	PGresult *result = NULL;
	bool has = false;
	keep_status status = has_schema(conn, options->schema, &has, err);

	if (status != KEEP_OK || has)
		return status;
	if (!options->create || options->read_only)
		return kp_fail(err, KEEP_NOT_FOUND, "PostgreSQL %s: there is no schema %s",
			       conn->where, options->schema);
	status = kp_buffer_append_text(&sql, "CREATE SCHEMA IF NOT EXISTS ", err);
	if (status == KEEP_OK)
		status = kp_buffer_append_text(&sql, quoted, err);
	if (status == KEEP_OK)
		status = run(conn, sql.data, &result, err);
	keep_buffer_release(&sql);
	PQclear(result);
	/* Another process may have created it meanwhile; the server calls that a conflict. */
	if (status != KEEP_OK && has_schema(conn, options->schema, &has, &failure) == KEEP_OK &&
	    has)
		return KEEP_OK;
	return status;
}

/* ---------------------------------------------------------------- session settings */

enum { SETTINGS_MAX = 10 };

struct setting {
	const char *name;
	const char *value;
};

/* Append "SELECT set_config('name', 'value', is_local), …". */
static keep_status append_settings(kp_pg_conn *conn, const struct setting *settings, size_t count,
				   keep_buffer *sql, keep_error *err)
{
	const char *scope = conn->unnamed ? "true" : "false";
	keep_status status = KEEP_OK;

	for (size_t i = 0; status == KEEP_OK && i < count; i++) {
		char *value =
			PQescapeLiteral(conn->pg, settings[i].value, strlen(settings[i].value));

		if (!value)
			return kp_fail_memory(err, "session settings");
		status = kp_buffer_append_format(sql, err, "%sset_config('%s', %s, %s)",
						 i == 0 ? "SELECT " : ", ", settings[i].name, value,
						 scope);
		PQfreemem(value);
	}
	return status;
}

/* "5s", "250ms", "1min", "3h", "2d" as the server shows them; a bare number counts ms. */
static int64_t parse_duration_ms(const char *text)
{
	static const struct {
		const char *unit;
		int64_t ms;
	} units[] = {{"", 1},        {"ms", 1},      {"s", 1000},
		     {"min", 60000}, {"h", 3600000}, {"d", 86400000}};
	size_t len = strspn(text, "0123456789");
	int64_t number;

	if (!kp_int_parse((keep_bytes){text, len}, &number) || number > INT_MAX)
		return -1;
	for (size_t i = 0; i < KP_COUNT(units); i++) {
		if (strcmp(text + len, units[i].unit) == 0)
			return number * units[i].ms;
	}
	return -1;
}

static bool is_same_setting(const struct setting *setting, const char *found)
{
	if (strcmp(setting->name, "lock_timeout") == 0)
		return parse_duration_ms(setting->value) == parse_duration_ms(found);
	return strcmp(setting->value, found) == 0;
}

/* The statement that sets everything; kept where every transaction needs it. */
static keep_status make_settings(kp_pg_conn *conn, const struct setting *settings, size_t count,
				 keep_buffer *sql, keep_error *err)
{
	keep_status status = append_settings(conn, settings, count, sql, err);

	if (status != KEEP_OK || !conn->unnamed)
		return status;
	conn->local_settings = kp_alloc(sql->len + 1);
	if (!conn->local_settings)
		return kp_fail_memory(err, "session settings");
	memcpy(conn->local_settings, sql->data, sql->len + 1);
	return KEEP_OK;
}

/* Set everything, read everything back, compare. */
static keep_status apply_settings(kp_pg_conn *conn, const struct setting *settings, size_t count,
				  const char *schema, keep_error *err)
{
	keep_buffer sql = KEEP_BUFFER_INIT;
	PGresult *result = NULL;
	keep_status status = make_settings(conn, settings, count, &sql, err);
	const char *found;

	if (status == KEEP_OK)
		status = kp_buffer_append_text(&sql, "; SELECT current_schema()", err);
	for (size_t i = 0; status == KEEP_OK && i < count; i++)
		status = kp_buffer_append_format(&sql, err, ", current_setting('%s')",
						 settings[i].name);
	if (status == KEEP_OK)
		status = run(conn, sql.data, &result, err);
	for (size_t i = 0; status == KEEP_OK && i < count; i++) {
		found = PQgetvalue(result, 0, (int)i + 1);
		if (!is_same_setting(&settings[i], found ? found : ""))
			status = kp_fail(err, KEEP_UNAVAILABLE,
					 "PostgreSQL %s: %s is %s, and cannot be set to %s",
					 conn->where, settings[i].name, found ? found : "unknown",
					 settings[i].value);
	}
	found = status == KEEP_OK ? PQgetvalue(result, 0, 0) : NULL;
	if (status == KEEP_OK && schema && (!found || strcmp(found, schema) != 0))
		status = kp_fail(err, KEEP_DENIED, "PostgreSQL %s: not permitted to use schema %s",
				 conn->where, schema);
	PQclear(result);
	keep_buffer_release(&sql);
	return status;
}

static keep_status prepare_session(kp_pg_conn *conn, const kp_sql_options *options,
				   const char *search_path, keep_error *err)
{
	char lock_timeout[24];
	struct setting settings[SETTINGS_MAX] = {
		{"client_encoding", "UTF8"},
		{"standard_conforming_strings", "on"},
		{"client_min_messages", "warning"},
		{"TimeZone", "UTC"},
		{"default_transaction_isolation", "read committed"},
		{"synchronous_commit", options->relaxed ? "off" : "on"},
		{"lock_timeout", lock_timeout},
	};
	size_t count = 7;

	(void)snprintf(lock_timeout, sizeof lock_timeout, "%lld", (long long)conn->timeout_ms);
	if (search_path)
		settings[count++] = (struct setting){"search_path", search_path};
	if (options->read_only)
		settings[count++] = (struct setting){"default_transaction_read_only", "on"};
	if (options->read_only && conn->unnamed) /* the default is too late for this one */
		settings[count++] = (struct setting){"transaction_read_only", "on"};
	return apply_settings(conn, settings, count, options->schema, err);
}

/* LISTEN is not everywhere: not in CockroachDB, not on a standby, not behind such a pooler. */
static keep_status probe_listen(kp_pg_conn *conn, keep_error *err)
{
	keep_error failure = KEEP_ERROR_INIT;
	PGresult *result = NULL;

	if (conn->unnamed)
		return KEEP_OK;
	if (run(conn, "LISTEN keep_probe; UNLISTEN keep_probe", &result, &failure) == KEEP_OK)
		conn->base.caps |= KP_SQL_LISTEN;
	PQclear(result);
	if (PQstatus(conn->pg) != CONNECTION_OK || failure.status == KEEP_UNAVAILABLE) {
		*err = failure;
		return failure.status;
	}
	if (failure.status != KEEP_OK)
		kp_log(KEEP_LOG_INFO, "no wake-ups, changes are polled for: %s", failure.message);
	return KEEP_OK;
}

static keep_status check_encoding(kp_pg_conn *conn, keep_error *err)
{
	const char *encoding = PQparameterStatus(conn->pg, "server_encoding");

	if (encoding && strcmp(encoding, "UTF8") == 0)
		return KEEP_OK;
	return kp_fail(err, KEEP_UNAVAILABLE,
		       "PostgreSQL %s: server_encoding is %s, and must be UTF8", conn->where,
		       encoding ? encoding : "unknown");
}

/* ---------------------------------------------------------------- open and close */

void kp_pg_close(kp_sql_conn *base)
{
	kp_pg_conn *conn = kp_pg_conn_of(base);

	kp_pg_release_statements(conn);
	PQfinish(conn->pg);
	kp_free(conn->local_settings);
	kp_free(conn);
}

static keep_status check_options(const kp_sql_options *options, keep_error *err)
{
	if (!options->location)
		return kp_fail(err, KEEP_MISUSE, "no location of a PostgreSQL server");
	if (options->schema &&
	    (options->schema[0] == '\0' || strlen(options->schema) > KP_PG_NAME_MAX ||
	     !kp_text_is_storable(keep_bytes_of(options->schema))))
		return kp_fail(err, KEEP_INVALID, "a schema name has 1 to %d bytes of UTF-8",
			       KP_PG_NAME_MAX);
	/* In a search_path this is the user's name, quoted or not. */
	if (options->schema && strcmp(options->schema, "$user") == 0)
		return kp_fail(err, KEEP_INVALID, "a schema cannot be called $user");
	return KEEP_OK;
}

keep_status kp_pg_open(const kp_sql_options *options, kp_sql_conn **out, keep_error *err)
{
	kp_pg_conn *conn = NULL;
	char *quoted = NULL;
	keep_status status = check_options(options, err);

	*out = NULL;
	if (status != KEEP_OK)
		return status;
	conn = kp_alloc_zero(sizeof *conn);
	if (!conn)
		return kp_fail_memory(err, "a connection");
	conn->base.driver = &kp_sql_postgres;
	conn->base.caps = KP_SQL_PIPELINE | KP_SQL_TRANSACTIONAL_DDL | KP_SQL_SCHEMAS;
	conn->base.read_only = options->read_only;
	conn->unnamed = options->unnamed_statements;
	conn->timeout_ms = options->timeout_ms > INT_MAX ? INT_MAX : options->timeout_ms;
	if (conn->timeout_ms < 1) /* as a lock_timeout 0 is for ever */
		conn->timeout_ms = 1;
	status = connect_to(conn, options, err);
	if (status == KEEP_OK)
		status = check_encoding(conn, err);
	if (status == KEEP_OK && options->schema) {
		quoted = PQescapeIdentifier(conn->pg, options->schema, strlen(options->schema));
		status = quoted ? enter_schema(conn, options, quoted, err)
				: kp_fail_memory(err, "a schema name");
	}
	if (status == KEEP_OK)
		status = prepare_session(conn, options, quoted, err);
	if (status == KEEP_OK)
		status = probe_listen(conn, err);
	if (status == KEEP_OK && options->inspect)
		status = options->inspect(options->inspect_ctx, &conn->base, err);
	PQfreemem(quoted);
	if (status == KEEP_OK)
		*out = &conn->base;
	else
		kp_pg_close(&conn->base);
	return status;
}

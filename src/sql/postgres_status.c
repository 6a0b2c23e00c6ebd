/*
 * postgres_status.c - the PostgreSQL driver: what the server says, in Keep's statuses.
 *
 * Invariants:
 *   1. SQLSTATE becomes a status in one function, by the longest prefix in one table.
 *   2. A message carries the server's primary text and never DETAIL, which quotes rows ("Key
 *      (name)=(…) already exists"). For class 22 not even that: its texts quote the value.
 *   3. A failure without a SQLSTATE is libpq's own: it lost the server, or it had no memory. Both
 *      leave us out of step with the server, so both are UNAVAILABLE and end the connection. That
 *      libpq's lack of memory looks like a lost server cannot be told from outside.
 *
 * Tests: tests/contract/test_postgres_driver.c.
 */
#include "sql/postgres_private.h"

#include <string.h>

keep_status kp_pg_status(const char *sqlstate)
{
	/* Longer prefixes stand before the shorter ones they refine. */
	static const struct {
		const char *prefix;
		keep_status status;
	} map[] = {
		{"08P01", KEEP_MISUSE},      /* a wrong number of parameters */
		{"08", KEEP_UNAVAILABLE},    /* connection exceptions */
		{"0A", KEEP_MISUSE},         /* a feature the server has not */
		{"21", KEEP_MISUSE},         /* two rows where one must be */
		{"22021", KEEP_INVALID},     /* bytes that are no text */
		{"22", KEEP_MISUSE},         /* a value its type does not take */
		{"23", KEEP_CONFLICT},       /* constraints */
		{"25006", KEEP_DENIED},      /* read-only transaction */
		{"25P03", KEEP_UNAVAILABLE}, /* idle too long in a transaction, and cut off */
		{"25", KEEP_MISUSE},         /* no such transaction state */
		{"26", KEEP_BUSY},           /* a prepared statement that a pooler dropped */
		{"28", KEEP_DENIED},         /* who are you */
		{"3D000", KEEP_NOT_FOUND},   /* no such database */
		{"3F000", KEEP_NOT_FOUND},   /* no such schema */
		{"40002", KEEP_CONFLICT},    /* a constraint at commit */
		{"40003", KEEP_UNCERTAIN},   /* CockroachDB: an ambiguous commit */
		{"40", KEEP_BUSY},           /* serialization failure, deadlock */
		{"42501", KEEP_DENIED},      /* no privilege */
		{"42P07", KEEP_CONFLICT},    /* a new table or index has the name of another */
		{"42710", KEEP_CONFLICT},    /* a new trigger, type, … has */
		{"42", KEEP_MISUSE},         /* syntax, unknown names, wrong types */
		{"44", KEEP_CONFLICT},       /* a view's check option */
		{"53200", KEEP_NO_MEMORY},   /* of the server */
		{"53300", KEEP_BUSY},        /* too many connections */
		{"53", KEEP_FULL},           /* disk, configured limits */
		{"54", KEEP_FULL},           /* the server's own limits */
		{"55P03", KEEP_BUSY},        /* a lock was not to be had in time */
		{"55006", KEEP_BUSY},        /* object in use */
		{"55", KEEP_CONFLICT},       /* not in the state it must be in */
		{"57014", KEEP_BUSY},        /* cancelled, or statement_timeout */
		{"57", KEEP_UNAVAILABLE},    /* shutdown, crash, starting up */
		{"P0001", KEEP_CONFLICT},    /* a trigger raised it; SQLite's RAISE(ABORT) */
		{"XX001", KEEP_CORRUPT},     /* damaged table */
		{"XX002", KEEP_CORRUPT},     /* damaged index */
	};

	for (size_t i = 0; sqlstate && i < KP_COUNT(map); i++) {
		if (strncmp(sqlstate, map[i].prefix, strlen(map[i].prefix)) == 0)
			return map[i].status;
	}
	return KEEP_UNAVAILABLE;
}

keep_status kp_pg_fail(kp_pg_conn *conn, const PGresult *result, keep_error *err)
{
	const char *sqlstate = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
	const char *text = result ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;
	keep_status status = kp_pg_status(sqlstate);

	if (!text)
		text = PQerrorMessage(conn->pg);
	if (*text == '\0')
		text = "no answer";
	/* A change in a reading transaction is the caller's mistake, on a read-only connection not.
	 */
	if (sqlstate && strcmp(sqlstate, "25006") == 0 && conn->reads_only && !conn->base.read_only)
		status = KEEP_MISUSE;
	if (sqlstate && strncmp(sqlstate, "22", 2) == 0)
		text = "a value does not fit its type";
	status = kp_fail(err, status, "PostgreSQL %s: %.*s%s%s%s", conn->where,
			 (int)strcspn(text, "\n"), text, sqlstate ? " (SQLSTATE " : "",
			 sqlstate ? sqlstate : "", sqlstate ? ")" : "");
	if (sqlstate && strlen(sqlstate) < sizeof err->sqlstate)
		memcpy(err->sqlstate, sqlstate, strlen(sqlstate) + 1);
	return status;
}

bool kp_pg_is_end(kp_pg_conn *conn, const PGresult *result)
{
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);

	return PQstatus(conn->pg) != CONNECTION_OK || !sqlstate ||
	       (severity && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0));
}

keep_status kp_pg_fail_broken(kp_pg_conn *conn, keep_error *err)
{
	return kp_fail(err, KEEP_UNAVAILABLE, "PostgreSQL %s: the connection was lost",
		       conn->where);
}

keep_status kp_pg_uncertain(kp_pg_conn *conn, const char *what, keep_error *err)
{
	keep_error lost = *err;
	keep_status status =
		kp_fail(err, KEEP_UNCERTAIN,
			"PostgreSQL %s: the connection ended before the server answered to %s",
			conn->where, what);

	memcpy(err->sqlstate, lost.sqlstate, sizeof err->sqlstate);
	return status;
}

#ifndef MAILBOX_ROWS_H
#define MAILBOX_ROWS_H
/*
 * mailbox_rows.h - rows of a session's agent side, written with SQL behind the library's back, on
 * the backend of mailbox_fixture.h. Texts are put into the statements as they are.
 */
#include "mailbox_fixture.h"

#include "sql/sql.h"

/* "session_id = '…' AND" where sessions share tables, else "". */
static inline const char *rows_where(const char *session)
{
	static char text[KEEP_SEGMENT_MAX + 40];

	snprintf(text, sizeof text, "session_id = '%s' AND", session);
	return mailbox_is_file() ? "" : text;
}

/* The column, or the value, of session_id in an INSERT. */
static inline const char *rows_column(void)
{
	return mailbox_is_file() ? "" : "session_id, ";
}

static inline const char *rows_value(const char *session)
{
	static char text[KEEP_SEGMENT_MAX + 8];

	snprintf(text, sizeof text, "'%s', ", session);
	return mailbox_is_file() ? "" : text;
}

static inline const char *rows_text(const char *text, char *out, size_t size)
{
	snprintf(out, size, text ? "'%s'" : "NULL", text);
	return out;
}

static inline void rows_run(const char *session, const char *file, const char *sql)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_conn *conn = mailbox_connect_behind(session, file);

	OK(kp_sql_script(conn, sql, &err));
	kp_sql_close(&conn);
}

/* One row of messages_out; absent texts are NULL. */
static inline void rows_out(const char *session, int64_t seq, const char *id, const char *kind,
			    const char *channel, const char *chat, const char *content,
			    const char *deliver_after)
{
	char sql[2000], a[100], b[100], c[100];

	snprintf(sql, sizeof sql,
		 "INSERT INTO messages_out (%sid, seq, timestamp, kind, channel_type, platform_id, "
		 "content, deliver_after) VALUES (%s'%s', %lld, '2026-05-28T20:26:40.000Z', '%s', "
		 "%s, %s, '%s', %s)",
		 rows_column(), rows_value(session), id, (long long)seq, kind,
		 rows_text(channel, a, sizeof a), rows_text(chat, b, sizeof b), content,
		 rows_text(deliver_after, c, sizeof c));
	(void)mailbox_sql(session, "outbound.db", sql);
}

static inline void rows_ack(const char *session, const char *message_id, const char *status,
			    int64_t attempt, int64_t change, const char *error)
{
	char sql[800], a[200];

	snprintf(sql, sizeof sql, "DELETE FROM processing_ack WHERE %s message_id = '%s'",
		 rows_where(session), message_id);
	(void)mailbox_sql(session, "outbound.db", sql);
	snprintf(sql, sizeof sql,
		 "INSERT INTO processing_ack (%smessage_id, status, status_changed, attempt, "
		 "change, error) VALUES (%s'%s', '%s', '2026-05-28T20:26:40.000Z', %lld, %lld, %s)",
		 rows_column(), rows_value(session), message_id, status, (long long)attempt,
		 (long long)change, rows_text(error, a, sizeof a));
	(void)mailbox_sql(session, "outbound.db", sql);
}

/* As a program that knows only the source's columns does it. */
static inline void rows_plain_ack(const char *session, const char *message_id, const char *status,
				  const char *changed)
{
	char sql[800];

	snprintf(sql, sizeof sql, "DELETE FROM processing_ack WHERE %s message_id = '%s'",
		 rows_where(session), message_id);
	(void)mailbox_sql(session, "outbound.db", sql);
	snprintf(sql, sizeof sql,
		 "INSERT INTO processing_ack (%smessage_id, status, status_changed) "
		 "VALUES (%s'%s', '%s', '%s')",
		 rows_column(), rows_value(session), message_id, status, changed);
	(void)mailbox_sql(session, "outbound.db", sql);
}

/* MAILBOX_AGENT may send there. */
static inline void rows_allow_chat(const char *channel, const char *chat)
{
	char sql[400];

	snprintf(sql, sizeof sql,
		 "INSERT INTO agent_destinations (agent_group_id, name, type, channel_type, "
		 "platform_id) VALUES ('" MAILBOX_AGENT "', 'chat-%s', 'channel', '%s', '%s')",
		 chat, channel, chat);
	(void)mailbox_sql(NULL, NULL, sql);
}

/* The id of a message to the agent. */
static inline const char *rows_inbound_id(const char *session, int64_t seq, char *out, size_t size)
{
	char sql[300];

	snprintf(sql, sizeof sql, "SELECT id FROM messages_in WHERE %s seq = %lld",
		 rows_where(session), (long long)seq);
	snprintf(out, size, "%s", mailbox_sql(session, "inbound.db", sql));
	return out;
}

/* Post so many messages with the ids "k0", "k1" … and acknowledge them all. */
static inline void rows_many_completed(keep_mailbox *mailbox, const char *session, int count)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_conn *conn = NULL;

	for (int i = 0; i < count; i++) {
		char id[20];
		keep_post post = {.content = KEEP_BYTES("{}")};
		keep_post_result result;

		snprintf(id, sizeof id, "k%d", i);
		post.id = keep_bytes_of(id);
		OK(keep_mailbox_post(mailbox, keep_bytes_of(session), &post, &result, &err));
	}
	conn = mailbox_connect_behind(session, "outbound.db");
	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	for (int i = 0; i < count; i++) {
		char sql[400];

		snprintf(sql, sizeof sql,
			 "INSERT INTO processing_ack (%smessage_id, status, status_changed, "
			 "attempt, change) VALUES (%s'k%d', 'completed', "
			 "'2026-05-28T20:26:40.000Z', 1, %d)",
			 rows_column(), rows_value(session), i, i + 1);
		OK(kp_sql_script(conn, sql, &err));
	}
	OK(kp_sql_commit(conn, &err));
	kp_sql_close(&conn);
}

#endif

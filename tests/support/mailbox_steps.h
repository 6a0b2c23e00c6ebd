#ifndef KEEP_MAILBOX_STEPS_H
#define KEEP_MAILBOX_STEPS_H
/*
 * mailbox_steps.h - what the tests of series, questions and agents do to a session's rows.
 */
#include "mailbox_fixture.h"

#include "mailbox/mailbox_private.h"

/* A clock that stands still; kp_clock_inject(mailbox_clock, NULL). */
static int64_t mailbox_now;

static inline int64_t mailbox_clock(void *ctx)
{
	(void)ctx;
	return mailbox_now;
}

static inline int64_t at(const char *text)
{
	keep_error err = KEEP_ERROR_INIT;
	int64_t time_ms = 0;

	OK(keep_time_parse(keep_bytes_of(text), &time_ms, &err));
	return time_ms;
}

static inline void hold_clock(const char *text)
{
	mailbox_now = at(text);
	kp_clock_inject(mailbox_clock, NULL);
}

/* One text or number of the session's inbound side. */
static inline const char *ask_inbound(const char *session, const char *what, const char *where)
{
	static char sql[600];

	snprintf(sql, sizeof sql, "SELECT CAST((SELECT %s FROM %s%s%s%s) AS text)", what, where,
		 mailbox_is_file()        ? ""
		 : strstr(where, "WHERE") ? " AND session_id = '"
					  : " WHERE session_id = '",
		 mailbox_is_file() ? "" : session, mailbox_is_file() ? "" : "'");
	return mailbox_sql(session, "inbound.db", sql);
}

static inline int count_inbound(const char *session, const char *where)
{
	return atoi(ask_inbound(session, "count(*)", where));
}

struct end_of_message {
	keep_bytes session, id;
	const char *how;
	int64_t now_ms;
	bool changed;
};

static inline keep_status apply_end_of_message(void *ctx, kp_lease *lease, keep_error *err)
{
	struct end_of_message *end = ctx;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_inbound_message message;
	bool found = false;
	keep_status status =
		kp_lease_get(lease, KP_MAILBOX_GET_INBOUND,
			    KP_VALUES(kp_text_value(end->session), kp_text_value(end->id)),
			    &kp_inbound_message_record, &memory, &message, &found, err);

	if (status == KEEP_OK && !found)
		status = kp_fail(err, KEEP_NOT_FOUND, "no message '%" KP_PRI "'", KP_ARG(end->id));
	if (status == KEEP_OK)
		status = kp_inbound_finish(lease, &message, end->how, KEEP_BYTES("why"),
					   end->now_ms, &end->changed, err);
	keep_memory_release(&memory);
	return status;
}

/* End a message as collect would. */
static inline keep_status try_to_end(keep_mailbox *mailbox, const char *session, const char *id,
				     const char *how, int64_t now_ms, bool *changed,
				     keep_error *err)
{
	struct end_of_message end = {keep_bytes_of(session), keep_bytes_of(id), how, now_ms, false};
	kp_session_change change = {.session = end.session, .mode = KP_SQL_WRITE};
	keep_status status = kp_session_write(mailbox, &change, apply_end_of_message, &end, err);

	*changed = end.changed;
	return status;
}

static inline bool end_message(keep_mailbox *mailbox, const char *session, const char *id,
			       const char *how, const char *when)
{
	keep_error err = KEEP_ERROR_INIT;
	bool changed = false;

	OK(try_to_end(mailbox, session, id, how, at(when), &changed, &err));
	return changed;
}

#endif

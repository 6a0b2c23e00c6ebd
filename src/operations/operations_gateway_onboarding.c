/*
 * operations_gateway_onboarding.c - the gateway's operations by which chats come in: mail threads,
 * onboarding, and the adoption of another program's store.
 *
 * What it does not do: parse mail; the headers come as arrays of ids.
 *
 * Tests: tests/cli/test_cli_gateway.py.
 */
#include "operations/operations_gateway.h"

static const char *const status_words[] = {"awaiting_name", "pending", "approved", "rejected",
					   NULL};

#define JID_INPUT KP_NEEDED_TEXT(1, "jid", "The chat that asks.")

static const kp_input mail_inputs[] = {
	KP_NEEDED_TEXT(1, "message_id", "The mail's Message-ID, with or without angle brackets."),
	KP_OTHER(ARRAY, "in_reply_to", "The ids of its In-Reply-To, at most 100."),
	KP_OTHER(ARRAY, "references", "The ids of its References, oldest first, at most 1000."),
	KP_OTHER(TEXT, "subject", "Its subject."),
	KP_OTHER(TEXT, "from", "Who wrote it."),
};
static const kp_input thread_inputs[] = {KP_NEEDED_TEXT(1, "thread_id", "The thread.")};
static const kp_input start_inputs[] = {
	JID_INPUT,
	KP_OTHER(TEXT, "sender", "Who asks."),
	KP_OTHER(TEXT, "channel", "On which channel."),
};
static const kp_input prompted_inputs[] = {
	JID_INPUT,
	KP_OTHER(TIME, "prompted_at", "When; now when left out."),
};
static const kp_input name_inputs[] = {
	JID_INPUT,
	KP_NEEDED_TEXT(2, "name", "The name it asks for, 1 to 63 of a-z 0-9 -."),
};
static const kp_input approve_inputs[] = {
	JID_INPUT,
	KP_NEEDED_TEXT(2, "decided_by", "Who decides."),
	KP_OTHER_LONG("welcome", "What it is greeted with; a text of ours when left out."),
};
static const kp_input reject_inputs[] = {
	JID_INPUT,
	KP_NEEDED_TEXT(2, "decided_by", "Who decides."),
};
static const kp_input jid_inputs[] = {JID_INPUT};
static const kp_input list_inputs[] = {
	KP_OTHER_WORD("status", status_words, "Those of a status; any when left out."),
	KP_LIMIT("100"),
};
static const kp_input adopt_inputs[] = {
	KP_NEEDED_TEXT(1, "file", "The file: a messages.db of the other program."),
};

static const kp_member thread_members[] = {
	{"is_new", KP_KIND_BOOLEAN, "Whether the mail begins the thread.", NULL},
	{"thread", KP_KIND_OBJECT, "The thread.", &kp_email_thread_record},
};
static const kp_member start_members[] = {
	{"outcome", KP_KIND_TEXT, "inserted, or duplicate: it asked before.", NULL},
};

#define COUNT_MEMBER(name_, sentence_)                                                             \
	{                                                                                          \
		(name_), KP_KIND_INTEGER, (sentence_), NULL                                        \
	}
static const kp_member adopt_members[] = {
	COUNT_MEMBER("messages", "Messages."),
	COUNT_MEMBER("chats", "Chats."),
	COUNT_MEMBER("routes", "Routes."),
	COUNT_MEMBER("groups", "Registered groups."),
	COUNT_MEMBER("sessions", "Agents' sessions."),
	COUNT_MEMBER("session_log", "Runs of sessions."),
	COUNT_MEMBER("system_messages", "System messages."),
	COUNT_MEMBER("tasks", "Scheduled tasks."),
	COUNT_MEMBER("task_runs", "Runs of tasks."),
	COUNT_MEMBER("state", "What the router remembers."),
	COUNT_MEMBER("users", "Web accounts."),
	COUNT_MEMBER("auth_sessions", "Refresh tokens."),
	COUNT_MEMBER("user_groups", "Folders that accounts see."),
	COUNT_MEMBER("email_threads", "Mail threads."),
	COUNT_MEMBER("onboarding", "Requests of onboarding."),
	COUNT_MEMBER("cursors", "Cursors, made from those of the source."),
	COUNT_MEMBER("other_rows",
		     "What has no place here and is kept beside it: rows, or columns of rows."),
};

static const kp_outcome thread_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such thread."},
};
static const kp_outcome step_outcomes[] = {
	{KEEP_NOT_FOUND, true, "The chat never asked."},
	{KEEP_CONFLICT, false, "It is not where this step begins; nothing changed."},
};
static const kp_outcome name_outcomes[] = {
	{KEEP_NOT_FOUND, true, "The chat never asked."},
	{KEEP_INVALID, false, "The name is not 1 to 63 of a-z 0-9 -."},
	{KEEP_CONFLICT, false,
	 "A group or an open request has the name, or it is not where this step begins."},
};
static const kp_outcome missing_outcomes[] = {
	{KEEP_NOT_FOUND, true, "The chat never asked."},
};
static const kp_outcome adopt_outcomes[] = {
	{KEEP_NOT_FOUND, true, "There is no such file."},
	{KEEP_INVALID, false, "It is not that program's."},
	{KEEP_CONFLICT, false, "The gateway has messages already; nothing changed."},
	{KEEP_CORRUPT, false, "A row that cannot be read, named; nothing changed."},
};

/* ---------------------------------------------------------------- mail */

static keep_status run_thread_for(kp_call *call, keep_error *err)
{
	keep_mail mail = {
		.message_id = kp_call_text(call, "message_id"),
		.subject = kp_call_text(call, "subject"),
		.from = kp_call_text(call, "from"),
	};
	keep_email_thread thread = {.thread_id = {NULL, 0}};
	bool is_new = false;
	keep_status status =
		kp_call_texts(call, "in_reply_to", &mail.in_reply_to, &mail.in_reply_to_count, err);

	if (status == KEEP_OK)
		status = kp_call_texts(call, "references", &mail.references, &mail.reference_count,
				       err);
	if (status == KEEP_OK)
		status = keep_gateway_thread_for(call->handle, &mail, call->arena, &thread, &is_new,
						 err);
	if (status != KEEP_OK)
		return status;
	kp_json_open_object(kp_call_writer(call));
	kp_json_name(kp_call_writer(call), "is_new");
	kp_json_put_bool(kp_call_writer(call), is_new);
	kp_json_name(kp_call_writer(call), "thread");
	status = kp_call_put_record(call, &kp_email_thread_record, &thread, err);
	kp_json_close_object(kp_call_writer(call));
	return status;
}

static keep_status run_get_thread(kp_call *call, keep_error *err)
{
	keep_email_thread thread = {.thread_id = {NULL, 0}};
	keep_status status = keep_gateway_get_thread(call->handle, kp_call_text(call, "thread_id"),
						     call->arena, &thread, err);

	return status == KEEP_OK ? kp_call_put_record(call, &kp_email_thread_record, &thread, err)
				 : status;
}

/* ---------------------------------------------------------------- onboarding */

static keep_status run_start(kp_call *call, keep_error *err)
{
	keep_put put = KEEP_PUT_INSERTED;
	keep_status status = keep_gateway_start_onboarding(
		call->handle, kp_call_text(call, "jid"), kp_call_text(call, "sender"),
		kp_call_text(call, "channel"), &put, err);

	if (status == KEEP_OK)
		kp_gateway_put_outcome(call, put, NULL, 0, NULL);
	return status;
}

static keep_status run_prompted(kp_call *call, keep_error *err)
{
	return kp_call_put_null(
		call, keep_gateway_mark_prompted(call->handle, kp_call_text(call, "jid"),
						 kp_call_time(call, "prompted_at", 0), err));
}

static keep_status run_submit_name(kp_call *call, keep_error *err)
{
	return kp_call_put_null(call,
				keep_gateway_submit_name(call->handle, kp_call_text(call, "jid"),
							 kp_call_text(call, "name"), err));
}

static keep_status run_approve(kp_call *call, keep_error *err)
{
	return kp_call_put_null(
		call, keep_gateway_approve_onboarding(call->handle, kp_call_text(call, "jid"),
						      kp_call_text(call, "decided_by"),
						      kp_call_text(call, "welcome"), err));
}

static keep_status run_reject(kp_call *call, keep_error *err)
{
	return kp_call_put_null(
		call, keep_gateway_reject_onboarding(call->handle, kp_call_text(call, "jid"),
						     kp_call_text(call, "decided_by"), err));
}

static keep_status run_get(kp_call *call, keep_error *err)
{
	keep_onboarding onboarding = {.created_at = 0};
	keep_status status = keep_gateway_get_onboarding(call->handle, kp_call_text(call, "jid"),
							 call->arena, &onboarding, err);

	return status == KEEP_OK ? kp_call_put_record(call, &kp_onboarding_record, &onboarding, err)
				 : status;
}

static keep_status run_list(kp_call *call, keep_error *err)
{
	keep_onboarding_list list = {NULL, 0};
	keep_status status = keep_gateway_list_onboarding(
		call->handle, kp_call_text(call, "status"), (size_t)kp_call_integer(call, "limit"),
		call->arena, &list, err);

	return status == KEEP_OK ? kp_call_put_records(call, &kp_onboarding_record, list.items,
						       list.count, err)
				 : status;
}

/* ---------------------------------------------------------------- adoption */

/* In the order of adopt_members. */
static void put_adoption(kp_call *call, const keep_adoption *adoption)
{
	const int64_t counts[] = {
		adoption->messages,        adoption->chats,         adoption->routes,
		adoption->groups,          adoption->sessions,      adoption->session_log,
		adoption->system_messages, adoption->tasks,         adoption->task_runs,
		adoption->state,           adoption->users,         adoption->auth_sessions,
		adoption->user_groups,     adoption->email_threads, adoption->onboarding,
		adoption->cursors,         adoption->other_rows,
	};

	_Static_assert(KP_COUNT(counts) == KP_COUNT(adopt_members), "a member for each count");
	_Static_assert(sizeof counts == sizeof *adoption, "a count for each member of the struct");
	kp_json_open_object(kp_call_writer(call));
	for (size_t i = 0; i < KP_COUNT(counts); i++) {
		kp_json_name(kp_call_writer(call), adopt_members[i].name);
		kp_json_put_integer(kp_call_writer(call), counts[i]);
	}
	kp_json_close_object(kp_call_writer(call));
}

static keep_status run_adopt(kp_call *call, keep_error *err)
{
	keep_adoption adoption = {.messages = 0};
	keep_bytes file = KEEP_BYTES("");
	keep_status status;

	if (!kp_text_is_storable(kp_call_text(call, "file")))
		return kp_fail(err, KEEP_INVALID, "file: a zero byte has no place in a name");
	/* A copy that ends with a zero byte. */
	status = kp_arena_copy(call->arena, kp_call_text(call, "file"), &file, err);
	if (status == KEEP_OK)
		status = keep_gateway_adopt(call->handle, file.data, &adoption, err);
	if (status == KEEP_OK)
		put_adoption(call, &adoption);
	return status;
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "thread_for",
	 .sentence = "Give the thread that a mail belongs to, or make it.",
	 .more = "The one that its own id is in, else the first that an In-Reply-To is in, else "
		 "the "
		 "first of the references from the newest on, else a new one.",
	 KP_INPUTS(mail_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The thread, and whether it is new.",
	 KP_MEMBERS(thread_members),
	 .changes = true,
	 .run = run_thread_for},
	{.verb = "get_thread",
	 .sentence = "Give one mail thread.",
	 KP_INPUTS(thread_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The thread.",
	 .record = &kp_email_thread_record,
	 KP_OUTCOMES(thread_outcomes),
	 .run = run_get_thread},
	{.verb = "start_onboarding",
	 .sentence = "Note that a chat asks for a world of its own.",
	 KP_INPUTS(start_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "Whether it asked before.",
	 KP_MEMBERS(start_members),
	 .changes = true,
	 .run = run_start},
	{.verb = "mark_prompted",
	 .sentence = "Note that a chat was asked for a name.",
	 KP_INPUTS(prompted_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(step_outcomes),
	 .changes = true,
	 .run = run_prompted},
	{.verb = "submit_name",
	 .sentence = "Say which name a chat asks for.",
	 KP_INPUTS(name_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(name_outcomes),
	 .changes = true,
	 .run = run_submit_name},
	{.verb = "approve_onboarding",
	 .sentence = "Make the group, its routes and the welcome, in one transaction.",
	 KP_INPUTS(approve_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(step_outcomes),
	 .changes = true,
	 .run = run_approve},
	{.verb = "reject_onboarding",
	 .sentence = "Turn a chat's request down.",
	 KP_INPUTS(reject_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(step_outcomes),
	 .changes = true,
	 .run = run_reject},
	{.verb = "get_onboarding",
	 .sentence = "Give a chat's request.",
	 KP_INPUTS(jid_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "The request.",
	 .record = &kp_onboarding_record,
	 KP_OUTCOMES(missing_outcomes),
	 .run = run_get},
	{.verb = "list_onboarding",
	 .sentence = "Give the requests, oldest first.",
	 KP_INPUTS(list_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The requests.",
	 .record = &kp_onboarding_record,
	 .shown = "jid status world_name channel",
	 .run = run_list},
	{.verb = "adopt",
	 .sentence = "Take over everything that the messages.db of another program holds.",
	 .more = "The file is only read. The gateway must be without messages; all is taken in one "
		 "transaction, cursors become those of the consumers router and agent, and what "
		 "has "
		 "no place here is kept in the table adopted_rows.",
	 KP_INPUTS(adopt_inputs),
	 .result = KP_RESULT_RECORD,
	 .result_sentence = "How much of each.",
	 KP_MEMBERS(adopt_members),
	 KP_OUTCOMES(adopt_outcomes),
	 .changes = true,
	 .run = run_adopt},
};

const kp_operation_group kp_gateway_onboarding_group = {
	.title = "Mail, onboarding, adoption",
	.operations = operations,
	.count = KP_COUNT(operations),
};

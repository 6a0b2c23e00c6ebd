/*
 * operations_agent_claims.c - the agent's operations on messages to it.
 *
 * What is reported about is one claim (id, attempt) or, with `claims`, several at once.
 *
 * Tests: tests/cli/test_cli_mailbox.py.
 */
#include "operations/operations_agent.h"

static const kp_input claim_inputs[] = {
	{.name = "max",
	 .kind = KP_KIND_INTEGER,
	 .nullable = true,
	 .fallback = "1",
	 .min = 1,
	 .max = KEEP_CLAIM_MAX,
	 .sentence = "How many at most."},
	KP_LEASE("How long they stay ours, in milliseconds."),
	KP_OTHER(ARRAY, "kinds", "Only messages of these kinds; of all when left out."),
	KP_OWN_SESSION,
	KP_NOW,
};
static const kp_input extend_inputs[] = {
	KP_CLAIM(1, 2),
	KP_LEASE("How long they stay ours from now on, in milliseconds."),
	KP_OWN_SESSION,
	KP_NOW,
};
static const kp_input claims_inputs[] = {KP_CLAIM(1, 2), KP_OWN_SESSION, KP_NOW};
static const kp_input fail_inputs[] = {
	KP_CLAIM(1, 2),
	KP_OTHER_LONG("error", "Why."),
	KP_OWN_SESSION,
	KP_NOW,
};
static const kp_input wait_inputs[] = {KP_WAIT_TIME, KP_OWN_SESSION};

static const kp_member claim_members[] = {
	{"message", KP_KIND_OBJECT, "The message.", &kp_inbound_message_record},
	{"attempt", KP_KIND_INTEGER, "The claim's number, from 1.", NULL},
	{"lease_until", KP_KIND_TIME, "Until when it is ours.", NULL},
};

static const kp_outcome claims_outcomes[] = {
	{KEEP_CONFLICT, false, "A claim is not ours any more, and is named; nothing changed."},
};

static const kp_input claim_ref_inputs[] = {
	KP_NEEDED_TEXT(0, "id", "The message's id."),
	KP_OTHER_NUMBER("attempt", "0", "The claim's number."),
};

/* ---------------------------------------------------------------- claims */

static keep_status read_ref(const kp_json *element, kp_arena *arena, keep_claim_ref *out,
			    keep_error *err)
{
	kp_argument arguments[KP_COUNT(claim_ref_inputs)];
	keep_status status;

	*out = (keep_claim_ref){.attempt = 0};
	if (element->kind == KP_JSON_TEXT) {
		out->id = element->text;
		return KEEP_OK;
	}
	if (element->kind != KP_JSON_OBJECT)
		return kp_fail(err, KEEP_INVALID, "%s where an object or a text belongs",
			       kp_json_kind_name(element->kind));
	status = kp_inputs_read(claim_ref_inputs, KP_COUNT(claim_ref_inputs), element, false, arena,
				arguments, err);
	out->id = arguments[0].bytes;
	out->attempt = arguments[1].integer;
	return status;
}

keep_status kp_agent_claims(const kp_call *call, keep_claim_ref **out, size_t *count,
			    keep_error *err)
{
	const kp_argument *id = kp_call_argument(call, "id");
	const kp_json *array = kp_call_argument(call, "claims")->json;
	keep_status status = KEEP_OK;

	if (id->given == (array != NULL))
		return kp_fail(err, KEEP_INVALID, "%s",
			       array ? "claims: given beside id" : "id: missing, and so is claims");
	*count = array ? array->list.count : 1;
	*out = kp_arena_alloc(call->arena, (*count + 1) * sizeof **out);
	if (!*out)
		return kp_fail_memory(err, "claims");
	if (!array)
		(*out)[0] = (keep_claim_ref){id->bytes, kp_call_integer(call, "attempt")};
	for (size_t i = 0; array && i < *count && status == KEEP_OK; i++) {
		status = read_ref(&array->list.items[i], call->arena, &(*out)[i], err);
		if (status != KEEP_OK)
			status = kp_prefix(err, status, "claims[%zu]", i);
	}
	return status;
}

/* ---------------------------------------------------------------- functions */

static keep_status put_claimed(kp_call *call, const keep_claimed *item, keep_error *err)
{
	kp_json_writer *writer;
	keep_status status;

	kp_call_row_begin(call);
	writer = kp_call_writer(call);
	kp_json_open_object(writer);
	kp_json_name(writer, "message");
	status = kp_record_json(&kp_inbound_message_record, &item->message, writer, err);
	kp_call_put_number(call, "attempt", item->attempt);
	if (status == KEEP_OK)
		status = kp_call_put_time(call, "lease_until", true, item->lease_until, err);
	kp_json_close_object(writer);
	return status == KEEP_OK ? kp_call_row_end(call, err) : status;
}

static keep_status run_claim(kp_call *call, keep_error *err)
{
	static const keep_bytes none = {"", 0};
	keep_claim_request request = {
		.max = (size_t)kp_call_integer(call, "max"),
		.lease_ms = kp_call_integer(call, "lease_ms"),
	};
	keep_claim_list list = {NULL, 0};
	keep_status status = kp_call_texts(call, "kinds", &request.kinds, &request.kind_count, err);

	/* An empty list is no kind, not every kind. */
	if (!request.kinds && kp_call_argument(call, "kinds")->given)
		request.kinds = &none;
	if (status == KEEP_OK)
		status = keep_agent_claim(call->handle, &request, kp_call_now(call), call->arena,
					  &list, err);
	if (status != KEEP_OK)
		return status;
	kp_call_open_rows(call);
	for (size_t i = 0; i < list.count && status == KEEP_OK; i++)
		status = put_claimed(call, &list.items[i], err);
	kp_call_close_rows(call);
	return status;
}

static keep_status run_extend(kp_call *call, keep_error *err)
{
	keep_claim_ref *claims = NULL;
	size_t count = 0;
	keep_status status = kp_agent_claims(call, &claims, &count, err);

	if (status == KEEP_OK)
		status = keep_agent_extend(call->handle, claims, count,
					   kp_call_integer(call, "lease_ms"), kp_call_now(call),
					   err);
	return kp_call_put_null(call, status);
}

static keep_status run_complete(kp_call *call, keep_error *err)
{
	keep_claim_ref *claims = NULL;
	size_t count = 0;
	keep_status status = kp_agent_claims(call, &claims, &count, err);

	if (status == KEEP_OK)
		status = keep_agent_complete(call->handle, claims, count, kp_call_now(call), err);
	return kp_call_put_null(call, status);
}

static keep_status run_fail(kp_call *call, keep_error *err)
{
	keep_claim_ref *claims = NULL;
	size_t count = 0;
	keep_status status = kp_agent_claims(call, &claims, &count, err);

	if (status == KEEP_OK)
		status = keep_agent_fail(call->handle, claims, count, kp_call_text(call, "error"),
					 kp_call_now(call), err);
	return kp_call_put_null(call, status);
}

static keep_status run_release(kp_call *call, keep_error *err)
{
	keep_claim_ref *claims = NULL;
	size_t count = 0;
	keep_status status = kp_agent_claims(call, &claims, &count, err);

	if (status == KEEP_OK)
		status = keep_agent_release(call->handle, claims, count, kp_call_now(call), err);
	return kp_call_put_null(call, status);
}

static keep_status run_wait(kp_call *call, keep_error *err)
{
	bool ready = false;
	keep_status status;

	kp_call_started(call);
	status = keep_agent_wait(call->handle, kp_call_integer(call, "timeout_ms"), &ready, err);
	return kp_call_put_bool(call, status, ready);
}

/* ---------------------------------------------------------------- descriptions */

static const kp_operation operations[] = {
	{.verb = "claim",
	 .sentence = "Take messages that are pending and due and that nobody has.",
	 .more = "system rows come after the others. A command's claim lasts as long as its lease; "
		 "the attempt is what reports about it are known by.",
	 KP_INPUTS(claim_inputs),
	 .result = KP_RESULT_ROWS,
	 .result_sentence = "The messages, by number.",
	 KP_MEMBERS(claim_members),
	 .shown = "message.id attempt message.seq message.kind message.content",
	 .changes = true,
	 .leases = true,
	 .part = KP_PART_AGENT,
	 .run = run_claim},
	{.verb = "extend",
	 .sentence = "Keep claims for longer: all of them, or none.",
	 KP_INPUTS(extend_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(claims_outcomes),
	 .changes = true,
	 .part = KP_PART_AGENT,
	 .run = run_extend},
	{.verb = "complete",
	 .sentence = "Say that messages are done: all of them, or none.",
	 .more = "With a reply: complete_with.",
	 KP_INPUTS(claims_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(claims_outcomes),
	 .changes = true,
	 .part = KP_PART_AGENT,
	 .run = run_complete},
	{.verb = "fail",
	 .sentence = "Say that messages could not be done: all of them, or none.",
	 .more = "The host retries them later, five times.",
	 KP_INPUTS(fail_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(claims_outcomes),
	 .changes = true,
	 .part = KP_PART_AGENT,
	 .run = run_fail},
	{.verb = "release",
	 .sentence = "Give claims back at once, without a failed attempt.",
	 KP_INPUTS(claims_inputs),
	 .result = KP_RESULT_NULL,
	 .result_sentence = "Nothing.",
	 KP_OUTCOMES(claims_outcomes),
	 .changes = true,
	 .part = KP_PART_AGENT,
	 .run = run_release},
	{.verb = "agent_wait",
	 .sentence = "Wait until a message can be claimed.",
	 KP_INPUTS(wait_inputs),
	 .result = KP_RESULT_BOOLEAN,
	 .result_sentence = "true: one can be; false: the time is up.",
	 .yes = "ready",
	 .waits = true,
	 .part = KP_PART_AGENT,
	 .run = run_wait},
};

const kp_operation_group kp_agent_claim_group = {
	.title = "The agent: messages in",
	.operations = operations,
	.count = KP_COUNT(operations),
};

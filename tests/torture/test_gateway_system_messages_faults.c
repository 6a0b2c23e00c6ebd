/*
 * test_gateway_system_messages_faults.c - system messages, enqueued, claimed, completed, released
 * and flushed, with the Nth thing in them failing: gateway_faults.h says what must hold.
 *
 * An answer that could not be made must not have deleted anything, so each step also looks at its
 * text.
 */
#include "gateway_faults.h"

#define T0 INT64_C(1700000000000)

static keep_status enqueue(keep_gateway *gateway, const char *body, const char *dedup_key,
			   keep_error *err)
{
	keep_system_message message = {.group_id = KEEP_BYTES("a"),
				       .origin = KEEP_BYTES("gate\"way"),
				       .event = KEEP_BYTES("note"),
				       .body = keep_bytes_of(body),
				       .attributes = KEEP_BYTES("{\"zone\":\"a&b\"}"),
				       .dedup_key = keep_bytes_of(dedup_key),
				       .is_xml = body[0] == '<'};

	return keep_gateway_enqueue_system_message(gateway, &message, NULL, NULL, err);
}

static keep_status enqueue_xml(keep_gateway *gateway, keep_error *err)
{
	return enqueue(gateway, "<previous id=\"1\"/>", "day", err);
}

static keep_status enqueue_text(keep_gateway *gateway, keep_error *err)
{
	return enqueue(gateway, "1 < 2", NULL, err);
}

static keep_status enqueue_more(keep_gateway *gateway, keep_error *err)
{
	return enqueue(gateway, "more", "more", err);
}

static keep_status claim(keep_gateway *gateway, const char *turn, int64_t now_ms, size_t count,
			 keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_system_message_list list = {NULL, 99, {NULL, 0}};
	keep_status status = keep_gateway_claim_system_messages(
		gateway, KEEP_BYTES("a"), keep_bytes_of(turn), 1000, now_ms, &memory, &list, err);

	if (status == KEEP_OK) {
		assert_int_equal(list.count, count);
		assert_true(list.text.len > 60 * count);
	} else {
		assert_int_equal(list.count, 99);
	}
	keep_memory_release(&memory);
	return status;
}

static keep_status claim_first(keep_gateway *gateway, keep_error *err)
{
	return claim(gateway, "t", T0, 2, err);
}

static keep_status claim_late(keep_gateway *gateway, keep_error *err)
{
	return claim(gateway, "u", T0 + 5000, 3, err);
}

static keep_status claim_again(keep_gateway *gateway, keep_error *err)
{
	return claim(gateway, "v", T0 + 5000, 3, err);
}

static keep_status complete_lost(keep_gateway *gateway, keep_error *err)
{
	keep_status status = keep_gateway_complete_system_messages(gateway, KEEP_BYTES("a"),
								   KEEP_BYTES("t"), NULL, err);

	return status == KEEP_CONFLICT ? KEEP_OK : status == KEEP_OK ? KEEP_MISUSE : status;
}

static keep_status release_second(keep_gateway *gateway, keep_error *err)
{
	return keep_gateway_release_system_messages(gateway, KEEP_BYTES("a"), KEEP_BYTES("u"), NULL,
						    err);
}

static keep_status complete_third(keep_gateway *gateway, keep_error *err)
{
	return keep_gateway_complete_system_messages(gateway, KEEP_BYTES("a"), KEEP_BYTES("v"),
						     NULL, err);
}

static keep_status flush_rest(keep_gateway *gateway, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_system_message_list list = {NULL, 99, {NULL, 0}};
	keep_status status =
		keep_gateway_flush_system_messages(gateway, KEEP_BYTES("a"), &memory, &list, err);

	if (status == KEEP_OK)
		assert_true(list.count == 1 && list.text.len > 60);
	keep_memory_release(&memory);
	return status;
}

int main(int argc, char **argv)
{
	static const gateway_step steps[] = {
		{"enqueue_xml", enqueue_xml, 0, false},
		{"enqueue_text", enqueue_text, 0, true},
		{"claim_first", claim_first, 0, false},
		{"enqueue_more", enqueue_more, 0, false},
		{"claim_late", claim_late, 0, false},
		{"complete_lost", complete_lost, 0, false},
		{"release_second", release_second, 0, false},
		{"claim_again", claim_again, 0, false},
		{"complete_third", complete_third, 0, false},
		{"enqueue_text", enqueue_text, 0, true},
		{"flush_rest", flush_rest, 0, true},
	};

	return gateway_faults_main(argc, argv, steps, KP_COUNT(steps));
}

/*
 * test_mailbox_trip_faults.c - a message's way to the agent and an answer's way back, while
 * something fails (mailbox_faults.h).
 *
 *     test_mailbox_trip_faults sqlite|postgres
 */
#include "mailbox_faults.h"

#define B(text) keep_bytes_of(text)

static const keep_file files[] = {{{"a.txt", 5}, {"file a", 6}}, {{"b.txt", 5}, {"file b", 6}}};

/* Attachments live in a session's folder. */
static size_t file_count(void)
{
	return mailbox_is_file() ? KP_COUNT(files) : 0;
}

static keep_post post_of(const char *id, const char *dedup_key)
{
	return (keep_post){.id = B(id),
			   .dedup_key = B(dedup_key),
			   .content = KEEP_BYTES("{\"text\":\"hello\"}"),
			   .channel_type = KEEP_BYTES("telegram"),
			   .platform_id = KEEP_BYTES("42")};
}

static keep_status post_with_files(mailbox_world *world, keep_error *err)
{
	keep_post post = post_of("m1", "p1");
	keep_post_result result;

	post.files = files;
	post.file_count = file_count();
	return keep_mailbox_post(world->mailbox, B(world->session), &post, &result, err);
}

/* What came before is known by its dedup key alone. */
static keep_status post_without_id(mailbox_world *world, keep_error *err)
{
	keep_post post = post_of(NULL, "p2");
	keep_post_result result;

	return keep_mailbox_post(world->mailbox, B(world->session), &post, &result, err);
}

static keep_status post_many(mailbox_world *world, keep_error *err)
{
	keep_post posts[] = {post_of("m3", "p3"), post_of("m4", "p4"), post_of("m5", NULL)};
	keep_post_result results[KP_COUNT(posts)];

	return keep_mailbox_post_many(world->mailbox, B(world->session), posts, KP_COUNT(posts),
				      results, err);
}

static keep_status wait_for_input(mailbox_world *world, keep_error *err)
{
	bool ready = false;
	keep_status status = keep_agent_wait(world->agent, 0, &ready, err);

	CHECK(status != KEEP_OK || ready, "nothing is there to claim");
	return status;
}

static keep_status claim(mailbox_world *world, keep_error *err)
{
	keep_claim_request request = {.max = 10};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_claim_list list;
	keep_status status =
		keep_agent_claim(world->agent, &request, KEEP_NOW, &memory, &list, err);

	CHECK(status != KEEP_OK || list.count == 5, "%zu claims", list.count);
	CHECK(status == KEEP_OK || (!list.items && !list.count), "a failure has an answer");
	keep_memory_release(&memory);
	return status;
}

static keep_status extend(mailbox_world *world, keep_error *err)
{
	keep_claim_ref claims[] = {{B("m1"), 0}, {B("m3"), 0}};

	return keep_agent_extend(world->agent, claims, KP_COUNT(claims), 90000, KEEP_NOW, err);
}

static keep_status read_inbox_file(mailbox_world *world, keep_error *err)
{
	keep_buffer bytes = KEEP_BUFFER_INIT;
	keep_status status = KEEP_OK;

	if (mailbox_is_file())
		status = keep_agent_inbox_file(world->agent, B("m1"), files[1].name, &bytes, err);
	if (status == KEEP_OK && mailbox_is_file())
		assert_bytes_equal(kp_buffer_bytes(&bytes), files[1].bytes);
	keep_buffer_release(&bytes);
	return status;
}

static keep_status complete_with(mailbox_world *world, keep_error *err)
{
	keep_claim_ref claims[] = {{B("m1"), 0}};
	keep_send replies[] = {
		{.id = B("o1"),
		 .content = B(mailbox_is_file() ? "{\"text\":\"a\",\"files\":[\"a.txt\",\"b.txt\"]}"
						: "{\"text\":\"a\"}"),
		 .files = files,
		 .file_count = file_count()},
		{.id = B("o2"),
		 .content = B("{\"text\":\"b\"}"),
		 .to = B("home"),
		 .deliver_after = MAILBOX_NOW + 3600000}};
	keep_sent sent[KP_COUNT(replies)];

	return keep_agent_complete_with(world->agent, claims, 1, replies, KP_COUNT(replies),
					KEEP_NOW, sent, err);
}

static void learn_number(mailbox_world *world)
{
	world->number = atoll(mailbox_sql(world->session, "outbound.db",
					  "SELECT CAST(seq AS text) FROM messages_out "
					  "WHERE id = 'o1'"));
}

static keep_status fail_one(mailbox_world *world, keep_error *err)
{
	keep_claim_ref ref = {B("m3"), 0};

	return keep_agent_fail(world->agent, &ref, 1, B("tired"), KEEP_NOW, err);
}

static keep_status complete(mailbox_world *world, keep_error *err)
{
	keep_claim_ref ref = {B("m4"), 0};

	return keep_agent_complete(world->agent, &ref, 1, KEEP_NOW, err);
}

static keep_status release(mailbox_world *world, keep_error *err)
{
	keep_claim_ref ref = {B("m5"), 0};

	return keep_agent_release(world->agent, &ref, 1, KEEP_NOW, err);
}

static keep_status wait_for_output(mailbox_world *world, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_session_names names;
	keep_status status = keep_mailbox_wait(world->mailbox, 0, &memory, &names, err);

	keep_memory_release(&memory);
	return status;
}

static keep_status collect(mailbox_world *world, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_collection collection;
	keep_status status = keep_mailbox_collect(world->mailbox, B(world->session), 0, KEEP_NOW,
						  &memory, &collection, err);

	CHECK(status != KEEP_OK || collection.count == 1, "%zu are due", collection.count);
	CHECK(status == KEEP_OK || (!collection.items && !collection.count),
	      "a failure has an answer");
	keep_memory_release(&memory);
	return status;
}

static keep_status read_outbox_file(mailbox_world *world, keep_error *err)
{
	keep_buffer bytes = KEEP_BUFFER_INIT;
	keep_status status = KEEP_OK;

	if (mailbox_is_file())
		status = keep_mailbox_outbox_file(world->mailbox, B(world->session), B("o1"),
						  files[0].name, &bytes, err);
	if (status == KEEP_OK && mailbox_is_file())
		assert_bytes_equal(kp_buffer_bytes(&bytes), files[0].bytes);
	keep_buffer_release(&bytes);
	return status;
}

static keep_status begin_delivery(mailbox_world *world, keep_error *err)
{
	int64_t attempt = 0;

	return keep_mailbox_begin_delivery(world->mailbox, B(world->session), B("o1"), 0, KEEP_NOW,
					   &attempt, err);
}

static keep_status complete_delivery(mailbox_world *world, keep_error *err)
{
	keep_outcome_report report = {.session = B(world->session),
				      .key = B("o1"),
				      .attempt = 1,
				      .outcome = KEEP_OUTCOME_DELIVERED,
				      .platform_message_id = B("tg-1")};

	return keep_mailbox_complete_delivery(world->mailbox, &report, KEEP_NOW, err);
}

static keep_status edit(mailbox_world *world, keep_error *err)
{
	keep_sent sent;

	return keep_agent_edit(world->agent, world->number, B("better"), KEEP_NOW, &sent, err);
}

static keep_status look_at_all(mailbox_world *world, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_bytes session = B(world->session), none = {.data = NULL};
	keep_inbound_message_list messages;
	keep_delivered_message_list deliveries;
	keep_trace trace;
	keep_status status =
		keep_mailbox_messages(world->mailbox, session, none, 0, 0, &memory, &messages, err);

	if (status == KEEP_OK)
		status = keep_mailbox_deliveries(world->mailbox, session, none, 0, 0, &memory,
						 &deliveries, err);
	if (status == KEEP_OK) {
		assert_int_equal(messages.count, 5);
		assert_int_equal(deliveries.count, 1);
		status = keep_mailbox_trace(world->mailbox, session, B("m1"), KEEP_NOW, &memory,
					    &trace, err);
	}
	if (status == KEEP_OK)
		assert_bytes_equal(trace.state, B("completed"));
	keep_memory_release(&memory);
	return status;
}

/* The failed message is due again, and the other's lease is over. */
static keep_status sweep(mailbox_world *world, keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_sweep swept;
	keep_status status =
		keep_mailbox_sweep(world->mailbox, 0, MAILBOX_NOW + 120000, &memory, &swept, err);

	keep_memory_release(&memory);
	return status;
}

static keep_status close_session(mailbox_world *world, keep_error *err)
{
	return keep_mailbox_close_session(world->mailbox, B(world->session), KEEP_NOW, err);
}

static const mailbox_step steps[] = {
	{.name = "open", .run = mailbox_step_open},
	{.name = "resolve_session", .run = mailbox_step_resolve},
	{.name = "wake", .run = mailbox_step_wake, .is_in_parts = true},
	{.name = "agent_open", .run = mailbox_step_agent, .is_in_parts = true},
	{.name = "post_with_files", .run = post_with_files},
	{.name = "post_without_id", .run = post_without_id},
	{.name = "post_many", .run = post_many},
	{.name = "wait_for_input", .run = wait_for_input},
	{.name = "claim", .run = claim, .is_once = true},
	{.name = "extend", .run = extend},
	{.name = "read_inbox_file", .run = read_inbox_file},
	{.name = "complete_with", .run = complete_with, .learn = learn_number},
	{.name = "fail_one", .run = fail_one},
	{.name = "complete", .run = complete},
	{.name = "release", .run = release, .is_once = true},
	{.name = "wait_for_output", .run = wait_for_output},
	{.name = "collect", .run = collect, .is_in_parts = true},
	{.name = "read_outbox_file", .run = read_outbox_file},
	{.name = "begin_delivery", .run = begin_delivery, .is_once = true},
	{.name = "complete_delivery", .run = complete_delivery},
	{.name = "edit", .run = edit, .is_once = true},
	{.name = "collect_edit", .run = collect, .is_in_parts = true},
	{.name = "look_at_all", .run = look_at_all},
	{.name = "sweep", .run = sweep, .is_in_parts = true, .mend = mailbox_mend_sessions},
	{.name = "close_session", .run = close_session, .is_in_parts = true},
};

int main(int argc, char **argv)
{
	return mailbox_faults_main(argc, argv, steps, KP_COUNT(steps));
}

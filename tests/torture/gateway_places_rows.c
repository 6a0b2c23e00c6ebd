/*
 * gateway_places_rows.c - rows that somebody damaged behind the library's back: a status outside of
 * its allowed values, a text that is not UTF-8, a timestamp that is none.
 *
 * Each damage is done where a backend lets it happen: PostgreSQL takes no text that is not UTF-8
 * and no other time than 'infinity'. The row names itself with CORRUPT, table and column; the other
 * chats, consumers, channels and tasks go on.
 */
#include "gateway_places.h"

#include "source_file.h"

/* Behind the library's back, constraints set aside. */
static void damage(const char *sqlite, const char *postgres)
{
	char sql[400];

	if (gateway_is_file()) {
		snprintf(sql, sizeof sql, "PRAGMA ignore_check_constraints = ON; %s", sqlite);
		source_run(gateway_url() + strlen("sqlite:"), sql);
	} else {
		(void)gateway_sql(postgres);
	}
}

static void drop_constraint(const char *table, const char *column)
{
	char sql[200];

	if (gateway_is_file())
		return;
	snprintf(sql, sizeof sql, "ALTER TABLE %s DROP CONSTRAINT %s_%s_check", table, table,
		 column);
	(void)gateway_sql(sql);
}

static void want_corrupt(keep_status status, const keep_error *err, const char *names)
{
	CHECK(status == KEEP_CORRUPT, "%s: %s", keep_status_name(status),
	      status == KEEP_OK ? names : err->message);
	CHECK(strstr(err->message, names), "'%s' does not name %s", err->message, names);
}

static void want_ids(const keep_message_list *list, const char *wanted)
{
	char found[400] = "";

	for (size_t i = 0; i < list->count; i++)
		snprintf(found + strlen(found), sizeof found - strlen(found), "%s%" KP_PRI,
			 i ? " " : "", KP_ARG(list->items[i].id));
	assert_string_equal(found, wanted);
}

static void put_three_each(keep_gateway *gateway, bool outbound)
{
	keep_error err = KEEP_ERROR_INIT;

	for (char chat = 'a'; chat <= 'c'; chat++) {
		for (char number = '1'; number <= '3'; number++) {
			char jid[] = {'x', ':', chat, '\0'}, id[] = {chat, number, '\0'};
			keep_message message = {.chat_jid = keep_bytes_of(jid),
						.id = keep_bytes_of(id),
						.content = KEEP_BYTES("hello")};

			if (outbound)
				OK(keep_gateway_put_outbound(gateway, &message, NULL, NULL, &err));
			else
				OK(keep_gateway_put_message(gateway, &message, NULL, NULL, &err));
		}
	}
}

/* ---------------------------------------------------------------- messages */

static void want_new(keep_gateway *gateway, const char *consumer, size_t limit, const char *ids)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list = {NULL, 0};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_gateway_new_messages(gateway, keep_bytes_of(consumer), NULL, 0, limit, &memory,
				     &list, &err));
	want_ids(&list, ids);
	keep_memory_release(&memory);
}

static void read_around(keep_gateway *gateway, const char *column)
{
	const keep_bytes a = KEEP_BYTES("x:a"), b = KEEP_BYTES("x:b"), gated = KEEP_BYTES("gated");
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list = {NULL, 0};
	keep_message message;
	keep_error err = KEEP_ERROR_INIT;
	bool pending = false;

	/* What stands before it comes, and the others' all. */
	want_new(gateway, "gated", 0, "a1 a2 a3 b1 c1 c2 c3");
	want_new(gateway, "other", 0, "a1 a2 a3 b1 c1 c2 c3");
	want_corrupt(
		keep_gateway_get_message(gateway, b, KEEP_BYTES("b2"), &memory, &message, &err),
		&err, column);
	want_corrupt(keep_gateway_messages_since(gateway, b, 0, 0, 0, &memory, &list, &err), &err,
		     column);
	want_corrupt(keep_gateway_history(gateway, b, 0, 0, &memory, &list, &err), &err, column);
	OK(keep_gateway_messages_since(gateway, a, 0, 0, 0, &memory, &list, &err));
	want_ids(&list, "a1 a2 a3");
	OK(keep_gateway_get_message(gateway, b, KEEP_BYTES("b3"), &memory, &message, &err));

	/* Alone it is told, with its place. */
	OK(keep_gateway_advance(gateway, gated, b, 1, NULL, &err));
	want_corrupt(keep_gateway_new_messages(gateway, gated, &b, 1, 0, &memory, &list, &err),
		     &err, column);
	assert_non_null(strstr(err.message, "chat 'x:b', message 2"));
	want_new(gateway, "gated", 0, "a1 a2 a3 c1 c2 c3");
	OK(keep_gateway_advance(gateway, gated, a, 3, NULL, &err));
	OK(keep_gateway_advance(gateway, gated, KEEP_BYTES("x:c"), 3, NULL, &err));
	want_corrupt(keep_gateway_new_messages(gateway, gated, NULL, 0, 0, &memory, &list, &err),
		     &err, column);
	OK(keep_gateway_wait(gateway, gated, 0, &pending, &err));
	assert_true(pending);
	gateway_put(gateway, "x:a", "a4", "hello");
	gateway_put(gateway, "x:b", "b4", "hello");
	want_new(gateway, "gated", 0, "a4");

	OK(keep_gateway_advance(gateway, gated, b, 2, NULL, &err));
	want_new(gateway, "gated", 0, "a4 b3 b4");
	keep_memory_release(&memory);
}

void a_damaged_message_holds_up_its_own_chat_alone(void **state)
{
	static const struct {
		const char *column, *sqlite, *postgres;
	} damages[] = {
		{"messages.status", "status = 'lost'", "status = 'lost'"},
		{"messages.timestamp", "\"timestamp\" = 'yesterday'", "\"timestamp\" = 'infinity'"},
		{"messages.received_at", "received_at = ''", "received_at = '-infinity'"},
		{"messages.content", "content = CAST(x'c328' AS TEXT)", NULL},
		{"messages.sender", "sender = CAST(x'00ff' AS TEXT)", NULL},
		{"messages.attachments", "attachments = '{'", NULL},
	};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(damages); i++) {
		keep_gateway *gateway;
		char sqlite[200], postgres[200];

		if (!gateway_is_file() && !damages[i].postgres)
			continue;
		gateway = gateway_fresh();
		put_three_each(gateway, false);
		drop_constraint("messages", "status");
		snprintf(sqlite, sizeof sqlite, "UPDATE messages SET %s WHERE id = 'b2'",
			 damages[i].sqlite);
		snprintf(postgres, sizeof postgres, "UPDATE messages SET %s WHERE id = 'b2'",
			 damages[i].postgres ? damages[i].postgres : "");
		damage(sqlite, postgres);
		read_around(gateway, damages[i].column);
		keep_gateway_close(&gateway);
	}
	assert_nothing_lives();
}

void damaged_chats_in_front_starve_nobody(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list = {NULL, 0};
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	put_three_each(gateway, false);
	drop_constraint("messages", "status");
	damage("UPDATE messages SET status = 'lost' WHERE id IN ('a1', 'b1')",
	       "UPDATE messages SET status = 'lost' WHERE id IN ('a1', 'b1')");
	for (size_t limit = 1; limit <= 3; limit++)
		want_new(gateway, "gated", limit,
			 limit == 1   ? "c1"
			 : limit == 2 ? "c1 c2"
				      : "c1 c2 c3");
	OK(keep_gateway_advance(gateway, KEEP_BYTES("gated"), KEEP_BYTES("x:c"), 3, NULL, &err));
	want_corrupt(keep_gateway_new_messages(gateway, KEEP_BYTES("gated"), NULL, 0, 1, &memory,
					       &list, &err),
		     &err, "messages.status");
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

void a_damaged_cursor_holds_up_its_own_chat_alone(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_pending_list pending = {NULL, 0};
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	put_three_each(gateway, false);
	want_new(gateway, "gated", 0, "a1 a2 a3 b1 b2 b3 c1 c2 c3");
	want_new(gateway, "other", 0, "a1 a2 a3 b1 b2 b3 c1 c2 c3");
	damage("UPDATE cursors SET pending_since = '' WHERE consumer = 'gated' AND chat_jid = "
	       "'x:b'",
	       "UPDATE cursors SET pending_since = '-infinity' "
	       "WHERE consumer = 'gated' AND chat_jid = 'x:b'");
	OK(keep_gateway_pending_chats(gateway, KEEP_BYTES("gated"), 0, &memory, &pending, &err));
	assert_int_equal(pending.count, 2);
	want_new(gateway, "gated", 0, "a1 a2 a3 c1 c2 c3");
	want_new(gateway, "gated", 1, "a1");
	want_new(gateway, "other", 0, "a1 a2 a3 b1 b2 b3 c1 c2 c3");
	OK(keep_gateway_rewind(gateway, KEEP_BYTES("other"), KEEP_BYTES("x:b"), 2, &err));
	OK(keep_gateway_advance(gateway, KEEP_BYTES("gated"), KEEP_BYTES("x:a"), 3, NULL, &err));
	OK(keep_gateway_advance(gateway, KEEP_BYTES("gated"), KEEP_BYTES("x:c"), 3, NULL, &err));
	want_corrupt(keep_gateway_pending_chats(gateway, KEEP_BYTES("gated"), 0, &memory, &pending,
						&err),
		     &err, "cursors.pending_since");
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- deliveries */

static void want_claim(keep_gateway *gateway, size_t limit, const char *ids)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_list list = {NULL, 0};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_gateway_claim_deliveries(gateway, (keep_bytes){0}, limit, 0, KEEP_NOW, &memory,
					 &list, &err));
	want_ids(&list, ids);
	for (size_t i = 0; i < list.count; i++) {
		keep_delivery_report report = {.jid = list.items[i].chat_jid,
					       .id = list.items[i].id,
					       .attempt = list.items[i].attempts,
					       .delivery = KEEP_DELIVERY_DELIVERED};

		OK(keep_gateway_complete_delivery(gateway, &report, KEEP_NOW, &err));
	}
	keep_memory_release(&memory);
}

void a_damaged_delivery_is_failed_and_the_others_go_out(void **state)
{
	(void)state;
	for (size_t limit = 1; limit <= 9; limit += 8) {
		keep_gateway *gateway = gateway_fresh();
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_message_list list = {NULL, 0};
		keep_error err = KEEP_ERROR_INIT;
		bool due = true;

		put_three_each(gateway, true);
		damage("UPDATE messages SET \"timestamp\" = 'never' WHERE id IN ('a1', 'b2')",
		       "UPDATE messages SET \"timestamp\" = 'infinity' WHERE id IN ('a1', 'b2')");
		if (limit == 9) {
			want_claim(gateway, limit, "b1 c1 a2 c2 a3 b3 c3");
		} else {
			for (int i = 0; i < 7; i++) {
				OK(keep_gateway_claim_deliveries(gateway, (keep_bytes){0}, 1, 1,
								 KEEP_NOW, &memory, &list, &err));
				assert_int_equal(list.count, 1);
				OK(keep_gateway_complete_delivery(
					gateway,
					&(keep_delivery_report){.jid = list.items[0].chat_jid,
								.id = list.items[0].id,
								.attempt = list.items[0].attempts,
								.delivery =
									KEEP_DELIVERY_DELIVERED},
					KEEP_NOW, &err));
			}
		}
		want_claim(gateway, 9, "");
		OK(keep_gateway_wait_deliveries(gateway, (keep_bytes){0}, 0, &due, &err));
		assert_false(due);
		assert_string_equal(
			gateway_sql("SELECT CAST(count(*) AS TEXT) FROM messages WHERE status = "
				    "'failed' AND last_error LIKE "
				    "'%messages.timestamp%' AND lease_owner IS NULL"),
			"2");
		assert_string_equal(
			gateway_sql("SELECT CAST(count(*) AS TEXT) FROM delivery_queues"), "0");
		OK(keep_gateway_failed_deliveries(gateway, (keep_bytes){0}, 0, 0, &memory, &list,
						  &err));
		assert_int_equal(list.count, 0);
		keep_memory_release(&memory);
		keep_gateway_close(&gateway);
	}
	assert_nothing_lives();
}

void a_queue_without_a_delivery_is_removed(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_error err = KEEP_ERROR_INIT;
	bool due = true;

	(void)state;
	put_three_each(gateway, true);
	drop_constraint("messages", "status");
	damage("UPDATE messages SET status = 'lost' WHERE chat_jid IN ('x:a', 'x:b')",
	       "UPDATE messages SET status = 'lost' WHERE chat_jid IN ('x:a', 'x:b')");
	for (int i = 0; i < 3; i++)
		want_claim(gateway, 1, i == 0 ? "c1" : i == 1 ? "c2" : "c3");
	want_claim(gateway, 1, "");
	OK(keep_gateway_wait_deliveries(gateway, (keep_bytes){0}, 0, &due, &err));
	assert_false(due);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- tasks */

void a_damaged_task_is_failed_and_the_others_fire(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_task_run_list runs = {NULL, 0};
	keep_error err = KEEP_ERROR_INIT;
	int64_t next = -1;
	size_t fired = 0;

	(void)state;
	for (char name = 'a'; name <= 'e'; name++) {
		char id[] = {name, '\0'}, jid[] = {'t', ':', name, '\0'};
		keep_scheduled_task task = {.id = keep_bytes_of(id),
					    .owner = KEEP_BYTES("main"),
					    .chat_jid = keep_bytes_of(jid),
					    .prompt = KEEP_BYTES("wake up"),
					    .next_run = kp_clock_ms() - 1000,
					    .has_next_run = true};
		keep_put put;

		OK(keep_gateway_create_task(gateway, &task, &put, NULL, &err));
	}
	drop_constraint("scheduled_tasks", "missed_policy");
	damage("UPDATE scheduled_tasks SET created_at = 'once' WHERE id = 'b'",
	       "UPDATE scheduled_tasks SET created_at = 'infinity' WHERE id = 'b'");
	damage("UPDATE scheduled_tasks SET missed_policy = 'shrug' WHERE id = 'd'",
	       "UPDATE scheduled_tasks SET missed_policy = 'shrug' WHERE id = 'd'");
	OK(keep_gateway_fire_due_tasks(gateway, KEEP_NOW, 0, &memory, &runs, &next, &err));
	for (size_t i = 0; i < runs.count; i++)
		fired += kp_bytes_equal(runs.items[i].status, KEEP_BYTES("success"));
	assert_int_equal(fired, 3);
	assert_int_equal(runs.count, 5);
	assert_string_equal(
		gateway_sql(
			"SELECT CAST(count(*) AS TEXT) FROM messages WHERE sender = 'scheduler'"),
		"3");
	assert_string_equal(gateway_sql("SELECT CAST(count(*) AS TEXT) FROM scheduled_tasks WHERE "
					"status = 'failed' AND "
					"last_error LIKE '%scheduled_tasks.%'"),
			    "2");
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	keep_zone_forget();
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- the rest */

void a_damaged_chat_takes_nothing_and_the_others_do(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message message = {.chat_jid = KEEP_BYTES("x:b"),
				.id = KEEP_BYTES("b4"),
				.content = KEEP_BYTES("hello")};
	keep_chat chat;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	put_three_each(gateway, false);
	damage("UPDATE chats SET last_message_at = 'late' WHERE jid = 'x:b'",
	       "UPDATE chats SET last_message_at = 'infinity' WHERE jid = 'x:b'");
	want_corrupt(keep_gateway_get_chat(gateway, KEEP_BYTES("x:b"), &memory, &chat, &err), &err,
		     "chats.last_message_at");
	want_corrupt(keep_gateway_put_message(gateway, &message, NULL, NULL, &err), &err,
		     "last_message_at");
	want_new(gateway, "gated", 0, "a1 a2 a3 b1 b2 b3 c1 c2 c3");
	gateway_put(gateway, "x:a", "a4", "hello");
	OK(keep_gateway_advance(gateway, KEEP_BYTES("gated"), KEEP_BYTES("x:b"), 3, NULL, &err));
	OK(keep_gateway_advance(gateway, KEEP_BYTES("gated"), KEEP_BYTES("x:a"), 3, NULL, &err));
	want_new(gateway, "gated", 0, "c1 c2 c3 a4");
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

static void want_one_bad_folder(keep_gateway *gateway)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_system_message_list list = {NULL, 0, {0}};
	keep_error err = KEEP_ERROR_INIT;

	for (int i = 0; i < 2; i++) {
		keep_system_message remark = {.group_id = i ? KEEP_BYTES("one") : KEEP_BYTES("two"),
					      .origin = KEEP_BYTES("test"),
					      .event = KEEP_BYTES("said")};

		OK(keep_gateway_enqueue_system_message(gateway, &remark, NULL, NULL, &err));
	}
	damage("UPDATE system_messages SET created_at = 'now' WHERE group_id = 'one'",
	       "UPDATE system_messages SET created_at = 'infinity' WHERE group_id = 'one'");
	want_corrupt(keep_gateway_flush_system_messages(gateway, KEEP_BYTES("one"), &memory, &list,
							&err),
		     &err, "created_at");
	OK(keep_gateway_flush_system_messages(gateway, KEEP_BYTES("two"), &memory, &list, &err));
	assert_int_equal(list.count, 1);
	assert_string_equal(gateway_sql("SELECT CAST(count(*) AS TEXT) FROM system_messages"), "1");
	keep_memory_release(&memory);
}

void damaged_rows_of_other_tables_name_themselves(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_registered_group group;
	keep_resolution found;
	keep_message message = {.chat_jid = KEEP_BYTES("x:a"), .content = KEEP_BYTES("hello")};
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (int i = 0; i < 2; i++) {
		keep_bytes jid = i ? KEEP_BYTES("x:a") : KEEP_BYTES("x:b");
		keep_route route = {
			.jid = jid, .type = KEEP_BYTES("default"), .target = KEEP_BYTES("main")};

		OK(keep_gateway_put_group(
			gateway, &(keep_registered_group){.jid = jid, .folder = KEEP_BYTES("main")},
			&err));
		OK(keep_gateway_add_route(gateway, &route, NULL, &err));
	}
	drop_constraint("registered_groups", "state");
	drop_constraint("routes", "type");
	damage("UPDATE registered_groups SET state = 'asleep' WHERE jid = 'x:b'",
	       "UPDATE registered_groups SET state = 'asleep' WHERE jid = 'x:b'");
	damage("UPDATE routes SET type = 'magic' WHERE jid = 'x:b'",
	       "UPDATE routes SET type = 'magic' WHERE jid = 'x:b'");
	want_corrupt(keep_gateway_get_group(gateway, KEEP_BYTES("x:b"), &memory, &group, &err),
		     &err, "registered_groups.state");
	OK(keep_gateway_get_group(gateway, KEEP_BYTES("x:a"), &memory, &group, &err));
	OK(keep_gateway_resolve(gateway, &message, false, &memory, &found, &err));
	assert_true(found.matched);
	message.chat_jid = KEEP_BYTES("x:b");
	want_corrupt(keep_gateway_resolve(gateway, &message, false, &memory, &found, &err), &err,
		     "routes.type");
	want_one_bad_folder(gateway);
	keep_memory_release(&memory);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

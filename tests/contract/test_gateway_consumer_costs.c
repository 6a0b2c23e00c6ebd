/*
 * test_gateway_consumer_costs.c - consumers against a model, and what their statements cost.
 *
 *     test_gateway_consumer_costs sqlite|postgres
 *
 * Costs are counted, not timed: SQLite's virtual machine counts its steps, PostgreSQL tells the
 * rows that each part of a plan met. Neither may grow with what is stored.
 */
#include "gateway_fixture.h"

#include "sql/sql.h"

#include <sqlite3.h>

extern const kp_statement_set kp_gateway_statements[KP_DIALECT_COUNT];

static keep_error err = KEEP_ERROR_INIT;
static keep_memory memory = KEEP_MEMORY_INIT;

/* How many cursors break a rule: one a chat and consumer, pending exactly with input beyond. */
static void assert_cursors_are_exact(void)
{
	const char *broken = gateway_sql(
		"SELECT count(*) || '' FROM consumers CROSS JOIN chats LEFT JOIN cursors ON "
		"cursors.consumer = consumers.name AND cursors.chat_jid = chats.jid WHERE "
		"cursors.seq IS NULL OR (cursors.pending_since IS NOT NULL) <> "
		"(chats.last_input_seq > cursors.seq)");

	assert_string_equal(broken, "0");
}

/* ---------------------------------------------------------------- a model */

enum { CHATS = 6, NAMES = 3, STEPS = 1200 };

struct model {
	int64_t last[CHATS], last_input[CHATS];
	bool is_input[CHATS][STEPS + 1];
	bool exists[CHATS];
	bool known[NAMES];
	int64_t cursor[NAMES][CHATS];
};

static const char *const names[NAMES] = {"router", "agent", "auditor"};
static const char *const jids[CHATS] = {"a:1", "b:1", "c:1", "web:1", "web:2", "z:1"};

static void put_random(keep_gateway *gateway, struct model *model, int chat, bool is_input)
{
	keep_message message = {.chat_jid = keep_bytes_of(jids[chat]),
				.content = KEEP_BYTES("text"),
				.timestamp = is_input && model->last[chat] % 3 ? 5000 : 0};
	char id[16];

	snprintf(id, sizeof id, "%lld", (long long)model->last[chat]);
	message.id = keep_bytes_of(id);
	if (is_input)
		OK(keep_gateway_put_message(gateway, &message, NULL, NULL, &err));
	else
		OK(keep_gateway_put_outbound(gateway, &message, NULL, NULL, &err));
	model->exists[chat] = true;
	model->is_input[chat][++model->last[chat]] = is_input;
	if (is_input)
		model->last_input[chat] = model->last[chat];
}

static void move_random(keep_gateway *gateway, struct model *model, int name, int chat,
			bool is_rewind, uint64_t dice)
{
	int64_t seq = (int64_t)(dice % (uint64_t)(model->last[chat] + 2));
	keep_bytes consumer = keep_bytes_of(names[name]), jid = keep_bytes_of(jids[chat]);
	keep_status expected = !model->exists[chat]      ? KEEP_NOT_FOUND
			       : seq > model->last[chat] ? KEEP_INVALID
							 : KEEP_OK;
	int64_t cursor = 0;
	keep_status status =
		is_rewind ? keep_gateway_rewind(gateway, consumer, jid, seq, &err)
			  : keep_gateway_advance(gateway, consumer, jid, seq, &cursor, &err);

	assert_int_equal(status, expected);
	if (status != KEEP_OK)
		return;
	model->known[name] = true;
	if (is_rewind || seq > model->cursor[name][chat])
		model->cursor[name][chat] = seq;
	if (!is_rewind)
		assert_true(cursor == model->cursor[name][chat]);
}

/* All input beyond the cursors is there, grouped and in order, and nothing else. */
static void compare_new(keep_gateway *gateway, struct model *model, int name)
{
	keep_message_list list;
	bool seen[CHATS] = {false};
	size_t at = 0, total = 0;

	OK(keep_gateway_new_messages(gateway, keep_bytes_of(names[name]), NULL, 0, 1000, &memory,
				     &list, &err));
	model->known[name] = true;
	for (int chat = 0; chat < CHATS; chat++)
		for (int64_t seq = model->cursor[name][chat] + 1; seq <= model->last[chat]; seq++)
			total += model->is_input[chat][seq];
	if (total <= 1000)
		assert_int_equal(list.count, total);
	while (at < list.count) {
		int chat = 0;
		int64_t seq;

		while (!kp_bytes_equal(list.items[at].chat_jid, keep_bytes_of(jids[chat])))
			chat++;
		assert_false(seen[chat]);
		seen[chat] = true;
		seq = model->cursor[name][chat];
		while (at < list.count &&
		       kp_bytes_equal(list.items[at].chat_jid, keep_bytes_of(jids[chat]))) {
			do
				seq++;
			while (!model->is_input[chat][seq]);
			assert_true(list.items[at].seq == seq);
			at++;
		}
	}
	keep_memory_release(&memory);
}

static void whatever_is_called_consumers_read_what_a_model_says(void **state)
{
	uint64_t seed = test_seed();
	keep_gateway *gateway = gateway_fresh();
	struct model *model = kp_alloc_zero(sizeof *model);

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	for (int step = 0; step < STEPS; step++) {
		uint64_t dice = next_random(&seed);
		int chat = (int)(dice / 16 % CHATS), name = (int)(dice / 256 % NAMES);
		keep_chat said = {.jid = keep_bytes_of(jids[chat])};

		switch (dice % 16) {
		case 0:
		case 1:
		case 2: put_random(gateway, model, chat, false); break;
		case 10:
		case 11:
		case 12: move_random(gateway, model, name, chat, false, next_random(&seed)); break;
		case 13: move_random(gateway, model, name, chat, true, next_random(&seed)); break;
		case 14:
			OK(keep_gateway_put_chat(gateway, &said, &err));
			model->exists[chat] = true;
			break;
		case 15:
			assert_int_equal(keep_gateway_remove_consumer(
						 gateway, keep_bytes_of(names[name]), &err),
					 model->known[name] ? KEEP_OK : KEEP_NOT_FOUND);
			model->known[name] = false;
			memset(model->cursor[name], 0, sizeof model->cursor[name]);
			break;
		default: put_random(gateway, model, chat, true); break;
		}
		if (step % 8 == 0)
			compare_new(gateway, model, name);
		if (step % 64 == 0)
			assert_cursors_are_exact();
	}
	kp_free(model);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- plans */

/* A hot statement with values that fit it. */
struct hot {
	const char *name;
	kp_value values[6];
	size_t value_count;
	bool sorts; /* at most the rows of an answer */
};

static struct hot hot_statements[] = {
	{"pending_chats", {{0}}, 2, true},   {"pending_of", {{0}}, 3, true},
	{"has_pending", {{0}}, 1, false},    {"get_cursor", {{0}}, 2, false},
	{"messages_beyond", {{0}}, 3, true}, {"probe_cursor", {{0}}, 2, false},
	{"get_chat", {{0}}, 1, false},       {"list_chats", {{0}}, 2, false},
	{"errored_chats", {{0}}, 1, false},  {"active_web_chats", {{0}}, 2, false},
	{"deliveries_due", {{0}}, 1, false}, {"deliveries_due_anywhere", {{0}}, 0, false},
};

static void fill_values(void)
{
	const kp_value consumer = kp_text_value(KEEP_BYTES("router"));
	const kp_value jid = kp_text_value(KEEP_BYTES("a:5")), limit = kp_int_value(200);
	const kp_value wanted = kp_json_value(KEEP_BYTES("[\"a:5\",\"a:7\"]"));
	const kp_value places = kp_json_value(KEEP_BYTES("[[\"a:5\",1],[\"a:7\",1]]"));
	const kp_value values[][3] = {
		{consumer, limit},
		{consumer, limit, wanted},
		{consumer},
		{consumer, jid},
		{places, kp_int_value(1), kp_int_value(2)},
		{consumer, jid},
		{jid},
		{jid, limit},
		{limit},
		{kp_time_value(INT64_C(4102444800000)), limit},
		{kp_text_value(KEEP_BYTES("telegram"))},
		{limit},
	};

	for (size_t i = 0; i < KP_COUNT(hot_statements); i++)
		memcpy(hot_statements[i].values, values[i], sizeof values[i]);
}

static const char *find_sql(const char *name)
{
	const kp_statement_set *set =
		&kp_gateway_statements[gateway_is_file() ? KP_DIALECT_SQLITE : KP_DIALECT_POSTGRES];

	for (size_t i = 0; i < set->count; i++)
		if (strcmp(set->statements[i].name, name) == 0)
			return set->statements[i].sql;
	fail_msg("no statement %s", name);
	return NULL;
}

static kp_sql_conn *connect_to_store(void)
{
	kp_postgres_url parts = {0};
	kp_sql_options options = {.location = gateway_url() + strlen("sqlite:")};
	kp_sql_conn *conn = NULL;

	if (!gateway_is_file()) {
		OK(kp_postgres_url_read(gateway_url(), "gateway", &parts, &err));
		options.location = parts.conninfo;
		options.schema = parts.schema;
	}
	OK(kp_sql_open(gateway_is_file() ? &kp_sql_sqlite : &kp_sql_postgres, &options, &conn,
		       &err));
	kp_postgres_url_release(&parts);
	return conn;
}

/* `prefix` and the statement, run; column `column` of each row on a line of its own. */
static void run_explained(kp_sql_conn *conn, const char *prefix, const struct hot *hot, int column,
			  keep_buffer *out)
{
	keep_buffer sql = KEEP_BUFFER_INIT;
	kp_sql_stmt *stmt = NULL;
	bool has_row = true;

	OK(kp_buffer_append_format(&sql, &err, "%s %s", prefix, find_sql(hot->name)));
	OK(kp_sql_prepare(conn, sql.data, &stmt, &err));
	for (size_t i = 0; i < hot->value_count; i++)
		OK(kp_sql_bind(stmt, (int)i + 1, &hot->values[i], &err));
	out->len = 0;
	for (;;) {
		kp_value line;

		OK(kp_sql_step(stmt, &has_row, &err));
		if (!has_row)
			break;
		OK(kp_sql_column(stmt, column, KP_TEXT, &line, &err));
		OK(kp_buffer_append_format(out, &err, "%" KP_PRI "\n", KP_ARG(line.bytes)));
	}
	kp_sql_finish(&stmt);
	keep_buffer_release(&sql);
}

/* Chats a:<from> … a:<to> with ten messages each, all read. */
static void fill_store(int from, int to)
{
	static const char *const into[] = {
		"chats (jid, last_seq, last_input_seq)",
		"messages (chat_jid, id, content, \"timestamp\", seq, received_at, change)",
		"cursors (consumer, chat_jid, seq, updated_at)",
	};
	static const char *const rows[] = {
		"'a:' || n, 10, 10 FROM numbers",
		"'a:' || n, 'id-' || i, 'text', '2020-01-01T00:00:00.000Z', i, "
		"'2020-01-01T00:00:00.000Z', n * 10 + i FROM numbers CROSS JOIN (SELECT n AS i "
		"FROM numbers "
		"WHERE n <= 10) AS each",
		"'router', 'a:' || n, 10, '2020-01-01T00:00:00.000Z' FROM numbers",
	};

	for (size_t i = 0; i < KP_COUNT(into); i++) {
		char sql[800];

		snprintf(sql, sizeof sql,
			 "INSERT INTO %s WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT "
			 "n + 1 FROM numbers WHERE n < %d) SELECT %s WHERE n >= %d",
			 into[i], to, rows[i], from);
		gateway_sql(sql);
	}
}

static bool has_line_with(const char *plan, const char *word, const char *unless)
{
	for (const char *at = strstr(plan, word); at; at = strstr(at + 1, word))
		if (!unless || strncmp(at, unless, strlen(unless)) != 0)
			return true;
	return false;
}

static void every_hot_statement_uses_an_index(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	kp_sql_conn *conn = NULL;
	keep_buffer plan = KEEP_BUFFER_INIT;
	int64_t seq;

	(void)state;
	fill_values();
	OK(keep_gateway_get_cursor(gateway, KEEP_BYTES("router"), KEEP_BYTES("x"), &seq, &err));
	fill_store(1, 300);
	conn = connect_to_store();
	if (!gateway_is_file())
		OK(kp_sql_script(conn, "SET enable_seqscan = off; SET enable_bitmapscan = off",
				 &err));
	for (size_t i = 0; i < KP_COUNT(hot_statements); i++) {
		const struct hot *hot = &hot_statements[i];

		if (gateway_is_file()) {
			run_explained(conn, "EXPLAIN QUERY PLAN", hot, 3, &plan);
			/* An index that covers is walked in order, up to a LIMIT. */
			CHECK(!has_line_with(plan.data, "SCAN messages", NULL) &&
				      !has_line_with(plan.data, "SCAN cursors", NULL) &&
				      !has_line_with(plan.data, "SCAN chats",
						     "SCAN chats USING INDEX chats_by_jid"),
			      "%s: %s", hot->name, plan.data);
		} else {
			run_explained(conn, "EXPLAIN (COSTS OFF)", hot, 0, &plan);
			CHECK(!has_line_with(plan.data, "Seq Scan", NULL), "%s: %s", hot->name,
			      plan.data);
		}
		CHECK(hot->sorts || (!has_line_with(plan.data, "Sort", NULL) &&
				     !has_line_with(plan.data, "TEMP B-TREE", NULL)),
		      "%s: %s", hot->name, plan.data);
	}
	keep_buffer_release(&plan);
	kp_sql_close(&conn);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- counted costs */

static void bind_raw(sqlite3_stmt *stmt, const struct hot *hot)
{
	for (size_t i = 0; i < hot->value_count; i++) {
		const kp_value *value = &hot->values[i];
		int at = (int)i + 1;

		if (value->kind == KP_INT)
			sqlite3_bind_int64(stmt, at, value->integer);
		else if (value->kind == KP_TIME)
			sqlite3_bind_text(stmt, at, "2100-01-01T00:00:00.000Z", -1, SQLITE_STATIC);
		else
			sqlite3_bind_text(stmt, at, value->bytes.data, (int)value->bytes.len,
					  SQLITE_STATIC);
	}
}

/* What the statement costs: steps of the virtual machine, or the rows of every part of the plan. */
static void count_cost(const struct hot *hot, keep_buffer *out)
{
	kp_sql_conn *conn = NULL;
	sqlite3 *database = NULL;
	sqlite3_stmt *stmt = NULL;

	out->len = 0;
	if (!gateway_is_file()) {
		conn = connect_to_store();
		OK(kp_sql_script(conn, "SET enable_seqscan = off; SET enable_bitmapscan = off",
				 &err));
		run_explained(conn, "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF)", hot, 0,
			      out);
		kp_sql_close(&conn);
		return;
	}
	assert_int_equal(sqlite3_open_v2(gateway_url() + strlen("sqlite:"), &database,
					 SQLITE_OPEN_READONLY, NULL),
			 SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(database, find_sql(hot->name), -1, &stmt, NULL),
			 SQLITE_OK);
	bind_raw(stmt, hot);
	while (sqlite3_step(stmt) == SQLITE_ROW)
		;
	OK(kp_buffer_append_format(out, &err, "%d steps",
				   sqlite3_stmt_status(stmt, SQLITE_STMTSTATUS_VM_STEP, 0)));
	sqlite3_finalize(stmt);
	sqlite3_close(database);
}

static void with_nothing_new_the_cost_does_not_grow_with_what_is_stored(void **state)
{
	keep_gateway *gateway = gateway_fresh();
	keep_buffer before[KP_COUNT(hot_statements)] = {KEEP_BUFFER_INIT};
	keep_buffer after = KEEP_BUFFER_INIT;
	int64_t seq;

	(void)state;
	fill_values();
	OK(keep_gateway_get_cursor(gateway, KEEP_BYTES("router"), KEEP_BYTES("x"), &seq, &err));
	fill_store(1, 50);
	for (size_t i = 0; i < KP_COUNT(hot_statements); i++)
		count_cost(&hot_statements[i], &before[i]);
	fill_store(51, 3000);
	for (size_t i = 0; i < KP_COUNT(hot_statements); i++) {
		bool is_listing = strcmp(hot_statements[i].name, "list_chats") == 0;

		count_cost(&hot_statements[i], &after);
		CHECK(is_listing || strcmp(before[i].data, after.data) == 0,
		      "%s\nbefore: %s\nafter: %s", hot_statements[i].name, before[i].data,
		      after.data);
		keep_buffer_release(&before[i]);
	}
	keep_buffer_release(&after);
	keep_gateway_close(&gateway);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whatever_is_called_consumers_read_what_a_model_says),
		cmocka_unit_test(every_hot_statement_uses_an_index),
		cmocka_unit_test(with_nothing_new_the_cost_does_not_grow_with_what_is_stored),
	};
	int failed;

	gateway_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gateway_end();
	return failed;
}

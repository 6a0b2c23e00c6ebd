/*
 * test_assistant_conversation_list.c - conversations are listed newest first with their last
 * message, in one query that costs what it answers; and so does every statement of this topic.
 *
 *     test_assistant_conversation_list sqlite|postgres
 */
#include "assistant_rows.h"

#include "sql/sql.h"

extern const kp_statement_set
	kp_assistant_statements[KP_DIALECT_COUNT]; /* of src/assistant/<topic>.sql */

#define T0 INT64_C(1790000000000)

static keep_memory memory = KEEP_MEMORY_INIT;
static keep_error err = KEEP_ERROR_INIT;

static keep_conversation_views list(keep_assistant *assistant,
				    const keep_conversation_filter *filter, size_t limit)
{
	keep_conversation_views views;

	OK(keep_assistant_list_conversations(assistant, filter, limit, &memory, &views, &err));
	return views;
}

static void end(keep_assistant **assistant)
{
	keep_memory_release(&memory);
	keep_assistant_close(assistant);
	assert_nothing_lives();
}

static void add(keep_assistant *assistant, const char *id, const char *channel, const char *contact,
		int64_t now_ms)
{
	keep_conversation given = {.conversation_id = keep_bytes_of(id),
				   .channel = keep_bytes_of(channel),
				   .contact_identifier = keep_bytes_of(contact)},
			  out;

	OK(keep_assistant_add_conversation(assistant, &given, now_ms, &memory, &out, NULL, &err));
}

static void a_list_shows_each_with_its_last_message_and_their_number(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_conversation_message internal = {.conversation_id = KEEP_BYTES("a"),
					      .role = KEEP_BYTES("system"),
					      .content = KEEP_BYTES("a plan"),
					      .is_internal = true};
	keep_conversation_views views;

	(void)state;
	add(assistant, "empty", "webui", "ada", T0);
	add(assistant, "a", "webui", "ada", T0 + 1);
	add(assistant, "b", "webui", "ada", T0 + 2);
	(void)assistant_append(assistant, "a", "one");
	(void)assistant_append(assistant, "a", "two");
	OK(keep_assistant_append(assistant, &internal, NULL, &err));
	internal.conversation_id = KEEP_BYTES("empty");
	(void)assistant_sql("UPDATE conversations SET updated_at = '2020-01-01T00:00:00.000Z' "
			    "WHERE conversation_id = 'b'");
	views = list(assistant, NULL, 0);
	assert_int_equal(views.count, 3);
	assert_false(views.has_more);
	assert_bytes_equal(views.items[0].conversation.conversation_id, KEEP_BYTES("a"));
	assert_int_equal(views.items[0].conversation.message_count, 2);
	assert_true(views.items[0].has_last);
	assert_bytes_equal(views.items[0].last.content, KEEP_BYTES("two"));
	assert_int_equal(views.items[0].last.seq, 2);
	assert_bytes_equal(views.items[1].conversation.conversation_id, KEEP_BYTES("empty"));
	assert_false(views.items[1].has_last);
	assert_null(views.items[1].last.content.data);
	assert_bytes_equal(views.items[2].conversation.conversation_id, KEEP_BYTES("b"));
	/* Only internal messages: no last one. */
	OK(keep_assistant_append(assistant, &internal, NULL, &err));
	views = list(assistant, NULL, 1);
	assert_bytes_equal(views.items[0].conversation.conversation_id, KEEP_BYTES("empty"));
	assert_false(views.items[0].has_last);
	assert_true(views.has_more);
	end(&assistant);
}

/* Conversations 0 … count - 1; every second pair has one time; channels and contacts in turns. */
static void fill(keep_assistant *assistant, int count)
{
	for (int i = 0; i < count; i++) {
		char id[12], contact[12];

		snprintf(id, sizeof id, "c%d", i);
		snprintf(contact, sizeof contact, "contact%d", i % 6);
		add(assistant, id, i % 2 ? "slack" : "webui", contact, T0 + i / 4);
	}
}

static void walk(keep_assistant *assistant, keep_conversation_filter filter, size_t limit,
		 int expected)
{
	keep_conversation_views views = {.has_more = true};
	int64_t last_at = INT64_MAX, last_id = INT64_MAX;
	int seen = 0;

	while (views.has_more) {
		views = list(assistant, &filter, limit);
		assert_true(views.count == limit || !views.has_more);
		for (size_t i = 0; i < views.count; i++, seen++) {
			const keep_conversation *one = &views.items[i].conversation;

			assert_true(one->updated_at < last_at ||
				    (one->updated_at == last_at && one->id < last_id));
			filter.before_updated_at = last_at = one->updated_at;
			filter.before_id = last_id = one->id;
			if (filter.channel.data)
				assert_bytes_equal(one->channel, filter.channel);
			if (filter.contact.data)
				assert_bytes_equal(one->contact_identifier, filter.contact);
		}
	}
	assert_int_equal(seen, expected);
}

static void pages_of_a_list_meet_without_a_gap(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_conversation_filter all = {.before_id = 0}, slack = {.channel = KEEP_BYTES("slack")},
				 one = {.channel = KEEP_BYTES("webui"),
					.contact = KEEP_BYTES("contact2")},
				 nobody = {.channel = KEEP_BYTES("none")};

	(void)state;
	fill(assistant, 60);
	for (size_t limit = 1; limit < 12; limit++) {
		walk(assistant, all, limit, 60);
		walk(assistant, slack, limit, 30);
		walk(assistant, one, limit, 10);
		walk(assistant, nobody, limit, 0);
	}
	assert_int_equal(list(assistant, NULL, 0).count, 20);
	end(&assistant);
}

static void bad_input_names_what_is_wrong(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_conversation_filter filter = {.contact = KEEP_BYTES("ada")};
	keep_conversation_views views;

	(void)state;
	assert_int_equal(
		keep_assistant_list_conversations(assistant, &filter, 0, &memory, &views, &err),
		KEEP_INVALID);
	assert_non_null(strstr(err.message, "channel"));
	filter = (keep_conversation_filter){.channel = KEEP_BYTES("")};
	assert_int_equal(
		keep_assistant_list_conversations(assistant, &filter, 0, &memory, &views, &err),
		KEEP_INVALID);
	assert_int_equal(keep_assistant_list_conversations(assistant, NULL,
							   KEEP_ASSISTANT_LIST_MAX + 1, &memory,
							   &views, &err),
			 KEEP_INVALID);
	assert_int_equal(list(assistant, NULL, 0).count, 0);
	end(&assistant);
}

/* ---------------------------------------------------------------- plans */

static const char *const mine[] = {
	"get_conversation",
	"newest_conversation",
	"newest_conversation_of_nobody",
	"touch_conversation",
	"set_conversation_metadata",
	"list_conversations",
	"list_conversations_on",
	"list_conversations_with",
	"delete_conversation",
	"begin_append",
	"append_message",
	"count_messages",
	"get_message",
	"newest_messages",
	"newest_messages_with_internal",
	"context_messages",
	"count_range",
	"summarise_range",
	"unsummarise_range",
	"unsummarise_all",
	"latest_summary",
	"summary_of_range",
	"raise_context_version",
	"remembered_fact",
	"recall_type",
	"recall",
	"get_remembered",
	"forget_one",
	"forget_type",
	"forget_all",
	"covered_range",
};

/* What else would be read without bound: a sort of all rows, where an index has their order. */
static bool is_ordered_by_index(const char *name)
{
	return strncmp(name, "newest_", 7) == 0 || strcmp(name, "context_messages") == 0 ||
	       strcmp(name, "latest_summary") == 0 || strcmp(name, "recall_type") == 0;
}

static bool is_bad(const char *name, const char *line)
{
	if (is_ordered_by_index(name) && (strstr(line, "TEMP B-TREE") || strstr(line, "Sort")))
		return true;
	if (strstr(line, "Seq Scan on "))
		return true;
	return strncmp(line, "SCAN ", 5) == 0 &&
	       (strncmp(line, "SCAN conversation", 17) == 0 || strncmp(line, "SCAN m", 6) == 0) &&
	       !strstr(line, "USING");
}

static int explain(kp_sql_conn *conn, const char *name, const char *sql, int column)
{
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	int bad = 0;

	OK(kp_sql_prepare(conn, sql, &stmt, &err));
	OK(kp_sql_step(stmt, &has_row, &err));
	while (has_row) {
		keep_bytes line;
		char text[300];

		OK(kp_sql_column_bytes(stmt, column, KP_TEXT, &line, &err));
		snprintf(text, sizeof text, "%.*s", (int)line.len, line.data);
		if (is_bad(name, text)) {
			print_error("%s: %s\n", name, text);
			bad++;
		}
		OK(kp_sql_step(stmt, &has_row, &err));
	}
	kp_sql_finish(&stmt);
	return bad;
}

static int explain_statement(kp_sql_conn *conn, const kp_statement *statement)
{
	char *sql = NULL, nulls[100] = "";
	int parameters = 0, bad;

	for (const char *at = strchr(statement->sql, '$'); at; at = strchr(at + 1, '$'))
		parameters = atoi(at + 1) > parameters ? atoi(at + 1) : parameters;
	for (int i = 0; i < parameters; i++)
		(void)strcat(nulls, i ? ", NULL" : "NULL");
	if (assistant_is_file()) {
		assert_true(asprintf(&sql, "EXPLAIN QUERY PLAN %s", statement->sql) > 0);
		bad = explain(conn, statement->name, sql, 3);
	} else {
		assert_true(asprintf(&sql, "PREPARE explained AS %s", statement->sql) > 0);
		OK(kp_sql_script(conn, sql, &err));
		free(sql);
		assert_true(asprintf(&sql, "EXPLAIN (COSTS OFF) EXECUTE explained(%s)", nulls) > 0);
		bad = explain(conn, statement->name, sql, 0);
		OK(kp_sql_script(conn, "DEALLOCATE explained", &err));
	}
	free(sql);
	return bad;
}

static void no_statement_of_conversations_reads_a_whole_table(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	kp_sql_conn *conn = assistant_connect_behind();
	const kp_statement_set *set = &kp_assistant_statements[conn->driver->dialect];
	int bad = 0;
	size_t found = 0;

	(void)state;
	if (!assistant_is_file())
		OK(kp_sql_script(conn,
				 "SET enable_seqscan = off; SET enable_bitmapscan = off; SET "
				 "plan_cache_mode = force_generic_plan",
				 &err));
	for (size_t i = 0; i < set->count; i++)
		for (size_t j = 0; j < KP_COUNT(mine); j++)
			if (strcmp(set->statements[i].name, mine[j]) == 0) {
				bad += explain_statement(conn, &set->statements[i]);
				found++;
			}
	assert_int_equal(found, KP_COUNT(mine));
	CHECK(bad == 0, "%d steps read more than they answer", bad);
	kp_sql_close(&conn);
	end(&assistant);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_list_shows_each_with_its_last_message_and_their_number),
		cmocka_unit_test(pages_of_a_list_meet_without_a_gap),
		cmocka_unit_test(bad_input_names_what_is_wrong),
		cmocka_unit_test(no_statement_of_conversations_reads_a_whole_table),
	};
	int failed;

	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}

/*
 * test_assistant_tasks.c - agents' tasks move by declared steps, under leases.
 *
 *     test_assistant_tasks sqlite|postgres
 */
#include "assistant_rows.h"

#include "sql/sql.h"

#define T0 INT64_C(1790000000000)
#define MINUTE INT64_C(60000)

static const keep_bytes none = {NULL, 0};

static void add(keep_assistant *assistant, const char *id, const char *agent)
{
	keep_agent_task task = {.task_id = keep_bytes_of(id),
				.agent_name = keep_bytes_of(agent),
				.action = KEEP_BYTES("dispatch"),
				.parameters = KEEP_BYTES("{\"x\": 1.10}")};
	keep_error err = KEEP_ERROR_INIT;
	bool inserted = false;

	OK(keep_assistant_add_task(assistant, &task, T0, NULL, &inserted, &err));
	assert_true(inserted);
}

static keep_agent_task get(keep_assistant *assistant, const char *id, keep_memory *memory)
{
	keep_agent_task task = {.id = 0};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_assistant_get_task(assistant, keep_bytes_of(id), memory, &task, &err));
	return task;
}

static void assert_status(keep_assistant *assistant, const char *id, const char *status)
{
	keep_memory memory = KEEP_MEMORY_INIT;

	assert_bytes_equal(get(assistant, id, &memory).status, keep_bytes_of(status));
	keep_memory_release(&memory);
}

/* Claim at `now_ms`; how many, and the first one's id in a static text. */
static size_t claim(keep_assistant *assistant, const char *agent, int64_t now_ms, const char **id)
{
	static char text[64];
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_agent_task_list list = {NULL, 0};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_assistant_claim_tasks(assistant, agent ? keep_bytes_of(agent) : none, 0, MINUTE,
				      now_ms, &memory, &list, &err));
	snprintf(text, sizeof text, "%" KP_PRI,
		 KP_ARG(list.count ? list.items[0].task_id : KEEP_BYTES("")));
	if (id)
		*id = text;
	keep_memory_release(&memory);
	return list.count;
}

static keep_status finish(keep_assistant *assistant, const char *id, int64_t attempt,
			  const char *status, const char *result, const char *error_text)
{
	keep_error err = KEEP_ERROR_INIT;

	return keep_assistant_finish_task(
		assistant, keep_bytes_of(id), attempt, keep_bytes_of(status),
		result ? keep_bytes_of(result) : none,
		error_text ? keep_bytes_of(error_text) : none, T0 + 5, &err);
}

static keep_status extend(keep_assistant *assistant, const char *id, int64_t attempt,
			  int64_t now_ms, bool *cancel_asked)
{
	keep_error err = KEEP_ERROR_INIT;

	return keep_assistant_extend_task(assistant, keep_bytes_of(id), attempt, MINUTE, now_ms,
					  cancel_asked, &err);
}

static keep_status cancel(keep_assistant *assistant, const char *id, int64_t now_ms, bool *is_final)
{
	keep_error err = KEEP_ERROR_INIT;

	return keep_assistant_cancel_task(assistant, keep_bytes_of(id), KEEP_BYTES("enough"),
					  now_ms, is_final, &err);
}

static keep_status retry(keep_assistant *assistant, const char *id)
{
	keep_error err = KEEP_ERROR_INIT;

	return keep_assistant_retry_task(assistant, keep_bytes_of(id), T0, &err);
}

/* ---------------------------------------------------------------- asking */

static void a_task_is_asked_for_once(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_agent_task task = {.agent_name = KEEP_BYTES("auto"), .action = KEEP_BYTES("dispatch")};
	keep_agent_task stored;
	char id[37] = "?";
	bool inserted = false;

	(void)state;
	OK(keep_assistant_add_task(assistant, &task, T0, id, &inserted, &err));
	assert_true(inserted && strlen(id) == 36);
	task.task_id = keep_bytes_of(id);
	OK(keep_assistant_add_task(assistant, &task, T0 + 1, NULL, &inserted, &err));
	assert_false(inserted);
	task.parameters = KEEP_BYTES("[1]");
	assert_int_equal(keep_assistant_add_task(assistant, &task, T0, NULL, NULL, &err),
			 KEEP_CONFLICT);
	task.parameters = none;
	task.action = KEEP_BYTES("other");
	assert_int_equal(keep_assistant_add_task(assistant, &task, T0, NULL, NULL, &err),
			 KEEP_CONFLICT);
	stored = get(assistant, id, &memory);
	assert_int_equal(stored.created_at, T0);
	assert_int_equal(stored.attempt, 0);
	assert_bytes_equal(stored.status, KEEP_BYTES("pending"));
	assert_int_equal(assistant_count("agent_tasks"), 1);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void bad_tasks_name_what_is_wrong(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	const keep_agent_task good = {.task_id = KEEP_BYTES("t"),
				      .agent_name = KEEP_BYTES("a"),
				      .action = KEEP_BYTES("x")};
	keep_agent_task task = good;
	keep_agent_task_list list;
	keep_task_filter filter = {.status = KEEP_BYTES("done")};

	(void)state;
	task.agent_name = none;
	assert_int_equal(keep_assistant_add_task(assistant, &task, T0, NULL, NULL, &err),
			 KEEP_INVALID);
	assert_non_null(strstr(err.message, "agent_name"));
	task = good;
	task.action = KEEP_BYTES("");
	assert_int_equal(keep_assistant_add_task(assistant, &task, T0, NULL, NULL, &err),
			 KEEP_INVALID);
	task = good;
	task.parameters = KEEP_BYTES("{a:1}");
	assert_int_equal(keep_assistant_add_task(assistant, &task, T0, NULL, NULL, &err),
			 KEEP_INVALID);
	assert_non_null(strstr(err.message, "parameters"));
	task = good;
	task.conversation_id = KEEP_BYTES("");
	assert_int_equal(keep_assistant_add_task(assistant, &task, T0, NULL, NULL, &err),
			 KEEP_INVALID);
	task.conversation_id = KEEP_BYTES("none");
	assert_int_equal(keep_assistant_add_task(assistant, &task, T0, NULL, NULL, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(keep_assistant_list_tasks(assistant, &filter, 0, &memory, &list, &err),
			 KEEP_INVALID);
	assert_int_equal(
		keep_assistant_claim_tasks(assistant, none, 0, -1, T0, &memory, &list, &err),
		KEEP_INVALID);
	assert_int_equal(
		keep_assistant_claim_tasks(assistant, none, 1001, 0, T0, &memory, &list, &err),
		KEEP_INVALID);
	add(assistant, "t", "a");
	assert_int_equal(finish(assistant, "t", 0, "done", NULL, NULL), KEEP_INVALID);
	assert_int_equal(finish(assistant, "t", 0, "interrupted", NULL, NULL), KEEP_INVALID);
	assert_int_equal(finish(assistant, "t", 0, "completed", "{", NULL), KEEP_INVALID);
	assert_int_equal(finish(assistant, "none", 0, "completed", NULL, NULL), KEEP_NOT_FOUND);
	assert_int_equal(extend(assistant, "none", 0, T0, NULL), KEEP_NOT_FOUND);
	assert_int_equal(cancel(assistant, "none", T0, NULL), KEEP_NOT_FOUND);
	assert_int_equal(retry(assistant, "none"), KEEP_NOT_FOUND);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_conversation_that_is_deleted_leaves_its_tasks(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_agent_task task = {.task_id = KEEP_BYTES("t"),
				.conversation_id = KEEP_BYTES("c"),
				.agent_name = KEEP_BYTES("a"),
				.action = KEEP_BYTES("x")};
	bool inserted;

	(void)state;
	assistant_conversation(assistant, "c");
	OK(keep_assistant_add_task(assistant, &task, T0, NULL, &inserted, &err));
	assert_bytes_equal(get(assistant, "t", &memory).conversation_id, KEEP_BYTES("c"));
	OK(keep_assistant_delete_conversation(assistant, KEEP_BYTES("c"), NULL, &err));
	assert_null(get(assistant, "t", &memory).conversation_id.data);
	assert_status(assistant, "t", "pending");
	/* Who asks again does not know that. */
	OK(keep_assistant_add_task(assistant, &task, T0, NULL, &inserted, &err));
	assert_false(inserted);
	assistant_conversation(assistant, "d");
	task.conversation_id = KEEP_BYTES("d");
	assert_int_equal(keep_assistant_add_task(assistant, &task, T0, NULL, NULL, &err),
			 KEEP_CONFLICT);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- steps */

enum call { CLAIM, EXTEND, COMPLETE, FAIL, STOP, CANCEL, RETRY, CALLS };
static const char *const names[] = {"claim", "extend", "complete", "fail",
				    "stop",  "cancel", "retry"};

static const char *const statuses[] = {"pending", "running",   "completed",
				       "failed",  "cancelled", "interrupted"};

/* A task in that status; the attempt of its worker. */
static int64_t bring_to(keep_assistant *assistant, const char *id, const char *status)
{
	add(assistant, id, "a");
	if (strcmp(status, "pending") == 0)
		return 0;
	assert_int_equal(claim(assistant, "a", T0, NULL), 1);
	if (strcmp(status, "interrupted") == 0)
		assert_int_equal(claim(assistant, "a", T0 + 2 * MINUTE, NULL), 0);
	else if (strcmp(status, "running") != 0)
		assert_int_equal(finish(assistant, id, 1, status, NULL, NULL), KEEP_OK);
	assert_status(assistant, id, status);
	return 1;
}

static keep_status make_call(keep_assistant *assistant, const char *id, enum call call,
			     int64_t attempt)
{
	const char *claimed = NULL;

	switch (call) {
	case CLAIM:
		return claim(assistant, "a", T0 + 1, &claimed) && strcmp(claimed, id) == 0
			       ? KEEP_OK
			       : KEEP_CONFLICT;
	case EXTEND: return extend(assistant, id, attempt, T0 + 1, NULL);
	case COMPLETE: return finish(assistant, id, attempt, "completed", NULL, NULL);
	case FAIL: return finish(assistant, id, attempt, "failed", NULL, NULL);
	case STOP: return finish(assistant, id, attempt, "cancelled", NULL, NULL);
	case CANCEL: return cancel(assistant, id, T0 + 1, NULL);
	default: return retry(assistant, id);
	}
}

static void every_pair_of_status_and_call_is_declared(void **state)
{
	/* What it is afterwards; NULL: CONFLICT, and nothing changes. */
	static const char *const after[6][CALLS] = {
		/* pending */ {"running", NULL, NULL, NULL, NULL, "cancelled", NULL},
		/* running */
		{NULL, "running", "completed", "failed", "cancelled", "running", NULL},
		/* completed */ {NULL, NULL, "completed", NULL, NULL, NULL, NULL},
		/* failed */ {NULL, NULL, NULL, "failed", NULL, NULL, "pending"},
		/* cancelled */ {NULL, NULL, NULL, NULL, "cancelled", "cancelled", NULL},
		/* interrupted */ {NULL, NULL, NULL, NULL, NULL, NULL, "pending"},
	};
	keep_assistant *assistant = assistant_fresh();

	(void)state;
	for (size_t s = 0; s < KP_COUNT(statuses); s++)
		for (enum call call = CLAIM; call < CALLS; call++) {
			int64_t attempt = bring_to(assistant, "t", statuses[s]);
			char before[200];
			keep_status status;

			snprintf(before, sizeof before, "%s",
				 assistant_sql("SELECT status || attempt || CAST(lease_until IS "
					       "NULL AS text) || COALESCE(error_message, '-') FROM "
					       "agent_tasks"));
			status = make_call(assistant, "t", call, attempt);
			CHECK(status == (after[s][call] ? KEEP_OK : KEEP_CONFLICT), "%s of %s: %s",
			      names[call], statuses[s], keep_status_name(status));
			assert_status(assistant, "t",
				      after[s][call] ? after[s][call] : statuses[s]);
			if (!after[s][call])
				assert_string_equal(
					assistant_sql("SELECT status || attempt || "
						      "CAST(lease_until IS NULL AS text) || "
						      "COALESCE(error_message, '-') FROM "
						      "agent_tasks"),
					before);
			assistant_sql("DELETE FROM agent_tasks");
		}
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void the_attempt_fences_who_is_late(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;

	(void)state;
	add(assistant, "t", "a");
	assert_int_equal(claim(assistant, NULL, T0, NULL), 1);
	assert_int_equal(claim(assistant, NULL, T0 + MINUTE, NULL), 0);
	assert_status(assistant, "t", "interrupted");
	assert_bytes_equal(get(assistant, "t", &memory).error_message,
			   KEEP_BYTES("the lease ran out"));
	assert_int_equal(retry(assistant, "t"), KEEP_OK);
	assert_int_equal(finish(assistant, "t", 1, "cancelled", NULL, NULL), KEEP_CONFLICT);
	assert_int_equal(claim(assistant, NULL, T0 + MINUTE, NULL), 1);
	assert_int_equal(get(assistant, "t", &memory).attempt, 2);
	assert_int_equal(finish(assistant, "t", 1, "completed", "1", NULL), KEEP_CONFLICT);
	assert_int_equal(extend(assistant, "t", 1, T0, NULL), KEEP_CONFLICT);
	assert_int_equal(finish(assistant, "t", 3, "completed", "1", NULL), KEEP_CONFLICT);
	assert_int_equal(finish(assistant, "t", 2, "completed", "{\"a\": 1}", NULL), KEEP_OK);
	/* The same report again; another one; a late one. */
	assert_int_equal(finish(assistant, "t", 2, "completed", "{\"a\": 1}", NULL), KEEP_OK);
	assert_int_equal(finish(assistant, "t", 2, "completed", "{}", NULL), KEEP_CONFLICT);
	assert_int_equal(finish(assistant, "t", 2, "failed", NULL, "late"), KEEP_CONFLICT);
	assert_bytes_equal(get(assistant, "t", &memory).result, KEEP_BYTES("{\"a\": 1}"));
	assert_null(get(assistant, "t", &memory).lease_owner.data);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_lease_that_is_extended_does_not_run_out(void **state)
{
	keep_assistant *assistant = assistant_fresh();

	(void)state;
	add(assistant, "t", "a");
	assert_int_equal(claim(assistant, NULL, T0, NULL), 1);
	for (int64_t at = T0; at < T0 + 10 * MINUTE; at += MINUTE / 2) {
		assert_int_equal(extend(assistant, "t", 1, at, NULL), KEEP_OK);
		assert_int_equal(claim(assistant, NULL, at + MINUTE / 2, NULL), 0);
		assert_status(assistant, "t", "running");
	}
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_cancel_reaches_a_running_task_at_its_next_extend(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	bool asked = true, is_final = true;

	(void)state;
	add(assistant, "t", "a");
	assert_int_equal(claim(assistant, NULL, T0, NULL), 1);
	assert_int_equal(extend(assistant, "t", 1, T0, &asked), KEEP_OK);
	assert_false(asked);
	assert_int_equal(cancel(assistant, "t", T0 + 1, &is_final), KEEP_OK);
	assert_false(is_final);
	assert_int_equal(cancel(assistant, "t", T0 + 2, &is_final), KEEP_OK);
	assert_int_equal(get(assistant, "t", &memory).cancel_asked_at, T0 + 1);
	assert_int_equal(extend(assistant, "t", 1, T0, &asked), KEEP_OK);
	assert_true(asked);
	assert_int_equal(finish(assistant, "t", 1, "cancelled", NULL, NULL), KEEP_OK);
	assert_int_equal(finish(assistant, "t", 1, "cancelled", NULL, NULL), KEEP_OK);
	assert_bytes_equal(get(assistant, "t", &memory).error_message, KEEP_BYTES("enough"));
	assert_int_equal(cancel(assistant, "t", T0, &is_final), KEEP_OK);
	assert_true(is_final);
	/* Nobody has it any more: nobody would learn of it. */
	add(assistant, "u", "a");
	assert_int_equal(claim(assistant, NULL, T0, NULL), 1);
	assert_int_equal(cancel(assistant, "u", T0 + 2 * MINUTE, &is_final), KEEP_OK);
	assert_true(is_final);
	assert_status(assistant, "u", "cancelled");
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- lists, order, waiting */

static void the_oldest_task_of_the_agent_is_claimed_first(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_agent_task_list list = {NULL, 0};
	keep_error err = KEEP_ERROR_INIT;
	const char *id;

	(void)state;
	add(assistant, "1", "a");
	add(assistant, "2", "b");
	add(assistant, "3", "a");
	add(assistant, "4", "a");
	assert_int_equal(claim(assistant, "b", T0, &id), 1);
	assert_string_equal(id, "2");
	assert_int_equal(claim(assistant, "b", T0, &id), 0);
	OK(keep_assistant_claim_tasks(assistant, none, 2, 0, T0, &memory, &list, &err));
	assert_int_equal(list.count, 2);
	assert_bytes_equal(list.items[0].task_id, KEEP_BYTES("1"));
	assert_bytes_equal(list.items[1].task_id, KEEP_BYTES("3"));
	assert_bytes_equal(list.items[1].status, KEEP_BYTES("running"));
	assert_bytes_equal(list.items[1].parameters, KEEP_BYTES("{\"x\": 1.10}"));
	assert_bytes_equal(list.items[1].lease_by, KEEP_BYTES("keep"));
	assert_int_equal(list.items[1].attempt, 1);
	assert_int_equal(list.items[1].lease_until, T0 + 10 * MINUTE);
	assert_int_equal(list.items[1].started_at, T0);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void assert_list(keep_assistant *assistant, const char *conversation, const char *agent,
			const char *status, int64_t before_id, const char *expected)
{
	keep_task_filter filter = {.conversation_id =
					   conversation ? keep_bytes_of(conversation) : none,
				   .agent_name = agent ? keep_bytes_of(agent) : none,
				   .status = status ? keep_bytes_of(status) : none,
				   .before_id = before_id};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_agent_task_list list = {NULL, 0};
	keep_error err = KEEP_ERROR_INIT;
	char found[100] = "";

	OK(keep_assistant_list_tasks(assistant, &filter, 0, &memory, &list, &err));
	for (size_t i = 0; i < list.count; i++)
		snprintf(found + strlen(found), sizeof found - strlen(found), "%" KP_PRI,
			 KP_ARG(list.items[i].task_id));
	CHECK(strcmp(found, expected) == 0, "%s %s %s: %s instead of %s",
	      conversation ? conversation : "-", agent ? agent : "-", status ? status : "-", found,
	      expected);
	keep_memory_release(&memory);
}

static void lists_take_every_combination_of_filters_newest_first(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char id[2] = "a";

	(void)state;
	assistant_conversation(assistant, "c");
	assistant_conversation(assistant, "d");
	for (int i = 0; i < 8; i++) {
		keep_agent_task task = {.task_id = keep_bytes_of(id),
					.conversation_id =
						i & 1 ? KEEP_BYTES("c") : KEEP_BYTES("d"),
					.agent_name = i & 2 ? KEEP_BYTES("x") : KEEP_BYTES("y"),
					.action = KEEP_BYTES("z")};

		OK(keep_assistant_add_task(assistant, &task, T0, NULL, NULL, &err));
		if (i & 4)
			assert_int_equal(cancel(assistant, id, T0, NULL), KEEP_OK);
		id[0]++;
	}
	assert_list(assistant, NULL, NULL, NULL, 0, "hgfedcba");
	assert_list(assistant, "c", NULL, NULL, 0, "hfdb");
	assert_list(assistant, NULL, "x", NULL, 0, "hgdc");
	assert_list(assistant, NULL, NULL, "cancelled", 0, "hgfe");
	assert_list(assistant, "c", "x", NULL, 0, "hd");
	assert_list(assistant, "c", NULL, "pending", 0, "db");
	assert_list(assistant, NULL, "x", "pending", 0, "dc");
	assert_list(assistant, "d", "y", "cancelled", 0, "e");
	assert_list(assistant, "e", NULL, NULL, 0, "");
	assert_list(assistant, NULL, NULL, NULL, get(assistant, "d", &memory).id, "cba");
	assert_list(assistant, NULL, "x", NULL, get(assistant, "g", &memory).id, "dc");
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void an_idle_claim_writes_nothing(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_agent_task_list list;
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_conn *conn;

	(void)state;
	add(assistant, "t", "a");
	assert_int_equal(claim(assistant, NULL, T0, NULL), 1);
	conn = assistant_connect_behind();
	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	if (!assistant_is_file())
		OK(kp_sql_script(conn, "LOCK TABLE assistant_turns IN EXCLUSIVE MODE", &err));
	/* The writer's turn is taken: a change would wait, and fail. */
	assert_int_equal(claim(assistant, NULL, T0 + 1, NULL), 0);
	kp_sql_rollback(conn);
	kp_sql_close(&conn);
	keep_assistant_close(&assistant);
	options.read_only = options.without_keys = true;
	OK(assistant_open_with(&options, &assistant, &err));
	assert_int_equal(
		keep_assistant_claim_tasks(assistant, none, 0, 0, T0, &memory, &list, &err),
		KEEP_DENIED);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_task_is_asked_for_once),
		cmocka_unit_test(bad_tasks_name_what_is_wrong),
		cmocka_unit_test(a_conversation_that_is_deleted_leaves_its_tasks),
		cmocka_unit_test(every_pair_of_status_and_call_is_declared),
		cmocka_unit_test(the_attempt_fences_who_is_late),
		cmocka_unit_test(a_lease_that_is_extended_does_not_run_out),
		cmocka_unit_test(a_cancel_reaches_a_running_task_at_its_next_extend),
		cmocka_unit_test(the_oldest_task_of_the_agent_is_claimed_first),
		cmocka_unit_test(lists_take_every_combination_of_filters_newest_first),
		cmocka_unit_test(an_idle_claim_writes_nothing),
	};
	int failed;

	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}

/*
 * test_assistant_care_faults.c - retention, optimising, rebuilding, migrations of the user's own
 * and adoption, with the Nth thing in them failing, N = 1, 2, …
 *
 *     test_assistant_care_faults sqlite|postgres      KEEP_TORTURE=all: every N
 *
 * These work in batches or files, each a transaction of its own. So a round that failed has done a
 * part of them, each whole; nothing that was to stay is gone, the chain verifies, and the same call
 * again, without faults, does the rest. Otherwise a sample of them.
 */
#include "assistant_rows.h"
#include "source_file.h"
#include "sqlite_faults.h"
#include "torture.h"

#include "keep/schedule.h"
#include "sql/sql.h"

#include <sys/stat.h>

static keep_assistant *assistant;
static char folder[300], source[300];

/* What is cared for, and what must hold. */
struct topic {
	const char *name;
	void (*prepare)(void); /* before each round, without faults */
	keep_status (*run)(keep_error *err);
	void (*check_part)(keep_status status); /* after the round */
	void (*check_all)(void);                /* after a clean one behind it */
	bool reads_files;                       /* file calls fail on a server's store, too */
};

static long next_nth(long nth)
{
	const char *wanted = getenv("KEEP_TORTURE");
	long every = assistant_is_file() ? 8 : 3, part = assistant_is_file() ? 2 : 1;

	return (wanted && strcmp(wanted, "all") == 0) || nth < every ? nth + 1 : nth + nth / part;
}

static kp_sql_conn *behind; /* looks at the tables of the present store */

static void look_behind(void)
{
	if (!behind)
		behind = assistant_connect_behind();
}

static void run_sql(const char *sql)
{
	keep_error err = KEEP_ERROR_INIT;

	look_behind();
	OK(kp_sql_begin(behind, KP_SQL_WRITE, &err));
	OK(kp_sql_script(behind, sql, &err));
	OK(kp_sql_commit(behind, &err));
}

/* How many rows a table has; also "messages WHERE …". */
static int64_t count_rows(const char *table)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	int64_t count = 0;
	char sql[300];

	(void)snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", table);
	look_behind();
	OK(kp_sql_begin(behind, KP_SQL_READ, &err));
	OK(kp_sql_prepare(behind, sql, &stmt, &err));
	OK(kp_sql_step(stmt, &has_row, &err));
	OK(kp_sql_column_int(stmt, 0, &count, &err));
	kp_sql_finish(&stmt);
	kp_sql_rollback(behind);
	return count;
}

static void close_store(void)
{
	kp_sql_close(&behind);
	keep_assistant_close(&assistant);
	keep_zone_forget();
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- retention */

#define NUMBERS "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9) "

static void prepare_rows(void)
{
	keep_error err = KEEP_ERROR_INIT;

	run_sql("DELETE FROM agent_tasks; DELETE FROM job_executions; DELETE FROM future_tasks;"
		"DELETE FROM conversation_memory;");
	run_sql(NUMBERS
		"INSERT INTO agent_tasks (task_id, conversation_id, agent_name, \"action\", "
		"status) SELECT 'p' || i, NULL, 'writer', 'write', 'pending' FROM n;" NUMBERS
		"INSERT INTO agent_tasks (task_id, conversation_id, agent_name, \"action\", "
		"status) SELECT 't' || i, NULL, 'writer', 'write', 'completed' FROM n;" NUMBERS
		"INSERT INTO job_executions (job_id, job_type, started_at, status, "
		"scheduled_for, attempt) SELECT 'j', 'cron', '2026-01-01T00:00:00.000Z', "
		"'success', '2026-01-01T00:00:00.000Z', i FROM n;" NUMBERS
		"INSERT INTO future_tasks (task_id, name, scheduled_time, job_type, prompt, "
		"status, completed_at) SELECT 'f' || i, 'x', '2020-01-01T00:00:00.000Z', "
		"'prompt', 'say', 'completed', '2020-01-01T00:00:00.000Z' FROM n;" NUMBERS
		"INSERT INTO conversation_memory (conversation_id, memory_type, content) "
		"SELECT 'talk', 'short_term', '{\"n\": 1}' FROM n;");
	OK(keep_assistant_set_setting(assistant, KEEP_BYTES("retention.executions_per_job"),
				      KEEP_BYTES("3"), NULL, &err));
	OK(keep_assistant_set_setting(assistant,
				      KEEP_BYTES("retention.agent_tasks_per_conversation"),
				      KEEP_BYTES("4"), NULL, &err));
	OK(keep_assistant_set_setting(assistant,
				      KEEP_BYTES("retention.short_term_per_conversation"),
				      KEEP_BYTES("5"), NULL, &err));
}

static keep_status retain(keep_error *err)
{
	keep_retention_options options = KEEP_RETENTION_OPTIONS_INIT;
	keep_retention_report report;

	options.batch = 4;
	return keep_assistant_retain(assistant, &options, NULL, &report, err);
}

static void check_kept(keep_status status)
{
	(void)status;
	assert_int_equal(count_rows("agent_tasks WHERE status = 'pending'"), 9);
	assert_in_range(count_rows("agent_tasks WHERE status = 'completed'"), 4, 9);
	assert_in_range(count_rows("job_executions"), 3, 9);
	assert_int_equal(count_rows("job_executions WHERE attempt > 6"), 3);
	assert_in_range(count_rows("conversation_memory"), 5, 9);
}

static void check_retained(void)
{
	check_kept(KEEP_OK);
	assert_int_equal(count_rows("agent_tasks WHERE status = 'completed'"), 4);
	assert_int_equal(count_rows("job_executions"), 3);
	assert_int_equal(count_rows("future_tasks"), 0);
	assert_int_equal(count_rows("conversation_memory"), 5);
}

/* ---------------------------------------------------------------- search */

static void prepare_texts(void)
{
	(void)assistant_append(assistant, "talk", "a ripe fig");
}

static keep_status optimize(keep_error *err)
{
	return keep_assistant_optimize(assistant, err);
}

static keep_status rebuild(keep_error *err)
{
	return keep_assistant_rebuild_search(assistant, err);
}

static void check_found(void)
{
	const float asked[2] = {1, 0};
	const keep_search_query query = {.text = KEEP_BYTES("plum"),
					 .vector = {(const char *)asked, sizeof asked},
					 .model = KEEP_BYTES("one")};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_message_matches messages = {.count = 0};
	keep_search_matches documents = {.count = 0};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_assistant_search_messages(assistant, KEEP_BYTES("fig"), KEEP_BYTES("talk"), false,
					  1000, &memory, &messages, &err));
	assert_int_equal(messages.count, count_rows("messages"));
	OK(keep_assistant_find(assistant, &query, &memory, &documents, &err));
	assert_int_equal(documents.count, 2);
	assert_bytes_equal(documents.items[0].document.source_id, KEEP_BYTES("near"));
	assert_int_equal(documents.items[0].text_rank, 1);
	keep_memory_release(&memory);
}

static void check_part_found(keep_status status)
{
	(void)status;
	check_found();
}

/* ---------------------------------------------------------------- migrations */

static void put_file(const char *name, const char *sql)
{
	char path[400];
	FILE *file;

	(void)snprintf(path, sizeof path, "%s/%s", folder, name);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(sql, 1, strlen(sql), file), strlen(sql));
	assert_int_equal(fclose(file), 0);
}

/* Each time three files of other numbers and tables than before. */
static void prepare_files(void)
{
	static int number;
	char name[100], sql[200];

	for (int i = 0; i < 3; i++) {
		(void)snprintf(name, sizeof name, "%06d_make.sql", ++number);
		(void)snprintf(sql, sizeof sql,
			       "CREATE TABLE mine_%d (id INTEGER PRIMARY KEY);"
			       "INSERT INTO mine_%d (id) VALUES (%d);",
			       number, number, number);
		put_file(name, sql);
	}
}

static keep_status migrate(keep_error *err)
{
	int64_t applied = 0;

	return keep_assistant_migrate(assistant, folder, NULL, &applied, err);
}

/* A file and its row are there together, or not at all. */
static int64_t count_applied(void)
{
	int64_t rows = count_rows("schema_migrations WHERE version LIKE '%_make'");
	const char *tables =
		assistant_is_file()
			? "sqlite_schema WHERE type = 'table' AND name LIKE 'mine#_%' ESCAPE '#'"
			: "information_schema.tables WHERE table_schema = current_schema() AND "
			  "table_name LIKE 'mine#_%' ESCAPE '#'";

	assert_int_equal(rows, count_rows(tables));
	return rows;
}

static void check_migrated_part(keep_status status)
{
	(void)status;
	(void)count_applied();
}

static void check_migrated(void)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_migration_states states = {NULL, 0};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_assistant_migrations(assistant, folder, true, &memory, &states, &err));
	assert_int_equal(states.count, 0);
	keep_memory_release(&memory);
	assert_int_equal(count_applied() % 3, 0);
}

/* ---------------------------------------------------------------- adoption */

static void begin_store(void)
{
	const float values[2][2] = {{1, 0}, {0, 1}};
	keep_document document = {.source = KEEP_BYTES("s"), .model = KEEP_BYTES("one")};
	keep_error err = KEEP_ERROR_INIT;

	assistant = assistant_fresh();
	(void)assistant_conversation(assistant, "talk");
	for (size_t i = 0; i < 2; i++) {
		document.source_id = i ? KEEP_BYTES("far") : KEEP_BYTES("near");
		document.content = i ? KEEP_BYTES("a pear") : KEEP_BYTES("a plum");
		document.embedding = (keep_bytes){(const char *)values[i], sizeof values[i]};
		OK(keep_assistant_index(assistant, &document, KEEP_NOW, NULL, &err));
	}
}

/* Only a store with nothing in it adopts. */
static void prepare_new(void)
{
	if (assistant && count_rows("messages") + count_rows("search_index") == 0)
		return;
	close_store();
	assistant = assistant_fresh();
}

static keep_status adopt(keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_adoption_report report;
	keep_status status = keep_assistant_adopt(assistant, source, KEEP_BYTES("mini"), NULL,
						  &memory, &report, err);

	keep_memory_release(&memory);
	/* Stored by the round before, whose answer was lost. */
	return status == KEEP_CONFLICT && count_rows("messages") > 0 ? KEEP_OK : status;
}

static int64_t count_adopted(void)
{
	return count_rows("messages") + count_rows("adopted_rows") + count_rows("cron_jobs") +
	       count_rows("conversation_memory");
}

static int64_t adopted_rows; /* of a clean round */

static void check_adopted(void)
{
	assert_true(adopted_rows > 10);
	assert_int_equal(count_adopted(), adopted_rows);
}

static void check_adopted_or_not(keep_status status)
{
	int64_t rows = count_adopted();

	if (!adopted_rows && status == KEEP_OK)
		adopted_rows = rows;
	CHECK(rows == 0 ? status != KEEP_OK
			: (status == KEEP_OK || status == KEEP_UNCERTAIN) && rows == adopted_rows,
	      "%s with %lld rows", keep_status_name(status), (long long)rows);
}

/* ---------------------------------------------------------------- rounds */

static const struct topic topics[] = {
	{"retain", prepare_rows, retain, check_kept, check_retained, false},
	{"optimize", prepare_texts, optimize, check_part_found, check_found, false},
	{"rebuild_search", prepare_texts, rebuild, check_part_found, check_found, false},
	{"migrate", prepare_files, migrate, check_migrated_part, check_migrated, true},
	{"adopt", prepare_new, adopt, check_adopted_or_not, check_adopted, true},
};

static void check_chain(void)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_audit_report report;

	OK(keep_assistant_verify_audit(assistant, &memory, &report, &err));
	CHECK(report.is_intact, "%" KP_PRI, KP_ARG(report.reason));
	keep_memory_release(&memory);
}

/* False: nothing fired. */
static bool run_round(const struct topic *topic, enum kp_fault_kind kind, long nth, bool persistent,
		      unsigned expected)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;
	long fired;

	topic->prepare();
	kp_fault_arm(kind, nth, persistent);
	status = topic->run(&err);
	fired = kp_fault_disarm(kind);
	CHECK(status == KEEP_OK || (fired && (expected & MAY(status))), "%s, failure %ld: %s: %s",
	      topic->name, nth, keep_status_name(status), err.message);
	topic->check_part(status);
	if (status != KEEP_OK)
		CHECK(topic->run(&err) == KEEP_OK, "%s after failure %ld: %s", topic->name, nth,
		      err.message);
	topic->check_all();
	return fired > 0;
}

static void fail_topic(const struct topic *topic, enum kp_fault_kind kind, unsigned expected)
{
	long rounds = 0;

	(void)snprintf(folder, sizeof folder, "%s/files-%s-%d", assistant_folder(), topic->name,
		       (int)kind);
	assert_int_equal(mkdir(folder, 0700), 0);
	begin_store();
	/* A clean one first. */
	(void)run_round(topic, kind, TORTURE_MAX, false, 0);
	for (int persistent = 0; persistent <= 1; persistent++)
		for (long nth = 1; run_round(topic, kind, nth, persistent, expected);
		     nth = next_nth(nth))
			rounds++;
	check_chain();
	close_store();
	print_message("%s: %ld rounds\n", topic->name, rounds);
	assert_true(rounds > 0);
}

static void fail_each(enum kp_fault_kind kind, unsigned expected)
{
	for (size_t i = 0; i < KP_COUNT(topics); i++)
		if (kind != KP_FAULT_FILE || assistant_is_file() || topics[i].reads_files)
			fail_topic(&topics[i], kind, expected);
}

/* ---------------------------------------------------------------- the tests */

static void a_failing_allocation_leaves_whole_steps(void **state)
{
	unsigned expected = MAY(KEEP_NO_MEMORY) | MAY(KEEP_UNCERTAIN);

	(void)state;
	fail_each(KP_FAULT_ALLOC,
		  assistant_is_file() ? expected : expected | MAY(KEEP_UNAVAILABLE));
}

static void a_failing_driver_call_leaves_whole_steps(void **state)
{
	(void)state;
	fail_each(KP_FAULT_DRIVER, MAY(KEEP_UNAVAILABLE));
}

static void a_lost_answer_to_a_commit_leaves_whole_steps(void **state)
{
	(void)state;
	fail_each(KP_FAULT_COMMIT, MAY(KEEP_UNCERTAIN));
}

static void a_failing_file_call_leaves_whole_steps(void **state)
{
	(void)state;
	sqlite_faults_set_write_code(SQLITE_FULL);
	/* A copy that cannot be read is taken for a damaged one. */
	fail_each(KP_FAULT_FILE, MAY(KEEP_CORRUPT) | MAY(KEEP_UNAVAILABLE) | MAY(KEEP_FULL) |
					 MAY(KEEP_BUSY) | MAY(KEEP_UNCERTAIN) |
					 MAY(KEEP_NO_MEMORY));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failing_allocation_leaves_whole_steps),
		cmocka_unit_test(a_failing_driver_call_leaves_whole_steps),
		cmocka_unit_test(a_lost_answer_to_a_commit_leaves_whole_steps),
		cmocka_unit_test(a_failing_file_call_leaves_whole_steps),
	};
	int failed;

	sqlite_faults_install();
	assistant_begin(argc, argv);
	(void)snprintf(source, sizeof source, "%s/source.db", assistant_folder());
	source_make(source, "source_assistant.sql");
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}

/* mailbox_faults.c - see mailbox_faults.h. */
#include "mailbox_faults.h"

#include "mailbox/mailbox_private.h"
#include "sqlite_faults.h"
#include "temp_folder.h"

#include <ctype.h>
#include <sqlite3.h>
#include <unistd.h>

enum { EVERY_MAX = 6, SESSIONS_MAX = 8 };

/* Of a step: all, and without the marks that a failure may leave. */
enum view { WHOLE, WITHOUT_MARKS, VIEWS };

static const mailbox_step *steps;
static size_t step_count;
static char *contents[MAILBOX_STEPS_MAX + 1][VIEWS]; /* after so many steps */
static uint64_t random_at;

/* ---------------------------------------------------------------- a world that repeats itself */

static int64_t stand_still(void *ctx)
{
	(void)ctx;
	return MAILBOX_NOW;
}

static void count_bytes(void *ctx, void *out, size_t size)
{
	(void)ctx;
	for (size_t i = 0; i < size; i++)
		((unsigned char *)out)[i] = (unsigned char)next_random(&random_at);
}

static bool wants_all(void)
{
	const char *wanted = getenv("KEEP_TORTURE");

	return wanted && strcmp(wanted, "all") == 0;
}

/* ---------------------------------------------------------------- the content of a mailbox */

/* What two rounds, or a step and its repetition, may have differently. */
static bool is_of_the_moment(const char *table, const char *column, enum view view)
{
	static const char *const moments[] = {"host_turns.n", "sessions.incarnation",
					      "session_host.incarnation", "session_host.marked",
					      "processing_ack.incarnation"};
	char name[100];
	bool is = false;

	snprintf(name, sizeof name, "%s.%s", table, column);
	for (size_t i = 0; i < KP_COUNT(moments); i++)
		is = is || strcmp(name, moments[i]) == 0;
	return is || (view == WITHOUT_MARKS && strcmp(name, "sessions.due_at") == 0);
}

/* Two rounds make other UUIDs (they only grow): each becomes zeros. */
static void blank_ids(keep_buffer *text)
{
	static const char shape[] = "xxxxxxxx-xxxx-7xxx-xxxx-xxxxxxxxxxxx";

	for (size_t at = 0; at + sizeof shape <= text->len; at++) {
		size_t same = 0;

		while (same < sizeof shape - 1 &&
		       (shape[same] == 'x' ? isxdigit((unsigned char)text->data[at + same]) != 0
					   : text->data[at + same] == shape[same]))
			same++;
		if (same == sizeof shape - 1)
			memset(text->data + at, '0', same);
	}
}

/* Of a table or a column: has this kind of mailbox got it? */
static bool is_here(uint16_t flags)
{
	return !(flags & (mailbox_is_file() ? KP_FIELD_POSTGRES : KP_FIELD_SQLITE));
}

/* SQLite: what is in a session's files does not name the session. */
static bool has_column(const kp_field *field)
{
	return is_here(field->flags) &&
	       !(mailbox_is_file() && strcmp(field->name, "session_id") == 0 &&
		 field->flags & KP_FIELD_KEY);
}

static bool is_told_shortly(const kp_record *record, const kp_field *field)
{
	return strcmp(field->name, "owner") == 0 ||
	       (strcmp(field->name, "due_at") == 0 && strcmp(record->table, "sessions") == 0);
}

/* SELECT one text for each row, in the order of the table's key. Of an owner, which is a process
   and the number of an agent in it, and of a session's mark, which may be sooner than it needs to
   be, it is told whether there is one. */
static void format_question(const kp_record *record, enum view view, char sql[4096])
{
	size_t len = (size_t)snprintf(sql, 4096, "SELECT '%s'", record->table);
	char order[200] = "";

	for (size_t i = 0; i < record->field_count; i++) {
		const kp_field *field = &record->fields[i];

		if (!has_column(field))
			continue;
		if (field->flags & KP_FIELD_KEY)
			snprintf(order + strlen(order), sizeof order - strlen(order), "%s%s",
				 order[0] ? ", " : "", field->name);
		if (is_of_the_moment(record->table, field->name, view))
			continue;
		len += (size_t)snprintf(
			sql + len, 4096 - len,
			is_told_shortly(record, field)
				? " || '|%s=' || CASE WHEN CAST(%s AS text) = '' THEN '' "
				  "WHEN %s IS NULL THEN '-' ELSE 'some' END"
				: " || '|%s=' || coalesce(CAST(%s AS text), '-')%.0s",
			field->name, field->name, field->name);
	}
	snprintf(sql + len, 4096 - len, " FROM %s ORDER BY %s", record->table, order);
}

static void add_table(kp_sql_conn *conn, const kp_record *record, enum view view, keep_buffer *text)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_stmt *stmt = NULL;
	bool has_row = false;
	char sql[4096];

	format_question(record, view, sql);
	OK(kp_sql_prepare(conn, sql, &stmt, &err));
	while (true) {
		keep_bytes row;

		OK(kp_sql_step(stmt, &has_row, &err));
		if (!has_row)
			break;
		OK(kp_sql_column_bytes(stmt, 0, KP_TEXT, &row, &err));
		OK(kp_buffer_append(text, row, &err));
		OK(kp_buffer_append(text, KEEP_BYTES("\n"), &err));
	}
	kp_sql_finish(&stmt);
}

static void add_tables(kp_sql_conn *conn, const kp_record *const *records, size_t count,
		       enum view view, keep_buffer *text)
{
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_sql_begin(conn, KP_SQL_READ, &err));
	for (size_t i = 0; i < count; i++)
		if (is_here(records[i]->flags))
			add_table(conn, records[i], view, text);
	kp_sql_rollback(conn);
}

/* SQLite: the path of the mailbox. */
static const char *base(void)
{
	return mailbox_url() + strlen("sqlite:");
}

/* One file of a session. */
static void add_file(const char *place, const char *name, const kp_record *const *records,
		     size_t count, enum view view, keep_buffer *text)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_conn *conn = NULL;
	char path[700];
	kp_sql_options options = {
		.location = path, .timeout_ms = 10000, .journal = KP_JOURNAL_AS_IS};

	snprintf(path, sizeof path, "%s/sessions/%s/%s", base(), place, name);
	OK(kp_sql_open(&kp_sql_sqlite, &options, &conn, &err));
	add_tables(conn, records, count, view, text);
	kp_sql_close(&conn);
}

/* SQLite: "<agent group>/<session>" of each, in the order in which they were made. */
static size_t list_sessions(kp_sql_conn *conn, char places[SESSIONS_MAX][2 * KP_SEGMENT_SIZE])
{
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_stmt *stmt = NULL;
	size_t count = 0;
	bool has_row = false;

	OK(kp_sql_begin(conn, KP_SQL_READ, &err));
	OK(kp_sql_prepare(conn, "SELECT agent_group_id || '/' || id FROM sessions ORDER BY id",
			  &stmt, &err));
	while (true) {
		keep_bytes place;

		OK(kp_sql_step(stmt, &has_row, &err));
		if (!has_row)
			break;
		assert_true(count < SESSIONS_MAX);
		OK(kp_sql_column_bytes(stmt, 0, KP_TEXT, &place, &err));
		snprintf(places[count++], sizeof places[0], "%.*s", (int)place.len, place.data);
	}
	kp_sql_finish(&stmt);
	kp_sql_rollback(conn);
	return count;
}

static void read_text(enum view view, keep_buffer *text)
{
	kp_sql_conn *conn = mailbox_connect_behind(NULL, NULL);
	char places[SESSIONS_MAX][2 * KP_SEGMENT_SIZE];
	size_t count = mailbox_is_file() ? list_sessions(conn, places) : 0;

	add_tables(conn, kp_mailbox_records, KP_MAILBOX_RECORD_COUNT, view, text);
	if (!mailbox_is_file()) {
		add_tables(conn, kp_mailbox_inbound_records, KP_MAILBOX_INBOUND_RECORD_COUNT, view,
			   text);
		add_tables(conn, kp_mailbox_outbound_records, KP_MAILBOX_OUTBOUND_RECORD_COUNT,
			   view, text);
	}
	kp_sql_close(&conn);
	for (size_t i = 0; i < count; i++) {
		add_file(places[i], "inbound.db", kp_mailbox_inbound_records,
			 KP_MAILBOX_INBOUND_RECORD_COUNT, view, text);
		add_file(places[i], "outbound.db", kp_mailbox_outbound_records,
			 KP_MAILBOX_OUTBOUND_RECORD_COUNT, view, text);
	}
	blank_ids(text);
}

/* The caller's, of malloc. */
static char *read_content(enum view view)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer text = KEEP_BUFFER_INIT;
	char *copy;

	read_text(view, &text);
	OK(kp_buffer_append(&text, (keep_bytes){"", 1}, &err));
	copy = strdup(text.data);
	keep_buffer_release(&text);
	CHECK(copy, "no memory");
	return copy;
}

static bool is_content(size_t done, enum view view)
{
	char *found = read_content(view);
	bool is = strcmp(found, contents[done][view]) == 0;

	free(found);
	return is;
}

/* A server may still be busy with what came before its connection broke: give it a moment. */
static bool becomes_content(size_t done, enum view view)
{
	for (int i = 0; i < 30; i++) {
		if (is_content(done, view))
			return true;
		if (mailbox_is_file())
			return false;
		usleep(10000);
	}
	return false;
}

/* Lines of `some` that are not in `others`. */
static void show_lines(const char *title, const char *some, const char *others)
{
	while (*some) {
		size_t len = strcspn(some, "\n");
		char line[8000];

		snprintf(line, sizeof line, "%.*s\n", (int)len, some);
		if (!strstr(others, line))
			fprintf(stderr, "%s %s", title, line);
		some += len + 1;
	}
}

/* What is there, held against what is there after so many steps. */
static void show_difference(size_t done)
{
	char *found = read_content(WHOLE);

	show_lines("found:  ", found, contents[done][WHOLE]);
	show_lines("missing:", contents[done][WHOLE], found);
	free(found);
}

/* ---------------------------------------------------------------- the first steps */

keep_status mailbox_step_open(mailbox_world *world, keep_error *err)
{
	keep_mailbox_options options = KEEP_MAILBOX_OPTIONS_INIT;

	options.timeout_ms = 10000;
	return mailbox_open_with(&options, &world->mailbox, err);
}

keep_status mailbox_step_resolve(mailbox_world *world, keep_error *err)
{
	keep_session_place place = {.agent_group_id = KEEP_BYTES(MAILBOX_AGENT),
				    .messaging_group_id = KEEP_BYTES(MAILBOX_CHAT),
				    .session_mode = KEEP_BYTES("shared")};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_session session;
	keep_status status = keep_mailbox_resolve_session(world->mailbox, &place, KEEP_NOW, &memory,
							  &session, NULL, err);

	if (status == KEEP_OK)
		snprintf(world->session, sizeof world->session, "%.*s", (int)session.id.len,
			 session.id.data);
	keep_memory_release(&memory);
	return status;
}

keep_status mailbox_step_wake(mailbox_world *world, keep_error *err)
{
	return keep_mailbox_wake(world->mailbox, keep_bytes_of(world->session), KEEP_NOW, NULL,
				 err);
}

keep_status mailbox_step_agent(mailbox_world *world, keep_error *err)
{
	keep_agent_options options = KEEP_AGENT_OPTIONS_INIT;
	keep_memory memory = KEEP_MEMORY_INIT;
	char place[MAILBOX_URL_MAX + 200];
	keep_bytes text = {.data = NULL};
	keep_status status = keep_mailbox_session_place(
		world->mailbox, keep_bytes_of(world->session), &memory, &text, err);

	snprintf(place, sizeof place, "%.*s", (int)text.len, text.len ? text.data : "");
	keep_memory_release(&memory);
	options.timeout_ms = 10000;
	if (status == KEEP_OK)
		status = keep_agent_open(place, &options, &world->agent, err);
	return status;
}

void mailbox_mend_sessions(mailbox_world *world)
{
	(void)world;
	(void)mailbox_sql(NULL, NULL,
			  "UPDATE sessions SET due_at = '2023-11-14T22:13:20.000Z' "
			  "WHERE due_at IS NOT NULL");
}

void mailbox_mend_outgoing(mailbox_world *world)
{
	(void)mailbox_sql(world->session, "inbound.db",
			  "UPDATE outgoing SET due_at = '2023-11-14T22:13:20.000Z', attempts = 0 "
			  "WHERE attempts > 0");
	(void)mailbox_sql(world->session, "inbound.db",
			  "DELETE FROM message_steps WHERE step = 'hand_over_failed'");
}

/* ---------------------------------------------------------------- one round */

/* What a step does with random bytes and new ids depends on the step alone. */
static keep_status run_step(size_t step, mailbox_world *world, keep_error *err)
{
	random_at = 1000 * (uint64_t)(step + 1);
	return steps[step].run(world, err);
}

static void check_after(size_t step, long nth, const char *what)
{
	if (is_content(step + 1, WHOLE))
		return;
	show_difference(step + 1);
	CHECK(false, "failure %ld: %s %s has another content", nth, steps[step].name, what);
}

/* Step `step` failed, with the faults now off: what is there is right, and it goes on. */
static void recover(size_t step, keep_status status, mailbox_world *world, long nth)
{
	bool is_uncertain = status == KEEP_UNCERTAIN;
	keep_error err = KEEP_ERROR_INIT;
	keep_status again;

	if (is_uncertain && steps[step].is_once && becomes_content(step + 1, WITHOUT_MARKS))
		return;
	if (!steps[step].is_in_parts && !is_content(step, WITHOUT_MARKS) &&
	    !(is_uncertain && is_content(step + 1, WITHOUT_MARKS))) {
		show_difference(step);
		CHECK(false, "failure %ld: %s failed with %s and left something", nth,
		      steps[step].name, keep_status_name(status));
	}
	if (steps[step].mend)
		steps[step].mend(world);
	again = run_step(step, world, &err);
	CHECK(again == KEEP_OK || (is_uncertain && (steps[step].again & MAY(again))),
	      "failure %ld: %s again after %s: %s: %s", nth, steps[step].name,
	      keep_status_name(status), keep_status_name(again), err.message);
	check_after(step, nth, "again");
}

/* A round begins without sessions. */
static void empty_mailbox(void)
{
	static const char *const groups[] = {MAILBOX_AGENT, MAILBOX_OTHER_AGENT};
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_conn *conn = mailbox_connect_behind(NULL, NULL);
	char sql[2000] = "DELETE FROM pending_questions; DELETE FROM closed_questions; "
			 "DELETE FROM sessions; DELETE FROM unrouted_messages;",
	     path[700];
	size_t len = strlen(sql);

	for (size_t i = 0; i < KP_MAILBOX_INBOUND_RECORD_COUNT && !mailbox_is_file(); i++)
		len += (size_t)snprintf(sql + len, sizeof sql - len, "DELETE FROM %s;",
					kp_mailbox_inbound_records[i]->table);
	for (size_t i = 0; i < KP_MAILBOX_OUTBOUND_RECORD_COUNT && !mailbox_is_file(); i++)
		len += (size_t)snprintf(sql + len, sizeof sql - len, "DELETE FROM %s;",
					kp_mailbox_outbound_records[i]->table);
	OK(kp_sql_begin(conn, KP_SQL_WRITE, &err));
	OK(kp_sql_script(conn, sql, &err));
	OK(kp_sql_commit(conn, &err));
	kp_sql_close(&conn);
	for (size_t i = 0; i < KP_COUNT(groups) && mailbox_is_file(); i++) {
		snprintf(path, sizeof path, "%s/sessions/%s", base(), groups[i]);
		(void)nftw(path, temp_folder_remove_one, 16, FTW_DEPTH | FTW_PHYS);
	}
}

static int begin_test(void **state)
{
	(void)state;
	keep_zone_forget();
	empty_mailbox();
	return 0;
}

static void end_round(mailbox_world *world)
{
	keep_agent_close(&world->agent);
	keep_mailbox_close(&world->mailbox);
	keep_zone_forget(); /* a cache */
	empty_mailbox();
}

/* Did anything fire? */
static bool run_round(enum kp_fault_kind kind, long nth, bool persistent, unsigned expected)
{
	mailbox_world world = {.mailbox = NULL};
	bool any = false;

	for (size_t i = 0; i < step_count; i++) {
		keep_error err = KEEP_ERROR_INIT;
		keep_status status;
		long fired;

		kp_fault_arm(kind, nth, persistent);
		status = run_step(i, &world, &err);
		fired = kp_fault_disarm(kind);
		any = any || fired;
		CHECK(status == KEEP_OK || fired, "%s failed without a fault: %s: %s",
		      steps[i].name, keep_status_name(status), err.message);
		CHECK(status == KEEP_OK || (expected & MAY(status)), "failure %ld%s: %s: %s: %s",
		      nth, persistent ? ", lasting" : "", steps[i].name, keep_status_name(status),
		      err.message);
		if (status != KEEP_OK || (fired && steps[i].mend && !is_content(i + 1, WHOLE)))
			recover(i, status, &world, nth);
		else if (fired)
			check_after(i, nth, "in spite of it");
		if (steps[i].learn)
			steps[i].learn(&world);
	}
	end_round(&world);
	return any;
}

/* A round on a server takes ten times as long. */
static long next_after(long nth)
{
	if (wants_all() || nth < (mailbox_is_file() ? EVERY_MAX : 2))
		return nth + 1;
	return mailbox_is_file() ? nth + nth / 2 : 3 * nth;
}

static void fail_each(enum kp_fault_kind kind, unsigned expected)
{
	long rounds = 0, live = kp_alloc_live();

	for (int persistent = 0; persistent <= 1; persistent++) {
		long nth = 1;

		while (run_round(kind, nth, persistent, expected)) {
			CHECK(kp_alloc_live() == live, "failure %ld leaked %ld blocks", nth,
			      kp_alloc_live() - live);
			rounds++;
			nth = next_after(nth);
		}
	}
	print_message("%ld rounds\n", rounds);
	assert_true(rounds > 0);
}

/* ---------------------------------------------------------------- the tests */

static void make_groups(void)
{
	static const char *const rows[] = {
		"INSERT INTO agent_groups (id, name, folder, created_at) VALUES "
		"('" MAILBOX_AGENT "', 'Ada', 'ada', '2023-01-01T00:00:00.000Z')",
		"INSERT INTO agent_groups (id, name, folder, created_at) VALUES "
		"('" MAILBOX_OTHER_AGENT "', 'Bea', 'bea', '2023-01-01T00:00:00.000Z')",
		"INSERT INTO messaging_groups (id, channel_type, platform_id, created_at) VALUES "
		"('" MAILBOX_CHAT "', 'telegram', '42', '2023-01-01T00:00:00.000Z')",
		"INSERT INTO agent_destinations (agent_group_id, name, type, channel_type, "
		"platform_id) VALUES ('" MAILBOX_AGENT "', 'home', 'channel', 'telegram', '42')",
		"INSERT INTO agent_destinations (agent_group_id, name, type, "
		"target_agent_group_id) VALUES ('" MAILBOX_AGENT "', 'bea', 'agent', "
		"'" MAILBOX_OTHER_AGENT "')",
	};

	for (size_t i = 0; i < KP_COUNT(rows); i++)
		(void)mailbox_sql(NULL, NULL, rows[i]);
}

static int learn_contents(void **state)
{
	keep_mailbox *mailbox = mailbox_fresh();
	mailbox_world world = {.mailbox = NULL};
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	keep_mailbox_close(&mailbox);
	make_groups();
	assert_true(step_count <= MAILBOX_STEPS_MAX);
	for (int view = 0; view < VIEWS; view++)
		contents[0][view] = read_content(view);
	for (size_t i = 0; i < step_count; i++) {
		keep_status status = run_step(i, &world, &err);

		CHECK(status == KEEP_OK, "%s: %s: %s", steps[i].name, keep_status_name(status),
		      err.message);
		for (int view = 0; view < VIEWS; view++)
			contents[i + 1][view] = read_content(view);
		if (steps[i].learn)
			steps[i].learn(&world);
	}
	end_round(&world);
	return 0;
}

static int forget_contents(void **state)
{
	(void)state;
	for (size_t i = 0; i <= step_count; i++)
		for (int view = 0; view < VIEWS; view++)
			free(contents[i][view]);
	return 0;
}

static void a_failing_allocation_loses_and_doubles_nothing(void **state)
{
	unsigned expected = MAY(KEEP_NO_MEMORY) | MAY(KEEP_UNCERTAIN);

	(void)state;
	/* libpq reports its own lack of memory as a lost connection. */
	fail_each(KP_FAULT_ALLOC, mailbox_is_file() ? expected : expected | MAY(KEEP_UNAVAILABLE));
}

static void a_failing_driver_call_loses_and_doubles_nothing(void **state)
{
	(void)state;
	fail_each(KP_FAULT_DRIVER, MAY(KEEP_UNAVAILABLE));
}

static void a_lost_answer_to_a_commit_is_uncertain(void **state)
{
	(void)state;
	fail_each(KP_FAULT_COMMIT, MAY(KEEP_UNCERTAIN));
}

static void a_failing_file_or_connection_loses_and_doubles_nothing(void **state)
{
	(void)state;
	if (!mailbox_is_file()) {
		fail_each(KP_FAULT_CONNECT, MAY(KEEP_UNAVAILABLE) | MAY(KEEP_UNCERTAIN));
		return;
	}
	sqlite_faults_set_write_code(SQLITE_FULL);
	fail_each(KP_FAULT_FILE,
		  MAY(KEEP_UNAVAILABLE) | MAY(KEEP_FULL) | MAY(KEEP_BUSY) | MAY(KEEP_UNCERTAIN));
}

int mailbox_faults_main(int argc, char **argv, const mailbox_step *list, size_t count)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_failing_allocation_loses_and_doubles_nothing, begin_test),
		cmocka_unit_test_setup(a_failing_driver_call_loses_and_doubles_nothing, begin_test),
		cmocka_unit_test_setup(a_lost_answer_to_a_commit_is_uncertain, begin_test),
		cmocka_unit_test_setup(a_failing_file_or_connection_loses_and_doubles_nothing,
				       begin_test),
	};
	int failed;

	steps = list;
	step_count = count;
	sqlite_faults_install();
	mailbox_begin(argc, argv);
	kp_clock_inject(stand_still, NULL);
	kp_random_inject(count_bytes, NULL);
	failed = cmocka_run_group_tests(tests, learn_contents, forget_contents);
	mailbox_end();
	return failed;
}

/*
 * record_sql.c - builds the SQL of a record from its field table.
 *
 * One spelling serves both dialects:
 *   1. Parameters are $1, $2 … PostgreSQL counts them by their number. SQLite reads them as names
 *      and numbers a name where it first appears. So a statement must name its parameters for the
 *      first time in rising order; every statement here names each once, left to right.
 *   2. Every identifier is quoted, because contracts name columns "key", "match" and "timestamp".
 *      Names are small letters, digits and _ (tools/recgen.py refuses others), so that a quoted
 *      name is the same name in both and never ends its quotes. SQLite takes an unknown quoted name
 *      for a text where the driver did not switch that off; tests/contract/test_record.c compares
 *      every record with the database's own catalogue, so there is none.
 *   3. ON CONFLICT names the key's columns: another broken constraint stays an error.
 *
 * It does not execute, and knows nothing of values. Tests: tests/contract/test_record.c.
 */
#include "sql/record_sql.h"

enum { RECORD_SQL_MAX = 32 * 1024 }; /* bytes; 200 columns of 63 fit twice */

bool kp_field_is_in(const kp_field *field, kp_sql_dialect dialect, kp_field_choice choice)
{
	static const uint8_t only[KP_DIALECT_COUNT] = {
		[KP_DIALECT_SQLITE] = KP_FIELD_SQLITE,
		[KP_DIALECT_POSTGRES] = KP_FIELD_POSTGRES,
	};
	unsigned bound = field->flags & (KP_FIELD_SQLITE | KP_FIELD_POSTGRES);
	bool key = field->flags & KP_FIELD_KEY;

	if (bound && bound != only[dialect])
		return false;
	switch (choice) {
	case KP_FIELDS_ALL: return true;
	case KP_FIELDS_KEY: return key;
	case KP_FIELDS_VALUE: return !key;
	case KP_FIELDS_GIVEN: return !(field->flags & KP_FIELD_AUTO);
	}
	return false;
}

/* A text under construction; the first failure sticks, so that only the end has to look. */
typedef struct builder {
	const kp_record *record;
	kp_sql_dialect dialect;
	keep_buffer *sql;
	int parameters;
	keep_status status;
	keep_error *err;
} builder;

static void add(builder *to, const char *text)
{
	if (to->status == KEEP_OK)
		to->status = kp_buffer_append_text(to->sql, text, to->err);
	if (to->status == KEEP_OK && to->sql->len > RECORD_SQL_MAX)
		to->status = kp_fail(to->err, KEEP_MISUSE, "record %s has too many columns",
				     to->record->name);
}

static void add_name(builder *to, const char *name)
{
	add(to, "\"");
	add(to, name);
	add(to, "\"");
}

static void add_parameter(builder *to)
{
	to->parameters++;
	if (to->status == KEEP_OK)
		to->status = kp_buffer_append_format(to->sql, to->err, "$%d", to->parameters);
}

typedef void add_part(builder *to, const kp_field *field);

static void add_column(builder *to, const kp_field *field)
{
	add_name(to, field->name);
}

static void add_column_parameter(builder *to, const kp_field *field)
{
	(void)field;
	add_parameter(to);
}

static void add_comparison(builder *to, const kp_field *field)
{
	add_name(to, field->name);
	add(to, " = ");
	add_parameter(to);
}

static void add_replacement(builder *to, const kp_field *field)
{
	add_name(to, field->name);
	add(to, " = excluded.");
	add_name(to, field->name);
}

/* `part` for each chosen field, with `joint` between; says how many there were. */
static int add_each(builder *to, kp_field_choice choice, const char *joint, add_part *part)
{
	int count = 0;

	for (size_t i = 0; i < to->record->field_count; i++) {
		const kp_field *field = &to->record->fields[i];

		if (!kp_field_is_in(field, to->dialect, choice))
			continue;
		if (count++)
			add(to, joint);
		part(to, field);
	}
	return count;
}

static void add_insert(builder *to, kp_field_choice choice)
{
	add(to, "INSERT INTO ");
	add_name(to, to->record->table);
	add(to, " (");
	add_each(to, choice, ", ", add_column);
	add(to, ") VALUES (");
	add_each(to, choice, ", ", add_column_parameter);
	add(to, ")");
}

static void add_key_condition(builder *to)
{
	add(to, " WHERE ");
	add_each(to, KP_FIELDS_KEY, " AND ", add_comparison);
}

static void add_conflict(builder *to)
{
	add(to, " ON CONFLICT (");
	add_each(to, KP_FIELDS_KEY, ", ", add_column);
	add(to, ") DO ");
}

static builder begin_build(const kp_record *record, kp_sql_dialect dialect, keep_buffer *sql,
			   keep_error *err)
{
	return (builder){.record = record, .dialect = dialect, .sql = sql, .err = err};
}

keep_status kp_record_sql_add(const kp_record *record, kp_sql_dialect dialect, keep_buffer *sql,
			      keep_error *err)
{
	builder to = begin_build(record, dialect, sql, err);

	add_insert(&to, KP_FIELDS_ALL);
	add_conflict(&to);
	add(&to, "NOTHING");
	return to.status;
}

keep_status kp_record_sql_append(const kp_record *record, kp_sql_dialect dialect, keep_buffer *sql,
				 keep_error *err)
{
	builder to = begin_build(record, dialect, sql, err);

	add_insert(&to, KP_FIELDS_GIVEN);
	add(&to, " RETURNING ");
	add_each(&to, KP_FIELDS_KEY, ", ", add_column);
	return to.status;
}

keep_status kp_record_sql_put(const kp_record *record, kp_sql_dialect dialect, keep_buffer *sql,
			      keep_error *err)
{
	builder to = begin_build(record, dialect, sql, err);
	bool replaces = false;

	for (size_t i = 0; i < record->field_count; i++)
		replaces = replaces || kp_field_is_in(&record->fields[i], dialect, KP_FIELDS_VALUE);
	add_insert(&to, KP_FIELDS_ALL);
	add_conflict(&to);
	add(&to, replaces ? "UPDATE SET " : "NOTHING");
	add_each(&to, KP_FIELDS_VALUE, ", ", add_replacement);
	return to.status;
}

keep_status kp_record_sql_get(const kp_record *record, kp_sql_dialect dialect, keep_buffer *sql,
			      keep_error *err)
{
	builder to = begin_build(record, dialect, sql, err);

	add(&to, "SELECT ");
	add_each(&to, KP_FIELDS_ALL, ", ", add_column);
	add(&to, " FROM ");
	add_name(&to, record->table);
	add_key_condition(&to);
	return to.status;
}

keep_status kp_record_sql_remove(const kp_record *record, kp_sql_dialect dialect, keep_buffer *sql,
				 keep_error *err)
{
	builder to = begin_build(record, dialect, sql, err);

	add(&to, "DELETE FROM ");
	add_name(&to, record->table);
	add_key_condition(&to);
	return to.status;
}

/*
 * cron_parse.c - the text of an expression into the sets of its fields.
 *
 *     field = item *("," item)
 *     item  = ("*" / value ["-" value]) ["/" step]
 *           / "L" / "LW" / number "W"              (day of month)
 *           / value "#" number / value "L"         (day of week)
 *
 * What dialects do differently is a row of `rules` each, so that no other function asks which one
 * it is. docs/schedule.md tells the same for people; the tables in tests/unit/test_cron.c hold
 * both.
 *
 * Invariants:
 *   1. A byte of the expression is either understood or named in the failure, with its field.
 *   2. Every set of an accepted schedule has at least one value within the field's range, so that
 *      a search through hours, minutes and seconds of a day that matches always finds one.
 *   3. An accepted schedule has a day in some year (kp_schedule_is_possible).
 *   4. Sunday is bit 0 of a schedule's weekdays, whatever number the dialect gives it.
 *
 * Tests: tests/unit/test_cron.c; fuzz/fuzz_cron.c.
 */
#include "schedule/schedule_private.h"

#include <string.h>

#define STEP_MAX 1000000

enum field { SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY, FIELDS };

/* What a dialect allows besides numbers, ranges, steps and lists. */
enum {
	ALLOW_QUESTION_MARK = 1, /* "?" means "*" */
	ALLOW_LAST_DAY = 2,      /* L */
	ALLOW_WORKING_DAYS = 4,  /* LW, nW */
	ALLOW_NTH = 8,           /* d#n */
	ALLOW_LAST_WEEKDAY = 16, /* dL */
	ALLOW_WORD_LAST = 32,    /* "last" for the last day */
	ALLOW_STEPPED_NAMES = 64 /* mon-fri/2, 1-fri */
};

/* When the day fields are both restrictions of which one is enough. */
enum star_rule {
	STAR_BEGINS_FIELD, /* unless one begins with "*" */
	STAR_IS_ITEM,      /* unless one has the item "*" (or "?", or "* / 1") */
	STAR_IS_FIELD,     /* unless one is "*" (or "?") */
	STAR_ALWAYS        /* never: both must match */
};

struct rules {
	unsigned allowed;
	enum star_rule star_rule;
	int weekday_max;  /* the largest number of a weekday */
	int weekday_end;  /* where a weekday's "*" and "a/n" end */
	int sunday;       /* its number besides 7 */
	bool short_steps; /* a step must not be longer than its range */
	bool week_filter; /* d#n stands alone, and means week n for both day fields */
	const char *macros;
};

#define MACROS "@yearly @annually @monthly @weekly @daily @hourly @midnight "

static const struct rules rules_of[] = {
	[KEEP_DIALECT_DEBIAN] =
		{
			.allowed = ALLOW_LAST_DAY | ALLOW_WORKING_DAYS | ALLOW_NTH |
				   ALLOW_LAST_WEEKDAY | ALLOW_STEPPED_NAMES,
			.star_rule = STAR_BEGINS_FIELD,
			.weekday_max = 7,
			.weekday_end = 6,
			.macros = MACROS,
		},
	[KEEP_DIALECT_ROBFIG] =
		{
			.allowed = ALLOW_QUESTION_MARK | ALLOW_STEPPED_NAMES,
			.star_rule = STAR_IS_ITEM,
			.weekday_max = 6,
			.weekday_end = 6,
			.macros = MACROS,
		},
	[KEEP_DIALECT_CRON_PARSER] =
		{
			.allowed = ALLOW_QUESTION_MARK | ALLOW_LAST_DAY | ALLOW_NTH |
				   ALLOW_LAST_WEEKDAY | ALLOW_STEPPED_NAMES,
			.star_rule = STAR_IS_FIELD,
			.weekday_max = 7,
			.weekday_end = 7,
			.week_filter = true,
			.macros = "@yearly @annually @monthly @weekly @daily @hourly "
				  "@minutely @weekdays @weekends ",
		},
	[KEEP_DIALECT_APSCHEDULER] =
		{
			.allowed = ALLOW_WORD_LAST,
			.star_rule = STAR_ALWAYS,
			.weekday_max = 6,
			.weekday_end = 6,
			.sunday = 6,
			.short_steps = true,
			.macros = "",
		},
};

static const struct {
	const char *name;
	int min, max;
} field_of[FIELDS] = {
	[SECOND] = {"second", 0, 59}, [MINUTE] = {"minute", 0, 59},
	[HOUR] = {"hour", 0, 23},     [DAY] = {"day of month", 1, 31},
	[MONTH] = {"month", 1, 12},   [WEEKDAY] = {"day of week", 0, 7},
};

struct parser {
	keep_bytes text;
	size_t at, end; /* the rest of the field being read */
	enum field field;
	const struct rules *rules;
	keep_schedule *out;
	keep_error *err;
};

/* A value as it was written. */
struct value {
	size_t at;
	int number;
	bool is_name;
};

/* ---------------------------------------------------------------- reading */

static bool refuse(struct parser *p, size_t at, const char *format, ...) KEEP_PRINTF(3, 4);

static bool refuse(struct parser *p, size_t at, const char *format, ...)
{
	char what[160];
	va_list args;

	va_start(args, format);
	kp_message_format(what, sizeof what, format, args);
	va_end(args);
	/* The status is the one that keep_schedule_parse returns. */
	if (kp_fail(p->err, KEEP_INVALID, "%s: byte %zu: %s", field_of[p->field].name, at, what) ==
	    KEEP_OK)
		return true;
	return false;
}

static char peek(const struct parser *p)
{
	return p->at < p->end ? p->text.data[p->at] : '\0';
}

static bool take(struct parser *p, char wanted)
{
	if (p->at == p->end || p->text.data[p->at] != wanted)
		return false;
	p->at++;
	return true;
}

static bool is_allowed(const struct parser *p, unsigned what)
{
	return (p->rules->allowed & what) != 0;
}

static bool is_digit(char byte)
{
	return byte >= '0' && byte <= '9';
}

static char lower(char byte)
{
	return byte >= 'A' && byte <= 'Z' ? (char)(byte - 'A' + 'a') : byte;
}

/* "a number, a name or '*'": what this field may begin with. */
static bool refuse_value(struct parser *p)
{
	if (p->at == p->end || peek(p) == ',')
		return refuse(p, p->at, "a value is missing");
	return refuse(p, p->at, "expected a number%s",
		      p->field == MONTH || p->field == WEEKDAY ? ", a name of three letters or '*'"
							       : " or '*'");
}

static bool read_number(struct parser *p, int max, int *out)
{
	size_t start = p->at;

	*out = 0;
	if (!is_digit(peek(p)))
		return refuse_value(p);
	for (; is_digit(peek(p)); p->at++) {
		*out = *out * 10 + (peek(p) - '0');
		if (*out > max)
			return refuse(p, start, "a number over %d", max);
	}
	return true;
}

/* The number of the name that is next, or -1. */
static int find_name(const struct parser *p)
{
	static const char names[] = "sunmontuewedthufrisat"
				    "janfebmaraprmayjunjulaugsepoctnovdec";
	bool is_month = p->field == MONTH;
	const char *name = p->text.data + p->at;

	if (p->end - p->at < 3 || (!is_month && p->field != WEEKDAY))
		return -1;
	for (int i = is_month ? 7 : 0; i < (is_month ? 19 : 7); i++) {
		const char *known = names + (size_t)i * 3;

		if (lower(name[0]) == known[0] && lower(name[1]) == known[1] &&
		    lower(name[2]) == known[2])
			return is_month ? i - 6 : (i + p->rules->sunday) % 7;
	}
	return -1;
}

static bool read_value(struct parser *p, struct value *out)
{
	int min = field_of[p->field].min;
	int max = p->field == WEEKDAY ? p->rules->weekday_max : field_of[p->field].max;

	*out = (struct value){.at = p->at, .number = find_name(p)};
	out->is_name = out->number >= 0;
	if (out->is_name) {
		p->at += 3;
		return true;
	}
	if (!read_number(p, STEP_MAX, &out->number))
		return false;
	if (out->number < min || out->number > max)
		return refuse(p, out->at, "%d is not in %d to %d", out->number, min, max);
	return true;
}

/* ---------------------------------------------------------------- sets */

static void add_number(struct parser *p, int number)
{
	uint32_t bit = UINT32_C(1) << (number & 31);

	switch (p->field) {
	case SECOND: p->out->second |= UINT64_C(1) << number; break;
	case MINUTE: p->out->minute |= UINT64_C(1) << number; break;
	case HOUR: p->out->hour |= bit; break;
	case DAY: p->out->day |= bit; break;
	case MONTH: p->out->month |= bit; break;
	case WEEKDAY: p->out->weekday |= UINT32_C(1) << (number - p->rules->sunday + 7) % 7; break;
	case FIELDS: break;
	}
}

static bool read_step(struct parser *p, int range, int *step)
{
	size_t start = p->at;

	if (!read_number(p, STEP_MAX, step))
		return false;
	if (*step == 0)
		return refuse(p, start, "a step of 0");
	if (p->rules->short_steps && *step > range)
		return refuse(p, start, "a step of %d in a range of %d", *step, range);
	return true;
}

static bool refuse_backward_range(struct parser *p, const struct value *from,
				  const struct value *to)
{
	bool ends_on_sunday = p->field == WEEKDAY && to->number == 0 && p->rules->weekday_max == 7;

	return refuse(p, from->at, "a range that runs backwards%s",
		      ends_on_sunday ? " (as the end of a range Sunday is 7)" : "");
}

/* "-value" and "/step", of which each may be missing, after the first value. */
static bool read_range(struct parser *p, struct value from)
{
	int end = p->field == WEEKDAY ? p->rules->weekday_end : field_of[p->field].max;
	struct value to = from;
	int step = 1;
	size_t slash;

	if (take(p, '-')) {
		if (!read_value(p, &to))
			return false;
		if (to.number < from.number)
			return refuse_backward_range(p, &from, &to);
		if (to.is_name != from.is_name && !is_allowed(p, ALLOW_STEPPED_NAMES))
			return refuse(p, to.at, "a range of a name and a number");
		end = to.number;
	}
	slash = p->at;
	if (take(p, '/')) {
		if (from.is_name && !is_allowed(p, ALLOW_STEPPED_NAMES))
			return refuse(p, slash, "a step after a name");
		/* In Debian's numbers 7 is behind the end. */
		end = end < from.number ? from.number : end;
		if (!read_step(p, end - from.number, &step))
			return false;
		to.number = end;
	}
	for (int number = from.number; number <= to.number; number += step)
		add_number(p, number);
	return true;
}

static bool read_star(struct parser *p, bool *is_star)
{
	int min = field_of[p->field].min;
	int max = p->field == WEEKDAY ? p->rules->weekday_end : field_of[p->field].max;
	int step = 1;

	p->at++;
	if (take(p, '/') && !read_step(p, max - min, &step))
		return false;
	for (int number = min; number <= max; number += step)
		add_number(p, number);
	*is_star |= step == 1;
	return true;
}

/* ---------------------------------------------------------------- extensions */

/* L, LW and "last" as items of the day of the month; *found when it was one. */
static bool read_last_day(struct parser *p, bool *found)
{
	static const char word[] = "last";
	size_t len = 0;

	while (len < 4 && p->at + len < p->end && lower(p->text.data[p->at + len]) == word[len])
		len++;
	*found = true;
	if (len == 4 && is_allowed(p, ALLOW_WORD_LAST)) {
		p->at += len;
		p->out->last_day = true;
	} else if (peek(p) == 'L' && is_allowed(p, ALLOW_LAST_DAY)) {
		p->at++;
		if (peek(p) == 'W' && !is_allowed(p, ALLOW_WORKING_DAYS))
			return refuse(p, p->at, "this dialect has no W");
		if (take(p, 'W'))
			p->out->last_working_day = true;
		else
			p->out->last_day = true;
	} else {
		*found = false;
	}
	return true;
}

/* d#n: weekday `day` (0: Sunday) for the nth time in its month. */
static bool read_nth(struct parser *p, const struct value *from, int day)
{
	size_t start = p->at;
	int nth;

	if (!read_number(p, STEP_MAX, &nth))
		return false;
	if (nth < 1 || nth > 5)
		return refuse(p, start, "%d is not in 1 to 5", nth);
	if (p->rules->week_filter) {
		if (from->at > 0 && p->text.data[from->at - 1] == ',')
			return refuse(p, from->at, "'#' in a list");
		if (peek(p) == ',')
			return refuse(p, p->at, "'#' in a list");
		p->out->only_week = (unsigned)nth;
		p->out->weekday |= UINT32_C(1) << day;
		return true;
	}
	p->out->nth |= UINT64_C(1) << (5 * day + nth - 1);
	return true;
}

/* nW, d#n and dL after their value; *found when it was one. */
static bool read_suffix(struct parser *p, const struct value *from, bool *found)
{
	int day = (from->number - p->rules->sunday + 7) % 7;

	*found = true;
	if (p->field == DAY && is_allowed(p, ALLOW_WORKING_DAYS) && take(p, 'W')) {
		p->out->near_weekday |= UINT32_C(1) << from->number;
		return true;
	}
	if (p->field == WEEKDAY && is_allowed(p, ALLOW_NTH) && take(p, '#'))
		return read_nth(p, from, day);
	if (p->field == WEEKDAY && is_allowed(p, ALLOW_LAST_WEEKDAY) && take(p, 'L')) {
		p->out->last_weekday |= UINT32_C(1) << day;
		return true;
	}
	*found = false;
	return true;
}

/* ---------------------------------------------------------------- items, fields */

static bool read_item(struct parser *p, bool *is_star)
{
	struct value from;
	bool found = false;

	if (peek(p) == '*' || (peek(p) == '?' && is_allowed(p, ALLOW_QUESTION_MARK)))
		return read_star(p, is_star);
	if (p->field == DAY && (!read_last_day(p, &found) || found))
		return found;
	if (!read_value(p, &from) || !read_suffix(p, &from, &found))
		return false;
	return found || read_range(p, from);
}

/* The field text[p->at .. p->end); *is_star by the dialect's rule. */
static bool read_field(struct parser *p, bool *is_star)
{
	size_t start = p->at;
	char first = peek(p);
	bool star_item = false;

	do {
		if (!read_item(p, &star_item))
			return false;
		if (p->at < p->end && peek(p) != ',')
			return refuse(p, p->at, "expected ',' or the end of the field");
	} while (take(p, ','));
	switch (p->rules->star_rule) {
	case STAR_BEGINS_FIELD: *is_star = first == '*'; break;
	case STAR_IS_ITEM: *is_star = star_item; break;
	case STAR_IS_FIELD: *is_star = p->end - start == 1 && (first == '*' || first == '?'); break;
	case STAR_ALWAYS: *is_star = true; break;
	}
	return true;
}

static bool is_blank(char byte)
{
	return byte == ' ' || byte == '\t';
}

/* The bounds of each field; false when there are not as many as wanted. */
static bool split_fields(struct parser *p, enum field first, size_t begins[FIELDS],
			 size_t ends[FIELDS])
{
	size_t at = 0;

	for (int field = first; field < FIELDS; field++) {
		while (at < p->text.len && is_blank(p->text.data[at]))
			at++;
		p->field = field;
		if (at == p->text.len)
			return refuse(p, at, "the field is missing; there are to be %d",
				      FIELDS - first);
		begins[field] = at;
		while (at < p->text.len && !is_blank(p->text.data[at]))
			at++;
		ends[field] = at;
	}
	while (at < p->text.len && is_blank(p->text.data[at]))
		at++;
	return at == p->text.len ||
	       refuse(p, at, "expected the end after it; there are to be %d fields",
		      FIELDS - first);
}

/* What happens where clocks are set, once the fields are known. */
static void set_clock_rules(keep_schedule *out, bool is_fixed)
{
	const uint32_t all_hours = (UINT32_C(1) << 24) - 1;

	switch (out->dialect) {
	case KEEP_DIALECT_DEBIAN:
		out->gap_rule = is_fixed ? KP_GAP_ONCE : KP_GAP_SKIP;
		out->first_of_twice = is_fixed;
		break;
	case KEEP_DIALECT_ROBFIG: out->gap_rule = KP_GAP_SKIP; break;
	case KEEP_DIALECT_CRON_PARSER:
		out->gap_rule = out->hour == all_hours ? KP_GAP_SKIP : KP_GAP_SHIFT_HOUR;
		out->first_of_twice = out->hour != all_hours;
		break;
	case KEEP_DIALECT_APSCHEDULER: out->gap_rule = KP_GAP_SHIFT_FIRST; break;
	}
}

static bool read_fields(struct parser *p)
{
	enum field first = p->out->has_seconds ? SECOND : MINUTE;
	size_t begins[FIELDS] = {0}, ends[FIELDS] = {0};
	bool is_star[FIELDS] = {false}, is_fixed;

	if (!split_fields(p, first, begins, ends))
		return false;
	if (!p->out->has_seconds)
		p->out->second = 1;
	for (int field = first; field < FIELDS; field++) {
		p->field = field;
		p->at = begins[field];
		p->end = ends[field];
		if (!read_field(p, &is_star[field]))
			return false;
	}
	p->out->either_day = !is_star[DAY] && !is_star[WEEKDAY];
	is_fixed = p->text.data[begins[MINUTE]] != '*' && p->text.data[begins[HOUR]] != '*';
	set_clock_rules(p->out, is_fixed);
	p->field = DAY;
	return kp_schedule_is_possible(p->out) ||
	       refuse(p, begins[DAY], "no date can ever meet it: the expression never fires");
}

/* The expression of a macro, or NULL. */
static const char *find_macro(const struct parser *p)
{
	static const char *const macros[][2] = {
		{"@yearly ", "0 0 1 1 *"},     {"@annually ", "0 0 1 1 *"},
		{"@monthly ", "0 0 1 * *"},    {"@weekly ", "0 0 * * 0"},
		{"@daily ", "0 0 * * *"},      {"@midnight ", "0 0 * * *"},
		{"@hourly ", "0 * * * *"},     {"@minutely ", "* * * * *"},
		{"@weekdays ", "0 0 * * 1-5"}, {"@weekends ", "0 0 * * 0,6"},
	};

	for (size_t i = 0; i < KP_COUNT(macros); i++) {
		size_t len = strlen(macros[i][0]) - 1;

		if (p->text.len == len && memcmp(p->text.data, macros[i][0], len) == 0 &&
		    strstr(p->rules->macros, macros[i][0]))
			return macros[i][1];
	}
	return NULL;
}

static bool read_expression(struct parser *p)
{
	const char *expression;

	while (p->text.len > 0 && is_blank(p->text.data[p->text.len - 1]))
		p->text.len--;
	if (p->text.len == 0 || p->text.data[0] != '@')
		return read_fields(p);
	expression = find_macro(p);
	if (!expression) {
		p->field = p->out->has_seconds ? SECOND : MINUTE;
		return refuse(p, 0, "not a name of a schedule in the dialect %s",
			      keep_dialect_name(p->out->dialect));
	}
	p->text = keep_bytes_of(expression);
	p->out->has_seconds = false;
	return read_fields(p);
}

/* ---------------------------------------------------------------- doors */

const char *keep_dialect_name(keep_dialect dialect)
{
	switch (dialect) {
#define X(name, value, text)                                                                       \
	case KEEP_DIALECT_##name: return text;
		KEEP_DIALECT_MAP(X)
#undef X
	}
	return "?";
}

bool keep_dialect_parse(keep_bytes name, keep_dialect *out)
{
#define X(name_, value, text)                                                                      \
	if (kp_bytes_equal(name, KEEP_BYTES(text))) {                                              \
		*out = KEEP_DIALECT_##name_;                                                       \
		return true;                                                                       \
	}
	KEEP_DIALECT_MAP(X)
#undef X
	return false;
}

static keep_status fill_options(const keep_schedule_options *given, keep_schedule_options *filled,
				keep_error *err)
{
	*filled = (keep_schedule_options)KEEP_SCHEDULE_OPTIONS_INIT;
	if (given && (given->size < sizeof given->size || given->size > sizeof *given))
		return kp_fail(err, KEEP_MISUSE,
			       "options: size is %zu; use KEEP_SCHEDULE_OPTIONS_INIT", given->size);
	if (given)
		memcpy(filled, given, given->size);
	if (!filled->zone)
		filled->zone = "UTC";
	if ((size_t)filled->dialect >= KP_COUNT(rules_of))
		return kp_fail(err, KEEP_INVALID, "there is no dialect %d", (int)filled->dialect);
	return KEEP_OK;
}

keep_status keep_schedule_parse(keep_bytes expression, const keep_schedule_options *options,
				keep_schedule **out, keep_error *err)
{
	struct parser p = {.text = expression, .err = err};
	keep_schedule_options filled;
	keep_schedule *made;
	keep_status status = fill_options(options, &filled, err);

	*out = NULL;
	if (status != KEEP_OK)
		return status;
	if (!expression.data || expression.len > KEEP_SCHEDULE_BYTES_MAX)
		return kp_fail(err, KEEP_INVALID, "an expression has 1 to %d bytes",
			       KEEP_SCHEDULE_BYTES_MAX);
	made = kp_alloc_zero(sizeof *made);
	if (!made)
		return kp_fail_memory(err, "a schedule");
	made->dialect = filled.dialect;
	made->has_seconds = filled.seconds;
	p.out = made;
	p.rules = &rules_of[filled.dialect];
	status = read_expression(&p) ? KEEP_OK : KEEP_INVALID;
	if (status == KEEP_OK)
		status = keep_zone_open(filled.zone, &made->zone, err);
	if (status == KEEP_OK)
		*out = made;
	else
		keep_schedule_close(&made);
	return status;
}

keep_status keep_schedule_interval(int64_t interval_ms, int64_t anchor_ms, keep_schedule **out,
				   keep_error *err)
{
	keep_schedule *made;

	*out = NULL;
	if (interval_ms < 1 || interval_ms > KEEP_TIME_MAX - KEEP_TIME_MIN)
		return kp_fail(err, KEEP_INVALID, "an interval of %lld ms", (long long)interval_ms);
	if (anchor_ms < KEEP_TIME_MIN || anchor_ms > KEEP_TIME_MAX)
		return kp_fail(err, KEEP_INVALID,
			       "the anchor %lld ms is not in the years 0001 to 9999",
			       (long long)anchor_ms);
	made = kp_alloc_zero(sizeof *made);
	if (!made)
		return kp_fail_memory(err, "a schedule");
	made->interval_ms = interval_ms;
	made->anchor_ms = anchor_ms;
	*out = made;
	return KEEP_OK;
}

void keep_schedule_close(keep_schedule **schedule)
{
	keep_schedule *made = schedule ? *schedule : NULL;

	if (!made)
		return;
	*schedule = NULL;
	keep_zone_close(&made->zone);
	kp_free(made);
}

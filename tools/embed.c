/*
 * embed.c - turn files into C before the library is built: the program needs no files beside it.
 *
 *     embed files NAME out.c out.h FILE…         kp_<NAME>_files[] of {name, bytes, size}
 *     embed statements NAME out.c out.h FILE…    kp_<NAME>_statements and enum KP_<NAME>_…
 *     embed topics NAME out.c out.h FILE…        kp_<NAME>_statements[] by dialect, one enum
 *     embed migrations NAME out.c out.h FILE…    kp_<NAME>_migrations[]
 *
 * A FILE of mode `files` may be written name=path, to be found under another name than its own.
 *
 * A statement file holds blocks `-- name: get`. The comment lines directly after the name describe
 * the statement and become its enumerator's comment; the SQL follows up to the next name. One
 * dialect, one FILE: the set is kp_<NAME>_statements. Several dialects, several FILEs with the same
 * names (in any order): the sets are kp_<file's stem>_statements, they share the one enum, and an
 * index means the same statement in each.
 *
 * Mode `topics` is for a store whose dialects say nearly the same: each FILE is one topic, written
 * once, with parameters $1, $2 …, which become ?1, ?2 … for SQLite. A name followed by `only
 * sqlite` or `only postgres` is that dialect's spelling; the other one must be there, too. Inside
 * SQL, what stands between `@{` and the next `}` is for PostgreSQL alone, where many sessions share
 * a table, and leaves nothing for SQLite: `WHERE @{session_id = $1 AND} id = $2`. Both are on one
 * line, and none is inside another. A parameter that SQLite loses must not be the last one: $1 is
 * right. Comment lines are left as they are.
 *
 * Migrations are named NNNN_description.sql, from 0001 without a gap.
 *
 * Invariants:
 *   1. Nothing is written before everything was read and found right, and an output that could not
 *      be written whole is removed: a build never goes on with half a table.
 *   2. What is wrong is said as file:line: what, and the exit status is 1 (2 for wrong use).
 *
 * Bytes are written as string pieces, which compilers read about ten times faster than numbers.
 * A program of the build: what it claims it keeps until its end, and gives back then, so that a
 * build under AddressSanitizer goes on. Held by tests/unit/test_embed.py.
 */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATEMENTS_MAX = 1024, NAME_MAX_LEN = 60, FILE_MAX = 64 * 1024 * 1024 };

struct input {
	const char *path;
	const char *name; /* what it is found under */
	char *bytes;      /* followed by a zero byte */
	size_t size;
};

struct statement {
	char *name;
	char *description; /* one line, may be "" */
	char *sql;
	size_t line; /* of its name */
};

struct statement_file {
	const struct input *input;
	char *stem;
	struct statement *list;
	size_t count;
};

static _Noreturn void refuse(const char *path, size_t line, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static _Noreturn void refuse(const char *path, size_t line, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s:%zu: ", path, line);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

/* Everything claimed, the latest first. */
static struct block {
	struct block *next;
	max_align_t memory[];
} * blocks;

static void *claim_memory(size_t size)
{
	struct block *block = calloc(1, sizeof *block + size);

	if (!block) {
		fprintf(stderr, "embed: out of memory\n");
		exit(1);
	}
	block->next = blocks;
	blocks = block;
	return block->memory;
}

static void release_all(void)
{
	while (blocks) {
		struct block *block = blocks;

		blocks = block->next;
		free(block);
	}
}

static char *copy_text(const char *from, size_t len)
{
	char *text = claim_memory(len + 1);

	memcpy(text, from, len);
	return text;
}

static const char *get_base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static struct input read_input(const char *argument, bool may_rename)
{
	const char *equals = may_rename ? strchr(argument, '=') : NULL;
	const char *path = equals ? equals + 1 : argument;
	struct input input = {.path = path, .name = get_base(path)};
	FILE *in = fopen(path, "rb");
	long size = -1;

	if (equals)
		input.name = copy_text(argument, (size_t)(equals - argument));
	if (in && fseek(in, 0, SEEK_END) == 0)
		size = ftell(in);
	if (!in || size < 0 || fseek(in, 0, SEEK_SET) != 0)
		refuse(path, 1, "%s", strerror(errno));
	if (size > FILE_MAX)
		refuse(path, 1, "larger than %d bytes", FILE_MAX);
	input.size = (size_t)size;
	input.bytes = claim_memory(input.size + 1);
	if (fread(input.bytes, 1, input.size, in) != input.size)
		refuse(path, 1, "cannot be read whole");
	fclose(in);
	return input;
}

/* Text for the compiler must be text: a zero byte would end it early, unseen. */
static void check_text(const struct input *input)
{
	size_t line = 1;

	for (size_t i = 0; i < input->size; i++) {
		if (!input->bytes[i])
			refuse(input->path, line, "a zero byte in a text");
		line += input->bytes[i] == '\n';
	}
}

static bool is_name(const char *text, size_t len)
{
	if (len == 0 || len > NAME_MAX_LEN || !islower((unsigned char)text[0]))
		return false;
	for (size_t i = 0; i < len; i++) {
		unsigned char byte = (unsigned char)text[i];

		if (!islower(byte) && !isdigit(byte) && byte != '_')
			return false;
	}
	return true;
}

/* ---------------------------------------------------------------- SQL, as far as needed */

/* The end of the comment or quoted text that begins at `at`, or `at` when none does. */
static const char *skip_quiet(const char *at)
{
	const char *end = NULL;

	if (at[0] == '-' && at[1] == '-') {
		end = strchr(at, '\n');
	} else if (at[0] == '/' && at[1] == '*') {
		end = strstr(at + 2, "*/");
		end = end ? end + 2 : NULL;
	} else if (at[0] == '\'' || at[0] == '"') {
		end = strchr(at + 1, at[0]); /* a doubled quote reads as two texts: same end */
		end = end ? end + 1 : NULL;
	} else if (at[0] == '$' && (at[1] == '$' || isalpha((unsigned char)at[1]))) {
		size_t tag = 1 + strspn(at + 1, "abcdefghijklmnopqrstuvwxyz_");
		char mark[NAME_MAX_LEN + 3] = "";

		if (at[tag] != '$' || tag > NAME_MAX_LEN)
			return at;
		memcpy(mark, at, tag + 1);
		end = strstr(at + tag + 1, mark);
		end = end ? end + tag + 1 : NULL;
	} else {
		return at;
	}
	return end ? end : at + strlen(at);
}

/* How many statements with content `sql` holds. */
static int count_statements(const char *sql)
{
	bool content = false;
	int count = 0;

	while (*sql) {
		const char *next = skip_quiet(sql);

		if (next != sql) {
			content = content || (sql[0] != '-' && sql[0] != '/');
			sql = next;
			continue;
		}
		if (*sql == ';') {
			count += content;
			content = false;
		} else if (!isspace((unsigned char)*sql)) {
			content = true;
		}
		sql++;
	}
	return count + content;
}

/* ---------------------------------------------------------------- parsing statements */

/* "-- name: get" gives "get"; NULL for any other line. */
static char *parse_name_line(const struct input *input, size_t line, const char *at, size_t len)
{
	static const char mark[] = "-- name:";
	size_t mark_len = sizeof mark - 1;

	if (len < mark_len || memcmp(at, mark, mark_len) != 0)
		return NULL;
	at += mark_len;
	len -= mark_len;
	while (len && isblank((unsigned char)*at))
		at++, len--;
	while (len && isspace((unsigned char)at[len - 1]))
		len--;
	if (!is_name(at, len))
		refuse(input->path, line,
		       "'%.*s' is no statement name: small letters, digits and _ only", (int)len,
		       at);
	return copy_text(at, len);
}

static void add_piece(char **text, const char *piece, size_t len)
{
	size_t old = strlen(*text);
	char *longer = claim_memory(old + len + 2);

	memcpy(longer, *text, old);
	if (old)
		longer[old++] = ' ';
	memcpy(longer + old, piece, len);
	*text = longer;
}

/* The comment lines right after the name; returns where the SQL begins. */
static const char *parse_description(struct statement *statement, const char *at, size_t *line)
{
	while (at[0] == '-' && at[1] == '-' && strncmp(at, "-- name:", 8) != 0) {
		size_t len = strcspn(at, "\n");
		const char *words = at + 2 + strspn(at + 2, " \t");

		if (words > at + len)
			words = at + len;
		add_piece(&statement->description, words, (size_t)(at + len - words));
		at += len + (at[len] == '\n');
		(*line)++;
	}
	return at;
}

static void check_statement(const struct statement_file *file, const struct statement *added)
{
	int count = count_statements(added->sql);

	if (count != 1)
		refuse(file->input->path, added->line, "statement '%s' %s", added->name,
		       count ? "is more than one statement" : "is empty");
	for (const struct statement *other = file->list; other < added; other++) {
		if (strcmp(other->name, added->name) == 0)
			refuse(file->input->path, added->line,
			       "statement '%s' was named before, in line %zu", added->name,
			       other->line);
	}
}

static struct statement_file parse_statements(const struct input *input)
{
	size_t stem_len = strcspn(input->name, ".");
	struct statement_file file = {.input = input, .stem = copy_text(input->name, stem_len)};
	const char *at = input->bytes;
	size_t line = 1;

	file.list = claim_memory(STATEMENTS_MAX * sizeof *file.list);
	while (*at) {
		size_t len = strcspn(at, "\n");
		char *name = parse_name_line(input, line, at, len);
		bool blank = strspn(at, " \t\r") == len;

		if (!name && !blank && strncmp(at, "--", 2) != 0)
			refuse(input->path, line, "text before the first '-- name:'");
		at += len + (at[len] == '\n');
		if (name) {
			struct statement *added = &file.list[file.count];
			const char *begin = NULL;

			if (file.count == STATEMENTS_MAX)
				refuse(input->path, line, "more than %d statements",
				       STATEMENTS_MAX);
			*added = (struct statement){.name = name, .line = line};
			added->description = copy_text("", 0);
			line++;
			at = begin = parse_description(added, at, &line);
			while (*at && strncmp(at, "-- name:", 8) != 0) {
				len = strcspn(at, "\n");
				at += len + (at[len] == '\n');
				line++;
			}
			len = (size_t)(at - begin);
			while (len && isspace((unsigned char)begin[len - 1]))
				len--;
			added->sql = copy_text(begin, len);
			check_statement(&file, added);
			file.count++;
		} else {
			line++;
		}
	}
	if (!file.count)
		refuse(input->path, line, "no statement in it");
	return file;
}

static const struct statement *find_statement(const struct statement_file *file, const char *name)
{
	for (size_t i = 0; i < file->count; i++) {
		if (strcmp(file->list[i].name, name) == 0)
			return &file->list[i];
	}
	return NULL;
}

/* Dialects of one set must name the same statements. */
static void check_same_names(const struct statement_file *one, const struct statement_file *other)
{
	for (size_t i = 0; i < one->count; i++) {
		if (!find_statement(other, one->list[i].name))
			refuse(one->input->path, one->list[i].line,
			       "statement '%s' is missing in %s", one->list[i].name,
			       other->input->path);
	}
}

/* ---------------------------------------------------------------- topics */

/* The line "-- name: x only sqlite": where " only " begins, or NULL. */
static const char *find_only(const char *at, size_t len)
{
	static const char word[] = " only ";

	if (strncmp(at, "-- name:", 8) != 0)
		return NULL;
	for (size_t i = 8; i + sizeof word - 1 < len; i++) {
		if (strncmp(at + i, word, sizeof word - 1) == 0)
			return at + i;
	}
	return NULL;
}

/* Is the word after " only " this dialect? */
static bool is_dialect(const char *only, const char *line_end, const char *dialect)
{
	const char *word = only + strlen(" only ");
	size_t len = (size_t)(line_end - word);

	return len == strlen(dialect) && strncmp(word, dialect, len) == 0;
}

/* How the dialects of topics differ, in the order of kp_sql_dialect. */
struct dialect {
	const char *name;
	char mark;         /* begins a parameter */
	bool keeps_shared; /* what stands between @{ and } */
};

static const struct dialect topic_dialects[] = {{"sqlite", '?', false}, {"postgres", '$', true}};

/* The length of the text between the "@{" at `at` and its bracket; what is not right is refused. */
static size_t measure_shared(const char *path, size_t line, const char *at, size_t len)
{
	for (size_t i = 2; i < len; i++) {
		if (at[i] == '}')
			return i - 2;
		if (at[i] == '@' && i + 1 < len && at[i + 1] == '{')
			refuse(path, line, "'@{' inside '@{'");
	}
	refuse(path, line, "'@{' is not closed on its line");
}

/* A piece of SQL, its parameters spelled as the dialect wants. */
static char *put_sql(char *to, const char *at, size_t len, char mark)
{
	for (size_t i = 0; i < len; i++) {
		bool parameter = at[i] == '$' && i + 1 < len && isdigit((unsigned char)at[i + 1]);

		*to++ = parameter ? mark : at[i];
	}
	return to;
}

/* One line of a topic as the dialect reads it. */
static char *put_topic_line(char *to, const char *at, size_t len, const struct dialect *dialect,
			    const char *path, size_t line)
{
	bool comment = len >= 2 && at[0] == '-' && at[1] == '-';
	size_t done = 0;

	for (size_t i = 0; !comment && i + 1 < len; i++) {
		size_t inside = 0;

		if (at[i] != '@' || at[i + 1] != '{')
			continue;
		inside = measure_shared(path, line, at + i, len - i);
		to = put_sql(to, at + done, i - done, dialect->mark);
		if (dialect->keeps_shared)
			to = put_sql(to, at + i + 2, inside, dialect->mark);
		i += inside + 2; /* the bracket */
		done = i + 1;
	}
	return put_sql(to, at + done, len - done, dialect->mark);
}

/* What `dialect` reads of a topic: the blocks of the other one become empty lines, so that lines
   keep their numbers. */
static struct input filter_topic(const struct input *topic, const struct dialect *dialect)
{
	struct input out = {.path = topic->path, .name = topic->name};
	char *to = out.bytes = claim_memory(topic->size + 1);
	bool skips = false;
	size_t line = 1;

	for (const char *at = topic->bytes; *at; line++) {
		size_t len = strcspn(at, "\n");
		const char *only = find_only(at, len);

		if (strncmp(at, "-- name:", 8) == 0)
			skips = only && !is_dialect(only, at + len, dialect->name);
		if (only && !is_dialect(only, at + len, "sqlite") &&
		    !is_dialect(only, at + len, "postgres"))
			refuse(topic->path, line, "only what? there are sqlite and postgres");
		if (!skips)
			to = put_topic_line(to, at, only ? (size_t)(only - at) : len, dialect,
					    topic->path, line);
		at += len;
		if (*at)
			*to++ = *at++;
	}
	out.size = (size_t)(to - out.bytes);
	return out;
}

/* One set of all topics in a dialect. */
static struct statement_file merge_topics(const struct input *topics, size_t count,
					  const struct dialect *dialect)
{
	struct statement_file all = {.stem = copy_text(dialect->name, strlen(dialect->name))};

	all.list = claim_memory(STATEMENTS_MAX * sizeof *all.list);
	for (size_t i = 0; i < count; i++) {
		struct input *mine = claim_memory(sizeof *mine);
		struct statement_file file;

		*mine = filter_topic(&topics[i], dialect);
		file = parse_statements(mine);
		all.input = mine;
		for (size_t j = 0; j < file.count; j++) {
			if (all.count == STATEMENTS_MAX)
				refuse(mine->path, file.list[j].line, "more than %d statements",
				       STATEMENTS_MAX);
			all.list[all.count] = file.list[j];
			check_statement(&all, &all.list[all.count]);
			all.count++;
		}
	}
	return all;
}

/* ---------------------------------------------------------------- writing */

struct output {
	FILE *c, *h;
	const char *c_path, *h_path;
};

static FILE *create_file(const char *path)
{
	FILE *file = fopen(path, "w");

	if (!file)
		refuse(path, 1, "%s", strerror(errno));
	return file;
}

static struct output begin_output(const char *c_path, const char *h_path, const char *includes)
{
	struct output out = {create_file(c_path), create_file(h_path), c_path, h_path};

	fprintf(out.h, "/* Generated by tools/embed.c. Do not edit. */\n#pragma once\n%s\n",
		includes);
	fprintf(out.c, "/* Generated by tools/embed.c. Do not edit. */\n#include \"%s\"\n\n",
		get_base(h_path));
	return out;
}

static void finish_output(struct output *out)
{
	bool bad = ferror(out->c) || ferror(out->h);

	bad = fclose(out->c) != 0 || bad;
	bad = fclose(out->h) != 0 || bad;
	if (bad) {
		remove(out->c_path);
		remove(out->h_path);
		refuse(out->c_path, 1, "cannot be written whole");
	}
}

/* A string literal, one piece for each line of the text or every 72 bytes. */
static void put_literal(FILE *out, const char *bytes, size_t size)
{
	size_t in_piece = 0;

	fputs("\n\t\t\"", out);
	for (size_t i = 0; i < size; i++) {
		unsigned char byte = (unsigned char)bytes[i];

		if (in_piece == 72 || (i && bytes[i - 1] == '\n')) {
			fputs("\"\n\t\t\"", out);
			in_piece = 0;
		}
		if (byte == '\n')
			fputs("\\n", out);
		else if (isprint(byte) && byte != '"' && byte != '\\' && byte != '?')
			fputc(byte, out);
		else
			fprintf(out, "\\%03o", (unsigned)byte);
		in_piece++;
	}
	fputc('"', out);
}

static void put_upper(FILE *out, const char *text)
{
	for (; *text; text++)
		fputc(toupper((unsigned char)*text), out);
}

/* A description inside a C comment must not end it. */
static void put_comment(FILE *out, const char *text)
{
	if (!*text)
		return;
	fputs(" /* ", out);
	for (; *text; text++) {
		fputc(*text, out);
		if ((text[0] == '*' && text[1] == '/') || (text[0] == '/' && text[1] == '*'))
			fputc(' ', out);
	}
	fputs(" */", out);
}

static void write_files(const char *name, const char *c_path, const char *h_path,
			const struct input *inputs, size_t count)
{
	struct output out = begin_output(c_path, h_path, "#include <stddef.h>\n");

	fputs("#ifndef KP_EMBEDDED_FILE\n#define KP_EMBEDDED_FILE\n"
	      "typedef struct kp_embedded_file {\n\tconst char *name;\n"
	      "\tconst char *bytes; /* a zero byte follows the last */\n\tsize_t size;\n"
	      "} kp_embedded_file;\n#endif\n\n",
	      out.h);
	fprintf(out.h, "extern const kp_embedded_file kp_%s_files[];\nenum { KP_", name);
	put_upper(out.h, name);
	fprintf(out.h, "_FILE_COUNT = %zu };\n", count);
	fprintf(out.c, "const kp_embedded_file kp_%s_files[] = {\n", name);
	for (size_t i = 0; i < count; i++) {
		fputs("\t{", out.c);
		put_literal(out.c, inputs[i].name, strlen(inputs[i].name));
		fputs(",", out.c);
		put_literal(out.c, inputs[i].bytes, inputs[i].size);
		fprintf(out.c, ", %zu},\n", inputs[i].size);
	}
	fputs("};\n", out.c);
	finish_output(&out);
}

static void write_list(FILE *out, const struct statement_file *order,
		       const struct statement_file *file, const char *set)
{
	fprintf(out, "static const kp_statement %s_list[] = {\n", set);
	for (size_t i = 0; i < order->count; i++) {
		const struct statement *statement = find_statement(file, order->list[i].name);

		fprintf(out, "\t{\"%s\",", statement->name);
		put_literal(out, statement->sql, strlen(statement->sql));
		fputs("},\n", out);
	}
	fputs("};\n\n", out);
}

static void write_set(FILE *out, const struct statement_file *order,
		      const struct statement_file *file, const char *set)
{
	write_list(out, order, file, set);
	fprintf(out, "const kp_statement_set kp_%s_statements = {\"%s\", %s_list, %zu};\n\n", set,
		file->input->name, set, file->count);
}

static void write_enum(FILE *out, const char *name, const struct statement_file *order)
{
	fputs("enum {\n", out);
	for (size_t i = 0; i < order->count; i++) {
		fputs("\tKP_", out);
		put_upper(out, name);
		fputc('_', out);
		put_upper(out, order->list[i].name);
		fputc(',', out);
		put_comment(out, order->list[i].description);
		fputc('\n', out);
	}
	fputs("\tKP_", out);
	put_upper(out, name);
	fputs("_COUNT\n};\n\n", out);
}

/* The dialects' sets in the order of kp_sql_dialect. */
static void write_topics(const char *name, const char *c_path, const char *h_path,
			 const struct statement_file *dialects)
{
	struct output out = begin_output(c_path, h_path, "#include \"sql/sql.h\"\n");

	write_enum(out.h, name, &dialects[0]);
	fprintf(out.h, "extern const kp_statement_set kp_%s_statements[KP_DIALECT_COUNT];\n", name);
	for (size_t i = 0; i < 2; i++)
		write_list(out.c, &dialects[0], &dialects[i], dialects[i].stem);
	fprintf(out.c, "const kp_statement_set kp_%s_statements[KP_DIALECT_COUNT] = {\n", name);
	for (size_t i = 0; i < 2; i++) {
		fputs("\t[KP_DIALECT_", out.c);
		put_upper(out.c, dialects[i].stem);
		fprintf(out.c, "] = {\"%s %s\", %s_list, %zu},\n", name, dialects[i].stem,
			dialects[i].stem, dialects[i].count);
	}
	fputs("};\n", out.c);
	finish_output(&out);
}

static void write_statements(const char *name, const char *c_path, const char *h_path,
			     const struct statement_file *files, size_t count)
{
	struct output out = begin_output(c_path, h_path, "#include \"sql/sql.h\"\n");

	write_enum(out.h, name, &files[0]);
	for (size_t i = 0; i < count; i++) {
		const char *set = count == 1 ? name : files[i].stem;

		fprintf(out.h, "extern const kp_statement_set kp_%s_statements;\n", set);
		write_set(out.c, &files[0], &files[i], set);
	}
	finish_output(&out);
}

static void write_migrations(const char *name, const char *c_path, const char *h_path,
			     const struct input *inputs, size_t count)
{
	struct output out = begin_output(c_path, h_path, "#include \"sql/sql.h\"\n");

	fprintf(out.h, "extern const kp_migration kp_%s_migrations[];\nenum { KP_", name);
	put_upper(out.h, name);
	fprintf(out.h, "_MIGRATION_COUNT = %zu };\n", count);
	fprintf(out.c, "const kp_migration kp_%s_migrations[] = {\n", name);
	for (size_t i = 0; i < count; i++) {
		int stem = (int)strcspn(inputs[i].name, ".");

		fprintf(out.c, "\t{%zu, \"%.*s\",", i + 1, stem, inputs[i].name);
		put_literal(out.c, inputs[i].bytes, inputs[i].size);
		fputs("},\n", out.c);
	}
	fputs("};\n", out.c);
	finish_output(&out);
}

/* ---------------------------------------------------------------- the modes */

/* NNNN_description.sql, in order, without a gap. */
static void check_migration(const struct input *input, size_t version)
{
	const char *name = input->name;
	size_t len = strlen(name);
	bool named = len > 9 && strspn(name, "0123456789") == 4 && name[4] == '_' &&
		     strcmp(name + len - 4, ".sql") == 0 && is_name(name + 5, len - 9);

	if (!named)
		refuse(input->path, 1, "a migration is named NNNN_description.sql");
	if (strtoul(name, NULL, 10) != version)
		refuse(input->path, 1, "migration %04zu is expected here: no gaps, in order",
		       version);
	check_text(input);
	if (!count_statements(input->bytes))
		refuse(input->path, 1, "the migration is empty");
}

int main(int argc, char **argv)
{
	size_t count = argc > 5 ? (size_t)argc - 5 : 0;
	const char *mode = argc > 1 ? argv[1] : "";
	bool files = strcmp(mode, "files") == 0;
	bool statements = strcmp(mode, "statements") == 0, topics = strcmp(mode, "topics") == 0;
	struct input *inputs = NULL;
	struct statement_file *parsed = NULL;

	if (!count || !(files || statements || topics || strcmp(mode, "migrations") == 0) ||
	    !is_name(argv[2], strlen(argv[2]))) {
		fprintf(stderr,
			"usage: embed files|statements|topics|migrations NAME out.c out.h FILE…\n"
			"       NAME is of small letters, digits and _\n");
		return 2;
	}
	inputs = claim_memory(count * sizeof *inputs);
	parsed = claim_memory(count * sizeof *parsed);
	for (size_t i = 0; i < count; i++) {
		inputs[i] = read_input(argv[i + 5], files);
		if (statements) {
			check_text(&inputs[i]);
			parsed[i] = parse_statements(&inputs[i]);
			check_same_names(&parsed[0], &parsed[i]);
			check_same_names(&parsed[i], &parsed[0]);
			if (count > 1 && !is_name(parsed[i].stem, strlen(parsed[i].stem)))
				refuse(inputs[i].path, 1, "the file's name becomes a C name");
		} else if (topics) {
			check_text(&inputs[i]);
		} else if (!files) {
			check_migration(&inputs[i], i + 1);
		}
	}
	if (topics) {
		struct statement_file dialects[] = {
			merge_topics(inputs, count, &topic_dialects[0]),
			merge_topics(inputs, count, &topic_dialects[1]),
		};

		check_same_names(&dialects[0], &dialects[1]);
		check_same_names(&dialects[1], &dialects[0]);
		write_topics(argv[2], argv[3], argv[4], dialects);
	}
	if (files)
		write_files(argv[2], argv[3], argv[4], inputs, count);
	else if (statements)
		write_statements(argv[2], argv[3], argv[4], parsed, count);
	else if (!topics)
		write_migrations(argv[2], argv[3], argv[4], inputs, count);
	release_all();
	return 0;
}

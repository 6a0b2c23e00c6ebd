/*
 * postgres_text.c - the PostgreSQL driver: what it must see in a statement's text.
 *
 * Two questions, answered without asking the server: how many parameters are there, so that an
 * unbound one is NULL and a wrong index is refused at bind, as SQLite does; and can it change
 * anything, so that a connection lost during it outside of a transaction is told truly as
 * UNCERTAIN. This is no parser: it knows where literals, quoted names and comments end.
 *
 * Tests: tests/unit/test_postgres_text.c.
 */
#include "sql/postgres_private.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

enum { PARAMETERS_MAX = 65535 }; /* the protocol counts them in 16 bits */

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '$' || (unsigned char)c >= 0x80;
}

/* After a quote `at`; doubled quotes need no care: the second opens what follows. */
static const char *skip_quoted(const char *at, bool backslashes)
{
	char quote = *at++;

	while (*at != '\0' && *at != quote)
		at += backslashes && *at == '\\' && at[1] != '\0' ? 2 : 1;
	return *at == '\0' ? at : at + 1;
}

static const char *skip_comment(const char *at)
{
	int depth = 0;

	if (*at == '-')
		return at + strcspn(at, "\n");
	do {
		if (at[0] == '/' && at[1] == '*') {
			depth++;
			at += 2;
		} else if (at[0] == '*' && at[1] == '/') {
			depth--;
			at += 2;
		} else {
			at++;
		}
	} while (depth > 0 && *at != '\0');
	return at;
}

/* After the end of $tag$…$tag$; after the '$' when this is none. */
static const char *skip_dollar_quoted(const char *at)
{
	const char *end = at + 1, *close;
	size_t len;

	while (is_word(*end) && *end != '$')
		end++;
	if (*end != '$')
		return at + 1;
	len = (size_t)(end + 1 - at);
	for (close = end + 1; *close != '\0'; close++) {
		if (strncmp(close, at, len) == 0)
			return close + len;
	}
	return close;
}

/* After one element of the text: a word, a literal, a comment, or one character. */
static const char *skip_element(const char *at)
{
	if (*at == '\'' || *at == '"')
		return skip_quoted(at, false);
	if ((at[0] == '-' && at[1] == '-') || (at[0] == '/' && at[1] == '*'))
		return skip_comment(at);
	if (*at == '$')
		return skip_dollar_quoted(at);
	if ((*at == 'e' || *at == 'E') && at[1] == '\'')
		return skip_quoted(at + 1, true);
	if (!is_word(*at))
		return at + 1;
	while (is_word(*at))
		at++;
	return at;
}

int kp_pg_parameter_count(const char *sql)
{
	int count = 0;

	while (*sql != '\0') {
		if (sql[0] == '$' && isdigit((unsigned char)sql[1])) {
			int number = 0;

			for (sql++; isdigit((unsigned char)*sql); sql++) {
				if (number <= PARAMETERS_MAX)
					number = number * 10 + (*sql - '0');
			}
			if (number > count)
				count = number;
		} else {
			sql = skip_element(sql);
		}
	}
	return count < PARAMETERS_MAX ? count : PARAMETERS_MAX;
}

static bool is_one_of(const char *word, size_t len, const char *const *words)
{
	for (; *words; words++) {
		if (strlen(*words) == len && strncasecmp(word, *words, len) == 0)
			return true;
	}
	return false;
}

/* A query calls functions, and those may write: Keep's own SQL has none that do. */
bool kp_pg_may_write(const char *sql)
{
	static const char *const queries[] = {"SELECT", "VALUES", "TABLE", "SHOW", "WITH", NULL};
	static const char *const changes[] = {"INSERT", "UPDATE",    "DELETE", "MERGE",
					      "INTO",   "PG_NOTIFY", NULL};
	bool is_first = true;

	while (*sql != '\0') {
		const char *end = skip_element(sql);

		if (isalpha((unsigned char)*sql)) {
			size_t len = (size_t)(end - sql);

			if (is_first && !is_one_of(sql, len, queries))
				return true;
			/* FOR UPDATE is taken for a change: then UNCERTAIN is said once too often.
			 */
			if (is_one_of(sql, len, changes))
				return true;
			is_first = false;
		}
		sql = end;
	}
	return is_first;
}

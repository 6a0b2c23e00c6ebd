/*
 * engine_postgres_url.c - which namespace a URL means, so that a process does not open it twice.
 *
 * Nothing of the URL but host, port, database, schema and namespace is in it: the rest may hold a
 * password.
 *
 * Tests: tests/unit/test_engine_urls.c.
 */
#include "engine/engine_postgres.h"

#include <libpq-fe.h>
#include <string.h>

/* ---------------------------------------------------------------- identity */

/* What libpq would use for `keyword`: the URL's word, or else its default. */
static const char *option(const PQconninfoOption *options, const PQconninfoOption *defaults,
			  const char *keyword)
{
	for (; options && options->keyword; options++)
		if (!strcmp(options->keyword, keyword) && options->val && *options->val)
			return options->val;
	return defaults ? option(defaults, NULL, keyword) : "";
}

/* Append `text` so that it holds none of the characters that separate the parts; a host's letters
   are small, because they are the same host's. */
static keep_status append_part(keep_buffer *out, const char *text, bool is_host, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (; *text && status == KEEP_OK; text++) {
		char small = is_host && *text >= 'A' && *text <= 'Z' ? (char)(*text + 32) : *text;

		if (strchr("% ", *text) || (*text == '/' && !is_host))
			status = kp_buffer_append_format(out, err, "%%%02X", (unsigned char)*text);
		else
			status = kp_buffer_append(out, (keep_bytes){&small, 1}, err);
	}
	return status;
}

/* "postgres:<host>:<port>/<database> <schema>/<namespace>" */
static keep_status format_identity(const kp_postgres_url *parts,
				   const PQconninfoOption *options,
				   const PQconninfoOption *defaults, keep_buffer *text,
				   keep_error *err)
{
	const char *address = option(options, defaults, "hostaddr");
	const char *host = option(options, defaults, "host");
	const char *database = option(options, defaults, "dbname");
	keep_status status = kp_buffer_append_text(text, "postgres:", err);

	if (!*database)
		database = option(options, defaults, "user");
	if (status == KEEP_OK)
		status = *host == '/' /* a path's letters stay */
				 ? kp_buffer_append_text(text, host, err)
				 : append_part(text, *address ? address : host, true, err);
	if (status == KEEP_OK)
		status = kp_buffer_append_format(text, err, ":%s/",
						 option(options, defaults, "port"));
	if (status == KEEP_OK)
		status = append_part(text, database, false, err);
	if (status == KEEP_OK)
		status = kp_buffer_append_text(text, " ", err);
	if (status == KEEP_OK)
		status = append_part(text, parts->schema, false, err);
	if (status == KEEP_OK)
		status = kp_buffer_append_format(text, err, "/%s", parts->name);
	return status;
}

/* libpq's own complaint may quote the password. */
static keep_status parse_conninfo(const char *conninfo, PQconninfoOption **options, keep_error *err)
{
	char *complaint = NULL;
	keep_status status = KEEP_OK;

	*options = PQconninfoParse(conninfo, &complaint);
	if (!*options && (!complaint || strstr(complaint, "out of memory")))
		status = kp_fail_memory(err, "a URL");
	else if (!*options)
		status = kp_fail(err, KEEP_INVALID, "URL: not a PostgreSQL connection URL");
	PQfreemem(complaint);
	return status;
}

keep_status kp_engine_postgres_identify(const char *url, char **identity, keep_error *err)
{
	kp_postgres_url parts;
	PQconninfoOption *options = NULL, *defaults = NULL;
	keep_buffer text = KEEP_BUFFER_INIT;
	keep_status status = kp_postgres_url_read(url, "engine", &parts, err);

	*identity = NULL;
	if (status != KEEP_OK)
		return status;
	status = parse_conninfo(parts.conninfo, &options, err);
	if (status == KEEP_OK && !(defaults = PQconndefaults()))
		status = kp_fail_memory(err, "a URL");
	if (status == KEEP_OK)
		status = format_identity(&parts, options, defaults, &text, err);
	if (status == KEEP_OK)
		*identity = text.data;
	else
		keep_buffer_release(&text);
	PQconninfoFree(options);
	PQconninfoFree(defaults);
	kp_postgres_url_release(&parts);
	return status;
}

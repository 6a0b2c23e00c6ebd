/*
 * engine_postgres_url.c - postgres://…?schema=S&namespace=N: our two parameters and libpq's rest.
 *
 * libpq reads the URL itself and refuses parameters that it does not know, so `schema` and
 * `namespace` are cut out, percent-decoded and checked here. Nothing of the URL but host, port,
 * database, schema and namespace reaches a message: the rest may hold a password.
 *
 * Tests: tests/unit/test_engine_urls.c.
 */
#include "engine/engine_postgres.h"

#include <libpq-fe.h>
#include <string.h>

enum { SCHEMA_BYTES_MAX = 63, NAMESPACE_BYTES_MAX = 255 };

void kp_engine_postgres_url_release(struct postgres_url *parts)
{
	kp_free(parts->conninfo);
	kp_free(parts->schema);
	kp_free(parts->name);
	*parts = (struct postgres_url){0};
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Decode `len` bytes of a parameter's value into a text of its own. */
static keep_status decode(const char *name, const char *value, size_t len, size_t max, char **out,
			  keep_error *err)
{
	char *text = kp_alloc(len + 1);
	size_t at = 0;

	if (!text)
		return kp_fail_memory(err, "a URL");
	for (size_t i = 0; i < len; i++) {
		int high = len - i > 2 ? hex_digit(value[i + 1]) : -1;
		int low = len - i > 2 ? hex_digit(value[i + 2]) : -1;

		if (value[i] != '%') {
			text[at++] = value[i];
		} else if (high >= 0 && low >= 0) {
			text[at++] = (char)(high * 16 + low);
			i += 2;
		} else {
			kp_free(text);
			return kp_fail(err, KEEP_INVALID, "URL: %s has a broken %% escape", name);
		}
	}
	text[at] = '\0';
	kp_free(*out);
	*out = text;
	if (at == 0 || at > max || !kp_text_is_storable((keep_bytes){text, at}))
		return kp_fail(err, KEEP_INVALID, "URL: %s must be 1 to %zu bytes of UTF-8", name,
			       max);
	return KEEP_OK;
}

static keep_status set_default(const char *value, char **out, keep_error *err)
{
	if (*out)
		return KEEP_OK;
	*out = kp_alloc(strlen(value) + 1);
	if (!*out)
		return kp_fail_memory(err, "a URL");
	memcpy(*out, value, strlen(value) + 1);
	return KEEP_OK;
}

static bool is_parameter(const char *at, size_t len, const char *name)
{
	size_t name_len = strlen(name);

	return len > name_len && !strncmp(at, name, name_len) && at[name_len] == '=';
}

keep_status kp_engine_postgres_url(const char *url, struct postgres_url *parts, keep_error *err)
{
	const char *query = strchr(url, '?');
	size_t used = query ? (size_t)(query - url) : strlen(url);
	char separator = '?';
	keep_status status = KEEP_OK;

	*parts = (struct postgres_url){.conninfo = kp_alloc(strlen(url) + 1)};
	if (!parts->conninfo)
		return kp_fail_memory(err, "a URL");
	memcpy(parts->conninfo, url, used);
	for (const char *at = query ? query + 1 : ""; *at && status == KEEP_OK;) {
		size_t len = strcspn(at, "&");

		if (is_parameter(at, len, "schema")) {
			status = decode("schema", at + 7, len - 7, SCHEMA_BYTES_MAX, &parts->schema,
					err);
		} else if (is_parameter(at, len, "namespace")) {
			status = decode("namespace", at + 10, len - 10, NAMESPACE_BYTES_MAX,
					&parts->name, err);
		} else if (len) {
			parts->conninfo[used++] = separator;
			memcpy(parts->conninfo + used, at, len);
			used += len;
			separator = '&';
		}
		at += at[len] ? len + 1 : len;
	}
	parts->conninfo[used] = '\0';
	if (status == KEEP_OK)
		status = set_default("engine", &parts->schema, err);
	if (status == KEEP_OK)
		status = set_default("default", &parts->name, err);
	if (status != KEEP_OK)
		kp_engine_postgres_url_release(parts);
	return status;
}

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
static keep_status format_identity(const struct postgres_url *parts,
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
	struct postgres_url parts;
	PQconninfoOption *options = NULL, *defaults = NULL;
	keep_buffer text = KEEP_BUFFER_INIT;
	keep_status status = kp_engine_postgres_url(url, &parts, err);

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
	kp_engine_postgres_url_release(&parts);
	return status;
}

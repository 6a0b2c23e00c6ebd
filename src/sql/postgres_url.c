/*
 * postgres_url.c - postgres://…?schema=S&namespace=N: our two parameters and libpq's rest.
 *
 * libpq reads the URL itself and refuses parameters that it does not know, so `schema` and
 * `namespace` are cut out, percent-decoded and checked here. Nothing of the URL reaches a message:
 * it may hold a password.
 *
 * Tests: tests/unit/test_engine_urls.c.
 */
#include "sql/sql.h"

#include <string.h>

enum { SCHEMA_BYTES_MAX = 63, NAMESPACE_BYTES_MAX = 255 };

void kp_postgres_url_release(kp_postgres_url *parts)
{
	kp_free(parts->conninfo);
	kp_free(parts->schema);
	kp_free(parts->name);
	*parts = (kp_postgres_url){0};
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
		int high = len - i > 2 ? kp_hex_digit(value[i + 1]) : -1;
		int low = len - i > 2 ? kp_hex_digit(value[i + 2]) : -1;

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

keep_status kp_postgres_url_read(const char *url, const char *schema, kp_postgres_url *parts,
				 keep_error *err)
{
	const char *query = strchr(url, '?');
	size_t used = query ? (size_t)(query - url) : strlen(url);
	char separator = '?';
	keep_status status = KEEP_OK;

	*parts = (kp_postgres_url){.conninfo = kp_alloc(strlen(url) + 1)};
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
		status = set_default(schema, &parts->schema, err);
	if (status == KEEP_OK)
		status = set_default("default", &parts->name, err);
	if (status != KEEP_OK)
		kp_postgres_url_release(parts);
	return status;
}

/*
 * engine_redis_url.c - URLs of the Redis backend.
 *
 *     redis://[USER:PASSWORD@]HOST[:PORT][/DB][?prefix=P]
 *     redis+unix://[USER:PASSWORD@]/ABSOLUTE/SOCKET[?db=N&prefix=P]
 *
 * User, password, socket and prefix may hold %XX. A password alone is written ":PASSWORD@".
 *
 * Invariants:
 *   1. No message shows a part of the URL that can be the password or a piece of one.
 *   2. Two prefixes that are both accepted never share a key. A key is <prefix>:<kind>:<path>, so
 *      "a:doc" with path "x" would be "a" with path "doc:x"; a prefix with such a kind in it is
 *      refused.
 *   3. The decoded text is wiped when released.
 *
 * Tests: tests/contract/test_engine_redis.c.
 */
#include "engine/engine_redis.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define PREFIX_DEFAULT "keep"
#define PREFIX_BYTES_MAX 512
#define PORT_DEFAULT 6379
#define DB_MAX 1000000
#define TCP_SCHEME "redis://"
#define UNIX_SCHEME "redis+unix://"

/* Cut *rest at the first of `ends`, which becomes a zero byte; *end is what stood there, or 0. */
static char *cut(char **rest, const char *ends, char *end)
{
	char *part = *rest;
	size_t len = strcspn(part, ends);

	*end = part[len];
	*rest = part + len + (*end ? 1 : 0);
	part[len] = '\0';
	return part;
}

static int hex_value(char digit)
{
	const char *digits = "0123456789abcdef";
	const char *at;

	if (digit >= 'A' && digit <= 'F')
		digit = (char)(digit - 'A' + 'a');
	at = digit ? strchr(digits, digit) : NULL;
	return at ? (int)(at - digits) : -1;
}

/* Decode %XX in place. INVALID: not two digits, or a zero byte. */
static keep_status decode(char *text, const char *what, keep_bytes *out, keep_error *err)
{
	char *to = text;

	for (const char *from = text; *from; to++) {
		int high, low;

		if (*from != '%') {
			*to = *from++;
			continue;
		}
		high = hex_value(from[1]);
		low = high < 0 ? -1 : hex_value(from[2]);
		if (low < 0 || high * 16 + low == 0)
			return kp_fail(err, KEEP_INVALID,
				       "redis URL: the %s holds a '%%' that is no escape", what);
		*to = (char)(high * 16 + low);
		from += 3;
	}
	*to = '\0';
	*out = (keep_bytes){text, (size_t)(to - text)};
	return KEEP_OK;
}

static keep_status parse_number(const char *text, const char *what, int64_t min, int64_t max,
				int64_t *out, keep_error *err)
{
	if (!kp_int_parse(keep_bytes_of(text), out) || *out < min || *out > max)
		return kp_fail(err, KEEP_INVALID,
			       "redis URL: the %s is not a number from %lld to %lld", what,
			       (long long)min, (long long)max);
	return KEEP_OK;
}

static bool contains(keep_bytes text, const char *part)
{
	return memmem(text.data, text.len, part, strlen(part)) != NULL;
}

static bool ends_with(keep_bytes text, const char *end)
{
	size_t len = strlen(end);

	return text.len >= len && memcmp(text.data + text.len - len, end, len) == 0;
}

static keep_status check_prefix(keep_bytes prefix, keep_error *err)
{
	static const char *const kinds[] = {":doc", ":idx", ":dir"};

	if (prefix.len == 0)
		return kp_fail(err, KEEP_INVALID, "redis URL: the prefix is empty");
	if (prefix.len > PREFIX_BYTES_MAX)
		return kp_fail(err, KEEP_INVALID, "redis URL: the prefix has more than %d bytes",
			       PREFIX_BYTES_MAX);
	for (size_t i = 0; i < KP_COUNT(kinds); i++) {
		char inner[8];

		snprintf(inner, sizeof inner, "%s:", kinds[i]);
		if (contains(prefix, inner) || ends_with(prefix, kinds[i]))
			return kp_fail(
				err, KEEP_INVALID,
				"redis URL: the prefix '%" KP_PRI
				"' would share keys with a shorter one, because it holds '%s'",
				KP_ARG(prefix), kinds[i]);
	}
	return KEEP_OK;
}

static keep_status parse_query(char *query, struct redis_url *url, keep_error *err)
{
	/* Behind an '@' that came too late, the query may be a piece of the password. */
	bool can_show = !strchr(query, '@');
	bool db_seen = false, prefix_seen = false;
	keep_status status = KEEP_OK;
	char end = '&';

	while (end && status == KEEP_OK) {
		char *value = cut(&query, "&", &end);
		char equals;
		const char *name = cut(&value, "=", &equals);

		if (strcmp(name, "prefix") == 0 && equals && !prefix_seen) {
			prefix_seen = true;
			status = decode(value, "prefix", &url->prefix, err);
		} else if (strcmp(name, "db") == 0 && equals && url->socket.data && !db_seen) {
			db_seen = true;
			status = parse_number(value, "db", 0, DB_MAX, &url->db, err);
		} else {
			status = kp_fail(err, KEEP_INVALID,
					 "redis URL: the parameter '%s' is unknown, repeated or "
					 "without value",
					 can_show ? name : "(not shown)");
		}
	}
	return status;
}

/* "USER:PASSWORD" */
static keep_status parse_login(char *login, struct redis_url *url, keep_error *err)
{
	char end;
	char *user = cut(&login, ":", &end);
	keep_status status;

	if (!end)
		return kp_fail(err, KEEP_INVALID,
			       "redis URL: before '@' stands no USER:PASSWORD or :PASSWORD");
	status = decode(user, "user", &url->user, err);
	if (status == KEEP_OK)
		status = decode(login, "password", &url->password, err);
	if (url->user.len == 0)
		url->user = (keep_bytes){NULL, 0};
	return status;
}

/* "HOST[:PORT][/DB]"; an IPv6 address stands in brackets. */
static keep_status parse_server(char *server, struct redis_url *url, keep_error *err)
{
	char end;
	char *host;

	if (*server == '[') {
		server++;
		host = cut(&server, "]", &end);
		if (!end || (*server && *server != ':' && *server != '/'))
			return kp_fail(err, KEEP_INVALID, "redis URL: '[' without ']'");
		end = *server;
		server += end ? 1 : 0;
	} else {
		host = cut(&server, ":/", &end);
	}
	url->host = keep_bytes_of(host);
	if (url->host.len == 0 || url->host.len >= KP_REDIS_HOST_SIZE)
		return kp_fail(err, KEEP_INVALID, "redis URL: no host, or one of %d bytes or more",
			       KP_REDIS_HOST_SIZE);
	if (end == ':') {
		const char *port = cut(&server, "/", &end);
		keep_status status = parse_number(port, "port", 1, 65535, &url->port, err);

		if (status != KEEP_OK)
			return status;
	}
	if (end == '/' && *server)
		return parse_number(server, "database", 0, DB_MAX, &url->db, err);
	return KEEP_OK;
}

static keep_status parse_socket(char *socket, struct redis_url *url, keep_error *err)
{
	keep_status status = decode(socket, "socket", &url->socket, err);

	if (status != KEEP_OK)
		return status;
	if (url->socket.len == 0 || url->socket.data[0] != '/')
		return kp_fail(err, KEEP_INVALID,
			       "redis URL: the socket is not an absolute file name");
	if (url->socket.len >= sizeof((struct sockaddr_un *)NULL)->sun_path)
		return kp_fail(err, KEEP_INVALID,
			       "redis URL: a socket's name has at most %zu bytes",
			       sizeof((struct sockaddr_un *)NULL)->sun_path - 1);
	return KEEP_OK;
}

/* Everything behind the scheme. */
static keep_status parse_rest(char *rest, bool is_unix, struct redis_url *url, keep_error *err)
{
	/* A '/' or '?' of a login is written %XX, so the first of them ends the authority. */
	char *at = memrchr(rest, '@', strcspn(rest, "/?"));
	keep_status status = KEEP_OK;
	char *place;
	char end;

	if (at) {
		*at = '\0';
		status = parse_login(rest, url, err);
		rest = at + 1;
	}
	place = cut(&rest, "?", &end);
	if (status == KEEP_OK)
		status = is_unix ? parse_socket(place, url, err) : parse_server(place, url, err);
	if (status == KEEP_OK && end)
		status = parse_query(rest, url, err);
	return status == KEEP_OK ? check_prefix(url->prefix, err) : status;
}

keep_status kp_redis_url_parse(const char *url, struct redis_url *out, keep_error *err)
{
	bool is_unix = strncmp(url, UNIX_SCHEME, strlen(UNIX_SCHEME)) == 0;
	const char *scheme = is_unix ? UNIX_SCHEME : TCP_SCHEME;
	keep_status status;

	*out = (struct redis_url){.port = PORT_DEFAULT, .prefix = KEEP_BYTES(PREFIX_DEFAULT)};
	if (strncmp(url, scheme, strlen(scheme)) != 0)
		return kp_fail(err, KEEP_INVALID, "a redis URL begins with %s or %s", TCP_SCHEME,
			       UNIX_SCHEME);
	out->size = strlen(url) + 1;
	out->text = kp_alloc(out->size);
	if (!out->text)
		return kp_fail_memory(err, "a redis URL");
	memcpy(out->text, url, out->size);
	status = parse_rest(out->text + strlen(scheme), is_unix, out, err);
	if (status != KEEP_OK)
		kp_redis_url_release(out);
	return status;
}

void kp_redis_url_release(struct redis_url *url)
{
	if (url->text)
		kp_wipe(url->text, url->size);
	kp_free(url->text);
	*url = (struct redis_url){.text = NULL};
}

bool kp_redis_prefix_has_tag(keep_bytes prefix)
{
	const char *open = memchr(prefix.data, '{', prefix.len);
	const char *close =
		open ? memchr(open, '}', prefix.len - (size_t)(open - prefix.data)) : NULL;

	return close && close > open + 1;
}

/* Append with everything but plain characters escaped, so that no two texts become one. */
static keep_status append_escaped(keep_buffer *out, keep_bytes text, bool lower, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < text.len && status == KEEP_OK; i++) {
		char byte = text.data[i];

		if (lower && byte >= 'A' && byte <= 'Z')
			byte = (char)(byte - 'A' + 'a');
		if (byte > ' ' && byte < 0x7f && !strchr("%?&@", byte))
			status = kp_buffer_append(out, (keep_bytes){&byte, 1}, err);
		else
			status = kp_buffer_append_format(out, err, "%%%02x", (unsigned char)byte);
	}
	return status;
}

keep_status kp_redis_identify(const char *url, char **identity, keep_error *err)
{
	struct redis_url parts;
	keep_buffer text = KEEP_BUFFER_INIT;
	keep_status status = kp_redis_url_parse(url, &parts, err);
	char real[PATH_MAX];

	*identity = NULL;
	if (status != KEEP_OK)
		return status;
	if (parts.socket.data) {
		const char *found = realpath(parts.socket.data, real);

		status = kp_buffer_append_text(&text, "redis:", err);
		if (status == KEEP_OK)
			status = append_escaped(&text, found ? keep_bytes_of(found) : parts.socket,
						false, err);
	} else {
		status = kp_buffer_append_text(&text, "redis://", err);
		if (status == KEEP_OK)
			status = append_escaped(&text, parts.host, true, err);
		if (status == KEEP_OK)
			status =
				kp_buffer_append_format(&text, err, ":%lld", (long long)parts.port);
	}
	if (status == KEEP_OK)
		status = kp_buffer_append_format(&text, err,
						 "?db=%lld&prefix=", (long long)parts.db);
	if (status == KEEP_OK)
		status = append_escaped(&text, parts.prefix, false, err);
	kp_redis_url_release(&parts);
	if (status == KEEP_OK)
		*identity = text.data;
	else
		keep_buffer_release(&text);
	return status;
}

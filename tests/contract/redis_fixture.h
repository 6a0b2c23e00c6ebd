#ifndef KEEP_REDIS_FIXTURE_H
#define KEEP_REDIS_FIXTURE_H
/*
 * redis_fixture.h - what the tests of the Redis backend share: a client of their own that looks at
 * the raw keys, engines on fresh prefixes, and short forms.
 */
#include "keep/engine.h"
#include "keep_test.h"
#include "server_control.h"

#include <hiredis/hiredis.h>
#include <unistd.h>

#define URL_MAX 512

/* The server that raw() and open_prefix() talk to, and a connection to it. */
static const char *redis_socket;
static redisContext *redis_client;

static inline void use_server(const char *socket)
{
	if (redis_client)
		redisFree(redis_client);
	redis_client = NULL;
	redis_socket = socket;
	if (!socket)
		return;
	redis_client = redisConnectUnix(socket);
	CHECK(redis_client && !redis_client->err, "no connection to %s", socket);
}

static inline int use_shared_server(void **state)
{
	(void)state;
	use_server(server_environment("KEEP_TEST_REDIS"));
	return 0;
}

static inline int leave_server(void **state)
{
	(void)state;
	use_server(NULL);
	return 0;
}

/* A command to the server; the reply is kept until the next one. */
static inline redisReply *raw(const char *format, ...) __attribute__((format(printf, 1, 2)));
static inline redisReply *raw(const char *format, ...)
{
	static redisReply *reply;
	va_list args;

	freeReplyObject(reply);
	va_start(args, format);
	reply = redisvCommand(redis_client, format, args);
	va_end(args);
	CHECK(reply, "no answer to %s", format);
	CHECK(reply->type != REDIS_REPLY_ERROR, "%s: %s", format, reply->str);
	return reply;
}

static inline long long raw_number(const char *script)
{
	return raw("EVAL %s 0", script)->integer;
}

/* A prefix that no other test uses. */
static inline const char *fresh_prefix(void)
{
	static char prefix[64];
	static int count;

	snprintf(prefix, sizeof prefix, "t%d.%d", (int)getpid(), ++count);
	return prefix;
}

static inline keep_status try_url(const char *url, keep_engine_options options,
				  keep_engine **engine, keep_error *err)
{
	options.size = sizeof options;
	options.relaxed = true; /* the warning is one test's subject */
	options.shared = true;
	return keep_engine_open(url, &options, engine, err);
}

static inline void prefix_url(char url[URL_MAX], const char *prefix)
{
	size_t len = (size_t)snprintf(url, URL_MAX, "redis+unix://%s?prefix=", redis_socket);

	for (; *prefix; prefix++)
		len += (size_t)snprintf(url + len, URL_MAX - len, "%%%02X", (unsigned char)*prefix);
}

static inline keep_engine *open_with(const char *prefix, keep_engine_options options)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_engine *engine = NULL;
	char url[URL_MAX];

	prefix_url(url, prefix);
	OK(try_url(url, options, &engine, &err));
	return engine;
}

static inline keep_engine *open_prefix(const char *prefix)
{
	return open_with(prefix, (keep_engine_options){.create = true});
}

static inline void set_text(keep_engine *engine, const char *path, const char *value)
{
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_engine_set(engine, keep_bytes_of(path), keep_bytes_of(value), &err));
}

static inline void unset_path(keep_engine *engine, const char *path)
{
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_engine_unset(engine, keep_bytes_of(path), &err));
}

static inline bool has(keep_engine *engine, const char *path)
{
	keep_buffer value = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = keep_engine_get(engine, keep_bytes_of(path), &value, &err);

	keep_buffer_release(&value);
	CHECK(status == KEEP_OK || status == KEEP_NOT_FOUND, "%s", err.message);
	return status == KEEP_OK;
}

static inline long long count_of(keep_engine *engine, const char *path)
{
	keep_error err = KEEP_ERROR_INIT;
	int64_t count = -1;

	OK(keep_engine_count(engine, keep_bytes_of(path), &count, &err));
	return count;
}

/* The names below a path, newest first, separated by blanks. */
static inline void want_names(keep_engine *engine, const char *path, const char *names)
{
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char found[1000] = "";

	OK(keep_engine_list_names(engine, keep_bytes_of(path), 0, 100, &list, &err));
	for (size_t i = 0; i < list.count; i++)
		snprintf(found + strlen(found), sizeof found - strlen(found), "%s%.*s",
			 i ? " " : "", (int)list.items[i].name.len, list.items[i].name.data);
	keep_engine_list_release(&list);
	assert_string_equal(found, names);
}

/* The keys that match, sorted, separated by blanks. */
static inline void want_keys(const char *pattern, const char *keys)
{
	const char *found = raw("EVAL %s 0 %s",
				"local k = redis.call('KEYS', ARGV[1]) table.sort(k) "
				"return table.concat(k, ' ')",
				pattern)
				    ->str;

	assert_string_equal(found, keys);
}

/*
 * The two invariants of redis/tree.lua, checked from outside over all keys of a prefix that has
 * no special characters: "" or what is wrong.
 */
static inline const char *tree_faults(const char *prefix)
{
	static const char check[] =
		"local p = ARGV[1] local faults = {}\n"
		"local function say(s) faults[#faults + 1] = s end\n"
		"local function split(path)\n"
		"  local a, b = string.match(path, '^(.*)/([^/]*)$')\n"
		"  if a then return a, b end return '', path end\n"
		"local function exists(k) return redis.call('EXISTS', k) == 1 end\n"
		"for _, key in ipairs(redis.call('KEYS', p .. ':*')) do\n"
		"  local kind, path = string.sub(key, #p + 2, #p + 4), string.sub(key, #p + 6)\n"
		"  local parent, name = split(path)\n"
		"  if kind == 'doc' then\n"
		"    if not redis.call('ZSCORE', p .. ':idx:' .. parent, path) then\n"
		"      say('unlisted ' .. path) end\n"
		"  elseif kind == 'idx' or kind == 'dir' then\n"
		"    if path ~= '' and not redis.call('ZSCORE', p .. ':dir:' .. parent, name) "
		"then\n"
		"      say('unlinked ' .. key) end\n"
		"    for _, m in ipairs(redis.call('ZRANGE', key, 0, -1)) do\n"
		"      if kind == 'idx' and not exists(p .. ':doc:' .. m) then\n"
		"        say('vanished ' .. m) end\n"
		"      local below = path == '' and m or path .. '/' .. m\n"
		"      if kind == 'dir' and not exists(p .. ':idx:' .. below)\n"
		"        and not exists(p .. ':dir:' .. below) then\n"
		"        say('nothing below ' .. below) end\n"
		"    end\n"
		"  elseif key ~= p .. ':keep' then say('odd key ' .. key) end\n"
		"end return table.concat(faults, ', ')";

	return raw("EVAL %s 0 %s", check, prefix)->str;
}

#endif

#ifndef KP_ENGINE_REDIS_H
#define KP_ENGINE_REDIS_H
/*
 * engine_redis.h - what the files of the Redis backend share.
 *
 *   engine_redis.c             the backend's table
 *   engine_redis_open.c        opening, adopting what the source wrote
 *   engine_redis_url.c         URLs
 *   engine_redis_connection.c  sockets, requests, replies and what they mean
 *   engine_redis_pool.c        connections shared by threads, retries
 *   engine_redis_watch.c       watches
 *   redis/(name).lua           everything that touches more than one key
 *
 * hiredis is used for one thing, its reply reader. Measured with each allocation failing once, the
 * rest of 0.14.1 aborts while connecting (2 of 7 allocations) and crashes in commands (2 of 18); it
 * cannot tell whether a request left whole, and it copies a value of 64 MiB once more.
 */
#include "engine/backend.h"

#include <hiredis/hiredis.h>
#include <pthread.h>

/* ---------------------------------------------------------------- URLs (engine_redis_url.c) */

/* Slices of `text`, each followed by a zero byte. */
struct redis_url {
	char *text; /* the decoded URL; wiped on release, because it holds the password */
	size_t size;
	keep_bytes socket; /* absent: TCP */
	keep_bytes host;
	int64_t port;
	int64_t db;
	keep_bytes user; /* absent: the default user */
	keep_bytes password;
	keep_bytes prefix;
};

keep_status kp_redis_url_parse(const char *url, struct redis_url *out,
			       keep_error *err) KEEP_MUST_CHECK;
void kp_redis_url_release(struct redis_url *url);
/* True when every key with this prefix is in one slot: it has a {hash tag}. */
bool kp_redis_prefix_has_tag(keep_bytes prefix);
keep_status kp_redis_identify(const char *url, char **identity, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- requests */

enum redis_script {
	REDIS_COMMAND, /* no script: the arguments are a command */
	REDIS_OPEN,
	REDIS_ADOPT,
	REDIS_APPLY,
	REDIS_LIST,
	REDIS_SCAN,
	REDIS_SCRIPTS
};

struct redis_slice {
	size_t at; /* the bytes of the request's text before it */
	keep_bytes bytes;
};

/* One command in RESP, built from its arguments; long ones are borrowed, not copied. The first
   failure sticks and is returned by the call. */
struct redis_request {
	enum redis_script script;
	size_t args;
	keep_buffer text;
	struct redis_slice *slices;
	size_t slice_count, slice_capacity;
	keep_status status;
	keep_error error;
};

void kp_redis_begin(struct redis_request *request, enum redis_script script);
void kp_redis_put(struct redis_request *request, keep_bytes arg);
void kp_redis_put_text(struct redis_request *request, const char *arg);
void kp_redis_put_integer(struct redis_request *request, int64_t arg);
/* One argument: prefix, kind (":doc:"), path. */
void kp_redis_put_key(struct redis_request *request, keep_bytes prefix, const char *kind,
		      keep_bytes path);
void kp_redis_request_release(struct redis_request *request);

/* ---------------------------------------------------------------- connections */

/* One connection; used by one thread at a time. */
struct redis_link {
	int fd;
	redisReader *reader;
	size_t fed;     /* bytes of the reply under way */
	bool broken;    /* nothing more can be expected of it */
	bool timed_out; /* why it is broken */
};

#define KP_REDIS_LINKS_MAX 8
#define KP_REDIS_HOST_SIZE 256

struct redis_pool {
	struct redis_url url;
	int64_t timeout_ms;
	keep_buffer scripts[REDIS_SCRIPTS]; /* their text */
	char digests[REDIS_SCRIPTS][41];    /* their names at the server */
	pthread_mutex_t lock;               /* of everything below */
	pthread_cond_t freed;
	struct redis_link *idle[KP_REDIS_LINKS_MAX];
	size_t idle_count;
	size_t open_count; /* idle or in use */
	/* Where a cluster's node said that the prefix lives; "" while nobody said so. */
	char node_host[KP_REDIS_HOST_SIZE];
	int64_t node_port;
};

/* Takes the URL over. */
keep_status kp_redis_pool_init(struct redis_pool *pool, struct redis_url *url, int64_t timeout_ms,
			       keep_error *err) KEEP_MUST_CHECK;
/* Connect once, and give the scripts to the server. */
keep_status kp_redis_pool_start(struct redis_pool *pool, keep_error *err) KEEP_MUST_CHECK;
void kp_redis_pool_release(struct redis_pool *pool);

/* A connection outside of the pool, signed in. */
keep_status kp_redis_connect(struct redis_pool *pool, struct redis_link **out,
			     keep_error *err) KEEP_MUST_CHECK;
void kp_redis_disconnect(struct redis_link **link);
/* The next reply; *out is NULL when `wait` is false and none is there. */
keep_status kp_redis_read(struct redis_pool *pool, struct redis_link *link, bool wait,
			  redisReply **out, keep_error *err) KEEP_MUST_CHECK;
/* Send a request and read its reply, an error among them; *sent tells whether all of it left. */
keep_status kp_redis_exchange(struct redis_pool *pool, struct redis_link *link,
			      const struct redis_request *request, bool *sent, redisReply **out,
			      keep_error *err) KEEP_MUST_CHECK;

/* The same; an error reply is a failure. */
keep_status kp_redis_command(struct redis_pool *pool, struct redis_link *link,
			     const struct redis_request *request, redisReply **out,
			     keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- calls (engine_redis_pool.c) */

enum redis_intent {
	REDIS_READ,  /* may be repeated when the connection breaks */
	REDIS_CHANGE /* must not: UNCERTAIN when it left and no answer came */
};

/* The same on a connection of the pool, with retries and redirections. The reply is never an
   error: those became statuses. */
keep_status kp_redis_call(struct redis_pool *pool, const struct redis_request *request,
			  enum redis_intent intent, redisReply **out,
			  keep_error *err) KEEP_MUST_CHECK;
/* What an error reply means. */
keep_status kp_redis_refusal(const redisReply *reply, keep_error *err) KEEP_MUST_CHECK;
/* A reply of a shape that no Redis gives. */
keep_status kp_redis_odd(const char *what, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- the store */

struct redis_store {
	kp_store base;
	struct redis_pool pool;
	bool read_only;
	bool adopted;  /* the tree (dir keys) is known to be complete */
	bool can_sort; /* lists may use SORT_RO */
	char durability[40];
};

/* Begin a script: one key, which tells a cluster where, and the prefix. */
void kp_redis_begin_script(struct redis_store *store, struct redis_request *request,
			   enum redis_script script);
void kp_redis_begin_command(struct redis_request *request, const char *name);
/* Call, and give the request back. */
keep_status kp_redis_finish(struct redis_store *store, struct redis_request *request,
			    enum redis_intent intent, redisReply **reply,
			    keep_error *err) KEEP_MUST_CHECK;
bool kp_redis_is_text(const redisReply *reply);
keep_bytes kp_redis_bytes(const redisReply *reply);

/* Connect, check the format, adopt, ask what the server promises. */
keep_status kp_redis_open_namespace(struct redis_store *store, bool relaxed,
				    keep_error *err) KEEP_MUST_CHECK;
/* A scan needs the dir keys; a read-only engine cannot make them. */
keep_status kp_redis_check_adopted(struct redis_store *store, keep_error *err) KEEP_MUST_CHECK;

#define KP_REDIS_NOTICE_IGNORED "/" /* published by open.lua: no path */

keep_status kp_redis_watch_open(kp_store *base, const kp_path *path, kp_watch **out,
				keep_error *err) KEEP_MUST_CHECK;
keep_status kp_redis_watch_wait(kp_watch *base, int64_t timeout_ms, bool *changed,
				keep_error *err) KEEP_MUST_CHECK;
void kp_redis_watch_cancel(kp_watch *base);
void kp_redis_watch_close(kp_watch *base);

#endif

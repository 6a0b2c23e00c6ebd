#ifndef KP_HTTP_EXCHANGE_H
#define KP_HTTP_EXCHANGE_H
/*
 * http_exchange.h - what the files of the HTTP server share with each other and with nobody else.
 *
 *   http_listen.c       addresses, the socket, TLS files, what may be listened at
 *   http_connections.c  which connections are open, and until when they may stay as they are
 *   http_guard.c        what is refused before anything is run
 *   http_waits.c        calls that wait, in slices
 *
 * Threads: an exchange belongs to libmicrohttpd's thread of its connection, to a worker from
 * MHD_suspend_connection to MHD_resume_connection.
 */
#include "service/http.h"

#include <microhttpd.h>

/* ---------------------------------------------------------------- bounds */

enum {
	KP_HTTP_CONNECTIONS_MAX = 2000,
	KP_HTTP_ADDRESS_CONNECTIONS_MAX = 500, /* of one address that is not loopback */
	KP_HTTP_URI_MAX = 8 * 1024,
	KP_HTTP_PATH_MAX = 256,
	KP_HTTP_HEAD_MAX = 16 * 1024,
	KP_HTTP_BODY_MAX = 16 * 1024 * 1024,
	KP_HTTP_DRAIN_MAX = 64 * 1024 * 1024, /* of a body that is refused */
	KP_HTTP_RESULT_MAX = 64 * 1024 * 1024,
	KP_HTTP_SMALL_BODY = 64 * 1024, /* needs no share of KP_HTTP_BODIES_MAX */
	KP_HTTP_BODIES_MAX = 256 * 1024 * 1024,
	KP_HTTP_HEAD_MS = 10 * 1000,
	KP_HTTP_IDLE_MS = 30 * 1000,
};

/* ---------------------------------------------------------------- workers (http_workers.c) */

typedef struct kp_workers kp_workers;

/* Lies in what is to be done. */
typedef struct kp_http_job {
	struct kp_http_job *next;
	void (*run)(struct kp_http_job *job);
} kp_http_job;

typedef struct kp_workers_options {
	unsigned threads_max; /* grown on demand; idle ones end */
	unsigned queue_max;   /* jobs without a thread */
} kp_workers_options;

keep_status kp_workers_start(kp_workers_options options, kp_workers **out,
			     keep_error *err) KEEP_MUST_CHECK;
/* BUSY: the queue is full. */
keep_status kp_workers_put(kp_workers *workers, kp_http_job *job, keep_error *err) KEEP_MUST_CHECK;
/* Run what is queued, and end. */
void kp_workers_stop(kp_workers **workers);

/* ---------------------------------------------------------------- connections */

typedef struct kp_link {
	struct kp_link *prev, *next; /* with the mutex of kp_links */
	int fd;
	atomic_llong deadline_ms; /* monotonic; 0: none */
	atomic_bool is_reading;   /* a request is not whole: one that ends here never will be */
} kp_link;

typedef struct kp_links kp_links;

keep_status kp_links_start(keep_service *service, kp_links **out, keep_error *err) KEEP_MUST_CHECK;
void kp_links_stop(kp_links **links);
/* libmicrohttpd's notification; `links` is its ctx. */
void kp_links_notify(void *links, struct MHD_Connection *connection, void **socket_context,
		     enum MHD_ConnectionNotificationCode code);
kp_link *kp_link_of(struct MHD_Connection *connection); /* NULL: memory was gone */
/* The connection is cut when this time (monotonic ms) comes; 0: never. */
void kp_link_until(kp_link *link, int64_t deadline_ms);
/* Whether the other side has ended its half of the connection, or all of it. */
bool kp_link_is_gone(const kp_link *link);

/* ---------------------------------------------------------------- exchanges (http_server.c) */

typedef enum kp_phase {
	KP_PHASE_HEAD,  /* the request line is there */
	KP_PHASE_BODY,  /* headers are there and in order */
	KP_PHASE_DRAIN, /* refused: the body is read and dropped, then the reply goes out */
	KP_PHASE_RUN,   /* a worker has it */
	KP_PHASE_REPLY, /* the reply is made */
	KP_PHASE_LINES, /* rows are being made: http_lines.c answers */
	KP_PHASE_SENT   /* libmicrohttpd has the response */
} kp_phase;

typedef struct kp_row_stream kp_row_stream;

struct kp_route_state {
	kp_request request; /* request.state is this */
	kp_http_job job;
	kp_http *http;
	kp_link *link;
	kp_phase phase;
	atomic_int holders; /* libmicrohttpd, and a worker that makes rows */
	const kp_route_entry *route;
	const kp_operation_store *store; /* of POST /v1/<store>/<verb> */
	const kp_operation *operation;
	kp_row_stream *rows;
	size_t body_max, drained;
	size_t reserved; /* of KP_HTTP_BODIES_MAX */
	bool uri_is_long, path_is_long;
	bool must_close, is_old; /* HTTP/1.0 */
	bool is_counted;         /* among those that are in flight */
	bool is_identified;      /* the account is known */
	bool is_patient;         /* runs where it may take long */
	bool moves;              /* the handler asks to be run there */
	int64_t received_ns;     /* when the request was whole; monotonic */
	char path[KP_HTTP_PATH_MAX];
};

struct kp_http {
	keep_service *service;
	struct MHD_Daemon *daemon;
	kp_links *links;
	kp_workers *workers; /* calls that end by themselves */
	kp_workers *patient; /* calls that wait, and rows for slow readers */
	kp_events *events;
	atomic_llong bodies;    /* bytes reserved for large ones */
	atomic_bool is_ending;  /* waits end now */
	atomic_bool is_cutting; /* the time is up: rows end, too */
	pthread_mutex_t mutex;  /* guards in_flight */
	pthread_cond_t landed;
	int64_t in_flight;
	int listen_fd;
	bool is_loopback, is_tls;
	char host[64]; /* listened at, as Host has it: 127.0.0.1, [::1] */
	char url[128];
};

/* Let the handler's work be done by a thread that may take long. */
static inline bool kp_exchange_moves(kp_request *request)
{
	request->state->moves = !request->state->is_patient;
	return request->state->moves;
}
/* The worker has begun to write rows: libmicrohttpd answers from here on. */
void kp_exchange_open_rows(kp_request *request);
void kp_exchange_release(struct kp_route_state *state);

static inline int64_t kp_now_ms(void)
{
	return kp_monotonic_ns() / 1000000;
}

/* ---------------------------------------------------------------- http_listen.c */

typedef struct kp_endpoint {
	bool is_loopback, is_any;
	char host[64];
	int port;
} kp_endpoint;

keep_status kp_endpoint_parse(const char *text, kp_endpoint *out, keep_error *err) KEEP_MUST_CHECK;
/* Bind and listen; fills listen_fd, host, url, is_loopback, is_tls. */
keep_status kp_http_listen(kp_http *http, keep_error *err) KEEP_MUST_CHECK;
/* The PEM files' texts. The key's is to be wiped. */
keep_status kp_http_tls_texts(const keep_service_options *options, keep_buffer *certificate,
			      keep_buffer *key, keep_error *err) KEEP_MUST_CHECK;
/* An address as text: "127.0.0.1", "::1"; v4 mapped into v6 as v4. */
void kp_address_format(const struct sockaddr *address, char out[64], bool *is_loopback);
/* Host's or Origin's "name", "name:port", "[v6]:port": the name without port; false: malformed. */
bool kp_host_split(const char *text, keep_bytes *name, keep_bytes *port);

/* ---------------------------------------------------------------- http_guard.c */

/* Look at the request's line and headers. *http_status 0: in order; else it is refused, `err` says
   why, and *at_once when its body cannot be told from what follows. */
void kp_guard_check(struct kp_route_state *state, const char *version, int *http_status,
		    bool *at_once, keep_error *err);

/* ---------------------------------------------------------------- http_routes.c */

/* Finds the route; 0, 404 or 405 (then with Allow). */
int kp_route_find(struct kp_route_state *state, keep_error *err);
/* The longest body that it may need. */
size_t kp_route_body_max(const struct kp_route_state *state);

/* ---------------------------------------------------------------- http_problem.c */

/* kp_problem with the request's id (JSON; absent: none). */
void kp_problem_with_id(kp_reply *reply, int status, const keep_error *err, keep_bytes id);
void kp_reply_release(kp_reply *reply);
extern const char kp_problem_type[];

/* ---------------------------------------------------------------- http_calls.c */

/* The call of a body: {"id":…,"call":…,"with":{…}}, or the inputs alone. Nodes live in `arena`. */
typedef struct kp_call_body {
	keep_bytes id;       /* its JSON; absent: none */
	const kp_json *with; /* NULL: {} */
} kp_call_body;

keep_status kp_call_body_read(keep_bytes body, const kp_operation_store *store,
			      const kp_operation *operation, kp_arena *arena, kp_call_body *out,
			      keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- http_waits.c */

/* kp_session_run in slices that look whether somebody still wants the answer. */
keep_status kp_waits_run(kp_request *request, const kp_json *with, const kp_call_hooks *hooks,
			 keep_buffer *result, kp_arena *arena, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- http_lines.c */

/* Run the operation, its rows as lines; with none, the reply is made. */
keep_status kp_rows_run(kp_request *request, const char *type, const kp_json *with, kp_arena *arena,
			keep_error *err) KEEP_MUST_CHECK;
/* libmicrohttpd's thread: the response of an exchange in KP_PHASE_LINES; NULL: memory is gone. */
struct MHD_Response *kp_rows_response(struct kp_route_state *state);
const char *kp_rows_type(const kp_row_stream *rows);
/* The connection is over. */
void kp_rows_abandon(kp_row_stream *rows);
void kp_rows_free(kp_row_stream *rows);

#endif

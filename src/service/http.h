#ifndef KP_HTTP_H
#define KP_HTTP_H
/*
 * http.h - the HTTP interface's parts.
 *
 *   http_server.c    libmicrohttpd, TLS, bounds on connections, headers, bodies and time
 *   http_workers.c   threads that run requests while their connections are suspended
 *   http_routes.c    which path is whose
 *   http_calls.c     POST /v1/<store>/<verb>
 *   http_lines.c     rows as JSON lines while they are read
 *   http_problem.c   failures as application/problem+json (RFC 9457)
 *   http_accounts.c  who asks: tokens, signing in, how often a password may be tried
 *   access.c         what an account that is no operator may do, by operation
 *   http_events.c    GET /v1/events
 *   http_trace.c     GET /v1/trace
 *
 * libmicrohttpd's threads read requests and write answers and never wait for a store: each request
 * is suspended and given to a worker.
 *
 * Threads: a request belongs to one thread at a time.
 */
#include "service/host.h"

struct MHD_Connection;

/* Who asks. */
typedef struct kp_account {
	bool is_anonymous;  /* loopback, and there is no account */
	keep_access access; /* else: of its token; lives in `memory` */
	keep_memory memory;
} kp_account;

#define KP_HTTP_HEADERS_MAX 6

typedef struct kp_reply {
	int status;       /* 200, 404, … */
	const char *type; /* NULL: application/json */
	keep_buffer body;
	struct {
		const char *name; /* constant */
		char value[128];
	} headers[KP_HTTP_HEADERS_MAX];
	unsigned header_count;
} kp_reply;

typedef struct kp_request kp_request;

struct kp_request {
	keep_service *service;
	struct MHD_Connection *connection;
	const char *method, *path;
	keep_buffer body;
	kp_account account;
	char address[64]; /* the client's, for logs and limits */
	bool is_loopback;
	bool is_head;
	kp_reply reply;
	struct kp_route_state *state; /* http_server.c's */
};

/* The value of a header, or of a parameter of the query; NULL: none. Valid as long as the request.
 */
const char *kp_request_header(const kp_request *request, const char *name);
const char *kp_request_parameter(const kp_request *request, const char *name);

/* Run in a worker. A failure is answered as a problem with its status' HTTP status. */
typedef keep_status kp_http_handler(kp_request *request, keep_error *err);

typedef enum kp_door {
	KP_DOOR_OPEN,    /* for everybody: healthz, signing in */
	KP_DOOR_ACCOUNT, /* an account, or loopback without any */
	KP_DOOR_OPERATOR /* one that sees every folder */
} kp_door;

typedef struct kp_route_entry {
	const char *method;
	const char *path; /* ends with / : everything below it */
	kp_door door;
	bool is_stream; /* answers by itself, as http_events.c */
	kp_http_handler *handler;
} kp_route_entry;

keep_status kp_reply_header(kp_reply *reply, const char *name, const char *value,
			    keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- http_problem.c */

/* The HTTP status of ours; keep/base.h's list says it. */
int kp_http_status(keep_status status);
/* Make the reply {"type":…,"title":…,"status":404,"detail":…,"code":"NOT_FOUND"}. `status` 0: by
   err's. The detail never has a secret. */
void kp_problem(kp_reply *reply, int status, const keep_error *err);

/* ---------------------------------------------------------------- http_accounts.c, access.c */

/* What is remembered of accounts for a second, and how often passwords were tried. Opened before
   HTTP starts (service->accounts), closed after it stopped. */
keep_status kp_accounts_open(kp_accounts **out, keep_error *err) KEEP_MUST_CHECK;
void kp_accounts_close(kp_accounts **accounts);
/* Whether this home has an account at all (cached for a second). Also before kp_accounts_open. */
keep_status kp_accounts_exist(keep_service *service, bool *exist, keep_error *err) KEEP_MUST_CHECK;
/* Who asks: by Authorization: Bearer, or the query's access_token on /v1/events alone. DENIED with
 *http_status 401 or 403. */
keep_status kp_account_identify(kp_request *request, kp_door door, int *http_status,
				keep_error *err) KEEP_MUST_CHECK;
/* The same of a token (absent: nobody said), into request->account. */
keep_status kp_account_of_token(kp_request *request, keep_bytes token, kp_door door,
				int *http_status, keep_error *err) KEEP_MUST_CHECK;
/* What the account may by now, in `memory`; *good false: its token ran out, it was disabled, or it
   is anonymous and there are accounts by now. For what is open for long; cached for a second. */
keep_status kp_account_renew(keep_service *service, const kp_account *account, keep_memory *memory,
			     keep_access *out, bool *good, keep_error *err) KEEP_MUST_CHECK;
/* An operator calls this: when it changes accounts, nothing that is remembered of them holds. */
void kp_accounts_expect(keep_service *service, const kp_operation_store *store,
			const kp_operation *operation);
void kp_account_release(kp_account *account);
kp_http_handler kp_accounts_sign_in;  /* POST /v1/auth/sign_in {"username","password"} */
kp_http_handler kp_accounts_refresh;  /* POST /v1/auth/refresh {"refresh_token"} */
kp_http_handler kp_accounts_sign_out; /* POST /v1/auth/sign_out {"refresh_token"} */

/* May this account call this with these inputs? DENIED says what would be needed. Operators and
   anonymous ones may everything. */
keep_status kp_access_check(kp_request *request, const kp_operation_store *store,
			    const kp_operation *operation, const kp_json *with,
			    keep_error *err) KEEP_MUST_CHECK;
/*
 * kp_session_run for a request that kp_access_check let by: of rows those that the account may see,
 * with `limit` counted after that (so that no count tells of others' rows). Rows go to hooks->row
 * when it is there, else the array is appended to `result`. http_calls.c runs everything by this.
 */
keep_status kp_access_run(kp_request *request, const kp_operation_store *store,
			  const kp_operation *operation, const kp_json *with,
			  const kp_call_hooks *hooks, keep_buffer *result,
			  keep_error *err) KEEP_MUST_CHECK;
/* What kp_access_run is made of: whether rows of this operation are looked at one by one for this
   account, and may it see this one? */
bool kp_access_filters(const kp_account *account, const kp_operation_store *store,
		       const kp_operation *operation);
keep_status kp_access_row(kp_request *request, const kp_operation_store *store,
			  const kp_operation *operation, const kp_json *row, bool *may,
			  keep_error *err) KEEP_MUST_CHECK;
/* May the account see what is said in this chat? By the folders of its groups and of the message.
 */
keep_status kp_access_chat(keep_service *service, const kp_account *account, keep_bytes chat_jid,
			   keep_bytes group_folder, bool *may, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- http_events.c */

typedef struct kp_events kp_events;
keep_status kp_events_start(keep_service *service, kp_events **out,
			    keep_error *err) KEEP_MUST_CHECK;
void kp_events_stop(kp_events **events);
/* GET /v1/events, on libmicrohttpd's thread or a worker: queues a response that lasts. */
keep_status kp_events_open(kp_events *events, kp_request *request, keep_error *err) KEEP_MUST_CHECK;

/* ---------------------------------------------------------------- http_calls.c */

kp_http_handler kp_calls_run; /* POST /v1/<store>/<verb> */

/* ---------------------------------------------------------------- http_trace.c */

kp_http_handler kp_trace_give; /* GET /v1/trace?chat=JID&id=ID */

#endif

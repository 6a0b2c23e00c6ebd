/*
 * engine_redis_connection.c - sockets, requests, and what replies mean.
 *
 * A request is built whole, sent with as few system calls as possible, and answered by one reply
 * that hiredis' reader parses.
 *
 * Invariants:
 *   1. *sent of an exchange is false only while the last byte of the request has not left. Redis
 *      runs a command only when its last byte has arrived, so then it was not run.
 *   2. A connection on which anything failed half way is marked broken, and used no more.
 *   3. No message holds a password: Redis repeats the arguments of commands that it does not know,
 *      so the answer to AUTH is not shown, and such repetitions are cut off.
 *
 * Not done here: TLS, RESP3 (hiredis 0.14.1 has neither). A name is resolved by getaddrinfo, which
 * keeps its own time limit.
 *
 * Tests: tests/contract/test_engine_redis.c, tests/torture/test_engine_redis_faults.c.
 */
#include "engine/engine_redis.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define COPIED_BYTES_MAX 16384                 /* longer arguments are sent from where they are */
#define ARGUMENT_BYTES_MAX ((size_t)512 << 20) /* Redis' proto-max-bulk-len */
#define PIECES_AT_ONCE 32
#define READ_SIZE 65536
#define READER_BYTES_MAX ((size_t)1 << 20) /* a reader that grew beyond is replaced */

/* ---------------------------------------------------------------- what errors mean */

/* What Redis' error codes mean to a caller. */
static const struct {
	const char *code;
	keep_status status;
} codes[] = {
	{"OOM ", KEEP_FULL},
	{"FULL ", KEEP_FULL},
	{"CORRUPT ", KEEP_CORRUPT},
	{"WRONGTYPE ", KEEP_CORRUPT},
	{"NOAUTH ", KEEP_DENIED},
	{"WRONGPASS ", KEEP_DENIED},
	{"NOPERM ", KEEP_DENIED},
	{"READONLY ", KEEP_DENIED},
	{"BUSY ", KEEP_BUSY},
	{"LOADING ", KEEP_BUSY},
	{"TRYAGAIN ", KEEP_BUSY},
	{"ERR max number of clients", KEEP_BUSY},
	{"MASTERDOWN ", KEEP_UNAVAILABLE},
	{"CLUSTERDOWN ", KEEP_UNAVAILABLE},
	{"MISCONF ", KEEP_UNAVAILABLE},
	{"NOREPLICAS ", KEEP_UNAVAILABLE},
	{"MOVED ", KEEP_UNAVAILABLE},
	{"ASK ", KEEP_BUSY},
	{"ERR The user executing the script", KEEP_DENIED},
	{"ERR DB index", KEEP_INVALID},
	{"ERR SELECT is not allowed", KEEP_INVALID},
};

/* True when `code` begins the text, or the error inside of a script's that older servers wrap:
   "ERR Error running script (call to f_…): @user_script:5: -OOM command not allowed …". */
static bool has_code(const char *text, const char *code)
{
	size_t len = strlen(code);

	if (strncmp(text, code, len) == 0)
		return true;
	if (strncmp(text, "ERR Error running script", 24) != 0)
		return false;
	for (const char *at = strstr(text, ": "); at; at = strstr(at + 2, ": "))
		if (strncmp(at + 2 + (at[2] == '-'), code, len) == 0)
			return true;
	return false;
}

keep_status kp_redis_refusal(const redisReply *reply, keep_error *err)
{
	static const char *const ours[] = {"FULL ", "CORRUPT "}; /* of scripts; not for readers */
	static const char *const tails[] = {", with args beginning", " script: ", ": @user_script"};
	const char *text = reply->str ? reply->str : "";
	size_t len;
	keep_status status = KEEP_UNAVAILABLE;

	for (size_t i = 0; i < KP_COUNT(codes); i++) {
		if (has_code(text, codes[i].code)) {
			status = codes[i].status;
			break;
		}
	}
	for (size_t i = 0; i < KP_COUNT(ours); i++)
		if (strncmp(text, ours[i], strlen(ours[i])) == 0)
			text += strlen(ours[i]);
	len = strlen(text);
	for (size_t i = 0; i < KP_COUNT(tails); i++) {
		const char *tail = strstr(text, tails[i]);

		if (tail && (size_t)(tail - text) < len)
			len = (size_t)(tail - text);
	}
	return kp_fail(err, status, "redis: %" KP_PRI, KP_ARG(((keep_bytes){text, len})));
}

keep_status kp_redis_odd(const char *what, keep_error *err)
{
	return kp_fail(err, KEEP_CORRUPT, "redis: an answer to %s that no Redis gives", what);
}

/* "redis at HOST:PORT: <what>" */
static keep_status fail_at(const struct redis_pool *pool, keep_status status, const char *what,
			   keep_error *err)
{
	const struct redis_url *url = &pool->url;

	if (url->socket.data)
		return kp_fail(err, status, "redis at %" KP_PRI ": %s", KP_ARG(url->socket), what);
	return kp_fail(err, status, "redis at %" KP_PRI ":%lld: %s", KP_ARG(url->host),
		       (long long)url->port, what);
}

static keep_status fail_errno_at(const struct redis_pool *pool, int errnum, const char *what,
				 keep_error *err)
{
	keep_status status = KEEP_UNAVAILABLE;
	char text[160], reason[100];

	if (errnum == EACCES || errnum == EPERM)
		status = KEEP_DENIED;
	else if (errnum == ENOMEM || errnum == ENOBUFS)
		status = KEEP_NO_MEMORY;
	else if (errnum == EMFILE || errnum == ENFILE)
		status = KEEP_FULL;
	snprintf(text, sizeof text, "%s: %s", what, strerror_r(errnum, reason, sizeof reason));
	return fail_at(pool, status, text, err);
}

/* ---------------------------------------------------------------- requests */

void kp_redis_begin(struct redis_request *request, enum redis_script script)
{
	*request = (struct redis_request){.script = script, .error = KEEP_ERROR_INIT};
}

static void stick(struct redis_request *request, keep_status status)
{
	if (request->status == KEEP_OK)
		request->status = status;
}

static void put_slice(struct redis_request *request, keep_bytes bytes)
{
	if (request->slice_count == request->slice_capacity) {
		size_t capacity = request->slice_capacity * 2 + 8;
		struct redis_slice *slices = kp_realloc(request->slices, capacity * sizeof *slices);

		if (!slices) {
			stick(request, kp_fail_memory(&request->error, "a request to Redis"));
			return;
		}
		request->slices = slices;
		request->slice_capacity = capacity;
	}
	request->slices[request->slice_count++] =
		(struct redis_slice){.at = request->text.len, .bytes = bytes};
}

static void put_bytes(struct redis_request *request, keep_bytes bytes)
{
	if (request->status == KEEP_OK && bytes.len > 0)
		stick(request, kp_buffer_append(&request->text, bytes, &request->error));
}

static void put_length(struct redis_request *request, char kind, size_t len)
{
	char text[24];

	snprintf(text, sizeof text, "%c%zu\r\n", kind, len);
	put_bytes(request, keep_bytes_of(text));
}

void kp_redis_put(struct redis_request *request, keep_bytes arg)
{
	if (request->status != KEEP_OK)
		return;
	if (arg.len > ARGUMENT_BYTES_MAX) {
		stick(request, kp_fail(&request->error, KEEP_FULL,
				       "a value of %zu bytes, Redis holds at most %zu", arg.len,
				       ARGUMENT_BYTES_MAX));
		return;
	}
	put_length(request, '$', arg.len);
	if (arg.len > COPIED_BYTES_MAX)
		put_slice(request, arg);
	else
		put_bytes(request, arg);
	put_bytes(request, KEEP_BYTES("\r\n"));
	request->args++;
}

void kp_redis_put_text(struct redis_request *request, const char *arg)
{
	kp_redis_put(request, keep_bytes_of(arg));
}

void kp_redis_put_integer(struct redis_request *request, int64_t arg)
{
	char text[24];

	snprintf(text, sizeof text, "%lld", (long long)arg);
	kp_redis_put_text(request, text);
}

void kp_redis_put_key(struct redis_request *request, keep_bytes prefix, const char *kind,
		      keep_bytes path)
{
	put_length(request, '$', prefix.len + strlen(kind) + path.len);
	put_bytes(request, prefix);
	put_bytes(request, keep_bytes_of(kind));
	put_bytes(request, path);
	put_bytes(request, KEEP_BYTES("\r\n"));
	request->args++;
}

void kp_redis_request_release(struct redis_request *request)
{
	keep_buffer_release(&request->text);
	kp_free(request->slices);
	request->slices = NULL;
}

/* What stands before a request's own arguments. A script is called by its digest, or, when the
   server does not know that (it was restarted), by its text. */
static keep_status format_head(const struct redis_pool *pool, const struct redis_request *request,
			       bool by_text, keep_buffer *head, keep_error *err)
{
	const keep_buffer *script = &pool->scripts[request->script];

	if (request->script == REDIS_COMMAND)
		return kp_buffer_append_format(head, err, "*%zu\r\n", request->args);
	if (!by_text)
		return kp_buffer_append_format(head, err, "*%zu\r\n$7\r\nEVALSHA\r\n$40\r\n%s\r\n",
					       request->args + 2, pool->digests[request->script]);
	return kp_buffer_append_format(head, err, "*%zu\r\n$4\r\nEVAL\r\n$%zu\r\n%s\r\n",
				       request->args + 2, script->len, script->data);
}

/* The request as pieces: the head, then its text and the borrowed arguments by turns. */
static keep_bytes piece_of(const keep_buffer *head, const struct redis_request *request, size_t i)
{
	size_t slice = (i - 1) / 2;
	size_t from, to;

	if (i == 0)
		return kp_buffer_bytes(head);
	if (i % 2 == 0)
		return request->slices[slice].bytes;
	from = slice == 0 ? 0 : request->slices[slice - 1].at;
	to = slice == request->slice_count ? request->text.len : request->slices[slice].at;
	return (keep_bytes){request->text.data + from, to - from};
}

/* ---------------------------------------------------------------- sending and reading */

static keep_status fail_link(const struct redis_pool *pool, struct redis_link *link,
			     const char *what, keep_error *err)
{
	int errnum = errno;

	link->broken = true;
	if (errnum == EAGAIN || errnum == EWOULDBLOCK || errnum == EINPROGRESS) {
		link->timed_out = true;
		return fail_at(pool, KEEP_UNAVAILABLE, "no answer within the time limit", err);
	}
	return fail_errno_at(pool, errnum, what, err);
}

static keep_status send_pieces(const struct redis_pool *pool, struct redis_link *link,
			       const keep_buffer *head, const struct redis_request *request,
			       keep_error *err)
{
	size_t pieces = 2 + 2 * request->slice_count;
	size_t at = 0, done = 0; /* the piece to send next, and how much of it was sent */

	while (at < pieces) {
		struct iovec parts[PIECES_AT_ONCE];
		struct msghdr message = {.msg_iov = parts};
		ssize_t sent;

		for (size_t i = at; i < pieces && message.msg_iovlen < PIECES_AT_ONCE; i++) {
			keep_bytes piece = piece_of(head, request, i);
			size_t skipped = i == at ? done : 0;
			union {
				const char *from;
				void *to;
			} data = {.from = piece.data + skipped};

			parts[message.msg_iovlen++] = (struct iovec){data.to, piece.len - skipped};
		}
		sent = sendmsg(link->fd, &message, MSG_NOSIGNAL);
		if (sent < 0 && errno != EINTR)
			return fail_link(pool, link, "sending", err);
		done += sent > 0 ? (size_t)sent : 0;
		while (at < pieces && done >= piece_of(head, request, at).len)
			done -= piece_of(head, request, at++).len;
	}
	return KEEP_OK;
}

/* A reader asserts that it gets a small buffer for a large one, so that is not left to it. */
static redisReader *make_reader(void)
{
	redisReader *reader = redisReaderCreate();

	if (reader)
		reader->maxbuf = 0;
	return reader;
}

static void renew_reader(struct redis_link *link)
{
	if (link->fed > READER_BYTES_MAX) {
		redisReaderFree(link->reader);
		link->reader = make_reader();
		link->broken = link->broken || !link->reader;
	}
	link->fed = 0;
}

/* True when a reply is there, or an error. */
static bool take_reply(struct redis_link *link, redisReply **out, keep_status *status,
		       keep_error *err)
{
	void *reply = NULL;

	if (redisReaderGetReply(link->reader, &reply) == REDIS_OK) {
		*out = reply;
		return reply != NULL;
	}
	link->broken = true;
	if (link->reader->err == REDIS_ERR_OOM)
		*status = kp_fail_memory(err, "an answer of Redis");
	else
		*status = kp_fail(err, KEEP_UNAVAILABLE, "redis: the answer breaks the protocol");
	return true;
}

keep_status kp_redis_read(struct redis_pool *pool, struct redis_link *link, bool wait,
			  redisReply **out, keep_error *err)
{
	keep_status status = KEEP_OK;
	char bytes[READ_SIZE];

	*out = NULL;
	while (!take_reply(link, out, &status, err)) {
		ssize_t got = recv(link->fd, bytes, sizeof bytes, wait ? 0 : MSG_DONTWAIT);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && !wait && (errno == EAGAIN || errno == EWOULDBLOCK))
			return KEEP_OK;
		if (got < 0)
			return fail_link(pool, link, "reading", err);
		if (got == 0) {
			link->broken = true;
			return fail_at(pool, KEEP_UNAVAILABLE, "the server closed the connection",
				       err);
		}
		link->fed += (size_t)got;
		if (redisReaderFeed(link->reader, bytes, (size_t)got) != REDIS_OK) {
			link->broken = true;
			return kp_fail_memory(err, "an answer of Redis");
		}
	}
	if (status == KEEP_OK)
		renew_reader(link);
	return status;
}

static keep_status send_request(struct redis_pool *pool, struct redis_link *link,
				const struct redis_request *request, bool by_text, keep_error *err)
{
	keep_buffer head = KEEP_BUFFER_INIT;
	keep_status status;

	if (request->status != KEEP_OK) {
		if (err)
			*err = request->error;
		return request->status;
	}
	if (kp_fault(KP_FAULT_DRIVER))
		return fail_at(pool, KEEP_UNAVAILABLE, "the command was refused", err);
	if (kp_fault(KP_FAULT_CONNECT)) {
		link->broken = true;
		return fail_at(pool, KEEP_UNAVAILABLE, "the connection broke", err);
	}
	status = format_head(pool, request, by_text, &head, err);
	if (status == KEEP_OK)
		status = send_pieces(pool, link, &head, request, err);
	keep_buffer_release(&head);
	return status;
}

keep_status kp_redis_exchange(struct redis_pool *pool, struct redis_link *link,
			      const struct redis_request *request, bool *sent, redisReply **out,
			      keep_error *err)
{
	bool by_text = false;

	*out = NULL;
	for (;;) {
		keep_status status;

		*sent = false;
		status = send_request(pool, link, request, by_text, err);
		if (status != KEEP_OK)
			return status;
		*sent = true;
		kp_moment("engine_redis.sent");
		if (kp_fault(KP_FAULT_CONNECT)) {
			link->broken = true;
			return fail_at(pool, KEEP_UNAVAILABLE, "the connection broke", err);
		}
		status = kp_redis_read(pool, link, true, out, err);
		if (status != KEEP_OK)
			return status;
		if (kp_fault(KP_FAULT_COMMIT)) {
			freeReplyObject(*out);
			*out = NULL;
			link->broken = true;
			return fail_at(pool, KEEP_UNAVAILABLE, "the answer was lost", err);
		}
		if (by_text || (*out)->type != REDIS_REPLY_ERROR ||
		    strncmp((*out)->str, "NOSCRIPT", 8) != 0)
			return KEEP_OK;
		freeReplyObject(*out);
		*out = NULL;
		by_text = true;
	}
}

/* ---------------------------------------------------------------- connecting */

static keep_status connect_address(struct redis_pool *pool, int family,
				   const struct sockaddr *address, socklen_t size, int *fd,
				   keep_error *err)
{
	struct timeval limit = {.tv_sec = pool->timeout_ms / 1000,
				.tv_usec = pool->timeout_ms % 1000 * 1000};
	int on = 1;

	*fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*fd < 0)
		return fail_errno_at(pool, errno, "socket", err);
	/* Linux applies the limit of sending to connect, too. */
	setsockopt(*fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	setsockopt(*fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	if (family != AF_UNIX) {
		setsockopt(*fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
		setsockopt(*fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
		setsockopt(*fd, IPPROTO_TCP, TCP_KEEPIDLE, &(int){15}, sizeof(int));
		setsockopt(*fd, IPPROTO_TCP, TCP_KEEPINTVL, &(int){5}, sizeof(int));
		setsockopt(*fd, IPPROTO_TCP, TCP_KEEPCNT, &(int){3}, sizeof(int));
	}
	while (connect(*fd, address, size) != 0 && errno != EISCONN) {
		keep_status status;

		if (errno == EINTR)
			continue;
		status = errno == EINPROGRESS || errno == EAGAIN
				 ? fail_at(pool, KEEP_UNAVAILABLE,
					   "no connection within the time limit", err)
				 : fail_errno_at(pool, errno, "connecting", err);
		close(*fd);
		*fd = -1;
		return status;
	}
	return KEEP_OK;
}

static keep_status connect_tcp(struct redis_pool *pool, const char *host, int64_t port, int *fd,
			       keep_error *err)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *found = NULL;
	keep_status status = KEEP_UNAVAILABLE;
	char service[16];
	int failed;

	snprintf(service, sizeof service, "%d", (int)port);
	failed = getaddrinfo(host, service, &hints, &found);
	if (failed == EAI_MEMORY)
		return kp_fail_memory(err, "the address of Redis");
	if (failed)
		return fail_at(pool, KEEP_UNAVAILABLE, gai_strerror(failed), err);
	for (struct addrinfo *at = found; at && status != KEEP_OK; at = at->ai_next)
		status = connect_address(pool, at->ai_family, at->ai_addr, at->ai_addrlen, fd, err);
	freeaddrinfo(found);
	return status;
}

static keep_status connect_socket(struct redis_pool *pool, int *fd, keep_error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char node[KP_REDIS_HOST_SIZE];
	int64_t port;

	pthread_mutex_lock(&pool->lock);
	memcpy(node, pool->node_host, sizeof node);
	port = pool->node_port;
	pthread_mutex_unlock(&pool->lock);
	if (node[0]) {
		keep_status status = connect_tcp(pool, node, port, fd, err);

		if (status == KEEP_OK)
			return KEEP_OK;
		/* It may have left the cluster: ask the one of the URL again. */
		pthread_mutex_lock(&pool->lock);
		pool->node_host[0] = '\0';
		pthread_mutex_unlock(&pool->lock);
	}
	if (!pool->url.socket.data)
		return connect_tcp(pool, pool->url.host.data, pool->url.port, fd, err);
	memcpy(address.sun_path, pool->url.socket.data, pool->url.socket.len);
	return connect_address(pool, AF_UNIX, (const struct sockaddr *)&address, sizeof address, fd,
			       err);
}

keep_status kp_redis_command(struct redis_pool *pool, struct redis_link *link,
			     const struct redis_request *request, redisReply **out, keep_error *err)
{
	bool sent;
	keep_status status = kp_redis_exchange(pool, link, request, &sent, out, err);

	if (status == KEEP_OK && (*out)->type == REDIS_REPLY_ERROR) {
		status = kp_redis_refusal(*out, err);
		freeReplyObject(*out);
		*out = NULL;
	}
	return status;
}

static keep_status sign_in(struct redis_pool *pool, struct redis_link *link, keep_error *err)
{
	const struct redis_url *url = &pool->url;
	struct redis_request request;
	redisReply *reply = NULL;
	keep_status status = KEEP_OK;

	kp_redis_begin(&request, REDIS_COMMAND);
	if (url->password.data) {
		kp_redis_put_text(&request, "AUTH");
		if (url->user.data)
			kp_redis_put(&request, url->user);
		kp_redis_put(&request, url->password);
		status = kp_redis_command(pool, link, &request, &reply, err);
		if (status != KEEP_OK && !link->broken && status != KEEP_NO_MEMORY &&
		    status != KEEP_BUSY)
			status =
				fail_at(pool, KEEP_DENIED,
					"the server does not accept the user or the password", err);
		if (request.text.data)
			kp_wipe(request.text.data, request.text.len);
	}
	kp_redis_request_release(&request);
	freeReplyObject(reply);
	reply = NULL;
	kp_redis_begin(&request, REDIS_COMMAND);
	if (status == KEEP_OK && url->db != 0) {
		kp_redis_put_text(&request, "SELECT");
		kp_redis_put_integer(&request, url->db);
		status = kp_redis_command(pool, link, &request, &reply, err);
	}
	kp_redis_request_release(&request);
	freeReplyObject(reply);
	return status;
}

keep_status kp_redis_connect(struct redis_pool *pool, struct redis_link **out, keep_error *err)
{
	struct redis_link *link = kp_alloc_zero(sizeof *link);
	keep_status status;

	*out = NULL;
	if (!link)
		return kp_fail_memory(err, "a connection to Redis");
	link->fd = -1;
	link->reader = make_reader();
	if (!link->reader)
		status = kp_fail_memory(err, "a connection to Redis");
	else if (kp_fault(KP_FAULT_CONNECT))
		status = fail_at(pool, KEEP_UNAVAILABLE, "connecting failed", err);
	else
		status = connect_socket(pool, &link->fd, err);
	if (status == KEEP_OK)
		status = sign_in(pool, link, err);
	if (status == KEEP_OK)
		*out = link;
	else
		kp_redis_disconnect(&link);
	return status;
}

void kp_redis_disconnect(struct redis_link **link)
{
	if (!*link)
		return;
	if ((*link)->reader)
		redisReaderFree((*link)->reader);
	if ((*link)->fd >= 0)
		close((*link)->fd);
	kp_free(*link);
	*link = NULL;
}

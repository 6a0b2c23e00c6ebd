/*
 * http_listen.c - where the service listens: addresses, the socket, TLS files, and what may be
 * listened at.
 *
 * Invariants:
 *   1. Only loopback may be listened at without an account and without TLS or a proxy that does it;
 *      the refusal says what is missing.
 *   2. An address is one of the machine's in numbers: a name may mean another one tomorrow. The one
 *      exception is "localhost", which is 127.0.0.1.
 *
 * What it does not do: accept connections; libmicrohttpd does.
 *
 * Tests: tests/unit/test_http_listen.c, tests/http/test_http_listen.py.
 */
#include "service/http_exchange.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 1024, TLS_FILE_MAX = 1024 * 1024 };

/* ---------------------------------------------------------------- texts */

/* "name", "name:port", "[v6]", "[v6]:port" */
bool kp_host_split(const char *text, keep_bytes *name, keep_bytes *port)
{
	const char *end = *text == '[' ? strchr(text, ']') : text + strcspn(text, ":"), *at;

	*port = (keep_bytes){.data = NULL};
	if (!end)
		return false;
	if (*end == ']')
		end++;
	*name = (keep_bytes){text, (size_t)(end - text)};
	for (at = text; at < end; at++)
		if ((unsigned char)*at <= ' ' || strchr("/\\@?#,;\"<>", *at))
			return false;
	if (!name->len || (*end && *end != ':'))
		return false;
	if (!*end)
		return true;
	*port = keep_bytes_of(end + 1);
	return port->len > 0 && port->len <= 5 && strspn(port->data, "0123456789") == port->len;
}

static bool is_loopback_v4(struct in_addr address)
{
	return ntohl(address.s_addr) >> 24 == 127;
}

static bool is_loopback_v6(const struct in6_addr *address)
{
	return IN6_IS_ADDR_LOOPBACK(address) ||
	       (IN6_IS_ADDR_V4MAPPED(address) && address->s6_addr[12] == 127);
}

void kp_address_format(const struct sockaddr *address, char out[64], bool *is_loopback)
{
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	const char *text = NULL;

	*is_loopback = false;
	if (address && address->sa_family == AF_INET) {
		memcpy(&v4, address, sizeof v4);
		*is_loopback = is_loopback_v4(v4.sin_addr);
		text = inet_ntop(AF_INET, &v4.sin_addr, out, 64);
	} else if (address && address->sa_family == AF_INET6) {
		memcpy(&v6, address, sizeof v6);
		*is_loopback = is_loopback_v6(&v6.sin6_addr);
		text = IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)
			       ? inet_ntop(AF_INET, &v6.sin6_addr.s6_addr[12], out, 64)
			       : inet_ntop(AF_INET6, &v6.sin6_addr, out, 64);
	}
	if (!text)
		(void)snprintf(out, 64, "?");
}

/* ---------------------------------------------------------------- addresses */

typedef struct socket_address {
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	};
	socklen_t len;
} socket_address;

static bool fill_address(const char *host, int port, socket_address *out)
{
	memset(out, 0, sizeof *out);
	if (inet_pton(AF_INET, host, &out->v4.sin_addr) == 1) {
		out->v4.sin_family = AF_INET;
		out->v4.sin_port = htons((uint16_t)port);
		out->len = sizeof out->v4;
		return true;
	}
	if (inet_pton(AF_INET6, host, &out->v6.sin6_addr) == 1) {
		out->v6.sin6_family = AF_INET6;
		out->v6.sin6_port = htons((uint16_t)port);
		out->len = sizeof out->v6;
		return true;
	}
	return false;
}

keep_status kp_endpoint_parse(const char *text, kp_endpoint *out, keep_error *err)
{
	keep_bytes name = {.data = NULL}, port = {.data = NULL};
	socket_address address;
	int64_t number = -1;
	bool is_v6;

	memset(out, 0, sizeof *out);
	if (!kp_host_split(text, &name, &port) || !port.data || !kp_int_parse(port, &number) ||
	    number > 65535)
		return kp_fail(err, KEEP_INVALID,
			       "listen: '%.100s' is no ADDRESS:PORT or [ADDRESS]:PORT", text);
	is_v6 = name.data[0] == '[';
	if (kp_bytes_equal(name, KEEP_BYTES("localhost")))
		name = KEEP_BYTES("127.0.0.1");
	if (name.len - 2 * is_v6 < sizeof out->host) {
		memcpy(out->host, name.data + is_v6, name.len - 2 * is_v6);
		out->host[name.len - 2 * is_v6] = '\0';
	}
	out->port = (int)number;
	if (!fill_address(out->host, out->port, &address) ||
	    (address.any.sa_family == AF_INET6) != is_v6)
		return kp_fail(err, KEEP_INVALID,
			       "listen: '%.100s' is no address in numbers, as 127.0.0.1 or [::1]",
			       out->host);
	out->is_loopback =
		is_v6 ? is_loopback_v6(&address.v6.sin6_addr) : is_loopback_v4(address.v4.sin_addr);
	out->is_any = is_v6 ? IN6_IS_ADDR_UNSPECIFIED(&address.v6.sin6_addr)
			    : address.v4.sin_addr.s_addr == 0;
	return KEEP_OK;
}

/* ---------------------------------------------------------------- options */

static keep_status read_file(const char *name, keep_buffer *out, keep_error *err)
{
	int fd = -1;
	keep_status status = kp_file_open(AT_FDCWD, name, O_RDONLY, 0, &fd, err);

	if (status == KEEP_OK)
		status = kp_file_read_all(fd, TLS_FILE_MAX, out, err);
	kp_file_close(&fd);
	if (status == KEEP_OK && !strstr(out->data ? out->data : "", "-----BEGIN"))
		status = kp_fail(err, KEEP_INVALID, "%s: is no PEM file", name);
	/* Whatever it was: a file of the options that cannot be used. */
	if (status != KEEP_OK && status != KEEP_NO_MEMORY) {
		status = kp_prefix(err, status, "TLS");
		if (err)
			err->status = KEEP_INVALID;
		status = KEEP_INVALID;
	}
	return status;
}

keep_status kp_http_tls_texts(const keep_service_options *options, keep_buffer *certificate,
			      keep_buffer *key, keep_error *err)
{
	keep_status status;

	if (!options->tls_certificate && !options->tls_key)
		return KEEP_OK;
	if (!options->tls_certificate || !options->tls_key)
		return kp_fail(err, KEEP_INVALID, "TLS: the %s's file is missing",
			       options->tls_key ? "certificate" : "key");
	status = read_file(options->tls_certificate, certificate, err);
	if (status == KEEP_OK)
		status = read_file(options->tls_key, key, err);
	return status;
}

static keep_status check_exposed(keep_service *service, const char *host, keep_error *err)
{
	bool is_safe = service->options.tls_certificate || service->options.behind_proxy;
	bool exist = false;
	keep_status status = kp_accounts_exist(service, &exist, err);

	if (status != KEEP_OK || (exist && is_safe))
		return status;
	return kp_fail(err, KEEP_INVALID, "listen: %s is not loopback: it needs %s%s%s", host,
		       exist ? "" : "an account in the home (keep gateway create_user)",
		       exist || is_safe ? "" : ", and ",
		       is_safe ? "" : "TLS (a certificate and its key) or a proxy in front");
}

static keep_status check_hosts(const keep_service_options *options, keep_error *err)
{
	keep_bytes name, port;

	for (size_t i = 0; i < options->host_count; i++)
		if (!kp_host_split(options->hosts[i], &name, &port))
			return kp_fail(err, KEEP_INVALID, "hosts: '%.100s' is no host's name",
				       options->hosts[i]);
	return KEEP_OK;
}

keep_status kp_http_check_options(keep_service *service, keep_error *err)
{
	const keep_service_options *options = &service->options;
	keep_buffer certificate = KEEP_BUFFER_INIT, key = KEEP_BUFFER_INIT;
	kp_endpoint endpoint;
	keep_status status = kp_endpoint_parse(options->listen, &endpoint, err);

	if (status == KEEP_OK)
		status = check_hosts(options, err);
	if (status == KEEP_OK)
		status = kp_http_tls_texts(options, &certificate, &key, err);
	if (status == KEEP_OK && !endpoint.is_loopback)
		status = check_exposed(service, endpoint.host, err);
	if (key.data)
		kp_wipe(key.data, key.len);
	keep_buffer_release(&certificate);
	keep_buffer_release(&key);
	return status;
}

/* ---------------------------------------------------------------- the socket */

static keep_status bind_socket(int fd, const kp_endpoint *endpoint, int *port, keep_error *err)
{
	socket_address address;
	int yes = 1;

	(void)fill_address(endpoint->host, endpoint->port, &address);
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
	    bind(fd, &address.any, address.len) != 0 || listen(fd, BACKLOG) != 0) {
		int errnum = errno;

		if (errnum == EADDRINUSE || errnum == EADDRNOTAVAIL)
			return kp_fail(err, KEEP_UNAVAILABLE, "listen: %s port %d: %s",
				       endpoint->host, endpoint->port,
				       errnum == EADDRINUSE ? "is taken"
							    : "is no address of this machine");
		return kp_fail_errno(err, errnum, "listen: %s port %d", endpoint->host,
				     endpoint->port);
	}
	if (getsockname(fd, &address.any, &address.len) != 0)
		return kp_fail_errno(err, errno, "listen: %s", endpoint->host);
	*port = ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port
							: address.v4.sin_port);
	return KEEP_OK;
}

keep_status kp_http_listen(kp_http *http, keep_error *err)
{
	kp_endpoint endpoint;
	bool is_v6;
	int port = 0;
	keep_status status = kp_endpoint_parse(http->service->options.listen, &endpoint, err);

	if (status != KEEP_OK)
		return status;
	is_v6 = strchr(endpoint.host, ':') != NULL;
	http->listen_fd =
		socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (http->listen_fd < 0)
		return kp_fail_errno(err, errno, "listen: a socket");
	status = bind_socket(http->listen_fd, &endpoint, &port, err);
	if (status != KEEP_OK)
		return status;
	http->is_loopback = endpoint.is_loopback;
	http->is_tls = http->service->options.tls_certificate != NULL;
	(void)snprintf(http->host, sizeof http->host, is_v6 ? "[%.60s]" : "%.60s", endpoint.host);
	(void)snprintf(http->url, sizeof http->url, "%s://%s:%d", http->is_tls ? "https" : "http",
		       http->host, port);
	return KEEP_OK;
}

/*
 * load_client.c - puts load on a running `keep serve`, and holds it to what it said.
 *
 *     load_client URL [--rate 2000] [--seconds 60] [--connections 64] [--streams 1000] [--chats
 * 200]
 *
 * Open loop: message i is due at start + i / rate, whether the server keeps up or not, and its time
 * is counted from then on, so that a server that stalls cannot hide it. Each stream follows one of
 * the chats; streams are open before the first message.
 *
 * Afterwards: every message that was accepted is there once (read back over HTTP), and every stream
 * received all of its chat's, with ids that grow: a message comes once for each of its changes, of
 * which there may be more than the first ("again"). Prints one line of JSON
 * and one for people. Exit status: 0 all is there; 1 something is lost, doubled or out of order, or
 * was refused; 2 it could not be tried.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	ANSWER_MAX = 8192,
	LINE_MAX_BYTES = 16384,
	EVENTS_AT_ONCE = 256,
	SETTLE_SECONDS = 60, /* for what is on its way when the last message was accepted */
	PAGE = 500,
	SAMPLES = 3
};

static struct {
	struct sockaddr_in address;
	char host[80];
	long rate, seconds, connections, streams, chats;
	char run[32]; /* part of every chat's name */
} plan = {.rate = 2000, .seconds = 60, .connections = 64, .streams = 1000, .chats = 200};

/* A connection that puts messages. */
struct sender {
	int fd;
	long message; /* under way; -1: none */
	char answer[ANSWER_MAX];
	size_t got;
};

/* An event stream. */
struct stream {
	int fd;
	long chat;
	bool is_open; /* its header is there */
	bool is_broken;
	char line[LINE_MAX_BYTES];
	size_t line_len;
	bool in_header;
	bool in_size;      /* of a chunk */
	size_t chunk_left; /* its line end included */
	size_t size;
	int64_t last_id;
	unsigned char *seen; /* by the message's number in its chat */
	long events, again, disordered;
};

static struct {
	long messages, sent, accepted, refused;
	unsigned char *is_accepted;
	uint32_t *took_us;
	int64_t start_ns;
	struct sender *senders;
	struct stream *streams;
	long streams_open, streams_broken, events;
	char refusal[200];
	int64_t memory[SAMPLES];
	double memory_at[SAMPLES];
} now;

/* ---------------------------------------------------------------- small things */

static int64_t clock_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

__attribute__((format(printf, 1, 2), noreturn)) static void give_up(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("load_client: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(2);
}

static void *room(size_t count, size_t size)
{
	void *memory = calloc(count ? count : 1, size);

	if (!memory)
		give_up("out of memory");
	return memory;
}

static int open_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;

	if (fd < 0 || connect(fd, (struct sockaddr *)&plan.address, sizeof plan.address) < 0)
		give_up("cannot connect: %s", strerror(errno));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
	return fd;
}

static void send_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t sent = send(fd, text, len, MSG_NOSIGNAL);

		if (sent < 0 && errno != EINTR && errno != EAGAIN)
			give_up("cannot send: %s", strerror(errno));
		if (sent > 0) {
			text += sent;
			len -= (size_t)sent;
		}
	}
}

static void send_post(int fd, const char *verb, const char *body)
{
	char request[2048];
	int len = snprintf(request, sizeof request,
			   "POST /v1/gateway/%s HTTP/1.1\r\nHost: %s\r\nContent-Type: "
			   "application/json\r\nContent-Length: %zu\r\n\r\n%s",
			   verb, plan.host, strlen(body), body);

	send_all(fd, request, (size_t)len);
}

/* The value of a header, as a number; -1: it is not there. */
static long header_number(const char *head, const char *name)
{
	const char *at = strcasestr(head, name);

	return at ? strtol(at + strlen(name), NULL, 10) : -1;
}

/* ---------------------------------------------------------------- putting */

static void put_message(struct sender *sender, long message)
{
	char body[512];

	sender->message = message;
	sender->got = 0;
	snprintf(body, sizeof body,
		 "{\"chat_jid\":\"load:%s-%ld\",\"id\":\"m%ld\",\"sender\":\"ada\",\"content\":"
		 "\"This is message %ld of a run that asks how much is too much; it is as long as "
		 "people's messages are, on the whole.\"}",
		 plan.run, message % plan.chats, message, message);
	send_post(sender->fd, "put_message", body);
	now.sent++;
}

static void take_answer(struct sender *sender, const char *head, const char *body)
{
	int64_t due_ns = now.start_ns + sender->message * (1000000000 / plan.rate);
	bool is_accepted = strncmp(head, "HTTP/1.1 200 ", 13) == 0 && strstr(body, "inserted");

	now.took_us[sender->message] = (uint32_t)((clock_ns() - due_ns) / 1000);
	now.is_accepted[sender->message] = is_accepted;
	now.accepted += is_accepted;
	now.refused += !is_accepted;
	if (!is_accepted && !now.refusal[0])
		snprintf(now.refusal, sizeof now.refusal, "%.180s", body);
	sender->message = -1;
}

static void read_answer(struct sender *sender)
{
	char *end;
	long length;
	ssize_t got = recv(sender->fd, sender->answer + sender->got,
			   sizeof sender->answer - 1 - sender->got, MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0)
		give_up("the server ended a connection while message %ld was under way",
			sender->message);
	sender->got += (size_t)got;
	sender->answer[sender->got] = 0;
	end = strstr(sender->answer, "\r\n\r\n");
	if (!end)
		return;
	length = header_number(sender->answer, "\r\nContent-Length:");
	if (length < 0)
		give_up("an answer without Content-Length");
	if (sender->got < (size_t)(end + 4 - sender->answer) + (size_t)length)
		return;
	take_answer(sender, sender->answer, end + 4);
}

/* ---------------------------------------------------------------- streams */

static void open_stream(struct stream *stream, long chat)
{
	char request[512];
	int len = snprintf(request, sizeof request,
			   "GET /v1/events?kind=message&chat=load%%3A%s-%ld HTTP/1.1\r\nHost: "
			   "%s\r\nAccept: text/event-stream\r\n\r\n",
			   plan.run, chat, plan.host);

	stream->fd = open_socket();
	stream->chat = chat;
	stream->in_header = true;
	stream->in_size = true;
	stream->seen = room((size_t)(now.messages / plan.chats + 1), 1);
	send_all(stream->fd, request, (size_t)len);
}

static void take_data(struct stream *stream, const char *data)
{
	const char *id = strstr(data, "\"id\":\"m");
	long message = id ? strtol(id + 7, NULL, 10) : -1;

	stream->events++;
	now.events++;
	if (message < 0 || message >= now.messages || message % plan.chats != stream->chat)
		give_up("an event that is not of this stream: %.200s", data);
	if (stream->seen[message / plan.chats])
		stream->again++;
	stream->seen[message / plan.chats] = 1;
}

static void take_line(struct stream *stream)
{
	stream->line[stream->line_len] = 0;
	if (stream->in_header) {
		if (stream->line_len == 0) {
			stream->in_header = false;
			stream->is_open = true;
			now.streams_open++;
		} else if (strncmp(stream->line, "HTTP/", 5) == 0 &&
			   strncmp(stream->line + 8, " 200 ", 5) != 0) {
			give_up("a stream was refused: %s", stream->line);
		}
	} else if (strncmp(stream->line, "id: ", 4) == 0) {
		int64_t id = strtoll(stream->line + 4, NULL, 10);

		/* The first one says where the stream begins. */
		stream->disordered += stream->events > 0 && id <= stream->last_id;
		stream->last_id = id;
	} else if (strncmp(stream->line, "data: ", 6) == 0) {
		take_data(stream, stream->line + 6);
	}
	stream->line_len = 0;
}

static void take_letter(struct stream *stream, char letter)
{
	if (letter == '\n')
		take_line(stream);
	else if (letter != '\r' && stream->line_len < sizeof stream->line - 1)
		stream->line[stream->line_len++] = letter;
}

/* The chunked body, a byte at a time: sizes, and what is in between. */
static void take_byte(struct stream *stream, char byte)
{
	if (stream->in_header) {
		take_letter(stream, byte);
	} else if (stream->in_size) {
		if (byte == '\n') {
			stream->in_size = false;
			stream->chunk_left = stream->size + 2;
			stream->is_broken |= stream->size == 0;
			stream->size = 0;
		} else if (byte != '\r') {
			stream->size = stream->size * 16 +
				       (size_t)(byte <= '9' ? byte - '0' : (byte | 32) - 'a' + 10);
		}
	} else {
		if (stream->chunk_left-- > 2)
			take_letter(stream, byte);
		stream->in_size = stream->chunk_left == 0;
	}
}

static void read_stream(struct stream *stream, int epoll)
{
	char bytes[16384];
	ssize_t got = recv(stream->fd, bytes, sizeof bytes, MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	for (ssize_t i = 0; i < got && !stream->is_broken; i++)
		take_byte(stream, bytes[i]);
	if (got <= 0 || stream->is_broken) {
		stream->is_broken = true;
		now.streams_broken++;
		epoll_ctl(epoll, EPOLL_CTL_DEL, stream->fd, NULL);
	}
}

/* ---------------------------------------------------------------- the run */

/* Streams' tags are below zero, senders' above. */
static void watch(int epoll, int fd, int64_t tag)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)tag};

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		give_up("epoll: %s", strerror(errno));
}

static void look(int epoll, int timeout_ms)
{
	struct epoll_event events[EVENTS_AT_ONCE];
	int count = epoll_wait(epoll, events, EVENTS_AT_ONCE, timeout_ms);

	for (int i = 0; i < count; i++) {
		int64_t tag = (int64_t)events[i].data.u64;

		if (tag < 0)
			read_stream(&now.streams[-tag - 1], epoll);
		else
			read_answer(&now.senders[tag]);
	}
}

static void open_all(int epoll)
{
	int64_t until_ns = clock_ns() + INT64_C(1000000000) * SETTLE_SECONDS;

	for (long i = 0; i < plan.streams; i++) {
		open_stream(&now.streams[i], i % plan.chats);
		watch(epoll, now.streams[i].fd, -i - 1);
	}
	for (long i = 0; i < plan.connections; i++) {
		now.senders[i].fd = open_socket();
		now.senders[i].message = -1;
		watch(epoll, now.senders[i].fd, i);
	}
	while (now.streams_open < plan.streams) {
		look(epoll, 100);
		if (clock_ns() > until_ns)
			give_up("only %ld of %ld streams opened", now.streams_open, plan.streams);
	}
}

static void put_all(int epoll)
{
	int64_t gap_ns = 1000000000 / plan.rate;
	long next = 0, turn = 0; /* by turns: a connection that is never used is closed */

	now.start_ns = clock_ns();
	while (now.accepted + now.refused < now.messages) {
		int64_t ahead_ns;

		for (long i = 0; i < plan.connections && next < now.messages &&
				 now.start_ns + next * gap_ns <= clock_ns();
		     i++)
			if (now.senders[turn++ % plan.connections].message < 0)
				put_message(&now.senders[(turn - 1) % plan.connections], next++);
		ahead_ns = now.start_ns + next * gap_ns - clock_ns();
		look(epoll, next < now.messages && ahead_ns < 1000000 ? 0 : 1);
	}
}

static long expected_of(const struct stream *stream)
{
	long count = 0;

	for (long i = stream->chat; i < now.messages; i += plan.chats)
		count += now.is_accepted[i];
	return count;
}

static long count_missing(void)
{
	long missing = 0;

	for (long i = 0; i < plan.streams; i++) {
		long expected = expected_of(&now.streams[i]);
		long got = now.streams[i].events - now.streams[i].again;

		missing += expected > got ? expected - got : 0;
	}
	return missing;
}

static void settle(int epoll)
{
	int64_t until_ns = clock_ns() + INT64_C(1000000000) * SETTLE_SECONDS;

	while (count_missing() > 0 && clock_ns() < until_ns)
		look(epoll, 100);
}

/* ---------------------------------------------------------------- reading back */

/* One request on a connection of its own; the whole answer, for free(). */
static char *ask(const char *verb, const char *body)
{
	int fd = open_socket();
	size_t len = 0, size = 1 << 20;
	char *answer = room(size, 1), *end = NULL;
	char request[256];

	if (verb) {
		send_post(fd, verb, body);
	} else {
		snprintf(request, sizeof request, "GET /metrics HTTP/1.1\r\nHost: %s\r\n\r\n",
			 plan.host);
		send_all(fd, request, strlen(request));
	}
	for (;;) {
		ssize_t got = recv(fd, answer + len, size - len - 1, 0);

		if (got <= 0)
			break;
		len += (size_t)got;
		answer[len] = 0;
		end = strstr(answer, "\r\n\r\n");
		if (end && len >= (size_t)(end + 4 - answer) +
					   (size_t)header_number(answer, "\r\nContent-Length:"))
			break;
		if (len == size - 1)
			give_up("an answer is too long");
	}
	close(fd);
	return answer;
}

/* How many messages of this chat are there; `found` counts each. */
static void read_chat(long chat, unsigned char *found)
{
	long after = 0, rows;

	do {
		char body[256], *answer;

		snprintf(body, sizeof body,
			 "{\"jid\":\"load:%s-%ld\",\"after_seq\":%ld,\"limit\":%d}", plan.run, chat,
			 after, PAGE);
		answer = ask("messages_since", body);
		if (strncmp(answer, "HTTP/1.1 200 ", 13) != 0)
			give_up("cannot read back: %.300s", answer);
		rows = 0;
		for (char *at = answer; (at = strstr(at, "\"id\":\"m")); rows++) {
			long message = strtol(at + 7, &at, 10);

			if (message >= 0 && message < now.messages)
				found[message]++;
		}
		after += rows;
		free(answer);
	} while (rows == PAGE);
}

static int64_t read_memory(void)
{
	char *answer = ask(NULL, NULL);
	const char *at = strstr(answer, "\nprocess_resident_memory_bytes ");
	int64_t bytes = at ? strtoll(at + 31, NULL, 10) : -1;

	free(answer);
	return bytes;
}

/* At 10 s, 30 s and, by the main thread, at the end; of a shorter run at its sixth and its half. */
static void *watch_memory(void *ctx)
{
	double seconds = (double)plan.seconds;
	double at[] = {seconds > 10 ? 10 : seconds / 6, seconds > 30 ? 30 : seconds / 2};

	(void)ctx;
	for (int i = 0; i < 2; i++) {
		double left = at[i] - (i ? at[i - 1] : 0);
		struct timespec pause = {(time_t)left, (long)((left - (double)(time_t)left) * 1e9)};

		nanosleep(&pause, NULL);
		now.memory[i] = read_memory();
		now.memory_at[i] = at[i];
	}
	return NULL;
}

/* ---------------------------------------------------------------- what is said */

static int compare_times(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return left < right ? -1 : left > right;
}

static double time_at(double share)
{
	long index = (long)((double)now.messages * share);

	return now.took_us[index < now.messages ? index : now.messages - 1] / 1000.0;
}

static int report(const unsigned char *found, double took_seconds)
{
	long lost = 0, doubled = 0, missing = count_missing(), again = 0, disordered = 0;
	bool is_good;

	for (long i = 0; i < now.messages; i++) {
		lost += now.is_accepted[i] && !found[i];
		doubled += found[i] > 1;
	}
	for (long i = 0; i < plan.streams; i++) {
		again += now.streams[i].again;
		disordered += now.streams[i].disordered;
	}
	is_good =
		!lost && !doubled && !missing && !disordered && !now.refused && !now.streams_broken;
	qsort(now.took_us, (size_t)now.messages, sizeof *now.took_us, compare_times);
	printf("{\"ok\":%s,\"rate\":%ld,\"reached\":%.0f,\"sent\":%ld,\"accepted\":%ld,"
	       "\"refused\":%ld,\"lost\":%ld,\"doubled\":%ld,"
	       "\"accept_ms\":{\"p50\":%.2f,\"p99\":%.2f,\"p999\":%.2f,\"max\":%.2f},"
	       "\"streams\":{\"open\":%ld,\"broken\":%ld,\"events\":%ld,\"missing\":%ld,"
	       "\"again\":%ld,\"out_of_order\":%ld},"
	       "\"memory_bytes\":{\"first\":%" PRId64 ",\"middle\":%" PRId64 ",\"end\":%" PRId64
	       "}}\n",
	       is_good ? "true" : "false", plan.rate, (double)now.messages / took_seconds, now.sent,
	       now.accepted, now.refused, lost, doubled, time_at(0.5), time_at(0.99),
	       time_at(0.999), time_at(1), now.streams_open, now.streams_broken, now.events,
	       missing, again, disordered, now.memory[0], now.memory[1], now.memory[2]);
	printf("%ld of %ld accepted at %.0f/s, %ld lost; accepting took p50 %.1f ms, p99 %.1f ms, "
	       "p99.9 %.1f ms, at most %.1f ms; %ld events on %ld streams, %ld missing; the server "
	       "had %.0f MB after %.0f s, %.0f MB after %.0f s, %.0f MB at the end\n",
	       now.accepted, now.sent, (double)now.messages / took_seconds, lost, time_at(0.5),
	       time_at(0.99), time_at(0.999), time_at(1), now.events, now.streams_open, missing,
	       (double)now.memory[0] / 1e6, now.memory_at[0], (double)now.memory[1] / 1e6,
	       now.memory_at[1], (double)now.memory[2] / 1e6);
	if (now.refused)
		printf("refused, the first: %s\n", now.refusal);
	return is_good ? 0 : 1;
}

/* ---------------------------------------------------------------- the command */

static void read_url(const char *url)
{
	char host[49];
	int port;

	if (sscanf(url, "http://%48[0-9.]:%d", host, &port) != 2 || port < 1 || port > 65535)
		give_up("not http://<IPv4 address>:<port>: %s", url);
	plan.address.sin_family = AF_INET;
	plan.address.sin_port = htons((uint16_t)port);
	if (inet_pton(AF_INET, host, &plan.address.sin_addr) != 1)
		give_up("not an address: %s", host);
	snprintf(plan.host, sizeof plan.host, "%s:%d", host, port);
}

static void read_options(int argc, char **argv)
{
	struct {
		const char *name;
		long *value;
	} options[] = {
		{"--rate", &plan.rate},       {"--seconds", &plan.seconds},
		{"--chats", &plan.chats},     {"--connections", &plan.connections},
		{"--streams", &plan.streams},
	};

	if (argc < 2 || argc % 2 != 0)
		give_up("load_client URL [--rate N] [--seconds N] [--connections N] [--streams N] "
			"[--chats N]");
	read_url(argv[1]);
	for (int i = 2; i < argc; i += 2) {
		size_t k = 0;

		while (k < 5 && strcmp(options[k].name, argv[i]) != 0)
			k++;
		if (k == 5)
			give_up("no such option: %s", argv[i]);
		*options[k].value = strtol(argv[i + 1], NULL, 10);
		if (*options[k].value < (k == 4 ? 0 : 1))
			give_up("%s: not a number that fits", argv[i]);
	}
}

int main(int argc, char **argv)
{
	struct rlimit files;
	int epoll = epoll_create1(EPOLL_CLOEXEC), result;
	unsigned char *found;
	double took_seconds;
	pthread_t memory;

	read_options(argc, argv);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	snprintf(plan.run, sizeof plan.run, "%lx%x", (long)time(NULL), (unsigned)getpid());
	now.messages = plan.rate * plan.seconds;
	now.is_accepted = room((size_t)now.messages, 1);
	now.took_us = room((size_t)now.messages, sizeof *now.took_us);
	now.senders = room((size_t)plan.connections, sizeof *now.senders);
	now.streams = room((size_t)plan.streams, sizeof *now.streams);
	found = room((size_t)now.messages, 1);
	open_all(epoll);
	if (pthread_create(&memory, NULL, watch_memory, NULL) != 0)
		give_up("no thread");
	put_all(epoll);
	took_seconds = (double)(clock_ns() - now.start_ns) / 1e9;
	settle(epoll);
	pthread_join(memory, NULL);
	now.memory[2] = read_memory();
	for (long chat = 0; chat < plan.chats; chat++)
		read_chat(chat, found);
	result = report(found, took_seconds);
	for (long i = 0; i < plan.streams; i++) {
		close(now.streams[i].fd);
		free(now.streams[i].seen);
	}
	for (long i = 0; i < plan.connections; i++)
		close(now.senders[i].fd);
	free(found);
	free(now.streams);
	free(now.senders);
	free(now.took_us);
	free(now.is_accepted);
	close(epoll);
	return result;
}

/*
 * test_s3_signature.c - the requests of the S3 client carry the signatures that AWS publishes as
 * examples ("Signature Calculations for the Authorization Header", examplebucket, 24 May 2013).
 *
 * A thread accepts one connection, keeps what came and answers 200: what is compared is what was
 * sent. The published values are for buckets in the host's name; the client's bucket is therefore
 * empty here.
 */
#include "backup/s3_private.h"
#include "keep_test.h"
#include "temp_folder.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>

struct listener {
	int fd;
	char to[32]; /* "127.0.0.1:PORT" */
	char got[8192];
	pthread_t thread;
};

static void *answer_one(void *ctx)
{
	static const char answer[] =
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
	struct listener *listener = ctx;
	int fd = accept(listener->fd, NULL, NULL);
	size_t len = 0;
	ssize_t count;

	while (fd >= 0 && !strstr(listener->got, "\r\n\r\n") && len < sizeof listener->got - 1 &&
	       (count = read(fd, listener->got + len, sizeof listener->got - 1 - len)) > 0) {
		len += (size_t)count;
		listener->got[len] = '\0';
	}
	if (fd >= 0 && write(fd, answer, sizeof answer - 1) > 0)
		shutdown(fd, SHUT_WR);
	while (fd >= 0 && read(fd, listener->got + len, sizeof listener->got - 1 - len) > 0)
		;
	close(fd);
	return NULL;
}

static void begin_listening(struct listener *listener)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t size = sizeof address;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener->got[0] = '\0';
	listener->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(listener->fd >= 0 &&
		      bind(listener->fd, (struct sockaddr *)&address, sizeof address) == 0 &&
		      listen(listener->fd, 1) == 0 &&
		      getsockname(listener->fd, (struct sockaddr *)&address, &size) == 0,
	      "no socket");
	(void)snprintf(listener->to, sizeof listener->to, "127.0.0.1:%d", ntohs(address.sin_port));
	CHECK(pthread_create(&listener->thread, NULL, answer_one, listener) == 0, "no thread");
}

static const struct example {
	const char *method, *key, *query, *header, *other, *body, *sent, *signature;
} examples[] = {
	{"GET", "test.txt", "", "Range: bytes=0-9", NULL, NULL, "GET /test.txt HTTP/1.1",
	 "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
	{"PUT", "test$file.text", "", "Date: Fri, 24 May 2013 00:00:00 GMT",
	 "x-amz-storage-class: REDUCED_REDUNDANCY", "Welcome to Amazon S3.",
	 "PUT /test%24file.text HTTP/1.1",
	 "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
	{"GET", NULL, "lifecycle=", NULL, NULL, NULL, "GET /?lifecycle= HTTP/1.1",
	 "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
	{"GET", NULL, "max-keys=2&prefix=J", NULL, NULL, NULL, "GET /?max-keys=2&prefix=J HTTP/1.1",
	 "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
};

static void send_example(const struct example *example, const temp_folder *folder)
{
	struct listener listener;
	kp_s3_options options = {
		.endpoint = "http://examplebucket.s3.amazonaws.com",
		.bucket = "examplebucket",
		.access_key = "AKIAIOSFODNN7EXAMPLE",
		.secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
		.connect_to = listener.to,
		.tries = 1,
	};
	kp_s3_request request = KP_S3_REQUEST(example->method, keep_bytes_of(example->key));
	kp_s3_answer answer = {.size = -1};
	unsigned char digest[KP_SHA256_SIZE];
	char sha256[KP_S3_SHA256_TEXT], wanted[128], path[128];
	keep_error err = KEEP_ERROR_INIT;
	kp_s3 *s3 = NULL;

	begin_listening(&listener);
	OK(kp_s3_open(&options, &s3, &err));
	s3->bucket = "";
	s3->fixed_date = "20130524T000000Z";
	request.query = example->query;
	request.headers[0] = example->header;
	request.headers[1] = example->other;
	if (example->body) {
		OK(kp_sha256(keep_bytes_of(example->body), digest, &err));
		kp_hex_format((keep_bytes){(const char *)digest, sizeof digest}, sha256);
		request.sha256 = sha256;
		request.size = (int64_t)strlen(example->body);
		OK(kp_file_open(AT_FDCWD, temp_path(folder, "body", path), O_RDWR | O_CREAT, 0600,
				&request.fd, &err));
		OK(kp_file_write_at(request.fd, keep_bytes_of(example->body), 0, &err));
	}
	OK(kp_s3_call(s3, &request, &answer, &err));
	pthread_join(listener.thread, NULL);
	CHECK(strncmp(listener.got, example->sent, strlen(example->sent)) == 0, "%s", listener.got);
	(void)snprintf(wanted, sizeof wanted, "Signature=%s\r\n", example->signature);
	CHECK(strstr(listener.got, wanted), "%s", listener.got);
	CHECK(!strstr(listener.got, options.secret_key), "the secret was sent");
	close(listener.fd);
	kp_file_close(&request.fd);
	kp_s3_answer_release(&answer);
	kp_s3_close(&s3);
}

static void the_published_examples_are_signed_as_published(void **state)
{
	temp_folder folder;

	(void)state;
	unsetenv("http_proxy");
	unsetenv("all_proxy");
	unsetenv("ALL_PROXY");
	temp_folder_make(&folder);
	for (size_t i = 0; i < KP_COUNT(examples); i++)
		send_example(&examples[i], &folder);
	temp_folder_remove(&folder);
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_published_examples_are_signed_as_published),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

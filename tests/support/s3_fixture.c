/*
 * s3_fixture.c - see s3_fixture.h. The stand-in is asked over HTTP, by libcurl as it is.
 */
#include "s3_fixture.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>

static void count_pause(void *ctx, int64_t ms)
{
	s3_fixture *fixture = ctx;

	fixture->pauses++;
	fixture->paused_ms += ms;
	if (fixture->cancel_after && fixture->pauses >= fixture->cancel_after)
		fixture->cancelled = 1;
}

static const char *need(const char *name)
{
	const char *value = getenv(name);

	CHECK(value, "%s is not set: run it by tests/support/s3_server.py", name);
	return value;
}

bool s3_is_stand_in(void)
{
	return getenv("KEEP_TEST_S3_TLS") != NULL;
}

bool s3_lacks(const char *what)
{
	const char *lacks = getenv("KEEP_TEST_S3_LACKS");

	if (!lacks || !strstr(lacks, what))
		return false;
	print_message("left out, because this server lacks it: %s\n", what);
	return true;
}

void s3_fixture_reopen(s3_fixture *fixture)
{
	keep_error err = KEEP_ERROR_INIT;

	kp_s3_close(&fixture->s3);
	OK(kp_s3_open(&fixture->options, &fixture->s3, &err));
}

void s3_fixture_open(s3_fixture *fixture)
{
	static int number;
	static char prefix[64];

	memset(fixture, 0, sizeof *fixture);
	temp_folder_make(&fixture->folder);
	fixture->fd = open(fixture->folder.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fixture->fd >= 0, "no folder");
	(void)snprintf(prefix, sizeof prefix, "%s/%d", fixture->folder.path + 5, number++);
	fixture->options = (kp_s3_options){
		.endpoint = need("KEEP_TEST_S3"),
		.bucket = need("KEEP_TEST_S3_BUCKET"),
		.prefix = prefix,
		.access_key = need("KEEP_TEST_S3_ACCESS_KEY"),
		.secret_key = need("KEEP_TEST_S3_SECRET_KEY"),
		.session_token = getenv("KEEP_TEST_S3_TOKEN"),
		.pause = count_pause,
		.pause_ctx = fixture,
		.cancelled = &fixture->cancelled,
	};
	s3_fixture_reopen(fixture);
}

void s3_fixture_close(s3_fixture *fixture)
{
	if (s3_is_stand_in())
		s3_forget_all();
	kp_s3_close(&fixture->s3);
	close(fixture->fd);
	temp_folder_remove(&fixture->folder);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- the stand-in */

static size_t collect(char *data, size_t size, size_t count, void *ctx)
{
	char *out = ctx;
	size_t len = strlen(out);

	CHECK(len + size * count < 65536, "a state of the server that is too long");
	memcpy(out + len, data, size * count);
	out[len + size * count] = '\0';
	return size * count;
}

static void ask(const char *path, const char *body, char *out)
{
	CURL *curl = curl_easy_init();
	char url[256];
	CURLcode code;

	out[0] = '\0';
	(void)snprintf(url, sizeof url, "%s/-/%s", need("KEEP_TEST_S3"), path);
	CHECK(curl, "no curl");
	curl_easy_setopt(curl, CURLOPT_URL, url);
	if (body)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, out);
	code = curl_easy_perform(curl);
	CHECK(code == CURLE_OK, "%s: %s", url, curl_easy_strerror(code));
	curl_easy_cleanup(curl);
}

void s3_faults(const char *rules)
{
	static char state[65536];

	ask("faults", rules, state);
}

void s3_age_uploads(int seconds)
{
	static char state[65536];
	char text[16];

	(void)snprintf(text, sizeof text, "%d", seconds);
	ask("age", text, state);
}

void s3_forget_all(void)
{
	static char state[65536];

	ask("reset", "", state);
}

/* What the server tells of itself, read by `look`. */
static int64_t read_state(const char *name, bool is_object_count)
{
	static char state[65536];
	kp_arena memory = {.head = NULL};
	keep_error err = KEEP_ERROR_INIT;
	const kp_json *json, *found;
	int64_t value;

	ask("state", NULL, state);
	OK(kp_json_parse(keep_bytes_of(state), &memory, &json, &err));
	found = is_object_count ? kp_json_member(json, "objects") : kp_json_member(json, name);
	if (!found)
		found = kp_json_member(kp_json_member(json, "requests"), name);
	value = !found ? 0 : is_object_count ? (int64_t)found->list.count : found->integer;
	kp_arena_release(&memory);
	return value;
}

int64_t s3_count(const char *name)
{
	return read_state(name, false);
}

int64_t s3_object_count(void)
{
	return read_state(NULL, true);
}

/* ---------------------------------------------------------------- files */

bool s3_has_file(const s3_fixture *fixture, const char *name)
{
	return faccessat(fixture->fd, name, F_OK, 0) == 0;
}

void s3_digest_file(const s3_fixture *fixture, const char *name, char sha256[KP_S3_SHA256_TEXT])
{
	static char block[65536];
	unsigned char digest[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int fd = openat(fixture->fd, name, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	CHECK(fd >= 0 && ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1, "%s", name);
	while ((got = read(fd, block, sizeof block)) > 0)
		CHECK(EVP_DigestUpdate(ctx, block, (size_t)got) == 1, "no digest");
	CHECK(got == 0 && EVP_DigestFinal_ex(ctx, digest, NULL) == 1, "no digest");
	EVP_MD_CTX_free(ctx);
	close(fd);
	kp_hex_format((keep_bytes){(const char *)digest, KP_SHA256_SIZE}, sha256);
}

void s3_make_file(const s3_fixture *fixture, const char *name, int64_t size, unsigned seed,
		  char sha256[KP_S3_SHA256_TEXT])
{
	int fd = openat(fixture->fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	uint64_t random = seed;

	CHECK(fd >= 0, "%s cannot be made", name);
	CHECK(ftruncate(fd, size) == 0, "%s", name);
	for (int64_t at = 0; seed && at < size; at += 8) {
		static uint64_t words[8192];
		size_t count = 0, bytes;
		int64_t begin = at;

		for (; count < KP_COUNT(words) && at < size; at += 8)
			words[count++] = next_random(&random);
		at -= 8;
		bytes = count * 8;
		if (begin + (int64_t)bytes > size)
			bytes = (size_t)(size - begin);
		CHECK(pwrite(fd, words, bytes, begin) == (ssize_t)bytes, "%s", name);
	}
	close(fd);
	s3_digest_file(fixture, name, sha256);
}

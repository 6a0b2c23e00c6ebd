/*
 * s3_url.c - addresses of objects, and what a client is opened with.
 *
 * Invariants:
 *   1. A key is encoded once, byte by byte, and so is what is signed: all but A-Z a-z 0-9 - . _ ~
 *      and the '/' between its segments.
 *   2. Nothing that is wrong with an option is found out later by a server: it is INVALID here, and
 *      the message names the option, never the value of a secret.
 *   3. An endpoint is a scheme, a host and a port. A user, a path, a query or a fragment in it is
 *      refused, because it would be dropped or signed wrongly without a word.
 *
 * What it does not do: shared configuration files, profiles, roles of machines; a program that uses
 * those exports what they give.
 *
 * Tests: tests/unit/test_s3_url.c.
 */
#include "backup/s3_private.h"

#include <stdlib.h>
#include <string.h>

#define BUCKET_MIN 3
#define BUCKET_MAX 63
#define TEXT_MAX 4096

static bool is_plain(char byte)
{
	return (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
	       (byte >= '0' && byte <= '9') || byte == '-' || byte == '.' || byte == '_' ||
	       byte == '~';
}

keep_status kp_s3_append_encoded(keep_buffer *out, keep_bytes text, bool keep_slash,
				 keep_error *err)
{
	static const char digits[] = "0123456789ABCDEF";
	keep_status status = kp_buffer_reserve(out, out->len + 3 * text.len, err);

	if (status != KEEP_OK)
		return status;
	for (size_t i = 0; i < text.len; i++) {
		char byte = text.data[i];

		if (is_plain(byte) || (keep_slash && byte == '/')) {
			out->data[out->len++] = byte;
			continue;
		}
		out->data[out->len++] = '%';
		out->data[out->len++] = digits[(unsigned char)byte >> 4];
		out->data[out->len++] = digits[(unsigned char)byte & 15];
	}
	out->data[out->len] = '\0';
	return KEEP_OK;
}

bool kp_s3_decode(char *text, size_t *len)
{
	size_t to = 0;

	for (size_t at = 0; at < *len; at++) {
		if (text[at] != '%') {
			text[to++] = text[at] == '+' ? ' ' : text[at];
			continue;
		}
		if (at + 2 >= *len || kp_hex_digit(text[at + 1]) < 0 ||
		    kp_hex_digit(text[at + 2]) < 0)
			return false;
		text[to++] = (char)(kp_hex_digit(text[at + 1]) * 16 + kp_hex_digit(text[at + 2]));
		at += 2;
	}
	text[to] = '\0';
	*len = to;
	return true;
}

/* No segment "." or "..", which something on the way may take for a folder. */
static bool has_dot_segment(keep_bytes key)
{
	size_t begin = 0;

	for (size_t at = 0; at <= key.len; at++) {
		if (at < key.len && key.data[at] != '/')
			continue;
		if ((at - begin == 1 && key.data[begin] == '.') ||
		    (at - begin == 2 && memcmp(key.data + begin, "..", 2) == 0))
			return true;
		begin = at + 1;
	}
	return false;
}

keep_status kp_s3_full_key(const kp_s3 *s3, const char *key, keep_buffer *out, keep_error *err)
{
	keep_status status = kp_check_key("the key of an object", keep_bytes_of(key), err);

	if (status == KEEP_OK && has_dot_segment(keep_bytes_of(key)))
		status = kp_fail(err, KEEP_INVALID, "the key of an object has a segment of dots");
	if (status == KEEP_OK)
		status = kp_buffer_append_text(out, s3->prefix, err);
	if (status == KEEP_OK)
		status = kp_buffer_append_text(out, key, err);
	if (status == KEEP_OK && out->len > KP_S3_KEY_MAX)
		status = kp_fail(err, KEEP_INVALID,
				 "the key of an object: %zu bytes with the prefix, the limit is %d",
				 out->len, KP_S3_KEY_MAX);
	return status;
}

/* ---------------------------------------------------------------- endpoints */

/* Is the part there? Fails when memory does. */
static keep_status look_for_part(CURLU *url, CURLUPart part, CURLUcode absent, bool *is_there,
				 keep_error *err)
{
	char *text = NULL;
	CURLUcode code = curl_url_get(url, part, &text, 0);

	*is_there = code == CURLUE_OK && strcmp(text, "/") != 0;
	curl_free(text);
	if (code != CURLUE_OK && code != absent)
		return kp_fail_memory(err, "the parts of a URL");
	return KEEP_OK;
}

keep_status kp_s3_check_endpoint(const char *endpoint, keep_error *err)
{
	static const struct {
		CURLUPart part;
		CURLUcode absent;
		bool is_wanted;
	} parts[] = {
		{CURLUPART_HOST, CURLUE_NO_HOST, true},
		{CURLUPART_USER, CURLUE_NO_USER, false},
		{CURLUPART_PASSWORD, CURLUE_NO_PASSWORD, false},
		{CURLUPART_PATH, CURLUE_OK, false},
		{CURLUPART_QUERY, CURLUE_NO_QUERY, false},
		{CURLUPART_FRAGMENT, CURLUE_NO_FRAGMENT, false},
	};
	bool is_web = strncmp(endpoint, "https://", 8) == 0 || strncmp(endpoint, "http://", 7) == 0;
	keep_status status = KEEP_OK;
	CURLU *url = NULL;
	CURLUcode code;

	if (!is_web || strlen(endpoint) > TEXT_MAX)
		return kp_fail(err, KEEP_INVALID, "the endpoint is no http:// or https:// URL");
	url = curl_url();
	if (!url)
		return kp_fail_memory(err, "a URL");
	code = curl_url_set(url, CURLUPART_URL, endpoint, 0);
	if (code == CURLUE_OUT_OF_MEMORY)
		status = kp_fail_memory(err, "a URL");
	else if (code != CURLUE_OK)
		status = kp_fail(err, KEEP_INVALID, "the endpoint is no URL: %s",
				 curl_url_strerror(code));
	for (size_t i = 0; i < KP_COUNT(parts) && status == KEEP_OK; i++) {
		bool is_there = false;

		status = look_for_part(url, parts[i].part, parts[i].absent, &is_there, err);
		if (status == KEEP_OK && is_there != parts[i].is_wanted)
			status = kp_fail(err, KEEP_INVALID,
					 "the endpoint is more or less than https://host[:port]");
	}
	curl_url_cleanup(url);
	return status;
}

/* ---------------------------------------------------------------- the environment */

static const char *first_of(const char *given, const char *name, const char *other)
{
	const char *value = given;

	if (!value || !*value)
		value = getenv(name);
	if ((!value || !*value) && other)
		value = getenv(other);
	return value && *value ? value : NULL;
}

keep_status kp_s3_open_url(const char *url, const kp_s3_options *rest, kp_s3 **out, keep_error *err)
{
	kp_s3_options options = {.bucket = NULL};
	char bucket[BUCKET_MAX + 1];
	const char *slash;
	size_t len;

	*out = NULL;
	if (rest)
		options = *rest;
	if (!url || strncmp(url, "s3://", 5) != 0)
		return kp_fail(err, KEEP_INVALID,
			       "the address of a bucket is s3://bucket[/prefix]");
	url += 5;
	slash = strchr(url, '/');
	len = slash ? (size_t)(slash - url) : strlen(url);
	if (len < BUCKET_MIN || len > BUCKET_MAX)
		return kp_fail(err, KEEP_INVALID,
			       "the address's bucket has %zu bytes, not %d to %d", len, BUCKET_MIN,
			       BUCKET_MAX);
	memcpy(bucket, url, len);
	bucket[len] = '\0';
	options.bucket = bucket;
	options.prefix = slash ? slash + 1 : NULL;
	options.access_key = first_of(options.access_key, "AWS_ACCESS_KEY_ID", NULL);
	options.secret_key = first_of(options.secret_key, "AWS_SECRET_ACCESS_KEY", NULL);
	/* A token belongs to the keys it came with. */
	if (!rest || !rest->access_key)
		options.session_token = first_of(options.session_token, "AWS_SESSION_TOKEN", NULL);
	options.region = first_of(options.region, "AWS_REGION", "AWS_DEFAULT_REGION");
	options.endpoint = first_of(options.endpoint, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL");
	options.ca_file = first_of(options.ca_file, "AWS_CA_BUNDLE", NULL);
	if (!options.access_key)
		return kp_fail(err, KEEP_INVALID, "AWS_ACCESS_KEY_ID is not set");
	if (!options.secret_key)
		return kp_fail(err, KEEP_INVALID, "AWS_SECRET_ACCESS_KEY is not set");
	return kp_s3_open(&options, out, err);
}

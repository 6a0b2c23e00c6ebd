/*
 * Any bytes are a query or are refused. What a query becomes has no byte in it that is not a
 * token's or our own; a text that is the query's own tokens is read without a fault, and matching,
 * ranking and snippets of it end.
 *
 * The input up to its first zero byte is the query, the rest is the text.
 */
#include "search/search.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

static bool is_clean(char byte, char quote)
{
	return (unsigned char)byte >= 0x80 || byte == ' ' || (byte >= '0' && byte <= '9') ||
	       (byte >= 'a' && byte <= 'z') || (byte == '!' && quote == '\'');
}

static void check_clean(keep_bytes text)
{
	char quote = 0;

	for (size_t i = 0; i < text.len; i++) {
		char byte = text.data[i];

		if (quote && byte == quote)
			quote = 0;
		else if (quote)
			require(is_clean(byte, quote));
		else if (byte == '"' || byte == '\'')
			quote = byte;
		else
			require(byte && strchr("() ANDORT&|!<->:*", byte));
	}
	require(!quote);
}

static void check_query(const kp_text_query *query, keep_bytes text)
{
	const kp_snippet_options options = {.bytes_max = 160};
	const kp_text_candidate candidate = {.id = 1, .content = text};
	const kp_text_statistics statistics = {.documents = 1};
	kp_text_ranker *ranker = NULL;
	keep_buffer out = KEEP_BUFFER_INIT;
	bool matches = false, ranked = false;

	require(kp_text_query_fts5(query, NULL, &out, NULL) == KEEP_OK && out.len);
	check_clean(kp_buffer_bytes(&out));
	require(kp_text_query_tsquery(query, NULL, &out, NULL) == KEEP_OK && out.len);
	check_clean(kp_buffer_bytes(&out));
	if (kp_text_matches(query, &candidate, &matches, NULL) == KEEP_OK) {
		require(kp_text_ranker_open(query, &statistics, 1, &ranker, NULL) == KEEP_OK);
		require(kp_text_ranker_offer(ranker, &candidate, &ranked, NULL) == KEEP_OK);
		require(ranked == matches);
		kp_text_ranker_close(&ranker);
		require(kp_text_snippet(query, text, &options, &out, NULL) == KEEP_OK);
		require(out.len <= 160 && kp_utf8_is_valid(kp_buffer_bytes(&out), NULL));
		require(kp_text_tsvector(text, text, &out, NULL) == KEEP_OK);
	}
	keep_buffer_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *bytes = (const char *)data, *zero;
	keep_bytes query_text, text = {"", 0};
	keep_error err = KEEP_ERROR_INIT;
	kp_text_query query;
	keep_status status;

	if (!size)
		return 0;
	zero = memchr(bytes, 0, size);
	query_text = (keep_bytes){bytes, zero ? (size_t)(zero - bytes) : size};
	if (zero)
		text = (keep_bytes){zero + 1, size - query_text.len - 1};
	status = kp_text_query_parse(query_text, &query, &err);
	require(status == KEEP_OK || (status == KEEP_INVALID && err.message[0]));
	if (status == KEEP_OK)
		check_query(&query, text);
	kp_text_query_release(&query);
	return 0;
}

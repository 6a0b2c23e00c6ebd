/*
 * bench_find.c - finding messages and documents through the assistant's store.
 *
 *     bench_find FOLDER [MESSAGES [VECTORS]]        1,000,000 and 100,000 unless told
 *
 * Messages of Zipf-distributed words are appended while the store folds their words in behind, then
 * a mix of rare, medium and common words, phrases and prefixes is asked, the ten best, each query 5
 * times; then VECTORS documents with 384 numbers each are asked for the ten nearest. An earlier
 * run's file is used again. Promised: full text a median below 20 ms, none above 60 ms.
 */
#include "bench.h"

#include "keep/assistant.h"
#include "keep/assistant_search.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS 200000
#define BATCH 100
#define DIMENSIONS 384

/* src/assistant/message_index.c */
keep_status kp_message_index_fold(keep_assistant *assistant, keep_error *err);

static double cumulated[WORDS];
static char words[WORDS][24];
static uint64_t seed = 1;

static void must(keep_status status, const keep_error *err)
{
	if (status != KEEP_OK)
		bench_fail("%s", err->message);
}

static void make_words(void)
{
	static const char *const parts[] = {"a",  "to", "in", "re", "ka", "lo", "mi", "ne",
					    "su", "ta", "vo", "be", "da", "fi", "ga", "ho"};
	double sum = 0;

	for (int i = 0; i < WORDS; i++) {
		sum += 1 / (i + 2.7);
		cumulated[i] = sum;
		for (unsigned rest = (unsigned)i + 1; rest; rest >>= 4)
			strcat(words[i], parts[rest & 15]);
		strcat(words[i], i > 2000 ? "rn" : "");
	}
	for (int i = 0; i < WORDS; i++)
		cumulated[i] /= sum;
}

static const char *any_word(void)
{
	double at = (double)(bench_random(&seed) >> 11) * 0x1p-53;
	int low = 0, high = WORDS - 1;

	while (low < high) {
		int middle = (low + high) / 2;

		if (cumulated[middle] < at)
			low = middle + 1;
		else
			high = middle;
	}
	return words[low];
}

static size_t make_message(char *text)
{
	int len = 0, count = 10 + (int)(bench_random(&seed) % 95);

	for (int i = 0; i < count; i++)
		len += sprintf(text + len, "%s%s", i ? " " : "", any_word());
	return (size_t)len;
}

static void add_conversations(keep_assistant *assistant)
{
	for (int i = 0; i < 100; i++) {
		char id[24];
		keep_conversation conversation = {.channel = KEEP_BYTES("webui")}, out;
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_error err = KEEP_ERROR_INIT;

		snprintf(id, sizeof id, "conversation-%d", i);
		conversation.conversation_id = keep_bytes_of(id);
		must(keep_assistant_add_conversation(assistant, &conversation, KEEP_NOW, &memory,
						     &out, NULL, &err),
		     &err);
		keep_memory_release(&memory);
	}
}

static void append_all(keep_assistant *assistant, long messages)
{
	static char texts[BATCH][4096], ids[BATCH][24];
	keep_conversation_message batch[BATCH] = {{.id = 0}};
	keep_error err = KEEP_ERROR_INIT;
	double started = bench_now();

	add_conversations(assistant);
	for (long i = 0; i < messages; i += BATCH) {
		for (int j = 0; j < BATCH; j++) {
			snprintf(ids[j], sizeof ids[j], "conversation-%d", (int)(i / BATCH % 100));
			batch[j].conversation_id = keep_bytes_of(ids[j]);
			batch[j].role = KEEP_BYTES("user");
			batch[j].content = (keep_bytes){texts[j], make_message(texts[j])};
		}
		must(keep_assistant_append_many(assistant, batch, BATCH, NULL, &err), &err);
	}
	bench_tell("append messages, 100 a call, words behind", "synced",
		   (double)messages / (bench_now() - started), "");
	must(kp_message_index_fold(assistant, &err), &err);
	bench_tell("until every word is in", "synced", (double)messages / (bench_now() - started),
		   "");
}

/* ---------------------------------------------------------------- asking */

static size_t ask(keep_assistant *assistant, const char *text, const char *conversation,
		  int *is_exact)
{
	keep_message_matches matches = {.count = 0};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;

	must(keep_assistant_search_messages(assistant, keep_bytes_of(text),
					    keep_bytes_of(conversation), false, 10, &memory,
					    &matches, &err),
	     &err);
	*is_exact = matches.is_exact;
	keep_memory_release(&memory);
	return matches.count;
}

static void ask_all(keep_assistant *assistant, const char *conversation)
{
	static const char *const queries[] = {"to",
					      "in",
					      "lomi",
					      "tagare",
					      "toingakarn",
					      "tohotakainrn",
					      "to in",
					      "to toingakarn",
					      "toingakarn to in re",
					      "\"to in\"",
					      "\"lomi tagare\"",
					      "\"toingakarn to\"",
					      "\"to in re ka\"",
					      "a*",
					      "to*",
					      "lom*",
					      "tagare*",
					      "toingakarn a*",
					      "to -in",
					      "to OR in OR re"};
	enum { QUERIES = sizeof queries / sizeof *queries };
	double times[5 * QUERIES], worst = 0;
	size_t count = 0;

	for (size_t i = 0; i < QUERIES; i++) {
		double own[5], first = 0;
		size_t found = 0;
		int is_exact = 0;

		for (int turn = 0; turn < 5; turn++) {
			double started = bench_now();

			found = ask(assistant, queries[i], conversation, &is_exact);
			own[turn] = times[count++] = bench_now() - started;
			first = turn ? first : own[0];
			worst = own[turn] > worst ? own[turn] : worst;
		}
		printf("  %-24s %2zu found%s, median %.1f ms, the first %.1f ms\n", queries[i],
		       found, is_exact ? "" : " of the newest", bench_median(own, 5) * 1e3,
		       first * 1e3);
	}
	printf("  %s: median %.1f ms (promised 20), worst %.1f ms (promised 60)\n",
	       conversation ? conversation : "all messages", bench_median(times, count) * 1e3,
	       worst * 1e3);
}

/* ---------------------------------------------------------------- vectors */

static void make_vector(float *out)
{
	for (int i = 0; i < DIMENSIONS; i++) {
		double sum = 0;

		for (int j = 0; j < 4; j++)
			sum += (double)(bench_random(&seed) >> 11) * 0x1p-53 - 0.5;
		out[i] = (float)sum;
	}
}

static void index_all(keep_assistant *assistant, long count)
{
	static float values[BATCH][DIMENSIONS];
	static char ids[BATCH][24], texts[BATCH][64];
	keep_document batch[BATCH] = {{.may_shorten = false}};
	keep_error err = KEEP_ERROR_INIT;
	double started = bench_now();

	for (long i = 0; i < count; i += BATCH) {
		for (int j = 0; j < BATCH; j++) {
			make_vector(values[j]);
			snprintf(ids[j], sizeof ids[j], "%ld", i + j);
			snprintf(texts[j], sizeof texts[j], "%s %s %s", any_word(), any_word(),
				 any_word());
			batch[j].source = j ? KEEP_BYTES("bench large") : KEEP_BYTES("bench small");
			batch[j].source_id = keep_bytes_of(ids[j]);
			batch[j].content = keep_bytes_of(texts[j]);
			batch[j].embedding =
				(keep_bytes){(const char *)values[j], sizeof values[j]};
			batch[j].model = KEEP_BYTES("bench");
		}
		must(keep_assistant_index_many(assistant, batch, BATCH, KEEP_NOW, NULL, &err),
		     &err);
	}
	bench_tell("index documents with vectors, 100 a call", "synced",
		   (double)count / (bench_now() - started), "");
}

static void find_nearest(keep_assistant *assistant, const char *what, const char *source,
			 const char *text)
{
	float values[DIMENSIONS];
	keep_search_query query = {.vector = {(const char *)values, sizeof values},
				   .model = KEEP_BYTES("bench"),
				   .source = keep_bytes_of(source),
				   .text = keep_bytes_of(text)};
	double times[21], first = 0;

	for (int i = 0; i < 22; i++) {
		keep_search_matches matches = {.count = 0};
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_error err = KEEP_ERROR_INIT;
		double started;

		make_vector(values);
		started = bench_now();
		must(keep_assistant_find(assistant, &query, &memory, &matches, &err), &err);
		if (i)
			times[i - 1] = bench_now() - started;
		else
			first = bench_now() - started;
		keep_memory_release(&memory);
	}
	printf("  %s: median %.2f ms, the first %.1f ms\n", what, bench_median(times, 21) * 1e3,
	       first * 1e3);
}

int main(int argc, char **argv)
{
	long messages = argc > 2 ? atol(argv[2]) : 1000000,
	     vectors = argc > 3 ? atol(argv[3]) : 100000;
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_assistant *assistant = NULL;
	keep_error err = KEEP_ERROR_INIT;
	char url[1024];

	if (argc < 2 || messages < BATCH || vectors < BATCH)
		bench_fail("usage: bench_find FOLDER [MESSAGES [VECTORS]]");
	snprintf(url, sizeof url, "sqlite:%s/find.db", argv[1]);
	options.without_keys = true;
	bench_title("finding messages and documents");
	make_words();
	if (keep_assistant_open(url, &options, &assistant, &err) == KEEP_NOT_FOUND) {
		options.create = true;
		must(keep_assistant_open(url, &options, &assistant, &err), &err);
		append_all(assistant, messages);
		index_all(assistant, vectors);
	} else if (!assistant) {
		bench_fail("%s", err.message);
	}
	ask_all(assistant, NULL);
	ask_all(assistant, "conversation-7");
	find_nearest(assistant, "the ten nearest", NULL, NULL);
	find_nearest(assistant, "the ten nearest of a source of one in a hundred", "bench small",
		     NULL);
	find_nearest(assistant, "fused with a word", NULL, "tagare");
	keep_assistant_close(&assistant);
	return 0;
}

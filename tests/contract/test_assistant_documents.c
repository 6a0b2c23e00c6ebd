/*
 * test_assistant_documents.c - documents are indexed once, kept from their own snippets, and
 * removed with everything that is derived from them.
 *
 *     test_assistant_documents sqlite|postgres
 */
#include "assistant_fixture.h"

#include <math.h>

static const keep_bytes none = {NULL, 0};

static keep_indexed put(keep_assistant *assistant, const keep_document *document)
{
	keep_indexed indexed = KEEP_INDEXED_UNCHANGED;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_assistant_index(assistant, document, KEEP_NOW, &indexed, &err));
	return indexed;
}

static keep_indexed put_text(keep_assistant *assistant, const char *id, const char *content)
{
	const keep_document document = {.source = KEEP_BYTES("notes"),
					.source_id = keep_bytes_of(id),
					.title = KEEP_BYTES("a title"),
					.content = keep_bytes_of(content)};

	return put(assistant, &document);
}

static size_t count_found(keep_assistant *assistant, const char *text)
{
	keep_search_query query = {.text = keep_bytes_of(text), .limit = 1000};
	keep_search_matches matches = {.count = 0};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_assistant_find(assistant, &query, &memory, &matches, &err));
	keep_memory_release(&memory);
	return matches.count;
}

static void assert_content(keep_assistant *assistant, const char *id, const char *content)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_search_document document;
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_assistant_get_document(assistant, KEEP_BYTES("notes"), keep_bytes_of(id), &memory,
				       &document, &err));
	assert_bytes_equal(document.content, keep_bytes_of(content));
	keep_memory_release(&memory);
}

static void an_unchanged_text_is_skipped_and_a_changed_one_replaces_its_words(void **state)
{
	keep_assistant *assistant = assistant_fresh();

	(void)state;
	assert_int_equal(put_text(assistant, "1", "about elephants"), KEEP_INDEXED_ADDED);
	assert_int_equal(put_text(assistant, "1", "about elephants"), KEEP_INDEXED_UNCHANGED);
	assert_int_equal(count_found(assistant, "elephants"), 1);
	assert_int_equal(put_text(assistant, "1", "about tigers and lions"), KEEP_INDEXED_CHANGED);
	assert_int_equal(count_found(assistant, "elephants"), 0);
	assert_int_equal(count_found(assistant, "tigers"), 1);
	assert_string_equal(keep_indexed_name(KEEP_INDEXED_SHORTER), "shorter");
	assert_int_equal(assistant_count("search_index"), 1);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_snippet_never_replaces_what_it_was_taken_from(void **state)
{
	static const char *const body = "The whole body of a long letter. It has a second sentence,"
					" and a third one about Ümlauts.";
	static const char *const snippets[] = {
		"The whole body",
		"It has a second sentence, and…",
		"body  of a\nlong letter",
		"... a third one about üml…",
		"The whole body of a long letter. It has a second sentence, and a third o",
	};
	keep_document document = {.source = KEEP_BYTES("notes"),
				  .source_id = KEEP_BYTES("1"),
				  .title = KEEP_BYTES("a title")};
	keep_assistant *assistant = assistant_fresh();

	(void)state;
	assert_int_equal(put_text(assistant, "1", body), KEEP_INDEXED_ADDED);
	for (size_t i = 0; i < KP_COUNT(snippets); i++) {
		CHECK(put_text(assistant, "1", snippets[i]) == KEEP_INDEXED_SHORTER, "%s",
		      snippets[i]);
		assert_content(assistant, "1", body);
	}
	/* No content at all is the shortest. */
	assert_int_equal(put(assistant, &(keep_document){.source = KEEP_BYTES("notes"),
							 .source_id = KEEP_BYTES("1"),
							 .title = KEEP_BYTES("other title")}),
			 KEEP_INDEXED_SHORTER);
	assert_int_equal(count_found(assistant, "ümlauts"), 1);
	/* Another text is no snippet, however short; and who says so may shorten. */
	assert_int_equal(put_text(assistant, "1", "something else"), KEEP_INDEXED_CHANGED);
	assert_content(assistant, "1", "something else");
	document.content = KEEP_BYTES("something");
	document.may_shorten = true;
	assert_int_equal(put(assistant, &document), KEEP_INDEXED_CHANGED);
	assert_content(assistant, "1", "something");
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void vectors_belong_to_the_text_that_they_came_with(void **state)
{
	const float first[2] = {1, 2}, second[2] = {2, 1};
	const keep_bytes one = {(const char *)first, sizeof first};
	const keep_bytes two = {(const char *)second, sizeof second};
	keep_document document = {.source = KEEP_BYTES("notes"),
				  .source_id = KEEP_BYTES("1"),
				  .content = KEEP_BYTES("a text")};
	keep_assistant *assistant = assistant_fresh();

	(void)state;
	assert_int_equal(put(assistant, &document), KEEP_INDEXED_ADDED);
	document.embedding = one;
	document.model = KEEP_BYTES("m");
	assert_int_equal(put(assistant, &document), KEEP_INDEXED_CHANGED);
	assert_int_equal(put(assistant, &document), KEEP_INDEXED_UNCHANGED);
	document.embedding = two;
	assert_int_equal(put(assistant, &document), KEEP_INDEXED_CHANGED);
	document.model = KEEP_BYTES("n");
	assert_int_equal(put(assistant, &document), KEEP_INDEXED_CHANGED);
	assert_int_equal(assistant_count("search_index WHERE embedding IS NOT NULL"), 1);
	assert_int_equal(assistant_count("vector_models WHERE count = 1"), 1);
	/* An unchanged text without a vector keeps it, another text does not. */
	document.embedding = document.model = none;
	assert_int_equal(put(assistant, &document), KEEP_INDEXED_UNCHANGED);
	assert_int_equal(assistant_count("search_index WHERE embedding IS NOT NULL"), 1);
	document.content = KEEP_BYTES("another text");
	assert_int_equal(put(assistant, &document), KEEP_INDEXED_CHANGED);
	assert_int_equal(assistant_count("search_index WHERE embedding IS NOT NULL"), 0);
	assert_int_equal(assistant_count("vector_models WHERE count = 0"), 2);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void bad_documents_name_what_is_wrong_and_change_nothing(void **state)
{
	const float zero[2] = {0, 0}, infinite[2] = {1, INFINITY}, good[2] = {1, 1};
	const float nan_value[1] = {NAN};
	static char long_vector[4 * (KEEP_VECTOR_DIMENSIONS_MAX + 1)];
	const struct {
		keep_bytes source, content, embedding, model;
		const char *what;
	} bad[] = {
		{KEEP_BYTES(""), KEEP_BYTES("x"), none, none, "source"},
		{KEEP_BYTES("s"), none, none, none, "content"},
		{KEEP_BYTES("s"), KEEP_BYTES(""), none, none, "content"},
		{KEEP_BYTES("s"), KEEP_BYTES("\xff"), none, none, "content"},
		{KEEP_BYTES("s"), KEEP_BYTES("x"), KEEP_BYTES(""), KEEP_BYTES("m"), "embedding"},
		{KEEP_BYTES("s"), KEEP_BYTES("x"), KEEP_BYTES("abc"), KEEP_BYTES("m"), "embedding"},
		{KEEP_BYTES("s"),
		 KEEP_BYTES("x"),
		 {(const char *)zero, sizeof zero},
		 KEEP_BYTES("m"),
		 "embedding"},
		{KEEP_BYTES("s"),
		 KEEP_BYTES("x"),
		 {(const char *)infinite, sizeof infinite},
		 KEEP_BYTES("m"),
		 "embedding"},
		{KEEP_BYTES("s"),
		 KEEP_BYTES("x"),
		 {(const char *)nan_value, sizeof nan_value},
		 KEEP_BYTES("m"),
		 "embedding"},
		{KEEP_BYTES("s"),
		 KEEP_BYTES("x"),
		 {long_vector, sizeof long_vector},
		 KEEP_BYTES("m"),
		 "embedding"},
		{KEEP_BYTES("s"),
		 KEEP_BYTES("x"),
		 {(const char *)good, sizeof good},
		 none,
		 "model"},
	};
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	memset(long_vector, 1, sizeof long_vector);
	for (size_t i = 0; i < KP_COUNT(bad); i++) {
		const keep_document document = {.source = bad[i].source,
						.source_id = KEEP_BYTES("1"),
						.content = bad[i].content,
						.embedding = bad[i].embedding,
						.model = bad[i].model};

		CHECK(keep_assistant_index(assistant, &document, KEEP_NOW, NULL, &err) ==
			      KEEP_INVALID,
		      "%zu", i);
		CHECK(strstr(err.message, bad[i].what), "%zu: %s", i, err.message);
	}
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_batch_with_one_bad_document_indexes_none(void **state)
{
	const float good[2] = {1, 1}, three[3] = {1, 2, 3};
	keep_assistant *assistant = assistant_fresh();
	keep_document batch[3];
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	/* One of a batch with another dimension: none is there. */
	for (size_t i = 0; i < 3; i++)
		batch[i] = (keep_document){
			.source = KEEP_BYTES("s"),
			.source_id = keep_bytes_of((const char *[]){"a", "b", "c"}[i]),
			.content = KEEP_BYTES("x"),
			.embedding = {(const char *)(i == 2 ? three : good),
				      i == 2 ? sizeof three : sizeof good},
			.model = KEEP_BYTES("m")};
	assert_int_equal(keep_assistant_index_many(assistant, batch, 3, KEEP_NOW, NULL, &err),
			 KEEP_CONFLICT);
	assert_non_null(strstr(err.message, "document 3 of 3"));
	assert_int_equal(assistant_count("search_index"), 0);
	assert_int_equal(assistant_count("vector_models"), 0);
	assert_int_equal(count_found(assistant, "x"), 0);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void removing_takes_words_and_vectors_along(void **state)
{
	const float value[2] = {1, 2};
	keep_document document = {.source = KEEP_BYTES("notes"),
				  .source_id = KEEP_BYTES("1"),
				  .content = KEEP_BYTES("a single text"),
				  .embedding = {(const char *)value, sizeof value},
				  .model = KEEP_BYTES("m")};
	keep_assistant *assistant = assistant_fresh();
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_search_document out;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	assert_int_equal(put(assistant, &document), KEEP_INDEXED_ADDED);
	OK(keep_assistant_remove_document(assistant, document.source, document.source_id, &err));
	assert_int_equal(count_found(assistant, "single"), 0);
	assert_int_equal(assistant_count("vector_models WHERE count = 0"), 1);
	assert_int_equal(keep_assistant_remove_document(assistant, document.source,
							document.source_id, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(keep_assistant_get_document(assistant, document.source, document.source_id,
						     &memory, &out, &err),
			 KEEP_NOT_FOUND);
	/* The last vector of a model went: it may have another dimension now. */
	document.embedding.len = 4;
	assert_int_equal(put(assistant, &document), KEEP_INDEXED_ADDED);
	assert_int_equal(count_found(assistant, "single"), 1);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

enum { MANY = 1300 };

static void documents_that_vanished_from_a_source_are_removed_and_no_others(void **state)
{
	static char names[MANY][16];
	static keep_document documents[MANY];
	static keep_bytes ids[MANY];
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;
	size_t kept = 0;
	int64_t count = 0;

	(void)state;
	for (size_t i = 0; i < MANY; i++) {
		(void)snprintf(names[i], sizeof names[i], "%s%zu", i % 3 ? "id" : "ÄB", i);
		documents[i] =
			(keep_document){.source = i % 2 ? KEEP_BYTES("odd") : KEEP_BYTES("even"),
					.source_id = keep_bytes_of(names[i]),
					.content = KEEP_BYTES("common words")};
		/* Given in falling order, and some of the other source. */
		if (i % 5 == 0)
			ids[kept++] = keep_bytes_of(names[i]);
	}
	for (size_t i = 0; i < kept / 2; i++) {
		keep_bytes swap = ids[i];

		ids[i] = ids[kept - 1 - i];
		ids[kept - 1 - i] = swap;
	}
	OK(keep_assistant_index_many(assistant, documents, 1000, KEEP_NOW, NULL, &err));
	OK(keep_assistant_index_many(assistant, documents + 1000, MANY - 1000, KEEP_NOW, NULL,
				     &err));
	OK(keep_assistant_remove_missing(assistant, KEEP_BYTES("even"), ids, kept, &count, &err));
	assert_int_equal(count, MANY / 2 - MANY / 10);
	assert_int_equal(assistant_count("search_index WHERE source = 'even'"), MANY / 10);
	assert_int_equal(assistant_count("search_index WHERE source = 'odd'"), MANY / 2);
	assert_int_equal(count_found(assistant, "common"), MANY / 2 + MANY / 10);
	OK(keep_assistant_remove_missing(assistant, KEEP_BYTES("even"), ids, kept, &count, &err));
	assert_int_equal(count, 0);
	OK(keep_assistant_remove_missing(assistant, KEEP_BYTES("odd"), NULL, 0, &count, &err));
	assert_int_equal(count, MANY / 2);
	assert_int_equal(count_found(assistant, "common"), MANY / 10);
	assert_int_equal(
		keep_assistant_index_many(assistant, documents, 1001, KEEP_NOW, NULL, &err),
		KEEP_INVALID);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void an_index_by_other_rules_is_made_anew_and_nothing_is_missed_meanwhile(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (int i = 0; i < 250; i++) {
		char id[16];

		(void)snprintf(id, sizeof id, "%d", i);
		assert_int_equal(put_text(assistant, id, "the same words"), KEEP_INDEXED_ADDED);
	}
	(void)assistant_sql("UPDATE derived_marks SET value = '0/0 other 1 1 1' WHERE name = "
			    "'document_words'");
	assert_int_equal(count_found(assistant, "words"), 250);
	assert_int_equal(put_text(assistant, "7", "now other ones"), KEEP_INDEXED_CHANGED);
	assert_int_equal(count_found(assistant, "words"), 249);
	assert_int_equal(count_found(assistant, "other"), 1);
	OK(keep_assistant_remove_document(assistant, KEEP_BYTES("notes"), KEEP_BYTES("8"), &err));
	OK(keep_assistant_rebuild_search(assistant, &err));
	assert_int_equal(count_found(assistant, "words"), 248);
	assert_int_equal(put_text(assistant, "9", "now other ones"), KEEP_INDEXED_CHANGED);
	assert_int_equal(count_found(assistant, "words"), 247);
	assert_int_equal(count_found(assistant, "other"), 2);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_unchanged_text_is_skipped_and_a_changed_one_replaces_its_words),
		cmocka_unit_test(a_snippet_never_replaces_what_it_was_taken_from),
		cmocka_unit_test(vectors_belong_to_the_text_that_they_came_with),
		cmocka_unit_test(bad_documents_name_what_is_wrong_and_change_nothing),
		cmocka_unit_test(a_batch_with_one_bad_document_indexes_none),
		cmocka_unit_test(removing_takes_words_and_vectors_along),
		cmocka_unit_test(documents_that_vanished_from_a_source_are_removed_and_no_others),
		cmocka_unit_test(
			an_index_by_other_rules_is_made_anew_and_nothing_is_missed_meanwhile),
	};
	int failed;

	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}

/*
 * test_assistant_find.c - documents are found by words, by vectors exactly, and by both, by every
 * process, whatever becomes of the file that vectors are kept in.
 *
 *     test_assistant_find sqlite|postgres
 */
#include "assistant_fixture.h"

#include "sql/sql.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DIMENSIONS = 16, DOCUMENTS = 400 };

static float vectors[DOCUMENTS][DIMENSIONS];
static bool is_there[DOCUMENTS];

static void random_vector(uint64_t *seed, float *out)
{
	for (size_t i = 0; i < DIMENSIONS; i++)
		out[i] = (float)((double)(next_random(seed) % 2001) - 1000) / 500;
	out[0] = out[0] == 0 ? 1 : out[0];
}

static keep_document document_of(size_t number, char id[16])
{
	(void)snprintf(id, 16, "%zu", number);
	return (keep_document){.source = number % 40 ? KEEP_BYTES("large") : KEEP_BYTES("small"),
			       .source_id = keep_bytes_of(id),
			       .content = number % 2 ? KEEP_BYTES("an odd document")
						     : KEEP_BYTES("an even document"),
			       .embedding = {(const char *)vectors[number], sizeof vectors[number]},
			       .model = KEEP_BYTES("model one")};
}

static void put(keep_assistant *assistant, size_t number)
{
	char id[16];
	keep_document document = document_of(number, id);
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_assistant_index(assistant, &document, KEEP_NOW, NULL, &err));
	is_there[number] = true;
}

static void take(keep_assistant *assistant, size_t number)
{
	char id[16];
	keep_document document = document_of(number, id);
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_assistant_remove_document(assistant, document.source, document.source_id, &err));
	is_there[number] = false;
}

static void put_many(keep_assistant *assistant, uint64_t *seed)
{
	memset(is_there, 0, sizeof is_there);
	for (size_t i = 0; i < DOCUMENTS; i++) {
		random_vector(seed, vectors[i]);
		if (i % 4)
			put(assistant, i);
	}
}

static double cosine(const float *a, const float *b)
{
	double dot = 0, aa = 0, bb = 0;

	for (size_t i = 0; i < DIMENSIONS; i++) {
		dot += (double)a[i] * (double)b[i];
		aa += (double)a[i] * (double)a[i];
		bb += (double)b[i] * (double)b[i];
	}
	return dot / sqrt(aa * bb);
}

/* The answers of every way are those of a loop in double. */
static void assert_nearest(keep_assistant *assistant, uint64_t *seed, const char *source,
			   size_t limit)
{
	float wanted[DIMENSIONS];
	keep_search_query query = {.vector = {(const char *)wanted, sizeof wanted},
				   .model = KEEP_BYTES("model one"),
				   .source = keep_bytes_of(source),
				   .limit = limit};
	keep_search_matches matches = {.count = 0};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	size_t eligible = 0;

	random_vector(seed, wanted);
	OK(keep_assistant_find(assistant, &query, &memory, &matches, &err));
	for (size_t i = 0; i < DOCUMENTS; i++)
		eligible += is_there[i] && (!source || (i % 40 == 0) == (*source == 's'));
	assert_int_equal(matches.count, eligible < limit ? eligible : limit);
	for (size_t i = 0; i < matches.count; i++) {
		char text[16];
		size_t number, better = 0;

		(void)snprintf(text, sizeof text, "%" KP_PRI,
			       KP_ARG(matches.items[i].document.source_id));
		number = strtoul(text, NULL, 10);
		assert_true(is_there[number]);
		assert_true(matches.items[i].similarity == cosine(wanted, vectors[number]));
		assert_int_equal(matches.items[i].vector_rank, i + 1);
		for (size_t j = 0; j < DOCUMENTS; j++)
			better += is_there[j] && (!source || (j % 40 == 0) == (*source == 's')) &&
				  cosine(wanted, vectors[j]) > matches.items[i].similarity;
		assert_true(better <= i);
		assert_null(matches.items[i].document.embedding.data);
	}
	keep_memory_release(&memory);
}

static void nearest_documents_are_exact_after_every_change(void **state)
{
	keep_assistant *assistant = assistant_fresh(), *other = assistant_again("other");
	uint64_t seed = test_seed();

	(void)state;
	put_many(assistant, &seed);
	for (int round = 0; round < 40; round++) {
		size_t number = next_random(&seed) % DOCUMENTS;

		if (is_there[number] && round % 2) {
			take(round % 3 ? assistant : other, number);
		} else {
			random_vector(&seed, vectors[number]);
			put(round % 3 ? other : assistant, number);
		}
		assert_nearest(round % 5 ? assistant : other, &seed, NULL, 10);
		assert_nearest(other, &seed, round % 2 ? "small" : "large", 7);
	}
	assert_nearest(assistant, &seed, NULL, 1000);
	keep_assistant_close(&other);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- files */

/* The path of the one file of vectors; false: there is none. */
static bool find_file(char path[400])
{
	DIR *folder = opendir(assistant_folder());
	const char *base = strrchr(assistant_file(), '/') + 1;
	bool found = false;

	assert_non_null(folder);
	for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
		size_t len = strlen(entry->d_name);

		if (strncmp(entry->d_name, base, strlen(base)) == 0 && len > 8 &&
		    strcmp(entry->d_name + len - 8, ".vectors") == 0) {
			(void)snprintf(path, 400, "%s/%s", assistant_folder(), entry->d_name);
			found = true;
		}
	}
	(void)closedir(folder);
	return found;
}

static void a_damaged_missing_or_foreign_file_of_vectors_is_made_anew(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	uint64_t seed = test_seed();
	char path[400] = "";
	struct stat about;

	(void)state;
	put_many(assistant, &seed);
	assert_nearest(assistant, &seed, NULL, 10);
	keep_assistant_close(&assistant);
	assert_int_equal(find_file(path), assistant_is_file());
	for (int round = 0; round < 60 && assistant_is_file(); round++) {
		int fd = open(path, O_RDWR | O_CLOEXEC);
		unsigned char byte = 0;
		off_t at;

		assert_true(fd >= 0);
		assert_int_equal(fstat(fd, &about), 0);
		assert_true((about.st_mode & 0777) == 0600);
		at = round % 2 ? (off_t)(next_random(&seed) % 4096)
			       : (off_t)(next_random(&seed) % (uint64_t)about.st_size);
		assert_int_equal(pread(fd, &byte, 1, at), 1);
		byte ^= (unsigned char)(1 << next_random(&seed) % 8);
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		if (round % 10 == 3)
			assert_int_equal(ftruncate(fd, at), 0);
		(void)close(fd);
		if (round % 10 == 7)
			assert_int_equal(unlink(path), 0);
		assistant = assistant_again(NULL);
		assert_nearest(assistant, &seed, NULL, 20);
		keep_assistant_close(&assistant);
		assert_true(find_file(path));
	}
	assert_nothing_lives();
}

static void a_folder_that_may_not_be_written_and_a_reader_search_in_memory(void **state)
{
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_assistant *assistant = assistant_fresh(), *reader = NULL;
	uint64_t seed = test_seed();
	keep_error err = KEEP_ERROR_INIT;
	char path[400];

	(void)state;
	put_many(assistant, &seed);
	options.read_only = true;
	options.without_keys = true;
	OK(assistant_open_with(&options, &reader, &err));
	assert_nearest(reader, &seed, NULL, 10);
	assert_false(find_file(path));
	random_vector(&seed, vectors[0]);
	put(assistant, 0);
	assert_nearest(reader, &seed, NULL, 1000);
	keep_assistant_close(&reader);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- models */

static keep_status find_with(keep_assistant *assistant, const float *values, size_t count,
			     const char *model, const char *text, size_t *found, keep_error *err)
{
	keep_search_query query = {.vector = {(const char *)values, count * sizeof *values},
				   .model = keep_bytes_of(model),
				   .text = keep_bytes_of(text)};
	keep_search_matches matches = {.count = 0};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_status status = keep_assistant_find(assistant, &query, &memory, &matches, err);

	*found = matches.count;
	keep_memory_release(&memory);
	return status;
}

static void other_models_and_dimensions_are_refused_never_cut(void **state)
{
	const float values[4] = {1, 2, 3, 4}, zero[2] = {0, 0}, infinite[2] = {1, -INFINITY};
	keep_assistant *assistant = assistant_fresh();
	keep_document document = {.source = KEEP_BYTES("s"),
				  .source_id = KEEP_BYTES("1"),
				  .content = KEEP_BYTES("text"),
				  .embedding = {(const char *)values, 3 * sizeof *values},
				  .model = KEEP_BYTES("m")};
	keep_error err = KEEP_ERROR_INIT;
	size_t found = 9;

	(void)state;
	OK(find_with(assistant, values, 3, "m", NULL, &found, &err));
	assert_int_equal(found, 0);
	OK(keep_assistant_index(assistant, &document, KEEP_NOW, NULL, &err));
	document.source_id = KEEP_BYTES("2");
	document.model = KEEP_BYTES("n");
	document.embedding.len = 4 * sizeof *values;
	OK(keep_assistant_index(assistant, &document, KEEP_NOW, NULL, &err));
	OK(find_with(assistant, values, 3, "m", NULL, &found, &err));
	assert_int_equal(found, 1);
	OK(find_with(assistant, values, 4, "n", NULL, &found, &err));
	assert_int_equal(found, 1);
	assert_int_equal(find_with(assistant, values, 2, "m", NULL, &found, &err), KEEP_CONFLICT);
	assert_int_equal(find_with(assistant, values, 3, "n", "text", &found, &err), KEEP_CONFLICT);
	assert_int_equal(find_with(assistant, values, 3, "o", NULL, &found, &err), KEEP_CONFLICT);
	assert_int_equal(find_with(assistant, zero, 2, "m", NULL, &found, &err), KEEP_INVALID);
	assert_int_equal(find_with(assistant, infinite, 2, "m", NULL, &found, &err), KEEP_INVALID);
	assert_int_equal(find_with(assistant, values, 3, NULL, NULL, &found, &err), KEEP_INVALID);
	assert_int_equal(find_with(assistant, values, 3, "m", "?", &found, &err), KEEP_INVALID);
	document.model = KEEP_BYTES("m");
	document.source_id = KEEP_BYTES("3");
	assert_int_equal(keep_assistant_index(assistant, &document, KEEP_NOW, NULL, &err),
			 KEEP_CONFLICT);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void more_models_than_stay_open_are_all_searched(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (int round = 0; round < 2; round++)
		for (int i = 1; i <= 20; i++) {
			float values[3] = {1, (float)i, 2};
			char model[16], id[16];
			size_t found = 0;
			keep_document document = {
				.source = KEEP_BYTES("s"),
				.content = KEEP_BYTES("text"),
				.embedding = {(const char *)values, sizeof values}};

			(void)snprintf(model, sizeof model, "model %d", i);
			(void)snprintf(id, sizeof id, "%d of %d", i, round);
			document.model = keep_bytes_of(model);
			document.source_id = keep_bytes_of(id);
			OK(keep_assistant_index(assistant, &document, KEEP_NOW, NULL, &err));
			OK(find_with(assistant, values, 3, model, NULL, &found, &err));
			assert_int_equal(found, round + 1);
		}
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- words, and both */

static void put_words(keep_assistant *assistant, const char *source, const char *id,
		      const char *title, const char *content)
{
	const keep_document document = {.source = keep_bytes_of(source),
					.source_id = keep_bytes_of(id),
					.title = keep_bytes_of(title),
					.content = keep_bytes_of(content)};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_assistant_index(assistant, &document, KEEP_NOW, NULL, &err));
}

/* The ids that a text finds, in their order, with a blank behind each. */
static const char *find_ids(keep_assistant *assistant, const char *text, const char *source)
{
	static char ids[4000];
	keep_search_query query = {
		.text = keep_bytes_of(text), .source = keep_bytes_of(source), .limit = 100};
	keep_search_matches matches = {.count = 0};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	size_t len = 0;

	OK(keep_assistant_find(assistant, &query, &memory, &matches, &err));
	assert_true(matches.is_exact);
	ids[0] = '\0';
	for (size_t i = 0; i < matches.count; i++) {
		assert_int_equal(matches.items[i].text_rank, i + 1);
		assert_non_null(matches.items[i].snippet.data);
		len += (size_t)snprintf(ids + len, sizeof ids - len, "%" KP_PRI " ",
					KP_ARG(matches.items[i].document.source_id));
	}
	keep_memory_release(&memory);
	return ids;
}

static void words_of_titles_and_contents_are_found_and_titles_weigh_more(void **state)
{
	keep_assistant *assistant = assistant_fresh();

	(void)state;
	put_words(assistant, "s", "a", "Other things", "the garden of the neighbour, with a Café");
	put_words(assistant, "s", "b", "The Garden", "about other things of the neighbour");
	put_words(assistant, "s", "c", NULL, "東京 と 京都 👍🏽");
	put_words(assistant, "t", "d", "ÜBER alles", NULL);
	assert_string_equal(find_ids(assistant, "garden", NULL), "b a ");
	assert_string_equal(find_ids(assistant, "über", NULL), "d ");
	assert_string_equal(find_ids(assistant, "UBER", "t"), "d ");
	assert_string_equal(find_ids(assistant, "über", "s"), "");
	assert_string_equal(find_ids(assistant, "cafe", NULL), "a ");
	assert_string_equal(find_ids(assistant, "京都", NULL), "c ");
	assert_string_equal(find_ids(assistant, "👍🏽", NULL), "c ");
	assert_string_equal(find_ids(assistant, "\"garden of\"", NULL), "a ");
	/* No phrase reaches from a title into a content. */
	assert_string_equal(find_ids(assistant, "\"garden about\"", NULL), "");
	assert_string_equal(find_ids(assistant, "gard* -other", NULL), "");
	assert_string_equal(find_ids(assistant, "neigh*", "s"), "b a ");
	assert_string_equal(find_ids(assistant, "i", NULL), "");
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void a_small_source_is_searched_exactly_among_many_others(void **state)
{
	static keep_document documents[1000];
	static char ids[1000][16];
	keep_assistant *assistant = assistant_fresh();
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	put_words(assistant, "small", "old", NULL, "the common word");
	for (int batch = 0; batch < 2; batch++) {
		for (size_t i = 0; i < 1000; i++) {
			(void)snprintf(ids[i], sizeof ids[i], "%d.%zu", batch, i);
			documents[i] = (keep_document){.source = KEEP_BYTES("large"),
						       .source_id = keep_bytes_of(ids[i]),
						       .content = KEEP_BYTES("the common word")};
		}
		OK(keep_assistant_index_many(assistant, documents, 1000, KEEP_NOW, NULL, &err));
	}
	assert_string_equal(find_ids(assistant, "common", "small"), "old ");
	assert_string_equal(find_ids(assistant, "com*", "small"), "old ");
	assert_string_equal(find_ids(assistant, "common", "none"), "");
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

static void both_lists_are_fused_by_reciprocal_rank(void **state)
{
	static const float values[3][2] = {{1, 0}, {1, 1}, {0, 1}};
	static const char *const contents[3] = {"nothing of it", "word and other things here",
						"word"};
	keep_search_query query = {.text = KEEP_BYTES("word"),
				   .vector = {(const char *)values[0], sizeof values[0]},
				   .model = KEEP_BYTES("m")};
	keep_assistant *assistant = assistant_fresh();
	keep_search_matches matches = {.count = 0};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (int i = 0; i < 3; i++) {
		const keep_document document = {
			.source = KEEP_BYTES("s"),
			.source_id = keep_bytes_of((const char *[]){"a", "b", "c"}[i]),
			.content = keep_bytes_of(contents[i]),
			.embedding = {(const char *)values[i], sizeof values[i]},
			.model = KEEP_BYTES("m")};

		OK(keep_assistant_index(assistant, &document, KEEP_NOW, NULL, &err));
	}
	/* Vectors: a b c. Words: c b. */
	OK(keep_assistant_find(assistant, &query, &memory, &matches, &err));
	assert_int_equal(matches.count, 3);
	assert_bytes_equal(matches.items[0].document.source_id, KEEP_BYTES("c"));
	assert_bytes_equal(matches.items[1].document.source_id, KEEP_BYTES("b"));
	assert_bytes_equal(matches.items[2].document.source_id, KEEP_BYTES("a"));
	assert_true(fabs(matches.items[0].score - (1.0 / 61 + 1.0 / 63)) < 1e-12);
	assert_true(fabs(matches.items[1].score - (1.0 / 62 + 1.0 / 62)) < 1e-12);
	assert_true(fabs(matches.items[2].score - 1.0 / 61) < 1e-12);
	assert_int_equal(matches.items[2].text_rank, 0);
	assert_int_equal(matches.items[0].vector_rank, 3);
	query.min_similarity = 0.5;
	OK(keep_assistant_find(assistant, &query, &memory, &matches, &err));
	assert_int_equal(matches.count, 3);
	query.text = (keep_bytes){NULL, 0};
	OK(keep_assistant_find(assistant, &query, &memory, &matches, &err));
	assert_int_equal(matches.count, 2);
	query.vector = query.text;
	assert_int_equal(keep_assistant_find(assistant, &query, &memory, &matches, &err),
			 KEEP_INVALID);
	keep_memory_release(&memory);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- at once */

struct finder {
	keep_assistant *assistant;
	int number;
};

static void *put_and_find(void *ctx)
{
	const struct finder *finder = ctx;

	for (int i = 0; i < 40; i++) {
		float values[3] = {(float)finder->number + 1, (float)i + 1, 5};
		keep_search_query query = {.vector = {(const char *)values, sizeof values},
					   .model = KEEP_BYTES("m"),
					   .limit = 1};
		keep_document document = {.source = KEEP_BYTES("s"),
					  .content = KEEP_BYTES("x"),
					  .embedding = query.vector,
					  .model = query.model};
		keep_search_matches matches = {.count = 0};
		keep_memory memory = KEEP_MEMORY_INIT;
		keep_error err = KEEP_ERROR_INIT;
		char id[32];

		(void)snprintf(id, sizeof id, "%d.%d", finder->number, i);
		document.source_id = keep_bytes_of(id);
		OK(keep_assistant_index(finder->assistant, &document, KEEP_NOW, NULL, &err));
		OK(keep_assistant_find(finder->assistant, &query, &memory, &matches, &err));
		assert_int_equal(matches.count, 1);
		assert_true(matches.items[0].similarity > 1 - 1e-12);
		keep_memory_release(&memory);
		if (i % 10 == 9)
			OK(keep_assistant_remove_document(finder->assistant, document.source,
							  document.source_id, &err));
	}
	return NULL;
}

static void threads_and_handles_find_at_once_what_they_indexed(void **state)
{
	keep_assistant *assistants[2] = {assistant_fresh(), assistant_again("second")};
	struct finder finders[4];
	pthread_t threads[4];

	(void)state;
	for (int i = 0; i < 4; i++) {
		finders[i] = (struct finder){assistants[i % 2], i};
		assert_int_equal(pthread_create(&threads[i], NULL, put_and_find, &finders[i]), 0);
	}
	for (int i = 0; i < 4; i++)
		(void)pthread_join(threads[i], NULL);
	assert_int_equal(assistant_count("search_index"), 4 * 36);
	keep_assistant_close(&assistants[1]);
	keep_assistant_close(&assistants[0]);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- plans */

extern const kp_statement_set kp_assistant_statements[KP_DIALECT_COUNT];

static const char *const hot[] = {
	"find_messages",        "find_documents",     "count_message_words",
	"count_document_words", "messages_between",   "documents_between",
	"messages_behind",      "documents_behind",   "newest_message_id",
	"newest_document_id",   "folded_of",          "get_message_by_id",
	"get_document",         "get_document_by_id", "set_document",
	"set_document_vector",  "remove_document",    "documents_of_source",
	"vector_ids_of_source", "get_vector_model",   "change_vector_model",
	"removed_since",        "vectors_since",      "vectors_behind",
	"count_folded_of",
};

static void explain(kp_sql_conn *conn, const kp_statement *statement)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_stmt *stmt = NULL;
	char *sql = NULL, nulls[40] = "";
	bool has_row = false;
	int parameters = 0;

	for (const char *at = strchr(statement->sql, '$'); at; at = strchr(at + 1, '$'))
		parameters = atoi(at + 1) > parameters ? atoi(at + 1) : parameters;
	for (int i = 0; i < parameters; i++)
		(void)strcat(nulls, i ? ",NULL" : "NULL");
	if (!assistant_is_file()) {
		assert_true(asprintf(&sql, "PREPARE p AS %s", statement->sql) > 0);
		OK(kp_sql_script(conn, sql, &err));
		free(sql);
	}
	assert_true((assistant_is_file()
			     ? asprintf(&sql, "EXPLAIN QUERY PLAN %s", statement->sql)
			     : asprintf(&sql, "EXPLAIN (COSTS OFF) EXECUTE p%s%s%s",
					parameters ? "(" : "", nulls, parameters ? ")" : "")) > 0);
	OK(kp_sql_prepare(conn, sql, &stmt, &err));
	free(sql);
	for (;;) {
		keep_bytes line;
		char text[200];

		OK(kp_sql_step(stmt, &has_row, &err));
		if (!has_row)
			break;
		OK(kp_sql_column_bytes(stmt, assistant_is_file() ? 3 : 0, KP_TEXT, &line, &err));
		(void)snprintf(text, sizeof text, "%" KP_PRI, KP_ARG(line));
		CHECK(!strstr(text, "Seq Scan on "), "%s: %s", statement->name, text);
		CHECK(!strstr(text, "TEMP B-TREE"), "%s: %s", statement->name, text);
		CHECK(strncmp(text, "SCAN ", 5) != 0 || strstr(text, "VIRTUAL TABLE") ||
			      strstr(text, "SCAN found") ||
			      strncmp(statement->name, "newest", 6) == 0,
		      "%s: %s", statement->name, text);
	}
	kp_sql_finish(&stmt);
	if (!assistant_is_file())
		OK(kp_sql_script(conn, "DEALLOCATE p", &err));
}

static void no_statement_of_a_search_reads_a_whole_table(void **state)
{
	keep_assistant *assistant = assistant_fresh();
	kp_sql_conn *conn = assistant_connect_behind();
	const kp_statement_set *set = &kp_assistant_statements[conn->driver->dialect];
	keep_error err = KEEP_ERROR_INIT;
	size_t seen = 0;

	(void)state;
	if (!assistant_is_file())
		OK(kp_sql_script(conn,
				 "SET enable_seqscan = off; SET plan_cache_mode = "
				 "force_generic_plan",
				 &err));
	for (size_t i = 0; i < set->count; i++)
		for (size_t j = 0; j < KP_COUNT(hot); j++)
			if (strcmp(set->statements[i].name, hot[j]) == 0) {
				explain(conn, &set->statements[i]);
				seen++;
			}
	assert_int_equal(seen, KP_COUNT(hot));
	kp_sql_close(&conn);
	keep_assistant_close(&assistant);
	assert_nothing_lives();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nearest_documents_are_exact_after_every_change),
		cmocka_unit_test(a_damaged_missing_or_foreign_file_of_vectors_is_made_anew),
		cmocka_unit_test(a_folder_that_may_not_be_written_and_a_reader_search_in_memory),
		cmocka_unit_test(other_models_and_dimensions_are_refused_never_cut),
		cmocka_unit_test(more_models_than_stay_open_are_all_searched),
		cmocka_unit_test(words_of_titles_and_contents_are_found_and_titles_weigh_more),
		cmocka_unit_test(a_small_source_is_searched_exactly_among_many_others),
		cmocka_unit_test(both_lists_are_fused_by_reciprocal_rank),
		cmocka_unit_test(threads_and_handles_find_at_once_what_they_indexed),
		cmocka_unit_test(no_statement_of_a_search_reads_a_whole_table),
	};
	int failed;

	assistant_begin(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	assistant_end();
	return failed;
}

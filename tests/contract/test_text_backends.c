/*
 * test_text_backends.c - FTS5 over our normalised text, PostgreSQL over our tsvector, and the
 * matcher give the same answers to the same queries, whatever the texts and the queries are.
 */
#include "search/text_private.h"
#include "sql_backend.h"

#define TEXTS 400
#define QUERIES 10000

static sql_backend backend;

typedef struct text_store {
	kp_sql_conn *conn;
	kp_sql_stmt *put, *find;
	bool is_fts5;
} text_store;

static void store_open(text_store *store)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_sql_options options = backend_fresh(&backend);

	*store = (text_store){.is_fts5 = backend.driver->dialect == KP_DIALECT_SQLITE};
	OK(kp_sql_open(backend.driver, &options, &store->conn, &err));
	if (store->is_fts5) {
		OK(kp_sql_script(
			store->conn,
			"CREATE VIRTUAL TABLE texts USING fts5(title, content, content='', "
			"tokenize='ascii', columnsize=0)",
			&err));
		OK(kp_sql_prepare(store->conn,
				  "INSERT INTO texts (rowid, title, content) VALUES (?1, ?2, ?3)",
				  &store->put, &err));
		OK(kp_sql_prepare(store->conn,
				  "SELECT rowid FROM texts WHERE texts MATCH ?1 ORDER BY rowid",
				  &store->find, &err));
		return;
	}
	OK(kp_sql_script(store->conn,
			 "CREATE TABLE texts (id bigint PRIMARY KEY, words tsvector);"
			 "CREATE INDEX texts_words ON texts USING gin (words)",
			 &err));
	OK(kp_sql_prepare(store->conn, "INSERT INTO texts VALUES ($1::bigint, $2::text::tsvector)",
			  &store->put, &err));
	OK(kp_sql_prepare(store->conn,
			  "SELECT id FROM texts WHERE words @@ $1::text::tsquery ORDER BY id",
			  &store->find, &err));
}

static void store_close(text_store *store)
{
	kp_sql_finish(&store->put);
	kp_sql_finish(&store->find);
	kp_sql_close(&store->conn);
}

static void store_put(text_store *store, const kp_text_candidate *text)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer first = KEEP_BUFFER_INIT, second = KEEP_BUFFER_INIT;

	OK(kp_sql_bind_int(store->put, 1, text->id, &err));
	if (store->is_fts5) {
		OK(kp_text_normalise(text->title, &first, &err));
		OK(kp_text_normalise(text->content, &second, &err));
		OK(kp_sql_bind_text(store->put, 3, kp_buffer_bytes(&second), &err));
	} else {
		OK(kp_text_tsvector(text->title, text->content, &first, &err));
	}
	OK(kp_sql_bind_text(store->put, 2, kp_buffer_bytes(&first), &err));
	OK(kp_sql_run(store->put, &err));
	keep_buffer_release(&first);
	keep_buffer_release(&second);
}

/* The ids that the backend finds, as a flag for each. */
static void store_find(text_store *store, const kp_text_query *query, bool found[TEXTS + 1])
{
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer text = KEEP_BUFFER_INIT;
	bool has_row;
	int64_t id;

	memset(found, 0, (TEXTS + 1) * sizeof *found);
	OK((store->is_fts5 ? kp_text_query_fts5 : kp_text_query_tsquery)(query, NULL, &text, &err));
	OK(kp_sql_bind_text(store->find, 1, kp_buffer_bytes(&text), &err));
	for (;;) {
		keep_status status = kp_sql_step(store->find, &has_row, &err);

		CHECK(status == KEEP_OK, "%s: %s", text.data, err.message);
		if (!has_row)
			break;
		OK(kp_sql_column_int(store->find, 0, &id, &err));
		assert_in_range(id, 1, TEXTS);
		found[id] = true;
	}
	kp_sql_reset(store->find);
	keep_buffer_release(&text);
}

static const char *const words[] = {"a",         "b",   "ab",  "abc", "B",     "cat", "Café",
				    "don't",     "ß",   "ss",  "京",  "東京",  "か",  "が",
				    "👍🏽",  "🇩🇪",  "x.y", "1",   "12",    "й",   "한국",
				    "e\xcc\x81", "ไทย", "ﬁ",   "fi",  "हिन्दी", "A_b", "longlong"};

static void random_text(uint64_t *seed, size_t words_max, keep_buffer *out)
{
	keep_error err = KEEP_ERROR_INIT;
	size_t count = next_random(seed) % words_max;

	out->len = 0;
	for (size_t i = 0; i < count; i++) {
		OK(kp_buffer_append_text(out, words[next_random(seed) % KP_COUNT(words)], &err));
		OK(kp_buffer_append_text(out, next_random(seed) % 8 ? " " : "", &err));
	}
}

static void random_query(uint64_t *seed, keep_buffer *out)
{
	static const char *const parts[] = {" ",      " ",     " ",   " OR ", " -",  " NOT ",
					    " (",     ") ",    "* ",  " \"",  "\" ", "'",
					    "\" -\"", " & | ", " : ", "!"};
	keep_error err = KEEP_ERROR_INIT;
	size_t count = 1 + next_random(seed) % 5;

	out->len = 0;
	for (size_t i = 0; i < count; i++) {
		OK(kp_buffer_append_text(out, words[next_random(seed) % KP_COUNT(words)], &err));
		OK(kp_buffer_append_text(out, parts[next_random(seed) % KP_COUNT(parts)], &err));
	}
}

static void the_backend_and_the_matcher_agree_on_any_text_and_query(void **state)
{
	uint64_t seed = test_seed();
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer titles[TEXTS + 1] = {KEEP_BUFFER_INIT},
				   contents[TEXTS + 1] = {KEEP_BUFFER_INIT};
	keep_buffer text = KEEP_BUFFER_INIT;
	bool found[TEXTS + 1];
	text_store store;
	int asked = 0, hits = 0;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	store_open(&store);
	OK(kp_sql_begin(store.conn, KP_SQL_WRITE, &err));
	for (int i = 1; i <= TEXTS; i++) {
		random_text(&seed, 4, &titles[i]);
		random_text(&seed, 12, &contents[i]);
		store_put(&store, &(kp_text_candidate){.id = i,
						       .title = kp_buffer_bytes(&titles[i]),
						       .content = kp_buffer_bytes(&contents[i])});
	}
	OK(kp_sql_commit(store.conn, &err));
	for (int round = 0; round < QUERIES; round++) {
		kp_text_query query;

		random_query(&seed, &text);
		if (kp_text_query_parse(kp_buffer_bytes(&text), &query, &err) != KEEP_OK)
			continue;
		asked++;
		store_find(&store, &query, found);
		for (int i = 1; i <= TEXTS; i++) {
			kp_text_candidate candidate = {.title = kp_buffer_bytes(&titles[i]),
						       .content = kp_buffer_bytes(&contents[i])};
			bool is_match;

			/* Each query against some of the texts; the hits always. */
			if (!found[i] && (i + round) % 8)
				continue;
			OK(kp_text_matches(&query, &candidate, &is_match, &err));
			CHECK(is_match == found[i], "\"%s\" and \"%s\", \"%s\"", text.data,
			      titles[i].data ? titles[i].data : "",
			      contents[i].data ? contents[i].data : "");
			hits += is_match;
		}
		kp_text_query_release(&query);
	}
	CHECK(asked > QUERIES / 2 && hits > QUERIES, "%d queries, %d hits", asked, hits);
	store_close(&store);
	for (int i = 1; i <= TEXTS; i++) {
		keep_buffer_release(&titles[i]);
		keep_buffer_release(&contents[i]);
	}
	keep_buffer_release(&text);
}

/* A text beyond what PostgreSQL has positions for is found all the same. */
static void phrases_of_very_long_texts_are_found(void **state)
{
	static const struct {
		const char *query;
		bool is_match;
	} cases[] = {{"\"needle in\"", true},     {"\"in needle\"", false},
		     {"\"w cat\"", true},         {"\"cat cat\"", false},
		     {"w -\"needle in\"", false}, {"\"hay stack\"", false},
		     {"w -\"hay stack\"", true},  {"stack hay needle", true}};
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer text = KEEP_BUFFER_INIT;
	kp_text_candidate candidate = {.id = 1};
	bool found[TEXTS + 1];
	text_store store;

	(void)state;
	store_open(&store);
	OK(kp_buffer_append_text(&text, "stack hay ", &err));
	for (int i = 0; i < 20000; i++)
		OK(kp_buffer_append_format(&text, &err, "w cat%s ", i % 2 ? "" : " x"));
	OK(kp_buffer_append_text(&text, "needle in hay x stack", &err));
	candidate.content = kp_buffer_bytes(&text);
	store_put(&store, &candidate);
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		kp_text_query query;
		bool is_match;

		OK(kp_text_query_parse(keep_bytes_of(cases[i].query), &query, &err));
		store_find(&store, &query, found);
		OK(kp_text_matches(&query, &candidate, &is_match, &err));
		CHECK(is_match == cases[i].is_match, "%s", cases[i].query);
		CHECK(found[1] || !is_match, "%s is not found", cases[i].query);
		CHECK(!store.is_fts5 || found[1] == is_match, "%s", cases[i].query);
		kp_text_query_release(&query);
	}
	store_close(&store);
	keep_buffer_release(&text);
}

static void the_longest_text_of_different_words_can_be_stored(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer text = KEEP_BUFFER_INIT;
	kp_text_query query;
	bool found[TEXTS + 1];
	text_store store;

	(void)state;
	store_open(&store);
	for (int i = 0; text.len < KP_CONTENT_MAX - 16; i++)
		OK(kp_buffer_append_format(&text, &err, i % 2 ? "%d " : "%x ", i * 7919));
	store_put(&store, &(kp_text_candidate){.id = 1, .content = kp_buffer_bytes(&text)});
	text.len = 0;
	while (text.len < KP_CONTENT_MAX - 3)
		OK(kp_buffer_append_text(&text, "京", &err));
	store_put(&store, &(kp_text_candidate){.id = 2, .content = kp_buffer_bytes(&text)});
	OK(kp_text_query_parse(KEEP_BYTES("7919 OR 京京京"), &query, &err));
	store_find(&store, &query, found);
	assert_true(found[1] && found[2]);
	kp_text_query_release(&query);
	store_close(&store);
	keep_buffer_release(&text);
}

/* What a store does when a message is changed or goes: FTS5 wants the old words back. */
static void a_text_leaves_a_contentless_table_by_its_words(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_buffer old = KEEP_BUFFER_INIT;
	kp_text_query query;
	bool found[TEXTS + 1];
	kp_sql_stmt *remove = NULL;
	text_store store;

	(void)state;
	store_open(&store);
	store_put(&store, &(kp_text_candidate){.id = 1, .content = KEEP_BYTES("Café au lait")});
	store_put(&store, &(kp_text_candidate){.id = 2, .content = KEEP_BYTES("Café noir")});
	OK(kp_sql_prepare(store.conn,
			  store.is_fts5 ? "INSERT INTO texts (texts, rowid, title, content) "
					  "VALUES ('delete', 1, '', ?1)"
					: "DELETE FROM texts WHERE id = 1 AND $1::text <> ''",
			  &remove, &err));
	OK(kp_text_normalise(KEEP_BYTES("Café au lait"), &old, &err));
	OK(kp_sql_bind_text(remove, 1, kp_buffer_bytes(&old), &err));
	OK(kp_sql_run(remove, &err));
	OK(kp_text_query_parse(KEEP_BYTES("cafe"), &query, &err));
	store_find(&store, &query, found);
	assert_true(!found[1] && found[2]);
	kp_text_query_release(&query);
	kp_sql_finish(&remove);
	store_close(&store);
	keep_buffer_release(&old);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_backend_and_the_matcher_agree_on_any_text_and_query),
		cmocka_unit_test(phrases_of_very_long_texts_are_found),
		cmocka_unit_test(the_longest_text_of_different_words_can_be_stored),
		cmocka_unit_test(a_text_leaves_a_contentless_table_by_its_words),
	};
	int failed;

	if (backend_open(&backend) != 0)
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	backend_close(&backend);
	assert_nothing_lives();
	return failed;
}

/*
 * test_assistant_search_faults.c - indexing and finding, with the Nth thing in it failing:
 * assistant_faults.h says what must hold. A new operation gets a line in the table.
 *
 *     test_assistant_search_faults sqlite|postgres
 *
 * A search that answers OK is right, also when the file of vectors is missing, damaged or cannot be
 * written; and after each round, with the faults gone, everything is found that was stored.
 */
#include "assistant_faults.h"

#include "sql/sql.h"

#include <dirent.h>
#include <math.h>
#include <unistd.h>

enum { DIMENSIONS = 4, BASE = 12, NEAREST = 3 };

static const keep_bytes none = {NULL, 0};
static float values[BASE + NEAREST][DIMENSIONS];

/* ---------------------------------------------------------------- documents */

/* A vector at an angle from the one that is searched for. */
static keep_bytes vector_at(size_t place, double angle)
{
	values[place][0] = (float)cos(angle);
	values[place][1] = (float)sin(angle);
	return (keep_bytes){(const char *)values[place], sizeof values[place]};
}

static keep_document document_of(const char *source, const char *id, const char *content,
				 keep_bytes vector)
{
	return (keep_document){.source = keep_bytes_of(source),
			       .source_id = keep_bytes_of(id),
			       .content = keep_bytes_of(content),
			       .embedding = vector,
			       .model = vector.len ? KEEP_BYTES("one") : none};
}

/* The documents of "base" are at 0, 0.1, 0.2 …; called 0, 1, 2 … */
static void index_base(keep_assistant *assistant)
{
	keep_error err = KEEP_ERROR_INIT;
	char id[16];

	for (size_t i = 0; i < BASE; i++) {
		(void)snprintf(id, sizeof id, "%zu", i);
		const keep_document document =
			document_of("base", id, i % 2 ? "an odd plum" : "an even pear",
				    vector_at(i, 0.1 * (double)i));

		OK(keep_assistant_index(assistant, &document, KEEP_NOW, NULL, &err));
	}
}

static keep_status find(keep_assistant *assistant, const char *text, bool by_vector,
			const char *expected, keep_error *err)
{
	const float asked[DIMENSIONS] = {1};
	keep_search_query query = {.text = text ? keep_bytes_of(text) : none, .limit = NEAREST};
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_search_matches matches = {.count = 0};
	char found[200] = "";
	size_t len = 0;
	keep_status status;

	if (by_vector) {
		query.vector = (keep_bytes){(const char *)asked, sizeof asked};
		query.model = KEEP_BYTES("one");
	}
	status = keep_assistant_find(assistant, &query, &memory, &matches, err);
	for (size_t i = 0; status == KEEP_OK && i < matches.count; i++)
		len += (size_t)snprintf(found + len, sizeof found - len, "%" KP_PRI " ",
					KP_ARG(matches.items[i].document.source_id));
	if (status == KEEP_OK)
		CHECK(strcmp(found, expected) == 0, "found \"%s\" instead of \"%s\"", found,
		      expected);
	keep_memory_release(&memory);
	return status;
}

/* Only the base is there, and all of it is found. */
static void make_base(keep_assistant *assistant, const char *id)
{
	keep_error err = KEEP_ERROR_INIT;
	int64_t count = 0;

	(void)id;
	index_base(assistant);
	OK(keep_assistant_remove_missing(assistant, KEEP_BYTES("extra"), NULL, 0, &count, &err));
	OK(find(assistant, NULL, true, "0 1 2 ", &err));
	OK(find(assistant, "even pear", true, "0 2 4 ", &err));
	OK(find(assistant, "fig", false, "", &err));
}

static keep_status index_extra(keep_assistant *assistant, const char *id, keep_error *err)
{
	const keep_document document =
		document_of("extra", id, "a ripe fig", vector_at(BASE, 0.05));
	keep_indexed indexed = KEEP_INDEXED_UNCHANGED;
	keep_status status = keep_assistant_index(assistant, &document, KEEP_NOW, &indexed, err);

	if (status == KEEP_OK)
		assert_int_equal(indexed, KEEP_INDEXED_ADDED);
	return status;
}

/* One more, "x", between the first and the second. */
static void make_extra(keep_assistant *assistant, const char *id)
{
	keep_error err = KEEP_ERROR_INIT;

	make_base(assistant, id);
	OK(index_extra(assistant, "x", &err));
}

static keep_status index_again(keep_assistant *assistant, const char *id, keep_error *err)
{
	const keep_document document =
		document_of("extra", "x", "a ripe fig", vector_at(BASE, 0.05));
	keep_indexed indexed = KEEP_INDEXED_ADDED;
	keep_status status = keep_assistant_index(assistant, &document, KEEP_NOW, &indexed, err);

	(void)id;
	if (status == KEEP_OK)
		assert_int_equal(indexed, KEEP_INDEXED_UNCHANGED);
	return status;
}

static keep_status index_changed(keep_assistant *assistant, const char *id, keep_error *err)
{
	const keep_document document = document_of("extra", "x", id, vector_at(BASE, 0.15));

	return keep_assistant_index(assistant, &document, KEEP_NOW, NULL, err);
}

static keep_status index_many(keep_assistant *assistant, const char *id, keep_error *err)
{
	const keep_document documents[] = {
		document_of("extra", id, "a fig", vector_at(BASE, 0.01)),
		document_of("extra", "second", "a fig", vector_at(BASE + 1, 0.02)),
		document_of("extra", "third", "a fig", none)};

	return keep_assistant_index_many(assistant, documents, KP_COUNT(documents), KEEP_NOW, NULL,
					 err);
}

/* The last has a vector of another dimension: none is indexed. */
static keep_status index_some(keep_assistant *assistant, const char *id, keep_error *err)
{
	keep_document documents[] = {document_of("extra", id, "a fig", vector_at(BASE, 0.01)),
				     document_of("extra", "z", "a fig", vector_at(BASE + 1, 0.02))};
	keep_status status;

	documents[1].embedding.len -= sizeof(float);
	status = keep_assistant_index_many(assistant, documents, KP_COUNT(documents), KEEP_NOW,
					   NULL, err);
	assert_int_not_equal(status, KEEP_OK);
	return status == KEEP_CONFLICT ? KEEP_OK : status;
}

static keep_status remove_extra(keep_assistant *assistant, const char *id, keep_error *err)
{
	(void)id;
	return keep_assistant_remove_document(assistant, KEEP_BYTES("extra"), KEEP_BYTES("x"), err);
}

static keep_status remove_missing(keep_assistant *assistant, const char *id, keep_error *err)
{
	const keep_bytes ids[] = {KEEP_BYTES("3"), KEEP_BYTES("7")};
	int64_t count = 0;
	keep_status status = keep_assistant_remove_missing(assistant, KEEP_BYTES("base"), ids,
							   KP_COUNT(ids), &count, err);

	(void)id;
	if (status == KEEP_OK)
		assert_int_equal(count, BASE - 2);
	return status;
}

/* ---------------------------------------------------------------- finding */

static keep_status find_text(keep_assistant *assistant, const char *id, keep_error *err)
{
	(void)id;
	return find(assistant, "FÍG", false, "x ", err);
}

static keep_status find_vector(keep_assistant *assistant, const char *id, keep_error *err)
{
	(void)id;
	return find(assistant, NULL, true, "0 x 1 ", err);
}

static keep_status find_both(keep_assistant *assistant, const char *id, keep_error *err)
{
	(void)id;
	return find(assistant, "even", true, "0 2 4 ", err);
}

/* As another process, which has no vectors yet. */
static keep_status find_anew(keep_assistant *assistant, const char *id, keep_error *err)
{
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;
	keep_assistant *other = NULL;
	keep_status status;

	(void)assistant;
	options.without_keys = true;
	status = assistant_open_with(&options, &other, err);
	if (status == KEEP_OK)
		status = find_vector(other, id, err);
	keep_assistant_close(&other);
	return status;
}

/* ---------------------------------------------------------------- the derived file */

static bool find_file(char path[400])
{
	DIR *folder = opendir(assistant_folder());
	const char *base = strrchr(assistant_file(), '/') + 1;
	bool found = false;

	assert_non_null(folder);
	for (const struct dirent *entry = readdir(folder); entry && !found;
	     entry = readdir(folder)) {
		size_t len = strlen(entry->d_name), end = strlen(".vectors");

		found = len > end && strncmp(entry->d_name, base, strlen(base)) == 0 &&
			strcmp(entry->d_name + len - end, ".vectors") == 0;
		if (found)
			(void)snprintf(path, 400, "%s/%s", assistant_folder(), entry->d_name);
	}
	(void)closedir(folder);
	return found;
}

static void lose_file(keep_assistant *assistant, const char *id)
{
	char path[400];

	make_extra(assistant, id);
	if (find_file(path))
		assert_int_equal(unlink(path), 0);
}

/* Another file in its place, which has a byte that is not right, or ends early. */
static void replace_file(bool is_short)
{
	char path[400], other[420];
	static char bytes[1 << 20];
	size_t len;
	FILE *file;

	if (!find_file(path))
		return;
	file = fopen(path, "rb");
	assert_non_null(file);
	len = fread(bytes, 1, sizeof bytes, file);
	assert_int_equal(fclose(file), 0);
	assert_in_range(len, 64, sizeof bytes - 1);
	for (size_t i = 0; i < len; i += 100)
		bytes[i] ^= 0x41;
	(void)snprintf(other, sizeof other, "%s.new", path);
	file = fopen(other, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, is_short ? len / 3 : len, file),
			 is_short ? len / 3 : len);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(rename(other, path), 0);
}

static void damage_file(keep_assistant *assistant, const char *id)
{
	make_extra(assistant, id);
	replace_file(false);
}

static void cut_file(keep_assistant *assistant, const char *id)
{
	make_extra(assistant, id);
	replace_file(true);
}

int main(int argc, char **argv)
{
	static const assistant_operation list[] = {
		{"index", make_base, index_extra, 0, false},
		{"index_again", make_extra, index_again, 0, true},
		{"index_changed", make_extra, index_changed, 0, false},
		{"index_many", make_base, index_many, 0, false},
		{"index_some", make_base, index_some, 0, true},
		{"remove_document", make_extra, remove_extra, 0, false},
		{"remove_missing", make_base, remove_missing, 0, false},
		{"find_text", make_extra, find_text, 0, true},
		{"find_vector", make_extra, find_vector, 0, true},
		{"find_both", make_base, find_both, 0, true},
		{"find_anew", make_extra, find_anew, 0, true},
		{"find_without_file", lose_file, find_anew, 0, true},
		{"find_with_damaged_file", damage_file, find_anew, 0, true},
		{"find_with_cut_file", cut_file, find_anew, 0, true},
		{"find_here_without_file", lose_file, find_vector, 0, true},
		{"find_here_with_damaged_file", damage_file, find_vector, 0, true},
	};

	return assistant_faults_main(argc, argv, list, KP_COUNT(list));
}

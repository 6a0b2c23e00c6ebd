#ifndef KEEP_VECTORS_H
#define KEEP_VECTORS_H
/*
 * vectors.h - published test vectors from JSON files in KEEP_TEST_VECTORS, which the build sets
 * where a folder of them lies beside the sources. What matters of them is in the tests as well, so
 * that a test without the folder proves less, and not nothing.
 */
#include "keep_test.h"

typedef struct test_vectors {
	keep_buffer text;
	kp_arena arena;
	const kp_json *root;
} test_vectors;

/* False, with a word about it, when there is no folder; a file that is missing there fails. */
static inline bool vectors_open(test_vectors *vectors, const char *name)
{
	const char *folder = getenv("KEEP_TEST_VECTORS");
	keep_error err = KEEP_ERROR_INIT;
	char path[4096], part[4096];
	size_t got;
	FILE *file;

	*vectors = (test_vectors){.root = NULL};
	if (!folder) {
		print_message("KEEP_TEST_VECTORS is not set: %s is not read\n", name);
		return false;
	}
	snprintf(path, sizeof path, "%s/%s", folder, name);
	file = fopen(path, "rb");
	CHECK(file, "%s cannot be opened", path);
	while ((got = fread(part, 1, sizeof part, file)) > 0)
		OK(kp_buffer_append(&vectors->text, (keep_bytes){part, got}, &err));
	fclose(file);
	OK(kp_json_parse(kp_buffer_bytes(&vectors->text), &vectors->arena, &vectors->root, &err));
	return true;
}

static inline void vectors_close(test_vectors *vectors)
{
	kp_arena_release(&vectors->arena);
	keep_buffer_release(&vectors->text);
}

static inline keep_bytes vectors_text(const kp_json *object, const char *name)
{
	const kp_json *value = kp_json_member(object, name);

	CHECK(value && value->kind == KP_JSON_TEXT, "no text named %s", name);
	return value->text;
}

/* Hexadecimal digits, replacing *out. */
static inline void vectors_unhex(keep_bytes hex, keep_buffer *out)
{
	keep_error err = KEEP_ERROR_INIT;

	CHECK(hex.len % 2 == 0, "%zu hexadecimal digits", hex.len);
	OK(kp_buffer_reserve(out, hex.len / 2, &err));
	for (size_t i = 0; i < hex.len / 2; i++) {
		char digits[3] = {hex.data[2 * i], hex.data[2 * i + 1], '\0'}, *end;

		out->data[i] = (char)strtoul(digits, &end, 16);
		CHECK(*end == '\0', "\"%s\" is not hexadecimal", digits);
	}
	out->len = hex.len / 2;
	out->data[out->len] = '\0';
}

#endif

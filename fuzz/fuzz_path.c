/*
 * fuzz_path.c - any bytes as a path, and as a segment to join.
 *
 * What passes is normal: it holds the limits, it parses again to itself without being copied, and
 * its parts are its parts. What is joined is exactly one segment below where it was joined.
 *
 * Input: the path up to the first 0x02 byte, the segment after it (0x02 is an ordinary byte of a
 * path, so that nothing is lost: a path that contains it is found by the other half).
 */
#include "engine/backend.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void check_segments(keep_bytes text, unsigned depth)
{
	const char *at = text.data, *end = text.data + text.len;
	unsigned seen = 0;

	while (at < end) {
		const char *slash = memchr(at, '/', (size_t)(end - at));
		size_t len = (size_t)((slash ? slash : end) - at);

		require(len >= 1 && len <= KEEP_SEGMENT_BYTES_MAX);
		require(!(len == 1 && at[0] == '.'));
		require(!(len == 2 && at[0] == '.' && at[1] == '.'));
		seen++;
		at = slash ? slash + 1 : end;
		require(!slash || at < end);
	}
	require(seen == depth);
}

static void check_path(const kp_path *path)
{
	kp_path_room room;
	kp_path again;

	require(path->depth <= KEEP_PATH_SEGMENTS_MAX && path->text.len <= KEEP_PATH_BYTES_MAX);
	require(kp_text_is_storable(path->text));
	check_segments(path->text, path->depth);
	require(kp_path_parse(path->text, &room, &again, NULL) == KEEP_OK);
	require(path->depth == 0 || again.text.data == path->text.data);
	require(kp_bytes_equal(again.text, path->text));
	again = kp_path_of(path->text);
	require(again.depth == path->depth && kp_bytes_equal(again.parent, path->parent));
	require(kp_bytes_equal(again.name, path->name));
	require(path->depth < 2 || path->text.len == path->parent.len + 1 + path->name.len);
	require(kp_path_is_within(path->parent, path->text));
	again = kp_path_parent(path);
	require(again.depth == (path->depth ? path->depth - 1 : 0));
}

static void check_join(keep_bytes raw, const kp_path *base, keep_bytes segment)
{
	keep_buffer joined = KEEP_BUFFER_INIT;
	kp_path_room room;
	kp_path path;

	require(keep_buffer_set(&joined, raw, NULL) == KEEP_OK);
	if (keep_path_join(&joined, segment, NULL) == KEEP_OK) {
		require(base != NULL);
		require(kp_path_parse(kp_buffer_bytes(&joined), &room, &path, NULL) == KEEP_OK);
		require(kp_bytes_equal(path.parent, base->text));
		require(kp_bytes_equal(path.name, segment));
		require(path.depth == base->depth + 1);
	} else {
		require(kp_bytes_equal(kp_buffer_bytes(&joined), raw));
	}
	keep_buffer_release(&joined);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	keep_error err = KEEP_ERROR_INIT;
	const char *text = size ? (const char *)data : "";
	const char *cut = memchr(text, 2, size);
	keep_bytes raw = {text, cut ? (size_t)(cut - text) : size};
	keep_bytes segment = {cut ? cut + 1 : text, cut ? size - raw.len - 1 : size};
	kp_path_room room;
	kp_path path;

	if (kp_path_parse(raw, &room, &path, &err) == KEEP_OK) {
		check_path(&path);
		check_join(raw, &path, segment);
	} else {
		require(err.status == KEEP_INVALID && strncmp(err.message, "path: ", 6) == 0);
		require(path.depth == 0 && path.text.len == 0);
		check_join(raw, NULL, segment);
	}
	return 0;
}

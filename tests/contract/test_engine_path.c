/* test_engine_path.c - paths: the normal form, what is borrowed, joining. */
#include "engine/backend.h"
#include "keep_test.h"

static kp_path parse(const char *raw, kp_path_room *room)
{
	keep_error err = KEEP_ERROR_INIT;
	kp_path path;

	OK(kp_path_parse(keep_bytes_of(raw), room, &path, &err));
	return path;
}

static void a_path_is_cut_into_parent_and_name(void **state)
{
	static const struct {
		const char *raw, *text, *parent, *name;
		unsigned depth;
	} cases[] = {
		{"", "", "", "", 0},
		{"///", "", "", "", 0},
		{"a", "a", "", "a", 1},
		{"/a/", "a", "", "a", 1},
		{"chat/x/message", "chat/x/message", "chat/x", "message", 3},
		{"//chat//x///y//", "chat/x/y", "chat/x", "y", 3},
		{"a//b", "a/b", "a", "b", 2},
		{".../..a/a..", ".../..a/a..", ".../..a", "a..", 3},
	};
	kp_path_room room;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		kp_path path = parse(cases[i].raw, &room), again = kp_path_of(path.text);

		assert_bytes_equal(path.text, keep_bytes_of(cases[i].text));
		assert_bytes_equal(path.parent, keep_bytes_of(cases[i].parent));
		assert_bytes_equal(path.name, keep_bytes_of(cases[i].name));
		assert_int_equal(path.depth, cases[i].depth);
		assert_bytes_equal(again.parent, path.parent);
		assert_bytes_equal(again.name, path.name);
		assert_int_equal(again.depth, path.depth);
	}
}

static void only_a_double_slash_inside_makes_a_copy(void **state)
{
	static const char normal[] = "a/b/c", outer[] = "//a/b/c//", inner[] = "a/b//c";
	kp_path_room room;

	(void)state;
	assert_ptr_equal(parse(normal, &room).text.data, normal);
	assert_ptr_equal(parse(outer, &room).text.data, outer + 2);
	assert_ptr_equal(parse(inner, &room).text.data, room.bytes);
}

static void the_parents_of_a_path_end_at_the_root(void **state)
{
	kp_path path = kp_path_of(KEEP_BYTES("a/b/c"));

	(void)state;
	path = kp_path_parent(&path);
	assert_bytes_equal(path.text, KEEP_BYTES("a/b"));
	assert_int_equal(path.depth, 2);
	path = kp_path_parent(&path);
	path = kp_path_parent(&path);
	assert_bytes_equal(path.text, KEEP_BYTES(""));
	path = kp_path_parent(&path);
	assert_int_equal(path.depth, 0);
}

static void within_means_segments_and_not_characters(void **state)
{
	(void)state;
	assert_true(kp_path_is_within(KEEP_BYTES(""), KEEP_BYTES("")));
	assert_true(kp_path_is_within(KEEP_BYTES(""), KEEP_BYTES("a/b")));
	assert_true(kp_path_is_within(KEEP_BYTES("a"), KEEP_BYTES("a")));
	assert_true(kp_path_is_within(KEEP_BYTES("a"), KEEP_BYTES("a/b")));
	assert_false(kp_path_is_within(KEEP_BYTES("a"), KEEP_BYTES("ab")));
	assert_false(kp_path_is_within(KEEP_BYTES("a/b"), KEEP_BYTES("a")));
	assert_false(kp_path_is_within(KEEP_BYTES("a"), KEEP_BYTES("")));
}

static keep_status try_join(const char *path, keep_bytes segment, const char *joined)
{
	keep_buffer buffer = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status;

	if (path)
		OK(keep_buffer_set(&buffer, keep_bytes_of(path), &err));
	status = keep_path_join(&buffer, segment, &err);
	assert_int_equal(status, err.status);
	assert_bytes_equal(kp_buffer_bytes(&buffer), keep_bytes_of(joined));
	keep_buffer_release(&buffer);
	return status;
}

static void join_appends_exactly_one_segment(void **state)
{
	static const keep_bytes refused[] = {
		{"", 0},  {"/", 1},    {"a/b", 3}, {"/a", 2},   {"a/", 2},    {"..", 2},
		{".", 1}, {"a\0b", 3}, {"\0", 1},  {"\xff", 1}, {"../..", 5}, {"../../..", 8},
	};

	(void)state;
	assert_int_equal(try_join(NULL, KEEP_BYTES("a"), "a"), KEEP_OK);
	assert_int_equal(try_join("", KEEP_BYTES("a"), "a"), KEEP_OK);
	assert_int_equal(try_join("chat", KEEP_BYTES("x@g.us"), "chat/x@g.us"), KEEP_OK);
	assert_int_equal(try_join("//chat//1/", KEEP_BYTES("%"), "chat/1/%"), KEEP_OK);
	assert_int_equal(try_join("chat", KEEP_BYTES("*"), "chat/*"), KEEP_OK);
	for (size_t i = 0; i < KP_COUNT(refused); i++)
		assert_int_equal(try_join("chat", refused[i], "chat"), KEEP_INVALID);
	assert_int_equal(try_join("chat", (keep_bytes){NULL, 0}, "chat"), KEEP_MISUSE);
	assert_int_equal(try_join("..", KEEP_BYTES("a"), ".."), KEEP_INVALID);
	assert_int_equal(keep_path_join(NULL, KEEP_BYTES("a"), NULL), KEEP_MISUSE);
}

static void join_holds_the_limits(void **state)
{
	char path[KEEP_PATH_BYTES_MAX + 1], longer[KEEP_PATH_BYTES_MAX + 1];
	keep_bytes segment = {path, KEEP_SEGMENT_BYTES_MAX};
	keep_buffer buffer = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	memset(path, 's', sizeof path);
	segment.len++;
	assert_int_equal(keep_path_join(&buffer, segment, &err), KEEP_INVALID);
	segment.len--;
	for (int i = 0; i < 16; i++)
		OK(keep_path_join(&buffer, segment, &err));
	assert_int_equal(buffer.len, 4095);
	assert_int_equal(keep_path_join(&buffer, KEEP_BYTES("x"), &err), KEEP_INVALID);
	assert_int_equal(buffer.len, 4095);
	memset(longer, '/', sizeof longer);
	longer[64] = '\0';
	OK(keep_buffer_set(&buffer, KEEP_BYTES(""), &err));
	for (int i = 0; i < KEEP_PATH_SEGMENTS_MAX; i++)
		OK(keep_path_join(&buffer, KEEP_BYTES("s"), &err));
	assert_int_equal(keep_path_join(&buffer, KEEP_BYTES("s"), &err), KEEP_INVALID);
	keep_buffer_release(&buffer);
}

static void a_segment_may_lie_in_the_path_itself(void **state)
{
	keep_buffer buffer = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(keep_buffer_set(&buffer, KEEP_BYTES("//ab//c"), &err));
	OK(keep_path_join(&buffer, (keep_bytes){buffer.data + 2, 2}, &err));
	assert_string_equal(buffer.data, "ab/c/ab");
	keep_buffer_release(&buffer);
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_path_is_cut_into_parent_and_name),
		cmocka_unit_test(only_a_double_slash_inside_makes_a_copy),
		cmocka_unit_test(the_parents_of_a_path_end_at_the_root),
		cmocka_unit_test(within_means_segments_and_not_characters),
		cmocka_unit_test(join_appends_exactly_one_segment),
		cmocka_unit_test(join_holds_the_limits),
		cmocka_unit_test(a_segment_may_lie_in_the_path_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

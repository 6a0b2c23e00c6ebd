/* engine_suite_documents.c - paths, values, order, list, count, unset, clear. */
#include "engine_suite.h"

#include <stdatomic.h>

#define PERCENT_17 "%%%%%%%%%%%%%%%%%"
#define PERCENT_255                                                                                \
	PERCENT_17 PERCENT_17 PERCENT_17 PERCENT_17 PERCENT_17 PERCENT_17 PERCENT_17 PERCENT_17    \
		PERCENT_17 PERCENT_17 PERCENT_17 PERCENT_17 PERCENT_17 PERCENT_17 PERCENT_17

/* Segments that some file system, pattern language, query or shell would rather not see. */
/* clang-format off */
static const char *const hostile[] = {
	"%", "_", "*", "?", "[", "]", "[ab]", "[a-z]", "\\", "\\\\", "'", "''", "\"", "`", "\n",
	"\r\n", "\t", " ", "  ", "a b", " a", "a ", "index.json", ".keep", "...", "....", ".a",
	"a.", "..a", "a..", "-", "--", "-rf", "~", "$HOME", "$(id)", ";", "&", "|", "<", ">", "+",
	"=", "#", "?a=b", "@", ":", "::", "{tag}", "{}", "!", "^", ",", "(", ")",
	"120363@g.us::58414 x_1::0", "a", "b", "ab", "abc", "aBc", "A", "AB", "a_b", "a_c", "a%",
	"a%b", "a%25b", "%25", "%2F", "%2f", "%00", "%index.json", "index.json.tmp", "index",
	"INDEX.JSON", "doc", "idx", "doc:a", "idx:", "0", "1", "-1", "NULL", "null", "con", "NUL",
	"\x01", "\x1f", "\x7f", "\xc3\xa9" /* e acute, NFC */, "e\xcc\x81" /* the same, NFD */,
	"\xc3\x89", "\xef\xbb\xbf" /* byte order mark */, "\xef\xbf\xbf", "\xf0\x9f\x98\x80",
	"\xf4\x8f\xbf\xbf", "\xe2\x80\xae", "\xc2\xa0", PERCENT_255, "tmp", ".tmp", ".lock",
};
/* clang-format on */

#define HOSTILE_ROOM 1200

/* `before`, the hostile segment, `after`, and when `twice` the segment once more. */
static keep_bytes hostile_path(char room[HOSTILE_ROOM], const char *before, size_t i,
			       const char *after, bool twice)
{
	int len = snprintf(room, HOSTILE_ROOM, "%s%s%s%s", before, hostile[i], after,
			   twice ? hostile[i] : "");

	assert_true(len > 0 && len < HOSTILE_ROOM);
	return (keep_bytes){room, (size_t)len};
}

static keep_bytes number_text(char room[24], size_t number)
{
	return (keep_bytes){room, (size_t)snprintf(room, 24, "v%zu", number)};
}

/* ---------------------------------------------------------------- paths */

static void slashes_collapse_and_the_outer_ones_go(void **state)
{
	keep_engine *engine = engine_of(state);

	set_text(engine, "chat/x", "1");
	want_text(engine, "/chat/x", "1");
	want_text(engine, "chat//x", "1");
	want_text(engine, "///chat////x//", "1");
	set_text(engine, "/chat//x/", "2");
	want_text(engine, "chat/x", "2");
	want_count(engine, "/chat/", 1);
	want_page(engine, "//chat", 0, 10, "2");
	unset_path(engine, "chat/x/");
	want_text(engine, "chat/x", NULL);
}

static void a_path_that_is_none_is_invalid_everywhere(void **state)
{
	static const struct {
		keep_bytes path;
		const char *message;
	} cases[] = {
		{{"..", 2}, "path: '..' is not a segment"},
		{{".", 1}, "path: '.' is not a segment"},
		{{"a/..", 4}, "path: '..' is not a segment"},
		{{"../a", 4}, "path: '..' is not a segment"},
		{{"a/./b", 5}, "path: '.' is not a segment"},
		{{"a//..//b", 8}, "path: '..' is not a segment"},
		{{"a\0b", 3}, "path: a zero byte at position 1"},
		{{"\0", 1}, "path: a zero byte at position 0"},
		{{"a/\xff", 3}, "path: not UTF-8 at position 2"},
		{{"\xc3", 1}, "path: not UTF-8 at position 0"},
		{{"\xc3/\xa9", 3}, "path: not UTF-8 at position 0"},
		{{"\xed\xa0\x80", 3}, "path: not UTF-8 at position 0"},
		{{"\xc0\xae\xc0\xae", 4}, "path: not UTF-8 at position 0"},
	};
	keep_engine *engine = engine_of(state);

	set_text(engine, "a/b", "1");
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		keep_bytes path = cases[i].path;
		keep_engine_list list = {.count = 7};
		keep_buffer value = KEEP_BUFFER_INIT;
		keep_error err = KEEP_ERROR_INIT;
		int64_t count = 7;

		assert_int_equal(keep_engine_get(engine, path, &value, &err), KEEP_INVALID);
		assert_string_equal(err.message, cases[i].message);
		assert_int_equal(keep_engine_set(engine, path, KEEP_BYTES("x"), &err),
				 KEEP_INVALID);
		assert_int_equal(keep_engine_unset(engine, path, &err), KEEP_INVALID);
		assert_int_equal(keep_engine_count(engine, path, &count, &err), KEEP_INVALID);
		assert_int_equal(count, 0);
		assert_int_equal(keep_engine_list_values(engine, path, 0, 1, &list, &err),
				 KEEP_INVALID);
		assert_int_equal(list.count, 0);
		keep_buffer_release(&value);
	}
	want_children(engine, "", "");
	want_text(engine, "a/b", "1");
}

static void the_limits_of_a_path_are_exact(void **state)
{
	keep_engine *engine = engine_of(state);
	keep_error err = KEEP_ERROR_INIT;
	char text[KEEP_PATH_BYTES_MAX + 200];
	keep_bytes path = {text, 0};

	memset(text, 'x', sizeof text);
	path.len = KEEP_SEGMENT_BYTES_MAX;
	OK(keep_engine_set(engine, path, KEEP_BYTES("255"), &err));
	want_bytes(engine, path, KEEP_BYTES("255"));
	path.len++;
	assert_int_equal(keep_engine_set(engine, path, KEEP_BYTES(""), &err), KEEP_INVALID);
	assert_string_equal(err.message, "path: a segment of 256 bytes, the limit is 255");

	for (size_t i = 240; i < sizeof text; i += 241)
		text[i] = '/';
	path.len = KEEP_PATH_BYTES_MAX;
	OK(keep_engine_set(engine, path, KEEP_BYTES("4096"), &err));
	want_bytes(engine, path, KEEP_BYTES("4096"));
	path.len = KEEP_PATH_BYTES_MAX + 2;
	assert_int_equal(keep_engine_set(engine, path, KEEP_BYTES(""), &err), KEEP_INVALID);
	assert_string_equal(err.message, "path: more than 4096 bytes");

	for (size_t i = 0; i < sizeof text; i++)
		text[i] = i % 2 ? '/' : 'd';
	path.len = 2 * KEEP_PATH_SEGMENTS_MAX - 1;
	OK(keep_engine_set(engine, path, KEEP_BYTES("64"), &err));
	want_bytes(engine, path, KEEP_BYTES("64"));
	path.len += 2;
	assert_int_equal(keep_engine_set(engine, path, KEEP_BYTES(""), &err), KEEP_INVALID);
	assert_string_equal(err.message, "path: more than 64 segments");

	memset(text, '/', sizeof text);
	memcpy(text + sizeof text / 2, "y", 1);
	path.len = sizeof text;
	OK(keep_engine_set(engine, path, KEEP_BYTES("y"), &err));
	want_text(engine, "y", "y");
	unset_path(engine, "d");
	want_text(engine, "d/d", NULL);
	want_count(engine, "d", 0);
}

static void a_document_of_64_long_segments_lives_and_dies(void **state)
{
	keep_engine *engine = engine_of(state);
	keep_error err = KEEP_ERROR_INIT;
	char text[KEEP_PATH_BYTES_MAX];
	keep_bytes path = {text, 64 * 64 - 1};

	for (size_t i = 0; i < sizeof text; i++)
		text[i] = i % 64 == 63 ? '/' : "%*_\n"[i % 4];
	OK(keep_engine_set(engine, path, KEEP_BYTES("deep"), &err));
	want_bytes(engine, path, KEEP_BYTES("deep"));
	reopen(*state);
	engine = engine_of(state);
	if (suite_kind.persists)
		want_bytes(engine, path, KEEP_BYTES("deep"));
	path.len = 63;
	OK(keep_engine_unset(engine, path, &err));
	path.len = 64 * 64 - 1;
	want_bytes(engine, path, (keep_bytes){NULL, 0});
	want_children(engine, "", "");
}

/* keep_engine_get of the root says so in its own way, so it is not want_text's case. */
static void the_root_has_no_value(void **state)
{
	static const char *const roots[] = {"", "/", "///"};
	keep_engine *engine = engine_of(state);
	keep_buffer value = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	set_text(engine, "a", "a");
	set_text(engine, "b", "b");
	for (size_t i = 0; i < KP_COUNT(roots); i++) {
		keep_bytes root = keep_bytes_of(roots[i]);

		assert_int_equal(keep_engine_get(engine, root, &value, &err), KEEP_INVALID);
		assert_int_equal(keep_engine_set(engine, root, KEEP_BYTES("x"), &err),
				 KEEP_INVALID);
		want_children(engine, roots[i], "b a");
	}
	unset_path(engine, "///");
	want_children(engine, "", "");
	keep_buffer_release(&value);
}

static void an_absent_path_is_misuse_and_not_the_root(void **state)
{
	keep_engine *engine = engine_of(state);
	keep_error err = KEEP_ERROR_INIT;

	set_text(engine, "a", "a");
	assert_int_equal(keep_engine_unset(engine, (keep_bytes){NULL, 0}, &err), KEEP_MISUSE);
	want_text(engine, "a", "a");
}

static void every_hostile_segment_is_an_ordinary_one(void **state)
{
	keep_engine *engine = engine_of(state);
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char path[HOSTILE_ROOM], value[24];

	for (size_t i = 0; i < KP_COUNT(hostile); i++) {
		OK(keep_engine_set(engine, hostile_path(path, "", i, "", false),
				   number_text(value, i), &err));
		OK(keep_engine_set(engine, hostile_path(path, "", i, "/", true),
				   number_text(value, 1000 + i), &err));
		OK(keep_engine_set(engine, hostile_path(path, "in the way/", i, "/x/", true),
				   number_text(value, 2000 + i), &err));
	}
	if (suite_kind.persists)
		reopen(*state);
	engine = engine_of(state);
	OK(keep_engine_list_names(engine, KEEP_BYTES(""), 0, 1000, &list, &err));
	assert_int_equal(list.count, KP_COUNT(hostile));
	for (size_t i = 0; i < KP_COUNT(hostile); i++) {
		assert_bytes_equal(list.items[list.count - 1 - i].name, keep_bytes_of(hostile[i]));
		assert_bytes_equal(list.items[list.count - 1 - i].value, number_text(value, i));
		want_bytes(engine, hostile_path(path, "", i, "", false), number_text(value, i));
		want_bytes(engine, hostile_path(path, "", i, "/", true),
			   number_text(value, 1000 + i));
		want_bytes(engine, hostile_path(path, "in the way/", i, "/x/", true),
			   number_text(value, 2000 + i));
		want_count(engine, path, 0);
	}
	keep_engine_list_release(&list);
	want_count(engine, "in the way", 0);
}

static void unset_of_a_hostile_segment_touches_no_other(void **state)
{
	keep_engine *engine = engine_of(state);
	keep_error err = KEEP_ERROR_INIT;
	char path[HOSTILE_ROOM], value[24];

	for (size_t i = 0; i < KP_COUNT(hostile); i++) {
		OK(keep_engine_set(engine, hostile_path(path, "h/", i, "", false),
				   number_text(value, i), &err));
		OK(keep_engine_set(engine, hostile_path(path, "h/", i, "/c", false),
				   number_text(value, i), &err));
	}
	for (size_t gone = 0; gone < KP_COUNT(hostile); gone++) {
		OK(keep_engine_unset(engine, hostile_path(path, "h/", gone, "", false), &err));
		want_count(engine, "h", (int64_t)(KP_COUNT(hostile) - 1 - gone));
		for (size_t i = 0; i < KP_COUNT(hostile); i += 1 + (gone % 7)) {
			keep_bytes wanted =
				i > gone ? number_text(value, i) : (keep_bytes){NULL, 0};

			want_bytes(engine, hostile_path(path, "h/", i, "", false), wanted);
			want_bytes(engine, hostile_path(path, "h/", i, "/c", false), wanted);
		}
	}
	want_children(engine, "", "");
}

static void ids_of_signal_sessions_are_ordinary(void **state)
{
	keep_engine *engine = engine_of(state);
	const char *path = "session/session/120363@g.us::58414 x_1::0";

	set_text(engine, path, "{\"a\":1}");
	want_text(engine, path, "{\"a\":1}");
	set_text(engine, "/session/pre-key/1", "1");
	want_page(engine, "session/session", 0, 50, "{\"a\":1}");
	unset_path(engine, path);
	want_text(engine, path, NULL);
	want_text(engine, "session/pre-key/1", "1");
}

/* ---------------------------------------------------------------- values */

static void a_value_comes_back_exactly(void **state)
{
	static const keep_bytes values[] = {
		{"", 0},
		{"\0", 1},
		{"\0\0\0", 3},
		{"a\0b", 3},
		{"\r\n", 2},
		{"\n", 1},
		{" ", 1},
		{"{\"a\": 1}\r\n", 10},
		{"null", 4},
		{"\xff\xfe\x80", 3},
		{"\xc3", 1},
		{"0", 1},
		{"\xed\xa0\x80", 3},
		{"\x1f\x8b", 2},
		{"'; DROP TABLE documents; --", 27},
		{"\\x00", 4},
		{"\\000", 4},
		{"1e400", 5},
		{"12345678901234567890", 20},
	};
	keep_engine *engine = engine_of(state);
	keep_error err = KEEP_ERROR_INIT;
	char all[256];

	for (size_t i = 0; i < KP_COUNT(values); i++) {
		keep_engine_list list = KEEP_ENGINE_LIST_INIT;

		OK(keep_engine_set(engine, KEEP_BYTES("v/x"), values[i], &err));
		want_bytes(engine, KEEP_BYTES("v/x"), values[i]);
		OK(keep_engine_list_values(engine, KEEP_BYTES("v"), 0, 5, &list, &err));
		assert_int_equal(list.count, 1);
		assert_bytes_equal(list.items[0].value, values[i]);
		keep_engine_list_release(&list);
		want_count(engine, "v", 1);
	}
	for (size_t i = 0; i < sizeof all; i++)
		all[i] = (char)i;
	OK(keep_engine_set(engine, KEEP_BYTES("all"), (keep_bytes){all, sizeof all}, &err));
	want_bytes(engine, KEEP_BYTES("all"), (keep_bytes){all, sizeof all});
}

static void the_empty_value_is_a_document(void **state)
{
	keep_engine *engine = engine_of(state);

	set_text(engine, "e/x", "");
	want_text(engine, "e/x", "");
	want_count(engine, "e", 1);
	set_text(engine, "e/x", "full");
	set_text(engine, "e/x", "");
	want_text(engine, "e/x", "");
	unset_path(engine, "e/x");
	want_text(engine, "e/x", NULL);
	want_count(engine, "e", 0);
}

static void large_values_come_back_exactly(void **state)
{
	static const size_t sizes[] = {4095, 4096, 4097, 65536, 1 << 20, (5 << 20) + 3};
	keep_engine *engine = engine_of(state);
	keep_error err = KEEP_ERROR_INIT;
	char *bytes = malloc((5 << 20) + 3);
	uint64_t seed = 7;

	assert_non_null(bytes);
	for (size_t i = 0; i < (5 << 20) + 3; i++)
		bytes[i] = (char)next_random(&seed);
	for (size_t i = 0; i < KP_COUNT(sizes); i++) {
		OK(keep_engine_set(engine, KEEP_BYTES("big"), (keep_bytes){bytes, sizes[i]}, &err));
		want_bytes(engine, KEEP_BYTES("big"), (keep_bytes){bytes, sizes[i]});
	}
	set_text(engine, "big", "small again");
	want_text(engine, "big", "small again");
	free(bytes);
}

static void a_value_over_the_limit_is_full_and_changes_nothing(void **state)
{
	suite_case *self = *state;
	keep_error err = KEEP_ERROR_INIT;
	char *bytes = calloc(1, ((size_t)64 << 20) + 1);

	assert_non_null(bytes);
	set_text(self->engine, "a", "a");
	set_text(self->engine, "b", "b");
	assert_int_equal(keep_engine_set(self->engine, KEEP_BYTES("a"),
					 (keep_bytes){bytes, ((size_t)64 << 20) + 1}, &err),
			 KEEP_FULL);
	assert_string_equal(err.message, "value: 67108865 bytes, the limit is 67108864");
	want_children(self->engine, "", "b a");
	keep_engine_close(&self->engine);
	self->engine = open_engine(self->url,
				   (keep_engine_options){.create = true, .value_bytes_max = 1000});
	OK(keep_engine_set(self->engine, KEEP_BYTES("a"), (keep_bytes){bytes, 1000}, &err));
	assert_int_equal(
		keep_engine_set(self->engine, KEEP_BYTES("a"), (keep_bytes){bytes, 1001}, &err),
		KEEP_FULL);
	assert_string_equal(err.message, "value: 1001 bytes, the limit is 1000");
	want_bytes(self->engine, KEEP_BYTES("a"), (keep_bytes){bytes, 1000});
	free(bytes);
}

static void get_uses_the_buffers_memory_again(void **state)
{
	keep_engine *engine = engine_of(state);
	keep_buffer value = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	const char *data;

	set_text(engine, "long", "a longer value than the other");
	set_text(engine, "short", "s");
	OK(keep_engine_get(engine, KEEP_BYTES("long"), &value, &err));
	data = value.data;
	OK(keep_engine_get(engine, KEEP_BYTES("short"), &value, &err));
	assert_ptr_equal(value.data, data);
	assert_string_equal(value.data, "s");
	keep_buffer_release(&value);
}

/* ---------------------------------------------------------------- order */

static void a_set_is_the_newest_of_its_siblings(void **state)
{
	keep_engine *engine = engine_of(state);

	set_text(engine, "o/b", "b");
	set_text(engine, "o/a", "a");
	set_text(engine, "o/c", "c");
	want_children(engine, "o", "c a b");
	set_text(engine, "o/b", "b");
	want_children(engine, "o", "b c a");
	set_text(engine, "o/b", "b");
	want_children(engine, "o", "b c a");
	set_text(engine, "o/a/child", "child");
	want_children(engine, "o", "b c a");
	unset_path(engine, "o/c");
	set_text(engine, "o/c", "c");
	want_children(engine, "o", "c b a");
}

static void want_burst(keep_engine *engine, const char *path, size_t count)
{
	keep_engine_list list = KEEP_ENGINE_LIST_INIT;
	keep_error err = KEEP_ERROR_INIT;
	char value[24];

	OK(keep_engine_list_values(engine, keep_bytes_of(path), 0, 100000, &list, &err));
	assert_int_equal(list.count, count);
	for (size_t i = 0; i < count; i++)
		assert_bytes_equal(list.items[i].value, number_text(value, count - 1 - i));
	keep_engine_list_release(&list);
}

static void a_burst_of_1000_sets_keeps_its_order(void **state)
{
	suite_case *self = *state;
	keep_error err = KEEP_ERROR_INIT;
	char path[64], value[24];

	keep_engine_close(&self->engine);
	self->engine =
		open_engine(self->url, (keep_engine_options){.create = true, .relaxed = true});
	for (size_t i = 0; i < 1000; i++) {
		/* Neither the names' order nor its reverse is the order of the sets. */
		snprintf(path, sizeof path, "burst/%zu-%zu", i * 7919 % 1000, i);
		OK(keep_engine_set(self->engine, keep_bytes_of(path), number_text(value, i), &err));
	}
	want_burst(self->engine, "burst", 1000);
	if (suite_kind.persists) {
		reopen(self);
		want_burst(self->engine, "burst", 1000);
		OK(keep_engine_set(self->engine, KEEP_BYTES("burst/last"), number_text(value, 1000),
				   &err));
		want_burst(self->engine, "burst", 1001);
	}
}

static atomic_int_fast64_t fake_now;

static int64_t tell_fake_now(void *ctx)
{
	(void)ctx;
	return atomic_load(&fake_now);
}

static void a_clock_that_goes_back_does_not_change_the_order(void **state)
{
	static const int64_t times[] = {
		1800000000000, 1700000000000, 1700000000000, 5, 0, -1000000, INT64_MAX, 7};
	suite_case *self = *state;
	keep_error err = KEEP_ERROR_INIT;
	char path[64], value[24];

	keep_engine_close(&self->engine);
	atomic_store(&fake_now, times[0]);
	kp_clock_inject(tell_fake_now, NULL);
	self->engine = open_engine(self->url, (keep_engine_options){.create = true});
	for (size_t i = 0; i < KP_COUNT(times); i++) {
		atomic_store(&fake_now, times[i]);
		snprintf(path, sizeof path, "time/%zu", 100 - i);
		OK(keep_engine_set(self->engine, keep_bytes_of(path), number_text(value, i), &err));
	}
	want_burst(self->engine, "time", KP_COUNT(times));
	keep_engine_close(&self->engine);
	kp_clock_inject(NULL, NULL);
	self->engine = open_engine(self->url, (keep_engine_options){.create = true});
	if (suite_kind.persists) {
		want_burst(self->engine, "time", KP_COUNT(times));
		OK(keep_engine_set(self->engine, KEEP_BYTES("time/now"),
				   number_text(value, KP_COUNT(times)), &err));
		want_burst(self->engine, "time", KP_COUNT(times) + 1);
	}
}

/* ---------------------------------------------------------------- list and count */

static void every_page_of_a_list_is_right(void **state)
{
	static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g"};
	keep_engine *engine = engine_of(state);
	char path[24], wanted[64];

	for (size_t i = 0; i < KP_COUNT(names); i++) {
		snprintf(path, sizeof path, "p/%s", names[i]);
		set_text(engine, path, names[i]);
	}
	for (int64_t offset = 0; offset < 9; offset++) {
		for (int64_t limit = 0; limit < 9; limit++) {
			wanted[0] = '\0';
			for (int64_t i = offset; i < offset + limit && i < 7; i++) {
				strcat(wanted, wanted[0] ? " " : "");
				strcat(wanted, names[6 - i]);
			}
			want_page(engine, "p", offset, limit, wanted);
		}
	}
	want_page(engine, "p", 0, KEEP_ENGINE_LIST_MAX, "g f e d c b a");
	want_page(engine, "p", INT64_MAX, KEEP_ENGINE_LIST_MAX, "");
	want_page(engine, "p", INT64_MAX - 1, 1, "");
	want_page(engine, "p", 6, KEEP_ENGINE_LIST_MAX, "a");
}

static void a_range_that_is_none_is_invalid(void **state)
{
	static const int64_t ranges[][2] = {
		{-1, 1},        {0, -1},        {0, KEEP_ENGINE_LIST_MAX + 1},
		{INT64_MIN, 1}, {0, INT64_MIN}, {0, INT64_MAX},
		{-1, 0}};
	keep_engine *engine = engine_of(state);
	keep_error err = KEEP_ERROR_INIT;

	set_text(engine, "r/a", "a");
	for (size_t i = 0; i < KP_COUNT(ranges); i++) {
		keep_engine_list list = {.count = 3};

		assert_int_equal(keep_engine_list_values(engine, KEEP_BYTES("r"), ranges[i][0],
							 ranges[i][1], &list, &err),
				 KEEP_INVALID);
		assert_int_equal(list.count, 0);
		assert_int_equal(keep_engine_list_names(engine, KEEP_BYTES("r"), ranges[i][0],
							ranges[i][1], &list, &err),
				 KEEP_INVALID);
	}
	want_page(engine, "r", 0, 0, "");
}

static void list_and_count_see_direct_children_with_a_value_only(void **state)
{
	keep_engine *engine = engine_of(state);

	want_children(engine, "nothing", "");
	want_children(engine, "nothing/at/all", "");
	set_text(engine, "l", "l");
	want_children(engine, "l", "");
	set_text(engine, "l/deep/er/x", "x");
	want_children(engine, "l", "");
	want_children(engine, "l/deep", "");
	want_children(engine, "l/deep/er", "x");
	set_text(engine, "l/b", "b");
	set_text(engine, "l/deep", "deep");
	want_children(engine, "l", "deep b");
	set_text(engine, "l2", "l2");
	set_text(engine, "l2/z", "z");
	want_children(engine, "l", "deep b");
	want_children(engine, "", "l2 l");
	unset_path(engine, "l/deep/er/x");
	want_children(engine, "l", "deep b");
}

/* ---------------------------------------------------------------- unset and clear */

static void unset_removes_the_value_and_every_descendant(void **state)
{
	keep_engine *engine = engine_of(state);

	set_text(engine, "u", "u");
	set_text(engine, "u/a", "a");
	set_text(engine, "u/a/b", "b");
	set_text(engine, "u/a/b/c", "c");
	set_text(engine, "u/x/y/z", "z");
	set_text(engine, "v", "v");
	unset_path(engine, "u");
	want_children(engine, "", "v");
	want_text(engine, "u", NULL);
	want_text(engine, "u/a", NULL);
	want_text(engine, "u/a/b", NULL);
	want_text(engine, "u/a/b/c", NULL);
	want_text(engine, "u/x/y/z", NULL);
	want_children(engine, "u", "");
	want_children(engine, "u/a", "");
	want_children(engine, "u/a/b", "");
	want_children(engine, "u/x/y", "");
	set_text(engine, "u/a/b/c", "c");
	want_children(engine, "u/a/b", "c");
	want_text(engine, "u/a/b", NULL);
}

static void unset_removes_what_is_below_a_path_without_value(void **state)
{
	keep_engine *engine = engine_of(state);

	set_text(engine, "a/b/c", "c");
	set_text(engine, "ab/b/c", "c");
	unset_path(engine, "a");
	want_text(engine, "a/b/c", NULL);
	want_text(engine, "ab/b/c", "c");
	want_children(engine, "a/b", "");
	set_text(engine, "a/b/c/d/e/f", "f");
	set_text(engine, "a/b/x", "x");
	unset_path(engine, "a/b/c");
	want_text(engine, "a/b/c/d/e/f", NULL);
	want_text(engine, "a/b/x", "x");
	unset_path(engine, "a/b/x");
	want_children(engine, "", "");
	want_children(engine, "a", "");
}

static void unset_is_ok_when_there_was_nothing(void **state)
{
	keep_engine *engine = engine_of(state);

	unset_path(engine, "nothing");
	unset_path(engine, "nothing/at/all");
	set_text(engine, "a", "a");
	unset_path(engine, "a/b");
	want_text(engine, "a", "a");
	unset_path(engine, "a");
	unset_path(engine, "a");
	want_children(engine, "", "");
	unset_path(engine, "");
	unset_path(engine, "");
}

static void unset_leaves_paths_that_only_begin_alike(void **state)
{
	static const char *const others[] = {
		"s/aa", "s/a ", "s/a0", "s/a-",    "s/a.", "s/a!",       "s/A",
		"s/a%", "s/a_", "s/a:", "s/a\x01", "sa",   "s/a\xc3\xa9"};
	keep_engine *engine = engine_of(state);
	char path[64];

	for (size_t i = 0; i < KP_COUNT(others); i++) {
		set_text(engine, others[i], "kept");
		snprintf(path, sizeof path, "%s/x", others[i]);
		set_text(engine, path, "kept");
	}
	set_text(engine, "s/a", "gone");
	set_text(engine, "s/a/x", "gone");
	unset_path(engine, "s/a");
	want_text(engine, "s/a", NULL);
	want_text(engine, "s/a/x", NULL);
	for (size_t i = 0; i < KP_COUNT(others); i++) {
		want_text(engine, others[i], "kept");
		snprintf(path, sizeof path, "%s/x", others[i]);
		want_text(engine, path, "kept");
	}
	want_count(engine, "s", 12);
}

static void unset_of_one_leaf_leaves_its_siblings(void **state)
{
	keep_engine *engine = engine_of(state);

	set_text(engine, "k/1", "1");
	set_text(engine, "k/2", "2");
	set_text(engine, "k/3", "3");
	unset_path(engine, "k/2");
	want_children(engine, "k", "3 1");
	unset_path(engine, "k/3");
	want_children(engine, "k", "1");
	unset_path(engine, "k/1");
	want_children(engine, "k", "");
}

static void clear_drops_everything_of_this_namespace_only(void **state)
{
	static const char *const suffixes[] = {"1", "_", "*", "[1]", ":1", "."};
	suite_case *self = *state;
	keep_engine *others[KP_COUNT(suffixes)];
	keep_error err = KEEP_ERROR_INIT;
	char url[ENGINE_URL_MAX];

	for (size_t i = 0; i < KP_COUNT(suffixes); i++) {
		engine_neighbour_url(&self->kind, self->url, suffixes[i], url);
		others[i] = open_engine(url, (keep_engine_options){.create = true});
		set_text(others[i], "a", suffixes[i]);
		set_text(others[i], "a/b/c", "kept");
	}
	set_text(self->engine, "a", "own");
	set_text(self->engine, "a/b/c", "own");
	for (size_t i = 0; i < KP_COUNT(suffixes); i++)
		want_text(others[i], "a", suffixes[i]);
	OK(keep_engine_clear(self->engine, &err));
	want_children(self->engine, "", "");
	want_text(self->engine, "a/b/c", NULL);
	OK(keep_engine_clear(self->engine, &err));
	for (size_t i = 0; i < KP_COUNT(suffixes); i++) {
		want_text(others[i], "a", suffixes[i]);
		want_text(others[i], "a/b/c", "kept");
		want_count(others[i], "", 1);
		OK(keep_engine_clear(others[i], &err));
		keep_engine_close(&others[i]);
	}
	set_text(self->engine, "a", "again");
	want_text(self->engine, "a", "again");
	if (self->kind.persists) {
		OK(keep_engine_clear(self->engine, &err));
		reopen(self);
		want_children(self->engine, "", "");
	}
}

static void everything_is_there_after_a_restart(void **state)
{
	suite_case *self = *state;

	set_text(self->engine, "r/a", "a");
	set_text(self->engine, "r/b", "b");
	set_text(self->engine, "r/c", "c");
	set_text(self->engine, "r/a", "a");
	unset_path(self->engine, "r/b");
	set_text(self->engine, "r/c/x/y", "y");
	reopen(self);
	want_children(self->engine, "r", "a c");
	want_text(self->engine, "r/c/x/y", "y");
	set_text(self->engine, "r/d", "d");
	want_children(self->engine, "r", "d a c");
	unset_path(self->engine, "r/a");
	reopen(self);
	want_children(self->engine, "r", "d c");
}

static const struct CMUnitTest tests[] = {
	SUITE_TEST(slashes_collapse_and_the_outer_ones_go),
	SUITE_TEST(a_path_that_is_none_is_invalid_everywhere),
	SUITE_TEST(the_limits_of_a_path_are_exact),
	SUITE_TEST(a_document_of_64_long_segments_lives_and_dies),
	SUITE_TEST(the_root_has_no_value),
	SUITE_TEST(an_absent_path_is_misuse_and_not_the_root),
	SUITE_TEST(every_hostile_segment_is_an_ordinary_one),
	SUITE_TEST(unset_of_a_hostile_segment_touches_no_other),
	SUITE_TEST(ids_of_signal_sessions_are_ordinary),
	SUITE_TEST(a_value_comes_back_exactly),
	SUITE_TEST(the_empty_value_is_a_document),
	SUITE_TEST(large_values_come_back_exactly),
	SUITE_TEST(a_value_over_the_limit_is_full_and_changes_nothing),
	SUITE_TEST(get_uses_the_buffers_memory_again),
	SUITE_TEST(a_set_is_the_newest_of_its_siblings),
	SUITE_TEST(a_burst_of_1000_sets_keeps_its_order),
	SUITE_TEST(a_clock_that_goes_back_does_not_change_the_order),
	SUITE_TEST(every_page_of_a_list_is_right),
	SUITE_TEST(a_range_that_is_none_is_invalid),
	SUITE_TEST(list_and_count_see_direct_children_with_a_value_only),
	SUITE_TEST(unset_removes_the_value_and_every_descendant),
	SUITE_TEST(unset_removes_what_is_below_a_path_without_value),
	SUITE_TEST(unset_is_ok_when_there_was_nothing),
	SUITE_TEST(unset_leaves_paths_that_only_begin_alike),
	SUITE_TEST(unset_of_one_leaf_leaves_its_siblings),
	SUITE_TEST(clear_drops_everything_of_this_namespace_only),
	SUITE_TEST_WHERE(persists, everything_is_there_after_a_restart),
};

const suite_group suite_documents = {tests, KP_COUNT(tests)};

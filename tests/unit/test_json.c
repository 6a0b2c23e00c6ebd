/*
 * test_json.c - what the reader accepts and refuses, what the writer writes, and that the two
 * agree.
 *
 * The tables have the shape of Nicolas Seriot's "Parsing JSON is a minefield": y_ must be accepted,
 * n_ must be refused, and what RFC 8259 leaves open is decided here by core.h.
 */
#include "keep/engine.h"
#include "keep_test.h"

#include <float.h>
#include <math.h>

#define TEXT(literal)                                                                              \
	{                                                                                          \
		(literal), sizeof(literal) - 1                                                     \
	}

static const keep_bytes accepted[] = {
	/* structure and blanks */
	TEXT("null"),
	TEXT("true"),
	TEXT("false"),
	TEXT("[]"),
	TEXT("{}"),
	TEXT(" [] "),
	TEXT("\t\n\r [\t\n\r ]\t\n\r "),
	TEXT("[[]]"),
	TEXT("[[],[]]"),
	TEXT("[{}]"),
	TEXT("{\"a\":{}}"),
	TEXT("{\"a\":[]}"),
	TEXT("[null, 1, \"1\", {}]"),
	TEXT("[1\n]"),
	TEXT(" [1]"),
	TEXT("[1,null,null,null,2]"),
	TEXT("[2] "),
	TEXT("[false]"),
	TEXT("{\"a\":\"b\",\"c\":\"d\"}"),
	TEXT("{\"a\":1,\"A\":1}"),
	TEXT("{\"\":0}"),
	TEXT("{\"a\\u0000b\":1,\"a\":2}"),
	TEXT("{ \"min\" : -1.0e+28, \"max\" : 1.0e+28 }"),
	TEXT("{\n\"a\" :\n\"b\"\n}"),
	TEXT("{\"a\":[{\"a\":1},{\"a\":2}]}"),
	/* numbers */
	TEXT("0"),
	TEXT("-0"),
	TEXT("-0.0"),
	TEXT("0.0"),
	TEXT("1"),
	TEXT("-1"),
	TEXT("123"),
	TEXT("0e0"),
	TEXT("0e+1"),
	TEXT("0e-1"),
	TEXT("0E1"),
	TEXT("1e5"),
	TEXT("1E5"),
	TEXT("1e+5"),
	TEXT("1e-5"),
	TEXT("1.5e5"),
	TEXT("20e1"),
	TEXT("123.456e-789"),
	TEXT("1e-400"),
	TEXT("-0.000000000000000000000000000000000000000000000000000000000000000000000000001"),
	TEXT("9223372036854775807"),
	TEXT("9223372036854775808"),
	TEXT("-9223372036854775808"),
	TEXT("-9223372036854775809"),
	TEXT("100000000000000000000"),
	TEXT("1.7976931348623157e308"),
	TEXT("0.4e00000000000000000000000000000000000000000000000000000000000000000000000006"),
	TEXT("[123e65]"),
	TEXT("[1e00005]"),
	TEXT("0e999999999999999999999"),
	/* texts */
	TEXT("\"\""),
	TEXT("\" \""),
	TEXT("\"a\""),
	TEXT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""),
	TEXT("\"\\u0000\""),
	TEXT("\"\\u0060\\u012a\\u12AB\""),
	TEXT("\"\\uD801\\udc37\""),
	TEXT("\"\\ud83d\\ude39\\ud83d\\udc8d\""),
	TEXT("\"\\\\u0000\""),
	TEXT("\"a/*b*/c/*d//e\""),
	TEXT("\"\\uFFFF\""),
	TEXT("\"\\uDBFF\\uDFFF\""),
	TEXT("\"\xf4\x8f\xbf\xbf\""),
	TEXT("\"\xef\xbf\xbf\""),
	TEXT("\"\xe2\x80\xa8\xe2\x80\xa9\""),
	TEXT("\"\x7f\""),
	TEXT("\"\\u0022\""),
	TEXT("\"\\u002c\""),
	TEXT("\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82\""),
	TEXT("\"\\u0821\""),
	TEXT("\"new\\u000Aline\""),
	TEXT("\"\xef\xbb\xbf\""),
	TEXT("\"\\uFDD0\""),
};

static const keep_bytes refused[] = {
	/* structure */
	TEXT(""),
	TEXT(" "),
	TEXT("["),
	TEXT("]"),
	TEXT("{"),
	TEXT("}"),
	TEXT("[1"),
	TEXT("[1,"),
	TEXT("[1,]"),
	TEXT("[,1]"),
	TEXT("[1,,2]"),
	TEXT("[,]"),
	TEXT("[1 2]"),
	TEXT("[1:2]"),
	TEXT("[1]]"),
	TEXT("[1}"),
	TEXT("{1}"),
	TEXT("{]"),
	TEXT("[]x"),
	TEXT("[] []"),
	TEXT("1 2"),
	TEXT("{\"a\"}"),
	TEXT("{\"a\":}"),
	TEXT("{\"a\" 1}"),
	TEXT("{\"a\":1,}"),
	TEXT("{,\"a\":1}"),
	TEXT("{\"a\":1,,\"b\":2}"),
	TEXT("{\"a\":1 \"b\":2}"),
	TEXT("{a:1}"),
	TEXT("{'a':1}"),
	TEXT("{1:1}"),
	TEXT("{null:1}"),
	TEXT("{\"a\":1"),
	TEXT("{\"a\""),
	TEXT("{\"a\":"),
	TEXT("{\"a\"::1}"),
	TEXT("{\"a\",1}"),
	TEXT("{\"a\":1:2}"),
	TEXT("{[]:1}"),
	TEXT("{\"a\":1}}"),
	TEXT("{\"a\":1}#"),
	TEXT("[1]//"),
	TEXT("/*c*/1"),
	TEXT("[1/**/]"),
	TEXT("[\"a\",\n4\n,1,"),
	TEXT("[3[4]]"),
	TEXT("[\"\"],"),
	TEXT("*"),
	TEXT("<null>"),
	TEXT("{\"a\":/*c*/1}"),
	TEXT("[\v1]"),
	TEXT("[\f]"),
	TEXT("[\xc2\xa0]"),
	TEXT("\xef\xbb\xbf[]"),
	TEXT("\xef\xbb\xbf"),
	TEXT("\xff\xfe[\0]\0"),
	TEXT("[]\0"),
	TEXT("\0"),
	TEXT("[\0]"),
	TEXT("null\0"),
	/* duplicate names */
	TEXT("{\"a\":1,\"a\":1}"),
	TEXT("{\"a\":1,\"b\":2,\"a\":3}"),
	TEXT("{\"\":1,\"\":2}"),
	TEXT("{\"a\":1,\"\\u0061\":2}"),
	TEXT("[{\"x\":{\"a\":1,\"a\":2}}]"),
	TEXT("{\"1\":1,\"2\":1,\"3\":1,\"4\":1,\"5\":1,\"6\":1,\"7\":1,\"8\":1,\"9\":1,\"4\":1}"),
	/* words */
	TEXT("nul"),
	TEXT("nulll"),
	TEXT("NULL"),
	TEXT("True"),
	TEXT("fals"),
	TEXT("truefalse"),
	TEXT("[nul]"),
	TEXT("[tru]"),
	TEXT("undefined"),
	TEXT("NaN"),
	TEXT("-NaN"),
	TEXT("Infinity"),
	TEXT("-Infinity"),
	TEXT("Inf"),
	TEXT("nan"),
	TEXT("n"),
	TEXT("t"),
	TEXT("f"),
	/* numbers */
	TEXT("+1"),
	TEXT("-"),
	TEXT("--1"),
	TEXT("- 1"),
	TEXT("01"),
	TEXT("-01"),
	TEXT("00"),
	TEXT("-012.3"),
	TEXT("1."),
	TEXT("1.e1"),
	TEXT(".5"),
	TEXT("-.5"),
	TEXT("1e"),
	TEXT("1e+"),
	TEXT("1E-"),
	TEXT("1ee2"),
	TEXT("1e1.5"),
	TEXT("0e"),
	TEXT("0.3e"),
	TEXT("1.2.3"),
	TEXT("1+2"),
	TEXT("1-2"),
	TEXT("0x1"),
	TEXT("0b1"),
	TEXT("1_000"),
	TEXT("1,000"),
	TEXT("1 000"),
	TEXT("1e400"),
	TEXT("-1e400"),
	TEXT("1e99999999999999999999"),
	TEXT("1.8e308"),
	TEXT("\xef\xbc\x91"),
	TEXT("1a"),
	TEXT("1e5x"),
	TEXT("2.e3"),
	TEXT("2.e-3"),
	TEXT("0.e1"),
	TEXT("1d5"),
	TEXT("1f"),
	TEXT("1L"),
	TEXT("1\0"),
	/* texts */
	TEXT("\""),
	TEXT("\"a"),
	TEXT("\"\\"),
	TEXT("\"\\\""),
	TEXT("\"\\a\""),
	TEXT("\"\\x41\""),
	TEXT("\"\\0\""),
	TEXT("\"\\'\""),
	TEXT("\"\\U0041\""),
	TEXT("\"\\u\""),
	TEXT("\"\\u1\""),
	TEXT("\"\\u12\""),
	TEXT("\"\\u123\""),
	TEXT("\"\\u12g4\""),
	TEXT("\"\\u 123\""),
	TEXT("\"\\u-123\""),
	TEXT("\"\\ud800\""),
	TEXT("\"\\udc00\""),
	TEXT("\"\\ud800\\u\""),
	TEXT("\"\\ud800\\u1\""),
	TEXT("\"\\ud800\\n\""),
	TEXT("\"\\ud800abc\""),
	TEXT("\"\\ud800\\ud800\""),
	TEXT("\"\\udc00\\ud800\""),
	TEXT("\"\\ud800\\\\dc00\""),
	TEXT("\"\\uD834\\uDd\""),
	TEXT("\"\n\""),
	TEXT("\"\t\""),
	TEXT("\"\0\""),
	TEXT("\"\x1f\""),
	TEXT("\"\\\n\""),
	TEXT("\"\\\xc3\xa9\""),
	TEXT("'a'"),
	TEXT("a"),
	TEXT("\\n"),
	TEXT("\"\\ud800\\udbff\""),
	TEXT("\"\\\0\""),
	TEXT("{\"\\ud800\":1}"),
	TEXT("{\"\n\":1}"),
	/* not UTF-8 */
	TEXT("\"\xff\""),
	TEXT("\"\xc0\x80\""),
	TEXT("\"\xe0\x80\x80\""),
	TEXT("\"\xed\xa0\x80\""),
	TEXT("\"\xf4\x90\x80\x80\""),
	TEXT("\"\xc3\""),
	TEXT("\"\xe2\x82\""),
	TEXT("\x80"),
	TEXT("[\xff]"),
	TEXT("1\xff"),
	TEXT("\"\xf0\x9f\x99\""),
	TEXT("{\"\xe9\":1}"),
};

static bool parses(keep_bytes text, keep_error *err)
{
	/* A copy without a byte behind it, so that a sanitizer sees one read too far. */
	char *copy = malloc(text.len ? text.len : 1);
	kp_arena arena = {.head = NULL};
	const kp_json *root;
	keep_status status;

	if (!copy)
		abort();
	if (text.len)
		memcpy(copy, text.data, text.len);
	status = kp_json_parse((keep_bytes){copy, text.len}, &arena, &root, err);
	CHECK((status == KEEP_OK) == (root != NULL), "out and status disagree");
	CHECK(status == KEEP_OK || status == KEEP_INVALID, "%s", keep_status_name(status));
	kp_arena_release(&arena);
	free(copy);
	assert_nothing_lives();
	return status == KEEP_OK;
}

static void everything_that_is_json_is_accepted(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < KP_COUNT(accepted); i++)
		CHECK(parses(accepted[i], &err), "%" KP_PRI ": %s", KP_ARG(accepted[i]),
		      err.message);
}

static void everything_else_is_refused_with_a_position(void **state)
{
	(void)state;
	for (size_t i = 0; i < KP_COUNT(refused); i++) {
		keep_error err = KEEP_ERROR_INIT;
		size_t position;

		CHECK(!parses(refused[i], &err), "case %zu: %" KP_PRI, i, KP_ARG(refused[i]));
		CHECK(sscanf(err.message, "not JSON: byte %zu: expected", &position) == 1, "%s",
		      err.message);
		CHECK(position <= refused[i].len, "%s", err.message);
	}
}

/* Whatever is cut off or damaged in one byte is read without a crash, and mostly refused. */
static void every_cut_and_every_damaged_byte_is_survived(void **state)
{
	static const char text[] =
		"{\"a\\u00e9\":[1,-2.5e3,true,null,\"\\ud83d\\ude39x\"],\"b\":{}}";
	char damaged[sizeof text];

	(void)state;
	for (size_t len = 0; len < sizeof text - 1; len++)
		assert_false(parses((keep_bytes){text, len}, NULL));
	for (size_t at = 0; at < sizeof text - 1; at++) {
		memcpy(damaged, text, sizeof text);
		for (int byte = 0; byte < 256; byte++) {
			damaged[at] = (char)byte;
			(void)!parses((keep_bytes){damaged, sizeof text - 1}, NULL);
		}
	}
}

static void the_message_names_the_byte_and_what_was_expected(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{"", "not JSON: byte 0: expected a value"},
		{"[1,]", "not JSON: byte 3: expected a value"},
		{"[1 2]", "not JSON: byte 3: expected ',' or ']'"},
		{"{\"a\":1 2}", "not JSON: byte 7: expected ',' or '}'"},
		{"{\"a\" 1}", "not JSON: byte 5: expected ':'"},
		{"{a:1}", "not JSON: byte 1: expected a member name in quotes"},
		{"[] x", "not JSON: byte 3: expected the end"},
		{"[1e400]",
		 "not JSON: byte 1: expected a number as JSON writes it, that a double can hold"},
		{"\"abc", "not JSON: byte 4: expected '\"' at the end of a text"},
		{"\"a\\", "not JSON: byte 3: expected '\"' at the end of a text"},
		{"\"a\tb\"", "not JSON: byte 2: expected no control character in a text"},
		{"\"ab\\x\"",
		 "not JSON: byte 3: expected an escape that JSON has, and no half pair"},
		{"\"a\xff\"", "not JSON: byte 2: expected valid UTF-8"},
		{"{\"a\":1, \"\\u0061\":2}",
		 "not JSON: byte 8: expected each member name once, \"a\" is again"},
	};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		keep_error err = KEEP_ERROR_INIT;

		assert_false(parses(keep_bytes_of(cases[i].text), &err));
		assert_string_equal(err.message, cases[i].message);
	}
	assert_false(parses((keep_bytes){.data = NULL}, NULL));
}

static void sixty_four_levels_are_enough_and_one_more_is_refused(void **state)
{
	char text[2 * (KP_JSON_DEPTH_MAX + 1)];
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	memset(text, '[', KP_JSON_DEPTH_MAX + 1);
	memset(text + KP_JSON_DEPTH_MAX + 1, ']', KP_JSON_DEPTH_MAX + 1);
	assert_true(parses((keep_bytes){text + 1, 2 * KP_JSON_DEPTH_MAX}, &err));
	assert_false(parses((keep_bytes){text, sizeof text}, &err));
	assert_string_equal(err.message, "not JSON: byte 64: expected at most 64 levels");
}

static const kp_json *parse(const char *text, kp_arena *arena)
{
	const kp_json *root = NULL;
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_json_parse(keep_bytes_of(text), arena, &root, &err));
	return root;
}

static void values_are_slices_of_the_text_and_names_are_decoded(void **state)
{
	static const char text[] = " {\"a\": [1, 2.50 ,\"x\\ty\"] , \"caf\\u00e9\":\"plain\"} ";
	kp_arena arena = {.head = NULL};
	const kp_json *root = parse(text, &arena);
	const kp_json *list = kp_json_member(root, "a");
	const kp_json *plain = kp_json_member(root, "caf\xc3\xa9");

	(void)state;
	assert_int_equal(root->kind, KP_JSON_OBJECT);
	assert_int_equal(root->list.count, 2);
	assert_null(root->name.data);
	assert_ptr_equal(root->raw.data, text + 1);
	assert_int_equal(root->raw.len, sizeof text - 3);
	assert_int_equal(list->kind, KP_JSON_ARRAY);
	assert_bytes_equal(list->raw, KEEP_BYTES("[1, 2.50 ,\"x\\ty\"]"));
	assert_int_equal(list->list.items[0].kind, KP_JSON_INTEGER);
	assert_int_equal(list->list.items[0].integer, 1);
	assert_null(list->list.items[0].name.data);
	assert_int_equal(list->list.items[1].kind, KP_JSON_REAL);
	assert_bytes_equal(list->list.items[1].raw, KEEP_BYTES("2.50"));
	assert_bytes_equal(list->list.items[2].text, KEEP_BYTES("x\ty"));
	assert_bytes_equal(list->list.items[2].raw, KEEP_BYTES("\"x\\ty\""));
	assert_bytes_equal(plain->text, KEEP_BYTES("plain"));
	assert_ptr_equal(plain->text.data, strstr(text, "plain"));
	assert_null(kp_json_member(root, "b"));
	assert_null(kp_json_member(list, "a"));
	assert_null(kp_json_member(NULL, "a"));
	kp_arena_release(&arena);
	assert_nothing_lives();
}

static void escapes_mean_what_the_rfc_says(void **state)
{
	static const struct {
		const char *text;
		keep_bytes meaning;
	} cases[] = {
		{"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", TEXT("\"\\/\b\f\n\r\t")},
		{"\"\\u0000\"", TEXT("\0")},
		{"\"a\\u0000b\"", TEXT("a\0b")},
		{"\"\\u007f\\u0080\"", TEXT("\x7f\xc2\x80")},
		{"\"\\u07ff\\u0800\"", TEXT("\xdf\xbf\xe0\xa0\x80")},
		{"\"\\uD7FF\\uE000\\uffff\"", TEXT("\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf")},
		{"\"\\uD800\\uDC00\"", TEXT("\xf0\x90\x80\x80")},
		{"\"x\\uDBFF\\uDFFFy\"", TEXT("x\xf4\x8f\xbf\xbfy")},
		{"\"\"", TEXT("")},
	};
	kp_arena arena = {.head = NULL};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++)
		assert_bytes_equal(parse(cases[i].text, &arena)->text, cases[i].meaning);
	kp_arena_release(&arena);
}

static void integers_are_exact_and_every_other_number_is_a_double(void **state)
{
	static const struct {
		const char *text;
		kp_json_kind kind;
		int64_t integer;
		double real;
	} cases[] = {
		{"0", KP_JSON_INTEGER, 0, 0},
		{"-0", KP_JSON_INTEGER, 0, 0},
		{"-7", KP_JSON_INTEGER, -7, 0},
		{"9007199254740993", KP_JSON_INTEGER, 9007199254740993, 0},
		{"9223372036854775807", KP_JSON_INTEGER, INT64_MAX, 0},
		{"-9223372036854775808", KP_JSON_INTEGER, INT64_MIN, 0},
		{"9223372036854775808", KP_JSON_REAL, 0, 9223372036854775808.0},
		{"-9223372036854775809", KP_JSON_REAL, 0, -9223372036854775808.0},
		{"1.0", KP_JSON_REAL, 0, 1},
		{"1e2", KP_JSON_REAL, 0, 100},
		{"-0.0", KP_JSON_REAL, 0, -0.0},
		{"0e999999999999999999999", KP_JSON_REAL, 0, 0},
		{"1e-400", KP_JSON_REAL, 0, 0},
		{"-1e-400", KP_JSON_REAL, 0, -0.0},
		{"1.7976931348623157e308", KP_JSON_REAL, 0, DBL_MAX},
		{"17976931348623157.0e292", KP_JSON_REAL, 0, DBL_MAX},
		{"5e-324", KP_JSON_REAL, 0, 4.9406564584124654e-324},
		{"2.2250738585072011e-308", KP_JSON_REAL, 0, 2.2250738585072011e-308},
		{"0.1", KP_JSON_REAL, 0, 0.1},
		{"3.14159265358979323846264338327950288", KP_JSON_REAL, 0, 3.14159265358979323846},
	};
	kp_arena arena = {.head = NULL};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(cases); i++) {
		const kp_json *found = parse(cases[i].text, &arena);

		CHECK(found->kind == cases[i].kind, "%s", cases[i].text);
		assert_bytes_equal(found->raw, keep_bytes_of(cases[i].text));
		if (found->kind == KP_JSON_INTEGER)
			assert_true(found->integer == cases[i].integer);
		else
			CHECK(memcmp(&found->real, &cases[i].real, sizeof(double)) == 0, "%s",
			      cases[i].text);
	}
	kp_arena_release(&arena);
}

static void the_writer_writes_compact_json(void **state)
{
	kp_json_writer writer;
	keep_buffer out = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	OK(keep_buffer_set(&out, KEEP_BYTES("before "), &err));
	kp_json_begin(&writer, &out);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "text");
	kp_json_put_text(&writer, KEEP_BYTES("\"\\/\b\f\n\r\t\x01\x1f\0\x7f caf\xc3\xa9"));
	kp_json_name(&writer, "a\"b");
	kp_json_put_text(&writer, (keep_bytes){.data = NULL});
	kp_json_name(&writer, "list");
	kp_json_open_array(&writer);
	kp_json_put_integer(&writer, INT64_MIN);
	kp_json_put_real(&writer, 0.5);
	kp_json_put_bool(&writer, true);
	kp_json_put_bool(&writer, false);
	kp_json_put_null(&writer);
	kp_json_open_array(&writer);
	kp_json_close_array(&writer);
	kp_json_open_object(&writer);
	kp_json_close_object(&writer);
	kp_json_put_raw(&writer, KEEP_BYTES("[1, 2]"));
	kp_json_put_text(&writer, KEEP_BYTES(""));
	kp_json_close_array(&writer);
	kp_json_close_object(&writer);
	OK(kp_json_finish(&writer, &err));
	assert_string_equal(
		out.data,
		"before {\"text\":\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\\u0000\x7f "
		"caf\xc3\xa9\","
		"\"a\\\"b\":null,\"list\":[-9223372036854775808,0.5,true,false,null,[],{},[1, 2],"
		"\"\"]}");
	keep_buffer_release(&out);
}

static void the_writers_first_failure_sticks(void **state)
{
	kp_json_writer writer;
	keep_buffer out = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	kp_json_begin(&writer, &out);
	kp_json_open_array(&writer);
	kp_json_put_text(&writer, KEEP_BYTES("ab\xff"));
	kp_json_put_real(&writer, INFINITY);
	kp_json_close_array(&writer);
	assert_int_equal(kp_json_finish(&writer, &err), KEEP_INVALID);
	assert_string_equal(err.message, "a text is not valid UTF-8 at byte 2");
	kp_json_begin(&writer, &out);
	kp_json_put_real(&writer, NAN);
	assert_int_equal(kp_json_finish(&writer, &err), KEEP_INVALID);
	assert_int_equal(kp_json_finish(&writer, NULL), KEEP_INVALID);
	keep_buffer_release(&out);
}

static void every_kind_has_a_name_for_messages(void **state)
{
	(void)state;
	for (int kind = KP_JSON_NULL; kind <= KP_JSON_OBJECT; kind++)
		assert_true(strlen(kp_json_kind_name((kp_json_kind)kind)) > 1);
	assert_string_equal(kp_json_kind_name((kp_json_kind)99), "?");
}

/* ---------------------------------------------------------------- round trip */

static void put_random_text(kp_json_writer *writer, uint64_t *seed, bool as_name, int number)
{
	static const char *const parts[] = {
		"a", "\"", "\\",          "\n",           "\x01", "\xc3\xa9", "\xf0\x9f\x99\x82",
		"/", " ",  "plain words", "\xe2\x80\xa8", "{}"};
	char text[256] = "";
	size_t len = 0;

	for (uint64_t i = next_random(seed) % 8; i > 0; i--)
		len += (size_t)snprintf(text + len, sizeof text - len, "%s",
					parts[next_random(seed) % KP_COUNT(parts)]);
	if (as_name) {
		snprintf(text + len, sizeof text - len, "%d", number);
		kp_json_name(writer, text);
	} else {
		kp_json_put_text(writer, (keep_bytes){text, len + (next_random(seed) % 5 == 0)});
	}
}

static void put_random_value(kp_json_writer *writer, uint64_t *seed, unsigned depth)
{
	uint64_t kind = next_random(seed) % (depth < 6 ? 9 : 6);
	uint64_t bits = next_random(seed);
	double real;

	memcpy(&real, &bits, sizeof real);
	switch (kind) {
	case 0: kp_json_put_null(writer); break;
	case 1: kp_json_put_bool(writer, bits & 1); break;
	case 2: kp_json_put_integer(writer, (int64_t)(bits >> bits % 64)); break;
	case 3: kp_json_put_real(writer, isfinite(real) ? real : 0.25); break;
	case 4:
	case 5: put_random_text(writer, seed, false, 0); break;
	case 6:
		kp_json_open_array(writer);
		for (uint64_t i = bits % 12; i > 0; i--)
			put_random_value(writer, seed, depth + 1);
		kp_json_close_array(writer);
		break;
	default:
		kp_json_open_object(writer);
		for (int i = (int)(bits % 20); i > 0; i--) {
			put_random_text(writer, seed, true, i);
			put_random_value(writer, seed, depth + 1);
		}
		kp_json_close_object(writer);
		break;
	}
}

/* Write what was read. */
static void copy_value(kp_json_writer *writer, const kp_json *value)
{
	switch (value->kind) {
	case KP_JSON_NULL: kp_json_put_null(writer); break;
	case KP_JSON_BOOL: kp_json_put_bool(writer, value->boolean); break;
	case KP_JSON_INTEGER: kp_json_put_integer(writer, value->integer); break;
	case KP_JSON_REAL: kp_json_put_real(writer, value->real); break;
	case KP_JSON_TEXT: kp_json_put_text(writer, value->text); break;
	case KP_JSON_ARRAY:
		kp_json_open_array(writer);
		for (size_t i = 0; i < value->list.count; i++)
			copy_value(writer, &value->list.items[i]);
		kp_json_close_array(writer);
		break;
	case KP_JSON_OBJECT:
		kp_json_open_object(writer);
		for (size_t i = 0; i < value->list.count; i++) {
			kp_json_name_bytes(writer, value->list.items[i].name);
			copy_value(writer, &value->list.items[i]);
		}
		kp_json_close_object(writer);
		break;
	}
}

static void what_is_written_is_read_and_written_again_the_same(void **state)
{
	keep_buffer first = KEEP_BUFFER_INIT, second = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	for (uint64_t round = 0; round < 2000; round++) {
		uint64_t seed = test_seed() + round;
		kp_arena arena = {.head = NULL};
		kp_json_writer writer;
		const kp_json *root;

		first.len = second.len = 0;
		kp_json_begin(&writer, &first);
		put_random_value(&writer, &seed, 0);
		OK(kp_json_finish(&writer, &err));
		CHECK(kp_json_parse(kp_buffer_bytes(&first), &arena, &root, &err) == KEEP_OK,
		      "seed %llu: %s", (unsigned long long)(test_seed() + round), err.message);
		kp_json_begin(&writer, &second);
		copy_value(&writer, root);
		OK(kp_json_finish(&writer, &err));
		CHECK(kp_bytes_equal(kp_buffer_bytes(&first), kp_buffer_bytes(&second)),
		      "seed %llu", (unsigned long long)(test_seed() + round));
		kp_arena_release(&arena);
	}
	keep_buffer_release(&first);
	keep_buffer_release(&second);
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- hostile sizes */

static size_t size_of_all(const kp_json *value)
{
	size_t size = sizeof *value;

	for (size_t i = 0; value->kind >= KP_JSON_ARRAY && i < value->list.count; i++)
		size += size_of_all(&value->list.items[i]);
	return size;
}

static void a_million_members_are_read_in_a_moment(void **state)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	kp_arena arena = {.head = NULL};
	const kp_json *root;
	keep_error err = KEEP_ERROR_INIT;
	int64_t start;

	(void)state;
	OK(kp_buffer_append_text(&text, "{\"x\":0", &err));
	for (int i = 0; i < 1000000; i++)
		OK(kp_buffer_append_format(&text, &err, ",\"the same beginning %d\":1",
					   (int)((int64_t)i * 7919 % 1000000)));
	OK(kp_buffer_append_text(&text, "}", &err));
	start = kp_monotonic_ns();
	OK(kp_json_parse(kp_buffer_bytes(&text), &arena, &root, &err));
	CHECK(kp_monotonic_ns() - start < test_patience() * INT64_C(20000000000), "%lld ms",
	      (long long)(kp_monotonic_ns() - start) / 1000000);
	assert_int_equal(root->list.count, 1000001);
	kp_arena_release(&arena);
	/* The last name again. */
	text.len--;
	OK(kp_buffer_append_text(&text, ",\"x\":1}", &err));
	assert_int_equal(kp_json_parse(kp_buffer_bytes(&text), &arena, &root, &err), KEEP_INVALID);
	CHECK(strstr(err.message, "\"x\" is again"), "%s", err.message);
	kp_arena_release(&arena);
	keep_buffer_release(&text);
}

static void memory_is_a_bounded_multiple_of_the_text(void **state)
{
	size_t len = 2000001;
	char *text = malloc(len);
	kp_arena arena = {.head = NULL};
	const kp_json *root;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	assert_non_null(text);
	for (size_t i = 0; i < len; i++)
		text[i] = i % 2 ? '0' : ',';
	text[0] = '[';
	text[len - 1] = ']';
	OK(kp_json_parse((keep_bytes){text, len}, &arena, &root, &err));
	assert_int_equal(root->list.count, 1000000);
	assert_true(size_of_all(root) < len * 32);
	assert_true(kp_alloc_live() < 4);
	kp_arena_release(&arena);
	free(text);
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_that_is_json_is_accepted),
		cmocka_unit_test(everything_else_is_refused_with_a_position),
		cmocka_unit_test(every_cut_and_every_damaged_byte_is_survived),
		cmocka_unit_test(the_message_names_the_byte_and_what_was_expected),
		cmocka_unit_test(sixty_four_levels_are_enough_and_one_more_is_refused),
		cmocka_unit_test(values_are_slices_of_the_text_and_names_are_decoded),
		cmocka_unit_test(escapes_mean_what_the_rfc_says),
		cmocka_unit_test(integers_are_exact_and_every_other_number_is_a_double),
		cmocka_unit_test(the_writer_writes_compact_json),
		cmocka_unit_test(the_writers_first_failure_sticks),
		cmocka_unit_test(every_kind_has_a_name_for_messages),
		cmocka_unit_test(what_is_written_is_read_and_written_again_the_same),
		cmocka_unit_test(a_million_members_are_read_in_a_moment),
		cmocka_unit_test(memory_is_a_bounded_multiple_of_the_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

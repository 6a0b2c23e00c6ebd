/*
 * test_xml_text.c - XML that is written can be read by any parser, and gives back what was put in;
 * fragments from outside are well-formed content and nothing else.
 */
#include "keep_test.h"

#include "gateway/xml_text.h"

#include <expat.h>

static keep_bytes escaped(keep_buffer *out, keep_bytes text, bool in_value)
{
	keep_error err = KEEP_ERROR_INIT;

	out->len = 0;
	OK(in_value ? kp_xml_append_value(out, text, &err)
		    : kp_xml_append_content(out, text, &err));
	return kp_buffer_bytes(out);
}

static void what_could_end_its_place_is_escaped(void **state)
{
	keep_buffer out = KEEP_BUFFER_INIT;

	(void)state;
	assert_bytes_equal(escaped(&out, KEEP_BYTES("a<b>&\"c'"), true),
			   KEEP_BYTES("a&lt;b&gt;&amp;&quot;c'"));
	assert_bytes_equal(escaped(&out, KEEP_BYTES("a<b>&\"c'"), false),
			   KEEP_BYTES("a&lt;b&gt;&amp;\"c'"));
	assert_bytes_equal(escaped(&out, KEEP_BYTES("]]>"), false), KEEP_BYTES("]]&gt;"));
	assert_bytes_equal(escaped(&out, KEEP_BYTES("&amp;"), false), KEEP_BYTES("&amp;amp;"));
	assert_bytes_equal(escaped(&out,
				   KEEP_BYTES("gr\xc3\xb6\xc3\x9f"
					      "e"),
				   true),
			   KEEP_BYTES("gr\xc3\xb6\xc3\x9f"
				      "e"));
	assert_bytes_equal(escaped(&out, KEEP_BYTES(""), true), KEEP_BYTES(""));
	keep_buffer_release(&out);
}

static void line_ends_and_control_characters_are_references(void **state)
{
	keep_buffer out = KEEP_BUFFER_INIT;

	(void)state;
	assert_bytes_equal(escaped(&out, KEEP_BYTES("\t\n\r\x7f\xc2\x85"), true),
			   KEEP_BYTES("&#9;&#10;&#13;&#127;&#133;"));
	assert_bytes_equal(escaped(&out, KEEP_BYTES("\t\n\r"), false), KEEP_BYTES("\t\n&#13;"));
	keep_buffer_release(&out);
}

static void what_xml_cannot_hold_is_replaced(void **state)
{
	keep_buffer out = KEEP_BUFFER_INIT;

	(void)state;
	assert_bytes_equal(escaped(&out, KEEP_BYTES("a\x01z"), true), KEEP_BYTES("a\xef\xbf\xbdz"));
	assert_bytes_equal(escaped(&out, KEEP_BYTES("\xff"), false), KEEP_BYTES("\xef\xbf\xbd"));
	assert_bytes_equal(escaped(&out, KEEP_BYTES("\xef\xbf\xbf!"), false),
			   KEEP_BYTES("\xef\xbf\xbd!"));
	keep_buffer_release(&out);
}

/* ---------------------------------------------------------------- read back by a parser */

struct seen {
	keep_buffer content, value;
};

static void XMLCALL see_element(void *ctx, const XML_Char *name, const XML_Char **attributes)
{
	struct seen *seen = ctx;
	keep_error err = KEEP_ERROR_INIT;

	(void)name;
	if (attributes[0])
		OK(kp_buffer_append_text(&seen->value, attributes[1], &err));
}

static void XMLCALL see_text(void *ctx, const XML_Char *text, int len)
{
	struct seen *seen = ctx;
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_buffer_append(&seen->content, (keep_bytes){text, (size_t)len}, &err));
}

/* <e v="text">text</e>, read by expat. */
static void read_back(keep_bytes text, struct seen *seen)
{
	keep_buffer document = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;
	XML_Parser parser = XML_ParserCreate("UTF-8");

	OK(kp_buffer_append_text(&document, "<e v=\"", &err));
	OK(kp_xml_append_value(&document, text, &err));
	OK(kp_buffer_append_text(&document, "\">", &err));
	OK(kp_xml_append_content(&document, text, &err));
	OK(kp_buffer_append_text(&document, "</e>", &err));
	XML_SetUserData(parser, seen);
	XML_SetElementHandler(parser, see_element, NULL);
	XML_SetCharacterDataHandler(parser, see_text);
	CHECK(XML_Parse(parser, document.data, (int)document.len, 1) == XML_STATUS_OK, "%s: %s",
	      document.data, XML_ErrorString(XML_GetErrorCode(parser)));
	XML_ParserFree(parser);
	keep_buffer_release(&document);
}

static void a_parser_gives_back_what_was_put_in(void **state)
{
	static const char *const pieces[] = {"<",    ">",        "&",
					     "\"",   "'",        "]]>",
					     "\t",   "\n",       "\r",
					     " ",    "a",        "&#10;",
					     "\x7f", "--",       "?>",
					     "\n",   "\xc2\x85", "\xe2\x80\xa8",
					     "<!--", "</e>",     "\xf0\x9f\x98\x80"};
	uint64_t seed = test_seed();

	(void)state;
	for (int round = 0; round < 3000; round++) {
		struct seen seen = {KEEP_BUFFER_INIT, KEEP_BUFFER_INIT};
		char text[200] = "";

		for (int i = (int)(next_random(&seed) % 12); i > 0; i--)
			strcat(text, pieces[next_random(&seed) % KP_COUNT(pieces)]);
		read_back(keep_bytes_of(text), &seen);
		assert_bytes_equal(kp_buffer_bytes(&seen.content), keep_bytes_of(text));
		assert_bytes_equal(kp_buffer_bytes(&seen.value), keep_bytes_of(text));
		keep_buffer_release(&seen.content);
		keep_buffer_release(&seen.value);
	}
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- names and characters */

static void names_are_those_of_xml_without_a_colon(void **state)
{
	static const char *const good[] = {"a", "_", "A-b.c_9",
					   "gr\xc3\xb6\xc3\x9f"
					   "e",
					   "z\xcc\x88"};
	static const char *const bad[] = {
		"",   "9a", "-a",       ".a",  "a b",  "a:b",       ":a",        "a=", "a\"",
		"a>", "a/", "\xc3\x97", "a\n", "\xff", "a\xe2\x80", "\xcc\x88z", "a'"};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(good); i++)
		CHECK(kp_xml_is_name(keep_bytes_of(good[i])), "'%s'", good[i]);
	for (size_t i = 0; i < KP_COUNT(bad); i++)
		CHECK(!kp_xml_is_name(keep_bytes_of(bad[i])), "'%s'", bad[i]);
	assert_false(kp_xml_is_name(KEEP_BYTES("a\0b")));
}

static void text_is_what_xml_can_hold(void **state)
{
	(void)state;
	assert_true(kp_xml_is_text(KEEP_BYTES("")));
	assert_true(kp_xml_is_text(KEEP_BYTES("a\t\r\n\xc3\xa9\xef\xbf\xbd\xf4\x8f\xbf\xbf")));
	assert_false(kp_xml_is_text((keep_bytes){0}));
	assert_false(kp_xml_is_text(KEEP_BYTES("a\0")));
	for (char byte = 1; byte < 0x20; byte++)
		if (byte != '\t' && byte != '\n' && byte != '\r')
			assert_false(kp_xml_is_text((keep_bytes){&byte, 1}));
	assert_false(kp_xml_is_text(KEEP_BYTES("\xef\xbf\xbe")));
	assert_false(kp_xml_is_text(KEEP_BYTES("\xed\xa0\x80")));
	assert_false(kp_xml_is_text(KEEP_BYTES("\x80")));
}

/* ---------------------------------------------------------------- fragments */

static keep_status check(const char *fragment)
{
	return kp_xml_check_fragment("body", keep_bytes_of(fragment), NULL);
}

static void well_formed_content_is_taken(void **state)
{
	static const char *const good[] = {
		"",
		"text",
		"<previous_session id=\"1\" error=\"\"/>",
		"a <b>c</b> d<e f='g'>&lt;&#10;&amp;</e>\n",
		"<fragment>its own name</fragment>",
		"<![CDATA[ <not> & parsed ]]>",
		"<!-- a remark --><a/>",
		"\xc3\xa9<\xc3\xa9/>",
	};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(good); i++)
		CHECK(check(good[i]) == KEEP_OK, "%s", good[i]);
	assert_nothing_lives();
}

static void what_is_not_well_formed_is_refused(void **state)
{
	static const char *const bad[] = {
		"<a>",
		"</a>",
		"<a></b>",
		"a & b",
		"a < b",
		"<a b></a>",
		"<a b=\"1\" b=\"2\"/>",
		"&unknown;",
		"&nbsp;",
		"]]>",
		"<a b=\"<\"/>",
		"<?xml version=\"1.0\"?><a/>",
		"<!-- -- -->",
		"&#0;",
		"&#1;",
		"\x01",
		"<",
		"<a",
		"<!--",
		"<![CDATA[",
		"\xef\xbf\xbe",
	};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(bad); i++)
		CHECK(check(bad[i]) == KEEP_INVALID, "%s", bad[i]);
	assert_int_equal(kp_xml_check_fragment("body", KEEP_BYTES("a\0b"), NULL), KEEP_INVALID);
	assert_nothing_lives();
}

static void a_fragment_cannot_leave_its_element(void **state)
{
	static const char *const bad[] = {
		"</fragment>",
		"</fragment><fragment>",
		"</fragment><!--",
		"</fragment><!-- -->",
		"</fragment><?x",
		"</fragment",
		"</fragment><a/><fragment>",
		"<fragment>",
		"</fragment>\n",
	};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(bad); i++)
		CHECK(check(bad[i]) == KEEP_INVALID, "%s", bad[i]);
	assert_nothing_lives();
}

static void a_document_type_and_its_entities_are_refused(void **state)
{
	static const char *const bad[] = {
		"<!DOCTYPE a>",
		"<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
		"<!DOCTYPE l [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;\">"
		"<!ENTITY c \"&b;&b;&b;&b;&b;&b;\">]><l>&c;</l>",
		"<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><x>&e;</x>",
		"</fragment><!DOCTYPE a><fragment>",
		"<!ENTITY a \"b\">",
	};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(bad); i++)
		CHECK(check(bad[i]) == KEEP_INVALID, "%s", bad[i]);
	assert_nothing_lives();
}

static void repeat(keep_buffer *out, const char *text, int times)
{
	keep_error err = KEEP_ERROR_INIT;

	while (times-- > 0)
		OK(kp_buffer_append_text(out, text, &err));
}

static void elements_nest_only_so_deep(void **state)
{
	keep_buffer fragment = KEEP_BUFFER_INIT;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	repeat(&fragment, "<a>", KP_XML_DEPTH_MAX);
	repeat(&fragment, "</a>", KP_XML_DEPTH_MAX);
	OK(kp_xml_check_fragment("body", kp_buffer_bytes(&fragment), &err));
	fragment.len = 0;
	repeat(&fragment, "<a>", KP_XML_DEPTH_MAX + 1);
	repeat(&fragment, "</a>", KP_XML_DEPTH_MAX + 1);
	assert_int_equal(kp_xml_check_fragment("body", kp_buffer_bytes(&fragment), &err),
			 KEEP_INVALID);
	assert_non_null(strstr(err.message, "nested"));
	fragment.len = 0;
	repeat(&fragment, "<a>", 100000);
	assert_int_equal(kp_xml_check_fragment("body", kp_buffer_bytes(&fragment), &err),
			 KEEP_INVALID);
	fragment.len = 0;
	repeat(&fragment, "<a/>", 100000);
	OK(kp_xml_check_fragment("body", kp_buffer_bytes(&fragment), &err));
	keep_buffer_release(&fragment);
	assert_nothing_lives();
}

static void a_refusal_tells_the_place_and_quotes_nothing(void **state)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	assert_int_equal(kp_xml_check_fragment("body", KEEP_BYTES("<geheim>"), &err), KEEP_INVALID);
	assert_null(strstr(err.message, "geheim"));
	assert_non_null(strstr(err.message, "body"));
	assert_int_equal(kp_xml_check_fragment("body", KEEP_BYTES("ab &"), &err), KEEP_INVALID);
	assert_non_null(strstr(err.message, "byte"));
}

static keep_status check_scenario(void *ctx)
{
	keep_error err = KEEP_ERROR_INIT;

	(void)ctx;
	return kp_xml_check_fragment(
		"body", KEEP_BYTES("<a b=\"c\"><d e='&amp;'>text &lt; text</d></a><!-- x -->"),
		&err);
}

static void a_failing_allocation_is_told(void **state)
{
	long rounds = 0;

	(void)state;
	for (long nth = 1;; nth++) {
		keep_status status;

		kp_fault_arm(KP_FAULT_ALLOC, nth, false);
		status = check_scenario(NULL);
		if (kp_fault_disarm(KP_FAULT_ALLOC) == 0) {
			assert_int_equal(status, KEEP_OK);
			break;
		}
		CHECK(status == KEEP_NO_MEMORY || status == KEEP_OK, "failure %ld: %s", nth,
		      keep_status_name(status));
		assert_nothing_lives();
		rounds++;
	}
	assert_true(rounds > 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_could_end_its_place_is_escaped),
		cmocka_unit_test(line_ends_and_control_characters_are_references),
		cmocka_unit_test(what_xml_cannot_hold_is_replaced),
		cmocka_unit_test(a_parser_gives_back_what_was_put_in),
		cmocka_unit_test(names_are_those_of_xml_without_a_colon),
		cmocka_unit_test(text_is_what_xml_can_hold),
		cmocka_unit_test(well_formed_content_is_taken),
		cmocka_unit_test(what_is_not_well_formed_is_refused),
		cmocka_unit_test(a_fragment_cannot_leave_its_element),
		cmocka_unit_test(a_document_type_and_its_entities_are_refused),
		cmocka_unit_test(elements_nest_only_so_deep),
		cmocka_unit_test(a_refusal_tells_the_place_and_quotes_nothing),
		cmocka_unit_test(a_failing_allocation_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

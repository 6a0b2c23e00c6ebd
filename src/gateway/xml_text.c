/*
 * xml_text.c - text that goes into XML 1.0, and fragments of XML that are taken from outside.
 *
 * Invariants:
 *   1. What is appended can be parsed, whatever it was: there is a reference or a replacement for
 *      every byte that could end its place.
 *   2. A parser gives back the characters that were put in. So line ends and tabs of an attribute
 *      are references (a parser makes blanks of them), and so is a carriage return of content (a
 *      parser makes a line feed of it).
 *   3. A fragment is parsed by expat inside of an element of ours, in which no document type can
 *      stand; so there are no entities to expand. What it needs is linear in its size and in
 *      KP_XML_DEPTH_MAX, and comes from kp_alloc.
 *   4. A fragment cannot leave that element: an XML document has one root, so whatever closes it
 *      early makes the rest an error.
 *
 * What it does not do: namespaces; a prefix in a fragment is its author's affair.
 *
 * Tests: tests/unit/test_xml_text.c.
 */
#include "gateway/xml_text.h"

#include <expat.h>

#include <string.h>

/* ---------------------------------------------------------------- characters */

/* The character that `text` begins with, and its width; 0 bytes: it is not UTF-8. */
static uint32_t decode(keep_bytes text, size_t *width)
{
	static const unsigned char masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
	uint32_t code;

	*width = kp_utf8_width(text);
	if (!*width)
		return 0;
	code = (unsigned char)text.data[0] & masks[*width];
	for (size_t i = 1; i < *width; i++)
		code = code << 6 | ((unsigned char)text.data[i] & 0x3f);
	return code;
}

/* XML 1.0, production Char; UTF-8 has no surrogates. */
static bool is_character(uint32_t code)
{
	if (code < 0x20)
		return code == '\t' || code == '\n' || code == '\r';
	return code != 0xfffe && code != 0xffff;
}

bool kp_xml_is_text(keep_bytes text)
{
	size_t width = 1;

	if (!text.data)
		return false;
	for (size_t at = 0; at < text.len; at += width) {
		uint32_t code = decode((keep_bytes){text.data + at, text.len - at}, &width);

		if (!width || !is_character(code))
			return false;
	}
	return true;
}

struct range {
	uint32_t first, last;
};

static bool is_in(uint32_t code, const struct range *ranges, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (code >= ranges[i].first && code <= ranges[i].last)
			return true;
	return false;
}

/* XML 1.0, productions NameStartChar and NameChar, without the colon. */
static bool is_name_start(uint32_t code)
{
	static const struct range ranges[] = {
		{'a', 'z'},       {'A', 'Z'},       {'_', '_'},         {0xc0, 0xd6},
		{0xd8, 0xf6},     {0xf8, 0x2ff},    {0x370, 0x37d},     {0x37f, 0x1fff},
		{0x200c, 0x200d}, {0x2070, 0x218f}, {0x2c00, 0x2fef},   {0x3001, 0xd7ff},
		{0xf900, 0xfdcf}, {0xfdf0, 0xfffd}, {0x10000, 0xeffff},
	};

	return is_in(code, ranges, KP_COUNT(ranges));
}

static bool is_name_rest(uint32_t code)
{
	static const struct range ranges[] = {
		{'0', '9'}, {'-', '.'}, {0xb7, 0xb7}, {0x300, 0x36f}, {0x203f, 0x2040}};

	return is_name_start(code) || is_in(code, ranges, KP_COUNT(ranges));
}

bool kp_xml_is_name(keep_bytes name)
{
	size_t width = 1;

	for (size_t at = 0; at < name.len; at += width) {
		uint32_t code = decode((keep_bytes){name.data + at, name.len - at}, &width);

		if (!width || !(at ? is_name_rest(code) : is_name_start(code)))
			return false;
	}
	return name.len > 0;
}

/* ---------------------------------------------------------------- writing */

/* What stands for a character; NULL: itself. */
static const char *reference_of(uint32_t code, bool in_value, char room[16])
{
	static const char replacement[] = "\xef\xbf\xbd";
	bool is_control = code < 0x20 || (code >= 0x7f && code <= 0x9f);

	switch (code) {
	case '&': return "&amp;";
	case '<': return "&lt;";
	case '>': return "&gt;";
	case '"': return in_value ? "&quot;" : NULL;
	default: break;
	}
	if (!is_character(code))
		return replacement;
	if (code != '\r' && !(in_value && is_control))
		return NULL;
	memcpy(room, "&#000;", 7);
	room[2] = (char)('0' + code / 100);
	room[3] = (char)('0' + code / 10 % 10);
	room[4] = (char)('0' + code % 10);
	/* Without the zeros that lead. */
	for (int zeros = code < 10 ? 2 : code < 100 ? 1 : 0; zeros > 0; zeros--)
		memmove(room + 2, room + 3, strlen(room + 3) + 1);
	return room;
}

static keep_status append_escaped(keep_buffer *out, keep_bytes text, bool in_value, keep_error *err)
{
	size_t plain = 0, width = 1;
	keep_status status = KEEP_OK;

	for (size_t at = 0; at < text.len && status == KEEP_OK; at += width) {
		char room[16];
		uint32_t code = decode((keep_bytes){text.data + at, text.len - at}, &width);
		const char *reference = width ? reference_of(code, in_value, room)
					      : reference_of(0, in_value, room);

		width = width ? width : 1;
		if (!reference)
			continue;
		status = kp_buffer_append(out, (keep_bytes){text.data + plain, at - plain}, err);
		if (status == KEEP_OK)
			status = kp_buffer_append_text(out, reference, err);
		plain = at + width;
	}
	if (status == KEEP_OK && plain < text.len)
		status = kp_buffer_append(out, (keep_bytes){text.data + plain, text.len - plain},
					  err);
	return status;
}

keep_status kp_xml_append_content(keep_buffer *out, keep_bytes text, keep_error *err)
{
	return append_escaped(out, text, false, err);
}

keep_status kp_xml_append_value(keep_buffer *out, keep_bytes text, keep_error *err)
{
	return append_escaped(out, text, true, err);
}

/* ---------------------------------------------------------------- reading a fragment */

struct reading {
	XML_Parser parser;
	int depth; /* our own element is 1 */
	bool is_too_deep, has_document_type;
};

static void XMLCALL begin_element(void *ctx, const XML_Char *name, const XML_Char **attributes)
{
	struct reading *reading = ctx;

	(void)name;
	(void)attributes;
	if (++reading->depth > KP_XML_DEPTH_MAX + 1) {
		reading->is_too_deep = true;
		(void)XML_StopParser(reading->parser, XML_FALSE);
	}
}

static void XMLCALL end_element(void *ctx, const XML_Char *name)
{
	struct reading *reading = ctx;

	(void)name;
	reading->depth--;
}

/* Invariant 3 says that it cannot happen; if it does, it ends here. */
static void XMLCALL begin_document_type(void *ctx, const XML_Char *name, const XML_Char *system_id,
					const XML_Char *public_id, int has_subset)
{
	struct reading *reading = ctx;

	(void)name;
	(void)system_id;
	(void)public_id;
	(void)has_subset;
	reading->has_document_type = true;
	(void)XML_StopParser(reading->parser, XML_FALSE);
}

static const char opening[] = "<fragment>", closing[] = "</fragment>";

static bool feed(const struct reading *reading, keep_bytes text, bool is_last)
{
	return XML_Parse(reading->parser, text.data, (int)text.len, is_last) == XML_STATUS_OK;
}

static keep_status tell_fault(const struct reading *reading, const char *what, keep_error *err)
{
	enum XML_Error fault = XML_GetErrorCode(reading->parser);
	long at = (long)XML_GetCurrentByteIndex(reading->parser) - (long)(sizeof opening - 1);

	if (fault == XML_ERROR_NO_MEMORY)
		return kp_fail_memory(err, "an XML parser");
	if (reading->is_too_deep)
		return kp_fail(err, KEEP_INVALID, "%s: elements are nested more than %d deep", what,
			       KP_XML_DEPTH_MAX);
	if (reading->has_document_type)
		return kp_fail(err, KEEP_INVALID, "%s: a document type is not taken", what);
	return kp_fail(err, KEEP_INVALID, "%s: is not well-formed XML at byte %ld: %s", what,
		       at > 0 ? at : 0, XML_ErrorString(fault));
}

keep_status kp_xml_check_fragment(const char *what, keep_bytes fragment, keep_error *err)
{
	static const XML_Memory_Handling_Suite memory = {kp_alloc, kp_realloc, kp_free};
	struct reading reading = {.depth = 0};
	keep_status status = KEEP_OK;
	bool is_whole;

	if (fragment.len > KP_XML_FRAGMENT_MAX)
		return kp_fail(err, KEEP_FULL, "%s: %zu bytes, the limit is %d", what, fragment.len,
			       KP_XML_FRAGMENT_MAX);
	if (!kp_xml_is_text(fragment))
		return kp_fail(err, KEEP_INVALID, "%s: has a character that XML cannot hold", what);
	reading.parser = XML_ParserCreate_MM("UTF-8", &memory, NULL);
	if (!reading.parser)
		return kp_fail_memory(err, "an XML parser");
	XML_SetUserData(reading.parser, &reading);
	XML_SetElementHandler(reading.parser, begin_element, end_element);
	XML_SetStartDoctypeDeclHandler(reading.parser, begin_document_type);
	is_whole = feed(&reading, keep_bytes_of(opening), false) &&
		   feed(&reading, fragment, false) && feed(&reading, keep_bytes_of(closing), true);
	if (!is_whole)
		status = tell_fault(&reading, what, err);
	XML_ParserFree(reading.parser);
	return status;
}

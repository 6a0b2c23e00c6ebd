/*
 * s3_xml.c - the XML of S3's answers, read by expat.
 *
 * Invariants:
 *   1. An answer is not trusted: no document type (so no entities), at most DEPTH_MAX levels, texts
 *      and paths of bounded length, and what it needs comes from kp_alloc.
 *   2. Each element's text is told once, when it ends, in the order of the document.
 *
 * What it does not do: namespaces; a prefix is cut off, since servers differ in them.
 *
 * Tests: tests/unit/test_s3_answer.c.
 */
#include "backup/s3_private.h"

#include <expat.h>

#include <string.h>

#define DEPTH_MAX 16
#define PATH_SIZE 512
#define TEXT_MAX ((size_t)16 << 10)

struct reading {
	XML_Parser parser;
	char path[PATH_SIZE];
	size_t len, depth;
	keep_buffer text;
	bool is_leaf; /* no element ended since the innermost one began */
	kp_s3_xml_each *each;
	void *ctx;
	keep_status status;
	keep_error error;
};

static void stop(struct reading *reading, keep_status status)
{
	if (reading->status != KEEP_OK || status == KEEP_OK)
		return;
	reading->status = status;
	XML_StopParser(reading->parser, XML_FALSE);
}

static void begin_element(void *ctx, const XML_Char *name, const XML_Char **attributes)
{
	struct reading *reading = ctx;
	const char *colon = strrchr(name, ':');
	size_t len;

	(void)attributes;
	name = colon ? colon + 1 : name;
	len = strlen(name);
	if (reading->depth == DEPTH_MAX || reading->len + len + 2 > sizeof reading->path) {
		stop(reading, kp_fail(&reading->error, KEEP_UNAVAILABLE,
				      "the server's answer is nested too deep"));
		return;
	}
	reading->path[reading->len++] = '/';
	memcpy(reading->path + reading->len, name, len + 1);
	reading->len += len;
	reading->depth++;
	reading->text.len = 0;
	reading->is_leaf = true;
}

static void end_element(void *ctx, const XML_Char *name)
{
	struct reading *reading = ctx;
	keep_bytes text = reading->is_leaf ? kp_buffer_bytes(&reading->text) : KEEP_BYTES("");

	(void)name;
	if (reading->status != KEEP_OK)
		return;
	stop(reading, reading->each(reading->ctx, reading->path, text, &reading->error));
	while (reading->len > 0 && reading->path[--reading->len] != '/')
		;
	reading->path[reading->len] = '\0';
	reading->depth--;
	reading->is_leaf = false;
	reading->text.len = 0;
}

static void take_text(void *ctx, const XML_Char *text, int len)
{
	struct reading *reading = ctx;

	if (reading->status != KEEP_OK || !reading->is_leaf)
		return;
	if (reading->text.len + (size_t)len > TEXT_MAX) {
		stop(reading, kp_fail(&reading->error, KEEP_UNAVAILABLE,
				      "the server's answer has a text that is too long"));
		return;
	}
	stop(reading,
	     kp_buffer_append(&reading->text, (keep_bytes){text, (size_t)len}, &reading->error));
}

static void refuse_document_type(void *ctx, const XML_Char *name, const XML_Char *system,
				 const XML_Char *public, int has_subset)
{
	struct reading *reading = ctx;

	(void)name, (void)system, (void)public, (void)has_subset;
	stop(reading,
	     kp_fail(&reading->error, KEEP_UNAVAILABLE, "the server's answer has a document type"));
}

keep_status kp_s3_xml_read(keep_bytes xml, kp_s3_xml_each *each, void *ctx, keep_error *err)
{
	static const XML_Memory_Handling_Suite memory = {kp_alloc, kp_realloc, kp_free};
	struct reading reading = {.each = each, .ctx = ctx};
	enum XML_Status parsed = XML_STATUS_ERROR;

	reading.parser = XML_ParserCreate_MM("UTF-8", &memory, NULL);
	if (!reading.parser)
		return kp_fail_memory(err, "an XML parser");
	XML_SetUserData(reading.parser, &reading);
	XML_SetElementHandler(reading.parser, begin_element, end_element);
	XML_SetCharacterDataHandler(reading.parser, take_text);
	XML_SetStartDoctypeDeclHandler(reading.parser, refuse_document_type);
	if (xml.len <= KP_S3_ANSWER_BYTES_MAX)
		parsed = XML_Parse(reading.parser, xml.data, (int)xml.len, XML_TRUE);
	if (reading.status == KEEP_OK && parsed != XML_STATUS_OK) {
		if (XML_GetErrorCode(reading.parser) == XML_ERROR_NO_MEMORY)
			reading.status = kp_fail_memory(&reading.error, "an XML parser");
		else
			reading.status = kp_fail(&reading.error, KEEP_UNAVAILABLE,
						 "the server's answer is not the XML of S3");
	}
	XML_ParserFree(reading.parser);
	keep_buffer_release(&reading.text);
	if (reading.status != KEEP_OK && err)
		*err = reading.error;
	return reading.status;
}

struct search {
	const char *path;
	char *out;
	size_t size;
	bool is_found;
};

static keep_status find_path(void *ctx, const char *path, keep_bytes text, keep_error *err)
{
	struct search *search = ctx;

	(void)err;
	if (search->is_found || strcmp(path, search->path) != 0)
		return KEEP_OK;
	search->is_found = true;
	if (text.len >= search->size)
		return KEEP_OK;
	memcpy(search->out, text.data, text.len);
	search->out[text.len] = '\0';
	return KEEP_OK;
}

keep_status kp_s3_xml_find(keep_bytes xml, const char *path, char *out, size_t size,
			   keep_error *err)
{
	struct search search = {.path = path, .out = out, .size = size};

	out[0] = '\0';
	return kp_s3_xml_read(xml, find_path, &search, err);
}

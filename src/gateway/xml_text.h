#ifndef KP_XML_TEXT_H
#define KP_XML_TEXT_H
/*
 * xml_text.h - text that goes into XML 1.0, and fragments of XML that are taken from outside.
 *
 * Threads: no state; any thread.
 */
#include "core/core.h"

#define KP_XML_DEPTH_MAX 64 /* elements within elements of a fragment */

/* Valid UTF-8 of characters that XML 1.0 can hold: no control characters but tab, line feed and
   carriage return, no U+FFFE and U+FFFF. Absent is not. */
bool kp_xml_is_text(keep_bytes text);
/* A Name of XML 1.0 without a colon, which would be a namespace's prefix. */
bool kp_xml_is_name(keep_bytes name);

/* Append `text` as an element's content, or as an attribute's value without its quotes: a parser
   gives back the same characters. What XML cannot hold becomes U+FFFD. */
keep_status kp_xml_append_content(keep_buffer *out, keep_bytes text,
				  keep_error *err) KEEP_MUST_CHECK;
keep_status kp_xml_append_value(keep_buffer *out, keep_bytes text, keep_error *err) KEEP_MUST_CHECK;

/*
 * May `fragment` stand inside of an element as it is? It is well-formed content: elements, at most
 * KP_XML_DEPTH_MAX deep, text, comments. INVALID, as "<what>: …", for anything else, and for a
 * document type, an XML declaration and every entity but the five of XML itself. FULL: over
 * KP_XML_FRAGMENT_MAX bytes.
 */
#define KP_XML_FRAGMENT_MAX (16 * 1024 * 1024)
keep_status kp_xml_check_fragment(const char *what, keep_bytes fragment,
				  keep_error *err) KEEP_MUST_CHECK;

#endif

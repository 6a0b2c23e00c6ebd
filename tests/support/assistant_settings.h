#ifndef KEEP_ASSISTANT_SETTINGS_H
#define KEEP_ASSISTANT_SETTINGS_H
/* assistant_settings.h - settings in a word or two, for tests of settings and of what is secret. */
#include "assistant_fixture.h"

static inline keep_status try_define(keep_assistant *assistant, const keep_setting *setting)
{
	return keep_assistant_define_setting(assistant, setting, NULL, NULL);
}

/* A setting of that type, with nothing more to it. */
static inline void define(keep_assistant *assistant, const char *key, const char *type,
			  bool is_sensitive)
{
	const keep_setting setting = {.key = keep_bytes_of(key),
				      .value_type = keep_bytes_of(type),
				      .is_sensitive = is_sensitive};
	keep_error err = KEEP_ERROR_INIT;

	OK(keep_assistant_define_setting(assistant, &setting, NULL, &err));
}

static inline keep_status set(keep_assistant *assistant, const char *key, const char *value,
			      keep_error *err)
{
	return keep_assistant_set_setting(assistant, keep_bytes_of(key), keep_bytes_of(value), NULL,
					  err);
}

/* What is read of a setting: "stored:5", "none:". */
static inline const char *get(keep_assistant *assistant, const char *key)
{
	static char text[300];
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_error err = KEEP_ERROR_INIT;
	keep_setting_read read;
	keep_status status = keep_assistant_get_setting(assistant, keep_bytes_of(key), NULL,
							&memory, &read, &err);

	if (status == KEEP_OK)
		(void)snprintf(text, sizeof text, "%s:%.*s", keep_setting_origin_name(read.origin),
			       (int)read.text.len, read.text.data ? read.text.data : "");
	else
		(void)snprintf(text, sizeof text, "%s", keep_status_name(status));
	keep_assistant_wipe(&memory);
	return text;
}

/* The details of the newest entry of the audit log. */
static inline const char *newest_details(void)
{
	return assistant_sql("SELECT CAST(details AS text) FROM audit_log ORDER BY seq DESC "
			     "LIMIT 1");
}

#endif

#ifndef KEEP_ASSISTANT_KEYS_H
#define KEEP_ASSISTANT_KEYS_H
/* assistant_keys.h - stores that are opened with this key or that one, and credentials in them. */
#include "assistant_fixture.h"

#define KEY_A "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=" /* assistant_fresh's */
#define KEY_B "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define KEY_C "HxwdHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA="
#define KEY_D "cnJycnJycnJycnJycnJycnJycnJycnJycnJycnJycnI="

/* The last fresh store with those keys (NULL: without any); what opening says. */
static inline keep_status open_keys(const char *keys, keep_assistant **out, keep_error *err)
{
	keep_assistant_options options = KEEP_ASSISTANT_OPTIONS_INIT;

	options.keys = keys;
	options.without_keys = !keys;
	options.timeout_ms = 20000;
	return assistant_open_with(&options, out, err);
}

static inline keep_status put_secret(keep_assistant *assistant, const char *service,
				     const char *data, keep_error *err)
{
	return keep_assistant_put_credential(assistant, keep_bytes_of(service),
					     KEEP_BYTES("api_key"), keep_bytes_of(data), 0, NULL,
					     err);
}

/* A credential's data, or the name of the status. */
static inline const char *get_secret(keep_assistant *assistant, const char *service)
{
	static char text[200];
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_credential credential;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = keep_assistant_get_credential(assistant, keep_bytes_of(service), NULL,
							   KEEP_NOW, &memory, &credential, &err);

	if (status == KEEP_OK)
		(void)snprintf(text, sizeof text, "%.*s", (int)credential.data.len,
			       credential.data.data);
	else
		(void)snprintf(text, sizeof text, "%s", keep_status_name(status));
	keep_assistant_wipe(&memory);
	return text;
}

#endif

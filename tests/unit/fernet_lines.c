/*
 * fernet_lines.c - Fernet by lines, for test_fernet_python.py: each line of stdin is a request of
 * blank-separated words and gets one line of answer.
 *
 *     encrypt KEYS SECONDS HEX      a token
 *     decrypt KEYS SECONDS TTL TOKEN    "KEY-INDEX HEX", or a status; a TTL of -1 is none
 *     key                           a new key
 *
 * HEX of no bytes is "-".
 */
#include "vault/vault.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES (4 << 20)

static char line[LINE_MAX_BYTES], bytes[LINE_MAX_BYTES / 2];

static size_t read_hex(const char *hex)
{
	size_t len = strcmp(hex, "-") == 0 ? 0 : strlen(hex) / 2;

	for (size_t i = 0; i < len; i++)
		bytes[i] = (char)(kp_hex_digit(hex[2 * i]) << 4 | kp_hex_digit(hex[2 * i + 1]));
	return len;
}

static int64_t milliseconds(const char *seconds)
{
	int64_t value = strtoll(seconds, NULL, 10);

	return value < 0 ? value : value * 1000;
}

static void answer_encrypt(const kp_keyring *ring, char *const words[])
{
	keep_buffer token = KEEP_BUFFER_INIT;
	keep_status status =
		kp_fernet_encrypt(ring, milliseconds(words[2]),
				  (keep_bytes){bytes, read_hex(words[3])}, &token, NULL);

	puts(status == KEEP_OK ? token.data : keep_status_name(status));
	keep_buffer_release(&token);
}

static void answer_decrypt(const kp_keyring *ring, char *const words[])
{
	keep_buffer plain = KEEP_BUFFER_INIT;
	size_t index = 0;
	keep_status status =
		kp_fernet_decrypt(ring, keep_bytes_of(words[4]), milliseconds(words[3]),
				  milliseconds(words[2]), &plain, &index, NULL);

	if (status == KEEP_OK) {
		printf("%zu ", index);
		for (size_t i = 0; i < plain.len; i++)
			printf("%02x", (unsigned char)plain.data[i]);
		puts(plain.len ? "" : "-");
	} else {
		puts(keep_status_name(status));
	}
	kp_secret_release(&plain);
}

static void answer(char *const words[], size_t count)
{
	kp_keyring *ring = NULL;
	char key[KP_KEY_TEXT_SIZE];
	keep_status status;

	if (count == 1) {
		status = kp_key_make(key, NULL);
		puts(status == KEEP_OK ? key : keep_status_name(status));
		return;
	}
	status = kp_keyring_open(keep_bytes_of(words[1]), &ring, NULL);
	if (status != KEEP_OK)
		puts(keep_status_name(status));
	else if (strcmp(words[0], "encrypt") == 0 && count == 4)
		answer_encrypt(ring, words);
	else if (strcmp(words[0], "decrypt") == 0 && count == 5)
		answer_decrypt(ring, words);
	else
		puts("what?");
	kp_keyring_close(&ring);
}

int main(void)
{
	while (fgets(line, sizeof line, stdin)) {
		char *words[5];
		size_t count = 0;

		for (char *word = strtok(line, " \n"); word && count < KP_COUNT(words);
		     word = strtok(NULL, " \n"))
			words[count++] = word;
		if (count > 0)
			answer(words, count);
		fflush(stdout);
	}
	return kp_alloc_live() == 0 ? 0 : 1;
}

/*
 * redact.c - secrets in details that a caller wrote: found by the names of members.
 *
 * A name is cut into words: at whatever is no letter or digit, between a small letter and a capital
 * (apiKey), before the last capital of a run of them (APIKey), and between letters and digits. What
 * its last words are decides, as in English: an access_token is a token, and a token_count is a
 * count. Words behind them that only say which form a secret has are passed over: password_hash,
 * token_value, privateKeyPem.
 *
 * Invariants:
 *   1. Whole words: "author", "authored_by", "tokenizer" and "secretary" hold no secret.
 *   2. What is replaced is the whole value, whatever its kind, with everything in it. A number of
 *      "tokens" is the only exception: it counts something.
 *   3. Every byte beside those values stays: order, blanks, numbers as they were written.
 *   4. Names are compared as they are decoded, so an escape hides nothing. Time is linear.
 *
 * What it does not do: look into values. A secret in a text under a harmless name stays.
 *
 * Tests: tests/unit/test_audit_redact.c.
 */
#include "audit/audit.h"

#include <string.h>

#define MASK "\"***\""

enum { WORDS_MAX = 4, WORD_SIZE = 24 };

/* The last words of a name, in small letters, the last one first. One that is longer than
   WORD_SIZE is no word of ours; it stays empty. */
struct words {
	char items[WORDS_MAX][WORD_SIZE];
	size_t count;
};

/* Secrets by themselves. */
static const char *const nouns[] = {
	"password",      "passwords",    "passwd",        "pwd",         "passphrase",
	"passphrases",   "passcode",     "passkey",       "secret",      "secrets",
	"token",         "tokens",       "apikey",        "apikeys",     "authorization",
	"authorisation", "auth",         "credential",    "credentials", "cookie",
	"cookies",       "bearer",       "jwt",           "otp",         "accesstoken",
	"refreshtoken",  "authtoken",    "apitoken",      "idtoken",     "bearertoken",
	"sessiontoken",  "clientsecret", "appsecret",     "apisecret",   "secretkey",
	"privatekey",    "accesskey",    "encryptionkey", "signingkey",  "masterkey",
};

/* A key is a secret when it is one of these. */
static const char *const key_kinds[] = {
	"api",     "private", "secret",  "access",  "encryption", "signing", "master", "fernet",
	"session", "shared",  "account", "license", "ssh",        "aes",     "hmac",
};

/* They say what form it has. */
static const char *const forms[] = {
	"value",  "data",         "text",    "string",    "raw",   "plain", "plaintext",
	"header", "hash",         "digest",  "pem",       "der",   "base",  "sha",
	"md",     "bcrypt",       "hex",     "encrypted", "old",   "new",   "current",
	"json",   "confirmation", "confirm", "repeat",    "again",
};

static bool is_in(const char *word, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(word, list[i]) == 0)
			return true;
	return false;
}

/* ---------------------------------------------------------------- names */

enum letter { OTHER, SMALL, CAPITAL, DIGIT };

/* Bytes beyond ASCII are letters of some word, and of none of ours. */
static enum letter letter_of(char byte)
{
	if (byte >= 'a' && byte <= 'z')
		return SMALL;
	if (byte >= 'A' && byte <= 'Z')
		return CAPITAL;
	if (byte >= '0' && byte <= '9')
		return DIGIT;
	return (unsigned char)byte >= 0x80 ? SMALL : OTHER;
}

/* Does a new word begin at `at`, which is no OTHER, though what is before it is none either? */
static bool begins_within(keep_bytes name, size_t at)
{
	enum letter before = letter_of(name.data[at - 1]), here = letter_of(name.data[at]);
	enum letter next = at + 1 < name.len ? letter_of(name.data[at + 1]) : OTHER;

	if ((before == DIGIT) != (here == DIGIT))
		return true;
	return here == CAPITAL && (before == SMALL || next == SMALL);
}

static void keep_word(struct words *words, keep_bytes name, size_t begin, size_t end)
{
	char *word = words->items[words->count++];
	size_t len = end - begin;

	word[0] = '\0';
	if (len >= WORD_SIZE)
		return;
	for (size_t i = 0; i < len; i++)
		word[i] = (char)(letter_of(name.data[begin + i]) == CAPITAL
					 ? name.data[begin + i] - 'A' + 'a'
					 : name.data[begin + i]);
	word[len] = '\0';
}

/* Words that tell a form, and numbers, are no last ones. */
static bool is_form(const struct words *words)
{
	const char *word = words->items[words->count - 1];

	return (word[0] >= '0' && word[0] <= '9') || is_in(word, forms, KP_COUNT(forms));
}

static void read_words(keep_bytes name, struct words *words)
{
	size_t end = name.len;

	words->count = 0;
	while (words->count < WORDS_MAX) {
		size_t begin;

		while (end > 0 && letter_of(name.data[end - 1]) == OTHER)
			end--;
		if (!end)
			return;
		begin = end - 1;
		while (begin > 0 && letter_of(name.data[begin - 1]) != OTHER &&
		       !begins_within(name, begin))
			begin--;
		keep_word(words, name, begin, end);
		/* A name that is a form and nothing else stays one. */
		if (words->count == 1 && begin > 0 && is_form(words))
			words->count = 0;
		end = begin;
	}
}

static bool is_counted(const struct words *words)
{
	return words->count && strcmp(words->items[0], "tokens") == 0;
}

static bool is_secret(const struct words *words)
{
	const char *last = words->count ? words->items[0] : "";
	const char *before = words->count > 1 ? words->items[1] : "";

	if (is_in(last, nouns, KP_COUNT(nouns)))
		return true;
	/* "pass word", "PassWord" */
	if (strcmp(before, "pass") == 0)
		return strcmp(last, "word") == 0 || strcmp(last, "phrase") == 0 ||
		       strcmp(last, "code") == 0;
	return (strcmp(last, "key") == 0 || strcmp(last, "keys") == 0) &&
	       is_in(before, key_kinds, KP_COUNT(key_kinds));
}

bool kp_audit_is_secret_name(keep_bytes name)
{
	struct words words;

	read_words(name, &words);
	return is_secret(&words);
}

/* ---------------------------------------------------------------- values */

struct redaction {
	keep_bytes json;
	size_t at; /* so far it was copied */
	keep_buffer *out;
	bool changed;
};

static keep_status mask_value(struct redaction *redaction, const kp_json *value, keep_error *err)
{
	size_t begin = (size_t)(value->raw.data - redaction->json.data);
	keep_bytes before = {redaction->json.data + redaction->at, begin - redaction->at};
	keep_status status = kp_buffer_append(redaction->out, before, err);

	if (status == KEEP_OK)
		status = kp_buffer_append(redaction->out, KEEP_BYTES(MASK), err);
	redaction->at = begin + value->raw.len;
	redaction->changed = true;
	return status;
}

static bool is_masked(const kp_json *value)
{
	struct words words;

	if (!value->name.data)
		return false;
	read_words(value->name, &words);
	if (!is_secret(&words))
		return false;
	/* Invariant 2. */
	return !is_counted(&words) ||
	       (value->kind != KP_JSON_INTEGER && value->kind != KP_JSON_REAL);
}

/* The reader bounds how deep it goes: KP_JSON_DEPTH_MAX. */
static keep_status redact_value(struct redaction *redaction, const kp_json *value, keep_error *err)
{
	keep_status status = KEEP_OK;

	if (is_masked(value))
		return mask_value(redaction, value, err);
	if (value->kind != KP_JSON_ARRAY && value->kind != KP_JSON_OBJECT)
		return KEEP_OK;
	for (size_t i = 0; i < value->list.count && status == KEEP_OK; i++)
		status = redact_value(redaction, &value->list.items[i], err);
	return status;
}

keep_status kp_audit_redact(keep_bytes json, keep_buffer *out, bool *changed, keep_error *err)
{
	struct redaction redaction = {.json = json, .out = out};
	kp_arena arena = {.head = NULL};
	const kp_json *value = NULL;
	keep_status status = kp_json_parse(json, &arena, &value, err);

	*changed = false;
	if (status == KEEP_OK)
		status = keep_buffer_set(out, KEEP_BYTES(""), err);
	if (status == KEEP_OK)
		status = redact_value(&redaction, value, err);
	if (status == KEEP_OK && redaction.changed)
		status = kp_buffer_append(
			out, (keep_bytes){json.data + redaction.at, json.len - redaction.at}, err);
	*changed = status == KEEP_OK && redaction.changed;
	kp_arena_release(&arena);
	return status;
}

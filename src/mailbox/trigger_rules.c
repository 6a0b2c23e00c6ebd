/*
 * trigger_rules.c - does a wiring take a message?
 *
 * A wiring's trigger_rules are an object of up to five rules:
 *
 *     pattern          an expression (docs/routing.md) that the text must match
 *     mentionOnly      true: the message must mention the agent
 *     requiresTrigger  true: the pattern or a mention, one of both; false: the pattern stops nobody
 *     includeSenders   only these
 *     excludeSenders   not these
 *
 * Then the response_scope: `triggered` wants the pattern or a mention, `allowlisted` a sender that
 * includeSenders names. Every rule that is there must hold; they are asked in the order of what
 * they cost.
 *
 * Of a content they read `text`, `senderId` (a text or an integer; else author.userId) and
 * `isMention`. A content that is no object has none of them: it has the empty text, and a sender
 * that no list names.
 *
 * Invariants:
 *   1. Parsing is strict: an unknown rule, or one of another type, is INVALID, and the message
 * names every such rule, never its value.
 *   2. One message and one pattern cost at most KP_PATTERN_STEPS, whatever both are; a pattern
 * whose steps ran out does not match, and the reason says so. Each wiring has that many of its own.
 *   3. The cache compares whole texts, so that it needs no telling when rules change. What was
 * taken stays whole until it is given back. It holds at most SLOTS texts of TEXT_MAX bytes.
 *
 * What it does not do: know the database.
 *
 * Tests: tests/contract/test_mailbox_routing.c.
 */
#include "mailbox/registry_private.h"

#include <stdio.h>

/* ---------------------------------------------------------------- parsing */

/* What is wrong with rules, one after the other. */
struct faults {
	keep_buffer text;
	keep_status status; /* of writing it */
};

static void tell_fault(struct faults *faults, const kp_json *rule, const char *what)
{
	size_t len = rule->name.len < 40 ? rule->name.len : 40;

	if (faults->status == KEEP_OK && faults->text.len < 200)
		faults->status = kp_buffer_append_format(&faults->text, NULL, "%s'%.*s' %s",
							 faults->text.len ? ", " : "", (int)len,
							 rule->name.data, what);
}

static void read_pattern(const kp_json *rule, kp_arena *arena, kp_trigger_rules *out,
			 struct faults *faults)
{
	keep_error why = KEEP_ERROR_INIT;
	keep_status status;

	if (rule->kind != KP_JSON_TEXT || !rule->text.len) {
		tell_fault(faults, rule, "must be a text that is not empty");
		return;
	}
	status = kp_pattern_compile(rule->text, arena, &out->pattern, NULL, &why);
	if (status == KEEP_INVALID) {
		const char *at =
			strncmp(why.message, "match: ", 7) == 0 ? why.message + 7 : why.message;
		char text[sizeof why.message + 32];

		snprintf(text, sizeof text, "does not compile: %s", at);
		tell_fault(faults, rule, text);
	} else if (status != KEEP_OK && faults->status == KEEP_OK) {
		faults->status = status;
	}
}

static bool read_bool(const kp_json *rule, bool *out, struct faults *faults)
{
	if (rule->kind == KP_JSON_BOOL)
		*out = rule->boolean;
	else
		tell_fault(faults, rule, "must be true or false");
	return rule->kind == KP_JSON_BOOL;
}

static void read_senders(const kp_json *rule, const kp_json **out, struct faults *faults)
{
	bool is_list = rule->kind == KP_JSON_ARRAY;

	for (size_t i = 0; is_list && i < rule->list.count; i++)
		is_list = rule->list.items[i].kind == KP_JSON_TEXT;
	if (is_list)
		*out = rule;
	else
		tell_fault(faults, rule, "must be a list of texts");
}

static void read_rule(const kp_json *rule, kp_arena *arena, kp_trigger_rules *out,
		      struct faults *faults)
{
	if (kp_bytes_equal(rule->name, KEEP_BYTES("pattern")))
		read_pattern(rule, arena, out, faults);
	else if (kp_bytes_equal(rule->name, KEEP_BYTES("mentionOnly")))
		(void)read_bool(rule, &out->mention_only, faults);
	else if (kp_bytes_equal(rule->name, KEEP_BYTES("requiresTrigger")))
		out->has_requires_trigger = read_bool(rule, &out->requires_trigger, faults);
	else if (kp_bytes_equal(rule->name, KEEP_BYTES("includeSenders")))
		read_senders(rule, &out->include, faults);
	else if (kp_bytes_equal(rule->name, KEEP_BYTES("excludeSenders")))
		read_senders(rule, &out->exclude, faults);
	else
		tell_fault(faults, rule, "is no rule");
}

keep_status kp_trigger_rules_parse(keep_bytes text, kp_arena *arena, kp_trigger_rules *out,
				   keep_error *err)
{
	struct faults faults = {.text = KEEP_BUFFER_INIT};
	const kp_json *rules = NULL;
	keep_status status;

	*out = (kp_trigger_rules){.pattern = NULL};
	if (!text.data)
		return KEEP_OK;
	if (text.len > KP_TRIGGER_RULES_MAX)
		return kp_fail(err, KEEP_FULL, "trigger_rules: %zu bytes, the limit is %d",
			       text.len, KP_TRIGGER_RULES_MAX);
	/* the patterns and lists borrow from it */
	status = kp_arena_copy(arena, text, &text, err);
	if (status == KEEP_OK)
		status = kp_check_json("trigger_rules", text, KP_JSON_OBJECT, err);
	if (status == KEEP_OK)
		status = kp_json_parse(text, arena, &rules, err);
	for (size_t i = 0; status == KEEP_OK && i < rules->list.count; i++)
		read_rule(&rules->list.items[i], arena, out, &faults);
	if (status == KEEP_OK && faults.status != KEEP_OK)
		status = kp_fail_memory(err, "trigger_rules");
	if (status == KEEP_OK && faults.text.len)
		status = kp_fail(err, KEEP_INVALID, "trigger_rules: %.*s", (int)faults.text.len,
				 faults.text.data);
	keep_buffer_release(&faults.text);
	return status;
}

/* ---------------------------------------------------------------- a message */

static keep_bytes read_sender(const kp_json *content)
{
	const kp_json *sender = kp_json_member(content, "senderId");

	if (!sender || (sender->kind != KP_JSON_TEXT && sender->kind != KP_JSON_INTEGER))
		sender = kp_json_member(kp_json_member(content, "author"), "userId");
	if (sender && sender->kind == KP_JSON_TEXT)
		return sender->text;
	if (sender && sender->kind == KP_JSON_INTEGER)
		return sender->raw;
	return (keep_bytes){.data = NULL};
}

keep_status kp_trigger_message_init(kp_trigger_message *message, keep_bytes content,
				    kp_arena *arena, keep_error *err)
{
	const kp_json *value = NULL, *text, *mention;
	keep_status status = KEEP_OK;

	*message = (kp_trigger_message){.text = KEEP_BYTES("")};
	if (!content.data)
		return kp_fail(err, KEEP_INVALID, "content: is missing");
	status = kp_check_content("content", content, err);
	if (status == KEEP_OK) {
		status = kp_json_parse(content, arena, &value, err);
		if (status == KEEP_INVALID)
			status = kp_prefix(err, status, "content");
	}
	if (status != KEEP_OK)
		return status;
	text = kp_json_member(value, "text");
	mention = kp_json_member(value, "isMention");
	if (text && text->kind == KP_JSON_TEXT)
		message->text = text->text;
	message->is_mention = mention && mention->kind == KP_JSON_BOOL && mention->boolean;
	message->sender = read_sender(value);
	return KEEP_OK;
}

void kp_trigger_message_release(kp_trigger_message *message)
{
	kp_pattern_room_release(&message->room);
}

/* ---------------------------------------------------------------- does it take it? */

static bool has_sender(const kp_json *list, keep_bytes sender)
{
	for (size_t i = 0; list && sender.data && i < list->list.count; i++)
		if (kp_bytes_equal(list->list.items[i].text, sender))
			return true;
	return false;
}

/* Invariant 2. */
static keep_status search(const kp_pattern *pattern, kp_trigger_message *message, kp_found *found,
			  keep_error *err)
{
	keep_status status = KEEP_OK;

	*found = KP_FOUND_NOT;
	if (!pattern)
		return KEEP_OK;
	if (!message->room.words)
		status = kp_pattern_room_init(&message->room, err);
	if (status != KEEP_OK)
		return status;
	message->room.steps = KP_PATTERN_STEPS;
	*found = kp_pattern_search(pattern, message->text, &message->room);
	return KEEP_OK;
}

/* Why the sender or the mention alone stops it; NULL: they do not. */
static const char *stopped(const kp_trigger_rules *rules, bool is_allowlisted,
			   const kp_trigger_message *message)
{
	if (has_sender(rules->exclude, message->sender))
		return "excludeSenders names the sender";
	if (rules->include && !has_sender(rules->include, message->sender))
		return "includeSenders does not name the sender";
	if (is_allowlisted && !rules->include)
		return "response_scope is allowlisted, and there are no includeSenders";
	if (rules->mention_only && !message->is_mention)
		return "mentionOnly: the message does not mention the agent";
	return NULL;
}

keep_status kp_trigger_rules_take(const kp_trigger_rules *rules, keep_bytes response_scope,
				  kp_trigger_message *message, bool *takes, const char **reason,
				  keep_error *err)
{
	bool wants_trigger =
		rules->requires_trigger || kp_bytes_equal(response_scope, KEEP_BYTES("triggered"));
	bool wants_pattern = rules->pattern && !rules->has_requires_trigger;
	kp_found found;
	keep_status status;

	*takes = false;
	*reason =
		stopped(rules, kp_bytes_equal(response_scope, KEEP_BYTES("allowlisted")), message);
	if (*reason)
		return KEEP_OK;
	status = search(wants_pattern || wants_trigger ? rules->pattern : NULL, message, &found,
			err);
	if (status != KEEP_OK)
		return status;
	*takes = true;
	if (found == KP_FOUND) {
		*reason = "the pattern matches";
	} else if (wants_trigger && message->is_mention && !wants_pattern) {
		*reason = "the message mentions the agent";
	} else if (wants_pattern || wants_trigger) {
		*takes = false;
		*reason = found == KP_FOUND_BOUND ? "the search for the pattern took too many steps"
			  : rules->pattern        ? "the pattern does not match"
						  : "nothing triggers the agent";
	} else {
		*reason = message->is_mention && rules->mention_only
				  ? "the message mentions the agent"
			  : rules->include ? "includeSenders names the sender"
					   : "no rule is against it";
	}
	return KEEP_OK;
}

/* ---------------------------------------------------------------- compiled ones, kept */

enum { SLOTS = 256, TEXT_MAX = 4096 };

struct kp_trigger_entry {
	atomic_uint owners;
	kp_arena arena;
	keep_bytes text;
	kp_trigger_rules rules;
};

struct kp_trigger_cache {
	pthread_mutex_t lock; /* of the slots */
	unsigned char key[16];
	kp_trigger_entry *slots[SLOTS];
};

keep_status kp_trigger_cache_open(kp_trigger_cache **out, keep_error *err)
{
	kp_trigger_cache *cache = kp_alloc_zero(sizeof *cache);
	keep_status status;

	if (!cache)
		return kp_fail_memory(err, "trigger rules");
	status = kp_random_bytes(cache->key, sizeof cache->key, err);
	if (status != KEEP_OK) {
		kp_free(cache);
		return status;
	}
	pthread_mutex_init(&cache->lock, NULL);
	*out = cache;
	return KEEP_OK;
}

void kp_trigger_cache_close(kp_trigger_cache **cache)
{
	kp_trigger_cache *closing = cache ? *cache : NULL;

	if (!closing)
		return;
	*cache = NULL;
	for (size_t i = 0; i < SLOTS; i++)
		kp_trigger_entry_give_back(&closing->slots[i]);
	pthread_mutex_destroy(&closing->lock);
	kp_free(closing);
}

void kp_trigger_entry_give_back(kp_trigger_entry **entry)
{
	kp_trigger_entry *leaving = *entry;

	*entry = NULL;
	if (!leaving || atomic_fetch_sub_explicit(&leaving->owners, 1, memory_order_acq_rel) != 1)
		return;
	kp_arena_release(&leaving->arena);
	kp_free(leaving);
}

const kp_trigger_rules *kp_trigger_entry_rules(const kp_trigger_entry *entry)
{
	return &entry->rules;
}

static keep_status compile(keep_bytes text, kp_trigger_entry **out, keep_error *err)
{
	kp_trigger_entry *entry = kp_alloc_zero(sizeof *entry);
	keep_status status;

	if (!entry)
		return kp_fail_memory(err, "trigger rules");
	atomic_init(&entry->owners, 1);
	status = kp_arena_copy(&entry->arena, text, &entry->text, err);
	if (status == KEEP_OK)
		status = kp_trigger_rules_parse(text, &entry->arena, &entry->rules, err);
	if (status == KEEP_OK)
		*out = entry;
	else
		kp_trigger_entry_give_back(&entry);
	return status;
}

keep_status kp_trigger_cache_take(kp_trigger_cache *cache, keep_bytes text, kp_trigger_entry **out,
				  keep_error *err)
{
	kp_trigger_entry **slot = &cache->slots[kp_siphash(cache->key, text) % SLOTS], *old = NULL;
	keep_status status;

	*out = NULL;
	pthread_mutex_lock(&cache->lock);
	if (*slot && kp_bytes_equal((*slot)->text, text)) {
		*out = *slot;
		atomic_fetch_add_explicit(&(*out)->owners, 1, memory_order_relaxed);
	}
	pthread_mutex_unlock(&cache->lock);
	if (*out)
		return KEEP_OK;
	status = compile(text, out, err);
	if (status != KEEP_OK || text.len > TEXT_MAX)
		return status;
	atomic_fetch_add_explicit(&(*out)->owners, 1, memory_order_relaxed);
	pthread_mutex_lock(&cache->lock);
	old = *slot;
	*slot = *out;
	pthread_mutex_unlock(&cache->lock);
	kp_trigger_entry_give_back(&old);
	return KEEP_OK;
}

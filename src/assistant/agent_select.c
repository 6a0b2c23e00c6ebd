/*
 * agent_select.c - who is meant by a text: agents by how many of their intent keywords it has.
 *
 * A keyword is one word or several, and is there when its words are, one after the other, as
 * search's tokens make them of both (case and accents aside): "mail" is not in "mailbox". Each
 * different keyword counts once for an agent, however often the text has it. Of agents with as many
 * the one with the higher priority is first, then the name decides.
 *
 * Invariants:
 *   1. Time is linear in the text, whatever the keywords are: for each number of words that a
 *      keyword has (at most KP_KEYWORD_WORDS_MAX) each run of so many words is hashed, with a
 *      secret key, and looked up. Equal keywords of several agents are one.
 *   2. What another program wrote as keywords and is no array of texts, or too long, means nobody:
 *      it fails no choice.
 *
 * What it does not do: understand. No keyword in the text: the highest priorities are answered,
 * with matches 0.
 *
 * Tests: tests/contract/test_assistant_agents.c.
 */
#include "assistant/assistant_private.h"
#include "search/search.h"

#include <stdlib.h>

/* A keyword that is different from all others. */
struct keyword {
	keep_bytes words; /* normalised, with one blank between two */
	uint64_t hash;
	size_t count; /* of its words */
	bool is_there;
	size_t last_agent; /* whose it was last: an agent's second one of the same is none */
};

/* An agent has a keyword. */
struct meaning {
	size_t agent, keyword;
};

struct choice {
	unsigned char key[16];
	kp_arena arena;
	kp_token_list tokens;
	struct keyword *keywords;
	size_t count, capacity;
	uint32_t *slots; /* a keyword's index and 1; open addressing, never more than half full */
	size_t slot_count;
	struct meaning *meanings;
	size_t meaning_count;
	bool has_length[KP_KEYWORD_WORDS_MAX + 1];
};

/* The slot of these words, or the free one where they belong. */
static uint32_t *find_slot(const struct choice *choice, keep_bytes words, uint64_t hash)
{
	size_t at = (size_t)hash & (choice->slot_count - 1);

	for (;; at = (at + 1) & (choice->slot_count - 1)) {
		uint32_t *slot = &choice->slots[at];
		const struct keyword *keyword = *slot ? &choice->keywords[*slot - 1] : NULL;

		if (!keyword || (keyword->hash == hash && kp_bytes_equal(keyword->words, words)))
			return slot;
	}
}

static keep_status add_keyword(struct choice *choice, keep_bytes text, size_t agent,
			       keep_error *err)
{
	struct keyword *keyword;
	keep_bytes words;
	uint32_t *slot;
	uint64_t hash;
	keep_status status = kp_text_tokens(text, &choice->tokens, err);

	/* Invariant 2. */
	if (status != KEEP_OK || !choice->tokens.count ||
	    choice->tokens.count > KP_KEYWORD_WORDS_MAX)
		return status == KEEP_NO_MEMORY ? status : KEEP_OK;
	words = kp_buffer_bytes(&choice->tokens.text);
	hash = kp_siphash(choice->key, words);
	slot = find_slot(choice, words, hash);
	if (!*slot) {
		status = kp_arena_copy(&choice->arena, words, &words, err);
		if (status != KEEP_OK)
			return status;
		choice->keywords[choice->count] = (struct keyword){
			.words = words, .hash = hash, .count = choice->tokens.count};
		choice->has_length[choice->tokens.count] = true;
		*slot = (uint32_t)++choice->count;
	}
	keyword = &choice->keywords[*slot - 1];
	if (keyword->last_agent != agent + 1)
		choice->meanings[choice->meaning_count++] = (struct meaning){agent, *slot - 1};
	keyword->last_agent = agent + 1;
	return KEEP_OK;
}

/* The arrays of all agents; *count: the texts in them. What cannot be read is NULL. */
static keep_status read_arrays(struct choice *choice, const keep_agent_definition_list *agents,
			       const kp_json **arrays, size_t *count, keep_error *err)
{
	keep_status status = KEEP_OK;

	*count = 0;
	for (size_t i = 0; i < agents->count && status == KEEP_OK; i++) {
		arrays[i] = NULL;
		status = kp_json_parse(agents->items[i].intent_keywords, &choice->arena, &arrays[i],
				       err);
		if (status == KEEP_INVALID ||
		    (status == KEEP_OK && arrays[i]->kind != KP_JSON_ARRAY)) {
			arrays[i] = NULL;
			status = KEEP_OK;
		}
		*count += arrays[i] ? arrays[i]->list.count : 0;
	}
	return status;
}

static keep_status make_room(struct choice *choice, size_t count, keep_error *err)
{
	choice->slot_count = 2;
	while (choice->slot_count < 2 * count + 2)
		choice->slot_count *= 2;
	choice->keywords = kp_arena_alloc(&choice->arena, (count + 1) * sizeof *choice->keywords);
	choice->meanings = kp_arena_alloc(&choice->arena, (count + 1) * sizeof *choice->meanings);
	choice->slots = kp_arena_alloc(&choice->arena, choice->slot_count * sizeof *choice->slots);
	if (!choice->keywords || !choice->meanings || !choice->slots)
		return kp_fail_memory(err, "a choice of agents");
	memset(choice->slots, 0, choice->slot_count * sizeof *choice->slots);
	return KEEP_OK;
}

static keep_status read_keywords(struct choice *choice, const keep_agent_definition_list *agents,
				 keep_error *err)
{
	const kp_json **arrays =
		kp_arena_alloc(&choice->arena, (agents->count + 1) * sizeof *arrays);
	size_t count = 0;
	keep_status status = arrays ? read_arrays(choice, agents, arrays, &count, err)
				    : kp_fail_memory(err, "a choice of agents");

	if (status == KEEP_OK)
		status = make_room(choice, count, err);
	for (size_t i = 0; status == KEEP_OK && i < agents->count; i++)
		for (size_t j = 0; status == KEEP_OK && arrays[i] && j < arrays[i]->list.count; j++)
			if (arrays[i]->list.items[j].kind == KP_JSON_TEXT)
				status = add_keyword(choice, arrays[i]->list.items[j].text, i, err);
	return status;
}

/* Invariant 1. Words that follow each other stand side by side in the normalised text. */
static void find_words(struct choice *choice)
{
	const kp_token_list *list = &choice->tokens;

	for (size_t words = 1; words <= KP_KEYWORD_WORDS_MAX; words++) {
		if (!choice->has_length[words])
			continue;
		for (size_t i = 0; i + words <= list->count; i++) {
			const kp_token *last = &list->items[i + words - 1];
			keep_bytes run = {list->text.data + list->items[i].word,
					  last->word + last->len - list->items[i].word};
			const uint32_t *slot = find_slot(choice, run, kp_siphash(choice->key, run));

			if (*slot)
				choice->keywords[*slot - 1].is_there = true;
		}
	}
}

static int compare_choices(const void *a, const void *b)
{
	const keep_agent_choice *x = a, *y = b;

	if (x->matches != y->matches)
		return x->matches < y->matches ? 1 : -1;
	if (x->agent.priority != y->agent.priority)
		return x->agent.priority < y->agent.priority ? 1 : -1;
	return kp_bytes_compare(x->agent.name, y->agent.name);
}

static keep_status rank(struct choice *choice, const keep_agent_definition_list *agents,
			keep_bytes text, keep_agent_choice *ranked, keep_error *err)
{
	keep_status status = kp_random_bytes(choice->key, sizeof choice->key, err);

	if (status == KEEP_OK)
		status = read_keywords(choice, agents, err);
	if (status == KEEP_OK)
		status = kp_text_tokens(text, &choice->tokens, err);
	if (status != KEEP_OK)
		return status;
	find_words(choice);
	for (size_t i = 0; i < agents->count; i++)
		ranked[i] = (keep_agent_choice){.agent = agents->items[i]};
	for (size_t i = 0; i < choice->meaning_count; i++)
		ranked[choice->meanings[i].agent].matches +=
			choice->keywords[choice->meanings[i].keyword].is_there;
	qsort(ranked, agents->count, sizeof *ranked, compare_choices);
	return KEEP_OK;
}

keep_status keep_assistant_select_agents(keep_assistant *assistant, keep_bytes text, size_t limit,
					 keep_memory *memory, keep_agent_choices *out,
					 keep_error *err)
{
	struct choice choice = {.count = 0};
	keep_agent_definition_list agents = {NULL, 0};
	keep_agent_choice *ranked = NULL;
	int64_t most = 0;
	keep_status status = kp_check_content("text", kp_text_or(text, ""), err);

	if (status == KEEP_OK)
		status = kp_check_limit(limit, 5, KEEP_ASSISTANT_LIST_MAX, &most, err);
	if (status == KEEP_OK)
		status = keep_assistant_list_agents(assistant, true, memory, &agents, err);
	if (status == KEEP_OK) {
		ranked = kp_arena_alloc(memory, (agents.count + 1) * sizeof *ranked);
		if (!ranked)
			status = kp_fail_memory(err, "a choice of agents");
	}
	if (status == KEEP_OK)
		status = rank(&choice, &agents, text, ranked, err);
	if (status == KEEP_OK) {
		out->items = ranked;
		out->count = agents.count < (size_t)most ? agents.count : (size_t)most;
	}
	kp_token_list_release(&choice.tokens);
	kp_arena_release(&choice.arena);
	return status;
}

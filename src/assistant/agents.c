/*
 * agents.c - agents: what each is for, which tools it has, and which words mean it.
 *
 * A definition is one row under its name. Nine of them are in a new store (defaults.c) and can be
 * had back as they were; the coordinator, which hands work on, is always there and enabled.
 *
 * Invariants:
 *   1. tools and intent_keywords are arrays of texts. Keywords have at most KEYWORDS_BYTES_MAX
 *      bytes in all and KP_KEYWORD_WORDS_MAX words each, and there are at most
 *      KEEP_ASSISTANT_LIST_MAX agents: so choosing among them is bounded (agent_select.c).
 *   2. The coordinator is neither disabled nor removed: CONFLICT, and nothing changes.
 *   3. A change has one entry in the audit log, with the names of the columns that changed and no
 *      text of theirs. What changes nothing has none, and updated_at stays.
 *
 * What it does not do: know which tools there are, or whether a task's agent is defined.
 *
 * Tests: tests/contract/test_assistant_agents.c, tests/torture/test_assistant_audit_faults.c.
 */
#include "assistant/assistant_private.h"
#include "search/search.h"

enum { KEYWORDS_BYTES_MAX = 64 * 1024 };

static const char coordinator[] = "coordinator";

static bool is_coordinator(keep_bytes name)
{
	return kp_bytes_equal(name, keep_bytes_of(coordinator));
}

static keep_status fail_not_found(keep_bytes name, keep_error *err)
{
	return kp_fail(err, KEEP_NOT_FOUND, "agent '%" KP_PRI "': there is none", KP_ARG(name));
}

/* ---------------------------------------------------------------- reading */

keep_status keep_assistant_get_agent(keep_assistant *assistant, keep_bytes name,
				     keep_memory *memory, keep_agent_definition *out,
				     keep_error *err)
{
	keep_agent_definition agent = {.id = 0};
	bool found = false;
	keep_status status = kp_check_key("name", name, err);

	if (status == KEEP_OK)
		status = kp_store_get(&assistant->store, KP_ASSISTANT_GET_AGENT,
				      KP_VALUES(kp_text_value(name)), &kp_agent_definition_record,
				      memory, &agent, &found, err);
	if (status == KEEP_OK && !found)
		status = fail_not_found(name, err);
	if (status == KEEP_OK)
		*out = agent;
	return status;
}

keep_status keep_assistant_list_agents(keep_assistant *assistant, bool only_enabled,
				       keep_memory *memory, keep_agent_definition_list *out,
				       keep_error *err)
{
	return kp_store_list(
		&assistant->store,
		only_enabled ? KP_ASSISTANT_LIST_ENABLED_AGENTS : KP_ASSISTANT_LIST_AGENTS, NULL, 0,
		&kp_agent_definition_record, memory, &out->items, &out->count, err);
}

/* ---------------------------------------------------------------- checks */

/* So many words in the keywords that no text has to be compared with a long one. */
static keep_status check_keyword(keep_bytes text, kp_token_list *tokens, keep_error *err)
{
	keep_status status = kp_text_tokens(text, tokens, err);

	if (status == KEEP_OK && tokens->count > KP_KEYWORD_WORDS_MAX)
		status = kp_fail(err, KEEP_INVALID,
				 "intent_keywords: one of them has more than %d words",
				 KP_KEYWORD_WORDS_MAX);
	return status;
}

static keep_status check_texts(const char *what, keep_bytes json, bool are_keywords,
			       keep_error *err)
{
	kp_token_list tokens = {.count = 0};
	kp_arena arena = {.head = NULL};
	const kp_json *array = NULL;
	keep_status status = kp_check_content(what, json, err);

	if (status == KEEP_OK && are_keywords && json.len > KEYWORDS_BYTES_MAX)
		status =
			kp_fail(err, KEEP_FULL, "%s: more than %d bytes", what, KEYWORDS_BYTES_MAX);
	if (status == KEEP_OK)
		status = kp_check_json(what, json, KP_JSON_ARRAY, err);
	if (status == KEEP_OK)
		status = kp_json_parse(json, &arena, &array, err);
	for (size_t i = 0; status == KEEP_OK && i < array->list.count; i++) {
		const kp_json *item = &array->list.items[i];

		if (item->kind != KP_JSON_TEXT)
			status =
				kp_fail(err, KEEP_INVALID, "%s: an array of texts is needed", what);
		else
			status = kp_check_text(what, item->text, KP_KEY_MAX, KP_NOT_EMPTY, err);
		if (status == KEEP_OK && are_keywords)
			status = check_keyword(item->text, &tokens, err);
	}
	kp_token_list_release(&tokens);
	kp_arena_release(&arena);
	return status;
}

static keep_status check_numbers(const keep_agent_definition *agent, keep_error *err)
{
	if (agent->priority < 1 || agent->priority > 10)
		return kp_fail(err, KEEP_INVALID, "priority: %lld is not 1 to 10",
			       (long long)agent->priority);
	if (is_coordinator(agent->name) && !agent->enabled)
		return kp_fail(err, KEEP_CONFLICT, "agent 'coordinator': it cannot be disabled");
	return KEEP_OK;
}

/* What is absent gets its default. */
static keep_status check_agent(keep_agent_definition *agent, keep_error *err)
{
	keep_status status = kp_check_key("name", agent->name, err);

	agent->display_name = agent->display_name.data ? agent->display_name : agent->name;
	agent->role = kp_text_or(agent->role, "");
	agent->goal = kp_text_or(agent->goal, "");
	agent->backstory = kp_text_or(agent->backstory, "");
	agent->tools = kp_text_or(agent->tools, "[]");
	agent->intent_keywords = kp_text_or(agent->intent_keywords, "[]");
	if (status == KEEP_OK)
		status = kp_check_text("display_name", agent->display_name, KP_KEY_MAX,
				       KP_NOT_EMPTY, err);
	if (status == KEEP_OK)
		status = kp_check_content("role", agent->role, err);
	if (status == KEEP_OK)
		status = kp_check_content("goal", agent->goal, err);
	if (status == KEEP_OK)
		status = kp_check_content("backstory", agent->backstory, err);
	if (status == KEEP_OK)
		status = kp_check_text("category", agent->category, KP_KEY_MAX, KP_MAY_BE_ABSENT,
				       err);
	if (status == KEEP_OK)
		status = check_texts("tools", agent->tools, false, err);
	if (status == KEEP_OK)
		status = check_texts("intent_keywords", agent->intent_keywords, true, err);
	return status == KEEP_OK ? check_numbers(agent, err) : status;
}

/* ---------------------------------------------------------------- changing */

enum agent_step { AGENT_PUT, AGENT_ENABLE, AGENT_REMOVE, AGENT_RESET };

struct agent_change {
	enum agent_step step;
	keep_agent_definition agent; /* put, reset: what it is to be; else its name, and enabled */
	const keep_actor *actor;
};

/* The columns in which two definitions differ, as an array of their names; *count of them. */
static void put_differences(kp_json_writer *writer, const keep_agent_definition *old,
			    const keep_agent_definition *now, size_t *count)
{
	const struct {
		const char *name;
		bool is_same;
	} columns[] = {
		{"display_name", kp_bytes_equal(old->display_name, now->display_name)},
		{"role", kp_bytes_equal(old->role, now->role)},
		{"goal", kp_bytes_equal(old->goal, now->goal)},
		{"backstory", kp_bytes_equal(old->backstory, now->backstory)},
		{"tools", kp_bytes_equal(old->tools, now->tools)},
		{"priority", old->priority == now->priority},
		{"intent_keywords", kp_bytes_equal(old->intent_keywords, now->intent_keywords)},
		{"category", kp_bytes_equal(old->category, now->category)},
		{"enabled", old->enabled == now->enabled},
		{"allow_delegation", old->allow_delegation == now->allow_delegation},
	};

	*count = 0;
	kp_json_open_array(writer);
	for (size_t i = 0; i < KP_COUNT(columns); i++) {
		if (columns[i].is_same)
			continue;
		kp_json_put_text(writer, keep_bytes_of(columns[i].name));
		(*count)++;
	}
	kp_json_close_array(writer);
}

/* {"agent":…} with what changed (old and now), or what it is (old NULL). *changed: whether
   something did. */
static keep_status write_details(const keep_agent_definition *old, const keep_agent_definition *now,
				 keep_buffer *details, bool *changed, keep_error *err)
{
	size_t differences = 1;
	kp_json_writer writer;

	kp_json_begin(&writer, details);
	kp_json_open_object(&writer);
	kp_json_name(&writer, "agent");
	kp_json_put_text(&writer, now->name);
	if (old) {
		kp_json_name(&writer, "changed");
		put_differences(&writer, old, now, &differences);
	}
	kp_json_name(&writer, "enabled");
	kp_json_put_bool(&writer, now->enabled);
	kp_json_name(&writer, "priority");
	kp_json_put_integer(&writer, now->priority);
	kp_json_name(&writer, "allow_delegation");
	kp_json_put_bool(&writer, now->allow_delegation);
	kp_json_close_object(&writer);
	*changed = differences > 0;
	return kp_json_finish(&writer, err);
}

static keep_status store_agent(kp_lease *lease, const keep_agent_definition *agent, bool is_new,
			       keep_error *err)
{
	return kp_lease_run(
		lease, is_new ? KP_ASSISTANT_ADD_AGENT : KP_ASSISTANT_SET_AGENT,
		KP_VALUES(kp_text_value(agent->name), kp_text_value(agent->display_name),
			  kp_text_value(agent->role), kp_text_value(agent->goal),
			  kp_text_value(agent->backstory), kp_json_value(agent->tools),
			  kp_int_value(agent->priority), kp_json_value(agent->intent_keywords),
			  kp_text_value(agent->category), kp_bool_value(agent->enabled),
			  kp_bool_value(agent->allow_delegation), kp_time_value(kp_clock_ms())),
		NULL, err);
}

/* Invariant 1. */
static keep_status check_room(kp_lease *lease, keep_error *err)
{
	int64_t count = 0;
	keep_status status =
		kp_lease_int(lease, KP_ASSISTANT_COUNT_AGENTS, NULL, 0, &count, NULL, err);

	if (status == KEEP_OK && count >= KEEP_ASSISTANT_LIST_MAX)
		status = kp_fail(err, KEEP_FULL, "agents: there are %d already",
				 KEEP_ASSISTANT_LIST_MAX);
	return status;
}

static keep_status write_change(kp_lease *lease, const struct agent_change *change,
				const keep_agent_definition *old, const keep_agent_definition *now,
				keep_error *err)
{
	static const char *const actions[] = {[AGENT_PUT] = "put",
					      [AGENT_ENABLE] = "enable",
					      [AGENT_REMOVE] = "remove",
					      [AGENT_RESET] = "reset"};
	kp_audit_note note = {.event_type = "agent_change",
			      .action = actions[change->step],
			      .actor = change->actor};
	keep_buffer details = KEEP_BUFFER_INIT;
	bool changed = false, removes = change->step == AGENT_REMOVE;
	keep_status status = write_details(removes ? NULL : old, now, &details, &changed, err);

	if (change->step == AGENT_ENABLE && !now->enabled)
		note.action = "disable";
	note.details = kp_buffer_bytes(&details);
	/* Invariant 3. */
	if (status == KEEP_OK && changed && removes)
		status = kp_lease_run(lease, KP_ASSISTANT_REMOVE_AGENT,
				      KP_VALUES(kp_text_value(now->name)), NULL, err);
	else if (status == KEEP_OK && changed)
		status = store_agent(lease, now, !old, err);
	if (status == KEEP_OK && changed)
		status = kp_assistant_note(lease, &note, err);
	keep_buffer_release(&details);
	return status;
}

static keep_status apply_change(void *ctx, kp_lease *lease, keep_error *err)
{
	const struct agent_change *change = ctx;
	keep_agent_definition old = {.id = 0}, now = change->agent;
	bool makes = change->step == AGENT_PUT || change->step == AGENT_RESET, found = false;
	kp_arena arena = {.head = NULL};
	keep_status status = kp_lease_get(lease, KP_ASSISTANT_GET_AGENT,
					  KP_VALUES(kp_text_value(change->agent.name)),
					  &kp_agent_definition_record, &arena, &old, &found, err);

	if (status == KEEP_OK && !found)
		status = makes ? check_room(lease, err) : fail_not_found(change->agent.name, err);
	lease->unchanged = status == KEEP_NOT_FOUND || status == KEEP_FULL;
	if (!makes) {
		now = old;
		now.enabled = change->step == AGENT_ENABLE ? change->agent.enabled : old.enabled;
	}
	if (status == KEEP_OK)
		status = write_change(lease, change, found ? &old : NULL, &now, err);
	kp_arena_release(&arena);
	return status;
}

static keep_status change_agent(keep_assistant *assistant, struct agent_change *change,
				keep_error *err)
{
	keep_status status = kp_check_actor(change->actor, err);

	if (status == KEEP_OK)
		status =
			kp_store_change(&assistant->store, apply_change, change, KP_NEWS_NONE, err);
	return status;
}

keep_status keep_assistant_put_agent(keep_assistant *assistant, const keep_agent_definition *agent,
				     const keep_actor *actor, keep_error *err)
{
	struct agent_change change = {.step = AGENT_PUT, .agent = *agent, .actor = actor};
	keep_status status = check_agent(&change.agent, err);

	return status == KEEP_OK ? change_agent(assistant, &change, err) : status;
}

keep_status keep_assistant_enable_agent(keep_assistant *assistant, keep_bytes name, bool enabled,
					const keep_actor *actor, keep_error *err)
{
	struct agent_change change = {
		.step = AGENT_ENABLE, .agent = {.name = name, .enabled = enabled}, .actor = actor};
	keep_status status = kp_check_key("name", name, err);

	if (status == KEEP_OK && is_coordinator(name) && !enabled)
		status = kp_fail(err, KEEP_CONFLICT, "agent 'coordinator': it cannot be disabled");
	return status == KEEP_OK ? change_agent(assistant, &change, err) : status;
}

keep_status keep_assistant_remove_agent(keep_assistant *assistant, keep_bytes name,
					const keep_actor *actor, keep_error *err)
{
	struct agent_change change = {
		.step = AGENT_REMOVE, .agent = {.name = name}, .actor = actor};
	keep_status status = kp_check_key("name", name, err);

	if (status == KEEP_OK && is_coordinator(name))
		status = kp_fail(err, KEEP_CONFLICT, "agent 'coordinator': it cannot be removed");
	return status == KEEP_OK ? change_agent(assistant, &change, err) : status;
}

keep_status keep_assistant_reset_agent(keep_assistant *assistant, keep_bytes name,
				       const keep_actor *actor, keep_error *err)
{
	struct agent_change change = {.step = AGENT_RESET, .actor = actor};
	keep_status status = kp_check_key("name", name, err);
	size_t i = 0;

	if (status != KEEP_OK)
		return status;
	while (i < kp_default_agent_count() && !kp_bytes_equal(kp_default_agent(i)->name, name))
		i++;
	if (i == kp_default_agent_count())
		return kp_fail(err, KEEP_NOT_FOUND, "agent '%" KP_PRI "': it is not a default one",
			       KP_ARG(name));
	change.agent = *kp_default_agent(i);
	return change_agent(assistant, &change, err);
}

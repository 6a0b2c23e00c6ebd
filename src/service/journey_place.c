/*
 * journey_place.c - which session a message goes to, when the gateway says which folder is to
 * answer.
 *
 * The folder's agent group, the chat and the session are found or made in the mailbox's registry.
 * What was found is remembered by the hash of (folder, chat, topic): a session that is closed or
 * removed meanwhile refuses the post, and then it is forgotten and looked up again.
 *
 * Invariants:
 *   1. Memory is bounded: ENTRIES places, a new one replaces whoever has its slot.
 *   2. What is made is made once: the registry's own rules say so when two hosts do it at once.
 *   3. A folder of several segments ("ops/night") has its slashes written as "..": the mailbox's
 *      folders are one segment. The agent group's name is the folder as the gateway calls it.
 *   4. A task that is isolated has a session of its own, and all its runs that one.
 *
 * What it does not do: wire. Who is wired to a chat is the registry's own business; the session's
 * own chat may always be answered.
 *
 * Tests: tests/contract/test_service_journey.c.
 */
#include "service/journey.h"

#include <stdio.h>
#include <string.h>

enum { ENTRIES = 4096, GROUPS_MAX = 100, PAGE = 200 };

typedef struct place_entry {
	unsigned char hash[KP_SHA256_SIZE];
	char session[KEEP_SEGMENT_MAX + 1]; /* empty: none */
} place_entry;

struct kp_places {
	keep_service *service;
	place_entry entries[ENTRIES];
};

keep_status kp_places_open(keep_service *service, kp_places **out, keep_error *err)
{
	*out = kp_alloc_zero(sizeof **out);
	if (!*out)
		return kp_fail_memory(err, "the router");
	(*out)->service = service;
	return KEEP_OK;
}

void kp_places_close(kp_places **places)
{
	kp_free(*places);
	*places = NULL;
}

void kp_places_forget(kp_places *places)
{
	memset(places->entries, 0, sizeof places->entries);
}

/* ---------------------------------------------------------------- agent groups */

static keep_status write_folder(keep_bytes folder, keep_buffer *out, keep_error *err)
{
	keep_status status = KEEP_OK;

	for (size_t i = 0; i < folder.len && status == KEEP_OK; i++)
		status = folder.data[i] == '/'
				 ? kp_buffer_append_text(out, "..", err)
				 : kp_buffer_append(out, (keep_bytes){folder.data + i, 1}, err);
	return status;
}

static const keep_agent_group *group_of(const keep_agent_group_list *list, keep_bytes folder)
{
	for (size_t i = 0; i < list->count; i++)
		if (kp_bytes_equal(list->items[i].folder, folder))
			return &list->items[i];
	return NULL;
}

/* NOT_FOUND: no agent group has the folder. */
static keep_status find_group(keep_mailbox *mailbox, keep_bytes folder, keep_memory *memory,
			      keep_bytes *id, keep_error *err)
{
	keep_bytes after = {NULL, 0};
	keep_agent_group_list list = {.count = PAGE};
	keep_status status = KEEP_OK;

	while (status == KEEP_OK && list.count == PAGE) {
		const keep_agent_group *found;

		status = keep_mailbox_list_agent_groups(mailbox, after, PAGE, memory, &list, err);
		found = status == KEEP_OK ? group_of(&list, folder) : NULL;
		if (found) {
			*id = found->id;
			return KEEP_OK;
		}
		if (status == KEEP_OK && list.count)
			after = list.items[list.count - 1].id;
	}
	return status == KEEP_OK ? kp_fail(err, KEEP_NOT_FOUND, "no agent has that folder")
				 : status;
}

static keep_status find_or_make_group(kp_places *places, keep_bytes folder, keep_memory *memory,
				      keep_bytes *id, keep_error *err)
{
	keep_mailbox *mailbox = places->service->mailbox;
	keep_buffer segment = KEEP_BUFFER_INIT;
	char made[KEEP_SEGMENT_MAX + 1];
	keep_agent_group group = {.name = folder};
	keep_status status = write_folder(folder, &segment, err);

	group.folder = kp_buffer_bytes(&segment);
	if (status == KEEP_OK)
		status = find_group(mailbox, group.folder, memory, id, err);
	if (status == KEEP_NOT_FOUND) {
		group.id = group.folder;
		status = keep_mailbox_put_agent_group(mailbox, &group, made, err);
		if (status == KEEP_OK)
			status = kp_arena_copy(memory, keep_bytes_of(made), id, err);
	}
	keep_buffer_release(&segment);
	return status;
}

/* ---------------------------------------------------------------- chats */

static keep_status find_or_make_chat(kp_places *places, const keep_message *message,
				     keep_memory *memory, keep_bytes *id, keep_error *err)
{
	keep_mailbox *mailbox = places->service->mailbox;
	keep_messaging_group group = {.id = {NULL, 0}};
	keep_chat chat = {.name = {NULL, 0}};
	char made[KEEP_SEGMENT_MAX + 1];
	keep_bytes channel_type, platform_id;
	keep_status status;

	kp_jid_split(message->chat_jid, message->source, &channel_type, &platform_id);
	status = keep_mailbox_find_messaging_group(mailbox, channel_type, platform_id, memory,
						   &group, err);
	if (status == KEEP_OK)
		*id = group.id;
	if (status != KEEP_NOT_FOUND)
		return status;
	status = keep_gateway_get_chat(places->service->gateway, message->chat_jid, memory, &chat,
				       err);
	if (status != KEEP_OK)
		return status;
	group = (keep_messaging_group){
		.channel_type = channel_type,
		.platform_id = platform_id,
		.name = chat.name.len ? chat.name : (keep_bytes){NULL, 0},
		.is_group = chat.is_group,
	};
	status = keep_mailbox_put_messaging_group(mailbox, &group, made, err);
	return status == KEEP_OK ? kp_arena_copy(memory, keep_bytes_of(made), id, err) : status;
}

/* ---------------------------------------------------------------- sessions */

/* A task that is to have a session of its own says so by its sender (gateway.create_task). */
static bool is_isolated(const keep_message *message)
{
	const keep_bytes prefix = KEEP_BYTES("scheduler-isolated:");

	return kp_bytes_equal(message->source, KEEP_BYTES("scheduler")) &&
	       message->sender.len > prefix.len &&
	       memcmp(message->sender.data, prefix.data, prefix.len) == 0;
}

/* What a session is made for, of its chat; absent: the chat. */
static keep_bytes thread_of(const keep_message *message)
{
	return is_isolated(message) ? message->sender : message->topic;
}

static keep_status find_session(kp_places *places, keep_bytes folder, const keep_message *message,
				char session[KEEP_SEGMENT_MAX + 1], keep_error *err)
{
	keep_memory memory = KEEP_MEMORY_INIT;
	keep_session_place place = {.session_mode = KEEP_BYTES("shared")};
	keep_session found;
	keep_status status =
		find_or_make_group(places, folder, &memory, &place.agent_group_id, err);

	if (status == KEEP_OK)
		status =
			find_or_make_chat(places, message, &memory, &place.messaging_group_id, err);
	if (thread_of(message).len) {
		place.session_mode = KEEP_BYTES("per-thread");
		place.thread_id = thread_of(message);
	}
	if (status == KEEP_OK)
		status = keep_mailbox_resolve_session(places->service->mailbox, &place, KEEP_NOW,
						      &memory, &found, NULL, err);
	if (status == KEEP_OK)
		(void)snprintf(session, KEEP_SEGMENT_MAX + 1, "%" KP_PRI, KP_ARG(found.id));
	keep_memory_release(&memory);
	return status;
}

static keep_status hash_place(keep_bytes folder, const keep_message *message,
			      unsigned char out[KP_SHA256_SIZE], keep_error *err)
{
	keep_buffer text = KEEP_BUFFER_INIT;
	const keep_bytes parts[] = {folder, message->chat_jid, message->source, thread_of(message)};
	keep_status status = kp_buffer_append_format(&text, err, "%zu %zu %zu ", folder.len,
						     message->chat_jid.len, message->source.len);

	if (status == KEEP_OK)
		status = kp_append_all(&text, parts, KP_COUNT(parts), err);
	if (status == KEEP_OK)
		status = kp_sha256(kp_buffer_bytes(&text), out, err);
	keep_buffer_release(&text);
	return status;
}

keep_status kp_places_session(kp_places *places, keep_bytes folder, const keep_message *message,
			      char session[KEEP_SEGMENT_MAX + 1], keep_error *err)
{
	unsigned char hash[KP_SHA256_SIZE];
	place_entry *entry;
	keep_status status = hash_place(folder, message, hash, err);

	if (status != KEEP_OK)
		return status;
	entry = &places->entries[(hash[0] << 8 | hash[1]) % ENTRIES];
	if (entry->session[0] && memcmp(entry->hash, hash, sizeof hash) == 0) {
		memcpy(session, entry->session, sizeof entry->session);
		return KEEP_OK;
	}
	status = find_session(places, folder, message, session, err);
	if (status == KEEP_OK) {
		memcpy(entry->hash, hash, sizeof hash);
		memcpy(entry->session, session, sizeof entry->session);
	}
	return status;
}

/*
 * access_table.c - the operations that an account of some folders may call.
 *
 * One row an operation: the inputs that name somebody's things and how each is judged, the inputs
 * that name nothing, and for lists the member of a row that says whose it is.
 *
 * Invariants:
 *   1. What is not here is for operators alone: an operation that is added is safe until somebody
 *      has thought about it. The same holds for an input that is added to an operation of this
 * table.
 *   2. No operation here reaches beyond what it names: what works on all chats, on routes,
 * consumers, accounts, files of the machine or other stores is not in it.
 *
 * What it does not do: judge (access_judge.c).
 *
 * Tests: tests/contract/test_service_access.c calls every operation there is.
 */
#include "service/access.h"

#include <string.h>

#define MESSAGE                                                                                    \
	"id content sender timestamp verb sender_name topic reply_to_id forwarded_from "           \
	"attachments"
#define POST                                                                                       \
	"content id kind timestamp dedup_key thread_id process_after recurrence time_zone missed " \
	"series_id files"
#define CLAIMS "id attempt claims now_ms"

/* clang-format off */
#define CHAT(name_) {.name = (name_), .kind = KP_JUDGE_CHAT}
#define FOLDER(name_) {.name = (name_), .kind = KP_JUDGE_FOLDER}
#define FOLDER_IF(name_) {.name = (name_), .kind = KP_JUDGE_FOLDER, .may_be_absent = true}
#define TASK(name_) {.name = (name_), .kind = KP_JUDGE_TASK}
#define AGENT(name_) {.name = (name_), .kind = KP_JUDGE_AGENT}
#define AGENT_IF(name_) {.name = (name_), .kind = KP_JUDGE_AGENT, .may_be_absent = true}
#define PLACE(name_) {.name = (name_), .kind = KP_JUDGE_PLACE}
#define PLACE_IF(name_) {.name = (name_), .kind = KP_JUDGE_PLACE, .may_be_absent = true}
#define SESSION {.name = "session", .kind = KP_JUDGE_SESSION}
#define ADDRESS {.name = "channel_type", .kind = KP_JUDGE_ADDRESS}
#define ADDRESS_IF {.name = "channel_type", .kind = KP_JUDGE_ADDRESS, .may_be_absent = true}

static const kp_access_rule rules[] = {
	/* Messages */
	{"gateway", "put_message", {CHAT("chat_jid")}, MESSAGE " source name channel is_group"},
	{"gateway", "put_messages", {{.name = "messages", .kind = KP_JUDGE_MESSAGES}}, ""},
	{"gateway", "put_outbound", {CHAT("chat_jid"), FOLDER_IF("group_folder")},
	 MESSAGE " turn_id"},
	{"gateway", "get_message", {CHAT("jid")}, "id"},
	{"gateway", "messages_since", {CHAT("jid")}, "after_seq since_ms limit"},
	{"gateway", "history", {CHAT("jid")}, "before_seq limit"},
	/* Deliveries: taking them spans chats; reporting does not. */
	{"gateway", "complete_delivery", {CHAT("jid")},
	 "id attempt delivery platform_id error retry_at attempts_max now_ms"},
	{"gateway", "extend_delivery", {CHAT("jid")}, "id attempt lease_ms now_ms"},
	{"gateway", "retry_delivery", {CHAT("jid")}, "id"},
	{"gateway", "failed_deliveries", {{0}}, "status before_ms limit", CHAT("chat_jid")},
	/* Chats */
	{"gateway", "put_chat", {CHAT("jid")}, "name channel is_group"},
	{"gateway", "get_chat", {CHAT("jid")}, ""},
	{"gateway", "list_chats", {{0}}, "after_jid limit", CHAT("jid"), "after_jid", "jid"},
	{"gateway", "active_web_jids", {{0}}, "since_ms", CHAT("jid")},
	{"gateway", "mark_errored", {CHAT("jid")}, ""},
	{"gateway", "clear_errored", {CHAT("jid")}, ""},
	{"gateway", "errored_chats", {{0}}, "limit", CHAT("jid")},
	{"gateway", "set_sticky_group", {CHAT("jid"), FOLDER_IF("folder")}, ""},
	{"gateway", "set_sticky_topic", {CHAT("jid")}, "topic"},
	/* Registered groups, to be read */
	{"gateway", "get_registered_groups", {{0}}, "state", FOLDER("folder")},
	{"gateway", "get_group", {CHAT("jid")}, ""},
	{"gateway", "groups_by_folder", {FOLDER("folder")}, ""},
	/* Agents' sessions, system messages */
	{"gateway", "get_session", {FOLDER("folder")}, "topic"},
	{"gateway", "set_session", {FOLDER("folder")}, "session_id topic"},
	{"gateway", "delete_session", {FOLDER("folder")}, "topic"},
	{"gateway", "list_sessions", {FOLDER("folder")}, "after_topic limit"},
	{"gateway", "session_started", {FOLDER("folder")}, "session_id topic started_at"},
	{"gateway", "recent_sessions", {FOLDER("folder")}, "before_id limit"},
	{"gateway", "enqueue_system_message", {FOLDER("group_id")},
	 "origin event body attributes dedup_key is_xml"},
	{"gateway", "flush_system_messages", {FOLDER("group")}, ""},
	{"gateway", "claim_system_messages", {FOLDER("group")}, "turn_id lease_ms now_ms"},
	{"gateway", "complete_system_messages", {FOLDER("group")}, "turn_id"},
	{"gateway", "release_system_messages", {FOLDER("group")}, "turn_id"},
	/* Tasks */
	{"gateway", "create_task",
	 {FOLDER("owner"), CHAT("chat_jid"),
	  {.name = "id", .kind = KP_JUDGE_NEW_TASK, .may_be_absent = true}},
	 "prompt cron next_run timezone context_mode missed_policy dialect anchor_at grace_ms "
	 "run_all_max"},
	{"gateway", "get_task", {TASK("id")}, ""},
	{"gateway", "list_tasks", {FOLDER_IF("owner")}, "status limit", FOLDER("owner")},
	{"gateway", "pause_task", {TASK("id")}, ""},
	{"gateway", "resume_task", {{.name = "id", .kind = KP_JUDGE_TASK_RUN}}, "now_ms"},
	{"gateway", "cancel_task", {TASK("id")}, ""},
	{"gateway", "run_now", {{.name = "id", .kind = KP_JUDGE_TASK_RUN}}, "now_ms"},
	{"gateway", "report_task_run", {TASK("task_id")}, "scheduled_for duration_ms result error"},
	{"gateway", "task_runs", {TASK("task_id")}, "before_id limit"},
	/* Oneself */
	{"gateway", "get_user", {{.name = "sub", .kind = KP_JUDGE_SUB}}, ""},
	{"gateway", "may_access", {{.name = "sub", .kind = KP_JUDGE_SUB}}, "folder"},
	/* Who serves whom, to be read */
	{"mailbox", "get_agent_group", {AGENT("id")}, ""},
	{"mailbox", "list_agent_groups", {{0}}, "after limit", AGENT("id"), "after", "id"},
	{"mailbox", "get_messaging_group", {PLACE("id")}, ""},
	{"mailbox", "find_messaging_group", {ADDRESS}, "platform_id"},
	{"mailbox", "list_messaging_groups", {{0}}, "after limit", PLACE("id"), "after", "id"},
	{"mailbox", "list_wirings", {PLACE_IF("messaging_group_id"), AGENT_IF("agent_group_id")},
	 "limit", AGENT("agent_group_id")},
	{"mailbox", "list_destinations", {AGENT("agent_group_id")}, "limit"},
	/* Sessions */
	{"mailbox", "resolve_session", {AGENT("agent_group_id"), PLACE_IF("messaging_group_id")},
	 "session_mode thread_id now_ms"},
	{"mailbox", "get_session", {SESSION}, ""},
	{"mailbox", "list_sessions", {AGENT_IF("agent_group_id")}, "status after limit",
	 AGENT("agent_group_id"), "after", "id"},
	{"mailbox", "post", {SESSION, ADDRESS_IF}, POST " platform_id"},
	{"mailbox", "post_many", {SESSION, {.name = "messages", .kind = KP_JUDGE_POSTS}}, ""},
	{"mailbox", "messages", {SESSION}, "status after_seq limit"},
	{"mailbox", "cancel", {SESSION}, "series_id"},
	{"mailbox", "pause", {SESSION}, "series_id"},
	{"mailbox", "resume", {SESSION}, "series_id now_ms"},
	{"mailbox", "update", {SESSION},
	 "series_id content recurrence time_zone process_after now_ms"},
	{"mailbox", "list_series", {SESSION}, "limit"},
	{"mailbox", "outbox_file", {SESSION}, "message_out_id name encoding"},
	{"mailbox", "questions",
	 {{.name = "session", .kind = KP_JUDGE_SESSION, .may_be_absent = true}}, "limit",
	 {.name = "session_id", .kind = KP_JUDGE_SESSION}},
	{"mailbox", "answer", {{.name = "question_id", .kind = KP_JUDGE_QUESTION}},
	 "option user_id now_ms"},
	{"mailbox", "deliveries", {SESSION}, "status after_seq limit"},
	{"mailbox", "trace", {SESSION}, "id now_ms"},
	/* Being the agent of a session */
	{"mailbox", "claim", {SESSION}, "max lease_ms kinds now_ms"},
	{"mailbox", "extend", {SESSION}, CLAIMS " lease_ms"},
	{"mailbox", "complete", {SESSION}, CLAIMS},
	{"mailbox", "fail", {SESSION}, CLAIMS " error"},
	{"mailbox", "release", {SESSION}, CLAIMS},
	{"mailbox", "agent_wait", {SESSION}, "timeout_ms"},
	{"mailbox", "send", {SESSION},
	 "content to in_reply_to id kind deliver_after recurrence files now_ms"},
	{"mailbox", "complete_with", {SESSION}, CLAIMS " replies"},
	{"mailbox", "edit", {SESSION}, "number text now_ms"},
	{"mailbox", "react", {SESSION}, "number emoji now_ms"},
	{"mailbox", "ask", {SESSION}, "question options to now_ms"},
	{"mailbox", "await_answer", {SESSION}, "question_id timeout_ms"},
	{"mailbox", "state_get", {SESSION}, "key"},
	{"mailbox", "state_set", {SESSION}, "key value now_ms"},
	{"mailbox", "state_clear", {SESSION}, "key"},
	{"mailbox", "state_list", {SESSION}, ""},
	{"mailbox", "destinations", {SESSION}, ""},
	{"mailbox", "inbox_file", {SESSION}, "message_id name encoding"},
	{"mailbox", "heartbeat", {SESSION}, "now_ms"},
	{"mailbox", "agent_session", {SESSION}, ""},
};
/* clang-format on */

const kp_access_rule *kp_access_rule_at(size_t index)
{
	return index < KP_COUNT(rules) ? &rules[index] : NULL;
}

const kp_access_rule *kp_access_rule_find(const kp_operation_store *store,
					  const kp_operation *operation)
{
	for (size_t i = 0; i < KP_COUNT(rules); i++)
		if (!strcmp(rules[i].verb, operation->verb) && !strcmp(rules[i].store, store->name))
			return &rules[i];
	return NULL;
}

bool kp_access_rule_has(const kp_access_rule *rule, const char *input)
{
	size_t len = strlen(input);

	for (size_t i = 0; i < KP_JUDGED_MAX; i++)
		if (rule->judged[i].name && !strcmp(rule->judged[i].name, input))
			return true;
	for (const char *at = rule->free; *at;) {
		size_t word = strcspn(at, " ");

		if (word == len && !memcmp(at, input, len))
			return true;
		at += word + (at[word] == ' ');
	}
	return false;
}

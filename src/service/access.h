#ifndef KP_ACCESS_H
#define KP_ACCESS_H
/*
 * access.h - what access.c knows of operations, and how an input is judged.
 *
 *   access.c         a call and its rows
 *   access_table.c   which operations an account of some folders may call at all
 *   access_judge.c   whose folder a chat, a session, a task … is
 *   access_lists.c   lists of which an account sees a part
 */
#include "service/http.h"

/* What an input, or a member of a row, names. */
typedef enum kp_judged_kind {
	KP_JUDGE_NOTHING,
	KP_JUDGE_FOLDER,   /* a folder; empty counts as left out */
	KP_JUDGE_CHAT,     /* a chat's jid */
	KP_JUDGE_MESSAGES, /* an array of objects with chat_jid */
	KP_JUDGE_TASK,     /* a task's id: by its owner */
	KP_JUDGE_TASK_RUN, /* the same, and by the chat that its prompt goes to */
	KP_JUDGE_NEW_TASK, /* an id that is nobody's, or a task's as above */
	KP_JUDGE_SUB,      /* an account: its own */
	KP_JUDGE_AGENT,    /* an agent group's id */
	KP_JUDGE_PLACE,    /* a messaging group's id */
	KP_JUDGE_SESSION,  /* a mailbox session's id */
	KP_JUDGE_QUESTION, /* a pending question's id: by its session */
	KP_JUDGE_ADDRESS,  /* channel_type, and platform_id beside it */
	KP_JUDGE_POSTS     /* an array of objects with such addresses */
} kp_judged_kind;

typedef struct kp_judged {
	const char *name; /* of the input; NULL: no more */
	kp_judged_kind kind;
	bool may_be_absent;
} kp_judged;

#define KP_JUDGED_MAX 3

typedef struct kp_access_rule {
	const char *store, *verb;
	kp_judged judged[KP_JUDGED_MAX];
	const char *free; /* other inputs that may be given, with blanks between */
	kp_judged row;    /* ROWS: the member that says whose a row is; name NULL: all are seen */
	const char *cursor, *cursor_member; /* the input that asks for what follows, and the member
					       of the last row that it takes; NULL: no pages */
} kp_access_rule;

/* NULL: operators alone. */
const kp_access_rule *kp_access_rule_find(const kp_operation_store *store,
					  const kp_operation *operation);
/* Every rule, by index; NULL: there are no more. */
const kp_access_rule *kp_access_rule_at(size_t index);
/* Whether an input of that name is one of the rule's, judged or free. */
bool kp_access_rule_has(const kp_access_rule *rule, const char *input);

/* Does the account's folders cover what `object` has under the name? Absent, or of another kind
   than it should be: no. */
keep_status kp_access_judge(keep_service *service, const keep_access *access,
			    const kp_judged *judged, const kp_json *object, bool *may,
			    keep_error *err) KEEP_MUST_CHECK;
/* Of a chat; `otherwise` is whose folder it is when nobody's (absent: the default agent's, or no).
 */
keep_status kp_access_judge_chat(keep_service *service, const keep_access *access, keep_bytes jid,
				 keep_bytes otherwise, bool *may, keep_error *err) KEEP_MUST_CHECK;

#endif

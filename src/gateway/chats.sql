-- Chats: gateway_chats.c. Messages make and renew them, too: messages.sql.

-- name: put_chat
-- Make or renew a chat; an absent name or channel stays.
INSERT INTO chats (jid, name, channel, is_group)
VALUES ($1, coalesce($2, ''), coalesce($3, $5), $4)
ON CONFLICT (jid) DO UPDATE SET
  name = coalesce($2, chats.name), channel = coalesce($3, chats.channel), is_group = $4;

-- name: make_chat
-- Of what is to be marked there must be a chat.
INSERT INTO chats (jid, channel) VALUES ($1, $2) ON CONFLICT (jid) DO NOTHING;

-- name: set_errored
UPDATE chats SET errored = $2 WHERE jid = $1;

-- name: set_sticky_group
UPDATE chats SET sticky_group = $2 WHERE jid = $1;

-- name: set_sticky_topic
UPDATE chats SET sticky_topic = $2 WHERE jid = $1;

-- name: get_chat
SELECT * FROM chats WHERE jid = $1;

-- name: list_chats
SELECT * FROM chats WHERE jid > $1 ORDER BY jid LIMIT $2;

-- name: errored_chats
SELECT * FROM chats WHERE errored ORDER BY jid LIMIT $1;

-- name: active_web_chats
SELECT * FROM chats
WHERE substr(jid, 1, 4) = 'web:' AND last_message_at > $1
ORDER BY last_message_at DESC, jid DESC LIMIT $2;

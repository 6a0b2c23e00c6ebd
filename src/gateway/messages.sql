-- Messages and their chats: gateway_messages.c.

-- name: take_turn only sqlite
-- Nothing: a file has one writer at a time.
SELECT 1;

-- name: take_turn only postgres
-- The writers of all processes follow each other.
UPDATE store_changes SET changes = changes + 1 WHERE name = 'messages';

-- name: probe_message only sqlite
-- What a put must know of its chat and of a message with the same key; always one row.
SELECT chats.last_seq, chats.last_input_seq, chats.last_message_at,
  messages.seq, messages.sender, messages.content, messages.verb, messages.topic,
  messages.reply_to_id, messages.forwarded_from, messages.group_folder, messages.turn_id,
  messages.attachments, messages."timestamp", messages.is_from_me
FROM (SELECT 1 AS one) AS always
LEFT JOIN chats ON chats.jid = $1
LEFT JOIN messages ON messages.chat_jid = $1 AND messages.id = $2;

-- name: probe_message only postgres
-- The same. While a table is new all indexes that begin with the chat cost the planner the same, and
-- its plan is kept until the table is analyzed; only one of them has the order that is asked for.
SELECT chats.last_seq, chats.last_input_seq, chats.last_message_at,
  stored.seq, stored.sender, stored.content, stored.verb, stored.topic, stored.reply_to_id,
  stored.forwarded_from, stored.group_folder, stored.turn_id, stored.attachments,
  stored."timestamp", stored.is_from_me
FROM (SELECT 1 AS one) AS always
LEFT JOIN chats ON chats.jid = $1
LEFT JOIN LATERAL (
  SELECT messages.id, messages.seq, messages.sender, messages.content, messages.verb, messages.topic,
    messages.reply_to_id, messages.forwarded_from, messages.group_folder, messages.turn_id,
    messages.attachments, messages."timestamp", messages.is_from_me
  FROM messages WHERE messages.chat_jid = $1 AND messages.id >= $2 ORDER BY messages.id LIMIT 1
) AS stored ON stored.id = $2;

-- name: probe_messages only sqlite
-- The same for [[chat, id], …], a row for each, in their order.
SELECT chats.last_seq, chats.last_input_seq, chats.last_message_at,
  messages.seq, messages.sender, messages.content, messages.verb, messages.topic,
  messages.reply_to_id, messages.forwarded_from, messages.group_folder, messages.turn_id,
  messages.attachments, messages."timestamp", messages.is_from_me
FROM json_each($1) AS wanted
LEFT JOIN chats ON chats.jid = wanted.value ->> 0
LEFT JOIN messages ON messages.chat_jid = wanted.value ->> 0 AND messages.id = wanted.value ->> 1
ORDER BY wanted.key;

-- name: probe_messages only postgres
-- The same for [[chat, id], …], a row for each, in their order; LIMIT keeps it to lookups by key.
SELECT chat.last_seq, chat.last_input_seq, chat.last_message_at,
  stored.seq, stored.sender, stored.content, stored.verb, stored.topic, stored.reply_to_id,
  stored.forwarded_from, stored.group_folder, stored.turn_id, stored.attachments,
  stored."timestamp", stored.is_from_me
FROM json_array_elements(CAST($1 AS json)) WITH ORDINALITY AS wanted (value, place)
LEFT JOIN LATERAL (
  SELECT last_seq, last_input_seq, last_message_at FROM chats
  WHERE chats.jid = wanted.value ->> 0 LIMIT 1
) AS chat ON TRUE
LEFT JOIN LATERAL (
  SELECT messages.id, messages.seq, messages.sender, messages.content, messages.verb, messages.topic,
    messages.reply_to_id, messages.forwarded_from, messages.group_folder, messages.turn_id,
    messages.attachments, messages."timestamp", messages.is_from_me
  FROM messages WHERE messages.chat_jid = wanted.value ->> 0 AND messages.id >= wanted.value ->> 1 ORDER BY messages.id LIMIT 1
) AS stored ON stored.id = wanted.value ->> 1
ORDER BY wanted.place;

-- name: insert_message
-- Its change, $28, is added to the newest one's and one more.
INSERT INTO messages VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27,
  (SELECT coalesce(max(change), 0) + 1 FROM messages) + $28);

-- name: save_chat
-- Make or renew a chat; an absent name or channel stays.
INSERT INTO chats (jid, name, channel, is_group, last_seq, last_input_seq, last_message_at)
VALUES ($1, coalesce($2, ''), coalesce($3, $8), coalesce($4, FALSE), $5, $6, $7)
ON CONFLICT (jid) DO UPDATE SET
  name = coalesce($2, chats.name), channel = coalesce($3, chats.channel),
  is_group = coalesce($4, chats.is_group), last_seq = $5, last_input_seq = $6,
  last_message_at = $7;

-- name: add_cursors
-- Every consumer begins a new chat before its first message.
INSERT INTO cursors (consumer, chat_jid, seq, updated_at, pending_since)
SELECT name, $1, 0, $2, $3 FROM consumers;

-- name: mark_pending
-- Input has come for those who had read everything.
UPDATE cursors SET pending_since = $2 WHERE chat_jid = $1 AND pending_since IS NULL;

-- name: save_chats only sqlite
-- The same for [[jid, last_seq, last_input_seq, last_message_at, channel, is new], …].
INSERT INTO chats (jid, last_seq, last_input_seq, last_message_at, channel)
SELECT given.value ->> 0, given.value ->> 1, given.value ->> 2, given.value ->> 3, given.value ->> 4
FROM json_each($1) AS given WHERE TRUE
ON CONFLICT (jid) DO UPDATE SET last_seq = excluded.last_seq,
  last_input_seq = excluded.last_input_seq, last_message_at = excluded.last_message_at;

-- name: save_chats only postgres
-- The same for [[jid, last_seq, last_input_seq, last_message_at, channel, is new], …].
INSERT INTO chats (jid, last_seq, last_input_seq, last_message_at, channel)
SELECT given.value ->> 0, CAST(given.value ->> 1 AS bigint), CAST(given.value ->> 2 AS bigint),
  CAST(given.value ->> 3 AS timestamptz), given.value ->> 4
FROM json_array_elements(CAST($1 AS json)) AS given (value)
ON CONFLICT (jid) DO UPDATE SET last_seq = excluded.last_seq,
  last_input_seq = excluded.last_input_seq, last_message_at = excluded.last_message_at;

-- name: add_cursors_of_chats only sqlite
-- Every consumer begins those of them that are new before their first message, which is input.
INSERT INTO cursors (consumer, chat_jid, seq, updated_at, pending_since)
SELECT consumers.name, given.value ->> 0, 0, $2, $2
FROM json_each($1) AS given CROSS JOIN consumers WHERE given.value ->> 5 = 1;

-- name: add_cursors_of_chats only postgres
-- Every consumer begins those of them that are new before their first message, which is input.
INSERT INTO cursors (consumer, chat_jid, seq, updated_at, pending_since)
SELECT consumers.name, given.value ->> 0, 0, $2, $2
FROM json_array_elements(CAST($1 AS json)) AS given (value) CROSS JOIN consumers
WHERE given.value ->> 5 = '1';

-- name: mark_chats_pending only sqlite
-- Input has come for those who had read everything of the others.
UPDATE cursors SET pending_since = $2
WHERE pending_since IS NULL AND chat_jid IN (SELECT value ->> 0 FROM json_each($1));

-- name: mark_chats_pending only postgres
-- Input has come for those who had read everything of the others.
UPDATE cursors SET pending_since = $2
WHERE pending_since IS NULL
  AND chat_jid IN (SELECT value ->> 0 FROM json_array_elements(CAST($1 AS json)));

-- name: get_message
SELECT * FROM messages WHERE chat_jid = $1 AND id = $2;

-- name: get_message_by_platform_id
SELECT * FROM messages WHERE chat_jid = $1 AND platform_id = $2 ORDER BY seq LIMIT 1;

-- name: messages_after_seq
-- Input of a chat beyond a number.
SELECT * FROM messages WHERE chat_jid = $1 AND seq > $2 AND NOT is_from_me ORDER BY seq LIMIT $3;

-- name: messages_after_time
-- Input of a chat beyond a time: the first of them by time, told by number.
SELECT * FROM (
  SELECT * FROM messages
  WHERE chat_jid = $1 AND "timestamp" > $4 AND seq > $2 AND NOT is_from_me
  ORDER BY "timestamp", seq LIMIT $3
) AS found ORDER BY seq;

-- name: history
-- A chat backwards from a number.
SELECT * FROM messages WHERE chat_jid = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3;

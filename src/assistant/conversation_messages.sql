-- Messages: messages.c, context.c.

-- name: begin_append only sqlite
-- The newest number of a conversation, and the newest id: the next one is known before it is there,
-- for to ask for it afterwards costs nearly as much as the INSERT.
SELECT last_seq, (SELECT COALESCE(max(id), 0) FROM messages) FROM conversations
WHERE conversation_id = $1;

-- name: begin_append only postgres
-- The id is the sequence's to give.
SELECT last_seq, CAST(NULL AS bigint) FROM conversations WHERE conversation_id = $1;

-- name: append_message only sqlite
-- Nothing is added when there is a message of that message_id.
INSERT INTO messages (conversation_id, message_id, role, content, token_count, is_summary,
  "timestamp", metadata, is_internal, seq, id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (message_id) DO NOTHING;

-- name: append_message only postgres
-- The same, and the id that it got.
INSERT INTO messages (conversation_id, message_id, role, content, token_count, is_summary,
  "timestamp", metadata, is_internal, seq, id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10,
  COALESCE($11, nextval(pg_get_serial_sequence('messages', 'id'))))
ON CONFLICT (message_id) DO NOTHING RETURNING id;

-- name: count_messages
-- After messages were added. The time of a conversation never goes back.
UPDATE conversations SET last_seq = $2, message_count = message_count + $3, last_accessed = $4,
  updated_at = CASE WHEN updated_at > $4 THEN updated_at ELSE $4 END,
  last_message_at = COALESCE($5, last_message_at)
WHERE conversation_id = $1;

-- name: get_message
SELECT * FROM messages WHERE message_id = $1;

-- name: newest_messages
SELECT * FROM messages WHERE conversation_id = $1 AND seq < $2 AND NOT is_internal
ORDER BY seq DESC LIMIT $3;

-- name: newest_messages_with_internal
SELECT * FROM messages WHERE conversation_id = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3;

-- name: context_messages
-- Behind what the summary covers, before those that were read: newest first.
SELECT * FROM messages WHERE conversation_id = $1 AND seq > $2 AND seq < $3 AND NOT is_internal
ORDER BY seq DESC LIMIT $4;

-- name: count_range
SELECT count(*) FROM messages WHERE conversation_id = $1 AND seq >= $2 AND seq <= $3
AND NOT is_internal;

-- name: summarise_range
UPDATE messages SET summarised_by = $4 WHERE conversation_id = $1 AND seq >= $2 AND seq <= $3;

-- name: unsummarise_range
-- What a forgotten summary ($4) covered is summarised by the newest other one that covers it.
UPDATE messages SET summarised_by = (SELECT max(s.id) FROM conversation_memory s
  WHERE s.conversation_id = $1 AND s.to_seq >= messages.seq AND s.from_seq <= messages.seq)
WHERE conversation_id = $1 AND seq >= $2 AND seq <= $3 AND summarised_by = $4;

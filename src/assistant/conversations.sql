-- Conversations: conversations.c.

-- name: get_conversation
SELECT * FROM conversations WHERE conversation_id = $1;

-- name: newest_conversation
SELECT * FROM conversations WHERE channel = $1 AND contact_identifier = $2
ORDER BY updated_at DESC, id DESC LIMIT 1;

-- name: newest_conversation_of_nobody
-- PostgreSQL takes the index for the order only when the order names the column that is null.
SELECT * FROM conversations WHERE channel = $1 AND contact_identifier IS NULL
ORDER BY contact_identifier DESC, updated_at DESC, id DESC LIMIT 1;

-- name: add_conversation
INSERT INTO conversations (conversation_id, channel, contact_identifier, last_accessed, created_at,
  updated_at, metadata)
VALUES ($1, $2, $3, $4, $4, $5, $6) RETURNING *;

-- name: touch_conversation
UPDATE conversations SET last_accessed = $2 WHERE id = $1;

-- name: set_conversation_metadata
UPDATE conversations SET metadata = $2 WHERE id = $1;

-- name: list_conversations
-- The newest with their last message: its id is found in the page's rows alone.
SELECT c.*, m.* FROM (
  SELECT *, (SELECT x.id FROM messages x WHERE x.conversation_id = conversations.conversation_id
    AND NOT x.is_internal ORDER BY x.seq DESC LIMIT 1) AS last_id
  FROM conversations WHERE (updated_at, id) < ($1, $2)
  ORDER BY updated_at DESC, id DESC LIMIT $3) AS c
LEFT JOIN messages m ON m.id = c.last_id ORDER BY c.updated_at DESC, c.id DESC;

-- name: list_conversations_on
-- The same of a channel.
SELECT c.*, m.* FROM (
  SELECT *, (SELECT x.id FROM messages x WHERE x.conversation_id = conversations.conversation_id
    AND NOT x.is_internal ORDER BY x.seq DESC LIMIT 1) AS last_id
  FROM conversations WHERE (updated_at, id) < ($1, $2) AND channel = $3
  ORDER BY updated_at DESC, id DESC LIMIT $4) AS c
LEFT JOIN messages m ON m.id = c.last_id ORDER BY c.updated_at DESC, c.id DESC;

-- name: list_conversations_with
-- The same of a contact on a channel.
SELECT c.*, m.* FROM (
  SELECT *, (SELECT x.id FROM messages x WHERE x.conversation_id = conversations.conversation_id
    AND NOT x.is_internal ORDER BY x.seq DESC LIMIT 1) AS last_id
  FROM conversations WHERE (updated_at, id) < ($1, $2) AND channel = $3
  AND contact_identifier = $4 ORDER BY updated_at DESC, id DESC LIMIT $5) AS c
LEFT JOIN messages m ON m.id = c.last_id ORDER BY c.updated_at DESC, c.id DESC;

-- name: delete_conversation
DELETE FROM conversations WHERE conversation_id = $1;

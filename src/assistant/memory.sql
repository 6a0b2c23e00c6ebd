-- What is remembered of a conversation: memory.c, context.c.

-- name: latest_summary
-- Of the greatest to_seq, of those the newest.
SELECT * FROM conversation_memory WHERE conversation_id = $1 AND to_seq IS NOT NULL
ORDER BY to_seq DESC, id DESC LIMIT 1;

-- name: summary_of_range
SELECT * FROM conversation_memory WHERE conversation_id = $1 AND from_seq = $2 AND to_seq = $3;

-- name: add_summary
INSERT INTO conversation_memory (conversation_id, memory_type, content, created_at, from_seq,
  to_seq, token_count)
VALUES ($1, 'long_term', $2, $3, $4, $5, $6) RETURNING id;

-- name: raise_context_version
UPDATE conversations SET context_version = context_version + 1 WHERE conversation_id = $1;

-- name: remembered_fact
SELECT id FROM conversation_memory WHERE conversation_id = $1 AND memory_type = 'facts'
AND content_hash = $2;

-- name: remember
INSERT INTO conversation_memory (conversation_id, memory_type, content, created_at, content_hash,
  token_count)
VALUES ($1, $2, $3, $4, $5, $6) RETURNING id;

-- name: recall_type
SELECT * FROM conversation_memory WHERE conversation_id = $1 AND memory_type = $2
ORDER BY id DESC LIMIT $3;

-- name: recall
-- All but short_term: of each type as many as are wanted, of those the newest.
SELECT * FROM (
  SELECT * FROM (SELECT * FROM conversation_memory WHERE conversation_id = $1
    AND memory_type = 'long_term' ORDER BY id DESC LIMIT $2) AS l
  UNION ALL SELECT * FROM (SELECT * FROM conversation_memory WHERE conversation_id = $1
    AND memory_type = 'facts' ORDER BY id DESC LIMIT $2) AS f
  UNION ALL SELECT * FROM (SELECT * FROM conversation_memory WHERE conversation_id = $1
    AND memory_type = 'working' ORDER BY id DESC LIMIT $2) AS w
) AS remembered ORDER BY id DESC LIMIT $2;

-- name: get_remembered
SELECT * FROM conversation_memory WHERE id = $1 AND conversation_id = $2;

-- name: forget_one
DELETE FROM conversation_memory WHERE id = $1;

-- name: forget_type
DELETE FROM conversation_memory WHERE conversation_id = $1 AND memory_type = $2;

-- name: forget_all
DELETE FROM conversation_memory WHERE conversation_id = $1;

-- name: covered_range
-- From the first to the last message that any summary covers.
SELECT min(from_seq), max(to_seq) FROM conversation_memory
WHERE conversation_id = $1 AND to_seq IS NOT NULL;

-- name: unsummarise_all
UPDATE messages SET summarised_by = NULL WHERE conversation_id = $1 AND seq >= $2 AND seq <= $3
AND summarised_by IS NOT NULL;

-- Questions that the agent asked: agent_questions.c.

-- name: add_question
INSERT INTO asked_questions (@{session_id,} question_id, awaited_until, asked_at)
SELECT @{$1,} $2, NULL, $3 WHERE $1 IS NOT NULL;

-- name: has_question
SELECT 1 FROM asked_questions WHERE @{session_id = $1 AND} question_id = $2 AND $1 IS NOT NULL;

-- name: await_question
-- Claims leave the answer alone until $3.
UPDATE asked_questions SET awaited_until = $3
WHERE @{session_id = $1 AND} question_id = $2 AND (awaited_until IS NULL OR awaited_until < $3)
  AND $1 IS NOT NULL;

-- name: end_await
-- Unless somebody else waits longer.
UPDATE asked_questions SET awaited_until = NULL
WHERE @{session_id = $1 AND} question_id = $2 AND awaited_until <= $3 AND $1 IS NOT NULL;

-- name: find_answers only sqlite
-- A source's host puts the time behind the question's id.
SELECT id, content, status FROM messages_in
WHERE kind = 'system' AND $1 IS NOT NULL
  AND (id = 'qr-' || $2 OR (id >= 'qr-' || $2 || '-' AND id < 'qr-' || $2 || '.'))
ORDER BY seq LIMIT 20;

-- name: find_answers only postgres
SELECT id, content, status FROM messages_in
WHERE session_id = $1 AND kind = 'system' AND id = 'qr-' || CAST($2 AS text)
ORDER BY seq LIMIT 20;

-- Questions: questions.c.

-- name: get_pending_question
SELECT question_id, session_id, message_out_id, platform_id, channel_type, thread_id, created_at,
  expires_at, options
FROM pending_questions WHERE question_id = $1;

-- name: add_pending_question
INSERT INTO pending_questions (question_id, session_id, message_out_id, platform_id, channel_type,
  thread_id, created_at, expires_at, options)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (question_id) DO NOTHING;

-- name: remove_pending_question
DELETE FROM pending_questions WHERE question_id = $1;

-- name: list_pending_questions
-- By time of expiry.
SELECT question_id, session_id, message_out_id, platform_id, channel_type, thread_id, created_at,
  expires_at, options
FROM pending_questions ORDER BY expires_at, question_id LIMIT $1;

-- name: list_pending_questions_of_session
SELECT question_id, session_id, message_out_id, platform_id, channel_type, thread_id, created_at,
  expires_at, options
FROM pending_questions WHERE session_id = $1 ORDER BY expires_at, question_id LIMIT $2;

-- name: list_expired_questions
-- Those whose time was over at $1, after $2 of expiry time $3; $4 how many.
SELECT question_id, session_id, message_out_id, platform_id, channel_type, thread_id, created_at,
  expires_at, options
FROM pending_questions
WHERE expires_at <= $1 AND (expires_at > $3 OR (expires_at = $3 AND question_id > $2))
ORDER BY expires_at, question_id LIMIT $4;

-- name: get_closed_question
SELECT question_id, session_id, closed_at FROM closed_questions WHERE question_id = $1;

-- name: add_closed_question
INSERT INTO closed_questions (question_id, session_id, closed_at)
VALUES ($1, $2, $3) ON CONFLICT (question_id) DO NOTHING;

-- name: forget_closed_questions
-- The oldest from before $1, at most $2.
DELETE FROM closed_questions WHERE question_id IN (
  SELECT question_id FROM closed_questions WHERE closed_at < $1 ORDER BY closed_at LIMIT $2);

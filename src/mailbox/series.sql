-- Series of tasks: series.c, series_change.c.

-- name: live_occurrence
-- The one occurrence of a series that is pending or paused.
SELECT CAST($1 AS text), id, seq, kind, timestamp, status, process_after, recurrence, tries,
  platform_id, channel_type, thread_id, content, dedup_key, series_id, source_session_id, last_error,
  source_out_id, scheduled_at, time_zone, missed, stored_at, finished_at, void_attempt
FROM messages_in
WHERE @{session_id = $1 AND} series_id = $2 AND status IN ('pending', 'paused')
ORDER BY seq DESC LIMIT 1;

-- name: list_live_occurrences
-- By next time; what has none is due since it was stored.
SELECT CAST($1 AS text), id, seq, kind, timestamp, status, process_after, recurrence, tries,
  platform_id, channel_type, thread_id, content, dedup_key, series_id, source_session_id, last_error,
  source_out_id, scheduled_at, time_zone, missed, stored_at, finished_at, void_attempt
FROM messages_in
WHERE @{session_id = $1 AND} series_id IS NOT NULL AND status IN ('pending', 'paused')
ORDER BY COALESCE(process_after, stored_at, timestamp), seq LIMIT $2;

-- name: end_inbound
-- $3 how, $4 when, $5 why. The recurrence goes on with the next occurrence: a program that makes
-- the next ones of what is over and recurs must find none.
UPDATE messages_in SET status = $3, finished_at = $4, last_error = COALESCE($5, last_error),
  recurrence = NULL
WHERE @{session_id = $1 AND} id = $2 AND status IN ('pending', 'paused') AND $1 IS NOT NULL;

-- name: complete_failed_inbound
-- It was given up and then completed after all.
UPDATE messages_in SET status = 'completed', finished_at = $3
WHERE @{session_id = $1 AND} id = $2 AND status = 'failed' AND $1 IS NOT NULL;

-- name: pause_occurrence
UPDATE messages_in SET status = 'paused'
WHERE @{session_id = $1 AND} id = $2 AND status = 'pending' AND $1 IS NOT NULL;

-- name: change_occurrence
-- $3 status, $4 content, $5 recurrence, $6 zone, $7 not before, $8 its time, $9 claims up to this
-- attempt are over, $10 failed attempts.
UPDATE messages_in SET status = $3, content = $4, recurrence = $5, time_zone = $6,
  process_after = $7, scheduled_at = $8, void_attempt = $9, tries = $10,
  last_error = NULL
WHERE @{session_id = $1 AND} id = $2 AND status IN ('pending', 'paused') AND $1 IS NOT NULL;

-- name: has_step
-- Did that happen to the message?
SELECT 1 FROM message_steps
WHERE @{session_id = $1 AND} message_id = $2 AND step = $3 AND $1 IS NOT NULL LIMIT 1;

-- name: get_step_detail
-- The latest such step.
SELECT detail FROM message_steps
WHERE @{session_id = $1 AND} message_id = $2 AND step = $3 AND $1 IS NOT NULL
ORDER BY n DESC LIMIT 1;

-- Where a message is: trace.c. What the agent's side wrote is read without its content.

-- name: trace_sessions
-- By id, above $1.
SELECT id FROM sessions WHERE id > $1 ORDER BY id LIMIT $2;

-- name: trace_inbound
-- The message with that id ($3 FALSE), or the newest one with that dedup key.
SELECT id, seq, kind, status, process_after, tries, last_error, stored_at, "timestamp", finished_at,
  void_attempt, source_session_id, source_out_id
FROM messages_in WHERE @{session_id = $1 AND} id = $2 AND NOT $3 AND $1 IS NOT NULL
UNION ALL SELECT * FROM (SELECT id, seq, kind, status, process_after, tries, last_error, stored_at,
  "timestamp", finished_at, void_attempt, source_session_id, source_out_id
FROM messages_in WHERE @{session_id = $1 AND} dedup_key = $2 AND $3 ORDER BY seq DESC LIMIT 1) AS by_key
LIMIT 1;

-- name: trace_outbound
SELECT id, seq, "timestamp", deliver_after, in_reply_to, kind FROM messages_out
WHERE @{session_id = $1 AND} id = $2 AND $1 IS NOT NULL LIMIT 1;

-- name: trace_outbound_by_seq
SELECT id, seq, "timestamp", deliver_after, in_reply_to, kind FROM messages_out
WHERE @{session_id = $1 AND} seq = $2 AND $1 IS NOT NULL LIMIT 1;

-- name: trace_ack
SELECT status, status_changed, owner, lease_until, attempt, error FROM processing_ack
WHERE @{session_id = $1 AND} message_id = $2 AND $1 IS NOT NULL LIMIT 1;

-- name: trace_plain_ack
SELECT status, status_changed FROM processing_ack
WHERE @{session_id = $1 AND} message_id = $2 AND $1 IS NOT NULL LIMIT 1;

-- name: trace_steps
-- The first $3 of them.
SELECT at, step, detail FROM message_steps
WHERE @{session_id = $1 AND} message_id = $2 AND $1 IS NOT NULL ORDER BY n LIMIT $3;

-- name: trace_replies
SELECT id, "timestamp" FROM messages_out
WHERE @{session_id = $1 AND} in_reply_to = $2 AND $1 IS NOT NULL ORDER BY seq LIMIT $3;

-- name: trace_arrival
-- What another session's message became here: $2 that session, $3 its message.
SELECT id FROM messages_in
WHERE @{session_id = $1 AND} source_session_id = $2 AND source_out_id = $3 AND $1 IS NOT NULL LIMIT 1;

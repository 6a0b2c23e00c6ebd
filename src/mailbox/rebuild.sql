-- Sessions whose files were lost: session_rebuild.c. Files are SQLite's alone.

-- name: last_number_out
SELECT COALESCE(max(seq), 0) FROM messages_out WHERE @{session_id = $1 AND} $1 IS NOT NULL;

-- name: last_ack_change
SELECT COALESCE(max(change), 0) FROM processing_ack WHERE @{session_id = $1 AND} $1 IS NOT NULL;

-- name: count_acks
SELECT count(*) FROM processing_ack WHERE @{session_id = $1 AND} $1 IS NOT NULL;

-- name: last_number_known
-- The greatest number of the agent's that the host has heard of.
SELECT max(n) FROM (
  SELECT out_seq AS n FROM session_host WHERE @{session_id = $1 AND} id = 1 AND $1 IS NOT NULL
  UNION ALL SELECT COALESCE(max(seq), 0) FROM delivered @{WHERE session_id = $1}
  UNION ALL SELECT COALESCE(max(seq), 0) FROM outgoing @{WHERE session_id = $1}) AS known;

-- name: set_cursors
-- $2 the last number taken over, $3 the last change, $4 of which outbound side.
UPDATE session_host SET out_seq = $2, ack_change = $3, outbound_id = $4
WHERE @{session_id = $1 AND} id = 1 AND $1 IS NOT NULL;

-- name: add_rebuilt_message only sqlite
-- A finished message that says what happened, with a number above $4. $1 the session, $2 the id,
-- $3 now, $5 the content.
INSERT INTO messages_in (id, seq, kind, timestamp, status, content, stored_at, finished_at)
SELECT $2, max(COALESCE((SELECT max(seq) FROM messages_in), 0) + 2, ($4 / 2 + 1) * 2), 'system', $3,
  'completed', $5, $3, $3 WHERE $1 IS NOT NULL;

-- name: add_rebuilt_message only postgres
-- Files alone are lost and rebuilt.
SELECT 1;

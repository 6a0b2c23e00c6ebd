-- Pruning a session, the host's side: session_prune.c. $2 the time before which things are old, $3
-- how many. The row with the greatest number stays.

-- name: old_messages_in
SELECT id FROM messages_in
WHERE @{session_id = $1 AND} finished_at < $2 AND status IN ('completed', 'failed', 'cancelled')
  AND seq < (SELECT max(seq) FROM messages_in @{WHERE session_id = $1}) AND $1 IS NOT NULL
ORDER BY finished_at LIMIT $3;

-- name: remove_message_in
-- $3 the message.
DELETE FROM messages_in
WHERE @{session_id = $1 AND} id = $3 AND finished_at < $2
  AND status IN ('completed', 'failed', 'cancelled')
  AND seq < (SELECT max(seq) FROM messages_in @{WHERE session_id = $1}) AND $1 IS NOT NULL;

-- name: old_deliveries
-- A recurrence that goes on has a later occurrence in outgoing, with the same number.
SELECT message_out_id FROM delivered
WHERE @{session_id = $1 AND} delivered_at < $2 AND status IN ('delivered', 'failed', 'refused')
  AND seq < (SELECT max(seq) FROM delivered @{WHERE session_id = $1}) AND $1 IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM outgoing g WHERE @{g.session_id = $1 AND} g.seq = delivered.seq)
ORDER BY delivered_at LIMIT $3;

-- name: remove_delivery
-- $3 the message.
DELETE FROM delivered
WHERE @{session_id = $1 AND} message_out_id = $3 AND delivered_at < $2
  AND status IN ('delivered', 'failed', 'refused')
  AND seq < (SELECT max(seq) FROM delivered @{WHERE session_id = $1})
  AND NOT EXISTS (SELECT 1 FROM outgoing g WHERE @{g.session_id = $1 AND} g.seq = delivered.seq)
  AND $1 IS NOT NULL;

-- name: remove_steps_of
-- $2 the message.
DELETE FROM message_steps WHERE @{session_id = $1 AND} message_id = $2
  AND n < (SELECT max(n) FROM message_steps @{WHERE session_id = $1}) AND $1 IS NOT NULL;

-- name: remove_old_steps
-- Of the first ones those whose message is gone.
DELETE FROM message_steps WHERE @{session_id = $1 AND} n IN (
  SELECT s.n FROM (SELECT n, message_id, at FROM message_steps @{WHERE session_id = $1}
    ORDER BY n LIMIT $3) AS s
  WHERE s.at < $2 AND s.n < (SELECT max(n) FROM message_steps @{WHERE session_id = $1})
    AND NOT EXISTS (SELECT 1 FROM messages_in m
      WHERE @{m.session_id = $1 AND} m.id = s.message_id)
    AND NOT EXISTS (SELECT 1 FROM delivered d
      WHERE @{d.session_id = $1 AND} d.message_out_id = s.message_id)
    AND NOT EXISTS (SELECT 1 FROM outgoing g
      WHERE @{g.session_id = $1 AND} g.message_out_id = s.message_id)) AND $1 IS NOT NULL;

-- name: set_prune_before
UPDATE session_host SET prune_before = $2 WHERE @{session_id = $1 AND} id = 1 AND $1 IS NOT NULL
  AND (prune_before IS NULL OR prune_before < $2);

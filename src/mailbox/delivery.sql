-- Deliveries: delivery.c. A message that the host has taken over and not finished has a row in
-- outgoing; what became of its attempts is its row in delivered.

-- name: get_outgoing
SELECT CAST($1 AS text), message_out_id, seq, due_at, attempts, address
FROM outgoing WHERE @{session_id = $1 AND} message_out_id = $2;

-- name: get_delivered
SELECT CAST($1 AS text), message_out_id, platform_message_id, status, delivered_at, attempts,
  next_attempt_at, last_error, lease_owner, seq
FROM delivered WHERE @{session_id = $1 AND} message_out_id = $2;

-- name: put_delivered
-- Parameters are the record's fields.
INSERT INTO delivered (@{session_id,} message_out_id, platform_message_id, status, delivered_at,
  attempts, next_attempt_at, last_error, lease_owner, seq)
VALUES (@{$1,} $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (@{session_id,} message_out_id) DO UPDATE SET
  platform_message_id = excluded.platform_message_id, status = excluded.status,
  delivered_at = excluded.delivered_at, attempts = excluded.attempts,
  next_attempt_at = excluded.next_attempt_at, last_error = excluded.last_error,
  lease_owner = excluded.lease_owner, seq = excluded.seq;

-- name: put_outgoing
-- Parameters are the record's fields.
INSERT INTO outgoing (@{session_id,} message_out_id, seq, due_at, attempts, address)
VALUES (@{$1,} $2, $3, $4, $5, $6)
ON CONFLICT (@{session_id,} message_out_id) DO UPDATE SET due_at = excluded.due_at,
  attempts = excluded.attempts;

-- name: end_outgoing
DELETE FROM outgoing WHERE @{session_id = $1 AND} message_out_id = $2;

-- name: get_outbound_by_seq
SELECT CAST($1 AS text), id, seq, in_reply_to, timestamp, deliver_after, recurrence, kind,
  platform_id, channel_type, thread_id, content
FROM messages_out WHERE @{session_id = $1 AND} seq = $2;

-- name: outbound_recurrence
-- Whether and how the message comes again, without its content.
SELECT recurrence FROM messages_out
WHERE @{session_id = $1 AND} seq = $2 AND recurrence IS NOT NULL AND $1 IS NOT NULL;

-- name: list_delivered
-- Above a number, with a status ($3) or all ($3 absent).
SELECT CAST($1 AS text), message_out_id, platform_message_id, status, delivered_at, attempts,
  next_attempt_at, last_error, lease_owner, seq
FROM delivered WHERE @{session_id = $1 AND} seq > $2 AND ($3 IS NULL OR status = $3)
ORDER BY seq, message_out_id LIMIT $4;

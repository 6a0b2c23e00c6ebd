-- Messages to an agent: post.c.

-- name: add_inbound
-- The number is given out here; parameters 1 to 24 are the record's fields, 3 is not read.
INSERT INTO messages_in (@{session_id,} id, seq, kind, timestamp, status, process_after, recurrence,
  tries, platform_id, channel_type, thread_id, content, dedup_key, series_id, source_session_id,
  last_error, source_out_id, scheduled_at, time_zone, missed, stored_at, finished_at, void_attempt)
VALUES (@{$1,} $2, (SELECT COALESCE(max(seq), 0) + 2 FROM messages_in @{WHERE session_id = $1}),
  $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)
RETURNING seq;

-- name: add_inbound_once
-- The same, and nothing when the id is there.
INSERT INTO messages_in (@{session_id,} id, seq, kind, timestamp, status, process_after, recurrence,
  tries, platform_id, channel_type, thread_id, content, dedup_key, series_id, source_session_id,
  last_error, source_out_id, scheduled_at, time_zone, missed, stored_at, finished_at, void_attempt)
VALUES (@{$1,} $2, (SELECT COALESCE(max(seq), 0) + 2 FROM messages_in @{WHERE session_id = $1}),
  $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)
ON CONFLICT (@{session_id,} id) DO NOTHING RETURNING seq;

-- name: add_inbound_next
-- The same with the number behind one that this transaction has given out.
INSERT INTO messages_in (@{session_id,} id, seq, kind, timestamp, status, process_after, recurrence,
  tries, platform_id, channel_type, thread_id, content, dedup_key, series_id, source_session_id,
  last_error, source_out_id, scheduled_at, time_zone, missed, stored_at, finished_at, void_attempt)
VALUES (@{$1,} $2, $3,
  $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)
ON CONFLICT (@{session_id,} id) DO NOTHING;

-- name: get_inbound
SELECT CAST($1 AS text), id, seq, kind, timestamp, status, process_after, recurrence, tries,
  platform_id, channel_type, thread_id, content, dedup_key, series_id, source_session_id, last_error,
  source_out_id, scheduled_at, time_zone, missed, stored_at, finished_at, void_attempt
FROM messages_in WHERE @{session_id = $1 AND} id = $2;

-- name: inbound_by_dedup_key
-- Those with a platform's id, the newest first.
SELECT CAST($1 AS text), id, seq, kind, timestamp, status, process_after, recurrence, tries,
  platform_id, channel_type, thread_id, content, dedup_key, series_id, source_session_id, last_error,
  source_out_id, scheduled_at, time_zone, missed, stored_at, finished_at, void_attempt
FROM messages_in WHERE @{session_id = $1 AND} dedup_key = $2 ORDER BY seq DESC LIMIT 20;

-- name: add_step
INSERT INTO message_steps (@{session_id,} n, message_id, at, step, detail)
VALUES (@{$1,} (SELECT COALESCE(max(n), 0) + 1 FROM message_steps @{WHERE session_id = $1}),
  $2, $3, $4, $5);

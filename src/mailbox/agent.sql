-- The agent's side: agent.c, agent_claim.c, agent_send.c.

-- name: claimable_now
-- Messages without a time that nobody has; after the record: the last attempt, and claims that ran
-- out. $2 now, $3 whether those of kind system, $4 how many.
SELECT CAST($1 AS text), m.id, m.seq, m.kind, m.timestamp, m.status, m.process_after, m.recurrence,
  m.tries, m.platform_id, m.channel_type, m.thread_id, m.content, m.dedup_key, m.series_id,
  m.source_session_id, m.last_error, m.source_out_id, m.scheduled_at, m.time_zone, m.missed,
  m.stored_at, m.finished_at, m.void_attempt, a.attempt, a.expired
FROM messages_in m LEFT JOIN processing_ack a ON @{a.session_id = m.session_id AND} a.message_id = m.id
WHERE @{m.session_id = $1 AND} m.status = 'pending' AND m.process_after IS NULL
  AND (m.kind = 'system') = $3
  AND (a.message_id IS NULL OR (a.status <> 'completed' AND m.void_attempt >= COALESCE(a.attempt, 0))
    OR (a.status = 'processing' AND a.lease_until <= $2 AND a.expired + m.tries < 5))
ORDER BY m.seq LIMIT $4;

-- name: claimable_due
-- The same of those whose time has come.
SELECT CAST($1 AS text), m.id, m.seq, m.kind, m.timestamp, m.status, m.process_after, m.recurrence,
  m.tries, m.platform_id, m.channel_type, m.thread_id, m.content, m.dedup_key, m.series_id,
  m.source_session_id, m.last_error, m.source_out_id, m.scheduled_at, m.time_zone, m.missed,
  m.stored_at, m.finished_at, m.void_attempt, a.attempt, a.expired
FROM messages_in m LEFT JOIN processing_ack a ON @{a.session_id = m.session_id AND} a.message_id = m.id
WHERE @{m.session_id = $1 AND} m.status = 'pending' AND m.process_after <= $2
  AND (m.kind = 'system') = $3
  AND (a.message_id IS NULL OR (a.status <> 'completed' AND m.void_attempt >= COALESCE(a.attempt, 0))
    OR (a.status = 'processing' AND a.lease_until <= $2 AND a.expired + m.tries < 5))
ORDER BY m.process_after, m.seq LIMIT $4;

-- name: claim
-- $2 the message, $3 now, $4 owner, $5 until when, $6 the attempt, $7 the incarnation, $8 claims
-- that ran out before.
INSERT INTO processing_ack (@{session_id,} message_id, status, status_changed, owner, lease_until,
  attempt, error, change, incarnation, expired)
VALUES (@{$1,} $2, 'processing', $3, $4, $5, $6, NULL,
  (SELECT COALESCE(max(change), 0) + 1 FROM processing_ack @{WHERE session_id = $1}), $7, $8)
ON CONFLICT (@{session_id,} message_id) DO UPDATE SET status = excluded.status,
  status_changed = excluded.status_changed, owner = excluded.owner,
  lease_until = excluded.lease_until, attempt = excluded.attempt, error = NULL,
  change = excluded.change, incarnation = excluded.incarnation, expired = excluded.expired;

-- name: acknowledge
-- $2 the message, $3 its new status, $4 now, $5 the error, $6 owner, $7 the attempt or 0, $8 what a
-- lasting owner ends with before its number.
UPDATE processing_ack SET status = $3, status_changed = $4, error = $5, lease_until = NULL,
  change = (SELECT COALESCE(max(change), 0) + 1 FROM processing_ack @{WHERE session_id = $1})
WHERE @{session_id = $1 AND} message_id = $2 AND status = 'processing'
  AND (owner = $6 OR owner LIKE '%+/%') AND ($7 = 0 OR attempt = $7)
  AND EXISTS (SELECT 1 FROM messages_in m WHERE @{m.session_id = $1 AND} m.id = $2
    AND m.status = 'pending' AND m.void_attempt < processing_ack.attempt);

-- name: get_ack
SELECT CAST($1 AS text), message_id, status, status_changed, owner, lease_until, attempt, error,
  change, incarnation, expired
FROM processing_ack WHERE @{session_id = $1 AND} message_id = $2;

-- name: add_outbound
-- The next odd number above both sides'; nothing when the id is there. Parameters are the record's
-- fields, 3 is not read.
INSERT INTO messages_out (@{session_id,} id, seq, in_reply_to, timestamp, deliver_after, recurrence,
  kind, platform_id, channel_type, thread_id, content)
VALUES (@{$1,} $2, (SELECT (COALESCE(max(n), 0) + 1) / 2 * 2 + 1 FROM (
    SELECT max(seq) AS n FROM messages_out @{WHERE session_id = $1}
    UNION ALL SELECT max(seq) FROM messages_in @{WHERE session_id = $1}) AS both_sides),
  $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (@{session_id,} id) DO NOTHING RETURNING seq;

-- name: get_outbound
SELECT CAST($1 AS text), id, seq, in_reply_to, timestamp, deliver_after, recurrence, kind,
  platform_id, channel_type, thread_id, content
FROM messages_out WHERE @{session_id = $1 AND} id = $2;

-- name: get_destination
SELECT CAST($1 AS text), name, display_name, type, channel_type, platform_id, agent_group_id
FROM destinations WHERE @{session_id = $1 AND} name = $2;

-- name: list_session_destinations
SELECT CAST($1 AS text), name, display_name, type, channel_type, platform_id, agent_group_id
FROM destinations WHERE @{session_id = $1 AND} $1 IS NOT NULL ORDER BY name;

-- name: get_session_route
SELECT CAST($1 AS text), id, channel_type, platform_id, thread_id
FROM session_routing WHERE @{session_id = $1 AND} id = 1;

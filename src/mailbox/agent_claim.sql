-- Taking messages and saying what became of them: agent_claim.c.
--
-- A message can be claimed when nobody has acknowledged it; when the host has counted its failure or its
-- last claim as over (void_attempt); when its claim was given back (owner ''); or when its claim ran out,
-- as long as the host's five retries are not used up by that.

-- name: claimable
-- Of those without a time and those whose time has come, the first ones by number, both in equal right.
-- After the record: the last attempt, claims that ran out, whether it was given back. $2 now, $3 how
-- many, $4 to $7 the kinds that are wanted, NULL: none.
SELECT CAST($1 AS text), m.id, m.seq, m.kind, m.timestamp, m.status, m.process_after, m.recurrence,
  m.tries, m.platform_id, m.channel_type, m.thread_id, m.content, m.dedup_key, m.series_id,
  m.source_session_id, m.last_error, m.source_out_id, m.scheduled_at, m.time_zone, m.missed,
  m.stored_at, m.finished_at, m.void_attempt, a.attempt, a.expired,
  CASE WHEN a.owner = '' THEN 1 ELSE 0 END
FROM (
  SELECT seq FROM (
    SELECT m.seq FROM messages_in m
    LEFT JOIN processing_ack a ON @{a.session_id = m.session_id AND} a.message_id = m.id
    WHERE @{m.session_id = $1 AND} m.status = 'pending' AND m.process_after IS NULL
      AND (m.kind = $4 OR m.kind = $5 OR m.kind = $6 OR m.kind = $7)
      AND (a.message_id IS NULL OR (a.status = 'failed' AND m.void_attempt >= COALESCE(a.attempt, 0))
        OR (a.status = 'processing' AND (a.owner = '' OR a.attempt <= m.void_attempt
          OR (a.lease_until <= $2 AND a.expired + m.tries < 5))))
      AND NOT (m.kind = 'system' AND substr(m.id, 1, 3) = 'qr-' AND EXISTS (
        SELECT 1 FROM asked_questions q WHERE @{q.session_id = $1 AND} q.question_id IN (substr(m.id, 4),
          substr(m.id, 4, abs(length(rtrim(m.id, '0123456789')) - 4))) AND q.awaited_until > $2))
    ORDER BY m.process_after, m.seq LIMIT $3) AS timeless
  UNION ALL
  SELECT seq FROM (
    SELECT m.seq FROM messages_in m
    LEFT JOIN processing_ack a ON @{a.session_id = m.session_id AND} a.message_id = m.id
    WHERE @{m.session_id = $1 AND} m.status = 'pending' AND m.process_after <= $2
      AND (m.kind = $4 OR m.kind = $5 OR m.kind = $6 OR m.kind = $7)
      AND (a.message_id IS NULL OR (a.status = 'failed' AND m.void_attempt >= COALESCE(a.attempt, 0))
        OR (a.status = 'processing' AND (a.owner = '' OR a.attempt <= m.void_attempt
          OR (a.lease_until <= $2 AND a.expired + m.tries < 5))))
      AND NOT (m.kind = 'system' AND substr(m.id, 1, 3) = 'qr-' AND EXISTS (
        SELECT 1 FROM asked_questions q WHERE @{q.session_id = $1 AND} q.question_id IN (substr(m.id, 4),
          substr(m.id, 4, abs(length(rtrim(m.id, '0123456789')) - 4))) AND q.awaited_until > $2))
    ORDER BY m.process_after, m.seq LIMIT $3) AS due
  ORDER BY seq LIMIT $3) AS chosen
JOIN messages_in m ON @{m.session_id = $1 AND} m.seq = chosen.seq
LEFT JOIN processing_ack a ON @{a.session_id = m.session_id AND} a.message_id = m.id
ORDER BY m.seq;

-- name: claimable_now
-- The common case, for little: as claimable, of every kind in one order, while no time has come; else
-- nothing. $2 now, $3 how many.
SELECT CAST($1 AS text), m.id, m.seq, m.kind, m.timestamp, m.status, m.process_after, m.recurrence,
  m.tries, m.platform_id, m.channel_type, m.thread_id, m.content, m.dedup_key, m.series_id,
  m.source_session_id, m.last_error, m.source_out_id, m.scheduled_at, m.time_zone, m.missed,
  m.stored_at, m.finished_at, m.void_attempt, a.attempt, a.expired,
  CASE WHEN a.owner = '' THEN 1 ELSE 0 END
FROM messages_in m
LEFT JOIN processing_ack a ON @{a.session_id = m.session_id AND} a.message_id = m.id
WHERE @{m.session_id = $1 AND} m.status = 'pending' AND m.process_after IS NULL
  AND NOT EXISTS (SELECT 1 FROM messages_in d
    WHERE @{d.session_id = $1 AND} d.status = 'pending' AND d.process_after <= $2)
  AND (a.message_id IS NULL OR (a.status = 'failed' AND m.void_attempt >= COALESCE(a.attempt, 0))
    OR (a.status = 'processing' AND (a.owner = '' OR a.attempt <= m.void_attempt
      OR (a.lease_until <= $2 AND a.expired + m.tries < 5))))
  AND NOT (m.kind = 'system' AND substr(m.id, 1, 3) = 'qr-' AND EXISTS (
    SELECT 1 FROM asked_questions q WHERE @{q.session_id = $1 AND} q.question_id IN (substr(m.id, 4),
      substr(m.id, 4, abs(length(rtrim(m.id, '0123456789')) - 4))) AND q.awaited_until > $2))
ORDER BY m.process_after, m.seq LIMIT $3;

-- name: has_claimable
-- 1: claimable would answer something. $2 now, $3 to $7 the kinds.
SELECT CASE WHEN (EXISTS (
    SELECT 1 FROM messages_in m
    LEFT JOIN processing_ack a ON @{a.session_id = m.session_id AND} a.message_id = m.id
    WHERE @{m.session_id = $1 AND} m.status = 'pending' AND m.process_after IS NULL
      AND (m.kind = $3 OR m.kind = $4 OR m.kind = $5 OR m.kind = $6 OR m.kind = $7)
      AND (a.message_id IS NULL OR (a.status = 'failed' AND m.void_attempt >= COALESCE(a.attempt, 0))
        OR (a.status = 'processing' AND (a.owner = '' OR a.attempt <= m.void_attempt
          OR (a.lease_until <= $2 AND a.expired + m.tries < 5))))
      AND NOT (m.kind = 'system' AND substr(m.id, 1, 3) = 'qr-' AND EXISTS (
        SELECT 1 FROM asked_questions q WHERE @{q.session_id = $1 AND} q.question_id IN (substr(m.id, 4),
          substr(m.id, 4, abs(length(rtrim(m.id, '0123456789')) - 4))) AND q.awaited_until > $2)))
  OR EXISTS (
    SELECT 1 FROM messages_in m
    LEFT JOIN processing_ack a ON @{a.session_id = m.session_id AND} a.message_id = m.id
    WHERE @{m.session_id = $1 AND} m.status = 'pending' AND m.process_after <= $2
      AND (m.kind = $3 OR m.kind = $4 OR m.kind = $5 OR m.kind = $6 OR m.kind = $7)
      AND (a.message_id IS NULL OR (a.status = 'failed' AND m.void_attempt >= COALESCE(a.attempt, 0))
        OR (a.status = 'processing' AND (a.owner = '' OR a.attempt <= m.void_attempt
          OR (a.lease_until <= $2 AND a.expired + m.tries < 5))))
      AND NOT (m.kind = 'system' AND substr(m.id, 1, 3) = 'qr-' AND EXISTS (
        SELECT 1 FROM asked_questions q WHERE @{q.session_id = $1 AND} q.question_id IN (substr(m.id, 4),
          substr(m.id, 4, abs(length(rtrim(m.id, '0123456789')) - 4))) AND q.awaited_until > $2))))
  AND $1 IS NOT NULL THEN 1 ELSE 0 END;

-- name: next_claimable
-- When the next message becomes due or the next claim runs out. $2 now.
SELECT min(at) FROM (
  SELECT at FROM (SELECT m.process_after AS at FROM messages_in m
    WHERE @{m.session_id = $1 AND} m.status = 'pending' AND m.process_after > $2 AND $1 IS NOT NULL
    ORDER BY m.process_after LIMIT 1) AS message
  UNION ALL
  SELECT at FROM (SELECT a.lease_until AS at FROM processing_ack a
    WHERE @{a.session_id = $1 AND} a.status = 'processing' AND a.lease_until > $2
    ORDER BY a.lease_until LIMIT 1) AS claim) AS times;

-- name: standing_owners
-- Who has claims. $2 now.
SELECT DISTINCT owner FROM processing_ack
WHERE @{session_id = $1 AND} status = 'processing' AND lease_until > $2 AND owner <> ''
  AND $1 IS NOT NULL LIMIT 256;

-- name: end_owner
-- The claims of one whose process is gone run out now. $2 now, $3 the owner.
UPDATE processing_ack SET lease_until = $2
WHERE @{session_id = $1 AND} status = 'processing' AND lease_until > $2 AND owner = $3 AND $1 IS NOT NULL;

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

-- name: get_claim
-- The acknowledgement's status, owner, attempt and lease, and the message's status and void attempt.
SELECT a.status, a.owner, a.attempt, a.lease_until, m.status, m.void_attempt
FROM processing_ack a LEFT JOIN messages_in m ON @{m.session_id = $1 AND} m.id = a.message_id
WHERE @{a.session_id = $1 AND} a.message_id = $2 AND $1 IS NOT NULL;

-- name: acknowledge
-- $2 the message, $3 its new status, $4 now, $5 the error, $6 owner, $7 the attempt.
UPDATE processing_ack SET status = $3, status_changed = $4, error = $5, lease_until = NULL,
  change = (SELECT COALESCE(max(change), 0) + 1 FROM processing_ack @{WHERE session_id = $1})
WHERE @{session_id = $1 AND} message_id = $2 AND status = 'processing' AND owner = $6 AND attempt = $7
  AND $1 IS NOT NULL;

-- name: extend_claim
-- $2 the message, $3 until when, $4 owner, $5 the attempt.
UPDATE processing_ack SET lease_until = $3
WHERE @{session_id = $1 AND} message_id = $2 AND status = 'processing' AND owner = $4 AND attempt = $5
  AND $1 IS NOT NULL;

-- name: release_claim
-- $2 the message, $3 now, $4 owner, $5 the attempt.
UPDATE processing_ack SET owner = '', lease_until = $3, status_changed = $3
WHERE @{session_id = $1 AND} message_id = $2 AND status = 'processing' AND owner = $4 AND attempt = $5
  AND $1 IS NOT NULL;

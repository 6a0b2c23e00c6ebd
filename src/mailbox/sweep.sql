-- Looking after sessions: sweep.c, sweep_session.c. The first ones are about the registry.

-- name: sessions_due
-- Whose time has come, the oldest first: $1 now, $2 how many.
SELECT id, agent_group_id, messaging_group_id, thread_id, agent_provider, status, container_status,
  last_active, created_at, incarnation, heartbeat_at, anchor, due_at
FROM sessions WHERE due_at <= $1 ORDER BY due_at LIMIT $2;

-- name: next_session_due
SELECT due_at FROM sessions WHERE due_at > $1 ORDER BY due_at LIMIT 1;

-- name: next_question_due
SELECT expires_at FROM pending_questions ORDER BY expires_at LIMIT 1;

-- name: has_old_unrouted
SELECT last_at FROM unrouted_messages WHERE last_at < $1 ORDER BY last_at LIMIT 1;

-- name: forget_old_unrouted
-- Of before $1, at most $2.
DELETE FROM unrouted_messages WHERE (channel_type, platform_id) IN (
  SELECT channel_type, platform_id FROM unrouted_messages WHERE last_at < $1 ORDER BY last_at LIMIT $2);

-- name: settle_session
-- Only as long as nobody else has moved due_at ($5) meanwhile. $2 the next one or nothing, $3 and $4
-- what is known newly.
UPDATE sessions SET due_at = $2, last_active = COALESCE($3, last_active),
  heartbeat_at = COALESCE($4, heartbeat_at)
WHERE id = $1 AND due_at = $5;

-- name: put_off_session
-- What went wrong with it may go right later.
UPDATE sessions SET due_at = $2 WHERE id = $1 AND due_at = $3;

-- name: claims_under_way
-- Of messages that are not finished, also claims that are void; $2 how many.
SELECT m.id, m.void_attempt, m.process_after, a.status_changed, a.owner, a.lease_until, a.attempt,
  a.incarnation
FROM processing_ack a CROSS JOIN messages_in m
WHERE @{a.session_id = $1 AND m.session_id = $1 AND} a.status = 'processing' AND m.id = a.message_id
  AND m.status = 'pending' AND $1 IS NOT NULL
ORDER BY a.lease_until LIMIT $2;

-- name: plain_claims_under_way
-- The same where the agent's side has the source's columns alone.
SELECT m.id, m.void_attempt, m.process_after, a.status_changed
FROM messages_in m CROSS JOIN processing_ack a
WHERE @{a.session_id = $1 AND m.session_id = $1 AND} m.status = 'pending' AND a.message_id = m.id
  AND a.status = 'processing' AND $1 IS NOT NULL
LIMIT $2;

-- name: deliveries_under_way
SELECT CAST($1 AS text), message_out_id, platform_message_id, status, delivered_at, attempts,
  next_attempt_at, last_error, lease_owner, seq
FROM delivered WHERE @{session_id = $1 AND} status = 'sending' ORDER BY next_attempt_at LIMIT $2;

-- name: lose_delivery
-- $2 which, $3 its attempt, $4 why.
UPDATE delivered SET status = 'uncertain', last_error = $4
WHERE @{session_id = $1 AND} message_out_id = $2 AND status = 'sending' AND attempts = $3
  AND $1 IS NOT NULL;

-- name: has_pending_input
-- TRUE: something is due for the agent, claimed or not.
SELECT EXISTS (SELECT 1 FROM messages_in WHERE @{session_id = $1 AND} status = 'pending'
    AND process_after IS NULL)
  OR EXISTS (SELECT 1 FROM messages_in WHERE @{session_id = $1 AND} status = 'pending'
    AND process_after <= $2) WHERE $1 IS NOT NULL;

-- name: has_free_input
-- TRUE: something is due that nobody has.
SELECT EXISTS (SELECT 1 FROM messages_in m LEFT JOIN processing_ack a
    ON @{a.session_id = m.session_id AND} a.message_id = m.id
    WHERE @{m.session_id = $1 AND} m.status = 'pending' AND m.process_after IS NULL
      AND (a.message_id IS NULL OR (a.status <> 'completed'
        AND (a.owner = '' OR m.void_attempt >= COALESCE(a.attempt, 1)))))
  OR EXISTS (SELECT 1 FROM messages_in m LEFT JOIN processing_ack a
    ON @{a.session_id = m.session_id AND} a.message_id = m.id
    WHERE @{m.session_id = $1 AND} m.status = 'pending' AND m.process_after <= $2
      AND (a.message_id IS NULL OR (a.status <> 'completed'
        AND (a.owner = '' OR m.void_attempt >= COALESCE(a.attempt, 1))))) WHERE $1 IS NOT NULL;

-- name: next_input
SELECT process_after FROM messages_in
WHERE @{session_id = $1 AND} status = 'pending' AND process_after > $2 AND $1 IS NOT NULL
ORDER BY process_after LIMIT 1;

-- name: next_output
SELECT due_at FROM outgoing WHERE @{session_id = $1 AND} due_at > $2 AND $1 IS NOT NULL
ORDER BY due_at LIMIT 1;

-- name: has_due_output
-- TRUE: something is to be delivered, or its permission to be checked.
SELECT EXISTS (SELECT 1 FROM outgoing o LEFT JOIN delivered d
    ON @{d.session_id = o.session_id AND} d.message_out_id = o.message_out_id
    WHERE @{o.session_id = $1 AND} o.due_at <= $2
      AND (d.status IS NULL OR d.status NOT IN ('sending', 'uncertain'))) WHERE $1 IS NOT NULL;

-- name: has_new_messages
-- TRUE: above number $2 and up to $3, which is where collecting stops.
SELECT EXISTS (SELECT 1 FROM messages_out WHERE @{session_id = $1 AND} seq > $2
  AND seq <= $3) WHERE $1 IS NOT NULL;

-- name: has_new_acks
-- A column of another type is above all numbers and does not count.
SELECT EXISTS (SELECT 1 FROM processing_ack WHERE @{session_id = $1 AND} change > $2
  AND change <= 9223372036854775807 AND status <> 'processing') WHERE $1 IS NOT NULL;

-- name: has_new_unnumbered_acks
SELECT EXISTS (SELECT 1 FROM messages_in m CROSS JOIN processing_ack p
  WHERE @{m.session_id = $1 AND p.session_id = $1 AND} m.status = 'pending'
    AND p.message_id = m.id AND p.change IS NULL AND p.status <> 'processing') WHERE $1 IS NOT NULL;

-- name: has_new_plain_acks
SELECT EXISTS (SELECT 1 FROM messages_in m CROSS JOIN processing_ack p
  WHERE @{m.session_id = $1 AND p.session_id = $1 AND} m.status = 'pending'
    AND p.message_id = m.id AND p.status <> 'processing') WHERE $1 IS NOT NULL;

-- name: latest_input
SELECT stored_at FROM messages_in WHERE @{session_id = $1 AND} $1 IS NOT NULL
ORDER BY seq DESC LIMIT 1;

-- name: latest_output
SELECT "timestamp" FROM messages_out WHERE @{session_id = $1 AND} $1 IS NOT NULL
ORDER BY seq DESC LIMIT 1;

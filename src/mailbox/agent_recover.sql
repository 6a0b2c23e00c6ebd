-- Claims of agents that are gone: agent_recover.c.

-- name: list_running_claims
-- $2 now.
SELECT message_id, owner, incarnation FROM processing_ack
WHERE @{session_id = $1 AND} $1 IS NOT NULL AND status = 'processing'
  AND (lease_until IS NULL OR lease_until > $2);

-- name: void_claim
-- $2 the message, $3 now. No process is the owner any more: who had it cannot report about it.
UPDATE processing_ack SET lease_until = $3, owner = 'gone', status_changed = $3,
  attempt = COALESCE(attempt, 1),
  change = (SELECT COALESCE(max(change), 0) + 1 FROM processing_ack @{WHERE session_id = $1})
WHERE @{session_id = $1 AND} message_id = $2 AND status = 'processing' AND $1 IS NOT NULL;

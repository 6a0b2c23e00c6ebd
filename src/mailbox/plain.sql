-- An agent against a host that knows only the source's tables: plain.c.

-- name: give_up_plain
-- Claims that ran out after the fifth repetition: nobody will take them again. $2 now.
UPDATE processing_ack SET status = 'failed', status_changed = $2, lease_until = NULL,
  error = 'claimed six times and never finished'
WHERE @{session_id = $1 AND} status = 'processing' AND lease_until <= $2 AND expired >= 5
  AND $1 IS NOT NULL;

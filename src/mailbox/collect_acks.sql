-- Acknowledgements: collect_acks.c. What is in processing_ack is the agent's and can be anything;
-- on SQLite every text and blob is greater than every number, so a range of numbers has no others.

-- name: outbound_id
-- Which outbound side this is.
SELECT outbound_id FROM session_agent WHERE @{session_id = $1 AND} id = 1 AND $1 IS NOT NULL;

-- name: last_out_seq_and_change
-- $2, $3: at most.
SELECT (SELECT CAST(max(seq) AS bigint) FROM messages_out
    WHERE @{session_id = $1 AND} seq <= $2 AND $1 IS NOT NULL),
  (SELECT CAST(max(change) AS bigint) FROM processing_ack
    WHERE @{session_id = $1 AND} change <= $3 AND $1 IS NOT NULL);

-- name: new_changes
-- $2 after, $3 up to, $4 how many.
SELECT CAST(change AS bigint) FROM processing_ack
WHERE @{session_id = $1 AND} change > $2 AND change <= $3
  AND change = CAST(change AS bigint) AND $1 IS NOT NULL
ORDER BY change LIMIT $4;

-- name: new_acks
-- The same, whole rows, also of claims under way.
SELECT CAST($1 AS text), message_id, status, status_changed, owner, lease_until, attempt,
  @{CASE WHEN octet_length(COALESCE(error, '')) <= 65536 THEN} error @{END}, change, incarnation,
  expired
FROM processing_ack
WHERE @{session_id = $1 AND} change > $2 AND change <= $3
ORDER BY change LIMIT $4;

-- name: acks_of_change
SELECT CAST($1 AS text), message_id, status, status_changed, owner, lease_until, attempt, error,
  change, incarnation, expired
FROM processing_ack
WHERE @{session_id = $1 AND octet_length(COALESCE(error, '')) <= 65536 AND} change = $2
  AND status <> 'processing' LIMIT 10;

-- name: has_unnumbered_acks
-- A program that knows only the source's columns leaves change NULL.
SELECT 1 FROM processing_ack
WHERE @{session_id = $1 AND} change IS NULL AND $1 IS NOT NULL LIMIT 1;

-- name: pending_ids
-- Of messages that nobody has finished. $2 how many.
SELECT id FROM messages_in
WHERE @{session_id = $1 AND} status = 'pending' AND $1 IS NOT NULL
ORDER BY process_after, seq LIMIT $2;

-- name: unnumbered_ack
-- The source's columns alone, which every outbound side has.
SELECT status, status_changed FROM processing_ack
WHERE @{session_id = $1 AND} message_id = $2 AND $1 IS NOT NULL;

-- name: ack_change_is_absent
SELECT 1 FROM processing_ack
WHERE @{session_id = $1 AND} message_id = $2 AND change IS NULL AND $1 IS NOT NULL;

-- name: expired_claims
-- Claims of the message that ran out before this attempt without the host.
SELECT expired FROM processing_ack
WHERE @{session_id = $1 AND} message_id = $2 AND attempt = $3 AND $1 IS NOT NULL;

-- name: retry_inbound
-- $3 tries, $4 the attempt that is over, $5 due again, $6 why.
UPDATE messages_in SET tries = $3, void_attempt = $4, process_after = $5, last_error = $6
WHERE @{session_id = $1 AND} id = $2 AND void_attempt < $4
  AND status IN ('pending', 'paused') AND $1 IS NOT NULL;

-- name: complete_unrepeated
-- As end_inbound, of a message that does not recur. $3 when.
UPDATE messages_in SET status = 'completed', finished_at = $3
WHERE @{session_id = $1 AND} id = $2 AND status IN ('pending', 'paused') AND recurrence IS NULL
  AND $1 IS NOT NULL;

-- name: move_cursors
-- $2 to $4 the new ones, $5 to $7 as they were read.
UPDATE session_host SET ack_change = $2, out_seq = $3, outbound_id = $4
WHERE @{session_id = $1 AND} id = 1 AND ack_change = $5 AND out_seq = $6 AND outbound_id = $7
  AND $1 IS NOT NULL;

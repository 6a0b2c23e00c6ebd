-- What is due of the messages that the host has taken over: collect_due.c. One that is being sent,
-- or of which nobody knows, is not due; one to an address where an earlier one is being sent or
-- waits for its next attempt waits, too.

-- name: due_retries
-- Those that were begun before. $2 now, $3 how many.
SELECT CAST($1 AS text), o.message_out_id, o.seq, o.due_at, o.attempts, o.address FROM outgoing o
WHERE @{o.session_id = $1 AND} o.attempts > 0 AND o.due_at <= $2
  AND NOT EXISTS (SELECT 1 FROM delivered d WHERE @{d.session_id = $1 AND}
    d.message_out_id = o.message_out_id AND d.status IN ('sending', 'uncertain'))
  AND NOT EXISTS (SELECT 1 FROM outgoing b WHERE @{b.session_id = $1 AND}
    b.address = o.address AND b.attempts > 0 AND b.seq < o.seq AND b.due_at > $2)
ORDER BY o.address, o.seq LIMIT $3;

-- name: due_fresh
-- $2 now; behind $3, $4; $5 how many.
SELECT CAST($1 AS text), o.message_out_id, o.seq, o.due_at, o.attempts, o.address FROM outgoing o
WHERE @{o.session_id = $1 AND} o.due_at <= $2 AND (o.due_at, o.seq) > ($3, $4)
  AND o.attempts = 0 AND $1 IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM outgoing b WHERE @{b.session_id = $1 AND}
    b.address = o.address AND b.attempts > 0 AND b.seq < o.seq AND b.due_at > $2)
ORDER BY o.due_at, o.seq LIMIT $5;

-- name: taken_out_seq
-- Up to here everything has been taken over.
SELECT out_seq FROM session_host WHERE @{session_id = $1 AND} id = 1 AND $1 IS NOT NULL;

-- name: next_outgoing
SELECT min(due_at) FROM outgoing WHERE @{session_id = $1 AND} due_at > $2 AND $1 IS NOT NULL;

-- name: platform_id_of_in_seq
SELECT COALESCE(dedup_key, id) FROM messages_in
WHERE @{session_id = $1 AND} seq = $2 AND $1 IS NOT NULL;

-- name: platform_id_of_in_id
SELECT COALESCE(dedup_key, id) FROM messages_in
WHERE @{session_id = $1 AND} id = $2 AND $1 IS NOT NULL;

-- name: out_id_of_seq
SELECT id FROM messages_out WHERE @{session_id = $1 AND} seq = $2 AND $1 IS NOT NULL LIMIT 1;

-- name: out_seq_of_id
SELECT CAST(seq AS bigint) FROM messages_out
WHERE @{session_id = $1 AND} id = $2 AND $1 IS NOT NULL LIMIT 1;

-- name: postpone_outgoing
-- A hand-over that failed: $3 when it is tried again.
UPDATE outgoing SET due_at = $3, attempts = attempts + 1
WHERE @{session_id = $1 AND} message_out_id = $2 AND $1 IS NOT NULL;

-- What the agent's side removes when the host has pruned: agent_prune.c. $2 the time before which
-- things are old, $3 how many. The greatest number of each kind stays, so that none is given twice.

-- name: old_acks
-- Of messages that the host has finished, or removed.
SELECT a.message_id FROM processing_ack a
LEFT JOIN messages_in m ON @{m.session_id = a.session_id AND} m.id = a.message_id
WHERE @{a.session_id = $1 AND} a.status_changed < $2
  AND (a.change IS NULL OR a.change < (SELECT max(change) FROM processing_ack
    @{WHERE session_id = $1}))
  AND (m.id IS NULL OR m.finished_at < $2) AND $1 IS NOT NULL
ORDER BY a.change LIMIT $3;

-- name: remove_ack
DELETE FROM processing_ack WHERE @{session_id = $1 AND} message_id = $2 AND $1 IS NOT NULL;

-- name: old_messages_out
-- Taken over by the host, and done with.
SELECT o.id FROM messages_out o
WHERE @{o.session_id = $1 AND} o.timestamp < $2 AND o.recurrence IS NULL
  AND o.seq < (SELECT max(seq) FROM messages_out @{WHERE session_id = $1})
  AND o.seq <= (SELECT h.out_seq FROM session_host h JOIN session_agent s
    ON @{s.session_id = h.session_id AND} s.outbound_id = h.outbound_id
    WHERE @{h.session_id = $1 AND} h.id = 1)
  AND NOT EXISTS (SELECT 1 FROM outgoing g
    WHERE @{g.session_id = $1 AND} g.message_out_id = o.id)
  AND NOT EXISTS (SELECT 1 FROM delivered d WHERE @{d.session_id = $1 AND} d.message_out_id = o.id
    AND (d.delivered_at IS NULL OR d.delivered_at >= $2)) AND $1 IS NOT NULL
ORDER BY o.seq LIMIT $3;

-- name: remove_message_out
DELETE FROM messages_out WHERE @{session_id = $1 AND} id = $2 AND $1 IS NOT NULL;

-- name: remove_old_questions
DELETE FROM asked_questions WHERE @{session_id = $1 AND} asked_at < $2 AND $1 IS NOT NULL;

-- name: set_pruned
-- $2 until when.
UPDATE session_agent SET pruned_before = $2 WHERE @{session_id = $1 AND} id = 1 AND $1 IS NOT NULL;

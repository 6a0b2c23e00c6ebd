-- What the registry and the sessions say of each other: check_mailbox.c, check_session.c. Of a server
-- the tables of all sessions are looked at at once, and keys begin with the session.

-- name: mailbox_take_turn only sqlite
SELECT 1;

-- name: mailbox_take_turn only postgres
UPDATE host_turns SET n = n + 1 WHERE id = 1;

-- name: mailbox_closed_with_anchor
SELECT id FROM sessions WHERE status = 'closed' AND anchor IS NOT NULL;

-- name: mailbox_clear_anchors
UPDATE sessions SET anchor = NULL WHERE status = 'closed' AND anchor IS NOT NULL;

-- name: mailbox_sessions_behind only sqlite
SELECT id, agent_group_id, due_at IS NOT NULL FROM sessions WHERE id > $1 ORDER BY id LIMIT 200;

-- name: mailbox_sessions_behind only postgres
SELECT id, agent_group_id, due_at IS NOT NULL FROM sessions WHERE id COLLATE "C" > $1
ORDER BY id COLLATE "C" LIMIT 200;

-- name: mailbox_session_is_there
SELECT count(*) FROM sessions WHERE id = $1;

-- name: mailbox_wake_session
-- $1 the time, $2 the session.
UPDATE sessions SET due_at = $1 WHERE id = $2 AND due_at IS NULL;

-- name: mailbox_session_is_due
SELECT count(*) FROM sessions WHERE id = $1 AND due_at IS NOT NULL;

-- name: session_has_inbound
SELECT count(*) FROM messages_in WHERE id = $1;

-- name: session_has_outbound
SELECT count(*) FROM messages_out WHERE id = $1;

-- name: session_is_marked
SELECT count(*) FROM session_host WHERE marked;

-- name: session_asleep only sqlite
-- Of a folder two files are compared: check_session.c.
SELECT CAST(NULL AS text) WHERE FALSE;

-- name: session_asleep only postgres
SELECT s.id FROM sessions s JOIN session_host h ON h.session_id = s.id
WHERE h.marked AND s.due_at IS NULL AND s.status = 'active';

-- name: session_wake_all only sqlite
SELECT $1;

-- name: session_wake_all only postgres
UPDATE sessions SET due_at = $1 WHERE due_at IS NULL AND status = 'active' AND id IN (
  SELECT session_id FROM session_host WHERE marked);

-- name: session_bad_in
SELECT @{session_id || ' ' ||} id, seq, seq + 1 FROM messages_in WHERE seq < 1 OR seq % 2 <> 0;

-- name: session_bad_out
SELECT @{session_id || ' ' ||} id, seq, seq + 1 FROM messages_out WHERE seq < 1 OR seq % 2 <> 1;

-- name: session_outgoing_without_message
-- The host has taken it over, and the agent's side has it no more.
SELECT @{o.session_id || ' ' ||} o.message_out_id FROM outgoing o
WHERE NOT EXISTS (SELECT 1 FROM messages_out m
  WHERE @{m.session_id = o.session_id AND} m.id = o.message_out_id);

-- name: session_without_host only sqlite
SELECT 'session_host' WHERE NOT EXISTS (SELECT 1 FROM session_host WHERE id = 1);

-- name: session_without_host only postgres
SELECT id FROM sessions WHERE NOT EXISTS (SELECT 1 FROM session_host h WHERE h.session_id = sessions.id);

-- name: session_claims
-- Key, owner, until when.
SELECT @{a.session_id || ' ' ||} a.message_id, a.owner, a.lease_until FROM processing_ack a
JOIN messages_in m ON @{m.session_id = a.session_id AND} m.id = a.message_id
WHERE a.status = 'processing' AND m.status = 'pending' AND a.owner IS NOT NULL AND a.owner <> ''
  AND coalesce(a.attempt, 1) > m.void_attempt;

-- name: session_deliveries
SELECT @{session_id || ' ' ||} message_out_id, lease_owner, next_attempt_at FROM delivered
WHERE status = 'sending';

-- name: session_holding only sqlite
SELECT CAST(NULL AS text) WHERE FALSE;

-- name: session_holding only postgres
-- Sessions that have claims or deliveries under way.
SELECT DISTINCT session_id FROM processing_ack WHERE status = 'processing'
UNION SELECT DISTINCT session_id FROM delivered WHERE status = 'sending';

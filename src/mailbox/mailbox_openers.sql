-- What opening and writing begin with: mailbox.c, session_access.c, agent.c.

-- name: take_host_turn only postgres
-- Hosts of a schema write one after the other.
UPDATE host_turns SET n = n + 1 WHERE id = 1;

-- name: take_host_turn only sqlite
SELECT 1;

-- name: take_agent_turn
-- Agents of a session write one after the other; on SQLite the file sees to it.
UPDATE session_agent SET outbound_id = outbound_id WHERE @{session_id = $1 AND} id = 1 AND $1 IS NOT NULL;

-- name: get_session_host
SELECT CAST($1 AS text), id, session, agent_group_id, incarnation, marked, ack_change, out_seq,
  outbound_id, closed, prune_before
FROM session_host WHERE @{session_id = $1 AND} id = 1;

-- name: get_session_agent
SELECT CAST($1 AS text), id, outbound_id, heartbeat_at, pruned_before
FROM session_agent WHERE @{session_id = $1 AND} id = 1;

-- name: is_marked
-- 1: the registry knows that this session must be looked at; parameter $1 is the session.
SELECT CASE WHEN marked THEN 1 ELSE 0 END FROM session_host
WHERE @{session_id = $1 AND} id = 1 AND $1 IS NOT NULL;

-- name: set_marked
UPDATE session_host SET marked = $2 WHERE @{session_id = $1 AND} id = 1 AND $1 IS NOT NULL;

-- name: add_session_host
INSERT INTO session_host (@{session_id,} id, session, agent_group_id)
VALUES (@{$1,} 1, $1, $2) ON CONFLICT DO NOTHING;

-- name: add_session_agent
INSERT INTO session_agent (@{session_id,} id, outbound_id)
VALUES (@{$1,} 1, $2) ON CONFLICT DO NOTHING;

-- name: add_session_route
INSERT INTO session_routing (@{session_id,} id, channel_type, platform_id, thread_id)
VALUES (@{$1,} 1, $2, $3, $4) ON CONFLICT DO NOTHING;

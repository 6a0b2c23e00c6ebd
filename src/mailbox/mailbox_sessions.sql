-- The registry's sessions: session_make.c and its neighbours.

-- name: get_session
SELECT id, agent_group_id, messaging_group_id, thread_id, agent_provider, status, container_status,
  last_active, created_at, incarnation, heartbeat_at, anchor, due_at
FROM sessions WHERE id = $1;

-- name: mark_session
-- The host looks at it at the latest then.
UPDATE sessions SET due_at = $2 WHERE id = $1 AND (due_at IS NULL OR due_at > $2);

-- name: get_session_by_anchor
SELECT id, agent_group_id, messaging_group_id, thread_id, agent_provider, status, container_status,
  last_active, created_at, incarnation, heartbeat_at, anchor, due_at
FROM sessions WHERE anchor = $1;

-- name: add_session
INSERT INTO sessions (id, agent_group_id, messaging_group_id, thread_id, agent_provider, status,
  container_status, last_active, created_at, incarnation, heartbeat_at, anchor, due_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);

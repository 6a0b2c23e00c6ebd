-- Waiting for agents: mailbox_wait.c. All about the registry.

-- name: sessions_after only sqlite
-- Those made later than the last one that was seen: its rowid, $2 how many.
SELECT id, agent_group_id, rowid FROM sessions WHERE rowid > $1 AND status = 'active'
ORDER BY rowid LIMIT $2;

-- name: sessions_after only postgres
SELECT id, agent_group_id, CAST($1 AS bigint) FROM sessions WHERE FALSE LIMIT $2;

-- name: sessions_awake
-- Where somebody is at work, or should be.
SELECT id, agent_group_id FROM sessions WHERE due_at IS NOT NULL
UNION SELECT id, agent_group_id FROM sessions WHERE container_status <> 'stopped';

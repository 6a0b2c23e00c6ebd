-- Agents' tasks: agent_tasks.c, task_claim.c.

-- name: get_task
SELECT * FROM agent_tasks WHERE task_id = $1;

-- name: add_task
INSERT INTO agent_tasks (task_id, conversation_id, agent_name, "action", parameters, status,
  created_at)
VALUES ($1, $2, $3, $4, $5, 'pending', $6);

-- name: list_tasks
SELECT * FROM agent_tasks WHERE id < $1 ORDER BY id DESC LIMIT $2;

-- name: list_tasks_in
-- Of a status.
SELECT * FROM agent_tasks WHERE status = $1 AND id < $2 ORDER BY id DESC LIMIT $3;

-- name: list_tasks_for
-- Of an agent.
SELECT * FROM agent_tasks WHERE agent_name = $1 AND id < $2 ORDER BY id DESC LIMIT $3;

-- name: list_tasks_for_in
SELECT * FROM agent_tasks WHERE agent_name = $1 AND status = $2 AND id < $3
ORDER BY id DESC LIMIT $4;

-- name: list_tasks_of
-- Of a conversation, whose tasks retention bounds: the rest is looked for among them.
SELECT * FROM agent_tasks WHERE conversation_id = $1 AND id < $2
  AND (CAST($3 AS text) IS NULL OR agent_name = $3)
  AND (CAST($4 AS text) IS NULL OR status = $4)
ORDER BY id DESC LIMIT $5;

-- name: oldest_pending
SELECT * FROM agent_tasks WHERE status = 'pending' ORDER BY id LIMIT $1;

-- name: oldest_pending_for
SELECT * FROM agent_tasks WHERE agent_name = $1 AND status = 'pending' ORDER BY id LIMIT $2;

-- name: has_expired_task
SELECT 1 FROM agent_tasks WHERE status = 'running' AND lease_until <= $1 LIMIT 1;

-- name: task_owner_behind
-- Whose processes have tasks, one after the other: each is one look into the index.
SELECT lease_owner FROM agent_tasks WHERE status = 'running' AND lease_owner > $1
ORDER BY lease_owner LIMIT 1;

-- name: interrupt_expired
UPDATE agent_tasks SET status = 'interrupted', completed_at = $1, lease_until = NULL,
  lease_by = NULL, lease_owner = NULL, error_message = $2
WHERE status = 'running' AND lease_until <= $1;

-- name: interrupt_tasks_of_owner
UPDATE agent_tasks SET status = 'interrupted', completed_at = $1, lease_until = NULL,
  lease_by = NULL, lease_owner = NULL, error_message = $2
WHERE status = 'running' AND lease_owner = $3;

-- name: set_task
-- A step of one task: everything that changes in its life.
UPDATE agent_tasks SET status = $2, result = $3, error_message = $4, started_at = $5,
  completed_at = $6, attempt = $7, lease_by = $8, lease_owner = $9, lease_until = $10,
  cancel_asked_at = $11
WHERE id = $1;

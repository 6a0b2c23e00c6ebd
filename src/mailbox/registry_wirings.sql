-- Wirings: registry_wirings.c. The order of ids is that of their bytes on both drivers.

-- name: get_wiring
SELECT * FROM messaging_group_agents WHERE id = $1;

-- name: wiring_of_pair
SELECT * FROM messaging_group_agents WHERE messaging_group_id = $1 AND agent_group_id = $2;

-- name: put_wiring
INSERT INTO messaging_group_agents VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (id) DO UPDATE SET trigger_rules = excluded.trigger_rules,
  response_scope = excluded.response_scope, session_mode = excluded.session_mode,
  priority = excluded.priority;

-- name: remove_wiring
DELETE FROM messaging_group_agents WHERE id = $1;

-- name: count_chat_wirings
SELECT count(*) FROM messaging_group_agents WHERE messaging_group_id = $1;

-- name: chat_wirings
SELECT * FROM messaging_group_agents WHERE messaging_group_id = $1
ORDER BY priority DESC, id @{COLLATE "C"} LIMIT $2;

-- name: agent_wirings
SELECT * FROM messaging_group_agents WHERE agent_group_id = $1
ORDER BY priority DESC, id @{COLLATE "C"} LIMIT $2;

-- name: all_wirings
SELECT * FROM messaging_group_agents ORDER BY priority DESC, id @{COLLATE "C"} LIMIT $1;

-- Agent groups and chats: registry_groups.c.

-- name: get_agent_group
SELECT * FROM agent_groups WHERE id = $1;

-- name: agent_group_by_folder
SELECT * FROM agent_groups WHERE folder = $1;

-- name: put_agent_group
INSERT INTO agent_groups VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, folder = excluded.folder,
  is_admin = excluded.is_admin, agent_provider = excluded.agent_provider,
  container_config = excluded.container_config;

-- name: list_agent_groups
SELECT * FROM agent_groups WHERE id > $1 ORDER BY id LIMIT $2;

-- name: remove_agent_group
DELETE FROM agent_groups WHERE id = $1;

-- name: remove_destinations_of_agent
DELETE FROM agent_destinations WHERE agent_group_id = $1;

-- name: agent_group_wirings
-- What stands in a removal's way: the first two, and how many there are.
SELECT id, count(*) OVER () FROM messaging_group_agents WHERE agent_group_id = $1 ORDER BY id LIMIT 2;

-- name: agent_group_sessions
SELECT id, count(*) OVER () FROM sessions WHERE agent_group_id = $1 ORDER BY id LIMIT 2;

-- name: agent_group_senders
-- Others that may send to it.
SELECT agent_group_id || '/' || name, count(*) OVER () FROM agent_destinations
WHERE target_agent_group_id = $1 AND agent_group_id <> $1 ORDER BY agent_group_id, name LIMIT 2;

-- name: get_messaging_group
SELECT * FROM messaging_groups WHERE id = $1;

-- name: messaging_group_by_address
SELECT * FROM messaging_groups WHERE channel_type = $1 AND platform_id = $2;

-- name: put_messaging_group
INSERT INTO messaging_groups VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (id) DO UPDATE SET channel_type = excluded.channel_type,
  platform_id = excluded.platform_id, name = excluded.name, is_group = excluded.is_group,
  admin_user_id = excluded.admin_user_id;

-- name: move_chat_destinations
-- The chat $1 has another address, $4 and $5: its agents' permissions go with it.
UPDATE agent_destinations SET channel_type = $4, platform_id = $5
WHERE channel_type = $2 AND platform_id = $3 AND type = 'channel'
  AND agent_group_id IN (SELECT agent_group_id FROM messaging_group_agents
    WHERE messaging_group_id = $1);

-- name: list_messaging_groups
SELECT * FROM messaging_groups WHERE id > $1 ORDER BY id LIMIT $2;

-- name: remove_messaging_group
DELETE FROM messaging_groups WHERE id = $1;

-- name: messaging_group_wirings
SELECT id, count(*) OVER () FROM messaging_group_agents WHERE messaging_group_id = $1
ORDER BY id LIMIT 2;

-- name: messaging_group_sessions
SELECT id, count(*) OVER () FROM sessions WHERE messaging_group_id = $1 ORDER BY id LIMIT 2;

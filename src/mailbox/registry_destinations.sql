-- Where agents may send: registry_destinations.c.

-- name: get_agent_destination
SELECT * FROM agent_destinations WHERE agent_group_id = $1 AND name = $2;

-- name: agent_destination_to_chat
SELECT * FROM agent_destinations WHERE agent_group_id = $1 AND channel_type = $2
  AND platform_id = $3 AND type = 'channel' ORDER BY name LIMIT 1;

-- name: agent_destination_to_agent
SELECT * FROM agent_destinations WHERE agent_group_id = $1 AND target_agent_group_id = $2
  AND type = 'agent' ORDER BY name LIMIT 1;

-- name: put_agent_destination
INSERT INTO agent_destinations VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (agent_group_id, name) DO UPDATE SET display_name = excluded.display_name,
  type = excluded.type, channel_type = excluded.channel_type, platform_id = excluded.platform_id,
  target_agent_group_id = excluded.target_agent_group_id;

-- name: remove_agent_destination
DELETE FROM agent_destinations WHERE agent_group_id = $1 AND name = $2;

-- name: list_agent_destinations
SELECT * FROM agent_destinations WHERE agent_group_id = $1 ORDER BY name LIMIT $2;

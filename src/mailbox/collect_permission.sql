-- Where an agent may send: collect_permission.c.

-- name: may_send_to_chat
-- $1 the agent group, $2 the channel, $3 the chat, $4 the chat of the session or NULL.
SELECT 1 FROM agent_destinations
WHERE agent_group_id = $1 AND channel_type = $2 AND platform_id = $3 AND type = 'channel'
UNION ALL SELECT 1 FROM messaging_groups WHERE id = $4 AND channel_type = $2 AND platform_id = $3;

-- name: may_send_to_agent
-- $1 the agent group, $2 the other one.
SELECT 1 FROM agent_destinations
WHERE target_agent_group_id = $2 AND agent_group_id = $1 AND type = 'agent' LIMIT 1;

-- Messages between agents: agent_to_agent.c.

-- name: has_agent_group
SELECT 1 FROM agent_groups WHERE id = $1;

-- Agents' definitions: agents.c, agent_select.c.

-- name: get_agent
SELECT * FROM agent_definitions WHERE name = $1;

-- name: list_agents
-- All of them; their number is bounded.
SELECT * FROM agent_definitions ORDER BY priority DESC, name @{COLLATE "C"};

-- name: list_enabled_agents
SELECT * FROM agent_definitions WHERE enabled = TRUE ORDER BY priority DESC, name @{COLLATE "C"};

-- name: count_agents
SELECT count(*) FROM agent_definitions;

-- name: add_agent
INSERT INTO agent_definitions (name, display_name, role, goal, backstory, tools, priority,
  intent_keywords, category, enabled, allow_delegation, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12);

-- name: set_agent
UPDATE agent_definitions SET display_name = $2, role = $3, goal = $4, backstory = $5, tools = $6,
  priority = $7, intent_keywords = $8, category = $9, enabled = $10, allow_delegation = $11,
  updated_at = $12
WHERE name = $1;

-- name: remove_agent
DELETE FROM agent_definitions WHERE name = $1;

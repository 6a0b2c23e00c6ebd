-- The files that new sessions are copies of: session_template.c.

-- name: fill_template_in only sqlite
-- $1 the session, $2 its agent group, $3 its incarnation, $4 whether it is closed.
UPDATE session_host SET session = $1, agent_group_id = $2, incarnation = $3, closed = $4
WHERE id = 1;

-- name: fill_template_in only postgres
SELECT 1;

-- name: fill_template_out only sqlite
-- $1 the outbound side's id.
UPDATE session_agent SET outbound_id = $1 WHERE id = 1;

-- name: fill_template_out only postgres
SELECT 1;

-- Sessions of agents, their log, and a router's state: gateway_sessions.c.

-- name: get_session
SELECT * FROM sessions WHERE group_folder = $1 AND topic = $2;

-- name: set_session
INSERT INTO sessions (group_folder, topic, session_id, updated_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (group_folder, topic) DO UPDATE SET
  session_id = excluded.session_id, updated_at = excluded.updated_at;

-- name: delete_session
DELETE FROM sessions WHERE group_folder = $1 AND topic = $2;

-- name: list_sessions
SELECT * FROM sessions WHERE group_folder = $1 AND topic > $2 ORDER BY topic LIMIT $3;

-- name: list_sessions_from_first
SELECT * FROM sessions WHERE group_folder = $1 ORDER BY topic LIMIT $2;

-- name: start_run
INSERT INTO session_log (group_folder, topic, session_id, started_at) VALUES ($1, $2, $3, $4)
RETURNING id;

-- name: end_run
-- A run ends once.
UPDATE session_log SET ended_at = $2, result = $3, error = $4, message_count = $5
WHERE id = $1 AND ended_at IS NULL;

-- name: get_run
SELECT * FROM session_log WHERE id = $1;

-- name: recent_runs
SELECT * FROM session_log WHERE group_folder = $1 AND id < $2 ORDER BY id DESC LIMIT $3;

-- name: get_state
SELECT * FROM router_state WHERE "key" = $1;

-- name: set_state
INSERT INTO router_state ("key", "value") VALUES ($1, $2)
ON CONFLICT ("key") DO UPDATE SET "value" = excluded."value";

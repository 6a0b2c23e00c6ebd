-- What an agent remembers, and that it lives: agent_state.c.

-- name: get_state
SELECT CAST($1 AS text), key, value, updated_at FROM session_state
WHERE @{session_id = $1 AND} key = $2 AND $1 IS NOT NULL;

-- name: list_state
SELECT CAST($1 AS text), key, value, updated_at FROM session_state
WHERE @{session_id = $1 AND} $1 IS NOT NULL ORDER BY key LIMIT 1000;

-- name: change_state
UPDATE session_state SET value = $3, updated_at = $4
WHERE @{session_id = $1 AND} key = $2 AND $1 IS NOT NULL;

-- name: add_state
-- Nothing when there are too many.
INSERT INTO session_state (@{session_id,} key, value, updated_at)
SELECT @{$1,} $2, $3, $4 WHERE $1 IS NOT NULL
  AND (SELECT count(*) FROM session_state @{WHERE session_id = $1}) < 1000;

-- name: clear_state
DELETE FROM session_state WHERE @{session_id = $1 AND} key = $2 AND $1 IS NOT NULL;

-- name: clear_all_state
DELETE FROM session_state WHERE @{session_id = $1 AND} $1 IS NOT NULL;

-- name: set_heartbeat
UPDATE session_agent SET heartbeat_at = $2 WHERE @{session_id = $1 AND} id = 1 AND $1 IS NOT NULL;

-- Prompts and their revisions: prompts.c.

-- name: get_prompt
SELECT * FROM prompts WHERE key = $1;

-- name: list_prompts
SELECT * FROM prompts ORDER BY key;

-- name: add_prompt
INSERT INTO prompts (key, value, description, created_at, updated_at, revision)
VALUES ($1, $2, $3, $4, $4, 1);

-- name: set_prompt
UPDATE prompts SET value = $2, description = $3, updated_at = $4, revision = $5 WHERE key = $1;

-- name: add_prompt_revision
INSERT INTO prompt_revisions (key, revision, value, set_at, replaced_at)
VALUES ($1, $2, $3, $4, $5);

-- name: prompt_history
SELECT * FROM prompt_revisions WHERE key = $1 ORDER BY revision DESC LIMIT $2;

-- name: get_prompt_revision
SELECT * FROM prompt_revisions WHERE key = $1 AND revision = $2;

-- name: remove_prompt
DELETE FROM prompts WHERE key = $1;

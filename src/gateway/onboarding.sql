-- Chats that ask for a world of their own: gateway_onboarding.c.

-- name: insert_onboarding
INSERT INTO onboarding (jid, status, sender, channel, created_at)
VALUES ($1, 'awaiting_name', $2, $3, $4) ON CONFLICT (jid) DO NOTHING;

-- name: get_onboarding
SELECT * FROM onboarding WHERE jid = $1;

-- name: list_onboarding
SELECT * FROM onboarding ORDER BY created_at, jid LIMIT $1;

-- name: list_onboarding_of_status
SELECT * FROM onboarding WHERE status = $2 ORDER BY created_at, jid LIMIT $1;

-- name: set_prompted
UPDATE onboarding SET prompted_at = $2 WHERE jid = $1 AND status = 'awaiting_name';

-- name: submit_world_name
UPDATE onboarding SET status = 'pending', world_name = $2
WHERE jid = $1 AND status = 'awaiting_name';

-- name: find_world_name
-- Who has a name already: a group's folder, or another open request.
SELECT 1 FROM registered_groups WHERE folder = $2
UNION ALL
SELECT 1 FROM onboarding
WHERE world_name = $2 AND status IN ('awaiting_name', 'pending') AND jid <> $1
LIMIT 1;

-- name: decide_onboarding
-- From one of two states, so that a decision is made once.
UPDATE onboarding SET status = $2, decided_at = $3, decided_by = $4
WHERE jid = $1 AND status IN ($5, $6);

-- name: insert_onboarded_group
INSERT INTO registered_groups VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (jid) DO NOTHING;

-- name: insert_onboarded_route
INSERT INTO routes (jid, seq, type, match, target) VALUES ($1, $2, $3, $4, $5);

-- Registered groups: gateway_groups.c.

-- name: get_group
SELECT * FROM registered_groups WHERE jid = $1;

-- name: put_group
-- Register or renew; what stays was read in the same transaction.
INSERT INTO registered_groups VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (jid) DO UPDATE SET
  folder = excluded.folder, trigger_word = excluded.trigger_word,
  requires_trigger = excluded.requires_trigger, container_config = excluded.container_config,
  parent = excluded.parent, slink_token = excluded.slink_token, name = excluded.name,
  state = excluded.state, updated_at = excluded.updated_at, slink_hash = excluded.slink_hash;

-- name: find_slink_owner
-- Whose token it is.
SELECT jid FROM registered_groups WHERE slink_hash = $1;

-- name: group_by_slink_hash
SELECT * FROM registered_groups WHERE slink_hash = $1 AND state = 'active';

-- name: groups_by_state
SELECT * FROM registered_groups WHERE state = $1 ORDER BY jid LIMIT $2;

-- name: groups_by_folder
SELECT * FROM registered_groups WHERE folder = $1 ORDER BY jid LIMIT $2;

-- name: move_group
-- One step of a group's state.
UPDATE registered_groups SET state = $3, updated_at = $4 WHERE jid = $1 AND state = $2;

-- name: remove_group
DELETE FROM registered_groups WHERE jid = $1;

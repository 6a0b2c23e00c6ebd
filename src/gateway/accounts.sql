-- Web accounts, their refresh tokens, folders and signing keys: gateway_accounts.c,
-- gateway_sign_in.c, gateway_access.c.

-- name: insert_user
INSERT INTO auth_users VALUES ($1, $2, $3, $4, $5, $6);

-- name: get_user_by_sub
SELECT * FROM auth_users WHERE sub = $1;

-- name: get_user_by_username
SELECT * FROM auth_users WHERE username = $1;

-- name: list_users
SELECT * FROM auth_users WHERE sub > $1 ORDER BY sub LIMIT $2;

-- name: set_hash
UPDATE auth_users SET hash = $2 WHERE sub = $1;

-- name: renew_hash
-- The same password at another cost; not when the password was changed meanwhile.
UPDATE auth_users SET hash = $2 WHERE sub = $1 AND hash = $3;

-- name: set_disabled
UPDATE auth_users SET disabled = $2 WHERE sub = $1;

-- name: add_user_folder
INSERT INTO user_groups VALUES ($1, $2) ON CONFLICT (user_sub, folder) DO NOTHING;

-- name: clear_user_folders
DELETE FROM user_groups WHERE user_sub = $1;

-- name: user_folders
SELECT * FROM user_groups WHERE user_sub = $1 ORDER BY folder;

-- name: insert_auth_session
INSERT INTO auth_sessions VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: get_auth_session
SELECT * FROM auth_sessions WHERE token_hash = $1;

-- name: use_auth_session
-- One of many that race wins.
UPDATE auth_sessions SET used_at = $2
WHERE token_hash = $1 AND used_at IS NULL AND revoked_at IS NULL;

-- name: revoke_family
UPDATE auth_sessions SET revoked_at = $2 WHERE family_id = $1 AND revoked_at IS NULL;

-- name: revoke_user_sessions
UPDATE auth_sessions SET revoked_at = $2 WHERE user_sub = $1 AND revoked_at IS NULL;

-- name: sweep_auth_sessions
DELETE FROM auth_sessions WHERE token_hash IN (
  SELECT token_hash FROM auth_sessions WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2);

-- name: insert_signing_key
INSERT INTO signing_keys VALUES ($1, $2, $3, $4);

-- name: newest_signing_key
-- Ids are made in order, so the last one is the newest.
SELECT * FROM signing_keys WHERE retired_at IS NULL ORDER BY id DESC LIMIT 1;

-- name: get_signing_key
SELECT * FROM signing_keys WHERE id = $1;

-- name: retire_signing_keys
UPDATE signing_keys SET retired_at = $1 WHERE retired_at IS NULL;

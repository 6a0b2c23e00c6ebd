-- Keys and what is encrypted with them: keys.c, rekey.c.

-- name: has_secrets
-- Is anything encrypted here? Stops at the first row.
SELECT CASE WHEN EXISTS (SELECT 1 FROM service_credentials)
  OR EXISTS (SELECT 1 FROM settings WHERE key_id IS NOT NULL)
  OR EXISTS (SELECT 1 FROM settings WHERE default_key_id IS NOT NULL) THEN 1 ELSE 0 END;

-- name: remove_key_check
DELETE FROM assistant_values WHERE name = $1;

-- name: list_key_checks
-- Keys that something here was encrypted with; the table has a handful of rows.
SELECT * FROM assistant_values
WHERE name @{COLLATE "C"} >= 'key_check:' AND name @{COLLATE "C"} < 'key_check;' ORDER BY name;

-- name: credentials_behind
SELECT * FROM service_credentials WHERE id > $1 ORDER BY id LIMIT $2;

-- name: renew_credential
UPDATE service_credentials SET credential_data = $2, key_id = $3 WHERE id = $1;

-- name: secret_settings_behind
SELECT * FROM settings WHERE id > $1 AND is_sensitive ORDER BY id LIMIT $2;

-- name: renew_setting
UPDATE settings SET value = $2, key_id = $3, default_value = $4, default_key_id = $5
WHERE id = $1;

-- name: count_under_other_keys
-- Tokens that are not, or not known to be, under this key.
SELECT (SELECT count(*) FROM service_credentials WHERE key_id < $1)
  + (SELECT count(*) FROM service_credentials WHERE key_id > $1)
  + (SELECT count(*) FROM service_credentials WHERE key_id IS NULL)
  + (SELECT count(*) FROM settings WHERE key_id IS NOT NULL AND key_id <> $1)
  + (SELECT count(*) FROM settings WHERE default_key_id IS NOT NULL AND default_key_id <> $1);

-- name: is_key_in_use
-- Also when it is not known under which key something is.
SELECT CASE WHEN EXISTS (SELECT 1 FROM service_credentials WHERE key_id = $1)
  OR EXISTS (SELECT 1 FROM service_credentials WHERE key_id IS NULL)
  OR EXISTS (SELECT 1 FROM settings WHERE key_id = $1)
  OR EXISTS (SELECT 1 FROM settings WHERE default_key_id = $1) THEN 1 ELSE 0 END;

-- Settings: settings.c, settings_define.c.

-- name: get_setting
SELECT * FROM settings WHERE key = $1;

-- name: list_settings
-- All of them, or of a category, or from one key on up to before another.
SELECT * FROM settings
WHERE (CAST($1 AS text) IS NULL OR category = $1)
  AND (CAST($2 AS text) IS NULL OR key @{COLLATE "C"} >= $2)
  AND (CAST($3 AS text) IS NULL OR key @{COLLATE "C"} < $3)
ORDER BY category @{COLLATE "C"}, display_order, key @{COLLATE "C"};

-- name: store_setting
UPDATE settings SET value = $2, key_id = $3, updated_at = $4 WHERE key = $1;

-- name: add_setting
INSERT INTO settings (key, value_type, description, category, is_required, is_sensitive,
  validation_regex, min_value, max_value, options, display_order, updated_at, default_value,
  environment, default_key_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15);

-- name: change_setting
UPDATE settings SET value_type = $2, description = $3, category = $4, is_required = $5,
  is_sensitive = $6, validation_regex = $7, min_value = $8, max_value = $9, options = $10,
  display_order = $11, updated_at = $12, default_value = $13, environment = $14,
  default_key_id = $15
WHERE key = $1;

-- name: remove_setting
DELETE FROM settings WHERE key = $1;

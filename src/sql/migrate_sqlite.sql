-- The statements of migrate.c and schema_text.c, for SQLite.

-- name: has_table
-- How many tables `migrations` there are: 0 or 1.
SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'migrations';

-- name: list_applied
-- What was applied, the latest first.
SELECT * FROM migrations WHERE service = ?1 AND version > 0 ORDER BY version DESC;

-- name: find_any
-- A row when anything was ever applied, by any service.
SELECT 1 FROM migrations WHERE version > 0 LIMIT 1;

-- name: list_schema
-- Everything that is defined, with the table that it belongs to, in one fixed order.
SELECT tbl_name, type || ' ' || name || ' ' || coalesce(sql, '') AS definition FROM sqlite_schema
UNION ALL
SELECT 'migrations', 'user_version ' || user_version FROM pragma_user_version
UNION ALL
SELECT 'migrations', 'row ' || service || ' ' || version || ' ' || checksum FROM migrations
WHERE service <> ?1
ORDER BY 1, 2;

-- The statements of migrate.c, for PostgreSQL and what speaks like it.

-- name: has_table
-- How many tables `migrations` there are: 0 or 1.
SELECT count(*) FROM information_schema.tables
WHERE table_schema = current_schema() AND table_name = 'migrations';

-- name: list_applied
-- What was applied, the latest first.
SELECT * FROM migrations WHERE service = $1 AND version > 0 ORDER BY version DESC;

-- name: find_any
-- A row when anything was ever applied, by any service.
SELECT 1 FROM migrations WHERE version > 0 LIMIT 1;

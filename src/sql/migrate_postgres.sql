-- The statements of migrate.c and schema_text.c, for PostgreSQL and what speaks like it.

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

-- name: list_schema
-- Everything that is defined, with the table that it belongs to, in one fixed order.
SELECT CAST(table_name AS text) AS tbl_name,
  'column ' || ordinal_position || ' ' || column_name || ' ' || data_type || ' ' || is_nullable
  || ' ' || coalesce(column_default, '') AS definition
FROM information_schema.columns WHERE table_schema = current_schema()
UNION ALL
SELECT CAST(tablename AS text), 'index ' || indexdef FROM pg_indexes
WHERE schemaname = current_schema()
UNION ALL
SELECT CAST(pg_class.relname AS text), 'constraint ' || conname || ' ' || pg_get_constraintdef(pg_constraint.oid)
FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
WHERE relnamespace = CAST(current_schema() AS regnamespace)
UNION ALL
SELECT CAST(pg_class.relname AS text), 'trigger ' || pg_get_triggerdef(pg_trigger.oid)
FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
WHERE relnamespace = CAST(current_schema() AS regnamespace) AND NOT tgisinternal
UNION ALL
SELECT 'migrations', 'row ' || service || ' ' || version || ' ' || checksum FROM migrations
WHERE service <> $1 AND version > 0
ORDER BY 1, 2;

-- Migrations, Keep's own and the user's: user_migrations.c.

-- name: list_schema_migrations
SELECT * FROM schema_migrations ORDER BY id;

-- Connections of services: connections.c.

-- name: get_connection
SELECT * FROM service_connections WHERE service_name = $1;

-- name: put_connection
INSERT INTO service_connections (service_name, status, last_check, last_error, metadata, updated_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (service_name) DO UPDATE SET status = excluded.status, last_check = excluded.last_check,
  last_error = excluded.last_error, metadata = excluded.metadata, updated_at = excluded.updated_at;

-- name: list_connections
SELECT * FROM service_connections
WHERE CAST($1 AS text) IS NULL OR status = $1
ORDER BY service_name @{COLLATE "C"};

-- name: remove_connection
DELETE FROM service_connections WHERE service_name = $1;

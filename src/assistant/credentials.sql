-- Credentials: credentials.c.

-- name: get_credential
SELECT * FROM service_credentials WHERE service_name = $1;

-- name: put_credential
INSERT INTO service_credentials (service_name, credential_type, credential_data, expires_at,
  created_at, updated_at, key_id)
VALUES ($1, $2, $3, $4, $5, $5, $6)
ON CONFLICT (service_name) DO UPDATE SET credential_type = excluded.credential_type,
  credential_data = excluded.credential_data, expires_at = excluded.expires_at,
  updated_at = excluded.updated_at, key_id = excluded.key_id;

-- name: list_credentials
-- Never what is secret of them.
SELECT id, service_name, credential_type, '' AS credential_data, expires_at, created_at, updated_at,
  key_id
FROM service_credentials ORDER BY service_name @{COLLATE "C"};

-- name: expiring_credentials
SELECT id, service_name, credential_type, '' AS credential_data, expires_at, created_at, updated_at,
  key_id
FROM service_credentials WHERE expires_at IS NOT NULL AND expires_at <= $1
ORDER BY expires_at, service_name @{COLLATE "C"};

-- name: remove_credential
DELETE FROM service_credentials WHERE service_name = $1;

-- Routes: gateway_routes.c.

-- name: route_versions
-- Of three jids: how often their routes changed, and whether there are any.
SELECT keys.jid, coalesce(route_versions.version, 0),
  EXISTS (SELECT 1 FROM routes WHERE routes.jid = keys.jid)
FROM (SELECT CAST($1 AS text) AS jid UNION ALL SELECT CAST($2 AS text)
      UNION ALL SELECT CAST($3 AS text)) AS keys
LEFT JOIN route_versions ON route_versions.jid = keys.jid;

-- name: change_routes
-- With every change of a jid's routes, in its transaction.
INSERT INTO route_versions (jid, version) VALUES ($1, 1)
ON CONFLICT (jid) DO UPDATE SET version = route_versions.version + 1;

-- name: routes_of_jid
-- In the order of evaluation.
SELECT * FROM routes WHERE jid = $1 ORDER BY seq, id;

-- name: all_routes
-- In the order of evaluation: chats, then platforms, then everybody.
SELECT * FROM routes
ORDER BY CASE WHEN jid = '*' THEN 2 WHEN substr(jid, length(jid), 1) = ':' THEN 1 ELSE 0 END,
  jid, seq, id;

-- name: count_routes
SELECT count(*) FROM routes WHERE jid = $1;

-- name: insert_route
INSERT INTO routes (jid, seq, "type", "match", target) VALUES ($1, $2, $3, $4, $5) RETURNING id;

-- name: delete_route
DELETE FROM routes WHERE id = $1 RETURNING jid;

-- name: delete_routes_of_jid
DELETE FROM routes WHERE jid = $1;

-- name: route_group
-- The group that stands for a folder: the chat's own, else one that is active, else any.
SELECT state, trigger_word, requires_trigger FROM registered_groups WHERE folder = $1
ORDER BY CASE WHEN jid = $2 THEN 0 WHEN state = 'active' THEN 1 ELSE 2 END, jid LIMIT 1;

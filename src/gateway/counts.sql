-- How much there is, for whoever watches: gateway_counts.c. Each counts an index of what is meant,
-- and no further than $1.

-- name: count_waiting_deliveries
SELECT count(*) FROM (
  SELECT 1 FROM messages WHERE status IN ('pending', 'sending') LIMIT $1
) AS counted;

-- name: count_failed_deliveries
SELECT count(*) FROM (
  SELECT 1 FROM messages WHERE status IN ('failed', 'refused', 'uncertain') LIMIT $1
) AS counted;

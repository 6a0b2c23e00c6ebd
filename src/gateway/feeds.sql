-- The feed of changes and the feed of outcomes: gateway_feeds.c.

-- name: changes
-- Messages whose newest change is beyond $1.
SELECT * FROM messages WHERE change > $1 ORDER BY change LIMIT $2;

-- name: last_change
SELECT max(change) FROM messages;

-- name: outcomes
-- Deliveries beyond $1 that are over, and somebody is to hear of it.
SELECT * FROM messages
WHERE return_to IS NOT NULL AND status IN ('delivered', 'failed', 'refused', 'uncertain')
  AND change > $1
ORDER BY change LIMIT $2;

-- name: settle_outcome
-- The one of attempt $3.
UPDATE messages SET return_to = NULL
WHERE chat_jid = $1 AND id = $2 AND attempts = $3 AND return_to IS NOT NULL
  AND status IN ('delivered', 'failed', 'refused', 'uncertain');

-- name: probe_outcome
-- What stands there, when it was not settled now.
SELECT attempts, return_to IS NULL FROM messages WHERE chat_jid = $1 AND id = $2;

-- name: renew_return
-- Who says it once more may be another one.
UPDATE messages SET return_to = $3
WHERE chat_jid = $1 AND id = $2 AND coalesce(return_to <> $3, TRUE);

-- What nobody was wired to: unrouted.c.

-- name: count_unrouted
-- $6 and $7 are when it came; what came last stays.
INSERT INTO unrouted_messages VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (channel_type, platform_id) DO UPDATE SET count = unrouted_messages.count + excluded.count,
  thread_id = excluded.thread_id, content = excluded.content,
  first_at = CASE WHEN excluded.first_at < unrouted_messages.first_at THEN excluded.first_at
    ELSE unrouted_messages.first_at END,
  last_at = CASE WHEN excluded.last_at > unrouted_messages.last_at THEN excluded.last_at
    ELSE unrouted_messages.last_at END;

-- name: list_unrouted
SELECT * FROM unrouted_messages ORDER BY last_at DESC, channel_type, platform_id LIMIT $1;

-- name: forget_unrouted
DELETE FROM unrouted_messages WHERE last_at < $1;

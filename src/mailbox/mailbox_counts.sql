-- How much there is, for whoever watches: mailbox_counts.c. Counted no further than $1.

-- name: count_sessions
SELECT count(*) FROM (SELECT id FROM sessions ORDER BY id LIMIT $1) AS counted;

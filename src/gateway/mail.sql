-- Conversations by mail: gateway_mail.c.

-- name: find_mail_threads
-- Which conversations up to 32 ids belong to.
SELECT message_id, thread_id FROM email_message_ids
WHERE message_id IN ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
  $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32);

-- name: get_thread
SELECT * FROM email_threads WHERE thread_id = $1;

-- name: add_thread
INSERT INTO email_threads (thread_id, chat_jid, subject, root_message_id, from_address)
VALUES ($1, $2, $3, $4, $5);

-- name: map_mail
-- The first mapping of an id stays.
INSERT INTO email_message_ids (message_id, thread_id) VALUES ($1, $2)
ON CONFLICT (message_id) DO NOTHING;

-- What the agent's side writes of a session.

-- One message from an agent.
CREATE TABLE messages_out (
  session_id text NOT NULL, -- The session.
  id text NOT NULL, -- Chosen by the sender; the idempotency key of its delivery, and the name of its outbox folder.
  seq bigint NOT NULL, -- Its number in the session: odd, in the order of commits.
  in_reply_to text, -- The messages_in row that it answers.
  "timestamp" timestamptz NOT NULL, -- When it was written.
  deliver_after timestamptz, -- Not to be delivered before.
  recurrence text, -- A cron expression: delivered again and again, from deliver_after on.
  kind text NOT NULL, -- chat, chat-sdk, or system: something that the host shall do.
  platform_id text, -- The chat it goes to, or the agent group.
  channel_type text, -- The channel it goes to; agent: another agent.
  thread_id text, -- The thread it goes to.
  content text NOT NULL, -- JSON.
  PRIMARY KEY (session_id, id),
  UNIQUE (session_id, seq),
  CHECK (seq > 0 AND seq % 2 = 1)
);
CREATE INDEX messages_out_by_in_reply_to ON messages_out (session_id, in_reply_to) WHERE in_reply_to IS NOT NULL;

-- How far the agent's side is with a message.
CREATE TABLE processing_ack (
  session_id text NOT NULL, -- The session.
  message_id text NOT NULL, -- The messages_in row.
  status text NOT NULL CHECK (status IN ('processing', 'completed', 'failed')), -- How far it is.
  status_changed timestamptz NOT NULL, -- When it became so.
  owner text, -- The process that claimed it; absent: a program that knows no leases.
  lease_until timestamptz, -- The claim's end.
  attempt bigint, -- Counts the claims of the message; fences late ones.
  error text, -- Why it failed.
  change bigint, -- Counts the changes of this table; the host goes on from the last one it saw.
  incarnation bigint, -- The start of the agent that claimed it.
  expired bigint NOT NULL DEFAULT 0, -- Claims that ran out since the host last heard of a failure.
  PRIMARY KEY (session_id, message_id)
);
CREATE INDEX processing_ack_by_change ON processing_ack (session_id, change);
CREATE INDEX processing_ack_by_lease_until ON processing_ack (session_id, lease_until) WHERE status = 'processing';

-- Something that the agent remembers.
CREATE TABLE session_state (
  session_id text NOT NULL, -- The session.
  "key" text NOT NULL, -- Its name.
  "value" text NOT NULL, -- Its value.
  updated_at timestamptz NOT NULL, -- When it was set.
  PRIMARY KEY (session_id, "key")
);

-- A question that this side asked.
CREATE TABLE asked_questions (
  session_id text NOT NULL, -- The session.
  question_id text NOT NULL, -- Its id, and its card's.
  awaited_until timestamptz, -- A process waits for the answer until then: claims leave it alone.
  asked_at timestamptz NOT NULL, -- When it was asked.
  PRIMARY KEY (session_id, question_id)
);

-- What the agent's side remembers of the session; one row.
CREATE TABLE session_agent (
  session_id text NOT NULL, -- The session.
  id bigint NOT NULL, -- 1.
  outbound_id text NOT NULL, -- Which outbound side this is: a file that was made anew has another.
  heartbeat_at timestamptz, -- When the agent last said that it lives; where there are files, .heartbeat says it.
  pruned_before timestamptz, -- What the host has finished before is removed here, as far as it asked for that.
  PRIMARY KEY (session_id, id),
  CHECK (id = 1)
);

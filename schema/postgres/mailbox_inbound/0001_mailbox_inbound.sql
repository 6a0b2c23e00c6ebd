-- What the host writes of a session.

-- One message to an agent.
CREATE TABLE messages_in (
  session_id text NOT NULL, -- The session.
  id text NOT NULL, -- Ours; never used twice.
  seq bigint NOT NULL, -- Its number in the session: even, in the order of commits.
  kind text NOT NULL CHECK (kind IN ('chat', 'chat-sdk', 'task', 'webhook', 'system')), -- What the content is.
  "timestamp" timestamptz NOT NULL, -- When it was sent, as its sender says; no order depends on it.
  status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'completed', 'failed', 'cancelled', 'paused')), -- How far it is.
  process_after timestamptz, -- Not due before.
  recurrence text, -- A cron expression: when it is over, the next one is made.
  tries bigint NOT NULL DEFAULT 0, -- Attempts that failed.
  platform_id text, -- The chat it came from, or the agent group.
  channel_type text, -- The channel it came from; agent: another agent's.
  thread_id text, -- The thread it came from.
  content text NOT NULL, -- JSON.
  dedup_key text, -- The platform's id of it; not unique for ever.
  series_id text, -- Tasks: the series it is an occurrence of.
  source_session_id text, -- Another agent's session that sent it.
  last_error text, -- Why the last attempt failed.
  source_out_id text, -- The messages_out row that it is the delivery of.
  scheduled_at timestamptz, -- Tasks: the time of this occurrence, whatever retries made of process_after.
  time_zone text, -- Tasks: whose clock the recurrence follows; absent: UTC.
  missed text CHECK (missed IN ('run_once', 'skip', 'run_all')), -- Tasks: what happens to occurrences that nobody was there for; absent: run_once.
  stored_at timestamptz, -- When it was stored.
  finished_at timestamptz, -- When it was completed, failed or cancelled.
  void_attempt bigint NOT NULL DEFAULT 0, -- Claims up to this attempt are over: they failed or ran out.
  PRIMARY KEY (session_id, id),
  UNIQUE (session_id, seq),
  CHECK (seq > 0 AND seq % 2 = 0)
);
CREATE INDEX messages_in_by_process_after_seq ON messages_in (session_id, process_after, seq) WHERE status = 'pending';
CREATE INDEX messages_in_by_dedup_key ON messages_in (session_id, dedup_key) WHERE dedup_key IS NOT NULL;
CREATE INDEX messages_in_by_series_id_seq ON messages_in (session_id, series_id, seq) WHERE series_id IS NOT NULL;
CREATE INDEX messages_in_by_series_id ON messages_in (session_id, series_id) WHERE series_id IS NOT NULL AND status IN ('pending', 'paused');
CREATE INDEX messages_in_by_finished_at ON messages_in (session_id, finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX messages_in_by_source_session_id ON messages_in (session_id, source_session_id) WHERE source_session_id IS NOT NULL;

-- What became of one message of the agent's.
CREATE TABLE delivered (
  session_id text NOT NULL, -- The session.
  message_out_id text NOT NULL, -- The messages_out row; the idempotency key of its delivery.
  platform_message_id text, -- The platform's id of what was delivered.
  status text NOT NULL CHECK (status IN ('sending', 'delivered', 'failed', 'refused', 'uncertain')), -- How far it is.
  delivered_at timestamptz, -- When it was delivered, failed or was refused.
  attempts bigint NOT NULL DEFAULT 0, -- How often it was begun; fences late reports.
  next_attempt_at timestamptz, -- When it is tried again, or its lease is over.
  last_error text, -- Why the last attempt failed.
  lease_owner text, -- The process that is delivering it.
  seq bigint NOT NULL DEFAULT 0, -- Its number in the session.
  PRIMARY KEY (session_id, message_out_id)
);
CREATE INDEX delivered_by_status_next_attempt_at ON delivered (session_id, status, next_attempt_at) WHERE status IN ('sending', 'uncertain');
CREATE INDEX delivered_by_delivered_at ON delivered (session_id, delivered_at) WHERE delivered_at IS NOT NULL;
CREATE INDEX delivered_by_seq ON delivered (session_id, seq);

-- A message of the agent's that the host has taken over and not yet finished.
CREATE TABLE outgoing (
  session_id text NOT NULL, -- The session.
  message_out_id text NOT NULL, -- The messages_out row.
  seq bigint NOT NULL, -- Its number in the session.
  due_at timestamptz NOT NULL, -- When it is to be delivered, or tried again.
  attempts bigint NOT NULL DEFAULT 0, -- How often it was begun; later ones to the same address wait for one that was.
  address text NOT NULL DEFAULT '', -- The channel and chat it goes to.
  PRIMARY KEY (session_id, message_out_id)
);
CREATE INDEX outgoing_by_due_at_seq ON outgoing (session_id, due_at, seq);
CREATE INDEX outgoing_by_address_seq ON outgoing (session_id, address, seq) WHERE attempts > 0;

-- Where the agent may send: the registry's rows, as they were when the session was last woken.
CREATE TABLE destinations (
  session_id text NOT NULL, -- The session.
  name text NOT NULL, -- How the agent calls it.
  display_name text, -- How people call it.
  "type" text NOT NULL CHECK ("type" IN ('channel', 'agent')), -- A chat, or another agent.
  channel_type text, -- A chat's channel.
  platform_id text, -- A chat's id there.
  agent_group_id text, -- The other agent.
  PRIMARY KEY (session_id, name)
);

-- Where what the agent says goes when it does not say where.
CREATE TABLE session_routing (
  session_id text NOT NULL, -- The session.
  id bigint NOT NULL, -- 1.
  channel_type text, -- The channel; absent: nowhere.
  platform_id text, -- The chat.
  thread_id text, -- The thread.
  PRIMARY KEY (session_id, id),
  CHECK (id = 1)
);

-- Something that happened to a message besides going well.
CREATE TABLE message_steps (
  session_id text NOT NULL, -- The session.
  n bigint NOT NULL, -- Counts.
  message_id text NOT NULL, -- The messages_in or messages_out row.
  at timestamptz NOT NULL, -- When.
  step text NOT NULL, -- retry, failed, expired, cancelled, paused, resumed, sending, delivery_failed, refused, uncertain …
  detail text NOT NULL DEFAULT '', -- Why, or of which attempt.
  PRIMARY KEY (session_id, n)
);
CREATE INDEX message_steps_by_message_id_n ON message_steps (session_id, message_id, n);

-- What the host remembers of the session; one row.
CREATE TABLE session_host (
  session_id text NOT NULL, -- The session.
  id bigint NOT NULL, -- 1.
  "session" text NOT NULL, -- The session: the file says whose it is.
  agent_group_id text NOT NULL, -- Its agent group.
  incarnation bigint NOT NULL DEFAULT 0, -- Counts the agent's starts; claims of earlier ones are void.
  marked boolean NOT NULL DEFAULT false, -- The registry's due_at is set: posts need not set it.
  ack_change bigint NOT NULL DEFAULT 0, -- The last change of processing_ack that was taken over.
  out_seq bigint NOT NULL DEFAULT 0, -- The last messages_out that was taken over.
  outbound_id text NOT NULL DEFAULT '', -- Which outbound side those two numbers are of.
  closed boolean NOT NULL DEFAULT false, -- The session takes nothing any more.
  prune_before timestamptz, -- The agent's side removes what the host has finished before.
  PRIMARY KEY (session_id, id),
  CHECK (id = 1)
);

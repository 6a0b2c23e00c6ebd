-- The mailbox's registry.

-- An agent: one workspace, whatever chats it serves.
CREATE TABLE agent_groups (
  id text NOT NULL, -- A name of A-Z a-z 0-9 . _ -, a folder's too.
  name text NOT NULL, -- Its name for people.
  folder text NOT NULL UNIQUE, -- The folder of its workspace.
  is_admin boolean NOT NULL DEFAULT false, -- It may do what others ask for.
  agent_provider text, -- Who runs it; absent: the host's default.
  container_config json, -- Mounts, timeout, packages.
  created_at timestamptz NOT NULL, -- When it was made.
  PRIMARY KEY (id)
);

-- A chat on a platform: a person, a group, a channel.
CREATE TABLE messaging_groups (
  id text NOT NULL, -- Ours.
  channel_type text NOT NULL, -- The channel's name: telegram, slack …
  platform_id text NOT NULL, -- The chat's id there.
  name text, -- What people call it.
  is_group boolean NOT NULL DEFAULT false, -- More than two take part.
  admin_user_id text, -- The platform's id of who may command the agent.
  created_at timestamptz NOT NULL, -- When it was first seen.
  PRIMARY KEY (id),
  UNIQUE (channel_type, platform_id)
);

-- A wiring: this agent serves that chat.
CREATE TABLE messaging_group_agents (
  id text NOT NULL, -- Ours.
  messaging_group_id text NOT NULL REFERENCES messaging_groups (id), -- The chat.
  agent_group_id text NOT NULL REFERENCES agent_groups (id), -- The agent.
  trigger_rules json, -- What it takes: pattern, mentionOnly, requiresTrigger, includeSenders, excludeSenders.
  response_scope text NOT NULL DEFAULT 'all' CHECK (response_scope IN ('all', 'triggered', 'allowlisted')), -- Of what it takes: all, what was triggered, what includeSenders wrote.
  session_mode text NOT NULL DEFAULT 'shared' CHECK (session_mode IN ('shared', 'per-thread', 'agent-shared')), -- Which session a message goes to.
  priority bigint NOT NULL DEFAULT 0, -- Greater is asked first.
  created_at timestamptz NOT NULL, -- When it was wired.
  PRIMARY KEY (id),
  UNIQUE (messaging_group_id, agent_group_id)
);
CREATE INDEX messaging_group_agents_by_agent_group_id ON messaging_group_agents (agent_group_id);

-- One conversation with an agent: a folder with an inbound and an outbound side.
CREATE TABLE sessions (
  id text NOT NULL, -- Ours; its folder's name.
  agent_group_id text NOT NULL REFERENCES agent_groups (id), -- Whose session it is.
  messaging_group_id text REFERENCES messaging_groups (id), -- The chat it answers; absent: none of its own.
  thread_id text, -- The thread, when it is a thread's.
  agent_provider text, -- Who runs it; absent: as the agent group says.
  status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'closed')), -- Closed ones take nothing any more.
  container_status text NOT NULL DEFAULT 'stopped' CHECK (container_status IN ('running', 'idle', 'stopped')), -- What its agent's container was last known to do.
  last_active timestamptz, -- When it last got or sent something.
  created_at timestamptz NOT NULL, -- When it was made.
  incarnation bigint NOT NULL DEFAULT 0, -- Counts its agent's starts; fences those before.
  heartbeat_at timestamptz, -- When its agent was last known to live.
  anchor text UNIQUE, -- What leads to it: shared, per-thread or agent-shared, and of whom; absent when closed.
  due_at timestamptz, -- When the host looks at it next by itself; absent: it sleeps.
  PRIMARY KEY (id)
);
CREATE INDEX sessions_by_agent_group_id ON sessions (agent_group_id);
CREATE INDEX sessions_by_messaging_group_id_thread_id ON sessions (messaging_group_id, thread_id);
CREATE INDEX sessions_by_due_at ON sessions (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX sessions_by_last_active ON sessions (last_active);
CREATE INDEX sessions_by_container_status ON sessions (container_status) WHERE container_status <> 'stopped';

-- A question that was asked and is not answered.
CREATE TABLE pending_questions (
  question_id text NOT NULL, -- Chosen by the agent: the id of its card.
  session_id text NOT NULL REFERENCES sessions (id) ON DELETE CASCADE, -- Whose agent asks.
  message_out_id text NOT NULL, -- The card.
  platform_id text, -- Where the card went.
  channel_type text, -- And on which channel.
  thread_id text, -- And in which thread.
  created_at timestamptz NOT NULL, -- When it was asked.
  expires_at timestamptz NOT NULL, -- When nobody may answer any more.
  options json, -- What may be answered, as the card has it; absent: anything.
  PRIMARY KEY (question_id)
);
CREATE INDEX pending_questions_by_session_id ON pending_questions (session_id);
CREATE INDEX pending_questions_by_expires_at ON pending_questions (expires_at);

-- A question that was answered, or that nobody answered in time; kept for a while, to tell those who come late.
CREATE TABLE closed_questions (
  question_id text NOT NULL, -- The question.
  session_id text NOT NULL REFERENCES sessions (id) ON DELETE CASCADE, -- Whose agent asked; its message qr-<question> is the answer.
  closed_at timestamptz NOT NULL, -- When it was answered or its time was over.
  PRIMARY KEY (question_id)
);
CREATE INDEX closed_questions_by_session_id ON closed_questions (session_id);
CREATE INDEX closed_questions_by_closed_at ON closed_questions (closed_at);

-- Where an agent may send, and how it calls that: a row exists means allowed.
CREATE TABLE agent_destinations (
  agent_group_id text NOT NULL REFERENCES agent_groups (id) ON DELETE CASCADE, -- Whose permission it is.
  name text NOT NULL, -- How the agent calls it: a-z 0-9 -.
  display_name text, -- How people call it.
  "type" text NOT NULL CHECK ("type" IN ('channel', 'agent')), -- A chat, or another agent.
  channel_type text, -- A chat's channel.
  platform_id text, -- A chat's id there.
  target_agent_group_id text REFERENCES agent_groups (id), -- The other agent.
  PRIMARY KEY (agent_group_id, name)
);
CREATE INDEX agent_destinations_by_agent_group_id_channel_type_platform_id ON agent_destinations (agent_group_id, channel_type, platform_id);
CREATE INDEX agent_destinations_by_target_agent_group_id ON agent_destinations (target_agent_group_id);

-- What came to a chat that nobody is wired to: counted, with the latest.
CREATE TABLE unrouted_messages (
  channel_type text NOT NULL, -- The channel.
  platform_id text NOT NULL, -- The chat.
  count bigint NOT NULL DEFAULT 1, -- How many came.
  thread_id text, -- The latest one's thread.
  content text NOT NULL, -- The latest one's content.
  first_at timestamptz NOT NULL, -- When the first came.
  last_at timestamptz NOT NULL, -- When the latest came.
  PRIMARY KEY (channel_type, platform_id)
);
CREATE INDEX unrouted_messages_by_last_at ON unrouted_messages (last_at);

-- Where hosts take turns to write; one row.
CREATE TABLE host_turns (
  id bigint NOT NULL, -- 1.
  n bigint NOT NULL, -- Counts the turns.
  PRIMARY KEY (id)
);

INSERT INTO host_turns (id, n) VALUES (1, 0);

-- The mailbox's registry.
PRAGMA user_version = 1;

-- An agent: one workspace, whatever chats it serves.
CREATE TABLE agent_groups (
  id TEXT NOT NULL, -- A name of A-Z a-z 0-9 . _ -, a folder's too.
  name TEXT NOT NULL, -- Its name for people.
  folder TEXT NOT NULL UNIQUE, -- The folder of its workspace.
  is_admin INTEGER NOT NULL DEFAULT 0 CHECK (is_admin IN (0, 1)), -- It may do what others ask for.
  agent_provider TEXT, -- Who runs it; absent: the host's default.
  container_config TEXT CHECK (container_config IS NULL OR json_valid(container_config)), -- Mounts, timeout, packages.
  created_at TEXT NOT NULL, -- When it was made.
  PRIMARY KEY (id)
) STRICT;

-- A chat on a platform: a person, a group, a channel.
CREATE TABLE messaging_groups (
  id TEXT NOT NULL, -- Ours.
  channel_type TEXT NOT NULL, -- The channel's name: telegram, slack …
  platform_id TEXT NOT NULL, -- The chat's id there.
  name TEXT, -- What people call it.
  is_group INTEGER NOT NULL DEFAULT 0 CHECK (is_group IN (0, 1)), -- More than two take part.
  admin_user_id TEXT, -- The platform's id of who may command the agent.
  created_at TEXT NOT NULL, -- When it was first seen.
  PRIMARY KEY (id),
  UNIQUE (channel_type, platform_id)
) STRICT;

-- A wiring: this agent serves that chat.
CREATE TABLE messaging_group_agents (
  id TEXT NOT NULL, -- Ours.
  messaging_group_id TEXT NOT NULL REFERENCES messaging_groups (id), -- The chat.
  agent_group_id TEXT NOT NULL REFERENCES agent_groups (id), -- The agent.
  trigger_rules TEXT CHECK (trigger_rules IS NULL OR json_valid(trigger_rules)), -- What it takes: pattern, mentionOnly, requiresTrigger, includeSenders, excludeSenders.
  response_scope TEXT NOT NULL DEFAULT 'all' CHECK (response_scope IN ('all', 'triggered', 'allowlisted')), -- Of what it takes: all, what was triggered, what includeSenders wrote.
  session_mode TEXT NOT NULL DEFAULT 'shared' CHECK (session_mode IN ('shared', 'per-thread', 'agent-shared')), -- Which session a message goes to.
  priority INTEGER NOT NULL DEFAULT 0, -- Greater is asked first.
  created_at TEXT NOT NULL, -- When it was wired.
  PRIMARY KEY (id),
  UNIQUE (messaging_group_id, agent_group_id)
) STRICT;
CREATE INDEX messaging_group_agents_by_agent_group_id ON messaging_group_agents (agent_group_id);

-- One conversation with an agent: a folder with an inbound and an outbound side.
CREATE TABLE sessions (
  id TEXT NOT NULL, -- Ours; its folder's name.
  agent_group_id TEXT NOT NULL REFERENCES agent_groups (id), -- Whose session it is.
  messaging_group_id TEXT REFERENCES messaging_groups (id), -- The chat it answers; absent: none of its own.
  thread_id TEXT, -- The thread, when it is a thread's.
  agent_provider TEXT, -- Who runs it; absent: as the agent group says.
  status TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'closed')), -- Closed ones take nothing any more.
  container_status TEXT NOT NULL DEFAULT 'stopped' CHECK (container_status IN ('running', 'idle', 'stopped')), -- What its agent's container was last known to do.
  last_active TEXT, -- When it last got or sent something.
  created_at TEXT NOT NULL, -- When it was made.
  incarnation INTEGER NOT NULL DEFAULT 0, -- Counts its agent's starts; fences those before.
  heartbeat_at TEXT, -- When its agent was last known to live.
  anchor TEXT UNIQUE, -- What leads to it: shared, per-thread or agent-shared, and of whom; absent when closed.
  due_at TEXT, -- When the host looks at it next by itself; absent: it sleeps.
  PRIMARY KEY (id)
) STRICT;
CREATE INDEX sessions_by_agent_group_id ON sessions (agent_group_id);
CREATE INDEX sessions_by_messaging_group_id_thread_id ON sessions (messaging_group_id, thread_id);
CREATE INDEX sessions_by_due_at ON sessions (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX sessions_by_last_active ON sessions (last_active);
CREATE INDEX sessions_by_container_status ON sessions (container_status) WHERE container_status <> 'stopped';

-- A question that was asked and is not answered.
CREATE TABLE pending_questions (
  question_id TEXT NOT NULL, -- Chosen by the agent: the id of its card.
  session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE, -- Whose agent asks.
  message_out_id TEXT NOT NULL, -- The card.
  platform_id TEXT, -- Where the card went.
  channel_type TEXT, -- And on which channel.
  thread_id TEXT, -- And in which thread.
  created_at TEXT NOT NULL, -- When it was asked.
  expires_at TEXT NOT NULL, -- When nobody may answer any more.
  options TEXT CHECK (options IS NULL OR json_valid(options)), -- What may be answered, as the card has it; absent: anything.
  PRIMARY KEY (question_id)
) STRICT;
CREATE INDEX pending_questions_by_session_id ON pending_questions (session_id);
CREATE INDEX pending_questions_by_expires_at ON pending_questions (expires_at);

-- A question that was answered, or that nobody answered in time; kept for a while, to tell those who come late.
CREATE TABLE closed_questions (
  question_id TEXT NOT NULL, -- The question.
  session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE, -- Whose agent asked; its message qr-<question> is the answer.
  closed_at TEXT NOT NULL, -- When it was answered or its time was over.
  PRIMARY KEY (question_id)
) STRICT;
CREATE INDEX closed_questions_by_session_id ON closed_questions (session_id);
CREATE INDEX closed_questions_by_closed_at ON closed_questions (closed_at);

-- Where an agent may send, and how it calls that: a row exists means allowed.
CREATE TABLE agent_destinations (
  agent_group_id TEXT NOT NULL REFERENCES agent_groups (id) ON DELETE CASCADE, -- Whose permission it is.
  name TEXT NOT NULL, -- How the agent calls it: a-z 0-9 -.
  display_name TEXT, -- How people call it.
  "type" TEXT NOT NULL CHECK ("type" IN ('channel', 'agent')), -- A chat, or another agent.
  channel_type TEXT, -- A chat's channel.
  platform_id TEXT, -- A chat's id there.
  target_agent_group_id TEXT REFERENCES agent_groups (id), -- The other agent.
  PRIMARY KEY (agent_group_id, name)
) STRICT;
CREATE INDEX agent_destinations_by_agent_group_id_channel_type_platform_id ON agent_destinations (agent_group_id, channel_type, platform_id);
CREATE INDEX agent_destinations_by_target_agent_group_id ON agent_destinations (target_agent_group_id);

-- What came to a chat that nobody is wired to: counted, with the latest.
CREATE TABLE unrouted_messages (
  channel_type TEXT NOT NULL, -- The channel.
  platform_id TEXT NOT NULL, -- The chat.
  count INTEGER NOT NULL DEFAULT 1, -- How many came.
  thread_id TEXT, -- The latest one's thread.
  content TEXT NOT NULL, -- The latest one's content.
  first_at TEXT NOT NULL, -- When the first came.
  last_at TEXT NOT NULL, -- When the latest came.
  PRIMARY KEY (channel_type, platform_id)
) STRICT;
CREATE INDEX unrouted_messages_by_last_at ON unrouted_messages (last_at);

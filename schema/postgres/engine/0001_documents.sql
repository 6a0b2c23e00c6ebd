-- The engine store in a schema, for all its namespaces.

-- One account's store in a schema.
CREATE TABLE namespaces (
  name text NOT NULL, -- What the URL calls it.
  changes bigint NOT NULL, -- How many changes were committed; its row is the writers' lock.
  PRIMARY KEY (name)
);

-- One value under one path, in a schema.
CREATE TABLE documents (
  owner text NOT NULL, -- The namespace whose it is.
  id bytea NOT NULL, -- SHA-256 of the path.
  folder bytea NOT NULL, -- SHA-256 of the parent's path.
  score bigint NOT NULL, -- Its place among its siblings: milliseconds since 1970.
  tie bigint NOT NULL, -- Its place among those of one score.
  path text NOT NULL, -- The whole path.
  "value" bytea NOT NULL, -- The bytes.
  PRIMARY KEY (owner, id)
);
CREATE INDEX documents_by_owner_folder_score_tie ON documents (owner, folder, score, tie);

-- A path with something directly below it.
CREATE TABLE folders (
  owner text NOT NULL, -- The namespace whose it is.
  id bytea NOT NULL, -- SHA-256 of the path.
  parent bytea, -- SHA-256 of the path above; none for the root.
  documents bigint NOT NULL, -- How many documents are directly in it.
  folders bigint NOT NULL, -- How many folders are directly in it.
  path text NOT NULL, -- The whole path; empty for the root.
  PRIMARY KEY (owner, id)
);
CREATE INDEX folders_by_owner_parent ON folders (owner, parent);

-- The engine store in one file.

-- One value under one path, in a file.
CREATE TABLE documents (
  id INTEGER PRIMARY KEY NOT NULL, -- In order of arrival.
  hash INTEGER NOT NULL, -- SipHash of the path under the file's own key; finds it in one step.
  folder INTEGER NOT NULL, -- The folder that it is in.
  score INTEGER NOT NULL, -- Its place among its siblings: milliseconds since 1970.
  tie INTEGER NOT NULL, -- Its place among those of one score.
  path TEXT NOT NULL, -- The whole path; it decides, not the hash.
  "value" BLOB NOT NULL -- The bytes.
) STRICT;
CREATE INDEX documents_by_hash ON documents (hash);
CREATE INDEX documents_by_folder_score_tie ON documents (folder, score, tie);

-- A path that has documents or folders directly below it.
CREATE TABLE folders (
  id INTEGER PRIMARY KEY NOT NULL, -- Its number.
  hash INTEGER NOT NULL, -- SipHash of the path.
  parent INTEGER, -- The folder above; none for the root.
  documents INTEGER NOT NULL, -- How many documents are directly in it.
  folders INTEGER NOT NULL, -- How many folders are directly in it.
  path TEXT NOT NULL, -- The whole path; empty for the root.
  UNIQUE (hash, path)
) STRICT;
CREATE INDEX folders_by_parent ON folders (parent);

-- What the file says of itself.
CREATE TABLE properties (
  name TEXT NOT NULL, -- What it is: hash_key.
  "value" BLOB NOT NULL, -- Its value.
  PRIMARY KEY (name)
) STRICT;

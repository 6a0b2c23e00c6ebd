#!/usr/bin/env python3
"""One side of a session, as a program that knows only the source's tables plays it.

    source_side.py agent FOLDER      the runner: inbound.db read-only, outbound.db written
    source_side.py host FOLDER       the host: inbound.db written, outbound.db read-only

Nothing of Keep is used here, and no column or table that is not in bold in the contract. Commands come
as lines of JSON, ["name", argument…]; each is answered by one line: {"ok": …} or {"error": "…"}. Several
of these processes may be one agent, as a runner and its tool server are.
"""
import datetime
import json
import os
import sqlite3
import sys
import time

INBOUND = """
CREATE TABLE messages_in (id TEXT PRIMARY KEY, seq INTEGER UNIQUE, kind TEXT NOT NULL,
  timestamp TEXT NOT NULL, status TEXT DEFAULT 'pending', process_after TEXT, recurrence TEXT,
  tries INTEGER DEFAULT 0, platform_id TEXT, channel_type TEXT, thread_id TEXT, content TEXT NOT NULL);
CREATE TABLE delivered (message_out_id TEXT PRIMARY KEY, platform_message_id TEXT,
  status TEXT NOT NULL DEFAULT 'delivered', delivered_at TEXT NOT NULL);
CREATE TABLE destinations (name TEXT PRIMARY KEY, display_name TEXT, type TEXT NOT NULL,
  channel_type TEXT, platform_id TEXT, agent_group_id TEXT);
CREATE TABLE session_routing (id INTEGER PRIMARY KEY CHECK (id = 1), channel_type TEXT,
  platform_id TEXT, thread_id TEXT);
"""
OUTBOUND = """
CREATE TABLE messages_out (id TEXT PRIMARY KEY, seq INTEGER UNIQUE, in_reply_to TEXT,
  timestamp TEXT NOT NULL, deliver_after TEXT, recurrence TEXT, kind TEXT NOT NULL, platform_id TEXT,
  channel_type TEXT, thread_id TEXT, content TEXT NOT NULL);
CREATE TABLE processing_ack (message_id TEXT PRIMARY KEY, status TEXT NOT NULL,
  status_changed TEXT NOT NULL);
CREATE TABLE session_state (key TEXT PRIMARY KEY, value TEXT NOT NULL, updated_at TEXT NOT NULL);
"""
BACKOFF_S, TRIES_MAX, STALE_S = 5, 5, 600


def iso(seconds=0):
    """The time as a JavaScript program writes it."""
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def connect(path):
    """For writing, with the source's pragmas in its order."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = DELETE")
    db.execute("PRAGMA busy_timeout = 5000")
    return db


def connect_reader(path):
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
    db.execute("PRAGMA busy_timeout = 5000")
    return db


def rows(cursor):
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row)) for row in cursor.fetchall()]


class Agent:
    """The runner, or its tool server."""

    def __init__(self, folder):
        self.folder = folder
        self.inbound = connect_reader(folder + "/inbound.db")
        self.outbound = connect(folder + "/outbound.db")
        self.outbound.execute("PRAGMA foreign_keys = ON")

    def start(self):
        """A runner begins by forgetting what one before it had claimed."""
        self.outbound.execute("DELETE FROM processing_ack WHERE status = 'processing'")

    def pending(self):
        due = rows(self.inbound.execute(
            "SELECT * FROM messages_in WHERE status = 'pending' AND (process_after IS NULL OR "
            "datetime(process_after) <= datetime('now')) ORDER BY timestamp"))
        acked = {row[0] for row in self.outbound.execute("SELECT message_id FROM processing_ack")}
        return [row for row in due if row["id"] not in acked]

    def ack(self, status, ids):
        for name in ids:
            self.outbound.execute(
                "INSERT OR REPLACE INTO processing_ack (message_id, status, status_changed) "
                "VALUES (?, ?, datetime('now'))", (name, status))

    def claim(self):
        found = [row for row in self.pending() if row["kind"] != "system"]
        self.ack("processing", [row["id"] for row in found])
        return found

    def system(self):
        return [row for row in self.pending() if row["kind"] == "system"]

    def ack_at(self, status, name, seconds):
        """An acknowledgement of another time."""
        self.outbound.execute("INSERT OR REPLACE INTO processing_ack (message_id, status, status_changed) "
                              "VALUES (?, ?, datetime('now', ?))", (name, status, f"{seconds} seconds"))

    def send(self, name, content, fields):
        """Two statements without a transaction between them, as there."""
        own = self.outbound.execute("SELECT MAX(seq) FROM messages_out").fetchone()[0] or 0
        other = self.inbound.execute("SELECT MAX(seq) FROM messages_in").fetchone()[0] or 0
        top = max(own, other)
        seq = top + 1 if top % 2 == 0 else top + 2
        fields = {"kind": "chat", **fields}
        self.outbound.execute(
            "INSERT INTO messages_out (id, seq, in_reply_to, timestamp, deliver_after, recurrence, kind, "
            "platform_id, channel_type, thread_id, content) VALUES (?,?,?,datetime('now'),?,?,?,?,?,?,?)",
            (name, seq, fields.get("in_reply_to"), fields.get("deliver_after"), fields.get("recurrence"),
             fields["kind"], fields.get("platform_id"), fields.get("channel_type"),
             fields.get("thread_id"), json.dumps(content)))
        return seq

    def route(self):
        return rows(self.inbound.execute("SELECT * FROM session_routing WHERE id = 1"))

    def destinations(self):
        return rows(self.inbound.execute("SELECT * FROM destinations ORDER BY name"))

    def state(self, key, value):
        self.outbound.execute("INSERT OR REPLACE INTO session_state (key, value, updated_at) "
                              "VALUES (?, ?, datetime('now'))", (key, value))
        return self.outbound.execute("SELECT value FROM session_state WHERE key = ?", (key,)).fetchone()[0]

    def heartbeat(self, seconds=0):
        path = self.folder + "/.heartbeat"
        with open(path, "a", encoding="ascii"):
            pass
        os.utime(path, (time.time() + seconds,) * 2)

    def journal(self):
        return self.outbound.execute("PRAGMA journal_mode").fetchone()[0]


class Host:
    """The host: open, write, close for every operation on its own file."""

    def __init__(self, folder):
        self.folder = folder

    def make(self):
        os.makedirs(self.folder, exist_ok=True)
        for name, tables in (("inbound.db", INBOUND), ("outbound.db", OUTBOUND)):
            db = connect(f"{self.folder}/{name}")
            db.executescript(tables)
            db.close()

    def write(self, sql, values=()):
        db = connect(self.folder + "/inbound.db")
        try:
            return [list(row) for row in db.execute(sql, values).fetchall()]
        finally:
            db.close()

    def read(self, sql, values=()):
        db = connect_reader(self.folder + "/outbound.db")
        try:
            return rows(db.execute(sql, values))
        finally:
            db.close()

    def post(self, name, content, fields):
        """The number is chosen and then used, in two statements; `sql_time` has SQLite write it."""
        top = self.write("SELECT COALESCE(MAX(seq), 0) FROM messages_in")[0][0]
        seq = top + 2 - top % 2
        fields = {"kind": "chat", "channel_type": "telegram", "platform_id": "telegram:42", **fields}
        moment = "datetime('now')" if fields.get("sql_time") else f"'{iso()}'"
        self.write(
            "INSERT INTO messages_in (id, seq, kind, timestamp, status, process_after, recurrence, "
            f"platform_id, channel_type, thread_id, content) VALUES (?,?,?,{moment},'pending',?,?,?,?,?,?)",
            (name, seq, fields["kind"], fields.get("process_after"), fields.get("recurrence"),
             fields["platform_id"], fields["channel_type"], fields.get("thread_id"), json.dumps(content)))
        return seq

    def iso(self, seconds):
        return iso(seconds)

    def sql_time(self, seconds):
        return iso(seconds)[:19].replace("T", " ")

    def sync(self):
        """Completed and failed acknowledgements end their messages: failed ones count as done."""
        done = [row["message_id"] for row in self.read(
            "SELECT message_id FROM processing_ack WHERE status IN ('completed', 'failed')")]
        for name in done:
            self.write("UPDATE messages_in SET status = 'completed' WHERE id = ? AND status = 'pending'",
                       (name,))
        return done

    def recur(self):
        """The next occurrence of what is over; the fixed delay stands for cron."""
        made = []
        for name, seconds, content in self.write("SELECT id, recurrence, content FROM messages_in "
                                                 "WHERE status = 'completed' AND recurrence IS NOT NULL"):
            made.append(f"{name}+")
            self.post(made[-1], json.loads(content), {
                "kind": "task", "recurrence": seconds, "process_after": iso(-1)})
            self.write("UPDATE messages_in SET recurrence = NULL WHERE id = ?", (name,))
        return made

    def stale(self):
        """Claims of an agent whose heartbeat is old: tried again later, or given up."""
        path = self.folder + "/.heartbeat"
        if os.path.exists(path) and time.time() - os.stat(path).st_mtime < STALE_S:
            return []
        changed = []
        for row in self.read("SELECT message_id FROM processing_ack WHERE status = 'processing'"):
            name = row["message_id"]
            for tries, in self.write("SELECT tries FROM messages_in WHERE id = ? AND status = 'pending'",
                                     (name,)):
                if tries >= TRIES_MAX:
                    self.write("UPDATE messages_in SET status = 'failed' WHERE id = ?", (name,))
                else:
                    self.write("UPDATE messages_in SET tries = tries + 1, process_after = "
                               "datetime('now', ?) WHERE id = ?",
                               (f"{BACKOFF_S * 2 ** tries} seconds", name))
                changed.append(name)
        return changed

    def due(self):
        """What is to be delivered."""
        out = self.read("SELECT * FROM messages_out WHERE deliver_after IS NULL OR "
                        "datetime(deliver_after) <= datetime('now') ORDER BY timestamp, seq")
        done = {row[0] for row in self.write("SELECT message_out_id FROM delivered")}
        return [row for row in out if row["id"] not in done]

    def deliver(self, name, platform_id):
        self.write("INSERT OR IGNORE INTO delivered VALUES (?, ?, 'delivered', datetime('now'))",
                   (name, platform_id))

    def destinations(self, list_of_rows):
        db = connect(self.folder + "/inbound.db")
        db.execute("BEGIN")
        db.execute("DELETE FROM destinations")
        db.executemany("INSERT INTO destinations VALUES (?, ?, ?, ?, ?, ?)", list_of_rows)
        db.execute("COMMIT")
        db.close()

    def route(self, channel_type, platform_id, thread_id):
        self.write("INSERT OR REPLACE INTO session_routing VALUES (1, ?, ?, ?)",
                   (channel_type, platform_id, thread_id))


def main():
    side = {"agent": Agent, "host": Host}[sys.argv[1]](sys.argv[2])
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            answer = {"ok": getattr(side, name)(*arguments)}
        except (sqlite3.Error, OSError) as failure:
            answer = {"error": str(failure)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

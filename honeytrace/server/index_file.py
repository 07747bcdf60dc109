"""The files: the index's tables, and how it and the store beside it are opened."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from honeytrace.exporters._store import check_version, identity

__all__ = ["FORMAT", "make_tables", "name_of", "open_index", "open_store", "remember"]

FORMAT = "2"
"""An index of another format is made again."""

_SCHEMA = (
    "CREATE TABLE state (key TEXT PRIMARY KEY, value) WITHOUT ROWID",
    "CREATE TABLE words (no INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE)",
    """
    CREATE TABLE sessions (
        no INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
        name TEXT, source TEXT, user TEXT, own_start REAL, own_end REAL, own_duration REAL,
        own_error INTEGER NOT NULL DEFAULT 0, own_tokens INTEGER, own_cost REAL, own_inputs TEXT, own_outputs TEXT,
        own_seq INTEGER, top_start REAL, top_inputs TEXT, top_outputs TEXT,
        events INTEGER NOT NULL DEFAULT 0, errors INTEGER NOT NULL DEFAULT 0, tokens INTEGER NOT NULL DEFAULT 0,
        cost REAL, first REAL, last REAL, start REAL AS (coalesce(own_start, first, 0)))
    """,
    "CREATE INDEX sessions_by_start ON sessions (start, no)",
    """
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY, id NOT NULL UNIQUE, session INTEGER NOT NULL, own INTEGER NOT NULL,
        type INTEGER, name INTEGER, source INTEGER, user INTEGER, model INTEGER,
        start REAL NOT NULL, end REAL, duration REAL, error INTEGER NOT NULL, tokens INTEGER, cost REAL)
    """,
    "CREATE INDEX events_by_start ON events (start)",
    "CREATE INDEX events_by_session ON events (session, start)",
    "CREATE INDEX events_by_type ON events (type, start)",
    "CREATE INDEX events_by_name ON events (name, start)",
    "CREATE INDEX events_by_source ON events (source, start)",
    "CREATE INDEX events_by_model ON events (model, start) WHERE model IS NOT NULL",
    "CREATE INDEX events_by_user ON events (user, start) WHERE user IS NOT NULL",
    "CREATE INDEX events_with_error ON events (error, start) WHERE error <> 0",
    """
    CREATE TABLE facts (path INTEGER NOT NULL, value NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (path, value, seq))
    WITHOUT ROWID
    """,
    "CREATE TABLE partial (seq INTEGER PRIMARY KEY)",
    "CREATE VIRTUAL TABLE text USING fts5 (words, content = '', tokenize = 'unicode61')",
    "INSERT INTO text (text, rank) VALUES ('hashsize', 8388608)",
)
_TABLES = ("state", "words", "sessions", "events", "facts", "partial", "text")


def open_store(path: Path) -> sqlite3.Connection:
    """Open a store for reading."""
    connection = sqlite3.connect(
        path.absolute().as_uri() + "?mode=rw", uri=True, timeout=5, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA query_only = 1")
    connection.execute("PRAGMA mmap_size = 268435456")
    check_version(connection, path)
    return connection


def open_index(path: Path) -> sqlite3.Connection:
    """Open an index, making the file if need be."""
    path.touch(mode=0o600)
    connection = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = OFF")  # what a power cut spoils is rebuilt
    connection.execute("PRAGMA cache_size = -65536")
    connection.execute("PRAGMA mmap_size = 1073741824")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("CREATE TABLE IF NOT EXISTS state (key TEXT PRIMARY KEY, value) WITHOUT ROWID")
    return connection


def make_tables(connection: sqlite3.Connection, store: Path) -> None:
    """Begin an empty index of a store."""
    for table in _TABLES:
        connection.execute(f"DROP TABLE IF EXISTS {table}")
    for statement in _SCHEMA:
        connection.execute(statement)
    for key, value in (("format", FORMAT), ("store", name_of(store)), ("events", 0), ("deep", 0)):
        remember(connection, key, value)


def remember(connection: sqlite3.Connection, key: str, value: object) -> None:
    """Keep something about the whole index."""
    connection.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (key, value))


def name_of(path: Path) -> str:
    """What tells a file from another that takes its place."""
    return ":".join(str(part) for part in identity(path) or ())

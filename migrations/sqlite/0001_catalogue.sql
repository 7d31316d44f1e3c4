-- Databases and their retention policies. A Graphite storage schema is a policy of database `graphite` with `internal` set.
CREATE TABLE database (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE policy (
    id           INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice: files name it
    database_id  INTEGER NOT NULL REFERENCES database (id) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    partition_ns INTEGER NOT NULL, -- fixed for ever: files are cut by it
    shard_ns     INTEGER NOT NULL, -- what SHOW RETENTION POLICIES prints; nothing else
    replica_n    INTEGER NOT NULL DEFAULT 1,
    is_default   INTEGER NOT NULL DEFAULT 0,
    internal     INTEGER NOT NULL DEFAULT 0,
    UNIQUE (database_id, name)
) STRICT;

-- Levels of resolution, finest first; step 0 is points at any time, retention 0 is for ever.
CREATE TABLE level (
    policy_id    INTEGER NOT NULL REFERENCES policy (id) ON DELETE CASCADE,
    ordinal      INTEGER NOT NULL,
    step_ns      INTEGER NOT NULL,
    retention_ns INTEGER NOT NULL,
    PRIMARY KEY (policy_id, ordinal)
) STRICT;

-- The manifest: an SST lives if and only if it has a row here.
CREATE TABLE file (
    id           TEXT PRIMARY KEY,
    policy_id    INTEGER NOT NULL,
    tier         INTEGER NOT NULL,
    partition_ns INTEGER, -- NULL: as flushed, spans partitions
    level        INTEGER NOT NULL,
    seq          INTEGER NOT NULL,
    rows         INTEGER NOT NULL,
    bytes        INTEGER NOT NULL,
    min_time_ns  INTEGER NOT NULL,
    max_time_ns  INTEGER NOT NULL,
    min_series   INTEGER NOT NULL,
    max_series   INTEGER NOT NULL,
    expires_at_s INTEGER NOT NULL,
    checksum     INTEGER NOT NULL
) STRICT;

-- Files with the names of tables, fields and series; loaded by ascending id.
CREATE TABLE segment (
    id          INTEGER PRIMARY KEY,
    definitions INTEGER NOT NULL,
    bytes       INTEGER NOT NULL
) STRICT;

-- One row: every write up to flushed_seq is in files.
CREATE TABLE node (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    flushed_seq INTEGER NOT NULL
) STRICT;
INSERT INTO node (id, flushed_seq) VALUES (1, 0);

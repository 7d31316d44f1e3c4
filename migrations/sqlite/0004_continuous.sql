-- Continuous queries of a database: the whole statement as text, with databases and policies filled in.
CREATE TABLE continuous_query (
    id          INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order in which they were made
    database_id INTEGER NOT NULL REFERENCES database (id) ON DELETE CASCADE,
    name        TEXT NOT NULL,
    query       TEXT NOT NULL,
    run_ns      INTEGER, -- up to here its windows are stored; NULL: it has not run yet
    UNIQUE (database_id, name)
) STRICT;

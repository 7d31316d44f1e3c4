-- Deletions that some file has not seen yet: each takes away what writes below seq put into the files that have not.
CREATE TABLE tombstone (
    seq      INTEGER NOT NULL, -- the write that carried it
    ordinal  INTEGER NOT NULL, -- place among the deletions of that write
    table_id INTEGER NOT NULL,
    from_ns  INTEGER NOT NULL, -- both ends included
    to_ns    INTEGER NOT NULL,
    fields   TEXT,             -- numbers with commas between them; NULL: all
    series   BLOB NOT NULL,    -- runs of series numbers, as in the log
    PRIMARY KEY (seq, ordinal)
) STRICT;

-- Deletions up to this number were applied when the file was written; those up to seq always were.
ALTER TABLE file ADD COLUMN deletes_seq INTEGER NOT NULL DEFAULT 0;

-- A series of the database whose newest point is older than this goes, in nanoseconds; 0: however old it is.
ALTER TABLE database ADD COLUMN max_idle_ns INTEGER NOT NULL DEFAULT 0;

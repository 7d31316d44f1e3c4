-- Of policies with coarser levels: before this moment raw points have gone, there are roll-ups only. It never sinks.
CREATE TABLE raw_floor (
    policy_id INTEGER PRIMARY KEY REFERENCES policy (id) ON DELETE CASCADE,
    until_ns  INTEGER NOT NULL
) STRICT;

-- What the coarser levels keep of each window: bit n stands for the aggregate with code n (47: count, sum, min, max, last).
ALTER TABLE policy ADD COLUMN aggregates INTEGER NOT NULL DEFAULT 47;

-- A file kept the second it expires at, so a change of the retention did not reach it. Now it keeps what retention counts from.
ALTER TABLE file ADD COLUMN kept_from_s INTEGER NOT NULL DEFAULT 0;
UPDATE file SET kept_from_s = coalesce(
    (SELECT file.expires_at_s - level.retention_ns / 1000000000 - 1
     FROM level
     WHERE level.policy_id = file.policy_id AND level.ordinal = file.tier AND level.retention_ns > 0
       AND file.expires_at_s < 9223372036854775807),
    file.max_time_ns / 1000000000 + 1);
ALTER TABLE file DROP COLUMN expires_at_s;

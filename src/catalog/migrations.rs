//! The numbered SQL files of `migrations/sqlite`, embedded.

use std::borrow::Cow;

use rhythmite_model::{Error, Result};
use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::SqliteConnection;

/// Every file of the folder: number, name, text.
const FILES: &[(i64, &str, &str)] = &[
    (1, "catalogue", include_str!("../../migrations/sqlite/0001_catalogue.sql")),
    (2, "kept_from", include_str!("../../migrations/sqlite/0002_kept_from.sql")),
    (3, "accounts", include_str!("../../migrations/sqlite/0003_accounts.sql")),
    (4, "continuous", include_str!("../../migrations/sqlite/0004_continuous.sql")),
    (5, "tombstones", include_str!("../../migrations/sqlite/0005_tombstones.sql")),
    (6, "max_idle", include_str!("../../migrations/sqlite/0006_max_idle.sql")),
    (7, "graphite", include_str!("../../migrations/sqlite/0007_graphite.sql")),
    (8, "tiers", include_str!("../../migrations/sqlite/0008_tiers.sql")),
];

/// How many there are.
pub(super) const COUNT: usize = FILES.len();

pub(super) async fn run(connection: &mut SqliteConnection) -> Result<()> {
    run_first(connection, FILES.len()).await
}

/// Brings an empty catalogue to what it was after the first `count`.
pub(super) async fn run_first(connection: &mut SqliteConnection, count: usize) -> Result<()> {
    let list = FILES
        .iter()
        .take(count)
        .map(|&(version, name, sql)| {
            Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql.into_sql_str(), false)
        })
        .collect();
    Migrator::with_migrations(list).run(connection).await.map_err(|e| {
        Error::corrupt(format!(
            "the catalogue cannot be brought up to this version: {e}. Was it written by a later one?"
        ))
    })
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection, Row};

    use super::*;

    /// A database in memory as it was after the first `count` migrations.
    async fn old(count: usize) -> SqliteConnection {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        run_first(&mut connection, count).await.unwrap();
        connection
    }

    #[tokio::test]
    async fn an_expiry_becomes_what_it_was_counted_from() {
        let mut connection = old(1).await;
        let insert = "INSERT INTO database (id, name) VALUES (1, 'd');
            INSERT INTO policy (id, database_id, name, partition_ns, shard_ns) VALUES (5, 1, 'p', 1, 1);
            INSERT INTO level (policy_id, ordinal, step_ns, retention_ns) VALUES (5, 0, 0, 100000000000), (5, 1, 1, 0);
            INSERT INTO file (id, policy_id, tier, level, seq, rows, bytes, min_time_ns, max_time_ns, min_series,
                max_series, expires_at_s, checksum)
            VALUES ('a', 5, 0, 1, 1, 1, 1, 0, 7000000000, 0, 0, 1101, 0),
                   ('b', 5, 1, 1, 1, 1, 1, 0, 7000000000, 0, 0, 9223372036854775807, 0),
                   ('c', 9, 0, 1, 1, 1, 1, 0, 7000000000, 0, 0, 1101, 0)";
        sqlx::raw_sql(insert).execute(&mut connection).await.unwrap();
        run(&mut connection).await.unwrap();
        let rows =
            sqlx::query("SELECT id, kept_from_s FROM file ORDER BY id").fetch_all(&mut connection).await.unwrap();
        let found: Vec<(String, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        assert_eq!(found, [("a".to_owned(), 1_000), ("b".to_owned(), 8), ("c".to_owned(), 8)]);
    }

    #[test]
    fn every_file_of_the_folder_is_in_the_list() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite");
        let mut names: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        let listed: Vec<_> = FILES.iter().map(|(n, name, _)| format!("{n:04}_{name}.sql")).collect();
        assert_eq!(names, listed);
    }
}

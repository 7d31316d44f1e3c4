//! The numbered SQL files of `migrations/sqlite`, embedded.

use std::borrow::Cow;

use rhythmite_model::{Error, Result};
use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::SqliteConnection;

/// Every file of the folder: number, name, text.
const FILES: &[(i64, &str, &str)] = &[(1, "catalogue", include_str!("../../migrations/sqlite/0001_catalogue.sql"))];

pub(super) async fn run(connection: &mut SqliteConnection) -> Result<()> {
    let list = FILES
        .iter()
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
    use super::FILES;

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

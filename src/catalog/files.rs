//! The list of live files and of deletions at work, as the engine asks for it.

use std::sync::Arc;

use rhythmite_engine::manifest::{Edit, FileRecord, Manifest, SegmentRecord, State, TombstoneId, TombstoneRecord};
use rhythmite_engine::wal::codec;
use rhythmite_model::{FieldId, PolicyId, Result, SeriesId, TableId, Tier, Tombstone};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::store::Store;

/// The manifest, kept in the catalogue's tables `file`, `segment`, `tombstone` and `node`.
pub struct SqliteManifest {
    store: Arc<Store>,
}

impl SqliteManifest {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }
}

impl Manifest for SqliteManifest {
    fn load(&self) -> Result<State> {
        self.store.call(|connection| Box::pin(load(connection)))
    }

    fn commit(&self, edit: &Edit) -> Result<()> {
        let edit = edit.clone();
        self.store.call(move |connection| {
            Box::pin(async move {
                let mut transaction = sqlx::Connection::begin(connection).await?;
                apply(&mut transaction, &edit).await?;
                transaction.commit().await
            })
        })
    }
}

pub(super) async fn load(connection: &mut SqliteConnection) -> Result<State, sqlx::Error> {
    let node = sqlx::query("SELECT flushed_seq FROM node").fetch_one(&mut *connection).await?;
    let files = sqlx::query("SELECT * FROM file ORDER BY seq, id").fetch_all(&mut *connection).await?;
    let segments = sqlx::query("SELECT id, definitions, bytes FROM segment ORDER BY id");
    let segments = segments.fetch_all(&mut *connection).await?;
    let floors = sqlx::query("SELECT policy_id, until_ns FROM raw_floor").fetch_all(&mut *connection).await?;
    let floor = |row: &SqliteRow| Ok((PolicyId(small(row, "policy_id")?), row.try_get("until_ns")?));
    let tombstones = sqlx::query("SELECT * FROM tombstone ORDER BY seq, ordinal").fetch_all(connection).await?;
    let segment = |row: &SqliteRow| {
        Ok(SegmentRecord {
            id: unsigned(row, "id")?,
            definitions: unsigned(row, "definitions")?,
            bytes: unsigned(row, "bytes")?,
        })
    };
    Ok(State {
        files: files.iter().map(file).collect::<Result<_, _>>()?,
        segments: segments.iter().map(segment).collect::<Result<_, sqlx::Error>>()?,
        tombstones: tombstones.iter().map(tombstone).collect::<Result<_, _>>()?,
        raw_floors: floors.iter().map(floor).collect::<Result<_, sqlx::Error>>()?,
        flushed_seq: unsigned(&node, "flushed_seq")?,
    })
}

/// SQLite's integers are signed; ours are kept bit for bit.
fn unsigned(row: &SqliteRow, column: &str) -> Result<u64, sqlx::Error> {
    row.try_get::<i64, _>(column).map(|n| n as u64)
}

fn small<T: TryFrom<i64, Error: std::error::Error + Send + Sync + 'static>>(
    row: &SqliteRow,
    column: &str,
) -> Result<T, sqlx::Error> {
    T::try_from(row.try_get::<i64, _>(column)?).map_err(|e| sqlx::Error::Decode(Box::new(e)))
}

fn file(row: &SqliteRow) -> Result<FileRecord, sqlx::Error> {
    Ok(FileRecord {
        id: row.try_get("id")?,
        policy: PolicyId(small(row, "policy_id")?),
        tier: Tier(small(row, "tier")?),
        partition_ns: row.try_get("partition_ns")?,
        level: small(row, "level")?,
        seq: unsigned(row, "seq")?,
        deletes_seq: unsigned(row, "deletes_seq")?,
        rows: unsigned(row, "rows")?,
        bytes: unsigned(row, "bytes")?,
        min_time_ns: row.try_get("min_time_ns")?,
        max_time_ns: row.try_get("max_time_ns")?,
        min_series: SeriesId(unsigned(row, "min_series")?),
        max_series: SeriesId(unsigned(row, "max_series")?),
        kept_from_s: row.try_get("kept_from_s")?,
        checksum: small(row, "checksum")?,
    })
}

fn tombstone(row: &SqliteRow) -> Result<TombstoneRecord, sqlx::Error> {
    let id = TombstoneId { seq: unsigned(row, "seq")?, ordinal: small(row, "ordinal")? };
    let table = TableId(small(row, "table_id")?);
    let fields: Option<String> = row.try_get("fields")?;
    let fields = fields.map(|list| list.split_terminator(',').map(|id| id.parse().map(FieldId)).collect());
    let fields: Option<Vec<FieldId>> = fields.transpose().map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
    let series: &[u8] = row.try_get("series")?;
    let series = codec::decode_series(table, series).map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
    let times_ns = row.try_get("from_ns")?..=row.try_get("to_ns")?;
    Ok(TombstoneRecord { id, tombstone: Tombstone { table, series, fields, times_ns } })
}

async fn apply(connection: &mut SqliteConnection, edit: &Edit) -> Result<(), sqlx::Error> {
    for file in &edit.add_files {
        sqlx::query(
            "INSERT OR REPLACE INTO file (id, policy_id, tier, partition_ns, level, seq, deletes_seq, rows, bytes,
             min_time_ns, max_time_ns, min_series, max_series, kept_from_s, checksum)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&file.id)
        .bind(i64::from(file.policy.0))
        .bind(i64::from(file.tier.0))
        .bind(file.partition_ns)
        .bind(i64::from(file.level))
        .bind(file.seq as i64)
        .bind(file.deletes_seq as i64)
        .bind(file.rows as i64)
        .bind(file.bytes as i64)
        .bind(file.min_time_ns)
        .bind(file.max_time_ns)
        .bind(file.min_series.0 as i64)
        .bind(file.max_series.0 as i64)
        .bind(file.kept_from_s)
        .bind(i64::from(file.checksum))
        .execute(&mut *connection)
        .await?;
    }
    for id in &edit.remove_files {
        sqlx::query("DELETE FROM file WHERE id = ?").bind(id).execute(&mut *connection).await?;
    }
    for segment in &edit.add_segments {
        sqlx::query("INSERT OR REPLACE INTO segment (id, definitions, bytes) VALUES (?, ?, ?)")
            .bind(segment.id as i64)
            .bind(segment.definitions as i64)
            .bind(segment.bytes as i64)
            .execute(&mut *connection)
            .await?;
    }
    for id in &edit.remove_segments {
        sqlx::query("DELETE FROM segment WHERE id = ?").bind(*id as i64).execute(&mut *connection).await?;
    }
    for TombstoneRecord { id, tombstone } in &edit.add_tombstones {
        let fields = tombstone.fields.as_ref();
        let fields = fields.map(|ids| ids.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(","));
        sqlx::query(
            "INSERT OR REPLACE INTO tombstone (seq, ordinal, table_id, from_ns, to_ns, fields, series)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(id.seq as i64)
        .bind(i64::from(id.ordinal))
        .bind(i64::from(tombstone.table.0))
        .bind(*tombstone.times_ns.start())
        .bind(*tombstone.times_ns.end())
        .bind(fields)
        .bind(codec::encode_series(tombstone.table, &tombstone.series))
        .execute(&mut *connection)
        .await?;
    }
    for id in &edit.remove_tombstones {
        sqlx::query("DELETE FROM tombstone WHERE seq = ? AND ordinal = ?")
            .bind(id.seq as i64)
            .bind(i64::from(id.ordinal))
            .execute(&mut *connection)
            .await?;
    }
    for (policy, until_ns) in &edit.raw_floors {
        // The policy may have been dropped meanwhile.
        sqlx::query(
            "INSERT INTO raw_floor (policy_id, until_ns) SELECT id, ?2 FROM policy WHERE id = ?1
             ON CONFLICT (policy_id) DO UPDATE SET until_ns = max(until_ns, excluded.until_ns)",
        )
        .bind(i64::from(policy.0))
        .bind(until_ns)
        .execute(&mut *connection)
        .await?;
    }
    if let Some(seq) = edit.flushed_seq {
        sqlx::query("UPDATE node SET flushed_seq = ?").bind(seq as i64).execute(connection).await?;
    }
    Ok(())
}

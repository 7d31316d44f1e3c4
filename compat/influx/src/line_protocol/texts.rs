//! Sentences of a refused or half accepted write. Telegraf and others look for parts of them, so the
//! wording is part of the interface. Each is the value of `error` in the answer's body.

/// Some points were written and some not; `what` says why.
pub fn partial_write(what: impl std::fmt::Display, dropped: usize) -> String {
    format!("partial write: {what} dropped={dropped}")
}

/// A field came with another type than the table holds. Type names are those of
/// [`rhythmite_model::FieldType::name`].
pub fn field_type_conflict(field: &str, measurement: &str, sent: &str, stored: &str) -> String {
    format!(
        "field type conflict: input field \"{field}\" on measurement \"{measurement}\" is type {sent}, already exists as type {stored}"
    )
}

/// A tag that has the name of the time column.
pub fn invalid_tag_key(tag: &str, measurement: &str) -> String {
    format!("invalid tag key: input tag \"{tag}\" on measurement \"{measurement}\" is invalid")
}

/// A point whose only field has the name of the time column.
pub fn invalid_field_name(field: &str, measurement: &str) -> String {
    format!("invalid field name: input field \"{field}\" on measurement \"{measurement}\" is invalid")
}

/// Points older than the policy keeps.
pub const BEYOND_RETENTION: &str = "points beyond retention policy";

/// A write that names no database.
pub const DATABASE_REQUIRED: &str = "database is required";

/// A write to a database that does not exist.
pub fn database_not_found(database: &str) -> String {
    format!("database not found: \"{database}\"")
}

/// A write to a policy that does not exist.
pub fn retention_policy_not_found(policy: &str) -> String {
    format!("retention policy not found: {policy}")
}

/// A precision that [`super::Precision::from_param`] does not know.
pub fn invalid_precision(precision: &str) -> String {
    format!("invalid precision \"{precision}\" (use n, u, ms, s, m or h)")
}

//! Which part of the executor a statement belongs to.

use rhythmite_influx::influxql::{Show, Statement};

use super::context::{Context, Request};
use super::failure::{Failure, Result};
use super::sink::ResultSink;
use super::{continuous, ddl, delete, output, show, users};

/// Whether a statement's answer is never split into chunks: 1.x splits what it executes as a SELECT.
pub(super) fn is_whole(statement: &Statement) -> bool {
    !matches!(
        statement,
        Statement::Select(_) | Statement::Show(Show::Series(_) | Show::FieldKeys(_) | Show::Cardinality(_))
    )
}

/// Executes one statement. What it has given before it fails stays given.
pub(super) fn run(context: &Context, request: &Request, statement: &Statement, out: &mut dyn ResultSink) -> Result<()> {
    if let Some(reason) = request.interrupt.reason(&*context.clock) {
        return Err(Failure::new(reason));
    }
    match statement {
        Statement::Select(select) => output::select(context, request, select, out),
        Statement::Explain { statement, analyze } => output::explain(context, request, statement, *analyze, out),
        Statement::Show(show) => show::run(context, request, show, out),
        Statement::CreateDatabase(create) => ddl::create_database(context, create),
        Statement::DropDatabase(name) => ddl::drop_database(context, name),
        Statement::CreateRetentionPolicy(create) => ddl::create_policy(context, create),
        Statement::AlterRetentionPolicy(alter) => ddl::alter_policy(context, alter),
        Statement::DropRetentionPolicy { name, database } => ddl::drop_policy(context, database, name),
        Statement::DropMeasurement(name) => delete::drop_measurement(context, request, name),
        Statement::DropSeries { sources, condition } => {
            delete::drop_series(context, request, sources, condition.as_ref())
        }
        Statement::Delete { sources, condition } => delete::delete(context, request, sources, condition.as_ref()),
        Statement::KillQuery { id, .. } => context.running.kill(*id).map_err(Failure::new),
        Statement::DropShard(_) => Err(unsupported("DROP SHARD")),
        Statement::CreateContinuousQuery(create) => continuous::create(context, create),
        Statement::DropContinuousQuery { name, database } => continuous::drop(context, database, name),
        Statement::CreateSubscription(_) => Err(unsupported("CREATE SUBSCRIPTION")),
        Statement::DropSubscription { .. } => Err(unsupported("DROP SUBSCRIPTION")),
        Statement::CreateUser { name, password, admin } => users::create(context, request, name, password, *admin),
        Statement::DropUser(name) => users::drop_user(context, name),
        Statement::SetPassword { user, password } => users::set_password(context, user, password),
        Statement::Grant { privilege, database, user } => users::grant(context, user, database, *privilege),
        Statement::GrantAdmin(user) => users::set_admin(context, user, true),
        Statement::Revoke { privilege, database, user } => users::revoke(context, user, database, *privilege),
        Statement::RevokeAdmin(user) => users::set_admin(context, user, false),
    }
}

fn unsupported(what: &str) -> Failure {
    Failure::new(format!("{what} is not supported in this version"))
}

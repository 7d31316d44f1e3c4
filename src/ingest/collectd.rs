//! Value lists of collectd into storage, whichever way they came.
//!
//! A [`CollectdIngest`] is one naming: paths as `write_graphite` makes them, with the rates it computes, or measurements
//! as InfluxDB's collectd input makes them, in a database of their own. The UDP listener and `POST /collectd` fill an
//! [`Intake`] each, and what it gathered ([`Values`]) is one write.
//!
//! Limits: series whose last values are kept for rates (`[collectd.graphite] max_series`); the rest is the caller's,
//! who hands over what one read or one body gave. Notifications are counted and become events ([`super::events`]).

use std::mem;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use rhythmite_carbon::name;
use rhythmite_collectd::graphite::{Graphite, Options};
use rhythmite_collectd::{
    Item, MultiValue, Notification, Reject, Severity, Source, Time, TypesDb, ValueList, measurement,
};
use rhythmite_engine::{Commit, Durability};
use rhythmite_env::Clock;
use rhythmite_graphite::events::NewEvent;
use rhythmite_influx::line_protocol::{Precision, SeriesKey, write_line};
use rhythmite_model::{Error, FieldValue, Result};

use super::influx::{InfluxWriter, LineWrite, TimeUnit};
use super::{EventQueue, PathIngest, PathPoints};
use crate::catalog::{Catalog, GRAPHITE};
use crate::counters::{Counter, Counters};
use crate::senders::{Sender, Senders};

/// Time between two looks for series that have fallen silent.
const EXPIRE_NS: i64 = 10_000_000_000;
const MICROSECOND_NS: i64 = 1_000;

/// How points are called and where they go.
pub enum Naming {
    /// Paths, into Graphite's series.
    Paths(Arc<PathIngest>, Options),
    /// Measurements of a database.
    Measurements(Measurements),
}

/// Where measurements go.
pub struct Measurements {
    /// Finds the policy of each write, which may be dropped or altered meanwhile.
    pub catalog: Catalog,
    /// Writes.
    pub writer: InfluxWriter,
    /// The database.
    pub database: String,
    /// Its policy; the default one if empty.
    pub retention_policy: String,
    /// What becomes of lists with several values.
    pub multi_value: MultiValue,
}

/// One naming with its types.
pub struct CollectdIngest {
    types: TypesDb,
    naming: Kind,
    events: EventQueue,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
}

enum Kind {
    Paths(Arc<PathIngest>, Mutex<Rating>),
    Measurements(Measurements),
}

/// What is remembered of series for their rates.
struct Rating {
    graphite: Graphite,
    expire_at_ns: i64,
    /// What of it is in the counters, which are those of all listeners: series remembered and refused.
    told: (u64, u64),
}

/// Points of one write.
#[derive(Default)]
pub struct Values {
    paths: PathPoints,
    lines: String,
    /// Of the lines, by places in their text.
    senders: Senders,
    points: usize,
}

impl Values {
    /// Number of points.
    pub fn len(&self) -> usize {
        self.points
    }

    /// Whether there is no point.
    pub fn is_empty(&self) -> bool {
        self.points == 0
    }

    /// The first point's path or line, for messages.
    pub fn sample(&self) -> &str {
        if self.lines.is_empty() { self.paths.first_path() } else { self.lines.lines().next().unwrap_or_default() }
    }

    /// Who sent the first point.
    pub fn sender(&self) -> Sender<'_> {
        if self.lines.is_empty() { self.paths.sender(0) } else { self.senders.at(0) }
    }

    /// Forgets the points, keeps the memory.
    pub fn clear(&mut self) {
        self.paths.clear();
        self.lines.clear();
        self.senders.clear();
        self.points = 0;
    }
}

impl CollectdIngest {
    /// The database that points go to.
    pub fn database(&self) -> &str {
        match &self.naming {
            Kind::Paths(..) => GRAPHITE,
            Kind::Measurements(measurements) => &measurements.database,
        }
    }

    /// A naming whose lists have these types; notifications go to `events`.
    pub fn new(
        types: TypesDb,
        naming: Naming,
        events: EventQueue,
        clock: Arc<dyn Clock>,
        counters: Arc<Counters>,
    ) -> Self {
        let naming = match naming {
            Naming::Paths(paths, options) => {
                let rating = Rating { graphite: Graphite::new(options), expire_at_ns: i64::MIN, told: (0, 0) };
                Kind::Paths(paths, Mutex::new(rating))
            }
            Naming::Measurements(measurements) => Kind::Measurements(measurements),
        };
        Self { types, naming, events, clock, counters }
    }

    /// The types it knows.
    pub fn types(&self) -> &TypesDb {
        &self.types
    }

    /// Begins to fill `values`. Others of the same naming wait until the intake is dropped.
    pub fn intake<'a>(&'a self, values: &'a mut Values) -> Intake<'a> {
        let now_ns = self.clock.now_ns();
        let rating = match &self.naming {
            Kind::Paths(_, rating) => {
                let mut rating = rating.lock();
                rating.expire(now_ns);
                Some(rating)
            }
            Kind::Measurements(_) => None,
        };
        let now = Time::from_nanos(now_ns).unwrap_or_default();
        Intake { ingest: self, rating, values, now, sender: None, scratch: String::new(), tally: Tally::default() }
    }

    /// Writes what intakes gathered.
    ///
    /// # Errors
    /// `Overloaded`: nothing was written. `Unavailable`: the log has failed. `NotFound`: the database or policy is gone.
    pub fn write(&self, values: &Values, durability: Durability) -> Result<Commit> {
        match &self.naming {
            Kind::Paths(paths, _) => paths.write_paths(&values.paths, durability),
            Kind::Measurements(to) => self.write_lines(to, values, durability),
        }
    }

    fn write_lines(&self, to: &Measurements, values: &Values, durability: Durability) -> Result<Commit> {
        let databases = to.catalog.databases();
        let policy = databases.get(&to.database).and_then(|d| d.policy(&to.retention_policy));
        let Some(policy) = policy.filter(|policy| !policy.internal) else {
            let text = format!("collectd: no retention policy {:?} in database {:?}", to.retention_policy, to.database);
            return Err(Error::not_found(text));
        };
        let outcome = to.writer.write(&LineWrite {
            body: values.lines.as_bytes(),
            policy: &policy.policy,
            unit: TimeUnit::Fixed(Precision::Nanosecond),
            now_ns: self.clock.now_ns(),
            accept_partial: true,
            durability,
            senders: Some(&values.senders),
        })?;
        self.counters.collectd_rejected_rule.add(outcome.refusals.total() as u64);
        if let Some(first) = outcome.refusals.lines().first() {
            self.note("collectd.rejected.rule", first.line.as_bytes(), values.senders.at(first.offset));
        }
        Ok(outcome.commit)
    }

    fn note(&self, reason: &'static str, sample: &[u8], sender: Sender<'_>) {
        self.counters.offenders.note_from(reason, sample, sender, self.clock.now_s());
    }
}

impl Rating {
    fn expire(&mut self, now_ns: i64) {
        // A clock that was set back makes it due, too.
        if now_ns < self.expire_at_ns && self.expire_at_ns.saturating_sub(now_ns) <= EXPIRE_NS {
            return;
        }
        self.expire_at_ns = now_ns.saturating_add(EXPIRE_NS);
        self.graphite.rates_mut().expire(Time::from_nanos(now_ns).unwrap_or_default());
    }

    /// Brings the counters up to date.
    fn tell(&mut self, counters: &Counters) {
        let rates = self.graphite.rates_mut();
        let now = (rates.len() as u64, rates.refused());
        counters.collectd_series.add(now.0.wrapping_sub(self.told.0));
        counters.collectd_rates_refused.add(now.1 - self.told.1);
        self.told = now;
    }
}

/// Turns lists into points.
pub struct Intake<'a> {
    ingest: &'a CollectdIngest,
    rating: Option<MutexGuard<'a, Rating>>,
    values: &'a mut Values,
    now: Time,
    /// Who sent what comes now, if that is known.
    sender: Option<IpAddr>,
    scratch: String,
    tally: Tally,
}

/// Counts of one intake.
#[derive(Default)]
struct Tally {
    lists: u64,
    points: u64,
    unknown: u64,
    names: u64,
}

impl Intake<'_> {
    /// The time it began, which lists without one have.
    pub fn now(&self) -> Time {
        self.now
    }

    /// What comes from now on is of this peer.
    pub fn begin(&mut self, peer: Option<IpAddr>) {
        self.sender = peer;
        self.values.paths.begin(peer);
        self.values.senders.begin(self.values.lines.len(), peer);
    }

    /// What a datagram held.
    pub fn item(&mut self, item: &Item<'_>) {
        match item {
            Item::Values(list) => match self.ingest.types.sources_of(list) {
                Ok(sources) => self.list(list, sources),
                Err(reject) => self.reject(&reject),
            },
            Item::Notification(notification) => self.notification(notification),
        }
    }

    /// One list and the sources of its values.
    pub fn list(&mut self, list: &ValueList<'_>, sources: &[Source]) {
        // What follows counts in nanoseconds of 64 bits.
        let Some(time_ns) = list.time.nanos() else {
            self.ingest.counters.collectd_rejected_rule.add(list.values.len() as u64);
            let sample = format!("time {:e} s", list.time.secs_f64());
            self.ingest.note("collectd.rejected.rule", sample.as_bytes(), self.sender.into());
            return;
        };
        self.tally.lists += 1;
        let before = self.values.points;
        match (&self.ingest.naming, &mut self.rating) {
            (Kind::Paths(..), Some(rating)) => {
                let (values, scratch, tally, now) = (&mut *self.values, &mut self.scratch, &mut self.tally, self.now);
                let time_s = list.time.secs_rounded();
                let mapped =
                    rating.graphite.map(list, sources, now, |raw, value| match name::canonical(raw, scratch) {
                        Ok(path) => {
                            values.paths.push(path, time_s, value);
                            values.points += 1;
                        }
                        Err(_) => {
                            tally.names += 1;
                            self.ingest.note("collectd.rejected.name", raw.as_bytes(), self.sender.into());
                        }
                    });
                self.tally.unknown += mapped.unknown as u64;
            }
            (Kind::Measurements(to), _) => {
                let multi = to.multi_value;
                let unknown = measurement::points(list, sources, multi, |measurement, tags, fields| {
                    let tags = tags.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
                    let key = SeriesKey { measurement: measurement.into(), tags };
                    let fields = fields.iter().map(|(name, value)| (*name, FieldValue::Float(*value)));
                    // As InfluxDB's: a time has no more than microseconds.
                    let time_ns = time_ns.saturating_add(MICROSECOND_NS / 2) / MICROSECOND_NS * MICROSECOND_NS;
                    match write_line(&mut self.values.lines, &key, fields, Some(time_ns)) {
                        Ok(()) => self.values.points += 1,
                        Err(_) => {
                            self.tally.names += 1;
                            self.ingest.note("collectd.rejected.name", measurement.as_bytes(), self.sender.into());
                        }
                    }
                });
                self.tally.unknown += unknown as u64;
            }
            (Kind::Paths(..), None) => {}
        }
        self.tally.points += (self.values.points - before) as u64;
    }

    /// Counts a list whose type does not fit.
    pub fn reject(&mut self, reject: &Reject) {
        let counters = &self.ingest.counters;
        let (counter, reason): (&Counter, _) = match reject {
            Reject::UnknownType(_) => (&counters.collectd_rejected_type, "collectd.rejected.type"),
            _ => (&counters.collectd_rejected_count, "collectd.rejected.count"),
        };
        counter.one();
        self.ingest.note(reason, reject.to_string().as_bytes(), self.sender.into());
    }

    fn notification(&mut self, notification: &Notification<'_>) {
        self.ingest.counters.collectd_notifications.one();
        self.ingest.events.push(event(notification));
    }
}

/// The message, tagged by severity and by whatever of the identifier is known; the identifier as collectd writes it is
/// the event's data.
fn event(notification: &Notification<'_>) -> NewEvent {
    let id = &notification.id;
    let severity = match notification.severity {
        Severity::Failure => "failure",
        Severity::Warning => "warning",
        Severity::Okay => "okay",
    };
    let named = [
        ("host", &id.host),
        ("plugin", &id.plugin),
        ("plugin_instance", &id.plugin_instance),
        ("type", &id.type_name),
        ("type_instance", &id.type_instance),
    ];
    let named: Vec<String> =
        named.iter().filter(|(_, part)| !part.is_empty()).map(|(name, part)| format!("{name}:{part}")).collect();
    let tags = ["collectd", severity].into_iter().chain(named.iter().map(String::as_str));
    let joined = |a: &str, b: &str| if b.is_empty() { a.to_owned() } else { format!("{a}-{b}") };
    let (plugin, what) = (joined(&id.plugin, &id.plugin_instance), joined(&id.type_name, &id.type_instance));
    let data = format!("{}/{plugin}/{what}", id.host);
    NewEvent::fitting(&notification.message, tags, &data, notification.time.secs_rounded())
}

impl Drop for Intake<'_> {
    fn drop(&mut self) {
        let (tally, counters) = (mem::take(&mut self.tally), &self.ingest.counters);
        counters.collectd_lists.add(tally.lists);
        counters.collectd_points.add(tally.points);
        counters.collectd_unknown.add(tally.unknown);
        counters.collectd_rejected_name.add(tally.names);
        if let Some(rating) = &mut self.rating {
            rating.tell(counters);
        }
    }
}

//! The state machine: packets in, one flush out.
//!
//! [`Aggregator::ingest`] folds a packet into counters, gauges, timers and sets.
//! [`Aggregator::emit`] says what to store for the interval and resets what is per interval:
//! counters to 0, timers and sets to empty, while gauges stay; idle ones are repeated or
//! forgotten as the options say. Time is a parameter; calling `emit` once per
//! `flush_interval` is the caller's part, rates are always over that interval.
//!
//! Bounded by the options' `max_...`; what was dropped is counted in [`Drops`]. Lines that the
//! grammar refuses are counted in `PREFIX.bad_lines_seen`, never anything else.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::dogstatsd::{self, Message};
use crate::flush::{Flush, FlushReport, Stamped};
use crate::keys::{Key, KeyId, Keys, State, Timer};
use crate::name::{self, Namespace};
use crate::options::{Deletes, Dialect, Options};
use crate::packet::{self, Kind, Line, Value};
use crate::plain;
use crate::samples::Samples;
use crate::timer::TimerPlan;

/// The keys of the daemon's own counters, in the order of insertion.
const BAD_LINES: KeyId = 0;
const PACKETS: KeyId = 1;
const METRICS: KeyId = 2;
/// The daemon's own gauge.
const TIMESTAMP_LAG: KeyId = 3;
/// Bad lines of which the beginning is kept, and how much of it.
const BAD_SAMPLES_MAX: usize = 8;
const BAD_SAMPLE_BYTES_MAX: usize = 200;

/// The daemon's own keys; what `collect` never drops.
const OWN_KEYS: [&str; 4] = [".bad_lines_seen", ".packets_received", ".metrics_received", ".timestamp_lag"];

/// What was left out because a limit was hit, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Values of new keys (`max_keys`).
    pub keys: u64,
    /// Samples of timers (`max_timer_samples`, `max_samples`); they do count in `count`.
    pub samples: u64,
    /// Members of sets (`max_set_members`, `max_samples`).
    pub members: u64,
    /// Lines that were too long (`max_line_bytes`); bad lines too.
    pub long_lines: u64,
    /// Lines with too many tags (`max_tags`); bad lines too.
    pub tagged_lines: u64,
    /// Events, service checks and points with a timestamp (`max_events`).
    pub events: u64,
}

/// A DogStatsD event or service check, kept until [`Aggregator::take_notices`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The event's title, or the service check's name.
    pub title: String,
    /// The event's text, or the service check's message.
    pub text: String,
    /// When, seconds since 1970: what the sender says, or when it came.
    pub ts_s: i64,
    /// The service's status (0 ok, 1 warning, 2 critical, 3 unknown); `None` for an event.
    pub status: Option<u8>,
    /// The event's kind: `error`, `warning`, `info`, `success`, or what was sent.
    pub alert_type: String,
    /// The sender's host, if it says so.
    pub host: String,
    /// `normal` or `low`, as sent.
    pub priority: String,
    /// What kind of program reports an event.
    pub source_type: String,
    /// Events with the same one belong together.
    pub aggregation_key: String,
    /// Tags as sent: `name:value` or `name`.
    pub tags: Vec<String>,
}

/// Everything kept between two flushes.
pub struct Aggregator {
    options: Options,
    deletes: Deletes,
    namespace: Namespace,
    plan: TimerPlan,
    keys: Keys,
    /// The keys that have a counter, in the order in which they came; likewise below.
    counters: Vec<KeyId>,
    gauges: Vec<KeyId>,
    timers: Vec<KeyId>,
    sets: Vec<KeyId>,
    /// Of all timers.
    samples: Samples,
    /// Samples and members kept since the last flush.
    kept: usize,
    stamped: Vec<Stamped>,
    notices: Vec<Notice>,
    drops: Drops,
    flushes: u32,
    start_s: i64,
    last_message_s: i64,
    last_flush_s: Option<i64>,
    bad_lines: u64,
    bad_samples: Vec<Vec<u8>>,
    scratch: Vec<u8>,
    report: FlushReport,
}

impl Aggregator {
    /// An aggregator that has seen nothing. `now_s` is the time of the start.
    pub fn new(options: Options, now_s: i64) -> Self {
        let mut keys = Keys::new(&options);
        for own in OWN_KEYS {
            let name = format!("{}{own}", options.prefix_stats);
            keys.insert(&name);
        }
        let mut this = Aggregator {
            deletes: options.deletes(),
            namespace: Namespace::new(&options.graphite, &options.prefix_stats),
            plan: TimerPlan::new(&options),
            keys,
            counters: Vec::new(),
            gauges: Vec::new(),
            timers: Vec::new(),
            sets: Vec::new(),
            samples: Samples::default(),
            kept: 0,
            stamped: Vec::new(),
            notices: Vec::new(),
            drops: Drops::default(),
            flushes: 0,
            start_s: now_s,
            last_message_s: now_s,
            last_flush_s: None,
            bad_lines: 0,
            bad_samples: Vec::new(),
            scratch: Vec::new(),
            report: FlushReport::default(),
            options,
        };
        for own in [BAD_LINES, PACKETS, METRICS] {
            this.count(own, 0.0);
        }
        this
    }

    /// Folds one datagram, or one piece of a stream that ends with a line.
    pub fn ingest(&mut self, packet: &[u8], now_s: i64) {
        self.ingest_from(packet, now_s, None);
    }

    /// The same of a sender, whom a flush names with the keys that are new.
    pub fn ingest_from(&mut self, packet: &[u8], now_s: i64, sender: Option<IpAddr>) {
        self.keys.sender = sender;
        touch(packet);
        let (mut lines, mut bad) = (0u64, 0u64);
        let mut rest = packet;
        loop {
            (lines, rest) = self.fold_expected(lines, rest);
            let Some(line) = packet::take_line(&mut rest) else { break };
            lines += 1;
            if line.len() > self.options.max_line_bytes {
                self.drops.long_lines += 1;
                bad += 1;
                self.keep_sample(line);
                continue;
            }
            if self.fold_known(line) {
                continue;
            }
            let bad_values = match self.options.dialect {
                Dialect::Statsd => self.fold_statsd(line),
                Dialect::Dogstatsd => self.fold_dogstatsd(line, now_s),
            };
            if bad_values > 0 {
                bad += bad_values;
                self.keep_sample(line);
            }
        }
        self.count(PACKETS, 1.0);
        if lines > 0 {
            self.count(METRICS, lines as f64);
        }
        if bad > 0 {
            self.count(BAD_LINES, bad as f64);
            self.bad_lines += bad;
        }
        self.last_message_s = now_s;
    }

    /// Fills `flush` with all series of the interval that ends at `now_s` and begins the next.
    pub fn emit(&mut self, now_s: i64, flush: &mut Flush) {
        flush.clear(now_s);
        if let Some(last) = self.last_flush_s.replace(now_s) {
            let lag = (now_s - last) as f64 - self.interval_s();
            self.set_gauge(TIMESTAMP_LAG, lag, 0);
        }
        let series = self.counters.len() + self.timers.len() + self.gauges.len() + self.sets.len();
        self.emit_counters(flush);
        self.emit_timers(flush);
        self.emit_gauges(flush);
        self.emit_sets(flush);
        self.emit_own(series, flush);
        flush.take_stamped(&mut self.stamped);
        self.kept = 0;
        self.flushes = self.flushes.wrapping_add(1);
        if let Some(moved) = self.keys.collect(self.flushes, OWN_KEYS.len() as KeyId) {
            for list in [&mut self.counters, &mut self.gauges, &mut self.timers, &mut self.sets] {
                for id in list {
                    *id = moved[*id as usize].expect("a key with state is not collected");
                }
            }
        }
    }

    /// Tells how the last flush went.
    pub fn report(&mut self, report: FlushReport) {
        self.report = report;
    }

    /// Events and service checks since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// The beginnings of the first bad lines since the last call.
    pub fn take_bad_samples(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.bad_samples)
    }

    /// What limits have cost so far.
    pub fn drops(&self) -> Drops {
        self.drops
    }

    /// Keys known now.
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// The options it was made with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Time of the start, seconds since 1970.
    pub fn start_s(&self) -> i64 {
        self.start_s
    }

    /// When the last packet came; at first the time of the start.
    pub fn last_message_s(&self) -> i64 {
        self.last_message_s
    }

    /// When the last flush was; at first the time of the start.
    pub fn last_flush_s(&self) -> i64 {
        self.last_flush_s.unwrap_or(self.start_s)
    }

    /// What was last given to [`Self::report`].
    pub fn last_report(&self) -> FlushReport {
        self.report
    }

    /// Bad lines since the start.
    pub fn bad_lines(&self) -> u64 {
        self.bad_lines
    }

    /// Keys and values of the counters, in the order in which they came.
    pub fn counters(&self) -> impl Iterator<Item = (&str, f64)> {
        self.list(&self.counters).filter_map(|(key, state)| Some((&*key.name, state.counter?)))
    }

    /// Keys and values of the gauges, in the order in which they came.
    pub fn gauges(&self) -> impl Iterator<Item = (&str, f64)> {
        self.list(&self.gauges).filter_map(|(key, state)| Some((&*key.name, state.gauge?)))
    }

    /// Keys of the timers in the order in which they came, the first samples of each, at most `first`, and how many there
    /// are.
    pub fn timers(&self, first: usize) -> Vec<(&str, Vec<f64>, usize)> {
        let mut places = HashMap::with_capacity(self.timers.len());
        let mut timers: Vec<(&str, Vec<f64>, usize)> = Vec::with_capacity(self.timers.len());
        for id in &self.timers {
            places.insert(*id, timers.len());
            let kept = self.keys.state(*id).timer.as_ref().map_or(0, Timer::kept);
            timers.push((&self.keys.get(*id).name, Vec::with_capacity(kept.min(first)), kept));
        }
        for (id, value) in self.samples.iter() {
            if let Some((_, samples, _)) = places.get(&id).and_then(|place| timers.get_mut(*place))
                && samples.len() < first
            {
                samples.push(value);
            }
        }
        timers
    }

    /// Forgets the counters, gauges or timers that `pattern` names, one key or with `.*` at the
    /// end all below a folder; says which. Sets cannot be asked for.
    pub fn delete(&mut self, kind: Kind, pattern: &str) -> Vec<String> {
        let list = match kind {
            Kind::Counter => &mut self.counters,
            Kind::Gauge => &mut self.gauges,
            Kind::Timer => &mut self.timers,
            Kind::Set => return Vec::new(),
        };
        let folder = pattern.strip_suffix('*').filter(|f| f.ends_with('.'));
        let mut deleted = Vec::new();
        let keys = &mut self.keys;
        list.retain(|id| {
            let (key, state) = keys.both_mut(*id);
            let matches = *key.name == *pattern || folder.is_some_and(|f| key.name.starts_with(f));
            if matches {
                deleted.push(key.name.to_string());
                match kind {
                    Kind::Counter => state.counter = None,
                    Kind::Gauge => state.gauge = None,
                    _ => state.timer = None,
                }
            }
            !matches
        });
        if kind == Kind::Timer && !deleted.is_empty() {
            let before = self.samples.len();
            self.samples.retain(|id| keys.state(id).timer.is_some());
            self.kept -= before - self.samples.len();
        }
        deleted
    }

    fn list<'a>(&'a self, ids: &'a [KeyId]) -> impl Iterator<Item = (&'a Key, &'a State)> {
        ids.iter().map(|id| (self.keys.get(*id), self.keys.state(*id)))
    }

    fn interval_s(&self) -> f64 {
        self.options.flush_interval_ms() as f64 / 1000.0
    }

    /// Folds usual lines as long as each is of the key that is expected, in either dialect: how many lines there are now,
    /// and what follows them. Such a key did not have too many tags when it came.
    #[inline]
    fn fold_expected<'a>(&mut self, mut lines: u64, mut text: &'a [u8]) -> (u64, &'a [u8]) {
        while let Some(expected) = self.keys.expected()
            && let Some((value, rest)) = plain::take_as(text, expected.key, expected.tags)
            && text.len() - rest.len() <= self.options.max_line_bytes
        {
            let at = expected.at;
            let id = self.keys.confirm(at);
            self.fold_value(id, &value);
            (lines, text) = (lines + 1, rest);
        }
        (lines, text)
    }

    /// Folds a usual line of a key that was sent so before; `false` if it is none.
    #[inline]
    fn fold_known(&mut self, line: &[u8]) -> bool {
        let Some(plain) = plain::read(line) else { return false };
        let Some(id) = self.keys.known(plain.key, plain.tags) else { return false };
        self.fold_value(id, &plain.value);
        true
    }

    /// Folds a line of npm statsd; says how many bad values it holds.
    fn fold_statsd(&mut self, line: &[u8]) -> u64 {
        let line = Line::new(line);
        if self.has_too_many_tags(line.tags) {
            return 1;
        }
        let (mut id, mut bad) = (None, 0);
        for value in line.values() {
            let Ok(value) = value else {
                bad += 1;
                continue;
            };
            if id.is_none() {
                id = self.keys.resolve(line.key, line.tags);
            }
            let Some(id) = id else {
                self.drops.keys += 1;
                continue;
            };
            self.fold_value(id, &value);
        }
        bad
    }

    #[inline]
    fn fold_value(&mut self, id: KeyId, value: &Value<'_>) {
        match value.kind {
            Kind::Counter => self.count(id, value.number * (1.0 / value.rate)),
            Kind::Gauge => {
                let is_delta = self.options.dialect == Dialect::Statsd && value.is_delta();
                // A change of a gauge that is missing or 0 sets it.
                let base = self.keys.state(id).gauge.filter(|g| is_delta && *g != 0.0 && !g.is_nan());
                let changed = base.map_or(value.number, |base| base + value.number);
                self.set_gauge(id, changed, self.gauge_ttl());
            }
            Kind::Timer => self.time(id, value.number, value.rate),
            Kind::Set => self.add_member(id, value.text),
        }
    }

    /// Folds a message of DogStatsD; says whether it is bad (1).
    fn fold_dogstatsd(&mut self, line: &[u8], now_s: i64) -> u64 {
        let metric = match dogstatsd::parse(line) {
            Err(packet::Bad) => return 1,
            Ok(Message::Metric(metric)) => metric,
            Ok(Message::Event(event)) => {
                self.notice(event.tags, || Notice {
                    title: unescape(event.title),
                    text: unescape(event.text),
                    ts_s: event.timestamp_s.unwrap_or(now_s),
                    status: None,
                    alert_type: unescape(event.alert_type),
                    host: unescape(event.host),
                    priority: unescape(event.priority),
                    source_type: unescape(event.source_type),
                    aggregation_key: unescape(event.aggregation_key),
                    tags: Vec::new(),
                });
                return 0;
            }
            Ok(Message::ServiceCheck(check)) => {
                self.stamp_check(&check, now_s);
                self.notice(check.tags, || Notice {
                    title: unescape(check.name),
                    text: unescape(check.message),
                    ts_s: check.timestamp_s.unwrap_or(now_s),
                    status: Some(check.status),
                    alert_type: String::new(),
                    host: unescape(check.host),
                    priority: String::new(),
                    source_type: String::new(),
                    aggregation_key: String::new(),
                    tags: Vec::new(),
                });
                return 0;
            }
        };
        if self.has_too_many_tags(metric.tags) {
            return 1;
        }
        let id = if metric.container.is_empty() || self.options.container_tag.is_empty() {
            self.keys.resolve(metric.name, metric.tags)
        } else {
            let mut tags = std::mem::take(&mut self.scratch);
            self.with_container(&metric, &mut tags);
            let id = self.keys.resolve(metric.name, &tags);
            self.scratch = tags;
            id
        };
        let Some(id) = id else {
            self.drops.keys += metric.values().count() as u64;
            return 0;
        };
        for (text, number) in metric.values() {
            match (metric.kind, metric.timestamp_s) {
                (kind @ (Kind::Counter | Kind::Gauge), Some(ts_s)) => self.stamp(id, kind, number / metric.rate, ts_s),
                (Kind::Counter, None) => self.count(id, number * (1.0 / metric.rate)),
                (Kind::Gauge, None) => self.set_gauge(id, number, self.gauge_ttl()),
                (Kind::Timer, _) => self.time(id, number, metric.rate),
                (Kind::Set, _) => self.add_member(id, text),
            }
        }
        0
    }

    fn has_too_many_tags(&mut self, tags: &[u8]) -> bool {
        let too_many = !tags.is_empty() && packet::count_tags(tags) > self.options.max_tags;
        self.drops.tagged_lines += u64::from(too_many);
        too_many
    }

    #[inline]
    fn count(&mut self, id: KeyId, value: f64) {
        match &mut self.keys.state_mut(id).counter {
            Some(counter) => *counter += value,
            none => {
                *none = Some(value);
                self.counters.push(id);
            }
        }
    }

    /// Flushes until a gauge set now is deleted; 0 for never.
    fn gauge_ttl(&self) -> u32 {
        if self.deletes.gauges { self.options.gauges_max_ttl.max(1) } else { 0 }
    }

    #[inline]
    fn set_gauge(&mut self, id: KeyId, value: f64, ttl: u32) {
        let state = self.keys.state_mut(id);
        state.gauge_ttl = ttl;
        if state.gauge.replace(value).is_none() {
            self.gauges.push(id);
        }
    }

    #[inline]
    fn time(&mut self, id: KeyId, value: f64, rate: f64) {
        let state = self.keys.state_mut(id);
        if state.timer.is_none() {
            self.timers.push(id);
        }
        let timer = state.timer.get_or_insert(Timer::NEW);
        timer.count += 1.0 / rate;
        let kept_max = self.options.max_timer_samples.min(Timer::KEPT_MAX);
        if timer.kept() >= kept_max || self.kept >= self.options.max_samples {
            self.drops.samples += 1;
        } else {
            timer.keep();
            self.samples.push(id, value);
            self.kept += 1;
        }
    }

    #[inline]
    fn add_member(&mut self, id: KeyId, member: &[u8]) {
        let state = self.keys.state_mut(id);
        if state.set.is_none() {
            self.sets.push(id);
        }
        let set = state.set.get_or_insert_default();
        if set.contains(member) {
            return;
        }
        if set.len() >= self.options.max_set_members || self.kept >= self.options.max_samples {
            self.drops.members += 1;
        } else {
            set.insert(member.into());
            self.kept += 1;
        }
    }

    /// Keeps a point with its own timestamp, under the names it would have at a flush.
    fn stamp(&mut self, id: KeyId, kind: Kind, value: f64, ts_s: i64) {
        let interval_s = self.interval_s();
        let (base, tags) = self.keys.get(id).graphite();
        let names = &self.namespace;
        let name = |prefix: &str, what: &str| [prefix, base, what, &names.suffix, tags].concat();
        let mut points = Vec::with_capacity(2);
        if kind == Kind::Gauge {
            points.push((name(&names.gauge, ""), value));
        } else {
            points.push((name(&names.counter, names.rate), value / interval_s));
            if self.options.flush_counts {
                points.push((name(&names.count_prefix, names.count), value));
            }
        }
        for (name, value) in points {
            if self.stamped.len() >= self.options.max_events {
                self.drops.events += 1;
            } else {
                self.stamped.push(Stamped { name, value, ts_s, sender: self.keys.sender });
            }
        }
    }

    /// The tags of a metric and that of its container.
    fn with_container(&self, metric: &dogstatsd::Metric<'_>, tags: &mut Vec<u8>) {
        tags.clear();
        tags.extend_from_slice(metric.tags);
        if !tags.is_empty() {
            tags.push(b',');
        }
        tags.extend_from_slice(self.options.container_tag.as_bytes());
        tags.push(b':');
        // Newer clients say what kind of name it is.
        tags.extend_from_slice(metric.container.strip_prefix(b"ci-").unwrap_or(metric.container));
    }

    /// Keeps a service check as a point: its status under its name, tags and host.
    fn stamp_check(&mut self, check: &dogstatsd::ServiceCheck<'_>, now_s: i64) {
        if self.stamped.len() >= self.options.max_events || packet::count_tags(check.tags) > self.options.max_tags {
            self.drops.events += 1;
            return;
        }
        let mut tags = check.tags.to_vec();
        if !check.host.is_empty() {
            if !tags.is_empty() {
                tags.push(b',');
            }
            tags.extend_from_slice(b"host:");
            tags.extend_from_slice(check.host);
        }
        let mut key = String::new();
        name::dogstatsd_key(check.name, &tags, true, &mut key);
        let (base, tags) = key.split_at(key.find(';').unwrap_or(key.len()));
        let name = [&self.namespace.check, base, &self.namespace.suffix, tags].concat();
        let ts_s = check.timestamp_s.unwrap_or(now_s);
        self.stamped.push(Stamped { name, value: f64::from(check.status), ts_s, sender: self.keys.sender });
    }

    fn keep_sample(&mut self, line: &[u8]) {
        if self.bad_samples.len() < BAD_SAMPLES_MAX {
            self.bad_samples.push(line[..line.len().min(BAD_SAMPLE_BYTES_MAX)].to_vec());
        }
    }

    fn notice(&mut self, tags: &[u8], notice: impl FnOnce() -> Notice) {
        if self.notices.len() >= self.options.max_events || packet::count_tags(tags) > self.options.max_tags {
            self.drops.events += 1;
            return;
        }
        let mut notice = notice();
        notice.tags = tags.split(|b| *b == b',').filter(|t| !t.is_empty()).map(unescape).collect();
        self.notices.push(notice);
    }

    fn emit_counters(&mut self, flush: &mut Flush) {
        let (names, interval_s) = (&self.namespace, self.interval_s());
        let (keys, options, delete) = (&mut self.keys, &self.options, self.deletes.counters);
        self.counters.retain(|id| {
            let (key, state) = keys.both_mut(*id);
            let value = state.counter.unwrap_or(0.0);
            let (base, tags) = key.graphite();
            flush.begin(key.sender);
            flush.push(&[&names.counter, base, names.rate, &names.suffix, tags], value / interval_s);
            if options.flush_counts {
                flush.push(&[&names.count_prefix, base, names.count, &names.suffix, tags], value);
            }
            let keep = !delete || is_own_counter(&key.name);
            state.counter = keep.then_some(0.0);
            keep
        });
    }

    fn emit_timers(&mut self, flush: &mut Flush) {
        let (names, plan) = (&self.namespace, &self.plan);
        let (keys, delete) = (&mut self.keys, self.deletes.timers);
        let kept = |id: &KeyId| (*id, keys.state(*id).timer.as_ref().map_or(0, Timer::kept));
        let mut grouped = self.samples.grouped(self.timers.iter().map(kept), keys.len());
        let mut rest = grouped.as_mut_slice();
        self.timers.retain(|id| {
            let (key, state) = keys.both_mut(*id);
            let timer = state.timer.take().expect("the list holds keys that have a timer");
            let (samples, behind) = std::mem::take(&mut rest).split_at_mut(timer.kept());
            rest = behind;
            let (base, tags) = key.graphite();
            flush.begin(key.sender);
            plan.emit(&key.name, samples, timer.count, |what, value| {
                flush.push(&[&names.timer, base, ".", what, &names.suffix, tags], value);
            });
            if !delete {
                state.timer = Some(Timer::NEW);
            }
            !delete
        });
        self.samples.clear();
    }

    fn emit_gauges(&mut self, flush: &mut Flush) {
        let (names, keys, delete) = (&self.namespace, &mut self.keys, self.deletes.gauges);
        self.gauges.retain(|id| {
            let (key, state) = keys.both_mut(*id);
            let (base, tags) = key.graphite();
            flush.begin(key.sender);
            flush.push(&[&names.gauge, base, &names.suffix, tags], state.gauge.unwrap_or(0.0));
            if delete && state.gauge_ttl > 0 {
                state.gauge_ttl -= 1;
                if state.gauge_ttl == 0 {
                    state.gauge = None;
                }
            }
            state.gauge.is_some()
        });
    }

    fn emit_sets(&mut self, flush: &mut Flush) {
        let (names, keys, delete) = (&self.namespace, &mut self.keys, self.deletes.sets);
        self.sets.retain(|id| {
            let (key, state) = keys.both_mut(*id);
            let mut set = state.set.take().expect("the list holds keys that have a set");
            let (base, tags) = key.graphite();
            flush.begin(key.sender);
            flush.push(&[&names.set, base, ".count", &names.suffix, tags], set.len() as f64);
            if delete {
                return false;
            }
            let used = set.len();
            set.clear();
            set.shrink_to(used.saturating_mul(2));
            state.set = Some(set);
            true
        });
    }

    /// The daemon's own series; durations are those of the flush before.
    fn emit_own(&self, series: usize, flush: &mut Flush) {
        let (names, report) = (&self.namespace, &self.report);
        flush.begin(None);
        flush.push(&[&names.num_stats], series as f64);
        for (what, value) in [
            ("graphiteStats.calculationtime", report.processing_ms),
            ("processing_time", report.processing_ms),
            ("graphiteStats.last_exception", report.last_exception_s as f64),
            ("graphiteStats.last_flush", self.last_flush_s() as f64),
            ("graphiteStats.flush_time", report.flush_ms),
            ("graphiteStats.flush_length", report.flush_bytes),
        ] {
            flush.push(&[&names.own, what, &names.suffix], value);
        }
    }
}

/// Reads a byte of each line of the cache that a packet is in.
// PERF: what another core has received is in its cache. Asked for all at once the lines come side by side, not one after the
// other as the text is read.
fn touch(packet: &[u8]) {
    const CACHE_LINE: usize = 64;
    std::hint::black_box(packet.iter().step_by(CACHE_LINE).fold(0, |all, byte| all | byte));
}

/// Counters that `delete_counters` leaves, as the reference does: by any part of the key.
fn is_own_counter(name: &str) -> bool {
    ["packets_received", "metrics_received", "bad_lines_seen"].iter().any(|own| name.contains(own))
}

/// Text of an event: line feeds travel as `\n`.
fn unescape(text: &[u8]) -> String {
    String::from_utf8_lossy(text).replace("\\n", "\n")
}

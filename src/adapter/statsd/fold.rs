//! The thread that owns the aggregator: folds packets, answers commands, emits.

use std::time::Duration;

use rhythmite_graphite::events::NewEvent;
use rhythmite_statsd::{Admin, Aggregator, Flush, FlushReport, Notice, Options};
use tokio::sync::mpsc;

use super::queue::{Message, Spares};
use super::repeat::Repeater;
use super::writer::{Flushes, Points, whole_ms};
use crate::adapter::{Shared, udp};

/// Messages taken from the queue between two looks at the time.
const MESSAGES_AT_ONCE: usize = 16;

/// How long after its time a flush is made: what arrived before may still gather in the kernel.
const GATHERED: Duration = udp::GATHER_MAX.saturating_add(Duration::from_millis(2));

pub(super) struct Folder {
    shared: Shared,
    interval_ms: i64,
    aggregator: Aggregator,
    admin: Admin,
    flush: Flush,
    flushes: Flushes,
    repeater: Repeater,
    spares: Spares,
}

impl Folder {
    pub(super) fn new(shared: Shared, options: Options, flushes: Flushes, repeater: Repeater, spares: Spares) -> Self {
        let interval_ms = i64::try_from(options.flush_interval_ms()).unwrap_or(i64::MAX);
        let admin = Admin::new(options.health_status);
        let aggregator = Aggregator::new(options, shared.clock.now_s());
        Self { shared, interval_ms, aggregator, admin, flush: Flush::new(), flushes, repeater, spares }
    }

    /// Works until every sender has gone, then emits once more.
    pub(super) async fn run(mut self, mut incoming: mpsc::Receiver<Message>) {
        let mut messages = Vec::with_capacity(MESSAGES_AT_ONCE);
        let mut next_ms = self.next_ms();
        loop {
            tokio::select! {
                biased;
                () = tokio::time::sleep(self.until(next_ms) + GATHERED) => {
                    for _ in 0..incoming.len() {
                        if let Ok(message) = incoming.try_recv() {
                            self.handle(message);
                        }
                    }
                    self.emit(next_ms);
                    next_ms = self.next_ms_after(next_ms);
                }
                received = incoming.recv_many(&mut messages, MESSAGES_AT_ONCE) => {
                    if received == 0 {
                        break;
                    }
                    messages.drain(..).for_each(|message| self.handle(message));
                }
            }
        }
        // Not the present moment: its slot may be that of the last flush, which is whole.
        self.emit(next_ms);
    }

    fn handle(&mut self, message: Message) {
        let now_s = self.shared.clock.now_s();
        match message {
            Message::Packets(packets, _room) => {
                for (packet, sender) in packets.iter().zip(packets.senders().peers()) {
                    self.aggregator.ingest_from(packet, now_s, sender);
                }
                self.repeater.send(packets.iter(), &self.shared.counters);
                self.spares.give(packets);
            }
            Message::Command(line, answer) => {
                // A peer that has gone needs no answer.
                let _ = answer.send(self.admin.reply(&line, &mut self.aggregator, now_s));
            }
        }
    }

    /// Emits under the time at which it was due, so that a late timer leaves neither a gap nor a double.
    fn emit(&mut self, due_ms: i64) {
        let begun = self.shared.clock.monotonic();
        self.aggregator.report(FlushReport {
            processing_ms: self.aggregator.last_report().processing_ms,
            ..self.flushes.report()
        });
        // Rounded, as the reference does.
        self.aggregator.emit(due_ms.saturating_add(500).div_euclid(1000), &mut self.flush);
        let took = self.shared.clock.monotonic().saturating_sub(begun);
        let report = self.aggregator.last_report();
        self.aggregator.report(FlushReport { processing_ms: whole_ms(took), ..report });
        let counters = &self.shared.counters;
        for notice in self.aggregator.take_notices() {
            counters.statsd_notices.one();
            // A service check is a point already.
            if notice.status.is_none() {
                self.shared.events.push(event(&notice));
            }
        }
        for sample in self.aggregator.take_bad_samples() {
            counters.offenders.note("statsd.bad_lines", &sample, self.shared.clock.now_s());
        }
        let drops = self.aggregator.drops();
        counters.statsd_limited.set(drops.keys + drops.samples + drops.members + drops.events + drops.tagged_lines);
        counters.statsd_bad_lines.set(self.aggregator.bad_lines());
        counters.statsd_keys.set(self.aggregator.key_count() as u64);
        self.flushes.hand_over(Points::new(&self.flush, counters), counters);
    }

    fn now_ms(&self) -> i64 {
        self.shared.clock.now_ns().div_euclid(1_000_000)
    }

    /// The next multiple of the interval after now.
    fn next_ms(&self) -> i64 {
        let now_ms = self.now_ms();
        now_ms - now_ms.rem_euclid(self.interval_ms) + self.interval_ms
    }

    /// The same, when that of `due_ms` is done: the wall clock may say that its time is yet to come.
    fn next_ms_after(&self, due_ms: i64) -> i64 {
        let next_ms = self.next_ms();
        if next_ms == due_ms { next_ms.saturating_add(self.interval_ms) } else { next_ms }
    }

    /// Time until then; never more than an interval, even if the wall clock was set back.
    fn until(&self, due_ms: i64) -> Duration {
        let ms = due_ms.saturating_sub(self.now_ms()).clamp(0, self.interval_ms);
        Duration::from_millis(ms.unsigned_abs())
    }
}

/// The title, tagged as it was sent and by what the sender said of itself.
fn event(notice: &Notice) -> NewEvent {
    let said = [
        ("host", &notice.host),
        ("alert_type", &notice.alert_type),
        ("priority", &notice.priority),
        ("source_type_name", &notice.source_type),
        ("aggregation_key", &notice.aggregation_key),
    ];
    let said: Vec<String> =
        said.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| format!("{name}:{value}")).collect();
    let tags = notice.tags.iter().chain(&said).map(String::as_str);
    NewEvent::fitting(&notice.title, tags, &notice.text, notice.ts_s)
}

//! `/events/get_data` and `/events/ID`.

use super::json::{Writer, wrap};
use super::{Answer, Params};
use crate::events::Event;
use jiff::Timestamp;
use rhythmite_model::Result;

/// Events as a list; times are whole seconds.
///
/// # Errors
/// `Invalid` for a bad JSONP callback.
pub fn list(events: &[Event], params: Params<'_>) -> Result<Answer> {
    let mut out = Writer::new(false, events.len() * 256);
    out.open(b'[');
    for event in events {
        out.member();
        out.open(b'{');
        out.key("when");
        out.int(event.time_s());
        texts(event, &mut out);
        out.key("id");
        out.int(event.id);
        out.close(b'}');
    }
    out.close(b']');
    wrap(out.finish(), params.get("jsonp"))
}

/// One event; its time is ISO 8601 with milliseconds, if it has any.
///
/// # Errors
/// `Invalid` for a bad JSONP callback.
pub fn details(event: &Event, params: Params<'_>) -> Result<Answer> {
    let mut out = Writer::new(false, 256);
    out.open(b'{');
    out.key("id");
    out.int(event.id);
    out.key("when");
    out.text(&iso(event.time_us));
    texts(event, &mut out);
    out.close(b'}');
    wrap(out.finish(), params.get("jsonp"))
}

fn texts(event: &Event, out: &mut Writer) {
    for (key, text) in [("what", &event.what), ("data", &event.data)] {
        out.key(key);
        out.text(text);
    }
    out.key("tags");
    out.open(b'[');
    for tag in event.shown_tags() {
        out.member();
        out.text(tag);
    }
    out.close(b']');
}

fn iso(time_us: i64) -> String {
    let time = Timestamp::from_microsecond(time_us).unwrap_or_default();
    let second = time.strftime("%Y-%m-%dT%H:%M:%S");
    match time_us.rem_euclid(1_000_000) {
        0 => format!("{second}Z"),
        us => format!("{second}.{:03}Z", us / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_shown() {
        let event = |time_us| Event { id: 3, time_us, what: "w".into(), tags: " c,  d".into(), data: "\"".into() };
        let shown = |answer: Result<Answer>| String::from_utf8(answer.expect("no callback").body).expect("UTF-8");
        assert_eq!(
            shown(list(&[event(-1), event(1_717_243_200_000_000)], Params(&[]))),
            r#"[{"when": -1, "what": "w", "data": "\"", "tags": ["c,", "d"], "id": 3}, {"when": 1717243200, "what": "w", "data": "\"", "tags": ["c,", "d"], "id": 3}]"#
        );
        for (time_us, when) in [
            (1_000_006_000_000, "1970-01-12T13:46:46Z"),
            (1_000_006_700_001, "1970-01-12T13:46:46.700Z"),
            (-5_000_000, "1969-12-31T23:59:55Z"),
        ] {
            let text = shown(details(&event(time_us), Params(&[])));
            assert_eq!(
                text,
                format!(r#"{{"id": 3, "when": "{when}", "what": "w", "data": "\"", "tags": ["c,", "d"]}}"#)
            );
        }
    }
}

//! The binary network protocol: parts in, value lists and notifications out.
//!
//! A datagram is parts `type u16, length u16, payload`, the length with its own four bytes, all
//! big-endian but gauges. A part sets one thing (host, plugin, time, ...) for all values that
//! follow it, a values part closes a list. A signature covers the rest of the datagram; an
//! encrypted part holds parts of its own. Parts of unknown types are skipped by their length.
//!
//! As collectd does it: the first malformed part ends the datagram, what came before counts.
//! Identifiers borrow from the datagram; texts that are no UTF-8 are read with replacement
//! characters. Nesting is bounded, a signature or encryption within an encryption is the end.

use std::borrow::Cow;

use crate::security::{IV_LEN, SIGNATURE_LEN, Security, SecurityLevel};
use crate::value::{Identifier, Notification, Severity, Time, Value, ValueList, Values};

/// The largest payload of a UDP datagram, so the size to receive with.
pub const DATAGRAM_MAX: usize = 65_535;
/// Bytes of an identifier's text, with the NUL at its end.
pub const NAME_MAX: usize = 128;
/// Bytes of a notification's message, with the NUL at its end.
pub const MESSAGE_MAX: usize = 256;
/// The interval of lists that do not say one.
pub const INTERVAL_DEFAULT: Time = Time(10 << 30);

const HOST: u16 = 0x0000;
const TIME: u16 = 0x0001;
const PLUGIN: u16 = 0x0002;
const PLUGIN_INSTANCE: u16 = 0x0003;
const TYPE: u16 = 0x0004;
const TYPE_INSTANCE: u16 = 0x0005;
const VALUES: u16 = 0x0006;
const INTERVAL: u16 = 0x0007;
const TIME_HR: u16 = 0x0008;
const INTERVAL_HR: u16 = 0x0009;
const MESSAGE: u16 = 0x0100;
const SEVERITY: u16 = 0x0101;
const SIGN_SHA256: u16 = 0x0200;
const ENCR_AES256: u16 = 0x0210;

/// Bytes of a part's type and length.
const HEADER: usize = 4;
/// Bytes of one value with its kind.
const VALUE_LEN: usize = 9;

/// What a datagram holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Item<'a> {
    /// Values under a complete identifier.
    Values(ValueList<'a>),
    /// A complete notification.
    Notification(Notification<'a>),
}

/// What became of a datagram; to be counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Lists given to the caller.
    pub lists: u64,
    /// Notifications given to the caller.
    pub notifications: u64,
    /// Lists and notifications without host, plugin, type, time, severity or message.
    pub incomplete: u64,
    /// Parts of unknown types.
    pub unknown_parts: u64,
    /// Parts left out because the security level asks for more.
    pub insecure_parts: u64,
    /// Signatures and encryptions that fit no user's password.
    pub bad_credentials: u64,
    /// A malformed part ended the datagram.
    pub malformed: bool,
}

/// A part that cannot be read: the rest of the datagram has no known beginning.
struct Malformed;

/// How far the bytes at hand can be trusted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    Plain,
    Signed,
    Encrypted,
}

impl Trust {
    fn suffices(self, level: SecurityLevel) -> bool {
        match level {
            SecurityLevel::None => true,
            SecurityLevel::Sign => self != Trust::Plain,
            SecurityLevel::Encrypt => self == Trust::Encrypted,
        }
    }
}

/// Reads one datagram and gives its items to `sink`, in order.
///
/// `now` is the time of lists that do not say one. The result never fails: it says what was left
/// out and why.
pub fn decode(datagram: &[u8], security: &Security, now: Time, mut sink: impl FnMut(Item<'_>)) -> Decoded {
    let mut decoded = Decoded::default();
    let mut reader = Reader { security, now, decoded: &mut decoded, sink: &mut sink };
    if reader.read(datagram, Trust::Plain).is_err() {
        decoded.malformed = true;
    }
    decoded
}

struct Reader<'r, S> {
    security: &'r Security,
    now: Time,
    decoded: &'r mut Decoded,
    sink: &'r mut S,
}

/// What parts have set so far.
#[derive(Default)]
struct State<'a> {
    id: Identifier<'a>,
    time: Time,
    interval: Time,
    severity: Option<Severity>,
}

impl<S: FnMut(Item<'_>)> Reader<'_, S> {
    fn read(&mut self, mut rest: &[u8], trust: Trust) -> Result<(), Malformed> {
        let mut trust = trust;
        let mut state = State::default();
        while !rest.is_empty() {
            let (part_type, payload, next) = split_part(rest)?;
            match part_type {
                ENCR_AES256 => self.read_encrypted(payload, trust)?,
                SIGN_SHA256 if self.security.level != SecurityLevel::Encrypt || trust == Trust::Encrypted => {
                    if !self.check_signature(payload, next, &mut trust)? {
                        return Ok(());
                    }
                }
                _ if !trust.suffices(self.security.level) => self.decoded.insecure_parts += 1,
                _ => self.read_part(part_type, payload, &mut state)?,
            }
            rest = next;
        }
        Ok(())
    }

    /// Whether to go on with what follows the signature.
    fn check_signature(&mut self, payload: &[u8], next: &[u8], trust: &mut Trust) -> Result<bool, Malformed> {
        let (signature, user) = payload.split_at_checked(SIGNATURE_LEN).ok_or(Malformed)?;
        if user.is_empty() {
            return Err(Malformed);
        }
        // Without users nothing can be checked: the rest is as good as plain.
        if !self.security.has_users() {
            return Ok(true);
        }
        if !self.security.is_signed(user, signature, &[user, next].concat()) {
            self.decoded.bad_credentials += 1;
            return Ok(false);
        }
        if *trust == Trust::Plain {
            *trust = Trust::Signed;
        }
        Ok(true)
    }

    fn read_encrypted(&mut self, payload: &[u8], trust: Trust) -> Result<(), Malformed> {
        // One level deep is all that collectd sends, and all that is read.
        if trust == Trust::Encrypted {
            return Err(Malformed);
        }
        let (len, rest) = payload.split_first_chunk().ok_or(Malformed)?;
        let (user, rest) = rest.split_at_checked(u16::from_be_bytes(*len).into()).ok_or(Malformed)?;
        let (iv, data) = rest.split_first_chunk::<IV_LEN>().ok_or(Malformed)?;
        match self.security.decrypt(user, iv, data) {
            Some(plain) => self.read(&plain, Trust::Encrypted),
            None => {
                self.decoded.bad_credentials += 1;
                Ok(())
            }
        }
    }

    fn read_part<'a>(&mut self, part_type: u16, payload: &'a [u8], state: &mut State<'a>) -> Result<(), Malformed> {
        match part_type {
            HOST => state.id.host = text(payload, NAME_MAX)?,
            PLUGIN => state.id.plugin = text(payload, NAME_MAX)?,
            PLUGIN_INSTANCE => state.id.plugin_instance = text(payload, NAME_MAX)?,
            TYPE => state.id.type_name = text(payload, NAME_MAX)?,
            TYPE_INSTANCE => state.id.type_instance = text(payload, NAME_MAX)?,
            TIME => state.time = Time::from_secs(number(payload)?).ok_or(Malformed)?,
            TIME_HR => state.time = Time(number(payload)?),
            INTERVAL => state.interval = Time::from_secs(number(payload)?).ok_or(Malformed)?,
            INTERVAL_HR => state.interval = Time(number(payload)?),
            VALUES => {
                let values = values(payload)?;
                self.give_values(state, values);
            }
            SEVERITY => {
                state.severity = match number(payload)? {
                    1 => Some(Severity::Failure),
                    2 => Some(Severity::Warning),
                    4 => Some(Severity::Okay),
                    _ => None,
                }
            }
            MESSAGE => {
                let message = text(payload, MESSAGE_MAX)?;
                self.give_notification(state, message);
            }
            _ => self.decoded.unknown_parts += 1,
        }
        Ok(())
    }

    fn give_values(&mut self, state: &State<'_>, values: Values) {
        let id = &state.id;
        if id.host.is_empty() || id.plugin.is_empty() || id.type_name.is_empty() {
            self.decoded.incomplete += 1;
            return;
        }
        let or = |time: Time, default: Time| if time == Time(0) { default } else { time };
        self.decoded.lists += 1;
        (self.sink)(Item::Values(ValueList {
            id: id.clone(),
            time: or(state.time, self.now),
            interval: or(state.interval, INTERVAL_DEFAULT),
            values,
        }));
    }

    fn give_notification(&mut self, state: &State<'_>, message: Cow<'_, str>) {
        match state.severity {
            Some(severity) if state.time != Time(0) && !message.is_empty() => {
                self.decoded.notifications += 1;
                let id = state.id.clone();
                (self.sink)(Item::Notification(Notification { id, time: state.time, severity, message }));
            }
            _ => self.decoded.incomplete += 1,
        }
    }
}

/// Type and payload of the first part, and what follows it.
fn split_part(bytes: &[u8]) -> Result<(u16, &[u8], &[u8]), Malformed> {
    let (part_type, rest) = bytes.split_first_chunk().ok_or(Malformed)?;
    let (len, _) = rest.split_first_chunk().ok_or(Malformed)?;
    let (part, next) = bytes.split_at_checked(u16::from_be_bytes(*len).into()).ok_or(Malformed)?;
    // Lengths of 0 to 3 would not even cover themselves: here ends what could loop.
    let payload = part.get(HEADER..).ok_or(Malformed)?;
    Ok((u16::from_be_bytes(*part_type), payload, next))
}

/// Text with a NUL at its end, and `max` bytes with it.
fn text(payload: &[u8], max: usize) -> Result<Cow<'_, str>, Malformed> {
    let (0, text) = payload.split_last().ok_or(Malformed)? else { return Err(Malformed) };
    if payload.len() > max {
        return Err(Malformed);
    }
    // To collectd the text ends at the first NUL.
    let end = text.iter().position(|b| *b == 0).unwrap_or(text.len());
    Ok(String::from_utf8_lossy(&text[..end]))
}

fn number(payload: &[u8]) -> Result<u64, Malformed> {
    payload.try_into().map(u64::from_be_bytes).map_err(|_| Malformed)
}

/// A count, as many kinds, as many values of eight bytes.
fn values(payload: &[u8]) -> Result<Values, Malformed> {
    let (count, rest) = payload.split_first_chunk().ok_or(Malformed)?;
    let count = usize::from(u16::from_be_bytes(*count));
    if count == 0 || rest.len() != count * VALUE_LEN {
        return Err(Malformed);
    }
    let (kinds, numbers) = rest.split_at(count);
    let (numbers, _) = numbers.as_chunks::<8>();
    kinds
        .iter()
        .zip(numbers)
        .map(|(kind, bytes)| {
            Ok(match kind {
                0 => Value::Counter(u64::from_be_bytes(*bytes)),
                1 => Value::Gauge(f64::from_le_bytes(*bytes)),
                2 => Value::Derive(i64::from_be_bytes(*bytes)),
                3 => Value::Absolute(u64::from_be_bytes(*bytes)),
                _ => return Err(Malformed),
            })
        })
        .collect()
}

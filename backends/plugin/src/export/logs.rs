// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The plugin's `tracing` events on their way to the daemon's log.
//!
//! A library has its own copy of `tracing`, which nobody would hear. This subscriber hands every event on as
//! a level, a target and one line of text. Spans are dropped: the daemon has its own around each call.

use std::fmt::{Debug, Write as _};
use std::panic;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::abi;

/// Sends this library's events and the reports of its panics to `host` from now on. The first host stays:
/// its functions are valid until the process ends, and another one could only be the same daemon again.
pub(super) fn install(host: abi::Host) {
    if host.log.is_none() {
        return;
    }
    // Refused when one is installed already: ours, or that of a program which links the plugin in.
    if tracing::subscriber::set_global_default(Forwarder(host)).is_ok() {
        // The library's own copy of the standard library would print them, where the daemon's log is not.
        panic::set_hook(Box::new(|panic| tracing::error!("A thread of the plugin {panic}")));
    }
}

struct Forwarder(abi::Host);

// SAFETY: the contract lets every thread use the host's functions with its `user`.
unsafe impl Send for Forwarder {}
// SAFETY: as above, also at the same time.
unsafe impl Sync for Forwarder {}

impl Subscriber for Forwarder {
    fn register_callsite(&self, _metadata: &'static Metadata<'static>) -> Interest {
        // The daemon may change its mind, so it is asked each time.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let Some(log_enabled) = self.0.log_enabled else { return metadata.is_event() };
        // SAFETY: the host's function with the host's `user`.
        metadata.is_event() && unsafe { log_enabled(self.0.user, number(metadata.level())) } != 0
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let (target, text) = (event.metadata().target(), line.finish());
        let Some(log) = self.0.log else { return };
        let level = number(event.metadata().level());
        // SAFETY: the host's function with the host's `user`; both texts live until it returns.
        unsafe { log(self.0.user, level, target.as_ptr(), target.len(), text.as_ptr(), text.len()) };
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// The level's number in the contract.
fn number(level: &Level) -> u32 {
    match *level {
        Level::ERROR => abi::LOG_ERROR,
        Level::WARN => abi::LOG_WARN,
        Level::INFO => abi::LOG_INFO,
        Level::DEBUG => abi::LOG_DEBUG,
        Level::TRACE => abi::LOG_TRACE,
    }
}

/// An event as text: its message, then its fields.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Line {
    fn finish(mut self) -> String {
        self.message.push_str(&self.fields);
        self.message
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing into a `String` cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! In the worker: what is logged there goes to the daemon, which writes it under its own filter.

use std::fmt::{Debug, Write};
use std::sync::Arc;

use alice_plugin::abi;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::frames::{Message, Sender};

/// Bytes of one line.
const LINE_LIMIT: usize = 16 << 10;

/// Sends everything down to `level` from here on.
pub(super) fn start(sender: Arc<Sender>, level: &str) {
    let level = level.parse().unwrap_or(LevelFilter::INFO);
    let started = tracing_subscriber::registry().with(Relay(sender).with_filter(level)).try_init();
    started.expect("this process starts its log once, here");
}

struct Relay(Arc<Sender>);

impl<S: Subscriber> Layer<S> for Relay {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let (level, target) = (number(*event.metadata().level()), event.metadata().target().to_owned());
        // A line that the daemon does not take is lost, and so is this process: the daemon is gone.
        let _gone = self.0.send(&Message::Log { level, target, message: line.finish() });
    }
}

fn number(level: Level) -> u32 {
    match level {
        Level::ERROR => abi::LOG_ERROR,
        Level::WARN => abi::LOG_WARN,
        Level::INFO => abi::LOG_INFO,
        Level::DEBUG => abi::LOG_DEBUG,
        Level::TRACE => abi::LOG_TRACE,
    }
}

/// An event as one line: the message, then the fields.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Line {
    fn finish(self) -> String {
        let mut line = self.message + &self.fields;
        line.truncate(line.floor_char_boundary(LINE_LIMIT));
        line
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
        written.expect("a string takes everything");
    }
}

// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A plugin's log lines as events of the daemon's `tracing`, each under the target that the plugin gave.
//!
//! `tracing` wants an event's target at compile time. To let the operator's filter speak of a plugin's own
//! modules (`alice_candle=debug`), a call site is made for each new pair of level and target, and kept.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata};
use tracing_core::callsite::Callsite;
use tracing_core::field::{FieldSet, Value};
use tracing_core::metadata::Kind;
use tracing_core::subscriber::Interest;
use tracing_core::{dispatcher, identify_callsite};

use crate::abi::{self, read::text};

/// Most call sites that plugins may cause; later targets appear under [`OVERFLOW_TARGET`].
const SITE_LIMIT: usize = 1000;
const OVERFLOW_TARGET: &str = "alice_plugin";

/// Whether anybody would read a line of this level.
pub(super) fn enabled(level: u32) -> bool {
    level_of(level) <= LevelFilter::current()
}

/// Logs a line that a plugin has written in another process. `level` is one of the contract's numbers
/// ([`abi::LOG_ERROR`] and the others).
pub fn log(level: u32, target: &str, message: &str) {
    emit(level, target.as_bytes(), message.as_bytes());
}

/// Logs one line of a plugin.
pub(super) fn emit(level: u32, target: &[u8], message: &[u8]) {
    let (level, message) = (level_of(level), text(message));
    if level > LevelFilter::current() {
        return;
    }
    let metadata = site(level, &text(target)).metadata();
    dispatcher::get_default(|dispatch| {
        if dispatch.enabled(metadata) {
            let fields = metadata.fields();
            let field = fields.field("message").expect("every site here has this one field");
            let value: &dyn Value = &tracing_core::field::display(&message);
            dispatch.event(&Event::new(metadata, &fields.value_set(&[(&field, Some(value))])));
        }
    });
}

/// The level behind its number in the contract; a number of the future is the least important level.
fn level_of(number: u32) -> Level {
    match number {
        abi::LOG_ERROR => Level::ERROR,
        abi::LOG_WARN => Level::WARN,
        abi::LOG_INFO => Level::INFO,
        abi::LOG_DEBUG => Level::DEBUG,
        _ => Level::TRACE,
    }
}

struct Site(OnceLock<Metadata<'static>>);

impl Site {
    fn metadata(&'static self) -> &'static Metadata<'static> {
        self.0.get().expect("`make` fills it before anyone gets the site")
    }

    /// Makes a site that lives as long as the process, as `tracing` requires.
    fn make(level: Level, target: &str) -> &'static Self {
        let site: &'static Self = Box::leak(Box::new(Self(OnceLock::new())));
        let target: &'static str = Box::leak(target.to_owned().into_boxed_str());
        let fields = FieldSet::new(&["message"], identify_callsite!(site));
        site.0.get_or_init(|| Metadata::new("plugin", target, level, None, None, None, fields, Kind::EVENT));
        site
    }
}

impl Callsite for Site {
    fn set_interest(&self, _interest: Interest) {
        // The subscriber is asked for every event.
    }

    fn metadata(&self) -> &Metadata<'_> {
        self.0.get().expect("`make` fills it before anyone gets the site")
    }
}

fn site(level: Level, target: &str) -> &'static Site {
    static SITES: OnceLock<Mutex<HashMap<(Level, String), &'static Site>>> = OnceLock::new();
    // A panic elsewhere leaves the map whole: each insertion is one step.
    let mut sites = SITES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    let full = sites.len() >= SITE_LIMIT && !sites.contains_key(&(level, target.to_owned()));
    let target = if full { OVERFLOW_TARGET } else { target };
    sites.entry((level, target.to_owned())).or_insert_with(|| Site::make(level, target))
}

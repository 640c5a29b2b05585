// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/status`: how the server is, what it has done in the last day, and what the visitor made lately. Administrators see
//! everyone's numbers and the room on the disk, others their own.

use askama::Template;
use axum::response::Response;

use super::bytes::Bytes;
use super::models::{Residing, device_name, residing};
use super::{Frame, Place, Visit, thumbnail};
use crate::error::Result;
use crate::gallery::Kept;
use crate::jobs::Caller;
use crate::jobs::store::{self, Whose};
use crate::jobs::throughput::{self, HOUR, Throughput};
use crate::metrics::snapshot::{self, Snapshot};

mod chart;
mod disk;

use chart::Bar;
use disk::{Own, Room};

/// How many hours the chart goes back, with the one that has begun.
const HOURS: usize = 24;
/// How many of the visitor's pictures are shown.
const RECENT: u32 = 8;

/// The page.
#[derive(Template)]
#[template(path = "status.html")]
struct Page {
    frame: Frame,
    health: Health,
    version: &'static str,
    backend: String,
    up: String,
    /// How often the backend died since.
    restarts: u64,
    running: usize,
    waiting: usize,
    /// Finished pictures of the last day.
    pictures: u64,
    per_picture: Option<String>,
    failed: u64,
    bars: Vec<Bar>,
    /// Most pictures of an hour.
    most: u64,
    devices: Vec<DeviceRow>,
    /// The models that are in memory.
    models: Vec<(String, Vec<Residing>)>,
    /// Addresses of the pages of the visitor's latest pictures, and of the small pictures.
    recent: Vec<(String, String)>,
    /// What the visitor's own pictures take of the disk.
    own: Option<Own>,
    /// What everyone's do.
    room: Option<Room>,
}

/// How the server is, in a sentence.
struct Health {
    well: bool,
    sentence: String,
}

/// A device and its memory.
struct DeviceRow {
    name: String,
    kind: String,
    used: Bytes,
    total: Option<Bytes>,
    models: usize,
}

/// What the database says.
struct Told {
    done: Throughput,
    recent: Vec<Kept>,
    own: Option<Own>,
    room: Option<Room>,
}

/// `GET /status`.
pub async fn show(visit: Visit) -> Response {
    visit.answer(page(&visit).await)
}

async fn page(visit: &Visit) -> Result<Response> {
    let app = &visit.app;
    let is_admin = visit.actor.is_admin();
    let own = Whose::Of(Caller::of(&visit.actor));
    let whose = if is_admin { Whose::All } else { own.clone() };
    let begin = (app.clock.now() / HOUR - HOURS as i64 + 1) * HOUR;
    let (shared, account) = (app.clone(), visit.actor.account());
    let read = app.database.read(move |connection| {
        Ok(Told {
            done: throughput::since(connection, &whose, begin, HOURS)?,
            recent: store::latest_pictures(connection, &own, RECENT)?,
            own: account.map(|account| Own::of(connection, &shared, account)).transpose()?,
            room: if is_admin { Some(Room::of(connection, &shared)?) } else { None },
        })
    });
    let told = read.await?;
    let snapshot = snapshot::take(app);
    let models = app.models.all().into_iter().map(|model| (model.name.clone(), residing(app, &model)));
    let seconds = told.done.seconds_per_picture();
    let page = Page {
        frame: visit.frame().at(Place::Status),
        health: Health::of(visit, &snapshot),
        version: env!("CARGO_PKG_VERSION"),
        up: duration(snapshot.uptime.as_secs()),
        restarts: snapshot.counted.restarts,
        running: snapshot.running,
        waiting: snapshot.waiting,
        pictures: told.done.pictures(),
        per_picture: seconds.map(|seconds| format!("{seconds:.1} s")),
        failed: told.done.failed,
        bars: chart::bars(&told.done.hours, begin),
        most: told.done.hours.iter().copied().max().unwrap_or(0),
        models: models.filter(|(_, residing)| !residing.is_empty()).collect(),
        recent: told.recent.iter().map(|kept| (format!("/gallery/{}", kept.id()), thumbnail(kept))).collect(),
        own: told.own,
        room: told.room,
        devices: snapshot
            .devices
            .iter()
            .map(|device| DeviceRow {
                name: device_name(app, device.index),
                kind: device.kind.clone(),
                used: Bytes(device.model_bytes),
                total: device.bytes.map(Bytes),
                models: device.models,
            })
            .collect(),
        backend: snapshot.backend,
    };
    Ok(super::page_about(None, &page))
}

impl Health {
    fn of(visit: &Visit, snapshot: &Snapshot) -> Self {
        let well = |sentence: String| Self { well: true, sentence };
        if visit.app.models.all().is_empty() {
            let sentence = "There is no model to paint with. Put one into the directory of models and look again under Models.";
            return Self { well: false, sentence: sentence.to_owned() };
        }
        match (snapshot.running, snapshot.waiting) {
            (0, 0) => well("All is well, and nothing waits. Ask for a picture.".to_owned()),
            (_, 0) => well("All is well. Pictures are being made.".to_owned()),
            (_, waiting) => {
                well(format!("All is well. Pictures are being made, and {} in line.", wait(waiting)))
            }
        }
    }
}

fn wait(count: usize) -> String {
    if count == 1 { "1 request waits".to_owned() } else { format!("{count} requests wait") }
}

/// How long something has been so, in its two largest units.
fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min"),
        (0, hours) => format!("{hours} h {minutes} min"),
        (days, hours) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn a_duration_is_told_in_two_units() {
        assert_eq!([59, 3600, 90_000].map(duration), ["0 min", "1 h 0 min", "1 d 1 h"]);
    }
}

// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the device does for the calls that were chosen, and what becomes of them when it fails.
//!
//! A call leaves the line only when it is answered. One that is to be tried again just stays: after the backend's
//! death, with fewer rows, with a model fewer on the device.

use std::collections::BTreeSet;
use std::time::Duration;

use alice_plugin::{
    Control, DecodeOptions, EncodeOptions, Error, ErrorKind, LoadRequest, Result, UpscaleOptions,
};
use tracing::warn;

use super::desk::Desk;
use super::device::{Device, is_death};
use super::ladder::Large;
use super::mailbox::{Decoding, Encoding, Evaluation, Loading, Picturing, Reply, Task, Upscaling};
use super::residents::Place;
use super::sets::Need;
use super::status::Board;
use super::{LoadedModel, NotLoaded, Row, Versioned, ladder};
use crate::metrics::Stage;

/// Deaths of the backend over one seat alone after which it gets no further attempt.
const STRIKES: u32 = 2;

/// An evaluation in a pass.
struct Member {
    call: u64,
    seat: u64,
    evaluation: Evaluation,
}

impl Desk {
    /// Serves these calls: evaluations that share a pass, or one call of another kind.
    pub(super) fn work(&mut self, calls: &[u64]) {
        let mut batch = Vec::new();
        for &call in calls {
            match self.calls.remove(&call) {
                Some((seat, Task::Denoise(evaluation))) => batch.push(Member { call, seat, evaluation }),
                Some((seat, Task::Load(loading))) => self.load(call, seat, loading),
                Some((seat, Task::Encode(encoding))) => self.encode(call, seat, encoding),
                Some((seat, Task::Decode(decoding))) => self.decode(call, seat, decoding),
                Some((seat, Task::EncodeImage(picturing))) => self.encode_image(call, seat, picturing),
                Some((seat, Task::Upscale(upscaling))) => self.upscale(call, seat, upscaling),
                None => {}
            }
        }
        if let Some(first) = batch.first() {
            let Evaluation { model, .. } = &first.evaluation;
            let need = Need { model: model.id, set: self.sets.number(&first.evaluation.adapters()) };
            let group = self.kinds.group(&first.evaluation, need);
            self.pass(group, batch);
        }
    }

    /// Loads what is missing of the models that are wanted, one after the other, and gives the use of all of them.
    fn load(&mut self, call: u64, seat: u64, loading: Loading) {
        let models: BTreeSet<usize> = self.models(&loading).collect();
        while let Some(model) = self.residents.missing(self.models(&loading)) {
            // The one before may have become larger than its files let expect: then others may have to go too.
            let Place::Room(victims) = self.residents.room(&models) else {
                self.calls.insert(call, (seat, Task::Load(loading)));
                return;
            };
            victims.into_iter().for_each(|victim| self.evict(victim));
            if let Err(error) = self.bring(model) {
                self.publish();
                return self.not_loaded(call, seat, model, loading, error);
            }
            self.residents.let_in(&models);
        }
        self.line.leave(call);
        self.give(loading);
        // They may have become larger than their files let expect.
        while self.residents.are_too_many() && self.make_room() {}
    }

    /// Brings one of the models that are wanted onto the device.
    fn bring(&mut self, model: usize) -> Result<()> {
        self.publish_coming(model);
        let began = self.now();
        let wanted = self.residents.get(model).model.clone();
        let control = Progress { board: &self.board, model: &wanted };
        let info = self.device.load(model, &wanted.what, &control)?;
        let now = self.now();
        self.residents.came(model, info.memory_bytes, now - began, now);
        self.infos.insert(model, info);
        Ok(())
    }

    fn not_loaded(&mut self, call: u64, seat: u64, model: usize, loading: Loading, error: Error) {
        if error.kind == ErrorKind::OutOfMemory {
            self.metrics.out_of_memory();
            let together = self.models(&loading).collect();
            if self.residents.crowd(model, &together) {
                // It waits, or goes on without those that nobody uses.
                self.calls.insert(call, (seat, Task::Load(loading)));
                return;
            }
            self.residents.keep_out(&together);
            let failed = self.residents.get(model);
            let error = ladder::model_did_not_fit(&failed.model.what, failed.bytes, self.budget, &error);
            return self.finish(call, loading.reply, Err(error));
        }
        if !is_death(&error) {
            let place = self.models(&loading).position(|wanted| wanted == model);
            return self.finish(call, loading.reply, Ok(Err(NotLoaded { place, error })));
        }
        let Loading { wanted, pinned, mailbox, reply } = loading;
        self.conclude(call, seat, Err(error), reply, |reply| {
            Task::Load(Loading { wanted, pinned, mailbox, reply })
        });
    }

    fn encode(&mut self, call: u64, seat: u64, encoding: Encoding) {
        let Encoding { model, text, reply } = encoding;
        let control = Wanted(|| !reply.is_closed());
        let adapted = self.adapt(&model, &text.adapters, &control);
        let result = adapted.and_then(|()| self.device.encode(&model, &text, &control));
        self.conclude(call, seat, result, reply, |reply| Task::Encode(Encoding { model, text, reply }));
    }

    fn decode(&mut self, call: u64, seat: u64, decoding: Decoding) {
        let Decoding { model, shape, latent, preview, reply } = decoding;
        let stage = if preview { Stage::Preview } else { Stage::Decode };
        let control = Wanted(|| !reply.is_closed());
        let result = self.in_tiles(&model, Large::Decode(shape), |device, tile| {
            device.decode(&model, shape, &latent, DecodeOptions { tile }, stage, &control)
        });
        self.conclude(call, seat, result, reply, |reply| {
            Task::Decode(Decoding { model, shape, latent, preview, reply })
        });
    }

    fn encode_image(&mut self, call: u64, seat: u64, picturing: Picturing) {
        let Picturing { model, shape, pixels, reply } = picturing;
        let (bytes, alpha) = pixels.bytes();
        let control = Wanted(|| !reply.is_closed());
        let result = self.in_tiles(&model, Large::EncodeImage(shape), |device, tile| {
            device.encode_image(&model, shape, bytes, EncodeOptions { tile, alpha }, &control)
        });
        self.conclude(call, seat, result, reply, |reply| {
            Task::EncodeImage(Picturing { model, shape, pixels, reply })
        });
    }

    fn upscale(&mut self, call: u64, seat: u64, upscaling: Upscaling) {
        let Upscaling { model, width, height, rgb, reply } = upscaling;
        let control = Wanted(|| !reply.is_closed());
        let result = self.in_tiles(&model, Large::Upscale { width, height }, |device, tile| {
            device.upscale(&model, [height, width], &rgb, UpscaleOptions { tile }, &control)
        });
        self.conclude(call, seat, result, reply, |reply| {
            Task::Upscale(Upscaling { model, width, height, rgb, reply })
        });
    }

    /// Does something whole, or in ever smaller tiles if need be.
    fn in_tiles<T>(
        &mut self,
        model: &LoadedModel,
        large: Large,
        attempt: impl Fn(&mut Device, Option<u32>) -> Result<T>,
    ) -> Result<T> {
        let kind = (model.id, large);
        let mut reason: Option<Error> = None;
        loop {
            let tile = self.tiles.get(&kind).copied();
            let error = match (attempt(&mut self.device, tile), &reason) {
                (Err(error), _) if error.kind == ErrorKind::OutOfMemory => error,
                // A backend that knows no tiles here: what it has said of the whole remains.
                (Err(error), Some(reason)) if error.kind == ErrorKind::Unsupported => {
                    self.tiles.remove(&kind);
                    return Err(large.too_large(model, None, reason));
                }
                (other, _) => return other,
            };
            self.metrics.out_of_memory();
            if self.make_room() {
                continue;
            }
            let Some(smaller) = large.smaller_tile(tile) else {
                self.tiles.remove(&kind);
                return Err(large.too_large(model, tile, &error));
            };
            warn!(
                tile = smaller,
                "A picture does not fit into the device's memory and is worked on in tiles"
            );
            self.tiles.insert(kind, smaller);
            reason = Some(error);
        }
    }

    /// Runs evaluations of one group together.
    fn pass(&mut self, group: usize, batch: Vec<Member>) {
        let Some(first) = batch.first() else { return };
        let (model, shape) = (first.evaluation.model.clone(), first.evaluation.shape);
        let rows: Vec<&Row> = batch.iter().flat_map(|member| &member.evaluation.rows).collect();
        // More rows than fit only happen in one evaluation, whose rows then run apart.
        let at_once = self.kinds.curve(group).ceiling().unwrap_or(rows.len()).clamp(1, rows.len().max(1));
        let wanted = Wanted(|| batch.iter().any(|member| !member.evaluation.reply.is_closed()));
        if let Err(error) = self.adapt(&model, &first.evaluation.adapters(), &wanted) {
            return self.not_adapted(group, batch, error);
        }
        let mut values = Vec::with_capacity(rows.len() * model.output_len(shape));
        let mut passes: Vec<(usize, Duration)> = Vec::new();
        let mut failure = None;
        for rows in rows.chunks(at_once) {
            match self.device.denoise(&model, shape, rows, &wanted) {
                Ok((some, took)) => {
                    values.extend(some);
                    passes.push((rows.len(), took));
                }
                Err(error) => {
                    failure = Some((rows.len(), error));
                    break;
                }
            }
        }
        for (rows, took) in passes {
            let curve = self.kinds.curve_mut(group);
            curve.record(rows, took);
            let seconds = curve.seconds(rows).unwrap_or(took.as_secs_f64());
            self.board.post_pass(&model.request, shape, rows, seconds);
        }
        match failure {
            None => self.hand_out(batch, values),
            Some((rows, error)) => self.failed(group, rows, batch, error),
        }
    }

    /// The model could not be given the LoRAs of these evaluations. All of them need the same ones.
    fn not_adapted(&mut self, group: usize, batch: Vec<Member>, error: Error) {
        if is_death(&error) {
            return self.failed(group, 0, batch, error);
        }
        for Member { call, evaluation, .. } in batch {
            self.finish(call, evaluation.reply, Err(error.clone()));
        }
    }

    /// Gives each evaluation its part of the answer.
    fn hand_out(&mut self, batch: Vec<Member>, values: Vec<f32>) {
        let mut values = values.into_iter();
        for Member { call, seat, evaluation } in batch {
            self.line.rejoin(seat);
            let count = evaluation.rows.len() * evaluation.model.output_len(evaluation.shape);
            let part = values.by_ref().take(count).collect();
            self.finish(call, evaluation.reply, Ok(part));
        }
    }

    /// A pass has failed, at so many rows: decides who tries again and how.
    fn failed(&mut self, group: usize, rows: usize, mut batch: Vec<Member>, error: Error) {
        let out_of_memory = error.kind == ErrorKind::OutOfMemory;
        if out_of_memory {
            self.metrics.out_of_memory();
            if self.make_room() || self.kinds.curve_mut(group).halve(rows) {
                warn!(rows, "The device had not enough memory for a pass");
                return batch.into_iter().for_each(|member| self.put_back(member));
            }
        }
        // Nobody fails for company's sake: who of these is to blame shows when each is alone.
        if batch.len() > 1 {
            for member in batch {
                self.line.set_apart(member.seat);
                self.put_back(member);
            }
            return;
        }
        let Some(Member { call, seat, evaluation }) = batch.pop() else { return };
        let Evaluation { model, shape, rows, reply } = evaluation;
        if out_of_memory {
            // The next one may find more room.
            self.kinds.curve_mut(group).lift_ceiling();
            let tokens = rows.first().map_or(0, |row| row.text.tokens());
            let error = ladder::row_too_large(&model, shape, tokens, &error);
            return self.finish(call, reply, Err(error));
        }
        self.conclude(call, seat, Err(error), reply, |reply| {
            Task::Denoise(Evaluation { model, shape, rows, reply })
        });
    }

    fn put_back(&mut self, Member { call, seat, evaluation }: Member) {
        self.calls.insert(call, (seat, Task::Denoise(evaluation)));
    }

    /// Answers a call that had the device to itself. If the backend has died of it, it is tried `again`, once.
    fn conclude<T>(
        &mut self,
        call: u64,
        seat: u64,
        result: Result<T>,
        reply: Reply<T>,
        again: impl FnOnce(Reply<T>) -> Task,
    ) {
        let Err(error) = &result else { return self.finish(call, reply, result) };
        if !is_death(error) {
            return self.finish(call, reply, result);
        }
        let strikes = self.strikes.entry(seat).or_insert(0);
        *strikes += 1;
        if *strikes < STRIKES {
            self.line.set_apart(seat);
            self.calls.insert(call, (seat, again(reply)));
            return;
        }
        let message = format!("the backend died {strikes} times of this request alone, at last so: {error}");
        let error = Error::new(error.kind, message);
        self.finish(call, reply, Err(error));
    }

    fn finish<T>(&mut self, call: u64, reply: Reply<T>, result: Result<T>) {
        // Who hears the answer may look at the models next.
        self.notice_death();
        self.line.leave(call);
        // A receiver that is gone has taken its call back; what it was to receive is dropped, hence freed.
        let _gone = reply.send(result);
    }
}

/// A call goes on for as long as somebody wants its answer.
struct Wanted<F>(F);

impl<F: Fn() -> bool> Control for Wanted<F> {
    fn progress(&self, _done: u64, _total: u64) -> Result<()> {
        if (self.0)() { Ok(()) } else { Err(Error::cancelled()) }
    }
}

/// The same for a model on its way, which several may wait for and everybody may watch. Who has asked for it since it
/// set out is still in the mailbox, so the board is looked at.
struct Progress<'a> {
    board: &'a Board,
    model: &'a Versioned<LoadRequest>,
}

impl Control for Progress<'_> {
    fn progress(&self, done: u64, total: u64) -> Result<()> {
        self.board.post_progress(done, total);
        if self.board.is_awaited(self.model) { Ok(()) } else { Err(Error::cancelled()) }
    }
}

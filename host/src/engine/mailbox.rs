// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The engine's thread: takes calls out of the mailbox in their order and joins evaluations that fit
//! together into one forward pass.

use std::collections::VecDeque;
use std::sync::mpsc;

use alice_plugin::{Control, Error, ErrorKind, Result};

use super::device::Device;
use super::{Call, Evaluation, Reply};

/// Serves calls until the last sender is gone. A forward pass holds up to `max_rows` rows, or one evaluation.
pub(super) fn serve(mut device: Device, inbox: &mpsc::Receiver<Call>, max_rows: usize, finished: &std::sync::atomic::AtomicU64) {
    let mut waiting = VecDeque::new();
    while let Some(call) = next(&mut waiting, inbox) {
        finished.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        match call {
            Call::Denoise(first) => denoise(&mut device, join(first, &mut waiting, max_rows)),
            Call::Load { request, reply } => answer(reply, |control| device.load(request, control)),
            Call::Encode { model, chunks, clip_skip, back, reply } => {
                answer(reply, |control| device.encode(&model, &chunks, clip_skip, back, control));
            }
            Call::Decode { model, shape, latent, reply } => {
                answer(reply, |control| device.decode(&model, shape, &latent, control));
            }
            Call::Release { handle, life } => device.release(handle, life),
        }
    }
}

/// The oldest call, after everything that has arrived by now has joined the line; `None` when nobody can
/// call any more.
fn next(waiting: &mut VecDeque<Call>, inbox: &mpsc::Receiver<Call>) -> Option<Call> {
    if waiting.is_empty() {
        waiting.push_back(inbox.recv().ok()?);
    }
    waiting.extend(inbox.try_iter());
    waiting.pop_front()
}

/// `first` and every waiting evaluation that fits beside it, oldest first.
fn join(first: Evaluation, waiting: &mut VecDeque<Call>, max_rows: usize) -> Vec<Evaluation> {
    let mut rows = first.rows.len();
    let mut batch = vec![first];
    let mut others = VecDeque::with_capacity(waiting.len());
    for call in waiting.drain(..) {
        match call {
            Call::Denoise(other) if batch[0].fits(&other) && rows + other.rows.len() <= max_rows => {
                rows += other.rows.len();
                batch.push(other);
            }
            other => others.push_back(other),
        }
    }
    *waiting = others;
    batch
}

/// Runs one forward pass and gives each evaluation its part of the answer.
fn denoise(device: &mut Device, mut batch: Vec<Evaluation>) {
    batch.retain(|evaluation| !evaluation.reply.is_closed());
    if batch.is_empty() {
        return;
    }
    let wanted = Wanted(|| batch.iter().any(|evaluation| !evaluation.reply.is_closed()));
    let mut answers = match device.denoise(&batch, &wanted) {
        Ok(values) => Ok(values.into_iter()),
        // What does not fit together may fit one after the other: nobody fails for company's sake.
        Err(error) if error.kind == ErrorKind::OutOfMemory && batch.len() > 1 => {
            return batch.into_iter().for_each(|evaluation| denoise(device, vec![evaluation]));
        }
        Err(error) => Err(error),
    };
    for Evaluation { model, shape, rows, reply } in batch {
        let count = rows.len() * model.output_len(shape);
        let part = match &mut answers {
            Ok(values) => Ok(values.by_ref().take(count).collect()),
            Err(error) => Err(error.clone()),
        };
        // A receiver that is gone has taken its call back.
        let _gone = reply.send(part);
    }
}

/// Runs one call for one caller, unless the caller is gone.
fn answer<T>(reply: Reply<T>, call: impl FnOnce(&dyn Control) -> Result<T>) {
    if reply.is_closed() {
        return;
    }
    let result = call(&Wanted(|| !reply.is_closed()));
    // A receiver that is gone has taken its call back; what it was to receive is dropped, hence freed.
    let _gone = reply.send(result);
}

/// A call goes on for as long as somebody wants its answer.
struct Wanted<F>(F);

impl<F: Fn() -> bool> Control for Wanted<F> {
    fn progress(&self, _done: u64, _total: u64) -> Result<()> {
        if (self.0)() { Ok(()) } else { Err(Error::cancelled()) }
    }
}

// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The real engine (mailbox, desk, seats) under shuttle, which lets one thread run at a time and decides at every
//! message who goes on: callers that give up, backends that die, models that go and come, in thousands of orders.
//!
//! Channel and thread are the only things in which an engine's threads meet while one of them waits, so they are
//! what has two kinds here. An answer is a `oneshot`: it wakes shuttle's tasks as any others.

use std::cell::Cell;
use std::fmt::{Debug, Formatter};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvError, SendError, TryRecvError};
use std::task::Poll;
use std::time::Duration;

use alice_plugin::{ErrorKind, Result};
use futures::future::poll_fn;
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};

pub(in crate::engine) use std::sync::mpsc::RecvTimeoutError;

use super::super::mailbox::GLANCE;
use super::super::{Engine, HintPicture, LoadedModel, Row, RowHint, Unload};
use super::fake::{Asked, Plan, SHAPE, answer, death, request, row, text};

thread_local! {
    /// Whether this thread is shuttle's.
    static EXPLORES: Cell<bool> = const { Cell::new(false) };
}

pub(in crate::engine) enum Sender<T> {
    Plain(mpsc::Sender<T>),
    Explored(shuttle::sync::mpsc::Sender<T>),
}

pub(in crate::engine) enum Receiver<T> {
    Plain(mpsc::Receiver<T>),
    Explored(shuttle::sync::mpsc::Receiver<T>),
}

pub(in crate::engine) fn channel<T>() -> (Sender<T>, Receiver<T>) {
    if EXPLORES.get() {
        let (sender, receiver) = shuttle::sync::mpsc::channel();
        return (Sender::Explored(sender), Receiver::Explored(receiver));
    }
    let (sender, receiver) = mpsc::channel();
    (Sender::Plain(sender), Receiver::Plain(receiver))
}

pub(in crate::engine) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    if EXPLORES.get() {
        return shuttle::thread::Builder::new().name(name.into()).spawn(work).map(drop);
    }
    std::thread::Builder::new().name(name.into()).spawn(work).map(drop)
}

impl<T> Sender<T> {
    pub(in crate::engine) fn send(&self, message: T) -> std::result::Result<(), SendError<T>> {
        match self {
            Self::Plain(sender) => sender.send(message),
            Self::Explored(sender) => sender.send(message),
        }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Plain(sender) => Self::Plain(sender.clone()),
            Self::Explored(sender) => Self::Explored(sender.clone()),
        }
    }
}

impl<T> Debug for Sender<T> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Sender")
    }
}

impl<T> Receiver<T> {
    pub(in crate::engine) fn try_recv(&self) -> std::result::Result<T, TryRecvError> {
        match self {
            Self::Plain(receiver) => receiver.try_recv(),
            Self::Explored(receiver) => receiver.try_recv(),
        }
    }

    /// Shuttle has no time: a short one passes there while others run, and a long one never, or nobody would see that
    /// a call stays where it is until the next glance.
    pub(in crate::engine) fn recv_timeout(&self, time: Duration) -> std::result::Result<T, RecvTimeoutError> {
        match self {
            Self::Plain(receiver) => receiver.recv_timeout(time),
            Self::Explored(receiver) if time == GLANCE => {
                receiver.recv().map_err(|RecvError| RecvTimeoutError::Disconnected)
            }
            Self::Explored(receiver) => {
                shuttle::thread::yield_now();
                receiver.try_recv().map_err(|error| match error {
                    TryRecvError::Empty => RecvTimeoutError::Timeout,
                    TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
                })
            }
        }
    }
}

fn one_in(chances: u32) -> bool {
    thread_rng().gen_ratio(1, chances)
}

/// Waits for `call`, or gives it up after having asked for it.
async fn perhaps<T>(call: impl Future<Output = Result<T>>) -> Option<Result<T>> {
    if !one_in(4) {
        return Some(call.await);
    }
    let mut call = Box::pin(call);
    let patience = thread_rng().gen_range(0..3);
    for _ in 0..=patience {
        let poll = poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await;
        if let Poll::Ready(answer) = poll {
            return Some(answer);
        }
        shuttle::future::yield_now().await;
    }
    None
}

/// Nothing but a backend's death may be the end of a call.
fn fine<T>(answer: Result<T>) -> Option<T> {
    answer.inspect_err(|error| assert_eq!(error.kind, ErrorKind::DeviceLost, "{error}")).ok()
}

/// One picture of a caller: every call is answered, with its own answer.
async fn picture(engine: &Engine, caller: u64, order: u64) -> Option<()> {
    let seat = engine.seat(caller, order);
    // Of 60, 61 and the small ones beside them only one large one fits at a time, with one or both of the small ones.
    let name = if one_in(3) { "61" } else { "60" };
    let beside = if one_in(2) { "20" } else { "19" };
    let (model, beside) = match one_in(2) {
        true => (fine(perhaps(seat.load(request(name))).await?)?, None),
        false => {
            let pair = vec![request(beside).into(), request(name).into()];
            let load = async { seat.load_all(pair).await.map_err(|refused| refused.error) };
            let [beside, model] = <[_; 2]>::try_from(fine(perhaps(load).await?)?).unwrap();
            fine(perhaps(seat.upscale(&beside, 2, 1, vec![9; 6])).await?)?;
            (model, Some(beside))
        }
    };
    let guide = caller as u8;
    let picture = Arc::new(HintPicture::new(2, 1, vec![guide; 6]));
    let hint =
        |model: &Arc<LoadedModel>| RowHint { model: model.clone(), picture: picture.clone(), scale: 1.0 };
    let hints: Arc<[RowHint]> = beside.iter().map(hint).collect();
    let prompt = fine(perhaps(seat.encode(&model, text(order as u32))).await?)?;
    for step in 0..2 {
        let timestep = (caller * 100 + order * 10 + step) as f32;
        let asked = Row { text: prompt.clone(), hints: hints.clone(), ..row(timestep) };
        if let Some(found) = perhaps(seat.denoise(&model, SHAPE, vec![asked])).await {
            let guidance = if hints.is_empty() { 0.0 } else { f32::from(guide) };
            assert_eq!(fine(found)?, answer(&[timestep + guidance]));
        }
        if one_in(4) {
            drop(perhaps(seat.preview(&model, SHAPE, vec![0.0; 2])).await);
        }
    }
    assert_eq!(fine(seat.decode(&model, SHAPE, vec![0.0; 2]).await)?, [7; 6]);
    Some(())
}

/// A world that ends when everybody has been answered and the engine's thread is gone; else shuttle complains.
fn world() {
    let rule = |asked: &Asked| match asked {
        Asked::Start | Asked::Unload(_) | Asked::Release => Ok(()),
        _ if one_in(12) => Err(death()),
        _ => Ok(()),
    };
    // Only one of the two large models fits, and company is worth waiting for.
    let settings = super::super::Settings { memory_bytes: Some(100), ..Default::default() };
    let bench = Plan { rule: Box::new(rule), kind: "cuda", settings, ..Plan::default() }.open();
    let caller = |caller| {
        let engine = bench.engine.clone();
        shuttle::thread::spawn(move || {
            shuttle::future::block_on(async {
                for order in 0..2 {
                    picture(&engine, caller, order).await;
                }
                let unloaded = engine.unload(request("61")).await.unwrap();
                assert!(matches!(unloaded, Unload::Done | Unload::NotLoaded | Unload::InUse));
            });
        })
    };
    let callers: Vec<_> = (0..3).map(caller).collect();
    callers.into_iter().for_each(|caller| caller.join().unwrap());
    assert_eq!(bench.engine.seats_taken(), 0);
}

/// Lets the world run so many times, as `scheduler` says.
fn explore(scheduler: impl Scheduler + Send + 'static) {
    // On a thread of its own: that of the test may go on with another one, to which nothing here applies.
    let explore = || {
        EXPLORES.set(true);
        let mut config = Config::new();
        config.stack_size = 1 << 20;
        Runner::new(scheduler, config).run(world);
    };
    std::thread::spawn(explore).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

#[test]
fn in_orders_by_chance_everybody_is_answered_and_the_thread_ends() {
    explore(RandomScheduler::new(2000));
}

#[test]
fn in_orders_with_few_turns_everybody_is_answered_and_the_thread_ends() {
    explore(PctScheduler::new(3, 2000));
}

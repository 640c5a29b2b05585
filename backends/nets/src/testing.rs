// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the tests of this crate and of every crate that implements [`Ops`](crate::Ops) need.
//!
//! [`check_ops`] holds an implementation against the operations' definitions, written here as plain sums in
//! f64; [`check_company`] and [`check_threads`] hold its bytes against those in other circumstances. [`Plain`] is those
//! definitions as an implementation of its own: far too slow for pictures, and the measure for all others.

mod array;
mod check;
mod company;
mod definitions;
mod plain;

pub use self::{
    array::Array,
    check::check_ops,
    company::{Size, bytes, check_company, check_threads, results, scattered, weight},
    plain::Plain,
};
#[cfg(test)]
pub(crate) use self::{array::numbers, plain::ROOM};

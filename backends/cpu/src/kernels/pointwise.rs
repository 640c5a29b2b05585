// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What is done value by value.

use alice_nets::{Activation, activation::activate};

use crate::format::Element;

/// Values that are held in f32 between two loops.
const LINE: usize = 256;

/// `activation(first + scale * second)`.
#[inline(always)]
pub(crate) fn add<E: Element>(first: &[E], second: &[E], scale: f32, activation: Activation, out: &mut [E]) {
    let mut line = [0.0_f32; LINE];
    for (out, (first, second)) in out.chunks_mut(LINE).zip(first.chunks(LINE).zip(second.chunks(LINE))) {
        let line = &mut line[..out.len()];
        for (value, (first, second)) in line.iter_mut().zip(first.iter().zip(second)) {
            *value = first.widen() + scale * second.widen();
        }
        activate(activation, line);
        out.iter_mut().zip(&*line).for_each(|(out, value)| *out = E::narrow(*value));
    }
}

// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Which evaluations can share a pass, and what their passes took.

use alice_plugin::LatentShape;

use super::curve::Curve;
use super::mailbox::Evaluation;

/// More kinds than a server sees in ordinary use. Somebody who goes through all sizes must not fill the memory.
const MANY: usize = 512;

/// What evaluations that share a pass have in common.
#[derive(Debug, PartialEq)]
struct Kind {
    model: usize,
    shape: LatentShape,
    /// Prompts of different lengths share no pass: no picture may depend on the padding that its company needs.
    tokens: usize,
    /// Names and shapes of the further inputs.
    extras: Vec<(String, Vec<u32>)>,
}

impl Kind {
    fn of(evaluation: &Evaluation) -> Self {
        let first = evaluation.rows.first();
        let extras = first.iter().flat_map(|row| row.extras.iter());
        Self {
            model: evaluation.model.id,
            shape: evaluation.shape,
            tokens: first.map_or(0, |row| row.text.tokens()),
            extras: extras.map(|extra| (extra.name.clone(), extra.shape.clone())).collect(),
        }
    }
}

/// Every kind that was seen, with its measurements. A kind's index is the number of its group.
#[derive(Debug, Default)]
pub(super) struct Kinds(Vec<(Kind, Curve)>);

impl Kinds {
    /// The group in which an evaluation can be joined with others.
    pub(super) fn group(&mut self, evaluation: &Evaluation) -> usize {
        let kind = Kind::of(evaluation);
        if let Some(known) = self.0.iter().position(|(known, _)| *known == kind) {
            return known;
        }
        self.0.push((kind, Curve::default()));
        self.0.len() - 1
    }

    pub(super) fn curve(&self, group: usize) -> &Curve {
        &self.0[group].1
    }

    pub(super) fn curve_mut(&mut self, group: usize) -> &mut Curve {
        &mut self.0[group].1
    }

    /// Something has left the device: what did not fit may fit now.
    pub(super) fn lift_ceilings(&mut self) {
        self.0.iter_mut().for_each(|(_, curve)| curve.lift_ceiling());
    }

    /// Forgets everything if it has become too much, at a moment when no group is in use.
    pub(super) fn tidy(&mut self) {
        if self.0.len() > MANY {
            self.0.clear();
        }
    }
}

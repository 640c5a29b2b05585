// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Which evaluations can share a pass, and what their passes took.

use alice_plugin::LatentShape;

use super::curve::Curve;
use super::mailbox::Evaluation;
use super::sets::Need;

/// More kinds than a server sees in ordinary use. Somebody who goes through all sizes must not fill the memory.
const MANY: usize = 512;

/// What evaluations of one cost have in common.
#[derive(Debug, PartialEq)]
struct Kind {
    model: usize,
    shape: LatentShape,
    /// Prompts of different lengths share no pass: no picture may depend on the padding that its company needs.
    tokens: usize,
    /// Names and shapes of the further inputs.
    extras: Vec<(String, Vec<u32>)>,
    /// The networks that guide it, each of which runs in the same pass.
    hints: Vec<usize>,
}

impl Kind {
    fn of(evaluation: &Evaluation) -> Self {
        let first = evaluation.rows.first();
        let extras = first.iter().flat_map(|row| row.extras.iter());
        let hints = first.iter().flat_map(|row| row.hints.iter());
        Self {
            model: evaluation.model.id,
            shape: evaluation.shape,
            tokens: first.map_or(0, |row| row.text.tokens()),
            extras: extras.map(|extra| (extra.name.clone(), extra.shape.clone())).collect(),
            hints: hints.map(|hint| hint.model.id).collect(),
        }
    }
}

/// Every kind that was seen, with its measurements, and the groups that share passes: those of one kind and one set of
/// LoRAs. What a pass takes does not depend on the set.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    kinds: Vec<(Kind, Curve)>,
    /// The kind's place, and the need. A group's place is its number.
    groups: Vec<(usize, Need)>,
}

impl Kinds {
    /// The group in which an evaluation can be joined with others that need the same.
    pub(super) fn group(&mut self, evaluation: &Evaluation, need: Need) -> usize {
        let kind = Kind::of(evaluation);
        let kind = self.kinds.iter().position(|(known, _)| *known == kind).unwrap_or_else(|| {
            self.kinds.push((kind, Curve::default()));
            self.kinds.len() - 1
        });
        self.groups.iter().position(|known| *known == (kind, need)).unwrap_or_else(|| {
            self.groups.push((kind, need));
            self.groups.len() - 1
        })
    }

    pub(super) fn curve(&self, group: usize) -> &Curve {
        &self.kinds[self.groups[group].0].1
    }

    pub(super) fn curve_mut(&mut self, group: usize) -> &mut Curve {
        &mut self.kinds[self.groups[group].0].1
    }

    /// Something has left the device: what did not fit may fit now.
    pub(super) fn lift_ceilings(&mut self) {
        self.kinds.iter_mut().for_each(|(_, curve)| curve.lift_ceiling());
    }

    /// Forgets everything if it has become too much, at a moment when no group is in use.
    pub(super) fn tidy(&mut self) {
        if self.kinds.len().max(self.groups.len()) > MANY {
            *self = Self::default();
        }
    }
}

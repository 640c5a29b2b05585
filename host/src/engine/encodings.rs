// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the device has encoded from recipes, prompts or pictures that guide, and which of it may go.
//!
//! Whoever holds a recipe may ask for it again at the next step, so what it was encoded to stays. Of the others the
//! most recent ones stay too, for the next request often has the same.

use std::sync::Arc;

use alice_plugin::ConditioningHandle;

/// Encodings of one kind of recipe.
#[derive(Debug)]
pub(super) struct Encodings<R> {
    /// The most recently encoded last.
    encoded: Vec<Encoded<R>>,
    /// How many stay that nobody holds.
    recent: usize,
}

#[derive(Debug)]
struct Encoded<R> {
    /// The model that has encoded it.
    model: usize,
    recipe: Arc<R>,
    handle: ConditioningHandle,
}

impl<R: PartialEq> Encodings<R> {
    pub(super) fn new(recent: usize) -> Self {
        Self { encoded: Vec::new(), recent }
    }

    pub(super) fn add(&mut self, model: usize, recipe: Arc<R>, handle: ConditioningHandle) {
        self.encoded.push(Encoded { model, recipe, handle });
    }

    /// What this model has made of an equal recipe.
    pub(super) fn handle(&self, model: usize, recipe: &Arc<R>) -> Option<ConditioningHandle> {
        self.find(model, recipe).map(|encoded| encoded.handle)
    }

    /// The equal recipe that this model has encoded.
    pub(super) fn recipe(&self, model: usize, recipe: &Arc<R>) -> Option<Arc<R>> {
        self.find(model, recipe).map(|encoded| encoded.recipe.clone())
    }

    fn find(&self, model: usize, recipe: &Arc<R>) -> Option<&Encoded<R>> {
        let same = |encoded: &&Encoded<R>| Arc::ptr_eq(&encoded.recipe, recipe) || encoded.recipe == *recipe;
        self.encoded.iter().rev().filter(|encoded| encoded.model == model).find(same)
    }

    /// The model has gone, and its encodings with it.
    pub(super) fn went(&mut self, model: usize) {
        self.encoded.retain(|encoded| encoded.model != model);
    }

    /// Everything has gone.
    pub(super) fn lost(&mut self) {
        self.encoded.clear();
    }

    /// Takes out those that nobody holds, but for the most recent ones.
    pub(super) fn take_unused(&mut self) -> Vec<ConditioningHandle> {
        let unused = |encoded: &Encoded<R>| Arc::strong_count(&encoded.recipe) == 1;
        let mut surplus = self.encoded.iter().filter(|&encoded| unused(encoded)).count();
        surplus = surplus.saturating_sub(self.recent);
        let leaves = |encoded: &mut Encoded<R>| {
            surplus > 0 && unused(encoded) && {
                surplus -= 1;
                true
            }
        };
        self.encoded.extract_if(.., leaves).map(|encoded| encoded.handle).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_holds_goes_but_for_the_most_recent() {
        let mut encodings = Encodings::new(2);
        let held = Arc::new(0);
        encodings.add(7, held.clone(), ConditioningHandle(0));
        (1..=4).for_each(|recipe| encodings.add(7, Arc::new(recipe), ConditioningHandle(recipe)));
        assert_eq!(encodings.take_unused(), [ConditioningHandle(1), ConditioningHandle(2)]);
        assert_eq!(encodings.handle(7, &Arc::new(0)), Some(ConditioningHandle(0)));
        assert!(encodings.take_unused().is_empty());
        drop(held);
        assert_eq!(encodings.take_unused(), [ConditioningHandle(0)]);
    }

    #[test]
    fn each_model_has_its_own_and_takes_them_along() {
        let mut encodings = Encodings::new(2);
        let recipe = Arc::new("dawn");
        encodings.add(1, recipe.clone(), ConditioningHandle(1));
        assert_eq!(encodings.handle(2, &recipe), None);
        encodings.add(2, recipe.clone(), ConditioningHandle(2));
        encodings.went(1);
        assert_eq!([1, 2].map(|model| encodings.handle(model, &recipe)), [None, Some(ConditioningHandle(2))]);
        encodings.lost();
        assert_eq!(encodings.recipe(2, &recipe), None);
    }
}

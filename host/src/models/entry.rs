// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What lies beside the models, while it is given names and found by them: LoRAs, embeddings, ControlNets, upscalers.

use std::sync::Arc;

use super::names::Wish;

/// What everything beside the models has in common while it is given names, and found by them.
pub(super) trait Entry: Sized {
    /// What stands before the name in an id.
    const PREFIX: &str;

    /// How clients call it whatever else there is.
    fn id(&self) -> &str;
    /// What it is called.
    fn name(&self) -> &str;
    /// What it would be called, if nobody else would be.
    fn wish(&self) -> &Wish;
    /// The same by another name.
    fn renamed(&self, name: String) -> Self;

    /// The same by the name that it has among the others.
    fn called(self: Arc<Self>, name: String) -> Arc<Self> {
        if self.name() == name { self } else { Arc::new(self.renamed(name)) }
    }
}

/// Makes an [`Entry`] of a type with the fields `id`, `name` and `wish`, whose ids begin with a word of their own.
macro_rules! entry {
    ($entry:ty, $prefix:literal) => {
        impl Entry for $entry {
            const PREFIX: &str = $prefix;

            fn id(&self) -> &str {
                &self.id
            }

            fn name(&self) -> &str {
                &self.name
            }

            fn wish(&self) -> &Wish {
                &self.wish
            }

            fn renamed(&self, name: String) -> Self {
                Self { id: format!("{}/{name}", Self::PREFIX), name, ..self.clone() }
            }
        }
    };
}
pub(super) use entry;

// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a job is to do: to paint pictures as somebody has described them, or to make one picture larger.
//!
//! Whoever looks after jobs asks here for what both have; what only one of them has is behind a `match`.

use crate::adapters::{self, Unmatched};
use crate::draft::{Enlargement, Request};
use crate::error::Result;
use crate::inputs::Input;
use crate::models::Registry;

/// What a job is to do.
#[derive(Clone, Debug)]
pub enum Task {
    /// To paint pictures.
    Paint(Box<Request>),
    /// To make a picture larger.
    Enlarge(Box<Enlargement>),
}

/// What nothing is left out of.
static ALL_MATCHED: Unmatched = Unmatched::new();

impl Task {
    /// The request, if it is one to paint.
    pub fn painting(&self) -> Option<&Request> {
        match self {
            Self::Paint(request) => Some(request),
            Self::Enlarge(_) => None,
        }
    }

    /// Pictures that come of it.
    pub fn count(&self) -> u32 {
        match self {
            Self::Paint(request) => request.count,
            Self::Enlarge(_) => 1,
        }
    }

    /// Steps of one picture: those of the sampler, or the tiles that the upscaler sees.
    pub fn steps(&self) -> u32 {
        match self {
            Self::Paint(request) => u32::try_from(request.steps()).unwrap_or(u32::MAX),
            Self::Enlarge(enlargement) => enlargement.steps(),
        }
    }

    /// Width and height of the finished pictures.
    pub fn size(&self) -> (u32, u32) {
        match self {
            Self::Paint(request) => (request.parameters.width, request.parameters.height),
            Self::Enlarge(enlargement) => (enlargement.width, enlargement.height),
        }
    }

    /// The seed of the picture at `place`, if it is painted.
    pub fn seed(&self, place: u32) -> Option<u64> {
        self.painting().map(|request| request.parameters.seed.wrapping_add(place.into()))
    }

    /// The pictures that it needs.
    pub fn pictures(&self) -> Vec<&Input> {
        match self {
            Self::Paint(request) => request.parameters.inputs.pictures().collect(),
            Self::Enlarge(enlargement) => vec![&enlargement.input],
        }
    }

    /// The ids of the upscalers that it needs.
    pub fn upscalers(&self) -> Vec<&String> {
        match self {
            Self::Paint(request) => request.parameters.inputs.upscalers().collect(),
            Self::Enlarge(enlargement) => enlargement.upscaler.iter().collect(),
        }
    }

    /// What its client should know of it.
    pub fn warnings(&self) -> &[String] {
        self.painting().map_or(&[], |request| &request.warnings)
    }

    /// The parts of its LoRAs that do not suit the model.
    pub fn unmatched(&self) -> &Unmatched {
        self.painting().map_or(&ALL_MATCHED, |request| &request.unmatched)
    }

    /// The same after a look into the files that it is to be done with.
    ///
    /// # Errors
    /// As [`adapters::check`].
    pub(crate) async fn checked(self) -> Result<Self> {
        match self {
            Self::Paint(request) => Ok(Self::Paint(Box::new(adapters::check(*request).await?))),
            Self::Enlarge(_) => Ok(self),
        }
    }

    /// Whether everything is still there that it is to be done with.
    ///
    /// # Errors
    /// Names what has been deleted meanwhile.
    pub(crate) fn still_stands(&self, models: &Registry) -> Result<()> {
        match self {
            Self::Paint(request) => request.still_stands(models),
            Self::Enlarge(enlargement) => enlargement.still_stands(models),
        }
    }

    /// Whether a job's row answers for its pictures from here on, or does not after all.
    pub(crate) fn keep_pictures(&self, stay: bool) {
        self.pictures().into_iter().for_each(|input| input.lease.keep(stay));
    }
}

impl From<Request> for Task {
    fn from(request: Request) -> Self {
        Self::Paint(Box::new(request))
    }
}

impl From<Enlargement> for Task {
    fn from(enlargement: Enlargement) -> Self {
        Self::Enlarge(Box::new(enlargement))
    }
}

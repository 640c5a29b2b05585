// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The families of models, and how a model's own files tell its family.

use std::{fmt, str::FromStr};

/// Models that the same networks and the same text encoding serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Stable Diffusion 1.x and everything of its build: one CLIP text encoder, a UNet that hears nothing
    /// but the timestep and the text, a KL autoencoder. All sizes come from the model's configuration.
    Sd1,
}

impl Family {
    /// The word for it in the plugin contract and in the daemon's answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sd1 => "sd1",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Family {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "sd1" => Ok(Self::Sd1),
            _ => Err(format!("there is no model family {word:?}; known: sd1")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_found_again_by_its_word() {
        assert_eq!(Family::Sd1.as_str().parse(), Ok(Family::Sd1));
        assert!("sd9".parse::<Family>().is_err());
    }
}

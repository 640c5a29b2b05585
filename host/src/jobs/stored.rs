// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a job is to do, as its row says it: enough to begin it again, and to tell of it when its model is long gone.

use serde::{Deserialize, Serialize};

use crate::adapters::Unmatched;
use crate::draft::{Enlargement, Parameters, Request};
use crate::error::{Error, Result};
use crate::inputs::Input;
use crate::models::Registry;
use crate::task::Task;

/// A [`Task`], written down.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Stored {
    /// To make a picture larger: known by its key, which is in no row of a time when jobs could only paint.
    Enlarge {
        /// All of it.
        enlarge: Box<Enlargement>,
    },
    /// To paint.
    Paint(Box<Painting>),
}

/// A request to paint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Painting {
    /// The model's id.
    pub model: String,
    /// What the pictures have in common.
    pub parameters: Parameters,
    /// Number of pictures.
    pub count: u32,
    /// What the client should know of its request.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The parts of its LoRAs that do not suit the model.
    #[serde(default, skip_serializing_if = "Unmatched::is_empty")]
    pub unmatched: Unmatched,
}

impl Stored {
    /// What is written down of `task`.
    pub fn of(task: &Task) -> Self {
        match task {
            Task::Paint(request) => Self::Paint(Box::new(Painting {
                model: request.model.id.clone(),
                parameters: request.parameters.clone(),
                count: request.count,
                warnings: request.warnings.clone(),
                unmatched: request.unmatched.clone(),
            })),
            Task::Enlarge(enlargement) => Self::Enlarge { enlarge: enlargement.clone() },
        }
    }

    /// The task again.
    ///
    /// # Errors
    /// When its model, its upscaler, a LoRA or a textual inversion is gone, or the model cannot be sampled so any more.
    pub fn restore(self, models: &Registry) -> Result<Task> {
        match self {
            Self::Paint(painting) => Ok(Task::from(painting.restore(models)?)),
            Self::Enlarge { enlarge } => {
                enlarge.still_stands(models)?;
                Ok(Task::Enlarge(enlarge))
            }
        }
    }

    /// The request, if it is one to paint.
    pub fn painting(&self) -> Option<&Painting> {
        match self {
            Self::Paint(painting) => Some(painting),
            Self::Enlarge { .. } => None,
        }
    }

    /// The id of the model and what its pictures are painted with; of a picture that is made larger, what it was
    /// painted with, if that is known.
    pub fn painted(&self) -> Option<(&String, &Parameters)> {
        match self {
            Self::Paint(painting) => Some((&painting.model, &painting.parameters)),
            Self::Enlarge { enlarge } => {
                let painted = enlarge.origin.as_ref()?.painted.as_ref()?;
                Some((&painted.model, &painted.parameters))
            }
        }
    }

    /// The id of what it is done with: the model, or the upscaler (`lanczos` without one).
    pub fn means(&self) -> &str {
        match self {
            Self::Paint(painting) => &painting.model,
            Self::Enlarge { enlarge } => enlarge.means(),
        }
    }

    /// [`Task::count`].
    pub fn count(&self) -> u32 {
        self.painting().map_or(1, |painting| painting.count)
    }

    /// [`Task::steps`].
    pub fn steps(&self) -> u32 {
        match self {
            Self::Paint(painting) => painting.parameters.steps_taken(),
            Self::Enlarge { enlarge } => enlarge.steps(),
        }
    }

    /// [`Task::size`].
    pub fn size(&self) -> (u32, u32) {
        match self {
            Self::Paint(painting) => (painting.parameters.width, painting.parameters.height),
            Self::Enlarge { enlarge } => (enlarge.width, enlarge.height),
        }
    }

    /// [`Task::seed`].
    pub fn seed(&self, place: u32) -> Option<u64> {
        self.painting().map(|painting| painting.parameters.seed.wrapping_add(place.into()))
    }

    /// [`Task::pictures`].
    pub(super) fn pictures(&self) -> Vec<&Input> {
        match self {
            Self::Paint(painting) => painting.parameters.inputs.pictures().collect(),
            Self::Enlarge { enlarge } => vec![&enlarge.input],
        }
    }
}

impl Painting {
    fn restore(self, models: &Registry) -> Result<Request> {
        // Another model of a similar name would make another picture.
        let model = models.exactly(&self.model).filter(|model| model.id == self.model);
        let model = model.ok_or_else(|| Error::ModelGone { id: self.model.clone() })?;
        let request = Request::again(models, model, self.parameters, self.count)?;
        Ok(Request { warnings: self.warnings, unmatched: self.unmatched, ..request })
    }
}

#[cfg(test)]
pub(super) mod testing {
    use std::collections::BTreeMap;

    use super::*;

    pub(super) fn parameters() -> Parameters {
        let fields = [
            ("prompt", "\"a fox\""),
            ("negative_prompt", "null"),
            ("steps", "7"),
            ("guidance_scale", "1.1"),
            ("guidance_rescale", "0"),
            ("guidance_interval", "[0, 0.3]"),
            ("clip_skip", "0"),
            ("seed", "18446744073709551615"),
            ("model", "\"m\""),
            ("scheduler", "\"euler\""),
            ("width", "64"),
            ("height", "64"),
            ("rendered_width", "64"),
            ("rendered_height", "64"),
        ];
        let fields = fields.map(|(key, value)| (key, serde_json::from_str(value).unwrap()));
        serde_json::to_value(BTreeMap::<_, serde_json::Value>::from(fields))
            .and_then(serde_json::from_value)
            .unwrap()
    }

    /// A request for so many pictures.
    pub(in crate::jobs) fn painting(count: u32) -> Stored {
        let (warnings, unmatched) = (Vec::new(), Unmatched::new());
        let (model, parameters) = ("sd/m".to_owned(), parameters());
        Stored::Paint(Box::new(Painting { model, parameters, count, warnings, unmatched }))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{painting, parameters};
    use super::*;
    use crate::draft::{Origin, Painted};

    #[test]
    fn a_request_is_read_back_as_it_was_written() {
        let written = serde_json::to_string(&painting(2)).unwrap();
        let Stored::Paint(again) = serde_json::from_str(&written).unwrap() else { panic!("{written}") };
        assert_eq!(again.parameters, parameters());
        assert_eq!(again.parameters.seed, u64::MAX);
        let enlargement = Enlargement {
            input: Input { name: "x".into(), width: 30, height: 20, ..Input::default() },
            upscaler: Some("upscaler/x4".into()),
            factor: 4,
            scale: 1.1,
            width: 33,
            height: 22,
            origin: Some(Origin {
                text: "a fox\nSteps: 7".into(),
                painted: Some(Painted { model: "sd/m".into(), parameters: parameters() }),
            }),
        };
        let written =
            serde_json::to_string(&Stored::Enlarge { enlarge: Box::new(enlargement.clone()) }).unwrap();
        let Stored::Enlarge { enlarge } = serde_json::from_str(&written).unwrap() else {
            panic!("{written}")
        };
        assert_eq!(*enlarge, enlargement);
    }

    #[test]
    fn what_was_written_down_when_jobs_could_only_paint_is_read() {
        let written = r#"{"model":"sd/m","parameters":{"prompt":"a fox","negative_prompt":null,"steps":7,
            "guidance_scale":1.1,"guidance_rescale":0.0,"guidance_interval":[0.0,0.3],"clip_skip":0,
            "seed":18446744073709551615,"model":"m","scheduler":"euler","width":64,"height":64,"rendered_width":64,
            "rendered_height":64,"loras":[],"embeddings":[]},"count":2,"warnings":["w"]}"#;
        let Stored::Paint(painting) = serde_json::from_str(written).unwrap() else { panic!("{written}") };
        assert_eq!((painting.model.as_str(), painting.count), ("sd/m", 2));
        assert_eq!((painting.parameters, painting.warnings), (parameters(), vec!["w".to_owned()]));
    }
}

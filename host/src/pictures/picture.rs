// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A picture as the gallery knows it: its row.

use rusqlite::Row;
use serde::{Deserialize, Serialize};

use super::Viewer;
use crate::adapters::Lora;
use crate::archive;
use crate::clock::Timestamp;
use crate::gallery::Kept;
use crate::jobs::stored::Stored;

/// Most letters of a prompt in a file's name.
const LETTERS: usize = 60;
/// Digits of an id in a file's name: enough that no two pictures have them in common.
const DIGITS: usize = 12;

/// A picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Its id: the name of its file without the ending.
    pub id: String,
    /// Its place in the order in which pictures came.
    pub number: i64,
    /// The account that it belongs to; `None`: it was made without one, and is shared.
    pub account: Option<i64>,
    /// That account's name, unless the account is gone.
    pub owner: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Everybody may see it, while `public_until` has not come.
    pub public: bool,
    /// When it ceases to be public; `None`: when it is withdrawn.
    pub public_until: Option<Timestamp>,
    /// Its owner likes it.
    pub favourite: bool,
    /// Since when it lies in the trash.
    pub trashed_at: Option<Timestamp>,
    /// The id of the job that made it, while that is known.
    pub job: Option<String>,
    /// Which of the job's pictures it is, from 0.
    pub place: Option<u32>,
    /// Milliseconds from its job's beginning until it was there.
    pub took_ms: Option<u64>,
    /// Its tags, in their order.
    pub tags: Vec<String>,
    /// What it shows.
    pub details: Details,
}

/// What a picture shows, and what it was made with. Unknown is what is empty, `None` or 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
    /// Bytes of its file.
    pub bytes: u64,
    /// What it was to show.
    pub prompt: String,
    /// What it was not to show.
    pub negative_prompt: String,
    /// The model's id.
    pub model: Option<String>,
    /// The model's bare name.
    pub model_name: Option<String>,
    /// The model's family.
    pub family: Option<String>,
    /// Steps.
    pub steps: Option<u32>,
    /// Guidance scale.
    pub guidance: Option<f64>,
    /// The scheduler's name.
    pub scheduler: Option<String>,
    /// Its seed.
    pub seed: Option<u64>,
    /// The LoRAs that the model had.
    pub loras: Vec<Lora>,
    /// How it was made.
    pub mode: Option<Mode>,
    /// The `parameters` text of its file.
    pub text: String,
}

/// How a picture was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// From words.
    #[serde(rename = "txt2img")]
    Words,
    /// From a picture.
    #[serde(rename = "img2img")]
    Picture,
    /// By making a picture larger.
    #[serde(rename = "upscale")]
    Enlarged,
}

impl Mode {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Words => "txt2img",
            Self::Picture => "img2img",
            Self::Enlarged => "upscale",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Words, Self::Picture, Self::Enlarged].into_iter().find(|mode| mode.as_str() == word)
    }
}

impl Details {
    /// What is known of the picture at `place` of the job that is to do `stored`, when its `parameters` text and
    /// its file are there. The model's family is not among it.
    pub fn of(stored: &Stored, place: u32, text: String, bytes: u64) -> Self {
        let (width, height) = stored.size();
        let mode = match stored.painting() {
            None => Mode::Enlarged,
            Some(painting) if painting.parameters.inputs.start.is_some() => Mode::Picture,
            Some(_) => Mode::Words,
        };
        let known = Self { width, height, bytes, mode: Some(mode), text, ..Self::default() };
        let Some((model, parameters)) = stored.painted() else { return known };
        Self {
            prompt: parameters.prompt.clone(),
            negative_prompt: parameters.negative_prompt.clone().unwrap_or_default(),
            model: Some(model.clone()),
            model_name: Some(parameters.model.clone()),
            steps: Some(parameters.steps),
            guidance: Some(shortest(parameters.guidance_scale)),
            scheduler: Some(parameters.scheduler.clone()),
            seed: Some(stored.seed(place).unwrap_or(parameters.seed)),
            loras: parameters.loras.clone(),
            ..known
        }
    }

    /// What the search looks at beside the tags.
    pub(super) fn folded(&self) -> String {
        self.prompt.to_lowercase()
    }
}

/// The number as it is written: 7.3 as single precision is not the 7.3 of double precision.
pub(super) fn shortest(number: f32) -> f64 {
    number.to_string().parse().unwrap_or_else(|_| f64::from(number))
}

impl Picture {
    /// The columns of [`read`](Self::read).
    pub(super) const COLUMNS: &str = "pictures.*, \
        (SELECT name FROM accounts WHERE accounts.id = pictures.account) AS owner, \
        (SELECT jobs.id FROM jobs WHERE jobs.number = pictures.job) AS job_id, \
        (SELECT json_group_array(tag) FROM picture_tags WHERE picture = pictures.id) AS tags";

    /// From a row of these columns. What an operator's own hand has made unreadable is as good as unknown.
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let list = |text: String| serde_json::from_str::<Vec<String>>(&text).unwrap_or_default();
        let mut tags = list(row.get("tags")?);
        tags.sort_unstable();
        Ok(Self {
            id: row.get("id")?,
            number: row.get("number")?,
            account: row.get("account")?,
            owner: row.get("owner")?,
            created_at: row.get("created_at")?,
            public: row.get("public")?,
            public_until: row.get("public_until")?,
            favourite: row.get("favourite")?,
            trashed_at: row.get("trashed_at")?,
            job: row.get("job_id")?,
            place: row.get("place")?,
            took_ms: row.get::<_, Option<i64>>("took_ms")?.and_then(|ms| u64::try_from(ms).ok()),
            tags,
            details: Details::read(row)?,
        })
    }

    /// Its file.
    pub fn kept(&self) -> Kept {
        Kept::with_id(&self.id)
    }

    /// Its file in an archive of many.
    pub fn in_archive(&self) -> archive::Source {
        archive::Source { name: self.file_name(), made: self.created_at, kept: self.kept() }
    }

    /// A name that says what is in the file, and that no other picture has: `a-red-apple-0123456789ab.png`.
    pub fn file_name(&self) -> String {
        let mut words = String::new();
        for letter in self.details.prompt.chars().flat_map(char::to_lowercase).take(LETTERS) {
            match letter.is_alphanumeric() {
                true => words.push(letter),
                false if words.is_empty() || words.ends_with('-') => {}
                false => words.push('-'),
            }
        }
        let words = Some(words.trim_end_matches('-')).filter(|words| !words.is_empty());
        // Only ids of the Python ALICE are shorter, and have an index behind them.
        let id = if self.id.len() == 32 { &self.id[..DIGITS] } else { &self.id };
        format!("{}-{id}.png", words.unwrap_or("picture"))
    }

    /// Whether everybody may see it now.
    pub fn is_public(&self, viewer: &Viewer) -> bool {
        self.public && self.trashed_at.is_none() && self.public_until.is_none_or(|end| end > viewer.now())
    }

    /// Whether it was made without an account, and is for all who may use the server.
    pub fn is_shared(&self) -> bool {
        self.account.is_none()
    }

    /// Whether it is theirs: who owns it tags it and has it among the favourites.
    pub fn is_owned_by(&self, viewer: &Viewer) -> bool {
        viewer.owns(self.account)
    }

    /// Whether they may publish, withdraw, delete and restore it.
    pub fn may_be_changed_by(&self, viewer: &Viewer) -> bool {
        viewer.may_change(self.account)
    }
}

impl Details {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let mode: Option<String> = row.get("mode")?;
        Ok(Self {
            width: row.get("width")?,
            height: row.get("height")?,
            bytes: u64::try_from(row.get::<_, i64>("bytes")?).unwrap_or(0),
            prompt: row.get("prompt")?,
            negative_prompt: row.get("negative_prompt")?,
            model: row.get("model")?,
            model_name: row.get("model_name")?,
            family: row.get("family")?,
            steps: row.get("steps")?,
            guidance: row.get("guidance")?,
            scheduler: row.get("scheduler")?,
            seed: row.get::<_, Option<i64>>("seed")?.map(i64::cast_unsigned),
            loras: serde_json::from_str(&row.get::<_, String>("loras")?).unwrap_or_default(),
            mode: mode.as_deref().and_then(Mode::parse),
            text: row.get("text")?,
        })
    }
}

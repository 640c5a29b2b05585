// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `POST /gallery`: what is done to pictures, one or many, from whichever page.

use axum::body::Bytes;
use axum::response::Response;
use url::form_urlencoded::parse;

use super::done::after;
use super::viewer;
use crate::error::{Error, Result};
use crate::pages::Visit;
use crate::pages::visit::to;
use crate::pictures;

/// Hours that a picture may be public.
const HOURS: std::ops::RangeInclusive<u32> = 1..=168;
/// Instead of a number of hours.
pub(super) const UNTIL_WITHDRAWN: &str = "until";

/// What a form asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sheet {
    ids: Vec<String>,
    act: Option<Act>,
    /// Where it leads.
    back: String,
    /// Whether the page shows by itself what was done.
    quiet: bool,
}

/// What is done to pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Act {
    Favourite(bool),
    Tag(Vec<String>),
    Untag(Vec<String>),
    /// For so many hours, or until somebody makes them private.
    Publish(Option<u32>),
    Withdraw,
    Trash,
    Restore,
    Delete,
}

/// `POST /gallery`.
pub async fn act(visit: Visit, body: Bytes) -> Response {
    let done = async {
        let sheet = Sheet::read(&body)?;
        let Some(act) = sheet.act else { return Ok(to(&after(&sheet.back, "none", &[]))) };
        if sheet.ids.is_empty() {
            return Ok(to(&after(&sheet.back, "none", &[])));
        }
        let done = act.done();
        let changed = act.carry_out(&visit, sheet.ids).await?;
        Ok(to(&after(&sheet.back, if sheet.quiet { "" } else { done }, &changed)))
    };
    visit.answer(done.await)
}

impl Sheet {
    /// Fields come several times where several pictures are meant, as no other form's do.
    ///
    /// # Errors
    /// A form that cannot be understood.
    fn read(body: &[u8]) -> Result<Self> {
        let mut sheet = Self::default();
        let (mut action, mut tags, mut hours) = (String::new(), String::new(), String::new());
        for (name, value) in parse(body) {
            let value = value.into_owned();
            match name.as_ref() {
                "id" => sheet.ids.push(value),
                "action" => action = value,
                "tags" => tags = value,
                "hours" => hours = value,
                "back" => sheet.back = value,
                // A button that means one picture, or one tag, whatever else is selected.
                "star" | "unstar" => {
                    let act = Act::Favourite(name == "star");
                    sheet = Self { ids: vec![value], act: Some(act), quiet: true, ..sheet };
                }
                "untag" => sheet = Self { act: Some(Act::Untag(vec![value])), quiet: true, ..sheet },
                _ => {}
            }
        }
        if sheet.act.is_none() {
            sheet.act = Act::named(&action, &tags, &hours)?;
        }
        Ok(sheet)
    }
}

impl Act {
    fn named(action: &str, tags: &str, hours: &str) -> Result<Option<Self>> {
        Ok(Some(match action {
            "favourite" => Self::Favourite(true),
            "unfavourite" => Self::Favourite(false),
            "tag" => Self::Tag(listed(tags)?),
            "untag" => Self::Untag(listed(tags)?),
            "publish" => Self::Publish(hours_of(hours)?),
            "withdraw" => Self::Withdraw,
            "trash" => Self::Trash,
            "restore" => Self::Restore,
            "delete" => Self::Delete,
            "" => return Ok(None),
            _ => return Err(Error::invalid("action", "is unknown")),
        }))
    }

    /// Does it to those of the pictures that the visitor may change, and gives their ids.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none among them.
    async fn carry_out(self, visit: &Visit, ids: Vec<String>) -> Result<Vec<String>> {
        let (viewer, now) = (viewer(visit), visit.app.clock.now());
        let deletes = self == Self::Delete;
        let work = move |transaction: &rusqlite::Transaction<'_>| match self {
            Self::Favourite(on) => pictures::set_favourite(transaction, &viewer, &ids, on),
            Self::Tag(tags) => pictures::add_tags(transaction, &viewer, &ids, &tags),
            Self::Untag(tags) => pictures::remove_tags(transaction, &viewer, &ids, &tags),
            Self::Publish(hours) => {
                let until = hours.map(|hours| pictures::until(now, hours));
                pictures::publish(transaction, &viewer, &ids, until)
            }
            Self::Withdraw => pictures::withdraw(transaction, &viewer, &ids),
            Self::Trash => pictures::trash(transaction, &viewer, &ids, now),
            Self::Restore => pictures::restore(transaction, &viewer, &ids),
            Self::Delete => pictures::delete(transaction, &viewer, &ids),
        };
        let changed = visit.app.database.write(work).await?;
        if deletes {
            pictures::sweep(&visit.app).await?;
        }
        if changed.is_empty() { Err(Error::NotFound) } else { Ok(changed) }
    }

    /// The word for it, once it is done.
    fn done(&self) -> &'static str {
        match self {
            Self::Favourite(true) => "favourite",
            Self::Favourite(false) => "unfavourite",
            Self::Tag(_) => "tag",
            Self::Untag(_) => "untag",
            Self::Publish(_) => "publish",
            Self::Withdraw => "withdraw",
            Self::Trash => "trash",
            Self::Restore => "restore",
            Self::Delete => "delete",
        }
    }
}

/// The tags that were typed.
fn listed(tags: &str) -> Result<Vec<String>> {
    let tags: Vec<_> =
        tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
    if tags.is_empty() {
        return Err(Error::invalid("tags", "are missing: type one, or several with commas between them"));
    }
    Ok(tags)
}

/// The hours that were chosen; `None` for no end.
fn hours_of(hours: &str) -> Result<Option<u32>> {
    if hours == UNTIL_WITHDRAWN {
        return Ok(None);
    }
    let number = hours.parse().ok().filter(|hours| HOURS.contains(hours));
    number.map(Some).ok_or_else(|| Error::out_of_range("hours", "1 to 168"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Sheet {
        Sheet::read(body.as_bytes()).unwrap()
    }

    #[test]
    fn several_pictures_come_in_one_form() {
        let sheet = read("id=a&id=b&action=tag&tags=+Fox%2C+%2C%C3%BCber+&back=%2Fgallery%3Fq%3Dx");
        assert_eq!(sheet.ids, ["a", "b"]);
        assert_eq!(sheet.act, Some(Act::Tag(vec!["Fox".into(), "über".into()])));
        assert_eq!((sheet.back.as_str(), sheet.quiet), ("/gallery?q=x", false));
    }

    #[test]
    fn a_button_on_one_picture_means_that_one() {
        let sheet = read("id=a&id=b&star=c&back=/gallery");
        assert_eq!((sheet.ids, sheet.act), (vec!["c".to_owned()], Some(Act::Favourite(true))));
        let sheet = read("id=a&untag=fox");
        assert_eq!((sheet.ids, sheet.act), (vec!["a".to_owned()], Some(Act::Untag(vec!["fox".into()]))));
    }

    #[test]
    fn a_form_that_asks_for_what_is_not_is_refused() {
        assert_eq!(read("id=a").act, None);
        for body in [
            "id=a&action=burn",
            "action=publish&hours=169",
            "action=publish&hours=0",
            "action=publish",
            "action=tag&tags=+,",
        ] {
            Sheet::read(body.as_bytes()).unwrap_err();
        }
        assert_eq!(read("action=publish&hours=until").act, Some(Act::Publish(None)));
        assert_eq!(read("action=publish&hours=48").act, Some(Act::Publish(Some(48))));
    }
}

// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A picture in the gallery's rows, and the way from page to page.

use super::address::{Filter, Shelf};
use super::words;
use crate::pictures::{Picture, Viewer};

/// So many pictures are loaded at once; those below them when somebody comes near.
const AT_ONCE: usize = 12;
/// What a picture is taken for whose size is not known yet.
pub(super) const SIDE: u32 = 512;
/// Seconds of a day.
const DAY: i64 = 24 * 3600;

/// A picture among others.
#[derive(Debug)]
pub(super) struct Tile {
    pub(super) id: String,
    /// Its own page.
    pub(super) path: String,
    /// What it shows, for those who do not see it.
    pub(super) shows: String,
    pub(super) width: u32,
    pub(super) height: u32,
    /// The class of its shape.
    pub(super) shape: &'static str,
    pub(super) late: bool,
    /// Whether the visitor may do something to it.
    pub(super) may_change: bool,
    /// Whether it is a favourite, if it is the visitor's to say so.
    pub(super) favourite: Option<bool>,
    pub(super) badge: Option<String>,
}

impl Tile {
    /// The picture at a `place` of a page of the gallery.
    pub(super) fn new(
        viewer: &Viewer,
        filter: &Filter,
        shelf: Shelf,
        place: usize,
        picture: &Picture,
    ) -> Self {
        let badge = match (shelf, &picture.owner) {
            (Shelf::Everyone, Some(owner)) if picture.is_public(viewer) => Some(format!("{owner} · public")),
            (Shelf::Everyone, Some(owner)) => Some(owner.clone()),
            (Shelf::Mine, _) if picture.is_public(viewer) => Some("Public".to_owned()),
            _ => None,
        };
        Self {
            path: filter.at(&format!("/gallery/{}", picture.id), 1),
            favourite: picture.is_owned_by(viewer).then_some(picture.favourite),
            badge,
            ..Self::plain(viewer, place, picture)
        }
    }

    /// The same in the trash, from which pictures go for good after `days`.
    pub(super) fn in_trash(viewer: &Viewer, days: Option<u32>, place: usize, picture: &Picture) -> Self {
        let left = |days: u32| {
            let end = picture.trashed_at.unwrap_or(viewer.now()).saturating_add(i64::from(days) * DAY);
            match end.saturating_sub(viewer.now()).saturating_add(DAY - 1).div_euclid(DAY) {
                days if days < 2 => "Last day".to_owned(),
                days => format!("{days} days left"),
            }
        };
        Self { badge: days.map(left), ..Self::plain(viewer, place, picture) }
    }

    fn plain(viewer: &Viewer, place: usize, picture: &Picture) -> Self {
        let details = &picture.details;
        let known = |side: u32| if side == 0 { SIDE } else { side };
        let (width, height) = (known(details.width), known(details.height));
        Self {
            id: picture.id.clone(),
            path: format!("/gallery/{}", picture.id),
            shows: words::shows(&details.prompt),
            width,
            height,
            shape: words::shape(width, height),
            late: place >= AT_ONCE,
            may_change: picture.may_be_changed_by(viewer),
            favourite: None,
            badge: None,
        }
    }
}

/// The way from page to page, where there are several.
#[derive(Debug)]
pub(super) struct Pager {
    pub(super) page: String,
    pub(super) pages: String,
    /// The first page and the one before.
    pub(super) before: Option<(String, String)>,
    pub(super) next: Option<String>,
}

impl Pager {
    /// That of the page that `filter` means, at `path`.
    pub(super) fn new(filter: &Filter, path: &str, total: u64, size: u32) -> Option<Self> {
        let pages = total.div_ceil(size.into()).max(1);
        let page = filter.page();
        if pages == 1 && page == 1 {
            return None;
        }
        Some(Self {
            page: words::thousands(page),
            pages: words::thousands(pages),
            before: (page > 1).then(|| (filter.at(path, 1), filter.at(path, (page - 1).min(pages)))),
            next: (page < pages).then(|| filter.at(path, page + 1)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_lead_to_those_beside_them_and_back_from_nowhere() {
        let page = |page: &str, total| Pager::new(&Filter::on_page(page), "/gallery", total, 10);
        assert!(page("1", 10).is_none() && page("", 0).is_none());
        let first = page("1", 11).unwrap();
        assert_eq!((first.before, first.next.as_deref()), (None, Some("/gallery?page=2")));
        let last = page("2", 11).unwrap();
        assert_eq!(last.before, Some(("/gallery".to_owned(), "/gallery".to_owned())));
        assert_eq!(last.next, None);
        let beyond = page("900", 11).unwrap();
        assert_eq!(beyond.before.unwrap().1, "/gallery?page=2");
    }
}

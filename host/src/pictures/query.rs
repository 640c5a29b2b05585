// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Looking into the gallery: pages of pictures, one picture, and those beside it.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::{Picture, Viewer};
use crate::archive;
use crate::error::{Error, Result};

/// Which pictures, in which order.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Out of which.
    pub scope: Scope,
    /// Words that each stand somewhere in the prompt or a tag, in letters of any size.
    pub search: String,
    /// Tags that they all have.
    pub tags: Vec<String>,
    /// The model's id or bare name.
    pub model: Option<String>,
    /// Only favourites.
    pub favourite: bool,
    /// Only those that others may see too, or only those that they may not.
    pub privacy: Option<Privacy>,
    /// Their order.
    pub sort: Sort,
    /// How many; `None`: all.
    pub limit: Option<u32>,
    /// How many of the first ones are passed over.
    pub offset: u64,
}

/// Out of which pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// The viewer's own; those that were made without an account where the viewer has none.
    #[default]
    Mine,
    /// Those that everybody may see, or everybody who may use the server.
    Public,
    /// All that the viewer may see. Administrators may see everything.
    All,
    /// The viewer's own in the trash, what was made without an account, and for administrators what belongs to nobody who
    /// is still there.
    Trash,
}

/// Who sees a picture beside its owner and administrators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privacy {
    /// Nobody.
    Private,
    /// Everybody, or everybody who may use the server.
    Public,
}

/// In which order. Pictures in the trash are ordered by when they came there instead of when they were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// The newest first.
    #[default]
    Newest,
    /// The oldest first.
    Oldest,
    /// The largest file first.
    Largest,
    /// The smallest file first.
    Smallest,
}

/// Some of the pictures that were asked for.
#[derive(Clone, Debug)]
pub struct Page {
    /// The pictures.
    pub pictures: Vec<Picture>,
    /// How many there are without limit and offset.
    pub total: u64,
}

/// What is beside a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbours {
    /// The id of the one before it.
    pub previous: Option<String>,
    /// The id of the one behind it.
    pub next: Option<String>,
    /// How many come before it.
    pub place: u64,
    /// How many there are.
    pub total: u64,
}

/// A condition with the texts in it.
struct Condition {
    sql: String,
    values: Vec<Value>,
}

impl Query {
    fn condition(&self, viewer: &Viewer) -> Condition {
        let mut all = vec![match self.scope {
            Scope::Mine => format!("{} AND pictures.trashed_at IS NULL", viewer.mine()),
            Scope::Public => format!("{} AND pictures.trashed_at IS NULL", viewer.open()),
            Scope::All => format!("{} AND pictures.trashed_at IS NULL", viewer.visible()),
            Scope::Trash => format!("{} AND pictures.trashed_at IS NOT NULL", viewer.cares_for()),
        }];
        let mut values = Vec::new();
        let tagged = "EXISTS (SELECT 1 FROM picture_tags WHERE picture = pictures.id AND";
        for word in self.search.split_whitespace() {
            all.push(format!("(instr(pictures.folded, ?) > 0 OR {tagged} instr(tag, ?) > 0))"));
            values.extend([word.to_lowercase(), word.to_lowercase()]);
        }
        for tag in &self.tags {
            all.push(format!("{tagged} tag = ?)"));
            values.push(super::tag::folded(tag));
        }
        if let Some(model) = &self.model {
            all.push("(pictures.model = ? OR pictures.model_name = ?)".to_owned());
            values.extend([model.clone(), model.clone()]);
        }
        if self.favourite {
            // What others like is their own affair.
            all.push(format!("pictures.favourite = 1 AND {}", viewer.owned()));
        }
        match self.privacy {
            Some(Privacy::Public) => all.push(viewer.open()),
            Some(Privacy::Private) => all.push(format!("NOT {}", viewer.open())),
            None => {}
        }
        Condition { sql: all.join(" AND "), values: values.into_iter().map(Value::from).collect() }
    }

    /// What they are ordered by, and whether the highest comes first.
    fn key(&self) -> (&'static str, bool) {
        let time = if self.scope == Scope::Trash { "pictures.trashed_at" } else { "pictures.created_at" };
        match self.sort {
            Sort::Newest => (time, true),
            Sort::Oldest => (time, false),
            Sort::Largest => ("pictures.bytes", true),
            Sort::Smallest => ("pictures.bytes", false),
        }
    }

    fn order(&self, backwards: bool) -> String {
        let (key, falling) = self.key();
        let way = if falling != backwards { "DESC" } else { "ASC" };
        format!("ORDER BY {key} {way}, pictures.number {way}")
    }
}

/// The pictures that `query` asks for, as far as `viewer` may see them.
///
/// # Errors
/// When the database fails.
pub fn page(connection: &Connection, viewer: &Viewer, query: &Query) -> Result<Page> {
    let total = count(connection, &query.condition(viewer))?;
    Ok(Page { pictures: each(connection, viewer, query, |picture| picture)?, total })
}

/// What `made` makes of each picture that `query` asks for, which is all of it that stays in memory.
fn each<T>(
    connection: &Connection,
    viewer: &Viewer,
    query: &Query,
    made: impl Fn(Picture) -> T,
) -> Result<Vec<T>> {
    let Condition { sql, mut values } = query.condition(viewer);
    let (columns, order) = (Picture::COLUMNS, query.order(false));
    let sql = format!("SELECT {columns} FROM pictures WHERE {sql} {order} LIMIT ? OFFSET ?");
    values.push(Value::from(query.limit.map_or(-1, i64::from)));
    values.push(Value::from(i64::try_from(query.offset).unwrap_or(i64::MAX)));
    let mut statement = connection.prepare(&sql)?;
    let pictures = statement.query_map(params_from_iter(values), |row| Picture::read(row).map(&made))?;
    Ok(pictures.collect::<rusqlite::Result<_>>()?)
}

/// What `query` asks for, as an archive holds it, at one moment: a picture that comes meanwhile moves none.
///
/// # Errors
/// When the database fails.
pub fn sources(connection: &Connection, viewer: &Viewer, query: &Query) -> Result<Vec<archive::Source>> {
    each(connection, viewer, query, |picture| picture.in_archive())
}

/// The picture `id`.
///
/// # Errors
/// [`Error::NotFound`] if it is not there or `viewer` may not see it; when the database fails.
pub fn find(connection: &Connection, viewer: &Viewer, id: &str) -> Result<Picture> {
    let (columns, visible) = (Picture::COLUMNS, viewer.visible());
    let sql = format!("SELECT {columns} FROM pictures WHERE id = ?1 AND {visible}");
    connection.prepare(&sql)?.query_row([id], Picture::read).optional()?.ok_or(Error::NotFound)
}

/// Those of the pictures `ids` that `viewer` may see, in the order of `ids`.
///
/// # Errors
/// When the database fails.
pub fn find_all(connection: &Connection, viewer: &Viewer, ids: &[String]) -> Result<Vec<Picture>> {
    let (columns, visible) = (Picture::COLUMNS, viewer.visible());
    let sql = format!(
        "SELECT {columns} FROM json_each(?1) AS asked JOIN pictures ON pictures.id = asked.value \
         WHERE {visible} ORDER BY asked.key"
    );
    let mut statement = connection.prepare(&sql)?;
    let pictures = statement.query_map([super::as_json(ids)], Picture::read)?;
    Ok(pictures.collect::<rusqlite::Result<_>>()?)
}

/// What is beside the picture `id` among those that `query` asks for, whatever its limit and offset are; `None` if it is
/// not among them.
///
/// # Errors
/// When the database fails.
pub fn neighbours(
    connection: &Connection,
    viewer: &Viewer,
    query: &Query,
    id: &str,
) -> Result<Option<Neighbours>> {
    let condition = query.condition(viewer);
    let (key, falling) = query.key();
    let Condition { sql, values } = &condition;
    let with = |own: &[Value]| params_from_iter([values.as_slice(), own].concat());
    let place = format!("SELECT {key}, pictures.number FROM pictures WHERE {sql} AND pictures.id = ?");
    let found = connection
        .prepare(&place)?
        .query_row(with(&[Value::from(id.to_owned())]), |row| Ok([row.get(0)?, row.get(1)?]))
        .optional()?;
    let Some(here) = found.map(|place: [i64; 2]| place.map(Value::from)) else { return Ok(None) };
    let (before, behind) = if falling { (">", "<") } else { ("<", ">") };
    let beyond = |side: &str| format!("FROM pictures WHERE {sql} AND ({key}, pictures.number) {side} (?, ?)");
    let beside = |side: &str, backwards: bool| -> Result<Option<String>> {
        let sql = format!("SELECT pictures.id {} {} LIMIT 1", beyond(side), query.order(backwards));
        Ok(connection.prepare(&sql)?.query_row(with(&here), |row| row.get(0)).optional()?)
    };
    let place = format!("SELECT count(*) {}", beyond(before));
    let place: i64 = connection.prepare(&place)?.query_row(with(&here), |row| row.get(0))?;
    Ok(Some(Neighbours {
        previous: beside(before, true)?,
        next: beside(behind, false)?,
        place: place.unsigned_abs(),
        total: count(connection, &condition)?,
    }))
}

fn count(connection: &Connection, Condition { sql, values }: &Condition) -> Result<u64> {
    let sql = format!("SELECT count(*) FROM pictures WHERE {sql}");
    let count: i64 = connection.prepare(&sql)?.query_row(params_from_iter(values), |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

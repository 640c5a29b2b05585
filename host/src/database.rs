// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The one database: a SQLite file that comes along with the program, with one writer and a few readers.
//!
//! The writer is a thread of its own. It alone changes the file and moves the write-ahead log back into it,
//! which rules out the loss of commits that SQLite had up to 3.51.2 when two connections did so at once.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};

use anyhow::{Context, anyhow, bail, ensure};
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use rusqlite_migration::{M, Migrations};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use crate::error::{Error, Result};

/// The oldest SQLite without that fault.
const OLDEST_SQLITE: i32 = 3_051_003;
/// Marks a file as ALICE's, in the place that SQLite has for it: "ALIC".
const APPLICATION: i32 = 0x414c_4943;
/// Connections that only read, kept open between questions.
const READERS: usize = 4;

/// Every change of the schema since the first, in order. A released one is never edited.
const MIGRATIONS: &[M<'_>] = &[
    M::up(include_str!("database/migrations/0001_accounts.sql")),
    M::up(include_str!("database/migrations/0002_jobs.sql")),
    M::up(include_str!("database/migrations/0003_repetitions.sql")),
    M::up(include_str!("database/migrations/0004_inputs.sql")),
    M::up(include_str!("database/migrations/0005_gallery.sql")),
];

/// The database. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Database {
    writer: mpsc::Sender<Job>,
    readers: Arc<Readers>,
    /// Held as long as the database is open, so that no second daemon opens it.
    _lock: Arc<File>,
}

/// Work for the writer.
type Job = Box<dyn FnOnce(&mut Writer) + Send>;

struct Writer {
    connection: Connection,
    /// The disk has failed: what is on it is no longer known, so nothing is written before a restart.
    failed: bool,
}

#[derive(Debug)]
struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Database {
    /// Opens the database at `path`, or makes it, with its directory, readable by this user alone.
    ///
    /// # Errors
    /// A file that is damaged, that a later version wrote, that is no database of ours, or that another
    /// daemon has open. Nothing is repaired or replaced: an empty database would be an open door.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let sqlite = rusqlite::version_number();
        ensure!(sqlite >= OLDEST_SQLITE, "SQLite {} can lose data", rusqlite::version());
        let log = beside(path, "-wal");
        let holds = |path: &Path| std::fs::metadata(path).is_ok_and(|file| file.len() > 0);
        if holds(&log) && !holds(path) {
            bail!(
                "the database {} is missing or empty, while {} still holds its changes; restore it, or move \
                 both away to start anew",
                path.display(),
                log.display(),
            );
        }
        make_private(path).with_context(|| format!("cannot make the database {}", path.display()))?;
        let lock = lock(path)?;
        let connection =
            prepare(path).with_context(|| format!("cannot use the database {}", path.display()))?;
        let readers = Readers { path: path.to_owned(), idle: Mutex::new(Vec::new()) };
        let (writer, jobs) = mpsc::channel::<Job>();
        std::thread::Builder::new().name("database".into()).spawn(move || {
            let mut writer = Writer { connection, failed: false };
            jobs.into_iter().for_each(|job| job(&mut writer));
        })?;
        Ok(Self { writer, readers: Arc::new(readers), _lock: Arc::new(lock) })
    }

    /// Runs `act` in a transaction of its own, after those that came before, and makes sure that its effect
    /// is on the disk. An error of `act` takes everything back that it did.
    ///
    /// # Errors
    /// Those of `act`; [`Error::Internal`] when the disk fails.
    pub async fn write<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.submit(act)?.await.map_err(|_| gone())?
    }

    /// As [`write`](Self::write), for threads that may wait.
    ///
    /// # Errors
    /// Those of [`write`](Self::write).
    pub fn write_now<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.submit(act)?.blocking_recv().map_err(|_| gone())?
    }

    /// Runs `act` in its turn without waiting for it, and without waiting for the disk: after a power cut it may be
    /// undone, but never what was written by [`write`](Self::write) after it. A failure is only logged.
    pub fn post(&self, act: impl FnOnce(&Transaction<'_>) -> Result<()> + Send + 'static) {
        let job: Job = Box::new(move |writer: &mut Writer| {
            if let Err(cause) = writer.note(act) {
                error!("A change of the database failed: {}", cause.cause());
            }
        });
        if self.writer.send(job).is_err() {
            error!("The database's writer has ended");
        }
    }

    /// Runs `ask` on a connection that cannot write.
    ///
    /// # Errors
    /// Those of `ask`.
    pub async fn read<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let readers = Arc::clone(&self.readers);
        tokio::task::spawn_blocking(move || readers.ask(ask))
            .await
            .map_err(|error| Error::Internal(error.into()))?
    }

    /// Moves everything that was written into the database's own file, so that whoever copies that file, and
    /// nothing else, has it all.
    ///
    /// # Errors
    /// [`Error::Internal`] when the disk fails.
    pub async fn settle(&self) -> Result<()> {
        let (answer, settled) = oneshot::channel();
        let job = Box::new(move |writer: &mut Writer| {
            let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
            // Whoever asked may be gone; the file is whole all the same.
            drop(answer.send(writer.connection.query_row(checkpoint, [], |_| Ok(()))));
        });
        self.writer.send(job).map_err(|_| gone())?;
        Ok(settled.await.map_err(|_| gone())??)
    }

    fn submit<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T>>> {
        let (answer, answered) = oneshot::channel();
        let job = Box::new(move |writer: &mut Writer| {
            // Whoever asked may be gone; what was committed stays.
            drop(answer.send(writer.run(act)));
        });
        self.writer.send(job).map_err(|_| gone())?;
        Ok(answered)
    }
}

fn gone() -> Error {
    Error::Internal(anyhow!("the database's writer has ended"))
}

impl Writer {
    fn run<T>(&mut self, act: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        if self.failed {
            return Err(Error::Internal(anyhow!(
                "the database takes no changes since its disk failed; restart"
            )));
        }
        let Self { connection, failed } = self;
        let work = AssertUnwindSafe(|| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = act(&transaction)?;
            transaction.commit().inspect_err(|cause| {
                if cause.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) {
                    error!(%cause, "The disk failed under the database; it takes no changes until a restart");
                    *failed = true;
                }
            })?;
            Ok(value)
        });
        // A panic drops the transaction, which takes it back; the writer goes on.
        catch_unwind(work)
            .unwrap_or_else(|_| Err(Error::Internal(anyhow!("a change of the database panicked"))))
    }
}

impl Writer {
    /// As [`run`](Self::run), but the log is synced only with the next transaction that is.
    fn note(&mut self, act: impl FnOnce(&Transaction<'_>) -> Result<()>) -> Result<()> {
        self.connection.pragma_update(None, "synchronous", "normal")?;
        let done = self.run(act);
        let restored = self.connection.pragma_update(None, "synchronous", "full");
        // What is written next is promised to be on the disk.
        self.failed |= restored.is_err();
        done.and(restored.map_err(Error::from))
    }
}

impl Readers {
    fn ask<T>(&self, ask: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        // The lock guards a plain list: it is whole even if another holder panicked.
        let idle = || self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let kept = idle().pop();
        let connection = match kept {
            Some(connection) => connection,
            None => {
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let connection = Connection::open_with_flags(&self.path, flags)?;
                connection.pragma_update(None, "trusted_schema", false)?;
                connection
            }
        };
        let answer = ask(&connection);
        let mut idle = idle();
        if idle.len() < READERS {
            idle.push(connection);
        }
        answer
    }
}

/// The file at `path`, for this user alone, with the files that SQLite keeps beside it; in a directory for this
/// user alone if it has to be made. A directory that is there already may have other uses, so its rights stay.
fn make_private(path: &Path) -> anyhow::Result<()> {
    if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        if std::fs::metadata(directory)?.permissions().mode() & 0o077 != 0 {
            warn!("Others may look into the directory of the database {}", path.display());
        }
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    for file in [path.to_owned(), beside(path, "-wal"), beside(path, "-shm"), beside(path, ".lock")] {
        match std::fs::set_permissions(file, Permissions::from_mode(0o600)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// The file whose name is that of `path` with `ending` behind it.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Takes the right to the database, until the file is dropped.
fn lock(path: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(beside(path, ".lock"))?;
    file.try_lock().with_context(|| format!("another ALICE has the database {} open", path.display()))?;
    Ok(file)
}

/// The writer's connection, after the file was found whole and brought to this version's schema.
fn prepare(path: &Path) -> anyhow::Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    let number = |connection: &Connection, name: &str| {
        connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0))
    };
    let (application, version) =
        (number(&connection, "application_id")?, number(&connection, "user_version")?);
    let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    ensure!(tables == 0 || application == APPLICATION, "it is not ALICE's");
    ensure!(tables > 0 || version == 0, "it is damaged: its tables are gone");
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        bail!("it is damaged ({verdict}); restore a copy, or move it away to start anew");
    }
    let known = MIGRATIONS.len();
    if usize::try_from(version).is_ok_and(|version| version > known) {
        bail!("a later version of ALICE wrote it (schema {version}, this version knows {known})");
    }
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "secure_delete", "fast")?;
    if tables == 0 {
        connection.pragma_update(None, "application_id", APPLICATION)?;
    }
    if tables > 0 && usize::try_from(version).is_ok_and(|version| version < known) {
        back_up(&connection, path, version)?;
    }
    Migrations::from_slice(MIGRATIONS).to_latest(&mut connection)?;
    Ok(connection)
}

/// Copies the database to a file beside it, before its schema `version` is changed. A copy of an earlier attempt
/// is made anew.
fn back_up(connection: &Connection, path: &Path, version: i32) -> anyhow::Result<()> {
    let copy = beside(path, &format!(".schema-{version}"));
    match std::fs::remove_file(&copy) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    // Made here, so that it is never readable for others.
    OpenOptions::new().append(true).create_new(true).mode(0o600).open(&copy)?;
    connection.execute("VACUUM INTO ?1", [copy.to_string_lossy()])?;
    File::open(&copy)?.sync_all()?;
    info!("The database as it was before this version is kept in {}", copy.display());
    Ok(())
}

#[cfg(test)]
mod tests;

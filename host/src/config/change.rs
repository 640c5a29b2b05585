// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Changing one value in the operator's file: its line alone, with everything around it as it was. What comes out is
//! read again and must be what was meant, else the file stays untouched.

use std::fs;
use std::io::Write;
use std::path::Path;

use super::file;

/// Why the file stays as it is; the words go on from "the configuration FILE".
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The system refuses.
    #[error("cannot be written: {0}")]
    Unwritable(String),
    /// It is written in a way that is not changed by a line.
    #[error("is written in a way that is left to people")]
    Unusual,
}

/// Writes `models.default_model` into the file at `path`, which is made if it is not there.
///
/// # Errors
/// [`Error`]; the file is as it was.
pub fn set_default_model(path: &Path, id: &str) -> Result<(), Error> {
    let unwritable = |error: std::io::Error| Error::Unwritable(error.to_string());
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        text => text.map_err(unwritable)?,
    };
    let changed = with_default_model(path, &text, id)?;
    write(path, &changed).map_err(unwritable)
}

/// `text` with another default model.
fn with_default_model(path: &Path, text: &str, id: &str) -> Result<String, Error> {
    let changed = with_value(text, "models", "default_model", id).ok_or(Error::Unusual)?;
    let read = |text: &str| file::parse(path, text).map(|loaded| loaded.config);
    let mut wanted = read(text).map_err(|_| Error::Unusual)?;
    wanted.models.default_model = Some(id.to_owned());
    match read(&changed) {
        Ok(config) if config == wanted => Ok(changed),
        _ => Err(Error::Unusual),
    }
}

/// `text` with this value of a key in a section, each on a line of its own. `None` where the section is written
/// otherwise.
fn with_value(text: &str, section: &str, key: &str, value: &str) -> Option<String> {
    // Lines would come back with other ends.
    if text.contains('\r') {
        return None;
    }
    // A JSON string is a YAML string.
    let value = serde_json::Value::from(value).to_string();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let is_content = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let Some(head) = lines.iter().position(|line| line.starts_with(&format!("{section}:"))) else {
        lines.extend([format!("{section}:"), format!("  {key}: {value}")]);
        return Some(lines.join("\n") + "\n");
    };
    let after = lines[head][section.len() + 1..].trim_start().to_owned();
    if is_content(&after) {
        return None;
    }
    let is_inside = |line: &String| !is_content(line) || line.starts_with(' ');
    let end =
        lines[head + 1..].iter().position(|line| !is_inside(line)).map_or(lines.len(), |n| head + 1 + n);
    let first = lines[head + 1..end].iter().find(|line| is_content(line));
    let indent = first.map_or(2, |line| line.len() - line.trim_start().len());
    let line = format!("{}{key}: {value}", " ".repeat(indent));
    let beginning = format!("{}{key}:", " ".repeat(indent));
    match lines[head + 1..end].iter().position(|line| line.starts_with(&beginning)) {
        Some(place) => lines[head + 1 + place] = line,
        None => lines.insert(head + 1, line),
    }
    Some(lines.join("\n") + "\n")
}

/// Puts `text` in the place of the file, whole or not at all. A link stays one, and so do the permissions.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(text.as_bytes())?;
    if let Ok(metadata) = fs::metadata(&path) {
        file.as_file().set_permissions(metadata.permissions())?;
    }
    file.as_file().sync_all()?;
    file.persist(&path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(text: &str) -> Result<String, Error> {
        with_default_model(Path::new("test.yaml"), text, "sd/new \"x\"")
    }

    #[test]
    fn one_line_changes_and_the_rest_stays_as_it_was() {
        let line = "default_model: \"sd/new \\\"x\\\"\"";
        for (before, after) in [
            ("", format!("models:\n  {line}\n")),
            ("server:\n  port: 1", format!("server:\n  port: 1\nmodels:\n  {line}\n")),
            (
                "# one\nmodels: # two\n    directory: m\n    # three\n    default_model: old\n\nserver:\n  port: 1\n",
                format!(
                    "# one\nmodels: # two\n    directory: m\n    # three\n    {line}\n\nserver:\n  port: 1\n"
                ),
            ),
            ("models:\n  pinned: []\n", format!("models:\n  {line}\n  pinned: []\n")),
            ("models:\n", format!("models:\n  {line}\n")),
        ] {
            assert_eq!(changed(before).unwrap(), after);
        }
        let shipped = include_str!("../../../config.yaml");
        let differing =
            shipped.lines().zip(changed(shipped).unwrap().lines()).filter(|(a, b)| a != b).count();
        assert_eq!(differing, 1);
    }

    #[test]
    fn what_a_line_does_not_change_is_left_to_people() {
        for text in [
            "models: { directory: m }\n",
            "{ models: { directory: m } }\n",
            "models:\n  default_model:\n    old\n",
            "server:\n  port: many\n",
            "models:\r\n  pinned: []\r\n",
        ] {
            assert_eq!(changed(text), Err(Error::Unusual), "{text}");
        }
    }

    #[test]
    fn the_file_is_replaced_whole_and_keeps_who_may_read_it() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("real.yaml"), directory.path().join("config.yaml"));
        fs::write(&file, "models:\n  default_model: a\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&file, &link).unwrap();
        set_default_model(&link, "sd/b").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "models:\n  default_model: \"sd/b\"\n");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(link.is_symlink());
        let nowhere = directory.path().join("nowhere/config.yaml");
        assert!(matches!(set_default_model(&nowhere, "sd/b"), Err(Error::Unwritable(_))));
    }
}

// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Textual inversions: words of a prompt that stand for vectors of their own.

use std::sync::Arc;

use alice_checkpoint::embedding::Embedding;
use alice_diffusion::prompt::{Names, Part, Span};
use alice_plugin::TextEncoderInfo;

use crate::engine::ExtraRows;
use crate::error::{Error, Result};
use crate::models::EmbeddingEntry;

/// The textual inversions of a request.
#[derive(Debug, Default)]
pub struct Words {
    names: Names,
    embeddings: Vec<(String, Embedding)>,
}

impl Words {
    /// Reads them from their files.
    ///
    /// # Errors
    /// [`Error::Embedding`] for one that has gone or become unusable.
    pub async fn read(entries: &[Arc<EmbeddingEntry>]) -> Result<Self> {
        if entries.is_empty() {
            return Ok(Self::default());
        }
        let entries = entries.to_vec();
        let read = tokio::task::spawn_blocking(move || {
            let open = |entry: &Arc<EmbeddingEntry>| match Embedding::open(&entry.path) {
                Ok(embedding) => Ok((entry.name.clone(), embedding)),
                Err(error) => Err(unusable(&entry.name, &error)),
            };
            entries.iter().map(open).collect::<Result<Vec<_>>>()
        });
        Ok(Self::new(read.await.map_err(anyhow::Error::from)??))
    }

    fn new(embeddings: Vec<(String, Embedding)>) -> Self {
        Self { names: Names::new(embeddings.iter().map(|(name, _)| name.as_str())), embeddings }
    }

    /// Puts vectors in the place of names. Gives the places of the embeddings whose vectors go along, in their order;
    /// each goes along once.
    pub(super) fn place(&self, parts: Vec<Part>) -> (Vec<Part>, Vec<usize>) {
        let (mut used, mut rows) = (Vec::new(), 0);
        // Where the vectors of each begin.
        let mut firsts = vec![None; self.embeddings.len()];
        let mut placed = Vec::with_capacity(parts.len());
        for part in parts {
            let Part::Text { text, weight } = part else {
                placed.push(part);
                continue;
            };
            for span in self.names.split(&text) {
                placed.push(match span {
                    Span::Text(text) => Part::Text { text: text.to_owned(), weight },
                    Span::Name(number) => {
                        let count = u32::try_from(self.embeddings[number].1.count()).unwrap_or(u32::MAX);
                        let first = *firsts[number].get_or_insert_with(|| {
                            used.push(number);
                            rows += count;
                            rows - count
                        });
                        Part::Vectors { first, count, weight }
                    }
                });
            }
        }
        (placed, used)
    }

    /// The vectors of these embeddings for each encoder, one after the other.
    ///
    /// # Errors
    /// [`Error::Embedding`] when they are made for other encoders.
    pub(super) fn rows(&self, used: &[usize], encoders: &[TextEncoderInfo]) -> Result<Arc<[ExtraRows]>> {
        if used.is_empty() {
            return Ok(Arc::default());
        }
        let widths: Vec<_> = encoders.iter().map(|encoder| encoder.hidden_size as usize).collect();
        let mut rows: Vec<_> = encoders
            .iter()
            .map(|encoder| ExtraRows { width: encoder.hidden_size, values: Vec::new() })
            .collect();
        for &number in used {
            let (name, embedding) = &self.embeddings[number];
            let vectors = embedding.rows(&widths).map_err(|error| unusable(name, &error))?;
            rows.iter_mut().zip(vectors).for_each(|(rows, vectors)| rows.values.extend_from_slice(vectors));
        }
        Ok(rows.into())
    }
}

fn unusable(name: &str, error: &alice_checkpoint::Error) -> Error {
    Error::Embedding { name: name.to_owned(), problem: format!("cannot be used: {error}") }
}

#[cfg(test)]
mod tests {
    use alice_diffusion::prompt::parse;

    use super::*;

    /// An embedding of `count` vectors, each twice its file's number.
    fn embedding(directory: &std::path::Path, name: &str, count: usize, value: f32) -> (String, Embedding) {
        let data: Vec<u8> = (0..count * 2).flat_map(|_| value.to_le_bytes()).collect();
        let header = format!(
            r#"{{"emb_params":{{"dtype":"F32","shape":[{count},2],"data_offsets":[0,{}]}}}}"#,
            data.len()
        );
        let path = directory.join(name);
        let length = (header.len() as u64).to_le_bytes();
        std::fs::write(&path, [&length[..], header.as_bytes(), &data].concat()).unwrap();
        (name.to_owned(), Embedding::open(&path).unwrap())
    }

    #[test]
    fn names_become_vectors_and_each_embedding_goes_along_once() {
        let directory = tempfile::tempdir().unwrap();
        let made = |name, count, value| embedding(directory.path(), name, count, value);
        let words = Words::new(vec![made("unused", 1, 9.0), made("bad", 2, 1.0), made("good", 3, 2.0)]);
        let (parts, used) = words.place(parse("a good (bad:2) BREAK Good").unwrap());
        let vectors = |first, count, weight| Part::Vectors { first, count, weight };
        let text = |text: &str| Part::Text { text: text.to_owned(), weight: 1.0 };
        let expected =
            [text("a "), vectors(0, 3, 1.0), text(" "), vectors(3, 2, 2.0), Part::Break, vectors(0, 3, 1.0)];
        assert_eq!(parts, expected);
        let encoder = TextEncoderInfo { context_length: 77, vocab_size: 100, hidden_size: 2 };
        let rows = words.rows(&used, std::slice::from_ref(&encoder)).unwrap();
        assert_eq!(rows[0].values, [2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0]);
        let wide = TextEncoderInfo { hidden_size: 3, ..encoder };
        assert!(matches!(words.rows(&used, &[wide]), Err(Error::Embedding { .. })));
    }
}

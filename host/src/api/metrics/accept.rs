// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a caller would rather have, JSON or Prometheus' text (RFC 9110, section 12.5.1).

use axum::http::{HeaderMap, header};

/// What a scraper takes: the text format itself, or the later one that is nearly the same.
const TEXTS: [&str; 2] = ["text/plain", "application/openmetrics-text"];

/// Whether the caller gives a text format more weight than JSON. Browsers and most clients weigh them alike.
pub(super) fn prefers_text(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let accepted: Vec<_> = accepted.flat_map(|value| value.split(',')).filter_map(range).collect();
    let text = TEXTS.map(|text| weight(&accepted, text)).into_iter().fold(0.0, f32::max);
    text > weight(&accepted, "application/json")
}

/// One media range in small letters, with its weight. What is not understood is passed over.
fn range(text: &str) -> Option<(String, f32)> {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next()?.to_ascii_lowercase();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
    let weight = weight.map_or(Ok(1.0), str::parse).ok()?;
    (range.contains('/') && (0.0..=1.0).contains(&weight)).then_some((range, weight))
}

/// The weight of the most particular range that holds `media`; 0 when none does. The heaviest of equals counts:
/// scrapers name one type several times, with versions.
fn weight(accepted: &[(String, f32)], media: &str) -> f32 {
    let (kind, _) = media.split_once('/').unwrap_or((media, ""));
    let heaviest = |name: &str| {
        let weights = accepted.iter().filter(|(range, _)| range == name).map(|(_, weight)| *weight);
        weights.reduce(f32::max)
    };
    heaviest(media).or_else(|| heaviest(&format!("{kind}/*"))).or_else(|| heaviest("*/*")).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefers(accept: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        prefers_text(&headers)
    }

    #[test]
    fn scrapers_get_text() {
        let scrapers = [
            "text/plain",
            "TEXT/PLAIN;version=0.0.4;Q=0.5",
            "text/*",
            "text/plain;version=0.0.4;q=1,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
             text/plain;version=1.0.0;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
             text/plain;version=0.0.4;q=0.4,*/*;q=0.2",
            "application/json;q=0.5, text/plain",
            "application/json;q=0, */*",
        ];
        for accept in scrapers {
            assert!(prefers(accept), "{accept}");
        }
    }

    #[test]
    fn everybody_else_gets_json() {
        let others = [
            "*/*",
            "application/json",
            "application/json, text/plain, */*",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
            "text/plain;q=0.5, application/*",
            "text/plain;q=0",
            "text/plain;q=many",
            "image/png",
            "nonsense",
            "",
        ];
        for accept in others {
            assert!(!prefers(accept), "{accept}");
        }
        assert!(!prefers_text(&HeaderMap::new()));
    }

    #[test]
    fn several_headers_are_one() {
        let mut headers = HeaderMap::new();
        headers.append(header::ACCEPT, "application/json;q=0.1".parse().unwrap());
        headers.append(header::ACCEPT, "text/plain".parse().unwrap());
        assert!(prefers_text(&headers));
    }
}

// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a request wants to become of its job.
//!
//! OpenAI's SDKs send a request again by themselves when it took too long, with the number of the try in
//! `x-stainless-retry-count`. The second try is about the job of the first one, so it joins that.

use axum::http::{HeaderMap, Uri};
use sha2::{Digest, Sha256};

use crate::auth::Actor;
use crate::jobs::{Caller, Fingerprint, Leave, Wish};
use crate::pictures::Publicity;

/// What OpenAI's SDKs begin the names of their own headers with.
const SDK: &str = "x-stainless-";
/// How often an SDK has sent the request before.
const TRIES: &str = "x-stainless-retry-count";

/// The wish of the request with this head and body, whose body says `detach` or not.
pub(super) fn of(actor: &Actor, uri: &Uri, headers: &HeaderMap, body: &[u8], detach: bool) -> Wish {
    let sdk = headers.keys().any(|name| name.as_str().starts_with(SDK));
    let leave = match (detach, sdk) {
        (true, _) => Leave::GoOn,
        (false, true) => Leave::CancelLater,
        (false, false) => Leave::Cancel,
    };
    let tries = headers.get(TRIES).and_then(|tries| tries.to_str().ok()?.parse::<u32>().ok());
    Wish {
        leave,
        fingerprint: sdk.then(|| fingerprint(&Caller::of(actor), uri.path(), body)),
        repeats: tries.is_some_and(|tries| tries > 0),
        partials: 0,
        publicity: Publicity::default(),
    }
}

fn fingerprint(caller: &Caller, path: &str, body: &[u8]) -> Fingerprint {
    // Neither a caller nor a path holds a line's end.
    Sha256::new().chain_update(format!("{caller}\n{path}\n")).chain_update(body).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Who;

    fn wish(address: &str, path: &'static str, headers: &[(&'static str, &str)], body: &str) -> Wish {
        let actor = Actor { who: Who::Anonymous, address: address.parse().unwrap() };
        let headers =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        of(&actor, &Uri::from_static(path), &headers, body.as_bytes(), false)
    }

    #[test]
    fn only_sdks_come_back_by_themselves() {
        let plain = wish("192.0.2.1", "/a", &[("user-agent", "curl")], "{}");
        assert_eq!((plain.leave, plain.repeats, plain.fingerprint), (Leave::Cancel, false, None));
        let first = wish("192.0.2.1", "/a", &[("x-stainless-retry-count", "0")], "{}");
        assert_eq!((first.leave, first.repeats), (Leave::CancelLater, false));
        let second = wish("192.0.2.1", "/a", &[("x-stainless-retry-count", "1")], "{}");
        assert!(second.repeats && second.fingerprint.is_some() && second.fingerprint == first.fingerprint);
        let other = wish("192.0.2.1", "/a", &[("x-stainless-lang", "js")], "{}");
        assert_eq!((other.leave, other.repeats), (Leave::CancelLater, false));
        assert!(!wish("192.0.2.1", "/a", &[("x-stainless-retry-count", "many")], "{}").repeats);
    }

    #[test]
    fn another_caller_path_or_body_is_another_request() {
        let sdk = [("x-stainless-retry-count", "1")];
        let fingerprint = |address, path, body| wish(address, path, &sdk, body).fingerprint.unwrap();
        let one = fingerprint("192.0.2.1", "/a", "{}");
        assert_eq!(fingerprint("192.0.2.1", "/a?query", "{}"), one);
        assert_ne!(fingerprint("192.0.2.2", "/a", "{}"), one);
        assert_ne!(fingerprint("192.0.2.1", "/b", "{}"), one);
        assert_ne!(fingerprint("192.0.2.1", "/a", "{} "), one);
    }
}

// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Who can reach the daemon, and who may make an account.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Check;
use crate::secret::Secret;

/// Who can reach the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// The address to listen on.
    pub host: IpAddr,
    /// The port to listen on; 0 lets the system choose one.
    pub port: u16,
    /// Names under which clients reach this server, beside the loopback names and plain addresses. Where no
    /// account is needed, a request for another name is refused, because a web page can point a name of its
    /// own at this machine.
    pub hostnames: Vec<String>,
    /// Proxies whose `X-Forwarded-For` tells who the caller is: addresses or networks (`10.0.0.0/8`).
    pub trusted_proxies: Vec<Network>,
    /// Serve everyone without an account on a `host` that is not a loopback address.
    pub allow_anonymous_network: bool,
    /// Demand an account even on a loopback address.
    pub require_auth: bool,
    /// One key that lets its holders make pictures.
    pub api_key: Option<Secret>,
    /// Who may make an account.
    pub registration_mode: RegistrationMode,
    /// Seconds without a request after which a login ends, 60-86400.
    pub session_timeout_seconds: u32,
    /// Hours for which the address of a picture works without credentials, 1-168.
    pub picture_link_hours: u32,
    /// Seconds after which an answer begins although the pictures are not finished, so that the client does not
    /// give up: from then on its status is 200, and an error stands in its body.
    pub early_answer_seconds: u32,
}

/// How people come by an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegistrationMode {
    /// Only an administrator makes accounts.
    Disabled,
    /// Everyone may.
    Open,
    /// Holders of an invite code may.
    Invite,
    /// Everyone may ask, an administrator decides.
    Approval,
}

/// An IP network, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(IpNet);

impl Network {
    /// Whether `address` is in it. An IPv4 address is the same in its IPv6 form.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network
            .map(Self)
            .map_err(|_| format!("`{text}` is neither an address nor a network such as 10.0.0.0/8"))
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.0.to_string()
    }
}

impl Server {
    /// Whether the server serves people without an account: on a loopback address, or where the operator
    /// says so. It is the listening address that counts, not the caller's: a container's port forwarding
    /// shows every caller as a loopback address.
    pub fn allows_anonymous(&self) -> bool {
        !self.require_auth && (self.host.to_canonical().is_loopback() || self.allow_anonymous_network)
    }

    /// Holds each value against what it may be.
    pub(super) fn check(&self, check: &mut Check<'_>) {
        check(
            "server.session_timeout_seconds",
            (60..=86_400).contains(&self.session_timeout_seconds),
            "must be 60 to 86400",
        );
        let hours = (1..=168).contains(&self.picture_link_hours);
        check("server.picture_link_hours", hours, "must be 1 to 168");
        check(
            "server.api_key",
            self.api_key.as_ref().is_none_or(|key| key.expose().trim().len() >= 8),
            "must have at least 8 characters: whoever guesses it can use this server",
        );
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            host: IpAddr::from([127, 0, 0, 1]),
            port: 8080,
            hostnames: Vec::new(),
            trusted_proxies: Vec::new(),
            allow_anonymous_network: false,
            require_auth: false,
            api_key: None,
            registration_mode: RegistrationMode::Disabled,
            session_timeout_seconds: 43_200,
            picture_link_hours: 24,
            early_answer_seconds: 100,
        }
    }
}

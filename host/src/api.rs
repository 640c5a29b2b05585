// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The HTTP API, one file a resource.

pub mod chat;
pub mod files;
pub mod health;
pub mod images;
pub mod json;
pub mod models;

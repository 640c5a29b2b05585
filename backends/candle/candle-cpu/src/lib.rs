// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The plugin `candle-cpu`: networks on this machine's processor, by candle. All of it is in `alice-candle`.
#![forbid(unsafe_code)]

alice_plugin::export_backend!(alice_candle::cpu_backend);

#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
# Downloads the three npm packages the training data are made of, checks them and unpacks them.
#   ./fetch.sh [directory]     default: data/npm
set -eu
directory=${1:-data/npm}
mkdir -p "$directory"
cd "$directory"

npm pack --silent @lobehub/fluent-emoji-3d@1.1.0 @iconify-json/fluent-emoji-flat@1.2.6 emojibase-data@17.0.0

sha256sum --check <<'SUMS'
c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58  lobehub-fluent-emoji-3d-1.1.0.tgz
7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175  iconify-json-fluent-emoji-flat-1.2.6.tgz
d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a  emojibase-data-17.0.0.tgz
SUMS

unpack() {
    mkdir -p "$2"
    tar -xzf "$1" -C "$2" --strip-components=1
}
unpack lobehub-fluent-emoji-3d-1.1.0.tgz fluent-emoji-3d
unpack iconify-json-fluent-emoji-flat-1.2.6.tgz fluent-emoji-flat
unpack emojibase-data-17.0.0.tgz emojibase-data

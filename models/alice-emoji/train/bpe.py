# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""A byte-level BPE tokenizer of CLIP's kind, trained on the captions.

CLIP's own vocabulary has 49,408 entries, more weights than the whole of this text encoder. The captions know
some three thousand words, so their own vocabulary is a thirteenth of that. Layout and rules are CLIP's: lower
case, 256 byte symbols, the same with `</w>` at the end of a word, then the merges, then the two special
tokens.

The trainer of `tokenizers` breaks ties between equally frequent pairs in the order of a hash table, so two
runs on the same captions may swap neighbouring merges (seen: two pairs of 3,241). Weights fit one vocabulary
only: whoever goes on from existing weights keeps their tokenizer.
"""

import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

MAX_TOKENS = 24
START, END = "<|startoftext|>", "<|endoftext|>"
# CLIP's pattern without its special tokens, which no caption contains.
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
# Upper limit for the trainer; merges seen only once are not made, so it stops before.
VOCABULARY_LIMIT = 3542


def train(captions: list[str], directory: Path) -> CLIPTokenizer:
    """Learns the merges from `captions`, writes the tokenizer's four files and loads them as a user would."""
    directory.mkdir(parents=True, exist_ok=True)
    merges = _merges(captions)
    symbols = byte_symbols()
    entries = symbols + [symbol + "</w>" for symbol in symbols] + [a + b for a, b in merges] + [START, END]
    vocabulary = {entry: number for number, entry in enumerate(dict.fromkeys(entries))}
    write = {
        "vocab.json": json.dumps(vocabulary, ensure_ascii=False),
        "merges.txt": "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges),
        "tokenizer_config.json": json.dumps(_config(), indent=1),
        "special_tokens_map.json": json.dumps(_special_tokens(), indent=1),
    }
    for name, text in write.items():
        (directory / name).write_text(text, encoding="utf-8")
    return CLIPTokenizer.from_pretrained(directory)


def byte_symbols() -> list[str]:
    """GPT-2's printable stand-in for each of the 256 bytes, in CLIP's order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(len(hidden))]


def _merges(captions: list[str]) -> list[tuple[str, str]]:
    tokenizer = Tokenizer(
        models.BPE(unk_token=END, continuing_subword_prefix="", end_of_word_suffix="</w>", fuse_unk=False)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_LIMIT,
        min_frequency=2,
        show_progress=False,
        end_of_word_suffix="</w>",
        initial_alphabet=byte_symbols(),
        special_tokens=[],
    )
    tokenizer.train_from_iterator(captions, trainer)
    return [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]


def _config() -> dict:
    return {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": MAX_TOKENS,
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": END,
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
    }


def _special_tokens() -> dict:
    def token(content: str, normalized: bool) -> dict:
        return {
            "content": content,
            "lstrip": False,
            "normalized": normalized,
            "rstrip": False,
            "single_word": False,
        }

    return {
        "bos_token": token(START, True),
        "eos_token": token(END, True),
        "unk_token": token(END, True),
        "pad_token": token(END, False),
    }

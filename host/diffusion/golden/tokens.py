# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""Token ids of transformers' CLIPTokenizer, for make.py: of a small vocabulary in `tokens.json`, and of CLIP's
own in `tokens-clip.json`.

CLIP's merges come from the file that OpenAI published, as it lies in the Python package open-clip-torch.
"""

import gzip
import importlib.util
import json
import pathlib
import shutil
import tempfile

from transformers import CLIPTokenizer

CONTEXT = 24

TEXTS = [
    "",
    " ",
    "\n\t \r\n",
    "a red apple",
    "A Red APPLE",
    "  a   red\tapple\n",
    "a cat, wearing a hat!",
    "don't you'll we've I'm he'd it's they're cats'",
    "DON'T YOU'LL",
    "'s't're've'm'll'd",
    "''s ''t '' '",
    "it’s",
    "rock'n'roll",
    "1234567890",
    "4k 8k 1920x1080 3.14",
    "½ ² ① Ⅷ ५ 𝟘",
    "foo_bar-baz/qux\\quux",
    "(masterpiece:1.2), [bad], {curly} <lora:x:0.5>",
    "!!!???...---___",
    "!'s?'t",
    "$€£¥ ©®™ §¶",
    "café CAFÉ cafe\u0301",
    "\u00c5 A\u030a \u212b",
    "ﬁ ﬂ ﬀ ſ",
    "İstanbul ISTANBUL ıI",
    "ΣΑΣ ς σ Ὀδυσσεύς",
    "ẞ ß SS",
    "Привет, мир",
    "こんにちは 世界",
    "ｆｕｌｌ　ｗｉｄｔｈ",
    "안녕하세요 \u1112\u1161\u11ab",
    "你好，世界。",
    "שלום עולם مرحبا بالعالم",
    "สวัสดีชาวโลก नमस्ते",
    "😀",
    "😀😃 cat 🐱",
    "👩‍👩‍👧‍👦 👍🏽 🇩🇪 1️⃣",
    "\U0001f9d1\U0001f3fb\u200d\U0001f680",
    "a\x00b\x01c\x7fd",
    "\u200bzero\u200dwidth\ufeff",
    "soft\u00adhyphen",
    "nbsp\u00a0here\u2003em\u3000wide\u2028line\u2029para\u0085nel\u180emvs\u1680ogham\x1cfs",
    "\ufffd\ufffe\uffff",
    "\U0010ffff\ue000",
    "e\u0301\u0302\u0303\u0304\u0305",
    "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘",
    "<|endoftext|>",
    "<|startoftext|>",
    "a<|endoftext|>b",
    "a <|ENDOFTEXT|> b",
    "a <|StartOfText|> b",
    "  <|startoftext|>  x  <|endoftext|>  ",
    "<|endoftext",
    "<|endoftext|><|endoftext|><|endoftext|>",
    "<|startoftext|>'s",
    "</w> a</w>",
    "Ġa Ċ",
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen",
    "a a a a a a a a a a a a a a a a a a a a a a",
    "a a a a a a a a a a a a a a a a a a a a a a a",
    "supercalifragilisticexpialidocious",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀",
    "ǅ ǈ ǋ ꟺ Ꭰ ꭰ Ა ა",
    "𝕳𝖊𝖑𝖑𝖔 𝐛𝐨𝐥𝐝 Ⓐ",
    "x̂ ŷ n̈ = ∑ᵢ √2 ≠ ∞",
]

# Long texts are written as a piece and how often it is repeated.
LONG = [("a cat ", 2000), ("cat", 2000), ("!", 5000), ("😀", 1000), ("don't ", 1000), ("7", 3000), ("\n", 4000)]


def described(content, normalized):
    return {"content": content, "lstrip": False, "normalized": normalized, "rstrip": False, "single_word": False}


START, END = "<|startoftext|>", "<|endoftext|>"
NAMES = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}

# What stands in tokenizer_config.json and special_tokens_map.json; None leaves the file out.
SPECIAL = {
    "own": "own",
    "none": (None, None),
    "normalized": (dict(NAMES), {key: described(token, True) for key, token in NAMES.items()}),
    "other_pad": (
        {**NAMES, "pad_token": "!"},
        {"bos_token": described(START, True), "eos_token": described(END, True), "pad_token": "!"},
    ),
    "decoder": (
        {
            **NAMES,
            "added_tokens_decoder": {
                "3753": {**described(START, True), "special": True},
                "3754": {**described(END, False), "special": True},
                "3755": {**described("<sks>", False), "special": False},
            },
        },
        {"pad_token": "a"},
    ),
}


def small(directory):
    """The emoji model's vocabulary with every way to describe the special tokens."""
    entries = []
    for name, files in SPECIAL.items():
        with tempfile.TemporaryDirectory() as place:
            place = pathlib.Path(place)
            for file in ("vocab.json", "merges.txt"):
                shutil.copyfile(directory / file, place / file)
            names = ("tokenizer_config.json", "special_tokens_map.json")
            contents = [(directory / file).read_text() for file in names] if files == "own" else [
                None if file is None else json.dumps(file) for file in files
            ]
            for file, content in zip(names, contents):
                if content is not None:
                    (place / file).write_text(content)
            tokenizer = CLIPTokenizer.from_pretrained(place)
            texts = [(text, 1) for text in TEXTS + (["a <sks> b", "A <SKS> B"] if name == "decoder" else [])]
            if name == "own":
                texts += LONG
            else:
                texts = [(text, times) for text, times in texts if "<" in text or len(text) < 12]
            cases = []
            for text, times in texts:
                options = {"max_length": CONTEXT, "truncation": True}
                ids = tokenizer(text * times, **options)["input_ids"]
                whole = tokenizer(text * times)["input_ids"]
                cases.append([text, times, ids, len(whole) > CONTEXT])
                padded = tokenizer(text * times, padding="max_length", **options)["input_ids"]
                assert padded == ids + [tokenizer.pad_token_id] * (CONTEXT - len(ids))
            entries.append(
                {
                    "name": name,
                    "config": contents[0],
                    "map": contents[1],
                    "context": CONTEXT,
                    "pad": tokenizer.pad_token_id,
                    "cases": cases,
                }
            )
    return entries


# --- CLIP's own vocabulary ------------------------------------------------------------------------------------

CLIP_CONTEXT = 77
MERGES = 49152 - 256 - 2

# On top of TEXTS: what only a whole vocabulary cuts into interesting pieces.
PROMPTS = [
    "a photograph of an astronaut riding a horse",
    "portrait of a girl, by greg rutkowski, trending on artstation, 8k uhd, dslr, (freckles:1.1), bokeh",
    "masterpiece, best quality, 1girl, solo, :3, >_<, ^_^, ;), </3, <3",
    "lowres, bad anatomy, bad hands, missing fingers, extra digit, jpeg artifacts, signature, watermark",
    "#hashtag @someone https://example.org/a?b=c&d=%20 e-mail@example.org",
    "we're they'd've y'all'd o'clock 'twas 'n' rock’n’roll ‘quoted’",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis floccinaucinihilipilification",
    "Straße Ærøskøbing Łódź Çağrı Ħal-Għarb Þingvellir naïve façade Ångström",
    "Đây là một con mèo. Это кошка. Αυτή είναι μια γάτα. これは猫です。 这是一只猫。 이것은 고양이입니다.",
    "ﷺ ﷽ ꧁꧂ ༄ ࿐ 𓀀 𒀀 𐎀 🀄 🂡 ♔ ⠓⠑ 𝄞 ∮ ⅞ ㎢ ㍿",
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f \u2764\ufe0f\u200d\U0001f525 \U0001f1fa\U0001f1f3\U0001f1fa",
    "\x00\x01\x02\x07\x08\x0b\x0c\x0e\x1b[31mred\x1b[0m\x7f\x80\x85\x9f",
    "\u202eoverride\u202c \u2066isolate\u2069 \u200e\u200f\u061c",
    "a\u0300\u0301 \u1100\u1161\u11a8 \u0344 \u0958 \u2126 \uf900 \ufb1d \U0001d15e",
    "i\u0307 I\u0307 \u0130 \u1e9e \u03f4 \u2c2f \ua64a \U0001e900 \U00010400",
    "\u3000\u2028\u2029\u00a0\u2007\u202f\u205f\u180e\u200b\u2060\ufeff",
    "! !! a! !a a!b <|endoftext|>! !<|startoftext|>",
    "one1two2three3 v1.5 512x512 2024-11-22 12:34:56 3,141.59 1e-5 0xDEADBEEF",
]


def pieces():
    """CLIP's vocabulary, by the rule its tokenizer is published with, and its merges."""
    package = pathlib.Path(importlib.util.find_spec("open_clip").origin).parent
    lines = gzip.decompress((package / "bpe_simple_vocab_16e6.txt.gz").read_bytes()).decode().split("\n")
    merges = lines[1 : MERGES + 1]
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = [chr(byte) for byte in printable] + [chr(256 + n) for n in range(256 - len(printable))]
    words = letters + [letter + "</w>" for letter in letters] + [merge.replace(" ", "") for merge in merges]
    return {piece: index for index, piece in enumerate([*words, START, END])}, merges


def clip_tokenizer(place, pad):
    """The files of SD 1.x (padded with the end token) or of SDXL's second tokenizer (padded with `!`)."""
    vocab, merges = pieces()
    assert len(vocab) == 49408
    added = {"49406": described(START, True), "49407": described(END, False)}
    if pad != END:
        added = {"0": {**described(pad, False), "special": True}, **added}
    (place / "vocab.json").write_text(json.dumps(vocab))
    (place / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    config = {**NAMES, "pad_token": pad, "added_tokens_decoder": added, "model_max_length": CLIP_CONTEXT}
    (place / "tokenizer_config.json").write_text(json.dumps(config))
    return CLIPTokenizer.from_pretrained(place)


def digest(rows):
    """FNV-1a over the ids of several texts, each id as four bytes, lowest first."""
    value = 0xCBF29CE484222325
    for byte in (byte for row in rows for number in row for byte in number.to_bytes(4, "little")):
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


# Where letters, signs and symbols are assigned: planes 0 to 3 without the private and the empty parts.
BLOCKS = [*range(0x0000, 0xD800, 0x400), *range(0xF800, 0x20000, 0x400), 0x20000, 0x2F800, 0x30000, 0xE0000]


def block_texts(block):
    """Every sixteen neighbours of a block as one text."""
    return ["".join(map(chr, range(start, start + 16))) for start in range(block, block + 0x400, 16)]


def clip():
    tables = {"cases": [], "blocks": []}
    for pad in (END, "!"):
        with tempfile.TemporaryDirectory() as place:
            tokenizer = clip_tokenizer(pathlib.Path(place), pad)
        options = {"max_length": CLIP_CONTEXT, "truncation": True}
        texts = [(text, 1) for text in TEXTS + PROMPTS] + LONG
        if pad != END:
            texts = [(text, times) for text, times in texts if "!" in text or "<" in text]
        for text, times in texts:
            ids = tokenizer(text * times, **options)["input_ids"]
            whole = tokenizer(text * times)["input_ids"]
            tables["cases"].append([tokenizer.pad_token_id, text, times, ids, len(whole) > CLIP_CONTEXT])
        if pad == END:
            for block in BLOCKS:
                rows = tokenizer(block_texts(block), **options)["input_ids"]
                tables["blocks"].append([block, digest(rows)])
    return tables

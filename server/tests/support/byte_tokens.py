"""A tokenizer of bytes for the tiny models, so that grammars can be followed with them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from support.models import VOCABULARY, by_name, make

END = 2
FIRST_BYTE = 3
WORDS = ('{"', '":', "true", "red", "00")


def alphabet() -> list[str]:
    """The characters by which byte-level tokenizers spell bytes 0 to 255."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = iter(range(0x100, 0x200))
    return [chr(byte) if byte in shown else chr(next(hidden)) for byte in range(256)]


def make_with_tokenizer(folder: Path, model: str = "llama") -> Path:
    """A tiny model with one token a byte, some words, and an end."""
    made = make(by_name(model), folder / "plain")
    target = folder / "with-tokenizer"
    shutil.copytree(made, target)
    spelled = alphabet()
    vocabulary = {spelled[byte]: FIRST_BYTE + byte for byte in range(256)}
    for index, word in enumerate(WORDS):
        vocabulary["".join(spelled[byte] for byte in word.encode())] = FIRST_BYTE + 256 + index
    special = [
        {"id": id, "content": text, "special": True} for id, text in enumerate(("<pad>", "<s>", "</s>"))
    ]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    description = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{**token, **flags} for token in special],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": {
            "type": "BPE",
            "vocab": {**{token["content"]: token["id"] for token in special}, **vocabulary},
            "merges": [],
        },
    }
    (target / "tokenizer.json").write_text(json.dumps(description))
    (target / "generation_config.json").write_text(json.dumps({"eos_token_id": END}))
    return target


def text_of(tokens: list[int]) -> bytes:
    """What tokens before an end stand for."""
    pieces = [bytes([byte]) for byte in range(256)] + [word.encode() for word in WORDS]
    assert all(FIRST_BYTE <= token < VOCABULARY for token in tokens)
    return b"".join(pieces[token - FIRST_BYTE] for token in tokens)

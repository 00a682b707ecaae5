"""The demo model with other spellings for control tokens that it never learnt to use.

It reasons, in that its template opens an answer with a tag and it thinks until it is stopped; and it
has the marks of a gap to fill.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import gguf

from make import demo_model_path

SPELLINGS = {
    "<gh_stars>": "<think>",
    "<issue_start>": "</think>",
    "<jupyter_start>": "<fim_prefix>",
    "<jupyter_text>": "<fim_suffix>",
    "<jupyter_code>": "<fim_middle>",
}
# By their ids: all control tokens, the end of reasoning, and the marks of a gap.
CONTROL = range(17)
CLOSE = 8
FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE = 11, 12, 13
TEMPLATE = """\
{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is not defined or enable_thinking %}<think>
{% endif %}{% endif %}"""


def flags(folder: Path) -> list[str]:
    """Writes the model to `folder`; flags of the launcher that serve it."""
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps({"chat_template": TEMPLATE, "eos_token": "<|im_end|>"}))
    model = write(folder / "m.gguf", SPELLINGS)
    return [
        "--model-id",
        str(model),
        "--tokenizer-config-path",
        str(config),
        "--reasoning-parser",
        "qwen3",
    ]


def write(path: Path, spellings: Mapping[str, str]) -> Path:
    """Writes the demo model to `path`; `spellings`: from a token's own one to its new one."""
    reader = gguf.GGUFReader(demo_model_path())
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(path, architecture)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = field.contents()
        if name == "tokenizer.ggml.tokens":
            assert set(spellings) <= set(value)
            value = [spellings.get(token, token) for token in value]
        kind, *inner = field.types
        writer.add_key_value(name, value, kind, sub_type=inner[-1] if inner else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path

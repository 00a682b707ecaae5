"""The demo model with other spellings for control tokens that it never learnt to use."""

from collections.abc import Mapping
from pathlib import Path

import gguf

from make import demo_model_path


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

"""Steps over padding alone, which graphs are captured from."""

from shardline.runner.graph_sizes import GraphSizes
from support.models import by_name, make, start


def test_every_size_has_inputs_without_a_row(tmp_path):
    shard, _ = start(make(by_name("llama-biased"), tmp_path))
    parts = shard.runner._parts
    for size in GraphSizes(parts.inputs.max_rows, parts.inputs.max_tokens).representatives():
        inputs = parts.inputs.blank(size.padding)
        assert inputs.num_samples == 0
        assert not inputs.rows.uneven
        assert inputs.rows.query_starts.tolist() == [0] * (size.rows + 1)
        assert inputs.given_tokens.shape[0] == size.tokens
    shard.close()

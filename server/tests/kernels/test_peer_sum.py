"""One rank's part in a sum over ranks; what the other ranks do is prepared."""

import pytest
import torch

pytest.importorskip("triton")

from shardline.dist.peers import PeerMemory
from shardline.kernels import peer_words
from shardline.kernels.peer_rows import PeerRows
from shardline.kernels.peer_sum import PeerSums, SumLimits, most_rows
from shardline.kernels.peer_words import PeerWords

EPS = 1e-5


class Memories:
    """The memories of all ranks, seen from one of them."""

    def __init__(self, way, world_size, rank, hidden, device):
        size = way.memory_bytes(hidden, world_size)
        self.world_size, self.rank, self.hidden = world_size, rank, hidden
        self.all = [torch.zeros(size, dtype=torch.uint8, device=device) for _ in range(world_size)]
        addresses = torch.tensor([m.data_ptr() for m in self.all], dtype=torch.int64, device=device)
        self.way = way(PeerMemory(addresses), rank)

    def others_send(self, count, partials):
        """The other ranks have written their rows of the sum `count`."""
        for rank, partial in enumerate(partials):
            if rank != self.rank:
                self.put(self.rank, rank, count, partial.view(torch.int32))


class Words(Memories):
    def __init__(self, *args):
        super().__init__(PeerWords, *args)

    def place(self, rank, sender, count):
        """i32[row, pair, elements or number]: what `sender` writes to `rank`."""
        words = self.all[rank].view(torch.int32)
        shape = (2, self.world_size, peer_words.MOST_ROWS, self.hidden // 2, 2)
        return words.view(shape)[count % 2, sender]

    def put(self, rank, sender, count, pairs):
        place = self.place(rank, sender, count)[: pairs.shape[0]]
        place[..., 0] = pairs
        place[..., 1] = count

    def received(self, rank, sender, count, rows):
        """Pairs, and under which numbers they came."""
        place = self.place(rank, sender, count)[:rows]
        return place[..., 0].contiguous(), place[..., 1].unique().tolist()


class Rows(Memories):
    def __init__(self, *args):
        super().__init__(PeerRows, *args)

    def places(self, rank, sender, count):
        """i32[row, pair] and i32[row], flags: what `sender` writes to `rank`."""
        most = PeerRows.most_rows(self.world_size)
        ints = self.all[rank].view(torch.int32)
        at = 2 * self.world_size * most * (self.hidden // 2)
        pairs = ints[:at].view(2, self.world_size, most, self.hidden // 2)
        return pairs[count % 2, sender], ints[at:].view(2, self.world_size, most)[count % 2, sender]

    def put(self, rank, sender, count, pairs):
        place, flags = self.places(rank, sender, count)
        place[: pairs.shape[0]] = pairs
        flags[: pairs.shape[0]] = count

    def received(self, rank, sender, count, rows):
        place, flags = self.places(rank, sender, count)
        return place[:rows].contiguous(), flags[:rows].unique().tolist()


def normed(values, gamma):
    wide = values.float()
    return wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + EPS) * gamma.float()


@pytest.mark.parametrize("kind", [Words, Rows])
@pytest.mark.parametrize(("world_size", "rank"), [(2, 0), (2, 1), (4, 2)])
@pytest.mark.parametrize(("rows", "hidden"), [(1, 48), (5, 64), (3, 1000)])
def test_rows_of_all_ranks_are_added_to_the_residual_and_normalised(
    kind, world_size, rank, rows, hidden, device, dtype
):
    torch.manual_seed(rows + hidden)
    memories = kind(world_size, rank, hidden, device)
    gamma = torch.randn(hidden, device=device).to(dtype)
    stream = torch.randn(rows, hidden, device=device).to(dtype)
    for count in (1, 2, 3):
        partials = [torch.randn(rows, hidden, device=device).to(dtype) for _ in range(world_size)]
        memories.others_send(count, partials)
        total = sum(partial.float() for partial in partials)
        # The second sum has no residual, as that of the embedding.
        expected = total if count == 2 else total + stream.float()
        partial = partials[rank].clone()
        values, norm = partial if count == 2 else stream.clone(), torch.empty_like(stream)
        # Chained where a card can, as in a step of few rows.
        chained = {"chained": device.type == "cuda"} if kind is Words else {}
        memories.way(partial, values, gamma, norm, EPS, **chained)
        torch.testing.assert_close(values.float(), expected.to(dtype).float(), rtol=2e-2, atol=2e-2)
        torch.testing.assert_close(norm.float(), normed(expected.to(dtype), gamma), rtol=2e-2, atol=2e-2)
        for other in range(world_size):
            if other != rank:
                sent, numbers = memories.received(other, rank, count, rows)
                assert numbers == [count]
                assert torch.equal(sent, partials[rank].view(torch.int32))


@pytest.mark.parametrize("add", [False, True])
def test_more_rows_than_the_memory_holds_go_one_part_after_the_other(add, monkeypatch, device, dtype):
    monkeypatch.setattr(PeerRows, "most_rows", staticmethod(lambda world_size: 4))
    memories, gamma = Rows(2, 0, 64, device), torch.randn(64, device=device).to(dtype)
    partials = [torch.randn(7, 64, device=device).to(dtype) for _ in range(2)]
    memories.others_send(1, [partial[:4] for partial in partials])
    memories.others_send(2, [partial[4:] for partial in partials])
    partial = partials[0].clone()
    values = torch.ones_like(partial) if add else partial
    norm = torch.empty_like(partial)
    memories.way(partial, values, gamma, norm, EPS)
    total = partials[0].float() + partials[1].float() + (1 if add else 0)
    torch.testing.assert_close(values.float(), total.to(dtype).float(), rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(norm.float(), normed(total.to(dtype), gamma), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("kind", [Words, Rows])
def test_counts_may_wrap_around(kind, device, dtype):
    memories = kind(2, 0, 64, device)
    partials = [torch.randn(2, 64, device=device).to(dtype) for _ in range(2)]
    memories.way._counts.fill_(2**31 - 1)
    memories.others_send(-(2**31), partials)
    values = partials[0].clone()
    memories.way(values, values, None, None, 0.0)
    total = partials[0].float() + partials[1].float()
    torch.testing.assert_close(values.float(), total, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(("limits", "way"), [((2, 0), "words"), ((0, 8), "rows"), ((1, 4), "rows")])
def test_the_limits_say_which_way_a_sum_goes(limits, way, device, dtype):
    words, rows = Words(2, 0, 64, device), Rows(2, 0, 64, device)
    sums = PeerSums(words.way, rows.way, SumLimits(*limits), device)
    assert sums.limits.most == max(limits)
    partials = [torch.ones(2, 64, device=device, dtype=dtype) for _ in range(2)]
    {"words": words, "rows": rows}[way].others_send(1, partials)
    values, norm = sums(partials[0].clone(), None)
    assert norm is None
    assert values.float().unique().tolist() == [2.0]


@pytest.mark.parametrize(
    ("most", "above", "better", "found", "tried"),
    [
        (64, 0, 16, 16, [1, 2, 4, 8, 16, 32]),
        (64, 0, 64, 64, [1, 2, 4, 8, 16, 32, 64]),
        (64, 0, 0, 0, [1]),
        (300, 64, 256, 256, [128, 256]),
        (300, 64, 64, 0, [128]),
        (64, 64, 64, 0, []),
    ],
)
def test_a_way_is_taken_as_far_as_it_is_better(most, above, better, found, tried):
    asked = []

    def is_better(rows):
        asked.append(rows)
        return rows <= better

    assert most_rows(most, is_better, above) == found
    assert asked == tried

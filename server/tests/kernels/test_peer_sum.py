"""One rank's part in a sum over ranks; what the other ranks do is prepared."""

import pytest
import torch

pytest.importorskip("triton")

from shardline.dist.peers import PeerMemory
from shardline.kernels.peer_sum import MOST_ROWS, PeerSums, memory_bytes

EPS = 1e-5


class Peers:
    """The memories of all ranks, seen from one of them."""

    def __init__(self, world_size, rank, hidden, device):
        size = memory_bytes(hidden, world_size)
        self.world_size, self.rank, self.hidden = world_size, rank, hidden
        self.memories = [torch.zeros(size, dtype=torch.uint8, device=device) for _ in range(world_size)]
        addresses = torch.tensor([m.data_ptr() for m in self.memories], dtype=torch.int64, device=device)
        self.sums = PeerSums(PeerMemory(self.memories[rank], addresses), rank, hidden)

    def words(self, rank):
        """i32[half, from which rank, row, pair, elements or number]: what lies in a rank's memory."""
        words = self.memories[rank].view(torch.int32)
        return words.view(2, self.world_size, MOST_ROWS, self.hidden // 2, 2)

    def others_send(self, count, partials):
        """The other ranks have written their rows of the sum `count`."""
        for rank, partial in enumerate(partials):
            if rank != self.rank:
                words = self.words(self.rank)[count % 2, rank, : partial.shape[0]]
                words[..., 0] = partial.view(torch.int32)
                words[..., 1] = count

    def received(self, count, rank, rows):
        """What this rank has sent to another one, and under which numbers."""
        words = self.words(rank)[count % 2, self.rank, :rows]
        return words[..., 0].contiguous(), words[..., 1].unique().tolist()


def normed(values, gamma):
    wide = values.float()
    return wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + EPS) * gamma.float()


@pytest.mark.parametrize(("world_size", "rank"), [(2, 0), (2, 1), (4, 2)])
@pytest.mark.parametrize(("rows", "hidden"), [(1, 48), (5, 64), (3, 1000)])
def test_rows_of_all_ranks_are_added_to_the_residual_and_normalised(
    world_size, rank, rows, hidden, device, dtype
):
    torch.manual_seed(rows + hidden)
    peers = Peers(world_size, rank, hidden, device)
    gamma = torch.randn(hidden, device=device).to(dtype)
    stream = torch.randn(rows, hidden, device=device).to(dtype)
    for count in (1, 2, 3):
        partials = [torch.randn(rows, hidden, device=device).to(dtype) for _ in range(world_size)]
        peers.others_send(count, partials)
        total = sum(partial.float() for partial in partials)
        # The second sum has no residual, as that of the embedding.
        expected = total if count == 2 else total + stream.float()
        before = None if count == 2 else stream.clone()
        # Chained where a card can, as in a step of few rows.
        values, norm = peers.sums(partials[rank].clone(), before, gamma, EPS, device.type == "cuda")
        torch.testing.assert_close(values.float(), expected.to(dtype).float(), rtol=2e-2, atol=2e-2)
        torch.testing.assert_close(norm.float(), normed(expected.to(dtype), gamma), rtol=2e-2, atol=2e-2)
        for other in range(world_size):
            if other != rank:
                sent, numbers = peers.received(count, other, rows)
                assert numbers == [count]
                assert torch.equal(sent, partials[rank].view(torch.int32))


def test_counts_may_wrap_around(device, dtype):
    peers = Peers(2, 0, 64, device)
    partials = [torch.randn(2, 64, device=device).to(dtype) for _ in range(2)]
    peers.sums._counts.fill_(2**31 - 1)
    peers.others_send(-(2**31), partials)
    values, norm = peers.sums(partials[0].clone(), None)
    assert norm is None
    torch.testing.assert_close(
        values.float(), (partials[0].float() + partials[1].float()), rtol=2e-2, atol=2e-2
    )

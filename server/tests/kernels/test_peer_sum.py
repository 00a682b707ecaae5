"""One rank's part in a sum over ranks; what the other ranks do is prepared."""

import pytest
import torch

from shardline.dist.peers import PeerMemory
from shardline.kernels.peer_sum import MOST_ROWS, PeerSums, memory_bytes

EPS = 1e-5


class Peers:
    """The memories of all ranks, seen from one of them."""

    def __init__(self, world_size, rank, hidden, dtype, device):
        size = memory_bytes(hidden, dtype, world_size)
        self.rank, self.hidden, self.dtype = rank, hidden, dtype
        self.memories = [torch.zeros(size, dtype=torch.uint8, device=device) for _ in range(world_size)]
        addresses = torch.tensor([m.data_ptr() for m in self.memories], dtype=torch.int64, device=device)
        self.sums = PeerSums(PeerMemory(self.memories[rank], addresses), rank, hidden)

    def rows(self, rank):
        values = 2 * MOST_ROWS * self.hidden * self.dtype.itemsize
        return self.memories[rank][:values].view(self.dtype).view(2, MOST_ROWS, self.hidden)

    def flags(self, rank):
        values = 2 * MOST_ROWS * self.hidden * self.dtype.itemsize
        return self.memories[rank][values:].view(torch.int32).view(MOST_ROWS, len(self.memories))

    def others_have(self, count, partials):
        """The other ranks have put their rows of the sum `count` there and said so."""
        for rank, partial in enumerate(partials):
            if rank != self.rank:
                rows = partial.shape[0]
                self.rows(rank)[count % 2, :rows] = partial
                self.flags(self.rank)[:rows, rank] = count


def normed(values, gamma):
    wide = values.float()
    return wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + EPS) * gamma.float()


@pytest.mark.parametrize(("world_size", "rank"), [(2, 0), (2, 1), (4, 2)])
@pytest.mark.parametrize(("rows", "hidden"), [(1, 48), (5, 64), (3, 1000)])
def test_rows_of_all_ranks_are_added_to_the_residual_and_normalised(
    world_size, rank, rows, hidden, device, dtype
):
    torch.manual_seed(rows + hidden)
    peers = Peers(world_size, rank, hidden, dtype, device)
    gamma = torch.randn(hidden, device=device).to(dtype)
    stream = torch.randn(rows, hidden, device=device).to(dtype)
    for count in (1, 2, 3):
        partials = [torch.randn(rows, hidden, device=device).to(dtype) for _ in range(world_size)]
        peers.others_have(count, partials)
        total = sum(partial.float() for partial in partials)
        # The second sum has no residual, as that of the embedding.
        expected = total if count == 2 else total + stream.float()
        before = None if count == 2 else stream.clone()
        values, norm = peers.sums(partials[rank].clone(), before, gamma, EPS)
        torch.testing.assert_close(values.float(), expected.to(dtype).float(), rtol=2e-2, atol=2e-2)
        torch.testing.assert_close(norm.float(), normed(expected.to(dtype), gamma), rtol=2e-2, atol=2e-2)
        for other in range(world_size):
            if other != rank:
                assert peers.flags(other)[:rows, rank].tolist() == [count] * rows
        assert torch.equal(peers.rows(rank)[count % 2, :rows], partials[rank])


def test_counts_may_wrap_around(device, dtype):
    peers = Peers(2, 0, 64, dtype, device)
    partials = [torch.randn(2, 64, device=device).to(dtype) for _ in range(2)]
    peers.sums._counts.fill_(2**31 - 1)
    peers.others_have(-(2**31), partials)
    values, norm = peers.sums(partials[0].clone(), None)
    assert norm is None
    torch.testing.assert_close(values.float(), (partials[0].float() + partials[1].float()), rtol=2e-2, atol=2e-2)

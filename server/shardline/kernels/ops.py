"""The dense products on a GPU: our few-row kernels where they win, the vendor's library above.

Three ways to run a product, chosen for each by its shape and number of rows (see `choice`):

- `one_row`: a matrix-vector kernel that normalises its input itself;
- `few_rows`: a kernel whose norm travels as sums of squares beside the residual stream;
- `library`: cuBLAS or cuBLASLt (see `library_products`), with norm, residual and activation as kernels
  of their own.

Each leaves a note for the next norm that the others can do without, so they mix freely.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import ClassVar

import torch
from torch import Tensor

from shardline.dist.group import ParallelGroup
from shardline.kernels.chaining import Chain
from shardline.kernels.choice import MOST_CHAINED_WIDTH, Choices, Product, Way, chain_for
from shardline.kernels.cublaslt import CublasLt
from shardline.kernels.embedding import embed
from shardline.kernels.few_rows import (
    FewRowsScratch,
    FewRowsTile,
    PreparedNorm,
    few_rows_product,
    output_programs,
)
from shardline.kernels.library_products import LibraryProducts
from shardline.kernels.one_row import Epilogue, OneRowTile, one_row_product
from shardline.kernels.peer_sum import PeerSums, SumLimits
from shardline.kernels.rms_norm import rms_norm
from shardline.kernels.swiglu import swiglu
from shardline.kernels.target import KernelTarget
from shardline.ops.base import Hidden, LinearWeight, Norm, Ops, OpsFacts
from shardline.ops.torch_ops import float32_product


@dataclass(frozen=True, slots=True)
class Normed:
    """The stream after its next norm: [rows, hidden]."""

    values: Tensor


class TritonOps(Ops):
    """See the module's text. All calls are asynchronous and can be captured."""

    name: ClassVar[str] = "triton"

    def __init__(self, facts: OpsFacts) -> None:
        super().__init__(facts)
        self.target = KernelTarget.of(facts.device)
        self.choices = Choices(self.target)
        self.library = LibraryProducts(CublasLt.open(facts.device) if self.target.bulk_loads else None)
        self.peers: PeerSums | None = None
        self._scratch = FewRowsScratch.allocate(facts.device)

    def meet(self, group: ParallelGroup, known: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """Opens the ways for sums over ranks in one launch, for as many rows as each is the fastest."""
        facts, hidden = self.facts, self.facts.hidden_size
        limits = None if known is None else SumLimits(*known)
        if limits is not None and not limits.most:
            return astuple(limits)
        peers = PeerSums.open(group, hidden, facts.dtype, facts.device)
        if peers is None:
            return astuple(SumLimits(words=0, rows=0))
        peers.compile(hidden, facts.dtype, self._chains_sums)
        peers.limits = limits or peers.limit(group, hidden, facts.dtype)
        self.peers = peers
        return astuple(peers.limits)

    def pack(self, weight: LinearWeight, gated: bool = False, head: bool = False) -> LinearWeight:
        """Only notes the weight, to measure products with it; the head's, in float32, are cuBLAS's."""
        if not head:
            self.library.note(weight.weight)
        return weight

    def embed(
        self, token_ids: Tensor, table: Tensor, first_token: int, next_norm: Norm | None = None
    ) -> Hidden:
        rows, (tokens, hidden) = token_ids.shape[0], table.shape
        values = table.new_empty((rows, hidden))
        chain = self._chain(rows)
        # A rank's part has no norm before the sum.
        is_part = tokens != self.facts.vocab_size
        if is_part or next_norm is None or rows == 1 or rows > self.choices.most_few_rows:
            embed(token_ids, table, values, first_token=first_token if is_part else None, chain=chain)
            return Hidden(values)
        prepared = PreparedNorm(torch.empty_like(values), self._sums(rows, 1))
        embed(
            token_ids,
            table,
            values,
            gamma=next_norm.weight,
            scaled=prepared.scaled,
            square_sums=prepared.square_sums,
            chain=chain,
        )
        return Hidden(values, prepared)

    def norm_linear(self, x: Hidden, norm: Norm, weight: LinearWeight) -> Tensor:
        return self._normed_product(x, norm, weight, Epilogue.STORE)

    def norm_linear_swiglu(self, x: Hidden, norm: Norm, weight: LinearWeight) -> Tensor:
        return self._normed_product(x, norm, weight, Epilogue.SWIGLU)

    def linear_residual(
        self,
        h: Tensor,
        weight: LinearWeight,
        residual: Hidden | None,
        next_norm: Norm | None = None,
    ) -> Hidden:
        if residual is None:
            return Hidden(self._plain(h, weight))
        values = residual.values
        product = Product(weight.weight.shape[0], weight.weight.shape[1], Epilogue.RESIDUAL)
        way = self.choices.way(product, h.shape[0])
        if way is Way.ONE_ROW:
            self._one_row(h, weight, values, product, None)
            return Hidden(values)
        if way is Way.FEW_ROWS:
            return self._few_rows_residual(h, weight, values, product, next_norm)
        delta = self._library(h, weight)
        if next_norm is None:
            return Hidden(values.add_(delta))
        rms_norm(values, next_norm.weight, next_norm.epsilon, delta, delta=delta)
        return Hidden(values, Normed(delta))

    def sum_residual(
        self, partial: Tensor, residual: Hidden | None, group: ParallelGroup, next_norm: Norm
    ) -> Hidden:
        """By one launch where that is faster; else by NCCL, with addition and norm joined."""
        before = None if residual is None else residual.values
        if self.peers is not None and partial.shape[0] <= self.peers.limits.most:
            chained = self._chains_sums and self._chain(partial.shape[0]) is not Chain.OFF
            values, normed = self.peers(partial, before, next_norm.weight, next_norm.epsilon, chained)
            return Hidden(values, None if normed is None else Normed(normed))
        total = group.sum(partial)
        if before is None:
            return Hidden(total)
        rms_norm(before, next_norm.weight, next_norm.epsilon, total, delta=total)
        return Hidden(before, Normed(total))

    def logits(self, x: Hidden, rows: Tensor | None, norm: Norm, weight: LinearWeight) -> Tensor:
        if rows is None:
            return self._normed_product(x, norm, weight, Epilogue.STORE, torch.float32)
        if not rows.shape[0]:
            return self._empty((0, weight.weight.shape[0]), torch.float32)
        if isinstance(x.note, Normed):
            picked = x.note.values.index_select(0, rows)
        else:
            picked = x.values.new_empty((rows.shape[0], x.values.shape[1]))
            rms_norm(x.values, norm.weight, norm.epsilon, picked, source_rows=rows.int())
        product = Product(weight.weight.shape[0], weight.weight.shape[1], Epilogue.STORE)
        return self._product_of_normed(picked, weight, product, torch.float32)

    def _normed_product(
        self,
        x: Hidden,
        norm: Norm,
        weight: LinearWeight,
        epilogue: Epilogue,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """epilogue(rmsnorm(x) @ weight^T + bias). `dtype`: of the result, the model's when none is given."""
        rows = x.values.shape[0]
        halves = 2 if epilogue is Epilogue.SWIGLU else 1
        product = Product(weight.weight.shape[0] // halves, weight.weight.shape[1], epilogue)
        way = self.choices.way(product, rows)
        if way is Way.ONE_ROW:
            out = self._empty((1, product.columns), dtype)
            self._one_row(x.values, weight, out, product, norm)
            return out
        if way is Way.FEW_ROWS and isinstance(x.note, PreparedNorm):
            out = self._empty((rows, product.columns), dtype)
            self._few_rows(x.note.scaled, weight, out, product, x.note.square_sums, norm.epsilon)
            return out
        if isinstance(x.note, Normed):
            return self._product_of_normed(x.note.values, weight, product, dtype)
        normed = torch.empty_like(x.values)
        rms_norm(x.values, norm.weight, norm.epsilon, normed, chain=self._chain(rows))
        return self._product_of_normed(normed, weight, product, dtype)

    def _product_of_normed(
        self, normed: Tensor, weight: LinearWeight, product: Product, dtype: torch.dtype | None = None
    ) -> Tensor:
        """The product of rows that are normalised already."""
        rows = normed.shape[0]
        way = self.choices.way(product, rows)
        if way is not Way.LIBRARY:
            out = self._empty((rows, product.columns), dtype)
            if way is Way.ONE_ROW:
                self._one_row(normed, weight, out, product, None)
            else:
                self._few_rows(normed, weight, out, product, None, 0.0)
            return out
        wide = self._library(normed, weight, dtype)
        if product.epilogue is not Epilogue.SWIGLU:
            return wide
        out = normed.new_empty((rows, product.columns))
        swiglu(wide, out)
        return out

    def _plain(self, h: Tensor, weight: LinearWeight) -> Tensor:
        """h @ weight^T + bias."""
        product = Product(weight.weight.shape[0], weight.weight.shape[1], Epilogue.PARTIAL)
        return self._product_of_normed(h, weight, product)

    def _library(self, x: Tensor, weight: LinearWeight, dtype: torch.dtype | None = None) -> Tensor:
        """The vendor's product. `dtype`: float32, or the model's."""
        if dtype is torch.float32:
            return float32_product(x, weight.weight)
        return self.library.product(x, weight.weight, weight.bias)

    def _one_row(
        self, x: Tensor, weight: LinearWeight, out: Tensor, product: Product, norm: Norm | None
    ) -> None:
        tile = self.choices.one_row_tile(product)
        assert isinstance(tile, OneRowTile)
        one_row_product(
            x,
            weight.weight,
            out,
            tile,
            epilogue=product.epilogue,
            bias=weight.bias,
            gamma=None if norm is None else norm.weight,
            eps=0.0 if norm is None else norm.epsilon,
            chain=self._chain(1),
        )

    def _few_rows(
        self,
        x: Tensor,
        weight: LinearWeight,
        out: Tensor,
        product: Product,
        square_sums: Tensor | None,
        eps: float,
    ) -> None:
        few_rows_product(
            x,
            weight.weight,
            out,
            self._few_rows_tile(product, x.shape[0]),
            self._scratch,
            epilogue=product.epilogue,
            bias=weight.bias,
            square_sums=square_sums,
            eps=eps,
            bulk_loads=self.target.bulk_loads,
            chain=self._chain(x.shape[0]),
        )

    def _few_rows_residual(
        self,
        h: Tensor,
        weight: LinearWeight,
        values: Tensor,
        product: Product,
        next_norm: Norm | None,
    ) -> Hidden:
        rows = h.shape[0]
        tile = self._few_rows_tile(product, rows)
        prepared = None
        if next_norm is not None:
            sums = self._sums(rows, output_programs(product.columns, tile))
            prepared = PreparedNorm(torch.empty_like(values), sums)
        few_rows_product(
            h,
            weight.weight,
            values,
            tile,
            self._scratch,
            epilogue=Epilogue.RESIDUAL,
            bias=weight.bias,
            next_gamma=None if next_norm is None else next_norm.weight,
            prepared=prepared,
            bulk_loads=self.target.bulk_loads,
            chain=self._chain(rows),
        )
        return Hidden(values, prepared)

    def _few_rows_tile(self, product: Product, rows: int) -> FewRowsTile:
        return self.choices.few_rows_tile(product, rows)

    def _sums(self, rows: int, parts: int) -> Tensor:
        return torch.empty((rows, parts), dtype=torch.float32, device=self.facts.device)

    def _empty(self, shape: tuple[int, int], dtype: torch.dtype | None) -> Tensor:
        return torch.empty(shape, dtype=dtype or self.facts.dtype, device=self.facts.device)

    @property
    def _chains_sums(self) -> bool:
        """Whether there are chained sums at all."""
        return self.target.chained_launch and self.facts.hidden_size <= MOST_CHAINED_WIDTH

    def _chain(self, rows: int) -> Chain:
        return chain_for(rows, self.choices.most_few_rows, self.target, self.facts.hidden_size)

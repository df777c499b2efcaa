"""Linear layers with 4-bit weights for the CPU: a packed kernel for few rows, unpacked blocks for many."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

GROUP = 32
"""Neighbouring weights of a row that share a scale and a zero."""
KERNEL_ROWS = 64
"""Up to so many rows aten's kernel is faster than unpacking (measured: docs/benchmarks.md)."""
UNIT = 64
"""Output features whose numbers are stored together; `fits` asks for whole units."""
_BLOCK = 4 * 2**20
"""Weights that are unpacked at a time: they stay in the processor's cache, and threads need not meet too often."""
_REFINEMENTS = 2
_LEVELS, _MIDDLE = 15, 8  # aten: weight = (number - 8) * scale + zero, number from 0 to 15
_SMALLEST = 1e-30


def fits(linear: nn.Linear) -> bool:
    """Whether its shape can be quantised; others stay as they are."""
    return linear.out_features % UNIT == 0 and linear.in_features % GROUP == 0


def quantize(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """4-bit numbers and what they mean.

    Args:
        weight: of shape (out, in), floating point.

    Returns:
        uint8 of shape (out, in / 2), the numbers, in units (`join`);
        bf16 of shape (in / GROUP, out, 2), scales and zeros, as aten's kernel reads them.

    Raises:
        ValueError: a weight is not finite.
    """
    starts = range(0, len(weight), UNIT)  # what one unit needs on the way fits into the processor's cache
    chunks = [_quantize_rows(weight[start : start + UNIT]) for start in starts]
    return torch.cat([units for units, _ in chunks]), torch.cat([scales for _, scales in chunks], dim=1)


def _quantize_rows(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    groups = rows.float().view(len(rows), -1, GROUP)
    low, high = groups.aminmax(dim=-1, keepdim=True)
    if not (torch.isfinite(low).all() and torch.isfinite(high).all()):
        raise ValueError("a weight is not finite")
    step = (high - low).clamp_min(_SMALLEST) / _LEVELS
    for _ in range(_REFINEMENTS):
        step, low = _least_squares(groups, _nearest(groups, step, low), step)
    scale, zero = step.bfloat16(), (low + _MIDDLE * step).bfloat16()
    numbers = _nearest(groups, scale.float(), zero.float() - _MIDDLE * scale.float())
    return join(numbers.to(torch.uint8).flatten(1)), torch.cat((scale, zero), dim=-1).transpose(0, 1)


def _nearest(groups: torch.Tensor, step: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
    return groups.sub(low).div_(step).round_().clamp_(0, _LEVELS)


def _least_squares(
    groups: torch.Tensor, numbers: torch.Tensor, step: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The step and the lowest weight that fit the numbers best: less error than with the range of the group."""
    mean, middle = groups.mean(-1, keepdim=True), numbers.mean(-1, keepdim=True)
    spread = numbers - middle
    squares = spread.square().sum(-1, keepdim=True)
    best = spread.mul_(groups).sum(-1, keepdim=True) / squares.clamp_min(_SMALLEST)
    best = torch.where(best > 0, best, step)
    return best, mean - best * middle


def join(numbers: torch.Tensor) -> torch.Tensor:
    """Two numbers a byte, in units of 64 rows: the order in files, and that of aten's kernel with AVX-512.

    A unit has a byte for each column and each of its first 32 rows. The low four bits are that row's number, the
    high ones that of the row 32 further down.

    Args:
        numbers: uint8 of shape (out, in), from 0 to 15.

    Returns:
        of shape (out, in / 2).
    """
    first, second = numbers.view(-1, 2, UNIT // 2, numbers.shape[1]).unbind(1)
    return (first | second << 4).transpose(1, 2).reshape(len(numbers), -1)


def split(units: torch.Tensor, height: int = UNIT) -> torch.Tensor:
    """The numbers that were joined to units of so many rows; int32 of shape (out, in)."""
    rows, columns = units.shape[0], units.shape[1] * 2
    joined = units.view(-1, columns, height // 2)
    numbers = torch.cat((joined & _LEVELS, joined >> 4), dim=-1)
    return numbers.transpose(1, 2).reshape(rows, columns).to(torch.int32)


def pack(numbers: torch.Tensor) -> torch.Tensor:
    """Numbers of shape (out, in), int32, as aten's kernel on this processor wants them."""
    packed: torch.Tensor = torch.ops.aten._convert_weight_to_int4pack_for_cpu(numbers, 1)
    return packed


def unit_height() -> int | None:
    """How many rows aten joins to a unit on this processor: 64 or 32; None when it packs in another way.

    No document of aten's tells, so a known weight is packed and looked at.
    """
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randint(16, (2 * UNIT, GROUP), generator=generator, dtype=torch.int32)
    heights = (UNIT, UNIT // 2)
    return next((height for height in heights if torch.equal(split(pack(numbers), height), numbers)), None)


class Scratch:
    """Memory that all layers of a model unpack their blocks into, one after the other.

    Args:
        widest: most input features of a layer.
        height: see `unit_height`.
        dtype: of the unpacked weights.
    """

    def __init__(self, widest: int, height: int, dtype: torch.dtype) -> None:
        self.height = height
        size = max(_BLOCK, widest * height)
        self._numbers = torch.empty(size, dtype=torch.uint8)
        self._weights = torch.empty(size, dtype=dtype)

    @property
    def dtype(self) -> torch.dtype:
        """Of the unpacked weights."""
        return self._weights.dtype

    def unpack(self, units: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor) -> torch.Tensor:
        """The weights of a block, transposed; valid until the next call.

        Args:
            units: uint8 of shape (units, in, height / 2).
            scales: of shape (in / GROUP, units * height); zeros too.

        Returns:
            shape (in, units * height).
        """
        count, columns, _ = units.shape
        size = count * columns * self.height
        numbers, weights = self._numbers[:size], self._weights[:size]
        words = numbers.view(torch.int64).view(columns, count, 2, -1)  # eight bytes at a time
        packed = units.view(torch.int64).transpose(0, 1)
        words[:, :, 0].copy_(packed)
        torch.bitwise_right_shift(packed, 4, out=words[:, :, 1])
        weights.copy_(numbers.bitwise_and_(_LEVELS).view(torch.int8).sub_(_MIDDLE))
        grouped = weights.view(-1, GROUP, count * self.height)
        torch.addcmul(zeros.unsqueeze(1), grouped, scales.unsqueeze(1), out=grouped)
        return weights.view(columns, -1)


def _blocks(units: torch.Tensor, height: int) -> Iterator[tuple[torch.Tensor, slice]]:
    """Units that are unpacked together, and which output features they are."""
    count = max(1, _BLOCK // (units.shape[1] * height))
    for first in range(0, len(units), count):
        block = units[first : first + count]
        yield block, slice(first * height, (first + len(block)) * height)


@dataclass(frozen=True)
class Shape:
    """Of a linear layer."""

    inputs: int
    outputs: int
    bias: bool


class Int4Linear(nn.Module):
    """A linear layer that holds four bits for each weight, and a scale and a zero for each group of them.

    It is made on the meta device; `weight` gets the units of `quantize`, then `prepare` makes it ready.
    """

    def __init__(self, shape: Shape, dtype: torch.dtype) -> None:
        super().__init__()
        self.shape = shape
        units = torch.empty(shape.outputs, shape.inputs // 2, dtype=torch.uint8, device="meta")
        scales = torch.empty(shape.inputs // GROUP, shape.outputs, 2, dtype=torch.bfloat16, device="meta")
        bias = torch.empty(shape.outputs, dtype=dtype, device="meta") if shape.bias else None
        self.weight = nn.Parameter(units, requires_grad=False)
        self.scales_and_zeros = nn.Parameter(scales, requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False) if bias is not None else None
        self._scratch: Scratch | None = None

    def prepare(self, scratch: Scratch | None) -> None:
        """Pack the weight for this processor.

        Args:
            scratch: None where aten packs in a way that is not known: its kernel then does everything.
        """
        self._scratch = scratch
        if scratch is None or scratch.height != UNIT:
            self.weight = nn.Parameter(pack(split(self.weight)), requires_grad=False)

    @torch.no_grad()
    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """The product for hidden states of shape (..., in); of shape (..., out), in their dtype."""
        rows = hidden.reshape(-1, self.shape.inputs)
        product: torch.Tensor
        if self._scratch is None or len(rows) <= KERNEL_ROWS:
            product = torch.ops.aten._weight_int4pack_mm_for_cpu(
                rows.bfloat16().contiguous(), self.weight, GROUP, self.scales_and_zeros
            )
        else:
            product = self._unpacked_product(rows, self._scratch)
        if self.bias is not None:
            product = product.to(self.bias.dtype).add_(self.bias)
        return product.to(hidden.dtype).view(*hidden.shape[:-1], self.shape.outputs)

    def _unpacked_product(self, rows: torch.Tensor, scratch: Scratch) -> torch.Tensor:
        rows = rows.to(scratch.dtype)
        units = self.weight.view(-1, self.shape.inputs, scratch.height // 2)
        scales, zeros = self.scales_and_zeros.permute(2, 0, 1).to(scratch.dtype).contiguous()
        product = rows.new_empty(len(rows), self.shape.outputs)
        for block, here in _blocks(units, scratch.height):
            torch.mm(rows, scratch.unpack(block, scales[:, here], zeros[:, here]), out=product[:, here])
        return product

"""The encoder and the quantizer by kernels of our own, on a CPU in Triton's interpreter, against
torch's operations and transformers' modules."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sounds import sound
from transformers import EncodecConfig, EncodecModel
from transformers.models.encodec.modeling_encodec import EncodecConv1d

from tokenizer.codecs.encodec import codec
from tokenizer.codecs.encodec.arithmetic import arithmetic
from tokenizer.codecs.encodec.certainty import CERTAIN, noise
from tokenizer.codecs.encodec.checkpoint import load_model
from tokenizer.codecs.encodec.codec import open_batched
from tokenizer.codecs.encodec.gpu.batched import BatchedNetwork
from tokenizer.codecs.encodec.gpu.direct.usable import usable
from tokenizer.codecs.encodec.gpu.masked import MaskedEncoder
from tokenizer.codecs.encodec.networks import UnknownLayer
from tokenizer.codecs.encodec.quantizer import half_squares, quantize
from tokenizer.codecs.encodec.reference import ReferenceModules
from tokenizer.codecs.encodec.seeded import write_seeded

triton = pytest.importorskip("triton", reason="Triton is not installed")

from tokenizer.codecs.encodec.gpu.direct.convolution import Convolution, Product, in_two_parts  # noqa: E402
from tokenizer.codecs.encodec.gpu.direct.encoder import DirectEncoder  # noqa: E402
from tokenizer.codecs.encodec.gpu.direct.parts import Parts, joined  # noqa: E402
from tokenizer.codecs.encodec.gpu.direct.quantizer import DirectQuantizer  # noqa: E402
from tokenizer.codecs.encodec.gpu.direct.recurrence import Recurrence  # noqa: E402
from tokenizer.codecs.encodec.gpu.direct.tiles import Tile  # noqa: E402

pytestmark = pytest.mark.skipif(
    not triton.knobs.runtime.interpret,
    reason="kernels are compiled where there is a card; TRITON_INTERPRET=1 has them interpreted",
)

CPU = torch.device("cpu")
WIDTH = 72
"""samples of a full row: more than a tile, and a few frames"""
SMALL = {
    "num_filters": 32,
    "upsampling_ratios": [4, 2],
    "hidden_size": 32,
    "sampling_rate": 2_400,
    "chunk_length_s": WIDTH / 2_400,
    "target_bandwidths": [12.0],
}
KINDS: dict[str, dict[str, Any]] = {
    "48khz": {},
    "32khz": {"codebook_size": 1024},
    "24khz": {"num_residual_layers": 2},
}
"""normalised, with shortcuts that convolve; not normalised, with others; causal, of two residual
layers, the second dilated"""
LENGTHS = [WIDTH, 1, 2, 3, 7, 8, 9, WIDTH // 2 + 1, WIDTH - 1]


@pytest.fixture(autouse=True)
def exact() -> Any:
    with torch.inference_mode(), arithmetic("exact"):
        yield


@dataclass(frozen=True)
class Encoded:
    """What both encoders make of the same rows."""

    model: Any
    samples: torch.Tensor
    direct: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    masked: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    """embeddings, frames and conditions"""


def rows(channels: int) -> torch.Tensor:
    """Of LENGTHS, with silence behind."""
    samples = torch.zeros(len(LENGTHS), channels, WIDTH)
    for row, length in enumerate(LENGTHS):
        samples[row, :, :length] = torch.from_numpy(sound(length, channels, seed=row).samples)
    return samples * 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    @cache
    def written(kind: str) -> Path:
        place = tmp_path_factory.mktemp("direct")
        return write_seeded(place, model=kind, size="reduced", changes={**SMALL, **KINDS[kind]})

    return written


@pytest.fixture(scope="module", params=KINDS)
def encoded(request: pytest.FixtureRequest, folder: Callable[[str], Path]) -> Encoded:
    model = load_model(folder(request.param), CPU)
    samples, lengths = rows(model.config.audio_channels), torch.tensor(LENGTHS)
    with torch.inference_mode(), arithmetic("exact"):
        direct, masked = (
            encoder.conditioned(samples, lengths)
            for encoder in (DirectEncoder(model.encoder, exact=True), MaskedEncoder(model.encoder))
        )
    return Encoded(model, samples, direct, masked)


def close(found: torch.Tensor, expected: torch.Tensor, share: float = 4e-6) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= share * expected.abs().max()


def test_rows_of_any_length_are_as_torchs_operations_have_them(encoded: Encoded) -> None:
    found, frames, condition = encoded.direct
    expected, known, other = encoded.masked
    close(found, expected)
    assert torch.equal(frames, known)
    assert torch.allclose(condition, other, rtol=1e-5, atol=0)


def test_each_row_is_as_transformers_has_it_alone(encoded: Encoded) -> None:
    found, frames, _ = encoded.direct
    for row, length in enumerate(LENGTHS):
        alone = encoded.model.encoder(encoded.samples[row : row + 1, :, :length])[0]
        close(found[row, :, : frames[row]], alone, 1e-5)
        assert not found[row, :, frames[row] :].any(), "zeros lie beyond the end"


@pytest.mark.parametrize("encoded", ["48khz"], indirect=True)
def test_full_rows_need_no_lengths(encoded: Encoded) -> None:
    samples = encoded.samples[:1]
    found, frames, condition = DirectEncoder(encoded.model.encoder, True).conditioned(samples, None)
    assert frames is None
    close(found, encoded.model.encoder(samples))
    close(condition, encoded.direct[2][:1], 1e-6)


def test_what_lies_beyond_a_rows_end_is_not_read(
    encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing was written there is NaN, and so behind the rows of what comes in."""
    some = [3, 8]
    samples, lengths = encoded.samples[some].clone(), torch.tensor(LENGTHS)[some]
    for row, length in enumerate(lengths):
        samples[row, :, length:] = torch.nan
    made: list[int] = []

    def spoiled(of: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def make(*args: Any, **how: Any) -> torch.Tensor:
            found = of(*args, **how)
            if found.is_floating_point() and found.numel():  # the interpreter makes others
                made.append(1)
                found.fill_(torch.nan)
            return found

        return make

    monkeypatch.setattr(torch.Tensor, "new_empty", spoiled(torch.Tensor.new_empty))
    monkeypatch.setattr(torch, "empty_like", spoiled(torch.empty_like))
    found, _, condition = DirectEncoder(encoded.model.encoder, True).conditioned(samples, lengths)
    assert len(made) > 10
    assert torch.equal(found, encoded.direct[0][some])
    assert torch.equal(condition, encoded.direct[2][some])


def test_codes_beyond_doubt_are_transformers_own(encoded: Encoded) -> None:
    embeddings, frames, _ = encoded.direct
    flat = torch.cat([row[:, :count].T for row, count in zip(embeddings, frames, strict=True)])
    books = [layer.codebook.embed for layer in encoded.model.quantizer.layers[:4]]
    moved = noise(flat, flat.square().mean().sqrt())
    quantizer = DirectQuantizer(books, [half_squares(book) for book in books], exact=True)
    codes, certainty = quantizer(flat, moved)
    upstream = ReferenceModules(encoded.model).quantize(flat.T[None], 4)[:, 0]
    sure = certainty > CERTAIN
    assert sure.float().mean() > 0.5
    assert len(codes.unique()) > 20
    assert torch.equal(codes[:, sure].long(), upstream[:, sure])


@pytest.mark.parametrize(
    "count, entries, dim", [(1, 16, 16), (70, 32, 32), (130, 256, 64)], ids=str
)
def test_every_frame_is_quantized_as_by_torchs_operations(
    count: int, entries: int, dim: int
) -> None:
    """Fewer entries than a block and several blocks, and frames that fill no block."""
    torch.manual_seed(count)
    books = [torch.randn(entries, dim) / 2**level for level in range(3)]
    halves = [half_squares(book) for book in books]
    frames = torch.randn(count, dim)
    before, moved = frames.clone(), noise(frames, 1.0)
    expected, sure = quantize(frames, books, halves, moved)
    codes, certainty = DirectQuantizer(books, halves, exact=True)(frames, moved)
    assert codes.dtype == torch.int16 and torch.equal(codes.long(), expected)
    assert torch.allclose(certainty, sure, rtol=1e-3, atol=1.0)
    assert torch.equal(frames, before), "what comes in stays as it is"
    quick, _ = DirectQuantizer(books, halves, exact=False)(frames, None)
    assert torch.equal(quick, codes)


@pytest.mark.parametrize("twin", [3, 100])
def test_between_two_entries_that_are_one_nothing_is_certain(twin: int) -> None:
    """In one block of entries, and in two."""
    torch.manual_seed(twin)
    book = torch.randn(128, 16)
    book[twin] = book[1]
    frames = book[[1, 5]] + 0.01 * torch.randn(2, 16)
    moved, half = noise(frames, 1.0), half_squares(book)
    codes, certainty = DirectQuantizer([book], [half], exact=True)(frames, moved)
    assert codes[0, 0] in (1, twin) and codes[0, 1] == 5
    assert certainty[0] == 0 and certainty[1] > CERTAIN


@pytest.mark.parametrize("count, steps", [(1, 1), (3, 2), (70, 5)])
def test_the_recurrence_is_torchs(count: int, steps: int) -> None:
    """With the shortcut around it. 70 rows are more than a tile has."""
    torch.manual_seed(steps)
    lstm = torch.nn.LSTM(32, 32, 2)
    for parameter in lstm.parameters():
        parameter.mul_(3)
    x = torch.randn(count, steps, 32)
    parts = Parts((x,), (), (), torch.full((count,), steps))
    found = Recurrence(lstm, exact=True)(parts).terms[0]
    close(found, lstm(x.transpose(0, 1))[0].transpose(0, 1) + x, 1e-6)


def layer(channels: int, out: int, taps: int, norm: str, **how: Any) -> Any:
    config = EncodecConfig(norm_type=norm, use_causal_conv=norm == "weight_norm")
    return EncodecConv1d(config, channels, out, taps, **how)


def test_a_small_spread_about_a_large_mean_is_found() -> None:
    """The mean of the squares is 1e6 in float32, whose steps are 0.06 there: less the squared mean,
    nothing would be left of a variance of 1e-6."""
    torch.manual_seed(0)
    module = layer(32, 32, 1, "time_group_norm")
    module.conv.weight.copy_(torch.eye(32)[:, :, None])
    module.conv.bias.zero_()
    module.norm.eps = 1e-9
    # And each tile has another mean.
    x = 1000 + 1e-3 * (torch.randn(2, 150, 32) + 2 * (torch.arange(150) // 64)[:, None])
    lengths = torch.tensor([150, 100])
    found = Convolution(module, elu=False, exact=True)(Parts((x,), (), (), lengths))
    for row, length in enumerate(lengths):
        # Of the very float32 numbers that were measured.
        out = found.terms[0][row, :length].double()
        assert torch.equal(out, x[row, :length].double())
        expected = 1 / (out.var(correction=0) + module.norm.eps).sqrt()
        assert found.scales[0][row].double().div(expected).sub(1).abs().max() < 5e-3
        grown = (out.square().mean() / (out.var(correction=0) + module.norm.eps)).sqrt()
        assert found.condition is not None
        assert found.condition[row] == pytest.approx(float(grown), rel=5e-3)


@pytest.mark.parametrize("frames", [16, 64, 128])
@pytest.mark.parametrize("norm", ["time_group_norm", "weight_norm"])
def test_tiles_of_any_size_give_the_same(
    frames: int, norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A product of several blocks to a tap, or of several taps to a block, or both."""
    monkeypatch.setattr(Product, "tile", Tile(frames, 16, 16, 4, 1))
    torch.manual_seed(frames)
    lengths = torch.tensor([50, 3, 49])
    for channels, taps, how in (
        (2, 7, {}),
        (32, 3, {"dilation": 2}),
        (16, 4, {"stride": 2}),
    ):
        module = layer(channels, 32, taps, norm, **how)
        x = torch.randn(3, 50, channels)
        found = Convolution(module, elu=True, exact=True)(Parts((x,), (), (), lengths))
        whole = found.whole()
        for row, length in enumerate(lengths):
            alone = torch.nn.functional.elu(x[row : row + 1, :length].transpose(1, 2))
            close(whole[row, : found.lengths[row]], module(alone)[0].T, 1e-5)


def test_fast_products_have_the_precision_of_tensor_cores() -> None:
    """And exact ones that of float32, of numbers whose last bits tensor cores do not take. The
    interpreter multiplies with all bits, but for the weights, of which "fast" has one part."""
    torch.manual_seed(0)
    module = layer(32, 32, 3, "weight_norm")
    x = torch.randn(1, 40, 32)
    parts = Parts((x,), (), (), torch.tensor([40]))
    alone = module(x.transpose(1, 2))[0].T
    exact, fast = (Convolution(module, False, how)(parts).whole()[0] for how in (True, False))
    close(exact, alone, 1e-6)
    close(fast, alone, 1e-3)
    assert (fast - alone).abs().max() > 1e-5 * alone.abs().max()


def test_two_terms_are_joined_by_their_scales() -> None:
    torch.manual_seed(0)
    terms = torch.randn(2, 2, 70, 128).unbind()
    scales, shifts = torch.randn(2, 2, 128).unbind(), torch.randn(2, 2, 128).unbind()
    lengths = torch.tensor([70, 31])
    one, two = (
        term * scale[:, None] + shift[:, None]
        for term, scale, shift in zip(terms, scales, shifts, strict=True)
    )
    parts = Parts(terms, scales, shifts, lengths)
    for elu in (False, True):
        found = joined(parts, elu).terms[0]
        expected = torch.nn.functional.elu(one + two) if elu else one + two
        for row, length in enumerate(lengths):
            close(found[row, :length], expected[row, :length], 1e-6)
    close(joined(Parts(terms, (), (), torch.tensor([70, 70])), False).terms[0], sum(terms), 1e-6)


def test_a_weight_is_the_sum_of_its_two_parts() -> None:
    torch.manual_seed(0)
    weight = torch.randn(1000, 32) * 10.0 ** torch.randint(-6, 3, (1000, 1))
    high, low = in_two_parts(weight)
    assert torch.equal(high + low, weight)
    mantissa, _ = torch.frexp(high.double())
    assert torch.equal(mantissa * 2**11, (mantissa * 2**11).round()), "10 bits, and the leading one"
    assert (low.abs() <= high.abs() * 2**-10).all() and low.any()


@pytest.mark.parametrize("channels, out", [(32, 8), (32, 48), (3, 32)])
def test_sizes_that_fill_no_tile_are_refused(channels: int, out: int) -> None:
    with pytest.raises(UnknownLayer, match=f"{channels} channels to {out}"):
        Convolution(layer(channels, out, 3, "weight_norm"), elu=False, exact=True)


def test_what_the_kernels_cannot_run_is_refused(reduced: Path) -> None:
    for entries, dim in ((100, 16), (8, 16), (64, 8), (64, 24), (1 << 16, 16)):
        with pytest.raises(UnknownLayer, match="codebooks"):
            DirectQuantizer([torch.zeros(entries, dim)], [torch.zeros(entries)], exact=True)
    for lstm in (
        torch.nn.LSTM(32, 32, 1),
        torch.nn.LSTM(32, 32, 2, bidirectional=True),
        torch.nn.LSTM(16, 32, 2),
        torch.nn.LSTM(24, 24, 2),
    ):
        with pytest.raises(UnknownLayer, match="LSTM"):
            Recurrence(lstm, exact=True)
    model = load_model(reduced, CPU)
    reference = ReferenceModules(model, static=True)
    with pytest.raises(UnknownLayer):
        BatchedNetwork(model, reference, n_q=4, direct=True)


def test_a_network_of_kernels_has_the_codes_of_transformers_alone(
    folder: Callable[[str], Path],
) -> None:
    place = folder("48khz")
    model, oracle = load_model(place, CPU), EncodecModel.from_pretrained(place).eval()
    network = BatchedNetwork(model, ReferenceModules(model, static=True), n_q=4, direct=True)
    network._encoder().rows = (1, 2)
    chunks = [sound(n, seed=n).samples for n in (WIDTH, WIDTH, 21)]
    for chunk, found in zip(chunks, network.encode(chunks), strict=True):
        codes, scale = oracle._encode_frame(torch.from_numpy(chunk)[None], 12.0)
        assert np.array_equal(found.codes, codes[0, :4].numpy())
        assert found.scale == pytest.approx(float(scale), rel=3e-7)
    assert network.repeated < len(chunks), "some are not settled by transformers' operations"


def opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> BatchedNetwork:
    """What is opened where the device could run these kernels."""
    monkeypatch.setattr(codec, "usable", lambda device: True)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    model = load_model(folder, CPU)
    return open_batched(model, ReferenceModules(model, static=True), 1)


def test_kernels_are_taken_where_they_run(
    folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, reduced: Path
) -> None:
    found = opened(folder("48khz"), monkeypatch)
    assert isinstance(found._encoding._encoder, DirectEncoder)
    found = opened(reduced, monkeypatch)  # too small for them
    assert isinstance(found._encoding._encoder, MaskedEncoder)


@pytest.mark.parametrize("wrong", ["it raises", "other codes"])
def test_kernels_that_do_not_do_what_they_should_are_not_taken(
    folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    real = DirectEncoder.conditioned

    def faulty(self: DirectEncoder, *arguments: Any) -> Any:
        if wrong == "it raises":
            raise RuntimeError("out of resource: shared memory")
        embeddings, *others = real(self, *arguments)
        return embeddings.flip(2), *others

    monkeypatch.setattr(DirectEncoder, "conditioned", faulty)
    found = opened(folder("48khz"), monkeypatch)
    assert isinstance(found._encoding._encoder, MaskedEncoder)


def test_no_card_no_kernels() -> None:
    assert not usable(CPU)

"""X-Codec, X-Codec2, Higgs and NeuCodec as a GPU runs them, on a CPU: windows of several recordings
in batches of fixed shapes have transformers' codes of each alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cards import FakeGraph, NothingIsReadBack, graph_runner, pretend
from numpy.typing import NDArray
from semantic_oracle import model_of, oracle_codes
from sounds import sound

from tokenizer import RecordingError, load_codec
from tokenizer.codecs.encodec.gpu import graphs, whole
from tokenizer.codecs.encodec.gpu.batches import by_width
from tokenizer.codecs.encodec.gpu.graphs import Shape
from tokenizer.codecs.encodec.gpu.whole import WholeBatches
from tokenizer.codecs.encodec.networks import UnknownLayer
from tokenizer.codecs.pieces import Piece
from tokenizer.codecs.semantic.gpu import classes, xcodec, xcodec2
from tokenizer.codecs.semantic.gpu.hubert import RowsHubert
from tokenizer.codecs.semantic.gpu.noise import Noise
from tokenizer.codecs.semantic.seeded import REDUCED, write_seeded_semantic
from tokenizer.codecs.semantic.windows import WindowedCodec

Samples = NDArray[np.float32]
Codes = NDArray[np.int64]
WAVLM = "xcodec-wavlm"
KINDS = (*sorted(REDUCED), WAVLM)
LENGTH, CONTEXT = 24, 3
"""frames of a window"""
SHORT = 10
"""frames up to which windows count as short ones"""
ROWS = (1, 2, 3)


def changes_of(kind: str) -> dict[str, Any]:
    if kind != WAVLM:
        return {}
    hubert = REDUCED["xcodec"]["semantic_model_config"]
    return {"semantic_model_config": {**hubert, "model_type": "wavlm"}}


class Pair:
    """transformers' model, and our codec with what a GPU would run, of short windows."""

    def __init__(self, kind: str, folder: str, device: str = "cpu") -> None:
        self.kind, self.folder = kind.removesuffix("-wavlm"), folder
        codec = load_codec(folder, device=device)
        assert isinstance(codec, WindowedCodec)
        hop = codec.spec.frame_length
        codec.spec = replace(codec.spec, window_length=LENGTH * hop, window_context=CONTEXT * hop)
        self.codec: Any = codec
        self.hop, self.rate = hop, codec.sample_rate
        self.model = model_of(folder, self.kind).to(device)
        codec._batches = self.opened(self.model, ROWS)

    def opened(self, model: Any, rows: tuple[int, ...]) -> list[WholeBatches]:
        with pytest.MonkeyPatch.context() as changed:
            changed.setattr(classes, "SHORT_SECONDS", SHORT * self.hop / self.rate)
            found: list[WholeBatches] = self.codec._open_batches(model, rows)
        return found

    def sound(self, samples: int, seed: int | None = None) -> Samples:
        seed = samples if seed is None else seed
        made: Samples = sound(samples, 1, self.rate, seed).samples
        return made

    def recordings(self) -> list[Samples]:
        """Of every kind of length, some of one, and silence, DC and an impulse."""
        hop, longest = self.hop, LENGTH * self.hop
        lengths = [1, hop - 1, hop, hop + 1, 5 * hop, 5 * hop, SHORT * hop, SHORT * hop + 1]
        lengths += [17 * hop + 5, longest - 1, longest, longest + 7, 3 * longest + 100]
        flat = np.zeros((1, 3 * hop + 5), np.float32)
        impulse = flat.copy()
        impulse[:, hop] = 0.7
        return [*(self.sound(n, n + i) for i, n in enumerate(lengths)), flat, flat + 0.5, impulse]

    def windows(self, samples: Samples) -> Iterator[tuple[Samples, slice]]:
        """Cut out by hand, and what of its codes is kept."""
        start, longest = 0, LENGTH * self.hop
        while True:
            last = start + longest >= samples.shape[1]
            kept = slice(CONTEXT if start else 0, None if last else -CONTEXT)
            yield samples[:, start : start + longest], kept
            if last:
                return
            start += longest - 2 * CONTEXT * self.hop

    def truth(self, samples: Samples) -> Codes:
        """transformers' codes of a recording's windows, each alone."""
        found = [
            oracle_codes(self.model, self.kind, one)[:, : -(-one.shape[1] // self.hop)][:, kept]
            for one, kept in self.windows(samples)
        ]
        return np.concatenate(found, axis=1)

    def encode(self, recordings: list[Samples]) -> list[Codes]:
        return [one.codes for one in self.codec.encode_pieces([Piece(one) for one in recordings])]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    where: Path = tmp_path_factory.mktemp("windows")

    @cache
    def folder(kind: str) -> str:
        model_type, changes = kind.removesuffix("-wavlm"), changes_of(kind)
        made = write_seeded_semantic(where / kind, model_type=model_type, changes=changes)
        return str(made)

    return folder


@pytest.fixture(scope="module", params=KINDS)
def pair(request: pytest.FixtureRequest, written: Callable[[str], str]) -> Pair:
    return Pair(request.param, written(request.param))


def filled(work: Any, shape: Shape, items: list[Samples]) -> list[torch.Tensor]:
    """A batch as the work takes it in, but in float64."""
    inputs = [torch.empty(dims, dtype=dtype) for dims, dtype in work.layout(shape)]
    work.fill(inputs, items)
    return [one.double() if one.is_floating_point() else one for one in inputs]


# The filters that Higgs resamples by are float32.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("higgs")])
def test_in_float64_rows_are_what_they_are_alone(kind: str, written: Callable[[str], str]) -> None:
    """What masks left to be seen of other rows, or of what is behind an end, would be no smaller
    than in float32, where it hides in what rounding does."""
    pair = Pair(kind, written(kind))
    model, hop = pair.model.double(), pair.hop
    short = pair.opened(model, (4,))[0]
    recordings = [pair.sound(n) for n in (1, 3 * hop + 1, 5 * hop, 8 * hop - 1)]
    joined = getattr(model, "fc", None) or model.fc_encoder
    with torch.inference_mode():
        found = short._together.latents(*filled(short._together, Shape(4, 10 * hop), recordings))
        rows = found[0] if isinstance(found, tuple) else found
        for row, samples in zip(rows, recordings, strict=True):
            kept: list[torch.Tensor] = []
            handle = joined.register_forward_hook(lambda _, __, out, to=kept: to.append(out[0]))
            shape = Shape(1, samples.shape[1])
            short._alone(*filled(short._alone, shape, [samples]))
            handle.remove()
            count = -(-samples.shape[1] // hop)
            torch.testing.assert_close(row[:count], kept[0][:count], rtol=1e-11, atol=1e-12)


def same(one: Codes, other: Codes) -> bool:
    return bool(np.array_equal(one, other))


def test_codes_are_those_of_each_window_alone(pair: Pair) -> None:
    recordings = pair.recordings()
    expected = [pair.truth(one) for one in recordings]
    assert all(map(same, pair.encode(recordings), expected))
    # Of both lengths something is decided without the reference.
    short, long = pair.codec._batches
    assert short.repeated < short.seen and long.repeated < long.seen
    windows = sum(len(list(pair.windows(one))) for one in recordings)
    assert short.seen + long.seen == windows
    some = [12, 3, 8, 13, 0]  # other company changes nothing
    again = pair.encode([recordings[i] for i in some])
    assert all(same(one, expected[i]) for one, i in zip(again, some, strict=True))


def test_what_is_in_doubt_is_encoded_alone(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (xcodec, xcodec2):
        monkeypatch.setattr(module, "NOISE", Noise(torch.inf, 0.0))
    monkeypatch.setattr(whole, "SEEN", 4)
    recordings = pair.recordings()[:6]
    expected = [pair.truth(one) for one in recordings]
    (short, _) = pair.opened(pair.model, ROWS)
    for _ in range(2):
        assert all(map(same, short.encode(recordings), expected))
    assert short.seen == short.repeated == len(recordings)


def test_what_is_not_finite_is_an_error_and_costs_no_slot(pair: Pair) -> None:
    good = pair.sound(3000)
    bad = good.copy()
    bad[0, 100] = np.nan
    for _ in range(4):
        with pytest.raises(RecordingError, match="not finite"):
            pair.encode([good, bad])
        with pytest.raises(RecordingError, match="not finite"):
            pair.codec._batches[0]._encode_alone([0], [bad], {})
    assert same(pair.encode([good])[0], pair.truth(good))


def test_replayed_graphs_give_the_same_codes(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    monkeypatch.setattr(graphs, "open_runner", graph_runner)
    short, _ = pair.opened(pair.model, (2,))
    for seed in range(2):
        recordings = [pair.sound(n * pair.hop + 1, n + seed) for n in (7, 2, 6)]
        for one, found in zip(recordings, short.encode(recordings), strict=True):
            assert same(found, pair.truth(one))
    assert FakeGraph.replayed > FakeGraph.made > 0


def test_batches_look_at_no_value_and_do_not_leave_the_device(pair: Pair) -> None:
    """As `test_whole_batches` has it. Alone, transformers' modules may: they are not captured."""
    short, _ = pair.opened(model_of(pair.folder, pair.kind).to("meta"), ROWS)
    work, shape = short._together, Shape(2, 5 * pair.hop, masked=True)
    inputs = [torch.ones(dims, dtype=dtype, device="meta") for dims, dtype in work.layout(shape)]
    with torch.inference_mode(), NothingIsReadBack():
        results = work(*inputs)
    assert all(result.device.type == "meta" for result in results)
    assert results[0].shape[:2] == (pair.codec.spec.n_q, 2)
    assert work.captured and not short._alone.captured


def test_a_device_that_is_no_cpu_gets_batches_unless_told_otherwise(pair: Pair) -> None:
    kind, spec = type(pair.codec), pair.codec.spec
    assert kind(pair.folder, spec, "meta")._batches and not pair.codec.batch_chunks > 1
    assert not kind(pair.folder, spec, "meta", True)._batches
    assert not kind(pair.folder, replace(spec, precision="fast"), "meta")._batches
    assert not load_codec(pair.folder, device="cpu")._batches  # type: ignore[attr-defined]


def test_a_frame_between_two_entries_is_in_doubt(written: Callable[[str], str]) -> None:
    """And one that is not is not; the codes are transformers'."""
    for kind in ("xcodec", "higgs_audio_v2_tokenizer"):
        model = model_of(written(kind), kind)
        levels = xcodec.EncodeRows(model, 3)._levels
        generator = torch.Generator().manual_seed(0)
        frames = torch.randn(40, model.config.hidden_size, generator=generator)
        moved = torch.full((40,), 1e-6)
        with torch.inference_mode():
            if levels[0].before is None:
                a, b = levels[0].entries[:2]
                a, b = _closest(levels[0].entries, a)
                frames[7] = (a + b) / 2
            codes, certainty = xcodec.quantized(frames, levels, moved)
            expected = model.quantizer.encode(frames.T[None])[:3, 0]
        assert torch.equal(codes, expected)
        assert (certainty[7] < 1) == (levels[0].before is None) and certainty.median() > 1


def _closest(entries: torch.Tensor, to: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    distances = (entries - to).norm(dim=1)
    return to, entries[distances.argsort()[1]]


def test_a_number_next_to_a_step_is_in_doubt(written: Callable[[str], str]) -> None:
    """Frames whose numbers lie in the middle of a step, but for one that is moved to its edge."""
    codec: Any = load_codec(written("xcodec2"))
    model = codec._model
    work = xcodec2.EncodeRows(model, codec._extractor(codec.spec.frame_length))
    project = model.quantizer.project_in
    numbers = torch.tensor([0.4, -0.4, -1.0, 0.0]).repeat(2).repeat(3, 1)
    edges = torch.linspace(-2, 1, 300_001)
    lines = torch.zeros(len(edges), 8)
    lines[:, 5] = edges
    with torch.inference_mode():
        steps = torch.nonzero(work._codes(lines).diff())[:, 0]
        numbers[1, 5] = edges[steps[0]]
        inverse = torch.linalg.pinv(project.weight)
        latents = ((numbers - project.bias) @ inverse.T)[:, None]
        work.latents = lambda *inputs: latents
        lengths = torch.ones(3, 3, dtype=torch.int64)
        codes, finite, near = work(torch.zeros(3, 1, 640), torch.zeros(3, 1, 160), lengths)
    assert near.tolist() == [False, True, False] and finite.all()
    assert codes[0, 0] == codes[0, 2]


@pytest.mark.parametrize("stable", [False, True])
@pytest.mark.parametrize("kind", ["hubert", "wavlm"])
def test_rows_of_a_semantic_model_are_its_own(kind: str, stable: bool) -> None:
    """Of checkpoints with every normalisation that there is."""
    from transformers import AutoConfig, AutoModel

    settings = {**REDUCED["xcodec"]["semantic_model_config"], "model_type": kind}
    norm = "layer" if stable else "group"
    settings |= {"do_stable_layer_norm": stable, "feat_extract_norm": norm}
    torch.manual_seed(3)
    model = AutoModel.from_config(AutoConfig.for_model(**settings)).eval()
    lengths = [700, 3_000, 1_999]
    samples = torch.zeros(3, 3_000)
    with torch.inference_mode():
        for row, length in enumerate(lengths):
            samples[row, :length] = torch.from_numpy(sound(length, 1, 16_000, row).samples[0])
        found, known, condition = RowsHubert(model)(samples, torch.tensor(lengths))
        for row, length in enumerate(lengths):
            alone = model(samples[row : row + 1, :length], output_hidden_states=True)
            expected = torch.stack(alone.hidden_states).mean(0)[0]
            assert known[row] == len(expected)
            torch.testing.assert_close(found[row, : len(expected)], expected, rtol=1e-5, atol=1e-5)
    assert condition.shape == (3,) and (condition >= 1).all()


def test_rows_that_cost_much_are_not_widened_or_left_empty() -> None:
    """Where rows cost next to nothing, one batch takes all."""
    lengths = {0: 5, 1: 7, 2: 3, 3: 50}
    (one,) = by_width(lengths, (10, 100), (1, 2, 4))
    assert one == (Shape(4, 100, masked=True), [0, 1, 2, 3])
    found = by_width(lengths, (10, 100), (1, 2, 4), classes.FLOOR)
    assert sum(shape.rows for shape, _ in found) == len(lengths)
    assert [shape.width for shape, taken in found if 3 in taken] == [100]
    assert all(shape.width == 10 for shape, taken in found if 3 not in taken)


def test_other_layers_are_left_to_transformers(tmp_path: Path) -> None:
    """Such a codec encodes one window at a time."""
    semantic = {
        **REDUCED["neucodec"]["semantic_model_config"],
        "position_embeddings_type": "rotary",
    }
    folder = write_seeded_semantic(
        tmp_path / "rotary", model_type="neucodec", changes={"semantic_model_config": semantic}
    )
    codec: Any = load_codec(str(folder))
    with pytest.raises(UnknownLayer, match="rotary"):
        codec._open_batches(codec._model)
    assert not type(codec)(folder, codec.spec, "meta")._batches


@pytest.mark.skipif(not torch.cuda.is_available(), reason="it needs a GPU")
def test_codes_on_a_gpu_are_transformers_there(written: Callable[[str], str]) -> None:
    """Of windows of several recordings, in any company."""
    for kind in KINDS:
        pair = Pair(kind, written(kind), "cuda")
        recordings = pair.recordings() * 3
        found = pair.encode(recordings)
        assert all(same(one, pair.truth(two)) for one, two in zip(found, recordings, strict=True))

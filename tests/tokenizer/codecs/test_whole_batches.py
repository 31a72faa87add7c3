"""Codecs without chunks as a GPU runs them, on a CPU: whole recordings in batches of fixed shapes
have transformers' codes of each alone."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cards import FakeGraph, NothingIsReadBack, graph_runner, pretend
from families import WRITERS
from numpy.typing import NDArray
from sounds import sound
from transformers import DacFeatureExtractor, DacModel, EncodecModel, MimiModel

from tokenizer import Codec, RecordingError, load_codec
from tokenizer.codecs.dac import gpu as dac_gpu
from tokenizer.codecs.dac.codec import DacCodec
from tokenizer.codecs.encodec import certainty
from tokenizer.codecs.encodec.arithmetic import exact_float32
from tokenizer.codecs.encodec.codec import EncodecCodec
from tokenizer.codecs.encodec.gpu import graphs, whole
from tokenizer.codecs.encodec.gpu.graphs import Shape
from tokenizer.codecs.encodec.gpu.pieces import BatchedPieces
from tokenizer.codecs.encodec.gpu.whole import WholeBatches
from tokenizer.codecs.encodec.reference import ReferenceModules
from tokenizer.codecs.encodec.streams import network as streams
from tokenizer.codecs.mimi.codec import MimiCodec
from tokenizer.codecs.mimi.gpu import StaticSeaNet
from tokenizer.codecs.mimi.halves import EncoderHalf
from tokenizer.codecs.pieces import Piece, State

Samples = NDArray[np.float32]
Codes = NDArray[np.uint16]
FAMILIES = {"encodec-24khz": 8, "encodec-32khz": 4, "dac": 9, "mimi": 8}
"""and codebooks"""
SECONDS = 1
"""that a recording is whole up to, here"""
ROWS = (1, 2, 3)


def loaded(family: str, folder: Path, device: str) -> Any:
    """transformers' model."""
    kind: Any = {"dac": DacModel, "mimi": MimiModel}.get(family, EncodecModel)
    return kind.from_pretrained(folder).eval().requires_grad_(False).to(device)


class Pair:
    """transformers' model, and our codec with what a GPU would run."""

    def __init__(self, family: str, folder: Path, device: str = "cpu") -> None:
        self.family, self.n_q, self.device = family, FAMILIES[family], device
        self.model = loaded(family, folder, device)
        self._extract = DacFeatureExtractor.from_pretrained(folder) if family == "dac" else None
        # Without what is faster on a CPU, which takes a second to load.
        here = device == "cpu"
        self.codec: Codec = load_codec(str(folder), n_q=self.n_q, device=device, reference=here)
        if here:
            self.batches = self._installed(self.codec)

    def _installed(self, codec: Any) -> WholeBatches:
        if isinstance(codec, EncodecCodec):
            network = self._network(self.model, ROWS)
            codec._network = codec._pieces = network
            codec.piece_length = network.piece_length
            return network._short
        limit = round(SECONDS * codec.spec.frame_rate) * codec.spec.frame_length
        codec.piece_length = limit
        if isinstance(codec, DacCodec):
            codec._longest_whole = limit
        codec._batches = self.made(self.model, ROWS)
        found: WholeBatches = codec._batches
        return found

    def _network(self, model: Any, rows: tuple[int, ...]) -> BatchedPieces:
        return BatchedPieces(model, ReferenceModules(model, static=True), self.n_q, rows)

    def made(self, model: Any, rows: tuple[int, ...]) -> WholeBatches:
        """As the codec has them, of a model that may be elsewhere."""
        if isinstance(self.codec, EncodecCodec):
            return self._network(model, rows)._short
        assert isinstance(self.codec, DacCodec | MimiCodec)
        return self.codec._open_batches(model, rows)

    def sound(self, samples: int, seed: int | None = None) -> Samples:
        seed = samples if seed is None else seed
        made: Samples = sound(samples, 1, self.codec.sample_rate, seed).samples
        return made

    def recordings(self) -> list[Samples]:
        """Of every kind of length, and silence, DC and an impulse."""
        hop = self.codec.spec.frame_length
        longest = SECONDS * self.codec.sample_rate // hop * hop
        lengths = [1, 2, hop - 1, hop, hop + 1, 2 * hop + 7, 5 * hop, longest // 2 + 1]
        lengths += [longest - 1, longest, longest // 16 + 1, longest // 3]
        signals = [self.sound(n) for n in lengths]
        flat = np.zeros((1, 3 * hop + 5), np.float32)
        impulse = flat.copy()
        impulse[:, hop] = 0.7
        return [*signals, flat, flat + 0.5, impulse]

    def truth(self, samples: Samples) -> Codes:
        """transformers' codes of a recording alone."""
        with torch.inference_mode(), exact_float32():
            return self._truth(samples)

    def _truth(self, samples: Samples) -> Codes:
        there = torch.from_numpy(samples)[None].to(self.device)
        if self._extract is not None:
            rate = self.model.config.sampling_rate
            inputs = self._extract(samples[0], sampling_rate=rate, return_tensors="pt")
            codes = self.model.encode(inputs["input_values"].to(self.device)).audio_codes[0]
        elif self.family == "mimi":
            codes = self.model.encode(there, num_quantizers=self.n_q).audio_codes[0]
        else:
            bandwidth = self.codec.spec.bandwidth
            codes = self.model.encode(there, bandwidth=bandwidth).audio_codes[0, 0]
        found: Codes = codes[: self.n_q].cpu().numpy().astype(np.uint16)
        return found


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    where = tmp_path_factory.mktemp("families")

    @cache
    def folder(name: str) -> Path:
        WRITERS[name](where / name)
        return where / name

    return folder


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, folders: Callable[[str], Path]) -> tuple[str, Path]:
    return request.param, folders(request.param)


@pytest.fixture(scope="module")
def pair(folder: tuple[str, Path]) -> Iterator[Pair]:
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(streams, "PIECE_SECONDS", SECONDS)
        changed.setattr(streams, "REFERENCE_WINDOW", 30)
        yield Pair(*folder)


def test_codes_are_those_of_each_recording_alone(pair: Pair) -> None:
    recordings = pair.recordings()
    expected = [pair.truth(one) for one in recordings]
    found = pair.codec.encode_pieces([Piece(one) for one in recordings])
    for one, truth in zip(found, expected, strict=True):
        assert one.codes.dtype == np.uint16 and np.array_equal(one.codes, truth)
        assert one.state is None
    # Something is decided without the reference, and other company changes nothing.
    assert pair.batches.repeated < pair.batches.seen == len(recordings)
    some = [8, 3, 12, 0]
    again = pair.codec.encode_pieces([Piece(recordings[i]) for i in some])
    for i, other in zip(some, again, strict=True):
        assert np.array_equal(other.codes, expected[i])


def test_any_pieces_have_the_codes_of_the_whole(pair: Pair) -> None:
    """Also of recordings that turn out to be too long for a batch; states go through pickle."""
    longest = pair.batches.longest
    for length in (longest // 3, longest, longest + 7_777):
        samples, rng = pair.sound(length), np.random.default_rng(length)
        expected = pair.truth(samples)
        assert np.array_equal(pair.codec.encode_pieces([Piece(samples)])[0].codes, expected)
        state: State = None
        found, at = [], 0
        while at < length:
            stop = min(at + int(rng.integers(1, longest)), length)
            piece = Piece(samples[:, at:stop], pickle.loads(pickle.dumps(state)), stop == length)
            (one,) = pair.codec.encode_pieces([piece])
            found.append(one.codes)
            at, state = stop, one.state
        assert state is None and np.array_equal(np.concatenate(found, axis=1), expected)


def test_what_is_in_doubt_is_encoded_alone_and_batches_end_where_all_is(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certainty, "CERTAIN", torch.inf)
    monkeypatch.setattr(dac_gpu, "CERTAIN", torch.inf)
    monkeypatch.setattr(whole, "SEEN", 5)
    recordings = pair.recordings()[:6]
    expected = [pair.truth(one) for one in recordings]
    batches = pair.made(pair.model, ROWS)
    for _ in range(2):
        found = batches.encode(recordings)
        assert all(np.array_equal(one, truth) for one, truth in zip(found, expected, strict=True))
    assert batches.seen == batches.repeated == len(recordings)


def test_what_is_not_finite_is_an_error_and_costs_no_slot(pair: Pair) -> None:
    good = pair.sound(3000)
    bad = good.copy()
    bad[0, 100] = np.nan
    for _ in range(4):
        with pytest.raises(RecordingError, match="not finite"):
            pair.codec.encode_pieces([Piece(good), Piece(bad)])
    assert np.array_equal(pair.codec.encode_pieces([Piece(good)])[0].codes, pair.truth(good))


def test_replayed_graphs_give_the_same_codes(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    monkeypatch.setattr(graphs, "open_runner", graph_runner)
    batches, hop = pair.made(pair.model, (2,)), pair.codec.spec.frame_length
    for seed in range(3):
        recordings = [pair.sound(n, n + seed) for n in (7 * hop + 1, 2 * hop, 6 * hop)]
        for one, found in zip(recordings, batches.encode(recordings), strict=True):
            assert np.array_equal(found, pair.truth(one))
    assert FakeGraph.replayed > FakeGraph.made > 0


def test_no_work_looks_at_a_value_or_leaves_the_device(
    pair: Pair, folder: tuple[str, Path]
) -> None:
    """On the device "meta", which holds no values, whatever looks at one raises, and so does a
    tensor made elsewhere."""
    batches = pair.made(loaded(*folder, "meta"), ROWS)
    with torch.inference_mode():
        for work, shape in (
            (batches._together, Shape(2, 9 * batches._hop, masked=True)),
            (batches._alone, Shape(1, 5001)),
        ):
            inputs = [
                torch.ones(dims, dtype=dtype, device="meta") for dims, dtype in work.layout(shape)
            ]
            with NothingIsReadBack():
                results = work(*inputs)
            assert all(result.device.type == "meta" for result in results)
            assert results[0].shape[:2] == (pair.n_q, shape.rows)


def test_a_device_that_is_no_cpu_gets_batches_unless_the_reference_is_asked_for(
    pair: Pair, folder: tuple[str, Path]
) -> None:
    kind: Any = type(pair.codec)
    for reference in (False, True):
        codec = kind(folder[1], pair.codec.spec, "meta", reference)
        if isinstance(codec, EncodecCodec):
            assert isinstance(codec._network, BatchedPieces) is not reference
            assert isinstance(codec._pieces, BatchedPieces) is not reference
        else:
            assert (codec._batches is None) is reference


def test_a_static_seanet_is_bit_for_bit_mimis(folders: Callable[[str], Path]) -> None:
    module = EncoderHalf.of(MimiModel.from_pretrained(folders("mimi")).eval()).seanet
    static = StaticSeaNet(module)
    with torch.inference_mode():
        for n in (1, 3, 959, 960, 961, 5000):
            samples = torch.from_numpy(sound(n, 1, 24_000, seed=n).samples)[None]
            assert torch.equal(static(samples), module(samples))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="it needs a GPU")
def test_codes_on_a_gpu_are_transformers_there(folder: tuple[str, Path]) -> None:
    """Of whole recordings, in any company."""
    pair = Pair(*folder, device="cuda")
    recordings = pair.recordings() * 3
    found = pair.codec.encode_pieces([Piece(one) for one in recordings])
    for samples, one in zip(recordings, found, strict=True):
        assert np.array_equal(one.codes, pair.truth(samples))

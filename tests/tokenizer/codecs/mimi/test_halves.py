"""A Mimi whose parts lie on the model, as up to transformers 5.20, and one whose halves have
them, as from 5.21 on; whichever is installed, the other is made of it."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sounds import sound
from transformers import MimiModel

from tokenizer import CodecLoadError
from tokenizer.codecs import describe_codec
from tokenizer.codecs.mimi.halves import DecoderHalf, EncoderHalf
from tokenizer.codecs.mimi.network import Block, MimiNetwork
from tokenizer.codecs.mimi.seeded import write_seeded_mimi
from tokenizer.codecs.mimi.transformer import Window, WindowedTransformer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_seeded_mimi(tmp_path_factory.mktemp("halves"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    loaded: Any = MimiModel.from_pretrained(folder)
    return loaded.eval()


def layouts(model: Any) -> list[Any]:
    encoder, decoder = EncoderHalf.of(model), DecoderHalf.of(model)
    known = {
        "config": model.config,
        "quantizer": model.quantizer,
        "parameters": model.parameters,
    }
    flat = SimpleNamespace(
        encoder=encoder.seanet,
        encoder_transformer=encoder.transformer,
        downsample=encoder.downsample,
        upsample=decoder.upsample,
        decoder_transformer=decoder.transformer,
        decoder=decoder.seanet,
        **known,
    )
    nested = SimpleNamespace(
        encoder=SimpleNamespace(
            encoder_seanet=encoder.seanet,
            encoder_transformer=encoder.transformer,
            downsample=encoder.downsample,
        ),
        decoder=SimpleNamespace(
            upsample=decoder.upsample,
            decoder_transformer=decoder.transformer,
            decoder_seanet=decoder.seanet,
        ),
        **known,
    )
    return [flat, nested]


def parts(half: Any) -> list[Any]:
    return [getattr(half, field.name) for field in fields(half)]


def test_the_same_parts_are_found_in_both(model: Any) -> None:
    kinds = ["MimiEncoder", "MimiTransformerModel", "MimiConv1d"]
    assert [type(part).__name__ for part in parts(EncoderHalf.of(model))] == kinds
    kinds = ["MimiConvTranspose1d", "MimiTransformerModel", "MimiDecoder"]
    assert [type(part).__name__ for part in parts(DecoderHalf.of(model))] == kinds
    for layout in layouts(model):
        for half in (EncoderHalf, DecoderHalf):
            found, expected = parts(half.of(layout)), parts(half.of(model))
            assert all(one is other for one, other in zip(found, expected, strict=True))


def test_both_have_transformers_codes_and_audio(model: Any) -> None:
    samples: NDArray[np.float32] = sound(30_001, 1, 24_000).samples
    with torch.inference_mode():
        expected = model.encode(torch.from_numpy(samples)[None]).audio_codes
        audio = model.decode(expected).audio_values[0]
        for layout in layouts(model):
            network = MimiNetwork(layout, 32)
            coded = network.encode([Block(samples, None, True)])[0]
            assert torch.equal(coded.codes, expected[0])
            found, _ = network.decode(coded.codes, None, True)
            torch.testing.assert_close(found, audio, atol=1e-5, rtol=0)
            assert EncoderHalf.of(layout)(torch.from_numpy(samples)[None]).shape[2] == 16


def by_another_name(module: Any, name: str) -> Any:
    """A transformer whose layers take what they remember by this name, as transformers 5.24 has
    renamed it, and give their states in a tuple, as up to 5.20."""
    own = WindowedTransformer(module)._cache

    def layer(run: Any) -> Any:
        def in_a_tuple(hidden: torch.Tensor, **more: Any) -> tuple[torch.Tensor]:
            assert {"cache", "past_key_values"} & more.keys() <= {name}
            if name in more:
                more[own] = more.pop(name)
            found = run(hidden, **more)
            return (found[0] if isinstance(found, tuple) else found,)

        return in_a_tuple

    def cached(cache: Any = None) -> None: ...
    def passed(past_key_values: Any = None) -> None: ...

    return SimpleNamespace(
        layers=[layer(run) for run in module.layers],
        rotary_emb=module.rotary_emb,
        config=module.config,
        forward=cached if name == "cache" else passed,
    )


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
def test_layers_of_every_version_are_run(model: Any, name: str) -> None:
    module = EncoderHalf.of(model).transformer
    other = WindowedTransformer(by_another_name(module, name))
    hidden = torch.randn(40, module.config.hidden_size)
    with torch.inference_mode():
        expected = module(hidden[None]).last_hidden_state
        torch.testing.assert_close(other.rows(hidden[None]), expected, atol=1e-5, rtol=0)
        first, attended = other(hidden[:25], None)
        second, _ = other(hidden[25:], attended, remember=False)
        found = torch.cat([first, second])
        torch.testing.assert_close(found, expected[0], atol=1e-5, rtol=0)


def test_a_cache_takes_what_later_versions_hand_it() -> None:
    window = Window(None, 2, 1, torch.device("cpu"))
    keys = torch.randn(1, 4, 2, 8)
    assert window.update(keys, keys, 0, kwargs={})[0].shape == keys.shape


def test_one_that_lacks_a_half_is_refused(tmp_path: Path, folder: Path) -> None:
    """As `MimiConfig(decoder_config=None)` saves it, from transformers 5.21 on."""
    for half in ("encoder", "decoder"):
        config = json.loads((folder / "config.json").read_text()) | {f"{half}_config": None}
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(CodecLoadError, match=f"a Mimi with {half}_config null is not"):
            describe_codec(str(tmp_path))

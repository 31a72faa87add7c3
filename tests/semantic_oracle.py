"""X-Codec, X-Codec2, Higgs and NeuCodec as transformers has them encode one recording alone.

What these models take in is prepared by transformers' own feature extractors where torchaudio is
installed, else by the features that `test_features` holds against it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DacFeatureExtractor

from tokenizer.codecs.semantic.features import mel_features, standardised


def model_of(folder: str, kind: str) -> Any:
    """A checkpoint of this model type, by the class that it names."""
    from transformers import Xcodec2Model, XcodecModel
    from transformers.models.neucodec.modeling_neucodec import NeuCodecModel

    from tokenizer.codecs.semantic.xcodec import higgs_model_class

    classes = {"xcodec": XcodecModel, "xcodec2": Xcodec2Model, "neucodec": NeuCodecModel}
    return (classes.get(kind) or higgs_model_class()).from_pretrained(folder).eval()


def oracle_codes(model: Any, kind: str, samples: NDArray[np.float32]) -> NDArray[np.int64]:
    """`[n_q, frames]` as transformers' documentation has one encode a recording."""
    with torch.inference_mode():
        if kind in ("xcodec", "higgs_audio_v2_tokenizer"):
            extractor = DacFeatureExtractor(
                sampling_rate=model.config.sample_rate, hop_length=model.config.hop_length
            )
            inputs = extractor(
                samples[0], sampling_rate=model.config.sample_rate, return_tensors="pt"
            )
            found = model.encode(inputs["input_values"]).audio_codes
        else:
            found = model.encode(**extracted(kind, samples[0])).audio_codes
    codes: NDArray[np.int64] = found[0].numpy()
    return codes


def extracted(kind: str, samples: NDArray[np.float32]) -> Any:
    """What X-Codec2 or NeuCodec takes in, of float32 `[n]`."""
    if kind == "neucodec":  # which would drop a last frame that is not full
        samples = np.pad(samples, (0, -len(samples) % 320))
    try:
        import torchaudio  # noqa: F401
        from transformers import NeuCodecFeatureExtractor, Xcodec2FeatureExtractor

        extractor = NeuCodecFeatureExtractor if kind == "neucodec" else Xcodec2FeatureExtractor
        return extractor()(samples, sampling_rate=16_000, return_tensors="pt")
    except Exception:
        padded = np.pad(samples, (0, 320 - len(samples) % 320))
        around = padded if kind == "neucodec" else np.pad(padded, (160, 160))
        features = standardised(mel_features(torch.from_numpy(around) * 2**15))
        pairs = features[: len(features) // 2 * 2].reshape(1, -1, 160)
        return {
            "input_values": torch.from_numpy(padded)[None, None],
            "input_features": pairs,
            "input_features_mask": torch.ones(pairs.shape[:2], dtype=torch.int32),
        }

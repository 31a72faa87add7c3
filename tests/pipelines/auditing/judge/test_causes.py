"""Planted faults: each is caught, and called by its name; what is fine is called nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rewriting import rewrite, with_codes
from sounds import sound

from pipelines import AuditOptions, audit
from pipelines.auditing.judge.causes import explain
from pipelines.auditing.judge.registry import FINDINGS
from pipelines.auditing.results import FindingName, RecordingAudit, Severity
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.run import tokenize_corpus
from tokenizer import Codec, Waveform, load_codec, read_audio
from tokenizer.codecs.encodec.seeded import write_seeded
from tokenizer.codecs.lookup import BUNDLED
from tokenizer.types import Codes

LONG, OTHER_RATE = "long.wav", "other_rate.wav"
pytestmark = pytest.mark.usefixtures("kept_decoders")
CAUSES = {name for name, row in FINDINGS.items() if row.of_recording is explain}


@pytest.fixture(scope="module", params=["seeded", "small"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights whose output is noise, and trained ones."""
    return (
        BUNDLED["small"]
        if request.param == "small"
        else write_seeded(tmp_path_factory.mktemp("codec") / "one", size="reduced")
    )


@pytest.fixture(scope="module")
def codec(checkpoint: Path) -> Codec:
    return load_codec(str(checkpoint), bandwidth=6.0, device="cpu")


@pytest.fixture(scope="module")
def pristine(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("faults")
    (root / "corpus").mkdir()
    soundfile.write(
        root / "corpus" / LONG, sound(6 * 47_520 + 1_000, seed=1).samples.T, 48_000, "FLOAT"
    )
    soundfile.write(
        root / "corpus" / OTHER_RATE,
        sound(4 * 44_100, sample_rate=44_100, seed=2).samples.T,
        44_100,
        "FLOAT",
    )
    config = TokenizeConfig(str(root / "corpus"), codec=str(checkpoint), bandwidth=6.0)
    tokenize_corpus(config, str(root / "out"), RunOptions(workers=0, quiet=True, device="cpu"))
    return root


@pytest.fixture
def out(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine / "out", tmp_path / "out"))


def audited(out: Path, id: str, reencode: bool = True) -> RecordingAudit:
    options = AuditOptions(ids=(id,), reencode=reencode, page=False, quiet=True, device="cpu")
    return audit(str(out), options=options).recordings[0]


def errors(result: RecordingAudit) -> list[str]:
    return [finding.name for finding in result.findings if finding.severity is Severity.ERROR]


def source(pristine: Path, id: str, codec: Codec) -> Waveform:
    return read_audio(pristine / "corpus" / id, codec.sample_rate, codec.channels)


def again(codec: Codec, samples: np.ndarray) -> Callable[[Codes], Codes]:
    return lambda _: codec.encode(
        Waveform(np.ascontiguousarray(samples, np.float32), codec.sample_rate)
    )


@pytest.mark.parametrize("id", [LONG, OTHER_RATE])
def test_what_is_fine_has_equal_codes_and_no_cause(out: Path, id: str) -> None:
    result = audited(out, id)
    assert result.equal_codes == (1.0, 1.0, 1.0, 1.0)
    assert not result.failed and not {finding.name for finding in result.findings} & CAUSES


def test_channel_swap(out: Path, pristine: Path, codec: Codec) -> None:
    rewrite(out, LONG, again(codec, source(pristine, LONG, codec).samples[::-1]))
    assert errors(audited(out, LONG)) == [FindingName.CHANNEL_SWAP]


def test_one_chunk_shift(out: Path, pristine: Path, codec: Codec) -> None:
    samples = source(pristine, LONG, codec).samples
    late = np.concatenate([np.zeros((2, 47_520)), samples], axis=1)[:, : samples.shape[1]]
    rewrite(out, LONG, again(codec, late))
    result = audited(out, LONG)
    assert errors(result) == [FindingName.SHIFTED]
    assert "one chunk late" in next(
        f.detail for f in result.findings if f.name == FindingName.SHIFTED
    )


def test_one_chunk_shift_the_other_way(out: Path, pristine: Path, codec: Codec) -> None:
    samples = source(pristine, LONG, codec).samples
    early = np.concatenate([samples[:, 47_520:], sound(47_520, seed=30).samples], axis=1)
    rewrite(out, LONG, again(codec, early))
    result = audited(out, LONG)
    assert (
        errors(result) == [FindingName.SHIFTED] and "one chunk early" in result.findings[0].detail
    )


def test_one_chunk_whose_frames_are_shifted(out: Path) -> None:
    def roll(values: np.ndarray) -> None:
        values[:, 303:450] = values[:, 300:447].copy()

    rewrite(out, LONG, lambda codes: with_codes(codes, roll))
    finding = next(f for f in audited(out, LONG).findings if f.name == FindingName.SHIFTED)
    assert finding.chunks == (2,) and "+3 frames" in finding.detail


def test_scale_doubled(out: Path) -> None:
    rewrite(out, LONG, lambda codes: replace(codes, scales=codes.scales * np.float32(2)))
    result = audited(out, LONG)
    assert errors(result) == [FindingName.WRONG_SCALE]
    assert "every chunk is x2 " in result.findings[0].detail and result.equal_codes == (1.0,) * 4


def test_scale_of_the_last_chunk_diluted(out: Path) -> None:
    def dilute(codes: Codes) -> Codes:
        scales = codes.scales.copy()
        scales[-1] *= 0.5
        return replace(codes, scales=scales)

    rewrite(out, LONG, dilute)
    finding = next(f for f in audited(out, LONG).findings if f.name == FindingName.WRONG_SCALE)
    assert finding.chunks == (6,) and "x0.5 " in finding.detail


@pytest.mark.parametrize("reencode", [True, False])
def test_zeroed_chunk(out: Path, reencode: bool) -> None:
    def zero(values: np.ndarray) -> None:
        values[:, 300:450] = 0

    rewrite(out, LONG, lambda codes: with_codes(codes, zero))
    result = audited(out, LONG, reencode)
    assert errors(result) == [FindingName.ZEROED] and result.findings[0].chunks == (2,)


def test_wrong_codebook_order(out: Path) -> None:
    rewrite(
        out,
        LONG,
        lambda codes: replace(codes, codes=np.ascontiguousarray(codes.codes[[0, 2, 1, 3]])),
    )
    result = audited(out, LONG)
    assert (
        errors(result) == [FindingName.CODEBOOK_ORDER] and "0, 2, 1, 3" in result.findings[0].detail
    )


def test_a_bit_flipped_in_a_code(out: Path) -> None:
    def flip(values: np.ndarray) -> None:
        values[1, 317] ^= 16

    rewrite(out, LONG, lambda codes: with_codes(codes, flip))
    result = audited(out, LONG)
    assert errors(result) == [FindingName.BIT_FLIPS] and result.findings[0].chunks == (2,)


def test_a_bit_flipped_at_the_last_level_may_be_a_tie_and_is_said_to_be(out: Path) -> None:
    def flip(values: np.ndarray) -> None:
        values[3, 317] ^= 16

    rewrite(out, LONG, lambda codes: with_codes(codes, flip))
    found = next(f for f in audited(out, LONG).findings if f.name == FindingName.BIT_FLIPS)
    assert found.severity is Severity.WARNING and found.chunks == (2,)


def test_two_bits_flipped_at_the_last_level_are_no_ties(out: Path) -> None:
    def flip(values: np.ndarray) -> None:
        values[3, [317, 20]] ^= 16

    rewrite(out, LONG, lambda codes: with_codes(codes, flip))
    assert errors(audited(out, LONG)) == [FindingName.BIT_FLIPS]


def test_a_bit_flipped_in_a_tail_of_two_frames(
    pristine: Path, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "corpus").mkdir()
    samples = read_audio(pristine / "corpus" / LONG, 48_000, 2).samples[:, : 2 * 47_520 + 500]
    soundfile.write(tmp_path / "corpus" / LONG, samples.T, 48_000, "FLOAT")
    config = TokenizeConfig(str(tmp_path / "corpus"), codec=str(checkpoint), bandwidth=6.0)
    tokenize_corpus(config, str(tmp_path / "out"), RunOptions(workers=0, quiet=True, device="cpu"))

    def flip(values: np.ndarray) -> None:
        values[1, -1] ^= 16

    rewrite(tmp_path / "out", LONG, lambda codes: with_codes(codes, flip))
    result = audited(tmp_path / "out", LONG)
    assert errors(result) == [FindingName.BIT_FLIPS] and result.findings[0].chunks == (2,)


def test_a_bit_flipped_in_the_file(out: Path) -> None:
    shard = next((out / "data").iterdir())
    content = bytearray(shard.read_bytes())
    content[len(content) // 3] ^= 4
    shard.write_bytes(content)
    done = audit(str(out), options=AuditOptions(sample=2, page=False, quiet=True, device="cpu"))
    assert not done.passed
    assert {finding["name"] for finding in done.report["corpus"]["findings"]} == {"damaged shard"}


def test_other_codes_in_one_chunk(out: Path) -> None:
    def scramble(values: np.ndarray) -> None:
        values[:, 300:450] = np.random.default_rng(0).integers(0, 1024, (4, 150))

    rewrite(out, LONG, lambda codes: with_codes(codes, scramble))
    result = audited(out, LONG)
    assert errors(result) == [FindingName.CORRUPT] and result.findings[0].chunks == (2,)


@pytest.mark.parametrize("reencode", [True, False])
def test_wrong_bandwidth(out: Path, reencode: bool) -> None:
    rewrite(out, LONG, lambda codes: replace(codes, codes=np.ascontiguousarray(codes.codes[:2])))
    result = audited(out, LONG, reencode)
    assert errors(result) == [FindingName.WRONG_BANDWIDTH] and "3 kbps" in result.findings[0].detail


@pytest.mark.parametrize("reencode", [True, False])
def test_changed_source(out: Path, pristine: Path, reencode: bool) -> None:
    path = pristine / "corpus" / LONG
    before = path.read_bytes()
    try:
        for length in (6 * 47_520 + 1_000, 200_000):
            soundfile.write(path, sound(length, seed=9).samples.T, 48_000, "FLOAT")
            result = audited(out, LONG, reencode)
            assert errors(result) == [FindingName.CHANGED_SOURCE]
            assert ("and so has its length" in result.findings[0].detail) == (length == 200_000)
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize("reencode", [True, False])
def test_resampler_off(out: Path, pristine: Path, codec: Codec, reencode: bool) -> None:
    raw = read_audio(pristine / "corpus" / OTHER_RATE, None, 2).samples
    rewrite(out, OTHER_RATE, again(codec, raw))
    assert errors(audited(out, OTHER_RATE, reencode)) == [FindingName.NOT_RESAMPLED]


def test_another_resampler(out: Path, pristine: Path, codec: Codec) -> None:
    raw = read_audio(pristine / "corpus" / OTHER_RATE, None, 2).samples
    length = source(pristine, OTHER_RATE, codec).num_samples
    at = np.arange(length) * 44_100 / 48_000
    rewrite(
        out,
        OTHER_RATE,
        again(
            codec, np.stack([np.interp(at, np.arange(raw.shape[1]), channel) for channel in raw])
        ),
    )
    assert errors(audited(out, OTHER_RATE)) == [FindingName.OTHER_RESAMPLING]


@pytest.mark.parametrize("reencode", [True, False])
def test_truncated_recording(out: Path, pristine: Path, codec: Codec, reencode: bool) -> None:
    rewrite(out, LONG, again(codec, source(pristine, LONG, codec).samples[:, :200_000]))
    result = audited(out, LONG, reencode)
    assert errors(result) == [FindingName.TRUNCATED]
    detail = result.findings[0].detail
    assert (
        f"{(6 * 47_520 + 1_000 - 200_000) / 48_000:.3f} s" in detail
        and ("at its end" in detail) == reencode
    )


@pytest.mark.parametrize("reencode", [True, False])
def test_a_recording_without_its_beginning_is_not_other_audio(
    out: Path, pristine: Path, codec: Codec, reencode: bool
) -> None:
    rewrite(out, LONG, again(codec, source(pristine, LONG, codec).samples[:, 30_001:]))
    result = audited(out, LONG, reencode)
    assert errors(result) == [FindingName.TRUNCATED]
    detail = result.findings[0].detail
    assert f"{30_001 / 48_000:.3f} s" in detail and "at its end" not in detail.replace(
        "not at its end alone", ""
    )
    assert ("not at its end alone" in detail) == reencode


def test_codes_of_more_than_the_source_are_one_finding(
    out: Path, pristine: Path, codec: Codec
) -> None:
    samples = source(pristine, LONG, codec).samples
    rewrite(out, LONG, again(codec, np.concatenate([samples, samples[:, :500]], axis=1)))
    result = audited(out, LONG, reencode=False)
    assert errors(result) == [FindingName.DURATION]
    detail = result.findings[0].detail
    assert "0.010 s more than the source has; stored 286620 samples" in detail


def test_another_codec(out: Path, pristine: Path, codec: Codec, tmp_path: Path) -> None:
    other = load_codec(
        str(write_seeded(tmp_path / "two", size="reduced", seed=1)), bandwidth=6.0, device="cpu"
    )
    rewrite(out, LONG, again(other, source(pristine, LONG, codec).samples))
    assert errors(audited(out, LONG)) == [FindingName.OTHER_CODEC]


def test_other_audio(out: Path, codec: Codec) -> None:
    rewrite(out, LONG, again(codec, 3 * sound(6 * 47_520 + 1_000, seed=7).samples))
    assert errors(audited(out, LONG)) == [FindingName.OTHER_AUDIO]


def test_rounding_is_a_device_difference_and_no_error(
    out: Path, pristine: Path, codec: Codec
) -> None:
    samples = source(pristine, LONG, codec).samples
    noise = np.random.default_rng(0).standard_normal(samples.shape) * 3e-4
    noise[:, 6 * 47_520 :] = 0  # over the short last chunk it would not average out of the scale
    rewrite(out, LONG, again(codec, samples * (1 + noise)))
    result = audited(out, LONG)
    assert not result.failed
    assert [f.name for f in result.findings if f.severity is Severity.INFO] == [FindingName.DEVICE]
    assert result.equal_codes is not None and 0.9 < result.equal_codes[-1] < 1.0


def test_codes_that_cannot_be_decoded(out: Path) -> None:
    def beyond(values: np.ndarray) -> None:
        values[0, 0] = 5000

    rewrite(out, LONG, lambda codes: with_codes(codes, beyond))
    result = audited(out, LONG)
    assert errors(result) == [FindingName.CORRUPT] and "5000" in (result.error or "")


def test_a_source_that_is_gone_is_said_and_the_others_go_on(out: Path, pristine: Path) -> None:
    path = pristine / "corpus" / LONG
    moved = path.rename(path.with_suffix(".away"))
    try:
        done = audit(str(out), options=AuditOptions(all=True, quiet=True, device="cpu"))
    finally:
        moved.rename(path)
    by_id = {recording.id: recording for recording in done.recordings}
    assert "not_found" in by_id[LONG].findings[0].detail and not by_id[LONG].figures
    assert [version["name"] for version in by_id[LONG].page["versions"]] == [
        "3 kbps",
        "6 kbps",
    ]  # it can still be heard
    assert by_id[OTHER_RATE].error is None
    assert by_id[OTHER_RATE].figures["si-snr"].value is not None

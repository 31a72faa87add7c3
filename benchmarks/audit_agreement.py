"""Whether an audit's figures are those of others: torchmetrics' over a folder, Google's for
ViSQOL's conformance pair.

    python -m benchmarks.audit_agreement FOLDER [--visqol FOLDER] >
    benchmarks/results/audit_agreement.md

FOLDER is tokenized with `small` and all of it is audited. Then each recording is decoded to a file
by `codecshards decode`, its source is read with soundfile (PyAV where that cannot), resampled in
one piece with soxr, and torchmetrics is given both files. The figures of ViSQOL that Google has
published are compared where the audio of a pair is there (`--visqol`).
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from torchmetrics.functional.audio import scale_invariant_signal_noise_ratio

from pipelines import AuditOptions, audit
from pipelines.auditing.measure.measures import SILENT_RMS
from pipelines.auditing.measure.visqol import open_visqol, visqol
from pipelines.auditing.results import RecordingAudit
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.output.export_audio import decode_recording
from pipelines.run import tokenize_corpus
from tokenizer import read_audio

RATE = 48_000
CLEAN, TRANSCODED = "clean_speech__CA01_01.wav", "clean_speech__transcoded_CA01_01.wav"
SPEECH_MODE, IDENTITY = 3.374505555111911, 4.732101253042348
"""google/visqol, src/include/conformance.h, conformance number 333"""


@dataclass(frozen=True, slots=True)
class Compared:
    """One recording's figure, here and there."""

    id: str
    reader: str
    ours: float
    theirs: float

    @property
    def apart(self) -> float:
        return abs(self.ours - self.theirs)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--visqol", type=Path, help="folder with the audio of google/visqol's conformance pairs"
    )
    asked = parser.parse_args()
    print("# An audit's figures beside those of others\n")
    print(
        "    python -m benchmarks.audit_agreement FOLDER"
        + (" --visqol FOLDER\n" if asked.visqol else "\n")
    )
    with tempfile.TemporaryDirectory() as place:
        out = f"{place}/out"
        config = TokenizeConfig(str(asked.folder), codec="small", bandwidth=24.0)
        tokenize_corpus(config, out, RunOptions(workers=0, quiet=True, device="cpu"))
        options = AuditOptions(all=True, reencode=True, page=False, quiet=True, device="cpu")
        done = audit(out, options=options)
        compared = [
            one
            for recording in done.recordings
            if (one := compare(out, asked.folder, recording, place)) is not None
        ]
    si_snr(done.recordings, compared)
    if asked.visqol:
        conformance(asked.visqol)


def compare(out: str, folder: Path, recording: RecordingAudit, place: str) -> Compared | None:
    """torchmetrics' SI-SNR beside the audit's; None where the audit has none."""
    ours = recording.figures["si-snr"].value if "si-snr" in recording.figures else None
    if ours is None:
        return None
    decode_recording(out, recording.id, f"{place}/decoded.wav", device="cpu")
    decoded = soundfile.read(f"{place}/decoded.wav", dtype="float32", always_2d=True)[0].T
    source, reader = read(folder / recording.id)
    if source.shape != decoded.shape:
        sys.exit(f"{recording.id}: {source.shape} samples in the source, {decoded.shape} decoded")
    # torchmetrics gives a number for a silent channel too; the audit leaves it out.
    loud = source.astype(np.float64).std(axis=1) > SILENT_RMS
    pair = (torch.from_numpy(samples[loud].astype(np.float64)) for samples in (decoded, source))
    return Compared(
        recording.id, reader, ours, float(scale_invariant_signal_noise_ratio(*pair).mean())
    )


def read(path: Path) -> tuple[NDArray[np.float32], str]:
    """A source as the codec gets it, float32 `[2, n]` at 48 kHz, by other code than the audit's
    where there is any."""
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:
        return read_audio(path, RATE, 2).samples, "ours"
    if samples.shape[1] == 1:
        samples = np.repeat(samples, 2, axis=1)
    wanted = int(np.floor(len(samples) * RATE / rate + 0.5))
    resampled = soxr.resample(samples, rate, RATE, "HQ") if rate != RATE else samples
    if (
        samples.shape[1] != 2 or len(resampled) != wanted
    ):  # a lossy format's own length is the decoder's affair
        return read_audio(path, RATE, 2).samples, "ours"
    return np.ascontiguousarray(resampled.T), "soundfile"


def si_snr(recordings: tuple[RecordingAudit, ...], compared: list[Compared]) -> None:
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    print(
        f"{len(recordings)} recordings, {sum(r.seconds for r in recordings) / 3600:.2f} h, `small` "
        f"at 24 kbps; {versions}.\n"
    )
    print("SI-SNR in dB, the audit's and torchmetrics' of the decoded file and the source.\n")
    print("| source read by | recordings | SI-SNR, median | largest difference | of |")
    print("|---|---|---|---|---|")
    for reader in sorted({one.reader for one in compared}, reverse=True):
        those = [one for one in compared if one.reader == reader]
        worst = max(those, key=lambda one: one.apart)
        median = np.median([one.ours for one in those])
        print(f"| {reader} | {len(those)} | {median:.2f} | {worst.apart:.6f} | {worst.id} |")
    without = len(recordings) - len(compared)
    equal = sum(set(recording.equal_codes or ()) == {1.0} for recording in recordings)
    errors = sum(recording.failed for recording in recordings)
    print(
        f"\nNot applicable to {without}. Encoded again, every code is equal in {equal} of "
        f"{len(recordings)}."
    )
    print(f"Recordings with errors: {errors}.\n")


def conformance(folder: Path) -> None:
    from visqol import VisqolApi

    clean, transcoded = (soundfile.read(folder / name)[0] for name in (CLEAN, TRANSCODED))
    api = VisqolApi()
    api.create(mode="speech")
    rows = [
        (
            f"{CLEAN} and {TRANSCODED}, speech mode",
            SPEECH_MODE,
            visqol(clean, transcoded, RATE, api).value,
        ),
        (f"{CLEAN} and itself, audio mode", IDENTITY, open_visqol()(clean, clean, RATE).value),
    ]
    print("ViSQOL's MOS-LQO, Google's published conformance figures and the audit's.\n")
    print("| pair | published | here | difference |")
    print("|---|---|---|---|")
    for name, published, found in rows:
        print(
            f"| {name} | {published:.6f} | {found or float('nan'):.6f} | "
            f"{abs((found or np.nan) - published):.6f} |"
        )


if __name__ == "__main__":
    main()

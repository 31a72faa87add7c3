"""What each step of a listening test is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.system.settings import setting, settle
from tokenizer.errors import UsageError

ANCHORS = {"3.5": 3500.0, "7": 7000.0}
"""kHz as they are asked for, and Hz"""
MOST_SIGNALS = 12
"""on one screen, hidden reference and anchors among them (BS.1534)"""
LEAST_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeOptions:
    """What a listening test is made of."""

    excerpts: int = setting(50, "of each category, drawn (default: %(default)s)", metavar="N")
    seconds: float = setting(5.0, "of each excerpt (default: %(default)s)", metavar="S")
    seed: int = setting(0, "of what is drawn and of all orders (default: %(default)s)", metavar="N")
    systems: tuple[str, ...] = setting(
        (),
        "only these, by name (`small-6`) or of any bitrate (`small`)",
        metavar="A,B",
        commas=True,
    )
    anchors: tuple[str, ...] = setting(
        ("3.5",),
        "low-pass filtered references, in kHz, of 3.5 and 7 (default: %(default)s)",
        metavar="A,B",
        commas=True,
    )
    raters: int = setting(30, "how many get a token (default: %(default)s)", metavar="N")
    screens: int = setting(
        20, "of each rater; all are rated equally often (default: %(default)s)", metavar="N"
    )
    loudness: float = setting(
        -23.0, "of each reference, LUFS by BS.1770 (default: %(default)s)", metavar="LUFS"
    )
    level_match: bool = setting(True, "leave systems as loud as they made it")
    title: str = setting("Listening test", "what raters see (default: %(default)s)", metavar="TEXT")
    contact: str = setting(
        "", "where raters send their results without a server: shown as it is", metavar="TEXT"
    )
    webmushra: bool = setting(False, "write the same test for webMUSHRA too: webmushra/")
    quiet: bool = setting(False, "no progress")

    def __post_init__(self) -> None:
        settle(self)
        for name, value in (
            ("excerpts", self.excerpts),
            ("raters", self.raters),
            ("screens", self.screens),
        ):
            if value < 1:
                raise UsageError(f"--{name} {value}: give 1 or more")
        if self.raters > 100_000:
            raise UsageError(f"--raters {self.raters}: give 100000 or fewer")
        if not LEAST_SECONDS <= self.seconds <= 30:
            raise UsageError(f"--seconds {self.seconds:g}: give 1 to 30")
        if not -50 <= self.loudness <= -10:
            raise UsageError(f"--loudness {self.loudness:g}: give -50 to -10")
        for name in self.anchors:
            if name not in ANCHORS:
                raise UsageError(f"--anchors {name}: choose from {', '.join(ANCHORS)}")
        if "3.5" not in self.anchors:
            raise UsageError("--anchors: the screening of raters needs 3.5 among them")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Who can reach the page."""

    host: str = setting(
        "127.0.0.1", "this machine alone by default; 0.0.0.0: the whole network", metavar="ADDRESS"
    )
    port: int = setting(8765, "0: any that is free (default: %(default)s)", metavar="N")
    open: bool = setting(
        False, "who comes without a token is given the next one: anyone with the address can rate"
    )
    quiet: bool = setting(False, "no line for each screen that is rated")

    def __post_init__(self) -> None:
        settle(self)
        if not 0 <= self.port <= 65535:
            raise UsageError(f"--port {self.port}: give 0 to 65535")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalyseOptions:
    """How ratings are judged; the defaults are the paper's."""

    reference_below: float = setting(
        90.0, "a hidden reference rated below this is missed (default: %(default)s)", metavar="X"
    )
    reference_share: float = setting(
        0.2,
        "raters who miss it in this share of screens are removed (default: %(default)s)",
        metavar="P",
    )
    anchor_above: float = setting(
        80.0, "a 3.5 kHz anchor rated above this is missed (default: %(default)s)", metavar="X"
    )
    anchor_share: float = setting(
        0.5,
        "raters who miss it in more than this share are removed (default: %(default)s)",
        metavar="P",
    )
    least_ratings: int = setting(
        10, "samples with fewer are flagged (default: %(default)s)", metavar="N"
    )

    def __post_init__(self) -> None:
        settle(self)
        for name in ("reference_share", "anchor_share"):
            if not 0 <= getattr(self, name) <= 1:
                given = f"--{name.replace('_', '-')} {getattr(self, name):g}"
                raise UsageError(f"{given}: give 0 to 1")
        if self.least_ratings < 1:
            raise UsageError(f"--least-ratings {self.least_ratings}: give 1 or more")

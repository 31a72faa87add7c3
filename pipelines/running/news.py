"""What a run that finds all committed says of the corpus: that it is as it was, or what has
changed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from pipelines.running.comparison import Changes
from pipelines.running.growth import Growth
from pipelines.system.words import many
from pipelines.tokenizing.progress import Display
from tokenizer.errors import SourceError


@dataclass(frozen=True, slots=True)
class News:
    """What is otherwise in the corpus than in the output, in recordings."""

    changes: Changes = field(default_factory=Changes)
    other_text: int = 0
    examples: tuple[str, ...] = ()
    """ids of a few with other text"""

    @classmethod
    def of(cls, growth: Growth, display: Display, out: str, shards: int) -> News:
        """Look, and say what there is to say. A corpus that cannot be listed now is no fault of a
        run that needs nothing of it."""
        done = f"{out}: all {shards} shards are committed"
        try:
            if growth.is_untouched():
                display.message(f"{done}, nothing to do")
                return cls()
            with growth.compare() as comparison:
                count, examples = growth.texts(comparison)
                news = cls(comparison.changes(), count, tuple(examples))
        except SourceError as error:
            display.message(f"{done}; SOURCE cannot be compared with it: {error}")
            return cls()
        display.message(done if news.changes or news.other_text else f"{done}, nothing to do")
        for line in news.lines(out):
            display.message(line)
        return news

    def lines(self, out: str) -> list[str]:
        """For people."""
        said = []
        if self.changes:
            offer = "; --append does the new ones" if self.changes.new else ""
            said.append(f"SOURCE has changed since: {self.changes}{offer}")
        if self.other_text:
            more = " …" if self.other_text > len(self.examples) else ""
            said.append(
                f"text of {many(self.other_text, 'recording')} differs in SOURCE "
                f"({', '.join(self.examples)}{more}): `codecshards edit {out} --set TABLE`"
            )
        return said

    def counts(self) -> dict[str, int]:
        """As `RunResult` has them."""
        return {**asdict(self.changes), "other_text": self.other_text}

"""Parts of pictures and words of their captions as players, of one side or of both together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from audit.core import DataError, Ints
from audit.data.captioned import Captioned
from audit.data.images import Images
from audit.explain.masking.base import Coalitions, Players, maskers, no_size, one_of
from audit.explain.masking.images import FILLS as OWN_FILLS
from audit.explain.masking.images import ImageMasker
from audit.explain.masking.texts import TextMasker
from audit.explain.masking.units import Units, agree

PLAYERS = ("both", "picture", "word", "slic")
# A picture's own mean colour would still tell what is seen in it, so what stands in by default is the mean picture.
FILLS = ("average", *OWN_FILLS)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionedMasker(Units):
    """What the maskers of either side take away, in one: the players of the picture, then those of the caption.

    shown, said: the maskers of the two sides, None for one that stays as it is.
    """

    inputs: Captioned
    rows: Captioned
    shown: ImageMasker | None
    said: TextMasker | None

    @property
    def width(self) -> int:
        """Numbers in one pair."""
        return int(self.inputs.pixels + self.inputs.texts.ids.shape[1])

    def fill(self, rows: Ints, coalitions: Coalitions, draws: Ints | None = None) -> Captioned:
        """Rows (r,) under coalitions (c, players): r * c * fillings pairs, the filling fastest.

        Both sides are filled in from the same row of the background, where it is rows that fill in.
        """
        agree(coalitions, {len(self.players[row]) for row in rows})
        if self.shown is None or self.said is None:
            return self._split(rows, coalitions, draws, coalitions.shape[1] if self.said is None else 0)
        parts = np.array([len(self.shown.players[row]) for row in rows], dtype=np.int64)
        if len(set(parts.tolist())) <= 1:
            return self._split(rows, coalitions, draws, int(parts[0]) if len(parts) else 0)
        each = len(coalitions) * (self.fillings if draws is None else draws.shape[1])
        groups = [np.flatnonzero(parts == count) for count in np.unique(parts)]
        found = [self._split(rows[here], coalitions, draws, int(parts[here[0]])) for here in groups]
        order = np.argsort(np.concatenate([(here[:, None] * each + np.arange(each)).ravel() for here in groups]))
        return _joined(found).take(order)

    def _split(self, rows: Ints, coalitions: Coalitions, draws: Ints | None, parts: int) -> Captioned:
        """The same for rows whose first `parts` players are of the picture."""
        fillings = self.fillings if draws is None else draws.shape[1]
        again = np.repeat(rows, len(coalitions) * fillings)
        images, texts = self.inputs.images, self.inputs.texts
        return Captioned(
            images=images.take(again) if self.shown is None else self.shown.fill(rows, coalitions[:, :parts], draws),
            texts=texts.take(again) if self.said is None else self.said.fill(rows, coalitions[:, parts:], draws),
        )


def _joined(parts: list[Captioned]) -> Captioned:
    images, texts = parts[0].images, parts[0].texts
    ids, words = (np.concatenate([getattr(part.texts, name) for part in parts]) for name in ("ids", "words"))
    values = np.concatenate([part.images.values for part in parts])
    return Captioned(images=images.with_values(values), texts=texts.with_ids(ids, words))


@maskers.register
def _captioned(
    inputs: Captioned,
    background: Captioned | None,
    *,
    players: Players | None,
    size: int | None,
    fill: str | None,
    seed: int,
    words: str,
) -> CaptionedMasker:
    rows = inputs if background is None else background
    if not isinstance(rows, Captioned):
        raise DataError(f"background: of pictures with captions other such pairs, got {type(rows).__name__}")
    unit = one_of("players", "pictures with captions", players, PLAYERS)
    how = one_of("fill", "pictures with captions", fill, FILLS)
    shown = said = None
    if unit != "word":
        squares = "slic" if unit == "slic" else "grid"
        shown = _shown(inputs.images, rows.images, how, players=squares, size=size, seed=seed, words=words)
    else:
        no_size(size, 'players = "word" have none')
    if unit != "picture":
        usual = "background" if how == "background" else None
        said = maskers(inputs.texts, rows.texts, players="word", size=None, fill=usual, seed=seed, words=words)
    return _of(inputs, rows, shown, said)


def _shown(images: Images, rows: Images, how: str, **options: Any) -> Any:
    """The masker of the pictures; "average" fills in the mean of the background's pictures."""
    if how != "average":
        return maskers(images, rows, fill=how, **options)
    found = maskers(images, rows, fill="background", **options)
    assert isinstance(found, ImageMasker)
    middle = found.others.mean(axis=0, keepdims=True)
    return replace(found, others=middle, fillings=1, background=f"the mean of {found.background}")


def _of(inputs: Captioned, rows: Captioned, shown: Any, said: Any) -> CaptionedMasker:
    """The masker of the two sides' maskers: who holds what, one behind the other."""
    n, tokens = inputs.texts.ids.shape
    owner = np.full((n, inputs.pixels + tokens), -1, dtype=np.int64)
    names: list[tuple[str, ...]] = [()] * n
    fills = []
    if shown is not None:
        owner[:, : inputs.pixels] = shown.owners().reshape(n, -1)
        names, fills = list(shown.players), [shown.background]
    if said is not None:
        before = np.array([len(each) for each in names], dtype=np.int64)[:, None]
        owner[:, inputs.pixels :] = np.where(said.owner >= 0, said.owner + before, -1)
        names = [(*first, *second) for first, second in zip(names, said.players, strict=True)]
        fills.append(said.background)
    same: dict[tuple[str, ...], tuple[str, ...]] = {}
    fillings = [each.fillings for each in (shown, said) if each is not None]
    return CaptionedMasker(
        inputs=inputs,
        rows=rows,
        players=tuple(same.setdefault(each, each) for each in names),
        owner=owner,
        fillings=fillings[0],  # alike on both sides: one, or the background's rows
        background="; ".join(dict.fromkeys(fills)),
        shown=shown,
        said=said,
    )

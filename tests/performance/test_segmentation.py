"""Overlaps of marked pixels against counts by hand, and by group against means by hand."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import scipy.stats
from little_models import Plain, codes, context, subject

from audit import stats
from audit.core import ModelError, NotApplicable, UsageError
from audit.data.images import Images
from audit.performance.segmentation import segmentation


@dataclass
class Marking(Plain):
    """Marks whatever is bright in the first channel."""

    offers: frozenset = frozenset({"segmentation"})

    def segment(self, inputs):
        return inputs.values[:, 0]


def faces(found, mask, **groups):
    """A subject whose model marks `found` (n, h, w) in pictures with this mask."""
    images = Images(values=np.asarray(found, dtype=float)[:, None], mask=np.asarray(mask, dtype=bool))
    model = Marking(lambda values: values[:, 0, 0, 0])
    return subject(model, images, np.zeros(len(images), dtype=int), groups)


def one(evidence, name, **where):
    (found,) = [e for e in evidence if e.name == name and dict(e.where) == where]
    return found


def test_overlaps_by_hand():
    mask = np.zeros((5, 3, 4), dtype=bool)
    mask[:4, 0, :] = True  # four pixels; the last picture has none
    found = np.zeros((5, 3, 4), dtype=bool)
    found[0, 0, :] = True  # the same four
    found[1, 0, :2] = True  # two of the four
    found[2, :2, :] = True  # the four and four more
    found[4, 1, 1] = True  # where nothing is
    iou, dice = stats.overlaps(found, mask)
    np.testing.assert_allclose(iou, [1, 1 / 2, 1 / 2, 0, 0])
    np.testing.assert_allclose(dice, [1, 2 * 2 / 6, 2 * 4 / 12, 0, 0])
    none = np.zeros((1, 3, 4), dtype=bool)
    assert np.isnan(stats.overlaps(none, none)).all()


def test_a_bar_one_row_too_low_reads_a_third():
    mask, found = np.zeros((2, 1, 6, 5), dtype=bool)
    mask[:, 2:4], found[:, 3:5] = True, True
    assert stats.overlaps(found, mask).iou == pytest.approx(1 / 3)


def made(n=400):
    """Faces of two groups; of the second the model misses pixels, and every tenth has nothing to be found and nothing found."""
    rng = np.random.default_rng(0)
    mask = rng.random((n, 6, 6)) < 0.3
    tone = rng.choice(["dark", "light"], size=n, p=[0.3, 0.7])
    found = mask & (rng.random(mask.shape) < np.where(tone == "dark", 0.4, 0.9)[:, None, None])
    mask[::10], found[::10] = False, False
    return faces(found, mask, tone=codes(tone)), found, mask, tone


def test_by_group_with_students_interval_and_pictures_left_out_counted():
    s, found, mask, tone = made()
    evidence = list(segmentation(s, context()))
    left = one(evidence, "pictures_left_out")
    assert (left.value, left.n) == (40, 400)
    assert "empty" in left.note
    iou, dice = stats.overlaps(found, mask)
    kept = ~np.isnan(iou)
    assert one(evidence, "iou").value == pytest.approx(iou[kept].mean())
    assert one(evidence, "dice").value == pytest.approx(dice[kept].mean())
    for group in ("dark", "light"):
        measure, inside = one(evidence, "iou", tone=group), kept & (tone == group)
        peer = scipy.stats.ttest_1samp(iou[inside], 0).confidence_interval()
        assert measure.n == inside.sum()
        assert measure.value == pytest.approx(iou[inside].mean())
        assert (measure.interval.low, measure.interval.high) == pytest.approx((peer.low, peer.high))
    dark, light = (iou[kept & (tone == group)].mean() for group in ("dark", "light"))
    gap = one(evidence, "iou_difference", tone="*")
    assert gap.value == pytest.approx(light - dark)
    assert gap.interval.low > 0
    assert one(evidence, "iou_difference", tone="dark").note == "reference: light"


def test_the_worst_group_is_named_with_an_interval_for_all_groups():
    s, found, mask, tone = made()
    worst = one(list(segmentation(s, context())), "iou_worst_group", tone="*")
    iou = stats.overlaps(found, mask).iou
    inside = iou[(tone == "dark") & ~np.isnan(iou)]
    peer = scipy.stats.ttest_1samp(inside, 0).confidence_interval(0.975)
    assert worst.value == pytest.approx(inside.mean())
    assert (worst.interval.low, worst.interval.high) == pytest.approx((peer.low, peer.high))
    assert worst.note == "the lowest of 2: dark"
    few = one(list(segmentation(replace(s, min_n=1000), context())), "iou_worst_group", tone="*")
    assert few.value is None
    assert "no group has 1000 pictures" in few.note


def test_the_threshold_decides_what_is_found():
    half = np.full((40, 2, 2), 0.5)
    s = faces(half, np.ones((40, 2, 2)))
    assert one(list(segmentation(s, context())), "iou").value == 1.0
    assert one(list(segmentation(s, context(), threshold=0.6)), "iou").value == 0.0
    with pytest.raises(UsageError, match="threshold"):
        list(segmentation(s, context(), threshold=1.0))


def test_pictures_are_sampled_and_wrong_answers_told():
    s, *_ = made()
    assert one(list(segmentation(s, context(), rows=50)), "pictures_left_out").n == 50
    nothing = faces(np.zeros((40, 2, 2)), np.zeros((40, 2, 2)))
    with pytest.raises(NotApplicable, match="every mask is empty"):
        list(segmentation(nothing, context()))
    with pytest.raises(ModelError, match=r"chances in \[0, 1\]"):
        list(segmentation(faces(np.full((40, 2, 2), 7.0), np.ones((40, 2, 2))), context()))
    s.model.segment = lambda inputs: inputs.values
    with pytest.raises(ModelError, match="expected chances"):
        list(segmentation(s, context()))

"""Errors of reconstruction against means by hand, and of principal components against those of scikit-learn's."""

import numpy as np
import pytest
import scipy.stats
from little_models import Plain, codes, context, subject, table
from trained_families import DATA, OPTIONS, unseen

from audit.core import ModelError, Table
from audit.models.reference import trained
from audit.performance.reconstruction import reconstruction
from audit.subject import assemble


class Halving(Plain):
    """Gives back half of what it read."""

    offers = frozenset({"reconstruction"})

    def reconstruct(self, inputs):
        return inputs.values, inputs.values / 2


def made(n=300):
    rng = np.random.default_rng(0)
    sex = rng.choice(["f", "m", "?"], size=n)
    values = rng.normal(size=(n, 3)) * np.where(sex == "f", 2.0, 1.0)[:, None] * [1.0, 2.0, 0.5]
    return subject(Halving(lambda v: v[:, 0]), table(values), None, {"sex": codes(sex, ("f", "m"))}), sex


def one(evidence, name, **where):
    (found,) = [e for e in evidence if e.name == name and dict(getattr(e, "where", {})) == where]
    return found


def test_error_is_the_mean_square_by_group_with_students_interval():
    s, sex = made()
    found = list(reconstruction(s, context()))
    error = ((s.data.inputs.values / 2) ** 2).mean(axis=1)
    assert one(found, "reconstruction_error").value == pytest.approx(error.mean())
    for group in "fm":
        measure = one(found, "reconstruction_error", sex=group)
        peer = scipy.stats.ttest_1samp(error[sex == group], 0).confidence_interval()
        assert measure.value == pytest.approx(error[sex == group].mean())
        assert (measure.interval.low, measure.interval.high) == pytest.approx((peer.low, peer.high))
    against = one(found, "reconstruction_error_difference", sex="f")
    assert against.value == pytest.approx(error[sex == "f"].mean() - error[sex == "m"].mean())
    assert against.note == "reference: m", "the smallest error"
    table_ = one(found, "reconstruction_by_column")
    assert isinstance(table_, Table)
    assert [row[0] for row in table_.rows] == ["x1", "x0", "x2"], "the largest first"
    assert table_.rows[0][1] == pytest.approx(((s.data.inputs.values[:, 1] / 2) ** 2).mean())


def test_principal_components_lose_the_smallest_variances():
    model = trained("pca", DATA, OPTIONS)
    found = list(reconstruction(assemble(OPTIONS, unseen(), model), context(), rows=20_000))
    values = unseen().inputs.values
    read = (values - DATA.inputs.values.mean(axis=0)) / DATA.inputs.values.std(axis=0)
    least = np.linalg.eigvalsh(np.cov(read.T, bias=True))[:4].sum() / 7
    interval = one(found, "reconstruction_error").interval
    assert interval.low - 0.005 < least < interval.high


def test_rows_are_sampled_and_wrong_shapes_told():
    s, _ = made()
    assert one(list(reconstruction(s, context(), rows=50)), "reconstruction_error").n == 50
    s.model.reconstruct = lambda inputs: (inputs.values, inputs.values[:, :2])
    with pytest.raises(ModelError, match="two arrays of one shape"):
        list(reconstruction(s, context()))

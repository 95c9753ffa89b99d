"""Pictures as inputs."""

import numpy as np
import pytest

from audit.core import DataError
from audit.data.images import Images


def test_take_keeps_the_order_and_the_scale():
    values = np.arange(2 * 1 * 2 * 3, dtype=float).reshape(2, 1, 2, 3)
    pictures = Images(values=values, black=-1.0, white=2.0)
    taken = pictures.take(np.array([1, 0, 1]))
    np.testing.assert_array_equal(taken.values, values[[1, 0, 1]])
    assert (len(pictures), len(taken), taken.black, taken.white) == (2, 3, -1.0, 2.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 3, 4)), r"got shape \(2, 3, 4\)$"),
        (np.full((1, 1, 2, 2), np.nan), "not finite"),
        (np.full((1, 1, 2, 2), np.inf), "not finite"),
        (np.zeros((1, 3, 0, 2)), "without a pixel"),
    ],
)
def test_what_is_no_picture(values, message):
    with pytest.raises(DataError, match=message):
        Images(values=values)

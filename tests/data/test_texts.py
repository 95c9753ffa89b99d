"""Texts as tokens."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.core import DataError
from audit.data.texts import MASK, PAD, UNKNOWN, Texts, tokenised


def test_texts_are_cut_into_words_and_punctuation():
    found = tokenised(["Don't go, Ann!", "go"])
    assert found.tokens(0) == ("don't", "go", ",", "ann", "!")
    assert found.vocabulary == (PAD, UNKNOWN, MASK, "!", ",", "ann", "don't", "go")
    assert found.words.tolist() == [[0, 1, 2, 3, 4], [0, -1, -1, -1, -1]]
    assert found.strings() == ("don't go , ann !", "go")


def test_unknown_words_and_a_given_length():
    found = tokenised(["go home"], (PAD, UNKNOWN, MASK, "go"), length=4)
    assert found.ids.tolist() == [[3, 1, 0, 0]]
    assert found.mask == 2
    assert tokenised([""]).ids.tolist() == [[0]]
    assert len(tokenised([])) == 0


def test_pieces_of_a_word_are_joined():
    found = Texts(
        ids=np.array([[1, 2, 3, 4, 0]]),
        words=np.array([[-1, 0, 0, 1, -1]]),
        vocabulary=("[PAD]", "[CLS]", "play", "##ing", "chess"),
        pad=0,
    )
    assert found.strings() == ("[CLS] playing chess",)
    assert found.tokens(0) == ("[CLS]", "play", "##ing", "chess")


@given(st.lists(st.lists(st.sampled_from(["a", "bc", "d's", "!"]), max_size=6), min_size=1, max_size=5), st.randoms())
def test_strings_turn_back_into_the_same_tokens(texts, random):
    found = tokenised([" ".join(words) for words in texts])
    again = tokenised(found.strings(), found.vocabulary, length=found.ids.shape[1])
    np.testing.assert_array_equal(again.ids, found.ids)
    order = list(range(len(texts)))
    random.shuffle(order)
    assert found.take(np.array(order)).strings() == tuple(found.strings()[row] for row in order)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tokenised(["a b"], length=1), "a text has 2 tokens, allowed are 1"),
        (lambda: tokenised(["a"], ("a",)), r"\[PAD\], \[UNK\], \[MASK\] must be in it"),
        (lambda: _texts(np.array([[2]])), "from 0 to 1, got 2 to 2"),
        (lambda: _texts(np.array([[-1]])), "from 0 to 1, got -1 to -1"),
        (lambda: _texts(np.array([0])), "one shape"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(DataError, match=message):
        make()


def _texts(ids):
    return Texts(ids=ids, words=np.array([[0]]), vocabulary=("[PAD]", "a"), pad=0)

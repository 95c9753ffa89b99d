"""Texts: players, fills and sums against lists of tokens."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.core import Card, DataError, UsageError
from audit.data.texts import Texts
from audit.explain import game, shapley, tokenised
from audit.explain.masking import masker

VOCABULARY = ("[PAD]", "[UNK]", "[MASK]", "[CLS]", "[SEP]", "un", "##do", "the", "cat", "sat", ".", "!", "ran")


def pieces(*texts, length=10, left=False, mask=2):
    """Texts in pieces of words: [CLS] and [SEP] around them, padding behind or before."""
    ids, words = [], []
    for text in texts:
        tokens = ["[CLS]", *text.split(), "[SEP]"]
        held, word = [], -1
        for token in tokens:
            word += 0 if token.startswith(("##", "[CLS]", "[SEP]")) else 1
            held.append(-1 if token in ("[CLS]", "[SEP]") else word)
        row, pad = [VOCABULARY.index(token) for token in tokens], [0] * (length - len(tokens))
        ids.append(pad + row if left else row + pad)
        words.append([-1] * len(pad) + held if left else held + [-1] * len(pad))
    return Texts(ids=np.array(ids), words=np.array(words), vocabulary=VOCABULARY, pad=0, mask=mask)


def said(texts, row):
    return [texts.vocabulary[id] for id in texts.ids[row]]


@pytest.mark.parametrize(
    ("unit", "size", "names", "owner"),
    [
        ("word", None, ("undo", "the (1)", "cat", "the (2)"), [-1, 0, 0, 1, 2, 3, -1, -1, -1, -1]),
        ("word", 3, ("undo the cat", "the"), [-1, 0, 0, 0, 0, 1, -1, -1, -1, -1]),
        ("token", None, ("un", "##do", "the (1)", "cat", "the (2)"), [-1, 0, 1, 2, 3, 4, -1, -1, -1, -1]),
        ("token", 2, ("un ##do", "the cat", "the"), [-1, 0, 0, 1, 1, 2, -1, -1, -1, -1]),
        ("sentence", None, ("undo the cat the",), [-1, 0, 0, 0, 0, 0, -1, -1, -1, -1]),
    ],
)
def test_players_hold_what_their_names_say(unit, size, names, owner):
    filler = masker(pieces("un ##do the cat the"), players=unit, size=size)
    assert filler.players == (names,)
    assert filler.owners().tolist() == [owner]


def test_sentences_end_behind_a_run_of_ends():
    texts = tokenised(["Who ran?! He did. And then", "one.", "...", "no end"])
    filler = masker(texts, players="sentence")
    assert filler.players == (("who ran ? !", "he did .", "and then"), ("one .",), (". . .",), ("no end",))
    assert masker(texts, players="sentence", size=2).players[0] == ("who ran ? ! he did .", "and then")


def test_a_text_of_one_token_is_one_player_and_an_empty_one_has_none():
    filler = masker(tokenised(["ran", "", "ran on"]))
    assert filler.players == (("ran",), (), ("ran", "on"))
    np.testing.assert_array_equal(filler.pool(np.ones((3, 2))), [[1, np.nan], [np.nan, np.nan], [1, 1]])
    assert len(filler.fill(np.array([1]), np.ones((1, 0), dtype=bool))) == 1


def test_masked_words_keep_their_place_and_are_not_glued():
    texts = pieces("un ##do the cat")
    filled = masker(texts).fill(np.array([0]), np.array([[False, True, False], [True, True, True]]))
    assert said(filled, 0)[:6] == ["[CLS]", "[MASK]", "[MASK]", "the", "[MASK]", "[SEP]"]
    assert filled.strings() == ("[CLS] [MASK] [MASK] the [MASK] [SEP]", texts.strings()[0])
    assert masker(texts).background == "the mask token '[MASK]' (id 2)"


@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from(["un ##do", "the", "cat", "."]), min_size=1, max_size=4), st.booleans()),
        min_size=1,
        max_size=4,
    ),
    st.booleans(),
    st.integers(0, 2**16),
    st.integers(1, 3),
)
def test_deletion_is_that_of_lists(texts, left, seed, copies):
    given_texts = pieces(*(" ".join(words) for words, _ in texts), length=12, left=left)
    filler = masker(given_texts, fill="delete", players="token" if texts[0][1] else "word")
    rng = np.random.default_rng(seed)
    for row, names in enumerate(filler.players):
        coalitions = rng.random((3, len(names))) < 0.5
        filled = filler.fill(np.array([row]), coalitions, np.zeros((3, copies), dtype=np.int64))
        for place, there in enumerate(np.repeat(coalitions, copies, axis=0)):
            owner = filler.owners()[row]
            kept = [at for at in range(12) if (owner[at] < 0 or there[owner[at]]) and given_texts.ids[row, at] != 0]
            gap = 12 - len(kept)
            for got, source, empty in ((filled.ids, given_texts.ids, 0), (filled.words, given_texts.words, -1)):
                rest = source[row, kept].tolist()
                assert got[place].tolist() == ([empty] * gap + rest if left else rest + [empty] * gap)


def test_background_words_stand_at_the_same_place_and_begin_again():
    texts = pieces("un ##do the cat ran .", length=9)
    behind = pieces("the cat sat", "ran !", length=7)
    filler = masker(texts, behind, fill="background", players="token")
    none = np.zeros((1, 6), dtype=bool)
    filled = filler.fill(np.array([0]), none)
    assert said(filled, 0) == ["[CLS]", "the", "cat", "sat", "the", "cat", "sat", "[SEP]", "[PAD]"]
    assert said(filled, 1) == ["[CLS]", "ran", "!", "ran", "!", "ran", "!", "[SEP]", "[PAD]"]
    some = np.array([[True, True, False, True, True, True], [False, True, True, True, True, True]])
    drawn = filler.fill(np.array([0, 0]), some, np.array([[1, 0], [0, 0]]))
    firsts = [said(drawn, row)[1:7] for row in range(8)]
    assert firsts[0] == ["un", "##do", "ran", "cat", "ran", "."]
    assert firsts[1] == ["un", "##do", "sat", "cat", "ran", "."]
    assert firsts[2] == firsts[3] == ["the", "##do", "the", "cat", "ran", "."]
    assert firsts[4:] == firsts[:4]
    assert filler.background.startswith("2 background texts, sha256 ")


def test_sums_over_tokens_and_over_their_embeddings():
    texts = pieces("un ##do the cat", "ran")
    filler = masker(texts)
    elements = np.random.default_rng(0).normal(size=(2, 10, 4))
    expected = [
        [elements[0, 1:3].sum(), elements[0, 3].sum(), elements[0, 4].sum()],
        [elements[1, 1].sum(), np.nan, np.nan],
    ]
    np.testing.assert_allclose(filler.pool(elements), expected)
    np.testing.assert_allclose(filler.pool(elements.sum(axis=2)), expected)


def test_texts_without_a_mask_token_lose_their_words():
    texts = pieces("the cat", mask=None)
    assert masker(texts).background == "absent tokens are deleted"
    empty = Texts(ids=np.zeros((1, 0), int), words=np.zeros((1, 0), int), vocabulary=VOCABULARY, pad=0)
    assert masker(empty).fill(np.array([0]), np.ones((2, 0), dtype=bool)).ids.shape == (2, 0)
    with pytest.raises(UsageError, match='"mask" needs a mask token'):
        masker(texts, fill="mask")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"players": "words"}, "word, token, sentence, got 'words'; did you mean 'word'"),
        ({"fill": "drop"}, "mask, delete, background, got 'drop'"),
        ({"size": 0}, "at least 1, got 0"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(UsageError, match=message):
        masker(pieces("the cat"), **options)


def test_backgrounds_that_cannot_serve():
    with pytest.raises(DataError, match="other texts, got list"):
        masker(pieces("the cat"), ["the cat"])
    with pytest.raises(DataError, match=r"same vocabulary \(13 tokens\)"):
        masker(pieces("the cat"), tokenised(["the cat"]), fill="background")
    with pytest.raises(DataError, match="at least one token"):
        masker(pieces("the cat"), pieces("the", ""), fill="background")


def test_shapley_values_of_an_additive_model_of_words():
    """phi of a word is its weight less that of the mask; texts of different lengths are explained in one call."""
    texts = tokenised(["good film .", "a bad , bad film", "good"])
    weights = np.random.default_rng(0).normal(size=len(texts.vocabulary))
    weights[texts.pad] = 0.0

    class Additive:
        card, family, offers = Card(family="additive", kind="callable"), "additive", frozenset()

        def predict(self, given):
            return weights[given.ids].sum(axis=1)

    for fill, absent in (("mask", weights[texts.mask]), ("delete", 0.0)):
        found = shapley(game(Additive(), texts, fill=fill))
        expected = np.where(texts.words >= 0, weights[texts.ids] - absent, np.nan)
        np.testing.assert_allclose(found.values, expected, atol=1e-10)
        assert found.players[1] == ("a", "bad (1)", ",", "bad (2)", "film")
        np.testing.assert_allclose(found.delta, 0, atol=1e-10)

"""A real service on the loopback: order, retries, budgets, secrets and everything that a service may do wrong."""

import itertools
import json
import math
import threading
import time
from dataclasses import replace
from email.utils import formatdate

import numpy as np
import pandas as pd
import pytest
from little_service import logistic, ok, serving

from audit.core import BudgetSpent, DataSpec, HttpSpec, ModelError, ModelSpec, RunSpec, Spec, Stopped
from audit.data.readers import from_frame, tabular
from audit.models import wire
from audit.models.load import load

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "income": RNG.normal(size=300),
        "zip": RNG.choice(["north", "south"], 300),
        "children": RNG.integers(0, 4, 300),
        "y": RNG.integers(0, 2, 300),
    }
)
FRAME.loc[5, "income"] = np.nan


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(wire, "FIRST", 0.01)


def model_of(service, frame=FRAME, *, seconds=None, batch=4096, output="probability", **http):
    spec = Spec(
        model=ModelSpec(kind="http", http=HttpSpec(url=service.url, **http), batch_size=batch, output=output),
        data=DataSpec(label="y"),
        run=RunSpec(device="cpu", max_seconds=seconds),
    )
    data = from_frame(frame, spec)
    return load(spec, data, None), data


def expected(frame=FRAME):
    return 1 / (1 + np.exp(-(frame["income"].fillna(0) + frame["children"]).to_numpy()))


def test_rows_travel_as_objects_and_come_back_in_order():
    with serving(delay=0.01) as service:
        model, data = model_of(service, batch=32)
        assert not service.requests  # nothing is sent before the first prediction
        np.testing.assert_allclose(model.predict(data.inputs), expected(), atol=1e-15)
        order = RNG.permutation(len(data))
        np.testing.assert_allclose(model.predict(data.inputs.take(order)), expected()[order], atol=1e-15)
        first = {"income": FRAME["income"][0], "zip": FRAME["zip"][0], "children": int(FRAME["children"][0])}
        rows = list(itertools.chain.from_iterable(service.requests))
        assert first in rows
        assert None in [row["income"] for row in rows]
        assert {type(row["children"]) for row in rows} == {int}
        assert 2 <= service.most <= 4  # requests at once, never more than allowed
        assert max(map(len, service.requests)) <= 32
        assert service.rows == len({json.dumps(row) for row in rows}) == 300  # the second time all were known
        assert "Authorization" not in service.headers[0]


def test_equal_rows_are_asked_once_and_arrays_are_read_like_tables():
    with serving() as service:
        model, data = model_of(service)
        twice = data.inputs.take(np.array([3, 3, 4, 3]))
        assert len(set(model.predict(twice).tolist())) == 2
        assert service.rows == 2
        np.testing.assert_array_equal(model.predict(tabular(data).values), model.predict(data.inputs))
        assert service.rows == 300


def test_a_flaky_service_is_asked_again_and_what_it_asks_for_is_granted():
    def reply(number, rows):
        if number == 0:
            return 503, {"Retry-After": "0.3"}, b"busy"
        if number == 1:
            return 429, {"Retry-After": formatdate(time.time() - 5, usegmt=True)}, b"slow down"
        if number == 2:
            return 200, {"Content-Length": "99999"}, b'{"predictions": [0.5'  # cut off
        return ok(logistic(rows))

    with serving(reply=reply) as service:
        model, data = model_of(service, concurrency=1)
        started = time.monotonic()
        np.testing.assert_allclose(model.predict(data.inputs), expected(), atol=1e-15)
        assert time.monotonic() - started > 0.3
        assert len(service.requests) == 4
        assert model.run.sent == 4 * 300


def test_after_the_last_try_the_failure_is_named():
    with serving(reply=lambda number, rows: (502, {}, b"bad gateway behind the wall")) as service:
        model, data = model_of(service, retries=2, concurrency=1)
        with pytest.raises(ModelError, match=r"failed 3 times, at last: 502 .*bad gateway behind the wall"):
            model.predict(data.inputs)
        assert len(service.requests) == 3
    with serving(reply=lambda number, rows: (503, {"Retry-After": "3600"}, b"")) as service:
        model, data = model_of(service)
        with pytest.raises(ModelError, match="asks to wait 3600 s, allowed are 60"):
            model.predict(data.inputs)
    model, data = model_of(service, retries=0)  # nobody listens any more
    with pytest.raises(ModelError, match="failed once, at last: ConnectionRefusedError"):
        model.predict(data.inputs)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((404, {}, b'{"error": "no model credit"}'), "answered 404 Not Found: .*no model credit"),
        ((401, {}, b""), "answered 401"),
        (
            (302, {"Location": "http://elsewhere.example/"}, b""),
            r"answered 302 Found \(to 'http://elsewhere.example/'\): redirects are not followed",
        ),
        ((200, {}, b"<html>"), "did not answer JSON: '<html>'"),
        ((200, {}, b"[" * 100_000), "did not answer JSON"),
        ((200, {}, b"[0.5]"), r"must answer .*, it answered '\[0.5\]'"),
        ((200, {}, b'{"scores": [0.5, 0.5]}'), "must answer .*scores"),
        (ok([0.5]), "answered 1 predictions for 2 rows"),
        (ok([0.5, None]), r"prediction 1 \(from 0\) must be a number or a list of numbers, got 'null'"),
        (ok([0.5, "0.5"]), "prediction 1 .* got '\"0.5\"'"),
        (ok([True, 0.5]), "prediction 0 .* got 'true'"),
        (ok([0.5, []]), r"prediction 1 .* got '\[\]'"),
        (ok([0.5, [0.5, 0.5]]), "rows with 1 and with 2 numbers"),
        (ok([[[0.5]], [[0.5]]]), "prediction 0 "),
        (ok([0.5, math.nan]), "not finite in 1 of 2 rows"),
        (ok([0.5, 1.5]), "not probabilities in 1 of 2 rows"),
        ((200, {}, b'{"predictions": [0.5, 1' + b"0" * 400 + b"]}"), "too large a number"),
        ((200, {}, b" " * (3 << 20)), "answered more than 1,081,344 bytes"),
    ],
)
def test_what_is_no_prediction_is_named_and_not_asked_again(reply, message):
    with serving(reply=lambda number, rows: reply) as service:
        model, data = model_of(service, FRAME.head(2))
        with pytest.raises(ModelError, match=message):
            model.predict(data.inputs)
        assert len(service.requests) == 1


def test_columns_of_two_classes_logits_and_numbers():
    def columns(number, rows):
        return ok([[1 - p, p] for p in logistic(rows)])

    def logits(number, rows):
        return ok([[math.log(p / (1 - p))] for p in logistic(rows)])

    for reply, output in ((columns, "probability"), (logits, "logit")):
        with serving(reply=reply) as service:
            model, data = model_of(service, output=output)
            np.testing.assert_allclose(model.predict(data.inputs), expected(), atol=1e-12)


def test_too_many_rows_for_the_service_are_halved():
    def small(number, rows):
        return ok(logistic(rows)) if len(rows) <= 20 else (413, {}, b"too large")

    with serving(reply=small) as service:
        model, data = model_of(service, concurrency=1)
        np.testing.assert_allclose(model.predict(data.inputs), expected(), atol=1e-15)
        assert max(len(rows) for rows in service.requests[-5:]) <= 20


def test_the_budget_is_never_passed():
    with serving() as service:
        with pytest.raises(ModelError, match="queries allows 299 rows; the data alone have 300"):
            model_of(service, queries=299)
        model, data = model_of(service, queries=310)
        model.predict(data.inputs)
        table = tabular(data)
        others = table.with_values(table.values[:20] + np.array([0.5, 0, 0]))
        with pytest.raises(BudgetSpent, match="queries allows 310 rows: 300 were sent and 19 more"):
            model.predict(others)
        assert model.predict(others.take(np.arange(11))).shape == (11,)  # row 5, whose income is missing, is known
        assert service.rows == 310
    with serving(reply=lambda number, rows: (503, {}, b"")) as service:
        model, data = model_of(service, queries=500, concurrency=1)
        with pytest.raises(
            ModelError, match=r"500 rows: 300 were sent and 300 more .*before the data had been answered"
        ):
            model.predict(data.inputs)
        assert service.rows == 300


def test_a_service_that_is_too_slow_is_left_in_time():
    with serving(delay=5) as service:
        model, data = model_of(service, timeout=0.3, retries=1)
        started = time.monotonic()
        with pytest.raises(ModelError, match=r"no answer within 0\.3 s \(\[model.http\] timeout\)"):
            model.predict(data.inputs)
        assert time.monotonic() - started < 2
        model, data = model_of(service, seconds=0.4, timeout=60)
        started = time.monotonic()
        with pytest.raises(ModelError, match=r"the deadline .* before the data had been answered once"):
            model.predict(data.inputs)
        assert time.monotonic() - started < 1.5
        assert len([each for each in threading.enumerate() if "work" in each.name]) == 0


def test_a_service_that_drips_is_cut_off_too():
    drops = [b"{", *[b" "] * 100]
    with serving(reply=lambda number, rows: (200, {"Content-Length": "1000"}, drops)) as service:
        model, data = model_of(service, timeout=0.5, retries=0)
        started = time.monotonic()
        with pytest.raises(ModelError, match=r"no answer within 0\.5 s"):
            model.predict(data.inputs)
        assert time.monotonic() - started < 1.5


def test_once_answered_the_deadline_is_a_stop_not_an_error():
    with serving() as service:
        model, data = model_of(service, seconds=1.0)
        model.predict(data.inputs)
        service.delay = 5
        table = tabular(data)
        with pytest.raises(Stopped, match="deadline"):
            model.predict(table.with_values(table.values + np.array([1.0, 0, 0])))


# ---------------------------------------------------------------------------------------------------------- secrets
def test_the_token_is_sent_and_never_told(monkeypatch):
    monkeypatch.setenv("SCORING_TOKEN", "s3cret-token")
    with serving(reply=lambda number, rows: (403, {}, b"bad token s3cret-token!")) as service:
        model, data = model_of(service, token="SCORING_TOKEN")
        with pytest.raises(ModelError, match="answered 403") as caught:
            model.predict(data.inputs)
        assert service.headers[0]["Authorization"] == "Bearer s3cret-token"
        assert "***" in str(caught.value)
        for text in (str(caught.value), repr(model.card), repr(model.http)):
            assert "s3cret" not in text
    for value, message in (("", "is not set, or empty"), ("a b", "holds a space"), ("a\nb", "a line break")):
        monkeypatch.setenv("SCORING_TOKEN", value)
        with pytest.raises(ModelError, match=message):
            model_of(service, token="SCORING_TOKEN")
    monkeypatch.setenv("SCORING_TOKEN", "s3cret-token")
    with pytest.raises(ModelError, match=r"anyone on the way to http://models\.example could read it"):
        model_of(replace_url(service, "http://models.example/v1"), token="SCORING_TOKEN")


def replace_url(service, url):
    return replace(service, url=url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://me:pass@127.0.0.1/x", "must hold no user and no password"),
        ("http://127.0.0.1:99999/x", "port must be a number"),
        ("http:///x", "must read http://host/path"),
        ("http://127.0.0.1/a b", "must be written as %XX"),
    ],
)
def test_addresses_that_are_none(url, message):
    with pytest.raises(ModelError, match=message) as caught:
        wire.endpoint(url)
    assert "pass@" not in str(caught.value)


def test_a_proxy_of_the_environment_sees_nothing(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with serving() as service:
        model, data = model_of(service)
        np.testing.assert_allclose(model.predict(data.inputs), expected(), atol=1e-15)

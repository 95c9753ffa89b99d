"""Threads: what the user gave, never more, inside one process and by the processor time of a whole audit."""

import os
import resource
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from audit.core import UsageError
from audit.models.threads import allowed, limited

AUDIT = """
[model]
kind = "{kind}"
{keys}
[data]
world = "credit"
rows = 1000
[groups]
attributes = ["sex"]
[run]
device = "cpu"
[checks]
only = ["performance", "fairness.error_rates"]
"""


def pools():
    return {pool["filepath"]: pool["num_threads"] for pool in threadpool_info()}


def test_threads_are_limited_inside_and_as_before_afterwards(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    np.ones((2, 2)) @ np.ones((2, 2))
    before = torch.get_num_threads(), pools()
    torch.set_num_threads(2)
    try:
        with limited(1):
            assert torch.get_num_threads() == 1
            assert set(pools().values()) == {1}
            assert allowed() == 1
        assert torch.get_num_threads() == 2
        with pytest.raises(ZeroDivisionError), limited(1):
            _ = 1 / 0
        assert torch.get_num_threads() == 2
        with limited(64):
            assert torch.get_num_threads() == 2  # nothing gets more than it had
        with limited(None):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before[0])
    assert pools() == before[1]
    assert "OMP_NUM_THREADS" not in os.environ
    with pytest.raises(UsageError, match="1 or more, got 0"), limited(0):
        pass


def test_what_is_allowed(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert allowed() == 3
    assert allowed(5) == 5
    for strange in ("", "many", "0"):
        monkeypatch.setenv("OMP_NUM_THREADS", strange)
        assert allowed() == len(os.sched_getaffinity(0))


BUILD = """
import numpy as np
rng = np.random.default_rng(0)
X = rng.normal(size=(600, 7)); y = X[:, 0] + rng.normal(size=600) > 0

def boosted():
    import xgboost
    return xgboost.XGBClassifier(n_estimators=60, max_depth=6).fit(X, y)
def deep():
    import torch
    from torch import nn
    return nn.Sequential(nn.Linear(7, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 1), nn.Sigmoid())
"""


@pytest.mark.parametrize(("kind", "function"), [("xgboost", "boosted"), ("torch", "deep")])
def test_an_audit_on_one_thread_uses_one_processor(kind, function, tmp_path):
    (tmp_path / "made.py").write_text(BUILD)
    (tmp_path / "audit.toml").write_text(AUDIT.format(kind=kind, keys=f'factory = "made:{function}"'))
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "audit", "run", "audit.toml", "-q", "--exit-zero"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
    )
    wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used < 1.15 * wall

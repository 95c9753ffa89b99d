"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real data: AUDIT_TEST_DATA, by default ../shared/data beside the checkout."""
    folder = Path(os.environ.get("AUDIT_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "expected_A.json").exists():
        pytest.skip(f"the real test data is not at {folder}: set AUDIT_TEST_DATA")
    return folder

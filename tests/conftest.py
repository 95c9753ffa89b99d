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


@pytest.fixture(scope="session")
def explained(tmp_path_factory, test_data):
    """Audit real data with a model by the name of a writer in explained_models, once; returns the folder."""
    from explained_models import WRITERS

    from audit.cli import main

    done: dict[str, Path] = {}

    def run(name: str) -> Path:
        if name not in done:
            folder = tmp_path_factory.mktemp(name)
            WRITERS[name](folder, test_data)
            code = main(["run", str(folder / "audit.toml"), "--out", str(folder / "out"), "-q"])
            assert code == 0, name
            done[name] = folder
        return done[name]

    return run


@pytest.fixture(scope="session")
def report_of():
    """Build a record around outcomes."""
    from audit.core import Environment, Origin, Report, Run, Spec, SubjectCard, Verdict

    def build(*outcomes) -> Report:
        return Report(
            spec=Spec(),
            subject=SubjectCard(
                model=None,
                origin=Origin(name="rows.csv"),
                rows=1,
                people=1,
                features=(),
                classes=("0", "1"),
                positives=None,
                groups={},
                unknown={},
            ),
            environment=Environment(
                audit="0", python="3", platform="x", packages={}, seed=0, device="cpu", hashes={}, command="audit run"
            ),
            outcomes=outcomes,
            rulings=(),
            not_tested=(),
            limitations=(),
            verdict=Verdict(outcome="ungated", required={}, headline=(), exit_code=0),
            complete=True,
            run=Run(started="2026-01-01T00:00:00+00:00", seconds=1.0),
        )

    return build

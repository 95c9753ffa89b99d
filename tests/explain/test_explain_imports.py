"""Explanations, robustness and carbon can be listed without the heavy libraries."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("room", ["explain", "robustness", "carbon"])
def test_the_room_is_listed_without_heavy_imports(room):
    code = (
        "import pkgutil, importlib, sys\n"
        f"import audit.{room} as room\n"
        "for module in pkgutil.walk_packages(room.__path__, room.__name__ + '.'):\n"
        "    importlib.import_module(module.name)\n"
        "print(sorted({'torch', 'captum', 'shap', 'lime', 'pandas', 'scipy', 'sklearn'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

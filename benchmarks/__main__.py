"""The command line of the benchmarks; exit 0 when every goal is met, 1 when not, 2 when a case cannot run."""

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Callable, Iterable
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ARROW_NUM_THREADS"):
    os.environ[_name] = "1"  # one thread, on both sides; read when the libraries are first imported

from benchmarks.harness import Case, peak_here, run  # noqa: E402

QUICK, FULL, EXPLAINED = (100_000,), (100_000, 1_000_000), (256,)
WARM_UP = 1_000


def cases() -> dict[str, Callable[[int, bool], Case]]:
    """Every case of every module here: name -> function (rows, quick) -> Case; being there is being registered."""
    return _named("CASES")


def tables() -> dict[str, Callable[[bool], None]]:
    """Every table of every module here: name -> function (quick) that prints it; it has no goal to meet."""
    return _named("TABLES")


def on_device() -> dict[str, Callable[[bool, str], None]]:
    """Every table that is taken on one device: name -> function (quick, device) that prints it."""
    return _named("ON_DEVICE")


def _named(what: str) -> dict[str, Any]:
    import benchmarks

    found: dict[str, Any] = {}
    for module in pkgutil.iter_modules(benchmarks.__path__):
        if not module.name.startswith("__"):
            found |= getattr(importlib.import_module(f"benchmarks.{module.name}"), what, {})
    return dict(sorted(found.items()))


def main(arguments: list[str] | None = None) -> int:
    """Run the cases that the command line names."""
    known, placed = cases(), on_device()
    printed = tables()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"cases, or what their names begin with: {', '.join(known)}; tables without a goal: {', '.join([*printed, *placed])}",
    )
    parser.add_argument("--all", action="store_true", help="every case, no table")
    parser.add_argument("--quick", action="store_true", help="small sizes, and a part of the peer's slowest work")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help=f"where {', '.join(placed)} runs"
    )
    parser.add_argument("--size", type=int, help="rows, instead of the sizes of the case")
    parser.add_argument("--peak", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    named = {name: _beginning(name, [*known, *printed, *placed]) for name in options.names}
    names = list(known) if options.all else list(dict.fromkeys(name for found in named.values() for name in found))
    unknown = [name for name, found in named.items() if not found]
    if unknown or not names:
        parser.error(f"allowed names are {', '.join([*known, *printed, *placed])}; got {', '.join(unknown) or 'none'}")
    if options.peak:
        return _peak(known[names[0]], options.size, options.peak)
    met = True
    for name in names:
        if name in placed:
            placed[name](options.quick, options.device)
            continue
        if name in printed:
            printed[name](options.quick)
            continue
        for size in (options.size,) if options.size else sizes(name, options.quick):
            met &= run(known[name](size, options.quick), name, size)
    return 0 if met else 1


def _beginning(name: str, known: Iterable[str]) -> list[str]:
    """The case of that name, or all whose names begin with it and a hyphen."""
    return [each for each in known if each == name or each.startswith(f"{name}-")]


def sizes(name: str, quick: bool) -> tuple[int, ...]:
    """The numbers of rows that a case is run with: what a bootstrap of counts costs does not depend on them.

    Explanations are compared on as many rows as the peer can be waited for.
    """
    if name.startswith("explain-"):
        return EXPLAINED
    return QUICK if quick or name == "bootstrap" else FULL


def _peak(case: Callable[[int, bool], Case], size: int, side: str) -> int:
    small, large = case(WARM_UP, True), case(size, True)
    print(peak_here(getattr(small, side), getattr(large, side)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""One case: the two sides in turn, CPU time, peak memory of fresh processes, and a verdict as a line of JSON."""

import ctypes
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OURS_PER_ROUND = 7  # our side is short, so it is called more often than the peer
SMALLEST_MB = 0.1  # below this, peak memory is the noise of the allocator


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Two callables that answer the same question.

    goal: how many times faster than the peer we promise to be. distance: the largest absolute difference between the two
    answers. scale, scale_note: what the peer's time is multiplied with when it did a part of the work only, and why.
    memory_goal: how many times less peak memory we promise, None: not compared. repeats: calls of our side for each of
    the peer's. errors: the mean absolute errors of ours and of the peer's answers to what `truth` names; then the goal is
    met only where ours is not the larger. evaluations: how many rows ours and the peer's answer asked the model for, with
    `evaluations_goal`, how many times fewer we promise. limit: CPU seconds of the bare forward passes of our answer.
    """

    name: str
    peer: str
    goal: float
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    distance: Callable[[Any, Any], float] | None = None
    rounds: int = 3
    repeats: int = OURS_PER_ROUND
    scale: float = 1.0
    scale_note: str = ""
    memory_goal: float | None = None
    errors: Callable[[], tuple[float, float]] | None = None
    truth: str = ""
    evaluations: Callable[[Any, Any], tuple[float, float]] | None = None
    evaluations_goal: float = 1.0
    limit: Callable[[Any], float] | None = None


def run(case: Case, entry: str, size: int) -> bool:
    """Measure a case, print its table and its lines of JSON; True when every goal is met."""
    ours, theirs, answers = _times(case)
    ratio = statistics.median(theirs) / statistics.median(ours)
    print(f"\n{case.name}: audit against {case.peer}")
    print(f"{'CPU seconds':<12}{'min':>12}{'median':>12}{'max':>12}{'calls':>8}")
    for side, times in (("audit", ours), ("peer", theirs)):
        print(f"{side:<12}{min(times):>12.6f}{statistics.median(times):>12.6f}{max(times):>12.6f}{len(times):>8}")
    if case.scale_note:
        print(f"the peer's times are {case.scale_note}")
    told = f"ratio {ratio:,.1f}" if ratio < 100 else f"ratio {ratio:,.0f}"
    print(told if case.distance is None else f"{told}; the answers differ by at most {case.distance(*answers):.1e}")
    if case.limit is not None:
        bare = case.limit(answers[0])
        print(
            f"bare forward passes of as many rows: {bare:.3f} CPU s; ours is {statistics.median(ours) / bare:.2f} of it"
        )
    lines = [_verdict(case.name, case.peer, ratio, case.goal)]
    if case.errors is not None:
        mine, peer = case.errors()
        print(f"error to {case.truth}: audit {mine:.2e}, peer {peer:.2e}")
        lines[0] |= {"mae": float(f"{mine:.3g}"), "peer_mae": float(f"{peer:.3g}")}
        lines[0]["met"] &= lines[0]["mae"] <= lines[0]["peer_mae"]  # to three digits: rounding is no advantage
    if case.evaluations is not None:
        mine, peer = case.evaluations(*answers)
        print(f"rows that the model was asked for: audit {mine:,.0f}, peer {peer:,.0f}")
        lines.append(_verdict(f"{case.name}-evaluations", case.peer, peer / mine, case.evaluations_goal))
    if case.memory_goal is not None:
        mine, peer = (peak_in_fresh_process(entry, size, side) for side in ("ours", "theirs"))
        print(f"peak memory above the start of the call: audit {mine:.1f} MB, peer {peer:.1f} MB")
        ratio = max(peer, SMALLEST_MB) / max(mine, SMALLEST_MB)
        lines.append(_verdict(f"{case.name}-memory", case.peer, ratio, case.memory_goal))
    for line in lines:
        print(json.dumps(line))
    return all(line["met"] for line in lines)


def _times(case: Case) -> tuple[list[float], list[float], tuple[Any, Any]]:
    """CPU seconds of either side, taken in turn, and the last answer of both."""
    ours: list[float] = []
    theirs: list[float] = []
    answer = case.ours()  # the first call imports what it needs
    for _ in range(case.rounds):
        gc.collect()
        peers_answer, seconds = _timed(case.theirs)
        theirs.append(seconds * case.scale)
        for _ in range(case.repeats):
            answer, seconds = _timed(case.ours)
            ours.append(seconds)
    return ours, theirs, (answer, peers_answer)


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """A call's answer and CPU seconds, without the garbage collector, as timeit does it."""
    gc.disable()
    start = time.process_time()
    answer = call()
    seconds = time.process_time() - start
    gc.enable()
    return answer, seconds


def _verdict(case: str, peer: str, ratio: float, goal: float) -> dict[str, Any]:
    return {"case": case, "peer": peer, "ratio": round(ratio, 1), "goal": goal, "met": ratio >= goal}


# ---------------------------------------------------------------------------------------------------- memory
def peak_in_fresh_process(entry: str, size: int, side: str) -> float:
    """Peak memory (MB) of one call of one side, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks", entry, "--peak", side, "--size", str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    return float(done.stdout)


def peak_here(small: Callable[[], Any], call: Callable[[], Any]) -> float:
    """Peak memory (MB) of a call above what this process holds before it; `small` warms up the libraries first."""
    small()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what earlier work freed is given back, or the call could hide in it
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from here
    before = _status("VmRSS")
    call()
    return (_status("VmHWM") - before) / 1024.0


def _status(field: str) -> int:
    """A line of /proc/self/status, in kB."""
    text = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{field}:"))

"""The command line: thin, and slow imports only where a command needs them.

Exit codes: 0 every required gate passes, 1 one fails, 2 it could not run, 3 none fails but one is undecided.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_args

from audit.core import AuditError, ConfigError, Dtype, ModelError, UsageError

if TYPE_CHECKING:
    from audit.core import Report, RunSpec

PASSED, FAILED, BROKEN, UNDECIDED = 0, 1, 2, 3
KINDS = ("checks", "explainers", "adapters", "families", "worlds", "renderers")
DESCRIPTION = """\
Examine a machine-learning model: fairness, explanations, robustness, energy.

  audit init --from predictions.csv     write a commented audit.toml, columns guessed
  audit run audit.toml                  measure, judge, write out/result.json and out/report.html
  audit check out/result.json           judge an old record again, perhaps under new gates
  audit report out/result.json -o md:summary.md
  audit zoo run mlp                     train a reference model and audit it
  audit calibrate mlp                   how far to trust the checks on such models
"""
ZOO = """\
  audit zoo list                                     what there is
  audit zoo train --all --threads 1                  train every family, see what it promises
  audit zoo run mlp                                  train, audit, zoo/mlp/report.html
  audit zoo compare mlp adversarial                  side by side, compare/report.html
  audit zoo compare mlp mlp:rule=feedback_alignment  does the training rule change the gap?
"""
EPILOG = """\
exit codes:
  0  every required gate passes          2  it could not run (usage, configuration, data, model)
  1  a required gate fails               3  none fails, but a required one is undecided or untested
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; every mistake becomes one message on stderr and code 2."""
    try:
        options = _parser().parse_args(arguments)
        return _carry_out(options)
    except AuditError as error:
        print(f"audit: error: {_printable(str(error))}", file=sys.stderr)  # noqa: T201
    except KeyboardInterrupt:
        print("audit: error: stopped by Ctrl-C before anything was measured", file=sys.stderr)  # noqa: T201
    except BrokenPipeError:
        # The reader of our output went away (`audit list | head`); nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if os.environ.get("AUDIT_DEBUG"):
            raise
        message = f"audit: error: internal, {type(error).__name__}: {error}\nSet AUDIT_DEBUG=1 to see where."
        print(_printable(message), file=sys.stderr)  # noqa: T201
    return BROKEN


def _carry_out(options: argparse.Namespace) -> int:
    try:
        with _terminate_like_ctrl_c():
            code: int = options.command(options)
    except SystemExit as exit:
        # A model that calls sys.exit(0) must not pass for a passed audit.
        raise ModelError(f"the model or a plug-in called sys.exit({exit.code})") from exit
    return code


@contextlib.contextmanager
def _terminate_like_ctrl_c() -> Iterator[None]:
    """CI ends a job with SIGTERM: it leaves the same partial record as Ctrl-C."""

    def interrupt(*_: Any) -> NoReturn:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _printable(text: str) -> str:
    """Text from data cannot move the cursor or hide a line of the terminal."""
    return "".join(c if c == "\n" or c.isprintable() else "\ufffd" for c in text)


def _say(text: str) -> None:
    print(_printable(text), file=sys.stderr)  # noqa: T201


def _data(text: str) -> None:
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


# ------------------------------------------------------------------------------------------------- parsing
class _Parser(argparse.ArgumentParser):
    """argparse, but a mistake is a UsageError like any other, with the nearest allowed word."""

    def error(self, message: str) -> NoReturn:
        from audit.core import suggest

        hint = ""
        if "invalid choice: '" in message:
            came = message.split("invalid choice: '")[1].split("'")[0]
            hint = suggest(came, message.split("choose from ")[-1].replace("'", "").rstrip(")").split(", "))
        elif message.startswith("unrecognized arguments: "):
            came = message.removeprefix("unrecognized arguments: ").split()[0]
            known = list(_options(self))
            hint = "" if came in known else suggest(came, known)  # known, but to another command
        raise UsageError(f"{message}{hint}\n{self.format_usage().strip()}")


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from _options(sub)


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = _Parser(prog="audit", description=DESCRIPTION, epilog=EPILOG, formatter_class=raw, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    def command(name: str, function: Any, help: str) -> argparse.ArgumentParser:
        text = f"{help[:1].upper()}{help[1:]}."
        sub = commands.add_parser(
            name, help=help, description=text, epilog=EPILOG, formatter_class=raw, allow_abbrev=False
        )
        sub.set_defaults(command=function)
        return sub

    init = command("init", _init, "write a commented audit.toml; an existing file is never overwritten")
    init.add_argument("--from", dest="source", metavar="FILE", type=Path, help="a data file: its columns are guessed")
    init.add_argument("path", nargs="?", type=Path, default=Path("audit.toml"), help="to write (default: audit.toml)")

    _run_options(command("run", _run, "measure and judge what audit.toml describes"))

    check = command("check", _check, "judge a record again, without the model")
    check.add_argument("record", type=Path, help="a result.json")
    check.add_argument("--config", type=Path, metavar="FILE", help="gates to judge by, instead of the record's own")
    _outputs(check)
    _leniency(check)

    report = command("report", _report, "draw a record again, without the model: -o html:PATH -o md:PATH -o junit:PATH")
    report.add_argument("record", type=Path, help="a result.json")
    _outputs(report)

    listing = command("list", _list, "what there is: " + ", ".join(KINDS))
    listing.add_argument("kind", nargs="?", choices=KINDS, default="checks")

    explain = command("explain", _explain, "what a check measures, how, and what its numbers do not say")
    explain.add_argument("check", metavar="CHECK-ID", help="such as fairness.impact_ratio; see `audit list checks`")

    _zoo_options(command("zoo", _zoo, "reference models of every family: list, train, run, compare"))
    _calibrate_options(
        command("calibrate", _calibrate, "how well the checks read reference models whose truth is known")
    )

    schema = command("schema", _schema, "the JSON Schema of audit.toml (config) or of result.json (result)")
    schema.add_argument("noun", nargs="?", choices=("config", "result"), default="result")
    return parser


def _zoo_options(parser: argparse.ArgumentParser) -> None:
    parser.epilog = ZOO
    actions = parser.add_subparsers(required=True, metavar="ACTION", parser_class=_Parser, dest="action")

    def action(name: str, help: str) -> argparse.ArgumentParser:
        sub = actions.add_parser(
            name,
            help=help,
            description=f"{help[:1].upper()}{help[1:]}.",
            epilog=ZOO,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        sub.add_argument("-q", "--quiet", action="store_true", help="no progress")
        return sub

    action("list", "every family: paper, world, parameters, what it offers")
    train = action("train", "train families, keep them, and judge what they promise; exit 1 where one breaks a promise")
    train.add_argument("names", nargs="*", metavar="NAME", help="a family, or NAME:OPTION=VALUE,...")
    train.add_argument("--all", action="store_true", help="every family")
    run = action("run", "train a family, audit it, and write its report; exit 1 where it breaks what it promises")
    run.add_argument("name", metavar="NAME", help="a family, or NAME:OPTION=VALUE,...")
    compare = action("compare", "train families on the same people and audit them side by side")
    compare.add_argument("names", nargs="+", metavar="NAME", help="a family, or NAME:OPTION=VALUE,...")
    compare.add_argument("--world", help="where people are drawn; by default the world of the first family")
    for each in (train, run, compare):
        each.add_argument("--training", type=int, metavar="ROWS", help="rows to train on (default: the family's own)")
        each.add_argument("--rows", type=int, help="rows to audit on (default: half of that)")
        folder = "compare" if each is compare else "zoo"
        help = f"folder to write into (default: {folder})"
        each.add_argument("--out", type=Path, default=Path(folder), metavar="DIR", help=help)
        _machine(each)


def _calibrate_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="FAMILY", help="a family, or FAMILY:OPTION=VALUE,...")
    parser.add_argument("--seeds", type=int, default=20, help="models to train (default: 20)")
    parser.add_argument("--audits", type=int, default=10, help="audits of each model (default: 10)")
    parser.add_argument(
        "--explained", type=int, default=3, help="of them with explanations, which take longer (default: 3)"
    )
    parser.add_argument("--rows", type=int, help="rows in an audit (default: a quarter of those that train)")
    parser.add_argument("--training", type=int, metavar="ROWS", help="rows to train on (default: the family's own)")
    help = "for FAMILY.json; audits of a configuration beside the folder `calibration` quote it"
    parser.add_argument("--out", type=Path, default=Path("calibration"), metavar="DIR", help=help)
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    _machine(parser)


def _machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, help="of every random draw (default: 0)")
    parser.add_argument("--threads", type=int, help="the most that torch and other engines use")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def _run_options(run: argparse.ArgumentParser) -> None:
    run.add_argument("config", nargs="?", type=Path, default=Path("audit.toml"), help="default: audit.toml")
    run.add_argument("--only", type=_listed, default=(), metavar="A,B", help="only checks whose id begins so")
    run.add_argument("--seed", type=int, help="of every random draw; overrides [run] seed")
    run.add_argument("--device", choices=("auto", "cpu", "cuda"), help="overrides [run] device")
    run.add_argument("--dtype", choices=get_args(Dtype), help="number type of the model; overrides [run] dtype")
    run.add_argument("--threads", type=int, help="the most that the model may use; overrides [run] threads")
    run.add_argument(
        "--max-seconds", type=float, metavar="S", help="stop after S seconds, with a partial, valid record"
    )
    run.add_argument(
        "--budget",
        type=int,
        metavar="ROWS",
        help="the most rows that one check may ask the model for; overrides [run] budget",
    )
    run.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="for result.json and report.html")
    run.add_argument("-q", "--quiet", action="store_true", help="no progress and no summary; errors are still told")
    _outputs(run)
    _leniency(run)


def _outputs(parser: argparse.ArgumentParser) -> None:
    help = "write a rendering: html, md, junit or json to PATH; `-o json` alone prints to stdout; may be repeated"
    parser.add_argument(
        "-o", "--output", dest="outputs", action="append", default=[], type=_output, metavar="FORMAT:PATH", help=help
    )


def _leniency(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--allow-inconclusive", action="store_true", help="exit 0 instead of 3")
    parser.add_argument("--exit-zero", action="store_true", help="exit 0 instead of 1 and 3, never instead of 2")


def _listed(text: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    if not parts:
        raise argparse.ArgumentTypeError("must name one or more checks, such as fairness,explain")
    return parts


def _output(text: str) -> tuple[str, Path | None]:
    """FORMAT:PATH; only json may go without a path, to stdout."""
    format, colon, path = text.partition(":")
    if not path and (colon or format != "json"):
        raise argparse.ArgumentTypeError(f"must read FORMAT:PATH (or json for stdout), got {text!r}")
    return format, Path(path) if path else None


def _version() -> str:
    from audit import __version__

    return f"audit {__version__}"


# ------------------------------------------------------------------------------------------------ commands
def _run(options: argparse.Namespace) -> int:
    from audit.workflows.examine import examine
    from audit.workflows.progress import bar, lines

    wanted = [("json", options.out / "result.json"), ("html", options.out / "report.html"), *options.outputs]
    _check_outputs(wanted, options.config)
    progress = bar(False) if options.quiet else bar(True) if sys.stderr.isatty() else lines()
    with progress as show:
        report = examine(
            options.config,
            only=options.only,
            seed=options.seed,
            device=options.device,
            dtype=options.dtype,
            threads=options.threads,
            max_seconds=options.max_seconds,
            budget=options.budget,
            progress=show,
            allow_inconclusive=options.allow_inconclusive,
        )
    if report.spec.data.path:
        for _, path in wanted:
            _protect(path, [options.config.parent / report.spec.data.path])
    return _conclude(report, wanted, options, summary=not options.quiet)


def _check(options: argparse.Namespace) -> int:
    from audit import codec, engine

    _check_outputs(options.outputs, options.record, options.config)
    report = codec.read_record(options.record)
    spec = codec.read_gates(options.config, report.spec) if options.config else report.spec
    if mistakes := list(engine.gate_mistakes(spec)):
        raise ConfigError("\n".join(f"{options.config or options.record}: {mistake}" for mistake in mistakes))
    judged = engine.rejudge(
        report,
        spec,
        base=(options.config or options.record).resolve().parent,
        new_gates=bool(options.config),
        allow_inconclusive=options.allow_inconclusive,
    )
    return _conclude(judged, options.outputs, options, summary=True)


def _report(options: argparse.Namespace) -> int:
    from audit import codec

    if not options.outputs:
        raise UsageError("report: say what to write, such as -o html:report.html -o md:summary.md -o junit:audit.xml")
    _check_outputs(options.outputs, options.record)
    _write(codec.read_record(options.record), options.outputs)
    return PASSED


def _list(options: argparse.Namespace) -> int:
    from audit import registry

    found = registry.entries(options.kind)
    width = max((len(id) for id in found), default=0)
    _data("\n".join(f"{id:<{width}}  {entry.title}" for id, entry in found.items()))
    return PASSED


def _explain(options: argparse.Namespace) -> int:
    from audit import registry
    from audit.core import suggest
    from audit.workflows.docs import page

    checks = registry.entries("checks")
    if options.check not in checks:
        allowed = ", ".join(checks)
        raise UsageError(f"explain: no check {options.check!r}; allowed: {allowed}{suggest(options.check, checks)}")
    _data(page(checks[options.check]))
    return PASSED


def _zoo(options: argparse.Namespace) -> int:
    from audit.workflows import commands

    if options.action == "list":
        return commands.zoo_list(quiet=options.quiet)
    run = _run_of(options)
    for name, value in (("--rows", options.rows), ("--training", options.training)):
        if value is not None and value < 1:
            raise UsageError(f"{name}: 1 or more, got {value}")
    if options.action == "train":
        asked = commands.wishes(options.names, options.all)
        return commands.zoo_train(
            asked, options.out, rows=options.training, audited=options.rows, run=run, quiet=options.quiet
        )
    if options.action == "run":
        (wish,) = commands.wishes([options.name])
        return commands.zoo_run(
            wish, options.out, rows=options.rows, training=options.training, run=run, quiet=options.quiet
        )
    return commands.zoo_compare(
        commands.wishes(options.names),
        options.out,
        world=options.world,
        rows=options.rows,
        training=options.training,
        run=run,
        quiet=options.quiet,
    )


def _calibrate(options: argparse.Namespace) -> int:
    from audit.workflows import commands
    from audit.workflows.calibrate import Plan

    plan = Plan(
        seeds=options.seeds,
        audits=options.audits,
        explained=options.explained,
        rows=options.rows,
        training=options.training,
    )
    return commands.calibrate_families(
        commands.wishes(options.names), options.out, plan=plan, run=_run_of(options), quiet=options.quiet
    )


def _run_of(options: argparse.Namespace) -> RunSpec:
    from audit.core import RunSpec

    if options.seed < 0:
        raise UsageError(f"--seed: 0 or more, got {options.seed}")
    if options.threads is not None and options.threads < 1:
        raise UsageError(f"--threads: 1 or more, got {options.threads}")
    return RunSpec(seed=options.seed, threads=options.threads, device=options.device)


def _schema(options: argparse.Namespace) -> int:
    from audit import codec
    from audit.core import Report, Spec

    _data(json.dumps(codec.schema(Report if options.noun == "result" else Spec), indent=2))
    return PASSED


def _init(options: argparse.Namespace) -> int:
    from audit.workflows.init import write

    _say(write(options.path, options.source))
    return PASSED


# -------------------------------------------------------------------------------------------------- ending
def _check_outputs(outputs: Sequence[tuple[str, Path | None]], *inputs: Path | None) -> None:
    """A wrong format, or an output that would replace an input, is told before an hour of work, not after."""
    from audit import registry
    from audit.core import suggest

    known = registry.entries("renderers")
    for format, path in outputs:
        if format not in known:
            raise UsageError(f"-o: no format {format!r}; allowed: {', '.join(known)}{suggest(format, known)}")
        _protect(path, inputs)


def _protect(path: Path | None, inputs: Sequence[Path | None]) -> None:
    if path is not None and path.resolve() in [each.resolve() for each in inputs if each is not None]:
        raise UsageError(f"-o: {path} is what is read; choose another file")


def _conclude(
    report: Report, outputs: Sequence[tuple[str, Path | None]], options: argparse.Namespace, *, summary: bool
) -> int:
    from audit.reports import terminal

    paths = _write(report, outputs)
    if summary or report.verdict.exit_code == BROKEN:
        terminal.show(report, paths)
    if options.exit_zero and report.verdict.exit_code in (FAILED, UNDECIDED):
        return PASSED
    return report.verdict.exit_code


def _write(report: Report, outputs: Sequence[tuple[str, Path | None]]) -> list[Path]:
    """Write every rendering; Ctrl-C waits meanwhile, because a finished audit is worth the second that it takes."""
    from audit.reports.render import render, write

    with _undisturbed():
        rendered = [(render(report, format), path) for format, path in outputs]
        for text, path in rendered:
            if path is None:
                _data(text)
            else:
                write(text, path)
    return [path for _, path in rendered if path is not None]


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    try:
        before = {each: signal.signal(each, signal.SIG_IGN) for each in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread
        before = {}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


if __name__ == "__main__":
    sys.exit(main())

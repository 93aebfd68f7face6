"""Command line: ``python -m dftcore.grading GOLD PREDICTION [--policy NAME] [--explain | --json]``.

Prints True or False. Exit status 0: the comparison ended; 2: it was not asked rightly; 3: it was stopped by a limit.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import NoReturn

from dftcore.grading.judge import explain
from dftcore.grading.policy import PRESETS


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"dftcore.grading: {message} (see --help)", file=sys.stderr)
        raise SystemExit(2)


def _parser() -> argparse.ArgumentParser:
    parser = _Arguments(
        prog="python -m dftcore.grading",
        description="Say whether two mathematics answers are the same. Each is a bare answer or a whole completion.",
        epilog=r"Example: python -m dftcore.grading '\frac{1}{2}' 'so it is $0.5$' --explain. Exit status: 0 compared, "
        "2 wrong arguments, 3 stopped by a limit.",
    )
    parser.add_argument("gold", help="the reference answer")
    parser.add_argument("prediction", help="the answer to judge")
    parser.add_argument(
        "--policy", default="strict", metavar="NAME", help=f"one of {', '.join(PRESETS)} (default: strict)"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--explain", action="store_true", help="also print the rule that decided and how each side was read"
    )
    form.add_argument("--json", action="store_true", help="print everything as one JSON object")
    return parser


def _answers_last(arguments: Sequence[str]) -> list[str]:
    """The options, then ``--`` and the answers: ``-x`` is an answer, not an unknown option."""
    options: list[str] = []
    answers: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            answers += rest
        elif argument == "-h" or (argument.startswith("--") and argument[2:3].isalpha()):
            options += [argument, *([next(rest, "")] if argument == "--policy" else [])]
        else:
            answers.append(argument)
    return [*options, "--", *answers]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    parser = _parser()
    given = parser.parse_args(_answers_last(sys.argv[1:] if arguments is None else arguments))
    if given.policy not in PRESETS:
        parser.error(f"--policy {given.policy}: choose one of {', '.join(PRESETS)}")
    result = explain(given.gold, given.prediction, given.policy)
    if given.json:
        print(json.dumps(asdict(result)))
    else:
        print(result.verdict)
        if given.explain:
            print(f"rule        {result.rule}\nstatus      {result.status}")
            print(f"gold        {result.gold}\nprediction  {result.prediction}")
    if result.status != "ok":
        print(f"dftcore.grading: stopped ({result.status}): the verdict is not a comparison", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

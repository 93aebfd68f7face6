"""Accuracy, speed and safety of ``dftcore.grading`` beside Math-Verify, on labelled pairs and on generated ones.

    python benchmarks/checker.py                                    generated pairs only
    DFTCORE_DATA=DIR python benchmarks/checker.py                   also DIR/checker/*.jsonl, where they exist
    python benchmarks/checker.py --output benchmarks/results        writes checker.json and checker.md there
    python benchmarks/checker.py --python Math-Verify=/venv/bin/python    a checker from an environment of its own

A checker judges the pairs of a set in one process, one after another, under a wall-clock alarm of ten seconds, so that
it cannot hang the run; both sides go to the others as LaTeX in a box, their best setting. A checker that is not
installed is a row that says so. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

import checkout

ALARM_SECONDS = 10
SLOW_SECONDS = 1.0
NOT_INSTALLED = 3  # exit status


@dataclass(frozen=True)
class Pair:
    """A gold, a prediction, whether they are the same (None: either verdict will do)."""

    gold: str
    prediction: str
    same: bool | None
    completion: bool = False  # the prediction is a whole completion, not a bare answer


@dataclass(frozen=True)
class Row:
    """One checker on one set of pairs."""

    checker: str
    pairs: str
    count: int
    correct_percent: float
    false_positives: int
    false_negatives: int
    median_ms: float
    p99_ms: float
    slowest_ms: float
    over_one_second: int
    pairs_per_second: int
    payloads_run: int | None = None


class Alarm(KeyboardInterrupt):
    """A checker took longer than the benchmark waits. Of this kind, since event loops swallow other exceptions."""


def generated(count: int, seed: int) -> Iterator[Pair]:
    """Answers of every kind, rewritten truly or changed in one place."""
    source = random.Random(seed)
    for _ in range(count):
        a, b, c = source.randint(2, 99), source.randint(2, 99), source.randint(2, 9)
        big, places = source.randint(1_000, 9_999_999), source.randint(1, 30)
        kinds = [
            (str(big), f"{big:,}", str(big + 1)),
            (str(-a), f"-{a}.0", str(a)),
            (rf"\frac{{{a}}}{{{b}}}", f"{a * c}/{b * c}", rf"\frac{{{a + 1}}}{{{b}}}"),
            (f"{a / 8}", rf"\frac{{{a}}}{{8}}", f"{(a + 1) / 8}"),
            (f"{c}.{a}e{places}", rf"{c}.{a} \times 10^{{{places}}}", rf"{c}.{a} \times 10^{{{places + 1}}}"),
            (rf"{c}\sqrt{{{a}}}", rf"\sqrt{{{a * c * c}}}", rf"\sqrt{{{a * c * c + 1}}}"),
            (f"x^2+{a + b}x+{a * b}", f"(x+{a})(x+{b})", f"(x+{a})(x-{b})"),
            (rf"{a}\%", rf"\frac{{{a}}}{{100}}", rf"\frac{{{a + 1}}}{{100}}"),
            (f"({a},{b})", rf"\left({a}, {b}\right)", f"({a},{b + 1})"),
            (rf"\{{{a},{a + b}\}}", rf"\{{{a + b},{a}\}}", rf"\{{{a + b},{a + 1}\}}"),
            (f"[{a},{a + b})", rf"{a} \le x < {a + b}", rf"{a} < x \le {a + b}"),
            (
                rf"(-\infty,{a})\cup({a + b},\infty)",
                rf"x<{a} \text{{ or }} x>{a + b}",
                rf"x<{a} \text{{ or }} x>{a + b + 1}",
            ),
            (f"{a}x+{b}y={c}", f"{3 * a}x+{3 * b}y-{3 * c}=0", f"{a}x-{b}y={c}"),
            (rf"{a}\pm\sqrt{{{c}}}", rf"{a}-\sqrt{{{c}}}, {a}+\sqrt{{{c}}}", rf"{a}+\sqrt{{{c}}}"),
            tuple(
                rf"\begin{{{kind}}}{x}\\{y}\end{{{kind}}}"
                for kind, x, y in (("pmatrix", a, b), ("bmatrix", a, b), ("pmatrix", a + b, a))
            ),
            (rf"{a}\text{{ cm}}", f"{a}", f"{a + 1}"),
            (rf"\sin({c}x)\cos({c}x)", rf"\frac{{\sin({2 * c}x)}}{{2}}", rf"\frac{{\sin({2 * c}x)}}{{3}}"),
        ]
        gold, same, different = source.choice(kinds)
        answer, expected = source.choice([(same, True), (different, False)])
        yield Pair(gold, answer, expected)


def hostile(marker: str) -> Iterator[Pair]:
    """Payloads and bombs against an innocent gold."""
    for text in (
        f"open('{marker}','w')",
        f"__import__('os').system('touch {marker}')",
        f"[open('{marker}','w') for _ in [0]]",
        f"1+open('{marker}','w').fileno()",
        f"Symbol('x', real=open('{marker}','w'))",
        f"2*open('{marker}','w').fileno()*\\pi",
        "9^{9^{9^9}}",
        "9999999^{9999999}",
        "((1000!)!)!",
        r"\binom{10^9}{5\cdot10^8}",
        r"\sum_{k=1}^{10^9} k",
        "(a+b+c+d+e)^{80}",
        r"\gcd(2^{100000}-1,2^{99999}-1)",
        "+".join(rf"\sqrt{{{k}+\sqrt{{{k + 1}}}}}" for k in range(2, 20)),
        "1" * 5_000,
        "(" * 5_000,
        r"\sqrt{" * 600 + "2" + "}" * 600,
        "1" + "+1" * 20_000,
        r"\boxed{" * 5_000,
        "$a" * 5_001,
        r"1.1^{10^9}",
        r"\sin(10^{10^{12}})",
    ):
        yield Pair("42", text, False)


def labelled(data: Path, marker: str) -> Iterator[tuple[str, list[Pair]]]:
    """The labelled sets that the data directory holds."""
    for name in ("cases", "variants", "gsm8k_outputs", "hostile"):
        path = data / "checker" / f"{name}.jsonl"
        if not path.exists():
            continue
        pairs = []
        for line in path.read_text().splitlines():
            row = json.loads(line)
            if row["gold"] is None or row["pred"] is None or (name == "cases" and row["cls"] not in ("core", "hard")):
                continue
            gold, prediction = (row[side].replace("{MARKER}", marker) for side in ("gold", "pred"))
            pairs.append(
                Pair(gold, prediction, None if row.get("either") else row["expected"], row["kind"] == "completion")
            )
        yield name, pairs


def ours() -> Callable[[Pair], bool]:
    from dftcore.grading import check

    return lambda pair: check(pair.gold, pair.prediction)


def boxed(text: str) -> str:
    return text if "boxed" in text else rf"\boxed{{{text.strip().strip('$')}}}"


def math_verify() -> Callable[[Pair], bool]:
    from math_verify import parse, verify  # type: ignore[import-not-found]

    def check(pair: Pair) -> bool:
        prediction = pair.prediction if pair.completion else boxed(pair.prediction)
        return bool(verify(parse(boxed(pair.gold)), parse(prediction)))

    return check


def inspect_math() -> Callable[[Pair], bool]:
    import asyncio

    from inspect_ai.model import ModelName, ModelOutput  # type: ignore[import-not-found]
    from inspect_ai.scorer import Target, math  # type: ignore[import-not-found]
    from inspect_ai.solver import TaskState  # type: ignore[import-not-found]

    score, name, loop = math(), "mockllm/model", asyncio.new_event_loop()

    def check(pair: Pair) -> bool:
        output = ModelOutput.from_content(name, pair.prediction if pair.completion else boxed(pair.prediction))
        state = TaskState(model=ModelName(name), sample_id=1, epoch=1, input="", messages=[], output=output)
        return str(loop.run_until_complete(score(state, Target([boxed(pair.gold)]))).value) == "C"

    return check


def verl_prime() -> Callable[[Pair], bool]:
    from verl.utils.reward_score.prime_math import compute_score  # type: ignore[import-not-found]

    return lambda pair: bool(
        compute_score(pair.prediction if pair.completion else boxed(pair.prediction), pair.gold.strip().strip("$"))[0]
    )


def harness_minerva() -> Callable[[Pair], bool]:
    from lm_eval.tasks.minerva_math.utils import (  # type: ignore[import-not-found]
        get_unnormalized_answer,
        is_equiv,
        normalize_final_answer,
    )

    def answer(text: str, completion: bool) -> str:
        stated = get_unnormalized_answer(text) if completion else text
        return str(normalize_final_answer(stated))

    return lambda pair: bool(is_equiv(answer(pair.prediction, pair.completion), answer(pair.gold, False)))


CHECKERS = {
    "dftcore.grading": ours,
    "Math-Verify": math_verify,
    "inspect_ai math": inspect_math,
    "verl prime_math": verl_prime,
    "lm_eval minerva_math": harness_minerva,
}
DISTRIBUTIONS = {
    "dftcore.grading": "dftcore",
    "Math-Verify": "math-verify",
    "inspect_ai math": "inspect-ai",
    "verl prime_math": "verl",
    "lm_eval minerva_math": "lm-eval",
}


def version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "source tree" if distribution == "dftcore" else "absent"


def measure(name: str, check: Callable[[Pair], bool], label: str, pairs: list[Pair], marker: Path) -> Row:
    """Judge every pair once and count."""

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise Alarm

    signal.signal(signal.SIGALRM, ring)
    seconds: list[float] = []
    right = false_positives = false_negatives = payloads = 0
    for pair in pairs:
        start = time.perf_counter()
        signal.setitimer(signal.ITIMER_REAL, ALARM_SECONDS)
        try:
            verdict = check(pair)
        except (Alarm, Exception):  # any fault of a checker counts as "not the same"
            verdict = False
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        seconds.append(time.perf_counter() - start)
        right += pair.same is None or verdict == pair.same
        false_positives += verdict and pair.same is False
        false_negatives += not verdict and pair.same is True
        if marker.exists():
            payloads += 1
            marker.unlink()
    ordered = sorted(seconds)
    return Row(
        name,
        label,
        len(pairs),
        round(100 * right / len(pairs), 2),
        false_positives,
        false_negatives,
        round(1e3 * statistics.median(ordered), 3),
        round(1e3 * ordered[int(0.99 * (len(ordered) - 1))], 2),
        round(1e3 * ordered[-1], 1),
        sum(value > SLOW_SECONDS for value in ordered),
        round(len(pairs) / sum(ordered)),
        payloads if "hostile" in label else None,
    )


def table(rows: list[Row], absent: dict[str, str]) -> str:
    heads = "checker|pairs|count|right %|false pos|false neg|median ms|p99 ms|slowest ms|over 1 s|pairs/s|payloads run"
    lines = [f"|{heads}|", "|" + "---|" * 12]
    for row in rows:
        cells = ["-" if cell is None else str(cell) for cell in asdict(row).values()]
        lines.append(f"|{'|'.join(cells)}|")
    lines += [f"|{name}|absent ({why})|" + "-|" * 10 for name, why in absent.items()]
    return "\n".join(lines)


class Absent(Exception):
    """Why there is no row."""


def sets(options: argparse.Namespace, marker: str) -> dict[str, list[Pair]]:
    found = {"generated": list(generated(options.pairs, options.seed)), "generated hostile": list(hostile(marker))}
    if os.environ.get("DFTCORE_DATA"):
        found |= labelled(Path(os.environ["DFTCORE_DATA"]), marker)
    return {label: pairs for label, pairs in found.items() if pairs}


def judge(name: str, label: str | None, options: argparse.Namespace) -> dict[str, object]:
    """One checker's row on one set, or its version. Raises SystemExit if it is not installed."""
    with tempfile.TemporaryDirectory() as folder:
        marker = Path(folder) / "marker"
        try:
            check = CHECKERS[name]()
        except ImportError:
            raise SystemExit(NOT_INSTALLED) from None
        check(Pair("1", "1", True))  # load what is loaded lazily
        if label is None:
            return {"version": version(DISTRIBUTIONS[name])}
        return asdict(measure(name, check, label, sets(options, str(marker))[label], marker))


def apart(name: str, label: str | None, options: argparse.Namespace) -> dict[str, object]:
    """`judge` in a process of its own, so that a thread which a checker left busy slows nothing down. Raises Absent."""
    python = dict(options.python).get(name, sys.executable)
    command = [python, __file__, "--alone", name, "--pairs", str(options.pairs), "--seed", str(options.seed)]
    command += [] if label is None else ["--on", label]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=options.limit)
    except OSError as error:
        raise Absent(f"{python}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise Absent(f"took longer than {options.limit} s") from None
    if done.returncode == NOT_INSTALLED:
        raise Absent("not installed")
    if done.returncode or not done.stdout.strip():
        raise Absent(f"ended with status {done.returncode}")
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def interpreter(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if not equals or name not in CHECKERS:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH with a name among {', '.join(CHECKERS)}")
    return name, path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2_000, help="generated pairs (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--checkers", default=",".join(CHECKERS), help="names, separated by commas (default: all)")
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        type=interpreter,
        metavar="NAME=PATH",
        help="the interpreter of the environment that holds this checker (may be repeated)",
    )
    parser.add_argument("--limit", type=int, default=900, help="seconds that a checker may take on one set of pairs")
    parser.add_argument("--alone", choices=list(CHECKERS), help=argparse.SUPPRESS)
    parser.add_argument("--on", help=argparse.SUPPRESS)
    parser.add_argument(
        "--output", type=Path, default=checkout.ROOT / "benchmarks" / "results", help="directory for the two files"
    )
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(judge(options.alone, options.on, options)), flush=True)
        os._exit(0)  # an ordinary exit would wait for threads that a checker left at work on a bomb
    names = options.checkers.split(",")
    for name in set(names) - set(CHECKERS):
        parser.error(f"unknown checker {name!r}: choose from {', '.join(CHECKERS)}")
    rows: list[Row] = []
    versions: dict[str, object] = {}
    absent: dict[str, str] = {}
    for name in names:
        try:
            versions[name] = apart(name, None, options)["version"]
        except Absent as why:
            versions[name], absent[name] = "absent", str(why)
            continue
        for label in sets(options, "marker"):
            try:
                rows.append(Row(**apart(name, label, options)))  # type: ignore[arg-type]
            except Absent as why:
                absent[f"{name} on {label}"] = str(why)
    about = {
        "date": datetime.date.today().isoformat(),
        "commit": checkout.commit(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "seed": options.seed,
    }
    text = table(sorted(rows, key=lambda row: row.pairs), absent)
    print(text)
    options.output.mkdir(parents=True, exist_ok=True)
    report = {**about, "versions": versions, "rows": [asdict(row) for row in rows], "absent": absent}
    (options.output / "checker.json").write_text(json.dumps(report, indent=1) + "\n")
    facts = ", ".join(f"{key} {value}" for key, value in about.items())
    stated = ", ".join(f"{name} {value}" for name, value in versions.items())
    (options.output / "checker.md").write_text(f"# Checker\n\n{facts}; {stated}.\n\n{text}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

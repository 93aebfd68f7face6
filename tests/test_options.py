"""The command line and the YAML file: types, bounds, precedence, and refusals that name the mend."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from dftcore.errors import UserError
from dftcore.options import flatten, option, parse_options, to_yaml


@dataclass(frozen=True)
class Numbers:
    lr: float = option(5e-5, "rate", above=0)
    steps: int | None = option(None, "steps", minimum=1)
    share: float = option(0.5, "share", minimum=0, maximum=1)


@dataclass(frozen=True)
class Words:
    output: Path = option(help="where to")
    mode: Literal["fast", "slow"] = option("fast", "how")
    names: tuple[str, ...] = option((), "several")
    levels: tuple[int, ...] = option((1, 2), "several numbers")
    packing: bool = option(True, "packing")


@dataclass(frozen=True)
class Config:
    numbers: Numbers
    words: Words


def parse(*argv: str) -> Config:
    return parse_options(Config, argv, "prog", "a program")


def test_defaults_and_types():
    config = parse("--output", "runs/x", "--names", "a,b", "c", "--no-packing", "--steps", "7", "--levels", "3,4")
    assert config.words == Words(Path("runs/x"), names=("a", "b", "c"), levels=(3, 4), packing=False)
    assert config.numbers == Numbers(steps=7)


def test_file_gives_options_and_command_line_wins(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("lr: 1e-3\noutput: from-file\nnames: [a, b]\nsteps: 3\n")
    config = parse("--config", str(path), "--steps", "9")
    assert (config.numbers.lr, config.numbers.steps, config.words.names) == (1e-3, 9, ("a", "b"))
    assert config.words.output == Path("from-file")


def test_what_is_saved_reads_back_the_same(tmp_path):
    config = parse("--output", "runs/x", "--names", "a", "--no-packing")
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config))
    assert parse("--config", str(path)) == config
    assert flatten(config)["output"] == "runs/x"


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ([], "--output is required"),
        (["--output", "x", "--lrr", "1"], "unknown option --lrr; did you mean --lr?"),
        (["--output", "x", "--lr=abc"], "--lr: 'abc' is not a number above 0"),
        (["--output", "x", "--lr", "0"], "--lr: 0 is out of range; give a number above 0"),
        (["--output", "x", "--lr", "nan"], "out of range"),
        (["--output", "x", "--share", "1.5"], "give a number at least 0 and at most 1"),
        (["--output", "x", "--steps", "2.5"], "--steps: '2.5' is not a whole number"),
        (["--output", "x", "--mode", "medium"], "'medium' is not one of fast, slow"),
        (["--output", "x", "--levels", "1,x"], "--levels: ['1,x'] is not a list of whole numbers"),
        (["--output", "x", "stray"], "unexpected argument 'stray'"),
        (["--output"], "--output: expected one argument"),
        (["--output", "x", "--config", "absent.yaml"], "--config: no file absent.yaml"),
    ],
)
def test_refusals(argv, line):
    with pytest.raises(UserError) as refusal:
        parse(*argv)
    assert line in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("lrr: 1", "unknown option 'lrr'; did you mean lr?"),
        ("lr: [1", "is not YAML"),
        ("just text", "holds no options"),
        ("packing: 3", "3 is not true or false"),
        ("lr:", "empty; give a number above 0"),
    ],
)
def test_refusals_of_a_file(tmp_path, text, line):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as refusal:
        parse("--output", "x", "--config", str(path))
    assert line in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_help_names_every_option_with_its_default(capsys):
    with pytest.raises(SystemExit) as leaving:
        parse("--help")
    assert leaving.value.code == 0
    text = capsys.readouterr().out
    for name in flatten(Config(Numbers(), Words(Path()))):
        assert f"--{name.replace('_', '-')}" in text
    assert "default: 5e-05" in text

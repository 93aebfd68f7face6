"""The command line, and what importing the package brings in."""

import json
import subprocess
import sys

from dftcore.grading.__main__ import main

RUN = (sys.executable, "-m", "dftcore.grading")


def test_importing_is_light():
    code = "import sys, dftcore.grading; print(sorted({'torch', 'sympy', 'mpmath', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_grading_never_loads_torch_or_sympy():
    code = (
        "import sys; from dftcore.grading import check; "
        "print(check(r'\\sin^2 x+\\cos^2 x', '1'), 'torch' in sys.modules, 'sympy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False", "False"]


def test_verdict_and_status(capsys):
    assert main(["1/2", "0.5"]) == 0
    assert main(["1/2", "0.6", "--explain"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == ["True", "False"]
    assert printed[2].startswith("rule")


def test_json_holds_the_explanation(capsys):
    assert main(["100", "100.005", "--policy", "qwen-compatible", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rule"] == "relative tolerance"


def test_minus_signs(capsys):
    assert main(["--", "-x", "0-x"]) == 0
    assert main(["-5", "-5.0"]) == 0
    assert main(["-x", "0-x", "--policy", "strict"]) == 0
    assert capsys.readouterr().out.split() == ["True", "True", "True"]


def test_a_stopped_comparison_says_so(capsys):
    assert main(["1", r"\sum_{k=1}^{2000}\sum_{j=1}^{2000}\sin(kj)"]) == 3
    assert "stopped (" in capsys.readouterr().err


def test_errors_are_one_line():
    for arguments, expected in (
        (["1"], "required: prediction"),
        (["1", "1", "--policy", "kind"], "choose one of strict"),
    ):
        done = subprocess.run([*RUN, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert expected in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_help_shows_policies_and_statuses():
    done = subprocess.run([*RUN, "--help"], capture_output=True, text=True, check=True)
    assert "qwen-compatible" in done.stdout
    assert "Exit status" in done.stdout

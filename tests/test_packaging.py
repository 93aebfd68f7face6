"""The folder `kernels/` and the PyPI package of that name live side by side, from a checkout and from a wheel."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support import ROOT

# transformers probes for the package `kernels` on import; ours must neither shadow it nor be taken for it.
CODE = """
import importlib.util, pathlib, sys
import transformers
from transformers import LlamaConfig, LlamaForCausalLM
shape = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=9)
LlamaForCausalLM(LlamaConfig(**shape))
import dftcore.kernels.config as ours
print(pathlib.Path(ours.__file__).resolve())
if sys.argv[1] == "present":
    import kernels
    assert kernels.__file__.startswith(sys.argv[2]), kernels.__file__
    assert hasattr(kernels, "get_kernel")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    source = directory / "source"
    source.mkdir()
    tracked = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", "-c", "-o", "--exclude-standard"], capture_output=True, check=True
    )
    for name in filter(None, tracked.stdout.decode().split("\0")):
        if (
            name.startswith(("dftcore/", "kernels/", "setup.py", "pyproject.toml", "README.md"))
            and (ROOT / name).exists()
        ):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", directory, source]
    subprocess.run(build, check=True)
    return next(directory.glob("*.whl"))


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--target", target, wheel], check=True)
    return target


@pytest.fixture(scope="module")
def real_package(tmp_path_factory) -> Path:
    """The package `kernels` of the index, in a folder of its own."""
    target = tmp_path_factory.mktemp("real-kernels")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "install", "--quiet", "--target", target, "--no-deps", "kernels==0.17.2", "tomlkit"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("the package index cannot be reached: " + done.stderr.strip()[-200:])
    return target


def test_a_wheel_holds_our_kernels_inside_dftcore_only(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.startswith("dftcore/kernels/") for name in names)
    assert "dftcore/kernels.py" in names
    assert not any(name.startswith("kernels/") for name in names)
    assert not any(name.endswith("kernels/__init__.py") for name in names)


def imported_from(cwd: Path, path: list[Path], real: Path | None) -> Path:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*path, *([real] if real else [])]))}
    words = ["present", str(real)] if real else ["absent"]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize("presence", ["absent", "present"])
def test_from_a_checkout(presence, request):
    real = request.getfixturevalue("real_package") if presence == "present" else None
    assert imported_from(ROOT, [], real).parent == ROOT / "kernels"


@pytest.mark.parametrize("presence", ["absent", "present"])
def test_from_a_wheel(presence, request, site, tmp_path):
    real = request.getfixturevalue("real_package") if presence == "present" else None
    assert imported_from(tmp_path, [site], real).parent == site.resolve() / "dftcore" / "kernels"


def test_there_is_no_init_file_in_kernels():
    assert not (ROOT / "kernels" / "__init__.py").exists()

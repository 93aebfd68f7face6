"""Packaging. `kernels/` installs as `dftcore.kernels`: a top-level `kernels` would shadow the PyPI package."""

from pathlib import Path

from setuptools import find_packages, setup

PLOT = ["matplotlib>=3.8"]
TENSORBOARD = ["tensorboard>=2.17"]
WANDB = ["wandb>=0.18"]
GGUF = ["gguf>=0.17", "accelerate>=1.10"]
LORA = ["peft>=0.19"]
VLLM = ["vllm>=0.10; platform_system == 'Linux'"]
LINT = ["ruff>=0.9", "mypy>=1.13", "types-PyYAML>=6"]
PYTEST = ["pytest>=8", "pytest-timeout>=2.3", "pytest-xdist>=3.6", "hypothesis>=6.100"]
TEST = [*PYTEST, "psutil>=6", "setuptools>=70", *LINT]

setup(
    name="dftcore",
    version="0.1.0",
    description="Dynamic Fine-Tuning: a fused loss, an exact training loop and an evaluator to rely on",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=[*find_packages(include=["dftcore", "dftcore.*"]), "dftcore.kernels"],
    package_dir={"dftcore": "dftcore", "dftcore.kernels": "kernels"},
    package_data={"dftcore": ["py.typed"], "dftcore.kernels": ["*.json"]},
    install_requires=[
        "torch>=2.11,<2.14",
        "triton>=3.6,<3.10; platform_system == 'Linux'",
        "transformers>=5.17,<5.24",
        "datasets>=4.0,<6",
        "safetensors>=0.5",
        "numpy>=1.26",
        "filelock>=3.13",
        "huggingface_hub>=1.0",
        "jinja2>=3.1",
        "mpmath>=1.3",
        "pyarrow>=17",
        "pyyaml>=6.0",
        "tqdm>=4.66",
    ],
    extras_require={
        "lora": LORA,
        "plot": PLOT,
        "tensorboard": TENSORBOARD,
        "vllm": VLLM,
        "wandb": WANDB,
        "demo": [*PLOT, *GGUF],
        "test": [*PLOT, *GGUF, *LORA, *TENSORBOARD, *WANDB, *TEST],
    },
)

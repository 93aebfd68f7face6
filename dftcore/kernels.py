"""The import name of the top-level folder `kernels/`: its modules are `dftcore.kernels.<name>`.

There is no `kernels/__init__.py`, because transformers probes for the PyPI package `kernels` and would run ours.
A checkout keeps the folder beside `dftcore/`; an installed wheel keeps it inside.
"""

from pathlib import Path

_HERE = Path(__file__).resolve().parent
__path__ = [str(folder) for folder in (_HERE / "kernels", _HERE.parent / "kernels") if folder.is_dir()][:1]

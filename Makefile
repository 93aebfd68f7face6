PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test lint gpu soak bench clean

install: .venv/installed

.venv/installed: setup.py pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo,test]'
	touch $@

demo: install
	$(BIN)/python -m dftcore demo

test: install lint
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile

lint: install
	$(BIN)/ruff check .
	$(BIN)/mypy

gpu: install
	DFTCORE_TEST_GPU=1 $(BIN)/python -m pytest tests/kernels tests/test_attention.py \
		tests/test_memory.py::test_the_plan_is_within_15_percent_of_a_real_step

soak: install
	$(BIN)/python -m pytest -m soak --timeout 7200

bench: install
	$(BIN)/python benchmarks/loss.py
	$(BIN)/python benchmarks/checker.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/loading.py
	$(BIN)/python benchmarks/generation.py

clean:
	rm -rf .venv build *.egg-info

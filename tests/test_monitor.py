"""What a run tells of itself: complete, the same on any number of ranks, kept by a resume, and without effect on it."""

import json
import shutil
import sys
import types

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support import torchrun

from dftcore import throughput, trackers
from dftcore.data import chat, sources
from dftcore.data.batching import examples_of_step
from dftcore.data.documents import Selection, tokenise
from dftcore.errors import UserError
from dftcore.files import read_log
from dftcore.training.spikes import SpikeDetector

QUICK = {"dtype": "float32", "batch_size": 8, "max_length": 128, "lr": 1e-3, "max_steps": 6, "save_every": 4}
WATCHED = {"validate_every": 4, "diagnostics_every": 2, "profile": 2, "track": "tensorboard"}


def run_options(model, problems, output, /, **changes):
    return {"model": model, "data": problems / "train.jsonl", "output": output, **QUICK, **changes}


def watched_options(model, problems, output, /, **changes):
    return run_options(model, problems, output, validation_data=problems / "test.jsonl", **{**WATCHED, **changes})


@pytest.fixture(scope="module")
def watched(tiny_model, problems, tmp_path_factory):
    """A run with all that can be watched."""
    output = tmp_path_factory.mktemp("runs") / "watched"
    done = torchrun(1, "train.py", **watched_options(tiny_model, problems, output, keep_checkpoints=9))
    assert done.status == 0, done.err
    return output, done


def test_watching_changes_no_weight(watched, program, tiny_model, problems, tmp_path):
    done = program("train.py", "--no-preflight", **run_options(tiny_model, problems, tmp_path / "run"))
    assert done.status == 0, done.err
    assert not (tmp_path / "run/preflight.json").exists()
    plain = load_file(tmp_path / "run/final/model.safetensors")
    for name, value in load_file(watched[0] / "final/model.safetensors").items():
        assert torch.equal(value, plain[name]), name


def test_every_file_says_what_metrics_documents(watched):
    output, done = watched
    records = read_log(output / "metrics.jsonl")
    assert [record["step"] for record in records] == [1, 2, 3, 4, 5, 6], "validation makes no lines of its own"
    assert [record["step"] for record in records if "validation_nll" in record] == [4, 6]
    assert [record["step"] for record in records if "entropy" in record] == [1, 2, 4, 6]
    assert {"clipped", "mfu", "memory_bytes", "top1", "effective_targets"} <= records[0].keys()
    assert records[0]["mfu"] is None, "the peak of this device is not known"
    assert 2**27 < records[0]["memory_bytes"] < 2**36
    found = read_log(output / "diagnostics.jsonl")
    assert [(record["step"], record["data"]) for record in found] == [
        (0, "sample"), (1, "batch"), (2, "batch"), (4, "batch"), (4, "validation"), (6, "batch"), (6, "validation"),
        (6, "sample"),
    ]  # fmt: skip
    everything = found[4]["probabilities"]["all"]
    assert everything["mean_prob"] == records[3]["validation_mean_prob"]
    assert sum(everything["histogram"]) == everything["tokens"]
    assert found[1]["probabilities"]["all"]["tokens"] == records[0]["targets"]
    assert found[1]["probabilities"]["end"]["tokens"] in range(1, 9), "an example ends once, unless it was cut"
    assert "pre-flight: mean label probability 0.00" in done.out
    assert "12 documents held out" in done.out
    for word in ("loss", "NLL", " p ", "|g|", "tok/s", "GiB"):
        assert word in done.err.splitlines()[-1] or word in done.err, word
    traces = list((output / "profile").iterdir())
    assert [path.name for path in traces] == ["steps-3-4.json.gz"]
    import gzip

    assert json.loads(gzip.decompress(traces[0].read_bytes()))["traceEvents"]


def test_ranks_agree_on_what_they_read(watched, tiny_model, problems, tmp_path):
    done = torchrun(2, "train.py", **watched_options(tiny_model, problems, tmp_path / "run", max_steps=6))
    assert done.status == 0, done.err
    one, two = (json.loads((run / "preflight.json").read_text()) for run in (watched[0], tmp_path / "run"))
    assert two["probabilities"]["all"]["histogram"] == one["probabilities"]["all"]["histogram"]
    assert two["mean_prob"] == pytest.approx(one["mean_prob"], rel=1e-7)
    one, two = (read_log(run / "metrics.jsonl") for run in (watched[0], tmp_path / "run"))
    for name in ("validation_nll", "validation_loss", "validation_mean_prob"):
        assert two[3][name] == pytest.approx(one[3][name], rel=1e-5), name


def events(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run / "tensorboard")).Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_a_resumed_run_repeats_nothing(watched, program, tiny_model, problems, tmp_path):
    pytest.importorskip("tensorboard")
    run = tmp_path / "run"
    shutil.copytree(watched[0], run)
    shutil.rmtree(run / "final")
    shutil.rmtree(run / "checkpoints/step-00000006")
    before = (run / "preflight.json").stat().st_mtime_ns
    done = program("train.py", **watched_options(tiny_model, problems, run, keep_checkpoints=9))
    assert "resumed at 4" in done.out, done.err
    assert (run / "preflight.json").stat().st_mtime_ns == before
    for name in ("metrics.jsonl", "diagnostics.jsonl"):
        volatile = {"seconds", "tokens_per_second", "memory_bytes"}
        mine, whole = (
            [{key: value for key, value in each.items() if key not in volatile} for each in read_log(directory / name)]
            for directory in (run, watched[0])
        )
        assert mine == whole
    found, wanted = events(run), events(watched[0])
    assert found.keys() == wanted.keys()
    assert [step for step, _ in found["loss"]] == [1, 2, 3, 4, 5, 6]
    assert found["loss"] == wanted["loss"]
    assert [step for step, _ in found["validation_nll"]] == [4, 6]


def test_weights_and_biases_gets_every_record_under_one_id(tmp_path, monkeypatch):
    runs = []

    class Run:
        def __init__(self, **options):
            self.options, self.logged = options, []
            runs.append(self)

        def log(self, values, step):
            self.logged.append((step, values))

        def finish(self):
            self.logged.append("finished")

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=Run))
    for step in (0, 1):
        (tracker,) = trackers.open_trackers(["wandb", "wandb"], tmp_path, step, {"lr": 1.0})
        tracker.write({"step": step + 1, "loss": 0.5, "mfu": None})
        tracker.close()
    assert [run.logged for run in runs] == [[(1, {"loss": 0.5}), "finished"], [(2, {"loss": 0.5}), "finished"]]
    assert runs[0].options["id"] == runs[1].options["id"]
    assert runs[0].options["config"] == {"lr": 1.0}


def test_weights_and_biases_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    (tracker,) = trackers.open_trackers(["wandb"], tmp_path, 0, {"lr": 1.0})
    tracker.write({"step": 1, "loss": 0.5})
    tracker.close()
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))


@pytest.mark.parametrize(
    ("name", "line"), [("tensorbord", "did you mean tensorboard?"), ("wandb", "pip install -e .[wandb]")]
)
def test_a_tracker_that_cannot_be_used_is_refused(name, line, monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(UserError) as refusal:
        trackers.check_trackers([name])
    assert line in str(refusal.value)


def record(step, loss=1.0, grad_norm=0.5):
    return {"step": step, "loss": loss, "grad_norm": grad_norm}


def test_a_spike_is_a_step_out_of_the_band():
    rng = np.random.default_rng(0)
    ordinary = [
        record(step, float(loss), float(norm)) for step, (loss, norm) in enumerate(rng.normal(1, 0.1, (200, 2)))
    ]
    detector = SpikeDetector()
    assert [detector.check(each) for each in ordinary] == [None] * 200
    assert detector.check(record(200, 1.3)) is None
    assert detector.check(record(201, 3.0)) == {"what": "loss", "value": 3.0, "limit": pytest.approx(1.8, abs=0.2)}
    assert detector.check(record(202, 1.0, 9.0))["what"] == "grad_norm"
    assert detector.check(record(203, None))["what"] == "loss is not finite"
    assert detector.check(record(204, 1.0, None))["what"] == "grad_norm is not finite"
    assert SpikeDetector(ordinary).check(record(201, 3.0)) is not None, "a resumed run knows the steps before"
    assert SpikeDetector(ordinary[:15]).check(record(15, 9.0)) is None, "too few steps for a band"


def test_examples_of_a_step_that_is_not_finite_are_named(program, tiny_model, problems, tmp_path):
    bad = tmp_path / "bad"
    shutil.copytree(tiny_model, bad)
    state = load_file(bad / "model.safetensors")
    state["model.norm.weight"][0] = float("inf")
    save_file(state, bad / "model.safetensors", metadata={"format": "pt"})
    options = run_options(bad, problems, tmp_path / "run", max_steps=2, max_examples=40)
    assert program("train.py", **options).status == 0
    tokenizer = chat.load_tokenizer(str(bad))
    source = sources.find_source(str(problems / "train.jsonl"))
    documents = tokenise(source, tokenizer, {}, 128, Selection(40))
    assert len(documents) == 40
    assert set(documents.rows) < set(range(96))
    found = read_log(tmp_path / "run/spikes.jsonl")
    assert [each["step"] for each in found] == [1, 2]
    for step, each in enumerate(found):
        assert each["examples"] == sorted(documents.rows[examples_of_step(40, 8, 1.0, 0, step)].tolist())
        assert "not finite" in each["what"]


def test_flops_are_those_of_the_formula():
    from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

    shape = {"vocab_size": 100, "hidden_size": 16, "intermediate_size": 40, "num_hidden_layers": 3}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    for tied in (False, True):
        model = LlamaForCausalLM(LlamaConfig(**shape, **heads, tie_word_embeddings=tied))
        layer = 16 * 16 + 2 * 16 * 8 + 16 * 16 + 3 * 16 * 40
        flops = throughput.model_flops(model)
        assert flops.step([5, 7]) == 6 * (3 * layer + 16 * 100) * 12 + 12 * 3 * 16 * (25 + 49)
    model.lm_head.weight.requires_grad_(False)
    assert throughput.model_flops(model).per_token == 6 * 3 * layer + 4 * 16 * 100
    assert throughput.model_flops(MixtralForCausalLM(MixtralConfig(**shape, **heads, num_local_experts=2))) is None


def test_peaks_are_dense_and_unknown_devices_have_none():
    assert throughput.peak_flops("NVIDIA H200") == throughput.peak_flops("NVIDIA H100 80GB HBM3") == 989e12
    assert throughput.peak_flops("NVIDIA H100 PCIe") == 756e12
    assert throughput.peak_flops("NVIDIA H20") == 148e12
    assert throughput.peak_flops("cpu") is None

"""The vLLM back-end against a real vLLM, where one is installed: on a GPU, or on a CPU with a CPU build of it."""

import importlib.util
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import assert_drawn_from, make_model, torchrun

from dftcore.data import chat
from dftcore.errors import UserError
from dftcore.files import read_log
from dftcore.sampling import Decoding, Generation, Request, StopRule, load_sampler, refuse_absent

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(1500),  # an engine takes a minute to start on two cores
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
]
DEVICE = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
END = StopRule((2,))
REQUESTS = [
    Request(f"<|im_start|>user\n{text}<|im_end|>\n", seed) for seed, text in enumerate(["Ada", "Ben has 3", "?"])
]
NOTHING = Generation("", 0, "length")


@pytest.fixture(scope="module")
def sharp_model(tmp_path_factory):
    """Heads of a size that vLLM's kernels know; far from even, so that rounding decides no greedy token, and a wrong
    temperature or filter shows.
    """
    directory = make_model(tmp_path_factory.mktemp("models") / "sharp", hidden=128)
    weights = load_file(directory / "model.safetensors")
    weights["lm_head.weight"] *= 8.0
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


@pytest.fixture(scope="module", autouse=True)
def _runs_here():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        try:
            refuse_absent("vllm")
        except UserError as error:
            pytest.skip(str(error))
        yield


@pytest.fixture(scope="module")
def loaded(sharp_model):
    """One for all tests; `with_` gives it other options."""
    return sampler(sharp_model, "vllm")


@pytest.fixture
def with_(loaded, monkeypatch):
    def change(**options):
        monkeypatch.setattr(loaded, "decoding", decoding(**options))
        return loaded

    return change


def decoding(*, stop=END, **changes):
    return Decoding(**{"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 12, **changes}, stop=stop)


def sampler(directory, backend, **changes):
    tokenizer = chat.load_tokenizer(str(directory))
    return load_sampler(backend, directory, tokenizer, decoding(**changes), device=DEVICE, dtype=torch.float32)


def test_ranks_share_an_evaluation_and_resume_it(sharp_model, problems, tmp_path):
    """Before the others, whose engine stays and leaves no room on a GPU."""

    def run(output, ranks):
        options = {"dtype": "float32", "samples": 2, "max_new_tokens": 12, "sampling_batch_size": 4, "backend": "vllm"}
        done = torchrun(ranks, "evaluate.py", model=sharp_model, benchmarks=problems / "test.jsonl", output=output,
                        prompt="problem", timeout=600, **options)  # fmt: skip
        assert done.status == 0, done.err
        assert "| benchmark |" in done.out
        assert "INFO" not in done.out
        return {(r["id"], r["sample"]): (r["completion"], r["tokens"]) for r in read_log(output / "samples.jsonl")}

    ranks = min(2, torch.cuda.device_count() or 2)
    whole = run(tmp_path / "whole", ranks)
    assert len(whole) == 24
    shutil.copytree(tmp_path / "whole", tmp_path / "half")
    log = tmp_path / "half/samples.jsonl"
    kept = log.read_text().splitlines(keepends=True)[:10]
    log.write_text("".join(kept))
    assert run(tmp_path / "half", 1) == whole
    assert log.read_text().splitlines(keepends=True)[:10] == kept


def test_it_agrees_with_generate_when_nothing_is_drawn(sharp_model, with_):
    free = {"temperature": 0.0, "max_new_tokens": 80}
    plain = sampler(sharp_model, "hf", **free).sample(REQUESTS)
    assert with_(**free).sample(REQUESTS) == plain
    for stop in (StopRule((2,), (plain[0].completion[5:8],)), StopRule(tuple(range(2, 60))), StopRule(())):
        expected = sampler(sharp_model, "hf", stop=stop, **free).sample(REQUESTS)
        assert with_(stop=stop, **free).sample(REQUESTS) == expected
        assert not stop.ids or "stop" in {generation.finish for generation in expected}


def test_each_sample_has_noise_of_its_own_seed(with_):
    requests = [Request(REQUESTS[0].prompt, seed) for seed in (1, 2, 2**64 - 1)]
    found = with_().sample(requests)
    assert with_().sample(requests[::-1]) == found[::-1]
    assert len({generation.completion for generation in found}) == 3


def test_more_prompts_than_one_pass_takes(with_):
    """20,000 tokens; a prompt that is cut between two passes fails on a CPU, where its seed cannot be rewound."""
    requests = [Request(f"{seed}<|im_start|>user\n" + "Ben has 3 apples. " * 66, seed) for seed in range(50)]
    model = with_(max_new_tokens=4)
    together = model.sample(requests)
    assert [model.sample([request])[0] for request in requests[::7]] == together[::7]


@pytest.mark.parametrize(("temperature", "top_p"), [(0.7, 1.0), (1.0, 0.4)])
def test_it_draws_from_the_models_distribution(sharp_model, with_, monkeypatch, temperature, top_p):
    """First tokens of 1,500 requests."""
    from transformers import AutoModelForCausalLM

    model = with_(temperature=temperature, top_p=top_p, max_new_tokens=1, stop=StopRule(()))
    drawn = []
    monkeypatch.setattr(model.tokenizer, "decode", lambda tokens, **_: drawn.append(tokens[0]) or "")
    model.sample([Request("Ada", seed) for seed in range(1500)])
    reference = AutoModelForCausalLM.from_pretrained(sharp_model, dtype=torch.float32)
    with torch.no_grad():
        logits = reference(model.tokenizer("Ada", return_tensors="pt")["input_ids"]).logits[0, -1]
    assert_drawn_from(torch.softmax(logits / temperature, -1), top_p, drawn)


def test_a_completion_ends_where_the_context_does_and_a_prompt_that_fills_it_gets_none(with_):
    model = with_(max_new_tokens=30, stop=StopRule(()))
    words = "Ada has 3 apples. " * 100
    ids = model.tokenizer(words, add_special_tokens=False)["input_ids"]
    prompts = [model.tokenizer.decode(ids[:count]) for count in (505, 511, 512, 520)]
    found = model.sample([Request(text, 1) for text in (*prompts, REQUESTS[0].prompt)])
    assert [generation.tokens for generation in found] == [7, 1, 0, 0, 30]
    assert found[2] == NOTHING
    assert {generation.finish for generation in found} == {"length"}
    assert model.sample([Request(words, 1)]) == [NOTHING]

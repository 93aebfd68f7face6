"""Back-ends behind one interface: noise of each sample's own, where completions end, what each family is asked."""

import importlib.util
import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
import types

import numpy as np
import pytest
import torch
from support import assert_drawn_from, chi_square, make_model, make_tokenizer

from dftcore.data import chat
from dftcore.errors import UserError
from dftcore.sampling import (
    Decoding,
    Generation,
    Request,
    StopRule,
    huggingface,
    load_sampler,
    refuse_absent,
    sample_seed,
    vllm,
)
from dftcore.sampling.huggingface import _Draw
from dftcore.sampling.interface import generation, has_ended
from dftcore.sampling.prompts import PROMPTS, load_tokenizer_and_prompt, stop_rule

CPU = {"device": torch.device("cpu"), "dtype": torch.float32}
REQUESTS = [
    Request(f"<|im_start|>user\n{text}<|im_end|>\n", seed) for seed, text in enumerate(["Ada", "Ben has 3", "?"])
]


END = StopRule((2,))


def sampler(directory, backend="hf", *, stop=END, **changes):
    options = {"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 12, **changes}
    return load_sampler(backend, directory, chat.load_tokenizer(str(directory)), Decoding(**options, stop=stop), **CPU)


def test_a_sample_does_not_depend_on_its_batch(tiny_model):
    model = sampler(tiny_model)
    together = model.sample(REQUESTS)
    alone = [model.sample([request])[0] for request in REQUESTS]
    assert together == alone
    assert len({generation.completion for generation in together}) == 3


def test_another_seed_another_sample_and_temperature_zero_ignores_it(tiny_model):
    one, other = (Request(REQUESTS[0].prompt, seed) for seed in (1, 2))
    warm, cold = sampler(tiny_model), sampler(tiny_model, temperature=0.0)
    assert warm.sample([one]) != warm.sample([other])
    assert cold.sample([one]) == cold.sample([other])


def test_rows_that_have_ended_leave_the_batch_and_change_nothing(tiny_model, monkeypatch):
    """Many end tokens, so that rows end early: the same samples, with fewer rows computed."""
    model = sampler(tiny_model, max_new_tokens=30, stop=StopRule(tuple(range(2, 60))))
    requests = [Request(REQUESTS[seed % 3].prompt, seed) for seed in range(12)]
    rows = []
    model.model.register_forward_pre_hook(
        lambda _module, _args, kwargs: rows.append(kwargs["input_ids"].shape[0]), with_kwargs=True
    )
    found, computed = [], []
    for stretch in (1000, 4, 1):
        monkeypatch.setattr(huggingface, "STRETCH", stretch)
        rows.clear()
        found.append(model.sample(requests))
        computed.append(sum(rows))
    assert found[0] == found[1] == found[2]
    assert len({generation.tokens for generation in found[0]}) > 4
    assert computed[0] > computed[1] > computed[2]
    assert computed[2] == sum(generation.tokens for generation in found[0]), "not one row too many"


def test_tokens_are_drawn_from_the_softmax():
    """200,000 draws against the distribution at temperature 0.7, by the chi-square statistic of 5 classes."""
    scores = torch.tensor([[0.0, 1.0, -1.0, 2.0, 0.5]])
    count = 200_000
    uniforms = torch.from_numpy(np.random.default_rng(0).random((1, count)))
    picked = _Draw(uniforms, 0, 0.7, 1.0)(torch.zeros(count, 0), scores.expand(count, -1)).argmax(-1)
    assert chi_square(picked, torch.softmax(scores[0] / 0.7, -1)) < 18.5


def test_a_token_of_probability_zero_is_never_drawn():
    scores = torch.tensor([[0.0, 0.0, -torch.inf, -torch.inf]])
    almost_one = torch.tensor([[1.0 - 2**-53]], dtype=torch.float64)
    assert _Draw(almost_one, 0, 1.0, 1.0)(torch.zeros(1, 0), scores).argmax(-1).item() == 1


@pytest.mark.parametrize("backend", ["hf", "continuous"])
def test_the_models_own_penalties_do_not_change_the_distribution(tiny_model, tmp_path, backend):
    shutil.copytree(tiny_model, tmp_path / "model")
    settings = {"eos_token_id": 2, "repetition_penalty": 5.0, "no_repeat_ngram_size": 1, "top_k": 1, "top_p": 0.1}
    (tmp_path / "model/generation_config.json").write_text(json.dumps(settings))
    plain = sampler(tiny_model, backend).sample(REQUESTS)
    assert sampler(tmp_path / "model", backend).sample(REQUESTS) == plain


def test_top_p_keeps_the_smallest_set_that_reaches_it():
    scores = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    uniforms = torch.linspace(0, 0.999, 400, dtype=torch.float64)[None]
    picked = _Draw(uniforms, 0, 1.0, 0.7)(torch.zeros(400, 0), scores.expand(400, -1)).argmax(-1)
    assert set(picked.tolist()) == {0, 1}


def test_seeds_are_stable_digests():
    assert sample_seed(0, "gsm8k", "7", 3) == sample_seed(0, "gsm8k", "7", 3) == 9955804223533797803
    assert len({sample_seed(0, "gsm8k", str(q), s) for q in range(50) for s in range(20)}) == 1000


def test_a_completion_ends_at_an_end_token_or_before_a_stop_string(tiny_model):
    tokenizer = chat.load_tokenizer(str(tiny_model))
    text = "It is 12.\n\nProblem: Ben has 3 apples."
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert generation(tokenizer, tokens, StopRule((2,))) == (whole := generation(tokenizer, tokens, StopRule(())))
    assert (whole.completion, whole.tokens, whole.finish) == (text, len(tokens), "length")
    ended = generation(tokenizer, [*tokens[:3], 2, *tokens], StopRule((2,), ("\n\nProblem:",)))
    assert (ended.completion, ended.tokens, ended.finish) == (tokenizer.decode(tokens[:3]), 4, "stop")
    cut = generation(tokenizer, tokens, StopRule((2,), ("\n\nProblem:", "Ben")))
    assert (cut.completion, cut.finish) == ("It is 12.", "stop")
    assert "Problem:" in tokenizer.decode(tokens[: cut.tokens])
    assert "Problem:" not in tokenizer.decode(tokens[: cut.tokens - 1])


@pytest.mark.parametrize("backend", ["hf", "continuous"])
def test_a_stop_string_ends_generation(tiny_model, backend):
    free = sampler(tiny_model, temperature=0.0, max_new_tokens=80).sample(REQUESTS)
    stop = StopRule((2,), (free[0].completion[5:8],))
    found = sampler(tiny_model, backend, temperature=0.0, max_new_tokens=80, stop=stop).sample(REQUESTS)[0]
    assert found.completion == free[0].completion[: free[0].completion.index(stop.strings[0])]
    assert found.finish == "stop"
    assert found.tokens < free[0].tokens


@pytest.mark.parametrize("backend", ["hf", "continuous"])
def test_prompt_and_completion_share_the_models_context(tmp_path, backend):
    """As in vLLM: the completion ends where the context does, and a prompt that fills it gets none."""
    directory = make_model(tmp_path)
    config = json.loads((directory / "config.json").read_text())
    tokenizer = chat.load_tokenizer(str(directory))
    lengths = [len(tokenizer(request.prompt, add_special_tokens=False)["input_ids"]) for request in REQUESTS]
    context = max(lengths)
    assert len(set(lengths)) == 3
    free = sampler(directory, backend, temperature=0.0, max_new_tokens=12).sample(REQUESTS)
    (directory / "config.json").write_text(json.dumps({**config, "max_position_embeddings": context}))
    found = sampler(directory, backend, temperature=0.0, max_new_tokens=12).sample(REQUESTS)
    for length, cut, whole in zip(lengths, found, free, strict=True):
        assert cut.tokens == min(whole.tokens, max(0, context - length))
        assert whole.completion.startswith(cut.completion)
        assert cut.finish == ("length" if cut.tokens < whole.tokens else whole.finish)


def test_continuous_batching_agrees_with_generate_when_nothing_is_drawn(tiny_model):
    greedy = {"temperature": 0.0, "max_new_tokens": 20}
    assert sampler(tiny_model, "continuous", **greedy).sample(REQUESTS) == sampler(tiny_model, **greedy).sample(
        REQUESTS
    )


@pytest.mark.parametrize(("temperature", "top_p"), [(0.7, 1.0), (1.0, 0.4)])
def test_continuous_batching_draws_from_the_models_distribution(tiny_model, temperature, top_p):
    """First tokens of 1,500 requests."""
    model = sampler(tiny_model, "continuous", temperature=temperature, top_p=top_p, max_new_tokens=1, stop=StopRule(()))
    ids = model.tokenizer("Ada", return_tensors="pt")["input_ids"]
    # A model whose first token is far from even, so that a wrong temperature or filter shows.
    with torch.no_grad():
        model.model.lm_head.weight.mul_(12.0)
        probability = torch.softmax(model.model(ids).logits[0, -1] / temperature, -1)
    drawn = []
    model.tokenizer.decode = lambda tokens, **_: drawn.append(tokens[0]) or ""
    model.sample([Request("Ada", 5)] * 1500)
    assert_drawn_from(probability, top_p, drawn)


def test_a_request_that_continuous_batching_fails_is_not_passed_over(tiny_model, monkeypatch):
    model = sampler(tiny_model, "continuous")
    monkeypatch.setattr(model.model, "generate_batch", lambda prompts, **_: {})
    with pytest.raises(RuntimeError, match="lost 3 requests"):
        model.sample(REQUESTS)


class FakeEngine:
    """vllm.LLM as far as it is used: the same names and kinds of arguments. It 'draws' token ids from each seed."""

    def __init__(
        self, model, *, tokenizer=None, trust_remote_code=False, dtype="auto", seed=None, enforce_eager=False,
        enable_chunked_prefill=None, **kwargs,
    ):  # fmt: skip
        assert kwargs == {"generation_config": "vllm"}
        assert enforce_eager == (enable_chunked_prefill is False), "both on a CPU, neither on a GPU"
        assert (trust_remote_code, dtype) == (False, "float32")
        self.enforce_eager, self.environment = enforce_eager, dict(os.environ)
        self.llm_engine = types.SimpleNamespace(model_config=types.SimpleNamespace(max_model_len=512))

    def generate(self, prompts, sampling_params=None, *, use_tqdm=True, lora_request=None):
        assert len(prompts) == len(sampling_params)
        return [self.one(p["prompt_token_ids"], given) for p, given in zip(prompts, sampling_params, strict=True)]

    def one(self, prompt, given):
        assert prompt[0] == 1, "special tokens of the template, none added"
        assert 0 <= given.seed < 2**63
        assert given.ignore_eos
        assert given.detokenize == bool(given.stop)
        if len(prompt) >= 512:
            raise ValueError("This model's maximum context length is 512 tokens")
        limit = min(given.max_tokens, 512 - len(prompt))
        drawn = np.random.default_rng(given.seed).integers(3, 400, size=limit).tolist()
        ends = [place for place, token in enumerate(drawn) if token in given.stop_token_ids]
        tokens = drawn[: ends[0] + 1] if ends else drawn
        reason = "stop" if ends else "length"
        output = types.SimpleNamespace(index=0, text="", token_ids=tokens, finish_reason=reason, stop_reason=None)
        return types.SimpleNamespace(request_id="0", prompt_token_ids=prompt, outputs=[output], finished=True)


class FakeParams:
    def __init__(
        self, n=1, *, temperature=1.0, top_p=1.0, top_k=0, seed=None, stop=None, stop_token_ids=None, max_tokens=16,
        ignore_eos=False, detokenize=True, skip_special_tokens=True,
    ):  # fmt: skip
        vars(self).update({key: value for key, value in locals().items() if key != "self"})


@pytest.fixture
def fake_vllm(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", types.SimpleNamespace(LLM=FakeEngine, SamplingParams=FakeParams))


@pytest.mark.usefixtures("fake_vllm")
def test_the_vllm_adapter_speaks_its_interface(tiny_model, monkeypatch):
    model = sampler(tiny_model, "vllm", stop=StopRule((5, 17), ("\n\nUser:",)))
    found = model.sample([Request(REQUESTS[0].prompt, 2**64 - 1), *REQUESTS])
    assert len(found) == 4
    assert len({generation.completion for generation in found}) == 4
    assert all(generation.tokens == 12 for generation in found if generation.finish == "length")
    assert model.sample(REQUESTS) == found[1:], "each request carries its own seed"
    long = Request("<|im_start|>" + "Ada has 3 apples. " * 200, 0)
    assert model.sample([REQUESTS[0], long, REQUESTS[1]]) == [found[1], Generation("", 0, "length"), found[2]]
    broken = types.SimpleNamespace(text="", token_ids=[], finish_reason="abort")
    monkeypatch.setattr(FakeEngine, "one", lambda *_: types.SimpleNamespace(outputs=[broken]))
    with pytest.raises(RuntimeError, match="abort"):
        model.sample(REQUESTS)


@pytest.mark.usefixtures("fake_vllm")
def test_the_process_of_a_vllm_engine_finds_its_own_gpu_and_no_store_of_torchruns(tiny_model, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    tokenizer, decoding = chat.load_tokenizer(str(tiny_model)), Decoding(1.0, 1.0, 12, END)
    device = torch.device("cuda", 1)
    for _ in range(2):  # the second engine of a process finds what the first did
        engine = load_sampler("vllm", tiny_model, tokenizer, decoding, device=device, dtype=torch.float32).engine
        assert engine.environment["CUDA_VISIBLE_DEVICES"] == "7"
        assert "TORCHELASTIC_USE_AGENT_STORE" not in engine.environment
        assert not engine.enforce_eager
    assert (os.environ["CUDA_VISIBLE_DEVICES"], os.environ["TORCHELASTIC_USE_AGENT_STORE"]) == ("4,7", "True")


@pytest.mark.usefixtures("fake_vllm")
def test_on_a_cpu_ranks_leave_each_other_memory_and_cores_unless_told_otherwise(tiny_model, monkeypatch):
    for name in ("VLLM_CPU_KVCACHE_SPACE", "VLLM_CPU_OMP_THREADS_BIND"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    engine = sampler(tiny_model, "vllm").engine
    assert engine.enforce_eager
    assert engine.environment["VLLM_CPU_KVCACHE_SPACE"] == "4"
    assert engine.environment["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "40")
    assert sampler(tiny_model, "vllm").engine.environment["VLLM_CPU_KVCACHE_SPACE"] == "40"


def test_an_engine_ends_with_the_process_that_began_it():
    """Closed by the system when the process dies, whatever kills it."""
    engine = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
    engine.start()
    leash = vllm._leash([engine])
    assert engine.is_alive()
    leash.stdin.close()
    engine.join(60)
    assert engine.exitcode == -signal.SIGTERM


@pytest.mark.usefixtures("fake_vllm")
def test_an_engine_that_does_not_start_is_one_line(tiny_model, monkeypatch):
    def refuse(*_, **__):
        raise ValueError("Available memory\nis less than desired")

    monkeypatch.setattr(FakeEngine, "__init__", refuse)
    with pytest.raises(UserError, match="--backend: vLLM does not start: Available memory is less than desired"):
        sampler(tiny_model, "vllm")


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_vllm_is_refused_in_one_line_where_it_is_absent():
    with pytest.raises(UserError, match=r"--backend: vllm is not installed; pip install -e '.\[vllm\]'"):
        refuse_absent("vllm")


def directory_of(tmp_path, template, specials, model_type):
    tokenizer = make_tokenizer(tmp_path, template)
    tokenizer.add_special_tokens({"additional_special_tokens": specials})
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    return tmp_path


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ASK = "1+1?\nPlease reason step by step, and put your final answer within \\boxed{}."
HEADS = ["<|start_header_id|>", "<|end_header_id|>"]


@pytest.mark.parametrize(
    ("template", "specials", "model_type", "rendered"),
    [
        (
            CHATML, [], "qwen2",
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
            f"<|im_start|>user\n{ASK}<|im_end|>\n<|im_start|>assistant\n",
        ),
        (CHATML, [], "llama", f"<|im_start|>user\n{ASK}<|im_end|>\n<|im_start|>assistant\n"),
        (
            None, HEADS, "llama",
            "<|im_start|><|start_header_id|>system<|end_header_id|>\n\nYou are a helpful assistant.<|im_end|>\n"
            f"<|start_header_id|>user<|end_header_id|>\n\n{ASK}<|im_end|>\n"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        (None, ["<｜begin▁of▁sentence｜>"], "llama", f"<|im_start|>User: {ASK}\n\nAssistant:"),
        (None, [], "llama", f"<|im_start|>Problem: {ASK}\n\nSolution:"),
    ],
    ids=["qwen", "other-chat", "llama-base", "deepseek", "base"],
)  # fmt: skip
def test_auto_asks_as_suits_the_family(tmp_path, template, specials, model_type, rendered):
    """By tokenizer and model type. The test tokenizer's begin and end tokens are <|im_start|> and <|im_end|>."""
    directory = directory_of(tmp_path, template, specials, model_type)
    tokenizer, prompt = load_tokenizer_and_prompt(directory, None, "auto")
    assert chat.render(tokenizer, prompt.messages("1+1?"), prompt=True) == rendered
    tokenizer.save_pretrained(tmp_path)  # as training leaves it: the plain template is the tokenizer's own now
    assert load_tokenizer_and_prompt(directory, None, "auto")[1] == prompt


def test_a_turn_that_begins_with_a_special_token_ends_the_completion(tmp_path):
    """Completions are read without special tokens, so this one could not be found in the text."""
    directory = directory_of(tmp_path, None, HEADS, "llama")
    tokenizer, prompt = load_tokenizer_and_prompt(directory, None, "auto")
    rule = stop_rule(tokenizer, directory, prompt)
    assert rule.strings == ()
    tokens = tokenizer("12.<|start_header_id|>user<|end_header_id|>\n\n\\boxed{7}", add_special_tokens=False)[
        "input_ids"
    ]
    found = generation(tokenizer, tokens, rule)
    assert (found.completion, found.finish) == ("12.", "stop")
    assert has_ended(tokenizer, tokens, rule)


def test_a_named_prompt_brings_its_template_and_a_chat_prompt_needs_one(tmp_path):
    directory = directory_of(tmp_path, None, [], "llama")
    tokenizer, prompt = load_tokenizer_and_prompt(directory, None, "deepseek")
    assert (tokenizer.chat_template, prompt) == (chat.PLAIN_TEMPLATES["user-assistant"], PROMPTS["deepseek"])
    with pytest.raises(UserError, match="has no chat template; choose one with --chat-template"):
        load_tokenizer_and_prompt(directory, None, "qwen")
    tokenizer, prompt = load_tokenizer_and_prompt(directory, "problem-solution", "problem")
    assert chat.render(tokenizer, prompt.messages("1+1?"), prompt=True).endswith("Problem: 1+1?\n\nSolution:")

"""What tests share beside fixtures: tiny models with a real tokenizer, and programs launched as a user does."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
VOCABULARY = 515  # odd on purpose: no tile or rank count divides it


def make_tokenizer(directory: Path, template: str | None = TEMPLATE):
    """A byte-level BPE tokenizer trained on generated problems; its end token is also its padding token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from dftcore.data.problems import generate

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((row["problem"] + row["solution"] for row in generate("train", 200)), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>"
    )
    fast.chat_template = template
    fast.save_pretrained(directory)
    return fast


def make_model(
    directory: Path, *, family: str = "llama", tied: bool = False, vocabulary: int = VOCABULARY, hidden: int = 48
) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    shape = {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": tied,
    }
    torch.manual_seed(0)
    make_tokenizer(directory)
    model = LlamaForCausalLM(LlamaConfig(**shape)) if family == "llama" else Qwen2ForCausalLM(Qwen2Config(**shape))
    model.generation_config.eos_token_id = 2
    model.save_pretrained(directory)
    return directory


def chi_square(picked, probability):
    """Of 5 classes: below 18.5 with 99.9 % under 4 degrees of freedom."""
    import torch

    expected = probability * len(picked)
    return ((torch.bincount(picked, minlength=5) - expected) ** 2 / expected).sum()


def assert_drawn_from(probability, top_p: float, drawn: list[int]) -> None:
    """Whether these tokens were drawn from the likeliest that reach top_p, in 5 classes of about equal probability."""
    import torch

    order = probability.argsort(descending=True)
    kept = probability[order].cumsum(0) - probability[order] < top_p
    allowed = (probability[order] * kept).double()
    allowed /= allowed.sum()
    classes = ((allowed.cumsum(0) - allowed / 2) * 5).long().clamp(max=4)
    place = torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))[torch.tensor(drawn)]
    assert kept[place].all()
    shares = torch.zeros(5, dtype=torch.float64).index_add_(0, classes, allowed)
    assert chi_square(classes[place], shares) < 18.5


@dataclass(frozen=True)
class Finished:
    status: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """The one line of a refusal; fails when there is a traceback or more than that line."""
        progress = re.compile(r"\[\d+:\d+<")
        lines = [line for line in self.err.splitlines() if line.strip() and not progress.search(line)]
        assert self.status != 0, self.out
        assert "Traceback" not in self.err
        assert len(lines) == 1, self.err
        return lines[0]


QUICK = {"dtype": "float32", "batch_size": 8, "max_length": 128, "lr": 1e-3, "max_steps": 10, "save_every": 3}


def run_options(model: Path, problems: Path, output: Path, /, **changes: object) -> dict[str, object]:
    """A short run of train.py on a tiny model."""
    return {"model": model, "data": problems / "train.jsonl", "output": output, **QUICK, **changes}


def column(run: Path, name: str) -> list:
    """One figure of metrics.jsonl over the steps of a run."""
    from dftcore.files import read_log

    return [record[name] for record in read_log(run / "metrics.jsonl")]


def weights(run: Path) -> dict:
    """The exported model of a run, by tensor name."""
    from safetensors.torch import load_file

    return load_file(run / "final" / "model.safetensors")


class Started(subprocess.Popen):
    """train.py under torchrun, at work in a process group of its own; stopped when the block ends before it does."""

    def __init__(self, ranks: int, *launcher: str, node: int | None = None, **options: object) -> None:
        self.log = Path(f"{options['output']}.log" if node is None else f"{options['output']}.{node}.log")
        alone = ["--standalone"] if node is None else []
        words = ["-m", "torch.distributed.run", *alone, "--nproc-per-node", str(ranks), *launcher]
        flags = [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", str(value))]
        with self.log.open("w") as log:
            command = [sys.executable, *words, str(ROOT / "train.py"), *flags]
            super().__init__(command, stdout=log, stderr=log, start_new_session=True)

    def __exit__(self, *about: object) -> None:
        if self.poll() is None:
            self.terminate()
        super().__exit__(*about)


def torchrun(ranks: int, script: str, *words: str, timeout: float = 240, **options: object) -> Finished:
    """The program as a user launches it, on `ranks` processes."""
    flags = [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    command = [sys.executable, *launcher, str(ROOT / script), *flags, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    return Finished(done.returncode, done.stdout, done.stderr)

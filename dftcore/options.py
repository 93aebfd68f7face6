"""Options from frozen dataclasses: the command line, the YAML file, help and validation all come from the fields.

    @dataclass(frozen=True)
    class OptimizerOptions:
        lr: float = option(5e-5, "peak learning rate", above=0)

    config = parse_options(TrainOptions, sys.argv[1:], "train.py", "one line of description")

A config is a dataclass whose fields are such groups. `--config FILE.yaml` holds the same names (with - or _); the
command line wins. Every refusal is a UserError that names the option, the value and the mend.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import types
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from dftcore.errors import UserError, nearest

Config = TypeVar("Config")


def option(
    default: Any = MISSING,
    help: str = "",
    *,
    above: float | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    positional: bool = False,
    unless: str | None = None,
) -> Any:
    """A dataclass field with its help text and bounds; without a default the option is required.

    `unless` names a flag that makes it optional; it is empty then (a path: "."). A positional one, a tuple, takes the
    words that belong to no option.
    """
    bounds = {"above": above, "minimum": minimum, "maximum": maximum}
    metadata = {"help": help, **bounds, "positional": positional, "unless": unless}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class _Spec:
    """One option: the group field that holds it, its type without None, and its bounds."""

    name: str
    group: str
    kind: Any
    optional: bool
    default: Any
    metadata: Any

    @property
    def flag(self) -> str:
        return self.name.upper() if self.metadata["positional"] else "--" + self.name.replace("_", "-")

    def required(self) -> str:
        unless = self.metadata["unless"]
        return f"required unless --{unless.replace('_', '-')} is given" if unless else "required"

    def help(self) -> str:
        if self.default is MISSING:
            note = self.required()
        elif self.default is None:
            note = "default: none"
        elif self.kind is bool:
            note = "default: " + ("on" if self.default else "off")
        elif isinstance(self.default, tuple):
            note = "default: " + (",".join(map(str, self.default)) or "none")
        else:
            note = f"default: {self.default}"
        return f"{self.metadata['help']} ({note})".replace("%", "%%")


def parse_options(config_type: type[Config], argv: Sequence[str], program: str, description: str) -> Config:
    """The config for this command line. Raises UserError; `--help` prints and exits 0."""
    specs = {spec.name: spec for spec in _specs(config_type)}
    parser = _parser(specs, program, description)
    if any(word in ("-h", "--help") for word in argv):
        parser.print_help()
        raise SystemExit(0)
    found, rest = parser.parse_known_args(argv)
    if rest:
        flags = [spec.flag for spec in specs.values() if spec.flag.startswith("--")] + ["--config", "--help"]
        flags += [spec.flag.replace("--", "--no-", 1) for spec in specs.values() if spec.kind is bool]
        word = rest[0].partition("=")[0]
        if word.startswith("-"):
            raise UserError(f"unknown option {word}{nearest(word, flags)}")
        raise UserError(f"unexpected argument {word!r}; options are written --name value (see {program} --help)")
    given = vars(found)
    config_file = given.pop("config", None)
    values: dict[str, Any] = {}
    if config_file is not None:
        for key, raw in _read_yaml(Path(config_file)).items():
            name = str(key).replace("-", "_")
            if name not in specs:
                raise UserError(f"{config_file}: unknown option {key!r}{nearest(name, specs)}")
            values[name] = _convert(specs[name], raw, f"{config_file}: {key}")
    for name, raw in given.items():
        values[name] = _convert(specs[name], raw, specs[name].flag)
    for spec in specs.values():
        if spec.name not in values and spec.default is MISSING:
            if values.get(spec.metadata["unless"]):
                values[spec.name] = spec.kind("")
                continue
            raise UserError(f"{spec.flag} is {spec.required()}: {spec.metadata['help']}")
    groups: dict[str, dict[str, Any]] = {spec.group: {} for spec in specs.values()}
    for name, value in values.items():
        groups[specs[name].group][name] = value
    hints = get_type_hints(config_type)
    return config_type(**{group: hints[group](**members) for group, members in groups.items()})


def flatten(config: Any) -> dict[str, Any]:
    """Every option's resolved value by name, in the order of the fields; what config.yaml holds."""
    flat: dict[str, Any] = {}
    for group in dataclasses.fields(config):
        for field in dataclasses.fields(getattr(config, group.name)):
            value = getattr(getattr(config, group.name), field.name)
            flat[field.name] = {tuple: list, type(Path()): str}.get(type(value), lambda same: same)(value)
    return flat


def to_yaml(config: Any) -> str:
    return yaml.safe_dump(flatten(config), sort_keys=False, allow_unicode=True)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(message.removeprefix("argument "))


def _parser(specs: dict[str, _Spec], program: str, description: str) -> argparse.ArgumentParser:
    parser = _Parser(program, description=description, allow_abbrev=False, add_help=False)
    parser.add_argument("-h", "--help", action="store_true", default=argparse.SUPPRESS, help="show this and exit")
    parser.add_argument("--config", metavar="FILE.yaml", default=argparse.SUPPRESS, help="the same options from a file")
    titles: dict[str, Any] = {}
    for spec in specs.values():
        group = titles.setdefault(spec.group, parser.add_argument_group(spec.group.replace("_", " ")))
        _add_argument(group, spec)
    return parser


def _add_argument(group: Any, spec: _Spec) -> None:
    default = argparse.SUPPRESS
    if spec.metadata["positional"]:
        group.add_argument(spec.name, nargs="*", metavar=spec.flag, default=default, help=spec.help())
    elif spec.kind is bool:
        group.add_argument(spec.flag, action=argparse.BooleanOptionalAction, default=default, help=spec.help())
    else:
        metavar = "|".join(get_args(spec.kind)) if get_origin(spec.kind) is Literal else spec.name.upper()
        nargs = "+" if get_origin(spec.kind) is tuple else None
        group.add_argument(spec.flag, dest=spec.name, nargs=nargs, metavar=metavar, default=default, help=spec.help())


def _specs(config_type: type) -> Iterator[_Spec]:
    for group, group_type in get_type_hints(config_type).items():
        hints = get_type_hints(group_type)
        for field in dataclasses.fields(group_type):
            kind, optional = hints[field.name], False
            if get_origin(kind) in (Union, types.UnionType):
                inner = [member for member in get_args(kind) if member is not type(None)]
                kind, optional = inner[0], True
            yield _Spec(field.name, group, kind, optional, field.default, field.metadata)


def _read_yaml(path: Path) -> dict[Any, Any]:
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"--config: no file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--config: cannot read {path}: {error}") from None
    except yaml.YAMLError as error:
        raise UserError(f"--config: {path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(loaded, dict):
        raise UserError(f"--config: {path} holds no options; write lines such as `lr: 5e-5`")
    return loaded


def _convert(spec: _Spec, raw: Any, where: str) -> Any:
    """`raw` (text, or what YAML made of it) as the option's type, within its bounds."""
    if isinstance(raw, dict) or (isinstance(raw, list) and get_origin(spec.kind) is not tuple):
        raise UserError(f"{where}: {raw!r} is not a single value")
    if raw is None or raw == "" or (spec.optional and raw == "none"):
        if spec.optional and raw != "":
            return None
        raise UserError(f"{where}: empty; give {_describe(spec)}")
    if get_origin(spec.kind) is tuple:
        member = get_args(spec.kind)[0]
        words = raw if isinstance(raw, list) else [raw]
        if member is Path:  # which may hold a comma
            return tuple(Path(str(word)) for word in words)
        parts = [part.strip() for word in words for part in str(word).split(",") if part.strip()]
        try:
            return tuple(member(part) for part in parts)
        except ValueError:
            raise UserError(f"{where}: {raw!r} is not a list of whole numbers") from None
    if get_origin(spec.kind) is Literal:
        if str(raw) not in get_args(spec.kind):
            raise UserError(f"{where}: {raw!r} is not one of {', '.join(get_args(spec.kind))}")
        return str(raw)
    if spec.kind is bool:
        if not isinstance(raw, bool):
            raise UserError(f"{where}: {raw!r} is not true or false")
        return raw
    if spec.kind in (str, Path):
        return spec.kind(str(raw))
    try:
        if isinstance(raw, bool):
            raise ValueError
        number = spec.kind(raw) if not (spec.kind is int and isinstance(raw, float)) else _whole(raw)
    except (TypeError, ValueError):
        raise UserError(f"{where}: {raw!r} is not {_describe(spec)}") from None
    bounds = spec.metadata
    inside = (
        math.isfinite(number)
        and (bounds["above"] is None or number > bounds["above"])
        and (bounds["minimum"] is None or number >= bounds["minimum"])
        and (bounds["maximum"] is None or number <= bounds["maximum"])
    )
    if not inside:
        raise UserError(f"{where}: {raw} is out of range; give {_describe(spec)}")
    return number


def _whole(value: float) -> int:
    if not value.is_integer():
        raise ValueError
    return int(value)


def _describe(spec: _Spec) -> str:
    text = {int: "a whole number", float: "a number"}.get(spec.kind, "a value")
    bounds = spec.metadata
    limits = [
        f"{word} {bounds[key]:g}"
        for key, word in (("above", "above"), ("minimum", "at least"), ("maximum", "at most"))
        if bounds[key] is not None
    ]
    return " ".join([text, " and ".join(limits)]).strip()

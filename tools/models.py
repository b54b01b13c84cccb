"""`make models`: which chat models fit the server, beside the stack's embedding and reranker.

python -m tools.models          STACK, TYPE, CARD and MODEL in the environment

Neither Pulumi nor an account is asked: only the stack's file and the vendor's list. Of each model
the largest size that fits is shown, in its most precise form; of `MODEL` every form. The exit code:
0 something fits, 1 nothing does, 2 the question cannot be answered.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from rich import box
from rich.console import Console
from rich.table import Table

from provisioning.cards import Gpus, card_names, gpus_of, type_problem, types_with
from provisioning.catalogue import Model
from provisioning.gpu import fit, largest_context, launch_order, taken_of
from provisioning.memory import Need, need
from provisioning.problems import PlanError, nearest
from provisioning.regions import Region, region
from provisioning.vendor import VendorModel, VendorSpec, billions_of, release, vendor_models
from tools.environment import ROOT
from tools.stack_file import CannotRead, read_stack

WIDTH_WHEN_PIPED = 120
USUAL_CONTEXT = 16384

# What vLLM runs on all of these cards; of two that are equally precise, the first.
_FORMATS = ("pytorch", "fp8", "awq", "gptq")
_WITHOUT_FP8 = "Tesla T4"
_CARDS_OF_A_MODEL = (1, 2, 4, 8)  # vLLM splits attention heads evenly


class CannotSay(Exception):
    """What fits cannot be said; the text says why and what to do."""


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        instance_type, gpus: the server.
        place: where it stands: which hub is near.
        beside: the stack's other models on the cards, small ones first.
        context: tokens that a chat model shall read at once.
        model: only this one, in every form; all if empty.
    """

    instance_type: str
    gpus: Gpus
    place: Region
    beside: tuple[Model, ...]
    context: int
    model: str = ""

    @property
    def left(self) -> int:
        """MiB that the others leave on the fullest card."""
        return self.gpus.usable_mib - fit(self.beside, self.gpus).needed_mib


@dataclass(frozen=True)
class Row:
    """One form of a chat model that fits.

    Attributes:
        model: its entry in the settings.
        longest: tokens of context with all that is left.
    """

    model: Model
    listed: VendorModel
    spec: VendorSpec
    needs: Need
    longest: int

    @property
    def rank(self) -> tuple[float, int, int]:
        """The larger, and of one size the more precise, ranks higher."""
        billions = billions_of(self.spec.size)
        return billions, self.needs.weights, -_FORMATS.index(self.spec.format)

    @property
    def thinks(self) -> bool:
        """Whether it thinks before every answer, and nothing keeps it from that."""
        return "reasoning" in self.listed.abilities and "hybrid" not in self.listed.abilities


def main(environ: Mapping[str, str] = os.environ, root: Path = ROOT) -> int:
    """The command line."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH_WHEN_PIPED
    try:
        question = asked(environ, root)
        rows = fitting(question)
    except CannotSay as problem:
        print(problem, file=sys.stderr)
        return 2
    show(console, question, rows)
    return 0 if rows else 1


def asked(environ: Mapping[str, str], root: Path) -> Question:
    """The question that the environment and the stack's file put.

    Raises:
        CannotSay: no such stack, type, card or model.
    """
    try:
        config = read_stack(root, environ.get("STACK") or "dev").settings
    except CannotRead as error:
        raise CannotSay(str(error)) from None
    instance_type = _type(environ, config["instanceType"])
    if problem := type_problem(instance_type, needs_gpu=True):
        raise CannotSay(f"{problem.wrong[:1].upper()}{problem.wrong[1:]}: {problem.right}")
    gpus = gpus_of(instance_type)
    if gpus is None:
        raise CannotSay(f"{instance_type} has no GPU: name one with TYPE= or CARD=")
    local = launch_order(_models(config))
    chat = [model.context for model in local if model.kind == "chat"]
    model, known = environ.get("MODEL") or "", vendor_models("LLM")
    if model and model not in known:
        raise CannotSay(
            f"Xinference {release()} has no chat model {model!r}: {nearest(model, known)}"
        )
    try:
        place = region(config.get("region") or "cn-hangzhou", config.get("mirrors") or {})
    except PlanError as error:
        raise CannotSay(str(error)) from None
    beside = tuple(model for model in local if model.kind != "chat" and model.local.gpus)
    return Question(instance_type, gpus, place, beside, chat[0] if chat else USUAL_CONTEXT, model)


def _type(environ: Mapping[str, str], own: str) -> str:
    if wanted := environ.get("TYPE"):
        return wanted
    card = environ.get("CARD")
    if not card:
        return own
    if types := types_with(card):
        return types[0]
    raise CannotSay(f"No type has a card {card!r}: known are {', '.join(card_names())}")


def _models(config: Mapping[str, Any]) -> Iterator[Model]:
    """The stack's models that can be read; what is wrong with others, a preview says."""
    for written in config.get("models") or []:
        try:
            yield Model.model_validate(written)
        except ValidationError:
            continue


def fitting(question: Question) -> list[Row]:
    """What fits, one row a model unless the question names one.

    First those that a lab can use best: which call tools, answer at once, and are large.
    """
    rows: dict[str, Row] = {}
    for row in _forms(question):
        key = f"{row.listed.name} {row.model}" if question.model else row.listed.name
        if key not in rows or row.rank > rows[key].rank:
            rows[key] = row
    by_name = sorted(rows.values(), key=lambda row: row.listed.name, reverse=True)
    return sorted(by_name, key=_usefulness, reverse=True)


def _usefulness(row: Row) -> tuple[bool, bool, float, int]:
    return not row.thinks, "tools" in row.listed.abilities, row.rank[0], row.listed.context


def _forms(question: Question) -> Iterator[Row]:
    for listed in vendor_models("LLM").values():
        if question.model not in ("", listed.name):
            continue
        if "chat" not in listed.abilities or "vllm" not in listed.engines:
            continue
        formats = set(_FORMATS) - ({"fp8"} if question.gpus.card == _WITHOUT_FP8 else set())
        for spec in listed.specs:
            kinds = ("none",) if spec.format == "pytorch" else spec.quantizations
            for quantization in kinds if spec.format in formats else ():
                if row := _row(question, listed, spec, quantization):
                    yield row


def _row(
    question: Question, listed: VendorModel, spec: VendorSpec, quantization: str
) -> Row | None:
    """The form on as few cards as hold it, with the least share."""
    context, gpus = min(question.context, listed.context), question.gpus
    for cards in (number for number in _CARDS_OF_A_MODEL if number <= gpus.count):
        model = _entry(listed, spec, quantization, context, cards)
        needs, source = need(model), model.local
        share = max(math.ceil(needs.total / cards / gpus.memory_mib * 100) / 100, 0.1)
        shared = source.model_copy(update={"memory_share": share})
        model = model.model_copy(update={"xinference": shared})
        if share <= 0.95 and not fit([*question.beside, model], gpus).problems:
            longest = max(largest_context(model, question.left) or 0, context)
            return Row(model, listed, spec, needs, min(longest, listed.context))
    return None


def _entry(
    listed: VendorModel, spec: VendorSpec, quantization: str, context: int, cards: int
) -> Model:
    source: dict[str, Any] = {"engine": "vllm", "format": spec.format}
    source["size"] = int(spec.size) if spec.size.isdigit() else spec.size
    if quantization != "none":
        source["quantization"] = quantization
    if cards > 1:
        source["gpus"] = cards
    told = {"name": listed.name, "kind": "chat", "context": context, "xinference": source}
    return Model.model_validate(told | ({"tools": True} if "tools" in listed.abilities else {}))


def show(console: Console, question: Question, rows: Sequence[Row]) -> None:
    """The answer as a table, and the largest one's entry for the settings."""
    gpus = question.gpus
    many = f"{gpus.count} x " if gpus.count > 1 else ""
    console.print(f"{question.instance_type}: {many}{gpus.card}, {_gib(gpus.usable_mib)} usable")
    for model in question.beside:
        console.print(
            f"  {_gib(taken_of(model, gpus)[0])} {model.name} ({model.kind})", style="dim"
        )
    console.print(f"  {_gib(question.left)} left for a chat model, by estimate")
    if not rows:
        console.print("Nothing fits: choose a larger TYPE, or a smaller context in the settings.")
        return
    console.print(_table(question, rows))
    console.print("The first one, as an entry of the setting `models`:", style="dim")
    console.print(f"  - {_flow(rows[0].model)}", soft_wrap=True, markup=False)
    if not question.model:
        console.print("Every form of one of them: make models MODEL=name", style="dim")


def _table(question: Question, rows: Sequence[Row]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for title in ("model", "size", "format"):
        table.add_column(title, no_wrap=True)
    for title in ("needs", "memoryShare", "context up to"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("remarks")
    for row in rows:
        source = row.model.local
        table.add_row(
            row.listed.name,
            str(source.size),
            " ".join(filter(None, (source.format, source.quantization))),
            _gib(row.needs.total),
            f"{source.memory_share:.2f}" + (f" x {source.gpus}" if source.gpus > 1 else ""),
            f"{row.longest}",
            ", ".join(_remarks(question, row)),
        )
    return table


def _remarks(question: Question, row: Row) -> Iterator[str]:
    yield from (ability for ability in ("tools", "vision") if ability in row.listed.abilities)
    if row.thinks:
        yield "always thinks"
    if question.place.model_hub not in row.spec.hubs:
        yield row.spec.hubs[0]


def _flow(model: Model) -> str:
    written = model.model_dump(by_alias=True, exclude_defaults=True)
    text = yaml.safe_dump(written, default_flow_style=True, sort_keys=False, width=math.inf)
    return text.strip()


def _gib(mib: int) -> str:
    return f"{mib / 1024:.1f} GiB"


if __name__ == "__main__":
    sys.exit(main())

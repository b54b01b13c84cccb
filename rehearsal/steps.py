"""The steps of a rehearsal, in order."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape

from rehearsal.engine import Outcome
from rehearsal.lab import Lab
from rehearsal.probes import Probe
from rehearsal.progress import Progress
from rehearsal.report import Report, Step, slowest


class StepFailed(Exception):
    """A step ran, and its result is not what a good lab gives."""


@dataclass
class Rehearsal:
    """The steps, on one lab, into one report. Each raises when the lab is not right."""

    lab: Lab
    report: Report
    console: Console
    progress: Progress
    _wanted: list[tuple[str, str]] = field(default_factory=list)

    def run(self, keep: bool) -> None:
        """All steps; with `keep`, those before the destroy."""
        self._step("preview", self.preview)
        self._step("up", self.up)
        self._step("ask the models", self.ask_models)
        if self.lab.outputs.get("shareLinks") and self._question("ask"):
            self._step("ask through the share link", self.ask_a_question)
        self._step("up again, though the server is sold out", self.up_again)
        self._step("drift: seen by refresh", self.see_drift)
        self._step("drift: healed by up", self.heal_drift)
        if keep:
            return
        self._step("destroy", self.destroy)
        self._step("the bill", self.check_bill)

    def preview(self) -> str:
        """What the operator sees first: nothing is rented, and nothing fails for being unknown."""
        planned = self.lab.engine.preview()
        left = self.lab.world.call("inventory")
        if left:
            raise StepFailed(f"a preview made {', '.join(left)}")
        return f"{planned.operations.get('create', 0)} resources to create"

    def up(self) -> str:
        done = self.lab.engine.up()
        self.report.resources = done.operations.get("create", 0)
        self.report.slowest = slowest(done.events())
        self.lab.outputs = self.lab.engine.outputs()
        bill = self.lab.world.call("bill")["billable"]
        if not bill:
            raise StepFailed("the lab is up, and nothing is on the bill: nothing was rented")
        price = sum(line["per_hour"] for line in bill)
        return f"{self.report.resources} resources, CNY {price:.2f} an hour at list price"

    def ask_models(self) -> str:
        """One request of each kind, by the way its users take."""
        with Probe(self.lab.outputs) as probe:
            asked = []
            for model in probe.models("chat")[:1]:
                self.report.chat = probe.chat(model)
                asked.append(f"{model}: {_short(self.report.chat['answer'])}")
            for model in probe.models("embedding")[:1]:
                self.report.embedding = probe.embedding(model)
                asked.append(f"{model}: {self.report.embedding['dimensions']} dimensions")
            for model in probe.models("rerank", "xinference")[:1]:
                self.report.rerank = probe.rerank(model)
                asked.append(f"{model}: {self.report.rerank['score']:.2f} for the fitting text")
        if self.report.chat is None or self.report.embedding is None:
            raise StepFailed("the lab serves no chat model, or no embedding: nothing to ask")
        return "; ".join(asked)

    def ask_a_question(self) -> str:
        """As a visitor of the app that the settings name; with citations where it has a base."""
        link = self._asked_link()
        with Probe(self.lab.outputs) as probe:
            said = probe.ask(self.lab.outputs["shareLinks"][link], self._question("ask"))
        self.report.question, self.report.answer = said["question"], said["answer"]
        self.report.citations = said["citations"]
        self.report.share_link = str(self.lab.outputs["shareLinks"][link])
        if not said["answer"].strip():
            raise StepFailed(f"{link} answered nothing")
        self._check_citations(link, said)
        return f"{_short(said['answer'])} ({len(said['citations'])} citations)"

    def _check_citations(self, link: str, said: dict[str, Any]) -> None:
        app = next(app for app in self._knowledge("apps") if app["name"] == link.split("/")[0])
        if app.get("bases") and not said["citations"]:
            raise StepFailed(f"{link} answered {_short(said['answer'])!r} and cited nothing")
        wanted = self._question("cites").rpartition("/")[2]
        cited = sorted({str(citation["source"]) for citation in said["citations"]})
        if wanted and wanted not in cited:
            raise StepFailed(f"{link} cited {', '.join(cited)}, not {wanted}")

    def up_again(self) -> str:
        """Nothing changes, though no zone has such a server any more."""
        sold_out = self._sell_out()
        self.report.second_up_changes = self._unchanged("a second up").changes
        return f"0 changes; {sold_out}"

    def see_drift(self) -> str:
        """Things change behind the lab's back, and refresh tells."""
        wanted = []
        with Probe(self.lab.outputs) as probe:
            rerankers = probe.models("rerank", "xinference")
            for model in (rerankers or probe.models("embedding", "xinference"))[:1]:
                probe.terminate(model)
                wanted.append(("xinference:Model", model))
            channel = next(iter(sorted(probe.channels())), None)
            if channel is None:
                raise StepFailed("OneAPI has no channel: nothing to edit")
            probe.edit_channel(channel)
            wanted.append(("oneapi:Channel", channel))
        seen = self.lab.engine.refresh()
        kinds = {type for _, type, _ in seen.changed}
        for kind, name in wanted:
            if not any(type.endswith(kind) for type in kinds):
                raise StepFailed(f"refresh did not see that {name} ({kind}) was changed by hand")
        self._wanted = wanted
        return ", ".join(f"{name} ({kind})" for kind, name in wanted)

    def heal_drift(self) -> str:
        """The next up puts it right, and the services themselves say so."""
        self.lab.engine.up()
        with Probe(self.lab.outputs) as probe:
            for kind, name in self._wanted:
                healed = (
                    name in probe.running()
                    if kind == "xinference:Model"
                    else "edited-by-hand" not in probe.channels().get(name, "edited-by-hand")
                )
                if not healed:
                    raise StepFailed(f"up did not heal {name} ({kind})")
                self.report.drift_healed.append(f"{kind} {name}")
            for model in probe.models("chat")[:1]:
                probe.chat(model)
        return ", ".join(self.report.drift_healed)

    def destroy(self) -> str:
        done = self.lab.engine.destroy()
        return f"{done.operations.get('delete', 0)} resources"

    def check_bill(self) -> str:
        """Nothing costs any more, and nothing is left."""
        bill = self.lab.world.call("bill")
        self.report.billable_after_destroy = bill["billable"]
        self.report.left_after_destroy = self.lab.world.call("inventory")
        self.report.cost = bill["cost"]
        left = [line["what"] for line in bill["billable"]] + self.report.left_after_destroy
        if left:
            raise StepFailed(f"destroy left behind: {', '.join(left)}")
        processes = self.lab.world.call("processes")
        if processes:
            raise StepFailed(f"destroy left processes running: {processes[0]['command'][:200]}")
        return "empty"

    def _step(self, name: str, work: Callable[[], str]) -> None:
        self.report.failed = name
        started = time.monotonic()
        with self.progress.of(name):
            note = work()
        seconds = time.monotonic() - started
        self.report.failed = None
        self.report.steps.append(Step(name, seconds, escape(note)))
        done = f"[green]ok[/green]  {escape(name)}  [dim]{seconds:.1f} s[/dim]  {escape(note)}"
        self.console.print(done, soft_wrap=True)

    def _unchanged(self, what: str) -> Outcome:
        done = self.lab.engine.up()
        if done.changes:
            changed = ", ".join(f"{name} ({op})" for op, _, name in done.changed)
            raise StepFailed(f"{what} changed {done.changes} resources: {changed}")
        return done

    def _sell_out(self) -> str:
        """Whatever the region still has of the type, somebody else buys it."""
        server = self.lab.world.call("servers")[0]
        region = str(self.lab.settings["alicloud:region"])
        kind = server["type"]
        stock: dict[str, int] = self.lab.world.call("stock", type=kind, region=region)
        for zone, count in stock.items():
            if count:
                self.lab.world.call("set_stock", type=kind, zone=zone, count=0)
        return f"no zone of {region} sells {kind} any more"

    def _asked_link(self) -> str:
        """`app/link` of the question's app, or of the first one with a link."""
        links: dict[str, str] = self.lab.outputs["shareLinks"]
        names = [a["name"] for a in self._knowledge("apps") if a.get("links")]
        app = self._question("app") or names[0]
        return next(name for name in links if name.startswith(f"{app}/"))

    def _question(self, part: str) -> str:
        knowledge: dict[str, Any] = self.lab.settings.get("ai-lab:knowledge") or {}
        return str((knowledge.get("question") or {}).get(part) or "")

    def _knowledge(self, part: str) -> list[dict[str, Any]]:
        knowledge: dict[str, Any] = self.lab.settings.get("ai-lab:knowledge") or {}
        return list(knowledge.get(part) or [])


def _short(text: str, length: int = 90) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= length else flat[: length - 1] + "…"

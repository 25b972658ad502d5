"""What the pages of writing a probe show: who gets it, what it costs, what is wrong, what it would have done.

Made anew for every look, while somebody types. Invariants: nothing is changed by it; what a person may not
see of values is not in it; expressions are checked even where the rest of a probe is not there yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import urlencode

from sealwire.errors import InvalidChangeError, NotPermittedError, Problem
from sealwire.products import wording
from sealwire.server.access import Principal
from sealwire.server.control_plane import ControlPlane
from sealwire.server.debugger.authoring import probe_facts, probe_words, probes, workbench
from sealwire.server.debugger.authoring.desk import ProbeRow
from sealwire.server.debugger.authoring.probes import Probe, ProbeKind
from sealwire.server.debugger.authoring.tryout import Match, TriedSnapshot
from sealwire.server.debugger.authoring.workbench import Trial, Workbench
from sealwire.server.debugger.snapshots import discretion
from sealwire.server.fleet.connection import Connection
from sealwire.server.fleet.overview import ClientLine
from sealwire.server.targeting import Targeting
from sealwire.server.tenant import Tenant
from sealwire.server.ui import debugger_form_draft as drafts
from sealwire.server.ui.debugger_form_draft import Draft
from sealwire.server.ui.debugger_form_views import (
    Audience,
    Instances,
    Left,
    Look,
    Mistake,
    TriedRow,
    Trying,
    label_of,
    marks,
)
from sealwire.server.ui.render import agent_href, moment
from sealwire.server.ui.views import Link

WRITE: Final = "debugger_write"
WRITE_PRE_PROD: Final = "debugger_write_pre_prod"
PRODUCT: Final = "LIVE_DEBUGGING"
MAX_AGENTS: Final = 12
MAX_TRIED: Final = 6
_HERE: Final = (Connection.CONNECTED, Connection.PENDING, Connection.DEGRADED)
_SPELLINGS: Final = {"node": "javascript", "nodejs": "javascript", "jvm": "java", "golang": "go"}


# Who ------------------------------------------------------------------------------------------------------


def language_of(facts: Mapping[str, object]) -> str:
    """The language of a client as probes call it."""
    said = str(facts.get("language", "")).casefold()
    return _SPELLINGS.get(said, said)


def clients_of(lines: Iterable[ClientLine], service: str) -> list[ClientLine]:
    """Clients of a service that are here."""
    wanted = service.casefold()
    return [
        line
        for line in lines
        if line.state in _HERE and str(line.facts.get("service", "")).casefold() == wanted
    ]


def _is_in(line: ClientLine, envs: Collection[str]) -> bool:
    return not envs or str(line.facts.get("env", "")).casefold() in {env.casefold() for env in envs}


def audience(
    tenant: Tenant,
    here: Sequence[ClientLine],
    targeting: Targeting | None,
    service: str,
    envs: Collection[str],
    language: str,
) -> Audience:
    """Who of the clients of a service gets a probe, and why the others do not."""
    if not service:
        return Audience()
    getting: dict[str, list[ClientLine]] = {}
    left: Counter[tuple[str, str]] = Counter()
    for line in here:
        why = _why_not(tenant, line, targeting, envs, language)
        if why is None:
            getting.setdefault(line.agent_id, []).append(line)
        elif why[1] != "elsewhere":
            left[why] += 1
    ordered = sorted(getting.values(), key=lambda lines: (-len(lines), lines[0].hostname))
    return Audience(
        True,
        sum(map(len, ordered)),
        tuple(
            Instances(
                Link(lines[0].hostname or lines[0].agent_id, agent_href(lines[0].agent_id)),
                len(lines), _what(lines),
            )
            for lines in ordered[:MAX_AGENTS]
        ),
        max(0, len(ordered) - MAX_AGENTS),
        tuple(_left(why, way, count, service, envs) for (why, way), count in left.most_common()),
    )  # fmt: skip


def _why_not(
    tenant: Tenant, line: ClientLine, targeting: Targeting | None, envs: Collection[str], language: str
) -> tuple[str, str] | None:
    """Why a client of the service does not get it, and the word for what to do; None if it does."""
    if not _is_in(line, envs):
        return "", "elsewhere"
    speaks = language_of(line.facts)
    if language and speaks != language:
        return f"It is a {probe_words.LANGUAGES.get(speaks, speaks or 'different')} program.", "language"
    if targeting is not None and not targeting.matches(tenant.overview.facts_of(line)):
        return "The targeting of this probe leaves it out.", "targeting"
    products = line.facts.get("products", ())
    if PRODUCT not in (products if isinstance(products, list | tuple | set | frozenset) else ()):
        return "Dynamic Instrumentation is off in it.", "off"
    return None


def _what(lines: Sequence[ClientLine]) -> str:
    envs = sorted({str(line.facts.get("env", "")) or "no env" for line in lines})
    versions = sorted({str(line.facts.get("tracer_version", "")) for line in lines} - {""})
    return " · ".join(filter(None, (wording.some(envs), wording.some(versions))))


def _left(why: str, way: str, count: int, service: str, envs: Collection[str]) -> Left:
    if way == "off":
        query = {"service": service, **({"env": next(iter(envs))} if len(envs) == 1 else {})}
        return Left(count, why, Link("Switch it on", f"/debugger/services?{urlencode(query)}"))
    if way == "language":
        return Left(count, why, Link("Its clients", f"/fleet?{urlencode({'q': f'service:{service}'})}"))
    return Left(count, why, None)


def languages_of(here: Iterable[ClientLine], envs: Collection[str]) -> tuple[str, ...]:
    """The languages of clients, those of the most first."""
    spoken = Counter(language_of(line.facts) for line in here if _is_in(line, envs))
    return tuple(name for name, _ in spoken.most_common() if name in probes.LANGUAGES)


# Looking --------------------------------------------------------------------------------------------------


class Looking:
    """One look at a draft.

    Args:
        row: The probe that is changed; None for a new one.
    """

    def __init__(
        self, tenant: Tenant, principal: Principal, plane: ControlPlane, row: ProbeRow | None
    ) -> None:
        self._tenant = tenant
        self._principal = principal
        self._plane = plane
        self._row = row

    def service_of(self, draft: Draft) -> tuple[str, tuple[str, ...]]:
        """Service and environments; a probe stays with those it has."""
        return (draft.service, draft.envs) if self._row is None else (self._row.service, self._row.envs)

    def kept(self, draft: Draft) -> Draft:
        """The draft with what a probe stays with, whatever was sent."""
        row = self._row
        if row is None:
            return draft
        return replace(draft, service=row.service, env=", ".join(row.envs), language=row.probe.language)

    def fields(self, draft: Draft, language: str) -> dict[str, object]:
        """What the desk takes."""
        service, envs = self.service_of(draft)
        document = drafts.document_of(draft, language=language)
        return {
            "name": draft.name, "service": service, "env": list(envs), "document": document,
            "comment": draft.comment,
        }  # fmt: skip

    async def language(self, draft: Draft) -> str:
        """As chosen, or that of the clients where they agree."""
        if draft.language:
            return draft.language
        service, envs = self.service_of(draft)
        fleet = await self._tenant.overview.glance()
        found = languages_of(clients_of(fleet.clients, service), envs)
        return found[0] if len(found) == 1 else ""

    async def look(self, draft: Draft) -> Look:
        """Everything that can be said of it as it stands."""
        draft = drafts.tidied(self.kept(draft))
        service, envs = self.service_of(draft)
        fleet = await self._tenant.overview.glance()
        here = clients_of(fleet.clients, service) if service else []
        spoken = languages_of(here, envs)
        language = draft.language or (spoken[0] if len(spoken) == 1 else "")
        problems, is_permitted = await self._checked(draft, language)
        missing, wrong = _told_apart(draft, self._mistakes(draft, problems), spoken)
        try:
            probe = probes.parse(drafts.document_of(draft, language=language))
        except InvalidChangeError:
            probe = None
        targeting = None if self._row is None else Targeting.parse(self._row.config.targeting)
        who = audience(self._tenant, here, targeting, service, envs, language)
        if not self._principal.may("fleet_read"):
            who = replace(who, agents=(), more=0)
        return Look(
            language=language,
            language_words=_language_words(draft, language, spoken),
            mistakes=wrong,
            missing=missing,
            refusals=_once(probe_facts.refusals(probe)) if probe else _early_refusal(draft, language),
            not_yours=self._not_yours(draft, probe, service, envs, is_permitted=is_permitted),
            warnings=_once(probe_facts.warnings(probe)) if probe else (),
            audience=who,
            cost=probe_facts.cost(probe, processes=max(who.count, 1)).says if probe else (),
            ends=_ends(draft),
            trying=await self._trying(probe, service, envs) if probe else None,
            changes=None if self._row is None else self._changes(draft, probe),
        )

    def _mistakes(self, draft: Draft, problems: Iterable[Problem]) -> list[Mistake]:
        found: dict[str, str] = {field: mark.message for field, mark in marks(draft).items()}
        for problem in problems:
            found.setdefault(drafts.field_of(problem.path), problem.message)
        return [Mistake(message, field, label_of(field)) for field, message in found.items()]

    async def _checked(self, draft: Draft, language: str) -> tuple[tuple[Problem, ...], bool]:
        """What the desk says: problems, and whether it is theirs to save."""
        probe_id = self._row.probe_id if self._row else None
        try:
            checked = await self._tenant.probes.check(
                self._principal, self.fields(draft, language), probe_id=probe_id, now=self._plane.clock()
            )
        except InvalidChangeError as error:
            return error.problems, True
        except NotPermittedError:
            return (), False
        return checked.problems, checked.permitted or bool(checked.problems)

    def _not_yours(
        self, draft: Draft, probe: Probe | None, service: str, envs: tuple[str, ...], *, is_permitted: bool
    ) -> tuple[str, ...]:
        """What of it their permissions do not reach."""
        found = []
        services = (service,) if service else ()
        shows = probe.shows_values if probe is not None else draft.takes_values
        if shows and not self._principal.may_change(discretion.CAPTURE, services=services, envs=envs):
            found.append(
                "It brings values of variables out of the program: "
                f"{wording.some(_parts_with_values(draft, probe))}. That takes the permission "
                f"{discretion.CAPTURE}, which you do not have here."
            )
        if self._principal.may_change(WRITE, services=services, envs=envs):
            if not found and not is_permitted:
                found.append("Your permissions do not reach this probe.")
            return tuple(found)
        production = {env.casefold() for env in self._tenant.organisation.production_envs}
        if not self._principal.may(WRITE) and not self._principal.may(WRITE_PRE_PROD):
            found.append(f"Saving it takes the permission {WRITE} or {WRITE_PRE_PROD}.")
        elif not self._principal.may_change(WRITE_PRE_PROD, services=services, envs=envs):
            found.append("Your permission to set probes is for other services or environments.")
        elif service and not envs:
            found.append("You may set probes outside production only: name the environments it is for.")
        elif named := [env for env in envs if env.casefold() in production]:
            found.append(
                f"You may set probes outside production only, and {wording.some(named)} is production."
            )
        return tuple(found)

    async def _trying(self, probe: Probe, service: str, envs: tuple[str, ...]) -> Trying | None:
        if probe.when is None and not probe.expressions:
            return None
        place = workbench.place_of(probe, service, envs, self._row.probe_id if self._row else "")
        return _trying(probe, await Workbench(self._tenant, self._principal).try_probe(probe, place))

    def _changes(self, draft: Draft, probe: Probe | None) -> tuple[str, ...]:
        assert self._row is not None
        if probe is None:
            return ()
        found = list(probe_words.changes(self._row.document, probes.to_document(probe)))
        if draft.name != self._row.config.name:
            found.insert(0, f"Name: {self._row.config.name or 'none'} → {draft.name or 'none'}")
        return tuple(found)


def _once(problems: Iterable[Problem]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(problem.message for problem in problems))


def _early_refusal(draft: Draft, language: str) -> tuple[str, ...]:
    """What the tracer would not take, while the probe is not whole yet."""
    support = probe_facts.SUPPORT.get(language)
    if support is None:
        return ()
    is_line = draft.place == drafts.LINE
    here, there = (
        (support.at_lines, support.on_methods) if is_line else (support.on_methods, support.at_lines)
    )
    if draft.kind in here:
        return ()
    where, other = ("at a line", "on a method") if is_line else ("on a method", "at a line")
    if draft.kind in there:
        return (f"{support.tracer} takes a {draft.kind} {other}, not {where}. {support.says}".strip(),)
    return (f"{support.tracer} takes no {draft.kind} {where}. {support.says}".strip(),)


def _told_apart(
    draft: Draft, mistakes: Sequence[Mistake], spoken: Sequence[str]
) -> tuple[tuple[tuple[str, str], ...], tuple[Mistake, ...]]:
    """Fields that are empty still, and what is wrong with what was typed."""
    missing: dict[str, str] = {}
    wrong = []
    for one in mistakes:
        if one.field == "in-language" and not draft.language:
            if draft.service and len(spoken) != 1:
                missing["in-language"] = "Language"
        elif one.field and not _typed(draft, one.field):
            missing[one.field] = one.label
        else:
            wrong.append(one)
    return tuple(missing.items()), tuple(wrong)


def _typed(draft: Draft, field: str) -> bool:
    """Whether anything stands in a field."""
    simple = field.removeprefix("in-")
    if simple in ("place", "captures"):
        return True
    if hasattr(draft, simple):
        return bool(getattr(draft, simple))
    if simple.startswith("x-"):
        _, at, what = simple.split("-", 2)
        row = draft.asked[int(at)] if int(at) < len(draft.asked) else drafts.AskedFields()
        return bool(getattr(row, what, "x"))
    if simple.startswith("d-"):
        parts = simple.split("-")
        decoration = draft.decorations[int(parts[1])] if int(parts[1]) < len(draft.decorations) else None
        if decoration is None or parts[2] != "t":
            return True
        tag = decoration.tags[int(parts[3])] if int(parts[3]) < len(decoration.tags) else drafts.TagFields()
        return bool(getattr(tag, parts[4]))
    return True


def _language_words(draft: Draft, language: str, spoken: Sequence[str]) -> str:
    """What is to be said of the language beside its field."""
    named = [probe_words.LANGUAGES[name] for name in spoken]
    if draft.language:
        if spoken and draft.language not in spoken:
            return f"Its clients speak {wording.some(named)}."
        return ""
    if language:
        return f"{probe_words.LANGUAGES[language]}, as its clients."
    if named:
        return f"Its clients speak {wording.some(named)}: choose one."
    return "No client of it is here to take it from: choose one." if draft.service else ""


def _ends(draft: Draft) -> str:
    number = drafts.number(draft.minutes) if draft.minutes else draft.usual_minutes
    words = probe_words.minutes(number)
    usual = (
        ""
        if draft.minutes
        else ", as is usual " + ("with values" if draft.takes_values else "without values")
    )
    return (
        f"After {words} it is taken out of the programs by itself{usual}. What it brought stays as long as "
        "other data; saving it again begins anew."
    )


def _parts_with_values(draft: Draft, probe: Probe | None) -> list[str]:
    found = []
    if draft.kind == ProbeKind.LOG:
        if draft.captures == drafts.EVERYTHING:
            found.append("the snapshot")
        if draft.captures == drafts.SOME:
            found.append("the captured expressions")
        if probe is None or (probe.template is not None and probe.template.expressions):
            found.append("the expressions in the message")
    if draft.kind == ProbeKind.DECORATION:
        found.append("the expressions in the tags")
    return found


_MATCHES: Final = {
    Match.YES: "would match",
    Match.NO: "would not match",
    Match.FAILS: "condition fails",
    Match.UNKNOWN: "cannot be told",
}


def _trying(probe: Probe, trial: Trial) -> Trying:
    tried = trial.tried
    shown = [one for one in tried.rows if one.match is not Match.NO][:MAX_TRIED]
    return Trying(
        why_not=trial.why_not,
        total=len(tried.rows),
        matched=tried.count(Match.YES),
        failed=tried.count(Match.FAILS),
        unknown=tried.count(Match.UNKNOWN),
        is_conditional=probe.when is not None,
        is_whole=tried.is_whole,
        rows=tuple(_tried_row(one) for one in shown),
    )


def _tried_row(one: TriedSnapshot) -> TriedRow:
    notes = tuple(filter(None, (one.says, *one.troubles)))
    return TriedRow(
        _MATCHES[one.match], moment(one.at_ms / 1000), f"/debugger/snapshots/{one.snapshot_id}",
        one.message or one.value, notes,
    )  # fmt: skip


def limits_of(tenant: Tenant, principal: Principal) -> tuple[tuple[str, str, str], ...]:
    """What somebody is told at once of what they may not do here."""
    found = []
    may_all, may_some = principal.may(WRITE), principal.may(WRITE_PRE_PROD)
    if not may_all and not may_some:
        found.append(
            ("wait", "You may look and try, and not save.", f"Saving takes {WRITE} or {WRITE_PRE_PROD}.")
        )
    elif not may_all:
        envs = tenant.organisation.production_envs
        which = f"Every environment but {wording.some(list(envs))}." if envs else ""
        found.append(
            ("wait", "You may set probes outside production only.", f"{which} Name each environment.".strip())
        )
    if not principal.may(discretion.CAPTURE):
        found.append(
            (
                "wait",
                "You may not read values of variables.",
                f"Snapshots, captured expressions and expressions in texts take {discretion.CAPTURE}.",
            )
        )
    return tuple(found)

"""The fleet's two tables: applications (one row a tracer) and agents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar
from urllib.parse import urlencode

from sealwire.products import wording
from sealwire.server.fleet.connection import STATE_WORDS, Connection, Standing
from sealwire.server.fleet.overview import SERVICE, AgentLine, ClientLine, Fleet
from sealwire.server.ui import tables
from sealwire.server.ui.filters import Field, Grammar
from sealwire.server.ui.render import agent_href, client_href, dom_id, moment
from sealwire.server.ui.tables import Column
from sealwire.server.ui.views import AgentRow, ClientRow, Fact, FleetPage, Status, Tab, connection_status

OURS = "sealwire_version:"
APPLICATIONS, AGENTS = "applications", "agents"
_TROUBLE = {state: number for number, state in enumerate(Connection)}
_STATES = {word: state.value for word, state in STATE_WORDS.items()}
_LANGUAGES = {"nodejs": "node", "javascript": "node", "golang": "go", ".net": "dotnet"}


def _fact(name: str) -> Callable[[ClientLine], Iterable[str]]:
    return lambda line: (str(line.facts.get(name, "")),)


CLIENTS: Grammar[ClientLine] = Grammar(
    service=Field(_fact("service"), is_name=True),
    env=Field(_fact("env"), is_name=True),
    state=Field(lambda line: (line.state.value,), values=_STATES),
    language=Field(_fact("language")),
    library=Field(_fact("tracer_version")),
    version=Field(_fact("app_version")),
    host=Field(lambda line: (line.hostname,), is_name=True),
    product=Field(lambda line: line.facts.get("products", ())),
    config=Field(lambda line: (one for file in line.files for one in file.config_ids)),
    client=Field(lambda line: (line.client_id,), is_name=True),
)
AGENT_FIELDS: Grammar[AgentLine] = Grammar(
    host=Field(lambda line: (line.hostname,), is_name=True),
    state=Field(lambda line: (line.state.value,), values=_STATES),
    version=Field(lambda line: (line.version,)),
    tag=Field(lambda line: line.tags, is_name=True),
    key=Field(lambda line: (line.key_id,)),
)

CLIENT_COLUMNS: Mapping[str, Column[ClientLine]] = {
    "state": Column("State", lambda line: _TROUBLE[line.state]),
    "service": Column("Service", lambda line: str(line.facts.get("service", ""))),
    "env": Column("Env", lambda line: str(line.facts.get("env", ""))),
    "language": Column("Language", lambda line: str(line.facts.get("language", ""))),
    "library": Column("Tracer", lambda line: str(line.facts.get("tracer_version", ""))),
    "host": Column("Host", lambda line: line.hostname),
    "configs": Column("Configs", lambda line: len(line.files), numeric=True),
    "seen": Column("Last seen", lambda line: -line.seen_s, numeric=True),
}
AGENT_COLUMNS: Mapping[str, Column[AgentLine]] = {
    "state": Column("State", lambda line: _TROUBLE[line.state]),
    "host": Column("Host", lambda line: line.hostname),
    "version": Column("Version", lambda line: line.version),
    "tags": Column("Tags"),
    "clients": Column("Clients", lambda line: line.clients, numeric=True),
    "have": Column("Has / shall have", lambda line: line.director_version, numeric=True),
    "roots": Column("Roots", numeric=True),
    "seen": Column("Last poll", lambda line: -line.seen_s, numeric=True),
}
OWN_PARAMETERS = ("tab", "q", "sort", "after", "before")

Line = TypeVar("Line", ClientLine, AgentLine)


def view(fleet: Fleet, query: Mapping[str, str]) -> FleetPage:
    """The page for an address; ``query`` is what stands in it."""
    given = {name: query[name] for name in OWN_PARAMETERS if query.get(name)}
    tab = AGENTS if given.get("tab") == AGENTS else APPLICATIONS
    text = given.get("q", "")
    applications = (*fleet.clients, *fleet.services)
    tabs = (
        Tab("Applications", href(q="", tab=""), tab == APPLICATIONS, len(applications)),
        Tab("Agents", href(q="", tab=AGENTS), tab == AGENTS, len(fleet.agents)),
    )
    if tab == AGENTS:
        asked = AGENT_FIELDS.parse(text)
        found = [line for line in fleet.agents if asked.matches(line)]
        page = tables.page(
            found, AGENT_COLUMNS, identity=lambda line: line.agent_id, path="/fleet", query=given,
            default_sort="state",
        )  # fmt: skip
        agent_rows = tuple(_agent_row(line) for line in page.rows)
        return FleetPage(
            tab, tabs, asked.text, given.get("sort", ""), asked.problems, agent_facts(fleet), page.headings,
            agent_rows, len(found), len(fleet.agents), page.previous_href, page.next_href,
            tuple(AGENT_FIELDS.fields), _legend(fleet.agent_states),
            _summary(len(found), len(fleet.agents), fleet.agent_states, "agents"),
            _live(given),
        )  # fmt: skip
    wanted = CLIENTS.parse(text)
    states = application_states(fleet)
    matching = [line for line in applications if wanted.matches(line)]
    shown = tables.page(
        matching, CLIENT_COLUMNS, identity=lambda line: line.client_id, path="/fleet", query=given,
        default_sort="state",
    )  # fmt: skip
    client_rows = tuple(_client_row(line) for line in shown.rows)
    return FleetPage(
        tab, tabs, wanted.text, given.get("sort", ""), wanted.problems, client_facts(fleet), shown.headings,
        client_rows, len(matching), len(applications), shown.previous_href, shown.next_href,
        tuple(CLIENTS.fields), _legend(states),
        _summary(len(matching), len(applications), states, "applications"),
        _live(given),
    )  # fmt: skip


def _legend(states: Mapping[Connection, int]) -> tuple[Status, ...]:
    """The states that are there, worst first."""
    return tuple(connection_status(Standing(state)) for state in Connection if states.get(state))


def client_facts(fleet: Fleet) -> tuple[Fact, ...]:
    """The summary of all applications, each number leading to its rows."""
    total = len(fleet.clients) + len(fleet.services)
    return _facts(application_states(fleet), total, "application", "")


def application_states(fleet: Fleet) -> Mapping[Connection, int]:
    """How many tracers, and services without one, are in each state."""
    return Counter(fleet.client_states) + Counter(line.state for line in fleet.services)


def agent_facts(fleet: Fleet) -> tuple[Fact, ...]:
    """The summary of all agents."""
    return _facts(fleet.agent_states, len(fleet.agents), "agent", AGENTS)


def _facts(states: Mapping[Connection, int], total: int, noun: str, tab: str) -> tuple[Fact, ...]:
    def count(*wanted: Connection) -> int:
        return sum(states.get(state, 0) for state in wanted)

    errors = (Connection.ERROR, Connection.UNAUTHORIZED, Connection.REVOKED, Connection.UNSUPPORTED)
    shown = (
        ("Connected", (Connection.CONNECTED,), "", f"of {wording.counted(total, noun)}"),
        ("Updating", (Connection.PENDING,), "wait", "told, not confirmed"),
        ("Config error", (Connection.DEGRADED,), "bad", "did not take one"),
        ("Cannot connect", errors, "bad", "or may not"),
        ("Not connected", _AWAY, "mute", "offline, off, not asking"),
    )
    return tuple(
        Fact(
            label,
            count(*wanted),
            tone if count(*wanted) else "",
            note,
            href(tab=tab, q=f"state:{','.join(state.value for state in wanted)}"),
        )
        for label, wanted, tone, note in shown
    )


_AWAY = (Connection.OFFLINE, Connection.DISABLED, Connection.NOT_DETECTED, Connection.UNKNOWN)


def href(**parameters: str) -> str:
    """The address of the fleet with a tab, a filter and so on."""
    given = {name: value for name, value in parameters.items() if value}
    return f"/fleet?{urlencode(given, safe=':,')}" if given else "/fleet"


def _live(given: Mapping[str, str]) -> str:
    return f"/live/fleet?{urlencode(given)}" if given else "/live/fleet"


def _summary(shown: int, total: int, states: Mapping[Connection, int], noun: str) -> str:
    return (
        f"{shown} of {total} {noun}; {states.get(Connection.DEGRADED, 0)} with a config error, "
        f"{states.get(Connection.ERROR, 0)} with a connection error."
    )


def _client_row(line: ClientLine) -> ClientRow:
    facts = line.facts
    return ClientRow(
        dom_id=dom_id("client", line.client_id),
        # What stands behind a service without a client is known by its agent.
        href=agent_href(line.agent_id) if facts.get("kind") == SERVICE else client_href(line.client_id),
        status=connection_status(line.standing),
        service=str(facts.get("service", "")),
        env=str(facts.get("env", "")),
        language=str(facts.get("language", "")),
        library=str(facts.get("tracer_version", "")),
        host=line.hostname,
        app_version=str(facts.get("app_version", "")),
        in_step=line.in_step,
        wanted=len(line.files),
        failed=line.failed,
        seen=moment(line.seen_s, now=line.waiting),
    )


def _version(line: AgentLine) -> str:
    """What runs there: our agent goes by its own version, not by the one that it speaks as."""
    ours = next((tag.removeprefix(OURS) for tag in line.tags if tag.startswith(OURS)), "")
    return f"Sealwire {ours}" if ours else line.version


def _agent_row(line: AgentLine) -> AgentRow:
    return AgentRow(
        dom_id=dom_id("agent", line.agent_id),
        href=agent_href(line.agent_id),
        status=connection_status(line.standing),
        host=line.hostname,
        version=_version(line),
        tags=tuple(tag for tag in line.tags if not tag.startswith(("host:", OURS)))[:6],
        clients=line.clients,
        has_version=line.director_version,
        wanted_version=line.wanted_version,
        roots=f"{line.root_versions[0]} / {line.root_versions[1]}" if line.root_versions else "",
        seen=moment(line.seen_s, now=line.waiting),
    )

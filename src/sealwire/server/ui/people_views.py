"""What the templates of people, roles and application keys may see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sealwire.errors import Problem
from sealwire.server.ui.tables import Heading
from sealwire.server.ui.views import Moment, Status, Tab


@dataclass(frozen=True, slots=True)
class Held:
    """A role somebody has. ``reach`` says for what, as the end of a sentence; empty: for everything."""

    binding_id: str
    role: str
    href: str
    reach: str
    given: Moment
    given_by: str


@dataclass(frozen=True, slots=True)
class UserLine:
    """A user in the table."""

    dom_id: str
    href: str
    email: str
    name: str
    status: Status
    roles: tuple[Held, ...]
    second_factor: str
    last_sign_in: Moment


@dataclass(frozen=True, slots=True)
class UsersPage:
    """Users that match a filter; ``fields`` are those it knows."""

    tabs: tuple[Tab, ...]
    headings: tuple[Heading, ...]
    rows: tuple[UserLine, ...]
    shown: int
    total: int
    query: str
    sort: str
    problems: tuple[Problem, ...]
    fields: tuple[str, ...]
    previous_href: str | None
    next_href: str | None
    may_invite: bool
    summary: str
    live_href: str


@dataclass(frozen=True, slots=True)
class RoleChoice:
    """A role that can be given; ``id`` is what a form sends."""

    id: str
    name: str
    description: str


@dataclass(frozen=True, slots=True)
class RoleForm:
    """A role to give, as typed."""

    choices: tuple[RoleChoice, ...]
    role_id: str
    services: str
    envs: str


@dataclass(frozen=True, slots=True)
class InvitePage:
    """The form of an invitation. ``problem`` is about the whole of it."""

    email: str
    name: str
    role: RoleForm
    wrong: Mapping[str, str]
    problem: str


@dataclass(frozen=True, slots=True)
class LinkPage:
    """A link that works once, shown once. ``kind`` is ``invitation`` or ``password``."""

    kind: str
    email: str
    href: str
    link: str
    hours: int


@dataclass(frozen=True, slots=True)
class SessionLine:
    """A browser somebody is signed in with."""

    device: str
    user_agent: str
    address: str
    method: str
    last_seen: Moment
    is_present: bool


@dataclass(frozen=True, slots=True)
class UserPage:
    """One user.

    Attributes:
        title: Name, or email without one.
        link_until: Until when a link of theirs works; never without one.
        sessions: Only for those who may end them.
        role: The form to give a role.
        new_name: As typed.
        problem: Why something was not done.
    """

    href: str
    title: str
    email: str
    status: Status
    state: str
    is_self: bool
    is_last_admin: bool
    roles: tuple[Held, ...]
    second_factor: str
    has_second_factor: bool
    last_sign_in: Moment
    made: Moment
    made_by: str
    link_until: Moment
    issuers: tuple[str, ...]
    keys: int
    sessions: tuple[SessionLine, ...]
    may_manage: bool
    may_invite: bool
    role: RoleForm
    new_name: str
    wrong: Mapping[str, str]
    problem: str


@dataclass(frozen=True, slots=True)
class DangerPage:
    """What happens to somebody. ``action`` is ``disable`` or ``second-factor``; it is typed to confirm."""

    action: str
    href: str
    title: str
    email: str
    is_self: bool
    is_last_admin: bool
    sessions: int
    keys: int
    roles: tuple[Held, ...]
    typed: str
    wrong: str
    problem: str

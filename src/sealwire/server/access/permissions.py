"""The permissions there are, the roles made of them, and the question whether somebody may. Pure.

The names are those of the field, so that definitions of roles written for it stay valid; the ones of our
own begin with ``rc_`` or are listed as such. To write something implies nothing else: who may change a
config may see it only with the permission to read.

A grant may be restricted to services and environments. The restriction is on what is changed: a config
aimed at more than the grant covers is not the holder's to make, change or retire. What concerns every
service at once (``ORGANISATION_WIDE``) a restricted grant does not give at all. What can be read within an
organisation is not cut that way, nor is the care for people, which has bounds of its own (``roles``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sealwire.errors import NotPermittedError

ADMIN = "admin"
STANDARD = "standard"
READ_ONLY = "read_only"


@dataclass(frozen=True, slots=True)
class Permission:
    """One thing that somebody may do.

    Attributes:
        group: Heading under which pages list it.
        title: What it lets people do, as a sentence without its subject.
        since: The least of the roles that are always there that has it.
    """

    name: str
    group: str
    title: str
    since: str


_CATALOGUE = (
    ("Fleet", READ_ONLY, "fleet_read", "See agents and tracers, what they were sent and what they said"),
    ("Fleet", STANDARD, "agent_flare_collection", "Ask an agent for a flare"),
    ("Fleet", ADMIN, "agent_enroll", "Make the command that installs an agent with a fresh key"),
    ("Fleet", ADMIN, "agent_upgrade_write", "Upgrade agents"),
    ("Fleet", ADMIN, "fleet_policies_write", "Change how agents are configured"),
    ("Remote Configuration", READ_ONLY, "rc_config_read", "See configs, their history and their targeting"),
    ("Remote Configuration", STANDARD, "rc_config_publish",
     "Make, change and retire configs of products one may write"),
    ("Remote Configuration", ADMIN, "rc_config_approve", "Approve somebody else's change"),
    ("Remote Configuration", READ_ONLY, "rc_keys_read", "See signing keys, roots and when they expire"),
    ("Remote Configuration", ADMIN, "rc_keys_manage", "Rotate signing keys and recover repositories"),
    ("APM", STANDARD, "apm_remote_configuration_read", "See the configuration of tracers"),
    ("APM", STANDARD, "apm_remote_configuration_write", "Set sampling, tags and log injection of tracers"),
    ("APM", STANDARD, "apm_service_ingest_read", "See sampling done by agents"),
    ("APM", STANDARD, "apm_service_ingest_write", "Set sampling done by agents"),
    ("Application Security", READ_ONLY, "appsec_activation_read", "See where App and API Protection is on"),
    ("Application Security", STANDARD, "appsec_activation_write", "Switch App and API Protection on and off"),
    ("Application Security", READ_ONLY, "appsec_protect_read", "See denylist, passlist and blocking"),
    ("Application Security", STANDARD, "appsec_protect_write", "Block and unblock addresses and users"),
    ("Application Security", STANDARD, "appsec_event_rule_read", "See rules of the in-app firewall"),
    ("Application Security", STANDARD, "appsec_event_rule_write", "Write rules of the in-app firewall"),
    ("Dynamic Instrumentation", READ_ONLY, "debugger_read", "See probes and what they bring"),
    ("Dynamic Instrumentation", ADMIN, "debugger_write", "Set probes anywhere"),
    ("Dynamic Instrumentation", STANDARD, "debugger_write_pre_prod", "Set probes outside production"),
    ("Dynamic Instrumentation", ADMIN, "debugger_capture_variables",
     "Set probes that read the values of variables, and see these values"),
    ("Dynamic Instrumentation", ADMIN, "debugger_export", "Export snapshots"),
    ("Workload", READ_ONLY, "security_monitoring_cws_agent_rules_read", "See rules of hosts"),
    ("Workload", STANDARD, "security_monitoring_cws_agent_rules_write", "Write rules of hosts"),
    ("Workload", ADMIN, "security_monitoring_cws_agent_rules_actions", "Write rules that act on a host"),
    ("Security signals", READ_ONLY, "security_monitoring_signals_read", "See signals"),
    ("Security signals", STANDARD, "security_monitoring_signals_write", "Triage signals"),
    ("Security signals", READ_ONLY, "security_monitoring_rules_read", "See detection rules"),
    ("Security signals", STANDARD, "security_monitoring_rules_write", "Write detection rules"),
    ("Keys", STANDARD, "api_keys_read", "See API keys, their scope and their last use"),
    ("Keys", ADMIN, "api_keys_write", "Make API keys, give and take the Remote Configuration scope"),
    ("Keys", ADMIN, "api_keys_delete", "Revoke API keys"),
    ("Keys", STANDARD, "user_app_keys", "Make and revoke application keys of one's own"),
    ("Keys", ADMIN, "org_app_keys_read", "See everybody's application keys"),
    ("Keys", ADMIN, "org_app_keys_write", "Revoke everybody's application keys"),
    ("Organisation", ADMIN, "org_management",
     "Switch Remote Configuration on and off, and change the organisation's settings"),
    ("Organisation", ADMIN, "user_access_invite", "Invite people"),
    ("Organisation", STANDARD, "user_access_read", "See users and roles"),
    ("Organisation", ADMIN, "user_access_manage", "Change users, roles and who has them"),
    ("Organisation", ADMIN, "audit_logs_read", "See the audit trail"),
    ("Organisation", ADMIN, "audit_logs_write", "Export the audit trail"),
    ("Organisation", ADMIN, "webhooks_read", "See webhooks and what became of their calls"),
    ("Organisation", ADMIN, "webhooks_write", "Make, change and test webhooks"),
)  # fmt: skip

PERMISSIONS: Mapping[str, Permission] = MappingProxyType(
    {name: Permission(name, group, title, since) for group, since, name, title in _CATALOGUE}
)

#: Whoever may do one of these does it to all services and environments, whatever it is meant for.
ORGANISATION_WIDE = frozenset(
    {
        "agent_enroll", "api_keys_write", "api_keys_delete", "org_app_keys_write", "org_management",
        "rc_keys_manage", "security_monitoring_rules_write", "webhooks_write",
    }
)  # fmt: skip

#: What a route may declare besides: whoever is signed in, and everybody.
SIGNED_IN = "signed_in"
ANYBODY = "anybody"

_OTHER_SPELLINGS = {"debugger_write_preprod": "debugger_write_pre_prod"}


def known_permission(name: str) -> str | None:
    """The permission's own name, whichever way it is spelled; None when there is no such permission."""
    name = _OTHER_SPELLINGS.get(name, name)
    return name if name in PERMISSIONS else None


@dataclass(frozen=True, slots=True)
class Role:
    """A set of permissions with a name.

    Attributes:
        built_in: Always there, and not to be changed.
    """

    role_id: str
    name: str
    permissions: frozenset[str]
    description: str = ""
    built_in: bool = False


def _built_in() -> Mapping[str, Role]:
    ranks = (READ_ONLY, STANDARD, ADMIN)
    words = {
        READ_ONLY: ("Read Only", "Sees the fleet, configs and security data; changes nothing."),
        STANDARD: ("Standard", "Works with configs, protection and probes outside production."),
        ADMIN: ("Admin", "May do everything, people and keys included."),
    }
    return {
        role_id: Role(
            role_id,
            words[role_id][0],
            frozenset(
                permission.name
                for permission in PERMISSIONS.values()
                if ranks.index(permission.since) <= ranks.index(role_id)
            ),
            words[role_id][1],
            built_in=True,
        )
        for role_id in (ADMIN, STANDARD, READ_ONLY)
    }


BUILT_IN_ROLES: Mapping[str, Role] = MappingProxyType(_built_in())


@dataclass(frozen=True, slots=True)
class Grant:
    """A role somebody has, and for what.

    Attributes:
        services, envs: Case folded; empty means all of them.
    """

    role: Role
    services: frozenset[str] = frozenset()
    envs: frozenset[str] = frozenset()

    def covers(self, services: Collection[str], envs: Collection[str]) -> bool:
        """Whether something aimed at these (none: at everything) lies within the restriction."""
        return _within(services, self.services) and _within(envs, self.envs)

    @property
    def is_restricted(self) -> bool:
        """Whether it is for some services or environments only."""
        return bool(self.services or self.envs)

    def gives(self, permission: str) -> bool:
        """Whether the permission is in it, be it for some services only."""
        # Attack: an administrator of one service switches everybody's Remote Configuration off.
        is_cut = self.is_restricted and permission in ORGANISATION_WIDE
        return permission in self.role.permissions and not is_cut


def _within(aimed_at: Collection[str], allowed: frozenset[str]) -> bool:
    return not allowed or (bool(aimed_at) and all(one.casefold() in allowed for one in aimed_at))


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever asks.

    Attributes:
        user: How audit and pages name them: a user's email, or the name of an application key's holder.
        user_id: Of the user; empty when the key is nobody's.
        key_id: Of the application key; empty when a browser's session asks.
        session_id: Of the session; empty when a key asks.
        grants: Roles, with their restrictions.
        scopes: Of the application key: permissions it is cut down to; None means not at all.
    """

    user: str
    org_id: int
    grants: tuple[Grant, ...]
    user_id: str = ""
    key_id: str = ""
    session_id: str = ""
    scopes: frozenset[str] | None = None

    def may(self, permission: str) -> bool:
        """Whether any of the roles has the permission, be it for some services only."""
        return self._in_scope(permission) and any(grant.gives(permission) for grant in self.grants)

    def may_change(self, permission: str, *, services: Collection[str], envs: Collection[str]) -> bool:
        """Whether the permission reaches everything that something is aimed at (none named: everything)."""
        return self._in_scope(permission) and any(
            permission in grant.role.permissions and grant.covers(services, envs) for grant in self.grants
        )

    def _in_scope(self, permission: str) -> bool:
        return self.scopes is None or permission in self.scopes

    def require(self, permission: str) -> None:
        """Go on only when they may.

        Raises:
            NotPermittedError: They may not; it names the permission and their roles.
        """
        if permission in (SIGNED_IN, ANYBODY) or self.may(permission):
            return
        if not self._in_scope(permission):
            raise NotPermittedError(
                f"This needs the permission {permission}, which is not among the scopes of this key.",
                permission=permission,
            )
        if any(permission in grant.role.permissions for grant in self.grants):
            raise NotPermittedError(
                f"This needs the permission {permission} without restriction, because it concerns the whole "
                f"organisation; yours is for {self._reach(permission)} only.",
                permission=permission,
            )
        raise NotPermittedError(
            f"This needs the permission {permission}; {self._who()} does not give it.", permission=permission
        )

    def require_any(self, *permissions: str) -> None:
        """Go on only when they may one of these, named from the widest to the narrowest.

        Raises:
            NotPermittedError: They may none; it names them and their roles.
        """
        if any(permission in (SIGNED_IN, ANYBODY) or self.may(permission) for permission in permissions):
            return
        if len(permissions) == 1:
            self.require(permissions[0])
        raise NotPermittedError(
            f"This needs the permission {' or '.join(permissions)}; {self._who()} does not give it.",
            permission=permissions[0],
        )

    def require_change(self, permission: str, *, services: Collection[str], envs: Collection[str]) -> None:
        """Go on only when they may change what is aimed at these.

        Raises:
            NotPermittedError: The permission is missing, or ends before what this is aimed at.
        """
        self.require(permission)
        if not self.may_change(permission, services=services, envs=envs):
            raise NotPermittedError(
                f"Your permission {permission} is for {self._reach(permission)} only, and this reaches "
                "further: name services and environments of yours in its targeting.",
                permission=permission,
            )

    @property
    def role(self) -> str:
        """The names of the roles, for people."""
        return ", ".join(dict.fromkeys(grant.role.name for grant in self.grants)) or "no role"

    def _who(self) -> str:
        return f"your role {self.role}" if len(self.grants) == 1 else f"none of your roles ({self.role})"

    def _reach(self, permission: str) -> str:
        parts = []
        for grant in self.grants:
            if permission in grant.role.permissions:
                services = f"service {' or '.join(sorted(grant.services))}" if grant.services else ""
                envs = f"environment {' or '.join(sorted(grant.envs))}" if grant.envs else ""
                parts.append(" in ".join(filter(None, (services, envs))))
        return "; ".join(parts)


def grants_of(role_id: str, custom: Iterable[Role] = ()) -> tuple[Grant, ...]:
    """The one role with this id, unrestricted; nothing when there is no such role."""
    role = BUILT_IN_ROLES.get(role_id) or next((one for one in custom if one.role_id == role_id), None)
    return () if role is None else (Grant(role),)

"""The detection rules that come with the server, as documents; ids are stable, numbers are where to start.

Data, and the few functions that spare repeating it. Every document passes ``rules.check``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

_ACTIVITY = "@appsec.security_activity"
_BY_IP = ("service", "@http.client_ip")
_FAILURE = f"{_ACTIVITY}:business_logic.users.login.failure"
_SUCCESS = f"{_ACTIVITY}:business_logic.users.login.success"

Document = Mapping[str, Any]


def _query(name: str, text: str, group_by: Sequence[str], *, distinct: str = "") -> dict[str, Any]:
    counts = (
        {"aggregation": "cardinality", "distinctFields": [distinct]} if distinct else {"aggregation": "count"}
    )
    return {"name": name, "query": text, **counts, "groupByFields": list(group_by)}


def _rule(
    name: str,
    message: str,
    queries: Sequence[dict[str, Any]],
    cases: Sequence[tuple[str, str, str]],
    *,
    window_s: int,
    tags: Sequence[str],
    enabled: bool = True,
    **options: Any,
) -> Document:
    return {
        "name": name,
        "message": message,
        "isEnabled": enabled,
        "type": "application_security",
        "queries": list(queries),
        "cases": [
            {"name": case, "status": status, "condition": condition} for case, status, condition in cases
        ],
        "options": {
            "evaluationWindow": window_s,
            "keepAlive": 3_600,
            "maxSignalDuration": 86_400,
            "detectionMethod": "threshold",
            **options,
        },
        "tags": ["security:attack", *tags],
    }


def _attempts(name: str, types: Sequence[str], *, reached: str = "", advice: str) -> Document:
    """Attempts of one kind from one address: ten are low, a hundred medium, one that reached its aim high.

    Args:
        types: Of the engine's rules.
        reached: What a row must have for the attempt to have got through; empty where rows cannot tell.
    """
    kinds = " OR ".join(f"attack_attempt.{kind}" for kind in types)
    attempts = f"{_ACTIVITY}:({kinds})"
    queries = [_query("a", attempts, _BY_IP)]
    cases = [("many", "medium", "a >= 100"), ("several", "low", "a >= 10")]
    if reached:
        queries.append(_query("b", f"{attempts} {reached}", _BY_IP))
        cases.insert(0, ("the code failed over one", "high", "b > 0"))
    return _rule(
        f"{name} from one address",
        f"One address keeps trying {name} on one service. {advice}",
        queries,
        cases,
        window_s=600,
        tags=["category:attack_attempt", "tactic:TA0001-initial-access"],
    )


_FAILED = "@http.status_code:>=500"
_TOOLS = f"{_ACTIVITY}:(attack_attempt.attack_tool OR attack_attempt.security_scanner)"
_EXPLOIT = f"{_ACTIVITY}:vulnerability_trigger.*"
_BY_EXPLOIT = ("service", "@appsec.exploit")
_DOCUMENTS = f"{_FAILED} @trace.span_type:(mongodb OR elasticsearch)"
_LOOK = "Look at a few of its traces; block the address if nobody you know is behind it."

BUILTIN: Final[Mapping[str, Document]] = {
    "attack-tool": _rule(
        "Attack tool",
        "A program made for attacks says its name in requests to this service. On its own that is noise of "
        "the Internet; several tools, or one of them reaching something, are not.",
        [
            _query("a", _TOOLS, _BY_IP),
            _query("b", _TOOLS, _BY_IP, distinct="@appsec.tool_name"),
            _query("c", _EXPLOIT, _BY_IP),
        ],
        [
            ("reached something", "high", "a > 0 && c > 0"),
            ("several tools", "medium", "b >= 2"),
            ("one tool", "low", "a > 0"),
        ],
        window_s=600,
        tags=["category:attack_tool", "tactic:TA0043-reconnaissance"],
    ),
    "commercial-scanner": _rule(
        "Commercial scanner",
        "A scanner that companies pay for looked at this service. If somebody ordered it, pass it.",
        [_query("a", f"{_ACTIVITY}:attack_attempt.commercial_scanner", _BY_IP)],
        [("seen", "info", "a > 0")],
        window_s=600,
        tags=["category:security_scanner", "tactic:TA0043-reconnaissance"],
    ),
    "cred-stuffing": _rule(
        "Credential stuffing from one address",
        "One address tries to sign in to many accounts. If one of them let it in, sign that person out and "
        "have the password changed.",
        [
            _query("a", _FAILURE, _BY_IP),
            _query("b", _FAILURE, _BY_IP, distinct="@usr.account"),
            _query("c", _SUCCESS, _BY_IP),
            _query("d", f"{_FAILURE} @actor.listed:true", _BY_IP),
        ],
        [
            ("got in", "critical", "(a > 30 || d > 15) && b > 5 && c > 0"),
            ("tries", "low", "(a > 30 || d > 15) && b > 5"),
        ],
        window_s=300,
        tags=["category:account_takeover", "tactic:TA0006-credential-access"],
    ),
    "brute-force": _rule(
        "Guessing the password of one account",
        "Somebody tries one password after the other on one account. If it was let in at last, take the "
        "account for lost until its owner says otherwise.",
        [
            _query("a", _FAILURE, ("service", "@usr.account")),
            _query("b", f"{_FAILURE} @actor.listed:true", ("service", "@usr.account")),
            _query("c", _SUCCESS, ("service", "@usr.account")),
        ],
        [("got in", "critical", "(a >= 40 || b >= 20) && c > 0"), ("tries", "low", "a >= 40 || b >= 20")],
        window_s=300,
        tags=["category:account_takeover", "tactic:TA0006-credential-access"],
    ),
    "cred-stuffing-distributed": _rule(
        "Credential stuffing from many addresses",
        "Far more sign-ins fail on this service than on other days, from many addresses.",
        [
            _query("a", _FAILURE, ("service",)),
            _query("b", _FAILURE, ("service",), distinct="@http.client_ip"),
        ],
        [("far more than usual", "low", "a >= 100 && b >= 20")],
        window_s=600,
        tags=["category:account_takeover", "tactic:TA0006-credential-access"],
        detectionMethod="history",
        sigmas=4,
    ),
    "password-reset-abuse": _rule(
        "Many password resets for one account",
        "Somebody asks again and again for the password of one account to be reset.",
        [_query("a", f"{_ACTIVITY}:business_logic.users.password_reset", ("service", "@usr.account"))],
        [("many", "medium", "a > 10")],
        window_s=300,
        tags=["category:account_takeover", "tactic:TA0006-credential-access"],
    ),
    "account-deletion": _rule(
        "Many accounts deleted from one address",
        "One address deletes one account after the other.",
        [_query("a", f"{_ACTIVITY}:business_logic.users.delete", _BY_IP)],
        [("many", "medium", "a > 5")],
        window_s=300,
        tags=["category:business_logic", "tactic:TA0040-impact"],
    ),
    "signup-abuse": _rule(
        "Many accounts made from one address",
        "One address makes one account after the other.",
        [_query("a", f"{_ACTIVITY}:business_logic.users.signup", _BY_IP)],
        [("many", "medium", "a > 10")],
        window_s=300,
        tags=["category:business_logic", "tactic:TA0042-resource-development"],
    ),
    "payment-failures": _rule(
        "Many payments fail from one address",
        "One address has one payment after the other refused, as happens when stolen cards are tried out.",
        [_query("a", f"{_ACTIVITY}:business_logic.payment.failure", _BY_IP)],
        [("many", "medium", "a > 20")],
        window_s=600,
        tags=["category:business_logic", "tactic:TA0040-impact"],
    ),
    "sensitive-activity": _rule(
        "Much sensitive activity from one address",
        "One address does very often what a rule of yours calls sensitive.",
        [_query("a", f"{_ACTIVITY}:activity.sensitive", _BY_IP)],
        [("much", "medium", "a > 100")],
        window_s=300,
        tags=["category:business_logic", "tactic:TA0009-collection"],
    ),
    "sqli-single-ip": _attempts(
        "SQL injection",
        ["sql_injection"],
        reached=f"{_FAILED} @trace.span_type:sql",
        advice="A request that ended in a statement and in an error may have got through.",
    ),
    "xss-single-ip": _attempts("Cross-site scripting", ["xss"], advice=_LOOK),
    "nosqli-single-ip": _attempts(
        "NoSQL injection",
        ["nosql_injection"],
        reached=_DOCUMENTS,
        advice=_LOOK,
    ),
    "cmdi-single-ip": _attempts("Command injection", ["command_injection"], reached=_FAILED, advice=_LOOK),
    "lfi-single-ip": _attempts("File inclusion", ["lfi", "rfi"], reached=_FAILED, advice=_LOOK),
    "ssrf-single-ip": _attempts("Server-side request forgery", ["ssrf"], reached=_FAILED, advice=_LOOK),
    "code-injection-single-ip": _attempts(
        "Code injection",
        ["php_code_injection", "js_code_injection", "java_code_injection"],
        reached=_FAILED,
        advice=_LOOK,
    ),
    "ldap-single-ip": _attempts("LDAP injection", ["ldap_injection"], reached=_FAILED, advice=_LOOK),
    "rasp-exploit": _rule(
        "A vulnerability was reached",
        "Somebody's input came as far as the call it was made for. Mend the code; until then, block.",
        [
            _query("a", _EXPLOIT, _BY_EXPLOIT),
            _query("b", f"{_EXPLOIT} @appsec.blocked:false", _BY_EXPLOIT),
        ],
        [("not blocked", "critical", "b > 0"), ("blocked", "high", "a > 0")],
        window_s=600,
        tags=["category:vulnerability_trigger", "tactic:TA0002-execution"],
    ),
    "api-scan": _rule(
        "One address tries many paths",
        "One address asks for one route after the other, or for paths that are not there.",
        [
            _query("a", "*", _BY_IP, distinct="@http.target"),
            _query("b", "@http.status_code:404", _BY_IP, distinct="@http.target"),
        ],
        [("very many", "medium", "a >= 200 || b >= 200"), ("many", "low", "a >= 50 || b >= 50")],
        window_s=300,
        tags=["category:scan", "tactic:TA0043-reconnaissance"],
    ),
    "rate-limit": _rule(
        "One address sends very many requests",
        "One address asks more often than you want anybody to. Set the number to what your people need.",
        [_query("a", "*", _BY_IP)],
        [("too many", "low", "a > 1000")],
        window_s=60,
        tags=["category:denial_of_service", "tactic:TA0040-impact"],
        enabled=False,
    ),
    "blocked-actor-persists": _rule(
        "A blocked address goes on",
        "A blocked address keeps asking. Nothing gets through; a block that ends soon may be extended.",
        [_query("a", f"{_ACTIVITY}:security_response.*", ("@http.client_ip",))],
        [("goes on", "info", "a >= 100")],
        window_s=900,
        tags=["category:security_response"],
    ),
}

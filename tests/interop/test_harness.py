"""The harness of real tracers, proven against the smallest agent there is.

If one of these fails, tracers or harness moved, and no test of ours that uses them says anything yet.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.clients import TRACERS, start_app
from tests.support.fake_agent import FakeAgent

pytestmark = pytest.mark.interop

ACTIVATION = {"datadog/2/ASM_FEATURES/activation/config": {"asm": {"enabled": True}}}
DENYLIST = {
    "datadog/2/ASM_DATA/denied/config": {
        "rules_data": [
            {"id": "blocked_ips", "type": "ip_with_expiration", "data": [{"value": "203.0.113.7"}]},
            {"id": "blocked_users", "type": "data_with_expiration", "data": [{"value": "mallory"}]},
        ]
    }
}


@pytest.mark.parametrize("tracer", TRACERS)
def test_a_real_tracer_is_switched_on_and_blocks_an_address_and_a_user(tracer: str, tmp_path: Path) -> None:
    with FakeAgent() as agent, start_app(tracer, agent_url=agent.url, log_folder=tmp_path) as app:
        agent.wait_for_poll(lambda poll: "ASM_FEATURES" in poll.products, "the tracer offers activation")
        assert app.status(from_ip="203.0.113.7") == 200

        agent.publish({**ACTIVATION, **DENYLIST})

        agent.wait_for_poll(lambda poll: poll.states.get("ASM_DATA/denied") == 2, "the denylist is applied")
        app.wait_for_status(403, from_ip="203.0.113.7")
        assert app.status(from_ip="198.51.100.1") == 200
        assert app.status("/user/mallory") == 403
        assert app.status("/user/bob") == 200

        agent.publish(ACTIVATION)

        app.wait_for_status(200, from_ip="203.0.113.7")

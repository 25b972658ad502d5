"""A client's session: verified answers change it, refused ones only say why."""

from __future__ import annotations

import base64
import json
from datetime import datetime

from sealwire.client.apply import apply
from sealwire.client.session import Changes, Identity, Session
from sealwire.trust.director import DirectorState
from sealwire.wire import remoteconfig_pb2 as pb
from sealwire.wire.codec import ApplyState, decode_client_request, encode_client_response
from tests.support.repository import NOW, Simulator

DENIED = "datadog/2/ASM_DATA/denied/config"
OTHER = "datadog/2/ASM_DATA/other/config"


def a_session(simulator: Simulator) -> Session:
    identity = Identity(client_id="c-1", runtime_id="r-1", service="shop", env="prod")
    director = DirectorState.bootstrap(simulator.director.roots[0])
    return Session(identity, director).subscribed("ASM_DATA")


def an_answer(simulator: Simulator, *paths: str, **files: bytes) -> bytes:
    """What an agent that holds the simulator's state says to a client that has nothing."""
    parts = simulator.answer().director
    contents = {DENIED: files.get("denied", b"{}"), OTHER: files.get("other", b"[]")}
    return encode_client_response(
        pb.ClientGetConfigsResponse(
            roots=parts.roots,
            targets=parts.targets,
            client_configs=paths,
            target_files=[pb.File(path=path, raw=contents[path]) for path in paths],
        )
    )


def published(**files: bytes) -> Simulator:
    simulator = Simulator()
    simulator.put(DENIED, files.get("denied", b"{}"))
    simulator.publish()
    return simulator


def receive(session: Session, body: bytes, now: datetime = NOW) -> tuple[Session, Changes]:
    return session.receive(body, now=now)


def test_a_verified_config_is_handed_over_and_acknowledged() -> None:
    simulator = published()
    seen: list[bytes] = []

    session, changes = receive(a_session(simulator), an_answer(simulator, DENIED))
    session = apply(session, changes, {"ASM_DATA": lambda config, _path: seen.append(config.raw)})  # type: ignore[union-attr]

    assert seen == [b"{}"]
    request = decode_client_request(session.request())
    (state,) = request.client.state.config_states
    assert (state.id, state.product, state.apply_state) == ("denied", "ASM_DATA", 2)
    assert request.client.state.targets_version == session.director.version > 0
    assert [file.path for file in request.cached_target_files] == [DENIED]


def test_the_echo_goes_back_as_the_director_gave_it() -> None:
    simulator = published()

    session, _ = receive(a_session(simulator), an_answer(simulator, DENIED))

    assert decode_client_request(session.request()).client.state.backend_client_state == (
        session.director.opaque_backend_state
    )
    assert json.loads(session.director.opaque_backend_state)


def test_nothing_new_changes_nothing() -> None:
    simulator = published()
    session, _ = receive(a_session(simulator), an_answer(simulator, DENIED))

    again, changes = receive(session, b"{}")

    assert not changes
    assert again == session


def test_a_config_that_is_no_longer_listed_is_taken_back() -> None:
    simulator = published()
    session, _ = receive(a_session(simulator), an_answer(simulator, DENIED))
    simulator.retire(DENIED)
    simulator.publish()

    session, changes = receive(session, an_answer(simulator))

    assert list(changes.removed) == [DENIED]
    assert not session.configs


def test_a_handler_that_fails_becomes_an_apply_error_and_stops_nobody() -> None:
    simulator = published()
    simulator.put(OTHER, b"[]")
    simulator.publish()
    session, changes = receive(a_session(simulator), an_answer(simulator, DENIED, OTHER))

    def handler(config: object, path: str) -> None:
        if path == DENIED:
            raise ValueError("no such list")

    session = apply(session, changes, {"ASM_DATA": handler})

    assert session.configs[DENIED].apply_state is ApplyState.ERROR
    assert session.configs[DENIED].apply_error == "ValueError: no such list"
    assert session.configs[OTHER].apply_state is ApplyState.ACKNOWLEDGED


def test_a_tampered_file_is_refused_and_the_last_good_state_stays() -> None:
    simulator = published()
    session, _ = receive(a_session(simulator), an_answer(simulator, DENIED))
    simulator.put(DENIED, b'{"new":1}')
    simulator.publish()

    refused, changes = receive(session, an_answer(simulator, DENIED, denied=b'{"bad":1}'))

    assert not changes
    assert refused.configs == session.configs
    assert refused.error.startswith("digest: ")
    reported = decode_client_request(refused.request()).client.state
    assert reported.has_error
    assert reported.error == refused.error


def test_targets_signed_by_a_stranger_are_refused() -> None:
    simulator, stranger = published(), Simulator(seed="stranger")
    stranger.put(DENIED, b"{}")
    stranger.publish()
    session = a_session(simulator)
    body = json.loads(an_answer(stranger, DENIED))
    body["roots"] = [base64.b64encode(raw).decode() for raw in simulator.director.roots]

    refused, changes = receive(session, json.dumps(body).encode())

    assert not changes
    assert refused.error.startswith("threshold: ")


def test_an_older_answer_is_refused() -> None:
    simulator = published()
    older = an_answer(simulator, DENIED)
    simulator.put(DENIED, b'{"new":1}')
    simulator.publish()
    session, _ = receive(a_session(simulator), an_answer(simulator, DENIED, denied=b'{"new":1}'))

    refused, changes = receive(session, older)

    assert not changes
    assert refused.error.startswith("rollback: ")


def test_expired_targets_are_refused() -> None:
    simulator = published()

    refused, changes = receive(
        a_session(simulator), an_answer(simulator, DENIED), NOW.replace(year=NOW.year + 200)
    )

    assert not changes
    assert refused.error.startswith("expired: ")


def test_an_agent_whose_state_has_expired_takes_everything_back() -> None:
    simulator = published()
    session, _ = receive(a_session(simulator), an_answer(simulator, DENIED))

    session, changes = receive(session, b'{"targets":"e30=","config_status":1}')

    assert list(changes.removed) == [DENIED]
    assert not session.configs


def test_a_product_that_was_not_asked_for_is_refused() -> None:
    simulator = published()
    session = Session(a_session(simulator).identity, a_session(simulator).director).subscribed("ASM")

    refused, changes = receive(session, an_answer(simulator, DENIED))

    assert not changes
    assert "not asked for" in refused.error

"""Rule sets as they come in: what is read, and what is refused before anything of it is used."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sealwire.errors import (
    DigestError,
    InvalidChangeError,
    MalformedError,
    MissingError,
    OversizeError,
    SealwireError,
    ThresholdError,
)
from sealwire.server.workload import rule_files
from sealwire.server.workload.cws_dd import PRODUCT
from sealwire.server.workload.rule_files import (
    MAX_PACKED_BYTES,
    MAX_UNPACKED_BYTES,
    read_bytes,
    read_directory,
    read_file,
)
from sealwire.trust.keys import Ed25519Signer

KEY, OTHER = Ed25519Signer.from_seed(b"k" * 32), Ed25519Signer.from_seed(b"o" * 32)
KEYS = (KEY.public_key,)

POLICY = b"""\
version: 1.10
macros:
  - {id: FILES, values: ["/a", 7]}
rules:
  - id: one
    expression: open.file.path in FILES
    description: One
    reason: Because.
    version: 1.0
    tags: {level: 3}
    agent_version: 7.71
    actions:
      - hash:
      - set: {name: n, value: 3, ttl: 10s}
  - {id: two, expression: open.flags == 1, sparkle: 9}
"""
MORE = b"rules:\n  - {id: three, expression: open.flags == 2}\n"


def archive(files: dict[str, bytes], change: Callable[[tarfile.TarInfo], None] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, raw in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            if change is not None:
                change(info)
            tar.addfile(info, io.BytesIO(raw))
    return out.getvalue()


# Reading ----------------------------------------------------------------------------------------------------


def test_a_policy_file_becomes_a_config_with_its_reasons_apart() -> None:
    found = read_bytes(POLICY, name="a.policy")

    assert found.version == "1.10"
    assert found.reasons == {"one": "Because."}
    assert [note.path for note in found.notes] == ["$.rules[1].sparkle"]
    assert found.document["macros"] == [{"id": "FILES", "values": ["/a", 7]}]
    assert found.document["rules"][0] == {
        "id": "one",
        "expression": "open.file.path in FILES",
        "description": "One",
        "version": "1.0",
        "tags": {"level": "3"},
        "agent_version": "7.71",
        "actions": [{"hash": {}}, {"set": {"name": "n", "value": 3, "ttl": "10s"}}],
    }
    assert (found.signed_by, found.came_as) == ("", "a.policy")


def test_the_same_rules_have_the_same_checksum_however_they_come() -> None:
    plain = read_bytes(POLICY, name="a.policy")

    packed = read_bytes(gzip.compress(POLICY), name="a.policy.gz")
    tar = read_bytes(gzip.compress(archive({"rules/a.policy": POLICY})), name="a.tar.gz")

    assert plain.sha256 == packed.sha256 == tar.sha256
    assert plain.document == tar.document


def test_the_files_of_an_archive_and_of_a_directory_are_joined_by_name(tmp_path: Path) -> None:
    tar = read_bytes(
        archive({"b.yaml": MORE, "a.yaml": POLICY, "README.md": b"x", ".x.yaml": b"["}), name="t"
    )
    for name, raw in {"b.yaml": MORE, "a.yaml": POLICY, "README.md": b"x", ".x.yaml": b"["}.items():
        (tmp_path / name).write_bytes(raw)

    directory = read_directory(tmp_path)

    assert [rule["id"] for rule in tar.document["rules"]] == ["one", "two", "three"]
    assert directory.document == tar.document


def test_json_is_read_like_yaml() -> None:
    found = read_bytes(b'{"version":"1","rules":[{"id":"a","expression":"open.flags == 1"}]}', name="a.json")

    assert PRODUCT.check(found.document) == ()


@pytest.mark.parametrize(
    ("files", "path"),
    [({"a.yaml": b"version: 1\n", "b.yaml": b"version: 2\n"}, "$.version"), ({"a.yaml": MORE}, "$.version")],
)
def test_files_that_do_not_go_together_are_refused_at_their_place(files: dict[str, bytes], path: str) -> None:
    with pytest.raises(InvalidChangeError) as caught:
        read_bytes(archive(files), name="t")

    assert [problem.path for problem in caught.value.problems] == [path]


# Checksums and signatures -----------------------------------------------------------------------------------


def test_a_checksum_is_held_against_the_bytes_as_they_came() -> None:
    digest = hashlib.sha256(POLICY).hexdigest()

    assert read_bytes(POLICY, name="a", sha256=digest.upper()).version == "1.10"
    with pytest.raises(DigestError, match="not what its checksum says"):
        read_bytes(POLICY + b"#", name="a", sha256=digest)


@pytest.mark.parametrize(
    "spelled",
    [lambda raw: raw, lambda raw: raw.hex().encode() + b"\n", base64.b64encode],
    ids=["raw", "hexadecimal", "Base64"],
)
def test_a_signature_by_a_trusted_key_is_taken_in_any_spelling(spelled: Callable[[bytes], bytes]) -> None:
    found = read_bytes(POLICY, name="a", signature=spelled(KEY.sign(POLICY)), keys=(OTHER.public_key, *KEYS))

    assert found.signed_by == KEY.public_key.key_id


@pytest.mark.parametrize(
    "signature",
    [b"", OTHER.sign(POLICY), KEY.sign(POLICY + b" "), b"\xff" * 64, b"x", b"z" * 128, b"\xff" * 128],
    ids=["none", "another key", "other bytes", "noise", "short", "no hexadecimal", "no text"],
)
def test_without_a_good_signature_nothing_is_used_where_one_is_asked_for(signature: bytes) -> None:
    with pytest.raises(ThresholdError, match="nothing of it was used"):
        read_bytes(POLICY, name="a", signature=signature, keys=KEYS)


def test_the_signature_is_over_the_archive_and_is_looked_at_before_it_is_opened() -> None:
    with pytest.raises(ThresholdError):
        read_bytes(b"\x1f\x8b rubbish", name="a", signature=KEY.sign(b"other"), keys=KEYS)


def test_a_file_is_held_against_what_lies_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "rules.policy"
    path.write_bytes(POLICY)
    with pytest.raises(MissingError, match=r"rules\.policy\.sig"):
        read_file(path, keys=KEYS)

    (tmp_path / "rules.policy.sig").write_bytes(KEY.sign(POLICY))
    (tmp_path / "rules.policy.sha256").write_text(f"{hashlib.sha256(POLICY).hexdigest()}  rules.policy\n")
    assert read_file(path, keys=KEYS).signed_by == KEY.public_key.key_id

    (tmp_path / "rules.policy.sha256").write_text("0" * 64)
    with pytest.raises(DigestError):
        read_file(path, keys=KEYS)


def manifest(files: dict[str, bytes]) -> bytes:
    return b"".join(f"{hashlib.sha256(raw).hexdigest()}  {name}\n".encode() for name, raw in files.items())


def test_a_directory_is_held_against_its_signed_list(tmp_path: Path) -> None:
    files = {"a.yaml": POLICY, "b.yaml": MORE}
    for name, raw in files.items():
        (tmp_path / name).write_bytes(raw)
    with pytest.raises(MissingError, match="SHA256SUMS"):
        read_directory(tmp_path, keys=KEYS)
    (tmp_path / "SHA256SUMS").write_bytes(manifest(files))
    (tmp_path / "SHA256SUMS.sig").write_bytes(KEY.sign(manifest(files)))

    assert read_directory(tmp_path, keys=KEYS).signed_by == KEY.public_key.key_id

    (tmp_path / "c.yaml").write_bytes(b"rules: []\n")
    with pytest.raises(DigestError, match="not in SHA256SUMS"):
        read_directory(tmp_path)
    (tmp_path / "c.yaml").unlink()
    (tmp_path / "b.yaml").write_bytes(MORE + b"#")
    with pytest.raises(DigestError):
        read_directory(tmp_path)
    (tmp_path / "b.yaml").unlink()
    with pytest.raises(MissingError, match=r"b\.yaml"):
        read_directory(tmp_path)
    (tmp_path / "SHA256SUMS").write_bytes(b"no list\n")
    with pytest.raises(MalformedError):
        read_directory(tmp_path)


# Hostile ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../a.yaml", "/etc/a.yaml", "x/../../a.yaml", "x\\..\\a.yaml", "../README"], ids=repr
)
def test_a_name_that_leads_out_of_the_archive_is_refused(name: str) -> None:
    with pytest.raises(MalformedError, match="leads out of it"):
        read_bytes(archive({name: POLICY}), name="t")


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE],
    ids=["sym", "hard", "device", "fifo"],
)
def test_what_is_no_plain_file_is_refused(kind: bytes) -> None:
    def change(info: tarfile.TarInfo) -> None:
        info.type, info.linkname, info.size = kind, "/etc/passwd", 0

    with pytest.raises(MalformedError, match="no plain file"):
        read_bytes(archive({"a.yaml": b""}, change), name="t")


def test_a_name_twice_is_refused() -> None:
    first = archive({"a.yaml": POLICY})
    size = 512 + -(-len(POLICY) // 512) * 512
    with pytest.raises(MalformedError, match="twice"):
        read_bytes(first[:size] + first, name="t")


def test_what_grows_beyond_the_limit_is_refused_without_being_unpacked() -> None:
    bomb = gzip.compress(b"\0" * (MAX_UNPACKED_BYTES + 1), compresslevel=1)

    with pytest.raises(OversizeError, match="decompresses to more"):
        read_bytes(bomb, name="b")
    with pytest.raises(OversizeError, match="at most"):
        read_bytes(b"#" * (MAX_PACKED_BYTES + 1), name="b")


def test_aliases_do_not_make_a_small_file_a_large_one() -> None:
    lines = ["version: 1", "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    raw = "\n".join([*lines, "rules: [{id: r, expression: x, filters: *a8}]"]).encode()

    with pytest.raises(OversizeError, match="values"):
        read_bytes(raw, name="b")


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"\x1f\x8b", gzip.compress(POLICY)[:-9], gzip.compress(POLICY) + b"more", b"[1, 2]",
        b"rules: {a: b",
        b"\xff\xfe", archive({}), archive({"README": b"x"}), archive({"a.yaml": POLICY})[:700], b"- a",
    ],
    ids=range(11),
)  # fmt: skip
def test_what_is_no_rule_set_is_refused_in_words(raw: bytes) -> None:
    with pytest.raises(SealwireError) as caught:
        read_bytes(raw, name="x")

    assert caught.value.public.endswith(".")


def test_rules_that_are_no_rules_are_left_to_the_check() -> None:
    found = read_bytes(b"version: 1\nrules: [3, {id: [a]}, null]\nmacros: 7\nodd: 1\n", name="x")

    assert PRODUCT.check(found.document)
    assert [note.path for note in found.notes] == ["$.odd"]


def test_a_pipe_or_a_directory_in_place_of_a_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.yaml")
    with pytest.raises(MalformedError, match="no plain file"):
        read_directory(tmp_path)
    with pytest.raises(MalformedError, match="no plain file"):
        read_file(tmp_path)
    with pytest.raises(MissingError):
        read_directory(tmp_path / "nothing")


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule_files, "MAX_FILES", 2)
    files = {f"{name}.yaml": b"version: 1\n" for name in "abc"}
    for name, raw in files.items():
        (tmp_path / name).write_bytes(raw)

    with pytest.raises(OversizeError):
        read_directory(tmp_path)
    with pytest.raises(OversizeError):
        read_bytes(archive(files), name="t")

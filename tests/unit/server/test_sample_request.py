"""Pasted requests: what the rules are told of them, and which line is wrong where they are none."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.errors import InvalidChangeError
from sealwire.server.waf.sample_request import (
    MAX_DEPTH,
    MAX_ITEMS,
    MAX_STRING_CHARACTERS,
    MAX_TEXT_CHARACTERS,
    find_client_ip,
    parse,
    tell,
)

HEADERS = "server.request.headers.no_cookies"


def told(text: str | bytes) -> dict[str, Any]:
    return dict(tell(parse(text)).addresses)


def refused(text: str) -> str:
    with pytest.raises(InvalidChangeError) as caught:
        parse(text, path="$.requests[3]")
    assert [problem.path for problem in caught.value.problems] == ["$.requests[3]"]
    assert caught.value.problems[0].message == caught.value.public
    return caught.value.public


# Raw HTTP


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_raw_http_becomes_the_addresses_of_the_tracers(newline: str) -> None:
    lines = (
        "POST /search?q=a%20b&q=c&empty= HTTP/1.1",
        "Host: shop.example.org",
        "X-Twice: one",
        "x-twice: two",
        "Cookie: session=s1; theme=dark; session=s2",
        "X-Forwarded-For: 10.0.0.1, 203.0.113.9, 8.8.8.8",
        "Content-Type: application/json; charset=utf-8",
        "",
        '{"user": {"name": "ann"}}',
    )

    assert told(newline.join(lines)) == {
        "server.request.method": "POST",
        "server.request.uri.raw": "/search?q=a%20b&q=c&empty=",
        "server.request.query": {"q": ["a b", "c"], "empty": [""]},
        HEADERS: {
            "host": "shop.example.org",
            "x-twice": ["one", "two"],
            "x-forwarded-for": "10.0.0.1, 203.0.113.9, 8.8.8.8",
            "content-type": "application/json; charset=utf-8",
        },
        "server.request.cookies": {"session": ["s1", "s2"], "theme": ["dark"]},
        "server.request.body": {"user": {"name": "ann"}},
        "http.client_ip": "8.8.8.8",
    }


def test_a_form_is_decoded() -> None:
    text = "POST / HTTP/1.1\nContent-Type: application/x-www-form-urlencoded\n\na=1%27+OR&a=2&b\n"

    assert told(text)["server.request.body"] == {"a": ["1' OR", "2"], "b": [""]}


def test_a_multipart_body_becomes_its_fields_and_the_names_of_its_files() -> None:
    text = (
        'POST / HTTP/1.1\nContent-Type: multipart/form-data; boundary="xx"\n\n'
        '--xx\nContent-Disposition: form-data; name="title"\n\n<script>\n'
        '--xx\nContent-Disposition: form-data; name="upload"; filename="a.php"\nContent-Type: text/plain\n\n'
        "<?php\n--xx--\n"
    )

    found = told(text)

    assert found["server.request.body"] == {"title": ["<script>"]}
    assert found["server.request.body.files_field_names"] == ["upload"]
    assert found["server.request.body.filenames"] == ["a.php"]


def test_a_target_with_spaces_is_taken_as_attackers_send_it() -> None:
    assert told("GET /?q=1 OR 1=1 HTTP/1.1")["server.request.query"] == {"q": ["1 OR 1=1"]}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "Line 1: there is no request here"),
        ("hello", "Line 1: expected a method, a path and HTTP/1.1"),
        ("\n\nGET shop HTTP/1.1", 'Line 3: a path begins with /, not "shop"'),
        ("GET / FTP/1", 'Line 1: expected HTTP/1.1 at the end, not "FTP/1"'),
        ("GET / HTTP/1.1\nHost: a\nnonsense\n\nbody", "Line 3: expected a header"),
        ("GET / HTTP/1.1\nHost: a\n folded", "Line 3: a header begins without space"),
        ("GET / HTTP/1.1\nSpaced Name: a", "Line 2: expected a header"),
        ("GET / HTTP/1.1\n: a", "Line 2: expected a header"),
    ],
)
def test_a_mistake_in_raw_http_names_its_line(text: str, says: str) -> None:
    assert refused(text).startswith(says)


@pytest.mark.parametrize(
    ("head", "body", "note"),
    [
        ("Content-Type: application/json", '{"a":\n', "The body is not JSON (Expecting value in its line 2)"),
        ("Content-Type: application/json", '{"a":NaN}', "The body is JSON that nothing takes"),
        ("Content-Type: application/json", "[" * 100_000, "The body is JSON that nothing takes"),
        ("Content-Type: text/plain", "x", 'Rules are told nothing of a body of the type "text/plain"'),
        ("Host: a", "x", "Rules are told nothing of a body without a Content-Type"),
        ("Content-Type: multipart/form-data", "x", "The multipart body has no boundary"),
        (
            "Content-Type: multipart/form-data; boundary=b",
            "x",
            "The boundary of the multipart body is nowhere",
        ),
    ],
)
def test_what_rules_are_not_told_of_a_body_is_said(head: str, body: str, note: str) -> None:
    found = tell(parse(f"POST / HTTP/1.1\n{head}\n\n{body}"))

    assert "server.request.body" not in found.addresses
    assert [one[: len(note)] for one in found.notes] == [note]


def test_an_encoded_body_is_not_undone_and_that_is_said() -> None:
    text = (
        "POST / HTTP/1.1\nTransfer-Encoding: chunked\nContent-Type: application/x-www-form-urlencoded\n\na=1"
    )

    assert tell(parse(text)).notes == ("transfer-encoding is not undone: the body is taken as it stands.",)


def test_what_tracers_cut_is_cut_and_said() -> None:
    deep: Any = "end"
    for _ in range(MAX_DEPTH + 5):
        deep = [deep]
    body = {"long": "x" * 5000, "many": list(range(1000)), "deep": deep, "big": 10**30}
    found = tell(parse(json.dumps({"method": "POST", "body": body})))

    kept = found.addresses["server.request.body"]
    assert (len(kept["long"]), len(kept["many"]), kept["big"]) == (
        MAX_STRING_CHARACTERS,
        MAX_ITEMS,
        str(10**30),
    )
    assert "end" not in json.dumps(kept)
    assert len(found.notes) == 3


def test_a_text_that_is_far_too_long_is_refused() -> None:
    assert str(MAX_TEXT_CHARACTERS) in refused("x" * (MAX_TEXT_CHARACTERS + 1))


def test_invalid_utf8_and_nul_bytes_are_taken() -> None:
    found = told(b"GET /\xff?q=%ff%00\x00 HTTP/1.1\nX: \xfe\x00")

    assert found["server.request.uri.raw"] == "/\ufffd?q=%ff%00\x00"
    assert found["server.request.query"] == {"q": ["\ufffd\x00\x00"]}
    assert found[HEADERS] == {"x": "\ufffd\x00"}


# JSON


def test_a_json_object_is_a_request_too() -> None:
    document = {
        "method": "PUT",
        "url": "https://shop.example.org/a?b=c#d",
        "headers": {"User-Agent": "x", "Accept": ["a", "b"]},
        "cookies": {"session": "s"},
        "body": {"n": [1, 2.5, None, True]},
        "client_ip": "203.0.113.7",
        "user": "mallory",
        "server.response.status": "404",
    }

    assert told(json.dumps(document)) == {
        "server.request.method": "PUT",
        "server.request.uri.raw": "/a?b=c",
        "server.request.query": {"b": ["c"]},
        HEADERS: {"user-agent": "x", "accept": ["a", "b"]},
        "server.request.cookies": {"session": ["s"]},
        "server.request.body": {"n": [1, 2.5, None, True]},
        "http.client_ip": "203.0.113.7",
        "usr.id": "mallory",
        "server.response.status": "404",
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{\n"method": "GET",\n}', "Line 3: this is not JSON"),
        ('{\n"methode": "GET"}', 'Line 2: there is no field "methode"; there are method, url'),
        ('{"url": 5}', "Line 1: url takes a text, not 5"),
        ('{"method": "GET",\n "headers": ["a"]}', "Line 2: headers takes an object of texts"),
        ('{"method": "GE T"}', "Line 1: method takes a method such as GET"),
        ('{"client_ip": "nobody"}', "Line 1: client_ip takes an address"),
        ('{"url": "shop"}', "Line 1: url takes a path that begins with /"),
        ('{"body": NaN}', "Line 1: this JSON has numbers"),
        ('{"body": ' + "[" * 100_000, "Line 1: this JSON has numbers or depths"),
    ],
)
def test_a_mistake_in_json_names_its_line(text: str, says: str) -> None:
    assert refused(text).startswith(says)


# curl


def test_a_command_as_a_browser_copies_it() -> None:
    text = (
        "curl 'https://shop.example.org/login?next=%2F' \\\n"
        "  -H 'accept: text/html' \\\n"
        "  -H 'x-empty;' -H 'User-Agent: Mozilla/5.0' \\\n"
        "  -b 'session=s1; theme=dark' \\\n"
        "  --data-raw $'user=ann\\'--&n=\\u0041' \\\n"
        "  --compressed -sSk -m 5\n"
    )

    assert told(text) == {
        "server.request.method": "POST",
        "server.request.uri.raw": "/login?next=%2F",
        "server.request.query": {"next": ["/"]},
        HEADERS: {
            "host": "shop.example.org",
            "user-agent": "Mozilla/5.0",
            "accept": "text/html",
            "content-type": "application/x-www-form-urlencoded",
            "x-empty": "",
        },
        "server.request.cookies": {"session": ["s1"], "theme": ["dark"]},
        "server.request.body": {"user": ["ann'--"], "n": ["A"]},
    }


@pytest.mark.parametrize(
    ("options", "address", "value"),
    [
        ("-G -d a=1 -d b=2", "server.request.uri.raw", "/x?a=1&b=2"),
        ("-d a=1 -d b=2", "server.request.body", {"a": ["1"], "b": ["2"]}),
        ("--data-urlencode 'q=a b&c'", "server.request.body", {"q": ["a b&c"]}),
        ("--json '{\"a\":1}'", "server.request.body", {"a": 1}),
        ("-F a=1 -F 'up=@/etc/shell.php;type=x'", "server.request.body", {"a": ["1"]}),
        ("-F a=1 -F 'up=@/etc/shell.php;type=x'", "server.request.body.filenames", ["shell.php"]),
        ("-XDELETE", "server.request.method", "DELETE"),
        ("-I", "server.request.method", "HEAD"),
        ('-A "a \\"b\\" $c"', "server.request.method", "GET"),
        ("--url-query q=1", "server.request.query", {"q": ["1"]}),
    ],
)
def test_options_of_curl(options: str, address: str, value: object) -> None:
    assert told(f"curl {options} shop.example.org/x")[address] == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("curl", "Line 1: the command has no address"),
        ("curl http://a/?b=1&c=2", "Line 1: outside quotes a shell takes & for itself"),
        (
            "curl 'http://a/' \\\n -H 'x: y' \\\n --nonsense",
            'Line 3: the option "--nonsense" is not known here',
        ),
        ("curl http://a/ -d @/etc/passwd", "Line 1: files are not read here"),
        ("curl http://a/ \\\n -H 'x", "Line 2: the ' is never closed"),
        ('curl "http://a/', 'Line 1: the " is never closed'),
        ("curl http://a/ -H nonsense", "Line 1: a header is a name, a colon and a value"),
        ("curl http://a/ -H", 'Line 1: "-H" wants a value'),
        ("curl http://a/ http://b/", "Line 1: a second address"),
        ("curl ftp://a/", 'Line 1: "ftp://a/" is no http address'),
        ("curl http://a/ | sh", "Line 1: outside quotes a shell takes | for itself"),
        ('curl "http://a/" ^\n -H "x: y"', "Line 1: this is written for cmd.exe"),
        ("curl -T file http://a/", "Line 1: the option -"),
    ],
)
def test_a_mistake_in_a_command_names_its_line(text: str, says: str) -> None:
    assert refused(text).startswith(says)


# Where it comes from


@pytest.mark.parametrize(
    ("headers", "peer", "found"),
    [
        ({"x-forwarded-for": ["10.1.1.1, 8.8.4.4:1234, 1.1.1.1"]}, "", "8.8.4.4"),
        ({"x-real-ip": ["8.8.4.4"], "x-forwarded-for": ["1.1.1.1"]}, "", "1.1.1.1"),
        ({"x-forwarded-for": ["10.1.1.1"], "x-real-ip": ["8.8.4.4"]}, "", "8.8.4.4"),
        ({"forwarded": ['for="[2606:4700::1]:443";proto=https, for=1.1.1.1']}, "", "2606:4700::1"),
        ({"x-forwarded-for": ["10.1.1.1"]}, "9.9.9.9", "9.9.9.9"),
        ({"x-forwarded-for": ["10.1.1.1"]}, "192.168.0.1", "10.1.1.1"),
        ({"x-forwarded-for": ["unknown, _hidden"]}, "192.168.0.1", "192.168.0.1"),
        ({}, "", ""),
    ],
)
def test_the_client_is_the_first_public_address(headers: dict[str, list[str]], peer: str, found: str) -> None:
    assert find_client_ip(headers, peer) == found


# Anything


def outcome(text: str) -> str:
    """The sentence of a refusal; otherwise what is told, as JSON, which it must be."""
    try:
        return json.dumps(tell(parse(text)).addresses, allow_nan=False)
    except InvalidChangeError as error:
        return error.public


@given(st.text(max_size=300))
def test_any_text_is_a_request_or_refused_with_a_line(text: str) -> None:
    assert outcome(text).startswith(("Line ", "{"))


@given(st.lists(st.text(alphabet="aH-'\"\\$ \n{}:=@&;|dXF/.c", max_size=12), max_size=12))
def test_any_command_is_a_request_or_refused_with_a_line(parts: list[str]) -> None:
    assert outcome("curl http://a/ " + " ".join(parts)).startswith(("Line ", "{"))


HEADER_TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30)


@given(
    st.dictionaries(st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True), HEADER_TEXT, max_size=5),
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"), max_size=40),
)
def test_raw_http_comes_back_as_it_was_written(headers: dict[str, str], query: str) -> None:
    headers.pop("cookie", None)
    text = f"GET /?{query} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())

    found = told(text + "\r\n")

    assert found[HEADERS] == headers
    assert found["server.request.uri.raw"] == f"/?{query}"
    assert found["server.request.query"] == parse_qs(query, keep_blank_values=True, errors="replace")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
        max_leaves=20,
    )
)
def test_a_json_body_is_told_as_it_is_where_tracers_would(body: object) -> None:
    text = json.dumps({"method": "POST", "body": {"in": body}})

    found = told(text)["server.request.body"]["in"]

    assert json.dumps(found).replace('"', "") == json.dumps(body).replace('"', "")

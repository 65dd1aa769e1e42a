"""Promises of the webhook adapter, against the local receiver and servers that misbehave."""

import asyncio
import hashlib
import hmac
import json
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from agents.ports import LOOK_UP_FAILED, ChannelAdapter, Outgoing, SendRefused, SendResult, SendUnknown, Sent
from app.delivery import WebhookAdapter, addresses
from app.delivery.webhook import RESPONSE_BYTES_MAX, request_body, sign
from app.stack.stand_in import StandIn
from tests.rim.servers import LOOPBACK, raw, serving

SECRET = "whsec"
CALL_S = 5.0
SHORT_S = 0.4
OUTGOING = Outgoing(
    key="key-1",
    draft_id=UUID("00000000-0000-5000-8000-000000000001"),
    workspace_id="w",
    channel="chat",
    recipient="lead-7",
    text="Grüße 👋\r\n\n",
    subject=None,
    thread_id="t",
    in_reply_to=None,
    references=(),
    automatic=True,
    config={},
)


def adapter(url: str) -> WebhookAdapter:
    return WebhookAdapter(url, SECRET, allow_private=True)


def outgoing() -> Outgoing:
    return replace(OUTGOING, key=str(uuid4()))


@pytest.fixture(scope="module")
async def sink(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StandIn]:
    """The local stack's receiver."""
    server = StandIn("webhook", "app.stack.webhook_sink", tmp_path_factory.mktemp("webhook"))
    await server.start()
    yield server
    await server.stop()


async def answered_with(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> SendResult:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers=headers)

    async with serving(handler) as url:
        return await adapter(url).send(OUTGOING, CALL_S)


async def test_delivery_is_exact_signed_and_keyed(sink: StandIn) -> None:
    """The receiver gets the exact text, the key, and a signature over time and body that its secret confirms."""
    sent = outgoing()
    result = await adapter(f"{sink.url}/webhook").send(sent, CALL_S)
    line = sink.ledger()[-1]
    assert isinstance(result, Sent)
    assert result.provider_message_id.startswith("wh-")
    assert json.loads(line["body"]) == {
        "draft_id": str(sent.draft_id),
        "workspace_id": "w",
        "channel": "chat",
        "recipient": "lead-7",
        "thread_id": "t",
        "text": sent.text,
        "subject": None,
        "key": sent.key,
    }
    assert line["key"] == sent.key
    parts = dict(part.split("=") for part in line["headers"]["x-draft-signature"].split(","))
    signed = f"{parts['t']}.{line['body']}".encode()
    assert parts["v1"] == hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()


async def test_a_repeat_is_the_same_request(sink: StandIn) -> None:
    """Every attempt of a delivery has the same key and the same body, so a receiver can tell it is one."""
    sent, target = outgoing(), adapter(f"{sink.url}/webhook")
    first, second = await target.send(sent, CALL_S), await target.send(sent, CALL_S)
    assert first == second
    assert [line["outcome"] for line in sink.ledger()[-2:]] == ["accepted", "repeat"]


async def test_a_cut_is_looked_up(sink: StandIn) -> None:
    """After a cut the look-up tells whether the receiver had it."""
    target = adapter(f"{sink.url}/webhook?team=7")
    for fault, expected in (("p_cut_after", Sent), ("p_cut_before", SendRefused)):
        sink.behave({fault: 1})
        await asyncio.sleep(0.2)
        sent = outgoing()
        assert await target.send(sent, CALL_S) == SendUnknown("webhook_cut")
        sink.behave(None)
        await asyncio.sleep(0.2)
        assert isinstance(await target.look_up(sent, CALL_S), expected)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, Sent("key-1")),
        (202, Sent("key-1")),
        (204, Sent("key-1")),
        (301, SendUnknown("http_301")),
        (303, SendUnknown("http_303")),
        (308, SendUnknown("http_308")),
        (400, SendRefused("http_400", temporary=False)),
        (401, SendRefused("http_401", temporary=False)),
        (404, SendRefused("http_404", temporary=False)),
        (408, SendRefused("http_408", temporary=True)),
        (409, SendUnknown("http_409")),
        (422, SendRefused("http_422", temporary=False)),
        (429, SendRefused("http_429", temporary=True, retry_after_s=7.0)),
        (500, SendUnknown("http_500")),
        (502, SendUnknown("http_502")),
        (503, SendRefused("http_503", temporary=True, retry_after_s=7.0)),
        (504, SendUnknown("http_504")),
    ],
)
async def test_what_a_status_means(status: int, expected: SendResult) -> None:
    """Sent, certainly not sent, or unknown: a server error may come after the message went out."""
    headers = {"Retry-After": "7"} if status in (429, 503) else {"Location": "http://127.0.0.1:1/"}
    assert await answered_with(status, headers=headers) == expected


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"id": "m-1"}', "m-1"),
        (b'{"message_id": "m-2"}', "m-2"),
        (b'{"id": 7}', "key-1"),
        (b'{"id": "two words"}', "key-1"),
        (b'{"id": "\\u0000"}', "key-1"),
        (b'{"id": "' + b"x" * 300 + b'"}', "key-1"),
        (b"[]", "key-1"),
        (b"thanks", "key-1"),
        (b"\xff", "key-1"),
        (b"[" * 50_000, "key-1"),
        (b"x" * (4 * RESPONSE_BYTES_MAX), "key-1"),
    ],
)
async def test_the_providers_id(body: bytes, found: str) -> None:
    """A usable id is kept, anything else gives the key; a 2xx is sent whatever its body is."""
    assert await answered_with(200, body) == Sent(found)


@pytest.mark.parametrize(
    ("said", "hold", "expected"),
    [
        (b"", False, SendUnknown("webhook_cut")),
        (b"", True, SendUnknown("webhook_cut")),
        (b"garbage\r\n\r\n", False, SendUnknown("webhook_cut")),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", False, Sent("key-1")),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", True, Sent("key-1")),
    ],
)
async def test_broken_answers(said: bytes, hold: bool, expected: SendResult) -> None:
    """Once the request may be out a cut or a silence is unknown; a 2xx whose body is cut is sent."""
    async with raw(said, hold=hold) as url:
        assert await adapter(url).send(OUTGOING, SHORT_S) == expected


async def test_an_endless_answer_is_cut() -> None:
    """A receiver that never stops talking costs neither memory nor time."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * RESPONSE_BYTES_MAX)
        except ConnectionError:
            return response

    async with serving(handler) as url:
        assert await asyncio.wait_for(adapter(url).send(OUTGOING, CALL_S), CALL_S / 2) == Sent("key-1")


async def test_redirects_are_not_followed() -> None:
    """A receiver cannot send us on to another address."""
    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.path)
        raise web.HTTPTemporaryRedirect("/elsewhere")

    async with serving(handler) as url:
        await adapter(url).send(OUTGOING, CALL_S)
    assert seen == ["/"]


@pytest.mark.parametrize("url", [f"http://{LOOPBACK}:1/", "http://nowhere.invalid/", f"https://{LOOPBACK}:1/"])
async def test_no_connection_is_a_temporary_refusal(url: str) -> None:
    """Nobody listens, no such name: not sent, try again."""
    assert await adapter(url).send(OUTGOING, CALL_S) == SendRefused("webhook_connection", temporary=True)


async def test_plain_text_behind_https_is_a_refusal() -> None:
    """A TLS handshake that fails is no delivery."""
    async with raw(b"HTTP/1.1 200 OK\r\n\r\n") as url:
        result = await adapter(url.replace("http:", "https:")).send(OUTGOING, CALL_S)
    assert result == SendRefused("webhook_connection", temporary=True)


@pytest.mark.parametrize(
    "host",
    (
        "127.0.0.1 localhost 127.1 2130706433 0x7f000001 0.0.0.0 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254"
        " 100.64.0.1 224.0.0.1 255.255.255.255 user:pass@127.0.0.1 [::1] [::] [::ffff:127.0.0.1] [fe80::1] [fd00::1]"
        " [64:ff9b::7f00:1] [2002:7f00:1::] [::ffff:100.64.0.1] [::ffff:224.0.0.1] [::10.0.0.1] [::ffff:0:10.0.0.1]"
        " [fec0::1] [64:ff9b:1::a00:1] [2001:0:a00:1::1]"
    ).split(),
)
async def test_private_addresses_are_refused(host: str) -> None:
    """However it is spelt, an address inside our network is refused for good, without a connection."""
    target = WebhookAdapter(f"https://{host}/", SECRET)
    result = await target.send(OUTGOING, CALL_S)
    assert isinstance(result, SendRefused)
    assert (result.code, result.temporary) == ("forbidden_address", False)


@pytest.mark.parametrize(
    "url", ["http://example.com/", "ftp://example.com/", "example.com", "https://", "", "https://[x"]
)
async def test_only_https(url: str) -> None:
    """Without the local stack's leave there is no http://, and what is no address is refused for good."""
    assert await WebhookAdapter(url, SECRET).send(OUTGOING, CALL_S) == SendRefused("bad_url", temporary=False)


@given(st.ip_addresses())
def test_public_means_global_unicast(address: Any) -> None:
    """No private, loopback, link-local, multicast, reserved or unspecified address counts as public."""
    if addresses.is_public(address):
        special = (address.is_private, address.is_loopback, address.is_link_local, address.is_multicast)
        assert not any((*special, address.is_unspecified))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_written_as_ipv6_is_no_other(address: IPv4Address) -> None:
    """What must not be reached is not reached by another spelling, and what may be is."""
    assert addresses.is_public(ip_address(f"::ffff:{address}")) is addresses.is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "::ffff:8.8.8.8", "2606:4700::1111", "2a01:4f8::1"])
def test_public_addresses_are_reached(address: str) -> None:
    """The filter is for our network only."""
    assert addresses.is_public(ip_address(address))


async def test_the_checked_address_is_the_one_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that changes between check and connection (DNS rebinding) gains nothing: it is asked for once."""
    asked: list[str] = []

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        address = LOOPBACK if len(asked) == 1 else "198.51.100.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))]

    async def handler(request: web.Request) -> web.Response:
        assert request.host.startswith("rebinding.example:")
        return web.Response()

    async with serving(handler) as url:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)
        result = await adapter(url.replace(LOOPBACK, "rebinding.example")).send(OUTGOING, CALL_S)
        monkeypatch.undo()
    assert result == Sent("key-1")
    assert asked == ["rebinding.example"]


async def test_one_private_address_among_others_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with a public and a private address is refused."""

    async def getaddrinfo(_: str, port: int, **__: Any) -> list[Any]:
        kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*kind, (address, port)) for address in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)
    result = await WebhookAdapter("https://mixed.example/", SECRET).send(OUTGOING, CALL_S)
    assert result == SendRefused("forbidden_address", temporary=False)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"found": true, "id": "m-1"}', Sent("m-1")),
        (200, b'{"found": true}', Sent("key-1")),
        (404, b'{"found": false}', SendRefused("not_found", temporary=True)),
        (404, b"no such page", None),
        (200, b'{"found": false}', None),
        (200, b"<html>welcome", None),
        (405, b"", None),
        (500, b'{"found": false}', SendUnknown(LOOK_UP_FAILED)),
        (429, b"", SendUnknown(LOOK_UP_FAILED)),
        (302, b'{"found": true}', None),
    ],
)
async def test_a_look_up_believes_only_plain_words(status: int, body: bytes, expected: SendResult | None) -> None:
    """A receiver that knows no look-up must not make us believe that nothing was sent."""

    async def handler(request: web.Request) -> web.Response:
        assert request.method == "GET"
        assert request.query["key"] == "key-1"
        return web.Response(status=status, body=body)

    async with serving(handler) as url:
        assert await adapter(url).look_up(OUTGOING, CALL_S) == expected


async def test_a_look_up_without_an_answer_is_asked_again() -> None:
    """No connection, a cut: the receiver cannot tell now. A bad address never will."""
    assert await adapter(f"http://{LOOPBACK}:1/").look_up(OUTGOING, CALL_S) == SendUnknown(LOOK_UP_FAILED)
    async with raw(b"") as url:
        assert await adapter(url).look_up(OUTGOING, CALL_S) == SendUnknown(LOOK_UP_FAILED)
    assert await adapter("nonsense").look_up(OUTGOING, CALL_S) is None


async def test_a_key_cannot_inject_headers() -> None:
    """A key with a line end is refused before anything is sent."""
    seen = 0

    async def handler(_: web.Request) -> web.Response:
        nonlocal seen
        seen += 1
        return web.Response()

    async with serving(handler) as url:
        result = await adapter(url).send(replace(OUTGOING, key="k\r\nX-Evil: 1"), CALL_S)
    assert seen == 0
    assert not isinstance(result, Sent)


def test_signature_vector() -> None:
    """The signature is what contracts say: HMAC-SHA256 in hex over `t.body`."""
    expected = hmac.new(b"s", b'1700000000.{"a":1}', hashlib.sha256).hexdigest()
    assert sign("s", 1_700_000_000, b'{"a":1}') == f"t=1700000000,v1={expected}"


async def test_without_a_secret_there_is_no_signature() -> None:
    """A channel without a secret is delivered unsigned; nothing else changes."""
    seen: list[bool] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append("X-Draft-Signature" in request.headers)
        return web.Response()

    async with serving(handler) as url:
        await WebhookAdapter(url, None, allow_private=True).send(OUTGOING, CALL_S)
    assert seen == [False]


def test_the_adapter_is_a_channel_adapter() -> None:
    """It has the port's shape, a key window and a look-up; its secret stays out of its repr."""
    target: ChannelAdapter = adapter("https://example.com/")
    assert target.capabilities.key_window_s > 0
    assert target.capabilities.can_look_up
    assert SECRET not in repr(target)
    assert request_body(OUTGOING) == request_body(OUTGOING)

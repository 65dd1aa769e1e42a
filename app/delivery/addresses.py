"""Which addresses a webhook may reach. A workspace chooses the URL, so it must not name machines inside our network."""

import asyncio
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult

IPAddress = IPv4Address | IPv6Address

# All of IPv6 that is given to anybody (IANA); old site-local and IPv4-compatible forms, NAT64 and the like lie outside.
_UNICAST: Final = ip_network("2000::/3")
# Within it, what carries an IPv4 address that a gateway would go on to: 6to4, Teredo.
_CARRIERS: Final = tuple(map(ip_network, ("2002::/16", "2001::/32")))


class ForbiddenAddress(Exception):
    """The name leads to a private, loopback, link-local or otherwise special address."""


def is_public(address: IPAddress) -> bool:
    """True for a global unicast address that stands for itself; an IPv4 address written as IPv6 is what it is."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address not in _UNICAST or any(address in carrier for carrier in _CARRIERS):
            return False
    return address.is_global and not address.is_multicast


async def resolve(host: str, port: int, *, allow_private: bool) -> list[ResolveResult]:
    """The addresses of `host`. Raises OSError when there are none, `ForbiddenAddress` when one must not be reached."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    addresses = [(family, str(sockaddr[0]).partition("%")[0]) for family, *_, sockaddr in found]
    if not allow_private and not all(is_public(ip_address(address)) for _, address in addresses):
        raise ForbiddenAddress
    return [
        ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=int(socket.AI_NUMERICHOST))
        for family, address in addresses
    ]


@dataclass
class Pinned(AbstractResolver):
    """Gives the connection the addresses that were checked: a second look-up could answer otherwise (DNS rebinding)."""

    addresses: list[ResolveResult]

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return self.addresses

    async def close(self) -> None:
        return None

"""Use cases of nodes: the authority, invitations, joining, registration. Each change writes its event."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine

from pilotage.access.model import Person, require
from pilotage.errors import Conflict, InputError, NotFound
from pilotage.kernel.clock import now_us
from pilotage.kernel.ids import uuid7
from pilotage.nodes.certificates import (
    key_from_pem,
    key_to_pem,
    make_authority,
    make_node_certificate,
    make_reader_certificate,
)
from pilotage.nodes.client import Reader
from pilotage.nodes.model import Identity, Node, checked_name
from pilotage.nodes.store import claim, find_node, list_nodes, save_node, set_state
from pilotage.storage.database import reading, writing
from pilotage.storage.home import Home
from pilotage.storage.objects import write_durably
from pilotage.storage.outbox import emit

__all__ = ["identity_of", "init_nodes", "invite", "join", "nodes_of", "reader_of", "register", "retire"]


class _Authority(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The steward's side, a file of mode 0600."""

    key: str
    certificate: str
    reader_key: str
    reader: str


def init_nodes(home: Home) -> bool:
    """Make the authority of nodes and the steward's client certificate; False when they are there."""
    if home.nodes.exists():
        return False
    key, reader = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    made = _Authority(
        key=key_to_pem(key),
        certificate=make_authority(key),
        reader_key=key_to_pem(reader),
        reader=make_reader_certificate(reader),
    )
    write_durably(home.nodes, msgspec.json.encode(made))
    return True


def reader_of(home: Home) -> Reader | None:
    """What the steward reads journals with; None before `init_nodes`."""
    try:
        authority = msgspec.json.decode(home.nodes.read_bytes(), type=_Authority)
    except FileNotFoundError:
        return None
    return Reader(key=authority.reader_key, certificate=authority.reader, authority=authority.certificate)


def invite(control: Engine, home: Home, person: Person, name: str, address: str, *, local: str) -> bytes:
    """The invitation of a node, which holds its key: hand it over as a secret. A new one ends the one before.

    `address` is https://host:port, empty for an edge node; `local` is the name of the steward's own node. Raises
    Forbidden, InputError, Conflict.
    """
    require(person, "node.edit")
    checked_name(name)
    if name == local:
        raise Conflict("this is the name of the steward's own node", got=name, mend="choose another name")
    if address and (urlsplit(address).scheme != "https" or not urlsplit(address).hostname):
        raise InputError("this is no address of a node", got=address, expected="https://host:port", mend="write it so")
    init_nodes(home)
    authority = msgspec.json.decode(home.nodes.read_bytes(), type=_Authority)
    key = Ed25519PrivateKey.generate()
    certificate = make_node_certificate(key_from_pem(authority.key), name, key.public_key())
    node = Node(name=name, address=address, certificate=certificate, invited=now_us())
    with writing(control) as connection:
        save_node(connection, node)
        emit(connection, "node.invited", facts={"node": name}, private={"by": person.id, "address": address})
    identity = Identity(
        name=name, address=address, key=key_to_pem(key), certificate=certificate, reader=authority.reader
    )
    return msgspec.json.encode(identity)


def join(home: Home, content: bytes) -> Identity:
    """Make this home the invited node. Raises InputError, Conflict when it is a node of another name already."""
    try:
        given = msgspec.json.decode(content, type=Identity)
        key_from_pem(given.key)
    except (msgspec.MsgspecError, ValueError) as error:
        raise InputError("this is no invitation", mend="use the file that pilotage node invite wrote") from error
    checked_name(given.name)
    if given.instance or given.version != 1:
        raise InputError("this is no invitation", mend="use the file that pilotage node invite wrote")
    if home.node.exists() and (now := identity_of(home)).name != given.name:
        raise Conflict(
            "this home is another node already", got=now.name, expected=given.name, mend="use another --home"
        )
    identity = msgspec.structs.replace(given, instance=uuid7())
    home.create()
    write_durably(home.node, msgspec.json.encode(identity))
    return identity


def identity_of(home: Home) -> Identity:
    """What this home knows of itself as a node. Raises NotFound before `join`."""
    try:
        return msgspec.json.decode(home.node.read_bytes(), type=Identity)
    except FileNotFoundError:
        raise NotFound(
            f"{home.root} is no node", mend="run: pilotage node join FILE, with the file of pilotage node invite"
        ) from None


def register(control: Engine, identity: Identity) -> None:
    """Be the one home that is this node. Raises Conflict when another one is."""
    with writing(control) as connection:
        if claim(connection, identity.name, identity.instance):
            return
    raise Conflict(
        f"node {identity.name} is another home, was retired, or was never invited",
        code="node_twice",
        got=identity.instance,
        mend="if this machine is to be that node: pilotage node invite, then join here",
    )


def retire(control: Engine, person: Person, name: str) -> None:
    """Stop pulling from a node; its name may be invited again."""
    require(person, "node.edit")
    with writing(control) as connection:
        find_node(connection, name)
        set_state(connection, name, retired=now_us(), fault="", lagging=0)
        emit(connection, "node.retired", facts={"node": name}, private={"by": person.id})


def nodes_of(control: Engine) -> list[Node]:
    """All nodes that were ever invited, by name."""
    with reading(control) as connection:
        return list_nodes(connection)

"""The SQL of nodes: each statement in the caller's transaction."""

from __future__ import annotations

from sqlalchemy import Column, Connection, String, Table, Text, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert_postgresql
from sqlalchemy.dialects.sqlite import insert as upsert_sqlite

from pilotage.errors import NotFound
from pilotage.nodes.model import Node
from pilotage.storage.database import BIG, control

__all__ = ["claim", "find_node", "list_nodes", "nodes_table", "save_node", "set_state"]

nodes_table = Table(
    "nodes",
    control,
    Column("name", String(63), primary_key=True),
    Column("address", Text, nullable=False),
    Column("certificate", Text, nullable=False),
    Column("instance", String(36), nullable=False),
    Column("invited", BIG, nullable=False),
    Column("retired", BIG, nullable=False),
    Column("pulled", BIG, nullable=False),
    Column("caught_up", BIG, nullable=False),
    Column("lag_bytes", BIG, nullable=False),
    Column("lagging", BIG, nullable=False),
    Column("fault", Text, nullable=False),
)


def list_nodes(connection: Connection) -> list[Node]:
    """All of them, by name, also those that were retired."""
    return [Node(**row) for row in connection.execute(select(nodes_table).order_by(nodes_table.c.name)).mappings()]


def find_node(connection: Connection, name: str) -> Node:
    """One of them. Raises NotFound."""
    row = connection.execute(select(nodes_table).where(nodes_table.c.name == name)).mappings().first()
    if row is None:
        raise NotFound("there is no such node", got=name, mend="see: pilotage node list; add it: pilotage node invite")
    return Node(**row)


def save_node(connection: Connection, node: Node) -> None:
    """Add a node, or replace the one of this name."""
    values = {column.name: getattr(node, column.name) for column in nodes_table.columns}
    insert = upsert_postgresql if connection.dialect.name == "postgresql" else upsert_sqlite
    statement = insert(nodes_table).values(values)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))


def set_state(connection: Connection, name: str, **values: object) -> None:
    """Write some columns of one node."""
    connection.execute(update(nodes_table).where(nodes_table.c.name == name).values(**values))


def claim(connection: Connection, name: str, instance: str) -> bool:
    """Be the one home that is this node; False when another is, or the node is not known or was retired."""
    mine = or_(nodes_table.c.instance == "", nodes_table.c.instance == instance)
    here = (nodes_table.c.name == name, nodes_table.c.retired == 0, mine)
    return connection.execute(update(nodes_table).where(*here).values(instance=instance)).rowcount == 1

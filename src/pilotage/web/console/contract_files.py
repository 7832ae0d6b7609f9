"""A contract in words, and what a file is worth by it, as pages that load nothing and print well."""

from __future__ import annotations

from typing import Any

from pilotage.contracts.dictionary import deeds, marks
from pilotage.contracts.faults import expectation
from pilotage.contracts.model import DataContract
from pilotage.contracts.table import TableCheck
from pilotage.web.console.templating import make_templates

__all__ = ["check_file", "dictionary_file", "dictionary_rows"]


def dictionary_file(contract: DataContract) -> str:
    """The data dictionary of a contract."""
    return _page(contract, None, "")


def check_file(contract: DataContract, found: TableCheck, name: str) -> str:
    """What a check of the file `name` found, and under it the contract in words."""
    return _page(contract, found, name)


def dictionary_rows(contract: DataContract) -> list[dict[str, Any]]:
    """Each column of a contract with what it takes, what it is to people and what is done about its faults."""
    return [
        {
            "column": column,
            "takes": expectation(column) if column.role in ("feature", "subject") else "no input",
            "marks": marks(column),
            "deeds": deeds(column),
        }
        for column in contract.columns
    ]


def _page(contract: DataContract, found: TableCheck | None, name: str) -> str:
    template = make_templates().get_template("contract_file.html")
    return template.render(contract=contract, columns=dictionary_rows(contract), found=found, name=name)

"""The addresses of the gateway in one table: requests are routed by it, OpenAPI is made from it, pages are held to it.

The hot path does not come here: the decisions of live systems are looked up whole, in `Serving.paths`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ADDRESSES", "DECIDE", "Address", "Found", "find", "is_open_inference"]

Access = Literal["open", "key", "decide", "outcome"]


@dataclass(frozen=True, kw_only=True)
class Address:
    """One address. `template` holds `{names}` for parts that vary; `methods` are those it takes, by what they do.

    `access` is who may ask: everybody (`open`), every live key (`key`), or a key with a scope of this action.
    """

    name: str
    template: str
    access: Access
    methods: dict[str, str]

    @property
    def allow(self) -> bytes:
        """The value of the header `Allow`."""
        return ", ".join(self.methods).encode()


@dataclass(frozen=True, kw_only=True)
class Found:
    """An address that a path has, with the parts of it that vary."""

    address: Address
    parts: dict[str, str]


_MODEL, _VERSION = "/v2/models/{system}", "/v2/models/{system}/versions/{version}"
_METADATA = {"GET": "Metadata of a model: its version (the live release), inputs and outputs."}
_MODEL_READY = {"GET": "200 when the model can answer, else 503."}
_INFER = {"POST": "Infer: every row of the tensors is a decision of its own."}

DECIDE = Address(
    name="decide",
    template="/v1/systems/{system}/decide",
    access="decide",
    methods={"POST": "Decide: one row or many.", "GET": "The live release's contract, limits, and an example body."},
)
"""The address of decisions; those of live systems are looked up before any other."""

ADDRESSES = (
    Address(name="live", template="/live", access="open", methods={"GET": "200 while the process runs."}),
    Address(
        name="ready",
        template="/ready",
        access="open",
        methods={"GET": "200 when it can decide, else 503 with the reason."},
    ),
    Address(name="metrics", template="/metrics", access="open", methods={"GET": "Prometheus text."}),
    Address(
        name="openapi",
        template="/openapi.json",
        access="key",
        methods={"GET": "OpenAPI of the gateway, with the systems that the key may ask."},
    ),
    DECIDE,
    Address(
        name="outcome",
        template="/v1/decisions/{id}/outcome",
        access="outcome",
        methods={"POST": "Tell what became of a decision."},
    ),
    Address(name="outcomes", template="/v1/outcomes", access="outcome", methods={"POST": "Tell many outcomes."}),
    Address(name="v2_live", template="/v2/health/live", access="open", methods={"GET": "200 while the process runs."}),
    Address(
        name="v2_ready",
        template="/v2/health/ready",
        access="open",
        methods={"GET": "200 when it can decide, else 503."},
    ),
    Address(name="v2_server", template="/v2", access="key", methods={"GET": "Metadata of the server."}),
    Address(name="v2_model", template=_MODEL, access="decide", methods=_METADATA),
    Address(name="v2_model_ready", template=_MODEL + "/ready", access="decide", methods=_MODEL_READY),
    Address(name="v2_infer", template=_MODEL + "/infer", access="decide", methods=_INFER),
    Address(name="v2_model", template=_VERSION, access="decide", methods=_METADATA),
    Address(name="v2_model_ready", template=_VERSION + "/ready", access="decide", methods=_MODEL_READY),
    Address(name="v2_infer", template=_VERSION + "/infer", access="decide", methods=_INFER),
)

_split = [(address, address.template.split("/")) for address in ADDRESSES]


def find(path: str) -> Found | None:
    """The address of a path; None when there is none. A part that varies is never empty."""
    given = path.split("/")
    for address, template in _split:
        if len(template) == len(given) and all(
            want == got or (want[:1] == "{" and got) for want, got in zip(template, given, strict=True)
        ):
            parts = {want[1:-1]: got for want, got in zip(template, given, strict=True) if want[:1] == "{"}
            return Found(address=address, parts=parts)
    return None


def is_open_inference(path: str) -> bool:
    """Whether answers at a path have the forms of the Open Inference Protocol, its errors too."""
    return path == "/v2" or path.startswith("/v2/")

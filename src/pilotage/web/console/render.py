"""What every page needs: the installation, the templates, the person who asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from pilotage.access.model import Person, require
from pilotage.errors import PilotageError
from pilotage.web.console.live import LiveFigures
from pilotage.web.session import person_of
from pilotage.wiring.installation import Installation

__all__ = ["Pages", "download"]


@dataclass(frozen=True, kw_only=True)
class Pages:
    """Renders templates over one installation. `stopping` tells streams that the server wants to end."""

    installation: Installation
    templates: jinja2.Environment = field(repr=False)
    live: LiveFigures = field(repr=False)
    stopping: Callable[[], bool] = lambda: False

    def render(self, template: str, *, status_code: int = 200, **values: Any) -> HTMLResponse:
        """A page from a template."""
        return HTMLResponse(self.fragment(template, **values), status_code=status_code)

    def fragment(self, template: str, **values: Any) -> str:
        """A piece of HTML from a template."""
        return self.templates.get_template(template).render(**values)

    def person(self, request: Request, permission: str) -> Person:
        """The person who asks, who must hold the permission. Raises Unauthenticated, Forbidden."""
        person = person_of(request, self.installation)
        require(person, permission)
        return person

    def person_if_known(self, request: Request) -> Person | None:
        """The person who asks, or None, for pages that anybody may see."""
        try:
            return person_of(request, self.installation)
        except PilotageError:
            return None


def download(content: bytes, name: str) -> Response:
    """A file to keep; `name` must be plain, since it stands in a header."""
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type="application/octet-stream", headers=headers)

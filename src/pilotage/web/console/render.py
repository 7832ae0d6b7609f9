"""What every page needs: the installation, the templates, the person who asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse

from pilotage.access.model import Person, require
from pilotage.web.session import person_of
from pilotage.wiring.installation import Installation

__all__ = ["Pages"]


@dataclass(frozen=True, kw_only=True)
class Pages:
    """Renders templates over one installation."""

    installation: Installation
    templates: jinja2.Environment = field(repr=False)

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

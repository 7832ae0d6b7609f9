"""What every page needs: the installation, the templates, the person who asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import jinja2
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from pilotage.access.model import Person, require
from pilotage.errors import InputError, PilotageError
from pilotage.web.console.live import LiveFigures
from pilotage.web.session import person_of
from pilotage.wiring.installation import Installation

__all__ = ["Act", "Pages", "download", "form"]


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

    def sign_in(self, *, fault: str = "", code: str = "", status_code: int = 200) -> HTMLResponse:
        """The page of signing in: by token, by a link's `code`, at an issuer; `fault` says what did not work."""
        offered = self.installation.bearers.offered()
        facts = {"person": None, "section": "", "fault": fault, "code": code, "offered": offered}
        return self.render("sign_in.html", status_code=status_code, **facts)

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


Act = Callable[[Person, dict[str, str]], "str | Response"]
"""What a confirmed form does; where to go on, or the answer itself."""


def form(view: Pages, permission: str, act: Act) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that does what a form asks for, once its box is ticked, and leads to the page that shows it.

    The act gets the form's fields, and those of the address over them.
    """

    async def endpoint(request: Request) -> Response:
        sent = await request.form(max_files=0, max_fields=20)
        given = {name: value for name, value in sent.items() if isinstance(value, str)} | request.path_params

        def do() -> str | Response:
            person = view.person(request, permission)
            if any("\x00" in value for value in given.values()):
                raise InputError("a field has the character NUL", mend="leave it out: no text here has it")
            if given.get("confirm") != "yes":
                raise InputError(
                    "this was not confirmed: nothing was done",
                    code="not_confirmed",
                    expected="the box above the button ticked",
                    mend="go back, tick it, and send the form again",
                )
            return act(person, given)

        done = await run_in_threadpool(do)
        return RedirectResponse(done, status_code=303) if isinstance(done, str) else done

    return endpoint


def download(content: bytes, name: str) -> Response:
    """A file to keep; `name` must be plain, since it stands in a header."""
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type="application/octet-stream", headers=headers)

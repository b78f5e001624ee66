"""The server: routes, what it refuses, and how an answer becomes a response."""

import asyncio
import hashlib
import ipaddress
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from html import escape
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from factory_lib.errors import (
    BadInput,
    ConfigError,
    FactoryError,
    MachineError,
    NotThere,
    RegistryUnavailable,
    StoreUnavailable,
)
from factory_lib.failures import Explained
from factory_lib.planning.documents import plans_folder
from factory_lib.service import answers, metrics, pages
from factory_lib.service.reading import Reading
from factory_lib.settings import Settings
from factory_lib.views import palette

STATIC = Path(__file__).with_name("static")
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
LONGEST_PATH = 512
LONGEST_QUERY = 1024
THREADS = 4
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' "
    "'unsafe-inline'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-cache",
}
Build = Callable[[Request], tuple[bytes, str]]


class Guard:
    """Refuse what no page of this service asks for, before anything is looked up."""

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...]) -> None:
        self.app = app
        self.hosts = {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer why not."""
        if scope["type"] == "http" and (refusal := self._refusal(scope)):
            status, text = refusal
            allow = {"allow": "GET, HEAD"} if status == 405 else {}
            response = JSONResponse({"error": text}, status, headers={**HEADERS, **allow})
            await response(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if re.sub(r":\d{1,5}$", "", host) not in self.hosts:
            return 400, "This host is not served: see [service] in config/factory.toml."
        if scope["method"] not in ("GET", "HEAD"):
            return 405, "This service only shows: GET and HEAD."
        if (
            len(scope["raw_path"] or b"") > LONGEST_PATH
            or len(scope["query_string"]) > LONGEST_QUERY
        ):
            return 414, "The address is too long."
        if headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers:
            return 413, "A request carries no body here."
        return None


class FurtherSites:
    """The pages of the sites under ``[sites]``, each made when it is first asked for."""

    def __init__(self, first: Reading) -> None:
        self._first = first.settings
        self._apps: dict[str, Starlette] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the application of its site."""
        name = scope["path_params"].pop("name")  # no parameter of the site's own pages
        if name not in self._first.sites:
            await (await _not_found(Request(scope), KeyError(name)))(scope, receive, send)
            return
        if name not in self._apps:
            self._apps[name] = make_app(Reading(self._first.profile, name), f"/site/{name}")
        await self._apps[name](scope, receive, send)


def make_app(reading: Reading, root: str = "") -> Starlette:
    """Return the application of one site; that of the first holds those of the others.

    Parameters
    ----------
    root : str
        The address below which it is.
    """
    json = "application/json"
    routes: list[BaseRoute] = [
        Route("/health", _alive),
        Route("/metrics", _route(reading, partial(_metrics, reading))),
        Route("/plan.{kind:str}", _route(reading, partial(_plan_file, reading))),
    ]
    files = {file.name: file.read_bytes() for file in STATIC.iterdir()}
    files["style.css"] = palette.css().encode() + files["style.css"]
    # a report, which names no icon, makes browsers ask for this one
    routes.append(Route("/favicon.ico", _route(reading, partial(_static, files))))
    routes.append(Route("/static/{name:str}", _route(reading, partial(_static, files))))
    for path, endpoint in answers.ENDPOINTS.items():
        build = partial(_answer, reading, path, endpoint)
        routes.insert(0, Route(path, _route(reading, build, json)))
    for path, command in answers.COMMANDS.items():
        routes.append(Route(path, partial(_acts, command)))
    routes += [
        Route(path, _route(reading, partial(pages.render, reading, page)))
        for path, page in pages.PAGES.items()
    ]
    if not root:
        routes.append(Route("/site/{name}", partial(_own_page, reading)))
        routes.append(Mount("/site/{name}", app=FurtherSites(reading)))
    handlers = {404: _not_found, 405: _not_found}
    app = Starlette(routes=routes, exception_handlers=handlers, lifespan=_few_threads)
    app.router.redirect_slashes = False
    app.add_middleware(Guard, hosts=reading.settings.service.hosts)
    return app


def _route(
    reading: Reading, build: Build, error_type: str = "text/html"
) -> Callable[[Request], Awaitable[Response]]:
    """Return a handler that builds the content in a thread, with a tag and the errors' codes."""

    async def handle(request: Request) -> Response:
        try:
            with Explained():
                content, media_type = await asyncio.to_thread(build, request)
        except FactoryError as error:
            return _failure(request, error, error_type)
        if reading.settings.sites and media_type == "text/html":
            content = _within_site(content, reading.settings)
        tag = f'"{hashlib.sha1(content, usedforsecurity=False).hexdigest()}"'
        headers = {**HEADERS, "etag": tag}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=media_type)

    return handle


def _within_site(content: bytes, settings: Settings) -> bytes:
    """Return a page whose links stay within its site, with the others beside its name on top."""
    root = f"/site/{settings.site_id}" if settings.site_id else ""
    content = re.sub(rb'\b(href|src|action)="/', rb'\1="%b/' % root.encode(), content)
    first = escape(settings.for_site("").site.name)
    links = [
        f'<a href="/">{first}</a>',
        *(f'<a href="/site/{one}/">{one}</a>' for one in settings.sites),
    ]
    links[settings.site_ids.index(settings.site_id)] = f"<b>{escape(settings.site.name)}</b>"
    switcher = f'<header class="top"><p class="links-row">{" ".join(links)}</p>'
    return re.sub(rb'<header class="top"><b>.*?</b>', lambda _: switcher.encode(), content, count=1)


def _failure(request: Request, error: FactoryError, error_type: str) -> Response:
    """Return the status and the words of an error, with its next step."""
    away = isinstance(error, (StoreUnavailable, RegistryUnavailable, MachineError))
    status = 503 if away else 500
    if isinstance(error, BadInput) and not isinstance(error, ConfigError):
        status = 404 if isinstance(error, NotThere) else 400
    path = request.url.path.removeprefix(request.scope.get("root_path", ""))
    if error_type == "text/html" and path in pages.PAGES:
        page = pages.failure(error.message, error.next_step)
        return Response(page, status, headers=HEADERS, media_type="text/html")
    content = {"error": error.message, "next_step": error.next_step}
    return JSONResponse(content, status, headers=HEADERS)


@asynccontextmanager
async def _few_threads(_: Starlette) -> AsyncIterator[None]:
    """Let few threads build pages: each keeps memory of its own, and there are two cores."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
    yield


async def _alive(request: Request) -> Response:
    return JSONResponse({"status": "alive"}, headers=HEADERS)


async def _acts(command: str, request: Request) -> Response:
    content = {"error": "This acts, and the service only shows.", "next_step": f"Run `{command}`."}
    return JSONResponse(content, 405, headers={**HEADERS, "allow": ""})


async def _own_page(reading: Reading, request: Request) -> Response:
    """Lead from a site's name to its page, to which its links are relative."""
    name = request.path_params["name"]
    if name not in reading.settings.sites:
        return await _not_found(request, KeyError(name))
    target = f"/site/{name}/?{request.url.query}".removesuffix("?")
    return RedirectResponse(target, 308, HEADERS)


async def _not_found(request: Request, _: Exception) -> Response:
    return JSONResponse({"error": "There is no such page."}, 404, headers=HEADERS)


def _answer(
    reading: Reading, path: str, endpoint: answers.Endpoint, request: Request
) -> tuple[bytes, str]:
    values = answers.values_of(endpoint, request.query_params)
    key = (path, *sorted(values.items()))
    content = reading.get(
        key,
        lambda ctx: answers.encode(ctx, endpoint.answer(reading, ctx, values)),
        endpoint.parts,
        endpoint.fresh_s,
    )
    return content, "application/json"


def _metrics(reading: Reading, _: Request) -> tuple[bytes, str]:
    return metrics.page(reading), "text/plain; version=0.0.4; charset=utf-8"


def _static(files: dict[str, bytes], request: Request) -> tuple[bytes, str]:
    name = request.path_params.get("name", "icon.svg")
    if name not in files:
        raise NotThere(f"There is no file {name!r}.")
    return files[name], TYPES[Path(name).suffix]


def _plan_file(reading: Reading, request: Request) -> tuple[bytes, str]:
    media = {"ics": "text/calendar; charset=utf-8", "csv": "text/csv; charset=utf-8"}
    kind = request.path_params["kind"]
    if kind not in media:
        raise NotThere("There is no such page.")
    file = reading.get(("plan", kind), lambda ctx: plans_folder(ctx) / f"plan.{kind}", ())
    try:
        return file.read_bytes(), media[kind]
    except FileNotFoundError:
        raise NotThere("There is no plan yet.", next_step="Run `make plan`.") from None


def serve(reading: Reading, host: str, port: int, *, behind_proxy: bool = False) -> None:
    """Serve until a signal ends it.

    Raises
    ------
    BadInput
        If the address is taken, or not this machine's own and no proxy was announced.
    """
    import uvicorn

    if not (behind_proxy or is_loopback(host)):
        raise BadInput(
            f"{host} can be reached from other machines, and the page has no password.",
            next_step="Serve 127.0.0.1, or put a proxy with TLS and passwords before it and "
            "pass --behind-proxy (docs/operations.md).",
        )
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise BadInput(
            f"{host}:{port} cannot be served: {error.strerror}.",
            next_step="Choose another with --port (make serve PORT=…).",
        ) from None
    uvicorn.run(
        make_app(reading),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        proxy_headers=behind_proxy,
        server_header=False,
        timeout_keep_alive=15,
        limit_concurrency=64,
    )


def is_loopback(host: str) -> bool:
    """Return whether an address or name means this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"

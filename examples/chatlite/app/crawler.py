"""A polite breadth-first crawler of one site. It knows nothing of Celery."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

import httpx
from bs4 import BeautifulSoup
from bs4.dammit import UnicodeDammit
from bs4.exceptions import ParserRejectedMarkup
from protego import Protego

MAX_DEPTH = 5
MAX_PAGES = 500
MAX_PAGE_BYTES = 512 * 1024
#: All pages of one crawl together: their HTML travels through the broker.
MAX_TOTAL_BYTES = 16 * 1024 * 1024
MAX_ROBOTS_BYTES = 512 * 1024
MAX_REDIRECTS = 5
#: Seconds: to connect, without a byte, and for one whole answer.
TIMEOUT = httpx.Timeout(10.0, connect=5.0)
ANSWER_SECONDS = 150.0
#: Crawl-delay of robots.txt is followed up to this many seconds.
MAX_CRAWL_DELAY = 10.0
HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
_DEFAULT_PORTS = {"http": 80, "https": 443}


class RobotsUnavailableError(Exception):
    """robots.txt answered with a server error, so nothing may be fetched for now (RFC 9309, 2.3.1.4)."""


class _SkipError(Exception):
    """This URL gives no page; the text says why."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


@dataclass(slots=True)
class Page:
    """A fetched page; ``url`` is the address after redirects, ``links`` every http(s) link in order of appearance."""

    url: str
    status: int
    title: str
    depth: int
    links: list[str]
    html: str


@dataclass(slots=True)
class Skipped:
    """A link that was not taken, and why; ``status`` is None when there was no answer."""

    url: str
    depth: int
    status: int | None
    reason: str


@dataclass(slots=True)
class CrawlResult:
    """What a crawl fetched so far. ``truncated``: stopped by time or by size before the site was done."""

    pages: list[Page] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    truncated: bool = False

    def summary(self) -> dict[str, Any]:
        """The result as JSON types, without the pages' HTML."""
        pages = [{name: value for name, value in asdict(page).items() if name != "html"} for page in self.pages]
        return {"pages": pages, "skipped": [asdict(skip) for skip in self.skipped], "truncated": self.truncated}


def validate(url: str, depth: int, max_pages: int) -> str:
    """Return the normalised seed URL.

    Raises:
        ValueError: the URL isn't plain http(s), or depth or max_pages is out of range; the message says which.
    """
    parts = urlsplit(url) if isinstance(url, str) else None
    if parts is None or parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"url is {url!r}: give an absolute http or https address.")
    if parts.username is not None or parts.password is not None:
        raise ValueError("url contains a user name or password: they would stand in logs and results.")
    for name, value, low, high in (("depth", depth, 0, MAX_DEPTH), ("max_pages", max_pages, 1, MAX_PAGES)):
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"{name} is {value!r}: give a whole number from {low} to {high}.")
    return normalise(url)


def normalise(url: str) -> str:
    """One spelling per page: lower-case scheme and host, no default port, no fragment, "/" for an empty path.

    Raises:
        ValueError: the address can't be parsed, e.g. a port that is no number.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    if parts.port is not None and parts.port != _DEFAULT_PORTS.get(parts.scheme):
        host = f"{host}:{parts.port}"
    return urlunsplit((parts.scheme, host, parts.path or "/", parts.query, ""))


def same_site(one: str, other: str) -> bool:
    """Same host, and either the same scheme and port or both on their scheme's default port (http → https)."""

    def port(parts: SplitResult) -> int | None:
        return parts.port or _DEFAULT_PORTS.get(parts.scheme)

    first, second = urlsplit(one), urlsplit(other)
    if first.hostname != second.hostname:
        return False
    if (first.scheme, port(first)) == (second.scheme, port(second)):
        return True
    return all(port(parts) == _DEFAULT_PORTS.get(parts.scheme) for parts in (first, second))


def parse_page(html: str, url: str) -> tuple[str, list[str]]:
    """Return the title and the http(s) links of a page at ``url``: absolute, normalised, each once.

    Raises:
        ParserRejectedMarkup: the text isn't HTML at all.
    """
    soup = BeautifulSoup(html, "html.parser")
    title = " ".join(soup.title.get_text().split()) if soup.title else ""
    base_tag = soup.find("base", href=True)
    links: dict[str, None] = {}
    try:
        base = urljoin(url, str(base_tag["href"])) if base_tag else url
    except ValueError:
        base = url
    for anchor in soup.find_all("a", href=True):
        try:
            target = urljoin(base, str(anchor["href"]).strip())
            if urlsplit(target).scheme in _DEFAULT_PORTS and urlsplit(target).hostname:
                links.setdefault(normalise(target))
        except ValueError:
            continue  # a link no browser could follow
    return title, list(links)


class Crawler:
    """Crawls one site through ``client``, which carries user agent, timeouts and no redirects of its own.

    ``sleep`` and ``clock`` (seconds) are replaced in tests.
    """

    def __init__(
        self,
        client: httpx.Client,
        user_agent: str,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._user_agent = user_agent
        self._sleep = sleep
        self._clock = clock
        self._robots = Protego.parse("")
        self._delay = 0.0

    def crawl(self, seed: str, depth: int, max_pages: int, result: CrawlResult) -> None:
        """Fetch ``seed`` and its site breadth-first into ``result``, which stays valid if this call is interrupted.

        Raises:
            httpx.TransportError: the seed or its robots.txt can't be reached; later pages are skipped instead.
            RobotsUnavailableError: robots.txt answered 5xx.
        """
        self._load_robots(seed)
        queue = deque([(seed, 0)])
        seen = {seed}
        total_bytes = 0
        while queue and len(result.pages) < max_pages:
            url, level = queue.popleft()
            try:
                page = self._fetch_page(url, level, seen)
            except _SkipError as skip:
                result.skipped.append(Skipped(url, level, skip.status, skip.reason))
                continue
            except httpx.TransportError as error:
                if level == 0:
                    raise
                result.skipped.append(Skipped(url, level, None, type(error).__name__))
                continue
            total_bytes += len(page.html.encode())
            if total_bytes > MAX_TOTAL_BYTES:
                result.truncated = True
                return
            result.pages.append(page)
            if level == depth:
                continue
            for link in page.links:
                if link not in seen and same_site(seed, link):
                    seen.add(link)
                    queue.append((link, level + 1))

    def _load_robots(self, seed: str) -> None:
        """Read the site's robots.txt; no such file (4xx, a redirect off the site) allows everything."""
        try:
            _, status, body, _ = self._follow(urljoin(seed, "/robots.txt"), MAX_ROBOTS_BYTES, robots=False)
        except _SkipError:
            status, body = 404, b""
        if status >= 500:
            raise RobotsUnavailableError(f"robots.txt of {urlsplit(seed).netloc} answered {status}.")
        self._robots = Protego.parse(body.decode("utf-8", "replace") if status == 200 else "")
        self._delay = min(self._robots.crawl_delay(self._user_agent) or 0.0, MAX_CRAWL_DELAY)

    def _fetch_page(self, url: str, level: int, seen: set[str]) -> Page:
        """Fetch one page; the address it was redirected to joins ``seen``. Raises _SkipError or TransportError."""
        final, status, body, charset = self._follow(url, MAX_PAGE_BYTES, robots=True)
        if final != url:
            if final in seen:
                raise _SkipError(f"redirects to {final}, which is known already", status)
            seen.add(final)
        markup = UnicodeDammit(body, [charset] if charset else [], is_html=True).unicode_markup
        html = markup if isinstance(markup, str) else body.decode("utf-8", "replace")
        try:
            title, links = parse_page(html, final)
        except ParserRejectedMarkup:
            raise _SkipError("is no HTML", status) from None
        return Page(final, status, title, level, links, html)

    def _follow(self, url: str, max_bytes: int, *, robots: bool) -> tuple[str, int, bytes, str | None]:
        """GET ``url`` with redirects inside the site; return final address, status, body and charset.

        With ``robots``, every hop must be allowed and the answer must be an HTML page with status 200; else _SkipError.
        """
        start = url
        for _ in range(MAX_REDIRECTS + 1):
            if robots:
                if not self._robots.can_fetch(url, self._user_agent):
                    raise _SkipError("robots.txt disallows it")
                if self._delay:
                    self._sleep(self._delay)
            try:
                with self._client.stream("GET", url) as response:
                    if not response.has_redirect_location:
                        if robots:
                            _require_html(response)
                        body = self._read(response, max_bytes, cut=not robots)
                        return url, response.status_code, body, response.charset_encoding
                    url = normalise(urljoin(url, response.headers["location"]))
                    if not same_site(start, url):
                        raise _SkipError("redirects off the site", response.status_code)
            except (httpx.DecodingError, httpx.InvalidURL, ValueError) as error:
                raise _SkipError(f"bad answer: {type(error).__name__}") from None
        raise _SkipError("too many redirects")

    def _read(self, response: httpx.Response, max_bytes: int, *, cut: bool) -> bytes:
        """Read a body; one over ``max_bytes`` is cut there or, without ``cut``, skipped.

        Raises httpx.ReadTimeout when the whole answer takes too long, however steadily it drips.
        """
        deadline = self._clock() + ANSWER_SECONDS
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > max_bytes:
                if cut:
                    return bytes(body[:max_bytes])
                raise _SkipError(f"is larger than {max_bytes} bytes", response.status_code)
            if self._clock() > deadline:
                raise httpx.ReadTimeout(f"answer took over {ANSWER_SECONDS:g} s", request=response.request)
        return bytes(body)


def _require_html(response: httpx.Response) -> None:
    """Raise _SkipError unless the answer is a page: status 200 and an HTML content type."""
    if response.status_code != 200:
        raise _SkipError(f"answered {response.status_code}", response.status_code)
    content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in HTML_TYPES:
        raise _SkipError(f"content type is {content_type or 'not given'}", response.status_code)


def http_client(user_agent: str) -> httpx.Client:
    """The client for one crawl: two quick attempts to connect again, no redirects, no content but HTML asked for."""
    return httpx.Client(
        headers={"User-Agent": user_agent, "Accept": ", ".join(sorted(HTML_TYPES))},
        timeout=TIMEOUT,
        transport=httpx.HTTPTransport(retries=2),
        follow_redirects=False,
    )

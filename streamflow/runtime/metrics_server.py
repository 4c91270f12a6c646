"""Serves how a run is to whoever scrapes it by HTTP, as Prometheus text or OpenMetrics: the door to prometheus_client.

Everything is read when it is asked for. Its own registry, so that of the serving process itself nothing is told.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import Metric

from streamflow.core.metrics import CATALOGUE, Family, Ratchet, families
from streamflow.errors import StreamflowError
from streamflow.runtime.looking import Lookout

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

METRICS_PATH = "/metrics"
PLACE = b"how the run is, for Prometheus: /metrics\n"
BODY_TIMEOUT_S = 5.0  # of a scraper that connects and says nothing


class RunCollector:
    """Of one run, for a registry; scraped by several at once it looks once for each."""

    def __init__(self, lookout: Lookout) -> None:
        self._lookout = lookout
        self._ratchet = Ratchet()
        self._lock = threading.Lock()

    def describe(self) -> Iterator[Metric]:
        """What may come, so that registering it reads nothing."""
        for metric in CATALOGUE:
            yield Metric(metric.name, metric.help, metric.kind, metric.unit)

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            try:
                found = self._ratchet.hold(families(self._lookout.look()))
            except (StreamflowError, OSError):
                return  # the run has just ended
        for family in found:
            yield _converted(family)


def _converted(family: Family) -> Metric:
    metric = family.metric
    told = Metric(metric.name, metric.help, metric.kind, metric.unit)
    for sample in family.samples:
        told.add_sample(metric.name + sample.suffix, sample.labels, sample.value)
    return told


class MetricsServer:
    """Serves on a socket that is bound and listens, until it is closed."""

    def __init__(self, lookout: Lookout, listening: socket.socket) -> None:
        registry = CollectorRegistry()
        registry.register(RunCollector(lookout))
        self._server = _Server(listening)
        self._server.set_app(_only_at(METRICS_PATH, make_wsgi_app(registry)))
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _only_at(path: str, serving: WSGIApplication) -> WSGIApplication:
    """What serves there; at the root a line that names the place, and nothing anywhere else."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        asked = environ.get("PATH_INFO", "")
        if asked == path:
            return serving(environ, start_response)
        start_response("200 OK" if asked == "/" else "404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
        return [PLACE]

    return answer


class _Server(ThreadingMixIn, WSGIServer):
    """Of a socket of ours; `server_bind` would look up the host's name, which may take seconds."""

    daemon_threads = True

    def __init__(self, listening: socket.socket) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_address = listening.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A scraper that went away in between is no fault of anybody's."""


class _Handler(WSGIRequestHandler):
    timeout = BODY_TIMEOUT_S

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody wants a line for each scrape."""

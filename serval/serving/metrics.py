"""What the service measures of itself, for Prometheus. Names of streams and people are not in it: their number has no bound."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from sqlalchemy.exc import SQLAlchemyError

from serval.serving.service import Service
from serval.serving.stream import State


class ServiceCollector:
    """Reads the hub, the door and the webhooks when it is asked."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        hub, door = self._service.hub, self._service.door
        states, totals, drops = Counter[str](), Counter[str](), Counter[str]()
        for stream in hub.opened():
            states[stream.about.state] += 1
            status = stream.status()
            if status is not None:
                totals["frames"] += sum(status.frames.values())
                totals["looked"] += sum(status.looked.values())
                totals["said"] += status.said
                totals["waiting"] += status.waiting
                totals["memory"] += status.memory_bytes
            for counts in stream.drops().values():
                drops.update(counts)
        yield _labelled("serval_streams", "Streams since the service began.", "state", {each: states[each] for each in State})
        yield CounterMetricFamily("serval_frames", "Pictures that were watched.", totals["frames"])
        yield CounterMetricFamily("serval_looks", "Pictures that encoders looked at.", totals["looked"])
        yield CounterMetricFamily("serval_utterances", "What was said unasked.", totals["said"])
        yield GaugeMetricFamily("serval_wakes_waiting", "Wakes that wait for their words.", totals["waiting"])
        yield GaugeMetricFamily("serval_memory_bytes", "What the memories of streams hold.", totals["memory"])
        family = CounterMetricFamily("serval_frames_dropped", "Pictures that could not be used.", labels=["reason"])
        for reason, count in sorted(drops.items()):
            family.add_metric([reason], count)
        yield family
        given = list(hub.attention.given.values())
        yield CounterMetricFamily("serval_answers", "Answers that were worked on.", sum(each.turns for each in given))
        yield CounterMetricFamily("serval_answer_seconds", "Seconds spent on answers.", sum(each.seconds for each in given))
        yield CounterMetricFamily(
            "serval_answer_wait_seconds", "Seconds that answers waited for their turn.", sum(each.waited for each in given)
        )
        if door is not None:
            open_ = {"socket": door.sockets.taken, "feed": door.feeds.taken}
            yield _labelled("serval_connections", "Open sockets and feeds.", "kind", open_)
        yield from self._webhooks()
        yield GaugeMetricFamily("serval_threads", "Threads of the process.", threading.active_count())

    def _webhooks(self) -> Iterator[Metric]:
        webhooks = self._service.webhooks
        yield CounterMetricFamily("serval_webhook_events_late", "Events that could not be noted at once.", webhooks.late)
        try:
            hooks = webhooks.held()
        except SQLAlchemyError:  # their file fails, which is no reason to tell nothing else
            return
        yield GaugeMetricFamily("serval_webhook_events_waiting", "Events not told yet.", sum(each.waiting for each in hooks))
        yield CounterMetricFamily("serval_webhook_events_lost", "Events given up.", sum(each.lost for each in hooks))


def exposition(service: Service) -> bytes:
    """All of it, as Prometheus reads it."""
    registry = CollectorRegistry()
    registry.register(ServiceCollector(service))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


def _labelled(name: str, text: str, label: str, values: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family

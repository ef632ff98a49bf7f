"""Samples as Prometheus reads them, in the format that it asks for."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from prometheus_client import Metric as Family
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from pipeline.core.measures import Sample
from pipeline.core.metrics import METRICS, Kind, Metric


class _Answer(Collector):
    def __init__(self, samples: Iterable[Sample]) -> None:
        self._by_name: defaultdict[str, list[Sample]] = defaultdict(list)
        for sample in samples:
            self._by_name[sample[0]].append(sample)

    def collect(self) -> Iterator[Family]:
        return (_family(metric, self._by_name[metric.name]) for metric in METRICS if metric.name in self._by_name)


def encoded(samples: Iterable[Sample], accepts: str) -> tuple[bytes, str]:
    """The samples, and the type of the text; `accepts` is the header of the request."""
    encoder, content_type = choose_encoder(accepts)
    return encoder(_Answer(samples)), content_type


def _family(metric: Metric, samples: Iterable[Sample]) -> Family:
    if metric.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for _, labels, value in samples:
            assert isinstance(value, tuple)  # noqa: S101 - for the types
            histogram.add_metric(labels, value[0], value[1])
        return histogram
    kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for _, labels, value in samples:
        assert isinstance(value, float)  # noqa: S101 - for the types
        family.add_metric(labels, value)
    return family

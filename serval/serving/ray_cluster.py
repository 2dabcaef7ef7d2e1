"""A Ray cluster, on this machine or on others, that does part of the work (`serval serve --ray`)."""

from __future__ import annotations

from typing import Any

from serval.refusal import Refusal

LOCAL = "local"
_SHARES = 64  # replicas of one processor each that a cluster of our own takes: here it is for us to say how many work at a time


class RayCluster:
    """What is deployed on it is reached by whoever deployed it, and goes down with it.

    Args:
        address: of a running cluster, as ``ray://head:10001``; "local" starts one on this machine.

    Raises:
        Refusal: Ray is not installed, or there is no cluster at this address.
    """

    def __init__(self, address: str = LOCAL) -> None:
        try:
            import ray
            from ray import serve
        except ModuleNotFoundError:
            raise Refusal("--ray", "Ray is not installed", 'pip install "serval[ray]"') from None
        self._ray, self._serve, self._own = ray, serve, not ray.is_initialized()
        self._deployed: list[str] = []
        if self._own:
            ours: dict[str, Any] = {"_node_ip_address": "127.0.0.1", "num_cpus": _SHARES}
            more = ours if address == LOCAL else {"address": address}
            try:
                ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False, **more)
            except (ConnectionError, ValueError, RuntimeError):
                raise Refusal("--ray", "there is no cluster at this address", "see `ray status` there") from None
        serve.start(proxy_location="Disabled")  # nobody comes in but through us

    def deploy(self, name: str, replica: type, *given: Any, replicas: int, processors: int) -> Any:
        """A handle to so many of ``replica(*given)``, each of which does one thing at a time.

        Args:
            processors: that each has to itself; 0 if it shares those of others.

        Raises:
            Refusal: so many are not free.
        """
        free = int(self._ray.available_resources().get("CPU", 0))
        if free < replicas * processors:
            remedy = "give fewer --answers, or the cluster another machine"
            raise Refusal("--ray", f"{replicas} replicas need a processor each, and {free} are free", remedy)
        options = {"num_cpus": processors}
        deployment = self._serve.deployment(num_replicas=replicas, max_ongoing_requests=1, ray_actor_options=options)(replica)
        self._deployed.append(name)
        return self._serve.run(deployment.bind(*given), name=name, route_prefix=None)

    def close(self) -> None:
        """Take down what was deployed, and the cluster if it was started here."""
        for name in self._deployed:
            self._serve.delete(name)
        if self._own:
            self._serve.shutdown()
            self._ray.shutdown()

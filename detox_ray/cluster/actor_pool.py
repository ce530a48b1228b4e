"""The pool of actors that make units, kept for as long as a run needs them.

Starting a process that imports torch and vLLM takes 10 s or more on two cores, which is longer than many jobs. A run
therefore has one pool, whose actors are reused from job to job and from command to command.
"""

from types import TracebackType
from typing import Any, NamedTuple, Self

from detox_ray.cluster.ray_internals import NODE_LABEL
from detox_ray.cluster.unit_actors import Share, UnitActor

FREE_SECONDS = 10  # for an actor to close its engine before its process is killed


class Place(NamedTuple):
    """The node on which an actor runs."""

    node_id: str
    name: str  # host name and address, for messages


class PoolActor:
    """The driver's handle of one actor of a pool.

    For an engine that spans nodes, room for each of its stages is first reserved on one node. Once the nodes are known,
    the actor starts in a placement group on these nodes, with a bundle for each GPU, as vLLM requires.
    """

    def __init__(self, handle: Any, reservation: Any = None):
        """Initialize the handle.

        Args:
            handle: Ray's handle of the actor, or None if room for it must first be reserved.
            reservation: The placement group that reserves the room, with a bundle for each stage.
        """
        self.handle = handle
        self.group = reservation  # the placement group that its engine spans; None if it stays on one node
        self.place: Place | None = None  # None until the process is up
        self.nodes: frozenset[str] = frozenset()  # ids of the nodes of its processes; empty until they are known
        # The pending answer about the actor's place, or about the reservation; None if it is known.
        self.answer: Any = handle.where.remote() if handle is not None else reservation.ready()

    @property
    def has_started(self) -> bool:
        """Return whether Ray was asked to start the process."""
        return self.handle is not None

    def ask(self) -> None:
        """Ask the process where it runs; it gets no units until it answers."""
        self.answer = self.handle.where.remote()


class UnitActors:
    """A pool of `UnitActor`; a context manager that ends the pool: ``with UnitActors() as actors``."""

    def __init__(self) -> None:
        self.members: list[PoolActor] = []
        self._share = Share(0, 0, 0)  # resources that each actor reserves
        self._group = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(wait=error is None)

    def take(self, share: Share, group: str) -> None:
        """Resize the pool to ``share``. Actors with the same reservation and group are kept.

        New actors start as soon as the cluster has room; ``members`` shows which of them run.

        Args:
            share: The number of actors and the resources that each reserves.
            group: The group of jobs that need processes of their own; "" for jobs that share processes.
        """
        if (share._replace(actors=0), group) != (self._share._replace(actors=0), self._group):
            self.end()
        self._share, self._group = share, group
        for actor in self.members[share.actors :]:
            self.remove(actor, FREE_SECONDS)
        while len(self.members) < share.actors:
            self.members.append(self._start())

    def replace(self, actor: PoolActor) -> None:
        """Replace an actor whose process died or cannot be reached."""
        self.remove(actor)
        self.members.append(self._start())

    def remove(self, actor: PoolActor, seconds: float = 0) -> None:
        """Remove an actor, which has ``seconds`` to close its engine."""
        self._end([actor], seconds)
        self.members.remove(actor)

    def end(self, wait: bool = True) -> None:
        """End all processes, which frees their CPUs, GPUs and memory.

        Args:
            wait: Whether actors may finish their current unit and close their engines.
        """
        self._end(self.members, FREE_SECONDS if wait else 0)
        self.members = []

    def place(self, actor: PoolActor) -> None:
        """Start an actor on the nodes on which room for its engine is reserved."""
        import ray

        node_of_stage: dict[int, str] = ray.util.placement_group_table(actor.group)["bundles_to_node_id"]
        nodes = [node_of_stage[stage] for stage in sorted(node_of_stage) for _ in range(self._share.gpus)]
        ray.util.remove_placement_group(actor.group)
        actor.nodes = frozenset(nodes)
        actor.group = ray.util.placement_group(
            [{"CPU": 1, "GPU": 1}] * len(nodes),
            strategy="PACK",
            bundle_label_selector=[{NODE_LABEL: node} for node in nodes],
        )
        inside = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy(
            actor.group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
        )
        # Each process of the engine takes a bundle and its GPU; the actor itself reserves no GPU.
        actor.handle = _actor(num_cpus=0, num_gpus=0, scheduling_strategy=inside)
        actor.ask()

    def _start(self) -> PoolActor:
        import ray

        _, cpus, gpus, stages = self._share
        if stages > 1:
            return PoolActor(None, ray.util.placement_group([{"CPU": gpus, "GPU": gpus}] * stages, strategy="PACK"))
        return PoolActor(_actor(num_cpus=cpus, num_gpus=gpus))

    def _end(self, actors: list[PoolActor], seconds: float) -> None:
        if not actors:
            return
        import ray

        try:
            # An actor that is not running would not answer: it waits for a place.
            calls = [actor.handle.free.remote() for actor in actors if actor.answer is None] if seconds else []
            if calls:
                ray.wait(calls, num_returns=len(calls), timeout=seconds)
            for actor in actors:
                if actor.has_started:
                    ray.kill(actor.handle)
                if actor.group is not None:
                    ray.util.remove_placement_group(actor.group)
        except ray.exceptions.RayError:
            pass  # Ray has ended, and its processes with it


def _actor(**options: Any) -> Any:
    """Start a `UnitActor`. Ray does not restart it; the driver decides what to do if it dies."""
    import ray

    return ray.remote(UnitActor).options(**options, max_restarts=0, max_task_retries=0).remote()

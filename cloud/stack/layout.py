"""What a stack runs, in which order, and on which ports."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cloud.authority.identity import Identity
from cloud.stack import mosquitto
from cloud.stack.own_authority import INNER, OwnAuthority
from cloud.stack.part import Part, answering, listening
from cloud.stack.services import Service
from cloud.stack.settings import (
    GeneratorSettings,
    ServedAuthority,
    StackBroker,
    StackSettings,
)
from edgeloop.runtime import local_broker
from edgeloop.runtime.child_processes import edgeloop


@dataclass(frozen=True)
class Layout:
    """A stack that can be started.

    Attributes:
        settings: its file.
        broker: its `[broker]` table.
        authority: its `[authority]` table, if it has one.
        generator: its `[generator]` table, if it has one.
        aggregators: in the file's order.
        agents: in the file's order.
    """

    settings: StackSettings
    broker: StackBroker
    authority: ServedAuthority | None
    generator: GeneratorSettings | None
    aggregators: tuple[Service, ...]
    agents: tuple[Service, ...]

    def ports(self) -> Iterator[tuple[str, str, int]]:
        """Yield key, address and number of every port that is to be listened on."""
        if self.broker.run != "external":
            yield "broker.port", self.broker.served_on, self.broker.port
        if self.broker.has_own_authority:
            yield "broker.services_port", INNER, self.broker.inner_port
        if self.authority is not None:
            yield "authority.port", self.authority.listen or self.broker.listen, self.authority.port
        if self.generator is not None:
            for key in ("http_port", "grpc_port", "metrics_port"):
                yield f"generator.{key}", self.generator.host, getattr(self.generator, key)
        for number, service in enumerate(self.aggregators):
            http = service.checked.http
            yield f"aggregators.{number}.http.port", http.host, http.port

    def stages(self) -> list[list[Part]]:
        """Write the parts' files; return the parts in the order of their start.

        Raises:
            BrokerSetupError: if there is no broker to run.
        """
        folder = self.settings.folder.absolute()
        for place in (folder / "broker", folder / "config"):
            place.mkdir(parents=True, exist_ok=True)
        services = [*self._broker(folder / "broker"), *self._generator(folder)]
        services += self._authority(folder)
        stages = [[part] for part in services]
        for group in (self.aggregators, self.agents):
            stages.append([service.part(folder / "config") for service in group])
        return [stage for stage in stages if stage]

    def own_authority(self) -> OwnAuthority | None:
        """Return the stack's own authority, if it has one."""
        if not self.broker.has_own_authority:
            return None
        tasks = [each.checked.name for each in self.aggregators]
        devices = [Identity(each.checked.task, each.checked.name) for each in self.agents]
        folder = self.settings.folder
        return OwnAuthority(folder, self.broker, self.authority, tasks, devices)

    def _authority(self, folder: Path) -> Iterator[Part]:
        if self.authority is None:
            return
        command = edgeloop("ca", "serve", "--folder", str(folder / "authority"))
        listen = self.authority.listen or self.broker.listen
        ready = listening(listen, self.authority.port)
        yield Part("authority", tuple(command), ready, is_service=True)

    def _broker(self, folder: Path) -> Iterator[Part]:
        if self.broker.run == "external":
            return
        own = self.own_authority()
        if own is None:
            command = mosquitto.prepare_broker(self.broker, folder).command
        else:
            command = local_broker.mosquitto_from_file(own.prepare()).command
        ready = listening(self.broker.served_on, self.broker.port)
        reloads = self.broker.run == "mosquitto"
        yield Part("broker", command, ready, is_service=True, reloads=reloads)

    def _generator(self, folder: Path) -> Iterator[Part]:
        if self.generator is None:
            return
        options = self.generator.model_dump(
            mode="json", exclude={"source", "gpu"}, exclude_none=True
        )
        options["name"] = self.generator.served_name
        options["log"] = folder / "tritonserver.log"
        flags = [word for key, value in options.items() for word in (_flag(key), str(value))]
        flags.append("--gpu" if self.generator.gpu else "--cpu")
        command = edgeloop("generator", "serve", self.generator.source, *flags)
        ready = answering(self.generator.host, self.generator.http_port, "/v2/health/ready")
        yield Part("generator", tuple(command), ready, is_service=True)


def _flag(key: str) -> str:
    return "--" + key.replace("_", "-")

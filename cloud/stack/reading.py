"""A stack's file as a stack that can be started."""

from dataclasses import replace
from pathlib import Path

from cloud.stack import added, consistency, mosquitto, services
from cloud.stack.layout import Layout
from cloud.stack.settings import (
    GeneratorSettings,
    ServedAuthority,
    StackBroker,
    StackSettings,
)
from edgeloop.runtime import config


def read(path: Path) -> Layout:
    """Read a stack's file and check every table of it.

    Raises:
        ConfigError: naming the key, and what to do.
        BrokerSetupError: if there is no broker to run.
    """
    stack = config.read(path, StackSettings)
    broker = config.parse(stack.broker, StackBroker, f"{path}: broker")
    mosquitto.check(broker)
    generator = None
    if stack.generator is not None:
        generator = config.parse(stack.generator, GeneratorSettings, f"{path}: generator")
    authority = None
    if stack.authority is not None:
        authority = config.parse(stack.authority, ServedAuthority, f"{path}: authority")
    aggregators = tuple(
        services.aggregator_service(
            table, f"{path}: aggregators.{number}", stack.folder, broker, generator, authority
        )
        for number, table in enumerate(stack.aggregators)
    )
    agents = tuple(
        services.agent_service(table, f"{path}: agents.{number}", stack.folder, broker)
        for number, table in enumerate(stack.agents)
    )
    layout = Layout(stack, broker, authority, generator, aggregators, agents)
    layout = replace(layout, aggregators=(*aggregators, *added.read(layout)))
    consistency.check(layout, path)
    return layout

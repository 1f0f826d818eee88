"""What a server is asked for when a task is to be made."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


class NewTask(BaseModel):
    """A task that is to be made.

    Attributes:
        task: what a task's TOML file has, without what is the place's own business, such as its
            folder and its broker.
        namespace: of a Kubernetes cluster; empty for the stack on the server's machine.
        begin: whether it begins at once; else it is paused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: dict[str, Any]
    namespace: Annotated[str, Field(max_length=63, pattern=r"^[a-z0-9-]*$")] = ""
    begin: bool = True

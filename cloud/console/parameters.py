"""What the paths and queries of the API and of the pages are made of."""

from typing import Annotated

from fastapi import Path, Query

MOST = 1000

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
Name = Annotated[str, Path(pattern=NAME)]
Number = Annotated[int, Path(ge=0, lt=1 << 31)]
Asked = Annotated[str | None, Query(pattern=NAME)]
After = Annotated[str | None, Query(max_length=500, description="What the part before has as next")]
Limit = Annotated[int, Query(ge=1, le=MOST, description="So many at most")]
State = Annotated[str | None, Query(pattern=r"^[a-z -]{1,32}$", description="What they are doing")]

"""`make cluster`: the chart on a real cluster, from its installation to its end, with a verdict.

It takes the cluster that KUBECONFIG names, else makes one with kind or k3d; where there is neither,
it runs the rendered pods as podman containers, with their users (`tests.helm.containers`).
"""

import sys

from tests.rehearsal import places
from tests.rehearsal.play import Play


def main() -> int:
    """Rehearse; return 0 if all went well."""
    place = places.choose()
    if place is None:
        sys.stderr.write(f"cluster: {places.NOTHING}\n")
        return 2
    sys.stdout.write(f"cluster: {place.words}\n")
    if place.plays is not None:
        return place.plays()
    with place.running() as environment:
        verdict = Play(environment, place.registry).run()
    for line in verdict.lines():
        sys.stdout.write(f"{line}\n")
    return 0 if verdict.good else 1


if __name__ == "__main__":
    sys.exit(main())

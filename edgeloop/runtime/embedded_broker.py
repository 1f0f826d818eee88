"""Runs the broker of the `iotcore` wheel: `python -m edgeloop.runtime.embedded_broker FILE`."""

import sys

from iotcore import IotCoreBroker


def main(path: str) -> None:
    """Serve as the file says, until a signal ends the process."""
    IotCoreBroker(config_path=path).run_forever()


if __name__ == "__main__":
    main(sys.argv[1])

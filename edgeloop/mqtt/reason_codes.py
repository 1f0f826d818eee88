"""What a broker's reason codes ask of a client: to try again or not, and what a person can do."""

from dataclasses import dataclass

SEE_ITS_LOG = "see the broker's log"
TAKEN_OVER = 0x8E  # another client connected with this client id


@dataclass(frozen=True)
class Reason:
    """What a reason code of MQTT 5 means for a client.

    Attributes:
        remedy: what to do, an imperative clause.
        passing: whether time can help.
    """

    remedy: str = SEE_ITS_LOG
    passing: bool = True


_REASONS = {
    0x81: Reason("check that it speaks MQTT 5", passing=False),
    0x82: Reason("check that it speaks MQTT 5", passing=False),
    0x84: Reason("use a broker that speaks MQTT 5", passing=False),
    0x85: Reason("have it accept client ids that begin with edgeloop.", passing=False),
    0x86: Reason("check username and password_file", passing=False),
    0x87: Reason("check username and password_file, or its rights for this client", passing=False),
    0x88: Reason("wait until it is up, or start it"),
    0x89: Reason("wait until it has less to do, or give it more room"),
    0x8A: Reason("have the broker's owner lift the ban", passing=False),
    0x8B: Reason("wait until it is up again"),
    0x8C: Reason("have it accept a name and password, or a certificate", passing=False),
    TAKEN_OVER: Reason("stop the other process, or give this one another name"),
    0x90: Reason("have it accept topics that begin with edgeloop/v1/", passing=False),
    0x93: Reason("raise the broker's receive maximum"),
    0x95: Reason("raise the broker's packet limit, or lower chunk_bytes", passing=False),
    0x96: Reason("raise the broker's limit of messages a second"),
    0x97: Reason("raise the broker's quota for this client"),
    0x98: Reason("ask the broker's owner why"),
    0x9A: Reason("have it keep retained messages, or use another broker", passing=False),
    0x9B: Reason("have it take QoS 1, or use another broker", passing=False),
    0x9C: Reason("wait, or give the other server as host"),
    0x9D: Reason("give its new address as host and port"),
    0x9F: Reason("wait, or raise the broker's limit of connections a second"),
}


def reason_for(code: int, server: str | None = None) -> Reason:
    """Return what a code means; one that is not known may pass.

    Args:
        code: the reason code.
        server: the other server that the broker names, if it names one.
    """
    if server is not None:
        return Reason(f"give {server} as host and port")
    return _REASONS.get(code, Reason())

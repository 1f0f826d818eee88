"""What a broker's reason codes ask of a client: to try again or not, and what a person can do."""

from dataclasses import dataclass

OTHER_BROKER = "or use another broker"
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


_SPEAKS = Reason("check that it speaks MQTT 5", passing=False)
_ACCOUNT = "check username and password_file"
_REPORT = "see the broker's log, and report it: this client's message was not right"

_REASONS = {
    0x80: Reason(SEE_ITS_LOG),
    0x81: _SPEAKS,
    0x82: _SPEAKS,
    0x83: Reason(SEE_ITS_LOG),
    0x84: Reason("use a broker that speaks MQTT 5", passing=False),
    0x85: Reason(
        "have it accept client ids that begin with edgeloop., or give client_id_prefix",
        passing=False,
    ),
    0x86: Reason(_ACCOUNT, passing=False),
    0x87: Reason(f"{_ACCOUNT}, or its rights for this client", passing=False),
    0x88: Reason("wait until it is up, or start it"),
    0x89: Reason("wait until it has less to do, or give it more room"),
    0x8A: Reason("have the broker's owner lift the ban", passing=False),
    0x8B: Reason("wait until it is up again"),
    0x8C: Reason("have it accept a name and password, or a certificate", passing=False),
    0x8D: Reason("check the network: nothing came of this client for one and a half keep-alives"),
    TAKEN_OVER: Reason("stop the other process, or give this one another name"),
    0x8F: Reason("check prefix, and that it takes topics that begin with edgeloop/v1/"),
    0x90: Reason(
        "have it accept topics that begin with edgeloop/v1/, or give prefix", passing=False
    ),
    0x91: Reason(_REPORT),
    0x92: Reason(_REPORT),
    0x93: Reason("raise the broker's receive maximum"),
    0x94: Reason(_REPORT),
    0x95: Reason("raise the broker's packet limit, or lower chunk_bytes", passing=False),
    0x96: Reason("raise the broker's limit of messages a second"),
    0x97: Reason("raise the broker's quota for this client"),
    0x98: Reason("ask the broker's owner why"),
    0x99: Reason("have it take any bytes on topics that begin with edgeloop/v1/"),
    0x9A: Reason(f"have it keep retained messages, {OTHER_BROKER}", passing=False),
    0x9B: Reason(f"have it take QoS 1, {OTHER_BROKER}", passing=False),
    0x9C: Reason("wait, or give the other server as host"),
    0x9D: Reason("give its new address as host and port"),
    0x9E: Reason(f"have it take shared subscriptions, {OTHER_BROKER}"),
    0x9F: Reason("wait, or raise the broker's limit of connections a second"),
    0xA0: Reason("nothing: the broker ends each connection after some time"),
    0xA1: Reason(f"have it take subscription identifiers, {OTHER_BROKER}"),
    0xA2: Reason(f"have it take subscriptions with +, {OTHER_BROKER}"),
}

_NOT_AUTHORIZED = 0x87


def reason_for(code: int, server: str | None = None) -> Reason:
    """Return what a code means; one that is not known may pass.

    Args:
        code: the reason code.
        server: the other server that the broker names, if it names one.
    """
    if server is not None:
        return Reason(f"give {server} as host and port")
    return _REASONS.get(code, Reason())


def remedy_for(code: int, account: str) -> str:
    """Return what to do where a broker refuses a message, or a subscription.

    Args:
        code: the reason code.
        account: whom the broker's access list knows this client as.
    """
    if code == _NOT_AUTHORIZED:
        return f"check its access list for {account}"
    return reason_for(code).remedy

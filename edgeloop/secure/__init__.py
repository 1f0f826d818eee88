"""Secure aggregation: a server learns the sum of vectors, and none of them.

Bonawitz, Ivanov, Kreuter, Marcedone, McMahan, Patel, Ramage, Segal and Seth, CCS 2017. Each pair of
devices agrees on a mask that one adds and the other subtracts, each device adds one of its own, and
what removes the masks is shared among all, so that any so many of them can finish a round without
those who vanish (`device`, `collector`). Here a vector's numbers are whole numbers of 64 bits, so
that sums are exact (`ring`), and what an algorithm averages travels as such a sum (`summing`).

Differences from the paper: no signatures of its own (the version for a server that is curious and
keeps to the protocol; who is who is the transport's business), and a device's secret of its own
is committed to, so that a false share is found.
"""

"""Measurements on this machine, as `asyncrl bench` runs them.

    throughput    steps per second of each algorithm and mode, as a share of the simulator's limit
    queues        our rings and other queues; queue_links, fans, byte_rings: what is compared
    structures    layers of few parameters against dense ones
    selections    ways to select an action among many; faiss_peers: what they are compared with
    implicit_heads  whole heads that choose from a set of actions
    more_wild     black-box searches on the Moré-Wild problems
"""

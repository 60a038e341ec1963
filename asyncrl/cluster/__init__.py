"""Several machines: sites that evaluate candidates for a black-box search, each held by one worker's place of the run.

    engine     the seam: what an engine that reaches other machines has to do. Messages between a place and its site
    on_ray     Ray as such an engine; beside it `asking` alone uses it
    asking     the process that asks a cluster of Ray who is there, or begins a Ray of this machine
    household  what a site has of its own instead of a run's: crew, estate, memory
    bridge     a site's window of tickets
    node       a site: on the other machine, the node's own workers over their own shared memory
    probe      one ticket, played here and there, whose bits are compared
    words      the shared words of the places that have sites
    place      the process that holds a place for a site: claims tickets, offers them, hands in what comes back
    reaching   how it gets a site, loses it, and gets another
    results    how what comes back is handed in
    lending    which tickets a place has lent to its site, and which it has taken back
    topology   `SitesTopology`: a search with such places

A site is a worker of the search like any other: modes, books, checkpoints, kills and reports need no change. What a ticket is
depends on (seed, generation, ticket) alone, so doing one twice is harmless, and the bits do not depend on who does it.
"""

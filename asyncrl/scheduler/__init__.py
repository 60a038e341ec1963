"""Who may start a round, and whose update is applied when: the update modes.

    modes      the modes by name
    board      the shared words of agreement
    pace       what every mode's side of a worker shares
    rounds     sync and pipelined
    in_place   bounded:K and async
    gate       epochs: changing the mode, saving, stopping
    streams    the same modes for actors -> rings -> learner, on the words of stream_board
"""

from asyncrl.scheduler.modes import MODES as MODES

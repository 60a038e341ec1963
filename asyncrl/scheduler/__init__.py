"""Who may start a round, and whose update is applied when: the update modes.

    modes      the modes by name
    board      the shared words of agreement
    pace       what every mode's side of a worker shares
    rounds     sync and pipelined
    in_place   bounded:K and async
    gate       epochs: changing the mode, saving, stopping
    streams    the same modes for actors -> rings -> learner: the rules, and what every side works on
    stream_board, stream_actor_pace, stream_learner_pace   their words, and the two sides
    generations, window   the same modes for black-box search: tickets of a generation
"""

from asyncrl.scheduler.modes import MODES as MODES

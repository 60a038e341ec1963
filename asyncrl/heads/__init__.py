"""Policy heads: what turns an observation into an action. One head is one file, and its line in `HEADS`.

    head         the contract: options, own parameters, tables in shared memory, acting and learning
    roles        the families of algorithms in which a head can be used
    categorical, gaussian   heads of stochastic policies
    action_values           the head of value learning
    squashed                heads of policies that learn from a replay
    savo         the head of seed 002: successive actors propose, the critic picks
    soft_savo    what it does at a step under sac
    greedy       a rival of it: Gaussian policies drawn to the best of their actions (Greedy-AC, Greedy-TD3)
    wolpertinger, cross_entropy, joint   what it is compared with: the critic picks near to one actor's action, seeks its own
                 maximum, or picks among the proposals of one network
    itt, iot, explicit      implicit policies of seed 000, which choose from a set of actions, and what they are compared with
    implicit     what itt and iot are made of
    choice       which head a name of the command line stands for, and the errors where it does not fit
    policy       a network and a head over one flat vector: what acts and learns
    tower        the same without v(s), for algorithms with a replay
    search_policy           greedy policies of black-box search, over any kind of layers
    search_player           what plays them
    decisions    one step of such a policy as one compiled call
    keyed_numbers           random numbers and sets of actions from a key alone
    catalogues   rows of numbers that a user gives for actions
    proposing    what heads share that propose several actions, of which the critic picks one
    rounds       the arrays that a worker acts and learns in
    tables       the shared arrays of heads: in memory, in a checkpoint, in an evaluation
    actions      what a head has decided, as the environment wants it
    behaviour    what exploration makes of a policy
    options      what the user may choose of a network; the base of what a head has of its own
    networks     layers and networks, compiled and as torch modules over the same memory
"""

from asyncrl.heads.action_values import ActionValueHead
from asyncrl.heads.categorical import CategoricalHead
from asyncrl.heads.cross_entropy import CrossEntropyHead
from asyncrl.heads.explicit import ExplicitHead
from asyncrl.heads.gaussian import GaussianHead
from asyncrl.heads.greedy import GreedyHead
from asyncrl.heads.head import Head
from asyncrl.heads.iot import OneTowerHead
from asyncrl.heads.itt import TwoTowerHead
from asyncrl.heads.joint import JointHead
from asyncrl.heads.savo import SavoHead
from asyncrl.heads.squashed import DeterministicHead, SquashedHead
from asyncrl.heads.wolpertinger import WolpertingerHead

HEADS: dict[str, type[Head]] = {
    head.name: head
    for head in (
        CategoricalHead,
        GaussianHead,
        ActionValueHead,
        DeterministicHead,
        SquashedHead,
        SavoHead,
        WolpertingerHead,
        CrossEntropyHead,
        JointHead,
        GreedyHead,
        TwoTowerHead,
        OneTowerHead,
        ExplicitHead,
    )
}
"""All heads. What `--head` can name besides are kinds of layers, `asyncrl.heads.networks.compact.LAYERS`."""
